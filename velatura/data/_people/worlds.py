"""What the painter makes of each world's attributes; `census.WORLDS` says which there are.

W0 and W1 are scenes as they are drawn. The others begin with such a scene, whose own attributes
are left to chance, and change in it what theirs stand for.
"""

from __future__ import annotations

import numpy as np

from velatura.data._people.body import draw_shape
from velatura.data._people.census import ATTRIBUTES, FACES, OF_CLIP, OF_PERSON, SPLITS, WORLDS
from velatura.data._people.motion import Array
from velatura.data._people.room import Paint
from velatura.data._people.scene import Scene
from velatura.data._people.scene import draw_scene as draw_plain

PLASTER = np.array([206.0, 200.0, 192.0])
OF_THE_PERSON, OF_THE_CLIP = 17, 19  # purposes, the fourth word of a seed


def draw_scene(
    world: str,
    seed: int,
    split: str,
    index: int,
    frames: int,
    action: str,
    attributes: Array,
    number: int,
) -> Scene:
    """The scene of clip `index` of person `number`, with the attributes of its world."""
    if world in ("W0", "W1"):
        return draw_plain(seed, split, index, frames, action, attributes, number)
    place = [seed, SPLITS[split]]
    of_person, of_clip = (
        np.random.default_rng(np.random.SeedSequence([*place, *word]))
        for word in ([number, OF_THE_PERSON], [index, OF_THE_CLIP])
    )
    has = dict(zip(WORLDS[world].names, (bool(a) for a in attributes), strict=True))
    free = _chance(of_person, of_clip)
    if world == "W2":
        free |= dict.fromkeys(("bare_skin", "person_close", "person_distant"), 0)
    plain = np.array([free[name] for name in ATTRIBUTES])
    scene = draw_plain(seed, split, index, frames, action, plain, number)
    if world == "W3":
        return scene._replace(paint=Paint(**has))
    return _shaped(scene, has, of_person)


def _chance(of_person: np.random.Generator, of_clip: np.random.Generator) -> dict[str, int]:
    """Each attribute of W0 by lot: those of a person by the person's."""
    free = {name: int(of_person.integers(2)) for name in OF_PERSON}
    free |= {name: int(of_clip.integers(2)) for name in OF_CLIP}
    face = of_clip.choice(FACES)
    return free | {f"face_{kind}": int(face == kind) for kind in ("complete", "partial")}


def _shaped(scene: Scene, has: dict[str, bool], of_person: np.random.Generator) -> Scene:
    """W2: shape and gait by attribute; all is of one colour, so that its area tells nothing.

    The two gaits sway as far, one slowly and one quickly, so that no single frame shows which.
    """
    actor = scene.actor
    rhythm = of_person.uniform(1.9, 2.4) if has["gait"] else of_person.uniform(0.4, 0.7)
    person = actor.person._replace(
        build=draw_shape(has["broad"], has["long_legs"], of_person),
        style=actor.person.style._replace(rhythm=rhythm, sway=of_person.uniform(0.13, 0.18)),
        skin=PLASTER,
        hair=PLASTER,
        hairdo="mane" if has["long_hair"] else str(of_person.choice(("cap", "crop"))),
    )
    outfit = actor.outfit._replace(
        shirt=PLASTER,
        stripes=None,
        legs=PLASTER,
        shoes=PLASTER,
        skirt=has["skirt"],
        gown=PLASTER,
        hat=PLASTER if has["hat"] else None,
        cover=None,
    )
    return scene._replace(actor=actor._replace(person=person, outfit=outfit))
