"""Looks at single frames: a small 2-D CNN, logits averaged over frames."""

from __future__ import annotations

from torch import nn

from velatura.config import config
from velatura.models import frame_cnn
from velatura.training import fit


@config
class Config(fit.Config):
    pass


def network(outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs), fresh weights."""
    return frame_cnn.classifier(frame_cnn.Config(), outputs)
