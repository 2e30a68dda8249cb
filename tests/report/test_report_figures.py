"""The figures hold the run's numbers; colours are left to the page."""

import json

import pytest

from velatura.report import figures


@pytest.fixture
def summary(finished):
    return json.loads((finished / "summary.json").read_text())


def test_trade_off_draws_every_row_where_its_numbers_are(summary):
    spec = figures.trade_off(summary)
    drawn = {}
    for trace in spec["data"]:
        for i, text in enumerate(trace.get("hovertext", ())):
            drawn[text.split("</b>")[0].removeprefix("<b>")] = (trace, i)
    assert drawn["ideal"][0]["x"] == [0]
    assert drawn["ideal"][0]["y"] == [1]
    for row in summary["rows"]:
        trace, i = drawn[row["name"].replace("_", " ")]
        assert (trace["x"][i], trace["y"][i]) == (row["L"], row["U"])
        low, high = row["L_interval"]
        assert trace["x"][i] + trace["error_x"]["array"][i] == pytest.approx(high)
        assert trace["x"][i] - trace["error_x"]["arrayminus"][i] == pytest.approx(low)
        low, high = row["U_interval"]
        assert trace["y"][i] + trace["error_y"]["array"][i] == pytest.approx(high)
        assert trace["y"][i] - trace["error_y"]["arrayminus"][i] == pytest.approx(low)
        x0, x1 = spec["layout"]["xaxis"]["range"]
        assert x0 < row["L_interval"][0]
        assert row["L_interval"][1] < x1
    assert spec["meta"]["floor"] == summary["floor"]["L"]


def test_trade_off_leaves_out_what_has_no_numbers(summary):
    summary["rows"][2]["L"] = None
    del summary["rows"][3]["U"]
    spec = figures.trade_off(summary)
    names = [p["text"] for p in spec["meta"]["labels"]]
    assert "blur" not in names
    assert "downsample" not in names
    assert len(names) == 1 + len(summary["rows"]) - 2


def test_bars_begin_at_the_prevalence_and_end_at_the_ap(summary):
    *bars, marks = figures.attributes(summary)["data"]
    assert len(bars) == len(summary["rows"])
    for bar, row in zip(bars, summary["rows"], strict=True):
        for name, base, length, plus in zip(
            bar["y"], bar["base"], bar["x"], bar["error_x"]["array"], strict=True
        ):
            entry = row["attributes"][name.replace(" ", "_")]
            assert base == entry["prevalence"]
            assert base + length == pytest.approx(entry["ap"])
            assert base + length + plus == pytest.approx(entry["ap_interval"][1])
    first = summary["rows"][0]["attributes"]
    assert marks["x"] == [entry["prevalence"] for entry in first.values()]


def test_row_colours_differ(summary):
    colours = figures.row_colours(summary["rows"])
    assert len(set(colours)) == len(colours)
    assert colours[0] == "@reference"


def test_curves():
    log = [
        {"step": 0, "player": "anonymizer", "loss": 2.0, "rms": 0.0, "active": 0.0, "mu": 1},
        {"step": 0, "player": "adversaries", "loss": 5.0},
        {"step": 1, "player": "anonymizer", "loss": 1.5, "rms": 0.12, "active": 0.25, "mu": 2},
        {"step": 2, "player": "anonymizer", "loss": None, "rms": float("nan")},
    ]
    panels = figures.curves(log, bound=0.1)
    mine = panels["Losses of the anonymizer"]["data"]
    assert (mine[0]["x"], mine[0]["y"]) == ([0, 1], [2.0, 1.5])
    assert panels["Losses of the adversaries"]["data"][0]["y"] == [5.0]
    rms, bound = panels["RMS change, before the hinge"]["data"]
    assert rms["y"] == [0, 0.12]
    assert bound["y"] == [0.1, 0.1]
    assert panels["Share of items beyond the bound"]["data"][0]["y"] == [0, 0.25]
    assert panels["Other terms"]["data"][0]["name"] == "mu"
    assert list(figures.curves([{"step": 0, "rms": 0.1}], None)) == ["RMS change, before the hinge"]
    assert figures.curves([{"note": "nothing"}], None) == {}


def test_names_are_escaped():
    row = {"name": "<a href=x>", "method": "x", "U": 0.5, "L": 0.5}
    row["attributes"] = {"<b>": {"ap": 60.0, "prevalence": 50.0, "attacker": "<i>"}}
    text = json.dumps([figures.trade_off({"rows": [row]}), figures.attributes({"rows": [row]})])
    assert "<a " not in text
    assert "<i>" not in text
    assert "&lt;a href=x&gt;" in text
