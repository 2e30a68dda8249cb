"""How large a network is and what one forward costs, counted without making it.

PyTorch's fake tensors have shapes and no numbers, so that all networks together take seconds.
Operations count as torchvision and most papers print them: a multiplication and the
addition behind it are one, and only convolutions and matrix products count.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from velatura.config import fields
from velatura.models._parts import Native

__all__ = ["Size", "native", "roles", "size"]


class Size(NamedTuple):
    """What counts.

    Attributes:
        parameters: weights that a forward uses; of them with the published head.
        unused: weights that are there and that no gradient reaches.
        operations: of one forward of one frame or clip.
    """

    parameters: int
    unused: int
    operations: int


def roles(module: ModuleType) -> list[str]:
    """What a file of this room offers."""
    return [role for role in ("anonymizer", "classifier", "encoder") if hasattr(module, role)]


def native(module: ModuleType) -> Native:
    """What a network was made for; the generated people's clips where its file does not say."""
    said: Native = getattr(module, "NATIVE", Native(side=48, frames=8, classes=10))
    return said


def size(module: ModuleType) -> Size:
    """Count a network at what it was made for, with the defaults of its Config and no weights."""
    at, played = native(module), roles(module)
    cfg = module.Config(**({"weights": ""} if "weights" in fields(module.Config) else {}))
    network: nn.Module
    frame = not (at.classes and "classifier" in played)
    with torch.device("meta"):  # nothing is drawn
        if frame:
            role = "anonymizer" if "anonymizer" in played else "encoder"
            network = getattr(module, role)(cfg)
        else:
            network = module.classifier(cfg, at.classes)
    shape = (at.frames, 3, at.side, at.side) if frame else (1, at.frames, 3, at.side, at.side)
    try:
        with torch.device("meta"):
            return _counted(network, shape)
    except RuntimeError:  # it asks what its device can do: fake tensors answer as a CPU's, slowly
        with FakeTensorMode(allow_non_fake_inputs=True):
            return _counted(network.to_empty(device="cpu"), shape)


def _counted(network: nn.Module, shape: tuple[int, ...]) -> Size:
    """One forward, and a backward to see which weights it reaches."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = network.eval()(torch.zeros(shape))
    if out.requires_grad:
        out.float().sum().backward()
    used = {True: 0, False: 0}
    for weight in network.parameters():
        used[weight.grad is not None or not out.requires_grad] += weight.numel()
    return Size(used[True], used[False], counter.get_total_flops() // 2)
