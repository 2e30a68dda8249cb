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


@pytest.mark.parametrize("call", [
    lambda: frontier.pareto([1.0], []),
    lambda: frontier.hypervolume([float("nan")], [0.0]),
])  # fmt: skip
def test_what_cannot_be_answered_is_refused(call):
    with pytest.raises(BadInput):
        call()
