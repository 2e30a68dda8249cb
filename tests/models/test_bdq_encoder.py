"""Blur, difference and quantisation by hand and against a plain second implementation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from velatura.errors import BadInput
from velatura.models import bdq
from velatura.models.bdq import Config


def built(**options: object) -> bdq.BDQ:
    network = bdq.anonymizer(Config(**options))
    assert isinstance(network, bdq.BDQ)
    return network


def clip_of(*frames: float) -> Tensor:
    """(1, T, 3, 1, 1), each frame of one intensity."""
    return torch.tensor(frames).view(1, -1, 1, 1, 1).expand(-1, -1, 3, -1, -1).contiguous()


def test_by_hand():
    """Four levels .2 apart, no blur: down by .1 to .3 is level 0, half way and beyond next.

    Boundaries .5, 1.5 and 2.5, no motion at 1: level 2 begins at a change of +.1, 3 at +.3, and
    1 ends at -.1.
    """
    network = built(kernel=1, bits=2, reach=0.3).eval()
    clip = clip_of(0.5, 0.5, 0.55, 0.75, 0.35, 0.3, 0.9)
    levels = network(clip)[0, :, 0, 0, 0] * 3
    # Changes: none before the first, 0, .05, .2, -.4, -.05, .6
    torch.testing.assert_close(levels, torch.tensor([1.0, 1, 1, 2, 0, 1, 3]))


def test_soft_steps_by_hand():
    """In training each boundary is a sigmoid of slope ``hardness``."""
    network = built(kernel=1, bits=2, reach=0.3, hardness=2.0, quantize=False).train()
    found = network(clip_of(0.2, 0.3))[0, :, 0, 0, 0] * 3
    x = 1 + 0.1 / 0.2
    expected = sum(1 / (1 + math.exp(-2 * (x - b))) for b in (0.5, 1.5, 2.5))
    torch.testing.assert_close(found, torch.full((2,), expected))


def test_blur_by_hand():
    """A point spreads as exp(-d^2 / 2 sigma^2), in sum 1; an even picture stays."""
    network = built(kernel=3, sigma=0.8)
    point = torch.zeros(1, 1, 3, 5, 5)
    point[0, 0, 1, 2, 2] = 1
    out = network.blur(point)[0, 0].detach()
    near = math.exp(-1 / (2 * 0.8**2))
    line = torch.tensor([0, near, 1, near, 0]) / (1 + 2 * near)
    torch.testing.assert_close(out[1], line.view(5, 1) * line)
    assert not out[[0, 2]].any()
    even = torch.full((1, 1, 3, 5, 5), 0.3)
    torch.testing.assert_close(network.blur(even).detach(), even)


def naive(clips: Tensor, cfg: Config, soft: bool, boundaries: list[float]) -> Tensor:
    """Pixel by pixel in Python's numbers, from the text of the paper."""
    b, t, c, h, w = clips.shape
    half, top = cfg.kernel // 2, 2**cfg.bits - 1
    offsets = range(-half, half + 1)
    weight = {
        (i, j): math.exp(-(i * i + j * j) / (2 * cfg.sigma**2)) for i in offsets for j in offsets
    }
    total = sum(weight.values())

    def blurred(plane: list[list[float]], y: int, x: int) -> float:
        def at(i: int, j: int) -> float:
            return plane[min(max(y + i, 0), h - 1)][min(max(x + j, 0), w - 1)]

        return sum(k * at(i, j) for (i, j), k in weight.items()) / total

    def level(change: float) -> float:
        x = (top - 1) // 2 + change * top / (2 * cfg.reach)
        if soft:
            return sum(1 / (1 + math.exp(-cfg.hardness * (x - b))) for b in boundaries)
        return sum(x > b for b in boundaries)

    out = torch.zeros(clips.shape)
    for i in range(b):
        for k in range(c):
            planes = [clips[i, s, k].tolist() for s in range(t)]
            for y in range(h):
                for x in range(w):
                    values = [blurred(p, y, x) for p in planes]
                    for s in range(t):
                        now = max(s, 1)  # the first frame has the second's difference
                        out[i, s, k, y, x] = level(values[now] - values[now - 1]) / top
    return out


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"kernel": 3, "sigma": 0.6, "bits": 3, "reach": 0.1, "hardness": 3.0}]
)
def test_all_of_it_equals_the_naive_one(soft: bool, options: dict[str, float]):
    cfg = Config(**options, quantize=False)
    network = bdq.anonymizer(cfg).train(soft)
    torch.manual_seed(0)
    top = 2**cfg.bits - 1
    boundaries = [k + 0.5 + 0.2 * math.sin(k) for k in range(top)]
    with torch.no_grad():
        network.boundaries.copy_(torch.tensor(boundaries))
        clips = torch.rand(2, 3, 3, 5, 6)
        found = network(clips)
    torch.testing.assert_close(
        found, naive(clips, cfg, soft, boundaries), atol=2e-5 if soft else 1e-6, rtol=0
    )


def test_released_levels_are_grey_values_of_a_byte():
    network = built().eval()
    with torch.no_grad():
        out = network(torch.rand(2, 4, 3, 16, 16))
    assert torch.equal(out, (out * 15).round() / 15)
    assert torch.equal(out, (out * 255).round() / 255)
    assert len(out.unique()) > 8


@pytest.mark.parametrize("still", [torch.rand(2, 3, 9, 7), torch.rand(2, 1, 3, 9, 7)])
@pytest.mark.parametrize("training", [True, False])
def test_what_stands_alone_gives_the_constant_of_no_motion(still: Tensor, training: bool):
    """A frame, and a clip of one; the same as a clip that stands still, whatever it shows."""
    network = built().train(training)
    out = network(still).detach()
    assert out.shape == still.shape
    assert len(out.unique()) == 1
    assert float(out.flatten()[0]) == pytest.approx(7 / 15, abs=2 / 255 if training else 1e-6)
    moving = network(clip_of(0.3, 0.3, 0.3)).detach()
    torch.testing.assert_close(moving, torch.full_like(moving, float(out.flatten()[0])))


def test_a_little_noise_is_no_motion():
    """No motion stands in the middle of a level, not on a boundary."""
    network = built().eval()
    torch.manual_seed(0)
    clip = 0.5 + 0.01 * torch.randn(1, 6, 3, 12, 12)
    assert len(network(clip).unique()) == 1


def test_an_item_is_a_function_of_itself_and_of_one_frame_before():
    """Not of the batch, whose extremes the released code scales by; and a video may be cut."""
    network = built().eval()
    torch.manual_seed(0)
    clips = torch.rand(3, 6, 3, 12, 12)
    clips[2] *= 0.1
    with torch.no_grad():
        whole = network(clips)
        alone = torch.cat([network(clip[None]) for clip in clips])
        parts = [network(clips[:, :2]), network(clips[:, 1:4])[:, 1:], network(clips[:, 3:])[:, 1:]]
    assert torch.equal(alone, whole)
    assert torch.equal(torch.cat(parts, 1), whole)
    assert network.past == 1


def test_all_numbers_learn_and_their_slopes_are_right():
    """Against differences of the loss, in soft steps without rounding."""
    network = built(quantize=False).train()
    torch.manual_seed(0)
    clips = torch.rand(1, 3, 3, 8, 8)
    weights = torch.rand(clips.shape)

    def loss() -> Tensor:
        return (network(clips) * weights).double().sum()

    loss().backward()
    assert sum(p.numel() for p in network.parameters()) == 17
    for key, number in network.named_parameters():
        for at in range(number.numel()):
            flat = number.data.view(-1)
            flat[at] += 1e-2
            up = float(loss().detach())
            flat[at] -= 2e-2
            down = float(loss().detach())
            flat[at] += 1e-2
            slope = float(number.grad.view(-1)[at])
            assert slope == pytest.approx((up - down) / 2e-2, rel=5e-2, abs=0.05), f"{key} {at}"
            assert slope != 0, f"{key} {at}"


def test_the_rounding_passes_the_slope():
    slopes = []
    for quantize in (True, False):
        network = built(quantize=quantize).train()
        torch.manual_seed(0)
        network(torch.rand(1, 3, 3, 8, 8)).sum().backward()
        slopes.append(network.log_sigma.grad)
    torch.testing.assert_close(*slopes)


def test_a_kernel_has_a_middle():
    with pytest.raises(BadInput, match="odd side"):
        Config(kernel=4)
