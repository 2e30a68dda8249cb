"""Where persons are, made a little larger, and made into boxes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["grown"]


def grown(people: Float[Tensor, "b t h w"], share: float, boxes: bool) -> Bool[Tensor, "b t 1 h w"]:
    """The regions to hide.

    Args:
        people: 1 where any person is, else 0.
        share: how far a region grows on every side, of the frame's shorter side.
        boxes: fill the upright box around each connected piece, as a detector would answer;
            two persons who touch share one.
    """
    reach = round(share * min(people.shape[-2:]))
    there = people.flatten(0, 1)[:, None]
    if reach:
        there = F.max_pool2d(there, 2 * reach + 1, stride=1, padding=reach)
    there = there > 0.5
    if boxes:
        frames = there[:, 0].byte().cpu().numpy()
        filled = np.stack([_boxed(frame) for frame in frames])
        there = torch.from_numpy(filled).to(people.device)[:, None] > 0
    return there.unflatten(0, people.shape[:2])


def _boxed(mask: np.ndarray) -> np.ndarray:
    """(H, W) uint8, 0 or 1, to the same with every connected piece's box filled."""
    import cv2

    filled = np.zeros_like(mask)
    _, _, found, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    for left, top, width, height, _ in found[1:]:  # the first is what no piece covers
        filled[top : top + height, left : left + width] = 1
    return filled
