"""R3D-18, from torchvision: 33.4 M parameters with its 400-class head, 16 frames of 112 px.

Tran et al., 2018, https://arxiv.org/abs/1711.11248
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from velatura.config import config
from velatura.models._parts import normalise, offline_hint

# Mean and deviation that torchvision's Kinetics weights were trained with.
MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


@config
class Config:
    weights: str = ""
    """torchvision's name, such as ``"KINETICS400_V1"`` (downloads); ``""``: fresh."""


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W) in [0, 1] to logits (B, outputs)."""
    from velatura.torchvision_guard import ensure

    ensure()
    from torchvision.models.video import r3d_18

    with offline_hint(f"the weights {cfg.weights!r} of r3d_18"):
        net = r3d_18(weights=cfg.weights or None)
    net.fc = nn.Linear(net.fc.in_features, outputs)
    return R3D(net)


class R3D(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def features(self, clips: Float[Tensor, "b t c h w"]) -> list[Tensor]:
        """The last two stages, for a feature-space hinge."""
        x = normalise(clips.transpose(1, 2), MEAN, STD)
        x = x.contiguous(memory_format=torch.channels_last_3d)
        for stage in ("stem", "layer1", "layer2", "layer3"):
            x = getattr(self.net, stage)(x)
        return [x, self.net.layer4(x)]  # type: ignore[operator]

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        pooled = self.features(clips)[-1].mean((2, 3, 4))
        logits: Tensor = self.net.fc(pooled)  # type: ignore[operator]
        return logits
