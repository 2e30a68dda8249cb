"""List files, read with one sentence for whatever is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from velatura.errors import BadInput

__all__ = ["check_path", "find", "json_lines", "numbered", "read", "read_json"]


def read(path: Path, remedy: str) -> str:
    """A text file that is there and not empty.

    Args:
        path: the file.
        remedy: what to do when it is not, without a full stop.

    Raises:
        BadInput: missing, unreadable, not UTF-8, with a NUL character in it, or empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{path} is missing; {remedy}.") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 text; {remedy}.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); {remedy}.") from None
    if not text.strip():
        raise BadInput(f"{path} is empty; {remedy}.")
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise BadInput(f"{path}, line {line}: a NUL character, which no name holds; {remedy}.")
    return text


def check_path(path: str) -> None:
    """Refuse a second way to write a path below a folder; for behind the line's number.

    Raises:
        BadInput: such as ``a//b.avi``, ``./a/b.avi`` or ``a/./b.avi``, without a full stop.
    """
    if (short := PurePosixPath(path).as_posix()) != path:
        raise BadInput(f"write {short} for {path!r}, so that no file has two names")


def numbered(path: Path, remedy: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, without the spaces around them, each with its number."""
    # Not splitlines: a name may hold a Unicode line separator; and lists come with CRLF.
    for number, line in enumerate(read(path, remedy).split("\n"), 1):
        if line.strip():
            yield number, line.strip()


def read_json(path: Path, remedy: str) -> Any:
    """The value in a JSON file; a key that stands twice is an error, not the last one's.

    Raises:
        BadInput: as of :func:`read`; not JSON; or text in it that nothing can be named by.
    """
    try:
        return _parse(read(path, remedy))
    except _Unusable as error:
        line = f", line {error.line}" if error.line else ""
        raise BadInput(f"{path}{line}: {error}; {remedy}.") from None


def json_lines(path: Path, expected: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file, each with its line number.

    Args:
        path: the file.
        expected: what a line looks like, for the message.

    Raises:
        BadInput: as of :func:`read_json`, for one line.
    """
    for number, line in numbered(path, f"expected one line of JSON per file: {expected}"):
        try:
            value = _parse(line)
            if not isinstance(value, dict):
                raise _Unusable("not a JSON object")
        except _Unusable as error:
            said = "not a JSON object" if str(error) == NOT_JSON else error
            raise BadInput(f"{path}, line {number}: {said}; expected {expected}.") from None
        yield number, value


NOT_JSON = "this is not JSON"
DEEP = 50  # lists in lists: no list of ours has more than five


class _Unusable(Exception):
    """What is wrong with a JSON text, as a clause.

    Attributes:
        line: where, from 1; 0 where that is not known.
    """

    def __init__(self, clause: str, line: int = 0) -> None:
        super().__init__(clause)
        self.line = line


def _parse(text: str) -> Any:
    """A JSON text without doubled keys, endless nesting, or text that cannot be a name."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise _Unusable(f"{key!r} stands twice in one object; leave one")
            found[key] = value
        return found

    try:
        value = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise _Unusable(NOT_JSON, error.lineno) from None
    except RecursionError:
        raise _Unusable("lists in lists in lists without end", _deep(text)) from None
    except ValueError as error:  # a number of thousands of digits
        raise _Unusable(f"{NOT_JSON}: {error}") from None
    for found in _texts(value):
        # Half of a surrogate pair cannot be written anywhere, and NUL ends a file's name.
        for odd in (c for c in found if "\ud800" <= c <= "\udfff" or c == "\0"):
            escape = f"\\u{ord(odd):04x}"
            raise _Unusable(f"{escape} in {found!r} is no character of a name", _line(text, escape))
    return value


def _texts(value: Any) -> Iterator[str]:
    """Every text and key in a JSON value."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, list):
            left += one


def _line(text: str, part: str) -> int:
    """The line of a part of a text, whatever its case."""
    at = text.lower().find(part)
    return text.count("\n", 0, at) + 1 if at >= 0 else 0


def _deep(text: str) -> int:
    """The line from which lists in lists are too many."""
    depth = 0
    for found in re.finditer(r'"(?:\\.|[^"\\])*"|[\[{]|[\]}]', text):
        depth += (found[0] in "[{") - (found[0] in "]}")
        if depth > DEEP:
            return text.count("\n", 0, found.start()) + 1
    return 0


def find(folder: Path, below: Sequence[str], pattern: str, remedy: str) -> Path:
    """The folder that holds the lists: the given one, or one of the usual ones below it.

    Args:
        folder: what the user named.
        below: such as ``"testTrainMulti_7030_splits"``.
        pattern: what the right folder holds, such as ``"*_test_split1.txt"``.
        remedy: where the lists come from, without a full stop.

    Raises:
        BadInput: none of them holds such a file.
    """
    for place in (folder, *(folder / name for name in below)):
        if place.is_dir() and any(place.glob(pattern)):
            return place
    raise BadInput(
        f"No {pattern} in {folder}; {remedy}, and name its folder with --annotations (`velatura "
        "floors` takes it with --root)."
    )
