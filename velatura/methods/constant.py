"""Constant: one grey for everything. Nothing leaks and nothing is left: a control."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config


@config
class Config:
    level: Annotated[float, Field(ge=0, le=1)] = 0.5


def build(cfg: Config) -> nn.Module:
    """(B, T, C, H, W) in [0, 1] to the same shape, every value ``level``."""
    return Constant(cfg.level)


class Constant(nn.Module):
    def __init__(self, level: float):
        super().__init__()
        self.level = level

    def forward(self, clips: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        return torch.full_like(clips, self.level)
