"""Lets torchvision be imported beside a torch that its binary was not built for.

torchvision's wheel carries operators compiled against one build of torch, as a rule the
CUDA one. Beside a CPU-only torch they do not load, and then ``import torchvision`` itself
stops with ``operator torchvision::nms does not exist``, and with it every library that
imports torchvision. Nothing that Velatura uses needs those operators. So, where they do
not load, this module declares the two names that the import asks for and writes the one
that is of use, non-maximum suppression, in PyTorch. Where they load it does nothing.

Write this above the first import of torchvision, or of a library that imports it::

    from velatura.torchvision_guard import ensure

    ensure()

What stays out of reach without the native operators: ``deform_conv2d`` and
``torchvision.io``, which say so when called, and ``roi_align``, which compiles a stand-in
of its own for the better part of a minute.
"""

from __future__ import annotations

from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec

import torch
from jaxtyping import Float, Int64
from torch import Tensor

__all__ = ["ensure", "nms"]


@cache
def ensure() -> bool:
    """Make torchvision importable.

    Returns:
        True where torchvision's own operators load, False where the stand-in is in use.

    Raises:
        ModuleNotFoundError: torchvision is not installed.
    """
    package = find_spec("torchvision")
    if package is None or package.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")
    binary = PathFinder.find_spec("_C", list(package.submodule_search_locations))
    if _loads(binary.origin if binary else None):
        return True
    _declare()
    # Importing works from here on; torchvision.ops.nms asks for the binary once more.
    import torchvision.ops.boxes as boxes

    boxes._assert_has_ops = _has_nms
    return False


def _loads(binary: str | None) -> bool:
    """Whether the file of native operators is there and fits this torch."""
    if binary is None:
        return False
    try:
        torch.ops.load_library(binary)
    except (ImportError, OSError):
        return False
    return True


@cache
def _declare() -> torch.library.Library:
    """Declare torchvision's operators; they exist as long as the object returned does."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):  # qnms, for quantized tensors, is declared and not written
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for device in ("CPU", "CUDA"):
        library.impl("nms", nms, device)
    return library


def _has_nms() -> None:
    """What torchvision.ops.boxes calls to ask whether nms is there: it is."""


def nms(
    dets: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], iou_threshold: float
) -> Int64[Tensor, " kept"]:
    """Non-maximum suppression: drop each box that overlaps a better one too much.

    Boxes are taken from the best score down, the first of equals first; a box goes when
    its intersection over union with a kept box exceeds the threshold.

    Args:
        dets: left, top, right, bottom of each box, in pixels.
        scores: the higher, the better.
        iou_threshold: in [0, 1].

    Returns:
        The indices of the kept boxes, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = dets[order]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for i in range(len(boxes) - 1):
        if not kept[i]:
            continue
        box, later = boxes[i], boxes[i + 1 :]
        sides = (later[:, 2:].minimum(box[2:]) - later[:, :2].maximum(box[:2])).clamp_min(0)
        overlap = sides.prod(1)
        # Two boxes without area divide nought by nought; that is no overlap, and not greater.
        kept[i + 1 :] &= ~(overlap / (area[i] + area[i + 1 :] - overlap) > iou_threshold)
    return order[kept]
