"""Who still reads the action: each target network, the one not retrained, and for which people."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from velatura.report.findings import label
from velatura.report.markup import Cell, Row, Section, header_of, measured, share, table
from velatura.report.run import entries, mapping, number

__all__ = ["utility"]


def utility(rows: Sequence[dict[str, Any]]) -> list[Section | str]:
    """Utility per target, and accuracy per group of people; a sentence for what lacks."""
    return [_targets(rows), _groups(rows)]


def _targets(rows: Sequence[dict[str, Any]]) -> Section | str:
    known = [(row, entries(row.get("targets")), mapping(row.get("plugin"))) for row in rows]
    networks = list(dict.fromkeys(n for _, targets, plugin in known for n in [*targets, *plugin]))
    if not networks:
        return "Utility per target: only the mean over all target networks is known."
    lines = []
    for row, targets, plugin in known:
        if not targets and not plugin:
            continue
        cells = []
        for network in networks:
            entry = targets.get(network, {})
            cells += [_seeds(entry, "U", 2), _seeds(entry, "top1", 1), measured(plugin, network, 1)]
        lines.append(Row(header_of(row), row["name"], cells))
    heads = ["Method"]
    for network in networks:
        name = escape(label(network))
        heads += [f"{name}: U", f"{name}: top-1 %", f"{name}: not retrained, %"]
    body = (
        "<p>Each target network by itself, the mean of its seeds and below it every seed. "
        "&ldquo;Not retrained&rdquo; is the network of raw video, used as it is: what an existing "
        "system would make of the release.</p>"
        f"{table('targets-table', 'Utility per target network', heads, lines, kind='methods')}"
    )
    return Section("targets", "Who still reads the action", body)


def _groups(rows: Sequence[dict[str, Any]]) -> Section | str:
    known = [(row, _gaps(row)) for row in rows]
    names = list(dict.fromkeys(a for _, gaps in known for a in gaps))
    if not names:
        return "Accuracy per group of people: not measured."
    lines = []
    for row, gaps in known:
        if not gaps:
            continue
        widest = max(gap for gap, _, _ in gaps.values())
        cells = [Cell(f"{widest:.1f}", widest)]
        for name in names:
            if name not in gaps:
                cells.append(Cell(""))
                continue
            gap, present, absent = gaps[name]
            each = f'<span class="in">{present:.1f} / {absent:.1f}</span>'
            cells.append(Cell(f"{gap:.1f}{each}", gap))
        lines.append(Row(header_of(row), row["name"], cells))
    gap, method, attribute = max((gaps[a][0], row["name"], a) for row, gaps in known for a in gaps)
    heads = ["Method", "Widest gap", *(escape(label(a)) for a in names)]
    body = (
        "<p>Whether the action is kept for some people and lost for others: the gap, in points, "
        "between top-1 among the clips of people with an attribute and of those without it, and "
        f"below it both. The widest is {gap:.1f} points: {escape(label(method))}, "
        f"{escape(label(attribute))}.</p>"
        f"{table('groups-table', 'Accuracy per group of people', heads, lines, kind='methods')}"
    )
    return Section("groups", "For whom the action is kept", body)


def _gaps(row: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Attribute to the gap of its two groups, and top-1 with it and without it."""
    found = {}
    for name, entry in entries(row.get("groups")).items():
        present, absent = number(entry.get("present")), number(entry.get("absent"))
        if present is not None and absent is not None:
            found[name] = (abs(present - absent), present, absent)
    return found


def _seeds(entry: dict[str, Any], key: str, decimals: int) -> Cell:
    """The mean over seeds, and below it each of them."""
    values = entry.get(key)
    good = [
        v
        for x in (values if isinstance(values, list) else [values])
        if (v := number(x)) is not None
    ]
    if not good:
        return Cell("")
    mean = sum(good) / len(good)

    def text(value: float) -> str:
        return share(value) if decimals == 2 else f"{value:.{decimals}f}"

    each = " \u00b7 ".join(map(text, good)) if len(good) > 1 else ""
    return Cell(text(mean) + (f'<span class="in">{each}</span>' if each else ""), mean)
