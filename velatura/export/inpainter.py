"""A trained inpainting generator as one ONNX file, for velatura/regions/gan.py.

``velatura/regions/_inpainter.py`` says what the graph promises. The file is written beside its
destination, compared there with the network by the code that will run it, and then gets its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from velatura.config import digest, plain
from velatura.errors import BadInput, Failure
from velatura.experiment import versions
from velatura.export.onnx import (
    DIFFER,
    OPSET,
    _annotate,
    _beside,
    _publish,
    _quiet,
    _tools,
    clean,
)
from velatura.export.onnx import _needed as needed
from velatura.inpainting.generator import Generator
from velatura.regions._inpainter import SCHEMA, Inpainter

__all__ = ["Written", "needed", "write"]

CROPS = 6  # that are compared


class Written(NamedTuple):
    """A file that was written.

    Attributes:
        share: of bytes that differ from the network's, by one level.
    """

    path: Path
    size: int
    digest: str
    share: float


def write(
    generator: Generator,
    destination: Path,
    *,
    kind: Literal["face", "body"],
    names: tuple[str, ...],
    about: Mapping[str, Any],
    overwrite: bool = False,
) -> Written:
    """Write a generator as an ONNX file, once it draws what the generator draws.

    Args:
        generator: settled, on the CPU.
        destination: ends in ``.onnx``.
        kind: of regions that it was trained on.
        names: of its keypoints.
        about: ``data``, a fingerprint, and ``config``, whatever else made it what it is.

    Raises:
        BadInput: a destination that exists; what exporting needs is not installed.
        Failure: the file differs from the network; nothing was written.
    """
    if destination.suffix != ".onnx":
        raise BadInput(f"{destination}: a model's name ends in .onnx.")
    if destination.exists() and not overwrite:
        raise BadInput(f"{destination} exists; name another.")
    needed()
    cfg = generator.cfg
    entries = {
        "schema": SCHEMA,
        "name": destination.stem,
        "kind": kind,
        "size": str(cfg.size),
        "latent": str(cfg.latent),
        "points": json.dumps(list(names)),
        "network": json.dumps(plain(cfg)),
        "config": digest(about["config"]),
        "data": str(about["data"]),
        "settings": json.dumps(plain(about["config"])),
        "versions": json.dumps({**versions(), **_tools()}),
    }
    model = _translated(generator)
    _annotate(model, entries)
    with _beside(destination) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))
        made = Inpainter(partial)
        share = _compared(made, generator)
        _publish(partial, destination, overwrite)
    return Written(destination, destination.stat().st_size, made.digest, share)


class _Bytes(nn.Module):
    """The graph's contract around a generator."""

    def __init__(self, generator: Generator):
        super().__init__()
        self.generator = generator

    def forward(
        self,
        picture: Tensor,
        hidden: Tensor,
        style: Tensor,
        truncation: Tensor,
        points: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        pictures = picture.permute(0, 3, 1, 2).float() / 255
        known = style.new_zeros(1, 0, 3) if points is None else points
        found = self.generator(pictures, hidden[:, None].float(), known, style, truncation)
        levels = (found * 255).round().clamp(0, 255).to(torch.uint8)
        return levels.permute(0, 2, 3, 1), found.sum((1, 2, 3))


def _translated(generator: Generator) -> Any:
    """The graph as an ``onnx.ModelProto``."""
    side, count = generator.cfg.size, generator.points
    example = [
        torch.zeros(1, side, side, 3, dtype=torch.uint8),
        torch.zeros(1, side, side, dtype=torch.bool),
        torch.zeros(1, generator.cfg.latent),
        torch.ones(1),
        *([torch.zeros(1, count, 3)] if count else []),
    ]
    names = ["picture", "hidden", "style", "truncation", "points"]
    with _quiet():
        program = torch.onnx.export(
            _Bytes(generator).eval(),
            tuple(example),
            dynamo=True,
            input_names=names[: len(example)],
            output_names=["drawn", "sums"],
            opset_version=OPSET,
            verbose=False,
        )
    return clean(program)


@torch.no_grad()
def _compared(made: Inpainter, generator: Generator) -> float:
    """The share of bytes that differ, by one level.

    Raises:
        Failure: more differ than rounding explains, or by more.
    """
    lot, side = np.random.default_rng(0), generator.cfg.size
    apart = []
    for at in range(CROPS):
        picture = lot.integers(0, 256, (side, side, 3), np.uint8)
        hidden = np.zeros((side, side), bool)
        hidden[side // 4 :, : side // 2 + 1] = True
        style = lot.standard_normal(made.latent, np.float32)
        points = np.concatenate(
            [
                lot.uniform(0, side, (generator.points, 2)),
                lot.integers(0, 2, (generator.points, 1)),
            ],
            1,
        ).astype(np.float32)
        truncation = at / (CROPS - 1)
        given = (picture, hidden, style, np.array([truncation], np.float32), points)
        tensors = [torch.from_numpy(part)[None] for part in given]
        tensors[3] = tensors[3][0]
        wanted = _Bytes(generator)(*tensors)[0][0].numpy()
        found = made.draw(picture, hidden, style, truncation, points)
        apart.append(np.abs(found.astype(int) - wanted))
    together = np.stack(apart)
    share, largest = float((together > 0).mean()), int(together.max())
    if largest > 1 or share >= DIFFER:
        raise Failure(
            f"The exported network differs from the trained one: {share:.3%} of the bytes, by up "
            f"to {largest} of 255 levels; nothing was written."
        )
    return share
