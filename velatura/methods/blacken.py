"""Blacken: persons, or the boxes around them, are painted black.

Obf-Blackening of SPAct's tables (https://arxiv.org/abs/2203.15205), which takes its boxes from a
detector. Here they come from the data (``ClipSet.people``): a frame in which nobody is marked
stays as it is. What is hidden depends on where persons are, so their outline, size and motion
still show.
"""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.methods._regions import grown


@config
class Config:
    grow: Annotated[float, Field(ge=0, le=1)] = 0.02
    """How far a region grows on every side, as a share of the frame's shorter side."""
    boxes: bool = True
    """Fill the box around each person; else only where the mask is."""


def build(cfg: Config) -> nn.Module:
    """(B, T, C, H, W) in [0, 1] and (B, T, H, W), 1 where persons are, to black regions."""
    return Blacken(cfg.grow, cfg.boxes)


class Blacken(nn.Module):
    wants_people = True

    def __init__(self, grow: float, boxes: bool):
        super().__init__()
        self.grow, self.boxes = grow, boxes

    def forward(
        self, clips: Float[Tensor, "b t c h w"], people: Float[Tensor, "b t h w"]
    ) -> Float[Tensor, "b t c h w"]:
        return clips.masked_fill(grown(people, self.grow, self.boxes), 0.0)
