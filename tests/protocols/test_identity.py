"""Finding people again: roles, figures, directions that separate, and the whole protocol."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from training import tiny

from velatura import reidentify
from velatura.errors import BadInput
from velatura.layout import ClipSet, Splits
from velatura.protocols import identity
from velatura.protocols.identity import Embedder, embed, enrol, figures, fit_embedder, identify
from velatura.training import loop
from velatura.training.batches import Config as Window

FABRIC = loop.fabric(loop.Config(device="cpu", precision="32"))
WINDOW = Window(size=16, frames=4, shift=0)
QUICK = identity.Config(epochs=6, adapt_epochs=4, dimensions=16, batch=8, lr=1e-2, replicates=100)


def people(part: str, count: int, clips: int, seed: int) -> ClipSet:
    """People who are a colour each; the attributes say whether it has much red, and green."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 2, (count, 3)) * 90 + rng.uniform(30, 130, (count, 3))
    who = np.arange(count).repeat(clips)
    data = tiny.noise(n=count * clips, name=f"noise/{part}")
    shown = colours[who][:, None, :, None, None] + rng.normal(0, 25, tiny.clips_of(data).shape)
    data = tiny.with_clips(data, shown.round().clip(0, 255).astype(np.uint8))
    told = (colours[who][:, :2] > 120).astype(np.uint8)
    return replace(data, groups=who + 1000 * seed, attributes=told)


@pytest.fixture(scope="module")
def raw() -> Splits:
    return Splits(people("train", 16, 4, 1), people("val", 6, 2, 2), people("test", 12, 3, 3))


@pytest.fixture(scope="module")
def knows(raw: Splits) -> torch.nn.Module:
    return fit_embedder([raw.train], [raw.val], WINDOW, 0, FABRIC, QUICK)


def shown(splits: Splits, how: Any) -> Splits:
    """What an anonymizer makes of bytes."""
    return Splits(*(p.with_frames(how(np.asarray(p.frames[:])), p.name, "shown") for p in splits))


# Roles


def test_the_first_clip_of_each_is_enrolled_and_the_others_ask():
    roles = enrol(np.array([7, 3, 7, 5, 3, 9, 7, 9]))
    assert roles.enrolled.tolist() == [0, 1, 5]  # of 7, of 3 and of 9
    assert roles.queries.tolist() == [2, 4, 6, 7]
    assert roles.left_out == 1  # 5


def test_where_everybody_has_one_clip_nobody_asks():
    roles = enrol(np.arange(4))
    assert (len(roles.enrolled), len(roles.queries), roles.left_out) == (0, 0, 4)


def test_figures_by_hand():
    """Two of three found; with six pairs of different people, no FAR of a hundredth has a sense."""
    similarity = np.array([[0.9, 0.1, 0.2], [0.1, 0.2, 0.3], [0.0, 0.1, 0.8]])
    found = figures(similarity, np.array([4, 5, 6]), np.array([4, 5, 6]), 200)
    assert found["rank1"] == pytest.approx(200 / 3)
    assert found["chance"] == pytest.approx(100 / 3)
    assert found["tar"] == {"0.01": None, "0.001": None}
    low, high = found["rank1_interval"]
    assert 0 <= low < 200 / 3 < high <= 100


def test_figures_of_many_are_those_of_reidentify_and_the_interval_is_over_people():
    rng = np.random.default_rng(0)
    known, asked = np.arange(40), np.arange(40).repeat(2)
    similarity = rng.normal(size=(80, 40)) + 2.0 * (asked[:, None] == known[None])
    found = figures(similarity, asked, known, 300)
    assert found["rank1"] == reidentify.rank1(similarity, asked, known)
    assert found["tar"]["0.01"] == reidentify.tar_at_far(similarity, asked, known, 0.01)
    assert found["tar"]["0.001"] == reidentify.tar_at_far(similarity, asked, known, 0.001)
    # Twice each query tells no more of the people: the interval is no narrower.
    twice = figures(similarity.repeat(3, 0), asked.repeat(3), known, 300)
    assert twice["rank1_interval"] == pytest.approx(found["rank1_interval"])


# Directions


def separated(x: np.ndarray, people: np.ndarray) -> Embedder:
    embedder = Embedder(torch.nn.Identity(), x.shape[1], 2)
    embedder.separate(torch.from_numpy(x).float(), people)
    return embedder


def planted(seed: int, count: int = 60, clips: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """The second six of twelve numbers tell people apart; the first ones are louder and do not."""
    rng = np.random.default_rng(seed)
    who = np.arange(count).repeat(clips)
    apart = rng.normal(size=(count, 12)) * np.repeat([0, 1], 6)
    noise = rng.normal(size=(len(who), 12)) * np.repeat([2.0, 0.4], 6)
    return apart[who] + noise + 7, who


def test_directions_are_those_of_the_generalised_eigenproblem():
    x, who = planted(0)
    means = np.stack([x[who == p].mean(0) for p in range(60)])
    within = sum(np.outer(r, r) for r in x - means[who]) / (len(x) - 60)
    between = np.cov(means.T) - within / 4
    values, vectors = scipy.linalg.eigh(between, (within + np.eye(12) * np.trace(within) / 12) / 2)
    values = values.clip(0)
    expected = (vectors * (values / (values + 1))) @ vectors.T
    embedder = separated(x, who)
    found = embedder.projection @ embedder.projection.T
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(embedder.mean.numpy(), x.mean(0), atol=1e-4)
    assert 0 < (values > 0).sum() < 12


def test_new_people_are_told_apart_by_what_told_the_others_apart():
    embedder = separated(*planted(0))
    x, who = planted(1)
    roles = enrol(who)

    def found(features: np.ndarray) -> float:
        likeness = reidentify.cosine(features[roles.queries], features[roles.enrolled])
        return float(reidentify.rank1(likeness, who[roles.queries], who[roles.enrolled]))

    assert found(embedder.embed(torch.from_numpy(x).float()).numpy()) > 2 * found(x - x.mean(0))


@pytest.mark.parametrize("people", [np.arange(8), np.zeros(8, int)], ids=["one each", "one person"])
def test_where_nothing_is_known_of_people_directions_stay(people: np.ndarray):
    x = np.random.default_rng(0).normal(size=(8, 5))
    embedder = separated(x, people)
    assert torch.equal(embedder.projection, torch.eye(5))
    assert torch.equal(embedder.mean, torch.zeros(5))


# Learning


def test_joined_frames_are_those_of_each_part():
    parts = [tiny.noise(n=n, name=name).frames for n, name in ((3, "a"), (2, "bb"), (4, "ccc"))]
    together = np.concatenate(parts)
    joined = identity.Joined(parts)
    assert joined.shape == together.shape
    numbers = np.array([35, 0, 12, 11, 19, 20, 20, 13])
    assert np.array_equal(joined[numbers], together[numbers])
    for span in (slice(10, 21), slice(None), slice(0, 12), slice(30, 99), slice(5, 5)):
        assert np.array_equal(joined[span], together[span])


def test_several_parts_are_one_set_with_one_name_for_a_person():
    one = tiny.noise(n=6)
    data = identity._joined([one, one.with_frames(255 - one.frames[:], "other", "f")])
    assert (len(data), data.attribute_names) == (12, one.attribute_names)
    assert np.array_equal(data.video(7), 255 - one.video(1))
    assert np.array_equal(data.attributes[6:], one.attributes)
    bare = replace(one, attributes=one.attributes[:, :0], attribute_names=())
    named = identity._joined([bare, bare])
    assert named.attribute_names == ("0", "1", "2")
    assert np.array_equal(named.attributes.argmax(1), np.tile(one.groups, 2))
    assert (named.attributes.sum(1) == 1).all()


def test_names_are_learnt_where_there_are_no_attributes(raw: Splits):
    bare = Splits(*(replace(p, attributes=p.attributes[:, :0], attribute_names=()) for p in raw))
    told: list[tuple[int, int]] = []
    net = fit_embedder(
        [bare.train, bare.train], [bare.val], WINDOW, 0, FABRIC, QUICK,
        progress=lambda *done: told.append(done),
    )  # fmt: skip
    assert net.head.out_features == 16
    assert told[-1] == (6 * 16, 6 * 16)


def test_what_goes_on_starts_where_it_left(raw: Splits, knows: torch.nn.Module):
    """With a rate of next to nothing, the body stays, for as many epochs as are to adapt."""
    slow = replace(QUICK, lr=1e-12)
    told: list[tuple[int, int]] = []
    start = knows.state_dict()
    net = fit_embedder(
        [raw.train], [raw.val], WINDOW, 5, FABRIC, slow, start, lambda *done: told.append(done)
    )
    assert told[-1] == (4 * 8, 4 * 8)
    for name, weight in net.named_parameters():
        torch.testing.assert_close(weight.data, start[name], rtol=1e-4, atol=1e-6)


def test_a_network_that_is_no_classifier_is_refused():
    with pytest.raises(BadInput, match=r"identity\.network: gated_unet is no classifier"):
        identity.network(identity.Config(network="gated_unet"), 2)


def test_an_embedding_is_the_mean_of_a_clip_and_its_mirror_image(raw: Splits):
    class Left(torch.nn.Module):
        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            return clips[..., :4].mean((1, 3, 4))

    net = Embedder(Left(), 3, 2)
    found = embed(net, raw.test, WINDOW, FABRIC)
    clips = tiny.clips_of(raw.test) / 255
    sides = np.concatenate([clips[..., :4], clips[..., -4:]], -1)
    np.testing.assert_allclose(found, sides.mean((1, 3, 4)), atol=1e-5)
    net.mean, net.projection = torch.full((3,), 0.5), torch.diag(torch.tensor([1.0, 2.0, 0.0]))
    again = embed(net, raw.test, WINDOW, FABRIC)
    np.testing.assert_allclose(again, (found - 0.5) * [1, 2, 0], atol=1e-5)


def test_what_is_all_alike_is_like_nothing(raw: Splits, knows: torch.nn.Module):
    grey = shown(raw, lambda x: np.full_like(x, 127)).test
    assert not embed(knows, grey, WINDOW, FABRIC).any()


# The protocol


def test_people_who_are_shown_are_found(raw: Splits, knows: torch.nn.Module):
    """In every gallery; of 12 people and 24 queries, whose colours noise hardly changes."""
    told: list[tuple[int, int]] = []
    found = identify(
        raw, raw, knows, WINDOW, 0, FABRIC, QUICK, raw.test, lambda *done: told.append(done)
    )
    assert list(found) == ["raw_to_anon", "anon_to_anon", "recovered_to_raw"]
    for one in found.values():
        assert one["rank1"] > 60
        assert one["chance"] == pytest.approx(100 / 12)
        assert (one["people"], one["queries"], one["left_out"]) == (12, 24, 0)
        assert set(one["tar"]) == {"0.01", "0.001"}
        # 24 x 11 pairs of different people: enough for a hundredth, not for a thousandth.
        assert one["tar"]["0.01"] is not None
        assert one["tar"]["0.001"] is None
    # Two epochs' worth of clips for both, and one for the released alone.
    assert told == [(n, 4 * 16 + 4 * 8) for n in range(1, 97)]


def test_nobody_is_found_in_a_constant(raw: Splits, knows: torch.nn.Module):
    """Exactly chance, whatever rounding does."""
    grey = shown(raw, lambda x: np.full_like(x, 127))
    found = identify(raw, grey, knows, WINDOW, 0, FABRIC, QUICK)
    assert list(found) == ["raw_to_anon", "anon_to_anon"]
    for one in found.values():
        assert one["rank1"] == pytest.approx(100 / 12)
        assert one["tar"]["0.01"] == 0


def test_the_network_that_finds_more_counts_and_is_named(
    raw: Splits, knows: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
):
    """Which of them is asked what, with embeddings that are planted: how well each network finds
    depends on its name."""
    strength = {"raw": 0.0, "adapted": 1.0, "released": 0.5}
    made: list[tuple[int, int, Any]] = []
    rng = np.random.default_rng(0)
    _, who = np.unique(raw.test.groups, return_inverse=True)

    class Named(torch.nn.Module):
        def __init__(self, name: str):
            super().__init__()
            self.name = name

    def fitted(train: Any, val: Any, window: Any, seed: int, fabric: Any, cfg: Any, start: Any,
               tell: Any) -> torch.nn.Module:  # fmt: skip
        made.append((len(train), len(val), sorted(start)))
        return Named("adapted" if len(train) == 2 else "released")

    def embedded(net: torch.nn.Module, data: ClipSet, *_: Any) -> np.ndarray:
        name = getattr(net, "name", "raw")
        return strength[name] * 3 * np.eye(12)[who] + rng.normal(0, 1, (36, 12))

    monkeypatch.setattr(identity, "fit_embedder", fitted)
    monkeypatch.setattr(identity, "embed", embedded)
    found = identify(raw, raw, knows, WINDOW, 0, FABRIC, QUICK, raw.test)
    assert {gallery: one["by"] for gallery, one in found.items()} == {
        "raw_to_anon": "adapted", "anon_to_anon": "adapted", "recovered_to_raw": "raw",
    }  # fmt: skip
    assert made == [(2, 2, sorted(knows.state_dict())), (1, 1, sorted(knows.state_dict()))]
    strength.update(raw=1.0, adapted=0.0, released=1.0)
    found = identify(raw, raw, knows, WINDOW, 0, FABRIC, QUICK)
    assert {gallery: one["by"] for gallery, one in found.items()} == {
        "raw_to_anon": "raw", "anon_to_anon": "released",
    }  # fmt: skip


def test_adapting_finds_people_who_are_shown_in_negative(raw: Splits, knows: torch.nn.Module):
    """Who knows raw clips alone takes red for blue; who has seen both knows them again."""
    negative = shown(raw, lambda x: 255 - x)
    found = identify(raw, negative, knows, WINDOW, 0, FABRIC, replace(QUICK, adapt_epochs=8))
    roles = enrol(raw.test.groups)
    asking = embed(knows, negative.test, WINDOW, FABRIC)[roles.queries]
    held = embed(knows, raw.test, WINDOW, FABRIC)[roles.enrolled]
    groups = raw.test.groups
    alone = reidentify.rank1(
        reidentify.cosine(asking, held), groups[roles.queries], groups[roles.enrolled]
    )
    assert found["raw_to_anon"]["by"] == "adapted"
    assert found["raw_to_anon"]["rank1"] > alone + 20
    assert found["anon_to_anon"]["rank1"] > 60


def test_people_with_one_clip_are_left_out_and_counted(raw: Splits, knows: torch.nn.Module):
    groups = raw.test.groups.copy()
    groups[:3] = [7000, 7001, 7002]  # one person's clips, as if of three
    test = replace(raw.test, groups=groups)
    found = identify(raw._replace(test=test), raw, knows, WINDOW, 0, FABRIC, QUICK)
    one = found["raw_to_anon"]
    assert (one["people"], one["queries"], one["left_out"]) == (11, 22, 3)
    alone = replace(raw.test, groups=np.arange(36))
    assert identify(raw._replace(test=alone), raw, knows, WINDOW, 0, FABRIC, QUICK) == {}


def test_records_hold_every_gallery():
    one = {
        "rank1": 40.0, "rank1_interval": [30.0, 50.0], "chance": 8.0, "by": "adapted",
        "people": 12, "queries": 24, "left_out": 0, "tar": {"0.01": 20.0, "0.001": None},
    }  # fmt: skip
    row: dict[str, Any] = {"name": "blur", "identity": {"raw_to_anon": one}}
    rank, tar, fine = identity.measurements(row, tiny.noise(), {})
    assert (rank.metric, rank.value, rank.low, rank.high, rank.chance, rank.probe, rank.n) == (
        "rank1 raw_to_anon", 40.0, 30.0, 50.0, 8.0, "adapted", 24,
    )  # fmt: skip
    assert (tar.metric, tar.value, tar.chance) == ("tar@far=0.01 raw_to_anon", 20.0, 1.0)
    assert (fine.metric, fine.value) == ("tar@far=0.001 raw_to_anon", None)
    assert identity.measurements({"name": "blur"}, tiny.noise(), {}) == []
