"""The formulas, one function each: pure, differentiable, no state.

Reductions are means over the batch unless said otherwise. In a distributed run, what looks at
the whole batch looks at that of all ranks, so that splitting a batch does not change it.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from velatura import ranks

__all__ = [
    "attribute_errors",
    "entropy",
    "feature_hinge",
    "info_nce",
    "nt_xent",
    "pass_for_real",
    "preservation",
    "prior_divergence",
    "prior_entropy",
    "r1",
    "reconstruction",
    "rms",
    "rms_penalty",
    "supervised",
    "suppression",
    "tell_apart",
]

Per = Literal["frame", "clip", "batch"]
Space = Literal["unit", "imagenet"]

# An intensity step of 1 in [0, 1] is 1 / std in ImageNet's normalised space; the mean cancels.
IMAGENET_STD = (0.229, 0.224, 0.225)


def reconstruction(
    clips: Float[Tensor, "*b c h w"], anonymized: Float[Tensor, "*b c h w"]
) -> Float[Tensor, ""]:
    """Mean absolute difference, in intensity units: what f_A minimises to start as the identity.

    The paper's Eq. 5 writes a sum over C, H, W; the mean differs by a constant factor and
    does not grow with the picture. https://arxiv.org/abs/2504.14301
    """
    return (clips - anonymized).abs().mean()


def rms(
    clips: Float[Tensor, "b t c h w"],
    anonymized: Float[Tensor, "b t c h w"],
    per: Per = "clip",
    space: Space = "unit",
) -> Float[Tensor, " n"]:
    """Root mean square change, for reading: its slope is infinite at the identity.

    To train with a bound use :func:`rms_penalty`, which is finite there.

    Returns:
        One value per frame (B * T), per clip (B) or for the batch (1); in intensity units
        of [0, 1], or in standard deviations of ImageNet.
    """
    return _mean_square(clips, anonymized, per, space).sqrt()


def rms_penalty(
    clips: Float[Tensor, "b t c h w"],
    anonymized: Float[Tensor, "b t c h w"],
    bound: float,
    per: Per = "clip",
    space: Space = "unit",
) -> Float[Tensor, ""]:
    """How far the anonymizer drifts beyond the allowed distance: Eq. 4.

        mean over items of  max(0, RMS(clip - anonymized) - bound)

    Args:
        clips: (B, T, C, H, W) in [0, 1].
        anonymized: the same shape and range; the gradient flows through this one.
        bound: B in the paper. In unit space 0.1 allows an average change of a tenth of
            full scale, and at 1.0 nothing is ever penalised.
        per: the items: each frame, each clip, or the whole batch as one (the released
            script's reading, under which a ruined clip can hide behind faithful ones).
        space: ``"unit"``, or ``"imagenet"``: intensities over ImageNet's deviations.

    Returns:
        A scalar, in the units of ``space``.

    Source: Aslam and Nasrollahi, 2025, Eq. 4, https://arxiv.org/abs/2504.14301
    """
    mean_square = _mean_square(clips, anonymized, per, space)
    # Clamping before the root is the hinge itself, and keeps d(root)/d(mean square) finite
    # where f_A is the identity: that is where f_A starts. A bound of zero needs the floor.
    return (mean_square.clamp_min(max(bound**2, 1e-12)).sqrt() - bound).mean()


def _mean_square(clips: Tensor, anonymized: Tensor, per: Per, space: Space) -> Tensor:
    difference = clips.float() - anonymized.float()  # bf16 has 8 bits: too few for a small change
    if space == "imagenet":
        difference = difference / difference.new_tensor(IMAGENET_STD).view(3, 1, 1)
    first = {"frame": 2, "clip": 1, "batch": 0}[per]  # the first axis that is averaged away
    mean_square = difference.square().flatten(first).mean(-1).flatten()
    return ranks.mean(mean_square) if per == "batch" else mean_square


def nt_xent(
    first: Float[Tensor, "n d"], second: Float[Tensor, "n d"], temperature: float = 0.1
) -> Float[Tensor, ""]:
    """Normalised-temperature cross-entropy: tell two views of one item from all others.

        mean over the 2n views of
            -log( e^(s_pos/t) / (e^(s_pos/t) + sum over the 2n-2 negatives of e^(s/t)) )

    with s the cosine similarity. At chance (all embeddings alike) it is log(2n - 1). In a
    distributed run n counts the items of all ranks, and the gradient reaches each rank's own
    embeddings wherever they served as negatives.

    Args:
        first, second: (N, D) embeddings of two views; row i of both is the same item. They
            are normalised here.

    Raises:
        ValueError: fewer than two items: there is no negative to tell from.

    Source: Chen et al., 2020, SimCLR, Eq. 1, https://arxiv.org/abs/2002.05709
    """
    first, second = F.normalize(first.float(), dim=1), F.normalize(second.float(), dim=1)
    first, second = ranks.gather(first), ranks.gather(second)
    n = len(first)
    if n < 2:
        raise ValueError("NT-Xent needs at least 2 items: with one there is no negative.")
    both = torch.cat([first, second])  # (2n, d)
    with torch.autocast(both.device.type, enabled=False):  # over 0.1, bf16 loses the second digit
        similarity = both @ both.T / temperature
    similarity = similarity.masked_fill(
        torch.eye(2 * n, dtype=torch.bool, device=both.device), -torch.inf
    )
    positives = torch.arange(2 * n, device=both.device).roll(n)  # view i's other view
    return F.cross_entropy(similarity, positives)


def info_nce(
    first: Float[Tensor, "n d"], second: Float[Tensor, "n d"], temperature: float = 0.07
) -> Float[Tensor, ""]:
    """Tell each item's other view from the other views of all items, both ways round.

        mean over items, and over both directions, of
            -log( e^(s_ii/t) / sum over j of e^(s_ij/t) )

    with s_ij the cosine similarity of ``first[i]`` and ``second[j]``. At chance it is log n. Unlike
    :func:`nt_xent` it never compares two items of the same view. log n less this is a lower bound
    of the mutual information of both views. Over ranks as in :func:`nt_xent`.

    Args:
        first, second: (N, D) features of two views; row i of both is the same item. They are
            normalised here.

    Raises:
        ValueError: fewer than two items: there is nothing to tell from.

    Source: van den Oord et al., 2018, https://arxiv.org/abs/1807.03748; in this form with t = .07
    Chen et al., 2024, https://arxiv.org/abs/2405.14981
    """
    first, second = F.normalize(first.float(), dim=1), F.normalize(second.float(), dim=1)
    first, second = ranks.gather(first), ranks.gather(second)
    n = len(first)
    if n < 2:
        raise ValueError("InfoNCE needs at least 2 items: with one there is no negative.")
    with torch.autocast(first.device.type, enabled=False):
        similarity = first @ second.T / temperature
    same = torch.arange(n, device=first.device)
    return (F.cross_entropy(similarity, same) + F.cross_entropy(similarity.T, same)) / 2


def supervised(
    logits: Float[Tensor, "b k"], attributes: Float[Tensor, "b k"] | Bool[Tensor, "b k"]
) -> Float[Tensor, ""]:
    """Binary cross-entropy of an adversary that is told the attributes, in nats, mean over B, K."""
    return F.binary_cross_entropy_with_logits(logits.float(), attributes.float())


def attribute_errors(
    logits: Float[Tensor, "b k"], attributes: Float[Tensor, "b k"] | Bool[Tensor, "b k"]
) -> Float[Tensor, " k"]:
    """Binary cross-entropy of each attribute in nats, mean over B; its mean is ``supervised``."""
    return F.binary_cross_entropy_with_logits(
        logits.float(), attributes.float(), reduction="none"
    ).mean(0)


def entropy(logits: Float[Tensor, "b k"]) -> Float[Tensor, ""]:
    """How unsure an adversary is, whatever the truth: in nats, mean over B and K, 0 to log 2.

        H(p) = -p log p - (1 - p) log(1 - p),   p = sigmoid(logit)

    Source: Wu et al., 2020 (its negative is the budget that f_A lowers),
    https://arxiv.org/abs/1906.05675
    """
    # H is even in the logit. For a positive one neither term cancels the other or overflows.
    sure = logits.float().abs()
    return (F.softplus(-sure) + sure * torch.sigmoid(-sure)).mean()


def prior_entropy(prevalence: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """What there is to know of each attribute: its entropy in nats, 0 where all or none have it.

    Where the labels follow from the person, this is the attribute's mutual information with the
    raw clip: H(attribute | clip) is zero.
    """
    p = prevalence.float()
    return torch.special.entr(p) + torch.special.entr(1 - p)


def suppression(
    errors: Float[Tensor, " k"], information: Float[Tensor, " k"], bound: float
) -> Float[Tensor, " k"]:
    """What an attribute costs of which more than ``bound`` nats are left.

        v^2 + |v|,   v = min(error - information + bound, 0)

    information - error estimates what the adversary knows. An adversary that knows less than the
    bound costs nothing, so that f_A gains nothing by making it confidently wrong.

    Args:
        errors: (K,) cross-entropy of each attribute, nats; averaged over ranks here, before
            the hinge.
        information: (K,) nats that there are to know.
        bound: m in the paper, nats of each that may be left.

    Source: Chen et al., 2024, https://arxiv.org/abs/2405.14981
    """
    v = (ranks.mean(errors.float()) - information + bound).clamp(max=0)
    return v.square() + v.abs()


def preservation(error: Float[Tensor, ""], information: float, bound: float) -> Float[Tensor, ""]:
    """What it costs to leave less than ``bound`` nats of what has to stay readable.

        v^2 + |v|,   v = max(error - information + bound, 0)

    Args:
        error: cross-entropy of the target, nats; averaged over ranks here, before the hinge.
        information: nats that there are to know.
        bound: n in the paper, nats that have to be left; at ``information`` no error is free.

    Source: Chen et al., 2024, https://arxiv.org/abs/2405.14981
    """
    v = (ranks.mean(error.float()) - information + bound).clamp(min=0)
    return v.square() + v.abs()


def prior_divergence(
    logits: Float[Tensor, "b k"], prevalence: Float[Tensor, " k"]
) -> Float[Tensor, ""]:
    """How far an adversary's answers are from knowing nothing: KL(prior || answer), in nats.

    Zero when every answer is the attribute's prevalence. Unlike the negated cross-entropy it
    is bounded below, so that f_A cannot win by making the adversary confidently wrong, which
    leaks as much as being right: flipping its answers reads the attribute.

    Source: Roy and Boddeti, 2019 (maximum-entropy adversary), https://arxiv.org/abs/1904.05514
    """
    prior = prevalence.float().clamp(1e-4, 1 - 1e-4)
    entropy = -(prior * prior.log() + (1 - prior) * (1 - prior).log())
    cross = F.binary_cross_entropy_with_logits(
        logits.float(), prior.expand_as(logits), reduction="none"
    )
    return (cross - entropy).mean()


def feature_hinge(
    features: list[Tensor], reference: list[Tensor], bound: float
) -> Float[Tensor, ""]:
    """How far a frozen teacher's features move beyond an allowed relative distance.

        sum over layers of  mean over b of  max(0, ||phi(x) - phi(f_A(x))|| / ||phi(x)|| - bound)

    Args:
        features: per layer (B, ...), of the anonymized clips; the gradient flows through these.
        reference: the same for the raw clips, no gradient.
        bound: relative distance that is free.
    """
    total = features[0].new_zeros((), dtype=torch.float32)
    for moved, fixed in zip(features, reference, strict=True):
        distance = (moved.float() - fixed.float()).flatten(1).square().sum(1)
        scale = fixed.float().flatten(1).square().sum(1).clamp_min(1e-12)
        # As in rms_penalty: clamp, then root, finite where nothing moved.
        floor = max(bound**2, 1e-12)
        total = total + ((distance / scale).clamp_min(floor).sqrt() - bound).mean()
    return total


def cross_entropy(logits: Float[Tensor, "b a"], actions: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
    """Softmax cross-entropy of the target network, in nats; computed in float32."""
    return F.cross_entropy(logits.float(), actions)


def triplet(
    anchor: Float[Tensor, "n d"],
    same: Float[Tensor, "n d"],
    other: Float[Tensor, "n d"],
    margin: float = 1.0,
) -> Float[Tensor, ""]:
    """By how much an embedding is not nearer to its like than to another one.

        mean over n of  max(0, |a - s| - |a - o| + margin)

    Args:
        anchor, same, other: (N, D), row by row; they are put on the unit sphere here, so that
            distances are 0 to 2.
        margin: by how much nearer is near enough.

    Source: Fioresi et al., 2023, section 3.3, https://arxiv.org/abs/2308.11072
    """
    a, s, o = (F.normalize(x.float(), dim=1) for x in (anchor, same, other))
    return F.triplet_margin_loss(a, s, o, margin)  # its root is finite where a and s are one


def kept_error(kept: list[Float[Tensor, "b n"]], ratio: float) -> Float[Tensor, ""]:
    """How far the share of tokens that are kept is from what is wanted, stage by stage.

        mean over stages k = 1, 2, ... and items of  (mean over n of kept_k - ratio^k)^2

    Args:
        kept: for each stage, (B, N), 1 where a token is left after it.
        ratio: share of what a stage is given that it keeps.

    Source: Rao et al., 2021, DynamicViT, https://arxiv.org/abs/2106.02034
    """
    errors = [k.float().mean(1) - ratio**stage for stage, k in enumerate(kept, 1)]
    return torch.stack(errors).square().mean()


def tell_apart(real: Float[Tensor, " n"], fake: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """What a discriminator loses, in nats: cross-entropy on real and on drawn pictures, added.

    At chance (all logits 0) it is 2 log 2.

    Source: Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661
    """
    return F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()


def pass_for_real(fake: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """What a generator loses, in nats: the non-saturating loss, -log of what it is believed.

    Its slope does not die where a discriminator is sure, as that of log(1 - belief) does.

    Source: Goodfellow et al., 2014, section 3, https://arxiv.org/abs/1406.2661
    """
    return F.softplus(-fake.float()).mean()


def r1(real: Float[Tensor, " n"], pictures: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
    """How steep a discriminator is at real pictures: half the squared slope, mean over N.

        1/2 mean over n of  || d real_n / d pictures_n ||^2

    Differentiable, so that it can be made small.

    Args:
        real: logits of ``pictures``, which require a gradient.

    Source: Mescheder et al., 2018, Eq. 9, https://arxiv.org/abs/1801.04406
    """
    (slope,) = torch.autograd.grad(real.sum(), pictures, create_graph=True)
    return slope.float().square().flatten(1).sum(1).mean() / 2
