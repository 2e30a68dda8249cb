"""Losses against values worked out by hand, closed forms and second, naive implementations."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from velatura import losses

IMAGENET_STD = (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Slope of a scalar function of one tensor."""
    point = at.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(point), point)
    return slope


def slope_along(
    function: Callable[[Tensor], Tensor], at: Tensor, way: Tensor, step: float
) -> float:
    """Central difference of a scalar function along a direction; float32 wants a long step."""
    with torch.no_grad():
        return float(function(at + step * way) - function(at - step * way)) / (2 * step)


# The penalty on change: value and slope


def naive_rms(clips: Tensor, anonymized: Tensor, per: str, space: str) -> list[Tensor]:
    """Item by item, in float64; the items in reading order."""
    b, t, c, h, w = clips.shape
    change = (anonymized - clips).double()
    if space == "imagenet":
        change = torch.stack([change[:, :, i] / IMAGENET_STD[i] for i in range(3)], 2)
    if per == "batch":
        return [((change**2).sum() / (b * t * c * h * w)) ** 0.5]
    if per == "clip":
        return [((change[i] ** 2).sum() / (t * c * h * w)) ** 0.5 for i in range(b)]
    assert per == "frame"
    return [((change[i, j] ** 2).sum() / (c * h * w)) ** 0.5 for i in range(b) for j in range(t)]


def naive_rms_penalty(
    clips: Tensor, anonymized: Tensor, bound: float, per: str, space: str
) -> Tensor:
    beyond = [r - bound if r > bound else 0 * r for r in naive_rms(clips, anonymized, per, space)]
    return sum(beyond) / len(beyond)


def test_rms_penalty_by_hand():
    """Two values moved by .1 and .7: RMS is .5; the slope is change / (count * RMS * clips)."""
    clips = torch.full((2, 1, 1, 1, 2), 0.2)
    released = clips + torch.tensor([[0.1, 0.7], [0.1, 0.1]]).view(2, 1, 1, 1, 2)

    def penalty(x: Tensor) -> Tensor:
        return losses.rms_penalty(clips, x, 0.3)

    assert float(penalty(released)) == pytest.approx((0.5 - 0.3 + 0) / 2, abs=1e-6)
    expected = torch.tensor([[0.1, 0.7], [0.0, 0.0]]).view_as(clips) / (2 * 0.5) / 2
    torch.testing.assert_close(gradient(penalty, released), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("per", "expected"),
    [
        ("frame", (0.3 + 0 + 0 + 0) / 4),  # one frame of four at RMS .5
        ("clip", (math.sqrt(0.125) - 0.2 + 0) / 2),
        ("batch", 0.25 - 0.2),
    ],
)
def test_rms_penalty_over_what_it_is_one_number(per: str, expected: float):
    clips = torch.full((2, 2, 3, 2, 2), 0.25)
    released = clips.clone()
    released[0, 0] += 0.5
    assert float(losses.rms_penalty(clips, released, 0.2, per)) == pytest.approx(expected, abs=1e-6)
    count = {"frame": 4, "clip": 2, "batch": 1}[per]
    assert losses.rms(clips, released, per).shape == (count,)


@pytest.mark.parametrize("space", ["unit", "imagenet"])
@pytest.mark.parametrize("per", ["frame", "clip", "batch"])
@pytest.mark.parametrize("b", [1, 3])
def test_rms_and_its_penalty_equal_the_naive_ones(b: int, per: str, space: str):
    clips, released = torch.rand(b, 2, 3, 4, 5), torch.rand(b, 2, 3, 4, 5)
    released[0, 0] = clips[0, 0] + 0.05 * (released[0, 0] - clips[0, 0])  # one is below the bound
    bound = 0.2 if space == "unit" else 1.0
    expected = torch.stack(naive_rms(clips, released, per, space)).float()
    torch.testing.assert_close(losses.rms(clips, released, per, space), expected)
    value = losses.rms_penalty(clips, released, bound, per, space)
    naive = naive_rms_penalty(clips, released, bound, per, space)
    assert float(value) > 0
    assert float(value) == pytest.approx(float(naive), rel=1e-5)
    torch.testing.assert_close(
        gradient(lambda x: losses.rms_penalty(clips, x, bound, per, space), released),
        gradient(lambda x: naive_rms_penalty(clips, x, bound, per, space), released),
        atol=1e-7,
        rtol=1e-4,
    )


def test_rms_penalty_divides_each_colour_by_its_deviation():
    """The same change of one colour weighs by 1 / std of that colour, and of no other axis."""
    clips = torch.full((1, 2, 3, 2, 4), 0.5)
    for colour, deviation in enumerate(IMAGENET_STD):
        released = clips.clone()
        released[:, :, colour] += 0.1
        found = float(losses.rms_penalty(clips, released, 0.0, "clip", "imagenet"))
        assert found == pytest.approx(0.1 / deviation / math.sqrt(3), rel=1e-4)


@pytest.mark.parametrize("per", ["frame", "clip", "batch"])
def test_rms_penalty_at_the_bound_is_zero_and_grows_from_there(per: str):
    clips = torch.full((2, 2, 3, 2, 2), 0.25)
    assert float(losses.rms_penalty(clips, clips + 0.25, 0.25, per)) == 0.0
    assert float(losses.rms_penalty(clips, clips + 0.25 - 2**-10, 0.25, per)) == 0.0
    above = float(losses.rms_penalty(clips, clips + 0.25 + 2**-10, 0.25, per))
    assert above == pytest.approx(2**-10, abs=1e-6)
    inside = gradient(lambda x: losses.rms_penalty(clips, x, 0.25, per), clips + 0.2)
    assert not inside.any()


@pytest.mark.parametrize("bound", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("per", ["frame", "clip", "batch"])
@pytest.mark.parametrize("b", [1, 2])
def test_rms_penalty_is_finite_at_the_identity(b: int, per: str, bound: float):
    """Where f_A starts. The root's slope is infinite there: NaN, if the hinge came after it."""
    clips = torch.rand(b, 2, 3, 4, 4)
    value = losses.rms_penalty(clips, clips.clone(), bound, per)
    slope = gradient(lambda x: losses.rms_penalty(clips, x, bound, per), clips)
    assert float(value) == pytest.approx(0, abs=1e-5)
    assert torch.equal(slope, torch.zeros_like(clips))


def test_rms_penalty_with_bound_zero_is_the_rms():
    clips, released = torch.rand(2, 2, 3, 4, 4), torch.rand(2, 2, 3, 4, 4)
    plain = losses.rms(clips, released).mean()
    assert float(losses.rms_penalty(clips, released, 0.0)) == pytest.approx(float(plain), rel=1e-6)


def test_rms_penalty_at_bound_one_is_never_paid():
    clips = torch.zeros(1, 1, 3, 2, 2)
    assert float(losses.rms_penalty(clips, torch.ones_like(clips), 1.0)) == 0.0


def test_rms_reads_a_change_that_bfloat16_cannot_hold():
    """0.9 and 0.9 + 1/512 are one number in bfloat16, whose squares keep 8 bits."""
    clips = torch.full((1, 1, 3, 4, 4), 0.5, dtype=torch.bfloat16)
    released = clips + 2**-8
    assert losses.rms(clips, released).dtype == torch.float32
    many = torch.rand(1, 4, 3, 32, 32).bfloat16()
    far = torch.rand(1, 4, 3, 32, 32).bfloat16()
    expected = torch.stack(naive_rms(many, far, "clip", "unit")).float()
    torch.testing.assert_close(losses.rms(many, far), expected, rtol=1e-4, atol=0)


# NT-Xent


def naive_nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The formula as it is printed: every view in turn, in float64."""
    views = [row / row.norm() for row in (*first.double(), *second.double())]
    n, total = len(first), 0.0
    for i, view in enumerate(views):
        partner = (i + n) % (2 * n)
        parts = [torch.exp(view @ other / temperature) for other in views]
        others = sum(part for k, part in enumerate(parts) if k != i)
        total = total - torch.log(parts[partner] / others)
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_nt_xent_equals_the_naive_one(n: int, temperature: float):
    first, second = torch.randn(n, 5), 3 * torch.randn(n, 5)
    value = losses.nt_xent(first, second, temperature)
    assert float(value) == pytest.approx(float(naive_nt_xent(first, second, temperature)), rel=1e-5)
    for ours, theirs in (
        (lambda x: losses.nt_xent(x, second, temperature),
         lambda x: naive_nt_xent(x, second, temperature)),
        (lambda x: losses.nt_xent(first, x, temperature),
         lambda x: naive_nt_xent(first, x, temperature)),
    ):  # fmt: skip
        at = first if ours(first).equal(value) else second
        torch.testing.assert_close(gradient(ours, at), gradient(theirs, at), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_nt_xent_is_at_chance_when_all_embeddings_agree(n: int):
    alike = torch.randn(1, 6).expand(n, 6)
    assert float(losses.nt_xent(alike, alike)) == pytest.approx(math.log(2 * n - 1), abs=1e-5)


def test_nt_xent_of_items_told_apart():
    """Views alike, items at right angles: similarity 1 to the partner, 0 to 2n - 2 others."""
    apart = torch.eye(4)
    expected = math.log(1 + 6 * math.exp(-1 / 0.5))
    assert float(losses.nt_xent(apart, apart, 0.5)) == pytest.approx(expected, abs=1e-6)
    shuffled = apart.roll(1, 0)  # the partner is now a stranger, and a stranger the partner
    expected = math.log(math.exp(1 / 0.5) + 6)
    assert float(losses.nt_xent(apart, shuffled, 0.5)) == pytest.approx(expected, abs=1e-6)


def test_nt_xent_symmetries():
    first, second = torch.randn(5, 4), torch.randn(5, 4)
    value = float(losses.nt_xent(first, second))
    order, scale = torch.randperm(5), torch.rand(5, 1) + 0.5
    assert float(losses.nt_xent(second, first)) == pytest.approx(value, rel=1e-5)
    assert float(losses.nt_xent(first[order], second[order])) == pytest.approx(value, rel=1e-5)
    assert float(losses.nt_xent(scale * first, second)) == pytest.approx(value, rel=1e-5)
    assert abs(float(losses.nt_xent(first, second[order])) - value) > 1e-3


def test_nt_xent_slope_against_differences():
    first, second = torch.randn(4, 5), torch.randn(4, 5)

    def value(x: Tensor) -> Tensor:
        return losses.nt_xent(x, second, 0.5)

    for _ in range(5):
        way = torch.randn_like(first)
        analytic = float((gradient(value, first) * way).sum())
        assert analytic == pytest.approx(slope_along(value, first, way, 1e-2), rel=2e-2, abs=1e-3)


def test_nt_xent_is_finite_for_an_embedding_of_zeros():
    """A dead f_B: the direction of zero is nowhere, and its slope must not be NaN."""
    second = torch.randn(3, 4)
    dead = torch.zeros(3, 4)
    assert torch.isfinite(losses.nt_xent(dead, second))
    assert torch.isfinite(gradient(lambda x: losses.nt_xent(x, second), dead)).all()


def test_nt_xent_needs_a_negative():
    with pytest.raises(ValueError, match="at least 2 items"):
        losses.nt_xent(torch.randn(1, 4), torch.randn(1, 4))


def test_nt_xent_keeps_float32_under_autocast():
    """Similarities over a temperature of .1 lose the second digit in bfloat16."""
    first, second = torch.randn(8, 32), torch.randn(8, 32)

    def mixed(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return losses.nt_xent(x, second)

    def plain(x: Tensor) -> Tensor:
        return losses.nt_xent(x, second)

    assert mixed(first).dtype == torch.float32
    assert torch.equal(mixed(first), plain(first))
    assert torch.equal(gradient(mixed, first), gradient(plain, first))


# The others


def test_reconstruction_by_hand():
    clips = torch.full((1, 1, 1, 1, 4), 0.5)
    released = clips + torch.tensor([0.1, -0.3, 0.0, 0.2])
    assert float(losses.reconstruction(clips, released)) == pytest.approx(0.15, abs=1e-6)
    slope = gradient(lambda x: losses.reconstruction(clips, x), released)
    assert slope.flatten().tolist() == [0.25, -0.25, 0.0, 0.25]
    assert float(losses.reconstruction(clips[0], released[0])) == pytest.approx(0.15, abs=1e-6)


def test_cross_entropy_by_hand():
    """Logits log 3 and 0: three quarters against one."""
    logits = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])
    value = losses.cross_entropy(logits, torch.tensor([0, 1]))
    assert float(value) == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2, abs=1e-6)
    assert losses.cross_entropy(logits.bfloat16(), torch.tensor([0, 1])).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_supervised_by_hand(dtype: torch.dtype):
    """Answers 3/4 and 1/2; the slope is (answer - truth) / count."""
    logits = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])
    truth = torch.tensor([[1, 1], [0, 0]]).to(dtype)
    expected = -(math.log(0.75) + math.log(0.5) + math.log(0.25) + math.log(0.5)) / 4
    assert float(losses.supervised(logits, truth)) == pytest.approx(expected, abs=1e-6)
    slope = gradient(lambda x: losses.supervised(x, truth), logits)
    expected_slope = torch.tensor([[-0.25, -0.5], [0.75, 0.5]]) / 4
    torch.testing.assert_close(slope, expected_slope)


def logit(p: Tensor) -> Tensor:
    return torch.log(p / (1 - p))


def test_prior_divergence_by_hand():
    """Priors 1/4 and 1/2, both answers 1/2: KL is .25 log .5 + .75 log 1.5, and zero."""
    value = losses.prior_divergence(torch.zeros(3, 2), torch.tensor([0.25, 0.5]))
    expected = (0.25 * math.log(0.5) + 0.75 * math.log(1.5)) / 2
    assert float(value) == pytest.approx(expected, abs=1e-6)


def test_prior_divergence_is_zero_at_the_prior_and_pulls_towards_it():
    prior = torch.tensor([0.1, 0.5, 0.8])
    at = logit(prior).expand(4, 3).clone()
    assert float(losses.prior_divergence(at, prior)) == pytest.approx(0, abs=1e-6)
    for shift in (-2.0, -0.5, 0.5, 2.0):
        slope = gradient(lambda x: losses.prior_divergence(x, prior), at + shift)
        torch.testing.assert_close(slope, (torch.sigmoid(at + shift) - prior) / at.numel())
        assert (slope.sign() == math.copysign(1, shift)).all()


def test_prior_divergence_is_bounded_below_and_finite():
    """Confidently wrong costs f_A as much as confidently right, at even odds; nothing pays."""
    prior = torch.tensor([0.0, 0.02, 0.5, 1.0])
    for size in (0.1, 1.0, 10.0, 1e4):
        logits = size * torch.randn(16, 4)
        value = losses.prior_divergence(logits, prior)
        assert torch.isfinite(value)
        assert float(value) >= -1e-6
        assert torch.isfinite(gradient(lambda x: losses.prior_divergence(x, prior), logits)).all()
    even = torch.tensor([0.5])
    right, wrong = torch.full((1, 1), 3.0), torch.full((1, 1), -3.0)
    assert float(losses.prior_divergence(right, even)) == pytest.approx(
        float(losses.prior_divergence(wrong, even)), rel=1e-5
    )


def naive_feature_hinge(features: list[Tensor], reference: list[Tensor], bound: float) -> Tensor:
    total = 0.0
    for moved, fixed in zip(features, reference, strict=True):
        pairs = zip(moved.double(), fixed.double(), strict=True)
        shares = [(m - f).norm() / f.norm() for m, f in pairs]
        total = total + sum(s - bound if s > bound else 0 * s for s in shares) / len(shares)
    return total


def test_feature_hinge_by_hand():
    """|(3, 4)| is 5; moved by (0, 3) it is .6 away, moved by (0, 2) it is .4: .1 and 0 of .5."""
    fixed = torch.tensor([[3.0, 4.0], [3.0, 4.0]])
    moved = fixed + torch.tensor([[0.0, 3.0], [0.0, 2.0]])
    once = losses.feature_hinge([moved], [fixed], 0.5)
    assert float(once) == pytest.approx(0.05, abs=1e-6)
    twice = losses.feature_hinge([moved, 10 * moved], [fixed, 10 * fixed], 0.5)
    assert float(twice) == pytest.approx(0.1, abs=1e-6)  # layers add up, whatever their scale
    slope = gradient(lambda x: losses.feature_hinge([x], [fixed], 0.5), moved)
    # d(|m - f| / |f|) / dm is the unit vector over |f|, over two items
    torch.testing.assert_close(slope, torch.tensor([[0.0, 0.1], [0.0, 0.0]]))


@pytest.mark.parametrize("b", [1, 3])
def test_feature_hinge_equals_the_naive_one(b: int):
    reference = [torch.randn(b, 4, 2, 3), torch.randn(b, 5)]
    features = [r + 0.5 * torch.randn_like(r) for r in reference]
    value = losses.feature_hinge(features, reference, 0.4)
    expected = float(naive_feature_hinge(features, reference, 0.4))
    assert float(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bound", [0.0, 0.5])
def test_feature_hinge_is_finite_at_the_identity(bound: float):
    reference = torch.randn(2, 4)
    reference[1] = 0  # a layer that is silent for one clip
    value = losses.feature_hinge([reference.clone()], [reference], bound)
    assert float(value) == pytest.approx(0, abs=1e-5)
    slope = gradient(lambda x: losses.feature_hinge([x], [reference], bound), reference)
    assert not slope.any()


def test_feature_hinge_wants_the_same_layers():
    with pytest.raises(ValueError, match="shorter"):
        losses.feature_hinge([torch.ones(1, 2)] * 2, [torch.ones(1, 2)], 0.5)


# InfoNCE: views against views


def naive_info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The formula as it is printed: every item, first one way, then the other; in float64."""
    a = [row / row.norm() for row in first.double()]
    b = [row / row.norm() for row in second.double()]
    total = 0.0
    for here, there in ((a, b), (b, a)):
        for i, view in enumerate(here):
            parts = [torch.exp(view @ other / temperature) for other in there]
            total = total - torch.log(parts[i] / sum(parts))
    return total / (2 * len(a))


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_info_nce_equals_the_naive_one(n: int, temperature: float):
    first, second = torch.randn(n, 5), 3 * torch.randn(n, 5)
    value = losses.info_nce(first, second, temperature)
    expected = naive_info_nce(first, second, temperature)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    torch.testing.assert_close(
        gradient(lambda x: losses.info_nce(first, x, temperature), second),
        gradient(lambda x: naive_info_nce(first, x, temperature), second),
        atol=1e-5,
        rtol=1e-4,
    )


def test_info_nce_by_hand():
    """Items at right angles: similarity 1 to the own other view, 0 to the others; and shuffled."""
    apart = torch.eye(4)
    expected = math.log(1 + 3 * math.exp(-1 / 0.5))
    assert float(losses.info_nce(apart, apart, 0.5)) == pytest.approx(expected, abs=1e-6)
    expected = math.log(math.exp(1 / 0.5) + 3)
    assert float(losses.info_nce(apart, apart.roll(1, 0), 0.5)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_info_nce_is_at_chance_when_all_features_agree(n: int):
    alike = torch.randn(1, 6).expand(n, 6)
    assert float(losses.info_nce(alike, alike)) == pytest.approx(math.log(n), abs=1e-5)


def test_info_nce_symmetries():
    first, second = torch.randn(5, 4), torch.randn(5, 4)
    value = float(losses.info_nce(first, second))
    order, scale = torch.tensor([2, 0, 4, 1, 3]), torch.rand(5, 1) + 0.5
    assert float(losses.info_nce(second, first)) == pytest.approx(value, rel=1e-5)
    assert float(losses.info_nce(first[order], second[order])) == pytest.approx(value, rel=1e-5)
    assert float(losses.info_nce(scale * first, second)) == pytest.approx(value, rel=1e-5)
    assert abs(float(losses.info_nce(first, second[order])) - value) > 1e-3


def test_info_nce_is_finite_for_features_of_zeros():
    second, dead = torch.randn(3, 4), torch.zeros(3, 4)
    assert torch.isfinite(losses.info_nce(dead, second))
    assert torch.isfinite(gradient(lambda x: losses.info_nce(x, second), dead)).all()


def test_info_nce_needs_another_item():
    with pytest.raises(ValueError, match="at least 2 items"):
        losses.info_nce(torch.randn(1, 4), torch.randn(1, 4))


def test_info_nce_keeps_float32_under_autocast():
    first, second = torch.randn(8, 32), torch.randn(8, 32)

    def mixed(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return losses.info_nce(x, second)

    def plain(x: Tensor) -> Tensor:
        return losses.info_nce(x, second)

    assert mixed(first).dtype == torch.float32
    assert torch.equal(mixed(first), plain(first))
    assert torch.equal(gradient(mixed, first), gradient(plain, first))


# What adversaries know


def binary_entropy(p: float) -> float:
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def test_entropy_by_hand():
    """Answers of 3/4, 1/2, 1/4 and 1/2; the slope is -logit p (1 - p) / count."""
    logits = torch.tensor([[math.log(3), 0.0], [-math.log(3), 0.0]])
    expected = (2 * binary_entropy(0.75) + 2 * math.log(2)) / 4
    assert float(losses.entropy(logits)) == pytest.approx(expected, abs=1e-6)
    slope = gradient(losses.entropy, logits)
    expected_slope = -logits * 0.75 * 0.25 / 4
    torch.testing.assert_close(slope, expected_slope)


def test_entropy_equals_the_naive_one():
    logits = 4 * torch.randn(6, 3)

    def naive(x: Tensor) -> Tensor:
        p = torch.sigmoid(x.double())
        return -(p * p.log() + (1 - p) * (1 - p).log()).mean().float()

    torch.testing.assert_close(losses.entropy(logits), naive(logits))
    torch.testing.assert_close(gradient(losses.entropy, logits), gradient(naive, logits))


def test_entropy_is_log_2_at_most_and_falls_with_certainty_either_way():
    assert float(losses.entropy(torch.zeros(2, 3))) == pytest.approx(math.log(2), abs=1e-6)
    values = [float(losses.entropy(torch.full((1, 1), z))) for z in (0.0, 0.5, 1.0, 3.0, 8.0)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 5
    for z in (0.5, 1.0, 3.0):
        flipped = float(losses.entropy(torch.full((1, 1), -z)))
        assert flipped == pytest.approx(float(losses.entropy(torch.full((1, 1), z))), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [0.0, 20.0, 100.0, 1e4])
def test_entropy_is_finite_where_an_adversary_is_certain(size: float, dtype: torch.dtype):
    """p log p with p = 0 is NaN where it is computed as it is written."""
    logits = torch.tensor([[size, -size]], dtype=dtype)
    value = losses.entropy(logits)
    assert value.dtype == torch.float32
    assert 0 <= float(value) <= math.log(2) + 1e-6
    assert torch.isfinite(gradient(losses.entropy, logits)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_attribute_errors_by_hand(dtype: torch.dtype):
    """Answers of 3/4 and 1/2 in both rows; the mean over attributes is the usual one."""
    logits = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])
    truth = torch.tensor([[1, 1], [0, 0]]).to(dtype)
    each = losses.attribute_errors(logits, truth)
    expected = torch.tensor([-(math.log(0.75) + math.log(0.25)) / 2, math.log(2)])
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(each.mean(), losses.supervised(logits, truth))
    assert losses.attribute_errors(logits.bfloat16(), truth).dtype == torch.float32


def test_prior_entropy_by_hand():
    prevalence = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    expected = torch.tensor([binary_entropy(p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)])
    torch.testing.assert_close(losses.prior_entropy(prevalence), expected)
    assert float(losses.prior_entropy(torch.tensor([0.5]))) == pytest.approx(math.log(2))


def test_prior_entropy_is_the_error_of_who_answers_the_prior():
    """So an adversary that knows nothing has an error of H, and one that knows all of zero."""
    truth = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    blind = torch.full((4, 1), math.log(1 / 3))  # a quarter have it
    torch.testing.assert_close(
        losses.attribute_errors(blind, truth), losses.prior_entropy(truth.mean(0))
    )


def test_suppression_by_hand():
    """v is -.5, -.1 and 0: v^2 + |v|; the slope is 2 v - 1, and nothing behind the hinge."""
    information = torch.tensor([0.6, 0.6, 0.6])
    errors = torch.tensor([0.1, 0.5, 0.9])

    def cost(x: Tensor) -> Tensor:
        return losses.suppression(x, information, 0.0)

    torch.testing.assert_close(cost(errors), torch.tensor([0.75, 0.11, 0.0]))
    slope = gradient(lambda x: cost(x).sum(), errors)
    torch.testing.assert_close(slope, torch.tensor([-2.0, -1.2, 0.0]))


def test_suppression_leaves_what_the_bound_allows():
    """.6 nats there are; with .2 allowed an error of .4 is free, one of .3 is .1 short."""
    information = torch.tensor([0.6, 0.6])
    found = losses.suppression(torch.tensor([0.4, 0.3]), information, 0.2)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.11]), atol=1e-6, rtol=1e-5)
    assert not losses.suppression(torch.zeros(2), information, 0.6).any()
    each = losses.suppression(torch.zeros(2), torch.tensor([0.6, 0.0]), 0.0)
    torch.testing.assert_close(each, torch.tensor([0.96, 0.0]))  # of the second there is nothing


def test_suppression_pays_nothing_for_an_adversary_that_is_confidently_wrong():
    information = torch.tensor([0.6])
    for error in (0.6, 0.7, 5.0, 1e4):
        at = torch.tensor([error])
        assert float(losses.suppression(at, information, 0.0)) == 0.0
        assert not gradient(lambda x: losses.suppression(x, information, 0.0).sum(), at).any()


def test_preservation_by_hand():
    """2 nats there are, 1.5 have to be left: an error of .5 is free, one of .9 is .4 too much."""

    def cost(x: Tensor) -> Tensor:
        return losses.preservation(x, 2.0, 1.5)

    assert float(cost(torch.tensor(0.9))) == pytest.approx(0.4**2 + 0.4, abs=1e-6)
    assert float(gradient(cost, torch.tensor(0.9))) == pytest.approx(2 * 0.4 + 1, abs=1e-6)
    for error in (0.0, 0.3, 0.5):
        assert float(cost(torch.tensor(error))) == 0.0
    assert float(gradient(cost, torch.tensor(0.3))) == 0.0


def test_preservation_of_everything_makes_every_error_count():
    assert float(losses.preservation(torch.tensor(0.1), 2.0, 2.0)) == pytest.approx(0.11, abs=1e-6)
    assert float(losses.preservation(torch.tensor(0.0), 2.0, 2.0)) == 0.0
    assert float(losses.preservation(torch.tensor(3.0), 2.0, 0.0)) == pytest.approx(2.0, abs=1e-6)


# The adversarial pair, and the discriminator's slope


def test_the_adversarial_losses_by_hand():
    """log(1 + e^-2) and log(1 + e^1) are .126928 and 1.313262; at chance log 2 each."""
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([1.0])
    torch.testing.assert_close(
        losses.tell_apart(real, fake), torch.tensor((0.126928 + 1.313262) / 2 + 1.313262)
    )
    torch.testing.assert_close(losses.pass_for_real(-real), torch.tensor((2.126928 + 0.313262) / 2))
    even = torch.zeros(3)
    torch.testing.assert_close(losses.tell_apart(even, even), torch.tensor(2 * math.log(2)))
    torch.testing.assert_close(losses.pass_for_real(even), torch.tensor(math.log(2)))


def test_the_adversarial_losses_keep_their_slope_and_stay_finite():
    far = torch.tensor([-200.0])
    assert losses.pass_for_real(far) == 200
    assert gradient(losses.pass_for_real, far) == -1  # of a generator that nobody believes
    assert gradient(losses.pass_for_real, torch.zeros(2)).tolist() == [-0.25, -0.25]
    found = gradient(lambda x: losses.tell_apart(x[:1], x[1:]), torch.zeros(3))
    assert found.tolist() == [-0.5, 0.25, 0.25]
    assert losses.tell_apart(torch.tensor([200.0]), far) == 0


def test_the_slope_of_a_linear_and_of_a_square_discriminator():
    """w.x has slope w; sum of x^2 has slope 2 x: halves of the squares, mean over pictures."""
    pictures = torch.randn(3, 2, 4, 4, requires_grad=True)
    weight = torch.randn(2, 4, 4, requires_grad=True)
    linear = losses.r1((pictures * weight).sum((1, 2, 3)), pictures)
    torch.testing.assert_close(linear, weight.square().sum() / 2)
    (slope,) = torch.autograd.grad(linear, weight)
    torch.testing.assert_close(slope, weight)
    square = losses.r1(pictures.square().sum((1, 2, 3)), pictures)
    torch.testing.assert_close(square, 2 * pictures.square().sum((1, 2, 3)).mean())


def test_a_slope_that_is_not_there_costs_nothing():
    pictures = torch.randn(2, 3, requires_grad=True)
    assert losses.r1((0 * pictures).sum(1), pictures) == 0
