"""Removal: a region is filled from what is around it, and whoever was there is gone.

A control, and no way to make training data: annotations of whoever is gone point at nothing. By
OpenCV, from the edges inwards: Telea, "An Image Inpainting Technique Based on the Fast Marching
Method", 2004, https://doi.org/10.1080/10867651.2004.10487596.
"""

from __future__ import annotations

from math import sqrt
from typing import Annotated

import numpy as np
from pydantic import Field

from velatura.config import config
from velatura.regions import Region, RegionAnonymizer
from velatura.regions._opencv import opencv

SIDE = 64  # pixels of a square as large as all regions, at which they are filled


@config
class Config:
    radius: Annotated[float, Field(ge=1, le=32)] = 3.0
    """Of the neighbourhood that a point is filled from: pixels of the shrunk picture."""


def build(cfg: Config) -> RegionAnonymizer:
    """Filling from around; BadInput where OpenCV is not installed."""
    opencv("removal")
    return Removal(cfg.radius)


class Removal(RegionAnonymizer):
    name = "removal"
    reads_region = False

    def __init__(self, radius: float):
        self.radius = radius

    def apply(self, image: np.ndarray, regions: list[Region], seed: int, picture: str) -> None:
        """All at once: what is around one region may belong to another."""
        cv2 = opencv("removal")
        hidden = np.zeros(image.shape[:2], np.uint8)
        for region in regions:
            hidden[region.place] |= True if region.mask is None else region.mask
        if not hidden.any() or hidden.all():
            return  # nothing to fill, or nothing to fill from: it stays grey
        # What is filled is smooth; large regions are filled at a smaller size, in less time.
        factor = max(1, round(sqrt(int(hidden.sum())) / SIDE))
        height, width = image.shape[:2]
        size = -(-width // factor), -(-height // factor)
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        # A point that has but a part of a region in it has grey in it, too.
        partly = cv2.resize(hidden * np.float32(1), size, interpolation=cv2.INTER_AREA) > 0
        if partly.all():
            return
        unknown = partly.astype(np.uint8)
        thin = 1 in size  # of a line of points OpenCV takes what the memory holds beside it
        if thin:
            small, unknown = (
                cv2.copyMakeBorder(x, *4 * [1], cv2.BORDER_REPLICATE) for x in (small, unknown)
            )
        filled = cv2.inpaint(small, unknown, self.radius, cv2.INPAINT_TELEA)
        filled = filled[1:-1, 1:-1] if thin else filled
        large = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
        np.copyto(image, large, where=hidden.astype(bool)[..., None])
