"""Filters longer than what they look at: in 16 bits they must have the gradient of 32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from velatura.training import loop, narrow


def gradients(conv: nn.Module, clips: Tensor, autocast: bool) -> list[Tensor]:
    """Of the filter and of the input."""
    conv.zero_grad()
    clips = clips.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        answer = conv(clips)
    answer.float().sin().sum().backward()
    assert clips.grad is not None
    return [conv.weight.grad.clone(), clips.grad]


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (nn.Conv3d(16, 32, 3, padding=1), (8, 16, 2, 6, 6)),
        (nn.Conv3d(16, 32, 3, padding=1, bias=False), (8, 16, 2, 3, 3)),
        (nn.Conv3d(3, 16, (5, 7, 7), padding=(2, 3, 3)), (4, 3, 3, 12, 12)),
        (nn.Conv3d(16, 16, (3, 1, 1), padding=(1, 0, 0)), (4, 16, 2, 7, 7)),
        (nn.Conv2d(16, 32, 3, 2, 1), (4, 16, 1, 1)),
        (nn.Conv3d(16, 32, 3, padding=1), (4, 16, 4, 6, 6)),
    ],
)
def test_sixteen_bits_give_the_gradient_of_thirty_two(conv: nn.Module, shape: tuple[int, ...]):
    loop.fabric(loop.Config(device="cpu", precision="bf16"))  # guards, as every run does
    clips = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for half, full in zip(gradients(conv, clips, True), gradients(conv, clips, False), strict=True):
        assert torch.isfinite(half).all()
        assert (half - full).norm() < 0.05 * full.norm()


@pytest.mark.parametrize(
    ("shape", "kernel", "expected"),
    [
        ((2, 6, 6), (3, 3, 3), True),
        ((4, 6, 6), (3, 3, 3), False),
        ((1, 6, 6), (3, 3, 3), False),  # one frame is right, and photographs have one
        ((2, 6, 6), (1, 3, 3), False),
        ((2, 2), (3, 3), False),
        ((1, 1), (3, 3), True),
        ((1, 1), (1, 1), False),
    ],
)
def test_what_is_narrow(shape: tuple[int, ...], kernel: tuple[int, ...], expected: bool):
    assert narrow.narrow(shape, kernel) is expected


def test_only_what_is_narrow_is_computed_in_thirty_two_bits():
    narrow.ensure()
    conv = nn.Conv3d(4, 4, 3, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(torch.zeros(1, 4, 2, 4, 4)).dtype == torch.float32
        assert conv(torch.zeros(1, 4, 3, 4, 4)).dtype == torch.bfloat16
    assert conv(torch.zeros(1, 4, 2, 4, 4)).dtype == torch.float32
    again = nn.Conv3d._conv_forward
    narrow.ensure()
    assert nn.Conv3d._conv_forward is again  # once for a process
