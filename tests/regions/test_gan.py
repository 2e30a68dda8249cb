"""Drawing with a network from a file: who is drawn, from what, and what is refused.

The contract of all that hides regions is in tests/contracts/test_region_anonymizers.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from inpainting import tiny_gan

from velatura import regions
from velatura.errors import BadInput
from velatura.regions import Region, region_seed
from velatura.regions._crop import enlarged, placed, shrunk, window
from velatura.regions._inpainter import Inpainter
from velatura.regions.gan import matched

HEIGHT, WIDTH = 60, 80
ONE = Region((20, 10, 44, 50), "body", id=3)


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def gan(gan_file):
    """gan(truncation=0.5) gives an anonymizer."""
    return lambda **values: regions.load("gan", model=str(gan_file), **values)


def test_regions_step_by_step(gan, gan_file):
    """All blank; each cut out, drawn by the lot of its seed, enlarged, and put where it was."""
    image, mask = picture(), np.zeros((40, 24), bool)
    mask[4:, 2:20] = True
    points = np.array([[25.0, 20.0, 2.0], [30.0, 22.0, 1.0], [0.0, 0.0, 0.0]])
    one = replace(ONE, mask=mask, keypoints=points)
    other = Region((42, 20, 52, 44), "body", id=9)
    out = gan(truncation=0.75)(image, [other, one], seed=4, picture="a.jpg")
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    hidden[10:50, 20:44] = mask
    hidden[other.place] = True
    blank, expected = image.copy(), image.copy()
    blank[hidden] = 127
    network = Inpainter(gan_file)
    for region, inside in ((one, mask), (other, np.ones((24, 10), bool))):
        there = window(region.box, HEIGHT, WIDTH)
        lot = np.random.default_rng(region_seed(4, "a.jpg", region))
        drawn = network.draw(
            shrunk(blank, there, 16), shrunk(hidden, there, 16),
            lot.standard_normal(8, np.float32), 0.75, placed(region.keypoints, 3, there, 16),
        )  # fmt: skip
        expected[region.place][inside] = enlarged(drawn, there, region.box)[inside]
    np.testing.assert_array_equal(out, expected)


def test_who_is_drawn_depends_on_seed_picture_and_id(gan):
    image, made = picture(), gan()
    drawn = [
        made(image, [one], seed=seed, picture=name)[ONE.place]
        for one, seed, name in (
            (ONE, 0, "a.jpg"),
            (ONE, 1, "a.jpg"),
            (ONE, 0, "b.jpg"),
            (replace(ONE, id=4), 0, "a.jpg"),
        )
    ]
    for at, one in enumerate(drawn):
        for other in drawn[at + 1 :]:
            assert (one != other).any()
    np.testing.assert_array_equal(made(image, [ONE], seed=0, picture="a.jpg")[ONE.place], drawn[0])


def test_without_truncation_all_are_the_mean(gan):
    image, made = picture(), gan(truncation=0.0)
    drawn = [made(image, [replace(ONE, id=number)]) for number in (1, 2)]
    np.testing.assert_array_equal(*drawn)


def test_one_region_is_drawn_without_a_look_at_another(gan):
    """Neither at who is there, nor at what is drawn there; only where it is."""
    image, made = picture(), gan()
    other = Region((40, 20, 60, 55), "body", id=9)
    with_one = made(image, [ONE, other])[10:50, 20:40]
    np.testing.assert_array_equal(made(image, [ONE, replace(other, id=1)])[10:50, 20:40], with_one)
    hidden = image.copy()
    hidden[other.place] = 0
    np.testing.assert_array_equal(made(hidden, [ONE, other])[10:50, 20:40], with_one)
    assert (made(image, [ONE])[10:50, 20:40] != with_one).any()


def test_other_kinds_stay_grey(gan):
    out = gan()(picture(), [ONE, Region((50, 5, 60, 15), "face", id=1)])
    assert (out[5:15, 50:60] == 127).all()
    assert (out[ONE.place] != 127).mean() > 0.9


def test_keypoints_of_another_data_set_do_not_count(gan):
    made, image = gan(), picture()
    plain = made(image, [ONE])
    strange = np.tile([[30.0, 30.0, 2.0]], (17, 1))
    np.testing.assert_array_equal(made(image, [replace(ONE, keypoints=strange)]), plain)
    known = np.tile([[30.0, 30.0, 2.0]], (3, 1))
    assert (made(image, [replace(ONE, keypoints=known)]) != plain).any()


# --------------------------------------------------------------------------------- histograms


def test_histograms_by_hand():
    """Half of the drawn pixels are dark, half bright; half of those around 10, half 50."""
    shown = np.zeros((4, 4, 3), np.uint8)
    hidden = np.zeros((4, 4), bool)
    hidden[2:] = True
    shown[0], shown[1] = 10, 50
    shown[2], shown[3] = 200, 240
    found = matched(shown, hidden)
    np.testing.assert_array_equal(found[:2], shown[:2])
    assert (found[2] == 10).all()
    assert (found[3] == 50).all()
    assert (shown[2] == 200).all()  # what came in stays
    for nothing in (np.zeros((4, 4), bool), np.ones((4, 4), bool)):
        np.testing.assert_array_equal(matched(shown, nothing), shown)


def test_histograms_of_noise_are_as_around():
    """Against quantiles, channel by channel."""
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 256, (64, 64, 3), np.uint8)
    hidden = np.zeros((64, 64), bool)
    hidden[20:50, 20:50] = True
    shown[hidden] = shown[hidden] // 2  # too dark
    shown[..., 2][~hidden] = 128 + shown[..., 2][~hidden] // 2  # around it is blue
    found = matched(shown, hidden)
    for channel in range(3):
        for share in (0.1, 0.5, 0.9):
            ours = np.quantile(found[hidden, channel].astype(float), share)
            around = np.quantile(shown[~hidden, channel].astype(float), share)
            assert abs(ours - around) < 4


def test_histograms_reach_the_picture(gan):
    image = picture() // 8  # a dark picture
    plain, dark = (gan(histogram=on)(image, [ONE])[ONE.place] for on in (False, True))
    assert dark.max() <= 31 < plain.max()


# -------------------------------------------------------------------------- what is refused


def test_a_model_is_asked_for(tmp_path):
    with pytest.raises(BadInput, match="name the file that `velatura impact train-gan` wrote"):
        regions.load("gan")
    with pytest.raises(BadInput, match="No model at"):
        regions.load("gan", model=str(tmp_path / "none.onnx"))
    packaged = Path(regions.__file__).parents[1] / "deploy/models/light.onnx"
    with pytest.raises(BadInput, match="is no inpainting network .* it says 'velatura-model/1'"):
        regions.load("gan", model=str(packaged))


def test_other_regions_and_keypoints_than_it_was_trained_on_are_refused(gan):
    made = gan()
    made.check("body", {})
    made.check("body", {"person": tiny_gan.NAMES})
    made.check("body", {"person": ("head", "neck")})  # as if there were none
    with pytest.raises(BadInput, match="trained to draw bodies, and faces are to be hidden"):
        made.check("face", {})
    with pytest.raises(BadInput, match="draws bodies, and no whole pictures"):
        made.check("frame", {})
    with pytest.raises(BadInput, match=r"other keypoints \(nose, left_eye, right_eye\) than those"):
        made.check("body", {"person": ("nose", "right_eye", "left_eye")})


def test_the_record_names_the_network(gan, gan_file):
    about = gan().describe()
    assert about["reads_region"] is False
    assert about["network"]["digest"] == Inpainter(gan_file).digest
    assert about["network"]["points"] == list(tiny_gan.NAMES)
