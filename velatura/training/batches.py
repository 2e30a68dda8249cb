"""Step number in, batch out: which items and which views depend on (seed, step) and nothing else.

A distributed run draws the joint batch on every rank and keeps its own slice, so that two
processes see together exactly what one would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from velatura import transforms
from velatura.config import config, plain
from velatura.errors import BadInput
from velatura.layout import ClipSet
from velatura.training import windows
from velatura.training.seed import generator
from velatura.transforms import Augment

__all__ = ["Batch", "Batches", "Config"]


@config
class Config:
    """What is cut out of a video, what is done to it, and how many at a time."""

    batch: Annotated[int, Field(ge=1)] = 24
    """Clips in a step, over all ranks."""
    size: Annotated[int, Field(ge=8)] = 48
    """Side of the window, pixels."""
    frames: Annotated[int, Field(ge=1)] = 8
    """Frames of the window. A shorter video runs back and forth."""
    stride: Annotated[int, Field(ge=1, le=64)] = 1
    """Video frames from one frame of the window to the next."""
    starts: Annotated[int, Field(ge=1, le=100)] = 1
    """Windows of a test video, evenly spaced, whose probabilities are averaged."""
    shift: Annotated[int, Field(ge=0)] = 3
    """Padding that lets a picture no larger than the window shift, pixels."""
    augment: Augment | None = None
    """Crops of varying size and varied colours, and a centre crop for tests; where it is absent,
    windows shift and mirror, and nothing else."""
    images: Augment | None = None
    """The same for the images of ``[private]``; as ``augment`` where it is absent."""

    LATER: ClassVar[Mapping[str, Any]] = {"images": None}

    def science(self) -> dict[str, Any]:
        """What a network that learns from such batches depends on; a neutral value of a key that
        came later is left out, so that a run of before is repeated to the last bit."""
        neutral = {"stride": 1, "starts": 1, "augment": None}
        return {k: v for k, v in plain(self).items() if k not in neutral or v != neutral[k]}


@dataclass(frozen=True)
class Batch:
    """One step's data.

    Attributes:
        clips: (B, T, C, H, W) in [0, 1], augmented.
        actions: (B,) int64.
        attributes: (B, K) float, 0 or 1.
        first, second: (B, C, H, W) two views of frames of other clips, or of private images, for
            the budget branch.
        told: (B, M) float, the attributes of those images; None where there are no images.
    """

    clips: Float[Tensor, "b t c h w"]
    actions: Int64[Tensor, " b"]
    attributes: Float[Tensor, "b k"]
    first: Float[Tensor, "b c h w"]
    second: Float[Tensor, "b c h w"]
    told: Float[Tensor, "b m"] | None = None


class Batches:
    """Batches of one :class:`ClipSet`: ``batches.at(step)``.

    Args:
        images: what the budget branch's views are of; frames of the clips where it is None.

    Raises:
        BadInput: the batch is larger than the data, or the window than the pictures.
    """

    def __init__(
        self,
        data: ClipSet,
        cfg: Config,
        seed: int,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        images: ClipSet | None = None,
    ):
        self.images, self.viewed = images, data if images is None else images
        self.view_window = windows.of(self.viewed, cfg)
        for part, window in ((data, cfg), (self.viewed, self.view_window)):
            if cfg.batch > len(part):
                raise BadInput(
                    f"batches.batch is {cfg.batch} but {part.name} has {len(part)} clips; "
                    f"set it to at most {len(part)}."
                )
            windows.check(part, window)
        if cfg.batch % world:
            raise BadInput(
                f"batches.batch is {cfg.batch}, which {world} processes cannot share evenly."
            )
        self.data, self.cfg, self.seed, self.device = data, cfg, seed, device
        share = cfg.batch // world
        self.mine = slice(rank * share, (rank + 1) * share)

    def _items(self, step: int, role: str) -> Tensor:
        """Indices of the joint batch: epochs are permutations, cut into whole batches."""
        count = len(self.data if role == "clips" else self.viewed)
        per_epoch = count // self.cfg.batch
        epoch, position = divmod(step, per_epoch)
        order = torch.randperm(count, generator=generator(self.seed, role, "order", epoch))
        return order[position * self.cfg.batch : (position + 1) * self.cfg.batch]

    def at(self, step: int) -> Batch:
        """The batch of one step, on the device."""
        items = self._items(step, "clips").numpy()
        cfg = self.cfg
        stored = windows.random(self.data, items, cfg, generator(self.seed, "starts", step))
        clips = windows.varied(stored, cfg, generator(self.seed, "augment", step))
        looked_at = self._items(step, "views").numpy()
        others = windows.random(
            self.viewed, looked_at, self.view_window, generator(self.seed, "view starts", step)
        )
        first, second = transforms.two_views(
            others,
            generator(self.seed, "views", step),
            size=cfg.size,
            shift=cfg.shift,
            augment=self.view_window.augment,
        )
        parts = (
            clips,
            torch.from_numpy(self.data.actions[items]),
            _marks(self.data, items),
            first,
            second,
            *([] if self.images is None else [_marks(self.images, looked_at)]),
        )
        return Batch(*map(self._share, parts))

    def again(self, step: int) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b t c h w"]]:
        """The clips of a step once more: the same frames, and other frames of the same videos.

        Both are augmented anew. Where a video is no longer than the window, the other frames are
        the same ones begun elsewhere: it runs back and forth.

        Raises:
            BadInput: a video is one frame long: it has no other frames.
        """
        items = self._items(step, "clips").numpy()
        draw = generator(self.seed, "starts", step), generator(self.seed, "other starts", step)
        same, other = windows.two(self.data, items, self.cfg, *draw)
        shown = [
            windows.varied(clips, self.cfg, generator(self.seed, f"augment {which}", step))
            for which, clips in (("same", same), ("other", other))
        ]
        return self._share(shown[0]), self._share(shown[1])

    def _share(self, joint: Tensor) -> Tensor:
        """This rank's part of the joint batch, on the device."""
        return joint[self.mine].to(self.device, non_blocking=True)


def _marks(data: ClipSet, items: np.ndarray) -> Tensor:
    return torch.from_numpy(data.attributes[items]).float()
