"""Films of every awkward kind for the command, made with PyAV alone."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def scene(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A textured room with a bright square that moves: (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    room = 60 + 40 * np.sin(x / 5.0)[..., None] + 30 * np.cos(y[..., None] / 4 + np.arange(3))
    picture = room.clip(0, 160).astype(np.uint8)
    side = height // 3
    left = (3 * number) % (width - side)
    picture[side : 2 * side, left : left + side] = (250, 220, 200)
    return picture


def film(
    path: Path,
    frames: int = 30,
    *,
    height: int = 48,
    width: int = 64,
    times: Sequence[int] | None = None,
    base: Fraction = Fraction(1, 25),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    sound: bool = False,
    tags: dict[str, str] | None = None,
    form: str | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """Write one; ``times`` are presentation times in units of ``base``."""
    with av.open(str(path), "w", format=form, options=container or {}) as out:
        out.metadata.update(tags or {})
        stream = out.add_stream(codec, 1 / base, options or {})
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        stream.codec_context.time_base = base
        if rotation:
            stream.set_display_rotation(rotation)
        packets = []
        if sound:
            track = out.add_stream("aac", 48000)
            for i in range(round(frames * float(base) * 48000) // 1024):
                wave = np.sin(2e-5 * np.arange(1024 * i, 1024 * (i + 1)) ** 2)[None]
                piece = av.AudioFrame.from_ndarray(wave.astype(np.float32) / 5, "fltp", "mono")
                piece.sample_rate, piece.pts = 48000, 1024 * i
                piece.time_base = Fraction(1, 48000)
                packets += track.encode(piece)
            packets += track.encode()
        for i in range(frames):
            picture, kind = scene(i, height, width), "rgb24"
            if pix_fmt == "rgba":  # half of it is glass
                glass = np.where(np.arange(width) < width // 2, 100, 255).astype(np.uint8)
                picture = np.dstack([picture, np.broadcast_to(glass, (height, width))])
                kind = "rgba"
            frame = av.VideoFrame.from_ndarray(picture, format=kind)
            frame.pts, frame.time_base = (times[i] if times else i), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        out.mux(packets)
    return path


def pictures(path: Path) -> list[np.ndarray]:
    """Every picture of a file."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def times(path: Path) -> list[Fraction]:
    """When each picture is shown, seconds, sorted."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(f.pts * stream.time_base for f in container.decode(stream))
