"""``velatura impact bench``: a grid of arms and seeds, trained alike and tested on originals.

See ``_grid`` for the grid file. The folder of a bench:

    people/            generated people
    gan/               a network that draws, see ``train_gan``: of the pictures of train alone
    copies/ARM/        the training set as the arm has it; copies/ARM-val/
    runs/ARM-SEED/     a detector, and what it finds
    attacks/ARM.json   what a fresh network reads of the people in the copy
    faces/ARM.json     how many faces are still found in it, and recognised
    grid.json          the grid
    jobs.json          seconds of finished jobs, and by the clock; workers; what broke
    bench.json         everything that was measured
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from velatura.config import read_toml
from velatura.data._people import crowd
from velatura.errors import BadInput
from velatura.experiment import locked
from velatura.impact import (
    _compare,
    _formats,
    _pictures,
    _privacy,
    _recognition,
    _where,
    anonymize,
    train_gan,
)
from velatura.impact import evaluate as evaluation
from velatura.impact import people as drawing
from velatura.impact import train as training
from velatura.impact._coco import Dataset, parsed
from velatura.impact._grid import FACES, GAN, Arm, Grid, packaged, resolve
from velatura.jobs import Event, Job, Pace, tell
from velatura.jobs import run as run_jobs
from velatura.training import checkpoint

__all__ = ["carry_out", "copy_folder", "packaged", "resolve", "state"]

SCHEMA = "velatura-impact-bench/1"
GRID, JOBS, RESULT = "grid.json", "jobs.json", "bench.json"
LEARNT = "learnt_from.json"  # in gan/, before it is trained: what it is shown
ORIGINAL = ""  # in the place of an arm: pictures as they are


# What is where -------------------------------------------------------------------------------


def _read(grid: Grid, out: Path, split: str, categories: Sequence[str] | None) -> Dataset:
    """The original of a split.

    Args:
        split: ``"train"`` or ``"val"``.
        categories: as ``_formats.read`` takes them.
    """
    if grid.cfg.data.people is not None:
        root = out / "people"
        return _formats.read(
            "coco", root, [root / "annotations" / f"people_{split}.json"], None, categories
        )
    source = getattr(grid.cfg.data, split)
    root = Path(source.root)
    images = root / source.images if source.images else None
    paths = [Path(name) for name in source.annotations]
    return _formats.read(source.format, root, paths, images, categories)


def _check_originals(train: Dataset, val: Dataset) -> None:
    """Refuse, before anything is made, what would make every figure wrong.

    Raises:
        BadInput: people are hidden in the pictures; some are in both splits.
    """
    for data in (train, val):
        if _pictures.hides(_pictures.arm(data)):
            raise BadInput(
                f"People are hidden in {data.root}: a bench makes its copies of the original "
                "pictures, and is tested on such; name those."
            )
    if both := _in_both(train, val):
        raise BadInput(
            f"{both} pictures are in data.train and in data.val, and what is learnt by heart is no "
            "measure; leave them out of one."
        )


def _in_both(train: Dataset, val: Dataset) -> int:
    """How many pictures are the same files."""
    known, asked = (
        {(data.root / data.images / entry.name).resolve() for entry in data.entries}
        for data in (train, val)
    )
    return len(known & asked)


def _check_network(grid: Grid, out: Path) -> None:
    """Refuse, before anything is made, a network that cannot be trained on the training set.

    Raises:
        BadInput: too few are in it, or the regions that it asks for are not.
    """
    if grid.gan is None:
        return
    if grid.cfg.data.people is not None:
        most = crowd.MOST * grid.cfg.data.people.train
    else:
        data = _read(grid, out, "train", grid.gan.regions.categories)
        _where.resolved(grid.gan.regions, data)
        most = sum(len(entry.instances) for entry in data.entries)
    if most < (needed := max(train_gan.FEWEST, grid.gan.batch)):
        raise BadInput(
            f"gan: at most {most} people are in the training pictures, and a network needs "
            f"{needed} to learn from; give it more pictures, or a smaller gan.batch."
        )


def _copy(grid: Grid, out: Path, arm: str, split: str = "train") -> Dataset:
    """An arm's copy of a split, of all that is learnt."""
    data = _read(grid, out, split, grid.setup(0).cfg.categories or None)
    folder = copy_folder(out, arm, split)
    documents: dict[Path, Path | bytes] = {place: folder / place for place in data.documents}
    return data._replace(root=folder, documents=documents)


def copy_folder(out: Path, arm: str, split: str = "train") -> Path:
    """Of an arm's copy of a split."""
    return out / "copies" / (arm if split == "train" else f"{arm}-{split}")


def _run(out: Path, arm: str, seed: int) -> Path:
    return out / "runs" / f"{arm}-{seed}"


def _result(out: Path, arm: str, seed: int, on: str = ORIGINAL) -> Path:
    """The evaluation of a run, on originals or on an arm's copy of val."""
    return _run(out, arm, seed) / f"evaluation{f'-on-{on}' if on else ''}.json"


def _attack(out: Path, arm: str) -> Path:
    return out / "attacks" / f"{arm}.json"


def _seen(out: Path, arm: str) -> Path:
    return out / FACES / f"{arm}.json"


def _looked_for(grid: Grid) -> list[list[str]]:
    """What the regions of arms name as categories, each once: the people whose faces count."""
    named = {arm.setup(Path()).cfg.regions.categories for arm in grid.arms}
    return [list(names) for names in sorted(named)]


def _faces(grid: Grid, out: Path, arm: str) -> dict[str, Any] | None:
    """What was found of faces in an arm's copy; None before, where arms hid others then, and where
    an earlier version compared less."""
    path = _seen(out, arm)
    found: dict[str, Any] = parsed(path) if path.is_file() else {}
    current = {"version": _recognition.VERSION, "categories": _looked_for(grid)}
    return found["figures"] if all(found.get(k) == v for k, v in current.items()) else None


def _private(grid: Grid, out: Path) -> Path | None:
    """The file of what is private of the people of train; None where nothing is measured."""
    data = grid.cfg.data
    if not grid.cfg.privacy.epochs or not (data.people or data.private):
        return None
    return Path(data.private) if data.private else out / "people" / drawing.PRIVATE_FILE


def _is_trained(out: Path) -> bool:
    """Whether the network that draws is there, and is the bench's own."""
    return all((out / GAN / name).is_file() for name in (LEARNT, train_gan.SUMMARY))


def _is_known(grid: Grid, out: Path, arm: str) -> bool:
    return _faces(grid, out, arm) is not None


def _is_copied(folder: Path) -> bool:
    path = folder / anonymize.SUMMARY
    return path.is_file() and not json.loads(path.read_bytes())["images"]["left"]


# The jobs ------------------------------------------------------------------------------------


def work_people(job: str, out: str, values: dict[str, Any], workers: int) -> None:
    """Draw the people."""
    grid, folder = resolve(values), Path(out)
    for left in folder.glob("people.*.partial"):  # of a process that was killed
        shutil.rmtree(left)
    assert grid.cfg.data.people is not None
    drawing.make(grid.cfg.data.people, folder / "people", workers=workers, progress=_told(job))


def work_gan(job: str, out: str, values: dict[str, Any]) -> None:
    """Train the network that draws, on the training set and nothing else."""
    grid, folder = resolve(values), Path(out)
    assert grid.gan is not None
    data = _read(grid, folder, "train", grid.gan.regions.categories)
    place, learnt = folder / GAN, folder / GAN / LEARNT
    if (place / train_gan.SETTINGS).exists() and not learnt.exists():
        raise BadInput(
            f"{place} holds a network that this bench did not train, and nobody knows on which "
            f"pictures; move it, or name its {train_gan.MODEL} as method.model."
        )
    val = _read(grid, folder, "val", None)
    _check_originals(data, val)
    place.mkdir(exist_ok=True)
    about = {"split": "train", "pictures": len(data.entries), "of_val": _in_both(data, val)}
    checkpoint.write_atomically(learnt, json.dumps(about).encode())
    train_gan.train(
        grid.gan,
        data,
        place,
        resume=True,
        workers=1,
        progress=lambda what, done, total, terms: (
            tell(job, done, total) if what == "steps" else None
        ),
    )


def work_copy(job: str, out: str, values: dict[str, Any], arm: str, split: str) -> None:
    """Anonymize a split."""
    grid, folder = resolve(values), Path(out)
    how = grid.arm(arm).setup(folder)
    data = _read(grid, folder, split, how.cfg.regions.categories)
    place = copy_folder(folder, arm, split)
    anonymize.anonymize(how, data, place, workers=1, progress=_told(job))


def work_train(job: str, out: str, values: dict[str, Any], arm: str, seed: int) -> None:
    """Train on an arm's copy."""
    grid, folder = resolve(values), Path(out)
    data = _copy(grid, folder, arm)
    training.train(
        grid.setup(seed),
        data,
        _run(folder, arm, seed),
        missing=grid.cfg.missing,
        progress=lambda done, total, terms: tell(job, done, total),
    )


def work_evaluate(
    job: str, out: str, values: dict[str, Any], arm: str, seed: int, on: str = ORIGINAL
) -> None:
    """Test a run on originals, or on an arm's copy of val."""
    grid, folder = resolve(values), Path(out)
    data = _copy(grid, folder, on, "val") if on else _read(grid, folder, "val", None)
    evaluation.evaluate(
        _run(folder, arm, seed),
        data,
        anonymized=on != ORIGINAL,
        mark=f"-on-{on}",
        progress=_told(job),
    )


def work_attack(job: str, out: str, values: dict[str, Any], arm: str) -> None:
    """Ask a fresh network what is private of the people in an arm's copy."""
    grid, folder = resolve(values), Path(out)
    path = _private(grid, folder)
    assert path is not None
    labels = _privacy.read_labels(path)
    found = _privacy.attack(_copy(grid, folder, arm), labels, grid.cfg.privacy, _told(job))
    target = _attack(folder, arm)
    target.parent.mkdir(exist_ok=True)
    checkpoint.write_atomically(target, json.dumps(found).encode())


def work_faces(job: str, out: str, values: dict[str, Any], arm: str) -> None:
    """Look for the faces of the original in an arm's copy."""
    grid, folder = resolve(values), Path(out)
    categories = _looked_for(grid)
    each = (_read(grid, folder, "train", names).categories for names in categories)
    data = _read(grid, folder, "train", sorted({name for names in each for name in names}))
    original, copy = (copy_folder(folder, name) for name in (grid.reference, arm))
    how = grid.arm(arm).setup(folder)
    # As the copy says: to load a method may take long.
    reads = parsed(copy / anonymize.SUMMARY)["anonymizer"]["reads_region"]
    hide = None
    if reads and how.name not in ("none", "external"):
        hide = anonymize.hider(how, _read(grid, folder, "train", how.cfg.regions.categories))
    figures = _recognition.attack(data, original, copy, grid.cfg.faces, _told(job), hide)
    target = _seen(folder, arm)
    target.parent.mkdir(exist_ok=True)
    said = {"version": _recognition.VERSION, "categories": categories, "figures": figures}
    checkpoint.write_atomically(target, json.dumps(said).encode())


def _told(job: str) -> Callable[[int, int], None]:
    return lambda done, total: tell(job, done, total)


def plan(grid: Grid, out: Path, workers: int) -> list[Job]:
    """All jobs: what others wait for first, what nobody waits for last."""
    base: dict[str, Any] = {"out": str(out), "values": grid.values}
    jobs: list[Job] = []

    def add(
        name: str, stage: str, call: Callable[..., None], done: Callable[[], bool],
        needs: Sequence[str] = (), **arguments: Any,
    ) -> None:  # fmt: skip
        jobs.append(Job(name, stage, call, {**base, **arguments}, tuple(needs), done))

    drawn: tuple[str, ...] = ()
    if grid.cfg.data.people is not None:
        drawn = ("people",)
        mark = out / "people" / drawing.MARK
        add("people", "people", work_people, mark.is_file, workers=workers)
    if grid.gan is not None:  # first, since it is long, and on one core
        add(GAN, GAN, work_gan, partial(_is_trained, out), drawn)
    copies = [(arm, "train") for arm in grid.arms]
    copies += [(arm, "val") for arm in grid.tested_on()]
    for one, split in copies:
        folder = copy_folder(out, one.name, split)
        add(
            f"copy {folder.name}", "copy", work_copy, partial(_is_copied, folder),
            (*drawn, *([GAN] if one.draws else [])), arm=one.name, split=split,
        )  # fmt: skip
    for seed in grid.cfg.seeds:
        for one in grid.arms:
            arm, name = one.name, f"{one.name}-{seed}"
            ended = _run(out, arm, seed) / training.SUMMARY
            add(f"train {name}", "train", work_train, ended.is_file, [f"copy {arm}"],
                arm=arm, seed=seed)  # fmt: skip
            add(f"evaluate {name}", "evaluate", work_evaluate, _result(out, arm, seed).is_file,
                [f"train {name}"], arm=arm, seed=seed)  # fmt: skip
        for one in grid.tested_on():
            for arm in (grid.reference, one.name):
                add(
                    f"evaluate {arm}-{seed} on {one.name}", "evaluate", work_evaluate,
                    _result(out, arm, seed, one.name).is_file,
                    [f"train {arm}-{seed}", f"copy {one.name}-val"],
                    arm=arm, seed=seed, on=one.name,
                )  # fmt: skip
    if _private(grid, out) is not None:
        for one in grid.arms:
            add(f"attack {one.name}", "attack", work_attack, _attack(out, one.name).is_file,
                [f"copy {one.name}"], arm=one.name)  # fmt: skip
    if grid.cfg.faces.most and _recognition.missing() is None:
        for one in grid.arms:
            pair = dict.fromkeys([grid.reference, one.name])
            add(f"faces {one.name}", FACES, work_faces, partial(_is_known, grid, out, one.name),
                [f"copy {name}" for name in pair], arm=one.name)  # fmt: skip
    return jobs


def state(grid: Grid, out: Path) -> dict[str, dict[str, list[str]]]:
    """By arm, the names of its jobs that are ``done``, ``failed`` and ``left``; reads no data."""
    broken = _noted(out)["failed"]
    found: dict[str, dict[str, list[str]]] = {}
    for job in plan(grid, out, 1):
        arm = str(job.arguments.get("arm", job.name))
        kinds = found.setdefault(arm, {"done": [], "failed": [], "left": []})
        kind = "done" if job.done() else "failed" if job.name in broken else "left"
        kinds[kind].append(job.name)
    return found


# The work ------------------------------------------------------------------------------------


def carry_out(
    grid: Grid, out: Path, *, workers: int = 0, retry: bool = False, command: str = ""
) -> Generator[Event | dict[str, Any], None, None]:
    """Do what is missing.

    Args:
        out: the folder of the bench: a new one, or that of this grid, or of one with fewer arms or
            other seeds.
        workers: processes side by side, one thread each; 0 is one per core.
        retry: what broke in an earlier session is tried again.
        command: what the user typed, for the record.

    Yields:
        ``{"jobs": [...], "pace": ...}``; events of jobs; at the end ``{"bench": ...}``, which
        ``bench.json`` holds as well.

    Raises:
        BadInput: the folder holds something else; data that cannot be read.
        KeyboardInterrupt: what was done is kept.
    """
    workers = workers or os.cpu_count() or 1
    if grid.cfg.data.people is None:
        _check_originals(*(_read(grid, out, split, None) for split in ("train", "val")))
    _check_network(grid, out)
    if grid.cfg.data.private:
        _privacy.read_labels(Path(grid.cfg.data.private))
    _claim(grid, out)
    with locked(out):
        checkpoint.write_atomically(out / GRID, _merged(grid, out).encode())
        noted = _noted(out)
        if retry:
            noted["failed"] = {}
        jobs = plan(grid, out, workers)
        pace = Pace(workers)
        pace.expect("", jobs)
        yield {"jobs": jobs, "pace": pace}
        why: dict[str, str] = {}
        failed = dict(noted["failed"])
        before, began = noted["elapsed"], time.monotonic()
        worked = False  # not where all was done before
        try:
            for event in run_jobs(jobs, workers, 1, keep_going=True, failed=failed):
                pace.note("", event)
                if event.kind in ("failed", "skipped"):
                    why[event.job.name] = event.error
                if event.kind == "failed":
                    noted["failed"][event.job.name] = event.error
                elif event.kind in ("end", "reused"):
                    noted["failed"].pop(event.job.name, None)
                if event.kind == "end":
                    noted["seconds"][event.job.name] = round(event.seconds, 2)
                worked |= event.kind == "start"
                if worked and before is not None:
                    noted["elapsed"] = round(before + time.monotonic() - began, 1)
                    noted["workers"] = max(noted["workers"], workers)
                if event.kind in ("failed", "end"):
                    _note(noted, out)
                yield event
        finally:
            if worked:  # the part of a job that was stopped
                _note(noted, out)
        result = measured(grid, out, why, noted, command)
        text = json.dumps(result, indent=1, allow_nan=False)
        checkpoint.write_atomically(out / RESULT, text.encode())
    yield {"bench": result}


def _noted(out: Path) -> dict[str, Any]:
    """What ``jobs.json`` holds; ``elapsed`` and ``workers`` are None where an earlier version began
    the folder, since nobody knows those of its part."""
    path = out / JOBS
    if not path.is_file():
        return {"seconds": {}, "failed": {}, "elapsed": 0.0, "workers": 0}
    none: dict[str, Any] = {"seconds": {}, "failed": {}, "elapsed": None, "workers": None}
    return {**none, **json.loads(path.read_bytes())}


def _note(noted: Mapping[str, Any], out: Path) -> None:
    checkpoint.write_atomically(out / JOBS, json.dumps(noted, indent=1).encode())


def _claim(grid: Grid, out: Path) -> None:
    """Refuse a folder of another grid.

    Raises:
        BadInput: as said.
    """
    path = out / GRID
    if not path.is_file():
        if out.is_dir() and any(one.name != ".lock" for one in out.iterdir()):
            raise BadInput(f"{out} holds something else; name another --out.")
        return
    before = parsed(path)
    other = [key for key in ("data", "train", "privacy", "missing")
             if before.get(key) != grid.values.get(key)]  # fmt: skip
    known = {arm["name"]: arm for arm in before["arms"]}
    other += [
        f"arm {arm['name']}"
        for arm in grid.values["arms"]
        if arm["name"] in known and known[arm["name"]] != arm
    ]
    gan = before.get(GAN)
    # One that did not get as far as a network may be mended.
    if gan and grid.values.get(GAN, gan) != gan and (out / GAN / train_gan.SETTINGS).is_file():
        other.append(GAN)
    # A folder without figures may be mended; one of an earlier version has none, and no section.
    if before.get(FACES) != grid.values[FACES] and any((out / FACES).glob("*.json")):
        other.append(FACES)
    if other:
        raise BadInput(
            f"{out} holds a bench of another grid ({', '.join(other)} differ); name another --out. "
            "A grid may gain arms and seeds; it may not change what it has."
        )


def _merged(grid: Grid, out: Path) -> str:
    """The grid, and every arm that the folder had before: its name is taken."""
    path = out / GRID
    mine = {arm["name"]: arm for arm in grid.values["arms"]}
    before = parsed(path) if path.is_file() else {"arms": []}
    gone = [arm for arm in before["arms"] if arm["name"] not in mine]
    network = {key: before[key] for key in [GAN] if key in before}
    merged = {**network, **grid.values, "arms": [*grid.values["arms"], *gone]}
    return json.dumps(merged, indent=1)


# The result ----------------------------------------------------------------------------------


def measured(
    grid: Grid, out: Path, failed: Mapping[str, str], noted: Mapping[str, Any], command: str
) -> dict[str, Any]:
    """What ``bench.json`` holds: all of it read from the folder.

    Args:
        failed: names of jobs that came to nothing, and why.
        noted: ``seconds`` of jobs that ended; ``elapsed``, those by the clock, over the parts of a
            run that was stopped and went on (but for what a kill cut off after the last job that
            ended); ``workers``, the most.
    """
    runs: dict[str, dict[int, dict[str, Any]]] = {arm.name: {} for arm in grid.arms}
    for arm, seed in _pairs(grid):
        if _result(out, arm, seed).is_file():
            runs[arm][seed] = parsed(_result(out, arm, seed))
    every = [one for by_seed in runs.values() for one in by_seed.values()]
    categories = list(every[0]["run"]["learnt"]["categories"]) if every else []
    hidden = _hidden(grid, out, categories)
    groups = {
        **{name: [name] for name in categories},
        "hidden": hidden,
        "control": [name for name in categories if name not in hidden],
    }
    tasks = {arm: {s: e["tasks"] for s, e in by_seed.items()} for arm, by_seed in runs.items()}
    figures = _compare.table(tasks, grid.reference, groups)
    order = [_compare.held(line, figures) for line in grid.order]
    arms = [_arm(grid, out, arm, runs[arm.name], failed) for arm in grid.arms]
    by_stage: dict[str, float] = {}
    for name, took in noted["seconds"].items():
        stage = name.partition(" ")[0]
        by_stage[stage] = round(by_stage.get(stage, 0.0) + took, 1)
    return {
        "schema": SCHEMA,
        "title": grid.cfg.title,
        "command": command,
        "grid": grid.values,
        "seeds": list(grid.cfg.seeds),
        "tasks": list(grid.setup(0).tasks),
        "reference": grid.reference,
        "categories": {key: groups[key] for key in ("hidden", "control")},
        "data": _about(grid, out, every),
        "gan": _network(grid, out),
        "arms": arms,
        "faces_missing": _faceless(grid, out),
        "figures": figures,
        "crossed": _crossed(grid, out, hidden),
        "order": order,
        "failed": dict(failed),
        "seconds": by_stage,
        "elapsed": noted["elapsed"],
        "workers": noted["workers"],
        "versions": every[0]["run"]["versions"] if every else {},
    }


def _pairs(grid: Grid) -> Iterator[tuple[str, int]]:
    for arm in grid.arms:
        for seed in grid.cfg.seeds:
            yield arm.name, seed


def _hidden(grid: Grid, out: Path, categories: Sequence[str]) -> list[str]:
    """The learnt categories that any arm hides."""
    found: set[str] = set()
    for arm in grid.arms:
        if arm.name != grid.reference and _is_copied(copy_folder(out, arm.name)):
            settings = read_toml(copy_folder(out, arm.name) / anonymize.SETTINGS)
            found |= {*settings["regions"]["categories"]}
    return [name for name in categories if name in found]


def _arm(
    grid: Grid,
    out: Path,
    arm: Arm,
    runs: Mapping[int, Mapping[str, Any]],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """One arm: how it was made, what was hidden, every evaluation, and what is read of it."""
    folder = copy_folder(out, arm.name)
    said: dict[str, Any] = parsed(folder / anonymize.SUMMARY) if _is_copied(folder) else {}
    made = read_toml(folder / anonymize.SETTINGS) if said else arm.setup(out).values()
    privacy, raw = _attack(out, arm.name), _attack(out, grid.reference)
    faces = _faces(grid, out, arm.name)
    mine = {job.name for job in plan(grid, out, 1) if job.arguments.get("arm") == arm.name}
    return {
        "name": arm.name,
        "oracle": arm.oracle,
        "method": made["method"],
        "regions": made["regions"],
        "images": said.get("images"),
        "instances": said.get("instances"),
        "share": said.get("instances", {}).get("share"),
        "privacy": _privacy.compared(parsed(privacy), parsed(raw))
        if privacy.is_file() and raw.is_file()
        else None,
        "faces": faces if faces and faces["people"] else None,
        "runs": [
            {
                "seed": seed,
                "data": one["run"]["data"],
                "annotations": one["run"]["annotations"],
                "first_weights": one["run"]["first_weights"],
                "images": one["run"]["images"],
                "tasks": one["tasks"],
            }
            for seed, one in runs.items()
        ],
        "failed": {name: why for name, why in failed.items() if name in mine},
    }


def _faceless(grid: Grid, out: Path) -> str | None:
    """Why nothing is known of faces; None where something is, where it is off, where jobs broke."""
    found = [_faces(grid, out, arm.name) for arm in grid.arms] if grid.cfg.faces.most else []
    if None in found:
        return _recognition.missing()
    return _recognition.NOBODY if found and not any(one["people"] for one in found if one) else None


def _network(grid: Grid, out: Path) -> dict[str, Any] | None:
    """The network that arms draw with: what it learnt from, for how long, and how far it came.

    None where there is none, or where it was not trained to its end. Crops that cannot be used are
    counted; names of pictures stay in its folder.
    """
    if grid.gan is None or not _is_trained(out):
        return None
    said = parsed(out / GAN / train_gan.SUMMARY)
    crops = {**said["crops"], "failed": len(said["crops"]["failed"])}
    kept = ("steps", "batch", "seed", "regions", "network", "parameters", "seconds_per_step",
            "distance", "model", "data")  # fmt: skip
    return {
        "arms": [arm.name for arm in grid.arms if arm.draws],
        "learnt_from": parsed(out / GAN / LEARNT),
        "crops": crops,
        # 0 where nothing but the end was left of a run that was stopped: then nobody knows.
        "seconds": round(said["steps"] * said["seconds_per_step"], 1) or None,
        **{key: said[key] for key in kept},
    }


def _about(grid: Grid, out: Path, every: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The data: of val as it was tested on, of train as the annotations say."""
    found: dict[str, Any] = {"generated": grid.cfg.data.people is not None}
    if every:
        found["val"] = {
            key: every[0]["data"][key] for key in ("fingerprint", "annotations", "images",
                                                   "instances")
        }  # fmt: skip
        found["train"] = {
            "annotations": every[0]["run"]["annotations"],
            "instances": every[0]["run"]["instances"],
        }
    if found["generated"] and (out / "people" / drawing.MARK).is_file():
        found["people"] = parsed(out / "people" / drawing.MARK)
    return found


def _crossed(grid: Grid, out: Path, hidden: Sequence[str]) -> list[dict[str, Any]]:
    """Train x test: the original and each arm, on originals and on the arm's copy of val."""
    rows = []
    for one in grid.tested_on():
        for task in grid.setup(0).tasks:
            cells: dict[str, Any] = {}
            for key, arm, on in (
                ("original_on_original", grid.reference, ORIGINAL),
                ("original_on_copy", grid.reference, one.name),
                ("copy_on_original", one.name, ORIGINAL),
                ("copy_on_copy", one.name, one.name),
            ):
                found = {seed: _result(out, arm, seed, on) for seed in grid.cfg.seeds}
                scores = {
                    seed: _compare.score(parsed(path)["tasks"], task, hidden, "AP")
                    for seed, path in found.items()
                    if path.is_file()
                }
                cells[key] = {
                    "seeds": [[seed, value] for seed, value in scores.items()],
                    "mean": mean(known)
                    if (known := [value for value in scores.values() if value is not None])
                    else None,
                }
            rows.append({"arm": one.name, "task": task, **cells})
    return rows
