"""Layers with an equalised learning rate, and one that a style modulates.

Weights are stored at unit variance and scaled when they are used, so that one rate of Adam fits all
layers: Karras et al., 2018, section 4.1, https://arxiv.org/abs/1710.10196
"""

from __future__ import annotations

from math import sqrt

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Conv", "Linear", "StyledConv", "act", "channels"]


def channels(width: int, level: int) -> int:
    """Of a level, counted from the full size: doubled at each, and at most four times as many."""
    return width * min(2**level, 4)


def act(x: Tensor) -> Tensor:
    """Leaky ReLU that keeps the variance."""
    return F.leaky_relu(x, 0.2) * sqrt(2)


class Conv(nn.Module):
    """Convolution that keeps height and width."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain = 1 / sqrt(inputs * kernel**2)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h w"]:
        padding = self.weight.shape[-1] // 2
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=padding)


class Linear(nn.Module):
    """A matrix and a bias."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.gain = 1 / sqrt(inputs)

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        return F.linear(x, self.weight * self.gain, self.bias)


class StyledConv(nn.Module):
    """A 3 x 3 convolution whose inputs a style scales and whose outputs it shifts.

    Outputs are divided by the deviation that they would have if the inputs had 1, so that a style
    cannot blow one feature up: Karras et al., 2020, section 2.2, Eq. 1 and 3,
    https://arxiv.org/abs/1912.04958. (There the shift is a constant.)
    """

    def __init__(self, inputs: int, outputs: int, style: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.gain = 1 / sqrt(9 * inputs)
        self.scale = Linear(style, inputs, bias=1.0)
        self.shift = Linear(style, outputs)

    def forward(
        self, x: Float[Tensor, "n i h w"], style: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n o h w"]:
        weight = self.weight * self.gain
        scale = self.scale(style)
        x = F.conv2d(x * scale[..., None, None], weight, padding=1)
        norm = (scale.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()
        found: Tensor = x * norm[..., None, None] + self.shift(style)[..., None, None]
        return found
