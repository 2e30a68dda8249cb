"""Randomness as a function of (seed, step): an interrupted run needs to remember only its step."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["generator", "reseed"]


def _mix(*parts: int | str) -> int:
    """A 63-bit number from any parts; neighbours are unrelated."""
    text = "/".join(str(p) for p in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator that is a function of its parts, such as (seed, "views", step)."""
    return torch.Generator().manual_seed(_mix(*parts))


def reseed(*parts: int | str) -> None:
    """Set PyTorch's global generators (dropout, fresh weights) from the parts."""
    torch.manual_seed(_mix(*parts))
