"""Which side of a split: whole groups, never single clips."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from velatura.data._lists.listing import Listing

__all__ = ["hashed_split", "val_groups", "with_val"]


def val_groups(clips: Iterable[tuple[str, str]], fraction: float, seed: int) -> set[str]:
    """Whole groups holding about ``fraction`` of every class's clips, by seed.

    A group is taken when that brings its class closer to the fraction. As the fraction is
    below one half, a class's last group never is.

    Args:
        clips: (action, group) of every clip.
        fraction: in (0, 0.5).
        seed: equal seeds choose equal groups.
    """
    rng = np.random.default_rng(seed)
    sizes_of: dict[str, Counter[str]] = defaultdict(Counter)
    for action, group in clips:
        sizes_of[action][group] += 1
    taken: set[str] = set()
    for action in sorted(sizes_of):
        sizes = sizes_of[action]
        want = fraction * sizes.total()
        have = sum(sizes[group] for group in taken)
        for group in rng.permutation(sorted(sizes)).tolist():
            if group not in taken and have + sizes[group] / 2 < want:
                taken.add(group)
                have += sizes[group]
    return taken


def with_val(listing: Listing, fraction: float = 0.15, seed: int = 0) -> Listing:
    """The listing with a validation split carved from train, by film or subject.

    A listing that has a validation split of its own comes back as it is.
    """
    if listing.of("val"):
        return listing
    train = listing.of("train")
    groups = val_groups(((getattr(i, "action", ""), i.group) for i in train), fraction, seed)

    def split(item_split: str, group: str) -> str:
        return "val" if item_split == "train" and group in groups else item_split

    return replace(
        listing,
        videos=tuple(replace(v, split=split(v.split, v.group)) for v in listing.videos),
        images=tuple(replace(i, split=split(i.split, i.group)) for i in listing.images),
    )


def hashed_split(group: str, val: float = 0.15, test: float = 0.15) -> str:
    """A split for a data set without official ones, from the group's name alone.

    So a group stays where it is when files are added or taken away, on every machine.
    """
    draw = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    return "test" if draw < test else "val" if draw < test + val else "train"
