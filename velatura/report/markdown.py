"""Markdown that a stranger's words cannot break: a summary may come from anybody.

Whatever a run brings (names, titles, commands) goes through :func:`code`; what stands outside of
code spans is this package's own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from velatura.report.tables import NONE

__all__ = ["code", "one_line", "table"]

LONGEST = 200  # characters of a foreign text that are shown, where no more are asked for


def one_line(text: Any) -> str:
    """Text without line breaks and what is not printed, such as marks that turn its direction."""
    kept = "".join(c if c.isprintable() else " " for c in str("" if text is None else text))
    return " ".join(kept.split())


def code(text: Any, longest: int = LONGEST) -> str:
    """Foreign text as a code span, in which no markup, HTML or address is read; a dash for none.

    What is longer than ``longest`` is cut; ``eval.json`` has all of it.
    """
    shown = one_line(text)
    if not shown:
        return NONE
    if len(shown) > longest:
        shown = shown[: longest - 1] + "\u2026"
    # A span ends at as many backticks as it began with, so it begins with more than it holds.
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    pad = " " if "`" in (shown[0], shown[-1]) else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table: numbers to the right, all else to the left.

    A pipe would end its cell, and renderers disagree on a backslash before it: it is drawn broken.
    """
    lines = [[str(cell).replace("|", "\u00a6") for cell in row] for row in rows]
    numeric = [_numeric([line[i] for line in lines]) for i in range(len(head))]
    marks = ["---:" if right else "---" for right in numeric]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(head), marks, *lines])


def _numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell not in ("", NONE)]
    return bool(filled) and all(re.match(r"\u2212?\d", cell) for cell in filled)
