"""Looks at the clip with an R3D-18, which sees motion; from scratch, or from weights that are named
in ``[evaluation.networks.r3d_18]``."""

from __future__ import annotations

from torch import nn

from velatura.models import r3d_18
from velatura.models.r3d_18 import Config

__all__ = ["Config", "network"]


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)."""
    return r3d_18.classifier(cfg, outputs)
