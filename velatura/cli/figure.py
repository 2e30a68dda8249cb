"""``velatura figure``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def figure(
    number: Annotated[str | None, typer.Argument(help="Which: 2, 3, 5, 6, 7 or 8.")] = None,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("figures"),
    records: Annotated[
        Path,
        typer.Option(help="Where sweeps' records are; runs, which also has curves and frames."),
    ] = Path("experiments/records"),
    instance: Annotated[
        str, typer.Option(help="people: generated people; paper: its own data sets.")
    ] = "people",
    figures: Annotated[Path, typer.Option(help="The folder of the figure files.")] = Path(
        "experiments/figures"
    ),
    list_: Annotated[bool, typer.Option("--list", help="List the figures, and stop.")] = False,
) -> None:
    """Draw a figure of the paper from records, as PNG and SVG; the paper's points beside ours.

    Nothing is trained. The paper's other figures are drawings. A record that is not of the grid's
    configuration is not shown, and named.

    Example:

    velatura figure 3 --records runs --out figures
    """
    from velatura.cli.table import check
    from velatura.config import read_toml
    from velatura.errors import BadInput, unknown
    from velatura.report.paper_figure import draw, known

    if list_:
        for one in known(figures):
            typer.echo(f"{one}  {read_toml(figures / f'figure{one}.toml')['caption']}")
        return
    if number is None:
        raise BadInput(f"Say which figure: {', '.join(known(figures))}; --list names them.")
    if instance not in ("people", "paper"):
        raise unknown("instance", instance, ("people", "paper"))
    paths, lacks = draw(
        number, out, figures, records, "paper" if instance == "paper" else "people", check
    )
    for path in paths:
        typer.echo(str(path))
    for sentence in lacks:
        typer.echo(sentence, err=True)
