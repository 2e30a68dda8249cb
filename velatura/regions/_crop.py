"""What an inpainting network is shown of a region: a square of the picture around it, made small.

The square is 1.3 times as wide as the longer side of the region's box, unless more or less is asked
for, and at most as the picture's shorter side, unless the box is longer. It is moved into the
picture where it can be; elsewhere the picture's edge is repeated. Shapes keep their proportions: a
body has more of what is beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from velatura.regions._region import Box, Region

__all__ = ["CONTEXT", "Window", "covered", "enlarged", "placed", "shrunk", "window"]

CONTEXT = 0.3  # of the longer side, that is shown beside the region


class Window(NamedTuple):
    """A square of a picture, in pixels; it may reach beyond the picture."""

    left: int
    top: int
    side: int


def window(box: Box, height: int, width: int, context: float = CONTEXT) -> Window:
    """The square around a box of a picture.

    Args:
        context: what is shown beside the box, as a share of its longer side.
    """
    x0, y0, x1, y1 = box
    longer = max(x1 - x0, y1 - y0)
    side = max(longer + 2, round((1 + context) * longer))
    side = max(longer, min(side, height, width))

    def begin(low: int, high: int, length: int) -> int:
        if side > length:
            return (length - side) // 2
        return min(max(0, (low + high - side) // 2), length - side)

    return Window(begin(x0, x1, width), begin(y0, y1, height), side)


def shrunk(image: np.ndarray, there: Window, size: int) -> np.ndarray:
    """A window of (H, W, 3) uint8, or of a mask (H, W) bool, at (size, size).

    Of a mask, a pixel is set that has any part of a set one in it (more than a 500th).
    """
    height, width = image.shape[:2]
    rows = np.arange(there.top, there.top + there.side).clip(0, height - 1)
    columns = np.arange(there.left, there.left + there.side).clip(0, width - 1)
    part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if part.shape[:2] != (there.side, there.side):
        part = part[(rows - rows[0])[:, None], columns - columns[0]]
    mask = part.dtype == bool
    found = _resized(part * np.uint8(255) if mask else part, size)
    return found > 0 if mask else found


def enlarged(drawn: np.ndarray, there: Window, box: Box) -> np.ndarray:
    """What (size, size, 3) uint8 of a window shows in a box of the picture: (h, w, 3) uint8."""
    x0, y0, x1, y1 = box
    whole = _resized(drawn, there.side)
    return whole[y0 - there.top : y1 - there.top, x0 - there.left : x1 - there.left]


def _resized(part: np.ndarray, side: int) -> np.ndarray:
    """Shrunk by averages, so that no pixel is passed over; enlarged by straight lines."""
    how = Image.Resampling.BOX if side < len(part) else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(part)).resize((side, side), how))


def placed(keypoints: np.ndarray | None, count: int, there: Window, size: int) -> np.ndarray:
    """Keypoints in pixels of a shrunk window: (count, 3) float32, x, y and 1 known or 0.

    Args:
        keypoints: as ``Region`` has them; another number of them than ``count`` is none.
    """
    found = np.zeros((count, 3), np.float32)
    if keypoints is not None and len(keypoints) == count:
        known = keypoints[:, 2] > 0
        scale = size / there.side
        found[:, :2] = (keypoints[:, :2] - [there.left, there.top]) * scale
        found[:, 2] = known
        found[~known] = 0
    return found


def covered(regions: Sequence[Region], height: int, width: int) -> np.ndarray:
    """(height, width) bool: every pixel of any region."""
    hidden = np.zeros((height, width), bool)
    for region in regions:
        hidden[region.place] |= True if region.mask is None else region.mask
    return hidden
