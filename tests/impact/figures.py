"""A data set in COCO's form that a network learns in seconds: figures of a head and a body, crates
that have no keypoints, and exact boxes, masks and keypoints of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

POINTS = ("head", "left_hand", "right_hand", "feet")
SIDE = 64
CATEGORIES = [
    {"id": 3, "name": "person", "keypoints": list(POINTS), "skeleton": []},
    {"id": 7, "name": "crate"},
]  # ids that are not their places


def figure(image: np.ndarray, x: int, y: int, height: int) -> dict[str, Any]:
    """A head and a body, drawn; the annotation without its ids."""
    width = height // 2
    head = height // 4
    left = x + (width - head) // 2
    image[y : y + head, left : left + head] = (230, 180, 140)
    image[y + head : y + height, x : x + width] = (180, 40, 40)
    image[y + head : y + 2 * head, x : x + 3] = (250, 250, 90)  # the figure's right hand
    middle, top = x + width / 2, y + 1.5 * head
    points = [
        (middle, y + head / 2, 2), (x + width - 1.5, top, 2), (x + 1.5, top, 1),
        (middle, y + height - 1, 2),
    ]  # fmt: skip
    outline = [
        *(left, y, left + head, y, left + head, y + head, x + width, y + head),
        *(x + width, y + height, x, y + height, x, y + head, left, y + head),
    ]
    return {
        "category_id": 3, "bbox": [x, y, width, height], "iscrowd": 0,
        "area": head * head + width * (height - head), "segmentation": [outline],
        "keypoints": [value for point in points for value in point], "num_keypoints": 4,
    }  # fmt: skip


def crate(image: np.ndarray, x: int, y: int, side: int) -> dict[str, Any]:
    image[y : y + side, x : x + side] = (40, 80, 200)
    corners = [x, y, x + side, y, x + side, y + side, x, y + side]
    return {
        "category_id": 7, "bbox": [x, y, side, side], "iscrowd": 0, "area": side * side,
        "segmentation": [corners],
    }  # fmt: skip


def make(root: Path, count: int = 6, split: str = "train", seed: int = 0) -> Path:
    """``count`` pictures below SPLIT/ of a figure and a crate; annotations/tiny_SPLIT.json."""
    draw = np.random.default_rng(seed)
    (root / split).mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        image = draw.integers(90, 150, (SIDE, SIDE, 3), np.uint8)
        here = [
            figure(image, *draw.integers(0, 10, 2).tolist(), int(draw.integers(28, 48))),
            crate(image, *draw.integers(36, 44, 2).tolist(), int(draw.integers(14, 20))),
        ]
        Image.fromarray(image).save(root / split / f"{number}.png")
        images.append({"id": 100 + number, "file_name": f"{number}.png",
                       "width": SIDE, "height": SIDE})  # fmt: skip
        for annotation in here:
            annotations.append({"id": len(annotations), "image_id": 100 + number, **annotation})
    write(root, {"images": images, "annotations": annotations, "categories": CATEGORIES}, split)
    return root


def write(root: Path, content: dict[str, Any], split: str = "train") -> Path:
    path = root / "annotations" / f"tiny_{split}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def content(root: Path, split: str = "train") -> dict[str, Any]:
    return json.loads((root / "annotations" / f"tiny_{split}.json").read_text())


def darker(root: Path, out: Path) -> Path:
    """A copy with the same annotations and other pictures, as another arm has them."""
    shutil.copytree(root, out)
    for path in (out / "train").iterdir():
        with Image.open(path) as image:
            dark = np.asarray(image) // 2
        Image.fromarray(dark).save(path)
    return out


def hidden(root: Path, name: str = "blur") -> None:
    """Make a folder one that ``velatura impact anonymize`` is said to have made."""
    summary = {
        "schema": "velatura-impact-anonymize/1", "method": {"name": name, "level": "high"},
        "regions": {"kind": "body"}, "seed": 0, "instances": {"total": 8, "anonymized": 6,
        "share": 0.75, "skipped": {}}, "images": {"total": 6, "failed": 0},
    }  # fmt: skip
    (root / "summary.json").write_text(json.dumps(summary))
