"""Looks at frames with a ConvNeXt, a convolutional network of 2022; from scratch, or from weights
that are named in ``[evaluation.networks.convnext]``."""

from __future__ import annotations

from torch import nn

from velatura.models import convnext
from velatura.models.convnext import Config

__all__ = ["Config", "network"]


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)."""
    return convnext.classifier(cfg, outputs)
