"""C3D, for 16 frames of 112 px: 78.4 M parameters with its head of 101 classes.

Eight convolutions of 3 x 3 x 3 and three full layers, without normalisation. The full layers
expect one size of clip; ``adapt`` pools others to it. Weights load from a file under the key
names of the PyTorch form of the authors' Sports-1M weights: conv1, conv2, conv3a, ... fc8.

Tran et al., 2015, https://arxiv.org/abs/1412.0767
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.errors import BadInput
from velatura.models._parts import Native
from velatura.models._weights import Given, fill, given

NATIVE = Native(side=112, frames=16, classes=101)
# Channels in and out, and the pooling that follows, of (frames, height, width).
PLAN: dict[str, tuple[int, int, int]] = {
    "conv1": (3, 64, 1),
    "conv2": (64, 128, 2),
    "conv3a": (128, 256, 0),
    "conv3b": (256, 256, 2),
    "conv4a": (256, 512, 0),
    "conv4b": (512, 512, 2),
    "conv5a": (512, 512, 0),
    "conv5b": (512, 512, 0),
}
LEAST_FRAMES, LEAST_SIDE = 8, 16  # less than this, and a pooling has nothing left to pool
# Mean of the videos that the weights were learnt on, of 0 to 255; nothing divides by a deviation.
MEAN = {"red": 102.0, "green": 98.0, "blue": 90.0}
# Another form of the same file numbers its layers.
NUMBERED = {
    **{f"features.{n}": k for n, k in zip((0, 3, 6, 8, 11, 13, 16, 18), PLAN, strict=True)},
    "classifier.0": "fc6",
    "classifier.3": "fc7",
    "classifier.6": "fc8",
}


@config
class Config:
    weights: str = ""
    """A path to a state dict, or ``"hub:OWNER/NAME"`` (downloads); ``""``: fresh. Their head stays
    if it has as many outputs as are asked for."""
    adapt: bool = False
    """Take clips of other sizes, of 8 frames and 16 px at least: what the convolutions leave of
    them is pooled to what the full layers expect."""
    colours: Literal["bgr", "rgb"] = "bgr"
    """The order that the weights expect; the authors' were learnt on blue, green, red."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of each full layer's results that is left out in training."""


def check(cfg: Config, frames: int, height: int, width: int) -> None:
    """Refuse clips that it cannot take.

    Raises:
        BadInput: another size than 16 frames of 112 x 112 px, and ``adapt`` is off; or too small.
    """
    here = f"these have {frames} of {height} x {width}"
    if not cfg.adapt and (frames, height, width) != (16, 112, 112):
        raise BadInput(
            f"c3d needs clips of 16 frames of 112 x 112 px; {here}. Change batches.frames and "
            "batches.size, or set adapt = true of this network."
        )
    if frames < LEAST_FRAMES or min(height, width) < LEAST_SIDE:
        raise BadInput(
            f"c3d with adapt needs clips of at least {LEAST_FRAMES} frames of {LEAST_SIDE} x "
            f"{LEAST_SIDE} px; {here}."
        )


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W), RGB in [0, 1], of a size that passes ``check``, to logits
    (B, outputs)."""
    network = C3D(outputs, cfg)
    if cfg.weights:
        loaded = given(cfg.weights, "c3d")
        fill(network, Given(loaded.source, _named(loaded.tensors)), "c3d", head="fc8")
    return network


def _named(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under the names of here, where the file numbers its layers."""

    def name(key: str) -> str:
        module, _, kind = key.rpartition(".")
        return f"{NUMBERED.get(module, module)}.{kind}"

    return {name(key): value for key, value in tensors.items()}


class C3D(nn.Module):
    """Without weights that were learnt on bytes it is handed unit numbers, which train better."""

    def __init__(self, outputs: int, cfg: Config):
        super().__init__()
        self.cfg = cfg
        self.scale = 255.0 if cfg.weights else 4.0
        for name, (inputs, channels, _) in PLAN.items():
            self.add_module(name, nn.Conv3d(inputs, channels, 3, padding=1))
        self.fc6 = nn.Linear(512 * 4 * 4, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, outputs)
        self.drop = nn.Dropout(cfg.dropout)
        for module in self.modules():  # nothing normalises: variance has to be kept from the start
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.fc8.weight, std=0.01)

    def features(self, clips: Float[Tensor, "b t c h w"]) -> list[Tensor]:
        """What the fourth and the fifth group of convolutions see, for a feature-space hinge.

        Raises:
            BadInput: it cannot take clips of this size.
        """
        check(self.cfg, clips.shape[1], *clips.shape[-2:])
        mean = clips.new_tensor([MEAN["red"], MEAN["green"], MEAN["blue"]]).view(3, 1, 1) / 255
        x = (clips - mean) * self.scale
        if self.cfg.colours == "bgr":
            x = x.flip(2)
        x = x.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)
        seen = []
        for name, (_, _, pool) in PLAN.items():
            x = F.relu(self.get_submodule(name)(x))
            if name in ("conv4b", "conv5b"):
                seen.append(x)
            if pool:
                x = F.max_pool3d(x, (pool, 2, 2))
        return seen

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        x = self.features(clips)[-1]
        if x.shape[2:] == (2, 7, 7):
            x = F.max_pool3d(x, 2, padding=(0, 1, 1))
        else:
            x = F.adaptive_max_pool3d(x, (1, 4, 4))
        x = self.drop(F.relu(self.fc6(x.flatten(1))))
        x = self.drop(F.relu(self.fc7(x)))
        logits: Tensor = self.fc8(x)
        return logits
