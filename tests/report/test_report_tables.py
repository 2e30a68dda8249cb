"""Findings and tables: what is said about the numbers, and that no number changes on the way."""

import csv
import io
import json

import pytest
from rich.console import Console

from velatura.report import findings, tables
from velatura.report.results import results
from velatura.report.run import number, span
from velatura.report.trade_off import trade_off


def row(name, u, l, method=None, width=0.02, **more):  # noqa: E741
    """A row with U and L and intervals of the given half width."""
    return {
        "name": name,
        "method": method or name,
        "U": u,
        "L": l,
        "U_interval": None if u is None else [u - width, u + width],
        "L_interval": None if l is None else [l - width, l + width],
        **more,
    }


RAW, CONSTANT = row("raw", 1.0, 1.0, "identity"), row("constant", 0.0, 0.03)


@pytest.fixture
def summary(finished):
    return json.loads((finished / "summary.json").read_text())


def render(summary, width=80):
    console = Console(width=width, file=io.StringIO())
    console.print(tables.terminal_table(summary))
    return console.file.getvalue()


# Findings


def test_the_headline_names_the_least_leaky_method_that_keeps_the_action():
    rows = [
        RAW,
        CONSTANT,
        row("blur", 0.7, 0.2),
        row("constrained", 0.86, 0.48),
        row("frame_difference", 0.91, 0.6),
        row("penalty_0.1", 1.0, 1.0, "penalty"),
    ]
    title, notes = findings.headline({"rows": rows})
    assert title == (
        "Constrained keeps 86\u202f% of the action and still leaks 48\u202f% of what raw video "
        "gives away."
    )
    assert "it leaks least; next is frame difference" in notes[0]
    assert findings.best(rows)["name"] == "constrained"


def curve(*points):
    return [{"data": d, "epochs": e, "by": "frame_cnn/0", "cmap": 50.0, "L": v}
            for d, e, v in points]  # fmt: skip


@pytest.mark.parametrize(
    ("points", "alike", "most", "exceeded"),
    [
        ([(1, 2, 0.5), (1, 8, 0.8), (4, 2, 0.9)], 0.8, 0.9, True),
        ([(0.25, 2, 0.3), (1, 8, 0.7), (4, 2, 0.6)], 0.7, 0.7, True),
        ([(1, 8, 0.504), (4, 2, 0.4)], 0.504, 0.504, False),  # a rounding
        ([(1, 8, 0.5), (4, 2, None), "x", {"data": 4}], 0.5, 0.5, False),
        ([], 0.5, 0.5, False),
    ],
)
def test_the_most_that_was_read_counts_the_curve(points, alike, most, exceeded):
    given = [p if not isinstance(p, tuple) else curve(p)[0] for p in points]
    found = findings.reach(row("blur", 0.9, 0.5, budget=given))
    assert (found.ladder, found.alike, found.most) == (0.5, alike, most)
    assert found.exceeded is exceeded
    assert found.L == (most if exceeded else 0.5)
    assert findings.reach(row("blur", 0.9, None, budget=given)) is None
    assert findings.beyond(row("blur", 0.9, None, budget=given)) == ""


def test_what_exceeded_a_headline_is_named_wherever_it_stands():
    rows = [
        row("raw", 1.0, 1.0, "identity", budget=curve((1, 2, 1.0))),
        row("constrained", 0.89, 0.5, budget=curve((0.25, 2, 0.2), (4, 2, 0.913), (1, 8, 0.905))),
        row("bdq", 0.81, 0.39, budget=curve((1, 2, 0.39), (1, 8, 0.6))),
        row("vita", 0.85, 0.61, budget=curve((1, 2, 0.61), (4, 2, 0.7))),
    ]
    title, notes = findings.headline({"rows": rows})
    assert title.startswith("Bdq keeps 81\u202f% of the action and still leaks at least 60\u202f%")
    # To more effort, constrained is no longer the next.
    assert "with more effort too, it leaks least; next is vita, which keeps 85" in notes[0]
    assert "leaks at least 70\u202f%" in notes[0]
    low = "L of constrained, bdq and vita is too low: more effort reads more (0.91, 0.60 and 0.70)."
    assert findings.too_low(rows) == low
    summary = {"rows": [{**r, "top1": 50.0, "cmap": 50.0} for r in rows]}
    for text in (
        tables.to_markdown(summary), render(summary, 200), str(results(summary)),
        str(trade_off(summary)),
    ):  # fmt: skip
        assert low in " ".join(text.split())
    assert "| 0.50 (0.48" in tables.to_markdown(summary)  # the table stays at the ladder's
    # Where not all have a curve, only the ladder is an effort that all had.
    del rows[2]["budget"]
    title, notes = findings.headline({"rows": rows})
    assert title.startswith("Bdq keeps 81\u202f% of the action and still leaks 39\u202f%")
    assert "with the effort that attackers had on all of them, it leaks least; next is " in notes[0]
    assert "constrained, which keeps 89\u202f% and leaks at least 91\u202f%" in notes[0]
    # A method that the ladder finds good and more effort does not.
    title, notes = findings.headline({"rows": rows[:2]})
    assert title == "No method that keeps the action hides who is in the video."
    assert "gives away at least 91\u202f%" in notes[0]
    weak = [row("blur", 0.7, 0.2, budget=curve((1, 8, 0.55)))]
    assert "still reads at least 55\u202f%" in findings.headline({"rows": weak})[1][0]
    # The attackers were too weak only where none of them came up to the action alone.
    assert "too weak" not in str(findings.headline({"rows": weak, "floor": {"L": 0.5}}))
    assert "too weak" in str(findings.headline({"rows": weak, "floor": {"L": 0.6}}))
    assert findings.too_low(rows[2:3]) == ""


def test_overlapping_intervals_are_not_told_apart():
    rows = [RAW, row("constrained", 0.86, 0.50), row("frame_difference", 0.9, 0.53)]
    _, notes = findings.headline({"rows": rows})
    assert "does not tell it apart from frame difference" in notes[0]
    assert findings.leaders(rows, "L", highest=False) == {"constrained", "frame_difference"}
    apart = [RAW, row("constrained", 0.86, 0.50), row("frame_difference", 0.9, 0.55)]
    assert findings.leaders(apart, "L", highest=False) == {"constrained"}
    assert findings.leaders(apart, "U", highest=True) == {"constrained", "frame_difference"}
    assert findings.leaders([RAW, CONSTANT], "L", highest=False) == set()  # not competing


CODED = {"codec": "h264", "crf": 23}


def test_a_row_after_a_codec_is_said_and_does_not_compete():
    """It is another row once more; that it leaks less is no other method's merit."""
    rows = [
        RAW,
        row("raw_h264", 0.97, 0.9, "identity", of="raw", **CODED),
        row("constrained", 0.86, 0.48),
        row("late", 0.9, 0.4, "constrained", of="constrained", **CODED),
        row("later", 0.85, 0.2, "constrained", of="constrained", codec="h264", crf=40),
    ]
    assert findings.best(rows)["name"] == "constrained"
    assert [r["name"] for r in findings.compete(rows)] == ["constrained"]
    assert findings.leaders(rows, "L", highest=False) == {"constrained"}
    assert findings.headline({"rows": rows})[0].startswith("Constrained keeps 86\u202f%")
    assert findings.headline({"rows": rows[:2]})[0].startswith("Only reference rows so far")
    two, one = findings.after_codecs(rows)
    alike = "examined alike, against raw video without a codec."
    assert two == (
        f"raw h264 and late: what raw and constrained release, after H.264 (crf 23); {alike}"
    )
    assert one == f"later: what constrained releases, after H.264 (crf 40); {alike}"
    summary = {"rows": [{**r, "top1": 50.0, "cmap": 50.0} for r in rows]}
    text = tables.to_markdown(summary)
    assert f"{two} {one}" in text
    assert "| late |" in text
    assert " ".join(render(summary).split()).endswith(f"{two} {one}")
    lines = list(csv.DictReader(io.StringIO(tables.to_csv(summary))))
    assert [(r["of"], r["codec"], r["crf"]) for r in lines[2:4]] == [
        ("", "", ""), ("constrained", "h264", "23"),
    ]  # fmt: skip
    assert two in str(results(summary))


def test_without_such_rows_nothing_is_said_of_codecs(summary):
    assert findings.after_codecs(summary["rows"]) == []
    for text in (tables.to_markdown(summary), render(summary), str(results(summary))):
        assert "H.264" not in text


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        ([], "Nothing has been measured yet."),
        ([RAW, CONSTANT], "Only reference rows so far"),
        ([RAW, row("blur", 0.7, 0.6)], "No method keeps 80\u202f% of the action."),
        ([RAW, row("spact", 0.9, 0.95)], "No method that keeps the action hides"),
        ([row("raw", None, None, "identity"), row("blur", None, None)], "could not be normalised"),
        ([{"name": "blur"}], "could not be normalised"),
    ],
)
def test_headlines_of_poor_runs(rows, title):
    assert title in findings.headline({"rows": rows})[0]


def test_weak_attackers_are_called_weak():
    rows = [RAW, row("constrained", 0.9, 0.2)]
    _, notes = findings.headline({"rows": rows, "floor": {"L": 0.4}})
    assert "too weak" in notes[-1]
    assert "Constrained:" in notes[-1]
    _, notes = findings.headline({"rows": rows, "floor": {"L": 0.1}})
    assert "too weak" not in " ".join(notes)


def test_percent():
    assert findings.percent(0.483) == "48\u202f%"
    assert findings.percent(-0.02) == "\u22122\u202f%"


# Numbers as text


def test_value_text():
    given = {"L": 0.483, "L_interval": [0.4349, 0.531], "U": -0.001, "cmap": None}
    assert tables.value_text(given, "L", 2) == ("0.48", "0.43\u20130.53")
    assert tables.value_text(given, "U", 2) == ("0.00", "")  # no minus zero
    assert tables.value_text(given, "cmap", 1) == ("\u2014", "")
    assert tables.value_text({"L": float("nan")}, "L", 2) == ("\u2014", "")
    minus = {"L": -0.03, "L_interval": [-0.05, 0.01]}
    assert tables.value_text(minus, "L", 2) == ("\u22120.03", "\u22120.05 to 0.01")
    assert tables.value_text({"L": 1.0, "L_interval": [1.0, 1.0]}, "L", 2) == ("1.00", "")


def test_number_and_span():
    assert number(3) == 3.0
    for nothing in (None, True, float("nan"), float("inf"), "3", [3]):
        assert number(nothing) is None
    assert span([1, 2]) == (1, 2)
    for nothing in (None, [1], [1, None], [None, 2], "12", {"low": 1}):
        assert span(nothing) is None


def test_csv_holds_every_field(summary):
    lines = list(csv.DictReader(io.StringIO(tables.to_csv(summary))))
    assert [line["name"] for line in lines] == [r["name"] for r in summary["rows"]]
    for line, r in zip(lines, summary["rows"], strict=True):
        assert float(line["L"]) == r["L"]
        assert float(line["L_low"]) == r["L_interval"][0]
        assert float(line["cmap_high"]) == r["cmap_interval"][1]
        assert [float(x) for x in line["top1_seeds"].split()] == r["top1_seeds"]
        hair = r["attributes"]["hair"]
        assert float(line["attributes.hair.ap"]) == hair["ap"]
        assert float(line["attributes.hair.ap_low"]) == hair["ap_interval"][0]
        attacks = [float(x) for x in line["attackers.frame_cnn.cmap"].split()]
        assert attacks == r["attackers"]["frame_cnn"]["cmap"]
        assert line["bound"] == ("" if r["bound"] is None else str(r["bound"]))


def test_markdown(summary):
    lines = tables.to_markdown(summary).splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    found = {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}
    r = summary["rows"][-1]
    assert f"| {r['L']:.2f} ({r['L_interval'][0]:.2f}\u2013" in found["constrained"]
    assert f"| {summary['chance']['cmap']:.1f} | 0.00 |" in found["chance"]
    assert f"| {summary['floor']['cmap']:.1f} |" in found["action alone"]


def test_markdown_survives_a_hostile_name():
    text = tables.to_markdown({"rows": [{"name": "a|b\nc"}]})
    assert "| a\\|b c |" in text


def test_terminal_table_fits_eighty_columns(summary):
    text = render(summary)
    assert max(map(len, text.splitlines())) <= 80
    for r in summary["rows"]:
        line = next(x for x in text.splitlines() if x.startswith(findings.label(r["name"])))
        assert f"{r['cmap']:.1f}" in line
        value, inside = tables.value_text(r, "L", 2)
        assert f"{value} {inside}".strip().replace("\u2013", "\u2026") in line
        assert r["strongest"][:9] in line
    assert "frame difference" in text


@pytest.mark.parametrize(
    "partial",
    [
        {"rows": []},
        {"rows": [{"name": "raw"}]},
        {"rows": [RAW, {"name": "blur", "top1": 61.5}], "chance": {"top1": 10.0}},
        {"rows": [RAW], "floor": {"cmap": 50.0, "L": None}, "chance": None},
    ],
)
def test_unfinished_tables(partial):
    text = render(partial)
    assert "Leakage L" in text
    for r in partial["rows"]:
        assert r["name"] in text
    assert tables.to_markdown(partial)
    tables.to_csv(partial)


def test_a_leaky_data_set_is_named_in_every_table(summary):
    """And one that is not leaves them as they are."""
    plain = render(summary), tables.to_markdown(summary), tables.to_csv(summary)
    assert not any("LEAKY" in text for text in plain)
    assert "dataset" not in plain[2].splitlines()[0].split(",")
    for marked in (
        {**summary, "dataset": "LEAKY: pa_hmdb51"},
        {**summary, "data": {**summary["data"], "private": {"name": "LEAKY: pa_hmdb51"}}},
    ):
        texts = render(marked), tables.to_markdown(marked), tables.to_csv(marked)
        assert all("LEAKY: pa_hmdb51" in text for text in texts)
        assert texts[1].endswith(plain[1])


def test_attackers_that_nobody_asked_for_are_named():
    """Only of rows that have a ladder; once all have looked there is nothing to say."""

    def row(*rungs: str, **more: object) -> dict:
        return {"name": "blur", "rungs": [{"rung": rung} for rung in rungs], **more}

    assert tables.not_tried([{"name": "old"}, {"name": "going on", "rungs": []}]) == []
    (text,) = tables.not_tried([row("A2", "A4")])
    assert "from random weights (A3: scratch = [" in text
    assert "(A5: inversion = {})" in text
    assert "(curve = [1, 4])" in text
    (text,) = tables.not_tried([row("A2", "A3", "A4"), row("A2", "A4", budget=[{"L": 1.0}])])
    assert "A3" not in text
    assert "(A5: inversion = {})" in text
    assert "curve" not in text
    assert tables.not_tried([row("A3", "A4", "A5", budget=[{"L": 1.0}])]) == []
    told = {"rows": [row("A2", "A4")]}
    assert "Not tried, and each may read more: " in tables.to_markdown(told)
    assert "Not tried, and" in str(tables.terminal_table(told).caption)
