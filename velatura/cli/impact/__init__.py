"""``velatura impact``: every file of this folder is a verb of it."""

from __future__ import annotations


def impact() -> None:
    """Measure what anonymized training images cost a network.

    Examples:

        velatura impact anonymize --data coco --method blur --out coco-blur
        velatura impact people --out people
        velatura impact train --data coco-blur --out runs/blur
        velatura impact evaluate --run runs/blur --data coco-val
        velatura impact train-gan --data coco --out gan-body
    """
