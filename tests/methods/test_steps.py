"""Every step of every learned method: who moves, who is still, and what passes through."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from toys import ToyAnonymizer, moved, state, toy_batch, toy_players, watch

from velatura.methods import (
    bdq,
    constrained,
    mass,
    penalty,
    penalty_released,
    spact,
    stprivacy,
    ted_spad,
    vita,
)
from velatura.models.tubelet_vit import Look
from velatura.training.batches import Batch
from velatura.training.players import Players
from velatura.transforms import standardise

Terms = dict[str, Tensor]


class Step(NamedTuple):
    name: str
    budget: str
    movers: set[str]
    take: Callable[[Players, Batch], Terms]
    f_A: type[ToyAnonymizer] = ToyAnonymizer

    def players(self, norm: bool = True) -> Players:
        made = toy_players(self.budget, norm=norm)
        f_A = self.f_A(norm)
        f_A.load_state_dict(made.f_A.state_dict())
        made.f_A = f_A
        return made


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


def first_of(page, cfg) -> Callable[[Players, Batch], Terms]:
    """Step 1, of which the terms."""
    return lambda players, batch: page.step_anonymizer(players, batch, cfg)[0]


def constrained_step_2(players: Players, batch: Batch) -> Terms:
    still = copy.deepcopy(players.f_A.state_dict())
    released = players.f_A(batch.clips)
    players.f_A.load_state_dict(still)
    return constrained.step_adversaries(players, batch, constrained.Config(), released)


class ToyTubelets(ToyAnonymizer):
    """Keeps everything; all of it paints."""

    cfg = SimpleNamespace(ratio=0.7)

    def forward(self, clips: Tensor, decisions: bool = False) -> Tensor | Look:
        out = super().forward(clips)
        return Look(out, torch.ones_like(out[:, :, :1]), [torch.ones(4, 6)]) if decisions else out

    def sparsifier(self) -> list[nn.Module]:
        return []


def again(batch: Batch) -> tuple[Tensor, Tensor]:
    """The same clips a little lighter, and others."""
    return 0.9 * batch.clips + 0.1, batch.clips.flip(0)


def projected(players: Players, batch: Batch, seen: bool) -> Terms:
    """Step 2 of TeD-SPAD, with a projection of its own; where ``seen``, after step 1."""
    head, cfg, others = copy.deepcopy(HEAD), ted_spad.Config(), again(batch)
    if not seen:
        return ted_spad.step_adversaries(players, head, batch, others, cfg)
    still = copy.deepcopy(players.f_A.state_dict())
    _, released = ted_spad.step_anonymizer(players, head, batch, others, cfg)
    players.f_A.load_state_dict(still)
    return ted_spad.step_adversaries(players, head, batch, others, cfg, released)


def stprivacy_step_2(players: Players, batch: Batch) -> Terms:
    still = copy.deepcopy(players.f_A.state_dict())
    _, released = stprivacy.step_anonymizer(players, batch, stprivacy.Config())
    players.f_A.load_state_dict(still)
    return stprivacy.step_adversaries(players, batch, released)


torch.manual_seed(0)
HEAD = ted_spad.Head(4)
PENALTY = penalty.Config(bound=0.01)
# Its clips are shown otherwise to f_A and f_T; what is so is in its own tests.
RELEASED = penalty_released.Config(bound=0.01, scrambled=False, bgr=False)
APART = bdq.Config(joint=False)
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
    Step("vita identity", "adversaries", A, vita.step_identity),
    *(
        Step(f"vita 1 {form}", "adversaries", A, first_of(vita, vita.Config(form=form)))
        for form in ("entropy", "cross_entropy", "k_beam", "ones")
    ),
    Step("vita 2", "adversaries", TB, alone(vita, vita.Config())),
    Step("vita 2 after 1", "adversaries", TB, after_step_1(vita, vita.Config())),
    Step("mass identity", "adversaries", A, mass.step_identity),
    Step("mass 1", "adversaries", A, first_of(mass, mass.Config())),
    Step("mass 2", "adversaries", TB, alone(mass, mass.Config())),
    Step("mass 2 after 1", "adversaries", TB, after_step_1(mass, mass.Config())),
    Step(
        "penalty_released identity", "contrastive", A,
        lambda p, b: penalty_released.step_identity(p, b, RELEASED),
    ),
    Step("penalty_released 1", "contrastive", A, first_of(penalty_released, RELEASED)),
    Step("penalty_released 2", "contrastive", TB, alone(penalty_released, RELEASED)),
    Step("ted_spad identity", "contrastive", A, ted_spad.step_identity),
    Step(
        "ted_spad 1", "contrastive", A,
        lambda p, b: ted_spad.step_anonymizer(
            p, copy.deepcopy(HEAD), b, again(b), ted_spad.Config()
        )[0],
    ),
    Step("ted_spad 2", "contrastive", TB, lambda p, b: projected(p, b, seen=False)),
    Step("ted_spad 2 after 1", "contrastive", TB, lambda p, b: projected(p, b, seen=True)),
    Step(
        "bdq 1 joint", "adversaries", {"f_A", "f_T"},
        lambda p, b: bdq.step_anonymizer(p, b, bdq.Config()),
    ),
    Step("bdq 1 apart", "adversaries", A, lambda p, b: bdq.step_anonymizer(p, b, APART)),
    Step("bdq 2 joint", "adversaries", {"f_B"}, alone(bdq, bdq.Config())),
    Step("bdq 2 apart", "adversaries", TB, alone(bdq, APART)),
    Step("stprivacy identity", "adversaries", A, stprivacy.step_identity, ToyTubelets),
    Step(
        "stprivacy sparsifier", "adversaries", A,
        lambda p, b: stprivacy.step_sparsifier(p, b, stprivacy.Config())[0], ToyTubelets,
    ),
    Step("stprivacy 1", "adversaries", A, first_of(stprivacy, stprivacy.Config()), ToyTubelets),
    Step("stprivacy 2 after 1", "adversaries", TB, stprivacy_step_2, ToyTubelets),
]  # fmt: skip
each_step = pytest.mark.parametrize("step", STEPS, ids=[s.name for s in STEPS])


@each_step
def test_only_its_players_move(step: Step):
    """Buffers included. The optimiser holds everybody, so that only the step decides."""
    players = step.players()
    before = state(players)
    everyone = [p for m in players.modules().values() for p in m.parameters()]
    optimizer = torch.optim.SGD(everyone, lr=0.1)
    step.take(players, toy_batch())["loss"].backward()
    optimizer.step()
    assert moved(before, state(players)) == step.movers


@each_step
def test_every_weight_of_a_mover_gets_a_slope_and_nobody_else_does(step: Step):
    players = step.players()
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
    terms = step.take(step.players(), toy_batch())
    assert terms["loss"].requires_grad
    for name, value in terms.items():
        assert value.ndim == 0, name
        assert torch.isfinite(value), name
        assert name == "loss" or not value.requires_grad, name


@each_step
@pytest.mark.parametrize("training", [True, False], ids=["from train", "from eval"])
def test_modes_inside_and_after(step: Step, training: bool):
    """Movers learn in training mode, the others look on in evaluation mode and get theirs back."""
    players = step.players()
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
STEP_1 = [s for s in STEPS if not s.movers & TB]


@pytest.mark.parametrize("step", STEP_1, ids=[s.name for s in STEP_1])
def test_the_frozen_ones_drop_nothing_in_step_1(step: Step):
    """f_A has no dropout, so the loss must not depend on the dice."""
    players = step.players()
    values = set()
    for seed in range(3):
        torch.manual_seed(seed)
        values.add(float(step.take(copy.deepcopy(players), toy_batch())["loss"].detach()))
    assert len(values) == 1


@pytest.mark.parametrize("step", STEP_2, ids=[s.name for s in STEP_2])
def test_the_learners_drop_in_step_2(step: Step):
    players = step.players()
    values = set()
    for seed in range(3):
        torch.manual_seed(seed)
        values.add(float(step.take(copy.deepcopy(players), toy_batch())["loss"].detach()))
    assert len(values) == 3


@each_step
def test_f_A_sees_rgb_frames(step: Step):
    """(B, C, T, H, W) reshaped to (B * T, C, H, W) shows f_A three reds in a row, silently."""
    players, batch = step.players(), toy_batch()
    seen: list[Tensor] = []
    watch(players.f_A, seen, lambda m, x: x)
    step.take(players, batch)
    assert len(seen) == 1  # one call for the clips and both views
    frames = seen[0].reshape(-1, 3, 8, 8)
    assert torch.equal(frames[:12], batch.clips.flatten(0, 1))
    if len(frames) > 12:
        assert torch.equal(frames[12:20], torch.cat([batch.first, batch.second]))
    if len(frames) > 20:  # the videos' other clips
        assert torch.equal(frames[20:], torch.cat(again(batch)).flatten(0, 1))


@each_step
def test_the_others_see_what_f_A_released_in_order(step: Step):
    """f_T: its clips. Adversaries: the same; those of the constrained method, standardised. A
    self-supervised f_B: both views."""
    players, batch = step.players(norm=False), toy_batch()
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
    if step.name == "bdq 2 joint":  # it learnt in step 1
        assert not seen["f_T"]
    else:
        torch.testing.assert_close(seen["f_T"][-1], clips)
    expected = clips if step.budget == "adversaries" else torch.cat([first, second])
    if "constrained" in step.name:
        expected = standardise(clips, 2.0)
    assert len(seen["f_B"]) % len(many) == 0
    for found in seen["f_B"]:
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("step", STEP_2, ids=[s.name for s in STEP_2])
def test_step_2_leaves_no_slope_on_what_was_released(step: Step):
    """Not through the graph of step 1 either: f_A would learn to help the adversaries."""
    players = step.players()
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
