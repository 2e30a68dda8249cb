"""``velatura export``: a trained anonymizer as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[
        Path, typer.Argument(help="A run folder, or the folder of a study or of one of its rows.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write, such as mine.onnx.")],
    row: Annotated[str, typer.Option(help="Which row, where RUN is a study.")] = "",
    name: Annotated[str, typer.Option(help="Its name; default the row's or the folder's.")] = "",
    clip: Annotated[
        Path | None, typer.Option(help="A video to check it on; default generated people.")
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="Write what was measured of it to this JSON file too.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it exists.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a trained anonymizer as an ONNX file that runs without torch.

    The file is checked before it gets its name: what it makes of random frames and of a clip
    must be what the network makes of them, but for one level in fewer than 0.1% of the bytes. What
    looks back at past frames becomes a file too.

    Example:

    velatura export runs/light --row constrained --out mine.onnx
    """
    import json

    from velatura.errors import BadInput
    from velatura.export.onnx import card_of, export, find
    from velatura.training.checkpoint import write_atomically

    source = find(run, row)
    found = card_of(source) if card else {}
    if card and card.exists() and not overwrite:
        raise BadInput(f"{card} exists; replace it with --overwrite.")
    if card and not found:
        raise BadInput(f"Nothing was measured of {source.name}; `velatura evaluate {run}` does it.")
    done = export(
        source, out, name=name, clip=clip, overwrite=overwrite,
        tell=lambda what: typer.echo(f"{what} ...", err=True),
    )  # fmt: skip
    if card:
        write_atomically(card, (json.dumps(found, indent=1) + "\n").encode())
    if as_json:
        values = done._asdict() | {"path": str(done.path)}
        values |= {key: getattr(done, key)._asdict() for key in ("random", "clip")}
        typer.echo(json.dumps(values))
        return
    looks = "everywhere" if done.margin is None else f"{done.margin} px around a pixel"
    if done.past:
        looks += f" and {done.past} frame{'s' * (done.past > 1)} back"
    typer.echo(
        f"{done.path}: {done.name}, {done.size / 2**20:.1f} MiB, shown {done.short_side} px, "
        f"looks {looks}"
    )
    for what, apart in (("random frames", done.random), ("frames of a clip", done.clip)):
        typer.echo(
            f"checked on {apart.pictures} {what}: {apart.share:.4%} of the bytes differ from the "
            f"network's, by at most {apart.largest} of 255 levels"
        )
    if not done.measured:
        typer.echo("Nothing was measured of it: its card is empty.")
