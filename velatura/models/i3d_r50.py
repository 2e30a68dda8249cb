"""I3D-ResNet50, the paper's f_T: 28.0 M parameters with its 400-class head.

The baseline of FAIR's video-nonlocal-net (no non-local blocks), for 32 frames of 224 px, two
apart; any clip of 7 frames and 5 px will do. Weights learnt on Kinetics-400 load from a file:
FAIR's own, or its well-known form for PyTorch, whose key names are the ones here.

Carreira and Zisserman, 2017, https://arxiv.org/abs/1705.07750;
Wang et al., 2018, https://arxiv.org/abs/1711.07971 (table 1 and section 4).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura import restricted
from velatura.config import config
from velatura.errors import BadInput
from velatura.models._parts import Native, normalise
from velatura.models._weights import Given, fill, given, other

NATIVE = Native(side=224, frames=32, classes=400)
# What the Kinetics weights expect: (x - 114.75) / 57.375 of 0 to 255, alike for each colour.
MEAN, STD = (0.45,) * 3, (0.225,) * 3
WIDTH = 64  # channels of the stem; all others are multiples of it
# How many frames the first convolution of each block looks at, stage by stage.
TEMPORAL = ((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1))
FRAMES, SIDE = 7, 5  # less than this, and a pooling has nothing left to pool


@config
class Config:
    weights: str = ""
    """``""``: fresh. Or a path: ``.pth``, a state dict such as ``i3d_r50_kinetics.pth``; ``.pkl``,
    FAIR's ``i3d_baseline_32x2_IN_pretrain_400k.pkl``; or ``"hub:OWNER/NAME"`` (downloads). Their
    head stays if it has as many outputs as are asked for."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the pooled features that is left out in training."""


def classifier(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W), RGB in [0, 1], T >= 7, H and W >= 5, to logits (B, outputs)."""
    network = I3D(outputs, cfg.dropout)
    if cfg.weights:
        _fill(network, cfg.weights)
    return network


def check(cfg: Config, frames: int, height: int, width: int) -> None:
    """Refuse clips that it cannot take.

    Raises:
        BadInput: too short or too small.
    """
    if frames < FRAMES or min(height, width) < SIDE:
        raise BadInput(
            f"i3d_r50 needs clips of at least {FRAMES} frames of {SIDE} x {SIDE} px; "
            f"these have {frames} of {height} x {width}."
        )


class Bottleneck(nn.Module):
    """(B, inputs, T, H, W) to (B, 4 width, T, H / stride, W / stride), added to its input."""

    def __init__(self, inputs: int, width: int, frames: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv3d(
            inputs, width, (frames, 1, 1), padding=(frames // 2, 0, 0), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(
            width, width, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False
        )
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(4 * width)
        self.downsample = None
        if stride > 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, 4 * width, 1, (1, stride, stride), bias=False),
                nn.BatchNorm3d(4 * width),
            )

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t i j"]:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(out + shortcut, inplace=True)


class I3D(nn.Module):
    """Time shrinks to a quarter in the stem and to half once more before the second stage."""

    def __init__(self, outputs: int, dropout: float):
        super().__init__()
        self.conv1 = nn.Conv3d(3, WIDTH, (5, 7, 7), 2, padding=(2, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(WIDTH)
        self.maxpool1 = nn.MaxPool3d((2, 3, 3), 2)
        self.layer1 = _stage(WIDTH, WIDTH, TEMPORAL[0], stride=1)
        self.maxpool2 = nn.MaxPool3d((2, 1, 1))
        self.layer2 = _stage(4 * WIDTH, 2 * WIDTH, TEMPORAL[1], stride=2)
        self.layer3 = _stage(8 * WIDTH, 4 * WIDTH, TEMPORAL[2], stride=2)
        self.layer4 = _stage(16 * WIDTH, 8 * WIDTH, TEMPORAL[3], stride=2)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(32 * WIDTH, outputs)
        for module in self.modules():  # BatchNorm starts at weight 1 and bias 0 by itself
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc.weight, 0, 0.01)
        nn.init.zeros_(self.fc.bias)

    def features(self, clips: Float[Tensor, "b t c h w"]) -> list[Tensor]:
        """The last two stages, for a feature-space hinge.

        Raises:
            BadInput: the clips are too short or too small.
        """
        check(Config(), clips.shape[1], *clips.shape[-2:])
        x = normalise(clips.transpose(1, 2), MEAN, STD)
        x = self.maxpool1(F.relu(self.bn1(self.conv1(x)), inplace=True))
        x = self.layer2(self.maxpool2(self.layer1(x)))
        x = self.layer3(x)
        return [x, self.layer4(x)]

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        pooled = self.features(clips)[-1].mean((2, 3, 4))
        logits: Tensor = self.fc(self.drop(pooled))
        return logits


def _stage(inputs: int, width: int, temporal: tuple[int, ...], stride: int) -> nn.Sequential:
    """One block for each entry of ``temporal``; the first takes the stride, the rest none."""
    first = Bottleneck(inputs, width, temporal[0], stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, k, 1) for k in temporal[1:]))


# Weights from a file


def _fill(network: I3D, weights: str) -> None:
    """Load a checkpoint of either library; a head of another number of classes stays out.

    Raises:
        BadInput: no such file, or not such a checkpoint; nothing in it was run.
    """
    path = Path(weights)
    if path.suffix != ".pkl" or not path.is_file():
        fill(network, given(weights, "i3d_r50"), "i3d_r50", head="fc")
        return
    keys = [key for key in network.state_dict() if not key.endswith("num_batches_tracked")]
    names = {_blob(key): key for key in keys}
    blobs = _read_blobs(path)
    tensors = {
        names[name]: _tensor(value, name, path) for name, value in blobs.items() if name in names
    }
    besides = {name: torch.empty(0) for name in blobs if name not in names}
    fill(network, Given(weights, tensors | besides), "i3d_r50", head="fc", called=_blob)


def _blob(key: str) -> str:
    """FAIR's name of a tensor: ``layer2.0.conv1.weight`` is its ``res3_0_branch2a_w``."""
    *module, kind = key.split(".")
    norm = {"weight": "bn_s", "bias": "bn_b", "running_mean": "bn_rm", "running_var": "bn_riv"}
    match module:
        case ["fc"]:
            return f"pred_{kind[0]}"
        case ["conv1"]:
            return "conv1_w"
        case ["bn1"]:
            return f"res_conv1_{norm[kind]}"
        case [stage, block, part, *rest]:
            branch = "1" if rest else "2" + "abc"[int(part[-1]) - 1]
            after = "w" if part.startswith("conv") or rest == ["0"] else norm[kind]
            return f"res{int(stage[-1]) + 1}_{block}_branch{branch}_{after}"
    raise AssertionError(key)


def _tensor(value: Any, name: str, path: Path) -> Tensor:
    """A tensor of float numbers, from a stand-in of an array."""
    try:
        numbers = value.numbers()
        if numbers.dtype.kind != "f":
            raise ValueError("whole numbers")
        return torch.from_numpy(numbers.astype(np.float32))
    except Exception:  # what a pickle says of an array may be anything
        raise other(
            str(path), "i3d_r50", f"{name} is not an array of floating-point numbers"
        ) from None


# FAIR's file

_PROGRESS = ("lr", "model_iter")


def _read_blobs(path: Path) -> dict[str, Any]:
    """FAIR's pickle {"blobs": {name: array}}, which Python 2 wrote: stand-ins of its arrays.

    Without what only its training would go on from.
    """
    try:
        value = restricted.load(path.read_bytes(), encoding="latin1")
    except restricted.Refused as error:
        raise BadInput(
            f"{path} asks to run {error}, which weights never need; nothing was run. "
            "Do not use this file: get it again from where it is published."
        ) from None
    except Exception:  # a broken pickle raises whatever its bytes happen to mean
        raise other(str(path), "i3d_r50", "it is not a whole pickle") from None
    blobs = value.get("blobs") if isinstance(value, dict) else None
    if not isinstance(blobs, dict) or not all(isinstance(name, str) for name in blobs):
        raise other(str(path), "i3d_r50", "it holds no dictionary of blobs")
    return {k: v for k, v in blobs.items() if not (k.endswith("_momentum") or k in _PROGRESS)}
