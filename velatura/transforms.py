"""Augmentations on a batch of clips: one draw per clip, the same for every frame of it.

All randomness comes from the generator that is handed in, so that a step's views are a
function of (seed, step) and an interrupted run continues with the same ones.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from velatura import ranks

__all__ = ["augment", "centre", "standardise", "to_unit", "two_views"]


def to_unit(clips: UInt8[Tensor, "*n h w"] | UInt8[np.ndarray, "*n h w"]) -> Tensor:
    """Bytes to float intensities in [0, 1]; the shape stays."""
    # A copy: torch warns of an array that may only be read, such as a release's memory map.
    own = torch.from_numpy(np.array(clips, order="C")) if isinstance(clips, np.ndarray) else clips
    return own.float().div_(255)


def augment(
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
    clips: UInt8[Tensor, "b t c h w"], generator: torch.Generator, *, size: int, shift: int = 3
) -> tuple[Float[Tensor, "b c s s"], Float[Tensor, "b c s s"]]:
    """Two independent augmented frames of each clip: the budget branch's positive pair.

    The frames are drawn from the two halves of the clip, each with its own window, mirror
    and light. Source of the pairing: paper, supplement section 7 (pairs of frames of a video).
    """
    half = clips.shape[1] // 2 or 1
    first = augment(clips[:, :half], generator, size=size, frames=1, shift=shift, light=0.2)
    second = augment(clips[:, -half:], generator, size=size, frames=1, shift=shift, light=0.2)
    return first[:, 0], second[:, 0]
