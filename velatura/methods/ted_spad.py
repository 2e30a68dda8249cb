"""TeD-SPAD: SPAct, and an f_T that must tell moments of one video apart.

Fioresi, Dave and Shah, 2023, https://arxiv.org/abs/2308.11072. The page is ``spact.py`` with a
triplet; compare them with ``diff``. Three players, and a projection that learns with f_T:

    f_A   anonymizer  (B, T, C, H, W) or (N, C, H, W) in [0, 1] to the same
    f_T   target      clips (B, T, C, H, W) to action logits (B, n_actions); shows its features
    head  projection  features, pooled (N, D), to embeddings (N, 128)
    f_B   budget      frames (N, C, H, W) to embeddings (N, D); self-supervised

The embedding of a clip is to be nearer to that of the same frames, augmented anew, than to that
of other frames of the same video. All three clips go through f_A; the action is read from the
first.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.errors import BadInput
from velatura.losses import cross_entropy, nt_xent, reconstruction, rms, triplet
from velatura.models._parts import pooled
from velatura.training.batches import Batch
from velatura.training.loop import Loop
from velatura.training.players import Players, frozen, prepare
from velatura.training.seed import reseed

BUDGET = "contrastive"
FEATURES = True  # the target has to show its features

Clips = Float[Tensor, "b t c h w"]
Again = tuple[Clips, Clips]  # of the batch's videos: the same frames, and other frames


@config
class Config:
    target_weight: Annotated[float, Field(ge=0)] = 0.7
    """Of L_T in f_A's loss, as the authors' code has it."""
    budget_weight: Annotated[float, Field(ge=0)] = 1.0
    triplet_weight: Annotated[float, Field(ge=0)] = 0.1
    """Of the triplet in L_T."""
    margin: Annotated[float, Field(gt=0)] = 1.0
    """By how much the other moment has to be further away, of a sphere of radius 1."""
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
    """Rates are those of ``penalty``; the authors' code has a tenth of them."""
    lr_identity: Annotated[float, Field(gt=0)] | None = None
    """f_A's rate in the steps of reconstruction, where it is another."""
    lr_target: Annotated[float, Field(gt=0)] = 1e-4
    """Of f_T and its projection."""
    lr_budget: Annotated[float, Field(gt=0)] = 1e-4

    def __post_init__(self) -> None:
        if self.identity_steps + self.steps == 0:
            raise BadInput("identity_steps and steps are both 0; set one of them to at least 1.")


class Head(nn.Module):
    """The projection of pooled features: 512 and 128 units with BatchNorm."""

    def __init__(self, width: int):
        super().__init__()
        # A bias before a BatchNorm is subtracted again.
        self.net = nn.Sequential(
            nn.Linear(width, 512, bias=False),
            nn.BatchNorm1d(512),
            nn.ReLU(),
            nn.Linear(512, 128, bias=False),
            nn.BatchNorm1d(128),
        )

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n 128"]:
        embedding: Tensor = self.net(features)
        return embedding


def step_identity(players: Players, batch: Batch) -> dict[str, Tensor]:
    """f_A learns to return its input; f_T and f_B are not asked."""
    players.f_A.train()
    return {"loss": reconstruction(batch.clips, players.f_A(batch.clips))}


def step_anonymizer(
    players: Players, head: nn.Module, batch: Batch, again: Again, cfg: Config
) -> tuple[dict[str, Tensor], tuple[Batch, Again]]:
    """Step 1: f_A learns; the others are frozen, but transparent to the gradient.

    Returns:
        The terms, and the batch and its videos' other clips as f_A released them.
    """
    players.f_A.train()
    with frozen(players.f_T, players.f_B, head):
        released, others = release(players, batch, again)
        target = cross_entropy(players.f_T(released.clips), batch.actions)
        apart = temporal(players, head, released.clips, others, cfg)
        first, second = players.f_B(torch.cat([released.first, released.second])).chunk(2)
        budget = nt_xent(first, second, cfg.temperature)
    change = rms(batch.clips, released.clips.detach())
    return {
        "loss": cfg.target_weight * (target + cfg.triplet_weight * apart)
        - cfg.budget_weight * budget,
        "target": target.detach(),
        "triplet": apart.detach(),
        "budget": budget.detach(),
        "rms": change.mean(),
    }, (released, others)


def step_adversaries(
    players: Players,
    head: nn.Module,
    batch: Batch,
    again: Again,
    cfg: Config,
    seen: tuple[Batch, Again] | None = None,
) -> dict[str, Tensor]:
    """Step 2: f_T, its projection and f_B learn on what f_A releases; f_A is still.

    Args:
        seen: all this as step 1 released it, to save asking f_A again.
    """
    if seen is None:
        with torch.no_grad(), frozen(players.f_A):
            seen = release(players, batch, again)
    released, (same, other) = seen
    players.f_T.train()
    players.f_B.train()
    head.train()
    clips, others = released.clips.detach(), (same.detach(), other.detach())
    target = cross_entropy(players.f_T(clips), batch.actions)
    apart = temporal(players, head, clips, others, cfg)
    views = torch.cat([released.first, released.second]).detach()
    first, second = players.f_B(views).chunk(2)
    budget = nt_xent(first, second, cfg.temperature)
    return {
        "loss": target + cfg.triplet_weight * apart + budget,
        "target": target.detach(),
        "triplet": apart.detach(),
        "budget": budget.detach(),
    }


def temporal(players: Players, head: nn.Module, clips: Clips, again: Again, cfg: Config) -> Tensor:
    """The triplet of f_T's features of three released clips of each video."""
    features = players.f_T.features(torch.cat([clips, *again]))[-1]  # type: ignore[operator]
    anchor, same, other = head(pooled(features)).chunk(3)
    return triplet(anchor, same, other, cfg.margin)


def release(players: Players, batch: Batch, again: Again) -> tuple[Batch, Again]:
    """All frames through f_A in one call: clips, both views, and the videos' other clips."""
    shape, (same, other) = batch.clips.shape, again
    frames = [batch.clips.flatten(0, 1), batch.first, batch.second]
    frames += [same.flatten(0, 1), other.flatten(0, 1)]
    released = players.f_A(torch.cat(frames)).split([len(f) for f in frames])
    clips, first, second, same, other = released
    seen = Batch(clips.view(shape), batch.actions, batch.attributes, first, second)
    return seen, (same.view(shape), other.view(shape))


def projection(players: Players, loop: Loop) -> nn.Module:
    """A fresh head for this f_T.

    Raises:
        BadInput: f_T does not show its features.
    """
    if not hasattr(players.f_T, "features"):
        raise BadInput("ted_spad needs a target with features(), such as clip_cnn; this has none.")
    clips = loop.batches.at(0).clips[:1]
    with torch.no_grad(), frozen(players.f_T):
        width = pooled(players.f_T.features(clips)[-1]).shape[1]  # type: ignore[operator]
    reseed(loop.seed, "head", "weights")
    return prepare(Head(width), clips.device)


def train(players: Players, cfg: Config, loop: Loop) -> None:
    """The game. ``players`` are moved in place."""
    head = projection(players, loop)
    f_A = torch.optim.Adam(players.f_A.parameters(), cfg.lr_anonymizer)
    both = torch.optim.Adam(
        [
            {"params": [*players.f_T.parameters(), *head.parameters()], "lr": cfg.lr_target},
            {"params": list(players.f_B.parameters()), "lr": cfg.lr_budget},
        ]
    )
    loop.keep(**players.modules(), head=head, optimizer_A=f_A, optimizer_TB=both)
    for step in loop.steps(cfg.identity_steps + cfg.steps):
        batch = loop.batches.at(step)
        seen = None
        early = step < cfg.identity_steps
        lr = cfg.lr_identity if early and cfg.lr_identity else cfg.lr_anonymizer
        loop.rate(f_A, lr, cfg.identity_steps + cfg.steps, anneal=cfg.anneal)
        if early:
            with loop.precision():
                terms = step_identity(players, batch)
            loop.update(f_A, terms, "identity")
            continue
        again = loop.batches.again(step)
        turn = (step - cfg.identity_steps) % 2
        if cfg.alternate == "both" or turn == 0:
            with loop.precision():
                terms, seen = step_anonymizer(players, head, batch, again, cfg)
            loop.update(f_A, terms, "anonymizer")
        if cfg.alternate == "both" or turn == 1:
            with loop.precision():
                terms = step_adversaries(players, head, batch, again, cfg, seen)
            loop.update(both, terms, "adversaries")
