"""What Velatura says when something is wrong: one sentence a person can act on.

    VelaturaError
    ├── BadInput   what the user can mend: a name, a value, a file        exit code 2
    └── Failure    what broke while running: a full disk, a NaN            exit code 1

The message says what was expected, what came, and what to do. The command line
prints it without a traceback (``--debug`` shows one); Python callers catch it.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["BadInput", "Failure", "VelaturaError", "unknown"]


class VelaturaError(Exception):
    """Base of every error that Velatura raises on purpose."""

    exit_code = 1


class BadInput(VelaturaError):
    """Something the caller gave is not usable; the message names the remedy."""

    exit_code = 2


class Failure(VelaturaError):
    """Something broke while running; the message says what is left and what to do."""


def unknown(kind: str, name: str, available: Iterable[str]) -> BadInput:
    """An unknown name, answered with the nearest right one and the whole list.

    Args:
        kind: what was looked for, such as ``"method"``.
        name: what the user wrote.
        available: every right name.
    """
    names = sorted(available)
    guess = get_close_matches(name, names, n=1)
    hint = f" Did you mean {guess[0]!r}?" if guess else ""
    return BadInput(f"No {kind} named {name!r}.{hint} Available: {', '.join(names)}.")
