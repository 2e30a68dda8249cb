"""Looks at frames with a network that knows ImageNet: the strongest start we can carry.

Without the package that holds the weights it says so; see ``models/efficientnet_lite0.py``.
"""

from __future__ import annotations

from torch import nn

from velatura.models import efficientnet_lite0
from velatura.models.efficientnet_lite0 import Config

__all__ = ["Config", "network"]


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)."""
    return efficientnet_lite0.classifier(cfg, outputs)
