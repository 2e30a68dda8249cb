"""A sweep: every row of a grid in every world, at every seed; what breaks is named, not fatal.

A grid file is a study file and, above its sections:

    seeds = [0, 1, 2]              # of the world, the anonymizer and the networks
    equal = { steps = 200 }        # of every learned row; or { seconds = 120 }

    [[worlds]]                     # may lack: then there is one, as the file says
    name = "bound"
    set = ["data.correlation=0.8"]
    rows = ["penalty_0.1"]         # may lack: then all; raw is there anyway

    [[worlds]]
    name = "elsewhere"
    set = ["data.world=W2"]
    trained = "bound"              # learned rows are examined here as that world trained them

    [[rows]]
    method = { name = "penalty" }
    sweep = { bound = [0.1, 0.2] } # two rows, penalty_0.1 and penalty_0.2

    [[rows]]
    name = "novel"
    from = "runs/{world}-{seed}"   # the run of each cell; without {seed} all seeds are of one

    [[rows]]
    name = "penalty_0.1_h264"      # a row once more, after a codec; nothing is trained for it
    of = "penalty_0.1"
    codec = "h264"

A cell is the study of one world and seed. The folder of a sweep:

    WORLD-SEED/     the study of a cell
    equal.json      where seconds are equal: how many steps each learned row takes in them
    sweep.json      all cells in one table
"""

from __future__ import annotations

import json
import re
import shutil
import time
import tomllib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from velatura import plugins, study
from velatura.config import apply_sets, build, config, digest, fields, read_toml
from velatura.data._seen import SEEN
from velatura.errors import BadInput, Failure, unknown
from velatura.experiment import (
    DEFAULTS,
    Section,
    learns,
    load_data,
    locked,
    make_folder,
    resolve,
    train,
)
from velatura.jobs import Event, Job, Pace, sentence, tell
from velatura.jobs import run as run_jobs
from velatura.report.records import made_by, over_anonymizers
from velatura.study import RAW, Row, Study, resolve_study
from velatura.training import checkpoint

__all__ = ["Cell", "Grid", "State", "carry_out", "cells_of", "over_seeds", "resolve_grid", "state"]


# The grid ------------------------------------------------------------------------------------


@config
class Equal:
    """What all learned rows get the same of; at most one of the two."""

    steps: Annotated[int, Field(ge=1)] | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None


@config
class World:
    """A change of the study: the data, or anything else."""

    name: str = "world"
    set: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    """Names of the rows that it has; without any, all. Raw is always there."""
    method: dict[str, Any] = Field(default_factory=dict)
    """What each of its learned rows is given besides, such as steps."""
    trained: str = ""
    """A world above this one whose trained rows are examined here; nothing is trained."""


@dataclass(frozen=True)
class Grid:
    """A resolved grid file.

    Attributes:
        values: of the study, plain; its rows are written out, one for each value of a sweep.
    """

    title: str
    values: dict[str, Any]
    seeds: tuple[int, ...]
    worlds: tuple[World, ...]
    equal: Equal

    def study(self, world: World, seed: int, steps: Mapping[str, int | None]) -> Study:
        """The study of a cell.

        Args:
            steps: of learned rows, by name; a row with None is left out.
        """
        values = apply_sets(self.values, world.set)
        home = self.home(world)
        data = values.setdefault("data", {})
        if isinstance(data, dict) and "seed" not in data:
            if "seed" in fields(plugins.config_class("data", str(data.get("name", "people")))):
                data["seed"] = seed
        rows = []
        for row in values["rows"]:
            name = _name(row)
            if "from" in row:  # of the world that trains the others, too
                given = str(row["from"]).replace("{seed}", str(seed))
                row["from"] = given.replace("{world}", home.name)
            if world.rows and name not in (RAW, *world.rows):
                continue
            if _learns(row):
                row["method"] |= home.method
            if self.equal.steps and _learns(row):
                row["method"]["steps"] = self.equal.steps
            elif name in steps:
                if steps[name] is None:
                    continue
                row["method"]["steps"] = steps[name]
            rows.append(row)
        title = f"{self.title}: {world.name}, seed {seed}"
        if home is not world:
            title += f", trained in {home.name}"
        return resolve_study({**values, "rows": rows, "seed": seed, "title": title})

    def home(self, world: World) -> World:
        """Where the learned rows of a world are trained: there, or in the one that it names."""
        return next((other for other in self.worlds if other.name == world.trained), world)


def resolve_grid(values: Mapping[str, Any], sets: Sequence[str] = ()) -> Grid:
    """Check what a grid has beside the study; the study is checked with each cell.

    Args:
        values: of the file, plain.
        sets: further ``section.key=value`` changes.

    Raises:
        BadInput: seeds that are none, worlds of one name, a sweep over nothing, or learned rows
            that cannot be given equal steps.
    """
    values = apply_sets(values, sets)
    known = {"seeds", "equal", "worlds", *study.SECTIONS} - {"seed"}
    for key in values:
        if key not in {*known, "seed"}:
            raise unknown("section", key, known)
    title = str(values.pop("title", "A sweep"))
    seeds = values.pop("seeds", [0])
    whole = isinstance(seeds, list) and all(type(s) is int and s >= 0 for s in seeds)
    if not whole or not seeds or len({*seeds}) < len(seeds):
        raise BadInput(f"seeds: expected a list of different whole numbers, got {seeds!r}.")
    if "seed" in values:
        raise BadInput("seed: a grid has a list, such as seeds = [0, 1, 2].")
    equal = build(Equal, _table(values.pop("equal", {}), "equal"), "equal")
    if equal.steps and equal.seconds:
        raise BadInput("equal: steps and seconds cannot both be equal; name one of them.")
    given = values.pop("worlds", [{}])
    if not isinstance(given, list) or not given:
        raise BadInput(f"worlds: expected a list of tables [[worlds]], got {given!r}.")
    worlds = tuple(build(World, _table(w, f"worlds[{i}]"), "worlds") for i, w in enumerate(given))
    names = [world.name for world in worlds]
    for name in names:
        if not study.names_a_folder(name) or names.count(name) > 1:
            raise BadInput(
                f"worlds: {name!r} becomes a folder; give each world a name of its own, of "
                "letters, digits, . _ -"
            )
    rows = values.get("rows", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput("rows: expected a list of tables, each [[rows]] with a method.")
    values["rows"] = [one for i, row in enumerate(rows) for one in _written_out(row, f"rows[{i}]")]
    for i, row in enumerate(values["rows"]):
        if strange := {*re.findall(r"{[^}]*}?", str(row.get("from", "")))} - {"{seed}", "{world}"}:
            raise BadInput(
                f"rows[{i}].from: expected the placeholders {{seed}} and {{world}} or none, got "
                f"{', '.join(sorted(strange))}."
            )
    _check_worlds(worlds, values["rows"])
    if equal.steps or equal.seconds:
        for row in filter(_learns, values["rows"]):
            if "steps" not in fields(plugins.config_class("methods", _method(row))):
                raise BadInput(
                    f"Row {_name(row)}: {_method(row)} has no steps that could be equal."
                )
            if "steps" in row["method"]:
                raise BadInput(
                    f"Row {_name(row)} says its steps, and equal says those of all; leave one out."
                )
    return Grid(title, values, tuple(seeds), worlds, equal)


MADE_BY = ("anonymizer", "target", "budget", "start", "held_out", "loop")
"""Sections that say how a row was trained: a world that trains nothing has no word in them."""


def _check_worlds(worlds: Sequence[World], rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse worlds of rows that are not there, or not trained where they are said to be.

    Raises:
        BadInput: as said.
    """
    learned = {_name(row) for row in rows if _learns(row)}
    names = [_name(row) for row in rows]
    for i, world in enumerate(worlds):
        for name in world.rows:
            if name not in (RAW, *names):
                raise unknown(f"row of world {world.name}", name, names)
        changed = {text.partition("=")[0].partition(".")[0].strip() for text in world.set}
        if fixed := sorted(changed & {"seed", "rows", *(MADE_BY if world.trained else ())}):
            why = " where its rows are trained" if world.trained else ""
            raise BadInput(
                f"worlds: {world.name} cannot set {', '.join(fixed)}: that is decided above all "
                f"worlds{' or' + why if why else ''}; leave it out."
            )
        if "name" in world.method:
            raise BadInput(
                f"worlds: {world.name} cannot make another method of its rows; write rows for it."
            )
        if not world.trained:
            continue
        before = {other.name: other for other in worlds[:i] if not other.trained}
        if world.trained not in before:
            raise unknown(f"world above {world.name} that trains", world.trained, before)
        if world.method:
            raise BadInput(f"worlds: {world.name} trains nothing, so it has no method to change.")
        there = {*(before[world.trained].rows or names)}
        if lacks := sorted(learned & {*(world.rows or names)} - there):
            raise BadInput(
                f"worlds: {world.name} takes {', '.join(lacks)} as {world.trained} trained it, "
                "which has no such row; list the rows of both."
            )


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise BadInput(f"{where}: expected a table, got {value!r}.")
    return dict(value)


def _method(row: Mapping[str, Any]) -> str:
    """The method's name; "" where there is none, which the study's check will say."""
    method = row.get("method")
    return str(method.get("name", DEFAULTS["method"])) if isinstance(method, Mapping) else ""


def _name(row: Mapping[str, Any]) -> str:
    return str(row.get("name", _method(row)))


def _learns(row: Mapping[str, Any]) -> bool:
    name = _method(row)
    return bool(name) and hasattr(plugins.load("methods", name), "train")


def _written_out(row: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """A row for each value that its sweep lists, and for each pair where it lists two."""
    row = dict(row)
    if "sweep" not in row:
        return [row]
    lists, method = _table(row.pop("sweep"), f"{where}.sweep"), row.get("method")
    if not lists or not all(isinstance(v, list) and v for v in lists.values()):
        raise BadInput(f"{where}.sweep: expected lists of values, such as bound = [0.1, 0.2].")
    if not isinstance(method, Mapping) or {*lists} & {*method}:
        raise BadInput(f"{where}.sweep: its keys are of the row's method, which must not say them.")
    return [
        {
            **row,
            "name": "_".join([_name(row), *map(str, values)]),
            "method": {**method, **dict(zip(lists, values, strict=True))},
        }
        for values in product(*lists.values())
    ]


# The cells -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One world and seed.

    Attributes:
        lacks: rows that are not in the study, as no step of them could be timed; and why.
        source: the folder of the cell that trains its rows, where it does not.
        home: the study of that cell.
    """

    world: str
    seed: int
    folder: Path
    study: Study
    lacks: dict[str, str] = field(default_factory=dict)
    source: Path | None = None
    home: Study | None = None

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.world}-{self.seed}"


@dataclass(frozen=True)
class State:
    """How far a cell is.

    Attributes:
        kind: ``done``; ``failed``: nothing is left but rows that broke; ``begun``; ``missing``;
            ``other``: its folder holds a study of another configuration.
        measured: names of rows.
        failed: names of rows, and why.
        left: names of rows.
        other: names of rows that are there, and were trained otherwise than the cell says.
    """

    kind: Literal["done", "failed", "begun", "missing", "other"]
    measured: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "state": self.kind,
            "measured": list(self.measured),
            "failed": self.failed,
            "left": list(self.left),
        }


def cells_of(grid: Grid, out: Path, only: Sequence[str] = ()) -> list[Cell]:
    """All cells, or those of ``only``: ``WORLD/SEED``, or ``WORLD`` for all its seeds.

    Raises:
        BadInput: what a study's check raises, or no such cell.
    """
    steps, lacks = _equalled(grid, out)
    made = {(w.name, s): grid.study(w, s, steps) for s in grid.seeds for w in grid.worlds}
    cells = [
        Cell(
            world.name,
            seed,
            out / f"{world.name}-{seed}",
            made[world.name, seed],
            {n: why for n, why in lacks.items() if not world.rows or n in world.rows},
            out / f"{world.trained}-{seed}" if world.trained else None,
            made.get((world.trained, seed)),
        )
        for seed in grid.seeds
        for world in grid.worlds
    ]
    names = {f"{cell.world}/{cell.seed}" for cell in cells} | {cell.world for cell in cells}
    for name in only:
        if name not in names:
            raise unknown("cell", name, names)
    return [c for c in cells if not only or {c.world, f"{c.world}/{c.seed}"} & {*only}]


def state(cell: Cell) -> State:
    """What is in the folder of a cell; reads no data."""
    names = tuple(row.name for row in cell.study.rows)
    file = cell.folder / "config.toml"
    if not file.exists():
        return State("missing", (), dict(cell.lacks), names)
    if not study.admits(resolve_study(read_toml(file)), cell.study):
        return State("other")
    if other := tuple(row.name for row in cell.study.rows if not _made_as_said(cell, row)):
        return State("other", other=other)
    failed = {**_broken_rows(cell), **cell.lacks}
    cfg = cell.study.evaluation
    measured = tuple(
        name
        for name in names
        if name not in failed
        and all(path.exists() for path in study.outputs_of(cfg, cell.folder, name))
    )
    left = tuple(name for name in names if name not in failed and name not in measured)
    if RAW in failed:
        return State("failed", (), failed)
    if left or not {*measured} <= {row["name"] for row in _summary(cell).get("rows", [])}:
        return State("begun", measured, failed, left)
    return State("failed" if failed else "done", measured, failed)


def _made_as_said(cell: Cell, row: Row) -> bool:
    """Whether a trained row that is in a cell's folder is the one that the cell means.

    Trained here, or in the cell that trains its rows, by the configuration that lies beside its
    weights; from elsewhere, by the weights. One that is not there yet will be.
    """
    there = cell.folder / "methods" / row.name
    if row.source:
        ours, theirs = (folder / "anonymizer.safetensors" for folder in (there, row.source))
        both = ours.exists() and theirs.exists()
        return not both or ours.read_bytes() == theirs.read_bytes()
    if not learns(row.run) or not (there / "config.toml").exists():
        return True
    rows = (cell.home or cell.study).rows
    said = next((other.run for other in rows if other.name == row.name), row.run)
    return resolve(read_toml(there / "config.toml")).science() == said.science()


def _summary(cell: Cell) -> dict[str, Any]:
    path = cell.folder / "summary.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _broken_rows(cell: Cell) -> dict[str, str]:
    """Rows of a cell that need a job that broke, and why it did."""
    broken = study.broken_jobs(cell.folder)
    jobs = study.plan(cell.study, cell.folder, []) if broken else []
    lost: dict[str, str] = {}
    before = -1
    while before < len(lost):  # jobs are not listed in the order of their needs
        before = len(lost)
        for job in jobs:
            why = [lost[name] for name in job.needs if name in lost]
            why += [f"{job.name}: {broken[job.name]}"] if job.name in broken else []
            if why and not job.done():
                lost[job.name] = why[0]
    rows: dict[str, str] = {}
    for job in jobs:
        if job.name in lost and "row" in job.arguments:
            rows.setdefault(job.arguments["row"], lost[job.name])
    if RAW in rows:  # the others are measured against it
        return {row.name: rows[RAW] for row in cell.study.rows}
    return rows


PLACES = ("cache", "workers", "root", "annotations")  # of [data]: where it lies, not what it is


def compare(file: Path, folder: Path) -> Callable[[str, int, Mapping[str, Any]], str]:
    """What tells of records whether they are what a grid file says; a ``records.Check``."""
    grid = resolve_grid(read_toml(file))
    steps, _ = _equalled(grid, folder)
    worlds = {world.name: world for world in grid.worlds}

    def differs(world: str, seed: int, summary: Mapping[str, Any]) -> str:
        if world not in worlds:
            return "the grid has no such world"
        try:
            ours = grid.study(worlds[world], seed, steps)
            values = dict(summary.get("config") or {})
            values["rows"] = [
                {key: value for key, value in row.items() if key != "from"}
                for row in values.get("rows", [])
            ]
            return difference(ours, resolve_study(values))
        except BadInput as error:
            return str(error).removesuffix(".")

    return differs


def difference(said: Study, measured: Study) -> str:
    """In what a measured study is not the one that a grid says, "" in nothing.

    Neither its title and services count, nor where its data lies; it may lack rows.
    """
    ours, theirs = _flat(_compared(said)), _flat(_compared(measured))
    rows = {row.name for row in said.rows}
    if more := [row.name for row in measured.rows if row.name not in rows]:
        return f"it has the row {more[0]}, and the grid has not"
    lacks = {("rows", name) for name in rows - {row.name for row in measured.rows}}
    for key in [*theirs, *ours]:
        if key[:2] in lacks or (key in ours and key in theirs and ours[key] == theirs[key]):
            continue
        one, other = (json.dumps(of[key]) if key in of else "nothing" for of in (theirs, ours))
        return f"{'.'.join(key)} is {one}, the grid says {other}"
    return ""


def _compared(made: Study) -> dict[str, Any]:
    """What is the same in all repetitions of a study."""
    values = made.science()
    for key in {"data", "private"} & {*values}:
        values[key] = {k: v for k, v in values[key].items() if k not in PLACES}
    return {**values, "rows": {row["name"]: row for row in values["rows"]}}


def _flat(values: Mapping[str, Any], at: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """A table of tables as one, by the path of each value."""
    found: dict[tuple[str, ...], Any] = {}
    for key, value in values.items():
        found |= _flat(value, (*at, key)) if isinstance(value, Mapping) else {(*at, key): value}
    return found


# Equal seconds -------------------------------------------------------------------------------

WARM_UP = 3  # steps that are not timed
AT_LEAST = 5  # steps that are
SPAN = 5.0  # seconds of them
WITHOUT_END = 1_000_000


class _Enough(Exception):
    """Steps were timed long enough."""


def work_time(job: str, folder: str, text: str, row: str, span: float) -> float:
    """Seconds that a step of a learned row takes, in a worker beside others, as when it trains.

    Its networks do not learn from raw clips before: a step takes as long with any weights.
    """
    made = resolve_study(tomllib.loads(text))
    run = next(r.run for r in made.rows if r.name == row)
    steps = {"steps": WITHOUT_END, "identity_steps": 0, "sparsify_steps": 0}  # none before the game
    known = fields(type(run.method.config))
    method = replace(run.method.config, **{k: v for k, v in steps.items() if k in known})
    run = replace(run, start=replace(run.start, epochs=0), method=Section(run.method.name, method))
    told: list[tuple[float, int]] = []

    def progress(done: int, total: int, terms: dict[str, float]) -> None:
        if not terms or done <= WARM_UP:
            return
        told.append((time.monotonic(), done))
        seconds, steps = told[-1][0] - told[0][0], told[-1][1] - told[0][1]
        tell(job, round(100 * min(seconds / span, steps / AT_LEAST)), 100)
        if seconds >= span and steps >= AT_LEAST:
            raise _Enough

    try:
        train(run, Path(folder) / row, splits=load_data(run), progress=progress)
    except _Enough:
        return (told[-1][0] - told[0][0]) / (told[-1][1] - told[0][1])
    raise Failure(f"{run.method.name} ended by itself before its steps could be timed.")


def _timed(grid: Grid, out: Path) -> dict[str, dict[str, Any]]:
    """What ``equal.json`` knows of each row."""
    path = out / "equal.json"
    if not grid.equal.seconds or not path.exists():
        return {}
    found = json.loads(path.read_text())
    if found["seconds"] != grid.equal.seconds:
        raise BadInput(
            f"{path} counts steps for {found['seconds']} seconds, and the grid has "
            f"{grid.equal.seconds}; name another folder with --out."
        )
    return dict(found["rows"])


def _equalled(grid: Grid, out: Path) -> tuple[dict[str, int | None], dict[str, str]]:
    """Steps of each learned row whose step was timed; and why of those where it could not be."""
    rows = _timed(grid, out)
    lacks = {name: row["error"] for name, row in rows.items() if "error" in row}
    steps = {name: row.get("steps") for name, row in rows.items()}
    for row in grid.values["rows"]:
        if (of := str(row.get("of"))) in lacks:  # nor can it be examined after a codec
            steps[_name(row)], lacks[_name(row)] = None, lacks[of]
    return steps, lacks


def calibrate(
    grid: Grid,
    out: Path,
    workers: int = 0,
    retry: bool = False,
    span: float = SPAN,
    on_data: Callable[[str, int, int], None] | None = None,
) -> Iterator[Event]:
    """Time a step of each learned row that ``equal.json`` does not know, and note its steps there.

    Once for a folder: a sweep that is repeated or resumed, even elsewhere, takes the steps that
    are noted. Yields the events of its jobs.

    Raises:
        BadInput: ``equal.json`` is of other seconds, or of rows that have changed since.
    """
    if not grid.equal.seconds:
        return
    with locked(out):
        made = grid.study(replace(grid.worlds[0], rows=()), grid.seeds[0], {})
        known = _timed(grid, out)
        of = {
            row.name: digest(row.run.science())
            for row in made.rows
            if learns(row.run) and not row.coded
        }
        if changed := sorted(name for name in {*known} & {*of} if known[name]["of"] != of[name]):
            raise BadInput(
                f"{out}/equal.json was timed of something else: {', '.join(changed)} changed "
                "since. Name another folder with --out."
            )
        place, text = out / "timing", made.toml()
        jobs = [
            Job(
                f"time {name}", "time a step", work_time,
                {"folder": str(place), "text": text, "row": name, "span": span},
            )
            for name in of
            if name not in known or (retry and "error" in known[name])
        ]  # fmt: skip
        if not jobs:
            return
        shutil.rmtree(place, ignore_errors=True)
        load_data(made.base, on_data)  # rendered or decoded once, before workers look for it
        try:
            for event in run_jobs(jobs, *study.processes(made, workers), keep_going=True):
                yield event
                name = event.job.arguments["row"]
                if event.kind == "end":
                    steps = max(1, round(grid.equal.seconds / event.result))
                    known[name] = {"steps": steps, "seconds_per_step": event.result}
                elif event.kind == "failed":
                    known[name] = {"error": f"{event.because}: {event.error}"}
                else:
                    continue
                known[name]["of"] = of[name]
                noted = {"seconds": grid.equal.seconds, "rows": known}
                text = json.dumps(noted, indent=1, sort_keys=True)
                checkpoint.write_atomically(out / "equal.json", text.encode())
        finally:
            shutil.rmtree(place, ignore_errors=True)


# The work ------------------------------------------------------------------------------------


def carry_out(
    grid: Grid,
    out: Path,
    *,
    workers: int = 0,
    only: Sequence[str] = (),
    retry: bool = False,
    command: str = "",
    on_data: Callable[[str, int, int], None] | None = None,
) -> Generator[Event | dict[str, Any], None, None]:
    """Do what is missing, cell after cell; each uses all cores by its own jobs.

    Args:
        out: the sweep's folder.
        workers: processes side by side; 0 means as many as suit the machine.
        only: cells, as :func:`cells_of` takes them.
        retry: rows that broke are tried again.
        command: what the user typed, for the records.
        on_data: told (stage, done, total) while data is rendered or decoded.

    Yields:
        Events of jobs that time a step; ``{"cells": [(cell, its state), ...], "pace": ...}``; for
        each cell with something to do ``{"begin": cell}``, all that :func:`study.carry_out`
        yields, and ``{"end": cell, "state": ..., "error": ...}``, an error being what ended the
        whole cell; at the end ``{"sweep": ...}``, which ``sweep.json`` holds as well.

    Raises:
        BadInput: the grid cannot be resolved, a cell's folder holds another configuration, or
            ``out`` is a file.
    """
    cells = cells_of(grid, out, only)  # refused before anything is timed
    _refuse_others(cells)
    make_folder(out)  # else each cell would say for itself that it is none
    yield from calibrate(grid, out, workers, retry, on_data=on_data)
    cells = cells_of(grid, out, only)
    states = _refuse_others(cells)
    ready = ("done", "failed") if not retry else ("done",)
    todo = [cell for cell in cells if states[cell.name].kind not in ready]
    side_by_side = study.processes(cells[0].study, workers)[0]
    pace = Pace(side_by_side)
    for cell in cells:
        jobs = study.plan(cell.study, cell.folder, [])
        if cell in todo:
            pace.expect(cell.name, [job for job in jobs if not (cell.source and _trains(job))])
        else:
            pace.learn(jobs, _summary(cell).get("seconds", {}))
    yield {"cells": [(cell, states[cell.name]) for cell in cells], "pace": pace}
    errors: dict[str, str] = {}
    for cell in todo:
        yield {"begin": cell}
        try:
            _take_trained(cell)
            for event in study.carry_out(
                cell.study, cell.folder, resume=True, keep_going=True, retry=retry,
                workers=workers, command=command, on_data=on_data,
            ):  # fmt: skip
                if isinstance(event, Event):
                    pace.note(cell.name, event)
                yield event
        except Exception as error:
            errors[cell.name] = sentence(error)
        pace.forget(cell.name)
        found = state(cell)
        yield {"end": cell, "state": found, "error": errors.get(cell.name, "")}
    summary = summarize(grid, cells_of(grid, out), errors, command)
    checkpoint.write_atomically(out / "sweep.json", json.dumps(summary, indent=1).encode())
    yield {"sweep": summary}


def _trains(job: Job) -> bool:
    """Whether a job trains a row, or a network that training starts from."""
    return job.call in (study.work_train, study.work_raw)


def _take_trained(cell: Cell) -> None:
    """Copy the trained rows of the cell that trains them, where it is not this one.

    Raises:
        Failure: one is not there, or is another than the one that was taken before.
    """
    if cell.source is None:
        return
    for row in cell.study.rows:
        if not learns(row.run) or row.source or row.coded:
            continue
        source, to = (folder / "methods" / row.name for folder in (cell.source, cell.folder))
        product = source / "anonymizer.safetensors"
        if not product.exists():
            raise Failure(
                f"{cell.name} examines {row.name} as {cell.source.name} trains it, and it is not "
                f"there; `velatura sweep` that cell first, or see why it failed."
            )
        kept = to / product.name
        if kept.exists() and kept.read_bytes() != product.read_bytes():
            raise Failure(
                f"{kept} is another {row.name} than {cell.source.name} has now; remove "
                f"{cell.folder}, and sweep again."
            )
        if not kept.exists():
            to.mkdir(parents=True, exist_ok=True)
            for name in ("config.toml", SEEN, "log.jsonl", product.name):  # the product last
                if (source / name).exists():
                    checkpoint.write_atomically(to / name, (source / name).read_bytes())


def _refuse_others(cells: Iterable[Cell]) -> dict[str, State]:
    states = {}
    for cell in cells:
        states[cell.name] = state(cell)
        if states[cell.name].kind == "other":
            if other := states[cell.name].other:
                raise BadInput(
                    f"{cell.folder} holds {', '.join(other)}, trained otherwise or elsewhere than "
                    "the grid says now; name another folder with --out, or remove this one."
                )
            raise BadInput(
                f"{cell.folder} holds a study of another configuration; name another folder with "
                "--out. A grid may gain rows; it may not change them, or lose them."
            )
    return states


# The table -----------------------------------------------------------------------------------


def summarize(
    grid: Grid, cells: Sequence[Cell], errors: Mapping[str, str], command: str
) -> dict[str, Any]:
    """All cells as they are: their states, and each row over the seeds of its world.

    Args:
        errors: what ended a whole cell, by its name.
    """
    states = {cell.name: state(cell) for cell in cells}
    listed, worlds = [], {}
    for cell in cells:
        about = {"world": cell.world, "seed": cell.seed, **states[cell.name].values()}
        here = states[cell.name]
        if cell.name in errors and (here.left or not here.measured):  # else another sweep did it
            about["error"] = errors[cell.name]
        listed.append(about)
    for world in grid.worlds:
        mine = [cell for cell in cells if cell.world == world.name]
        found = [summary for cell in mine if (summary := _summary(cell))]
        rows = over_seeds(found)
        same = [row["name"] for row in rows if row["anonymizers"] < row["examinations"]]
        for about in listed:
            if about["world"] == world.name and (
                one := [n for n in about["measured"] if n in same]
            ):
                about["one_anonymizer"] = one
        for row in rows:
            row["failed"] = [c.seed for c in mine if row["name"] in states[c.name].failed]
        known = {row["name"] for row in rows}
        for name in dict.fromkeys(n for c in mine for n in states[c.name].failed):
            if name not in known:
                seeds = [c.seed for c in mine if name in states[c.name].failed]
                rows.append({"name": name, "n": 0, "U": None, "L": None, "failed": seeds})
        worlds[world.name] = rows
    return {"title": grid.title, "command": command, "cells": listed, "worlds": worlds}


def over_seeds(summaries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each row over several summaries of one study at different seeds.

    Returns:
        ``name``, ``method``, ``n`` and, for U, L, top1, cmap, static_L and train_seconds, where
        any seed has one: the mean, and its 95 % interval over anonymizers (``U_interval``; None for
        one). ``examinations`` counts the summaries that have the row; ``n``, and ``anonymizers``,
        the anonymizers that they are of: as many, unless one is examined at several seeds.
    """
    rows: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for summary in summaries:
        for row in summary["rows"]:
            rows.setdefault(row["name"], []).append((row, summary))
    table = []
    for name, found in rows.items():
        whose = [made_by(summary, name) for _, summary in found]
        count = len({*whose})
        line: dict[str, Any] = {
            "name": name, "method": found[0][0]["method"], "n": count, "anonymizers": count,
            "examinations": len(found),
        }  # fmt: skip
        for key in ("U", "L", "top1", "cmap", "static_L", "train_seconds"):
            values = [
                (made, value)
                for made, pair in zip(whose, found, strict=True)
                if (value := _figure(*pair, key)) is not None
            ]
            line[key], line[f"{key}_interval"] = (
                over_anonymizers(values)[:2] if values else (None, None)
            )
        table.append(line)
    return table


def _figure(row: Mapping[str, Any], summary: Mapping[str, Any], key: str) -> float | None:
    """A figure of a row: its own, or one that takes its study to compute."""
    value: float | None
    if key == "train_seconds":
        value = summary["seconds"].get(f"train {row['name']}")
        return value
    if key != "static_L":
        value = row.get(key)
        return value
    # What an attacker who does not adapt reads, on the scale of L.
    raw = next(r["cmap"] for r in summary["rows"] if r["name"] == RAW)
    chance, static = summary["chance"]["cmap"], row.get("static_cmap")
    return None if static is None or raw - chance < 1 else (static - chance) / (raw - chance)
