"""Your own images: a folder, and a CSV or JSONL file of binary attributes.

    image,split,group,face,nudity                 attributes.csv: a line of names first
    a/1.jpg,train,Ann,1,0

    {"image": "a/1.jpg", "split": "train", "group": "Ann", "attributes": {"face": 1}}

``image`` is the path below the root. ``split`` is train, val or test; left out (the column or
the key, on every line), it is drawn from the group's name, 70 : 15 : 15. ``group`` is who is
shown; left out, every image is its own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from velatura.data._lists import attributes, text
from velatura.data._lists.listing import Image, Listing
from velatura.data._lists.source import IMAGES, Ask, Source
from velatura.data._lists.splits import hashed_split
from velatura.errors import BadInput

__all__ = ["SOURCES", "read"]

EXPECTED = '{"image": "a/1.jpg", "split": "train", "group": "Ann", "attributes": {"face": 1}}'
PLAIN = ("image", "split", "group")
DRAWN = ""  # the split of a line that names none, until it is drawn


def read(annotations: Path) -> Listing:
    """The images and attributes of a CSV or JSONL file.

    Raises:
        BadInput: not such a file; a line without image, with another split, or with values
            other than 0 or 1; an image that stands there twice; a split on some lines only.
    """
    lines = _csv(annotations) if annotations.suffix.lower() == ".csv" else _jsonl(annotations)
    images: dict[str, Image] = {}
    like: dict[str, int] | None = None
    for number, value in lines:
        try:
            image = _image(value, like)
            if image.path in images:
                raise BadInput(f"{image.path} stands there twice; remove one line")
            if images and bool(image.split) != bool(next(iter(images.values())).split):
                raise BadInput("give every image a split, or none")
        except BadInput as error:
            raise BadInput(f"{annotations}, line {number}: {error}.") from None
        images[image.path] = image
        like = image.attributes
    if like is None:
        raise BadInput(f"{annotations} names no image; add one line per image.")
    return Listing(
        name="images",
        attribute_names=tuple(like),
        images=tuple(_drawn(image) for image in images.values()),
    )


def _image(value: dict[str, Any], like: dict[str, int] | None) -> Image:
    """One line's value."""
    if odd := sorted(value.keys() - {*PLAIN, "attributes"}):
        raise BadInput(f"unknown key {odd[0]!r}; expected {EXPECTED}")
    path, split = value.get("image"), value.get("split", DRAWN)
    if not isinstance(path, str) or not path:
        raise BadInput(f"no image named; expected {EXPECTED}")
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise BadInput(f"image {path!r} leads out of the root; give its path below it")
    if split not in ("train", "val", "test", DRAWN):
        raise BadInput(f"split is train, val or test, not {split!r}")
    named = attributes.binary(value.get("attributes"), like)
    group = str(value.get("group") or path)
    return Image(path=path, split=split, group=group, attributes=named)


def _drawn(image: Image) -> Image:
    split = image.split or hashed_split(image.group)
    return Image(path=image.path, split=split, group=image.group, attributes=image.attributes)


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    return text.json_lines(path, EXPECTED)


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of a CSV file as a JSONL file would give them."""
    remedy = "expected a line of names, image,split,group,face, and one line per image"
    rows = csv.reader(io.StringIO(text.read(path, remedy)), strict=True)
    try:
        names = [name.strip() for name in next(rows)]
        if "image" not in names or len(set(names)) < len(names) or set(names) <= set(PLAIN):
            raise BadInput(f"{path}, line 1: {','.join(names)!r}; {remedy}.")
        for row in filter(None, rows):
            if len(row) != len(names):
                raise BadInput(
                    f"{path}, line {rows.line_num}: {len(row)} values, but the first line names "
                    f"{len(names)}; give every column a value."
                )
            cells = dict(zip(names, (cell.strip() for cell in row), strict=True))
            marks = {n: _bit(v) for n, v in cells.items() if n not in PLAIN}
            plain = {n: v for n, v in cells.items() if n in PLAIN and v}
            yield rows.line_num, {**plain, "attributes": marks}
    except csv.Error as error:
        raise BadInput(f"{path}, line {rows.line_num}: not CSV ({error}); {remedy}.") from None


def _bit(cell: str) -> int | str:
    """0 or 1 as a number; anything else as it is, to be refused by name."""
    return int(cell) if cell in ("0", "1") else cell


def _ask(ask: Ask) -> Listing:
    SOURCES[0].split_of(ask)
    if ask.annotations is None:
        raise BadInput("`images` needs --annotations FILE, the CSV or JSONL file of attributes.")
    return read(ask.annotations)


SOURCES = (
    Source(
        name="images",
        title="your own images, with a CSV or JSONL file of attributes",
        licence="yours to know",
        page="docs/data.md",
        layout="ROOT/**/*.jpg (or png, bmp, webp)\n--annotations FILE.csv or FILE.jsonl",
        by_hand=("Nothing to get: these are your own files.",),
        read=_ask,
        suffixes=IMAGES,
        official=False,
    ),
)
