"""`velatura impact train`: what is learnt from, in which order, and the same bits again."""

from __future__ import annotations

import json
import re
import shlex
import signal
import tomllib
from pathlib import Path

import figures
import numpy as np
import pytest
import safetensors.torch
import test_impact_formats as formats
import torch
import typer
from PIL import Image
from training import tiny as process

from velatura import cli
from velatura.cli.impact import _progress
from velatura.errors import BadInput
from velatura.impact import _formats
from velatura.impact import train as work
from velatura.impact._coco import Dataset
from velatura.impact._pictures import (
    LOTS,
    Augment,
    Lesson,
    Pictures,
    example,
    lesson,
    mirrored,
    survey,
    varied,
)
from velatura.training import checkpoint

SMALL = {
    "model": {"name": "tiny", "width": 8, "prototypes": 2}, "size": 64, "batch": 2, "steps": 4,
    "loop": {"device": "cpu", "precision": "32", "save_every": 1, "log_every": 1},
}  # fmt: skip
ALL = ("detection", "segmentation", "keypoints")


def read(root: Path, split: str = "train", categories: tuple[str, ...] = ()) -> Dataset:
    path = Path("annotations") / f"tiny_{split}.json"
    return _formats.read("coco", root, [path], None, categories or None)


def trained(root: Path, out: Path, /, **more) -> dict:
    options = {key: more.pop(key) for key in ("init", "missing") if key in more}
    return work.train(work.setup({**SMALL, **more}), read(root), out, **options)


@pytest.fixture
def coco(tmp_path) -> Path:
    return figures.make(tmp_path / "coco")


@pytest.fixture
def run(capsys):
    """run("--data", ...) gives the exit code, stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("train")(cli._guarded(cli.load("impact train"), False))

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(args=[str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


# ------------------------------------------------------------------------------------- pictures


def test_a_picture_is_fitted_into_a_square(tmp_path):
    """80 x 40 pixels into 32: scale .4, the picture in the upper half."""
    root = figures.make(tmp_path / "coco", 1)
    Image.new("RGB", (80, 40), (255, 0, 0)).save(root / "train/0.png")
    said = figures.content(root)
    said["images"][0] |= {"width": 80, "height": 40}
    person, crate = said["annotations"]
    person |= {"bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]],
               "keypoints": [20, 10, 2, 0, 0, 0, 80, 40, 1, 30, 30, 2]}  # fmt: skip
    # The same mask in runs, down the columns: 40 a column.
    runs = [10 * 40 + 10, *([20, 20] * 19), 20, 50 * 40 + 10]
    crate |= {"bbox": [60, 10, 40, 20], "segmentation": {"size": [40, 80], "counts": runs}}
    said["annotations"].append({**person, "id": 9, "iscrowd": 1, "bbox": [40, 0, 20, 40]})
    figures.write(root, said)
    data = read(root)
    seen = example(data, data.entries[0], lesson(data, ALL), 32)
    assert (seen.size, seen.inner) == ((40, 80), (16, 32))
    assert (seen.image[:16] == (255, 0, 0)).all()
    assert (seen.image[16:] == 127).all()
    assert seen.boxes.tolist() == [[4, 4, 12, 12], [24, 4, 32, 12]]  # the second is cut off
    assert seen.labels.tolist() == [0, 1]
    assert seen.ignore.tolist() == [[16, 0, 24, 16]]
    square = np.zeros((32, 32), np.uint8)
    square[4:12, 4:12] = 1
    assert np.array_equal(seen.masks, [square, square])
    assert seen.keypoints[0].tolist() == [[8, 4, 2], [0, 0, 0], [32, 16, 1], [12, 12, 2]]
    assert not seen.keypoints[1].any()


def test_variation_by_hand(coco):
    data = read(coco)
    what = lesson(data, ALL)
    seen = example(data, data.entries[0], what, 64)
    swap = mirrored(what.points)
    assert swap == [0, 2, 1, 3]
    none = Augment(flip=False, zoom=0, shift=0, colour=0)
    middle = np.full(LOTS, 0.5, np.float32)  # no zoom, no shift, no colour
    same = varied(seen, none, np.random.default_rng(0).random(LOTS, np.float32), swap)
    for name in ("image", "boxes", "masks", "keypoints"):
        assert np.array_equal(getattr(same, name), getattr(seen, name))
    lot = middle.copy()
    lot[0] = 0.1
    turned = varied(seen, Augment(), lot, swap)
    assert np.array_equal(turned.image, seen.image[:, ::-1])
    assert np.array_equal(turned.masks, seen.masks[:, :, ::-1])
    assert np.array_equal(turned.boxes[:, [2, 0]], 64 - seen.boxes[:, [0, 2]])
    # The left hand is where the right one was seen.
    assert turned.keypoints[0, 1].tolist() == [
        64 - seen.keypoints[0, 2, 0], *seen.keypoints[0, 2, 1:],
    ]  # fmt: skip
    lot = middle.copy()
    lot[1:4] = 1.0  # twice as large around the middle, then 12.8 pixels to the right and down
    large = varied(seen, Augment(flip=False, zoom=1.0, shift=0.2, colour=0), lot, swap)
    person, crate = (2 * seen.boxes - 32 + 12.8).clip(0, 64)
    assert np.allclose(large.boxes, [person])
    # Of the crate a tenth is left in the picture: not learnt, and no mistake to find.
    assert np.allclose(large.ignore, [crate])
    assert large.labels.tolist() == [0]
    assert large.masks.shape == (1, 64, 64)
    assert large.keypoints.shape == (1, 4, 3)


def test_boxes_masks_and_joints_move_together(coco):
    data = read(coco)
    what = lesson(data, ALL)
    seen = example(data, data.entries[1], what, 64)
    draw = np.random.default_rng(3)
    for _ in range(20):
        moved = varied(seen, Augment(), draw.random(LOTS, np.float32), mirrored(what.points))
        for box, mask in zip(moved.boxes, moved.masks, strict=True):
            y, x = np.nonzero(mask)
            tight = [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert np.abs(box - tight).max() <= 1.01
        for (x, y, seen_so), box in ((p, moved.boxes[0]) for p in moved.keypoints[0]):
            if seen_so:
                assert box[0] <= x <= box[2]
                assert box[1] <= y <= box[3]


def test_order_and_variation_are_those_of_seed_and_step(coco, tmp_path):
    """Whatever the pictures are, whichever are missing, and whatever was asked for before."""
    other = figures.darker(coco, tmp_path / "darker")
    (other / "train/2.png").unlink()
    data, dark = read(coco), read(other)
    what = lesson(data, ALL)
    options = {"side": 64, "batch": 4, "augment": Augment(colour=0), "seed": 5}
    one = Pictures(data, what, survey(data, what).missing, **options)
    two = Pictures(dark, what, survey(dark, what).missing, **options, memory=0)
    assert sorted(one.order(0) + one.order(1) + one.order(2)) == sorted(2 * list(range(6)))
    for step in (7, 0, 2):
        assert one.order(step) == two.order(step)
        images, targets = one.at(step)
        darks, told = two.at(step)
        for n, at in enumerate(one.order(step)):
            if at == 2:
                continue
            assert torch.equal(targets[n].boxes, told[n].boxes)
            assert torch.equal(targets[n].keypoints, told[n].keypoints)
            assert float((images[n] / 2 - darks[n]).abs().mean()) < 0.15
        assert torch.equal(images, one.at(step)[0])
    third = Pictures(data, what, frozenset(), **{**options, "seed": 6})
    assert [third.order(step) for step in range(3)] != [one.order(step) for step in range(3)]
    assert not torch.equal(third.at(0)[1][0].boxes, one.at(0)[1][0].boxes)
    # In the place of a missing picture stands the next one.
    assert two.stand_in == [0, 1, 3, 3, 4, 5]
    assert not torch.equal(one.at(0)[0], one.at(1)[0])


def test_what_is_counted(coco):
    said = figures.content(coco)
    said["annotations"][0]["bbox"][2] = 0
    said["annotations"][1]["iscrowd"] = 1
    del said["annotations"][3]["segmentation"]
    said["annotations"][4]["keypoints"] = [0] * 12
    figures.write(coco, said)
    data = read(coco)
    found = survey(data, lesson(data, ALL))
    assert found.counts == {
        "images": {"total": 6, "missing": 0, "missing_share": 0.0},
        "instances": {"learnt": 10, "crowds": 1, "flat": 1, "with a mask": 9, "with keypoints": 4},
    }


def test_the_fingerprint_knows_every_byte(coco):
    data = read(coco)
    what = lesson(data, ALL)
    before = survey(data, what)
    path = coco / "train/4.png"
    path.write_bytes(path.read_bytes() + b" ")
    after = survey(data, what)
    assert before.fingerprint != after.fingerprint
    assert before.annotations == after.annotations
    path.unlink()
    assert survey(data, what).fingerprint not in (before.fingerprint, after.fingerprint)


# -------------------------------------------------------------------------------------- training


def test_first_weights_are_those_of_the_seed():
    what = Lesson(("person", "crate"), figures.POINTS, ALL)

    def first(seed: int) -> dict:
        return work.network(work.setup({**SMALL, "seed": seed}), what).state_dict()

    torch.manual_seed(99)
    assert process.equal(first(1), first(1))
    assert not process.equal(first(1), first(2))


def test_a_run_and_what_it_says(coco, tmp_path):
    figures.hidden(coco)
    calls = []
    how = work.setup(SMALL)
    summary = work.train(how, read(coco), tmp_path / "run", progress=lambda *a: calls.append(a))
    assert summary == json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["schema"] == "velatura-impact-train/1"
    assert summary["arm"]["instances"]["share"] == 0.75
    assert summary["arm"]["method"]["name"] == "blur"
    assert summary["learnt"] == {
        "categories": ["person", "crate"], "points": list(figures.POINTS), "tasks": list(ALL),
    }  # fmt: skip
    assert summary["first_weights"] == {"from": "seed"}
    assert summary["instances"]["learnt"] == 12
    assert calls[-1][:2] == (4, 4)
    assert {"heat", "box", "mask", "joints", "joint heat", "loss"} <= calls[-1][2].keys()
    state, about = checkpoint.load(tmp_path / "run/checkpoint.safetensors")
    assert state["step"] == 4
    assert {key: summary[key] for key in about} == about
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [0, 1, 2, 3]
    with open(tmp_path / "run/train.toml", "rb") as file:
        assert tomllib.load(file)["model"]["width"] == 8


def test_a_killed_run_ends_at_the_same_bits(coco, tmp_path):
    """kill -9 in step 2, one past the checkpoint; the same command again."""
    whole = trained(coco, tmp_path / "whole")
    plant = process.strike(2, "SIGKILL").replace('"anonymizer"', '"detector"')
    words = ["impact", "train", "--data", str(coco), "--ann", "annotations/tiny_train.json",
             "--out", str(tmp_path / "broken"), "--size", "64", "--batch", "2", "--steps", "4",
             *(f"--set={key}" for key in ("model.width=8", "model.prototypes=2", "loop.device=cpu",
               "loop.precision='32'", "loop.save_every=1", "loop.log_every=1"))]  # fmt: skip
    code, out, err = process.command(words, tmp_path, plant)
    assert (code, out) == (-signal.SIGKILL, "")
    file = tmp_path / "broken/checkpoint.safetensors"
    assert checkpoint.load(file)[0]["step"] == 2
    assert not (tmp_path / "broken/summary.json").exists()
    # In this process: what has run in one before does not matter.
    assert trained(coco, tmp_path / "broken") == whole
    one, two = (checkpoint.load(tmp_path / name / file.name) for name in ("whole", "broken"))
    assert process.equal(one[0], two[0])
    assert one[1] == two[1]
    # And a finished run is not trained on.
    before = file.read_bytes()
    trained(coco, tmp_path / "broken")
    assert file.read_bytes() == before


def test_other_settings_or_data_are_another_run(coco, tmp_path):
    out = tmp_path / "run"
    trained(coco, out, steps=0)
    with pytest.raises(BadInput, match=r"a run of other settings \(lr, seed differ\); name anoth"):
        trained(coco, out, steps=0, seed=1, lr=1e-4)
    (coco / "train/1.png").write_bytes((coco / "train/0.png").read_bytes())
    with pytest.raises(BadInput, match=r"other settings \(data differ\)"):
        trained(coco, out, steps=0)
    with pytest.raises(BadInput, match="coco holds something else; name another --out"):
        trained(coco, coco, steps=0)


def test_missing_pictures_are_counted_or_refused(coco, tmp_path):
    (coco / "train/5.png").unlink()
    with pytest.raises(BadInput) as error:
        trained(coco, tmp_path / "run")
    assert str(error.value) == (
        f"1 of 6 pictures have no file in {coco}/train, which is more than 5%; make them, or allow "
        "more with --missing."
    )
    assert not (tmp_path / "run").exists()
    summary = trained(coco, tmp_path / "run", steps=1, missing=0.2)
    assert summary["images"] == {"total": 6, "missing": 1, "missing_share": 0.166667}


def test_first_weights_of_a_file(coco, tmp_path):
    trained(coco, tmp_path / "first", steps=1)
    state = checkpoint.load(tmp_path / "first/checkpoint.safetensors")[0]["network"]
    part = {key: value + 1 for key, value in state.items() if key.startswith("stem")}
    safetensors.torch.save_file(part, str(tmp_path / "part.safetensors"))
    summary = trained(coco, tmp_path / "run", steps=0, init=tmp_path / "part.safetensors")
    said = summary["first_weights"]
    assert (said["from"], said["promise"]) == ("part.safetensors", work.PROMISE)
    assert said["tensors"] == f"{len(part)} of {len(state)}"
    now = checkpoint.load(tmp_path / "run/checkpoint.safetensors")[0]["network"]
    fresh = work.network(work.setup(SMALL), lesson(read(coco), ALL)).state_dict()
    for key, value in now.items():
        assert torch.equal(value, part.get(key, fresh[key])), key
    # A whole run's checkpoint does as well, if it is of the same network.
    summary = trained(coco, tmp_path / "again", steps=0,
                      init=tmp_path / "first/checkpoint.safetensors")  # fmt: skip
    assert summary["first_weights"]["tensors"] == f"{len(state)} of {len(state)}"
    with pytest.raises(BadInput, match=r"weights of another network: \d+ of its \d+ tensors have"):
        trained(coco, tmp_path / "wide", model={"name": "tiny", "width": 16},
                init=tmp_path / "first/checkpoint.safetensors")  # fmt: skip
    (tmp_path / "part.json").write_text("{}")
    with pytest.raises(BadInput, match=r"part.json is no safetensors file"):
        trained(coco, tmp_path / "none", init=tmp_path / "part.json")
    with pytest.raises(BadInput, match=r"There is no file .*nowhere of weights"):
        trained(coco, tmp_path / "none", init=tmp_path / "nowhere")


# ------------------------------------------------------------------------------------ bad input


def without(key: str):
    def change(said: dict) -> None:
        for thing in (*said["annotations"], *said["categories"]):
            thing.pop(key, None)

    return change


def set_all(**values):
    def change(said: dict) -> None:
        for annotation in said["annotations"]:
            annotation |= values

    return change


def two_skeletons(said: dict) -> None:
    said["categories"][1]["keypoints"] = ["corner"]


def short_keypoints(said: dict) -> None:
    said["annotations"][0]["keypoints"] = [1, 1, 2]


@pytest.mark.parametrize(
    ("task", "change", "says"),
    [
        ("keypoints", without("keypoints"),
         "names no keypoints of person, crate; name a file that does, or leave the task keypoints "
         "out."),
        ("all", set_all(keypoints=[0] * 12),
         "has no labelled keypoint of person, crate; name a file that has, or leave the task "
         "keypoints out."),
        ("segmentation", without("segmentation"),
         "has no masks of person, crate; name a file that has, or leave the task segmentation "
         "out."),
        ("detection", set_all(iscrowd=1),
         "has nobody to learn from: 12 crowds and 0 boxes without area, of person, crate, and "
         "nothing else."),
        ("detection", set_all(bbox=[3, 3, 0, 9]),
         "has nobody to learn from: 0 crowds and 12 boxes without area, of person, crate, and "
         "nothing else."),
        ("keypoints", two_skeletons,
         "crate, person have different keypoints; choose one --category."),
        ("keypoints", short_keypoints,
         "annotation 0 has 1 keypoints, and its category person names 4."),
        ("segmentation", set_all(segmentation={"size": [40, 56], "counts": [10, 5]}),
         "Annotation 0 has a mask that is none: its runs are not of the 56 x 40 pixels that it "
         "says."),
        ("detection", lambda said: said["images"].clear() or said["annotations"].clear(),
         "No image of"),
    ],
)  # fmt: skip
def test_what_cannot_be_learnt_is_one_sentence(coco, tmp_path, run, task, change, says):
    said = figures.content(coco)
    change(said)
    figures.write(coco, said)
    code, out, err = run("--data", coco, "--task", task, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert says in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--out out", "Say which data set: --data DIR."),
        ("--data coco", "Say where the run goes: --out DIR."),
        ("--data coco --out out --category dog",
         "No category named 'dog'. Available: crate, person."),
        ("--data coco --out out --model tinny",
         "No detector plug-in named 'tinny'. Did you mean 'tiny'? Available: detr, tiny, "
         "torchvision_rcnn."),
        ("--data coco --out out --task masks",
         "task: Input should be 'detection', 'segmentation', 'keypoints' or 'all', got 'masks'."),
        ("--data coco --out out --set lrr=1",
         "Unknown key lrr. Did you mean lr? Known keys: task, steps, batch, size, seed, "
         "categories, lr, weight_decay, augment, loop."),
        ("--data coco --out out --model detr --task all",
         "detr does detection, not segmentation and keypoints; choose another --task, or another "
         "--model, such as tiny, which does all."),
    ],
)  # fmt: skip
def test_one_sentence_for_what_cannot_be(run, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    figures.make(Path("coco"), 2)
    code, out, err = run(*words.split())
    assert (code, out, err) == (2, "", f"Error: {says}\n")
    assert not Path("out").exists()


def test_a_copy_that_is_not_finished_is_refused(run, coco, tmp_path):
    (coco / "anonymize.toml").write_text("")
    code, _, err = run("--data", coco, "--out", tmp_path / "run")
    assert (code, err) == (
        2, f"Error: {coco} is a copy that is not finished; give the command that makes it again.\n",
    )  # fmt: skip


# ----------------------------------------------------------------------------------- the command


def test_the_command_in_words_and_for_programs(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_progress, "EVERY", 0)
    coco = figures.make(Path("coco"))
    figures.hidden(coco)
    words = ["--data", coco, "--out", "run", "--size", 64, "--batch", 2, "--steps", 2,
             "--set", "model.width=8", "--task", "detection", "--category", "person"]  # fmt: skip
    code, out, err = run(*words)
    assert code == 0
    parameters = json.loads(Path("run/summary.json").read_text())["parameters"]
    assert out == (
        "images: 6; missing 0, 0.0 %\n"
        "instances: 6 learnt, 6 with a mask, 0 with keypoints; not learnt: 0 crowds, 0 without "
        "area\n"
        "a copy by blur, 75.0 % of instances hidden\n"
        f"run: {parameters} parameters, 2 steps; measure it on originals with `velatura impact "
        "evaluate --run run --data DIR`.\n"
    )
    assert re.fullmatch(r"(\d of 2 steps, about 0 min left; heat .* gradient .*\n)+", err)
    code, out, err = run(*words, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(Path("run/summary.json").read_text())
    code, _, err = run(*words[:2], "--out", "init", *words[4:], "--init",
                       "run/checkpoint.safetensors")  # fmt: skip
    assert (code, err.splitlines()[0]) == (0, work.PROMISE)


def test_the_list_of_models(run):
    code, out, _ = run("--list")
    names = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert (code, names) == (0, ["detr", "tiny", "torchvision_rcnn", "all"])
    assert "settings: model.width, model.prototypes, model.keep, model.threshold\n" in out


def test_an_interrupt_says_how_to_go_on(run, coco, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("velatura.impact.train.train", stop)
    code, _, err = run("--data", coco, "--out", "out")
    assert (code, err) == (
        130, "Interrupted; the run is saved in out, run the same command to go on.\n",
    )  # fmt: skip


def test_other_formats_can_be_learnt(tmp_path):
    """WIDER FACE: faces, boxes only."""
    root = formats.wider(tmp_path / "wider")
    data = _formats.read("widerface", root, categories=None)
    summary = work.train(
        work.setup({**SMALL, "task": "detection", "steps": 1}), data, tmp_path / "run", missing=1.0
    )
    assert summary["learnt"]["categories"] == ["face"]


def test_the_commands_of_the_page_run(run, tmp_path, monkeypatch, root, capsys):
    """As they stand, but small: a later option counts."""
    monkeypatch.chdir(tmp_path)
    figures.make(Path("coco"), 4)
    figures.make(Path("coco"), 2, "val", seed=1)
    figures.darker(Path("coco"), Path("coco-blur"))
    figures.hidden(Path("coco-blur"))
    page = (root / "docs/impact.md").read_text(encoding="utf-8")
    lines = re.findall(r"^velatura impact ((?:train|evaluate) .*)$", page, re.M)
    assert len(lines) == 7
    less = ["--size", "64", "--steps", "1", "--batch", "2", "--set", "model.width=8"]
    for line in lines:
        verb, *words = shlex.split(line)
        app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
        app.command(verb)(cli._guarded(cli.load(f"impact {verb}"), False))
        small = less if verb == "train" and "--list" not in words else []
        with pytest.raises(SystemExit) as ended:
            app(args=[*words, *small])
        assert not ended.value.code, f"{line}\n{capsys.readouterr().err}"
    made = ("evaluation.json", "evaluation-anonymized.json", "finds/keypoints.json")
    assert all((Path("runs/original") / name).is_file() for name in made)
