"""Who does what: labels of a split, balanced by construction and drawn without rendering.

Every factor is dealt from a stream of shuffled blocks, like cards from full decks, over clips
sorted by what they must be independent of. So counts are as even as whole numbers allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from velatura.data._people.motion import ACTIONS, Array

ATTRIBUTES = (
    "skin_tone",
    "gender",
    "face_complete",
    "face_partial",
    "bare_skin",
    "person_close",
    "person_distant",
    "hair",
    "shirt",
)
OF_PERSON = ("skin_tone", "gender", "hair")
OF_CLIP = ("bare_skin", "person_close", "person_distant", "shirt")


class World(NamedTuple):
    """Which private attributes there are, and who decides each.

    Of all but the two of the face, half are 1.
    """

    names: tuple[str, ...]  # in the order of the columns
    of_person: tuple[str, ...]  # stay with a person
    of_clip: tuple[str, ...]


SHAPES = World(
    ("broad", "long_legs", "long_hair", "gait", "skirt", "hat"),
    ("broad", "long_legs", "long_hair", "gait"),
    ("skirt", "hat"),
)
ROOMS = World(
    ("warm_wall", "upright_stripes", "dark_floor"),
    ("warm_wall",),  # as at home
    ("upright_stripes", "dark_floor"),
)
WORLDS = {
    "W0": World(ATTRIBUTES, OF_PERSON, OF_CLIP),
    "W1": World(ATTRIBUTES, OF_PERSON, OF_CLIP),
    "W2": SHAPES,
    "W3": ROOMS,
}
FACES = ("complete", "complete", "partial", "partial", "absent")  # one deck
SPLITS = {"train": 0, "val": 1, "test": 2}
PEOPLE, DEAL = 7, 11  # purposes, the fourth word of a seed; clips use three words
SPLIT_STRIDE = 1_000_000  # person numbers of the next split start here


class Labels(NamedTuple):
    """Labels of N clips of P people."""

    actions: Array  # (N,) int64
    attributes: Array  # (N, K) uint8, a column for each name of the world
    people: Array  # (N,) int64, unique over splits


def deal(
    seed: int,
    split: str,
    people: int,
    clips: int,
    correlation: float,
    correlated: str,
    world: str = "W0",
) -> Labels:
    """Deal people, actions and attributes of one split.

    Independent factors are balanced within every action to within a few clips.
    `correlation` couples the attribute `correlated` to `action_bit`: it moves P(agree) from
    1/2 to (1 + correlation) / 2 and leaves both marginals as they were.
    """
    names, of_person, of_clip = WORLDS[world]
    rng = np.random.default_rng(np.random.SeedSequence([seed, SPLITS[split], 1, DEAL]))
    traits = _take(_halves(len(of_person), rng), people)
    person = np.repeat(np.arange(people), clips)
    count = people * clips
    actions = np.empty(count, np.int64)
    actions[_sorted(rng, *traits[person].T)] = _take(_decks(range(len(ACTIONS)), rng), count)
    columns = dict(zip(of_person, traits[person].T, strict=True))
    order = _sorted(rng, actions, *traits[person].T)
    extras = np.empty((count, len(of_clip)), np.int64)
    extras[order] = _take(_halves(len(of_clip), rng), count)
    columns.update(zip(of_clip, extras.T, strict=True))
    if "face_complete" in names:
        face = np.empty(count, dtype="U8")
        face[_sorted(rng, actions)] = _take(_decks(FACES, rng), count)
        columns["face_complete"] = face == "complete"
        columns["face_partial"] = face == "partial"
    attributes = np.stack([columns[name] for name in names], 1).astype(np.uint8)
    if correlation:
        _couple(actions, attributes[:, names.index(correlated)], correlation, rng)
    for column in (actions, attributes):
        column.setflags(write=False)
    return Labels(actions, attributes, person + SPLIT_STRIDE * SPLITS[split])


def action_bit(actions: Array) -> Array:
    """The bit of an action that a correlated attribute follows; time-reversed pairs differ."""
    return np.asarray(actions) % 2


def floor(correlation: float, correlated: str, world: str = "W0") -> Array:
    """(10, K): P(attribute = 1 | action), what the action alone gives away."""
    names = WORLDS[world].names
    table = np.full((len(ACTIONS), len(names)), 0.5)
    for column, name in enumerate(names):
        if name.startswith("face_"):
            table[:, column] = FACES.count(name.removeprefix("face_")) / len(FACES)
    if correlation:
        sign = 2.0 * action_bit(np.arange(len(ACTIONS))) - 1.0
        table[:, names.index(correlated)] = 0.5 + 0.5 * correlation * sign
    return table


def _couple(actions: Array, attribute: Array, strength: float, rng: np.random.Generator) -> None:
    """Swap actions, in place, between clips that disagree one way and the other.

    Each quarter of the clips is one (attribute, bit) cell; swapping the share `strength` of
    both disagreeing cells makes them agree, and changes no count of actions or attributes.
    """
    bit = action_bit(actions)
    ones = np.flatnonzero((attribute == 1) & (bit == 0))
    zeros = np.flatnonzero((attribute == 0) & (bit == 1))
    swaps = round(strength * min(len(ones), len(zeros)))
    a, b = (rng.permutation(cell)[:swaps] for cell in (ones, zeros))
    actions[a], actions[b] = actions[b], actions[a]


def _sorted(rng: np.random.Generator, *keys: Array) -> Array:
    """Order of clips by `keys`, ties in random order."""
    return np.lexsort((rng.uniform(size=len(keys[0])), *keys))


def _decks(cards: range | tuple[str, ...], rng: np.random.Generator) -> Iterator[object]:
    while True:
        yield from rng.permutation(np.array(cards))


def _halves(bits: int, rng: np.random.Generator) -> Iterator[object]:
    """Rows of `bits` bits: every pattern once per block, complements next to each other.

    So any run of rows is balanced in every column, to within one.
    """
    patterns = (np.arange(2**bits)[:, None] >> np.arange(bits)) & 1
    while True:
        for pattern in rng.permutation(patterns[: 2 ** (bits - 1)]):
            first = rng.integers(2)
            yield pattern ^ first
            yield 1 - (pattern ^ first)


def _take(stream: Iterator[object], count: int) -> Array:
    return np.array([next(stream) for _ in range(count)])
