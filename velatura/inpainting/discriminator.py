"""The discriminator: is a crop real, given the mask and the keypoints that the generator was given.

It compares the crops of a batch, too: if a generator draws the same for all, that shows. As in
StyleGAN2 without its residual connections, https://arxiv.org/abs/1912.04958; comparing is from
Karras et al., 2018, section 3, https://arxiv.org/abs/1710.10196
"""

from __future__ import annotations

from math import log2

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from velatura.inpainting._layers import Conv, Linear, act, channels
from velatura.inpainting.generator import Config

__all__ = ["Discriminator"]


class Discriminator(nn.Module):
    """Crops with their conditions to logits: positive is real."""

    def __init__(self, cfg: Config, points: int):
        super().__init__()
        levels, wide = round(log2(cfg.size)) - 2, cfg.width
        self.begin = Conv(4 + points, wide, 1)
        steps = [(channels(wide, level), channels(wide, level + 1)) for level in range(levels)]
        self.seen = nn.ModuleList([Conv(few, few) for few, _ in steps])
        self.down = nn.ModuleList([Conv(few, many) for few, many in steps])
        deep = channels(wide, levels)
        self.compared = Conv(deep + 1, deep)
        self.whole = Linear(16 * deep, deep)
        self.answer = Linear(deep, 1)

    def forward(self, crops: Float[Tensor, "n c s s"]) -> Float[Tensor, " n"]:
        """
        Args:
            crops: (N, 3 + 1 + K, S, S): pictures in [0, 1], what is visible, and maps of keypoints.
        """
        x = act(self.begin(torch.cat([2 * crops[:, :3] - 1, crops[:, 3:]], 1)))
        for seen, down in zip(self.seen, self.down, strict=True):
            x = act(down(F.avg_pool2d(act(seen(x)), 2)))
        varied = (x.var(0, correction=0) + 1e-8).sqrt().mean()
        x = torch.cat([x, varied.expand(len(x), 1, *x.shape[2:])], 1)
        x = act(self.compared(x))
        found: Tensor = self.answer(act(self.whole(x.flatten(1))))
        return found[:, 0]
