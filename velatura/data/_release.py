"""What leaves a camera, as a file: the bytes of a split, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from velatura.layout import ClipSet
from velatura.video.codec import through_codec

__all__ = ["coded", "open_release", "write_frames"]


def write_frames(path: Path, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    """Write bytes (F, C, H, W), part after part, as a ``.npy`` file: whole or not at all.

    In order and not through a memory map: there a full disk is a signal, not an error.
    """
    beside = path.with_suffix(".part")
    header = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
    try:
        with beside.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                file.write(np.ascontiguousarray(part).tobytes())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def open_release(path: Path, data: ClipSet, how: str = "") -> ClipSet:
    """A release written before, with the labels of the split that it was made from.

    Args:
        how: what was done to the pixels, for the fingerprint; the name of the file's folder where
            it is empty.
    """
    frames = np.load(path, mmap_mode="r", allow_pickle=False)
    return data.with_frames(frames, data.name, f"{data.fingerprint}/{how or path.parent.name}")


def coded(
    data: ClipSet, path: Path, codec: str = "h264", crf: float = 23, fps: float = 25
) -> ClipSet:
    """A split after a codec: each of its videos encoded and decoded again by itself.

    Args:
        data: such as a release, before its examiners see it.
        path: a ``.npy`` file to write, whole or not at all.
        codec, crf, fps: of :func:`velatura.video.codec.through_codec`.

    Returns:
        The same items and labels with other pixels, a memory map of ``path``.
    """
    videos = (through_codec(data.video(item), codec, crf, fps) for item in range(len(data)))
    write_frames(path, data.frames.shape, videos)
    return open_release(path, data, f"{codec}-{crf:g}-{fps:g}")
