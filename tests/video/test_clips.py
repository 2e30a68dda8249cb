"""Frame numbers worked out by hand."""

import pytest

from velatura.video.clips import clip_indices, random_start, span, starts


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


def test_random_start_reaches_every_fitting_start_as_often():
    """41 - 31 = 10 frames to spare: eleven starts."""
    found = [random_start(41, 16, 2, k / 1100) for k in range(1100)]
    assert [found.count(start) for start in range(11)] == [100] * 11
    assert max(found) + span(16, 2) == 41  # the last clip ends with the video


@pytest.mark.parametrize("total", [1, 5, 30, 31])
def test_random_start_of_a_short_video(total):
    assert {random_start(total, 16, 2, u) for u in (0.0, 0.5, 0.999999)} == {0}


def test_random_start_just_below_one_stays_inside():
    below = 1 - 2**-53
    assert all(random_start(n, 1, 1, below) == n - 1 for n in range(1, 3000))


@pytest.mark.parametrize("u", [-0.1, 1.0, float("nan")])
def test_random_start_needs_a_share(u):
    with pytest.raises(ValueError, match="u must be in"):
        random_start(41, 16, 2, u)
