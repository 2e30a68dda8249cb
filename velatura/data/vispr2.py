"""VISPR2 for ``[private]``: the photographs of VISPR with seven other private attributes.

Layout as of :mod:`velatura.data.vispr1`; ``velatura data check vispr2`` looks a copy through.
"""

from __future__ import annotations

from velatura.config import config
from velatura.data import _clips
from velatura.layout import Splits


@config
class Config(_clips.ImageConfig):
    """All of it is of :class:`ImageConfig`."""


def load(cfg: Config, progress: _clips.Progress | None = None) -> Splits:
    """Train, val and test; where val has no labels, val is a part of train."""
    return _clips.load_official("vispr2", cfg, progress)
