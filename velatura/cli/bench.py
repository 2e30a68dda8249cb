"""``velatura bench``"""

from __future__ import annotations

from typing import Annotated

import typer

BENCHMARKS = {
    "train": "one penalty iteration, ours beside a plain loop",
    "data": "rendering people on one core and on all; feeding clips plainly, by seeking, prepared",
}


def bench(
    what: Annotated[str, typer.Argument(help="train or data.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="List the benchmarks, and stop.")] = False,
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
    from velatura.bench import run
    from velatura.errors import unknown

    if what not in BENCHMARKS:
        raise unknown("benchmark", what, list(BENCHMARKS))
    typer.echo(f"Measuring {what}; a minute or a few.", err=True)
    found = run(what)
    if json:
        typer.echo(text.dumps(found))
    else:
        for name, value in found.items():
            typer.echo(
                f"{name:<24} {value:.2f}" if isinstance(value, float) else f"{name:<24} {value}"
            )
