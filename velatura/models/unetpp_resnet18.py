"""The paper's f_A: UNet++ with a ResNet-18 encoder of depth 4. 5.5 M parameters in use.

From segmentation-models-pytorch. Zhou et al., 2018, https://arxiv.org/abs/1807.10165; the
decoder's widths are those of the paper's release. The release leaves the output unbounded;
ours ends in a sigmoid, since a video holds nothing outside [0, 1].
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.models._parts import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    FrameAnonymizer,
    normalise,
    offline_hint,
)


@config
class Config:
    weights: str = ""
    """Encoder weights by the library's name, such as ``"imagenet"`` (downloads); ``""``: fresh."""
    quantize: bool = True
    depth: Annotated[int, Field(ge=3, le=5)] = 4


def anonymizer(cfg: Config) -> nn.Module:
    """(N, 3, H, W) or (B, T, 3, H, W) in [0, 1] to the same."""
    from velatura.torchvision_guard import ensure

    ensure()
    import segmentation_models_pytorch as smp

    widths = (256, 128, 64, 32, 16)[: cfg.depth]
    with offline_hint(f"the encoder weights {cfg.weights!r}"):
        net = smp.UnetPlusPlus(
            "resnet18",
            encoder_depth=cfg.depth,
            encoder_weights=cfg.weights or None,
            decoder_channels=widths,
            classes=3,
        )
    return FrameAnonymizer(_Bounded(net), stride=2**cfg.depth, quantize=cfg.quantize)


class _Bounded(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        return torch.sigmoid(self.net(normalise(frames, IMAGENET_MEAN, IMAGENET_STD)).float())
