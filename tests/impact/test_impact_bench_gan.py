"""An arm drawn by a network that the bench trains itself: on train alone, once, resumable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benches
import pytest
import tiny_coco

from velatura.errors import BadInput, Failure
from velatura.impact import _formats, anonymize, bench, train_gan
from velatura.regions._inpainter import Inpainter
from velatura.training import checkpoint

NETWORK: dict[str, Any] = {
    "steps": 3, "batch": 4, "least": 8, "features": "random", "device": "cpu", "save_every": 1,
    "network": {"size": 16, "width": 4, "latent": 8, "style": 8},
}  # fmt: skip
DRAWN = {"name": "drawn", "method": {"name": "gan"}}
MEAN = {"name": "mean", "method": {"name": "gan", "truncation": 0.0}}
TRAIN = Path("annotations/tiny_train.json")
ORIGINAL, MASKED = benches.GRID["arms"]


def grid(*arms: dict[str, Any], **gan: Any) -> dict[str, Any]:
    """The original, some arms, and a network unless ``gan=None``."""
    network = {} if gan == {"gan": None} else {"gan": NETWORK | gan}
    return benches.grid(seeds=[0], arms=[ORIGINAL, *arms], **network)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A working folder with data and a whole bench in out/; and what it says."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(bench, "run_jobs", benches.inline)
        benches.data(train=14)
        yield folder, benches.carried_out(grid(DRAWN, MEAN), Path("out"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another, with data alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "run_jobs", benches.inline)
    benches.data(train=14)
    return tmp_path


def test_arms_share_one_network(made):
    """It is what `train-gan` would train, and the copies are what `anonymize` would make."""
    folder, result = made
    assert result["failed"] == {}
    assert result["seconds"]["gan"] == 1.0  # inline says a second for each job: there is one
    found = result["gan"]
    by_hand = train_gan.train(
        bench.resolve(grid(DRAWN)).gan, _formats.read("coco", folder / "coco", [TRAIN]),
        folder / "by-hand", workers=1,
    )  # fmt: skip
    assert found["arms"] == ["drawn", "mean"]
    assert found["crops"] == by_hand["crops"] | {"failed": 0}
    assert found["crops"]["total"] == 14
    assert found["distance"] == by_hand["distance"]
    assert list(found["distance"]["distance"]) == [
        "generated", "other real crops", "grey", "filled from around",
    ]  # fmt: skip
    assert (found["steps"], found["network"]["size"]) == (3, 16)
    assert found["seconds"] == pytest.approx(3 * found["seconds_per_step"], abs=0.05)
    digest = Inpainter(folder / "out/gan/gan.onnx").digest
    assert digest == found["model"]["digest"] == by_hand["model"]["digest"]
    for name in ("drawn", "mean"):
        said = json.loads((folder / f"out/copies/{name}/summary.json").read_text())
        assert said["anonymizer"]["network"]["digest"] == digest
    assert [arm["share"] for arm in result["arms"]] == [0.0, 1.0, 1.0]
    assert all(len(arm["runs"]) == 1 for arm in result["arms"])
    model = str(folder / "by-hand/gan.onnx")
    for name, truncation in (("drawn", 1.0), ("mean", 0.0)):
        method = {"name": "gan", "model": model, "truncation": truncation}
        data = _formats.read("coco", folder / "coco", [TRAIN])
        anonymize.anonymize(anonymize.setup({"method": method}), data, folder / f"by-hand-{name}")
        same = [tiny_coco.tree(folder / place / "train")
                for place in (f"by-hand-{name}", f"out/copies/{name}")]  # fmt: skip
        assert same[0] == same[1]
    copies = [tiny_coco.tree(folder / "out/copies" / name / "train") for name in ("drawn", "mean")]
    assert copies[0] != copies[1]


def test_it_sees_no_picture_of_val(here, monkeypatch):
    """Whatever is opened while it learns; and the result says so."""
    from velatura.deploy import image

    learnt: list[set[str]] = []
    opened, read = [], image.read_image

    def noted(path: Path, **more: Any) -> Any:
        opened.append(path)
        return read(path, **more)

    def begun(_: Any, running: Any, others: Any) -> None:
        learnt.append({*running.batches.crops.images, *others.images})
        raise KeyboardInterrupt

    monkeypatch.setattr(image, "read_image", noted)
    monkeypatch.setattr(train_gan, "game", begun)
    values = grid(DRAWN)
    Path("out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        bench.work_gan("gan", "out", values)
    assert learnt == [{f"{number}.png" for number in range(14)}]
    assert sorted(opened) == sorted(Path("coco/train").glob("*.png"))
    assert json.loads(Path("out/gan/learnt_from.json").read_text()) == {
        "split": "train", "pictures": 14, "of_val": 0,
    }  # fmt: skip
    values["data"]["val"] = values["data"]["train"]
    Path("other").mkdir()
    with pytest.raises(BadInput, match=r"14 pictures are in data\.train and in data\.val"):
        bench.work_gan("gan", "other", values)
    assert not list(Path("other").iterdir())


def test_a_network_of_unknown_pictures_is_not_taken_for_the_bench_s_own(here):
    """As one that somebody put there."""
    Path("out/gan").mkdir(parents=True)
    Path("out/gan/config.toml").touch()
    Path("out/gan/summary.json").touch()
    with pytest.raises(BadInput) as refused:
        bench.work_gan("gan", "out", grid(DRAWN))
    assert str(refused.value) == (
        "out/gan holds a network that this bench did not train, and nobody knows on which "
        "pictures; move it, or name its gan.onnx as method.model."
    )
    assert not bench._is_trained(Path("out"))


def test_a_killed_network_goes_on_to_the_same_bits(made, monkeypatch):
    folder, result = made
    follow, calls = train_gan.follow, []

    def killed(*given: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        follow(*given)

    monkeypatch.setattr(train_gan, "follow", killed)
    resolved = bench.resolve(grid(DRAWN))
    with pytest.raises(KeyboardInterrupt):
        list(bench.carry_out(resolved, Path("killed")))
    assert checkpoint.load(folder / "killed/gan/checkpoint.safetensors")[0]["step"] == 2
    assert bench.state(resolved, Path("killed"))["gan"] == {
        "done": [], "failed": [], "left": ["gan"],
    }  # fmt: skip
    again = benches.carried_out(grid(DRAWN), Path("killed"))
    assert len(calls) == 4  # the third step once more, and no other
    for name in ("gan.onnx", "samples.png"):
        ended, whole = (folder / out / "gan" / name for out in ("killed", "out"))
        assert ended.read_bytes() == whole.read_bytes()
    assert again["figures"]["drawn"] == result["figures"]["drawn"]
    assert bench.state(resolved, Path("killed"))["gan"]["done"] == ["gan"]


def test_one_that_breaks_takes_its_arms_alone_and_may_be_mended(here, monkeypatch):
    """Also by other settings, until there is something of it."""
    train, tried = train_gan.train, []

    def broken(*_: Any, **__: Any) -> None:
        tried.append(1)
        raise Failure("The disk is full.")

    monkeypatch.setattr(train_gan, "train", broken)
    result = benches.carried_out(grid(MASKED, DRAWN), Path("out"))
    lost = ["copy drawn", "train drawn-0", "evaluate drawn-0"]
    assert result["failed"] == dict.fromkeys(["gan", *lost], "The disk is full.")
    assert [len(arm["runs"]) for arm in result["arms"]] == [1, 1, 0]
    assert list(result["arms"][2]["failed"]) == lost
    assert result["gan"] is None
    states = bench.state(bench.resolve(grid(MASKED, DRAWN)), Path("out"))
    assert states["gan"] == {"done": [], "failed": ["gan"], "left": []}
    assert list(states) == ["gan", "original", "maskout", "drawn"]
    monkeypatch.setattr(train_gan, "train", train)
    assert benches.carried_out(grid(MASKED, DRAWN), Path("out"))["gan"] is None  # not tried again
    other = grid(MASKED, DRAWN, steps=2)
    result = benches.carried_out(other, Path("out"), retry=True)
    assert (result["failed"], result["gan"]["steps"], tried) == ({}, 2, [1])
    with pytest.raises(BadInput, match=r"holds a bench of another grid \(gan differ\)"):
        benches.carried_out(grid(MASKED, DRAWN), Path("out"))


def test_a_bench_may_gain_such_an_arm_and_leave_it_out(here, monkeypatch):
    """A folder that an earlier version finished stays what it is."""
    before = grid(MASKED, gan=None)
    before["faces"] |= {"threshold": 0.2, "side": 960}  # a section that is always written out
    assert bench.resolve(before).values == before
    benches.carried_out(before, Path("out"))
    noted = Path("out/grid.json").read_bytes()
    assert json.loads(noted) == before
    benches.carried_out(before, Path("out"))
    assert Path("out/grid.json").read_bytes() == noted
    values = grid(MASKED, DRAWN)
    events = bench.carry_out(bench.resolve(values), Path("out"))
    ended = [one.job.name for one in events if getattr(one, "kind", "") == "end"]
    assert ended == ["gan", "copy drawn", "train drawn-0", "evaluate drawn-0"]
    kept = json.loads(Path("out/grid.json").read_bytes())
    assert kept["gan"] == bench.resolve(values).values["gan"]
    assert benches.carried_out(before, Path("out"))["gan"] is None
    assert json.loads(Path("out/grid.json").read_bytes())["gan"] == kept["gan"]
    wide = {**MEAN, "regions": {"dilate": 0.2}}  # which the network has not learnt
    for values in (grid(MASKED, DRAWN, lr=0.1), grid(MASKED, wide)):
        with pytest.raises(BadInput, match=r"holds a bench of another grid \(gan differ\)"):
            benches.carried_out(values, Path("out"))


def test_too_few_people_are_told_before_anything_is_made(here):
    with pytest.raises(BadInput) as refused:
        benches.carried_out(grid(DRAWN, batch=16), Path("out"))
    assert str(refused.value) == (
        "gan: at most 14 people are in the training pictures, and a network needs 16 to learn "
        "from; give it more pictures, or a smaller gan.batch."
    )
    values = grid(DRAWN) | {"data": {"people": {"train": 1}}}
    with pytest.raises(BadInput, match="at most 4 people are in the training pictures, and a netw"):
        benches.carried_out(values, Path("out"))
    for path in Path("coco/annotations").iterdir():
        content = json.loads(path.read_text())
        for annotation in content["annotations"]:
            annotation.pop("keypoints", None)
        path.write_text(json.dumps(content))
    faces = {**DRAWN, "regions": {"kind": "face"}}
    values = grid(faces) | {"train": {**benches.GRID["train"], "task": "detection"}}
    with pytest.raises(BadInput, match="has no keypoints of person"):
        benches.carried_out(values, Path("out"))
    assert not Path("out").exists()


def test_the_network_learns_what_its_arms_hide(tmp_path):
    where = {"kind": "face", "dilate": 0.2}
    found = bench.resolve(grid({**DRAWN, "regions": where}, {**MEAN, "regions": where}))
    assert (found.gan.regions.kind, found.gan.regions.dilate) == ("face", 0.2)
    assert bench.resolve(found.values).values == found.values  # a job resolves them once more
    jobs = {job.name: job for job in bench.plan(found, tmp_path, 2)}
    assert jobs["copy drawn"].needs == jobs["copy mean"].needs == ("gan",)
    assert jobs["copy original"].needs == ()
    own = {"name": "own", "method": {"name": "gan", "model": "mine.onnx"}}
    found = bench.resolve(grid(own, gan=None))
    assert found.gan is None
    assert "gan" not in {job.name for job in bench.plan(found, tmp_path, 2)}
    assert found.arm("own").setup(tmp_path).method.model == "mine.onnx"
    values = grid(own, DRAWN) | {"anonymized_val": True}
    jobs = {job.name: job for job in bench.plan(bench.resolve(values), tmp_path, 2)}
    assert jobs["copy drawn-val"].needs == ("gan",)
    assert jobs["copy own-val"].needs == ()


FACE = {"name": "face", "method": {"name": "gan"}, "regions": {"kind": "face"}}
WHOLE = {"name": "whole", "method": {"name": "gan"}, "regions": {"kind": "frame"}}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (grid(MASKED), 'gan: no arm draws with this network; give one method = { name = "gan" } '
         "without a model, or leave the section out."),
        (grid(DRAWN, gan=None), "arms: drawn needs a network; give the grid a section [gan], which "
         "trains one, or name a file of yours as method.model."),
        (grid(DRAWN, FACE), "arms: drawn and face hide other regions, and a grid trains one "
         "network; train that of face by `velatura impact train-gan`, and name its file as "
         "method.model."),
        (grid(WHOLE), "arms: whole: a network draws faces or bodies, and no whole pictures."),
        (grid(FACE, regions={"kind": "body"}),
         "gan.regions: they are those of face; leave them out."),
        (grid(DRAWN, network={"size": 48}),
         "gan.network.size: Input should be 16, 32, 64 or 128, got 48."),
        (grid(DRAWN, size=32), "Unknown key gan.size. Known keys: regions, network, steps, batch, "
         "lr, slope, slope_every, average, vary, mirror, least, held_out, features, seed, device, "
         "save_every, log_every."),
        (grid(DRAWN) | {"gan": 3}, "gan: expected a table, got 3."),
    ],
)  # fmt: skip
def test_one_sentence_for_a_network_that_cannot_be(values, says):
    with pytest.raises(BadInput) as refused:
        bench.resolve(values)
    assert str(refused.value) == says


def test_the_packaged_network():
    """The default grid trains one, of bodies; what it costs nobody knows beforehand."""
    found = bench.resolve(bench.packaged())
    assert found.gan is not None
    assert found.gan.regions.kind == "body"
    (arm,) = (arm.name for arm in found.arms if arm.draws)
    assert arm not in {name for line in found.order for name in (line.arm, line.of)}
    assert bench.resolve(bench.packaged("small")).gan is None
