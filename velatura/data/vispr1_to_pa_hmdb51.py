"""For ``[private]``: attackers learn on VISPR1's photographs and are tested on PA-HMDB51's frames.

    root, annotations     VISPR, as of :mod:`velatura.data.vispr1`
    videos                the class folders of HMDB51
    lists                 PrivacyAttributes and the lists of HMDB51; beside ``videos`` when empty

The test's items are single frames of the 515 videos that somebody labelled in full, with the six
attributes that both sets have (:data:`velatura.data._lists.pa_hmdb51.SCORED`). Intervals are over
films. Source: protocol K2 of the paper's table 1.

``[data]`` must not train on the videos that are tested on here: ``pa_hmdb51`` leaves them out, and
others that hold them are refused, unless ``leaky = true`` asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from velatura.config import config, digest
from velatura.data import _clips
from velatura.data._lists import catalog, hmdb51, pa_hmdb51
from velatura.data._lists.disk import files, respelled
from velatura.data._lists.listing import Listing
from velatura.data._store.frames import StoredFrames
from velatura.data._store.store import Store
from velatura.errors import BadInput
from velatura.layout import ClipSet, Picked, Splits, marked_leaky

READING = {name: pa_hmdb51.VISPR1[name] for name in pa_hmdb51.SCORED}


@config
class Config(_clips.ImageConfig):
    """Where both are; the rest is of :class:`ImageConfig`.

    Attributes:
        videos: the class folders of HMDB51.
        lists: the folder of PrivacyAttributes and of HMDB51's lists.
        every: of the labelled frames of a video, every so many is an item.
        leaky: allow ``[data]`` to train on these videos, and mark every result.
    """

    videos: str
    lists: str = ""
    every: Annotated[int, Field(ge=1)] = 1
    leaky: bool = False

    LATER: ClassVar[Mapping[str, Any]] = {"leaky": False}


def load(cfg: Config, progress: _clips.Progress | None = None) -> Splits:
    """VISPR1's train and val, and the frames of PA-HMDB51 as test.

    Raises:
        BadInput: as of both; a video that is not there, unless ``missing`` allows it.
    """
    train, val, _ = _clips.load_official("vispr1", cfg, progress, _scored)
    parts = (train, val, _frames(cfg, train, progress))
    names = (f"vispr1_to_pa_hmdb51/{split}" for split in Splits._fields)
    found = [replace(part, name=name) for part, name in zip(parts, names, strict=True)]
    return Splits(*(marked_leaky(part) if cfg.leaky else part for part in found))


def _scored(listing: Listing) -> Listing:
    """VISPR1 with the attributes that PA-HMDB51 has too."""
    kept = {
        image.path: {name: image.attributes[name] for name in READING}
        for image in listing.images
        if image.attributes is not None
    }
    return listing.with_labels(kept, listing.name)


def _frames(cfg: Config, train: ClipSet, progress: _clips.Progress | None) -> ClipSet:
    """Every labelled frame is an item: a video of one frame."""
    root = _clips.folder_of(cfg.videos)
    folder = Path(cfg.lists) if cfg.lists else root.absolute().parent
    source = catalog.source("pa_hmdb51")
    listing, _ = respelled(
        pa_hmdb51.read_test(folder), files(root, source.suffixes), source.spelling
    )
    there = [video for video in listing.videos if (root / video.path).is_file()]
    if len(there) < len(listing.videos):
        absent = next(v.path for v in listing.videos if not (root / v.path).is_file())
        what = f"{len(listing.videos) - len(there)} of {len(listing.videos)} annotated videos"
        if cfg.missing == "refuse" or not there:
            raise BadInput(
                f"{what} are not in {root}, first {absent}; get HMDB51 in full, or set "
                "private.missing = 'leave out'."
            )
        _clips.note("%s are not there, first %s.", what, absent)
    tracks = dict(
        zip((video.path for video in listing.videos), pa_hmdb51.annotated(folder), strict=True)
    )
    store = _clips.prepared(root, there, cfg, progress)
    there = _clips.readable(there, store)
    stored = StoredFrames(store, [v.path for v in there], cfg.height, cfg.width)
    films = sorted({hmdb51.film(video.path) for video in there})
    asked = [list(READING).index(name) for name in train.attribute_names]
    numbers, labels, groups = [], [], []
    for first, video in zip(np.cumsum(stored.lengths) - stored.lengths, there, strict=True):
        length = store.videos[video.path].frames
        marks, known = pa_hmdb51.frame_labels(tracks[video.path], READING, length)
        # Labelled in full whichever attributes are asked for: the same frames for all of them.
        chosen = np.flatnonzero(known.all(1))[:: cfg.every]
        numbers.append(first + chosen)
        labels.append(marks[chosen][:, asked])
        groups += [films.index(hmdb51.film(video.path))] * len(chosen)
    picked = Picked(stored, np.concatenate(numbers))
    attributes = np.concatenate(labels)
    return ClipSet(
        frames=picked,
        lengths=np.ones(len(attributes), np.int64),
        actions=np.zeros(len(attributes), np.int64),
        attributes=attributes,
        # Numbers that no photograph has: the test's groups are its own.
        groups=np.array(groups, np.int64) + 1 + int(train.groups.max()),
        action_names=train.action_names,
        attribute_names=train.attribute_names,
        name=train.name,
        fingerprint=digest([_digests(store, there), picked.numbers.tolist(), attributes.tolist()]),
        files=frozenset(video.name for video in there),
        paths={video.name: root / video.path for video in there},
        films={video.name: hmdb51.film(video.path) for video in there},
    )


def _digests(store: Store, there: list[Any]) -> list[str]:
    return [store.videos[video.path].digest for video in there]
