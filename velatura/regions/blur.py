"""Blur: a Gaussian over a region, as wide as the region is.

The published strength is relative to the region, too: sigma 7 on crops that were resized to
288 x 160 (bodies) or 128 x 128 (faces), 4.4 and 5.5 % of the shorter side: Hukkelås and Lindseth,
2023, https://arxiv.org/abs/2306.05135 and its code. ``medium`` is about that.
"""

from __future__ import annotations

from math import sqrt
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from velatura.config import config
from velatura.regions import Region, RegionAnonymizer
from velatura.regions._opencv import opencv

SIGMA = {"low": 0.025, "medium": 0.05, "high": 0.15}
LEAST = 1.0  # pixels


@config
class Config:
    level: Literal["low", "medium", "high"] = "medium"
    sigma: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Standard deviation, as a share of the shorter side of a region's box, and never less than a
    pixel; 0: as the level says, .025, .05 or .15."""


def build(cfg: Config) -> RegionAnonymizer:
    """A Gaussian; BadInput where OpenCV is not installed."""
    opencv("blur")
    return Blur(cfg.sigma or SIGMA[cfg.level])


class Blur(RegionAnonymizer):
    name = "blur"

    def __init__(self, sigma: float):
        self.sigma = sigma

    def paint(self, image: np.ndarray, region: Region, seed: int) -> np.ndarray:
        return gaussian(image[region.place], max(LEAST, self.sigma * min(region.size)))


def gaussian(part: np.ndarray, sigma: float) -> np.ndarray:
    """(h, w, 3) uint8 blurred; edges are mirrored.

    A wide Gaussian has nothing to say between few points: the part is shrunk by averages, blurred
    by what is then missing of the width, and enlarged. Of white noise it is within four levels of
    the exact one, on average within one, and its time does not grow with the width.

    Args:
        sigma: pixels.
    """
    cv2 = opencv("blur")
    height, width = part.shape[:2]
    size = [max(1, round(side / max(1.0, sigma / 2))) for side in (height, width)]
    if size == [height, width]:
        return np.asarray(cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REFLECT))
    small = cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA)
    # Averages over blocks, and straight lines between them, are blurs of these variances.
    shrunk = [side / few for side, few in zip((height, width), size, strict=True)]
    down, across = (sqrt(sigma**2 - (r**2 - 1) / 12 - r**2 / 6) / r for r in shrunk)
    small = cv2.GaussianBlur(small, (0, 0), across, sigmaY=down, borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
