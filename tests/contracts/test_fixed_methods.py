"""What every fixed method promises, whichever they are; and each one's own picture."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from velatura import config, plugins
from velatura.experiment import release
from velatura.layout import ClipSet
from velatura.methods import blur, constant, downsample, frame_difference, grey, identity
from velatura.training import loop

NAMES = plugins.names("methods")
FIXED = [name for name in NAMES if hasattr(plugins.load("methods", name), "build")]
LOOKS_AT_ITS_NEIGHBOURS = {"frame_difference"}  # every other one works frame by frame

each_fixed = pytest.mark.parametrize("name", FIXED)


def built(name: str, **options: Any) -> nn.Module:
    method = plugins.load("methods", name)
    network: nn.Module = method.build(method.Config(**options)).eval()
    return network


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Clips whose neighbours in time share most of the picture, as video does."""
    draw = torch.Generator().manual_seed(seed)
    still = torch.rand(shape[0], 1, *shape[2:], generator=draw)
    return (0.8 * still + 0.2 * torch.rand(*shape, generator=draw)).clamp(0, 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_is_fixed_or_learned_and_says_which(name: str):
    method = plugins.load("methods", name)
    assert hasattr(method, "Config")
    assert hasattr(method, "build") != hasattr(method, "train")
    if hasattr(method, "train"):
        assert method.BUDGET in ("contrastive", "adversaries")


@pytest.mark.parametrize("name", NAMES)
def test_a_config_survives_its_file(name: str):
    """Written as TOML, read and built again, it is the same; whatever the values."""
    cls = plugins.config_class("methods", name)
    default = cls()
    other = dict(vars(default))
    for key, value in other.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        other[key] = value + 1 if isinstance(value, int) else value / 3
    for made in (default, config.build(cls, other)):
        text = config.to_toml({"method": made})
        again = config.build(cls, tomllib.loads(text).get("method", {}), "method")
        assert again == made


@each_fixed
@pytest.mark.parametrize(("h", "w"), [(8, 8), (9, 13), (16, 5), (1, 7)])
def test_shape_type_and_range(name: str, h: int, w: int):
    clips = noise(2, 3, 3, h, w)
    clips[0], clips[1, 0] = 0.0, 1.0  # the ends of the range too
    before = clips.clone()
    out = built(name)(clips)
    assert out.shape == clips.shape
    assert out.dtype == torch.float32
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1
    assert torch.equal(clips, before), "the input was written to"


@each_fixed
def test_twice_is_the_same_and_so_is_training_mode(name: str):
    network, clips = built(name), noise(2, 3, 3, 8, 8)
    once = network(clips)
    assert torch.equal(network(clips), once)
    assert torch.equal(network.train()(clips), once)


@each_fixed
def test_an_item_does_not_depend_on_the_others(name: str):
    network, clips = built(name), noise(4, 3, 3, 8, 8)
    together = network(clips)
    alone = torch.cat([network(clip[None]) for clip in clips])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    other = clips.clone()
    other[1:] = noise(3, 3, 3, 8, 8, seed=9)
    torch.testing.assert_close(network(other)[0], together[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", sorted(set(FIXED) - LOOKS_AT_ITS_NEIGHBOURS))
def test_frame_by_frame_ones_commute_with_the_order_of_frames(name: str):
    network, clips = built(name), noise(2, 5, 3, 8, 8)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(
        network(clips[:, order]), network(clips)[:, order], atol=1e-6, rtol=0
    )
    frames = torch.stack([network(clip[:, None])[:, 0] for clip in clips])
    torch.testing.assert_close(frames, network(clips), atol=1e-6, rtol=0)


@each_fixed
def test_the_release_does_not_depend_on_the_batch(name: str, tmp_path: Path):
    """Bytes, read from the file that attackers are trained on."""
    clips = (255 * noise(7, 3, 3, 8, 8)).byte().numpy()
    data = ClipSet.of_clips(
        clips, actions=np.zeros(7, np.int64), attributes=np.zeros((7, 1), np.uint8),
        groups=np.arange(7), action_names=("a",), attribute_names=("x",), name="noise",
        fingerprint="noise",
    )  # fmt: skip
    services = loop.fabric(loop.Config(device="cpu", precision="32"))
    found = []
    for size in (2, 3, 9, 21):  # frames: 2 cuts videos in two
        path = tmp_path / str(size) / "release.npy"
        path.parent.mkdir()
        found.append(np.array(release(built(name), data, path, services, size).frames))
    assert found[0].dtype == np.uint8
    assert all(np.array_equal(found[0], other) for other in found)


# Each one's own picture


def test_identity_is_the_picture():
    clips = noise(1, 2, 3, 8, 8)
    assert torch.equal(built("identity")(clips), clips)
    assert identity.Config() == identity.Config()


@pytest.mark.parametrize("level", [0.0, 0.25, 1.0])
def test_constant_is_constant(level: float):
    out = constant.build(constant.Config(level=level))(noise(2, 2, 3, 8, 8))
    assert torch.equal(out, torch.full((2, 2, 3, 8, 8), level))


def test_grey_by_hand():
    """Pure red, green and blue pixels: their share of the brightness, in all three channels."""
    pixels = torch.eye(3).view(1, 1, 3, 1, 3)
    out = grey.build(grey.Config())(pixels)
    expected = torch.tensor([0.299, 0.587, 0.114]).expand(1, 1, 3, 1, 3)
    torch.testing.assert_close(out, expected)


def test_downsample_by_hand():
    """Two blocks of 2 x 2: means of 0 1 2 3 and of 4 5 6 7 sixteenths, in their places."""
    block = torch.tensor([[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]) / 16
    out = downsample.build(downsample.Config(factor=2))(block.expand(1, 1, 3, 2, 4))
    expected = torch.tensor([[1.5, 1.5, 5.5, 5.5]] * 2) / 16
    assert torch.equal(out, expected.expand(1, 1, 3, 2, 4))


@pytest.mark.parametrize(("h", "w"), [(8, 8), (10, 7), (3, 5)])
def test_downsample_averages_blocks_of_four(h: int, w: int):
    """Block by block with loops; beyond the edge the last row and column count again."""
    clips = noise(1, 2, 3, h, w)
    out = downsample.build(downsample.Config(factor=4))(clips)
    for y in range(h):
        for x in range(w):
            rows = [min(y // 4 * 4 + i, h - 1) for i in range(4)]
            columns = [min(x // 4 * 4 + i, w - 1) for i in range(4)]
            expected = clips[..., rows, :][..., columns].mean((-2, -1))
            torch.testing.assert_close(out[..., y, x], expected, atol=1e-6, rtol=0)


def test_blur_of_a_point_is_a_gaussian_that_sums_to_one():
    """Side 32, sigma 1/16 of it: 2 px; the same along both axes and in the point's colour only."""
    clips = torch.zeros(1, 2, 3, 32, 32)
    clips[0, 1, 2, 16, 16] = 1.0
    out = blur.build(blur.Config(sigma=1 / 16))(clips)
    assert not out[0, 0].any()
    assert not out[0, 1, :2].any()
    spot = out[0, 1, 2].double()
    assert float(spot.sum()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(spot, spot.T, atol=1e-7, rtol=0)
    torch.testing.assert_close(spot[1:, 1:], spot[1:, 1:].flip(0, 1), atol=1e-7, rtol=0)
    x = torch.arange(32).double() - 16
    line = torch.exp(-(x**2) / (2 * 2.0**2)) * (x.abs() <= 6)
    torch.testing.assert_close(spot.sum(0), line / line.sum(), atol=1e-6, rtol=0)


def test_blur_follows_the_shorter_side():
    """The same share of the frame whatever its size; a long frame is not blurred more."""
    widths = []
    for h, w in ((32, 32), (32, 64), (64, 32), (64, 64)):
        clips = torch.zeros(1, 1, 1, h, w)
        clips[..., h // 2, w // 2] = 1.0
        line = built("blur")(clips)[0, 0, 0].sum(0).double()
        x = torch.arange(w) - w // 2
        widths.append(float((line * x**2).sum()))
    assert widths[0] == pytest.approx(widths[1], rel=1e-3)
    assert widths[0] == pytest.approx(widths[2], rel=1e-3)
    assert widths[3] == pytest.approx(4 * widths[0], rel=0.05)


def test_blur_leaves_an_even_picture():
    clips = torch.full((1, 1, 3, 8, 9), 0.7)
    torch.testing.assert_close(built("blur")(clips), clips, atol=1e-6, rtol=0)


def test_frame_difference_by_hand():
    """Brightness (the mean of the colours) against a threshold of .1, either way."""
    clips = torch.full((1, 4, 3, 1, 4), 0.5)
    clips[0, 1:, :, 0, 0] += 0.2  # appears in frame 1 and stays
    clips[0, 2, :, 0, 1] -= 0.2  # blinks in frame 2
    clips[0, 1, 0, 0, 2] += 0.27  # one colour alone: .09 of brightness
    clips[0, 3, 0, 0, 3] += 0.33  # one colour alone: .11
    out = frame_difference.build(frame_difference.Config(threshold=0.1))(clips)
    expected = torch.tensor(
        [
            [1.0, 0.0, 0.0, 0.0],  # the first frame repeats the second
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 1.0],
        ]
    )
    assert torch.equal(out, expected.view(1, 4, 1, 1, 4).expand(1, 4, 3, 1, 4))


def test_a_picture_that_stands_alone_does_not_move():
    assert not built("frame_difference")(noise(1, 1, 3, 8, 8)).any()
