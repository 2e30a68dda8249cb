"""UTKFace: faces whose file name says age, gender and race, as somebody perceived them.

    <age>_<gender>_<race>_<time>.jpg.chip.jpg     anywhere below the root

Gender is 0 male, 1 female; race 0 White, 1 Black, 2 Asian, 3 Indian, 4 other; both are tags
that others gave, not what the people say of themselves. The private attributes are ``female``
and one per race tag. Age is no yes or no; ``face`` gives it.

There is no official split and nobody's name: an image's split comes from its name alone, 70 %
train, 15 % val, 15 % test, and the same person may stand in two of them. A few files of the
original lack a tag; they are left out and named, and more than 1 % of them is an error.

Source: Zhang, Song and Qi, 2017, https://susanqq.github.io/UTKFace/
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from velatura.data._lists import disk
from velatura.data._lists.listing import Image, Listing
from velatura.data._lists.source import IMAGES, Ask, Source
from velatura.data._lists.splits import hashed_split
from velatura.errors import BadInput

__all__ = ["ATTRIBUTES", "SOURCES", "Face", "face", "read"]

RACES = ("white", "black", "asian", "indian", "other")
ATTRIBUTES = ("female", *RACES)
TOLERATED = 0.01


class Face(NamedTuple):
    """What a file name says: years, 0 male or 1 female, index into RACES."""

    age: int
    gender: int
    race: int


def face(name: str) -> Face | None:
    """The tags of a file name, or None where one is missing or out of range."""
    found = re.fullmatch(r"(\d{1,3})_([01])_([0-4])_\d+\.jpg(?:\.chip\.jpg)?", name)
    return Face(*(int(tag) for tag in found.groups())) if found else None


def read(root: Path) -> Listing:
    """Every tagged face below a folder.

    Raises:
        BadInput: no folder, no faces in it, a file that stands there twice, or more than 1 %
            of names without their tags.
    """
    files = sorted(disk.files(root, IMAGES))
    images: list[Image] = []
    odd: list[str] = []
    seen: dict[str, str] = {}
    for path in files:
        name = path.rsplit("/", 1)[-1]
        tags = face(name)
        if tags is None:
            odd.append(path)
            continue
        if name in seen:
            raise BadInput(f"{root} holds {seen[name]} and {path}, the same file; remove one.")
        seen[name] = path
        races = {race: int(tags.race == i) for i, race in enumerate(RACES)}
        split = hashed_split(name)
        attributes = {"female": tags.gender, **races}
        images.append(Image(path=path, split=split, group=name, attributes=attributes))
    if not images or len(odd) > TOLERATED * len(files):
        some = f", such as {odd[0]}" if odd else ""
        raise BadInput(
            f"{root} holds {len(images)} images named <age>_<gender>_<race>_<time>.jpg.chip.jpg "
            f"and {len(odd)} others{some}; give the folder of UTKFace's aligned faces."
        )
    notes = ["Perceived tags; the same person may stand in train and test: nobody is named."]
    if odd:
        notes.append(f"{len(odd)} files without all tags are left out: {', '.join(odd[:3])}.")
    return Listing(
        name="utkface", attribute_names=ATTRIBUTES, images=tuple(images), notes=tuple(notes)
    )


def _ask(ask: Ask) -> Listing:
    SOURCES[0].split_of(ask)
    return read(ask.root)


SOURCES = (
    Source(
        name="utkface",
        title="UTKFace: over 20000 faces tagged with age, gender and race",
        licence="non-commercial research only",
        page="https://susanqq.github.io/UTKFace/",
        layout="ROOT/<age>_<gender>_<race>_<time>.jpg.chip.jpg",
        by_hand=(
            "Ask on its page for the aligned and cropped faces; unpack them into one folder.",
        ),
        read=_ask,
        suffixes=IMAGES,
        # The size of the download varies with the mirror, so no count is called official.
    ),
)
