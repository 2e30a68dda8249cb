"""``velatura floors``"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer


def floors(
    name: Annotated[str, typer.Argument(help="vispr1, vispr2, vp-hmdb51, vp-ucf101 or pa-hmdb51.")],
    root: Annotated[
        Path | None,
        typer.Option(help="The folder of the annotations. Default: $VELATURA_DATA/annotations."),
    ] = None,
    accuracy: Annotated[
        list[float],
        typer.Option(
            help="Also A1 of an action read with this accuracy, such as 0.75; may repeat."
        ),
    ] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """What the labels of a data set tell by themselves: chance, and the action-only floor.

    A0 is the score of a predictor that knows only how frequent each attribute is; A1 that of one
    that is also told the action. No video is needed. A leakage below A1, where the action stays
    readable, means that the attackers were weak.

    Example:

    velatura floors vp-hmdb51 --root data/annotations --accuracy 0.816
    """
    from velatura.errors import BadInput
    from velatura.floors import floors as of

    home = os.environ.get("VELATURA_DATA")
    if root is None and not home:
        raise BadInput("Say where the annotations are: --root DIR, or set VELATURA_DATA.")
    found = of(name, root or Path(home or "") / "annotations", accuracy)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    _show(name, found)


def _show(name: str, rows: list[dict[str, Any]]) -> None:
    """A table for each choice of items, with a column for each rung."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"{name}: what the labels tell by themselves; cMAP and AP in per cent")
    for items in dict.fromkeys(row["items"] for row in rows):
        of = [row for row in rows if row["items"] == items]
        table = Table(title=f"{items}: {of[0]['n']}", title_justify="left")
        table.add_column("")
        table.add_column("A0 prevalence", justify="right")
        shown = [of[0]["A0"], *(row["A1"] for row in of if row["A1"])]
        for row in of:
            if row["A1"]:
                right = "" if row["accuracy"] == 1 else f" {row['accuracy']:.1%} right"
                table.add_column(f"A1 action{right}", justify="right")
        spread = [f" ± {f['deviation']:.1f}" if f.get("deviation") else "" for f in shown]
        cmaps = [f"{f['cmap']:.2f}{s}" for f, s in zip(shown, spread, strict=True)]
        table.add_row("cMAP", *cmaps)
        first, others = shown[0], shown[1:]
        table.add_row(
            "F1 at p > 0.5", f"{first['f1_majority']:.3f}", *(f"{f['f1']:.3f}" for f in others)
        )
        table.add_row("F1 always yes", f"{first['f1_always_yes']:.3f}", end_section=True)
        for attribute in first["attributes"]:
            table.add_row(attribute, *(f"{f['attributes'][attribute]:.1f}" for f in shown))
        console.print(table)
    console.print(f"Counted as 1: {_said(rows[0]['binarisation'])}.")


def _said(counted: dict[str, str]) -> str:
    """Which annotations count as 1, in one line; what holds for all attributes is said once."""
    said = {text.replace(name, "its name") for name, text in counted.items()}
    if len(said) == 1:
        return said.pop()
    return "; ".join(f"{name} where {text}" for name, text in counted.items())
