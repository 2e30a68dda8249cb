"""The fixed filters: what each leaves, whatever the size and however the frames are cut up."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from velatura import Anonymizer
from velatura.deploy.anonymizer import scaled
from velatura.deploy.modes import MODES
from velatura.errors import BadInput
from velatura.methods import blur, downsample, frame_difference


def video(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """A scene with a square that moves: (T, H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 200, (height, width, 3), np.uint8)
    clip = np.repeat(scene[None], frames, 0)
    side = height // 4
    for t in range(frames):
        clip[t, side : 2 * side, 2 * t : 2 * t + side] = 255
    return clip


each = pytest.mark.parametrize("name", sorted(MODES))


@each
@pytest.mark.parametrize(("height", "width"), [(80, 96), (81, 95), (240, 321), (17, 400)])
def test_same_size_same_type_and_the_input_is_left_alone(name, height, width):
    clip = video(5, height, width)
    before = clip.copy()
    out = Anonymizer.load(name)(clip)
    assert out.shape == clip.shape
    assert out.dtype == np.uint8
    assert np.array_equal(clip, before)
    assert not np.array_equal(out, clip)


EACH_SCALE = [(name, 0) for name in sorted(MODES) if name not in ("downsample", "pixelate")]
EACH_SCALE += [("downsample", 10), ("pixelate", 10)]


@pytest.mark.parametrize(("name", "scale"), EACH_SCALE)
@pytest.mark.parametrize("sizes", [(1,) * 9, (4, 5), (1, 8), (8, 1), (2, 3, 4)])
def test_batches_do_not_show(name, scale, sizes):
    anonymizer = Anonymizer.load(name, scale=scale)
    clip = video(9, 40, 48)
    ends = list(itertools.accumulate(sizes))
    parts = [clip[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    cut = np.concatenate(list(anonymizer.process(iter(parts))))
    whole = np.concatenate(list(anonymizer.process(iter([clip]))))
    assert np.array_equal(cut, whole)


@each
def test_a_stream_is_the_call_frame_by_frame(name):
    anonymizer = Anonymizer.load(name)
    clip = video(6, 90, 120)
    assert np.array_equal(np.stack(list(anonymizer.stream(iter(clip), batch=1))), anonymizer(clip))


@pytest.mark.parametrize("name", ["black", "blur", "downsample", "pixelate"])
def test_a_frame_by_frame_mode_knows_no_neighbours(name):
    anonymizer = Anonymizer.load(name)
    assert anonymizer.past == 0
    clip = video(4, 60, 80)
    alone = np.concatenate([anonymizer(frame[None]) for frame in clip])
    assert np.array_equal(alone, anonymizer(clip))


def as_torch(clip: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(clip).permute(0, 3, 1, 2)[None].float() / 255


def as_bytes(clips: torch.Tensor) -> np.ndarray:
    return (clips[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def test_silhouette_is_the_method_that_was_measured():
    clip = video(6, 48, 64)
    mode = np.concatenate(list(MODES["silhouette"]().process(iter([clip]))))
    method = frame_difference.build(frame_difference.Config())(as_torch(clip))
    assert np.array_equal(mode, as_bytes(method))
    assert 0 < (mode == 255).mean() < 0.5


def test_blur_is_the_method_that_was_measured():
    clip = video(2, 48, 64)
    method = as_bytes(blur.build(blur.Config())(as_torch(clip))).astype(int)
    assert np.abs(MODES["blur"]().apply(clip).astype(int) - method).max() <= 1


def test_pixelate_is_the_method_that_was_measured():
    """Down to a level and a half: the scaler rounds on its way."""
    clip = video(2, 48, 64)
    method = as_bytes(downsample.build(downsample.Config(factor=4))(as_torch(clip))).astype(int)
    assert np.abs(Anonymizer.load("pixelate")(clip).astype(int) - method).max() <= 2


def test_pixels_that_are_averaged_away_cannot_come_back():
    """Two frames that differ, block by block, by nothing but the order of pixels come out alike."""
    clip = video(1, 48, 48)
    blocks = clip.reshape(1, 12, 4, 12, 4, 3)
    shuffled = blocks[:, :, ::-1, :, ::-1].reshape(clip.shape)
    assert not np.array_equal(clip, shuffled)
    for name in ("pixelate", "downsample"):
        a, b = (Anonymizer.load(name)(c).astype(int) for c in (clip, shuffled))
        assert np.abs(a - b).max() <= 1


@pytest.mark.parametrize("name", ["downsample", "pixelate"])
@pytest.mark.parametrize("scale", [20, 1000])
def test_no_scale_and_no_small_video_pass_through(name, scale):
    clip = video(2, 18, 22)
    assert len(np.unique(Anonymizer.load(name, scale=scale)(clip)[0, :, :, 0])) <= 18 * 22 / 4
    assert Anonymizer.load(name, scale=scale).work_size(18, 22) == (4, 5)
    with pytest.raises(BadInput, match="would change nothing"):
        Anonymizer.load(name, scale=0)


def test_black_is_black():
    assert not Anonymizer.load("black")(video(2, 30, 40)).any()


def test_a_still_scene_has_no_silhouette():
    clip = np.repeat(video(1, 40, 40), 4, 0)
    assert not Anonymizer.load("silhouette")(clip).any()
    assert not Anonymizer.load("silhouette")(clip[:1]).any()


@pytest.mark.parametrize(
    ("size", "short", "multiple", "expected"),
    [
        ((480, 640), 80, 1, (80, 107)),
        ((640, 480), 80, 8, (104, 80)),
        ((60, 50), 80, 1, (60, 50)),
        ((60, 50), 80, 8, (64, 48)),
        ((480, 640), 0, 1, (480, 640)),
        ((2, 4000), 20, 1, (2, 4000)),
    ],
)
def test_the_size_that_it_is_shown(size, short, multiple, expected):
    assert scaled(*size, short, multiple) == expected


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(BadInput, match="Did you mean 'pixelate'"):
        Anonymizer.load("pixellate")


def test_a_gpu_for_a_filter_is_refused():
    with pytest.raises(BadInput, match="no network to run by cuda"):
        Anonymizer.load("blur", device="cuda")


@pytest.mark.parametrize("wrong", [np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8)])
def test_frames_of_another_kind_are_refused(wrong):
    with pytest.raises(ValueError, match="must be uint8"):
        Anonymizer.load("blur")(wrong)
