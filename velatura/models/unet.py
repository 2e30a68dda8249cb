"""SPAct's f_A: a plain U-Net with a sigmoid behind it. 17.3 M parameters.

Channels 64, 128, 256, 512, 512 from full resolution down; each level two convolutions with
BatchNorm and ReLU; on the way up, bilinear enlargement and the picture of the level beside. The
frame goes in as it is, in [0, 1], as in the release. Keys are those of the well-known public
U-Net for PyTorch: inc, down1 to down4, up1 to up4, outc.

Dave et al., 2022, https://arxiv.org/abs/2203.15205;
Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.models._parts import FrameAnonymizer, Native
from velatura.models._weights import Given, fill, given

NATIVE = Native(side=224)


@config
class Config:
    width: Annotated[int, Field(ge=4, le=512, multiple_of=2)] = 64
    """Channels at full resolution; doubled at each level below, but for the last."""
    weights: str = ""
    """A path to a state dict of the same width; ``"hub:OWNER/NAME"`` (downloads); ``""``: fresh."""
    quantize: bool = True
    """Round the output to 8 bits, with a straight-through gradient."""


def anonymizer(cfg: Config) -> nn.Module:
    """(N, 3, H, W) or (B, T, 3, H, W) in [0, 1] to the same."""
    net = UNet(cfg.width)
    if cfg.weights:
        fill(net, _without_biases(given(cfg.weights, "unet")), "unet")
    return FrameAnonymizer(net, stride=16, quantize=cfg.quantize)


def _without_biases(loaded: Given) -> Given:
    """Older files have a bias on each convolution before a BatchNorm: it is the same as that much
    less in the mean which the BatchNorm takes away."""
    tensors = dict(loaded.tensors)
    for key in loaded.tensors:
        module, _, kind = key.rpartition(".")
        block, _, number = module.rpartition(".")
        mean = f"{block}.{int(number) + 1}.running_mean" if number.isdigit() else ""
        if kind == "bias" and ".double_conv." in key and mean in tensors:
            tensors[mean] = tensors[mean] - tensors.pop(key)
    return Given(loaded.source, tensors)


class DoubleConv(nn.Module):
    """(N, inputs, H, W) to (N, outputs, H, W), not below zero."""

    def __init__(self, inputs: int, outputs: int, between: int = 0):
        super().__init__()
        between = between or outputs
        self.double_conv = nn.Sequential(
            nn.Conv2d(inputs, between, 3, padding=1, bias=False),
            nn.BatchNorm2d(between),
            nn.ReLU(inplace=True),
            nn.Conv2d(between, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        out: Tensor = self.double_conv(x)
        return out


class Down(nn.Module):
    """Half the resolution: the larger of 2 x 2, and two convolutions."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        out: Tensor = self.maxpool_conv(x)
        return out


class Up(nn.Module):
    """Twice the resolution, beside what the way down saw there."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = DoubleConv(inputs, outputs, inputs // 2)

    def forward(
        self, x: Float[Tensor, "n c i j"], beside: Float[Tensor, "n e h w"]
    ) -> Float[Tensor, "n d h w"]:
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
        out: Tensor = self.conv(torch.cat([beside, x], 1))
        return out


class OutConv(nn.Module):
    """A weighted sum of channels at each pixel."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        out: Tensor = self.conv(x)
        return out


class UNet(nn.Module):
    """(N, 3, H, W) in [0, 1], H and W multiples of 16, to the same."""

    def __init__(self, width: int):
        super().__init__()
        self.inc = DoubleConv(3, width)
        self.down1 = Down(width, 2 * width)
        self.down2 = Down(2 * width, 4 * width)
        self.down3 = Down(4 * width, 8 * width)
        self.down4 = Down(8 * width, 8 * width)
        self.up1 = Up(16 * width, 4 * width)
        self.up2 = Up(8 * width, 2 * width)
        self.up3 = Up(4 * width, width)
        self.up4 = Up(2 * width, width)
        self.outc = OutConv(width, 3)

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        x1 = self.inc(frames)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.up1(self.down4(x4), x4)
        x = self.up4(self.up3(self.up2(x, x3), x2), x1)
        return torch.sigmoid(self.outc(x).float())
