"""What the protocols share: a fresh network, fitted on a release, scored on its test split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import build, config
from velatura.errors import BadInput
from velatura.layout import ClipSet, Frames, Labels, Splits
from velatura.training import fit
from velatura.training.batches import Config as Window
from velatura.training.loop import Fabric
from velatura.training.seed import reseed

__all__ = ["Config", "Examination", "examine"]


START = 99  # in place of a seed: the examiner that learns raw clips before it sees a release
Seed = Annotated[int, Field(ge=0, lt=START)]


@config
class Config:
    """How a release is examined."""

    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("clip_cnn",)
    """Networks that learn the action: utility."""
    attackers: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "frame_cnn", "clip_cnn", "patch_mlp",
    )  # fmt: skip
    """Networks that learn the attributes: leakage."""
    networks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of these networks by name, such as the weights that one starts from."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1)
    """One fresh attacker per architecture and seed."""
    target_seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1)
    """One fresh target per architecture and seed."""
    start: Literal["raw", "scratch"] = "raw"
    """Where an examiner starts: trained on raw clips by itself, as an attacker with footage of
    his own would, or with random weights. Either way it shares nothing with training."""
    standardise: bool = True
    """Examiners see each pixel with its mean over the release taken away and its contrast
    stretched, as an attacker with many clips would prepare them."""
    start_epochs: Annotated[int, Field(ge=1)] = 12
    """Epochs on raw clips before, where ``start`` is ``"raw"``."""
    epochs: Annotated[int, Field(ge=1)] = 8
    """Epochs on the release. Too few make any anonymizer look good: from 2 to 8, an attacker of
    generated people reads up to twice as much (docs/ladder-people.md)."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    batch: Annotated[int, Field(ge=2)] = 32
    fits: dict[Literal["targets", "attackers"], dict[str, Any]] = Field(default_factory=dict)
    """What targets, or attackers, do otherwise: keys of :class:`velatura.training.fit.Config`."""
    mirror: bool = True
    """A test window counts with its mirror image."""
    replicates: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap replicates of the intervals."""
    scratch: tuple[str, ...] = ()
    """Attackers that start from random weights, whatever ``start`` says, and learn for
    ``start_epochs``: rung A3."""
    rates: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    """Every examiner learns at each of these multiples of its ``lr``; the best one on the released
    validation split is kept."""
    inversion: dict[str, Any] | None = None
    """Settings of :class:`velatura.protocols.inversion.Config`: an attacker who undoes the
    anonymizer first, rung A5. Without the section, there is none."""
    identity: dict[str, Any] | None = None
    """Settings of :class:`velatura.protocols.identity.Config`: can people be found again."""
    curve: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Shares of the training clips with which the first attacker is fitted once more, at the usual
    epochs; above 1, of clips of more people, and once more with as many times the epochs."""
    codec: Literal["", "h264"] = ""
    """What a release goes through before anybody examines it."""
    crf: Annotated[int, Field(ge=0, le=51)] = 23
    """How coarsely the codec writes; 0 is without loss."""
    also: tuple[Literal["h264"], ...] = ()
    """Codecs after which every row of a study is examined once more, as a row of its own at
    ``crf``: ``blur_h264`` beside ``blur``. In a resolved study, these rows are written out."""

    LATER: ClassVar[Mapping[str, Any]] = {
        "fits": {}, "mirror": True, "scratch": (), "rates": (1.0,), "inversion": None,
        "identity": None, "curve": (), "codec": "", "crf": 23,
        "also": (),
    }  # fmt: skip

    def __post_init__(self) -> None:
        lists = ("targets", "attackers", "seeds", "target_seeds", "scratch", "rates", "curve")
        for key in (*lists, "also"):
            given = getattr(self, key)
            if len(set(given)) < len(given):
                raise BadInput(f"evaluation.{key} names one twice: {list(given)}.")
        if self.inversion is not None and self.start != "raw":
            raise BadInput(
                "evaluation.inversion: who undoes the anonymizer reads what comes of it with "
                "networks trained on raw video; set evaluation.start to 'raw'."
            )
        if self.codec and self.also:
            raise BadInput(
                "evaluation.also: every row goes through evaluation.codec already; leave one of "
                "the two out."
            )
        for labels in ("actions", "attributes"):
            if self.learning(labels).epochs < 1:
                raise BadInput("evaluation.fits: an examiner learns for at least one epoch.")

    def learning(self, labels: Labels) -> fit.Config:
        """How an examiner learns from a release."""
        who: Literal["targets", "attackers"] = "targets" if labels == "actions" else "attackers"
        common = {"epochs": self.epochs, "lr": self.lr, "batch": self.batch}
        return build(fit.Config, {**common, **self.fits.get(who, {})}, f"evaluation.fits.{who}")


class Examination:
    """A fitted examiner: its weights and its scores on the test split."""

    def __init__(self, weights: dict[str, Tensor], scores: np.ndarray):
        self.weights, self.scores = weights, scores


Learn = Callable[..., nn.Module]  # as :func:`velatura.attackers.knn.fit`


def examine(
    released: Splits,
    labels: Labels,
    build: Callable[[int], nn.Module],
    start: dict[str, Tensor] | None,
    settings: fit.Config,
    cfg: Config,
    window: Window,
    seed: int,
    fabric: Fabric,
    progress: Callable[[int, int], None] | None = None,
    learn: Learn | None = None,
    always: bool = False,
) -> Examination:
    """Fit one fresh network on the training split of a release.

    The epoch, and the rate where there are several, are chosen on the validation split. The test
    split is scored once, at the end.

    Args:
        released: what the anonymizer lets out, with the true labels.
        labels: ``"actions"`` measures utility, ``"attributes"`` leakage.
        build: number of outputs to a network with fresh weights.
        start: weights of an examiner trained on raw clips, or None.
        settings: how it learns.
        learn: how a network without a gradient learns; None: by :func:`fit.fit`.
        always: it is fitted also where every training item shows the same. Otherwise nobody is
            asked then, and all scores are 0.

    Returns:
        Scores (N_test, outputs): logits, higher means more likely.
    """
    outputs = len(released.train.label_names(labels))
    rates = (1.0,) if learn else cfg.rates  # who has no gradient has no rate
    lowest, best = float("inf"), None
    for number, rate in enumerate(rates):
        reseed("examiner", labels, seed)
        network = build(outputs)
        if start is not None:
            network.load_state_dict(start)
        if not always and all_alike(released.train):
            # Nothing tells items apart, so nothing can be learnt: every score is the same.
            return Examination(network.state_dict(), np.zeros((len(released.test), outputs)))

        def told(done: int, total: int, before: int = number) -> None:
            if progress:
                progress(before * total + done, len(rates) * total)

        parts = (released.train, released.val)
        if learn:
            network = learn(network, *parts, labels, window, 10_000 + seed, fabric, told)
        else:
            at_rate = replace(settings, lr=rate * settings.lr)
            network = fit.fit(network, *parts, labels, at_rate, window, 10_000 + seed, fabric, told)
        if len(rates) == 1:
            best = network
            break
        cost = fit.cost(network, released.val, labels, settings, window, fabric)
        if best is None or cost < lowest:
            lowest, best = cost, network
    assert best is not None  # there is at least one rate
    scores = fit.predict(best, released.test, labels, window, fabric, mirror=cfg.mirror)
    return Examination(best.state_dict(), scores)


class Statistics(NamedTuple):
    """What an attacker with many released clips knows of every pixel.

    Attributes:
        mean, deviation: (C, H, W) float32, in levels of 255, over frames.
    """

    mean: np.ndarray
    deviation: np.ndarray


def statistics(data: ClipSet, most: int = 256) -> Statistics:
    """Per-pixel mean and deviation over frames, from at most ``most`` videos."""
    total, square = (np.zeros(data.frames.shape[1:]) for _ in range(2))  # exact for bytes
    count = 0
    for item in range(0, len(data), -(-len(data) // most)):
        x = data.video(item).astype(np.float64)
        total += x.sum(0)
        square += (x * x).sum(0)
        count += len(x)
    mean = total / count
    # Half a level is rounding, not signal.
    deviation = np.sqrt(np.maximum(square / count - mean**2, 0) + 0.25)
    return Statistics(mean.astype(np.float32), deviation.astype(np.float32))


def standardise(frames: np.ndarray, known: Statistics) -> np.ndarray:
    """Subtract what all clips share at each pixel and stretch the rest; uint8 to uint8.

    An anonymizer that paints one fixed pattern over everyone and leaves the person in faint
    traces fools a network that is handed the picture as it is. The first thing an attacker
    does is this. 3 deviations to either side fill the range.
    """
    z = frames.astype(np.float32)
    z -= known.mean
    z *= 42.5 / known.deviation
    z += 127.5
    np.round(z, out=z)
    np.clip(z, 0, 255, out=z)
    return z.astype(np.uint8)


class Standardised:
    """A release's frames as an examiner prepares them, on reading; see :func:`standardise`."""

    def __init__(self, frames: Frames, known: Statistics):
        self.frames, self.known, self.shape = frames, known, frames.shape

    def __getitem__(self, numbers: Any) -> np.ndarray:
        return standardise(self.frames[numbers], self.known)


def all_alike(data: ClipSet) -> bool:
    """True if every video shows the same bytes for as long as it lasts, as a constant does."""
    first = data.video(int(data.lengths.argmax()))
    return all(
        np.array_equal(data.video(item), first[: data.lengths[item]]) for item in range(len(data))
    )


def asked(
    network: nn.Module, data: ClipSet, labels: Labels, window: Window, fabric: Fabric, mirror: bool
) -> Float[np.ndarray, "n k"]:
    """What a network that learnt elsewhere says of every video; see :func:`fit.predict`.

    Where all videos show the same bytes it says the same of all: rounding, which depends on who
    else is in a batch, would put them in an order.
    """
    scores = fit.predict(network, data, labels, window, fabric, mirror=mirror)
    if all_alike(data):
        scores[:] = scores[0]
    return scores


def groups_of(data: ClipSet) -> int:
    """How many people or source films the items come from."""
    return len(np.unique(data.groups))
