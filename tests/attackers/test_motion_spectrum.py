"""Hand-made statistics of motion: each by hand, and what a regression on them finds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from training import tiny

from velatura.attackers import motion_spectrum
from velatura.attackers.motion_spectrum import statistics
from velatura.layout import ClipSet
from velatura.protocols import privacy
from velatura.training import fit, loop
from velatura.training.batches import Config as Window

FABRIC = loop.fabric(loop.Config(device="cpu", precision="32"))
T, SIDE, BANDS = 8, 24, 4
SILHOUETTE, WAVES = 3 * BANDS * 3, 3 * (T // 2 + 1) * (BANDS + 1)


def body(x: int = 8, y: int = 4, wide: int = 4, high: int = 12, value: float = 0.8) -> torch.Tensor:
    """(T, 3, H, W) in [0, 1]: a rectangle that differs from a still picture."""
    clip = torch.full((T, 3, SIDE, SIDE), 0.5)
    clip[..., y : y + high, x : x + wide] = value
    return clip


def swaying(cycles: float, phase: float = 0.0) -> torch.Tensor:
    """The same, whose brightness comes and goes."""
    times = 2 * math.pi * (cycles * torch.arange(T) / T + phase)
    return 0.5 + (body() - 0.5) * times.cos()[:, None, None, None]


def test_there_are_as_many_as_it_says_and_they_are_finite_at_rest():
    clips = torch.stack([body(), torch.full((T, 3, SIDE, SIDE), 0.3), torch.rand(T, 3, SIDE, SIDE)])
    found = statistics(clips, BANDS)
    assert found.shape == (3, 3 * (3 * BANDS + (T // 2 + 1) * (BANDS + 1) + 5) + 4)
    assert found.isfinite().all()


def test_a_mirror_image_has_the_same():
    clips = torch.rand(5, T, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(statistics(clips.flip(-1)), statistics(clips), atol=1e-4, rtol=1e-4)


def test_where_somebody_stands_is_one_number_and_how_broad_is_told():
    there, elsewhere, broad = statistics(
        torch.stack([body(x=4), body(x=14, y=8), body(wide=10)]), BANDS
    )
    torch.testing.assert_close(there[:-4], elsewhere[:-4], atol=2e-3, rtol=0)
    assert (there[:SILHOUETTE] - broad[:SILHOUETTE]).abs().max() > 0.1
    head, feet, middle, width = there[-4:].tolist()
    assert (head, feet) == pytest.approx((4 / 23, 15 / 23), abs=1 / 23)
    assert middle == pytest.approx(abs(5.5 / 23 - 0.5), abs=0.01)
    assert width == pytest.approx(3 / 23, abs=1 / 23)


def test_the_spectrum_is_that_of_a_sum_by_hand():
    clip = swaying(2)
    found = statistics(clip[None], BANDS)[0, SILHOUETTE : SILHOUETTE + WAVES]
    whole = (clip - clip[..., ::2, :].median()).mean((-2, -1))[:, 0].tolist()  # of one colour
    for k in range(T // 2 + 1):
        angle = [2 * math.pi * k * t / T for t in range(T)]
        real = sum(x * math.cos(a) for x, a in zip(whole, angle, strict=True))
        imaginary = sum(x * math.sin(a) for x, a in zip(whole, angle, strict=True))
        expected = math.sqrt(math.hypot(real, imaginary) / T)
        at = found.view(T // 2 + 1, 3, BANDS + 1)[k, 0, -1]
        assert float(at) == pytest.approx(expected, abs=1e-3)


def test_a_rhythm_is_the_same_whenever_it_began():
    one, later, quick = statistics(torch.stack([swaying(1), swaying(1, 0.25), swaying(3)]))
    part = slice(3 * 12 * 3, 3 * 12 * 3 + 3 * (T // 2 + 1) * 13)
    torch.testing.assert_close(one[part], later[part], atol=1e-3, rtol=0)
    assert (one[part] - quick[part]).abs().max() > 0.1


def test_the_regression_is_that_of_another_library():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    known = (x @ rng.normal(size=(5, 2)) + rng.normal(size=(200, 2)) > 0.3).astype(np.float64)
    weight, bias = motion_spectrum._regress(torch.tensor(x), torch.tensor(known), 0.05)
    for k in range(2):
        other = LogisticRegression(C=1 / (200 * 0.05), tol=1e-8, max_iter=1000)
        other.fit(x, known[:, k])
        np.testing.assert_allclose(weight[k], other.coef_[0], atol=1e-4)
        assert float(bias[k]) == pytest.approx(other.intercept_[0], abs=1e-4)


def sways(name: str, n: int = 24) -> ClipSet:
    """Clips of noise and a slow or a quick sway: single frames are alike. The second attribute is
    another frequency's, in half of either."""
    data, rng = tiny.noise(n=n, t=T, side=SIDE, name=name), np.random.default_rng(len(name))
    clips = torch.stack([swaying((1, 3)[i % 2], rng.uniform()) for i in range(n)])
    noisy = 255 * clips.numpy() + rng.normal(0, 8, clips.shape)
    told = np.stack([np.arange(n) % 2, np.arange(n) // 2 % 2], 1).astype(np.uint8)
    return replace(
        tiny.with_clips(data, noisy.round().clip(0, 255).astype(np.uint8)), attributes=told
    )


def test_a_gait_is_read_and_weights_can_be_kept():
    window, test = Window(size=SIDE, frames=T), sways("test ")
    told: list[tuple[int, int]] = []
    network = privacy.network("motion_spectrum", 2)
    assert (fit.predict(network, test, "attributes", window, FABRIC) == 0).all()
    found = motion_spectrum.fit(
        network, sways("train"), sways("val"), "attributes", window, 0, FABRIC,
        lambda done, total: told.append((done, total)),
    )  # fmt: skip
    scores = fit.predict(found, test, "attributes", window, FABRIC)
    assert ((scores[:, 0] > 0) == test.attributes[:, 0]).all()
    assert told[-1] == (48, 48)
    again = privacy.network("motion_spectrum", 2)
    again.load_state_dict(found.state_dict())
    np.testing.assert_array_equal(fit.predict(again, test, "attributes", window, FABRIC), scores)


def test_the_decay_is_the_best_on_the_validation_split():
    """Where labels are drawn by lot, the strongest decay invents least."""
    window = Window(size=SIDE, frames=T)
    lots = [
        replace(sways(name), attributes=np.random.default_rng(i).permuted(sways(name).attributes))
        for i, name in enumerate(("train", "val"))
    ]
    chosen = {}
    for decays in ((1e-4, 1e2, 1e-3), (1e2,)):
        network = privacy.network("motion_spectrum", 2, {"decays": list(decays)})
        found = motion_spectrum.fit(network, *lots, "attributes", window, 0, FABRIC)
        chosen[decays] = found.state_dict()["weight"]
    of_three, alone = chosen.values()
    assert torch.equal(of_three, alone)
