"""A trained inpainting network as one ONNX file: what `velatura impact train-gan` writes.

    picture     (1, S, S, 3) uint8, RGB; what stands in its hidden pixels does not count
    hidden      (1, S, S) bool
    style       (1, Z) float32, standard normal: who is drawn
    truncation  (1,) float32 in [0, 1]: 1 as drawn by lot, 0 the mean style
    points      (1, K, 3) float32: x and y in pixels, 1 known or 0; absent where K is 0
    drawn       (1, S, S, 3) uint8; where nothing is hidden, the picture's
    sums        (1,) float32 of the answer before it became bytes, which cannot hold a NaN

Run by onnxruntime on one core, so that a picture depends on nothing else. The file is looked
through before the library sees it, as all of a stranger's are.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from velatura.errors import BadInput, Failure
from velatura.onnx_file import metadata, read

__all__ = ["PREFIX", "SCHEMA", "SIZES", "Inpainter"]

SCHEMA = "velatura-inpainter/1"
PREFIX = "velatura."  # of the metadata's keys
SIZES = (16, 32, 64, 128)
WRITER = "velatura impact train-gan"


class Inpainter:
    """A file, opened.

    Attributes:
        kind: of regions that it was trained on, face or body.
        size: S, pixels.
        latent: Z.
        points: names of the K keypoints.
        digest: of the file.
    """

    def __init__(self, path: str | Path):
        """Open a file.

        Raises:
            BadInput: no such file, or none that was written for this.
        """
        path = Path(path)
        content = read(path, WRITER)
        try:
            found = metadata(content)
            about = {k.removeprefix(PREFIX): v for k, v in found.items() if k.startswith(PREFIX)}
            self.kind, self.size, self.latent, self.points = _said(about)
        except ValueError as error:
            raise _not_ours(path, str(error)) from None
        self.digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.about = about
        self._session = self._opened(content, path)

    def _opened(self, content: bytes, path: Path) -> Any:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # what a library makes of a file that is none
            raise BadInput(f"{path} cannot be run by onnxruntime: {_line(error)}.") from None
        side, count = self.size, len(self.points)
        wanted = [
            ("picture", "tensor(uint8)", [1, side, side, 3]),
            ("hidden", "tensor(bool)", [1, side, side]),
            ("style", "tensor(float)", [1, self.latent]),
            ("truncation", "tensor(float)", [1]),
            *([("points", "tensor(float)", [1, count, 3])] if count else []),
        ]
        gives = [("drawn", "tensor(uint8)", [1, side, side, 3]), ("sums", "tensor(float)", [1])]
        there = [
            [(i.name, i.type, i.shape) for i in ends]
            for ends in (session.get_inputs(), session.get_outputs())
        ]
        if there != [wanted, gives]:
            raise _not_ours(path, "it has other inputs or outputs than it says")
        return session

    def draw(
        self,
        picture: np.ndarray,
        hidden: np.ndarray,
        style: np.ndarray,
        truncation: float = 1.0,
        points: np.ndarray | None = None,
    ) -> np.ndarray:
        """One picture with its hidden pixels drawn anew.

        Args:
            picture: (S, S, 3) uint8.
            hidden: (S, S) bool.
            style: (Z,) float32.
            points: (K, 3) float32; None where nothing is known of them.

        Returns:
            (S, S, 3) uint8.

        Raises:
            Failure: the network broke, or gave values that are no numbers.
        """
        given = {
            "picture": picture[None],
            "hidden": hidden[None],
            "style": style[None],
            "truncation": np.array([truncation], np.float32),
        }
        if self.points:
            nobody = np.zeros((len(self.points), 3), np.float32)
            given["points"] = (nobody if points is None else points)[None]
        try:
            drawn, sums = self._session.run(["drawn", "sums"], given)
        except MemoryError:
            raise
        except Exception as error:
            raise Failure(f"The inpainting network broke in onnxruntime: {_line(error)}.") from None
        if not np.isfinite(sums).all():
            raise Failure("The inpainting network gave a value that is not a number.")
        found: np.ndarray = drawn[0]
        return found


def _said(about: dict[str, str]) -> tuple[str, int, int, tuple[str, ...]]:
    """Kind, size, length of a style, and keypoints.

    Raises:
        ValueError: as of no such file; the message ends a sentence.
    """
    schema = about.get("schema", "")
    if schema != SCHEMA:
        raise ValueError(f"it says {schema[:40]!r}, and this version reads {SCHEMA!r}")
    kind, size, latent = about.get("kind", ""), about.get("size", ""), about.get("latent", "")
    if kind not in ("face", "body"):
        raise ValueError(f"its kind is {kind[:20]!r}")
    if size not in map(str, SIZES):
        raise ValueError(f"its size is {size[:20]!r}")
    if not (latent.isascii() and latent.isdigit() and 0 < len(latent) < 5):
        raise ValueError(f"its latent is {latent[:20]!r}")
    try:
        points = json.loads(about.get("points", ""))
    except (ValueError, RecursionError):
        points = None
    if not (isinstance(points, list) and all(isinstance(name, str) for name in points)):
        raise ValueError("its points are no list of names")
    return kind, int(size), int(latent), tuple(points)


def _not_ours(path: Path, why: str) -> BadInput:
    return BadInput(f"{path} is no inpainting network that `{WRITER}` wrote: {why}.")


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].strip(" .")
