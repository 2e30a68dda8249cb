"""``velatura data``: known data sets; what is right or wrong with a copy; getting, preparing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from velatura.errors import BadInput, unknown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from velatura.data._lists.check import Finding, Report
    from velatura.data._lists.source import Ask, Source

ACTIONS = ("list", "check", "get", "prepare")
FEW = 3  # names that a finding prints; --json has all


def data(
    action: Annotated[
        str, typer.Argument(help="list, check, get or prepare.", metavar="list|check|get|prepare")
    ],
    name: Annotated[
        str | None, typer.Argument(help="A data set of `velatura data list`.", show_default=False)
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="check, prepare: the folder of the videos or images.")
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="check, prepare: the folder (or file) of lists. Default: beside ROOT."),
    ] = None,
    split: Annotated[
        int | None, typer.Option(help="check: the official split. Default: the first.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="check: a JSONL file of private attributes of your own, one per line."),
    ] = None,
    val: Annotated[
        float, typer.Option(help="check: carve this share of train as val, by film or subject.")
    ] = 0.0,
    leaky: Annotated[
        bool,
        typer.Option(
            "--leaky", help="check, prepare pa_hmdb51: keep its test videos in the training list."
        ),
    ] = False,
    names_only: Annotated[
        bool, typer.Option("--names-only", help="check: open no file; seconds instead of minutes.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="check: open every file, and read none to its end."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="get, prepare: the folder for what is fetched or decoded.")
    ] = None,
    short_side: Annotated[
        int, typer.Option(help="prepare: pixels of the stored frames' shorter side.")
    ] = 256,
    form: Annotated[
        str, typer.Option(help="prepare: raw, or jpeg for sets too large for that.")
    ] = "raw",
    workers: Annotated[
        int, typer.Option(min=0, help="check, prepare: processes; 0: one per core.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole answer as JSON, with every name.")
    ] = False,
) -> None:
    """List the known data sets, check a copy of one, get one, or prepare one for training.

    `check` holds a copy against the official lists: counts, missing, extra and unreadable
    files (each is read to its end), labels, films or subjects on two sides of a split, what
    training would miss, and how frequent each private attribute is. Exit code 0 where nothing is
    wrong, 1 where something is, 2 where the lists themselves cannot be used. `prepare` decodes
    every listed video once into a form that is fast to read; the same command again goes on where
    it stopped, and originals are only read.

    Examples:

        velatura data list
        velatura data check ucf101 --root data/ucf101/UCF-101 --split 1
        velatura data get vp_hmdb51 --out data/hmdb51
        velatura data prepare hmdb51 --root data/hmdb51/hmdb51_org --out data/hmdb51-128 \
            --short-side 128
    """
    if action not in ACTIONS:
        raise unknown("`velatura data` action", action, ACTIONS)
    if action == "list":
        _list(as_json)
        return

    from velatura.data._lists import catalog

    if name is None:
        raise BadInput(f"`velatura data {action}` needs a name; `velatura data list` has them.")
    source = catalog.source(name)
    if action == "get":
        _get(source, out, as_json)
        return
    if root is None:
        raise BadInput(f"Say where {name} is: --root DIR, the folder with its files.")
    if leaky and name != "pa_hmdb51":
        raise BadInput(f"--leaky is for pa_hmdb51; {name} has one training list only.")
    if not 0 <= val < 0.5:
        raise BadInput(f"--val is a share of train below 0.5, not {val}.")

    from velatura.data._lists.check import check
    from velatura.data._lists.source import Ask

    ask = Ask(root=root, annotations=annotations, split=split, leaky=leaky)
    if action == "prepare":
        _prepare(source, ask, out, short_side, form, workers, as_json)
        return
    with _bar(as_json) as progress:
        report = check(
            source, ask, labels=labels, val_fraction=val, read=not names_only, quick=quick,
            workers=workers, progress=progress,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps({"ok": report.ok, **asdict(report)}, indent=1))
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(1)


def _list(as_json: bool) -> None:
    """Every data set, a line each."""
    from velatura.data._lists import catalog

    sources = catalog.sources()
    if as_json:
        keys = ("name", "title", "licence", "page", "layout", "splits")
        rows = [{key: getattr(source, key) for key in keys} for source in sources]
        typer.echo(json.dumps(rows, indent=1))
        return
    for source in sources:
        typer.echo(f"{source.name:<11}{source.title}")
        typer.echo(f"{'':<11}licence: {source.licence}")
    typer.echo("\n`velatura data get NAME` says where each is from and how it lies on disk.")


def _get(source: Source, out: Path | None, as_json: bool) -> None:
    """Licence, page and steps; and the files that may be fetched and can be checked."""
    from velatura.data._lists.download import download

    if source.files and out is None:
        raise BadInput(f"Say where {source.name} goes: --out DIR.")
    if not as_json:
        typer.echo(f"{source.title}\nlicence: {source.licence}\npage:    {source.page}")
        typer.echo("layout:\n" + "\n".join(f"    {line}" for line in source.layout.splitlines()))
        typer.echo("by hand:\n" + "\n".join(f"    {step}" for step in source.by_hand))
    fetched = []
    for remote in source.files:
        try:
            with _bar(as_json) as progress:
                fetched.append(download(remote, out or Path(), progress=progress))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                "Interrupted; what came is kept, run the same command to go on."
            ) from None
        if not as_json:
            typer.echo(f"{fetched[-1]}: there, checksum right.")
    if as_json:
        keys = ("name", "licence", "page", "layout", "by_hand")
        answer = {key: getattr(source, key) for key in keys}
        typer.echo(json.dumps({**answer, "files": [str(file) for file in fetched]}, indent=1))
    elif not fetched:
        typer.echo("Nothing was fetched: no file of it has a known address and checksum.")


def _prepare(
    source: Source,
    ask: Ask,
    out: Path | None,
    short_side: int,
    form: str,
    workers: int,
    as_json: bool,
) -> None:
    """Decode what the lists name and the root holds."""
    from velatura.data._lists.disk import files, respelled
    from velatura.data._store.prepare import Plan, prepare

    if out is None:
        raise BadInput("Say where the prepared videos go: --out DIR.")
    listing = source.read(ask)
    kind = "videos" if listing.videos else "images"
    there = set(files(ask.root, source.suffixes))
    listing, _ = respelled(listing, there, source.spelling)
    found = {item.path: ask.root / item.path for item in listing.items if item.path in there}
    listed = {item.path for item in listing.items}
    if not found:
        lists = f" --annotations {ask.annotations}" if ask.annotations else ""
        raise BadInput(
            f"None of the {len(listed)} listed {kind} is in {ask.root}; "
            f"`velatura data check {source.name} --root {ask.root}{lists}` says what is wrong."
        )

    def announce(plan: Plan) -> None:
        absent = len(listed) - len(found)
        left = f"; {absent} listed {kind} are not there" if absent else ""
        typer.echo(
            f"{plan.todo} {kind} to decode, {plan.reused} there already{left}. "
            f"{plan.bytes / 1e9:.2f} GB to write, {plan.free / 1e9:.1f} GB free.",
            err=True,
        )

    try:
        with _bar(as_json) as bar:
            made = prepare(
                found, out, short_side=short_side, form=form, workers=workers, announce=announce,
                progress=(lambda what, done, total: bar(done, total)) if bar else None,
            )  # fmt: skip
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted; whole {kind} are kept, run the same command to go on."
        ) from None
    answer = {
        "out": str(out), "decoded": made.done, "reused": made.reused, "bytes": made.bytes,
        "seconds": round(made.seconds, 1), "skipped": made.skipped,
    }  # fmt: skip
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    for name, reason in made.skipped.items():
        typer.echo(_shown(f"left out: {name}: {reason}"), err=True)
    typer.echo(
        f"{out}: {made.done} {kind} decoded, {made.reused} kept, {made.bytes / 1e9:.2f} GB, "
        f"{made.seconds:.1f} s."
    )


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int | None], None] | None]:
    """A progress bar on stderr, where somebody watches."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)

        def progress(done: int, total: int | None) -> None:
            bars.update(task, completed=done, total=total)

        yield progress


def _print(report: Report) -> None:
    """The answer on one page."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    console.print(report.title, markup=False)
    console.print(_shown(f"root: {report.root}"), markup=False, soft_wrap=True)
    if report.subset:
        console.print(
            f"A SUBSET: {report.files} files there; {report.here} of the {report.listed} listed "
            "are among them.",
            markup=False,
        )
    if report.leaky:
        console.print("LEAKY: test videos stand in the training list.", markup=False)
    console.print(_splits(report))
    if any(part.prevalence for part in report.parts):
        console.print(_attributes(report))
    for finding in report.findings:
        _print_finding(console, finding)
    verdict = "Nothing is wrong." if report.ok else "Something is wrong: see above."
    console.print(f"{verdict} --json has every name.", markup=False)


def _splits(report: Report) -> Table:
    """A row for each split."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("split")
    for heading in ("official", "listed", "here", "films or subjects"):
        table.add_column(heading, justify="right")
    for part in report.parts:
        official = "-" if part.official is None else str(part.official)
        table.add_row(part.split, official, str(part.listed), str(part.here), str(part.groups))
    return table


def _attributes(report: Report) -> Table:
    """A row for each private attribute: how many per cent of the files here have it."""
    from rich.table import Table
    from rich.text import Text

    parts = [part for part in report.parts if part.prevalence]
    table = Table(box=None, pad_edge=False)
    table.add_column("attribute, % of files here")
    for part in parts:
        table.add_column(part.split, justify="right")
    for name in parts[0].prevalence:
        table.add_row(
            Text(_shown(name)), *(f"{part.prevalence.get(name, 0):.1f}" for part in parts)
        )
    table.add_row("chance cMAP", *(f"{part.chance_cmap or 0:.1f}" for part in parts), style="bold")
    return table


def _print_finding(console: Console, finding: Finding) -> None:
    """A line, and the first few names below it."""
    remedy = f" -> {finding.remedy}" if finding.remedy else ""
    line = f"{finding.status:<6}{finding.found}{remedy}"
    for text in (line, *(f"      {name}" for name in finding.names[:FEW])):
        console.print(_shown(text), markup=False, soft_wrap=True)
    if len(finding.names) > FEW:
        console.print(f"      ... and {len(finding.names) - FEW} more", markup=False)


def _shown(text: str) -> str:
    """Text for a terminal: a file's name may hold what cannot be printed, or steers it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
