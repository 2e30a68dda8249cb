"""Coarse flow: how cells of the picture move, in a few levels, and nothing of what is in them.

``models/coarse_flow`` without the network on top, so that nothing is learnt and nobody need be told
what to hide. Two numbers a cell and frame are let out.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from velatura.config import config
from velatura.models import coarse_flow


@config
class Config:
    cells: Annotated[int, Field(ge=2, le=256)] = 12
    window: Annotated[float, Field(gt=0)] = 0.5
    blur: Annotated[float, Field(gt=0)] = 0.25
    noise: Annotated[float, Field(gt=0)] = 0.08
    reach: Annotated[float, Field(gt=0)] = 0.5
    levels: Annotated[int, Field(ge=3, le=255)] = 9


def build(cfg: Config) -> nn.Module:
    """(B, T, 3, H, W) in [0, 1] to the same."""
    return coarse_flow.anonymizer(coarse_flow.Config(**vars(cfg), depth=0))
