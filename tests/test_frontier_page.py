"""Each rule that judges a promised line is worked out by hand, and can fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SEEDS = [10, 11, 12]


@pytest.fixture(scope="module")
def script(experiment: Callable[[str], ModuleType]) -> ModuleType:
    return experiment("make_frontier")


def test_the_page_is_the_records(script: ModuleType):
    """Byte for byte; mend with the command that the page names."""
    assert script.PAGE.read_text() == script.page()


def test_lines_name_rows_worlds_and_seeds_of_their_grids(script: ModuleType):
    """A promise about a row that nobody runs would stay unmeasured for ever."""
    import tomllib

    from velatura.sweep import resolve_grid

    values = script.promised()
    for line in ({**values["all"], **line} for line in values["lines"]):
        text = (ROOT / "experiments" / "grids" / f"{line['sweep']}.toml").read_text()
        grid = resolve_grid(tomllib.loads(text))
        assert {*line["seeds"]} <= {*grid.seeds}, line["text"]
        rows = [line.get("row"), line.get("other"), *line.get("rows", ())]
        rows += [name for names in line.get("others", {}).values() for name in names]
        for name in line["worlds"]:
            world = next(world for world in grid.worlds if world.name == name)
            known = {"raw", *(world.rows or [row["name"] for row in grid.values["rows"]])}
            assert {*rows} - {None} <= known, line["text"]


def test_the_seeds_promised_are_not_those_that_settings_were_chosen_at(script: ModuleType):
    import tomllib

    tuned = tomllib.loads((ROOT / "experiments" / "grids" / "frontier-tuning.toml").read_text())
    assert not {*tuned["seeds"]} & {*script.promised()["all"]["seeds"]}


def row(name: str, U: float, L: float, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "method": "flow", "U": U, "L": L, "U_interval": [U, U], "L_interval": [L, L],
        "cmap": 50 + 40 * L, "strongest": "frame_cnn/0", **more,
    }  # fmt: skip


def attributes(**ap: float) -> dict[str, Any]:
    return {
        name: {"ap": value, "auroc": value, "prevalence": 50.0, "held_out": name == "secret"}
        for name, value in ap.items()
    }


def summary(seed: int) -> dict[str, Any]:
    shift = 0.01 * (seed - 11)  # -.01, 0, .01
    ranks = {"rank1": 0.8, "chance": 0.5}
    rows = [
        row("raw", 1.0, 1.0, attributes=attributes(named=90.0, secret=70.0),
            identity={"anon_to_anon": {"rank1": 2.0, "chance": 0.5}}),
        row("ours", 0.95 + shift, 0.2 + shift, attributes=attributes(named=58.0, secret=62.0),
            identity={"recovered_to_raw": ranks}),
        row("more", 0.9 + shift, 0.1, attributes=attributes(named=58.0, secret=62.0)),
        row("other", 0.94 + shift, 0.4, attributes=attributes(named=58.0, secret=62.0)),
        row("spact", 0.96 + 3 * shift, 0.6, attributes=attributes(named=58.0, secret=62.0)),
    ]  # fmt: skip
    floors = {name: {"ap": 50.0, "auroc": 50.0} for name in ("named", "secret")}
    return {
        "title": "Made up: w", "seed": seed, "rows": rows, "seconds": {},
        "chance": {"top1": 10.0, "cmap": 50.0},
        "floor": {"cmap": 52.0, "L": 0.05, "attributes": floors},
    }  # fmt: skip


@pytest.fixture
def records(tmp_path: Path) -> Path:
    for seed in SEEDS:
        folder = tmp_path / "made" / f"w-{seed}"
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps(summary(seed)))
    return tmp_path


def judged(script: ModuleType, records: Path, rule: str, **line: Any) -> Any:
    given = {"sweep": "made", "seeds": SEEDS, "worlds": ["w"], "row": "ours", "rule": rule}
    return script.judge({**given, **line}, records)


CASES = [  # a line that holds, and what makes it fail
    ("point", {"least_u": 0.95, "most_l": 0.2}, {"most_l": 0.19}),
    ("point", {"least_u": 0.95, "most_l": 0.2}, {"least_u": 0.96}),
    ("above", {"other": "other"}, {"other": "spact"}),  # spact keeps more
    # ours and more: .9 * .9 + .05 * .8 = .85; other: .94 * .6 = .564; 1.507 times
    ("volume", {"rows": ["ours", "more"], "others": {"a": ["other"]}, "factor": 1.5},
     {"factor": 1.51}),
    # .85 against .81 of more alone is 1.049 times, and .826 to .874 touches .788 to .832
    ("volume", {"rows": ["ours", "more"], "others": {"a": ["other"]}, "factor": 1.04},
     {"others": {"a": ["other"], "b": ["more"]}}),
    ("excess", {"least_u": 0.9, "most": 0.151}, {"most": 0.149}),
    ("excess", {"least_u": 0.9, "most": 0.151}, {"least_u": 0.951}),
    # secret keeps 12 of 20, so loses .4; named 8 of 40, so .8
    ("held_out", {"share": 0.5}, {"share": 0.51}),
    # .15 above the floor, of .55
    ("share_of", {"other": "spact", "share": 0.28}, {"share": 0.27}),
    # U differs by .01, 0, -.03 less .01: interval reaches 0; L .2 against .6
    ("below", {"other": "spact", "by": 0.39}, {"by": 0.41}),
    ("below", {"other": "other", "by": 0.19}, {"row": "more"}),
    ("nobody", {"times": 2, "gallery": "recovered_to_raw", "raw_gallery": "anon_to_anon"},
     {"times": 1.5}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "holds", "changed"), CASES)
def test_a_rule_holds_and_fails(
    script: ModuleType, records: Path, rule: str, holds: dict[str, Any], changed: dict[str, Any]
):
    assert judged(script, records, rule, **holds).held is True
    assert judged(script, records, rule, **{**holds, **changed}).held is False


def test_what_was_not_measured_is_neither(script: ModuleType, records: Path):
    line = {"least_u": 0.5, "most_l": 0.5}
    assert judged(script, records, "point", **line, seeds=[10, 13]) == (None, "lacks w at seed 13")
    assert judged(script, records, "point", **line, row="no").found == "lacks no in w"
    assert judged(script, records, "point", **line, worlds=["v"]).held is None
    nobody = {"times": 2, "gallery": "raw_to_anon", "raw_gallery": "anon_to_anon"}
    assert judged(script, records, "nobody", **nobody).held is None
    # One seed has no interval, and nobody knows what would touch.
    volume = {"rows": ["ours"], "others": {"a": ["other"]}, "factor": 1.0, "seeds": [11]}
    assert judged(script, records, "volume", **volume).held is False
    # Seeds that nobody promised do not help.
    assert judged(script, records, "point", **line, seeds=[10]).found == "w: U 0.94, L 0.19"


def test_every_line_of_the_file_stands_on_the_page(script: ModuleType):
    page = script.PAGE.read_text()
    assert all(line["text"] in page for line in script.promised()["lines"])


def test_a_hypervolume_by_hand(script: ModuleType, records: Path):
    (world,) = script.worlds(records, "made")
    found = script.volumes(world, ["ours", "more"])
    # at seed 11: more gives .9 * .9, and ours .05 * .8 beyond it
    assert found[1] == pytest.approx(0.85)
    assert len(found) == 3


# -------------------------------------------------------------------------------- attacks


def attacked(records: Path, name: str, headline: list[float], **L: list[float]) -> None:
    """A record of attacks; figures are L and the ends of its interval."""

    def figure(value: float, low: float, high: float) -> dict[str, Any]:
        return {"L": value, "L_interval": [low, high]}

    cell, _, of = name.rpartition("-")
    record = {
        "cell": cell, "row": of, "floor": 0.05, "failed": {"trees": "the tree fell"},
        "not_here": {"undo": "there is no network"},
        "headline": {**figure(*headline), "strongest": "knn/0"},
        "attacks": {
            key: {**figure(*value), "knows": f"Knows {key}.", "strongest": "gait",
                  "attributes": {"gait": {"auroc": 91.6}}}
            for key, value in L.items()
        },
    }  # fmt: skip
    (records / "frontier-attacks").mkdir(exist_ok=True)
    (records / "frontier-attacks" / f"{name}.json").write_text(json.dumps(record))


def test_attacks_stand_in_a_table_and_what_lacks_is_said(script: ModuleType, tmp_path: Path):
    (empty,) = script.attacks(tmp_path)
    assert empty.count("| not measured |") == len(script.ATTACKS)
    attacked(tmp_path, "w2-10-game", [0.3, 0.2, 0.4], cells=[0.35, 0.31, 0.39])
    head, table = script.attacks(tmp_path)
    assert head == (
        "w2-10, row `game`: the ladder's strongest, knn/0, reads L 0.30 (0.20–0.40), the action "
        "alone 0.05."
    )
    lines = table.splitlines()
    assert "| cells | Knows cells. | 0.35 (0.31–0.39) | gait, 92 % AUROC |" in lines
    assert any(
        x.startswith("| trees |") and x.endswith("| failed | the tree fell |") for x in lines
    )
    assert any(x.endswith("| does not apply | there is no network |") for x in lines)
    assert table.count("| not measured |") == len(script.ATTACKS) - 3


def test_what_is_broken_stands_at_the_top_and_only_with_intervals_apart(
    script: ModuleType, tmp_path: Path
):
    assert script.broken(tmp_path) == ""
    # Above in the mean alone; below; and where raw video itself is not read.
    attacked(tmp_path, "w2-10-flow", [0.3, 0.2, 0.4], cells=[0.45, 0.4, 0.5], trees=[0.1, 0, 0.1])
    attacked(tmp_path, "w3-10-flow", [None, None, None], cells=[0.9, 0.8, 1.0])  # type: ignore[list-item]
    assert script.broken(tmp_path) == ""
    assert "Broken" not in script.page(tmp_path)
    attacked(
        tmp_path, "w2-10-game", [0.3, 0.2, 0.4],
        cells=[0.5, 0.41, 0.6], person=[0.7, 0.6, 0.8], undo=[0.3, 0.2, 0.5],
    )  # fmt: skip
    assert script.broken(tmp_path) == (
        "**Broken: `game` in w2-10 by person with L 0.70 (0.60–0.80), cells with L 0.50 "
        "(0.41–0.60), against 0.30 (0.20–0.40) of the ladder.** See the attacks below."
    )
    page = script.page(tmp_path)
    title, sentence, *_ = page.split("\n\n")
    assert title.startswith("# ")
    assert sentence == script.broken(tmp_path)


def test_records_of_attacks_are_taken_from_a_run(script: ModuleType, tmp_path: Path):
    run, records = tmp_path / "runs" / "frontier", tmp_path / "records"
    for row_ in ("game", "flow"):
        (run / "w2-10" / "rows" / row_).mkdir(parents=True)
        (run / "w2-10" / "rows" / row_ / "attacks.json").write_text(json.dumps({"row": row_}))
    (run / "w0-10" / "rows" / "raw").mkdir(parents=True)
    assert script.take_attacks(run, records) == ["w2-10-flow", "w2-10-game"]
    found = [json.loads(path.read_text()) for path in sorted(records.rglob("*.json"))]
    assert found == [{"row": "flow"}, {"row": "game"}]
    assert script.attacked(records) == found
