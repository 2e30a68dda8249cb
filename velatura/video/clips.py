"""Which frames make a clip: pure arithmetic on frame numbers."""

from __future__ import annotations

__all__ = ["clip_indices", "random_start", "span", "starts"]


def span(frames: int, stride: int) -> int:
    """How many video frames a clip of ``frames`` at every ``stride``-th frame reaches over."""
    return (frames - 1) * stride + 1


def clip_indices(total: int, frames: int, stride: int, start: int) -> list[int]:
    """Frame numbers of one clip; past the end of the video, time runs back and forth.

    With 4 frames in the video, 8 wanted at stride 1 from 0: 0 1 2 3 2 1 0 1. A video
    that is too short is so padded with motion it has, without a jump.

    Args:
        total: frames in the video, at least 1.
        frames: frames in the clip, at least 1.
        stride: video frames from one clip frame to the next, at least 1.
        start: number of the first frame, at least 0.

    Returns:
        ``frames`` numbers in 0 ... total - 1.
    """
    _at_least(1, total=total, frames=frames, stride=stride)
    _at_least(0, start=start)
    period = max(1, 2 * (total - 1))
    folded = ((start + k * stride) % period for k in range(frames))
    return [i if i < total else period - i for i in folded]


def random_start(total: int, frames: int, stride: int, u: float) -> int:
    """Where a training clip begins: uniform over the starts whose clip fits into the video.

    Args:
        total, frames, stride: see :func:`clip_indices`.
        u: uniform in [0, 1), from a generator that the caller seeds by step.

    Returns:
        0 ... total - span(frames, stride); 0 for a video no longer than one clip.
    """
    _at_least(1, total=total, frames=frames, stride=stride)
    if not 0 <= u < 1:
        raise ValueError(f"u must be in [0, 1), got {u}")
    return int(u * (max(0, total - span(frames, stride)) + 1))


def starts(total: int, frames: int, stride: int, n: int) -> list[int]:
    """Where ``n`` clips begin that together cover a video: the views of an evaluation.

    One clip stands in the middle; several are evenly spaced from the first possible start
    to the last. A video no longer than one clip gives ``n`` times 0.
    """
    _at_least(1, total=total, frames=frames, stride=stride, n=n)
    slack = max(0, total - span(frames, stride))
    if n == 1:
        return [slack // 2]
    return [(2 * k * slack + n - 1) // (2 * (n - 1)) for k in range(n)]  # rounded half up


def _at_least(lowest: int, **values: int) -> None:
    for name, value in values.items():
        if value < lowest:
            raise ValueError(f"{name} must be at least {lowest}, got {value}")
