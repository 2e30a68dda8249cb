"""COCO's figures of finds, by COCO's own library: https://cocodataset.org/#detection-eval.

What is counted by size are the areas that the annotations state. Keypoints are compared by object
keypoint similarity with COCO's deviations, by name; CrowdPose's for head and neck; for names that
neither has, COCO's mean.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from velatura.errors import BadInput
from velatura.impact import _where
from velatura.impact._coco import Dataset, Instance

__all__ = ["FIGURES", "Truth", "scored", "sigmas", "truth"]

KINDS = {"detection": "bbox", "segmentation": "segm", "keypoints": "keypoints"}
FIGURES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR")
# cocoapi's and crowdposetools' cocoeval.py
SIGMAS = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062,
    "hip": 0.107, "knee": 0.087, "ankle": 0.089, "head": 0.079, "neck": 0.079,
}  # fmt: skip
OTHER = 0.0669  # the mean of COCO's seventeen

Truth = dict[str, Any]


def sigmas(points: Sequence[str]) -> np.ndarray:
    """The deviation of each keypoint, as a share of the root of the area, by its name."""

    def of(name: str) -> float:
        bare = name.lower().replace("left", "").replace("right", "").strip("_ -")
        return SIGMAS.get(bare, OTHER)

    return np.array([of(name) for name in points])


def truth(data: Dataset, categories: Sequence[str], points: Sequence[str]) -> Truth:
    """A data set as the library wants it: ids from 1, since it takes an id of 0 for nobody.

    Images are numbered in the order of the list, categories in the order of ``categories``.
    """
    annotations: list[dict[str, Any]] = []
    for number, entry in enumerate(data.entries, 1):
        for instance in entry.instances:
            if instance.category not in categories:
                continue
            box, shape = _box(instance, entry.size), _shape(instance)
            if box is None:
                continue
            known = instance.keypoints
            if known is None or len(known) != len(points):
                known = np.zeros((len(points), 3))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": categories.index(instance.category) + 1,
                    "bbox": box,
                    "area": _area(instance, box, entry.size),
                    "iscrowd": int(instance.crowd),
                    # Nobody drew it: for masks, the box stands for it.
                    "segmentation": _corners(box) if shape is None else shape,
                    "keypoints": known.reshape(-1).tolist(),
                    "num_keypoints": int((known[:, 2] > 0).sum()),
                }
            )
    return {
        "info": {},
        "images": [
            {"id": number, **({} if e.size is None else {"height": e.size[0], "width": e.size[1]})}
            for number, e in enumerate(data.entries, 1)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(categories, 1)],
        "annotations": annotations,
    }


def _box(instance: Instance, size: tuple[int, int] | None) -> list[float] | None:
    """x, y, width and height."""
    box = instance.box
    if box is None and size is not None and (found := _where.masked(instance, *size)):
        box = found[0]
    return None if box is None else [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _shape(instance: Instance) -> Any:
    if instance.rle is not None:
        return dict(instance.rle)
    if instance.polygons is not None:
        return [polygon.tolist() for polygon in instance.polygons]
    return None


def _area(instance: Instance, box: list[float], size: tuple[int, int] | None) -> float:
    """As the file says; else of the mask; else of the box."""
    if instance.area is not None:
        return instance.area
    if size is not None and (found := _where.masked(instance, *size)):
        return float(found[1].sum())
    return box[2] * box[3]


def _corners(box: Sequence[float]) -> list[list[float]]:
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def scored(
    known: Truth, finds: Sequence[dict[str, Any]], task: str, points: Sequence[str] = ()
) -> dict[str, Any]:
    """Average precision and recall in percent; None where nobody could be found.

    Args:
        known: as ``truth`` gives it.
        finds: COCO's results of the task, with the numbers of ``known``: ``image_id``,
            ``category_id``, ``score`` and ``bbox``, ``segmentation`` or ``keypoints``.
        task: of ``velatura.detectors.TASKS``.
        points: names of the keypoints; categories without any labelled one are left out.

    Returns:
        ``FIGURES`` over all categories, and under ``"categories"`` those of each.
    """
    names = {c["id"]: c["name"] for c in known["categories"]}
    if task == "keypoints":
        labelled = {a["category_id"] for a in known["annotations"] if a["num_keypoints"]}
        names = {number: name for number, name in names.items() if number in labelled}
        finds = [find for find in finds if find["category_id"] in names]
    if not names or not known["annotations"]:
        return {**dict.fromkeys(FIGURES), "categories": {}}
    done = _evaluated(known, finds, KINDS[task], list(names), sigmas(points))
    sizes = done.params.areaRngLbl
    # precision: thresholds, recalls, categories, sizes, finds of a picture; recall the same
    precision, recall = done.eval["precision"][..., -1], done.eval["recall"][..., -1]

    def figures(which: slice) -> dict[str, float | None]:
        share = precision[:, :, which]
        overall = share[..., 0]
        by_size = {
            f"AP_{size}": _percent(share[..., sizes.index(size)]) if size in sizes else None
            for size in ("small", "medium", "large")
        }
        return {
            "AP": _percent(overall),
            "AP50": _percent(overall[0]),
            "AP75": _percent(overall[5]),
            **by_size,
            "AR": _percent(recall[:, which, 0]),
        }

    each = {name: figures(slice(at, at + 1)) for at, name in enumerate(names.values())}
    return {**figures(slice(None)), "categories": each}


def _percent(values: np.ndarray) -> float | None:
    """The mean of those that are defined; the library writes -1 for the others."""
    defined = values[values > -1]
    return round(100 * float(defined.mean()), 4) if defined.size else None


def _evaluated(
    known: Truth, finds: Sequence[dict[str, Any]], kind: str, categories: list[int], of: np.ndarray
) -> Any:
    """The library's evaluation, which prints, and calls NumPy in an old way."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise BadInput(
            'Evaluation needs pycocotools: pip install "velatura[train,impact]".'
        ) from None
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gold, guess = COCO(), COCO()
        gold.dataset = {**known, "annotations": [dict(a) for a in known["annotations"]]}
        gold.createIndex()
        if finds:
            guess = gold.loadRes([dict(find) for find in finds])
        else:  # which its loadRes does not take
            guess.dataset = {**gold.dataset, "annotations": []}
            guess.createIndex()
        done = COCOeval(gold, guess, kind)
        done.params.catIds = categories
        if kind == "keypoints":
            done.params.kpt_oks_sigmas = of
        done.evaluate()
        done.accumulate()
    return done
