"""Augmentations on a batch of clips: one draw per clip, the same for every frame of it.

All randomness comes from the generator that is handed in, so that a step's views are a
function of (seed, step) and an interrupted run continues with the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from velatura import ranks
from velatura.config import config
from velatura.errors import BadInput

__all__ = [
    "Augment",
    "centre",
    "centre_crop",
    "photometric",
    "standardise",
    "to_unit",
    "two_views",
    "vary",
]

Chance = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0, lt=1)]


def to_unit(clips: UInt8[Tensor, "*n h w"] | UInt8[np.ndarray, "*n h w"]) -> Tensor:
    """Bytes to float intensities in [0, 1]; the shape stays."""
    # A copy: torch warns of an array that may only be read, such as a release's memory map.
    own = torch.from_numpy(np.array(clips, order="C")) if isinstance(clips, np.ndarray) else clips
    return own.float().div_(255)


def vary(
    clips: UInt8[Tensor, "b t c h w"],
    generator: torch.Generator,
    *,
    size: int,
    frames: int,
    shift: int = 3,
    flip: bool = True,
    light: float = 0.0,
) -> Float[Tensor, "b f c s s"]:
    """A random window in space and time of each clip, mirrored at random, in [0, 1].

    Args:
        clips: (B, T, C, H, W) bytes, with T >= frames and H, W >= size.
        generator: a CPU generator; draws a fixed number of values per clip.
        size: side of the window, pixels.
        frames: length of the window.
        shift: clips smaller than ``size + 2 * shift`` are padded by so many pixels on each side
            (edge repeated) before cutting, so that position varies.
        flip: mirror half of the clips left to right.
        light: brightness and contrast vary by up to this fraction.

    Returns:
        (B, frames, C, size, size) float in [0, 1].
    """
    b, t, _, h, w = clips.shape
    pad = shift if min(h, w) < size + 2 * shift else 0
    draws = torch.rand(b, 6, generator=generator)
    # floor(u * n) is uniform on 0 ... n - 1
    top = (draws[:, 0] * (h + 2 * pad - size + 1)).long() - pad
    left = (draws[:, 1] * (w + 2 * pad - size + 1)).long() - pad
    start = (draws[:, 2] * (t - frames + 1)).long()
    along = torch.arange(size)
    rows = (top.unsqueeze(1) + along).clamp(0, h - 1)  # clamping repeats the edge
    columns = (left.unsqueeze(1) + along).clamp(0, w - 1)
    if flip:
        columns = torch.where(draws[:, 3:4] < 0.5, columns.flip(1), columns)
    # Cut bytes, convert once: four times less to move than cutting floats.
    cut = torch.stack(
        [
            clips[i, s : s + frames].index_select(2, rows[i]).index_select(3, columns[i])
            for i, s in enumerate(start.tolist())
        ]
    )
    out = to_unit(cut)
    if light:
        gain = (1 + light * (2 * draws[:, 4] - 1)).view(b, 1, 1, 1, 1).to(out.device)
        lift = (light * (draws[:, 5] - 0.5)).view(b, 1, 1, 1, 1).to(out.device)
        out = (out * gain + lift).clamp(0, 1)
    return out


def standardise(
    clips: Float[Tensor, "b t c h w"], floor: float = 0.5
) -> Float[Tensor, "b t c h w"]:
    """Remove what all clips share at each pixel, and stretch what is left to full contrast.

        0.5 + (x - mean) / (5 * deviation)      mean and deviation over clips and frames

    An anonymizer that covers everyone with one fixed pattern and leaves the person in faint
    traces on top looks private and fools a network that is handed the picture as it is. An
    attacker who has many clips subtracts the pattern. The gradient flows through. In a
    distributed run mean and deviation are those of the clips of all ranks.

    Args:
        clips: (B, T, C, H, W) in [0, 1]; B * T of at least 2.
        floor: levels of 255, added to the deviation in quadrature; half of one is rounding, not
            signal.

    Returns:
        The same shape, about [0, 1] but not bounded.
    """
    x = clips.float()
    mean = ranks.mean(x.mean((0, 1), keepdim=True))
    variance = ranks.mean((x - mean).square().mean((0, 1), keepdim=True))
    return 0.5 + 0.2 * (x - mean) / (variance + (floor / 255) ** 2).sqrt()


def centre(
    clips: UInt8[Tensor, "b t c h w"], *, size: int, frames: int
) -> Float[Tensor, "b f c s s"]:
    """The middle window in space and time, in [0, 1]: what evaluation sees."""
    _, t, _, h, w = clips.shape
    start, top, left = (t - frames) // 2, (h - size) // 2, (w - size) // 2
    return to_unit(clips[:, start : start + frames, :, top : top + size, left : left + size])


def two_views(
    clips: UInt8[Tensor, "b t c h w"],
    generator: torch.Generator,
    *,
    size: int,
    shift: int = 3,
    augment: Augment | None = None,
) -> tuple[Float[Tensor, "b c s s"], Float[Tensor, "b c s s"]]:
    """Two independent augmented frames of each clip: the budget branch's positive pair.

    The frames are drawn from the two halves of the clip, each with its own window, mirror
    and light. Source of the pairing: paper, supplement section 7 (pairs of frames of a video).

    Args:
        clips: of a single frame, as of an image, both views are of that frame.
        augment: crop and vary colours by this instead; the frame is then the middle of its half.
    """
    half = clips.shape[1] // 2 or 1
    parts = (clips[:, :half], clips[:, -half:])
    if augment is not None:
        middle = slice((half - 1) // 2, (half - 1) // 2 + 1)
        views = [photometric(part[:, middle], generator, augment, size)[:, 0] for part in parts]
    else:
        views = [
            vary(part, generator, size=size, frames=1, shift=shift, light=0.2)[:, 0]
            for part in parts
        ]
    return views[0], views[1]


# Augmentation of real clips, as the paper's released code does it


@config
class Augment:
    """How a training clip is varied; the defaults are the paper's.

    Source: the released training code's data loader. There the chance of a contrast change
    comes twice, and gamma follows grey alone. Every strength is uniform in its range.

    Attributes:
        crop_min, crop_max: the part of the picture's sides that is kept.
        keep_aspect: crop a square, that part of the shorter side, so that nothing is squashed.
            Otherwise the crop has the picture's shape and is squashed into the square.
        flip: chance of a mirror.
        p_contrast, contrast: chance of each of two changes, and by up to which fraction.
        p_hue, hue: chance, and turns of the colour circle at most.
        p_saturation, saturation, p_brightness, brightness: chance and fraction.
        p_grey: chance of losing all colour.
        p_gamma, gamma: chance, of a grey clip, of intensities to a power up to that far from 1.
        p_erase: chance of each black box.
        erase_min, erase_max: the boxes' sides as part of the picture's, before squashing.
        boxes: how many there may be.
        erase_of: ``"result"`` takes their sides as part of the result's instead.
    """

    crop_min: Annotated[float, Field(gt=0, le=1)] = 0.6
    crop_max: Annotated[float, Field(gt=0, le=1)] = 1.0
    keep_aspect: bool = False
    flip: Chance = 0.5
    p_contrast: Chance = 0.0625
    contrast: Strength = 0.1
    p_hue: Chance = 0.15
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    p_saturation: Chance = 0.15
    saturation: Strength = 0.1
    p_brightness: Chance = 0.15
    brightness: Strength = 0.1
    p_grey: Chance = 0.1
    p_gamma: Chance = 0.75
    gamma: Strength = 0.15
    p_erase: Chance = 0.4
    erase_min: Chance = 1 / 6
    erase_max: Chance = 1 / 3
    boxes: Annotated[int, Field(ge=0, le=2)] = 2
    erase_of: Literal["picture", "result"] = "picture"

    LATER: ClassVar[Mapping[str, Any]] = {"boxes": 2, "erase_of": "picture"}

    def __post_init__(self) -> None:
        for low, high in (("crop_min", "crop_max"), ("erase_min", "erase_max")):
            if getattr(self, low) > getattr(self, high):
                raise BadInput(f"{low} {getattr(self, low)} is more than {high}; swap them.")


DRAWS = 27  # random numbers of one clip, used or not
GREY = (0.299, 0.587, 0.114)  # brightness of red, green and blue (ITU-R BT.601)


def photometric(
    clips: UInt8[Tensor, "b t c h w"],
    generator: torch.Generator,
    cfg: Augment,
    size: int,
) -> Float[Tensor, "b t c s s"]:
    """A random crop of each clip with its colours varied; one draw, the same for every frame.

    In this order: crop and scale, contrast twice, hue, saturation, brightness, grey with gamma,
    mirror, two black boxes.

    Args:
        clips: (B, T, 3, H, W) bytes.
        generator: a CPU generator; gives ``DRAWS`` values for each clip, whatever is done.
        cfg: see :class:`Augment`.
        size: side of the result, pixels.

    Returns:
        (B, T, 3, size, size) float in [0, 1].
    """
    b, _, _, h, w = clips.shape
    u = torch.rand(b, DRAWS, generator=generator)
    boxes = [_crop_box(row, h, w, cfg) for row in u[:, :3].tolist()]
    out = _cut(clips, boxes, size)
    # A bright picture's contrast changes about its own mean, and so on: one step, one rule.
    for at in (3, 5):
        _apply(
            out, adjust_contrast, u[:, at] < cfg.p_contrast, 1 + _spread(u[:, at + 1], cfg.contrast)
        )
    _apply(out, shift_hue, u[:, 7] < cfg.p_hue, _spread(u[:, 8], cfg.hue))
    _apply(
        out, adjust_saturation, u[:, 9] < cfg.p_saturation, 1 + _spread(u[:, 10], cfg.saturation)
    )
    _apply(
        out, adjust_brightness, u[:, 11] < cfg.p_brightness, 1 + _spread(u[:, 12], cfg.brightness)
    )
    grey = u[:, 13] < cfg.p_grey
    _apply(out, adjust_saturation, grey, torch.zeros(b))
    _apply(out, adjust_gamma, grey & (u[:, 14] < cfg.p_gamma), 1 + _spread(u[:, 15], cfg.gamma))
    mirrored = (u[:, 16] < cfg.flip).nonzero()[:, 0].to(out.device)
    out[mirrored] = out[mirrored].flip(-1)
    for at in (17, 22)[: cfg.boxes]:
        for clip, row in zip(out, u[:, at : at + 5].tolist(), strict=True):
            _erase(clip, row, h, w, cfg)
    return out


def centre_crop(
    clips: UInt8[Tensor, "b t c h w"], *, factor: float = 0.8, size: int, keep_aspect: bool = False
) -> Float[Tensor, "b t c s s"]:
    """The middle of each clip, ``factor`` of its sides, in [0, 1]: what evaluation sees."""
    if not 0 < factor <= 1:
        raise BadInput(f"A centre crop keeps more than 0 and at most all of a side, not {factor}.")
    _, _, _, h, w = clips.shape
    height, width = _crop_sides(factor, h, w, keep_aspect)
    box = ((h - height) // 2, (w - width) // 2, height, width)
    return _cut(clips, [box] * len(clips), size)


Box = tuple[int, int, int, int]  # top, left, height, width


def _crop_sides(part: float, h: int, w: int, square: bool) -> tuple[int, int]:
    if square:
        h = w = min(h, w)
    return max(1, round(part * h)), max(1, round(part * w))


def _crop_box(draws: list[float], h: int, w: int, cfg: Augment) -> Box:
    """Where one clip is cut: how large, how far down, how far right."""
    part = cfg.crop_min + (cfg.crop_max - cfg.crop_min) * draws[0]
    height, width = _crop_sides(part, h, w, cfg.keep_aspect)
    # floor(u * n) is uniform on 0 ... n - 1
    return int(draws[1] * (h - height + 1)), int(draws[2] * (w - width + 1)), height, width


def _cut(clips: Tensor, boxes: list[Box], size: int) -> Tensor:
    """Each clip's box, scaled to (size, size) and rounded to bytes, in [0, 1]."""
    parts = []
    for clip, (top, left, height, width) in zip(clips, boxes, strict=True):
        part = clip[:, :, top : top + height, left : left + width]
        if (height, width) != (size, size):
            # Scaling bytes is six times faster, where it is possible.
            part = part if part.device.type == "cpu" else part.float()
            part = interpolate(part, (size, size), mode="bilinear", antialias=True).round()
        parts.append(part)
    return torch.stack(parts).float().div_(255)


def _spread(draws: Tensor, strength: float) -> Tensor:
    """Uniform in [0, 1] to uniform in [-strength, strength]."""
    return strength * (2 * draws - 1)


def _apply(
    clips: Tensor, change: Callable[[Tensor, Tensor], Tensor], chosen: Tensor, amounts: Tensor
) -> None:
    """Change the chosen clips, in place, each by its own amount."""
    at = chosen.nonzero()[:, 0]
    if len(at):
        amount = amounts[at].view(-1, 1, 1, 1, 1).to(clips.device)
        at = at.to(clips.device)
        clips[at] = change(clips[at], amount).clamp_(0, 1)


def _brightness(clips: Tensor) -> Tensor:
    """(B, T, 1, H, W), how bright each pixel looks."""
    weights = torch.tensor(GREY, device=clips.device).view(1, 1, 3, 1, 1)
    return (clips * weights).sum(2, keepdim=True)


def adjust_contrast(clips: Tensor, factor: Tensor) -> Tensor:
    """Away from the clip's mean brightness, or towards it."""
    mean = _brightness(clips).mean((1, 2, 3, 4), keepdim=True)
    return mean + factor * (clips - mean)


def adjust_saturation(clips: Tensor, factor: Tensor) -> Tensor:
    """Away from each pixel's grey, or towards it; 0 is grey."""
    grey = _brightness(clips)
    return grey + factor * (clips - grey)


def adjust_brightness(clips: Tensor, factor: Tensor) -> Tensor:
    """Darker or lighter."""
    return clips * factor


def adjust_gamma(clips: Tensor, power: Tensor) -> Tensor:
    """Intensities to a power; black and white stay."""
    return clips**power


def shift_hue(clips: Tensor, turns: Tensor) -> Tensor:
    """Round the colour circle; value and saturation stay, and so does grey.

    Source: A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978 (the HSV hexcone).
    """
    red, green, blue = clips.unbind(2)
    value = clips.amax(2)
    chroma = value - clips.amin(2)
    safe = torch.where(chroma > 0, chroma, 1)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * turns[:, :, 0]
    # Each channel falls from its own corner of the hexagon: red's is 0, green's 2, blue's 4.
    corners = [(n + hue) % 6 for n in (5, 3, 1)]
    return torch.stack(
        [value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in corners], dim=2
    )


def _erase(clip: Tensor, draws: list[float], h: int, w: int, cfg: Augment) -> None:
    """Blacken a box of one clip, in place, or not; it may reach over the edge."""
    chance, tall, wide, down, right = draws
    if chance >= cfg.p_erase:
        return
    size = clip.shape[-1]
    if cfg.erase_of == "result":
        h = w = size
    short = min(h, w)
    low, high = cfg.erase_min, cfg.erase_max
    height = round((low + (high - low) * tall) * h * size / short)
    width = round((low + (high - low) * wide) * w * size / short)
    top, left = int(down * size), int(right * size)
    clip[..., top : top + height, left : left + width] = 0
