"""``velatura impact``: every file of this folder is a verb of it."""

from __future__ import annotations


def impact() -> None:
    """Measure what anonymized training images cost a network.

    Examples:

        velatura impact anonymize --data coco --method blur --out coco-blur
        velatura impact train-gan --data coco --out gan-body
    """
