"""Penalty, released: what the authors' published script computes, to audit it. Do not deploy.

The page is ``penalty.py`` with the script's defects as switches, each on by default; compare
them with ``diff``. Without them it is ``penalty.py`` with ``per = "batch"``, step for step.
Aslam and Nasrollahi, 2025, https://arxiv.org/abs/2504.14301. Three players:

    f_A  anonymizer   (B, T, C, H, W) or (N, C, H, W) in [0, 1] to the same
    f_T  target       clips (B, T, C, H, W) to action logits (B, n_actions)
    f_B  budget       frames (N, C, H, W) to embeddings (N, D); self-supervised

``penalty_gradient = false``: Eq. 4 enters the loss as a number. The log shows it, f_A's gradient
is that of SPAct for every bound and weight.

``scrambled = true``: a clip is turned to (B, C, T, H, W) and read as frames (-1, 3, H, W), so
that f_A is shown three moments of one colour as one picture; behind it the clip is put together
again. Where 3 does not divide T, pictures mix colours as well: of 16 frames the sixth is
(R15, G0, G1). The budget branch's stills are spared, so that utility and privacy are measured
on two functions.

``bgr = true``: clips, not stills, have their colours reversed before f_A and f_T. What is
released is a file, and that is RGB again.

A fourth defect is no part of training: the script's F1 counts a logit of more than .5, not a
probability, as a yes. It belongs to the measurement: ``metrics.f1``.

Three things of the script are not repeated. f_A's output is unbounded there, and no file holds
that. It asks f_A three times, for the clips and each view, so that BatchNorm sees them apart; here
it is one call. And its f_A learns to return stills, which nobody scrambles; here it learns it of
clips, on their scrambled way.
"""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.errors import BadInput
from velatura.losses import cross_entropy, nt_xent, reconstruction, rms, rms_penalty
from velatura.training.batches import Batch
from velatura.training.loop import Loop
from velatura.training.players import Players, frozen

BUDGET = "contrastive"


@config
class Config:
    penalty_gradient: bool = False
    """Whether f_A feels the penalty."""
    scrambled: bool = True
    """Time and colour of clips are mixed on their way into f_A."""
    bgr: bool = True
    """Clips reach f_A and f_T with their colours reversed."""
    bound: Annotated[float, Field(ge=0)] = 0.5
    """B of Eq. 4: RMS change of the whole batch that is free, intensities in [0, 1]."""
    penalty_weight: Annotated[float, Field(ge=0)] = 1.0
    """Lambda of the paper."""
    budget_weight: Annotated[float, Field(ge=0)] = 1.0
    temperature: Annotated[float, Field(gt=0)] = 0.1
    identity_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of reconstruction before the game, for an f_A that does not start as the identity."""
    steps: Annotated[int, Field(ge=0)] = 1000
    """Of the game, steps 1 and 2 on alternating batches; without any, what is left is f_A as it
    was initialised."""
    anneal: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Last share of the steps, over which f_A's rate falls to zero; the script's is constant."""
    lr_anonymizer: Annotated[float, Field(gt=0)] = 4e-5
    lr_identity: Annotated[float, Field(gt=0)] | None = None
    """f_A's rate in the steps of reconstruction, where it is another."""
    lr_target: Annotated[float, Field(gt=0)] = 1e-4
    lr_budget: Annotated[float, Field(gt=0)] = 1e-4

    def __post_init__(self) -> None:
        if self.identity_steps + self.steps == 0:
            raise BadInput("identity_steps and steps are both 0; set one of them to at least 1.")


def around(f_A: nn.Module, cfg: Config) -> nn.Module:
    """f_A as the script asks it, in training and for good."""
    return Around(f_A, cfg) if cfg.scrambled or cfg.bgr else f_A


class Around(nn.Module):
    """Clips (B, T, C, H, W) on the script's way through f_A; frames (N, C, H, W) straight.

    Scrambled, a frame's output depends on its neighbours, on its place in the clip and on the
    clip's length. So a video that is released in one piece and in several differs, but where
    the pieces, and the video, are multiples of ``window`` long.
    """

    def __init__(self, net: nn.Module, cfg: Config):
        super().__init__()
        self.net, self.cfg = net, cfg
        self.window = 3 if cfg.scrambled else 1  # frames that go through f_A as one picture

    def forward(self, clips: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n c h w"]:
        if clips.ndim == 4 or clips.shape[1] == 1:  # stills, also as videos of one frame
            out: Tensor = self.net(clips)
            return out
        return restored(self.net(shown(clips, self.cfg)), clips.shape, self.cfg)


def shown(clips: Float[Tensor, "b t c h w"], cfg: Config) -> Float[Tensor, "n c h w"]:
    """A clip as f_A is shown it: as many pictures as it has frames."""
    c, h, w = clips.shape[2:]
    clips = coloured(clips, cfg)
    return (clips.transpose(1, 2) if cfg.scrambled else clips).reshape(-1, c, h, w)


def restored(
    frames: Float[Tensor, "n c h w"], shape: tuple[int, ...], cfg: Config
) -> Float[Tensor, "b t c h w"]:
    """The inverse of :func:`shown`, to clips of ``shape``."""
    b, t, c, h, w = shape
    clips = frames.reshape(b, c, t, h, w).transpose(1, 2) if cfg.scrambled else frames
    return coloured(clips.reshape(shape), cfg)


def coloured(clips: Float[Tensor, "b t c h w"], cfg: Config) -> Float[Tensor, "b t c h w"]:
    """RGB to the order of f_A and f_T, or back."""
    return clips.flip(2) if cfg.bgr else clips


def step_identity(players: Players, batch: Batch, cfg: Config) -> dict[str, Tensor]:
    """f_A learns to return its input (Eq. 5); f_T and f_B are not asked."""
    players.f_A.train()
    released = restored(players.f_A(shown(batch.clips, cfg)), batch.clips.shape, cfg)
    return {"loss": reconstruction(batch.clips, released)}


def step_anonymizer(players: Players, batch: Batch, cfg: Config) -> tuple[dict[str, Tensor], Batch]:
    """Step 1 (Eq. 3): f_A learns; f_T and f_B are frozen, but transparent to the gradient.

    Returns:
        The terms, and the batch as f_A released it.
    """
    players.f_A.train()
    with frozen(players.f_T, players.f_B):
        released = release(players, batch, cfg)
        target = cross_entropy(players.f_T(coloured(released.clips, cfg)), batch.actions)
        first, second = players.f_B(torch.cat([released.first, released.second])).chunk(2)
        budget = nt_xent(first, second, cfg.temperature)
    penalty = rms_penalty(batch.clips, released.clips, cfg.bound, per="batch")
    change = rms(batch.clips, released.clips.detach(), per="batch")
    felt = penalty if cfg.penalty_gradient else penalty.detach()
    return {
        "loss": target - cfg.budget_weight * budget + cfg.penalty_weight * felt,
        "target": target.detach(),
        "budget": budget.detach(),
        "penalty": penalty.detach(),
        "rms": change.mean(),
        "active": (change > cfg.bound).float().mean(),
    }, released


def step_adversaries(players: Players, batch: Batch, cfg: Config) -> dict[str, Tensor]:
    """Step 2: f_T and f_B learn on what f_A releases; f_A is still."""
    with torch.no_grad(), frozen(players.f_A):
        released = release(players, batch, cfg)
    players.f_T.train()
    players.f_B.train()
    target = cross_entropy(players.f_T(coloured(released.clips, cfg)), batch.actions)
    views = torch.cat([released.first, released.second])
    first, second = players.f_B(views).chunk(2)
    budget = nt_xent(first, second, cfg.temperature)
    return {"loss": target + budget, "target": target.detach(), "budget": budget.detach()}


def release(players: Players, batch: Batch, cfg: Config) -> Batch:
    """All through f_A in one call: clips as the script shows them, and both views."""
    frames = [shown(batch.clips, cfg), batch.first, batch.second]
    clips, first, second = players.f_A(torch.cat(frames)).split([len(f) for f in frames])
    clips = restored(clips, batch.clips.shape, cfg)
    return Batch(clips, batch.actions, batch.attributes, first, second)


def train(players: Players, cfg: Config, loop: Loop) -> None:
    """The script's loop. ``players`` are moved in place."""
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
        early = step < cfg.identity_steps
        lr = cfg.lr_identity if early and cfg.lr_identity else cfg.lr_anonymizer
        loop.rate(f_A, lr, cfg.identity_steps + cfg.steps, anneal=cfg.anneal)
        if early:
            with loop.precision():
                terms = step_identity(players, batch, cfg)
            loop.update(f_A, terms, "identity")
            continue
        turn = (step - cfg.identity_steps) % 2
        if turn == 0:
            with loop.precision():
                terms, _ = step_anonymizer(players, batch, cfg)
            loop.update(f_A, terms, "anonymizer")
        if turn == 1:
            with loop.precision():
                terms = step_adversaries(players, batch, cfg)
            loop.update(both, terms, "adversaries")
