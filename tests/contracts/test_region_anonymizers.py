"""The contract of everything that hides parts of an image: plug-ins, and what ``impact`` adds."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image
from regions.tiny_diffusion import Lots

from velatura import regions
from velatura.errors import BadInput
from velatura.impact.anonymize import methods, setup
from velatura.regions import Region, RegionAnonymizer, grown, region_seed
from velatura.regions._crop import covered
from velatura.regions.diffusion import Config, Diffusion

HEIGHT, WIDTH = 60, 80
LEVELS = ("low", "medium", "high")

# What is drawn depends on what it hides. Adding a file to velatura/regions asks for a line here.
READS = {
    "blur": True,
    "diffusion": False,
    "external": True,  # of a tool that nobody knows
    "frame": True,
    "gan": False,
    "maskout": False,
    "none": True,
    "pixelate": True,
    "removal": False,
}
CASES = [
    *((name, {"level": level}) for name in ("blur", "pixelate", "maskout") for level in LEVELS),
    *(("maskout", {"level": "low", "fill": fill}) for fill in ("black", "noise")),
    ("removal", {}),
    ("frame", {"model": "pixelate"}),
    ("frame", {"model": "light"}),
    ("external", {}),
    ("gan", {}),
    ("gan", {"histogram": True}),
    ("diffusion", {}),  # by lots, where its library is not installed
    ("diffusion", {"size": 32, "steps": 2}),
    ("none", {}),
]
IDS = [f"{name} {' '.join(map(str, values.values()))}".strip() for name, values in CASES]


def picture(seed: int = 0) -> np.ndarray:
    """(60, 80, 3) uint8: noise over a slope, so that every pixel is its own."""
    noise = np.random.default_rng(seed).integers(0, 128, (HEIGHT, WIDTH, 3))
    return (noise + np.linspace(0, 127, WIDTH)[:, None]).astype(np.uint8)


def ellipse(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    inside = ((y + 0.5) / height * 2 - 1) ** 2 + ((x + 0.5) / width * 2 - 1) ** 2
    return inside < 1


def crowd() -> list[Region]:
    """A mask in a corner, two bodies that overlap, a face in one of them, and a single pixel."""
    return [
        Region((0, 0, 14, 20), "body", ellipse(20, 14), id=7),
        Region((20, 10, 44, 50), "body", ellipse(40, 24), id=3),
        Region((36, 14, 60, 56), "body", id=12),
        Region((26, 12, 36, 22), "face", id=3),
        Region((70, 40, 71, 41), "face", id="found-0"),
    ]


def union(found: list[Region]) -> np.ndarray:
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    for region in found:
        hidden[region.place] |= True if region.mask is None else region.mask
    return hidden


@pytest.fixture
def made(tmp_path, request) -> RegionAnonymizer:
    name, values = request.param
    if name == "external":
        Image.fromarray(255 - picture()).save(tmp_path / "a.png")
        values = {"folder": str(tmp_path)}
    if name == "diffusion" and not values:
        return Diffusion(Lots(), Config(size=32))
    if name == "diffusion":
        values = {**values, "model": str(request.getfixturevalue("diffusion_folder"))}
    if name == "gan":
        values = {**values, "model": str(request.getfixturevalue("gan_file"))}
    return setup({"method": {"name": name, **values}}).anonymizer()


every = pytest.mark.parametrize("made", CASES, ids=IDS, indirect=True)


def test_every_method_is_held_to_this():
    assert set(READS) == set(methods()) == {name for name, _ in CASES}


@every
def test_it_says_whether_it_reads_what_it_hides(made):
    assert made.reads_region == READS[made.name]
    assert made.describe()["name"] == made.name


@every
def test_outside_the_regions_every_bit_stays(made):
    image, hidden = picture(), union(crowd())
    before = image.copy()
    out = made(image, crowd(), seed=5, picture="a.jpg")
    assert (out.shape, out.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(out[~hidden], image[~hidden])
    if made.name != "none":
        assert (out[hidden] != image[hidden]).any(-1).mean() > 0.7
    assert not np.shares_memory(out, image)


@every
def test_order_and_repetition_do_not_matter(made):
    image = picture()
    first = made(image, crowd(), seed=5, picture="a.jpg")
    for order in ([4, 3, 2, 1, 0], [2, 0, 3, 1, 4]):
        shuffled = [crowd()[at] for at in order]
        np.testing.assert_array_equal(made(image, shuffled, seed=5, picture="a.jpg"), first)


@every
def test_noise_under_a_region_shows_or_does_not_as_it_says(made):
    """Privacy by construction: where a region is not read, nothing of it can come back."""
    image, hidden = picture(), union(crowd())
    other = image.copy()
    other[hidden] = np.random.default_rng(9).integers(0, 256, (int(hidden.sum()), 3), np.uint8)
    a, b = (made(i, crowd(), seed=5, picture="a.jpg") for i in (image, other))
    if not made.reads_region:
        np.testing.assert_array_equal(a, b)
    elif made.name in ("blur", "pixelate", "frame"):
        assert (a != b).any(), "record it as one that does not read what it hides"


def some(lot: np.random.Generator, height: int, width: int) -> list[Region]:
    """Regions anywhere: single pixels, all of the picture, over each other, grown beyond it."""
    found = []
    for number in range(lot.integers(1, 6)):
        x, y = (np.sort(lot.choice(side + 1, 2, replace=False)) for side in (width, height))
        box = (int(x[0]), int(y[0]), int(x[1]), int(y[1]))
        if lot.random() < 0.2:
            box = (box[0], box[1], box[0] + 1, box[1] + 1)
        elif lot.random() < 0.1:
            box = (0, 0, width, height)
        mask = lot.random((box[3] - box[1], box[2] - box[0])) < 0.5
        kind = "face" if lot.random() < 0.5 else "body"
        region = Region(box, kind, mask if lot.random() < 0.6 else None, id=number)
        found.append(grown(region, float(lot.choice([0, 0.05, 0.3, 4])), height, width))
    return found


@pytest.mark.parametrize(
    "made",
    [case for case in CASES if case[0] in regions.names()],
    ids=[name for name, case in zip(IDS, CASES, strict=True) if case[0] in regions.names()],
    indirect=True,
)
def test_pictures_and_regions_of_any_size(made):
    takes_long = made.name == "diffusion" and made.painter.name != "Lots"
    for seed in range(4 if takes_long else 30):
        lot = np.random.default_rng(seed)
        height, width = (1 if lot.random() < 0.1 else int(lot.integers(1, 70)) for _ in range(2))
        image, found = lot.integers(0, 256, (height, width, 3), np.uint8), some(lot, height, width)
        hidden = covered(found, height, width)
        other = image.copy()
        other[hidden] = lot.integers(0, 256, (int(hidden.sum()), 3), np.uint8)
        out = made(image, found, picture="a.jpg")
        np.testing.assert_array_equal(out[~hidden], image[~hidden])
        np.testing.assert_array_equal(made(image, found[::-1], picture="a.jpg"), out)
        if not made.reads_region:
            np.testing.assert_array_equal(made(other, found, picture="a.jpg"), out)


@every
def test_without_regions_nothing_changes(made):
    np.testing.assert_array_equal(made(picture(), [], picture="a.jpg"), picture())


@every
def test_the_whole_picture_is_a_region(made):
    out = made(picture(), [Region((0, 0, WIDTH, HEIGHT), "frame")], picture="a.jpg")
    assert out.shape == picture().shape
    assert (out != picture()).any() == (made.name != "none")


@every
@pytest.mark.parametrize(
    "region",
    [
        Region((0, 0, 81, 10)),
        Region((-1, 0, 8, 10)),
        Region((5, 5, 5, 9)),
        Region((0, 0, 8, 10), mask=np.ones((8, 10), bool)),
    ],
    ids=["beyond", "before", "empty", "turned mask"],
)
def test_a_region_of_another_picture_is_refused(made, region):
    with pytest.raises(ValueError, match="is no region of a picture of 80 x 60"):
        made(picture(), [region], picture="a.jpg")


@every
@pytest.mark.parametrize("wrong", [picture()[..., 0], picture().astype(np.float32)])
def test_another_kind_of_picture_is_refused(made, wrong):
    with pytest.raises(ValueError, match=r"image must be uint8 \(H, W, 3\)"):
        made(wrong, [])


def test_a_lot_is_drawn_by_seed_picture_and_id_alone():
    one = Region((0, 0, 9, 9), "face", id=3)
    moved = Region((4, 5, 30, 40), "face", id=3, score=0.5)
    assert region_seed(0, "a.jpg", one) == region_seed(0, "a.jpg", moved)
    others = [
        region_seed(1, "a.jpg", one),
        region_seed(0, "b.jpg", one),
        region_seed(0, "a.jpg", Region((0, 0, 9, 9), "face", id=4)),
        region_seed(0, "a.jpg", Region((0, 0, 9, 9), "body", id=3)),
    ]
    assert len({region_seed(0, "a.jpg", one), *others}) == 5
    noise = regions.load("maskout", fill="noise")
    drawn = [noise(picture(), [one], seed=s, picture=p) for s, p in ((0, "a"), (1, "a"), (0, "b"))]
    assert all((a != b).any() for a, b in zip(drawn, drawn[1:], strict=False))
    np.testing.assert_array_equal(
        drawn[0], noise(picture(), [one, Region((70, 50, 75, 55), id=9)], seed=0, picture="a")
        * union([one])[..., None] + picture() * ~union([one])[..., None],
    )  # fmt: skip


def test_wrong_names_and_values_are_one_sentence():
    with pytest.raises(BadInput, match=r"No method named 'blurr'. Did you mean 'blur'\?"):
        setup({"method": {"name": "blurr"}})
    with pytest.raises(BadInput, match=r"method\.level: .*'low', 'medium' or 'high'"):
        setup({"method": {"name": "blur", "level": "extreme"}})
    with pytest.raises(BadInput, match=r"Unknown key method\.cell\. Did you mean method\.cells\?"):
        setup({"method": {"name": "pixelate", "cell": 3}})
    with pytest.raises(BadInput, match="silhouette shows motion, and images have none"):
        setup({"method": {"name": "frame", "model": "silhouette"}}).anonymizer()
    with pytest.raises(BadInput, match="gan draws with a network of yours: name the file"):
        setup({"method": {"name": "gan"}}).anonymizer()
    with pytest.raises(BadInput, match="There is no folder '' of images"):
        setup({"method": {"name": "external"}}).anonymizer()


def test_what_needs_opencv_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    for name in ("blur", "removal"):
        with pytest.raises(BadInput, match=rf"{name} needs OpenCV.*velatura\[impact\]"):
            regions.load(name)
