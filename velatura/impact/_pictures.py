"""A data set in COCO's form as training and evaluation look at it: square pictures, and what is in
them; and batches that depend on the seed and the step alone.

All arms of a comparison have the same annotations, so all see the same pictures in the same order,
turned and coloured alike. In the place of a picture that an arm lacks stands the next one that it
has; everything else stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from velatura.config import config
from velatura.deploy.image import read_image
from velatura.detectors import Target
from velatura.errors import BadInput
from velatura.impact import _runs, _where
from velatura.impact._coco import Dataset, Entry, Instance, parsed
from velatura.impact.anonymize import SETTINGS, SUMMARY, as_annotated
from velatura.training.seed import generator

__all__ = ["Augment", "Example", "Lesson", "Pictures", "arm", "example", "lesson", "survey"]

GREY = 127  # beyond a picture's edge
SHOWN = 0.3  # of a box that must be in the picture to be learnt
LOTS = 10  # numbers that decide how one picture is varied


@config
class Augment:
    """How pictures are varied in training, each anew in every step."""

    flip: bool = True
    """Every other picture is a mirror image; left and right keypoints change places."""
    zoom: Annotated[float, Field(ge=0, le=3)] = 0.25
    """Pictures are enlarged or reduced up to one and this much."""
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Pictures are moved up to this share of their side."""
    colour: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Brightness and contrast change up to this much, and each colour up to half of it."""


class Lesson(NamedTuple):
    """What is to be learnt.

    Attributes:
        categories: names.
        points: names of keypoints; () where they are not learnt.
        tasks: of ``velatura.detectors.TASKS``.
    """

    categories: tuple[str, ...]
    points: tuple[str, ...]
    tasks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Example:
    """One picture, fitted into a square, and what is in it, in the pixels of the square.

    Attributes:
        image: (S, S, 3) uint8 RGB, the picture at the top left, grey beside it.
        size: height and width of the picture as it was.
        inner: of what it fills of the square.
        boxes, labels, masks, keypoints, ignore: as ``Target`` has them; masks are (n, S, S) uint8.
    """

    image: np.ndarray
    size: tuple[int, int]
    inner: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None
    keypoints: np.ndarray | None
    ignore: np.ndarray

    @property
    def nbytes(self) -> int:
        """Of memory."""
        parts = (self.image, self.boxes, self.masks, self.keypoints)
        return sum(part.nbytes for part in parts if part is not None)


def lesson(data: Dataset, tasks: Sequence[str]) -> Lesson:
    """What a data set can teach.

    Raises:
        BadInput: no keypoints where they are to be learnt, or different ones for two categories.
    """
    if "keypoints" not in tasks:
        return Lesson(data.categories, (), tuple(tasks))
    several = {data.points[name] for name in data.categories if name in data.points}
    if not several:
        raise BadInput(
            f"{_files(data)} names no keypoints of {', '.join(data.categories)}; "
            "name a file that does, or leave the task keypoints out."
        )
    if len(several) > 1:
        raise BadInput(
            f"{', '.join(sorted(data.points))} have different keypoints; choose one --category."
        )
    return Lesson(data.categories, several.pop(), tuple(tasks))


def _files(data: Dataset) -> str:
    return ", ".join(str(name) for name in data.documents)


def arm(data: Dataset) -> dict[str, Any] | None:
    """What ``velatura impact anonymize`` says of a copy that it made; None of any other folder.

    It says so in the data set's folder, or, if somebody names the images of a copy alone, between
    that and them.

    Returns:
        The method, the regions and the share of instances that were hidden.

    Raises:
        BadInput: the copy is not finished.
    """
    places = [data.root / place for place in (data.images, *data.images.parents)]
    root = next((p for p in places if (p / SUMMARY).is_file() or (p / SETTINGS).is_file()), None)
    if root is None:
        return None
    path = root / SUMMARY
    if not path.is_file():
        raise BadInput(
            f"{root} is a copy that is not finished; give the command that makes it again."
        )
    said = parsed(path)
    if not isinstance(said, dict) or not str(said.get("schema")).startswith(
        "velatura-impact-anonymize/"
    ):
        return None
    return {key: said.get(key) for key in ("method", "regions", "seed", "instances", "images")}


def hides(said: dict[str, Any] | None) -> bool:
    """Whether somebody is hidden in a folder of which ``arm`` says this."""
    return said is not None and (said.get("method") or {}).get("name") != "none"


class Survey(NamedTuple):
    """What is there to learn from.

    Attributes:
        missing: places of pictures in the list that have no file.
        fingerprint: changes with any annotation, and any byte of a picture.
        annotations: changes with any annotation; the same for all arms.
        counts: images and instances, and what is not learnt of them.
    """

    missing: frozenset[int]
    fingerprint: str
    annotations: str
    counts: dict[str, Any]


def survey(data: Dataset, what: Lesson) -> Survey:
    """Look at every annotation and every file before anything is learnt.

    Raises:
        BadInput: nothing to learn for a task, or annotations that cannot be learnt from.
    """
    counts = {"learnt": 0, "crowds": 0, "flat": 0, "with a mask": 0, "with keypoints": 0}
    for entry in data.entries:
        for instance in entry.instances:
            if instance.rle is not None and "segmentation" in what.tasks:
                _runs.check(instance.id, instance.rle)
            if instance.crowd:
                counts["crowds"] += 1
            elif not _has_place(instance):
                counts["flat"] += 1
            else:
                counts["learnt"] += 1
                counts["with a mask"] += instance.polygons is not None or instance.rle is not None
                counts["with keypoints"] += _seen(instance, what) is not None
    _check_counts(data, what, counts)
    annotations = hashlib.sha256(json.dumps([what.categories, what.points]).encode())
    for document in data.documents.values():
        annotations.update(document if isinstance(document, bytes) else document.read_bytes())
    whole = annotations.copy()
    missing = set()
    for at, entry in enumerate(data.entries):
        path = data.root / data.images / entry.name
        if path.is_file():
            with open(path, "rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        else:
            missing.add(at)
            whole.update(b"missing")
    if len(missing) == len(data.entries):
        raise BadInput(f"None of the {len(missing)} pictures is in {data.root / data.images}.")
    images = {
        "total": len(data.entries),
        "missing": len(missing),
        "missing_share": round(len(missing) / len(data.entries), 6),
    }
    return Survey(
        frozenset(missing), whole.hexdigest()[:16], annotations.hexdigest()[:16],
        {"images": images, "instances": counts},
    )  # fmt: skip


def _check_counts(data: Dataset, what: Lesson, counts: dict[str, int]) -> None:
    where, names = _files(data), ", ".join(what.categories)
    if not counts["learnt"]:
        left = f"{counts['crowds']} crowds and {counts['flat']} boxes without area"
        raise BadInput(f"{where} has nobody to learn from: {left}, of {names}, and nothing else.")
    if "segmentation" in what.tasks and not counts["with a mask"]:
        raise BadInput(
            f"{where} has no masks of {names}; name a file that has, or leave the task "
            "segmentation out."
        )
    if "keypoints" in what.tasks and not counts["with keypoints"]:
        raise BadInput(
            f"{where} has no labelled keypoint of {names}; name a file that has, or leave the "
            "task keypoints out."
        )


def _has_place(instance: Instance) -> bool:
    if instance.box is None:
        return instance.polygons is not None or instance.rle is not None
    x0, y0, x1, y1 = instance.box
    return x1 > x0 and y1 > y0


def _seen(instance: Instance, what: Lesson) -> np.ndarray | None:
    """Keypoints, where there is a labelled one that is to be learnt."""
    known = instance.keypoints
    if known is None or len(known) != len(what.points) or not (known[:, 2:] > 0).any():
        return None
    return known


def example(data: Dataset, entry: Entry, what: Lesson, side: int) -> Example:
    """One picture of a data set.

    Raises:
        BadInput: it cannot be read, or its annotations are of another picture.
    """
    still = read_image(data.root / data.images / entry.name, by_profile=False)
    image, _ = as_annotated(still.pixels, still.turned, entry)
    size = image.shape[:2]
    height, width = size
    inner = tuple(max(1, round(length * side / max(size))) for length in size)
    scale = np.array([inner[1] / width, inner[0] / height] * 2, np.float32)
    square = np.full((side, side, 3), GREY, np.uint8)
    square[: inner[0], : inner[1]] = _resized(image, inner)
    boxes, labels, masks, points, ignore = [], [], [], [], []
    for instance in entry.instances:
        found = None
        if "segmentation" in what.tasks or instance.box is None:
            found = _where.masked(instance, height, width)
        box = instance.box or (found[0] if found else None)
        if box is None or box[2] <= box[0] or box[3] <= box[1]:
            continue
        place = np.array(box, np.float32).clip(0, [width, height, width, height])
        if (place[2:] <= place[:2]).any():
            continue
        if instance.crowd:
            ignore.append(place * scale)
            continue
        boxes.append(place * scale)
        labels.append(what.categories.index(instance.category))
        masks.append(_mask(found, size, inner, side))
        known = _seen(instance, what)
        if known is None:
            points.append(np.zeros((len(what.points), 3), np.float32))
        else:
            points.append((known * [*scale[:2], 1] * (known[:, 2:] > 0)).astype(np.float32))
    return Example(
        square, size, inner,  # type: ignore[arg-type]
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(masks, np.uint8).reshape(-1, side, side) if "segmentation" in what.tasks else None,
        np.array(points, np.float32).reshape(-1, len(what.points), 3) if what.points else None,
        np.array(ignore, np.float32).reshape(-1, 4),
    )  # fmt: skip


def _resized(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    way = cv2.INTER_AREA if size[0] < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=way)


def _mask(
    found: tuple[tuple[int, int, int, int], np.ndarray] | None,
    size: tuple[int, ...],
    inner: tuple[int, ...],
    side: int,
) -> np.ndarray:
    """(side, side) 0 or 1; all 0 where there is no mask."""
    square = np.zeros((side, side), np.uint8)
    if found is not None:
        (x0, y0, x1, y1), mask = found
        whole = np.zeros(size, np.float32)
        whole[y0:y1, x0:x1] = mask
        square[: inner[0], : inner[1]] = _resized(whole, inner) >= 0.5
    return square


# ------------------------------------------------------------------------------------- batches


class Pictures:
    """Batches for training: ``pictures.at(step)``.

    Args:
        data: the data set.
        what: is learnt.
        missing: places in its list without a file.
        side: of the squares.
        batch: pictures in a step.
        augment: how they are varied.
        seed: of order and variation.
        memory: bytes of pictures that are kept; the others are read again each time.
    """

    def __init__(
        self,
        data: Dataset,
        what: Lesson,
        missing: frozenset[int],
        side: int,
        batch: int,
        augment: Augment,
        seed: int,
        memory: int = 1 << 30,
    ):
        self.data, self.what, self.side, self.batch = data, what, side, batch
        self.augment, self.seed, self.room = augment, seed, memory
        count = len(data.entries)
        there = [at for at in range(count) if at not in missing]
        after = np.searchsorted(there, np.arange(count))
        self.stand_in = [there[at % len(there)] for at in after.tolist()]
        self.swap = mirrored(what.points)
        self._kept: dict[int, Example] = {}

    def order(self, step: int) -> list[int]:
        """Places in the list of the pictures of a step: one shuffled list behind the other."""
        count = len(self.data.entries)
        found: list[int] = []
        for place in range(step * self.batch, (step + 1) * self.batch):
            epoch, position = divmod(place, count)
            if not found or position == 0:
                shuffled = torch.randperm(count, generator=generator(self.seed, "order", epoch))
            found.append(int(shuffled[position]))
        return found

    def at(self, step: int) -> tuple[Float[Tensor, "b 3 h w"], list[Target]]:
        """The pictures of a step in [0, 1], and what is in them."""
        lots = torch.rand(self.batch, LOTS, generator=generator(self.seed, "augment", step))
        images, targets = [], []
        for at, lot in zip(self.order(step), lots.numpy(), strict=True):
            seen = varied(self._example(self.stand_in[at]), self.augment, lot, self.swap)
            images.append(torch.from_numpy(seen.image))
            targets.append(_target(seen))
        return torch.stack(images).permute(0, 3, 1, 2).float() / 255, targets

    def _example(self, at: int) -> Example:
        known = self._kept.get(at)
        if known is None:
            known = example(self.data, self.data.entries[at], self.what, self.side)
            if known.nbytes <= self.room:
                self.room -= known.nbytes
                self._kept[at] = known
        return known


def _target(seen: Example) -> Target:
    return Target(
        torch.from_numpy(seen.boxes),
        torch.from_numpy(seen.labels),
        None if seen.masks is None else torch.from_numpy(seen.masks).bool(),
        None if seen.keypoints is None else torch.from_numpy(seen.keypoints),
        torch.from_numpy(seen.ignore),
    )


def mirrored(points: Sequence[str]) -> list[int]:
    """For each keypoint, which one stands in its place in a mirror image: by its name."""
    places = {name: at for at, name in enumerate(points)}

    def other(name: str) -> str:
        for one, two in (("left", "right"), ("right", "left")):
            if one in name:
                return name.replace(one, two)
        return name

    return [places.get(other(name), at) for at, name in enumerate(points)]


def varied(seen: Example, cfg: Augment, lot: np.ndarray, swap: Sequence[int]) -> Example:
    """An example mirrored, enlarged, moved and coloured.

    Args:
        lot: ``LOTS`` numbers in [0, 1), which decide all of it.
        swap: as ``mirrored`` gives it.
    """
    side = len(seen.image)
    spread = 2 * lot.astype(np.float64) - 1
    flip = cfg.flip and lot[0] < 0.5
    zoom = (1 + cfg.zoom) ** spread[1]
    by = np.array([-zoom if flip else zoom, zoom])
    # The middle of the square stays, but for the shift.
    to = (side - side * by) / 2 + cfg.shift * side * spread[2:4]
    image, masks = seen.image, seen.masks
    if flip or cfg.zoom or cfg.shift:
        # OpenCV counts from the middle of the first pixel; everything else here from its edge.
        matrix = np.array([[by[0], 0, to[0]], [0, by[1], to[1]]])
        matrix[:, 2] += (by - 1) / 2
        way = cv2.INTER_LINEAR
        grey = (GREY,) * 3
        image = cv2.warpAffine(image, matrix, (side, side), flags=way, borderValue=grey)
        if masks is not None:
            turned = [
                cv2.warpAffine(255 * mask, matrix, (side, side), flags=way) > 127 for mask in masks
            ]
            masks = np.array(turned, np.uint8).reshape(masks.shape)
    whole, crowds = (_moved(boxes, by, to) for boxes in (seen.boxes, seen.ignore))
    boxes = whole.clip(0, side)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept = area >= SHOWN * (whole[:, 2:] - whole[:, :2]).prod(1)
    ignore = np.concatenate([boxes[~kept], crowds.clip(0, side)])
    points = seen.keypoints
    if points is not None:
        place = points[..., :2] * by + to
        there = (points[..., 2] > 0) & ((place >= 0) & (place < side)).all(2)
        points = np.concatenate([place, points[..., 2:]], 2) * there[..., None]
        points = (points[:, list(swap)] if flip else points)[kept].astype(np.float32)
    return Example(
        _coloured(image, cfg.colour * spread[4:9]),
        seen.size, seen.inner, boxes[kept].astype(np.float32), seen.labels[kept],
        None if masks is None else masks[kept], points, ignore.astype(np.float32),
    )  # fmt: skip


def _moved(boxes: np.ndarray, by: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Boxes enlarged, where ``by`` is below zero mirrored, and moved."""
    one, other = boxes[:, :2] * by + to, boxes[:, 2:] * by + to
    return np.concatenate([np.minimum(one, other), np.maximum(one, other)], 1)


def _coloured(image: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Contrast, brightness and the three colours, each changed by so much."""
    if not by.any():
        return image
    level = np.arange(256)[:, None] - GREY
    tables = (level * (1 + by[0]) * (1 + by[2:5] / 2) + GREY + GREY * by[1]).clip(0, 255)
    return cv2.LUT(image, np.ascontiguousarray(tables.astype(np.uint8)[None]))
