"""Negative controls: does the examination say what it must, where the answer is known?

Six releases of a small generated world are attacked as a study attacks its rows, by attackers from
random weights (rung A3) and by attackers that learned raw clips before (A4):

    identity    the raw clips                               L is 1, by attackers of other seeds
    constant    one grey                                    L is 0, by attackers who are asked
    shuffled    raw clips, attributes dealt to others       chance
    mark        noise; the last bit of each byte says one   it is read; nothing beside it is
                attribute
    faint       grey; a quarter of a level says one         it is read by who has floats, and gone
                attribute                                   after rounding to 8 bits
    told        the attributes painted over noise           all are read

An examination that fails one of them proves nothing on any other release: one that finds no mark
would call it private, and one that reads shuffled labels has seen the answers.

The folder: ``config.toml``, as of a study; ``releases/NAME``; ``scores/NAME``; ``controls.json``.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor, nn

from velatura import metrics
from velatura.config import apply_sets, read_toml
from velatura.errors import BadInput, Failure
from velatura.experiment import build_anonymizer, load_data, locked, release, resolve, versions
from velatura.jobs import Event, Job, tell
from velatura.jobs import run as run_jobs
from velatura.layout import ClipSet, Splits
from velatura.protocols import privacy
from velatura.protocols._fresh import Standardised, examine, statistics
from velatura.study import Study, learner, processes, resolve_study
from velatura.training import checkpoint, loop

__all__ = ["Control", "Size", "carry_out", "controls_study"]

Size = Literal["usual", "small"]
Rung = Literal["A3", "A4"]
RUNGS: tuple[Rung, ...] = ("A3", "A4")

VALUES: dict[str, Any] = {
    "title": "Negative controls",
    "seed": 0,
    "data": {
        "name": "people", "size": 32, "frames": 6, "train_people": 100, "train_clips": 6,
        "val_people": 25, "val_clips": 3, "test_people": 150, "test_clips": 2,
    },
    "batches": {"size": 32, "frames": 6},
    "evaluation": {
        "start_epochs": 8, "epochs": 3, "lr": 3e-3, "seeds": [0, 1, 2], "replicates": 5000,
    },
}  # fmt: skip

# In seconds, for tests: the same chain, one fast attacker, and a world that few clips teach.
SMALL = [
    "data.world=W3", "data.size=24", "data.frames=4", "data.train_people=32", "data.val_people=8",
    "data.test_people=50", "batches.size=24", "batches.frames=4",
    'evaluation.attackers=["pixel_mlp"]', "evaluation.batch=16", "evaluation.epochs=5",
    "evaluation.replicates=2000",
]  # fmt: skip

READ = 95.0
"""Per cent of AP from which a mark counts as read: nearly every positive stands above the rest."""
LEVEL = 0.99
"""Of all intervals together: one run of a hundred has a control that fails by luck."""
INTERVALS = ("identity", "constant", "shuffled labels", "all beside the mark", "the same, rounded")
EACH = 1 - (1 - LEVEL) / (len(RUNGS) * len(INTERVALS))
"""Of each of these at each rung (Bonferroni); the other controls must reach ``READ``."""
WIDEST = 0.25
"""Of L: a control that asks for less than this says nothing."""


def controls_study(size: Size = "usual", sets: list[str] | None = None) -> Study:
    """The world, the attackers and how they learn, as a study without rows.

    Args:
        size: ``"usual"`` takes minutes, ``"small"`` seconds.
        sets: further ``section.key=value`` changes.

    Raises:
        BadInput: fewer than two seeds, or what a study file's check raises.
    """
    study = resolve_study(apply_sets(VALUES, [*(SMALL if size == "small" else []), *(sets or [])]))
    if len(study.evaluation.seeds) < 2:
        raise BadInput(
            "evaluation.seeds: two at least; how far two seeds lie apart says how close the "
            "identity must come to raw video."
        )
    return study


# What attackers are shown ---------------------------------------------------------------------


MARK = "mark"  # the attribute in place of the first one: drawn anew for each clip, told by nothing
GREY = 128  # levels
FAINT = 0.25  # levels: 1/1020 of full scale


def shuffled(
    attributes: UInt8[np.ndarray, "n k"], groups: np.ndarray, rng: np.random.Generator
) -> UInt8[np.ndarray, "n k"]:
    """The same labels dealt to others: nothing but their frequencies is left.

    What stays with a person is dealt among people, so that all clips of one keep one label; the
    rest is dealt among clips. Columns of one kind travel together, as exclusive ones must.
    """
    _, first, who = np.unique(groups, return_index=True, return_inverse=True)
    theirs = attributes[first]
    stays = (attributes == theirs[who]).all(0)
    people, clips = rng.permutation(len(first)), rng.permutation(len(attributes))
    return np.where(stays, theirs[people][who], attributes[clips])


def pattern(shape: tuple[int, ...], seed: int) -> Int8[np.ndarray, "c h w"]:
    """1 where a mark is written, 0 where its opposite is: half of the pixels, scattered.

    So the mean of a picture tells nothing, and only who looks at the places reads it.
    """
    size = int(np.prod(shape))
    return (
        np.random.default_rng([seed, 1])
        .permutation(np.arange(size) % 2)
        .reshape(shape)
        .astype("i1")
    )


def noise(shape: tuple[int, ...], rng: np.random.Generator) -> UInt8[np.ndarray, "f c h w"]:
    """Grey with the noise of a sensor, of 2 levels: nobody is in it."""
    return (GREY + np.rint(2 * rng.standard_normal(shape, np.float32))).astype(np.uint8)


def mark(
    frames: UInt8[np.ndarray, "f c h w"],
    bits: UInt8[np.ndarray, " f"],
    places: Int8[np.ndarray, "c h w"],
) -> UInt8[np.ndarray, "f c h w"]:
    """The last bit of every byte becomes the frame's bit, or its opposite; the others stay."""
    return (frames & 0xFE) | (bits[:, None, None, None] == places)


def painted(
    frames: UInt8[np.ndarray, "f c h w"], labels: UInt8[np.ndarray, "f k"]
) -> UInt8[np.ndarray, "f c h w"]:
    """Each attribute as a band of one colour, 40 levels up or down: as good as told.

    Bands run from side to side, so that a mirror image says the same.
    """
    shown = frames.copy()
    bands = np.array_split(np.arange(frames.shape[2]), -(-labels.shape[1] // 3))
    for k in range(labels.shape[1]):
        rows = bands[k // 3]
        step = np.where(labels[:, k, None, None] == 1, 40, -40)
        shown[:, k % 3, rows] = (shown[:, k % 3, rows] + step).astype(np.uint8)
    return shown


class Faint(nn.Module):
    """An anonymizer that hides in its floats what its input shows: black or white.

    Grey, and at half of the places ``FAINT`` levels more: at one half for white, at the other for
    black.
    """

    def __init__(self, places: Int8[np.ndarray, "c h w"]):
        super().__init__()
        self.places = torch.from_numpy(places == 1)

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        up = (clips > 0.5) == self.places.to(clips.device)
        return (GREY + FAINT * up) / 255


def in_levels(anonymizer: nn.Module, frames: UInt8[np.ndarray, "f c h w"]) -> np.ndarray:
    """What an anonymizer puts out before it is rounded: (F, C, H, W) float32, in levels of 255."""
    out = np.empty(frames.shape, np.float32)
    with torch.no_grad():
        for start in range(0, len(frames), 256):
            clips = torch.from_numpy(np.array(frames[None, start : start + 256])).float().div(255)
            out[start : start + 256] = anonymizer(clips)[0].mul(255).numpy()
    return out


def make_releases(study: Study, data: Splits, folder: Path, fabric: loop.Fabric) -> None:
    """Write what attackers are shown, ``releases/NAME/SPLIT.npy``, and labels beside it."""
    seed = study.base.seed
    places = pattern(data.train.frames.shape[1:], seed)
    fixed = {name: _fixed(name) for name in ("identity", "constant")}
    for number, (split, part) in enumerate(zip(Splits._fields, data, strict=True)):
        rng = np.random.default_rng([seed, 2, number])
        bits = rng.permutation(np.arange(len(part)) % 2).astype(np.uint8)
        marked = part.attributes.copy()
        marked[:, 0] = bits
        of_frame = np.repeat(np.arange(len(part)), part.lengths)
        grey = noise(part.frames.shape, rng)
        carrier = np.broadcast_to((255 * bits[of_frame])[:, None, None, None], grey.shape)
        faint = Faint(places)
        shown: dict[str, tuple[np.ndarray | nn.Module, ClipSet, np.ndarray]] = {
            "raw": (np.asarray(part.frames[:]), part, part.attributes),
            "identity": (fixed["identity"], part, part.attributes),
            "constant": (fixed["constant"], part, part.attributes),
            "shuffled": (
                np.asarray(part.frames[:]), part, shuffled(part.attributes, part.groups, rng)
            ),
            "mark": (mark(grey, bits[of_frame], places), part, marked),
            "faint": (in_levels(faint, carrier), part, marked),
            "rounded": (faint, part.with_frames(carrier, part.name, part.fingerprint), marked),
            "told": (painted(grey, part.attributes[of_frame]), part, part.attributes),
        }  # fmt: skip
        for name, (what, seen, labels) in shown.items():
            place = folder / "releases" / name
            place.mkdir(parents=True, exist_ok=True)
            if isinstance(what, nn.Module):
                release(what, seen, place / f"{split}.npy", fabric)
            else:
                np.save(place / f"{split}.npy", what)
            np.save(place / f"{split}-labels.npy", labels)


def _fixed(method: str) -> nn.Module:
    return build_anonymizer(resolve({"method": {"name": method}}))


def open_release(folder: Path, name: str, data: Splits, prepare: bool) -> Splits:
    """One of the releases as its attackers see it."""
    place, parts = folder / "releases" / name, []
    for split, part in zip(Splits._fields, data, strict=True):
        frames = np.load(place / f"{split}.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(place / f"{split}-labels.npy", allow_pickle=False)
        names = part.attribute_names
        if name in ("mark", "faint", "rounded"):
            names = (MARK, *names[1:])
        shown = part.with_frames(frames, part.name, f"{part.fingerprint}/{name}")
        parts.append(replace(shown, attributes=labels, attribute_names=names))
    if prepare:
        known = statistics(parts[0])
        parts = [p.with_frames(Standardised(p.frames, known), p.name, p.fingerprint) for p in parts]
    return Splits(*parts)


# Who attacks ------------------------------------------------------------------------------------

SHOWN = ("raw", "identity", "constant", "shuffled", "mark", "faint", "rounded", "told")


def seeds_of(study: Study, name: str) -> tuple[int, ...]:
    """Seeds of the attackers of a release; those of identity are none of raw's."""
    seeds = study.evaluation.seeds
    if name == "identity":
        return tuple(seed + 1 + max(seeds) for seed in seeds)
    return seeds if name == "raw" else seeds[:1]


def score_path(folder: Path, name: str, rung: str, network: str, seed: int) -> Path:
    """Where an attacker's scores are kept, and its weights where others start from them."""
    return folder / "scores" / name / f"{rung}-{network}-{seed}.safetensors"


def work_releases(job: str, folder: str) -> None:
    """Make all that is shown."""
    study = _study(Path(folder))
    make_releases(study, load_data(study.base), Path(folder), loop.fabric(study.base.loop))
    (Path(folder) / "releases" / "whole").touch()


def work_attack(job: str, folder: str, name: str, rung: Rung, network: str, seed: int) -> None:
    """Fit one attacker on one release."""
    root = Path(folder)
    study = _study(root)
    cfg, fabric = study.evaluation, loop.fabric(study.base.loop)
    start, settings = None, cfg.learning("attributes")
    if rung == "A4":
        path = score_path(root, "raw", "A3", network, cfg.seeds[0])
        start = checkpoint.load(path)[0]["network"]
    else:
        settings = replace(settings, epochs=cfg.start_epochs)
    found = examine(
        open_release(root, name, load_data(study.base), cfg.standardise), "attributes",
        partial(privacy.network, network, settings=cfg.networks.get(network)), start, settings,
        cfg, study.base.batches, 100 * study.base.seed + seed, fabric,
        lambda done, total: tell(job, done, total), learner("attributes", network), always=True,
    )  # fmt: skip
    state: dict[str, Any] = {"scores": torch.from_numpy(np.ascontiguousarray(found.scores))}
    if (name, rung) == ("raw", "A3"):
        state["network"] = found.weights
    path = score_path(root, name, rung, network, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(path, state, {"network": network, "seed": seed})


def _study(folder: Path) -> Study:
    return resolve_study(read_toml(folder / "config.toml"))


def plan(study: Study, folder: Path) -> list[Job]:
    """All jobs, raw first: A4 starts from it."""
    at = {"folder": str(folder)}
    whole = (folder / "releases" / "whole").exists
    jobs = [Job("releases", "releases", work_releases, at, (), whole)]
    for rung in RUNGS:
        for name in SHOWN:
            for network in study.evaluation.attackers:
                for seed in seeds_of(study, name):
                    needs = ["releases"]
                    if rung == "A4":
                        needs.append(f"A3 raw {network} {study.evaluation.seeds[0]}")
                    given = {"name": name, "rung": rung, "network": network, "seed": seed}
                    jobs.append(
                        Job(
                            f"{rung} {name} {network} {seed}", f"attack, {rung}", work_attack,
                            {**at, **given}, tuple(needs),
                            score_path(folder, name, rung, network, seed).exists,
                        )
                    )  # fmt: skip
    return jobs


# What it must be --------------------------------------------------------------------------------

Fits = Mapping[tuple[str, int], np.ndarray]
"""(network, seed) to its scores (N, K) on the test split."""


@dataclass(frozen=True)
class Control:
    """One line of the table.

    Attributes:
        name, rung: what is controlled, by whom.
        metric: ``"L"``, ``"cMAP"`` or ``"AP"``, of the strongest attacker, whom ``by`` names.
        low, high: where the value must lie; ``value`` is what came out. L is a fraction, the others
            are per cent.
        why: how low and high came about.
    """

    name: str
    rung: Rung
    metric: str
    low: float
    high: float
    value: float
    by: str
    why: str

    @property
    def held(self) -> bool:
        """Whether it came out as it must; sums of floats may differ in their last digits."""
        return self.low - 1e-9 <= self.value <= self.high + 1e-9


def strongest(fits: Fits, measure: Callable[[np.ndarray], float]) -> tuple[float, str]:
    """The highest value over attackers, and whose it is."""
    values = {fit: measure(scores) for fit, scores in fits.items()}
    best = max(values, key=values.__getitem__)
    return values[best], f"{best[0]}/{best[1]}"


def scatter(*sides: Fits, labels: np.ndarray, level: float = EACH) -> float:
    """How far cMAP of one fit may lie from that of another that differs in its seed alone.

    ``level`` of such differences are smaller, by Student's t and the standard deviation between
    seeds, pooled over the networks of each side.
    """
    squares, freedom = 0.0, 0
    for fits in sides:
        for network in {name for name, _ in fits}:
            of = [metrics.cmap(s, labels) for (name, _), s in fits.items() if name == network]
            squares += float(((np.array(of) - np.mean(of)) ** 2).sum())
            freedom += len(of) - 1
    drawn = np.random.default_rng(0).standard_t(freedom, 200_000)
    return float((2 * squares / freedom) ** 0.5 * np.quantile(drawn, (1 + level) / 2))


def null(
    fits: Fits, test: ClipSet, columns: slice, replicates: int, seed: int, level: float = EACH
) -> tuple[float, float]:
    """Where the strongest attacker's cMAP lies if no score knows a label, by permutation.

    The test labels are dealt to others again and again, as :func:`shuffled` deals them. So the
    number of people, scores that are alike within a person, and the choice of the strongest are all
    in it.
    """
    rng = np.random.default_rng([seed, 3])
    deals = [
        shuffled(test.attributes, test.groups, rng)[:, columns].T for _ in range(replicates)
    ]  # fmt: skip
    dealt = np.array(deals)  # (R, K, N)
    values = [cmaps(scores[:, columns], dealt) for scores in fits.values()]
    return metrics.interval(np.max(values, axis=0), level)


def cmaps(
    scores: Float[np.ndarray, "n k"], labels: UInt8[np.ndarray, "r k n"]
) -> Float[np.ndarray, " r"]:
    """:func:`velatura.metrics.cmap` of the same scores under many labels at once, in per cent.

    Sorted once: AP is the precision at the end of each run of equal scores, times the positives in
    it. Every label has a positive.
    """
    found = np.zeros(len(labels))
    for k, column in enumerate(scores.T):
        order = np.argsort(-column, kind="stable")
        ends = np.flatnonzero(np.diff(column[order], append=-np.inf))
        there = np.cumsum(labels[:, k, order], axis=1, dtype=np.int64)[:, ends]
        gained = np.diff(there, axis=1, prepend=0)
        found += (gained * there / (ends + 1)).sum(1) / there[:, -1]
    return 100 * found / scores.shape[1]


def judge(
    study: Study, found: Mapping[str, Fits], shown: Mapping[str, Splits], rung: Rung
) -> Iterator[Control]:
    """The controls of one rung.

    Args:
        found: release to its attackers' scores.
        shown: release to its splits, for their labels.
    """
    labels = shown["raw"].test.attributes
    chance = float(metrics.prevalence(labels).mean())
    top, by = strongest(found["raw"], lambda s: metrics.cmap(s, labels))
    if top - chance < metrics.LEAST_ROOM:
        raise Failure(
            f"The attackers read nothing from raw clips (cMAP {top:.1f} %, chance {chance:.1f} %), "
            "so nothing can be said of any other; give them more clips or epochs."
        )
    width = scatter(found["raw"], found["identity"], labels=labels) / (top - chance)
    value, by = strongest(found["identity"], lambda s: metrics.cmap(s, labels))
    yield Control(
        "identity", rung, "L", 1 - min(width, WIDEST), 1 + min(width, WIDEST),
        metrics.leakage(value, top, chance), by,
        f"{EACH:.1%} of the differences between two seeds",
    )  # fmt: skip
    value, by = strongest(found["constant"], lambda s: metrics.cmap(s, labels))
    # Who sees the same of everyone scores everyone alike, and the interval is one point: unless a
    # processor computes the last batch otherwise than the others, in the last digit.
    cfg, test = study.evaluation, shown["constant"].test
    inside = null(found["constant"], test, slice(None), cfg.replicates, study.base.seed)
    low, high = (float(metrics.leakage(end, top, chance)) for end in inside)
    yield Control(
        "constant", rung, "L", low, high, metrics.leakage(value, top, chance), by,
        f"{EACH:.1%} of what comes out if the labels are dealt again",
    )  # fmt: skip

    def chances(name: str, release: str, columns: slice) -> Control:
        test, fits = shown[release].test, found[release]
        low, high = null(fits, test, columns, study.evaluation.replicates, study.base.seed)
        value, by = strongest(
            fits, lambda s: metrics.cmap(s[:, columns], test.attributes[:, columns])
        )
        why = f"{EACH:.1%} of what comes out if the labels are dealt again"
        metric = "AP" if columns == FIRST else "cMAP"
        return Control(name, rung, metric, low, high, value, by, why)

    def read(name: str, release: str, columns: slice, metric: str) -> Control:
        test, fits = shown[release].test, found[release]
        value, by = strongest(
            fits, lambda s: metrics.cmap(s[:, columns], test.attributes[:, columns])
        )
        return Control(name, rung, metric, READ, 100.0, value, by, "must be read")

    yield chances("shuffled labels", "shuffled", slice(None))
    yield read("mark in the last bit", "mark", FIRST, "AP")
    yield chances("all beside the mark", "mark", slice(1, None))
    yield read("mark in floats", "faint", FIRST, "AP")
    yield chances("the same, rounded", "rounded", FIRST)
    yield read("attributes painted", "told", slice(None), "cMAP")


FIRST = slice(0, 1)


def carry_out(
    study: Study,
    folder: Path,
    *,
    resume: bool = False,
    workers: int = 0,
    command: str = "",
    on_data: Callable[[str, int, int], None] | None = None,
) -> Generator[Event | dict[str, Any], None, None]:
    """Attack all releases; yields ``{"jobs": [...]}``, events of jobs, and ``{"summary": ...}``.

    The summary, in ``controls.json`` too: ``controls``, one dictionary for each :class:`Control`
    with ``held``; ``held``, whether all are; ``seconds``, ``config``, ``versions``, ``command``.

    Args:
        resume: go on where an interrupted run of the same configuration was.
        workers: processes side by side; 0 means one per core, or one on a GPU.
        on_data: told (stage, done, total) while clips are drawn.

    Raises:
        BadInput: the folder holds controls and ``resume`` is off, or others.
        Failure: nothing can be read from raw clips, so that L has no scale.
    """
    file = folder / "config.toml"
    if file.exists() and not resume:
        raise BadInput(
            f"{folder} holds a study already; continue it with --resume, or name another with "
            "--out."
        )
    if file.exists() and _study(folder).science() != study.science():
        raise BadInput(f"{folder} holds a study of another configuration; name another with --out.")
    begin = time.monotonic()
    with locked(folder):
        data = load_data(study.base, on_data)
        checkpoint.write_atomically(file, study.toml().encode())
        jobs = plan(study, folder)
        yield {"jobs": jobs}
        yield from run_jobs(jobs, *processes(study, workers))
        shown = {name: open_release(folder, name, data, prepare=False) for name in SHOWN}
        table = []
        for rung in RUNGS:
            found = {name: _scores(study, folder, name, rung) for name in SHOWN}
            table += list(judge(study, found, shown, rung))
        summary = {
            "title": study.title,
            "command": command,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "held": all(control.held for control in table),
            "controls": [{**asdict(control), "held": control.held} for control in table],
            "seconds": round(time.monotonic() - begin, 1),
            "versions": versions(),
            "config": study.values(),
            "data": {split: len(part) for split, part in zip(Splits._fields, data, strict=True)},
        }
        shutil.rmtree(folder / "releases")
        text = json.dumps(summary, indent=1)
        checkpoint.write_atomically(folder / "controls.json", text.encode())
    yield {"summary": summary}


def _scores(study: Study, folder: Path, name: str, rung: str) -> dict[tuple[str, int], np.ndarray]:
    return {
        (network, seed): checkpoint.load(score_path(folder, name, rung, network, seed))[0][
            "scores"
        ].numpy()
        for network in study.evaluation.attackers
        for seed in seeds_of(study, name)
    }
