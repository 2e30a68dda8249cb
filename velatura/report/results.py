"""The main table: every row with its intervals, to sort and to take away."""

from __future__ import annotations

import base64
import json
from html import escape
from typing import Any

from velatura.report.findings import after_codecs, family, leaders, too_low
from velatura.report.markup import Cell, Row, Section, fit_name, header_of, measured, table
from velatura.report.run import mapping, number, span
from velatura.report.tables import NONE, to_csv, to_markdown, value_text

__all__ = ["results"]

NUMBERS = [  # key, heading, decimals
    ("U", "Utility U", 2),
    ("L", "Leakage L", 2),
    ("top1", "Top-1 %", 1),
    ("cmap", "cMAP %", 1),
]
FILTER_FROM = 8
"""Rows from which there is a box to filter them by name."""

MORE = [  # key, heading, decimals, factor
    ("excess", "Above the action, points", 1, 1),
    ("plugin_top1", "Top-1 %, not retrained", 1, 1),
    ("static_cmap", "cMAP %, not retrained", 1, 1),
    ("rms", "RMS", 3, 1),
    ("beyond_bound", "beyond B, %", 1, 100),
    ("f1", "F1", 3, 1),
    ("f1_printed", "F1, logit &gt; .5", 3, 1),
]


def results(summary: dict[str, Any]) -> Section | str:
    """The section of the main table and of what may be downloaded."""
    rows = [_with_excess(row) for row in summary["rows"]]
    if not rows:
        return ""
    lead = {"U": leaders(rows, "U", highest=True), "L": leaders(rows, "L", highest=False)}
    more = [m for m in MORE if any(number(r.get(m[0])) is not None for r in rows)]
    lines = []
    chance, floor = summary.get("chance"), summary.get("floor")
    if isinstance(chance, dict):
        known = {"top1": chance.get("top1"), "cmap": chance.get("cmap"), "U": 0, "L": 0}
        lines.append(_given("no information", known, len(more)))
    if isinstance(floor, dict):
        known = {"cmap": floor.get("cmap"), "L": floor.get("L")}
        lines.append(_given("action alone", known, len(more)))
    for row in rows:
        cells = [_number(row, key, decimals, lead) for key, _, decimals in NUMBERS]
        cells.append(_text(fit_name(row.get("strongest"))))
        cells += [measured(row, key, decimals, factor) for key, _, decimals, factor in more]
        lines.append(Row(header_of(row), row["name"], cells))
    heads = ["Method", *(h for _, h, _ in NUMBERS), "Strongest attacker"]
    heads += [heading for _, heading, _, _ in more]
    search = ""
    if len(rows) >= FILTER_FROM:
        search = (
            '<div class="bar"><label for="filter">Only rows that contain</label><input '
            'type="search" id="filter" autocomplete="off" spellcheck="false"><span class="small '
            'soft">in every table of this page</span></div>'
        )
    body = (
        f"{search}{table('table', 'Results', heads, lines, kind='methods')}"
        '<p class="small soft under"><b>&#9679;</b> marks the best U and the best L among the '
        "anonymizers, and every one whose interval overlaps it. They count together only: a "
        "constant picture wins L, raw video wins U. Top-1 is the mean of networks freshly trained "
        "on the anonymized clips; cMAP is that of the strongest single attacker. "
        "&ldquo;Not retrained&rdquo; networks know raw video only. RMS is the mean change of a "
        "clip, intensities from 0 to 1."
        f"{escape(''.join(f' {said}' for said in [*after_codecs(rows), too_low(rows)] if said))}"
        f"</p>{_downloads(summary)}"
    )
    return Section("results", "The table", body)


def _number(row: dict[str, Any], key: str, decimals: int, lead: dict[str, set[str]]) -> Cell:
    value, inside = value_text(row, key, decimals)
    leads = row["name"] in lead.get(key, ())
    mark = f' class="lead" style="--of:var(--{family(row)})"' if leads else ""
    bar = _interval(row, key) if key in ("U", "L") else ""
    within = f'<span class="in">{inside}</span>' if inside else ""
    said = '<span class="unseen"> among the best</span>' if leads else ""
    return Cell(
        f"<span{mark}>{value}</span>{said}{within}{bar}",
        number(row.get(key)),
        "num wide" if bar else "num",
    )


def _given(name: str, known: dict[str, Any], more: int) -> Row:
    """A row that is given by the labels alone: chance, and the floor."""
    texts = [value_text(known, key, decimals)[0] for key, _, decimals in NUMBERS]
    cells = [Cell("" if text == NONE else text) for text in texts]
    return Row(name, name, [*cells, _text(""), *[Cell("")] * more], given=True)


def _text(text: str) -> Cell:
    return Cell(escape(text), text or None, "text")


def _with_excess(row: dict[str, Any]) -> dict[str, Any]:
    given = mapping(row.get("headline"))
    return {
        **row, "excess": given.get("excess"), "excess_interval": given.get("excess_interval"),
    }  # fmt: skip


def _downloads(summary: dict[str, Any]) -> str:
    """The numbers of this page as files that lie inside it."""
    plain = json.dumps(summary, separators=(",", ":"))
    kept = [
        ("table.csv", "CSV, every field", "text/csv", to_csv(summary)),
        ("summary.json", "JSON, all there is", "application/json", plain),
        ("table.md", "Markdown, for a text", "text/markdown", to_markdown(summary)),
    ]
    links = "".join(
        f'<a class="chip" download="{name}" href="data:{kind};charset=utf-8;base64,'
        f'{base64.b64encode(text.encode()).decode()}">{title}</a>'
        for name, title, kind, text in kept
    )
    return f'<div class="bar" id="downloads"><span>Take the numbers with you:</span>{links}</div>'


def _interval(row: dict[str, Any], key: str) -> str:
    """A value between 0 and 1 and its interval as a small line; nothing without a value."""
    value = number(row.get(key))
    if value is None:
        return ""
    low, high = span(row.get(f"{key}_interval")) or (value, value)
    a, b, v = (100 * min(max(x, 0.0), 1.0) for x in (low, high, value))
    colour = f"var(--{family(row)})"
    return (
        '<svg viewBox="0 0 100 9" preserveAspectRatio="none" aria-hidden="true">'
        '<rect x="0" y="4" width="100" height="1" fill="var(--line2)"/>'
        f'<rect x="{a:.1f}" y="3" width="{b - a:.1f}" height="3" fill="{colour}" opacity=".5"/>'
        f'<rect x="{min(max(v - 1, 0), 98):.1f}" y="0" width="2" height="9" fill="{colour}"/></svg>'
    )
