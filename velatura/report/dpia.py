"""``dpia.md``: a helper for a data protection impact assessment, filled with what was measured.

What only the controller knows stands there as a question with a box to tick. It is no legal
advice, and says so first.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from velatura.report.evaluation import GALLERIES, cautions, statement
from velatura.report.limits import untested
from velatura.report.markdown import code, table
from velatura.report.tables import NONE, figure

__all__ = ["clauses", "dpia"]

OPENING = """\
> **This is not legal advice.** It helps a controller to write the assessment of GDPR Art. 35; it is
> not that assessment, and no figure in it says that a law is kept. Article and clause numbers are
> pointers, to be checked by your counsel.

Figures below were measured. Each line that begins with an empty box is an **open question** that no
measurement answers: the controller answers it, in writing, and ticks the box.
"""

FLOW = [
    ("camera or file", "the original video", "personal data; often special categories are visible"),
    ("the anonymizer", "the original in memory", "anonymizing is itself processing of it"),
    ("the release", "8-bit pictures that the anonymizer lets out", "what the figures are about"),
    ("recipients", "the release, and what they know besides", "see side knowledge, under open "
     "risks"),
    ("report and log", "names of files, digests, counts, settings", "no pictures; file names may "
     "name people"),
]  # fmt: skip

ASK_FLOW = """\
- [ ] What is the purpose, and on what lawful basis is the **original** processed, however briefly
  (Art. 6; Art. 9(2) where special categories are visible)?
- [ ] Where does the original exist (camera, buffer, disk, backup), and who can see it?
- [ ] When is the original deleted, by what, and who checks it (Art. 5(1)(e))?
- [ ] How long is the release kept, and why so long (Art. 5(1)(e))?
- [ ] Who receives the release, in which country, under which contract (Art. 28, 44)?
- [ ] How are people in the picture told (Art. 13, 14), and how can they object (Art. 21)?
"""

ASK_NEED = """\
- [ ] Could the purpose be reached without video: a counter, a light barrier, a person?
- [ ] Could fewer frames, a smaller picture, a narrower view or fewer hours do (Art. 5(1)(c))?
- [ ] Is this much of the action enough for the purpose? If less would do, hide more.
- [ ] Why this anonymizer, and not one of the table that leaks less?
"""

ASK_LEAK = """\
- [ ] Who would want to recognise people here, with what footage, money and time (Recital 26)?
- [ ] Has it been measured again on video of your own cameras and people?
- [ ] As long as one of the three tests is open or failed: is the release treated as personal data
  (pseudonymised, privacy-enhanced), whatever it looks like?
"""

ASK_GROUPS = """\
- [ ] Which groups of people does your service meet that these labels do not name: age, wheelchairs,
  veils, dark rooms, uniforms?
- [ ] What happens to a person whose action is not recognised, and can they complain?
"""

MEASURES = [
    ("by design and by default (Art. 25)", "`velatura anonymize` treats whole frames unless told "
     "otherwise, drops sound and metadata, and its default is the one that the packaged card's "
     "figures recommend"),
    ("fail closed (Art. 25, 32)", "a frame that cannot be treated stops the job or is black; a "
     "copy is written whole and verified, or not at all"),
    ("records (Art. 30, 32)", "a report beside each output, and with `--log` a hash-chained log; "
     "`velatura audit verify` shows what was changed, and docs/audit.md what it cannot show"),
    ("offline (Art. 32)", "the tool sends nothing, but for a stream to where the command says"),
    ("measured again (Art. 32(1)(d))", "`velatura evaluate` repeats these figures, also on your "
     "own video"),
]  # fmt: skip

ASK_MEASURES = """\
- [ ] Who may turn the anonymizer off or change its settings, and is that logged?
- [ ] Are the original, the weights, the release and the log kept with access control and encryption
  (Art. 32)?
- [ ] Is this processing in the record of processing activities (Art. 30)?
- [ ] Who notices when cameras, people or attackers have changed, and measures again? By when?
- [ ] Attackers that were trained here read private attributes: are they kept on test data, and who
  has them?
"""

AI_ACT = """\
Article numbers of Regulation (EU) 2024/1689 are to be checked by your counsel; dates at which
duties begin are under revision.

- [ ] Is any use that Art. 5 prohibits excluded, such as categorising people by sensitive traits, or
  identifying them in real time in public?
- [ ] Does the use fall under Annex III (biometrics, employment, law enforcement, ...)? Then Art. 9
  (risks), 10 (data), 11 and Annex IV (documentation), 12 (logs), 13 (instructions), 14 (oversight),
  15 (accuracy, robustness), 26 (deployers) and 27 (fundamental rights) are to be looked at.
- [ ] Is an attacker, which is a tool that categorises people, kept away from real footage?
"""

DECISION = """\
- [ ] The data protection officer was asked (Art. 35(2)), and advised: ...
- [ ] The people concerned or their representatives were asked (Art. 35(9)), or why not: ...
- [ ] The risk that is left is high: the authority is consulted first (Art. 36).
- [ ] The risk that is left is accepted by (name, role, date): ...
- [ ] This is looked at again on (date), or when something changes (Art. 35(11)).
"""


def clauses() -> dict[str, Any]:
    """``clauses.toml``: field of ``eval.json`` to clauses, and how these are known."""
    text = files("velatura.report").joinpath("clauses.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def dpia(found: Mapping[str, Any]) -> str:
    """The helper.

    Args:
        found: an evaluation, as ``eval.json`` holds it.
    """
    speaks = "\n".join(f"- {sentence}" for sentence in cautions(found, code)) or "- Nothing more."
    parts = [
        f"# Helper for a data protection impact assessment: {code(found['row'])}",
        OPENING,
        "## 1. The processing and its flow (Art. 35(7)(a))",
        table(["where", "what is there", "to note"], FLOW),
        ASK_FLOW,
        "## 2. Necessity and proportionality (Art. 35(7)(b), 5(1)(c))",
        _need(found),
        ASK_NEED,
        "## 3. Residual leakage (Art. 35(7)(c), Recital 26)",
        statement(found, code),
        _three_tests(found),
        _attributes(found),
        ASK_LEAK,
        "## 4. Special categories (Art. 9): tested, and not tested",
        _categories(found),
        "## 5. Unequal service (Art. 5(1)(a))",
        _groups(found),
        ASK_GROUPS,
        "## 6. Measures (Art. 35(7)(d), 25, 30, 32)",
        table(["aim", "what this tool brings"], MEASURES),
        ASK_MEASURES,
        "## 7. Open risks",
        "On these there is no figure:",
        untested(found),
        "And these figures speak against relying on the rest:",
        speaks,
        "## 8. AI Act",
        AI_ACT,
        "## 9. Decision",
        DECISION,
        "## 10. Where each figure may be of use",
        _clauses(),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _need(found: Mapping[str, Any]) -> str:
    rows = [
        (code(r["row"]), r["family"], figure(r, "U", 2), figure(r, "L", 2)) for r in found["table"]
    ]
    return (
        f"What is kept of the action: U = {figure(found['utility'], 'U', 2)} of what raw video "
        f"gives; top-1 {figure(found['utility'], 'top1', 1)} %. What was measured in the same "
        "study, with 95 % intervals over people or films:\n\n"
        + table(["row", "kind", "U: action that is left", "L: what is still read"], rows)
        + "\n\nA row that leaks less and keeps enough is the less intrusive means."
    )


def _three_tests(found: Mapping[str, Any]) -> str:
    """Singling out, linkability and inference, the tests of the Article 29 working party."""
    names = {"singling out": ("raw_to_anon", "recovered_to_raw"), "linkability": ("anon_to_anon",)}
    rows = []
    for test, galleries in names.items():
        for gallery in galleries:
            entry = found["identity"][gallery]
            said = "**not measured**"
            if entry:
                said = f"Rank-1 {figure(entry, 'rank1', 1)} %, by guessing {_number(entry, 1)} %"
            rows.append((test, GALLERIES[gallery], said))
    leakage = figure(found["leakage"], "L", 2)
    rows.append(("inference", "attributes of the person, as in the next table", f"L {leakage}"))
    return table(["test (WP216)", "asked", "measured"], rows)


def _number(entry: Mapping[str, Any], decimals: int) -> str:
    return figure({"chance": entry["chance"]}, "chance", decimals)


def _attributes(found: Mapping[str, Any]) -> str:
    if not found["attributes"]:
        return "No attribute was measured."
    rows = [
        (code(name) + " (held out of training)" * ("held_out" in e),
         figure(e, "prevalence", 1), figure(e, "ap", 1), figure(e, "raw_ap", 1),
         code(e["attacker"]))
        for name, e in found["attributes"].items()
    ]  # fmt: skip
    head = ["attribute", "guessing, %", "AP on the release, %", "AP on raw video, %", "read by"]
    return table(head, rows)


def _categories(found: Mapping[str, Any]) -> str:
    rows = [
        (e["category"], f"by {', '.join(map(code, e['by']))}" if e["by"] else "**NOT tested**")
        for e in found["special_categories"]
    ]
    others = [
        n for n in found["tested"] if not any(n in e["by"] for e in found["special_categories"])
    ]
    more = f" Tested besides: {', '.join(map(code, others))}." if others else ""
    return (
        table(["category of Art. 9(1)", "tested"], rows)
        + "\n\nAn attribute is a proxy, recognised by its name: it does not cover the category. "
        + f"Biometric data that identify are the business of section 3.{more}"
        + "\n\n- [ ] Which of these categories can be seen or inferred in your video?"
    )


def _groups(found: Mapping[str, Any]) -> str:
    groups = found["utility"]["groups"]
    if not groups:
        return "How well the action is read of each group of people was **not measured**."
    rows = []
    for name, entry in groups.items():
        gap = None
        if None not in entry.values():
            gap = entry["present"] - entry["absent"]
        values = [figure({"x": v}, "x", 1) for v in (*entry.values(), gap)]
        rows.append((code(name), *values))
    head = ["attribute", "top-1 with it, %", "top-1 without it, %", "difference"]
    return table(head, rows) + "\n\nWithout intervals: small groups scatter."


def _clauses() -> str:
    known = clauses()
    rows = [(f"`{e['field']}`", e["why"], ", ".join(e["clauses"]) or NONE) for e in known["entry"]]
    seen = ", ".join(name for name, how in known["known"].items() if how == "contents")
    only = ", ".join(name for name, how in known["known"].items() if how == "title")
    return (
        "A pointer from a field of `eval.json` to a clause; not a claim that the clause is met. Of "
        f"{seen} the tables of contents were read, of {only} the titles; check the texts.\n\n"
        + table(["field", "what it shows", "clauses"], rows)
    )
