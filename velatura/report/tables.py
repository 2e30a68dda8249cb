"""The table: as Markdown, as CSV, and for the terminal. Unfinished tables are fine."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from velatura.layout import LEAKY
from velatura.report.findings import after_codecs, label, too_low, unseeded
from velatura.report.run import number, span

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["figure", "terminal_table", "to_csv", "to_markdown", "value_text"]

COLUMNS = [  # key, heading, decimals
    ("top1", "Top-1 %", 1),
    ("U", "Utility U", 2),
    ("cmap", "cMAP %", 1),
    ("L", "Leakage L", 2),
]
ON_DEMAND = [  # rung, who stands there, and what asks for him
    ("A3", "an attacker from random weights", 'scratch = ["frame_cnn"]'),
    ("A5", "one who undoes the release before looking", "inversion = {}"),
]
DASH = "\u2013"
ELLIPSIS = "\u2026"
NONE = "\u2014"


def value_text(row: dict[str, Any], key: str, decimals: int) -> tuple[str, str]:
    """A number and its interval as text: ("0.48", "0.44\u20130.53"); dash and nothing if absent."""
    value = number(row.get(key))
    if value is None:
        return NONE, ""
    inside = span(row.get(f"{key}_interval"))
    text = _plain(value, decimals)
    if inside is None or inside[0] == inside[1] == value:
        return text, ""
    low, high = (_plain(x, decimals) for x in inside)
    between = f" to {high}" if "\u2212" in low + high else f"{DASH}{high}"
    return text, low + between


def figure(row: dict[str, Any], key: str, decimals: int) -> str:
    """A number with its interval in brackets: "0.48 (0.44\u20130.53)"; a dash if absent."""
    value, inside = value_text(row, key, decimals)
    return f"{value} ({inside})" if inside else value


def to_markdown(summary: dict[str, Any]) -> str:
    """The table as GitHub reads it, with chance and floor beside the rows."""
    headings = ["Method", *(h for _, h, _ in COLUMNS), "Strongest attacker"]
    lines = [" | ".join(headings), " | ".join(["---"] + ["---:"] * 4 + ["---"])]
    for name, row in _all_rows(summary):
        cells = [name, *(figure(row, key, decimals) for key, _, decimals in COLUMNS)]
        cells.append(unseeded(str(row.get("strongest") or "")))
        lines.append(" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells))
    lines = [f"| {line} |" for line in lines]
    legend = (
        "Top-1 and cMAP in per cent; utility U (higher is better) and leakage L (lower is better) "
        "are 1 on raw video and 0 at chance. 95 % intervals over test people in brackets. L is "
        "against the strongest attacker of this run: a lower bound on what can be read."
    )
    legend = " ".join([legend, *_notes(summary)])
    marks = [f"**{name}: test videos were trained on.**\n" for name in _leaky(summary)]
    return "\n".join([*marks, *lines, "", legend, ""])


def _notes(summary: dict[str, Any]) -> list[str]:
    """What has to be said of single rows: examined after a codec, or by too weak a ladder; and
    who did not look at all."""
    rows = [row for row in summary["rows"] if "name" in row]
    low = too_low(rows)
    return [*after_codecs(summary["rows"]), *([low] if low else []), *not_tried(summary["rows"])]


def to_csv(summary: dict[str, Any]) -> str:
    """Every field of every row, one column each; intervals as ``_low`` and ``_high``."""
    mark = {"dataset": ", ".join(names)} if (names := _leaky(summary)) else {}
    flat = [{**_flat(row), **mark} for row in summary["rows"]]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def terminal_table(summary: dict[str, Any]) -> Table:
    """The table for a terminal of 80 columns; rows may arrive one by one, fields may lack.

    Only U and L carry their intervals here; the files and the page have all of them.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    lines: list[list[Text]] = []
    for name, row in _all_rows(summary):
        cells = [Text(name, style="dim" if row.get("name") is None else "")]
        for key, _, decimals in COLUMNS:
            value, inside = value_text(row, key, decimals)
            cell = Text(value, style="bold" if key in ("U", "L") else "")
            if inside and key in ("U", "L"):
                short = inside.replace(" to ", ELLIPSIS).replace(DASH, ELLIPSIS)
                cell.append(f" {short}", style="not bold dim")
            cells.append(cell)
        lines.append([*cells, Text(unseeded(str(row.get("strongest") or "")), style="dim")])
    title = Text(", ".join(_leaky(summary)), style="bold red") or None
    caption = Text(" ".join(_notes(summary)), style="dim") or None
    table = Table(
        title=title,
        caption=caption,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        caption_justify="left",
    )
    for i, heading in enumerate(["Method", *(heading for _, heading, _ in COLUMNS)]):
        widest = max([len(heading), *(len(line[i]) for line in lines)])  # never cut a number
        table.add_column(heading, justify="right" if i else "left", no_wrap=True, min_width=widest)
    table.add_column("Attacker", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table


def not_tried(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence on attackers of the ladder that nobody asked for; none where all looked.

    Rows that are still going say nothing, nor do those of a time without a ladder.
    """
    told = [row for row in rows if row.get("rungs") and isinstance(row["rungs"], list)]
    seen = {rung.get("rung") for row in told for rung in row["rungs"] if isinstance(rung, dict)}
    lacks = [f"{what} ({rung}: {ask})" for rung, what, ask in ON_DEMAND if rung not in seen]
    if not any(row.get("budget") for row in told):
        lacks.append("one with more effort (curve = [1, 4])")
    if not told or not lacks:
        return []
    return [
        f"Not tried, and each may read more: {'; '.join(lacks)}. Ask for them under [evaluation], "
        "or with --set evaluation.KEY=VALUE."
    ]


def _leaky(summary: dict[str, Any]) -> list[str]:
    """The names of data sets that say of themselves that their test was trained on."""
    data = summary.get("data")
    private = data.get("private") if isinstance(data, dict) else None
    named = [summary.get("dataset"), private.get("name") if isinstance(private, dict) else None]
    return [str(name) for name in named if str(name).startswith(LEAKY)]


def _all_rows(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The rows, with what no information and the action alone give before them."""
    before = []
    chance, floor = summary.get("chance"), summary.get("floor")
    if isinstance(chance, dict):
        before.append(("chance", {**chance, "U": 0.0, "L": 0.0}))
    if isinstance(floor, dict):
        before.append(("action alone", floor))
    return before + [(label(row["name"]), row) for row in summary["rows"]]


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values as columns: ``attributes.hair.ap``, ``U_low``, ``attackers.cnn.cmap``."""
    result: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, dict):
            result |= _flat(inner, f"{name}.")
        elif key.endswith("_interval") and isinstance(inner, list | tuple) and len(inner) == 2:
            stem = name.removesuffix("_interval")
            result[f"{stem}_low"], result[f"{stem}_high"] = inner
        elif isinstance(inner, list | tuple):
            result[name] = " ".join("" if x is None else str(x) for x in inner)
        else:
            result[name] = inner
    return result


def _plain(value: float, decimals: int) -> str:
    """A number with a true minus sign, and no minus before a rounded zero."""
    text = f"{value:.{decimals}f}"
    return f"{0:.{decimals}f}" if float(text) == 0 else text.replace("-", "\u2212")
