"""What is measured on a frozen anonymizer: pure functions from arrays to numbers.

Units, everywhere in this module: top-1, average precision, AUROC, cMAP, prevalence and
chance are in per cent, 0 to 100; utility U and leakage L are fractions of the raw video's,
usually 0 to 1; scores are any real numbers of which more means "more likely".

Weights say how often an item counts. A function takes none (every item once), one weight
per item, shape (N,), or one row of weights per bootstrap replicate, shape (R, N); with the
last it answers for all replicates at once, shape (R,).

What cannot be answered: a whole test split in which an attribute is never, or always,
present is refused (``BadInput``); a bootstrap replicate that happens to draw such a split
is nan, and :func:`interval` leaves it out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from velatura.errors import BadInput

__all__ = [
    "TradeOff",
    "above_by_chance",
    "action_floor",
    "ap_gain",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "best_reader",
    "bootstrap_weights",
    "chance_levels",
    "cmap",
    "f1",
    "holm",
    "information",
    "interval",
    "leakage",
    "mean_interval",
    "prevalence",
    "rung_of",
    "summarize_floor",
    "summarize_row",
    "top1",
    "trade_off",
    "utility",
    "within_action_auroc",
]

Array = npt.NDArray[Any]
Fits = Mapping[tuple[str, int], Array]
"""(name of the probe, its seed) to the scores that this fresh network gave on the test split."""

LEAST_ROOM = 1.0
"""Per cent that raw must lie above chance before U and L are given: below, they are noise."""

PRINTED = 0.5
"""The threshold on logits of the papers' code, which says p > 0.622: F1 "as printed"."""

REPLICATES_AT_ONCE = 64  # keeps the sorted weights of about a thousand items in the cache


# One number ---------------------------------------------------------------------------------


def top1(scores: Array, actions: Array, weights: Array | None = None) -> Any:
    """The share of clips whose action has the highest score, in per cent.

    Classes that tie for the highest score share the point, so constant scores give exactly
    chance, 100 / A, whichever class stands first.

    Args:
        scores: (N, A), logits or probabilities.
        actions: (N,), the true class, 0 to A - 1.
        weights: None, (N,) or (R, N).

    Returns:
        A float; (R,) for weights of shape (R, N).
    """
    scores, actions = _matrix(scores, "scores"), np.asarray(actions)
    if actions.shape != scores.shape[:1]:
        raise BadInput(f"top1: {len(scores)} rows of scores but actions {actions.shape}.")
    if actions.min() < 0 or actions.max() >= scores.shape[1]:
        raise BadInput(
            f"top1: actions run from {actions.min()} to {actions.max()}, but the scores have "
            f"{scores.shape[1]} columns; they must be 0 to {scores.shape[1] - 1}."
        )
    highest = scores == scores.max(axis=1, keepdims=True)
    credit = highest[np.arange(len(scores)), actions] / highest.sum(axis=1)
    if weights is None:
        return float(100 * credit.mean())
    weights = _weights(weights, len(scores))
    total = weights.sum(axis=-1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return _scalar(100 * (weights @ credit) / total)


def average_precision(scores: Array, labels: Array, weights: Array | None = None) -> Any:
    """The area under the precision-recall curve as a step function, in per cent.

        sum over thresholds k, falling, of  (recall_k - recall_{k-1}) * precision_k

    Items of equal score pass the threshold together, so constant scores give exactly the
    prevalence. The same as ``sklearn.metrics.average_precision_score``, times 100.

    Args:
        scores: (N,), higher means "more likely present".
        labels: (N,), 0 or 1.
        weights: None, (N,) or (R, N).

    Returns:
        A float in (0, 100]; (R,) for weights of shape (R, N), nan where a replicate has
        no positive or no negative.
    """
    return _ranked(scores, labels, weights, _step_area)


def auroc(scores: Array, labels: Array, weights: Array | None = None) -> Any:
    """The chance that a positive scores above a negative, ties counting half, in per cent.

    Arguments, shapes and the nan rule as in :func:`average_precision`; 50 is chance. The
    same as ``sklearn.metrics.roc_auc_score``, times 100.
    """
    return _ranked(scores, labels, weights, _trapezoid_area)


def prevalence(labels: Array, weights: Array | None = None) -> Any:
    """How often each attribute is present, in per cent.

    Args:
        labels: (N, K), 0 or 1.
        weights: None, (N,) or (R, N).

    Returns:
        (K,); (R, K) for weights of shape (R, N). It is the average precision of a
        predictor without information.
    """
    labels = _matrix(labels, "labels")
    if weights is None:
        return 100 * labels.mean(axis=0)
    weights = _weights(weights, len(labels))
    total = weights.sum(axis=-1, dtype=np.float64)[..., None]
    with np.errstate(invalid="ignore"):
        return 100 * (weights @ labels.astype(np.float64)) / total


def cmap(scores: Array, labels: Array, weights: Array | None = None) -> Any:
    """Class-wise mean average precision: the mean of AP over the attributes, in per cent.

    Its chance level is not 0 but the mean prevalence (:func:`prevalence`).

    Args:
        scores: (N, K), one column per attribute.
        labels: (N, K), 0 or 1.
        weights: None, (N,) or (R, N).

    Returns:
        A float in (0, 100]; (R,) for weights of shape (R, N), nan where a replicate leaves
        any attribute without positives or negatives.
    """
    scores, labels = _matrix(scores, "scores"), _matrix(labels, "labels")
    if scores.shape != labels.shape:
        raise BadInput(f"cmap: scores are {scores.shape} and labels {labels.shape}; equal needed.")
    columns = range(labels.shape[1])
    per_attribute = [average_precision(scores[:, k], labels[:, k], weights) for k in columns]
    return _scalar(np.mean(per_attribute, axis=0))


# What one attacker knows of one attribute ----------------------------------------------------


def ap_gain(ap: Any, prevalence: Any) -> Any:
    """Average precision above what knowing the prevalence gives, as a share of what is left.

        (AP - prevalence) / (100 - prevalence)

    Args:
        ap, prevalence: in per cent; numbers, or arrays that broadcast.

    Returns:
        A fraction: 0 without information, 1 when every positive stands above every negative.
        AP of attributes of different prevalence cannot be compared or averaged; this can.
    """
    ap, prevalence = np.asarray(ap, np.float64), np.asarray(prevalence, np.float64)
    return _scalar((ap - prevalence) / (100 - prevalence))


def balanced_accuracy(
    scores: Array, labels: Array, threshold: float = 0.0, weights: Array | None = None
) -> Any:
    """The mean of the shares of positives and of negatives that are told rightly, in per cent.

    Args:
        scores: (N,) logits; above ``threshold`` says present. 0 is p > 0.5.
        labels: (N,), 0 or 1.
        weights: None, (N,) or (R, N).

    Returns:
        A float, (R,) for weights of shape (R, N), nan where a replicate lacks a class. 50 is
        chance, whatever the prevalence.
    """
    said, true, weights = _told(scores, labels, threshold, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        positive = (weights @ (said & true)) / (weights @ true)
        negative = (weights @ (~said & ~true)) / (weights @ ~true)
    return _scalar(50 * (positive + negative))


def f1(scores: Array, labels: Array, threshold: float = 0.0, weights: Array | None = None) -> Any:
    """F1 of "present" at a threshold on logits, 0 to 1; never a headline.

    It depends on the prevalence and on where a network happens to put its threshold: on VP-HMDB51
    a constant "yes" has .688, above published figures of anonymized video.

    Args:
        threshold: 0 is p > 0.5. The papers' code compares logits with 0.5, which is p > 0.622.

    Returns:
        A float; (R,) for weights of shape (R, N). 0 where nothing is said and nothing is there.
    """
    said, true, weights = _told(scores, labels, threshold, weights)
    both = 2 * (weights @ (said & true))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = both / (weights @ said + weights @ true)
    return _scalar(np.where(both > 0, value, 0.0))


def information(scores: Array, labels: Array, weights: Array | None = None) -> Any:
    """How many bits of an attribute these predictions carry: V-information.

        I_V = H(Y) - mean of -log2 p(y)

    with H the entropy of the prevalence. It is what this network extracts with what it has
    learnt, and so a lower bound of what is there: little of it never proves safety, and below 0
    the network is surer than it is right.

    Args:
        scores: (N,) logits of "present", calibrated as they are.
        labels: (N,), 0 or 1.

    Returns:
        Bits per item, at most H(Y) and so at most 1; (R,) for weights of shape (R, N).

    Source: Xu et al., 2020, https://arxiv.org/abs/2002.10689
    """
    _, true, weights = _told(scores, labels, 0.0, weights)
    logits = np.asarray(scores, np.float64)
    cost = np.logaddexp(0, np.where(true, -logits, logits)) / np.log(2)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weights.sum(-1)
        share = (weights @ true) / total
        parts = [np.where(p > 0, -p * np.log2(p), 0.0) for p in (share, 1 - share)]
        value = parts[0] + parts[1] - (weights @ cost) / total
    return _scalar(np.where((share > 0) & (share < 1), value, np.nan))


def within_action_auroc(
    scores: Array, labels: Array, actions: Array, weights: Array | None = None
) -> Any:
    """The chance that a positive scores above a negative *of the same action*, in per cent.

    What the action tells is the same for both, so this is what an attacker knows beyond it: 50 for
    a table of P(attribute | action), however well that predicts.

    Args:
        scores: (N,); labels: (N,), 0 or 1; actions: (N,).
        weights: None, (N,) or (R, N).

    Returns:
        A float, ties counting half; (R,) for weights of shape (R, N). nan where no action has
        both a positive and a negative.
    """
    scores, actions = np.asarray(scores), np.asarray(actions)
    _, true, weights = _told(scores, labels, 0.0, weights)
    rows = np.atleast_2d(weights)
    above, pairs = np.zeros(len(rows)), np.zeros(len(rows))
    for action in np.unique(actions):
        of = actions == action
        positives, negatives = np.flatnonzero(of & true), np.flatnonzero(of & ~true)
        if not len(positives) or not len(negatives):
            continue
        order = np.sign(scores[positives][:, None] - scores[negatives][None]) / 2 + 0.5
        mine, others = rows[:, positives], rows[:, negatives]
        above += np.einsum("rp,pn,rn->r", mine, order, others, optimize=True)
        pairs += mine.sum(1) * others.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = 100 * above / pairs
    return value if np.ndim(weights) == 2 else float(value[0])


def _told(
    scores: Array, labels: Array, threshold: float, weights: Array | None
) -> tuple[Array, Array, Array]:
    """(N,) bool what is said, (N,) bool what is true, weights as floats."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape or not len(scores):
        raise BadInput(f"Scores {scores.shape} and labels {labels.shape} must both be (N,).")
    if not np.isfinite(scores).all():
        raise BadInput(f"{(~np.isfinite(scores)).sum()} of {len(scores)} scores are not finite.")
    if not np.isin(labels, (0, 1)).all():
        raise BadInput("Labels must be 0 or 1.")
    weights = np.ones(len(scores)) if weights is None else _weights(weights, len(scores))
    return scores > threshold, labels.astype(bool), weights.astype(np.float64)


# The trade-off ------------------------------------------------------------------------------


def utility(top1: Any, top1_raw: Any, chance: Any) -> Any:
    """How much of the raw video's action recognition is left.

        U = (top1 - chance) / (top1_raw - chance)

    1 on raw video, 0 at chance; above 1 if the anonymized video is easier than raw.

    Args:
        top1, top1_raw: in per cent; numbers, or arrays that broadcast.
        chance: 100 / number of actions.

    Returns:
        A fraction; nan where the raw video itself is not a point above chance.

    Source: the normalisation of utility and leakage against chance and raw is the one of
    ``docs/reading-the-report.md``; top-1 on a network retrained on the anonymized video
    follows Dave et al., SPAct, CVPR 2022, https://arxiv.org/abs/2203.15205.
    """
    return _above_chance(top1, top1_raw, chance)


def leakage(cmap: Any, cmap_raw: Any, chance: Any) -> Any:
    """How much of what an attacker reads from raw video is still there to read.

        L = (cMAP - chance) / (cMAP_raw - chance)

    1 on raw video, 0 when the attacker knows no more than the prevalence. Any L is measured
    with the attackers at hand, so it is a lower bound: a better one may read more.

    Args:
        cmap, cmap_raw: in per cent; numbers, or arrays that broadcast.
        chance: the mean prevalence of the test split (in a bootstrap replicate: of the
            replicate), which is the cMAP of a predictor without information.

    Returns:
        A fraction, slightly negative at times by chance; nan where the attacker of the raw
        video is not a point above chance.

    Source: as for :func:`utility`; cMAP of an attacker retrained on the anonymized video
    follows Wu et al., 2020, https://arxiv.org/abs/1906.05675, and SPAct.
    """
    return _above_chance(cmap, cmap_raw, chance)


def action_floor(
    actions_train: Array, attributes_train: Array, actions_test: Array, smoothing: float = 1.0
) -> Array:
    """What the action alone tells about each attribute: the floor A1 under any attacker.

        P(attribute | action) = (seen together + smoothing) / (action seen + 2 smoothing)

    counted on the training clips, looked up for the true action of each test clip. A method
    that keeps the action readable cannot hide what the action itself reveals, so leakage
    below the cMAP of these scores means that the attackers were weak.

    Args:
        actions_train: (M,) non-negative integers.
        attributes_train: (M, K), 0 or 1.
        actions_test: (N,); an action that training never showed gets 1/2.
        smoothing: Laplace's pseudo-count, above 0.

    Returns:
        (N, K) probabilities, in (0, 1).
    """
    labels = _matrix(attributes_train, "attributes_train").astype(np.float64)
    actions_train, actions_test = np.asarray(actions_train), np.asarray(actions_test)
    if actions_train.shape != labels.shape[:1]:
        raise BadInput(f"action_floor: {len(labels)} clips but actions {actions_train.shape}.")
    if smoothing <= 0:
        raise BadInput(f"action_floor: smoothing must be above 0, got {smoothing}.")
    size = int(max(actions_train.max(), actions_test.max())) + 1
    together = np.zeros((size, labels.shape[1]))
    np.add.at(together, actions_train, labels)
    seen = np.bincount(actions_train, minlength=size)[:, None]
    table: Array = (together + smoothing) / (seen + 2 * smoothing)
    return table[actions_test]


# Uncertainty --------------------------------------------------------------------------------


def bootstrap_weights(groups: Array, replicates: int = 1000, seed: int = 0) -> Array:
    """Item weights for resampling whole groups with replacement.

    The unit is the person, or the source film: clips of one person resemble each other, and
    frames of one clip even more, so resampling those would print intervals far too narrow.

    Args:
        groups: (N,), equal where two items belong to the same person or film.
        replicates: R, how many resamplings.
        seed: equal seeds give equal weights. Use one array for all rows of a table: their
            differences are then paired, on the same people.

    Returns:
        (R, N) float32, how often each item is drawn: 0, 1, 2, ... One row's groups sum to
        the number of groups.
    """
    groups = np.asarray(groups)
    if groups.ndim != 1 or not len(groups):
        raise BadInput(f"bootstrap_weights: groups must be (N,) with N > 0, got {groups.shape}.")
    if replicates < 1:
        raise BadInput(f"bootstrap_weights: replicates must be at least 1, got {replicates}.")
    unique, which = np.unique(groups, return_inverse=True)
    share = np.full(len(unique), 1 / len(unique))
    drawn = np.random.default_rng(seed).multinomial(len(unique), share, size=replicates)
    return drawn.astype(np.float32)[:, which]


def interval(values: Array, level: float = 0.95, point: float | None = None) -> tuple[float, float]:
    """The central interval of bootstrap replicates, by percentiles.

    Average precision is biased upwards in small samples, and a resample is smaller still (it
    repeats people): near chance and with 250 people its replicates lie about .4 too high.
    With ``point``, the number measured on the whole split, that shift is taken out.

    Args:
        values: (R,); nan stands for a replicate that could not be computed and is left out.
        level: such as .95, the share of the replicates inside.
        point: moves the replicates so that their mean lies here; None leaves them.

    Returns:
        (low, high), in the unit of ``values``; (nan, nan) where more than half are nan.
    """
    if not 0 < level < 1:
        raise BadInput(f"interval: level must be between 0 and 1, got {level}.")
    values = np.asarray(values, dtype=np.float64)
    good = values[np.isfinite(values)]
    if 2 * len(good) < len(values) or not len(good):
        return float("nan"), float("nan")
    shift = 0.0 if point is None else point - good.mean()
    low, high = np.quantile(good, [(1 - level) / 2, (1 + level) / 2]) + shift
    return float(low), float(high)


def above_by_chance(replicates: Array, points: Array) -> float:
    """One-sided bootstrap p-value of the largest of several differences: how likely one so large is
    if there is none.

        p = (1 + number of replicates with  max_f (d_rf - mean_r d_rf) >= max_f d_f) / (1 + R)

    with d_f the difference that attacker f was measured at, and d_rf those of the replicates, whose
    spread about their mean is that of d_f about the truth. The maximum stands on both sides, since
    whoever tries many attackers finds one that is above by luck. Where the largest is none, p is 1.

    Args:
        replicates: (F, R) differences; replicates with nan are left out.
        points: (F,) differences on the whole split.

    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.4; the
    maximum after Westfall and Young, Resampling-Based Multiple Testing, 1993, section 2.3.
    """
    luck, largest = _luck(replicates), float(np.max(points))
    luck = luck[np.isfinite(luck)]
    if largest <= 0 or not len(luck):
        return 1.0
    return float((1 + (luck >= largest).sum()) / (1 + len(luck)))


def _luck(replicates: Array) -> Array:
    """(F, R) to (R,): how far the luckiest of F stands above its own mean; nan where any is."""
    with np.errstate(invalid="ignore"):
        means = np.nanmean(replicates, axis=1, keepdims=True)
        luck: Array = (replicates - means).max(axis=0)
    return luck


def _each_ap(scores: Array, attributes: Array, weights: Array) -> tuple[Array, Array]:
    """AP of each attribute: (K,), and (K, R) of the replicates."""
    columns = range(attributes.shape[1])
    points = [average_precision(scores[:, k], attributes[:, k]) for k in columns]
    drawn = [average_precision(scores[:, k], attributes[:, k], weights) for k in columns]
    return np.array(points), np.stack(drawn)


def holm(p_values: ArrayLike) -> list[float]:
    """p-values of several questions, corrected: any false alarm is as rare as with one question.

        the k-th smallest of m becomes  max over j <= k of  min(1, (m - j + 1) p_(j))

    Args:
        p_values: each in [0, 1].

    Returns:
        Corrected ones, in the order given; compare each with the level, such as .05.

    Source: Holm, 1979, https://www.jstor.org/stable/4615733
    """
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or not len(p) or not ((p >= 0) & (p <= 1)).all():
        raise BadInput(f"holm: expected p-values in [0, 1], got {p.tolist()}.")
    order = np.argsort(p, kind="stable")
    scaled = np.minimum(1, p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(scaled)
    return [float(value) for value in corrected]


class TradeOff(NamedTuple):
    """One anonymizer against the raw video, on the same test items and the same resamplings.

    Numbers in per cent, U and L as fractions; every interval is (low, high) at 95 %.
    """

    top1: float
    top1_interval: tuple[float, float]
    cmap: float
    cmap_interval: tuple[float, float]
    U: float
    U_interval: tuple[float, float]
    L: float
    L_interval: tuple[float, float]


def trade_off(
    target_scores: Sequence[Array],
    attacker_scores: Array,
    raw_target_scores: Sequence[Array],
    raw_attacker_scores: Array,
    actions: Array,
    attributes: Array,
    weights: Array,
    attribute_weights: Array | None = None,
) -> TradeOff:
    """Utility and leakage of one anonymizer with paired intervals.

    In each bootstrap replicate the anonymized row, the raw row and the chance of cMAP are
    recomputed on the same resampled people, and U and L from those: what is hard about a
    resample is hard for both rows and cancels. The intervals tell how far the numbers would
    move with other test people, not with other training seeds.

    Args:
        target_scores: one (N, A) per fit of the target; top-1 is the mean over the fits.
        attacker_scores: (N, K), the one attacker that is reported.
        raw_target_scores, raw_attacker_scores: the same of the raw video.
        actions: (N,), 0 to A - 1.
        attributes: (N, K), 0 or 1.
        weights: (R, N), from :func:`bootstrap_weights`.
        attribute_weights: (R, M), where attributes are those of M other items, such as images.
    """
    fits, raw_fits = (
        [np.asarray(s) for s in target_scores],
        [np.asarray(s) for s in raw_target_scores],
    )
    if not fits or not raw_fits:
        raise BadInput(
            "trade_off: at least one fit of the target is needed, for the row and for raw."
        )
    chance_top1 = 100 / fits[0].shape[1]

    def measure(w: Array | None, v: Array | None) -> tuple[Any, Any, Any, Any]:
        accuracy = np.mean([top1(s, actions, w) for s in fits], axis=0)
        read = cmap(attacker_scores, attributes, v)
        raw = np.mean([top1(s, actions, w) for s in raw_fits], axis=0)
        raw_read = cmap(raw_attacker_scores, attributes, v)
        chance_cmap = prevalence(attributes, v).mean(axis=-1)
        return (
            accuracy,
            read,
            utility(accuracy, raw, chance_top1),
            leakage(read, raw_read, chance_cmap),
        )

    points = [float(x) for x in measure(None, None)]
    replicates = measure(weights, weights if attribute_weights is None else attribute_weights)
    spans = [interval(r, point=p) for r, p in zip(replicates, points, strict=True)]
    for i in (0, 1):  # per cent stays per cent
        spans[i] = (max(spans[i][0], 0.0), min(spans[i][1], 100.0))
    return TradeOff(
        points[0], spans[0], points[1], spans[1], points[2], spans[2], points[3], spans[3]
    )


# Over seeds ---------------------------------------------------------------------------------


def mean_interval(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """The mean of independent values, and Student's 95 % interval for it; None for one value."""
    middle = mean(values)
    if len(values) < 2:
        return middle, None
    half = student(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return middle, (middle - half, middle + half)


def student(degrees: int) -> float:
    """The point that Student's t stays within with probability .95, either side of 0.

    By bisection on the closed form for whole degrees of freedom: Abramowitz and Stegun,
    Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """

    def within(t: float) -> float:
        angle = math.atan(t / math.sqrt(degrees))
        cosine, odd = math.cos(angle), degrees % 2
        term, total = (cosine if odd else 1.0), 0.0
        for k in range(1, degrees, 2) if odd else range(0, degrees, 2):
            total += term
            term *= cosine**2 * (k + 1) / (k + 2)
        share = math.sin(angle) * total
        return 2 / math.pi * (angle + share) if odd else share

    low, high = 0.0, 1e3
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < 0.95 else (low, middle)
    return high


# Rows of the table --------------------------------------------------------------------------

RUNGS = ("A2", "A3", "A4", "A5")
"""Of the threat ladder, what is an attacker: trained on raw video and not adapted; fresh, from
random weights, on the release; the diverse set, on the release; trained on raw video, after an
attempt to undo the anonymizer. A0 is chance and A1 the action alone; they tell nothing of a row."""


def rung_of(probe: str) -> str:
    """The rung of an attacker by its label: "A5 frame_cnn" stands on A5, "frame_cnn" on A4."""
    head = probe.partition(" ")[0]
    return head if head in RUNGS else "A4"


def chance_levels(attributes: Array, n_actions: int) -> dict[str, float]:
    """What a predictor without information reaches on the test split, in per cent.

    Args:
        attributes: (N, K) of the test split.
        n_actions: A.
    """
    return {"top1": 100 / n_actions, "cmap": float(prevalence(attributes).mean())}


def summarize_floor(
    actions_train: Array,
    attributes_train: Array,
    actions_test: Array,
    attributes_test: Array,
    raw_attacker_scores: Fits,
    attribute_names: Sequence[str],
) -> dict[str, Any]:
    """The action-only floor (:func:`action_floor`), rung A1, as ``summary.json`` holds it."""
    scores = action_floor(actions_train, attributes_train, actions_test)
    value = cmap(scores, attributes_test)
    raw = max(cmap(s, attributes_test) for s in raw_attacker_scores.values())
    chance = float(prevalence(attributes_test).mean())
    return {
        "cmap": value,
        "L": _number(leakage(value, raw, chance)),
        "attributes": _by_attribute(scores, attributes_test, attribute_names),
    }


def _by_attribute(
    scores: Array, attributes: Array, names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """AP and AUROC of each column."""
    return {
        name: {
            "ap": average_precision(scores[:, k], attributes[:, k]),
            "auroc": auroc(scores[:, k], attributes[:, k]),
        }
        for k, name in enumerate(names)
    }


def summarize_row(
    name: str,
    method: str,
    *,
    target_scores: Fits,
    attacker_scores: Fits,
    raw_target_scores: Fits,
    raw_attacker_scores: Fits,
    actions: Array,
    attributes: Array,
    groups: Array,
    attribute_names: Sequence[str],
    used_in_training: Collection[str] = (),
    replicates: int = 1000,
    seed: int = 0,
    weights: Array | None = None,
    attribute_weights: Array | None = None,
    plugin_top1: float | None = None,
    rms: float | None = None,
    beyond_bound: float | None = None,
    bound: float | None = None,
    static_cmap: float | None = None,
    floor_scores: Array | None = None,
    predicted_floor_scores: Array | None = None,
) -> dict[str, Any]:
    """One row of ``summary.json``: everything the table and the figures say about a method.

    Targets: top-1 and U are the mean over the fits of one architecture, the one that reads most of
    raw video; so no row chooses who judges it. ``target`` names it, ``top1_seeds`` has all fits.

    Attackers: the headline cMAP is that of the strongest single fit, the highest test cMAP
    over all rungs, architectures and seeds, for this row and for raw alike. That choice is made on
    the test split, against the method: the worst case, as a defender must assume. Per
    attribute the strongest fit *for that attribute* is named, so the mean of the per-attribute
    APs may lie above the headline cMAP, which is one network; balanced accuracy and bits are the
    most that any fit has of the attribute. Every attacker's own L is
    normalised by the strongest raw attacker, so the largest of them is the headline L.

    Args:
        name: the row's label, such as ``"penalty_0.1"``.
        method: the plug-in, such as ``"penalty"``.
        target_scores: (probe, seed) to (N, A); fresh targets on the anonymized test split.
        attacker_scores: (probe, seed) to (N, K); attackers on the same. :func:`rung_of` says on
            which rung of the ladder a probe stands.
        raw_target_scores, raw_attacker_scores: the same of the raw video.
        actions: (N,), 0 to A - 1.
        attributes: (N, K), 0 or 1.
        groups: (N,), the person or source film, the unit of the bootstrap.
        attribute_names: K names.
        used_in_training: the attacker architectures that the method's own training also used.
        replicates, seed: of the bootstrap; keep both equal for all rows of a table.
        weights: (R, N), to share one :func:`bootstrap_weights` between rows; replaces both.
        attribute_weights: (R, M), where ``attributes`` and attackers' scores are of M other items.
        plugin_top1: top-1 of the target trained on raw video and not retrained, in per cent.
        rms: mean RMS change of a clip, intensities in [0, 1].
        beyond_bound: share of the test clips whose RMS lies beyond ``bound``, 0 to 1.
        bound: B of the penalty, intensities in [0, 1].
        static_cmap: cMAP of the attacker trained on raw video and not retrained, in per cent.
        floor_scores: (N, K) of the action alone, rung A1; None where items have no action.
        predicted_floor_scores: the same with the action that a fresh target reads from this
            release, rung A1p: what an attacker has who sees that target's answers alone.

    Returns:
        Plain values that JSON can hold; None where a number has no meaning, such as U and L
        when the raw networks themselves are not above chance.
    """
    if not target_scores or not attacker_scores or not raw_target_scores or not raw_attacker_scores:
        raise BadInput(f"Row {name}: scores of at least one target and one attacker are needed.")
    attributes = _matrix(attributes, "attributes")
    if len(attribute_names) != attributes.shape[1]:
        raise BadInput(
            f"Row {name}: {len(attribute_names)} attribute names for {attributes.shape[1]} columns."
        )
    present = attributes.sum(axis=0)
    for attribute, count in zip(attribute_names, present, strict=True):
        if not 0 < count < len(attributes):
            raise BadInput(
                f"Attribute {attribute}: {count} of {len(attributes)} test clips have it, so "
                "nothing can be measured. Leave it out, or use a larger test split."
            )
    if weights is None:
        weights = bootstrap_weights(groups, replicates, seed)
    read_weights = weights if attribute_weights is None else attribute_weights

    read = {fit: cmap(s, attributes) for fit, s in sorted(attacker_scores.items())}
    raw_read = {fit: cmap(s, attributes) for fit, s in sorted(raw_attacker_scores.items())}
    strongest, strongest_raw = (
        max(read, key=read.__getitem__),
        max(raw_read, key=raw_read.__getitem__),
    )
    shared = {network for network, _ in target_scores} & {
        network for network, _ in raw_target_scores
    }
    if not shared:
        raise BadInput(f"Row {name}: no kind of target has seen both it and raw video.")
    counted = best_reader(raw_target_scores, shared, actions)
    targets, raw_targets = (
        [s for (network, _), s in sorted(scores.items()) if network == counted]
        for scores in (target_scores, raw_target_scores)
    )
    result = trade_off(
        targets,
        attacker_scores[strongest],
        raw_targets,
        raw_attacker_scores[strongest_raw],
        actions,
        attributes,
        weights,
        read_weights,
    )

    chance = float(prevalence(attributes).mean())
    attackers: dict[str, dict[str, Any]] = {}
    for (probe, fit_seed), value in read.items():
        used = probe.rpartition(" ")[2] in used_in_training
        entry = attackers.setdefault(
            probe,
            {
                "cmap": [],
                "L": [],
                "f1": [],
                "f1_printed": [],
                "seeds": [],
                "used_in_training": used,
            },
        )
        entry["cmap"].append(value)
        entry["L"].append(_number(leakage(value, raw_read[strongest_raw], chance)))
        entry["f1"].append(_mean_f1(attacker_scores[probe, fit_seed], attributes, 0.0))
        entry["f1_printed"].append(_mean_f1(attacker_scores[probe, fit_seed], attributes, PRINTED))
        entry["seeds"].append(fit_seed)

    per_attribute: dict[str, dict[str, Any]] = {}
    # Whoever ranks best may be sure of what is wrong. Bits are what the best of a family extracts,
    # to which the prevalence alone belongs, so that none is the least.
    everybody = list(attacker_scores.values())
    for k, attribute in enumerate(attribute_names):
        labels = attributes[:, k]
        found = {fit: average_precision(attacker_scores[fit][:, k], labels) for fit in read}
        fit = max(found, key=found.__getitem__)
        scores = attacker_scores[fit][:, k]
        replicates_of_ap = average_precision(scores, labels, read_weights)
        low, high = interval(replicates_of_ap, point=found[fit])
        share = float(100 * labels.mean())
        per_attribute[attribute] = {
            "ap": found[fit],
            "ap_interval": [_number(low), _number(min(high, 100.0))],
            "auroc": auroc(scores, labels),
            "prevalence": share,
            "attacker": _label(fit),
            "ap_gain": ap_gain(found[fit], share),
            "balanced_accuracy": max(balanced_accuracy(s[:, k], labels) for s in everybody),
            "information": _number(max(0.0, *(information(s[:, k], labels) for s in everybody))),
            "f1": f1(scores, labels),
            "f1_printed": f1(scores, labels, PRINTED),
        }
        if floor_scores is not None:
            within = within_action_auroc(scores, labels, actions)
            per_attribute[attribute]["within_action_auroc"] = _number(within)

    best = attacker_scores[strongest]
    headline: dict[str, Any] = {"rung": rung_of(strongest[0]), "by": _label(strongest)}
    if floor_scores is not None:
        # All attackers at once: the one that counts was chosen on these very items.
        read_of = [_each_ap(attacker_scores[f], attributes, read_weights) for f in read]
        floor_ap, floor_spread = _each_ap(floor_scores, attributes, read_weights)
        gaps = np.stack([points for points, _ in read_of]) - floor_ap  # (F, K)
        spread = np.stack([drawn for _, drawn in read_of]) - floor_spread  # (F, K, R)
        p = [above_by_chance(spread[:, k], gaps[:, k]) for k in range(gaps.shape[1])]
        for entry, one, corrected in zip(per_attribute.values(), p, holm(p), strict=True):
            entry |= {"p": one, "p_holm": corrected}
        excess, chosen = gaps.mean(1).max(), int(gaps.mean(1).argmax())
        # Downwards as far as the luckiest of all attackers may have been lucky; upwards as far as
        # the chosen one may have been unlucky.
        luck, own = _luck(spread.mean(1)), _luck(spread[chosen : chosen + 1].mean(1))
        high = np.quantile(luck[np.isfinite(luck)], 0.975)
        low = np.quantile(own[np.isfinite(own)], 0.025)
        headline["excess"] = float(excess)
        headline["excess_interval"] = _span((excess - high, excess - low))

    def rung(which: str, scores: Array, by: str) -> dict[str, Any]:
        """One rung: what its strongest fit reads, with paired intervals."""
        raw = raw_attacker_scores[strongest_raw]
        value, replicates_ = cmap(scores, attributes), cmap(scores, attributes, read_weights)
        share = prevalence(attributes, read_weights).mean(axis=-1)
        point = leakage(value, raw_read[strongest_raw], chance)
        spread = leakage(replicates_, cmap(raw, attributes, read_weights), share)
        return {
            "rung": which,
            "cmap": value,
            "cmap_interval": _span(interval(replicates_, point=value), 0.0, 100.0),
            "L": _number(point),
            "L_interval": _span(interval(spread, point=point)),
            "by": by,
            "f1_printed": _mean_f1(scores, attributes, PRINTED),
            "attributes": _by_attribute(scores, attributes, attribute_names),
        }

    rungs = []
    if predicted_floor_scores is not None:
        rungs.append(rung("A1p", predicted_floor_scores, "the action as read from the release"))
    for step in RUNGS:
        mine = {fit: value for fit, value in read.items() if rung_of(fit[0]) == step}
        if mine:
            fit = max(mine, key=mine.__getitem__)
            rungs.append(rung(step, attacker_scores[fit], _label(fit)))

    by_target: dict[str, dict[str, list[float | None]]] = {}
    for (network, _), scores in sorted(target_scores.items()):
        values = by_target.setdefault(network, {"top1": [], "U": []})
        value = top1(scores, actions)
        raw_fits = [top1(s, actions) for (n, _), s in raw_target_scores.items() if n == network]
        values["top1"].append(value)
        room = utility(value, np.mean(raw_fits), 100 / scores.shape[1]) if raw_fits else None
        values["U"].append(_number(room))

    return {
        "name": name,
        "method": method,
        "top1": result.top1,
        "top1_interval": [_number(x) for x in result.top1_interval],
        "top1_seeds": [top1(s, actions) for _, s in sorted(target_scores.items())],
        "target": counted,
        "cmap": result.cmap,
        "cmap_interval": [_number(x) for x in result.cmap_interval],
        "U": _number(result.U),
        "U_interval": [_number(x) for x in result.U_interval],
        "L": _number(result.L),
        "L_interval": [_number(x) for x in result.L_interval],
        "strongest": _label(strongest),
        "attackers": attackers,
        "attributes": per_attribute,
        "plugin_top1": _number(plugin_top1),
        "rms": _number(rms),
        "beyond_bound": _number(beyond_bound),
        "bound": _number(bound),
        "static_cmap": _number(static_cmap),
        "headline": headline,
        "rungs": rungs,
        "f1": _mean_f1(best, attributes, 0.0),
        "f1_printed": _mean_f1(best, attributes, PRINTED),
        "targets": by_target,
        **(
            {}
            if floor_scores is None
            else {"groups": _group_top1(targets, actions, attributes, attribute_names)}
        ),
    }


def best_reader(raw: Fits, networks: Collection[str], actions: Array) -> str:
    """Of some architectures the one whose fits read most of raw video, in the mean."""

    def read(network: str) -> float:
        return mean(top1(scores, actions) for (name, _), scores in raw.items() if name == network)

    return max(sorted(networks), key=read)


def _mean_f1(scores: Array, attributes: Array, threshold: float) -> float:
    """F1 of each attribute, mean over attributes, as the papers print it."""
    columns = range(attributes.shape[1])
    return float(np.mean([f1(scores[:, k], attributes[:, k], threshold) for k in columns]))


def _group_top1(
    targets: Sequence[Array], actions: Array, attributes: Array, names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Top-1 of the items that have an attribute and of those that have not, mean over fits."""
    groups = {}
    for k, name in enumerate(names):
        parts = {"present": attributes[:, k] == 1, "absent": attributes[:, k] == 0}
        groups[name] = {
            part: float(np.mean([top1(s[of], actions[of]) for s in targets]))
            for part, of in parts.items()
        }
    return groups


# Inside -------------------------------------------------------------------------------------


def _above_chance(value: Any, raw: Any, chance: Any) -> Any:
    """(value - chance) / (raw - chance), nan where raw is not LEAST_ROOM above chance."""
    value, raw, chance = (np.asarray(x, dtype=np.float64) for x in (value, raw, chance))
    room = np.where(raw - chance >= LEAST_ROOM, raw - chance, np.nan)
    return _scalar((value - chance) / room)


def _ranked(scores: Array, labels: Array, weights: Array | None, area: Any) -> Any:
    """Sort once, then walk down the ranking for every row of weights."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise BadInput(f"Scores {scores.shape} and labels {labels.shape} must both be (N,).")
    if not np.isfinite(scores).all():
        raise BadInput(f"{(~np.isfinite(scores)).sum()} of {len(scores)} scores are not finite.")
    if not np.isin(labels, (0, 1)).all():
        raise BadInput("Labels must be 0 or 1.")
    if not 0 < labels.sum() < len(labels):
        lack = "without it" if labels.all() else "with it"
        raise BadInput(
            f"The attribute cannot be measured: none of the {len(labels)} items is {lack}. "
            "Leave it out, or use a larger test split."
        )
    order = np.argsort(-scores, kind="stable")
    falls = scores[order]
    ends = np.flatnonzero(np.append(falls[1:] != falls[:-1], True))  # last item of each tie
    positive = labels[order].astype(bool)
    if weights is None:
        weights = np.ones(len(scores))
    weights = _weights(weights, len(scores))
    rows = np.atleast_2d(weights)
    answers = np.empty(len(rows))
    for start in range(0, len(rows), REPLICATES_AT_ONCE):
        block = rows[start : start + REPLICATES_AT_ONCE][:, order].astype(np.float64)
        passed = block.cumsum(axis=1)[:, ends]
        hits = (block * positive).cumsum(axis=1)[:, ends]
        with np.errstate(invalid="ignore", divide="ignore"):
            answers[start : start + REPLICATES_AT_ONCE] = area(hits, passed)
        one_class = (hits[:, -1] <= 0) | (hits[:, -1] >= passed[:, -1])
        answers[start : start + REPLICATES_AT_ONCE][one_class] = np.nan
    if weights.ndim == 1:
        if np.isnan(answers[0]):
            raise BadInput("The weights leave no positive, or no negative, item.")
        return float(100 * answers[0])
    return 100 * answers


def _step_area(hits: Array, passed: Array) -> Array:
    """(R, thresholds) weighted true positives, and all items, above -> (R,) AP in [0, 1]."""
    precision = np.where(passed > 0, hits / passed, 0)
    gained = np.diff(hits, axis=1, prepend=0)
    area: Array = (gained * precision).sum(axis=1) / hits[:, -1]
    return area


def _trapezoid_area(hits: Array, passed: Array) -> Array:
    """(R, thresholds) weighted true positives, and all items, above -> (R,) AUROC in [0, 1]."""
    misses = passed - hits
    both = hits + np.concatenate([np.zeros((len(hits), 1)), hits[:, :-1]], axis=1)
    twice = (np.diff(misses, axis=1, prepend=0) * both).sum(axis=1)
    area: Array = twice / 2 / (hits[:, -1] * misses[:, -1])
    return area


def _matrix(values: Array, what: str) -> Array:
    values = np.asarray(values)
    if values.ndim != 2 or not values.size:
        raise BadInput(f"{what} must be a filled (N, columns) array, got {values.shape}.")
    if not np.isfinite(values).all():
        raise BadInput(f"{(~np.isfinite(values)).sum()} of {values.size} {what} are not finite.")
    return values


def _weights(weights: Array, items: int) -> Array:
    weights = np.asarray(weights)
    if weights.ndim not in (1, 2) or weights.shape[-1] != items:
        raise BadInput(f"Weights must be ({items},) or (R, {items}), got {weights.shape}.")
    if not (weights >= 0).all():
        raise BadInput("Weights must not be negative or nan.")
    return weights


def _scalar(value: Any) -> Any:
    """A zero-dimensional array as a float; any other as it is."""
    value = np.asarray(value)
    return value if value.ndim else float(value)


def _number(value: float | None) -> float | None:
    """A plain float, or None where there is none: nan is not JSON."""
    return None if value is None or not np.isfinite(value) else float(value)


def _span(
    found: tuple[float, float], low: float = -np.inf, high: float = np.inf
) -> list[float | None]:
    """An interval as JSON holds it, inside what is possible."""
    return [_number(max(found[0], low)), _number(min(found[1], high))]


def _label(fit: tuple[str, int]) -> str:
    return f"{fit[0]}/{fit[1]}"
