"""Chosen frames without decoding all before them, and never off by one.

A ``FrameIndex`` is made once per file from its packets, without decoding: the time of every
picture, so that a decoded picture says its own number, and the packets from which decoding can
begin. Where that might not be exact the index says why, and the file is decoded from its start:

    index = index_frames("a.mp4")           # some milliseconds; keep it, it can be pickled
    clip = read_window("a.mp4", range(500, 532, 2), (256, 341), index)

The result is ``velatura.video.read.read_clip``'s, bit for bit. One thing differs: damage in a
part of the file that was not decoded is not noticed.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from velatura.errors import BadInput
from velatura.video._restart import JUDGES, Doubt, Picture
from velatura.video.probe import open_video, stamp
from velatura.video.read import declared_frames, frames_from_start, upright

__all__ = ["FrameIndex", "index_frames", "read_window"]

# What is sought in. AVI keeps no times, so pictures must be shown in the order they are stored.
CODECS = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("h264", "mpeg4", "msmpeg4"),
    "matroska,webm": ("h264", "mpeg4", "msmpeg4"),
    "avi": ("mpeg4", "msmpeg4"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameIndex:
    """Where the frames of one file are. Packets are counted as stored, frames as shown.

    Attributes:
        size, modified: bytes and time (ns) of the file that it was made of.
        frames: how many pictures the file's packets hold.
        doubt: why this file is decoded from its start; empty where seeking is exact.
        times: (frames,) int64, when each frame is shown, in stream units.
        numbers: (frames,) int64, the frame number of each packet.
        places: (frames,) int64, the byte at which each packet begins.
        spare: (frames,) bool, packets that no other frame needs.
        restarts: packets, and at once frames, from which decoding can begin.
    """

    size: int
    modified: int
    frames: int
    doubt: str
    times: np.ndarray
    numbers: np.ndarray
    places: np.ndarray
    spare: np.ndarray
    restarts: tuple[int, ...]

    def fits(self, path: str | Path) -> bool:
        """Whether the file is still the one that this was made of."""
        return (self.size, self.modified) == stamp(path)

    def restart(self, frame: int) -> int:
        """The last restart at or before a frame; -1 where there is none."""
        at = bisect_right(self.restarts, frame) - 1
        return self.restarts[at] if at >= 0 else -1


def index_frames(path: str | Path) -> FrameIndex:
    """Make a file's index from its packets; nothing is decoded.

    Raises:
        BadInput: no such file, or no video in it. Damage is no error here: the index then
            says in ``doubt`` that the file is to be decoded from its start.
    """
    with open_video(path) as (container, stream):
        size, modified = stamp(path)
        survey = _Survey(container, stream)
        try:
            for packet in container.demux(stream):
                if packet.size or (packet.pts, packet.dts) != (None, None):
                    survey.add(packet)
        except av.FFmpegError as error:
            survey.doubt = survey.doubt or f"its packets cannot be read: {error.strerror}"
        return survey.index(size, modified)


class _Survey:
    """Looks at one packet after the other until it doubts; then only counts."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        context = stream.codec_context
        self.doubt, self.frames = "", 0
        self.delay = context.reorder_depth
        self.declared = declared_frames(stream)
        self.in_stored_order = container.format.name == "avi"
        self.rows: list[tuple[int, int]] = []  # time shown, place
        self.pictures: list[Picture] = []
        try:
            if context.name not in CODECS.get(container.format.name, ()):
                raise Doubt(f"{context.name} in {container.format.name} is not sought in")
            self.judge = JUDGES[context.name](bytes(context.extradata or b""))
        except Doubt as doubt:
            self.doubt = str(doubt)

    def add(self, packet: av.Packet) -> None:
        self.frames += bool(packet.size) and not packet.is_discard
        if self.doubt:
            return
        try:
            self._look(packet)
        except Doubt as doubt:
            self.doubt = str(doubt)

    def _look(self, packet: av.Packet) -> None:
        if packet.is_corrupt:
            raise Doubt("a packet of it is incomplete")
        if packet.is_discard:
            raise Doubt("an edit list cuts pictures away")
        if not packet.size:
            raise Doubt("a packet of it is empty")
        if packet.has_sidedata("new_extradata"):
            raise Doubt("its headers change on the way")
        if packet.pts is None or packet.pos is None or packet.pos < 0:
            raise Doubt("a packet of it has no time or place")
        if self.in_stored_order and self.rows and packet.pts <= self.rows[-1][0]:
            raise Doubt("its times do not increase")
        self.rows.append((packet.pts, packet.pos))
        self.pictures.append(self.judge.look(bytes(packet), packet.is_keyframe))

    def index(self, size: int, modified: int) -> FrameIndex:
        """What the packets add up to."""
        table = np.array(self.rows, np.int64).reshape(-1, 2)
        shown, places = table.T
        times, numbers = np.unique(shown, return_inverse=True)
        if not self.doubt:
            self.doubt = self._disorder(shown, times, numbers, places)
        if self.doubt:
            table = table[:0]
            shown, places = table.T
            times, numbers, self.pictures = shown, shown, []
        restarts = _closed(numbers, self.pictures)
        return FrameIndex(
            size=size,
            modified=modified,
            frames=self.frames,
            doubt=self.doubt,
            times=times,
            numbers=numbers,
            places=places,
            spare=np.array([picture.spare for picture in self.pictures], bool),
            restarts=tuple(restarts),
        )

    def _disorder(
        self, shown: np.ndarray, times: np.ndarray, numbers: np.ndarray, places: np.ndarray
    ) -> str:
        """A doubt about all packets together, or nothing."""
        if not len(shown):
            return "it holds no pictures"
        if self.declared and self.declared != len(shown):
            return f"it holds {len(shown)} pictures where its header declares {self.declared}"
        # Cut out of a longer file: its first packets may give no picture, or one that is patched.
        if not self.pictures[0].restart:
            return "its first picture does not stand alone"
        if len(times) < len(shown):
            return "two pictures have the same time"
        if len(np.unique(places)) < len(places):
            return "two packets are at the same place"
        # A decoder that was told to wait for fewer pictures drops those that come too late.
        if _depth(numbers.tolist()) > self.delay:
            return "its pictures are stored in a wilder order than its header says"
        return ""


def _depth(numbers: list[int]) -> int:
    """How many pictures that are shown later are stored before one, at most."""
    before: list[int] = []
    depth = 0
    for number in numbers:
        depth = max(depth, len(before) - bisect_right(before, number))
        insort(before, number)
    return depth


def _closed(numbers: np.ndarray, pictures: Sequence[Picture]) -> list[int]:
    """Restarts with all that is shown before stored before, and all after after."""
    if not len(numbers):
        return []
    highest = np.maximum.accumulate(numbers)
    lowest = np.minimum.accumulate(numbers[::-1])[::-1]
    return [
        i
        for i, picture in enumerate(pictures)
        if picture.restart and lowest[i] == i and (i == 0 or highest[i - 1] < i)
    ]


def read_window(
    path: str | Path,
    indices: Sequence[int],
    size: tuple[int, int] | None = None,
    index: FrameIndex | None = None,
) -> np.ndarray:
    """Chosen frames by number, in the order asked for, repeats included.

    Decodes from the last possible restart before the first frame wanted up to the last, and
    leaves out pictures in between that nothing needs.

    Args:
        path: a local video file.
        indices: frame numbers from 0.
        size: (height, width) to scale to, by area; None keeps the size as shown.
        index: of this file, to be used again; made where it is not given, or when the file
            has changed since.

    Returns:
        (T, 3, H, W) uint8.

    Raises:
        BadInput: as ``velatura.video.read.read_clip``.
    """
    if not len(indices) or min(indices) < 0:
        raise BadInput(f"Frame numbers start at 0, got {list(indices)}.")
    wanted = set(indices)
    found = None
    if min(wanted) > 0 or index is not None:
        if index is None or not index.fits(path):
            index = index_frames(path)
        if not index.doubt and max(wanted) < index.frames:
            found = _sought(path, wanted, size, index)
    if found is None:
        found = frames_from_start(path, wanted, size)
    return np.stack([found[i] for i in indices]).transpose(0, 3, 1, 2)


def _sought(
    path: str | Path, wanted: set[int], size: tuple[int, int] | None, index: FrameIndex
) -> dict[int, np.ndarray] | None:
    """The wanted frames, or None where anything is not as the index says."""
    begin = index.restart(min(wanted))
    if begin < 0:
        return None
    found: dict[int, np.ndarray] = {}
    scaler = VideoReformatter()
    # Whatever goes wrong here is told by decoding from the start, or is not wrong there.
    with suppress(av.FFmpegError), open_video(path) as (container, stream):
        context = stream.codec_context
        shape = context.height, context.width
        if begin > 0:
            time = index.times[index.numbers[begin]]
            container.seek(int(time), stream=stream, backward=True)
        previous = -1
        for frame in _frames(container, stream, wanted, index):
            if frame is None or frame.is_corrupt or frame.pts is None:
                return None
            number = int(np.searchsorted(index.times, frame.pts))
            if number == len(index.times) or index.times[number] != frame.pts:
                return None
            # The judges doubt every file whose size may change, so that is a second look.
            if number <= previous or (frame.height, frame.width) != shape:
                return None
            previous = number
            if number in wanted:
                found[number] = upright(frame, size, scaler)
                if len(found) == len(wanted):
                    return found
    return None


def _frames(
    container: InputContainer, stream: VideoStream, wanted: set[int], index: FrameIndex
) -> Iterator[av.VideoFrame | None]:
    """Decoded pictures from where the container stands; None where that is not as indexed."""
    restarts = {int(index.places[i]): i for i in index.restarts if i <= min(wanted)}
    at: int | None = None
    for packet in container.demux(stream):
        if packet.size:
            at = restarts.get(packet.pos or -1) if at is None else at + 1
            as_indexed = (
                at is not None
                and at < len(index.places)
                and index.places[at] == packet.pos
                and index.times[index.numbers[at]] == packet.pts
            )
            if not as_indexed or packet.is_corrupt:
                yield None
                return
            if index.spare[at] and int(index.numbers[at]) not in wanted:
                continue
        yield from packet.decode()
