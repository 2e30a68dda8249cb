"""The report: one HTML file that holds everything it shows and asks the network for nothing.

The page forbids itself every request by its Content-Security-Policy; plotly.js, the pictures
and the numbers are inside. Every text of a run is escaped: a run may come from a stranger.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from velatura.errors import BadInput
from velatura.report import figures
from velatura.report.attacks import attacks, compared
from velatura.report.effort import effort, verdict
from velatura.report.findings import best, headline, label
from velatura.report.identity import identity
from velatura.report.ladder import excess, ladder
from velatura.report.making import learnt, made
from velatura.report.markup import Section, embedded
from velatura.report.paper_section import paper_figures
from velatura.report.pictures import ROOM, Pictures, wall
from velatura.report.published import points, published
from velatura.report.records import Check
from velatura.report.results import results
from velatura.report.run import Run, mapping, number, read_run
from velatura.report.tables import to_csv, to_markdown
from velatura.report.trade_off import trade_off
from velatura.report.utility import utility

__all__ = ["write_report"]

LIMIT = 9_800_000
"""Bytes that the page may take; pictures get what the numbers leave of it."""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def write_report(run: Path, out: Path | None = None, check: Check | None = None) -> Path:
    """Write the report of a run, with ``table.csv`` and ``table.md`` beside it.

    Args:
        run: the folder that holds ``summary.json``; whatever else lacks is named on the page.
        out: the HTML file, or a folder for ``report.html``; by default the run's own folder.
            ``summary.json`` is copied there when it is another folder.
        check: tells the cells of a sweep that are not what their grid says, which the paper's
            figures leave out; None where all are known to be.

    Returns:
        The HTML file.

    Raises:
        BadInput: no summary there, or a damaged one, or ``out`` cannot be written.
    """
    found = read_run(Path(run))
    target = Path(out) if out is not None else found.path
    if target.suffix.lower() not in (".html", ".htm"):
        target = target / "report.html"
    beside = {
        target: render(found, check),
        target.parent / "table.csv": to_csv(found.summary),
        target.parent / "table.md": to_markdown(found.summary),
    }
    if target.parent.resolve() != found.path.resolve():
        beside[target.parent / "summary.json"] = json.dumps(found.summary, indent=1) + "\n"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for path, text in beside.items():
            _write(path, text)
    except (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise BadInput(
            f"Cannot write the report to {target} ({error.strerror}); name another with --out."
        ) from None
    return target


def render(run: Run, check: Check | None = None) -> str:
    """The whole page as text."""
    summary = run.summary
    rows: list[dict[str, Any]] = summary["rows"]
    names, drawn = _curves(run)
    bars = figures.attributes(summary)
    rungs, climbed = ladder(summary)
    curves, saturation = effort(rows)
    parts = [
        trade_off(summary),
        results(summary),
        rungs,
        compared(rows, bars),
        curves,
        attacks(summary),
        *identity(rows),
        *utility(rows),
        paper_figures(run, check=check),
        learnt(names, drawn),
        made(run),
    ]
    data = {
        "trade_off": figures.trade_off(summary),
        "published": published(points()),
        "attributes": bars,
        "ladder": climbed,
        "effort": saturation,
        "curves": drawn,
    }
    numbers, script = embedded(data), _plotly()
    room = LIMIT - len(numbers) - len(script) - sum(len(str(part).encode()) for part in parts)
    pictures = Pictures(run, min(ROOM, max(room, 0)))
    parts.insert(-2, wall(rows, pictures))
    sections = [part for part in parts if isinstance(part, Section)]
    lacking = [*run.missing, *(part for part in parts if isinstance(part, str) and part)]
    body = [
        '<a class="skip" href="#main">To the results</a>',
        _header(run, pictures, lacking),
        _contents(sections),
        '<main id="main" tabindex="-1">',
        "<noscript><p>The figures are drawn by a script inside this page, which is switched off. "
        "The tables have all numbers.</p></noscript>",
        *map(str, sections),
        "</main>",
        f"<footer>Written by velatura. {_records(run)}This page is complete in itself: it loads "
        "nothing and sends nothing.</footer>",
        '<p id="said" class="unseen" role="status"></p>',
    ]
    title = escape(str(summary.get("title") or "velatura report"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>\n{_asset('page.css')}{pictures.styles()}</style>\n"
        "</head>\n<body>\n" + "\n".join(body) + "\n"
        f'<script id="data" type="application/json">{numbers}</script>\n'
        f"<script>{script}</script>\n<script>\n{_asset('page.js')}</script>\n"
        "</body>\n</html>\n"
    )


def _curves(run: Run) -> tuple[list[str], list[list[dict[str, Any]]]]:
    """The rows that have training curves, and the panels of each."""
    names = [r["name"] for r in run.summary["rows"] if r["name"] in run.logs]
    names += [name for name in run.logs if name not in names]
    bounds = {r["name"]: number(r.get("bound")) for r in run.summary["rows"]}
    panels = {name: figures.curves(run.logs[name], bounds.get(name)) for name in names}
    panels = {name: found for name, found in panels.items() if found}
    return list(panels), [[{"title": t, **f} for t, f in p.items()] for p in panels.values()]


def _header(run: Run, pictures: Pictures, lacking: Sequence[str]) -> str:
    summary = run.summary
    title, notes = headline(summary)
    sentences = summary.get("sentences")
    extra = [s for s in sentences if isinstance(s, str)] if isinstance(sentences, list) else []
    shown = best(summary["rows"])
    if shown is not None:
        notes = [*notes, *_doubts(summary, shown)]
    text = "".join(f"<p>{escape(note)}</p>" for note in [*notes, *extra])
    pair = [r for r in summary["rows"] if r["name"] == "raw" and pictures.has("raw")]
    if pair and shown and pictures.has(shown["name"]):
        pair.append(shown)
    figure = "".join(
        f"<figure>{pictures.clip(r['name'])}<figcaption>{escape(label(r['name']))}"
        "</figcaption></figure>"
        for r in pair
    )
    missing = ""
    if lacking:
        items = "".join(f"<li>{escape(m)}</li>" for m in lacking)
        missing = (
            '<details class="missing" open><summary>Not on this page</summary>'
            f"<ul>{items}</ul></details>"
        )
    title_of_run = escape(str(summary.get("title") or run.path.name))
    return (
        f'<header><div class="hero"><div><div class="eyebrow">{title_of_run}</div>'
        f"<h1>{escape(title)}</h1>{text}</div>"
        + (f'<div class="pair">{figure}</div>' if figure else "")
        + f"</div>{missing}</header>"
    )


def _doubts(summary: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """What the ladder and the curves say of the row that leads, where the run has them."""
    said = [excess(summary, row)] if mapping(row.get("headline")) else []
    found = verdict(row)
    if found is not None and found.rising:
        said.append(f"Its L is not final. {found.text}")
    return said


def _contents(sections: Sequence[Section]) -> str:
    links = "".join(f'<li><a href="#{s.ident}">{s.title}</a></li>' for s in sections)
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def _records(run: Run) -> str:
    if not run.records:
        return ""
    return f"records.jsonl holds the {run.records:,} measurements behind it. "


def _asset(name: str) -> str:
    return files("velatura.report").joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")


def _write(path: Path, text: str) -> None:
    """Write beside and rename: a reader sees the old file or the new one, never half."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
