"""A data set in COCO's form: which images, and who is annotated in them; checked when it is read.

https://cocodataset.org/#format-data. Files of annotations may be of the same images, as COCO's
``instances`` and ``person_keypoints`` are: who stands in both is one person.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from velatura.errors import BadInput, unknown

__all__ = ["Dataset", "Entry", "Instance", "checked", "dataset", "parsed"]

MOST = 1e12  # of any number; a number without end is none
FAR = 1e5  # pixels from the origin; COCO's library walks along each edge of a polygon


@dataclass(frozen=True, eq=False)
class Instance:
    """One annotation.

    Attributes:
        id: as the file says.
        category: its name.
        box: x0, y0, x1, y1 in pixels; None where there is none.
        polygons: (2 n,) x and y in turn, each; their union is meant. None where there are none.
        rle: ``size`` (height, width) and ``counts``, in place of polygons.
        crowd: whether it stands for a group.
        keypoints: (K, 3) x, y and 0 unknown, 1 hidden, 2 visible; None where there are none.
        area: pixels, as the file says; None where it does not.
    """

    id: int | str
    category: str
    box: tuple[float, float, float, float] | None = None
    polygons: tuple[np.ndarray, ...] | None = None
    rle: Mapping[str, Any] | None = None
    crowd: bool = False
    keypoints: np.ndarray | None = None
    area: float | None = None


class Entry(NamedTuple):
    """One image and who is in it.

    Attributes:
        id, name: as the file says; the name is a path below the folder of images.
        size: height and width that the annotations are of; None where the file does not say.
        instances: of the categories that were asked for.
    """

    id: int | str
    name: str
    size: tuple[int, int] | None
    instances: tuple[Instance, ...]


class Dataset(NamedTuple):
    """What is to be anonymized.

    Attributes:
        root: its folder.
        images: the folder that names of images are below, relative to ``root``.
        entries: in the order of the file.
        categories: that were asked for.
        points: the names of a category's keypoints; categories without any are not there.
        documents: files of annotations that a copy has, relative to ``root``: where they are, or
            what is in them.
    """

    root: Path
    images: Path
    entries: list[Entry]
    categories: tuple[str, ...]
    points: dict[str, tuple[str, ...]]
    documents: dict[Path, Path | bytes]


def parsed(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        BadInput: it is not there, or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BadInput(f"There is no file {path} of annotations; name one with --ann.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON: {error}.") from None


def dataset(
    root: Path,
    images: Path,
    contents: Mapping[str, Any],
    documents: Mapping[Path, Path | bytes],
    categories: Sequence[str] | None = (),
) -> Dataset:
    """Check what files of annotations say, and bring them together.

    Args:
        contents: file to what it holds; names are for messages.
        documents: as ``Dataset`` has them.
        categories: names; () is person, or face where there are faces and no persons; None is all.

    Raises:
        BadInput: a file that is not in COCO's form, in a sentence that names the place; a category
            that no file has.
    """
    several = (_categories(where, content) for where, content in contents.items())
    names = list(dict.fromkeys(str(c["name"]) for found in several for c in found))
    faces = "face" in names and "person" not in names
    usual = ("face",) if faces else ("person",)
    chosen = tuple(names if categories is None else categories or usual)
    for name in chosen:
        if name not in names:
            raise unknown("category", name, names)
    entries: dict[str, Entry] = {}
    points: dict[str, tuple[str, ...]] = {}
    for where, content in contents.items():
        for category in _categories(where, content):
            if category.get("keypoints") and str(category["name"]) in chosen:
                points[str(category["name"])] = tuple(map(str, category["keypoints"]))
        for entry in _entries(where, content, chosen):
            known = entries.get(entry.name)
            entries[entry.name] = entry if known is None else _united(where, known, entry)
    if not entries:
        raise BadInput(f"{', '.join(contents)} name no image.")
    for entry in entries.values():
        for instance in entry.instances:
            wanted = len(points.get(instance.category, ()))
            count = wanted if instance.keypoints is None else len(instance.keypoints)
            if wanted and count != wanted:
                raise BadInput(
                    f"{', '.join(contents)}: annotation {instance.id} has {count} keypoints, and "
                    f"its category {instance.category} names {wanted}."
                )
    return Dataset(root, images, list(entries.values()), chosen, points, dict(documents))


def checked(where: str, content: Any) -> dict[str, Any]:
    """What a file of annotations holds, which is an object.

    Raises:
        BadInput: it is none.
    """
    if not isinstance(content, dict):
        raise BadInput(
            f"{where} holds a {type(content).__name__}; expected an object with images, "
            "annotations and categories, as COCO's ground truth has them."
        )
    return content


def _categories(where: str, content: Any) -> list[dict[str, Any]]:
    checked(where, content)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise BadInput(
                f"{where} has no list {key!r}; expected images, annotations and categories."
            )
    for category in content["categories"]:
        if not isinstance(category, dict) or not {"id", "name"} <= category.keys():
            raise BadInput(f"{where}: a category must have an id and a name.")
        if not _key(category["id"]):
            raise BadInput(f"{where}: the id of a category is a number or a text.")
    numbers = [category["id"] for category in content["categories"]]
    for number in numbers:
        if numbers.count(number) > 1:
            raise BadInput(f"{where} has two categories with the id {number}.")
    found: list[dict[str, Any]] = content["categories"]
    return found


def _entries(where: str, content: dict[str, Any], chosen: Sequence[str]) -> Iterable[Entry]:
    """The images of one file, each with its instances."""
    kinds = {category["id"]: str(category["name"]) for category in content["categories"]}
    found: dict[Any, list[Instance]] = {}
    names: dict[str, Any] = {}
    seen: set[int | str] = set()
    for image in content["images"]:
        name, number = _named(where, image)
        if name in names:
            raise BadInput(
                f"{where} names {name} twice, as images {names[name]} and {number}; one picture "
                "cannot be anonymized twice: leave one out."
            )
        if number in found:
            raise BadInput(f"{where} has two images with the id {number}.")
        names[name], found[number] = number, []
    for annotation in content["annotations"]:
        if not isinstance(annotation, dict) or "id" not in annotation:
            raise BadInput(f"{where}: every annotation must be an object with an id.")
        at = f"{where}: annotation {annotation['id']}"
        if not _key(annotation["id"]):
            raise BadInput(f"{at}: an id is a number or a text.")
        if annotation["id"] in seen:
            raise BadInput(f"{where} has two annotations with the id {annotation['id']}.")
        seen.add(annotation["id"])
        if not _key(annotation.get("image_id")) or annotation["image_id"] not in found:
            raise BadInput(
                f"{at} is of image {annotation.get('image_id')}, which the file does not list."
            )
        if not _key(annotation.get("category_id")) or annotation["category_id"] not in kinds:
            raise BadInput(
                f"{at} is of category {annotation.get('category_id')}, which the file does not "
                "list."
            )
        category = kinds[annotation["category_id"]]
        if category in chosen:
            found[annotation["image_id"]].append(_instance(at, annotation, category))
    for image in content["images"]:
        size = image.get("height"), image.get("width")
        known = all(isinstance(side, int) and side > 0 for side in size)
        yield Entry(
            image["id"],
            _named(where, image)[0],
            (int(size[0]), int(size[1])) if known else None,  # type: ignore[arg-type]
            tuple(found[image["id"]]),
        )


def _named(where: str, image: Any) -> tuple[str, Any]:
    """The name and the id of an image; ``./a.jpg`` is ``a.jpg``, and one picture."""
    if not isinstance(image, dict) or not {"id", "file_name"} <= image.keys():
        raise BadInput(f"{where}: every image must have an id and a file_name.")
    name, number = image["file_name"], image["id"]
    if not _key(number):
        raise BadInput(f"{where}: the id of an image is a number or a text, not {number!r}.")
    path = PurePosixPath(name) if isinstance(name, str) else PurePosixPath()
    if not path.name or path.is_absolute() or ".." in path.parts or not str(name).isprintable():
        raise BadInput(
            f"{where}: image {number} is named {name!r}; expected a path below the images' folder."
        )
    return str(path), number


def _key(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _instance(at: str, annotation: dict[str, Any], category: str) -> Instance:
    box = annotation.get("bbox")
    if box is not None:
        if not _numbers(box) or len(box) != 4:
            raise BadInput(f"{at}: bbox must be [x, y, width, height] in pixels, got {box!r:.60}.")
        box = float(box[0]), float(box[1]), float(box[0] + box[2]), float(box[1] + box[3])
    keypoints = annotation.get("keypoints")
    if keypoints == []:  # as some tools write of whoever has none
        keypoints = None
    if keypoints is not None:
        if not _numbers(keypoints) or len(keypoints) % 3:
            raise BadInput(f"{at}: keypoints must be x, y and visibility in turn, in one list.")
        keypoints = np.array(keypoints, np.float64).reshape(-1, 3)
    shape = annotation.get("segmentation")
    polygons, rle = None, None
    if isinstance(shape, dict):
        size: Any = shape.get("size")
        counts = shape.get("counts")
        if not (_numbers(size) and len(size) == 2 and isinstance(counts, str | list)):
            raise BadInput(f"{at}: a segmentation in runs must have a size and counts.")
        rle = {"size": [int(side) for side in size], "counts": counts}
    elif isinstance(shape, list):
        if not all(_numbers(polygon) and len(polygon) % 2 == 0 for polygon in shape):
            raise BadInput(f"{at}: a polygon must be a list of x and y in turn, in pixels.")
        polygons = tuple(np.array(polygon, np.float64) for polygon in shape if polygon) or None
        far = max((float(np.abs(polygon).max()) for polygon in polygons or ()), default=0.0)
        if far > FAR:
            raise BadInput(f"{at}: a polygon reaches {far:.6g} pixels far; no picture is so large.")
    elif shape is not None:
        raise BadInput(f"{at}: segmentation must be polygons or runs, got {shape!r:.60}.")
    area = annotation.get("area")
    if area is not None and not _numbers([area]):
        raise BadInput(f"{at}: area must be a number of pixels, got {area!r:.60}.")
    crowd = annotation.get("iscrowd")
    if crowd not in (None, 0, 1):  # the text "0" is true, and whoever is a crowd may be left
        raise BadInput(f"{at}: iscrowd must be 0 or 1, got {crowd!r:.60}.")
    number = annotation["id"]
    return Instance(number, category, box, polygons, rle, bool(crowd), keypoints, area)


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and -MOST < v < MOST for v in values
    )


def _united(where: str, one: Entry, other: Entry) -> Entry:
    """An image that two files name; what an instance lacks in one it may have from the other."""
    if one.size and other.size and one.size != other.size:
        raise BadInput(
            f"{where} says that {one.name} is {other.size[1]} x {other.size[0]} pixels, and "
            f"another file {one.size[1]} x {one.size[0]}."
        )
    known = {(i.id, i.category, i.box): i for i in one.instances}
    for instance in other.instances:
        key = instance.id, instance.category, instance.box
        if key in known:
            first = known[key]
            if first.polygons is None and first.rle is None:
                first = replace(first, polygons=instance.polygons, rle=instance.rle)
            if first.keypoints is None:
                first = replace(first, keypoints=instance.keypoints)
            if first.area is None:
                first = replace(first, area=instance.area)
            instance = first
        known[key] = instance
    return one._replace(size=one.size or other.size, instances=tuple(known.values()))
