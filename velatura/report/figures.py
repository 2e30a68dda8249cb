"""The figures as plain Plotly dictionaries: numbers in, nothing drawn yet.

Colours are names of the page's style sheet ("@keep", "@leak", "@row3"): the page puts in the
colours of the light or the dark scheme, so that the figures follow the reader's.
Texts are escaped, since Plotly reads a little HTML in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from velatura import frontier
from velatura.report.findings import attribute, compete, family, label, unseeded
from velatura.report.run import entries, number, span
from velatura.report.tables import value_text

__all__ = ["FAMILY_NAMES", "attributes", "curves", "row_colours", "trade_off"]

Figure = dict[str, Any]

FAMILY_NAMES = {
    "reference": "reference",
    "fixed": "fixed filter",
    "self-supervised": "learned, without labels",
    "supervised": "learned, with labels",
    "learned": "learned",
}
SYMBOLS = {
    "reference": "circle-open",
    "fixed": "square",
    "self-supervised": "diamond",
    "supervised": "circle",
    "learned": "triangle-up",
}
MAX_POINTS = 400  # of a training curve: more than the screen has room for
SHADES = 3
TERMS = {"loss": "@ink", "target": "@keep", "budget": "@leak", "penalty": "@fixed"}
OTHER_COLOURS = ["@supervised", "@self-supervised", "@learned", "@fixed", "@keep", "@leak"]
NOT_A_TERM = {*TERMS, "step", "rms", "active", "epoch", "seconds"}


def row_colours(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A colour for each row: its family's, in three shades by turns ("@fixed", "@fixed-2")."""
    seen: dict[str, int] = {}
    colours = []
    for row in rows:
        kind = family(row)
        shade = seen.get(kind, 0) % SHADES
        seen[kind] = shade + 1
        colours.append(f"@{kind}-{shade + 1}" if shade else f"@{kind}")
    return colours


def trade_off(summary: dict[str, Any]) -> Figure:
    """Utility against leakage, with intervals; the ideal is the corner U = 1, L = 0.

    Rows without both numbers are left out. The page places the labels (``meta.labels``),
    since that depends on the width of the screen.
    """
    traces: list[dict[str, Any]] = []
    shown = [
        r
        for r in summary["rows"]
        if number(r.get("U")) is not None and number(r.get("L")) is not None
    ]
    for kind, name in FAMILY_NAMES.items():
        rows = [r for r in shown if family(r) == kind]
        if not rows:
            continue
        colour = f"@{kind}"
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [r["L"] for r in rows],
                "y": [r["U"] for r in rows],
                "error_x": _bars(rows, "L", colour),
                "error_y": _bars(rows, "U", colour),
                "marker": {
                    "color": colour,
                    "size": 11,
                    "symbol": SYMBOLS[kind],
                    "line": {"width": 2 if kind == "reference" else 0, "color": colour},
                },
                "hovertext": [_hover(r) for r in rows],
                "hovertemplate": "%{hovertext}<extra></extra>",
            }
        )
    traces.insert(0, _front(compete(shown)))
    xs = [x for r in shown for x in (r["L"], *(span(r.get("L_interval")) or ()))] + [0.0, 1.0]
    ys = [y for r in shown for y in (r["U"], *(span(r.get("U_interval")) or ()))] + [0.0, 1.0]
    traces.insert(
        0,
        {
            "type": "scatter",
            "mode": "markers",
            "name": "ideal",
            "x": [0],
            "y": [1],
            "marker": {"color": "@ink", "size": 15, "symbol": "star-open", "line": {"width": 1.5}},
            "hovertext": ["<b>ideal</b><br>all of the action, none of the person"],
            "hovertemplate": "%{hovertext}<extra></extra>",
        },
    )
    shapes = [_line(x0=0, x1=0, y0=0, y1=1, yref="paper"), _line(x0=0, x1=1, xref="paper")]
    floor = summary.get("floor")
    bottom = number(floor.get("L")) if isinstance(floor, dict) else None
    if bottom is not None:
        shapes.append(
            _line(x0=bottom, x1=bottom, y0=0, y1=1, yref="paper", dash="dot", colour="@leak")
        )
    names = [{"text": "ideal", "x": 0, "y": 1, "colour": "@soft"}] + [
        {
            "text": escape(label(r["name"])),
            "x": r["L"],
            "y": r["U"],
            "colour": f"@{family(r)}",
            "bold": family(r) != "reference",
            "across": span(r.get("L_interval")),
            "up": span(r.get("U_interval")),
        }
        for r in shown
    ]
    return {
        "data": traces,
        "layout": {
            "xaxis": {
                "title": {"text": "Leakage L \u2192 worse"},
                "range": [min(xs) - 0.06, max(xs) + 0.08],
                "dtick": 0.2,
            },
            "yaxis": {
                "title": {"text": "Utility U \u2192 better"},
                "range": [min(ys) - 0.06, max(ys) + 0.1],
                "dtick": 0.2,
            },
            "shapes": shapes,
            "showlegend": False,
        },
        "meta": {"labels": names, "floor": bottom},
    }


def _front(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The edge of what the anonymizers dominate, as stairs: points between them nobody has."""
    us, ls = [float(r["U"]) for r in rows], [float(r["L"]) for r in rows]
    on = frontier.pareto(us, ls) if rows else []
    xs, ys = [ls[i] for i in on], [us[i] for i in on]
    if on:
        xs, ys = [xs[0], *xs, max(1.0, xs[-1])], [min(0.0, ys[0]), *ys, ys[-1]]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "front",
        "x": xs,
        "y": ys,
        "line": {"shape": "hv", "color": "@keep", "width": 1.4},
        "fill": "tozeroy",
        "fillcolor": "@shade",
        "hoverinfo": "skip",
    }


def attributes(summary: dict[str, Any]) -> Figure:
    """For each row, the strongest attacker's AP of each attribute, from its prevalence up.

    One trace per row (the page shows some of them) and one with the prevalence marks. A bar
    begins at the prevalence: its length is what the attacker knows beyond guessing.
    """
    names = list(dict.fromkeys(a for r in summary["rows"] for a in entries(r.get("attributes"))))
    traces: list[dict[str, Any]] = []
    chance: dict[str, float] = {}
    of = {a: e for r in summary["rows"] for a, e in entries(r.get("attributes")).items()}
    for row, colour in zip(summary["rows"], row_colours(summary["rows"]), strict=True):
        found = entries(row.get("attributes"))
        known = [
            a
            for a in names
            if a in found
            and number(found[a].get("ap")) is not None
            and number(found[a].get("prevalence")) is not None
        ]
        for a in known:
            chance.setdefault(a, found[a]["prevalence"])
        ranges = [span(found[a].get("ap_interval")) for a in known]
        aps = [found[a]["ap"] for a in known]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": escape(label(row["name"])),
                "y": [escape(attribute(a, of)) for a in known],
                "x": [ap - chance[a] for a, ap in zip(known, aps, strict=True)],
                "base": [chance[a] for a in known],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [r[1] - v if r else 0 for r, v in zip(ranges, aps, strict=True)],
                    "arrayminus": [v - r[0] if r else 0 for r, v in zip(ranges, aps, strict=True)],
                    "color": "@ink",
                    "thickness": 1,
                    "width": 0,
                },
                "marker": {"color": colour},
                "hovertext": [_attribute_hover(row, a, found[a]) for a in known],
                "hovertemplate": "%{hovertext}<extra></extra>",
            }
        )
    traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "prevalence",
            "y": [escape(attribute(a, of)) for a in chance],
            "x": list(chance.values()),
            "marker": {
                "symbol": "line-ns-open",
                "size": 22,
                "line": {"width": 2},
                "color": "@ink",
            },
            "hovertemplate": "prevalence %{x:.1f}\u202f%<extra></extra>",
        }
    )
    least = 10 * math.floor(min(chance.values(), default=0) / 10) - 5
    layout = {
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": {"title": {"text": "AP %"}, "range": [max(least, 0), 101], "dtick": 10},
        "yaxis": {"autorange": "reversed", "ticks": ""},
        "showlegend": False,
    }
    return {"data": traces, "layout": layout}


def curves(log: Sequence[dict[str, Any]], bound: float | None) -> dict[str, Figure]:
    """How one method was trained: its losses, its RMS before the hinge, the hinge's share.

    Args:
        log: the logged steps, each with ``step`` and ``player``.
        bound: B, drawn beside the RMS.

    Returns:
        Panel title to figure; only panels for which the log has numbers.
    """
    panels: dict[str, Figure] = {}
    for player in ("anonymizer", "adversaries"):
        losses = []
        for term, colour in TERMS.items():
            xs, ys = _series(log, term, player)
            if xs:
                losses.append(_curve(xs, ys, term, colour))
        if losses:
            title = f"Losses of the {player}"
            panels[title] = {"data": losses, "layout": {"showlegend": True, "xaxis": _steps()}}
    xs, ys = _series(log, "rms")
    if xs:
        layout: dict[str, Any] = {"xaxis": _steps(), "yaxis": {"rangemode": "tozero"}}
        data = [_curve(xs, ys, "RMS", "@keep")]
        if bound is not None:
            data.append(
                _curve([xs[0], xs[-1]], [bound, bound], f"bound B = {bound:g}", "@leak", "dash")
            )
        layout["showlegend"] = bound is not None
        panels["RMS change, before the hinge"] = {"data": data, "layout": layout}
    xs, ys = _series(log, "active")
    if xs:
        layout = {"xaxis": _steps(), "yaxis": {"range": [-0.03, 1.03]}, "showlegend": False}
        data = [_curve(xs, ys, "active share", "@keep")]
        panels["Share of items beyond the bound"] = {"data": data, "layout": layout}
    others = dict.fromkeys(key for line in log for key in line if key not in NOT_A_TERM)
    found = [(key, *_series(log, key)) for key in others]
    data = [
        _curve(xs, ys, escape(label(key)), colour)
        for (key, xs, ys), colour in zip([f for f in found if f[1]], OTHER_COLOURS, strict=False)
    ]
    if data:
        panels["Other terms"] = {"data": data, "layout": {"showlegend": True, "xaxis": _steps()}}
    return panels


def _series(
    log: Sequence[dict[str, Any]], key: str, player: str | None = None
) -> tuple[list[float], list[float]]:
    """The steps at which ``key`` was logged, and its values."""
    pairs = [
        (x, y)
        for line in log
        if player is None or line.get("player") == player
        if (x := number(line.get("step"))) is not None and (y := number(line.get(key))) is not None
    ]
    step = -(-len(pairs) // MAX_POINTS)  # the last one stays, whatever is left out
    pairs = pairs[::-1][:: step or 1][::-1]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _curve(
    xs: list[float], ys: list[float], name: str, colour: str, dash: str = "solid"
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines" if len(xs) > 1 else "markers",
        "name": name,
        "x": xs,
        "y": [float(f"{y:.5g}") for y in ys],
        "line": {"color": colour, "width": 1.5, "dash": dash},
        "hovertemplate": f"{name} %{{y:.3g}}, step %{{x}}<extra></extra>",
    }


def _steps() -> dict[str, Any]:
    return {"title": {"text": "step"}, "nticks": 6}


def _bars(rows: Sequence[dict[str, Any]], key: str, colour: str) -> dict[str, Any]:
    """The interval of each row as an error bar; none where it is unknown."""
    spans = [span(r.get(f"{key}_interval")) or (r[key], r[key]) for r in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [s[1] - r[key] for s, r in zip(spans, rows, strict=True)],
        "arrayminus": [r[key] - s[0] for s, r in zip(spans, rows, strict=True)],
        "color": colour,
        "thickness": 1.2,
        "width": 4,
    }


def _line(
    x0: float = 0,
    x1: float = 0,
    y0: float = 0,
    y1: float = 0,
    xref: str = "x",
    yref: str = "y",
    dash: str = "solid",
    colour: str = "@line2",
) -> dict[str, Any]:
    return {
        "type": "line",
        "layer": "below",
        "x0": x0,
        "x1": x1,
        "y0": y0,
        "y1": y1,
        "xref": xref,
        "yref": yref,
        "line": {"color": colour, "width": 1.3, "dash": dash},
    }


def _hover(row: dict[str, Any]) -> str:
    lines = [f"<b>{escape(label(row['name']))}</b>"]
    for key, name, decimals in [
        ("U", "U", 2), ("top1", "top-1 %", 1), ("L", "L", 2), ("cmap", "cMAP %", 1)
    ]:  # fmt: skip
        value, inside = value_text(row, key, decimals)
        lines.append(f"{name} {value}" + (f" ({inside})" if inside else ""))
    if row.get("strongest"):
        lines.append(f"strongest attacker {escape(unseeded(str(row['strongest'])))}")
    return "<br>".join(lines)


def _attribute_hover(row: dict[str, Any], name: str, entry: dict[str, Any]) -> str:
    value, inside = value_text(entry, "ap", 1)
    auroc, _ = value_text(entry, "auroc", 1)
    attacker = escape(unseeded(str(entry.get("attacker") or "unknown")))
    return (
        f"<b>{escape(label(name))}, {escape(label(row['name']))}</b><br>AP {value} %"
        + (f" ({inside})" if inside else "")
        + f"<br>AUROC {auroc} %<br>prevalence {entry['prevalence']:.1f} %<br>attacker {attacker}"
    )
