"""``velatura table``"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def table(
    number: Annotated[str | None, typer.Argument(help="Which, 1 to 8.")] = None,
    records: Annotated[
        Path, typer.Option(help="Where sweeps' records are; runs, for what was just measured.")
    ] = Path("experiments/records"),
    instance: Annotated[
        str, typer.Option(help="people: generated people; paper: its own data sets.")
    ] = "people",
    format_: Annotated[
        str, typer.Option("--format", help="text, markdown, latex, csv or json.")
    ] = "text",
    tables: Annotated[Path, typer.Option(help="The folder of the table files.")] = Path(
        "experiments/tables"
    ),
    list_: Annotated[bool, typer.Option("--list", help="List the tables, and stop.")] = False,
) -> None:
    """Print a table of the paper: ours over seeds, from records, beside what it prints.

    Nothing is trained. For a cell that is empty, the command that would fill it stands below. A
    record that is not of the grid's configuration is not shown, and named.

    Example:

    velatura table 1 --records runs
    """
    from velatura.config import read_toml
    from velatura.errors import BadInput, unknown
    from velatura.report.paper_table import fill, numbers, render

    if list_:
        for known in numbers(tables):
            typer.echo(f"{known}  {read_toml(tables / f'table{known}.toml')['caption']}")
        return
    if number is None:
        raise BadInput(f"Say which table: {', '.join(numbers(tables))}; --list names them.")
    if instance not in ("people", "paper"):
        raise unknown("instance", instance, ("people", "paper"))
    found = fill(number, tables, records, "paper" if instance == "paper" else "people", check)
    typer.echo(render(found, format_), nl=False)


def check(grid: Path, folder: Path) -> Callable[[str, int, Mapping[str, Any]], str]:
    """``sweep.compare``, which is imported only where there is a record to compare."""
    from velatura.sweep import compare

    return compare(grid, folder)
