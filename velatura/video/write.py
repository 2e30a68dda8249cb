"""A video file that appears under its name when it is complete, and not before.

Frames go to a file beside the destination, whose name ends in ``.partial``. When all are
written, flushed to the disk and their times read back equal, it is renamed. On any error,
interrupts included, it is removed. Nothing is copied from a source: no sound, no
metadata, no embedded pictures.
"""

from __future__ import annotations

import os
import secrets
from array import array
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from velatura.errors import BadInput, Failure

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
    ) -> None:
        self.path = Path(path)
        self.overwrite = overwrite
        self._check_destination(source)
        self.width, self.height, self.time_base = width, height, time_base
        self.frames = 0
        self._rate, self._codec, self._aspect = rate or Fraction(25), codec, sample_aspect
        # Without B-frames decoding order is display order: every time is stored as given,
        # also where they are uneven, and the last frame keeps its duration.
        self._options = {"crf": str(crf), "preset": preset, "bf": "0"}
        self._pix_fmt = "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"
        self._times = array("q")
        self._duration = 0

    def _check_destination(self, source: str | Path | None) -> None:
        path = self.path
        if path.suffix.lower() not in SUFFIXES:
            raise BadInput(f"{path} must end in {', '.join(SUFFIXES)}: they keep timing exactly.")
        if not path.parent.is_dir():
            raise BadInput(f"There is no folder {path.parent} to write {path.name} into.")
        if path.is_dir():
            raise BadInput(f"{path} is a folder; name a file.")
        if source is not None and path.exists() and path.samefile(source):
            raise BadInput(f"{path} is the source itself; name another output.")
        if path.exists() and not self.overwrite:
            raise BadInput(f"{path} exists; name another output, or ask to overwrite it.")

    def __enter__(self) -> VideoWriter:
        self.partial = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.partial")
        try:
            self._file = open(self.partial, "xb")
        except OSError as error:
            raise BadInput(f"Cannot write into {self.path.parent}: {error.strerror}.") from error
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
            options={"fflags": "+bitexact"},
        )
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

    def write(self, image: np.ndarray, pts: int, duration: int = 0) -> None:
        """Add one frame.

        Args:
            image: (H, W, 3) uint8, RGB.
            pts: when it is shown, in units of ``time_base``; 0 or more, and increasing.
            duration: how long, in the same units; 0 means as long as the frame before.
                It matters for the last frame only.
        """
        if image.shape != (self.height, self.width, 3) or image.dtype != np.uint8:
            raise BadInput(
                f"Frame {self.frames} is {image.dtype} {image.shape}; expected uint8 "
                f"{(self.height, self.width, 3)}."
            )
        previous = self._times[-1] if self._times else -1
        if pts <= previous:
            raise BadInput(f"Frame {self.frames} is at {pts}, not after {previous}.")
        try:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image)).reformat(
                format=self._pix_fmt,
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            frame.pts, frame.time_base = pts, self.time_base
            self._container.mux(self._stream.encode(frame))
        except (OSError, av.FFmpegError) as error:
            raise self._failure(error) from error
        if self._times:
            self._duration = pts - previous
        self._duration = duration or self._duration
        self._times.append(pts)
        self.frames += 1

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
        self._container.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._read_back()
        if self.path.exists() and not self.overwrite:
            raise BadInput(f"{self.path} appeared meanwhile; it was left as it is.")
        os.replace(self.partial, self.path)
        _sync_folder(self.path.parent)

    def _read_back(self) -> None:
        """Compare the times in the file with those asked for; packets only, no decoding."""
        with av.open(f"file:{self.partial}") as container:
            stream = container.streams.video[0]
            unit = stream.time_base or Fraction(1)
            packets = (p for p in container.demux(stream) if p.size and not p.is_discard)
            times = [(p.pts or 0) * unit for p in packets]
        if times != [t * self.time_base for t in self._times]:
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
            for part in (getattr(self, "_container", None), self._file):
                with suppress(OSError, av.FFmpegError):
                    if part is not None:
                        part.close()
        finally:
            self.partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets a folder be synced."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
