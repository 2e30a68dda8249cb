"""``velatura bench impact``: whole processes, ours beside the loop that one would first write.

    ours    velatura impact anonymize --method blur, on all cores
    plain   one process: decode by Pillow, mask by pycocotools, blur by OpenCV, encode alike

Both hide the same persons with the same Gaussian and write the same kind of file. Plain keeps no
record, checks nothing, and takes a picture as it is; OpenCV may use all cores in it, as it does by
itself. Sides alternate, so that whatever else the machine does hits both.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from velatura.deploy.bench import MIB, Cost, _run
from velatura.errors import BadInput
from velatura.regions.blur import LEAST, SIGMA

__all__ = ["anonymizing", "crowded"]

PERSONS = 4  # in each image
MORE = 4  # times as many images, to see whether memory grows


def anonymizing(images: int = 960, rounds: int = 5, data: Path | None = None) -> dict[str, Any]:
    """Images a second of both sides, their ratio, and memory for a few images and for many.

    Args:
        images: of 640 x 480 pixels, drawn here, four persons in each; or those of ``data``.
        rounds: of each side.
        data: the folder of a data set, to measure on in place of drawn images.

    Raises:
        BadInput: no such folder.
        Failure: a side failed; its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "coco"
        if data is None:
            annotations = crowded(root, images)
        else:
            root = data
            files = sorted((data / "annotations").glob("person_keypoints_train*.json"))
            if not files:
                raise BadInput(f"There is no annotations/person_keypoints_train*.json in {data}.")
            annotations = files[0]
            images = len(json.loads(annotations.read_bytes())["images"])
        out = Path(folder) / "out"
        ours = [sys.executable, "-m", "velatura", "impact", "anonymize", "--data", str(root)]
        ours += ["--ann", str(annotations), "--out", str(out)]
        plain = [sys.executable, "-m", "velatura.impact._speed", str(root), str(annotations)]
        sides = {"ours": ours, "plain": [*plain, str(out)]}
        costs: dict[str, list[Cost]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, command in sides.items():
                costs[name].append(_run(command))
                shutil.rmtree(out)
        rate = {n: images / statistics.median(c.wall for c in cs) for n, cs in costs.items()}
        spent = {n: statistics.median(c.cpu for c in cs) / images for n, cs in costs.items()}
        found = {
            "images": images,
            "ours_images_per_s": rate["ours"],
            "plain_images_per_s": rate["plain"],
            "ratio": rate["ours"] / rate["plain"],
            "ours_cpu_ms": 1000 * spent["ours"],
            "plain_cpu_ms": 1000 * spent["plain"],
            "ours_mib": statistics.median(c.memory for c in costs["ours"]) / MIB,
            "plain_mib": statistics.median(c.memory for c in costs["plain"]) / MIB,
        }
        if data is None:
            root = Path(folder) / "more"
            ours = [*ours[:5], "--data", str(root), "--ann", str(crowded(root, MORE * images))]
            cost = _run([*ours, "--out", str(out)])
            found[f"ours_mib_{MORE}_times_the_images"] = cost.memory / MIB
            found["memory_ratio"] = found[f"ours_mib_{MORE}_times_the_images"] / found["ours_mib"]
    return found


def crowded(root: Path, images: int) -> Path:
    """Draw a data set in COCO's form: patches of colour, and ellipses for persons.

    Returns:
        Its file of annotations.
    """
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    listed, annotations = [], []
    for number in range(images):
        ground = rng.integers(0, 256, (12, 16, 3), np.uint8)
        image = Image.fromarray(ground).resize((640, 480), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        listed.append({"id": number, "file_name": f"{number}.jpg", "width": 640, "height": 480})
        for person in range(PERSONS):
            tall = float(rng.uniform(100, 400))
            wide = 0.4 * tall
            x, y = float(rng.uniform(0, 640 - wide)), float(rng.uniform(0, 480 - tall))
            across = x + wide / 2 * (1 + np.cos(turn))
            down = y + tall / 2 * (1 + np.sin(turn))
            points = np.stack([across, down], 1).round(2)
            draw.polygon(
                [tuple(p) for p in points.tolist()], tuple(rng.integers(0, 256, 3).tolist())
            )
            annotations.append(
                {
                    "id": PERSONS * number + person,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [x, y, wide, tall],
                    "area": wide * tall,
                    "iscrowd": 0,
                    "segmentation": [points.ravel().tolist()],
                }
            )
        image.save(root / "images" / f"{number}.jpg", quality=92)
    path = root / "annotations" / "persons.json"
    categories = [{"id": 1, "name": "person"}]
    path.write_text(
        json.dumps({"images": listed, "annotations": annotations, "categories": categories})
    )
    return path


def plain(root: Path, annotations: Path, out: Path) -> None:
    """The same work as one would first write it."""
    import cv2
    from PIL import Image
    from pycocotools import mask as coco

    content = json.loads(annotations.read_bytes())
    folder = next(f for f in (root / "images", root / "train2017") if f.is_dir())
    persons: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    people = {c["id"] for c in content["categories"] if c["name"] == "person"}
    for annotation in content["annotations"]:
        if annotation["category_id"] in people:
            persons[annotation["image_id"]].append(annotation)
    out.mkdir()
    for entry in content["images"]:
        image = np.array(Image.open(folder / entry["file_name"]).convert("RGB"))
        height, width = image.shape[:2]
        for annotation in persons[entry["id"]]:
            runs = annotation["segmentation"]
            if isinstance(runs, list) or isinstance(runs["counts"], list):
                runs = coco.frPyObjects(runs, height, width)
            mask = coco.decode(coco.merge(runs) if isinstance(runs, list) else runs)
            x, y, w, h = annotation["bbox"]
            reach = round(0.05 * (w * h) ** 0.5)
            mask = cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)).astype(bool)
            top, left = max(0, int(y) - reach), max(0, int(x) - reach)
            bottom, right = int(np.ceil(y + h)) + reach, int(np.ceil(x + w)) + reach
            part = image[top:bottom, left:right]
            sigma = max(LEAST, SIGMA["medium"] * min(part.shape[:2]))
            blurred = cv2.GaussianBlur(part, (0, 0), sigma)
            there = mask[top:bottom, left:right, None]
            image[top:bottom, left:right] = np.where(there, blurred, part)
        Image.fromarray(image).save(out / entry["file_name"], quality=100, subsampling=0)


if __name__ == "__main__":
    plain(*map(Path, sys.argv[1:]))
