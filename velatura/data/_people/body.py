"""Proportions and forward kinematics: joint angles in, joint positions out.

Lengths are in standing heights of an average person (1.0). The body's own axes: x to the
person's left, y up, z forward; the origin lies on the floor between the feet.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from velatura.data._people.motion import Array, Pose

KEYPOINTS = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

SIDES = np.array([1.0, -1.0])  # left is +x
# On a unit head: (left, up, forward), before the head's own radii.
FACE_POINTS = {
    "nose": np.array([0.0, -0.12, 1.0]),
    "eyes": np.array([[0.36, 0.10, 0.92], [-0.36, 0.10, 0.92]]),
    "ears": np.array([[1.0, -0.02, -0.05], [-1.0, -0.02, -0.05]]),
}


class Build(NamedTuple):
    """One person's proportions."""

    shoulder: float  # half width
    hip: float  # half width
    waist: float  # half width
    depth: float  # half thickness of the chest
    torso: float
    thigh: float
    shin: float
    upper: float
    fore: float
    head: float  # half height of the head
    girth: float  # scales limb radii


class Joints(NamedTuple):
    """Positions (T, 3), or (T, 2, 3) where there is a left and a right."""

    pelvis: Array
    neck: Array
    head: Array
    shoulders: Array
    elbows: Array
    wrists: Array
    hands: Array  # finger tips
    hips: Array
    knees: Array
    ankles: Array
    toes: Array
    head_turn: Array  # (T, 3, 3), head axes to body axes


def draw_build(feminine: bool, rng: np.random.Generator) -> Build:
    """Shoulders and hips follow the presentation; the two groups do not overlap much."""
    stature = rng.uniform(0.95, 1.05) * (0.975 if feminine else 1.02)
    return Build(
        shoulder=(0.096 if feminine else 0.142) + rng.normal(0, 0.006),
        hip=(0.083 if feminine else 0.066) + rng.normal(0, 0.004),
        waist=(0.064 if feminine else 0.102) + rng.normal(0, 0.006),
        depth=rng.uniform(0.062, 0.078),
        torso=stature * rng.uniform(0.262, 0.280),
        thigh=stature * rng.uniform(0.212, 0.230),
        shin=stature * rng.uniform(0.202, 0.220),
        upper=stature * rng.uniform(0.150, 0.165),
        fore=stature * rng.uniform(0.135, 0.150),
        head=rng.uniform(0.114, 0.124),
        girth=(0.90 if feminine else 1.08) * rng.uniform(0.90, 1.10),
    )


def draw_shape(broad: bool, long_legs: bool, rng: np.random.Generator) -> Build:
    """Widths follow the one, lengths the other; whoever has long limbs has a short trunk, so that
    all are about as tall."""
    limbs, trunk = (1.14, 0.90) if long_legs else (0.88, 1.09)
    return Build(
        shoulder=(0.150 if broad else 0.098) + rng.normal(0, 0.005),
        hip=(0.094 if broad else 0.064) + rng.normal(0, 0.004),
        waist=(0.114 if broad else 0.062) + rng.normal(0, 0.005),
        depth=(0.084 if broad else 0.060) + rng.normal(0, 0.003),
        torso=trunk * rng.uniform(0.262, 0.280),
        thigh=limbs * rng.uniform(0.212, 0.230),
        shin=limbs * rng.uniform(0.202, 0.220),
        upper=limbs * rng.uniform(0.150, 0.165),
        fore=limbs * rng.uniform(0.135, 0.150),
        head=(0.114 if long_legs else 0.124) + rng.normal(0, 0.002),
        girth=(1.22 if broad else 0.88) * rng.uniform(0.94, 1.06),
    )


def skeleton(build: Build, pose: Pose, toe_out: float = 0.2) -> Joints:
    """Joint positions of T frames; the lower foot stands on the floor unless the pose hops."""
    chest = _turn(pose.twist, pose.lean, pose.roll)
    legs = _legs(build, pose, toe_out)
    root = _root(pose, legs[2])
    hips, knees, ankles, toes = (points + root[:, None] for points in legs)
    neck = root + chest @ np.array([0.0, build.torso, 0.0])
    across = np.stack([SIDES * build.shoulder, [-0.025] * 2, [0.0] * 2], 1)
    shoulders = neck[:, None] + np.einsum("tij,kj->tki", chest, across)
    elbows = shoulders + build.upper * _limb(pose.upper_flex, pose.upper_abd, chest)
    forearm = _limb(pose.fore_flex, pose.fore_abd, chest)
    wrists = elbows + build.fore * forearm
    head_turn = chest @ _turn(pose.gaze, pose.nod - 0.6 * pose.lean, -0.5 * pose.roll)
    head = neck + head_turn @ np.array([0.0, 0.022 + build.head, 0.012])
    return Joints(
        root, neck, head, shoulders, elbows, wrists, wrists + 0.045 * forearm,
        hips, knees, ankles, toes, head_turn,
    )  # fmt: skip


def keypoints(joints: Joints, build: Build) -> Array:
    """(T, 17, 3): the COCO keypoints in body axes."""
    radii = build.head * np.array([0.80, 1.0, 0.86])
    face = np.concatenate([FACE_POINTS["nose"][None], FACE_POINTS["eyes"], FACE_POINTS["ears"]])
    face = face * radii * np.array([0.94, 1.0, 0.94])
    head = joints.head[:, None] + np.einsum("tij,kj->tki", joints.head_turn, face)
    limbs = (
        joints.shoulders, joints.elbows, joints.wrists, joints.hips, joints.knees, joints.ankles,
    )  # fmt: skip
    return np.concatenate([head, *limbs], axis=1)


def _legs(build: Build, pose: Pose, toe_out: float) -> tuple[Array, Array, Array, Array]:
    """Hips, knees, ankles and toes (T, 2, 3) about the pelvis."""
    frames = len(pose.lean)
    hips = np.zeros((frames, 2, 3))
    hips[..., 0] = SIDES * build.hip
    knees = hips + build.thigh * _limb(pose.thigh_flex, pose.thigh_abd)
    ankles = knees + build.shin * _limb(pose.shin_flex, 0.6 * pose.thigh_abd)
    along = _limb(pose.shin_flex + 1.45, 0.0 * pose.shin_flex + toe_out)
    return hips, knees, ankles, ankles + 0.085 * along


def _root(pose: Pose, ankles: Array) -> Array:
    """Where the pelvis must be for the feet to stand; (T, 3)."""
    root = np.zeros((len(ankles), 3))
    root[:, 1] = 0.045 - ankles[..., 1].min(1) + pose.hop
    if pose.pinned:
        root[:, 2] = -ankles[..., 2].mean(1)
    return root


def _limb(flex: Array, abd: Array, frame: Array | None = None) -> Array:
    """(T, 2) angles to (T, 2, 3) unit directions, in `frame` (T, 3, 3) if given."""
    cos_abd = np.cos(abd)
    direction = np.stack([SIDES * np.sin(abd), -cos_abd * np.cos(flex), cos_abd * np.sin(flex)], -1)
    return direction if frame is None else np.einsum("tij,tkj->tki", frame, direction)


def _turn(yaw: Array, pitch: Array, roll: Array) -> Array:
    """(T, 3, 3): roll about z, then pitch forward about x, then yaw about y."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    rows = [
        [cy * cr + sy * sp * sr, -cy * sr + sy * sp * cr, sy * cp],
        [cp * sr, cp * cr, -sp],
        [-sy * cr + cy * sp * sr, sy * sr + cy * sp * cr, cy * cp],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
