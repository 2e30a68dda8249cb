"""R3D-18, from torchvision: 33.4 M parameters with its 400-class head, 16 frames of 112 px.

Tran et al., 2018, https://arxiv.org/abs/1711.11248
"""

from __future__ import annotations

from torch import nn

from velatura.config import config
from velatura.models._parts import Native
from velatura.models._torchvision import clip_classifier

NATIVE = Native(side=112, frames=16, classes=400, library=("KINETICS400_V1",))


@config
class Config:
    weights: str = ""
    """torchvision's name, such as ``"KINETICS400_V1"`` (downloads); a path; ``"hub:OWNER/NAME"``;
    ``""``: fresh."""


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W) in [0, 1] to logits (B, outputs)."""
    return clip_classifier("r3d_18", cfg.weights, outputs)
