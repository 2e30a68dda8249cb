"""``velatura impact evaluate``"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from velatura.cli.impact._options import Annotations, Format, Images
from velatura.errors import BadInput


def evaluate(
    run: Annotated[
        Path, typer.Option(help="A folder of `velatura impact train`.", show_default=False)
    ] = Path(),
    data: Annotated[
        Path, typer.Option(help="The folder of original pictures.", show_default=False)
    ] = Path(),
    ann: Annotations = None,
    images: Images = None,
    form: Format = "coco",
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 16,
    anonymized: Annotated[
        bool,
        typer.Option("--anonymized", help="Take a copy in which people are hidden, and say so."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure what a trained detector finds in original pictures: COCO's AP, by size and category.

    Writes evaluation.json and, for other tools, finds/TASK.json into the run's folder.

    Example:

        velatura impact evaluate --run runs/blur --data coco --ann annotations/tiny_val.json
    """
    if run == Path():
        raise BadInput("Say which run: --run DIR.")
    if data == Path():
        raise BadInput("Say which data set: --data DIR, with original pictures.")
    from velatura.cli.impact._progress import shown
    from velatura.impact import _formats
    from velatura.impact import evaluate as work

    found = _formats.read(form, data, ann or (), images, None)
    with shown("images", as_json) as progress:
        answer = work.evaluate(run, found, anonymized=anonymized, batch=batch, progress=progress)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        _print(answer, run)


def _print(answer: Mapping[str, Any], run: Path) -> None:
    """A line for each task and category, in percent."""
    from velatura.impact._score import FIGURES

    short = [name.replace("AP_", "") for name in FIGURES]
    typer.echo(f"{'task':<14}{'category':<16}" + "".join(f"{name:>8}" for name in short))
    for task, figures in answer["tasks"].items():
        rows = {"all": figures, **figures["categories"]}
        for name, row in rows.items():
            values = (row[key] for key in FIGURES)
            cells = "".join(f"{'-' if v is None else format(v, '.1f'):>8}" for v in values)
            typer.echo(f"{task:<14}{name:<16}{cells}")
            task = ""
    if answer["anonymized"]:
        typer.echo("Measured on a copy in which people are hidden, not on originals.")
    if answer["data"]["trained_on"]:
        typer.echo("Measured on the annotations that it was trained on: this is memory, not skill.")
    typer.echo(f"{answer['images']} images; written into {run}.")
