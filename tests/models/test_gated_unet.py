"""The mix of picture and paint, against the formula written plainly."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.models.gated_unet import _Mix


def plainly(logits: Tensor, frames: Tensor, bias: float) -> Tensor:
    def share(z: Tensor) -> Tensor:
        return torch.sigmoid(z / (1 + z.abs() / 6))

    paint, gate = share(logits[:, :3]), share(logits[:, 3:] + bias)
    return gate * frames + (1 - gate) * paint


def given(n: int, double: bool = False) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(n)
    kind = torch.float64 if double else torch.float32
    logits = 5 * torch.randn(n, 6, 4, 6, generator=draw, dtype=kind)
    frames = torch.rand(n, 3, 4, 6, generator=draw, dtype=kind)
    # As the U-Net is handed them: channels last.
    frames = frames.contiguous(memory_format=torch.channels_last)
    return logits.requires_grad_(), frames.requires_grad_()


def test_value_and_slopes_are_those_of_the_formula():
    for n in (1, 8, 19):  # one block, a whole one, and two with a rest
        logits, frames = given(n, double=True)
        weights = torch.randn(n, 3, 4, 6, dtype=torch.float64)
        one = _Mix.apply(logits, frames, 3.0)
        other = plainly(logits, frames, 3.0)
        torch.testing.assert_close(one, other)
        for mine, theirs in zip(
            torch.autograd.grad((one * weights).sum(), (logits, frames)),
            torch.autograd.grad((other * weights).sum(), (logits, frames)),
            strict=True,
        ):
            torch.testing.assert_close(mine, theirs)


def test_by_hand():
    """A gate logit of 3 under a bias of -3 is half open; a paint logit of 6 bends to 3."""
    logits = torch.tensor([6.0] * 3 + [3.0] * 3).view(1, 6, 1, 1)
    out = _Mix.apply(logits, torch.full((1, 3, 1, 1), 0.25), -3.0)
    torch.testing.assert_close(out, torch.full((1, 3, 1, 1), 0.5 * 0.25 + 0.5 * 0.95257413))


def test_the_slope_survives_far_out():
    logits = torch.full((1, 6, 2, 2), -200.0, requires_grad=True)
    _Mix.apply(logits, torch.ones(1, 3, 2, 2), 0.0).sum().backward()
    assert logits.grad is not None
    assert (logits.grad != 0).all()


def test_white_stays_white_exactly():
    logits, _ = given(16)
    with torch.no_grad():
        paint = logits.clone()
        paint[:, :3] = 1e6
        out = _Mix.apply(paint, torch.ones(16, 3, 4, 6), 3.0)
    assert float(out.max()) <= 1
    assert float(out.min()) >= 0
