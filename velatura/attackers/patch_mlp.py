"""Of a family that no method trains against: a mixer over patches, no convolution."""

from __future__ import annotations

from torch import nn

from velatura.config import config
from velatura.models import patch_mlp
from velatura.training import fit


@config
class Config(fit.Config):
    pass


def network(outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs), fresh weights."""
    return patch_mlp.classifier(patch_mlp.Config(), outputs)
