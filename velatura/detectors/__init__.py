"""Networks that find people and things in pictures, one file each, found by file name.

    network = build("tiny", ("person", "dog"), keypoints=17)
    terms = network.loss(images, targets)      # (B, 3, H, W) in [0, 1], list[Target]
    found = network.detect(images)             # list[Found]: boxes, scores, labels, ...

A file offers ``Config`` and ``build(cfg, categories, keypoints, tasks)``, which makes a
``Detector`` with fresh weights, of PyTorch's global generators. They are what ``velatura impact``
trains on anonymized pictures; nothing else of Velatura needs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from velatura.detectors._detector import TASKS as TASKS
from velatura.detectors._detector import Detector as Detector
from velatura.detectors._detector import Found as Found
from velatura.detectors._detector import Target as Target

__all__ = ["TASKS", "Detector", "Found", "Target", "build", "names"]


def names() -> list[str]:
    """Every detector."""
    from velatura import plugins

    return plugins.names("detectors")


def build(
    name: str,
    categories: Sequence[str],
    keypoints: int = 0,
    tasks: Sequence[str] = TASKS,
    **values: Any,
) -> Detector:
    """A detector by its name.

    Args:
        categories: names of what it finds.
        keypoints: of each find; 0 where ``tasks`` has no keypoints.
        tasks: of ``TASKS``.
        values: of its ``Config``.

    Raises:
        BadInput: no such name, key or value; a task that it cannot do; what it needs is not there.
    """
    from velatura import plugins
    from velatura.config import build as checked

    cfg: Any = checked(plugins.config_class("detectors", name), values, "model")
    made: Detector = plugins.load("detectors", name).build(cfg, categories, keypoints, tasks)
    return made
