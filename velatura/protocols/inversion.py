"""Inversion: can the anonymizer be undone, and what can be read from what comes back?

Rung A5 of the ladder. A decoder learns from pairs (released clip, raw clip), as somebody does who
owns the same camera and films with it and without. It undoes the release of the test people, and
attackers who know raw video look at the result (:mod:`velatura.protocols.privacy`). How alike the
pictures are to look at (:func:`fidelity`) says little by itself: a blurred face may be told, and a
sharp one may be somebody else's.

The pairs must be of none of the clips that the anonymizer or its adversaries trained on, since
there it may do what it does nowhere else, and of no test clip. The validation split is such a
part: people whom neither has met.

Sources: Dosovitskiy and Brox, 2016, https://arxiv.org/abs/1506.02753, for a decoder of what cannot
be undone by a formula; McPherson et al., 2016, https://arxiv.org/abs/1609.00408, for reading
obscured pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.data._release import open_release, write_frames
from velatura.errors import BadInput, Failure
from velatura.layout import ClipSet, Labels, Measurement
from velatura.protocols._fresh import groups_of
from velatura.training import windows
from velatura.training.batches import Config as Window
from velatura.training.players import prepare
from velatura.training.seed import generator, reseed

__all__ = ["Config", "fidelity", "fit_inverter", "measurements", "network", "recover"]

LABELS: Labels = "attributes"  # measured on what bears them
GRID = 16
"""Pixels. A piece of a larger picture is cut at a multiple of it, so that it lies as the whole
does on the blocks in which anonymizers and codecs work, and on the levels of their networks."""


@config
class Config:
    """How the decoder learns."""

    steps: Annotated[int, Field(ge=1)] = 600
    lr: Annotated[float, Field(gt=0)] = 3e-3
    """Adam's, at its highest: it rises over the first twentieth and then falls to zero."""
    batch: Annotated[int, Field(ge=1)] = 8
    """Windows in a step."""
    width: Annotated[int, Field(ge=4, le=512)] = 24
    """Channels at half resolution; doubled at each level below."""


def network(cfg: Config) -> nn.Module:
    """A fresh decoder: released clips (B, T, 3, H, W) in [0, 1], any T, H and W, to recovered ones
    of the same shape, in [0, 1] up to what rounding to bytes cuts off."""
    return Inverter(cfg.width)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )


class Inverter(nn.Module):
    """A small U-Net over frames, each seen with its clip. About 0.3 M parameters.

    Beside a frame it is shown the one before, the one after and the mean of all, and at the lowest
    level the mean of what it found in all: what differs from frame to frame, such as noise, can
    be averaged away. It works at half resolution, on 2 x 2 blocks folded into channels.

    What it adds to the frame is all it puts out, and at the start that is nothing: an anonymizer
    that does little is undone at once, and training begins no worse than doing nothing. A part of
    it is linear in what is seen, which undoes a negative or averages noise in a few steps, where
    the narrow levels could not carry every pixel.
    """

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Conv2d(4 * 12, 12, 3, padding=1)
        self.down1 = _double(4 * 12, width)
        self.down2 = _double(width, 2 * width)
        self.down3 = _double(2 * width, 4 * width)
        self.mix = nn.Conv2d(8 * width, 4 * width, 1)
        self.up2 = _double(6 * width, 2 * width)
        self.up1 = _double(3 * width, width)
        self.head = nn.Conv2d(width, 12, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.linear.weight)

    def forward(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t 3 h w"]:
        b, t, _, h, w = clips.shape
        frames = F.pad(clips.flatten(0, 1), (0, -w % 8, 0, -h % 8), mode="replicate")
        x = F.pixel_unshuffle(frames - 0.5, 2).view(b, t, 12, *(n // 2 for n in frames.shape[-2:]))
        before = torch.cat([x[:, :1], x[:, :-1]], 1)
        after = torch.cat([x[:, 1:], x[:, -1:]], 1)
        seen = torch.cat([x, before, after, x.mean(1, keepdim=True).expand_as(x)], 2)
        seen = seen.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x1 = self.down1(seen)
        x2 = self.down2(F.max_pool2d(x1, 2))
        x3 = self.down3(F.max_pool2d(x2, 2))
        each = x3.view(b, t, *x3.shape[1:])
        shared = each.mean(1, keepdim=True).expand_as(each).flatten(0, 1)
        x3 = torch.relu(self.mix(torch.cat([x3, shared], 1)))
        x2 = self.up2(torch.cat([F.interpolate(x3, scale_factor=2.0), x2], 1))
        x1 = self.up1(torch.cat([F.interpolate(x2, scale_factor=2.0), x1], 1))
        change = F.pixel_shuffle(self.head(x1) + self.linear(seen), 2)[..., :h, :w].float()
        return clips + change.reshape(clips.shape)


def fit_inverter(
    released: ClipSet,
    raw: ClipSet,
    window: Window,
    seed: int,
    fabric: Fabric,
    cfg: Config,
    progress: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """Train a decoder on pairs of clips.

        mean over all pixels of  |recovered - raw|

    The absolute difference and not its square: where several raw pictures would explain a release,
    the square's best answer is their mean, a face in a haze, and the absolute value's is the
    middle one, with its edges; and a bright background does not outweigh a person.

    Windows are of ``window.frames`` neighbouring frames and at most ``window.size`` pixels. They
    are neither shifted nor mirrored nor brightened: an anonymizer does other things to those.

    Args:
        released, raw: the same items; of whom, see the module. ``released`` may be prepared as its
            examiners see it, if what :func:`recover` is given is prepared alike.
        progress: called with (steps done, steps in all).

    Returns:
        The decoder after the last step, frozen in evaluation mode.

    Raises:
        BadInput: the two are not of the same items.
        Failure: the loss is not finite.
    """
    _same_items(released, raw)
    reseed(seed, "inverter")
    net = prepare(network(cfg), fabric.device)
    # An image is a window of one frame, not the same one twice.
    together = Window(frames=min(window.frames, int(raw.lengths.max())))
    optimizer = torch.optim.Adam(net.parameters(), cfg.lr)
    size = min(cfg.batch, len(raw))
    per_epoch = len(raw) // size
    for step in range(cfg.steps):
        epoch, place = divmod(step, per_epoch)
        order = torch.randperm(len(raw), generator=generator(seed, "pairs", epoch)).numpy()
        items = order[place * size : (place + 1) * size]
        # The same generator for both: the same frames.
        pair = [
            windows.random(part, items, together, generator(seed, "pair starts", step))
            for part in (released, raw)
        ]
        cut = _cut(pair[0].shape[-2:], window.size, generator(seed, "pair cuts", step))
        given, wanted = (part[cut].to(fabric.device).float().div(255) for part in pair)
        with fabric.autocast():
            found = net(given)
        loss = F.l1_loss(found.float(), wanted)
        if not torch.isfinite(loss):
            raise Failure(
                f"Inverting {released.name}, step {step}: the loss is {loss.item()}; lower its lr."
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            group["lr"] = cfg.lr * _shape(step / cfg.steps)
        optimizer.step()
        if progress:
            progress(step + 1, cfg.steps)
    return net.eval().requires_grad_(False)


def _same_items(one: ClipSet, other: ClipSet) -> None:
    if one.frames.shape != other.frames.shape or not np.array_equal(one.lengths, other.lengths):
        raise BadInput(
            f"A release and its raw clips must be of the same videos; {one.name} has frames "
            f"{one.frames.shape} of {len(one)} videos, {other.name} {other.frames.shape} of "
            f"{len(other)}."
        )


def _cut(picture: tuple[int, ...], size: int, draw: torch.Generator) -> tuple[Any, slice, slice]:
    """Where in its pictures a step looks: all of them, or a square somewhere on the grid."""
    spans = []
    for length in picture:
        places = max(length - size, 0) // GRID + 1
        start = GRID * int(torch.randint(places, (), generator=draw))
        spans.append(slice(start, start + size))
    return (..., *spans)


def _shape(progress: float) -> float:
    """Share of the highest rate at a share of the steps."""
    rise = 0.05
    if progress < rise:
        return 0.05 + 0.95 * progress / rise
    return 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise)))


@torch.no_grad()
def recover(
    inverter: nn.Module, released: ClipSet, path: Path, window: Window, fabric: Fabric
) -> ClipSet:
    """What a decoder makes of a release, whole videos in 8 bits, on disk.

    A video goes through in windows of ``window.frames``, one behind the other; the last one
    reaches back, so that none is shorter where the video is not.

    Args:
        path: a ``.npy`` file to write, whole or not at all.

    Returns:
        The same items and labels with other pixels, a memory map of ``path``.
    """
    inverter.eval()

    def through(item: int) -> Iterator[np.ndarray]:
        length = int(released.lengths[item])
        for start in range(0, length, window.frames):
            begin = max(min(start, length - window.frames), 0)
            stop = min(start + window.frames, length)
            clip = torch.from_numpy(np.array(released.video(item, begin, stop)))
            with fabric.autocast():
                found = inverter(clip[None].to(fabric.device).float().div(255))
            seen = found[0, start - begin :].float().mul(255).round().clamp(0, 255).byte()
            yield seen.cpu().numpy()

    parts = (part for item in range(len(released)) for part in through(item))
    write_frames(path, released.frames.shape, parts)
    return open_release(path, released, "recovered")


# How alike --------------------------------------------------------------------------------------


def fidelity(recovered: ClipSet, raw: ClipSet) -> dict[str, float | None]:
    """How alike recovered videos are to raw ones, to look at.

        PSNR = -10 log10(mean square difference), in dB, intensities in [0, 1]

    Returns:
        ``psnr`` and ``ssim`` (:func:`ssim`), each the mean over videos. None for a PSNR that is
        infinite, since a video is equal in every byte; and for an SSIM of pictures that are smaller
        than its window.
    """
    _same_items(recovered, raw)
    ratios, likeness = [], []
    for item in range(len(raw)):
        one, other = recovered.video(item), raw.video(item)
        error = float(np.square((one.astype(np.float64) - other) / 255).mean())
        ratios.append(math.inf if error == 0 else -10 * math.log10(error))
        if min(one.shape[-2:]) >= SIDE:
            likeness.append(ssim(one, other))
    ratio = float(np.mean(ratios))
    return {
        "psnr": ratio if math.isfinite(ratio) else None,
        "ssim": float(np.mean(likeness)) if likeness else None,
    }


SIDE, SPREAD = 11, 1.5  # of the Gaussian that SSIM looks through, pixels


def ssim(one: UInt8[np.ndarray, "t c h w"], other: UInt8[np.ndarray, "t c h w"]) -> float:
    """Structural similarity of two clips, mean over frames and colours: 1 is equal.

    The published measure is of grey pictures; each colour is taken as one here. Only windows that
    lie inside the picture count, and no picture is made smaller first, as the authors' code does
    with large ones.

    Args:
        one, other: (T, C, H, W) uint8, H and W of at least 11.

    Source: Wang et al., 2004, eq. 13, with K1 = .01 and K2 = .03 and an 11 x 11 Gaussian of
    sigma 1.5, https://doi.org/10.1109/TIP.2003.819861
    """
    c1, c2 = 0.01**2, 0.03**2
    rows, columns = (_gaussian(n) for n in one.shape[-2:])

    def blurred(x: np.ndarray) -> np.ndarray:
        found: np.ndarray = rows @ x @ columns.T
        return found

    x, y = one / 255.0, other / 255.0
    mx, my = blurred(x), blurred(y)
    vx, vy = blurred(x * x) - mx * mx, blurred(y * y) - my * my
    both = blurred(x * y) - mx * my
    value = (2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(value.mean())


def _gaussian(length: int) -> Float[np.ndarray, "m n"]:
    """(length - 10, length): each row a window further on; a product with it blurs one axis."""
    weight = np.exp(-((np.arange(SIDE) - SIDE // 2) ** 2) / (2 * SPREAD**2))
    weight /= weight.sum()
    moved = np.zeros((length - SIDE + 1, length))
    for row, window in enumerate(moved):
        window[row : row + SIDE] = weight
    return moved


def measurements(
    row: dict[str, Any], test: ClipSet, provenance: dict[str, Any]
) -> list[Measurement]:
    """PSNR and SSIM of a table row's ``inversion``, as records; none where it has no such."""
    units = {"psnr": "dB", "ssim": "share"}
    found = row.get("inversion", {})
    return [
        Measurement(
            metric=metric, value=found[metric], low=found[metric], high=found[metric], unit=unit,
            better="lower", row=row["name"], probe="inverter", dataset=test.name.split("/")[0],
            split="test", n=len(test), groups=groups_of(test), seed=-1, chance=0.0,
            provenance=provenance,
        )
        for metric, unit in units.items() if metric in found
    ]  # fmt: skip
