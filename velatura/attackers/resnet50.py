"""Looks at frames with a ResNet-50, the paper's attacker; from scratch, or from weights that are
named in ``[evaluation.networks.resnet50]``."""

from __future__ import annotations

from torch import nn

from velatura.models import resnet50
from velatura.models.resnet50 import Config

__all__ = ["Config", "network"]


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)."""
    return resnet50.classifier(cfg, outputs)
