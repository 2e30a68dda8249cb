"""``velatura impact people``"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from velatura.errors import BadInput


def people(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new folder.")] = None,
    train: Annotated[int, typer.Option(help="Pictures to learn from.")] = 600,
    val: Annotated[int, typer.Option(help="Pictures to test on.")] = 200,
    size: Annotated[int, typer.Option(help="Pixels, height and width.")] = 128,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn by lot.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Draw people who are nobody, as a COCO folder with boxes, masks and 17 keypoints.

    With it come two anonymizers for which the cost is known beforehand: oracle/aligned shows other
    people in the same poses, oracle/misaligned in poses that were missed.

    Exit codes: 0 the folder is there; 2 something to mend in the command; 130 interrupted.

    Examples:

        velatura impact people --out people
        velatura impact people --train 60 --val 20 --out few
    """
    if out is None:
        raise BadInput("Say where the pictures go: --out DIR.")
    from velatura.cli.impact._progress import shown
    from velatura.config import build
    from velatura.impact import people as work

    cfg = build(work.Config, {"train": train, "val": val, "size": size, "seed": seed})
    try:
        with shown("images", as_json) as progress:
            summary, new = work.make(cfg, out, workers=workers, progress=progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted; nothing was left behind.") from None
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        _print(summary, out, new)


def _print(summary: dict[str, Any], out: Path, new: bool) -> None:
    for split, found in summary["splits"].items():
        sizes = ", ".join(f"{count} {name}" for name, count in found["people_by_size"].items())
        typer.echo(
            f"{split}: {found['images']} pictures; people {found['people']} ({sizes}), "
            f"parcels {found['parcels']}"
        )
    for name, found in summary["oracles"].items():
        poses = "poses that were missed" if found["poses_missed"] else "the same poses"
        typer.echo(f"oracle/{name}: {found['images']} pictures of train with others in {poses}")
    if not new:
        typer.echo(f"{out}: was there already, made with these settings; nothing was drawn.")
