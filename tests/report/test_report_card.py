"""The bundle: its figures, what it admits, and that it is written whole whatever it is given."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import studies
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt

from velatura.errors import BadInput
from velatura.protocols import _fresh
from velatura.report import card, findings
from velatura.report.card import FILES, model_card, write_card
from velatura.report.dpia import clauses, dpia
from velatura.report.evaluation import RUNGS, choose, evaluation, statement
from velatura.report.figures import attributes, trade_off
from velatura.report.limits import limits
from velatura.report.markdown import code, table
from velatura.report.markup import fit_name
from velatura.report.tables import to_markdown

RECORDS = Path(__file__).parents[2] / "experiments" / "records"
STUDIES = studies.all_of_them()
PAGES: dict[str, Callable[[dict[str, Any]], str]] = {
    "model_card.md": model_card, "dpia.md": dpia, "limits.md": limits,
}  # fmt: skip


def of(summary: dict[str, Any], row: str = "mine") -> dict[str, Any]:
    return evaluation(summary, choose(summary, row))


def saved(folder: Path, summary: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    text = files("velatura.report").joinpath("eval.schema.json").read_text()
    Draft202012Validator.check_schema(json.loads(text))
    return Draft202012Validator(json.loads(text))


# Figures


def test_the_figures_of_an_old_study():
    found = of(studies.old())
    assert found["utility"]["U"] == 0.8
    assert found["utility"]["fits"] == [{"network": "clip_cnn", "seed": 5, "top1": 74.0}]
    assert found["utility"]["plugin"] == {"clip_cnn": 70.0}
    leakage = found["leakage"]
    assert (leakage["L"], leakage["rung"], leakage["excess"]) == (0.45, "A4", 17.5)
    rungs = {entry["rung"]: (entry["cmap"], entry["L"]) for entry in leakage["rungs"]}
    # The attacker that does not adapt: (53 - 40) / (90 - 40).
    assert rungs == {
        "A0": (40.0, 0.0), "A1": (45.0, 0.1), "A1p": (None, None),
        "A2": (53.0, pytest.approx(0.26)), "A3": (None, None), "A4": (62.5, 0.45),
        "A5": (None, None),
    }  # fmt: skip
    # Seeds in the order of the scores, which is rising, whatever the file's.
    each = [(a["network"], a["seed"], a["cmap"]) for a in leakage["attackers"]]
    assert each == [
        ("clip_cnn", 0, 54.5), ("clip_cnn", 1, 55.5), ("frame_cnn", 0, 60.5),
        ("frame_cnn", 1, 62.5),
    ]  # fmt: skip
    skin = found["attributes"]["skin_color"]
    assert skin["ap_gain"] == pytest.approx((72.5 - 45) / 55)
    assert (skin["raw_ap"], skin["floor_ap"]) == (100.0, None)
    assert found["references"]["raw"]["cmap"] == 90.0
    assert found["method"]["settings"] == {"steps": 7}
    assert found["data"]["test"] == {"clips": 1200, "people": 150}
    assert found["provenance"]["summary_schema"] == 1


def test_attackers_from_random_weights_stand_on_their_own_rung():
    summary = studies.old()
    summary["config"]["evaluation"]["start"] = "scratch"
    found = of(summary)["leakage"]
    assert {a["rung"] for a in found["attackers"]} == {"A3"}
    assert {r["rung"]: r["cmap"] for r in found["rungs"]}["A3"] == 62.5


def test_the_figures_of_a_new_study():
    found = of(studies.new())
    leakage = found["leakage"]
    assert [entry["rung"] for entry in leakage["rungs"]] == list(RUNGS)
    assert {r["rung"]: r["cmap"] for r in leakage["rungs"]} == {
        "A0": 40.0, "A1": 45.0, "A1p": 43.0, "A2": 53.0, "A3": 55.0, "A4": 62.5, "A5": 58.0,
    }  # fmt: skip
    assert leakage["attackers"][-1] == {
        "network": "frame_cnn", "rung": "A5", "seed": 0, "cmap": 58.0, "L": 0.36,
        "used_in_training": True,
    }  # fmt: skip
    assert leakage["excess_interval"] == [15.0, 20.0]
    assert leakage["budget"][1]["cmap"] == 66.0
    assert (
        "; the strongest was frame_cnn, with 4 times the data and 8 epochs." in found["statement"]
    )
    undone = studies.new()
    del undone["rows"][2]["headline"]
    undone["rows"][2]["strongest"] = "A5 frame_cnn/0"
    assert of(undone)["leakage"]["rung"] == "A5"
    assert found["utility"]["groups"]["skin_color"] == {"present": 77.0, "absent": 70.5}
    assert found["utility"]["targets"]["r3d_18"] == {"top1": [70.0], "U": [None]}
    assert found["identity"]["raw_to_anon"]["tar"] == {"0.01": 8.0, "0.001": 1.5}
    assert found["inversion"] == {"psnr": 14.2, "ssim": 0.31}
    assert found["attributes"]["skin_color"]["floor_ap"] == 44.0
    assert found["attributes"]["skin_color"]["ap_gain"] == 0.5


def test_page_and_card_name_the_same_most():
    """The headline is .45; an attacker with four times the clips read .52."""
    summary = studies.new()
    assert "no attacker in this suite exceeded L = 0.52;" in of(summary)["statement"]
    assert findings.headline(summary)[0] == (
        "Mine keeps 80\u202f% of the action and still leaks at least 52\u202f% of what raw video "
        "gives away."
    )


def test_who_learned_raw_clips_alone_has_no_seed(schema: Draft202012Validator):
    """99 stands there in a summary, and no study may have it as a seed."""
    assert str(_fresh.START) == findings.START
    summary = studies.new()
    row = summary["rows"][2]
    row |= {"strongest": "A5 frame_cnn/99", "budget": []}
    row["headline"] |= {"rung": "A5", "by": "A5 frame_cnn/99"}
    row["rungs"][4]["by"] = row["attributes"]["face"]["attacker"] = "A5 frame_cnn/99"
    row["attackers"]["A5 frame_cnn"]["seeds"] = [99]
    found = of(summary)
    schema.validate(found)
    assert found["statement"].endswith("; the strongest was A5 frame_cnn.")
    assert found["leakage"]["attackers"][-1]["seed"] is None
    assert found["leakage"]["rungs"][-1]["by"] == "A5 frame_cnn"
    assert found["leakage"]["rungs"][-2]["by"] == "frame_cnn/1"  # this one has
    assert not re.search(
        r"\b99\b", json.dumps(found) + "".join(page(found) for page in PAGES.values())
    )
    assert fit_name("A5 frame_cnn/99") == "A5 frame cnn"
    assert fit_name("frame_cnn/9") == "frame cnn, seed 9"
    for shown in (to_markdown(summary), str(attributes(summary)), str(trade_off(summary))):
        assert "A5 frame_cnn" in shown
        assert "/99" not in shown


def test_what_was_held_out_is_marked(schema: Draft202012Validator):
    summary = studies.new()
    found = of(summary)
    assert "(held out)" not in model_card(found)
    summary["rows"][2]["attributes"]["face"]["held_out"] = True
    found = of(summary)
    schema.validate(found)
    assert [name for name, e in found["attributes"].items() if "held_out" in e] == ["face"]
    card = model_card(found)
    assert f"| {code('face')} (held out) |" in card
    assert f"| {code('skin_color')} |" in card
    assert "Held out: no training of this study was told it" in card
    assert f"| {code('face')} (held out of training) |" in dpia(found)


RUN = """
seed = 11
[data]
name = "ucf101"
root = "/somewhere/else"
[batches]
batch = 24
[target]
name = "r3d_18"
[method]
name = "constrained"
steps = 7
"""


def test_a_row_from_elsewhere_has_its_own_training(tmp_path: Path, schema: Draft202012Validator):
    """The card says how that run was trained, not how this study would train."""
    summary = studies.new()
    summary["config"]["rows"][0]["from"] = "runs/there"
    folder = saved(tmp_path / "study", summary)
    write_card(folder, "mine", tmp_path / "unknown")
    text = (tmp_path / "unknown" / "model_card.md").read_text()
    training = text.partition("## Training")[2].partition("\n## ")[0]
    assert "It was trained elsewhere" in training
    assert "batch = 8" not in training
    assert "| seed" not in training
    run = folder / "methods" / "mine" / "config.toml"
    run.parent.mkdir(parents=True)
    run.write_text(RUN)
    write_card(folder, "mine", tmp_path / "known")
    text = (tmp_path / "known" / "model_card.md").read_text()
    training = text.partition("## Training")[2].partition("\n## ")[0]
    for said in ("batch = 24", 'name = "r3d_18"', "steps = 7", 'seed = 11, data = "ucf101"'):
        assert said in training
    assert "batch = 8" not in training
    assert "somewhere" not in text
    found = json.loads((tmp_path / "known" / "eval.json").read_text())
    schema.validate(found)
    assert found["trained_elsewhere"] is True
    assert found["training"]["run"] == {"seed": 11, "data": "ucf101"}
    # The study's own training, though its run's file lies there as well: nothing is said twice.
    given = summary["config"]
    same = {key: given.get(key) for key in ("data", "batches", "target")}
    same["data"] = {**given["data"], "root": "moved"}
    found = evaluation(summary, choose(summary, "mine"), None, same)
    assert found["trained_elsewhere"] is False
    assert found["training"] == {"batches": {"batch": 8}, "target": given["target"]}


@pytest.mark.parametrize(
    ("L", "cmap", "said"),
    [
        (0.45, 62.5, "exceeded L = 0.45 (95 % interval of the strongest: 0.42\u20130.48);"),
        (0.4501, 62.5, "exceeded L = 0.46 "),  # 0.45 would be exceeded
        (-0.004, 39.8, "exceeded L = 0.00 "),
        (-0.3, 25, "exceeded L = \u22120.30 "),
        (None, 62.51, "exceeded a cMAP of 62.6 %;"),
        (None, None, "no attacker's figure is recorded, so nothing is said of leakage."),
    ],
)
def test_the_one_claim_holds_to_its_last_digit(L: float | None, cmap: float | None, said: str):
    summary = studies.old()
    summary["rows"][2] |= {"L": L, "cmap": cmap}
    assert said in of(summary)["statement"]
    assert of(summary)["statement"].startswith(
        "On the test split of vp_hmdb51 (1,200 clips of 150 people or films), no attacker"
    )


def test_after_a_codec_it_is_the_same_anonymizer(tmp_path: Path, schema: Draft202012Validator):
    """Its figures beside the other's, its settings and its run's, and a claim that says how."""
    summary = studies.coded()
    folder = saved(tmp_path / "study", summary)
    run = folder / "methods" / "mine" / "config.toml"
    run.parent.mkdir(parents=True)
    run.write_text(RUN)
    for row in ("", "late"):  # the only learned row is still one
        write_card(folder, row, tmp_path / f"card{row}")
    plain, late = (
        json.loads((tmp_path / name / "eval.json").read_text()) for name in ("card", "cardlate")
    )
    schema.validate(late)
    assert (plain["row"], late["row"]) == ("mine", "late")
    assert late["method"] == plain["method"]
    assert late["method"]["settings"] == {"steps": 7}
    assert late["training"] == plain["training"]
    assert late["training"]["run"]["seed"] == 11
    people = "(1,200 clips of 150 people or films)"
    assert f"{people}, after H.264 (crf 30), no attacker" in late["statement"]
    assert f"{people}, no attacker" in plain["statement"]
    assert (late["examination"]["codec"], late["examination"]["crf"]) == ("h264", 30)
    assert "codec" not in plain["examination"]
    last = plain["table"][-2]
    assert (last["row"], last["of"], last["codec"], last["crf"]) == ("late", "mine", "h264", 30)
    assert "of" not in plain["table"][0]
    for found in (plain, late):
        assert "codecs and networks" not in {e["subject"] for e in found["not_tested"]}
    alone = studies.coded()
    del alone["rows"][3]
    assert "codecs and networks" in {e["subject"] for e in of(alone)["not_tested"]}
    # Like is compared with like.
    assert not [said for said in plain["cautions"] if "did no worse" in said]
    summary["rows"][4]["crf"] = 30
    (said,) = [said for said in of(summary, "late")["cautions"] if "did no worse" in said]
    assert said.startswith("outline_h264 did no worse on both")
    text = (tmp_path / "card" / "model_card.md").read_text()
    assert re.search(r"the same after `H\.264 \(crf 30\)` +\| +78\.5 \(", text)
    assert "rounded to 8 bits." in text
    text = (tmp_path / "cardlate" / "model_card.md").read_text()
    assert "rounded to 8 bits, and put through `H.264 (crf 30)`." in text


def test_what_was_measured_is_no_longer_called_untested():
    before = {entry["subject"] for entry in of(studies.old())["not_tested"]}
    after = {entry["subject"] for entry in of(studies.new())["not_tested"]}
    assert before - after == {
        "singling out", "linkability", "identity after an undoing", "inversion",
        "rungs of the ladder", "attackers with more means", "codecs and networks",
        "the action by group",
    }  # fmt: skip
    assert {"attributes without labels", "humans", "side knowledge", "other data"} <= after
    (rungs,) = (e for e in of(studies.old())["not_tested"] if e["subject"] == "rungs of the ladder")
    assert rungs["note"] == "Not measured: A1p, A3, A5."


def test_special_categories_are_told_by_names_and_no_more():
    summary = studies.old()
    entry = summary["rows"][2]["attributes"]["face"]
    names = ("skin_tone", "bare_skin", "a6_hair_color", "a17_color", "relationship", "gender")
    summary["rows"][2]["attributes"] = dict.fromkeys(names, entry)
    found = {e["category"]: e["by"] for e in of(summary)["special_categories"]}
    assert found["racial or ethnic origin"] == ["skin_tone", "a17_color"]
    assert found["sex life or sexual orientation"] == ["relationship"]
    assert found["health"] == found["biometric data that identify"] == []
    assert len(found) == 8
    measured = {e["category"]: e["by"] for e in of(studies.new())["special_categories"]}
    assert measured["biometric data that identify"] == list(of(studies.new())["identity"])


# What it admits


def test_an_old_study_has_its_cautions():
    said = of(studies.old())["cautions"]
    assert said == [
        "Training played against networks of the kind frame_cnn; the attackers of that kind are "
        "fresh all the same.",
        "What is read best: skin_color (AP 72.5 (70.5\u201374.5)), face (AP 52.5 "
        "(50.5\u201354.5)).",
    ]


def test_a_new_study_has_more():
    said = " ".join(of(studies.new())["cautions"])
    for expected in (
        "A target that knows raw video only (r3d_18) reads 41.0 % of the actions, where the same "
        "network retrained reads 70.0 %",  # not 74, which is the other's
        "Read better than the action alone tells it, at 5 % after Holm: skin_color.",
        "with skin_color 77.0 %, without 70.5 %.",
        "People are found again 6.0 times as often as by guessing (raw to anon).",
        "An attacker with another budget reached a cMAP of 66.0 %, above the 62.5 %",
    ):
        assert expected in said
    assert "anon to anon" not in said  # 1.5 times
    assert "(clip_cnn) reads" not in said  # 4 points less
    alone = studies.new()
    alone["rows"][2]["targets"]["clip_cnn"]["top1"] = [90.0, None, 88.0]
    del alone["rows"][2]["targets"]["r3d_18"]  # nothing to compare its plug-in with
    said = " ".join(of(alone)["cautions"])
    assert (
        "(clip_cnn) reads 70.0 % of the actions, where the same network retrained reads 89.0"
        in said
    )
    assert "r3d_18" not in said


def changed(**row: Any) -> dict[str, Any]:
    summary = studies.old()
    summary["rows"][2] |= row
    return summary


def with_data(**data: Any) -> dict[str, Any]:
    summary = studies.old()
    summary["data"] |= data
    return summary


def generated() -> dict[str, Any]:
    summary = studies.old()
    summary["config"]["data"]["name"] = "people"
    return summary


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        (changed(U=0.9, L=0.6), "outline did no worse on both in the same study: U 0.90"),
        (changed(cmap=43.0, L=0.06), "reads 2.0 points of cMAP less than the action alone tells"),
        (changed(L_interval=[0.2, 1.0]), "The interval of L reaches 1"),
        (changed(U=0.79), "It keeps 79\u202f% of the action, less than the 80\u202f%"),
        (changed(beyond_bound=0.107), "10.7 % of the test clips were changed by more than the b"),
        (changed(L=None), "U or L has no scale"),
        (with_data(test_people=34), "Only 34 people or films to test on"),
        ({**studies.old(), "dataset": "LEAKY: pa"}, "LEAKY: pa: test videos were trained on"),
        ({**studies.old(), "failed": [{"row": "vita"}]}, "not in the table: vita."),
        (generated(), "These are generated people"),
    ],
)
def test_each_caution_is_there_for_its_reason_alone(summary: dict[str, Any], said: str):
    assert any(said in sentence for sentence in of(summary)["cautions"])
    assert not any(said in sentence for sentence in of(studies.old())["cautions"])


# The form


@pytest.mark.parametrize("name", STUDIES)
def test_it_is_as_its_schema_says(schema: Draft202012Validator, name: str):
    found = of(*STUDIES[name])
    schema.validate(json.loads(json.dumps(found, allow_nan=False)))


def test_the_schema_refuses_what_is_otherwise(schema: Draft202012Validator):
    found = of(studies.new())
    for broken in (
        {**found, "schema": "velatura-eval/2"},
        {**found, "more": 1},
        {k: v for k, v in found.items() if k != "not_tested"},
        {**found, "not_tested": []},
        {**found, "leakage": {**found["leakage"], "L": "0.4"}},
        {**found, "leakage": {**found["leakage"], "rungs": found["leakage"]["rungs"][:6]}},
        {**found, "utility": {**found["utility"], "U_interval": [0.1]}},
    ):
        assert not schema.is_valid(broken)


@pytest.mark.parametrize(
    "record", sorted(p.name for p in RECORDS.iterdir() if (p / "summary.json").exists())
)
def test_every_row_of_every_record_has_a_card(schema: Draft202012Validator, record: str):
    summary = json.loads((RECORDS / record / "summary.json").read_text())
    for row in summary["rows"]:
        found = of(summary, row["name"])
        schema.validate(found)
        assert all(page(found) for page in PAGES.values())
        assert row["L"] is None or f"exceeded L = {row['L'] + 0.005:.2f}"[:14] in found["statement"]
        assert found["provenance"]["data"] == summary["data"]["fingerprint"]


def test_every_figure_stands_on_the_card():
    text = model_card(of(studies.new()))
    for line in (
        "| no information | 10.0 | 0.00 | 40.0 | 0.00 |",
        "| action alone | \u2014 | \u2014 | 45.0 | 0.10 |",
        "| raw video | 90.0 (87.0\u201393.0) | 1.00 | 90.0 (88.0\u201392.0) | 1.00 |",
        "| **`mine`** | 74.0 (71.0\u201377.0) | 0.80 (0.77\u20130.83) | 62.5 (60.5\u201364.5) | "
        "0.45 (0.42\u20130.48) |",
        "| A5 | undoes the anonymizer first, then reads with what was trained on raw video | "
        "58.0 (57.0\u201359.0) | 0.36 (0.34\u20130.38) | `frame_cnn/1` |",
        "| `frame_cnn` | A4 | 1 | 62.5 | 0.45 | yes |",
        "| `outline` | fixed | 0.90 (0.88\u20130.92) | 0.60 (0.58\u20130.62) |",
        "| 4.00 | 8 | `frame_cnn` | 66.0 | 0.52 |",
        "| `skin_color` | 45.0 | 44.0 | 100.0 (98.0\u2013102.0) | 72.5 (70.5\u201374.5) | 70.0 | "
        "66.0 | 61.0 | 0.50 | 0.120 | 0.002 | `frame_cnn/1` |",
        "Rank-1 12.0 (9.0\u201315.0) %, by guessing 2.0 %; TAR at FAR `0.01`: 8.0 %; TAR",
        "PSNR 14.2 dB, SSIM 0.31.",
        "Beyond the action alone the strongest attacker reads 17.5 (15.0\u201320.0) points",
        "| command | `velatura evaluate study.toml` |",
        "`velatura card RUN --row mine`",
    ):
        assert line in text


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_left_out_without_a_word(name: str, page: str):
    """No Python value and no empty section on a page, whatever lacks."""
    text = PAGES[page](of(*STUDIES[name]))
    assert not re.findall(r"\bNone\b(?! known)|\bnan\b|\{|\binf\b", re.sub(r"`[^\n]*`", "", text))
    assert not re.findall(r"^(#+ .*)\n+(?=#{1,2} |\Z)", text, re.M)
    assert text.endswith("\n")
    assert text == PAGES[page](of(*STUDIES[name]))


def test_the_helper_says_first_what_it_is_not_and_asks():
    text = dpia(of(studies.new()))
    assert text.splitlines()[2].startswith("> **This is not legal advice.**")
    assert text.count("- [ ] ") >= 25
    assert "- [x]" not in text
    for article in (
        "Art. 5(1)(c)", "5(1)(e)", "Art. 9", "Art. 25", "Art. 30", "Art. 32", "Art. 35(7)(a)",
        "Art. 35(7)(b)", "Art. 35(7)(c)", "Art. 35(7)(d)", "Recital 26", "Annex III", "Annex IV",
    ):  # fmt: skip
        assert article in text
    assert "to be checked by your counsel; dates at which\nduties begin are under revision" in text
    assert "| racial or ethnic origin | by `skin_color` |" in text
    assert "| health | **NOT tested** |" in text
    assert "| `skin_color` | 77.0 | 70.5 | 6.5 |" in text
    assert "| linkability | is it the same person twice, whoever it is | Rank-1 3.0" in text
    without = dpia(of(studies.old()))
    assert "of each group of people was **not measured**." in without
    assert without.count("| **not measured** |") == 3


def test_every_clause_is_of_a_field_and_of_a_standard_that_is_named(schema: Draft202012Validator):
    known = clauses()
    for entry in known["entry"]:
        inner = schema.schema
        for part in entry["field"].split("."):
            inner = inner["properties"][part]
        for clause in entry["clauses"]:
            assert any(clause == s or clause.startswith(f"{s} ") for s in known["known"]), clause
    assert set(known["known"].values()) == {"article", "contents", "title"}
    assert dpia(of(studies.old())).count("ISO/IEC 27559:2022 8.2.3") == 1


# Strangers


def rendered(text: str) -> str:
    return MarkdownIt("commonmark").enable("table").render(text)


def tags_of(html: str) -> list[str]:
    return re.findall(r"<([a-z]+\d?)", html)


@pytest.mark.parametrize("page", PAGES)
def test_a_strangers_words_stay_words(page: str):
    """As GitHub reads it: the same headings and tables as of an honest study, nothing live."""
    html = rendered(PAGES[page](of(studies.hostile(), studies.EVIL)))
    tags, honest = tags_of(html), tags_of(rendered(PAGES[page](of(studies.new()))))
    assert set(tags) <= set(honest)
    assert not set(tags) & {"script", "img", "a", "iframe"}
    for tag in ("h1", "h2", "h3", "table"):
        assert tags.count(tag) == honest.count(tag)
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


@pytest.mark.parametrize("page", PAGES)
def test_every_row_of_a_table_has_the_cells_of_its_head(page: str):
    text = PAGES[page](of(studies.hostile(), studies.EVIL))
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, re.M)
    assert len(blocks) >= (4 if page != "limits.md" else 0)
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_code_spans():
    assert code("a") == "`a`"
    assert code("a`b") == "``a`b``"
    assert code("`a``b") == "``` `a``b ```"
    assert code(" a \n\t b\u200b\x00 ") == "`a b`"
    assert code(None) == code("") == code("\n") == "\u2014"
    assert code("x" * 300) == f"`{'x' * 199}\u2026`"
    for text in ("a`b", "``", "`", "a``", "\\`", "```\nx"):
        (inner,) = re.findall("<code>(.*)</code>", rendered(code(text)))
        assert inner == " ".join(text.split())


def test_a_table():
    text = table(["a", "b", "c"], [["1", "x|y", "\u22122.0"], ["2", "z", "\u2014"]])
    assert (
        text
        == "| a | b | c |\n| ---: | --- | ---: |\n| 1 | x\u00a6y | \u22122.0 |\n| 2 | z | \u2014 |"
    )


def test_a_foreign_name_opens_no_file():
    found = of(studies.hostile(), studies.EVIL)
    assert found["method"]["name"] == "../penalty"
    assert "Algorithm 1" not in model_card(found)
    assert card._described("methods", "../methods/penalty") == ""
    assert card._described("methods", "__init__") == ""
    assert card._described("methods", "penalty").startswith("Penalty: keep the action readable")


# Which row


def test_the_only_learned_row_needs_no_name():
    assert choose(studies.old())["name"] == "mine"


@pytest.mark.parametrize(
    ("rows", "wanted", "says"),
    [
        (["raw", "mine", "other"], "", r"holds 2 learned rows; .* with --row: mine, other\.$"),
        (["raw", "blur"], "", r"holds no learned row; .* with --row: raw, blur\.$"),
        (["raw", "mine"], "mien", r"No row named 'mien'\. Did you mean 'mine'\?"),
        ([], "", "No row has been measured yet"),
    ],
)
def test_a_row_that_is_not_clear(rows: list[str], wanted: str, says: str):
    with pytest.raises(BadInput, match=says):
        choose({"rows": [{"name": name} for name in rows]}, wanted)


# The files


def test_all_four_are_written_once(tmp_path: Path):
    study = saved(tmp_path / "study", studies.old())
    record = {"provenance": {"config": "c0ffee"}}
    (study / "records.jsonl").write_text(json.dumps(record) + "\n")
    done = write_card(study)
    assert done.folder == study / "card"
    assert done.row == "mine"
    assert sorted(path.name for path in done.folder.iterdir()) == sorted(FILES)
    found = json.loads((done.folder / "eval.json").read_text())
    assert found["provenance"]["config"] == "c0ffee"
    assert found["statement"] == done.statement
    assert "`c0ffee`" in (done.folder / "model_card.md").read_text()
    first = {name: (done.folder / name).read_bytes() for name in FILES}
    with pytest.raises(BadInput, match=r"holds a card already .*model_card.md.* --overwrite, or n"):
        write_card(study)
    (done.folder / "limits.md").write_text("old")
    write_card(study, overwrite=True)
    assert {name: (done.folder / name).read_bytes() for name in FILES} == first
    other = write_card(study, "outline", tmp_path / "else" / "where")
    assert sorted(path.name for path in other.folder.iterdir()) == sorted(FILES)


def test_a_run_is_read_where_it_was_evaluated(tmp_path: Path):
    saved(tmp_path / "run" / "evaluation", studies.old())
    assert write_card(tmp_path / "run").folder == tmp_path / "run" / "card"


@pytest.mark.parametrize("broken", ["os.replace", "os.fsync"])
@pytest.mark.parametrize("older", [False, True])
def test_none_is_written_where_one_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, older: bool
):
    """The third of four breaks: the folder is as it was, and without scraps."""
    study = saved(tmp_path / "study", studies.old())
    folder = tmp_path / "card"
    folder.mkdir()
    if older:
        for name in FILES:
            (folder / name).write_text(f"old {name}")
    before = {path.name: path.read_text() for path in folder.iterdir()}
    real = getattr(os, broken.partition(".")[2])
    calls = []

    def full(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == (6 if broken == "os.replace" and older else 3):
            raise OSError(28, "No space left on device")
        return real(*args)

    monkeypatch.setattr(broken, full)
    with pytest.raises(BadInput, match=r"\(No space left on device\); nothing was written"):
        write_card(study, out=folder, overwrite=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


@pytest.mark.parametrize("where", ["file", "file/inner"])
def test_an_out_that_is_no_folder(tmp_path: Path, where: str):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match="Cannot write the card to .*; nothing was written"):
        write_card(saved(tmp_path / "study", studies.old()), out=tmp_path / where)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", STUDIES)
def test_any_summary_gives_a_card(tmp_path: Path, name: str):
    summary, row = STUDIES[name]
    done = write_card(saved(tmp_path, summary), row)
    assert done.statement == json.loads((done.folder / "eval.json").read_text())["statement"]
    assert "\n" not in done.statement


def test_without_torch(tmp_path: Path):
    saved(tmp_path, studies.new())
    words = ("import sys", "sys.modules['torch'] = sys.modules['plotly'] = None",
             "from velatura.cli import main", f"main(['card', {str(tmp_path)!r}])")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", "; ".join(words)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{statement(of(studies.new()))}\n"
        f"{tmp_path / 'card'}: model_card.md, dpia.md, limits.md, eval.json\n"
    )


# The page


def test_the_commands_of_the_page_run(root: Path, tmp_path: Path):
    """Every line of docs/card.md, on the records of the demo's seed 0."""
    shutil.copytree(root / "experiments/records/demo-seed-0", tmp_path / "runs" / "demo")
    page = (root / "docs" / "card.md").read_text(encoding="utf-8")
    lines = re.findall(r"^velatura (card .*)$", page, re.M)
    assert len(lines) == 3
    for line in lines:
        command = [sys.executable, "-W", "error", "-m", "velatura", *shlex.split(line, True)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), line
        assert "no attacker in this suite exceeded L = 0." in done.stdout
    for folder in ("runs/demo/card", "cards/filter"):
        assert sorted(p.name for p in (tmp_path / folder).iterdir()) == sorted(FILES)
    told = re.findall(r"^\| `([a-z_.]+)` \|", page, re.M)
    assert sorted(told) == sorted(FILES)
