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
from velatura.deploy.modes import MODES
from velatura.errors import BadInput
from velatura.experiment import check_people, release, resolve
from velatura.layout import ClipSet, Splits
from velatura.methods import (
    blacken,
    blur,
    blur_people,
    constant,
    downsample,
    frame_difference,
    freeze,
    grey,
    identity,
    pixelate,
)
from velatura.methods import noise as noisy
from velatura.training import loop

NAMES = plugins.names("methods")
# Every fixed method as it comes, and what its options make of it.
FIXED: dict[str, tuple[str, dict[str, Any]]] = {
    name: (name, {}) for name in NAMES if hasattr(plugins.load("methods", name), "build")
} | {
    "downsample smooth": ("downsample", {"smooth": True}),
    "frame_difference plain": ("frame_difference", {"binary": False}),
    "noise per frame": ("noise", {"per": "frame"}),
    "blacken masks": ("blacken", {"boxes": False, "grow": 0.0}),
    "blur_people masks": ("blur_people", {"boxes": False, "grow": 0.3}),
}
# Every other one works frame by frame.
LOOKS_AT_ITS_NEIGHBOURS = {
    "flow", "frame_difference", "frame_difference plain", "freeze", "noise"
}  # fmt: skip
# Whatever the colours of a picture are, those of the result are of something else.
COLOURLESS = {"constant", "flow", "grey", "frame_difference"}
DRAWS = {"noise", "noise per frame"}  # other bytes, other noise

each_fixed = pytest.mark.parametrize("name", FIXED)


def built(name: str, **options: Any) -> nn.Module:
    name, given = FIXED.get(name, (name, {}))
    method = plugins.load("methods", name)
    network: nn.Module = method.build(method.Config(**{**given, **options})).eval()
    return Shown(network) if getattr(network, "wants_people", False) else network


class Shown(nn.Module):
    """A method that wants people, told that the bright pixels are theirs."""

    wants_people = True

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor, people: Tensor | None = None) -> Tensor:
        shown: Tensor = self.network(clips, bright(clips) if people is None else people)
        return shown


def bright(clips: Tensor) -> Tensor:
    """(B, T, C, H, W) to (B, T, H, W): 1 where the picture is bright, a fifth of the pixels."""
    return (clips.amax(2) > 0.9).to(clips.dtype)


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


# Of what is neither a number nor a switch, something that no default is.
OTHERWISE: dict[str, list[Any]] = {
    "adversaries": [("clip_cnn", "patch_mlp", "frame_cnn")],
    "alternate": ["both", "batch"],
    "form": ["k_beam"],
    "lr_identity": [0.5],
    "per": ["frame"],
    "preserve_bound": [0.25],
    "restart_from": ["start"],
    "space": ["imagenet"],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_config_survives_its_file(name: str):
    """Written as TOML, read and built again, it is the same; whatever the values."""
    cls = plugins.config_class("methods", name)
    default = cls()
    other = dict(vars(default))
    for key, value in other.items():
        if isinstance(value, bool):
            other[key] = not value
        elif isinstance(value, int | float):
            other[key] = value + 1 if isinstance(value, int) else value / 3 or 0.25
        else:
            other[key] = next(o for o in OTHERWISE[key] if o != value)
    assert not [key for key, value in other.items() if value == getattr(default, key)]
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
        fingerprint="noise", people=(clips.max(2) >= 230).astype(np.uint8).reshape(21, 8, 8),
    )  # fmt: skip
    services = loop.fabric(loop.Config(device="cpu", precision="32"))
    found = []
    for size in (2, 3, 9, 21):  # frames: 2 cuts videos in two
        path = tmp_path / str(size) / "release.npy"
        path.parent.mkdir()
        found.append(np.array(release(built(name), data, path, services, size).frames))
    assert found[0].dtype == np.uint8
    assert all(np.array_equal(found[0], other) for other in found)
    whole = built(name)(torch.from_numpy(clips).float() / 255)  # and none of it is lost
    assert np.array_equal(found[0], (255 * whole).round().byte().numpy().reshape(21, 3, 8, 8))


@pytest.mark.parametrize("name", sorted(set(FIXED) - DRAWS))
def test_colours_stay_in_their_order(name: str):
    """Red and blue changed before or after: the same, and not because all are alike."""
    network, clips = built(name), noise(2, 3, 3, 8, 8)
    out = network(clips)
    if name == "flow":  # red and green are across and down
        torch.testing.assert_close(network(clips.flip(2)), out, atol=1e-6, rtol=0)
        return
    assert torch.equal(out[:, :, 0], out[:, :, 2]) == (name in COLOURLESS)
    if name not in COLOURLESS:
        torch.testing.assert_close(network(clips.flip(2)), out.flip(2), atol=1e-6, rtol=0)


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


@pytest.mark.parametrize("factor", [2, 4])
def test_smooth_downsampling_is_a_triangle_down_and_straight_lines_up(factor: int):
    """One row of 16 pixels, with loops: weights fall to 0 over ``factor`` pixels on either side."""
    row = noise(1, 1, 3, 1, 16)
    small = torch.zeros(3, 16 // factor)
    for i in range(16 // factor):
        away = (torch.arange(16) + 0.5 - (i + 0.5) * factor).abs() / factor
        weights = (1 - away).clamp(0)
        small[:, i] = (row[0, 0, :, 0] * weights).sum(-1) / weights.sum()
    expected = torch.zeros(3, 16)
    for x in range(16):
        at = min(max((x + 0.5) / factor - 0.5, 0), 16 // factor - 1)
        low, share = int(at), at - int(at)
        high = min(low + 1, 16 // factor - 1)
        expected[:, x] = (1 - share) * small[:, low] + share * small[:, high]
    out = downsample.build(downsample.Config(factor=factor, smooth=True))(row)
    torch.testing.assert_close(out[0, 0, :, 0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("h", "w", "side"), [(12, 12, 3), (8, 10, 2), (11, 7, 2), (6, 40, 2)])
def test_pixelate_averages_what_there_is_of_each_block(h: int, w: int, side: int):
    """Block by block with loops: a quarter of the shorter side, 2 pixels at least."""
    clips = noise(1, 2, 3, h, w)
    out = pixelate.build(pixelate.Config(block=0.25))(clips)
    for y in range(h):
        for x in range(w):
            top, left = y // side * side, x // side * side
            expected = clips[..., top : top + side, left : left + side].mean((-2, -1))
            torch.testing.assert_close(out[..., y, x], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["pixelate", "blur"])
def test_what_deployment_calls_by_the_same_name_looks_the_same(mode: str):
    """At 48 pixels, where both are measured; deployment counts in bytes."""
    clips = noise(1, 2, 3, 48, 48)
    frames = clips[0].mul(255).round().byte()
    shown = MODES[mode]()(frames.permute(0, 2, 3, 1).numpy())
    ours = built(mode)(frames[None].float() / 255)[0].mul(255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(shown.astype(int) - ours).max() <= 1
    assert np.abs(shown.astype(int) - frames.permute(0, 2, 3, 1).numpy()).max() > 50


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


def test_the_plain_difference_by_hand():
    """Mid-grey is no change; each colour by itself, both ways, halved."""
    clips = torch.full((1, 3, 3, 1, 2), 0.5)
    clips[0, 1, 0, 0, 0] = 1.0  # red comes
    clips[0, 2, 1, 0, 1] = 0.0  # green goes
    out = frame_difference.build(frame_difference.Config(binary=False))(clips)
    expected = torch.full((1, 3, 3, 1, 2), 0.5)
    expected[0, :2, 0, 0, 0] = 0.75  # the first frame repeats the second
    expected[0, 2, 0, 0, 0] = 0.25
    expected[0, 2, 1, 0, 1] = 0.25
    assert torch.equal(out, expected)
    black_to_white = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1, 1).expand(1, 3, 3, 1, 1)
    ends = frame_difference.build(frame_difference.Config(binary=False))(black_to_white)
    assert ends[0, :, 0, 0, 0].tolist() == [1.0, 1.0, 0.0]
    alone = frame_difference.build(frame_difference.Config(binary=False))(clips[:, :1])
    assert torch.equal(alone, torch.full((1, 1, 3, 1, 2), 0.5))


@pytest.mark.parametrize(
    ("at", "frames", "shown"), [(0.0, 5, 0), (0.5, 5, 2), (0.5, 8, 4), (1.0, 8, 7), (0.5, 1, 0)]
)
def test_freeze_shows_one_frame_throughout(at: float, frames: int, shown: int):
    clips = noise(2, frames, 3, 4, 5)
    out = freeze.build(freeze.Config(at=at))(clips)
    for t in range(frames):
        assert torch.equal(out[:, t], clips[:, shown])


# Noise


def residue(clips: Tensor, **options: Any) -> Tensor:
    return built("noise", **options)(clips) - clips


def grey_clips(levels: list[float], side: int = 32) -> Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1, 1).expand(len(levels), 6, 3, side, side).clone()


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_noise_is_gaussian_of_its_sigma(sigma: float):
    drawn = residue(grey_clips([0.5, 0.51]), sigma=sigma)[:, 0].flatten().sort().values
    assert float(drawn.mean()) == pytest.approx(0, abs=4 * sigma / len(drawn) ** 0.5)
    assert float(drawn.std()) == pytest.approx(sigma, rel=0.05)
    share = torch.tensor([0.1587, 0.8413])  # of a Gaussian below -1 and +1 sigma
    ends = drawn[(share * len(drawn)).long()]
    torch.testing.assert_close(ends, torch.tensor([-sigma, sigma]), atol=0.1 * sigma, rtol=0)


def test_averaging_frames_does_not_remove_the_noise_of_a_clip():
    still = residue(grey_clips([0.4]), sigma=0.05)
    assert torch.equal(still, still[:, :1].expand(still.shape))
    assert float(still.mean(1).std()) == pytest.approx(0.05, rel=0.05)
    # Frames of the same bytes get the same noise; a level apart, another.
    clips = grey_clips([0.4])  # 102 of 255
    clips += torch.arange(6).view(1, 6, 1, 1, 1) / 255
    moving = residue(clips, sigma=0.05, per="frame")
    assert float(moving.mean(1).std()) == pytest.approx(0.05 / 6**0.5, rel=0.1)


def test_other_clips_and_other_seeds_get_other_noise():
    """So that the mean over a release does not show it."""
    a, b = residue(grey_clips([0.5, 0.51]), sigma=0.05)
    again = residue(grey_clips([0.51, 0.5]), sigma=0.05)
    assert torch.equal(a, again[1])
    other = residue(grey_clips([0.5]), sigma=0.05, seed=1)[0]
    for one, two in ((a, b), (a, other)):
        pair = torch.stack([one[0].flatten(), two[0].flatten()])
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.08


def test_noise_per_frame_follows_the_frame():
    network, clips = noisy.build(noisy.Config(per="frame")), noise(2, 4, 3, 8, 8)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(network(clips[:, order]), network(clips)[:, order])
    assert torch.equal(network(clips)[:, 1:3], network(clips[:, 1:3]))


# Regions


def crowd(h: int = 20, w: int = 24) -> Tensor:
    """(1, 2, h, w): an L and a dot in the first frame, nobody in the second."""
    people = torch.zeros(1, 2, h, w)
    people[0, 0, 4:8, 5] = 1
    people[0, 0, 7, 5:9] = 1
    people[0, 0, 15, 20] = 1
    return people


def hidden(people: Tensor, **options: Any) -> Tensor:
    """(1, 2, h, w): where white becomes black."""
    white = torch.ones(1, 2, 3, *people.shape[-2:])
    out = blacken.build(blacken.Config(**options))(white, people)
    assert set(out.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(out, out[:, :, :1].expand(out.shape))
    return 1 - out[:, :, 0]


def test_blacken_by_hand():
    people = crowd()
    assert torch.equal(hidden(people, grow=0.0, boxes=False), people)
    boxes = torch.zeros_like(people)
    boxes[0, 0, 4:8, 5:9] = 1
    boxes[0, 0, 15, 20] = 1
    assert torch.equal(hidden(people, grow=0.0), boxes)
    larger = torch.zeros_like(people)  # .1 of 20 pixels: 2 on every side
    larger[0, 0, 2:10, 3:11] = 1
    larger[0, 0, 13:18, 18:23] = 1
    assert torch.equal(hidden(people, grow=0.1), larger)
    grown = hidden(people, grow=0.1, boxes=False)
    assert grown[0, 0, 2, 7]  # two from the L's upper end
    assert not grown[0, 0, 4, 9]  # but not what only its box has
    whole = torch.zeros(1, 1, 5, 6)
    whole[..., 2, 3] = 1
    assert hidden(whole.expand(1, 2, 5, 6), grow=1.0).all()


@pytest.mark.parametrize("name", ["blacken", "blur_people"])
@pytest.mark.parametrize("boxes", [True, False])
@pytest.mark.parametrize("grow", [0.0, 0.1])
def test_outside_the_regions_every_bit_stays(name: str, boxes: bool, grow: float):
    people, clips = crowd(), noise(1, 2, 3, 20, 24)
    inside = hidden(people, grow=grow, boxes=boxes)[:, :, None].bool().expand(clips.shape)
    out = built(name, grow=grow, boxes=boxes)(clips, people)
    assert torch.equal(out[~inside], clips[~inside])
    assert float((out[inside] - clips[inside]).abs().mean()) > 0.1
    assert torch.equal(out[:, 1], clips[:, 1])  # nobody there


@pytest.mark.parametrize("boxes", [True, False])
def test_black_tells_nothing_of_what_it_covers(boxes: bool):
    people, clips = crowd(), noise(1, 2, 3, 20, 24)
    network = built("blacken", boxes=boxes)
    other = torch.where(people[:, :, None].bool(), noise(1, 2, 3, 20, 24, seed=5), clips)
    assert not torch.equal(clips, other)
    assert torch.equal(network(clips, people), network(other, people))


@pytest.mark.parametrize(
    ("kernel", "side", "short"), [(21, 112, 112), (13, 112, 112), (21, 224, 112), (21, 112, 56)]
)
def test_blur_people_by_hand(kernel: int, side: int, short: int):
    """A point under a mask of everything: a Gaussian of sigma 10, cut off at the kernel's edge."""
    scale = short / side
    clips = torch.zeros(1, 1, 3, short, short)
    clips[0, 0, 1, 28, 25] = 1.0
    network = blur_people.build(blur_people.Config(kernel=kernel, side=side))
    out = network(clips, torch.ones(1, 1, short, short))
    half = int((kernel - 1) / 2 * scale)
    x = torch.arange(short) - 25
    line = torch.exp(-0.5 * (x / (10 * scale)) ** 2) * (x.abs() <= half)
    torch.testing.assert_close(out[0, 0, 1].sum(0), line / line.sum(), atol=1e-6, rtol=0)
    assert int((out[0, 0, 1] > 0).sum()) == (2 * half + 1) ** 2
    assert not out[0, 0, [0, 2]].any()


def clip_set(people: np.ndarray | None, name: str = "cinema/train") -> ClipSet:
    return ClipSet.of_clips(
        np.full((2, 3, 3, 8, 8), 200, np.uint8), actions=np.zeros(2, np.int64),
        attributes=np.zeros((2, 1), np.uint8), groups=np.arange(2), action_names=("a",),
        attribute_names=("x",), name=name, fingerprint="x", people=people,
    )  # fmt: skip


def test_data_without_people_is_refused_before_anything_is_released(tmp_path: Path):
    marked, bare = clip_set(np.zeros((6, 8, 8), np.uint8)), clip_set(None)
    of = {name: resolve({"method": {"name": name}}) for name in ("blacken", "blur", "penalty")}
    for name in ("blur", "penalty"):
        check_people([of[name]], Splits(bare, bare, bare))
    check_people([of["blacken"]], Splits(marked, marked, marked))
    with pytest.raises(
        BadInput, match=r"blacken hides persons .* cinema has none; set data\.people"
    ):
        check_people([of["blacken"]], Splits(marked, marked, bare))
    services = loop.fabric(loop.Config(device="cpu", precision="32"))
    with pytest.raises(BadInput, match=r"blacken hides persons .* cinema has none"):
        release(blacken.build(blacken.Config()), bare, tmp_path / "x.npy", services)
    assert not list(tmp_path.iterdir())


def test_each_frame_is_hidden_where_its_own_people_are(tmp_path: Path):
    """Frame by frame, whichever way the videos are cut."""
    people = np.zeros((6, 8, 8), np.uint8)
    people[np.arange(6), np.arange(6), 2] = 1
    services = loop.fabric(loop.Config(device="cpu", precision="32"))
    for size in (2, 3, 6):
        path = tmp_path / f"{size}.npy"
        network = blacken.build(blacken.Config(grow=0.0))
        shown = release(network, clip_set(people), path, services, size)
        assert np.array_equal(
            np.array(shown.frames), np.where(people[:, None], 0, 200).repeat(3, 1)
        )
        assert shown.people is people
