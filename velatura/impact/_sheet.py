"""A contact sheet: images of a data set on the left, their copies on the right.

The left column shows the people: the sheet is to be kept as the data set is.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from velatura.deploy.image import read_image
from velatura.errors import BadInput
from velatura.impact._coco import Dataset
from velatura.impact._manifest import MANIFEST, lines
from velatura.video import destination
from velatura.video.resize import resize

__all__ = ["contact_sheet"]

HEIGHT, GAP = 160, 4  # pixels


def contact_sheet(data: Dataset, out: Path, path: Path, *, rows: int = 6) -> None:
    """Write a PNG of images in which somebody was hidden, spread over the data set; readable by its
    owner alone.

    Args:
        out: what ``anonymize`` wrote.
        path: a new .png.

    Raises:
        BadInput: the file exists or cannot be written; no image has anybody hidden.
    """
    from PIL import Image

    destination.check(path, None, False, [".png"])
    named = [line for line in lines(out / MANIFEST) if line["status"] == "anonymized"]
    if not named:
        raise BadInput(f"Nobody is hidden in {out}; there is nothing for {path} to show.")
    chosen = [named[at] for at in sorted({*np.linspace(0, len(named) - 1, rows).astype(int)})]
    pairs = []
    for line in chosen:
        folders = data.root / data.images, out / data.images
        before, after = (read_image(f / line["image"], by_profile=False).pixels for f in folders)
        pairs.append([_small(before), _small(after)])
    width = max(image.shape[1] for pair in pairs for image in pair)
    sheet = np.full(((HEIGHT + GAP) * len(pairs) - GAP, 2 * width + GAP, 3), 255, np.uint8)
    for row, pair in enumerate(pairs):
        for column, image in enumerate(pair):
            top, left = row * (HEIGHT + GAP), column * (width + GAP)
            sheet[top : top + HEIGHT, left : left + image.shape[1]] = image
    partial = destination.Partial(path)
    try:
        os.fchmod(partial.file.fileno(), 0o600)
        Image.fromarray(sheet).save(partial.file, "PNG")
        partial.file.flush()
        partial.keep(overwrite=False)
    except OSError as error:
        raise BadInput(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        partial.discard()


def _small(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    wide = max(1, min(3 * HEIGHT, round(width * HEIGHT / height)))
    return resize(image, (HEIGHT, wide), "area" if height > HEIGHT else "bilinear")
