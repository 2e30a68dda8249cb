"""MViTv2-S, from torchvision: 34.5 M parameters with its 400-class head, 16 frames of 224 px.

A vision transformer over clips that pools its patches from stage to stage. Where a patch is, it
knows from tables of relative distances; for clips of other sizes they are resampled on the way.

Li et al., 2022, https://arxiv.org/abs/2112.01526
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from velatura.config import config
from velatura.models._parts import Native, normalise
from velatura.models._torchvision import library
from velatura.models._weights import fill, given

NATIVE = Native(side=224, frames=16, classes=400, library=("KINETICS400_V1",))
# What torchvision's weights were trained with.
MEAN, STD = (0.45,) * 3, (0.225,) * 3
MIDDLE = 13  # the last block before the last pooling


@config
class Config:
    weights: str = ""
    """torchvision's name, such as ``"KINETICS400_V1"`` (downloads); a path; ``"hub:OWNER/NAME"``;
    ``""``: fresh."""


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W) in [0, 1] to logits (B, outputs)."""
    from velatura.torchvision_guard import ensure

    ensure()
    from torchvision.models import get_model

    net = get_model("mvit_v2_s", weights=None, num_classes=outputs)
    if cfg.weights:
        loaded = given(cfg.weights, "mvit_v2_s", lambda word: library("mvit_v2_s", word))
        fill(net, loaded, "mvit_v2_s", head="head.1")
    return MViT(net)


class MViT(nn.Module):
    """Normalises as torchvision's weights expect; tells the blocks the size of the clip at hand."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def features(self, clips: Float[Tensor, "b t c h w"]) -> list[Tensor]:
        """What the last two stages say of each patch, (B, tokens, D), the class token first."""
        net = self.net
        x = net.conv_proj(normalise(clips.transpose(1, 2), MEAN, STD))  # type: ignore[operator]
        thw = tuple(x.shape[2:])
        x = net.pos_encoding(x.flatten(2).transpose(1, 2))  # type: ignore[operator]
        seen = []
        for number, block in enumerate(net.blocks):  # type: ignore[arg-type]
            x, thw = block(x, thw)
            if number == MIDDLE:
                seen.append(x)
        return [*seen, net.norm(x)]  # type: ignore[operator]

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        logits: Tensor = self.net.head(self.features(clips)[-1][:, 0])  # type: ignore[operator]
        return logits
