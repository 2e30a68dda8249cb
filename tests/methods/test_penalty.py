"""Algorithm 1: the formula of each step, its direction, the order of steps; and SPAct."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import FakeLoop, toy_batch, toy_players

from velatura import losses
from velatura.methods import penalty, spact
from velatura.training.batches import Batch
from velatura.training.players import Players

PAGES = [penalty, spact]
each_page = pytest.mark.parametrize("page", PAGES, ids=["penalty", "spact"])


def slope_of_f_A(cfg: penalty.Config, **about: Any) -> Tensor:
    players = toy_players("contrastive", **about)
    penalty.step_anonymizer(players, toy_batch(), cfg)[0]["loss"].backward()
    return players.f_A.conv.weight.grad


def test_the_penalty_reaches_the_weights():
    """As a Python float it would still show in the log, and train nothing."""
    without, once, twice = (
        slope_of_f_A(penalty.Config(bound=0.01, penalty_weight=weight)) for weight in (0, 1, 2)
    )
    assert not torch.allclose(without, once)
    torch.testing.assert_close(twice - once, once - without, atol=1e-5, rtol=1e-3)


def test_the_penalty_is_silent_inside_the_bound():
    without, inside = (
        slope_of_f_A(penalty.Config(bound=0.9, penalty_weight=weight)) for weight in (0, 5)
    )
    assert torch.equal(without, inside)


def naive_release(players: Players, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """One call for each; allowed where f_A has no BatchNorm."""
    clips = torch.stack([players.f_A(clip) for clip in batch.clips])
    return clips, players.f_A(batch.first), players.f_A(batch.second)


@pytest.mark.parametrize("per", ["frame", "clip", "batch"])
@pytest.mark.parametrize("space", ["unit", "imagenet"])
def test_the_loss_of_step_1(per: str, space: str):
    """L_T - w L_B + lambda L_pen, and its slope, written out call by call."""
    players, batch = toy_players("contrastive", norm=False), toy_batch()
    with torch.no_grad():
        change = losses.rms(batch.clips, naive_release(players, batch)[0], per, space)
    bound = float(change.mean()) - 0.001  # some items are beyond it, and some are not
    assert per == "batch" or 0 < float((change > bound).float().mean()) < 1
    cfg = penalty.Config(
        bound=bound, penalty_weight=3.0, budget_weight=0.7, temperature=0.3, per=per, space=space
    )
    terms, released = penalty.step_anonymizer(players, batch, cfg)
    terms["loss"].backward()

    twin = toy_players("contrastive", norm=False)
    clips, first, second = naive_release(twin, batch)
    target = torch.nn.functional.cross_entropy(twin.f_T(clips), batch.actions)
    budget = losses.nt_xent(twin.f_B(first), twin.f_B(second), 0.3)
    cost = losses.rms_penalty(batch.clips, clips, bound, per, space)
    change = losses.rms(batch.clips, clips, per, space)
    loss = target - 0.7 * budget + 3.0 * cost
    loss.backward()
    expected = {
        "loss": loss, "target": target, "budget": budget, "penalty": cost,
        "rms": change.mean(), "active": (change > bound).float().mean(),
    }  # fmt: skip
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].detach(), value.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        players.f_A.conv.weight.grad, twin.f_A.conv.weight.grad, atol=1e-5, rtol=1e-3
    )
    torch.testing.assert_close(released.clips, clips)
    torch.testing.assert_close(released.second, second)
    assert torch.equal(released.actions, batch.actions)


def test_rms_and_active_are_read_before_the_hinge():
    """The share of clips beyond the bound says whether the bound binds."""
    players, batch = toy_players("contrastive", norm=False), toy_batch()
    change = losses.rms(batch.clips, players.f_A(batch.clips).detach())
    middle = float(change.sort().values[1:3].mean())
    terms, _ = penalty.step_anonymizer(players, batch, penalty.Config(bound=middle))
    assert float(terms["active"]) == 0.5
    far, _ = penalty.step_anonymizer(players, batch, penalty.Config(bound=10.0))
    assert float(far["active"]) == 0.0
    assert float(far["penalty"]) == 0.0
    assert float(far["rms"]) == pytest.approx(float(change.mean()), rel=1e-5)


def descend(players: Players, terms: dict[str, Tensor]) -> None:
    weights = [p for m in players.modules().values() for p in m.parameters() if p.requires_grad]
    for weight in weights:
        weight.grad = None
    terms["loss"].backward()
    with torch.no_grad():
        for weight in weights:
            if weight.grad is not None:
                weight -= 0.02 * weight.grad / (1e-8 + weight.grad.norm())


@pytest.mark.parametrize(
    ("term", "weights", "sign"),
    [
        ("target", {"budget_weight": 0.0, "penalty_weight": 0.0}, -1),
        ("budget", {"budget_weight": 100.0, "penalty_weight": 0.0}, 1),
        ("penalty", {"budget_weight": 0.0, "penalty_weight": 100.0}, -1),
    ],
)
def test_f_A_moves_each_term_its_way(term: str, weights: dict[str, float], sign: int):
    """Readable for f_T, confusing for f_B, closer to the picture."""
    players, batch = toy_players("contrastive", norm=False), toy_batch()
    cfg = penalty.Config(bound=0.01, **weights)
    first, _ = penalty.step_anonymizer(players, batch, cfg)
    descend(players, first)
    second, _ = penalty.step_anonymizer(players, batch, cfg)
    assert sign * float(second[term] - first[term]) > 1e-4


@each_page
def test_f_T_and_f_B_both_descend_in_step_2(page: Any):
    players, batch = toy_players("contrastive", norm=False), toy_batch()
    first = page.step_adversaries(players, batch, page.Config())
    descend(players, first)
    second = page.step_adversaries(players, batch, page.Config())
    assert float(second["target"]) < float(first["target"]) - 1e-4
    assert float(second["budget"]) < float(first["budget"]) - 1e-4
    assert float(first["loss"].detach()) == pytest.approx(
        float(first["target"] + first["budget"]), rel=1e-6
    )


@each_page
def test_step_2_may_reuse_what_step_1_released(page: Any):
    """Without BatchNorm and dropout, and before f_A moves, it is the same step."""
    players, batch, cfg = toy_players("contrastive", norm=False), toy_batch(), page.Config()
    _, released = page.step_anonymizer(players, batch, cfg)
    again = page.step_adversaries(players, batch, cfg)
    reused = page.step_adversaries(players, batch, cfg, released)
    torch.testing.assert_close(again["loss"], reused["loss"])


@each_page
def test_step_2_uses_the_temperature(page: Any):
    players, batch = toy_players("contrastive", norm=False), toy_batch()
    for temperature in (0.1, 1.0):
        terms = page.step_adversaries(players, batch, page.Config(temperature=temperature))
        _, first, second = naive_release(players, batch)
        expected = losses.nt_xent(players.f_B(first), players.f_B(second), temperature)
        torch.testing.assert_close(terms["budget"], expected.detach(), atol=1e-5, rtol=1e-4)


@each_page
def test_the_identity_is_learned(page: Any):
    players, batch = toy_players("contrastive", norm=False), toy_batch()
    first = page.step_identity(players, batch)
    expected = (batch.clips - naive_release(players, batch)[0]).abs().mean()
    torch.testing.assert_close(first["loss"], expected)
    for _ in range(3):
        descend(players, page.step_identity(players, batch))
    last = page.step_identity(players, batch)
    assert float(last["loss"].detach()) < float(first["loss"].detach())


def test_spact_is_penalty_without_the_penalty():
    """Loss, slope and terms of every step, on one batch; to the bit."""
    batch, free = toy_batch(), penalty.Config(penalty_weight=0.0, budget_weight=0.6)
    same = spact.Config(budget_weight=0.6)
    ours, theirs = toy_players("contrastive"), toy_players("contrastive")
    first, one = penalty.step_anonymizer(ours, batch, free)
    second, two = spact.step_anonymizer(theirs, batch, same)
    assert set(first) - set(second) == {"penalty", "active"}
    for name in second:
        assert torch.equal(first[name], second[name]), name
    first["loss"].backward()
    second["loss"].backward()
    assert torch.equal(ours.f_A.conv.weight.grad, theirs.f_A.conv.weight.grad)
    losses_of_2 = []
    for page, players, cfg, released in ((penalty, ours, free, one), (spact, theirs, same, two)):
        torch.manual_seed(0)
        losses_of_2.append(page.step_adversaries(players, batch, cfg, released)["loss"])
    assert torch.equal(*losses_of_2)


# The order of steps


def played(page: Any, **options: Any) -> FakeLoop:
    players = toy_players("contrastive")
    loop = FakeLoop(players)
    page.train(players, page.Config(**options), loop)
    return loop


A, TB = {"f_A"}, {"f_T", "f_B"}


@each_page
def test_alternating_by_batch(page: Any):
    loop = played(page, steps=5, alternate="batch")
    assert loop.movers() == [A, TB, A, TB, A]
    assert [player for _, player in loop.diary] == [
        "anonymizer", "adversaries", "anonymizer", "adversaries", "anonymizer"
    ]  # fmt: skip


@each_page
def test_both_on_each_batch(page: Any):
    loop = played(page, steps=2, alternate="both")
    assert loop.movers() == [A | TB] * 2
    assert loop.diary == [(s, who) for s in range(2) for who in ("anonymizer", "adversaries")]


@each_page
@pytest.mark.parametrize("identity_steps", [1, 2])
def test_identity_steps_come_first_and_on_top(page: Any, identity_steps: int):
    """The game starts with f_A's turn whatever the number of steps before it."""
    loop = played(page, steps=2, identity_steps=identity_steps)
    assert loop.movers() == [A] * identity_steps + [A, TB]
    assert [who for _, who in loop.diary][:identity_steps] == ["identity"] * identity_steps
    assert [who for _, who in loop.diary][identity_steps:] == ["anonymizer", "adversaries"]


@each_page
def test_rates_early_and_late(page: Any):
    """Reconstruction may have a rate of its own; the fall at the end is of all steps."""

    class Rates(FakeLoop):
        def rate(self, optimizer: Any, lr: float, total: int, **shares: float) -> None:
            assert optimizer is self.kept["optimizer_A"]
            found.append((lr, total, shares))

    for own, early in ((None, 0.1), (0.3, 0.3)):
        found: list[Any] = []
        cfg = page.Config(identity_steps=2, steps=2, lr_anonymizer=0.1, lr_identity=own, anneal=0.4)
        page.train(players := toy_players("contrastive"), cfg, Rates(players))
        assert found == [(rate, 4, {"anneal": 0.4}) for rate in (early, early, 0.1, 0.1)]


@each_page
def test_both_asks_f_A_once_a_batch_and_alternation_once_a_step(page: Any):
    for alternate in ("both", "batch"):
        players, calls = toy_players("contrastive"), []
        players.f_A.register_forward_hook(lambda m, i, o, calls=calls: calls.append(1))
        page.train(players, page.Config(steps=4, alternate=alternate), FakeLoop(players))
        assert len(calls) == 4


@each_page
def test_everything_that_the_future_depends_on_is_kept(page: Any):
    players = toy_players("contrastive")
    loop = FakeLoop(players)
    cfg = page.Config(steps=2, lr_anonymizer=1e-3, lr_target=2e-3, lr_budget=3e-3)
    page.train(players, cfg, loop)
    assert {loop.kept[name] for name in ("f_A", "f_T", "f_B")} == {
        players.f_A, players.f_T, players.f_B
    }  # fmt: skip
    rates = {}
    for name in ("optimizer_A", "optimizer_TB"):
        for group in loop.kept[name].param_groups:
            for weight in group["params"]:
                rates[id(weight)] = group["lr"]
    for module, rate in ((players.f_A, 1e-3), (players.f_T, 2e-3), (players.f_B, 3e-3)):
        assert [rates[id(p)] for p in module.parameters()] == [rate] * len(
            list(module.parameters())
        )


@each_page
def test_training_repeats(page: Any):
    finals = []
    for _ in range(2):
        players = copy.deepcopy(toy_players("contrastive"))
        torch.manual_seed(5)
        page.train(players, page.Config(steps=4, lr_anonymizer=0.01), FakeLoop(players))
        finals.append(players.f_A.conv.weight.detach().clone())
    assert torch.equal(*finals)
