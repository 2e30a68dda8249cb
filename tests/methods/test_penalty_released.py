"""What the authors' script computes: each defect alone, and all of them away."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import ACTIONS, FakeLoop, ToyAnonymizer, toy_batch, toy_players, watch

from velatura import losses
from velatura.methods import penalty, penalty_released, spact
from velatura.training.batches import Batch

NONE = {"penalty_gradient": True, "scrambled": False, "bgr": False}
A, TB = {"f_A"}, {"f_T", "f_B"}


def config(**options: Any) -> penalty_released.Config:
    return penalty_released.Config(**{**NONE, **options})


def labelled(t: int, b: int = 1) -> Tensor:
    """(B, T, 3, 1, 1): red frames are 0 to T - 1, green T to 2 T - 1, blue from 2 T; then 1000."""
    one = torch.arange(3.0 * t).view(3, t).T
    return torch.stack([one + 1000 * i for i in range(b)]).view(b, t, 3, 1, 1)


# All switches off


def test_without_its_defects_it_is_penalty_per_batch():
    """States after each step and all terms, to the bit; BatchNorm and dropout included."""
    same = {"bound": 0.01, "penalty_weight": 3.0, "budget_weight": 0.7, "temperature": 0.3}
    same |= {"identity_steps": 1, "steps": 4, "lr_anonymizer": 1e-2, "anneal": 0.5}
    loops = []
    for page, cfg in (
        (penalty, penalty.Config(**same, per="batch")),
        (penalty_released, config(**same)),
    ):
        players = toy_players("contrastive")
        players.f_A = page.around(players.f_A, cfg) if page is penalty_released else players.f_A
        loop = FakeLoop(players)
        torch.manual_seed(3)
        page.train(players, cfg, loop)
        loops.append(loop)
    assert loops[0].diary == loops[1].diary
    for one, other in zip(loops[0].terms, loops[1].terms, strict=True):
        assert set(one) == set(other)
        assert all(torch.equal(one[name], other[name]) for name in one)
    for one, other in zip(loops[0].states, loops[1].states, strict=True):
        for name in one:
            assert one[name].keys() == other[name].keys()
            assert all(torch.equal(one[name][k], other[name][k]) for k in one[name])


def test_the_defects_are_on_unless_switched_off():
    cfg = penalty_released.Config()
    assert (cfg.penalty_gradient, cfg.scrambled, cfg.bgr) == (False, True, True)


# penalty_gradient


@pytest.mark.parametrize("bound", [0.0, 0.05, 0.289, 0.9])
@pytest.mark.parametrize("weight", [0.0, 1.0, 40.0])
def test_a_penalty_without_a_gradient_trains_spact(bound: float, weight: float):
    """Every weight's slope, for every bound and weight; the loss shows the number all the same."""
    batch = toy_batch()
    players, twin = toy_players("contrastive"), toy_players("contrastive")
    cfg = config(penalty_gradient=False, bound=bound, penalty_weight=weight)
    terms, _ = penalty_released.step_anonymizer(players, batch, cfg)
    terms["loss"].backward()
    free, released = spact.step_anonymizer(twin, batch, spact.Config())
    free["loss"].backward()
    for one, other in zip(players.f_A.parameters(), twin.f_A.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    change = (batch.clips - released.clips).square().mean().sqrt()
    number = max(0.0, float(change.detach()) - bound)
    assert float(terms["penalty"]) == pytest.approx(number, abs=1e-6)
    more = float((terms["loss"] - free["loss"]).detach())
    assert more == pytest.approx(weight * number, rel=1e-4, abs=1e-5)


def test_a_penalty_with_its_gradient_does_not():
    batch = toy_batch()
    slopes = []
    for felt in (False, True):
        players = toy_players("contrastive")
        cfg = config(penalty_gradient=felt, bound=0.05)
        penalty_released.step_anonymizer(players, batch, cfg)[0]["loss"].backward()
        slopes.append(players.f_A.conv.weight.grad)
    assert float((slopes[0] - slopes[1]).abs().max()) > 1e-4


# scrambled, bgr


def naively_shown(clips: Tensor, cfg: penalty_released.Config) -> Tensor:
    """Plane by plane: planes in the order that the script reads them, three to a picture."""
    b, t = clips.shape[:2]
    order = [2, 1, 0] if cfg.bgr else [0, 1, 2]
    planes = []
    for item in range(b):
        if cfg.scrambled:
            planes += [clips[item, time, colour] for colour in order for time in range(t)]
        else:
            planes += [clips[item, time, colour] for time in range(t) for colour in order]
    return torch.stack([torch.stack(planes[i : i + 3]) for i in range(0, len(planes), 3)])


@pytest.mark.parametrize("scrambled", [False, True])
@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("t", [1, 2, 3, 7, 16])
def test_a_clip_as_f_A_is_shown_it_and_back(scrambled: bool, bgr: bool, t: int):
    cfg = config(scrambled=scrambled, bgr=bgr)
    clips = torch.rand(2, t, 3, 4, 5)
    seen = penalty_released.shown(clips, cfg)
    assert torch.equal(seen, naively_shown(clips, cfg))
    assert torch.equal(penalty_released.restored(seen, clips.shape, cfg), clips)


def test_scrambled_pictures_of_16_frames_by_hand():
    """R0 R1 R2, ..., R12 R13 R14, then R15 G0 G1, and the last is B13 B14 B15."""
    seen = penalty_released.shown(labelled(16, b=2), config(scrambled=True)).flatten(1).tolist()
    assert len(seen) == 32
    assert seen[0] == [0, 1, 2]
    assert seen[5] == [15, 16, 17]
    assert seen[15] == [45, 46, 47]
    assert seen[16] == [1000, 1001, 1002]  # an item never mixes with another


def test_bgr_by_hand():
    seen = penalty_released.shown(labelled(2), config(bgr=True)).flatten(1).tolist()
    assert seen == [[4, 2, 0], [5, 3, 1]]
    both = penalty_released.shown(labelled(2), penalty_released.Config()).flatten(1).tolist()
    assert both == [[4, 5, 2], [3, 0, 1]]


@pytest.mark.parametrize(
    "options", [{"scrambled": True}, {"bgr": True}, {"scrambled": True, "bgr": True}]
)
@pytest.mark.parametrize("turn", ["anonymizer", "adversaries"])
def test_who_is_shown_what(options: dict[str, bool], turn: str):
    """f_A and f_T see clips as the script has them; stills reach f_A and f_B as they are."""
    cfg, batch = config(**options), toy_batch()
    players = toy_players("contrastive", norm=False)
    seen: dict[str, list[Tensor]] = {"f_A": [], "f_T": [], "f_B": []}
    for name, found in seen.items():
        watch(players.modules()[name], found, lambda m, x: x.detach())
    getattr(penalty_released, f"step_{turn}")(players, batch, cfg)
    shown = naively_shown(batch.clips, cfg)
    assert torch.equal(seen["f_A"][0], torch.cat([shown, batch.first, batch.second]))
    net = toy_players("contrastive", norm=False).f_A
    with torch.no_grad():
        given = penalty_released.restored(net(shown), batch.clips.shape, cfg)
        stills = net(torch.cat([batch.first, batch.second]))
    torch.testing.assert_close(seen["f_T"][0], given.flip(2) if cfg.bgr else given)
    torch.testing.assert_close(seen["f_B"][0], stills)


def test_the_loss_of_step_1_with_all_defects():
    """CE - w NT-Xent + a number, and its slope, written out call by call."""
    cfg = penalty_released.Config(bound=0.1, penalty_weight=3.0, budget_weight=0.7, temperature=0.3)
    players, batch = toy_players("contrastive", norm=False), toy_batch()
    terms, released = penalty_released.step_anonymizer(players, batch, cfg)
    terms["loss"].backward()
    twin = toy_players("contrastive", norm=False)
    out = twin.f_A(naively_shown(batch.clips, cfg))
    planes = list(out.flatten(0, 1))
    t = batch.clips.shape[1]
    bgr = torch.stack(
        [
            torch.stack(
                [torch.stack([planes[(i * 3 + c) * t + s] for c in range(3)]) for s in range(t)]
            )
            for i in range(len(batch.clips))
        ]
    )
    target = nn.functional.cross_entropy(twin.f_T(bgr), batch.actions)
    budget = losses.nt_xent(twin.f_B(twin.f_A(batch.first)), twin.f_B(twin.f_A(batch.second)), 0.3)
    change = (batch.clips.flip(2) - bgr).square().mean().sqrt().item()
    loss = target - 0.7 * budget + 3.0 * (change - 0.1)
    loss.backward()
    torch.testing.assert_close(terms["loss"].detach(), loss.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        players.f_A.conv.weight.grad, twin.f_A.conv.weight.grad, atol=1e-5, rtol=1e-3
    )
    torch.testing.assert_close(released.clips, bgr.flip(2))


def test_the_loss_of_step_2_with_all_defects():
    cfg = penalty_released.Config(temperature=0.3)
    players, batch = toy_players("contrastive", norm=False), toy_batch()
    terms = penalty_released.step_adversaries(players, batch, cfg)
    with torch.no_grad():
        clips = penalty_released.around(players.f_A, cfg)(batch.clips).flip(2)
        stills = [players.f_A(batch.first), players.f_A(batch.second)]
    target = nn.functional.cross_entropy(players.f_T(clips), batch.actions)
    budget = losses.nt_xent(*(players.f_B(x) for x in stills), 0.3)
    torch.testing.assert_close(terms["loss"], target + budget)


@pytest.mark.parametrize("options", [{}, {"scrambled": True}, {"bgr": True}])
def test_reconstruction_is_of_the_clip(options: dict[str, bool]):
    cfg, players, batch = config(**options), toy_players("contrastive", norm=False), toy_batch()
    found = penalty_released.step_identity(players, batch, cfg)["loss"]
    shown = naively_shown(batch.clips, cfg)
    torch.testing.assert_close(found, (shown - players.f_A(shown)).abs().mean())


# What is released


class Fade(nn.Module):
    """Keeps all of a picture's first plane, half of the second, nothing of the third."""

    def forward(self, frames: Tensor) -> Tensor:
        return frames * torch.tensor([1.0, 0.5, 0.0]).view(3, 1, 1)


def test_around_by_hand():
    """Scrambled, it is every third moment that vanishes, of each colour; and stills lose blue."""
    f_A = penalty_released.around(Fade(), config(scrambled=True))
    share = (f_A(1 + labelled(4)) / (1 + labelled(4))).view(4, 3).T
    expected = torch.tensor([[1, 0.5, 0, 1], [0.5, 0, 1, 0.5], [0, 1, 0.5, 0]])
    torch.testing.assert_close(share, expected)
    still = torch.ones(2, 3, 4, 4)
    assert torch.equal(f_A(still), Fade()(still))
    reversed_ = penalty_released.around(Fade(), config(bgr=True))(torch.ones(1, 2, 3, 1, 1))
    assert reversed_.view(2, 3).tolist() == [[0, 0.5, 1]] * 2  # red is what it saw last
    assert torch.equal(penalty_released.around(Fade(), config(bgr=True))(still), Fade()(still))


def test_around_is_nothing_without_the_defects_and_a_way_back_with_them():
    net = Fade()
    assert penalty_released.around(net, config()) is net
    clips = torch.rand(2, 7, 3, 4, 4)
    assert torch.equal(
        penalty_released.around(nn.Identity(), penalty_released.Config())(clips), clips
    )


def test_what_is_released_is_what_training_saw():
    """The network around f_A and the page that trains it: one function."""
    cfg = penalty_released.Config()
    players, batch = toy_players("contrastive", norm=False), toy_batch()
    bare = penalty_released.release(players, batch, cfg)
    players.f_A = penalty_released.around(players.f_A, cfg)
    around = penalty_released.release(players, batch, cfg)
    for name in ("clips", "first", "second"):
        torch.testing.assert_close(getattr(around, name), getattr(bare, name))
    torch.testing.assert_close(players.f_A(batch.clips), bare.clips)
    torch.testing.assert_close(players.f_A(batch.second), bare.second)


def test_a_still_is_a_still_also_as_a_video_of_one_frame():
    """Training shows f_A stills as frames, a release as videos; both in RGB, unscrambled."""
    torch.manual_seed(0)
    f_A = penalty_released.around(ToyAnonymizer().eval(), penalty_released.Config())
    frames = torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(f_A(frames[:, None])[:, 0], f_A(frames))


def test_where_a_video_may_be_cut():
    """In multiples of ``window``, and nowhere else."""
    torch.manual_seed(0)
    f_A = penalty_released.around(ToyAnonymizer(norm=False), penalty_released.Config())
    video = torch.rand(1, 12, 3, 8, 8)
    with torch.no_grad():
        whole = f_A(video)
        for at in range(1, 12):
            pieces = torch.cat([f_A(video[:, :at]), f_A(video[:, at:])], 1)
            assert torch.allclose(pieces, whole) == (at % f_A.window == 0), at
    assert penalty_released.around(nn.Identity(), config(bgr=True)).window == 1


# Training


def test_steps_alternate_by_batch_and_move_their_players():
    players = toy_players("contrastive")
    players.f_A = penalty_released.around(players.f_A, penalty_released.Config())
    loop = FakeLoop(players)
    penalty_released.train(players, penalty_released.Config(steps=4, identity_steps=1), loop)
    assert loop.movers() == [A, A, TB, A, TB]
    assert [who for _, who in loop.diary][:2] == ["identity", "anonymizer"]
    assert set(loop.kept) == {"f_A", "f_T", "f_B", "optimizer_A", "optimizer_TB"}


def test_every_weight_learns_through_all_defects():
    players = toy_players("contrastive", norm=False)
    players.f_A = penalty_released.around(players.f_A, penalty_released.Config())
    batch = toy_batch()
    batch = Batch(batch.clips, batch.actions % ACTIONS, batch.attributes, batch.first, batch.second)
    penalty_released.step_anonymizer(players, batch, penalty_released.Config())[0][
        "loss"
    ].backward()
    for key, weight in players.f_A.named_parameters():
        assert weight.grad is not None, key
        assert weight.grad.any(), key
