"""What a video file holds, found without decoding more than its first frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.stream import Disposition
from av.video.stream import VideoStream

from velatura.errors import BadInput

__all__ = ["VideoInfo", "display_matrix", "open_video", "probe", "stamp"]

Matrix = tuple[int, int, int, int]
UPRIGHT: Matrix = (1, 0, 0, 1)


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a video file says about itself.

    Attributes:
        width, height: pixels of the picture as shown, after rotation.
        rotation: degrees counterclockwise, 0, 90, 180 or 270, that the file asks a player
            to turn the stored picture by. ``read_frames`` has done it already.
        frames: how many pictures; counted where the container does not say.
        declared: how many the container says there are; 0 where it does not.
        rate: average pictures per second; None where the container does not say.
        time_base: seconds of one timestamp unit.
        duration: seconds, or None where the container does not say.
        sample_aspect: width over height of one pixel as shown; 1 for square pixels.
        codec: the decoder's name, such as ``"h264"``.
        has_audio: True where there is a sound track.
    """

    width: int
    height: int
    rotation: int
    frames: int
    declared: int
    rate: Fraction | None
    time_base: Fraction
    duration: Fraction | None
    sample_aspect: Fraction
    codec: str
    has_audio: bool


# Files that name other files, which FFmpeg would open, and formats that draw letters as pictures.
LISTS = {"concat", "concatf", "dash", "hls", "imf", "rtsp", "sdp", "webm_dash_manifest"}
STARTS = (b"ffconcat", b"#EXTM3U")  # told before FFmpeg is asked, since it follows them
TEXTS = {"tty", "bin", "xbin", "idf"}


@contextmanager
def open_video(
    path: str | Path, options: dict[str, str] | None = None
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the best video stream of a local file, single-threaded and strict.

    Args:
        path: a local file.
        options: FFmpeg's, for reading the container.

    Raises:
        BadInput: no such file, no video in it, or a list of other files.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder, not a video file" if path.is_dir() else "not there"
        raise BadInput(f"{path} is {what}; name one video file.")
    try:
        with open(path, "rb") as file:
            if file.read(16).startswith(STARTS):
                raise BadInput(f"{path} is a list of other files; name the videos themselves.")
        # "file:" keeps a colon in a name from being taken for a network address. A title in
        # some other encoding says nothing of the pictures.
        container = av.open(f"file:{path}", metadata_errors="replace", options=options or {})
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or type(error).__name__
        raise BadInput(f"{path} cannot be read as a video: {reason}.") from error
    with container:
        if container.format.name in LISTS:
            raise BadInput(f"{path} is a list of other files; name the videos themselves.")
        stream = container.streams.best("video")
        text = container.format.name in TEXTS
        cover = stream is not None and stream.disposition & Disposition.attached_pic
        if text or cover or not isinstance(stream, VideoStream):
            raise BadInput(f"{path} holds no video stream.")
        if stream.codec_context is None:
            raise BadInput(f"{path} is coded in a way that this FFmpeg does not know.")
        # Decoders patch damaged data up and go on. "explode" makes them report it (Motion
        # JPEG says nothing otherwise), and only without threads does every report reach
        # the caller (with slice threads, H.264 loses most of them).
        stream.thread_type = "NONE"  # type: ignore[assignment]
        stream.codec_context.options = {"err_detect": "explode"}
        yield container, stream


def display_matrix(frame: av.VideoFrame) -> Matrix:
    """How a stored picture is turned and mirrored for display.

    Returns:
        (a, b, c, d), each -1, 0 or 1: the pixel stored at (x, y) is shown at
        (a x + c y, b x + d y), up to a shift; y points down.

    Raises:
        BadInput: an angle that is not a quarter turn.
    """
    for data in _side_data(frame):
        if data.type.name == "DISPLAYMATRIX":
            fixed = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2] / 65536
            a, b, c, d = (int(v) for v in fixed.round().ravel())
            straight = np.abs(fixed - fixed.round()).max() < 0.01
            if not straight or abs(a * d - b * c) != 1:
                raise BadInput(
                    f"The video asks to be shown at {frame.rotation} degrees; only quarter "
                    "turns are supported. Re-encode it upright first."
                )
            return a, b, c, d
    return UPRIGHT


def _side_data(frame: av.VideoFrame) -> list[Any]:
    """What travels with a picture, as far as PyAV has names for it.

    One kind that it does not know, such as a photograph's EXIF, makes it refuse all of them, also
    the display matrix that FFmpeg made of the EXIF's orientation. FFmpeg's own filter takes such
    kinds away, one after the other.
    """
    kinds: list[str] = []
    while True:
        try:
            return list(frame.side_data)
        except ValueError as error:  # "31 is not a valid Type"
            number = str(error).partition(" ")[0]
            if not number.isdecimal() or number in kinds:
                raise
            kinds.append(number)
            frame = _without(frame, number)


def _without(frame: av.VideoFrame, kind: str) -> av.VideoFrame:
    """The picture without one kind of side data, by FFmpeg's number for it."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
    )
    graph.link_nodes(
        source, graph.add("sidedata", f"mode=delete:type={kind}"), graph.add("buffersink")
    ).configure()
    graph.push(frame)
    left = graph.pull()
    assert isinstance(left, av.VideoFrame)
    return left


def probe(path: str | Path, *, count: bool = False) -> VideoInfo:
    """Read a video file's description, and decode its first frame.

    Args:
        path: a local video file.
        count: count the pictures instead of believing the container; reads the whole
            file, and decodes nothing more.

    Raises:
        BadInput: not a readable video, or its first frame does not decode.
    """
    with open_video(path) as (container, stream):
        try:
            first = next(container.decode(stream), None)
        except av.FFmpegError as error:
            raise BadInput(f"{path} is damaged: its first frame does not decode.") from error
        if first is None:
            raise BadInput(f"{path} holds no frames.")
        a, _, _, _ = display_matrix(first)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        width, height = first.width, first.height
        if a == 0:  # a quarter turn: rows become columns
            width, height, aspect = height, width, 1 / aspect
        time_base = stream.time_base or Fraction(1, av.time_base)
        if stream.duration is not None:
            duration = stream.duration * time_base
        elif container.duration is not None:
            duration = Fraction(container.duration, av.time_base)
        else:
            duration = None
        return VideoInfo(
            width=width,
            height=height,
            rotation=first.rotation % 360,
            frames=stream.frames if stream.frames and not count else _count(path),
            declared=stream.frames,
            rate=stream.average_rate or stream.guessed_rate,
            time_base=time_base,
            duration=duration,
            sample_aspect=aspect,
            codec=stream.codec_context.name,
            has_audio=bool(container.streams.audio),
        )


def _count(path: str | Path) -> int:
    """The pictures in a file: packets that carry one and are not edited away."""
    with open_video(path) as (container, stream):
        try:
            return sum(
                bool(packet.size) and not packet.is_discard for packet in container.demux(stream)
            )
        except av.FFmpegError as error:
            raise BadInput(f"{path} is damaged and cannot be read to its end.") from error


def stamp(path: str | Path) -> tuple[int, int]:
    """Bytes and time (ns) of a file."""
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns
