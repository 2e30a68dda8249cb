"""WIDER FACE, CrowdPose and COCO's two files of the same images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_coco as tiny
from PIL import Image

from velatura.errors import BadInput
from velatura.impact import _formats
from velatura.impact.anonymize import anonymize, setup

FACES = {
    "method": {"name": "maskout", "level": "low"},
    "regions": {"kind": "face", "dilate": 0.0},
}


def test_two_files_of_the_same_images(tmp_path):
    """A person has the mask of one and the keypoints of the other; the dog is nobody."""
    tiny.make(tmp_path)
    content = json.loads((tmp_path / "annotations/tiny_train.json").read_text())
    masks, points = json.loads(json.dumps(content)), json.loads(json.dumps(content))
    for annotation in masks["annotations"]:
        annotation.pop("keypoints", None)
    masks["categories"][0].pop("keypoints")
    for annotation in points["annotations"]:
        annotation["segmentation"] = []
    points["annotations"].append(tiny.person(99, 2, (1, 1, 9, 9)))
    points["images"].pop(0)  # a file may be of fewer
    points["annotations"] = [a for a in points["annotations"] if a["image_id"]]
    files = [
        tiny.write(tmp_path, c, f"annotations/{n}_train.json")
        for n, c in (("masks", masks), ("points", points))
    ]
    data = _formats.read("coco", tmp_path, files)
    assert [entry.name for entry in data.entries] == ["0.png", "deep/1.png", "2.png", "3.png"]
    assert [[i.id for i in entry.instances] for entry in data.entries] == [
        [1, 2], [11, 12], [99], [31, 32],
    ]  # fmt: skip
    assert all(i.polygons is not None for entry in data.entries for i in entry.instances)
    assert [i.keypoints is not None for i in data.entries[3].instances] == [True, True]
    assert [i.keypoints is not None for i in data.entries[0].instances] == [False, False]
    assert data.points == {"person": tiny.POINTS}
    reversed_ = _formats.read("coco", tmp_path, files[::-1])
    assert {e.name: len(e.instances) for e in reversed_.entries} == {
        e.name: len(e.instances) for e in data.entries
    }
    points["images"][0]["width"] = 99
    tiny.write(tmp_path, points, "annotations/points_train.json")
    with pytest.raises(BadInput, match="says that deep/1.png is 99 x 48 pixels, and another file"):
        _formats.read("coco", tmp_path, files)


@pytest.mark.parametrize("folder", ["train", "images/train", "images", ""])
def test_where_images_usually_lie(tmp_path, folder):
    tiny.make(tmp_path / "data")
    moved = tmp_path / "other" / folder
    moved.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "data/train").rename(moved)
    (tmp_path / "data/annotations").rename(tmp_path / "other/annotations")
    data = _formats.read("coco", tmp_path / "other")
    assert data.images == Path(folder or ".")


WIDER = """\
0--Parade/a.png
2
8 6 10 12 0 0 0 0 0 0
30 20 9 8 2 0 0 1 0 0
1--Nobody/b.png
0
0 0 0 0 0 0 0 0 0 0
0--Parade/c.png
1
5 5 0 7 0 0 0 0 0 0
"""


def wider(root: Path, text: str = WIDER) -> Path:
    for number, name in enumerate(("0--Parade/a.png", "1--Nobody/b.png", "0--Parade/c.png")):
        path = root / "WIDER_train/images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tiny.noise(number)).save(path)
    path = root / "wider_face_split/wider_face_train_bbx_gt.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return root


def test_wider_face_becomes_coco(tmp_path):
    data = _formats.read("widerface", wider(tmp_path / "data"))
    out = tmp_path / "out"
    summary = anonymize(setup(FACES), data, out)
    assert summary["images"] == {
        "total": 3, "anonymized": 1, "untouched": 2, "failed": 0, "left": 0, "not_annotated": 0,
    }  # fmt: skip
    assert summary["instances"] == {
        "total": 3, "anonymized": 2, "share": pytest.approx(2 / 3, abs=1e-6),
        "skipped": {"box without area": 1},
    }  # fmt: skip
    source, made = (
        tiny.pixels(f / "WIDER_train/images/0--Parade/a.png") for f in (tmp_path / "data", out)
    )
    expected = source.copy()
    expected[6:18, 8:18] = expected[20:28, 30:39] = 127
    np.testing.assert_array_equal(made, expected)
    content = json.loads((out / "annotations/wider_face_train_bbx_gt.json").read_text())
    assert content["categories"] == [{"id": 1, "name": "face", "supercategory": "person"}]
    assert content["images"][0] == {
        "id": 1, "file_name": "0--Parade/a.png", "width": 64, "height": 48,
    }  # fmt: skip
    assert [(a["image_id"], a["bbox"], a["ignore"]) for a in content["annotations"]] == [
        (1, [8, 6, 10, 12], 0), (1, [30, 20, 9, 8], 1), (3, [5, 5, 0, 7], 1),
    ]  # fmt: skip
    assert content["annotations"][1]["attributes"]["blur"] == 2
    # What was made is a data set in COCO's form itself.
    again = _formats.read("coco", out, images=out / "WIDER_train/images")
    assert [len(entry.instances) for entry in again.entries] == [2, 0, 1]


@pytest.mark.parametrize(
    ("text", "line"),
    [("a.png\n", 1), ("a.png\n2\n1 2 3 4\n", 1), ("a.png\n0\n0 0 0 0\nb.png\n1\n1 2 3\n", 4),
     ("a.png\n-1\n", 1), ("a.png\nmany\n", 1)],
)  # fmt: skip
def test_a_list_of_wider_face_that_is_none(tmp_path, text, line):
    with pytest.raises(BadInput, match=rf"bbx_gt.txt, line {line}: expected a name, a count and"):
        _formats.read("widerface", wider(tmp_path, text))


def test_crowdpose_becomes_coco(tmp_path):
    """No masks, no area, no eyes: a head and a neck."""
    names = ["left_shoulder", "right_shoulder", "head", "neck"]
    annotation = {
        "id": 4, "image_id": 1, "category_id": 1, "bbox": [10, 4, 30, 40], "num_keypoints": 2,
        "keypoints": [0, 0, 0, 0, 0, 0, 20, 6, 2, 20, 13, 2],
    }  # fmt: skip
    image = {**tiny.listed(1, "a.jpg"), "crowdIndex": 0.2}
    content = {
        "images": [image],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }
    tiny.write(tmp_path / "data", content, "annotations/crowdpose_train.json")
    (tmp_path / "data/images").mkdir()
    Image.fromarray(tiny.noise(0)).save(tmp_path / "data/images/a.jpg")
    data = _formats.read("crowdpose", tmp_path / "data")
    out = tmp_path / "out"
    summary = anonymize(setup(FACES), data, out)
    assert summary["instances"]["anonymized"] == 1
    # 7 pixels from the top of the head to the neck: a head of 6, its middle 2.5 below the top.
    line = json.loads((out / "manifest.jsonl").read_text())
    assert line["regions"] == [{"id": 4, "kind": "face", "box": [17, 5, 23, 12], "mask": False}]
    made = json.loads((out / "annotations/crowdpose_train.json").read_text())
    assert made["annotations"] == [{**annotation, "iscrowd": 0, "area": 0.53 * 30 * 40}]
    assert made["images"] == [image]
    bodies = {"method": {"name": "maskout", "level": "low"}, "regions": {"dilate": 0.0}}
    anonymize(setup(bodies), data, tmp_path / "bodies")
    line = json.loads((tmp_path / "bodies/manifest.jsonl").read_text())
    assert line["regions"] == [{"id": 4, "kind": "body", "box": [10, 4, 40, 44], "mask": False}]
