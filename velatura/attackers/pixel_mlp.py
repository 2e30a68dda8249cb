"""Looks at raw pixels, averaged to a small picture: no convolution, no patch, no pretraining."""

from __future__ import annotations

from torch import nn

from velatura.models import pixel_mlp
from velatura.models.pixel_mlp import Config

__all__ = ["Config", "network"]


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)."""
    return pixel_mlp.classifier(cfg, outputs)
