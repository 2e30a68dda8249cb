"""VISPR: 22167 photographs with 68 privacy attributes; VISPR1 and VISPR2 are seven of them each.

    images/{train,val,test}2017/2017_########.jpg         below the root; some grey, some CMYK
    annotations/{train,val,test}2017/2017_########.json   {"labels": ["a4_gender"], ...}
    {train,val,test}2017.txt                              "annotations/train2017/2017_########.json"
    {train,test}_VISPR1_labels.pkl                        {"2017_########": (7,) 0 or 1}

The labels come from the JSON files, or, where they are not there, from such pickles, which
TeD-SPAD distributes for VISPR1 without val. All images of a split are used, also those that
show none of the seven. The literature leaves val2017 unused: choose models on it.
Every image is a group of its own.

Source: Orekondy, Schiele and Fritz, 2017, https://arxiv.org/abs/1703.10660; the two sets of
seven as Dave et al. use them: SPAct, 2022, https://arxiv.org/abs/2203.15205
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np

from velatura.data._lists import text
from velatura.data._lists.listing import Image, Listing
from velatura.data._lists.pickles import read_arrays
from velatura.data._lists.source import IMAGES, Ask, Source
from velatura.errors import BadInput

__all__ = ["ATTRIBUTES", "COUNTS", "POSITIVES", "SOURCES", "read"]

ATTRIBUTES = {
    "vispr1": (
        "a17_color",
        "a4_gender",
        "a9_face_complete",
        "a10_face_partial",
        "a12_semi_nudity",
        "a64_rel_personal",
        "a65_rel_social",
    ),
    "vispr2": (
        "a6_hair_color",
        "a16_race",
        "a59_sports",
        "a1_age_approx",
        "a2_weight_approx",
        "a73_landmark",
        "a11_tattoo",
    ),
}
COUNTS = {0: {"train": 10000, "val": 4167, "test": 8000}}
# Counted on the distributed pickles, in the order of the attributes above.
POSITIVES = {
    "train": dict(zip(ATTRIBUTES["vispr1"], (4710, 4625, 3484, 2789, 588, 334, 694), strict=True)),
    "test": dict(zip(ATTRIBUTES["vispr1"], (3781, 3715, 2792, 2326, 438, 253, 569), strict=True)),
}
REMEDY = "get VISPR's lists and annotations from its page"
Labels = dict[str, dict[str, int]]


def read(annotations: Path, name: str = "vispr1") -> Listing:
    """Images, splits and the seven attributes of VISPR1 or VISPR2.

    Args:
        annotations: the folder with train2017.txt, or the one above it.
        name: ``"vispr1"`` or ``"vispr2"``.

    Raises:
        BadInput: a missing or empty list, an image that stands there twice, a split without
            labels (val may be), an image in two splits, or a label for one that is in no list.
    """
    folder = text.find(annotations, ("vispr", "annotations"), "train2017.txt", REMEDY)
    images: dict[str, Image] = {}
    split_of: dict[str, str] = {}
    labels: Labels = {}
    notes: list[str] = []
    for part in ("train", "val", "test"):
        ids = _ids(folder / f"{part}2017.txt", part)
        found = _labels(folder, part, name, ids)
        if found is None and part == "val":
            notes.append(f"No {name} labels for val2017: it cannot choose models; give the JSONs.")
        elif found is None:
            raise BadInput(
                f"No {name} labels for {part}2017: neither {folder}/annotations/{part}2017/*.json "
                f"nor {folder / _pickle(part, name)} is there; {REMEDY}."
            )
        for id in ids:
            path = f"images/{part}2017/{id}.jpg"
            if path in images:
                raise BadInput(f"{folder}/{part}2017.txt lists {id} twice; remove one line.")
            if split_of.setdefault(id, part) != part:
                raise BadInput(
                    f"{folder}/{part}2017.txt lists {id}, which is in {split_of[id]}2017.txt too; "
                    f"an image is in one split: {REMEDY}."
                )
            images[path] = Image(path=path, split=part, group=id)
            if found is not None and id in found:
                labels[path] = found.pop(id)
        if found:
            raise BadInput(
                f"{folder / _pickle(part, name)} labels {min(found)}, which is not in "
                f"{part}2017.txt; get the list and the labels from one place."
            )
    listing = Listing(
        name=name, attribute_names=ATTRIBUTES[name], images=tuple(images.values()), notes=(*notes,)
    )
    return listing.with_labels(labels, str(folder))


def _pickle(part: str, name: str) -> str:
    return f"{part}_{name.upper()}_labels.pkl"


def _ids(path: Path, part: str) -> list[str]:
    """The images of one list, such as ``2017_10001018``."""
    ids = []
    for number, line in text.numbered(path, REMEDY):
        if not re.fullmatch(rf"annotations/{part}2017/[^/]+\.json", line):
            raise BadInput(
                f"{path}, line {number}: expected 'annotations/{part}2017/<id>.json', got "
                f"{line!r}; {REMEDY}."
            )
        ids.append(PurePosixPath(line).stem)
    return ids


def _labels(folder: Path, part: str, name: str, ids: list[str]) -> Labels | None:
    """The labels of one split by image; None where there are none at all."""
    names = ATTRIBUTES[name]
    for place in (folder / "annotations", folder):
        if (place / f"{part}2017").is_dir():
            return {id: _from_json(place / f"{part}2017" / f"{id}.json", names) for id in ids}
    if (folder / _pickle(part, name)).is_file():
        return _from_pickle(folder / _pickle(part, name), names)
    return None


def _from_json(path: Path, names: tuple[str, ...]) -> dict[str, int]:
    value = text.read_json(path, REMEDY)
    labels = value.get("labels") if isinstance(value, dict) else None
    if not isinstance(labels, list):
        raise BadInput(f"{path} has no list under 'labels'; {REMEDY}.")
    return {name: int(name in labels) for name in names}


def _from_pickle(path: Path, names: tuple[str, ...]) -> Labels:
    labels = {}
    for id, row in read_arrays(path).items():
        if row.shape != (len(names),) or not np.isin(row, (0, 1)).all():
            raise BadInput(f"{path}: {id} has {row.tolist()}, expected {len(names)} of 0 or 1.")
        labels[id] = dict(zip(names, row.astype(int).tolist(), strict=True))
    return labels


def _source(name: str) -> Source:
    def ask(ask: Ask) -> Listing:
        source.split_of(ask)
        return read(ask.annotations or ask.root, name)

    source = Source(
        name=name,
        title=f"{name.upper()}: 22167 photographs, seven of VISPR's privacy attributes",
        licence="for research; see its page: the photographs are Flickr users'",
        page="https://tribhuvanesh.github.io/vpa/",
        layout="ROOT/images/{train,val,test}2017/*.jpg\n"
        "ROOT/annotations/{train,val,test}2017/*.json and ROOT/{train,val,test}2017.txt",
        by_hand=(
            "Download the images and annotations of train2017, val2017 and test2017.",
            "Unpack them into one folder, and put the three lists beside them.",
        ),
        read=ask,
        suffixes=IMAGES,
        counts=COUNTS,
        positives=POSITIVES if name == "vispr1" else {},
    )
    return source


SOURCES = (_source("vispr1"), _source("vispr2"))
