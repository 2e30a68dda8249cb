"""Many settings of one method, or many methods, as one trade-off: pure functions on (U, L) points.

Utility U and leakage L are as :mod:`velatura.metrics` defines them, shares of what raw video gives.
Better is more U and less L. The worst corner is U = 0, L = 1: nothing is readable and all leaks.
Points beyond the square (U above 1, L below 0, both by chance) count as on its edge.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from velatura.errors import BadInput

__all__ = ["hypervolume", "ideal_distance", "leakage_at", "pareto", "utility_at"]

Array = npt.NDArray[Any]


def pareto(utility: ArrayLike, leakage: ArrayLike) -> list[int]:
    """The points that no other one beats: none has at least as much U, at most as much L, and one
    of the two strictly better.

    Returns:
        Their numbers, by rising U; equal points all stay.
    """
    u, l_ = _points(utility, leakage)
    kept = [
        i
        for i in range(len(u))
        if not ((u >= u[i]) & (l_ <= l_[i]) & ((u > u[i]) | (l_ < l_[i]))).any()
    ]
    return sorted(kept, key=lambda i: (u[i], l_[i]))


def hypervolume(utility: ArrayLike, leakage: ArrayLike) -> float:
    """The area that the points dominate, towards U = 0 and L = 1: 0 to 1, more is better.

    Raw video alone gives 0, and so does a constant; a method that hides all and keeps all, 1.

    Source: Zitzler and Thiele, 1998, https://doi.org/10.1007/BFb0056872
    """
    u, l_ = (np.clip(x, 0, 1) for x in _points(utility, leakage))
    area, lowest = 0.0, 1.0
    for i in np.lexsort((l_, -u)):  # falling U; at equal U the least L first
        if l_[i] < lowest:
            area += u[i] * (lowest - l_[i])
            lowest = l_[i]
    return float(area)


def ideal_distance(utility: Any, leakage: Any) -> Any:
    """Distance from U = 1, L = 0, of which the far corner has 1.

        d = sqrt(((1 - U)^2 + L^2) / 2)

    Raw video and a constant both have .707. It rewards hiding as much as keeping: quote U and L
    beside it.
    """
    u, l_ = np.asarray(utility, np.float64), np.asarray(leakage, np.float64)
    d = np.sqrt(((1 - u) ** 2 + l_**2) / 2)
    return d if d.ndim else float(d)


def leakage_at(utility: ArrayLike, leakage: ArrayLike, wanted: float = 0.95) -> float | None:
    """The least L among the points whose U is at least ``wanted``; None where no point has it.

    Points are not joined: what nobody has trained, nobody has.
    """
    u, l_ = _points(utility, leakage)
    return float(l_[u >= wanted].min()) if (u >= wanted).any() else None


def utility_at(utility: ArrayLike, leakage: ArrayLike, allowed: float = 0.10) -> float | None:
    """The most U among the points whose L is at most ``allowed``; None where no point has it."""
    u, l_ = _points(utility, leakage)
    return float(u[l_ <= allowed].max()) if (l_ <= allowed).any() else None


def _points(utility: ArrayLike, leakage: ArrayLike) -> tuple[Array, Array]:
    u, l_ = np.asarray(utility, np.float64), np.asarray(leakage, np.float64)
    if u.ndim != 1 or u.shape != l_.shape or not len(u):
        raise BadInput(f"As many U as L are needed, at least one; got {u.shape} and {l_.shape}.")
    if not (np.isfinite(u).all() and np.isfinite(l_).all()):
        raise BadInput("U and L must be finite; leave out rows that have none.")
    return u, l_
