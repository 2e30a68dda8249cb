"""The networks of the game, and what freezing means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

__all__ = ["Players", "frozen", "prepare"]


@dataclass
class Players:
    """Who trains against whom.

    Attributes:
        f_A: the anonymizer, (B, T, C, H, W) or (N, C, H, W) in [0, 1] to the same.
        f_T: the target network, clips to action logits (B, n_actions).
        f_B: the privacy branch. Self-supervised: frames (N, C, H, W) to embeddings (N, D).
            Supervised: a ``ModuleList`` of adversaries, clips to attribute logits (B, K).
        teacher: f_T as it was on raw clips; never moves. For methods that want one.
        prevalence: (K,) share of training clips, or images, that carry each attribute.
        bearer: what carries the attributes that adversaries learn: the clips, or the images of the
            budget branch.
    """

    f_A: nn.Module
    f_T: nn.Module
    f_B: nn.Module
    teacher: nn.Module | None = None
    prevalence: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    bearer: Literal["clips", "images"] = "clips"

    @property
    def adversaries(self) -> list[nn.Module]:
        """The members of a supervised f_B."""
        assert isinstance(self.f_B, nn.ModuleList)
        return list(self.f_B)

    def modules(self) -> dict[str, nn.Module]:
        """The networks by name; the teacher only where there is one."""
        found = {"f_A": self.f_A, "f_T": self.f_T, "f_B": self.f_B, "teacher": self.teacher}
        return {name: module for name, module in found.items() if module is not None}


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Freeze networks but keep them transparent: the gradient passes through, none is kept.

    Weights get no gradient (which also saves computing it), and evaluation mode keeps
    BatchNorm's running statistics still. Both are as before afterwards.
    """
    parameters = [p for m in modules for p in m.parameters()]
    before = [p.requires_grad for p in parameters]
    modes = [(m, m.training) for top in modules for m in top.modules()]
    for p in parameters:
        p.requires_grad_(False)
    for m in modules:
        m.eval()
    try:
        yield
    finally:
        for p, required in zip(parameters, before, strict=True):
            p.requires_grad_(required)
        for m, mode in modes:
            m.training = mode


def prepare(module: nn.Module, device: torch.device | str) -> nn.Module:
    """To the device, with convolution weights in the layout that the hardware is fastest in."""
    module = module.to(device)
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            flat = isinstance(part, nn.Conv2d)
            layout = torch.channels_last if flat else torch.channels_last_3d
            part.weight.data = part.weight.data.contiguous(memory_format=layout)
    return module
