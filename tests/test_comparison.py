"""The comparison says what the records say, and no sentence of it is there for nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def script(experiment: Callable[[str], ModuleType]) -> ModuleType:
    return experiment("make_comparison")


def test_the_page_is_the_records(script: ModuleType):
    """Byte for byte; mend with the command that the page names."""
    assert script.PAGE.read_text() == script.page()


def row(name: str, method: str, U: float, L: float, static: float, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "method": method, "U": U, "U_interval": [U - 0.05, U + 0.05],
        "L": L, "L_interval": [L - 0.04, L + 0.04], "cmap": 50 + 40 * L,
        "static_cmap": 50 + 40 * static, "strongest": "frame_cnn/1", **more,
    }  # fmt: skip


def summary(seed: int) -> dict[str, Any]:
    """Three seeds of a raw video, three filters, three learned rows, and one that broke."""
    shift = 0.01 * seed
    rows = [
        row("raw", "identity", 1.0, 1.0, 1.0, U_interval=[1.0, 1.0], L_interval=[1.0, 1.0]),
        row("constant", "constant", 0.0, 0.01 + shift, 0.0),
        row("blur", "blur", 0.7 + shift, 0.8, 0.8),
        row("outline", "frame_difference", 0.86 + shift, 0.3, 0.02, strongest="clip_cnn/0"),
        row("penalty_0.1", "penalty", 0.95 + shift, 1.0, 0.9, beyond_bound=0.1 * seed),
        row("spact", "spact", 0.8 + shift, 0.9 + shift, 0.9),
        row("constrained", "constrained", 0.9, 0.4 if seed else 0.2, 0.4),
    ]
    if seed == 2:
        rows[3]["strongest"] = "frame_cnn/0"
    broke = {"row": "vita", "job": "train vita", "error": "Step 3: no."}
    learned = {r["name"]: {"name": r["method"], "steps": 200} for r in rows[4:]}
    learned["spact"] |= {"identity_steps": 40, "sparsify_steps": 60}
    config = [{"name": r["name"], "method": learned.get(r["name"], {})} for r in rows]
    return {
        "title": f"Made up: w, seed {seed}", "seed": seed, "dataset": "people", "rows": rows,
        "config": {
            "rows": config,
            "evaluation": {
                "targets": ["clip_cnn"], "attackers": ["frame_cnn"], "seeds": [0, 1], "epochs": 2,
            },
        },
        "data": {"train": 90, "val": 20, "test": 40, "test_people": 13},
        "chance": {"top1": 10.0, "cmap": 50.0}, "floor": {"cmap": 52.0, "L": 0.05},
        "seconds": {"train spact": 100.0 + 10 * seed, "total": 3600.0},
        "versions": {"commit": "abc", "torch": "2.0"},
        **({"failed": [broke]} if seed else {}),
    }  # fmt: skip


@pytest.fixture
def records(tmp_path: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep's folder, of which the records were taken."""
    monkeypatch.setattr(script, "COMPARED", ("w",))
    sweep, records = tmp_path / "runs" / "comparison", tmp_path / "records"
    for seed in range(3):
        folder = sweep / f"w-{seed}"
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps(summary(seed)))
        (folder / "records.jsonl").write_text("{}\n")
    (sweep / "w-9").mkdir()
    cells = [{"world": "w", "seed": seed, "failed": {}} for seed in range(3)]
    cells[0]["failed"] = {"untimed": "time untimed: Step 0: no."}
    cells.append({"world": "w", "seed": 9, "failed": {"raw": "release raw: full", "blur": "same"}})
    cells.append({"world": "w", "seed": 8, "failed": {}})
    (sweep / "sweep.json").write_text(json.dumps({"cells": cells}))
    assert script.take(sweep, records) == ["w-0", "w-1", "w-2"]
    assert sorted(path.name for path in records.rglob("*.json*")) == sorted(
        ["sweep.json", *["records.jsonl", "summary.json"] * 3]
    )
    return records


def line_of(page: str, name: str) -> list[str]:
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_table_of_made_up_records(script: ModuleType, records: Path):
    """Worked out by hand: means, t(2) = 4.303, shares of raw, and who beats whom."""
    page = script.page(records)
    assert "## w: Made up" in page
    assert "Seeds 0, 1, 2." in page
    assert line_of(page, "chance")[:3] == ["3", "0.00", "0.00"]
    assert line_of(page, "action alone")[:3] == ["3", "—", "0.05"]
    assert line_of(page, "raw") == ["3", "1.00", "1.00", "frame_cnn", "1.00", "", "", "**front**"]
    # .86, .87, .88: .87 ± 4.303 * .01 / sqrt 3
    assert line_of(page, "outline") == [
        "3", "0.87 (0.85–0.89)", "0.30", "clip_cnn, 2 of 3", "0.02", "", "", "**front**",
    ]  # fmt: skip
    assert line_of(page, "spact") == [
        "3", "0.81 (0.79–0.83)", "0.91 (0.89–0.93)", "frame_cnn", "0.90", "100 + 200", "110",
        "outline, constrained",
    ]  # fmt: skip
    # .2, .4, .4: 1/3 ± 4.303 * .11547 / sqrt 3
    assert line_of(page, "constrained")[2] == "0.33 (0.05–0.62)"
    assert line_of(page, "constrained")[-1] == "**front**"
    assert line_of(page, "constant")[2] == "0.02 (0.00–0.04)"
    assert line_of(page, "blur")[-1] == "outline, constrained"


def test_what_does_not_work(script: ModuleType, records: Path):
    page = script.page(records)
    said = re.findall(r"^- (.*)$", page, re.M)
    assert said == [
        "Of the learned rows with U of 0.8 or more, constrained (U 0.90, L 0.33) leaks least.",
        "Of the fixed rows with U of 0.8 or more, outline (U 0.87, L 0.30) leaks least.",
        "spact (U 0.81, L 0.91) keeps less and leaks more than a fixed filter, outline (U 0.87, "
        "L 0.30); so it is in 3 of 3 seeds.",
        "Not told apart from raw video by its leakage: penalty_0.1 (L 1.00).",
        "Not told apart from chance by its utility: constant (U 0.00).",
        "Judged by an attacker that does not adapt, these would look safer by 0.25 or more: "
        "outline (0.02 against 0.30).",
        "penalty_0.1 changes test clips by more than its bound in 2 of 3 seeds, at most 20% of "
        "them.",
        "vita failed at seed 1: train vita: Step 3: no.",
        "vita failed at seed 2: train vita: Step 3: no.",
        "untimed failed at seed 0: time untimed: Step 0: no.",
        "Seed 9 has no record: release raw: full",
        "Seed 8 has no record: it was not finished.",
    ]


def test_a_row_of_which_others_read_more_is_named(script: ModuleType, records: Path):
    """At the seeds of both, and of the same clips; constrained leaks .2, .4, .4 here."""

    def says(seeds: dict[int, str], five: dict[str, float], sweep: str = "ladder") -> list[str]:
        for seed, fingerprint in seeds.items():
            if sweep == "ladder":
                rows = [{"name": name, "rungs": [{"rung": "A4", "L": 0.9}, {"rung": "A5", "L": L}]}
                        for name, L in five.items()]  # fmt: skip
                rows.append({"name": "raw", "rungs": [{"rung": "A4", "L": 0.9}]})
            else:  # more clips than this sweep has do not count
                rows = [{"name": name, "budget": [{"data": 4, "L": 1.0}, {"data": 0.5, "L": 0.1},
                                                  {"data": 1, "L": L}]}
                        for name, L in five.items()]  # fmt: skip
            folder = records / sweep / f"w-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            told = {**summary(seed), "rows": rows}
            told["data"] = {**told["data"], "fingerprint": fingerprint}
            (folder / "summary.json").write_text(json.dumps(told))
        lines = script.page(records).splitlines()
        return [line for line in lines if "undoes" in line or "more epochs" in line]

    for seed in range(3):
        file = records / "comparison" / f"w-{seed}" / "summary.json"
        told = json.loads(file.read_text())
        told["data"]["fingerprint"] = f"clips {seed}"
        file.write_text(json.dumps(told))
    same = {1: "clips 1", 2: "clips 2"}
    assert says(same, {"constrained": 0.49, "spact": 0.92, "elsewhere": 1.0}) == []
    (line,) = says(same, {"constrained": 0.5, "spact": 0.92})
    assert line.endswith("reads more of constrained (0.50 against 0.40), at the seeds of both.")
    assert says(dict.fromkeys((1, 2), "others"), {"constrained": 0.9}) == []
    assert says(same, {"constrained": 0.49}, "effort") == []
    (line,) = says(same, {"constrained": 0.6, "raw": 1.2}, "effort")
    assert line.endswith("reads more of constrained (0.60 against 0.40), at the seeds of both.")


def test_a_filter_that_wins_in_the_means_alone_is_not_named(script: ModuleType, records: Path):
    """Ahead by .3 in one seed and behind by .01 in two, it is ahead in the means."""
    for seed in range(3):
        path = records / "comparison" / f"w-{seed}" / "summary.json"
        found = json.loads(path.read_text())
        rows = {one["name"]: one for one in found["rows"]}
        rows["spact"]["U"] = 0.5 if seed == 0 else rows["outline"]["U"] + 0.01
        path.write_text(json.dumps(found))
    page = script.page(records)
    assert "outline" in line_of(page, "spact")[-1]
    assert "than a fixed filter" not in page


def test_leakage_that_the_action_tells_is_said_to_be_that(script: ModuleType, records: Path):
    assert "Who knows the action alone" not in script.page(records)  # .05
    for seed, floor in enumerate((0.7, 0.8, 0.9)):
        path = records / "comparison" / f"w-{seed}" / "summary.json"
        found = json.loads(path.read_text())
        found["floor"]["L"] = floor
        path.write_text(json.dumps(found))
    page = script.page(records)
    assert (
        "- Who knows the action alone has an L of 0.80 here. All that attackers find beyond "
        in page
    )
    assert "in raw video is 0.20:" in page


def test_one_seed_has_its_interval_over_people(script: ModuleType, records: Path):
    for seed in (1, 2):
        for path in (records / "comparison" / f"w-{seed}").iterdir():
            path.unlink()
    page = script.page(records)
    assert line_of(page, "blur")[:3] == ["1", "0.70 (0.65–0.75)", "0.80 (0.76–0.84)"]
    assert "Not told apart from raw video by its leakage: penalty_0.1 (L 1.00 (0.96–1.04))" in page


def test_without_records_it_says_so(script: ModuleType, tmp_path: Path):
    page = script.page(tmp_path)
    assert page.endswith("\nNothing has been measured yet.\n")
    assert "velatura sweep experiments/grids/comparison.toml" in page
