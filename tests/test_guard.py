"""torchvision beside a torch its binary does not fit: it imports, and nms is right."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from velatura import torchvision_guard

NATIVE = torchvision_guard.ensure()


def naive_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """The definition, box by box, in float32 as the original."""

    def iou(a: np.ndarray, b: np.ndarray) -> np.float32:
        width = max(min(a[2], b[2]) - max(a[0], b[0]), np.float32(0))
        height = max(min(a[3], b[3]) - max(a[1], b[1]), np.float32(0))
        both = width * height
        union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
        return both / union if union else np.float32(0)

    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):  # sorted keeps ties in order
        if all(iou(boxes[j], boxes[i]) <= threshold for j in kept):
            kept.append(i)
    return kept


def box_sets() -> list[tuple[np.ndarray, np.ndarray, float]]:
    """200 sets: crowded and sparse, empty, one box, identical, equal scores, without area."""
    rng = np.random.default_rng(7)
    sets = []
    for k in range(200):
        n = [0, 1, 2, 5, 20, 60][k % 6]
        corner = rng.uniform(0, [20, 200][k % 2], (n, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(1, 40, (n, 2))], 1)
        scores = rng.uniform(0, 1, n)
        if k % 5 == 0:
            boxes, scores = np.rint(boxes), np.round(scores, 1)  # ties, and exact overlaps
        if k % 7 == 0:
            boxes[: n // 2] = boxes[:1]
        if k % 11 == 0:
            boxes[: n // 3, 2:] = boxes[: n // 3, :2]
        threshold = [0.0, 0.3, 0.5, 0.7, 1.0][k % 5]
        sets.append((boxes.astype(np.float32), scores.astype(np.float32), threshold))
    return sets


def test_nms_equals_the_naive_one():
    dropped = 0
    for boxes, scores, threshold in box_sets():
        kept = torchvision_guard.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
        assert kept.tolist() == naive_nms(boxes, scores, threshold)
        dropped += len(boxes) - len(kept)
    assert dropped > 400  # the sets are not trivial


def test_nms_by_hand():
    """Two overlap by 50 / 150 = 1/3; the third is far off."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [90, 90, 99, 99]])
    scores = torch.tensor([0.5, 0.9, 0.1])
    assert torchvision_guard.nms(boxes, scores, 0.33).tolist() == [1, 2]
    assert torchvision_guard.nms(boxes, scores, 0.34).tolist() == [1, 0, 2]
    assert torchvision_guard.nms(boxes, scores, 1 / 3 + 1e-6).tolist() == [1, 0, 2]


def test_torchvision_uses_it():
    from torchvision.ops import batched_nms, nms

    for boxes, scores, threshold in box_sets()[:30]:
        b, s = torch.from_numpy(boxes), torch.from_numpy(scores)
        assert nms(b, s, threshold).tolist() == naive_nms(boxes, scores, threshold)
    twice = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]])
    kept = batched_nms(twice, torch.tensor([0.1, 0.5]), torch.tensor([0, 1]), 0.5)
    assert kept.tolist() == [1, 0]  # two classes do not suppress each other


@pytest.mark.skipif(not NATIVE, reason="torchvision's own operators do not load beside this torch")
def test_nms_equals_the_native_one():
    from torchvision.ops import nms

    for boxes, scores, threshold in box_sets():
        b, s = torch.from_numpy(boxes), torch.from_numpy(scores)
        assert torch.equal(torchvision_guard.nms(b, s, threshold), nms(b, s, threshold))


@pytest.mark.skipif(NATIVE, reason="torchvision's own operators load here: nothing is replaced")
def test_what_is_not_replaced_says_so():
    from torchvision.ops import deform_conv2d

    image, offset, weight = torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 1, 1)
    with pytest.raises(RuntimeError, match="Couldn't load custom C\\+\\+ ops"):
        deform_conv2d(image, offset, weight)


def test_calling_it_twice_changes_nothing():
    assert torchvision_guard.ensure() is torchvision_guard.ensure() is NATIVE


def test_a_wrong_shape_is_refused():
    with pytest.raises(TypeCheckError, match="Type-check error"):
        torchvision_guard.nms(torch.zeros(3, 5), torch.zeros(3), 0.5)
    with pytest.raises(TypeCheckError, match="Type-check error"):
        torchvision_guard.nms(torch.zeros(3, 4), torch.zeros(2), 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torchvision", "timm", "segmentation_models_pytorch"])
def test_libraries_import_after_it(library: str):
    """In a fresh Python, warnings as errors; and where nothing is native, not without it."""
    with_guard = f"from velatura.torchvision_guard import ensure; ensure(); import {library}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", with_guard], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    if not NATIVE:
        bare = subprocess.run([sys.executable, "-c", f"import {library}"], capture_output=True)
        assert b"operator torchvision::nms does not exist" in bare.stderr
