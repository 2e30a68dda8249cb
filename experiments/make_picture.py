"""Draw the README's picture from a finished demo: generated people raw above, anonymized below.

python experiments/make_picture.py runs/demo docs/picture.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from velatura.errors import BadInput


def main() -> None:
    """Read ``sheet.npz`` of the demo and write one PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished demo, such as runs/demo")
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument(
        "--row", default="constrained", help="row to show below (default: %(default)s)"
    )
    parser.add_argument(
        "--scale", type=int, default=2, help="size of a pixel (default: %(default)s)"
    )
    arguments = parser.parse_args()
    if not (arguments.run / "sheet.npz").exists():
        raise BadInput(f"{arguments.run} has no sheet.npz; run `velatura demo` first.")
    import cv2

    with np.load(arguments.run / "sheet.npz", allow_pickle=False) as sheet:
        rows = [strip(sheet[name]) for name in ("raw", arguments.row)]
    picture = np.concatenate(rows).repeat(arguments.scale, 0).repeat(arguments.scale, 1)
    if not cv2.imwrite(str(arguments.picture), picture[..., ::-1]):
        raise BadInput(f"Could not write {arguments.picture}; does its folder exist?")
    print(f"{arguments.picture}: {picture.shape[1]} x {picture.shape[0]} pixels")


def strip(clips: np.ndarray) -> np.ndarray:
    """Three frames each of three clips, (N, T, H, W, 3) uint8, side by side."""
    frames = clips[:3, [0, clips.shape[1] // 2, -1]]
    return np.concatenate(list(frames.reshape(-1, *frames.shape[2:])), axis=1)


if __name__ == "__main__":
    main()
