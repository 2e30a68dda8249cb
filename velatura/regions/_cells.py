"""A part of a picture as few cells: where they end, and their mean colours."""

from __future__ import annotations

import numpy as np

__all__ = ["edges", "means", "mosaic"]

BLOCK = 4  # pixels of a cell at least: in a small region, fewer cells


def edges(height: int, width: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the cells of a part begin and end: rows (m + 1,) and columns (n + 1,).

    Args:
        cells: along the shorter side, if each is to have 4 pixels there.
    """
    short = min(height, width)
    cells = max(1, min(cells, short // BLOCK))

    def along(side: int) -> np.ndarray:
        return np.linspace(0, side, max(1, round(cells * side / short)) + 1).round().astype(int)

    return along(height), along(width)


def means(part: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The mean colour of each cell of (h, w, 3) uint8: (m, n, 3) uint8."""
    # Band by band: all at once, NumPy would hold the part in four times its bytes.
    bands = zip(rows[:-1], rows[1:], strict=True)
    sums = np.stack([part[top:bottom].sum(0, dtype=np.uint32) for top, bottom in bands])
    sums = np.add.reduceat(sums, columns[:-1], axis=1)
    areas = np.diff(rows)[:, None, None] * np.diff(columns)[:, None]
    return ((sums + areas // 2) // areas).astype(np.uint8)


def mosaic(colours: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Every cell in its colour: (m, n, 3) to (h, w, 3)."""
    return colours.repeat(np.diff(rows), 0).repeat(np.diff(columns), 1)
