"""A file that looks two frames back, made by hand, and what it answers in numpy.

Each block of 4 x 4 pixels shows how its mean colour changed: mid-grey where it did not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from velatura.deploy.model import PREFIX, SCHEMA_PAST

PAST, STRIDE = 2, 4
WEIGHTS = np.array([0.25, -0.75, 0.5])  # of the oldest frame to the newest; they add up to 0
REST = 128


def made(poison: float = 0.0, **changes: str | None) -> onnx.ModelProto:
    """The network; what is poisoned is added to its answer."""
    constants = {
        "weights": WEIGHTS.astype(np.float32)[:, None, None, None],
        "first": np.array([0], np.int64),
        "rest": np.float32(REST + poison),
        "larger": np.array([1, 1, STRIDE, STRIDE], np.float32),
        "none": np.float32(0),
        "full": np.float32(255),
        "all": np.array([1, 2, 3], np.int64),
    }
    nodes = [
        helper.make_node("Transpose", ["frames"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("AveragePool", ["real"], ["means"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Mul", ["means", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "first"], ["change"], keepdims=1),
        helper.make_node("Add", ["change", "rest"], ["blocks"]),
        helper.make_node(
            "Resize", ["blocks", "", "larger"], ["answer"], mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        ),
        helper.make_node("ReduceSum", ["answer", "all"], ["sums"], keepdims=0),
        helper.make_node("Round", ["answer"], ["rounded"]),
        helper.make_node("Clip", ["rounded", "none", "full"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["bytes"], ["anonymized"], perm=[0, 2, 3, 1]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "looking",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [PAST + 1, "h", "w", 3])],
        [
            helper.make_tensor_value_info("anonymized", TensorProto.UINT8, [1, "h", "w", 3]),
            helper.make_tensor_value_info("sums", TensorProto.FLOAT, [1]),
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    entries: dict[str, str | None] = {
        "schema": SCHEMA_PAST,
        "name": "looking",
        "stride": str(STRIDE),
        "short_side": "24",
        "margin": "0",
        "past": str(PAST),
        "first": "rest",
    }
    for key, value in {**entries, **changes}.items():
        if value is not None:
            found.metadata_props.add(key=PREFIX + key, value=value)
    return found


def written(path: Path, poison: float = 0.0, **changes: str | None) -> Path:
    """The file, as ``made`` makes it."""
    path.write_bytes(made(poison, **changes).SerializeToString())
    return path


def plainly(frames: np.ndarray, first: str = "rest") -> np.ndarray:
    """(T, H, W, 3) uint8, one clip, to what the file answers."""
    count, height, width = frames.shape[:3]
    edges = (0, 0), (0, -height % STRIDE), (0, -width % STRIDE), (0, 0)
    x = np.pad(frames, edges, "edge").astype(float)
    rows, columns = x.shape[1] // STRIDE, x.shape[2] // STRIDE
    means = x.reshape(count, rows, STRIDE, columns, STRIDE, 3).mean((2, 4))
    long = np.concatenate([means[:1]] * PAST + [means])  # as if the first had stood there
    change = sum(weight * long[i : i + count] for i, weight in enumerate(WEIGHTS))
    blocks = np.rint(REST + change).clip(0, 255).astype(np.uint8)
    answers = blocks.repeat(STRIDE, 1).repeat(STRIDE, 2)[:, :height, :width]
    if first == "next" and count > 1:
        answers[0] = answers[1]
    return answers
