"""Looks at single frames: a small 2-D CNN, logits averaged over frames."""

from __future__ import annotations

from torch import nn

from velatura.models import frame_cnn
from velatura.models.frame_cnn import Config

__all__ = ["Config", "network"]


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)."""
    return frame_cnn.classifier(cfg, outputs)
