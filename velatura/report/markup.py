"""The pieces of HTML that every part of the page is made of: sections, tables to sort, figures.

What goes into them is HTML already: who calls has escaped the texts of the run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from velatura.report.findings import family, label, unseeded
from velatura.report.run import number, span
from velatura.report.tables import value_text

__all__ = [
    "Cell", "Row", "Section", "choice", "embedded", "fit_name", "header_of", "measured", "options",
    "plot", "share", "table", "truth", "words",
]  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A part of the page, with a heading that the list of contents names too."""

    ident: str
    title: str
    body: str

    def __str__(self) -> str:
        return (
            f'<section id="{self.ident}" aria-labelledby="{self.ident}-title">'
            f'<h2 id="{self.ident}-title">{self.title}</h2>{self.body}</section>'
        )


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and what it is sorted by: a number, a text, or nothing (always last)."""

    html: str
    key: float | str | None = None
    kind: str = "num"


@dataclass(frozen=True)
class Row:
    """A line of a table; ``given`` ones (chance, floor) stay on top however it is sorted."""

    header: str
    name: str
    cells: Sequence[Cell]
    given: bool = False


def table(
    ident: str, caption: str, heads: Sequence[str], rows: Sequence[Row], kind: str = ""
) -> str:
    """A table that each of its headings sorts.

    Args:
        ident: the id of the table.
        caption: what a screen reader says it is.
        heads: the heading of the names and one for every cell.
        rows: the lines, in the order in which the page opens.
        kind: further classes; "methods" where each line is a row of the run, and can be filtered.
    """
    for row in rows:
        assert len(row.cells) + 1 == len(heads), (ident, row.name)
    texts = [c.kind == "text" for c in rows[0].cells] if rows else []
    head = "".join(
        f'<th scope="col"{TEXT if i == 0 or texts[i - 1] else ""}><button type="button">{text}'
        "</button></th>"
        for i, text in enumerate(heads)
    )
    body = "".join(
        f'<tr data-name="{escape(row.name)}"{GIVEN if row.given else ""}>'
        f'<th scope="row">{row.header}</th>{"".join(map(_cell, row.cells))}</tr>'
        for row in rows
    )
    return (
        f'<div class="card scroll" tabindex="0" role="region" aria-label="{caption}">'
        f'<table id="{ident}" class="sortable {kind}"><caption class="unseen">{caption}. The '
        f"headings are buttons that sort it.</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


TEXT = ' class="text"'
GIVEN = ' class="given"'


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_short(v) for v in value]
    return value


def _cell(cell: Cell) -> str:
    key = "" if cell.key is None else f' data-key="{escape(str(_short(cell.key)))}"'
    kind = f' class="{cell.kind}"' if cell.kind else ""
    return f"<td{kind}{key}>{cell.html}</td>"


def measured(entry: dict[str, Any], key: str, decimals: int, factor: float = 1) -> Cell:
    """A number and its interval; an empty cell where it is none."""
    value = number(entry.get(key))
    if value is None:
        return Cell("")
    inside = span(entry.get(f"{key}_interval"))
    scaled: dict[str, Any] = {"x": value * factor}
    if inside is not None:
        scaled["x_interval"] = [x * factor for x in inside]
    text, between = value_text(scaled, "x", decimals)
    return Cell(text + (f'<span class="in">{between}</span>' if between else ""), value)


def words(text: Any) -> Cell:
    """A text, escaped."""
    return Cell(escape(str(text)), str(text), "text")


def header_of(row: dict[str, Any]) -> str:
    """The name of a row behind a dot in the colour of its family."""
    return (
        f'<span class="tag" style="--of:var(--{family(row)})"></span>{escape(label(row["name"]))}'
    )


def plot(ident: str, summary: str) -> str:
    """The box of a figure; ``summary`` is what it shows, for those who do not see it."""
    return f'<div id="{ident}" class="plot" role="img" aria-label="{escape(summary)}"></div>'


def options(names: Sequence[str], chosen: int) -> str:
    """The choices of a select, by their place."""
    return "".join(
        f'<option value="{i}"{" selected" if i == chosen else ""}>{escape(label(name))}</option>'
        for i, name in enumerate(names)
    )


def choice(ident: str, text: str, names: Sequence[str], chosen: int, controls: str) -> str:
    """A select with its label: which row is shown."""
    return (
        f'<div class="bar"><label for="{ident}">{text}</label>'
        f'<select id="{ident}" aria-controls="{controls}">{options(names, chosen)}</select></div>'
    )


def share(value: float | None) -> str:
    """U or L as text."""
    return value_text({"x": value}, "x", 2)[0]


def fit_name(name: Any) -> str:
    """ "frame_cnn/0" as "frame cnn, seed 0"; "A5 frame_cnn/99" without a seed."""
    probe, slash, seed = unseeded(str(name or "")).partition("/")
    return f"{label(probe)}, seed {seed}" if slash else label(probe)


def truth(value: bool) -> str:
    return "true" if value else "false"


def embedded(data: Any) -> str:
    """JSON that cannot end the script element it stands in; six digits are enough to draw."""
    text = json.dumps(_short(data), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
