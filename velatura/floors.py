"""What the labels alone tell: the rungs A0 and A1 of the threat ladder, without a single frame.

    A0  prevalence    a predictor that knows how frequent each attribute is, and nothing else
    A1  action only   P(attribute | action), counted on training items, looked up for test items

No anonymizer that leaves the action readable can honestly be below A1, and every figure between 0
and A0 is noise: published ones stand below both. So both are printed beside every leakage.

Splits:

    vispr1, vispr2        the official test photographs; they show no action, so there is no A1
    vp_hmdb51, vp_ucf101  all videos for A0; A1 on the test of official split 1, and on a random
                          30 % of each class (``DRAWS`` draws), as whoever has no split would do
    pa_hmdb51             frames, of the six attributes of VISPR1 that they can show (``face``
                          complete and partial apart, nudity from partial on); A1 of a video is
                          counted on the frames of all others

Source of the ladder: Elazar and Goldberg, 2018, https://arxiv.org/abs/1808.06640, and Stadler et
al., 2024, https://arxiv.org/abs/2402.12235.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from velatura import metrics
from velatura.data._lists import catalog, pa_hmdb51
from velatura.data._lists.listing import Listing
from velatura.data._lists.source import Ask
from velatura.errors import BadInput, unknown

__all__ = ["NAMES", "floors"]

NAMES = ("pa_hmdb51", "vispr1", "vispr2", "vp_hmdb51", "vp_ucf101")
DRAWS = 5  # random splits, and random errors of a noisy action
SHARE = 0.3  # of each class, in a random test


def floors(name: str, root: Path, accuracies: Sequence[float] = ()) -> list[dict[str, Any]]:
    """A0 and A1 of one data set, from its annotation files.

    Args:
        name: one of ``NAMES``; hyphens do for underscores.
        root: the folder of the lists and labels, or one above it.
        accuracies: also A1 of an action that is read with this accuracy, its errors spread evenly
            over the other actions; 0 to 1.

    Returns:
        Per split: ``items`` (what is counted), ``n``, ``accuracy`` of the action, ``binarisation``
        (which annotations count as 1, by attribute), and for A0 and A1 the cMAP in per cent with
        its deviation over draws (0 where nothing is drawn), F1 and AP or prevalence by attribute.
        A1 is None where there is no action.

    Raises:
        BadInput: an unknown data set, an accuracy out of range, or files that are not there.
    """
    name = name.replace("-", "_")
    if name not in NAMES:
        raise unknown("data set with private attributes", name, NAMES)
    if wrong := [a for a in accuracies if not 0 < a <= 1]:
        raise BadInput(f"An accuracy is a share above 0 and at most 1, not {wrong[0]}.")
    if not root.is_dir():
        raise BadInput(
            f"No folder {root}; name the one with the annotations of {name}: --root DIR."
        )
    rows = _rows(name, root, accuracies)
    return [{**row, "binarisation": _counted(name, tuple(row["A0"]["attributes"]))} for row in rows]


def _counted(name: str, attributes: Sequence[str]) -> dict[str, str]:
    """Which annotations count as 1, by attribute."""
    if name == "pa_hmdb51":
        tracks = {a: pa_hmdb51.VISPR1[a] for a in attributes}
        return {a: f"{t} = {' or '.join(map(str, v))}" for a, (t, v) in tracks.items()}
    if name.startswith("vispr"):
        return {a: f"{a} is among the labels of the photograph" for a in attributes}
    return {a: "1 in the published labels" for a in attributes}


def _rows(name: str, root: Path, accuracies: Sequence[float]) -> list[dict[str, Any]]:
    if name == "pa_hmdb51":
        return _frames(root, accuracies)
    listing = catalog.source(name).read(Ask(root=root, annotations=root))
    if name.startswith("vispr"):
        labels = _labels(listing, [item.split == "test" for item in listing.items])
        return [_row("official test", listing.attribute_names, labels)]
    return _videos(listing, accuracies)


def _videos(listing: Listing, accuracies: Sequence[float]) -> list[dict[str, Any]]:
    names = listing.attribute_names
    whole = np.ones(len(listing.videos), bool)
    labels = _labels(listing, whole)
    actions = np.array([listing.action_names.index(v.action) for v in listing.videos])
    train, test = (np.array([v.split == s for v in listing.videos]) for s in ("train", "test"))
    rows = [_row("all videos", names, labels)]
    for accuracy in (1.0, *accuracies):
        drawn = [
            _looked_up(actions, labels, train, test, accuracy, seed)
            for seed in range(1 if accuracy == 1 else DRAWS)
        ]
        rows.append(_row("test of split 1", names, labels[test], drawn, accuracy))
        drawn = []
        for seed in range(DRAWS):
            apart = _random_test(actions, seed)
            found, told = _looked_up(actions, labels, ~apart, apart, accuracy, seed)
            drawn.append((found, told))
        where = f"a random {SHARE:.0%} of each class, {DRAWS} draws"
        rows.append(_row(where, names, drawn[0][1], drawn, accuracy))
    return rows


def _frames(root: Path, accuracies: Sequence[float]) -> list[dict[str, Any]]:
    reading = {name: pa_hmdb51.VISPR1[name] for name in pa_hmdb51.SCORED}
    found = pa_hmdb51.annotated(root)
    classes = sorted({a.path.split("/")[0] for a in found})
    actions = np.array([classes.index(a.path.split("/")[0]) for a in found])
    each = [pa_hmdb51.frame_labels(a, reading) for a in found]
    labels, known = (np.concatenate(part) for part in zip(*each, strict=True))
    frames = [len(part) for part, _ in each]
    # (V, K): frames of a video that show the attribute, and that anybody labelled.
    shown = np.array([(part & seen).sum(0) for part, seen in each])
    seen = np.array([seen.sum(0) for _, seen in each])
    rows = []
    for accuracy in (1.0, *accuracies):
        drawn = []
        for seed in range(1 if accuracy == 1 else DRAWS):
            read = _misread(actions, len(classes), accuracy, seed)
            scores = np.stack(
                [
                    _table(shown, seen, (actions == action) & (np.arange(len(found)) != video))
                    for video, action in enumerate(read)
                ]
            )
            drawn.append((np.repeat(scores, frames, axis=0), labels))
        rows.append(_row("labelled frames", tuple(reading), labels, drawn, accuracy, known))
    return rows


def _table(shown: np.ndarray, seen: np.ndarray, of: np.ndarray) -> np.ndarray:
    """(K,) share of labelled frames, of some videos, that show each attribute."""
    share: np.ndarray = (shown[of].sum(0) + 1) / (seen[of].sum(0) + 2)
    return share


def _labels(listing: Listing, of: Any) -> np.ndarray:
    """(N, K) of the items that the mask keeps and that anybody labelled."""
    names = listing.attribute_names
    marks = [i.attributes for i, keep in zip(listing.items, of, strict=True) if keep]
    return np.array([[mark[n] for n in names] for mark in marks if mark], np.uint8)


def _looked_up(
    actions: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    accuracy: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of the test items."""
    read = _misread(actions[test], int(actions.max()) + 1, accuracy, seed)
    return metrics.action_floor(actions[train], labels[train], read), labels[test]


def _misread(actions: np.ndarray, classes: int, accuracy: float, seed: int) -> np.ndarray:
    """The actions as somebody reads them who is right this often."""
    draw = np.random.default_rng([seed, 1])
    wrong = draw.random(len(actions)) >= accuracy
    other = (actions + draw.integers(1, classes, len(actions))) % classes
    return np.where(wrong, other, actions)


def _random_test(actions: np.ndarray, seed: int) -> np.ndarray:
    """(N,) bool: a share of each class."""
    draw, test = np.random.default_rng([seed, 0]), np.zeros(len(actions), bool)
    for action in np.unique(actions):
        items = draw.permutation(np.flatnonzero(actions == action))
        test[items[: round(SHARE * len(items))]] = True
    return test


def _row(
    where: str,
    names: Sequence[str],
    labels: np.ndarray,
    drawn: Sequence[tuple[np.ndarray, np.ndarray]] = (),
    accuracy: float = 1.0,
    known: np.ndarray | None = None,
) -> dict[str, Any]:
    """One line of the answer."""
    known = np.ones(labels.shape, bool) if known is None else known
    # (D, K): each draw has a test of its own.
    told = [told for _, told in drawn] or [labels]
    shares = np.array([[t[known[:, k], k].mean() for k in range(len(names))] for t in told])
    always = 2 * shares / (1 + shares)
    row: dict[str, Any] = {
        "items": where,
        "n": int(known.any(1).sum()),
        "accuracy": accuracy,
        "A0": {
            "cmap": 100 * float(shares.mean()),
            "deviation": 100 * _deviation(shares),
            "f1_always_yes": float(always.mean()),
            "f1_majority": float(np.where(shares > 0.5, always, 0).mean()),
            "attributes": dict(zip(names, (100 * shares.mean(0)).tolist(), strict=True)),
        },
        "A1": None,
    }
    if drawn:
        at_half = partial(metrics.f1, threshold=0.5)  # scores are probabilities here
        each = np.array(
            [_of_each(metrics.average_precision, scores, told, known) for scores, told in drawn]
        )
        f1 = [_of_each(at_half, scores, told, known) for scores, told in drawn]
        row["A1"] = {
            "cmap": float(each.mean()),
            "deviation": _deviation(each),
            "f1": float(np.mean(f1)),
            "attributes": dict(zip(names, each.mean(0).tolist(), strict=True)),
        }
    return row


def _deviation(each: np.ndarray) -> float:
    """Of the mean over attributes, from draw to draw; ``each`` is (D, K)."""
    return float(each.mean(1).std(ddof=1)) if len(each) > 1 else 0.0


def _of_each(
    metric: Callable[[np.ndarray, np.ndarray], float],
    scores: np.ndarray,
    labels: np.ndarray,
    known: np.ndarray,
) -> list[float]:
    """A metric by attribute, over items that are labelled; all, where the mask is of others."""
    known = known if known.shape == labels.shape else np.ones(labels.shape, bool)
    return [metric(scores[known[:, k], k], labels[known[:, k], k]) for k in range(labels.shape[1])]
