"""Statistics of motion that a person would think of, and a logistic regression on them.

Who walks, sways with a frequency; who is broad, moves a broad place. A network has to find both
from some thousand clips; here they are written down, and few numbers are left to learn, so that
this one may be the strongest where clips are few and what is released is mostly motion, such as
``frame_difference`` or ``flow``.

    still       the median of a channel over the clip: what most of the picture shows
    motion      what differs from it
    body        the part of the picture that has the motion, from head to foot; so that neither
                where somebody stands matters nor how near
    silhouette  how much each place of the body moves, summed over the clip
    spectrum    magnitudes of the Fourier transform over time of each height of the body, and of
                the whole picture: a rhythm, whenever it began
    speeds      how large the motion is, as quantiles

A mirror image has the same numbers.

Source: the energy image that motion leaves over time, Han and Bhanu, 2006,
https://doi.org/10.1109/TPAMI.2006.38; gait as frequencies, Little and Boyd, 1998, Videre 1(2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from velatura.attackers._described import answers, described
from velatura.config import config
from velatura.layout import ClipSet, Labels
from velatura.training.batches import Config as Window
from velatura.training.players import prepare

__all__ = ["Config", "fit", "network", "statistics"]

COLUMNS = 6  # across the body; an even number, as both halves are added
ENDS = (0.02, 0.98)  # shares of the motion above a body's head, and above its feet
ASIDE = 0.45  # of a body's height, that is looked at to either side of its middle
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
STEPS = 60  # of the regression at most, each a line search


@config
class Config:
    bands: Annotated[int, Field(ge=2, le=64)] = 12
    """Heights of the body."""
    decays: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (
        1e-3,
        1e-2,
        1e-1,
        1.0,
    )
    """Weights of the squared coefficients in the loss; the validation split chooses."""


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs); all 0 until :func:`fit`."""
    return Spectrum(cfg, outputs)


def fit(
    network: nn.Module,
    train: ClipSet,
    val: ClipSet,
    labels: Labels,
    window: Window,
    seed: int,
    fabric: Fabric,
    progress: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """Regress on ``train``, and choose the decay by the loss on ``val``; as
    :func:`velatura.attackers.knn.fit`.

    Args:
        network: of this file's :func:`network`; what it learnt before is forgotten.
        labels: of actions, each class is an answer, there or not.
        seed: not used, as nothing is drawn.
        progress: called with (clips seen, clips in all).

    Returns:
        The network in evaluation mode.
    """
    assert isinstance(network, Spectrum)
    prepare(network, fabric.device).eval()
    seen, asked = described(network.described, train, val, window, fabric, progress)
    known = answers(train, labels).to(seen)
    told = answers(val, labels).to(seen)
    network.mean, network.deviation = seen.mean(0), seen.std(0, correction=0)
    best = float("inf")
    for decay in network.decays:
        weight, bias = _regress(network.scaled(seen), known, decay)
        logits = F.linear(network.scaled(asked), weight, bias)
        loss = float(F.binary_cross_entropy_with_logits(logits, told))
        if loss < best:
            best, network.weight, network.bias = loss, weight, bias
    return network


def _regress(
    x: Float[Tensor, "n d"], known: Float[Tensor, "n k"], decay: float
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Logistic regressions, one for each answer:

    mean over items of the cross-entropy  +  decay / 2 * the sum of squared coefficients
    """
    weight = x.new_zeros(known.shape[1], x.shape[1], requires_grad=True)
    bias = x.new_zeros(known.shape[1], requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        told = F.binary_cross_entropy_with_logits(F.linear(x, weight, bias), known, reduction="sum")
        value = told / len(x) + decay / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return torch.as_tensor(value)

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


class Spectrum(nn.Module):
    """Statistics, each standardised over what was learnt from, and a linear answer."""

    def __init__(self, cfg: Config, outputs: int):
        super().__init__()
        self.bands, self.decays = cfg.bands, cfg.decays
        self.described = Statistics(cfg.bands)
        self.mean: Tensor
        self.deviation: Tensor
        self.weight: Tensor
        self.bias: Tensor
        # How many statistics there are, depends on the length of a clip.
        for name in ("mean", "deviation"):
            self.register_buffer(name, torch.zeros(0))
        self.register_buffer("weight", torch.zeros(outputs, 0))
        self.register_buffer("bias", torch.zeros(outputs))

    def scaled(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Of mean 0 and deviation 1. What never changes tells nothing and is 0; what is far
        outside is cut, as one such clip would decide."""
        found = (features - self.mean) / self.deviation.clamp_min(1e-6)
        return torch.where(self.deviation > 1e-6, found, 0.0).clamp(-5, 5)

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        if not len(self.mean):
            return self.bias.expand(len(clips), -1)
        with torch.autocast(clips.device.type, enabled=False):
            return F.linear(self.scaled(self.described(clips)), self.weight, self.bias)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *others: object
    ) -> None:
        for name in ("mean", "deviation", "weight"):  # as many as the state has
            if (given := state_dict.get(prefix + name)) is not None:
                setattr(self, name, getattr(self, name).new_zeros(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *others)  # type: ignore[arg-type]


class Statistics(nn.Module):
    """:func:`statistics` as a network."""

    def __init__(self, bands: int):
        super().__init__()
        self.bands = bands

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        return statistics(clips.float(), self.bands)


def statistics(clips: Float[Tensor, "b t c h w"], bands: int = 12) -> Float[Tensor, "b d"]:
    """What this file's head says of clips in [0, 1].

    Returns:
        (B, D) with D = C (3 bands + (T // 2 + 1) (bands + 1) + 5) + 4: silhouette, spectra of the
        bands and of the whole, speeds, and the body's head, feet, middle and width, in heights and
        widths of the picture. Magnitudes are square roots.
    """
    b, t, c, h, w = clips.shape
    half = clips[..., ::2, :].transpose(1, 2).flatten(2)  # every other row says as much
    still = half.median(2).values
    motion = clips - still[:, None, :, None, None]
    energy = motion.abs().mean((1, 2)) + 1e-6  # (b, h, w); a clip at rest has a body, too
    head, feet = (_where(energy.sum(2), share) for share in ENDS)
    middle = (energy.sum(1) @ torch.arange(w).to(energy)) / energy.sum((1, 2)) / (w - 1)
    left, right = (_where(energy.sum(1), share) for share in ENDS)
    body = _body(motion, head, feet, middle, bands)  # (b, t, c, bands, COLUMNS)
    silhouette = body.abs().mean(1)
    silhouette = (silhouette + silhouette.flip(-1))[..., : COLUMNS // 2]
    signals = torch.cat([body.mean(-1), motion.mean((-2, -1))[..., None]], -1)
    spectrum = torch.fft.rfft(signals, dim=1).abs() / t
    speeds = _quantiles((half - still[..., None]).abs())
    magnitudes = [silhouette, spectrum, speeds]
    shape = torch.stack([head, feet, (middle - 0.5).abs(), right - left], 1)
    return torch.cat([*(m.flatten(1).sqrt() for m in magnitudes), shape], 1)


def _where(along: Float[Tensor, "b n"], share: float) -> Float[Tensor, " b"]:
    """How far along, in [0, 1], so large a share of the whole has passed."""
    passed = along.cumsum(1) / along.sum(1, keepdim=True)
    return (passed < share).sum(1) / (along.shape[1] - 1)


def _quantiles(values: Float[Tensor, "b c n"]) -> Float[Tensor, "b c q"]:
    at = [round(q * (values.shape[-1] - 1)) for q in QUANTILES]
    return values.sort(-1).values[..., at]


def _body(
    motion: Float[Tensor, "b t c h w"], head: Tensor, feet: Tensor, middle: Tensor, bands: int
) -> Float[Tensor, "b t c n m"]:
    """The motion in places of the body, from head to foot and as far to either side as ``ASIDE``
    says: a broad person stays broad. Each place is the mean of 2 x 2 points."""
    b, t, c, h, w = motion.shape

    def points(count: int) -> Tensor:
        return ((torch.arange(2 * count) + 0.5) / (2 * count)).to(motion)

    tall = (feet - head).clamp_min(2 / h)
    y = head[:, None] + tall[:, None] * points(bands)
    aside = 2 * points(COLUMNS) - 1
    x = middle[:, None] + ASIDE * (tall * (h / w))[:, None] * aside
    rows, columns = torch.broadcast_tensors(y[:, :, None], x[:, None, :])
    grid = 2 * torch.stack([columns, rows], -1) - 1
    found = F.grid_sample(motion.flatten(1, 2), grid, padding_mode="zeros", align_corners=True)
    return F.avg_pool2d(found, 2).unflatten(1, (t, c))
