"""What detectors are told of pictures, made up by lot or by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.detectors import Target


def target(
    boxes: list[list[float]],
    labels: list[int] | None = None,
    size: tuple[int, int] = (64, 64),
    keypoints: Tensor | None = None,
    ignore: list[list[float]] | None = None,
    points: int = 3,
) -> Target:
    """Boxes in pixels; masks are their left halves; keypoints their corner, middle and edge."""
    corners = torch.tensor(boxes).reshape(-1, 4)
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for at, (x0, y0, x1, y1) in enumerate(corners.round().int().tolist()):
        masks[at, y0:y1, x0 : (x0 + x1) // 2] = True
    if keypoints is None:
        share = torch.tensor([[0.0, 0.0], [0.5, 0.5], [1.0, 0.25]])[:points]
        place = corners[:, None, :2] + share * (corners[:, 2:] - corners[:, :2])[:, None]
        keypoints = torch.cat([place, torch.full((len(boxes), len(share), 1), 2.0)], 2)
    return Target(
        corners,
        torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),
        masks,
        keypoints,
        torch.tensor(ignore or []).reshape(-1, 4),
    )


def some() -> list[Target]:
    """Two pictures of 64 x 96: three of two categories, and nobody."""
    three = target(
        [[6.0, 8.0, 22.0, 40.0], [40.0, 6.0, 56.0, 30.0], [60.0, 30.0, 88.0, 58.0]], [0, 1, 0],
        (64, 96),
    )  # fmt: skip
    return [three, target([], size=(64, 96))]
