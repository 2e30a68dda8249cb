"""MaSS: bounds in nats: how much may be left of each attribute, and how much of the action must.

Chen et al., 2022, https://arxiv.org/abs/2210.09904, and 2024, https://arxiv.org/abs/2405.14981.
Players:

    f_A      anonymizer   (B, T, C, H, W) or (N, C, H, W) in [0, 1] to the same
    f_T      target       head of what has to stay: clips to action logits (B, n_actions)
    f_B      adversaries  heads of what has to go: clips (B, T, C, H, W) to attribute logits (B, K)
    teacher  f_T as trained on raw clips; never moves

Step 1 moves f_A, which minimises

    w_S * sum over attributes of (v^2 + |v|),   v = min(CE - H(attribute) + m, 0)
    + w_U * (v^2 + |v|),                        v = max(CE - log(n_actions) + n, 0)
    + w_F * InfoNCE(teacher's features of the clip, those of what f_A made of it)

so that m nats of each attribute may be left, n of the action have to be, and of all that nobody
annotated as much as there is. Step 2 moves f_T and the adversaries, by cross-entropy.

Labels follow from the person, so that H is what a raw clip tells; the released program,
https://github.com/jpmorganchase/MaSS, does the same. There each attribute has a network of its own
(here one has all; of a set, the mean counts), the network behind InfoNCE is another one and learns
with f_A (here it is the teacher), and AdamW has a cosine schedule.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from velatura.config import config
from velatura.errors import BadInput
from velatura.losses import (
    attribute_errors,
    cross_entropy,
    info_nce,
    preservation,
    prior_entropy,
    reconstruction,
    rms,
    supervised,
    suppression,
)
from velatura.models._parts import pooled
from velatura.training.batches import Batch
from velatura.training.loop import Loop
from velatura.training.players import Players, frozen

BUDGET = "adversaries"
IMAGES = True  # the attributes may be those of the budget branch's images
TEACHER = True  # a frozen f_T, as it was on raw clips, that shows its features


@config
class Config:
    suppress_bound: Annotated[float, Field(ge=0)] = 0.0
    """m in the paper: nats of each attribute that may be left; at most log 2 says anything."""
    suppress_weight: Annotated[float, Field(ge=0)] = 1.0
    """All weights are 1 as released."""
    preserve_bound: Annotated[float, Field(ge=0)] | None = None
    """n in the paper: nats of the action that have to be left, log(n_actions) at most; all of them
    where it is absent."""
    preserve_weight: Annotated[float, Field(ge=0)] = 1.0
    feature_weight: Annotated[float, Field(ge=0)] = 1.0
    temperature: Annotated[float, Field(gt=0)] = 0.07
    adversaries: Annotated[tuple[str, ...], Field(min_length=1)] = ("frame_cnn",)
    """Networks of the set; may repeat."""
    alternate: Literal["batch", "both"] = "both"
    """Steps 1 and 2 on alternating batches, or both on each batch, as released."""
    identity_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of reconstruction before the game, for an f_A that does not start as the identity."""
    steps: Annotated[int, Field(ge=0)] = 1000
    """Of the game; without any, what is left is f_A as it was initialised."""
    warm_up: Annotated[float, Field(ge=0, le=1)] = 0.0
    """First share of the steps, over which f_A's rate rises: at a high rate Adam's first steps
    throw f_A into a corner that it does not leave."""
    anneal: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Last share of the steps, over which f_A's rate falls to zero."""
    lr_anonymizer: Annotated[float, Field(gt=0)] = 5e-5
    """All rates as released, where 1e-4 is scaled by the batch of 128 over 256."""
    lr_identity: Annotated[float, Field(gt=0)] | None = None
    """f_A's rate in the steps of reconstruction, where it is another."""
    lr_target: Annotated[float, Field(gt=0)] = 5e-5
    lr_budget: Annotated[float, Field(gt=0)] = 5e-5

    def __post_init__(self) -> None:
        if self.identity_steps + self.steps == 0:
            raise BadInput("identity_steps and steps are both 0; set one of them to at least 1.")


def step_identity(players: Players, batch: Batch) -> dict[str, Tensor]:
    """f_A learns to return its input; f_T and f_B are not asked."""
    players.f_A.train()
    return {"loss": reconstruction(batch.clips, players.f_A(batch.clips))}


def step_anonymizer(players: Players, batch: Batch, cfg: Config) -> tuple[dict[str, Tensor], Batch]:
    """Step 1: f_A learns; target, adversaries and teacher are frozen, but transparent.

    Returns:
        The terms, and the batch as f_A released it.
    """
    teacher = players.teacher
    assert teacher is not None
    players.f_A.train()
    with frozen(players.f_T, players.f_B, teacher):
        released = release(players, batch)
        logits = players.f_T(released.clips)
        target = cross_entropy(logits, batch.actions)
        seen, told = shown(players, released)
        there = prior_entropy(players.prevalence)
        suppressed = torch.stack(
            [
                suppression(attribute_errors(f(seen), told), there, cfg.suppress_bound).sum()
                for f in players.adversaries
            ]
        ).mean()
        with torch.no_grad():
            reference = pooled(teacher.features(batch.clips)[-1])  # type: ignore[operator]
        features = pooled(teacher.features(released.clips)[-1])  # type: ignore[operator]
    information = math.log(logits.shape[1])
    preserved = preservation(target, information, wanted(cfg, information))
    unnamed = info_nce(reference, features, cfg.temperature)
    change = rms(batch.clips, released.clips.detach())
    return {
        "loss": cfg.suppress_weight * suppressed
        + cfg.preserve_weight * preserved
        + cfg.feature_weight * unnamed,
        "target": target.detach(),
        "suppressed": suppressed.detach(),
        "preserved": preserved.detach(),
        "features": unnamed.detach(),
        "rms": change.mean(),
    }, released


def wanted(cfg: Config, information: float) -> float:
    """n, in nats.

    Raises:
        BadInput: the action does not carry as much.
    """
    bound = information if cfg.preserve_bound is None else cfg.preserve_bound
    if bound > information + 1e-6:
        raise BadInput(
            f"method.preserve_bound is {bound:g} nats, but to tell {math.exp(information):.0f} "
            f"actions apart takes {information:.3f}; set it to at most that, or leave it out."
        )
    return bound


def step_adversaries(
    players: Players, batch: Batch, cfg: Config, released: Batch | None = None
) -> dict[str, Tensor]:
    """Step 2: f_T and the adversaries learn on what f_A releases; f_A and teacher are still.

    Args:
        released: this batch as step 1 released it, to save asking f_A again.
    """
    if released is None:
        with torch.no_grad(), frozen(players.f_A):
            released = release(players, batch)
    players.f_T.train()
    players.f_B.train()
    target = cross_entropy(players.f_T(released.clips.detach()), batch.actions)
    seen, told = shown(players, released)
    errors = torch.stack([supervised(f(seen.detach()), told) for f in players.adversaries])
    return {
        "loss": target + errors.sum(),
        "target": target.detach(),
        "adversary": errors.min().detach(),
    }


def release(players: Players, batch: Batch) -> Batch:
    """Clips, and both views where adversaries look at them, through f_A in one call."""
    if players.bearer == "clips":
        return replace(batch, clips=players.f_A(batch.clips))
    frames = [batch.clips.flatten(0, 1), batch.first, batch.second]
    clips, first, second = players.f_A(torch.cat(frames)).split([len(f) for f in frames])
    return replace(batch, clips=clips.view(batch.clips.shape), first=first, second=second)


def shown(players: Players, released: Batch) -> tuple[Tensor, Tensor]:
    """What adversaries look at, (B, T, C, H, W), and the attributes that they are told, (B, K).

    The clips; or the images, each as a clip of its two views.
    """
    if players.bearer == "clips":
        return released.clips, released.attributes
    assert released.told is not None
    return torch.stack([released.first, released.second], 1), released.told


def check(cfg: Config, players: Players, actions: int, batch: int) -> None:
    """Refuse a bound that no action can meet, and a batch without a second clip for InfoNCE."""
    wanted(cfg, math.log(actions))
    if batch < 2:
        raise BadInput("mass tells clips of a batch apart; set batches.batch to at least 2.")


def train(players: Players, cfg: Config, loop: Loop) -> None:
    """The game. ``players`` are moved in place."""
    f_A = torch.optim.Adam(players.f_A.parameters(), cfg.lr_anonymizer)
    both = torch.optim.Adam(
        [
            {"params": list(players.f_T.parameters()), "lr": cfg.lr_target},
            {"params": list(players.f_B.parameters()), "lr": cfg.lr_budget},
        ]
    )
    loop.keep(**players.modules(), optimizer_A=f_A, optimizer_TB=both)
    for step in loop.steps(cfg.identity_steps + cfg.steps):
        batch = loop.batches.at(step)
        released = None
        early = step < cfg.identity_steps
        lr = cfg.lr_identity if early and cfg.lr_identity else cfg.lr_anonymizer
        loop.rate(f_A, lr, cfg.identity_steps + cfg.steps, warm_up=cfg.warm_up, anneal=cfg.anneal)
        if early:
            with loop.precision():
                terms = step_identity(players, batch)
            loop.update(f_A, terms, "identity")
            continue
        turn = (step - cfg.identity_steps) % 2
        if cfg.alternate == "both" or turn == 0:
            with loop.precision():
                terms, released = step_anonymizer(players, batch, cfg)
            loop.update(f_A, terms, "anonymizer")
        if cfg.alternate == "both" or turn == 1:
            with loop.precision():
                terms = step_adversaries(players, batch, cfg, released)
            loop.update(both, terms, "adversaries")
