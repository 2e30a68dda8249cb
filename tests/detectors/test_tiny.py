"""The tiny detector: what it is told, what it says, and that the one is the other's inverse."""

from __future__ import annotations

import math
from dataclasses import replace

import drawn
import numpy as np
import pytest
import torch
from torch import Tensor

from velatura.detectors import TASKS, Found, Target, build
from velatura.detectors import tiny as work
from velatura.detectors.tiny import Encoded, Maps, Tiny


def tiny(tasks: tuple[str, ...] = TASKS, **more: int) -> Tiny:
    torch.manual_seed(0)
    made = build("tiny", ("person", "dog"), 3, tasks, **{"width": 8, "prototypes": 3, **more})
    assert isinstance(made, Tiny)
    return made


def sure(targets: list[Target], shape: tuple[int, ...]) -> Maps:
    """Maps of a network that knows everything: what it should say, without a doubt."""
    told = work.encode(targets, shape)
    count, _, rows, columns = shape
    boxes = torch.cat([t.boxes for t in targets])
    several = max(len(t.boxes) for t in targets)
    box = torch.zeros(count, 4, rows, columns)
    weights = torch.zeros(count, several + work.PLACES, rows, columns)
    joints = torch.zeros(count, 6, rows, columns)
    first = np.cumsum([0, *(len(t.boxes) for t in targets)])
    for (at, row, column), owner in zip(told.cells.tolist(), told.owners.tolist(), strict=True):
        x0, y0, x1, y1 = (boxes[owner] / 4).tolist()
        x, y, w, h = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
        cell = x - column - 0.5, y - row - 0.5, math.log(w), math.log(h)
        box[at, :, row, column] = torch.tensor(cell)
        own = owner - first[at]
        weights[at, own, row, column] = 1.0
        points = targets[at].keypoints[own, :, :2] / 4
        share = (points - torch.tensor([x, y])) / torch.tensor([w, h])
        joints[at, :, row, column] = share.flatten()
    prototypes = torch.full((count, several, 2 * rows, 2 * columns), -20.0)
    heat = torch.zeros(count, 3, rows, columns)
    x, y = torch.arange(columns) + 0.5, torch.arange(rows) + 0.5
    for at, target in enumerate(targets):
        for own, mask in enumerate(target.masks):
            prototypes[at, own][mask[::2, ::2]] = 20.0
        for own in target.keypoints:
            for k, (px, py, _) in enumerate((own / 4).tolist()):
                peak = torch.exp(-((y - py) ** 2)[:, None] / 2 - ((x - px) ** 2)[None] / 2)
                heat[at, k] = torch.maximum(heat[at, k], peak)
    peaks = torch.where(told.heat == 1, 20.0, -20.0)
    return Maps(peaks, box, weights, prototypes, joints, heat.logit(1e-6))


# -------------------------------------------------------------------------------- what to learn


def test_a_target_by_hand():
    """A box of 4 x 8 cells with its middle in the corner of four cells."""
    told = work.encode([drawn.target([[8.0, 8.0, 24.0, 40.0]], [1])], (1, 2, 16, 16))
    assert not told.heat[0, 0].any()
    assert told.heat[0, 1, 6, 4] == 1
    # Deviations .54 / 6 of the box: .36 and .72 cells.
    assert float(told.heat[0, 1, 6, 5]) == pytest.approx(math.exp(-1 / (2 * 0.36**2)))
    assert float(told.heat[0, 1, 4, 4]) == pytest.approx(math.exp(-4 / (2 * 0.72**2)))
    around = {(0, row, column) for row in (5, 6, 7) for column in (3, 4, 5)}
    assert {tuple(cell) for cell in told.cells.tolist()} == around
    assert told.owners.tolist() == [0] * 9
    assert told.cells[told.middles].tolist() == [[0, 6, 4]]
    assert told.counts.all()


def test_a_box_smaller_than_a_cell_has_its_cell():
    told = work.encode([drawn.target([[17.0, 33.0, 18.0, 34.0]])], (1, 2, 16, 16))
    assert told.cells.tolist() == [[0, 8, 4]]
    assert told.heat[0, 0, 8, 4] == 1


def test_who_has_a_cell_that_two_want():
    """A small one within a large one, whose middle is a neighbour's: each has its own middle, and
    the small one the rest that it wants."""
    large, small = [0.0, 0.0, 40.0, 40.0], [20.0, 14.0, 32.0, 26.0]
    told = work.encode([drawn.target([large, small])], (1, 2, 16, 16))
    owner = {(y, x): who for (_, y, x), who in zip(told.cells.tolist(), told.owners.tolist(),
                                                   strict=True)}  # fmt: skip
    assert owner[5, 5] == 0
    assert owner[5, 6] == 1
    assert [owner[y, 5] for y in (4, 6)] == [1, 1]  # the small one's neighbours
    assert [owner[y, 4] for y in (4, 5, 6)] == [0, 0, 0]
    assert len(owner) == 3 + 9


def test_a_crowd_does_not_count():
    told = work.encode([drawn.target([[0.0, 0.0, 8.0, 8.0]], ignore=[[32.0, 0.0, 64.0, 16.0]])],
                       (1, 2, 16, 16))  # fmt: skip
    there = torch.zeros(16, 16, dtype=torch.bool)
    there[:4, 8:] = True
    assert torch.equal(~told.counts[0, 0], there)


def test_what_a_crowd_hides_costs_nothing():
    network = tiny().train()
    images = torch.rand(1, 3, 64, 64)
    somebody = drawn.target([[8.0, 8.0, 24.0, 40.0]], ignore=[[0.0, 0.0, 64.0, 64.0]])
    nobody = drawn.target([], ignore=[[0.0, 0.0, 64.0, 64.0]])
    assert float(network.loss(images, [nobody])["heat"].detach()) == 0
    # Who is in the crowd and known is learnt all the same.
    assert float(network.loss(images, [somebody])["heat"].detach()) > 0.5
    assert float(network.loss(images, [drawn.target([])])["heat"].detach()) > 0.5


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1.0),
        ([0, 0, 2, 2], [1, 0, 3, 2], 1 / 3),  # both 2, either 6, around 6
        ([0, 0, 1, 1], [3, 0, 4, 1], -0.5),  # nothing in common; half of what is around is empty
    ],
)
def test_generalised_overlap(one, other, expected):
    found = work.giou(torch.tensor([one]).float(), torch.tensor([other]).float())
    assert float(found) == pytest.approx(expected)


def test_the_loss_of_heat_by_hand():
    """Three cells, each taken for a half: the middle, one beside it at .6, and one that does not
    count. For the one middle: (1 - .5)^2 ln 2 + .5^2 (1 - .6)^4 ln 2."""
    none = torch.zeros(0, dtype=torch.int64)
    heat = torch.tensor([1.0, 0.6, 0.0]).reshape(1, 1, 1, 3)
    counts = torch.tensor([True, True, False]).reshape(1, 1, 1, 3)
    told = Encoded(heat, counts, torch.zeros(0, 3, dtype=torch.int64), none, none.bool())
    found = float(work._focal(torch.zeros(1, 1, 1, 3), told))
    assert found == pytest.approx((0.25 + 0.25 * 0.4**4) * math.log(2))


def test_who_knows_everything_loses_nothing():
    targets = drawn.some()
    maps = sure(targets, (2, 2, 16, 24))
    heat = maps.joint_heat.clone().requires_grad_()
    told = work.encode(targets, maps.heat.shape)
    terms = work._terms(maps._replace(joint_heat=heat), told, targets)
    for name in ("heat", "box", "joints"):
        assert float(terms[name]) == pytest.approx(0, abs=1e-5)
    assert float(terms["mask"]) == pytest.approx(0, abs=1e-3)
    # The cross-entropy of a Gaussian with itself is not zero, but no other is less.
    terms["joint heat"].backward()
    assert float(heat.grad.abs().max()) < 1e-6


def test_a_mask_that_nobody_drew_is_not_learnt():
    targets = drawn.some()
    maps = sure(targets, (2, 2, 16, 24))
    worse = maps._replace(prototypes=-maps.prototypes)
    told = work.encode(targets, maps.heat.shape)
    assert float(work._terms(worse, told, targets)["mask"]) > 5
    undrawn = [replace(t, masks=torch.zeros_like(t.masks)) for t in targets]
    assert float(work._terms(worse, told, undrawn)["mask"]) == 0


def test_joints_that_nobody_labelled_are_not_learnt():
    targets = drawn.some()
    maps = sure(targets, (2, 2, 16, 24))
    told = work.encode(targets, maps.heat.shape)
    worse = maps._replace(joints=maps.joints + 1)
    assert float(work._terms(worse, told, targets)["joints"]) == pytest.approx(1, abs=1e-4)
    for target in targets:
        target.keypoints[..., 2] = 0
    assert float(work._terms(worse, told, targets)["joints"]) == 0


# ---------------------------------------------------------------------------------- what is found


def test_what_is_told_is_found():
    targets = drawn.some()
    found = work.decode(sure(targets, (2, 2, 16, 24)), 50, 0.5, 64, 96)
    for target, guess in zip(targets, found, strict=True):
        order = guess.boxes[:, 0].argsort()
        assert torch.allclose(guess.boxes[order], target.boxes, atol=1e-3)
        assert torch.equal(guess.labels[order], target.labels)
        assert torch.equal(guess.masks[order], target.masks)
        # Exactly but in the outermost cells, which have no neighbour beyond; no joint is in one.
        assert torch.allclose(guess.keypoints[order][..., :2], target.keypoints[..., :2], atol=0.1)
        assert (guess.scores > 0.99).all()


def test_joints_without_a_peak_stay_where_the_box_says():
    targets = drawn.some()[:1]
    maps = sure(targets, (1, 2, 16, 24))
    (found,) = work.decode(
        maps._replace(joint_heat=torch.full((1, 3, 16, 24), -9.0)), 9, 0.5, 64, 96
    )
    order = found.boxes[:, 0].argsort()
    known = targets[0].keypoints
    assert torch.allclose(found.keypoints[order][..., :2], known[..., :2], atol=1e-3)


def naive(maps: Maps, keep: int, threshold: float, height: int, width: int) -> list[dict]:
    """The decoder again, cell by cell."""
    m = Maps(*(part.numpy().astype(np.float64) for part in maps))
    found = []
    for at in range(len(m.heat)):
        heat = 1 / (1 + np.exp(-m.heat[at]))
        _, rows, columns = heat.shape
        peaks = []
        for c, y, x in np.ndindex(*heat.shape):
            near = heat[c, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if heat[c, y, x] == near.max() and heat[c, y, x] > threshold:
                peaks.append((heat[c, y, x], c, y, x))
        for score, c, y, x in sorted(peaks, key=lambda peak: -peak[0])[:keep]:
            dx, dy, lw, lh = m.box[at, :, y, x]
            mx, my, w, h = 4 * (x + 0.5 + dx), 4 * (y + 0.5 + dy), 4 * np.exp(lw), 4 * np.exp(lh)
            whole = mx - w / 2, my - h / 2, mx + w / 2, my + h / 2
            edge = width, height, width, height
            box = [min(max(v, 0), e) for v, e in zip(whole, edge, strict=True)]
            if box[2] <= box[0] or box[3] <= box[1]:
                continue
            weight, count = m.weights[at, :, y, x], m.prototypes.shape[1]
            logits = np.tensordot(weight[:count], m.prototypes[at], 1)
            for i, j in np.ndindex(*logits.shape):
                u, v = (2 * j + 1 - mx) / max(w, 1), (2 * i + 1 - my) / max(h, 1)
                logits[i, j] += weight[count:] @ [1, u, v, u * u, v * v, u * v]
            mask = np.zeros((height, width), bool)
            for i, j in np.ndindex(height, width):
                if box[0] < j + 1 and j < box[2] and box[1] < i + 1 and i < box[3]:
                    mask[i, j] = bilinear(logits, (i + 0.5) / 2 - 0.5, (j + 0.5) / 2 - 0.5) > 0
            joints = []
            for k in range(m.joint_heat.shape[1]):
                px = mx + m.joints[at, 2 * k, y, x] * max(w, 4)
                py = my + m.joints[at, 2 * k + 1, y, x] * max(h, 4)
                joints.append(peak_near(m.joint_heat[at, k], px, py, 0.04 * max(w, 4) * max(h, 4)))
            found.append({"at": at, "score": score, "label": c, "box": box, "mask": mask,
                          "joints": joints})  # fmt: skip
    return found


def bilinear(field: np.ndarray, y: float, x: float) -> float:
    y, x = (min(max(v, 0), last - 1) for v, last in zip((y, x), field.shape, strict=True))
    i, j = int(y), int(x)
    i1, j1 = min(i + 1, field.shape[0] - 1), min(j + 1, field.shape[1] - 1)
    a, b = y - i, x - j
    above = (1 - b) * field[i, j] + b * field[i, j1]
    return (1 - a) * above + a * ((1 - b) * field[i1, j] + b * field[i1, j1])


def peak_near(logits: np.ndarray, px: float, py: float, variance: float) -> list[float]:
    level = -np.log1p(np.exp(-logits))
    rows, columns = level.shape
    best = None
    for i in range(math.floor(py / 4) - 3, math.floor(py / 4) + 4):
        for j in range(math.floor(px / 4) - 3, math.floor(px / 4) + 4):
            y, x = min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)
            far = (4 * y + 2 - py) ** 2 + (4 * x + 2 - px) ** 2
            value = level[y, x] - far / (2 * variance)
            if best is None or value > best[0]:
                best = value, y, x
    _, y, x = best
    if np.exp(level[y, x]) < 0.1:
        return [px, py, np.exp(level[y, x])]

    def top(line: np.ndarray, at: int) -> float:
        if at in (0, len(line) - 1):
            return 0.0
        bend = 2 * line[at] - line[at - 1] - line[at + 1]
        return min(max((line[at + 1] - line[at - 1]) / (2 * bend), -0.5), 0.5) if bend > 1e-6 else 0

    dx, dy = top(level[y], x), top(level[:, x], y)
    return [4 * (x + 0.5 + dx), 4 * (y + 0.5 + dy), np.exp(level[y, x])]


def test_a_second_decoder_finds_the_same():
    draw = torch.Generator().manual_seed(1)

    def noise(*shape: int) -> Tensor:
        return torch.randn(2, *shape, generator=draw)

    maps = Maps(noise(2, 8, 8), 0.8 * noise(4, 8, 8) + 0.5, noise(9, 8, 8), noise(3, 16, 16),
                0.4 * noise(4, 8, 8), 2 * noise(2, 8, 8))  # fmt: skip
    found = work.decode(maps, 5, 0.6, 30, 28)
    slow = naive(maps, 5, 0.6, 30, 28)
    assert [len(guess.boxes) for guess in found] == [
        sum(s["at"] == at for s in slow) for at in (0, 1)
    ]
    assert len(slow) >= 8
    assert any(s["box"][2] == 28 for s in slow)  # some reach beyond the picture
    places = ((guess, n) for guess in found for n in range(len(guess.boxes)))
    for (guess, n), other in zip(places, slow, strict=True):
        assert float(guess.scores[n]) == pytest.approx(other["score"], abs=1e-5)
        assert int(guess.labels[n]) == other["label"]
        assert guess.boxes[n].tolist() == pytest.approx(other["box"], abs=1e-3)
        assert np.mean(guess.masks[n].numpy() != other["mask"]) < 0.003  # a logit of nearly zero
        assert np.allclose(guess.keypoints[n].numpy(), other["joints"], atol=1e-3)


def alike(one: Found, other: Found) -> bool:
    pairs = ((one.boxes, other.boxes), (one.scores, other.scores), (one.keypoints, other.keypoints))
    return all(torch.allclose(a, b, atol=1e-3) for a, b in pairs) and torch.equal(
        one.labels, other.labels
    )


def test_pictures_have_no_say_in_each_other():
    network = tiny(keep=5).eval()
    images = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    together = network.detect(images)
    for at, found in enumerate(together):
        (alone,) = network.detect(images[at : at + 1])
        assert alike(found, alone)
    assert not alike(together[0], together[1])


def test_any_size():
    network = tiny().train()
    images = torch.rand(2, 3, 50, 70)
    targets = [
        drawn.target([[4.0, 4.0, 30.0, 40.0]], size=(50, 70)),
        drawn.target([], size=(50, 70)),
    ]
    assert torch.isfinite(network.loss(images, targets)["loss"])
    for found in network.eval().detect(images):
        assert found.masks.shape[1:] == (50, 70)
        assert (found.boxes[:, 2:] <= torch.tensor([70, 50])).all()


def test_every_weight_moves_and_nobody_is_frozen():
    network = tiny().train()
    terms = network.loss(torch.rand(2, 3, 64, 96), drawn.some())
    terms["loss"].backward()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad, name
        assert float(parameter.grad.abs().sum()) > 0, name
    assert set(terms) == {*work.WEIGHT, "loss"}
    weighed = sum(work.WEIGHT[name] * float(terms[name].detach()) for name in work.WEIGHT)
    assert float(terms["loss"].detach()) == pytest.approx(weighed, rel=1e-5)


def test_pictures_of_nobody_can_be_learnt():
    network = tiny().train()
    nobody = [drawn.target([], size=(32, 32))] * 2
    network.loss(torch.rand(2, 3, 32, 32), nobody)["loss"].backward()
    assert torch.isfinite(network.heat.weight.grad).all()
    assert float(network.heat.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("tasks", [("detection",), ("detection", "keypoints")])
def test_what_is_not_asked_for_is_not_made(tasks):
    network = tiny(tasks).eval()
    (found,) = network.detect(torch.rand(1, 3, 32, 32))
    assert found.masks is None
    assert (found.keypoints is None) == ("keypoints" not in tasks)
    bare = replace(drawn.target([[4.0, 4.0, 20.0, 20.0]], size=(32, 32)), masks=None)
    terms = network.train().loss(torch.rand(2, 3, 32, 32), [bare] * 2)
    assert ("mask" in terms, "joints" in terms) == (False, "keypoints" in tasks)


def test_encoded_is_what_it_says():
    told = work.encode(drawn.some(), (2, 2, 16, 24))
    assert isinstance(told, Encoded)
    assert (told.cells[:, 0] == 0).all()  # nobody is in the second picture
    assert float(told.heat[1].sum()) == 0
