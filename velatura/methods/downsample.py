"""Downsample: average blocks of pixels, then enlarge each to its old place."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config


@config
class Config:
    factor: Annotated[int, Field(ge=2, le=64)] = 4


def build(cfg: Config) -> nn.Module:
    """(B, T, C, H, W) in [0, 1] to the same; blocks of ``factor`` x ``factor`` pixels are alike."""
    return Downsample(cfg.factor)


class Downsample(nn.Module):
    def __init__(self, factor: int):
        super().__init__()
        self.factor = factor

    def forward(self, clips: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        h, w = clips.shape[-2:]
        frames = clips.reshape(-1, *clips.shape[-3:])
        frames = F.pad(frames, (0, -w % self.factor, 0, -h % self.factor), mode="replicate")
        small = F.avg_pool2d(frames, self.factor)
        large = F.interpolate(small, scale_factor=float(self.factor), mode="nearest")
        return large[..., :h, :w].reshape(clips.shape).clamp(0, 1)
