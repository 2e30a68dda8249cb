"""A vision transformer over frames, by timm: 21.7 M parameters without its head.

A frame is cut into patches that attend to each other. Position embeddings are resampled to the
grid at hand, so that any multiple of the patch will do: 48 px are 3 x 3 patches of 16. That is a
coarse look; ``size`` enlarges small frames, at a price that grows faster than their area.

Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field
from torch import nn

from velatura.config import config
from velatura.models._parts import Native
from velatura.models._timm import Kind, frame_classifier, frame_encoder, refuse

NATIVE = Native(side=224, classes=1000, library=("DEFAULT", "timm's tags"))


@config
class Config:
    variant: str = "vit_small_patch16_224"
    """timm's name of the variant, such as ``"vit_base_patch16_224"``; with a tag behind a point,
    its input is normalised as those weights expect."""
    weights: str = ""
    """``"DEFAULT"``, or a tag of timm's (downloads); a path; ``"hub:OWNER/NAME"``;
    ``""``: fresh."""
    frames: Annotated[int, Field(ge=1)] = 4
    """Frames of a clip that the classifier looks at in training; twice as many otherwise."""
    size: Annotated[int, Field(ge=0, le=1024)] = 0
    """Shorter side to which smaller frames are enlarged, pixels; 0: they are taken as they come."""


def _kind(cfg: Config) -> Kind:
    found = re.search(r"_patch(\d+)", cfg.variant)
    patch = int(found[1]) if found else 16
    return Kind("vit", "vit_*_patch*", "head", patch, patch, {"dynamic_img_size": True})


def check(cfg: Config, frames: int, height: int, width: int) -> None:
    """Refuse clips that it cannot take.

    Raises:
        BadInput: a side is not a multiple of the patch.
    """
    refuse(_kind(cfg), cfg.size, height, width)


def encoder(cfg: Config) -> nn.Module:
    """Frames (N, 3, H, W) in [0, 1], sides multiples of the patch, to features (N, D)."""
    return frame_encoder(_kind(cfg), cfg.variant, cfg.weights, cfg.size)


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W) in [0, 1], sides multiples of the patch, to logits (B, outputs)."""
    return frame_classifier(_kind(cfg), cfg.variant, cfg.weights, cfg.size, outputs, cfg.frames)
