"""``velatura impact report``"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="The folder of a bench: runs/impact.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where it goes, a folder. Default: RUN.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the lines of the table as JSON.")
    ] = False,
) -> None:
    """Write what a bench measured: one page that works offline, and tables.

    report.html, table.md, table.csv and table.json: AP of the hidden category and of the control
    apart, by size, over seeds, beside the original's; the share that was hidden; what a network
    still reads of the people; and published figures, of other data, in a table of their own.

    Example:

        velatura impact report runs/impact
    """
    from velatura.impact import report as work

    page = work.write_report(run, out)
    result = work.read(run)
    if as_json:
        typer.echo(json.dumps(work.lines(result), indent=1))
        return
    typer.echo(work.plain_table(result))
    for sentence in (*work.networks(result), *work.in_words(result)):
        typer.echo(sentence)
    typer.echo(f"{page}, with table.md, table.csv and table.json beside it.")
