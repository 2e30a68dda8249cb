"""Step number in, batch out: which items and which views depend on (seed, step) and nothing else.

A distributed run draws the joint batch on every rank and keeps its own slice, so that two
processes see together exactly what one would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from velatura import transforms
from velatura.config import config
from velatura.errors import BadInput
from velatura.layout import ClipSet
from velatura.training.seed import generator

__all__ = ["Batch", "Batches", "Config"]


@config
class Config:
    """What is cut out of a stored clip, and how many at a time."""

    batch: Annotated[int, Field(ge=1)] = 24
    """Clips in a step, over all ranks."""
    size: Annotated[int, Field(ge=8)] = 48
    """Side of the window, pixels."""
    frames: Annotated[int, Field(ge=1)] = 8
    """Frames of the window."""
    shift: Annotated[int, Field(ge=0)] = 3
    """Padding that lets a clip no larger than the window shift, pixels."""


@dataclass(frozen=True)
class Batch:
    """One step's data.

    Attributes:
        clips: (B, T, C, H, W) in [0, 1], augmented.
        actions: (B,) int64.
        attributes: (B, K) float, 0 or 1.
        first, second: (B, C, H, W) two views of frames of other clips, for the budget branch.
    """

    clips: Float[Tensor, "b t c h w"]
    actions: Int64[Tensor, " b"]
    attributes: Float[Tensor, "b k"]
    first: Float[Tensor, "b c h w"]
    second: Float[Tensor, "b c h w"]


class Batches:
    """Batches of one :class:`ClipSet`: ``batches.at(step)``.

    Raises:
        BadInput: the batch is larger than the data, or the window than the clips.
    """

    def __init__(
        self,
        data: ClipSet,
        cfg: Config,
        seed: int,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
    ):
        _, t, _, h, w = data.clips.shape
        if cfg.batch > len(data):
            raise BadInput(
                f"batches.batch is {cfg.batch} but {data.name} has {len(data)} clips; "
                f"set it to at most {len(data)}."
            )
        if cfg.frames > t or cfg.size > min(h, w):
            raise BadInput(
                f"A window of {cfg.frames} frames of {cfg.size} px does not fit the stored clips "
                f"of {data.name}: {t} frames of {w} x {h} px; lower batches.frames or batches.size."
            )
        if cfg.batch % world:
            raise BadInput(
                f"batches.batch is {cfg.batch}, which {world} processes cannot share evenly."
            )
        self.data, self.cfg, self.seed, self.device = data, cfg, seed, device
        share = cfg.batch // world
        self.mine = slice(rank * share, (rank + 1) * share)

    def _items(self, step: int, role: str) -> Tensor:
        """Indices of the joint batch: epochs are permutations, cut into whole batches."""
        per_epoch = len(self.data) // self.cfg.batch
        epoch, position = divmod(step, per_epoch)
        order = torch.randperm(len(self.data), generator=generator(self.seed, role, "order", epoch))
        return order[position * self.cfg.batch : (position + 1) * self.cfg.batch]

    def at(self, step: int) -> Batch:
        """The batch of one step, on the device."""
        items = self._items(step, "clips")
        stored = torch.from_numpy(self.data.clips[items.numpy()])
        draw = generator(self.seed, "augment", step)
        cfg = self.cfg
        clips = transforms.augment(stored, draw, size=cfg.size, frames=cfg.frames, shift=cfg.shift)
        others = torch.from_numpy(self.data.clips[self._items(step, "views").numpy()])
        first, second = transforms.two_views(
            others, generator(self.seed, "views", step), size=cfg.size, shift=cfg.shift
        )
        labels = items.numpy()
        parts = (
            clips,
            torch.from_numpy(self.data.actions[labels]),
            torch.from_numpy(self.data.attributes[labels]).float(),
            first,
            second,
        )
        return Batch(*(part[self.mine].to(self.device, non_blocking=True) for part in parts))
