"""Your own images for ``[private]``, with a CSV or JSONL file of binary attributes.

Its format is in :mod:`velatura.data._lists.images`; ``annotations`` names the file.
"""

from __future__ import annotations

from velatura.config import config
from velatura.data import _clips
from velatura.layout import Splits


@config
class Config(_clips.ImageConfig):
    """All of it is of :class:`ImageConfig`."""


def load(cfg: Config, progress: _clips.Progress | None = None) -> Splits:
    """Train, val and test as the file says, or drawn from the groups' names."""
    return _clips.load_official("images", cfg, progress)
