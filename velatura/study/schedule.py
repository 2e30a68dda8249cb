"""The jobs of a study: what each needs, and the order in which they are wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from velatura.config import digest
from velatura.experiment import learns
from velatura.jobs import Job
from velatura.layout import Labels
from velatura.study.file import RAW, Row, Study
from velatura.study.places import (
    IDENTITY,
    INVERTED,
    KNOWS,
    RECOVERED,
    SCRATCH,
    curve_path,
    fits_of,
    kinds_of,
    outputs_of,
    points_of,
    release_name,
    score_path,
    start_path,
)
from velatura.study.work import (
    work_curve,
    work_examine,
    work_identity,
    work_invert,
    work_know,
    work_raw,
    work_release,
    work_start,
    work_train,
)


def plan(study: Study, folder: Path, parts: list[str]) -> list[Job]:
    """All jobs, in the order in which they are wanted: raw first, so that rows arrive early.

    Args:
        parts: names of the splits that a row releases.
    """
    cfg, at = study.evaluation, {"folder": str(folder)}
    starts, trains, rows = [], [], []
    if cfg.start == "raw":
        for labels, network in kinds_of(cfg):
            path = start_path(folder, labels, network)
            arguments = {**at, "labels": labels, "network": network}
            name = f"start {labels} {network}"
            raw = (f"release {RAW}",)
            starts.append(Job(name, "raw networks", work_start, arguments, raw, path.exists))
    if cfg.identity is not None:
        path = folder / "raw" / KNOWS
        needed = (f"release {RAW}",)
        starts.append(Job("raw identity", "raw networks", work_know, at, needed, path.exists))
    shared: dict[str, Job] = {}
    for row in study.rows:
        needs: tuple[str, ...] = ()
        product = folder / "methods" / row.name / "anonymizer.safetensors"
        if row.coded:
            needs = (f"train {row.maker}",) if learns(row.run) else ()
        elif learns(row.run):
            wanted: list[tuple[str, dict[str, Any], Labels]] = []
            if not product.exists():  # a trained one starts from nothing any more
                wanted.append(("target", row.run.target.values(), "actions"))
                for i, name in enumerate(getattr(row.run.method.config, "adversaries", ())):
                    wanted.append((f"adversary{i}", {"name": name}, "attributes"))
            before = []
            for role, model, labels in wanted:
                name = f"raw {role} {digest(model)}"
                given: dict[str, Any] = {"role": role, "model": model, "labels": labels}
                shared.setdefault(name, Job(name, "raw networks", work_raw, {**at, **given}))
                before.append(name)
            job = Job(
                f"train {row.name}", f"train {row.name}", work_train, {**at, "row": row.name},
                tuple(before), product.exists,
            )  # fmt: skip
            trains.append(job)
            needs = (job.name,)
        rows.append((row, needs))
    # The longest training first: the last job to end decides when all is over.
    trains.sort(key=lambda job: -_steps(study, job))
    raw_networks = list(shared.values())
    released = {row.name: _row_jobs(study, folder, row, needs, parts) for row, needs in rows}
    fixed = [job for row, needs in rows if not needs for job in released[row.name]]
    learned = [job for row, needs in rows if needs for job in released[row.name]]
    first = [job for job in fixed if job.arguments["row"] == RAW]
    rest = [job for job in fixed if job.arguments["row"] != RAW]
    # One target and one attacker before the others, so that the first figures come soon.
    kinds = kinds_of(cfg)
    soon = {kinds[0], next(kind for kind in kinds if kind[0] == "attributes")}
    begin = [*starts, *first[1:]]
    early = [
        job for job in begin
        if (job.arguments.get("labels"), job.arguments.get("network")) in soon
        and "scratch" not in job.arguments
    ]  # fmt: skip
    late = [job for job in begin if job not in early]
    return [first[0], *early, *late, *raw_networks, *trains, *learned, *rest]


def _steps(study: Study, job: Job) -> int:
    return int(getattr(study.row(job.arguments["row"]).run.method.config, "steps", 0))


def _row_jobs(
    study: Study, folder: Path, row: Row, needs: tuple[str, ...], parts: list[str]
) -> list[Job]:
    cfg, at = study.evaluation, {"folder": str(folder), "row": row.name}
    outputs = outputs_of(cfg, folder, row.name)

    def released() -> bool:
        out = folder / "rows" / row.name
        whole = all((out / release_name(part)).exists() for part in parts)
        return (out / "release.json").exists() and (whole or all(p.exists() for p in outputs))

    first = Job(f"release {row.name}", "release", work_release, at, needs, released)

    def starts(*kinds: tuple[Labels, str]) -> tuple[str, ...]:
        """What has to be there before: the release, and examiners trained on raw video."""
        names = [f"start {labels} {network}" for labels, network in kinds]
        return (first.name, *(names if cfg.start == "raw" else ()))

    exams: list[Job] = []

    def exam(
        name: str, call: Callable[..., None], path: Path, needs: tuple[str, ...], **given: Any
    ) -> None:
        exams.append(Job(name, "examine", call, {**at, **given}, needs, path.exists))

    out = folder / "rows" / row.name
    attackers: list[tuple[Labels, str]] = [("attributes", name) for name in cfg.attackers]
    for labels, network, seed in fits_of(cfg):
        exam(
            f"examine {row.name} {labels} {network} {seed}", work_examine,
            score_path(folder, row.name, labels, network, seed), starts((labels, network)),
            labels=labels, network=network, seed=seed,
        )  # fmt: skip
    for network, seed in product(cfg.scratch, cfg.seeds):
        exam(
            f"examine {row.name} {SCRATCH} {network} {seed}", work_examine,
            score_path(folder, row.name, SCRATCH, network, seed), (first.name,),
            labels="attributes", network=network, seed=seed, scratch=True,
        )  # fmt: skip
    for share, stretch in points_of(cfg):
        exam(
            f"curve {row.name} {share:g} {stretch:g}", work_curve,
            curve_path(folder, row.name, share, stretch), starts(attackers[0]),
            share=share, stretch=stretch,
        )  # fmt: skip
    undone: tuple[str, ...] = ()
    if cfg.inversion is not None:
        undone = (f"invert {row.name}",)
        exam(*undone, work_invert, out / INVERTED, starts(*attackers))
        if (
            cfg.identity is not None
        ):  # which looks at what was recovered, and that goes with the row

            def recovered() -> bool:
                wanted = (out / RECOVERED, out / IDENTITY)
                return (out / INVERTED).exists() and any(path.exists() for path in wanted)

            exams[-1] = dataclasses.replace(exams[-1], done=recovered)
    if cfg.identity is not None:
        exam(
            f"identify {row.name}", work_identity, out / IDENTITY,
            (first.name, "raw identity", *undone),
        )  # fmt: skip
    return [first, *exams]
