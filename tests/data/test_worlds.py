"""The worlds of the generated people: W0 bit for bit as it was, and each other one's attributes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from velatura import metrics  # noqa: E402
from velatura.config import plain  # noqa: E402
from velatura.data import people  # noqa: E402
from velatura.data._people import census, worlds  # noqa: E402
from velatura.errors import BadInput  # noqa: E402

NAMES = {world: census.WORLDS[world].names for world in ("W2", "W3")}
EACH = [(world, name) for world, names in NAMES.items() for name in names]


def of(world: str, **more: object) -> people.Config:
    few = {"train_people": 32, "train_clips": 4, "val_people": 4, "val_clips": 2, "test_people": 32}
    return people.Config(**{**few, "test_clips": 2, "world": world, **more})


def drawn(world: str, index: int, size: int = 48, action: str = "", **changes: int):
    """A clip of the default world of that name, with some attributes changed."""
    from velatura.data._people.draw import draw

    cfg = people.Config(world=world)
    labels = people._labels(cfg, "train")
    names = census.WORLDS[world].names
    attributes = labels.attributes[index].copy()
    for name, value in changes.items():
        attributes[names.index(name)] = value
    return draw(scene_of(world, index, attributes, action), size, labels=True)


def scene_of(world: str, index: int, attributes: np.ndarray, action: str = ""):
    labels = people._labels(people.Config(world=world), "train")
    number = int(labels.people[index]) % census.SPLIT_STRIDE
    action = action or people.ACTIONS[labels.actions[index]]
    return worlds.draw_scene(world, 0, "train", index, 8, action, attributes, number)


# --- W0 and W1 ---------------------------------------------------------------------------


def test_w0_is_what_it_was_before_there_were_others():
    """Labels and pixels of before, by their hashes; the key is not even written."""
    cfg = people.Config()
    assert "world" not in plain(cfg)
    digests = {s: people._digest(cfg, s) for s in ("train", "val", "test")}
    assert digests == DIGESTS
    labels = people._labels(cfg, "train")
    state = hashlib.sha256(labels.actions.tobytes() + labels.attributes.tobytes())
    coupled = people._labels(people.Config(correlation=0.6, correlated="shirt"), "test")
    state.update(coupled.actions.tobytes() + coupled.attributes.tobytes())
    for split, index in (("train", 0), ("train", 7), ("val", 3), ("test", 12)):
        shown = people.figure(cfg, split, index)
        state.update(shown.clip.tobytes() + shown.mask.tobytes() + shown.others_mask.tobytes())
    assert state.hexdigest()[:16] == BEFORE


DIGESTS = {"train": "59b465cf8ebe", "val": "b97b251dbfb2", "test": "557c2dbfed04"}
BEFORE = "b48f2d1298f67033"


def test_w1_is_w0_with_a_correlation():
    one, other = (people.Config(world=w, correlation=0.3) for w in ("W0", "W1"))
    assert people._digest(one, "train") == people._digest(other, "train")
    np.testing.assert_array_equal(people.action_floor(one), people.action_floor(other))
    with pytest.raises(BadInput, match=r"W1 .* set correlation"):
        people.figure(people.Config(world="W1"), "train", 0)


@pytest.mark.parametrize("rho", [0.3, 0.6])
@pytest.mark.parametrize("name", ["skin_tone", "shirt"])
def test_what_the_action_tells_in_w1_is_what_the_formula_says(rho: float, name: str):
    """The floor A1: a table counted on the dealt labels beside the exact one, and its AP.

    Scored by the exact table the upper half of the clips has precision p = (1 + rho) / 2 at a
    recall of p; all of them, 1/2 at 1. So AP = p * p + (1 - p) / 2.
    """
    cfg = people.Config(world="W1", correlation=rho, correlated=name)
    train, test = (people._labels(cfg, split) for split in ("train", "test"))
    measured = metrics.action_floor(train.actions, train.attributes, test.actions)
    exact = people.action_floor(cfg)[test.actions]
    k = people.ATTRIBUTES.index(name)
    np.testing.assert_allclose(measured[:, k], exact[:, k], atol=0.06)  # 240 clips an action
    others = [i for i in range(9) if i != k]
    np.testing.assert_allclose(measured[:, others], exact[:, others], atol=0.06)
    p = (1 + rho) / 2
    floor = 100 * (p * p + (1 - p) / 2)
    aps = [metrics.average_precision(s[:, k], test.attributes[:, k]) for s in (measured, exact)]
    assert aps[1] == pytest.approx(floor, abs=0.5)  # the swap is exact but for whole clips
    assert aps[0] == pytest.approx(floor, abs=3)  # it ranks ten actions, by the luck of 240 clips
    # A table of W0 knows nothing of it.
    free = people._labels(people.Config(), "train")
    without = metrics.action_floor(free.actions, free.attributes, test.actions)
    assert metrics.average_precision(without[:, k], test.attributes[:, k]) < floor - 5


# --- what there is in W2 and W3 ----------------------------------------------------------


@pytest.mark.parametrize("world", NAMES)
def test_attributes_are_balanced_and_independent(world: str):
    cfg = people.Config(world=world)
    labels = people._labels(cfg, "train")
    names = NAMES[world]
    np.testing.assert_allclose(labels.attributes.mean(0), 0.5, atol=0.01)
    assert (np.bincount(labels.actions) == 240).all()
    for action in range(10):
        inside = labels.attributes[labels.actions == action]
        assert np.abs(inside.mean(0) - 0.5).max() <= 4 / 240 + 1e-9
    between = np.corrcoef(labels.attributes.T) - np.eye(len(names))
    assert np.abs(between).max() < 0.03
    for name in census.WORLDS[world].of_person:
        column = labels.attributes[:, names.index(name)]
        assert {len(set(column[labels.people == p])) for p in np.unique(labels.people)} == {1}
    np.testing.assert_array_equal(people.action_floor(cfg), np.full((10, len(names)), 0.5))


def test_their_attributes_can_follow_the_action_too():
    cfg = people.Config(world="W2", correlation=0.6, correlated="broad")
    labels, floor = people._labels(cfg, "train"), people.action_floor(cfg)
    column = NAMES["W2"].index("broad")
    odd = labels.actions % 2 == 1
    assert labels.attributes[odd, column].mean() == pytest.approx(0.8, abs=0.01)
    assert floor[1, column] == pytest.approx(0.8)
    for world, name in (("W2", "shirt"), ("W0", "broad")):
        wrong = people.Config(world=world, correlation=0.6, correlated=name)
        with pytest.raises(BadInput, match=f"No attribute of {world} to correlate named '{name}'"):
            people.action_floor(wrong)


def test_each_world_has_its_own_digest_clips_and_names(tmp_path: Path):
    found = {}
    for world in ("W0", "W2", "W3"):
        cfg = of(world, size=24, frames=3, cache=str(tmp_path), train_people=2, test_people=2)
        sets = people.load(cfg, workers=1)
        assert sets.train.attribute_names == census.WORLDS[world].names
        assert sets.train.attributes.shape == (8, len(census.WORLDS[world].names))
        found[world] = sets.train.fingerprint, np.asarray(sets.train.frames)
        again = people.figure(cfg, "train", 5).clip.transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(sets.train.video(5), again)
    prints = [fingerprint for fingerprint, _ in found.values()]
    assert len(set(prints)) == 3
    assert (found["W0"][1] != found["W2"][1]).mean() > 0.3


def test_nobody_else_and_no_face_cover_in_w2():
    for index in range(24):
        shown = drawn("W2", index)
        assert not shown.others.any()
        labels = people._labels(people.Config(world="W2"), "train")
        assert scene_of("W2", index, labels.attributes[index]).actor.outfit.cover is None


# --- what each attribute does to the picture ----------------------------------------------


@pytest.mark.parametrize(("world", "name"), EACH)
def test_every_attribute_shows(world: str, name: str):
    seen = []
    for index in range(6):
        on, off = (drawn(world, index, **{name: v}) for v in (1, 0))
        change = np.abs(on.clip.astype(int) - off.clip.astype(int)).max(-1) > 25
        seen.append(change.mean())
    assert np.median(seen) > 0.003


@pytest.mark.parametrize("name", NAMES["W2"])
def test_in_w2_the_room_tells_nothing(name: str):
    """Away from the person, and from the shadow and the stool that go with the legs."""
    for index in range(5):
        on, off = (drawn("W2", index, **{name: v}) for v in (1, 0))
        change = np.abs(on.clip.astype(int) - off.clip.astype(int)).max(-1) > 12
        body = (on.mask | off.mask).any(0)
        rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
        around = np.zeros_like(body)
        low, high = max(0, rows[0] - 3), rows[-1] + 6
        around[low:high, max(0, columns[0] - 8) : columns[-1] + 9] = True
        assert change[:, around].any()
        assert not change[:, ~around].any()


@pytest.mark.parametrize("name", NAMES["W3"])
def test_in_w3_the_person_tells_nothing(name: str):
    for index in range(5):
        on, off = (drawn("W3", index, **{name: v}) for v in (1, 0))
        np.testing.assert_array_equal(on.mask, off.mask)
        inside = np.stack([cv2.erode(m.astype(np.uint8), np.ones((3, 3))) for m in on.mask]) > 0
        change = np.abs(on.clip.astype(int) - off.clip.astype(int)).max(-1)
        assert change[inside].mean() < 0.05 * change[~(on.mask | on.others)].mean()
        wall = on.clip.shape[1] // 3
        upper, lower = change[:, :wall].mean(), change[:, -wall // 3 :].mean()
        assert (lower > upper) == (name == "dark_floor")


@pytest.mark.parametrize("name", ["skirt", "hat", "long_hair"])
def test_the_silhouette_itself_differs(name: str):
    """Not a colour inside it: pixels of the person that were not, or the other way round."""
    gained = []
    for index in range(8):
        on, off = (drawn("W2", index, 96, **{name: v}).mask for v in (1, 0))
        gained.append((on & ~off).sum() / off.sum())
    assert np.median(gained) > 0.02


def test_broad_is_wider_and_long_legs_are_longer():
    hip, ankle = (people.KEYPOINTS.index(f"left_{j}") for j in ("hip", "ankle"))
    shoulders = [people.KEYPOINTS.index(f"{s}_shoulder") for s in ("left", "right")]
    for index in range(6):
        slim, broad = (drawn("W2", index, action="clap", broad=v) for v in (0, 1))
        assert broad.mask.sum() > 1.15 * slim.mask.sum()
        width = [np.ptp(d.keypoints[:, shoulders, 0], axis=1).mean() for d in (slim, broad)]
        assert width[1] > 1.2 * width[0]
        short, long = (drawn("W2", index, action="clap", long_legs=v) for v in (0, 1))
        leg = [(d.keypoints[:, ankle, 1] - d.keypoints[:, hip, 1]).mean() for d in (short, long)]
        assert leg[1] > 1.2 * leg[0]
        tall = [np.ptp(np.flatnonzero(d.mask.any((0, 2)))) for d in (short, long)]
        assert tall[1] == pytest.approx(tall[0], rel=0.12)


def test_a_gait_is_a_rhythm_that_single_frames_do_not_show():
    """The head's way over the clip is longer in a quick gait, its spread is not wider."""
    nose = people.KEYPOINTS.index("nose")
    ways, spreads = {0: [], 1: []}, {0: [], 1: []}
    for index in range(60):
        for quick in (0, 1):
            x = drawn("W2", index, 24, action="raise_arms", gait=quick).keypoints[..., 0]
            tilt = x[:, nose] - x[:, 11:13].mean(1)  # against the hips: the camera pans
            ways[quick].append(np.abs(np.diff(tilt)).sum())
            spreads[quick].append(tilt[0])
    assert np.median(ways[1]) > 1.8 * np.median(ways[0])
    assert np.std(spreads[1]) == pytest.approx(np.std(spreads[0]), rel=0.3)


@pytest.mark.parametrize(("down", "up"), [("lower_arms", "raise_arms"), ("stand_up", "sit_down")])
def test_reversed_actions_are_the_same_film_backwards_in_w2(down: str, up: str):
    from velatura.data._people import puppet, shape

    labels = people._labels(people.Config(world="W2"), "train")
    shade, still = shape.shading(1, 4, np.array([0.0, -1.0])), np.zeros((8, 2))
    forth, back = (
        puppet.puppet(
            scene_of("W2", 3, labels.attributes[3], action).actor, 0.1, still, shade, False
        ).keypoints
        for action in (up, down)
    )
    np.testing.assert_allclose(back, forth[::-1], atol=1e-9)
    assert np.abs(back - forth).max() > 0.05


# --- colour says nothing in W2 -------------------------------------------------------------


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """The share of pairs in the right order."""
    ones, zeros = scores[positive == 1], scores[positive == 0]
    return float((ones[:, None] > zeros[None]).mean() + 0.5 * (ones[:, None] == zeros[None]).mean())


def colours(cfg: people.Config, split: people.Split) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour of the person in each clip, (N, 3), and the attributes."""
    count = len(people._labels(cfg, split).actions)
    figures = [people.figure(cfg, split, i, size=32) for i in range(count)]
    mean = np.stack([f.clip[f.mask].mean(0) if f.mask.any() else np.zeros(3) for f in figures])
    return mean, np.stack([f.attributes for f in figures])


def read_by_colour(world: str) -> dict[str, float]:
    """AUROC of each attribute from the person's mean colour, by least squares."""
    cfg = of(world, frames=2, train_people=96, test_people=96, test_clips=4)
    (x, labels), (x_test, labels_test) = (colours(cfg, split) for split in ("train", "test"))
    mean, scale = x.mean(0), x.std(0)
    x, x_test = (x - mean) / scale, (x_test - mean) / scale
    weights = np.linalg.lstsq(np.c_[x, np.ones(len(x))], labels.astype(float), rcond=None)[0]
    scores = np.c_[x_test, np.ones(len(x_test))] @ weights
    names = census.WORLDS[world].names
    return {name: auroc(scores[:, k], labels_test[:, k]) for k, name in enumerate(names)}


def test_the_colour_of_a_person_tells_nothing_in_w2():
    found = read_by_colour("W2")
    assert max(abs(value - 0.5) for value in found.values()) < 0.1, found


def test_and_much_in_w0():
    found = read_by_colour("W0")
    assert found["skin_tone"] > 0.6
    assert found["shirt"] > 0.8


# --- where people are ----------------------------------------------------------------------


@pytest.mark.parametrize("world", ["W0", "W2"])
def test_people_are_where_the_figures_masks_say(world: str, tmp_path: Path):
    cfg = of(world, size=24, frames=3, cache=str(tmp_path), train_people=3, train_clips=2)
    train = people.load(cfg, workers=1).train
    assert not list(tmp_path.glob("people-masks-*"))  # nobody asked yet
    assert train.people is not None
    assert train.people.shape == (18, 24, 24)
    expected = np.concatenate(
        [f.mask | f.others_mask for f in (people.figure(cfg, "train", i) for i in range(6))]
    )
    shown = train.people[:]
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, expected)
    np.testing.assert_array_equal(train.people[[4, 0]], expected[[4, 0]])
    assert len(list(tmp_path.glob("people-masks-train-*.npy"))) == 1
    assert not list(tmp_path.glob("people-masks-test-*"))
    people._masks.cache_clear()
    again = people.load(cfg, workers=1).train.people
    np.testing.assert_array_equal(again[2:5], expected[2:5])
