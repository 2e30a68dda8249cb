"""A very long video in parts: cut in time, anonymized apart, joined without encoding again.

    spans = cut("day.mp4", 120)
    parts = [make_segment("day.mp4", span, folder, anonymizer) for span in spans]  # anywhere
    join(parts, "day.mp4", "day.anon.mp4")

Every frame belongs to exactly one span: the one in which it is shown first. An anonymizer whose
answer depends on its neighbours is shown those of a span too, so its pictures are the same as in
one run over the whole file. What differs is their coding, which begins anew with every part.

Parts are anonymized files as any other. They lie in a hidden folder beside the destination, each
with a record of what it was made of; one that is whole and recorded is not made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from velatura.deploy import pipeline
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.file import _tags
from velatura.deploy.record import sha256
from velatura.errors import BadInput, Failure
from velatura.video import destination as place
from velatura.video.probe import VideoInfo, open_video, probe
from velatura.video.read import MILLISECOND, Frame, _declared_end, read_frames, upright
from velatura.video.seek import index_frames
from velatura.video.sound import Sound
from velatura.video.write import SUFFIXES, VideoWriter, movie_timescale

__all__ = [
    "InOnePiece",
    "Joined",
    "Part",
    "Span",
    "cut",
    "join",
    "make_segment",
    "parts_folder",
    "remove_parts",
]

# Without a place to begin in the middle, the n-th span costs decoding all before it, so of such a
# file there are few.
FEW = 4
# The first picture may be answered when the second is there (modes.Silhouette): every span is
# shown one frame after its end at least.
AFTER = 1


class InOnePiece(BadInput):
    """A video that this anonymizer cannot be shown in parts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Span:
    """A stretch of a video, and how its frames are reached.

    Attributes:
        number: of the span, from 0.
        begin, end: times of the file, in units of ``info.time_base``; frames at or after
            ``begin`` and before ``end`` belong to it. None is the file's own.
        lowest, highest: of all spans together, likewise; no frame beyond is looked at.
        base: number in the file of the first frame of all spans; -1 where only decoding would
            tell.
        first: of its own first frame, likewise.
        shown: of the first frame that the anonymizer is shown, likewise.
        frames: how many it has; -1 where only decoding would tell.
        doubt: why decoding starts at the file's beginning; empty where it starts nearby.
        restart: the frame from which decoding starts; -1 with a doubt.
        byte: where that frame's packet begins.
        times: (n,) int64, when the frames from ``restart`` on are shown, to the last that is
            read; empty with a doubt.
        info: of the whole file.
    """

    number: int
    begin: int | None
    end: int | None
    lowest: int | None
    highest: int | None
    base: int
    first: int
    shown: int
    frames: int
    doubt: str
    restart: int
    byte: int
    times: np.ndarray
    info: VideoInfo


@dataclass(frozen=True, kw_only=True)
class Part:
    """A span that is anonymized.

    Attributes:
        number: of the span.
        key: of everything that decided what became of it.
        path: the file; empty where no frame is shown in the span.
        sha256: of the file.
        headers: SHA-256 of what a decoder is told before the first picture.
        first: number of its first frame in the file.
        times: of its frames, in units of ``unit``, as the source has them.
        unit: seconds, as numerator and denominator.
        duration: of its last frame, in the same units; 0 where the file does not say.
        black: frames that are black because the anonymizer failed.
        reason: of the first such failure.
        counts: of the anonymizer, over the frames of the span; empty where it keeps none.
        wall: seconds of work.
    """

    number: int
    key: str
    path: str = ""
    sha256: str = ""
    headers: str = ""
    first: int = 0
    times: list[int] = field(default_factory=list)
    unit: tuple[int, int] = (1, 1)
    duration: int = 0
    black: int = 0
    reason: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    wall: float = 0.0


@dataclass(frozen=True)
class Joined:
    """What ``join`` wrote: frames, and seconds from the first to the end of the last."""

    frames: int
    seconds: Fraction


def cut(
    source: str | Path,
    seconds: float,
    *,
    start: float = 0.0,
    end: float | None = None,
    past: int = 0,
    ahead: int = 0,
) -> list[Span]:
    """Cut a video into spans of about the same length; nothing is decoded but its first frame.

    Where decoding cannot begin in the middle (``velatura.video.seek``), there are at most
    ``FEW``, and each says why in ``doubt``.

    Args:
        source: a local video file.
        seconds: how long a span should be, about.
        start, end: seconds of the source; only what is shown between them is cut.
        past, ahead: frames around a span that its anonymizer will be shown, as ``needs`` says.

    Returns:
        The spans in order; one where it is too short to cut, none where nothing is shown.

    Raises:
        BadInput: not a readable video.
    """
    if seconds <= 0:
        raise BadInput(f"A segment must be longer than 0 seconds, got {seconds:g}.")
    info = probe(source)
    unit = info.time_base
    lowest = _first_at(start, unit) if start else None
    highest = None if end is None else _first_at(end, unit)
    index = index_frames(source)
    doubt = index.doubt or _missing_end(source, index.times)
    if doubt:
        return _by_time(source, info, doubt, seconds, lowest, highest)
    low = 0 if lowest is None else int(np.searchsorted(index.times, lowest))
    high = index.frames if highest is None else int(np.searchsorted(index.times, highest))
    shown = index.times[low:high]
    if not len(shown):
        return []
    length = (int(shown[-1]) - int(shown[0])) * unit
    bounds = _bounds(int(shown[0]), length, seconds, unit)
    edges = [low, *(low + int(np.searchsorted(shown, bound)) for bound in bounds), high]
    # Where nothing is shown for longer than a span, two edges are the same.
    firsts = sorted(set(edges))
    spans = []
    for number, (first, last) in enumerate(zip(firsts[:-1], firsts[1:], strict=True)):
        before = max(low, first - past)
        restart = index.restart(before)
        until = min(last + max(ahead, AFTER), high)
        spans.append(
            Span(
                number=number,
                begin=int(index.times[first]),
                end=int(index.times[last]) if last < index.frames else None,
                lowest=lowest,
                highest=highest,
                base=low,
                first=first,
                shown=before,
                frames=last - first,
                doubt="",
                restart=restart,
                byte=int(index.places[restart]),
                times=index.times[restart:until].copy(),
                info=info,
            )
        )
    return spans


def _first_at(seconds: float, unit: Fraction) -> int:
    """The first time, in units, that is not before a second."""
    return -int(-Fraction(str(seconds)) // unit)


def _bounds(begin: int, length: Fraction, seconds: float, unit: Fraction) -> list[int]:
    """The times between spans of equal length."""
    count = max(1, round(length / Fraction(seconds)))
    return [begin + _first_at(float(length * k / count), unit) for k in range(1, count)]


def _by_time(
    source: str | Path,
    info: VideoInfo,
    doubt: str,
    seconds: float,
    lowest: int | None,
    highest: int | None,
) -> list[Span]:
    """Spans of a file that is decoded from its start: nobody knows its frames before."""
    unit = info.time_base
    with open_video(source) as (_, stream):
        opens = stream.start_time or 0
    begin = opens if lowest is None else lowest
    closes = highest
    if closes is None and info.duration is not None:
        closes = opens + round(info.duration / unit)
    bounds: list[int] = []
    if closes is not None and closes > begin:
        length = (closes - begin) * unit
        bounds = _bounds(begin, length, max(seconds, float(length) / FEW), unit)
    edges = [lowest, *bounds, highest]
    return [
        Span(
            number=number,
            begin=edges[number],
            end=edges[number + 1],
            lowest=lowest,
            highest=highest,
            base=0 if lowest is None else -1,
            first=-1,
            shown=-1,
            frames=-1,
            doubt=doubt,
            restart=-1,
            byte=-1,
            times=np.zeros(0, np.int64),
            info=info,
        )
        for number in range(len(edges) - 1)
    ]


def _missing_end(source: str | Path, times: np.ndarray) -> str:
    """Whether a file may have lost its end, which only ``read_frames`` can tell for sure."""
    with open_video(source) as (container, stream):
        end = _declared_end(container, stream)
        unit = stream.time_base or Fraction(1, av.time_base)
        if end is None or len(times) < 2:
            return ""
        longest = int(np.diff(times).max())
        if end - int(times[-1]) * unit > Fraction(3, 2) * longest * unit + MILLISECOND:
            return "its end may be missing"
    return ""


def parts_folder(destination: str | Path) -> Path:
    """Where the parts of an output lie: hidden, beside it, the same for the same output."""
    path = Path(destination)
    name = f".{path.name}.parts"
    if len(os.fsencode(name)) > place.LONGEST:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}.parts"
    return path.with_name(name)


def remove_parts(destination: str | Path) -> None:
    """Remove the parts of an output; fine where there are none."""
    folder = parts_folder(destination)
    # One that was given up may add a file while the others are removed.
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def needs(anonymizer: Anonymizer) -> tuple[int, int]:
    """How many frames before and after a frame an anonymizer must see.

    Raises:
        InOnePiece: it looks at every n-th frame only, counted from the first.
    """
    if getattr(anonymizer, "every", 1) != 1:
        raise InOnePiece(
            f"{anonymizer.name} looks at every {anonymizer.every}th frame, "  # type: ignore[attr-defined]
            "counted from the first; such a video is anonymized in one piece."
        )
    return anonymizer.past, int(getattr(anonymizer, "ahead", 0))


def make_segment(
    source: str | Path,
    span: Span,
    folder: str | Path,
    anonymizer: Anonymizer,
    *,
    identity: str = "",
    on_error: Literal["stop", "black"] = "stop",
    batch: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Part:
    """Anonymize one span into a file of its own, or find that this was done already.

    The anonymizer is shown ``anonymizer.past`` frames before the span, and ``anonymizer.ahead``
    (0 where it has no such attribute) after it. Where it has an attribute ``first``, that is set
    to the number, among all that are cut, of the first frame that it is shown.

    Args:
        span: of this file, cut with the same numbers of frames around it.
        folder: of the parts; made where it is missing.
        identity: of the source, of the settings and of the versions: a part with another one is
            made again.
        on_error, batch: as ``anonymize_video``.
        progress: called with (frames anonymized, frames expected) of this span.

    Raises:
        Damaged: a damaged or truncated source.
        InOnePiece: the anonymizer answers later than it says: nobody knows what it must see. Or
            it wants frame numbers where only decoding from the start would tell them.
        Failure: the anonymizer failed, or gave a picture back unchanged; the disk is full.
    """
    folder, clock = Path(folder), time.perf_counter()
    past, ahead = needs(anonymizer)
    if not span.doubt and span.shown != max(span.base, span.first - past):
        raise ValueError(f"the span was not cut for {anonymizer.name}: see segments.needs")
    origin = getattr(anonymizer, "first", None)
    if origin is not None and span.base < 0:
        raise InOnePiece(
            f"{anonymizer.name} counts frames, and where they begin to count only decoding "
            "tells in this file; it is anonymized in one piece."
        )
    known = [identity, anonymizer.digest, span.number, span.begin, span.end, past, ahead, on_error]
    key = hashlib.sha256(json.dumps(known).encode()).hexdigest()
    # The ending is one that no folder's walk takes for a source.
    path = folder / f"part-{span.number:05}.anon.mp4"
    record = path.with_suffix(".json")
    if (found := _recorded(record, key)) is not None:
        if progress is not None:
            progress(len(found.times), len(found.times))
        return found
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise BadInput(f"Cannot make the folder {folder}: {error.strerror}.") from error
    info = span.info
    small = anonymizer.work_size(info.height, info.width)
    frames = _around(source, span, small, past, max(ahead, AFTER))
    watched = _Watched(anonymizer, ahead)
    opening: list[Frame] = []
    for frame in frames:  # what comes before the span tells nothing of whether it is empty
        opening.append(frame)
        if _within(frame, span) or len(opening) > past:
            break
    if not opening or not _within(opening[-1], span):
        frames.close()
        return _written(record, Part(number=span.number, key=key))

    times: list[int] = []
    last: list[int] = [0]
    numbers: list[int] = []
    writer = VideoWriter(
        path,
        info.width,
        info.height,
        time_base=info.time_base,
        rate=info.rate,
        sample_aspect=info.sample_aspect,
        overwrite=True,
        enlarge=anonymizer.enlarge,
    )

    def shown() -> Iterator[Frame]:
        try:
            for frame in opening:
                watched.inside.append(_within(frame, span))
                yield frame
            opening.clear()
            for frame in frames:
                watched.inside.append(_within(frame, span))
                yield frame
        finally:
            frames.close()

    def write(picture: np.ndarray, frame: Frame) -> None:
        if not _within(frame, span):
            return
        if not times:
            numbers.append(frame.index)
        # From 0, since containers keep a late start to the millisecond only.
        writer.write(picture, frame.pts - (times[0] if times else frame.pts), frame.duration)
        times.append(frame.pts)
        last[0] = frame.duration
        if progress is not None:
            progress(len(times), max(span.frames, len(times)))

    if origin is not None:
        anonymizer.first = origin + opening[0].index - span.base  # type: ignore[attr-defined]
    try:
        with writer:
            done = pipeline.run(
                shown(),
                watched,
                write,
                batch=batch or pipeline.batch_for(*small),
                on_error=on_error,
            )
            if watched.late:
                raise Failure("")  # pictures are there, and some may be wrong
            if span.frames >= 0 and len(times) != span.frames:
                raise Failure(
                    f"{source} gives {len(times)} frames where {span.frames} were counted; "
                    "it changed, or cannot be cut."
                )
    except Failure:
        if watched.late:
            raise InOnePiece(
                f"{anonymizer.name} answers later than it says; "
                "such a video is anonymized in one piece."
            ) from None
        raise
    finally:
        if origin is not None:
            anonymizer.first = origin  # type: ignore[attr-defined]
    return _written(
        record,
        Part(
            number=span.number,
            key=key,
            path=str(path),
            sha256=sha256(path),
            headers=_headers(path),
            first=numbers[0],
            times=times,
            unit=info.time_base.as_integer_ratio(),
            duration=last[0],
            black=watched.black,
            reason=done.reason,
            counts=watched.counts,
            wall=round(time.perf_counter() - clock, 3),
        ),
    )


def _within(frame: Frame, span: Span) -> bool:
    after = span.begin is None or frame.pts >= span.begin
    return after and (span.end is None or frame.pts < span.end)


class _Unlike(Exception):
    """The file is not as its index says."""


def _around(
    source: str | Path, span: Span, size: tuple[int, int], past: int, after: int
) -> Generator[Frame, None, None]:
    """The frames of a span, with so many before and after it."""
    given = -1
    if not span.doubt:
        # Whatever goes wrong is told by decoding from the start, or is not wrong there.
        with suppress(_Unlike, av.FFmpegError):
            for frame in _nearby(source, span, size):
                if frame.index >= span.shown:
                    yield frame
                    given = frame.index
            return
    before: deque[Frame] = deque(maxlen=past)
    left = after
    for frame in read_frames(source, size):
        if span.lowest is not None and frame.pts < span.lowest:
            continue
        if span.highest is not None and frame.pts >= span.highest:
            return
        if span.begin is not None and frame.pts < span.begin:
            before.append(frame)
            continue
        while before:
            if (early := before.popleft()).index > given:
                yield early
        if not _within(frame, span):
            if not left:
                return
            left -= 1
        if frame.index > given:
            yield frame


def _nearby(source: str | Path, span: Span, size: tuple[int, int]) -> Iterator[Frame]:
    """Frames from the restart on, each at the very time that the index has for it."""
    scaler = VideoReformatter()
    with open_video(source) as (container, stream):
        unit = stream.time_base or Fraction(1, av.time_base)
        context = stream.codec_context
        shape = context.height, context.width
        if span.restart > 0:
            container.seek(int(span.times[0]), stream=stream, backward=True)
        begun = False
        at = 0
        for packet in container.demux(stream):
            if packet.size:
                begun = begun or packet.pos == span.byte
                if not begun:
                    if packet.pos is None or packet.pos > span.byte:
                        raise _Unlike
                    continue
                if packet.is_corrupt:
                    raise _Unlike
            for frame in packet.decode():
                same = frame.pts == span.times[at] and (frame.height, frame.width) == shape
                if frame.is_corrupt or not same:
                    raise _Unlike
                image = upright(frame, size, scaler)
                number = span.restart + at
                yield Frame(image, int(span.times[at]), unit, number, frame.duration or 0)
                at += 1
                if at == len(span.times):
                    return
    raise _Unlike


class _Watched(Anonymizer):
    """An anonymizer, and what it did with the frames inside a span.

    Attributes:
        inside: whether each frame that was read lies in the span.
        late: True where it asked for a frame before it answered those that it could have.
    """

    def __init__(self, anonymizer: Anonymizer, ahead: int):
        self.anonymizer, self.ahead = anonymizer, ahead
        self.name, self.keeps = anonymizer.name, anonymizer.keeps
        self.inside: list[bool] = []
        self.late = False
        self._given = self._answered = self._runs = 0
        self._before: dict[str, int] = {}
        self._after: dict[str, int] = {}
        self._black = 0

    def process(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        # Called again after a failure, whose frames have become black.
        self._black, self._answered = self.black, self._given
        self._runs += 1
        heard = self._given

        def watched() -> Iterator[np.ndarray]:
            for frames in batches:
                if self._given - heard > self.ahead and self._given > 1:
                    self.late = True
                    raise Failure(f"{self.name} answers later than it says.")
                self._given += len(frames)
                yield frames

        for pictures in self.anonymizer.process(watched()):
            heard += len(pictures)
            self._count(heard)
            yield pictures
            self._answered += len(pictures)  # not before it was accepted

    def _count(self, heard: int) -> None:
        counts = self.anonymizer.describe().get("counts")
        if counts and heard <= len(self.inside):
            if self.inside[heard - 1]:
                self._after = dict(counts)
            elif not any(self.inside[:heard]):
                self._before = dict(counts)

    @property
    def black(self) -> int:
        """Frames of the span that were never answered."""
        return self._black + sum(self.inside[self._answered : self._given])

    @property
    def counts(self) -> dict[str, int]:
        """What the anonymizer counted over the span; nothing where it began anew midway."""
        if self._runs != 1:
            return {}
        return {name: n - self._before.get(name, 0) for name, n in self._after.items()}


def _headers(path: Path) -> str:
    """SHA-256 of what a decoder is told before the first picture."""
    with av.open(f"file:{path}") as container:
        context = container.streams.video[0].codec_context
        return hashlib.sha256(bytes(context.extradata or b"")).hexdigest()


def _recorded(record: Path, key: str) -> Part | None:
    """A part that was made with this key and is whole."""
    try:
        values = json.loads(record.read_bytes())
        part = Part(**{**values, "unit": tuple(values["unit"])})
        if part.key != key or (part.path and sha256(part.path) != part.sha256):
            return None
    except (OSError, ValueError, KeyError, TypeError, BadInput, Failure):
        return None
    return part


def _written(record: Path, part: Part) -> Part:
    """The part, on the disk with its record."""
    partial = record.with_name(f"{record.name}.{secrets.token_hex(4)}")
    try:
        with open(partial, "w") as file:
            json.dump(asdict(part), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, record)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Failure(f"Cannot write {record}: {error.strerror}.") from error
    return part


def join(
    parts: Sequence[Part],
    source: str | Path,
    destination: str | Path,
    *,
    sound: Literal["drop", "keep"] = "drop",
    start: float = 0.0,
    end: float | None = None,
    keep: Sequence[str] = (),
    overwrite: bool = False,
    confirm: Callable[[Path, Joined], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Joined:
    """Put parts together, packet by packet, and give the file its name when it is verified.

    Every frame is shown when the source shows it (less ``start``). The file is decoded to its end
    before it is renamed. The parts are left alone.

    Args:
        parts: of all spans, in any order.
        source, destination, sound, start, end, keep, overwrite: as ``anonymize_video``.
        confirm: called with the whole and verified file before it gets its name, and what it
            holds; an exception of it leaves no file.
        progress: called with (frames joined or verified, frames expected) after every frame.

    Raises:
        BadInput: an unusable destination; sound that its container cannot hold.
        Failure: parts that do not belong together; the disk is full; what was written does not
            read back as it should.
    """
    source, destination = Path(source), Path(destination)
    place.check(destination, source, overwrite, SUFFIXES, "they keep timing exactly")
    whole = _whole(parts)
    unit = Fraction(*whole[0].unit)
    shift = whole[0].times[0] if start else 0
    times = [t - shift for part in whole for t in part.times]
    if times[0] < 0:
        raise BadInput(f"Frame 0 of {source} is before the beginning; it cannot be cut.")
    duration = whole[-1].duration or (times[-1] - times[-2] if len(times) > 1 else 0)
    tracks = None
    if sound == "keep":
        tracks = Sound(source, shift * unit, None if end is None else Fraction(str(end)))
    tags = _tags(source, keep)
    partial = place.Partial(destination)
    try:
        try:
            _remux(whole, partial, times, unit, duration, tracks, tags, progress)
            partial.file.flush()
            os.fsync(partial.file.fileno())
        finally:
            if tracks is not None:
                tracks.close()
        _verify(partial.path, destination, times, unit, progress)
        made = Joined(len(times), (times[-1] + duration - times[0]) * unit)
        if confirm is not None:
            confirm(partial.path, made)
        partial.keep(overwrite)
    except (OSError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Failure(
            f"Writing {destination} failed: {reason}. Nothing was left behind."
        ) from error
    finally:
        partial.discard()
    return made


def _whole(parts: Sequence[Part]) -> list[Part]:
    """The parts that hold frames, in order, if they are one video.

    Raises:
        Failure: one is missing, overlaps its neighbour or was encoded in another way.
    """
    ordered = sorted(parts, key=lambda part: part.number)
    if [part.number for part in ordered] != list(range(len(ordered))):
        raise Failure("A part of the video is missing, or is there twice.")
    held = [part for part in ordered if part.times]
    if not held:
        raise BadInput("The video shows nothing in the time that was asked for.")
    for one, other in zip(held[:-1], held[1:], strict=True):
        if other.headers != one.headers or other.unit != one.unit:
            raise Failure(
                f"Parts {one.number} and {other.number} were encoded in different ways, by "
                "different versions of the encoder perhaps; install the same one everywhere."
            )
        if other.first != one.first + len(one.times) or other.times[0] <= one.times[-1]:
            raise Failure(f"Parts {one.number} and {other.number} do not follow each other.")
    return held


def _remux(
    parts: list[Part],
    partial: place.Partial,
    times: list[int],
    unit: Fraction,
    duration: int,
    tracks: Sound | None,
    tags: dict[str, str],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Every packet of the parts into one file, at its frame's time."""
    options = {"fflags": "+bitexact", **({"movflags": "use_metadata_tags"} if tags else {})}
    # A late start is kept in this unit, by default to the millisecond; MPEG-TS starts anywhere.
    options["movie_timescale"] = str(movie_timescale(unit))
    form = SUFFIXES[partial.destination.suffix.lower()]
    with av.open(partial.file, "w", format=form, options=options) as output:
        output.metadata.update(tags)
        with av.open(f"file:{parts[0].path}") as container:
            model = container.streams.video[0]
            stream = output.add_stream_from_template(model)
        stream.time_base = unit
        if tracks is not None:
            tracks.open(output)
        try:
            output.start_encoding()
        except (ValueError, av.FFmpegError) as error:
            if tracks is not None and tracks.tracks:
                raise tracks.refusal(output) from error
            raise
        at = 0
        for part in parts:
            with av.open(f"file:{part.path}") as container:
                ends = at + len(part.times)
                for packet in container.demux(container.streams.video[0]):
                    if not packet.size:
                        continue
                    if at == ends:
                        raise Failure(f"Part {part.number} holds more frames than it should.")
                    # Without B-frames the n-th packet is the n-th frame shown.
                    packet.stream, packet.time_base = stream, unit
                    packet.pts = packet.dts = times[at]
                    following = times[at + 1] if at + 1 < len(times) else times[at] + duration
                    packet.duration = following - times[at]
                    if tracks is not None:
                        tracks.until(times[at] * unit)
                    output.mux(packet)
                    at += 1
                    if progress is not None:
                        progress(at, len(times))
                if at != ends:
                    raise Failure(f"Part {part.number} holds fewer frames than it should.")
        if tracks is not None:
            tracks.until(None)


def _verify(
    path: Path,
    destination: Path,
    times: list[int],
    unit: Fraction,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Decode a file to its end and compare the times of its frames."""
    count = 0
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"  # type: ignore[assignment]  # PyAV's annotation
        base = stream.time_base or Fraction(1)
        for frame in container.decode(stream):
            if count == len(times) or (frame.pts or 0) * base != times[count] * unit:
                break
            count += 1
            if progress is not None:
                progress(count, len(times))
        else:
            if count == len(times):
                return
    raise Failure(
        f"{destination} was not written: joined, frame {count} of {len(times)} is not at its time."
    )
