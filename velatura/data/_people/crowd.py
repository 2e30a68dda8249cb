"""Still pictures of one to four people among things, with a mask and keypoints for each.

A picture is the room of a scene with other people in it: everybody is the actor of a scene of
their own, made larger or smaller and put elsewhere. What stands on the floor is drawn from the
furthest to the nearest. The same picture can be drawn with other people in it, in the same poses
or in poses that were missed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from velatura.data._people import puppet as puppets
from velatura.data._people.census import ATTRIBUTES, FACES, SPLITS
from velatura.data._people.draw import (
    OVER,
    detail,
    expose,
    obstacles,
    paint,
    paint_room,
    paint_shadow,
    share,
    visible,
)
from velatura.data._people.motion import Array, draw_slip
from velatura.data._people.scene import Actor, Occluder, Scene, draw_scene
from velatura.data._people.shape import Fill, Part, tinted

MOST = 4  # people in a picture
PLACES, SLIPS, OTHERS = 23, 29, 31  # purposes, the fourth word of a seed
NEW = 500_000  # numbers of the people who stand in for others start here
POSES = (
    "idle", "wave", "clap", "jumping_jack", "walk", "kick", "punch", "lower_arms", "stand_up",
)  # fmt: skip
SEATED = "stand_up"  # begins on a stool
STEP = 16  # labels of one person's parts; those of the next follow
PARCEL = 110  # label of the first


class Parcel(NamedTuple):
    """A box with tape around it, on the floor; units of the frame."""

    x: float
    floor: float
    wide: float
    high: float
    turned: float  # how far its side shows, to the left where negative; of its width
    colour: Array
    tape: Array


class Crowd(NamedTuple):
    """One picture, ready to be drawn."""

    room: Scene  # its light and what is in front of everything; nobody of it is drawn
    actors: tuple[Actor, ...]  # furthest first
    traits: tuple[Array, ...]  # of each actor, 0 or 1 for each of `ATTRIBUTES`
    parcels: tuple[Parcel, ...]  # furthest first
    clutter: tuple[Occluder, ...]  # behind everybody


class Picture(NamedTuple):
    """One drawn picture; without labels, everything but the image is empty."""

    image: Array  # (H, W, 3) uint8
    people: Array  # (K, H, W) bool, the body and clothes of each as far as they are in sight
    parcels: Array  # (M, H, W) bool; no pixel is in two masks
    keypoints: Array  # (K, 17, 3), pixels and COCO visibility


def draw_crowd(seed: int, split: str, index: int) -> Crowd:
    """Picture `index` of a split. Nobody, and no wall, is in two splits."""
    rng = _rng(seed, split, index, PLACES)
    room = draw_scene(seed, split, index, 1, "idle", _attributes(rng), index)
    room = room._replace(horizon=rng.uniform(0.44, 0.60))
    people = []
    for k, (scale, x, floor) in enumerate(_places(rng, room.horizon)):
        actor, traits = _somebody(seed, split, MOST * index + k, str(rng.choice(POSES)), rng)
        people.append((actor._replace(scale=scale, x=x, floor=floor), traits))
    people.sort(key=lambda person: person[0].floor)
    return Crowd(
        room=room,
        actors=tuple(actor for actor, _ in people),
        traits=tuple(traits for _, traits in people),
        parcels=_parcels(rng, room.horizon),
        clutter=_clutter(rng, room.horizon),
    )


def replaced(crowd: Crowd, seed: int, split: str, index: int, slips: bool = False) -> Crowd:
    """The same picture with another person in everybody's place, of the same build.

    In the same poses; with `slips`, in poses that were missed. The others are the same either way.
    """
    rng, angles = _rng(seed, split, index, OTHERS), _rng(seed, split, index, SLIPS)
    actors, traits = [], []
    for k, actor in enumerate(crowd.actors):
        other, has = _somebody(seed, split, NEW + MOST * index + k, actor.action, rng)
        traits.append(has)
        person = other.person._replace(build=actor.person.build, style=actor.person.style)
        manner = actor.manner
        if slips:
            manner = manner._replace(slip=draw_slip(angles))
        actors.append(actor._replace(person=person, outfit=other.outfit, manner=manner))
    return crowd._replace(actors=tuple(actors), traits=tuple(traits))


def draw(crowd: Crowd, size: int, labels: bool = True) -> Picture:
    """Draw a picture of `size` x `size` pixels; with `labels`, also masks and keypoints."""
    room = crowd.room
    canvas = np.empty((1, size * OVER, size * OVER, 3), np.uint8)
    names = np.zeros(canvas.shape[:3], np.uint8) if labels else None
    shade, _ = detail(room.actor, room, size)
    paint_room(canvas, room)
    paint(canvas, None, obstacles(room._replace(occluders=crowd.clutter), shade))
    bodies = []
    things = _from_afar(crowd)
    for label, thing in things:
        if isinstance(thing, Parcel):
            paint(canvas, names, [_box(thing, label, room.camera)])
            continue
        shade, fine = detail(thing, room, size)
        body = puppets.puppet(thing, room.tilt, room.camera, shade, fine)
        bodies.append(body)
        # Where they stand and not where their feet are: what is not theirs stays, however they do.
        paint_shadow(canvas, room.camera + [thing.x, thing.floor], thing)
        parts = [part._replace(label=label + part.label) for part in body.parts]
        if thing.action == SEATED:
            parts.append(puppets.stool(thing, room.tilt, room.camera, room.stool, shade))
        paint(canvas, names, parts)
    if room.occluders:
        paint(canvas, names, obstacles(room, shade))
    image = expose(canvas, room.light, size)[0]
    if names is None:
        return Picture(image, *[np.empty(0)] * 3)
    own = {label: _own(names, label) for label, _ in things}
    masks = _masks(own, size)
    seen = zip(bodies, (own[STEP * k] for k in range(len(bodies))), strict=True)
    return Picture(
        image=image,
        people=np.stack([masks[STEP * k] for k in range(len(bodies))]),
        parcels=np.array([masks[PARCEL + m] for m in range(len(crowd.parcels))], bool).reshape(
            -1, size, size
        ),
        keypoints=np.concatenate([visible(body, parts, size) for body, parts in seen]),
    )


def _rng(*words: Any) -> np.random.Generator:
    seed, split, index, purpose = words
    return np.random.default_rng(np.random.SeedSequence([seed, SPLITS[split], index, purpose]))


def _attributes(rng: np.random.Generator) -> Array:
    """Each attribute of the plain world by lot, but nobody who comes along."""
    face = rng.choice(FACES)
    has = {name: int(rng.integers(2)) for name in ATTRIBUTES}
    has |= {"person_close": 0, "person_distant": 0}
    has |= {f"face_{kind}": int(face == kind) for kind in ("complete", "partial")}
    return np.array([has[name] for name in ATTRIBUTES])


def _somebody(
    seed: int, split: str, number: int, action: str, rng: np.random.Generator
) -> tuple[Actor, Array]:
    """The person `number` of a split, as a scene of their own shows them, and their attributes."""
    has = _attributes(rng)
    return draw_scene(seed, split, number, 1, action, has, number).actor, has


def _floor(scale: float, horizon: float, rng: np.random.Generator) -> float:
    """y under the feet of whoever is `scale` high: the larger, the nearer."""
    near = horizon + 0.05 + (scale - 0.28) / 0.72 * (0.97 - horizon)
    return near + rng.normal(0, 0.01)


def _places(rng: np.random.Generator, horizon: float) -> list[tuple[float, float, float]]:
    """Scale, x and floor of one to four people; of each, two fifths at least should show."""
    count = int(rng.choice(MOST, p=(0.30, 0.30, 0.24, 0.16))) + 1
    found: list[tuple[float, float, float]] = []
    for _ in range(10 * count):
        first = not found
        scale = rng.uniform(0.5, 0.95) if first else 0.30 * 3.7 ** rng.uniform()
        x = rng.uniform(0.2, 0.8) if first else rng.uniform(0.02, 0.98)
        floor = _floor(scale, horizon, rng)
        spot = float(scale), float(x), float(floor)
        if all(_shows(one, [*found, spot]) for one in [*found, spot]):
            found.append(spot)
        if len(found) == count:
            break
    return found


def _shows(spot: tuple[float, float, float], spots: list[tuple[float, float, float]]) -> bool:
    """Whether enough of a person's box is in the picture and behind nobody's box."""
    free = np.zeros((40, 40), bool)  # a look at it is quicker than cutting boxes out of boxes
    free[_cells(spot)] = True
    for other in spots:
        if other[2] > spot[2]:
            free[_cells(other)] = False
    scale = spot[0]
    return bool(free.sum() >= 0.4 * (0.34 * scale * 40) * (scale * 40))


def _cells(spot: tuple[float, float, float]) -> tuple[slice, slice]:
    scale, x, floor = spot
    x0, x1, y0, y1 = (x - 0.17 * scale, x + 0.17 * scale, floor - scale, floor)
    a, b, c, d = (int(np.clip(round(40 * v), 0, 40)) for v in (x0, x1, y0, y1))
    return slice(c, d), slice(a, b)


def _parcels(rng: np.random.Generator, horizon: float) -> tuple[Parcel, ...]:
    """None to three, large where they are near."""
    found = []
    for _ in range(int(rng.choice(4, p=(0.2, 0.35, 0.3, 0.15)))):
        scale = rng.uniform(0.35, 0.95)
        found.append(
            Parcel(
                x=rng.uniform(0.06, 0.94),
                floor=_floor(scale, horizon, rng),
                wide=scale * rng.uniform(0.16, 0.28),
                high=scale * rng.uniform(0.12, 0.24),
                turned=rng.uniform(0.15, 0.45) * rng.choice((-1.0, 1.0)),
                colour=np.array([196.0, 152.0, 104.0]) * rng.uniform(0.6, 1.15)
                + rng.normal(0, 8, size=3),
                tape=np.array([226.0, 214.0, 190.0]) * rng.uniform(0.35, 1.1),
            )
        )
    return tuple(sorted(found, key=lambda parcel: parcel.floor))


def _clutter(rng: np.random.Generator, horizon: float) -> tuple[Occluder, ...]:
    """Bars and discs at the wall, as thick as limbs and heads."""
    found = []
    for _ in range(int(rng.integers(2, 7))):
        angle, half = rng.uniform(0, np.pi), rng.uniform(0.05, 0.25) * (rng.uniform() < 0.7)
        found.append(
            Occluder(
                start=np.array([rng.uniform(0, 1), rng.uniform(0.05, horizon + 0.1)]),
                path=np.zeros(2),
                reach=half * np.array([np.cos(angle), np.sin(angle)]),
                radius=rng.uniform(0.010, 0.035) if half else rng.uniform(0.02, 0.07),
                colour=rng.uniform(40, 220) + rng.normal(0, 22, size=3),
            )
        )
    return tuple(found)


def _box(parcel: Parcel, label: int, camera: Array) -> Part:
    """Front, top and side, with a band of tape over front and top."""
    across, up = np.array([parcel.wide, 0.0]), np.array([0.0, -parcel.high])
    back = np.array([parcel.turned * parcel.wide, -0.30 * parcel.wide])
    left = camera + [parcel.x, parcel.floor] - 0.5 * across
    edge = left + across if parcel.turned > 0 else left

    def face(at: Array, one: Array, other: Array, tone: float, colour: Array, edge: bool) -> Fill:
        corners = np.stack([at, at + one, at + one + other, at + other], 1)
        return Fill(corners, tinted(np.clip(colour, 0, 255), tone), edge=edge)

    band = 0.22 * across
    fills = [
        face(edge, back, up, 0.66, parcel.colour, True),
        face(left + up, across, back, 1.12, parcel.colour, True),
        face(left, across, up, 0.90, parcel.colour, True),
        face(left + up + 0.39 * across, band, back, 1.1, parcel.tape, False),
        face(left + 0.39 * across, band, up, 0.9, parcel.tape, False),
    ]
    return Part(label, np.zeros(1), fills)


def _from_afar(crowd: Crowd) -> list[tuple[int, Actor | Parcel]]:
    """Everything that stands on the floor, the furthest first, with its label."""
    things: list[tuple[int, Actor | Parcel]] = [
        *((STEP * k, actor) for k, actor in enumerate(crowd.actors)),
        *((PARCEL + m, parcel) for m, parcel in enumerate(crowd.parcels)),
    ]
    return sorted(things, key=lambda thing: thing[1].floor)


def _own(names: Array, label: int) -> Array:
    """The labels of one person's parts, or 1 where a parcel is, as if there were nothing else."""
    if label >= PARCEL:
        return (names == label).astype(np.uint8)
    own: Array = np.where(names // STEP == label // STEP, names % STEP, 0)
    return own


def _masks(own: dict[int, Array], size: int) -> dict[int, Array]:
    """(H, W) of each label; a pixel of which two have a half is the nearer's."""
    found = {}
    free = np.ones((size, size), bool)
    for label in reversed(own):
        found[label] = (share(own[label] > 0, size)[0] >= 0.5) & free
        free &= ~found[label]
    return found
