"""Utility against leakage: the picture of the whole run, and its front in three numbers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from velatura import frontier
from velatura.report import figures
from velatura.report.findings import compete, family, label, too_low
from velatura.report.markup import Cell, Row, Section, header_of, measured, plot, share, table
from velatura.report.published import points
from velatura.report.run import mapping, number

__all__ = ["trade_off"]

MARKS = {  # as the figure's symbols
    "reference": "&#9675;",
    "fixed": "&#9632;",
    "self-supervised": "&#9670;",
    "supervised": "&#9679;",
    "learned": "&#9650;",
}
WANTED, ALLOWED = 0.95, 0.10


def trade_off(summary: dict[str, Any]) -> Section | str:
    """The section of the plot, its front and, at the reader's wish, the published points."""
    rows: list[dict[str, Any]] = summary["rows"]
    if not rows:
        return ""
    kinds = {family(r) for r in rows}
    legend = "".join(
        f'<span><b style="color:var(--{kind})" aria-hidden="true">{MARKS[kind]}</b> {name}</span>'
        for kind, name in figures.FAMILY_NAMES.items()
        if kind in kinds
    )
    left_out = [r["name"] for r in rows if number(r.get("U")) is None or number(r.get("L")) is None]
    note = ""
    if left_out:
        names = escape(", ".join(label(n) for n in left_out))
        note = f'<p class="small soft">Without both numbers, and so not drawn: {names}.</p>'
    if low := too_low(rows):
        note += f'<p class="small soft">{escape(low)}</p>'
    floor = number(mapping(summary.get("floor")).get("L"))
    if floor is None:
        note += (
            '<p class="small soft">This run has no action-only floor: it does not say how much of '
            "L the action alone would give away.</p>"
        )
    legend += (
        '<span class="published" hidden><b aria-hidden="true">&times;</b> published, other data '
        "and attackers</span>"
    )
    body = (
        "<p>Both axes run from chance (0) to raw video (1). A good method stands at the top left: "
        "the action is read as well as before, the person no better than by guessing. Bars are "
        "95&#8239;% intervals over test people. The line joins the anonymizers that no other one "
        "beats in both; raw video and a constant picture do not compete, nor do rows after a "
        "codec.</p>"
        '<div class="beside"><div class="card plot">'
        f"{plot('trade-off', _said(rows, floor))}"
        f'<div class="legend">{legend}</div></div>{_front(rows)}</div>'
        '<div class="bar"><button type="button" id="published" aria-pressed="false" '
        'aria-controls="published-points">Published, other data and attackers</button></div>'
        f'<div id="published-points" hidden>{_printed()}</div>{note}'
    )
    return Section("trade-off-section", "Utility against leakage", body)


def _front(rows: Sequence[dict[str, Any]]) -> str:
    """The front in numbers, and the rows on it; "" where nothing competes."""
    shown = compete(rows)
    if not shown:
        return ""
    us, ls = [float(r["U"]) for r in shown], [float(r["L"]) for r in shown]
    on = [shown[i] for i in frontier.pareto(us, ls)]
    least = frontier.leakage_at(us, ls, WANTED)
    most = frontier.utility_at(us, ls, ALLOWED)
    nearest = min(shown, key=lambda r: float(frontier.ideal_distance(r["U"], r["L"])))
    facts = [
        ("Hypervolume", f"{frontier.hypervolume(us, ls):.3f}", "0 for raw video, 1 ideal"),
        (f"L at U of {WANTED:g} or more", _or_none(least), _who(shown, "L", least)),
        (f"U at L of {ALLOWED:g} or less", _or_none(most), _who(shown, "U", most)),
        (
            "Nearest to the ideal",
            f"{frontier.ideal_distance(nearest['U'], nearest['L']):.2f}",
            f"{escape(label(nearest['name']))}; raw video and a constant have 0.71",
        ),
    ]
    listed = "".join(
        f'<tr><th scope="row">{name}<span class="in">{detail}</span></th>'
        f'<td class="num">{value}</td></tr>'
        for name, value, detail in facts
    )
    lines = [
        Row(
            header_of(row),
            row["name"],
            [
                measured({"x": row["U"]}, "x", 2),
                measured({"x": row["L"]}, "x", 2),
                measured({"x": frontier.ideal_distance(row["U"], row["L"])}, "x", 2),
            ],
        )
        for row in on
    ]
    return (
        '<div class="aside"><div class="card"><table id="front-numbers"><caption>All anonymizers '
        f"together</caption><tbody>{listed}</tbody></table></div>"
        "<h3>On the front</h3>"
        f"{table('front-table', 'Rows on the front', ['Method', 'U', 'L', 'Distance'], lines)}"
        '<p class="small soft">Distance from U = 1, L = 0; the far corner has 1. Points are not '
        "joined for any of these numbers: what nobody trained, nobody has.</p></div>"
    )


def _who(rows: Sequence[dict[str, Any]], key: str, value: float | None) -> str:
    if value is None:
        return "no anonymizer here reaches it"
    return escape(", ".join(label(r["name"]) for r in rows if r[key] == value))


def _or_none(value: float | None) -> str:
    return "none" if value is None else share(value)


def _said(rows: Sequence[dict[str, Any]], floor: float | None) -> str:
    """The plot as text."""
    shown = compete(rows)
    if not shown:
        return "Utility against leakage: no anonymizer has both numbers yet."
    each = "; ".join(f"{label(r['name'])} U {share(r['U'])}, L {share(r['L'])}" for r in shown)
    us, ls = [r["U"] for r in shown], [r["L"] for r in shown]
    on = ", ".join(label(shown[i]["name"]) for i in frontier.pareto(us, ls))
    text = f"Utility U against leakage L of {len(shown)} anonymizers: {each}. On the front: {on}."
    if floor is not None:
        text += f" The action alone gives L {share(floor)}."
    return text


def _printed() -> str:
    """The published rows as a table, under a warning."""
    lines = [
        Row(
            escape(p["label"]),
            p["label"],
            [
                measured(p, "U", 2),
                measured(p, "L", 2),
                Cell(f"{p['top1']:.2f}", p["top1"]),
                Cell(f"{p['cmap']:.2f}", p["cmap"]),
                Cell(escape(p["network"]), p["network"], "text"),
                Cell(escape(p["source"]), p["source"], "text"),
            ],
        )
        for p in points()
    ]
    heads = ["Published row", "U", "L", "Top-1 %", "cMAP %", "Target", "Printed in"]
    return (
        "<p><b>Not comparable with this run</b>: other videos (UCF101), other labels (the images "
        "of VISPR1), one retrained attacker, no intervals. Aslam and Nasrollahi, 2025, arXiv "
        "2504.14301, each row divided by its own raw video: U = (top-1 &minus; chance) / (raw "
        "&minus; chance), and L likewise. Nor are all of these rows comparable with each other: "
        "the baselines are R3D-18 from scratch, the penalty's an I3D pretrained on Kinetics.</p>"
        f"{table('published-table', 'Published, other data and attackers', heads, lines)}"
    )
