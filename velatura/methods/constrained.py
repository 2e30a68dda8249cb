"""Constrained: hide named attributes as far as the action stays readable. Ours.

The paper's self-supervised branch ends at chance while fresh attackers still read most
attributes, so this one is told what to hide, and the trade is a constraint, not a weight:

    minimise    mean over adversaries of  KL(prior || adversary's answer)
    subject to  cross-entropy of f_T <= utility_bound              (dual ascent on its multiplier)
    and         a frozen teacher's features stay within feature_bound        (hinge, fixed weight)
    and         the picture's RMS change stays within change_bound           (hinge, Eq. 4)

Players:

    f_A      anonymizer   (B, T, C, H, W) in [0, 1] to the same
    f_T      target       clips to action logits (B, n_actions)
    f_B      adversaries  several, of different families: clips to attribute logits (B, K)
    teacher  f_T as trained on raw clips; never moves

Sources: the bounded objective, Roy and Boddeti, https://arxiv.org/abs/1904.05514; sets of
adversaries and restarts, Wu et al., https://arxiv.org/abs/1906.05675; dual ascent on a
constraint, Rezende and Viola, https://arxiv.org/abs/1810.00597
"""

from __future__ import annotations

import copy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.losses import (
    cross_entropy,
    feature_hinge,
    prior_divergence,
    rms,
    rms_penalty,
    supervised,
)
from velatura.training.batches import Batch
from velatura.training.loop import Loop
from velatura.training.players import Players, frozen
from velatura.transforms import standardise

BUDGET = "adversaries"
TEACHER = True  # a frozen f_T, as it was on raw clips, that shows its features


@config
class Config:
    utility_bound: Annotated[float, Field(gt=0)] = 1.0
    """Cross-entropy of f_T that is acceptable, nats. The knob of the trade-off."""
    privacy_weight: Annotated[float, Field(ge=0)] = 8.0
    feature_weight: Annotated[float, Field(ge=0)] = 0.1
    feature_bound: Annotated[float, Field(ge=0)] = 0.5
    """Relative distance of the teacher's features that is free."""
    change_weight: Annotated[float, Field(ge=0)] = 20.0
    change_bound: Annotated[float, Field(ge=0)] = 0.3
    """RMS change of a clip that is free, intensities in [0, 1]: the picture stays a picture."""
    dual_rate: Annotated[float, Field(gt=0)] = 0.05
    """Step of the multiplier per unit of violation."""
    dual_limit: Annotated[float, Field(gt=0)] = 3.0
    adversaries: Annotated[tuple[str, ...], Field(min_length=1)] = ("frame_cnn", "frame_cnn")
    """Networks of the set; may repeat."""
    restart_every: Annotated[int, Field(ge=0)] = 50
    """Steps after which f_T and the next adversary of the set start anew; 0 never."""
    steps: Annotated[int, Field(ge=1)] = 300
    warm_up: Annotated[float, Field(ge=0, le=1)] = 0.15
    """First share of the steps, over which f_A's rate rises."""
    anneal: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Last share of the steps, over which f_A's rate falls to zero."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """Adam's two betas for f_A. Short ones: its gradient changes a thousandfold as adversaries
    find and lose the person, and a long memory of the large ones would stop it."""
    contrast_floor: Annotated[float, Field(gt=0)] = 2.0
    """Levels of 255. Adversaries see pixels stretched to full contrast down to here. Examiners
    go down to half a level; as a slope for f_A that explodes wherever it paints evenly."""
    lr_anonymizer: Annotated[float, Field(gt=0)] = 2e-3
    lr_target: Annotated[float, Field(gt=0)] = 1e-3
    lr_budget: Annotated[float, Field(gt=0)] = 1e-3


class Multiplier:
    """Dual ascent: grows while the constraint is violated, shrinks to zero while it is slack.

    mean <- 0.9 mean + 0.1 violation;   value <- clip(value + rate * mean, 0, limit)
    """

    def __init__(self, value: float, rate: float, limit: float):
        self.value, self.rate, self.limit, self.mean = value, rate, limit, 0.0

    def ascend(self, violation: float) -> None:
        """One step with the constraint's current excess (negative: slack)."""
        self.mean = 0.9 * self.mean + 0.1 * violation
        self.value = min(max(self.value + self.rate * self.mean, 0.0), self.limit)

    def state_dict(self) -> dict[str, float]:
        return {"value": self.value, "mean": self.mean}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.value, self.mean = state["value"], state["mean"]


def step_anonymizer(
    players: Players, batch: Batch, cfg: Config, multiplier: float
) -> tuple[dict[str, Tensor], Tensor]:
    """f_A learns; target, adversaries and teacher are frozen, but transparent to the gradient.

    Returns:
        The terms, and the clips as f_A released them.
    """
    teacher = players.teacher
    assert teacher is not None
    players.f_A.train()
    with frozen(players.f_T, players.f_B, teacher):
        released = players.f_A(batch.clips)
        target = cross_entropy(players.f_T(released), batch.actions)
        seen = standardise(released, cfg.contrast_floor)
        answers = [prior_divergence(f(seen), players.prevalence) for f in players.adversaries]
        privacy = torch.stack(answers).mean()
        loss = cfg.privacy_weight * privacy + multiplier * (target - cfg.utility_bound)
        terms = {"target": target.detach(), "privacy": privacy.detach()}
        if cfg.feature_weight:  # else the teacher, an eighth of a step, need not look
            with torch.no_grad():
                reference = teacher.features(batch.clips)  # type: ignore[operator]
            features = feature_hinge(teacher.features(released), reference, cfg.feature_bound)  # type: ignore[operator]
            loss = loss + cfg.feature_weight * features
            terms["features"] = features.detach()
    penalty = rms_penalty(batch.clips, released, cfg.change_bound)
    change = rms(batch.clips, released.detach())
    return {
        "loss": loss + cfg.change_weight * penalty,
        **terms,
        "penalty": penalty.detach(),
        "active": (change > cfg.change_bound).float().mean(),
        "multiplier": torch.tensor(multiplier),
        "rms": change.mean(),
    }, released


def step_adversaries(
    players: Players, batch: Batch, cfg: Config, released: Tensor
) -> dict[str, Tensor]:
    """f_T and the adversaries learn on what f_A released; f_A and the teacher are still."""
    released = released.detach()
    players.f_T.train()
    players.f_B.train()
    target = cross_entropy(players.f_T(released), batch.actions)
    seen = standardise(released, cfg.contrast_floor)
    told = torch.stack([supervised(f(seen), batch.attributes) for f in players.adversaries])
    return {
        "loss": target + told.sum(),
        "target": target.detach(),
        "adversary": told.min().detach(),
    }


def train(players: Players, cfg: Config, loop: Loop) -> None:
    """Both steps on each batch, one f_A call for both. ``players`` are moved in place."""
    f_A = torch.optim.Adam(players.f_A.parameters(), cfg.lr_anonymizer, (cfg.momentum, cfg.memory))
    both = torch.optim.Adam(
        [
            {"params": list(players.f_T.parameters()), "lr": cfg.lr_target},
            {"params": list(players.f_B.parameters()), "lr": cfg.lr_budget},
        ]
    )
    multiplier = Multiplier(1.0, cfg.dual_rate, cfg.dual_limit)
    fresh = copy.deepcopy(players.f_B).requires_grad_(False)  # what a restart returns to
    loop.keep(
        **players.modules(), fresh=fresh, optimizer_A=f_A, optimizer_TB=both, multiplier=multiplier
    )
    for step in loop.steps(cfg.steps):
        if cfg.restart_every and step and step % cfg.restart_every == 0:
            restart(players, fresh, both, step // cfg.restart_every - 1)
        batch = loop.batches.at(step)
        loop.rate(f_A, cfg.lr_anonymizer, cfg.steps, warm_up=cfg.warm_up, anneal=cfg.anneal)
        with loop.precision():
            terms, released = step_anonymizer(players, batch, cfg, multiplier.value)
        loop.update(f_A, terms, "anonymizer")
        joint = loop.fabric.all_reduce(terms["target"])  # one constraint, one multiplier, all ranks
        assert isinstance(joint, Tensor)
        multiplier.ascend(float(joint) - cfg.utility_bound)
        with loop.precision():
            terms = step_adversaries(players, batch, cfg, released)
        loop.update(both, terms, "adversaries")


def restart(
    players: Players, fresh: nn.Module, optimizer: torch.optim.Optimizer, turn: int
) -> None:
    """f_T, and one adversary of the set by turns, forget what they learnt against this f_A.

    f_A cannot win by leading one adversary into a corner: a newcomer does not know the way. Nor
    can it keep the action in a code that only the f_T it grew up with can read: whoever
    measures utility starts from raw video too.
    """
    assert players.teacher is not None
    members = players.adversaries
    index = turn % len(members)
    for network, start in (
        (players.f_T, players.teacher),
        (members[index], fresh.get_submodule(str(index))),
    ):
        network.load_state_dict(start.state_dict())
        for parameter in network.parameters():
            optimizer.state.pop(parameter, None)
