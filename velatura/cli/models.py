"""``velatura models``: the networks that a run file can name, and what each costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

# What a run file calls a network in a role: the section, or the list that it stands in.
SECTIONS = {"anonymizer": "anonymizer", "classifier": "target", "encoder": "budget"}


def models(
    name: Annotated[str, typer.Argument(help="One network; by default, all.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """List the networks: what each can be, its parameters, its cost and its weights.

    A network is named in a run file in the role that it has there: [anonymizer] is f_A, [target]
    f_T, [budget] the encoder of f_B, and evaluation.attackers examine what is released. A target
    can be examined with, too: evaluation.targets.

    Parameters are those that a forward uses, with the published head. GFLOPs are of one forward
    of the frame or clip that the network was made for, at the input size printed; a multiplication
    and its addition count as one, as torchvision and most papers print them.

    Examples:

        velatura models
        velatura models mvit_v2_s --json
    """
    import json

    from velatura import plugins
    from velatura.errors import unknown

    known = plugins.names("models")
    if name and name not in known:
        raise unknown("network", name, known)
    rows = [_row(one) for one in ([name] if name else known)]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_table(rows))
    console.print(
        "Parameters in use, in millions. GFLOPs: of one forward at the input beside; a "
        "multiplication and its addition are one.\nEvery network starts fresh; `file` is "
        'weights = "PATH", `hub` is weights = "hub:OWNER/NAME".',
        markup=False,
        soft_wrap=True,
    )


def _row(name: str) -> dict[str, Any]:
    """What is known of one network."""
    from velatura import plugins
    from velatura.config import fields
    from velatura.models._size import native, roles, size

    module = plugins.load("models", name)
    at, counted = native(module), size(module)
    played = [SECTIONS[role] for role in roles(module)]
    if name in plugins.names("attackers"):
        played.append("attacker")
    weights = ["file", "hub"] if "weights" in fields(module.Config) else []
    return {
        "name": name,
        "roles": played,
        "parameters": counted.parameters,
        "unused": counted.unused,
        "gflops": round(counted.operations / 1e9, 3),
        "frames": at.frames,
        "side": at.side,
        "classes": at.classes,
        "weights": [*weights, *at.library],
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    """A row for each network."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("network", no_wrap=True)
    table.add_column("roles")
    table.add_column("M params", justify="right")
    table.add_column("GFLOPs", justify="right")
    table.add_column("input", justify="right")
    table.add_column("weights")
    for row in rows:
        frames = f"{row['frames']} x " if row["frames"] > 1 else ""
        table.add_row(
            row["name"],
            ", ".join(row["roles"]),
            f"{row['parameters'] / 1e6:.2f}",
            f"{row['gflops']:.2f}",
            f"{frames}{row['side']}²",
            ", ".join(row["weights"]) or "fresh only",
        )
    return table
