"""List files, read with one sentence for whatever is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from velatura.errors import BadInput

__all__ = ["find", "json_lines", "numbered", "read", "read_json"]


def read(path: Path, remedy: str) -> str:
    """A text file that is there and not empty.

    Args:
        path: the file.
        remedy: what to do when it is not, without a full stop.

    Raises:
        BadInput: missing, unreadable, not UTF-8, or empty.
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
    return text


def numbered(path: Path, remedy: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, without the spaces around them, each with its number."""
    # Not splitlines: a name may hold a Unicode line separator; and lists come with CRLF.
    for number, line in enumerate(read(path, remedy).split("\n"), 1):
        if line.strip():
            yield number, line.strip()


def read_json(path: Path, remedy: str) -> Any:
    """The value in a JSON file; a key that stands twice is an error, not the last one's."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise BadInput(f"{path} names {key} twice; {remedy}.")
            found[key] = value
        return found

    try:
        return json.loads(read(path, remedy), object_pairs_hook=once)
    except ValueError:
        raise BadInput(f"{path} is not JSON; {remedy}.") from None


def json_lines(path: Path, expected: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file, each with its line number.

    Args:
        path: the file.
        expected: what a line looks like, for the message.
    """
    for number, line in numbered(path, f"expected one line of JSON per file: {expected}"):
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise BadInput(f"{path}, line {number}: not a JSON object; expected {expected}.")
        yield number, value


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
    raise BadInput(f"No {pattern} in {folder}; {remedy}, and name its folder with --annotations.")
