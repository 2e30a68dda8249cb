"""Coarse flow: how cells of a picture move, and nothing of what is in them.

A cell's motion is the least-squares answer of Lucas and Kanade (1981) to

    dx u + dy v + dt = 0        at every pixel and in every colour near the cell

It is a speed. Whatever is dark or bright, plain or striped, of whatever colour, moves as fast: the
equations of a patch are divided by its own contrast, and what is left of appearance is how sure the
answer is. Two numbers a cell, of a few levels, are all that is let out; there is no other way
through, so that the rest need not be hidden by anybody.

On top of it, where ``depth`` is not 0, a small network that looks at cells and their past repaints
them: what a game can still take away, such as how large a person is. It starts by adding next to
nothing.

A frame's answer depends on it and on the ``past`` frames before it. Before its first frame a clip
was at rest, as if that frame had stood there for ever: what a live stream can know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.models._parts import Native, eight_bits

NATIVE = Native(side=48, frames=8)


@config
class Config:
    cells: Annotated[int, Field(ge=2, le=256)] = 12
    """Along each side."""
    window: Annotated[float, Field(gt=0)] = 0.5
    """Deviation of the Gaussian whose equations a cell takes, in cells."""
    blur: Annotated[float, Field(gt=0)] = 0.25
    """Of the picture before, in cells."""
    noise: Annotated[float, Field(gt=0)] = 0.08
    """Contrast below which a patch has no say: slope of the intensity, per cell."""
    reach: Annotated[float, Field(gt=0)] = 0.5
    """Cells a frame that are told from rest well: the scale of a tanh."""
    levels: Annotated[int, Field(ge=3, le=255)] = 9
    """Of each number that is let out. Odd ones have one for rest."""
    width: Annotated[int, Field(ge=1)] = 24
    """Channels of the network on top."""
    depth: Annotated[int, Field(ge=0)] = 2
    """Its hidden layers; 0 is none, and then nothing learns."""
    quantize: bool = True
    """Let out levels only, as bytes, with a straight-through gradient; else any number."""


def anonymizer(cfg: Config) -> nn.Module:
    """(B, T, 3, H, W) in [0, 1] to the same; frames (N, 3, H, W) to the constant of no motion."""
    return CoarseFlow(cfg)


class CoarseFlow(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        self.past = 1 + cfg.depth  # frames that it looks back
        self.step = math.ceil(255 / (cfg.levels - 1)) if cfg.quantize else 1  # between two levels
        layers: list[nn.Module] = []
        channels = 2
        for _ in range(cfg.depth):
            layers += [Causal(channels, cfg.width), nn.SiLU()]
            channels = cfg.width
        if cfg.depth:
            last = nn.Conv3d(channels, 3, 1)
            nn.init.normal_(last.weight, std=1e-3)  # none at all would hold up those below
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
            layers.append(last)
        self.repaint = nn.Sequential(*layers)

    def forward(self, clips: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        if clips.ndim == 4:
            return self.forward(clips.unsqueeze(1)).squeeze(1)
        # bf16 has 8 bits, too few for a difference.
        with torch.autocast(clips.device.type, enabled=False), torch.no_grad():
            flow = self.flow(clips.float())
        told = self.told(F.pad(flow, (0, 0, 0, 0, 0, 0, self.cfg.depth, 0)))
        if self.cfg.quantize:
            told = eight_bits(told)
        return _spread(told, *clips.shape[-2:])

    def plainly(self, clips: Float[Tensor, "b s c h w"]) -> Float[Tensor, "b t c h w"]:
        """What ``forward`` answers to the frames behind the first ``past``, in steps that ONNX has,
        for pictures of any size."""
        rows, columns = (_along(side, self.cfg, torch.float32) for side in clips.shape[-2:])
        return _spread(self.told(self._moved(clips, rows, columns)), *clips.shape[-2:])

    def flow(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t 2 g g"]:
        """Cells a frame, to the right and down; the first frame is at rest."""
        b, t, _, h, w = clips.shape
        if t < 2:
            return clips.new_zeros(b, t, 2, self.cfg.cells, self.cfg.cells)
        rows, columns = ([m.to(clips) for m in _matrices(side, self.cfg)] for side in (h, w))
        return F.pad(self._moved(clips, rows, columns), (0, 0, 0, 0, 0, 0, 1, 0))

    def _moved(
        self, clips: Float[Tensor, "b s c h w"], rows: Sequence[Tensor], columns: Sequence[Tensor]
    ) -> Float[Tensor, "b t 2 g g"]:
        """The flow of every frame but the first, by the matrices of its two axes."""
        noise = self.cfg.noise**2
        smooth = rows[0] @ clips
        still, dx = smooth @ columns[0].T, smooth @ columns[1].T
        dy = (rows[1] @ clips) @ columns[0].T
        dx, dy = ((d[:, 1:] + d[:, :-1]) / 2 for d in (dx, dy))
        dt = still.diff(dim=1)
        pairs = ((dx, dx), (dx, dy), (dy, dy), (dx, dt), (dy, dt))
        sums = torch.stack([(p * q).sum(2) for p, q in pairs], 2)  # over colours
        xx, xy, yy, xt, yt = (rows[2] @ sums @ columns[2].T).unbind(2)  # over a cell's window
        xx, yy = xx + noise, yy + noise
        both = xx * yy - xy * xy
        return torch.stack([(xy * yt - yy * xt) / both, (xy * xt - xx * yt) / both], 2)

    def told(self, flow: Float[Tensor, "b s 2 g g"]) -> Float[Tensor, "b t 3 g g"]:
        """What is let out of the frames behind the first ``depth``."""
        cfg = self.cfg
        flow = flow / cfg.reach
        z = F.pad(flow[:, cfg.depth :], (0, 0, 0, 0, 0, 1))  # a third number: the network's alone
        if cfg.depth:
            z = z + self.repaint(flow.tanh().transpose(1, 2)).transpose(1, 2).float()
        told = z.tanh() / 2 + 0.5
        return _levels(told, cfg.levels - 1) if cfg.quantize else told


@lru_cache(maxsize=32)
def _matrices(side: int, cfg: Config) -> tuple[Tensor, Tensor, Tensor]:
    smooth, slope, gather = _along(side, cfg, torch.float64)
    return smooth.float(), slope.float(), gather.float()


def _along(side: Any, cfg: Config, precision: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """What is done along one axis of ``side`` pixels, as matrices.

    Args:
        side: a number; while exporting, a symbol.

    Returns:
        (side, side), a Gaussian blur; (side, side), the slope of what is blurred, per cell; and
        (cells, side), the Gaussian window of each cell. Rows of the first and last sum to 1: what
        lies outside the picture has no say.
    """
    at = torch.arange(side).to(precision)
    pixel = torch.full((), side).to(precision) / cfg.cells  # of a cell
    centres = (torch.arange(cfg.cells).to(precision) + 0.5) * pixel - 0.5

    def gaussian(to: Tensor, deviation: float) -> Tensor:
        return torch.softmax(-0.5 * ((at - to[:, None]) / (deviation * pixel)) ** 2, 1)

    smooth = gaussian(at, cfg.blur)
    before, after = (at - 1).clamp_min(0).long(), torch.minimum(at + 1, at[-1]).long()
    slope = (smooth[after] - smooth[before]) / 2 * pixel
    return smooth, slope, gaussian(centres, cfg.window)


def _spread(cells: Float[Tensor, "b t c g g"], height: Any, width: Any) -> Tensor:
    """Each pixel the cell that it lies in: (B, T, C, height, width). In whole numbers: at some
    sizes the library's scaling puts a cell's first row into the cell before. Sides as above."""
    sides = ((-2, height), (-1, width))
    for axis, side in sides:
        places = torch.arange(side) * cells.shape[axis]
        place = torch.div(places, torch.full((), side), rounding_mode="floor")
        cells = cells.index_select(axis, place.to(cells.device))
    return cells


def _levels(x: Tensor, top: int) -> Tensor:
    """[0, 1] to the nearest of top + 1 levels; the gradient goes straight through."""
    return x + ((x * top).round() / top - x).detach()


class Causal(nn.Module):
    """A convolution over 3 x 3 cells, this frame and the one before, which also sees the mean and
    the largest of the whole picture: who is near fills more of it, and sways as one. Of the first
    frame, which has none before it, there is no answer."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, (2, 3, 3), padding=(0, 1, 1))
        self.whole = nn.Linear(2 * inputs, outputs)

    def forward(self, x: Float[Tensor, "b c s g h"]) -> Float[Tensor, "b d t g h"]:
        near = self.conv(x)
        x = x[:, :, 1:]
        whole = torch.cat([x.mean((3, 4)), x.amax((3, 4))], 1).transpose(1, 2)  # (b, t, 2 c)
        out: Tensor = near + self.whole(whole).transpose(1, 2)[..., None, None]
        return out
