"""Lines about files of your own: path, split, group and private attributes of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from velatura.data._lists import text
from velatura.data._lists.attributes import binary
from velatura.errors import BadInput

__all__ = ["Row", "rows"]


class Row(NamedTuple):
    """One line; ``split`` is empty where no line names one."""

    path: str
    split: str
    group: str
    attributes: dict[str, int]


def rows(
    lines: Iterable[tuple[int, dict[str, Any]]], source: Path, key: str, expected: str
) -> list[Row]:
    """Every line, checked.

    Args:
        lines: line number and value, as :func:`text.json_lines` gives them.
        source: the file they are from.
        key: ``"video"`` or ``"image"``: what names the file.
        expected: what a line looks like, for the message.

    Raises:
        BadInput: no line; a line without a file, with another key, a path out of the root,
            another split, values other than 0 or 1; a file that stands there twice; a split
            on some lines only.
    """
    found: dict[str, Row] = {}
    first: Row | None = None
    for number, value in lines:
        try:
            row = _row(value, key, first.attributes if first else None, expected)
            first = first or row
            if row.path in found:
                raise BadInput(f"{row.path} stands there twice; remove one line")
            if bool(row.split) != bool(first.split):
                raise BadInput(f"give every {key} a split, or none")
        except BadInput as error:
            raise BadInput(f"{source}, line {number}: {error}.") from None
        found[row.path] = row
    if not found:
        raise BadInput(f"{source} names no {key}; add one line per {key}.")
    return list(found.values())


def _row(value: dict[str, Any], key: str, like: Mapping[str, int] | None, expected: str) -> Row:
    """One line's value; the message goes behind the line's number, without a full stop."""
    if odd := sorted(value.keys() - {key, "split", "group", "attributes"}):
        raise BadInput(f"unknown key {odd[0]!r}; expected {expected}")
    path, split = value.get(key), value.get("split", "")
    if not isinstance(path, str) or not path:
        raise BadInput(f"no {key} named; expected {expected}")
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise BadInput(f"{key} {path!r} leads out of the root; give its path below it")
    text.check_path(path)
    if split not in ("train", "val", "test", ""):
        raise BadInput(f"split is train, val or test, not {split!r}")
    marks = binary(value.get("attributes"), like)
    return Row(path, split, str(value.get("group") or path), marks)
