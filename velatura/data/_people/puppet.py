"""An actor as drawable parts: limbs, clothes and head, each with a depth and a label."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from velatura.data._people import head as heads
from velatura.data._people.body import Joints, keypoints, skeleton
from velatura.data._people.motion import Array, pose
from velatura.data._people.scene import Actor
from velatura.data._people.shape import Fill, Part, Shade, Stroke, capsules, tinted

# Labels of the acting person's parts, used for masks and for what hides a keypoint.
TORSO, HEAD, SKIRT, HAIR = 1, 2, 3, 4
UPPER, FORE, THIGH, SHIN = (5, 6), (7, 8), (9, 10), (11, 12)
STOOL, OTHER, OCCLUDER = 100, 150, 200

# Joints in the image: name to (T, 2) or (T, 2, 2) positions and (T,) or (T, 2) nearness.
Flat = dict[str, tuple[Array, Array]]

_FACE = (HEAD, HAIR)
OWN_PARTS = (
    *[_FACE] * 5,
    *[(TORSO, UPPER[i], SKIRT) for i in (0, 1)],
    *[(UPPER[i], FORE[i]) for i in (0, 1)],
    *[(FORE[i],) for i in (0, 1)],
    *[(TORSO, SKIRT, THIGH[i]) for i in (0, 1)],
    *[(SKIRT, THIGH[i], SHIN[i]) for i in (0, 1)],
    *[(SHIN[i],) for i in (0, 1)],
)


class Puppet(NamedTuple):
    """An actor in T frames, in units of the frame."""

    parts: list[Part]
    keypoints: Array  # (T, 17, 2)
    facing: Array  # (T, 5) how much nose, eyes and ears face the camera
    feet: Array  # (T, 2) middle of the ankles on the floor


class View(NamedTuple):
    """An orthographic camera that looks down a little."""

    actor: Actor
    tilt: float
    shift: Array  # (T, 2)

    def look(self, points: Array) -> tuple[Array, Array]:
        """Body axes (T, K, 3) to image (T, K, 2) and nearness (T, K)."""
        c, s = np.cos(self.actor.yaw), np.sin(self.actor.yaw)
        level = points @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        image = level @ np.array([[1, 0], [0, -np.cos(self.tilt)], [0, np.sin(self.tilt)]])
        start = self.shift + np.array([self.actor.x, self.actor.floor])
        return self.actor.scale * image + start[:, None], level[..., 2]

    def turn(self) -> Array:
        """(3, 3): body axes to image axes (right, up, towards the camera)."""
        c, s = np.cos(self.actor.yaw), np.sin(self.actor.yaw)
        ct, st = np.cos(self.tilt), np.sin(self.tilt)
        return np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]]) @ [[c, 0, s], [0, 1, 0], [-s, 0, c]]


def puppet(actor: Actor, tilt: float, shift: Array, shade: Shade, fine: bool) -> Puppet:
    """Pose, project and dress an actor for T frames; `shift` (T, 2) is the camera's."""
    time = np.linspace(0.0, 1.0, len(shift))
    person = actor.person
    joints = skeleton(
        person.build,
        pose(actor.action, actor.manner, person.style, time),
        person.style.toe_out,
    )
    view = View(actor, tilt, shift + actor.drift)
    points, _ = view.look(keypoints(joints, person.build))
    facing = view.turn() @ joints.head_turn
    feet, _ = view.look(joints.ankles.mean(1, keepdims=True) * np.array([1.0, 0.0, 1.0]))
    return Puppet(
        parts=_parts(actor, _flat(joints, view), facing, view, shade, fine),
        keypoints=points,
        facing=np.stack([facing[:, 2, 2]] * 3 + [facing[:, 2, 0], -facing[:, 2, 0]], 1),
        feet=feet[:, 0],
    )


def stool(actor: Actor, tilt: float, shift: Array, colour: Array, shade: Shade) -> Part:
    """A stool a thigh's length behind the actor's feet, there in every clip."""
    build, unit = actor.person.build, actor.scale
    high, back = build.shin - 0.03, -0.97 * build.thigh
    legs = np.array([[x, z] for z in (-0.05, 0.05) for x in (-0.07, 0.07)])
    tops = np.insert(legs, 1, high, axis=1) + [0, 0, back]
    feet = np.insert(1.2 * legs, 1, 0.0, axis=1) + [0, 0, back]
    places = np.concatenate([tops, feet, [[0.0, high, back]]])
    at, near = View(actor, tilt, shift).look(np.tile(places, (len(shift), 1, 1)))
    strokes = [
        Stroke(at[:, i], at[:, i + 4], 0.013 * unit, 0.011 * unit, 0.8 * colour) for i in range(4)
    ]
    wide = np.array([0.085 * unit, 0.0])
    thick = 0.036 * unit
    strokes.append(Stroke(at[:, 8] - wide, at[:, 8] + wide, thick, thick, colour))
    fills = [fill for layers in capsules(strokes, shade) for fill in layers]
    return Part(STOOL, near[:, 8] - 0.07, fills)


def _flat(joints: Joints, view: View) -> Flat:
    """Every joint as the camera sees it, in one projection."""
    named = {n: v for n, v in joints._asdict().items() if n != "head_turn"}
    columns = [v if v.ndim == 3 else v[:, None] for v in named.values()]
    at, near = view.look(np.concatenate(columns, 1))
    flat, start = {}, 0
    for name, value in named.items():
        if value.ndim == 2:
            flat[name] = at[:, start], near[:, start]
            start += 1
        else:
            flat[name] = at[:, start : start + 2], near[:, start : start + 2]
            start += 2
    return flat


def _parts(
    actor: Actor, flat: Flat, facing: Array, view: View, shade: Shade, fine: bool
) -> list[Part]:
    limbs = _limbs(actor, flat, shade)
    trunk_depth = 0.5 * (flat["pelvis"][1] + flat["neck"][1])
    trunk = Part(TORSO, trunk_depth, _trunk(actor, flat, view, shade))
    parts = [*limbs, trunk]
    if actor.outfit.skirt:
        parts.append(Part(SKIRT, trunk_depth + 0.012, _skirt(actor, flat, shade)))
    skull = heads.Skull(flat["head"][0], facing, actor.person.build.head * actor.scale)
    forward = facing[:, 2, 2]
    hair = heads.back_hair(actor, skull, shade)
    if hair:
        parts.append(Part(HAIR, flat["head"][1] - 0.10 * forward, hair))
    depth = np.maximum(flat["head"][1], trunk_depth + 0.015)
    parts.append(Part(HEAD, depth, heads.head(actor, skull, shade, fine)))
    return parts


def _limbs(actor: Actor, flat: Flat, shade: Shade) -> list[Part]:
    """Eight parts, an upper and a lower one for each limb."""
    plan: list[tuple[int, Array, list[Stroke]]] = []
    for side in (0, 1):
        plan += _arm(actor, flat, side) + _leg(actor, flat, side)
    drawn = iter(capsules([stroke for _, _, strokes in plan for stroke in strokes], shade))
    return [
        Part(label, depth, [fill for _ in strokes for fill in next(drawn)])
        for label, depth, strokes in plan
    ]


def _arm(actor: Actor, flat: Flat, side: int) -> list[tuple[int, Array, list[Stroke]]]:
    at, near = _side(flat, side)
    skin, outfit, unit = actor.person.skin, actor.outfit, actor.scale
    girth = unit * actor.person.build.girth
    sleeve = tinted(outfit.shirt, 1.12)  # stands off from the trunk it moves in front of
    cloth = skin if outfit.bare else sleeve
    upper = [Stroke(at["shoulders"], at["elbows"], 0.042 * girth, 0.037 * girth, cloth)]
    if outfit.bare:
        end = at["shoulders"] + 0.5 * (at["elbows"] - at["shoulders"])
        upper.append(Stroke(at["shoulders"], end, 0.048 * girth, 0.049 * girth, sleeve))
    fore = [
        Stroke(at["wrists"], at["hands"], 0.034 * unit, 0.031 * unit, skin),
        Stroke(at["elbows"], at["wrists"], 0.037 * girth, 0.029 * girth, cloth),
    ]
    return [
        (UPPER[side], 0.5 * (near["shoulders"] + near["elbows"]) + 0.03, upper),
        (FORE[side], 0.5 * (near["elbows"] + near["hands"]) + 0.035, fore),
    ]


def _leg(actor: Actor, flat: Flat, side: int) -> list[tuple[int, Array, list[Stroke]]]:
    at, near = _side(flat, side)
    skin, outfit, unit = actor.person.skin, actor.outfit, actor.scale
    girth = unit * actor.person.build.girth
    under_skirt = outfit.skirt and outfit.gown is None
    tights = tinted(outfit.legs, 0.8) if under_skirt else outfit.legs
    cloth = skin if outfit.bare else tights
    thigh = [Stroke(at["hips"], at["knees"], 0.062 * girth, 0.050 * girth, cloth)]
    if outfit.bare and not outfit.skirt:
        end = at["hips"] + 0.62 * (at["knees"] - at["hips"])
        thigh.append(Stroke(at["hips"], end, 0.066 * girth, 0.064 * girth, outfit.legs))
    heel = at["ankles"] + np.array([0.0, 0.018 * unit])
    toe = at["toes"] + np.array([0.0, 0.012 * unit])
    shin = [
        Stroke(at["knees"], at["ankles"], 0.049 * girth, 0.034 * girth, cloth),
        Stroke(heel, toe, 0.034 * unit, 0.030 * unit, outfit.shoes),
    ]
    depth = 0.5 * (near["hips"] + near["knees"])
    # A skirt hangs over the thighs whatever they do.
    under = np.minimum(depth, 0.5 * (flat["pelvis"][1] + flat["neck"][1]) - 0.002)
    return [
        (THIGH[side], under if outfit.skirt else depth, thigh),
        (SHIN[side], 0.5 * (near["knees"] + near["ankles"]) - 0.01, shin),
    ]


def _side(flat: Flat, side: int) -> tuple[dict[str, Array], dict[str, Array]]:
    pairs = {name: value for name, value in flat.items() if value[1].ndim == 2}
    return (
        {name: xy[:, side] for name, (xy, _) in pairs.items()},
        {name: z[:, side] for name, (_, z) in pairs.items()},
    )


def _trunk(actor: Actor, flat: Flat, view: View, shade: Shade) -> list[Fill]:
    """Neck and pelvis, then the shirt, layer by layer with its stripes."""
    person, outfit, unit = actor.person, actor.outfit, actor.scale
    neck, pelvis, skull = (flat[name][0] for name in ("neck", "pelvis", "head"))
    hips = flat["hips"][0]
    thick = 0.058 * person.build.girth * unit
    scarf = outfit.cover if outfit.cover is not None and outfit.scarf else None
    strokes = [
        Stroke(neck + 0.15 * (pelvis - neck), neck + 0.5 * (skull - neck),
               0.036 * unit, 0.034 * unit, person.skin),
        Stroke(hips[:, 0], hips[:, 1], thick, thick, outfit.legs),
    ]  # fmt: skip
    fills = [fill for layers in capsules(strokes, shade) for fill in layers]
    widths, spine = _widths(actor, view), _spine(pelvis, neck)
    for i, (share, tone, offset) in enumerate(shade.steps):
        moved, inset = offset * 0.075 * unit, 0.06 * (1.0 - share)
        levels = np.linspace(-0.12 + inset, 1.06 - inset, 9)
        outline = _band(spine, widths, share, moved, levels)
        fills.append(Fill(outline, tinted(outfit.shirt, tone), None, i == 0, convex=False))
        if outfit.stripes is not None:
            for low in np.linspace(0.0, 0.92, outfit.bands, endpoint=False) + 0.06:
                levels = np.linspace(low, low + 0.40 / outfit.bands, 3)
                stripe = _band(spine, widths, share, moved, levels)
                fills.append(Fill(stripe, tinted(outfit.stripes, tone), None, edge=False))
    if scarf is not None:
        ring = np.array([0.040 * unit, 0.0])
        wrap = [Stroke(neck - ring, neck + ring, 0.036 * unit, 0.036 * unit, scarf)]
        fills += capsules(wrap, shade)[0]
    return fills


LEVELS = np.array([-0.14, 0.0, 0.25, 0.45, 0.75, 0.93, 1.00, 1.06])


def _widths(actor: Actor, view: View) -> Array:
    """(levels,) half widths of the trunk as seen from the camera, frame units."""
    b = actor.person.build
    side = np.array([
        b.hip + 0.050, b.hip + 0.048, b.waist + 0.030, b.waist + 0.022,
        0.84 * b.shoulder + 0.012, b.shoulder + 0.012, b.shoulder - 0.010, 0.045,
    ])  # fmt: skip
    front = np.array([0.075, 0.076, 0.068, 0.066, 1.08 * b.depth, 0.85 * b.depth, 0.045, 0.035])
    widths: Array = view.actor.scale * np.hypot(side * np.cos(actor.yaw), front * np.sin(actor.yaw))
    return widths


class Spine(NamedTuple):
    """The trunk's line from the pelvis up; (T, 2) each."""

    root: Array
    axis: Array
    across: Array  # unit, to the side


def _spine(pelvis: Array, neck: Array) -> Spine:
    axis = neck - pelvis
    up = axis / np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-6)
    return Spine(pelvis, axis, np.stack([-up[:, 1], up[:, 0]], 1))


def _band(spine: Spine, widths: Array, share: float, offset: Array, levels: Array) -> Array:
    """(T, P, 2): the trunk at heights `levels`, 0 at the pelvis and 1 at the neck."""
    side = (share * np.interp(levels, LEVELS, widths))[:, None] * spine.across[:, None]
    middle = spine.root[:, None] + levels[:, None] * spine.axis[:, None] + offset
    return np.concatenate([middle + side, (middle - side)[:, ::-1]], 1)


def _skirt(actor: Actor, flat: Flat, shade: Shade) -> list[Fill]:
    """The hull of the waist and of a hem that hangs from both thighs."""
    import cv2

    unit, build = actor.scale, actor.person.build
    neck, pelvis = flat["neck"][0], flat["pelvis"][0]
    hips, knees = flat["hips"][0], flat["knees"][0]
    waist = pelvis + 0.30 * (neck - pelvis)
    hem = hips + 0.80 * (knees - hips)
    wide = 0.062 if actor.outfit.gown is None else 0.11
    flare = np.array([wide * unit, 0.0])
    low = np.array([0.0, 0.02 * unit])
    belt = np.array([(build.waist + 0.028) * unit * np.hypot(np.cos(actor.yaw), 0.7), 0.0])
    hip = np.array([0.055 * unit, 0.0])
    cloud = np.stack([
        waist - belt, waist + belt, hips[:, 0] - hip, hips[:, 0] + hip, hips[:, 1] - hip,
        hips[:, 1] + hip, hem[:, 0] - flare, hem[:, 0] + flare, hem[:, 1] - flare,
        hem[:, 1] + flare, hem[:, 0] + low, hem[:, 1] + low,
    ], 1).astype(np.float32)  # fmt: skip
    hulls = [cv2.convexHull(points)[:, 0].astype(float) for points in cloud]
    fills = []
    for i, (share, tone, offset) in enumerate(shade.steps):
        squeeze = np.array([share, 0.5 + 0.5 * share])
        moved = [h.mean(0) + squeeze * (h - h.mean(0)) + 0.07 * unit * offset for h in hulls]
        fills.append(Fill(moved, tinted(_skirt_colour(actor), tone), None, i == 0))
    return fills


def _skirt_colour(actor: Actor) -> Array:
    """A skirt is the brighter cousin of the trousers, so that tights stand off from it."""
    if actor.outfit.gown is not None:
        return actor.outfit.gown
    return np.clip(1.25 * actor.outfit.legs + 18.0, 0, 255)
