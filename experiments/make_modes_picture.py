"""Draw docs/modes.png: generated people above, and below each way of the package to treat them.

python experiments/make_modes_picture.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from velatura import Anonymizer
from velatura.data import people

SIDE, GAP = 160, 4
CLIPS = (3, 14, 25, 40)
WAYS = ("silhouette", "light", "blur", "pixelate")


def row(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures side by side with white between them."""
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    return np.concatenate([part for p in pictures for part in (p, gap)], 1)[:, :-GAP]


def main() -> None:
    """Write the picture."""
    cfg = people.Config(size=SIDE, test_people=20)
    clips = [people.figure(cfg, "test", index).clip for index in CLIPS]
    rows = [row([clip[4] for clip in clips])]
    for name in WAYS:
        anonymizer = Anonymizer.load(name)
        rows.append(row([anonymizer(clip)[4] for clip in clips]))
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    sheet = np.concatenate([part for r in rows for part in (r, gap)])[:-GAP]
    path = Path(__file__).resolve().parents[1] / "docs" / "modes.png"
    # Few colours: a picture for a page, not a measurement.
    Image.fromarray(sheet).quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main()
