"""Speed, both sides in one process: ours beside what a plain loop does.

Rounds alternate between the sides, so that whatever else the machine does hits both; the
ratio is of medians over rounds.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from velatura import jobs
from velatura.config import read_toml
from velatura.demo import demo_study
from velatura.experiment import (
    Run,
    build_budget,
    load_data,
    open_release,
    release,
    resolve,
    role_network,
)
from velatura.layout import Splits
from velatura.losses import cross_entropy, nt_xent, rms_penalty
from velatura.methods import penalty
from velatura.protocols import _fresh, privacy
from velatura.study import Study, processes, resolve_study
from velatura.training import fit, loop
from velatura.training.batches import Batch
from velatura.training.players import Players, prepare
from velatura.training.seed import reseed

__all__ = ["attack", "data", "train"]


# The paper's networks and a batch small enough for two cores; on a GPU, the paper's own batch.
PAPER: dict[str, Any] = {
    "batches": {"batch": 2, "frames": 8, "size": 64},
    "anonymizer": {"name": "unetpp_resnet18"},
    "target": {"name": "i3d_r50"},
    "budget": {"name": "resnet50"},
    "method": {"name": "penalty", "alternate": "both"},
}
WHOLE = {"batch": 8, "frames": 16, "size": 224}
NETWORKS = ("demo", "paper")


def train(rounds: int = 7, steps: int = 4) -> dict[str, Any]:
    """One penalty iteration (both steps on a batch), ours and plain, with the demo's networks and
    with the paper's.

    Plain, in the way of SPAct's public script: float32, default memory layout, one f_A call for
    the clips and one for each view in each step, and gradients computed for the networks that do
    not learn in the step. Ours hands step 2 what step 1 released, as ``alternate = "both"`` does:
    its players then see f_A as it was before its step. A third side asks f_A again, as plain does.

    Args:
        rounds: timed rounds of each side.
        steps: iterations in a round of the demo's networks; a round of the paper's is one.

    Returns:
        For each set of networks: clips per second of both sides, their ratio, the largest memory
        of a side that runs alone, and the distance from the floor: operations over the rate of a
        large matrix product measured here.
    """
    found: dict[str, Any] = {}
    for networks in NETWORKS:
        here = _compare(networks, rounds, steps if networks == "demo" else 1)
        prefix = "" if networks == "demo" else "paper_"
        found |= {f"{prefix}{key}": value for key, value in here.items()}
    return found | {"threads": torch.get_num_threads(), "rounds": rounds}


def _compare(networks: str, rounds: int, steps: int) -> dict[str, Any]:
    run, services = _bench_run(networks)
    device = services.device
    sides = {name: side(run, services) for name, side in SIDES.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for step in sides.values():  # warm up
        step()
    for _ in range(rounds):
        for name, step in sides.items():
            begin = time.perf_counter()
            for _ in range(steps):
                step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times[name].append((time.perf_counter() - begin) / steps)
    clips = run.batches.batch
    rate = {name: clips / statistics.median(values) for name, values in times.items()}
    with FlopCounterMode(display=False) as counter:
        sides["ours"]()
    floor = counter.get_total_flops() / _peak(services)
    memory = {name: _memory(networks, name) for name in ("ours", "plain")}
    return {
        "ours_clips_per_s": rate["ours"],
        "plain_clips_per_s": rate["plain"],
        "ratio": rate["ours"] / rate["plain"],
        "ratio_f_A_asked_again": rate["again"] / rate["plain"],
        "ours_memory_mb": memory["ours"],
        "plain_memory_mb": memory["plain"],
        "gflop_per_clip": counter.get_total_flops() / clips / 1e9,
        "floor_share": floor / statistics.median(times["ours"]),
        "batch": " x ".join(map(str, (clips, run.batches.frames, run.batches.size))),
        "precision": str(services._precision.precision),
    }


def _bench_run(networks: str) -> tuple[Run, Any]:
    run = next(r.run for r in demo_study().rows if r.name == "penalty_0.1")
    services = loop.fabric(run.loop)
    if networks == "paper":
        batches = WHOLE if services.device.type == "cuda" else PAPER["batches"]
        run = resolve({**PAPER, "batches": batches})
    return run, services


def _memory(networks: str, side: str) -> float:
    """MB that one side alone takes at most over what the process held before: on the GPU what
    torch asked for, else resident memory. In a process of its own, which ends with it."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_alone, networks, side).result()


def _alone(networks: str, side: str) -> float:
    run, services = _bench_run(networks)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    step = SIDES[side](run, services)
    for _ in range(3):
        step()
    if services.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return _resident("VmHWM") - before


def _resident(what: str) -> float:
    """MB of this process, by Linux: now, or at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def _players(run: Run) -> Players:
    reseed(0, "bench")
    return Players(
        role_network(run.anonymizer, "anonymizer"),
        role_network(run.target, "classifier", 10),
        build_budget(run.budget),
    )


def _batch(run: Run, device: torch.device) -> Batch:
    b, t, s = run.batches.batch, run.batches.frames, run.batches.size
    shape = (b, 3, s, s)
    return Batch(
        torch.rand(b, t, 3, s, s, device=device),
        torch.arange(b, device=device) % 10,
        torch.zeros(b, 9, device=device),
        torch.rand(shape, device=device),
        torch.rand(shape, device=device),
    )


def _ours(run: Run, services: Any, again: bool = False) -> Callable[[], None]:
    players, cfg = _players(run), run.method.config
    for module in players.modules().values():
        prepare(module, services.device)
    f_A = torch.optim.Adam(players.f_A.parameters(), cfg.lr_anonymizer)
    both = torch.optim.Adam([*players.f_T.parameters(), *players.f_B.parameters()], cfg.lr_target)
    batch = _batch(run, services.device)

    def step() -> None:
        with services.autocast():
            terms, released = penalty.step_anonymizer(players, batch, cfg)
        f_A.zero_grad()
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        f_A.step()
        with services.autocast():
            terms = penalty.step_adversaries(players, batch, cfg, None if again else released)
        both.zero_grad()
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        both.step()

    return step


def _plain(run: Run, services: Any) -> Callable[[], None]:
    """The same iteration as one would first write it."""
    players, cfg, device = _players(run), run.method.config, services.device
    networks: list[nn.Module] = [m.to(device) for m in (players.f_A, players.f_T, players.f_B)]
    f_A, f_T, f_B = networks
    optimizer_A = torch.optim.Adam(f_A.parameters(), cfg.lr_anonymizer)
    optimizer_TB = torch.optim.Adam([*f_T.parameters(), *f_B.parameters()], cfg.lr_target)
    batch = _batch(run, device)

    def forward() -> tuple[Tensor, Tensor, Tensor]:
        clips, first, second = f_A(batch.clips), f_A(batch.first), f_A(batch.second)
        target = cross_entropy(f_T(clips), batch.actions)
        return clips, target, nt_xent(f_B(first), f_B(second), cfg.temperature)

    def step() -> None:
        clips, target, budget = forward()
        change = rms_penalty(batch.clips, clips, cfg.bound, cfg.per, cfg.space)
        optimizer_A.zero_grad()
        optimizer_TB.zero_grad()
        loss = target - cfg.budget_weight * budget + cfg.penalty_weight * change
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer_A.step()
        _, target, budget = forward()
        optimizer_A.zero_grad()
        optimizer_TB.zero_grad()
        (target + budget).backward()  # type: ignore[no-untyped-call]
        optimizer_TB.step()

    return step


SIDES: dict[str, Callable[[Run, Any], Callable[[], None]]] = {
    "ours": _ours,
    "again": partial(_ours, again=True),
    "plain": _plain,
}


def _peak(services: Any) -> float:
    """Operations per second of a large matrix product, in the precision of training."""
    cuda = services.device.type == "cuda"
    side = 8192 if cuda else 2048
    bf16 = str(services._precision.precision).startswith("bf16")
    a = torch.rand(side, side, device=services.device, dtype=torch.bfloat16 if bf16 else None)
    best = float("inf")
    with torch.no_grad():
        for _ in range(5):
            begin = time.perf_counter()
            a @ a
            if cuda:
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - begin)
    return float(2 * side**3 / best)


def data(people: int = 60) -> dict[str, Any]:
    """Rendering: the demo's clips with one worker and with one on each core; and feeding.

    Returns:
        Clips and figures (people drawn in a frame) per second, and seconds for the demo's clips;
        then how fast real clips are fed, see :func:`velatura.data._store.bench.feeding`.
    """
    from velatura.data import people as world
    from velatura.data._store.bench import feeding

    cfg = demo_study().base.data.config
    small = replace(cfg, train_people=people, val_people=1, test_people=1)
    clips = people * cfg.train_clips + cfg.val_clips + cfg.test_clips
    cores = os.cpu_count() or 1
    seconds = {}
    for workers in (1, cores):
        with tempfile.TemporaryDirectory() as cache:
            begin = time.perf_counter()
            world.load(replace(small, cache=cache), workers=workers)
            seconds[workers] = time.perf_counter() - begin
    whole = (
        cfg.train_people * cfg.train_clips
        + cfg.val_people * cfg.val_clips
        + cfg.test_people * cfg.test_clips
    )
    return {
        "clips_per_s": clips / seconds[cores],
        "clips_per_s_one_worker": clips / seconds[1],
        "frames_per_s": clips * cfg.frames / seconds[cores],
        "cores": cores,
        "ratio": seconds[1] / seconds[cores],
        "demo_clips": whole,
        "demo_seconds": whole * seconds[cores] / clips,
    } | feeding()


# Who attacks: all of the ladder that learn epoch after epoch, and need no weights of others. Those
# that describe each clip once, `knn` and `motion_spectrum`, would ask f_A once plainly, too.
LADDER = ['evaluation.attackers=["frame_cnn", "clip_cnn", "patch_mlp", "pixel_mlp"]']

# What attacks are timed on: the demo's networks and pictures, and less of everything else.
FEW = [
    "data.train_people=120", "data.train_clips=6", "data.val_people=30", "data.test_people=60",
    "evaluation.start_epochs=8", "evaluation.seeds=[0]",
]  # fmt: skip


class Attacker(NamedTuple):
    """One fit of the bench: A3 learns for longer, A4 as who has begun elsewhere."""

    rung: str
    network: str
    seed: int
    epochs: int


def attack(full: bool = False, workers: int = 0, sets: Sequence[str] = ()) -> dict[str, Any]:
    """Attackers of rungs A3 and A4 on one learned row, as a study fits them and plainly.

    Plainly, as public code does it: one attacker after the other, each with the frozen f_A in its
    loop, so that every epoch, every look at the validation split and the test anonymize anew. Ours
    releases once, in 8 bits, prepares the pixels as examiners do, and fits side by side. Both do
    the same epochs on the same clips; starting processes and writing files is in ours.

    f_A, and what A4 starts from, have random weights: the cost is that of trained ones.

    Args:
        full: the demo's own clips, epochs and seeds of each attacker; plainly, that is long.
        workers: of ours; 0 means as a study has them. Plainly, all threads work on one fit.

    Returns:
        Seconds of both sides and their ratio; of ours, seconds of the release. Then the same in
        seconds of the processor, over all cores and processes: what work is saved, without what is
        gained by doing it side by side.
    """
    study = demo_study(sets=[*LADDER, *([] if full else FEW), *sets])
    fits = _attackers(study)
    splits = load_data(study.base)
    services = loop.fabric(study.base.loop)
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "config.toml").write_text(study.toml())
        begin, spent = time.perf_counter(), _processor()
        for part in splits:
            release(_anonymizer(study), part, root / _file(part.name), services)
        seconds["ours_release"] = time.perf_counter() - begin
        todo = [
            jobs.Job(" ".join(map(str, one)), "attack", _attack_release,
                     {"folder": folder, "attacker": one})
            for one in fits
        ]  # fmt: skip
        team = processes(study, workers)
        for _ in jobs.run(todo, *team):
            pass
        seconds["ours"] = time.perf_counter() - begin
        seconds["ours_processor"] = _processor() - spent
    begin, spent = time.perf_counter(), _processor()
    for one in fits:
        _attack_plainly(study, splits, one, services)
    seconds["plain"] = time.perf_counter() - begin
    seconds["plain_processor"] = _processor() - spent
    return {
        "ours_seconds": seconds["ours"],
        "ours_release_seconds": seconds["ours_release"],
        "plain_seconds": seconds["plain"],
        "ratio": seconds["plain"] / seconds["ours"],
        "ours_processor_seconds": seconds["ours_processor"],
        "plain_processor_seconds": seconds["plain_processor"],
        "ratio_processor": seconds["plain_processor"] / seconds["ours_processor"],
        "attackers": len(fits),
        "clips": " + ".join(str(len(part)) for part in splits),
        "epochs": " + ".join(str(e) for e in dict.fromkeys(one.epochs for one in fits)),
        "workers": " x ".join(map(str, team)) + " threads",
        "plain_threads": torch.get_num_threads(),
        "precision": str(services._precision.precision),
    }


def _processor() -> float:
    """Seconds that all cores have worked for this process, and for those it started that ended."""
    return sum(os.times()[:4])


def _attackers(study: Study) -> list[Attacker]:
    """A3 first: the longest fits begin first, so that the last to end is a short one."""
    cfg = study.evaluation
    rungs = {"A3": cfg.start_epochs, "A4": cfg.learning("attributes").epochs}
    return [
        Attacker(rung, network, seed, epochs)
        for rung, epochs in rungs.items()
        for network in cfg.attackers
        for seed in cfg.seeds
    ]


def _anonymizer(study: Study) -> nn.Module:
    """f_A of the demo's last row, as it is before it learns."""
    reseed(0, "bench attack")
    network = role_network(study.rows[-1].run.anonymizer, "anonymizer")
    return network.eval().requires_grad_(False)


def _file(part: str) -> str:
    return f"release-{part.rpartition('/')[2]}.npy"


def _attack_release(job: str, folder: str, attacker: Attacker) -> None:
    """One fit of ours, in a worker."""
    root, one = Path(folder), attacker
    study = resolve_study(read_toml(root / "config.toml"))
    parts = [open_release(root / _file(part.name), part) for part in load_data(study.base)]
    known = _fresh.statistics(parts[0])
    seen = [
        p.with_frames(_fresh.Standardised(p.frames, known), p.name, p.fingerprint) for p in parts
    ]
    settings = replace(study.evaluation.learning("attributes"), epochs=one.epochs)
    _fresh.examine(
        Splits(*seen), "attributes", partial(privacy.network, one.network), None, settings,
        study.evaluation, study.base.batches, one.seed, loop.fabric(study.base.loop),
    )  # fmt: skip


class _Before(nn.Module):
    """An attacker with the frozen f_A before it, which is no part of what learns."""

    def __init__(self, f_A: nn.Module, attacker: nn.Module):
        super().__init__()
        self.attacker, self._f_A = attacker, (f_A,)

    def forward(self, clips: Tensor) -> Tensor:
        with torch.no_grad():
            released = self._f_A[0](clips)
        logits: Tensor = self.attacker(released)
        return logits


def _attack_plainly(study: Study, splits: Splits, one: Attacker, services: Any) -> None:
    """One fit with f_A in its loop."""
    cfg, window = study.evaluation, study.base.batches
    f_A = prepare(_anonymizer(study), services.device)
    reseed("examiner", "attributes", one.seed)
    attacker = privacy.network(one.network, len(splits.train.attribute_names))
    settings = replace(cfg.learning("attributes"), epochs=one.epochs)
    network = fit.fit(
        _Before(f_A, attacker), splits.train, splits.val, "attributes", settings, window,
        10_000 + one.seed, services,
    )  # fmt: skip
    fit.predict(network, splits.test, "attributes", window, services, mirror=cfg.mirror)


def run(what: str, full: bool = False) -> dict[str, Any]:
    """A benchmark by name: a function of this file.

    Args:
        full: of ``attack``.
    """
    benches: dict[str, Callable[[], dict[str, Any]]] = {
        "train": train,
        "data": data,
        "attack": partial(attack, full),
    }
    return benches[what]()
