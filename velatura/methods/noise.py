"""Noise: Gaussian noise on every pixel.

Drawn once for a clip it stays where it is while the picture moves, so that averaging frames does
not remove it; drawn for each frame, averaging does, and what stands still comes back.

What is drawn is a function of ``seed`` and of the clip's (or the frame's) own bytes, so that an
experiment repeats to the bit and no clip's noise tells of another's. Whoever deploys noise draws
it from a secret instead: here, one who guesses the raw clip can confirm the guess.
"""

from __future__ import annotations

import zlib
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config


@config
class Config:
    sigma: Annotated[float, Field(gt=0, le=4)] = 0.2
    """Standard deviation, of full brightness, before values are cut off at 0 and 1."""
    per: Literal["clip", "frame"] = "clip"
    """What gets noise of its own."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


def build(cfg: Config) -> nn.Module:
    """(B, T, C, H, W) in [0, 1] to the same, with noise in every pixel and colour."""
    return Noise(cfg.sigma, cfg.per, cfg.seed)


class Noise(nn.Module):
    def __init__(self, sigma: float, per: Literal["clip", "frame"], seed: int):
        super().__init__()
        self.sigma, self.per, self.seed = sigma, per, seed
        self.whole = per == "clip"  # a video cut in two would be two clips, of two noises

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        kept = clips if self.per == "frame" else clips[:, :1]
        pieces = clips.flatten(0, 1) if self.per == "frame" else clips
        drawn = torch.stack([self._drawn(piece, clips.shape[2:]) for piece in pieces])
        noise = drawn.reshape(kept.shape).to(clips)
        return (clips + self.sigma * noise).clamp(0, 1)

    def _drawn(self, piece: Tensor, shape: torch.Size) -> Tensor:
        """(C, H, W) of unit variance, on the CPU: the same on every machine and device."""
        pixels = piece.detach().float().mul(255).round().byte().cpu().contiguous().numpy()
        rng = np.random.default_rng([self.seed, zlib.crc32(pixels.data)])
        return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))
