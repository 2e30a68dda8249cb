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
from pathlib import Path
from typing import Any

from velatura.data._lists import own, text
from velatura.data._lists.listing import Image, Listing
from velatura.data._lists.source import IMAGES, Ask, Source
from velatura.data._lists.splits import hashed_split
from velatura.errors import BadInput

__all__ = ["SOURCES", "read"]

EXPECTED = '{"image": "a/1.jpg", "split": "train", "group": "Ann", "attributes": {"face": 1}}'
PLAIN = ("image", "split", "group")


def read(annotations: Path) -> Listing:
    """The images and attributes of a CSV or JSONL file.

    Raises:
        BadInput: not such a file, or as of :func:`own.rows`.
    """
    lines = _csv(annotations) if annotations.suffix.lower() == ".csv" else _jsonl(annotations)
    rows = own.rows(lines, annotations, "image", EXPECTED)
    return Listing(
        name="images",
        attribute_names=tuple(rows[0].attributes),
        images=tuple(
            Image(
                path=row.path,
                split=row.split or hashed_split(row.group),
                group=row.group,
                attributes=row.attributes,
            )
            for row in rows
        ),
    )


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
