"""Who is to be hidden, where, and why somebody is not."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import tiny_coco as tiny
from pycocotools import mask as coco

from velatura.data import people
from velatura.errors import BadInput
from velatura.impact import _formats, _where
from velatura.impact._faces import face_box
from velatura.impact._where import Config, find, resolved

BLANK = np.zeros((tiny.HEIGHT, tiny.WIDTH, 3), np.uint8)


def found(tmp_path: Path, annotations, image=BLANK, boxes=None, points=True, reach=0.0, **values):
    """What is found in the one image of a data set."""
    content = tiny.document([tiny.listed(1, "a.png", *image.shape[:2])], annotations)
    if not points:
        content["categories"][0].pop("keypoints")
    tiny.write(tmp_path, content)
    data = _formats.read("coco", tmp_path, images=tmp_path)
    cfg = resolved(Config(**{"dilate": 0.0, **values}), data)
    mine = None if boxes is None else np.array(boxes, float).reshape(-1, 4)
    return find(image, data.entries[0], cfg, data.points, reach, mine)


def drawn(answer) -> np.ndarray:
    hidden = np.zeros(BLANK.shape[:2], bool)
    for region in answer.regions:
        hidden[region.place] |= True if region.mask is None else region.mask
    return hidden


# ------------------------------------------------------------------------------------- masks


def test_a_polygon_is_cut_as_cocos_own_library_cuts_it(tmp_path):
    """At its place only, against the whole picture; some reach beyond the edges."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        middle, spread = rng.uniform(-5, 70, 2), rng.uniform(2, 30)
        polygons = [
            (middle + rng.normal(0, spread, (int(rng.integers(3, 9)), 2))).ravel().tolist()
            for _ in range(int(rng.integers(1, 3)))
        ]
        runs = coco.merge(coco.frPyObjects(polygons, tiny.HEIGHT, tiny.WIDTH))
        with warnings.catch_warnings(action="ignore"):  # it calls NumPy in an old way
            expected = coco.decode(runs).astype(bool)
        person = tiny.person(1, 1, (0, 0, 0, 0), segmentation=polygons)
        answer = found(tmp_path, [person])
        np.testing.assert_array_equal(drawn(answer), expected)
        if expected.any():
            rows, columns = np.nonzero(expected)
            assert answer.boxes == [(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


@pytest.mark.parametrize("packed", [True, False])
def test_runs_and_polygons_side_by_side(tmp_path, packed):
    mask = np.zeros((tiny.HEIGHT, tiny.WIDTH), np.uint8)
    mask[5:9, 50:60] = mask[30, 2] = 1
    runs = coco.encode(np.asfortranarray(mask))
    if packed:
        runs["counts"] = runs["counts"].decode()
    else:
        flat = np.concatenate([[0], mask.ravel("F"), [0]])
        ends = np.flatnonzero(np.diff(flat))
        runs["counts"] = np.diff(np.concatenate([[0], ends, [mask.size]])).tolist()
    crowd = tiny.person(1, 1, (2, 5, 58, 26), segmentation=runs, iscrowd=1)
    one = tiny.person(2, 1, (10, 10, 20, 20))
    answer = found(tmp_path, [crowd, one])
    assert (answer.hidden, answer.skipped) == ([1, 2], [])
    alone = drawn(found(tmp_path, [crowd]))
    np.testing.assert_array_equal(alone, mask.astype(bool))
    np.testing.assert_array_equal(drawn(answer), alone | drawn(found(tmp_path, [one])))
    answer = found(tmp_path, [crowd, one], crowds=False)
    assert (answer.hidden, answer.skipped) == ([2], [(1, "crowd")])


def test_a_box_stands_in_for_a_mask_that_is_none(tmp_path):
    for shape in (None, [], [[3, 3, 9, 9]], [[-50, -50, -40, -50, -40, -40]]):
        person = tiny.person(1, 1, (3.5, 4, 10, 9), segmentation=shape)
        answer = found(tmp_path, [person])
        assert answer.boxes == [(3, 4, 14, 13)]
        assert answer.regions[0].mask is None
    whole = found(tmp_path, [tiny.person(1, 1, (10, 10, 20, 20))], shape="box")
    assert drawn(whole).sum() == whole.regions[0].size[0] * whole.regions[0].size[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"segmentation": None, "bbox": [3, 3, 0, 5]}, "box without area"),
        ({"segmentation": None, "bbox": [3, 3, 5, -1]}, "box without area"),
        ({"segmentation": None, "bbox": [70, 3, 5, 5]}, "outside the picture"),
        ({"segmentation": [[-9, -9, -2, -9, -2, -2]], "bbox": None}, "outside the picture"),
        ({"segmentation": None, "bbox": None}, "neither mask nor box"),
        ({"bbox": [0, 0, 9, 9], "segmentation": None}, "smaller than min_size"),
    ],
)
def test_whoever_is_left_has_a_reason(tmp_path, change, reason):
    person = {**tiny.person(1, 1, (10, 10, 20, 20)), **change}
    person = {key: value for key, value in person.items() if value is not None}
    answer = found(tmp_path, [person, tiny.person(2, 1, (30, 10, 20, 20))], min_size=10)
    assert (answer.hidden, answer.skipped) == ([2], [(1, reason)])


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (
            {"size": [10, 20], "counts": [200]},
            "Annotation 1 has a mask of 20 x 10 pixels, and the picture has 64 x 48.",
        ),
        (
            {"size": [48, 64], "counts": [1, 2, 99999]},
            "Annotation 1 has a mask that is none: ",
        ),
        # COCO's own library shows what the memory held where runs end too early.
        *(
            (
                {"size": [48, 64], "counts": counts},
                "mask that is none: its runs are not of the 64 x 48 pixels that it says",
            )
            for counts in ([10, 5], [], [10, -5, 3067], "", "04")
        ),
        ({"size": [48, 64], "counts": [10.5, 3061.5]}, "none: a run is a whole number of pixels"),
        ({"size": [48, 64], "counts": "P" * 30}, "none: its text is no packed runs"),
    ],
)
def test_a_mask_of_another_picture_is_an_error(tmp_path, shape, says):
    with pytest.raises(BadInput, match=says):
        found(tmp_path, [tiny.person(1, 1, (10, 10, 20, 20), segmentation=shape)])


def test_regions_grow_by_dilation_and_by_what_the_anonymizer_wants(tmp_path):
    one = [tiny.person(1, 1, (10, 10, 20, 20), segmentation=None)]
    assert found(tmp_path, one, dilate=0.1, reach=0.2).regions[0].box == (4, 4, 36, 36)
    assert found(tmp_path, one, dilate=0.1, reach=0.2).boxes == [(10, 10, 30, 30)]


# ------------------------------------------------------------------------------------- faces


def test_a_face_by_its_eyes(tmp_path):
    """64 mm between the eyes: at 8 pixels the head's square has 8 / 64 x 240 = 30."""
    person = tiny.person(7, 1, (0, 0, 60, 48), **tiny.face(30, 24, 8))
    answer = found(tmp_path, [person], kind="face")
    assert answer.boxes == [(15, 9, 45, 39)]
    assert answer.regions[0].kind == "face"
    assert answer.regions[0].id == 7
    hidden = found(tmp_path, [tiny.person(7, 1, (0, 0, 60, 48), **tiny.face(30, 24, 8, seen=1))],
                   kind="face")  # fmt: skip
    assert hidden.boxes == answer.boxes  # labelled, though something is before it


def test_the_face_of_whoever_has_no_keypoints(tmp_path):
    """Nobody labelled them: the whole person is hidden, unless the paper's way is asked for."""
    both = [
        tiny.person(1, 1, (0, 0, 20, 40)),
        tiny.person(2, 1, (20, 0, 20, 40), **tiny.face(30, 8, 4)),
        tiny.person(3, 1, (40, 0, 20, 40), keypoints=[0] * 21),
    ]
    answer = found(tmp_path, both, kind="face")
    assert (answer.hidden, answer.whole, answer.skipped) == ([1, 2, 3], [1, 3], [])
    assert [region.kind for region in answer.regions] == ["body", "face", "body"]
    answer = found(tmp_path, both, kind="face", unlabelled="skip")
    assert (answer.hidden, answer.whole) == ([2], [])
    assert answer.skipped == [(1, "no keypoints"), (3, "no keypoints")]
    legs = [0] * 15 + [30, 30, 2, 40, 30, 2]
    answer = found(tmp_path, [tiny.person(4, 1, (20, 0, 20, 40), keypoints=legs)], kind="face")
    assert answer.skipped == [(4, "no point of the face is labelled")]


def test_the_face_of_a_head_and_a_neck():
    """CrowdPose has no eyes: 100 mm below the top of the head, along the neck."""
    points = np.array([[10, 10, 2], [38, 10, 2]])  # lying; 28 pixels are 280 mm
    box = face_box(points, ["head", "neck"], None)
    assert box == pytest.approx((20 - 12, 10 - 12, 20 + 12, 10 + 12))
    upright = face_box(points[:1], ["head"], (0, 5, 30, 75))  # a seventh of 70 pixels, or .6 of 30
    assert upright == pytest.approx((10 - 9, 10 + 7.5 - 9, 10 + 9, 10 + 7.5 + 9))
    assert face_box(points[1:], ["neck"], None) is None


def test_the_person_says_how_large_a_head_is_at_least():
    """Where two points are one behind the other, whatever they are of, their pair says nothing."""
    names, box = ["nose", "left_eye", "left_shoulder", "right_shoulder"], (0, 0, 200, 280)
    aside = np.array([[0, 0, 0], [100, 40, 2], [90, 120, 2], [96, 120, 2]])
    assert face_box(aside, names, box) == pytest.approx((40, -20, 160, 100))  # .6 of 200
    one_pixel = np.array([[100, 40, 2], [100, 40, 2], [0, 0, 0], [0, 0, 0]])
    assert face_box(one_pixel, names, box) == pytest.approx((40, -20, 160, 100))
    # Two points of the head that are apart: 5 pixels of 48 mm are 25; a seventh of 280 is more.
    apart = np.array([[100, 40, 2], [105, 40, 2], [0, 0, 0], [0, 0, 0]])
    assert face_box(apart, names, box) == pytest.approx((82.5, 20, 122.5, 60))
    assert face_box(apart, names, (0, 0, 200, 70)) == pytest.approx((90, 27.5, 115, 52.5))  # lying


def test_the_face_of_a_person_without_a_box(tmp_path):
    """Its mask says how large the person is, else how far the keypoints reach, else nothing."""
    points = [20, 10, 2, 20, 10, 2] + [0] * 15
    flat = {"bbox": None, "segmentation": [[10, 5, 30, 5, 30, 35, 10, 35]], "keypoints": points}
    answer = found(tmp_path, [tiny.person(1, 1, (0, 0, 0, 0), **flat)], kind="face")
    assert (answer.boxes, answer.hidden) == ([(14, 4, 26, 16)], [1])  # .6 of 20
    flat = {"bbox": [3, 3, 0, 5], "segmentation": None, "keypoints": [*points[:18], 30, 45, 2]}
    answer = found(tmp_path, [tiny.person(1, 1, (0, 0, 0, 0), **flat)], kind="face")
    assert answer.boxes == [(17, 7, 23, 13)]  # .6 of 10, more than a seventh of 35
    flat["keypoints"] = points
    answer = found(tmp_path, [tiny.person(1, 1, (0, 0, 0, 0), **flat)], kind="face")
    assert (answer.hidden, answer.skipped) == ([], [(1, "nothing says how large the face is")])


def test_faces_of_generated_people_are_covered():
    """Whose head is drawn by keypoints that are known, in every action and view."""
    cfg = people.Config(size=96, frames=2, train_people=6, train_clips=1)
    seen = 0
    for clip in range(6):
        figure = people.figure(cfg, "train", clip)
        for points, box in zip(figure.keypoints, figure.boxes, strict=True):
            known = points[:5][points[:5, 2] > 0]
            if not len(known):
                continue
            seen += 1
            found = face_box(points.astype(float), people.KEYPOINTS, tuple(box.tolist()))
            assert found is not None
            x0, y0, x1, y1 = found
            assert (known[:, 0] >= x0).all()
            assert (known[:, 0] <= x1).all()
            assert (known[:, 1] >= y0).all()
            assert (known[:, 1] <= y1).all()
            tall = box[3] - box[1]
            assert tall / 12 < y1 - y0 < tall / 2
    assert seen >= 8


# ---------------------------------------------------------------------- a detector, or a file


def test_found_faces_go_to_whoever_covers_them(tmp_path):
    near = tiny.person(1, 1, (0, 0, 40, 40), segmentation=None)
    behind = tiny.person(2, 1, (20, 0, 40, 40), segmentation=None)
    lost = tiny.person(3, 1, (0, 44, 6, 4), segmentation=None)
    boxes = [[50, 2, 58, 10], [22, 4, 30, 12], [2, 2, 8, 8], [60.5, 41, 63, 47]]
    answer = found(tmp_path, [near, behind, lost], boxes=boxes, kind="face", source="detector")
    owners = {region.box: region.id for region in answer.regions}
    # Both cover the second; each has one, and what is left over is hidden, too.
    assert owners == {
        (2, 2, 8, 8): 1,
        (22, 4, 30, 12): 2,
        (50, 2, 58, 10): "found-2",
        (60, 41, 63, 47): "found-3",
    }
    assert (answer.hidden, answer.extra) == ([1, 2], 2)
    assert answer.skipped == [(3, "no face found")]


def test_a_crowd_has_many_faces(tmp_path):
    crowd = tiny.person(1, 1, (0, 0, 60, 40), segmentation=None, iscrowd=1)
    boxes = [[5, 5, 15, 15], [25, 5, 35, 15]]
    answer = found(tmp_path, [crowd], boxes=boxes, kind="face", source="detector", min_size=12)
    assert (answer.hidden, answer.extra, answer.regions) == ([], 0, [])
    answer = found(tmp_path, [crowd], boxes=boxes, kind="face", source="detector")
    assert (answer.hidden, answer.extra, len(answer.regions)) == ([1], 0, 2)


# ---------------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"kind": "body", "source": "keypoints"}, "keypoints say where faces are"),
        ({"kind": "face", "source": "annotations"}, "of person are of whole bodies"),
        ({"kind": "frame", "source": "boxes"}, "leave the source out"),
        ({"kind": "face", "source": "boxes"}, "A file of boxes goes with the source boxes"),
        ({"kind": "face", "boxes": "x.json"}, "A file of boxes goes with the source boxes"),
        ({"categories": ("persn",)}, r"No category named 'persn'. Did you mean 'person'\?"),
    ],
)
def test_what_does_not_go_together(tmp_path, values, says):
    tiny.make(tmp_path)
    cfg = Config(**values)
    with pytest.raises(BadInput, match=says):
        resolved(cfg, _formats.read("coco", tmp_path, categories=cfg.categories))


def test_keypoints_that_are_asked_for_and_not_there(tmp_path):
    with pytest.raises(
        BadInput, match=r"annotations/tiny_train.json has no keypoints of person.* by detector"
    ):
        found(tmp_path, [tiny.person(1, 1, (10, 10, 20, 20))], kind="face", points=False)
    with pytest.raises(BadInput, match="has no keypoints of person"):
        found(tmp_path, [tiny.person(1, 1, (10, 10, 20, 20))], kind="face")


def test_pycocotools_is_asked_for_at_once(tmp_path, monkeypatch):
    data = _formats.read("coco", tiny.make(tmp_path))
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(BadInput, match=r"Masks .* need pycocotools: pip install .velatura\[impact"):
        _where.check(resolved(Config(), data), data)
    _where.check(resolved(Config(kind="frame"), data), data)
