"""The records of a sweep, and one figure out of them: measured before, never here.

    DIR/SWEEP/WORLD-SEED/summary.json

``experiments/records`` holds such folders, and so does ``runs``. A summary of before a figure came
has none of it; the figure is then None, and nobody guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from velatura.metrics import mean_interval
from velatura.report.run import number, read_summary

__all__ = [
    "HIGHER",
    "MEASURES",
    "Check",
    "Summaries",
    "figure",
    "made_by",
    "over_anonymizers",
    "read_records",
    "read_shown",
    "take_out_others",
]

HIGHER = ("top1",)  # is better; of all other measures, lower is
MEASURES = {
    "top1": "Top-1 %",
    "cmap": "cMAP %",
    "f1": "F1",
    "f1_printed": "F1",
    "static_cmap": "cMAP %",
    "static_f1": "F1",
    "static_f1_printed": "F1",
}

Summaries = Mapping[int, Mapping[str, Any]]
"""The summaries of one world, by seed."""
Check = Callable[[Path, Path], Callable[[str, int, Mapping[str, Any]], str]]
"""(grid file, folder of its sweep) to what says, of (world, seed, summary), in what the record is
not what the grid says; "" where it is."""


def read_records(
    folder: Path, sweep: str, wanted: str = "*"
) -> dict[str, dict[int, dict[str, Any]]]:
    """What is recorded of a sweep: world, then seed, to the summary.

    Args:
        wanted: the world; "*" for all.

    Raises:
        BadInput: a damaged summary. A folder that is not there has no records.
    """
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted((folder / sweep).glob("*/summary.json")):
        world, _, seed = path.parent.name.rpartition("-")
        if world and wanted in ("*", world) and seed.isdecimal():
            found.setdefault(world, {})[int(seed)] = read_summary(path.parent)
    return found


def read_shown(
    folder: Path, grid: Path, check: Check | None, world: str = ""
) -> tuple[dict[str, dict[int, dict[str, Any]]], dict[tuple[str, int], str]]:
    """The records that tables and figures show: those that are what their grid says.

    Args:
        folder: ``DIR`` of above; the sweep there has the name of the grid's file.
        check: tells what is not what the grid says; None where all is known to be.
        world: the only one that is read; "" for all.

    Returns:
        World, then seed, to the summary; and of what is not shown (world, seed) to the reason.

    Raises:
        BadInput: a damaged summary.
    """
    found = read_records(folder, grid.stem, world or "*")
    others = take_out_others(found, check(grid, folder / grid.stem)) if check and found else {}
    return found, others


def take_out_others(
    found: dict[str, dict[int, dict[str, Any]]], differs: Callable[[str, int, Any], str]
) -> dict[tuple[str, int], str]:
    """Take out the records that are not what their grid says; (world, seed) to the reason."""
    others = {
        (world, seed): why
        for world, summaries in found.items()
        for seed, summary in sorted(summaries.items())
        if (why := differs(world, seed, summary))
    }
    for world, seed in others:
        del found[world][seed]
    return others


def made_by(summary: Mapping[str, Any], row: str) -> str:
    """Which anonymizer a row of one seed is: the seed's own, unless it came from elsewhere.

    A row that is one run at all seeds (``from`` in a grid, without ``{seed}``) is one anonymizer
    that was examined several times.
    """
    found: Mapping[str, Any]
    found = next((one for one in summary["rows"] if one["name"] == row), {})
    return str(found.get("anonymizer") or f"seed {summary.get('seed')}")


def over_anonymizers(
    values: Sequence[tuple[str, float]],
) -> tuple[float, tuple[float, float] | None, int]:
    """The mean over anonymizers, Student's 95 % interval for it, and how many there are.

    Args:
        values: whose each one is, as :func:`made_by` says, and the value. One anonymizer's
            examinations count once, by their mean: they say nothing of another anonymizer.
    """
    whose: dict[str, list[float]] = {}
    for made, value in values:
        whose.setdefault(made, []).append(value)
    return *mean_interval([mean(of) for of in whose.values()]), len(whose)


def figure(
    summary: Mapping[str, Any], row: str, measure: str, network: str = "", weights: bool = False
) -> float | None:
    """One figure of one row of a summary.

    Args:
        row: its name; ``"chance"`` for what no information gives, ``"floor"`` for what the action
            alone tells.
        measure: of ``MEASURES``. ``f1`` is at p > .5, ``f1_printed`` at a logit above .5, as the
            papers' code has it; ``static_`` is of the attacker who does not adapt.
        network: of this examiner alone: of a target the mean of its seeds, of an attacker its
            strongest.
        weights: only where this examiner started from weights that the study names.

    Returns:
        Top-1 and cMAP in per cent, F1 from 0 to 1; None where the summary does not say.
    """
    if row in ("chance", "floor"):
        return _without_looking(summary, row, measure.removeprefix("static_"))
    if weights and not _settings(summary, network).get("weights"):
        return None
    found = next((one for one in summary["rows"] if one["name"] == row), None)
    if found is None:
        return None
    if measure.startswith("static_"):
        return _static(found, measure.removeprefix("static_"))
    if not network:
        return number(found.get(measure))
    if measure == "top1":
        return _mean(_of_target(found, network))
    attackers = found.get("attackers", {})
    # One that started from random weights has its rung before its name.
    values = (attackers.get(network) or attackers.get(f"A3 {network}") or {}).get(measure)
    return max(_numbers(values), default=None)


def _without_looking(summary: Mapping[str, Any], row: str, measure: str) -> float | None:
    """Chance, or the floor. F1 without information is a constant "yes": 2 p / (1 + p)."""
    if not measure.startswith("f1"):
        return number((summary.get(row) or {}).get(measure))
    if row == "floor":
        return None
    entries = next((r.get("attributes") or {} for r in summary["rows"]), {})
    shares = [entry.get("prevalence") for entry in entries.values()]
    return _mean([2 * p / (100 + p) for share in shares if (p := number(share)) is not None])


def _static(row: Mapping[str, Any], measure: str) -> float | None:
    """Of the attacker who learnt raw pictures: rung A2, or what summaries had before rungs."""
    for rung in row.get("rungs", ()):
        if rung.get("rung") == "A2" and (value := number(rung.get(measure))) is not None:
            return value
    return number(row.get(f"static_{measure}"))


def _of_target(row: Mapping[str, Any], network: str) -> list[float]:
    """Top-1 of one target network, for each of its seeds."""
    if network in (row.get("targets") or {}):
        return _numbers(row["targets"][network].get("top1"))
    fits = zip(row.get("target_fits", ()), row.get("top1_seeds", ()), strict=False)
    return _numbers([value for (name, _), value in fits if name == network])


def _settings(summary: Mapping[str, Any], network: str) -> Mapping[str, Any]:
    examined = (summary.get("config") or {}).get("evaluation") or {}
    return (examined.get("networks") or {}).get(network) or {}


def _numbers(values: Any) -> list[float]:
    given = values if isinstance(values, list | tuple) else [values]
    return [found for value in given if (found := number(value)) is not None]


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None
