"""The report: one HTML file that holds everything it shows and asks the network for nothing.

The page forbids itself every request by its Content-Security-Policy; plotly.js, the pictures
and the numbers are inside. Every text of a run is escaped: a run may come from a stranger.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from velatura.config import to_toml
from velatura.errors import BadInput
from velatura.report import figures
from velatura.report.findings import best, family, headline, label, leaders
from velatura.report.run import Run, number, read_run, span
from velatura.report.tables import NONE, to_csv, to_markdown, value_text

__all__ = ["write_report"]

NUMBERS = [  # key, heading, decimals
    ("U", "Utility U", 2),
    ("L", "Leakage L", 2),
    ("top1", "Top-1 %", 1),
    ("cmap", "cMAP %", 1),
]
MARKS = {  # as the figure's symbols
    "reference": "&#9675;",
    "fixed": "&#9632;",
    "self-supervised": "&#9670;",
    "supervised": "&#9679;",
    "learned": "&#9650;",
}
TEXT = ' class="text"'
MAX_EXAMPLES = 6
MAX_FRAMES = 24

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the report of a run, with ``table.csv`` and ``table.md`` beside it.

    Args:
        run: the folder that holds ``summary.json``; whatever else lacks is named on the page.
        out: the HTML file, or a folder for ``report.html``; by default the run's own folder.
            ``summary.json`` is copied there when it is another folder.

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
        target: render(found),
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


def render(run: Run) -> str:
    """The whole page as text."""
    summary = run.summary
    rows: list[dict[str, Any]] = summary["rows"]
    pictures = _Pictures(run)
    curve_rows = [r["name"] for r in rows if r["name"] in run.logs]
    curve_rows += [name for name in run.logs if name not in curve_rows]
    bounds = {r["name"]: number(r.get("bound")) for r in rows}
    panels = {name: figures.curves(run.logs[name], bounds.get(name)) for name in curve_rows}
    panels = {name: found for name, found in panels.items() if found}
    drawn = [[{"title": t, **f} for t, f in found.items()] for found in panels.values()]
    bars = figures.attributes(summary)
    data = {"trade_off": figures.trade_off(summary), "attributes": bars, "curves": drawn}
    body = [
        _header(run, pictures),
        "<main>",
        _wall(rows, pictures),
        _trade_off(rows),
        _table(summary),
        _attributes(rows, bars),
        _attackers(summary),
        _curves(list(panels), drawn),
        _made(run),
        "</main>",
        f"<footer>Written by velatura. {_records(run)}This page is complete in itself: it loads "
        "nothing and sends nothing.</footer>",
    ]
    title = escape(str(summary.get("title") or "velatura report"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>\n{_asset('page.css')}{pictures.styles()}</style>\n"
        "</head>\n<body>\n" + "\n".join(part for part in body if part) + "\n"
        f'<script id="data" type="application/json">{_embedded(data)}</script>\n'
        f"<script>{_plotly()}</script>\n<script>\n{_asset('page.js')}</script>\n"
        "</body>\n</html>\n"
    )


# Sections -----------------------------------------------------------------------------------


def _header(run: Run, pictures: _Pictures) -> str:
    summary = run.summary
    title, notes = headline(summary)
    sentences = summary.get("sentences")
    extra = [s for s in sentences if isinstance(s, str)] if isinstance(sentences, list) else []
    text = "".join(f"<p>{escape(note)}</p>" for note in [*notes, *extra])
    pair = [r for r in summary["rows"] if r["name"] == "raw" and pictures.has("raw")]
    shown = best(summary["rows"])
    if pair and shown and pictures.has(shown["name"]):
        pair.append(shown)
    figure = "".join(
        f"<figure>{pictures.clip(r['name'])}<figcaption>{escape(label(r['name']))}"
        "</figcaption></figure>"
        for r in pair
    )
    missing = ""
    if run.missing:
        items = "".join(f"<li>{escape(m)}</li>" for m in run.missing)
        missing = f'<div class="missing"><b>Not on this page</b><ul>{items}</ul></div>'
    title_of_run = escape(str(summary.get("title") or run.path.name))
    return (
        f'<header><div class="hero"><div><div class="eyebrow">{title_of_run}</div>'
        f"<h1>{escape(title)}</h1>{text}</div>"
        + (f'<div class="pair">{figure}</div>' if figure else "")
        + f"</div>{missing}</header>"
    )


def _wall(rows: Sequence[dict[str, Any]], pictures: _Pictures) -> str:
    if not pictures.names:
        return ""
    by_name = {r["name"]: r for r in rows}
    cards, strips = [], []
    for name in pictures.names:
        row = by_name.get(name, {"name": name})
        u, l = (value_text(row, key, 2)[0] for key in ("U", "L"))  # noqa: E741
        numbers = f'<span class="num">U {u}</span> &nbsp;<span class="num">L {l}</span>'
        cards.append(
            f"<figure>{pictures.clip(name)}<figcaption><b>{escape(label(name))}</b>{numbers}"
            "</figcaption></figure>"
        )
        strips.append(f'<span class="small">{escape(label(name))}</span>{pictures.strip(name)}')
    buttons = "".join(
        f'<button type="button" aria-pressed="{_truth(i == 0)}" data-index="{i}">'
        f"{escape(text)}</button>"
        for i, text in enumerate(pictures.labels)
    )
    choice = f'<div class="bar" id="examples" role="group" aria-label="Example">{buttons}'
    return (
        "<section><h2>What is left to see</h2>"
        "<p>The same test clip as each method releases it. A face that looks hidden to you may "
        "still be read by a network, and the other way round: believe the numbers.</p>"
        f'{choice}<button type="button" id="play">Pause</button></div>'
        f'<div class="wall">{"".join(cards)}</div>'
        f'<details><summary>Frame by frame</summary><div class="scroll"><div class="frames">'
        f"{''.join(strips)}</div></div></details></section>"
    )


def _trade_off(rows: Sequence[dict[str, Any]]) -> str:
    kinds = {family(r) for r in rows}
    legend = "".join(
        f'<span><b style="color:var(--{kind})">{MARKS[kind]}</b> {name}</span>'
        for kind, name in figures.FAMILY_NAMES.items()
        if kind in kinds
    )
    left_out = [r["name"] for r in rows if number(r.get("U")) is None or number(r.get("L")) is None]
    note = ""
    if left_out:
        names = escape(", ".join(label(n) for n in left_out))
        note = f'<p class="small soft">Without both numbers, and so not drawn: {names}.</p>'
    return (
        "<section><h2>Utility against leakage</h2>"
        "<p>Both axes run from chance (0) to raw video (1). A good method stands at the top left: "
        "the action is read as well as before, the person no better than by guessing. Bars are "
        "95&#8239;% intervals over test people.</p>"
        '<div class="card plot"><div id="trade-off" class="plot" role="img" '
        'aria-label="Scatter plot of utility against leakage; the table below has its numbers">'
        f'</div><div class="legend">{legend}</div></div>{note}</section>'
    )


def _table(summary: dict[str, Any]) -> str:
    rows = summary["rows"]
    if not rows:
        return ""
    lead = {"U": leaders(rows, "U", highest=True), "L": leaders(rows, "L", highest=False)}
    more = [  # key, heading, decimals, factor
        ("plugin_top1", "Top-1 %, not retrained", 1, 1),
        ("static_cmap", "cMAP %, not retrained", 1, 1),
        ("rms", "RMS", 3, 1),
        ("beyond_bound", "beyond B, %", 1, 100),
    ]
    more = [m for m in more if any(number(r.get(m[0])) is not None for r in rows)]
    heads = ["Method", *(heading for _, heading, _ in NUMBERS), "Strongest attacker"]
    heads += [heading for _, heading, _, _ in more]
    head = "".join(
        f'<th scope="col"{TEXT if h == "Strongest attacker" else ""}>{escape(h)}</th>'
        for h in heads
    )

    def cells(row: dict[str, Any]) -> str:
        out = []
        for key, _, decimals in NUMBERS:
            value, inside = value_text(row, key, decimals)
            leads = row.get("name") in lead.get(key, ())
            mark = f' class="lead" style="--of:var(--{family(row)})"' if leads else ""
            bar = _interval(row, key) if key in ("U", "L") else ""
            within = f'<span class="in">{inside}</span>' if inside else ""
            wide = "num wide" if bar else "num"
            out.append(f'<td class="{wide}"><span{mark}>{value}</span>{within}{bar}</td>')
        out.append(f'<td class="text">{escape(_fit(row.get("strongest")))}</td>')
        for key, _, decimals, factor in more:
            extra = number(row.get(key))
            text = "" if extra is None else f"{extra * factor:.{decimals}f}"
            out.append(f'<td class="num">{text}</td>')
        return "".join(out)

    body = []
    chance, floor = summary.get("chance"), summary.get("floor")
    if isinstance(chance, dict):
        row = {"top1": chance.get("top1"), "cmap": chance.get("cmap"), "U": 0, "L": 0}
        body.append(
            f'<tr class="given"><th scope="row">no information</th>{_given(row, more)}</tr>'
        )
    if isinstance(floor, dict):
        row = {"cmap": floor.get("cmap"), "L": floor.get("L")}
        body.append(f'<tr class="given"><th scope="row">action alone</th>{_given(row, more)}</tr>')
    for row in rows:
        tag = f'<span class="tag" style="--of:var(--{family(row)})"></span>'
        name = f'<th scope="row">{tag}{escape(label(row["name"]))}</th>'
        body.append(f'<tr data-name="{escape(row["name"])}">{name}{cells(row)}</tr>')
    return (
        "<section><h2>The table</h2>"
        '<div class="card scroll" tabindex="0" role="region" aria-label="Results">'
        f'<table id="table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
        '<p class="small soft under"><b>&#9679;</b> marks the best U and the best L among the '
        "anonymizers, and every one whose interval overlaps it. They count together only: a "
        "constant picture wins L, raw video wins U. Top-1 is the mean of networks freshly trained "
        "on the anonymized clips; cMAP is that of the strongest single attacker. "
        "&ldquo;Not retrained&rdquo; networks know raw video only. RMS is the mean change of a "
        "clip, intensities from 0 to 1.</p>"
        "</section>"
    )


def _given(row: dict[str, Any], more: Sequence[Any]) -> str:
    """The cells of a row that is given by the labels alone: chance, and the floor."""
    values = [value_text(row, key, decimals)[0] for key, _, decimals in NUMBERS]
    text = "".join(f'<td class="num">{"" if v == NONE else v}</td>' for v in values)
    return text + '<td class="text"></td>' + "<td></td>" * len(more)


def _attributes(rows: Sequence[dict[str, Any]], spec: dict[str, Any]) -> str:
    drawn = [i for i, t in enumerate(spec["data"][:-1]) if t["x"]]
    if not drawn:
        return ""
    winner = best(rows)
    first = {"raw"} | ({winner["name"]} if winner else set())
    fixed = [r for r in rows if family(r) == "fixed" and number(r.get("L")) is not None]
    if fixed:
        first.add(min(fixed, key=lambda r: float(r["L"]))["name"])
    if not any(rows[i]["name"] in first for i in drawn):
        first.add(rows[drawn[0]]["name"])
    colours = figures.row_colours(rows)
    buttons = "".join(
        f'<button type="button" class="swatch" aria-pressed="{_truth(row["name"] in first)}" '
        f'style="--of:var(--{colours[i][1:]})"><span class="tag"></span>'
        f"{escape(label(row['name']))}</button>"
        for i, row in enumerate(rows)
    )
    return (
        "<section><h2>Attribute by attribute</h2>"
        "<p>How well the attacker that reads an attribute best reads it (average precision). A bar "
        "begins at the attribute's prevalence, the black mark, which guessing reaches: its "
        "length is what leaks. Choose the rows to compare.</p>"
        '<div class="bar" id="attribute-rows" role="group" aria-label="Rows to compare">'
        f'{buttons}</div><div class="card plot" style="margin-top:12px"><div id="attributes" '
        'class="plot" role="img" aria-label="Bars of average precision for each attribute">'
        "</div></div></section>"
    )


def _attackers(summary: dict[str, Any]) -> str:
    rows = [r for r in summary["rows"] if isinstance(r.get("attackers"), dict) and r["attackers"]]
    probes = list(dict.fromkeys(p for r in rows for p in r["attackers"]))
    if not probes:
        return ""
    static = any(number(r.get("static_cmap")) is not None for r in rows)
    top = next((number(r.get("cmap")) for r in rows if r["name"] == "raw"), None)
    chance = None
    if isinstance(summary.get("chance"), dict):
        chance = number(summary["chance"].get("cmap"))

    def cell(values: Iterable[Any], strongest: float | None, used: bool) -> str:
        good = [v for x in values if (v := number(x)) is not None]
        if not good:
            return "<td></td>"
        most = max(good)
        shade = 0.0
        if top is not None and chance is not None and top > chance:
            shade = min(max((most - chance) / (top - chance), 0), 1)
        each = "" if len(good) == 1 else " \u00b7 ".join(f"{v:.1f}" for v in good)
        return (
            f'<td class="num{" top" if strongest is not None and most >= strongest else ""}" '
            f'style="--l:{shade:.3f}">{most:.1f}{"&dagger;" if used else ""}'
            + (f'<span class="in">{each}</span>' if each else "")
            + "</td>"
        )

    head = "".join(f'<th scope="col">{escape(label(p))}</th>' for p in probes)
    if static:
        head += '<th scope="col">not retrained</th>'
    body, any_used = [], False
    for row in rows:
        strongest, text = number(row.get("cmap")), ""
        for probe in probes:
            entry = row["attackers"].get(probe)
            entry = entry if isinstance(entry, dict) else {}
            values = entry.get("cmap")
            used = entry.get("used_in_training") is True
            any_used |= used
            text += cell(values if isinstance(values, list) else [values], strongest, used)
        if static:
            text += cell([row.get("static_cmap")], None, False)
        body.append(f'<tr><th scope="row">{escape(label(row["name"]))}</th>{text}</tr>')
    dagger = (
        " \u2020 the method's own training used this architecture; the attacker is fresh all the "
        "same." if any_used else ""
    )  # fmt: skip
    retrained = (
        " The last column is the attacker that was trained on raw video only: it flatters every "
        "method, and shows why attackers must be retrained." if static else ""
    )  # fmt: skip
    guess = "" if chance is None else f" Guessing reaches {chance:.1f}&#8239;%."
    return (
        "<section><h2>Who attacked</h2>"
        "<p>cMAP in per cent of every attacker, freshly trained on each method's own output; "
        f"the larger figure is the best seed, the outline is the headline of the row.{guess}</p>"
        '<div class="card scroll" tabindex="0" role="region" aria-label="Attackers" '
        f'style="padding:8px"><table class="heat" id="attackers"><thead><tr><th scope="col">Method'
        f"</th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f'<p class="small soft under">{(dagger + retrained).strip()}</p>'
        "</section>"
    )


def _curves(names: Sequence[str], panels: Sequence[Sequence[Any]]) -> str:
    if not names:
        return ""
    buttons = "".join(
        f'<button type="button" aria-pressed="{_truth(i == len(names) - 1)}" data-index="{i}">'
        f"{escape(label(n))}</button>"
        for i, n in enumerate(names)
    )
    cards = '<div class="card"><h3></h3><div class="plot"></div></div>' * max(map(len, panels))
    return (
        "<section><h2>How it was learnt</h2>"
        "<p>The two players' losses, and how far the anonymizer moves the picture (RMS, "
        "intensities from 0 to 1). A bound binds only where the RMS reaches it.</p>"
        '<div class="bar" id="curve-rows" role="group" aria-label="Method">'
        f'{buttons}</div><div class="panels" id="panels">{cards}</div></section>'
    )


def _made(run: Run) -> str:
    summary = run.summary
    given = summary.get("data")
    data: dict[str, Any] = given if isinstance(given, dict) else {}
    facts: list[tuple[str, str]] = []
    if summary.get("command"):
        facts.append(("Command", f"<code>{escape(str(summary['command']))}</code>"))
    for key, name in [("seed", "Seed"), ("created", "Finished"), ("dataset", "Data")]:
        if summary.get(key) is not None:
            text = str(summary[key])
            facts.append((name, escape(_moment(text) if key == "created" else text)))
    sizes = [
        f"{data[k]:,} {k}" for k in ("train", "val", "test") if number(data.get(k)) is not None
    ]
    if sizes:
        people = [
            f"{data[k]:,} {text}"
            for k, text in [("train_people", "to train on"), ("test_people", "others to test on")]
            if number(data.get(k)) is not None
        ]
        who = f"; people: {', '.join(people)}" if people else ""
        facts.append(("Clips", escape(", ".join(sizes) + who)))
    if data.get("fingerprint"):
        facts.append(("Data fingerprint", f"<code>{escape(str(data['fingerprint']))}</code>"))
    memory = number(summary.get("peak_rss_mb"))
    if memory is not None:
        facts.append(("Peak memory", f"{memory / 1024:.1f} GiB"))
    versions = summary.get("versions")
    if isinstance(versions, dict):
        text = ", ".join(f"{k}\u00a0{v}" for k, v in versions.items())
        facts.append(("Versions", escape(text)))
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)

    stages = ""
    seconds = summary.get("seconds")
    if isinstance(seconds, dict):
        known = {str(k): v for k, x in seconds.items() if (v := number(x)) is not None}
        total = known.pop("total", None) or sum(known.values())
        longest = max(known.values(), default=0) or 1
        bars = "".join(
            f'<span>{escape(label(k))}</span><i style="width:{100 * v / longest:.1f}%"></i>'
            f'<span class="num">{_seconds(v)}</span>'
            for k, v in known.items()
        )
        stages = (
            f"<div><h3>Time, {_seconds(total)} in all</h3><div class='stages'>{bars}</div></div>"
        )

    config = summary.get("config")
    toml = ""
    if isinstance(config, dict) and config:
        toml = (
            "<details><summary>Configuration</summary><p class='small soft'>Saved as a file, "
            "<code>velatura train</code> repeats it.</p>"
            f"<pre>{escape(_toml(config))}</pre></details>"
        )
    return (
        "<section><h2>How it was made</h2>"
        f'<div class="two"><div><h3>The run</h3><dl>{listed}</dl></div>{stages}</div>'
        f'<div style="margin-top:28px">{DEFINITIONS}{toml}</div></section>'
    )


DEFINITIONS = """
<details open><summary>What U and L are</summary>
<dl style="margin-top:10px">
<dt>Utility U</dt><dd>(top-1 &minus; chance) / (top-1 on raw video &minus; chance): how much of the
action recognition is left, for networks freshly trained on the anonymized clips.</dd>
<dt>Leakage L</dt><dd>(cMAP &minus; chance) / (cMAP on raw video &minus; chance): how much of what
the strongest attacker reads about the person from raw video is still read, by attackers freshly
trained on the anonymized clips. Chance is the mean prevalence of the attributes in the test
split.</dd>
<dt>Action alone</dt><dd>A table of how often each attribute goes with each action. Whoever keeps
the action readable cannot leak less than this.</dd>
<dt>Intervals</dt><dd>95&#8239;%, from resampling test people (or source films), the same for
every row. They do not contain the scatter between training seeds.</dd>
</dl></details>
<details open><summary>What this page cannot tell</summary>
<p style="margin-top:10px">Every L is against the attackers of this run, so it is a lower bound on
what can be read: a stronger network, more data or a person who knows the people may read more.
Only the attributes that were labelled were tested. A low L is no proof of anonymity, and the
strongest attacker is chosen on the test split, against the method.</p></details>
"""


# Pictures -----------------------------------------------------------------------------------


class _Pictures:
    """The sheet as one PNG strip per row and example, each stored once, in the style sheet."""

    def __init__(self, run: Run) -> None:
        order = [r["name"] for r in run.summary["rows"] if r["name"] in run.sheet]
        self.names = order + [name for name in run.sheet if name not in order]
        self.sheet = {n: run.sheet[n][:MAX_EXAMPLES, :MAX_FRAMES] for n in self.names}
        examples = max((len(a) for a in self.sheet.values()), default=0)
        self.labels = [
            label(run.labels[i]) if i < len(run.labels) else f"example {i + 1}"
            for i in range(examples)
        ]

    def has(self, name: str) -> bool:
        return name in self.sheet

    def clip(self, name: str) -> str:
        """A moving picture of the chosen example."""
        return self._element(name, "clip", "moving picture")

    def strip(self, name: str) -> str:
        """All frames of the chosen example beside each other."""
        return self._element(name, "strip", "frames in a row")

    def _element(self, name: str, kind: str, what: str) -> str:
        i = self.names.index(name)
        _, t, h, w, _ = self.sheet[name].shape
        return (
            f'<span class="{kind} s{i}-0" data-row="{i}" role="img" '
            f'aria-label="{escape(label(name))}, {what}" style="--t:{t};--w:{w};--h:{h}"></span>'
        )

    def styles(self) -> str:
        rules = []
        for i, name in enumerate(self.names):
            for e, clip in enumerate(self.sheet[name]):
                strip = np.concatenate(list(clip), axis=1)
                uri = base64.b64encode(_png(strip)).decode()
                rules.append(f".s{i}-{e}{{--strip:url(data:image/png;base64,{uri})}}\n")
        return "".join(rules)


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    """(H, W, 3) bytes as a PNG file: each row predicted from the one above it, then deflated."""
    height, width, _ = image.shape
    rows = image.reshape(height, -1)
    above = np.concatenate([np.zeros((1, rows.shape[1]), np.uint8), rows[:-1]])
    lines = np.concatenate([np.full((height, 1), 2, np.uint8), rows - above], axis=1)

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )


# Small things -------------------------------------------------------------------------------


def _interval(row: dict[str, Any], key: str) -> str:
    """A value between 0 and 1 and its interval as a small line; nothing without a value."""
    value = number(row.get(key))
    if value is None:
        return ""
    low, high = span(row.get(f"{key}_interval")) or (value, value)
    a, b, v = (100 * min(max(x, 0.0), 1.0) for x in (low, high, value))
    colour = f"var(--{family(row)})"
    return (
        '<svg viewBox="0 0 100 9" preserveAspectRatio="none" aria-hidden="true">'
        '<rect x="0" y="4" width="100" height="1" fill="var(--line2)"/>'
        f'<rect x="{a:.1f}" y="3" width="{b - a:.1f}" height="3" fill="{colour}" opacity=".5"/>'
        f'<rect x="{min(max(v - 1, 0), 98):.1f}" y="0" width="2" height="9" fill="{colour}"/></svg>'
    )


def _fit(name: Any) -> str:
    """ "frame_cnn/0" as "frame cnn, seed 0"."""
    probe, slash, seed = str(name or "").partition("/")
    return f"{label(probe)}, seed {seed}" if slash else label(probe)


def _records(run: Run) -> str:
    if not run.records:
        return ""
    return f"records.jsonl holds the {run.records:,} measurements behind it. "


def _moment(text: str) -> str:
    """An ISO date and time for people; as it is, if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = moment.tzname() or ""
    return f"{moment:%Y-%m-%d %H:%M} {zone}".strip()


def _seconds(value: float) -> str:
    minutes, seconds = divmod(round(value), 60)
    if minutes:
        return f"{minutes} min {seconds:02d} s"
    return f"{value:.1f} s" if value < 10 else f"{seconds} s"


def _toml(config: dict[str, Any]) -> str:
    """The configuration as TOML; fields that are not set (null) have no form there."""

    def given(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: given(v) for k, v in value.items() if v is not None}
        return value

    return to_toml(given(config))


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _embedded(data: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


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
