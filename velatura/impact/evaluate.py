"""``velatura impact evaluate``: what a trained detector finds in original pictures.

    RUN/evaluation.json      COCO's average precision and recall, by size and by category
    RUN/finds/TASK.json      the finds, as COCO's results: any tool for COCO reads them
    RUN/evaluation-anonymized.json, RUN/finds-anonymized/TASK.json    the same of such a copy

The question is what a network that learnt from anonymized pictures does in the world, so it is
asked on originals. A copy in which people are hidden is taken only where that is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from velatura import detectors
from velatura.detectors import Found
from velatura.errors import BadInput
from velatura.impact import _score
from velatura.impact._coco import Dataset, parsed
from velatura.impact._pictures import Example, Lesson, Survey, arm, example, hides, survey
from velatura.impact.train import CHECKPOINT, SCHEMA, network, setup
from velatura.training import checkpoint, loop
from velatura.training.players import prepare

__all__ = ["Run", "evaluate", "open_run"]

EVALUATION = "velatura-impact-evaluate/1"

Progress = Callable[[int, int], None]


class Run(NamedTuple):
    """A trained detector.

    Attributes:
        detector: in evaluation mode, on the device of its configuration.
        what: it learnt.
        about: as its checkpoint says.
        side: of the squares that pictures are fitted into.
    """

    detector: detectors.Detector
    what: Lesson
    about: dict[str, Any]
    side: int


def open_run(folder: Path) -> Run:
    """What ``velatura impact train`` made.

    Raises:
        BadInput: no such run, not finished, or not of this kind.
    """
    path = folder / CHECKPOINT
    state, about = checkpoint.load(path)
    if about.get("schema") != SCHEMA:
        raise BadInput(f"{path} is not of `velatura impact train`; name a folder that it made.")
    keys = {"model", "task", "steps", "batch", "size", "seed", "categories", "lr", "weight_decay",
            "augment", "loop"}  # fmt: skip
    how = setup({key: value for key, value in about.items() if key in keys})
    if state["step"] < how.cfg.steps:
        raise BadInput(
            f"{folder} has {state['step']} of {how.cfg.steps} steps; give its `velatura impact "
            "train` command again, which goes on."
        )
    learnt = about["learnt"]
    what = Lesson(*(tuple(learnt[key]) for key in Lesson._fields))
    detector = network(how, what)
    checkpoint.load_into(detector, state["network"], str(path))
    prepare(detector, loop.fabric(how.cfg.loop).device).eval()
    return Run(detector, what, about, how.cfg.size)


def evaluate(
    folder: Path,
    data: Dataset,
    *,
    anonymized: bool = False,
    batch: int = 16,
    mark: str = "-anonymized",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Find, compare and write.

    Args:
        folder: of a run.
        data: original pictures, which ``_formats.read`` found, of all categories.
        anonymized: take a copy in which people are hidden, and say so in the result.
        batch: pictures at a time.
        mark: at the end of the names of what is written of such a copy.
        progress: called with pictures done and in all.

    Returns:
        What ``evaluation.json`` holds.

    Raises:
        BadInput: no finished run; pictures that are missing, or in which people are hidden;
            categories or keypoints that the run did not learn.
    """
    said = arm(data)
    if hides(said) and not anonymized:
        raise BadInput(
            f"People are hidden in {data.root}: name the original pictures, or say --anonymized "
            "to measure on such a copy."
        )
    run = open_run(folder)
    data = _same_categories(run, data)
    found = survey(data, run.what)
    if missing := found.counts["images"]["missing"]:
        raise BadInput(
            f"{missing} of {len(data.entries)} pictures have no file in "
            f"{data.root / data.images}; an evaluation needs all."
        )
    finds: dict[str, list[dict[str, Any]]] = {task: [] for task in run.what.tasks}
    pointed = {at for at, name in enumerate(run.what.categories, 1) if name in data.points}
    sizes = []
    for number, (seen, guess) in enumerate(_looked_at(run, data, batch), 1):
        for task, more in _results(seen, guess, number).items():
            finds[task] += [f for f in more if task != "keypoints" or f["category_id"] in pointed]
        sizes.append(seen.size)
        if progress is not None:
            progress(number, len(data.entries))
    # Files need not say how large their pictures are.
    sized = [e._replace(size=size) for e, size in zip(data.entries, sizes, strict=True)]
    data = data._replace(entries=sized)
    known = _score.truth(data, run.what.categories, run.what.points)
    tasks = {t: _score.scored(known, finds[t], t, run.what.points) for t in run.what.tasks}
    answer = {
        "schema": EVALUATION,
        "tasks": tasks,
        "images": len(data.entries),
        "anonymized": hides(said),
        "data": _about_data(data, found, said, run),
        "run": run.about,
    }
    _write(folder, data, answer, finds, mark if hides(said) else "")
    return answer


def _same_categories(run: Run, data: Dataset) -> Dataset:
    """The data set with what the run learnt of it alone.

    Raises:
        BadInput: a category that it does not have, or other keypoints.
    """
    lacking = [name for name in run.what.categories if name not in data.categories]
    if lacking:
        raise BadInput(
            f"The run learnt {', '.join(lacking)}, which {data.root} has no category of; it has "
            f"{', '.join(data.categories)}."
        )
    if run.what.points:
        there = {data.points[name] for name in run.what.categories if name in data.points}
        if there != {run.what.points}:
            raise BadInput(
                f"The run learnt {len(run.what.points)} keypoints, and {data.root} has "
                f"{' or '.join(str(len(points)) for points in there) or 'none'}, or in another "
                "order; evaluate on annotations of the same keypoints."
            )
    wanted = set(run.what.categories)
    entries = [
        entry._replace(instances=tuple(i for i in entry.instances if i.category in wanted))
        for entry in data.entries
    ]
    return data._replace(entries=entries, categories=run.what.categories)


def _looked_at(run: Run, data: Dataset, batch: int) -> Iterator[tuple[Example, Found]]:
    device = next(run.detector.parameters()).device
    # Only boxes of what is known are looked up here: masks are the library's to compare.
    bare = run.what._replace(tasks=("detection",), points=())
    for start in range(0, len(data.entries), batch):
        seen = [example(data, e, bare, run.side) for e in data.entries[start : start + batch]]
        images = torch.from_numpy(np.stack([one.image for one in seen])).to(device)
        guesses = run.detector.detect(images.permute(0, 3, 1, 2).float() / 255)
        yield from zip(seen, guesses, strict=True)


def _results(seen: Example, guess: Found, number: int) -> dict[str, list[dict[str, Any]]]:
    """COCO's results of one picture, in its own pixels; images and categories are numbered as
    ``_score.truth`` does."""
    height, width = seen.size
    scale = np.array([width / seen.inner[1], height / seen.inner[0]] * 2)
    boxes = (guess.boxes.cpu().numpy() * scale).clip(0, [width, height] * 2)
    bases = [
        {"image_id": number, "category_id": int(label) + 1, "score": round(float(score), 6)}
        for label, score in zip(guess.labels.tolist(), guess.scores.tolist(), strict=True)
    ]
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).round(3).tolist()
    found = {"detection": [{**b, "bbox": box} for b, box in zip(bases, sides, strict=True)]}
    if guess.masks is not None:
        found["segmentation"] = [
            {**base, "segmentation": _runs(mask, seen)}
            for base, mask in zip(bases, guess.masks.cpu().numpy(), strict=True)
        ]
    if guess.keypoints is not None:
        points = guess.keypoints.cpu().numpy() * [*scale[:2], 1]
        found["keypoints"] = [
            {**base, "keypoints": [round(float(value), 3) for value in known.reshape(-1)]}
            for base, known in zip(bases, points, strict=True)
        ]
    return found


def _runs(mask: np.ndarray, seen: Example) -> dict[str, Any]:
    """A mask of the square as runs of the picture."""
    from pycocotools import mask as coco

    part: np.ndarray = mask[: seen.inner[0], : seen.inner[1]].astype(np.float32)
    if seen.inner != seen.size:
        part = cv2.resize(part, seen.size[::-1], interpolation=cv2.INTER_LINEAR)
    runs = coco.encode(np.asfortranarray(part >= 0.5, np.uint8))
    return {"size": list(seen.size), "counts": runs["counts"].decode()}


def _about_data(
    data: Dataset, found: Survey, said: dict[str, Any] | None, run: Run
) -> dict[str, Any]:
    return {
        "fingerprint": found.fingerprint,
        "annotations": found.annotations,
        # Then the figures say how well it remembers.
        "trained_on": found.annotations == run.about.get("annotations"),
        "files": [str(path) for path in data.documents],
        "arm": said,
        **found.counts,
    }


def _write(
    folder: Path,
    data: Dataset,
    answer: dict[str, Any],
    finds: dict[str, list[dict[str, Any]]],
    mark: str,
) -> None:
    """The result, and the finds with the ids of the data set's own files."""
    ids = _category_ids(data)
    place = folder / f"finds{mark}"
    place.mkdir(exist_ok=True)
    for task, found in finds.items():
        named = [
            {
                **find,
                "image_id": data.entries[find["image_id"] - 1].id,
                "category_id": ids[data.categories[find["category_id"] - 1]],
            }
            for find in found
        ]
        checkpoint.write_atomically(place / f"{task}.json", json.dumps(named).encode() + b"\n")
    text = json.dumps(answer, indent=2).encode() + b"\n"
    checkpoint.write_atomically(folder / f"evaluation{mark}.json", text)


def _category_ids(data: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for document in data.documents.values():
        content = json.loads(document) if isinstance(document, bytes) else parsed(document)
        found |= {str(c["name"]): c["id"] for c in content["categories"]}
    return found
