"""Every random factor of one clip, drawn once and in units of the frame, not of pixels.

Positions have x to the right and y down, 0 ... 1 across the frame; colours are RGB, 0 ... 255.
Nothing here knows the size of the picture, so one scene renders alike at any size.
"""

from __future__ import annotations

from colorsys import hsv_to_rgb
from typing import NamedTuple

import numpy as np

from velatura.data._people.body import Build, draw_build
from velatura.data._people.census import ATTRIBUTES, PEOPLE, SPLITS
from velatura.data._people.motion import Array, Manner, Style, draw_manner, draw_style
from velatura.data._people.room import Paint

Colour = Array  # (3,) float
SHORT, LONG = ("cap", "crop", "curls"), ("long", "bob", "tail")


class Person(NamedTuple):
    """What stays with a person from clip to clip."""

    build: Build
    style: Style
    skin: Colour
    hair: Colour
    hairdo: str
    feminine: bool


class Outfit(NamedTuple):
    """What a person wears in one clip."""

    shirt: Colour
    stripes: Colour | None
    bands: int
    legs: Colour
    shoes: Colour
    skirt: bool
    bare: bool  # short sleeves and bare legs
    cover: Colour | None  # a mask over nose and mouth
    scarf: bool  # the cover goes round the neck as well
    gown: Colour | None = None  # a wide skirt's own colour; else it follows the legs'
    hat: Colour | None = None


class Actor(NamedTuple):
    """One person in front of the camera."""

    person: Person
    outfit: Outfit
    action: str
    manner: Manner
    yaw: float  # 0 faces the camera, positive turns to the image's right
    scale: float  # frame heights per standing height
    x: float
    floor: float  # y of the floor under the feet
    drift: Array  # (T, 2) of frames, moves with the room behind


class Occluder(NamedTuple):
    """A disc or a bar that crosses in front of everything."""

    start: Array  # (2,)
    path: Array  # (2,) travelled over the clip
    reach: Array  # (2,) from the centre to each end of the bar; zero for a disc
    radius: float
    colour: Colour


class Light(NamedTuple):
    direction: Array  # (2,) unit, towards the light in the image
    gain: Array  # (T, 3)
    noise: float  # standard deviation, of 255
    seed: int  # of the noise


class Scene(NamedTuple):
    """One clip, ready to be drawn."""

    actor: Actor
    others: tuple[Actor, ...]  # furthest first
    occluders: tuple[Occluder, ...]
    stool: Colour
    light: Light
    tilt: float  # rad, the camera looks down
    camera: Array  # (T, 2) shake and pan of the whole picture, frames
    horizon: float  # y where the wall meets the floor
    texture: tuple[str, int]  # which wall
    flip: bool
    window: Array  # (2,) where on the wall the camera starts
    slide: Array  # (T, 2) motion of the wall relative to the actor, frames
    paint: Paint | None = None  # what the room is made to tell


def draw_person(seed: int, split: str, number: int, skin: int, feminine: int, hair: int) -> Person:
    """The person `number` of a split, whose three traits the census has dealt."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, SPLITS[split], number, PEOPLE]))
    return _person(rng, bool(skin), bool(feminine), bool(hair))


def draw_scene(
    seed: int, split: str, index: int, frames: int, action: str, attributes: Array, number: int
) -> Scene:
    """The scene of clip `index`. Only named attributes steer it; the action steers nothing else."""
    has = dict(zip(ATTRIBUTES, (bool(a) for a in attributes), strict=True))
    rng = np.random.default_rng(np.random.SeedSequence([seed, SPLITS[split], index]))
    person = draw_person(seed, split, number, has["skin_tone"], has["gender"], has["hair"])
    face = "complete" if has["face_complete"] else "partial" if has["face_partial"] else "absent"
    time = np.linspace(0.0, 1.0, frames)
    slide = _slide(rng, time)
    actor = _actor(rng, person, action, face, has["bare_skin"], has["shirt"], frames)
    close = _close(rng, actor, frames)
    distant = _distant(rng, actor, close if has["person_close"] else None, slide)
    others = [distant] * has["person_distant"] + [close] * has["person_close"]
    return Scene(
        actor=actor,
        others=tuple(others),
        occluders=_occluders(rng),
        stool=_hsv(rng.uniform(0.0, 1.0), rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.75)),
        light=_light(rng, time),
        tilt=rng.uniform(0.06, 0.20),
        camera=_shake(rng, time),
        horizon=actor.floor - rng.uniform(0.10, 0.26),
        texture=(split, int(rng.integers(1_000_000))),
        flip=bool(rng.integers(2)),
        window=rng.uniform(size=2),
        slide=slide,
    )


def _person(rng: np.random.Generator, skin: bool, feminine: bool, hair: bool) -> Person:
    long = rng.uniform() < (0.95 if feminine else 0.05)
    return Person(
        build=draw_build(feminine, rng),
        style=draw_style(rng),
        skin=_skin(rng, light=skin),
        hair=_hair(rng, light=hair),
        hairdo=str(rng.choice(LONG if long else SHORT)),
        feminine=feminine,
    )


def _actor(
    rng: np.random.Generator,
    person: Person,
    action: str,
    face: str,
    bare: bool,
    cool: bool,
    frames: int,
) -> Actor:
    covered = bool(rng.uniform() < 0.5) and face == "partial"
    manner = draw_manner(rng)
    side = float(rng.choice([-1.0, 1.0]))
    turned, profile = rng.uniform(0.15, 0.65), rng.uniform(0.75, 0.95)
    yaw, gaze = side * turned, -0.4 * side * turned  # the head turns back towards the camera
    if face == "absent":
        yaw, gaze = yaw + np.pi, 0.0
    elif face == "partial" and not covered:
        yaw, gaze = side * profile, 0.45 * side
    manner = manner._replace(gaze=manner.gaze + gaze)
    return Actor(
        person=person,
        outfit=_outfit(rng, person, bare, cool, covered),
        action=action,
        manner=manner,
        yaw=yaw,
        scale=rng.uniform(0.70, 0.80),
        x=0.5 + rng.uniform(-0.2, 0.2),
        floor=rng.uniform(0.92, 0.97),
        drift=np.zeros((frames, 2)),
    )


def _stranger(rng: np.random.Generator) -> tuple[Person, Outfit]:
    """Somebody else, whose every attribute is a coin of its own."""
    skin, feminine, hair, bare, cool = (rng.uniform(size=5) < 0.5).tolist()
    person = _person(rng, skin, feminine, hair)
    return person, _outfit(rng, person, bare, cool, bool(rng.uniform() < 0.2))


def _close(rng: np.random.Generator, actor: Actor, frames: int) -> Actor:
    """As large as the actor, beside and behind, on the side with more room."""
    person, outfit = _stranger(rng)
    gap = rng.uniform(0.25, 0.36)
    side = 1.0 if actor.x + rng.uniform(-0.12, 0.12) < 0.5 else -1.0
    return Actor(
        person=person,
        outfit=outfit,
        action="idle",
        manner=draw_manner(rng),
        yaw=rng.uniform(-np.pi, np.pi),
        scale=actor.scale * rng.uniform(0.86, 0.98),
        x=actor.x + side * gap,
        floor=actor.floor - rng.uniform(0.02, 0.05),
        drift=np.zeros((frames, 2)),
    )


def _distant(rng: np.random.Generator, actor: Actor, close: Actor | None, slide: Array) -> Actor:
    """A third as large, further back, where the nearer people leave room."""
    person, outfit = _stranger(rng)
    ratio = rng.uniform(0.38, 0.50)
    spots = rng.uniform(0.06, 0.94, size=8)
    free = np.abs(spots - actor.x) - 0.20
    if close is not None:
        free = np.minimum(free, np.abs(spots - close.x) - 0.17)
    best = int(np.argmax(np.minimum(free, 0.02)))  # the first spot that is free enough
    return Actor(
        person=person,
        outfit=outfit,
        action="idle",
        manner=draw_manner(rng),
        yaw=rng.uniform(-np.pi, np.pi),
        scale=actor.scale * ratio,
        x=float(spots[best]),
        floor=actor.floor - rng.uniform(0.08, 0.14),
        drift=0.25 * (slide - slide.mean(0)) * np.array([1.0, 0.0]),
    )


def _outfit(
    rng: np.random.Generator, person: Person, bare: bool, cool: bool, covered: bool
) -> Outfit:
    hue = rng.uniform(0.40, 0.68) if cool else rng.uniform(-0.06, 0.14)
    shirt = _hsv(hue, rng.uniform(0.50, 0.90), rng.uniform(0.45, 0.95))
    pale = bool(rng.integers(2))
    band = shirt * 0.45 if pale else shirt * 0.35 + 160.0
    striped = bool(rng.uniform() < 0.35)
    wears_skirt = bool(rng.uniform() < 0.8)
    mask = _hsv(rng.uniform(0.25, 0.75), rng.uniform(0.1, 0.7), float(rng.choice([0.15, 0.9])))
    return Outfit(
        shirt=shirt,
        stripes=band if striped else None,
        bands=int(rng.integers(2, 5)),
        legs=_hsv(rng.uniform(), rng.uniform(0.10, 0.55), rng.uniform(0.18, 0.70)),
        shoes=_hsv(rng.uniform(), rng.uniform(0.0, 0.6), rng.uniform(0.10, 0.90)),
        skirt=wears_skirt and person.feminine,
        bare=bare,
        cover=mask if covered else None,
        scarf=bool(rng.integers(2)),
    )


def _occluders(rng: np.random.Generator) -> tuple[Occluder, ...]:
    drawn = []
    for _ in range(2):
        start = np.array([rng.uniform(-0.1, 1.1), rng.uniform(0.1, 0.95)])
        path = rng.normal(0, 0.25, size=2) * np.array([1.0, 0.5])
        angle, half = rng.uniform(0, np.pi), rng.uniform(0.08, 0.22)
        bar = bool(rng.integers(2))
        reach = half * np.array([np.cos(angle), np.sin(angle)]) * bar
        radius = rng.uniform(0.014, 0.025) if bar else rng.uniform(0.03, 0.065)
        colour = _hsv(rng.uniform(), rng.uniform(0.1, 0.8), rng.uniform(0.2, 0.9))
        drawn.append(Occluder(start, path, reach, radius, colour))
    return tuple(drawn[: int(rng.choice(3, p=[0.45, 0.40, 0.15]))])


def _light(rng: np.random.Generator, time: Array) -> Light:
    angle = rng.uniform(-2.6, -0.5)
    flicker = 1.0 + rng.normal(0, 0.015, size=(len(time), 1))
    tint = 1.0 + rng.normal(0, 0.03, size=3)
    return Light(
        direction=np.array([np.cos(angle), np.sin(angle)]),
        gain=rng.uniform(0.82, 1.12) * flicker * tint,
        noise=rng.uniform(1.0, 4.0),
        seed=int(rng.integers(2**31)),
    )


def _shake(rng: np.random.Generator, time: Array) -> Array:
    """(T, 2): hand shake of up to a third of a pixel at 48, on a slow pan."""
    pan = rng.normal(0, 0.025, size=2) * np.array([1.0, 0.4])
    shake = rng.normal(0, rng.uniform(0.001, 0.006), size=(len(time), 2))
    return pan * (time[:, None] - 0.5) + shake


def _slide(rng: np.random.Generator, time: Array) -> Array:
    """(T, 2): the wall's velocity has a standard deviation of 1.6 pixels a frame at 48 and 8."""
    speed = rng.normal(0, 7 * 1.6 / 48, size=2) * np.array([1.0, 0.3])
    swing, turn = rng.uniform(0.0, 0.03), rng.uniform()
    sway = swing * np.sin(2 * np.pi * (turn + time))[:, None] * np.array([1.0, 0.3])
    return speed * time[:, None] + sway


def _skin(rng: np.random.Generator, light: bool) -> Colour:
    pale = np.array([[250, 214, 190], [240, 200, 168], [228, 184, 148]], float)
    deep = np.array([[128, 84, 60], [104, 68, 50], [82, 54, 42]], float)
    return _mix(rng, pale if light else deep)


def _hair(rng: np.random.Generator, light: bool) -> Colour:
    fair = np.array([[238, 208, 132], [222, 176, 96], [214, 210, 204]], float)
    dark = np.array([[28, 22, 20], [58, 36, 26], [44, 40, 46]], float)
    return _mix(rng, fair if light else dark)


def _mix(rng: np.random.Generator, swatches: Array) -> Colour:
    colour: Array = rng.dirichlet(np.ones(len(swatches))) @ swatches
    return colour


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    return 255.0 * np.array(hsv_to_rgb(hue % 1.0, saturation, value))
