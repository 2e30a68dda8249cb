"""``velatura card``: what was measured of one method, as a bundle to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def card(
    run: Annotated[
        Path,
        typer.Argument(
            help="The folder of a study (it holds summary.json), or of a run that was evaluated."
        ),
    ],
    row: Annotated[
        str, typer.Option(help="Which row of the study; default the only learned one.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="The folder to write to; default RUN/card.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the card that is there.")
    ] = False,
) -> None:
    """Write a model card, the evaluation as data, a helper for an impact assessment, and limits.

    model_card.md, eval.json, dpia.md and limits.md hold what the study measured of one row: the
    attackers, every seed, intervals, and what was not tested. All four are written, or none; a
    card that is there is kept unless --overwrite is given. None of it is legal advice.

    Example:

    velatura card runs/demo --row constrained
    """
    from velatura.report.card import FILES, write_card

    done = write_card(run, row, out, overwrite=overwrite)
    typer.echo(done.statement)
    typer.echo(f"{done.folder}: {', '.join(FILES)}")
