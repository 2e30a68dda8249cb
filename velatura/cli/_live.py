"""Studies on the terminal: bars, a picture, and each row as it is measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from velatura.controls import carry_out as controls_out
from velatura.jobs import Event
from velatura.report.findings import label, unseeded
from velatura.report.page import write_report
from velatura.report.tables import terminal_table
from velatura.study import Study, carry_out, typed
from velatura.sweep import Cell, Grid, Pace, State, compare
from velatura.sweep import carry_out as sweep_out

__all__ = ["say_cells", "show", "show_controls", "show_sweep"]


def show(
    study: Study, folder: Path, *, resume: bool, workers: int, as_json: bool, **more: Any
) -> dict[str, Any]:
    """Carry a study out under progress bars; prints rows as they come; returns the summary.

    Raises:
        KeyboardInterrupt: with a sentence that says how to go on.
    """
    console = Console(stderr=as_json)
    bars = Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=console,
    )
    tasks: dict[str, Any] = {}
    parts: dict[tuple[str, str], float] = {}

    summary: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    try:
        work = carry_out(
            study,
            folder,
            resume=resume,
            workers=workers,
            command=typed(),
            on_data=_data_bars(bars, tasks),
            **more,
        )
        with bars, closing(work):
            for event in work:
                if isinstance(event, Event):
                    _advance(bars, tasks, parts, event)
                elif "splits" in event:
                    data = event["splits"]
                    bars.console.print(
                        f"{study.base.data.name}: {len(data.train)} clips to train on, "
                        f"{len(data.val)} to select, {len(data.test)} to test, from "
                        f"{len(np.unique(data.test.groups))} people or films of their own.",
                    )
                    _picture(bars.console, data.test.video(0))
                elif "jobs" in event:
                    stages = [job.stage for job in event["jobs"]]
                    for stage in dict.fromkeys(stages):
                        if stage != "release":
                            tasks[stage] = bars.add_task(stage, total=stages.count(stage), note="")
                elif "early" in event:
                    early = event["early"]
                    bars.console.print(
                        f"raw, a first look: top-1 {early['top1']:.1f} %, "
                        f"cMAP {early['cmap']:.1f} % by {early['attacker']}"
                    )
                elif "row" in event:
                    rows.append(event["row"])
                    bars.console.print(_line(event["row"]))
                elif "summary" in event:
                    summary = event["summary"]
    except KeyboardInterrupt:
        how = "Run the same command" if resume else "Run the same command with --resume"
        raise KeyboardInterrupt(
            f"Interrupted; what was finished is in {folder}. {how} to go on."
        ) from None
    page = write_report(folder, check=compare)
    if as_json:
        print(json.dumps(summary))
    else:
        console.print(terminal_table(summary))
        for sentence in summary["sentences"]:
            console.print(sentence)
        minutes, gib = summary["seconds"].get("total", 0) / 60, summary["peak_rss_mb"] / 1024
        console.print(f"{minutes:.1f} min, {gib:.1f} GiB at the peak. Open {page}")
    return summary


def show_controls(
    study: Study, folder: Path, *, resume: bool, workers: int, as_json: bool
) -> dict[str, Any]:
    """Carry negative controls out under progress bars; prints their table; returns the summary.

    Raises:
        KeyboardInterrupt: with a sentence that says how to go on.
    """
    console = Console(stderr=as_json)
    bars = Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=console,
    )
    tasks: dict[str, Any] = {}
    parts: dict[tuple[str, str], float] = {}

    summary: dict[str, Any] = {}
    work = controls_out(
        study, folder, resume=resume, workers=workers, command=typed(),
        on_data=_data_bars(bars, tasks),
    )  # fmt: skip
    try:
        with bars, closing(work):
            for event in work:
                if isinstance(event, Event):
                    _advance(bars, tasks, parts, event)
                elif "jobs" in event:
                    stages = [job.stage for job in event["jobs"]]
                    for stage in dict.fromkeys(stages):
                        tasks[stage] = bars.add_task(stage, total=stages.count(stage), note="")
                else:
                    summary = event["summary"]
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted; what was finished is in {folder}. Run the same command with --resume "
            "to go on."
        ) from None
    if as_json:
        print(json.dumps(summary))
    else:
        console.print(_controls(summary["controls"]))
        console.print(f"{summary['seconds'] / 60:.1f} min. All of it: {folder / 'controls.json'}")
    return summary


def _controls(controls: list[dict[str, Any]]) -> Table:
    """What must come out, what came out, and whether it is that."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("Control", "Rung", "Expected", "Measured", "By", "Held"):
        table.add_column(heading, justify="right" if heading == "Measured" else "left")
    for control in controls:
        digits = 2 if control["metric"] == "L" else 1
        low, high = (f"{control[key]:.{digits}f}" for key in ("low", "high"))
        between = low if low == high else f"{low} … {high}"
        table.add_row(
            control["name"], control["rung"], f"{control['metric']} {between}",
            f"{control['value']:.{digits}f}", control["by"], "yes" if control["held"] else "NO",
        )  # fmt: skip
    return table


def _data_bars(bars: Progress, tasks: dict[str, Any]) -> Callable[[str, int, int], None]:
    """Told how far rendering or decoding is, draws a bar for each stage of it."""

    def on_data(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total, note="")
        bars.update(tasks[stage], completed=done, total=total)

    return on_data


def _advance(
    bars: Progress, tasks: dict[str, Any], parts: dict[tuple[str, str], float], event: Event
) -> None:
    job = event.job
    if job.stage not in tasks:
        return
    if event.kind in ("end", "reused"):
        parts[job.stage, job.name] = 1.0
    elif event.kind == "progress" and event.total:
        parts[job.stage, job.name] = min(event.done / event.total, 0.99)
    # A stage's bar is the sum of its jobs' shares, so that it moves while they run.
    done = sum(share for (stage, _), share in parts.items() if stage == job.stage)
    note = "  ".join(f"{k} {v:.2f}" for k, v in list(event.terms.items())[:4])
    bars.update(tasks[job.stage], completed=done, note=note)


def _line(row: dict[str, Any]) -> str:
    def share(value: float | None) -> str:
        return "  – " if value is None else f"{value:4.2f}"

    return (
        f"{row['name']:<18} top-1 {row['top1']:5.1f} %   U {share(row['U'])}   "
        f"cMAP {row['cmap']:5.1f} %   L {share(row['L'])}   strongest {unseeded(row['strongest'])}"
    )


def _picture(console: Console, clip: np.ndarray) -> None:
    """Four frames of a clip, (T, 3, H, W) uint8, in half-block characters."""
    if not console.is_terminal:
        return
    chosen = clip[np.linspace(0, len(clip) - 1, 4).round().astype(int)]
    step = max(1, -(-chosen.shape[-1] // 24))
    small = chosen[:, :, ::step, ::step].transpose(2, 0, 3, 1)  # (h, 4, w, 3)
    for top, bottom in zip(small[0::2], small[1::2], strict=False):
        line = Text()
        for frame_top, frame_bottom in zip(top, bottom, strict=True):
            for a, b in zip(frame_top, frame_bottom, strict=True):
                line.append("▀", f"rgb({a[0]},{a[1]},{a[2]}) on rgb({b[0]},{b[1]},{b[2]})")
            line.append(" ")
        console.print(line)


def show_sweep(
    grid: Grid, out: Path, *, workers: int, only: Sequence[str], retry: bool, as_json: bool
) -> bool:
    """Carry a sweep out under progress bars; True if every row of its cells was measured.

    Prints rows as they come and, at the end, the table over seeds and what failed.

    Raises:
        KeyboardInterrupt: with a sentence that says how to go on.
    """
    console = Console(stderr=as_json)
    board = _Board(console)
    summary: dict[str, Any] = {}
    work = sweep_out(
        grid, out, workers=workers, only=only, retry=retry, command=typed(), on_data=board.data
    )
    try:
        with board.bars, closing(work):
            for event in work:
                if isinstance(event, Event):
                    board.job(event)
                elif "cells" in event:
                    board.cells(event["cells"], event["pace"])
                elif "begin" in event:
                    board.begin(event["begin"].name)
                elif "jobs" in event:
                    board.bars.update(board.jobs, total=len(event["jobs"]))
                elif "row" in event:
                    board.say(_line(event["row"]))
                elif "end" in event:
                    board.end(event["state"], event["error"])
                    if (event["end"].folder / "summary.json").exists():
                        write_report(event["end"].folder, check=compare)
                elif "sweep" in event:
                    summary = event["sweep"]
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted; what was finished is in {out}. Run the same command to go on."
        ) from None
    if as_json:
        print(json.dumps(summary))
    else:
        for world, rows in summary["worlds"].items():
            if rows:
                console.print(_over_seeds(world, rows))
                for row in rows:
                    if 0 < row["n"] < row.get("examinations", 0):
                        console.print(_few(row), markup=False, soft_wrap=True)
    whole = True
    for name, state in board.states.items():
        for what, why in {**state.failed, "": board.errors.get(name)}.items():
            if why:
                whole = False
                told = f"{name}  {what} failed: {why}" if what else f"{name} failed: {why}"
                console.print(told, markup=False, soft_wrap=True)
    if not whole:
        console.print("Rows that failed are tried again with --retry.")
    return whole


class _Board:
    """What a sweep shows while it works: how many cells are over, and the jobs of the present one.

    Attributes:
        jobs: the bar of the present cell, or of the steps that are timed before.
        states, errors: of cells, by name.
    """

    def __init__(self, console: Console):
        self.bars = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
        )
        self.whole = self.bars.add_task("cells", total=None, note="", visible=False)
        self.jobs = self.bars.add_task("time a step", total=None, note="", visible=False)
        self.states: dict[str, State] = {}
        self.errors: dict[str, str] = {}
        self._read: dict[str, Any] = {}
        self._cell = ""
        self._pace: Pace | None = None
        self._over = 0
        self._running: dict[str, float] = {}  # to the share that is done

    def say(self, text: str) -> None:
        """A line above the bars."""
        before = f"{self._cell}  " if self._cell else ""
        self.bars.console.print(before + text, markup=False, highlight=False, soft_wrap=True)

    def data(self, stage: str, done: int, total: int) -> None:
        """Data is rendered or decoded."""
        if stage not in self._read:
            self._read[stage] = self.bars.add_task(stage, note="")
        self.bars.update(self._read[stage], completed=done, total=total, visible=done < total)

    def cells(self, found: Sequence[tuple[Cell, State]], pace: Pace) -> None:
        """All that there is to do."""
        self.states, self._pace = {cell.name: state for cell, state in found}, pace
        self.bars.update(self.whole, total=len(found), completed=self._finished(), visible=True)
        plural = "" if len(found) == 1 else "s"
        self.say(f"{len(found)} cell{plural}, {self._finished()} finished before.")

    def begin(self, name: str) -> None:
        """A cell."""
        self._cell, self._over, self._running = name, 0, {}
        self.bars.reset(self.jobs, description=name, total=None, note="", visible=True)

    def job(self, event: Event) -> None:
        """A job of the present cell moved on."""
        if event.kind in ("start", "progress"):
            share = event.done / event.total if event.total else 0.0
            self._running[event.job.name] = min(share, 0.99)
        else:
            self._running.pop(event.job.name, None)
            self._over += 1
        if event.kind == "failed":
            self.say(f"{event.job.name} failed: {event.error}")
        self.bars.update(
            self.jobs,
            completed=self._over + sum(self._running.values()),
            note=", ".join(self._running),
            visible=True,
        )
        self.bars.update(self.whole, note=self._left())

    def end(self, state: State, error: str) -> None:
        """The present cell is over."""
        self.states[self._cell] = state
        if error:
            self.errors[self._cell] = error
        self.bars.update(self.whole, completed=self._finished())
        parts = [f"{self._finished()} of {len(self.states)} cells", self._left()]
        line = f"{_cell_line(self._cell, state, error)} {', '.join(filter(None, parts))}."
        self._cell = ""
        self.say(line)

    def _finished(self) -> int:
        return sum(state.kind in ("done", "failed") for state in self.states.values())

    def _left(self) -> str:
        """About how long all will take, in words."""
        seconds = self._pace.left() if self._pace else None
        if not seconds:
            return ""
        hours, minutes = divmod(max(round(seconds / 60), 1), 60)
        return f"about {hours} h {minutes} min left" if hours else f"about {minutes} min left"


def say_cells(states: dict[str, State]) -> None:
    """One line for each cell: how far it is, what failed and what is left."""
    for name, state in states.items():
        print(_cell_line(name, state))
        for row, why in state.failed.items():
            print(f"  {row} failed: {why}")
        if state.left and state.measured:
            print(f"  left: {', '.join(state.left)}")


def _cell_line(name: str, state: State, error: str = "") -> str:
    if error:
        return f"{name}: failed: {error}"
    if state.kind == "other":
        return f"{name}: holds a study of another configuration."
    parts = [(len(state.measured), "measured"), (len(state.failed), "failed")]
    parts.append((len(state.left), "left"))
    counted = ", ".join(f"{count} {what}" for count, what in parts if count)
    return f"{name}: {state.kind}; rows: {counted}."


def _few(row: dict[str, Any]) -> str:
    """A row of fewer anonymizers than seeds."""
    what = "one anonymizer" if row["n"] == 1 else f"{row['n']} anonymizers"
    return f"{row['name']}: {what}, examined at {row['examinations']} seeds."


def _over_seeds(world: str, rows: list[dict[str, Any]]) -> Table:
    """Rows of one world: means over anonymizers, with their 95 % intervals."""
    table = Table(title=world, box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("Method", "n", "Utility U", "Leakage L", "Failed"):
        table.add_column(heading, justify="left" if heading in ("Method", "Failed") else "right")
    for row in rows:
        cells = [label(row["name"]), str(row["n"])]
        for key in ("U", "L"):
            inside = row.get(f"{key}_interval")
            between = f" {inside[0]:.2f}…{inside[1]:.2f}" if inside else ""
            cells.append("—" if row[key] is None else f"{row[key]:.2f}{between}")
        failed = ", ".join(map(str, row["failed"]))
        table.add_row(*map(Text, cells), Text(f"seed {failed}" if failed else ""))
    return table
