"""RT-DETR by transformers: boxes as a set, found by queries; no anchors, no suppression.

Zhao et al., 2024, https://arxiv.org/abs/2304.08069; Carion et al., 2020, DETR,
https://arxiv.org/abs/2005.12872. From nothing it learns slowly: count on tens of epochs of a large
data set before it finds anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from velatura.config import config
from velatura.detectors._detector import Detector, Found, Target, refuse
from velatura.errors import BadInput
from velatura.torchvision_guard import ensure

STRIDE = 32
TERMS = ("loss_vfl", "loss_bbox", "loss_giou")  # of the last layer


@config
class Config:
    queries: Annotated[int, Field(ge=1, le=1000)] = 300
    """Finds of a picture at most."""
    layers: Annotated[int, Field(ge=1, le=12)] = 6
    """Of the decoder."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Of a find's score."""


def build(cfg: Config, categories: Sequence[str], keypoints: int, tasks: Sequence[str]) -> Detr:
    """Boxes only; pictures of any size.

    Raises:
        BadInput: another task; transformers is not installed.
    """
    refuse("detr", tasks, ("detection",))
    ensure()  # transformers imports torchvision
    try:
        from transformers import RTDetrConfig, RTDetrForObjectDetection
    except ImportError:
        raise BadInput(
            'detr needs transformers: pip install "velatura[detr]", or choose --model tiny.'
        ) from None
    made = RTDetrConfig(
        num_labels=len(categories),
        num_queries=cfg.queries,
        decoder_layers=cfg.layers,
        freeze_backbone_batch_norms=False,  # fresh weights: there is nothing to keep
    )
    return Detr(RTDetrForObjectDetection(made), cfg.threshold)


class Detr(Detector):
    """See the file's head."""

    stride = STRIDE

    def __init__(self, network: Any, threshold: float):
        super().__init__()
        self.network, self.threshold = network, threshold

    def loss(
        self, images: Float[Tensor, "b 3 h w"], targets: Sequence[Target]
    ) -> dict[str, Float[Tensor, ""]]:
        """In training mode; its own terms of the last layer, and the sum over all layers."""
        padded = _padded(images)
        height, width = padded.shape[-2:]
        answers = []
        for target in targets:
            low, high = target.boxes[:, :2], target.boxes[:, 2:]
            boxes = torch.cat([(low + high) / 2, high - low], 1)
            sides = boxes.new_tensor([width, height] * 2)
            answers.append({"class_labels": target.labels, "boxes": boxes / sides})
        out = self.network(pixel_values=padded, labels=answers)
        return {**{n: out.loss_dict[n] for n in TERMS if n in out.loss_dict}, "loss": out.loss}

    @torch.no_grad()
    def detect(self, images: Float[Tensor, "b 3 h w"]) -> list[Found]:
        height, width = images.shape[-2:]
        padded = _padded(images)
        out = self.network(pixel_values=padded)
        sides = padded.new_tensor([padded.shape[-1], padded.shape[-2]] * 2)
        edges = padded.new_tensor([width, height] * 2)
        found = []
        for logits, boxes in zip(out.logits.float(), out.pred_boxes.float(), strict=True):
            scores, place = logits.sigmoid().flatten().topk(len(boxes))
            middle, size = (boxes[place // logits.shape[1]] * sides).chunk(2, 1)
            corners = torch.cat([middle - size / 2, middle + size / 2], 1)
            corners = corners.clamp_min(0).minimum(edges)
            kept = (scores > self.threshold) & (corners[:, 2:] > corners[:, :2]).all(1)
            labels = place % logits.shape[1]
            found.append(Found(corners[kept], scores[kept], labels[kept], None, None))
        return found


def _padded(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 i j"]:
    """Grey on the right and below."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE), value=0.5)
