"""What the processes of a distributed run compute together, and can be differentiated.

Every rank computes a loss, and the loop averages gradients over ranks after ``backward``. With
these two a loss that looks at more than its own clips still has the joint batch's gradient,
provided that ranks hold equal shares. On one process both return what they were given.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["gather", "mean"]


def gather(rows: Tensor) -> Tensor:
    """Rows of all ranks, in rank order; each rank's slope comes back to its own rows."""
    return rows if alone() else torch.as_tensor(_Gather.apply(rows))


def mean(value: Tensor) -> Tensor:
    """Mean over ranks of one value each, any shape."""
    return value if alone() else torch.as_tensor(_Mean.apply(value))


def alone() -> bool:
    """True if this process is the whole run."""
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


class _Gather(torch.autograd.Function):
    """Every rank computes the same joint loss. Slopes are summed over ranks here and gradients
    averaged over ranks by the loop: together the joint batch's gradient."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        ctx.rows = len(rows)  # type: ignore[attr-defined]
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *slopes: Tensor) -> Tensor:
        slope = slopes[0].clone()  # another branch may hold the same tensor
        dist.all_reduce(slope)
        start = dist.get_rank() * ctx.rows  # type: ignore[attr-defined]
        return slope[start : start + ctx.rows]  # type: ignore[attr-defined]


class _Mean(torch.autograd.Function):
    """A rank's value moves every rank's loss by its share, so slopes are averaged too."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, value: Tensor) -> Tensor:
        return _averaged(value)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *slopes: Tensor) -> Tensor:
        return _averaged(slopes[0])


def _averaged(value: Tensor) -> Tensor:
    total = value.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total / dist.get_world_size()
