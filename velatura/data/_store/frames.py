"""Prepared videos one behind the other, read by frame number: the pixels of a ``ClipSet``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from velatura.data._store.store import Store

__all__ = ["Crop", "Stacked", "StoredFrames"]


class Crop(NamedTuple):
    """A picture scaled to cover a size, and its middle kept."""

    size: tuple[int, int]  # height and width to scale to
    top: int
    left: int

    @classmethod
    def of(cls, picture: tuple[int, int], height: int, width: int) -> Crop:
        """For a picture of (height, width) pixels."""
        scale = max(height / picture[0], width / picture[1])
        size = (max(height, round(picture[0] * scale)), max(width, round(picture[1] * scale)))
        return cls(size, (size[0] - height) // 2, (size[1] - width) // 2)


class Stacked:
    """``stacked[numbers]`` of videos one behind the other; a subclass reads one of them.

    Attributes:
        names: of the videos.
        lengths: (N,) int64, frames of each video; together F.
        shape: (F, ...).
    """

    def __init__(self, names: Sequence[str], lengths: Sequence[int], shape: tuple[int, ...]):
        self.names = list(names)
        self.lengths = np.array(lengths, np.int64)
        self._ends = np.cumsum(self.lengths)
        self.shape = (int(self._ends[-1]) if len(self._ends) else 0, *shape)

    def __getitem__(self, numbers: slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """A slice or a list of frame numbers: (f, ...) uint8."""
        if isinstance(numbers, slice):
            numbers = range(*numbers.indices(self.shape[0]))
        wanted = np.asarray(numbers, np.int64)
        videos = np.searchsorted(self._ends, wanted, side="right")
        inside = wanted - (self._ends - self.lengths)[videos]
        out = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        # A clip's frames stand together: one reading of its file.
        cuts = [0, *(np.flatnonzero(np.diff(videos)) + 1), len(wanted)]
        for begin, end in zip(cuts[:-1], cuts[1:], strict=True):
            if begin < end:
                out[begin:end] = self._read(self.names[videos[begin]], inside[begin:end].tolist())
        return out

    def _read(self, name: str, indices: list[int]) -> np.ndarray:
        """Some frames of one video, (f, ...) uint8."""
        raise NotImplementedError


class StoredFrames(Stacked):
    """``frames[numbers]`` of videos in a store, all pictures of one size.

    A picture of another shape is scaled to cover that size, and its middle is kept.

    Attributes:
        shape: (F, 3, height, width), RGB.
    """

    def __init__(self, store: Store, names: Sequence[str], height: int, width: int) -> None:
        super().__init__(names, [store.videos[n].frames for n in names], (3, height, width))
        self.store = store

    def _read(self, name: str, indices: list[int]) -> np.ndarray:
        video, (_, _, height, width) = self.store.videos[name], self.shape
        crop = Crop.of((video.height, video.width), height, width)
        clip = self.store.window(name, indices, crop.size)
        return clip[:, :, crop.top : crop.top + height, crop.left : crop.left + width]
