"""Grey: colour away, brightness kept."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from velatura.config import config


@config
class Config:
    """Nothing to choose."""


def build(cfg: Config) -> nn.Module:
    """(B, T, C, H, W) in [0, 1], RGB, to the same; the three channels are alike."""
    return Grey()


class Grey(nn.Module):
    # Rec. 601's weights of red, green and blue, as 8-bit decoders use them for small pictures.
    WEIGHTS = (0.299, 0.587, 0.114)

    def forward(self, clips: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        weights = clips.new_tensor(self.WEIGHTS).view(3, 1, 1)
        return (clips * weights).sum(-3, keepdim=True).expand(clips.shape).clamp(0, 1)
