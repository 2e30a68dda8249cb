"""ResNet-152 over frames, from torchvision: 58.1 M parameters without its head.

He et al., 2016, https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from velatura.config import config
from velatura.models._parts import Native
from velatura.models._torchvision import frame_classifier, frame_encoder

NATIVE = Native(side=224, classes=1000, library=("IMAGENET1K_V1", "IMAGENET1K_V2"))


@config
class Config:
    weights: str = ""
    """torchvision's name, such as ``"DEFAULT"`` (downloads); a path; ``"hub:OWNER/NAME"``;
    ``""``: fresh."""
    frames: Annotated[int, Field(ge=1)] = 4
    """Frames of a clip that the classifier looks at in training; twice as many otherwise."""


def encoder(cfg: Config) -> nn.Module:
    """Frames (N, 3, H, W) in [0, 1] to features (N, 2048)."""
    return frame_encoder("resnet152", cfg.weights)


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W) in [0, 1] to logits (B, outputs)."""
    return frame_classifier("resnet152", cfg.weights, outputs, cfg.frames)
