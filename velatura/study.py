"""A study: several methods on one data set, each attacked by fresh networks, in one table.

A study file is a run file with ``[evaluation]`` and a list of rows; each row names a method
and what it changes:

    [[rows]]
    name = "penalty_0.1"
    method = { name = "penalty", bound = 0.1 }

or the folder of a run that is measured as it is, wherever it was trained:

    [[rows]]
    name = "novel"
    from = "runs/ucf101"

The folder of a study:

    config.toml         the resolved study, which repeats it
    data.json           fingerprints of its data, and of the anonymizer where one was given
    raw/                networks trained on raw clips: where f_T, adversaries and examiners start
    methods/ROW/        run folder of a learned row
    rows/ROW/           what ROW releases (removed once examined), and its examiners' scores
    failed.json         jobs that broke and why, where the rest was to go on
    records.jsonl       every measurement; summary.json, sheet.npz: what the report reads
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from velatura import metrics, plugins
from velatura.config import build, digest, plain, read_toml, to_toml
from velatura.data._release import coded, open_release
from velatura.errors import BadInput, Failure, unknown
from velatura.experiment import (
    SEEN,
    Run,
    Section,
    bearers,
    build_anonymizer,
    check_people,
    check_players,
    check_role,
    check_sizes,
    fingerprint,
    kept_apart,
    learns,
    load_anonymizer,
    load_data,
    load_private,
    locked,
    looks_back,
    raw_network,
    release,
    resolve,
    train,
    versions,
)
from velatura.jobs import Event, Job, tell
from velatura.jobs import run as run_jobs
from velatura.layout import LEAKY, ClipSet, Labels, Splits
from velatura.protocols import action, identity, inversion, privacy
from velatura.protocols._fresh import START, Standardised, Statistics, examine, statistics
from velatura.protocols._fresh import Config as Evaluation
from velatura.training import checkpoint, fit, loop, windows

__all__ = ["Row", "Study", "carry_out", "resolve_study"]

SCHEMA = 2  # of summary.json; without the key it is 1, which had no rungs
RAW = "raw"  # the row that every other one is measured against


@dataclass(frozen=True)
class Row:
    """One line of the table: its label and the run that makes its anonymizer.

    Attributes:
        source: the folder of a run that is measured as it is; None where the study trains.
    """

    name: str
    run: Run
    source: Path | None = None


@dataclass(frozen=True)
class Study:
    """A resolved study file."""

    title: str
    base: Run
    evaluation: Evaluation
    rows: tuple[Row, ...]

    def values(self) -> dict[str, Any]:
        """As it stands in a study file."""
        rows = [
            {
                "name": r.name,
                "method": r.run.method.values(),
                "anonymizer": r.run.anonymizer.values(),
                **({"from": str(r.source)} if r.source else {}),
            }
            for r in self.rows
        ]
        base = {k: v for k, v in self.base.values().items() if k not in ("method", "anonymizer")}
        return {"title": self.title, **base, "evaluation": plain(self.evaluation), "rows": rows}

    def toml(self) -> str:
        """The study file that repeats this study."""
        values = self.values()
        rows = values.pop("rows")
        return to_toml(values) + "".join(
            f"\n[[rows]]\nname = {json.dumps(r['name'])}\n"
            f"method = {_inline(r['method'])}\nanonymizer = {_inline(r['anonymizer'])}\n"
            + (f"from = {json.dumps(r['from'])}\n" if "from" in r else "")
            for r in rows
        )

    def science(self) -> dict[str, Any]:
        """The values without the services; where a row was trained is told by its weights."""
        values = {k: v for k, v in self.values().items() if k not in ("loop", "title")}
        values["rows"] = [{k: v for k, v in r.items() if k != "from"} for r in values["rows"]]
        return {**values, "clip_gradient": self.base.loop.clip_gradient}


def _inline(values: Mapping[str, Any]) -> str:
    lines = to_toml(values).strip().splitlines()
    return "{ " + ", ".join(lines) + " }"


def resolve_study(values: Mapping[str, Any]) -> Study:
    """Check a study file's plain values; the raw row is added where it is missing.

    Raises:
        BadInput: what a run file's check raises, a row without a name, or two of one name.
    """
    values = dict(values)
    title = str(values.pop("title", "A study"))
    given = values.pop("rows", [])
    if not isinstance(given, list) or not all(isinstance(r, Mapping) for r in given):
        raise BadInput("rows: expected a list of tables, each [[rows]] with a name and a method.")
    examined = values.pop("evaluation", {})
    if not isinstance(examined, Mapping):
        raise BadInput(f"evaluation: expected a section [evaluation], got {examined!r}.")
    evaluation = build(Evaluation, examined, "evaluation")
    base = resolve({**values, "method": {"name": "identity"}})
    rows = []
    for index, row in enumerate(given):
        extra = set(row) - {"name", "method", "anonymizer", "from"}
        if extra or not {"method", "from"} & set(row):
            raise BadInput(
                f"rows[{index}]: expected the keys name, method and optionally anonymizer, or name "
                f"and from, got {sorted(row)}."
            )
        source = Path(str(row["from"])) if "from" in row else None
        if source and ("method" not in row or source.exists()):
            row = _as_made(row, source, index, base.held_out)
        changed = {**values, "method": row["method"]}
        if "anonymizer" in row:
            changed["anonymizer"] = row["anonymizer"]
        run = resolve(changed)
        name = str(row.get("name", run.method.name))
        if not names_a_folder(name):
            raise BadInput(
                f"rows[{index}]: the name {name!r} becomes a folder; use letters, digits, . _ -"
            )
        if name == RAW and run.method.name != "identity":
            raise BadInput(
                f"rows[{index}]: the row 'raw' is what others are measured against; its method is "
                f"identity, not {run.method.name}. Name this one otherwise."
            )
        rows.append(Row(name, run, source))
    if RAW not in [r.name for r in rows]:
        rows.insert(0, Row(RAW, base))
    names = [r.name for r in rows]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"Two rows are named {name!r}; give each a name of its own.")
    examiners = [*evaluation.targets, *evaluation.attackers, *evaluation.scratch]
    for name in evaluation.networks:
        if name not in examiners:
            raise unknown("examiner of this study", name, examiners)
    for name in evaluation.targets:
        check_role(name, "classifier")
        action.network(name, 2, evaluation.networks.get(name))
    for name in (*evaluation.attackers, *evaluation.scratch):
        privacy.network(name, 2, evaluation.networks.get(name))
    if max(evaluation.curve, default=0) > 1 and not hasattr(
        plugins.load("data", base.data.name), "more"
    ):
        raise BadInput(
            f"evaluation.curve asks for more clips than {base.data.name} has; only the generated "
            "people can be made more of. Leave out what is above 1."
        )
    build(inversion.Config, evaluation.inversion or {}, "evaluation.inversion")
    build(identity.Config, evaluation.identity or {}, "evaluation.identity")
    return Study(title, base, evaluation, tuple(rows))


def _as_made(
    row: Mapping[str, Any], source: Path, index: int, held_out: tuple[str, ...]
) -> dict[str, Any]:
    """A row with the method and the anonymizer of the run that it is from.

    Raises:
        BadInput: no finished run, one of another method than the row says, or one that was told
            what this study holds out.
    """
    made = _made_by(source)
    if told := sorted({*held_out} - {*read_toml(source / "config.toml").get("held_out", ())}):
        raise BadInput(
            f"rows[{index}]: the run in {source} was told {', '.join(told)}, which this study "
            "holds out; take a run that was not, or hold out what it did."
        )
    said, is_of = (
        str(of["method"].get("name")) for of in ({"method": made["method"], **row}, made)
    )
    if said != is_of:
        raise BadInput(
            f"rows[{index}]: the run in {source} is of {is_of}, and the row says {said}; leave "
            "method out where from stands."
        )
    return {**row, **made}


def _made_by(source: Path) -> dict[str, Any]:
    """The method and the anonymizer of a finished run, as a row says them.

    Raises:
        BadInput: the folder holds no finished run.
    """
    load_anonymizer(source, "cpu")  # says what is wrong with it
    values = read_toml(source / "config.toml")
    return {key: values[key] for key in ("method", "anonymizer") if key in values}


def names_a_folder(name: str) -> bool:
    return name.replace("_", "").replace("-", "").replace(".", "").isalnum()


# What workers do. Each takes the study's folder, reads its configuration, and writes one thing.


class Data(NamedTuple):
    """What a study looks at: clips with actions, and what bears the private attributes.

    Attributes:
        clips: the data set.
        bearers: the same one, or the images of ``[private]``.
        private: those images, where there are any, also where nothing is measured on them.
    """

    clips: Splits
    bearers: Splits
    private: Splits | None

    def of(self, labels: Labels) -> Splits:
        """Whose labels these are."""
        return self.clips if labels == "actions" else self.bearers

    @property
    def fingerprint(self) -> str:
        """Of all of it."""
        return fingerprint(self.clips, self.private)

    @property
    def parts(self) -> list[ClipSet]:
        """Every split that is released, once."""
        return [*self.clips, *(self.bearers if self.bearers is not self.clips else ())]


def load_all(study: Study, progress: Callable[[str, int, int], None] | None = None) -> Data:
    """Clips, and the bearers of private attributes.

    Raises:
        BadInput: as of both; windows that do not fit; or a row that looks from frame to frame,
            to be measured on images, which stand still: what it leaves of a person in motion
            cannot be seen on them, and it would look private.
    """
    clips = load_data(study.base, progress)
    private = kept_apart(clips, load_private(study.base, progress))
    data = Data(clips, bearers(clips, private), private)
    for part in data.parts:
        windows.check(part, windows.of(part, study.base.batches))
    cfg = study.evaluation
    attackers = (*cfg.attackers, *cfg.scratch)
    for names, splits in ((cfg.targets, clips), (attackers, data.bearers)):
        settings = {name: cfg.networks.get(name, {}) for name in names}
        check_sizes(study.base, splits, others=settings)
    if data.bearers is not clips:
        for row in study.rows:
            if not learns(row.run) and looks_back(build_anonymizer(row.run)):
                raise BadInput(
                    f"Row {row.name}: {row.run.method.name} looks from frame to frame, and private "
                    "attributes are measured on images here, which stand still. Leave the row "
                    "out, or use videos that have attributes of their own."
                )
    return data


@lru_cache(maxsize=1)  # a worker does many jobs of one study
def _open(folder: str) -> tuple[Study, Data, loop.Fabric]:
    study = resolve_study(read_toml(Path(folder) / "config.toml"))
    return study, load_all(study), loop.fabric(study.base.loop)


def _examiner_seed(study: Study, seed: int) -> int:
    """Different for every seed of the study and of the examiner; training uses none of them."""
    return 100 * study.base.seed + seed


def _builder(labels: Labels, network: str, cfg: Evaluation) -> Callable[[int], Any]:
    protocol = action if labels == "actions" else privacy
    return partial(protocol.network, network, settings=cfg.networks.get(network))


def learner(labels: Labels, network: str) -> Callable[..., Any] | None:
    """How an attacker without a gradient learns; None for all others."""
    own = plugins.load("attackers", network) if labels == "attributes" else None
    return getattr(own, "fit", None)


def _told(job: str) -> Callable[..., None]:
    return lambda done, total, terms=None: tell(job, done, total, terms)


def work_raw(job: str, folder: str, role: str, model: dict[str, Any], labels: Labels) -> None:
    """Train one of the networks that training starts from."""
    study, data, fabric = _open(folder)
    values = dict(model)
    name = values.pop("name")
    section = Section(name, build(plugins.config_class("models", name), values, "target"))
    raw_network(
        section, labels, study.base, data.of(labels), fabric, Path(folder) / "raw", role, _told(job)
    )


def work_start(job: str, folder: str, labels: Labels, network: str) -> None:
    """Train one examiner on raw clips: where its kind starts on every release, at every seed."""
    study, data, fabric = _open(folder)
    cfg = study.evaluation
    settings = dataclasses.replace(cfg.learning(labels), epochs=cfg.start_epochs)
    found = examine(
        _seen(Path(folder), RAW, data.of(labels), cfg), labels,
        _builder(labels, network, cfg), None, settings, cfg, study.base.batches,
        _examiner_seed(study, START), fabric, _told(job), learner(labels, network),
    )  # fmt: skip
    path = start_path(Path(folder), labels, network)
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(
        path, {"network": found.weights, "scores": _tensor(found.scores)}, {"network": network}
    )


def work_train(job: str, folder: str, row: str) -> None:
    """Train one learned row in its run folder."""
    study, data, _ = _open(folder)
    run = next(r.run for r in study.rows if r.name == row)
    root = Path(folder)
    train(
        run,
        root / "methods" / row,
        resume=True,
        raw=root / "raw",
        splits=data.clips,
        progress=_told(job),
    )


def work_release(job: str, folder: str, row: str) -> None:
    """Put all clips through one row's anonymizer; measure what it did to them."""
    study, data, fabric = _open(folder)
    run = next(r.run for r in study.rows if r.name == row)
    out = Path(folder) / "rows" / row
    out.mkdir(parents=True, exist_ok=True)
    (out / "release.json").unlink(missing_ok=True)  # it says that all of them are there
    anonymizer, released = _anonymizer(study, Path(folder), row), []
    figures: dict[str, Any] = {}
    for i, part in enumerate(data.parts):
        path = out / release_name(part.name)
        let_out = release(anonymizer, part, path, fabric)
        if part is data.clips.test:  # what the anonymizer changed, not what a codec does
            changes = (_rms_change(part.video(k), let_out.video(k)) for k in range(len(part)))
            figures["rms"] = list(changes)
        released.append(_coded(let_out, path, study.evaluation))
        tell(job, i + 1, len(data.parts))
    seen = released[2]
    for part in released:
        if part.name.endswith("/train"):
            known = statistics(part)
            path = out / statistics_name(part.name)
            np.savez(path, mean=known.mean, deviation=known.deviation)
    if (bound := clip_bound(run.method.config)) is not None:
        figures["bound"] = bound
    (shown,) = windows.even(seen, examples(data.clips), study.base.batches)
    np.savez_compressed(out / "examples.npz", frames=shown.permute(0, 1, 3, 4, 2).numpy())
    checkpoint.write_atomically(out / "release.json", json.dumps(figures).encode())


def _anonymizer(study: Study, folder: Path, row: str) -> Any:
    """A row's anonymizer, frozen."""
    run = next(r.run for r in study.rows if r.name == row)
    if learns(run):
        return load_anonymizer(folder / "methods" / row, run.loop.device)
    return build_anonymizer(run)


def _coded(released: ClipSet, path: Path, cfg: Evaluation) -> ClipSet:
    """A release as it comes out of the codec, in its place."""
    return coded(released, path, cfg.codec, cfg.crf) if cfg.codec else released


def clip_bound(method: Any) -> float | None:
    """The bound of a method on what is measured, the change of a whole video in units of the
    picture; None where it has none, or one on something else."""
    if (getattr(method, "space", None), getattr(method, "per", None)) != ("unit", "clip"):
        return None
    bound: float | None = getattr(method, "bound", None)
    return bound


def _rms_change(clip: np.ndarray, other: np.ndarray) -> float:
    """Root mean square difference of two clips of bytes, intensities in [0, 1]."""
    difference = clip.astype(np.float32).ravel()
    difference -= other.ravel()
    return float(np.sqrt(np.dot(difference, difference) / difference.size) / 255)


def work_examine(
    job: str, folder: str, row: str, labels: Labels, network: str, seed: int, scratch: bool = False
) -> None:
    """Fit one fresh network on one row's release; ``scratch``: from random weights in any case."""
    study, data, fabric = _open(folder)
    cfg, splits = study.evaluation, data.of(labels)
    start, state = None, {}
    if cfg.start == "raw" and not scratch:
        start = checkpoint.load(start_path(Path(folder), labels, network))[0]["network"]
        if seed == seeds_of(cfg, labels)[0]:
            # The examiner as it was before it saw this release, given the pixels as it knows
            # them: what a camera's present model, or an attacker who does not adapt, reads.
            test = _as_raw(Path(folder), row, splits.test, cfg)
            state["static"] = _raw_trained(study, Path(folder), labels, network, test, fabric)
    settings = cfg.learning(labels)
    if scratch:  # as long as the others learnt raw video
        settings = dataclasses.replace(settings, epochs=cfg.start_epochs)
    found = examine(
        _seen(Path(folder), row, splits, cfg), labels, _builder(labels, network, cfg), start,
        settings, cfg, study.base.batches, _examiner_seed(study, seed), fabric, _told(job),
        learner(labels, network),
    )  # fmt: skip
    state["scores"] = _tensor(found.scores)
    about = {"row": row, "network": network, "seed": seed}
    what = SCRATCH if scratch else labels
    checkpoint.save(score_path(Path(folder), row, what, network, seed), state, about)


def _raw_trained(
    study: Study, folder: Path, labels: Labels, network: str, test: ClipSet, fabric: loop.Fabric
) -> Any:
    """Scores of the examiner that was trained on raw video, as it is."""
    cfg, window = study.evaluation, study.base.batches
    fixed = _builder(labels, network, cfg)(len(test.label_names(labels)))
    fixed.load_state_dict(checkpoint.load(start_path(folder, labels, network))[0]["network"])
    scores = fit.predict(fixed.to(fabric.device), test, labels, window, fabric, mirror=cfg.mirror)
    return _tensor(scores)


def work_curve(job: str, folder: str, row: str, share: float, stretch: float) -> None:
    """Fit the first attacker with more, or less: how much does a row give to who has much?

    Args:
        share: of the training clips; above 1, clips of more people go through the anonymizer.
        stretch: times the epochs.
    """
    study, data, fabric = _open(folder)
    cfg, root, splits = study.evaluation, Path(folder), data.bearers
    network, seed = cfg.attackers[0], cfg.seeds[0]
    out = root / "rows" / row
    more = out / f"more-{share:g}.npy"
    try:
        seen = _seen(root, row, splits, cfg)
        if share > 1:
            train = _more(study, share).train
            released = release(_anonymizer(study, root, row), train, more, fabric)
            released = _coded(released, more, cfg)
            seen = seen._replace(train=_standardised(released, statistics(released), cfg))
        elif share < 1:
            seen = seen._replace(train=_some(seen.train, share))
        start = None
        if cfg.start == "raw":
            start = checkpoint.load(start_path(root, "attributes", network))[0]["network"]
        settings = cfg.learning("attributes")
        settings = dataclasses.replace(settings, epochs=max(round(stretch * settings.epochs), 1))
        found = examine(
            seen, "attributes", _builder("attributes", network, cfg), start, settings, cfg,
            study.base.batches, _examiner_seed(study, seed), fabric, _told(job),
            learner("attributes", network),
        )  # fmt: skip
    finally:
        more.unlink(missing_ok=True)
    about = {"data": share, "epochs": settings.epochs, "by": f"{network}/{seed}"}
    path = curve_path(root, row, share, stretch)
    checkpoint.save(path, {"scores": _tensor(found.scores)}, about)


def work_invert(job: str, folder: str, row: str) -> None:
    """Undo one row's release with a decoder that learnt on the validation people, whom neither the
    anonymizer nor its adversaries trained on; and look at it with what was trained on raw video."""
    study, data, fabric = _open(folder)
    cfg, root, splits = study.evaluation, Path(folder), data.bearers
    settings = build(inversion.Config, cfg.inversion or {}, "evaluation.inversion")
    seen, window = _seen(root, row, splits, cfg), study.base.batches
    seed = _examiner_seed(study, START)
    inverter = inversion.fit_inverter(
        seen.val, splits.val, window, seed, fabric, settings, _told(job)
    )
    out = root / "rows" / row
    test = inversion.recover(inverter, seen.test, out / RECOVERED, window, fabric)
    as_raw = _standardised(test, _known(root, RAW, splits.test), cfg)
    state = {
        network: _raw_trained(study, root, "attributes", network, as_raw, fabric)
        for network in cfg.attackers
    }
    about = inversion.fidelity(test, splits.test)
    checkpoint.write_atomically(out / INVERSION, json.dumps(about).encode())
    checkpoint.save(out / INVERTED, state, {"row": row})


def work_know(job: str, folder: str) -> None:
    """Train the network that knows the training people from raw video; all rows begin with it."""
    study, data, fabric = _open(folder)
    root, cfg = Path(folder), study.evaluation
    settings = build(identity.Config, cfg.identity or {}, "evaluation.identity")
    raw, seed = _raw(root, data.clips, cfg), _examiner_seed(study, START)
    knows = identity.fit_embedder(
        [raw.train], [raw.val], study.base.batches, seed, fabric, settings, progress=_told(job)
    )
    path = root / "raw" / KNOWS
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(path, {"knows": knows.state_dict()}, {})


def work_identity(job: str, folder: str, row: str) -> None:
    """Look for the test people in what one row releases."""
    study, data, fabric = _open(folder)
    root, cfg, splits = Path(folder), study.evaluation, data.clips
    settings = build(identity.Config, cfg.identity or {}, "evaluation.identity")
    knows = identity.network(settings, identity.outputs(splits.train))
    knows.load_state_dict(checkpoint.load(root / "raw" / KNOWS)[0]["knows"])
    out, raw = root / "rows" / row, _raw(root, splits, cfg)
    recovered = None
    if cfg.inversion is not None and data.bearers is splits:
        test = open_release(out / RECOVERED, splits.test)
        recovered = _standardised(test, _known(root, RAW, splits.test), cfg)
    found = identity.identify(
        raw, _seen(root, row, splits, cfg), fit.prepare(knows, fabric.device), study.base.batches,
        _examiner_seed(study, cfg.seeds[0]), fabric, settings, recovered, _told(job),
    )  # fmt: skip
    checkpoint.write_atomically(out / IDENTITY, json.dumps(found).encode())


def _raw(folder: Path, splits: Splits, cfg: Evaluation) -> Splits:
    """Raw video as who knows it well prepares it."""
    return Splits(*(_standardised(part, _known(folder, RAW, part), cfg) for part in splits))


def _some(train: ClipSet, share: float) -> ClipSet:
    """A share of a training split: of its groups, as an attacker who knows fewer people has."""
    groups = np.unique(train.groups)
    kept = np.random.default_rng(0).permutation(groups)[: max(round(share * len(groups)), 1)]
    return train.part(np.flatnonzero(np.isin(train.groups, kept)))


def _more(study: Study, factor: float) -> Splits:
    """The data with a larger training split; its other splits stay."""
    section = study.base.data
    larger = plugins.load("data", section.name).more(section.config, factor)
    return load_data(dataclasses.replace(study.base, data=Section(section.name, larger)))


def _seen(folder: Path, row: str, splits: Splits, cfg: Evaluation) -> Splits:
    """A row's release as its examiners see it: standardised, or as it is."""
    return Splits(*(_prepared(folder, row, row, part, cfg) for part in splits))


def _as_raw(folder: Path, row: str, test: ClipSet, cfg: Evaluation) -> ClipSet:
    """A row's released test split, prepared with the raw video's statistics."""
    return _prepared(folder, row, RAW, test, cfg)


def _prepared(folder: Path, row: str, known_of: str, part: ClipSet, cfg: Evaluation) -> ClipSet:
    released = open_release(folder / "rows" / row / release_name(part.name), part)
    return _standardised(released, _known(folder, known_of, part), cfg)


def _known(folder: Path, row: str, part: ClipSet) -> Statistics:
    """What is known of every pixel of a row's release."""
    path = folder / "rows" / row / statistics_name(part.name)
    with np.load(path, allow_pickle=False) as file:
        return Statistics(file["mean"], file["deviation"])


def _standardised(released: ClipSet, known: Statistics, cfg: Evaluation) -> ClipSet:
    if not cfg.standardise:
        return released
    seen = Standardised(released.frames, known)
    return released.with_frames(seen, released.name, released.fingerprint)


def release_name(part: str) -> str:
    """``release-people-test.npy`` of ``people/test``."""
    return f"release-{part.replace(': ', '-').replace('/', '-')}.npy"


def statistics_name(part: str) -> str:
    """``statistics-people.npz`` of any split of people."""
    return f"statistics-{part.rpartition('/')[0].replace(': ', '-')}.npz"


def _tensor(scores: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(scores))


def start_path(folder: Path, labels: str, network: str) -> Path:
    """Where an examiner trained on raw clips is kept."""
    return folder / "raw" / "examiners" / f"{labels}-{network}.safetensors"


SCRATCH = "scratch"  # in place of labels: an attacker from random weights, whatever start says


def score_path(folder: Path, row: str, labels: str, network: str, seed: int) -> Path:
    """Where an examiner's test scores are kept."""
    return folder / "rows" / row / f"{labels}-{network}-{seed}.safetensors"


def curve_path(folder: Path, row: str, share: float, stretch: float) -> Path:
    """Where the scores of one point of the attack-budget curve are kept."""
    return folder / "rows" / row / f"curve-{share:g}-{stretch:g}.safetensors"


def examples(splits: Splits, count: int = 6) -> list[int]:
    """Test items to show: of different actions and people, the same for every row."""
    chosen: list[int] = []
    for item, (what, who) in enumerate(zip(splits.test.actions, splits.test.groups, strict=True)):
        if what not in splits.test.actions[chosen] and who not in splits.test.groups[chosen]:
            chosen.append(item)
        if len(chosen) == count:
            break
    return chosen


# What the parent does.


def kinds_of(cfg: Evaluation) -> list[tuple[Labels, str]]:
    """Every kind of examiner: what it learns, and its network."""
    targets: list[tuple[Labels, str]] = [("actions", name) for name in cfg.targets]
    return [*targets, *(("attributes", name) for name in cfg.attackers)]


def seeds_of(cfg: Evaluation, labels: Labels) -> tuple[int, ...]:
    """The seeds of targets, or of attackers; the first one's job also scores the examiner as it
    was before it saw the release."""
    return cfg.target_seeds if labels == "actions" else cfg.seeds


def fits_of(cfg: Evaluation) -> list[tuple[Labels, str, int]]:
    """Every examiner of one row: what it learns, its network, its seed."""
    return [
        (labels, name, seed) for labels, name in kinds_of(cfg) for seed in seeds_of(cfg, labels)
    ]


def points_of(cfg: Evaluation) -> list[tuple[float, float]]:
    """Of the attack-budget curve: (share of the training clips, times the epochs)."""
    return [*((share, 1.0) for share in cfg.curve), *((1.0, s) for s in cfg.curve if s > 1)]


def outputs_of(cfg: Evaluation, folder: Path, row: str) -> list[Path]:
    """The files that a row's examination leaves; once all are there, it is measured."""
    found = [score_path(folder, row, *which) for which in fits_of(cfg)]
    found += [score_path(folder, row, SCRATCH, n, s) for n in cfg.scratch for s in cfg.seeds]
    found += [curve_path(folder, row, *point) for point in points_of(cfg)]
    out = folder / "rows" / row
    found += [out / INVERTED] if cfg.inversion is not None else []
    return found + ([out / IDENTITY] if cfg.identity is not None else [])


INVERTED, INVERSION, IDENTITY = "inverted.safetensors", "inversion.json", "identity.json"
RECOVERED, KNOWS = "recovered.npy", "identity.safetensors"


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
        if learns(row.run):
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
    row = next(r for r in study.rows if r.name == job.arguments["row"])
    return int(getattr(row.run.method.config, "steps", 0))


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


def read_scores(study: Study, folder: Path, row: str) -> tuple[metrics.Fits, metrics.Fits]:
    """(targets, attackers): (network, seed) to test scores of one row.

    An attacker's name says its rung, where it is not A4: "A5 frame_cnn".
    """
    cfg = study.evaluation
    targets: dict[tuple[str, int], np.ndarray] = {}
    attackers: dict[tuple[str, int], np.ndarray] = {}
    fresh = "" if cfg.start == "raw" else "A3 "
    for labels, network, seed in fits_of(cfg):
        state, _ = checkpoint.load(score_path(folder, row, labels, network, seed))
        if labels == "actions":
            targets[network, seed] = state["scores"].numpy()
            continue
        attackers[fresh + network, seed] = state["scores"].numpy()
        if "static" in state:
            attackers[f"A2 {network}", START] = state["static"].numpy()
    for network, seed in product(cfg.scratch, cfg.seeds):
        state, _ = checkpoint.load(score_path(folder, row, SCRATCH, network, seed))
        attackers[f"A3 {network}", seed] = state["scores"].numpy()
    if cfg.inversion is not None:
        for network, scores in checkpoint.load(folder / "rows" / row / INVERTED)[0].items():
            attackers[f"A5 {network}", START] = scores.numpy()
    return targets, attackers


def summarize(study: Study, folder: Path, row: Row, data: Data) -> dict[str, Any]:
    """One row of the table, from the scores on disk."""
    train, test, read, cfg = data.clips.train, data.clips.test, data.bearers.test, study.evaluation
    targets, attackers = read_scores(study, folder, row.name)
    raw_targets, raw_attackers = read_scores(study, folder, RAW)
    out = folder / "rows" / row.name
    figures = json.loads((out / "release.json").read_text())
    change, bound = np.array(figures["rms"]), figures.get("bound")
    plugin = _plugin(cfg, out, test)
    static = [
        metrics.cmap(s, read.attributes) for (n, _), s in attackers.items() if n.startswith("A2 ")
    ]
    floors: dict[str, Any] = {}
    if data.bearers is data.clips:
        told = np.mean([_log_softmax(s) for s in targets.values()], axis=0).argmax(1)
        for key, actions in {"floor_scores": test.actions, "predicted_floor_scores": told}.items():
            floors[key] = metrics.action_floor(train.actions, train.attributes, actions)
    summary = metrics.summarize_row(
        row.name,
        row.run.method.name,
        target_scores=targets,
        attacker_scores=attackers,
        raw_target_scores=raw_targets,
        raw_attacker_scores=raw_attackers,
        actions=test.actions,
        attributes=read.attributes,
        groups=test.groups,
        attribute_names=read.attribute_names,
        used_in_training=_met(row.run),
        weights=metrics.bootstrap_weights(test.groups, cfg.replicates, 0),
        attribute_weights=metrics.bootstrap_weights(read.groups, cfg.replicates, 0),
        plugin_top1=next(iter(plugin.values()), None),
        static_cmap=max(static) if static else None,
        rms=float(change.mean()),
        bound=bound,
        beyond_bound=None if bound is None else float((change > bound).mean()),
        **floors,
    )
    summary["target_fits"] = [list(which) for which in sorted(targets)]
    if plugin:
        summary["plugin"] = plugin
    if cfg.inversion is not None:
        summary["inversion"] = json.loads((out / INVERSION).read_text())
    if cfg.identity is not None:
        summary["identity"] = json.loads((out / IDENTITY).read_text())
    if cfg.curve:
        raw_cmap = max(metrics.cmap(s, read.attributes) for s in raw_attackers.values())
        summary["budget"] = _curve(cfg, folder, row.name, read, raw_cmap)
    return summary


def _met(run: Run) -> set[str]:
    """The architectures that training used: of the target, and of the budget or adversaries."""
    if not learns(run):
        return set()
    adversaries = getattr(run.method.config, "adversaries", ())
    return {run.target.name, *(adversaries or (run.budget.name,))}


def _plugin(cfg: Evaluation, out: Path, test: ClipSet) -> dict[str, float]:
    """Top-1 of each target that was trained on raw video and never saw the release."""
    found = {}
    for network in cfg.targets if cfg.start == "raw" else ():
        path = score_path(out.parent.parent, out.name, "actions", network, cfg.target_seeds[0])
        scores = checkpoint.load(path)[0]["static"].numpy()
        found[network] = metrics.top1(scores, test.actions)
    return found


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max(1, keepdims=True)
    logs: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return logs


def _curve(
    cfg: Evaluation, folder: Path, row: str, read: ClipSet, raw_cmap: float
) -> list[dict[str, Any]]:
    """The attack-budget curve of a row, by rising data and then epochs."""
    chance = float(metrics.prevalence(read.attributes).mean())
    points = []
    for share, stretch in points_of(cfg):
        state, about = checkpoint.load(curve_path(folder, row, share, stretch))
        value = metrics.cmap(state["scores"].numpy(), read.attributes)
        reads = float(metrics.leakage(value, raw_cmap, chance))
        points.append({**about, "cmap": value, "L": reads if np.isfinite(reads) else None})
    return points


class Memory(threading.Thread):
    """Watches the resident memory of this process and its children; keeps the highest sum."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mb, self.over = 0.0, threading.Event()

    def __enter__(self) -> Memory:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()

    def run(self) -> None:
        import psutil

        me = psutil.Process()
        while not self.over.wait(2):  # reading it costs every process a little
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    memory = process.memory_full_info()
                    total += memory.pss if hasattr(memory, "pss") else memory.rss
                except psutil.Error:
                    continue
            self.peak_mb = max(self.peak_mb, total / 2**20)


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
            if not product.exists() and not made.source:
                check_players(made.run, data.clips, data.private)
        _enough_space(folder, data)
        taken = [made for made in study.rows if made.source]
        for made in study.rows:
            _check_seen(made, data, folder)
        _same_inputs(folder, data, taken)
        checkpoint.write_atomically(file, study.toml().encode())
        for made in taken:
            _copy_run(made, folder / "methods" / made.name)
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
                if row == RAW and not told and (found := _early(study, folder, data)):
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


def _early(study: Study, folder: Path, data: Data) -> dict[str, Any] | None:
    """What the first target and the first attacker read from raw video, once both are there."""
    fits = fits_of(study.evaluation)
    figures: dict[str, Any] = {}
    for labels in ("actions", "attributes"):
        fit_ = next(fit for fit in fits if fit[0] == labels)
        path = score_path(folder, RAW, *fit_)
        if not path.exists():
            return None
        scores = checkpoint.load(path)[0]["scores"].numpy()
        if labels == "actions":
            figures["top1"] = metrics.top1(scores, data.clips.test.actions)
        else:
            figures |= {"cmap": metrics.cmap(scores, data.bearers.test.attributes)}
            figures["attacker"] = f"{fit_[1]}/{fit_[2]}"
    return figures


def _enough_space(folder: Path, data: Data) -> None:
    """A row's release is as large as the data in bytes; it goes when the row is examined."""
    need = sum(int(np.prod(part.frames.shape)) for part in data.parts)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise BadInput(
            f"A row's release takes {need / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB "
            "free; name another disk with --out, or lower data.height and data.width."
        )


def _check_seen(row: Row, data: Data, folder: Path) -> None:
    """Refuse an anonymizer that was trained on what it would be tested on.

    One that the study trains itself has nothing to say before; one that was put into the folder, as
    a sweep does with what another world trained, is looked at like one from elsewhere.

    Raises:
        BadInput: it was; or its folder does not say what it was trained on, and the test is of
            files that it may have seen.
    """
    tested = data.clips.test.files | data.bearers.test.files
    leaky = any(part.name.startswith(LEAKY) for part in data.parts)
    where = row.source or folder / "methods" / row.name
    there = row.source or (where / "anonymizer.safetensors").exists()
    if not there or not learns(row.run) or not tested or leaky:
        return
    path = where / SEEN
    if not path.exists():
        raise BadInput(
            f"Row {row.name}: {where} does not say which files it was trained on (it has no "
            f"{SEEN}), and this study tests on files; train it again."
        )
    if both := tested & set(path.read_text().splitlines()):
        raise BadInput(
            f"Row {row.name}: the run in {where} was trained on {len(both)} of the "
            f"{len(tested)} files that this study tests on, first {min(both)}; take a run that was "
            "not, or another test."
        )


def _same_inputs(folder: Path, data: Data, taken: list[Row]) -> None:
    """Note what a study is of, or refuse to continue it on something else."""
    path = folder / "data.json"
    several = {"data": data.clips, "private": data.private}
    now = {
        f"{role}/{split}": part.fingerprint
        for role, splits in several.items()
        if splits is not None
        for split, part in zip(Splits._fields, splits, strict=True)
    }
    for row in taken:
        product = _product(row, folder)
        if product.exists():  # a fixed filter has none
            now[f"anonymizer/{row.name}"] = hashlib.sha256(product.read_bytes()).hexdigest()[:12]
    if not path.exists():
        checkpoint.write_atomically(path, json.dumps(now, indent=1).encode())
        return
    before = json.loads(path.read_text())
    # A study may gain rows, and with them anonymizers from elsewhere; nothing else.
    gained = {key for key in now if key.startswith("anonymizer/") and key not in before}
    changed = sorted(k for k in {*before, *now} - gained if before.get(k) != now.get(k))
    if changed:
        raise BadInput(
            f"{folder} holds a study of something else: {', '.join(changed)} changed since. "
            "Name another folder with --out."
        )
    if gained:
        checkpoint.write_atomically(path, json.dumps(now, indent=1).encode())


def _product(row: Row, folder: Path) -> Path:
    """The weights of a row that is measured as it is: where it was trained, or our copy."""
    name = "anonymizer.safetensors"
    there = row.source / name if row.source else Path()
    return there if there.exists() else folder / "methods" / row.name / name


def _copy_run(row: Row, destination: Path) -> None:
    """A finished run's configuration and product, into a study."""
    destination.mkdir(parents=True, exist_ok=True)
    for name in ("config.toml", "anonymizer.safetensors", "log.jsonl", SEEN):
        if row.source and (row.source / name).exists():
            shutil.copyfile(row.source / name, destination / name)


def _book(folder: Path, seconds: dict[str, float], stage: str, amount: float) -> None:
    seconds[stage] = seconds.get(stage, 0.0) + amount
    checkpoint.write_atomically(folder / "seconds.json", json.dumps(seconds).encode())


def write_summary(
    study: Study,
    folder: Path,
    data: Data,
    rows: list[dict[str, Any]],
    failed: list[dict[str, str]],
    seconds: dict[str, float],
    memory: Memory,
    command: str,
    sentences: Callable[[list[dict[str, Any]]], list[str]] | None,
) -> dict[str, Any]:
    """``records.jsonl``, ``sheet.npz`` and, last, ``summary.json``: it says that all is done."""
    splits = data.clips
    raw_attackers = read_scores(study, folder, RAW)[1]
    summary = {
        "schema": SCHEMA,
        "title": study.title,
        "command": command,
        "seed": study.base.seed,
        "dataset": splits.test.name.rpartition("/")[0],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "peak_rss_mb": round(memory.peak_mb),
        "versions": versions(),
        "config": study.values(),
        "data": {
            "fingerprint": data.fingerprint,
            **{part: len(data) for part, data in zip(Splits._fields, splits, strict=True)},
            **{
                f"{part}_people": len(np.unique(data.groups))
                for part, data in zip(Splits._fields, splits, strict=True)
            },
            **_private(data),
        },
        "chance": metrics.chance_levels(
            data.bearers.test.attributes, len(splits.test.action_names)
        ),
        "floor": _floor(data, raw_attackers),
        "rows": rows,
        **({"failed": failed} if failed else {}),
        "sentences": [*_leaks(data), *(sentences(rows) if sentences else ())],
    }
    about = {
        "config": digest(study.science()),
        "data": data.fingerprint,
        "versions": versions(),
        "seed": study.base.seed,
        "command": command,
    }
    lines = []
    for row in rows:
        for protocol in (action, privacy, inversion, identity):
            test = data.of(protocol.LABELS).test
            found = protocol.measurements(row, test, about)
            lines += [json.dumps(dataclasses.asdict(m)) for m in found]
    checkpoint.write_atomically(folder / "records.jsonl", ("\n".join(lines) + "\n").encode())
    write_sheet([row["name"] for row in rows], folder, splits)
    checkpoint.write_atomically(folder / "summary.json", json.dumps(summary, indent=1).encode())
    return summary


def _leaks(data: Data) -> list[str]:
    """What has to stand above every number of a study that trained on its test."""
    names = dict.fromkeys(part.name.rpartition("/")[0] for part in data.parts)
    if not (leaky := [name for name in names if name.startswith(LEAKY)]):
        return []
    return [f"{', '.join(leaky)}. Test videos were trained on, so these figures say too much."]


def _private(data: Data) -> dict[str, Any]:
    """The images whose attributes are read, where it is not the clips'."""
    if data.bearers is data.clips:
        return {}
    counts = {part: len(images) for part, images in zip(Splits._fields, data.bearers, strict=True)}
    return {"private": {"name": data.bearers.train.name.partition("/")[0], **counts}}


def _floor(data: Data, raw_attackers: metrics.Fits) -> dict[str, Any]:
    """What the action alone tells; images have none, so nothing is told."""
    if data.bearers is not data.clips:
        return {"cmap": None, "L": None}
    (train, _, test) = data.clips
    return metrics.summarize_floor(
        train.actions, train.attributes, test.actions, test.attributes, raw_attackers,
        test.attribute_names,
    )  # fmt: skip


def write_sheet(rows: list[str], folder: Path, splits: Splits) -> None:
    """``sheet.npz``: the same test clips under every row, (examples, T, H, W, 3) uint8 each."""
    sheet = {}
    for row in rows:
        with np.load(folder / "rows" / row / "examples.npz", allow_pickle=False) as file:
            sheet[row] = file["frames"]
    labels = [splits.test.action_names[splits.test.actions[i]] for i in examples(splits)]
    np.savez_compressed(folder / "sheet.npz", labels=np.array(labels), **sheet)


def adopt(run_folder: Path) -> dict[str, Any]:
    """A study file's plain values for one trained run beside the raw video.

    Raises:
        BadInput: the folder holds no finished run.
    """
    made = _made_by(run_folder)
    values = read_toml(run_folder / "config.toml")
    del values["method"]
    name = run_folder.resolve().name
    if name == RAW or not names_a_folder(name):
        name = str(made["method"]["name"])
    row = {"name": name, "from": str(run_folder), **made}
    return {"title": f"{name} beside raw video", **values, "rows": [row]}


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
