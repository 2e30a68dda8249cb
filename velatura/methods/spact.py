"""SPAct: confuse a self-supervised privacy branch; nothing bounds the change.

Dave, Chen and Shah, 2022, https://arxiv.org/abs/2203.15205. The page is ``penalty.py`` without
the penalty; compare them with ``diff``. Three players:

    f_A  anonymizer   (B, T, C, H, W) or (N, C, H, W) in [0, 1] to the same
    f_T  target       clips (B, T, C, H, W) to action logits (B, n_actions)
    f_B  budget       frames (N, C, H, W) to embeddings (N, D); self-supervised
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from velatura.config import config
from velatura.errors import BadInput
from velatura.losses import cross_entropy, nt_xent, reconstruction, rms
from velatura.training.batches import Batch
from velatura.training.loop import Loop
from velatura.training.players import Players, frozen

BUDGET = "contrastive"


@config
class Config:
    budget_weight: Annotated[float, Field(ge=0)] = 1.0
    temperature: Annotated[float, Field(gt=0)] = 0.1
    alternate: Literal["batch", "both"] = "batch"
    """Steps 1 and 2 on alternating batches, as released, or both on each batch."""
    identity_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of reconstruction before the game, for an f_A that does not start as the identity."""
    steps: Annotated[int, Field(ge=0)] = 1000
    """Of the game; without any, what is left is f_A as it was initialised."""
    anneal: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Last share of the steps, over which f_A's rate falls to zero; the paper's is constant."""
    lr_anonymizer: Annotated[float, Field(gt=0)] = 4e-5
    """Rates are those of ``penalty``; the authors' code has 1e-4 for all three."""
    lr_identity: Annotated[float, Field(gt=0)] | None = None
    """f_A's rate in the steps of reconstruction, where it is another."""

    LATER: ClassVar[Mapping[str, Any]] = {"lr_identity": None}
    lr_target: Annotated[float, Field(gt=0)] = 1e-4
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
        first, second = players.f_B(torch.cat([released.first, released.second])).chunk(2)
        budget = nt_xent(first, second, cfg.temperature)
    change = rms(batch.clips, released.clips.detach())
    return {
        "loss": target - cfg.budget_weight * budget,
        "target": target.detach(),
        "budget": budget.detach(),
        "rms": change.mean(),
    }, released


def step_adversaries(
    players: Players, batch: Batch, cfg: Config, released: Batch | None = None
) -> dict[str, Tensor]:
    """Step 2: f_T and f_B learn on what f_A releases; f_A is still.

    Args:
        released: this batch as step 1 released it, to save asking f_A again.
    """
    if released is None:
        with torch.no_grad(), frozen(players.f_A):
            released = release(players, batch)
    players.f_T.train()
    players.f_B.train()
    target = cross_entropy(players.f_T(released.clips.detach()), batch.actions)
    views = torch.cat([released.first, released.second]).detach()
    first, second = players.f_B(views).chunk(2)
    budget = nt_xent(first, second, cfg.temperature)
    return {"loss": target + budget, "target": target.detach(), "budget": budget.detach()}


def release(players: Players, batch: Batch) -> Batch:
    """All frames through f_A in one call: clips and both views."""
    frames = [batch.clips.flatten(0, 1), batch.first, batch.second]
    clips, first, second = players.f_A(torch.cat(frames)).split([len(f) for f in frames])
    return Batch(clips.view(batch.clips.shape), batch.actions, batch.attributes, first, second)


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
        loop.rate(f_A, lr, cfg.identity_steps + cfg.steps, anneal=cfg.anneal)
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
