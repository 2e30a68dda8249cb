"""Trade-offs as points: by hand, against a grid that counts, and by how often they alarm."""

from __future__ import annotations

import numpy as np
import pytest

from velatura import frontier
from velatura.errors import BadInput


def test_pareto_by_hand():
    #   0 raw, 1 beaten by 2, 2, 3 equal to 2, 4 constant, 5 same U as 2 and more L
    u = [1.0, 0.7, 0.8, 0.8, 0.0, 0.8]
    leaks = [1.0, 0.6, 0.5, 0.5, 0.0, 0.9]
    assert frontier.pareto(u, leaks) == [4, 2, 3, 0]


def test_hypervolume_by_hand():
    assert frontier.hypervolume([1.0], [1.0]) == 0
    assert frontier.hypervolume([0.0], [0.0]) == 0
    assert frontier.hypervolume([1.0], [0.0]) == 1
    assert frontier.hypervolume([0.8], [0.5]) == pytest.approx(0.4)
    # Two corners: .9 x .3 on top, .5 x .4 below it; a third point inside adds nothing.
    assert frontier.hypervolume([0.9, 0.5, 0.4], [0.7, 0.3, 0.6]) == pytest.approx(0.27 + 0.20)
    assert frontier.hypervolume([1.2], [-0.1]) == 1  # beyond the square is its edge


def test_hypervolume_counts_what_points_dominate():
    rng = np.random.default_rng(0)
    for _ in range(5):
        u, leaks = rng.random(7), rng.random(7)
        middle = (np.arange(400) + 0.5) / 400
        x, y = np.meshgrid(middle, middle)
        under = ((u[:, None, None] >= x) & (leaks[:, None, None] <= y)).any(0)
        assert frontier.hypervolume(u, leaks) == pytest.approx(under.mean(), abs=0.01)
        best = frontier.pareto(u, leaks)
        assert frontier.hypervolume(u[best], leaks[best]) == frontier.hypervolume(u, leaks)
        naive = [i for i in range(7) if not ((u > u[i]) & (leaks < leaks[i])).any()]
        assert sorted(best) == naive


def test_distance_and_levels():
    assert frontier.ideal_distance(1, 1) == pytest.approx(0.5**0.5)
    assert frontier.ideal_distance(0, 0) == pytest.approx(0.5**0.5)
    assert frontier.ideal_distance([1, 0], [0, 1]) == pytest.approx([0, 1])
    u, leaks = [1.0, 0.96, 0.95, 0.6], [0.9, 0.5, 0.6, 0.05]
    assert frontier.leakage_at(u, leaks) == 0.5
    assert frontier.leakage_at(u, leaks, 1.01) is None
    assert frontier.utility_at(u, leaks) == 0.6
    assert frontier.utility_at(u, leaks, 0.01) is None


def test_holm_by_hand():
    # Sorted .01 .02 .03 .5, times 4 3 2 1: .04 .06 .06 .5, never falling.
    assert frontier.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert frontier.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert frontier.holm([0.2]) == [0.2]


def test_holm_keeps_false_alarms_rare():
    """Of 2000 families of 8 questions without an answer, at most 5 % raise an alarm at .05."""
    p = np.random.default_rng(0).random((2000, 8))
    alarms = np.mean([min(frontier.holm(row)) < 0.05 for row in p])
    assert 0.03 < alarms < 0.065
    assert np.mean(p.min(1) < 0.05) > 0.3


@pytest.mark.parametrize("call", [
    lambda: frontier.pareto([1.0], []),
    lambda: frontier.hypervolume([float("nan")], [0.0]),
    lambda: frontier.holm([1.5]),
    lambda: frontier.holm([]),
])  # fmt: skip
def test_what_cannot_be_answered_is_refused(call):
    with pytest.raises(BadInput):
        call()
