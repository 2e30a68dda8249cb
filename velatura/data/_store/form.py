"""The frames of one video in one file: written from first to last, read in any order.

raw     a ``.npy`` of (T, H, W, 3) uint8
jpeg    T JPEGs of quality 95 behind each other, then T + 1 little-endian uint64: where each
        begins, and where the last ends
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from velatura.errors import BadInput

__all__ = ["FORMS", "Form", "Jpeg", "Raw"]

QUALITY = 95
HEADER = 128  # bytes, of a .npy of any length


class Form(Protocol):
    """Writing: ``begin``, ``add`` each frame, ``end``. Reading: ``read``.

    Attributes:
        suffix: of the file.
        share: bytes on disk for one byte of pixels, for the estimate; of JPEGs at most, for
            what is not noise.
    """

    suffix: str
    share: float

    def begin(self, file: BinaryIO, height: int, width: int) -> None: ...

    def add(self, file: BinaryIO, image: np.ndarray) -> bytes:
        """Write one (H, W, 3) frame; returns the bytes that were written."""
        ...

    def end(self, file: BinaryIO) -> None: ...

    def read(self, path: Path, shape: tuple[int, int, int], indices: Sequence[int]) -> np.ndarray:
        """Chosen frames of a (T, H, W) file, (len(indices), H, W, 3) uint8."""
        ...


class Raw:
    """Pixels as they are: the fastest, and the largest."""

    suffix, share = ".npy", 1.0

    def begin(self, file: BinaryIO, height: int, width: int) -> None:
        self.frames, self.shape = 0, (height, width, 3)
        self._header(file)

    def _header(self, file: BinaryIO) -> None:
        # NumPy leaves room for the first axis to grow, so that it can be written again.
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.frames, *self.shape)}
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, header)
        assert file.tell() == HEADER

    def add(self, file: BinaryIO, image: np.ndarray) -> bytes:
        data = image.tobytes()
        file.write(data)
        self.frames += 1
        return data

    def end(self, file: BinaryIO) -> None:
        self._header(file)

    def read(self, path: Path, shape: tuple[int, int, int], indices: Sequence[int]) -> np.ndarray:
        # Read, not mapped: nothing stays in memory, and a file cut short is an error.
        _, height, width = shape
        out = np.empty((len(indices), height, width, 3), np.uint8)
        with open(path, "rb", buffering=0) as file:
            for image, index in zip(out, indices, strict=True):
                file.seek(HEADER + index * image.nbytes)
                if file.readinto(image) != image.nbytes:  # type: ignore[arg-type]
                    raise BadInput(f"{path} is cut short; delete it and prepare again.")
        return out


class Jpeg:
    """About a seventh of the bytes, and some milliseconds to decode a clip."""

    suffix, share = ".jpegs", 0.2

    def begin(self, file: BinaryIO, height: int, width: int) -> None:
        self.ends = [0]

    def add(self, file: BinaryIO, image: np.ndarray) -> bytes:
        import cv2

        done, code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        assert done
        file.write(data := code.tobytes())
        self.ends.append(self.ends[-1] + len(data))
        return data

    def end(self, file: BinaryIO) -> None:
        file.write(np.array(self.ends, "<u8").tobytes())

    def read(self, path: Path, shape: tuple[int, int, int], indices: Sequence[int]) -> np.ndarray:
        import cv2

        frames, height, width = shape
        out = np.empty((len(indices), height, width, 3), np.uint8)
        with open(path, "rb") as file:
            file.seek(-8 * (frames + 1), 2)
            ends = np.frombuffer(file.read(), "<u8").astype(int)
            for image, index in zip(out, indices, strict=True):
                file.seek(ends[index])
                code = np.frombuffer(file.read(max(ends[index + 1] - ends[index], 0)), np.uint8)
                read = cv2.imdecode(code, cv2.IMREAD_COLOR) if len(code) else None
                if read is None or read.shape != image.shape:
                    raise BadInput(f"Frame {index} of {path} is damaged; delete it, prepare again.")
                cv2.cvtColor(read, cv2.COLOR_BGR2RGB, dst=image)
        return out


FORMS: dict[str, type[Form]] = {"raw": Raw, "jpeg": Jpeg}
