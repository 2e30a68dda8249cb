"""Every file of experiments/runs is checked in full; most are too long to run in a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from velatura.config import read_toml
from velatura.experiment import resolve
from velatura.study import resolve_study

RUNS = Path(__file__).parents[1] / "experiments" / "runs"


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.toml")), ids=lambda path: path.stem)
def test_it_resolves_and_says_how_it_is_run(path: Path):
    values = read_toml(path)
    verb = "evaluate" if "rows" in values else "train"
    again = (
        resolve_study(values).values()["rows"] if verb == "evaluate" else resolve(values).values()
    )
    assert json.dumps(again)
    assert f"velatura {verb} experiments/runs/{path.name}" in path.read_text()
