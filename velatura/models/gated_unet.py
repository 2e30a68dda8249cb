"""A light f_A for two CPU cores: a small U-Net that mixes the picture with a painted one.

    output = gate * picture + (1 - gate) * paint        gate, paint in (0, 1)

The result stays in [0, 1] by construction, and with the gate's bias at 4 it starts at 92 %
picture, near the identity. No normalisation layers: train and eval are the same function, and
one frame's output does not depend on its batch.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.models._parts import FrameAnonymizer


@config
class Config:
    width: Annotated[int, Field(ge=4, le=512)] = 16
    """Channels at half resolution; doubled at each level below."""
    gate_bias: float = 4.0
    """Start of the gate's logit: 4 keeps 92 % of the picture."""
    quantize: bool = True
    """Round the output to 8 bits, with a straight-through gradient."""


def anonymizer(cfg: Config) -> nn.Module:
    """(N, 3, H, W) or (B, T, 3, H, W) in [0, 1] to the same."""
    return FrameAnonymizer(GatedUNet(cfg.width, cfg.gate_bias), stride=8, quantize=cfg.quantize)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )


class GatedUNet(nn.Module):
    """Works at half resolution on 2 x 2 blocks folded into channels: a quarter of the cost."""

    def __init__(self, width: int, gate_bias: float):
        super().__init__()
        self.down1 = _double(12, width)
        self.down2 = _double(width, 2 * width)
        self.down3 = _double(2 * width, 4 * width)
        self.up2 = _double(6 * width, 2 * width)
        self.up1 = _double(3 * width, width)
        self.head = nn.Conv2d(width, 4 * 6, 1)  # per pixel of a block: 3 paint, 3 gate
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=0.02)
        self.gate_bias = gate_bias

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        x1 = self.down1(F.pixel_unshuffle(frames - 0.5, 2))
        x2 = self.down2(F.max_pool2d(x1, 2))
        x3 = self.down3(F.max_pool2d(x2, 2))
        x2 = self.up2(torch.cat([F.interpolate(x3, scale_factor=2.0), x2], 1))
        x1 = self.up1(torch.cat([F.interpolate(x2, scale_factor=2.0), x1], 1))
        paint, gate = F.pixel_shuffle(self.head(x1), 2).float().chunk(2, 1)
        gate = torch.sigmoid(_soft(gate + self.gate_bias))
        return gate * frames + (1 - gate) * torch.sigmoid(_soft(paint))


def _soft(x: Tensor, limit: float = 6.0) -> Tensor:
    """Bend large values towards +-limit, with a slope that never dies.

    A bare sigmoid, once driven far, has no gradient left: f_A would freeze as the identity or
    as a fixed pattern, whichever it overshot into.
    """
    return x / (1 + x.abs() / limit)
