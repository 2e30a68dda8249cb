"""Your own videos: a folder per class, and one line of JSON per video.

    videos/golf/a.avi           the folder is the class: labels from 0, in sorted order
    videos/pour/b.avi
    annotations.jsonl           {"video": "golf/a.avi", "split": "train", "group": "film 7",
                                 "attributes": {"face": 1, "nudity": 0}}

``split`` is train, val or test. ``group`` is what must not stand on both sides of a split
and what intervals are computed over: the source film, or the person. Left out, every video
is its own. Attributes are private ones, 0 or 1, the same names on every line.

What a clip is, and what happens to videos that cannot be used, is in :mod:`velatura.data._clips`.
"""

from __future__ import annotations

from pathlib import Path

from velatura.config import config
from velatura.data import _clips
from velatura.data._lists import videos
from velatura.errors import BadInput
from velatura.layout import Splits

__all__ = ["Config", "load"]


@config
class Config(_clips.ClipConfig):
    """Where the videos are; the rest is of :class:`ClipConfig`.

    Attributes:
        root: the folder of class folders.
        annotations: the JSONL file, one line per video.
    """

    root: str
    annotations: str


def load(cfg: Config, progress: _clips.Progress | None = None) -> Splits:
    """Read the annotations, decode every video once, and give the three splits.

    Raises:
        BadInput: one sentence that names the folder, line, video, class or attribute.
    """
    root, annotations = _clips.folder_of(cfg.root), Path(cfg.annotations)
    listing = _clips.labelled(videos.read(annotations), cfg)
    for video in listing.videos:
        if not (root / video.path).is_file():
            raise BadInput(f"{annotations} names {video.path}, which is not in {root}.")
    return _clips.load(listing, root, cfg, progress)
