"""A data set in COCO's form, small enough to write in a moment; nobody in it is anybody."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

POINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
)  # fmt: skip
HEIGHT, WIDTH = 48, 64


def noise(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def person(number: int, image: int, box: tuple[float, ...], **more: Any) -> dict[str, Any]:
    """An annotation with a polygon: a diamond in its box x, y, width, height."""
    x, y, w, h = box
    diamond = [x + w / 2, y, x + w, y + h / 2, x + w / 2, y + h, x, y + h / 2]
    annotation = {
        "id": number, "image_id": image, "category_id": 1, "bbox": list(box), "area": w * h / 2,
        "iscrowd": 0, "segmentation": [diamond],
    }  # fmt: skip
    return {key: value for key, value in {**annotation, **more}.items() if value is not None}


def face(x: float, y: float, apart: float, seen: int = 2) -> dict[str, Any]:
    """Keypoints: two eyes on a level, and nothing else."""
    points = [[0, 0, 0]] * len(POINTS)
    points[1], points[2] = [x + apart / 2, y, seen], [x - apart / 2, y, seen]
    return {"keypoints": [value for point in points for value in point], "num_keypoints": 2}


def listed(number: int, name: str, height: int = HEIGHT, width: int = WIDTH) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": width, "height": height}


def document(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "info": {"description": "a café"},  # bytes that a rewriting would change
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": 1, "name": "person", "keypoints": list(POINTS)},
            {"id": 2, "name": "dog"},
        ],
    }


def write(root: Path, content: Any, name: str = "annotations/tiny_train.json") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


def make(root: Path, count: int = 4, suffix: str = ".png") -> Path:
    """``count`` images below train/: two persons in each, none in every third, a dog in the first.

    Both have keypoints of a face but one person in the second image, who has none.
    """
    (root / "train" / "deep").mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        name = f"{'deep/' if number == 1 else ''}{number}{suffix}"
        Image.fromarray(noise(number)).save(root / "train" / name, quality=95)
        images.append(listed(number, name))
        if number % 3 == 2:
            continue
        one = {} if number == 1 else face(20, 12, 4)
        annotations.append(person(10 * number + 1, number, (10, 4, 20, 40), **one))
        annotations.append(person(10 * number + 2, number, (36, 6, 24, 36), **face(48, 14, 4)))
    annotations.append({**person(5, 0, (0, 0, 8, 8)), "category_id": 2})
    write(root, document(images, annotations))
    return root


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, and the SHA-256 of what is in it."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
