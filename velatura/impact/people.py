"""``velatura impact people``: generated people as a COCO folder, with anonymizers that are known.

    OUT/annotations/people_train.json, people_val.json
    OUT/train/*.png, OUT/val/*.png     one to four people each, among parcels and clutter
    OUT/oracle/aligned/*.png           train with somebody else in everybody's place, same poses
    OUT/oracle/misaligned/*.png        the same, in poses that were missed
    OUT/private.json                   what is private of everybody in train, by annotation
    OUT/people.json                    settings and counts; written last

What a network loses when it learns from the one or the other is known before it is measured: little
from the aligned oracle, which is all that an anonymizer can do, and from the misaligned one more
of the keypoints than of the boxes. So a benchmark can be tested on people who are nobody. Parcels
are the control: a category that no anonymizer touches.

A picture depends on the seed, its split and its index alone. Nobody is in both splits.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from velatura.config import config, plain
from velatura.data._people.body import KEYPOINTS
from velatura.data._people.census import ATTRIBUTES
from velatura.errors import BadInput, Failure

__all__ = ["CATEGORIES", "Config", "make"]

SCHEMA = "velatura-impact-people/1"
DRAWING = 1  # of pictures: another number when the same settings draw others
MARK = "people.json"
PRIVATE_FILE = "private.json"
FOLDERS = ("annotations", "oracle", "train", "val")
ORACLES = {"aligned": False, "misaligned": True}  # whether poses are missed
PERSON, PARCEL = 1, 2
# Of everybody: what the pictures show and the annotations do not say.
PRIVATE = ("skin_tone", "gender", "bare_skin", "hair", "shirt")
# https://cocodataset.org/#format-data; names are counted from 1.
SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9),
    (8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
CATEGORIES: list[dict[str, Any]] = [
    {
        "id": PERSON,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(KEYPOINTS),
        "skeleton": [list(bone) for bone in SKELETON],
    },
    {"id": PARCEL, "name": "parcel", "supercategory": "thing"},
]
MEDIUM, LARGE = 32**2, 96**2  # pixels, from which COCO calls an area so

Progress = Callable[[int, int], None]


@config
class Config:
    """How many pictures, and which."""

    train: Annotated[int, Field(ge=1, le=100_000)] = 600  # pictures, each with both oracles
    val: Annotated[int, Field(ge=1, le=100_000)] = 200
    size: Annotated[int, Field(ge=48, le=1024)] = 128  # pixels, height and width
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


def make(
    cfg: Config, out: Path, *, workers: int = 0, progress: Progress | None = None
) -> tuple[dict[str, Any], bool]:
    """Draw the data set; or leave it, where it is there.

    Args:
        out: a new folder, or one that the same settings have made.
        workers: processes; 0 is one per core. They change nothing but the time.
        progress: called with pictures done and in all; an oracle's count with its original.

    Returns:
        What ``people.json`` holds; and whether anything was drawn.

    Raises:
        BadInput: the folder holds something else; OpenCV or pycocotools are not installed.
        Failure: the disk is full.
    """
    known = _known(cfg, out)
    if known is not None:
        return known, False
    _tools()
    from velatura.data._parallel import spread

    with _staged(out) as folder:
        sizes = {"train": cfg.train, "val": cfg.val}
        jobs = [Job(cfg, split, at, folder) for split in sizes for at in range(sizes[split])]
        found: dict[str, dict[int, list[dict[str, Any]]]] = {split: {} for split in sizes}
        private: dict[str, dict[int, list[list[int]]]] = {split: {} for split in sizes}
        for done, drawn in enumerate(spread(_draw, jobs, workers, each=32), 1):
            found[drawn.split][drawn.number] = drawn.annotations
            private[drawn.split][drawn.number] = drawn.private
            if progress is not None:
                progress(done, len(jobs))
        counts = {}
        (folder / "annotations").mkdir()
        for split, by_number in found.items():
            content = _document(cfg, split, [by_number[at] for at in range(sizes[split])])
            counts[split] = _counts(content)
            _write(folder / "annotations" / f"people_{split}.json", content)
            if split == "train":
                traits = [one for at in range(cfg.train) for one in private[split][at]]
                _write(folder / PRIVATE_FILE, _labels(content, traits))
        summary = {
            "schema": SCHEMA,
            **_settings(cfg),
            "splits": counts,
            "oracles": {
                name: {"images": cfg.train, "poses_missed": ORACLES[name]} for name in ORACLES
            },
            "sha256": _digest(folder),
        }
        _write(folder / MARK, summary, indent=2)
    return summary, True


def _settings(cfg: Config) -> dict[str, Any]:
    return {**plain(cfg), "drawing": DRAWING}


def _known(cfg: Config, out: Path) -> dict[str, Any] | None:
    """What stands in a folder that is finished; None where there is nothing.

    Raises:
        BadInput: it holds something else.
    """
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        said: dict[str, Any] = json.loads((out / MARK).read_bytes())
        other = [name for name, value in _settings(cfg).items() if said[name] != value]
        theirs = said["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"{out} holds something else; name another --out.") from None
    if other:
        raise BadInput(
            f"{out} was made with other settings ({', '.join(other)} differ); name another --out."
        )
    if theirs != _digest(out):
        raise BadInput(f"{out} was changed since it was made; name another --out, or remove it.")
    return said


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when all is done, and is gone otherwise."""
    whole = out.resolve()
    beside = whole.with_name(f"{whole.name}.{os.getpid()}.partial")
    try:
        for split in ("train", "val", *(f"oracle/{name}" for name in ORACLES)):
            (beside / split).mkdir(parents=True)
    except OSError as error:
        raise BadInput(f"Cannot write into {out.parent}: {error.strerror}.") from error
    try:
        yield beside
        os.replace(beside, whole)  # a folder that is there is empty
    except OSError as error:
        raise Failure(
            f"Writing {out} failed: {error.strerror}. Nothing was left behind."
        ) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(beside)


def _digest(folder: Path) -> str:
    """SHA-256 of the names and contents of all files but the one that says it."""
    whole = hashlib.sha256()
    for top in FOLDERS:
        for path in sorted((folder / top).rglob("*")):
            if path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                whole.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return whole.hexdigest()


def _write(path: Path, content: Any, indent: int | None = None) -> None:
    path.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------- one picture


class Job(NamedTuple):
    """One picture, and where it goes."""

    cfg: Config
    split: str
    number: int
    folder: Path


class Drawn(NamedTuple):
    """What is in it, without ids; and of each person among it, 0 or 1 for each of ``PRIVATE``."""

    split: str
    number: int
    annotations: list[dict[str, Any]]
    private: list[list[int]]


def _draw(job: Job) -> Drawn:
    """Draw one picture, in train its oracles too: what a worker process does."""
    from velatura.data._people import crowd as crowds
    from velatura.deploy.image import encoded

    _tools()
    where = job.cfg.seed, job.split, job.number
    crowd = crowds.draw_crowd(*where)
    picture = crowds.draw(crowd, job.cfg.size)
    images = {job.split: picture.image}
    if job.split == "train":
        for name, slips in ORACLES.items():
            other = crowds.replaced(crowd, *where, slips=slips)
            images[f"oracle/{name}"] = crowds.draw(other, job.cfg.size, labels=False).image
    for place, image in images.items():
        (job.folder / place / _name(job.number)).write_bytes(encoded(image, "PNG"))
    found = [_person(*pair) for pair in zip(picture.people, picture.keypoints, strict=True)]
    columns = [ATTRIBUTES.index(name) for name in PRIVATE]
    traits = zip(found, crowd.traits, strict=True)
    private = [has[columns].tolist() for one, has in traits if one["area"]]
    found += [_thing(mask, PARCEL) for mask in picture.parcels]
    return Drawn(job.split, job.number, [one for one in found if one["area"]], private)


@lru_cache(maxsize=1)
def _tools() -> Any:
    """COCO's own library of masks; and OpenCV, on one core where others have the rest.

    Raises:
        BadInput: they are not installed.
    """
    try:
        import cv2
        from pycocotools import mask
    except ImportError:
        raise BadInput(
            'Drawing people needs OpenCV and pycocotools: pip install "velatura[impact]".'
        ) from None
    if parent_process() is not None:
        cv2.setNumThreads(1)
    return mask


def _name(index: int) -> str:
    return f"{index:06d}.png"


def _person(mask: np.ndarray, keypoints: np.ndarray) -> dict[str, Any]:
    points = [[round(float(x), 2), round(float(y), 2), int(seen)] for x, y, seen in keypoints]
    return {
        **_thing(mask, PERSON),
        "keypoints": [value for point in points for value in point],
        "num_keypoints": sum(seen > 0 for _, _, seen in points),
    }


def _thing(mask: np.ndarray, category: int) -> dict[str, Any]:
    """An annotation by its mask (H, W) bool; of nothing where that is empty.

    Parcels have a number of keypoints too, 0: COCO's evaluation asks every annotation for it.
    """
    runs = _tools().encode(np.asfortranarray(mask, np.uint8))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = [0, 0, 0, 0]
    if len(rows):
        x, y = int(columns[0]), int(rows[0])
        box = [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
    return {
        "category_id": category,
        "bbox": box,
        "area": int(mask.sum()),
        "segmentation": {"size": list(mask.shape), "counts": runs["counts"].decode()},
        "iscrowd": 0,
        "num_keypoints": 0,
    }


# ----------------------------------------------------------------------------------- all of them


def _document(
    cfg: Config, split: str, annotations: Iterable[list[dict[str, Any]]]
) -> dict[str, Any]:
    """A split as COCO's ground truth; ids count from 1."""
    images: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    for index, found in enumerate(annotations):
        image = {"id": index + 1, "file_name": _name(index), "width": cfg.size, "height": cfg.size}
        images.append(image)
        for one in found:
            listed.append({"id": len(listed) + 1, "image_id": image["id"], **one})
    info = {"description": f"Generated people, {split}, seed {cfg.seed}: nobody is anybody."}
    return {
        "info": info,
        "licenses": [],
        "images": images,
        "annotations": listed,
        "categories": CATEGORIES,
    }


def _labels(content: dict[str, Any], private: list[list[int]]) -> dict[str, Any]:
    """What is private of the people of a split, by the id of their annotation."""
    people = [one["id"] for one in content["annotations"] if one["category_id"] == PERSON]
    labels = {str(number): has for number, has in zip(people, private, strict=True)}
    return {"attributes": list(PRIVATE), "labels": labels}


def _counts(content: dict[str, Any]) -> dict[str, Any]:
    """Pictures, people by COCO's three sizes, parcels, and keypoints by what is seen of them."""
    people = [one for one in content["annotations"] if one["category_id"] == PERSON]
    sizes = Counter(
        "small" if one["area"] < MEDIUM else "medium" if one["area"] < LARGE else "large"
        for one in people
    )
    seen = Counter(visible for one in people for visible in one["keypoints"][2::3])
    return {
        "images": len(content["images"]),
        "people": len(people),
        "people_by_size": {name: sizes[name] for name in ("small", "medium", "large")},
        "parcels": len(content["annotations"]) - len(people),
        "keypoints": {"visible": seen[2], "hidden": seen[1], "outside": seen[0]},
    }
