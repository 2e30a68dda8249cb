"""BDQ: nothing but quantised motion leaves, and what of it is told by two players.

Kumawat and Nagahara, 2022, https://arxiv.org/abs/2208.02459. Three players:

    f_A  anonymizer   (B, T, C, H, W) in [0, 1] to the same; the paper's is ``models/bdq.py``
    f_T  target       clips (B, T, C, H, W) to action logits (B, n_actions)
    f_B  adversaries  clips to attribute logits (B, K); told the attributes

From the paper: step 1 moves f_A and f_T together, towards the action and towards an f_B that
knows nothing: cross-entropy minus alpha times the entropy of f_B's answer. Step 2 moves f_B,
by cross-entropy, on what f_A releases now. Both on each batch; all rates fall with a cosine.
Alpha is 2, 1 and 8 for its three data sets, from memory; the released code's is 2.

Ours: the attributes are several, each present or not, so the entropy is the mean of theirs and
f_B learns by binary cross-entropy; there may be several f_B, whose entropies are averaged; Adam
where the paper has SGD; and in step 2 f_A releases as it does for good, in hard steps.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from velatura.config import config
from velatura.losses import cross_entropy, entropy, rms, supervised
from velatura.training.batches import Batch
from velatura.training.loop import Loop
from velatura.training.players import Players, frozen

BUDGET = "adversaries"


@config
class Config:
    entropy_weight: Annotated[float, Field(ge=0)] = 2.0
    """Alpha of the paper: price of a nat of certainty in nats of the action."""
    adversaries: Annotated[tuple[str, ...], Field(min_length=1)] = ("frame_cnn",)
    """Networks of the set; may repeat. The paper's is one, of single frames."""
    joint: bool = True
    """f_T moves with f_A in step 1, as in the paper; otherwise with f_B in step 2."""
    steps: Annotated[int, Field(ge=1)] = 300
    lr_anonymizer: Annotated[float, Field(gt=0)] = 1e-2
    """Of a few numbers that are about 1; the paper's encoder has f_T's."""
    lr_target: Annotated[float, Field(gt=0)] = 1e-3
    lr_budget: Annotated[float, Field(gt=0)] = 1e-3


def step_anonymizer(players: Players, batch: Batch, cfg: Config) -> dict[str, Tensor]:
    """Step 1: f_A learns, and f_T with it; the adversaries are frozen, but transparent."""
    players.f_A.train()
    if cfg.joint:
        players.f_T.train()
    with frozen(players.f_B, *([] if cfg.joint else [players.f_T])):
        released = players.f_A(batch.clips)
        target = cross_entropy(players.f_T(released), batch.actions)
        unsure = torch.stack([entropy(f(released)) for f in players.adversaries]).mean()
    change = rms(batch.clips, released.detach())
    return {
        "loss": target - cfg.entropy_weight * unsure,
        "target": target.detach(),
        "entropy": unsure.detach(),
        "rms": change.mean(),
    }


def step_adversaries(players: Players, batch: Batch, cfg: Config) -> dict[str, Tensor]:
    """Step 2: the adversaries learn on what f_A releases, and f_T where it has not yet."""
    with torch.no_grad(), frozen(players.f_A):
        released = players.f_A(batch.clips)
    players.f_B.train()
    told = torch.stack([supervised(f(released), batch.attributes) for f in players.adversaries])
    terms = {"adversary": told.min().detach()}
    if cfg.joint:
        return {"loss": told.sum(), **terms}
    players.f_T.train()
    target = cross_entropy(players.f_T(released), batch.actions)
    return {"loss": target + told.sum(), "target": target.detach(), **terms}


def train(players: Players, cfg: Config, loop: Loop) -> None:
    """Both steps on each batch. ``players`` are moved in place."""
    rates = {"f_A": cfg.lr_anonymizer, "f_T": cfg.lr_target, "f_B": cfg.lr_budget}

    def adam(*names: str) -> torch.optim.Optimizer:
        modules = players.modules()
        return torch.optim.Adam(
            [
                {"params": list(modules[n].parameters()), "lr": rates[n], "top": rates[n]}
                for n in names
            ]
        )

    one, two = (adam("f_A", "f_T"), adam("f_B")) if cfg.joint else (adam("f_A"), adam("f_T", "f_B"))
    loop.keep(**players.modules(), optimizer_1=one, optimizer_2=two)
    for step in loop.steps(cfg.steps):
        for group in [*one.param_groups, *two.param_groups]:
            group["lr"] = group["top"] * (1 + math.cos(math.pi * step / cfg.steps)) / 2
        batch = loop.batches.at(step)
        with loop.precision():
            terms = step_anonymizer(players, batch, cfg)
        loop.update(one, terms, "anonymizer")
        with loop.precision():
            terms = step_adversaries(players, batch, cfg)
        loop.update(two, terms, "adversaries")
