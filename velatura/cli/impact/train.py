"""``velatura impact train``"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from velatura.cli.impact._options import Annotations, Format, Images
from velatura.errors import BadInput


def train(
    data: Annotated[
        Path, typer.Option(help="The folder of a data set, or of a copy.", show_default=False)
    ] = Path(),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A new folder for the run.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="tiny, torchvision_rcnn or detr: see --list.")
    ] = "tiny",
    task: Annotated[str, typer.Option(help="detection, segmentation, keypoints or all.")] = "all",
    steps: Annotated[int, typer.Option(min=0, help="How long.")] = 800,
    batch: Annotated[int, typer.Option(min=2, help="Pictures in a step.")] = 16,
    size: Annotated[
        int, typer.Option(min=16, help="Side of the squares that pictures are fitted into.")
    ] = 128,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the first weights, the order and the variation.")
    ] = 0,
    ann: Annotations = None,
    images: Images = None,
    form: Format = "coco",
    category: Annotated[
        list[str] | None, typer.Option(help="Learn this one; again for others. Default: all.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="First weights (safetensors), which must not have seen the data set."),
    ] = None,
    missing: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the pictures that may lack.")
    ] = 0.05,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, such as lr=0.001 or model.width=32."),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Print the models and settings.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Train a detector from nothing, on originals or on a copy in which people are hidden.

    Runs with the same seed and settings begin with the same weights and see the same pictures in
    the same order, so that copies can be compared. The same command goes on where it was stopped,
    to the same bits.

    Examples:

        velatura impact train --data coco --out runs/original
        velatura impact train --data coco-blur --task detection --steps 2000 --out runs/blur
    """
    if listing:
        _list()
        return
    if data == Path():
        raise BadInput("Say which data set: --data DIR.")
    if out is None:
        raise BadInput("Say where the run goes: --out DIR.")
    from velatura.cli.impact._progress import shown
    from velatura.config import apply_sets
    from velatura.impact import _formats
    from velatura.impact import train as work
    from velatura.jobs import keep_freed_memory

    values: dict[str, Any] = {
        "model": {"name": model}, "task": task, "steps": steps, "batch": batch, "size": size,
        "seed": seed, "categories": list(category or ()),
    }  # fmt: skip
    how = work.setup(apply_sets(values, sets or []))
    found = _formats.read(form, data, ann or (), images, how.cfg.categories or None)
    if init is not None:
        typer.echo(work.PROMISE, err=True)
    keep_freed_memory()
    try:
        with shown("steps", as_json) as progress:
            summary = work.train(how, found, out, init=init, missing=missing, progress=progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted; the run is saved in {out}, run the same command to go on."
        ) from None
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        _print(summary, out)


def _list() -> None:
    """Every model, the first sentence of what it is, and its settings."""
    from velatura import plugins
    from velatura.config import fields
    from velatura.impact.train import Config

    for name in plugins.names("detectors"):
        said = (plugins.load("detectors", name).__doc__ or "").splitlines()[0]
        typer.echo(f"{name:<18}{said}")
        keys = fields(plugins.config_class("detectors", name))
        typer.echo(f"{'':<18}settings: {', '.join(f'model.{key}' for key in keys)}")
    typer.echo(f"{'all':<18}settings: {', '.join(fields(Config))}")


def _print(summary: dict[str, Any], out: Path) -> None:
    images, instances = summary["images"], summary["instances"]
    typer.echo(
        f"images: {images['total']}; missing {images['missing']}, "
        f"{100 * images['missing_share']:.1f} %"
    )
    typer.echo(
        f"instances: {instances['learnt']} learnt, {instances['with a mask']} with a mask, "
        f"{instances['with keypoints']} with keypoints; not learnt: {instances['crowds']} crowds, "
        f"{instances['flat']} without area"
    )
    if (arm := summary["arm"]) is not None:
        share = (arm.get("instances") or {}).get("share")
        hidden = "" if share is None else f", {100 * share:.1f} % of instances hidden"
        typer.echo(f"a copy by {arm['method']['name']}{hidden}")
    typer.echo(
        f"{out}: {summary['parameters']} parameters, {summary['steps']} steps; measure it on "
        f"originals with `velatura impact evaluate --run {out} --data DIR`."
    )
