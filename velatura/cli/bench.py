"""``velatura bench``"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

BENCHMARKS = {
    "train": "one penalty iteration, ours beside a plain loop",
    "data": "rendering people on one core and on all; feeding clips plainly, by seeking, prepared",
    "attack": "attackers on one release, side by side, beside each with f_A in its loop",
    "anonymize": "velatura anonymize beside deface and beside decoding and encoding alone",
    "impact": "velatura impact anonymize beside a plain loop over the images of a data set",
}


def bench(
    what: Annotated[str, typer.Argument(help="train, data, attack, anonymize or impact.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="List the benchmarks, and stop.")] = False,
    peer: Annotated[
        str, typer.Option(help="anonymize: the command of deface, such as peer/bin/deface.")
    ] = "",
    model: Annotated[
        str, typer.Option(help="anonymize: anonymizers, with commas between.")
    ] = "default,light",
    rounds: Annotated[int, typer.Option(min=1, help="anonymize, impact: rounds of a side.")] = 5,
    full: Annotated[
        bool, typer.Option("--full", help="attack: the demo's own clips and epochs; long.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure speed: both sides in one run, and their ratio.

    Example:

    velatura bench train
    """
    import json as text

    if list_:
        for name, sentence in BENCHMARKS.items():
            typer.echo(f"{name}: {sentence}")
        return
    from velatura.errors import unknown

    if what not in BENCHMARKS:
        raise unknown("benchmark", what, list(BENCHMARKS))
    typer.echo(f"Measuring {what}; a minute or a few.", err=True)
    if what == "anonymize":
        from velatura.deploy.bench import anonymizing

        root = Path(os.environ.get("VELATURA_DATA", "../shared/data")) / "clips"
        clips = sorted(path for path in root.glob("*") if path.is_file())
        found = anonymizing(clips, peer=peer, modes=model.split(","), rounds=rounds)
    elif what == "impact":
        from velatura.impact._speed import anonymizing as images

        found = images(rounds=rounds)
        mini = Path(os.environ.get("VELATURA_DATA", "../shared/data")) / "coco_mini"
        if mini.is_dir():
            here = images(rounds=rounds, data=mini)
            found |= {f"coco_mini_{name}": value for name, value in here.items()}
    else:
        from velatura.bench import run

        found = run(what, full)
    if json:
        typer.echo(text.dumps(found))
    else:
        for name, value in found.items():
            typer.echo(
                f"{name:<48} {value:.2f}" if isinstance(value, float) else f"{name:<48} {value}"
            )
