"""Downsample: fewer pixels, enlarged again to the old size.

Without ``smooth`` blocks of pixels are averaged and each is drawn in its old place. With it the
picture is scaled down and up bilinearly, as the Downsample rows of SPAct have it (112 pixels to
56 and 28; https://arxiv.org/abs/2203.15205).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config


@config
class Config:
    factor: Annotated[int, Field(ge=2, le=64)] = 4
    """Pixels that become one, along each side."""
    smooth: bool = False
    """Bilinear down, averaging over all that is scaled away, and bilinear up."""

    LATER: ClassVar[Mapping[str, Any]] = {"smooth": False}


def build(cfg: Config) -> nn.Module:
    """(B, T, C, H, W) in [0, 1] to the same; blocks of ``factor`` x ``factor`` pixels are alike."""
    return Smooth(cfg.factor) if cfg.smooth else Downsample(cfg.factor)


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


class Smooth(nn.Module):
    """The same number of pixels, without the edges of blocks."""

    def __init__(self, factor: int):
        super().__init__()
        self.factor = factor

    def forward(self, clips: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        h, w = clips.shape[-2:]
        frames = clips.reshape(-1, *clips.shape[-3:])
        size = (max(1, round(h / self.factor)), max(1, round(w / self.factor)))
        small = F.interpolate(frames, size, mode="bilinear", antialias=True)
        large = F.interpolate(small, (h, w), mode="bilinear")
        return large.reshape(clips.shape).clamp(0, 1)
