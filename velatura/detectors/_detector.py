"""What every detector is: pictures and what is in them in, a loss out; pictures in, finds out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from velatura.errors import BadInput

__all__ = ["TASKS", "Detector", "Found", "Target", "refuse"]

TASKS = ("detection", "segmentation", "keypoints")


@dataclass(frozen=True, eq=False)
class Target:
    """What is annotated in one picture, in its pixels; a pixel's middle is at a half.

    Attributes:
        boxes: x0, y0, x1, y1, each with an area.
        labels: the place of each one's category among the names.
        masks: of the picture's size; one without a pixel says that nobody drew it. None where
            segmentation is not learnt.
        keypoints: x, y and 0 unknown, 1 hidden, 2 visible. None where keypoints are not learnt.
        ignore: boxes of crowds, and of who is cut off: to find somebody there, or not, is no
            mistake.
    """

    boxes: Float[Tensor, "n 4"]
    labels: Int64[Tensor, " n"]
    masks: Bool[Tensor, "n h w"] | None
    keypoints: Float[Tensor, "n k 3"] | None
    ignore: Float[Tensor, "m 4"]

    def to(self, device: torch.device | str) -> Target:
        """The same on a device."""
        return Target(
            self.boxes.to(device),
            self.labels.to(device),
            None if self.masks is None else self.masks.to(device),
            None if self.keypoints is None else self.keypoints.to(device),
            self.ignore.to(device),
        )


@dataclass(frozen=True, eq=False)
class Found:
    """What a detector finds in one picture, best first.

    Attributes:
        boxes: x0, y0, x1, y1 in pixels, within the picture.
        scores: in (0, 1).
        labels: as in ``Target``.
        masks: of the picture's size; None where the detector makes none.
        keypoints: x, y in pixels and a score; None where the detector makes none.
    """

    boxes: Float[Tensor, "n 4"]
    scores: Float[Tensor, " n"]
    labels: Int64[Tensor, " n"]
    masks: Bool[Tensor, "n h w"] | None
    keypoints: Float[Tensor, "n k 3"] | None


class Detector(nn.Module):
    """A network that finds things of some categories.

    Attributes:
        tasks: of ``TASKS``; detection is always among them.
        stride: sides of pictures that it takes without padding are multiples of this.
    """

    tasks: tuple[str, ...] = ("detection",)
    stride: int = 1

    def loss(
        self, images: Float[Tensor, "b 3 h w"], targets: Sequence[Target]
    ) -> dict[str, Float[Tensor, ""]]:
        """What to descend.

        Args:
            images: RGB in [0, 1].
            targets: one for each.

        Returns:
            The terms, and their weighted sum under ``"loss"``.
        """
        raise NotImplementedError

    def detect(self, images: Float[Tensor, "b 3 h w"]) -> list[Found]:
        """What is in each picture. In evaluation mode no picture has a say in another's finds."""
        raise NotImplementedError


def refuse(name: str, tasks: Sequence[str], can: Sequence[str]) -> None:
    """Say no to tasks that a network cannot do.

    Raises:
        BadInput: one sentence.
    """
    if beyond := [task for task in tasks if task not in can]:
        raise BadInput(
            f"{name} does {' and '.join(can)}, not {' and '.join(beyond)}; choose another --task, "
            "or another --model, such as tiny, which does all."
        )
