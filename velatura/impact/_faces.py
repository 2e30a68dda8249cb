"""Where a face is, by its keypoints: no detector and no weights.

A head has about the same size on everybody. Seen from anywhere, the distance between two of its
points is at most what it is in space, so each pair of points that is known says how large the
head is at least, and the largest answer is the nearest; so does the height of the whole person.
Lengths in millimetres are about those of an adult man (Poston, "Human Engineering Design Data
Digest", 2000: bitragion breadth 145, head length 197, biacromial breadth 397); who is smaller only
gets a larger box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import dist

import numpy as np

__all__ = ["FACE", "face_box"]

FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "head")
HEAD = 240  # millimetres of a square around the face and what is seen of the hair
ABOVE = 100  # of the face's middle below the top of the head
LENGTHS = {
    ("left_eye", "right_eye"): 64,
    ("left_ear", "right_ear"): 145,
    ("nose", "left_ear"): 120,
    ("nose", "right_ear"): 120,
    ("nose", "left_eye"): 48,
    ("nose", "right_eye"): 48,
    ("left_eye", "left_ear"): 85,
    ("right_eye", "right_ear"): 85,
    ("left_shoulder", "right_shoulder"): 360,
    ("head", "neck"): 280,
}
OF_THE_HEAD = {pair for pair in LENGTHS if not any("shoulder" in name for name in pair)}
# Of a person's box: a head is at least a seventh of its height, as of whoever stands; and more than
# half of a box that shows little beside it, which may be so where two points of the head are not.
TALL, BROAD = 1 / 7, 0.6

Point = tuple[float, float]


def face_box(
    keypoints: np.ndarray, names: Sequence[str], box: tuple[float, float, float, float] | None
) -> tuple[float, float, float, float] | None:
    """A square around the face.

    Args:
        keypoints: (K, 3) x, y in pixels and 0 unknown, 1 hidden, 2 visible.
        names: of the K, as COCO and CrowdPose call them.
        box: of the person, x0, y0, x1, y1.

    Returns:
        x0, y0, x1, y1 in pixels, all known points of the face inside; None where none is known,
        or nothing says how large a head is.
    """
    known = {
        name: (float(x), float(y))
        for name, (x, y, seen) in zip(names, keypoints.tolist(), strict=False)
        if seen > 0
    }
    points = [known[name] for name in FACE if name in known]
    if not points:
        return None
    side = HEAD * _scale(known, box)
    if side <= 0:
        return None
    x, y = _middle(known, side)
    half = side / 2
    across, down = zip(*points, strict=True)
    return (
        min(x - half, *across), min(y - half, *down), max(x + half, *across), max(y + half, *down)
    )  # fmt: skip


def _scale(known: Mapping[str, Point], box: Sequence[float] | None) -> float:
    """Pixels to a millimetre, at least."""
    found = {
        (a, b): dist(known[a], known[b]) / length
        for (a, b), length in LENGTHS.items()
        if a in known and b in known
    }
    least = [*found.values(), 0.0]
    # Shoulders seen from the side, or two points on one pixel, would make a head of no size.
    across, down = zip(*known.values(), strict=True)
    x0, y0, x1, y1 = box or (min(across), min(down), max(across), max(down))
    least.append(TALL * (y1 - y0) / HEAD)
    if not any(found[pair] for pair in OF_THE_HEAD & found.keys()):
        least.append(BROAD * min(x1 - x0, y1 - y0) / HEAD)
    return max(least)


def _middle(known: Mapping[str, Point], side: float) -> Point:
    """The middle of the face: of its points, or below the top of the head."""
    points = [known[name] for name in FACE[:-1] if name in known]
    if points:
        return float(np.mean([x for x, _ in points])), float(np.mean([y for _, y in points]))
    x, y = known["head"]
    down = ABOVE / HEAD * side
    if "neck" not in known or known["neck"] == known["head"]:
        return x, y + down
    towards = known["neck"]
    share = down / dist(known["head"], towards)
    return x + share * (towards[0] - x), y + share * (towards[1] - y)
