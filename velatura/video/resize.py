"""Pictures of bytes to another size, by the same scaler that reads and writes video."""

from __future__ import annotations

from typing import Literal

import av
import numpy as np
from av.video.reformatter import Interpolation

__all__ = ["HOW", "resize"]

HOW = {
    "area": Interpolation.AREA,
    "bilinear": Interpolation.BILINEAR,
    "nearest": Interpolation.POINT,
}


def resize(
    image: np.ndarray, size: tuple[int, int], how: Literal["area", "bilinear", "nearest"]
) -> np.ndarray:
    """One picture, (H, W, 3) uint8 RGB, to (height, width).

    Args:
        how: ``"area"`` to shrink, ``"bilinear"`` or ``"nearest"`` to enlarge.
    """
    if image.shape[:2] == size:
        return image
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    height, width = size
    return frame.reformat(width=width, height=height, interpolation=HOW[how]).to_ndarray()
