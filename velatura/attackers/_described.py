"""Videos as features, computed once: what attackers share that learn by no gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn

from velatura.layout import ClipSet, Labels
from velatura.training import windows
from velatura.training.batches import Config as Window

__all__ = ["answers", "described"]


def described(
    seen: nn.Module,
    train: ClipSet,
    val: ClipSet,
    window: Window,
    fabric: Fabric,
    progress: Callable[[int, int], None] | None = None,
    batch: int = 64,
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Features of the middle window of every video of two splits, as a test sees it.

    Args:
        seen: clips (B, T, C, H, W) in [0, 1] to features (B, D).
        progress: called with (clips seen, clips in all).
    """
    parts, total, before = [], len(train) + len(val), 0
    for data in (train, val):
        parts.append(_one(seen, data, window, fabric, progress, before, total, batch))
        before += len(data)
    return parts[0], parts[1]


@torch.no_grad()
def _one(
    seen: nn.Module,
    data: ClipSet,
    window: Window,
    fabric: Fabric,
    progress: Callable[[int, int], None] | None,
    before: int,
    total: int,
    batch: int,
) -> Float[Tensor, "n d"]:
    window, found = windows.of(data, window), []
    windows.check(data, window)
    for start in range(0, len(data), batch):
        items = np.arange(start, min(start + batch, len(data)))
        (stored,) = windows.even(data, items, window)
        with fabric.autocast():
            found.append(seen(windows.central(stored, window).to(fabric.device)).float())
        if progress:
            progress(before + start + len(items), total)
    return torch.cat(found)


def answers(data: ClipSet, labels: Labels) -> Float[Tensor, "n k"]:
    """What is there in each video, 0 or 1; of actions, each class is an answer."""
    if labels == "actions":
        return torch.from_numpy(np.eye(len(data.action_names), dtype=np.float32)[data.actions])
    return torch.from_numpy(data.attributes.astype(np.float32))
