"""What a network that starts fresh reads of the people in a copy: the privacy column.

It sees crops of people and learns from half of the pictures what is private of whoever they show;
it is asked about the people of the other half. On the original it says what there is to read, on
a copy what is left: L, as ``velatura.metrics`` has it. It is one small network with the labels of
the copy in hand; whoever has more reads more, so a low figure is one of this attacker alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
from pydantic import Field

from velatura import metrics
from velatura.attackers import frame_cnn
from velatura.config import config
from velatura.deploy.image import read_image
from velatura.errors import BadInput
from velatura.impact._coco import Dataset, Entry, Instance, parsed
from velatura.impact.anonymize import as_annotated
from velatura.layout import ClipSet
from velatura.training import batches, fit, loop
from velatura.training.seed import reseed

__all__ = ["Config", "Labels", "attack", "compared", "read_labels"]

BY = "frame_cnn/0"
AROUND = 0.1  # of a box's sides that a crop shows beyond it
CHOOSE = 0.2  # of the attacker's people, on whom the epoch is chosen
REPLICATES = 1000

Progress = Callable[[int, int], None]


@config
class Config:
    """How long the attacker learns, and from what."""

    epochs: Annotated[int, Field(ge=0)] = 24
    """With none, nothing is measured."""
    size: Annotated[int, Field(ge=16, le=256)] = 48
    """Side of the crops, pixels."""
    most: Annotated[int, Field(ge=20)] = 4000
    """People at most, by lot."""
    width: Annotated[int, Field(ge=8, le=256)] = 32
    """Of the network."""


class Labels(NamedTuple):
    """What is private of the people of a data set.

    Attributes:
        attributes: names.
        labels: by the id of an annotation as text, 0 or 1 for each attribute.
        people: by the same, who that is; of annotations that lack, nobody knows whether they show
            one person.
    """

    attributes: tuple[str, ...]
    labels: dict[str, list[int]]
    people: dict[str, str]


def read_labels(path: Path) -> Labels:
    """``{"attributes": [NAME, ...], "labels": {ID: [0, 1, ...]}, "people": {ID: WHO}}``, the last
    if anybody stands in several pictures.

    Raises:
        BadInput: no such file, or something else in it.
    """
    said = parsed(path)
    expected = (
        f"{path}: expected attributes, a list of names, and labels, for each id of an annotation "
        "a list of as many 0 or 1"
    )
    names = said.get("attributes") if isinstance(said, dict) else None
    labels = said.get("labels") if isinstance(said, dict) else None
    if not (isinstance(names, list) and names and isinstance(labels, dict) and labels):
        raise BadInput(f"{expected}.")
    for number, has in labels.items():
        if not (isinstance(has, list) and len(has) == len(names) and {*has} <= {0, 1}):
            raise BadInput(f"{expected}; of {number} it has {has!r:.60}.")
    people = {str(number): str(who) for number, who in dict(said.get("people", {})).items()}
    return Labels(tuple(map(str, names)), labels, people)


def attack(
    data: Dataset, private: Labels, cfg: Config, progress: Progress | None = None
) -> dict[str, Any]:
    """Learn from half of the people of a copy, and say what is private of the others.

    Args:
        data: the copy, or the original: the people of all copies are dealt alike.
        progress: called with steps done and in all.

    Returns:
        ``attributes``, names; and of the people asked about ``people``, ids of their annotations,
        ``groups``, equal for those who were dealt together, ``labels`` (N, K), and ``scores``
        (N, K), logits.

    Raises:
        BadInput: too few people have labels, or nothing differs among them.
    """
    dealt = _dealt(data, private, cfg)
    parts = {name: _crops(data, people, private, cfg, name) for name, people in dealt.items()}
    gone = [
        name
        for k, name in enumerate(private.attributes)
        if not all(0 < part.attributes[:, k].mean() < 1 for part in parts.values())
    ]
    if len(gone) == len(private.attributes):
        raise BadInput(
            f"{', '.join(gone)}: nobody differs in any of them among the people that the attacker "
            "learns from, or is asked about; it needs more people, or other labels."
        )
    learn, choose, asked = (part.without(gone) for part in parts.values())
    reseed(0, "privacy")
    shape = frame_cnn.Config(width=cfg.width, frames=1)
    network = frame_cnn.network(shape, len(asked.attribute_names))
    window = batches.Config(size=cfg.size, frames=1)
    fabric = loop.fabric(loop.Config())
    how = fit.Config(epochs=cfg.epochs)
    network = fit.fit(network, learn, choose, "attributes", how, window, 0, fabric, progress)
    scores = fit.predict(network, asked, "attributes", window, fabric)
    return {
        "attributes": list(asked.attribute_names),
        "people": [str(one.instance.id) for one in dealt["asked"]],
        "groups": asked.groups.tolist(),
        "labels": asked.attributes.tolist(),
        "scores": scores.astype(float).round(5).tolist(),
    }


class _Somebody(NamedTuple):
    entry: Entry
    instance: Instance
    group: int


def _dealt(data: Dataset, private: Labels, cfg: Config) -> dict[str, list[_Somebody]]:
    """The people to learn from, to choose the epoch by, and to be asked about.

    Nobody is in two of them; where nobody says who is who, no picture is. Who has no picture, since
    it could not be anonymized, is left out once all are dealt.
    """
    found: dict[str, list[tuple[Entry, Instance]]] = {}
    for entry in data.entries:
        for one in entry.instances:
            number = str(one.id)
            if number in private.labels and not one.crowd and one.box and _area(one):
                who = private.people.get(number, f"image {entry.name}")
                found.setdefault(who, []).append((entry, one))
    order = np.random.default_rng(0).permutation(len(found))
    groups, people = list(found.values()), 0
    chosen: list[list[_Somebody]] = []
    for at in order.tolist():
        people += len(groups[at])
        if people > cfg.most:
            break
        there = [pair for pair in groups[at] if (data.root / data.images / pair[0].name).is_file()]
        chosen.append([_Somebody(entry, one, at) for entry, one in there])
    half = len(chosen) // 2
    few = max(1, round(CHOOSE * half))
    parts = {"learn": chosen[few:half], "choose": chosen[:few], "asked": chosen[half:]}
    dealt = {name: [one for group in part for one in group] for name, part in parts.items()}
    if min(map(len, dealt.values())) < 2:
        counted = ", ".join(f"{len(part)} to {name}" for name, part in dealt.items())
        raise BadInput(
            f"Too few people have a picture and labels of what is private: {counted}; name a file "
            "of labels for more, or leave the attacker out with privacy.epochs = 0."
        )
    return dealt


def _area(one: Instance) -> bool:
    assert one.box is not None
    x0, y0, x1, y1 = one.box
    return x1 > x0 and y1 > y0


def _crops(
    data: Dataset, people: Sequence[_Somebody], private: Labels, cfg: Config, name: str
) -> ClipSet:
    """Everybody by their box, as still clips."""
    pictures: dict[str, np.ndarray] = {}
    crops = np.zeros((len(people), 1, 3, cfg.size, cfg.size), np.uint8)
    for at, one in enumerate(people):
        if one.entry.name not in pictures:
            still = read_image(data.root / data.images / one.entry.name, by_profile=False)
            # People of one picture stand behind each other, so one is enough to keep.
            pictures = {one.entry.name: as_annotated(still.pixels, still.turned, one.entry)[0]}
        crops[at, 0] = _crop(pictures[one.entry.name], one.instance, cfg.size).transpose(2, 0, 1)
    labels = np.array([private.labels[str(one.instance.id)] for one in people], np.uint8)
    return ClipSet.of_clips(
        crops,
        actions=np.zeros(len(people), np.int64),
        attributes=labels,
        groups=np.array([one.group for one in people], np.int64),
        action_names=("",),
        attribute_names=private.attributes,
        name=f"people/{name}",
        fingerprint=name,
    )


def _crop(picture: np.ndarray, one: Instance, side: int) -> np.ndarray:
    assert one.box is not None
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = one.box
    wide, high = AROUND * (x1 - x0), AROUND * (y1 - y0)
    left, top = max(0, int(x0 - wide)), max(0, int(y0 - high))
    right, bottom = min(width, round(x1 + wide)), min(height, round(y1 + high))
    part = picture[top : max(bottom, top + 1), left : max(right, left + 1)]
    if not part.size:  # a box beside the picture
        return np.zeros((side, side, 3), np.uint8)
    way = cv2.INTER_AREA if min(part.shape[:2]) > side else cv2.INTER_LINEAR
    return cv2.resize(part, (side, side), interpolation=way)


def compared(mine: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was read of a copy beside what the same attacker reads of the original.

    Args:
        mine, raw: as ``attack`` returns them; people whom only one asked about are left out.

    Returns:
        ``cmap``, ``chance``, ``auroc``, the mean, and ``raw_cmap``, in per cent; ``L``; intervals
        over people (95 %, bootstrap) of ``cmap`` and ``L``; ``attributes``, AUROC of each;
        ``people``, how many; ``by``. What cannot be computed is None, all of it where nothing
        differs among the people.
    """
    both = sorted({*mine["people"]} & {*raw["people"]})
    names = [name for name in mine["attributes"] if name in raw["attributes"]]
    names = [name for name in names if len({*_aligned(mine, both, [name])[0].flat}) == 2]
    if not names:
        return None
    own, scores = _aligned(mine, both, names)
    _, of_raw = _aligned(raw, both, names)
    place = {number: at for at, number in enumerate(mine["people"])}
    groups = np.array(mine["groups"])[[place[number] for number in both]]
    weights = metrics.bootstrap_weights(groups, REPLICATES)
    points = [metrics.cmap(scores, own), metrics.cmap(of_raw, own), metrics.prevalence(own).mean()]
    drawn = [
        metrics.cmap(scores, own, weights),
        metrics.cmap(of_raw, own, weights),
        metrics.prevalence(own, weights).mean(1),
    ]
    each = {name: metrics.auroc(scores[:, k], own[:, k]) for k, name in enumerate(names)}
    leak = metrics.leakage(*points)
    return {
        "cmap": float(points[0]),
        "cmap_interval": _span(metrics.interval(drawn[0], point=points[0])),
        "raw_cmap": float(points[1]),
        "chance": float(points[2]),
        "auroc": float(np.mean(list(each.values()))),
        "L": None if np.isnan(leak) else float(leak),
        "L_interval": _span(metrics.interval(metrics.leakage(*drawn), point=leak)),
        "attributes": each,
        "people": len(both),
        "by": BY,
    }


def _span(inside: tuple[float, float]) -> list[float] | None:
    return list(inside) if np.isfinite(inside).all() else None


def _aligned(
    found: Mapping[str, Any], people: Sequence[str], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) labels and scores, of these people and attributes in this order."""
    place = {number: at for at, number in enumerate(found["people"])}
    rows = [place[number] for number in people]
    columns = [found["attributes"].index(name) for name in names]
    labels, scores = (np.array(found[key])[rows][:, columns] for key in ("labels", "scores"))
    return labels.astype(np.uint8), scores.astype(np.float64)
