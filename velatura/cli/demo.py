"""``velatura demo``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world and of every network.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="Run it once for each of this many seeds, in OUT/seed-N.")
    ] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="A smoke of the whole chain; its figures mean nothing.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes side by side; 0: one per core.")
    ] = 0,
    set_: Annotated[
        list[str], typer.Option("--set", help="Change a value, such as evaluation.epochs=5.")
    ] = [],  # noqa: B006
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Generate people, train four anonymizers, attack all rows with fresh networks, report.

    Minutes on two cores, no download. Interrupted, it resumes; finished, it starts anew and
    reuses only the rendered clips.

    Example:

    velatura demo --seed 1
    """
    from velatura.cli._live import show
    from velatura.config import read_toml
    from velatura.demo import demo_study, plain_sentences
    from velatura.study import clear, resolve_study

    for number in range(seed, seed + seeds):
        folder = out / f"seed-{number}" if seeds > 1 else out
        study = demo_study(number, quick, list(set_))
        if (folder / "config.toml").exists():
            same = resolve_study(read_toml(folder / "config.toml")).science() == study.science()
            if seeds > 1 and same and (folder / "summary.json").exists():
                continue  # this seed is measured
            if not same or (folder / "summary.json").exists():
                clear(folder)
        show(
            study,
            folder,
            resume=True,
            workers=workers,
            as_json=json,
            sentences=None if quick else plain_sentences,
        )
