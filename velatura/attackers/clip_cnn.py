"""Looks at the clip: a small 3-D CNN that sees motion."""

from __future__ import annotations

from torch import nn

from velatura.config import config
from velatura.models import clip_cnn
from velatura.training import fit


@config
class Config(fit.Config):
    pass


def network(outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs), fresh weights."""
    return clip_cnn.classifier(clip_cnn.Config(), outputs)
