"""MaSS: three parts of what f_A minimises, each against its formula; who moves; two processes."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from test_vita import WORLD, batch_of, mine, naive_sight, parted, players_of, real
from torch import Tensor, nn
from toys import FakeLoop, moved, state, toy_players, watch

from velatura import losses
from velatura.errors import BadInput
from velatura.methods import mass
from velatura.models._parts import pooled
from velatura.training.batches import Batch
from velatura.training.players import Players

each_bearer = pytest.mark.parametrize("bearer", ["clips", "images"])


def mass_players(bearer: str = "clips", norm: bool = False) -> Players:
    """A teacher that f_T has moved away from, and a prevalence that is nowhere one half."""
    players = players_of(bearer, norm)
    players.teacher = toy_players("adversaries", seed=1, norm=norm).f_T
    return players


def hinged(v: Tensor) -> Tensor:
    return v * v + abs(v)


def naive_parts(
    players: Players, batch: Batch, m: float = 0.0, n: float | None = None, t: float = 0.07
) -> dict[str, Tensor]:
    """Attribute by attribute, member by member, item by item."""
    clips, seen, told = naive_sight(players, batch)
    suppressed = 0.0
    for member in players.f_B:
        answers = torch.sigmoid(member(seen))
        for k, p in enumerate(players.prevalence.tolist()):
            chances = torch.where(told[:, k] == 1, answers[:, k], 1 - answers[:, k])
            error, entropy = -chances.log().mean(), -p * math.log(p) - (1 - p) * math.log(1 - p)
            short = error - entropy + m
            if short < 0:
                suppressed = suppressed + hinged(short) / len(players.f_B)
    chances = torch.softmax(players.f_T(clips), 1)[range(len(clips)), batch.actions]
    target, there = -chances.log().mean(), math.log(3)
    above = target - there + (there if n is None else n)
    rows = []
    for shown in (batch.clips, clips):
        features = players.teacher.features(shown)[-1]  # (B, C, T, H, W)
        rows.append([row.mean((1, 2, 3)) / row.mean((1, 2, 3)).norm() for row in features])
    raw, made = rows
    unnamed = 0.0
    for here, other in ((raw, made), (made, raw)):
        for i, row in enumerate(here):
            similar = [torch.exp(row @ column / t) for column in other]
            unnamed = unnamed - torch.log(similar[i] / sum(similar)) / (2 * len(here))
    return {
        "target": target, "suppressed": torch.as_tensor(suppressed),
        "preserved": hinged(above) if above > 0 else 0 * above, "features": unnamed,
    }  # fmt: skip


@pytest.mark.parametrize(("m", "n"), [(0.0, None), (0.02, 0.1), (0.0, 1.0)])
@each_bearer
def test_the_loss_of_step_1(bearer: str, m: float, n: float | None):
    """w_S sum (v^2 + |v|) + w_U (v^2 + |v|) + w_F InfoNCE, and its slope, written out."""
    players, batch = told_well(mass_players(bearer)), batch_of()
    cfg = mass.Config(
        suppress_bound=m, preserve_bound=n, temperature=0.3,
        suppress_weight=2.0, preserve_weight=0.7, feature_weight=0.5,
    )  # fmt: skip
    terms, released = mass.step_anonymizer(players, batch, cfg)
    terms["loss"].backward()
    twin = told_well(mass_players(bearer))
    expected = naive_parts(twin, batch, m, n, 0.3)
    assert float(expected["suppressed"].detach()) > 0
    loss = 2 * expected["suppressed"] + 0.7 * expected["preserved"] + 0.5 * expected["features"]
    loss.backward()
    clips = torch.stack([twin.f_A(clip) for clip in batch.clips])
    expected |= {"loss": loss, "rms": losses.rms(batch.clips, clips).mean()}
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].detach(), value.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        players.f_A.conv.weight.grad, twin.f_A.conv.weight.grad, atol=1e-6, rtol=1e-3
    )
    torch.testing.assert_close(released.clips, clips)


def told_well(players: Players) -> Players:
    """Adversaries that have learnt a little, so that there is something to suppress."""
    optimizer = torch.optim.Adam(players.f_B.parameters(), 0.01)
    for _ in range(12):
        terms = mass.step_adversaries(players, batch_of(), mass.Config())
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    for module in players.modules().values():
        module.zero_grad()
    return players


def test_the_released_programs_weights_are_the_default():
    cfg = mass.Config()
    weights = (cfg.suppress_weight, cfg.preserve_weight, cfg.feature_weight)
    assert (weights, cfg.temperature, cfg.suppress_bound) == ((1.0, 1.0, 1.0), 0.07, 0.0)


def test_attributes_add_up_and_members_are_averaged():
    """More attributes are more to hide; more members are a better look at the same."""
    players, batch = told_well(mass_players()), batch_of()
    one = mass.step_anonymizer(players, batch, mass.Config())[0]["suppressed"]
    players.f_B = nn.ModuleList([*players.f_B, *players.f_B])
    again = mass.step_anonymizer(players, batch, mass.Config())[0]["suppressed"]
    torch.testing.assert_close(one, again)
    doubled = mass_players()
    doubled.f_B = nn.ModuleList(Twice(f) for f in players.f_B)
    doubled.prevalence = torch.cat([players.prevalence] * 2)
    wide = torch.cat([batch.attributes] * 2, 1)
    wide = replace(batch, attributes=wide, told=wide)
    twice = mass.step_anonymizer(doubled, wide, mass.Config())[0]["suppressed"]
    torch.testing.assert_close(twice, 2 * one)


class Twice(nn.Module):
    """The same attributes, named twice."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, clips: Tensor) -> Tensor:
        return torch.cat([self.inner(clips)] * 2, 1)


def test_the_hinge_is_on_each_attribute_not_on_their_sum():
    """One that is known and one that the adversary is wrong about do not make up for each other."""
    players = mass_players()
    players.prevalence = torch.tensor([0.5, 0.5])

    class Fixed(nn.Module):
        def forward(self, clips: Tensor) -> Tensor:
            return torch.tensor([4.0, -4.0]).expand(len(clips), 2) + 0 * clips.sum()

    players.f_B = nn.ModuleList([Fixed()])
    batch = replace(batch_of(), attributes=torch.ones(4, 2))
    terms, _ = mass.step_anonymizer(players, batch, mass.Config())
    short = math.log(2) - math.log1p(math.exp(-4))
    assert float(terms["suppressed"]) == pytest.approx(short**2 + short, rel=1e-5)


def test_an_attribute_that_nobody_or_everybody_has_costs_nothing():
    players, batch = told_well(mass_players()), batch_of()
    players.prevalence = torch.tensor([0.0, 1.0])
    terms, _ = mass.step_anonymizer(players, batch, mass.Config())
    assert float(terms["suppressed"]) == 0.0
    assert torch.isfinite(terms["loss"])


def test_what_may_be_left_and_what_has_to_be():
    """Bounds that allow everything silence their part, and leave f_A no slope of it."""
    players, batch = told_well(mass_players()), batch_of()
    cfg = mass.Config(suppress_bound=1.0, preserve_bound=0.0, feature_weight=0.0)
    with torch.no_grad():
        players.f_T.head.weight.zero_()
        players.f_T.head.bias.zero_()
    terms, _ = mass.step_anonymizer(players, batch, cfg)
    assert float(terms["suppressed"]) == 0.0
    assert float(terms["preserved"]) == pytest.approx(0.0, abs=1e-6)
    terms["loss"].backward()
    assert float(players.f_A.conv.weight.grad.abs().max()) < 1e-6


def test_more_of_the_action_than_there_is_is_refused():
    players, batch = mass_players(), batch_of()
    mass.step_anonymizer(players, batch, mass.Config(preserve_bound=math.log(3)))
    with pytest.raises(BadInput, match=r"preserve_bound is 1.2 nats, but to tell 3 .* 1.099"):
        mass.step_anonymizer(players, batch, mass.Config(preserve_bound=1.2))
    mass.check(mass.Config(preserve_bound=math.log(3)), players, 3, 2)
    with pytest.raises(BadInput, match=r"preserve_bound is 1.2 nats"):
        mass.check(mass.Config(preserve_bound=1.2), players, 3, 2)
    with pytest.raises(BadInput, match=r"set batches.batch to at least 2"):
        mass.check(mass.Config(), players, 3, 1)


def test_all_of_the_action_is_the_default():
    """n = log(n_actions): every error counts."""
    batch = batch_of()
    values = [
        float(mass.step_anonymizer(mass_players(), batch, cfg)[0]["preserved"])
        for cfg in (mass.Config(), mass.Config(preserve_bound=math.log(3)))
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def descend(players: Players, terms: dict[str, Tensor]) -> None:
    weights = [p for m in players.modules().values() for p in m.parameters()]
    for weight in weights:
        weight.grad = None
    terms["loss"].backward()
    with torch.no_grad():
        for weight in weights:
            if weight.grad is not None:
                weight -= 0.02 * weight.grad / (1e-8 + weight.grad.norm())


@pytest.mark.parametrize(
    ("term", "weight"),
    [
        ("suppressed", "suppress_weight"),
        ("preserved", "preserve_weight"),
        ("features", "feature_weight"),
    ],
)
@each_bearer
def test_each_part_reaches_f_A_and_goes_down(term: str, weight: str, bearer: str):
    players, batch = told_well(mass_players(bearer)), batch_of()
    weights = {"suppress_weight": 0.0, "preserve_weight": 0.0, "feature_weight": 0.0, weight: 1.0}
    first, _ = mass.step_anonymizer(players, batch, mass.Config(**weights))
    descend(players, first)
    second, _ = mass.step_anonymizer(players, batch, mass.Config(**weights))
    assert float(second[term]) < float(first[term]) - 1e-5


def test_suppression_raises_the_adversaries_error():
    players, batch = told_well(mass_players()), batch_of()
    cfg = mass.Config(preserve_weight=0.0, feature_weight=0.0)
    errors = []
    for _ in range(3):
        with torch.no_grad():
            seen = players.f_A(batch.clips)
            errors.append(float(sum(losses.supervised(f(seen), batch.attributes)
                                    for f in players.f_B)))  # fmt: skip
        descend(players, mass.step_anonymizer(players, batch, cfg)[0])
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (2, 4, 3)])
def test_pooled_by_hand(shape: tuple[int, ...]):
    """Of a clip network (B, C, T, H, W); of one that looks at frames (B, T, C)."""
    features = torch.randn(shape)
    found = pooled(features)
    assert found.shape == (2, 3)
    for b in range(2):
        for c in range(3):
            own = features[b, c] if len(shape) == 5 else features[b, :, c]
            torch.testing.assert_close(found[b, c], own.mean())


def test_the_reference_is_of_the_raw_clips_and_has_no_history():
    """Otherwise f_A could make its features easy to find by nothing at all."""
    players, seen = mass_players(), []
    features = players.teacher.features
    players.teacher.features = lambda clips: seen.append(clips) or features(clips)
    batch = batch_of()
    _, released = mass.step_anonymizer(players, batch, mass.Config())
    assert torch.equal(seen[0], batch.clips)
    assert not seen[0].requires_grad
    assert torch.equal(seen[1], released.clips)
    assert seen[1].requires_grad
    assert len(seen) == 2


# Step 2


@each_bearer
def test_the_loss_of_step_2(bearer: str):
    players, batch = mass_players(bearer), batch_of()
    terms = mass.step_adversaries(players, batch, mass.Config())
    clips, seen, told = naive_sight(players, batch)
    target = torch.nn.functional.cross_entropy(players.f_T(clips), batch.actions)
    errors = [losses.supervised(f(seen), told) for f in players.f_B]
    torch.testing.assert_close(terms["loss"], target + errors[0] + errors[1])
    torch.testing.assert_close(terms["adversary"], min(errors).detach())
    torch.testing.assert_close(terms["target"], target.detach())


@each_bearer
def test_step_2_may_reuse_what_step_1_released(bearer: str):
    players, batch, cfg = mass_players(bearer), batch_of(), mass.Config()
    _, released = mass.step_anonymizer(players, batch, cfg)
    again = mass.step_adversaries(players, batch, cfg)
    reused = mass.step_adversaries(players, batch, cfg, released)
    torch.testing.assert_close(again["loss"], reused["loss"])


# Attributes that images bear


def test_of_images_adversaries_are_told_the_images_attributes():
    batch = batch_of()
    other_clips = replace(batch, attributes=1 - batch.attributes)
    other_images = replace(batch, told=1 - batch.told)

    def found(bearer: str, given: Batch) -> list[float]:
        players, cfg = told_well(mass_players(bearer)), mass.Config()
        terms, released = mass.step_anonymizer(players, given, cfg)
        two = mass.step_adversaries(players, given, cfg, released)
        return [float(terms["suppressed"]), float(two["adversary"])]

    truth = found("images", batch)
    assert found("images", other_clips) == truth
    assert not set(found("images", other_images)) & set(truth)
    truth = found("clips", batch)
    assert found("clips", other_images) == truth
    assert not set(found("clips", other_clips)) & set(truth)


def test_of_images_adversaries_look_at_both_views_as_a_clip():
    players, batch = mass_players("images"), batch_of()
    with torch.no_grad():
        views = torch.stack([players.f_A(batch.first), players.f_A(batch.second)], 1)
    seen: dict[str, list[Tensor]] = {"f_A": [], "f_T": [], "f_B": []}
    for name in ("f_A", "f_T"):
        watch(players.modules()[name], seen[name], lambda m, x: x.detach())
    for member in players.f_B:
        watch(member, seen["f_B"], lambda m, x: x.detach())
    _, released = mass.step_anonymizer(players, batch, mass.Config())
    mass.step_adversaries(players, batch, mass.Config(), released)
    assert len(seen["f_A"]) == 1
    assert torch.equal(seen["f_A"][0][12:], torch.cat([batch.first, batch.second]))
    for found in seen["f_B"]:
        torch.testing.assert_close(found, views)
    assert all(found.shape == batch.clips.shape for found in seen["f_T"])


# Training


A, TB = {"f_A"}, {"f_T", "f_B"}


def played(**options: Any) -> FakeLoop:
    players = mass_players(norm=True)
    made = FakeLoop(players, batch=lambda step: batch_of(step))
    mass.train(players, mass.Config(**options), made)
    return made


def test_the_order_of_steps():
    made = played(steps=2)
    assert made.movers() == [A | TB] * 2
    assert made.diary == [(s, who) for s in range(2) for who in ("anonymizer", "adversaries")]
    assert played(steps=3, alternate="batch").movers() == [A, TB, A]
    made = played(steps=2, identity_steps=1)
    assert made.movers() == [A, A | TB, A | TB]
    assert made.diary[0] == (0, "identity")


def test_the_teacher_never_moves():
    players = mass_players(norm=True)
    before = state(players)
    mass.train(players, mass.Config(steps=3), FakeLoop(players))
    assert moved(before, state(players)) == A | TB


def test_f_A_is_asked_once_a_batch():
    for alternate in ("both", "batch"):
        players, calls = mass_players(norm=True), []
        watch(players.f_A, calls, lambda m, x: 1)
        mass.train(players, mass.Config(steps=4, alternate=alternate), FakeLoop(players))
        assert len(calls) == 4


def test_everything_that_the_future_depends_on_is_kept():
    players = mass_players()
    made = FakeLoop(players)
    mass.train(players, mass.Config(steps=1, lr_anonymizer=1e-3, lr_target=2e-3, lr_budget=3e-3),
               made)  # fmt: skip
    assert all(made.kept[name] is module for name, module in players.modules().items())
    rates = {}
    for name in ("optimizer_A", "optimizer_TB"):
        for group in made.kept[name].param_groups:
            rates.update({id(p): group["lr"] for p in group["params"]})
    for module, rate in ((players.f_A, 1e-3), (players.f_T, 2e-3), (players.f_B, 3e-3)):
        assert {rates[id(p)] for p in module.parameters()} == {rate}
    assert not any(id(p) in rates for p in players.teacher.parameters())


def test_rates_early_and_late():
    found: list[tuple] = []

    class Rates(FakeLoop):
        def rate(self, optimizer: Any, *rate: float, **shares: float) -> None:
            found.append((*rate, shares["warm_up"], shares["anneal"]))

    cfg = mass.Config(
        identity_steps=1, steps=2, lr_anonymizer=0.1, lr_identity=0.3, warm_up=0.2, anneal=0.4
    )
    mass.train(players := mass_players(norm=True), cfg, Rates(players))
    assert found == [(0.3, 3, 0.2, 0.4)] + [(0.1, 3, 0.2, 0.4)] * 2


def test_nothing_to_do_is_refused():
    with pytest.raises(BadInput, match="both 0"):
        mass.Config(steps=0)


@each_bearer
def test_broken_off_and_resumed_it_ends_at_the_same_bits(bearer: str, tmp_path: Path):
    cfg = mass.Config(steps=6, lr_anonymizer=1e-2, lr_target=1e-2, lr_budget=1e-2)
    images = bearer == "images"
    ends = []
    for folder, resume, at in (("whole", False, 99), ("broken", False, 3), ("broken", True, 99)):
        _, made = real(tmp_path / folder, resume=resume, images=images)
        players, made.at = mass_players(bearer, norm=True), at
        if at == 3:
            with pytest.raises(KeyboardInterrupt):
                mass.train(players, cfg, made)
            continue
        assert made.step == (2 if resume else 0)
        mass.train(players, cfg, made)
        ends.append(state(players))
    assert moved(*ends) == set()
    assert moved(state(mass_players(norm=True)), ends[0]) == A | TB


# Two processes


def compute() -> dict[str, Any]:
    """Loss and averaged slope of f_A; the same code on one process and on two."""
    found: dict[str, Any] = {}
    for name, cfg in CASES.items():
        players, batch = parted()
        players.teacher = mass_players().teacher
        terms, _ = mass.step_anonymizer(players, mine(batch), cfg)
        terms["loss"].backward()
        slope, value = players.f_A.conv.weight.grad, terms["loss"].detach().clone()
        if dist.is_initialized():
            for tensor in (slope, value):
                dist.all_reduce(tensor)
                tensor /= WORLD
        found[name] = (value, slope)
    return found


ALONE = {"suppress_weight": 0.0, "preserve_weight": 0.0, "feature_weight": 0.0}
CASES = {
    "suppressed": mass.Config(**{**ALONE, "suppress_weight": 1.0}),
    "preserved": mass.Config(**{**ALONE, "preserve_weight": 1.0}, preserve_bound=0.0),
    "features": mass.Config(**{**ALONE, "feature_weight": 1.0}),
}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD,
        timeout=timedelta(seconds=120),
    )  # fmt: skip
    torch.save(compute(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_have_the_hinges_and_negatives_of_the_joint_batch(tmp_path: Path):
    torch.multiprocessing.spawn(worker, (str(tmp_path),), nprocs=WORLD)
    joint = compute()
    for rank in range(WORLD):
        for name, (value, slope) in torch.load(tmp_path / f"{rank}.pt").items():
            assert joint[name][1].any(), name
            torch.testing.assert_close(value, joint[name][0])
            torch.testing.assert_close(slope, joint[name][1], atol=2e-6, rtol=1e-3)
