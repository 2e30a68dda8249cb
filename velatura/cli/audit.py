"""``velatura audit``: whether a log of runs is as it was written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from velatura.errors import BadInput, unknown

if TYPE_CHECKING:
    from velatura.deploy.record import Verdict

ACTIONS = ("verify",)


def audit(
    action: Annotated[str, typer.Argument(help="verify.", metavar="verify")],
    log: Annotated[
        Path | None,
        typer.Argument(help="The log that `velatura anonymize` wrote.", show_default=False),
    ] = None,
    files: Annotated[
        bool, typer.Option("--files", help="Compare every output with its recorded SHA-256.")
    ] = False,
    expect: Annotated[
        str,
        typer.Option(
            help="A head that was printed earlier; its line must still be there.",
            metavar="HASH",
            show_default=False,
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Look through a log of runs for what was changed, deleted, put in, moved or torn.

    The log's head is printed. Keep it where the log's keeper cannot write, and give it back
    with --expect: nothing else shows that the newest entries were cut off.

    Exit code 0 where the log is intact, 1 where it is not, 2 where it cannot be read.

    Examples:

        velatura audit verify runs.jsonl
        velatura audit verify runs.jsonl --files --json
    """
    if action not in ACTIONS:
        raise unknown("`velatura audit` action", action, ACTIONS)
    if log is None:
        raise BadInput("Name the log: velatura audit verify LOG.")

    from velatura.deploy.record import verify

    verdict = verify(log, files=files, expect=expect)
    if as_json:
        answer = {"log": str(log), "intact": verdict.intact, **asdict(verdict)}
        typer.echo(json.dumps(answer, indent=2, sort_keys=True))
    else:
        _print(log, verdict, files)
    if not verdict.intact:
        raise typer.Exit(1)


def _print(log: Path, verdict: Verdict, files: bool) -> None:
    for fault in verdict.faults:
        typer.echo(_shown(f"fail  {fault}"))
    for note in verdict.notes:
        typer.echo(_shown(f"note  {note}"))
    entries = "1 entry" if verdict.entries == 1 else f"{verdict.entries} entries"
    looked = f", {verdict.files} outputs compared" if files else ""
    state = "intact" if verdict.intact else "NOT INTACT"
    typer.echo(_shown(f"{log}: {state}: {entries}{looked}."))
    typer.echo(f"head  {verdict.head}")


def _shown(text: str) -> str:
    """Text for a terminal: a file's name may hold what cannot be printed, or steers it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
