"""Windows of videos: which frames of a video make a clip, and what is done to it.

To learn, a window begins anywhere in the video, uniformly. To measure, ``starts`` windows are
spread evenly over it. A video shorter than a window runs back and forth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from velatura import transforms
from velatura.errors import BadInput
from velatura.layout import ClipSet
from velatura.video.clips import clip_indices, random_start, span, starts

if TYPE_CHECKING:
    from velatura.training.batches import Config

__all__ = ["central", "check", "even", "random", "two", "varied"]

KEPT = 0.8  # of the picture's sides, in a test: the mean of what training crops (paper, section 4)


def of(data: ClipSet, cfg: Config) -> Config:
    """The windows of a data set: as configured; of images, each one twice, varied as images are.

    An image stands still: the shortest clip says all of it, and networks of clips take two
    frames at least.
    """
    if data.lengths.max(initial=0) > 1:
        return cfg
    varied = cfg.images or cfg.augment
    return replace(cfg, frames=min(cfg.frames, 2), stride=1, starts=1, augment=varied)


def check(data: ClipSet, cfg: Config) -> None:
    """Refuse windows that are larger than the data's pictures.

    No video is too short: it runs back and forth, also where all of them are.

    Raises:
        BadInput: the window is larger than the picture.
    """
    _, _, h, w = data.frames.shape
    # A crop that is scaled fits always.
    if cfg.augment is None and cfg.size > min(h, w):
        raise BadInput(
            f"A window of {cfg.size} px does not fit the pictures of {data.name}, {w} x {h} px; "
            "lower batches.size, or take larger pictures."
        )


def random(
    data: ClipSet, items: Sequence[int] | np.ndarray, cfg: Config, generator: torch.Generator
) -> UInt8[Tensor, "b t c h w"]:
    """One window of each item, its start uniform over those that fit."""
    draws = torch.rand(len(items), generator=generator).tolist()
    lengths = data.lengths[items].tolist()
    pairs = zip(lengths, draws, strict=True)
    return _read(data, items, cfg, [random_start(n, cfg.frames, cfg.stride, u) for n, u in pairs])


def two(
    data: ClipSet,
    items: Sequence[int] | np.ndarray,
    cfg: Config,
    first: torch.Generator,
    second: torch.Generator,
) -> tuple[UInt8[Tensor, "b t c h w"], UInt8[Tensor, "b t c h w"]]:
    """The windows that :func:`random` gives with ``first``, and others that begin elsewhere.

    Elsewhere is uniform over the other starts that fit. In a video no longer than a window it is
    any other frame, from where the video runs back and forth.

    Raises:
        BadInput: a video of one frame.
    """
    begin, others = [], []
    draws = [torch.rand(len(items), generator=g).tolist() for g in (first, second)]
    for length, u, v in zip(data.lengths[items].tolist(), *draws, strict=True):
        if length < 2:
            raise BadInput(f"A video of {data.name} has one frame; a second window needs two.")
        begin.append(random_start(length, cfg.frames, cfg.stride, u))
        fit = length - span(cfg.frames, cfg.stride) + 1
        places = fit if fit > 1 else length
        others.append((begin[-1] + 1 + int(v * (places - 1))) % places)
    return _read(data, items, cfg, begin), _read(data, items, cfg, others)


def even(
    data: ClipSet, items: Sequence[int] | np.ndarray, cfg: Config, count: int = 1
) -> Iterator[UInt8[Tensor, "b t c h w"]]:
    """``count`` windows of each item, spread evenly; the middle one if it is one.

    Where no video is longer than a window, all would be the same: then it is one.
    """
    reach = span(cfg.frames, cfg.stride)
    places = [starts(int(n), cfg.frames, cfg.stride, count) for n in data.lengths[items]]
    for k in range(count if data.lengths.max(initial=0) > reach else 1):
        yield _read(data, items, cfg, [place[k] for place in places])


def _read(
    data: ClipSet, items: Sequence[int] | np.ndarray, cfg: Config, begin: Sequence[int]
) -> Tensor:
    numbers = []
    for item, start in zip(items, begin, strict=True):
        inside = clip_indices(int(data.lengths[item]), cfg.frames, cfg.stride, start)
        numbers.append(data.first[item] + np.array(inside))
    read = np.asarray(data.frames[np.concatenate(numbers)])
    return torch.from_numpy(read.reshape(len(items), cfg.frames, *read.shape[1:]))


def varied(
    clips: UInt8[Tensor, "b t c h w"], cfg: Config, generator: torch.Generator, light: float = 0.0
) -> Float[Tensor, "b t c s s"]:
    """What training sees of windows.

    Args:
        light: brightness and contrast vary by up to this fraction, where ``cfg.augment`` is
            absent.
    """
    if cfg.augment is not None:
        return transforms.photometric(clips, generator, cfg.augment, cfg.size)
    return transforms.vary(
        clips, generator, size=cfg.size, frames=cfg.frames, shift=cfg.shift, light=light
    )


def central(clips: UInt8[Tensor, "b t c h w"], cfg: Config) -> Float[Tensor, "b t c s s"]:
    """What a test sees of windows."""
    if cfg.augment is not None:
        return transforms.centre_crop(
            clips, factor=KEPT, size=cfg.size, keep_aspect=cfg.augment.keep_aspect
        )
    return transforms.centre(clips, size=cfg.size, frames=cfg.frames)
