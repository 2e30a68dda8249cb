"""STPrivacy: drop what the action does not need, then repaint the rest against adversaries.

Li et al., 2023, https://arxiv.org/abs/2301.03046. Three players:

    f_A  anonymizer   (B, T, C, H, W) in [0, 1] to the same, tubelet by tubelet: ``tubelet_vit``
    f_T  target       clips (B, T, C, H, W) to action logits (B, n_actions)
    f_B  adversaries  clips to attribute logits (B, K); told the attributes

From the paper and its released core: first the sparsifier learns, all of f_A, which tubelets the
action can do without; then its decisions stand, with all that they stand on, and the last quarter
of f_A's blocks and its head learn to hide the attributes in the tubelets that are left.

The training code is not published. So these are ours: the weights of the objectives; the
sparsifier's, which is DynamicViT's, https://arxiv.org/abs/2106.02034; that decisions are made as
for good while the rest of f_A learns; that f_T and f_B read pixels, not tokens, and learn on each
batch of both stages; Adam at one rate for all of f_A; and steps of reconstruction before, as f_A
starts from nothing where the paper's starts from ImageNet.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from velatura.config import config
from velatura.errors import BadInput
from velatura.losses import cross_entropy, kept_error, reconstruction, rms, supervised
from velatura.training.batches import Batch
from velatura.training.loop import Loop
from velatura.training.players import Players, frozen

BUDGET = "adversaries"


@config
class Config:
    privacy_weight: Annotated[float, Field(ge=0)] = 1.0
    """Alpha: price of a nat that an adversary knows in nats of the action."""
    ratio_weight: Annotated[float, Field(ge=0)] = 2.0
    """Of the squared error of the share of tubelets that is kept; DynamicViT's."""
    adversaries: Annotated[tuple[str, ...], Field(min_length=1)] = ("frame_cnn",)
    """Networks of the set; may repeat."""
    identity_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of reconstruction of what is kept, before all else."""
    sparsify_steps: Annotated[int, Field(ge=0)] = 300
    """Steps of the sparsifier."""
    steps: Annotated[int, Field(ge=0)] = 300
    """Of the game that follows."""
    anneal: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Last share of the game, over which f_A's rate falls to zero."""
    lr_anonymizer: Annotated[float, Field(gt=0)] = 1e-3
    lr_target: Annotated[float, Field(gt=0)] = 1e-3
    lr_budget: Annotated[float, Field(gt=0)] = 1e-3

    def __post_init__(self) -> None:
        if self.identity_steps + self.sparsify_steps + self.steps == 0:
            raise BadInput("There are no steps at all; set steps to at least 1.")


def step_identity(players: Players, batch: Batch) -> dict[str, Tensor]:
    """f_A learns to return what it keeps; f_T and f_B are not asked."""
    players.f_A.train()
    look = players.f_A(batch.clips, decisions=True)
    return {"loss": reconstruction(batch.clips * look.shown, look.released)}


def step_sparsifier(
    players: Players, batch: Batch, cfg: Config
) -> tuple[dict[str, Tensor], Tensor]:
    """Stage 1: all of f_A learns to keep what the action needs; f_T is frozen, but transparent.

    Returns:
        The terms, and the clips as f_A released them.
    """
    players.f_A.train()
    with frozen(players.f_T, players.f_B):
        look = players.f_A(batch.clips, decisions=True)
        target = cross_entropy(players.f_T(look.released), batch.actions)
    error = kept_error(look.kept, players.f_A.cfg.ratio)  # type: ignore[union-attr, arg-type]
    return {
        "loss": target + cfg.ratio_weight * error,
        "target": target.detach(),
        "ratio": error.detach(),
        "shown": look.shown.mean(),
    }, look.released


def step_anonymizer(
    players: Players, batch: Batch, cfg: Config
) -> tuple[dict[str, Tensor], Tensor]:
    """Stage 2: the end of f_A learns; its decisions and the others are frozen, but transparent.

    Returns:
        The terms, and the clips as f_A released them.
    """
    players.f_A.train()
    with frozen(players.f_T, players.f_B, *players.f_A.sparsifier()):  # type: ignore[operator]
        released = players.f_A(batch.clips)
        target = cross_entropy(players.f_T(released), batch.actions)
        errors = [supervised(f(released), batch.attributes) for f in players.adversaries]
        privacy = torch.stack(errors).mean()
    return {
        "loss": target - cfg.privacy_weight * privacy,
        "target": target.detach(),
        "privacy": privacy.detach(),
        "rms": rms(batch.clips, released.detach()).mean(),
    }, released


def step_adversaries(players: Players, batch: Batch, released: Tensor) -> dict[str, Tensor]:
    """f_T and the adversaries learn on what f_A released; f_A is still."""
    released = released.detach()
    players.f_T.train()
    players.f_B.train()
    target = cross_entropy(players.f_T(released), batch.actions)
    told = torch.stack([supervised(f(released), batch.attributes) for f in players.adversaries])
    return {
        "loss": target + told.sum(),
        "target": target.detach(),
        "adversary": told.min().detach(),
    }


def check(cfg: Config, players: Players, actions: int, batch: int) -> None:
    """Refuse an f_A that does not decide anything."""
    if not hasattr(players.f_A, "sparsifier"):
        raise BadInput("stprivacy needs an anonymizer that drops tubelets: tubelet_vit.")


def train(players: Players, cfg: Config, loop: Loop) -> None:
    """Both stages. ``players`` are moved in place."""
    everything = list(players.f_A.parameters())
    late = [p for module in players.f_A.painter() for p in module.parameters()]  # type: ignore[operator]
    sparsifier = torch.optim.Adam(everything, cfg.lr_anonymizer)
    painter = torch.optim.Adam(late, cfg.lr_anonymizer)
    both = torch.optim.Adam(
        [
            {"params": list(players.f_T.parameters()), "lr": cfg.lr_target},
            {"params": list(players.f_B.parameters()), "lr": cfg.lr_budget},
        ]
    )
    loop.keep(**players.modules(), optimizer_S=sparsifier, optimizer_A=painter, optimizer_TB=both)
    game = cfg.identity_steps + cfg.sparsify_steps
    for step in loop.steps(game + cfg.steps):
        batch = loop.batches.at(step)
        if step < cfg.identity_steps:
            with loop.precision():
                terms = step_identity(players, batch)
            loop.update(sparsifier, terms, "identity")
            continue
        if step < game:
            with loop.precision():
                terms, released = step_sparsifier(players, batch, cfg)
            loop.update(sparsifier, terms, "sparsifier")
        else:
            # The rate of the whole run's end: its share of all steps is that of the game's.
            share = cfg.anneal * cfg.steps / (game + cfg.steps)
            loop.rate(painter, cfg.lr_anonymizer, game + cfg.steps, anneal=share)
            with loop.precision():
                terms, released = step_anonymizer(players, batch, cfg)
            loop.update(painter, terms, "anonymizer")
        with loop.precision():
            terms = step_adversaries(players, batch, released)
        loop.update(both, terms, "adversaries")
