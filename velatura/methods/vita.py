"""VITA: attributes are named, and f_A makes the surest of several adversaries unsure.

Wu, Wang, Wang, Jin and Wang, 2018 and 2020, https://arxiv.org/abs/1906.05675. Three players:

    f_A  anonymizer   (B, T, C, H, W) or (N, C, H, W) in [0, 1] to the same
    f_T  target       clips (B, T, C, H, W) to action logits (B, n_actions)
    f_B  ensemble     M networks, each clips (B, T, C, H, W) to attribute logits (B, K)

Step 1 moves f_A. What it minimises is the ``form``:

    entropy         L_T + gamma * max over members of -H(answers)
    cross_entropy   L_T - gamma * mean over members of BCE(answers, truth)    gradient reversal
    k_beam          L_T - gamma * min over members of BCE(answers, truth)     the best member
    ones            L_T + gamma * mean over clips of max over members of BCE(answers, 1)

Step 2 moves f_T and every member on what f_A releases. Members may start anew while f_A waits.

The released program, https://github.com/VITA-Group/Privacy-AdversarialLearning, differs: f_T is
trained until it is right on 70 % of the validation clips, and moves f_A with it (``joint``); the
surest member is chosen for each clip, not for the batch; K-Beam chooses on the batch before, and
moves f_A without L_T; where images bear the attributes, f_A's part is still computed on clips.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from velatura import ranks
from velatura.config import config
from velatura.errors import BadInput
from velatura.losses import cross_entropy, entropy, reconstruction, rms, supervised
from velatura.training.batches import Batch
from velatura.training.loop import Loop
from velatura.training.players import Players, frozen

BUDGET = "adversaries"
IMAGES = True  # the attributes may be those of the budget branch's images


@config
class Config:
    form: Literal["entropy", "cross_entropy", "k_beam", "ones"] = "entropy"
    """``ones`` is for audit: the released program calls the target uniform and fills it with
    ones, which teaches f_A to show everybody with everything."""
    gamma: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the ensemble's part, as released."""
    adversaries: Annotated[tuple[str, ...], Field(min_length=1)] = ("frame_cnn",)
    """Networks of the ensemble, M in the paper; may repeat."""
    adversary_steps: Annotated[int, Field(ge=1)] = 1
    """Steps of the ensemble to one of f_A, each on a batch of its own; 5 as released."""
    target_steps: Annotated[int, Field(ge=1)] = 1
    """The same of f_T."""
    joint: bool = False
    """f_A follows the target loss in f_T's steps too, at f_T's rate, as released."""
    restart_every: Annotated[int, Field(ge=0)] = 0
    """Steps after which all members start anew; 0 never. Released: off, and 200 where on."""
    restart_steps: Annotated[int, Field(ge=0)] = 200
    """Steps that they then learn in while f_A and f_T are still; on top of ``steps``."""
    restart_from: Literal["random", "start"] = "random"
    """Random weights, as the paper writes, or those that the game began with, as released."""
    alternate: Literal["batch", "both"] = "batch"
    """Steps 1 and 2 on batches of their own, as released, or both on one batch."""
    identity_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of reconstruction before the game, for an f_A that does not start as the identity."""
    steps: Annotated[int, Field(ge=0)] = 1000
    """Batches of the game; without any, what is left is f_A as it was initialised."""
    warm_up: Annotated[float, Field(ge=0, le=1)] = 0.0
    """First share of the steps, over which f_A's rate rises: at a high rate Adam's first steps
    throw f_A into a corner that it does not leave."""
    anneal: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Last share of the steps, over which f_A's rate falls to zero; the paper's is constant."""
    lr_anonymizer: Annotated[float, Field(gt=0)] = 1e-4
    """This and the two below as released."""
    lr_identity: Annotated[float, Field(gt=0)] | None = None
    """f_A's rate in the steps of reconstruction, where it is another."""
    lr_target: Annotated[float, Field(gt=0)] = 1e-5
    lr_budget: Annotated[float, Field(gt=0)] = 1e-4

    def __post_init__(self) -> None:
        if self.identity_steps + self.steps == 0:
            raise BadInput("identity_steps and steps are both 0; set one of them to at least 1.")


def step_identity(players: Players, batch: Batch) -> dict[str, Tensor]:
    """f_A learns to return its input; f_T and f_B are not asked."""
    players.f_A.train()
    return {"loss": reconstruction(batch.clips, players.f_A(batch.clips))}


def step_anonymizer(players: Players, batch: Batch, cfg: Config) -> tuple[dict[str, Tensor], Batch]:
    """Step 1: f_A learns; f_T and f_B are frozen, but transparent to the gradient.

    Returns:
        The terms, and the batch as f_A released it.
    """
    players.f_A.train()
    with frozen(players.f_T, players.f_B):
        released = release(players, batch)
        target = cross_entropy(players.f_T(released.clips), batch.actions)
        seen, told = shown(players, released)
        if cfg.form == "ones":
            seen = released.clips
        budget = leakage([f(seen) for f in players.adversaries], told, cfg.form)
    change = rms(batch.clips, released.clips.detach())
    return {
        "loss": target + cfg.gamma * budget,
        "target": target.detach(),
        "budget": budget.detach(),
        "rms": change.mean(),
    }, released


def leakage(answers: list[Tensor], told: Tensor, form: str) -> Tensor:
    """The ensemble's part of what f_A minimises, in nats.

    Args:
        answers: M times (B, K) logits.
        told: (B, K) the truth; entropy and ones do not look at it.
    """
    if form == "ones":  # the largest for each clip; the other forms choose one member for all
        return torch.stack([F.softplus(-a.float()).mean(1) for a in answers]).amax(0).mean()
    if form == "entropy":
        return ranks.mean(torch.stack([-entropy(a) for a in answers])).max(0).values
    errors = torch.stack([supervised(a, told) for a in answers])
    return -(ranks.mean(errors).min(0).values if form == "k_beam" else errors.mean())


def step_adversaries(
    players: Players,
    batch: Batch,
    cfg: Config,
    released: Batch | None = None,
    *,
    target: bool = True,
    ensemble: bool = True,
) -> dict[str, Tensor]:
    """Step 2: f_T and all members learn on what f_A releases; f_A is still, unless ``joint``.

    Args:
        released: this batch as step 1 released it, to save asking f_A again.
        target, ensemble: whose turn it is.
    """
    joint = cfg.joint and target
    if joint:
        players.f_A.train()
        released = release(players, batch)  # again: step 1 has moved f_A
    elif released is None:
        with torch.no_grad(), frozen(players.f_A):
            released = release(players, batch)
    parts: dict[str, Tensor] = {}
    if target:
        players.f_T.train()
        clips = released.clips if joint else released.clips.detach()
        parts["target"] = cross_entropy(players.f_T(clips), batch.actions)
    if ensemble:
        players.f_B.train()
        seen, told = shown(players, released)
        errors = torch.stack([supervised(f(seen.detach()), told) for f in players.adversaries])
        parts["budget"] = errors.sum()
    terms = {name: value.detach() for name, value in parts.items()}
    if ensemble:
        terms["adversary"] = errors.min().detach()
    return {"loss": torch.stack(list(parts.values())).sum(), **terms}


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


class Turn(NamedTuple):
    """Who moves on a batch of the game, and whether members start anew before."""

    anonymizer: bool
    target: bool
    ensemble: bool
    restart: bool = False


def turn(step: int, cfg: Config) -> Turn:
    """Whose turn a batch is; ``step`` counts all batches since the game began."""
    restart = False
    if cfg.restart_every:
        period = cfg.restart_every + cfg.restart_steps
        rounds, place = divmod(step + cfg.restart_steps, period)  # the first has no restart
        restart = rounds > 0 and place == 0
        if place < cfg.restart_steps:
            return Turn(False, False, True, restart)
        step = rounds * cfg.restart_every + place - cfg.restart_steps
    own = int(cfg.alternate == "batch")
    place = step % (own + max(cfg.target_steps, cfg.adversary_steps))
    after = place - own
    return Turn(
        place == 0, 0 <= after < cfg.target_steps, 0 <= after < cfg.adversary_steps, restart
    )


def check(cfg: Config, players: Players, actions: int, batch: int) -> None:
    """Refuse adversaries that cannot start anew."""
    if cfg.restart_every and cfg.restart_from == "random":
        check_random(players.f_B)


def train(players: Players, cfg: Config, loop: Loop) -> None:
    """The game. ``players`` are moved in place."""
    f_A = torch.optim.Adam(players.f_A.parameters(), cfg.lr_anonymizer)
    both = torch.optim.Adam(
        [
            {"params": list(players.f_T.parameters()), "lr": cfg.lr_target},
            {"params": list(players.f_B.parameters()), "lr": cfg.lr_budget},
        ]
    )
    if cfg.joint:
        both.add_param_group({"params": list(players.f_A.parameters()), "lr": cfg.lr_target})
    fresh = copy.deepcopy(players.f_B).requires_grad_(False)  # what a restart may return to
    loop.keep(**players.modules(), fresh=fresh, optimizer_A=f_A, optimizer_TB=both)
    restarts = max(cfg.steps - 1, 0) // cfg.restart_every if cfg.restart_every else 0
    total = cfg.identity_steps + cfg.steps + restarts * cfg.restart_steps
    for step in loop.steps(total):
        batch = loop.batches.at(step)
        released = None
        early = step < cfg.identity_steps
        lr = cfg.lr_identity if early and cfg.lr_identity else cfg.lr_anonymizer
        loop.rate(f_A, lr, total, warm_up=cfg.warm_up, anneal=cfg.anneal)
        if early:
            with loop.precision():
                terms = step_identity(players, batch)
            loop.update(f_A, terms, "identity")
            continue
        now = turn(step - cfg.identity_steps, cfg)
        if now.restart:
            restart(players.f_B, fresh if cfg.restart_from == "start" else None, both)
        if now.anonymizer:
            with loop.precision():
                terms, released = step_anonymizer(players, batch, cfg)
            loop.update(f_A, terms, "anonymizer")
        if now.target or now.ensemble:
            with loop.precision():
                terms = step_adversaries(
                    players, batch, cfg, released, target=now.target, ensemble=now.ensemble
                )
            loop.update(both, terms, "adversaries")


def restart(f_B: nn.Module, fresh: nn.Module | None, optimizer: torch.optim.Optimizer) -> None:
    """All members forget what they learnt against this f_A, and the optimiser what it knew of them.

    Args:
        fresh: what they return to; None for random weights.
    """
    if fresh is not None:
        f_B.load_state_dict(fresh.state_dict())
    else:
        for part in f_B.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()  # type: ignore[operator]
    for parameter in f_B.parameters():
        optimizer.state.pop(parameter, None)


def check_random(f_B: nn.Module) -> None:
    """Refuse a network of which a part cannot be given random weights again.

    Raises:
        BadInput: names the part.
    """
    for part in f_B.modules():
        own = next(part.parameters(recurse=False), None)
        if own is not None and not hasattr(part, "reset_parameters"):
            raise BadInput(
                f"An adversary's {type(part).__name__} cannot be given random weights again; "
                "set method.restart_from to 'start', or take another network."
            )
