"""``velatura train``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[
        Path | None, typer.Argument(help="A run file (.toml); a run's own config.toml repeats it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/NAME of the file.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run that OUT holds.")
    ] = False,
    set_: Annotated[
        list[str], typer.Option("--set", help="Change a value, such as method.bound=0.3.")
    ] = [],  # noqa: B006
    list_: Annotated[
        bool, typer.Option("--list", help="List methods, networks and data sets, and stop.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train one anonymizer from a run file.

    Ctrl-C saves; --resume continues to the same weights as a run that was never stopped.
    Under torchrun, processes share each batch.

    Example:

    velatura train experiments/runs/people-penalty.toml --set method.bound=0.3
    """
    from velatura import plugins
    from velatura.errors import BadInput

    if list_:
        for kind in ("methods", "models", "data"):
            typer.echo(f"{kind}: {', '.join(plugins.names(kind))}")
        return
    if config is None:
        raise BadInput("Name a run file; `velatura train --list` has the names it may hold.")
    import json as text

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from velatura import experiment
    from velatura.config import apply_sets, read_toml
    from velatura.jobs import keep_freed_memory

    run = experiment.resolve(apply_sets(read_toml(config), list(set_)))
    folder = out or Path("runs") / (
        config.parent.name if config.name == "config.toml" else config.stem
    )
    if config.name == "config.toml" and out is None and not resume:
        folder = folder.with_name(folder.name + "-again")
    console = Console(stderr=json)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=console,
    ) as bars:
        task = bars.add_task(run.method.name, total=None, note="")

        def progress(done: int, total: int, terms: dict[str, float]) -> None:
            note = "  ".join(f"{k} {v:.3f}" for k, v in terms.items())
            bars.update(task, completed=done, total=total, note=note)

        keep_freed_memory()
        try:
            product = experiment.train(run, folder, resume=resume, progress=progress)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"Interrupted; the run is saved in {folder}. Run the same command with "
                f"--resume --out {folder} to continue."
            ) from None
    if json:
        print(text.dumps({"run": str(folder), "anonymizer": str(product)}))
    else:
        console.print(f"{product} is trained; measure it with `velatura evaluate {folder}`.")
