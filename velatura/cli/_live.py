"""A study on the terminal: a bar for each stage, a picture, and each row as it is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from velatura.jobs import Event
from velatura.report.page import write_report
from velatura.report.tables import terminal_table
from velatura.study import Study, carry_out, typed

__all__ = ["show"]


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

    def on_data(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total, note="")
        bars.update(tasks[stage], completed=done, total=total)

    summary: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    try:
        with bars:
            for event in carry_out(
                study,
                folder,
                resume=resume,
                workers=workers,
                command=typed(),
                on_data=on_data,
                **more,
            ):
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
    page = write_report(folder)
    if as_json:
        print(json.dumps(summary))
    else:
        console.print(terminal_table(summary))
        for sentence in summary["sentences"]:
            console.print(sentence)
        minutes, gib = summary["seconds"].get("total", 0) / 60, summary["peak_rss_mb"] / 1024
        console.print(f"{minutes:.1f} min, {gib:.1f} GiB at the peak. Open {page}")
    return summary


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
        f"cMAP {row['cmap']:5.1f} %   L {share(row['L'])}   strongest {row['strongest']}"
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
