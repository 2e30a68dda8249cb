"""PA-HMDB51: 515 videos of HMDB51 with five private attributes for every frame. Evaluation only.

    PrivacyAttributes/<action>.json      51 files, beside the lists of HMDB51
    {"<name>.avi": {"skin_color": R, "gender": R, "face": R, "nudity": R, "relationship": R,
                    "review": true, "note": ""}}        R = [[first, last, value], ...]

Frames count from 0 and both ends belong to the range. A value is a list where people of two
kinds are in the picture. Some tracks have gaps, whose frames nobody labelled, and one has an
overlap, where the later range holds.

    skin_color     0 not identifiable, 1 white, 2 brown or yellow, 3 black
    gender         0 not identifiable, 1 male, 2 female
    face           0 invisible, 1 partly visible, 2 completely
    nudity         0 none, 1 partial, 2 semi-nudity
    relationship   0 not identifiable, 1 identifiable

Two public readings of these as yes or no: ``VITA``, five attributes, and ``VISPR1``, which
examines an attacker that learnt VISPR1's seven. Its last one, a65_rel_social, has no
counterpart here: it is never present, and ``SCORED`` leaves it out of the mean.

286 of the 515 are in the training list of HMDB51's split 1. So training lists here leave all
515 out, unless ``leaky`` asks for them.

Source: Wu, Wang, Wang, Wang and Jin, 2020, https://arxiv.org/abs/1906.05675; the readings:
the same authors' code, and Dave et al., TeD-SPAD, 2023, https://arxiv.org/abs/2308.11072
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from velatura.data._lists import hmdb51, text
from velatura.data._lists.listing import Listing, Video
from velatura.data._lists.source import Ask, Source
from velatura.errors import BadInput

__all__ = [
    "COUNTS",
    "SCORED",
    "SOURCES",
    "VISPR1",
    "VITA",
    "Annotation",
    "Span",
    "annotated",
    "clip_labels",
    "frame_labels",
    "pooled",
    "read",
    "read_test",
]

VALUES = {"skin_color": 3, "gender": 2, "face": 2, "nudity": 2, "relationship": 1}  # the largest
Reading = Mapping[str, tuple[str, tuple[int, ...]]]
VITA: Reading = {
    "gender": ("gender", (1, 2)),
    "face": ("face", (1, 2)),
    "nudity": ("nudity", (1, 2)),
    "skin_color": ("skin_color", (1, 2, 3)),
    "relationship": ("relationship", (1,)),
}
VISPR1: Reading = {
    "a17_color": ("skin_color", (1, 2, 3)),
    "a4_gender": ("gender", (1, 2)),
    "a9_face_complete": ("face", (2,)),
    "a10_face_partial": ("face", (1,)),
    "a12_semi_nudity": ("nudity", (1, 2)),
    "a64_rel_personal": ("relationship", (1,)),
    "a65_rel_social": ("relationship", ()),
}
SCORED = tuple(VISPR1)[:6]
# The training list is HMDB51 without the 515: of all its videos (0), or of a split's.
COUNTS = {
    0: {"train": 6251, "test": 515},
    1: {"train": 3284, "test": 515},
    2: {"train": 3267, "test": 515},
    3: {"train": 3259, "test": 515},
}
REMEDY = "get the folder PrivacyAttributes of https://github.com/htwang14/PA-HMDB51"


class Span(NamedTuple):
    """Frames first ... last, both of them, and the values of the people in them."""

    first: int
    last: int
    values: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One video's tracks, by the names of ``VALUES``."""

    path: str
    tracks: Mapping[str, tuple[Span, ...]]

    def __len__(self) -> int:
        """Frames, up to the last one that any track labels."""
        return 1 + max(span.last for track in self.tracks.values() for span in track)


def annotated(folder: Path) -> list[Annotation]:
    """Every annotated video.

    Args:
        folder: PrivacyAttributes, or one above it.

    Raises:
        BadInput: no such folder; a file that is not of the format; the message names the video
            and the track.
    """
    below = ("PrivacyAttributes", "pa_hmdb51/PrivacyAttributes")
    home = text.find(folder, below, "*.json", REMEDY)
    found = []
    for path in sorted(home.glob("*.json")):
        videos = text.read_json(path, REMEDY)
        if not isinstance(videos, dict):
            raise BadInput(f"{path} is not an object with one video per key; {REMEDY}.")
        for name, tracks in videos.items():
            try:
                if "/" in name or not name.strip():
                    raise BadInput("the name of a file was expected, without a folder")
                made = {track: _track(tracks, track) for track in VALUES}
            except BadInput as error:
                raise BadInput(f"{path}, {name}: {error}; {REMEDY}.") from None
            found.append(Annotation(path=f"{path.stem}/{name}", tracks=made))
    return found


def _track(tracks: Any, name: str) -> tuple[Span, ...]:
    """One track of a video, in the order of the file."""
    ranges = tracks.get(name) if isinstance(tracks, dict) else None
    if not isinstance(ranges, list) or not ranges:
        raise BadInput(f"{name} is no list of [first, last, value]")
    return tuple(_span(value, name) for value in ranges)


def _span(value: Any, name: str) -> Span:
    if isinstance(value, list) and len(value) == 3:
        first, last, values = value
        values = values if isinstance(values, list) else [values]
        numbers = all(type(n) is int for n in (first, last, *values))
        if numbers and values and 0 <= first <= last and 0 <= min(values) <= max(values):
            if max(values) <= VALUES[name]:
                return Span(first, last, tuple(values))
    raise BadInput(f"{name} has {value}, expected [first, last, 0 ... {VALUES[name]}]")


def frame_labels(
    annotation: Annotation, reading: Reading, frames: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What every frame shows.

    Args:
        annotation: one video.
        reading: ``VITA`` or ``VISPR1``.
        frames: T, the frames of the video file; by default as far as the labels go.

    Returns:
        (T, K) uint8, 1 where present; (T, K) bool, False where nobody labelled the frame.
    """
    length = len(annotation) if frames is None else frames
    labels = np.zeros((length, len(reading)), np.uint8)
    known = np.zeros((length, len(reading)), bool)
    for k, (track, present) in enumerate(reading.values()):
        for first, last, values in annotation.tracks[track]:
            # People of two kinds: present when it is for one of them.
            labels[first : last + 1, k] = any(value in present for value in values)
            known[first : last + 1, k] = True
    return labels, known


def clip_labels(annotation: Annotation, reading: Reading) -> dict[str, int]:
    """What a video shows in any of its frames: one is enough to give a secret away."""
    labels, known = frame_labels(annotation, reading)
    return dict(zip(reading, (labels & known).max(axis=0).astype(int).tolist(), strict=True))


def pooled(found: Sequence[Annotation], reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """:func:`frame_labels` of all videos, one after the other: two (F, K) arrays."""
    labels, known = zip(*(frame_labels(a, reading) for a in found), strict=True)
    return np.concatenate(labels), np.concatenate(known)


def read_test(folder: Path, reading: Reading = VISPR1) -> Listing:
    """The annotated videos, all in test, with what each shows in any of its frames.

    Args:
        folder: PrivacyAttributes, or one above it.
        reading: ``VISPR1``, of which the six that can be scored are kept, or ``VITA``.
    """
    found = annotated(folder)
    names = tuple(name for name in reading if name in SCORED or reading is not VISPR1)
    labels, known = pooled(found, {name: reading[name] for name in names})
    chance = 100 * (labels.sum(axis=0) / known.sum(axis=0)).mean()
    videos = []
    for annotation in found:
        path, action = annotation.path, annotation.path.split("/")[0]
        present = clip_labels(annotation, reading)
        mine = {name: present[name] for name in names}
        group = hmdb51.film(path)
        videos.append(Video(path=path, action=action, split="test", group=group, attributes=mine))
    return Listing(
        name="pa_hmdb51",
        action_names=tuple(sorted({video.action for video in videos})),
        attribute_names=names,
        videos=tuple(videos),
        notes=(
            f"Counted by frames, as examined, chance cMAP is {chance:.1f} over "
            f"{known.any(axis=1).sum()} labelled frames; the table counts videos.",
        ),
    )


def read(
    folder: Path, split: int | None = None, leaky: bool = False, reading: Reading = VISPR1
) -> Listing:
    """The 515 videos as test, and HMDB51 without them as train.

    Args:
        folder: holds PrivacyAttributes and HMDB51's lists, or the folders of both.
        split: train on this split's training list; None is on all other videos of HMDB51.
        leaky: keep the 515 in train, as published numbers do; the listing is marked.
        reading: as of :func:`read_test`.

    Raises:
        BadInput: as of :func:`annotated` and :func:`hmdb51.read`; a video that is in none
            of HMDB51's lists.
    """
    test = read_test(folder, reading)
    lists = hmdb51.read(folder, split or 1)
    tested = {video.path for video in test.videos}
    if strange := sorted(tested - {video.path for video in lists.videos}):
        raise BadInput(
            f"{folder} annotates {strange[0]}, which is not in HMDB51's lists; get both from "
            "their own pages."
        )
    train = [v for v in lists.videos if split is None or v.split == "train"]
    both = sum(v.path in tested for v in train)
    kept = (replace(v, split="train") for v in train if leaky or v.path not in tested)
    note = (
        f"LEAKY: {both} of the {len(tested)} test videos are in the training list too."
        if leaky
        else f"{both} videos of the test list were taken out of the training list."
    )
    return replace(
        test,
        action_names=lists.action_names,
        videos=(*kept, *test.videos),
        notes=(note, *test.notes),
        leaky=leaky,
    )


def _ask(ask: Ask) -> Listing:
    SOURCES[0].split_of(ask)
    return read(ask.beside, ask.split, ask.leaky)


SOURCES = (
    Source(
        name="pa_hmdb51",
        title="PA-HMDB51: 515 videos of HMDB51, private attributes for every frame; test only",
        licence="non-commercial research, see the LICENSE beside it",
        page="https://github.com/htwang14/PA-HMDB51",
        layout="ROOT/<action>/<name>.avi, the videos of HMDB51\n"
        "beside ROOT: PrivacyAttributes/*.json and testTrainMulti_7030_splits/*.txt",
        by_hand=(
            "The videos and lists are hmdb51's: `velatura data get hmdb51` says how.",
            "Copy the folder PrivacyAttributes of the page beside the videos.",
        ),
        read=_ask,
        splits=(1, 2, 3),
        counts=COUNTS,
        spelling=hmdb51.jhmdb_spelling,
    ),
)
