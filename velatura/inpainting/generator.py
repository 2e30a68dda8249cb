"""The generator: a U-Net over what is visible, whose decoder a style modulates.

It is shown the picture times what is visible, the mask and a map for each keypoint; the pixels of
the region are thrown away in its first line, so that nothing of them can come back. As in
DeepPrivacy2 (Hukkelås and Lindseth, 2023, https://arxiv.org/abs/2211.09454), with fewer weights:
1.9 M at the size and width of its Config, where that has 43 M.
"""

from __future__ import annotations

from math import log2, sqrt
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.inpainting._layers import Conv, Linear, StyledConv, act, channels

__all__ = ["Config", "Generator", "maps"]

SPREAD = 1 / 32  # of the side: deviation of a keypoint's map


@config
class Config:
    size: Literal[16, 32, 64, 128] = 64
    """Pixels of a crop's side."""
    width: Annotated[int, Field(ge=4, le=256)] = 32
    """Channels at full size; doubled at each of the next two levels."""
    latent: Annotated[int, Field(ge=1, le=1024)] = 64
    """Numbers that are drawn by lot for each crop."""
    style: Annotated[int, Field(ge=4, le=1024)] = 128
    """Numbers that these become, which modulate the decoder."""


class Generator(nn.Module):
    """Crops with a hole in, crops without one out.

    Attributes:
        mean: (style,) the mean style, towards which styles may be pulled: see ``settle``.
    """

    mean: Tensor

    def __init__(self, cfg: Config, points: int):
        """
        Args:
            points: keypoints, K; 0 is none.
        """
        super().__init__()
        self.cfg, self.points = cfg, points
        levels, wide = round(log2(cfg.size)) - 2, cfg.width
        self.mapping = nn.ModuleList([Linear(cfg.latent, cfg.style), Linear(cfg.style, cfg.style)])
        self.register_buffer("mean", torch.zeros(cfg.style))
        self.begin = Conv(4 + points, wide, 1)
        steps = [(channels(wide, level), channels(wide, level + 1)) for level in range(levels)]
        self.seen = nn.ModuleList([Conv(few, few) for few, _ in steps])
        self.down = nn.ModuleList([Conv(few, many) for few, many in steps])
        deep = channels(wide, levels)
        self.bottom = StyledConv(deep, deep, cfg.style)
        self.up = nn.ModuleList([StyledConv(many, few, cfg.style) for few, many in steps])
        self.drawn = nn.ModuleList([StyledConv(few, few, cfg.style) for few, _ in steps])
        self.end = Conv(wide, 3, 1)

    def styles(self, z: Float[Tensor, "n z"]) -> Float[Tensor, "n d"]:
        """What numbers drawn by lot mean to the decoder."""
        # Their length is all but the same for all, and is taken away.
        x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.mapping:
            x = act(layer(x))
        return x

    @torch.no_grad()
    def settle(self, count: int = 4096) -> None:
        """Note the mean style, of so many that are drawn by a lot that is always the same."""
        draw = torch.Generator().manual_seed(0)
        z = torch.randn(count, self.cfg.latent, generator=draw).to(self.mean.device)
        self.mean.copy_(self.styles(z).mean(0))

    def forward(
        self,
        pictures: Float[Tensor, "n 3 s s"],
        hidden: Float[Tensor, "n 1 s s"],
        points: Float[Tensor, "n k 3"],
        z: Float[Tensor, "n z"],
        truncation: float | Float[Tensor, " n"] = 1.0,
    ) -> Float[Tensor, "n 3 s s"]:
        """Draw what is hidden.

        Args:
            pictures: in [0, 1]; what stands in hidden pixels does not count.
            hidden: 1 where a pixel is to be drawn, else 0.
            points: x and y in pixels, and 1 known or 0.
            z: standard normal.
            truncation: 1 takes styles as they are, 0 the mean style for all.

        Returns:
            Where nothing is hidden, the pictures; where it is, what was drawn: of about [0, 1],
            and beyond it where the network errs.
        """
        visible = torch.where(hidden > 0, 0.0, 2 * pictures - 1)
        shown = torch.cat([visible, 1 - hidden, maps(points, self.cfg.size)], 1)
        style = self.styles(z)
        pull = truncation[:, None] if isinstance(truncation, Tensor) else truncation
        style = self.mean + pull * (style - self.mean)
        drawn = 0.5 + 0.5 * self._drawn(shown, style)
        return torch.where(hidden > 0, drawn, pictures)

    def _drawn(self, shown: Tensor, style: Tensor) -> Tensor:
        x, kept = act(self.begin(shown)), []
        for seen, down in zip(self.seen, self.down, strict=True):
            x = act(seen(x))
            kept.append(x)
            x = act(down(F.avg_pool2d(x, 2)))
        x = act(self.bottom(x, style))
        for level in reversed(range(len(kept))):
            # Narrowed before it is enlarged, which costs a quarter; by straight lines, since steps
            # would show as a grid.
            x = act(self.up[level](x, style))
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = act(self.drawn[level]((x + kept[level]) * sqrt(0.5), style))
        found: Tensor = self.end(x)
        return found


def maps(points: Float[Tensor, "n k 3"], size: int) -> Float[Tensor, "n k s s"]:
    """A Gaussian for each keypoint, 1 at its place; zeros where it is not known.

    Args:
        points: x and y in pixels, where (0.5, 0.5) is the middle of the first; and 1 known or 0.
    """
    at = torch.arange(size, device=points.device, dtype=points.dtype) + 0.5
    x, y, known = points[..., :1, None], points[..., 1:2, None], points[..., 2:, None]
    away = (at - x).square() + (at[:, None] - y).square()
    return known * torch.exp(-away / (2 * (SPREAD * size) ** 2))
