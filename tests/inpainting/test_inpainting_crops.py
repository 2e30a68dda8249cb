"""Squares around regions, the batches that are made of them, and distances between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from inpainting import tiny_gan

from velatura.errors import BadInput
from velatura.inpainting import distance
from velatura.inpainting.crops import Batches, Crops, mirrored
from velatura.regions import Region
from velatura.regions._crop import Window, covered, enlarged, placed, shrunk, window


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# ----------------------------------------------------------------------------------- squares


@pytest.mark.parametrize(
    ("box", "square"),
    [
        ((40, 30, 60, 50), (37, 27, 26)),  # 1.3 of 20, around the middle
        ((0, 0, 20, 10), (0, 0, 26)),  # moved into the picture
        ((90, 70, 100, 80), (87, 67, 13)),
        ((50, 40, 51, 41), (49, 39, 3)),  # at least a pixel on each side
        ((10, 0, 40, 80), (0, 0, 80)),  # no more than the picture has
        ((0, 10, 100, 50), (0, -10, 100)),  # but all of the region
    ],
)
def test_where_a_square_is(box, square):
    assert window(box, 80, 100) == square


@pytest.mark.parametrize("there", [Window(5, 3, 16), Window(-4, 2, 24), Window(20, -9, 40)])
def test_a_square_at_its_own_size_is_the_picture(there):
    """Beyond the picture its edge is repeated."""
    image = noise(30, 44)
    padded = np.pad(image, ((40, 40), (40, 40), (0, 0)), "edge")
    top, left = 40 + there.top, 40 + there.left
    expected = padded[top : top + there.side, left : left + there.side]
    np.testing.assert_array_equal(shrunk(image, there, there.side), expected)


def test_a_square_is_shrunk_by_averages():
    image = noise(30, 40)
    found = shrunk(image, Window(2, 4, 24), 8)
    blocks = image[4:28, 2:26].reshape(8, 3, 8, 3, 3).astype(float).mean((1, 3))
    assert np.abs(found - blocks).max() <= 1


@pytest.mark.parametrize("size", [8, 24, 32])
def test_a_small_pixel_with_a_part_of_a_hidden_one_is_hidden(size):
    """So nothing of what is hidden is mixed into what is visible."""
    hidden = np.zeros((40, 40), bool)
    hidden[11, 9] = hidden[20:25, 17:20] = True
    there = Window(3, 5, 24)
    small = shrunk(hidden, there, size)
    assert small.dtype == bool
    image, other = noise(40, 40), noise(40, 40)
    other[hidden] = noise(40, 40, 1)[hidden]
    a, b = (shrunk(one, there, size)[~small] for one in (image, other))
    np.testing.assert_array_equal(a, b)
    assert 0 < small.mean() < 0.3


def test_what_is_drawn_comes_back_to_its_place():
    image, there = noise(60, 80), Window(10, 4, 32)
    drawn = shrunk(image, there, 32)
    np.testing.assert_array_equal(enlarged(drawn, there, (12, 6, 30, 36)), image[6:36, 12:30])
    flat = np.full((16, 16, 3), 77, np.uint8)
    assert enlarged(flat, Window(-5, -2, 70), (0, 1, 20, 40)).shape == (39, 20, 3)
    assert (enlarged(flat, Window(-5, -2, 70), (0, 1, 20, 40)) == 77).all()


def test_keypoints_by_hand():
    known = np.array([[20.0, 14.0, 2.0], [12.0, 30.0, 1.0], [0.0, 0.0, 0.0]])
    found = placed(known, 3, Window(10, 4, 40), 16)
    np.testing.assert_allclose(found, [[4, 4, 1], [0.8, 10.4, 1], [0, 0, 0]], rtol=1e-6)
    assert found.dtype == np.float32
    for other in (None, known[:2]):  # of another data set: none
        np.testing.assert_array_equal(placed(other, 3, Window(10, 4, 40), 16), np.zeros((3, 3)))


def test_all_regions_of_a_picture_are_hidden():
    mask = np.eye(3, dtype=bool)
    found = covered([Region((1, 1, 4, 4), mask=mask), Region((0, 0, 2, 1))], 5, 6)
    expected = np.zeros((5, 6), bool)
    expected[[1, 2, 3, 0, 0], [1, 2, 3, 0, 1]] = True
    np.testing.assert_array_equal(found, expected)


# ----------------------------------------------------------------------------------- batches


def crops(count: int = 12) -> Crops:
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 16, (count, 3, 3)).astype(np.float32)
    points[..., 2] = rng.integers(0, 2, (count, 3))
    return Crops(
        rng.integers(0, 256, (count, 16, 16, 3), np.uint8),
        rng.random((count, 16, 16)) < 0.3,
        points,
        tuple(f"{at // 3}.jpg" for at in range(count)),
        tiny_gan.NAMES,
    )


def test_a_batch_is_a_function_of_seed_and_step():
    one, again = (Batches(crops(), 4, 7) for _ in range(2))
    for step in (5, 0, 2):
        for a, b in zip(one.at(step), again.at(step), strict=True):
            assert torch.equal(a, b)
    seven, eight = (Batches(crops(), 4, seed, mirror=False) for seed in (7, 8))
    assert any(not torch.equal(seven.at(s)[0], eight.at(s)[0]) for s in range(3))
    assert not torch.equal(seven.at(0)[0], seven.at(3)[0])  # another epoch, another order


def test_an_epoch_shows_every_crop_once():
    stream = Batches(crops(), 4, 7, mirror=False)
    for epoch in (0, 1):
        shown = torch.cat([stream.at(3 * epoch + at).pictures for at in range(3)])
        found = {bytes((255 * p).round().byte().permute(1, 2, 0).numpy().data) for p in shown}
        assert found == {bytes(p.data) for p in crops().pictures}


def test_a_mirrored_crop_has_its_left_on_the_right():
    plain, turned = Batches(crops(), 12, 7, mirror=False).at(0), Batches(crops(), 12, 7).at(0)
    lots = [
        not torch.equal(a, b) for a, b in zip(*(b.pictures for b in (plain, turned)), strict=True)
    ]
    assert 2 < sum(lots) < 10
    for at, lot in enumerate(lots):
        wanted = [part[at] for part in plain]
        if lot:
            points = wanted[2][[0, 2, 1]].clone()  # nose, left_eye, right_eye
            points[:, 0] = torch.where(points[:, 2] > 0, 16 - points[:, 0], 0)
            wanted = [wanted[0].flip(-1), wanted[1].flip(-1), points]
        for part, expected in zip(turned, wanted, strict=True):
            assert torch.equal(part[at], expected)
    assert mirrored(["left_hip", "nose", "right_hip", "left_toe", "head"]) == [2, 1, 0, 3, 4]


def test_parts_have_no_image_in_common():
    for seed in range(5):
        known, others = crops().apart(0.25, seed)
        assert not set(known.images) & set(others.images)
        assert (len(known), len(others)) == (9, 3)
    assert crops().apart(0.25, 0)[1].images == crops().apart(0.25, 0)[1].images
    assert {crops().apart(0.25, seed)[1].images[0] for seed in range(9)} > {"0.jpg"}
    whole, none = crops(3).apart(0.5, 0)  # of a single image
    assert (len(whole), len(none)) == (3, 0)


def test_other_crops_have_another_digest():
    changed = crops()
    changed.points[0, 0, 0] += 1
    assert crops().digest() == crops().digest() != changed.digest()


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(BadInput, match="batch is 13 but there are 12 crops.*at most 12"):
        Batches(crops(), 13, 0)


# --------------------------------------------------------------------------------- distances


def test_the_distance_of_gaussians_in_closed_form():
    """Features of exact moments; where covariances commute, it is the sum over axes of
    (mean difference)^2 + (difference of deviations)^2."""
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * np.sqrt(3 / 4)  # deviation 1
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    a, b = corners * [2, 3] @ turn, (corners * [5, 1] + [4, -1]) @ turn
    assert distance.frechet(a, b) == pytest.approx(4**2 + 1 + 3**2 + 2**2)
    assert distance.frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert distance.frechet(a, b) == pytest.approx(distance.frechet(b, a))
    assert distance.frechet(a[:, :1], a[:, :1] + 3) == pytest.approx(9)


def test_the_distance_of_gaussians_that_do_not_commute():
    """Against a matrix root by another way: Denman and Beavers."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(40, 4))
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    y, z = first @ second, np.eye(4)
    for _ in range(60):
        y, z = (y + np.linalg.inv(z)) / 2, (z + np.linalg.inv(y)) / 2
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * y)
    assert distance.frechet(a, b) == pytest.approx(expected)


def test_the_distance_by_a_kernel_by_hand():
    """Pairs of different rows, one by one."""
    a, b = np.array([[1.0, 0], [0, 2], [1, 1]]), np.array([[0.0, 1], [2, 0]])

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / 2 + 1) ** 3

    within = [sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * n - n)
              for x, n in ((a, 3), (b, 2))]  # fmt: skip
    across = sum(k(x, y) for x in a for y in b) / 6
    assert distance.kernel(a, b) == pytest.approx(sum(within) - 2 * across)


def test_the_distance_by_a_kernel_has_no_bias():
    """Of few rows of one kind it is 0 on average, where that of Gaussians is not."""
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(8, 5)), rng.normal(size=(6, 5))) for _ in range(400)]
    found = np.array([distance.kernel(*pair) for pair in pairs])
    assert abs(found.mean()) < 3 * found.std() / 20
    assert np.mean([distance.frechet(*pair) for pair in pairs]) > 1


def test_ways_of_filling_a_hole_are_told_apart():
    known, others = tiny_gan.plain(80).apart(0.3, 0)
    cfg = tiny_gan.CONFIG
    found = distance.compared(tiny_gan.generator(0, cfg=cfg), known, others, "random", 0)
    assert found["features"] == "random convolutions, 96 features, seed 0"
    assert (found["known"], found["others"], found["dimensions"]) == (56, 24, 96)
    both = found["distance"]
    far = {what: values["frechet"] for what, values in both.items()}
    assert both["grey"]["kernel"] > both["other real crops"]["kernel"]
    assert list(far) == ["generated", "other real crops", "grey", "filled from around"]
    # In crops of one colour, filling from around is all there is to do.
    assert far["filled from around"] == pytest.approx(far["other real crops"], rel=0.02)
    assert far["other real crops"] < far["grey"] < far["generated"]
    again = distance.compared(tiny_gan.generator(0, cfg=cfg), known, others, "random", 0)
    assert again == found
    few = distance.compared(tiny_gan.generator(0), known, others.some(np.arange(1)), "random", 0)
    assert few["distance"] == {}


def test_what_is_drawn_is_visible_as_it_was():
    crops = tiny_gan.plain(40)
    made = distance.drawn(tiny_gan.generator(0), crops, 3)
    np.testing.assert_array_equal(made[~crops.hidden], crops.pictures[~crops.hidden])
    np.testing.assert_array_equal(distance.drawn(tiny_gan.generator(0), crops, 3), made)
    assert (distance.drawn(tiny_gan.generator(0), crops, 4) != made).any()


def test_no_way_of_filling_looks_at_what_is_hidden():
    """Not where all of a crop is hidden, either: OpenCV would leave it as it is."""
    crops = tiny_gan.plain(6)
    crops.hidden[0] = True
    other = crops.some(np.arange(6))
    other.pictures[crops.hidden] = 255 - crops.pictures[crops.hidden]
    for fill in (distance.blank, distance.filled):
        np.testing.assert_array_equal(fill(crops), fill(other))
        assert (fill(crops)[0] == 127).all()
        np.testing.assert_array_equal(fill(crops)[~crops.hidden], crops.pictures[~crops.hidden])
    holes = crops.hidden[1:]
    apart = distance.filled(crops)[1:][holes].astype(int) - crops.pictures[1:][holes]
    assert np.abs(apart).max() <= 3
    assert (distance.blank(crops)[1:][holes] == 127).all()
