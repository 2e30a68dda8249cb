"""What the two networks promise: what they see, what they do not, and what a style does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from inpainting import tiny_gan

from velatura.config import build
from velatura.errors import BadInput
from velatura.inpainting._layers import StyledConv
from velatura.inpainting.generator import Config, Generator, maps
from velatura.inpainting.steps import told


def lot(n: int = 4, seed: int = 5, length: int = 8) -> torch.Tensor:
    return torch.randn(n, length, generator=torch.Generator().manual_seed(seed))


def test_its_size():
    """Of COCO's 17 keypoints, at the size and width of the Config."""
    count = sum(p.numel() for p in Generator(Config(), 17).parameters())
    assert 1e6 < count < 5e6


@torch.no_grad()
def test_what_is_hidden_is_never_seen():
    """Privacy by construction: whatever stands in the region, NaN included, the same bits."""
    network, (pictures, hidden, points) = tiny_gan.generator(), tiny_gan.batch()
    drawn = network(pictures, hidden, points, lot())
    for other in (torch.rand_like(pictures), torch.full_like(pictures, torch.nan)):
        changed = torch.where(hidden > 0, other, pictures)
        assert torch.equal(network(changed, hidden, points, lot()), drawn)


@torch.no_grad()
def test_what_is_visible_stays_and_is_looked_at():
    network, (pictures, hidden, points) = tiny_gan.generator(), tiny_gan.batch()
    drawn = network(pictures, hidden, points, lot())
    seen = (hidden == 0).expand_as(pictures)
    assert torch.equal(drawn[seen], pictures[seen])
    assert (drawn != pictures)[~seen].all()
    brighter = network(pictures / 2, hidden, points, lot())
    assert not torch.allclose(brighter[~seen], drawn[~seen])


@torch.no_grad()
def test_keypoints_and_lots_change_what_is_drawn():
    network, (pictures, hidden, points) = tiny_gan.generator(), tiny_gan.batch()
    drawn = network(pictures, hidden, points, lot())
    moved = points + torch.tensor([3.0, 0, 0])
    assert not torch.equal(network(pictures, hidden, moved, lot()), drawn)
    assert not torch.equal(network(pictures, hidden, points, lot(seed=6)), drawn)
    # Where a keypoint is not known, its place is nothing.
    unknown = points.clone()
    unknown[:, 2, :2] = 99
    assert torch.equal(network(pictures, hidden, unknown, lot()), drawn)


@torch.no_grad()
def test_a_crop_is_drawn_by_itself():
    network, batch = tiny_gan.generator(), tiny_gan.batch()
    together = network(*batch, lot())
    for at in range(4):
        alone = network(*(part[at : at + 1] for part in batch), lot()[at : at + 1])
        torch.testing.assert_close(alone[0], together[at])


@torch.no_grad()
def test_truncation_pulls_styles_to_their_mean():
    network, batch = tiny_gan.generator(), tiny_gan.batch()
    wide = torch.randn(20_000, 8, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(network.mean, network.styles(wide).mean(0), atol=0.05, rtol=0)
    drawn = [network(*batch, lot(seed=seed), 0.0) for seed in (5, 6)]
    assert torch.equal(drawn[0], drawn[1])  # for all lots the same
    whole = network(*batch, lot())
    assert torch.equal(network(*batch, lot(), torch.ones(4)), network(*batch, lot(), 1.0))
    assert torch.equal(network(*batch, lot(), 1.0), whole)
    half = network(*batch, lot(), 0.5)
    assert (half - drawn[0]).abs().mean() < (whole - drawn[0]).abs().mean()


@torch.no_grad()
def test_a_lot_counts_by_its_direction_alone():
    network = tiny_gan.generator()
    torch.testing.assert_close(network.styles(lot()), network.styles(7 * lot()))


@torch.no_grad()
def test_a_map_is_a_gaussian():
    points = torch.tensor([[[4.5, 2.5, 1.0], [1.0, 1.0, 0.0]]])
    (there, absent) = maps(points, 32)[0]
    assert not absent.any()
    assert there[2, 4] == 1  # row y, column x; deviation 1 pixel of 32
    torch.testing.assert_close(there[2, 5], torch.tensor(-0.5).exp())
    torch.testing.assert_close(there[4, 5], torch.tensor(-2.5).exp())


@torch.no_grad()
def test_a_styled_convolution_has_a_kernel_of_its_own_for_each_crop():
    """StyleGAN2's Eq. 1 to 3: kernels are scaled and brought to length 1, one crop at a time."""
    torch.manual_seed(0)
    layer, x, style = StyledConv(6, 5, 8), torch.randn(3, 6, 7, 7), torch.randn(3, 8)
    found = layer(x, style)
    for at in range(3):
        scale = layer.scale(style)[at]
        kernel = layer.weight * layer.gain * scale[None, :, None, None]
        kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected = F.conv2d(x[at : at + 1], kernel, layer.shift(style)[at], padding=1)
        torch.testing.assert_close(found[at], expected[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_discriminator_sees_picture_hole_and_keypoints():
    network, batch = tiny_gan.discriminator(), tiny_gan.batch()
    crops = told(batch.pictures, batch)
    answer = network(crops)
    assert answer.shape == (4,)
    for channel in range(crops.shape[1]):
        changed = crops.clone()
        changed[:, channel] += 0.5
        assert not torch.allclose(network(changed), answer), channel


@torch.no_grad()
def test_the_discriminator_sees_that_all_are_alike():
    network, batch = tiny_gan.discriminator(), tiny_gan.batch()
    crops = told(batch.pictures, batch)
    alike = crops[:1].expand(4, -1, -1, -1)
    assert not torch.allclose(network(alike)[0], network(crops)[0])
    torch.testing.assert_close(network(alike)[:1], network(crops[:1]))


@pytest.mark.parametrize("size", [0, 8, 48, 63, 256])
def test_only_some_sizes(size):
    with pytest.raises(
        BadInput, match=f"network.size: Input should be 16, 32, 64 or 128, got {size}"
    ):
        build(Config, {"size": size}, "network")


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_every_size_keeps_its_shape(size):
    cfg = Config(size=size, width=4, latent=4, style=4)
    with torch.no_grad():
        batch = tiny_gan.batch(2, size, 0)
        made = tiny_gan.generator(0, cfg=cfg)(*batch, lot(2, length=4))
        assert made.shape == (2, 3, size, size)
        assert tiny_gan.discriminator(0, cfg=cfg)(told(made, batch)).shape == (2,)
