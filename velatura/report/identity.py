"""Is a person found again, and is the picture recovered? Two questions beside the attributes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from velatura.report.findings import label
from velatura.report.markup import Cell, Row, Section, header_of, measured, table
from velatura.report.run import entries, mapping, number

__all__ = ["identity"]

GALLERIES = {
    "raw_to_anon": "raw to release",
    "anon_to_anon": "release to release",
    "recovered_to_raw": "recovered to raw",
}


def identity(rows: Sequence[dict[str, Any]]) -> list[Section | str]:
    """Rank-1 beside chance, and how close an inverted picture comes; a sentence for what lacks."""
    return [_found_again(rows), _recovered(rows)]


def _found_again(rows: Sequence[dict[str, Any]]) -> Section | str:
    found = [
        (row, gallery, entry)
        for row in rows
        for gallery, entry in entries(row.get("identity")).items()
        if number(entry.get("rank1")) is not None
    ]
    if not found:
        return "Identity: whether a person is found again (Rank-1) was not measured."
    galleries = [g for g in GALLERIES if any(gallery == g for _, gallery, _ in found)]
    galleries += dict.fromkeys(g for _, g, _ in found if g not in GALLERIES)
    rates = list(dict.fromkeys(r for _, _, entry in found for r in mapping(entry.get("tar"))))
    lines = []
    for row in dict((r["name"], r) for r, _, _ in found).values():
        known = entries(row["identity"])
        cells = []
        for gallery in galleries:
            entry = known.get(gallery, {})
            cells.append(_rank1(entry))
            cells += [measured(mapping(entry.get("tar")), rate, 1) for rate in rates]
        lines.append(Row(header_of(row), row["name"], cells))
    heads = ["Method"]
    for gallery in galleries:
        text = escape(GALLERIES.get(gallery, label(gallery)))
        heads.append(f"{text}: Rank-1 %")
        heads += [f"TAR % at FAR {_percent(rate)}" for rate in rates]
    body = (
        "<p>How often the most similar person of a gallery is the right one. "
        "&ldquo;Raw to release&rdquo; is somebody who has ordinary pictures of the person; "
        "&ldquo;release to release&rdquo; links two released clips; &ldquo;recovered to raw&rdquo; "
        "inverts the release first. The third line of a cell is the one to read: how many times as "
        "often as by guessing.</p>"
        f"{table('identity-table', 'People found again', heads, lines, kind='methods')}"
    )
    return Section("identity", "Is a person found again?", body)


def _rank1(entry: dict[str, Any]) -> Cell:
    """Rank-1, its interval, and how many times chance it is."""
    rank1, chance = number(entry.get("rank1")), number(entry.get("chance"))
    cell = measured(entry, "rank1", 1)
    if rank1 is None or not chance:
        return cell
    times = f'<span class="in">{rank1 / chance:.1f}&times; chance ({chance:.1f})</span>'
    return Cell(cell.html + times, cell.key)


def _recovered(rows: Sequence[dict[str, Any]]) -> Section | str:
    lines = []
    for row in rows:
        entry = row.get("inversion")
        if not isinstance(entry, dict) or number(entry.get("psnr")) is None:
            continue
        cells = [measured(entry, "psnr", 1), measured(entry, "ssim", 2)]
        lines.append(Row(header_of(row), row["name"], cells))
    if not lines:
        return "Inversion: how well a decoder recovers the picture was not measured."
    heads = ["Method", "PSNR, dB", "SSIM"]
    body = (
        "<p>A decoder was trained on other people's pairs of released and raw clips, and then "
        "asked for this release. Higher is closer to the raw picture. A poor picture can still "
        "give a person away: rung A5 and Rank-1 &ldquo;recovered to raw&rdquo; say whether it does."
        "</p>"
        f"{table('inversion-table', 'Recovered pictures', heads, lines, kind='methods narrow')}"
    )
    return Section("inversion", "Is the picture recovered?", body)


def _percent(rate: str) -> str:
    """ "0.001" as "0.1 %"; as it is, escaped, if it is no number."""
    try:
        return f"{100 * float(rate):g}&#8239;%"
    except ValueError:
        return escape(rate)
