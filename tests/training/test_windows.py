"""Windows of videos of different lengths: which frames, and what a test makes of several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training import tiny

from velatura import experiment, plugins, transforms
from velatura.config import build, plain, read_toml, to_toml
from velatura.errors import BadInput
from velatura.layout import ClipSet
from velatura.models import coarse_flow
from velatura.training import fit, loop, windows
from velatura.training.batches import Batches, Config
from velatura.training.seed import generator
from velatura.transforms import Augment
from velatura.video.clips import clip_indices, starts

LENGTHS = (11, 3, 20, 1, 7, 12, 5, 9)
CFG = Config(batch=4, size=8, frames=4, stride=2, starts=3, shift=0)
SERVICES = loop.fabric(loop.Config(device="cpu", precision="32"))


def ragged(lengths: tuple[int, ...] = LENGTHS, side: int = 8) -> ClipSet:
    """Every frame of one level: 30 * (its video % 8) + its number in the video."""
    levels = [30 * (i % 8) + k for i, n in enumerate(lengths) for k in range(n)]
    items = np.arange(len(lengths))
    return ClipSet(
        frames=np.broadcast_to(
            np.array(levels, np.uint8)[:, None, None, None], (len(levels), 3, side, side)
        ),
        lengths=np.array(lengths),
        actions=items % 2,
        attributes=(items % 2).astype(np.uint8)[:, None],
        groups=items,
        action_names=("a", "b"),
        attribute_names=("x",),
        name="ragged/test",
        fingerprint="ragged",
    )


def told(window: torch.Tensor) -> list[list[int]]:
    """Levels of (B, T, C, H, W)."""
    return window[:, :, 0, 0, 0].tolist()


def by_hand(item: int, start: int, cfg: Config = CFG) -> list[int]:
    numbers = clip_indices(LENGTHS[item], cfg.frames, cfg.stride, start)
    return [30 * (item % 8) + k for k in numbers]


def test_a_video_is_its_own_frames():
    data = ragged()
    assert data.first.tolist() == np.cumsum([0, *LENGTHS])[:-1].tolist()
    for item, length in enumerate(LENGTHS):
        assert data.video(item)[:, 0, 0, 0].tolist() == [30 * item + k for k in range(length)]
    assert data.video(2, 5, 8)[:, 0, 0, 0].tolist() == [65, 66, 67]


def test_a_second_window_begins_elsewhere():
    """The first is what training sees; the other has another start, each of them equally often."""
    items = [i for i, n in enumerate(LENGTHS) if n > 1]
    seen = {item: dict[tuple[int, int], int]() for item in items}
    for step in range(600):
        draws = [generator(0, which, step) for which in ("starts", "other starts")]
        one, other = windows.two(ragged(), items, CFG, *draws)
        alone = windows.random(ragged(), items, CFG, generator(0, "starts", step))
        assert torch.equal(one, alone)
        for item, a, b in zip(items, told(one), told(other), strict=True):
            begin, elsewhere = a[0] - 30 * item, b[0] - 30 * item
            assert begin != elsewhere
            assert b == by_hand(item, elsewhere)
            pair = begin, elsewhere
            seen[item][pair] = seen[item].get(pair, 0) + 1
    # The video of 11 has 5 starts: 20 ordered pairs, 30 times each. That of 3 has one start, and
    # then any of its other frames.
    assert len(seen[0]) == 20
    assert all(10 <= count <= 55 for count in seen[0].values())
    assert set(seen[1]) == {(0, 1), (0, 2)}
    assert set(seen[4]) == {(0, k) for k in range(1, 7)}
    with pytest.raises(BadInput, match="ragged/test has one frame; a second window needs two"):
        windows.two(ragged(), [3], CFG, generator(0), generator(1))


def test_training_windows_begin_anywhere_they_fit():
    """A span of 7: the video of 11 has 5 starts, that of 12 six; shorter ones run to and fro."""
    data, seen = ragged(), {item: dict[int, int]() for item in range(len(LENGTHS))}
    for step in range(400):
        window = windows.random(data, range(len(LENGTHS)), CFG, generator(0, step))
        assert window.shape == (8, 4, 3, 8, 8)
        for item, levels in enumerate(told(window)):
            begin = levels[0] - 30 * item
            assert levels == by_hand(item, begin)
            seen[item][begin] = seen[item].get(begin, 0) + 1
    expected = {0: 5, 1: 1, 2: 14, 3: 1, 4: 1, 5: 6, 6: 1, 7: 3}
    assert {item: len(found) for item, found in seen.items()} == expected
    # Uniform: 80 of each of the five, give or take 4.4 standard deviations.
    assert all(45 <= count <= 115 for count in seen[0].values())


def test_a_window_is_a_function_of_the_generator():
    data = ragged()
    one, again = (windows.random(data, [2, 0], CFG, generator(5, "x")) for _ in range(2))
    assert torch.equal(one, again)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_test_windows_are_spread_evenly(count: int):
    found = list(windows.even(ragged(), [2, 1, 0], CFG, count))
    assert len(found) == count
    for k, window in enumerate(found):
        begins = [starts(LENGTHS[item], 4, 2, count)[k] for item in (2, 1, 0)]
        assert told(window) == [by_hand(i, b) for i, b in zip((2, 1, 0), begins, strict=True)]
    firsts = [told(w)[0][0] - 60 for w in found]
    assert firsts == {1: [6], 3: [0, 7, 13], 5: [0, 3, 7, 10, 13]}[count]


def test_equal_windows_are_looked_at_once():
    assert len(list(windows.even(ragged((7, 3, 5)), [0, 1], CFG, 5))) == 1
    assert len(list(windows.even(ragged((8, 3, 5)), [0, 1], CFG, 5))) == 5


class Levels(torch.nn.Module):
    """Logits that differ from window to window, by the levels of its first and last frame."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        means = clips.mean((2, 3, 4))
        return torch.stack([4 * (255 * means[:, 0]).sin(), 3 * (255 * means[:, -1]).cos()], 1)


@pytest.mark.parametrize("labels", ["actions", "attributes"])
def test_probabilities_are_averaged_over_windows(labels: str):
    data, network = ragged(), Levels()
    rule = (lambda x: x.softmax(-1)) if labels == "actions" else torch.sigmoid
    expected = []
    for item in range(len(data)):
        chances = []
        for k in range(CFG.starts):
            begin = starts(LENGTHS[item], 4, 2, 3)[k]
            levels = torch.tensor(by_hand(item, begin)) / 255
            chances.append(rule(network(levels.view(1, 4, 1, 1, 1).expand(1, 4, 3, 8, 8)))[0])
        expected.append(torch.stack(chances).mean(0))
    found = torch.from_numpy(fit.predict(network, data, labels, CFG, SERVICES, batch=3))
    torch.testing.assert_close(rule(found), torch.stack(expected), atol=1e-5, rtol=1e-4)
    # Averaging logits is something else.
    alone = torch.from_numpy(fit.predict(network, data, labels, CFG, SERVICES, quick=True))
    assert (rule(alone) - torch.stack(expected)).abs().max() > 0.01


def test_with_colours_or_with_shifts():
    data, draws = tiny.noise(4, 6, 12), (generator(1), generator(1))
    cfg = replace(CFG, augment=Augment(flip=1.0))
    stored = windows.random(data, range(4), cfg, generator(0))
    expected = transforms.photometric(stored, draws[0], Augment(flip=1.0), 8)
    assert torch.equal(windows.varied(stored, cfg, draws[1]), expected)
    middle = windows.central(stored, cfg)
    assert torch.equal(middle, transforms.centre_crop(stored, factor=0.8, size=8))
    assert torch.equal(windows.central(stored, CFG), stored[..., 2:10, 2:10].float() / 255)


def test_views_are_two_draws_of_one_clip():
    stored = windows.random(tiny.noise(6, 6, 12), range(6), CFG, generator(0))
    first, second = transforms.two_views(stored, generator(3), size=8, augment=Augment())
    assert first.shape == second.shape == (6, 3, 8, 8)
    assert not torch.equal(first, second)
    # Without any change they are the middle frames of the two halves.
    still = Augment(crop_min=1.0, flip=0.0, p_contrast=0.0, p_hue=0.0, p_saturation=0.0,
                    p_brightness=0.0, p_grey=0.0, p_erase=0.0)  # fmt: skip
    pair = transforms.two_views(stored[..., :8, :8], generator(3), size=8, augment=still)
    for view, frame in zip(pair, (0, 2), strict=True):
        assert torch.equal(view, stored[:, frame, :, :8, :8].float() / 255)
    image = transforms.two_views(stored[:, :1], generator(3), size=8, augment=Augment())
    assert not torch.equal(*image)


@pytest.mark.parametrize("augment", [None, Augment()])
def test_ranks_share_a_batch_of_videos(augment: Augment | None):
    cfg = replace(CFG, augment=augment)
    data = ragged((9, 3, 20, 1, 7, 12, 5, 9))
    whole = Batches(data, cfg, 3).at(2)
    parts = [Batches(data, cfg, 3, "cpu", rank, 2).at(2) for rank in range(2)]
    for name in ("clips", "actions", "attributes", "first", "second"):
        together = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(together, getattr(whole, name))
    again = Batches(data, cfg, 3).at(2)
    assert torch.equal(again.clips, whole.clips)


def test_a_crop_that_is_scaled_fits_small_pictures():
    with pytest.raises(BadInput, match="of 9 px does not fit the pictures of ragged.*, 8 x 8 px"):
        windows.check(ragged(), replace(CFG, size=9))
    windows.check(ragged(), replace(CFG, size=9, augment=Augment()))


def test_no_set_is_too_short_for_a_window():
    """All videos shorter than it run back and forth, in training and in a test."""
    data, cfg = ragged(), replace(CFG, frames=21, stride=1)
    windows.check(data, cfg)
    batch = Batches(data, cfg, 0).at(0)
    assert batch.clips.shape == (4, 21, 3, 8, 8)
    (window,) = windows.even(data, [1, 3], cfg, 5)
    back_and_forth = [30 + k for k in [0, 1, 2, 1] * 5 + [0]]
    assert told(window) == [back_and_forth, [90] * 21]
    scores = fit.predict(Levels(), data, "actions", cfg, SERVICES)
    assert np.isfinite(scores).all()


def test_images_may_be_varied_otherwise():
    """By ``batches.images``, as views and as what an attacker learns from; videos are not."""
    still, moving = ragged((1,) * 8), ragged()
    boxes = Augment(p_erase=0.25, boxes=1)
    cfg = replace(CFG, augment=Augment(), images=boxes)
    assert windows.of(still, cfg).augment == boxes
    assert windows.of(moving, cfg).augment == Augment()
    assert windows.of(still, replace(cfg, images=None)).augment == Augment()
    bright = ragged((1,) * 8)
    bright = bright.with_frames(np.full(bright.frames.shape, 200, np.uint8), "bright/train", "b")
    clips = tiny.noise(8, 4, 8)
    clips = clips.with_frames(np.full(clips.frames.shape, 200, np.uint8), "clips/train", "c")
    seldom, always = (Augment(p_erase=p, erase_min=1.0, erase_max=1.0) for p in (0.0, 1.0))
    for images, covered in ((always, True), (seldom, False)):
        batch = Batches(clips, replace(cfg, augment=seldom, images=images), 0, images=bright).at(0)
        for view in (batch.first, batch.second):  # a box of the whole size reaches the corner
            assert bool((view[:, :, -1, -1] == 0).all()) is covered
        assert bool((batch.clips > 0).all())


@pytest.mark.parametrize("name", ["frame_difference", "flow", "coarse_flow", "blur", "identity"])
@pytest.mark.parametrize("batch", [2, 5, 12, 100])
def test_a_release_of_videos_does_not_depend_on_how_they_are_cut(
    name: str, batch: int, tmp_path: Path
):
    """Also of a filter that looks back, across a cut inside a video."""
    rng = np.random.default_rng(0)
    data = ragged((11, 3, 3, 20, 2, 7))
    data = data.with_frames(rng.integers(0, 256, data.frames.shape, np.uint8), data.name, "noise")
    if name == "coarse_flow":  # three frames back
        anonymizer = coarse_flow.anonymizer(coarse_flow.Config(cells=3))
    else:
        module = plugins.load("methods", name)
        anonymizer = module.build(module.Config())
    out = experiment.release(anonymizer, data, tmp_path / "r.npy", SERVICES, batch)
    for item in range(len(data)):
        clip = torch.from_numpy(data.video(item))[None].float() / 255
        with torch.no_grad():
            expected = anonymizer(clip).mul(255).round().byte()[0].numpy()
        assert np.array_equal(out.video(item), expected), item


def test_neighbours_of_one_length_go_together():
    lengths = np.array([3, 3, 3, 5, 3, 9, 9])
    assert list(experiment.runs(lengths, 6)) == [[0, 1], [2], [3], [4], [5], [6]]
    assert list(experiment.runs(lengths, 100)) == [[0, 1, 2], [3], [4], [5, 6]]


def test_augmentation_is_a_table_of_the_run_file(tmp_path: Path):
    cfg = build(Config, {"augment": {"flip": 0.25}}, "batches")
    assert cfg.augment == Augment(flip=0.25)
    (tmp_path / "x.toml").write_text(to_toml({"batches": cfg.__dict__}))
    assert build(Config, read_toml(tmp_path / "x.toml")["batches"], "batches") == cfg
    (tmp_path / "y.toml").write_text(to_toml({"batches": Config().__dict__}))
    assert build(Config, read_toml(tmp_path / "y.toml")["batches"], "batches") == Config()
    with pytest.raises(BadInput, match="Did you mean batches.augment.flip"):
        build(Config, {"augment": {"flop": 0.25}}, "batches")
    with pytest.raises(BadInput, match=r"batches\.augment\.flip: .*got 2"):
        build(Config, {"augment": {"flip": 2.0}}, "batches")


def test_keys_that_came_later_leave_older_runs_as_they_were():
    """A raw network's seed is made of this: the demo's networks must not change."""
    assert Config().science() == {"batch": 24, "size": 48, "frames": 8, "shift": 3}
    assert replace(Config(), stride=2).science()["stride"] == 2
    assert "augment" in replace(Config(), augment=Augment()).science()
    assert "images" in replace(Config(), images=Augment()).science()
    assert "images" not in plain(Config())
    assert not {"boxes", "erase_of"} & plain(Augment()).keys()
    assert plain(Augment(boxes=1))["boxes"] == 1
    shown = build(Config, {"images": {"boxes": 1, "erase_of": "result"}}, "batches")
    assert build(Config, plain(shown), "batches") == shown
