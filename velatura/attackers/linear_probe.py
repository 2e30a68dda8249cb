"""A linear layer on ImageNet features that never move: what is left there for anybody to read.

The features are EfficientNet-lite0's, from a wheel; see ``models/efficientnet_lite0.py``. A probe
cannot overfit as a network can, so where data is scarce it may be the strongest.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from velatura.models import efficientnet_lite0
from velatura.models.efficientnet_lite0 import Config

__all__ = ["Config", "network"]


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs); only the head learns."""
    return efficientnet_lite0.classifier(replace(cfg, frozen=True), outputs)
