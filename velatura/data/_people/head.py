"""Heads: a skull, a cap of hair cut from the same ball, and what a face shows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from velatura.data._people.body import FACE_POINTS
from velatura.data._people.motion import Array
from velatura.data._people.scene import Actor
from velatura.data._people.shape import Fill, Shade, Stroke, capsules, shrunk, tinted

# Hair is the part of the ball within an angle of an axis: (rise of the axis, angle, puff).
HAIRDOS = {
    "cap": (0.72, 1.66, 1.07),
    "crop": (0.85, 1.50, 1.03),
    "curls": (0.78, 1.62, 1.22),
    "long": (0.70, 1.80, 1.08),
    "bob": (0.68, 1.84, 1.12),
    "tail": (0.76, 1.70, 1.05),
    "mane": (0.70, 1.80, 1.25),
}
HAIR_FALL = {  # length, upper and lower radius, over body height
    "long": (0.26, 0.096, 0.070),
    "bob": (0.125, 0.110, 0.098),
    "tail": (0.22, 0.042, 0.020),
    "mane": (0.17, 0.150, 0.150),  # wider than a neck, a chin and narrow shoulders
}


class Skull(NamedTuple):
    """A head as the camera sees it; units of the frame."""

    centre: Array  # (T, 2)
    turn: Array  # (T, 3, 3) head axes to image axes (right, up, towards the camera)
    size: float  # half height


def back_hair(actor: Actor, skull: Skull, shade: Shade) -> list[Fill]:
    """What falls down behind the neck; empty for short hair."""
    if actor.person.hairdo not in HAIR_FALL:
        return []
    length, top, bottom = (v * actor.scale for v in HAIR_FALL[actor.person.hairdo])
    back = -0.45 if actor.person.hairdo != "tail" else -0.95
    root = skull.centre + _flat(skull.turn @ np.array([0.0, 0.1, back])) * skull.size
    fall = root + _flat(skull.turn @ np.array([0.0, -1.0, -0.12])) * length
    return capsules([Stroke(root, fall, top, bottom, actor.person.hair)], shade)[0]


def head(actor: Actor, skull: Skull, shade: Shade, fine: bool) -> list[Fill]:
    """Skull, ears, hair and face, back to front."""
    person = actor.person
    fills = [] if person.hairdo in ("long", "bob", "mane") else _ears(actor, skull, shade)
    outline = _shaped(skull, _ring(8 + 2 * shade.corners)[None])
    fills += _shaded(skull, outline, person.skin, shade)
    fills += _face(actor, skull, fine)
    if actor.outfit.cover is not None:
        cover = _cap(skull, np.array([0.0, -0.50, 0.87]), 0.86, 1.03, shade)
        fills += _shaded(skull, cover, actor.outfit.cover, shade, edge=False)
    rise, angle, puff = HAIRDOS[person.hairdo]
    axis = np.array([0.0, np.sin(rise), -np.cos(rise)])
    fills += _shaded(skull, _cap(skull, axis, angle, puff, shade), person.hair, shade)
    if actor.outfit.hat is not None:
        fills += _hat(skull, actor.outfit.hat, shade)
    return fills


def _hat(skull: Skull, colour: Array, shade: Shade) -> list[Fill]:
    """A tall crown on a wide brim."""
    up = skull.size * _flat(skull.turn @ np.array([0.0, 1.0, 0.0]))
    wide = 1.2 * np.stack([-up[:, 1], up[:, 0]], 1)
    low, high = skull.centre + 0.62 * up, skull.centre + 1.35 * up
    strokes = [
        Stroke(low, high, 0.66 * skull.size, 0.60 * skull.size, colour),
        Stroke(low - wide, low + wide, 0.14 * skull.size, 0.14 * skull.size, colour),
    ]
    return [fill for layers in capsules(strokes, shade) for fill in layers]


def _ears(actor: Actor, skull: Skull, shade: Shade) -> list[Fill]:
    at, _ = _on_head(skull, FACE_POINTS["ears"] * np.array([0.97, 1.0, 1.0]))
    radius = 0.20 * skull.size
    low = at + np.array([0.0, 0.1 * radius])
    strokes = [Stroke(at[:, i], low[:, i], radius, 0.8 * radius, actor.person.skin) for i in (0, 1)]
    return [fill for layers in capsules(strokes, shade) for fill in layers]


class Spot(NamedTuple):
    """An oval on the face: where on the unit head, half width and height, colour."""

    place: Array
    wide: float
    high: float
    colour: Array


def _features(skin: Array, hair: Array, fine: bool) -> list[Spot]:
    """Eyes and mouth always; brows, nose and a shine where there are pixels for them."""
    white, dark = np.array([244.0, 242.0, 238.0]), np.array([34.0, 24.0, 22.0])
    lips = 0.62 * skin + np.array([46.0, 4.0, 8.0])
    mouth = Spot(np.array([0.0, -0.49, 0.87]), 0.235, 0.065, tinted(lips, 0.86))
    eyes = FACE_POINTS["eyes"]
    if not fine:  # larger, or they would be lost
        spots = [Spot(eye, 0.24, 0.135, white) for eye in eyes]
        spots += [Spot(eye, 0.14, 0.125, dark) for eye in eyes]
        return [*spots, mouth._replace(high=0.10)]
    spots = [Spot(eye, 0.185, 0.135, white) for eye in eyes]
    spots += [Spot(eye, 0.105, 0.125, dark) for eye in eyes]
    spots += [Spot(eye + [0.035, 0.035, 0.02], 0.035, 0.035, np.full(3, 255.0)) for eye in eyes]
    brow = 0.55 * hair + 0.25 * skin
    spots += [Spot(eye + [0.0, 0.235, -0.03], 0.21, 0.045, brow) for eye in eyes]
    return [
        *spots,
        Spot(np.array([0.0, -0.16, 1.03]), 0.105, 0.125, tinted(skin, 0.86)),
        Spot(np.array([0.0, -0.11, 1.05]), 0.065, 0.10, tinted(skin, 1.10)),
        mouth,
        Spot(np.array([0.0, -0.47, 0.89]), 0.19, 0.022, tinted(lips, 0.6)),
    ]


def _face(actor: Actor, skull: Skull, fine: bool) -> list[Fill]:
    """The features as ovals, narrower where the face turns away, none where it has."""
    spots = _features(actor.person.skin, actor.person.hair, fine)
    at, facing = _on_head(skull, np.stack([s.place for s in spots]))
    half = skull.size * np.array([[s.wide, s.high] for s in spots])
    stretch = np.stack([np.clip(facing, 0.25, 1.0), np.ones_like(facing)], -1)
    ring = _ring(12 if fine else 8)
    outlines = at[:, :, None] + (half * stretch)[:, :, None] * ring
    return [
        Fill(outlines[:, i], spot.colour, facing[:, i] > 0.12, edge=False)
        for i, spot in enumerate(spots)
    ]


def _on_head(skull: Skull, places: Array) -> tuple[Array, Array]:
    """K points of the unit head in the image (T, K, 2), and how much they face us (T, K)."""
    ball = np.einsum("tij,kj->tki", skull.turn, places)
    return _shaped(skull, ball[..., :2]), ball[..., 2]


def _shaded(
    skull: Skull, outline: Array, colour: Array, shade: Shade, edge: bool = True
) -> list[Fill]:
    fills = []
    for i, (share, tone, offset) in enumerate(shade.steps):
        inner = 1.0 - 0.75 * (1.0 - share)
        moved = shrunk(outline, skull.centre, inner, 0.45 * offset * skull.size)
        fills.append(Fill(moved, tinted(colour, tone), None, edge and i == 0, convex=False))
    return fills


def _cap(skull: Skull, axis: Array, angle: float, puff: float, shade: Shade) -> Array:
    """(T, P, 2): the visible part of the unit ball within `angle` of `axis` (head axes).

    Its outline is an arc of the silhouette, where the cap reaches round to the far side, and
    the visible piece of the cap's own rim. With the axis at k = |(h_x, h_y)| from the line of
    sight, the silhouette lies inside within acos(cos(angle) / k) of the axis, and the rim is
    visible where sin(phi) > -cos(angle) h_z / (sin(angle) k).
    """
    pole = skull.turn @ (axis / np.linalg.norm(axis))
    k = np.maximum(np.hypot(pole[:, 0], pole[:, 1]), 1e-6)[:, None]
    u = pole[:, :2] / k
    inside = np.arccos(np.clip(np.cos(angle) / k, -1, 1))
    hidden = np.arcsin(np.clip(-np.cos(angle) * pole[:, 2:] / (np.sin(angle) * k), -1, 1))
    points = 4 + 2 * shade.corners
    phi = hidden + np.linspace(0, 1, points) * (np.pi - 2 * hidden)
    across = np.stack([-u[:, 1], u[:, 0]], -1)
    rim = (
        np.cos(angle) * pole[:, None, :2]
        + np.sin(angle) * np.cos(phi)[..., None] * across[:, None]
        - np.sin(angle) * np.sin(phi)[..., None] * (pole[:, 2:] * u)[:, None]
    )
    theta = np.arctan2(u[:, 1], u[:, 0])[:, None] + np.linspace(-1, 1, points) * inside
    arc = np.stack([np.cos(theta), np.sin(theta)], -1)
    arc = np.where((inside > 0)[..., None], arc, rim[:, :1])
    return _shaped(skull, puff * np.concatenate([arc, rim], 1))


def _shaped(skull: Skull, ball: Array) -> Array:
    """Points (T, P, 2) of the unit disc, up positive, to the image; the chin is narrower."""
    chin = 1.0 - 0.22 * np.clip(-ball[..., 1], 0, 1) ** 1.5
    across = 0.80 * ball[..., 0] * chin
    return skull.centre[:, None] + skull.size * np.stack([across, -ball[..., 1]], -1)


def _ring(points: int) -> Array:
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([np.cos(turn), np.sin(turn)], -1)


def _flat(vector: Array) -> Array:
    """Image axes (T, 3), up positive, to a shift (T, 2) with y down."""
    return vector[:, :2] * np.array([1.0, -1.0])
