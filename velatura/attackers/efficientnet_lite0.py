"""Looks at frames with a network that knows ImageNet: the strongest start we can carry.

Without the package that holds the weights it says so; see ``models/efficientnet_lite0.py``.
"""

from __future__ import annotations

from torch import nn

from velatura.config import config
from velatura.models import efficientnet_lite0
from velatura.training import fit


@config
class Config(fit.Config):
    pass


def network(outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)."""
    return efficientnet_lite0.classifier(efficientnet_lite0.Config(), outputs)
