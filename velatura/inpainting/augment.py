"""Both players' pictures are varied alike, so that the discriminator cannot learn few by heart.

The gradient goes through, and so the generator never learns to draw varied pictures. Zhao et al.,
2020, DiffAugment, https://arxiv.org/abs/2006.10738, and its code for the ranges.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Way", "varied"]

Way = Literal["colour", "translation", "cutout"]


def varied(
    crops: Float[Tensor, "n c s s"], ways: Collection[str], generator: torch.Generator
) -> Float[Tensor, "n c s s"]:
    """Vary crops, one draw for each: places in all channels alike, colours in the first three.

    Args:
        crops: pictures in [0, 1], and behind them their conditions, which must stay in place.
        ways: of ``Way``. colour: brightness by up to .25 either way, saturation by a factor up to
            2, contrast by .5 to 1.5; translation: by up to an eighth of the side, zeros come in;
            cutout: zeros in a square of half the side, which may reach over the edge.
        generator: a CPU generator; draws the same number of values whatever the ways.
    """
    n, _, _, size = crops.shape
    lots = torch.rand(n, 7, generator=generator).to(crops.device)
    light, saturation, contrast, *places = lots[..., None, None, None].unbind(1)
    pictures, rest = crops[:, :3], crops[:, 3:]
    if "colour" in ways:
        pictures = pictures + (light - 0.5) / 2
        grey = pictures.mean(1, keepdim=True)
        pictures = grey + 2 * saturation * (pictures - grey)
        mean = pictures.mean((1, 2, 3), keepdim=True)
        pictures = mean + (contrast + 0.5) * (pictures - mean)
    crops = torch.cat([pictures, rest], 1)
    if "translation" in ways:
        far = round(size / 8)
        down, right = (((2 * far + 1) * lot).long().flatten() - far for lot in places[:2])
        crops = _moved(crops, down, right)
    if "cutout" in ways:
        half = size // 2
        middle = [((size + 1 - half % 2) * lot).long() for lot in places[2:]]
        at = torch.arange(size, device=crops.device)
        begin = [m - half // 2 for m in middle]
        rows = (at[:, None] >= begin[0]) & (at[:, None] < begin[0] + half)
        columns = (at >= begin[1]) & (at < begin[1] + half)
        crops = torch.where(rows & columns, 0.0, crops)
    return crops


def _moved(crops: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Each crop by so many pixels; zeros come in."""
    n, _, _, size = crops.shape
    at = torch.arange(size, device=crops.device)
    rows, columns = at - down[:, None], at - right[:, None]  # (n, s): where each comes from
    inside = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[
        :, None
    ]
    each = torch.arange(n, device=crops.device)[:, None, None]
    place = (
        each,
        slice(None),
        rows.clamp(0, size - 1)[:, :, None],
        columns.clamp(0, size - 1)[:, None],
    )
    return torch.where(inside[:, None], crops[place].permute(0, 3, 1, 2), 0.0)
