"""Pixelate: a mosaic of square blocks, each of its mean colour.

Their size follows the frame, so the same file means the same mosaic at 48 and at 224 pixels;
``downsample`` counts in pixels.
"""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config


@config
class Config:
    block: Annotated[float, Field(gt=0, le=1)] = 1 / 12
    """Side of a block, as a share of the frame's shorter side; never less than 2 pixels."""


def build(cfg: Config) -> nn.Module:
    """(B, T, C, H, W) in [0, 1] to the same, in blocks that begin at the upper left corner."""
    return Pixelate(cfg.block)


class Pixelate(nn.Module):
    def __init__(self, block: float):
        super().__init__()
        self.block = block

    def forward(self, clips: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        h, w = clips.shape[-2:]
        side = max(2, round(self.block * min(h, w)))
        frames = clips.reshape(-1, *clips.shape[-3:])
        # A block that the edge cuts off is the mean of what there is of it.
        means = F.avg_pool2d(frames, side, ceil_mode=True, count_include_pad=False)
        large = F.interpolate(means, scale_factor=float(side), mode="nearest")
        return large[..., :h, :w].reshape(clips.shape).clamp(0, 1)
