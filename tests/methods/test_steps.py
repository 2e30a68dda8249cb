"""Every step of every learned method: who moves, who is still, and what passes through."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from toys import moved, state, toy_batch, toy_players, watch

from velatura.methods import constrained, penalty, spact
from velatura.training.batches import Batch
from velatura.training.players import Players
from velatura.transforms import standardise

Terms = dict[str, Tensor]


class Step(NamedTuple):
    name: str
    budget: str
    movers: set[str]
    take: Callable[[Players, Batch], Terms]


def alone(page, cfg) -> Callable[[Players, Batch], Terms]:
    """Step 2 on a batch of its own: f_A is asked again."""
    return lambda players, batch: page.step_adversaries(players, batch, cfg)


def after_step_1(page, cfg) -> Callable[[Players, Batch], Terms]:
    """Step 2 on what step 1 released: its graph still hangs on it."""

    def take(players: Players, batch: Batch) -> Terms:
        still = copy.deepcopy(players.f_A.state_dict())
        _, released = page.step_anonymizer(players, batch, cfg)
        players.f_A.load_state_dict(still)  # step 1 moved f_A's BatchNorm; that is its right
        return page.step_adversaries(players, batch, cfg, released)

    return take


def constrained_step_2(players: Players, batch: Batch) -> Terms:
    still = copy.deepcopy(players.f_A.state_dict())
    released = players.f_A(batch.clips)
    players.f_A.load_state_dict(still)
    return constrained.step_adversaries(players, batch, constrained.Config(), released)


PENALTY = penalty.Config(bound=0.01)
A, TB = {"f_A"}, {"f_T", "f_B"}
STEPS = [
    Step("penalty identity", "contrastive", A, penalty.step_identity),
    Step("spact identity", "contrastive", A, spact.step_identity),
    Step("penalty 1", "contrastive", A, lambda p, b: penalty.step_anonymizer(p, b, PENALTY)[0]),
    Step("spact 1", "contrastive", A, lambda p, b: spact.step_anonymizer(p, b, spact.Config())[0]),
    Step(
        "constrained 1", "adversaries", A,
        lambda p, b: constrained.step_anonymizer(p, b, constrained.Config(feature_bound=0), 1.0)[0],
    ),
    Step("penalty 2", "contrastive", TB, alone(penalty, PENALTY)),
    Step("spact 2", "contrastive", TB, alone(spact, spact.Config())),
    Step("penalty 2 after 1", "contrastive", TB, after_step_1(penalty, PENALTY)),
    Step("spact 2 after 1", "contrastive", TB, after_step_1(spact, spact.Config())),
    Step("constrained 2", "adversaries", TB, constrained_step_2),
]  # fmt: skip
each_step = pytest.mark.parametrize("step", STEPS, ids=[s.name for s in STEPS])


@each_step
def test_only_its_players_move(step: Step):
    """Buffers included. The optimiser holds everybody, so that only the step decides."""
    players = toy_players(step.budget)
    before = state(players)
    everyone = [p for m in players.modules().values() for p in m.parameters()]
    optimizer = torch.optim.SGD(everyone, lr=0.1)
    step.take(players, toy_batch())["loss"].backward()
    optimizer.step()
    assert moved(before, state(players)) == step.movers


@each_step
def test_every_weight_of_a_mover_gets_a_slope_and_nobody_else_does(step: Step):
    players = toy_players(step.budget)
    step.take(players, toy_batch())["loss"].backward()
    for name, module in players.modules().items():
        for key, weight in module.named_parameters():
            if name not in step.movers:
                assert weight.grad is None, f"{name}.{key}"
                continue
            assert weight.grad is not None, f"{name}.{key}"
            assert torch.isfinite(weight.grad).all(), f"{name}.{key}"
            # A convolution's bias before a BatchNorm is subtracted again: its slope is zero.
            if "conv.bias" not in key:
                assert weight.grad.any(), f"{name}.{key}"


@each_step
def test_terms_are_finite_numbers_and_only_the_loss_has_a_history(step: Step):
    """A logged term that holds its graph keeps a whole step's memory alive."""
    terms = step.take(toy_players(step.budget), toy_batch())
    assert terms["loss"].requires_grad
    for name, value in terms.items():
        assert value.ndim == 0, name
        assert torch.isfinite(value), name
        assert name == "loss" or not value.requires_grad, name


@each_step
@pytest.mark.parametrize("training", [True, False], ids=["from train", "from eval"])
def test_modes_inside_and_after(step: Step, training: bool):
    """Movers learn in training mode, the others look on in evaluation mode and get theirs back."""
    players = toy_players(step.budget)
    modes: dict[str, list[bool]] = {name: [] for name in players.modules()}
    for name, module in players.modules().items():
        module.train(training)
        for inner in module.modules():
            if isinstance(inner, nn.BatchNorm2d | nn.BatchNorm3d):
                watch(inner, modes[name], lambda m, x: m.training)
    # One part of its own mode and one weight that its owner froze: both must survive.
    norm = next(m for m in players.f_T.modules() if isinstance(m, nn.BatchNorm3d))
    norm.train(not training)
    players.f_T.head.bias.requires_grad_(False)
    frozen_weights = {id(players.f_T.head.bias)}
    step.take(players, toy_batch())
    for name, module in players.modules().items():
        if name in step.movers:
            assert modes[name], name
            assert modes[name][-1], f"{name} learns in evaluation mode"
            assert module.training
        else:
            # f_A's first call in "2 after 1" is step 1's own.
            own = modes[name] if "after" not in step.name and step.name != "constrained 2" else []
            assert not any(own), f"{name} looks on in training mode"
            if name == "f_A" and not own:
                continue
            assert all(m.training == training for m in module.modules() if m is not norm), (
                f"{name} came back in another mode"
            )
    if "f_T" not in step.movers:
        assert norm.training is not training
    for module in players.modules().values():
        for weight in module.parameters():
            assert weight.requires_grad == (id(weight) not in frozen_weights)


def test_modes_and_freezing_are_restored_after_an_error():
    players = toy_players("contrastive")
    wrong = toy_batch()
    wrong = Batch(wrong.clips, wrong.actions + 10, wrong.attributes, wrong.first, wrong.second)
    with pytest.raises((IndexError, RuntimeError)):
        penalty.step_anonymizer(players, wrong, PENALTY)
    assert players.f_T.training
    assert players.f_B.training
    assert all(p.requires_grad for m in (players.f_T, players.f_B) for p in m.parameters())


STEP_2 = [s for s in STEPS if " 2" in s.name]
STEP_1 = [s for s in STEPS if s not in STEP_2]


@pytest.mark.parametrize("step", STEP_1, ids=[s.name for s in STEP_1])
def test_the_frozen_ones_drop_nothing_in_step_1(step: Step):
    """f_A has no dropout, so the loss must not depend on the dice."""
    players = toy_players(step.budget)
    values = set()
    for seed in range(3):
        torch.manual_seed(seed)
        values.add(float(step.take(copy.deepcopy(players), toy_batch())["loss"].detach()))
    assert len(values) == 1


@pytest.mark.parametrize("step", STEP_2, ids=[s.name for s in STEP_2])
def test_the_learners_drop_in_step_2(step: Step):
    players = toy_players(step.budget)
    values = set()
    for seed in range(3):
        torch.manual_seed(seed)
        values.add(float(step.take(copy.deepcopy(players), toy_batch())["loss"].detach()))
    assert len(values) == 3


@each_step
def test_f_A_sees_rgb_frames(step: Step):
    """(B, C, T, H, W) reshaped to (B * T, C, H, W) shows f_A three reds in a row, silently."""
    players, batch = toy_players(step.budget), toy_batch()
    seen: list[Tensor] = []
    watch(players.f_A, seen, lambda m, x: x)
    step.take(players, batch)
    assert len(seen) == 1  # one call for the clips and both views
    frames = seen[0].reshape(-1, 3, 8, 8)
    assert torch.equal(frames[:12], batch.clips.flatten(0, 1))
    if len(frames) > 12:
        assert torch.equal(frames[12:], torch.cat([batch.first, batch.second]))


@each_step
def test_the_others_see_what_f_A_released_in_order(step: Step):
    """f_T: its clips. Adversaries: the same, standardised. A self-supervised f_B: both views."""
    players, batch = toy_players(step.budget, norm=False), toy_batch()
    with torch.no_grad():
        clips, first, second = (players.f_A(x) for x in (batch.clips, batch.first, batch.second))
    seen: dict[str, list[Tensor]] = {"f_T": [], "f_B": []}
    watch(players.f_T, seen["f_T"], lambda m, x: x.detach())
    many = players.f_B if step.budget == "adversaries" else [players.f_B]
    for member in many:
        watch(member, seen["f_B"], lambda m, x: x.detach())
    step.take(players, batch)
    if "identity" in step.name:
        assert not seen["f_T"]
        assert not seen["f_B"]
        return
    torch.testing.assert_close(seen["f_T"][-1], clips)
    adversaries = step.budget == "adversaries"
    expected = standardise(clips, 2.0) if adversaries else torch.cat([first, second])
    assert len(seen["f_B"]) % len(many) == 0
    for found in seen["f_B"]:
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("step", STEP_2, ids=[s.name for s in STEP_2])
def test_step_2_leaves_no_slope_on_what_was_released(step: Step):
    """Not through the graph of step 1 either: f_A would learn to help the adversaries."""
    players = toy_players(step.budget)
    released: list[Tensor] = []
    players.f_A.register_forward_hook(lambda m, inputs, out: released.append(out))
    terms = step.take(players, toy_batch())
    if released[-1].requires_grad:
        released[-1].retain_grad()
        terms["loss"].backward()
        assert released[-1].grad is None
    else:
        terms["loss"].backward()
    assert all(p.grad is None for p in players.f_A.parameters())
