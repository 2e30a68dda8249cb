"""What of a video can still be found in its anonymized copy: figures, and no verdict.

Both files are decoded side by side, a few frames at a time, at no more than ``side`` pixels, and
compared picture by picture. Every group of figures says in ``limits`` what it cannot tell. No
picture is stored. See docs/check.md for how to read them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from velatura.deploy.anonymizer import scaled
from velatura.deploy.faces import FaceDetector, iou
from velatura.errors import BadInput
from velatura.video.probe import probe
from velatura.video.read import Damaged, Frame, read_frames

__all__ = ["SCHEMA", "check"]

SCHEMA = "velatura-check/1"

PLACE = 0.3  # IoU of two boxes, from which on they are the same place
FLAT = 0.1  # levels of 255; what varies less is one colour, and correlates with nothing
BLANK = 2.0  # levels; a source picture that varies less has nothing to hide
ALIKE = 2.0  # mean levels of difference, below which a frame passed through
CHANGED = 8.0  # mean levels of difference, from which on a block was changed
BLOCK = 16  # pixels of a block
STILL = 3.0  # levels from frame to frame, up to which a pixel of the source stands still
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

LIMITS = {
    "frames": "Sound, metadata and other streams are not looked at here.",
    "faces": "A face that this detector does not find may be plain to a person, or to another "
    "detector; one that is found may be a drawing of one. It says nothing of whose face it is, "
    "nor of gait, clothes, bodies or places. Where regions were anonymized by this same "
    "detector, faces that it missed then are missed here too.",
    "likeness": "Linear likeness of brightness, at the size looked at: a picture that is mirrored, "
    "moved, or coloured anew can show all there is with a figure near 0, and networks read "
    "people from pictures with low figures. Where only regions are anonymized it is near 1 by "
    "intent, and changed_area is the figure to read.",
    "motion": "Neither good nor bad: actions are read from motion, and so is a person's gait. A "
    "low figure does not mean that motion is unreadable.",
    "flicker": "Changes of brightness that a straight line over three frames does not explain, "
    "whatever their cause; not matched along the motion of things. Slow drifts and jumps that "
    "happen once are hardly seen. It says how an output looks, not what it hides.",
}


def check(
    source: str | Path,
    destination: str | Path,
    *,
    detector: Any = None,
    every: int = 5,
    limit: int | None = None,
    threshold: float = 0.2,
    side: int = 640,
    start: float = 0.0,
    end: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Compare a video with its anonymized copy, frame by frame.

    Args:
        source, destination: video files; the second made from the first.
        detector: of faces, with ``name`` and ``detect`` as ``FaceDetector``; None is the
            built-in one, if it is installed.
        every: faces are looked for in each n-th frame; 0 looks for none. All other figures are
            of every frame.
        limit: compare so many frames at most.
        threshold: of a face's score.
        side: pixels of the longer side at which frames are compared.
        start, end: seconds of the source that the copy shows, as ``anonymize_video``.
        progress: called with the number of frames compared.

    Returns:
        Numbers, texts, lists and dicts only, as JSON has them: ``frames``, ``faces``,
        ``likeness``, ``motion`` and ``flicker``, each with its ``limits``. What cannot be
        computed is None. Correlations are absolute values: a negative shows as much.

    Raises:
        BadInput: a file that is no readable video; a number out of range.
        Failure: the detector answered something that is not a number.
    """
    if every < 0 or side < BLOCK or (limit is not None and limit < 1) or not 0 < threshold < 1:
        raise BadInput(
            f"A check needs every >= 0, side >= {BLOCK}, limit >= 1 and 0 < threshold < 1; "
            f"got {every}, {side}, {limit} and {threshold}."
        )
    before, after = probe(source), probe(destination)
    size = scaled(before.height, before.width, _short(before.height, before.width, side))
    faces = _Faces(detector, every, threshold, side)
    likeness, motion, flicker = _Likeness(), _Motion(), _Flicker()
    ins, outs = _Span(source, size, start, end), _Span(destination, size, 0.0, None)
    compared = 0
    furthest = Fraction(0)
    for number in count():
        if limit is not None and compared == limit:
            break
        ins.step()
        outs.step()
        if ins.now is None and outs.now is None:
            break
        if ins.now is None or outs.now is None:
            continue  # to the end of the longer one, to count it
        furthest = max(furthest, abs(ins.shown - outs.shown))
        pair = ins.now.image, outs.now.image
        faces.add(number, *pair)
        grey = pair[0] @ LUMA, pair[1] @ LUMA
        likeness.add(number, *pair, *grey)
        motion.add(number, *grey)
        flicker.add(*grey)
        compared += 1
        if progress is not None:
            progress(compared)
    ended = ins.now is None and outs.now is None
    frames = {
        "compared": compared,
        "source": ins.count if ended else None,
        "output": outs.count if ended else None,
        "same_number": ins.count == outs.count if ended else None,
        "largest_time_difference": round(float(furthest), 6),  # seconds
        "same_size": (before.width, before.height) == (after.width, after.height),
        "looked_at": [size[1], size[0]],  # width, height in pixels
        "damage": ins.damage or outs.damage,
        "limits": LIMITS["frames"],
    }
    return {
        "schema": SCHEMA,
        "frames": frames,
        "faces": faces.figures(),
        "likeness": likeness.figures(),
        "motion": motion.figures(),
        "flicker": flicker.figures(),
    }


class _Span:
    """The frames of a file from one second to another; what decodes of a damaged one.

    Attributes:
        now: the current frame; None before the first and behind the last.
        shown: when it is, in seconds; from the span's first frame on, where it has a start.
        count: frames so far.
        damage: one sentence, where the file broke off.
    """

    def __init__(
        self, path: str | Path, size: tuple[int, int], start: float, end: float | None
    ) -> None:
        self.path, self.size = path, size
        self.start, self.end = Fraction(str(start)), None if end is None else Fraction(str(end))
        self.now: Frame | None = None
        self.shown = Fraction(0)
        self.count = 0
        self.damage = ""
        self._origin: Fraction | None = None if start else Fraction(0)
        self._frames = self._read()

    def step(self) -> None:
        self.now = next(self._frames, None)
        if self.now is not None:
            at = self.now.pts * self.now.time_base
            if self._origin is None:
                self._origin = at
            self.shown = at - self._origin
            self.count += 1

    def _read(self) -> Iterator[Frame]:
        try:
            for frame in read_frames(self.path, self.size):
                at = frame.pts * frame.time_base
                if self.end is not None and at >= self.end:
                    return
                if at >= self.start:
                    yield frame
        except Damaged as damage:
            self.damage = str(damage)


class _Faces:
    """Faces of the source, of the output, and of the output where the source has one."""

    def __init__(self, detector: Any, every: int, threshold: float, side: int) -> None:
        self.every, self.threshold = every, threshold
        self.reason = "" if every else "Faces were not asked for."
        self.detector = detector
        if every and detector is None:
            try:
                self.detector = FaceDetector(side=side)
            except BadInput as error:
                self.reason = str(error)
        self.looked = self.same = 0
        self.faces, self.frames = [0, 0], [0, 0]  # of the source, of the output

    def add(self, number: int, before: np.ndarray, after: np.ndarray) -> None:
        if self.reason or number % self.every:
            return
        found = self.detector.detect(np.stack([before, after]), self.threshold)
        for i, boxes in enumerate(found):
            self.faces[i] += len(boxes)
            self.frames[i] += len(boxes) > 0
        self.looked += 1
        self.same += _matches(found[0], found[1])

    def figures(self) -> dict[str, Any]:
        if self.reason:
            return {"available": False, "reason": self.reason, "limits": LIMITS["faces"]}
        return {
            "available": True,
            "detector": self.detector.name,
            "threshold": self.threshold,
            "frames": self.looked,
            "source": self._found(0),
            "output": self._found(1),
            "same_place": {"faces": self.same, "share": _ratio(self.same, self.faces[0])},
            "limits": LIMITS["faces"],
        }

    def _found(self, i: int) -> dict[str, Any]:
        return {
            "faces": self.faces[i],
            "frames": self.frames[i],
            "share_of_frames": _ratio(self.frames[i], self.looked),
        }


class _Likeness:
    """How much of each picture is still in its answer."""

    def __init__(self) -> None:
        self.picture, self.detail, self.area = _Series(), _Series(), _Series()
        self.alike: list[int] = []
        self.blank = 0

    def add(
        self,
        number: int,
        before: np.ndarray,
        after: np.ndarray,
        grey_before: np.ndarray,
        grey_after: np.ndarray,
    ) -> None:
        self.picture.add(number, _correlation([grey_before], [grey_after]))
        # What is left of fine detail when blur, brightness and contrast no longer count.
        self.detail.add(number, _correlation(_gradients(grey_before), _gradients(grey_after)))
        if grey_before.std() < BLANK:
            self.blank += 1
            return
        apart = (np.maximum(before, after) - np.minimum(before, after)).mean(-1, dtype=np.float32)
        if apart.mean() < ALIKE:
            self.alike.append(number)
        self.area.add(number, float((_blocks(apart) >= CHANGED).mean()))

    def figures(self) -> dict[str, Any]:
        looked = len(self.area.values)
        return {
            "picture": self.picture.figures(),
            "detail": self.detail.figures(),
            "nearly_identical": {
                "frames": len(self.alike),
                "share": _ratio(len(self.alike), looked),
                "first": self.alike[:10],
                "levels": ALIKE,
            },
            "changed_area": self.area.lowest(),
            "blank": self.blank,
            "limits": LIMITS["likeness"],
        }


class _Motion:
    """How much of the changes from frame to frame is still there."""

    def __init__(self) -> None:
        self.changes, self.outline = _Series(), _Series()
        self.last: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, number: int, before: np.ndarray, after: np.ndarray) -> None:
        if self.last is not None:
            change = before - self.last[0]
            self.changes.add(number, _correlation([change], [after - self.last[1]]))
            # Some anonymizers draw the change itself.
            self.outline.add(number, _correlation([np.abs(change)], [after]))
        self.last = before, after

    def figures(self) -> dict[str, Any]:
        return {
            "changes": self.changes.figures(),
            "outline": self.outline.figures(),
            "limits": LIMITS["motion"],
        }


class _Flicker:
    """Second differences in time: 0 where brightness stands still or changes evenly.

    The usual measure is the warped difference: the last output, moved along the optical flow of
    the source, against this one (Lai et al., "Learning Blind Video Temporal Consistency", 2018,
    https://arxiv.org/abs/1808.00449, section 4.1). A flow good enough for it takes a network or a
    second a frame, and its errors enter the figure. Where nothing moves, the flow is 0 without
    being estimated: ``still`` is that measure there. ``ratio`` takes all pixels, and has the
    source's own changes, moving things among them, as its unit.
    """

    def __init__(self) -> None:
        self.last: list[tuple[np.ndarray, np.ndarray]] = []
        self.total = [0.0, 0.0]  # of the source, of the output: sums over frames of means
        self.still = [0.0, 0.0]  # sums over still pixels
        self.pixels = self.triples = self.area = 0

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        self.last = [*self.last[-2:], (before, after)]
        if len(self.last) < 3:
            return
        bends = []
        for i in range(2):
            first, middle, latest = (pair[i] for pair in self.last)
            bends.append(np.abs(latest - 2 * middle + first))
            self.total[i] += float(bends[i].mean())
        (a, _), (b, _), (c, _) = self.last
        still = (np.abs(b - a) <= STILL) & (np.abs(c - b) <= STILL)
        for i in range(2):
            self.still[i] += float(bends[i][still].sum(dtype=np.float64))
        self.pixels += int(still.sum())
        self.area = before.size
        self.triples += 1

    def figures(self) -> dict[str, Any]:
        n = self.triples
        return {
            "ratio": _ratio(self.total[1] / n, self.total[0] / n, FLAT / 10) if n else None,
            "source": _ratio(self.total[0], n),  # levels of 255
            "output": _ratio(self.total[1], n),
            "still": {
                "share": _ratio(self.pixels, n * self.area),
                "source": _ratio(self.still[0], self.pixels),
                "output": _ratio(self.still[1], self.pixels),
            },
            "limits": LIMITS["flicker"],
        }


class _Series:
    """One figure per frame; 16 bytes each are kept."""

    def __init__(self) -> None:
        self.values, self.numbers = array("d"), array("q")
        self.flat = 0

    def add(self, number: int, value: float | None) -> None:
        if value is None:
            self.flat += 1
        else:
            self.values.append(value)
            self.numbers.append(number)

    def figures(self) -> dict[str, Any]:
        """Where it is highest; ``flat`` counts frames that have no figure."""
        found: dict[str, Any] = dict.fromkeys(("median", "p95", "max", "at"))
        if len(self.values):
            found["median"], found["p95"] = self._percentiles(50, 95)
            found["max"] = round(max(self.values), 4)
            found["at"] = self.numbers[int(np.argmax(self.values))]
        return found | {"frames": len(self.values), "flat": self.flat}

    def lowest(self) -> dict[str, Any]:
        """Where it is lowest."""
        found: dict[str, Any] = dict.fromkeys(("median", "p5", "min", "at"))
        if len(self.values):
            found["median"], found["p5"] = self._percentiles(50, 5)
            found["min"] = round(min(self.values), 4)
            found["at"] = self.numbers[int(np.argmin(self.values))]
        return found | {"frames": len(self.values)}

    def _percentiles(self, *which: int) -> list[float]:
        return [round(float(v), 4) for v in np.percentile(self.values, which)]


def _correlation(a: list[np.ndarray], b: list[np.ndarray]) -> float | None:
    """|r| of Pearson over the pixels of one or two planes; None where either is flat."""
    shared = energy_a = energy_b = 0.0
    for plane, other in zip(a, b, strict=True):
        x, y = (plane - plane.mean()).ravel(), (other - other.mean()).ravel()
        shared += float(x @ y)
        energy_a += float(x @ x)
        energy_b += float(y @ y)
    if min(energy_a, energy_b) < FLAT**2 * sum(plane.size for plane in a):
        return None
    return min(1.0, abs(shared) / (energy_a * energy_b) ** 0.5)


def _gradients(grey: np.ndarray) -> list[np.ndarray]:
    """Differences of neighbours, down and to the right."""
    return [np.diff(grey, axis=0), np.diff(grey, axis=1)]


def _blocks(plane: np.ndarray) -> np.ndarray:
    """Means over blocks of a plane; those at its edge may be smaller."""
    rows, columns = (np.arange(0, side, BLOCK) for side in plane.shape)
    sums = np.add.reduceat(np.add.reduceat(plane, rows, axis=0), columns, axis=1)
    tall, wide = (
        np.diff([*at, side]) for at, side in zip((rows, columns), plane.shape, strict=True)
    )
    return sums / (tall[:, None] * wide)


def _matches(a: np.ndarray, b: np.ndarray) -> int:
    """How many boxes of ``a`` have one of ``b`` at their place, each used once, best first."""
    overlap = iou(a[:, :4], b[:, :4])
    found = 0
    while overlap.size and overlap.max() >= PLACE:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[row], overlap[:, column] = 0, 0
        found += 1
    return found


def _short(height: int, width: int, long: int) -> int:
    """The shorter side of a picture whose longer side is shrunk to ``long`` pixels."""
    return max(1, round(min(height, width) * min(1.0, long / max(height, width))))


def _ratio(part: float, whole: float, least: float = 0.0) -> float | None:
    return round(part / whole, 4) if whole > least else None
