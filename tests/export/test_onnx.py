"""From a run to a file: the same pictures, what the file says, and what is refused."""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from training import tiny
from video.sample_videos import encode

from velatura import experiment
from velatura.config import to_toml
from velatura.deploy.model import Model
from velatura.errors import BadInput, Failure
from velatura.experiment import load_anonymizer, resolve
from velatura.export import onnx as exporter
from velatura.export.onnx import Source, card_of, export, find, margin_of
from velatura.methods import flow, frame_difference
from velatura.models import bdq, coarse_flow, gated_unet
from velatura.study import resolve_study
from velatura.training import checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, of a few steps; then moved on at random, as far as training would."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VELATURA_CACHE", str(root / "cache"))
        experiment.train(resolve(tiny.values(method={"steps": 2})), root / "mine")
    file = root / "mine" / "anonymizer.safetensors"
    state, about = checkpoint.load(file)
    draw = torch.Generator().manual_seed(0)
    moved = {k: v + 0.1 * torch.randn(v.shape, generator=draw) for k, v in state["f_A"].items()}
    checkpoint.save(file, {"f_A": moved}, about)
    return root / "mine"


@pytest.fixture(scope="module")
def made(run: Path) -> tuple[Path, dict[str, Any]]:
    """Its file, by the command line, and what that printed."""
    file = run.parent / "mine.onnx"
    code, out, err = tiny.main("export", str(run), "--out", str(file), "--json")
    assert code == 0, err
    return file, json.loads(out)


@pytest.fixture
def translated(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's graph as it was made before, for tests of what comes after."""
    monkeypatch.setattr(exporter, "_translate", lambda *given: onnx.load(made[0]))


def noise(count: int, height: int, width: int) -> np.ndarray:
    draw = np.random.default_rng(height * width)
    return draw.integers(0, 256, (count, height, width, 3), np.uint8)


def eagerly(network: nn.Module, frames: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        clip = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255
        levels = network(clip)[0].mul(255).round().clamp(0, 255)
    return levels.byte().permute(0, 2, 3, 1).numpy()


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other)


def fixed(name: str, **more: Any) -> Source:
    return Source(name, resolve(tiny.values(method={"name": name, **more})), None, None)


def said(source: Source | Path, destination: Path, **more: Any) -> str:
    with pytest.raises((BadInput, Failure)) as caught:
        export(source, destination, **more)
    text = str(caught.value)
    assert "\n" not in text
    return text


# ------------------------------------------------------------------------------- the same pictures


def test_the_plain_form_is_the_network():
    for width, bias, moved in ((4, 1.0, 0.1), (16, -1.0, 0.03)):
        torch.manual_seed(width)
        network = gated_unet.GatedUNet(width, bias).eval().requires_grad_(False)
        for weights in network.parameters():
            weights += moved * torch.randn_like(weights)
        frames = torch.rand(3, 3, 24, 40)
        found = network.plainly(frames)
        torch.testing.assert_close(found, network(frames), atol=1e-6, rtol=0)
        assert not torch.allclose(found, frames, atol=0.1)  # it does something


@pytest.mark.parametrize("size", [(24, 24), (8, 8), (33, 47), (80, 107)])
def test_the_file_makes_the_networks_pictures(run: Path, made: Any, size: tuple[int, int]):
    frames = noise(2, *size)
    network = load_anonymizer(run, "cpu")
    there = apart(Model(made[0], scale=0).apply(frames), eagerly(network, frames))
    assert there.max() <= 1
    assert (there > 0).mean() < 1e-3
    assert apart(eagerly(network, frames), frames).mean() > 2  # and they are others than it got


@pytest.mark.parametrize(
    ("name", "more"),
    [("blur", {"sigma": 0.2}), ("downsample", {}), ("grey", {}), ("constant", {})],
)
def test_a_fixed_filter_is_a_file_too(name: str, more: dict[str, Any], tmp_path: Path):
    done = export(fixed(name, **more), tmp_path / "x.onnx")
    network = experiment.build_anonymizer(fixed(name, **more).run)
    model = Model(tmp_path / "x.onnx", scale=0)
    for size in [(24, 24), (31, 57), (64, 20)]:
        frames = noise(2, *size)
        there = apart(model.apply(frames), eagerly(network, frames))
        assert there.max() <= 1
        assert (there > 0).mean() < 2e-3
    # A blur grows with the picture; the others look at their own block alone.
    assert done.margin == (None if name == "blur" else 0)


def moved_on(network: nn.Module, far: float = 0.3) -> nn.Module:
    """As far as training would, at random."""
    torch.manual_seed(1)
    for weights in network.parameters():
        weights.data += far * torch.randn_like(weights)
    return network.eval().requires_grad_(False)


LOOKING: dict[str, tuple[Callable[[], nn.Module], int, str, int | None]] = {
    # What is built, how far it looks back, what its first frame is given, its margin.
    "coarse_flow": (
        lambda: moved_on(coarse_flow.anonymizer(coarse_flow.Config(cells=12, depth=2))),
        3, "rest", None,
    ),
    "flow": (lambda: flow.build(flow.Config(cells=7)), 1, "rest", None),
    "bdq": (lambda: moved_on(bdq.anonymizer(bdq.Config()), 0.1), 1, "next", 2),
    "frame_difference": (
        lambda: frame_difference.build(frame_difference.Config()), 1, "next", 0,
    ),
    "signed": (
        lambda: frame_difference.build(frame_difference.Config(binary=False)), 1, "next", 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LOOKING)
def test_one_that_looks_back_is_a_file_too(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    build, past, first, margin = LOOKING[kind]
    network = build()
    monkeypatch.setattr(exporter, "build_anonymizer", lambda run: network)
    done = export(fixed("grey"), tmp_path / "x.onnx", name=kind)
    assert (done.name, done.past, done.margin) == (kind, past, margin)
    model = Model(tmp_path / "x.onnx", scale=0)
    assert (model.past, model.about.first, model.moves) == (past, first, True)
    assert model.about.rest["schema"] == "velatura-model/2"
    for count, height, width in [(1, 24, 24), (2, 5, 7), (9, 33, 74)]:
        # Not noise alone, in which nothing moves as one.
        clip = np.stack([np.roll(noise(1, height, width)[0], t, 1) // 2 for t in range(count)])
        clip += noise(count, height, width) // 8
        expected = eagerly(network, clip)
        for batch in (1, 2, count):
            parts = [clip[at : at + batch] for at in range(0, count, batch)]
            there = apart(np.concatenate(list(model.process(parts))), expected)
            # A number between two levels may fall to either: in few cells.
            assert (there > 1).mean() < 1e-3, (count, batch)
            assert (there > 0).mean() < 2e-3
    assert len(np.unique(expected)) > 1  # and something moves
    assert not (expected == clip).all((1, 2, 3)).any()


def test_levels_that_differ_by_more_than_one_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A cell that falls to the next level is what rounding does; two levels are another network."""
    built = LOOKING["flow"][0]()
    assert built.step == 32
    monkeypatch.setattr(exporter, "build_anonymizer", lambda run: built)
    pairs = exporter._difference
    for far in (32, 33):
        monkeypatch.setattr(
            exporter, "_difference", lambda given, far=far: pairs(given)._replace(largest=far)
        )
        if far > 32:
            assert "by up to 33 of 255 levels" in said(fixed("grey"), tmp_path / "y.onnx")
        else:
            export(fixed("grey"), tmp_path / "x.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


@pytest.mark.parametrize("kind", ["coarse_flow", "bdq"])
def test_one_that_looks_back_and_gives_no_numbers_is_seen(kind: str):
    """Steps too: what is no number is on neither side of a boundary."""
    network = LOOKING[kind][0]()
    graph = exporter._Bytes(network)
    frames = torch.from_numpy(noise(int(network.past) + 1, 24, 24))
    levels, sums = graph(frames)
    assert levels.shape == (1, 24, 24, 3)
    assert torch.isfinite(sums).all()
    for weights in list(network.parameters())[:2]:
        before = weights.clone()
        weights.view(-1)[0] = math.nan
        assert torch.isnan(graph(frames)[1]).all()
        weights.copy_(before)


def test_tiles_are_seamless(made: Any):
    frames = noise(1, 200, 260)
    whole = Model(made[0], scale=0).apply(frames)
    cut = Model(made[0], scale=0, pixels=1)
    assert len(list(cut._tiles(1, 200, 264))) > 3
    assert np.array_equal(cut.apply(frames), whole)
    cut.about = cut.about._replace(margin=8)
    assert not np.array_equal(cut.apply(frames), whole)


def test_neither_batch_nor_threads_change_a_byte(made: Any):
    frames = noise(5, 80, 107)
    one = Model(made[0], threads=1).apply(frames)
    two = Model(made[0], threads=2)
    assert np.array_equal(two.apply(frames), one)
    assert np.array_equal(np.concatenate([two.apply(f[None]) for f in frames]), one)


def test_openvino_makes_the_same_pictures(made: Any):
    pytest.importorskip("openvino")
    frames = noise(3, 80, 107)
    there = apart(Model(made[0], runtime="openvino").apply(frames), Model(made[0]).apply(frames))
    assert there.max() <= 1
    assert (there > 0).mean() < 1e-3


# ------------------------------------------------------------------------------- the check


WRONG = {
    "brighter": lambda levels: np.minimum(levels, 253) + 2,
    "colours": lambda levels: levels[..., ::-1],
    "shifted": lambda levels: np.roll(levels, 1, 2),
    "slightly": lambda levels: levels ^ (np.arange(levels.size) % 900 == 0).reshape(levels.shape),
}


@pytest.mark.usefixtures("translated")
@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_differs_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
):
    eager = exporter.eager
    monkeypatch.setattr(exporter, "eager", lambda *given: WRONG[wrong](eager(*given)))
    assert "differs from the trained one on random frames" in said(run, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_plain_form_that_is_another_function_is_found(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plainly = gated_unet.GatedUNet.plainly
    wrongly = lambda self, frames: plainly(self, frames) + 0.02 / 255  # noqa: E731
    monkeypatch.setattr(gated_unet.GatedUNet, "plainly", wrongly)
    # A level, in two of a hundred bytes.
    assert "% of the bytes, by up to 1 of 255 levels" in said(run, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_gives_no_numbers_is_not_written(run: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.toml").write_bytes((run / "config.toml").read_bytes())
    state, about = checkpoint.load(run / "anonymizer.safetensors")
    state["f_A"]["net.head.bias"][0] = math.nan
    checkpoint.save(broken / "anonymizer.safetensors", state, about)
    assert "gives values that are no numbers" in said(broken, tmp_path / "x.onnx")
    assert not list(tmp_path.glob("*x.onnx*"))


def test_a_number_that_is_none_is_found_in_the_file(made: Any, tmp_path: Path):
    """Behind bytes nobody would see it."""
    model = onnx.load(made[0])
    (bias,) = [t for t in model.graph.initializer if t.name.endswith("head.bias")]
    values = onnx.numpy_helper.to_array(bias).copy()
    for poison in (math.nan, -math.inf):
        values[0] = poison
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        onnx.save(model, tmp_path / "x.onnx")
        with pytest.raises(Failure, match="gave a value that is not a number"):
            Model(tmp_path / "x.onnx").apply(noise(1, 24, 24))


@pytest.mark.usefixtures("translated")
def test_the_check_looks_at_the_clip_that_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    video = encode(tmp_path / "clip.mp4", list(noise(20, 36, 48)))
    looked = []
    compare = exporter._compare

    def noted(*given: Any) -> Any:
        looked.append(given[-1].shape)
        return compare(*given)

    monkeypatch.setattr(exporter, "_compare", noted)
    done = export(run, tmp_path / "x.onnx", clip=video)
    assert looked == [(16, 24, 32, 3)]
    assert done.clip.pictures == 16
    assert "is not there" in said(run, tmp_path / "y.onnx", clip=tmp_path / "nothing.mp4")


@pytest.mark.usefixtures("translated")
def test_a_margin_that_is_wrong_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(exporter, "margin_of", lambda network, stride: 8)
    assert export(run, tmp_path / "x.onnx").margin is None
    assert Model(tmp_path / "x.onnx").about.margin is None


def test_how_far_a_network_looks():
    def conv(size: int, **more: Any) -> nn.Module:
        return nn.Conv2d(3, 3, size, padding="same", **more)

    assert margin_of(nn.Identity(), 1) == 0
    assert margin_of(nn.Sequential(conv(3), nn.ReLU(), conv(5)), 1) == 3
    assert margin_of(conv(3, dilation=9), 1) == 9
    assert margin_of(nn.Sequential(conv(3), conv(5)), 8) == 8  # whole blocks
    silent = conv(7)
    nn.init.zeros_(silent.weight)  # trained weights may be other ones
    assert margin_of(silent, 1) == 3

    class Left(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.pad(x, (3, 0, 0, 0))[..., :-3]

    assert margin_of(Left(), 8) == 8  # the last pixels of a block are seen in the next one

    class Global(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean((2, 3), keepdim=True)

    assert margin_of(Global(), 1) is None
    assert margin_of(experiment.build_anonymizer(fixed("blur").run), 1) is None


def test_beyond_the_margin_nothing_matters_and_within_it_does(run: Path, made: Any):
    margin = made[1]["margin"]
    network = load_anonymizer(run, "cpu")
    frames = torch.rand(1, 3, 160, 160)
    here = slice(80, 88)

    def change(free: int) -> float:
        other = torch.rand(1, 3, 160, 160)
        keep = slice(80 - free, 88 + free)
        other[..., keep, keep] = frames[..., keep, keep]
        with torch.no_grad():
            return float((network.net(other) - network.net(frames))[..., here, here].abs().max())

    assert change(margin) == 0
    assert change(margin // 2) > 0


# ------------------------------------------------------------------------------- what is written


def test_what_the_file_says(run: Path, made: Any):
    file, printed = made
    model = Model(file)
    about = model.about
    assert (about.name, about.stride, about.short_side, about.card) == ("mine", 8, 24, {})
    trained = resolve(tomllib.loads((run / "config.toml").read_text()))
    assert resolve(tomllib.loads(about.rest["run"])) == trained
    _, kept = checkpoint.load(run / "anonymizer.safetensors")
    assert (about.rest["config"], about.rest["data"]) == (kept["digest"], kept["data"])
    assert about.rest["seed"] == "3"
    assert json.loads(about.rest["trained_with"]) == kept["versions"]
    assert {"torch", "onnx", "onnxruntime"} <= set(json.loads(about.rest["versions"]))
    assert printed["digest"] == model.digest
    assert printed["size"] == file.stat().st_size
    assert printed["margin"] == about.margin
    onnx.checker.check_model(onnx.load(file), full_check=True)


def test_the_file_holds_nothing_of_this_machine_and_is_the_same_again(
    run: Path, made: Any, tmp_path: Path
):
    content = made[0].read_bytes()
    for text in (str(Path(exporter.__file__).parent), "site-packages", ".py", str(run.parent)):
        assert text.encode() not in content, text
    export(run, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == content


def study_of(run: Path, folder: Path) -> Path:
    """A study's folder as it is left: a learned row, a fixed one, the raw video, a summary."""
    values = tomllib.loads((run / "config.toml").read_text())
    rows = [
        {"name": "ours", "method": values["method"], "anonymizer": values["anonymizer"]},
        {"name": "small", "method": {"name": "downsample"}},
    ]
    given = {k: v for k, v in values.items() if k not in ("method", "anonymizer")}
    study = resolve_study({**given, "title": "Small", "rows": rows})
    (folder / "methods" / "ours").mkdir(parents=True)
    (folder / "rows" / "small").mkdir(parents=True)
    for name in ("config.toml", "anonymizer.safetensors"):
        (folder / "methods" / "ours" / name).write_bytes((run / name).read_bytes())
    (folder / "config.toml").write_text(study.toml())
    measured = [
        {"name": r.name, "U": 0.5 + i / 10, "L": 0.25, "attackers": {"frame_cnn": {}}, "strange": 1}
        for i, r in enumerate(study.rows)
    ]
    summary = {
        "title": "Small", "dataset": "people", "seed": 3, "created": "2026", "rows": measured,
        "config": study.values(), "data": {"test": 16, "train": 9}, "chance": {"top1": 10.0},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_row_of_a_study_brings_what_was_measured(run: Path, tmp_path: Path):
    folder = study_of(run, tmp_path / "study")
    for source in (find(folder, "ours"), find(folder / "methods" / "ours")):
        assert (source.name, source.weights) == ("ours", folder / "methods" / "ours")
        card = card_of(source)
        assert (card["row"], card["U"], card["L"]) == ("ours", 0.6, 0.25)
        assert (card["test"], card["attackers"]) == ({"test": 16}, ["frame_cnn"])
    for source in (find(folder, "small"), find(folder / "rows" / "small")):
        assert (source.name, source.weights, card_of(source)["U"]) == ("small", None, 0.7)
    out, card_file = tmp_path / "small.onnx", tmp_path / "small.json"
    words = ["export", str(folder), "--row", "small", "--out", str(out), "--card", str(card_file)]
    code, printed, err = tiny.main(*words, "--name", "soft")
    assert (code, err.count("\n")) == (0, 3)
    assert "soft" in printed
    assert Model(out).card == json.loads(card_file.read_text()) == card_of(find(folder, "small"))
    assert tiny.main(*words)[0] == 2  # both are there now


def test_a_summary_of_another_row_is_refused(run: Path, tmp_path: Path):
    folder = study_of(run, tmp_path / "study")
    summary = json.loads((folder / "summary.json").read_text())
    row = next(r for r in summary["config"]["rows"] if r["name"] == "ours")
    row["method"]["bound"] = 0.123
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(BadInput, match="measured another ours"):
        card_of(find(folder, "ours"))
    (folder / "summary.json").write_text("[]")
    with pytest.raises(BadInput, match="is not a study's summary"):
        card_of(find(folder, "ours"))


def test_a_run_that_was_evaluated_brings_its_figures(run: Path, tmp_path: Path):
    mine = tmp_path / "ours"
    mine.mkdir()
    for name in ("config.toml", "anonymizer.safetensors"):
        (mine / name).write_bytes((run / name).read_bytes())
    assert card_of(find(mine)) == {}
    study_of(run, mine / "evaluation")
    assert card_of(find(mine))["U"] == 0.6
    # Trained again since: the figures are of other weights.
    (mine / "anonymizer.safetensors").write_bytes(b"others")
    assert card_of(find(mine)) == {}


# ------------------------------------------------------------------------------- what is refused


def test_what_is_no_function_of_one_frame_is_refused(tmp_path: Path, monkeypatch: Any):
    out = tmp_path / "x.onnx"
    assert "identity changes nothing" in said(fixed("identity"), out)
    assert "blacken needs to be told where people are" in said(fixed("blacken"), out)
    assert "noise sees a video in one piece" in said(fixed("noise"), out)
    around = experiment.build_anonymizer(resolve(tiny.values(method={"name": "penalty_released"})))
    with pytest.raises(BadInput, match="penalty_released sees 3 frames together"):
        exporter._able(around.eval(), "penalty_released")

    class Mixes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x + x.mean(0, keepdim=True)) / 2

    class Dices(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.rand_like(x)

    class Clips(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            b, t, c, h, w = x.shape
            return x

    class Smaller(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[..., ::2]

    class Ahead(nn.Module):
        past = 1

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x[:, 1:], x[:, -1:]], 1)

    class Longer(nn.Module):
        past = 1

        def forward(self, x: Tensor) -> Tensor:
            return x.cumsum(1) / 9

    for network, sentence in (
        (Ahead(), "answers a frame otherwise in a clip than beside the 1 before it"),
        (Longer(), "answers a frame otherwise in a clip than beside the 1 before it"),
        (Mixes(), "answers a frame otherwise alone than beside others"),
        (Dices(), "or otherwise each time"),
        (Clips(), "does not take single frames"),
        (Smaller(), "grey turns"),
    ):
        monkeypatch.setattr(exporter, "build_anonymizer", lambda run, it=network: it)
        assert sentence in said(fixed("grey"), out)

    class Sorts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > math.inf else 1 - x

    monkeypatch.setattr(exporter, "build_anonymizer", lambda run: Sorts())
    assert "grey cannot be translated to ONNX" in said(fixed("grey"), out)
    assert list(tmp_path.iterdir()) == []


def test_blocks_that_grow_with_the_picture_are_not_written(tmp_path: Path):
    """A pooling's side is a number of the file; the page names what cannot be exported."""
    said_of = said(fixed("pixelate"), tmp_path / "x.onnx")
    assert "The exported network differs from the trained one" in said_of
    assert list(tmp_path.iterdir()) == []
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    written, refused = re.findall(r"## What can be exported\n(.*?)Refused(.*?)\n\n", page, re.S)[0]
    assert "`pixelate`" in refused
    assert "`pixelate`" not in written


def test_what_is_wrong_is_one_sentence(run: Path, tmp_path: Path):
    study = study_of(run, tmp_path / "study")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.toml").write_text(to_toml(tiny.values()))
    there = tmp_path / "there.onnx"
    there.write_bytes(b"mine")
    for words, sentence in [
        ([str(tmp_path / "no"), "--out", "x.onnx"], "is neither a run folder nor a study's"),
        ([str(study), "--out", "x.onnx"], "is a study; name a row with --row: raw, ours, small."),
        ([str(study), "--row", "our", "--out", "x.onnx"], "Did you mean 'ours'?"),
        ([str(run), "--row", "ours", "--out", "x.onnx"], "has no rows; leave --row out"),
        ([str(unfinished), "--out", str(tmp_path / "x.onnx")], "has not finished"),
        ([str(run), "--out", str(tmp_path / "x.pt")], "a model's name ends in .onnx"),
        ([str(run), "--out", str(tmp_path / "no" / "x.onnx")], "is no folder; make it first"),
        ([str(run), "--out", str(there)], "exists; replace it with --overwrite"),
        ([str(run), "--out", str(tmp_path / "x.onnx"), "--card", "c.json"], "Nothing was measured"),
    ]:
        code, out, err = tiny.main("export", *words)
        assert (code, out) == (2, ""), err
        assert err.count("\n") == 1, err
        assert sentence in err
    assert there.read_bytes() == b"mine"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.usefixtures("translated")
def test_what_appears_meanwhile_is_left_as_it_is(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "x.onnx"
    seamless = exporter._seamless

    def meanwhile(*given: Any) -> bool:
        out.write_bytes(b"somebody's")
        return seamless(*given)

    monkeypatch.setattr(exporter, "_seamless", meanwhile)
    assert "appeared meanwhile; it was left as it is" in said(run, out)
    assert (out.read_bytes(), os.listdir(tmp_path)) == (b"somebody's", ["x.onnx"])
    export(run, out, overwrite=True)
    assert Model(out).name == "mine"


@pytest.mark.usefixtures("translated")
def test_a_full_disk_leaves_nothing(run: Path, tmp_path: Path):
    with tiny.small_disk(tmp_path / "small", "16k") as place:
        assert "nothing was written" in said(run, place / "x.onnx")
        assert list(place.iterdir()) == []
