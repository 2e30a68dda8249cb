"""The mean of a network over its last steps, which swings less than the network.

Karras et al., 2018, section 4.1, https://arxiv.org/abs/1710.10196; growing with the run as in
https://arxiv.org/abs/2006.06676
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["decay", "follow"]

SHARE = 0.05  # of what was seen so far, that the mean goes back at most


def decay(step: int, batch: int, images: int) -> float:
    """How much of the mean a step leaves: half of it is gone after ``images`` crops.

    Early in a run, after a twentieth of the crops so far, so that the start is soon forgotten.
    """
    half = min(images, SHARE * step * batch)
    return 0.5 ** (batch / half) if half > 0 else 0.0


@torch.no_grad()
def follow(mean: nn.Module, network: nn.Module, decay: float) -> None:
    """Move a mean towards its network, in place; buffers are copied."""
    for old, new in zip(mean.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1 - decay)
    for kept, noted in zip(mean.buffers(), network.buffers(), strict=True):
        kept.copy_(noted)
