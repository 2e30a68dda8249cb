"""A bench that takes a second: the figures and crates of ``figures.py``, and its jobs done in this
process. What worker processes add is tested in tests/test_jobs.py, and once as a user runs it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import figures

from velatura.impact import bench
from velatura.jobs import Event, Job, sentence

GRID: dict[str, Any] = {
    "title": "Small",
    "seeds": [0, 1],
    "privacy": {"epochs": 0},
    "faces": {"most": 0},
    "data": {
        "train": {"root": "coco", "annotations": ["annotations/tiny_train.json"]},
        "val": {"root": "coco", "annotations": ["annotations/tiny_val.json"]},
    },
    "train": {
        "task": "all", "steps": 2, "batch": 2, "size": 64,
        "model": {"name": "tiny", "width": 8, "prototypes": 2},
        "loop": {"device": "cpu", "precision": "32", "save_every": 1, "log_every": 1},
    },
    "arms": [
        {"name": "original", "method": {"name": "none"}},
        {"name": "maskout", "method": {"name": "maskout"}},
    ],
}  # fmt: skip


def grid(**changes: Any) -> dict[str, Any]:
    """The values of a grid file."""
    return copy.deepcopy({**GRID, **changes})


def data(root: Path = Path("coco"), train: int = 4) -> Path:
    """What the grid trains and tests on."""
    figures.make(root, train)
    return figures.make(root, 2, "val", seed=1)


def inline(
    jobs: list[Job], workers: int, threads: int, keep_going: bool = False,
    failed: Mapping[str, str] | None = None,
) -> Iterator[Event]:  # fmt: skip
    """``velatura.jobs.run`` without processes."""
    lost: dict[str, str] = {}
    for job in jobs:
        if job.done():
            yield Event("reused", job)
            continue
        cause = next((lost[name] for name in job.needs if name in lost), "")
        kind = "skipped" if cause else "failed"
        cause = cause or (failed or {}).get(job.name, "")
        if not cause:
            yield Event("start", job)
            try:
                job.call(job=job.name, **job.arguments)
            except Exception as error:
                cause = sentence(error)
            else:
                yield Event("end", job, seconds=1.0)
                continue
        lost[job.name] = cause
        yield Event(kind, job, error=cause)


def carried_out(values: Mapping[str, Any], out: Path, **more: Any) -> dict[str, Any]:
    """``bench.json`` of a grid."""
    *_, last = bench.carry_out(bench.resolve(values), out, **more)
    return last["bench"]


def evaluated(
    person: float | None, crate: float | None = 50.0, **more: float | None
) -> dict[str, Any]:
    """What an evaluation says of one task: all figures alike, but those of ``more``."""
    names = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR")
    each = {"person": dict.fromkeys(names, person), "crate": dict.fromkeys(names, crate)}
    each["person"] |= more
    return {"categories": each}
