"""An anonymizer as deployment sees it: pictures of bytes in, pictures of bytes out.

    Anonymizer.load()                 the package's own, whichever its card recommends
    Anonymizer.load("pixelate")       a fixed filter, deploy/modes.py
    Anonymizer.load("light")          the trained network inside the package, deploy/model.py
    Anonymizer.load("mine.onnx")      one that `velatura export` wrote

Each is shown a picture at the size it was measured at (``work_size``), whatever the size of the
video, and its picture is enlarged again. So what it never saw it cannot leak, the card's figures
are of what is deployed, and a frame of 4K costs hardly more than a small one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from velatura.errors import BadInput, Failure, unknown
from velatura.video.resize import resize

__all__ = ["Anonymizer", "scaled"]


class Anonymizer:
    """Frames in, anonymized frames out; subclasses give ``apply`` or ``process``.

    Attributes:
        name: as the user knows it, such as ``"pixelate"``.
        digest: of its weights or settings; the same digest makes the same pictures.
        device: where it runs, as actually obtained, such as ``"cpu (onnxruntime)"``.
        enlarge: how its pictures are brought back to the size of the video.
        past: how many frames before a frame its result depends on.
        moves: True where it looks back to show what moves, and a picture that stands alone would
            come out empty.
        keeps: True where a picture may come back as it was given.
        card: what was measured of it; empty where nothing was.
    """

    name: str = ""
    digest: str = ""
    device: str = "cpu"
    enlarge: Literal["nearest", "bilinear"] = "bilinear"
    past: int = 0
    moves: bool = False
    keeps: bool = False
    card: dict[str, Any] = {}

    @staticmethod
    def load(
        what: str | Path = "default",
        *,
        scale: int | None = None,
        device: str = "auto",
        threads: int = 0,
    ) -> Anonymizer:
        """An anonymizer by the name of a mode or packaged model, or from an ``.onnx`` file.

        Args:
            what: a name that ``names()`` lists, ``"default"``, or a path that ends in ``.onnx``.
            scale: pixels of the shorter side that it is shown; None is the size at which it
                was measured, 0 the video's own.
            device: ``"auto"``, ``"cpu"``, ``"cuda"``, or ``"openvino"``: the CPU, by that runtime,
                in 32 bits, or ``"openvino-bf16"``, in 16. One that is asked for and not there is
                an error, never another one in its place.
            threads: of the CPU; 0 is all.

        Raises:
            BadInput: no such name or file; a file that is no exported anonymizer; a device
                that is not there.
        """
        from velatura.deploy.modes import MODES

        text = DEFAULT if what == "default" else str(what)
        if text in MODES:
            if device not in ("auto", "cpu"):
                raise BadInput(f"{text} has no network to run by {device}; use --device cpu.")
            return MODES[text](scale=scale)
        from velatura.deploy import model

        if text.endswith(".onnx"):
            return model.Model(Path(what), scale=scale, device=device, threads=threads)
        if text in model.PACKAGED:
            return model.packaged(text, scale=scale, device=device, threads=threads)
        raise unknown("anonymizer", text, names())

    def work_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the picture that it is shown of a frame of this size."""
        return height, width

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """(T, h, w, 3) uint8 RGB at the work size to the same, each frame by itself."""
        raise NotImplementedError

    def process(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Consecutive batches of one video, (T, h, w, 3) uint8 RGB at the work size.

        Yields:
            (t, h, w, 3) uint8: as many pictures in the same order, whatever the batches; they
            may come later than what they answer to.
        """
        for frames in batches:
            answer = self.apply(frames)
            if isinstance(answer, np.ndarray) and len(answer) != len(frames):
                raise Failure(f"{self.name} answered {len(answer)} of {len(frames)} frames.")
            yield answer

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Anonymize one clip that stands alone.

        Args:
            frames: (T, H, W, 3) uint8, RGB, upright.

        Returns:
            The same shape and type.

        Raises:
            ValueError: another shape or type.
            Failure: a network that gave something else than pictures.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(
                f"frames must be uint8 (T, H, W, 3), RGB; got {frames.dtype} {frames.shape}"
            )
        return np.stack(list(self.stream(frames))) if len(frames) else frames.copy()

    def stream(self, frames: Iterable[np.ndarray], batch: int = 8) -> Iterator[np.ndarray]:
        """Anonymize frame by frame, as they come.

        Args:
            frames: (H, W, 3) uint8 RGB, all of one size, in the order shown.
            batch: how many are gathered before they are worked on; 1 has the least delay.

        Yields:
            As many pictures of the same size, in the same order.
        """
        sizes: deque[tuple[int, int]] = deque()

        def batches() -> Iterator[np.ndarray]:
            source = iter(frames)
            while group := list(islice(source, batch)):
                sizes.extend(image.shape[:2] for image in group)
                small = self.work_size(*group[0].shape[:2])
                yield np.stack([resize(image, small, "area") for image in group])

        for answer in self.process(batches()):
            for image in answer:
                yield resize(image, sizes.popleft(), self.enlarge)
        if sizes:
            raise Failure(f"{self.name} answered {len(sizes)} frames too few.")

    def describe(self) -> dict[str, Any]:
        """What a report says of it."""
        return {"name": self.name, "digest": self.digest, "device": self.device}


DEFAULT = "silhouette"  # the reason stands in the package's model card: docs/model-card.md


def names() -> list[str]:
    """Every name that ``Anonymizer.load`` knows."""
    from velatura.deploy import model, modes

    return sorted({*modes.MODES, *model.PACKAGED})


def scaled(height: int, width: int, short: int, multiple: int = 1) -> tuple[int, int]:
    """The size of a frame whose shorter side is shrunk to ``short`` pixels; never enlarged.

    Args:
        short: 0 keeps the size.
        multiple: both sides are rounded to multiples of it, at least one.
    """
    ratio = min(1.0, short / min(height, width)) if short else 1.0

    def rounded(side: int) -> int:  # 2 by 4000 pixels exist too
        return max(multiple, round(side * ratio / multiple) * multiple)

    if ratio == 1.0 and multiple == 1:
        return height, width
    return rounded(height), rounded(width)
