"""The attackers of a run: what each reads of each attribute, and of each row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from velatura.report import figures
from velatura.report.findings import best, compete, family, label
from velatura.report.markup import Cell, Row, Section, header_of, plot, table, truth
from velatura.report.run import entries, mapping, number

__all__ = ["attacks", "compared"]


def compared(rows: Sequence[dict[str, Any]], spec: dict[str, Any]) -> Section | str:
    """Rows beside each other, attribute by attribute; ``spec`` is the figure of them all."""
    drawn = [i for i, t in enumerate(spec["data"][:-1]) if t["x"]]
    if not drawn:
        return (
            "Attribute by attribute: no attacker's average precision of single attributes is known."
        )
    winner = best(rows)
    first = {"raw"} | ({winner["name"]} if winner else set())
    fixed = [r for r in compete(rows) if family(r) == "fixed"]
    if fixed:
        first.add(min(fixed, key=lambda r: float(r["L"]))["name"])
    if not any(rows[i]["name"] in first for i in drawn):
        first.add(rows[drawn[0]]["name"])
    colours = figures.row_colours(rows)
    buttons = "".join(
        f'<button type="button" class="swatch" aria-pressed="{truth(row["name"] in first)}" '
        f'style="--of:var(--{colours[i][1:]})"><span class="tag"></span>'
        f"{escape(label(row['name']))}</button>"
        for i, row in enumerate(rows)
    )
    summary = (
        "Bars of average precision for each attribute, beginning at its prevalence; the ladder's "
        "tables have the numbers"
    )
    body = (
        "<p>How well the attacker that reads an attribute best reads it (average precision). A bar "
        "begins at the attribute's prevalence, the black mark, which guessing reaches: its "
        "length is what leaks. Choose the rows to compare.</p>"
        '<div class="bar" id="attribute-rows" role="group" aria-label="Rows to compare">'
        f'{buttons}</div><div class="card plot" style="margin-top:12px">'
        f"{plot('attributes', summary)}</div>"
    )
    return Section("compared", "Attribute by attribute", body)


def attacks(summary: dict[str, Any]) -> Section | str:
    """Every attacker and seed on every row."""
    rows = [r for r in summary["rows"] if entries(r.get("attackers"))]
    probes = list(dict.fromkeys(p for r in rows for p in entries(r["attackers"])))
    if not probes:
        return "Who attacked: the run does not name its attackers."
    static = any(number(r.get("static_cmap")) is not None for r in rows)
    top = next((number(r.get("cmap")) for r in rows if r["name"] == "raw"), None)
    chance = number(mapping(summary.get("chance")).get("cmap"))

    def cell(values: Iterable[Any], strongest: float | None, used: bool) -> Cell:
        good = [v for x in values if (v := number(x)) is not None]
        if not good:
            return Cell("", kind="")
        most = max(good)
        shade = 0.0
        if top is not None and chance is not None and top > chance:
            shade = min(max((most - chance) / (top - chance), 0), 1)
        each = "" if len(good) == 1 else " \u00b7 ".join(f"{v:.1f}" for v in good)
        outline = " top" if strongest is not None and most >= strongest else ""
        return Cell(
            f'<div class="heat{outline}" style="--l:{shade:.3f}">{most:.1f}'
            + ("&dagger;" if used else "")
            + (f'<span class="in">{each}</span>' if each else "")
            + "</div>",
            most,
        )

    lines, any_used = [], False
    for row in rows:
        strongest, cells = number(row.get("cmap")), []
        for probe in probes:
            entry = entries(row["attackers"]).get(probe, {})
            values, used = entry.get("cmap"), entry.get("used_in_training") is True
            any_used |= used
            cells.append(cell(values if isinstance(values, list) else [values], strongest, used))
        if static:
            cells.append(cell([row.get("static_cmap")], None, False))
        lines.append(Row(header_of(row), row["name"], cells))
    heads = ["Method", *(escape(label(p)) for p in probes), *["not retrained"] * static]
    dagger = (
        " \u2020 the method's own training used this architecture; the attacker is fresh all the "
        "same." if any_used else ""
    )  # fmt: skip
    retrained = (
        " The last column is the attacker that was trained on raw video only: it flatters every "
        "method, and shows why attackers must be retrained." if static else ""
    )  # fmt: skip
    guess = "" if chance is None else f" Guessing reaches {chance:.1f}&#8239;%."
    body = (
        "<p>cMAP in per cent of every attacker, freshly trained on each method's own output; "
        f"the larger figure is the best seed, the outline is the headline of the row.{guess}</p>"
        f"{table('attackers', 'cMAP of every attacker', heads, lines, kind='methods heated')}"
        f'<p class="small soft under">{(dagger + retrained).strip()}</p>'
    )
    return Section("attacks", "Who attacked", body)
