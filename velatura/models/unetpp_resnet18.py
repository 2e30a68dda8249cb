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
from velatura.errors import BadInput
from velatura.models._parts import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    FrameAnonymizer,
    Native,
    normalise,
)
from velatura.models._weights import Given, fill, from_hub, given

NATIVE = Native(side=224, library=("imagenet", "ssl", "swsl"))


@config
class Config:
    weights: str = ""
    """Of the encoder: ``"imagenet"``, or another name of the library's (downloads), or a path to a
    ResNet-18. Of the whole: a path to a state dict under the library's names, or
    ``"hub:OWNER/NAME"`` (downloads). ``""``: fresh."""
    quantize: bool = True
    depth: Annotated[int, Field(ge=3, le=5)] = 4


def anonymizer(cfg: Config) -> nn.Module:
    """(N, 3, H, W) or (B, T, 3, H, W) in [0, 1] to the same."""
    from velatura.torchvision_guard import ensure

    ensure()
    import segmentation_models_pytorch as smp

    widths = (256, 128, 64, 32, 16)[: cfg.depth]
    net = smp.UnetPlusPlus(
        "resnet18",
        encoder_depth=cfg.depth,
        encoder_weights=None,
        decoder_channels=widths,
        classes=3,
    )
    if cfg.weights:
        loaded = given(cfg.weights, "unetpp_resnet18", _library)
        if any(key.startswith(("encoder.", "decoder.")) for key in loaded.tensors):
            fill(net, loaded, "unetpp_resnet18")
        else:
            fill(net.encoder, loaded, "resnet18", head="fc")
    return FrameAnonymizer(_Bounded(net), stride=2**cfg.depth, quantize=cfg.quantize)


def _library(weights: str) -> Given:
    """The library's weights of the encoder."""
    from segmentation_models_pytorch.encoders import encoders

    known = encoders["resnet18"]["pretrained_settings"]
    if weights not in known:
        raise BadInput(
            f"Could not get the encoder weights {weights!r}: the library has {', '.join(known)}. "
            "Take one of these, name a file, or leave it empty."
        )
    place = known[weights]
    where = f"hub:{place['repo_id']}@{place['revision']}"
    return from_hub(where, "unetpp_resnet18's encoder", called=weights)


class _Bounded(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        return torch.sigmoid(self.net(normalise(frames, IMAGENET_MEAN, IMAGENET_STD)).float())
