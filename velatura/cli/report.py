"""``velatura report``: a run folder as one HTML page, with its table as CSV and Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[
        Path,
        typer.Argument(help="The folder of a run, the one that holds summary.json: runs/demo."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where the page goes, a file or a folder: --out talk/demo.html. Default: RUN.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the rows of the table as JSON: velatura report runs/demo --json | jq .",
        ),
    ] = False,
) -> None:
    """Write the report of a run: one HTML page that works offline, and its table.

    The page holds everything it shows and loads nothing: pictures of every method, utility
    against leakage, the table with intervals, attributes, attackers, loss curves, and how it
    was made. table.csv and table.md go beside it. A run that is still going, or that lacks
    its pictures or logs, is reported too; the page says what is missing. Example:

        velatura report runs/demo
    """
    import json

    from velatura.cli.table import check
    from velatura.report.page import write_report
    from velatura.report.run import read_run

    page = write_report(run, out, check)
    found = read_run(run)
    if as_json:
        typer.echo(json.dumps(found.summary["rows"], indent=1))
        return

    from rich.console import Console

    from velatura.report.findings import headline
    from velatura.report.tables import terminal_table

    console = Console(highlight=False)
    if found.summary["rows"]:
        console.print(terminal_table(found.summary))
    console.print(f"\n{headline(found.summary)[0]}", markup=False)
    for sentence in found.missing:
        console.print(f"Missing: {sentence}", style="dim", markup=False)
    console.print(f"{page}, with table.csv and table.md beside it.", markup=False, soft_wrap=True)
