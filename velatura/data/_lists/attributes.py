"""Private attributes of your own for the files of any data set: one line of JSON per file.

    {"video": "golf/a.avi", "attributes": {"face": 1, "nudity": 0}}
    {"image": "7.jpg", "attributes": {"face": 1, "nudity": 0}}

Every line names the same attributes. A file without a line has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from velatura.data._lists import text
from velatura.data._lists.listing import Listing
from velatura.errors import BadInput

__all__ = ["binary", "given", "read"]


def given(listing: Listing, path: Path, spelling: Callable[[str], str] | None = None) -> Listing:
    """The listing with the attributes of a file in the place of its own.

    Args:
        listing: as the official lists name the files.
        path: the JSONL file; it may name files officially, or as ``spelling`` does.
        spelling: how a known copy renames files; None where none does.

    Raises:
        BadInput: as of :func:`read`; a file of both names; one that is in no list.
    """
    found = read(path)
    known = {item.path for item in listing.items}
    official = {spelling(name): name for name in sorted(known)} if spelling else {}
    labels: dict[str, dict[str, int]] = {}
    for name, marks in found.items():
        ours = name if name in known else official.get(name, name)
        if ours in labels:
            raise BadInput(f"{path} labels {ours} under two names, also as {name}; remove one.")
        labels[ours] = marks
    return listing.with_labels(labels, str(path))


def read(path: Path) -> dict[str, dict[str, int]]:
    """File to attributes, in the order of the lines.

    Raises:
        BadInput: not such a file; a file that stands there twice; a value that is not 0 or 1;
            lines that name different attributes.
    """
    expected = '{"video": "golf/a.avi", "attributes": {"face": 1}}'
    found: dict[str, dict[str, int]] = {}
    for number, value in text.json_lines(path, expected):
        try:
            name = value.get("video", value.get("image"))
            if not isinstance(name, str):
                raise BadInput(f"no video or image named; expected {expected}")
            if "video" in value and "image" in value:
                raise BadInput(f"one file a line, a video or an image; expected {expected}")
            text.check_path(name)
            if name in found:
                raise BadInput(f"{name} stands there twice; remove one line")
            found[name] = binary(value.get("attributes"), next(iter(found.values()), None))
        except BadInput as error:
            raise BadInput(f"{path}, line {number}: {error}.") from None
    return found


def binary(value: Any, like: Mapping[str, int] | None) -> dict[str, int]:
    """Attributes as given, or BadInput without a full stop, to stand behind the line's number.

    Args:
        value: what should be a mapping from name to 0 or 1.
        like: the attributes of an earlier line; None for the first.
    """
    if not isinstance(value, dict) or not value or "" in value:
        raise BadInput('attributes are at least one name with 0 or 1, such as {"face": 1}')
    if like is not None and (odd := sorted(value.keys() ^ like.keys())):
        raise BadInput(f"every line names the same attributes, and {odd[0]!r} is not on all")
    for name, present in value.items():
        if type(present) is not int or present not in (0, 1):
            raise BadInput(f"attribute {name!r} is 0 or 1, not {present!r}")
    return value if like is None else {name: value[name] for name in like}
