"""Tubelets: what is kept, what is dropped, and that what is dropped is gone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from velatura.errors import BadInput
from velatura.models import tubelet_vit
from velatura.models.tubelet_vit import Config, Look, Predictor, TubeletViT, attention

TINY = {
    "frames": 4, "size": 16, "tubelet": 2, "patch": 4, "width": 12, "depth": 4, "heads": 2,
    "pruning": (1, 2, 3), "quantize": False,
}  # fmt: skip


def built(**options: Any) -> TubeletViT:
    """With weights large enough that tokens differ and attention matters."""
    torch.manual_seed(0)
    network = tubelet_vit.anonymizer(Config(**{**TINY, **options}))
    assert isinstance(network, TubeletViT)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=0.4)
    return network.eval()


def clips(b: int = 2, t: int = 4, h: int = 16, w: int = 16) -> Tensor:
    return torch.rand(b, t, 3, h, w, generator=torch.Generator().manual_seed(2))


def look(network: TubeletViT, video: Tensor) -> Look:
    with torch.no_grad():
        return network(video, decisions=True)


# How many


def test_tokens_that_are_kept_at_the_defaults():
    """36 of a moment: the whole part of .7, .49 and .343 of them, of each moment of each clip."""
    torch.manual_seed(0)
    network = tubelet_vit.anonymizer(Config()).eval()
    seen = look(network, clips(2, 8, 48, 48))
    for stage, expected in zip(seen.kept, (25, 17, 12), strict=True):
        assert stage.shape == (2, 4 * 36)
        assert torch.equal(stage, (stage != 0).float())
        assert (stage.view(2, 4, 36).sum(2) == expected).all()
    for before, after in zip(seen.kept, seen.kept[1:], strict=False):
        assert (after <= before).all()  # what was dropped stays dropped
    assert seen.shown.sum((1, 2, 3, 4)).tolist() == [4 * 12 * 2 * 64] * 2


@pytest.mark.parametrize(
    ("side", "patch", "ratio", "expected"),
    [
        (112, 16, 0.7, (34, 24, 16)),  # the paper's 49: 34.3, 24.01, 16.807
        (40, 4, 0.7, (70, 49, 34)),  # 100: whole numbers stay themselves
        (8, 4, 0.1, (1, 1, 1)),  # at least one
        (8, 4, 1.0, (4, 4, 4)),
    ],
)
def test_tokens_that_are_kept_elsewhere(side: int, patch: int, ratio: float, expected: tuple):
    network = built(size=side, patch=patch, ratio=ratio)
    seen = look(network, clips(1, 4, side, side))
    found = tuple(int(s.view(2, -1).sum(1)[0]) for s in seen.kept)
    assert found == expected
    assert all((s.view(2, -1).sum(1) == n).all() for s, n in zip(seen.kept, expected, strict=True))


# What is dropped is gone


def test_a_dropped_tubelet_is_black_and_a_kept_one_is_painted():
    """Exactly 0, in whole tubelets; a sigmoid is never 0."""
    network = built()
    seen = look(network, clips())
    dropped = (seen.shown == 0).expand_as(seen.released)
    assert (seen.released[dropped] == 0).all()
    assert (seen.released[~dropped] > 0).all()
    for t in range(0, 4, 2):
        for y in range(0, 16, 4):
            for x in range(0, 16, 4):
                tubelet = seen.shown[:, t : t + 2, 0, y : y + 4, x : x + 4].flatten(1)
                assert (tubelet == tubelet[:, :1]).all()
    assert 0 < float(seen.shown.mean()) < 1
    last = seen.kept[-1].view(2, 2, 4, 4)
    assert torch.equal(seen.shown[:, ::2, 0, ::4, ::4], last)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_nothing_of_a_dropped_token_goes_on(stage: int):
    """Behind the predictor that dropped it, a token may be anything: no bit of the output, and
    none of the later decisions, changes. All that is left of its pixels is what the blocks before
    told its neighbours, and the decisions."""
    network, video = built(), clips()
    before = look(network, video)
    gone = before.kept[stage] == 0
    assert gone.any()

    def overwrite(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tokens = inputs[0].clone()
        tokens[gone] = 50 * torch.randn(tokens[gone].shape)
        return (tokens, *inputs[1:])

    network.blocks[TINY["pruning"][stage]].register_forward_pre_hook(overwrite)
    after = look(network, video)
    assert torch.equal(after.released, before.released)
    for one, other in zip(before.kept, after.kept, strict=True):
        assert torch.equal(one, other)


def test_pixels_that_are_dropped_before_any_block_never_count(monkeypatch: pytest.MonkeyPatch):
    """With one decision, before the first block, and that decision held: not one bit."""
    network, video = built(pruning=(0,), ratio=0.5), clips()
    before = look(network, video)
    kept = before.kept[0].view(2, 2, 16)
    monkeypatch.setattr(network.predictors[0], "forward", lambda tokens, policy, keep: kept)
    hidden = before.shown == 0
    other = torch.where(hidden, 1 - video, video)
    assert torch.equal(look(network, other).released, before.released)
    visible = torch.where(hidden, video, 1 - video)
    assert not torch.equal(look(network, visible).released, before.released)


def gathered(network: TubeletViT, video: Tensor) -> Tensor:
    """Evaluation as the paper's core does it: dropped tokens are taken out of the sequence.

    One clip of ``frames`` at a time, plain softmax, plain loops over tubelets.
    """
    cfg = network.cfg
    grid, times = cfg.size // cfg.patch, cfg.frames // cfg.tubelet
    outputs = []
    for clip in video:
        pieces = []
        for k in range(times):
            for i in range(grid):
                for j in range(grid):
                    box = clip[
                        k * cfg.tubelet : (k + 1) * cfg.tubelet, :,
                        i * cfg.patch : (i + 1) * cfg.patch, j * cfg.patch : (j + 1) * cfg.patch,
                    ]  # fmt: skip
                    kernel = network.embed.project
                    value = ((box - 0.5).transpose(0, 1) * kernel.weight).sum((1, 2, 3, 4))
                    position = network.embed.positions[0, :, k, i, j]
                    pieces.append(value + kernel.bias + position)
        tokens, names = torch.stack(pieces), list(range(len(pieces)))
        stage = 0
        for number, block in enumerate(network.blocks):
            if number in cfg.pruning:
                scores = judged(network.predictors[stage], tokens, names, grid * grid)
                keep = max(1, int(cfg.ratio ** (stage + 1) * grid * grid + 1e-6))
                chosen = []
                for k in range(times):
                    mine = [n for n, name in enumerate(names) if name // grid**2 == k]
                    chosen += sorted(mine, key=lambda n: -float(scores[n]))[:keep]
                chosen.sort()
                tokens, names = tokens[chosen], [names[n] for n in chosen]
                stage += 1
            tokens = plain_block(block, tokens)
        painted = torch.sigmoid(network.head(network.norm(tokens)))
        out = torch.zeros(clip.shape)
        for value, name in zip(painted, names, strict=True):
            k, (i, j) = name // grid**2, divmod(name % grid**2, grid)
            box = value.view(cfg.tubelet, cfg.patch, cfg.patch, 3).permute(0, 3, 1, 2)
            out[
                k * cfg.tubelet : (k + 1) * cfg.tubelet, :,
                i * cfg.patch : (i + 1) * cfg.patch, j * cfg.patch : (j + 1) * cfg.patch,
            ] = box  # fmt: skip
        outputs.append(out)
    return torch.stack(outputs)


def judged(predictor: Predictor, tokens: Tensor, names: list[int], spatial: int) -> Tensor:
    """Log-probability that each token stays; the means are over the tokens that are there."""
    features = predictor.read(tokens)
    third = features.shape[1] // 3
    rows = []
    for n, name in enumerate(names):
        mine = [m for m, other in enumerate(names) if other // spatial == name // spatial]
        moment = features[mine, third : 2 * third].mean(0)
        rows.append(torch.cat([features[n, :third], moment, features[:, 2 * third :].mean(0)]))
    return torch.log_softmax(predictor.judge(torch.stack(rows)), 1)[:, 0]


def plain_block(block: nn.Module, tokens: Tensor) -> Tensor:
    n, d = tokens.shape
    size = d // block.heads
    q, k, v = block.ask(block.before(tokens)).split(d, 1)
    heads = []
    for head in range(block.heads):
        part = slice(head * size, (head + 1) * size)
        weights = torch.softmax(q[:, part] @ k[:, part].T / size**0.5, 1)
        heads.append(weights @ v[:, part])
    tokens = tokens + block.answer(torch.cat(heads, 1))
    return tokens + block.think(tokens)


def test_masking_is_taking_out_and_all_else_equals_the_naive_one():
    network, video = built(), clips()
    with torch.no_grad():
        torch.testing.assert_close(network(video), gathered(network, video), atol=1e-5, rtol=1e-4)


def test_attention_by_hand():
    """The second of three is dropped: the others do not see it, it sees them and itself."""
    scores = torch.tensor([[0.0, 9.0, 1.0], [0.0, 0.0, 0.0], [2.0, 9.0, 0.0]]).view(1, 1, 3, 3)
    weights = attention(scores, torch.tensor([[1.0, 0.0, 1.0]]))[0, 0]
    e = torch.tensor(1.0).exp()
    expected = torch.tensor(
        [
            [1 / (1 + e), 0, e / (1 + e)],
            [1 / 3, 1 / 3, 1 / 3],
            [e**2 / (1 + e**2), 0, 1 / (1 + e**2)],
        ]
    )
    torch.testing.assert_close(weights, expected)


def test_attention_survives_scores_far_apart():
    scores = torch.tensor([[0.0, 1e4, -1e4]] * 3).view(1, 1, 3, 3).requires_grad_()
    policy = torch.tensor([[1.0, 0.0, 0.0]], requires_grad=True)
    weights = attention(scores, policy)
    weights[..., 0].sum().backward()
    assert weights[0, 0, 0].tolist() == [1, 0, 0]
    assert torch.isfinite(scores.grad).all()
    assert torch.isfinite(policy.grad).all()


# Learning


def test_in_training_it_tosses_and_keeps_about_the_ratio_at_the_start():
    torch.manual_seed(0)
    network = tubelet_vit.anonymizer(Config(quantize=False)).train()
    video = clips(4, 8, 48, 48)
    one, other = look(network, video), look(network, video)
    assert not torch.equal(one.kept[0], other.kept[0])
    for stage, share in zip(one.kept, (0.7, 0.49, 0.343), strict=True):
        assert torch.equal(stage, stage.round())
        assert float(stage.mean()) == pytest.approx(share, abs=0.06)
    for before, after in zip(one.kept, one.kept[1:], strict=False):
        assert (after <= before).all()
    assert (one.released[(one.shown == 0).expand_as(one.released)] == 0).all()


@pytest.mark.parametrize("what", ["released", "kept"])
def test_decisions_get_a_slope_from_the_picture_and_from_their_share(what: str):
    network = built().train()
    torch.manual_seed(1)
    seen = network(clips(), decisions=True)
    value = (seen.released * torch.rand(seen.released.shape)).sum()
    (value if what == "released" else sum(k.mean() for k in seen.kept)).backward()
    for key, weight in network.predictors.named_parameters():
        assert weight.grad is not None, key
        assert torch.isfinite(weight.grad).all(), key
        assert weight.grad.any(), key


def test_a_moment_that_lost_everything_does_no_harm():
    """By chance it may, in training: its mean is 0, not a division by nothing."""
    network = built(ratio=0.001).train()
    seen = network(clips(), decisions=True)
    assert float(seen.shown.sum()) == 0
    seen.released.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_predictors_that_are_still_decide_as_for_good():
    """The rest in training: a frozen sparsifier does not toss."""
    network, video = built(), clips()
    expected = look(network, video)
    network.train()
    for module in network.sparsifier():
        module.eval()
    found = look(network, video)
    assert torch.equal(found.released, expected.released)


@pytest.mark.parametrize(("depth", "last"), [(12, 3), (6, 2), (4, 1), (1, 1)])
def test_sparsifier_and_painter_are_all_of_it(depth: int, last: int):
    """Of 12 blocks the last 3, and the head; all else decides."""
    network = built(depth=depth, pruning=(0,))
    parts = [network.sparsifier(), network.painter()]
    one, other = ({id(p) for m in part for p in m.parameters()} for part in parts)
    assert not one & other
    assert one | other == {id(p) for p in network.parameters()}
    for number, block in enumerate(network.blocks):
        assert (id(block.ask.weight) in other) == (number >= depth - last)
    assert id(network.head.weight) in other
    assert id(network.embed.positions) in one


def test_what_repaints_does_not_change_what_is_kept():
    network, video = built(), clips()
    before = look(network, video)
    with torch.no_grad():
        for module in network.painter():
            for weight in module.parameters():
                weight += torch.randn(weight.shape)
    after = look(network, video)
    for one, other in zip(before.kept, after.kept, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(before.released, after.released)


# Any size, any length


def test_a_longer_video_goes_through_in_windows():
    network = built()
    video = clips(2, 11)
    whole = look(network, video)
    parts = [look(network, video[:, a:b]) for a, b in ((0, 4), (4, 8), (8, 11))]
    assert network.window == 4
    torch.testing.assert_close(whole.released, torch.cat([p.released for p in parts], 1))
    assert torch.equal(whole.shown, torch.cat([p.shown for p in parts], 1))
    for k, stage in enumerate(whole.kept):
        assert torch.equal(stage, torch.cat([p.kept[k] for p in parts], 1))


def padded(video: Tensor, after: int, below: int, right: int) -> Tensor:
    video = torch.cat([video, *[video[:, -1:]] * after], 1)
    video = torch.cat([video, *[video[..., -1:, :]] * below], 3)
    return torch.cat([video, *[video[..., -1:]] * right], 4)


def test_a_rest_is_padded_with_its_edge():
    network = built()
    video = clips(2, 3, 14, 9)
    with torch.no_grad():
        found = network(video)
        expected = network(padded(video, 1, 2, 3))[:, :3, :, :14, :9]
    torch.testing.assert_close(found, expected)


def test_a_still_is_a_tubelet_that_stands_still():
    network = built()
    still = clips(3, 1)[:, 0]
    with torch.no_grad():
        found = network(still)
        clip = network(still.unsqueeze(1).expand(-1, 2, -1, -1, -1))
        one = network(still.unsqueeze(1))
    torch.testing.assert_close(found, clip[:, 0])
    torch.testing.assert_close(found, one[:, 0])


def test_positions_of_another_size_are_stretched():
    """At the size that they were learnt for they are themselves; elsewhere each keeps its place."""
    network = built(width=12)
    positions = torch.zeros_like(network.embed.positions)
    positions[:, 0] = torch.arange(4.0).view(1, 1, 1, 4)
    with torch.no_grad():
        network.embed.positions.copy_(positions)
        network.embed.project.weight.zero_()
        network.embed.project.bias.zero_()
        same = network.embed(torch.zeros(1, 3, 4, 16, 16))
        wide = network.embed(torch.zeros(1, 3, 2, 16, 32))
    assert same.shape == (1, 2, 4, 4, 12)
    assert wide.shape == (1, 1, 4, 8, 12)
    assert same[0, 0, 0, :, 0].tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(
        wide[0, 0, 0, :, 0], torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    )


def test_eight_bits_and_its_slope():
    network = built(quantize=True).train()
    other = copy.deepcopy(network)
    other.cfg = Config(**TINY)
    slopes = []
    for f_A in (network, other):
        torch.manual_seed(3)
        out = f_A(clips())
        out.sum().backward()
        slopes.append(f_A.head.weight.grad)
        levels = out.detach() * 255
        assert torch.allclose(levels, levels.round(), atol=1e-3) == f_A.cfg.quantize
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"frames": 5}, "frames is 5"),
        ({"size": 18}, "size is 18"),
        ({"width": 16, "heads": 2}, "three"),
        ({"heads": 5}, "width is 12"),
        ({"pruning": (2, 1)}, "0 to 3"),
        ({"pruning": (4,)}, "0 to 3"),
        ({"depth": 8, "pruning": (7,)}, "0 to 6"),
    ],
)
def test_impossible_shapes_are_one_sentence(options: dict[str, Any], what: str):
    with pytest.raises(BadInput, match=what):
        Config(**{**TINY, **options})
