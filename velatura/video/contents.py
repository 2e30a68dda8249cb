"""What a video file holds that a copy of its pictures will not: streams, tags, bits, colours.

Tags are told by name and never by value: a place, a date or a person may stand there. What is
told is what FFmpeg finds; a maker's own boxes that it does not know are not in a copy either,
and are not told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from velatura.errors import BadInput
from velatura.video.probe import open_video

__all__ = ["Contents", "SoundTrack", "contents", "removed", "shown", "warnings"]


@dataclass(frozen=True)
class SoundTrack:
    """One sound track.

    Attributes:
        codec: such as ``"aac"``.
        language: such as ``"eng"``; empty where the file does not say.
        channels: 2 is stereo.
        start: when it begins, in seconds of the file.
    """

    codec: str
    language: str
    channels: int
    start: Fraction


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a file holds beside the pictures that are anonymized.

    Attributes:
        container: by its content, whatever its name; such as ``"mp4"`` or ``"matroska"``.
        sound: its sound tracks.
        subtitles, data, attachments: streams of these kinds.
        covers: embedded pictures.
        videos: further video streams.
        chapters: marks with titles.
        tags: names of the metadata of the file, of its pictures and of its sound; sorted.
        bits: per colour.
        transfer: ``"PQ"`` or ``"HLG"`` for high dynamic range, else empty.
        primaries: ``"BT.2020"`` or ``"P3"`` for colours beyond BT.709, else empty.
        alpha: True where pictures are transparent in parts.
        interlaced: True where a picture holds two moments in alternate lines.
        rotation: degrees counterclockwise by which players are asked to turn the picture.
        variable: whether the frame rate varies; None where only the whole file would tell.
    """

    container: str
    sound: tuple[SoundTrack, ...]
    subtitles: int
    data: int
    attachments: int
    covers: int
    videos: int
    chapters: int
    tags: tuple[str, ...]
    bits: int
    transfer: str
    primaries: str
    alpha: bool
    interlaced: bool
    rotation: int
    variable: bool | None


# FFmpeg's AVCOL_TRC_ and AVCOL_PRI_; AV_FIELD_PROGRESSIVE is 1, and 0 unknown.
TRANSFER = {16: "PQ", 18: "HLG"}
PRIMARIES = {9: "BT.2020", 11: "P3", 12: "P3"}
PROGRESSIVE = 1

# Tags that an output has as well, with these values, or that only repeat what is coded.
OURS = {
    "major_brand": r".*",
    "minor_version": r".*",
    "compatible_brands": r".*",
    "handler_name": r"(Video|Sound)Handler",
    "language": r"und",
    "vendor_id": r"FFMP|\[0\]\[0\]\[0\]\[0\]",
    "duration": r"[\d:.]*",
    "number_of_frames": r"\d*",
    "number_of_bytes": r"\d*",
    "bps": r"\d*",
    "alpha_mode": r"[01]",
    "rotate": r"-?\d*",
}
MILLISECOND = Fraction(1, 1000)
LONGEST = 60  # letters of a tag's name
MOST = 100  # tags that are named


def contents(path: str | Path) -> Contents:
    """Look into a video file, and decode its first picture.

    Raises:
        BadInput: not a readable video; its first picture does not decode.
    """
    told_more = {"export_all": "1", "export_xmp": "1"}
    with open_video(path, told_more) as (container, stream):
        try:
            frame = next(container.decode(stream), None)
        except av.FFmpegError as error:
            raise BadInput(f"{path} is damaged: its first frame does not decode.") from error
        if frame is None:
            raise BadInput(f"{path} holds no frames.")
        kind = _container(container, path)
        streams = container.streams
        chapters = len(container.chapters())
        covers = sum(_is_cover(other) for other in streams.video)
        # MP4 keeps the chapters' titles in a stream of text.
        titles = (
            kind in ("mp4", "mov")
            and chapters
            and any(d.name == "bin_data" for d in _data(container))
        )
        context = stream.codec_context
        tags = [container.metadata, stream.metadata, *(track.metadata for track in streams.audio)]
        return Contents(
            container=kind,
            sound=tuple(_sound(track) for track in streams.audio),
            subtitles=len(streams.subtitles),
            data=len(_data(container)) - bool(titles),
            attachments=len(streams.attachments),
            covers=covers,
            videos=len(streams.video) - covers - 1,
            chapters=chapters,
            tags=_names(tags),
            bits=max(part.bits for part in frame.format.components),
            transfer=_either(TRANSFER, frame.color_trc, context.color_trc),
            primaries=_either(PRIMARIES, frame.color_primaries, context.color_primaries),
            alpha=_alpha(frame, stream),
            interlaced=frame.interlaced_frame or int(context.field_order) > PROGRESSIVE,
            rotation=frame.rotation % 360,
            variable=_variable(stream) if kind in ("mp4", "mov") else None,
        )


def removed(contents: Contents) -> list[str]:
    """What a copy of the pictures leaves behind, a phrase each.

    The phrase of the sound is the only one with "sound track" in it: where sound is copied, leave
    it out.
    """
    found = [f"tag {name}" for name in contents.tags[:MOST]]
    if len(contents.tags) > MOST:
        found.append(f"{len(contents.tags) - MOST} further tags")
    for number, one, many in (
        (len(contents.sound), "1 sound track", "{} sound tracks"),
        (contents.subtitles, "1 subtitle stream", "{} subtitle streams"),
        (contents.data, "1 data stream", "{} data streams"),
        (contents.attachments, "1 attachment", "{} attachments"),
        (contents.covers, "cover picture", "{} cover pictures"),
        (contents.videos, "1 further video stream", "{} further video streams"),
        (contents.chapters, "1 chapter", "{} chapters"),
    ):
        if number:
            found.append(one if number == 1 else many.format(number))
    return found


def warnings(contents: Contents) -> list[str]:
    """What a copy in H.264 with 8 bits cannot show as its source does, a sentence each."""
    said = []
    if contents.bits > 8:
        said.append(f"{contents.bits} bits per colour become 8.")
    if contents.transfer:
        said.append(f"HDR ({contents.transfer}) is not tone-mapped: the copy will look flat.")
    if contents.primaries:
        said.append(
            f"Colours of {contents.primaries} are written as BT.709 without conversion: the copy "
            "will look pale."
        )
    if contents.alpha:
        said.append(
            "The alpha channel is dropped; transparent parts show as the colour that is stored "
            "beneath them."
        )
    if contents.interlaced:
        said.append(
            "The video is interlaced; the copy keeps both fields of a picture together, and "
            "motion shows as a comb."
        )
    if contents.videos:
        said.append(
            f"Of {contents.videos + 1} video streams, only the one that players show first is "
            "anonymized and written."
        )
    return said


def _container(container: InputContainer, path: str | Path) -> str:
    name = container.format.name.split(",")[0].removesuffix("_pipe")
    if name == "mov":
        return "mov" if container.metadata.get("major_brand", "").startswith("qt") else "mp4"
    if name == "matroska":
        with open(path, "rb") as file:
            # The element DocType of four letters, in the first bytes of the file.
            return "webm" if b"\x42\x82\x84webm" in file.read(64) else "matroska"
    return name


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _data(container: InputContainer) -> list[Any]:
    """Streams of data, and those of a kind that FFmpeg does not know."""
    known = ("video", "audio", "subtitle", "attachment")
    return [stream for stream in container.streams if stream.type not in known]


def _sound(track: AudioStream) -> SoundTrack:
    context = track.codec_context
    language = track.metadata.get("language", "")
    start = (track.start_time or 0) * (track.time_base or Fraction(0))
    return SoundTrack(
        codec=context.name if context else "unknown",
        # The one value that is told, and only where it is a language.
        language=language if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z]{2,4})?", language) else "",
        channels=context.channels if context else 0,
        start=Fraction(start),
    )


def _names(tags: Iterable[dict[str, str]]) -> tuple[str, ...]:
    """Names of tags that an output does not have."""
    found = set()
    for group in tags:
        for name, value in group.items():
            # "location-eng" repeats "location".
            plain = re.sub(r"-[a-z]{3}\Z", "", name)
            if plain != name and plain in group:
                continue
            if not re.fullmatch(OURS.get(plain.lower(), r"(?!)"), value, re.S):
                found.add(shown(name))
    return tuple(sorted(found))


def shown(name: str) -> str:
    """A tag's name for a terminal and a report: files may hold anything there."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _either(names: dict[int, str], *values: int) -> str:
    """The name of what the picture says, or else the header."""
    return next((names[int(value)] for value in values if int(value) in names), "")


def _alpha(frame: av.VideoFrame, stream: VideoStream) -> bool:
    # FFmpeg's own VP9 decoder leaves the alpha channel out; Matroska's tag tells of it.
    mode = {name.lower(): value for name, value in stream.metadata.items()}.get("alpha_mode")
    if mode == "1":
        return True
    palette = frame.format.has_palette
    if stream.codec_context.name in ("gif", "png", "apng") or palette:
        # These decode with an alpha channel whether or not they use it.
        if palette or any(part.is_alpha for part in frame.format.components):
            return bool((frame.to_ndarray(format="rgba")[..., 3] < 255).any())
    return any(part.is_alpha for part in frame.format.components)


def _variable(stream: VideoStream) -> bool | None:
    """By the index, which MP4 has in its header."""
    times = [entry.timestamp for entry in stream.index_entries]
    if len(times) < 2 or len(times) < stream.frames or not stream.frames:
        return None
    steps = [after - before for before, after in zip(times, times[1:], strict=False)]
    # A rate that its unit does not divide alternates by one; some count in milliseconds.
    spread = max(steps) - min(steps)
    return spread > 1 and spread * (stream.time_base or Fraction(1)) > MILLISECOND
