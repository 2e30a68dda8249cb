"""A contact sheet: moments of a video, above as they were, below as they are written.

The upper row shows the people: the sheet is to be kept as the source is.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from velatura.errors import BadInput
from velatura.video import destination
from velatura.video.read import Damaged, read_frames

__all__ = ["contact_sheet"]


def contact_sheet(
    source: str | Path, copy: str | Path, path: str | Path, *, start: float = 0.0, moments: int = 6
) -> None:
    """Write a PNG of ``moments`` pairs, evenly spread over the copy; readable by its owner alone.

    Args:
        path: a new .png.
        start: second of the source that is the copy's first.

    Raises:
        BadInput: the file exists or cannot be written.
    """
    from PIL import Image

    path = Path(path)
    destination.check(path, source, False, [".png"])
    size = (120, 160)
    copies = list(enumerate(f.pts * f.time_base for f in read_frames(copy, (8, 8))))
    chosen = {copies[round(i)][0] for i in np.linspace(0, len(copies) - 1, moments)}
    skipped = sum(f.pts * f.time_base < start for f in read_frames(source, (8, 8))) if start else 0
    rows = []
    for video, first in ((source, skipped), (copy, 0)):
        images = []
        # What decodes of a damaged source is shown, as it is of its copy.
        with suppress(Damaged):
            for frame in read_frames(video, size):
                if frame.index - first in chosen:
                    images.append(frame.image)
        rows.append(images)
    gap = np.full((size[0], 4, 3), 255, np.uint8)
    lines = [np.concatenate([part for i in row for part in (i, gap)], 1)[:, :-4] for row in rows]
    middle = np.full((4, lines[0].shape[1], 3), 255, np.uint8)
    partial = destination.Partial(path)
    try:
        os.fchmod(partial.file.fileno(), 0o600)
        Image.fromarray(np.concatenate([lines[0], middle, lines[1]])).save(partial.file, "PNG")
        partial.file.flush()
        partial.keep(overwrite=False)
    except OSError as error:
        raise BadInput(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        partial.discard()
