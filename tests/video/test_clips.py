"""Frame numbers worked out by hand."""

import pytest

from velatura.video.clips import clip_indices, span, starts


@pytest.mark.parametrize(
    ("total", "frames", "stride", "start", "expected"),
    [
        (10, 4, 1, 0, [0, 1, 2, 3]),
        (10, 4, 2, 3, [3, 5, 7, 9]),  # ends exactly on the last frame
        (10, 4, 2, 4, [4, 6, 8, 8]),  # 10 reflects at 9 to 8
        (4, 8, 1, 0, [0, 1, 2, 3, 2, 1, 0, 1]),
        (5, 5, 2, 0, [0, 2, 4, 2, 0]),
        (2, 5, 1, 1, [1, 0, 1, 0, 1]),
        (1, 3, 2, 0, [0, 0, 0]),
        (3, 2, 1, 7, [1, 0]),  # a start far past the end: 7 = 4 + 3, and 3 reflects to 1
    ],
)
def test_clip_indices(total, frames, stride, start, expected):
    assert clip_indices(total, frames, stride, start) == expected


def test_span():
    assert span(16, 2) == 31
    assert span(1, 5) == 1


@pytest.mark.parametrize(
    ("total", "frames", "stride", "n", "expected"),
    [
        (41, 16, 2, 1, [5]),  # 41 - 31 = 10 to spare, half of it
        (41, 16, 2, 3, [0, 5, 10]),
        (42, 16, 2, 3, [0, 6, 11]),  # 5.5 rounds up
        (31, 16, 2, 2, [0, 0]),  # exactly one clip long
        (5, 16, 2, 2, [0, 0]),  # shorter than a clip
    ],
)
def test_starts(total, frames, stride, n, expected):
    assert starts(total, frames, stride, n) == expected


@pytest.mark.parametrize("wrong", [(0, 1, 1, 0), (1, 0, 1, 0), (1, 1, 0, 0), (1, 1, 1, -1)])
def test_out_of_range(wrong):
    with pytest.raises(ValueError, match="must be at least"):
        clip_indices(*wrong)


def test_starts_needs_one():
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        starts(5, 1, 1, 0)
