"""The demo, small: the whole chain through the command line, from nothing to a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training import tiny

from velatura.demo import QUICK, demo_study, plain_sentences
from velatura.layout import Measurement

NAMES = [
    "raw", "constant", "blur", "downsample", "frame_difference", "spact", "penalty_0.1",
    "penalty_0.2", "constrained",
]  # fmt: skip


# ----------------------------------------------------------------------------- what it would do


def test_the_rows_of_the_demo():
    for quick in (False, True):
        assert [row.name for row in demo_study(quick=quick).rows] == NAMES


def test_the_demo_is_big_enough_to_say_something():
    made = demo_study()
    assert made.base.data.config.test_people >= 250
    assert len(made.evaluation.seeds) >= 2
    assert len(set(made.evaluation.attackers)) >= 3
    learned = [row.run.method.config for row in made.rows if row.name == "constrained"]
    used = {*learned[0].adversaries, made.base.target.name, made.base.budget.name}
    # Of an architecture that training never used, in any role.
    assert set(made.evaluation.attackers) - used == {"patch_mlp"}


def test_quick_changes_sizes_and_nothing_else():
    full, quick = demo_study().values(), demo_study(quick=True).values()
    changed = {
        f"{section}.{key}"
        for section, keys in full.items()
        if isinstance(keys, dict)
        for key, value in keys.items()
        if quick[section][key] != value
    }
    assert changed <= {text.split("=")[0] for text in QUICK}


def test_a_seed_is_of_the_world_and_of_the_networks():
    made = demo_study(seed=7)
    assert (made.base.seed, made.base.data.config.seed) == (7, 7)
    assert all(row.run.seed == row.run.data.config.seed == 7 for row in made.rows)


def row(name: str, u: float | None, leak: float | None, **more: Any) -> dict[str, Any]:
    return {"name": name, "U": u, "L": leak, "beyond_bound": None, **more}


def test_the_sentences_say_what_the_rows_hold():
    rows = [
        row("raw", 1.0, 1.0),
        row("spact", 0.5, 0.91),
        row("penalty_0.1", 0.97, 0.98, bound=0.1, beyond_bound=0.034),
        row("constrained", 0.84, 0.42),
    ]
    said = plain_sentences(rows)
    assert "91% to 98%" in said[0]
    assert "3.4% at B = 0.1" in said[1]
    assert "keeps 84% of the utility and leaks 42%; no other row is at least as good" in said[2]
    better = plain_sentences([*rows, row("blur", 0.9, 0.3)])[2]
    assert better.endswith("leaks 42%; blur did no worse on both.")
    assert len(plain_sentences([row("raw", None, None)])) == 1


# ------------------------------------------------------------------------------- what it does


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(place: Path) -> tuple[int, str, str]:
    return tiny.command(["demo", "--quick", "--out", str(place / "run")], place / "cache")


@pytest.mark.slow
def test_the_whole_chain(first: tuple[int, str, str], place: Path):
    code, out, err = first
    assert (code, err) == (0, ""), out
    run = place / "run"
    summary = json.loads((run / "summary.json").read_text())
    assert [row["name"] for row in summary["rows"]] == NAMES
    for row in summary["rows"]:
        assert {"top1", "cmap", "U", "L"} <= row.keys()
        for key in ("top1", "cmap"):
            low, high = row[f"{key}_interval"]
            assert 0 <= low <= row[key] <= high <= 100
        assert {"U_interval", "L_interval"} <= row.keys()
        assert row["name"] in out
    stages = {"data", "raw networks", "release", "examine", "train constrained", "total"}
    assert stages <= summary["seconds"].keys()
    assert 100 < summary["peak_rss_mb"] < 8192
    assert {"python", "torch", "numpy", "velatura"} <= summary["versions"].keys()
    records = [
        Measurement(**json.loads(x)) for x in (run / "records.jsonl").read_text().splitlines()
    ]
    assert {m.row for m in records} == set(NAMES)
    page = (run / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>") or page.startswith("<!doctype html>")
    assert "constrained" in page


@pytest.mark.slow
def test_raw_leaks_all_of_itself(first: tuple[int, str, str], place: Path):
    rows = {r["name"]: r for r in json.loads((place / "run" / "summary.json").read_text())["rows"]}
    assert rows["raw"]["L"] in (1, None)
    assert rows["raw"]["U"] in (1, None)
    assert rows["raw"]["rms"] == 0
    # Whoever sees the same picture of everyone reads no one: the prevalence, exactly.
    chance = json.loads((place / "run" / "summary.json").read_text())["chance"]
    assert rows["constant"]["cmap"] == pytest.approx(chance["cmap"], abs=0.01)


@pytest.mark.slow
def test_a_second_demo_draws_nothing_again(first: tuple[int, str, str], place: Path):
    """It starts anew, with the people of the first: here with fewer rows, to be quick."""
    before = {p: p.stat().st_mtime_ns for p in (place / "cache").iterdir()}
    assert len(before) == 6
    words = ["demo", "--quick", "--out", str(place / "run"), "--json"]
    words += ["--set", 'rows=[{name="raw",method={name="identity"}}]']
    words += ["--set", 'evaluation.attackers=["frame_cnn"]', "--set", "evaluation.start=scratch"]
    old = json.loads((place / "run" / "summary.json").read_text())
    code, out, err = tiny.command(words, place / "cache")
    assert code == 0, err
    summary = json.loads(out)
    assert [row["name"] for row in summary["rows"]] == ["raw"]
    assert summary["data"] == old["data"]
    assert {p: p.stat().st_mtime_ns for p in (place / "cache").iterdir()} == before
    assert not (place / "run" / "rows" / "blur").exists()
