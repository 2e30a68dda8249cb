"""VISPR1 for ``[private]``: photographs with seven private attributes.

    ROOT/images/{train,val,test}2017/*.jpg
    ROOT/{train,val,test}2017.txt and the labels, there or in ``annotations``

Formats and counts are in :mod:`velatura.data._lists.vispr`; ``velatura data check vispr1`` looks a
copy through.
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
    return _clips.load_official("vispr1", cfg, progress)
