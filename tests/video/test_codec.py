"""What a codec leaves: real encoding and decoding, without a file."""

from __future__ import annotations

import numpy as np
import pytest

from velatura.errors import BadInput
from velatura.video import codec
from velatura.video.codec import through_codec


def clip(frames: int = 5, height: int = 48, width: int = 48) -> np.ndarray:
    """Coloured squares of 8 pixels, which move by two from frame to frame."""
    squares = np.random.default_rng(0).integers(0, 256, (3, 20, 20), np.uint8)
    large = squares.repeat(8, 1).repeat(8, 2)
    return np.stack([large[:, :height, 2 * t : 2 * t + width] for t in range(frames)])


def off(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference, levels."""
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize(
    "colour",
    [(0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 0, 0), (0, 255, 0), (0, 0, 255),
     (13, 200, 77), (250, 3, 120)],
)  # fmt: skip
def test_a_plain_colour_comes_back(colour: tuple[int, int, int]):
    """Within two levels; the primaries would be off by dozens, were BT.601 taken for BT.709."""
    frames = np.tile(np.array(colour, np.uint8)[None, :, None, None], (3, 1, 16, 20))
    assert np.abs(through_codec(frames).astype(int) - frames).max() <= 2


def test_more_is_lost_the_higher_the_rate_factor():
    frames = clip()
    lost = [off(through_codec(frames, crf=crf), frames) for crf in (0, 23, 40, 51)]
    assert lost[0] < 0.8 * lost[1] < 0.5 * lost[2] < 0.4 * lost[3]


@pytest.mark.parametrize(
    "size", [(48, 48), (49, 48), (48, 49), (17, 23), (1, 1), (3, 2)], ids="{0[0]}x{0[1]}".format
)
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_number_and_size_of_frames_are_kept(frames: int, size: tuple[int, int]):
    given = clip(frames, *size)
    found = through_codec(given)
    assert (found.shape, found.dtype) == (given.shape, np.uint8)
    assert found.flags.c_contiguous


def test_an_odd_side_is_not_moved():
    """The picture of even sides, and one row and column less of it."""
    whole = clip(3, 48, 48)
    part = through_codec(whole[:, :, :47, :47], crf=0)
    assert off(part[:, :, :46, :46], through_codec(whole, crf=0)[:, :, :46, :46]) < 1


def test_frames_come_in_the_order_shown():
    """The encoder sends some before those that they follow."""
    levels = np.array([0, 250, 30, 220, 60, 190, 90, 160, 120], np.uint8)
    frames = np.tile(levels[:, None, None, None], (1, 3, 32, 32))
    found = through_codec(frames, crf=10)
    assert np.abs(found.mean((1, 2, 3)) - levels).max() < 3


def test_the_same_clip_gives_the_same_bytes():
    frames = clip(9)
    before = frames.copy()
    assert np.array_equal(through_codec(frames), through_codec(frames.copy()))
    assert np.array_equal(frames, before)


def test_what_is_no_clip_of_its_own_memory_is_read_as_what_it_shows():
    frames = clip(4)
    turned = frames.transpose(0, 1, 3, 2)
    assert np.array_equal(through_codec(turned), through_codec(np.ascontiguousarray(turned)))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"codec": "h265"}, r"No codec named 'h265'\. Did you mean 'h264'\? Available: h264"),
        ({"crf": 52}, "a crf of 0 to 51 and an fps above 0; got 2 frames, crf 52, fps 25"),
        ({"crf": -1}, "crf -1"),
        ({"fps": 0}, "fps 0"),
    ],
)
def test_what_cannot_be_is_refused(how, said):
    with pytest.raises(BadInput, match=said):
        through_codec(clip(2), **how)


def test_no_frames_are_refused():
    with pytest.raises(BadInput, match="needs frames, .* got 0 frames"):
        through_codec(clip(2)[:0])


def test_a_lost_frame_is_no_clip(monkeypatch: pytest.MonkeyPatch):
    decoded = codec._decoded
    monkeypatch.setattr(codec, "_decoded", lambda packets, name: decoded(packets, name)[:-1])
    with pytest.raises(codec.Failure, match="3 frames were encoded as h264, and 2 came back"):
        through_codec(clip(3))
