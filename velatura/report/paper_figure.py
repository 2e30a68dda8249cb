"""A figure of the paper, drawn from records: ours, and the paper's points where it prints any.

What a figure shows is a file, ``experiments/figures/figureN.toml``, of one of three kinds:

    drops    points below raw, against the bound; the paper's beside ours
    curves   losses over training steps, of ``methods/ROW/log.jsonl``
    frames   the same test clips under several rows, of ``sheet.npz``

Ours are the mean over seeds, with Student's 95 % interval. Ours and the paper's differ by their
marker, its filling and the line, not by colour alone.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from velatura.config import read_toml
from velatura.errors import BadInput, unknown
from velatura.metrics import mean_interval
from velatura.report.paper import published
from velatura.report.paper_table import Instance
from velatura.report.records import Check, made_by, over_anonymizers, read_shown
from velatura.report.records import figure as one_figure
from velatura.report.run import number, read_run, read_summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw", "known"]

STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "velatura",  # the same figure is the same file
}
# Of rows: colours that are told apart in grey and by the colour-blind, and a line for each.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#000000")
DASHES = ("-", "--", ":", "-.")
OURS: dict[str, Any] = {"marker": "o", "linestyle": "-", "color": COLOURS[0], "capsize": 3}
PAPER: dict[str, Any] = {
    "marker": "s", "linestyle": "--", "color": COLOURS[1], "markerfacecolor": "none",
}  # fmt: skip


def known(folder: Path) -> list[str]:
    """The figures that a folder has files of, by number.

    Raises:
        BadInput: it has none.
    """
    found = [m[1] for path in folder.glob("*.toml") if (m := re.match(r"figure(\d+)$", path.stem))]
    if not found:
        raise BadInput(
            f"No figure files in {folder}; run from the root of the repository, or name their "
            "folder with --figures."
        )
    return sorted(found, key=int)


def draw(
    name: str,
    out: Path,
    folder: Path = Path("experiments/figures"),
    records: Path = Path("experiments/records"),
    instance: Instance = "people",
    check: Check | None = None,
) -> tuple[list[Path], list[str]]:
    """Write a figure as PNG and SVG.

    Args:
        name: its number, "3" or "figure3".
        out: the folder to write to; made if it is not there.
        folder: of the figure files; the grids' is ``../grids``.
        records: ``DIR/SWEEP/WORLD-SEED``. Curves and frames stay in the sweep's own folder, and are
            not among ``experiments/records``.
        check: tells the records that are not what the grid says, which are not shown; None where
            all are known to be.

    Returns:
        The files, and a sentence for each thing that lacks.

    Raises:
        BadInput: no such figure, or nothing to draw; says what makes it.
    """
    from matplotlib import rc_context

    numbers = known(folder)
    asked = name.strip().lower().removeprefix("figure").strip()
    if asked not in numbers:
        raise unknown("figure", name, numbers)
    given = read_toml(folder / f"figure{asked}.toml")
    where = given[instance]
    grid = folder.parent / "grids" / f"{where['grid']}.toml"
    words = ["velatura", "sweep", str(grid), "--only", where["world"]]
    source, world = records / where["grid"], where["world"]
    found, others = read_shown(records, grid, check, world)
    where = {
        **where,
        "cells": [source / f"{world}-{seed}" for seed in sorted(found.get(world, ()))],
    }
    lacks: list[str] = []
    if others:
        told = "; ".join(f"{world}-{seed} ({why})" for (_, seed), why in others.items())
        again = shlex.join([*words, "--out", f"runs/again/{grid.stem}"])
        lacks.append(
            f"Not shown, as the grid says otherwise now: {told}. Run {again}, and then name it "
            "with --records runs/again."
        )
        if not where["cells"] and given["kind"] != "drops":  # which have the paper's points
            raise BadInput(lacks[0])
    with rc_context(STYLE):
        shown = KINDS[given["kind"]](given, where, source, shlex.join(words), lacks)
        shown.suptitle(f"{given['caption']} ({instance})", x=0.01, ha="left")
        pictures = {}
        for suffix, about in (("png", {"Software": None}), ("svg", {"Date": None})):
            picture = io.BytesIO()
            shown.savefig(picture, format=suffix, dpi=150, metadata=about)
            pictures[out / f"figure{asked}.{suffix}"] = picture.getvalue()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise BadInput(f"--out {out} is a file; name a folder for the pictures.") from None
    for path, drawn in pictures.items():
        beside = path.with_suffix(f"{path.suffix}.part")
        beside.write_bytes(drawn)
        beside.replace(path)
    return list(pictures), lacks


def _drops(
    given: Mapping[str, Any],
    where: Mapping[str, Any],
    source: Path,
    command: str,
    lacks: list[str],
) -> Figure:
    """Points below raw against the bound, a panel for each measure."""
    from matplotlib.figure import Figure

    summaries = [read_summary(folder) for folder in where["cells"]]
    shown = Figure(figsize=(7.2, 3.2), layout="constrained")
    for axes, panel in zip(shown.subplots(1, len(given["panels"])), given["panels"], strict=True):
        found = []
        for row in where["rows"]:
            below = [
                (made_by(summary, row), raw - value)
                for summary in summaries
                if (raw := one_figure(summary, "raw", panel["measure"])) is not None
                and (value := one_figure(summary, row, panel["measure"])) is not None
            ]
            if below:
                found.append((_bound(row), *over_anonymizers(below)[:2]))
        if found:
            bounds, means, spans = zip(*found, strict=True)
            halves = [
                span[1] - mean if span else 0.0 for mean, span in zip(means, spans, strict=True)
            ]
            axes.errorbar(bounds, means, halves, label="ours", **OURS)
        printed = [
            (bound, theirs.drop)
            for bound in (0.3, 0.5, 0.7, 0.9)
            if (theirs := published(given["table"], f"penalty_{bound}", panel["published"]))
            and theirs.drop is not None
        ]
        axes.plot(*zip(*printed, strict=True), label="paper", **PAPER)
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set(title=panel["title"], xlabel="bound B", ylabel="points below raw", xlim=(0, 1))
        axes.legend(frameon=False)
    if not summaries and not lacks:  # else it is said why they are not shown
        lacks.append(f"Ours lack: no records of {where['world']} in {source}. Run {command}")
    return shown


def _curves(
    given: Mapping[str, Any],
    where: Mapping[str, Any],
    source: Path,
    command: str,
    lacks: list[str],
) -> Figure:
    """Losses over steps, a panel for each player: the mean over seeds in its interval."""
    from matplotlib.figure import Figure

    logs: dict[str, list[list[dict[str, Any]]]] = {row: [] for row in where["rows"]}
    for folder in where["cells"]:
        found = read_run(folder).logs
        for row in logs:
            if row in found:
                logs[row].append(found[row])
    if not any(logs.values()):
        raise BadInput(
            f"No training logs of {where['world']} in {source}; they stay in the sweep's own "
            f"folder. Run {command}, and then name it with --records runs."
        )
    shown = Figure(figsize=(7.2, 2.8), layout="constrained")
    for axes, panel in zip(shown.subplots(1, len(given["panels"])), given["panels"], strict=True):
        for i, (row, runs) in enumerate(logs.items()):
            _curve(axes, runs, panel, f"B = {_bound(row):g}", COLOURS[i], DASHES[i])
        axes.set(title=panel["title"], xlabel="step", ylabel="loss")
    shown.axes[0].legend(frameon=False)
    lacks += [f"No log of {row} in {source}. Run {command}" for row in logs if not logs[row]]
    return shown


def _curve(
    axes: Axes,
    runs: Sequence[Sequence[Mapping[str, Any]]],
    panel: Mapping[str, Any],
    label: str,
    colour: str,
    dash: str,
) -> None:
    """One term of one row: at each step that was logged, over the seeds that have it."""
    values: dict[float, list[float]] = {}
    for log in runs:
        for line in log:
            step, value = number(line.get("step")), number(line.get(panel["term"]))
            if line.get("player") == panel["player"] and step is not None and value is not None:
                values.setdefault(step, []).append(value)
    if not values:
        return
    steps = sorted(values)
    found = [mean_interval(values[step]) for step in steps]
    means = [mean for mean, _ in found]
    axes.plot(steps, means, color=colour, linestyle=dash, linewidth=1.2, label=label)
    lows = [span[0] if span else mean for mean, span in found]
    highs = [span[1] if span else mean for mean, span in found]
    axes.fill_between(steps, lows, highs, color=colour, alpha=0.15, linewidth=0)


def _frames(
    given: Mapping[str, Any],
    where: Mapping[str, Any],
    source: Path,
    command: str,
    lacks: list[str],
) -> Figure:
    """Test clips, a row for each anonymizer, raw above; the first seed that has pictures."""
    from matplotlib.figure import Figure

    sheet: Mapping[str, np.ndarray] = {}
    labels: Sequence[str] = ()
    for folder in where["cells"]:
        run = read_run(folder)
        if "raw" in run.sheet:
            sheet, labels = run.sheet, run.labels
            break
    if not sheet:
        raise BadInput(
            f"No pictures of {where['world']} in {source}; they stay in the sweep's own folder. "
            f"Run {command}, and then name it with --records runs."
        )
    rows = [r for r in where["rows"] if r in sheet and len(sheet[r]) == len(sheet["raw"])]
    lacks += [
        f"No pictures of {r} in {source}. Run {command}" for r in where["rows"] if r not in rows
    ]
    examples = [i for i in given["examples"] if i < len(sheet["raw"])]
    if not examples:
        raise BadInput(f"The sheet in {source} has {len(sheet['raw'])} clips, too few for this.")
    wide = given["frames"] * len(examples)
    shown = Figure(figsize=(1.1 + 0.75 * wide, 0.5 + 0.8 * len(rows)), layout="constrained")
    grid = shown.subplots(len(rows), len(examples), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for axes, item in zip(line, examples, strict=True):
            clip = sheet[row][item]
            chosen = np.linspace(0, len(clip) - 1, min(given["frames"], len(clip))).round()
            strip = np.concatenate(list(clip[chosen.astype(int)]), axis=1)
            axes.imshow(strip, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        label = "raw" if row == "raw" else f"B = {_bound(row):g}"
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    for letter, axes, item in zip("abcdef", grid[0], examples, strict=False):
        action = labels[item].replace("_", " ") if item < len(labels) else ""
        axes.set_title(f"({letter}) {action}" if len(examples) > 1 else action, fontsize=9)
    return shown


KINDS = {"drops": _drops, "curves": _curves, "frames": _frames}
"""Each takes a figure's file, where it is filled from (an instance of the file, with the folders
to show as ``cells``), the sweep's folder and the command that fills it, and notes what lacks."""


def _bound(row: str) -> float:
    """B, from a row's name: penalty_0.3."""
    return float(row.rpartition("_")[2])
