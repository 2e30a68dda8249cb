"""Freeze: one frame of the clip, shown for as long as the clip lasts.

Everything is there but the motion, so what a network still knows of the action it knows from a
pose. Not an anonymizer: a guard on the data. Where U stays high, actions are poses, and hiding
motion costs nothing.
"""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config


@config
class Config:
    at: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Which frame: 0 is the first, 1 the last."""


def build(cfg: Config) -> nn.Module:
    """(B, T, C, H, W) in [0, 1] to the same shape, T times the same frame."""
    return Freeze(cfg.at)


class Freeze(nn.Module):
    whole = True  # a video cut in two would show two frames

    def __init__(self, at: float):
        super().__init__()
        self.at = at

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        frame = int(self.at * (clips.shape[1] - 1) + 0.5)
        return clips[:, frame : frame + 1].expand_as(clips).contiguous()
