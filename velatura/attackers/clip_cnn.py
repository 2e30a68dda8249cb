"""Looks at the clip: a small 3-D CNN that sees motion."""

from __future__ import annotations

from torch import nn

from velatura.models import clip_cnn
from velatura.models.clip_cnn import Config

__all__ = ["Config", "network"]


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)."""
    return clip_cnn.classifier(cfg, outputs)
