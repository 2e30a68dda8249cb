"""Whether a person can be found again: pure functions on similarities of clips.

A **gallery** holds clips of people whose names are known, a **query** is a clip of one of them,
taken at another time. ``similarity`` (Q, G) says how alike two clips look to a network. Three
galleries matter, and none of their clips may be among the queries or what the network learnt from:

    raw to anonymized          who is this, asked of somebody who has footage of people
    anonymized to anonymized   linkability: is it the same person twice, whoever it is
    recovered to raw           the same as the first, after an attempt to undo the anonymizer

Units: Rank-1 and TAR in per cent; FAR and chance as said. Of :mod:`velatura.metrics`, what is said
there of weights holds here: of queries.

Source of the protocol: ISO/IEC 19795-1; closed-set identification and verification.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from velatura.errors import BadInput

__all__ = ["chance_rank1", "cosine", "rank1", "tar_at_far"]

Array = npt.NDArray[Any]


def cosine(queries: ArrayLike, gallery: ArrayLike) -> Array:
    """Cosine of the angle between embeddings: (Q, D) and (G, D) to (Q, G), -1 to 1.

    An embedding of length zero is like nothing: 0.
    """
    sides = []
    for name, given in (("queries", queries), ("gallery", gallery)):
        x = np.asarray(given, np.float64)
        if x.ndim != 2 or not x.size or not np.isfinite(x).all():
            raise BadInput(f"{name}: expected finite embeddings (N, D), got {x.shape}.")
        length = np.linalg.norm(x, axis=1, keepdims=True)
        sides.append(x / np.where(length > 0, length, 1))
    if sides[0].shape[1] != sides[1].shape[1]:
        raise BadInput(f"Embeddings of {sides[0].shape[1]} and {sides[1].shape[1]} numbers differ.")
    likeness: Array = sides[0] @ sides[1].T
    return likeness


def rank1(
    similarity: ArrayLike, asked: ArrayLike, known: ArrayLike, weights: Array | None = None
) -> Any:
    """How often the most similar clip of the gallery is of the same person, in per cent.

    Clips that tie for the first place share it, so that similarities that are all alike give
    exactly :func:`chance_rank1`.

    Args:
        similarity: (Q, G), more is more alike.
        asked: (Q,) who is in each query.
        known: (G,) who is in each clip of the gallery.
        weights: None, (Q,), or (R, Q) for bootstrap replicates.

    Returns:
        A float; (R,) for weights of shape (R, Q).

    Raises:
        BadInput: shapes that do not fit; or somebody is asked for who is not in the gallery.
    """
    similarity, same = _pairs(similarity, asked, known)
    first = similarity == similarity.max(1, keepdims=True)
    hit = (first & same).sum(1) / first.sum(1)
    if weights is None:
        return float(100 * hit.mean())
    weights = np.asarray(weights, np.float64)
    if weights.shape[-1] != len(hit) or weights.ndim not in (1, 2) or (weights < 0).any():
        raise BadInput(f"Weights must be ({len(hit)},) or (R, {len(hit)}), got {weights.shape}.")
    with np.errstate(invalid="ignore"):
        value = 100 * (weights @ hit) / weights.sum(-1)
    return value if value.ndim else float(value)


def chance_rank1(asked: ArrayLike, known: ArrayLike) -> float:
    """Rank-1 of somebody who draws a clip of the gallery, in per cent."""
    same = np.asarray(asked)[:, None] == np.asarray(known)[None]
    return float(100 * same.mean())


def tar_at_far(similarity: ArrayLike, asked: ArrayLike, known: ArrayLike, far: float) -> float:
    """Of pairs of one person, how many are accepted where few pairs of two people are; in per cent.

    The threshold is the lowest at which at most ``far`` of the pairs of different people are at or
    above it; pairs of one person count from there.

    Args:
        similarity, asked, known: as of :func:`rank1`.
        far: share of false accepts that is allowed, above 0 and below 1; chance is 100 * far.

    Raises:
        BadInput: too few pairs of different people for such a share to mean anything.
    """
    if not 0 < far < 1:
        raise BadInput(f"far is a share between 0 and 1, got {far}.")
    similarity, same = _pairs(similarity, asked, known)
    impostors = np.sort(similarity[~same])[::-1]
    allowed = int(far * len(impostors) + 1e-9)
    if allowed < 1:
        raise BadInput(
            f"A false accept rate of {far:g} needs at least {int(np.ceil(1 / far))} pairs of "
            f"different people, and there are {len(impostors)}."
        )
    # All impostors that tie with the first one too many stay out with it.
    bar = impostors[allowed] if allowed < len(impostors) else -np.inf
    return float(100 * (similarity[same] > bar).mean())


def _pairs(similarity: ArrayLike, asked: ArrayLike, known: ArrayLike) -> tuple[Array, Array]:
    similarity = np.asarray(similarity, np.float64)
    asked, known = np.asarray(asked), np.asarray(known)
    if similarity.shape != (len(asked), len(known)) or not similarity.size:
        raise BadInput(
            f"similarity is {similarity.shape}, but there are {len(asked)} queries and "
            f"{len(known)} clips in the gallery."
        )
    if not np.isfinite(similarity).all():
        raise BadInput(f"{(~np.isfinite(similarity)).sum()} similarities are not finite.")
    same = asked[:, None] == known[None]
    if not same.any(1).all():
        raise BadInput(f"{asked[~same.any(1)][0]} is asked for and is not in the gallery.")
    return similarity, same
