"""Figures of arms over seeds, each beside the original's; and whether the known order came out.

A category that an arm may hide and one that nobody hides are never averaged: a mean over both would
tell of neither. Differences are between runs of the same seed, which begin alike and see the same
pictures in the same order, so that what the seed does to both falls out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Annotated, Any, Literal

from pydantic import Field

from velatura.config import config
from velatura.errors import BadInput, unknown
from velatura.impact._score import FIGURES
from velatura.metrics import mean_interval

__all__ = ["Line", "check", "compared", "held", "score", "table"]

Task = Literal["detection", "segmentation", "keypoints"]
Tasks = Mapping[str, Mapping[str, Any]]
"""By task, what ``_score.scored`` returns."""


@config
class Line:
    """One line of the known order: what AP of the hidden categories, mean over seeds, must be.

    With ``of``, the AP as a share of that arm's; with ``than`` besides, how much larger a share of
    ``than`` is left than of ``task``.
    """

    arm: str
    task: Task = "detection"
    of: str = ""
    than: Literal["", "detection", "segmentation", "keypoints"] = ""
    at_least: Annotated[float, Field(ge=-100, le=100)] | None = None
    at_most: Annotated[float, Field(ge=-100, le=100)] | None = None

    def __str__(self) -> str:
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        between = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        if self.than:
            return (
                f"{self.arm} keeps a share of {self.of}'s {self.than} that is larger than its "
                f"share of {self.task} by {between}"
            )
        if self.of:
            return f"{self.arm} keeps {between} of {self.of}'s {self.task}"
        return f"{self.arm} has {between} AP of {self.task}"


def check(lines: Sequence[Line], arms: Sequence[str], tasks: Sequence[str]) -> None:
    """Refuse an order of arms or tasks that are not measured, or without bounds.

    Raises:
        BadInput: as said.
    """
    for line in lines:
        for name in filter(None, (line.arm, line.of)):
            if name not in arms:
                raise unknown("arm of the order", name, arms)
        for task in filter(None, (line.task, line.than)):
            if task not in tasks:
                raise BadInput(
                    f"order: a line is about {task}, and train.task teaches {', '.join(tasks)}."
                )
        if line.at_least is None and line.at_most is None:
            raise BadInput(f"order: the line about {line.arm} needs at_least or at_most.")
        if line.than and not line.of:
            raise BadInput("order: than compares shares of another arm; name that arm as of.")


def score(tasks: Tasks, task: str, names: Sequence[str], figure: str) -> float | None:
    """A figure of one evaluation, mean over those categories that have it; None where none has.

    Args:
        figure: of ``FIGURES``.
    """
    each = tasks[task]["categories"]
    found = [each[name][figure] for name in names if name in each]
    known = [value for value in found if value is not None]
    return mean(known) if known else None


def compared(mine: Mapping[int, float], reference: Mapping[int, float]) -> dict[str, Any]:
    """One figure of one arm over seeds, beside the reference's.

    Args:
        mine, reference: by seed.

    Returns:
        ``mean``; ``sd``, None for one seed; ``n``; ``seeds``, a list of pairs; ``difference``, the
        mean over seeds that both have; ``difference_interval``, Student's 95 % interval; and
        ``within_noise``, whether that holds 0; None where fewer than two seeds tell nothing.
    """
    values = list(mine.values())
    pairs = [value - reference[seed] for seed, value in mine.items() if seed in reference]
    middle, inside = mean_interval(pairs) if pairs else (None, None)
    return {
        "mean": mean(values) if values else None,
        "sd": stdev(values) if len(values) > 1 else None,
        "n": len(values),
        "seeds": [[seed, value] for seed, value in mine.items()],
        "difference": middle,
        "difference_interval": None if inside is None else list(inside),
        "within_noise": None if inside is None else inside[0] <= 0 <= inside[1],
    }


def table(
    runs: Mapping[str, Mapping[int, Tasks]], reference: str, groups: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """All figures of all arms.

    Args:
        runs: evaluations by arm and seed.
        reference: the arm that the others are compared with.
        groups: names of categories by the name of their group.

    Returns:
        By arm, task, group and figure, what ``compared`` returns.
    """
    found: dict[str, Any] = {}
    for arm, by_seed in runs.items():
        found[arm] = {}
        for task in dict.fromkeys(name for tasks in by_seed.values() for name in tasks):
            found[arm][task] = {}
            for group, names in groups.items():
                found[arm][task][group] = {
                    figure: compared(
                        _by_seed(by_seed, task, names, figure),
                        _by_seed(runs.get(reference, {}), task, names, figure),
                    )
                    for figure in FIGURES
                }
    return found


def _by_seed(
    runs: Mapping[int, Tasks], task: str, names: Sequence[str], figure: str
) -> dict[int, float]:
    values = {seed: score(tasks, task, names, figure) for seed, tasks in runs.items()}
    return {seed: value for seed, value in values.items() if value is not None}


def held(line: Line, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Whether one line of the order came out.

    Args:
        figures: as ``table`` gives them, with a group ``hidden``.

    Returns:
        ``says``, ``value``, ``at_least``, ``at_most`` and ``held``; without a value, as where an
        arm failed, it did not come out.
    """
    value = _value(line, figures)
    low, high = line.at_least, line.at_most
    inside = value is not None and (low is None or value >= low) and (high is None or value <= high)
    return {"says": str(line), "value": value, "at_least": low, "at_most": high, "held": inside}


def _value(line: Line, figures: Mapping[str, Any]) -> float | None:
    def ap(arm: str, task: str) -> float | None:
        try:
            found: float | None = figures[arm][task]["hidden"]["AP"]["mean"]
        except KeyError:
            return None
        return found

    def kept(task: str) -> float | None:
        own, other = ap(line.arm, task), ap(line.of, task)
        return None if own is None or not other else own / other

    if not line.of:
        return ap(line.arm, line.task)
    share = kept(line.task)
    if not line.than:
        return share
    other = kept(line.than)
    return None if share is None or other is None else other - share
