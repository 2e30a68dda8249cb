"""Parts of a picture, and what is done to them: one interface for videos and for training images.

    image, regions = ...                            (H, W, 3) uint8 RGB, list[Region]
    anonymizer = load("pixelate", level="high")     one file of this room each
    hidden = anonymizer(image, regions, seed=0, picture="a.jpg")

``velatura anonymize --regions`` finds regions in the frames of a video, ``velatura impact
anonymize`` in the images of a data set. A file of this room offers ``Config`` and ``build(cfg)``,
which makes a ``RegionAnonymizer``; its name is the file's. Each is held to
tests/contracts/test_region_anonymizers.py.
"""

from __future__ import annotations

from typing import Any

from velatura.regions._anonymizer import RegionAnonymizer as RegionAnonymizer
from velatura.regions._anonymizer import region_seed as region_seed
from velatura.regions._region import Region as Region
from velatura.regions._region import grown as grown
from velatura.regions._region import touched as touched

__all__ = ["Region", "RegionAnonymizer", "grown", "load", "names", "region_seed", "touched"]


def names() -> list[str]:
    """Every anonymizer of regions."""
    from velatura import plugins

    return plugins.names("regions")


def load(name: str, **values: Any) -> RegionAnonymizer:
    """An anonymizer by its name.

    Args:
        values: of its ``Config``.

    Raises:
        BadInput: no such name, key or value; what it needs is not installed.
    """
    from velatura import plugins
    from velatura.config import build

    made: RegionAnonymizer = plugins.load("regions", name).build(
        build(plugins.config_class("regions", name), values, name)
    )
    return made
