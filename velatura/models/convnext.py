"""ConvNeXt over frames, by timm: 27.8 M parameters without its head.

A convolutional network with the plan of a transformer: large kernels, few normalisations.

Liu et al., 2022, https://arxiv.org/abs/2201.03545
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from velatura.config import config
from velatura.models._parts import Native
from velatura.models._timm import Kind, frame_classifier, frame_encoder, refuse

NATIVE = Native(side=224, classes=1000, library=("DEFAULT", "timm's tags"))
# Four stages shrink a frame to a 32nd, and each step needs a pixel to start from.
KIND = Kind("convnext", "convnext_*", "head.fc", stride=1, least=32, options={})


@config
class Config:
    variant: str = "convnext_tiny"
    """timm's name of the variant, such as ``"convnext_base"``; with a tag behind a point, its
    input is normalised as those weights expect."""
    weights: str = ""
    """``"DEFAULT"``, or a tag of timm's (downloads); a path; ``"hub:OWNER/NAME"``;
    ``""``: fresh."""
    frames: Annotated[int, Field(ge=1)] = 4
    """Frames of a clip that the classifier looks at in training; twice as many otherwise."""
    size: Annotated[int, Field(ge=0, le=1024)] = 0
    """Shorter side to which smaller frames are enlarged, pixels; 0: they are taken as they come."""


def check(cfg: Config, frames: int, height: int, width: int) -> None:
    """Refuse clips that it cannot take.

    Raises:
        BadInput: a side is less than 32 px.
    """
    refuse(KIND, cfg.size, height, width)


def encoder(cfg: Config) -> nn.Module:
    """Frames (N, 3, H, W) in [0, 1] of at least 32 px to features (N, D)."""
    return frame_encoder(KIND, cfg.variant, cfg.weights, cfg.size)


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W) in [0, 1] of at least 32 px to logits (B, outputs)."""
    return frame_classifier(KIND, cfg.variant, cfg.weights, cfg.size, outputs, cfg.frames)
