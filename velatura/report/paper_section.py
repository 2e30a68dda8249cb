"""The paper's figures on the page of a run, where it has what they show: as ``velatura figure``
draws them.

A cell of a figure's own sweep shows the figure over all seeds that lie beside it, as the command
does, and of the grid's configuration alone. Another study shows it of itself alone, where it has
raw video and three of its rows.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from velatura.config import read_toml
from velatura.errors import BadInput
from velatura.report.markup import Section
from velatura.report.paper_figure import KINDS, STYLE, known
from velatura.report.records import Check, read_shown
from velatura.report.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["paper_figures"]

FILES = Path(__file__).parents[2] / "experiments" / "figures"
"""Of a checkout; an installed package has none, and then there is no such section."""
ROWS = 3
"""Of a figure that a study must have, beside raw, to show it."""
ROOM = 2_000_000
"""Bytes that all figures may take."""
FEW = 8
"""Points of a line that are all said; of a longer one the first and the last are."""


@dataclass(frozen=True)
class Drawn:
    """A figure of the paper as this run has it; ``said`` is what it shows, in words."""

    number: str
    caption: str
    svg: str
    said: str
    seeds: int


def paper_figures(run: Run, folder: Path = FILES, check: Check | None = None) -> Section | str:
    """The section; "" where the run has nothing that a figure of the paper shows.

    Args:
        check: tells the cells that are not what the grid says; None where all are known to be.
    """
    shown: list[Drawn] = []
    left_out: list[Drawn] = []
    room = ROOM
    for one in _drawn(run, folder, check):
        room -= len(one.svg)
        (shown if room >= 0 else left_out).append(one)
    if not shown:
        return ""
    figures = "".join(
        f'<figure class="card printed" id="paper-figure-{one.number}">'
        f"<figcaption><b>Figure {one.number}.</b> {escape(one.caption)}"
        f"{f', over {one.seeds} seeds' if one.seeds > 1 else ''}.</figcaption>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Figure {one.number}">'
        f"{one.svg}</div>"
        f"<details><summary>Figure {one.number} in words</summary><p>{escape(one.said)}</p>"
        "</details></figure>"
        for one in shown
    )
    more = ""
    if left_out:
        numbers = ", ".join(one.number for one in left_out)
        more = (
            f'<p class="small soft">Too large for this page: figures {numbers}; `velatura figure` '
            "draws them.</p>"
        )
    body = (
        "<p>What the paper (arXiv 2504.14301) draws, of this run's rows. They are other people, "
        "other networks and other sizes than the paper's: compare how rows differ, not how high "
        f"they are.</p>{figures}{more}"
    )
    return Section("paper", "The paper's figures", body)


def _drawn(run: Run, folder: Path, check: Check | None = None) -> Iterator[Drawn]:
    """Each figure that this run has data for."""
    if not folder.is_dir():
        return
    place = run.path.resolve()
    world, _, seed = place.name.rpartition("-")
    mine = {row["name"] for row in run.summary["rows"]}
    beside: dict[str, list[Path]] = {}  # of a grid: the cells of this world
    for number in known(folder):
        given = read_toml(folder / f"figure{number}.toml")
        for instance in ("people", "paper"):
            where = given[instance]
            rows = {*where["rows"]} - {"raw"}
            own = place.parent.name == where["grid"] and seed.isdecimal()
            if own and world != where["world"]:
                continue
            if own and where["grid"] not in beside:
                grid = folder.parent / "grids" / f"{where['grid']}.toml"
                found, _ = read_shown(place.parent.parent, grid, check, world)
                beside[where["grid"]] = [
                    place.with_name(f"{world}-{one}") for one in sorted(found.get(world, ()))
                ]
            cells = beside.get(where["grid"], []) if own else []
            own = place in cells  # else it is another study, whatever its folder is called
            if "raw" not in mine or len(rows & mine) < (1 if own else min(ROWS, len(rows))):
                continue
            where = {**where, "cells": cells if own else [place]}
            try:
                yield _one(number, given, where, place.parent)
            except BadInput:  # no pictures, or no logs, which the page says elsewhere
                continue
            break


def _one(number: str, given: Mapping[str, Any], where: Mapping[str, Any], source: Path) -> Drawn:
    from matplotlib import rc_context

    with rc_context(STYLE):
        shown = KINDS[given["kind"]](given, where, source, "", [])
        text = io.StringIO()
        shown.savefig(text, format="svg", dpi=100, metadata={"Date": None})
    said = _said(shown)
    seeds = 1 if given["kind"] == "frames" else len(where["cells"])
    name = f"Figure {number}. {given['caption']}. {said}"
    svg = _inline(text.getvalue(), f"paper{number}-", name)
    return Drawn(number, given["caption"], svg, said, seeds)


def _inline(svg: str, prefix: str, said: str) -> str:
    """An SVG file as an element of a page: no address in it, and names that no other figure has."""
    svg = svg[svg.index("<svg") :]
    # Its style sheet would be the whole page's; the root's own style says the same.
    svg = re.sub(r"<(metadata|style\b)[^>]*>.*?</(metadata|style)>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    names: set[str] = set()

    def named(found: re.Match[str]) -> str:
        """One name for each; what is drawn alike is defined more than once, under the same."""
        fresh = found[1] not in names
        names.add(found[1])
        return f' id="{prefix}{found[1]}"' if fresh else ""

    svg = re.sub(r' id="([^"]*)"', named, svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}", svg)
    lines = "stroke-linejoin:round;stroke-linecap:butt"
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(said)}" style="{lines}"', 1)


def _said(shown: Figure) -> str:
    """What a figure shows, panel by panel."""
    return " ".join(
        text for text in (*map(_panel, shown.axes), _rows(shown.axes)) if text
    )  # fmt: skip


def _panel(axes: Axes) -> str:
    """The lines of a panel, by their labels: every point, or the first and the last."""
    bars: list[Any] = [one for one in axes.containers if getattr(one, "lines", None)]
    lines: list[tuple[Any, Any]] = [(one.get_label(), one.lines[0]) for one in bars]
    lines += [(line.get_label(), line) for line in axes.lines]
    told = []
    for label, line in lines:
        points = [*zip(line.get_xdata(), line.get_ydata(), strict=True)]
        if str(label).startswith("_") or not points:
            continue
        if len(points) > FEW:
            (first, begin), (last, end) = points[0], points[-1]
            told.append(f"{label}: from {begin:.3g} at {first:g} to {end:.3g} at {last:g}")
        else:
            told.append(f"{label}: " + ", ".join(f"{y:.3g} at {x:g}" for x, y in points))
    if not told:
        return ""
    said = f"{axes.get_title()}; {axes.get_ylabel()} against {axes.get_xlabel()}. "
    return said + "; ".join(told) + "."


def _rows(panels: list[Axes]) -> str:
    """Which clips stand under which rows, of a sheet of frames."""
    sheets = [axes for axes in panels if axes.images]
    rows = [axes.get_ylabel() for axes in sheets if axes.get_ylabel()]
    clips = [axes.get_title() for axes in sheets if axes.get_title()]
    return f"Frames of {', '.join(clips)}; from top to bottom: {', '.join(rows)}." if rows else ""
