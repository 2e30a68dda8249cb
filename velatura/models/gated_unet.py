"""A light f_A for two CPU cores: a small U-Net that mixes the picture with a painted one.

    output = gate * picture + (1 - gate) * paint        gate, paint in (0, 1)

The result stays in [0, 1] by construction, and with the gate's bias at 4 it starts at 92 %
picture, near the identity. No normalisation layers: train and eval are the same function, and
one frame's output does not depend on its batch.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.models._parts import FrameAnonymizer, Native

NATIVE = Native(side=48)


@config
class Config:
    width: Annotated[int, Field(ge=4, le=512)] = 16
    """Channels at half resolution; doubled at each level below."""
    gate_bias: float = 4.0
    """Start of the gate's logit: 4 keeps 92 % of the picture."""
    quantize: bool = True
    """Round the output to 8 bits, with a straight-through gradient."""


def anonymizer(cfg: Config) -> nn.Module:
    """(N, 3, H, W) or (B, T, 3, H, W) in [0, 1] to the same."""
    return FrameAnonymizer(GatedUNet(cfg.width, cfg.gate_bias), stride=8, quantize=cfg.quantize)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )


class GatedUNet(nn.Module):
    """Works at half resolution on 2 x 2 blocks folded into channels: a quarter of the cost."""

    def __init__(self, width: int, gate_bias: float):
        super().__init__()
        self.down1 = _double(12, width)
        self.down2 = _double(width, 2 * width)
        self.down3 = _double(2 * width, 4 * width)
        self.up2 = _double(6 * width, 2 * width)
        self.up1 = _double(3 * width, width)
        self.head = nn.Conv2d(width, 4 * 6, 1)  # per pixel of a block: 3 paint, 3 gate
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=0.02)
        self.gate_bias = gate_bias

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        x1 = self.down1(F.pixel_unshuffle(frames - 0.5, 2))
        painted = F.pixel_shuffle(self.head(self._inside(x1)), 2).float()
        mixed: Tensor = _Mix.apply(painted, frames, self.gate_bias)
        return mixed

    def _inside(self, x1: Tensor) -> Tensor:
        """All between the first level and the head, (N, width, H / 2, W / 2) to the same."""
        x2 = self.down2(F.max_pool2d(x1, 2))
        x3 = self.down3(F.max_pool2d(x2, 2))
        x2 = self.up2(torch.cat([F.interpolate(x3, scale_factor=2.0), x2], 1))
        up1: Tensor = self.up1(torch.cat([F.interpolate(x2, scale_factor=2.0), x1], 1))
        return up1

    def plainly(self, frames: Tensor) -> Tensor:
        """``forward`` in operations that an exported file can hold, the fastest of them.

        Folding blocks into channels and convolving those is one convolution of stride 2 whose
        kernel is the other one unfolded.

        Args:
            frames: (N, 3, H, W) in [0, 1].

        Returns:
            The same within rounding; not clamped, so that a value that is no number stays one.
        """
        first = self.down1[0]
        assert isinstance(first, nn.Conv2d)
        unfolded = F.pixel_shuffle(first.weight, 2)
        x1 = F.conv2d(frames - 0.5, unfolded, first.bias, stride=2, padding=2)
        paint, gate = self.head(self._inside(self.down1[1:](x1))).chunk(2, 1)
        paint = F.pixel_shuffle(_share(paint), 2)
        gate = F.pixel_shuffle(_share(gate + self.gate_bias), 2)
        mixed: Tensor = paint + gate * (frames - paint)
        return mixed


def _share(z: Tensor) -> Tensor:
    return torch.sigmoid(z / (1 + z.abs() / LIMIT))


class _Mix(torch.autograd.Function):
    """gate * frames + (1 - gate) * paint, from (N, 6, H, W) logits: 3 paint, 3 gate.

    Each logit z goes through sigmoid(z / (1 + |z| / 6)): large values bend towards +-6 with a
    slope that never dies. A bare sigmoid, once driven far, has no gradient left: f_A would
    freeze as the identity or as a fixed pattern, whichever it overshot into.

    Written out, with the slopes taken on the way, because it works on every pixel of every
    frame: as a chain of operations it took longer than all convolutions together. On a CPU it
    goes a few frames at a time, which stay in the cache.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, logits: Tensor, frames: Tensor, bias: float
    ) -> Tensor:
        out = torch.empty_like(frames, memory_format=torch.contiguous_format)
        slopes = torch.empty_like(logits, memory_format=torch.contiguous_format)
        for part in _parts(frames):
            z = torch.empty_like(slopes[part]).copy_(logits[part])
            z[:, 3:] += bias
            bend = z.abs().mul_(1 / LIMIT).add_(1).reciprocal_()
            share = z.mul_(bend).sigmoid_()
            slope = torch.addcmul(share, share, share, value=-1).mul_(bend).mul_(bend)
            paint, gate = share.chunk(2, 1)
            away = frames[part].contiguous() - paint
            # A convex mix lies in [0, 1] up to rounding; the clamp makes it exact.
            torch.addcmul(paint, gate, away, out=out[part]).clamp_(0, 1)
            torch.mul(slope[:, :3], 1 - gate, out=slopes[part, :3])
            torch.mul(slope[:, 3:], away, out=slopes[part, 3:])
        ctx.save_for_backward(slopes, logits, frames)
        ctx.bias = bias  # type: ignore[attr-defined]
        return out

    @staticmethod
    def backward(ctx: Any, *slope: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        slopes, logits, frames = ctx.saved_tensors
        back = slope[0]
        to_frames = None
        if ctx.needs_input_grad[1]:
            z = logits[:, 3:] + ctx.bias
            to_frames = back * torch.sigmoid(z / (1 + z.abs() / LIMIT))
        to_logits = torch.empty_like(slopes)
        for part in _parts(frames):
            came = back[part].contiguous()
            torch.mul(slopes[part, :3], came, out=to_logits[part, :3])
            torch.mul(slopes[part, 3:], came, out=to_logits[part, 3:])
        return to_logits, to_frames, None


LIMIT = 6.0  # of a logit, either way


def _parts(frames: Tensor) -> list[slice]:
    """Slices of the batch: 8 frames each on a CPU, all on a GPU."""
    few = len(frames) if frames.is_cuda else 8
    return [slice(i, i + few) for i in range(0, len(frames), few)]
