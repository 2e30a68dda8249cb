"""TeD-SPAD: the triplet, what both steps make of it, the projection, the order of steps."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import FakeLoop, moved, state, toy_batch, toy_players, watch

from velatura import losses
from velatura.errors import BadInput
from velatura.methods import spact, ted_spad
from velatura.training.batches import Batch
from velatura.training.players import Players

CFG = ted_spad.Config(
    target_weight=0.6, budget_weight=0.8, triplet_weight=0.4, margin=1.3, temperature=0.3
)


def toy_again(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Clips that resemble those of the toy batch, and others."""
    clips = toy_batch(seed).clips
    draw = torch.Generator().manual_seed(100 + seed)
    same = 0.7 * clips + 0.3 * torch.rand(clips.shape, generator=draw)
    return same, torch.rand(clips.shape, generator=draw)


def toy_head(seed: int = 0) -> nn.Module:
    """With BatchNorm statistics that are not those of a fresh one."""
    torch.manual_seed(seed)
    head = ted_spad.Head(4)
    for module in head.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.01, 0.1)
    return head


class Loop(FakeLoop):
    """Also gives the clips of a step once more, and has a seed."""

    seed = 0

    def __init__(self, players: Players, **about: Any):
        super().__init__(players, **about)
        self.batches.again = self._again
        self.again: list[int] = []

    def _at(self, step: int) -> Batch:
        return super()._at(step) if hasattr(self, "step") else toy_batch(step)

    def _again(self, step: int) -> tuple[Tensor, Tensor]:
        assert step == self.step
        self.again.append(step)
        return toy_again(step)


# The triplet


def test_the_triplet_by_hand():
    """Unit vectors: the same is 0 apart, a right angle root 2, opposite 2."""
    east, north = torch.tensor([[5.0, 0.0]]), torch.tensor([[0.0, 0.1]])
    for anchor, same, other, margin, expected in (
        (east, east, north, 1.0, 0.0),  # 0 - 1.41 + 1 < 0
        (east, east, north, 2.0, 2 - math.sqrt(2)),
        (east, north, -east, 1.0, math.sqrt(2) - 2 + 1),
        (east, north, east, 1.0, math.sqrt(2) + 1),
        (east, east, 2 * east, 0.7, 0.7),
    ):
        value = losses.triplet(anchor, same, other, margin)
        assert float(value) == pytest.approx(expected, abs=1e-5)


def naive_triplet(anchor: Tensor, same: Tensor, other: Tensor, margin: float) -> Tensor:
    """Row by row in double precision; the square root of sums of squares."""
    total = 0.0
    for a, s, o in zip(anchor.double(), same.double(), other.double(), strict=True):
        a, s, o = (v / (v * v).sum() ** 0.5 for v in (a, s, o))
        near, far = ((a - s) ** 2).sum() ** 0.5, ((a - o) ** 2).sum() ** 0.5
        total = total + max(0 * near, near - far + margin)
    return total / len(anchor)


@pytest.mark.parametrize("margin", [0.05, 0.5, 1.0])
def test_the_triplet_and_its_slope_equal_the_naive_ones(margin: float):
    torch.manual_seed(1)
    vectors = [torch.randn(6, 5, requires_grad=True) for _ in range(3)]
    value = losses.triplet(*vectors, margin)
    naive = naive_triplet(*vectors, margin)
    assert float(value.detach()) == pytest.approx(float(naive.detach()), rel=1e-4)
    mine = torch.autograd.grad(value, vectors)
    for one, other in zip(mine, torch.autograd.grad(naive, vectors), strict=True):
        torch.testing.assert_close(one, other.float(), atol=1e-5, rtol=1e-3)


def test_the_triplet_s_slope_is_finite_where_embeddings_are_one():
    vector = torch.ones(2, 3, requires_grad=True)
    losses.triplet(vector, vector, vector).backward()
    assert torch.isfinite(vector.grad).all()


# The steps


def naive_target(players: Players, head: nn.Module, clips: list[Tensor], actions: Tensor) -> Tensor:
    """Cross-entropy of the first, and the triplet of all three, weighed as CFG has it."""
    action = nn.functional.cross_entropy(players.f_T(clips[0]), actions)
    features = [players.f_T.features(c)[-1] for c in clips]
    pooled = torch.cat([f.sum((2, 3, 4)) / f[0, 0].numel() for f in features])
    anchor, same, other = head.net(pooled).split(len(actions))
    return action + 0.4 * naive_triplet(anchor, same, other, 1.3).float()


def test_the_loss_of_step_1():
    """.6 (CE + .4 triplet) - .8 NT-Xent, and its slope, written out call by call."""
    players, batch, again = toy_players("contrastive", norm=False), toy_batch(), toy_again()
    terms, seen = ted_spad.step_anonymizer(players, toy_head(), batch, again, CFG)
    terms["loss"].backward()
    twin, head = toy_players("contrastive", norm=False), toy_head().eval()
    clips = [twin.f_A(c) for c in (batch.clips, *again)]
    first, second = twin.f_A(batch.first), twin.f_A(batch.second)
    target = naive_target(twin, head, clips, batch.actions)
    budget = losses.nt_xent(twin.f_B(first), twin.f_B(second), 0.3)
    loss = 0.6 * target - 0.8 * budget
    loss.backward()
    torch.testing.assert_close(terms["loss"].detach(), loss.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        players.f_A.conv.weight.grad, twin.f_A.conv.weight.grad, atol=1e-5, rtol=1e-3
    )
    action = nn.functional.cross_entropy(twin.f_T(clips[0]), batch.actions)
    torch.testing.assert_close(terms["target"], action.detach())
    torch.testing.assert_close(terms["triplet"], ((target - action) / 0.4).detach())
    torch.testing.assert_close(terms["budget"], budget.detach(), atol=1e-5, rtol=1e-4)
    change = losses.rms(batch.clips, clips[0]).mean()
    torch.testing.assert_close(terms["rms"], change.detach())
    released, (same, other) = seen
    for found, expected in zip((released.clips, same, other), clips, strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(released.first, first)
    torch.testing.assert_close(released.second, second)


def test_the_loss_of_step_2():
    """CE + .4 triplet + NT-Xent; the projection's BatchNorm sees all three clips together."""
    players, batch, again = toy_players("contrastive", norm=False), toy_batch(), toy_again()
    head, twin, other_head = toy_head(), toy_players("contrastive", norm=False), toy_head().train()
    terms = ted_spad.step_adversaries(players, head.eval(), batch, again, CFG)
    terms["loss"].backward()
    with torch.no_grad():
        clips = [twin.f_A(c) for c in (batch.clips, *again)]
        views = [twin.f_A(v) for v in (batch.first, batch.second)]
    loss = naive_target(twin, other_head, clips, batch.actions)
    loss = loss + losses.nt_xent(twin.f_B(views[0]), twin.f_B(views[1]), 0.3)
    loss.backward()
    torch.testing.assert_close(terms["loss"].detach(), loss.detach(), atol=1e-5, rtol=1e-4)
    for mine, theirs in ((players.f_T, twin.f_T), (players.f_B, twin.f_B), (head, other_head)):
        for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-3)
    assert all(p.grad is None for p in players.f_A.parameters())


def test_without_a_triplet_it_is_spact():
    """Loss and slope of both steps; the weight of L_T aside."""
    free = ted_spad.Config(target_weight=1.0, triplet_weight=0.0, budget_weight=0.6)
    same, batch, again = spact.Config(budget_weight=0.6), toy_batch(), toy_again()
    ours, theirs = (toy_players("contrastive", norm=False) for _ in range(2))
    one, seen = ted_spad.step_anonymizer(ours, toy_head(), batch, again, free)
    other, released = spact.step_anonymizer(theirs, batch, same)
    for terms in (one, other):
        terms["loss"].backward()
    torch.testing.assert_close(one["loss"], other["loss"])
    torch.testing.assert_close(
        ours.f_A.conv.weight.grad, theirs.f_A.conv.weight.grad, atol=1e-6, rtol=1e-4
    )
    one = ted_spad.step_adversaries(ours, toy_head(), batch, again, free, seen)
    other = spact.step_adversaries(theirs, batch, same, released)
    torch.testing.assert_close(one["loss"], other["loss"])


def test_step_2_may_reuse_what_step_1_released():
    players, batch, again = toy_players("contrastive", norm=False), toy_batch(), toy_again()
    _, seen = ted_spad.step_anonymizer(players, toy_head(), batch, again, CFG)
    asked = ted_spad.step_adversaries(players, toy_head(), batch, again, CFG)
    reused = ted_spad.step_adversaries(players, toy_head(), batch, again, CFG, seen)
    torch.testing.assert_close(asked["loss"], reused["loss"])
    reused["loss"].backward()
    assert all(p.grad is None for p in players.f_A.parameters())


def test_all_clips_go_through_f_A_in_one_call():
    players, batch, again = toy_players("contrastive"), toy_batch(), toy_again()
    seen: list[Tensor] = []
    watch(players.f_A, seen, lambda m, x: x)
    ted_spad.step_anonymizer(players, toy_head(), batch, again, CFG)
    frames = [batch.clips.flatten(0, 1), batch.first, batch.second]
    assert len(seen) == 1
    assert torch.equal(seen[0], torch.cat([*frames, *(c.flatten(0, 1) for c in again)]))


@pytest.mark.parametrize("training", [True, False])
def test_the_projection_is_still_in_step_1_and_learns_in_step_2(training: bool):
    players, batch, again = toy_players("contrastive"), toy_batch(), toy_again()
    head = toy_head().train(training)
    before = copy.deepcopy(head.state_dict())
    ted_spad.step_anonymizer(players, head, batch, again, CFG)[0]["loss"].backward()
    assert all(torch.equal(before[k], v) for k, v in head.state_dict().items())
    assert all(p.grad is None for p in head.parameters())
    assert all(m.training is training for m in head.modules())
    assert all(p.requires_grad for p in head.parameters())
    ted_spad.step_adversaries(players, head, batch, again, CFG)["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
    assert head.training
    assert not torch.equal(before["net.1.running_mean"], head.net[1].running_mean)


def test_f_A_learns_to_bring_the_triplet_down():
    players, batch, again = toy_players("contrastive", norm=False), toy_batch(), toy_again()
    cfg = ted_spad.Config(target_weight=1.0, triplet_weight=100.0, budget_weight=0.0)
    first, _ = ted_spad.step_anonymizer(players, toy_head(), batch, again, cfg)
    first["loss"].backward()
    norm = torch.cat([p.grad.flatten() for p in players.f_A.parameters()]).norm()
    with torch.no_grad():
        for weight in players.f_A.parameters():
            weight -= 0.02 * weight.grad / norm
    second, _ = ted_spad.step_anonymizer(players, toy_head(), batch, again, cfg)
    assert float(second["triplet"]) < float(first["triplet"])


# The projection, and training


def test_the_projection_has_the_published_sizes():
    """2048 of I3D to 512 to 128, BatchNorm behind both."""
    head = ted_spad.Head(2048)
    shapes = {k: tuple(v.shape) for k, v in head.named_parameters()}
    assert [s for s in shapes.values() if len(s) == 2] == [(512, 2048), (128, 512)]
    assert [s for s in shapes.values() if len(s) == 1] == [(512,), (512,), (128,), (128,)]
    assert head.eval()(torch.rand(3, 2048)).shape == (3, 128)


def test_the_projection_is_fresh_fits_the_target_and_repeats():
    players = toy_players("contrastive")
    before = state(players)
    found = []
    for seed in (0, 0, 1):
        loop = Loop(players)
        loop.seed = seed
        torch.rand(seed + 1)  # whatever was drawn before
        found.append(ted_spad.projection(players, loop))
    weights = [next(head.parameters()) for head in found]
    assert weights[0].shape == (512, 4)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not moved(before, state(players))


def test_a_target_without_features_is_one_sentence():
    players = toy_players("contrastive")
    players.f_T = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(BadInput, match=r"ted_spad needs a target with features\(\)"):
        ted_spad.train(players, ted_spad.Config(steps=2), Loop(players))


def played(**options: Any) -> Loop:
    players = toy_players("contrastive")
    loop = Loop(players)
    ted_spad.train(players, ted_spad.Config(**options), loop)
    return loop


A, TB = {"f_A"}, {"f_T", "f_B"}


@pytest.mark.parametrize(
    ("alternate", "movers", "asked"), [("batch", [A, TB, A], 1), ("both", [A | TB] * 3, 1)]
)
def test_the_order_of_steps(alternate: str, movers: list[set[str]], asked: int):
    loop = played(steps=3, alternate=alternate)
    assert loop.movers() == movers
    assert loop.again == [0, 1, 2]


def test_identity_steps_come_first_and_ask_for_no_other_clips():
    loop = played(steps=2, identity_steps=2)
    assert loop.movers() == [A, A, A, TB]
    assert [who for _, who in loop.diary] == ["identity"] * 2 + ["anonymizer", "adversaries"]
    assert loop.again == [2, 3]


def test_f_A_is_asked_once_a_step():
    for alternate in ("both", "batch"):
        players, calls = toy_players("contrastive"), []
        players.f_A.register_forward_hook(lambda m, i, o, calls=calls: calls.append(1))
        ted_spad.train(players, ted_spad.Config(steps=4, alternate=alternate), Loop(players))
        assert len(calls) == 4


def test_everything_that_the_future_depends_on_is_kept():
    players = toy_players("contrastive")
    loop = Loop(players)
    cfg = ted_spad.Config(steps=2, lr_anonymizer=1e-3, lr_target=2e-3, lr_budget=3e-3)
    ted_spad.train(players, cfg, loop)
    for name in ("f_A", "f_T", "f_B"):
        assert loop.kept[name] is players.modules()[name]
    rates = {}
    for name in ("optimizer_A", "optimizer_TB"):
        for group in loop.kept[name].param_groups:
            rates.update({id(p): group["lr"] for p in group["params"]})
    expected = {"f_A": 1e-3, "f_T": 2e-3, "head": 2e-3, "f_B": 3e-3}
    for name, rate in expected.items():
        assert {rates[id(p)] for p in loop.kept[name].parameters()} == {rate}, name
    assert loop.kept["head"].net[0].weight.grad is not None


def test_rates_early_and_late():
    """Reconstruction may have a rate of its own; the fall at the end is of all steps."""

    class Rates(Loop):
        def rate(self, optimizer: Any, lr: float, total: int, **shares: float) -> None:
            assert optimizer is self.kept["optimizer_A"]
            found.append((lr, total, shares))

    found: list[Any] = []
    cfg = ted_spad.Config(identity_steps=2, steps=2, lr_anonymizer=0.1, lr_identity=0.3, anneal=0.4)
    ted_spad.train(players := toy_players("contrastive"), cfg, Rates(players))
    assert found == [(rate, 4, {"anneal": 0.4}) for rate in (0.3, 0.3, 0.1, 0.1)]
