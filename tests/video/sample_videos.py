"""Video files of every awkward kind, made with PyAV alone: not with the code under test."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8


def stamp(number: int, height: int, width: int) -> np.ndarray:
    """A picture that says its number: eight stripes, light for a 1 and dark for a 0."""
    image = np.full((height, width, 3), 16, np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            image[:, bit * width // BITS : (bit + 1) * width // BITS] = 235
    return image


def number(image: np.ndarray) -> int:
    """The number of a stamped picture, after any lossy coding or scaling."""
    height, width = image.shape[:2]
    middles = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
    return sum(int(image[height // 2, x].mean() > 128) << bit for bit, x in enumerate(middles))


def encode(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 30),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: dict | None = None,
    aspect: Fraction | None = None,
    audio: bool = False,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a file; by default H.264 with B-frames, in the container of the suffix."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        if codec == "libx264":
            options = {"bf": "2", "g": "12", "crf": "10", **(options or {})}
        stream = container.add_stream(codec, Fraction(1) / time_base, options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(**rotation)
        if audio:
            sound = container.add_stream("aac", 48000)
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
            silence.sample_rate, silence.pts = 48000, 0
            packets = [*sound.encode(silence), *sound.encode()]
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (pts[i] if pts else i), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio:
            container.mux(packets)
    return path
