"""Pieces that more than one network is built from."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = [
    "pooled",
    "Budget", "FrameAnonymizer", "FrameClassifier", "ImageNetEncoder", "Native", "eight_bits",
    "normalise",
]  # fmt: skip

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Native(NamedTuple):
    """What a network was made for; `velatura models` gives its size and cost at this.

    Attributes:
        side: height and width, pixels.
        frames: of a clip; 1 where the network looks at frames.
        classes: of the published head; 0 where it has none.
        library: names of weights that the network's library has.
    """

    side: int
    frames: int = 1
    classes: int = 0
    library: tuple[str, ...] = ()


def normalise(frames: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(N, 3, ...) in [0, 1] to zero mean, unit deviation; any number of trailing axes."""
    shape = (1, 3) + (1,) * (frames.ndim - 2)
    return (frames - frames.new_tensor(mean).view(shape)) / frames.new_tensor(std).view(shape)


def pooled(features: Tensor) -> Float[Tensor, "b d"]:
    """What a classifier's ``features`` say of a clip as a whole: the mean over time and space.

    Args:
        features: (B, D, T, H, W); one row for each frame or token, (B, N, D); or pooled already.
    """
    if features.ndim == 2:
        return features
    return features.mean(1) if features.ndim == 3 else features.flatten(2).mean(2)


class _EightBits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        return x.mul(255).round_().clamp_(0, 255).div_(255)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *slopes: Tensor) -> Tensor:
        return slopes[0]


def eight_bits(frames: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Round to the 256 levels of a byte, 0 to 1; the gradient passes as if nothing was rounded.

    Without it f_A can hide what it knows below one level, where a network reads it and a
    file cannot keep it.
    """
    rounded: Tensor = _EightBits.apply(frames)
    return rounded


class FrameAnonymizer(nn.Module):
    """f_A from a network over frames: folds time into the batch, keeps [0, 1], any H and W.

    Args:
        net: (N, 3, H, W) in [0, 1] to (N, 3, H, W) in [0, 1]; H and W multiples of ``stride``.
        stride: what the network's downsampling needs H and W to be divisible by.
        quantize: round the output to 8 bits, straight-through gradient.
    """

    def __init__(self, net: nn.Module, stride: int, quantize: bool):
        super().__init__()
        self.net, self.stride, self.quantize = net, stride, quantize

    def forward(self, clips: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        h, w = clips.shape[-2:]
        frames = clips.reshape(-1, *clips.shape[-3:])
        below, right = -h % self.stride, -w % self.stride
        if below or right:
            frames = F.pad(frames, (0, right, 0, below), mode="replicate")
        out = self.net(frames.contiguous(memory_format=torch.channels_last)).float()
        out = out[..., :h, :w]
        # Networks end in [0, 1] up to rounding; this makes it exact.
        return (eight_bits(out) if self.quantize else out.clamp(0, 1)).reshape(clips.shape)


class FrameClassifier(nn.Module):
    """A clip classifier that looks at frames one by one and averages their logits.

    Args:
        encoder: (N, 3, H, W) to (N, D), with ``width`` = D.
        outputs: number of logits.
        frames: how many frames of a clip it looks at: drawn at random in training, which costs
            little and shows it all of them in time; twice as many, evenly spread, otherwise.
    """

    def __init__(self, encoder: nn.Module, outputs: int, frames: int):
        super().__init__()
        self.encoder, self.frames = encoder, frames
        self.head = nn.Linear(int(encoder.width), outputs)  # type: ignore[arg-type]

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        b, t = clips.shape[:2]
        if self.training:
            keep = torch.randperm(t)[: self.frames].to(clips.device)
        else:
            keep = (
                torch.linspace(0, t - 1, min(2 * self.frames, t), device=clips.device)
                .round()
                .long()
            )
        looked = clips[:, keep].flatten(0, 1).contiguous(memory_format=torch.channels_last)
        logits = self.head(self.encoder(looked))
        return logits.view(b, len(keep), -1).mean(1)


class Budget(nn.Module):
    """f_B, the privacy branch: an encoder and the two-layer projection head of SimCLR.

    (N, 3, H, W) in [0, 1] to (N, dimensions); the loss normalises.
    """

    def __init__(self, encoder: nn.Module, dimensions: int = 128):
        super().__init__()
        width = int(encoder.width)  # type: ignore[arg-type]
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dimensions))

    def forward(self, frames: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        embedding: Tensor = self.head(
            self.encoder(frames.contiguous(memory_format=torch.channels_last))
        )
        return embedding


class ImageNetEncoder(nn.Module):
    """A torchvision classifier without its head; normalises its input itself."""

    def __init__(self, net: nn.Module, width: int):
        super().__init__()
        self.net, self.width = net, width

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        features: Tensor = self.net(normalise(frames, IMAGENET_MEAN, IMAGENET_STD))
        return features
