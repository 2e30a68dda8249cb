"""What a stranger reads with networks that anybody can install, and nothing of his own.

Publicly trained networks look at a few frames: is there a face and how large, which gender, whose
face, which parts of bodies. They never move. A logistic regression on what they say learns the
study's attributes. On raw clips that is a stranger with installed tools; on a release, rung A2, one
who does not adapt; and fitted on the release, rung A4, one who does.

The networks were trained on photographs of real people: of generated ones they say little. Faces
are found by the detector that deployment blurs faces with, so of that blur they see little, too.

Needs ``pip install 'velatura[attack]'``; ``"nudity"`` needs ``'velatura[attack-nudity]'``, whose
package is under the AGPL-3.0, unlike all others here. See ``_sensors.py`` for where each is from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from velatura.attackers._described import answers, described
from velatura.attackers._sensors import Sensor, sensors
from velatura.config import config
from velatura.layout import ClipSet, Labels
from velatura.training.batches import Config as Window
from velatura.training.players import prepare
from velatura.video.resize import resize

__all__ = ["Config", "fit", "logistic", "network", "pretrained"]


@config
class Config:
    networks: Annotated[tuple[Sensor, ...], Field(min_length=1)] = ("faces", "gender", "identity")
    """Whom to ask. Gender and identity are read off faces, so these are found in any case."""
    frames: Annotated[int, Field(ge=1, le=64)] = 3
    """Frames of a clip, evenly spread, over which answers are averaged."""
    size: Annotated[int, Field(ge=32, le=1080)] = 240
    """Shorter side to which smaller frames are enlarged, pixels. A face is found from about 8
    pixels on, and in a frame of 90 x 120 many have no more: enlarged twice or four times, a face
    was found in as many, and twice costs a quarter."""
    strengths: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (
        0.003, 0.03, 0.3, 3.0,
    )  # fmt: skip
    """Of the ridge penalty; the validation split chooses."""


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, 3, H, W) in [0, 1] to logits (B, outputs); all 0 until :func:`fit`.

    Raises:
        BadInput: a package that carries a network is not installed.
    """
    return Reader(Said(cfg), outputs, cfg.strengths)


def pretrained(cfg: Config) -> bool:
    """True: whom it asks was trained before, always."""
    return True


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
    """Ask the networks once about every video, and fit the last layer on what they say.

    In place of the fit by gradient, as :func:`velatura.attackers.knn.fit`; the loss on ``val``
    chooses the penalty. ``seed`` is not used, as nothing is drawn.
    """
    assert isinstance(network, Reader)
    prepare(network, fabric.device).eval()
    seen, asked = described(network.seen, train, val, window, fabric, progress)
    known, told = answers(train, labels).to(seen), answers(val, labels).to(seen)
    network.standardise(seen)
    best, standard = float("inf"), network.standard(asked)
    for strength in network.strengths:
        weight, bias = logistic(network.standard(seen), known, strength)
        loss = float(F.binary_cross_entropy_with_logits(linear(standard, weight, bias), told))
        if loss < best:
            best = loss
            network.weight, network.bias = weight, bias
    return network


def logistic(
    x: Float[Tensor, "n d"], y: Float[Tensor, "n k"], strength: float
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Logistic regression of each answer by itself; the minimum, which is the only one, of

        mean over n of BCE(w x + b, y)  +  strength / 2 * |w|^2

    Args:
        y: 0 or 1.
        strength: above 0.
    """
    x, y = x.detach().double(), y.double()
    theta = x.new_zeros(y.shape[1], x.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=500, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def cost() -> Tensor:
        optimizer.zero_grad()
        logits = x @ theta[:, :-1].T + theta[:, -1]
        each = F.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(0)
        total = each.sum() + strength / 2 * theta[:, :-1].square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        optimizer.step(cost)  # type: ignore[no-untyped-call]
    found = theta.detach().float()
    return found[:, :-1], found[:, -1]


def linear(
    x: Float[Tensor, "n d"], weight: Float[Tensor, "k d"], bias: Float[Tensor, " k"]
) -> Float[Tensor, "n k"]:
    """Logits. Where networks find nothing, clips are the same to the last bit, and so must their
    logits be: a product of matrices may sum a row in another order for where it stands."""
    return (x[:, None] * weight).sum(-1) + bias


class Said(nn.Module):
    """What the networks say of clips, averaged over some frames; there is nothing to learn."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.asked = sensors(cfg.networks)
        self.frames, self.size = cfg.frames, cfg.size
        self.width = sum(one.width for one in self.asked)

    def forward(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b d"]:
        t = clips.shape[1]
        keep = torch.linspace(0, t - 1, min(self.frames, t)).round().long()
        kept = clips[:, keep.to(clips.device)].float().clamp(0, 1).mul(255).round().byte()
        pictures = kept.permute(0, 1, 3, 4, 2).cpu().numpy()
        said = [np.mean([self.frame(picture) for picture in clip], 0) for clip in pictures]
        return torch.from_numpy(np.stack(said)).float().to(clips.device)

    def frame(self, picture: np.ndarray) -> Float[np.ndarray, " d"]:
        """Of one frame (H, W, 3), bytes."""
        scale = self.size / min(picture.shape[:2])
        if scale > 1:
            height, width = (round(scale * side) for side in picture.shape[:2])
            picture = resize(picture, (height, width), "bilinear")
        picture = np.ascontiguousarray(picture)
        return np.concatenate([one.of(picture) for one in self.asked])


class Reader(nn.Module):
    """A linear layer on features that never move, each standardised over the training split.

    Args:
        seen: clips to features (B, D), with ``width`` = D.
        outputs: K.
        strengths: of the penalty, to choose from.
    """

    def __init__(self, seen: nn.Module, outputs: int, strengths: tuple[float, ...]):
        super().__init__()
        self.seen, self.strengths = seen, strengths
        width = int(seen.width)  # type: ignore[arg-type]
        self.mean: Tensor
        self.deviation: Tensor
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.register_buffer("weight", torch.zeros(outputs, width))
        self.register_buffer("bias", torch.zeros(outputs))

    def standardise(self, features: Float[Tensor, "n d"]) -> None:
        """Take mean and deviation from these features."""
        self.mean, self.deviation = features.mean(0), features.std(0, correction=0)

    def standard(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Features in units of their deviation; one that never changed tells nothing."""
        told = (features - self.mean) / self.deviation.clamp_min(1e-4)
        return torch.where(self.deviation > 1e-4, told, torch.zeros_like(told))

    def forward(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b k"]:
        features = self.seen(clips)
        # Rounding to 16 bits would make ties of what is nearly alike.
        with torch.autocast(features.device.type, enabled=False):
            return linear(self.standard(features.float()), self.weight, self.bias)
