"""Blur: the whole frame through a Gaussian."""

from __future__ import annotations

from typing import Annotated

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
        from velatura.torchvision_guard import ensure

        ensure()
        from torchvision.transforms.v2.functional import gaussian_blur

        sigma = self.sigma * min(clips.shape[-2:])
        half = min(round(3 * sigma), min(clips.shape[-2:]) - 1)  # reflection needs half < side
        blurred: Tensor = gaussian_blur(clips, [2 * half + 1] * 2, [sigma] * 2)
        return blurred.clamp(0, 1)
