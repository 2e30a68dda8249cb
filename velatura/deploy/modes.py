"""Fixed filters over whole frames: no weights, and nothing that a lookup could undo.

All but ``black`` and ``silhouette`` throw pixels away first, by averages over areas; what is
drawn from the few that are left cannot hold more than they do. How much those still tell is
measured in the model card: a lot.

A mode's ``scale`` is the shorter side, in pixels, of the picture that it works on: by default what
the demo measures it at, 48, where it leaves less than at 80 (experiments/records: demo, light).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from velatura.deploy.anonymizer import Anonymizer, scaled
from velatura.errors import BadInput

__all__ = ["MODES", "Black", "Blur", "Downsample", "Pixelate", "Silhouette"]


class _Mode(Anonymizer):
    short = 0  # pixels of the shorter side, unless the user says otherwise

    def __init__(self, scale: int | None = None):
        self.short = type(self).short if scale is None else scale
        self.name = type(self).__name__.lower()
        self.digest = f"mode:{self.name}:{self.short}"

    def work_size(self, height: int, width: int) -> tuple[int, int]:
        return scaled(height, width, self.short)


class Downsample(_Mode):
    """12 pixels along the shorter side, and never more than a quarter of it, enlarged smoothly."""

    short = 12
    keeps = True  # the loss is in the size

    def __init__(self, scale: int | None = None):
        super().__init__(scale)
        if not self.short:
            raise BadInput(f"{self.name} at the video's own size would change nothing.")

    def work_size(self, height: int, width: int) -> tuple[int, int]:
        # A quarter of a small video, so that none is small enough to pass as it is.
        return scaled(height, width, max(1, min(self.short, min(height, width) // 4)))

    def apply(self, frames: np.ndarray) -> np.ndarray:
        return frames


class Pixelate(Downsample):
    """12 blocks of one colour along the shorter side."""

    enlarge = "nearest"


class Blur(_Mode):
    """A Gaussian over the frame, 1/16 of the shorter side wide, of 48 pixels."""

    short = 48
    sigma = 1 / 16  # as methods/blur

    def apply(self, frames: np.ndarray) -> np.ndarray:
        height, width = frames.shape[1:3]
        spread = self.sigma * min(height, width)
        # A blur along an axis is a product with a matrix: the library's fastest loop.
        rows, columns = _gaussian(height, spread), _gaussian(width, spread)
        planes = frames.transpose(0, 3, 1, 2).astype(np.float32)
        blurred = rows @ planes @ columns.T
        return np.rint(blurred).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


class Silhouette(_Mode):
    """White where the brightness moved since the last frame, black where it did not."""

    short = 48
    threshold = 0.06  # of full brightness, as methods/frame_difference
    enlarge = "bilinear"
    past = 1
    moves = True

    def process(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        before: np.ndarray | None = None
        waiting: np.ndarray | None = None  # the first frame shows the difference to the second
        for frames in batches:
            if before is None and waiting is None and len(frames) == 1:
                waiting = frames
                continue
            if waiting is not None:
                frames, waiting = np.concatenate([waiting, frames]), None
            grey = frames.mean(-1, dtype=np.float32) / 255
            first = grey[1:2] if before is None else before
            ordered = np.concatenate([first, grey])
            moved = np.abs(np.diff(ordered, axis=0)) > self.threshold
            before = grey[-1:]
            yield np.repeat(moved[..., None], 3, -1).astype(np.uint8) * 255
        if waiting is not None:  # a picture that stands alone does not move
            yield np.zeros_like(waiting)


class Black(_Mode):
    """Nothing but how long it took."""

    short = 16

    def apply(self, frames: np.ndarray) -> np.ndarray:
        return np.zeros_like(frames)


def _gaussian(side: int, sigma: float) -> np.ndarray:
    """(side, side): each row is one output pixel's weights; edges are mirrored."""
    half = min(round(3 * sigma), side - 1)
    weights = np.exp(-0.5 * (np.arange(-half, half + 1) / max(sigma, 1e-6)) ** 2)
    weights /= weights.sum()
    matrix = np.zeros((side, side), np.float32)
    for pixel in range(side):
        for offset, weight in zip(range(-half, half + 1), weights, strict=True):
            at = abs(pixel + offset)
            at = at if at < side else 2 * (side - 1) - at
            matrix[pixel, at] += weight
    return matrix


MODES: dict[str, type[_Mode]] = {
    "black": Black,
    "blur": Blur,
    "downsample": Downsample,
    "pixelate": Pixelate,
    "silhouette": Silhouette,
}
