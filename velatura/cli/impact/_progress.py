"""How far it is: a bar where somebody watches, else a line now and then; both on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import typer

__all__ = ["EVERY", "shown"]

EVERY = 10  # seconds between lines

Show = Callable[[int, int, Mapping[str, float]], None]


@contextmanager
def shown(what: str, quiet: bool) -> Iterator[Show | None]:
    """A function to be called with what is done and what there is in all, and the latest terms.

    Args:
        what: is counted, such as ``"steps"``.
        quiet: show nothing.
    """
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _lines(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        BarColumn(30), MofNCompleteColumn(), TextColumn(what), Remaining(),
        TextColumn("{task.fields[note]}", style="dim"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None, note="")

        def show(done: int, total: int, terms: Mapping[str, float]) -> None:
            bars.update(task, completed=done, total=total, note=_note(terms))

        yield show


def _note(terms: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in terms.items())


def _lines(what: str) -> Show:
    """Progress as lines of text."""
    began = last = time.perf_counter()
    first: int | None = None  # a resumed run does not begin at 0

    def show(done: int, total: int, terms: Mapping[str, float]) -> None:
        nonlocal last, first
        first = done - 1 if first is None else first
        now = time.perf_counter()
        if now - last < EVERY:
            return
        last = now
        each = (now - began) / (done - first)
        left = (total - done) * each / 60
        note = f"; {_note(terms)}" if terms else ""
        typer.echo(f"{done} of {total} {what}, about {left:.0f} min left{note}", err=True)

    return show
