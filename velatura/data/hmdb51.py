"""HMDB51 without private attributes; ``[private]`` brings images that have them.

    hmdb51_org/<action>/<name>.avi              root: height 240
    testTrainMulti_7030_splits/<action>_test_split{1,2,3}.txt   the official lists, beside it

Formats and counts are in :mod:`velatura.data._lists.hmdb51`; ``velatura data check hmdb51`` looks
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
    """Train, val and test of one official split; val is whole films of train."""
    return _clips.load_official("hmdb51", cfg, progress)
