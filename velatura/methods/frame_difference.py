"""Frame difference, binarised: white where the brightness moved, black where it did not.

Two lines, no training, and hard to beat: colour and texture are gone, motion is left. The
first frame, which has none before it, takes the difference to the second.
Stands for the difference-and-quantise idea of BDQ, https://arxiv.org/abs/2208.02459
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config


@config
class Config:
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.06
    """Change of brightness that counts as motion."""


def build(cfg: Config) -> nn.Module:
    """(B, T, C, H, W) in [0, 1] to the same shape with values 0 and 1."""
    return FrameDifference(cfg.threshold)


class FrameDifference(nn.Module):
    past = 1  # frames that it looks back

    def __init__(self, threshold: float):
        super().__init__()
        self.threshold = threshold

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        if clips.shape[1] < 2:
            return torch.zeros_like(clips)  # a picture that stands alone does not move
        grey = clips.mean(2, keepdim=True)
        moved = (grey.diff(dim=1).abs() > self.threshold).to(clips.dtype)
        return torch.cat([moved[:, :1], moved], 1).expand_as(clips).contiguous()
