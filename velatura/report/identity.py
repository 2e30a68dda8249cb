"""Is a person found again, and is the picture recovered? Two questions beside the attributes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from velatura.report.findings import label
from velatura.report.markup import Cell, Row, Section, header_of, measured, table, words
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
    rates = list(dict.fromkeys(rate for _, _, entry in found for rate in mapping(entry.get("tar"))))
    lines = []
    for row, gallery, entry in found:
        rank1, chance = number(entry["rank1"]), number(entry.get("chance"))
        times = rank1 / chance if rank1 is not None and chance else None
        lines.append(
            Row(
                header_of(row),
                row["name"],
                [
                    words(GALLERIES.get(gallery, label(gallery))),
                    measured(entry, "rank1", 1),
                    measured(entry, "chance", 1),
                    Cell("" if times is None else f"{times:.1f}&times;", times),
                    *(measured(mapping(entry.get("tar")), rate, 1) for rate in rates),
                ],
            )
        )
    heads = ["Method", "Who is looked for where", "Rank-1 %", "Chance %", "Times chance"]
    heads += [f"TAR % at FAR {_percent(rate)}" for rate in rates]
    body = (
        "<p>How often the most similar person of a gallery is the right one. "
        "&ldquo;Raw to release&rdquo; is somebody who has ordinary pictures of the person; "
        "&ldquo;release to release&rdquo; links two released clips; &ldquo;recovered to raw&rdquo; "
        "inverts the release first. Read it as multiples of chance.</p>"
        f"{table('identity-table', 'People found again', heads, lines)}"
    )
    return Section("identity", "Is a person found again?", body)


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
        f"{table('inversion-table', 'Recovered pictures', heads, lines, kind='narrow')}"
    )
    return Section("inversion", "Is the picture recovered?", body)


def _percent(rate: str) -> str:
    """ "0.001" as "0.1 %"; as it is, escaped, if it is no number."""
    try:
        return f"{100 * float(rate):g}&#8239;%"
    except ValueError:
        return escape(rate)
