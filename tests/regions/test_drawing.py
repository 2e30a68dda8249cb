"""How regions grow, and what each anonymizer draws: by hand, or by a second, naive way."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from velatura import regions
from velatura.regions import Region, grown, touched
from velatura.regions.blur import gaussian


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ((1.2, 3.0, 4.1, 5.0), (1, 3, 5, 5)),
        ((-9, -9, 0.1, 0.1), (0, 0, 1, 1)),
        ((-9, -9, 99, 99), (0, 0, 20, 10)),
        ((20, 0, 25, 5), None),
        ((3, 4, 3, 8), None),
        ((3.2, 4, 3.3, 8), (3, 4, 4, 8)),
    ],
)
def test_all_pixels_that_a_box_touches(box, pixels):
    assert touched(box, 10, 20) == pixels


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("corner", [(0, 0), (7, 5), (18, 13)])
def test_a_region_grows_by_its_own_size(share, corner):
    """Pixel by pixel: what has any pixel of the region within reach along both axes."""
    rng = np.random.default_rng(1)
    mask = rng.random((7, 12)) < 0.15
    (x, y), height, width = corner, 20, 30
    full = np.zeros((height, width), bool)
    full[y : y + 7, x : x + 12] = mask
    reach = round(share * np.sqrt(7 * 12))
    expected = np.zeros_like(full)
    for row, column in zip(*np.nonzero(full), strict=True):
        expected[
            max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1
        ] = True
    region = grown(Region((x, y, x + 12, y + 7), mask=mask), share, height, width)
    drawn = np.zeros_like(full)
    drawn[region.place] = region.mask
    np.testing.assert_array_equal(drawn, expected)
    plain = grown(Region((x, y, x + 12, y + 7)), share, height, width)
    assert plain.box == region.box
    assert plain.box == (
        max(0, x - reach), max(0, y - reach), min(30, x + 12 + reach), min(20, y + 7 + reach)
    )  # fmt: skip


def test_growth_beyond_the_picture_takes_no_memory():
    region = Region((50, 50, 450, 350), mask=np.ones((300, 400), bool))
    tracemalloc.start()
    drawn = grown(region, 4.0, 400, 500)
    assert tracemalloc.get_traced_memory()[1] < 16 * 400 * 500 * 9
    tracemalloc.stop()
    assert drawn.box == (0, 0, 500, 400)
    assert drawn.mask is not None
    assert drawn.mask.all()


@pytest.mark.parametrize("sigma", [1.0, 3.9, 4.0, 9.0, 23.0])
@pytest.mark.parametrize("size", [(90, 130), (41, 17), (5, 60), (1, 1)])
def test_the_fast_gaussian_is_one(sigma, size):
    """Against the definition, on noise and on a step: kernel to 6 sigma, edges mirrored."""
    part = noise(*size)
    part[:, size[1] // 2 :] = part[:, size[1] // 2 :] // 3 + 160
    reach = int(np.ceil(6 * sigma))
    x = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (x / sigma) ** 2)
    kernel /= kernel.sum()
    exact = np.pad(part.astype(float), ((reach, reach), (reach, reach), (0, 0)), "symmetric")
    exact = np.apply_along_axis(np.convolve, 0, exact, kernel, "valid")
    exact = np.apply_along_axis(np.convolve, 1, exact, kernel, "valid")
    apart = np.abs(gaussian(part, sigma) - exact)
    assert apart.max() < 4
    assert apart.mean() < 0.7


def test_blur_is_as_wide_as_the_region():
    """The same crop twice as large is blurred alike; stronger levels leave less."""
    small = noise(20, 20).repeat(2, 0).repeat(2, 1)
    large = small.repeat(2, 0).repeat(2, 1)
    left = {}
    for level in ("low", "medium", "high"):
        blur = regions.load("blur", level=level)
        a = blur(small, [Region((0, 0, 40, 40))])
        b = blur(large, [Region((0, 0, 80, 80))])
        shrunk = b.reshape(40, 2, 40, 2, 3).mean((1, 3))
        assert np.abs(shrunk - a).mean() < 3
        left[level] = float(a.std())
    assert left["low"] > 1.5 * left["medium"] > 1.5 * 1.5 * left["high"]
    pixel = regions.load("blur", level="low")(noise(9, 9), [Region((0, 0, 4, 4))])
    assert (pixel != noise(9, 9)).any()  # a pixel at least


@pytest.mark.parametrize(("level", "cells"), [("low", 16), ("medium", 8), ("high", 4)])
def test_pixelate_counts_cells_and_not_pixels(level, cells):
    anonymizer = regions.load("pixelate", level=level)
    for side in (64, 128):
        image = noise(side, 2 * side)
        out = anonymizer(image, [Region((0, 0, 2 * side, side))])
        cell = side // cells
        expected = image.reshape(cells, cell, 2 * cells, cell, 3).mean((1, 3))
        colours = np.floor(expected + 0.5).repeat(cell, 0).repeat(cell, 1)
        np.testing.assert_array_equal(out, colours)
    small = anonymizer(noise(9, 9), [Region((0, 0, 9, 9))])
    assert len(np.unique(small.reshape(-1, 3), axis=0)) <= 4  # of four pixels a side at least


def test_maskout_is_grey_black_or_noise():
    image, region = noise(32, 32), Region((4, 4, 24, 28))
    hidden = {f: regions.load("maskout", fill=f)(image, [region]) for f in ("grey", "black")}
    assert (hidden["grey"][4:28, 4:24] == 127).all()
    assert (hidden["black"][4:28, 4:24] == 0).all()
    assert [regions.load("maskout", level=v).reach for v in ("low", "medium", "high")] == [
        0, 0.05, 0.15,
    ]  # fmt: skip
    assert regions.load("blur", level="high").reach == 0


def test_removal_carries_the_surroundings_on():
    """A slope with a hole is a slope again; of two regions neither is filled from the other."""
    slope = np.linspace(20, 200, 120)[None, :, None] * np.ones((80, 1, 3))
    image = slope.astype(np.uint8)
    holes = [Region((31, 21, 62, 61), id=1), Region((62, 31, 81, 50), id=2)]
    spoilt = image.copy()
    spoilt[21:61, 31:62], spoilt[31:50, 62:81] = 255, 0
    filled = regions.load("removal")(spoilt, holes)
    assert np.abs(filled - slope).max() < 25
    assert np.abs(filled - slope).mean() < 4
    # Filled at half the size, where the grey of a region is in points of its edge, too.
    even = np.full((180, 240, 3), 10, np.uint8)
    odd = [Region((31, 31, 161, 151))]
    # (Telea's sums of small numbers drift by some levels; grey would be 117 away.)
    assert np.abs(regions.load("removal")(even, odd).astype(int) - even).max() <= 8
    whole = regions.load("removal")(spoilt, [Region((0, 0, 120, 80))])
    assert (whole == 127).all()  # nothing to fill from
