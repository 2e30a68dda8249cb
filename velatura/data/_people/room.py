"""Walls and floors behind the people: a pool of textures, drawn once per process."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from velatura.data._people.census import SPLITS
from velatura.data._people.motion import Array

POOL = 24  # walls per split
GRAIN = 128  # texels to a frame at full resolution
WIDE, HIGH, DEEP = 3.0, 1.5, 0.5  # extent of the wall and depth of the floor, frames


class Paint(NamedTuple):
    """What a room is made to tell, whichever of the pool it is."""

    warm_wall: bool
    upright_stripes: bool  # else they lie
    dark_floor: bool


@lru_cache(maxsize=256)
def texture(
    split: str, number: int, pixels: int, paint: Paint | None = None
) -> tuple[Array, Array]:
    """Wall and floor number `number % POOL`, `pixels` to a frame; uint8 RGB."""
    import cv2

    walls = _texture(SPLITS[split], number % POOL)
    if paint is not None:
        walls = _painted(*walls, paint)
    scale = pixels / GRAIN
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    wall, floor = (cv2.resize(w, None, fx=scale, fy=scale, interpolation=how) for w in walls)
    return wall, floor


@lru_cache(maxsize=64)
def _texture(split: int, number: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(np.random.SeedSequence([split, number, 0, 13]))
    return _wall(rng), _floor(rng)


def _painted(wall: Array, floor: Array, paint: Paint) -> tuple[Array, Array]:
    """The wall's hue and its stripes, and how dark the floor is."""
    tint = np.array([20.0, 0.0, -20.0]) * (1 if paint.warm_wall else -1)
    places: Array = np.indices(wall.shape[:2])[1 if paint.upright_stripes else 0]
    stripes = 24.0 * (places // (GRAIN // 10) % 2) - 12.0
    level = 70.0 if paint.dark_floor else 170.0
    coloured = np.clip(wall + tint + stripes[..., None], 0, 255)
    shaded = np.clip(floor + level - floor.mean(), 0, 255)
    return coloured.astype(np.uint8), shaded.astype(np.uint8)


def _wall(rng: np.random.Generator) -> Array:
    """Soft clouds of colour, then panels, pictures, discs and slats, then grain."""
    import cv2

    high, wide = int(HIGH * GRAIN), int(WIDE * GRAIN)
    base = _colour(rng)
    wall = base + _clouds(rng, high, wide, 7, 9.0, 4.0) + np.linspace(14, -14, high)[:, None, None]
    wall = np.clip(wall, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(12, 24))):
        _furnish(wall, base, rng)
    if rng.uniform() < 0.4:
        wall = cv2.GaussianBlur(wall, (0, 0), rng.uniform(0.8, 2.5))
    return _grained(wall, rng)


def _furnish(wall: Array, base: Array, rng: np.random.Generator) -> None:
    """One thing on the wall, drawn in place, its colour never far from the wall's `base`."""
    import cv2

    high, wide = wall.shape[:2]
    x, y = int(rng.uniform(0, wide)), int(rng.uniform(0, high))
    w, h = (int(GRAIN * v) for v in rng.uniform(0.05, 0.32, size=2))
    colour, edge = (0.4 * _colour(rng) + 0.6 * base for _ in range(2))
    kind = rng.integers(5)
    if kind == 0:
        cv2.rectangle(wall, (x, y), (x + w, y + h), edge.tolist(), -1)
        cv2.rectangle(wall, (x + 4, y + 4), (x + w - 4, y + h - 4), colour.tolist(), -1)
    elif kind == 1:
        cv2.circle(wall, (x, y), w // 2, colour.tolist(), -1, cv2.LINE_AA)
    elif kind == 2:
        for i in range(int(rng.integers(3, 8))):
            left = x + i * (w // 4 + 4)
            cv2.rectangle(wall, (left, y), (left + w // 8 + 2, y + 2 * h), colour.tolist(), -1)
    elif kind == 3:
        spread = rng.normal(0, 0.12 * GRAIN, size=(6, 2)) + (x, y)
        cv2.fillConvexPoly(
            wall, cv2.convexHull(spread.astype(np.int32)), colour.tolist(), cv2.LINE_AA
        )
    else:
        end = (x + int(rng.normal(0, GRAIN)), y + int(rng.normal(0, 0.3 * GRAIN)))
        cv2.line(wall, (x, y), end, colour.tolist(), int(rng.integers(2, 9)), cv2.LINE_AA)


def _floor(rng: np.random.Generator) -> Array:
    """Boards or tiles, darker towards the wall."""
    high, wide = int(DEEP * GRAIN), int(WIDE * GRAIN)
    floor = 0.6 * _colour(rng) + 0.4 * np.array([150.0, 130.0, 110.0])
    floor = floor + np.linspace(-26, 12, high)[:, None, None]
    floor = floor + _clouds(rng, high, wide, 9, 8.0, 2.0)
    board = int(GRAIN * rng.uniform(0.12, 0.3))
    contrast = rng.uniform(6, 22)
    shade = (np.arange(wide) // board % 2) * contrast
    if rng.uniform() < 0.5:
        rows = (np.linspace(0, 1, high) ** 1.6 * 5).astype(int) % 2
        shade = ((np.arange(wide) // board + rows[:, None]) % 2) * contrast
    floor = floor - np.broadcast_to(shade, (high, wide))[..., None]
    return _grained(np.clip(floor, 0, 255).astype(np.uint8), rng)


def _clouds(
    rng: np.random.Generator, high: int, wide: int, cells: int, grey: float, tint: float
) -> Array:
    """Slow variation: mostly of brightness, a little of colour."""
    import cv2

    across = int(cells * wide / high)
    coarse = rng.normal(0, grey, (cells, across, 1)) + rng.normal(0, tint, (cells, across, 3))
    return cv2.resize(coarse.astype(np.float32), (wide, high), interpolation=cv2.INTER_CUBIC)


def _grained(picture: Array, rng: np.random.Generator) -> Array:
    grain = rng.standard_normal((*picture.shape[:2], 1), dtype=np.float32) * rng.uniform(1, 4)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def _colour(rng: np.random.Generator) -> Array:
    """Any colour of a lived-in room, seldom vivid."""
    grey = rng.uniform(50, 225)
    colour: Array = np.clip(grey + rng.normal(0, 17, size=3), 10, 245)
    return colour
