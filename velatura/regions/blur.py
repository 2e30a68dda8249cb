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
    by what is then missing of the width, and enlarged. Within two levels of the exact one, and in
    a time that does not grow with the width.

    Args:
        sigma: pixels.
    """
    cv2 = opencv("blur")
    height, width = part.shape[:2]
    factor = min(int(sigma / 2), height, width)
    if factor < 2:
        return np.asarray(cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REFLECT))
    # Mirrored beyond its edges first, so that they, too, are averages of whole blocks.
    more = 3 * factor
    below, right = more + -height % factor, more + -width % factor
    wide = cv2.copyMakeBorder(part, more, below, more, right, cv2.BORDER_REFLECT)
    tall, broad = wide.shape[0] // factor, wide.shape[1] // factor
    small = cv2.resize(wide, (broad, tall), interpolation=cv2.INTER_AREA)
    # Averages over blocks and straight lines between them are blurs of these variances.
    rest = sigma**2 - (factor**2 - 1) / 12 - factor**2 / 6
    small = cv2.GaussianBlur(small, (0, 0), sqrt(rest) / factor, borderType=cv2.BORDER_REFLECT)
    large = cv2.resize(small, (broad * factor, tall * factor), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large[more : more + height, more : more + width])
