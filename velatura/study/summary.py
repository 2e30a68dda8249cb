"""A study's figures: its rows from the scores on disk, and the files that hold them all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from velatura import metrics, plugins
from velatura.config import build, digest, plain
from velatura.experiment import Run, learns, versions
from velatura.layout import LEAKY, ClipSet, Splits
from velatura.protocols import action, identity, inversion, privacy
from velatura.protocols._fresh import START
from velatura.protocols._fresh import Config as Evaluation
from velatura.study.data import Data, examples
from velatura.study.file import RAW, Row, Study
from velatura.study.inputs import file_digest, product
from velatura.study.memory import Memory
from velatura.study.places import (
    IDENTITY,
    INVERSION,
    INVERTED,
    SCRATCH,
    curve_path,
    fits_of,
    points_of,
    score_path,
)
from velatura.training import checkpoint

SCHEMA = 2  # of summary.json; without the key it is 1, which had no rungs


def read_scores(study: Study, folder: Path, row: str) -> tuple[metrics.Fits, metrics.Fits]:
    """(targets, attackers): (network, seed) to test scores of one row.

    An attacker's name says its rung, where it is not A4: "A5 frame_cnn". One that comes with
    weights of its own knows something before it sees the release, and is no A3 whatever ``start``
    says.
    """
    cfg = study.evaluation
    targets: dict[tuple[str, int], np.ndarray] = {}
    attackers: dict[tuple[str, int], np.ndarray] = {}
    for labels, network, seed in fits_of(cfg):
        state, _ = checkpoint.load(score_path(folder, row, labels, network, seed))
        if labels == "actions":
            targets[network, seed] = state["scores"].numpy()
            continue
        fresh = cfg.start == "scratch" and not _pretrained(network, cfg)
        attackers["A3 " * fresh + network, seed] = state["scores"].numpy()
        if "static" in state:
            attackers[f"A2 {network}", START] = state["static"].numpy()
    for network, seed in ((network, seed) for network in cfg.scratch for seed in cfg.seeds):
        state, _ = checkpoint.load(score_path(folder, row, SCRATCH, network, seed))
        rung = "A4" if _pretrained(network, cfg) else "A3"
        attackers[f"{rung} {network}", seed] = state["scores"].numpy()
    if cfg.inversion is not None:
        for network, scores in checkpoint.load(folder / "rows" / row / INVERTED)[0].items():
            attackers[f"A5 {network}", START] = scores.numpy()
    return targets, attackers


def _pretrained(network: str, cfg: Evaluation) -> bool:
    """Whether an attacker starts from, or looks through, weights that were trained somewhere."""
    settings: Any = build(
        plugins.config_class("attackers", network),
        cfg.networks.get(network, {}),
        f"evaluation.networks.{network}",
    )
    says = getattr(plugins.load("attackers", network), "pretrained", None)
    return bool(says(settings) if says else getattr(settings, "weights", ""))


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
        kinds = {network for network, _ in targets} & {network for network, _ in raw_targets}
        counted = metrics.best_reader(raw_targets, kinds, test.actions)
        mine = [_log_softmax(s) for (network, _), s in targets.items() if network == counted]
        told = np.mean(mine, axis=0).argmax(1)
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
        static_cmap=max(static) if static else None,
        rms=float(change.mean()),
        bound=bound,
        beyond_bound=None if bound is None else float((change > bound).mean()),
        **floors,
    )
    for name in {*study.base.held_out} & {*summary["attributes"]}:
        summary["attributes"][name]["held_out"] = True  # no training of this study was told it
    maker = study.row(row.maker)
    if maker.source and (made := product(maker, folder)).exists():
        summary["anonymizer"] = file_digest(made)
    if row.coded:
        summary |= {key: value for key, value in plain(row.coded).items() if key != "name"}
    summary["target_fits"] = [list(which) for which in sorted(targets)]
    if plugin:
        summary |= {"plugin": plugin, "plugin_top1": plugin.get(summary["target"])}
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


def early(study: Study, folder: Path, data: Data) -> dict[str, Any] | None:
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
