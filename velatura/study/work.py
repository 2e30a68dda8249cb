"""What workers do: each takes the study's folder, reads its configuration, writes one thing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from velatura import plugins
from velatura.config import build, read_toml
from velatura.data._release import coded, open_release
from velatura.experiment import (
    Section,
    build_anonymizer,
    learns,
    load_anonymizer,
    load_data,
    raw_network,
    release,
    train,
)
from velatura.jobs import tell
from velatura.layout import ClipSet, Labels, Splits
from velatura.protocols import action, identity, inversion, privacy
from velatura.protocols._fresh import START, Standardised, Statistics, asked, examine, statistics
from velatura.protocols._fresh import Config as Evaluation
from velatura.study.data import Data, examples, load_all
from velatura.study.file import RAW, Study, resolve_study
from velatura.study.places import (
    IDENTITY,
    INVERSION,
    INVERTED,
    KNOWS,
    RECOVERED,
    SCRATCH,
    curve_path,
    release_name,
    score_path,
    seeds_of,
    start_path,
    statistics_name,
)
from velatura.training import checkpoint, fit, loop, windows


@lru_cache(maxsize=1)  # a worker does many jobs of one study
def _open(folder: str) -> tuple[Study, Data, loop.Fabric]:
    study = resolve_study(read_toml(Path(folder) / "config.toml"))
    return study, load_all(study), loop.fabric(study.base.loop)


def _examiner_seed(study: Study, seed: int) -> int:
    """Different for every seed of the study and of the examiner; training uses none of them."""
    return 100 * study.base.seed + seed


def builder(labels: Labels, network: str, cfg: Evaluation) -> Callable[[int], Any]:
    """What makes a target or an attacker, given how many answers it has."""
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
        builder(labels, network, cfg), None, settings, cfg, study.base.batches,
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
    root = Path(folder)
    train(
        study.row(row).run,
        root / "methods" / row,
        resume=True,
        raw=root / "raw",
        splits=data.clips,
        progress=_told(job),
    )


def work_release(job: str, folder: str, row: str) -> None:
    """Put all clips through one row's anonymizer; measure what it did to them."""
    study, data, fabric = _open(folder)
    out = Path(folder) / "rows" / row
    out.mkdir(parents=True, exist_ok=True)
    (out / "release.json").unlink(missing_ok=True)  # it says that all of them are there
    anonymizer, released = anonymizer_of(study, Path(folder), row), []
    figures: dict[str, Any] = {}
    for i, part in enumerate(data.parts):
        path = out / release_name(part.name)
        let_out = release(anonymizer, part, path, fabric)
        if part is data.clips.test:  # what the anonymizer changed, not what a codec does
            changes = (_rms_change(part.video(k), let_out.video(k)) for k in range(len(part)))
            figures["rms"] = list(changes)
        released.append(as_coded(let_out, path, study, row))
        tell(job, i + 1, len(data.parts))
    seen = released[2]
    for part in released:
        if part.name.endswith("/train"):
            known = statistics(part)
            path = out / statistics_name(part.name)
            np.savez(path, mean=known.mean, deviation=known.deviation)
    if (bound := clip_bound(study.row(row).run.method.config)) is not None:
        figures["bound"] = bound
    (shown,) = windows.even(seen, examples(data.clips), study.base.batches)
    np.savez_compressed(out / "examples.npz", frames=shown.permute(0, 1, 3, 4, 2).numpy())
    checkpoint.write_atomically(out / "release.json", json.dumps(figures).encode())


def anonymizer_of(study: Study, folder: Path, row: str) -> Any:
    """A row's anonymizer, frozen."""
    made = study.row(row)
    if learns(made.run):
        return load_anonymizer(folder / "methods" / made.maker, made.run.loop.device)
    return build_anonymizer(made.run)


def as_coded(released: ClipSet, path: Path, study: Study, row: str) -> ClipSet:
    """A release as it comes out of the codec, in its place; out of none, as it is."""
    through = study.row(row).coded or study.evaluation
    return coded(released, path, through.codec, through.crf) if through.codec else released


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
        _seen(Path(folder), row, splits, cfg), labels, builder(labels, network, cfg), start,
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
    fixed = builder(labels, network, cfg)(len(test.label_names(labels)))
    fixed.load_state_dict(checkpoint.load(start_path(folder, labels, network))[0]["network"])
    return _tensor(asked(fixed.to(fabric.device), test, labels, window, fabric, cfg.mirror))


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
            released = release(anonymizer_of(study, root, row), train, more, fabric)
            released = as_coded(released, more, study, row)
            seen = seen._replace(train=as_seen(released, statistics(released), cfg))
        elif share < 1:
            seen = seen._replace(train=_some(seen.train, share))
        start = None
        if cfg.start == "raw":
            start = checkpoint.load(start_path(root, "attributes", network))[0]["network"]
        settings = cfg.learning("attributes")
        settings = dataclasses.replace(settings, epochs=max(round(stretch * settings.epochs), 1))
        found = examine(
            seen, "attributes", builder("attributes", network, cfg), start, settings, cfg,
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
    as_raw = as_seen(test, _known(root, RAW, splits.test), cfg)
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
        recovered = as_seen(test, _known(root, RAW, splits.test), cfg)
    found = identity.identify(
        raw, _seen(root, row, splits, cfg), fit.prepare(knows, fabric.device), study.base.batches,
        _examiner_seed(study, cfg.seeds[0]), fabric, settings, recovered, _told(job),
    )  # fmt: skip
    checkpoint.write_atomically(out / IDENTITY, json.dumps(found).encode())


def _raw(folder: Path, splits: Splits, cfg: Evaluation) -> Splits:
    """Raw video as who knows it well prepares it."""
    return Splits(*(as_seen(part, _known(folder, RAW, part), cfg) for part in splits))


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
    return as_seen(released, _known(folder, known_of, part), cfg)


def _known(folder: Path, row: str, part: ClipSet) -> Statistics:
    """What is known of every pixel of a row's release."""
    path = folder / "rows" / row / statistics_name(part.name)
    with np.load(path, allow_pickle=False) as file:
        return Statistics(file["mean"], file["deviation"])


def as_seen(released: ClipSet, known: Statistics, cfg: Evaluation) -> ClipSet:
    """A release as its examiners see it: standardised, each pixel by itself, or as it is."""
    if not cfg.standardise:
        return released
    seen = Standardised(released.frames, known)
    return released.with_frames(seen, released.name, released.fingerprint)


def _tensor(scores: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(scores))
