"""Generated people as a COCO folder: masks and keypoints against other ways to find them, oracles
against what they promise, and the folder against whoever interrupts it."""

from __future__ import annotations

import io
import json
import re
import shutil
import warnings
from contextlib import redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_coco as tiny
import typer

cv2 = pytest.importorskip("cv2")
pytest.importorskip("pycocotools")

from pycocotools.coco import COCO  # noqa: E402
from pycocotools.cocoeval import COCOeval  # noqa: E402

from velatura import cli  # noqa: E402
from velatura.config import build  # noqa: E402
from velatura.data import _parallel  # noqa: E402
from velatura.data._people import body, motion  # noqa: E402
from velatura.data._people import crowd as crowds  # noqa: E402
from velatura.data._people.crowd import Crowd, Picture, draw, draw_crowd, replaced  # noqa: E402
from velatura.data._people.puppet import View  # noqa: E402
from velatura.data._people.scene import Actor, Occluder  # noqa: E402
from velatura.errors import BadInput, Failure  # noqa: E402
from velatura.impact import _formats  # noqa: E402
from velatura.impact import anonymize as copies  # noqa: E402
from velatura.impact import people as room  # noqa: E402

SIZE = 64
CFG = room.Config(train=6, val=3, size=SIZE)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("impact") / "people"
    room.make(CFG, out, workers=1)
    return out


def content(folder: Path, split: str = "train") -> dict[str, Any]:
    return json.loads((folder / f"annotations/people_{split}.json").read_text())


def near(mask: np.ndarray, reach: int = 1) -> np.ndarray:
    """A mask and the pixels beside it, where edges are soft."""
    side = 2 * reach + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def quietly(call: Any, *args: Any) -> Any:
    """COCO's library prints, and calls NumPy in an old way."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*args)


# ------------------------------------------------------------------------- masks and keypoints


def in_grey(crowd: Crowd, k: int, level: float) -> Crowd:
    """The picture with one person grey from top to toe."""
    grey = np.full(3, level)
    actor = crowd.actors[k]
    person = actor.person._replace(skin=grey, hair=grey)
    cover = None if actor.outfit.cover is None else grey
    outfit = actor.outfit._replace(shirt=grey, stripes=None, legs=grey, shoes=grey, cover=cover)
    actors = list(crowd.actors)
    actors[k] = actor._replace(person=person, outfit=outfit)
    return crowd._replace(actors=tuple(actors))


def test_a_mask_is_where_the_colour_of_its_person_counts():
    whole = beyond = 0
    for index in range(4):
        crowd = draw_crowd(0, "train", index)
        for k, mask in enumerate(draw(crowd, 96).people):
            greys = [draw(in_grey(crowd, k, v), 96, labels=False).image for v in (40.0, 180.0)]
            changed = (greys[0] != greys[1]).any(-1)
            # Eyes have a colour of their own.
            assert (mask & ~changed).sum() <= 0.02 * mask.sum()
            beyond += (changed & ~near(mask)).sum()
            whole += mask.sum()
    # What shows of somebody by less than half a pixel is in no mask.
    assert beyond <= 0.005 * whole


def test_no_pixel_is_in_two_masks():
    for index in range(6):
        picture = draw(draw_crowd(0, "train", index), SIZE)
        assert np.concatenate([picture.people, picture.parcels]).sum(0).max() == 1


def test_visible_keypoints_lie_on_their_person():
    seen = 0
    for index in range(12):
        picture = draw(draw_crowd(0, "val", index), SIZE)
        for mask, points in zip(picture.people, picture.keypoints, strict=True):
            for x, y, visible in points:
                if visible == 2:
                    assert near(mask, 2)[int(y), int(x)]
                    seen += 1
    assert seen > 200


def test_what_something_hides_is_marked_and_what_is_outside_has_no_place():
    crowd = draw_crowd(0, "train", 2)
    (actor,) = crowd.actors
    free = crowd._replace(room=crowd.room._replace(occluders=()), parcels=())
    (points,) = draw(free, SIZE).keypoints
    seen = np.flatnonzero(points[:, 2] == 2)
    assert len(seen) > 8
    for j in seen:
        place = points[j, :2] / SIZE - free.room.camera[0]
        disc = Occluder(place, np.zeros(2), np.zeros(2), 0.02, np.zeros(3))
        covered = free._replace(room=free.room._replace(occluders=(disc,)))
        (now,) = draw(covered, SIZE).keypoints
        assert now[j, 2] == 1
        np.testing.assert_array_equal(now[:, :2], points[:, :2])
    aside = free._replace(actors=(actor._replace(x=-0.1),))
    (cut,) = draw(aside, SIZE).keypoints
    outside = points[:, 0] / SIZE - actor.x - 0.1 < 0
    assert 0 < outside.sum() < 17
    np.testing.assert_array_equal(cut[:, 2] == 0, outside)
    np.testing.assert_array_equal(cut[outside], 0)


def test_nobody_is_in_two_splits_and_somebody_else_comes():
    def skins(actors: tuple[Actor, ...]) -> set[bytes]:
        return {actor.person.skin.tobytes() for actor in actors}

    for index in range(3):
        train, val = (draw_crowd(0, split, index) for split in ("train", "val"))
        others = replaced(train, 0, "train", index)
        again = replaced(train, 0, "train", index, slips=True)
        assert not skins(train.actors) & (skins(val.actors) | skins(others.actors))
        assert skins(others.actors) == skins(again.actors)
        assert {actor.x for actor in train.actors}.isdisjoint(actor.x for actor in val.actors)
        for old, new in zip(train.actors, others.actors, strict=True):
            assert new.person.build == old.person.build
            assert new.person.hair.tobytes() != old.person.hair.tobytes()
            assert new.outfit.shirt.tobytes() != old.outfit.shirt.tobytes()


# -------------------------------------------------------------------------------- the oracles


def three(index: int) -> list[Crowd]:
    crowd = draw_crowd(0, "train", index)
    return [crowd, *(replaced(crowd, 0, "train", index, slips=s) for s in (False, True))]


def joints(actor: Actor, crowd: Crowd) -> np.ndarray:
    """(17, 2): keypoints in units of the frame."""
    build, style = actor.person.build, actor.person.style
    angles = motion.pose(actor.action, actor.manner, style, np.zeros(1))
    points = body.keypoints(body.skeleton(build, angles, style.toe_out), build)
    return View(actor, crowd.room.tilt, crowd.room.camera).look(points)[0][0]


def moved(one: Crowd, other: Crowd) -> np.ndarray:
    """(K, 17): how far keypoints went, in heights of the head."""
    heads = [2 * actor.person.build.head * actor.scale for actor in one.actors]
    pairs = zip(one.actors, other.actors, strict=True)
    apart = [np.linalg.norm(joints(a, one) - joints(b, other), axis=1) for a, b in pairs]
    return np.array(apart) / np.array(heads)[:, None]


def silhouettes(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """(H, W): where anybody would be if nothing were in front, and soft edges of two pixels; of
    whoever is just outside the frame, too."""
    monkeypatch.setattr(crowds, "SEATED", "")  # nor a stool
    alone = crowd._replace(room=crowd.room._replace(occluders=()), parcels=())
    whole = np.zeros((SIZE, SIZE), bool)
    for actor in crowd.actors:
        for x, y in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
            beside = actor._replace(x=actor.x + x / SIZE, floor=actor.floor + y / SIZE)
            whole |= draw(alone._replace(actors=(beside,)), SIZE).people[0]
    monkeypatch.undo()
    return near(whole)


def overlap(one: Picture, other: Picture) -> list[float]:
    return [
        (a & b).sum() / (a | b).sum()
        for a, b in zip(one.people, other.people, strict=True)
        if a.sum() > 30
    ]


def test_poses_are_kept_or_missed_by_nearly_half_a_head():
    aligned, misaligned = [], []
    for index in range(60):
        crowd, same, missed = three(index)
        aligned.append(moved(crowd, same))
        misaligned.append(moved(crowd, missed))
    np.testing.assert_array_equal(np.concatenate(aligned), 0)
    mean = np.concatenate(misaligned).mean(0)
    assert 0.40 < mean.mean() < 0.49
    assert mean.min() > 0.1  # hips, the least
    assert mean.max() < 0.9  # wrists, the most


def test_outside_people_the_oracles_are_the_original_bit_for_bit(made, monkeypatch):
    shares: dict[str, list[float]] = {"aligned": [], "misaligned": []}
    free = 0
    for index in range(4):
        crowd = three(index)
        pictures = [draw(one, SIZE) for one in crowd]
        name = f"{index:06d}.png"
        places = [made / "train" / name, *(made / "oracle" / o / name for o in shares)]
        original = pictures[0]
        for picture, place in zip(pictures, places, strict=True):
            np.testing.assert_array_equal(tiny.pixels(place), picture.image)
        before = silhouettes(crowd[0], monkeypatch)
        for oracle, other, drawn in zip(shares, pictures[1:], crowd[1:], strict=True):
            anybody = before | silhouettes(drawn, monkeypatch)
            changed = (other.image != original.image).any(-1)
            assert not (changed & ~anybody).any()
            both = original.people.any(0) & other.people.any(0)
            assert changed[both].mean() > 0.97
            shares[oracle] += overlap(original, other)
            parcels = original.parcels.any(0) & ~anybody
            np.testing.assert_array_equal(other.image[parcels], original.image[parcels])
            free += parcels.sum()
    assert free > 300
    assert np.mean(shares["aligned"]) > 0.9  # hair and skirts
    assert np.mean(shares["misaligned"]) < 0.65


def test_the_arms_of_the_benchmark_are_the_oracles(made, tmp_path):
    data = _formats.read("coco", made, [Path("annotations/people_train.json")])
    assert data.categories == ("person",)
    assert data.points == {"person": tuple(room.KEYPOINTS)}
    for oracle in room.ORACLES:
        folder = made / "oracle" / oracle
        values = {
            "method": {"name": "external", "folder": str(folder)}, "regions": {"kind": "frame"},
        }  # fmt: skip
        summary = copies.anonymize(copies.setup(values), data, tmp_path / oracle, workers=1)
        assert summary["instances"]["share"] == 1.0
        assert tiny.tree(tmp_path / oracle / "train") == tiny.tree(folder)


# ----------------------------------------------------------------------------- what COCO says


def ap(folder: Path, found: list[dict[str, Any]], kind: str, split: str = "train") -> float:
    """COCO's AP of detections, in per cent."""
    truth = quietly(COCO, folder / f"annotations/people_{split}.json")
    evaluation = COCOeval(truth, quietly(truth.loadRes, deepcopy(found)), kind)
    if kind == "keypoints":
        evaluation.params.catIds = [room.PERSON]
    for step in ("evaluate", "accumulate", "summarize"):
        quietly(getattr(evaluation, step))
    return 100 * float(evaluation.stats[0])


def detections(annotations: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Annotations as a network's answer, sure of everything."""
    key = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}[kind]
    return [
        {"image_id": a["image_id"], "category_id": a["category_id"], key: a[key], "score": 1.0}
        for a in annotations
        if key in a
    ]


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_the_truth_has_full_marks(made, kind):
    found = detections(content(made)["annotations"], kind)
    assert ap(made, found, kind) == pytest.approx(100)
    assert 0 < ap(made, found[::2], kind) < 90


def test_boxes_areas_and_counts_are_of_the_masks(made):
    for split, images in (("train", 6), ("val", 3)):
        told = content(made, split)
        truth = quietly(COCO, made / f"annotations/people_{split}.json")
        assert [image["id"] for image in told["images"]] == list(range(1, images + 1))
        assert [a["id"] for a in told["annotations"]] == list(range(1, len(truth.anns) + 1))
        for one in told["annotations"]:
            mask = quietly(truth.annToMask, one)
            assert mask.shape == (SIZE, SIZE)
            x, y, w, h = one["bbox"]
            assert one["area"] == mask.sum() == mask[y : y + h, x : x + w].sum() > 0
            for edge in (mask[y], mask[y + h - 1], mask[:, x], mask[:, x + w - 1]):
                assert edge.any()
            if one["category_id"] == room.PERSON:
                points = np.array(one["keypoints"]).reshape(17, 3)
                assert one["num_keypoints"] == (points[:, 2] > 0).sum()
                assert set(points[:, 2]) <= {0, 1, 2}
            else:
                assert (one["num_keypoints"], "keypoints" in one) == (0, False)


def test_the_categories_are_those_of_coco():
    person, parcel = room.CATEGORIES
    assert (person["name"], parcel["name"]) == ("person", "parcel")
    assert person["keypoints"][:3] == ["nose", "left_eye", "right_eye"]
    names = [[person["keypoints"][joint - 1] for joint in bone] for bone in person["skeleton"]]
    assert len(names) == 19
    assert ["left_ankle", "left_knee"] in names
    for one, other in names:  # bones cross the body at shoulders, hips and eyes only
        sides = {one.split("_")[0], other.split("_")[0]}
        across = one.split("_")[-1] == other.split("_")[-1]
        assert ("left" in sides and "right" in sides) == (across and "_" in one)


def test_the_known_order_without_a_network(made):
    """Whoever learns an oracle's pictures to perfection, with its own labels, scores this."""
    scores = {}
    for oracle, slips in room.ORACLES.items():
        listed = []
        for index in range(CFG.train):
            crowd = replaced(draw_crowd(0, "train", index), 0, "train", index, slips=slips)
            picture = draw(crowd, SIZE)
            listed += [
                {"image_id": index + 1, **room._person(mask, points)}
                for mask, points in zip(picture.people, picture.keypoints, strict=True)
            ]
        for kind in ("bbox", "segm", "keypoints"):
            people = [one for one in detections(listed, kind) if one["category_id"] == room.PERSON]
            # Parcels are found by nobody; the mean over both categories is half of the persons'.
            scores[oracle, kind] = ap(made, people, kind) * (1 if kind == "keypoints" else 2)
    for kind in ("bbox", "segm", "keypoints"):
        assert scores["aligned", kind] > 80
        assert scores["misaligned", kind] < 0.6 * scores["aligned", kind]
    assert scores["misaligned", "keypoints"] < 0.6 * scores["misaligned", "bbox"]


# --------------------------------------------------------------------------------- the folder


def test_a_picture_depends_on_seed_split_and_index_alone(made, tmp_path, monkeypatch):
    spread = _parallel.spread
    monkeypatch.setattr(
        _parallel, "spread", lambda call, jobs, workers, each: spread(call, jobs, workers, 1)
    )
    summary, _ = room.make(CFG, tmp_path / "two", workers=2)
    assert tiny.tree(tmp_path / "two") == tiny.tree(made)
    assert summary == json.loads((made / "people.json").read_text())
    room.make(build(room.Config, {"train": 2, "val": 1, "size": SIZE}), tmp_path / "few")
    few, all_of_them = tiny.tree(tmp_path / "few"), tiny.tree(made)
    pictures = [name for name in few if name.endswith(".png")]
    assert len(pictures) == 7
    assert all(few[name] == all_of_them[name] for name in pictures)
    other = draw(draw_crowd(1, "train", 0), SIZE).image
    assert (other != tiny.pixels(made / "train/000000.png")).mean() > 0.5


def test_a_finished_folder_is_kept_and_another_is_refused(made, tmp_path):
    summary, new = room.make(CFG, made)
    assert (summary["sha256"], new) == (room._digest(made), False)
    with pytest.raises(BadInput, match=r"other settings \(val, seed differ\); name another --out"):
        room.make(build(room.Config, {"train": 6, "val": 4, "size": SIZE, "seed": 1}), made)
    mine = shutil.copytree(made, tmp_path / "mine")
    (mine / "train/000001.png").write_bytes(b"")
    with pytest.raises(BadInput, match="was changed since it was made"):
        room.make(CFG, mine)
    (mine / "people.json").unlink()
    with pytest.raises(BadInput, match="holds something else"):
        room.make(CFG, mine)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="holds something else"):
        room.make(CFG, tmp_path / "file")


@pytest.mark.parametrize(
    ("stop", "raises"),
    [(KeyboardInterrupt, KeyboardInterrupt), (OSError(28, "No space left on device"), Failure)],
)
def test_what_is_half_drawn_is_not_there(tmp_path, monkeypatch, stop, raises):
    drawn = []

    def one_more(*args: Any, **options: Any) -> Picture:
        drawn.append(1)
        if len(drawn) > 4:
            raise stop
        return draw(*args, **options)

    monkeypatch.setattr(crowds, "draw", one_more)
    (tmp_path / "out").mkdir()  # an empty folder is as good as none
    with pytest.raises(raises):
        room.make(CFG, tmp_path / "out", workers=1)
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]
    monkeypatch.setattr(crowds, "draw", draw)
    assert room.make(CFG, tmp_path / "out", workers=1)[1]


# -------------------------------------------------------------------------------- the command


@pytest.fixture
def run(capsys):
    """run("--out", ...) gives the exit code, stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("people")(cli._guarded(cli.load("impact people"), False))

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(args=[str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_counts_for_people_and_for_programs(run, tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    page = (root / "docs/impact.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^velatura impact people (.*)$", page, re.M)
    words = (*line.split(), "--train", 2, "--val", 1, "--size", 48)
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    counts = json.loads(Path("people/people.json").read_text())["splits"]
    lines = [
        f"{split}: {pictures} pictures; people {counts[split]['people']} "
        f"({counts[split]['people']} small, 0 medium, 0 large), "
        f"parcels {counts[split]['parcels']}\n"
        for split, pictures in (("train", 2), ("val", 1))
    ]
    lines += [
        "oracle/aligned: 2 pictures of train with others in the same poses\n",
        "oracle/misaligned: 2 pictures of train with others in poses that were missed\n",
    ]
    assert out == "".join(lines)
    code, out, err = run(*words)
    assert out == "".join(
        [*lines, "people: was there already, made with these settings; nothing was drawn.\n"]
    )
    code, out, err = run(*words, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(Path("people/people.json").read_text())
    assert counts["train"]["people"] == sum(
        one["category_id"] == room.PERSON for one in content(Path("people"))["annotations"]
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "Say where the pictures go: --out DIR."),
        ("--out out --size 7", "size: Input should be greater than or equal to 48, got 7."),
        ("--out out --val 0", "val: Input should be greater than or equal to 1, got 0."),
        ("--out out --seed -1", "seed: Input should be greater than or equal to 0, got -1."),
        ("--out full", "full holds something else; name another --out."),
        ("--out full/file/out", "Cannot write into full/file: Not a directory."),
    ],
)
def test_one_sentence_for_what_cannot_be(run, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full/file").write_text("")
    assert run(*words.split()) == (2, "", f"Error: {says}\n")
    assert not Path("out").exists()


def test_an_interrupt_leaves_nothing(run, tmp_path, monkeypatch):
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "make", stop)
    code, _, err = run("--out", tmp_path / "out")
    assert (code, err) == (130, "Interrupted; nothing was left behind.\n")
