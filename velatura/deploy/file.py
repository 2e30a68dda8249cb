"""Anonymize one video file: all of it, verified, or no file at all."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np

from velatura.deploy import pipeline
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.record import Report
from velatura.errors import BadInput
from velatura.video.probe import VideoInfo, open_video, probe
from velatura.video.read import Damaged, Frame, read_frames
from velatura.video.sound import Sound
from velatura.video.write import VideoWriter

__all__ = ["anonymize_video", "as_anonymizer", "sigterm_unwinds"]


def anonymize_video(
    source: str | Path,
    destination: str | Path,
    anonymizer: Anonymizer | Callable[[np.ndarray], np.ndarray] | str = "default",
    *,
    overwrite: bool = False,
    sound: Literal["drop", "keep"] = "drop",
    start: float = 0.0,
    end: float | None = None,
    on_error: Literal["stop", "black"] = "stop",
    allow_partial: bool = False,
    batch: int = 0,
    keep: Sequence[str] = (),
    confirm: Callable[[Report, Path], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Write an anonymized copy of a video file.

    The copy has the same frames, size and presentation times, and none of the metadata. It fails
    closed: whatever goes wrong, an interrupt or SIGTERM included, leaves neither a destination
    nor a partial file, and the exception propagates. (SIGKILL cannot be caught: it may leave a
    file named ``*.partial``, which the next run into that folder removes.)

    Args:
        source: a local video file.
        destination: .mp4, .m4v or .mov; never the source.
        anonymizer: what ``Anonymizer.load`` gave, or a name for it; or any function from
            (T, H, W, 3) uint8 RGB to the same shape and type.
        overwrite: replace an existing destination, when done.
        sound: ``"keep"`` copies every sound track as it is. Voices identify people.
        start, end: seconds of the source; what is shown from ``start`` to before ``end`` is
            written, and begins at 0.
        on_error: ``"black"`` writes a black picture where the anonymizer fails.
        allow_partial: accept what decodes of a damaged source; the report says so.
        batch: frames handed over at once; 0 chooses by size. The output does not depend on it.
        keep: names of metadata tags to copy; a name that the source has not is an error.
        confirm: called with (report, file) when the copy is whole and verified and has not got
            its name yet; an exception of it leaves no copy.
        progress: called with (frames anonymized, frames expected) after every frame.

    Raises:
        Damaged: a damaged or truncated source.
        BadInput: an unreadable source; an unusable destination; an empty span of time.
        Failure: the anonymizer failed, or gave a picture back unchanged; the disk is full.
    """
    if batch < 0:
        raise ValueError(f"batch must be at least 1, or 0 to choose, got {batch}")
    if start < 0 or (end is not None and end <= start):
        raise BadInput(f"There is nothing from second {start:g} to before second {end:g}.")
    anonymizer = as_anonymizer(anonymizer)
    began, clock = datetime.now(UTC), time.perf_counter()
    info = probe(source)
    small = anonymizer.work_size(info.height, info.width)
    span = _Span(source, small, start, end)
    report = Report(
        source=str(source),
        destination=str(destination),
        anonymizer=anonymizer.describe(),
        settings={"sound": sound, "start": start, "end": end, "on_error": on_error},
        declared=info.declared,
        width=info.width,
        height=info.height,
        began=began.isoformat(timespec="seconds"),
    )
    origin = Fraction(0) if not start else span.origin(info)
    tracks = None
    if info.has_audio:
        report.sound = "kept" if sound == "keep" else "dropped"
        if sound == "keep":
            tracks = Sound(source, origin, span.end)
    writer = VideoWriter(
        destination,
        info.width,
        info.height,
        time_base=info.time_base,
        rate=info.rate,
        sample_aspect=info.sample_aspect,
        overwrite=overwrite,
        source=source,
        enlarge=anonymizer.enlarge,
        sound=tracks,
        metadata=_tags(source, keep),
        confirm=lambda made: confirmed(made),
    )
    expected = span.expected(info)
    shift = round(origin / info.time_base)

    def write(picture: np.ndarray, frame: Frame) -> None:
        writer.write(picture, frame.pts - shift, frame.duration)

    def confirmed(made: Path) -> None:
        if tracks is not None and not tracks.copied:
            report.sound = "dropped"
            report.warnings.append("No packet of sound lies wholly in the span: none was kept.")
        if confirm is not None:
            confirm(report, made)

    def partly(frames: Iterator[Frame]) -> Iterator[Frame]:
        try:
            yield from frames
        except Damaged as damage:
            if not allow_partial or not damage.frames:
                raise
            report.status = "partial"
            report.warnings.append(str(damage))

    with sigterm_unwinds(), writer:
        done = pipeline.run(
            partly(span.frames()),
            anonymizer,
            write,
            batch=batch or pipeline.batch_for(*small),
            on_error=on_error,
            progress=progress and (lambda count: progress(count, max(expected, count))),
        )
        if not done.frames:
            raise BadInput(f"{source} shows nothing from second {start:g} on; it is shorter.")
        report.frames, report.black = done.frames, done.black
        if done.black:
            report.warnings.append(f"{done.black} frames are black: {done.reason}")
        report.seconds = round(float(writer.seconds), 6)
        report.wall = round(time.perf_counter() - clock, 3)
    return report


class _Span:
    """The frames of a file from one second to another."""

    def __init__(
        self, source: str | Path, size: tuple[int, int], start: float, end: float | None
    ) -> None:
        self.source, self.size = source, size
        # As written: .4 is two fifths, and a frame at that very time is not before it.
        self.start, self.end = _exact(start), None if end is None else _exact(end)

    def frames(self) -> Iterator[Frame]:
        for frame in read_frames(self.source, self.size):
            shown = frame.pts * frame.time_base
            if self.end is not None and shown >= self.end:
                return
            if shown >= self.start:
                yield frame

    def origin(self, info: VideoInfo) -> Fraction:
        """When the first frame of the span is shown: second 0 of the copy."""
        for frame in read_frames(self.source, (8, 8)):
            if frame.pts * frame.time_base >= self.start:
                return frame.pts * frame.time_base
        raise BadInput(f"{self.source} ends before second {float(self.start):g}.")

    def expected(self, info: VideoInfo) -> int:
        """About how many frames."""
        if not info.duration or not (self.start or self.end):
            return info.frames
        until = info.duration if self.end is None else min(self.end, info.duration)
        share = max(Fraction(0), until - self.start) / info.duration
        return round(info.frames * float(share))


def _exact(seconds: float) -> Fraction:
    return Fraction(str(seconds))


class _Function(Anonymizer):
    """Any function of frames."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]):
        self.function = function
        self.name = self.digest = getattr(function, "__name__", type(function).__name__)

    def apply(self, frames: np.ndarray) -> Any:  # the pipeline looks at what it is
        return self.function(frames)


def _tags(source: str | Path, keep: Sequence[str]) -> dict[str, str]:
    """The tags to copy, with their values."""
    if not keep:
        return {}
    with open_video(source) as (container, _):
        there = dict(container.metadata)
    for name in keep:
        if name not in there:
            raise BadInput(
                f"{source} has no metadata tag {name!r} to keep; "
                f"it has: {', '.join(sorted(there)) or 'none'}."
            )
    return {name: there[name] for name in keep}


def as_anonymizer(given: Anonymizer | Callable[[np.ndarray], np.ndarray] | str) -> Anonymizer:
    """An anonymizer from whatever may stand for one."""
    if isinstance(given, Anonymizer):
        return given
    return Anonymizer.load(given) if isinstance(given, str) else _Function(given)


@contextmanager
def sigterm_unwinds(always: bool = False) -> Iterator[None]:
    """Let SIGTERM raise SystemExit(143), so that a polite kill cleans up like Ctrl-C.

    A handler of the caller's is left alone, and so are threads, which cannot set one.

    Args:
        always: take the place of a handler that is there, until the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    if before != signal.SIG_DFL and not always:
        yield
        return

    def stop(number: int, where: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
