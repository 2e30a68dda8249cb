"""Looks at frames with a vision transformer; from scratch, or from weights that are named in
``[evaluation.networks.vit]``."""

from __future__ import annotations

from torch import nn

from velatura.models import vit
from velatura.models.vit import Config

__all__ = ["Config", "network"]


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)."""
    return vit.classifier(cfg, outputs)
