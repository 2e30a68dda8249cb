"""Whether a file goes on behind its end, for containers whose header counts nothing.

A recording that is written as it comes (a fragmented MP4, a live WebM) declares neither frames nor
a duration. But its parts say how long they are, and where one is cut off, the last one is longer
than what is left of the file. A cut exactly between two parts cannot be known.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

__all__ = ["cut_short"]

EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
BOXES = frozenset((b"ftyp", b"styp", b"sidx", b"moov", b"moof", b"mdat", b"mfra", b"free", b"skip"))


def cut_short(path: str | Path) -> bool:
    """True where the last part of an MP4, Matroska or WebM file is not all there."""
    with open(path, "rb") as file:
        begin = file.read(12)
        end = file.seek(0, os.SEEK_END)
        if begin[:4] == EBML.to_bytes(4, "big"):
            return _elements(file, end)
        return begin[4:8] in BOXES and _boxes(file, end)


def _boxes(file: BinaryIO, end: int) -> bool:
    """Of an MP4: ISO/IEC 14496-12, section 4.2. What is no box is not judged."""
    at = 0
    while at < end:
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return True
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if kind not in BOXES or size == 0:  # 0: to the end, wherever that is
            return False
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8:
            return False
        at += size
    return at > end


def _elements(file: BinaryIO, end: int) -> bool:
    """Of Matroska: RFC 8794, section 4 to 6. Parts of unknown length are looked into."""
    at = 0
    while at < end:
        file.seek(at)
        id, wide = _number(file, keep=True)
        size, long = _number(file, keep=False)
        if not wide or not long:
            return True
        if size is None and id in (SEGMENT, CLUSTER):
            at += wide + long
            continue
        if size is None:
            return False
        at += wide + long + size
    return at > end


def _number(file: BinaryIO, keep: bool) -> tuple[int | None, int]:
    """A number of variable length and how many bytes it takes; None where all bits are set, and no
    bytes where the file ends before it.

    Args:
        keep: the mark of the length belongs to it, as in an element's name.
    """
    first = file.read(1)
    if not first:
        return None, 0
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1) if length <= 8 else b""
    if length > 8 or len(rest) < length - 1:
        return None, 0
    value = int.from_bytes(first + rest, "big")
    if keep:
        return value, length
    value -= 1 << 7 * length
    return (None if value == (1 << 7 * length) - 1 else value), length
