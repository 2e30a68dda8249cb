"""What may be said: "no attacker in this suite exceeded X", never that somebody is hidden for good.

Every text that reaches a user is read: what a card says of several studies, the pages, the README,
and every text in the package's code. A sentence with a word of a claim in it is refused, unless it
stands in ``ALLOWED``, letter for letter. So a sentence that denies a claim is looked at once by a
person, and one that makes it cannot hide behind a "not" elsewhere.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from report import studies

from velatura.report.card import FILES, write_card
from velatura.report.page import write_report

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "velatura"
RECORDS = ROOT / "experiments" / "records"
STUDIES = studies.all_of_them()

CLAIMS = [
    # that people, or a law, are done with
    r"\banonymous",
    r"\banonymity\b",
    r"\banonymi[sz]ed (beyond|fully|completely|perfectly|for good)",
    r"\b(fully|completely|perfectly|truly|entirely|irreversibly|100 ?%) (anonymi[sz]|private|safe)",
    r"\birreversibl",
    r"\b(no longer|not|never) personal data\b",
    r"\b(unidentifiable|unrecogni[sz]able|untraceable)\b",
    r"\b(cannot|can not|can't|can never|no longer|impossible|never|nobody|no one|no-one)\b.{0,60}"
    r"\b(re-?)?(identif(y|ied|ies)|recogni[sz]ed?)\b",
    r"\bcompl(y|ies|iant|iance)\b",
    r"\b(GDPR|AI Act|HIPAA|law)[ -](proof|ready|safe|conform|certified|approved)",
    r"\b(meets?|satisf(y|ies)|fulfils?) (the )?(GDPR|AI Act|law|requirements of)",
    # that it is certain
    r"\bguarant.{0,60}\b(priva|anonym|protect|identit|secre|confidential)",
    r"\b(priva|anonym|protect|identit|secre|confidential).{0,60}\bguarant",
    r"\b(prov(es|en|ably)|certif(y|ies|ied)|ensures?|assures?)\b.{0,40}\b(priva|anonym|safe|protect)",
    r"\b(preserves?|protects?|secures?) (the |their |everybody's )?(privacy|identit)",
    r"\bprivacy (is|are|stays) (preserved|protected|ensured|safe|solved)",
    r"\bsafe(ly)? (to|for) (publi|shar|releas|distribut|post|upload|hand)",
    r"\b(leaks? nothing|nothing leaks|no leakage|zero leakage|without leakage|leak-free)\b",
    r"(?<!lower )\bbound on what (can )?leaks?\b",
]
CLAIM = re.compile("|".join(f"(?:{claim})" for claim in CLAIMS), re.IGNORECASE)

# Sentences with such a word that were looked at: denials, and other things than people.
ALLOWED = {
    # docs/privacy-limits.md, limits.md
    "Do not call the output anonymous.",
    "Do not call the output anonymous:",
    "European law keeps the word for data from which nobody can be identified by any means "
    "reasonably likely to be used (GDPR, recital 26;",
    "European law keeps the word for data from which nobody can be identified by any means "
    "reasonably likely to be used (GDPR, recital 26), and no table of attackers shows that.",
    # docs/model-card.md
    "- No output of this tool is anonymous in the sense of a law because this tool made it.",
    # the report and its page
    "A low L is no proof of anonymity, and the strongest attacker is chosen on the test split, "
    "against the method.",
    "A low L is a reason to test harder, never a proof of anonymity.",
    # docs/check.md
    "none of them, and not all together, says that a person cannot be recognised.",
    # metrics.information
    "little of it never proves safety, and below 0 the network is surer than it is right.",
    # methods/constant.py, a grey picture; docs/video.md, memory
    "Nothing leaks and nothing is left:",
    "So nothing leaks, but a process that opens and decodes file after file grows by what glibc "
    "keeps of freed memory;",
}


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, Markdown and HTML taken off, on one line each."""
    text = unescape(re.sub(r"<[^<>]*>", " ", text))
    for block in re.split(r"\n\s*\n|\n\s*(?=[-*|#>]|\d+\.)|\|", text):
        plain = re.sub(r"[*`\"\u201c\u201d#>\[\]]|\b_|_\b|\(https?://\S+\)", "", block)
        for sentence in re.split(r"(?<=[.!?:;])\s+", " ".join(plain.split())):
            if sentence:
                yield sentence.strip()


def claims(text: str) -> list[str]:
    """The sentences that claim what nobody here has measured."""
    return [s for s in sentences(text) if CLAIM.search(s) and s not in ALLOWED]


def literals(source: str) -> list[str]:
    """Every text in Python code; one that is put together counts as one, values as {}."""

    def whole(node: ast.AST) -> str | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.JoinedStr):
            return "".join(whole(part) or "{}" for part in node.values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            sides = [whole(side) for side in (node.left, node.right)]
            return None if sides == [None, None] else "".join(side or "{}" for side in sides)
        return None

    def walk(node: ast.AST) -> Iterator[str]:
        text = whole(node)
        if text is not None:
            yield text
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    return list(walk(ast.parse(source)))


# What is read ------------------------------------------------------------------------------------


def pages() -> list[Path]:
    """All that people read, and what pages and packages are made of besides Python."""
    return [
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted(ROOT.glob("*.md")),
        *sorted(p for p in PACKAGE.rglob("*") if p.suffix in (".toml", ".json", ".js", ".css")),
        *sorted((ROOT / "experiments").rglob("*.toml")),
    ]


def code() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *(ROOT / "experiments").glob("*.py")])


def found_in(texts: dict[str, list[str]]) -> list[str]:
    return [f"{where}: {c}" for where, parts in texts.items() for p in parts for c in claims(p)]


def test_the_pages_claim_no_more_than_was_measured():
    assert len(pages()) > 30
    assert found_in({str(p.relative_to(ROOT)): [p.read_text()] for p in pages()}) == []


def test_no_text_in_the_code_claims_more():
    texts = {str(p.relative_to(ROOT)): literals(p.read_text()) for p in code()}
    assert sum(map(len, texts.values())) > 5000
    assert found_in(texts) == []


@pytest.mark.parametrize("name", STUDIES)
def test_no_card_claims_more(tmp_path: Path, name: str):
    summary, row = STUDIES[name]
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    folder = write_card(tmp_path, row).folder
    assert found_in({file: [(folder / file).read_text()] for file in FILES}) == []


@pytest.mark.parametrize("record", ["demo-seed-0", "hmdb51-small", "hmdb51-jhmdb-raw"])
def test_no_card_of_a_record_claims_more(tmp_path: Path, record: str):
    for row in json.loads((RECORDS / record / "summary.json").read_text())["rows"]:
        folder = write_card(RECORDS / record, row["name"], tmp_path / row["name"]).folder
        for file in FILES:
            text = (folder / file).read_text()
            assert claims(text) == []
            assert file == "dpia.md" or "in this suite exceeded" in text


@pytest.mark.parametrize("record", ["demo-seed-0", "hmdb51-small"])
def test_no_report_claims_more(tmp_path: Path, record: str):
    """The page without plotly.js and the style sheet; the table; the terminal's sentences."""
    for name in ("summary.json", "records.jsonl"):
        shutil.copy(RECORDS / record / name, tmp_path)
    html = write_report(tmp_path).read_text()
    body = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.S)
    assert "A low L is no proof of anonymity" in body
    assert claims(body) == []
    assert claims((tmp_path / "table.md").read_text()) == []
    assert claims((tmp_path / "table.csv").read_text()) == []


# That it would be found --------------------------------------------------------------------------

PLANTED = [
    "The output is anonymous.",
    "The videos are now fully\nanonymous.",
    "The people are *anonymous*.",
    "They stay <b>anonymous</b>.",
    "It is an anonymous\u00a0video.",
    "Anonymity is reached at L = 0.",
    "Faces are irreversibly removed.",
    "The clip is fully anonymized.",
    "It was anonymised beyond recognition.",
    "The release is no longer personal data.",
    "The person can no longer be identified.",
    "Nobody can ever again recognise them.",
    "People in it cannot be re-identified.",
    "It makes faces unrecognisable.",
    "The default is GDPR compliant.",
    "This complies with the AI Act.",
    "Compliance is built in.",
    "A GDPR-proof pipeline.",
    "It meets the requirements of Art. 25.",
    "Velatura guarantees privacy.",
    "Privacy is guaranteed.",
    "This proves that the video is safe.",
    "A provably private filter.",
    "It ensures anonymity.",
    "It protects the identity of everybody.",
    "The copy is safe to publish.",
    "You may safely share it: it is safe for release.",
    "The silhouette leaks nothing.",
    "L is an upper bound on what can leak.",
    # A denial that nobody looked at, and one that hides a claim behind another sentence.
    "Never say that it is anonymous, although it is.",
    "We do not say that it is legal. It is anonymous.",
]


@pytest.mark.parametrize("sentence", PLANTED)
def test_a_planted_claim_is_found(sentence: str):
    assert len(claims(f"Before.\n\n- {sentence} After.")) == 1
    assert any(claims(text) for text in literals(f"x = {sentence!r}"))


@pytest.mark.parametrize(
    "source",
    [
        'f"The {name} is {how}ly anonymous."',
        '"It is " + "anony" + "mous."',
        '"The release is no longer " + f"personal data, says {who}."',
        '("a", {"b": ["safe to " "publish"]})',
        'def f():\n    """It is\n    anonymous."""',
    ],
)
def test_a_claim_put_together_is_found(source: str):
    assert any(claims(text) for text in literals(source))


HONEST = [
    "No attacker in this suite exceeded L = 0.48.",
    "Do not call the output *anonymous*: European law keeps the word.",
    "A low L is no proof of anonymity, and the\nstrongest attacker is chosen on the test split, "
    "against the method.",
    "None of this is legal advice.",
    "It is a lower bound on what leaks.",
    "An anonymized copy; the anonymizer failed; anonymization is a processing.",
    "Article numbers are to be checked by your counsel.",
    "What a stream guarantees: pictures in order.",
    "Whoever knows the people may recognise them.",
    "Privacy-preserving action recognition is the field's name.",
]


@pytest.mark.parametrize("sentence", HONEST)
def test_an_honest_sentence_is_not(sentence: str):
    assert claims(sentence) == []


def test_nothing_is_allowed_that_nobody_says():
    """A sentence that went is taken off the list, or another could come back in its place."""
    texts = [p.read_text() for p in pages()]
    texts += [text for p in code() for text in literals(p.read_text())]
    said = {sentence for text in texts for sentence in sentences(text)}
    assert ALLOWED - said == set()
    assert all(CLAIM.search(sentence) for sentence in ALLOWED)
