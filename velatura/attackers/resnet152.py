"""Looks at frames with a ResNet-152, the deepest of the family; from scratch, or from weights that
are named in ``[evaluation.networks.resnet152]``."""

from __future__ import annotations

from torch import nn

from velatura.models import resnet152
from velatura.models.resnet152 import Config

__all__ = ["Config", "network"]


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)."""
    return resnet152.classifier(cfg, outputs)
