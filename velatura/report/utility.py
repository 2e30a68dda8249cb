"""Who still reads the action: each target network, the one not retrained, and for which people."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from velatura.report.findings import label
from velatura.report.markup import Cell, Row, Section, header_of, measured, share, table, words
from velatura.report.run import entries, mapping, number

__all__ = ["utility"]


def utility(rows: Sequence[dict[str, Any]]) -> list[Section | str]:
    """Utility per target, and accuracy per group of people; a sentence for what lacks."""
    return [_targets(rows), _groups(rows)]


def _targets(rows: Sequence[dict[str, Any]]) -> Section | str:
    lines = []
    for row in rows:
        targets, plugin = entries(row.get("targets")), mapping(row.get("plugin"))
        for network in dict.fromkeys([*targets, *plugin]):
            entry = targets.get(network, {})
            cells = [words(label(network)), _seeds(entry, "top1", 1), _seeds(entry, "U", 2)]
            lines.append(Row(header_of(row), row["name"], [*cells, measured(plugin, network, 1)]))
    if not lines:
        return "Utility per target: only the mean over all target networks is known."
    heads = ["Method", "Target", "Top-1 %", "Utility U", "Top-1 %, not retrained"]
    body = (
        "<p>Each target network by itself, the mean of its seeds and below it every seed. "
        "&ldquo;Not retrained&rdquo; is the network of raw video, used as it is: what an existing "
        "system would make of the release.</p>"
        f"{table('targets-table', 'Utility per target network', heads, lines)}"
    )
    return Section("targets", "Who still reads the action", body)


def _groups(rows: Sequence[dict[str, Any]]) -> Section | str:
    lines = []
    for row in rows:
        for attribute, entry in entries(row.get("groups")).items():
            present, absent = number(entry.get("present")), number(entry.get("absent"))
            if present is None or absent is None:
                continue
            gap = abs(present - absent)
            lines.append(
                Row(
                    header_of(row),
                    row["name"],
                    [
                        words(label(attribute)),
                        measured(entry, "present", 1),
                        measured(entry, "absent", 1),
                        Cell(f"{gap:.1f}", gap),
                    ],
                )
            )
    if not lines:
        return "Accuracy per group of people: not measured."
    worst = max(lines, key=lambda line: float(line.cells[-1].key or 0))
    heads = ["Method", "Attribute", "Top-1 %, present", "Top-1 %, absent", "Gap, points"]
    body = (
        "<p>Top-1 among the test clips of people who have the attribute and of those who have "
        "not: whether the action is kept for some and lost for others. The widest gap is "
        f"{worst.cells[-1].html} points: {escape(label(worst.name))}, "
        f"{escape(str(worst.cells[0].key))}.</p>"
        f"{table('groups-table', 'Accuracy per group of people', heads, lines)}"
    )
    return Section("groups", "For whom the action is kept", body)


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
