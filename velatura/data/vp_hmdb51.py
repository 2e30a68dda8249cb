"""VP-HMDB51: clips of HMDB51 with five private attributes each.

    hmdb51_org/<action>/<name>.avi
    the official lists and the labels, beside it or in ``annotations``

Formats, sources and counts are in :mod:`velatura.data._lists.vp` and
:mod:`velatura.data._lists.hmdb51`; `velatura data check vp_hmdb51` looks a copy through.
"""

from __future__ import annotations

from velatura.config import config
from velatura.data import _clips
from velatura.layout import Splits


@config
class Config(_clips.ListConfig):
    """All of it is of :class:`ListConfig`."""


def load(cfg: Config, progress: _clips.Progress | None = None) -> Splits:
    """Train, val and test of one official split; val is whole films or subjects of train."""
    return _clips.load_official("vp_hmdb51", cfg, progress)
