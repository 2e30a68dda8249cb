"""A part of a picture, in whole pixels of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, sqrt
from typing import Literal

import numpy as np

__all__ = ["Box", "Kind", "Region", "grown", "touched"]

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, the last two outside
Kind = Literal["face", "body", "frame"]


@dataclass(frozen=True, eq=False)
class Region:
    """Where somebody is.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the upright picture, inside it, x0 < x1 and y0 < y1.
        kind: a face, a body with its clothes, or the whole picture.
        mask: (y1 - y0, x1 - x0) bool, which pixels of the box are meant; None is all of them.
        keypoints: (K, 3) x and y in pixels of the picture, and 0 unknown, 1 hidden, 2 visible.
        id: of the annotation or the track that it stands for; the same id is drawn alike.
        score: of whatever found it, in [0, 1].
    """

    box: Box
    kind: Kind = "body"
    mask: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    id: int | str = 0
    score: float = 1.0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the box, pixels."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the box in the picture."""
        x0, y0, x1, y1 = self.box
        return slice(y0, y1), slice(x0, x1)

    def put(self, image: np.ndarray, part: np.ndarray | int) -> None:
        """Write a part, (h, w, 3) uint8 or one level, into a picture, within the region only."""
        there = image[self.place]
        if self.mask is None:
            there[:] = part
            return
        for colour in range(3):  # four times as fast as one mask for all three
            drawn = part if isinstance(part, int) else part[..., colour]
            np.copyto(there[..., colour], drawn, where=self.mask)


def touched(box: Sequence[float] | np.ndarray, height: int, width: int) -> Box | None:
    """All pixels of a picture that a box x0, y0, x1, y1 touches; None where it touches none."""
    x0, x1 = max(0, min(width, floor(box[0]))), max(0, min(width, ceil(box[2])))
    y0, y1 = max(0, min(height, floor(box[1]))), max(0, min(height, ceil(box[3])))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def grown(region: Region, share: float, height: int, width: int) -> Region:
    """A region larger on every side.

    Args:
        share: of the square root of its box's area, rounded to pixels. A mask grows as far along
            each axis, corners included.
        height, width: of the picture, which it does not leave.
    """
    # No farther than from edge to edge: what lies beyond the picture takes memory, and no more.
    reach = min(round(share * sqrt(region.size[0] * region.size[1])), max(height, width))
    if not reach:
        return region
    x0, y0, x1, y1 = region.box
    box = max(0, x0 - reach), max(0, y0 - reach), min(width, x1 + reach), min(height, y1 + reach)
    mask = region.mask
    if mask is not None:
        around = (y0 - box[1], box[3] - y1), (x0 - box[0], box[2] - x1)
        mask = np.pad(mask, [(before + reach, after + reach) for before, after in around])
        mask = _spread(mask, 2 * reach + 1)
    return replace(region, box=box, mask=mask)


def _spread(mask: np.ndarray, window: int) -> np.ndarray:
    """Whether any of ``window`` x ``window`` pixels is set: (h, w) to (h - window + 1, ...)."""
    for _ in range(2):
        # Windows of twice the length from two of the single one: a few passes for any length.
        length, found = 1, mask
        while 2 * length <= window:
            found = found[:-length] | found[length:]
            length *= 2
        rest = window - length
        mask = (found[:-rest] | found[rest:] if rest else found).T
    return mask
