"""Frame difference, binarised: white where the brightness moved, black where it did not.

Two lines, no training, and hard to beat: colour and texture are gone, motion is left. The
first frame, which has none before it, takes the difference to the second.
Stands for the difference-and-quantise idea of BDQ, https://arxiv.org/abs/2208.02459

With ``binary = false`` the difference itself: mid-grey where nothing moved, and for each colour
half of what came or went, above or below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config


@config
class Config:
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.06
    """Change of brightness that counts as motion; of the binary one."""
    binary: bool = True
    """Black and white; else (x_t - x_{t-1}) / 2 + 1/2 in each colour."""

    LATER: ClassVar[Mapping[str, Any]] = {"binary": True}


def build(cfg: Config) -> nn.Module:
    """(B, T, C, H, W) in [0, 1] to the same shape with values 0 and 1; or in [0, 1]."""
    return FrameDifference(cfg.threshold) if cfg.binary else SignedDifference()


class FrameDifference(nn.Module):
    past = 1  # frames that it looks back
    step = 255  # between its two levels, as bytes

    def __init__(self, threshold: float):
        super().__init__()
        self.threshold = threshold

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        if clips.shape[1] < 2:
            return torch.zeros_like(clips)  # a picture that stands alone does not move
        grey = clips.mean(2, keepdim=True)
        moved = (grey.diff(dim=1).abs() > self.threshold).to(clips.dtype)
        return torch.cat([moved[:, :1], moved], 1).expand_as(clips).contiguous()


class SignedDifference(nn.Module):
    past = 1

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        if clips.shape[1] < 2:
            return torch.full_like(clips, 0.5)
        change = 0.5 * clips.diff(dim=1) + 0.5
        return torch.cat([change[:, :1], change], 1).clamp(0, 1)
