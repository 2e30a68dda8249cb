"""VP-HMDB51 and VP-UCF101: five private attributes for every video of HMDB51 and UCF101.

    hmdb51_privacy_attribute_label.pickle     {"<action>/<name>.mp4": (1, 5) of 0 or 1}
    ucf101_privacy_attribute_label.pickle     the same

The keys end in .mp4 and the videos in .avi. The columns are skin colour, face, gender, nudity
and relationship: the papers list them in another order, and this one agrees with PA-HMDB51 on
the 515 videos that both label. Videos, actions and splits are those of HMDB51 and UCF101; the
pickles come without splits, and every one of their keys is in the official lists.

Source: Li et al., STPrivacy, ICCV 2023, https://github.com/ming1993li/stprivacy
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from velatura.data._lists import hmdb51, text, ucf101
from velatura.data._lists.listing import Listing
from velatura.data._lists.pickles import read_arrays
from velatura.data._lists.source import Ask, Remote, Source
from velatura.errors import BadInput

__all__ = ["ATTRIBUTES", "POSITIVES", "SOURCES", "read"]

ATTRIBUTES = ("skin_color", "face", "gender", "nudity", "relationship")
# Counted on the distributed pickles: .903 .620 .916 .268 .211 and .912 .600 .897 .247 .253.
POSITIVES = {
    "hmdb51": dict(zip(ATTRIBUTES, (6109, 4194, 6195, 1815, 1431), strict=True)),
    "ucf101": dict(zip(ATTRIBUTES, (12143, 7994, 11949, 3289, 3375), strict=True)),
}
VIDEO_SETS = {"hmdb51": hmdb51, "ucf101": ucf101}
REMEDY = "`velatura data get` fetches it"


def read(annotations: Path, videos: str, split: int = 1, labels: Path | None = None) -> Listing:
    """The lists of HMDB51 or UCF101 with the five attributes.

    Args:
        annotations: the folder with the lists, as for the videos themselves.
        videos: ``"hmdb51"`` or ``"ucf101"``.
        split: 1, 2 or 3.
        labels: the pickle; by default looked for in ``annotations`` and its folder ``vp``.

    Raises:
        BadInput: as of the lists; a missing pickle or one that holds something else; labels
            that are not five of 0 or 1, or for a video that is in no list.
    """
    listing = VIDEO_SETS[videos].read(annotations, split)
    name = f"{videos}_privacy_attribute_label.pickle"
    path = labels or text.find(annotations, ("vp", "annotations"), name, REMEDY) / name
    found = {}
    for key, row in read_arrays(path).items():
        if row.shape != (1, len(ATTRIBUTES)) or not np.isin(row, (0, 1)).all():
            raise BadInput(
                f"{path}: {key} has {row.tolist()}, expected [[0 or 1, five times]]; "
                "it is not the published file."
            )
        # Not Path.with_suffix: names hold dots of their own.
        video = f"{key.removesuffix('.mp4')}.avi"
        found[video] = dict(zip(ATTRIBUTES, row[0].astype(int).tolist(), strict=True))
    return replace(listing.with_labels(found, str(path)), name=f"vp_{videos}")


def _source(videos: str, title: str, sha256: str) -> Source:
    of = VIDEO_SETS[videos].SOURCES[0]
    name = f"{videos}_privacy_attribute_label.pickle"

    def ask(ask: Ask) -> Listing:
        return read(ask.beside, videos, source.split_of(ask))

    source = Source(
        name=f"vp_{videos}",
        title=title,
        licence="no licence stated; published beside the STPrivacy paper",
        page="https://github.com/ming1993li/stprivacy",
        layout=f"{of.layout}\nbeside ROOT: {name}",
        by_hand=(
            f"The videos and lists are {of.name}'s: `velatura data get {of.name}` says how.",
            f"The labels are annotations/{name} of the page.",
        ),
        read=ask,
        splits=of.splits,
        counts=of.counts,
        positives={"all": POSITIVES[videos]},
        files=(
            Remote(
                name=name,
                url="https://raw.githubusercontent.com/ming1993li/stprivacy/"
                f"c64b6deace120d338b57bbd37ad4910905fe9bad/annotations/{name}",
                sha256=sha256,
            ),
        ),
        spelling=of.spelling,
    )
    return source


SOURCES = (
    _source(
        "hmdb51",
        "VP-HMDB51: five private attributes of HMDB51's 6766 clips",
        "233f26185ed3b6aa884a1030985e16ced3478fe928ea61a3e292cd26d1380547",
    ),
    _source(
        "ucf101",
        "VP-UCF101: five private attributes of UCF101's 13320 videos",
        "0f5ba5553b26ccede4b2aa515161a5d4cadcd96ceffa309da2fb7342120a769f",
    ),
)
