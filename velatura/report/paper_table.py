"""A table of the paper, filled from records: ours beside what is printed; nothing is trained.

What a table has is a file, ``experiments/tables/tableN.toml``: rows and columns, and for each of
two instances (``people``: generated people; ``paper``: its own data sets) where a cell's record is.
The grid that makes those records lies beside, in ``experiments/grids``.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from velatura.config import read_toml
from velatura.errors import BadInput, unknown
from velatura.report.findings import ENOUGH, percent
from velatura.report.paper import Published, misprints, paper, published
from velatura.report.records import (
    HIGHER,
    MEASURES,
    Check,
    figure,
    made_by,
    over_anonymizers,
    read_shown,
)

__all__ = ["FORMATS", "Cell", "Table", "fill", "numbers", "render"]

Instance = Literal["people", "paper"]
WIDTH = 80  # columns of a terminal
BEST = "\u2022"
MISPRINT = "*"
COMPUTED = "\u2020"
NONE = "\u2014"
MINUS = "\u2212"
# What stands above the rows of a table: what no information gives, and what the action alone does.
REFERENCES = {"chance": "No information", "floor": "Action alone"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of ours, and the paper's beside it.

    Attributes:
        group: the paper's heading above it.
        measure: of ``records.MEASURES``.
        published: its name in ``paper.toml``.
        world, network, weights: where its records are, as ``records.figure`` takes them.
    """

    group: str
    measure: str
    published: str
    world: str
    network: str = ""
    weights: bool = False


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of ours over seeds, and the paper's.

    Attributes:
        value, low, high: the mean, and Student's 95 % interval over anonymizers; None for one.
        seeds: those that have it.
        anonymizers: how many the seeds are of; fewer where one run is examined at several seeds.
        best: of its column, and told apart from all others by its interval; in a column of what
            leaks, of those that keep the action.
        published: the paper's.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: tuple[int, ...] = ()
    anonymizers: int = 0
    best: bool = False
    published: Published | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row: its name in the records, and in the paper; "" where one of them has it not."""

    label: str
    row: str
    published: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as it is filled now.

    Attributes:
        lists: instead of columns and lines: heading to words, of a table that measures nothing.
        missing: for each command that would fill cells, what it fills.
        others: records that are not shown, as they are not of the grid's configuration: the name of
            the cell to the reason.
    """

    number: int
    caption: str
    instance: Instance
    columns: tuple[Column, ...] = ()
    lines: tuple[Line, ...] = ()
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)


# From files ----------------------------------------------------------------------------------


def numbers(folder: Path) -> list[str]:
    """The tables that a folder has files of, by number.

    Raises:
        BadInput: it has none.
    """
    found = [m[1] for path in folder.glob("*.toml") if (m := re.match(r"table(\d+)$", path.stem))]
    if not found:
        raise BadInput(
            f"No table files in {folder}; run from the root of the repository, or name their "
            "folder with --tables."
        )
    return sorted(found, key=int)


def fill(
    name: str,
    folder: Path = Path("experiments/tables"),
    records: Path = Path("experiments/records"),
    instance: Instance = "people",
    check: Check | None = None,
) -> Table:
    """A table, from its file and the records that are there.

    Args:
        name: its number, "1" or "table1".
        folder: of the table files; the grids' is ``../grids``.
        records: ``DIR/SWEEP/WORLD-SEED/summary.json``.
        check: tells the records that are not what the grid says, which are not shown; None where
            all are known to be.

    Raises:
        BadInput: no such table, or a damaged file.
    """
    known = numbers(folder)
    number = name.strip().lower().removeprefix("table").strip()
    if number not in known:
        raise unknown("table", name, known)
    given = read_toml(folder / f"table{number}.toml")
    about: dict[str, Any] = {
        "number": int(number), "caption": given["caption"], "instance": instance,
    }  # fmt: skip
    if "rows" not in given:
        lists = {f"Ours, for {c['label']}": tuple(c[instance]) for c in given["columns"]}
        printed = {c["label"]: tuple(_listed(int(number), c)) for c in given["columns"]}
        return Table(**about, lists={**printed, **lists})
    grid = folder.parent / "grids" / f"{given[instance]['grid']}.toml"
    columns = tuple(
        Column(
            group=c["group"], measure=c["measure"], published=c["published"], **c[instance]
        )
        for c in given["columns"]
    )  # fmt: skip
    found, others = read_shown(records, grid, check)
    seeds, lacking = _seeds(grid), _Lacking(grid, others)
    lines = []
    for key, label in REFERENCES.items():
        cells = tuple(
            _cell(c, key, found, seeds, None, published(int(number), key, c.published))
            for c in columns
        )
        if key == "chance" or any(cell.value is not None for cell in cells):
            lines.append(Line(label=label, row=key, published=key, cells=cells))
    for row in given["rows"]:
        named, print_ = row.get(instance, ""), row.get("published", "")
        cells = tuple(
            _cell(c, named, found, seeds, lacking, published(int(number), print_, c.published))
            for c in columns
        )
        label = row["label"] if isinstance(row["label"], str) else row["label"][instance]
        ours, theirs = (name.rpartition("_")[2] for name in (named or print_, print_))
        value = ours if ours == theirs else f"{ours} ({theirs})"
        label = label.replace("{}", value)
        lines.append(Line(label=label, row=named, published=print_, cells=cells))
    marked = tuple(_marked(lines, columns, lambda row, world: _keeps(found.get(world, {}), row)))
    told = {f"{world}-{seed}": why for (world, seed), why in others.items()}
    return Table(**about, columns=columns, lines=marked, missing=lacking.told(), others=told)


def _listed(table: int, column: Mapping[str, Any]) -> list[str]:
    """The words of the paper, misprints mended."""
    mended = {
        one["printed"]: one["should_be"]
        for one in misprints(table)
        if one["row"] == column["published"]
    }
    words = paper()[f"table{table}"][column["published"]]
    return [f"{mended[word]}{MISPRINT}" if word in mended else word for word in words]


def _seeds(grid: Path) -> tuple[int, ...]:
    """Of a grid file."""
    return tuple(read_toml(grid).get("seeds", (0,)))


def _cell(
    column: Column,
    row: str,
    found: Mapping[str, Mapping[int, Mapping[str, Any]]],
    seeds: Sequence[int],
    lacking: _Lacking | None,
    print_: Published | None = None,
) -> Cell:
    """One cell over the seeds that have it; what lacks is noted."""
    if not row:
        return Cell(published=print_)
    summaries = found.get(column.world, {})
    kept = {
        seed: value
        for seed, summary in sorted(summaries.items())
        if (value := figure(summary, row, column.measure, column.network, column.weights))
        is not None
    }
    if lacking is not None:
        for seed in seeds:
            if seed not in kept:
                rows = summaries[seed]["rows"] if seed in summaries else []
                lacking.note(column, seed, any(one["name"] == row for one in rows))
    if not kept:
        return Cell(published=print_)
    whose = [(made_by(summaries[seed], row), value) for seed, value in kept.items()]
    middle, inside, count = over_anonymizers(whose)
    low, high = inside or (None, None)
    return Cell(
        value=middle, low=low, high=high, seeds=tuple(kept), anonymizers=count, published=print_
    )


class _Lacking:
    """Cells that lack a seed, by the command that would fill them.

    Args:
        grid: the file that ``velatura sweep`` takes.
        others: cells whose record is of something else.
    """

    def __init__(self, grid: Path, others: Container[tuple[str, int]] = ()):
        self.grid, self.others = grid, others
        self.worlds = {w["name"]: w for w in read_toml(grid).get("worlds", ())}
        self.seeds = _seeds(grid)
        self._lacks: dict[tuple[str, str, bool], dict[int, int]] = {}

    def note(self, column: Column, seed: int, measured: bool) -> None:
        """A cell has no value of this seed, though its row may have been measured."""
        why = "record does not say" if measured else ""
        if (column.world, seed) in self.others:
            why = "record is of something else"
        key = column.world, why, column.weights
        counts = self._lacks.setdefault(key, {})
        counts[seed] = counts.get(seed, 0) + 1

    def told(self) -> dict[str, str]:
        """Command to what it fills."""
        answer: dict[str, str] = {}
        for key in sorted(self._lacks, key=lambda key: key[1]):  # what is not measured at all first
            (world, why, weights), counts = key, self._lacks[key]
            one_by_one = {*counts} != {*self.seeds}
            seeds = [f"/{seed}" for seed in sorted(counts)] if one_by_one else [""]
            source = self.worlds.get(world, {}).get("trained", "")
            only = [f"{w}{seed}" for w in (source, world) if w for seed in seeds]
            words = ["velatura", "sweep", str(self.grid)]
            words += [word for name in only for word in ("--only", name)]
            if why:
                words += ["--out", f"runs/again/{self.grid.stem}"]
            plural = "s" if max(counts.values()) > 1 else ""
            what = f"{max(counts.values())} cell{plural} of {world}"
            if why:
                what += f", whose {why}; then --records runs/again"
            if weights:
                what += ", once the grid names that world's weights"
            answer[shlex.join(words)] = what
        return answer


def _keeps(summaries: Mapping[int, Mapping[str, Any]], row: str) -> bool:
    """Whether a row keeps the action in a world, as its records say: U of at least ENOUGH."""
    values = [u for summary in summaries.values() if (u := figure(summary, row, "U")) is not None]
    return bool(values) and sum(values) / len(values) >= ENOUGH


def _marked(
    lines: Sequence[Line], columns: Sequence[Column], keeps: Callable[[str, str], bool]
) -> list[Line]:
    """The same, with the best of each column marked where no interval touches its own.

    Raw and what stands above it do not compete; where a row has one seed alone, nothing is told
    apart. Who leaks least competes only if the action is kept: in a black picture,
    nothing is found of either.

    Args:
        keeps: whether a row, in a world, keeps the action.
    """
    best: dict[int, int] = {}
    for i, column in enumerate(columns):
        rivals: list[tuple[float, float, float, int]] = []
        for k, line in enumerate(lines):
            cell = line.cells[i]
            if line.row in ("raw", *REFERENCES) or cell.value is None:
                continue
            if column.measure not in HIGHER and not keeps(line.row, column.world):
                continue
            if cell.low is None or cell.high is None:
                rivals = []
                break
            rivals.append((cell.value, cell.low, cell.high, k))
        if len(rivals) < 2:
            continue
        _, low, high, k = max(rivals) if column.measure in HIGHER else min(rivals)
        if all(other[3] == k or other[2] < low or other[1] > high for other in rivals):
            best[i] = k
    return [
        Line(
            label=line.label,
            row=line.row,
            published=line.published,
            cells=tuple(
                Cell(**{**vars(cell), "best": best.get(i) == k})
                for i, cell in enumerate(line.cells)
            ),
        )
        for k, line in enumerate(lines)
    ]


# As text -------------------------------------------------------------------------------------


def render(table: Table, form: str) -> str:
    """The table as one of ``FORMATS``."""
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    return FORMATS[form](table)


def _number(value: float, measure: str) -> str:
    """Per cent with one digit, F1 with three; a true minus."""
    text = f"{value:.1f}" if measure.removeprefix("static_") in ("top1", "cmap") else f"{value:.3f}"
    return text.replace("-", MINUS)


def _ours(cell: Cell, measure: str) -> str:
    """``90.1±2.3``; without an interval the mean alone."""
    if cell.value is None:
        return NONE
    text = _number(cell.value, measure)
    if cell.low is not None:
        text += f"\u00b1{_number(cell.value - cell.low, measure)}"
    return text


def _theirs(cell: Cell, measure: str) -> str:
    """As the paper prints it; a star where that is a misprint and this is what it should be, and a
    dagger where the paper prints nothing and this is computed."""
    if cell.published is None:
        return NONE
    value = cell.published.value
    if measure.removeprefix("static_") in ("top1", "cmap"):
        text = f"{value:.2f}"
    else:
        text = f"{value:.4f}".removesuffix("0")
    return text + MISPRINT * bool(cell.published.why) + COMPUTED * cell.published.computed


def _counted(cells: Sequence[Cell]) -> str:
    """How many anonymizers: "3", or "2–3"; nothing where there are none."""
    counts = sorted({cell.anonymizers for cell in cells if cell.seeds})
    return "\u2013".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else ""


def _ours_of(column: Column) -> str:
    """What stands above ours."""
    return column.network or column.world


def _legend(table: Table) -> list[str]:
    """What the numbers are, and what the paper has wrong in them."""
    lines = []
    if table.columns:
        lines += [
            "Ours: mean over seeds, \u00b1 half of Student's 95 % interval for it, which may reach "
            "beyond what a measure can be; beside it the paper's. "
            "Top-1 and cMAP in per cent; higher top-1, lower cMAP and F1 are better. A number in "
            "brackets behind a row's is the paper's. n counts anonymizers: one for each seed, or "
            "one where the same is examined at several seeds.",
            f"{BEST} the best of its column, where no other row's interval touches its own; of "
            f"cMAP and F1 only among rows that keep at least {percent(ENOUGH)} of the action (U). "
            f"{COMPUTED} computed; the paper does not print it. "
            "No information: 100 / actions, the mean prevalence, F1 of a constant yes. "
            "Attackers are those of this suite: a stronger one may read more.",
        ]
    wrong = misprints(table.number)
    if wrong:
        lines.append(f"{MISPRINT} Misprints of the paper:")
    for one in wrong:
        said = f"printed {one['printed']}" if "printed" in one else "left out"
        lines.append(
            f"  {one['row']}, {one['column']}: {said}, should be {one['should_be']}: "
            f"{one['reason']}."
        )
    return lines


def _missing(table: Table) -> list[str]:
    lines = []
    if table.others:
        told = "; ".join(f"{name} ({why})" for name, why in table.others.items())
        lines.append(f"Not shown, as the grid says otherwise now: {told}.")
    if not table.missing:
        return lines
    lines.append("Empty cells are filled by:")
    for command, what in table.missing.items():
        lines += [f"  {command}", f"    {what}"]
    return lines


def to_text(table: Table) -> str:
    """For a terminal of 80 columns; wide tables go below one another."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Rich
    from rich.text import Text

    out = io.StringIO()
    console = Console(width=WIDTH, file=out, color_system=None, highlight=False)
    title = f"Table {table.number} ({table.instance}). {table.caption}."
    console.print(title, markup=False)
    if table.lists:
        for some in (list(table.lists)[i : i + 4] for i in range(0, len(table.lists), 4)):
            shown = Rich(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
            for heading in some:
                shown.add_column(heading)
            for i in range(max(len(table.lists[h]) for h in some)):
                shown.add_row(*("".join(table.lists[h][i : i + 1]) for h in some))
            console.print(shown)
    for block in _blocks(table):
        shown = Rich(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
        shown.add_column("Method", no_wrap=True)
        shown.add_column("n", justify="right", no_wrap=True)
        groups = dict.fromkeys(table.columns[i].group for i in block)
        for i in block:
            column = table.columns[i]
            heading = f"{MEASURES[column.measure]}\n{_ours_of(column)}"
            shown.add_column(heading, justify="right", no_wrap=True)
            whose = _short(column.group) if len(groups) > 1 else ""
            shown.add_column(f"paper\n{whose}", justify="right", no_wrap=True)
        for line in table.lines:
            cells = [line.cells[i] for i in block]
            words = [line.label, _counted(cells)]
            for i, cell in zip(block, cells, strict=True):
                measure = table.columns[i].measure
                words += [_ours(cell, measure) + BEST * cell.best, _theirs(cell, measure)]
            shown.add_row(*map(Text, words))
        console.print()
        console.print(" | ".join(groups), markup=False)
        console.print(shown)
    console.print()
    for text in _legend(table):
        console.print(text, markup=False)
    for text in _missing(table):
        console.print(text, markup=False, soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _short(group: str) -> str:
    """A group's heading where it has to stand above one number."""
    return group if len(group) <= 10 else ""


def _blocks(table: Table) -> list[list[int]]:
    """Columns that fit beside one another, groups kept whole where one fits."""
    label = max([len(line.label) for line in table.lines], default=0) + 5

    def width(i: int, alone: bool) -> int:
        column = table.columns[i]
        ours = [len(_ours(line.cells[i], column.measure)) + 1 for line in table.lines]
        theirs = [len(_theirs(line.cells[i], column.measure)) for line in table.lines]
        head = max(len(MEASURES[column.measure]), len(_ours_of(column)))
        whose = 0 if alone else len(_short(column.group))
        return max([head, *ours]) + max([5, whose, *theirs]) + 2

    def fits(some: Sequence[int]) -> bool:
        alone = len({table.columns[i].group for i in some}) == 1
        return label + sum(width(i, alone) for i in some) <= WIDTH

    groups: dict[str, list[int]] = {}
    for i, column in enumerate(table.columns):
        groups.setdefault(column.group, []).append(i)
    blocks: list[list[int]] = [[]]
    for group in groups.values():
        for piece in [group] if fits(group) else [[i] for i in group]:
            if blocks[-1] and not fits([*blocks[-1], *piece]):
                blocks.append([])
            blocks[-1] += piece
    return [block for block in blocks if block]


def _flat(table: Table) -> tuple[list[list[str]], list[list[str]]]:
    """Two lines of headings, and the rows, of one wide table; the best in double stars."""
    head, under = ["", ""], ["Method", "n"]
    for column in table.columns:
        head += [column.group, ""]
        under += [f"{MEASURES[column.measure]}, {_ours_of(column)}", "paper"]
    rows = []
    for line in table.lines:
        words = [line.label, _counted(line.cells)]
        for column, cell in zip(table.columns, line.cells, strict=True):
            text = _ours(cell, column.measure)
            words += [f"**{text}**" if cell.best else text, _theirs(cell, column.measure)]
        rows.append(words)
    return [head, under], rows


def to_markdown(table: Table) -> str:
    """As GitHub reads it."""
    if table.lists:
        lists = list(table.lists.values())
        longest = max(map(len, lists))
        lines = [list(table.lists), ["---"] * len(lists)]
        lines += [["".join(words[i : i + 1]) for words in lists] for i in range(longest)]
    else:
        (head, under), rows = _flat(table)
        groups = [g or head[max(i - 1, 0)] for i, g in enumerate(head)]
        named = [f"{g}: {u}" if g else u for g, u in zip(groups, under, strict=True)]
        lines = [named, ["---", *["---:"] * (len(named) - 1)], *rows]
    shown = [f"| {' | '.join(w.replace('|', chr(92) + '|') for w in words)} |" for words in lines]
    title = f"**Table {table.number} ({table.instance}).** {table.caption}."
    legend = [text.replace(MISPRINT, "\\*", 1) for text in _legend(table)]
    lacks = [f"    {text.strip()}" if text.startswith("  v") else text for text in _missing(table)]
    return "\n".join([title, "", *shown, "", *_spaced(legend), *_spaced(lacks)]) + "\n"


def _spaced(lines: Sequence[str]) -> list[str]:
    """Each a paragraph."""
    return [part for text in lines for part in (text, "")]


LATEX = {
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "{": r"\{", "}": r"\}", "\u00b1": r"$\pm$", MINUS: "$-$", NONE: "--", "\u2013": "--",
    COMPUTED: r"\dag{}", "^": r"\^{}", "~": r"\~{}",
}  # fmt: skip


def _latex(text: str) -> str:
    bold = text.startswith("**") and text.endswith("**") and len(text) > 4
    inner = "".join(LATEX.get(letter, letter) for letter in (text[2:-2] if bold else text))
    return rf"\textbf{{{inner}}}" if bold else inner


def to_latex(table: Table) -> str:
    """A float with a tabular; needs no package. What lacks stands behind it as comments."""
    if table.lists:
        lists = list(table.lists.values())
        head: list[list[str]] = [list(table.lists)]
        rows = [["".join(words[i : i + 1]) for words in lists] for i in range(max(map(len, lists)))]
        aligned = "l" * len(lists)
    else:
        head, rows = _flat(table)
        aligned = "lr" + "rr" * len(table.columns)
    lines = [
        r"\begin{table}",
        rf"\caption{{{_latex(table.caption)}.}}",
        rf"\begin{{tabular}}{{{aligned}}}",
        r"\hline",
        *(" & ".join(map(_latex, words)) + r" \\" for words in head),
        r"\hline",
        *(" & ".join(map(_latex, words)) + r" \\" for words in rows),
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
        *(f"% {text}" for text in [*_legend(table), *_missing(table)]),
    ]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """A line for each cell; of a table that measures nothing, for each word."""
    text = io.StringIO()
    lines: list[dict[str, Any]] = [
        {"table": table.number, "list": name, "word": word.rstrip(MISPRINT)}
        for name, words in table.lists.items()
        for word in words
    ]
    for line in table.lines:
        for column, cell in zip(table.columns, line.cells, strict=True):
            lines.append(
                {
                    "table": table.number, "instance": table.instance, "row": line.row,
                    "label": line.label, "group": column.group, "measure": column.measure,
                    "world": column.world, "network": column.network, "value": cell.value,
                    "low": cell.low, "high": cell.high, "seeds": len(cell.seeds),
                    "anonymizers": cell.anonymizers, "best": int(cell.best),
                    **_printed(cell.published),
                }
            )  # fmt: skip
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _printed(found: Published | None) -> dict[str, Any]:
    return {
        "paper": found.value if found else None,
        "paper_printed": found.printed if found and not found.computed else None,
        "paper_drop": found.drop if found else None,
    }


def to_json(table: Table) -> str:
    """Everything, with the misprints and what would fill it."""
    return json.dumps({**asdict(table), "misprints": misprints(table.number)}, indent=1) + "\n"


FORMATS = {
    "text": to_text,
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "json": to_json,
}
