"""Supervised fits: a network learns actions or attributes of clips. One function for all.

It trains the raw networks that a method starts from, the fresh targets that measure utility
and the fresh attackers that measure leakage. The weights kept are those of the epoch that
was best on the validation split, looked at from half-way on: before, the rate is too high for
an epoch to be the best. The test split is never looked at here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.errors import BadInput, Failure
from velatura.layout import ClipSet, Labels
from velatura.training import windows
from velatura.training.batches import Config as Window
from velatura.training.players import prepare
from velatura.training.seed import generator, reseed

__all__ = ["Config", "cost", "fit", "predict"]


@config
class Config:
    """How long and how fast to learn."""

    epochs: Annotated[int, Field(ge=0)] = 4
    """With none, the network stays as it is given."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """The schedule's peak."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    """AdamW's; at 0 it is Adam."""
    batch: Annotated[int, Field(ge=2)] = 32
    light: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Brightness and contrast augmentation."""
    schedule: Literal["one cycle", "cosine", "plateau"] = "one cycle"
    """See :func:`_shape`."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Label smoothing of actions."""

    LATER: ClassVar[Mapping[str, Any]] = {"schedule": "one cycle", "smoothing": 0.05}


def fit(
    network: nn.Module,
    train: ClipSet,
    val: ClipSet,
    labels: Labels,
    cfg: Config,
    window: Window,
    seed: int,
    fabric: Fabric,
    progress: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """Train ``network`` on ``train``; return it with the weights of its best epoch on ``val``.

    Args:
        network: clips (B, T, C, H, W) in [0, 1] to logits (B, A) or (B, K).
        labels: learn actions (cross-entropy) or attributes (binary cross-entropy).
        progress: called with (steps done, steps in all).

    Raises:
        Failure: the loss is not finite.
    """
    reseed(seed, "fit")
    window = windows.of(train, window)
    windows.check(train, window)
    network = prepare(network, fabric.device)
    if not cfg.epochs:
        return network.eval()
    size = min(cfg.batch, len(train))
    per_epoch = len(train) // size
    total = cfg.epochs * per_epoch
    optimizer = torch.optim.AdamW(
        network.parameters(), cfg.lr, weight_decay=cfg.weight_decay, fused=True
    )
    lowest, drops = float("inf"), 0  # of the training loss; of the rate, on a plateau
    best, weights = float("inf"), copy.deepcopy(network.state_dict())
    for epoch in range(cfg.epochs):
        network.train()
        order = torch.randperm(len(train), generator=generator(seed, "order", epoch)).numpy()
        losses = 0.0
        for i in range(per_epoch):
            step = epoch * per_epoch + i
            items = order[i * size : (i + 1) * size]
            stored = windows.random(train, items, window, generator(seed, "starts", step))
            draw = generator(seed, "augment", step)
            clips = windows.varied(stored, window, draw, cfg.light).to(fabric.device)
            with fabric.autocast():
                logits = network(clips)
            answers = _answers(train, labels, items).to(fabric.device)
            loss = _loss(logits, answers, labels, cfg.smoothing)
            losses += loss.item()
            if not torch.isfinite(loss):
                raise Failure(
                    f"Fit on {train.name}, step {step}: the loss is {loss.item()}; lower its lr."
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for group in optimizer.param_groups:
                group["lr"] = cfg.lr * _shape(cfg.schedule, step / total) * 0.2**drops
            optimizer.step()
            if progress:
                progress(step + 1, total)
        if losses >= lowest and cfg.schedule == "plateau" and epoch + 1 > RISE * cfg.epochs:
            drops += 1
        lowest = min(lowest, losses)
        if epoch + 1 < cfg.epochs / 2:
            continue
        score = cost(network, val, labels, cfg, window, fabric)
        if score < best:
            best, weights = score, copy.deepcopy(network.state_dict())
    if not math.isfinite(best):
        raise Failure(f"Fit on {train.name}: no epoch has a finite loss on {val.name}; lower lr.")
    network.load_state_dict(weights)
    return network.eval()


def cost(
    network: nn.Module,
    data: ClipSet,
    labels: Labels,
    cfg: Config,
    window: Window,
    fabric: Fabric,
) -> float:
    """The loss on a split, one window of each video; what an epoch is chosen by."""
    scores = torch.from_numpy(predict(network, data, labels, window, fabric, quick=True))
    told = _answers(data, labels, np.arange(len(data)))
    return float(_loss(scores, told, labels, cfg.smoothing))


@torch.no_grad()
def predict(
    network: nn.Module,
    data: ClipSet,
    labels: Labels,
    window: Window,
    fabric: Fabric,
    batch: int = 64,
    quick: bool = False,
    mirror: bool = True,
) -> Float[np.ndarray, "n k"]:
    """Logits of every video: of the centre of its windows, and of their mirror images.

    Logits are averaged over a window and its mirror image, probabilities over the
    ``window.starts`` windows of a video.

    Args:
        labels: actions give a softmax, attributes a sigmoid each.
        quick: one window, the middle one, and no mirror image.
        mirror: look at mirror images.

    Returns:
        Logits; with more than one window the logarithm, or for attributes the log odds, of the
        mean probability.
    """
    was_training, window = network.training, windows.of(data, window)
    windows.check(data, window)
    network.eval()
    out = []
    for start in range(0, len(data), batch):
        items = np.arange(start, min(start + batch, len(data)))
        seen = []
        for stored in windows.even(data, items, window, 1 if quick else window.starts):
            clips = windows.central(stored, window).to(fabric.device)
            with fabric.autocast():
                scores = network(clips).float()
                if mirror and not quick:
                    scores = (scores + network(clips.flip(-1)).float()) / 2
            seen.append(scores)
        out.append(seen[0] if len(seen) == 1 else _mean_probability(torch.stack(seen), labels))
    network.train(was_training)
    found: np.ndarray = torch.cat(out).cpu().numpy()
    return found


def _mean_probability(logits: Float[Tensor, "v n k"], labels: Labels) -> Float[Tensor, "n k"]:
    """Over windows; as logits again, so that one rule reads all scores."""
    if labels == "actions":
        return logits.double().softmax(-1).mean(0).log().float()
    return logits.double().sigmoid().mean(0).logit(eps=1e-9).float()


def check_labels(data: ClipSet, labels: Labels) -> None:
    """Refuse data from which nothing can be learnt.

    Raises:
        BadInput: one action only, or an attribute that is always or never present.
    """
    if labels == "actions" and len(np.unique(data.actions)) < 2:
        raise BadInput(f"{data.name} has one action only; utility needs at least two.")
    if labels == "attributes":
        for name, share in zip(data.attribute_names, data.attributes.mean(0), strict=True):
            if share in (0, 1):
                what = "no positives" if share == 0 else "no negatives"
                raise BadInput(
                    f"The attribute {name!r} has {what} in {data.name}: no attacker can be "
                    "measured on it; leave it out or add clips."
                )


RISE = 0.05  # of the epochs: 5 of 100


def _shape(schedule: str, progress: float) -> float:
    """Share of the peak rate at a share of the steps.

    ``"one cycle"``: a linear rise over the first quarter, then a cosine to zero.
    Source: Smith and Topin, 2018, https://arxiv.org/abs/1708.07120

    ``"cosine"``: the same with a rise over the first twentieth. ``"plateau"``: that rise, then
    constant; the caller divides it by five after an epoch whose training loss is no lower than
    every one before. Source: Aslam and Nasrollahi, 2025, section 4.2 (the plateau), and TeD-SPAD's
    code, 2023 (the cosine), https://arxiv.org/abs/2504.14301, https://arxiv.org/abs/2308.11072
    """
    rise, low = (0.25, 0.05) if schedule == "one cycle" else (RISE, 0.01)
    if progress < rise:
        return low + (1 - low) * progress / rise
    if schedule == "plateau":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise)))


def _answers(data: ClipSet, labels: Labels, items: np.ndarray) -> Tensor:
    if labels == "actions":
        return torch.from_numpy(data.actions[items])
    return torch.from_numpy(data.attributes[items]).float()


def _loss(logits: Tensor, answers: Tensor, labels: Labels, smoothing: float) -> Tensor:
    if labels == "actions":
        return F.cross_entropy(logits.float(), answers, label_smoothing=smoothing)
    return F.binary_cross_entropy_with_logits(logits.float(), answers)
