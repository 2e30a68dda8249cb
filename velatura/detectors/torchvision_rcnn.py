"""Torchvision's two-stage networks: Faster, Mask and Keypoint R-CNN over a ResNet with an FPN.

The task says which: masks make it Mask R-CNN, keypoints Keypoint R-CNN. They need torchvision's
native operators, which load only beside the torch that they were built for.

Ren et al., 2015, https://arxiv.org/abs/1506.01497; He et al., 2017,
https://arxiv.org/abs/1703.06870; Lin et al., 2017, https://arxiv.org/abs/1612.03144
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.detectors._detector import Detector, Found, Target, refuse
from velatura.errors import BadInput
from velatura.torchvision_guard import ensure


@config
class Config:
    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = "resnet50"
    keep: Annotated[int, Field(ge=1, le=1000)] = 100
    """Finds of a picture at most."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Of a find's score."""


def build(
    cfg: Config, categories: Sequence[str], keypoints: int, tasks: Sequence[str]
) -> TorchvisionRCNN:
    """Boxes, and masks or keypoints; pictures of any size, looked at as large as they come.

    Raises:
        BadInput: masks and keypoints at once; the native operators are not there.
    """
    second = "keypoints" if "keypoints" in tasks and "segmentation" not in tasks else "segmentation"
    refuse("torchvision_rcnn", tasks, ("detection", second))
    if not ensure():
        raise BadInput(
            "torchvision_rcnn needs torchvision's native operators, which do not load beside torch "
            f"{torch.__version__}: install both from one place, or choose --model tiny."
        )
    return TorchvisionRCNN(cfg, len(categories), keypoints, tasks)


def told(target: Target) -> dict[str, Tensor]:
    """A target as torchvision wants it: labels from 1; who has no mask has the box for one."""
    answer = {"boxes": target.boxes, "labels": target.labels + 1}
    if target.masks is not None:
        masks = target.masks.to(torch.uint8)
        for at in (~target.masks.flatten(1).any(1)).nonzero()[:, 0].tolist():
            x0, y0, x1, y1 = target.boxes[at].round().int().tolist()
            masks[at, y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = 1
        answer["masks"] = masks
    if target.keypoints is not None:
        answer["keypoints"] = target.keypoints
    return answer


def found(answer: dict[str, Tensor]) -> Found:
    """What torchvision found, as ours."""
    keypoints = None
    if "keypoints" in answer:
        scores = answer["keypoints_scores"].sigmoid()[..., None]
        keypoints = torch.cat([answer["keypoints"][..., :2], scores], 2)
    masks = answer["masks"][:, 0] > 0.5 if "masks" in answer else None
    return Found(answer["boxes"], answer["scores"], answer["labels"] - 1, masks, keypoints)


class TorchvisionRCNN(Detector):
    """See the file's head."""

    def __init__(self, cfg: Config, categories: int, keypoints: int, tasks: Sequence[str]):
        super().__init__()
        from torchvision.models import detection
        from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

        self.tasks = tuple(tasks)
        backbone = resnet_fpn_backbone(
            backbone_name=cfg.backbone,
            weights=None,
            # Fresh weights: nothing is frozen, and normalisation learns.
            norm_layer=nn.BatchNorm2d,
            trainable_layers=5,
        )
        settings: dict[str, Any] = {
            "num_classes": categories + 1,
            "box_score_thresh": cfg.threshold,
            "box_detections_per_img": cfg.keep,
            "_skip_resize": True,  # pictures come in the size to be looked at
        }
        if "segmentation" in tasks:
            self.network: nn.Module = detection.MaskRCNN(backbone, **settings)
        elif "keypoints" in tasks:
            self.network = detection.KeypointRCNN(backbone, num_keypoints=keypoints, **settings)
        else:
            self.network = detection.FasterRCNN(backbone, **settings)

    def loss(
        self, images: Float[Tensor, "b 3 h w"], targets: Sequence[Target]
    ) -> dict[str, Float[Tensor, ""]]:
        """In training mode; torchvision's terms by their names, all of weight 1."""
        terms: dict[str, Tensor] = self.network(list(images), [told(target) for target in targets])
        return {**terms, "loss": torch.stack(list(terms.values())).sum()}

    @torch.no_grad()
    def detect(self, images: Float[Tensor, "b 3 h w"]) -> list[Found]:
        return [found(answer) for answer in self.network(list(images))]
