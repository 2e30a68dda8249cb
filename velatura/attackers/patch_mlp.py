"""Of a family that no method trains against: a mixer over patches, no convolution."""

from __future__ import annotations

from torch import nn

from velatura.models import patch_mlp
from velatura.models.patch_mlp import Config

__all__ = ["Config", "network"]


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs)."""
    return patch_mlp.classifier(cfg, outputs)
