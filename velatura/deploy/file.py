"""Anonymize one video file: reader -> anonymizer -> writer, and nothing on any failure."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import FrameType

import numpy as np

from velatura.errors import Failure
from velatura.video.probe import probe
from velatura.video.read import Frame, read_frames
from velatura.video.write import VideoWriter

__all__ = ["Outcome", "anonymize_file"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was done.

    Attributes:
        source, destination: the files.
        frames: how many were read, anonymized and written: one number for all three.
        seconds: wall time, decoding and encoding included.
        fps: frames per second of that time.
        width, height: pixels, the same in both files.
        device: where the anonymizer ran, as the caller named it.
    """

    source: str
    destination: str
    frames: int
    seconds: float
    fps: float
    width: int
    height: int
    device: str


def anonymize_file(
    source: str | Path,
    destination: str | Path,
    anonymize: Callable[[np.ndarray], np.ndarray],
    *,
    batch: int = 8,
    overwrite: bool = False,
    allow_identity: bool = False,
    device: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Write an anonymized copy of a video file; all of it, or no file at all.

    The copy has the same frames, size and presentation times, no sound and no metadata.
    It fails closed: whatever goes wrong, an interrupt or SIGTERM included, leaves neither
    a destination nor a partial file, and the exception propagates. (SIGKILL cannot be
    caught: it may leave a file named ``*.partial``.)

    Args:
        source: a local video file.
        destination: .mp4, .m4v or .mov; never the source.
        anonymize: (T, H, W, 3) uint8 RGB to the same shape and type, T up to ``batch``.
        batch: frames handed over at once, at least 1.
        overwrite: replace an existing destination, when done.
        allow_identity: accept frames that come back unchanged.
        device: for the outcome.
        progress: called with (frames written, frames expected) after every batch.

    Raises:
        BadInput: an unreadable, damaged or truncated source; an unusable destination.
        Failure: the anonymizer gave another shape or type, or a picture back unchanged;
            the disk is full.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    began = time.perf_counter()
    info = probe(source)
    writer = VideoWriter(
        destination,
        info.width,
        info.height,
        time_base=info.time_base,
        rate=info.rate,
        sample_aspect=info.sample_aspect,
        overwrite=overwrite,
        source=source,
    )
    with _sigterm_unwinds(), writer:
        frames = read_frames(source)
        while group := list(islice(frames, batch)):
            images = _checked(anonymize, group, allow_identity)
            for image, frame in zip(images, group, strict=True):
                writer.write(image, frame.pts, frame.duration)
            if progress is not None:
                progress(writer.frames, max(info.frames, writer.frames))
    seconds = time.perf_counter() - began
    return Outcome(
        source=str(source),
        destination=str(destination),
        frames=writer.frames,
        seconds=seconds,
        fps=writer.frames / seconds,
        width=info.width,
        height=info.height,
        device=device,
    )


def _checked(
    anonymize: Callable[[np.ndarray], np.ndarray], group: list[Frame], allow_identity: bool
) -> np.ndarray:
    """The anonymized frames of one batch, (T, H, W, 3) uint8, or Failure."""
    images = np.stack([frame.image for frame in group])
    # A copy goes in, so that work done in place cannot pass for the original.
    result = anonymize(images.copy())
    if not isinstance(result, np.ndarray):
        raise Failure(f"The anonymizer returned {type(result).__name__}, not a numpy array.")
    if result.shape != images.shape or result.dtype != np.uint8:
        raise Failure(
            f"The anonymizer returned {result.dtype} {result.shape}; expected uint8 "
            f"{images.shape}. Nothing was written."
        )
    if not allow_identity:
        for image, output, frame in zip(images, result, group, strict=True):
            # A picture of one colour has nothing to hide and may well stay as it is.
            if np.array_equal(image, output) and (image != image[0, 0]).any():
                raise Failure(
                    f"The anonymizer returned frame {frame.index} unchanged. Nothing was written."
                )
    return result


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """Let SIGTERM raise SystemExit(143), so that a polite kill cleans up like Ctrl-C.

    A handler of the caller's is left alone, and so are threads, which cannot set one.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    ):
        yield
        return

    def stop(number: int, where: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
