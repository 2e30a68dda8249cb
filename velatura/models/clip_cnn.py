"""A small 3-D CNN: reads motion and appearance from a clip. About 0.3 M parameters.

It is given the frames and the change of brightness between them, signed and absolute: with
them it learns in 10 epochs what takes it far longer to find alone. The head keeps time apart
(four positions, and 2 x 2 in space, flattened): averaging over time would make raising an arm
and lowering it the same clip.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.errors import BadInput
from velatura.models._parts import Native

NATIVE = Native(side=48, frames=8, classes=10)


@config
class Config:
    width: Annotated[int, Field(ge=8, le=512)] = 16
    """Channels after the stem."""


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W) in [0, 1] to logits (B, outputs)."""
    return ClipCNN(cfg.width, outputs)


def check(cfg: Config, frames: int, height: int, width: int) -> None:
    """Refuse clips that it cannot take.

    Raises:
        BadInput: one frame, which does not move; or less than a stem's patch.
    """
    if frames < 2 or min(height, width) < 4:
        raise BadInput(
            "clip_cnn needs clips of at least 2 frames of 4 x 4 px; these have "
            f"{frames} of {height} x {width}."
        )


class Residual3d(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int, int]):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm3d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv3d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm3d(outputs),
        )
        self.skip = nn.Conv3d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class ClipCNN(nn.Module):
    """``features`` gives the layers that a feature-space hinge compares."""

    POSITIONS = (4, 2, 2)  # in time and space, kept apart in the head

    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(5, 2 * width, (2, 6, 6), (2, 4, 4), (0, 1, 1), bias=False),
            nn.BatchNorm3d(2 * width),
            nn.ReLU(inplace=True),
        )
        self.block1 = Residual3d(2 * width, 2 * width, (1, 2, 2))
        self.block2 = Residual3d(2 * width, 4 * width, (1, 1, 1))
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(4 * width * math.prod(self.POSITIONS), outputs)

    def features(self, clips: Float[Tensor, "b t c h w"]) -> list[Tensor]:
        x = (clips - 0.45) / 0.25
        grey = x.mean(2, keepdim=True)
        change = 2 * F.pad(grey.diff(dim=1), (0, 0, 0, 0, 0, 0, 1, 0))  # none before the first
        x = torch.cat([x, change, change.abs()], 2).transpose(1, 2)
        x = self.stem(x.contiguous(memory_format=torch.channels_last_3d))
        x = self.block1(x)
        y = self.block2(x)
        return [x, y]

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        return self.classify(self.features(clips))

    def classify(self, features: list[Tensor]) -> Tensor:
        """Logits from what :meth:`features` returned."""
        y = features[-1]
        pooled = F.adaptive_avg_pool3d(y, self.POSITIONS).flatten(1)
        logits: Tensor = self.head(self.drop(pooled))
        return logits
