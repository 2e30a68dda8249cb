"""Which parts of an image are to be hidden, and why others are not: nobody is left unsaid."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from velatura.config import config
from velatura.errors import BadInput
from velatura.impact import _runs
from velatura.impact._coco import Dataset, Entry, Instance
from velatura.impact._faces import FACE, face_box
from velatura.regions import Region, grown, touched

__all__ = ["Config", "Found", "check", "find", "masked", "resolved"]

CROWD = "crowd"
SMALL = "smaller than min_size"
OUTSIDE = "outside the picture"
FLAT = "box without area"
PLACELESS = "neither mask nor box"
TURNED = "no point of the face is labelled"
SIZELESS = "nothing says how large the face is"
POINTLESS = "no keypoints"
UNSEEN = "no face found"
UNBOXED = "no box in the file"

SHARE = 0.1  # of a found box that a person must cover to be whose face it is


@config
class Config:
    """Where people are in the images, and how much of them is hidden."""

    kind: Literal["face", "body", "frame"] = "body"
    source: Literal["", "annotations", "keypoints", "detector", "boxes"] = ""
    """Of regions: masks, else boxes, of the annotations (unless you say so, for bodies, and for
    annotations that are of faces); keypoints of the face (unless you say so, for faces); the
    detector of faces; a file of boxes."""
    boxes: str = ""  # the file; see `read_picture_boxes`
    shape: Literal["mask", "box"] = "mask"  # what is hidden of a body
    categories: tuple[str, ...] = ()  # names; () is person, or face where there are only those
    dilate: Annotated[float, Field(ge=0, le=4)] = 0.05
    """How far a region grows on every side, as a share of the square root of its box's area."""
    min_size: Annotated[int, Field(ge=0, le=4096)] = 0
    """Pixels of a region's shorter side before it grows; smaller ones are left, and counted."""
    crowds: bool = True  # hide what is annotated as a group, too
    unlabelled: Literal["whole", "skip"] = "whole"
    """What becomes of the face of a person without any keypoint: the whole person is hidden, or
    nothing, as in the paper."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of the detector's score
    side: Annotated[int, Field(ge=32, le=8192)] = 960  # pixels at which the detector looks


class Found(NamedTuple):
    """What is to be hidden in one image.

    Attributes:
        regions: grown, in the order of the file.
        boxes: the same before they grew, for a file of boxes.
        hidden: ids of instances that a region stands for.
        skipped: ids of all others, with the reason.
        whole: ids of persons who are hidden altogether, since nobody labelled a face.
        extra: regions that stand for no instance.
    """

    regions: list[Region]
    boxes: list[tuple[int, int, int, int]]
    hidden: list[int | str]
    skipped: list[tuple[int | str, str]]
    whole: list[int | str]
    extra: int


def resolved(cfg: Config, data: Dataset) -> Config:
    """The configuration with what it leaves open.

    Raises:
        BadInput: what it asks for the data set does not have.
    """
    source = cfg.source
    if cfg.kind == "frame":
        if source:
            raise BadInput("The whole frame is hidden, wherever people are: leave the source out.")
    elif not source:
        faces = cfg.kind == "face" and "person" not in data.categories
        source = "annotations" if cfg.kind == "body" or faces else "keypoints"
    if source in ("keypoints", "detector") and cfg.kind != "face":
        raise BadInput(f"{source} say where faces are; bodies come from annotations or boxes.")
    if source == "annotations" and cfg.kind == "face" and "person" in data.categories:
        raise BadInput(
            "Annotations of person are of whole bodies; faces come from keypoints, detector or "
            "boxes, or from a category of faces."
        )
    if (source == "boxes") != bool(cfg.boxes):
        raise BadInput("A file of boxes goes with the source boxes, and that with such a file.")
    if source == "keypoints":
        labelled = any(i.keypoints is not None for entry in data.entries for i in entry.instances)
        if not labelled or not data.points:
            raise BadInput(
                f"{', '.join(str(name) for name in data.documents)} has no keypoints of "
                f"{', '.join(data.categories)}; name a file that has, or find faces by detector."
            )
    return replace(cfg, source=source, categories=data.categories)


def check(cfg: Config, data: Dataset) -> None:
    """Load what the source needs, so that what is not there is told before the work begins.

    Raises:
        BadInput: the detector or pycocotools are not installed.
    """
    if cfg.source == "detector":
        detector(cfg)
    instances = (i for entry in data.entries for i in entry.instances)
    if cfg.kind != "frame" and any(i.rle is not None or i.polygons is not None for i in instances):
        _masks()


def detector(cfg: Config) -> Any:
    """The detector of faces, on one core."""
    from velatura.deploy.faces import FaceDetector

    return FaceDetector(side=cfg.side, threads=1)


def find(
    image: np.ndarray,
    entry: Entry,
    cfg: Config,
    points: dict[str, tuple[str, ...]],
    reach: float,
    boxes: np.ndarray | None = None,
) -> Found:
    """Where people are in one image.

    Args:
        image: (H, W, 3) uint8; its size is what counts.
        cfg: resolved.
        points: names of keypoints, by category.
        reach: how far the anonymizer wants regions to grow beyond ``cfg.dilate``.
        boxes: (n, 4) x0, y0, x1, y1, that the detector or the file has for this image.

    Raises:
        BadInput: an annotation that is not of such a picture.
    """
    height, width = image.shape[:2]
    if cfg.kind == "frame":
        box = (0, 0, width, height)
        ids = [instance.id for instance in entry.instances]
        return Found([Region(box, "frame", id="frame")], [box], ids, [], [], 0)
    regions: list[Region] = []
    skipped: list[tuple[int | str, str]] = []
    whole: list[int | str] = []
    wanted: list[Instance] = []
    for instance in entry.instances:
        if instance.crowd and not cfg.crowds:
            skipped.append((instance.id, CROWD))
        else:
            wanted.append(instance)
    if cfg.source in ("detector", "boxes"):
        assert boxes is not None
        regions, left = _shared_out(boxes, wanted, cfg, height, width)
        skipped += left
    else:
        for instance in wanted:
            answer = _of_instance(instance, cfg, points, height, width)
            if isinstance(answer, str):
                skipped.append((instance.id, answer))
                continue
            if cfg.source == "keypoints" and answer.kind == "body":
                whole.append(instance.id)
            regions.append(answer)
    own = {instance.id for instance in wanted}
    kept = []
    for region in regions:
        # What stands for nobody who is annotated is hidden, however small.
        if min(region.size) >= cfg.min_size or region.id not in own:
            kept.append(region)
        else:
            skipped.append((region.id, SMALL))
    hidden = list(dict.fromkeys(region.id for region in kept if region.id in own))
    share = cfg.dilate + reach
    return Found(
        [grown(region, share, height, width) for region in kept],
        [region.box for region in kept],
        hidden,
        skipped,
        [number for number in whole if number in hidden],
        sum(region.id not in own for region in kept),
    )


def _of_instance(
    instance: Instance, cfg: Config, points: dict[str, tuple[str, ...]], height: int, width: int
) -> Region | str:
    """What is to be hidden of one instance, or why nothing is."""
    if cfg.source == "annotations":
        return _body(instance, cfg, cfg.kind, height, width)
    known = instance.keypoints
    if known is None or not (known[:, 2] > 0).any():
        if cfg.unlabelled == "skip":
            return POINTLESS
        return _body(instance, cfg, "body", height, width)
    names = points.get(instance.category, ())
    person = instance.box
    if person is None or person[2] <= person[0] or person[3] <= person[1]:
        shape = masked(instance, height, width)
        person = None if shape is None else shape[0]
    box = face_box(known, names, person)
    if box is None:
        labelled = {name for name, (_, _, seen) in zip(names, known, strict=False) if seen > 0}
        return SIZELESS if labelled & {*FACE} else TURNED
    place = touched(box, height, width)
    if place is None:
        return OUTSIDE
    return Region(place, "face", keypoints=known, id=instance.id)


def _body(
    instance: Instance, cfg: Config, kind: Literal["face", "body", "frame"], height: int, width: int
) -> Region | str:
    """By mask, else by box."""
    if cfg.shape == "mask" or instance.box is None:
        found = masked(instance, height, width)
        if found is not None:
            box, mask = found
            solid = cfg.shape == "box" or bool(mask.all())
            return Region(box, kind, None if solid else mask, instance.keypoints, instance.id)
    if instance.box is None:
        shaped = instance.polygons is not None or instance.rle is not None
        return OUTSIDE if shaped else PLACELESS
    x0, y0, x1, y1 = instance.box
    if x1 <= x0 or y1 <= y0:
        return FLAT
    place = touched(instance.box, height, width)
    if place is None:
        return OUTSIDE
    return Region(place, kind, keypoints=instance.keypoints, id=instance.id)


def masked(
    instance: Instance, height: int, width: int
) -> tuple[tuple[int, int, int, int], np.ndarray] | None:
    """The tight box of a mask, and the mask in it; None where it has no pixel in the picture."""
    left = top = 0
    if instance.rle is not None:
        if instance.rle["size"] != [height, width]:
            tall, wide = instance.rle["size"]
            raise BadInput(
                f"Annotation {instance.id} has a mask of {wide} x {tall} pixels, and the picture "
                f"has {width} x {height}."
            )
        mask = _decoded(instance, instance.rle, height, width)
    else:
        # Two points are no area; and COCO's own library takes four numbers for a box.
        polygons = [p for p in instance.polygons or () if len(p) >= 6]
        if not polygons:
            return None
        # At its place only, not in the whole picture; a pixel more, since edges are rounded.
        both = [(p[0::2], p[1::2]) for p in polygons]
        low = min(x.min() for x, _ in both) - 1, min(y.min() for _, y in both) - 1
        high = max(x.max() for x, _ in both) + 1, max(y.max() for _, y in both) + 1
        place = touched((*low, *high), height, width)
        if place is None:
            return None
        left, top, right, bottom = place
        shifted = [(p - np.tile([left, top], len(p) // 2)).tolist() for p in polygons]
        mask = _decoded(instance, shifted, bottom - top, right - left)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    box = int(left + x0), int(top + y0), int(left + x1), int(top + y1)
    return box, np.ascontiguousarray(mask[y0:y1, x0:x1])


def _decoded(instance: Instance, shape: Any, height: int, width: int) -> np.ndarray:
    """(height, width) bool of polygons, or of runs of such a size."""
    coco = _masks()
    if isinstance(shape, dict):
        _runs.check(instance.id, shape)
    try:
        runs = shape
        if isinstance(shape, list) or isinstance(shape["counts"], list):
            runs = coco.frPyObjects(shape, height, width)
        if isinstance(runs, list):
            runs = coco.merge(runs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it calls NumPy in an old way
            return np.asarray(coco.decode(runs), bool)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadInput(f"Annotation {instance.id} has a mask that is none: {error}.") from None


def _masks() -> ModuleType:
    """COCO's own library of masks."""
    try:
        from pycocotools import mask
    except ImportError:
        raise BadInput(
            'Masks of annotations need pycocotools: pip install "velatura[impact]".'
        ) from None
    return mask


def _shared_out(
    boxes: np.ndarray, wanted: Sequence[Instance], cfg: Config, height: int, width: int
) -> tuple[list[Region], list[tuple[int | str, str]]]:
    """Found boxes, each given to the person who covers most of it; one to each but a crowd.

    Returns:
        All of them as regions, those of nobody too; and the persons without any, with the reason.
    """
    reason = UNSEEN if cfg.source == "detector" else UNBOXED
    left: list[tuple[int | str, str]] = []
    bodies: list[Region] = []
    crowds: list[bool] = []
    for instance in wanted:
        body = _body(instance, cfg, "body", height, width)
        if isinstance(body, str):
            left.append((instance.id, body))
        else:
            bodies.append(body)
            crowds.append(instance.crowd)
    places = [touched(box, height, width) for box in boxes.tolist()]
    inside = sorted({place for place in places if place is not None})
    cover = [
        (_cover(body, box), b, f) for b, body in enumerate(bodies) for f, box in enumerate(inside)
    ]
    owner: dict[int, int] = {}
    for share, body_at, face_at in sorted(cover, key=lambda found: (-found[0], found[1], found[2])):
        free = crowds[body_at] or body_at not in owner.values()
        if share > SHARE and face_at not in owner and free:
            owner[face_at] = body_at
    regions = []
    for at, box in enumerate(inside):
        number = bodies[owner[at]].id if at in owner else f"found-{at}"
        regions.append(Region(box, cfg.kind, id=number))
    left += [(b.id, reason) for at, b in enumerate(bodies) if at not in owner.values()]
    return regions, left


def _cover(body: Region, box: tuple[int, int, int, int]) -> float:
    """The share of a box that a region covers."""
    x0, y0, x1, y1 = body.box
    left, top = max(x0, box[0]), max(y0, box[1])
    right, bottom = min(x1, box[2]), min(y1, box[3])
    if left >= right or top >= bottom:
        return 0.0
    area = (box[2] - box[0]) * (box[3] - box[1])
    if body.mask is None:
        return (right - left) * (bottom - top) / area
    return float(body.mask[top - y0 : bottom - y0, left - x0 : right - x0].sum()) / area
