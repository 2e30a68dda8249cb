"""``velatura impact bench``"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from velatura.errors import BadInput

if TYPE_CHECKING:
    from velatura.impact._grid import Grid


def bench(
    grid: Annotated[
        Path | None,
        typer.Argument(
            help="A grid file (.toml); without one, generated people.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Its folder; default runs/impact, or runs/NAME of the grid file."
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(help="Of generated people: default (an hour) or small (five minutes).")
    ] = "",
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a value, such as train.steps=400."),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="Print the arms and how far each is, and stop.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try again what failed in an earlier run.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes side by side; 0: one per core.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train on every arm of a grid, alike, and test on originals: what hiding people costs.

    Without a grid file, on generated people, for whom the order of the arms is known. The same
    command goes on where it was stopped. What breaks is named, and does not stop the rest.

    Exit codes: 0 all was measured, and the known order came out; 1 it did not, or something broke;
    2 something to mend in the command or its files; 130 interrupted.

    Examples:

        velatura impact bench
        velatura impact bench --size small
        velatura impact bench mine.toml --out runs/mine
    """
    from velatura.config import read_toml
    from velatura.impact import bench as work

    if grid is not None and size:
        raise BadInput("--size is of generated people; a grid file says its own.")
    values = read_toml(grid) if grid is not None else work.packaged(size or "default")
    found = work.resolve(values, sets or [])
    usual = grid.stem if grid is not None else "impact-small" if size == "small" else "impact"
    folder = out or Path("runs") / usual
    if listing:
        _list(work.state(found, folder), as_json)
        return
    result = _carried_out(found, folder, workers, retry, as_json)
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        _print(result, folder)
    if result["failed"] or not all(line["held"] for line in result["order"]):
        raise typer.Exit(1)


def _carried_out(
    grid: Grid, folder: Path, workers: int, retry: bool, quiet: bool
) -> dict[str, Any]:
    """The bench under its progress.

    Raises:
        KeyboardInterrupt: with a sentence that says how to go on.
    """
    from velatura.cli.impact._progress import shown
    from velatura.impact import bench as work
    from velatura.jobs import Pace
    from velatura.study import typed

    result: dict[str, Any] = {}
    pace: Pace | None = None
    total = over = 0
    running: dict[str, float] = {}
    events = work.carry_out(grid, folder, workers=workers, retry=retry, command=typed())
    try:
        with shown("jobs", quiet, lambda: pace.left() if pace else None) as show, closing(events):
            for event in events:
                if isinstance(event, dict):
                    result = event.get("bench", {})
                    pace, total = event.get("pace", pace), len(event.get("jobs", ())) or total
                    continue
                if event.kind in ("start", "progress"):
                    share = event.done / event.total if event.total else 0.0
                    running[event.job.name] = share
                else:
                    running.pop(event.job.name, None)
                    over += 1
                if event.kind == "failed":
                    typer.echo(f"{event.job.name} failed: {event.error}", err=True)
                if show is not None:
                    show(over, total, running)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted; what was done is in {folder}, run the same command to go on."
        ) from None
    return result


def _list(states: Mapping[str, Mapping[str, list[str]]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(states, indent=1))
        return
    for arm, kinds in states.items():
        counted = ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items() if names)
        failed = f"; failed: {', '.join(kinds['failed'])}" if kinds["failed"] else ""
        typer.echo(f"{arm:<16}{counted}{failed}")


def _print(result: Mapping[str, Any], folder: Path) -> None:
    from velatura.impact.report import in_words, networks, plain_table

    typer.echo(plain_table(result))
    for sentence in (*networks(result), *in_words(result)):
        typer.echo(sentence)
    for name, why in result["failed"].items():
        typer.echo(f"FAILED: {name}: {why}", err=True)
    if result["failed"]:
        typer.echo("What failed is tried again with --retry.", err=True)
    typer.echo(f"{folder}: show it with `velatura impact report {folder}`.")
