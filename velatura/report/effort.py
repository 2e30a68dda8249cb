"""Does it help the attacker to have more data, or to train longer? Until not, L is not final."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from velatura.report.findings import best, family, label, listed
from velatura.report.markup import (
    Cell,
    Row,
    Section,
    choice,
    header_of,
    measured,
    plot,
    share,
    table,
)
from velatura.report.run import number

__all__ = ["Verdict", "curves", "effort", "verdict"]

STEP = 0.02
"""The least change of L that counts."""

Points = dict[tuple[float, int], float]


@dataclass(frozen=True)
class Verdict:
    """What the last step of the attacker's effort did.

    Attributes:
        data: change of L by the last step of data; None where there is one share only.
        epochs: change of L by the last step of epochs; None likewise.
        least: change from which a step counts.
        text: the same as a sentence.
    """

    data: float | None
    epochs: float | None
    least: float
    text: str

    @property
    def rising(self) -> bool:
        """Whether a step still raised L by more than ``least``."""
        return any(step is not None and step > self.least for step in (self.data, self.epochs))


def points(row: dict[str, Any]) -> Points:
    """(share of the data, epochs) to the L of the strongest attacker with so much of both."""
    found: Points = {}
    budget = row.get("budget")
    for entry in budget if isinstance(budget, list) else []:
        if not isinstance(entry, dict):
            continue
        data, epochs, value = (number(entry.get(key)) for key in ("data", "epochs", "L"))
        if data is None or epochs is None or value is None:
            continue
        key = data, int(epochs)
        found[key] = max(value, found.get(key, value))
    return found


def verdict(row: dict[str, Any]) -> Verdict | None:
    """Whether the last step of data, and of epochs, still raised L.

    A step counts if it raises L by more than STEP: both its ends are of the same test people, so
    the row's interval, which is over other people, says nothing of it. None where no two points can
    be compared.
    """
    found = points(row)
    steps: list[float | None] = [None, None]
    said = []
    for along, way in enumerate(["from {:g} to {:g} times the data", "from {:g} to {:g} epochs"]):
        line = _line(found, along)
        if line:
            (before, low), (after, high) = line[-2:]
            step = steps[along] = high - low
            said.append(f"{way.format(before, after)} L changes by {_signed(step)}")
    if not said:
        return None
    verdict = Verdict(steps[0], steps[1], STEP, "")
    end = (
        "The attacker has not saturated: with more effort L may rise further."
        if verdict.rising
        else "The curve is flat: more effort did not help the attacker."
    )
    text = " and ".join(said)
    text = f"{text[:1].upper()}{text[1:]}; up to {STEP:.2f} is taken for noise. {end}"
    return replace(verdict, text=text)


def curves(row: dict[str, Any]) -> list[dict[str, Any]]:
    """L against the share of the data, a line for each number of epochs; and the reverse."""
    found = points(row)
    panels = []
    for along, (title, axis, unit) in enumerate(
        [
            ("More data", "training data, times that of this run", "epochs"),
            ("Longer training", "epochs", "\u00d7 the data"),
        ]
    ):
        traces: list[dict[str, Any]] = []
        fixed = sorted({key[1 - along] for key in found})
        for i, other in enumerate(fixed):
            line = sorted((key[along], v) for key, v in found.items() if key[1 - along] == other)
            if len(line) < 2:
                continue
            name = f"{other:g}{'' if along else ' '}{unit}"
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": name,
                    "x": [x for x, _ in line],
                    "y": [y for _, y in line],
                    "line": {
                        "color": COLOURS[i % len(COLOURS)], "width": 1.6,
                        "dash": DASHES[i % len(DASHES)],
                    },
                    "marker": {"size": 8, "symbol": SYMBOLS[i % len(SYMBOLS)]},
                    "hovertemplate": f"L %{{y:.2f}}, {name}, %{{x:g}}<extra></extra>",
                }
            )  # fmt: skip
        if not traces:
            continue
        ticks = sorted({x for t in traces for x in t["x"]})
        top = max(1.0, *(y for t in traces for y in t["y"])) + 0.05
        said = "; ".join(
            f"{t['name']}: {', '.join(f'{share(y)} at {x:g}' for x, y in _pairs(t))}"
            for t in traces
        )
        panels.append(
            {
                "title": title,
                "summary": f"{label(row['name'])}, leakage L against {axis}. {said}.",
                "data": traces,
                "layout": {
                    "showlegend": True,
                    "xaxis": {
                        "type": "log", "title": {"text": axis}, "tickvals": ticks,
                        "ticktext": [f"{x:g}" for x in ticks],
                    },
                    "yaxis": {"range": [min(0.0, *(y for t in traces for y in t["y"])) - 0.02, top],
                              "title": {"text": "Leakage L"}},
                },
            }
        )  # fmt: skip
    return panels


COLOURS = ["@keep", "@leak", "@fixed", "@learned"]
DASHES = ["solid", "dash", "dot", "dashdot"]
SYMBOLS = ["circle", "square", "diamond", "triangle-up"]


def effort(rows: Sequence[dict[str, Any]]) -> tuple[Section | str, list[list[dict[str, Any]]]]:
    """The section, and the panels of each row that it offers; a sentence where there is none."""
    shown = [r for r in rows if verdict(r) is not None]
    if not shown:
        return (
            "Attack-budget curves: no attacker was trained with less or more data than the rest, "
            "so it is not known whether L would rise with more effort.",
            [],
        )
    panels = [curves(row) for row in shown]
    leader = best(shown)
    first = next(
        (i for i, r in enumerate(shown) if r is leader),
        next((i for i, r in enumerate(shown) if family(r) != "reference"), 0),
    )
    shares = sorted({data for r in shown for data, _ in points(r)})
    lines = []
    for row in shown:
        said = verdict(row)
        assert said is not None
        most = {
            f"{data:g}": max(v for (d, _), v in points(row).items() if d == data)
            for data, _ in points(row)
        }
        word = "still rising" if said.rising else "flat"
        lines.append(
            Row(
                header_of(row),
                row["name"],
                [
                    *(measured(most, f"{data:g}", 2) for data in shares),
                    *(
                        Cell("" if step is None else _signed(step), step)
                        for step in (said.data, said.epochs)
                    ),
                    Cell(f"{said.least:.2f}", said.least),
                    Cell(f'<b class="{"alarm" if said.rising else ""}">{word}</b>', word, "text"),
                ],
            )
        )
    heads = ["Method", *(f"L, {d:g}&times; data" for d in shares)]
    heads += ["Last step of data", "Last step of epochs", "Noise up to", "Curve"]
    cards = "".join(
        f'<div class="card"{"" if i < len(panels[first]) else " hidden"}><h3></h3>'
        f"{plot(f'effort-{i}', '')}</div>"
        for i in range(max(map(len, panels)))
    )
    rising = [label(r["name"]) for r in shown if (v := verdict(r)) is not None and v.rising]
    note = (
        "For every row the last step changed L by no more than its noise."
        if not rising
        else f"Still rising, so that L is not final there: {listed(rising)}."
    )
    said_of = "".join(
        f'<p data-index="{i}"{"" if i == first else " hidden"}>{escape(v.text)}</p>'
        for i, row in enumerate(shown)
        if (v := verdict(row)) is not None
    )
    body = (
        "<p>The same attack with less and with more: if L still rises at the right end, the "
        "attacker has not saturated, and the figure in the table is too low.</p>"
        f"<p><b>{escape(note)}</b></p>"
        f"{choice('effort-row', 'Row', [r['name'] for r in shown], first, 'effort-panels')}"
        f'<div class="said" data-of="effort-row" aria-live="polite">{said_of}</div>'
        f'<div class="panels" id="effort-panels">{cards}</div><div class="shown">'
        f"{table('effort-table', 'Leakage by effort', heads, lines, kind='methods')}</div>"
    )
    return Section("effort", "Has the attacker saturated?", body), panels


def _signed(step: float) -> str:
    return f"{step:+.2f}".replace("-", "\u2212")


def _pairs(trace: dict[str, Any]) -> list[tuple[float, float]]:
    return list(zip(trace["x"], trace["y"], strict=True))


def _line(found: Points, along: int) -> list[tuple[float, float]]:
    """The most advanced line along data (0) or epochs (1): at the most of the other one."""
    for other in sorted({key[1 - along] for key in found}, reverse=True):
        line = sorted((key[along], v) for key, v in found.items() if key[1 - along] == other)
        if len(line) > 1:
            return [(float(x), v) for x, v in line]
    return []
