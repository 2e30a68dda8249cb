"""Runs of masks, as COCO's own library writes them."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from velatura.errors import BadInput
from velatura.impact._runs import check, lengths


def by_hand(mask: np.ndarray) -> list[int]:
    """Runs column by column, the first of what is not set."""
    found, value = [0], False
    for pixel in mask.flatten("F").tolist():
        if pixel != value:
            found.append(0)
            value = pixel
        found[-1] += 1
    return found


@pytest.mark.parametrize("seed", range(20))
def test_packed_runs_are_those_that_were_packed(seed):
    lot = np.random.default_rng(seed)
    mask = lot.random(lot.integers(1, 60, 2)) < lot.random() ** 3
    packed = coco.encode(np.asfortranarray(mask, np.uint8))
    runs = lengths(packed["counts"].decode())
    assert runs.tolist() == by_hand(mask) == lengths(by_hand(mask)).tolist()
    check(1, {"size": list(mask.shape), "counts": packed["counts"].decode()})


def test_long_runs():
    mask = np.zeros((6000, 6000), np.uint8, order="F")
    mask[5, 7] = 1
    packed = coco.encode(mask)["counts"].decode()
    assert lengths(packed).tolist() == [42005, 1, 36_000_000 - 42006]


@pytest.mark.parametrize("text", ["zz!", "\u2603", "o", "o" * 9 + "0"])
def test_text_that_is_no_runs(text):
    with pytest.raises(BadInput, match="Annotation 7 has a mask that is none: its text is no"):
        check(7, {"size": [9, 9], "counts": text})
