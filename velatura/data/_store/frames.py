"""Prepared videos one behind the other, read by frame number: the pixels of a ``ClipSet``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from velatura.data._store.store import Store

__all__ = ["StoredFrames"]


class StoredFrames:
    """``frames[numbers]`` of videos in a store, all pictures of one size.

    A picture of another shape is scaled to cover that size, and its middle is kept.

    Attributes:
        shape: (F, 3, height, width).
        lengths: (N,) int64, frames of each video; together F.
    """

    def __init__(self, store: Store, names: Sequence[str], height: int, width: int) -> None:
        self.store, self.names = store, list(names)
        self.lengths = np.array([store.videos[name].frames for name in self.names], np.int64)
        self._ends = np.cumsum(self.lengths)
        total = int(self._ends[-1]) if len(self._ends) else 0
        self.shape = (total, 3, height, width)

    def __getitem__(self, numbers: slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """A slice or a list of frame numbers: (f, 3, height, width) uint8, RGB."""
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
        video, (_, _, height, width) = self.store.videos[name], self.shape
        scale = max(height / video.height, width / video.width)
        size = (max(height, round(video.height * scale)), max(width, round(video.width * scale)))
        clip = self.store.window(name, indices, size)
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        return clip[:, :, top : top + height, left : left + width]
