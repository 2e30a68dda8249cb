"""From a data set in COCO's form to squares around its regions, as `anonymize` finds them.

All who would be hidden are hidden in every square, whoever it is of: so it will be when the
network draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from velatura.errors import BadInput
from velatura.impact import _where
from velatura.impact._coco import Dataset, Entry
from velatura.impact.anonymize import as_annotated
from velatura.inpainting.crops import Crops
from velatura.regions._crop import covered, placed, shrunk, window

__all__ = ["Gathered", "gather"]

FAILED = 0.01  # share of images that cannot be read, above which nothing is trained


class Gathered(NamedTuple):
    """What was found.

    Attributes:
        skipped: regions that were left out, by reason.
        failed: images that cannot be read, with the reason.
    """

    crops: Crops
    skipped: dict[str, int]
    failed: dict[str, str]


class _Job(NamedTuple):
    """One image. Attributes as of ``gather``; boxes are those that a file has for it."""

    number: int
    entry: Entry
    data: Dataset
    where: _where.Config
    boxes: np.ndarray | None
    names: tuple[str, ...]
    size: int
    least: int


class _Answer(NamedTuple):
    number: int
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    skipped: list[str]
    failed: str


def gather(
    data: Dataset,
    where: _where.Config,
    size: int,
    least: int,
    *,
    workers: int = 0,
    limit: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Gathered:
    """Cut out every region.

    Args:
        where: resolved; its kind is that of the crops.
        size: of a crop's side, pixels.
        least: of a region's shorter side, before it grows; smaller ones teach a blur.
        workers: processes; 0 is one per core.
        limit: only so many images, the first; 0 is all.

    Raises:
        BadInput: what the source needs is not installed; more than one in a hundred images cannot
            be read.
    """
    from velatura.data._parallel import spread
    from velatura.deploy.regions import read_picture_boxes

    _where.check(where, data)
    boxes = read_picture_boxes(where.boxes)[0] if where.boxes else None
    names = next(iter(data.points.values()), ())
    bare = data._replace(entries=[], documents={})  # what goes to every worker
    jobs = [
        _Job(
            number, entry, bare, where,
            None if boxes is None else boxes.get(entry.name, np.zeros((0, 4))), names, size, least,
        )
        for number, entry in enumerate(data.entries[: limit or None])
    ]  # fmt: skip
    answers: list[_Answer] = []
    for done, answer in enumerate(spread(_cut, jobs, workers, each=8), 1):
        answers.append(answer)
        if progress is not None:
            progress(done, len(jobs))
    answers.sort(key=lambda answer: answer.number)
    failed = {data.entries[a.number].name: a.failed for a in answers if a.failed}
    if len(failed) > FAILED * len(jobs):
        raise BadInput(
            f"{len(failed)} of {len(jobs)} images cannot be used; the first: "
            f"{next(iter(failed.values()))}"
        )
    reasons = [reason for answer in answers for reason in answer.skipped]
    return Gathered(
        _together(answers, data, names, size),
        {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        failed,
    )


def _together(answers: list[_Answer], data: Dataset, names: tuple[str, ...], size: int) -> Crops:
    parts = [part for answer in answers for part in answer.parts]
    images = tuple(data.entries[a.number].name for a in answers for _ in a.parts)
    shapes: list[tuple[tuple[int, ...], Any]] = [
        ((size, size, 3), np.uint8), ((size, size), bool), ((len(names), 3), np.float32),
    ]  # fmt: skip
    stacked = [
        np.stack([part[at] for part in parts]) if parts else np.zeros((0, *shape), kind)
        for at, (shape, kind) in enumerate(shapes)
    ]
    return Crops(stacked[0], stacked[1], stacked[2], images, names)


def _cut(job: _Job) -> _Answer:
    """The crops of one image; whatever is wrong with it is told."""
    from velatura.data._parallel import reason_of

    source = job.data.root / job.data.images / job.entry.name
    try:
        return _Answer(job.number, *_parts(job), "")
    except Exception as error:  # a hostile file or annotation breaks libraries in many ways
        return _Answer(job.number, [], [], reason_of(error, source))


def _parts(job: _Job) -> tuple[list[tuple[np.ndarray, np.ndarray, np.ndarray]], list[str]]:
    from velatura.deploy.image import read_image

    entry, where = job.entry, job.where
    source = job.data.root / job.data.images / entry.name
    if not source.is_file():
        raise BadInput(f"The annotations name {entry.name}, and there is no file {source}.")
    still = read_image(source, by_profile=False)
    image, _ = as_annotated(still.pixels, still.turned, entry)
    boxes = job.boxes
    if where.source == "detector":
        (faces,) = _where.detector(where).detect(image[None], where.threshold)
        boxes = faces[:, :4]
    found = _where.find(image, entry, where, job.data.points, 0.0, boxes)
    crowds = {instance.id for instance in entry.instances if instance.crowd}
    hidden = covered(found.regions, *image.shape[:2])
    parts, skipped = [], [reason for _, reason in found.skipped]
    for region, (x0, y0, x1, y1) in zip(found.regions, found.boxes, strict=True):
        if region.kind != where.kind:
            skipped.append("hidden whole, since nobody labelled their face")
        elif region.id in crowds:
            skipped.append(_where.CROWD)
        elif min(x1 - x0, y1 - y0) < job.least:
            skipped.append(f"smaller than {job.least} pixels")
        else:
            there = window(region.box, *image.shape[:2])
            parts.append(
                (
                    shrunk(image, there, job.size),
                    shrunk(hidden, there, job.size),
                    placed(region.keypoints, len(job.names), there, job.size),
                )
            )
    return parts, skipped
