"""What every method's anonymizer promises: a fixed one, and a learned one moved a little."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training import tiny

from velatura import experiment, plugins, study
from velatura.experiment import build_anonymizer, learns, resolve
from velatura.report.findings import FAMILIES
from velatura.training import loop

METHODS = plugins.names("methods")
# Networks that a method is made for, as small as they go; every other one gets a small gated U-Net.
NETWORKS: dict[str, dict[str, Any]] = {
    "bdq": {"name": "bdq"},
    "stprivacy": {
        "name": "tubelet_vit",
        "patch": 8,
        "width": 24,
        "depth": 3,
        "heads": 3,
        "size": 16,
        "pruning": [1, 2],
    },
}
OPTIONS: dict[str, dict[str, Any]] = {}  # of a method, where its defaults do not do
# What a frame becomes depends on others of its clip: that is what these methods are.
LOOKS_AROUND = {"bdq", "flow", "frame_difference", "freeze", "penalty_released", "stprivacy"}
KEYED = {"noise"}  # the same noise in each frame of a clip: permuted frames are another clip
WANTS_PEOPLE = {"blacken", "blur_people"}
EIGHT = 8  # frames: two tubelets of 2, and as long as the demo's clips

each_method = pytest.mark.parametrize("name", METHODS)


def built(name: str) -> nn.Module:
    """The method's anonymizer; a learned one with weights as after some steps, not as at first."""
    torch.manual_seed(0)
    values: dict[str, Any] = {"method": {"name": name, **OPTIONS.get(name, {})}}
    values["anonymizer"] = NETWORKS.get(name, {"name": "gated_unet", "width": 4, "gate_bias": 1.0})
    run = resolve(values)
    network = build_anonymizer(run)
    if learns(run):
        for weight in network.parameters():
            weight.data += 0.02 * torch.randn(weight.shape)
    return network.eval().requires_grad_(False)


def clips(b: int = 3, t: int = EIGHT, seed: int = 0) -> Tensor:
    """Video in bytes: neighbours in time share most of the picture."""
    draw = torch.Generator().manual_seed(seed)
    still = torch.rand(b, 1, 3, 16, 16, generator=draw)
    moving = torch.rand(b, t, 3, 16, 16, generator=draw)
    return ((0.8 * still + 0.2 * moving) * 255).round() / 255


def through(name: str, network: nn.Module, video: Tensor) -> Tensor:
    if name not in WANTS_PEOPLE:
        return network(video)
    people = torch.zeros(*video.shape[:2], *video.shape[3:])
    people[..., 4:12, 5:9] = 1
    return network(video, people)


@each_method
def test_shape_and_range_are_kept(name: str):
    video = clips()
    out = through(name, built(name), video)
    assert out.shape == video.shape
    assert out.dtype == torch.float32
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1


@each_method
def test_evaluation_is_deterministic_and_leaves_its_input(name: str):
    video, network = clips(), built(name)
    before = video.clone()
    once = through(name, network, video)
    torch.manual_seed(7)
    assert torch.equal(once, through(name, network, video))
    assert torch.equal(video, before)


@each_method
def test_an_item_does_not_depend_on_another(name: str):
    video, network = clips(), built(name)
    together = through(name, network, video)
    alone = torch.cat([through(name, network, clip[None]) for clip in video])
    torch.testing.assert_close(together, alone, atol=1.01 / 255, rtol=0)
    assert float((together - alone).abs().mean()) < 1e-4  # a rounding here and there
    changed = through(name, network, torch.cat([video[:1], clips(2, seed=9)]))
    torch.testing.assert_close(changed[:1], together[:1], atol=1.01 / 255, rtol=0)


@each_method
def test_a_frame_wise_one_commutes_with_permuting_frames(name: str):
    if name in KEYED:
        pytest.skip("keyed to the clip: a permuted clip is another clip")
    video, network = clips(), built(name)
    order = torch.randperm(EIGHT, generator=torch.Generator().manual_seed(3))
    commutes = torch.allclose(
        through(name, network, video[:, order]),
        through(name, network, video)[:, order],
        atol=1.01 / 255, rtol=0,
    )  # fmt: skip
    assert commutes == (name not in LOOKS_AROUND)


# These hand on no colour: grey, black, or motion alone. Of the two networks among them, bdq and
# tubelet_vit, their own tests say that colours keep their order.
COLOURLESS = {"bdq", "blacken", "constant", "flow", "frame_difference", "grey", "stprivacy"}


@pytest.mark.parametrize("name", sorted(set(METHODS) - COLOURLESS))
def test_the_order_of_colours_survives(name: str):
    """Red video is handed on with more red than blue."""
    red = torch.zeros(1, EIGHT, 3, 16, 16)
    red[:, :, 0] = 1
    torch.manual_seed(0)
    values: dict[str, Any] = {"method": {"name": name, **OPTIONS.get(name, {})}}
    values["anonymizer"] = {"name": "gated_unet", "width": 4}
    network = build_anonymizer(resolve(values)).eval()  # as at first, near the identity
    with torch.no_grad():
        r, _, b = through(name, network, red)[0].mean((0, 2, 3)).tolist()
    assert r > b + 0.2


@each_method
def test_nothing_is_known_of_frames_to_come(name: str):
    """One that looks back may be deployed on a stream: a frame's answer stands when it is given."""
    network = built(name)
    if name in {"noise", "penalty_released", "stprivacy"}:  # those see a clip as a whole
        assert getattr(network, "whole", False) or getattr(network, "window", 1) > 1
        return
    video = clips()
    other = torch.cat([video[:, :-1], clips(seed=5)[:, -1:]], 1)
    before, after = (through(name, network, v)[:, :-1] for v in (video, other))
    torch.testing.assert_close(before, after, atol=1.01 / 255, rtol=0)


LEARNED = [n for n in METHODS if hasattr(plugins.load("methods", n), "train")]


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_method_goes_all_the_way(name: str, tmp_path: Path, monkeypatch: Any):
    """Trained, loaded and released as a study does: by files, with all that is around f_A."""
    monkeypatch.setenv("VELATURA_CACHE", str(tmp_path / "cache"))
    values = tiny.values(method={"name": name, "steps": 1})
    values["method"] = {"name": name, "steps": 1}
    if name in NETWORKS:
        values["anonymizer"] = {**NETWORKS[name], **({"size": 24} if name == "stprivacy" else {})}
    if name == "stprivacy":
        values["method"]["sparsify_steps"] = 1
    run = resolve(values)
    experiment.train(run, tmp_path / "run")
    network = experiment.load_anonymizer(tmp_path / "run", "cpu")
    assert type(network) is type(build_anonymizer(run))
    test = experiment.load_data(run).test
    fabric = loop.fabric(loop.Config(device="cpu", precision="32"))
    released = experiment.release(network, test, tmp_path / "test.npy", fabric)
    assert released.frames.shape == test.frames.shape
    bound = study.clip_bound(run.method.config)
    assert bound == (0.5 if name == "penalty" else None)


def test_the_page_of_methods_names_them_all_and_tests_that_exist():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "methods.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert rows == set(METHODS)
    sources = [path.read_text() for path in (root / "tests").rglob("test_*.py")]
    names = {path.name for path in (root / "tests").rglob("test_*.py")}
    for name in re.findall(r"`(test_\w+)`", page):
        assert any(f"def {name}(" in text for text in sources), name
    for name in re.findall(r"`(test_\w+\.py)`", page):
        assert name in names, name


@each_method
def test_the_report_knows_what_family_a_method_is_of(name: str):
    method = plugins.load("methods", name)
    family = FAMILIES[name]
    if hasattr(method, "build"):
        assert family in ("fixed", "reference")
    else:
        kinds = {"contrastive": "self-supervised", "adversaries": "supervised"}
        assert family == kinds[method.BUDGET]
