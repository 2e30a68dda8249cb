"""How far drawn crops are from real ones, in the features of a named network.

The published distance (Heusel et al., 2017, https://arxiv.org/abs/1706.08500) takes a network that
is not at hand without a download, and fifty thousand pictures. This one takes what is there, and
says what that was; its numbers can be compared with each other where network and counts are the
same, and with no paper's. From few crops the distance of Gaussians is too large for all, real ones
included; the kernel's is not, but scatters. Both are read beside those of other real crops, of grey
holes, and of holes that are filled from around.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from velatura.inpainting.crops import Crops
from velatura.inpainting.generator import Generator

__all__ = ["blank", "compared", "drawn", "filled", "frechet", "kernel", "network"]

AT_ONCE = 32
GREY = 127


def frechet(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """The squared distance between the Gaussians of two sets of features.

        |mean_a - mean_b|^2 + trace(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2)

    Args:
        a, b: at least two rows each.

    Source: Dowson and Landau, 1982, https://doi.org/10.1016/0047-259X(82)90077-X
    """
    (one, first), (two, second) = (
        (x.mean(0), np.atleast_2d(np.cov(x, rowvar=False))) for x in (a.astype(float), b)
    )
    root = _root(first)
    product = np.linalg.eigvalsh(root @ second @ root).clip(0)
    found = ((one - two) ** 2).sum() + np.trace(first) + np.trace(second)
    return max(0.0, float(found - 2 * np.sqrt(product).sum()))


def _root(matrix: np.ndarray) -> np.ndarray:
    """Of a covariance: symmetric, no negative eigenvalues but by rounding."""
    values, vectors = np.linalg.eigh(matrix)
    found: np.ndarray = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return found


def kernel(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """The squared distance between two sets of features in a polynomial kernel's space.

        mean k(a, a') + mean k(b, b') - 2 mean k(a, b),   k(x, y) = (x.y / d + 1)^3

    over pairs of different rows. Without bias, whatever the counts: of two sets of one kind it is
    0 on average, and as often below.

    Args:
        a, b: at least two rows each.

    Source: Binkowski et al., 2018, https://arxiv.org/abs/1801.01401
    """

    def mean(x: np.ndarray, y: np.ndarray, same: bool) -> float:
        found = (x @ y.T / x.shape[1] + 1) ** 3
        pairs = found.size - len(x) * same
        return float((found.sum() - same * np.trace(found)) / pairs)

    return mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)


def compared(
    generator: Generator, known: Crops, others: Crops, features: str, seed: int
) -> dict[str, Any]:
    """How far each way of filling the holes of other crops is from known real crops.

    Args:
        known: that the generator was trained on.
        others: that it never saw.
        features: as ``network`` takes them.

    Returns:
        By what was done, ``frechet`` and ``kernel``, of features whose mean square is 1 on the
        known crops; the network, how many features it has, and both counts. Without distances
        where there are fewer than two crops on a side.
    """
    name, seen = network(features)
    about: dict[str, Any] = {"features": name, "known": len(known), "others": len(others)}
    if min(len(known), len(others)) < 2:
        return {**about, "dimensions": 0, "distance": {}}
    ways = {"generated": drawn(generator, others, seed), "other real crops": others.pictures}
    ways |= {"grey": blank(others), "filled from around": filled(others)}
    reference = _features(seen, known.pictures)
    scale = np.sqrt((reference**2).mean())
    found = {}
    for what, way in ways.items():
        pair = reference / scale, _features(seen, way) / scale
        found[what] = {"frechet": round(frechet(*pair), 6), "kernel": round(kernel(*pair), 6)}
    return {**about, "dimensions": reference.shape[1], "distance": found}


@torch.no_grad()
def drawn(
    generator: Generator, crops: Crops, seed: int, truncation: float = 1.0
) -> UInt8[np.ndarray, "n s s 3"]:
    """Crops with their holes drawn, by a lot for each."""
    device = generator.mean.device
    lots = torch.Generator().manual_seed(seed)
    z = torch.randn(len(crops), generator.cfg.latent, generator=lots).to(device)
    found = []
    for begin in range(0, len(crops), AT_ONCE):
        items = np.arange(begin, min(begin + AT_ONCE, len(crops)))
        pictures = generator(*crops.batch(items, device), z[items], truncation)
        found.append((255 * pictures).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu())
    return torch.cat(found).numpy()


def blank(crops: Crops) -> UInt8[np.ndarray, "n s s 3"]:
    """Crops with grey holes."""
    return np.where(crops.hidden[..., None], np.uint8(GREY), crops.pictures)


def filled(crops: Crops) -> UInt8[np.ndarray, "n s s 3"]:
    """Holes filled from their edges inwards, by OpenCV, as velatura/regions/removal.py does."""
    import cv2

    found = blank(crops)  # and so it stays where there is nothing to fill from
    for at, hidden in enumerate(crops.hidden):
        if not hidden.all():
            found[at] = cv2.inpaint(found[at], hidden.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    return found


def network(features: str) -> tuple[str, Callable[[Tensor], Tensor]]:
    """How a record calls a network, and the network: crops in [0, 1] to (N, D).

    Args:
        features: efficientnet_lite0, random, or auto: the first where its wheel is installed.

    Raises:
        BadInput: its wheel is not installed.
    """
    from velatura.models import efficientnet_lite0

    if features == "random" or (features == "auto" and find_spec(efficientnet_lite0.WHEEL) is None):
        return "random convolutions, 96 features, seed 0", _Random().eval()
    encoder = efficientnet_lite0.encoder(efficientnet_lite0.Config()).eval()
    return "EfficientNet-lite0, ImageNet, 1280 features", encoder


class _Random(nn.Module):
    """Three convolutions that nobody trained, the same each time; means of what each answers."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.weights = [
            torch.randn(outputs, inputs, 3, 3, generator=draw) * (2 / (9 * inputs)) ** 0.5
            for inputs, outputs in ((3, 16), (16, 32), (32, 48))
        ]

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        x, found = 2 * pictures - 1, []
        for weight in self.weights:
            x = F.relu(F.conv2d(x, weight, stride=2, padding=1))
            found.append(x.mean((2, 3)))
        return torch.cat(found, 1)


@torch.no_grad()
def _features(network: Callable[[Tensor], Tensor], pictures: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) uint8 to (N, D) float64."""
    found = []
    for begin in range(0, len(pictures), AT_ONCE):
        part = torch.from_numpy(pictures[begin : begin + AT_ONCE]).permute(0, 3, 1, 2)
        found.append(network(part.float().div(255).contiguous()).double())
    return torch.cat(found).numpy()
