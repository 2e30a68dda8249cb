"""What is wrong with a data set is said in one sentence, and nobody is shown because of it."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_coco as tiny
from PIL import ExifTags, Image

from velatura.errors import BadInput
from velatura.impact import _formats
from velatura.impact._manifest import lines
from velatura.impact.anonymize import anonymize, setup

HIDE = {"method": {"name": "maskout", "level": "low"}, "regions": {"dilate": 0.0}}
BOX = (8, 10, 12, 20)  # x, y, width, height of whoever is to be hidden


def one(root: Path, name: str, height: int = tiny.HEIGHT, width: int = tiny.WIDTH) -> None:
    """A data set of one image, with one person; the image is the caller's."""
    (root / "images").mkdir(parents=True)
    images = [tiny.listed(1, name, height, width)]
    tiny.write(root, tiny.document(images, [tiny.person(1, 1, BOX, segmentation=None)]))


def result(root: Path, out: Path, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The summary, and the only line of the manifest."""
    data = _formats.read("coco", root, images=root / "images")
    summary = anonymize(setup(HIDE), data, out, **options)
    (line,) = lines(out / "manifest.jsonl")
    return summary, line


def expected(image: np.ndarray) -> np.ndarray:
    hidden = image.copy()
    hidden[10:30, 8:20] = 127
    return hidden


# ----------------------------------------------------------------------- images of other kinds


def test_grey(tmp_path):
    one(tmp_path, "a.png")
    grey = tiny.noise(1)[..., 0]
    Image.fromarray(grey).save(tmp_path / "images/a.png")
    _, line = result(tmp_path, tmp_path / "out")
    copy = tiny.pixels(tmp_path / "out/images/a.png")
    np.testing.assert_array_equal(copy, expected(grey[..., None].repeat(3, -1)))
    assert line["warnings"] == []


def test_cmyk(tmp_path):
    one(tmp_path, "a.jpg")
    colours = Image.fromarray(tiny.noise(1)).convert("CMYK")
    colours.save(tmp_path / "images/a.jpg", quality=100)
    _, line = result(tmp_path, tmp_path / "out")
    with Image.open(tmp_path / "out/images/a.jpg") as image:
        assert image.mode == "RGB"
        copy = np.asarray(image).astype(int)
    assert np.abs(copy[12:28, 10:18] - 127).max() <= 2
    assert line["warnings"] == ["CMYK without an ICC profile: the colours are approximate."]


def test_sixteen_bits(tmp_path):
    one(tmp_path, "a.png")
    deep = tiny.noise(1)[..., 0].astype(np.uint16) * 256 + 77
    Image.fromarray(deep).save(tmp_path / "images/a.png")
    _, line = result(tmp_path, tmp_path / "out")
    copy = tiny.pixels(tmp_path / "out/images/a.png")
    np.testing.assert_array_equal(copy, expected((deep // 256)[..., None].repeat(3, -1)))
    assert line["warnings"] == ["16 bits per colour become 8."]


@pytest.mark.parametrize(
    ("orientation", "annotated"),
    # Where the sizes cannot tell, EXIF decides.
    [*((n, "upright") for n in range(2, 9)), *((n, "stored") for n in range(5, 9))],
)
def test_rotated(tmp_path, orientation, annotated):
    """EXIF is applied; unless the annotations' size says that they are of the file as it is."""
    back = {  # from the upright picture to the stored one
        2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: np.rot90, 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    upright = tiny.noise(1)
    stored = np.ascontiguousarray(back[orientation](upright))
    seen = upright if annotated == "upright" else stored
    one(tmp_path, "a.png", *seen.shape[:2])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(stored).save(tmp_path / "images/a.png", exif=exif)
    _, line = result(tmp_path, tmp_path / "out")
    with Image.open(tmp_path / "out/images/a.png") as image:
        assert not image.getexif()
        np.testing.assert_array_equal(np.asarray(image), expected(seen))
    (warning,) = line["warnings"]
    said = "is turned as its EXIF" if annotated == "upright" else "is not turned as EXIF says"
    assert said in warning


def test_a_profile_is_dropped_and_values_stay(tmp_path):
    """The validation set is read by programs that pass profiles over; training must be alike."""
    from PIL import ImageCms

    one(tmp_path, "a.png")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1)
    swapped = swapped.replace(b"????", b"gXYZ", 1)  # red is green
    Image.fromarray(tiny.noise(1)).save(tmp_path / "images/a.png", icc_profile=swapped)
    result(tmp_path, tmp_path / "out")
    with Image.open(tmp_path / "out/images/a.png") as image:
        assert "icc_profile" not in image.info
        np.testing.assert_array_equal(np.asarray(image), expected(tiny.noise(1)))


# --------------------------------------------------------------------- images that cannot be


def broken(path: Path, kind: str) -> None:
    if kind == "truncated":
        Image.fromarray(tiny.noise(1)).save(path)
        path.write_bytes(path.read_bytes()[:900])
    elif kind == "no picture":
        path.write_bytes(b"half of a sentence")
    elif kind == "another size":
        Image.fromarray(tiny.noise(1, 30, 30)).save(path)
    elif kind == "animated":
        frames = [Image.fromarray(tiny.noise(n)) for n in range(2)]
        frames[0].save(path, save_all=True, append_images=frames[1:], format="GIF")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "The annotations name a.png, and there is no file IMAGES/a.png."),
        ("truncated", "IMAGES/a.png is damaged or truncated: "),
        ("no picture", "IMAGES/a.png is no picture that can be read: JPEG, PNG, WebP"),
        ("another size", "The annotations are of 64 x 48 pixels, and a.png has 30 x 30."),
        ("animated", "IMAGES/a.png is animated, 2 pictures"),
    ],
)
def test_an_image_that_cannot_be_made_is_not_there(tmp_path, kind, says):
    one(tmp_path, "a.png")
    broken(tmp_path / "images/a.png", kind)
    summary, line = result(tmp_path, tmp_path / "out")
    assert line["status"] == "failed"
    assert line["error"].replace(str(tmp_path / "images"), "IMAGES").startswith(says)
    assert summary["failed"] == [{"image": "a.png", "error": line["error"]}]
    assert summary["images"]["failed"] == 1
    assert summary["instances"] == {
        "total": 1, "anonymized": 0, "share": None, "skipped": {"image failed": 1},
    }  # fmt: skip
    assert not (tmp_path / "out/images").exists()


def test_an_ending_that_cannot_be_written(tmp_path):
    one(tmp_path, "a.gif")
    Image.fromarray(tiny.noise(1)).save(tmp_path / "images/a.gif")
    _, line = result(tmp_path, tmp_path / "out")
    assert line["error"].startswith("a.gif must end in .jpg, .jpeg, .png, .webp")


def test_a_mask_that_is_none_fails_its_image_and_no_other(tmp_path):
    tiny.make(tmp_path)
    path = tmp_path / "annotations/tiny_train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = {"size": [9, 9], "counts": [81]}
    path.write_text(json.dumps(content))
    summary = anonymize(setup(HIDE), _formats.read("coco", tmp_path), tmp_path / "out")
    assert summary["images"]["anonymized"] == 2
    assert [failed["error"] for failed in summary["failed"]] == [
        "Annotation 1 has a mask of 9 x 9 pixels, and the picture has 64 x 48."
    ]
    assert not (tmp_path / "out/train/0.png").exists()


def test_images_that_nobody_annotated_are_counted_and_not_copied(tmp_path):
    tiny.make(tmp_path)
    Image.fromarray(tiny.noise(9)).save(tmp_path / "train/stranger.png")
    summary = anonymize(setup(HIDE), _formats.read("coco", tmp_path), tmp_path / "out")
    assert summary["images"]["not_annotated"] == 1
    assert not (tmp_path / "out/train/stranger.png").exists()


# -------------------------------------------------------------------- annotations that cannot be


def changed(content: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {**content, **values}


GOOD = tiny.document([tiny.listed(1, "a.png"), tiny.listed(2, "b.png")], [tiny.person(7, 1, BOX)])
BAD = [
    ([], "holds a list; expected an object with images, annotations and categories"),
    ({"images": []}, "has no list 'annotations'"),
    (changed(GOOD, images=[]), "annotation 7 is of image 1, which the file does not list"),
    (changed(GOOD, images=[], annotations=[]), "name no image"),
    (changed(GOOD, images=[{"id": 1}]), "every image must have an id and a file_name"),
    (changed(GOOD, categories=[{"id": 1}]), "a category must have an id and a name"),
    (changed(GOOD, categories=[{"id": 1, "name": "cat"}]), "No category named 'person'"),
    (
        changed(GOOD, categories=[{"id": 3, "name": "person"}]),
        "annotation 7 is of category 1, which the file does not list",
    ),
    (changed(GOOD, annotations=[{}]), "every annotation must be an object with an id"),
    (
        changed(GOOD, images=[*GOOD["images"], tiny.listed(3, "a.png")]),
        "names a.png twice, as images 1 and 3",
    ),
    (
        changed(GOOD, images=[*GOOD["images"], tiny.listed(1, "c.png")]),
        "has two images with the id 1",
    ),
    # One picture by two spellings: the second copy would show whom the first one hides.
    *(
        (
            changed(GOOD, images=[*GOOD["images"], tiny.listed(3, name)]),
            "names a.png twice, as images 1 and 3",
        )
        for name in ("./a.png", ".//a.png", "a.png/")
    ),
    (changed(GOOD, annotations=2 * GOOD["annotations"]), "has two annotations with the id 7"),
    (
        changed(GOOD, categories=[*GOOD["categories"], {"id": 1, "name": "cat"}]),
        "has two categories with the id 1",
    ),
    (changed(GOOD, categories=[{"id": [1], "name": "person"}]), "the id of a category is a number"),
    *(
        (changed(GOOD, images=[tiny.listed(1, name)]), re.escape(f"image 1 is named {name!r}"))
        for name in ("../a.png", "/etc/a.png", "", "a\nb.png")
    ),
]
INSTANCES = [
    ({"bbox": [1, 2, 3]}, r"annotation 7: bbox must be \[x, y, width, height\]"),
    ({"bbox": "all"}, "bbox must be"),
    ({"bbox": [1, 2, float("nan"), 4]}, "bbox must be"),
    ({"keypoints": [1, 2]}, "keypoints must be x, y and visibility in turn"),
    (
        {"keypoints": [1, 2, 2] * 5},
        "tiny_train.json: annotation 7 has 5 keypoints, and its category person names 7",
    ),
    ({"keypoints": [1, 2, 2] * 8}, "annotation 7 has 8 keypoints"),
    ({"segmentation": "x"}, "segmentation must be polygons or runs, got 'x'"),
    ({"segmentation": [[1, 2, 3]]}, "a polygon must be a list of x and y in turn"),
    # COCO's own library takes memory for every pixel of an edge, until there is none.
    ({"segmentation": [[5, 5, 1e9, 6, 20, 30]]}, r"a polygon reaches 1e\+09 pixels far"),
    ({"segmentation": [[5, 5, -2e5, 6, 20, 30]]}, "a polygon reaches 200000 pixels far"),
    ({"bbox": [0, 0, 10**400, 9]}, "bbox must be"),
    ({"segmentation": {"size": [3]}}, "a segmentation in runs must have a size and counts"),
    *(
        ({"iscrowd": value}, re.escape(f"annotation 7: iscrowd must be 0 or 1, got {value!r}."))
        for value in ("0", "", "false", 2, -1, 0.5, [0])
    ),
    ({"image_id": [1]}, r"annotation 7 is of image \[1\]"),
    ({"category_id": [1]}, r"annotation 7 is of category \[1\], which the file does not list"),
]


def test_the_good_one_is_good(tmp_path):
    tiny.write(tmp_path, GOOD)
    assert len(_formats.read("coco", tmp_path, images=tmp_path).entries) == 2


@pytest.mark.parametrize(("content", "says"), BAD, ids=[says[:40] for _, says in BAD])
def test_a_file_that_is_not_in_cocos_form(tmp_path, content, says):
    tiny.write(tmp_path, content)
    with pytest.raises(BadInput, match=says) as error:
        _formats.read("coco", tmp_path, images=tmp_path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith((str(tmp_path), "No category"))


@pytest.mark.parametrize(("change", "says"), INSTANCES, ids=[str(c) for c, _ in INSTANCES])
def test_an_annotation_that_is_none(tmp_path, change, says):
    content = copy.deepcopy(GOOD)
    content["annotations"][0] |= change
    tiny.write(tmp_path, content)
    with pytest.raises(BadInput, match=says):
        _formats.read("coco", tmp_path, images=tmp_path)


@pytest.mark.parametrize("value", [0, 1, False, True, None, "absent"])
def test_crowds_are_said_by_a_number_or_a_truth(tmp_path, value):
    content = copy.deepcopy(GOOD)
    content["annotations"][0]["iscrowd"] = value
    if value == "absent":
        del content["annotations"][0]["iscrowd"]
    tiny.write(tmp_path, content)
    (instance,) = _formats.read("coco", tmp_path, images=tmp_path).entries[0].instances
    assert instance.crowd is (value in (1, True))


@pytest.mark.parametrize("form", ["coco", "crowdpose"])
def test_a_list_is_said_to_be_one_wherever_images_are(tmp_path, form):
    path = tiny.write(tmp_path, [])
    with pytest.raises(BadInput, match=f"^{path} holds a list; expected an object with images"):
        _formats.read(form, tmp_path)


def test_text_that_is_no_json(tmp_path):
    tiny.write(tmp_path, GOOD).write_text("{")
    with pytest.raises(BadInput, match=r"tiny_train\.json is not JSON: "):
        _formats.read("coco", tmp_path, images=tmp_path)


def test_what_is_not_where_it_should_be(tmp_path):
    with pytest.raises(BadInput, match=r"There is no folder .*nowhere; --data names"):
        _formats.read("coco", tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"There is no annotations/\*\.json in "):
        _formats.read("coco", tmp_path)
    with pytest.raises(BadInput, match=r"No format named 'voc'. Available: coco, crowdpose, wider"):
        _formats.read("voc", tmp_path)
    tiny.write(tmp_path, GOOD)
    with pytest.raises(BadInput, match=r"No image of .* is in any of .*/train, .*by --images"):
        _formats.read("coco", tmp_path)
    with pytest.raises(BadInput, match="There is no file .*nothing.json of annotations"):
        _formats.read("coco", tmp_path, [Path("nothing.json")])
    tiny.write(tmp_path, GOOD, "annotations/tiny_val.json")
    with pytest.raises(BadInput, match="has 2 files of annotations; choose by --ann"):
        _formats.read("coco", tmp_path)
    outside = tiny.write(tmp_path.parent / "outside", GOOD)
    with pytest.raises(BadInput, match="must lie in .*, so that the copy has it at its place"):
        _formats.read("coco", tmp_path, [outside], images=tmp_path)


@pytest.mark.parametrize("value", [[], None])
def test_who_has_no_keypoints_may_have_an_empty_list(tmp_path, value):
    content = copy.deepcopy(GOOD)
    content["annotations"][0]["keypoints"] = value
    tiny.write(tmp_path, content)
    (instance,) = _formats.read("coco", tmp_path, images=tmp_path).entries[0].instances
    assert instance.keypoints is None
