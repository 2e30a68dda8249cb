"""What all anonymizers of regions are: a picture and its regions in, a picture out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from velatura.regions._region import Region

__all__ = ["GREY", "RegionAnonymizer", "region_seed"]

GREY = 127  # the middle of [0, 255], as released code of the field paints it


class RegionAnonymizer:
    """Anonymize parts of a picture and leave its other pixels as they are; subclasses ``paint``.

    Attributes:
        name: its file's.
        reads_region: whether what is drawn may depend on the pixels that are hidden. Where it is
            False, all regions of a picture are painted grey before anything is drawn: by
            construction nothing of them can come back.
        reach: how far beyond a region's edge it wants to hide, as a share of the square root of
            the box's area; whoever finds the regions adds it to what they grow by.
        workers: processes that draw side by side unless somebody says how many; 0 is one per core.
    """

    name: str = ""
    reads_region: bool = True
    reach: float = 0.0
    workers: int = 0

    def __call__(
        self, image: np.ndarray, regions: Sequence[Region], *, seed: int = 0, picture: str = ""
    ) -> np.ndarray:
        """Anonymize one picture.

        Args:
            image: (H, W, 3) uint8, RGB, upright; stays as it is.
            regions: in any order, which does not matter.
            seed: of whatever is drawn by lot.
            picture: which one it is, such as its file's name; lots differ between pictures.

        Returns:
            The same shape and type; outside the regions, the same bits.

        Raises:
            ValueError: another shape or type; a region that does not lie in the picture.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
        height, width = image.shape[:2]
        for region in regions:
            x0, y0, x1, y1 = region.box
            fits = region.mask is None or region.mask.shape == region.size
            if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height and fits):
                raise ValueError(f"{region.box} is no region of a picture of {width} x {height}")
        # In an order of their own: where two overlap, the later is drawn over the earlier.
        ordered = sorted(regions, key=lambda region: (region.box, region.kind, str(region.id)))
        out = image.copy()
        if not self.reads_region:
            for region in ordered:
                region.put(out, GREY)
        self.apply(out, ordered, seed, picture)
        return out

    def check(self, kind: str, points: Mapping[str, Sequence[str]]) -> None:
        """Refuse regions that it was not made for; most take all.

        Args:
            kind: of the regions to come: face, body or frame.
            points: names of keypoints that they may have, by category.

        Raises:
            BadInput: it was made for others.
        """

    def apply(self, image: np.ndarray, regions: list[Region], seed: int, picture: str) -> None:
        """Draw every region into a picture, one after the other."""
        for region in regions:
            region.put(image, self.paint(image, region, region_seed(seed, picture, region)))

    def paint(self, image: np.ndarray, region: Region, seed: int) -> np.ndarray | int:
        """What stands in the place of a region's box: (h, w, 3) uint8, or one level for all."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """What a record says of it."""
        return {"name": self.name, "reads_region": self.reads_region}


def region_seed(seed: int, picture: str, region: Region) -> int:
    """The seed of one region: of nothing but its picture and its id, so that order, number of
    workers and what was done before do not matter; in a video a track is drawn alike throughout.
    """
    text = f"{seed}\0{picture}\0{region.kind}\0{region.id}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
