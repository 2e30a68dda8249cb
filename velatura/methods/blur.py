"""Blur: the whole frame through a Gaussian."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config


@config
class Config:
    sigma: Annotated[float, Field(gt=0)] = 0.0625
    """Standard deviation, as a share of the frame's shorter side: 0.0625 of 48 px is 3 px."""


def build(cfg: Config) -> nn.Module:
    """(B, T, C, H, W) in [0, 1] to the same, blurred."""
    return Blur(cfg.sigma)


class Blur(nn.Module):
    def __init__(self, sigma: float):
        super().__init__()
        self.sigma = sigma

    def forward(self, clips: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        sigma = self.sigma * min(clips.shape[-2:])
        half = min(round(3 * sigma), min(clips.shape[-2:]) - 1)  # reflection needs half < side
        along = torch.arange(-half, half + 1, device=clips.device, dtype=clips.dtype)
        kernel = torch.exp(-0.5 * (along / sigma) ** 2)
        kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
        planes = clips.reshape(-1, 1, *clips.shape[-2:])
        # A Gaussian is separable: two passes of 2 * half + 1 instead of one of its square.
        planes = F.conv2d(F.pad(planes, (half, half, 0, 0), mode="reflect"), kernel)
        planes = F.conv2d(F.pad(planes, (0, 0, half, half), mode="reflect"), kernel.mT)
        return planes.reshape(clips.shape).clamp(0, 1)
