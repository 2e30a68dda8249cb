"""Blur people: a Gaussian over persons, or the boxes around them; the room stays sharp.

Obf-StrongBlur and Obf-WeakBlur of SPAct's tables (https://arxiv.org/abs/2203.15205): a kernel of
21 and of 13 pixels, both of sigma 10, for pictures of 112. These three figures are as we remember
its supplement and are not checked against it. They scale with the picture.

Persons come from the data (``ClipSet.people``): a frame in which nobody is marked stays as it is.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.methods._regions import grown


@config
class Config:
    kernel: Annotated[int, Field(ge=3)] = 21
    """Width of the kernel, in pixels of a frame whose shorter side is ``side``; 13 is weak."""
    sigma: Annotated[float, Field(gt=0)] = 10.0
    """Standard deviation, in the same pixels."""
    side: Annotated[int, Field(ge=1)] = 112
    grow: Annotated[float, Field(ge=0, le=1)] = 0.02
    """How far a region grows on every side, as a share of the frame's shorter side."""
    boxes: bool = True
    """Blur the box around each person; else only where the mask is."""


def build(cfg: Config) -> nn.Module:
    """(B, T, C, H, W) in [0, 1] and (B, T, H, W), 1 where persons are, to blurred regions."""
    half, sigma = 0.5 * (cfg.kernel - 1) / cfg.side, cfg.sigma / cfg.side
    return BlurPeople(half, sigma, cfg.grow, cfg.boxes)


class BlurPeople(nn.Module):
    wants_people = True

    def __init__(self, half: float, sigma: float, grow: float, boxes: bool):
        """Half the kernel and its sigma, as shares of the frame's shorter side."""
        super().__init__()
        self.reach, self.sigma, self.grow, self.boxes = half, sigma, grow, boxes

    def forward(
        self, clips: Float[Tensor, "b t c h w"], people: Float[Tensor, "b t h w"]
    ) -> Float[Tensor, "b t c h w"]:
        return torch.where(grown(people, self.grow, self.boxes), self._blurred(clips), clips)

    def _blurred(self, clips: Tensor) -> Tensor:
        short = min(clips.shape[-2:])
        half = max(1, round(self.reach * short))
        along = torch.arange(-half, half + 1, device=clips.device, dtype=clips.dtype)
        kernel = torch.exp(-0.5 * (along / (self.sigma * short)) ** 2)
        kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
        planes = clips.reshape(-1, 1, *clips.shape[-2:])
        planes = F.conv2d(F.pad(planes, (half, half, 0, 0), mode="replicate"), kernel)
        planes = F.conv2d(F.pad(planes, (0, 0, half, half), mode="replicate"), kernel.mT)
        return planes.reshape(clips.shape).clamp(0, 1)
