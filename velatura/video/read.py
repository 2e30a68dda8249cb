"""Frames of a video file, exact: all of them, in the order shown, or an error.

Decoders conceal damage, and a truncated file simply ends. Here both raise: a file that
gives fewer frames than it should is never taken for a shorter one, where its container
lets that be known.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from velatura.errors import BadInput
from velatura.video._whole import cut_short
from velatura.video.probe import display_matrix, open_video

__all__ = ["Damaged", "Frame", "read_clip", "read_frames"]


class Damaged(BadInput):
    """A file that gives fewer frames than it should.

    Attributes:
        frames: how many decoded before it broke.
        declared: how many its header counts; 0 where it does not.
    """

    frames: int = 0
    declared: int = 0


# FFmpeg's AVCOL_SPC_UNSPECIFIED: the file does not say how its colours are coded.
UNSPECIFIED = 2
MILLISECOND = Fraction(1, 1000)  # the unit of Matroska's times


class Frame(NamedTuple):
    """One decoded picture.

    Attributes:
        image: (H, W, 3) uint8, RGB, upright.
        pts: when it is shown, in units of ``time_base``.
        time_base: seconds of one unit.
        index: 0 for the first picture of the file.
        duration: how long it is shown, in the same units; 0 where the file does not say.
    """

    image: np.ndarray
    pts: int
    time_base: Fraction
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    duration: int = 0


def read_frames(path: str | Path, size: tuple[int, int] | None = None) -> Iterator[Frame]:
    """Every frame of a video, one at a time, in the order shown.

    Args:
        path: a local video file.
        size: (height, width) to scale to, by area; None keeps the size as shown.

    Raises:
        Damaged: damaged or truncated; the message says after how many frames.
        BadInput: not a readable video; without usable timestamps; or changing its size midway.
    """
    scaler = VideoReformatter()
    for index, (frame, pts, time_base) in enumerate(_decode(path)):
        yield Frame(upright(frame, size, scaler), pts, time_base, index, frame.duration or 0)


def read_clip(
    path: str | Path, indices: Sequence[int], size: tuple[int, int] | None = None
) -> np.ndarray:
    """Chosen frames by number, in the order asked for, repeats included.

    Decodes from the beginning up to the last one wanted: no seeking, so nothing can be
    off by one. What follows the last one is not looked at.

    Args:
        path: a local video file.
        indices: frame numbers from 0.
        size: (height, width) to scale to; None keeps the size as shown.

    Returns:
        (T, C, H, W) uint8, RGB; T is ``len(indices)``.

    Raises:
        BadInput: as ``read_frames``; or the video has no frame of that number.
    """
    if not indices or min(indices) < 0:
        raise BadInput(f"Frame numbers start at 0, got {list(indices)}.")
    found = frames_from_start(path, set(indices), size)
    return np.stack([found[i] for i in indices]).transpose(0, 3, 1, 2)


def frames_from_start(
    path: str | Path, wanted: set[int], size: tuple[int, int] | None
) -> dict[int, np.ndarray]:
    """The wanted frames by number, with everything before them decoded; as ``read_clip``."""
    last, number = max(wanted), -1
    found: dict[int, np.ndarray] = {}
    scaler = VideoReformatter()
    for number, (frame, _, _) in enumerate(_decode(path)):
        if number in wanted:
            found[number] = upright(frame, size, scaler)
        if number == last:
            return found
    raise BadInput(f"{path} has {number + 1} frames; there is no frame {last}.")


def _decode(path: str | Path) -> Iterator[tuple[av.VideoFrame, int, Fraction]]:
    """Decoded frames with their times, in the order shown."""
    with open_video(path) as (container, stream):
        # AVI has no presentation times: the n-th picture shown is at the n-th packet's time.
        in_packet_order = container.format.name == "avi"
        times: deque[int | None] = deque()
        edited_away = count = longest = 0
        previous: int | None = None
        shape: tuple[int, int] | None = None
        time_base = stream.time_base or Fraction(1, av.time_base)

        def damaged(reason: str) -> Damaged:
            total = f" of {stream.frames}" if stream.frames else ""
            error = Damaged(
                f"{path} is damaged: {count}{total} frames decode, then {reason}. "
                "Get an intact copy, or re-encode the part that plays."
            )
            error.frames, error.declared = count, stream.frames
            return error

        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                if packet.is_corrupt:
                    raise damaged("a packet is incomplete")
                frames = packet.decode()
            except av.FFmpegError as error:
                raise damaged(f"the decoder says {error.strerror!r}") from error
            if packet.size:
                edited_away += packet.is_discard
                if in_packet_order:  # elsewhere nobody takes them away again
                    times.append(packet.dts)
            for frame in frames:
                if frame.is_corrupt:
                    raise damaged("a frame is incomplete")
                pts = (times.popleft() if times else None) if in_packet_order else frame.pts
                if pts is None or (previous is not None and pts <= previous):
                    raise BadInput(
                        f"{path} has no increasing timestamp at frame {count}; "
                        "remux it into MP4 or Matroska first."
                    )
                if shape not in (None, (frame.height, frame.width)):
                    raise BadInput(
                        f"{path} changes its size at frame {count}; split it there first."
                    )
                shape = frame.height, frame.width
                gap = 0 if previous is None else pts - previous
                longest = max(longest, gap, frame.duration or 0)
                previous = pts
                yield frame, pts, time_base
                count += 1

        declared = declared_frames(stream)
        if count < declared - edited_away:
            raise damaged(f"it ends, where its header declares {declared - edited_away}")
        end = _declared_end(container, stream)
        if end is not None and previous is not None and longest:
            # Its last frame is shown until ``end``, for no longer than any other.
            if end - previous * time_base > Fraction(3, 2) * longest * time_base + MILLISECOND:
                raise damaged(f"it ends, where its header declares {float(end):.3f} seconds")
        if not declared and cut_short(path):
            raise damaged("it ends in the middle of a part")
        if not count:
            raise BadInput(f"{path} holds no frames.")


def declared_frames(stream: VideoStream) -> int:
    """How many pictures a file says it holds; 0 where it does not say."""
    # Matroska has no field for it, but some writers leave a tag.
    tag = stream.metadata.get("NUMBER_OF_FRAMES", "")
    return stream.frames or (int(tag) if re.fullmatch(r"\d{1,12}", tag, re.ASCII) else 0)


def _declared_end(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """When a Matroska file's pictures should end, in seconds; its header counts no frames."""
    if "matroska" not in container.format.name:
        return None
    tag = stream.metadata.get("DURATION", "")  # such as 00:00:02.966000000
    if found := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tag, re.ASCII):
        return int(found[1]) * 3600 + int(found[2]) * 60 + Fraction(found[3])
    if container.duration and len(container.streams) == 1:
        return Fraction(container.duration, av.time_base)
    return None


def upright(
    frame: av.VideoFrame, size: tuple[int, int] | None, scaler: VideoReformatter
) -> np.ndarray:
    """A frame as (H, W, 3) uint8 RGB, upright, scaled to ``size`` (height, width).

    Args:
        scaler: of this video, used again for each of its frames: making one takes time.
    """
    a, b, c, d = display_matrix(frame)
    height, width = size or (None, None)
    if a == 0:
        height, width = width, height
    # Files that do not say follow the custom: BT.709 for high definition, else BT.601.
    large = frame.width >= 1280 or frame.height > 576
    image = scaler.reformat(
        frame,
        format="rgb24",
        width=width,
        height=height,
        interpolation=Interpolation.AREA if size else None,
        src_colorspace=Colorspace.ITU709 if large and frame.colorspace == UNSPECIFIED else None,
    ).to_ndarray()
    if a == 0:
        image = image.transpose(1, 0, 2)
    return np.ascontiguousarray(image[:: b + d, :: a + c])
