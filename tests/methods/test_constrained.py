"""The constrained method: its formula, the multiplier, the restarts, the teacher."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import FakeLoop, moved, state, toy_batch, toy_players

from velatura import losses
from velatura.methods import constrained
from velatura.training.players import Players

BOUND = 0.289  # some of the toy clips are beyond it
CFG = constrained.Config(
    utility_bound=0.4, privacy_weight=3.0, feature_weight=0.5, feature_bound=0.01,
    change_weight=7.0, change_bound=BOUND,
)  # fmt: skip


def apart(norm: bool = False) -> Players:
    """Players whose teacher and target differ, as they do after a step."""
    players = toy_players("adversaries", norm=norm)
    assert players.teacher is not None
    with torch.no_grad():
        for weight in players.teacher.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    return players


def naive_standardise(clips: Tensor, floor: float = 2.0) -> Tensor:
    """What adversaries are shown: each pixel over all clips and frames, mean .5, deviation .2."""
    frames = clips.flatten(0, 1)
    deviation = (frames.var(0, correction=0) + (floor / 255) ** 2).sqrt()
    return 0.5 + 0.2 * (clips - frames.mean(0)) / deviation


def test_the_loss_of_step_1():
    """w KL + multiplier (CE - bound) + w hinge + w Eq. 4, and its slope, written out."""
    players, batch = apart(), toy_batch()
    terms, released = constrained.step_anonymizer(players, batch, CFG, 1.7)
    terms["loss"].backward()
    twin = apart()
    clips = torch.stack([twin.f_A(clip) for clip in batch.clips])
    target = torch.nn.functional.cross_entropy(twin.f_T(clips), batch.actions)
    seen = naive_standardise(clips)
    answers = [losses.prior_divergence(f(seen), twin.prevalence) for f in twin.f_B]
    privacy = sum(answers) / 2
    hinge = losses.feature_hinge(
        twin.teacher.features(clips), [f.detach() for f in twin.teacher.features(batch.clips)], 0.01
    )
    cost, change = losses.rms_penalty(batch.clips, clips, BOUND), losses.rms(batch.clips, clips)
    assert 0 < float((change > BOUND).float().mean()) < 1
    loss = 3.0 * privacy + 1.7 * (target - 0.4) + 0.5 * hinge + 7.0 * cost
    loss.backward()
    expected = {
        "loss": loss, "target": target, "privacy": privacy, "features": hinge,
        "multiplier": torch.tensor(1.7), "rms": change.mean(), "penalty": cost,
        "active": (change > BOUND).float().mean(),
    }  # fmt: skip
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].detach(), value.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        players.f_A.conv.weight.grad, twin.f_A.conv.weight.grad, atol=1e-5, rtol=1e-3
    )
    torch.testing.assert_close(released, clips)


@pytest.mark.parametrize(
    ("term", "weights", "multiplier"),
    [
        ("privacy", {"privacy_weight": 1.0, "feature_weight": 0.0}, 0.0),
        ("target", {"privacy_weight": 0.0, "feature_weight": 0.0}, 1.0),
        ("features", {"privacy_weight": 0.0, "feature_weight": 1.0}, 0.0),
        ("penalty", {"privacy_weight": 0.0, "feature_weight": 0.0, "change_weight": 1.0}, 0.0),
    ],
)
def test_each_term_reaches_f_A_and_goes_down(term: str, weights: dict, multiplier: float):
    players, batch = apart(), toy_batch()
    cfg = constrained.Config(
        **{"feature_bound": 0.01, "change_weight": 0.0, "change_bound": 0.1, **weights}
    )
    optimizer = torch.optim.SGD(players.f_A.parameters(), 1.0)
    first, _ = constrained.step_anonymizer(players, batch, cfg, multiplier)
    first["loss"].backward()
    norm = torch.cat([p.grad.flatten() for p in players.f_A.parameters()]).norm()
    assert float(norm) > 0
    for weight in players.f_A.parameters():
        weight.grad *= 0.02 / norm
    optimizer.step()
    second, _ = constrained.step_anonymizer(players, batch, cfg, multiplier)
    assert float(second[term]) < float(first[term])


def test_a_teacher_without_weight_is_not_asked():
    """The same step as with any weight and a hinge that is slack, at an eighth less."""
    steps = {}
    for weight in (0.0, 5.0):
        players = apart()
        if not weight:
            players.teacher.features = None  # type: ignore[union-attr]
        cfg = replace(CFG, feature_weight=weight, feature_bound=1e3)
        terms, _ = constrained.step_anonymizer(players, toy_batch(), cfg, 1.7)
        terms["loss"].backward()
        steps[weight] = players.f_A.conv.weight.grad, terms
    torch.testing.assert_close(steps[0.0][0], steps[5.0][0])
    torch.testing.assert_close(steps[0.0][1]["loss"], steps[5.0][1]["loss"])
    assert "features" not in steps[0.0][1]


def test_the_loss_of_step_2():
    """Every adversary learns from its own error; the log shows the strongest."""
    players, batch = apart(), toy_batch()
    released = players.f_A(batch.clips)
    cfg = constrained.Config(contrast_floor=30.0)
    terms = constrained.step_adversaries(players, batch, cfg, released)
    target = losses.cross_entropy(players.f_T(released), batch.actions)
    seen = naive_standardise(released, 30.0)
    told = [losses.supervised(f(seen), batch.attributes) for f in players.f_B]
    torch.testing.assert_close(terms["loss"], target + told[0] + told[1])
    torch.testing.assert_close(terms["adversary"], min(t.detach() for t in told))


# The multiplier


def test_the_multiplier_by_hand():
    """mean <- .9 mean + .1 v; value <- value + rate * mean."""
    multiplier = constrained.Multiplier(1.0, rate=0.5, limit=10.0)
    multiplier.ascend(2.0)
    assert multiplier.mean == pytest.approx(0.2)
    assert multiplier.value == pytest.approx(1.1)
    multiplier.ascend(-1.0)
    assert multiplier.mean == pytest.approx(0.08)
    assert multiplier.value == pytest.approx(1.14)


def test_the_multiplier_grows_while_violated_shrinks_while_slack_and_clamps():
    multiplier = constrained.Multiplier(1.0, rate=0.5, limit=3.0)
    values = []
    for violation in [1.0] * 30 + [-1.0] * 60:
        multiplier.ascend(violation)
        values.append(multiplier.value)
    up, down = values[:30], values[30:]
    assert all(b > a or b == 3.0 for a, b in zip(up, up[1:], strict=False))
    assert up[-1] == 3.0
    assert max(values) == 3.0
    assert down[-1] == 0.0
    assert min(values) == 0.0
    falling = down[10:]  # the running mean needs a while to turn
    assert all(b < a or b == 0.0 for a, b in zip(falling, falling[1:], strict=False))


def test_the_multiplier_survives_a_crash():
    first = constrained.Multiplier(1.0, 0.5, 10.0)
    for violation in (2.0, -1.0, 0.5):
        first.ascend(violation)
    second = constrained.Multiplier(1.0, 0.5, 10.0)
    second.load_state_dict(first.state_dict())
    for one in (first, second):
        one.ascend(0.7)
    assert (first.value, first.mean) == (second.value, second.mean)


@pytest.mark.parametrize(("bound", "direction"), [(1e-3, 1), (50.0, -1)])
def test_training_raises_the_multiplier_where_utility_is_missing(bound: float, direction: int):
    players = toy_players("adversaries")
    loop = FakeLoop(players)
    cfg = constrained.Config(utility_bound=bound, steps=6, dual_rate=0.01, restart_every=0)
    constrained.train(players, cfg, loop)
    shown = [float(t["multiplier"]) for t in loop.terms if "multiplier" in t]
    assert shown[0] == 1.0
    changes = [direction * (b - a) for a, b in zip(shown, shown[1:], strict=False)]
    assert all(change > 0 for change in changes)
    twin = constrained.Multiplier(1.0, 0.01, 10.0)
    for terms in loop.terms[::2]:
        twin.ascend(float(terms["target"]) - bound)
    assert loop.kept["multiplier"].value == pytest.approx(twin.value, rel=1e-6)


# Restarts


def changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return any(not torch.equal(one[key], other[key]) for key in one)


def test_a_restart_resets_f_T_and_one_adversary_by_turns_and_their_optimiser():
    players = apart()
    assert players.teacher is not None
    fresh = copy.deepcopy(players.f_B)
    start = fresh.state_dict()
    everyone = [*players.f_T.parameters(), *players.f_B.parameters()]
    optimizer = torch.optim.Adam(everyone, 0.01)
    for turn, index in ((0, 0), (1, 1), (2, 0), (3, 1)):
        constrained.step_adversaries(players, toy_batch(), constrained.Config(), toy_batch().clips)[
            "loss"
        ].backward()
        optimizer.step()
        before = copy.deepcopy(players.f_B.state_dict())
        assert changed(players.f_T.state_dict(), players.teacher.state_dict())
        constrained.restart(players, fresh, optimizer, turn)
        assert not changed(players.f_T.state_dict(), players.teacher.state_dict())
        now = players.f_B.state_dict()
        for key in now:
            expected = start if key.startswith(f"{index}.") else before
            assert torch.equal(now[key], expected[key]), key
        forgotten = {id(p) for m in (players.f_T, players.f_B[index]) for p in m.parameters()}
        for weight in everyone:
            assert (weight in optimizer.state) == (id(weight) not in forgotten)


def restarts(loop: FakeLoop, start: dict[str, Tensor]) -> list[tuple[int, int]]:
    """(step, adversary) wherever one stands at its start again, buffers included."""
    found = []
    for step, states in enumerate(loop.states[:-1]):
        for index in range(2):
            own = [k for k in start if k.startswith(f"{index}.")]
            if step and all(torch.equal(states["f_B"][k], start[k]) for k in own):
                found.append((step, index))
    return found


@pytest.mark.parametrize(
    ("every", "expected"), [(2, [(2, 0), (4, 1), (6, 0)]), (3, [(3, 0), (6, 1)]), (0, [])]
)
def test_training_restarts_on_its_period(every: int, expected: list[tuple[int, int]]):
    players = toy_players("adversaries")
    start = copy.deepcopy(players.f_B.state_dict())
    loop = FakeLoop(players)
    constrained.train(players, constrained.Config(steps=7, restart_every=every), loop)
    assert restarts(loop, start) == expected
    assert players.teacher is not None
    taught = players.teacher.state_dict()
    at = [k for k, s in enumerate(loop.states[:-1]) if k and not changed(s["f_T"], taught)]
    assert at == [step for step, _ in expected]


def test_a_resumed_run_restarts_from_the_same_start():
    """The start is what the run began with, not what the checkpoint brought back."""
    players = toy_players("adversaries")
    start = copy.deepcopy(players.f_B.state_dict())

    def restore() -> None:
        with torch.no_grad():
            for weight in players.f_B.parameters():
                weight += 1

    loop = FakeLoop(players, on_keep=restore)
    constrained.train(players, constrained.Config(steps=3, restart_every=2), loop)
    assert restarts(loop, start) == [(2, 0)]


# Training


def test_both_steps_on_each_batch_and_the_teacher_never_moves():
    players = toy_players("adversaries")
    before = state(players)
    loop = FakeLoop(players)
    constrained.train(players, constrained.Config(steps=4, restart_every=2), loop)
    assert loop.movers() == [{"f_A", "f_T", "f_B"}] * 4
    assert moved(before, state(players)) == {"f_A", "f_T", "f_B"}
    assert loop.diary == [(s, who) for s in range(4) for who in ("anonymizer", "adversaries")]
    for index in range(2):
        own = {k: v for k, v in before["f_B"].items() if k.startswith(f"{index}.")}
        assert changed(own, players.f_B.state_dict())


def test_f_A_is_asked_once_a_batch():
    players, calls = toy_players("adversaries"), []
    players.f_A.register_forward_hook(lambda *_: calls.append(1))
    constrained.train(players, constrained.Config(steps=3), FakeLoop(players))
    assert len(calls) == 3


def test_everything_that_the_future_depends_on_is_kept():
    players = toy_players("adversaries")
    loop = FakeLoop(players)
    cfg = constrained.Config(steps=1, lr_anonymizer=1e-3, lr_target=2e-3, lr_budget=3e-3)
    constrained.train(players, cfg, loop)
    for name, module in players.modules().items():
        assert loop.kept[name] is module
    assert isinstance(loop.kept["multiplier"], constrained.Multiplier)
    rates: dict[int, Any] = {}
    for name in ("optimizer_A", "optimizer_TB"):
        for group in loop.kept[name].param_groups:
            rates.update({id(p): group["lr"] for p in group["params"]})
    for module, rate in ((players.f_A, 1e-3), (players.f_T, 2e-3), (players.f_B, 3e-3)):
        assert {rates[id(p)] for p in module.parameters()} == {rate}
    assert players.teacher is not None
    assert not any(id(p) in rates for p in players.teacher.parameters())


def test_adversaries_must_be_a_set():
    players = toy_players("adversaries")
    alone: nn.Module = players.f_B[0]
    players.f_B = alone
    with pytest.raises(AssertionError):
        constrained.step_adversaries(players, toy_batch(), constrained.Config(), toy_batch().clips)
