"""Pixelate: each cell of a region in its mean colour.

The cells are counted, not measured, so that strength is relative to the region: as in the code of
Hukkelås and Lindseth, where a crop of whatever size becomes 8 x 8 or 16 x 16 cells
(https://github.com/hukkelas/deep_privacy2). No cell has fewer than 4 pixels a side.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from velatura.config import config
from velatura.regions import Region, RegionAnonymizer
from velatura.regions._cells import edges, means, mosaic

CELLS = {"low": 16, "medium": 8, "high": 4}


@config
class Config:
    level: Literal["low", "medium", "high"] = "medium"
    cells: Annotated[int, Field(ge=0, le=64)] = 0
    """Along the shorter side of a region's box; 0: as the level says, 16, 8 or 4."""


def build(cfg: Config) -> RegionAnonymizer:
    """Cells of one colour."""
    return Pixelate(cfg.cells or CELLS[cfg.level])


class Pixelate(RegionAnonymizer):
    name = "pixelate"

    def __init__(self, cells: int):
        self.cells = cells

    def paint(self, image: np.ndarray, region: Region, seed: int) -> np.ndarray:
        cells = edges(*region.size, self.cells)
        return mosaic(means(image[region.place], *cells), *cells)
