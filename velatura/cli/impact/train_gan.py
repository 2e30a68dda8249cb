"""``velatura impact train-gan``"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from velatura.cli.impact._options import Annotations, Format, Images
from velatura.errors import BadInput

EVERY = 10  # seconds between lines about the progress, where nobody watches a bar


def train_gan(
    data: Annotated[
        Path, typer.Option(help="The folder of a data set.", show_default=False)
    ] = Path(),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A new folder of the run.")
    ] = None,
    region: Annotated[str, typer.Option(help="body or face.")] = "body",
    size: Annotated[int, typer.Option(help="Pixels of a crop's side: 16, 32, 64 or 128.")] = 64,
    width: Annotated[int, typer.Option(help="Channels at full size.")] = 32,
    steps: Annotated[int, typer.Option(help="Of training.")] = 10_000,
    batch: Annotated[int, typer.Option(help="Crops in a step.")] = 16,
    ann: Annotations = None,
    images: Images = None,
    form: Format = "coco",
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, such as least=32.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of whatever is drawn by lot.")] = 0,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that cut out crops; 0: one per core.")
    ] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Only so many images; 0 is all.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run that OUT holds.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Train a network that draws somebody else where people are hidden.

    It learns from crops of your own data set, and never sees what it draws over. A few hundred
    crops teach it colours; thousands, and hours on a GPU, some shape. OUT holds pictures of the
    people, and a network made of them: keep it as the data set is.

    Ctrl-C saves; --resume continues to the same weights as a run that was never stopped.

    Examples:

        velatura impact train-gan --data coco --region body --out gan-body
        velatura impact anonymize --data coco --method gan --model gan-body/gan.onnx --out coco-gan
    """
    if data == Path():
        raise BadInput("Say which data set: --data DIR.")
    if out is None:
        raise BadInput("Say where the run goes: --out DIR.")
    from velatura.config import apply_sets, build
    from velatura.impact import _formats
    from velatura.impact.train_gan import Config, train
    from velatura.jobs import keep_freed_memory

    values: dict[str, Any] = {
        "regions": {"kind": region},
        "network": {"size": size, "width": width},
        "steps": steps,
        "batch": batch,
        "seed": seed,
    }
    cfg = build(Config, apply_sets(values, sets or []))
    found = _formats.read(form, data, ann or (), images, cfg.regions.categories)
    keep_freed_memory()
    try:
        with _progress(as_json) as progress:
            summary = train(
                cfg, found, out, resume=resume, workers=workers, limit=limit, progress=progress
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted; what was saved is in {out}. Run the same command with --resume to "
            "continue."
        ) from None
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        _print(summary, out)


@contextmanager
def _progress(
    quiet: bool,
) -> Iterator[Callable[[str, int, int, dict[str, float]], None] | None]:
    """What is done, and the time that is left: a bar where somebody watches, else a line now and
    then; both on stderr."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining(),
        TextColumn("{task.fields[note]}", style="dim"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int, terms: dict[str, float]) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, completed=done, note="")
            note = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
            bars.update(tasks[what], completed=done, total=total, note=note)

        yield show


class _Lines:
    """Progress as lines of text."""

    def __init__(self) -> None:
        self.what, self.first = "", 0
        self.began = self.seen = self.last = time.perf_counter()

    def __call__(self, what: str, done: int, total: int, terms: dict[str, float]) -> None:
        now = time.perf_counter()
        if what != self.what:  # a resumed run does not begin at 0
            self.what, self.first, self.began = what, done - 1, self.seen
        self.seen = now
        if now - self.last < EVERY:
            return
        self.last = now
        each = (now - self.began) / (done - self.first)
        left = (total - done) * each / 60
        note = "".join(f", {name} {value:.3f}" for name, value in terms.items())
        line = f"{done} of {total} {what}, {each:.3f} s each, about {left:.0f} min left{note}"
        typer.echo(line, err=True)


def _print(summary: dict[str, Any], out: Path) -> None:
    """What was learnt from, how far it is, and where it lies."""
    crops, counts = summary["crops"], summary["parameters"]
    typer.echo(
        f"crops: {crops['total']} in {crops['images']} images, {crops['held_out']} of them held out"
    )
    for reason, count in crops["skipped"].items():
        typer.echo(f"  left out: {count}: {reason}")
    for name, reason in crops["failed"].items():
        typer.echo(f"  cannot be used: {name}: {reason}")
    sizes = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in counts.items())
    typer.echo(f"parameters: {sizes}; {summary['seconds_per_step']:.3f} s a step")
    measured = summary["distance"]
    if measured["distance"]:
        typer.echo(
            f"distance of {measured['others']} crops to {measured['known']} that it learnt from, "
            f"by {measured['features']}:"
        )
        typer.echo("     Gaussians      kernel")
        for what, far in measured["distance"].items():
            typer.echo(f"  {far['frechet']:12.4f}{far['kernel']:12.4f}  {what}")
        if measured["others"] < measured["dimensions"]:
            typer.echo("  fewer crops than features: Gaussians are far apart for that alone")
    typer.echo(f"{out / 'samples.png'}: shows the people; keep the folder as the data set is.")
    typer.echo(
        f"{out / summary['model']['file']}: draw with `velatura impact anonymize --method gan "
        f"--model {out / summary['model']['file']}`."
    )
