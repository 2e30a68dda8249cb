"""A small 2-D CNN: reads appearance from single frames. About 0.3 M parameters.

A 4 x 4 patch stem, then residual blocks at a quarter and an eighth of the resolution.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.models._parts import FrameClassifier, Native

NATIVE = Native(side=48, classes=10)


@config
class Config:
    width: Annotated[int, Field(ge=8, le=1024)] = 32
    """Channels after the stem."""
    frames: Annotated[int, Field(ge=1)] = 3
    """Frames of a clip it looks at in training; twice as many otherwise."""


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W) in [0, 1] to logits (B, outputs)."""
    return FrameClassifier(FrameCNN(cfg.width), outputs, cfg.frames)


def encoder(cfg: Config) -> nn.Module:
    """Frames (N, 3, H, W) in [0, 1] to features (N, 6 * width)."""
    return FrameCNN(cfg.width)


class Residual(nn.Module):
    """conv-norm-relu-conv-norm and a skip; a 1 x 1 projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class FrameCNN(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.width = 6 * width  # mean and maximum of the last 3 * width channels
        self.net = nn.Sequential(
            nn.Conv2d(3, 2 * width, 6, stride=4, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
            Residual(2 * width, 2 * width),
            Residual(2 * width, 3 * width, stride=2),
        )

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        x = self.net((frames - 0.45) / 0.25)
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
