"""`velatura impact evaluate`: figures that are known beforehand, and those of a second library."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import figures
import numpy as np
import pytest
import torch
import typer
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from velatura import cli
from velatura.detectors import TASKS, Detector, Found
from velatura.errors import BadInput
from velatura.impact import _formats, _score
from velatura.impact import evaluate as work
from velatura.impact import train as training
from velatura.impact._coco import Dataset
from velatura.impact._pictures import Lesson, example

BARE = {"info": {}, "images": [{"id": 1, "height": 200, "width": 200}],
        "categories": [{"id": 1, "name": "person"}]}  # fmt: skip


def read(root: Path, split: str = "train") -> Dataset:
    return _formats.read("coco", root, [Path("annotations") / f"tiny_{split}.json"], None, None)


@pytest.fixture
def coco(tmp_path) -> Path:
    return figures.make(tmp_path / "coco", 4)


def person(number: int, box: list[float], **more: Any) -> dict[str, Any]:
    x, y, w, h = box
    return {"id": number, "image_id": 1, "category_id": 1, "bbox": box, "area": w * h,
            "iscrowd": 0, "keypoints": [], "num_keypoints": 0,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]], **more}  # fmt: skip


def find(box: list[float], score: float = 0.9, **more: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 1, "score": score, "bbox": box, **more}


# ---------------------------------------------------------------------------- known beforehand


def test_boxes_found_exactly_and_not_at_all():
    known = {**BARE, "annotations": [person(1, [10, 10, 20, 20]), person(2, [100, 50, 60, 80])]}
    perfect = [find([10, 10, 20, 20]), find([100, 50, 60, 80], 0.8)]
    found = _score.scored(known, perfect, "detection")
    assert [found[key] for key in _score.FIGURES] == [100, 100, 100, 100, 100, None, 100]
    assert found["categories"]["person"]["AP"] == 100
    nothing = _score.scored(known, [], "detection")
    assert [nothing[key] for key in _score.FIGURES] == [0, 0, 0, 0, 0, None, 0]
    one = _score.scored(known, perfect[1:], "detection")
    # One of two: recall up to a half, which 51 of 101 levels are.
    assert one["AP"] == pytest.approx(100 * 51 / 101, abs=1e-3)
    assert (one["AR"], one["AP_small"], one["AP_medium"]) == (50, 0, 100)


@pytest.mark.parametrize(("shift", "levels"), [(1, 7), (2, 4), (3, 1), (4, 0)])
def test_boxes_that_are_shifted(shift, levels):
    """10 x 10 shifted by s share (10 - s) / (10 + s): .818, .667, .538 and .429 of .5, .55 to
    .95."""
    known = {**BARE, "annotations": [person(1, [10, 10, 10, 10])]}
    found = _score.scored(known, [find([10 + shift, 10, 10, 10])], "detection")
    assert found["AP"] == pytest.approx(10 * levels)
    assert found["AP50"] == (100 if levels else 0)
    assert found["AP75"] == (100 if levels == 7 else 0)


def test_keypoints_that_are_shifted():
    """One keypoint off by d is alike by exp(-d d / (2 area (2 sigma)^2)): at area 400 and a nose,
    2 pixels make .157, 1 pixel .630."""
    points = ("nose",)
    known = {**BARE, "annotations": [
        person(1, [10, 10, 40, 40], area=400, keypoints=[30, 20, 2], num_keypoints=1)]}  # fmt: skip
    for off, ap in ((0.0, 100), (1.0, 30), (2.0, 0)):  # .5, .55 and .6 are below .630
        guess = [{**find([0, 0, 1, 1]), "keypoints": [30 + off, 20, 1]}]
        del guess[0]["bbox"]
        found = _score.scored(known, guess, "keypoints", points)
        assert found["AP"] == pytest.approx(ap), off
        assert found["AP_small"] is None


def test_a_crowd_is_no_mistake():
    known = {**BARE, "annotations": [person(1, [10, 10, 20, 20]),
                                     person(2, [100, 100, 80, 80], iscrowd=1)]}  # fmt: skip
    both = [find([120, 120, 20, 20], 0.99), find([10, 10, 20, 20])]
    assert _score.scored(known, both, "detection")["AP"] == 100
    known["annotations"].pop()
    assert _score.scored(known, both, "detection")["AP"] == pytest.approx(50, abs=1)


def test_deviations_are_those_of_cocos_own_library():
    names = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder",
             "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip",
             "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle")  # fmt: skip
    assert np.allclose(_score.sigmas(names), Params("keypoints").kpt_oks_sigmas)
    assert _score.sigmas(("tail",)).tolist() == [
        pytest.approx(Params("keypoints").kpt_oks_sigmas.mean(), abs=5e-5)
    ]
    assert _score.sigmas(("head", "Left Wrist")).tolist() == [0.079, 0.062]


# ----------------------------------------------------------------------------- a second opinion


def guesses(data: Dataset, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Everybody found about where they are, and some who are not there."""
    from pycocotools import mask

    draw = np.random.default_rng(seed)
    found: dict[str, list[dict[str, Any]]] = {task: [] for task in TASKS}
    for number, entry in enumerate(data.entries, 1):
        for instance in (*entry.instances, *entry.instances):
            x0, y0, x1, y1 = np.array(instance.box) + draw.normal(0, 1.5, 4)
            base = {"image_id": number, "score": float(draw.random()),
                    "category_id": 1 + (instance.category != "person")}  # fmt: skip
            box = [x0, y0, x1 - x0, y1 - y0]
            runs = mask.frPyObjects([[x0, y0, x1, y0, x1, y1, x0, y1]], 64, 64)[0]
            found["detection"].append({**base, "bbox": box})
            found["segmentation"].append({**base, "segmentation": runs})
            if instance.keypoints is not None:
                places = instance.keypoints + draw.normal(0, 1.0, (4, 3))
                found["keypoints"].append({**base, "keypoints": places.reshape(-1).tolist()})
    return found


def official(root: Path, finds: list[dict], task: str, coco: Any = COCO, of: Any = COCOeval):
    """The twelve, or ten, figures that a library prints of the file as it is."""
    kind = _score.KINDS[task]
    ids = {1: 3, 2: 7}
    named = [{**f, "image_id": 99 + f["image_id"], "category_id": ids[f["category_id"]]}
             for f in finds]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gold = coco(str(root / "annotations/tiny_train.json"))
        if task == "keypoints":  # the library does not look for a category without any
            for annotation in gold.dataset["annotations"]:
                annotation.setdefault("keypoints", [0] * 12)
                annotation.setdefault("num_keypoints", 0)
        done = of(gold, gold.loadRes(named), kind)
        if task == "keypoints":
            done.params.kpt_oks_sigmas = _score.sigmas(figures.POINTS)
            done.params.catIds = [3]
        done.evaluate()
        done.accumulate()
        done.summarize()
    return [None if value == -1 else 100 * float(value) for value in done.stats]


def renumbered(root: Path) -> None:
    """Without an id of 0, which the library takes for nobody."""
    said = figures.content(root)
    for annotation in said["annotations"]:
        annotation["id"] += 1
    figures.write(root, said)


ORDER = {
    "detection": [0, 1, 2, 3, 4, 5, 8],
    "segmentation": [0, 1, 2, 3, 4, 5, 8],
    "keypoints": [0, 1, 2, None, 3, 4, 5],
}


@pytest.mark.parametrize("task", TASKS)
def test_our_figures_are_those_that_the_library_prints(coco, task):
    renumbered(coco)
    data = read(coco)
    finds = guesses(data)[task]
    found = _score.scored(_score.truth(data, data.categories, figures.POINTS), finds, task,
                          figures.POINTS)  # fmt: skip
    printed = official(coco, finds, task)
    expected = [None if at is None else printed[at] for at in ORDER[task]]
    assert [found[key] for key in _score.FIGURES] == [
        None if value is None else pytest.approx(value, abs=1e-4) for value in expected
    ]
    assert 5 < found["AP"] < 95  # neither nothing nor everything is right
    each = [figure["AP"] for figure in found["categories"].values()]
    assert np.mean(each) == pytest.approx(found["AP"], abs=1e-3)
    assert list(found["categories"]) == (["person"] if task == "keypoints" else ["person", "crate"])


@pytest.mark.parametrize("task", TASKS)
def test_our_figures_are_those_of_another_library(coco, task):
    other = pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    renumbered(coco)
    data = read(coco)
    finds = guesses(data)[task]
    found = _score.scored(_score.truth(data, data.categories, figures.POINTS), finds, task,
                          figures.POINTS)  # fmt: skip
    printed = official(coco, finds, task, other.COCO, other.COCOeval_faster)
    assert found["AP"] == pytest.approx(printed[0], abs=1e-4)
    assert found["AP50"] == pytest.approx(printed[1], abs=1e-4)


def test_an_id_of_nought_is_somebody(coco):
    data = read(coco)
    assert data.entries[0].instances[0].id == 0
    known = _score.truth(data, data.categories, ())
    exact = [{"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"],
              "score": 0.5} for a in known["annotations"]]  # fmt: skip
    assert _score.scored(known, exact, "detection")["AP"] == 100


def test_who_is_a_crowd_in_the_file_is_one_to_the_library(coco):
    path = coco / "annotations/tiny_train.json"
    said = json.loads(path.read_text())
    said["annotations"][2]["iscrowd"] = 1
    path.write_text(json.dumps(said))
    known = _score.truth(read(coco), ("person", "crate"), figures.POINTS)
    assert [a["iscrowd"] for a in known["annotations"]] == [0, 0, 1, 0, 0, 0, 0, 0]


def test_the_area_is_what_the_file_says_else_the_masks(coco):
    said = figures.content(coco)
    said["annotations"][0]["area"] = 9999.5
    del said["annotations"][1]["area"]
    del said["annotations"][2]["area"], said["annotations"][2]["segmentation"]
    figures.write(coco, said)
    areas = [a["area"] for a in _score.truth(read(coco), ("person", "crate"), ())["annotations"]]
    side = said["annotations"][1]["bbox"][2]
    box = said["annotations"][2]["bbox"]
    assert areas[:3] == [9999.5, side * side, box[2] * box[3]]


# ------------------------------------------------------------------------------------ all of it


class Knows(Detector):
    """Finds what is annotated, in the squares that it is shown, in the order of the list."""

    tasks = TASKS

    def __init__(self, data: Dataset, what: Lesson, side: int):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.known = (example(data, entry, what, side) for entry in data.entries)

    def detect(self, images):
        found = []
        for _ in images:
            seen = next(self.known)
            scores = torch.linspace(0.9, 0.5, len(seen.boxes))
            boxes, labels, masks, points = (
                torch.from_numpy(part)
                for part in (seen.boxes, seen.labels, seen.masks, seen.keypoints)
            )
            found.append(Found(boxes, scores, labels, masks.bool(), points))
        return found


ALL = Lesson(("person", "crate"), figures.POINTS, TASKS)


@pytest.fixture
def knowing(coco, tmp_path, monkeypatch):
    """A run whose detector knows a data set of pictures of several sizes."""
    said = figures.content(coco)
    for number, (width, height) in enumerate(((128, 128), (100, 64), (64, 110), (64, 64))):
        with Image.open(coco / f"train/{number}.png") as image:
            wide = Image.new("RGB", (width, height))
            by = 2 if number == 0 else 1
            wide.paste(image.resize((64 * by, 64 * by)))
        wide.save(coco / f"train/{number}.png")
        for key in ("width", "height"):
            del said["images"][number][key]  # a file need not say it
        for annotation in said["annotations"]:
            if annotation["image_id"] == 100 + number:
                annotation["bbox"] = [by * value for value in annotation["bbox"]]
                annotation["area"] *= by * by
                shape = annotation["segmentation"]
                annotation["segmentation"] = [[by * value for value in shape[0]]]
                if "keypoints" in annotation:
                    points = np.array(annotation["keypoints"]).reshape(-1, 3) * [by, by, 1]
                    annotation["keypoints"] = points.reshape(-1).tolist()
    figures.write(coco, said)
    (tmp_path / "run").mkdir()

    def opened(_: Path) -> work.Run:
        return work.Run(Knows(read(coco), ALL, 64).eval(), ALL, {"seed": 0}, 64)

    monkeypatch.setattr(work, "open_run", opened)
    return tmp_path / "run"


def test_who_knows_everything_finds_it_in_pictures_of_any_size(coco, knowing):
    calls = []
    answer = work.evaluate(knowing, read(coco), batch=3, progress=lambda *done: calls.append(done))
    assert answer["tasks"]["detection"]["AP"] == 100
    assert answer["tasks"]["keypoints"]["AP"] == 100
    assert answer["tasks"]["segmentation"]["AP50"] == 100
    assert answer["tasks"]["segmentation"]["AP"] > 85  # two pixels are one in the square
    assert calls == [(n, 4) for n in range(1, 5)]
    assert answer == json.loads((knowing / "evaluation.json").read_text())
    assert (answer["schema"], answer["images"], answer["anonymized"]) == (
        "velatura-impact-evaluate/1", 4, False,
    )  # fmt: skip
    assert answer["run"] == {"seed": 0}
    assert answer["data"]["arm"] is None
    assert not answer["data"]["trained_on"]


def test_the_finds_are_a_file_of_cocos(coco, knowing):
    renumbered(coco)
    answer = work.evaluate(knowing, read(coco))
    said = figures.content(coco)
    for image in said["images"]:  # pycocotools wants sizes
        with Image.open(coco / "train" / image["file_name"]) as picture:
            image["width"], image["height"] = picture.size
    figures.write(coco, said)
    back = {3: 1, 7: 2}
    for task in TASKS:
        finds = json.loads((knowing / f"finds/{task}.json").read_text())
        if task == "keypoints":
            assert {f["category_id"] for f in finds} == {3}  # crates have none
        ours = [{**f, "image_id": f["image_id"] - 99, "category_id": back[f["category_id"]]}
                for f in finds]  # fmt: skip
        printed = official(coco, ours, task)
        assert answer["tasks"][task]["AP"] == pytest.approx(printed[0], abs=1e-3)


def test_only_originals_unless_asked(coco, knowing):
    figures.hidden(coco)
    with pytest.raises(BadInput) as error:
        work.evaluate(knowing, read(coco))
    assert str(error.value) == (
        f"People are hidden in {coco}: name the original pictures, or say --anonymized to measure "
        "on such a copy."
    )
    answer = work.evaluate(knowing, read(coco), anonymized=True)
    assert answer["anonymized"]
    assert answer["data"]["arm"]["method"]["name"] == "blur"
    assert (knowing / "finds-anonymized/detection.json").is_file()
    assert not (knowing / "evaluation.json").exists()
    figures.hidden(coco, "none")  # encoded alike, nobody hidden
    assert not work.evaluate(knowing, read(coco))["anonymized"]


def test_pictures_of_a_copy_are_known_where_another_folder_is_named(coco, knowing, tmp_path):
    copy = shutil.copytree(coco, coco / "blurred")
    figures.hidden(copy)
    files = [Path("annotations/tiny_train.json")]
    data = _formats.read("coco", coco, files, copy / "train", None)
    with pytest.raises(BadInput, match="People are hidden in "):
        work.evaluate(knowing, data)
    assert not work.evaluate(knowing, read(coco))["anonymized"]


def other_points(said: dict) -> None:
    said["categories"][0]["keypoints"] = ["tail", *figures.POINTS[1:]]


def no_crates(said: dict) -> None:
    said["categories"].pop()
    said["annotations"] = [a for a in said["annotations"] if a["category_id"] == 3]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (other_points, "The run learnt 4 keypoints, and {coco} has 4, or in another order; "
         "evaluate on annotations of the same keypoints."),
        (no_crates, "The run learnt crate, which {coco} has no category of; it has person."),
    ],
)  # fmt: skip
def test_what_the_run_did_not_learn_is_one_sentence(coco, knowing, change, says):
    said = figures.content(coco)
    change(said)
    figures.write(coco, said)
    with pytest.raises(BadInput) as error:
        work.evaluate(knowing, read(coco))
    assert str(error.value) == says.format(coco=coco)


def test_a_missing_picture_is_one_sentence(coco, knowing):
    (coco / "train/2.png").unlink()
    with pytest.raises(BadInput) as error:
        work.evaluate(knowing, read(coco))
    assert str(error.value) == (
        f"1 of 4 pictures have no file in {coco}/train; an evaluation needs all."
    )


SMALL = {
    "model": {"name": "tiny", "width": 16, "prototypes": 4}, "size": 64, "batch": 6, "lr": 8e-3,
    "augment": {"flip": False, "zoom": 0.0, "shift": 0.0, "colour": 0.0},
    "loop": {"device": "cpu", "precision": "32", "save_every": 1000, "log_every": 1000},
}  # fmt: skip


def test_a_few_pictures_are_learnt_by_heart(tmp_path):
    coco = figures.make(tmp_path / "coco", 6)
    training.train(training.setup({**SMALL, "steps": 100}), read(coco), tmp_path / "run")
    answer = work.evaluate(tmp_path / "run", read(coco))
    tasks = answer["tasks"]
    assert min(tasks[task]["AP50"] for task in TASKS) > 90
    assert answer["data"]["trained_on"]


# ----------------------------------------------------------------------------------- the command


@pytest.fixture
def run(capsys):
    """run("--run", ...) gives the exit code, stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("evaluate")(cli._guarded(cli.load("impact evaluate"), False))

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(args=[str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_the_table_and_the_file(run, coco, knowing):
    code, out, err = run("--run", knowing, "--data", coco)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == "task category AP AP50 AP75 small medium large AR".split()
    assert lines[1].split()[:4] == ["detection", "all", "100.0", "100.0"]
    assert lines[2].split()[:2] == ["person", "100.0"]
    assert lines[-1] == f"4 images; written into {knowing}."
    code, out, err = run("--run", knowing, "--data", coco, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((knowing / "evaluation.json").read_text())


def test_runs_that_cannot_be_measured(run, coco, tmp_path):
    words = ["--data", coco, "--run", tmp_path / "run"]
    assert run("--data", coco)[2] == "Error: Say which run: --run DIR.\n"
    assert (
        run("--run", "x")[2] == "Error: Say which data set: --data DIR, with original pictures.\n"
    )
    code, _, err = run(*words)
    assert (code, err.count("\n")) == (2, 1)
    assert "No checkpoint at" in err


def test_a_checkpoint_of_another_network_is_one_sentence(run, coco, tmp_path):
    from velatura.training import checkpoint

    training.train(training.setup({**SMALL, "steps": 0}), read(coco), tmp_path / "run")
    file = tmp_path / "run/checkpoint.safetensors"
    state, about = checkpoint.load(file)
    checkpoint.save(file, state, {**about, "model": {"name": "tiny", "width": 8}})
    code, _, err = run("--data", coco, "--run", tmp_path / "run")
    assert code == 2
    assert err.startswith(f"Error: {file} holds another architecture than Tiny: ")
    checkpoint.save(file, state, {"seed": 0})
    code, _, err = run("--data", coco, "--run", tmp_path / "run")
    assert (code, err) == (
        2, f"Error: {file} is not of `velatura impact train`; name a folder that it made.\n",
    )  # fmt: skip
    checkpoint.save(file, {**state, "step": 1}, {**about, "steps": 9})
    code, _, err = run("--data", coco, "--run", tmp_path / "run")
    assert (code, err) == (
        2,
        f"Error: {tmp_path}/run has 1 of 9 steps; give its `velatura impact train` command again, "
        "which goes on.\n",
    )
