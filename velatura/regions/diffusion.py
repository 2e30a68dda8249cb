"""Diffusion: somebody else is drawn, by an inpainting pipeline of diffusers in a folder of yours.

The pipeline is shown a square around the region with all regions of the picture blank, and their
outlines; it begins with noise drawn by lot. Who was there is not shown to it, nor how they stood:
where a body is drawn, its limbs are where the pipeline likes, and keypoints no longer fit.

Rombach et al., 2022, https://arxiv.org/abs/2112.10752; with strength 1 and without a look at the
region, as Hukkelås and Lindseth, 2023, https://arxiv.org/abs/2306.05135, ask of a realistic
anonymizer. velatura/diffusers_folder.py loads the library, at the first person that is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from velatura.config import config
from velatura.diffusers_folder import InpaintingPipeline
from velatura.errors import BadInput
from velatura.regions import Region, RegionAnonymizer, region_seed
from velatura.regions._crop import covered, enlarged, shrunk, window

PROMPTS = {"body": "a photo of a person", "face": "a photo of a face"}


@config
class Config:
    model: str = ""
    """The folder of the pipeline, as ``save_pretrained`` of diffusers writes it."""
    prompt: str = ""
    """What is asked for; nothing asks for "a photo of a person", of faces for "a photo of a face".
    A prompt that says more of people says the same of all of them."""
    negative_prompt: str = ""
    """What is not to be drawn."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 30
    """From noise to a picture."""
    guidance: Annotated[float, Field(ge=0, le=50)] = 7.5
    """How far the prompt is followed; Ho and Salimans, 2022, https://arxiv.org/abs/2207.12598. At 1
    and below there is none, in half the time."""
    size: Annotated[int, Field(ge=32, le=2048, multiple_of=8)] = 512
    """Pixels of a side at which it draws: that at which the pipeline was trained."""
    context: Annotated[float, Field(ge=0, le=4)] = 0.5
    """How much it is shown beside a region, as a share of the longer side of the region's box."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """Numbers that it computes with; float16 on a GPU and float32 elsewhere."""


def build(cfg: Config) -> RegionAnonymizer:
    """A pipeline from a folder; BadInput where it is not there, is another, or diffusers is not."""
    if not cfg.model:
        raise BadInput(
            "diffusion draws with an inpainting pipeline of yours: name its folder, as "
            "method.model or by --model."
        )
    return Diffusion(InpaintingPipeline(cfg.model, cfg.device, cfg.dtype), cfg)


class Diffusion(RegionAnonymizer):
    name = "diffusion"
    reads_region = False
    workers = 1  # it has the GPU, or all cores, and the weights are gigabytes

    def __init__(self, painter: InpaintingPipeline, cfg: Config):
        self.painter, self.cfg = painter, cfg

    def check(self, kind: str, points: Mapping[str, Sequence[str]]) -> None:
        """As ``RegionAnonymizer.check``: it draws people, and nothing to stand for all of them."""
        if kind not in PROMPTS:
            raise BadInput("diffusion draws faces or bodies, and no whole pictures.")

    def apply(self, image: np.ndarray, regions: list[Region], seed: int, picture: str) -> None:
        """Each from what no region covers: what is drawn for one is not shown to another.

        What the folder's safety checker refuses stays mid-grey, as do whole pictures.
        """
        mine = [region for region in regions if region.kind in PROMPTS]
        if not mine:
            return
        hidden, blank = covered(regions, *image.shape[:2]), image.copy()
        for region in mine:
            drawn = self._drawn(blank, hidden, region, region_seed(seed, picture, region))
            if drawn is not None:
                region.put(image, drawn)

    def _drawn(
        self, blank: np.ndarray, hidden: np.ndarray, region: Region, seed: int
    ) -> np.ndarray | None:
        """What stands in the place of a region's box, (h, w, 3) uint8; None where it is refused."""
        cfg, (height, width) = self.cfg, blank.shape[:2]
        there = window(region.box, height, width, cfg.context)
        drawn = self.painter.draw(
            shrunk(blank, there, cfg.size),
            shrunk(hidden, there, cfg.size),
            seed,
            cfg.prompt or PROMPTS[region.kind],
            cfg.negative_prompt,
            cfg.steps,
            cfg.guidance,
        )
        return None if drawn is None else enlarged(drawn, there, region.box)

    def describe(self) -> dict[str, Any]:
        device, dtype = self.painter.device
        return {
            **super().describe(),
            "network": {
                "digest": self.painter.digest,
                "pipeline": self.painter.name,
                "device": device,
                "dtype": dtype,
            },
        }
