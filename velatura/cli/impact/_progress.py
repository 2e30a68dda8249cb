"""How far it is: a bar where somebody watches, else a line now and then; both on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import typer

__all__ = ["EVERY", "shown"]

EVERY = 10  # seconds between lines


@runtime_checkable
class Show(Protocol):
    """To be called with what is done, what there is in all, and the latest terms, if any."""

    def __call__(self, done: int, total: int, terms: Mapping[str, float] = ..., /) -> None: ...


@contextmanager
def shown(
    what: str, quiet: bool, left: Callable[[], float | None] | None = None
) -> Iterator[Show | None]:
    """A ``Show``; None where nothing is to be shown.

    Args:
        what: is counted, such as ``"steps"``.
        quiet: show nothing.
        left: seconds, or None while nobody knows; by default, as what is done says.
    """
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _lines(what, left)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        BarColumn(30), MofNCompleteColumn(), TextColumn(what),
        TextColumn("{task.fields[left]}") if left else Remaining(),
        TextColumn("{task.fields[note]}", style="dim"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None, note="", left="")

        def show(done: int, total: int, terms: Mapping[str, float] | None = None, /) -> None:
            remain = _minutes(left()) if left else ""
            bars.update(task, completed=done, total=total, note=_note(terms), left=remain)

        yield show


def _note(terms: Mapping[str, float] | None) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in (terms or {}).items())


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"about {seconds / 60:.0f} min left"


def _lines(what: str, left: Callable[[], float | None] | None) -> Show:
    """Progress as lines of text."""
    began = last = time.perf_counter()
    first: int | None = None  # a resumed run does not begin at 0

    def show(done: int, total: int, terms: Mapping[str, float] | None = None, /) -> None:
        nonlocal last, first
        first = done - 1 if first is None else first
        now = time.perf_counter()
        if now - last < EVERY:
            return
        last = now
        remain = left() if left else (total - done) * (now - began) / (done - first)
        told = ", ".join(part for part in (f"{done} of {total} {what}", _minutes(remain)) if part)
        note = _note(terms)
        typer.echo(f"{told}; {note}" if note else told, err=True)

    return show
