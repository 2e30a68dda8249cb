"""Keeps 16-bit convolutions on the CPU from filters that are longer than what they look at.

oneDNN's 16-bit convolutions for processors with AVX512_BF16 and without AMX get the gradient of the
filter wrong where a clip is shorter than the filter is deep, or a picture is one pixel: what should
be zero is whatever memory held, from a few times too large to not a number, and now and then it is
written beside its block. Measured with torch 2.13.0 (oneDNN 3.12.0) on an AMD EPYC: 3 x 3 x 3 on
two frames, 5 x 7 x 7 on two to four; right in 32 bits. Networks meet it in their last stages, such
as R3D-18 on 16 frames, and on very short clips.

So these few, small convolutions are computed in 32 bits, on every CPU alike: a figure must not
depend on the processor. Where nothing is narrow, nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ensure", "narrow"]


def narrow(shape: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
    """Whether a filter is longer than its input.

    Args:
        shape: of the input, without batch and channels: (T, H, W) or (H, W).
        kernel: of the filter, alike.
    """
    short = len(shape) == 3 and 1 < shape[0] < kernel[0]
    pixel = set(shape[-2:]) == {1} and max(kernel[-2:]) > 1
    return short or pixel


@cache
def ensure() -> None:
    """Guard every convolution of this process that runs under 16-bit autocast on the CPU."""
    for kind in (nn.Conv2d, nn.Conv3d):
        kind._conv_forward = _guarded(kind._conv_forward)  # type: ignore[method-assign]


def _guarded(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def _conv_forward(self: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.is_cuda or not torch.is_autocast_enabled("cpu"):
            return plain(self, input, weight, bias)
        if not narrow(tuple(input.shape[2:]), self.kernel_size):
            return plain(self, input, weight, bias)
        with torch.autocast("cpu", enabled=False):
            return plain(
                self, input.float(), weight.float(), bias if bias is None else bias.float()
            )

    return _conv_forward
