"""A small mixer over space-time patches: no convolution, no attention, only matrix products.

Held out from every training loop, it plays the examiner of another family.
Source of the block: Tolstikhin et al., 2021, MLP-Mixer, https://arxiv.org/abs/2105.01601
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.models._parts import Native

NATIVE = Native(side=48, frames=8, classes=10)


@config
class Config:
    width: Annotated[int, Field(ge=16, le=1024)] = 128
    depth: Annotated[int, Field(ge=1, le=24)] = 3
    frames: Annotated[int, Field(ge=1)] = 2
    """Frames of a clip it looks at, evenly spread."""
    patch: Annotated[int, Field(ge=2)] = 8
    """Side of a patch, pixels."""
    size: Annotated[int, Field(ge=8)] = 48
    """Side to which frames are resampled, pixels; a multiple of ``patch``."""


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W) in [0, 1] to logits (B, outputs)."""
    return PatchMLP(cfg, outputs)


class Mixer(nn.Module):
    """Mix over tokens, then over channels; each behind a norm and a skip."""

    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, 64), nn.GELU(), nn.Linear(64, tokens))
        self.channels = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return torch.as_tensor(x + self.channels(self.norm2(x)))


class PatchMLP(nn.Module):
    def __init__(self, cfg: Config, outputs: int):
        super().__init__()
        self.cfg = cfg
        side = cfg.size // cfg.patch
        tokens = side * side * cfg.frames
        self.embed = nn.Linear(3 * cfg.patch**2, cfg.width)
        self.places = nn.Parameter(0.02 * torch.randn(1, tokens, cfg.width))
        self.blocks = nn.Sequential(*(Mixer(tokens, cfg.width) for _ in range(cfg.depth)))
        self.norm = nn.LayerNorm(cfg.width)
        self.head = nn.Linear(cfg.width, outputs)

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        cfg, (b, t, c, h, w) = self.cfg, clips.shape
        keep = torch.linspace(0, t - 1, cfg.frames, device=clips.device).round().long()
        x = clips[:, keep].flatten(0, 1)
        if (h, w) != (cfg.size, cfg.size):
            x = F.interpolate(x, (cfg.size, cfg.size), mode="area")
        x = F.pixel_unshuffle((x - 0.45) / 0.25, cfg.patch)  # (b * frames, c * p * p, side, side)
        x = x.flatten(2).transpose(1, 2).reshape(b, -1, c * cfg.patch**2)
        x = self.blocks(self.embed(x) + self.places)
        logits: Tensor = self.head(self.norm(x).mean(1))
        return logits
