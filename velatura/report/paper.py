"""What the paper prints, from ``paper.toml`` beside this file: numbers, and which are misprints.

Aslam and Nasrollahi, 2025, https://arxiv.org/abs/2504.14301. Where a number is a misprint, programs
take what it should be; what was printed stays beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from velatura import metrics
from velatura.config import read_toml
from velatura.errors import unknown

__all__ = ["Point", "Published", "misprints", "paper", "paper_points", "published"]

FILE = Path(__file__).with_name("paper.toml")


@dataclass(frozen=True, kw_only=True)
class Published:
    """One printed number.

    Attributes:
        value: what it should be; top-1 and cMAP in per cent, F1 from 0 to 1.
        printed: as it was printed.
        drop: points below the raw row, in brackets behind it, as they should be; None without.
        why: why ``printed`` is a misprint; "" where it is none.
        computed: the paper prints no such number, and ``printed`` is ``value``.
    """

    value: float
    printed: float
    drop: float | None = None
    why: str = ""
    computed: bool = False


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of a table as a point of a trade-off.

    Attributes:
        row, label: its name in the grids, and in the paper.
        top1, cmap: in per cent.
        U, L: as :mod:`velatura.metrics` has them, shares of the table's own raw row; chance is of
            the public labels. None where chance is not known.
        bound: B, where the row has one.
    """

    row: str
    label: str
    top1: float
    cmap: float
    U: float | None
    L: float | None
    bound: float | None


@lru_cache(maxsize=1)
def paper() -> Mapping[str, Any]:
    """``paper.toml``, plain; not to be changed."""
    return read_toml(FILE)


def misprints(table: int) -> list[Mapping[str, Any]]:
    """The known misprints of a table: row, column, printed, should_be, reason."""
    return [wrong for wrong in paper()["misprints"] if wrong["table"] == table]


def published(table: int, row: str, column: str) -> Published | None:
    """A number of a table; None where the paper has a dash, no such row, or no such column.

    Row ``"chance"`` is what no information gives, which the paper does not print.
    """
    found = paper().get(f"table{table}", {})
    columns = list(found.get("columns", {}))
    if row == "chance" and column in columns:
        measure = column.rpartition("_")[2]
        value = paper()["chance"].get(f"{found['on']}_{measure}" if "on" in found else column)
        return None if value is None else Published(value=value, printed=value, computed=True)
    line = next((one for one in found.get("rows", ()) if one["name"] == row), None)
    if line is None or column not in columns:
        return None
    printed = _number(line["values"], columns.index(column))
    if printed is None:
        return None
    wrong = {one["column"]: one for one in misprints(table) if one["row"] == row}
    here, below = wrong.get(column), wrong.get(f"{column}_drop")
    drop = _number(line.get("drops", ()), columns.index(column))
    return Published(
        value=here["should_be"] if here else printed,
        printed=printed,
        drop=below["should_be"] if below else drop,
        why=here["reason"] if here else "",
    )


def paper_points(
    table: int = 1, top1: str = "ucf101_top1", cmap: str = "vispr1_cmap"
) -> list[Point]:
    """The rows of a table that have both numbers, in the paper's order, raw first.

    Args:
        table: 1 or 2.
        top1, cmap: two columns of it.

    Raises:
        BadInput: the table has no such column.
    """
    found = paper()[f"table{table}"]
    for column in (top1, cmap):
        if column not in found["columns"]:
            raise unknown(f"column of table {table}", column, found["columns"])
    chance = paper()["chance"]
    raw = [published(table, "raw", column) for column in (top1, cmap)]
    points = []
    for line in found["rows"]:
        kept, read = (published(table, line["name"], column) for column in (top1, cmap))
        if kept is None or read is None:
            continue
        shares: list[float | None] = []
        for share, own, whole, column in (
            (metrics.utility, kept, raw[0], top1),
            (metrics.leakage, read, raw[1], cmap),
        ):
            if whole is None or column not in chance:
                shares.append(None)
            else:
                shares.append(share(own.value, whole.value, chance[column]))
        name, _, bound = line["name"].rpartition("_")
        points.append(
            Point(
                row=line["name"],
                label=line["label"],
                top1=kept.value,
                cmap=read.value,
                U=shares[0],
                L=shares[1],
                bound=float(bound) if name == "penalty" else None,
            )
        )
    return points


def _number(values: Sequence[Any], place: int) -> float | None:
    """The number at a place; None for a dash, or where there are none."""
    if place >= len(values) or values[place] == "-":
        return None
    return float(values[place])
