"""An ONNX file of a stranger's, looked through before a library sees it.

Such a file holds graph and numbers, never code; but it may name other files, and operators of
libraries that are code. Whoever opens one asks here first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from velatura.errors import BadInput

__all__ = ["LONGEST", "metadata", "read"]

LARGEST = 2**30  # bytes of a file
LONGEST = 2**18  # bytes of one entry of the metadata
MOST = 2_000_000  # parts of a file that are looked at


def read(path: Path, writer: str) -> bytes:
    """A file's bytes.

    Args:
        writer: the command that writes such a file, for the message.

    Raises:
        BadInput: not there, not a file, or larger than a gigabyte.
    """
    try:
        if not path.is_file():
            raise BadInput(
                f"{path} is no file; `{writer}` writes one."
                if path.exists()
                else f"No model at {path}; `{writer}` writes one."
            )
        size = path.stat().st_size
        if size > LARGEST:
            raise BadInput(f"{path} has {size / 2**30:.1f} GiB; a model has at most 1 GiB.")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from None


def metadata(content: bytes) -> dict[str, str]:
    """What a file says of itself, once it is sure to be a graph and numbers.

    Protocol buffers, read by hand.

    Raises:
        ValueError: damaged, or no such file; it refers to other files, or to operators that ONNX
            does not define. The message ends a sentence.
    """
    found = _Found()
    try:
        _message("model", memoryview(content), found, 0)
    except (ValueError, IndexError, RecursionError):
        raise ValueError("it is not ONNX, or damaged") from None
    if found.outside:
        raise ValueError("it refers to another file")
    if found.foreign:
        raise ValueError(f"it wants operators of {found.foreign!r}")
    return found.entries


class _Found:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.outside = False
        self.foreign = ""
        self.left = MOST


# Message -> its fields that are looked into, by number, from onnx.proto3.
PARTS = {
    "model": {7: "graph", 14: "entry", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}


def _message(kind: str, content: memoryview, found: _Found, depth: int) -> None:
    if depth > 64:
        raise ValueError("too deep")
    inner = PARTS[kind]
    for number, value in _fields(content, found):
        part = inner.get(number)
        if kind == "tensor" and (number == 13 or (number == 14 and value != 0)):
            found.outside = True  # external_data, data_location
        elif kind == "node" and number == 7 and isinstance(value, memoryview):
            domain = str(value[:100], "utf-8")
            if domain not in ("", "ai.onnx"):
                found.foreign = domain
        elif part is None:
            continue
        elif not isinstance(value, memoryview):
            raise ValueError("a number where a part is expected")
        elif part == "entry":
            if len(value) > LONGEST:
                raise ValueError("metadata too long")
            pair = {n: str(v, "utf-8") for n, v in _fields(value, found) if not isinstance(v, int)}
            found.entries[pair.get(1, "")] = pair.get(2, "")
        else:
            _message(part, value, found, depth + 1)


def _fields(content: memoryview, found: _Found) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field of a message; texts, bytes and messages are views."""
    at = 0
    while at < len(content):
        found.left -= 1
        if found.left < 0:
            raise ValueError("too many parts")
        key, at = _varint(content, at)
        wire, size = key & 7, 0
        if wire == 0:
            value, at = _varint(content, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(content, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError("an unknown kind of field")
        if at + size > len(content):
            raise ValueError("cut off")
        yield key >> 3, content[at : at + size]
        at += size


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number too long")
