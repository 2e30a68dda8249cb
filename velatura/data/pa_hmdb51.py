"""Actions of PA-HMDB51: its 515 videos as test, HMDB51 without them as train.

    ROOT/<action>/<name>.avi                         the videos of HMDB51
    PrivacyAttributes/*.json, testTrainMulti_7030_splits/*.txt   beside it, or in ``annotations``

286 of the 515 stand in the training list of HMDB51's split 1; they are taken out here, and so are
other training clips of the test's films. Its private attributes are those of frames: name
``vispr1_to_pa_hmdb51`` in ``[private]`` to examine them as the paper does.

Published numbers are of the leaky list. ``leaky = true`` repeats it, and every table, record and
report then names the data ``LEAKY: pa_hmdb51``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from velatura.config import config
from velatura.data import _clips
from velatura.data._lists.listing import Listing
from velatura.layout import Splits


@config
class Config(_clips.ListConfig):
    """As :class:`ListConfig`.

    Attributes:
        split: whose training list to learn from; 0 is all videos of HMDB51, as the authors do.
        leaky: keep the test's videos and films in train and val, and mark every result.
    """

    split: Annotated[int, Field(ge=0, le=3)] = 0
    leaky: bool = False

    LATER: ClassVar[Mapping[str, Any]] = {**_clips.ListConfig.LATER, "leaky": False}


def load(cfg: Config, progress: _clips.Progress | None = None) -> Splits:
    """Train and val without the 515; test is the 515. No attributes but those of ``labels``."""
    return _clips.load_official("pa_hmdb51", cfg, progress, _actions_only)


def _actions_only(listing: Listing) -> Listing:
    videos = tuple(replace(video, attributes=None) for video in listing.videos)
    return replace(listing, attribute_names=(), videos=videos)
