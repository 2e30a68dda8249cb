"""The page on generated people says what its record says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def script(experiment: Callable[[str], ModuleType]) -> ModuleType:
    return experiment("make_impact")


def test_the_page_is_the_record(script: ModuleType):
    """Byte for byte; mend with the command that the page names."""
    assert script.PAGE.read_text() == script.page()


def test_a_cost_is_the_mean_of_differences_of_one_seed(script: ModuleType):
    """By hand: 10 - 30, 14 - 32, 12 - 34 are -20, -18, -22: mean -20, deviation 2, and Student's
    4.303 x 2 / sqrt(3) to either side."""

    def arm(*values: float) -> dict[str, object]:
        seeds = list(map(list, enumerate(values)))
        return {"detection": {"hidden": {"AP": {"seeds": seeds}}}}

    result = {
        "tasks": ["detection"],
        "figures": {"gan": arm(10, 14, 12), "aligned": arm(30, 32, 34)},
    }
    line = script.beside(result, "gan", "aligned").splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["box", "12.0", "32.0"]
    low, high = -20 - 4.303 * 2 / 3**0.5, -20 + 4.303 * 2 / 3**0.5
    assert cells[3].replace("\u2212", "-").startswith("-20.0 (")
    assert f"{-low:.1f}" in cells[3]
    assert f"{-high:.1f}" in cells[3]
    del result["figures"]["gan"]
    assert script.beside(result, "gan", "aligned") == ""


@pytest.mark.parametrize(
    ("clock", "end"),
    [
        ({"elapsed": 5700.0, "workers": 2}, "; 95 minutes by the clock on 2 workers."),
        ({"elapsed": None, "workers": None}, "."),
        ({}, "."),  # of an earlier version
    ],
)
def test_how_long_it_took_is_work_and_the_clock_apart(
    script: ModuleType, clock: dict[str, object], end: str
):
    """9000 s and 1800 s are 3 hours."""
    result = {"seconds": {"train": 9000.0, "faces": 1800.0}, **clock}
    says = "3.0 hours of work by its processes: train 150 min, faces 30 min"
    assert script.seconds(result) == says + end


def test_without_a_record_it_says_so(script: ModuleType, tmp_path: Path):
    assert script.page(tmp_path / "bench.json").endswith("Not measured yet.\n")


def test_the_record_names_no_place(script: ModuleType):
    if not script.RECORD.is_file():
        pytest.skip("there is no record")
    text = script.RECORD.read_text()
    assert json.loads(text)["data"]["generated"]
    assert not re.findall(r'"/[^"]*"', text)
