"""Metrics against scikit-learn, hand-worked cases, a naive bootstrap, and invariances."""

import json

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    roc_auc_score,
)

from velatura import metrics
from velatura.errors import BadInput

N, K, A = 240, 3, 5
ONE = np.zeros((1, 1))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def world(rng):
    """60 people with 4 clips; attributes belong to the person, actions to the clip."""
    groups = rng.permutation(np.repeat(np.arange(60), 4))
    attributes = (rng.random((60, K)) < 0.45).astype(np.uint8)[groups]
    actions = rng.integers(0, A, N)
    targets = np.eye(A)[actions] + rng.normal(0, 0.7, (N, A))
    attackers = attributes + rng.normal(0, 0.8, (N, K))
    return groups, attributes, actions, targets, attackers


# Against scikit-learn


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("seed", range(5))
def test_average_precision_and_auroc_equal_scikit_learn(ties, weighted, seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random(N) < 0.3).astype(int)
    scores = rng.normal(size=N) + labels
    if ties:
        scores = np.round(scores)
    weights = rng.random(N) * (rng.random(N) < 0.7) if weighted else None
    ap = average_precision_score(labels, scores, sample_weight=weights)
    area = roc_auc_score(labels, scores, sample_weight=weights)
    assert metrics.average_precision(scores, labels, weights) == pytest.approx(100 * ap, abs=1e-9)
    assert metrics.auroc(scores, labels, weights) == pytest.approx(100 * area, abs=1e-9)


def test_cmap_is_the_macro_average_of_scikit_learn(world):
    _, attributes, _, _, scores = world
    expected = 100 * average_precision_score(attributes, scores, average="macro")
    assert metrics.cmap(scores, attributes) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_what_one_attacker_tells_equals_scikit_learn(rng, weighted, threshold):
    labels = (rng.random(N) < 0.3).astype(int)
    logits = rng.normal(size=N) + 1.5 * labels - 0.5
    weights = rng.random(N) * (rng.random(N) < 0.7) if weighted else None
    said = logits > threshold
    expected = balanced_accuracy_score(labels, said, sample_weight=weights)
    found = metrics.balanced_accuracy(logits, labels, threshold, weights)
    assert found == pytest.approx(100 * expected)
    expected = f1_score(labels, said, sample_weight=weights)
    assert metrics.f1(logits, labels, threshold, weights) == pytest.approx(expected)
    share = np.average(labels, weights=weights)
    entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    cost = log_loss(labels, 1 / (1 + np.exp(-logits)), sample_weight=weights) / np.log(2)
    assert metrics.information(logits, labels, weights) == pytest.approx(entropy - cost)


# Worked out by hand


def test_what_one_attacker_tells_by_hand():
    labels = np.array([1, 1, 0, 0, 0])
    logits = np.array([2.0, -1.0, 1.0, -3.0, 0.2])
    # Positives: 1 of 2 told; negatives: 1 of 3. At 0.5 it is 2 of 3: the 0.2 falls away.
    assert metrics.balanced_accuracy(logits, labels) == pytest.approx(50 * (1 / 2 + 1 / 3))
    assert metrics.balanced_accuracy(logits, labels, 0.5) == pytest.approx(50 * (1 / 2 + 2 / 3))
    assert metrics.f1(logits, labels) == pytest.approx(2 / (3 + 2))
    assert metrics.f1(logits, labels, 0.5) == pytest.approx(2 / (2 + 2))
    assert metrics.f1(np.full(5, -1.0), labels) == 0
    assert metrics.ap_gain(70.0, 40.0) == pytest.approx(0.5)
    assert metrics.ap_gain([40.0, 100.0], 40.0) == pytest.approx([0, 1])
    # p = 3/4 for each truth costs log2(4/3) bits; two equally frequent classes are 1 bit.
    sure = np.log(3) * np.array([1, -1, 1, -1])
    told = np.array([1, 0, 1, 0])
    assert metrics.information(sure, told) == pytest.approx(1 - np.log2(4 / 3))
    assert metrics.information(np.zeros(4), told) == pytest.approx(0)
    assert metrics.information(-sure, told) == pytest.approx(1 - 2)  # sure, and wrong: 2 bits each
    assert metrics.information(1e4 * sure, told) == pytest.approx(1)


def test_within_an_action_by_hand_and_by_a_naive_loop(rng):
    labels = np.array([1, 0, 0, 1, 1, 0, 1])
    actions = np.array([0, 0, 0, 1, 1, 1, 2])
    scores = np.array([3.0, 1.0, 3.0, -2.0, -5.0, -3.0, 9.0])
    # Action 0: 3 above 1, ties 3; action 1: -2 above -3, -5 below; action 2 has no negative.
    assert metrics.within_action_auroc(scores, labels, actions) == pytest.approx(100 * 2.5 / 4)
    labels, actions = (rng.random(N) < 0.4).astype(int), rng.integers(0, A, N)
    scores = np.round(rng.normal(size=N) + labels, 1)
    weights = rng.integers(0, 3, (4, N))
    together = metrics.within_action_auroc(scores, labels, actions, weights)
    for row, found in zip(weights, together, strict=True):
        above = pairs = 0.0
        for i in np.flatnonzero(labels == 1):
            for j in np.flatnonzero(labels == 0):
                if actions[i] == actions[j]:
                    pairs += row[i] * row[j]
                    half = 0.5 * (scores[i] == scores[j])
                    above += row[i] * row[j] * ((scores[i] > scores[j]) + half)
        assert found == pytest.approx(100 * above / pairs)


def test_what_the_action_tells_counts_nothing_within_an_action(rng):
    actions = rng.integers(0, A, N)
    labels = (rng.random(N) < np.linspace(0.1, 0.9, A)[actions]).astype(np.uint8)
    table = metrics.action_floor(actions, labels[:, None], actions)[:, 0]
    assert metrics.auroc(table, labels) > 70
    assert metrics.within_action_auroc(table, labels, actions) == 50


def test_replicates_of_what_one_attacker_tells(rng):
    labels, actions = (rng.random(N) < 0.4).astype(int), rng.integers(0, A, N)
    logits, weights = rng.normal(size=N) + labels, rng.integers(0, 3, (5, N))
    weights[4] *= 1 - labels  # a replicate without positives
    calls = (
        lambda w: metrics.balanced_accuracy(logits, labels, 0.0, w),
        lambda w: metrics.f1(logits, labels, 0.0, w),
        lambda w: metrics.information(logits, labels, w),
        lambda w: metrics.within_action_auroc(logits, labels, actions, w),
    )
    for call in calls:
        together = call(weights)
        assert together.shape == (5,)
        np.testing.assert_allclose(together[:4], [call(w) for w in weights[:4]])
    assert [np.isnan(call(weights)[4]) for call in calls] == [True, False, True, True]


def test_average_precision_by_hand():
    scores, labels = np.array([4.0, 3.0, 2.0, 1.0]), np.array([1, 0, 1, 0])
    assert metrics.average_precision(scores, labels) == pytest.approx(100 * (0.5 * 1 + 0.5 * 2 / 3))
    # 3 and 2 tie: one step from recall 1/2 to 1 at precision 2/3.
    tied = np.array([4.0, 2.0, 2.0, 1.0])
    assert metrics.average_precision(tied, labels) == pytest.approx(100 * (0.5 + 0.5 * 2 / 3))
    # The positive in the middle counts three times: recall 1/4, then 1 at precision 4/5.
    weights = np.array([1, 1, 3, 1])
    by_hand = 100 * (1 / 4 + 3 / 4 * 4 / 5)
    assert metrics.average_precision(scores, labels, weights) == pytest.approx(by_hand)


def test_auroc_by_hand():
    labels = np.array([1, 0, 1, 0])
    assert metrics.auroc(np.array([4.0, 3.0, 2.0, 1.0]), labels) == pytest.approx(75)
    assert metrics.auroc(np.array([4.0, 2.0, 2.0, 1.0]), labels) == pytest.approx(87.5)  # half


def test_top1_by_hand():
    scores = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 3.0], [1.0, 0.0]])
    actions = np.array([0, 1, 1, 1])
    assert metrics.top1(scores, actions) == pytest.approx(100 * (1 + 1 + 0.5 + 0) / 4)
    assert metrics.top1(scores, actions, np.array([0, 0, 1, 3])) == pytest.approx(12.5)


def test_prevalence_by_hand():
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 0]])
    assert metrics.prevalence(labels) == pytest.approx([50, 25])
    by_two = metrics.prevalence(labels, np.array([[1, 1, 1, 1], [0, 3, 1, 0]]))
    assert by_two == pytest.approx(np.array([[50, 25], [75, 75]]))
    assert metrics.chance_levels(labels, 8) == {"top1": 12.5, "cmap": 37.5}


# Chance


def test_constant_scores_give_exactly_chance(world):
    groups, attributes, actions, _, _ = world
    nothing, chance = np.zeros((N, K)), metrics.prevalence(attributes)
    assert metrics.cmap(nothing, attributes) == pytest.approx(chance.mean(), abs=1e-12)
    assert metrics.auroc(nothing[:, 0], attributes[:, 0]) == pytest.approx(50, abs=1e-12)
    assert metrics.top1(np.full((N, A), 3.0), actions) == pytest.approx(100 / A, abs=1e-12)
    weights = metrics.bootstrap_weights(groups, 50, 0)
    replicates = metrics.cmap(nothing, attributes, weights)
    assert replicates == pytest.approx(metrics.prevalence(attributes, weights).mean(axis=1))


def test_utility_and_leakage_are_one_at_raw_and_zero_at_chance():
    for function in (metrics.utility, metrics.leakage):
        assert function(93.0, 93.0, 48.0) == 1
        assert function(48.0, 93.0, 48.0) == 0
        assert function(70.5, 93.0, 48.0) == pytest.approx(0.5)
        assert function(40.0, 93.0, 48.0) < 0
        assert np.isnan(function(50.0, 48.0, 48.0))  # raw at chance: no scale
        assert np.isnan(function(50.0, 40.0, 48.0))
        assert np.isnan(function(50.0, 48.0 + 1e-13, 48.0))  # raw at chance but for rounding
    both = metrics.leakage(np.array([93.0, 48.0]), np.array([93.0, 40.0]), np.array([48.0, 48.0]))
    assert both[0] == 1
    assert np.isnan(both[1])


# Invariances


def test_only_the_order_of_scores_counts(world):
    _, attributes, _, _, scores = world
    stretched = np.exp(scores / 2) - 5
    for function in (metrics.average_precision, metrics.auroc):
        before = function(scores[:, 0], attributes[:, 0])
        assert function(stretched[:, 0], attributes[:, 0]) == pytest.approx(before, abs=1e-9)
    assert metrics.auroc(-scores[:, 0], attributes[:, 0]) == pytest.approx(100 - before)


def test_the_order_of_items_does_not_count(world, rng):
    groups, attributes, actions, targets, scores = world
    scores, p = np.round(scores), rng.permutation(N)
    weights = metrics.bootstrap_weights(groups, 20, 0)
    before = metrics.cmap(scores, attributes, weights)
    assert metrics.cmap(scores[p], attributes[p], weights[:, p]) == pytest.approx(before)
    before = metrics.top1(targets, actions, weights)
    assert metrics.top1(targets[p], actions[p], weights[:, p]) == pytest.approx(before)


def test_a_weight_of_three_is_three_copies(rng):
    labels, scores = rng.integers(0, 2, 30), np.round(rng.normal(size=30))
    actions, logits = rng.integers(0, A, 30), rng.normal(size=(30, A))
    times = rng.integers(0, 4, 30)
    copies = np.repeat(np.arange(30), times)
    for function in (metrics.average_precision, metrics.auroc):
        expected = function(scores[copies], labels[copies])
        assert function(scores, labels, times) == pytest.approx(expected)
    expected = metrics.top1(logits[copies], actions[copies])
    assert metrics.top1(logits, actions, times) == pytest.approx(expected)


# The bootstrap


def test_bootstrap_weights_draw_whole_groups():
    groups = np.array([5, 5, 9, 2, 9, 9])
    weights = metrics.bootstrap_weights(groups, 500, 3)
    assert weights.shape == (500, 6)
    for group in (2, 5, 9):
        own = weights[:, groups == group]
        assert (own == own[:, :1]).all()
    per_group = weights[:, [3, 0, 2]]
    assert (per_group.sum(axis=1) == 3).all()
    assert per_group.mean(axis=0) == pytest.approx(np.ones(3), abs=0.12)
    assert per_group.var() == pytest.approx(2 / 3, abs=0.1)  # n p (1 - p), p = 1/3
    assert (weights == metrics.bootstrap_weights(groups, 500, 3)).all()
    assert (weights != metrics.bootstrap_weights(groups, 500, 4)).any()


def test_replicates_equal_a_naive_loop(world):
    """More replicates than one block holds, each computed again item by item."""
    groups, attributes, actions, targets, scores = world
    scores = np.round(scores, 1)  # ties
    weights = metrics.bootstrap_weights(groups, 2 * metrics.REPLICATES_AT_ONCE + 5, 0)
    ap = metrics.average_precision(scores[:, 0], attributes[:, 0], weights)
    area = metrics.auroc(scores[:, 0], attributes[:, 0], weights)
    mean = metrics.cmap(scores, attributes, weights)
    accuracy = metrics.top1(targets, actions, weights)
    for r, row in enumerate(weights):
        copies = np.concatenate([np.full(int(w), i) for i, w in enumerate(row) if w])
        y, s = attributes[copies], scores[copies]
        assert ap[r] == pytest.approx(100 * average_precision_score(y[:, 0], s[:, 0]))
        assert area[r] == pytest.approx(100 * roc_auc_score(y[:, 0], s[:, 0]))
        assert mean[r] == pytest.approx(100 * average_precision_score(y, s, average="macro"))
        hit = targets[copies].argmax(axis=1) == actions[copies]
        assert accuracy[r] == pytest.approx(100 * hit.mean())


def test_replicates_without_a_class_are_nan_and_left_out():
    labels, scores = np.array([1, 0, 0, 0]), np.array([3.0, 2.0, 1.0, 0.0])
    weights = np.array([[1, 1, 1, 1], [0, 2, 1, 1], [4, 0, 0, 0], [2, 0, 1, 1]])
    for function in (metrics.average_precision, metrics.auroc):
        values = function(scores, labels, weights)
        assert np.isnan(values).tolist() == [False, True, True, False]
        assert metrics.interval(values) == (100, 100)
    two = metrics.cmap(np.stack([scores, -scores], 1), np.stack([labels, 1 - labels], 1), weights)
    assert np.isnan(two).tolist() == [False, True, True, False]


def test_interval():
    values = np.arange(1001.0)
    assert metrics.interval(values) == pytest.approx((25, 975))
    assert metrics.interval(values, 0.5) == pytest.approx((250, 750))
    assert metrics.interval(values, point=490.0) == pytest.approx((15, 965))
    half = np.concatenate([values, np.full(1000, np.nan)])
    assert metrics.interval(half) == pytest.approx((25, 975))
    assert np.isnan(metrics.interval(np.concatenate([half, [np.nan, np.nan]]))).all()


def test_people_not_clips_widen_the_interval():
    """200 copies of each of ten people say no more than one clip of each does."""
    rng = np.random.default_rng(0)
    labels = np.array([0, 1] * 5)
    scores = labels + rng.normal(0, 1, 10)
    alone = metrics.bootstrap_weights(np.arange(10), 400, 1)
    people = np.repeat(np.arange(10), 200)
    together = metrics.bootstrap_weights(people, 400, 1)
    narrow = metrics.interval(metrics.auroc(scores, labels, alone))
    wide = metrics.interval(metrics.auroc(scores[people], labels[people], together))
    assert wide == pytest.approx(narrow)


def test_the_bootstrap_walks_many_replicates_at_once(monkeypatch):
    """1000 replicates of 9 attributes and 1000 clips: 16 blocks an attribute, not 1000 walks."""
    blocks, area = [], metrics._step_area
    monkeypatch.setattr(metrics, "_step_area", lambda *walk: blocks.append(walk[0]) or area(*walk))
    rng = np.random.default_rng(0)
    weights = metrics.bootstrap_weights(np.repeat(np.arange(250), 4), 1000, 0)
    scores, labels = rng.normal(size=(1000, 9)), rng.integers(0, 2, (1000, 9))
    values = metrics.cmap(scores, labels, weights)
    assert [len(hits) for hits in blocks] == 9 * [*(15 * [64]), 40]
    for r in (0, 63, 64, 999):
        naive = average_precision_score(labels, scores, average="macro", sample_weight=weights[r])
        assert values[r] == pytest.approx(100 * naive)


# The trade-off


def test_trade_off_of_raw_with_itself_is_exactly_one(world):
    groups, attributes, actions, targets, scores = world
    weights = metrics.bootstrap_weights(groups, 100, 0)
    same = metrics.trade_off([targets], scores, [targets], scores, actions, attributes, weights)
    assert (same.U, same.L) == (1, 1)
    assert same.U_interval == pytest.approx((1, 1))
    assert same.L_interval == pytest.approx((1, 1))
    assert same.cmap_interval[0] < same.cmap < same.cmap_interval[1]
    assert same.top1_interval[0] < same.top1 < same.top1_interval[1]


def test_trade_off_of_nothing_is_zero_in_every_replicate(world):
    """Chance is that of the replicate: with the split's own, L would scatter around 0."""
    groups, attributes, actions, targets, scores = world
    weights = metrics.bootstrap_weights(groups, 100, 0)
    blind = metrics.trade_off(
        [np.zeros((N, A))], np.zeros((N, K)), [targets], scores, actions, attributes, weights
    )
    assert blind.L == pytest.approx(0, abs=1e-12)
    assert blind.L_interval == pytest.approx((0, 0), abs=1e-12)
    assert blind.U_interval == pytest.approx((0, 0), abs=1e-12)


def test_trade_off_is_paired(world, rng):
    """A row a hair from raw: paired, L moves far less than its cMAP does."""
    groups, attributes, actions, targets, scores = world
    weights = metrics.bootstrap_weights(groups, 200, 0)
    near = scores + rng.normal(0, 0.02, scores.shape)
    seeds = [targets, targets + rng.normal(0, 0.02, targets.shape)]
    result = metrics.trade_off(seeds, near, [targets], scores, actions, attributes, weights)
    by_hand = (result.cmap - metrics.prevalence(attributes).mean()) / (
        metrics.cmap(scores, attributes) - metrics.prevalence(attributes).mean()
    )
    assert result.L == pytest.approx(by_hand)
    room = metrics.cmap(scores, attributes) - metrics.prevalence(attributes).mean()
    unpaired = (result.cmap_interval[1] - result.cmap_interval[0]) / room
    assert result.L_interval[1] - result.L_interval[0] < 0.2 * unpaired
    assert result.top1 == pytest.approx(np.mean([metrics.top1(s, actions) for s in seeds]))


def test_intervals_cover():
    """Three clips of each of 60 people, known truth: about 95 of 100 intervals hold it."""
    rng = np.random.default_rng(1)

    def draw(people):
        labels = np.repeat(rng.random(people) < 0.45, 3).astype(int)
        person = np.repeat(rng.normal(size=people), 3)
        return labels, 0.8 * labels + 0.8 * person + 0.6 * rng.normal(size=3 * people)

    labels, scores = draw(100_000)
    truth = metrics.average_precision(scores, labels)
    held = 0
    for trial in range(100):
        labels, scores = draw(60)
        weights = metrics.bootstrap_weights(np.repeat(np.arange(60), 3), 200, trial)
        values = metrics.average_precision(scores, labels, weights)
        low, high = metrics.interval(values, point=metrics.average_precision(scores, labels))
        held += low <= truth <= high
    assert 86 <= held <= 100


# The action-only floor


def test_action_floor_by_hand():
    actions = np.array([0, 0, 0, 1])
    attributes = np.array([[1, 0], [1, 0], [0, 0], [1, 1]])
    floor = metrics.action_floor(actions, attributes, np.array([1, 0, 2]))
    assert floor == pytest.approx(np.array([[2 / 3, 2 / 3], [3 / 5, 1 / 5], [1 / 2, 1 / 2]]))
    strong = metrics.action_floor(actions, attributes, np.array([0]), smoothing=1e-9)
    assert strong == pytest.approx(np.array([[2 / 3, 0]]), abs=1e-8)


def test_action_floor_reads_what_the_action_reveals(rng):
    """An attribute that is the action is read; an independent one stays at its prevalence."""
    actions_train, actions = rng.integers(0, 4, 4000), rng.integers(0, 4, 4000)
    train = np.stack([actions_train < 2, rng.random(4000) < 0.4], 1).astype(int)
    test = np.stack([actions < 2, rng.random(4000) < 0.4], 1).astype(int)
    scores = metrics.action_floor(actions_train, train, actions)
    assert metrics.average_precision(scores[:, 0], test[:, 0]) == 100
    assert metrics.average_precision(scores[:, 1], test[:, 1]) == pytest.approx(40, abs=3)
    row = metrics.summarize_floor(actions_train, train, actions, test, {("cnn", 0): test}, "ab")
    assert row["attributes"]["a"] == {"ap": 100, "auroc": 100}
    assert row["cmap"] == metrics.cmap(scores, test)
    assert row["L"] == pytest.approx(50 / (50 + 60), abs=0.03)  # room below: 50 and 60 per cent


# Rows


@pytest.fixture
def row_arguments(world, rng):
    groups, attributes, actions, targets, scores = world
    return {
        "target_scores": {("r3d", 1): targets, ("r3d", 0): 0 * targets},
        "attacker_scores": {
            # Weaker over all, and yet the best one for hair.
            ("cnn", 0): np.where([False, True, False], attributes, rng.normal(size=scores.shape)),
            ("clip", 1): scores + rng.normal(0, 0.5, scores.shape),
            ("clip", 0): 0 * scores,
        },
        "raw_target_scores": {("r3d", 0): targets, ("r3d", 1): targets},
        "raw_attacker_scores": {("cnn", 0): scores, ("clip", 0): 0 * scores},
        "actions": actions,
        "attributes": attributes,
        "groups": groups,
        "attribute_names": ["skin", "hair", "hat"],
        "used_in_training": {"clip"},
        "replicates": 50,
    }


def test_summarize_row(row_arguments):
    given = row_arguments
    row = metrics.summarize_row("penalty_0.1", "penalty", rms=0.07, bound=0.1, **given)
    raw = metrics.cmap(given["raw_attacker_scores"]["cnn", 0], given["attributes"])
    chance = metrics.prevalence(given["attributes"]).mean()
    learnt = metrics.top1(given["target_scores"]["r3d", 1], given["actions"])
    assert row["top1_seeds"] == pytest.approx([20, learnt])
    assert row["top1"] == pytest.approx(np.mean(row["top1_seeds"]))
    assert row["strongest"] == "clip/1"
    assert row["cmap"] == row["attackers"]["clip"]["cmap"][1]
    assert row["L"] == pytest.approx((row["cmap"] - chance) / (raw - chance))
    assert row["L"] == max(x for a in row["attackers"].values() for x in a["L"])
    assert row["attackers"]["clip"]["L"][0] == pytest.approx(0, abs=1e-9)
    assert row["attackers"]["clip"]["used_in_training"] is True
    assert row["attackers"]["cnn"]["used_in_training"] is False
    for k, (name, entry) in enumerate(row["attributes"].items()):
        assert name == given["attribute_names"][k]
        assert entry["prevalence"] == pytest.approx(100 * given["attributes"][:, k].mean())
        fits = given["attacker_scores"].values()
        labels = given["attributes"][:, k]
        assert entry["ap"] == max(metrics.average_precision(s[:, k], labels) for s in fits)
        assert entry["ap_interval"][0] <= entry["ap"] <= entry["ap_interval"][1]
    assert [a["attacker"] for a in row["attributes"].values()] == ["clip/1", "cnn/0", "clip/1"]
    assert (row["rms"], row["bound"], row["static_cmap"]) == (0.07, 0.1, None)
    for key in ("top1", "cmap", "U", "L"):
        low, high = row[f"{key}_interval"]
        assert low < row[key] < high


def test_summarize_row_of_raw(row_arguments):
    given = dict(row_arguments)
    given["target_scores"] = given["raw_target_scores"]
    given["attacker_scores"] = given["raw_attacker_scores"]
    row = metrics.summarize_row("raw", "identity", **given)
    assert (row["U"], row["L"]) == (1, 1)
    assert row["L_interval"] == pytest.approx([1, 1])


def test_a_row_is_plain_json_even_when_raw_networks_learnt_nothing(row_arguments):
    given = dict(row_arguments)
    given["raw_target_scores"] = {("r3d", 0): np.zeros((N, A))}
    given["raw_attacker_scores"] = {("cnn", 0): np.zeros((N, K))}
    row = metrics.summarize_row("blur", "blur", rms=float("nan"), **given)
    assert row["U"] is None
    assert row["L"] is None
    assert row["L_interval"] == [None, None]
    assert row["rms"] is None
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_the_ladder_of_a_row_by_hand(row_arguments):
    """Each rung is its strongest fit, by the names of the probes; the headline is over all."""
    given = dict(row_arguments)
    labels, actions = given["attributes"], given["actions"]
    best, weak = labels + 0.0, 0.0 * labels
    known = given["raw_attacker_scores"]["cnn", 0]
    given["attacker_scores"] = {
        ("cnn", 0): weak, ("cnn", 1): known, ("A2 cnn", 99): weak, ("A5 cnn", 99): best,
    }  # fmt: skip
    floor = np.where(np.arange(K) == 0, labels, 0.5)  # the action tells the first one
    row = metrics.summarize_row("x", "x", floor_scores=floor, predicted_floor_scores=weak, **given)
    assert [r["rung"] for r in row["rungs"]] == ["A1p", "A2", "A4", "A5"]
    assert [r["by"] for r in row["rungs"][1:]] == ["A2 cnn/99", "cnn/1", "A5 cnn/99"]
    chance = metrics.prevalence(labels).mean()
    raw = metrics.cmap(given["raw_attacker_scores"]["cnn", 0], labels)
    for r, value in zip(row["rungs"], [chance, chance, raw, 100], strict=True):
        assert r["cmap"] == pytest.approx(value)
        assert r["L"] == pytest.approx((value - chance) / (raw - chance))
        assert r["cmap_interval"][0] <= r["cmap"] <= r["cmap_interval"][1]
    assert row["rungs"][2]["L_interval"] == pytest.approx([1, 1])
    assert (row["strongest"], row["cmap"]) == ("A5 cnn/99", 100)
    floor_cmap = (100 + metrics.prevalence(labels)[1:].sum()) / K
    assert row["headline"]["rung"] == "A5"
    assert row["headline"]["excess"] == pytest.approx(100 - floor_cmap)
    low, high = row["headline"]["excess_interval"]
    assert low < row["headline"]["excess"] < high
    first, *others = row["attributes"].values()
    assert first["p"] == first["p_holm"] == 1  # read, but not above what the action tells
    assert all(a["p"] == pytest.approx(1 / 51) for a in others)
    assert all(a["p_holm"] == pytest.approx(3 / 51) for a in others)  # never falling
    assert all((a["ap_gain"], a["f1"]) == (1, 1) for a in others)
    assert row["f1"] == row["f1_printed"] == 1
    group = row["groups"]["hair"]
    present = labels[:, 1] == 1
    fits = given["target_scores"].values()
    assert group["present"] == pytest.approx(
        np.mean([metrics.top1(s[present], actions[present]) for s in fits])
    )
    assert row["targets"]["r3d"]["top1"] == row["top1_seeds"]
    assert row["targets"]["r3d"]["U"] == pytest.approx([0, 1])


def test_bits_and_balanced_accuracy_are_the_most_that_any_fit_has(row_arguments):
    """Who ranks best may be sure of what is wrong; that takes nothing from another's bits."""
    given = dict(row_arguments)
    labels = given["attributes"]
    signs = np.where(labels == 1, 1.0, -1.0)
    ranks = signs + 50.0  # in order, and sure that all are present
    half = np.where(np.arange(len(labels))[:, None] % 3, signs, -signs)  # two of three right
    given["attacker_scores"] = {("cnn", 0): ranks, ("clip", 0): half}
    row = metrics.summarize_row("x", "x", **given)
    given["attacker_scores"] = {("cnn", 0): ranks}
    alone = metrics.summarize_row("x", "x", **given)
    for k, (name, entry) in enumerate(row["attributes"].items()):
        assert entry["attacker"] == "cnn/0"
        assert metrics.information(ranks[:, k], labels[:, k]) < -1
        assert entry["information"] == pytest.approx(metrics.information(half[:, k], labels[:, k]))
        assert entry["information"] > 0
        expected = balanced_accuracy_score(labels[:, k], half[:, k] > 0)
        assert entry["balanced_accuracy"] == pytest.approx(100 * expected)
        assert alone["attributes"][name]["information"] == 0  # who says the prevalence has as much
        assert alone["attributes"][name]["balanced_accuracy"] == pytest.approx(50)


def test_one_architecture_counts_whatever_the_row(row_arguments):
    """The one that reads most of raw video; another may read more of the row, and stands beside."""
    given = row_arguments
    actions = given["actions"]
    right = np.eye(5)[actions]
    wrong, half = np.roll(right, 1, 1), np.where(np.arange(len(right))[:, None] % 2, right, 0)
    given["raw_target_scores"] = {("r3d", 0): right, ("cnn", 0): wrong}
    given["target_scores"] = {("r3d", 0): half, ("cnn", 0): right}
    row = metrics.summarize_row("freeze", "freeze", **given)
    read = {"r3d": metrics.top1(half, actions), "cnn": 100}
    assert metrics.top1(right, actions) == 100
    assert (row["target"], row["top1"]) == ("r3d", pytest.approx(read["r3d"]))
    assert row["U"] == pytest.approx(row["targets"]["r3d"]["U"][0])
    assert {name: one["top1"] for name, one in row["targets"].items()} == {
        name: pytest.approx([value]) for name, value in read.items()
    }
    assert row["top1_seeds"] == pytest.approx([read["cnn"], read["r3d"]])
    with pytest.raises(BadInput, match="no kind of target has seen both"):
        metrics.summarize_row("freeze", "freeze", **{**given, "target_scores": {("vit", 0): half}})


@pytest.mark.parametrize("attackers", [1, 8])
def test_differences_of_nothing_are_rarely_above_by_chance(rng, attackers):
    """Without an effect about 5 % come out at .05, however many attackers the best is of."""
    p = []
    for _ in range(300):
        sample = rng.normal(size=(attackers, 60))
        drawn = rng.integers(0, 60, (199, 60))
        replicates = sample[:, drawn].mean(2)
        p.append(metrics.above_by_chance(replicates, sample.mean(1)))
    assert 0.015 < np.mean(np.array(p) <= 0.05) < 0.1


def test_a_large_difference_is_above_as_far_as_replicates_can_tell(rng):
    replicates = np.stack([rng.normal(5, 0.1, 99), rng.normal(0, 0.1, 99)])
    assert metrics.above_by_chance(replicates, np.array([5.0, 0.0])) == 0.01
    assert metrics.above_by_chance(np.zeros((1, 99)), np.zeros(1)) == 1


def test_the_excess_of_nothing_is_rarely_told_apart_from_none(row_arguments, rng):
    """An attacker who knows nothing: the interval reaches down to the floor."""
    given, apart = dict(row_arguments), 0
    labels = given["attributes"]
    given["replicates"] = 60
    for _ in range(12):
        given["attacker_scores"] = {("a", 0): rng.normal(size=labels.shape)}
        floor = rng.normal(size=labels.shape)
        headline = metrics.summarize_row("x", "x", floor_scores=floor, **given)["headline"]
        low, high = headline["excess_interval"]
        assert low <= headline["excess"] <= high
        apart += low > 0
    assert apart <= 3


def test_the_excess_reaches_down_as_far_as_the_luckiest_attacker_may_have_been_lucky(world, rng):
    """Two attackers, each luckier with half of the people; every replicate by scikit-learn."""
    groups, labels, actions, targets, scores = world
    half = (groups < 30)[:, None]
    fits = {
        ("a", 0): np.where(half, scores, rng.normal(size=scores.shape)) + 0.01 * labels,
        ("b", 0): np.where(half, rng.normal(size=scores.shape), scores),
    }
    floor, weights = rng.normal(size=labels.shape), metrics.bootstrap_weights(groups, 40, 0)
    row = metrics.summarize_row(
        "x", "x", target_scores={("r3d", 0): targets}, raw_target_scores={("r3d", 0): targets},
        attacker_scores=fits, raw_attacker_scores={("cnn", 0): scores}, actions=actions,
        attributes=labels, groups=groups, attribute_names="abc", weights=weights,
        floor_scores=floor,
    )  # fmt: skip

    def gap(fit, row=None):
        return 100 * np.subtract(*(
            average_precision_score(labels, s, average="macro", sample_weight=row)
            for s in (fit, floor)
        ))  # fmt: skip

    excess = max(gap(fit) for fit in fits.values())
    gaps = np.array([[gap(fit, row) for row in weights] for fit in fits.values()])
    luck = gaps - gaps.mean(1, keepdims=True)
    chosen = luck[int(np.argmax([gap(fit) for fit in fits.values()]))]
    low = excess - np.quantile(np.maximum(*luck), 0.975)
    assert low < excess - np.quantile(chosen, 0.975) - 0.5  # the choice costs something here
    high = excess - np.quantile(chosen, 0.025)
    assert row["headline"]["excess"] == pytest.approx(excess)
    assert row["headline"]["excess_interval"] == pytest.approx([low, high])


def test_f1_as_printed_asks_for_more(row_arguments):
    """The papers' code compares logits with .5: a logit of .4 says present only at p > .5."""
    given = dict(row_arguments)
    given["attacker_scores"] = {("cnn", 0): np.where(given["attributes"], 0.4, -1.0)}
    row = metrics.summarize_row("x", "x", **given)
    assert (row["f1"], row["f1_printed"]) == (1, 0)
    assert "groups" not in row
    assert "excess" not in row["headline"]


def test_shared_weights_give_the_same_row(row_arguments):
    weights = metrics.bootstrap_weights(row_arguments["groups"], 50, 0)
    shared = metrics.summarize_row("x", "x", weights=weights, **row_arguments)
    assert shared == metrics.summarize_row("x", "x", **row_arguments)


# Bad input


def test_an_attribute_that_nobody_has_is_named(row_arguments):
    given = row_arguments | {"attributes": row_arguments["attributes"].copy()}
    given["attributes"][:, 2] = 0
    with pytest.raises(BadInput, match="hat: 0 of 240"):
        metrics.summarize_row("x", "x", **given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.average_precision(np.zeros(3), np.ones(3)), "without it"),
        (lambda: metrics.auroc(np.zeros(3), np.zeros(3)), "with it"),
        (lambda: metrics.average_precision(np.zeros(3), np.array([0, 1, 2])), "0 or 1"),
        (lambda: metrics.average_precision(np.zeros(3), np.array([0, 1])), r"must both be \(N,\)"),
        (lambda: metrics.average_precision(np.array([0, np.nan]), np.array([0, 1])), "1 of 2"),
        (lambda: metrics.auroc(np.zeros(2), np.array([0, 1]), np.array([0, 1])), "no positive, or"),
        (lambda: metrics.auroc(np.zeros(2), np.array([0, 1]), np.ones(3)), "Weights must be"),
        (lambda: metrics.auroc(np.zeros(2), np.array([0, 1]), -np.ones(2)), "not be negative"),
        (lambda: metrics.cmap(np.zeros((2, 1)), np.zeros((2, 2))), "equal needed"),
        (lambda: metrics.cmap(np.zeros(2), np.zeros((2, 2))), "filled"),
        (lambda: metrics.top1(np.zeros((2, 3)), np.array([0, 3])), "0 to 2"),
        (lambda: metrics.top1(np.full((1, 2), np.inf), np.array([0])), "2 of 2 scores"),
        (lambda: metrics.top1(np.zeros((2, 3)), np.array([0])), "rows of scores"),
        (lambda: metrics.bootstrap_weights(np.array([])), "N > 0"),
        (lambda: metrics.bootstrap_weights(np.array([1]), 0), "at least 1"),
        (lambda: metrics.interval(np.zeros(3), 1.0), "between 0 and 1"),
        (lambda: metrics.action_floor(np.array([0, 1]), np.ones((3, 1)), np.array([0])), "3 clip"),
        (lambda: metrics.action_floor(np.array([0]), ONE, np.array([0]), 0), "above 0"),
        (lambda: metrics.trade_off([], ONE, [ONE], ONE, ONE, ONE, ONE), "at least one fit"),
    ],
)  # fmt: skip
def test_bad_input_says_what_is_wrong(call, message):
    with pytest.raises(BadInput, match=message):
        call()


def test_holm_by_hand():
    # Sorted .01 .02 .03 .5, times 4 3 2 1: .04 .06 .06 .5, never falling.
    assert metrics.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert metrics.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert metrics.holm([0.2]) == [0.2]


def test_holm_keeps_false_alarms_rare():
    """Of 2000 families of 8 questions without an answer, at most 5 % raise an alarm at .05."""
    p = np.random.default_rng(0).random((2000, 8))
    alarms = np.mean([min(metrics.holm(row)) < 0.05 for row in p])
    assert 0.03 < alarms < 0.065
    assert np.mean(p.min(1) < 0.05) > 0.3


@pytest.mark.parametrize("p", [[1.5], []])
def test_holm_refuses_what_is_no_p_value(p):
    with pytest.raises(BadInput):
        metrics.holm(p)
