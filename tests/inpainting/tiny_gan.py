"""The smallest network, untrained; crops whose holes are in the colour of what is around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from velatura.inpainting.crops import Batch, Crops
from velatura.inpainting.discriminator import Discriminator
from velatura.inpainting.generator import Config, Generator

NAMES = ("nose", "left_eye", "right_eye")
CONFIG = Config(size=16, width=4, latent=8, style=8)


def generator(points: int = 3, seed: int = 0, cfg: Config = CONFIG) -> Generator:
    torch.manual_seed(seed)
    made = Generator(cfg, points)
    made.settle()
    return made


def discriminator(points: int = 3, seed: int = 1, cfg: Config = CONFIG) -> Discriminator:
    torch.manual_seed(seed)
    return Discriminator(cfg, points)


def write(path: Path, kind: str = "body", names: tuple[str, ...] = NAMES) -> Path:
    """Its file."""
    from velatura.export import inpainter  # which takes seconds to import

    about = {"config": {"steps": 1}, "data": "none"}
    inpainter.write(generator(len(names)), path, kind=kind, names=names, about=about)
    return path


def batch(n: int = 4, size: int = 16, points: int = 3) -> Batch:
    """Noise, the same each time; a hole in the lower half; two keypoints known."""
    draw = torch.Generator().manual_seed(3)
    hidden = torch.zeros(n, 1, size, size)
    hidden[:, :, size // 2 :, 2:-2] = 1
    at = size * torch.rand(n, points, 3, generator=draw)
    at[..., 2] = torch.arange(points) < 2
    return Batch(torch.rand(n, 3, size, size, generator=draw), hidden, at)


def plain(count: int = 64, size: int = 16) -> Crops:
    """Each in one colour."""
    rng = np.random.default_rng(0)
    pictures = np.ones((count, size, size, 3), np.uint8)
    pictures *= rng.integers(40, 216, (count, 1, 1, 3), np.uint8)
    hidden = np.zeros((count, size, size), bool)
    hidden[:, size // 4 : -size // 4, size // 4 : -size // 4] = True
    points = np.zeros((count, 0, 3), np.float32)
    return Crops(pictures, hidden, points, tuple(map(str, range(count))), ())
