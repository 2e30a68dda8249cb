"""Looks at frames with a ResNet-34; from scratch, or from weights that are named in
``[evaluation.networks.resnet34]``."""

from __future__ import annotations

from torch import nn

from velatura.models import resnet34
from velatura.models.resnet34 import Config

__all__ = ["Config", "network"]


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)."""
    return resnet34.classifier(cfg, outputs)
