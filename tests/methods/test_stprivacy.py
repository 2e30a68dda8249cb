"""STPrivacy: the objective of each stage, what stands still in the second, the order of steps."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from toys import FakeLoop, moved, state, toy_batch, toy_players, watch

from velatura import losses
from velatura.errors import BadInput
from velatura.methods import stprivacy
from velatura.models import tubelet_vit
from velatura.training.players import Players

VIT = tubelet_vit.Config(
    frames=4, size=8, tubelet=2, patch=2, width=12, depth=4, heads=2, pruning=(1, 2, 3), ratio=0.6
)
CFG = stprivacy.Config(privacy_weight=3.0, ratio_weight=5.0)


def players_with_tubelets(norm: bool = False) -> Players:
    players = toy_players("adversaries", norm=norm)
    torch.manual_seed(7)
    players.f_A = tubelet_vit.anonymizer(VIT)
    with torch.no_grad():
        for module in players.f_A.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=0.3)
    return players


# The objectives


def test_the_share_that_is_kept_by_hand():
    """Two stages at .5: wanted .5 and .25; the items keep .5 and 1, then .25 and .5."""
    first = torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1]])
    second = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0]])
    found = losses.kept_error([first, second], 0.5)
    assert float(found) == pytest.approx((0 + 0.5**2 + 0 + 0.25**2) / 4)
    assert float(losses.kept_error([first[:1], second[:1]], 0.5)) == 0


def test_the_share_that_is_kept_pulls_towards_what_is_wanted():
    for value, sign in ((1.0, 1), (0.0, -1)):
        kept = torch.full((2, 8), value, requires_grad=True)
        losses.kept_error([kept], 0.7).backward()
        assert (sign * kept.grad > 0).all()
        torch.testing.assert_close(kept.grad, torch.full((2, 8), 2 * (value - 0.7) / 16))


def test_the_loss_of_the_sparsifier():
    """CE + w * the mean squared error of three shares, and its slope, written out."""
    players, batch = players_with_tubelets(), toy_batch()
    torch.manual_seed(5)
    terms, released = stprivacy.step_sparsifier(players, batch, CFG)
    terms["loss"].backward()
    twin = players_with_tubelets()
    torch.manual_seed(5)  # the same tosses
    look = twin.f_A.train()(batch.clips, decisions=True)
    target = nn.functional.cross_entropy(twin.f_T(look.released), batch.actions)
    error = 0.0
    for k, share in enumerate((0.6, 0.36, 0.216)):
        for item in look.kept[k]:
            error = error + (item.sum() / len(item) - share) ** 2 / (3 * len(batch.clips))
    loss = target + 5.0 * error
    loss.backward()
    expected = {"loss": loss, "target": target, "ratio": error, "shown": look.shown.mean()}
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].detach(), value.detach(), atol=1e-6, rtol=1e-4)
    for (key, one), other in zip(
        players.f_A.named_parameters(), twin.f_A.parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, other.grad, msg=key)
        assert one.grad.any(), key
    torch.testing.assert_close(released, look.released)


def test_the_loss_of_the_game():
    """CE - alpha * the adversaries' mean BCE, on what is released for good, and its slope."""
    players, batch = players_with_tubelets(), toy_batch()
    terms, released = stprivacy.step_anonymizer(players, batch, CFG)
    terms["loss"].backward()
    twin = players_with_tubelets()
    clips = twin.f_A.eval()(batch.clips)
    target = nn.functional.cross_entropy(twin.f_T(clips), batch.actions)
    privacy = 0.0
    for f in twin.f_B:
        p = torch.sigmoid(f(clips))
        told = batch.attributes
        privacy = privacy - (told * p.log() + (1 - told) * (1 - p).log()).mean() / 2
    loss = target - 3.0 * privacy
    loss.backward()
    expected = {
        "loss": loss, "target": target, "privacy": privacy,
        "rms": losses.rms(batch.clips, clips).mean(),
    }  # fmt: skip
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].detach(), value.detach(), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(released, clips)
    late = {id(p) for m in players.f_A.painter() for p in m.parameters()}
    for (key, one), other in zip(
        players.f_A.named_parameters(), twin.f_A.parameters(), strict=True
    ):
        if id(one) in late:
            torch.testing.assert_close(one.grad, other.grad, msg=key)
            assert one.grad.any(), key
        else:
            assert one.grad is None, key


def test_the_loss_of_step_2():
    players, batch = players_with_tubelets(), toy_batch()
    released = players.f_A(batch.clips)
    terms = stprivacy.step_adversaries(players, batch, released)
    target = nn.functional.cross_entropy(players.f_T(released), batch.actions)
    told = [
        nn.functional.binary_cross_entropy(torch.sigmoid(f(released)), batch.attributes)
        for f in players.f_B
    ]
    torch.testing.assert_close(terms["loss"], target + told[0] + told[1])
    torch.testing.assert_close(terms["adversary"], min(t.detach() for t in told))
    terms["loss"].backward()
    assert all(p.grad is None for p in players.f_A.parameters())


def test_reconstruction_is_of_what_is_kept():
    """Where a tubelet is dropped both are black, and nothing is asked."""
    players, batch = players_with_tubelets(), toy_batch()
    torch.manual_seed(5)
    terms = stprivacy.step_identity(players, batch)
    torch.manual_seed(5)
    look = players.f_A(batch.clips, decisions=True)
    here = (look.shown == 1).expand_as(batch.clips)
    assert 0 < float(here.float().mean()) < 1
    expected = (batch.clips - look.released)[here].abs().sum() / batch.clips.numel()
    torch.testing.assert_close(terms["loss"], expected)
    first = float(terms["loss"].detach())
    optimizer = torch.optim.Adam(players.f_A.parameters(), 1e-2)
    for _ in range(20):
        torch.manual_seed(5)
        optimizer.zero_grad()
        terms = stprivacy.step_identity(players, batch)
        terms["loss"].backward()
        optimizer.step()
    assert float(terms["loss"].detach()) < 0.9 * first


# Who moves


def test_in_the_game_only_the_last_quarter_moves_and_decisions_stand():
    """The last of four blocks, the norm and the head; flags and modes are as before."""
    players, batch = players_with_tubelets(), toy_batch()
    before = copy.deepcopy(players.f_A.state_dict())
    with torch.no_grad():
        kept = players.f_A.eval()(batch.clips, decisions=True).kept
    loop = FakeLoop(players)
    stprivacy.train(players, stprivacy.Config(sparsify_steps=0, steps=3), loop)
    changed = {k for k, v in players.f_A.state_dict().items() if not torch.equal(before[k], v)}
    expected = {k for k in before if k.startswith(("blocks.3.", "norm.", "head."))}
    assert changed == expected
    with torch.no_grad():
        after = players.f_A.eval()(batch.clips, decisions=True).kept
    assert all(torch.equal(one, other) for one, other in zip(kept, after, strict=True))
    assert all(p.requires_grad for p in players.f_A.parameters())


def test_the_sparsifier_stage_moves_all_of_f_A():
    players = players_with_tubelets()
    before = copy.deepcopy(players.f_A.state_dict())
    stprivacy.train(players, stprivacy.Config(sparsify_steps=2, steps=0), FakeLoop(players))
    assert all(not torch.equal(before[k], v) for k, v in players.f_A.state_dict().items())


def test_modes_while_learning_and_after():
    """f_A's sparsifier tosses in stage 1, and not in stage 2; it gets its modes back."""
    players, batch = players_with_tubelets(), toy_batch()
    players.f_A.eval()
    seen: list[bool] = []
    watch(players.f_A.predictors[0], seen, lambda m, x: m.training)
    stprivacy.step_sparsifier(players, batch, CFG)
    stprivacy.step_anonymizer(players, batch, CFG)
    assert seen == [True, False]
    assert all(m.training for m in players.f_A.modules())
    # One that its owner froze stays frozen.
    players.f_A.head.bias.requires_grad_(False)
    stprivacy.step_anonymizer(players, batch, CFG)
    flags = {k for k, p in players.f_A.named_parameters() if not p.requires_grad}
    assert flags == {"head.bias"}


@pytest.mark.parametrize("step", ["sparsifier", "anonymizer"])
def test_only_f_A_moves_in_its_steps(step: str):
    players = players_with_tubelets(norm=True)
    before = state(players)
    getattr(stprivacy, f"step_{step}")(players, toy_batch(), CFG)[0]["loss"].backward()
    with torch.no_grad():
        for module in players.modules().values():
            for weight in module.parameters():
                weight -= 0.1 * weight.grad if weight.grad is not None else 0.0
    assert moved(before, state(players)) == {"f_A"}


def test_the_order_of_steps():
    """Reconstruction, the sparsifier, the game; f_T and f_B learn from the sparsifier on."""
    players = players_with_tubelets(norm=True)
    loop = FakeLoop(players)
    cfg = stprivacy.Config(identity_steps=1, sparsify_steps=2, steps=2)
    stprivacy.train(players, cfg, loop)
    everyone = {"f_A", "f_T", "f_B"}
    assert loop.movers() == [{"f_A"}, *[everyone] * 4]
    assert loop.diary == [
        (0, "identity"),
        (1, "sparsifier"), (1, "adversaries"), (2, "sparsifier"), (2, "adversaries"),
        (3, "anonymizer"), (3, "adversaries"), (4, "anonymizer"), (4, "adversaries"),
    ]  # fmt: skip


def test_f_A_is_asked_once_a_step():
    players, calls = players_with_tubelets(), []
    players.f_A.register_forward_hook(lambda *_: calls.append(1))
    cfg = stprivacy.Config(identity_steps=1, sparsify_steps=2, steps=2)
    stprivacy.train(players, cfg, FakeLoop(players))
    assert len(calls) == 5


def test_everything_that_the_future_depends_on_is_kept():
    players = players_with_tubelets()
    loop = FakeLoop(players)
    cfg = stprivacy.Config(
        sparsify_steps=1, steps=1, lr_anonymizer=1e-3, lr_target=2e-3, lr_budget=3e-3
    )
    stprivacy.train(players, cfg, loop)
    for name, module in players.modules().items():
        assert loop.kept[name] is module

    def rates(name: str) -> dict[int, float]:
        return {id(p): g["lr"] for g in loop.kept[name].param_groups for p in g["params"]}

    assert rates("optimizer_S") == {id(p): 1e-3 for p in players.f_A.parameters()}
    late = [p for m in players.f_A.painter() for p in m.parameters()]
    assert rates("optimizer_A") == {id(p): 1e-3 for p in late}
    assert rates("optimizer_TB") == {
        **{id(p): 2e-3 for p in players.f_T.parameters()},
        **{id(p): 3e-3 for p in players.f_B.parameters()},
    }


def test_only_the_game_is_annealed():
    """Half of four steps: 1, 1, 1, 1/2 of the rate, whatever came before."""
    found: list[float] = []

    class Rates(FakeLoop):
        def rate(self, optimizer: Any, lr: float, total: int, **shares: float) -> None:
            falling = (total - self.step) / max(shares["anneal"] * total, 1)
            found.append(min(falling, 1.0))

    players = players_with_tubelets()
    cfg = stprivacy.Config(sparsify_steps=5, steps=4, anneal=0.5)
    stprivacy.train(players, cfg, Rates(players))
    assert found == [1, 1, pytest.approx(1), pytest.approx(0.5)]


def test_an_anonymizer_that_drops_nothing_is_one_sentence():
    players = toy_players("adversaries")
    with pytest.raises(BadInput, match="stprivacy needs an anonymizer that drops tubelets"):
        stprivacy.check(CFG, players, 3, 4)


def test_no_steps_at_all_is_one_sentence():
    with pytest.raises(BadInput, match="no steps at all"):
        stprivacy.Config(sparsify_steps=0, steps=0)


def test_an_item_s_release_does_not_depend_on_its_batch():
    players, batch = players_with_tubelets(), toy_batch()
    players.f_A.eval()
    with torch.no_grad():
        together = players.f_A(batch.clips)
        alone = torch.cat([players.f_A(clip[None]) for clip in batch.clips])
    torch.testing.assert_close(alone, together, atol=1.1 / 255, rtol=0)
