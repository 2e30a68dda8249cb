"""UTKFace for ``[private]``: aligned faces with perceived gender and race.

    ROOT/<age>_<gender>_<race>_<time>.jpg.chip.jpg

Names are the labels: :mod:`velatura.data._lists.utkface`. Splits are drawn from names.
"""

from __future__ import annotations

from velatura.config import config
from velatura.data import _clips
from velatura.layout import Splits


@config
class Config(_clips.ImageConfig):
    """All of it is of :class:`ImageConfig`."""


def load(cfg: Config, progress: _clips.Progress | None = None) -> Splits:
    """Train, val and test, drawn from the file names."""
    return _clips.load_official("utkface", cfg, progress)
