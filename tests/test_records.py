"""The demo's committed records: of today's demo, in today's world, and what they must show.

Measuring takes minutes a seed, so this reads what ``velatura demo --seeds 5`` wrote, and first
makes sure that it is of the demo and the world as they are now. Where it is not: run that
command, and copy each seed's ``summary.json`` and ``records.jsonl``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from velatura.data import people
from velatura.demo import demo_study
from velatura.layout import Measurement

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "experiments" / "records"
SEEDS = (0, 1)  # of the five that the demo is to be measured on
FILTERS = ["blur", "downsample", "frame_difference"]
SERVICES = ("title", "loop")

each_seed = pytest.mark.parametrize("seed", SEEDS)


def summary(seed: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDS / f"demo-seed-{seed}/summary.json").read_text())
    return found


def rows(seed: int) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in summary(seed)["rows"]}


@each_seed
def test_they_are_of_this_demo_and_this_world(seed: int):
    study, measured = demo_study(seed), summary(seed)["config"]
    now = json.loads(json.dumps(study.values()))
    for values in (now, measured):
        for key in SERVICES:
            values.pop(key, None)
        # Keys that came after the measurement, at the values that change nothing.
        values["batches"] = {"stride": 1, "starts": 1, "augment": None, **values["batches"]}
        values["evaluation"] = {"networks": {}, **values["evaluation"]}
        for key in ("cache", "workers"):  # where clips are kept says nothing of what they are
            values["data"].pop(key, None)
    assert now == measured
    # The fingerprint holds the renderer's version and everything that pixels depend on.
    config = study.base.data.config
    assert isinstance(config, people.Config)
    assert summary(seed)["data"]["fingerprint"] == f"train-{people._digest(config, 'train')}"


@each_seed
def test_the_lines_repeat_the_table(seed: int):
    text = (RECORDS / f"demo-seed-{seed}/records.jsonl").read_text()
    lines = [Measurement(**json.loads(line)) for line in text.splitlines()]
    for name, row in rows(seed).items():
        found = {m.metric: m.value for m in lines if m.row == name and m.metric in ("U", "L")}
        assert found == {"U": row["U"], "L": row["L"]}
    assert {line.provenance["data"] for line in lines} == {summary(seed)["data"]["fingerprint"]}


@each_seed
def test_raw_can_be_learnt_and_a_constant_cannot(seed: int):
    found = rows(seed)
    assert found["raw"]["top1"] >= 85
    assert found["raw"]["cmap"] >= 93
    assert found["raw"]["L"] >= 0.95
    assert found["constant"]["L"] <= 0.12
    assert abs(found["constant"]["U"]) <= 0.05
    assert summary(seed)["data"]["test_people"] >= 250


@each_seed
@pytest.mark.parametrize("name", FILTERS)
def test_no_fixed_filter_solves_the_world(seed: int, name: str):
    row = rows(seed)[name]
    assert row["L"] > 0.3 or row["U"] < 0.8


@each_seed
def test_the_penalty_does_what_its_equation_says(seed: int):
    row = rows(seed)["penalty_0.1"]
    assert row["U"] >= 0.95
    assert row["beyond_bound"] <= 0.1


@each_seed
def test_the_constrained_method_hides_people(seed: int):
    found = rows(seed)
    ours = found["constrained"]
    others = min(found[name]["L"] for name in ("spact", "penalty_0.1", "penalty_0.2"))
    assert ours["U"] >= 0.8
    assert ours["L"] <= 0.6
    assert ours["L"] <= others - 0.25


def test_the_readme_prints_the_records_of_seed_0():
    """To the digits that the table shows."""
    printed = (ROOT / "README.md").read_text()
    for name, row in rows(0).items():
        line = next(x for x in printed.splitlines() if x.startswith(name.replace("_", " ") + "  "))
        assert f" {row['top1']:.1f} " in line
        assert f" {row['cmap']:.1f} " in line
        if name not in ("raw", "constant"):
            assert f" {row['U']:.2f} " in line
            assert f" {row['L']:.2f} " in line
