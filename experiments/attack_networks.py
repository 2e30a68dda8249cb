"""What attackers of attack_frontier.py look with: networks of other families, and clips in which
something was undone or written."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from velatura.layout import ClipSet
from velatura.models import coarse_flow
from velatura.models.clip_cnn import Residual3d

UNDOING, RATE = 40, 0.1  # steps of Adam, and its rate, in cells a frame


class Transformer(nn.Module):
    """Attention over cells: a token is a square of the picture over two frames.

    Clips (B, T, 3, H, W) in [0, 1] to logits (B, outputs).
    """

    def __init__(self, frames: int, size: int, outputs: int, side: int = 6, width: int = 96):
        super().__init__()
        self.cut = nn.Conv3d(3, width, (2, side, side), (2, side, side))
        tokens = (frames // 2) * (size // side) ** 2
        self.places = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))

    def forward(self, clips: Tensor) -> Tensor:
        tokens = self.cut((clips - 0.5).transpose(1, 2) / 0.25).flatten(2).transpose(1, 2)
        out: Tensor = self.head(self.blocks(tokens + self.places).mean(1))
        return out


class Recurrent(nn.Module):
    """Looks at one frame after the other, and remembers: convolutions, then a GRU both ways."""

    def __init__(self, outputs: int, width: int = 24):
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(3, width, 4, 4), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.AdaptiveAvgPool2d((6, 3)), nn.Flatten(), nn.Dropout(0.2),
        )  # fmt: skip
        self.remember = nn.GRU(36 * width, 96, batch_first=True, bidirectional=True)
        self.head = nn.Linear(4 * 96, outputs)

    def forward(self, clips: Tensor) -> Tensor:
        b, t = clips.shape[:2]
        seen = self.look((clips.flatten(0, 1) - 0.5) / 0.25).view(b, t, -1)
        told, _ = self.remember(seen)
        out: Tensor = self.head(torch.cat([told.mean(1), told.amax(1)], 1))
        return out


class Cells(nn.Module):
    """Knows that the release is a flow on a grid, and reads it there, as speeds.

    - It sees cells and not pixels, so that no shift of a window blurs them, and it moves them about
      itself, whole cells to either side.
    - The tanh that presses speeds together is undone.
    - What the library mirrors is a picture. A flow in a mirror also turns round: to the right
      becomes to the left. Where the fourth channel, the number of the column, runs backwards, the
      clip was mirrored, and its first number is turned.
    - Beside the flow it is given the magnitude of its Fourier transform over time: a gait is a
      frequency.

    Clips (B, T, 4, g, g) in [0, 1], as :func:`attack_frontier.on_grid` writes them, to logits.
    """

    def __init__(self, frames: int, outputs: int, edge: float, width: int = 24):
        super().__init__()
        self.edge = edge  # a speed that is told as the last level may be any
        count = 3 * (frames // 2 + 1)
        self.moving = nn.Sequential(
            nn.Conv3d(6, width, 3, (1, 2, 2), 1, bias=False), nn.BatchNorm3d(width), nn.ReLU(),
            Residual3d(width, 2 * width, (1, 2, 2)), Residual3d(2 * width, 3 * width, (2, 1, 1)),
        )  # fmt: skip
        self.rhythm = nn.Sequential(
            nn.Conv3d(count, width, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
            nn.BatchNorm3d(width), nn.ReLU(), Residual3d(width, 2 * width, (1, 2, 2)),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * 5 * width, outputs))

    def forward(self, cells: Tensor) -> Tensor:
        turned = cells[:, 0, 3, 0, 0] > cells[:, 0, 3, 0, -1]
        told = 2 * cells[:, :, :3] - 1
        sign = torch.where(turned, -1.0, 1.0)[:, None, None, None, None]
        told = torch.cat([told[:, :, :1] * sign, told[:, :, 1:]], 2)
        speeds = torch.atanh(told.clamp(-1 + self.edge, 1 - self.edge)).transpose(1, 2)
        if self.training:
            rows, columns = torch.randint(-2, 3, (2,)).tolist()
            speeds = speeds.roll((rows, columns), (-2, -1))
        change = F.pad(speeds.diff(dim=2), (0, 0, 0, 0, 1, 0))
        moving = self.moving(torch.cat([speeds, change], 1))
        waves = torch.fft.rfft(speeds, dim=2).abs() / speeds.shape[2]
        rhythm = self.rhythm(waves.flatten(1, 2).unsqueeze(2))
        pooled = [f(x) for x in (moving, rhythm) for f in (_mean, _most)]
        out: Tensor = self.head(torch.cat(pooled, 1))
        return out


def _mean(x: Tensor) -> Tensor:
    return x.mean((2, 3, 4))


def _most(x: Tensor) -> Tensor:
    return x.amax((2, 3, 4))


def undone(anonymizer: coarse_flow.CoarseFlow, told: Tensor) -> Tensor:
    """The plain flow that explains a release best.

        minimise over flows  sum of (answer of the weights - told)^2 beyond half a level
                             + a little of |flow|, as most of a picture is at rest

    Args:
        told: (B, T, 3, g, g) in [0, 1], each cell once.

    Returns:
        The same shape, as plain flow is told; the third number is rest.
    """
    cfg = anonymizer.cfg
    smooth = copy.deepcopy(anonymizer).requires_grad_(False)
    smooth.cfg = replace(cfg, quantize=False)
    half = 0.5 / (cfg.levels - 1)
    begin = torch.atanh((2 * told[:, 1:, :2] - 1).clamp(-1 + half, 1 - half))
    flow = (begin * cfg.reach).requires_grad_(True)  # the first frame is at rest, and those before
    before = (0, 0, 0, 0, 0, 0, cfg.depth + 1, 0)
    optimizer = torch.optim.Adam([flow], RATE)
    with torch.enable_grad():
        for _ in range(UNDOING):
            beyond = ((smooth.told(F.pad(flow, before)) - told).abs() - half).clamp_min(0)
            loss = beyond.square().sum() + 1e-4 * flow.abs().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = (F.pad(flow.detach(), (0, 0, 0, 0, 0, 0, 1, 0)) / cfg.reach).tanh() / 2 + 0.5
    return torch.cat([found, torch.full_like(found[:, :, :1], 0.5)], 2)


class Barred:
    """Frames with the action painted along the bottom, each in a colour of its own."""

    def __init__(self, part: ClipSet, shift: int):
        self.frames, self.shape = part.frames, part.frames.shape
        self.high = shift + 3  # as a window may lie so much higher
        base = 2
        while base**3 < len(part.action_names):
            base += 1
        digits = np.stack([part.actions // base**i % base for i in range(3)], 1)
        self.colours = np.repeat(digits * 255 // (base - 1), part.lengths, 0).astype(np.uint8)

    def __getitem__(self, numbers: Any) -> np.ndarray:
        frames = np.array(self.frames[numbers])
        frames[..., -self.high :, :] = self.colours[numbers][..., None, None]
        return frames
