"""Actions as joint-angle curves; angles in radians, time in [0, 1] over the clip.

Arms and legs are (T, 2) arrays, left limb first. `flex` swings a limb forward about the
shoulder or hip line, `abd` lifts it sideways; 0 hangs straight down, pi points straight up.
Forearm and shin carry absolute angles too, so an elbow or a knee is the difference of two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray

ACTIONS = (
    "wave",
    "clap",
    "jumping_jack",
    "walk",
    "kick",
    "punch",
    "raise_arms",
    "lower_arms",
    "sit_down",
    "stand_up",
)
# The right-hand name is the left-hand film run backwards, draw for draw.
REVERSED = {"lower_arms": "raise_arms", "stand_up": "sit_down"}


class Style(NamedTuple):
    """How one person moves; all of it belongs to the person, not to the clip."""

    energy: float  # scales amplitudes, about 1
    arms_out: float  # resting abduction of the arms
    elbow: float  # resting elbow bend
    lean: float  # resting forward lean
    bounce: float  # hop height over leg length
    toe_out: float  # outward turn of the feet
    lag: float  # how far the forearm trails the upper arm, in cycles
    sway: float = 0.03  # sideways tilt of the chest at rest, either way
    rhythm: float = 0.7  # of that sway, cycles in a clip


class Slip(NamedTuple):
    """Angles by which a copy of a pose is wrong, added to those of `Pose` with the same names."""

    upper_flex: Array  # (2,) from here to shin_flex
    upper_abd: Array
    fore_flex: Array
    fore_abd: Array
    thigh_flex: Array
    thigh_abd: Array
    shin_flex: Array
    lean: float
    roll: float
    twist: float
    gaze: float
    nod: float


class Manner(NamedTuple):
    """How one clip is acted. Every field is drawn whatever the action, so draws never shift."""

    phase: float  # cycles
    tempo: float  # cycles in a clip
    side: int  # 0 left, 1 right: the acting limb where only one acts
    both: bool  # both arms act, where the action leaves the choice
    lateral: bool  # arms rise sideways rather than forward
    onset: float  # [0, 1]: when a one-way movement starts, early to late
    low: float  # arm elevation before it is raised
    high: float  # arm elevation once raised
    reach: float  # amplitude in [0, 1]
    bend: float  # elbow bend of a raised arm
    stance: float  # abduction of the resting legs
    sway: float  # phase of the idle sway, cycles
    gaze: float  # head turn relative to the chest
    nod: float  # head pitch
    slip: Slip | None = None


class Pose(NamedTuple):
    """T frames of joint angles."""

    upper_flex: Array
    upper_abd: Array
    fore_flex: Array
    fore_abd: Array
    thigh_flex: Array
    thigh_abd: Array
    shin_flex: Array
    lean: Array  # (T,) chest forward
    roll: Array  # (T,) chest sideways
    twist: Array  # (T,) chest about the vertical
    hop: Array  # (T,) feet above the floor, over body height
    gaze: Array  # (T,)
    nod: Array  # (T,)
    pinned: bool  # feet stay put while the pelvis moves


def draw_style(rng: np.random.Generator) -> Style:
    """A person's way of moving."""
    return Style(
        energy=rng.uniform(0.88, 1.12),
        arms_out=rng.uniform(0.10, 0.28),
        elbow=rng.uniform(0.10, 0.50),
        lean=rng.uniform(-0.02, 0.10),
        bounce=rng.uniform(0.02, 0.06),
        toe_out=rng.uniform(0.10, 0.40),
        lag=rng.uniform(0.0, 0.06),
    )


def draw_manner(rng: np.random.Generator) -> Manner:
    """One clip's way of acting; blind to the action."""
    return Manner(
        phase=rng.uniform(),
        tempo=rng.uniform(0.8, 1.5),
        side=int(rng.integers(2)),
        both=bool(rng.uniform() < 0.5),
        lateral=bool(rng.uniform() < 0.5),
        onset=rng.uniform(),
        low=rng.uniform(0.05, 0.5),
        high=rng.uniform(2.1, 3.0),
        reach=rng.uniform(),
        bend=rng.uniform(0.0, 0.7),
        stance=rng.uniform(0.03, 0.28),
        sway=rng.uniform(),
        gaze=rng.uniform(-0.15, 0.15),
        nod=rng.uniform(-0.08, 0.12),
    )


def draw_slip(rng: np.random.Generator) -> Slip:
    """A pose that was missed: standard deviations of 0.25 to 0.6, a forearm goes with its upper
    arm and a shin with its thigh before it errs by itself."""

    def pair(spread: float) -> Array:
        return rng.normal(0.0, spread, size=2)

    upper_flex, upper_abd, thigh_flex = pair(0.60), pair(0.60), pair(0.45)
    return Slip(
        upper_flex=upper_flex,
        upper_abd=upper_abd,
        fore_flex=upper_flex + pair(0.50),
        fore_abd=upper_abd + pair(0.50),
        thigh_flex=thigh_flex,
        thigh_abd=pair(0.30),
        shin_flex=thigh_flex + pair(0.40),
        lean=rng.normal(0.0, 0.25),
        roll=rng.normal(0.0, 0.25),
        twist=rng.normal(0.0, 0.40),
        gaze=rng.normal(0.0, 0.50),
        nod=rng.normal(0.0, 0.30),
    )


def pose(action: str, manner: Manner, style: Style, time: Array) -> Pose:
    """Joint angles of `action` at `time` (T,) in [0, 1]; "idle" stands and breathes."""
    if action in REVERSED:
        return pose(REVERSED[action], manner, style, 1.0 - time)
    acted = _CURVES[action](_rest(manner, style, time), manner, style, time)
    if manner.slip is None:
        return acted
    wrong = manner.slip._asdict()
    return acted._replace(**{name: getattr(acted, name) + wrong[name] for name in wrong})


def _rest(m: Manner, s: Style, time: Array) -> Pose:
    """Standing with a slight sway: where every action starts from."""
    sway = np.sin(2 * np.pi * (m.sway + s.rhythm * time))
    pair = np.ones((len(time), 2))
    sides = np.array([1.0, -1.0])
    flex = 0.06 * sway[:, None] * sides
    return Pose(
        upper_flex=flex,
        upper_abd=s.arms_out * pair,
        fore_flex=flex + s.elbow,
        fore_abd=0.5 * s.arms_out * pair,
        thigh_flex=0.0 * pair,
        thigh_abd=m.stance * pair,
        shin_flex=-0.03 * pair,
        lean=s.lean + 0.02 * sway,
        roll=s.sway * sway,
        twist=0.04 * np.cos(2 * np.pi * (m.sway + 0.5 * time)),
        hop=0.0 * time,
        gaze=m.gaze + 0.05 * sway,
        nod=m.nod + 0.0 * time,
        pinned=False,
    )


def _idle(p: Pose, m: Manner, s: Style, time: Array) -> Pose:
    """A bystander: stands; now and then an arm rests on the hip or is held up, motionless."""
    if not m.both or m.reach < 0.4:
        return p
    held = p.upper_abd.copy(), p.fore_abd.copy(), p.fore_flex.copy()
    up = m.reach > 0.85
    held[0][:, m.side] = m.high - 0.5 if up else 0.75
    held[1][:, m.side] = np.pi - 0.3 if up else -0.75
    held[2][:, m.side] = 0.0 if up else 0.3
    return p._replace(upper_abd=held[0], fore_abd=held[1], fore_flex=held[2])


def _acting(m: Manner) -> Array:
    """(1, 2) weights of the arms that act."""
    if m.both:
        return np.ones((1, 2))
    return np.eye(2)[m.side][None]


def _blend(still: Array, moving: Array, weight: Array) -> Array:
    return still + weight * (moving - still)


def _cycle(m: Manner, time: Array, ahead: float = 0.0) -> Array:
    """Phase in radians."""
    return 2 * np.pi * (m.phase + m.tempo * time + ahead)


def _one_way(m: Manner, time: Array) -> Array:
    """A smooth step from 0 to 1; a quick tempo makes it short, `onset` places it in the clip."""
    span = 0.75 / m.tempo
    start = m.onset * (1.0 - span)
    x = np.clip((time - start) / span, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def _wave(p: Pose, m: Manner, s: Style, time: Array) -> Pose:
    who = _acting(m)
    swing = (0.60 + 0.25 * m.reach) * s.energy * np.sin(_cycle(m, time))[:, None]
    mirrored = swing * np.array([1.0, -1.0])  # both forearms lean the same way in space
    lift = m.high - 0.70 + 0.2 * mirrored
    fore = np.pi - 0.25 + m.bend * 0.3 + mirrored
    return p._replace(
        upper_abd=_blend(p.upper_abd, lift, who),
        fore_abd=_blend(p.fore_abd, fore, who),
        upper_flex=_blend(p.upper_flex, 0.0 * lift - 0.1, who),
        fore_flex=_blend(p.fore_flex, 0.0 * lift - 0.15, who),
        roll=p.roll + 0.05 * np.sin(_cycle(m, time)),
    )


def _clap(p: Pose, m: Manner, s: Style, time: Array) -> Pose:
    opened = (0.5 + 0.5 * np.cos(_cycle(m, time)))[:, None] * np.ones((1, 2))
    opened = opened * (0.8 + 0.2 * m.reach)
    height = 0.45 + 0.5 * m.onset
    return p._replace(
        upper_flex=height + 0.1 * opened,
        upper_abd=0.05 + 1.0 * s.energy * opened,
        fore_flex=height + 0.75 + 0.0 * opened,
        fore_abd=-0.60 + 1.65 * s.energy * opened,
    )


def _jumping_jack(p: Pose, m: Manner, s: Style, time: Array) -> Pose:
    opened = (0.5 - 0.5 * np.cos(_cycle(m, time)))[:, None] * np.ones((1, 2))
    trailing = (0.5 - 0.5 * np.cos(_cycle(m, time, -s.lag)))[:, None] * np.ones((1, 2))
    low, high = 0.5 * m.low, m.high - 0.1
    return p._replace(
        upper_abd=low + (high - low) * opened,
        fore_abd=low + (high + 0.3 * m.bend - low) * trailing,
        upper_flex=0.0 * opened,
        fore_flex=0.1 + 0.0 * opened,
        thigh_abd=0.04 + (0.30 + 0.15 * m.reach) * s.energy * opened,
        hop=s.bounce * np.abs(np.sin(_cycle(m, time))),
    )


def _walk(p: Pose, m: Manner, s: Style, time: Array) -> Pose:
    legs = np.stack([_cycle(m, time), _cycle(m, time, 0.5)], 1)
    stride = (0.48 + 0.18 * m.reach) * s.energy
    knee = 0.10 + 0.95 * stride / 0.5 * np.clip(np.cos(legs), 0, None) ** 1.5
    arms = -0.85 * stride * np.sin(legs)
    return p._replace(
        thigh_flex=stride * np.sin(legs) + 0.25 * np.clip(np.cos(legs), 0, None),
        shin_flex=stride * np.sin(legs) + 0.25 * np.clip(np.cos(legs), 0, None) - knee,
        thigh_abd=0.03 + 0.3 * p.thigh_abd,
        upper_flex=arms,
        fore_flex=arms + s.elbow + 0.25,
        twist=p.twist + 0.12 * np.sin(legs[:, 0]),
        lean=p.lean + 0.05,
    )


def _kick(p: Pose, m: Manner, s: Style, time: Array) -> Pose:
    turn = _cycle(m, time)
    forward = np.clip(np.sin(turn), 0, None) ** 1.3
    back = np.clip(-np.sin(turn), 0, None)
    flex = (1.15 + 0.40 * m.reach) * s.energy * forward - 0.4 * back
    knee = 0.12 + 0.95 * np.clip(np.sin(turn + 1.1), 0, None) * (1 - 0.75 * forward) + 0.5 * back
    thigh, shin = p.thigh_flex.copy(), p.shin_flex.copy()
    thigh[:, m.side], shin[:, m.side] = flex, flex - knee
    aside = p.thigh_abd.copy()
    aside[:, m.side] += 0.28 * forward  # a little outwards, so that it shows from the front too
    arms = 0.45 * np.sin(turn)[:, None] * (1 - 2 * np.eye(2)[m.side])
    return p._replace(
        thigh_flex=thigh,
        shin_flex=shin,
        thigh_abd=aside,
        upper_flex=arms,
        fore_flex=arms + s.elbow + 0.2,
        upper_abd=p.upper_abd + 0.15,
        lean=p.lean - 0.12 * forward,
    )


def _punch(p: Pose, m: Manner, s: Style, time: Array) -> Pose:
    turns = np.stack([_cycle(m, time), _cycle(m, time, 0.5)], 1)
    out = (0.5 + 0.5 * np.cos(turns)) ** 1.6
    height = 0.25 * m.onset
    return p._replace(
        upper_flex=-0.60 + (2.0 + height) * s.energy * out,
        upper_abd=0.45 - 0.40 * out,
        fore_flex=1.35 + height + 0.1 * out,
        fore_abd=0.05 - 0.10 * out,
        twist=p.twist + 0.48 * (out[:, 1] - out[:, 0]),
        lean=p.lean + 0.06,
    )


def _raise_arms(p: Pose, m: Manner, s: Style, time: Array) -> Pose:
    who = _acting(m)
    done = _one_way(m, time)[:, None] * np.ones((1, 2))
    lift = m.low + (m.high - m.low) * done
    fore = lift + (s.elbow * (1 - done) + m.bend * done) * (0.6 if m.lateral else 0.35)
    if m.lateral:
        return p._replace(
            upper_abd=_blend(p.upper_abd, lift, who), fore_abd=_blend(p.fore_abd, fore, who)
        )
    spread = 0.30 + 0.0 * lift
    return p._replace(
        upper_flex=_blend(p.upper_flex, lift, who),
        fore_flex=_blend(p.fore_flex, fore, who),
        upper_abd=_blend(p.upper_abd, spread, who),
        fore_abd=_blend(p.fore_abd, spread, who),
    )


def _sit_down(p: Pose, m: Manner, s: Style, time: Array) -> Pose:
    done = _one_way(m, time)[:, None] * np.ones((1, 2))
    bent = np.sin(np.pi * done[:, 0])
    return p._replace(
        thigh_flex=1.50 * done,
        shin_flex=-0.03 - 0.35 * np.sin(np.pi * done) + 0.05 * done,
        thigh_abd=0.05 + 0.7 * p.thigh_abd,
        upper_flex=p.upper_flex + 0.45 * bent[:, None] + 0.25 * done,
        fore_flex=p.fore_flex + 0.45 * bent[:, None] + 0.75 * done,
        lean=p.lean + 0.55 * bent,
        pinned=True,
    )


_CURVES: dict[str, Callable[[Pose, Manner, Style, Array], Pose]] = {
    "idle": _idle,
    "wave": _wave,
    "clap": _clap,
    "jumping_jack": _jumping_jack,
    "walk": _walk,
    "kick": _kick,
    "punch": _punch,
    "raise_arms": _raise_arms,
    "sit_down": _sit_down,
}
