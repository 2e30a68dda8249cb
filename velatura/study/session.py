"""Carrying a study out, in one session or several."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from velatura.config import read_toml
from velatura.errors import BadInput, Failure
from velatura.experiment import check_people, check_players, locked
from velatura.jobs import Event
from velatura.jobs import run as run_jobs
from velatura.study.data import load_all
from velatura.study.file import RAW, Study, resolve_study
from velatura.study.inputs import check_seen, check_space, copy_run, same_inputs
from velatura.study.memory import Memory
from velatura.study.schedule import plan
from velatura.study.summary import early, summarize, write_summary
from velatura.training import checkpoint


def processes(study: Study, workers: int) -> tuple[int, int]:
    """How many processes side by side, 0 being as many as suit the machine; threads of each."""
    import torch

    cores = os.cpu_count() or 1
    cuda = torch.cuda.is_available() and study.base.loop.device != "cpu"
    workers = workers or (min(4, cores) if cuda else cores)
    return workers, max(cores // workers, 1)


def admits(before: Study, now: Study) -> bool:
    """Whether a study is the one before, or that with more rows.

    One with fewer is not: a row that came back later, changed, would find its old scores.
    """
    one, other = before.science(), now.science()
    rows = one.pop("rows"), other.pop("rows")
    return one == other and all(row in rows[1] for row in rows[0])


def carry_out(
    study: Study,
    folder: Path,
    *,
    resume: bool = False,
    keep_going: bool = False,
    retry: bool = False,
    workers: int = 0,
    command: str = "",
    on_data: Callable[[str, int, int], None] | None = None,
    sentences: Callable[[list[dict[str, Any]]], list[str]] | None = None,
) -> Generator[Event | dict[str, Any], None, None]:
    """Train and examine every row; yields events, rows as they are measured, and the summary.

    Args:
        folder: the study's folder.
        resume: continue what is there; otherwise a folder that holds a study is refused.
        keep_going: a row of which a job breaks is left out of the table and named in the summary's
            ``failed``, a list of ``{"row", "job", "error"}``; the others are measured. What broke
            in an earlier session counts as broken. The study that the folder holds may be one of
            fewer rows.
        retry: what broke in an earlier session is tried again.
        workers: processes side by side; 0 means one per core, or one on a GPU.
        command: what the user typed, for the record.
        on_data: told (stage, done, total) while data is rendered or decoded.
        sentences: plain sentences to put above the table, from its rows.

    Yields:
        ``{"splits": ...}`` and ``{"jobs": [...]}`` once; then events of jobs, and ``{"row": ...}``
        for each measured row; ``{"early": ...}`` when the first target and attacker have seen raw
        video; at the end ``{"summary": ...}``.

    Raises:
        BadInput: the folder holds a study and ``resume`` is off, or one of another configuration.
        Failure: to keep going was asked for, and a job of the raw row broke.
    """
    file = folder / "config.toml"
    if file.exists() and not resume:
        raise BadInput(
            f"{folder} holds a study already; continue it with --resume, or name another "
            "with --out."
        )
    if file.exists():
        before = resolve_study(read_toml(file))
        if before.science() != study.science() and not (keep_going and admits(before, study)):
            raise BadInput(
                f"{folder} holds a study of another configuration; name another folder with --out."
            )
    seconds = (
        json.loads((folder / "seconds.json").read_text())
        if (folder / "seconds.json").exists()
        else {}
    )
    begin = time.monotonic()
    with Memory() as memory, locked(folder):
        data = load_all(study, on_data)
        check_people([made.run for made in study.rows], data.parts)
        for made in study.rows:
            product = folder / "methods" / made.name / "anonymizer.safetensors"
            if not product.exists() and not made.source and not made.coded:
                check_players(made.run, data.clips, data.private)
        check_space(folder, data)
        taken = [made for made in study.rows if made.source]
        for made in study.rows:
            check_seen(made, data, folder)
        same_inputs(folder, data, taken)
        checkpoint.write_atomically(file, study.toml().encode())
        for made in taken:
            copy_run(made, folder / "methods" / made.name)
        _book(folder, seconds, "data", time.monotonic() - begin)
        yield {"splits": data.clips}
        jobs = plan(study, folder, [part.name for part in data.parts])
        yield {"jobs": jobs}
        left = {r.name: sum(j.arguments.get("row") == r.name for j in jobs) for r in study.rows}
        names = {r.name: r for r in study.rows}
        rows: dict[str, dict[str, Any]] = {}
        told = False
        broken = {} if retry or not keep_going else broken_jobs(folder)
        failed: dict[str, dict[str, str]] = {}
        for event in run_jobs(jobs, *processes(study, workers), keep_going, broken):
            yield event
            if event.kind == "end":
                _book(folder, seconds, event.job.stage, event.seconds)
            row = event.job.arguments.get("row")
            if event.error:
                broken[event.because] = event.error
                _note_broken(folder, broken)
                if row == RAW:
                    raise Failure(
                        f"The raw row, which all others are measured against, cannot be measured: "
                        f"{event.because}: {event.error}"
                    )
                if row:
                    why = {"row": row, "job": event.because, "error": event.error}
                    failed.setdefault(row, why)
            if event.kind in ("end", "reused") and row:
                left[row] -= 1
                if row == RAW and not told and (found := early(study, folder, data)):
                    told = True
                    yield {"early": found}
                ready = [n for n, count in left.items() if count == 0 and n not in rows]
                for name in ready if left[RAW] == 0 else []:
                    rows[name] = summarize(study, folder, names[name], data)
                    for big in (folder / "rows" / name).glob("*.npy"):
                        big.unlink()
                    yield {"row": rows[name]}
        _book(folder, seconds, "total", time.monotonic() - begin)
        memory.over.set()
        _note_broken(folder, broken)
        for name in failed:
            for big in (folder / "rows" / name).glob("*.npy"):
                big.unlink()
        ordered = [rows[r.name] for r in study.rows if r.name in rows]
        lost = [failed[r.name] for r in study.rows if r.name in failed]
        yield {
            "summary": write_summary(
                study, folder, data, ordered, lost, seconds, memory, command, sentences
            )
        }


def broken_jobs(folder: Path) -> dict[str, str]:
    """Names of the jobs that broke in a study's folder, and why."""
    path = folder / "failed.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _note_broken(folder: Path, broken: dict[str, str]) -> None:
    path = folder / "failed.json"
    if broken:
        checkpoint.write_atomically(path, json.dumps(broken, indent=1).encode())
    else:
        path.unlink(missing_ok=True)


def _book(folder: Path, seconds: dict[str, float], stage: str, amount: float) -> None:
    seconds[stage] = seconds.get(stage, 0.0) + amount
    checkpoint.write_atomically(folder / "seconds.json", json.dumps(seconds).encode())


def clear(folder: Path) -> None:
    """Remove a study that was carried out here; only files that a study writes."""
    for name in ("raw", "rows", "methods"):
        shutil.rmtree(folder / name, ignore_errors=True)
    files = (
        "config.toml", "data.json", "seconds.json", "failed.json", "records.jsonl", "sheet.npz",
    )  # fmt: skip
    for name in (*files, "summary.json"):
        (folder / name).unlink(missing_ok=True)


def typed() -> str:
    """The command line as the user typed it, without the path of the program."""
    return " ".join(["velatura", *sys.argv[1:]])
