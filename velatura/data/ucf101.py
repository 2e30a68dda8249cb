"""UCF101 without private attributes; ``[private]`` brings images that have them.

    UCF-101/<Class>/v_<Class>_gXX_cYY.avi       root: 320 x 240
    ucfTrainTestlist/{classInd,trainlist01,...}.txt   the official lists, beside it

Formats and counts are in :mod:`velatura.data._lists.ucf101`; ``velatura data check ucf101`` looks
a copy through.
"""

from __future__ import annotations

from velatura.config import config
from velatura.data import _clips
from velatura.layout import Splits


@config
class Config(_clips.ListConfig):
    """All of it is of :class:`ListConfig`."""


def load(cfg: Config, progress: _clips.Progress | None = None) -> Splits:
    """Train, val and test of one official split; val is whole groups (gXX) of train."""
    return _clips.load_official("ucf101", cfg, progress)
