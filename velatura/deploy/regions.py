"""Only parts of the picture are anonymized: faces that a detector finds, or boxes from a file.

What a detector misses is not hidden, so all here errs towards hiding too much. Boxes are grown,
and carried forwards and backwards in time across the frames where the detector lost a face; a
frame for which nothing is left to hide is anonymized whole. Whoever wants such frames as they
are has to ask for it, and they are counted. See docs/regions.md.

What is drawn in a region may also be an anonymizer of velatura/regions, which training images
share: ``fill="removal"``.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from velatura import regions as shared
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.faces import FaceDetector, iou
from velatura.errors import BadInput, Failure, unknown
from velatura.regions import Region, touched
from velatura.regions._cells import edges, means, mosaic
from velatura.video.resize import resize

__all__ = [
    "PICTURES", "SCHEMA", "Counts", "Regions", "fills", "read_boxes", "read_picture_boxes",
]  # fmt: skip

SCHEMA = "velatura-boxes/1"
PICTURES = "velatura-picture-boxes/1"
FILLS = ("pixelate", "blur", "noise", "black")
MISSING = ("whole", "black", "keep")

SAME = 0.3  # IoU of two boxes, from which on they are of one face
DRIFT = 0.05  # of its side, by which a box grows further for each frame away from a detection
MEGABYTES = 64  # of a boxes file at most
MOST = 1000  # boxes of one frame at most
SAMPLES = 64  # points along each side, by which two pictures are compared for a cut


@dataclass
class Counts:
    """What was done to the frames of one video.

    Attributes:
        frames: answered so far.
        regions: in which regions were anonymized.
        carried: how many of them only because of boxes from other frames.
        whole: anonymized whole, since there was nothing to hide in them.
        black: painted black for that reason.
        kept: left as they were for that reason.
        cuts: scenes that began, other than the first.
    """

    frames: int = 0
    regions: int = 0
    carried: int = 0
    whole: int = 0
    black: int = 0
    kept: int = 0
    cuts: int = 0


def fills() -> list[str]:
    """What a region can be filled with: the four of this file, and velatura/regions but for what
    wants a file of its own."""
    return [*FILLS, *sorted(set(shared.names()) - {*FILLS, "diffusion", "gan"})]


class Regions(Anonymizer):
    """Anonymize faces, or the boxes of a file, and leave the other pixels as they are.

    It works at the video's own size. One object is for one video at a time; ``counts`` is of the
    last one, and complete once all of its frames are answered.

    Attributes:
        counts: what was done to the frames.
        ahead: how many frames after a frame its result depends on; ``past`` is as many before.
    """

    def __init__(
        self,
        source: str | Path = "faces",
        *,
        fill: str = "pixelate",
        missing: str = "whole",
        cells: int = 6,
        dilate: float = 0.3,
        soft: bool = False,
        carry: int = 8,
        every: int = 1,
        threshold: float = 0.2,
        side: int = 960,
        threads: int = 0,
        detector: Any = None,
        first: int = 0,
    ):
        """Read the boxes, or load the detector.

        Args:
            source: ``"faces"``, or a file of boxes (``read_boxes``).
            fill: of a region: ``"pixelate"``, the mean colour of each cell; ``"blur"``, the same
                cells, drawn smoothly; ``"noise"``, cells of colours drawn by lot; ``"black"``; or
                another name of ``fills()``.
            missing: what becomes of a frame without regions: ``"whole"``, all of it is one
                region; ``"black"``; ``"keep"``, it stays as it is.
            cells: along the shorter side of a region, dilation included.
            dilate: how far a box grows on each of its four sides, as a share of that side.
            soft: fade the region out over the outer half of what was dilated.
            carry: frames over which a box holds, before and after.
            every: look for faces in each n-th frame only; carried boxes cover those between.
            threshold: of the detector's score.
            side: pixels of the longer side at which the detector looks.
            threads: of the CPU for the detector; 0 is all.
            detector: to use in place of the built-in one; anything with ``name``, ``digest``,
                ``device`` and ``detect`` as ``FaceDetector`` has them.
            first: the number, in the file of boxes, of the first frame of the video.

        Raises:
            BadInput: an unknown name; an unusable number or file; the detector is not installed.
        """
        if fill not in fills():
            raise unknown("fill", fill, fills())
        if missing not in MISSING:
            raise unknown("way with frames without regions", missing, MISSING)
        if not 1 <= cells <= 16:
            raise BadInput(f"Cells along a region's shorter side must be 1 to 16, got {cells}.")
        if not 0 <= dilate <= 4:
            raise BadInput(f"A box may be dilated by 0 to 4 of its side, got {dilate}.")
        if not 0 <= carry <= 64:
            raise BadInput(f"A box can be carried over 0 to 64 frames, got {carry}.")
        if not 1 <= every <= carry + 1:
            raise BadInput(
                f"Faces must be looked for in each n-th frame, n from 1 to {carry + 1} "
                f"(carry and one), got {every}."
            )
        if not 0 < threshold < 1:
            raise BadInput(f"A score to count as a face must be between 0 and 1, got {threshold}.")
        if first < 0:
            raise BadInput(f"Frames are numbered from 0, got {first}.")
        self.fill, self.missing, self.cells, self.soft = fill, missing, cells, soft
        self.dilate, self.carry, self.every, self.first = dilate, carry, every, first
        self.threshold = threshold
        self._painter = None if fill in FILLS else shared.load(fill)
        if self._painter is not None:
            self.dilate += self._painter.reach
        self._boxes: dict[int, np.ndarray] | None = None
        self._detector: Any = None
        if str(source) == "faces":
            self._detector = detector or FaceDetector(side=side, threads=threads)
            self.device = self._detector.device
            origin, kind = f"{self._detector.digest}:{threshold}:{side}:{every}", "faces"
        else:
            self._boxes, origin = read_boxes(source)
            self.device, kind = "cpu", "boxes"
        self.name = f"{kind}:{fill}"
        settings = (fill, missing, cells, dilate, soft, carry, first)
        self.digest = hashlib.sha256(f"{origin}:{settings}".encode()).hexdigest()[:16]
        self.keeps = missing == "keep"
        self.past = self.ahead = carry
        self.counts = Counts()
        self._lost = False  # a run over boxes by number ended midway

    def work_size(self, height: int, width: int) -> tuple[int, int]:
        """The video's own size.

        Raises:
            BadInput: a box of the file lies outside such a picture.
        """
        for number, boxes in (self._boxes or {}).items():
            # Half a pixel: whoever rounds a box to the picture's edge is right.
            if len(boxes) and (boxes[:, 2:] > np.array([width, height]) + 0.5).any():
                raise BadInput(
                    f"The boxes of frame {number} reach beyond the picture of {width}x{height} "
                    "pixels; they are of another video, or of another size of it."
                )
        return height, width

    def describe(self) -> dict[str, Any]:
        """As ``Anonymizer.describe``; once a video is done, with its counts."""
        described = super().describe() | {"missing": self.missing}
        if self._detector is not None:
            described["detector"] = f"{self._detector.name}, threshold {self.threshold:g}"
        return described | {"counts": asdict(self.counts)}

    def process(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Consecutive batches of one video, (T, H, W, 3) uint8 RGB; ``carry`` frames late.

        Yields:
            (1, H, W, 3) uint8 each, in order. Outside the regions pixels are what they were.

        Raises:
            Failure: the detector answered something unusable; an earlier run with this object
                and a file of boxes broke off, so that its boxes can no longer be told apart.
            BadInput: as ``work_size``.
        """
        if not self._lost:
            self.counts = Counts()
        elif self._boxes is not None:
            next(iter(batches), None)
            raise Failure("The boxes of a file fit no frames after a failure; begin anew.")
        self._lost = True  # until the end is reached
        window = _Window(self.carry)
        waiting: deque[tuple[int, np.ndarray]] = deque()
        number = self.first
        for frames in batches:
            self.work_size(*frames.shape[1:3])
            for frame, boxes in zip(frames, self._find(frames, number), strict=True):
                self.counts.cuts += window.add(number, frame, boxes)
                waiting.append((number, frame))
                number += 1
                if len(waiting) > self.carry:
                    yield self._answer(*waiting.popleft(), window)
        while waiting:
            yield self._answer(*waiting.popleft(), window)
        self._lost = False

    def _find(self, frames: np.ndarray, number: int) -> list[np.ndarray]:
        """Per frame (n, 4) boxes x0, y0, x1, y1, in pixels."""
        if self._boxes is not None:
            return [self._boxes.get(number + i, NONE) for i in range(len(frames))]
        found = [NONE] * len(frames)
        chosen = [i for i in range(len(frames)) if (number + i - self.first) % self.every == 0]
        if chosen:
            shown = frames if len(chosen) == len(frames) else frames[chosen]
            answers = self._detector.detect(shown, self.threshold)
            if len(answers) != len(chosen):
                raise Failure("The face detector answered another number of frames.")
            for i, boxes in zip(chosen, answers, strict=True):
                boxes = np.asarray(boxes, np.float64).reshape(-1, 5)[:, :4]
                if not np.isfinite(boxes).all():
                    raise Failure("The face detector answered a box that is not a number.")
                found[i] = boxes
        return found

    def _answer(self, number: int, frame: np.ndarray, window: _Window) -> np.ndarray:
        regions, seen = window.regions(number)
        self.counts.frames += 1
        height, width = frame.shape[:2]
        picture = frame.copy()
        places = []
        for order, (box, distance) in enumerate(regions):
            drift = DRIFT * distance
            outer = touched(_grown(box, self.dilate + drift), height, width)
            core = _pixels(_grown(box, self.dilate / 2 + drift), height, width)
            if outer is not None:  # some of it is in the picture
                places.append((order, outer, core if self.soft else outer))
        painted = self._painted(frame, [(order, outer) for order, outer, _ in places])
        changed = [self._paint(picture, painted, *place) for place in places]
        if changed:
            self.counts.regions += 1
            self.counts.carried += not seen
            if not any(changed):  # plain there already: hide that, too
                self._blot(picture, regions)
        elif self.missing == "keep":
            self.counts.kept += 1
        elif self.missing == "black":
            self.counts.black += 1
            picture[:] = 0
        else:
            self.counts.whole += 1
            whole = (0, 0, width, height)
            painted = self._painted(frame, [(0, whole)])
            if not self._paint(picture, painted, 0, whole, whole):
                picture[:] = 0
        return picture[None]

    def _painted(self, frame: np.ndarray, places: list[tuple[int, Rect]]) -> np.ndarray | None:
        """A frame as an anonymizer of velatura/regions draws all of its regions; else None."""
        if self._painter is None:
            return None
        return self._painter(frame, [Region(box, "face", id=order) for order, box in places])

    def _paint(
        self, picture: np.ndarray, painted: np.ndarray | None, order: int, outer: Rect, core: Rect
    ) -> bool:
        """Fill a rectangle of a picture in place; whether it looks other than before.

        Args:
            painted: what to fill it from, where that was drawn before.
            order: of the region in its frame.
            core: within it nothing of the picture is left; from there to the edge of ``outer``
                the fill fades out.
        """
        x0, y0, x1, y1 = outer
        part = picture[y0:y1, x0:x1]
        filled = self._filled(part, order) if painted is None else painted[y0:y1, x0:x1]
        if core != outer:
            there = _ramp(y0, y1, core[1], core[3])[:, None] * _ramp(x0, x1, core[0], core[2])
            there = there[..., None]
            filled = np.rint(there * filled + (1 - there) * part).astype(np.uint8)
        changed = not np.array_equal(part, filled)
        part[:] = filled
        return changed

    def _filled(self, part: np.ndarray, order: int) -> np.ndarray:
        """What stands in the place of a part: (h, w, 3) uint8 to the same."""
        if self.fill == "black":
            return np.zeros_like(part)
        height, width = part.shape[:2]
        rows, columns = edges(height, width, self.cells)
        if self.fill == "noise":
            # Of the region's number alone: still over time, and nothing of the picture in it.
            lot = np.random.default_rng(order)
            colours = lot.integers(0, 256, (len(rows) - 1, len(columns) - 1, 3), np.uint8)
        else:
            colours = means(part, rows, columns)
        if self.fill == "blur":
            return resize(colours, (height, width), "bilinear")
        return mosaic(colours, rows, columns)

    def _blot(self, picture: np.ndarray, regions: list[tuple[np.ndarray, int]]) -> None:
        """Make a frame differ, whose regions were of one colour each: black, or else grey."""
        height, width = picture.shape[:2]
        for box, distance in regions:
            x0, y0, x1, y1 = _pixels(_grown(box, self.dilate + DRIFT * distance), height, width)
            part = picture[y0:y1, x0:x1]
            part[:] = 0 if part.any() else 128


Rect = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, the last two outside
NONE = np.zeros((0, 4))


@dataclass(eq=False)
class _Detection:
    """A box in one frame, and the same face's next ones in time as far as it can be told."""

    number: int
    shot: int
    box: np.ndarray
    before: _Detection | None = None
    after: _Detection | None = None


@dataclass
class _Window:
    """The detections around a frame, linked over time; the same, run backwards.

    A detection's neighbour after it is the box that overlaps it most, in the nearest later frame
    that has one that does; before it likewise. Where two are each other's neighbours, the face is
    followed by straight lines between them. Where a detection has no such neighbour, its box
    stays for ``carry`` frames. Neither reaches across a cut.
    """

    carry: int
    shots: dict[int, int] = field(default_factory=dict)  # of each frame in reach
    found: deque[_Detection] = field(default_factory=deque)  # by frame
    look: np.ndarray | None = None

    def add(self, number: int, frame: np.ndarray, boxes: np.ndarray) -> bool:
        """Take the next frame; whether a scene begins with it.

        Args:
            boxes: (n, 4) x0, y0, x1, y1.
        """
        look = _look(frame)
        cut = self.look is not None and _cut(self.look, look)
        self.look = look
        shot = self.shots[number] = self.shots.get(number - 1, 0) + cut
        self.shots.pop(number - 2 * self.carry - 2, None)
        while self.found and self.found[0].number < number - 2 * self.carry - 1:
            self.found.popleft()
        new = [_Detection(number, shot, box) for box in boxes]
        reach = [d for d in self.found if d.shot == shot and d.number >= number - self.carry - 1]
        if new and reach:
            overlap = iou(np.stack([d.box for d in reach]), boxes)
            for row, old in enumerate(reach):
                if old.after is None and overlap[row].max() >= SAME:
                    old.after = new[int(overlap[row].argmax())]
            for column, young in enumerate(new):
                near = [r for r in range(len(reach)) if overlap[r, column] >= SAME]
                if near:
                    best = max(near, key=lambda r: (reach[r].number, overlap[r, column]))
                    young.before = reach[best]
        self.found.extend(new)
        return bool(cut)

    def regions(self, number: int) -> tuple[list[tuple[np.ndarray, int]], bool]:
        """The boxes of a frame, each with the frames between it and the nearest detection.

        Returns:
            The boxes, and whether one of them was found in this very frame.
        """
        boxes = []
        seen = False
        for d in self.found:
            away = d.number - number
            if abs(away) > self.carry or d.shot != self.shots[number]:
                continue
            linked = d.after is not None and d.after.before is d
            if away == 0:
                boxes.append((d.box, 0))
                seen = True
            elif away < 0 and linked:
                assert d.after is not None
                left = d.after.number - number
                if left > 0:
                    box = (d.box * left - d.after.box * away) / (left - away)
                    boxes.append((box, min(left, -away)))
            elif away < 0 or d.before is None or d.before.after is not d:
                boxes.append((d.box, abs(away)))
        # In an order of their own: where two overlap, the later is drawn over the earlier.
        return sorted(boxes, key=lambda region: region[0].tolist()), seen


def read_boxes(path: str | Path) -> tuple[dict[int, np.ndarray], str]:
    """A file of boxes: ``{"schema": "velatura-boxes/1", "frames": {"0": [[x0, y0, x1, y1]]}}``.

    Frames are numbered from 0 in the order shown; boxes are in pixels of the upright picture,
    x0 < x1 and y0 < y1. Frames without boxes may be left out.

    Returns:
        Per frame (n, 4) float64; and the SHA-256 of the file.

    Raises:
        BadInput: anything else, in one sentence that names the place.
    """
    frames, digest = _content(Path(path), SCHEMA, "frames", "frame numbers")
    found = {}
    for key, boxes in frames.items():
        if not (key.isascii() and key.isdigit() and str(int(key[:18])) == key):
            raise BadInput(f"{path} names frame {key[:40]!r}; expected a number such as '0'.")
        found[int(key)] = _boxes(boxes, f"{path}, frame {key}")
    return found, digest


def read_picture_boxes(path: str | Path) -> tuple[dict[str, np.ndarray], str]:
    """As ``read_boxes``, of many pictures: ``{"schema": "velatura-picture-boxes/1", "pictures":
    {"a.jpg": [[x0, y0, x1, y1]]}}``, by the names of their files.
    """
    pictures, digest = _content(Path(path), PICTURES, "pictures", "names of pictures")
    found = {name: _boxes(boxes, f"{path}, {name}") for name, boxes in pictures.items()}
    return found, digest


def _content(path: Path, schema: str, key: str, what: str) -> tuple[dict[str, Any], str]:
    """The one object that a file of boxes has beside its schema; and the SHA-256 of the file."""
    if not path.is_file():
        raise BadInput(f"There is no file {path}; regions are 'faces', or a JSON file of boxes.")
    try:
        if path.stat().st_size > MEGABYTES * 2**20:
            raise BadInput(f"{path} is larger than {MEGABYTES} MiB; split it.")
        stored = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    try:
        content = json.loads(
            stored.decode(), object_pairs_hook=_without_repeats, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not a file of boxes: {error}.") from error
    if not isinstance(content, dict) or content.get("schema") != schema:
        raise BadInput(f'{path} must be one object with "schema": "{schema}".')
    if odd := sorted(set(content) - {"schema", key}):
        raise BadInput(f"{path} has the unknown key {odd[0]!r}; known are 'schema' and {key!r}.")
    found = content.get(key)
    if not isinstance(found, dict):
        raise BadInput(f"{path} must have an object {key!r}, from {what} to boxes.")
    return found, hashlib.sha256(stored).hexdigest()


def _boxes(boxes: Any, where: str) -> np.ndarray:
    """The checked boxes of a frame, (n, 4) float64."""
    if not isinstance(boxes, list) or len(boxes) > MOST:
        raise BadInput(f"{where}: expected a list of at most {MOST} boxes.")
    for box in boxes:
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            raise BadInput(f"{where}: expected [x0, y0, x1, y1] in pixels, got {_short(box)}.")
        x0, y0, x1, y1 = box
        if min(x0, y0) < 0:
            raise BadInput(f"{where}: the box {_short(box)} begins outside the picture.")
        if x1 <= x0 or y1 <= y0:
            raise BadInput(f"{where}: the box {_short(box)} must have x0 < x1 and y0 < y1.")
    return np.array(boxes, np.float64).reshape(-1, 4)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # all but the last would be lost, and faces with them
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"it has the key {twice[:40]!r} twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _grown(box: np.ndarray, share: float) -> np.ndarray:
    """A box, larger by a share of its side on each of the four."""
    more = share * (box[2:] - box[:2])
    return np.concatenate([box[:2] - more, box[2:] + more])


def _pixels(box: np.ndarray, height: int, width: int) -> Rect:
    """All pixels of the picture that a box touches."""
    x0, y0 = np.floor(box[:2]).clip(0, [width, height]).astype(int).tolist()
    x1, y1 = np.ceil(box[2:]).clip(0, [width, height]).astype(int).tolist()
    return x0, y0, x1, y1


def _ramp(start: int, stop: int, low: int, high: int) -> np.ndarray:
    """(stop - start,): 1 from ``low`` to before ``high``, and down towards both ends."""
    middle = np.arange(start, stop) + 0.5
    up = (middle - start) / max(low - start, 1e-9)
    down = (stop - middle) / max(stop - high, 1e-9)
    return np.minimum(up, down).clip(0, 1).astype(np.float32)


def _look(frame: np.ndarray) -> np.ndarray:
    """A picture's brightness in 16 x 16 fields, from points spread over it: (16, 16) float32."""
    height, width = frame.shape[:2]
    rows = np.arange(SAMPLES) * height // SAMPLES
    columns = np.arange(SAMPLES) * width // SAMPLES
    grey = frame[rows[:, None], columns].mean(-1, dtype=np.float32)
    return grey.reshape(16, SAMPLES // 16, 16, SAMPLES // 16).mean((1, 3))


def _cut(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a scene ends between two pictures: brightness is elsewhere, not just other.

    Rather seldom: boxes carried over a cut hide too much, boxes dropped at none hide too little.
    A flash or a fade keeps where bright and dark are, so it does not count.
    """
    if np.abs(a - b).mean() < 20:
        return False
    spread = a.std() * b.std()
    return bool(spread < 1 or ((a - a.mean()) * (b - b.mean())).mean() / spread < 0.5)
