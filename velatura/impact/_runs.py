"""Runs of a mask as COCO writes them, looked at before its own library is.

That library takes runs of fewer pixels than the mask has: what is missing is whatever the memory
held, and to compare such a mask with another never ends.
https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c, rleFrString
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from velatura.errors import BadInput

__all__ = ["check", "lengths"]

PARTS = 7  # of five bits, in the largest number


def lengths(counts: str | list[Any]) -> np.ndarray:
    """(n,) int64, pixels of each run; the first is of those that are not set.

    Args:
        counts: numbers, or the text that they are packed into.

    Raises:
        ValueError: neither; the message ends a sentence.
    """
    if isinstance(counts, list):
        if not all(isinstance(n, int) and not isinstance(n, bool) and n < 2**40 for n in counts):
            raise ValueError("a run is a whole number of pixels")
        return np.array(counts, np.int64)
    codes = np.array([ord(character) for character in counts], np.int64) - 48
    last = codes & 32 == 0
    if ((codes < 0) | (codes > 63)).any() or (len(codes) and not last[-1]):
        raise ValueError("its text is no packed runs")
    if not len(codes):
        return codes
    begin = np.append(0, np.flatnonzero(last)[:-1] + 1)
    parts = np.diff(np.append(begin, len(codes)))
    if parts.max() > PARTS:
        raise ValueError("its text is no packed runs")
    place = np.arange(len(codes)) - begin.repeat(parts)
    found = np.add.reduceat((codes & 31) << 5 * place, begin)
    found -= (codes[last] & 16 > 0) * (1 << 5 * parts)
    # From the fourth on, each is told by what it differs from the last but one.
    found[1::2], found[2::2] = found[1::2].cumsum(), found[2::2].cumsum()
    return found


def check(number: int | str, rle: Mapping[str, Any]) -> None:
    """Refuse runs that are not of every pixel of their mask.

    Args:
        number: of the annotation, for the message.
        rle: ``size`` (height, width) and ``counts``.

    Raises:
        BadInput: as said.
    """
    height, width = rle["size"]
    try:
        found = lengths(rle["counts"])
        if (found < 0).any() or found.sum() != height * width:
            raise ValueError(f"its runs are not of the {width} x {height} pixels that it says")
    except ValueError as error:
        raise BadInput(f"Annotation {number} has a mask that is none: {error}.") from None
