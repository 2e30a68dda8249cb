"""The ladder of attackers: what guessing reads, what the action alone tells, and each attacker.

A0 is the prevalence, A1 a table "attribute given the true action", A1p the same table looked up
with the action that is read from the release; A2 to A5 are attackers, each with more means than the
one before. The strongest of A2 to A5 is the headline of a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from velatura.report.findings import attribute, best, beyond, family, label, listed, reach
from velatura.report.markup import (
    Cell,
    Row,
    Section,
    choice,
    fit_name,
    measured,
    plot,
    table,
)
from velatura.report.run import entries, mapping, number, span
from velatura.report.tables import value_text

__all__ = ["Rung", "climb", "excess", "figure", "ladder"]

NAMES = {
    "A0": ("no information", "the prevalence of the attribute, which guessing reaches"),
    "A1": ("true action", "no picture, only a table: attribute given the true action"),
    "A1p": ("action as read", "the same table, given the action that a fresh target reads"),
    "A2": ("not adapted", "an attacker trained on raw video that never saw the release"),
    "A3": ("from scratch", "a fresh attacker from random weights, trained on the release"),
    "A4": (
        "adapted",
        "fresh attackers that know raw video or other pictures, trained on the release",
    ),
    "A5": ("invert, then attack", "a decoder recovers the picture, and that is attacked"),
    "fresh": ("fresh attackers", "the strongest fresh attacker of a run without a full ladder"),
}
"""Rung to its name and what it is."""

FLOORS = ("A0", "A1", "A1p")  # these know labels and no picture

MEASURES = [  # key, heading, decimals
    ("prevalence", "Prevalence %", 1),
    ("ap", "AP %", 1),
    ("ap_gain", "AP gain", 2),
    ("auroc", "AUROC %", 1),
    ("within_action_auroc", "AUROC within actions %", 1),
    ("balanced_accuracy", "Balanced accuracy %", 1),
    ("information", "Information, bits", 3),
    ("f1", "F1", 3),
    ("f1_printed", "F1, logit &gt; .5", 3),
    ("p", "p", 3),
    ("p_holm", "p, Holm", 3),
]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One step of a row's ladder; numbers as in ``summary.json``, None where not measured."""

    code: str
    cmap: float | None
    inside: tuple[float, float] | None = None
    L: float | None = None
    L_inside: tuple[float, float] | None = None
    by: str = ""
    headline: bool = False
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)


def climb(summary: dict[str, Any], row: dict[str, Any]) -> list[Rung]:
    """The rungs of a row, lowest first; of an older run those that it has."""
    own = entries(row.get("attributes"))
    rungs = []
    chance, floor = mapping(summary.get("chance")), mapping(summary.get("floor"))
    if number(chance.get("cmap")) is not None:
        guessed = {a: {"ap": e.get("prevalence")} for a, e in own.items()}
        rungs.append(Rung(code="A0", cmap=number(chance["cmap"]), L=0.0, attributes=guessed))
    if number(floor.get("cmap")) is not None:
        rungs.append(
            Rung(
                code="A1",
                cmap=number(floor["cmap"]),
                L=number(floor.get("L")),
                attributes=entries(floor.get("attributes")),
            )
        )
    found = row.get("rungs")
    measured_rungs = [r for r in found if isinstance(r, dict)] if isinstance(found, list) else []
    top = mapping(row.get("headline")).get("rung")
    for entry in measured_rungs:
        if number(entry.get("cmap")) is None:
            continue
        code = str(entry.get("rung"))
        rungs.append(
            Rung(
                code=code,
                cmap=number(entry["cmap"]),
                inside=span(entry.get("cmap_interval")),
                L=number(entry.get("L")),
                L_inside=span(entry.get("L_interval")),
                by=str(entry.get("by") or ""),
                headline=code == top,
                attributes=entries(entry.get("attributes")),
            )
        )
    if not measured_rungs:
        if number(row.get("static_cmap")) is not None:
            rungs.append(Rung(code="A2", cmap=number(row["static_cmap"])))
        if number(row.get("cmap")) is not None:
            rungs.append(
                Rung(
                    code="fresh",
                    cmap=number(row["cmap"]),
                    inside=span(row.get("cmap_interval")),
                    L=number(row.get("L")),
                    L_inside=span(row.get("L_interval")),
                    by=str(row.get("strongest") or ""),
                    headline=True,
                    attributes=own,
                )
            )
    return rungs


def excess(summary: dict[str, Any], row: dict[str, Any]) -> str:
    """How far the headline lies above what the action alone tells, as a sentence; "" unknown."""
    top = next((r for r in climb(summary, row) if r.headline), None)
    if top is None or top.cmap is None:
        return ""
    by = f" ({fit_name(top.by)})" if top.by else ""
    most = reach(row)
    more = most is not None and most.exceeded
    who = f"The strongest attacker{' of the ladder' * more}, {_long(top.code)}{by}, reads cMAP "
    who += f"{top.cmap:.1f}\u202f%"
    end = f" {beyond(row)}" if more else ""
    floor = number(mapping(summary.get("floor")).get("cmap"))
    given = mapping(row.get("headline"))
    above = number(given.get("excess"))
    if above is None and floor is not None:
        above = top.cmap - floor
    if above is None:
        return f"{who}. This run has no action-only floor to compare with.{end}"
    points, between = value_text({"x": above, "x_interval": given.get("excess_interval")}, "x", 1)
    text = f"{who}: {points} points above what the true action alone tells (A1)"
    if between:
        text += f", 95\u202f% interval {between}"
        low, high = span(given["excess_interval"]) or (above, above)
        if low <= 0 <= high:
            return f"{text}. This run does not tell the two apart.{end}"
    if above < 0:
        return f"{text}. An attacker below A1 is a weak one: A1 needs no picture.{end}"
    return f"{text}.{end}"


def figure(summary: dict[str, Any], row: dict[str, Any]) -> list[dict[str, Any]]:
    """One panel for cMAP and one for each attribute, every rung a bar that begins at guessing.

    Returns:
        Plotly figures with a ``title`` and, in ``summary``, what they show as a sentence.
    """
    rungs = climb(summary, row)
    steps = [r for r in rungs if r.code != "A0"]
    base = next((r for r in rungs if r.code == "A0"), None)
    if not steps:
        return []
    names = list(dict.fromkeys(a for r in rungs for a in r.attributes))
    overall = {r.code: {"ap": r.cmap, "ap_interval": r.inside} for r in rungs}
    panels = [("All attributes (cMAP)", overall)]
    if sum(any(r.attributes) for r in steps) > 1:  # one bar alone says nothing
        own = entries(row.get("attributes"))
        for name in names:
            panels.append(
                (attribute(name, own), {r.code: r.attributes.get(name, {}) for r in rungs})
            )
    values = [
        v
        for _, panel in panels
        for entry in panel.values()
        for v in (number(entry.get("ap")), *(span(entry.get("ap_interval")) or ()))
        if v is not None
    ]
    least = max(0, 10 * math.floor(min(values, default=0) / 10) - 5)
    return [
        found
        for title, panel in panels
        if (found := _panel(row, title, panel, steps, base, least)) is not None
    ]


def _panel(
    row: dict[str, Any],
    title: str,
    panel: dict[str, dict[str, Any]],
    steps: Sequence[Rung],
    base: Rung | None,
    least: int,
) -> dict[str, Any] | None:
    known = [r for r in steps if number(panel[r.code].get("ap")) is not None]
    if not known:
        return None
    guess = number(panel["A0"].get("ap")) if base is not None else None
    start = least if guess is None else guess
    aps = [float(panel[r.code]["ap"]) for r in known]
    insides = [span(panel[r.code].get("ap_interval")) for r in known]
    ticks = [f"<b>{escape(r.code)} \u25c2</b>" if r.headline else escape(r.code) for r in known]
    hover = []
    for ap, inside in zip(aps, insides, strict=True):
        _, between = value_text({"x": ap, "x_interval": inside}, "x", 1)
        hover.append(f"{ap:.1f}\u202f%" + (f" ({between})" if between else ""))
    bars: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "y": ticks,
        "x": [ap - start for ap in aps],
        "base": [start] * len(aps),
        "marker": {
            "color": ["@fixed" if r.code in FLOORS else "@leak" for r in known],
            "opacity": [1 if r.headline or r.code in FLOORS else 0.55 for r in known],
            "pattern": {"shape": ["/" if r.code in FLOORS else "" for r in known]},
            "line": {"color": "@ink", "width": [2 if r.headline else 0 for r in known]},
        },
        "hovertext": hover,
        "hovertemplate": "%{y} %{hovertext}<extra></extra>",
    }
    if any(insides):
        bars["error_x"] = {
            "type": "data",
            "symmetric": False,
            "array": [s[1] - ap if s else 0 for s, ap in zip(insides, aps, strict=True)],
            "arrayminus": [ap - s[0] if s else 0 for s, ap in zip(insides, aps, strict=True)],
            "color": "@ink",
            "thickness": 1.2,
            "width": 3,
        }
    uprights = [] if guess is None else [_upright(guess, "solid")]
    floor = next((ap for r, ap in zip(known, aps, strict=True) if r.code == "A1"), None)
    if floor is not None:
        uprights.append(_upright(floor, "dot"))
    said = ", ".join(f"{r.code} {ap:.1f}" for r, ap in zip(known, aps, strict=True))
    low = f"; guessing {guess:.1f}" if guess is not None else ""
    return {
        "title": title,
        "summary": f"{label(row['name'])}, {title}, in per cent: {said}{low}.",
        "data": [bars],
        "layout": {
            "bargap": 0.28,
            "showlegend": False,
            "shapes": uprights,
            "xaxis": {"range": [least, 101], "dtick": 20},
            "yaxis": {"autorange": "reversed", "ticks": "", "type": "category"},
        },
    }


def ladder(summary: dict[str, Any]) -> tuple[Section | str, list[list[dict[str, Any]]]]:
    """The section, and the panels of every row that it offers; a sentence where there is none."""
    rows = [r for r in summary["rows"] if any(g.headline for g in climb(summary, r))]
    if not rows:
        return "The ladder of attackers: no row has a headline attacker.", []
    panels = [figure(summary, row) for row in rows]
    first = _first(rows)
    codes = list(dict.fromkeys(g.code for row in rows for g in climb(summary, row)))
    legend = "".join(
        f"<dt>{escape(code)}</dt><dd>{escape(': '.join(NAMES.get(code, (code,))))}"
        f"{escape(_how_many(summary)) if code == 'A4' else ''}</dd>"
        for code in codes
    )
    note = ""
    if any(e.get("held_out") is True for r in rows for e in entries(r.get("attributes")).values()):
        note = (
            '<p class="small soft">Held out: no training of this study was told the attribute; '
            "attackers were.</p>"
        )
    lacking = [code for code in list(NAMES)[:-1] if code not in codes]
    if lacking:
        note += (
            f'<p class="small soft">Not measured in this run: {listed(lacking)} '
            f"({'; '.join(f'{c} is {NAMES[c][1]}' for c in lacking)}).</p>"
        )
    if all(len(found) == 1 for found in panels):
        note += (
            '<p class="small soft">This run knows single attributes for the headline alone, so '
            "they have no ladder.</p>"
        )
    shown = "".join(
        f'<div data-index="{i}"{"" if i == first else " hidden"}>'
        f"{_rungs(summary, row, i)}{_measures(row, i)}</div>"
        for i, row in enumerate(rows)
    )
    said = "".join(
        f'<p data-index="{i}"{"" if i == first else " hidden"}><b>{escape(label(row["name"]))}.'
        f"</b> {escape(_said(summary, row))}</p>"
        for i, row in enumerate(rows)
    )
    wide, *small = panels[first]
    cards = "".join(
        f'<div class="card"><h3>{escape(panel["title"])}</h3>'
        f"{plot(f'ladder-{i}', panel['summary'])}</div>"
        for i, panel in enumerate([wide, *small])
    )
    cards += "".join(
        f'<div class="card" hidden><h3></h3>{plot(f"ladder-{i}", "")}</div>'
        for i in range(1 + len(small), max(map(len, panels)))
    )
    body = (
        "<p>One row, attacked with ever more means. Bars begin at guessing (the line) and end at "
        "average precision; hatched ones saw no picture, and the dotted line is what the true "
        "action alone tells. The outlined bar with a &#9666; is the headline: the strongest of A2 "
        "to A5.</p>"
        f"{choice('ladder-row', 'Row', [r['name'] for r in rows], first, 'ladder-shown')}"
        f'<div class="said" data-of="ladder-row" aria-live="polite">{said}</div>'
        f'<div class="panels ladder" id="ladder-panels">{cards}</div>'
        f'<div id="ladder-shown" class="shown" data-of="ladder-row">{shown}</div>'
        f'<details><summary>What the rungs are</summary><dl class="rungs">{legend}</dl></details>'
        f"{note}"
    )
    return Section("ladder", "The ladder of attackers", body), panels


def _rungs(summary: dict[str, Any], row: dict[str, Any], i: int) -> str:
    """All rungs of a row in figures: overall, then per attribute."""
    rungs = climb(summary, row)
    names = list(dict.fromkeys(a for r in rungs for a in r.attributes))
    lines = []
    for rung in rungs:
        entry = {
            "cmap": rung.cmap,
            "cmap_interval": rung.inside,
            "L": rung.L,
            "L_interval": rung.L_inside,
        }
        mark = ' <span class="mark">headline</span>' if rung.headline else ""
        by = f'<span class="in">{escape(fit_name(rung.by))}</span>' if rung.by else ""
        lines.append(
            Row(
                header=f"{escape(_long(rung.code))}{mark}{by}",
                name=rung.code,
                cells=[
                    measured(entry, "cmap", 1),
                    measured(entry, "L", 2),
                    *(measured(rung.attributes.get(a, {}), "ap", 1) for a in names),
                ],
            )
        )
    own = entries(row.get("attributes"))
    heads = ["Rung", "cMAP %", "Leakage L", *(escape(attribute(a, own)) for a in names)]
    caption = f"Ladder of {escape(label(row['name']))}: average precision in per cent"
    return table(f"ladder-table-{i}", caption, heads, lines)


def _measures(row: dict[str, Any], i: int) -> str:
    """What else was measured of each attribute, where the run has more than its AP."""
    found = entries(row.get("attributes"))
    shown = [m for m in MEASURES if any(number(e.get(m[0])) is not None for e in found.values())]
    if not any(key not in ("prevalence", "ap", "auroc") for key, _, _ in shown):
        return ""
    lines = [
        Row(
            header=escape(attribute(name, found)),
            name=name,
            cells=[
                *(measured(entry, key, decimals) for key, _, decimals in shown),
                Cell(escape(fit_name(entry.get("attacker"))), None, "text"),
            ],
        )
        for name, entry in found.items()
    ]
    caption = f"Further measures of {escape(label(row['name']))}, attribute by attribute"
    heads = ["Attribute", *(heading for _, heading, _ in shown), "Attacker"]
    note = (
        '<p class="small soft under">AP gain: 0 at the prevalence, 1 where all is read. Within '
        "actions: only clips of one action are compared, so that the action cannot help; 50 is "
        "chance. Information is a lower bound. p: how readily resampled people would show an AP as "
        "far above A1's if it were not above it; Holm's p allows for asking of every attribute."
        "</p>"
    )
    return (
        f"<details><summary>More measures of {escape(label(row['name']))}</summary>"
        f'<div class="in-details">{table(f"measures-{i}", caption, heads, lines)}{note}</div>'
        "</details>"
    )


def _first(rows: Sequence[dict[str, Any]]) -> int:
    """The row that is shown first: the leader, else any that is no reference."""
    leader = best(rows)
    for i, row in enumerate(rows):
        if row is leader or (leader is None and family(row) != "reference"):
            return i
    return 0


def _upright(x: float, dash: str) -> dict[str, Any]:
    return {
        "type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": "@ink", "width": 1.2, "dash": dash},
    }  # fmt: skip


def _said(summary: dict[str, Any], row: dict[str, Any]) -> str:
    """The headline of a row in words, and whether any attacker of the suite exceeded it."""
    text, end = excess(summary, row), beyond(row)
    return text if text.endswith(end) else f"{text} {end}"


def _how_many(summary: dict[str, Any]) -> str:
    """How many fresh attackers the run's file asks for, as ": 2 kinds, 1 seed each, one learning
    rate"; "" where it does not say."""
    asked = mapping(mapping(summary.get("config")).get("evaluation"))
    asked = {"rates": [1.0], **asked}
    given = [asked.get(key) for key in ("attackers", "seeds", "rates")]
    kinds, seeds, rates = (one if isinstance(one, list) else [] for one in given)
    if not (kinds and seeds and rates):
        return ""
    told = []
    if asked.get("start") == "scratch":  # how many of the kinds do, it does not say
        told.append("those with weights of their own")
    else:
        told.append(_counted(kinds, "kind"))
    told.append(f"{_counted(seeds, 'seed')} each")
    told.append(
        "one learning rate"
        if len(rates) == 1
        else f"the best of {len(rates)} learning rates on validation clips"
    )
    return f": {', '.join(told)}"


def _counted(given: Sequence[Any], what: str) -> str:
    return f"{len(given)} {what}{'s' * (len(given) > 1)}"


def _long(code: str) -> str:
    name = NAMES.get(code, ("",))[0]
    return name if code == "fresh" else f"{code}, {name}" if name else code
