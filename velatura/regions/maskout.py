"""Mask out: a region in one colour, or in cells drawn by lot; nothing of the picture is in it.

Mid-grey is what the published code paints (0 in [-1, 1]). All that such a region can tell is its
outline, so strength is how far it is drawn beyond the edge.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from velatura.config import config
from velatura.regions import Region, RegionAnonymizer
from velatura.regions._anonymizer import GREY
from velatura.regions._cells import edges, mosaic

REACH = {"low": 0.0, "medium": 0.05, "high": 0.15}
CELLS = 8  # of noise along the shorter side


@config
class Config:
    level: Literal["low", "medium", "high"] = "medium"
    """How far beyond the region's edge, as a share of the square root of its box's area: 0, .05
    or .15."""
    fill: Literal["grey", "black", "noise"] = "grey"


def build(cfg: Config) -> RegionAnonymizer:
    """One colour, or noise."""
    return Maskout(REACH[cfg.level], cfg.fill)


class Maskout(RegionAnonymizer):
    name = "maskout"
    reads_region = False

    def __init__(self, reach: float, fill: Literal["grey", "black", "noise"]):
        self.reach, self.fill = reach, fill

    def paint(self, image: np.ndarray, region: Region, seed: int) -> np.ndarray | int:
        if self.fill != "noise":
            return GREY if self.fill == "grey" else 0
        rows, columns = edges(*region.size, CELLS)
        lot = np.random.default_rng(seed)
        shape = len(rows) - 1, len(columns) - 1, 3
        return mosaic(lot.integers(0, 256, shape, np.uint8), rows, columns)
