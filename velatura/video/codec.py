"""What a codec leaves of a clip: encoded and decoded again in memory, without a file.

A camera compresses what it releases. Faint detail that an examiner reads from bytes may not
survive that, and an anonymizer that hides behind noise may find its noise removed.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from jaxtyping import UInt8

from velatura.errors import BadInput, Failure, unknown

__all__ = ["through_codec"]

ENCODERS = {"h264": "libx264"}  # decoder of FFmpeg to its encoder


def through_codec(
    frames: UInt8[np.ndarray, "t 3 h w"], codec: str = "h264", crf: float = 23, fps: float = 25
) -> UInt8[np.ndarray, "t 3 h w"]:
    """A clip as it is after being compressed and decoded.

    Colour is coded at half the resolution (4:2:0), BT.709, limited range, as cameras do; an odd
    side is made even by repeating its edge, and cut again. The same clip gives the same bytes, on
    one thread.

    Args:
        frames: (T, 3, H, W) uint8, RGB, T of at least 1.
        codec: ``"h264"``.
        crf: constant rate factor, 0 (nothing is quantised) to 51 (hardly anything is left); 23 is
            the encoder's own default.
        fps: frames per second; the encoder spends fewer bits on frames that are shown briefly.

    Returns:
        The same shape.

    Raises:
        BadInput: an unknown codec, or numbers out of range.
        Failure: the encoder refuses.
    """
    if codec not in ENCODERS:
        raise unknown("codec", codec, ENCODERS)
    if not 0 <= crf <= 51 or not fps > 0 or not len(frames):
        raise BadInput(
            "through_codec needs frames, a crf of 0 to 51 and an fps above 0; got "
            f"{len(frames)} frames, crf {crf}, fps {fps}."
        )
    h, w = frames.shape[2:]
    images = frames.transpose(0, 2, 3, 1)
    images = np.pad(images, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    try:
        found = list(_decoded(_encoded(images, ENCODERS[codec], crf, fps), codec))
    except (av.FFmpegError, ValueError) as error:
        raise Failure(f"The codec {codec} cannot be used on {w} x {h} px: {error}.") from error
    if len(found) != len(frames):
        raise Failure(f"{len(frames)} frames were encoded as {codec}, and {len(found)} came back.")
    return np.ascontiguousarray(np.stack(found)[:, :h, :w].transpose(0, 3, 1, 2))


def _encoded(images: np.ndarray, encoder: str, crf: float, fps: float) -> list[av.Packet]:
    """Packets of (T, H, W, 3), both sides even."""
    context = av.CodecContext.create(encoder, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.height, context.width = images.shape[1:3]
    context.pix_fmt = "yuv420p"
    context.framerate = Fraction(fps).limit_denominator(100_000)
    context.time_base = 1 / context.framerate
    # How work is cut up for threads decides which bits are spent where.
    context.thread_count = 1
    # In small pictures x264's look ahead for macroblocks depends on what memory held; without it,
    # qcomp is 1, as it is with it.
    still = "no-mbtree=1:qcomp=1"
    context.options = {"crf": str(crf), "preset": "veryfast", "x264-params": still}
    scaler, packets = VideoReformatter(), []
    for number, image in enumerate(images):
        frame = scaler.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(image)),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base = number, context.time_base
        packets += context.encode(frame)
    return packets + context.encode(None)


def _decoded(packets: list[av.Packet], decoder: str) -> list[np.ndarray]:
    """(H, W, 3) uint8 RGB of every frame, in the order shown."""
    context = av.CodecContext.create(decoder, "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count = 1
    scaler = VideoReformatter()
    frames = [frame for packet in packets for frame in context.decode(packet)]
    frames += context.decode(None)
    return [
        scaler.reformat(
            frame,
            format="rgb24",
            src_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.MPEG,
        ).to_ndarray()
        for frame in frames
    ]
