"""A video file that appears under its name when it is complete, and not before.

Frames go to a file beside the destination, whose name ends in ``.partial``. When all are
written and flushed to the disk, the file is decoded again from its first to its last frame and
their times compared with those asked for; then it is renamed. On any error, interrupts included,
it is removed. Nothing is copied from a source but sound, where asked for: no metadata, no
embedded pictures.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from itertools import zip_longest
from math import lcm
from pathlib import Path
from types import TracebackType
from typing import Literal

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from velatura.errors import BadInput, Failure
from velatura.video import destination
from velatura.video.resize import HOW
from velatura.video.sound import Sound

__all__ = ["SUFFIXES", "VideoWriter"]

# Containers that keep any timestamp exactly. Matroska rounds to milliseconds.
SUFFIXES = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}


class VideoWriter:
    """Write RGB frames at given times.

        with VideoWriter("out.mp4", 640, 480, time_base=Fraction(1, 1000)) as writer:
            writer.write(image, pts=0)
            writer.write(image, pts=33)

    The frame size is kept: an odd width or height is coded as 4:4:4, since 4:2:0 needs
    even ones. Colours are tagged BT.709, limited range.

    Args:
        path: the destination, .mp4, .m4v or .mov.
        width, height: pixels of every frame.
        time_base: seconds of one timestamp unit.
        rate: frames per second to declare, for information only.
        codec: an FFmpeg encoder that knows ``crf`` and ``preset``.
        crf: constant rate factor, 0 (lossless) to 51; 18 looks like its input.
        preset: the encoder's speed.
        sample_aspect: width over height of one pixel as shown.
        overwrite: replace an existing file, when done.
        source: a file that must not be the destination, whatever ``overwrite`` says.
        enlarge: how pictures of another size are brought to this one; None refuses them.
        sound: tracks to copy.
        metadata: tags to write, by name.
        confirm: called with the whole and verified file before it gets its name; an exception
            of it leaves no file.
        threads: of the encoder. The bytes of the file depend on it, so it is no machine's own.

    Raises:
        BadInput: the destination exists, is the source, or cannot be created; a frame of
            another size; times that do not increase.
        Failure: the disk is full, or the encoder refuses.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        *,
        time_base: Fraction,
        rate: Fraction | None = None,
        codec: str = "libx264",
        crf: int = 18,
        preset: str = "veryfast",
        sample_aspect: Fraction = Fraction(1),
        overwrite: bool = False,
        source: str | Path | None = None,
        enlarge: Literal["nearest", "bilinear"] | None = None,
        sound: Sound | None = None,
        metadata: Mapping[str, str] | None = None,
        confirm: Callable[[Path], None] | None = None,
        threads: int = 4,
    ) -> None:
        self.path = Path(path)
        self.overwrite = overwrite
        self._enlarge, self._sound, self._metadata = enlarge, sound, dict(metadata or {})
        self._confirm = confirm
        self._check_destination(source)
        self.width, self.height, self.time_base = width, height, time_base
        self.frames = 0
        self._rate, self._codec, self._aspect = rate or Fraction(25), codec, sample_aspect
        # Without B-frames decoding order is display order: every time is stored as given,
        # also where they are uneven, and the last frame keeps its duration.
        self._options = {"crf": str(crf), "preset": preset, "bf": "0", "threads": str(threads)}
        self._pix_fmt = "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"
        self._times = array("q")
        self._duration = 0

    def _check_destination(self, source: str | Path | None) -> None:
        why = "they keep timing exactly"
        destination.check(self.path, source, self.overwrite, SUFFIXES, why)

    def __enter__(self) -> VideoWriter:
        self._partial = destination.Partial(self.path)
        self._file = self._partial.file
        try:
            self._open_encoder()
        except BaseException as error:
            self._discard()
            if isinstance(error, av.FFmpegError | ValueError):
                raise Failure(f"The encoder {self._codec} cannot be used: {error}.") from error
            raise
        return self

    def _open_encoder(self) -> None:
        # bitexact: no version, no date in the file; the same frames make the same bytes.
        self._container = av.open(
            self._file,
            "w",
            format=SUFFIXES[self.path.suffix.lower()],
            options={
                "fflags": "+bitexact",
                "movie_timescale": str(movie_timescale(self.time_base)),
                **({"movflags": "use_metadata_tags"} if self._metadata else {}),
            },
        )
        self._container.metadata.update(self._metadata)
        stream = self._container.add_stream(self._codec, self._rate, self._options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, self._pix_fmt
        context = stream.codec_context
        context.time_base = self.time_base
        context.sample_aspect_ratio = self._aspect
        context.color_range = ColorRange.MPEG
        context.colorspace = 1  # AVCOL_SPC_BT709
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        self._stream = stream
        if self._sound is not None:
            self._sound.open(self._container)
        # Writes the header: a container that cannot hold a track says so here, before any work.
        try:
            self._container.start_encoding()
        except (ValueError, av.FFmpegError) as error:
            if self._sound is not None and self._sound.tracks:
                raise self._sound.refusal(self._container) from error
            raise

    def write(self, image: np.ndarray, pts: int, duration: int = 0) -> None:
        """Add one frame.

        Args:
            image: (H, W, 3) uint8, RGB; of any size where the writer enlarges.
            pts: when it is shown, in units of ``time_base``; 0 or more, and increasing.
            duration: how long, in the same units; 0 means as long as the frame before.
                It matters for the last frame only.
        """
        fits = image.shape == (self.height, self.width, 3)
        if self._enlarge is not None:
            fits = image.ndim == 3 and image.shape[2] == 3 and image.size > 0
        if not fits or image.dtype != np.uint8:
            raise BadInput(
                f"Frame {self.frames} is {image.dtype} {image.shape}; expected uint8 "
                f"{(self.height, self.width, 3)}."
            )
        previous = self._times[-1] if self._times else -1
        if pts <= previous:
            raise BadInput(f"Frame {self.frames} is at {pts}, not after {previous}.")
        try:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image)).reformat(
                width=self.width,
                height=self.height,
                format=self._pix_fmt,
                interpolation=HOW[self._enlarge] if self._enlarge else None,
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            frame.pts, frame.time_base = pts, self.time_base
            if self._sound is not None:
                self._sound.until(pts * self.time_base)
            self._container.mux(self._stream.encode(frame))
        except (OSError, av.FFmpegError) as error:
            raise self._failure(error) from error
        if self._times:
            self._duration = pts - previous
        self._duration = duration or self._duration
        self._times.append(pts)
        self.frames += 1

    @property
    def seconds(self) -> Fraction:
        """From the first frame to the end of the last one."""
        if not self._times:
            return Fraction(0)
        return (self._times[-1] + self._duration - self._times[0]) * self.time_base

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._discard()
            return
        try:
            self._finish()
        except BaseException as late:
            self._discard()
            if isinstance(late, OSError | av.FFmpegError):
                raise self._failure(late) from late
            raise

    def _finish(self) -> None:
        if not self.frames:
            raise BadInput(f"No frame was written to {self.path}.")
        packets = self._stream.encode()
        if packets:
            packets[-1].duration = self._duration
        self._container.mux(packets)
        if self._sound is not None:
            self._sound.until(None)
            self._sound.close()
        self._container.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._read_back()
        if self._confirm is not None:
            self._confirm(self._partial.path)
        self._partial.keep(self.overwrite)

    def _read_back(self) -> None:
        """Decode the file to its end, and compare the frames' times with those asked for."""
        with av.open(f"file:{self._partial.path}") as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"  # type: ignore[assignment]  # PyAV's annotation
            unit = stream.time_base or Fraction(1)
            # One by one: a list of all would grow with the length.
            times = ((frame.pts or 0) * unit for frame in container.decode(stream))
            wanted = (t * self.time_base for t in self._times)
            same = all(a == b for a, b in zip_longest(times, wanted))
        if not same:
            raise Failure(
                f"{self.path} was not written: the container could not keep the times of "
                f"all {self.frames} frames."
            )

    def _failure(self, error: BaseException) -> Failure:
        reason = getattr(error, "strerror", None) or str(error)
        return Failure(f"Writing {self.path} failed: {reason}. Nothing was left behind.")

    def _discard(self) -> None:
        """Close everything, whatever state it is in, and remove the partial file."""
        try:
            # Already failing: the first error is the one to tell.
            for part in (self._sound, getattr(self, "_container", None), self._file):
                with suppress(OSError, av.FFmpegError):
                    if part is not None:
                        part.close()
        finally:
            self._partial.discard()


def movie_timescale(time_base: Fraction) -> int:
    """Units of a second in which MP4 notes when a track begins; its own default is 1000.

    A stream that begins between two milliseconds, as MPEG-TS does, would be moved otherwise.
    """
    exact = lcm(1000, time_base.denominator)
    return exact if exact < 2**31 else 1000
