"""The steps of the game: what they cost, who moves, and that something is learnt."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from inpainting import tiny_gan
from torch import Tensor, nn

from velatura.inpainting.augment import varied
from velatura.inpainting.average import decay, follow
from velatura.inpainting.crops import Batches
from velatura.inpainting.generator import Config, Generator, maps
from velatura.inpainting.steps import step_discriminator, step_generator, told

ALL = ("colour", "translation", "cutout")


def lots(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def z(n: int = 4, length: int = 8) -> Tensor:
    return torch.randn(n, length, generator=lots(5))


class Slope(nn.Module):
    """A discriminator whose slope is known: the dot product with a picture."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, crops: Tensor) -> Tensor:
        return (crops[:, :3] * self.weight).sum((1, 2, 3))


# -------------------------------------------------------------------------------- the losses


def test_the_losses_by_hand():
    """A linear discriminator of weight .01 everywhere; the slope's square is 3 * 256 * 1e-4."""
    generator, batch = tiny_gan.generator(), tiny_gan.batch()
    linear = Slope(torch.full((3, 16, 16), 0.01))
    terms = step_discriminator(generator, linear, batch, z(), (), lots(), penalty=16.0)
    real = [math.log1p(math.exp(-0.01 * float(p.double().sum()))) for p in batch.pictures]
    with torch.no_grad():
        made = generator(*batch, z())
    fake = [math.log1p(math.exp(0.01 * float(p.double().sum()))) for p in made]
    assert terms["told"].item() == pytest.approx(sum(real) / 4 + sum(fake) / 4, rel=1e-5)
    assert terms["slope"].item() == pytest.approx(0.5 * 768e-4, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(terms["told"].item() + 16 * 0.5 * 768e-4, rel=1e-5)
    without = step_discriminator(generator, linear, batch, z(), (), lots())
    assert set(without) == {"told", "loss"}
    passed = step_generator(generator, linear, batch, z(), (), lots())
    expected = sum(math.log1p(math.exp(-0.01 * float(p.double().sum()))) for p in made) / 4
    assert passed["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_the_slope_teaches_the_discriminator():
    """d/dw of 16 / 2 * ||w||^2 is 16 w; what the pictures add is the same without it."""
    batch, weight = tiny_gan.batch(), torch.linspace(-1, 1, 768).view(3, 16, 16)
    found = []
    for penalty in (0.0, 16.0):
        linear = Slope(weight.clone())
        step_discriminator(tiny_gan.generator(), linear, batch, z(), (), lots(), penalty)[
            "loss"
        ].backward()
        found.append(linear.weight.grad)
    torch.testing.assert_close(found[1] - found[0], 16 * weight, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------- who moves, who not


@pytest.mark.parametrize("who", ["discriminator", "generator"])
def test_each_step_moves_only_its_player(who):
    generator, discriminator = tiny_gan.generator(), tiny_gan.discriminator()
    # A buffer that counts what passes in training mode: it must stand still, too.
    discriminator.whole = nn.Sequential(discriminator.whole, nn.BatchNorm1d(16))
    players = {"generator": generator, "discriminator": discriminator}
    before = copy.deepcopy({name: p.state_dict() for name, p in players.items()})
    both = [*generator.parameters(), *discriminator.parameters()]
    optimizer = torch.optim.SGD(both, lr=0.1)
    step = step_discriminator if who == "discriminator" else step_generator
    step(generator, discriminator, tiny_gan.batch(), z(), ALL, lots())["loss"].backward()
    optimizer.step()
    moved = {
        name
        for name, player in players.items()
        if any(not torch.equal(v, before[name][key]) for key, v in player.state_dict().items())
    }
    assert moved == {who}
    assert all(p.requires_grad for p in both)
    assert all(p.grad is not None for p in players[who].parameters())


def test_the_mean_by_hand():
    new, mean = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    for network, value in ((new, 3.0), (mean, 1.0)):
        nn.init.constant_(network.weight, value)
        nn.init.constant_(network.bias, -value)
    new.running_mean.fill_(7.0)
    follow(mean, new, 0.75)
    assert (mean.weight.item(), mean.bias.item()) == (1.5, -1.5)  # 3/4 of 1, 1/4 of 3
    assert mean.running_mean.item() == 7
    assert new.weight.item() == 3


def test_half_of_the_mean_is_gone_after_so_many_crops():
    assert decay(10**6, 20, 100) ** 5 == pytest.approx(0.5)  # five steps are a hundred crops
    # Early on: after a twentieth of the 400 crops so far, which is one step.
    assert decay(20, 20, 10**6) == pytest.approx(0.5)
    assert decay(0, 20, 100) == 0  # at first it is the network


# --------------------------------------------------------------------------- varying the crops


def crops(n: int = 3, size: int = 16) -> Tensor:
    return torch.rand(n, 5, size, size, generator=lots(8))


def test_crops_are_varied_by_the_lot_alone():
    first = varied(crops(), ALL, lots(1))
    assert torch.equal(varied(crops(), ALL, lots(1)), first)
    assert not torch.equal(varied(crops(), ALL, lots(2)), first)
    assert torch.equal(varied(crops(), (), lots(1)), crops())
    # As many values whatever the ways, so that leaving one out changes no other.
    for ways in ((), ("cutout",), ALL):
        draw = lots(1)
        varied(crops(), ways, draw)
        assert torch.rand(1, generator=draw) == torch.rand(22, generator=lots(1))[-1]


def test_colours_leave_conditions_alone():
    made = varied(crops(), ("colour",), lots(1))
    assert torch.equal(made[:, 3:], crops()[:, 3:])
    light, saturation, contrast = torch.rand(3, 7, generator=lots(1))[:, :3].T.double()
    for at, picture in enumerate(crops()[:, :3].double()):
        expected = picture + (light[at] - 0.5) / 2
        grey = expected.mean(0)
        expected = grey + 2 * saturation[at] * (expected - grey)
        expected = expected.mean() + (0.5 + contrast[at]) * (expected - expected.mean())
        torch.testing.assert_close(made[at, :3].double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", ["translation", "cutout"])
def test_places_change_in_all_channels_alike(way):
    """A crop whose channels are alike stays so; pixel by pixel against a naive way."""
    one = torch.rand(40, 1, 16, 16, generator=lots(2)) + 1
    made = varied(one.expand(-1, 5, -1, -1), (way,), lots(1))
    assert torch.equal(made, made[:, :1].expand_as(made))
    draws = torch.rand(40, 7, generator=lots(1))[:, 3:].tolist()
    seen = set()
    for at, (down, right, row, column) in enumerate(draws):
        expected = torch.zeros(16, 16)
        if way == "translation":
            dy, dx = int(5 * down) - 2, int(5 * right) - 2  # an eighth of 16, either way
            seen.add((dy, dx))
            for y in range(16):
                for x in range(16):
                    if 0 <= y + dy < 16 and 0 <= x + dx < 16:
                        expected[y + dy, x + dx] = one[at, 0, y, x]
        else:
            expected[:] = one[at, 0]
            top, left = int(17 * row) - 4, int(17 * column) - 4
            expected[max(0, top) : top + 8, max(0, left) : left + 8] = 0
        assert torch.equal(made[at, 0], expected)
    assert way == "cutout" or len(seen) > 12


def test_the_gradient_goes_through():
    """Against differences, in double precision."""
    at = crops(2, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: varied(x, ALL, lots(1)), (at,))


def test_real_and_drawn_crops_are_varied_with_their_conditions():
    """The hole that the discriminator is told of is where the picture's is."""
    seen = []

    class Spy(Slope):
        def forward(self, crops: Tensor) -> Tensor:
            seen.append(crops.detach())
            return super().forward(crops)

    batch = tiny_gan.batch()
    marked = batch._replace(pictures=torch.where(batch.hidden > 0, 0.0, 1.0).expand(-1, 3, -1, -1))
    spy = Spy(torch.zeros(3, 16, 16))
    step_discriminator(
        tiny_gan.generator(), spy, marked, z(), ("translation", "cutout"), lots(), 1.0
    )
    (real, _) = seen
    assert torch.equal(real[:, 0], real[:, 3])
    assert not torch.equal(real, told(marked.pictures, marked))
    shown = told(marked.pictures, marked)
    assert torch.equal(shown[:, 4:], maps(batch.points, 16))


# ------------------------------------------------------------------------- something is learnt


def test_it_learns_the_colour_of_its_surroundings():
    """On crops of one colour each, in some dozens of steps; on crops that it never saw."""
    cfg = Config(size=16, width=8, latent=4, style=16)
    known, others = tiny_gan.plain().apart(0.25, 0)
    generator, discriminator = tiny_gan.generator(0, cfg=cfg), tiny_gan.discriminator(0, cfg=cfg)
    generates, discriminates = (
        torch.optim.Adam(p.parameters(), 0.004, (0.0, 0.99)) for p in (generator, discriminator)
    )
    batch = others.batch(torch.arange(len(others)).numpy())
    hole = (batch.hidden > 0).expand_as(batch.pictures)

    @torch.no_grad()
    def error(network: Generator) -> float:
        """Mean distance of a hole's mean colour from that of its crop."""
        made = network(*batch, torch.randn(len(others), 4, generator=lots(1)))
        holes = torch.where(hole, made - batch.pictures, 0.0).sum((2, 3)) / batch.hidden[0].sum()
        return float(holes.abs().mean())

    before = error(generator)
    mean = copy.deepcopy(generator)
    stream = Batches(known, 16, 0)
    for step in range(60):
        draws = [torch.randn(16, 4, generator=lots(2 * step + i)) for i in (0, 1)]
        for optimizer, play, drawn in (
            (discriminates, step_discriminator, draws[0]),
            (generates, step_generator, draws[1]),
        ):
            optimizer.zero_grad()
            play(generator, discriminator, stream.at(step), drawn, ALL, lots(step))[
                "loss"
            ].backward()
            optimizer.step()
        follow(mean, generator, decay(step, 16, 10_000))
    after = error(mean)
    assert after < before / 2, (before, after)
    assert after < 0.2
