"""``velatura sweep``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sweep(
    grid: Annotated[Path, typer.Argument(help="A grid file (.toml).")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; default runs/NAME of the file.")
    ] = None,
    only: Annotated[
        list[str], typer.Option("--only", help="A cell, WORLD/SEED, or a world; may repeat.")
    ] = [],  # noqa: B006
    retry: Annotated[
        bool, typer.Option("--retry", help="Try again what failed in an earlier run.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes side by side; 0: one per core.")
    ] = 0,
    set_: Annotated[
        list[str], typer.Option("--set", help="Change a value, such as evaluation.epochs=5.")
    ] = [],  # noqa: B006
    list_: Annotated[
        bool, typer.Option("--list", help="Print the cells and how far each is, and stop.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what is printed as JSON.")] = False,
) -> None:
    """Train and examine every row of a grid, in every world and at every seed.

    Interrupted or killed, it goes on with what is missing when it is run again. A row that
    breaks is named and does not stop the others; then the exit code is 1.

    Example:

    velatura sweep experiments/grids/comparison.toml --list
    """
    from velatura.cli._live import say_cells, show_sweep
    from velatura.config import read_toml
    from velatura.sweep import cells_of, resolve_grid, state

    folder = out or Path("runs") / grid.stem
    resolved = resolve_grid(read_toml(grid), list(set_))
    if not list_:
        whole = show_sweep(
            resolved, folder, workers=workers, only=list(only), retry=retry, as_json=json
        )
        if not whole:
            raise typer.Exit(1)
        return
    states = {cell.name: state(cell) for cell in cells_of(resolved, folder, list(only))}
    if json:
        from json import dumps

        typer.echo(dumps({name: found.values() for name, found in states.items()}))
    else:
        say_cells(states)
