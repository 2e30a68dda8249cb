"""Gan: somebody else is drawn, by a network that you trained on crops of your own.

`velatura impact train-gan` writes the network. It is shown a square around the region with all
regions of the picture blank, the outlines, and keypoints where there are any: who was there is
not. What it draws is as good as what it was trained on, which is seldom much.

It draws the kind of regions that it was trained on. Others stay mid-grey, such as persons who are
hidden whole since nobody labelled their face.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from velatura.config import config
from velatura.errors import BadInput
from velatura.regions import Region, RegionAnonymizer, region_seed
from velatura.regions._crop import covered, enlarged, placed, shrunk, window
from velatura.regions._inpainter import Inpainter


@config
class Config:
    model: str = ""
    """The file that ``velatura impact train-gan`` wrote."""
    truncation: Annotated[float, Field(ge=0, le=1)] = 1.0
    """How far who is drawn may be from the mean: 1 as drawn by lot, 0 the mean style for all.
    Marchesi, 2017, https://arxiv.org/abs/1706.00082; in the space of styles as Karras et al., 2019,
    https://arxiv.org/abs/1812.04948, have it."""
    histogram: bool = False
    """Give what is drawn the colours of what is visible around it, channel by channel."""


def build(cfg: Config) -> RegionAnonymizer:
    """A network from a file; BadInput where it is not there, or is none."""
    if not cfg.model:
        raise BadInput(
            "gan draws with a network of yours: name the file that `velatura impact train-gan` "
            "wrote, as method.model or by --model."
        )
    return Gan(Inpainter(cfg.model), cfg.truncation, cfg.histogram)


class Gan(RegionAnonymizer):
    name = "gan"
    reads_region = False

    def __init__(self, network: Inpainter, truncation: float, histogram: bool):
        self.network, self.truncation, self.histogram = network, truncation, histogram

    def check(self, kind: str, points: Mapping[str, Sequence[str]]) -> None:
        """As ``RegionAnonymizer.check``: it was trained on one kind, and on certain keypoints."""
        network = self.network
        if kind != network.kind:
            raise BadInput(
                f"The network was trained to draw {_many(network.kind)}, and {_many(kind)} are to "
                f"be hidden; train one with `velatura impact train-gan --region {kind}`."
                if kind in ("face", "body")
                else f"The network draws {_many(network.kind)}, and no whole pictures."
            )
        for category, names in points.items():
            if len(names) == len(network.points) and tuple(names) != network.points:
                raise BadInput(
                    f"The network was trained on other keypoints ({', '.join(network.points)}) "
                    f"than those of {category}: {', '.join(names)}."
                )

    def apply(self, image: np.ndarray, regions: list[Region], seed: int, picture: str) -> None:
        """Each from what no region covers: what is drawn for one is not shown to another."""
        mine = [region for region in regions if region.kind == self.network.kind]
        if not mine:
            return
        hidden, blank = covered(regions, *image.shape[:2]), image.copy()
        for region in mine:
            drawn = self._drawn(blank, hidden, region, region_seed(seed, picture, region))
            region.put(image, drawn)

    def _drawn(
        self, blank: np.ndarray, hidden: np.ndarray, region: Region, seed: int
    ) -> np.ndarray:
        """What stands in the place of a region's box, (h, w, 3) uint8."""
        network, size = self.network, self.network.size
        there = window(region.box, *blank.shape[:2])
        unseen = shrunk(hidden, there, size)
        drawn = network.draw(
            shrunk(blank, there, size),
            unseen,
            np.random.default_rng(seed).standard_normal(network.latent, np.float32),
            self.truncation,
            placed(region.keypoints, len(network.points), there, size),
        )
        if self.histogram:
            drawn = matched(drawn, unseen)
        return enlarged(drawn, there, region.box)

    def describe(self) -> dict[str, Any]:
        network = self.network
        return {
            **super().describe(),
            "network": {
                "digest": network.digest,
                "kind": network.kind,
                "size": network.size,
                "points": list(network.points),
                "config": network.about.get("config", ""),
                "data": network.about.get("data", ""),
            },
        }


def _many(kind: str) -> str:
    return {"face": "faces", "body": "bodies", "frame": "whole pictures"}.get(kind, kind)


def matched(picture: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Hidden pixels with the distribution of the visible ones, channel by channel.

    The published option (``--match-histogram``) takes the distribution of what was hidden, which
    is the person: this one does not look there. Level v becomes the level that as large a share of
    the visible pixels does not exceed.

    Args:
        picture: (S, S, 3) uint8.
        hidden: (S, S) bool; all or none, and nothing changes.

    Returns:
        (S, S, 3) uint8.
    """
    if hidden.all() or not hidden.any():
        return picture
    out = picture.copy()
    for channel in range(3):
        drawn, around = picture[hidden, channel], picture[~hidden, channel]
        levels, at, counts = np.unique(drawn, return_inverse=True, return_counts=True)
        there, seen = np.unique(around, return_counts=True)
        share = counts.cumsum() / len(drawn)
        wanted = np.interp(share, seen.cumsum() / len(around), there)
        out[hidden, channel] = wanted.round().astype(np.uint8)[at]
    return out
