"""Finding people again: by hand, at chance, and against scikit-learn's curve."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from velatura import reidentify
from velatura.errors import BadInput


def test_rank1_by_hand():
    known, asked = np.array([0, 0, 1, 2]), np.array([0, 1, 2, 1])
    likeness = np.array([
        [0.1, 0.9, 0.2, 0.3],  # the second clip of 0: found
        [0.5, 0.1, 0.4, 0.0],  # 0 in place of 1
        [0.7, 0.2, 0.7, 0.7],  # a tie of 0, 1 and 2: a third
        [0.0, 0.0, 0.6, 0.6],  # a tie of 1 and 2: a half
    ])  # fmt: skip
    assert reidentify.rank1(likeness, asked, known) == pytest.approx(100 * (1 + 1 / 3 + 1 / 2) / 4)
    weights = np.array([[1, 1, 1, 1], [2, 1, 0, 0]])
    found = reidentify.rank1(likeness, asked, known, weights)
    assert found == pytest.approx([100 * (1 + 1 / 3 + 1 / 2) / 4, 100 * 2 / 3])


def test_similarities_that_are_all_alike_are_chance():
    rng = np.random.default_rng(0)
    known, asked = rng.integers(0, 5, 40), np.arange(5).repeat(3)
    chance = reidentify.chance_rank1(asked, known)
    assert reidentify.rank1(np.zeros((15, 40)), asked, known) == pytest.approx(chance)
    assert chance == pytest.approx(100 * np.mean([(known == who).mean() for who in asked]))
    noise = [reidentify.rank1(rng.random((15, 40)), asked, known) for _ in range(400)]
    assert np.mean(noise) == pytest.approx(chance, abs=1.5)


def test_cosine_by_hand():
    likeness = reidentify.cosine(
        np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [-6, -8]])
    )
    assert likeness == pytest.approx(np.array([[24 / 25, -1], [0, 0]]))


def test_tar_at_far_by_hand():
    known, asked = np.array([0, 1]), np.array([0, 1, 0])
    likeness = np.array([[0.9, 0.5], [0.3, 0.4], [0.2, 0.1]])
    # Of two people: .5, .3, .1; of one: .9, .4, .2. A third of the three may pass: .5 does, so
    # that the bar is .3, and .9 and .4 are above it.
    assert reidentify.tar_at_far(likeness, asked, known, 0.34) == pytest.approx(200 / 3)
    assert reidentify.tar_at_far(likeness, asked, known, 0.67) == pytest.approx(100)


def test_tar_at_far_is_on_scikit_learn_s_curve():
    rng = np.random.default_rng(1)
    known, asked = np.arange(12).repeat(3), np.arange(12).repeat(2)
    same = asked[:, None] == known[None]
    likeness = rng.normal(size=same.shape) + 1.2 * same
    far, tar, _ = roc_curve(same.ravel(), likeness.ravel(), drop_intermediate=False)
    for wanted in (0.01, 0.1, 0.5):
        best = 100 * tar[far <= wanted].max()
        assert reidentify.tar_at_far(likeness, asked, known, wanted) == pytest.approx(best)


def test_noise_is_accepted_as_often_as_it_is_refused():
    rng = np.random.default_rng(2)
    known, asked = np.arange(60).repeat(4), np.arange(60).repeat(4)
    found = reidentify.tar_at_far(rng.random((240, 240)), asked, known, 0.05)
    assert found == pytest.approx(5, abs=2.5)
    # A tie of everybody with everybody lets nobody in.
    assert reidentify.tar_at_far(np.ones((240, 240)), asked, known, 0.05) == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: reidentify.rank1(np.zeros((1, 2)), [0], [1, 2]), "0 is asked for and is not in"),
        (lambda: reidentify.rank1(np.zeros((2, 2)), [0], [0, 1]), "1 queries and 2 clips"),
        (lambda: reidentify.rank1(np.full((1, 1), np.nan), [0], [0]), "not finite"),
        (lambda: reidentify.tar_at_far(np.zeros((1, 2)), [0], [0, 1], 0.01), "at least 100 pairs"),
        (lambda: reidentify.tar_at_far(np.zeros((1, 2)), [0], [0, 1], 1.0), "between 0 and 1"),
        (lambda: reidentify.cosine(np.zeros((2, 3)), np.zeros((2, 4))), "of 3 and 4 numbers"),
    ],
)
def test_what_cannot_be_asked_is_said(call, said):
    with pytest.raises(BadInput, match=said):
        call()
