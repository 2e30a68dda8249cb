"""The encoder of BDQ: blur, difference, quantisation. 17 numbers that learn.

Kumawat and Nagahara, 2022, https://arxiv.org/abs/2208.02459. From the paper: each frame is
blurred with a small Gaussian kernel; from each frame the one before is subtracted; the
difference, spread over 2^k - 1 units, goes through a staircase of 2^k - 1 sigmoids, whose
boundaries start half-way between whole numbers and learn. 5 x 5, sigma 3, k = 4 and hardness 5
are the released code's.

Ours: sigma learns (the released code's kernel does not). The differences are spread by a width
that learns, not by the smallest and largest of a batch: an output is a function of its own clip.
No motion stands in the middle of a level, where the paper's boundary would turn its noise into
black and white. The levels become grey values in [0, 1]. At evaluation each step is a step. The
first frame, which has none before it, takes the difference to the second.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.errors import BadInput
from velatura.models._parts import Native, eight_bits

NATIVE = Native(side=224, frames=16)


@config
class Config:
    kernel: Annotated[int, Field(ge=1, le=31)] = 5
    """Side of the blur's kernel, pixels; odd."""
    sigma: Annotated[float, Field(gt=0)] = 3.0
    """Start of the blur's deviation, pixels."""
    bits: Annotated[int, Field(ge=1, le=8)] = 4
    """k: 2^k levels are left."""
    hardness: Annotated[float, Field(gt=0)] = 5.0
    """Slope of a soft step, per level; fixed."""
    reach: Annotated[float, Field(gt=0)] = 0.25
    """Start of the change of intensity, either way, that the levels tell apart."""
    quantize: bool = True
    """Round the output to 8 bits, with a straight-through gradient."""

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise BadInput(f"kernel is {self.kernel}; a kernel with a middle has an odd side.")


def anonymizer(cfg: Config) -> nn.Module:
    """(B, T, 3, H, W) in [0, 1] to the same; frames (N, 3, H, W) to the constant of no motion."""
    return BDQ(cfg)


class BDQ(nn.Module):
    past = 1  # frames that it looks back

    def __init__(self, cfg: Config):
        super().__init__()
        self.kernel, self.hardness, self.quantize = cfg.kernel, cfg.hardness, cfg.quantize
        self.top = 2**cfg.bits - 1  # the highest level
        self.rest = (self.top - 1) // 2  # the level of no motion
        self.step = math.ceil(255 / self.top)  # between two levels, as bytes
        # As logarithms, both stay above zero.
        self.log_sigma = nn.Parameter(torch.tensor(math.log(cfg.sigma)))
        self.log_width = nn.Parameter(torch.tensor(math.log(2 * cfg.reach / self.top)))
        self.boundaries = nn.Parameter(torch.arange(self.top) + 0.5)

    def forward(self, clips: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        if clips.ndim == 4:
            return self.forward(clips.unsqueeze(1)).squeeze(1)
        # bf16 has 8 bits, too few for a difference.
        with torch.autocast(clips.device.type, enabled=False):
            clips = clips.float()
            if clips.shape[1] < 2:
                change = torch.zeros_like(clips)  # a picture that stands alone does not move
            else:
                change = self.blur(clips).diff(dim=1)
                change = torch.cat([change[:, :1], change], 1)
            out = self.staircase(self.rest + change / self.log_width.exp()) / self.top
        return eight_bits(out) if self.quantize else out.clamp(0, 1)

    def plainly(self, clips: Float[Tensor, "b s c h w"]) -> Float[Tensor, "b t c h w"]:
        """What ``forward`` answers to all but the first frame, in steps that ONNX has."""
        above = self.rest + self.blur(clips).diff(dim=1) / self.log_width.exp()
        # No step makes a number of what is none: it must be seen behind them.
        return self.staircase(above) / self.top + 0 * above

    def blur(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        """Each frame and colour with a Gaussian kernel; edges are repeated."""
        half = self.kernel // 2
        along = torch.arange(-half, half + 1, device=clips.device)
        weights = torch.exp(-0.5 * (along / self.log_sigma.exp()) ** 2)
        weights = weights / weights.sum()
        planes = F.pad(clips.reshape(-1, 1, *clips.shape[-2:]), (half,) * 4, mode="replicate")
        planes = F.conv2d(planes, weights.view(1, 1, 1, -1))
        return F.conv2d(planes, weights.view(1, 1, -1, 1)).reshape(clips.shape)

    def staircase(self, x: Tensor) -> Tensor:
        """Any shape to the same, in [0, top]: one level up at each boundary."""
        level = torch.zeros_like(x)
        for boundary in self.boundaries:
            above = x - boundary
            level = level + (
                torch.sigmoid(self.hardness * above) if self.training else (above > 0).float()
            )
        return level
