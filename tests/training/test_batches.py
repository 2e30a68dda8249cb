"""Batches and randomness are functions of (seed, step); freezing is undone."""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training import tiny

from velatura import transforms
from velatura.errors import BadInput
from velatura.training import windows
from velatura.training.batches import Batch, Batches, Config
from velatura.training.players import frozen, prepare
from velatura.training.seed import generator, reseed
from velatura.transforms import Augment

CFG = Config(batch=4, size=16, frames=4)


def parts(batch: Batch) -> list[torch.Tensor]:
    found = [getattr(batch, f.name) for f in fields(batch)]
    return [part for part in found if part is not None]


# ------------------------------------------------------------------------------------- seeds


def test_randomness_is_a_function_of_its_parts():
    a, b = (torch.rand(5, generator=generator(3, "views", 7)) for _ in range(2))
    assert torch.equal(a, b)
    others = [generator(3, "views", 8), generator(4, "views", 7), generator(3, "order", 7)]
    assert not any(torch.equal(a, torch.rand(5, generator=g)) for g in others)
    # 1, 23 and 12, 3 are written alike without a mark between them.
    one, other = generator(1, 23), generator(12, 3)
    assert not torch.equal(torch.rand(5, generator=one), torch.rand(5, generator=other))


def test_reseeding_sets_what_networks_draw_from():
    draws = []
    for step in (5, 6, 5):
        reseed(0, "step", step)
        draws.append(torch.cat([nn.Linear(2, 3).weight.flatten(), torch.rand(4)]))
        torch.rand(17)  # whatever happened since does not matter
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])


def test_a_generator_leaves_the_global_one_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    generator(0, "x")
    assert torch.equal(torch.rand(3), expected)


# ----------------------------------------------------------------------------------- batches


def test_a_batch_is_a_function_of_seed_and_step():
    data = tiny.noise()
    one, again = Batches(data, CFG, 3), Batches(data, CFG, 3)
    again.at(0), again.at(9)  # what was asked before does not matter
    for step in (0, 1, 5):
        assert all(map(torch.equal, parts(one.at(step)), parts(again.at(step))))
    assert not torch.equal(one.at(0).clips, one.at(1).clips)
    assert not torch.equal(one.at(0).clips, Batches(data, CFG, 4).at(0).clips)


@pytest.mark.parametrize("role", ["clips", "views"])
def test_epochs_are_permutations(role: str):
    """12 clips in batches of 4: each is seen once in three steps, in another order each time."""
    stream = Batches(tiny.noise(), CFG, 3)
    epochs = [torch.cat([stream._items(3 * e + i, role) for i in range(3)]) for e in range(3)]
    for order in epochs:
        assert sorted(order.tolist()) == list(range(12))
    assert len({tuple(order.tolist()) for order in epochs}) == 3


def test_an_incomplete_last_batch_is_left_out_and_dealt_anew():
    stream = Batches(tiny.noise(11), CFG, 3)
    for epoch in range(4):
        seen = torch.cat([stream._items(2 * epoch + i, "clips") for i in range(2)])
        assert len(set(seen.tolist())) == 8
    everything = torch.cat([stream._items(i, "clips") for i in range(20)])
    assert set(everything.tolist()) == set(range(11))


def test_labels_stay_with_their_clips():
    """Clips of one colour each, dark or bright, which no window or mirror can change."""
    data = tiny.noise()
    colours = np.array([*range(6), *range(250, 256)], np.uint8)
    clips = np.ones_like(tiny.clips_of(data)) * colours[:, None, None, None, None]
    data = tiny.with_clips(data, clips)
    stream = Batches(data, CFG, 0)
    for step in range(4):
        batch = stream.at(step)
        items = np.searchsorted(colours, (batch.clips[:, 0, 0, 0, 0] * 255).round().byte().numpy())
        assert torch.equal(batch.clips, batch.clips[:, :1, :1, :1, :1].expand(batch.clips.shape))
        assert batch.actions.tolist() == data.actions[items].tolist()
        assert batch.attributes.tolist() == data.attributes[items].tolist()
        assert batch.attributes.dtype == torch.float32
        bright = torch.from_numpy(clips[stream._items(step, "views"), 0, 0, 0, 0] > 127)
        for view in (batch.first, batch.second):  # of the same clips, whatever the light does
            assert torch.equal(view[:, 0, 0, 0] > 0.5, bright)


@pytest.mark.parametrize("world", [1, 2])
def test_a_step_s_clips_once_more(world: int):
    """The same frames, and others of the same videos, in the order of the clips, on every rank."""
    data = tiny.noise(t=6)
    levels = np.arange(12 * 6).reshape(12, 6) * 3  # every frame of one level
    frames = np.broadcast_to(levels[:, :, None, None, None], (12, 6, 3, 16, 16)).astype(np.uint8)
    data = tiny.with_clips(data, frames)
    ranks = [Batches(data, CFG, 3, "cpu", rank, world) for rank in range(world)]
    for step in range(5):
        clips = torch.cat([stream.at(step).clips for stream in ranks])
        same, other = (
            torch.cat(part) for part in zip(*(s.again(step) for s in ranks), strict=True)
        )
        a, b, c = ((x[:, 0, 0, 0, 0] * 85).round().long() for x in (clips, same, other))
        assert torch.equal(a, b)
        assert torch.equal(a // 6, c // 6)
        assert not (a == c).any()
    assert all(map(torch.equal, ranks[0].again(2), Batches(data, CFG, 3, "cpu", 0, world).again(2)))


@pytest.mark.parametrize("augment", [None, Augment()])
def test_no_two_draws_of_a_step_share_a_generator(
    augment: Augment | None, monkeypatch: pytest.MonkeyPatch
):
    """Starts and changes of clips and of views: equal numbers would tie the budget branch's views
    to the clips, mirror for mirror."""
    seeds: list[int] = []

    def noting(real):
        def noted(*arguments, **named):
            given = [*arguments, *named.values()]
            seeds.extend(g.initial_seed() for g in given if isinstance(g, torch.Generator))
            return real(*arguments, **named)

        return noted

    for module, name in (
        (windows, "random"),
        (windows, "two"),
        (windows, "varied"),
        (transforms, "two_views"),
    ):
        monkeypatch.setattr(module, name, noting(getattr(module, name)))
    stream = Batches(tiny.noise(), replace(CFG, augment=augment), 3)
    for step in range(3):
        stream.at(step)
        stream.again(step)
    assert len(seeds) == 24
    assert len(set(seeds)) == 21  # the same frames are the same frames: one start for both


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_see_together_what_one_would(world: int):
    data = tiny.noise()
    whole = Batches(data, CFG, 3)
    shares = [Batches(data, CFG, 3, "cpu", rank, world) for rank in range(world)]
    for step in range(5):
        together = [torch.cat(p) for p in zip(*(parts(s.at(step)) for s in shares), strict=True)]
        assert all(map(torch.equal, together, parts(whole.at(step))))


@pytest.mark.parametrize(
    ("changes", "world", "said"),
    [
        (
            {"batch": 13}, 1,
            "batches.batch is 13 but noise/train has 12 clips; set it to at most 12.",
        ),
        (
            {"size": 17}, 1,
            "A window of 17 px does not fit the pictures of noise/train, 16 x 16 px; lower "
            "batches.size, or take larger pictures.",
        ),
        ({}, 3, "batches.batch is 4, which 3 processes cannot share evenly."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_at_the_door(changes: dict[str, int], world: int, said: str):
    cfg = Config(**{"batch": 4, "size": 16, "frames": 4, **changes})
    with pytest.raises(BadInput) as caught:
        Batches(tiny.noise(), cfg, 0, world=world)
    assert str(caught.value) == said


def test_the_limits_themselves_fit():
    assert len(Batches(tiny.noise(), Config(batch=12, size=16, frames=4), 0).at(3).clips) == 12


def test_a_memory_map_will_do(tmp_path: Path):
    data = tiny.noise()
    np.save(tmp_path / "x.npy", data.frames)
    mapped = data.with_frames(np.load(tmp_path / "x.npy", mmap_mode="r"), data.name, "x")
    assert all(
        map(torch.equal, parts(Batches(mapped, CFG, 3).at(2)), parts(Batches(data, CFG, 3).at(2)))
    )


# ------------------------------------------------------------------------------------ freezing


def a_network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 2)
    )
    made[2].eval()
    made[0].bias.requires_grad_(False)
    return made


def test_frozen_is_still_but_transparent():
    network, picture = a_network(), torch.rand(2, 3, 4, 4, requires_grad=True)
    before = copy.deepcopy(network.state_dict())
    with frozen(network):
        assert not any(p.requires_grad for p in network.parameters())
        assert not any(m.training for m in network.modules())
        network(picture).square().sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0
    assert all(p.grad is None for p in network.parameters())
    assert tiny.equal(dict(network.state_dict()), dict(before))  # BatchNorm's means too


@pytest.mark.parametrize("breaks", [False, True])
def test_afterwards_all_is_as_before(breaks: bool):
    network = a_network()
    required = [p.requires_grad for p in network.parameters()]
    modes = [m.training for m in network.modules()]
    assert len(set(required)) == len(set(modes)) == 2  # a mixture, or there is nothing to restore
    try:
        with frozen(network):
            if breaks:
                raise KeyError
    except KeyError:
        pass
    assert [p.requires_grad for p in network.parameters()] == required
    assert [m.training for m in network.modules()] == modes


def test_preparing_changes_the_layout_and_no_number():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(4, 2, 3), nn.Linear(2, 2))
    before = copy.deepcopy(network.state_dict())
    assert prepare(network, "cpu") is network
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[1].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert tiny.equal(dict(network.state_dict()), dict(before))
