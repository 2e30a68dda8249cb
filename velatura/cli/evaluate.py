"""``velatura evaluate``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    source: Annotated[
        Path | None, typer.Argument(help="A study file (.toml), or the folder of a trained run.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study; default runs/NAME of the file.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the study that OUT holds.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes side by side; 0: one per core.")
    ] = 0,
    set_: Annotated[
        list[str], typer.Option("--set", help="Change a value, such as evaluation.epochs=5.")
    ] = [],  # noqa: B006
    list_: Annotated[
        bool, typer.Option("--list", help="List attackers, protocols and codecs, and stop.")
    ] = False,
    controls: Annotated[
        bool, typer.Option("--controls", help="Attack what the answer is known for, and stop.")
    ] = False,
    size: Annotated[
        str, typer.Option(help="Of --controls: usual takes minutes, small seconds.")
    ] = "usual",
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Measure utility and leakage with fresh networks on what an anonymizer releases.

    A study file trains its learned rows first. The folder of a trained run is measured
    beside the raw video. --controls examines the examination on a small generated world
    instead, and exits with 1 where it does not say what it must.

    Example:

    velatura evaluate runs/mine
    """
    from velatura import plugins
    from velatura.errors import BadInput
    from velatura.video.codec import ENCODERS

    if list_:
        for kind in ("attackers", "protocols"):
            typer.echo(f"{kind}: {', '.join(plugins.names(kind))}")
        typer.echo(f"codecs: {', '.join(ENCODERS)}")
        return
    if controls:
        _controls(source, out, resume, workers, list(set_), size, json)
        return
    if source is None:
        raise BadInput("Name a study file or the folder of a trained run; see --help.")
    from velatura.cli._live import show
    from velatura.config import apply_sets, read_toml
    from velatura.study import adopt, resolve_study

    if source.is_dir():
        folder = out or source / "evaluation"
        study = resolve_study(apply_sets(adopt(source), list(set_)))
    else:
        folder = out or Path("runs") / source.stem
        study = resolve_study(apply_sets(read_toml(source), list(set_)))
    show(
        study,
        folder,
        resume=resume,
        workers=workers,
        as_json=json,
    )


def _controls(
    source: Path | None,
    out: Path | None,
    resume: bool,
    workers: int,
    sets: list[str],
    size: str,
    json: bool,
) -> None:
    """Negative controls; ends in an error where one does not hold."""
    from typing import get_args

    from velatura.errors import BadInput, Failure, unknown

    if source is not None:
        raise BadInput(f"--controls has a world of its own; leave {source} out.")
    from velatura.cli._live import show_controls
    from velatura.controls import Size, controls_study

    if size not in get_args(Size):
        raise unknown("size", size, get_args(Size))
    study = controls_study("small" if size == "small" else "usual", sets)
    folder = out or Path("runs") / "controls"
    summary = show_controls(study, folder, resume=resume, workers=workers, as_json=json)
    broken = [f"{c['name']} ({c['rung']})" for c in summary["controls"] if not c["held"]]
    if broken:
        raise Failure(
            f"{len(broken)} of {len(summary['controls'])} controls do not hold: "
            f"{', '.join(broken)}. Trust no figure of this examination before they do."
        )
