"""The parts of the page: what each says of a run's numbers, and of what a run does not have."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
from fake_run import ATTRIBUTES, ROWS

from velatura.report.effort import curves, effort, points, verdict
from velatura.report.figures import MAX_POINTS, attributes, trade_off
from velatura.report.figures import curves as training_curves
from velatura.report.findings import label
from velatura.report.identity import identity
from velatura.report.ladder import climb, excess, figure, ladder
from velatura.report.markup import Cell, Row, Section, table
from velatura.report.pictures import Pictures
from velatura.report.published import points as printed
from velatura.report.published import published
from velatura.report.run import Run
from velatura.report.trade_off import trade_off as section_of_trade_off
from velatura.report.utility import utility


def text_of(html):
    """HTML as words."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", str(html)))


@pytest.fixture
def old(finished):
    return json.loads((finished / "summary.json").read_text())


@pytest.fixture
def new(full):
    return json.loads((full / "summary.json").read_text())


# The front


def front_of(spec):
    return next(t for t in spec["data"] if t["name"] == "front")


def test_the_front_is_stairs_over_what_competes():
    """By hand: of four points two are on the front; raw and constant do not count."""
    rows = [
        {"name": "raw", "U": 1.0, "L": 1.0},
        {"name": "constant", "U": 0.0, "L": 0.0},
        {"name": "blur", "U": 0.5, "L": 0.4},
        {"name": "vita", "U": 0.8, "L": 0.2},
        {"name": "spact", "U": 0.9, "L": 0.6},
        {"name": "mass", "U": 0.7, "L": 0.9},
    ]
    spec = trade_off({"rows": rows})
    assert front_of(spec)["x"] == [0.2, 0.2, 0.6, 1.0]
    assert front_of(spec)["y"] == [0.0, 0.8, 0.9, 0.9]
    body = text_of(section_of_trade_off({"rows": rows}))
    # .8 x (.6 - .2) + .9 x (1 - .6)
    assert "Hypervolume 0 for raw video, 1 ideal 0.680" in body
    assert "L at U of 0.95 or more no anonymizer here reaches it none" in body
    # sqrt((.2^2 + .2^2) / 2)
    assert "vita; raw video and a constant have 0.71 0.20" in body
    assert "no action-only floor" in body


def test_no_front_without_anonymizers():
    spec = trade_off({"rows": [{"name": "raw", "U": 1.0, "L": 1.0}]})
    assert front_of(spec)["x"] == []
    assert "Hypervolume" not in str(section_of_trade_off({"rows": [{"name": "raw"}]}))


def test_published_points_are_divided_by_their_own_raw():
    found = {p["label"]: p for p in printed()}
    chance = 100 / 101
    assert found["SPACT"]["U"] == pytest.approx((62.03 - chance) / (62.3 - chance), abs=1e-6)
    assert found["SPACT"]["L"] == pytest.approx((57.43 - 24.78) / (64.41 - 24.78))
    penalty = found["Penalty, B = 0.3"]
    assert penalty["U"] == pytest.approx((78.26 - chance) / (78.88 - chance), abs=1e-6)
    assert len(found) == 11


def test_published_takes_any_points():
    given = [{"label": "<b>x</b>", "U": 0.5, "L": 0.25, "source": "<i>"}]
    found = published(given)
    assert (found["trace"]["x"], found["trace"]["y"]) == ([0.25], [0.5])
    assert "&lt;i&gt;" in found["trace"]["hovertext"][0]
    assert found["labels"][0]["text"] == "&lt;b&gt;x&lt;/b&gt;"


# The ladder


def test_every_rung_is_climbed(new):
    row = new["rows"][-1]
    rungs = climb(new, row)
    assert [r.code for r in rungs] == ["A0", "A1", "A1p", "A2", "A3", "A4", "A5"]
    assert [r.code for r in rungs if r.headline] == ["A4"]
    assert rungs[0].cmap == new["chance"]["cmap"]
    assert rungs[0].attributes["hair"]["ap"] == row["attributes"]["hair"]["prevalence"]
    assert rungs[1].attributes == new["floor"]["attributes"]
    assert rungs[4].inside == tuple(row["rungs"][2]["cmap_interval"])
    assert rungs[4].L == row["rungs"][2]["L"]


def test_an_older_run_has_the_rungs_that_it_has(old):
    row = old["rows"][2]
    rungs = climb(old, row)
    assert [r.code for r in rungs] == ["A0", "A1", "A2", "fresh"]
    assert rungs[2].cmap == row["static_cmap"]
    assert (rungs[3].cmap, rungs[3].headline) == (row["cmap"], True)
    section, panels = ladder(old)
    assert [len(p) for p in panels] == [1] * len(ROWS)  # no rung but one knows the attributes
    assert "Not measured in this run: A1p, A3, A4 and A5" in section.body


def test_bars_of_the_ladder_begin_at_guessing_and_end_at_the_rung(new):
    row = new["rows"][2]
    overall, *each = figure(new, row)
    bars = overall["data"][0]
    assert bars["base"] == [new["chance"]["cmap"]] * 6
    ends = [b + x for b, x in zip(bars["base"], bars["x"], strict=True)]
    assert ends == pytest.approx([new["floor"]["cmap"], *(r["cmap"] for r in row["rungs"])])
    low, high = row["rungs"][3]["cmap_interval"]
    assert ends[4] - bars["error_x"]["arrayminus"][4] == pytest.approx(low)
    assert ends[4] + bars["error_x"]["array"][4] == pytest.approx(high)
    assert bars["y"] == ["A1", "A1p", "A2", "A3", "<b>A4 \u25c2</b>", "A5"]
    assert [panel["title"] for panel in each] == [a.replace("_", " ") for a in ATTRIBUTES]
    hair = each[ATTRIBUTES.index("hair")]["data"][0]
    assert hair["base"][0] + hair["x"][1] == pytest.approx(
        row["rungs"][0]["attributes"]["hair"]["ap"]
    )
    assert f"A4 {row['cmap']:.1f}" in overall["summary"]


def test_the_excess_is_said(new, old):
    row = new["rows"][-1]
    above = row["headline"]["excess"]
    assert f"{above:.1f} points above what the true action alone tells" in excess(new, row)
    assert "95\u202f% interval" in excess(new, row)
    row["headline"]["excess_interval"] = [-1.0, 2.0]
    assert "does not tell the two apart" in excess(new, row)
    blur = old["rows"][2]
    assert f"{blur['cmap'] - old['floor']['cmap']:.1f} points above" in excess(old, blur)
    blur["cmap"] = old["floor"]["cmap"] - 3
    assert "is a weak one" in excess(old, blur)
    assert "no action-only floor" in excess({**old, "floor": None}, blur)
    assert excess(old, {"name": "x"}) == ""


def test_that_no_attacker_exceeded_it_is_said_only_where_none_did(new):
    """Of constrained, four times the clips read .12 more; of all others a rounding."""
    body = text_of(ladder(new)[0].body)
    assert body.count("No attacker of this suite exceeded it.") == len(ROWS) - 1
    row = new["rows"][-1]
    most = row["L"] + 0.12
    said = f"An attacker with more effort read L = {most:.2f}, with more clips: see the"
    assert said in body
    assert said in excess(new, row)
    assert "The strongest attacker of the ladder, A4" in excess(new, row)
    row["budget"] = [*row["budget"], *budget((1, 8, 0.8))]
    assert "read L = 0.80: see the attack-budget curves." in text_of(ladder(new)[0].body)
    row["budget"] = [*row["budget"], *budget((4, 8, 0.9))]
    assert "read L = 0.90; with no more clips, 0.80: see" in text_of(ladder(new)[0].body)
    del row["budget"]
    assert text_of(ladder(new)[0].body).count("exceeded it.") == len(ROWS)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"attackers": ["a", "b"], "seeds": [0]},
            "release: 2 kinds, 1 seed each, one learning rate",
        ),
        (
            {"attackers": ["a"], "seeds": [0, 1], "rates": [0.3, 1.0, 3.0]},
            "release: 1 kind, 2 seeds each, the best of 3 learning rates on validation clips",
        ),
        (
            {"attackers": ["a"], "seeds": [0], "rates": [1.0], "start": "scratch"},
            "release: those with weights of their own, 1 seed each, one learning rate",
        ),
        ({"attackers": 3}, "trained on the release"),
        (None, "trained on the release"),
    ],
)
def test_of_a4_it_says_what_the_run_asked_for(new, asked, said):
    new["config"]["evaluation"] = asked
    body = ladder(new)[0].body
    found = re.search(r"<dt>A4</dt><dd>(.*?)</dd>", body)[1]
    assert found.endswith(said)
    for claim in ("restart", "tuned", "diverse", "many"):
        assert claim not in body


def test_what_was_held_out_is_marked_in_every_table(new):
    """Beside its name: in bars, in both tables of the ladder, and where rows are compared."""
    marked = copy.deepcopy(new)
    names = list(marked["rows"][1]["attributes"])
    for row in marked["rows"]:
        row["attributes"][names[0]]["held_out"] = True
    called, other = f"{label(names[0])} (held out)", label(names[1])
    section, panels = ladder(marked)
    body = section.body
    # Of each row a heading and a line of more measures; and the panel of the one that is shown.
    assert body.count(f">{called}<") == 2 * len(panels) + 1
    assert f">{other}<" in body
    assert f">{other} (held out)<" not in body
    assert "no training of this study was told" in body
    assert [p["title"] for p in panels[-1][1:3]] == [called, other]
    for trace in attributes(marked)["data"]:
        assert called in trace["y"]
        assert other in trace["y"]
    assert "(held out)" not in ladder(new)[0].body


def test_further_measures_only_where_they_are(new, old):
    body = ladder(new)[0].body
    assert "AP gain" in body
    assert "p, Holm" in body
    assert "AP gain" not in ladder(old)[0].body
    assert ladder({"rows": [{"name": "raw"}]})[0].startswith("The ladder of attackers: no row")


# Effort


def budget(*entries):
    return [{"data": d, "epochs": e, "by": "x/0", "cmap": 50.0, "L": v} for d, e, v in entries]


@pytest.mark.parametrize(
    ("entries", "inside", "rising", "data", "epochs"),
    [
        ([(0.25, 4, 0.2), (1, 4, 0.4), (4, 4, 0.41)], None, False, 0.01, None),
        ([(0.25, 4, 0.2), (1, 4, 0.4), (4, 4, 0.45)], None, True, 0.05, None),
        # The row's interval is over other people, and both ends of a step are of these.
        ([(0.25, 4, 0.2), (1, 4, 0.4), (4, 4, 0.45)], [0.3, 0.42], True, 0.05, None),
        ([(1, 1, 0.2), (1, 4, 0.4)], None, True, None, 0.2),
        ([(1, 4, 0.4), (4, 4, 0.3)], None, False, -0.1, None),  # falling is not rising
        ([(1, 1, 0.1), (1, 4, 0.1), (4, 1, 0.1), (4, 4, 0.3)], None, True, 0.2, 0.2),
    ],
)
def test_the_last_step_decides(entries, inside, rising, data, epochs):
    found = verdict({"name": "x", "budget": budget(*entries), "L_interval": inside})
    assert found.rising is rising
    assert found.data == (None if data is None else pytest.approx(data))
    assert found.epochs == (None if epochs is None else pytest.approx(epochs))
    assert ("has not saturated" in found.text) is rising
    assert ("The curve is flat" in found.text) is not rising


def test_the_strongest_attacker_counts_at_each_point():
    row = {
        "name": "x",
        "budget": [*budget((1, 4, 0.6), (1, 4, 0.4), (4, 4, 0.5)), "x", {"data": 1}],
    }
    assert points(row) == {(1.0, 4): 0.6, (4.0, 4): 0.5}
    (panel,) = curves(row)
    assert (panel["data"][0]["x"], panel["data"][0]["y"]) == ([1.0, 4.0], [0.6, 0.5])
    assert verdict({"name": "x", "budget": budget((1, 4, 0.4))}) is None
    assert verdict({"name": "x", "budget": 3}) is None


def test_the_rows_that_still_rise_are_named(new, old):
    section, panels = effort(new["rows"])
    assert "Still rising, so that L is not final there: constrained." in section.body
    assert [len(p) for p in panels] == [2] * len(ROWS)
    assert effort(old["rows"])[0].startswith("Attack-budget curves: no attacker was")


# Identity, inversion, utility, groups


def test_identity_is_given_in_multiples_of_chance(new, old):
    found, recovered = identity(new["rows"])
    rank1 = new["rows"][0]["identity"]["anon_to_anon"]["rank1"]
    assert f"{rank1:.1f}&times; chance (1.0)" in found.body
    assert "TAR % at FAR 0.1&#8239;%" in found.body
    assert f">{new['rows'][0]['inversion']['psnr']:.1f}<" in recovered.body
    assert all(isinstance(part, str) and "not measured" in part for part in identity(old["rows"]))


def test_identity_without_chance_or_of_unknown_kind():
    rows = [{"name": "a", "identity": {"<x>": {"rank1": 5.0, "tar": {"<y>": 1.0}}, "z": 3}}]
    found, _ = identity(rows)
    assert "&lt;x&gt;: Rank-1 %" in found.body
    assert "FAR &lt;y&gt;" in found.body
    assert "chance (" not in found.body


def test_utility_of_each_target_and_group(new, old):
    targets, groups = utility(new["rows"])
    row = new["rows"][0]
    assert "mvit: not retrained, %" in targets.body
    assert f">{row['plugin']['mvit']:.1f}<" in targets.body
    # the last attribute, k = 8: present - 8, absent + 4
    assert "The widest is 12.0 points" in groups.body
    assert all(isinstance(part, str) for part in utility(old["rows"]))


# Tables, pictures, curves


def test_a_table_keeps_what_its_cells_are_sorted_by():
    rows = [
        Row("a", 'a"b', [Cell("1.0", 1.04), Cell("", None)]),
        Row("c", "c", [Cell("x", "x")] * 2),
    ]
    html = table("t", "Caption", ["Name", "One", "Two"], rows)
    assert 'data-name="a&quot;b"' in html
    assert 'data-key="1.04"' in html
    assert html.count("<button") == 3
    with pytest.raises(AssertionError):
        table("t", "Caption", ["Name", "One"], rows)


def sheet_of(*shape):
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return Run(path=Path("run"), summary={"rows": [{"name": "raw"}]}, sheet={"raw": noise})


def test_pictures_shrink_until_they_fit():
    whole = Pictures(sheet_of(4, 16, 32, 32, 3))
    assert whole.sheet["raw"].shape == (4, 16, 32, 32, 3)
    assert whole.note == ""
    small = Pictures(sheet_of(4, 16, 32, 32, 3), room=40_000)
    assert len(small.styles()) < 45_000
    assert small.sheet["raw"].shape == (3, 12, 16, 16, 3)
    assert "every second pixel" in small.note
    none = Pictures(sheet_of(4, 16, 32, 32, 3), room=100)
    assert none.names == []
    assert none.styles() == ""
    assert "left out" in none.note


def test_long_training_curves_are_thinned_and_keep_their_end():
    log = [{"step": i, "player": "anonymizer", "rms": float(i)} for i in range(5001)]
    (panel,) = training_curves(log, None).values()
    assert len(panel["data"][0]["x"]) <= MAX_POINTS
    assert panel["data"][0]["x"][-1] == 5000


def test_sections_are_named_by_their_headings():
    html = str(Section("x", "A title", "<p></p>"))
    assert 'aria-labelledby="x-title"' in html
    assert '<h2 id="x-title">A title</h2>' in html
