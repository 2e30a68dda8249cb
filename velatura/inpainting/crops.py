"""Squares around regions, as bytes; and the batch of a step, which is a function of its number."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from velatura.errors import BadInput
from velatura.training.seed import generator

__all__ = ["Batch", "Batches", "Crops"]


@dataclass(frozen=True, eq=False)
class Crops:
    """Real crops.

    Attributes:
        pictures: RGB, with whoever is there.
        hidden: what is to be drawn.
        points: x and y in pixels, and 1 known or 0.
        images: the image that each is of.
        names: of the K keypoints.
    """

    pictures: UInt8[np.ndarray, "n s s 3"]
    hidden: Bool[np.ndarray, "n s s"]
    points: Float32[np.ndarray, "n k 3"]
    images: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    def digest(self) -> str:
        """Of every byte: other files or other settings, another digest."""
        found = hashlib.sha256(repr((self.images, self.names)).encode())
        for part in (self.pictures, self.hidden, self.points):
            found.update(np.ascontiguousarray(part).data)
        return found.hexdigest()[:16]

    def some(self, items: np.ndarray) -> Crops:
        """Those of some numbers."""
        images = tuple(self.images[at] for at in items)
        return Crops(
            self.pictures[items], self.hidden[items], self.points[items], images, self.names
        )

    def apart(self, share: float, seed: int) -> tuple[Crops, Crops]:
        """Two parts with no image in common, the second with about ``share`` of the crops.

        Both have one image at least, where there are two.
        """
        names = sorted(set(self.images))
        order = torch.randperm(len(names), generator=generator(seed, "apart")).tolist()
        second: set[str] = set()
        count = 0
        for at in order[:-1]:
            if count >= share * len(self):
                break
            second.add(names[at])
            count += self.images.count(names[at])
        inside = np.array([name in second for name in self.images], bool)
        return self.some(np.flatnonzero(~inside)), self.some(np.flatnonzero(inside))

    def batch(self, items: np.ndarray, device: torch.device | str = "cpu") -> Batch:
        """Those of some numbers, as networks take them."""
        pictures = torch.from_numpy(self.pictures[items]).permute(0, 3, 1, 2).float().div(255)
        hidden = torch.from_numpy(self.hidden[items])[:, None].float()
        points = torch.from_numpy(self.points[items])
        return Batch(*(part.to(device) for part in (pictures.contiguous(), hidden, points)))


class Batch(NamedTuple):
    """Crops as networks take them.

    Attributes:
        pictures: in [0, 1].
        hidden: 1 where a pixel is to be drawn, else 0.
        points: x and y in pixels, and 1 known or 0.
    """

    pictures: Float[Tensor, "n 3 s s"]
    hidden: Float[Tensor, "n 1 s s"]
    points: Float[Tensor, "n k 3"]


class Batches:
    """``batches.at(step)``: epochs are permutations, cut into whole batches.

    Args:
        mirror: half of the crops are turned left to right, with their keypoints.

    Raises:
        BadInput: the batch is larger than the data.
    """

    def __init__(
        self,
        crops: Crops,
        batch: int,
        seed: int,
        mirror: bool = True,
        device: torch.device | str = "cpu",
    ):
        if batch > len(crops):
            raise BadInput(
                f"batch is {batch} but there are {len(crops)} crops to train on; set it to at "
                f"most {len(crops)}."
            )
        self.crops, self.batch, self.seed = crops, batch, seed
        self.mirror, self.device = mirror, device
        self.other = mirrored(crops.names)

    def at(self, step: int) -> Batch:
        """The batch of one step, on the device."""
        epoch, place = divmod(step, len(self.crops) // self.batch)
        order = torch.randperm(len(self.crops), generator=generator(self.seed, "order", epoch))
        items = order[place * self.batch : (place + 1) * self.batch].numpy()
        batch = self.crops.batch(items)
        if self.mirror:
            lots = torch.rand(len(items), generator=generator(self.seed, "mirror", step)) < 0.5
            batch = self._turned(batch, lots)
        return Batch(*(part.to(self.device) for part in batch))

    def _turned(self, batch: Batch, lots: Tensor) -> Batch:
        """Some crops of a batch left to right; a left eye is a right one then."""
        points = batch.points[:, self.other].clone()
        points[..., 0] = torch.where(
            points[..., 2] > 0, batch.pictures.shape[-1] - points[..., 0], 0
        )
        which = lots[:, None, None, None]
        return Batch(
            torch.where(which, batch.pictures.flip(-1), batch.pictures),
            torch.where(which, batch.hidden.flip(-1), batch.hidden),
            torch.where(lots[:, None, None], points, batch.points),
        )


def mirrored(names: Sequence[str]) -> list[int]:
    """For each keypoint, which one it is in a mirror: left_eye is right_eye."""
    swap = {"left": "right", "right": "left"}

    def turned(name: str) -> str:
        side, _, rest = name.partition("_")
        return f"{swap[side]}_{rest}" if side in swap else name

    at = {name: place for place, name in enumerate(names)}
    return [at.get(turned(name), at[name]) for name in names]
