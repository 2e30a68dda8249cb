"""Try to break an anonymizer of a finished cell: attacks that no study has, each with its figure.

python experiments/attack_frontier.py runs/frontier/w2-10 --row game --row flow
python experiments/attack_frontier.py runs/frontier/w2-10 --row game --only cells --only trees
python experiments/attack_frontier.py --list

The folder is a cell of a sweep, or any finished study. ``rows/ROW/attacks.json`` receives the
figures after every attack, ``rows/ROW/attacks/`` what each said. An attack that is done is not done
again; one that fails is named, and the others go on.

Each attack is a function below; its text says first what the attacker knows, and then what he hopes
for. None learns from, or chooses by, a test person: all comes from the training and validation
splits, or from people of the attacker's own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attack_networks import Barred, Cells, Recurrent, Transformer, undone
from attack_site import NotHere, Site, Told, open_site, progress
from torch import Tensor, nn

from velatura import metrics, plugins
from velatura.attackers import motion_spectrum
from velatura.attackers._described import described
from velatura.config import digest
from velatura.errors import BadInput, Failure, VelaturaError, unknown
from velatura.experiment import locked, runs, versions
from velatura.jobs import keep_freed_memory, sentence
from velatura.layout import ClipSet, Splits
from velatura.models import clip_cnn, coarse_flow, frame_cnn
from velatura.protocols._fresh import statistics
from velatura.training import checkpoint

CHOICES = 12  # of the ensemble, for each attribute

# Hand-made statistics --------------------------------------------------------------------------


def spectrum(site: Site) -> Told:
    """Knows that motion is released. Speeds and rhythms of a body, written by hand, and a linear
    answer: little is left to learn from few clips."""
    build = partial(motion_spectrum.network, motion_spectrum.Config())
    return site.learn(site.released, build, learn=motion_spectrum.fit)


def trees(site: Site) -> Told:
    """Knows that motion is released. Gradient-boosted trees over these statistics: thresholds where
    a regression has lines."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    seen = motion_spectrum.Statistics(motion_spectrum.Config().bands)
    one = np.arange(1)  # `described` wants a second split
    train, val, test = (
        described(seen, part, part.part(one), site.window, site.fabric)[0].cpu().numpy()
        for part in site.released
    )
    columns = []
    for k in range(site.data.train.attributes.shape[1]):
        model = HistGradientBoostingClassifier(
            learning_rate=0.06, max_iter=150, max_leaf_nodes=12, l2_regularization=1.0,
            early_stopping=False, random_state=site.seed,
        )  # fmt: skip
        model.fit(train, site.data.train.attributes[:, k])
        on_val, on_test = (
            np.stack([scores.ravel() for scores in model.staged_decision_function(x)])
            for x in (val, test)
        )
        sign = 1 - 2.0 * site.data.val.attributes[:, k]
        best = int(np.logaddexp(0, sign * on_val).mean(1).argmin())  # so many trees
        columns.append((on_val[best], on_test[best]))
    return Told(*(np.stack(one, 1).astype(np.float32) for one in zip(*columns, strict=True)))


def silhouette(site: Site) -> Told:
    """Knows that motion is released. Adds up over the clip where anything moved, a body drawn by
    its own motion; then looks for its shape as in a picture."""
    mean = statistics(site.released.train).mean

    def drawn(part: ClipSet) -> Iterator[np.ndarray]:
        for item in range(len(part)):
            moved = np.abs(part.video(item) - mean)
            yield (2 * np.maximum.accumulate(moved, 0).clip(0, 127)).astype(np.uint8)

    parts = [
        site.derived(part, "silhouette", part.frames.shape[1:], partial(drawn, part))
        for part in site.released
    ]
    build = partial(frame_cnn.classifier, frame_cnn.Config(frames=2))
    return site.learn(Splits(*parts), build, stretch=2)


# Other networks --------------------------------------------------------------------------------


def recurrent(site: Site) -> Told:
    """Knows no more than a study's own. Convolutions and a memory, frame behind frame: a rhythm is
    what a memory is for."""
    return site.learn(site.seen, Recurrent, stretch=2)


def transformer(site: Site) -> Told:
    """Knows no more than a study's own. Attention over space and time: any place is compared with
    any other, at any time, in the first layer."""
    window = site.window
    side = next(side for side in (6, 8, 4, 2, 1) if window.size % side == 0)
    build = partial(Transformer, window.frames, window.size, side=side)
    return site.learn(site.seen, build, stretch=2, lr=1e-3)


def wide(site: Site) -> Told:
    """Knows no more than a study's own. A network nine times as large, from random weights: raw
    video may be a bad school."""
    build = partial(clip_cnn.classifier, clip_cnn.Config(width=48))
    return site.learn(site.seen, build, stretch=2)


# More of what a study's own attackers have -----------------------------------------------------


def more_epochs(site: Site) -> Told:
    """Knows no more than a study's own, and has more patience: what is faint is found late."""
    return site.learn(site.seen, *site.usual, stretch=site.factor)


def more_data(site: Site) -> Told:
    """Can put clips of his own through the anonymizer, of many people. None of them was in its
    training: what it hides of those whom it met, it may not hide of others."""
    train = site.let_out(site.strangers)
    return site.learn(site.prepared(site.released._replace(train=train)), *site.usual)


def action(site: Site) -> Told:
    """Is told the true action: what differs from the usual way of doing it is the person's own."""
    parts = [
        part.with_frames(Barred(part, site.window.shift), part.name, f"{part.fingerprint}-action")
        for part in site.seen
    ]
    return site.learn(Splits(*parts), *site.usual, light=0.0)


# Who knows that it is a flow -------------------------------------------------------------------


def on_grid(
    site: Site, part: ClipSet, name: str, change: Callable[[Tensor], Tensor] | None = None
) -> ClipSet:
    """A release on its own grid: each cell once, and beside its three numbers that of its column.

    Args:
        change: (B, T, 3, g, g) in [0, 1] to the same.

    Returns:
        The same items with frames (F, 4, g, g).
    """
    g = site.flow.cfg.cells
    height, width = part.frames.shape[-2:]
    if min(height, width) < g:
        raise NotHere(f"a picture of {width} x {height} px does not show {g} x {g} cells")
    rows, columns = (-(-np.arange(g) * side // g) for side in (height, width))  # first of a cell
    column = np.linspace(0, 255, g).round().astype(np.uint8)

    def frames() -> Iterator[np.ndarray]:
        done = 0
        for items in runs(part.lengths, 512):
            cells = np.stack([part.video(item)[..., rows, :][..., columns] for item in items])
            if change is not None:
                found = change(torch.from_numpy(cells).to(site.fabric.device).float() / 255)
                cells = found.mul(255).round().clamp(0, 255).byte().cpu().numpy()
            cells = cells.reshape(-1, *cells.shape[2:])
            yield np.concatenate([cells, np.broadcast_to(column, (len(cells), 1, g, g))], 1)
            done += len(items)
            progress(done, len(part))

    return site.derived(part, f"grid-{name}", (4, g, g), frames)


def all_on_grid(site: Site, parts: Splits, name: str, **change: Any) -> Splits:
    return Splits(*(on_grid(site, part, name, **change) for part in parts))


def reader(site: Site) -> tuple[Callable[[int], nn.Module], Any]:
    """The network that looks at the grid, and its window, which never shifts."""
    cfg = site.flow.cfg
    build = partial(Cells, site.window.frames, edge=0.5 / (cfg.levels - 1))
    return build, replace(site.window, size=cfg.cells, shift=0)


def read(site: Site, splits: Splits, start: Mapping[str, Tensor] | None = None) -> Told:
    """A fit on the grid; nothing brightens, as cells say what they say."""
    build, window = reader(site)
    return site.learn(splits, build, start, stretch=2, window=window, light=0.0)


def plain(site: Site) -> Splits:
    """What the flow would say if no network stood on top of it: anybody can compute that."""
    if not site.flow.cfg.depth:
        raise NotHere("there is no network on top of the flow")
    flow = coarse_flow.anonymizer(replace(site.flow.cfg, depth=0)).to(site.fabric.device)
    parts = Splits(*(site.let_out(part, "plain-", flow) for part in site.data))
    return all_on_grid(site, parts, "plain")


def cells(site: Site) -> Told:
    """Knows how coarse flow is made, and no weights. Reads speeds cell by cell, their rhythm, and
    what a mirror does to a flow."""
    return read(site, all_on_grid(site, site.released, "told"))


def plain_first(site: Site) -> Told:
    """Knows how coarse flow is made, and no weights. Learns on the plain flow of clips of his own,
    where a gait is easy to see, and then on the release."""
    known = read(site, plain(site)).weights
    return read(site, all_on_grid(site, site.released, "told"), known)


def cells_more(site: Site) -> Told:
    """Knows how coarse flow is made, and can put clips of his own through the anonymizer, of many
    people, none of whom was in its training."""
    start = site_told(site, "plain_first" if site.flow.cfg.depth else "cells").weights
    parts = site.released._replace(train=site.let_out(site.strangers))
    return read(site, all_on_grid(site, parts, "told"), start)


def undo(site: Site) -> Told:
    """Knows all weights. Looks, by gradient, for the plain flow that they would have made into the
    release, and reads that, beginning with what plain flow taught."""
    known = read(site, plain(site)).weights
    change = partial(undone, site.flow)
    return read(site, all_on_grid(site, site.released, "undone", change=change), known)


# All together, and more than one clip ----------------------------------------------------------


def ensemble(site: Site) -> Told:
    """All attackers above at once: for each attribute the mean rank of those that help on the
    validation split, as often as they help."""
    said = [site_told(site, name) for name in members(site)]
    if not said:
        raise NotHere("no other attack is done")
    val, test = (
        np.stack([ranks(scores) for scores in s]) for s in zip(*(s[:2] for s in said), strict=True)
    )
    columns = []
    for k, labels in enumerate(site.data.val.attributes.T):
        chosen: list[int] = []
        for _ in range(CHOICES):
            sums = val[chosen, :, k].sum(0)
            chosen.append(
                int(np.argmax([metrics.auroc(sums + one, labels) for one in val[..., k]]))
            )
        columns.append([part[chosen, :, k].mean(0) for part in (val, test)])
    return Told(*(np.stack(column, 1) for column in zip(*columns, strict=True)))


def ranks(scores: np.ndarray) -> np.ndarray:
    """(N, K) to the normal quantiles of the ranks in each column: the same scale for everybody."""
    order = torch.from_numpy(scores.argsort(0, kind="stable").argsort(0))
    found: np.ndarray = torch.special.ndtri((order.double() + 0.5) / len(scores)).numpy()
    return found


def person(site: Site) -> Told:
    """Knows which clips are of one person. The mean over them of what the ensemble says, of what
    stays with a person: what is faint in each adds up."""
    said, stays = site_told(site, "ensemble"), staying(site.data.train)
    return Told(
        *(
            over_person(scores, part.groups, stays, scores, part.groups)
            for scores, part in zip(said[:2], site.data[1:], strict=True)
        )
    )


def watched(site: Site) -> Told:
    """Stands before the camera for days: has many more clips of each test person, without a label,
    and knows which are of one. The mean over them of what the best reader of the grid says, of what
    stays with a person; of the rest, the ensemble's word."""
    stays, own = staying(site.data.train), site.study.base.data
    if own.name != "people":
        raise NotHere(f"{own.name} has no more clips of its test people")
    build, window = reader(site)
    names = [n for n in ("cells", "plain_first", "cells_more") if done(site, n)] or ["cells"]
    said = [site_told(site, name) for name in names]
    best = max(said, key=lambda one: metrics.cmap(one.val, site.data.val.attributes))
    clips = plugins.load("data", "people").load(
        replace(
            own.config,
            test_clips=round(site.factor * own.config.test_clips),
            **{"train_people": 2, "val_people": 2},  # nobody looks at them
        )
    ).test  # fmt: skip
    clips = replace(clips, name="watched/test")
    for one in np.unique(clips.groups):
        then, now = (p.attributes[p.groups == one][0, stays] for p in (site.data.test, clips))
        if not np.array_equal(then, now):
            raise Failure(f"Person {one} is another one where more of its clips are drawn.")
    network = build(clips.attributes.shape[1])
    network.load_state_dict(dict(best.weights))
    scores = site.look(network, on_grid(site, site.let_out(clips), "told"), window)
    clip_by_clip = site_told(site, "ensemble")
    groups = site.data.test.groups
    return Told(best.val, over_person(clip_by_clip.test, groups, stays, scores, clips.groups))


def staying(part: ClipSet) -> np.ndarray:
    """(K,) bool: attributes that are the same in all clips of a person, of everybody."""
    means = [part.attributes[part.groups == one].mean(0) for one in np.unique(part.groups)]
    found: np.ndarray = np.isin(np.stack(means), (0, 1)).all(0)
    if not found.any():
        raise NotHere("no attribute stays with a person")
    return found


def over_person(
    scores: np.ndarray, groups: np.ndarray, stays: np.ndarray, of: np.ndarray, whose: np.ndarray
) -> np.ndarray:
    """Scores (N, K) of clips of ``groups``, where in columns that stay with a person stands the
    mean over all of ``of``, (M, K), that are of the same person by ``whose``, (M,)."""
    found = scores.copy()
    for one in np.unique(groups):
        found[np.ix_(groups == one, stays)] = of[whose == one][:, stays].mean(0)
    return found


ATTACKS: dict[str, Callable[[Site], Told]] = {
    attack.__name__: attack
    for attack in (
        spectrum, trees, silhouette, cells, plain_first, undo, recurrent, transformer, action, wide,
        more_epochs, more_data, cells_more, ensemble, person, watched,
    )
}  # fmt: skip
JOINT = ("ensemble", "person", "watched")  # they ask the others


# Carrying them out -----------------------------------------------------------------------------


def knows(name: str) -> str:
    """What the attacker knows and hopes for, as the attack's own text says it."""
    return " ".join((ATTACKS[name].__doc__ or "").split())


def members(site: Site) -> list[str]:
    """The attacks that are done, of those that look for themselves."""
    return [name for name in ATTACKS if name not in JOINT and done(site, name)]


def of(site: Site, name: str) -> str:
    """What an attack's scores depend on."""
    return digest([site.key, members(site) if name in JOINT else []])


def done(site: Site, name: str) -> tuple[Told, float] | None:
    """What an attack said before, and the seconds that it took."""
    return site.saved(name, of(site, name))


def site_told(site: Site, name: str) -> Told:
    """What an attack says; it is carried out if it is not done."""
    if before := done(site, name):
        return before[0]
    begin = time.monotonic()
    said = ATTACKS[name](site)
    site.save(name, of(site, name), said, time.monotonic() - begin)
    return said


def carry_out(site: Site, names: list[str]) -> dict[str, Any]:
    """Attack, one after the other; returns what ``attacks.json`` holds, written after each."""
    path = site.folder / "rows" / site.row / "attacks.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    summary = json.loads((site.folder / "summary.json").read_text())
    measured = next(one for one in summary["rows"] if one["name"] == site.row)
    record: dict[str, Any] = {
        "schema": 1,
        "title": summary["title"],
        "cell": site.folder.resolve().name,
        "row": site.row,
        "method": measured["method"],
        **{key: summary[key] for key in ("dataset", "seed")},
        "attacker_seed": site.seed,
        "factor": site.factor,
        "versions": versions(),
        "chance": summary["chance"]["cmap"],
        "floor": (summary.get("floor") or {}).get("L"),
        "headline": {key: measured[key] for key in ("cmap", "L", "L_interval", "strongest")},
        "attacks": {},
    }
    for key in ("not_here", "failed"):
        record[key] = {n: why for n, why in before.get(key, {}).items() if n not in names}
    with locked(site.out):
        for name in ATTACKS:
            known = done(site, name)
            if known is None and name not in names:
                continue
            print(f"{site.row}: {name:12}", end="was done: " if known else "", flush=True)
            try:
                said = site_told(site, name)
            except NotHere as reason:
                record["not_here"][name] = str(reason)
                print(f" not here: {reason}")
            except Exception as error:
                record["failed"][name] = sentence(error)
                print(f" failed: {sentence(error)}")
            else:
                _, seconds = done(site, name) or (said, 0.0)
                found = {"knows": knows(name), **site.figures(name, said.test), "seconds": seconds}
                record["attacks"][name] = found
                auroc = found["attributes"][found["strongest"]]["auroc"]
                print(
                    f" L {shown(found['L'], found['L_interval'])}, {found['strongest']} "
                    f"{auroc:.0f} % AUROC, {seconds:.0f} s"
                )
            content = json.dumps(record, indent=1).encode()
            checkpoint.write_atomically(path, content)
        if {*ATTACKS} == {*record["attacks"], *record["not_here"]}:
            for big in site.out.glob("cache-*"):
                shutil.rmtree(big)
    return record


def shown(value: float | None, interval: list[float | None]) -> str:
    """A value and its interval; where raw video itself is not read, there is none."""
    low, high = interval
    if value is None or low is None or high is None:
        return "unknown"
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def main(words: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="a finished cell or study")
    parser.add_argument("--row", action="append", default=[], help="to attack; may be repeated")
    parser.add_argument("--only", action="append", default=[], help="attack; may be repeated")
    parser.add_argument("--factor", type=float, default=10.0, help="of those who have more")
    parser.add_argument("--list", action="store_true", help="the attacks, and what they know")
    given = parser.parse_args(words)
    if given.list:
        print("\n".join(f"{name:12} {knows(name)}" for name in ATTACKS))
        return 0
    keep_freed_memory()
    try:
        if given.folder is None or not given.row:
            raise BadInput("Name a finished cell and a row: runs/frontier/w2-10 --row game.")
        for name in given.only:
            if name not in ATTACKS:
                raise unknown("attack", name, ATTACKS)
        names = [name for name in ATTACKS if not given.only or name in given.only]
        sites = [open_site(given.folder, row, given.factor) for row in given.row]
        failed = [
            f"{site.row}: {name} failed: {why}"
            for site in sites
            for name, why in carry_out(site, names)["failed"].items()
            if name in names
        ]
    except VelaturaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print("\n".join(failed), end="\n" if failed else "", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
