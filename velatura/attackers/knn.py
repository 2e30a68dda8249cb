"""Looks for the most similar clips whose answer it knows, and takes their vote: nothing is trained.

A network has to be led to what it learns by its gradient, which an anonymizer can make hard. This
one only has to see that two clips of the same people look alike.

The features are EfficientNet-lite0's on ImageNet where its wheel is installed, as of
``linear_probe``; otherwise pixels, averaged over the frames and to a picture of 16 x 16. They are
not equally strong: a study that is to be repeated elsewhere says which, in
``evaluation.networks.knn.features``.

Source: Cover and Hart, 1967, https://doi.org/10.1109/TIT.1967.1053964
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from velatura.attackers._described import answers, described
from velatura.config import config
from velatura.layout import ClipSet, Labels
from velatura.models import efficientnet_lite0
from velatura.training.batches import Config as Window
from velatura.training.players import prepare

__all__ = ["Config", "fit", "network", "pretrained"]

SIDE = 16  # of the averaged picture, pixels


@config
class Config:
    features: Literal["auto", "imagenet", "pixels"] = "auto"
    """What clips are compared by; ``auto``: ImageNet features where their wheel is installed."""
    frames: Annotated[int, Field(ge=1, le=64)] = 3
    """Frames of a clip, evenly spread, whose ImageNet features are averaged; pixels are averaged
    over all."""
    neighbours: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (
        5,
        15,
        45,
    )
    """How many may vote; the validation split chooses."""


def network(cfg: Config, outputs: int) -> nn.Module:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, outputs); all 0 until :func:`fit`."""
    seen = ImageNet(cfg.frames) if pretrained(cfg) else Pixels()
    return Neighbours(seen, outputs, cfg.neighbours)


def pretrained(cfg: Config) -> bool:
    """True where clips are compared by features that were learnt elsewhere."""
    if cfg.features == "auto":
        return find_spec(efficientnet_lite0.WHEEL) is not None
    return cfg.features == "imagenet"


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
    """Fill the memory with ``train``, and choose how many vote by the loss on ``val``.

    Where an attacker's file offers ``fit``, it is called in place of the fit by gradient,
    :func:`velatura.training.fit.fit`, which takes the same and, before ``window``, how long and how
    fast to learn. What comes back is scored alike, by :func:`velatura.training.fit.predict`. What
    the network remembered before, such as raw clips, is forgotten.

    Args:
        network: of this file's :func:`network`.
        labels: of actions, each class is an answer, there or not.
        seed: not used, as nothing is drawn.
        progress: called with (clips seen, clips in all).

    Returns:
        The network in evaluation mode.
    """
    assert isinstance(network, Neighbours)
    prepare(network, fabric.device).eval()
    seen, asked = described(network.seen, train, val, window, fabric, progress)
    told = answers(val, labels)
    network.remember(seen, answers(train, labels).to(seen))
    losses = {}
    for count in network.choices:
        network.count.fill_(count)
        logits = network.vote(asked)
        losses[count] = float(F.binary_cross_entropy_with_logits(logits, told.to(logits)))
    network.count.fill_(min(losses, key=lambda count: losses[count]))
    return network


class Pixels(nn.Module):
    """The colours of 16 x 16 places, averaged over the frames."""

    width = 3 * SIDE**2

    def forward(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b d"]:
        small = F.adaptive_avg_pool2d(clips.flatten(0, 1).float(), SIDE)
        return small.view(*clips.shape[:2], -1).mean(1)


class ImageNet(nn.Module):
    """Features of EfficientNet-lite0, averaged over some frames; they never move."""

    width = efficientnet_lite0.WIDTH

    def __init__(self, frames: int):
        super().__init__()
        self.frames = frames
        self.encoder = efficientnet_lite0.encoder(efficientnet_lite0.Config(frozen=True))

    def forward(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b d"]:
        t = clips.shape[1]
        keep = torch.linspace(0, t - 1, min(self.frames, t), device=clips.device).round().long()
        each = self.encoder(clips[:, keep].flatten(0, 1))
        return each.view(len(clips), len(keep), -1).mean(1)


class Neighbours(nn.Module):
    """A memory of described clips with their answers, and the vote of the nearest.

    Clips are alike by the cosine of the angle between their features, each standardised over the
    memory: what all clips share, such as a pattern painted over everyone, is taken away.

        logit = log((present + 1) / (absent + 1))        among the ``count`` nearest

    Args:
        seen: clips to features (B, D), with ``width`` = D.
        outputs: answers that each clip of the memory has.
        choices: how many may vote.
    """

    def __init__(self, seen: nn.Module, outputs: int, choices: Sequence[int]):
        super().__init__()
        self.seen, self.choices = seen, tuple(choices)
        width = int(seen.width)  # type: ignore[arg-type]
        self.memory: Tensor
        self.known: Tensor
        self.count: Tensor
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("memory", torch.zeros(0, width))
        self.register_buffer("known", torch.zeros(0, outputs))
        self.register_buffer("count", torch.tensor(self.choices[0]))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def remember(self, features: Float[Tensor, "m d"], known: Float[Tensor, "m k"]) -> None:
        """Clips and their answers, 0 or 1, in place of those remembered before."""
        self.mean, self.deviation = features.mean(0), features.std(0, correction=0)
        self.memory, self.known = self._direction(features), known

    def _direction(self, features: Tensor) -> Tensor:
        # A feature that never changes tells nothing: it is 0 everywhere, whatever divides it.
        return F.normalize((features - self.mean) / self.deviation.clamp_min(1e-4), dim=1)

    def vote(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Logits of described clips."""
        count = min(int(self.count), len(self.memory))
        alike = self._direction(features) @ self.memory.T
        nearest = alike.topk(count, dim=1).indices if count else alike.long()
        present = self.known[nearest].sum(1)
        return torch.log((present + 1) / (count - present + 1))

    def forward(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b k"]:
        features = self.seen(clips)
        # Rounding to 16 bits would make ties of what is nearly alike.
        with torch.autocast(features.device.type, enabled=False):
            return self.vote(features.float())

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *others: Any
    ) -> None:
        # A memory is as long as it is: that of the state takes the place of this one's.
        for name in ("memory", "known"):
            if (given := state_dict.get(prefix + name)) is not None:
                setattr(self, name, getattr(self, name).new_zeros(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *others)
