"""Outlines as polygons over time, shaded by nested layers; units of the frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from velatura.data._people.motion import Array


class Fill(NamedTuple):
    """One polygon in each of T frames, in one colour."""

    outline: Sequence[Array] | Array  # (T, P, 2), or T of (P, 2) where P changes
    colour: Array  # (3,)
    show: Array | None = None  # (T,) bool; None: always
    edge: bool = True  # part of the outermost contour, so of the mask
    convex: bool = True


class Part(NamedTuple):
    """Fills that are drawn together, at one depth."""

    label: int
    depth: Array  # (T,) larger is nearer
    fills: list[Fill]


class Stroke(NamedTuple):
    """A tapered capsule from `a` to `b`, (T, 2) each."""

    a: Array
    b: Array
    radius_a: float
    radius_b: float
    colour: Array
    show: Array | None = None


class Shade(NamedTuple):
    """How a round thing is built up from its dark rim to its lit core."""

    corners: int  # points of a half circle
    steps: tuple[tuple[float, float, Array], ...]  # share of the radius, tone, offset in radii


def shading(layers: int, corners: int, light: Array) -> Shade:
    """`layers` nested fills, from the outside in, that shift towards `light` (2,)."""
    if layers == 1:
        return Shade(corners, ((1.0, 0.94, 0.0 * light),))
    ramp = [i / (layers - 1) for i in range(layers)]
    steps = tuple((1 - 0.62 * r, 0.62 + 0.46 * r**0.8, 0.465 * r * light) for r in ramp)
    return Shade(corners, steps)


def capsules(strokes: Sequence[Stroke], shade: Shade) -> list[list[Fill]]:
    """Shaded fills of each stroke; all strokes are computed in one go."""
    a, b = (np.stack([getattr(s, end) for s in strokes]) for end in "ab")
    radii = np.array([[s.radius_a, s.radius_b] for s in strokes])
    outlines = _capsule(a, b, radii, shade)
    return [
        [
            Fill(outline, tinted(stroke.colour, tone), stroke.show, edge=i == 0)
            for i, (outline, (_, tone, _)) in enumerate(zip(layers, shade.steps, strict=True))
        ]
        for stroke, layers in zip(strokes, outlines, strict=True)
    ]


def _capsule(a: Array, b: Array, radii: Array, shade: Shade) -> Array:
    """Ends (N, T, 2) and radii (N, 2) to outlines (N, layers, T, P, 2)."""
    along = b - a
    heading = np.arctan2(along[..., 1], along[..., 0])[..., None]
    half = np.linspace(0.5 * np.pi, 1.5 * np.pi, shade.corners)
    around = np.concatenate([heading + half, heading + half + np.pi], -1)  # (N, T, P)
    circle = np.stack([np.cos(around), np.sin(around)], -1)
    base = np.repeat(np.stack([a, b], 2), shade.corners, axis=2)
    reach = np.repeat(radii, shade.corners, axis=1)[:, None, :, None]
    return np.stack(
        [base + reach * (share * circle + offset) for share, _, offset in shade.steps], 1
    )


def shrunk(outline: Array, centre: Array, share: float, offset: Array) -> Array:
    """(T, P, 2) scaled about `centre` (T, 2), moved by `offset` (2,)."""
    return centre[:, None] + share * (outline - centre[:, None]) + offset


def tinted(colour: Array, tone: float) -> Array:
    return np.minimum(colour * tone, 255.0)
