"""BDQ's game: both objectives, who moves with whom, and the cosine."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import FakeLoop, moved, state, toy_batch, toy_players, watch

from velatura import losses
from velatura.methods import bdq
from velatura.models import bdq as encoder
from velatura.training.players import Players

CFG = bdq.Config(entropy_weight=3.0)
APART = bdq.Config(entropy_weight=3.0, joint=False)


def naive_entropy(logits: Tensor) -> Tensor:
    """-sum p log p over present and absent, mean over items and attributes, in nats."""
    p = 1 / (1 + torch.exp(-logits.double()))
    return (-(p * p.log()) - (1 - p) * (1 - p).log()).mean().float()


@pytest.mark.parametrize("cfg", [CFG, APART], ids=["joint", "apart"])
def test_the_loss_of_step_1(cfg: bdq.Config):
    """CE - alpha * entropy, and its slopes, written out; f_T's only where it moves."""
    players, batch = toy_players("adversaries", norm=False), toy_batch()
    terms = bdq.step_anonymizer(players, batch, cfg)
    terms["loss"].backward()
    twin = toy_players("adversaries", norm=False)
    clips = torch.stack([twin.f_A(clip) for clip in batch.clips])
    target = nn.functional.cross_entropy(twin.f_T(clips), batch.actions)
    unsure = sum(naive_entropy(f(clips)) for f in twin.f_B) / 2
    loss = target - 3.0 * unsure
    loss.backward()
    expected = {
        "loss": loss, "target": target, "entropy": unsure,
        "rms": losses.rms(batch.clips, clips).mean(),
    }  # fmt: skip
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].detach(), value.detach(), atol=1e-5, rtol=1e-4)
    movers = [(players.f_A, twin.f_A)] + ([(players.f_T, twin.f_T)] if cfg.joint else [])
    for mine, theirs in movers:
        for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-3)
    assert all(p.grad is None for p in players.f_B.parameters())
    assert cfg.joint or all(p.grad is None for p in players.f_T.parameters())


@pytest.mark.parametrize("cfg", [CFG, APART], ids=["joint", "apart"])
def test_the_loss_of_step_2(cfg: bdq.Config):
    """Binary cross-entropy of each adversary; and f_T's, where it did not move in step 1."""
    players, batch = toy_players("adversaries", norm=False), toy_batch()
    terms = bdq.step_adversaries(players, batch, cfg)
    clips = players.f_A(batch.clips).detach()
    told = [
        nn.functional.binary_cross_entropy(torch.sigmoid(f(clips)), batch.attributes)
        for f in players.f_B
    ]
    loss = told[0] + told[1]
    if not cfg.joint:
        target = nn.functional.cross_entropy(players.f_T(clips), batch.actions)
        torch.testing.assert_close(terms["target"], target.detach())
        loss = loss + target
    torch.testing.assert_close(terms["loss"], loss)
    torch.testing.assert_close(terms["adversary"], min(t.detach() for t in told))


def test_f_A_makes_adversaries_unsure_and_the_action_clear():
    for weight, term, sign in ((100.0, "entropy", 1), (0.0, "target", -1)):
        players, batch = toy_players("adversaries", norm=False), toy_batch()
        cfg = bdq.Config(entropy_weight=weight, joint=False)
        first = bdq.step_anonymizer(players, batch, cfg)
        first["loss"].backward()
        norm = torch.cat([p.grad.flatten() for p in players.f_A.parameters()]).norm()
        with torch.no_grad():
            for weight_ in players.f_A.parameters():
                weight_ -= 0.02 * weight_.grad / norm
        second = bdq.step_anonymizer(players, batch, cfg)
        assert sign * float(second[term] - first[term]) > 0, term


def test_adversaries_are_asked_what_f_A_releases_for_good():
    """In hard steps: f_A is in evaluation mode, and left in the mode that it was in."""
    players, batch = toy_players("adversaries"), toy_batch()
    players.f_A = encoder.anonymizer(encoder.Config()).train()
    seen: list[Tensor] = []
    watch(players.f_B[0], seen, lambda m, x: x)
    bdq.step_anonymizer(players, batch, CFG)
    bdq.step_adversaries(players, batch, CFG)
    soft, hard = (len(x.mul(15).round().div(15).sub(x).abs().gt(1e-6).nonzero()) for x in seen)
    assert soft > 0
    assert hard == 0
    assert players.f_A.training


# Training


def played(players: Players, **options: Any) -> FakeLoop:
    loop = FakeLoop(players)
    bdq.train(players, bdq.Config(**options), loop)
    return loop


@pytest.mark.parametrize(
    ("joint", "first", "second"),
    [(True, {"f_A", "f_T"}, {"f_B"}), (False, {"f_A"}, {"f_T", "f_B"})],
)
def test_who_moves_with_whom(joint: bool, first: set[str], second: set[str]):
    """Both on each batch, buffers included; the teacher, where there is one, never."""
    players = toy_players("adversaries")
    found: list[set[str]] = []

    class Watching(FakeLoop):
        def update(self, optimizer: Any, terms: Any, player: str) -> None:
            super().update(optimizer, terms, player)
            owned = {id(p) for g in optimizer.param_groups for p in g["params"]}
            found.append(
                {n for n, m in players.modules().items() if owned & {id(p) for p in m.parameters()}}
            )

    loop = Watching(players)
    bdq.train(players, bdq.Config(steps=2, joint=joint), loop)
    assert found == [first, second] * 2
    assert loop.movers() == [{"f_A", "f_T", "f_B"}] * 2
    assert loop.diary == [(s, who) for s in range(2) for who in ("anonymizer", "adversaries")]


def test_step_2_alone_leaves_f_A_and_f_T_still():
    players = toy_players("adversaries")
    before = state(players)
    bdq.step_adversaries(players, toy_batch(), CFG)["loss"].backward()
    with torch.no_grad():
        for module in players.modules().values():
            for weight in module.parameters():
                weight -= 0.1 * weight.grad if weight.grad is not None else 0.0
    assert moved(before, state(players)) == {"f_B"}


@pytest.mark.parametrize("joint", [True, False])
def test_rates_fall_with_a_cosine_and_are_kept(joint: bool):
    rates: list[dict[int, float]] = []

    class Rates(FakeLoop):
        def update(self, optimizer: Any, terms: Any, player: str) -> None:
            super().update(optimizer, terms, player)
            rates.append({id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]})

    players = toy_players("adversaries")
    loop = Rates(players)
    cfg = bdq.Config(steps=4, joint=joint, lr_anonymizer=1e-3, lr_target=2e-3, lr_budget=3e-3)
    bdq.train(players, cfg, loop)
    for step in range(4):
        share = (1 + math.cos(math.pi * step / 4)) / 2
        now = {**rates[2 * step], **rates[2 * step + 1]}
        for module, rate in ((players.f_A, 1e-3), (players.f_T, 2e-3), (players.f_B, 3e-3)):
            found = [now[id(p)] for p in module.parameters()]
            assert found == pytest.approx([rate * share] * len(found))
    assert set(loop.kept) == {"f_A", "f_T", "f_B", "teacher", "optimizer_1", "optimizer_2"}


def test_a_restored_optimiser_goes_on_with_the_cosine():
    """The rate is a function of the step; what is restored does not shift it."""
    first = played(toy_players("adversaries"), steps=3)
    one = toy_players("adversaries")
    loop = FakeLoop(
        one,
        on_keep=lambda: loop.kept["optimizer_1"].load_state_dict(
            first.kept["optimizer_1"].state_dict()
        ),
    )
    bdq.train(one, bdq.Config(steps=1), loop)
    assert {g["lr"] for g in loop.kept["optimizer_1"].param_groups} == {1e-2, 1e-3}


def test_the_encoder_learns_in_its_game():
    """All 17 numbers of the paper's f_A."""
    players = toy_players("adversaries")
    players.f_A = encoder.anonymizer(encoder.Config())
    batch = toy_batch()
    bdq.step_anonymizer(players, batch, CFG)["loss"].backward()
    for key, weight in players.f_A.named_parameters():
        assert weight.grad is not None, key
        assert (weight.grad != 0).any(), key
    assert sum(p.numel() for p in players.f_A.parameters()) == 17
