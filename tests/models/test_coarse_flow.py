"""Coarse flow by hand, against a plain second implementation, and what it cannot see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from velatura.models import coarse_flow
from velatura.models.coarse_flow import CoarseFlow, Config


def built(**options: object) -> CoarseFlow:
    torch.manual_seed(0)
    network = coarse_flow.anonymizer(Config(**options))  # type: ignore[arg-type]
    assert isinstance(network, CoarseFlow)
    return network


def ramp(across: float, down: float, speed: float, side: int = 48, frames: int = 3) -> Tensor:
    """(1, T, 3, H, W): a slope of brightness, in intensity per pixel, that moves to the right."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    time = torch.arange(frames).view(-1, 1, 1)
    plane = 0.5 + across * (x - side / 2 - speed * time) + down * (y - side / 2)
    return plane.view(1, frames, 1, side, side).expand(-1, -1, 3, -1, -1).contiguous()


def texture(seed: int = 0, side: int = 96) -> Tensor:
    """(1, 3, side, side), smooth and strong."""
    draw = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, side // 5, side // 5, generator=draw)
    return torch.nn.functional.interpolate(small, (side, side), mode="bicubic").clamp(0, 1)


def moving(x: int, y: int, frames: int = 4, side: int = 48, seed: int = 0) -> Tensor:
    """(1, T, 3, side, side): a window of a texture; what is seen moves by (x, y) pixels a frame."""
    big = texture(seed)
    spots = [(24 - y * i, 24 - x * i) for i in range(frames)]
    return torch.stack([big[..., a : a + side, b : b + side] for a, b in spots], 1)


def test_a_ramp_by_hand():
    """One direction of slope a has one equation: u = s (3 a^2) / (3 a^2 + noise^2), and v = 0."""
    network = built(cells=12, noise=0.08, depth=0)
    a = 0.004 * 4  # of a cell, which is 4 pixels
    flow = network.flow(ramp(0.004, 0.0, speed=2.0))
    inside = flow[0, 1:, :, 4:8, 4:8]  # away from the edges, which the blur flattens
    expected = 2.0 / 4 * 3 * a**2 / (3 * a**2 + 0.08**2)
    torch.testing.assert_close(inside[:, 0], torch.full((2, 4, 4), expected), rtol=1e-3, atol=0)
    torch.testing.assert_close(inside[:, 1], torch.zeros(2, 4, 4), atol=1e-5, rtol=0)
    assert not flow[:, 0].any()  # nothing is known of the first frame's


def test_a_slope_across_moves_along_itself():
    """The aperture problem: of a slope (a, a) that goes to the right, half goes each way."""
    flow = built(noise=0.01, depth=0).flow(ramp(0.003, 0.003, speed=1.0))[0, 1:, :, 4:8, 4:8]
    energy = 3 * (0.003 * 4) ** 2  # of a cell, in three colours
    expected = 1.0 / 4 * energy / (2 * energy + 0.01**2)
    torch.testing.assert_close(flow, torch.full((2, 2, 4, 4), expected), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("x", "y"), [(1, 0), (0, -1), (1, 1), (-1, 1)])
def test_a_texture_moves_as_fast_as_it_does(x: int, y: int):
    flow = 4 * built(noise=0.02, depth=0).flow(moving(x, y))[0, 1:]
    assert float((flow[:, 0] - x).abs().mean()) < 0.2
    assert float((flow[:, 1] - y).abs().mean()) < 0.2


def naive(clip: np.ndarray, cfg: Config) -> np.ndarray:
    """(T, 3, H, W) to (T, 2, cells, cells), cell by cell, by numpy's own least squares."""
    frames, _, height, width = clip.shape
    scale = height / cfg.cells
    assert width == height

    def blurred(plane: np.ndarray) -> np.ndarray:
        out = np.zeros_like(plane)
        for y in range(height):
            for x in range(width):
                far = (np.arange(height)[:, None] - y) ** 2 + (np.arange(width) - x) ** 2
                weight = np.exp(-far / (2 * (cfg.blur * scale) ** 2))
                out[y, x] = (weight * plane).sum() / weight.sum()
        return out

    smooth = np.stack([[blurred(plane) for plane in frame] for frame in clip.astype(float)])
    edge = np.pad(smooth, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    dx = (edge[..., 1:-1, 2:] - edge[..., 1:-1, :-2]) / 2 * scale
    dy = (edge[..., 2:, 1:-1] - edge[..., :-2, 1:-1]) / 2 * scale
    flow = np.zeros((frames, 2, cfg.cells, cfg.cells))
    for t in range(1, frames):
        for i in range(cfg.cells):
            for j in range(cfg.cells):
                cy, cx = ((k + 0.5) * scale - 0.5 for k in (i, j))
                far = (np.arange(height)[:, None] - cy) ** 2 + (np.arange(width) - cx) ** 2
                weight = np.exp(-far / (2 * (cfg.window * scale) ** 2))
                weight = np.sqrt(weight / weight.sum())
                rows, told = [], []
                for c in range(3):
                    slopes = [(d[t, c] + d[t - 1, c]) / 2 * weight for d in (dx, dy)]
                    rows.append(np.stack([s.ravel() for s in slopes], 1))
                    told.append(((smooth[t - 1, c] - smooth[t, c]) * weight).ravel())
                rows += [cfg.noise * np.eye(2)]  # Tikhonov
                told += [np.zeros(2)]
                flow[t, :, i, j] = np.linalg.lstsq(np.concatenate(rows), np.concatenate(told))[0]
    return flow


def test_against_a_plain_second_implementation():
    cfg = Config(cells=3, depth=0)
    clip = torch.rand(1, 3, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    found = built(cells=3, depth=0).flow(clip)[0].double().numpy()
    np.testing.assert_allclose(found, naive(clip[0].numpy(), cfg), atol=2e-5)


@pytest.mark.parametrize("depth", [0, 2])
def test_what_it_cannot_see(depth: int):
    """A negative, other colours, a lighter picture: they move alike."""
    network, clip = built(depth=depth, quantize=False).eval(), moving(1, -1)
    with torch.no_grad():
        out = network(clip)
        for other in (1 - clip, clip.flip(2), 0.5 * clip, 0.5 * clip + 0.5):
            # Half the contrast has half the say against the noise: nearly alike.
            near = 0.03 if float(other.amax() - other.amin()) < 0.6 else 1e-4
            assert float((network(other) - out).abs().mean()) < near


def test_a_still_picture_is_grey():
    still = texture(side=48)[:, None].expand(2, 4, -1, -1, -1)
    out = built(depth=0)(still)
    assert torch.equal(out, torch.full_like(out, 128 / 255))


def test_it_lets_out_levels_and_nothing_else():
    for levels in (3, 9):
        out = built(levels=levels)(moving(1, 0))
        wanted = (torch.arange(levels) / (levels - 1) * 255).round() / 255
        assert set(out.unique().tolist()) <= set(wanted.tolist())
        cells = out.view(1, 4, 3, 12, 4, 12, 4)
        assert torch.equal(cells, cells[..., :1, :, :1].expand_as(cells)), "more than cells"


def moved_on(network: CoarseFlow) -> CoarseFlow:
    """With weights of a size that training gives them."""
    with torch.no_grad():
        for weights in network.parameters():
            weights += 0.3 * torch.randn_like(weights)
    return network.eval()


def test_it_looks_back_as_far_as_it_says_and_never_ahead():
    network, clip = moved_on(built(depth=2, quantize=False)), moving(1, 1, frames=7)
    assert network.past == 3
    with torch.no_grad():
        out = network(clip)
        for at in range(7):
            other = clip.clone()
            other[:, at] = torch.rand(1, 3, 48, 48)
            changed = (network(other) - out).abs().amax((0, 2, 3, 4)) > 1e-6
            assert {t for t in range(7) if changed[t]} <= {*range(at, at + network.past + 1)}
            assert changed[at] or at == 0


@pytest.mark.parametrize("depth", [0, 2])
def test_before_its_first_frame_a_clip_was_at_rest(depth: int):
    """As if that frame had stood there for ever; and so every frame is that of its own past."""
    network, clip = moved_on(built(depth=depth, quantize=False)), moving(1, -1, frames=6)
    past = network.past
    long = torch.cat([clip[:, :1].expand(-1, past, -1, -1, -1), clip], 1)
    with torch.no_grad():
        out = network(clip)
        torch.testing.assert_close(network(long)[:, past:], out, atol=1e-6, rtol=0)
        torch.testing.assert_close(network(clip[:, 0]), out[:, 0], atol=1e-6, rtol=0)
        for at in range(6):
            window = long[:, at : at + past + 1]
            torch.testing.assert_close(network(window)[:, -1], out[:, at], atol=1e-6, rtol=0)
            plain = network.plainly(window)[:, 0]  # what a file does, in fewer digits
            torch.testing.assert_close(plain, out[:, at], atol=1e-4, rtol=0)
        other = network(moving(-1, 0, frames=6, seed=1))[:, 0]
        torch.testing.assert_close(other, out[:, 0], atol=1e-6, rtol=0)  # it tells nothing


@pytest.mark.parametrize("size", [(1, 1), (5, 74), (123, 48)])
def test_each_pixel_is_in_its_cell(size: tuple[int, int]):
    cells = torch.rand(2, 1, 3, 12, 12)
    whole = coarse_flow._spread(cells, *size)
    assert whole.shape == (2, 1, 3, *size)
    for y in range(size[0]):
        for x in range(size[1]):
            there = cells[..., y * 12 // size[0], x * 12 // size[1]]
            assert torch.equal(whole[..., y, x], there)


def test_the_network_on_top_starts_as_the_filter():
    clip = moving(-1, 1)
    plain, topped = built(depth=0, quantize=False)(clip), built(depth=2, quantize=False)(clip)
    torch.testing.assert_close(topped, plain, atol=0.01, rtol=0)


def test_twice_the_size_moves_alike():
    small = moving(1, 0)
    large = torch.nn.functional.interpolate(small.flatten(0, 1), (96, 96), mode="bilinear")
    network = built(depth=0, quantize=False)
    difference = network.flow(small) - network.flow(large.view(1, 4, 3, 96, 96))
    assert float(difference.abs().mean()) < 0.02
