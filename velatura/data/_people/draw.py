"""A scene as pixels: drawn at twice the size with soft edges, then averaged down."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from velatura.data._people import puppet as puppets
from velatura.data._people import room
from velatura.data._people.motion import Array
from velatura.data._people.puppet import Puppet
from velatura.data._people.scene import Actor, Light, Occluder, Scene
from velatura.data._people.shape import Fill, Part, Shade, Stroke, capsules, shading

OVER = 2  # canvas pixels to a pixel
BITS = 4  # fractional bits of a vertex
SPARE = 65_537  # starting points in the noise


class Picture(NamedTuple):
    """One drawn clip; without labels, everything but the clip is empty."""

    clip: Array  # (T, H, W, 3) uint8
    mask: Array  # (T, H, W) bool, the acting person
    others: Array  # (T, H, W) bool, everybody else
    keypoints: Array  # (T, 17, 3), pixels and COCO visibility


def draw(scene: Scene, size: int, labels: bool = False) -> Picture:
    """Draw T frames of `size` x `size` pixels; with `labels`, also masks and keypoints."""
    canvas = np.empty((len(scene.camera), size * OVER, size * OVER, 3), np.uint8)
    names = np.zeros(canvas.shape[:3], np.uint8) if labels else None
    paint_room(canvas, scene)
    for other in scene.others:
        shade, fine = detail(other, scene, size)
        extra = puppets.puppet(other, scene.tilt, scene.camera, shade, fine)
        paint_shadow(canvas, extra.feet, other)
        paint(canvas, names, [p._replace(label=puppets.OTHER) for p in extra.parts])
    shade, fine = detail(scene.actor, scene, size)
    main = puppets.puppet(scene.actor, scene.tilt, scene.camera, shade, fine)
    seat = puppets.stool(scene.actor, scene.tilt, scene.camera, scene.stool, shade)
    paint_shadow(canvas, main.feet, scene.actor)
    paint(canvas, names, [*main.parts, seat])
    if scene.occluders:
        paint(canvas, names, obstacles(scene, shade))
    clip = expose(canvas, scene.light, size)
    if names is None:
        return Picture(clip, *[np.empty(0)] * 3)
    mask = share(np.isin(names, range(1, puppets.STOOL)), size) >= 0.5
    others = share(names == puppets.OTHER, size) > 0.5  # so a shared pixel has one owner
    return Picture(clip, mask, others, visible(main, names, size))


def detail(actor: Actor, scene: Scene, size: int) -> tuple[Shade, bool]:
    """How finely a figure is drawn, by its height in pixels."""
    tall = actor.scale * size
    layers, corners = (
        (1, 4) if tall < 24 else (2, 5) if tall < 56 else (4, 7) if tall < 90 else (6, 9)
    )
    return shading(layers, corners, scene.light.direction), tall >= 40


def paint(canvas: Array, names: Array | None, parts: list[Part]) -> None:
    """Draw parts from the furthest to the nearest, frame by frame, in place."""
    import cv2

    side = canvas.shape[1]
    order = np.argsort(np.stack([p.depth for p in parts]), axis=0, kind="stable")
    ready = [[_vertices(fill, side) for fill in part.fills] for part in parts]
    for t, frame in enumerate(canvas):
        for i in order[:, t]:
            for fill, (outline, colour) in zip(parts[i].fills, ready[i], strict=True):
                if fill.show is not None and not fill.show[t]:
                    continue
                if fill.convex:
                    cv2.fillConvexPoly(frame, outline[t], colour, cv2.LINE_AA, BITS)
                else:
                    cv2.fillPoly(frame, [outline[t]], colour, cv2.LINE_AA, BITS)
                if names is not None and fill.edge:
                    cv2.fillPoly(names[t], [outline[t]], parts[i].label, cv2.LINE_8, BITS)


def _vertices(fill: Fill, side: int) -> tuple[list[Array] | Array, tuple[float, ...]]:
    """Outlines as fixed-point canvas vertices; a pixel's centre has whole coordinates."""
    colour = tuple(fill.colour.tolist())
    scale, half = side * 2**BITS, 0.5 * 2**BITS
    if isinstance(fill.outline, np.ndarray):
        return np.rint(fill.outline * scale - half).astype(np.int32), colour
    return [np.rint(points * scale - half).astype(np.int32) for points in fill.outline], colour


def paint_room(canvas: Array, scene: Scene) -> None:
    """Wall above the horizon and floor below; the slide moves them, the camera all."""
    import cv2

    side = canvas.shape[1]
    wall, floor = room.texture(*scene.texture, side, scene.paint)
    free = np.array([wall.shape[1], wall.shape[0]]) - side
    corner = scene.window * free
    sign = -1.0 if scene.flip else 1.0
    for frame, slide, camera in zip(canvas, scene.slide, scene.camera, strict=True):
        shift = (slide + camera) * side
        horizon = int(np.clip((scene.horizon + slide[1] + camera[1]) * side, 1, side - 1))
        x = shift[0] - sign * corner[0] + (side if scene.flip else 0)
        move = np.array([[sign, 0, x], [0, 1, shift[1] - corner[1]]])
        cv2.warpAffine(wall, move, (side, horizon), frame[:horizon], borderMode=cv2.BORDER_REFLECT)
        move[1, 2] = 0.0
        cv2.warpAffine(
            floor, move, (side, side - horizon), frame[horizon:], borderMode=cv2.BORDER_REFLECT
        )


@lru_cache(maxsize=64)
def _blob(wide: int, high: int) -> Array:
    """(high, wide, 1) float32: how much light a contact shadow lets through."""
    y, x = np.mgrid[-1 : 1 : high * 1j, -1 : 1 : wide * 1j]
    fall = np.clip(1.0 - x**2 - y**2, 0, 1) ** 0.8
    return (1.0 - 0.5 * fall[..., None]).astype(np.float32)


def paint_shadow(canvas: Array, feet: Array, actor: Actor) -> None:
    """A soft ellipse under the feet, in place."""
    side = canvas.shape[1]
    wide, high = (max(3, int(v * actor.scale * side)) for v in (0.50, 0.13))
    for frame, (x, y) in zip(canvas, feet * side, strict=True):
        left, top = int(x - wide / 2), int(y - high / 2)
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + wide, side), min(top + high, side)
        if x0 < x1 and y0 < y1:
            blob = _blob(wide, high)[y0 - top : y1 - top, x0 - left : x1 - left]
            frame[y0:y1, x0:x1] = frame[y0:y1, x0:x1] * blob


def obstacles(scene: Scene, shade: Shade) -> list[Part]:
    time = np.linspace(0.0, 1.0, len(scene.camera))[:, None]

    def stroke(o: Occluder) -> Stroke:
        at = o.start + o.path * (time - 0.5) + scene.camera
        return Stroke(at - o.reach, at + o.reach, o.radius, o.radius, o.colour)

    strokes = [stroke(o) for o in scene.occluders]
    round_shade = shade._replace(corners=10)
    return [
        Part(puppets.OCCLUDER, np.full(len(time), float(i)), fills)
        for i, fills in enumerate(capsules(strokes, round_shade))
    ]


def expose(canvas: Array, light: Light, size: int) -> Array:
    """Average down, apply gain, flicker and tint, add sensor noise; (T, H, W, 3) uint8."""
    import cv2

    small = np.stack([cv2.resize(f, (size, size), interpolation=cv2.INTER_AREA) for f in canvas])
    start = light.seed % SPARE
    film = _grain(small.size)[start : start + small.size] * np.float32(light.noise)
    film = film.reshape(small.shape)
    film += 0.5  # so that cutting off decimals rounds
    film += small * light.gain.astype(np.float32)[:, None, None]
    np.clip(film, 0, 255, out=film)
    return film.astype(np.uint8)


@lru_cache(maxsize=2)
def _grain(count: int) -> Array:
    """Unit sensor noise, and enough more that a clip can start anywhere in it."""
    return np.random.default_rng(count).standard_normal(count + SPARE, dtype=np.float32)


def share(canvas: Array, size: int) -> Array:
    """How much of each pixel a canvas-sized mask (T, S, S) covers; (T, H, W) in [0, 1]."""
    blocks = canvas.reshape(len(canvas), size, OVER, size, OVER)
    covered: Array = blocks.mean((2, 4))
    return covered


def visible(main: Puppet, names: Array, size: int) -> Array:
    """(T, 17, 3): COCO keypoints. 0 out of the picture, 1 hidden by something, 2 in sight."""
    side = names.shape[1]
    result = np.zeros((*main.keypoints.shape[:2], 3))
    for t, points in enumerate(main.keypoints * side):
        for j, (x, y) in enumerate(points):
            if not (0 <= x < side and 0 <= y < side):
                continue
            own = names[t, int(y), int(x)] in puppets.OWN_PARTS[j]
            away = j < 5 and main.facing[t, j] < -0.2
            result[t, j] = x / OVER, y / OVER, 2 if own and not away else 1
    return result
