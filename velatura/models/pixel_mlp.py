"""A plain network over raw pixels: what no convolution or patch looks for. About 1 M parameters.

Each of a few frames is averaged to a small picture; all their pixels go through two hidden layers.
It sees the colour of a place and how it changes, and nothing of texture. As an attacker it is of a
family that no method trains against.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.models._parts import Native

NATIVE = Native(side=48, frames=8, classes=10)


@config
class Config:
    side: Annotated[int, Field(ge=1, le=64)] = 12
    """Of the small picture, pixels."""
    frames: Annotated[int, Field(ge=1, le=64)] = 4
    """Frames of a clip that it looks at, evenly spread."""
    width: Annotated[int, Field(ge=8, le=4096)] = 512
    """Units of the first hidden layer; the second has half of it."""


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W) in [0, 1] to logits (B, outputs)."""
    return PixelMLP(cfg, outputs)


class PixelMLP(nn.Module):
    def __init__(self, cfg: Config, outputs: int):
        super().__init__()
        self.side, self.frames = cfg.side, cfg.frames
        inputs = cfg.frames * 3 * cfg.side**2
        self.net = nn.Sequential(
            nn.Linear(inputs, cfg.width, bias=False),
            nn.BatchNorm1d(cfg.width),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(cfg.width, cfg.width // 2),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(cfg.width // 2, outputs),
        )

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        b, t = clips.shape[:2]
        # A shorter clip shows some frames more than once: the layer has a fixed number of inputs.
        keep = torch.linspace(0, t - 1, self.frames, device=clips.device).round().long()
        small = F.adaptive_avg_pool2d(clips[:, keep].flatten(0, 1), self.side)
        logits: Tensor = self.net((small.reshape(b, -1) - 0.45) / 0.25)
        return logits
