"""An exported anonymizer at work, against the same network written in numpy.

The network is made here by hand, not by the exporter. Its answer is half the picture in other
colours and half the mean of 4 x 4 blocks of it blurred: so it has a stride of 4, and a block
looks 2 pixels beyond itself, which is a margin of 4.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from velatura.deploy import model as module
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.model import PREFIX, SCHEMA, Model, packaged
from velatura.errors import BadInput, Failure

STRIDE, MARGIN = 4, 4
ENTRIES = {
    "schema": SCHEMA,
    "name": "by-hand",
    "stride": str(STRIDE),
    "short_side": "24",
    "margin": str(MARGIN),
    "card": '{"U": 0.5}',
    "seed": "7",
}
TAPS = np.array([1, 4, 6, 4, 1]) / 16
COLOURS = np.array([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.0, 0.4, 0.6]])  # to red, green, blue


def made(poison: float = 0.0, **changes: str | None) -> onnx.ModelProto:
    """The network as ONNX; what is poisoned is added to its answer."""
    blur = np.zeros((3, 3, 5, 5), np.float32)
    for channel in range(3):
        blur[channel, channel] = np.outer(TAPS, TAPS)
    constants = {
        "full": np.float32(255),
        "half": np.float32(0.5),
        "none": np.float32(0),
        "poison": np.float32(poison),
        "blur": blur,
        "colours": COLOURS.astype(np.float32)[..., None, None],
        "larger": np.array([1, 1, 4, 4], np.float32),
    }
    to_float = helper.make_node("Cast", ["planes"], ["real"], to=TensorProto.FLOAT)
    to_bytes = helper.make_node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8)
    nodes = [
        helper.make_node("Transpose", ["frames"], ["planes"], perm=[0, 3, 1, 2]),
        to_float,
        helper.make_node("Div", ["real", "full"], ["x"]),
        helper.make_node("Conv", ["x", "blur"], ["blurred"], pads=[2, 2, 2, 2]),
        helper.make_node(
            "AveragePool", ["blurred"], ["small"], kernel_shape=[4, 4], strides=[4, 4]
        ),
        helper.make_node(
            "Resize", ["small", "", "larger"], ["blocks"], mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        ),
        helper.make_node("Conv", ["x", "colours"], ["coloured"]),
        helper.make_node("Add", ["blocks", "coloured"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["mixed"]),
        helper.make_node("Add", ["mixed", "poison"], ["answer"]),
        helper.make_node("ReduceSum", ["answer", "axes"], ["sums"], keepdims=0),
        helper.make_node("Mul", ["answer", "full"], ["levels"]),
        helper.make_node("Round", ["levels"], ["rounded"]),
        helper.make_node("Clip", ["rounded", "none", "full"], ["clipped"]),
        to_bytes,
        helper.make_node("Transpose", ["bytes"], ["anonymized"], perm=[0, 2, 3, 1]),
    ]  # fmt: skip
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    tensors.append(numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"))
    shape = ["batch", "high", "wide", 3]
    graph = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, shape)],
        [
            helper.make_tensor_value_info("anonymized", TensorProto.UINT8, shape),
            helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["batch"]),
        ],
        tensors,
    )
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for key, value in {**ENTRIES, **changes}.items():
        if value is not None:
            found.metadata_props.add(key=PREFIX + key, value=value)
    return found


def plainly(frames: np.ndarray) -> np.ndarray:
    """The network's levels before rounding, (T, H, W, 3) float64, worked out in numpy."""
    height, width = frames.shape[1:3]
    below, right = -height % STRIDE, -width % STRIDE
    x = np.pad(frames, ((0, 0), (0, below), (0, right), (0, 0)), "edge").astype(float)
    blurred = x
    for axis in (1, 2):
        around = [(0, 0)] * 4
        around[axis] = (2, 2)
        wide = np.pad(blurred, around)
        length = x.shape[axis]
        parts = [np.take(wide, range(k, k + length), axis) * tap for k, tap in enumerate(TAPS)]
        blurred = np.sum(parts, 0)
    n, h, w, _ = x.shape
    blocks = blurred.reshape(n, h // 4, 4, w // 4, 4, 3).mean((2, 4), keepdims=True)
    blocks = np.broadcast_to(blocks, (n, h // 4, 4, w // 4, 4, 3)).reshape(x.shape)
    return ((blocks + x @ COLOURS.T) / 2)[:, :height, :width]


def noise(count: int, height: int, width: int) -> np.ndarray:
    draw = np.random.default_rng(height * width)
    return draw.integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "hand.onnx"
    file.write_bytes(made().SerializeToString())
    return file


def written(folder: Path, content: onnx.ModelProto | bytes) -> Path:
    file = folder / "other.onnx"
    file.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return file


def refused(file: Path, **more: Any) -> str:
    with pytest.raises(BadInput) as caught:
        Model(file, **more)
    text = str(caught.value)
    assert "\n" not in text
    return text


# ------------------------------------------------------------------------------- the answer


RUNTIMES = ["onnxruntime", "openvino"]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("size", [(4, 4), (1, 1), (24, 32), (31, 17), (80, 107)])
def test_the_answer_is_that_of_the_formula(path: Path, size: tuple[int, int], runtime: Any):
    if runtime == "openvino":
        pytest.importorskip("openvino")
    frames = noise(3, *size)
    found = Model(path, scale=0, runtime=runtime).apply(frames)
    assert found.shape == frames.shape
    assert found.dtype == np.uint8
    # Half a level is what rounding takes; a hair more is what float32 does.
    assert np.abs(found - plainly(frames)).max() < 0.501


def test_sixteen_bits_answer_nearly_alike_and_say_so():
    pytest.importorskip("openvino")
    whole, half = (packaged("light", device=d) for d in ("openvino", "openvino-bf16"))
    assert half.digest == f"{whole.digest}:bf16"
    assert half.device == "cpu (openvino, bf16)"
    frames = noise(8, 48, 64)
    away = np.abs(whole.apply(frames).astype(int) - half.apply(frames))
    assert away.mean() < 0.5
    assert away.max() <= 16


def test_a_picture_in_tiles_is_the_picture_in_one_to_the_byte(path: Path):
    for size in [(24, 32), (61, 90), (80, 107)]:
        frames = noise(2, *size)
        whole = Model(path).apply(frames)
        for pixels in (1, 300, 700):
            model = Model(path, pixels=pixels)
            height, width = (side + -side % STRIDE for side in size)
            assert len(list(model._tiles(2, height, width))) > 1
            assert np.array_equal(model.apply(frames), whole), (size, pixels)


def test_a_margin_that_is_too_small_shows(tmp_path: Path, path: Path):
    """The network that these tests use does look beyond its block."""
    frames = noise(1, 61, 90)
    small = written(tmp_path, made(margin="0"))
    apart = Model(small, pixels=500).apply(frames) != Model(path).apply(frames)
    assert apart.any()


def test_without_a_margin_no_picture_is_cut(tmp_path: Path):
    file = written(tmp_path, made(margin=""))
    model = Model(file, pixels=1)
    assert len(list(model._tiles(1, 400, 400))) == 1
    frames = noise(1, 61, 90)
    assert np.abs(model.apply(frames) - plainly(frames)).max() < 0.501


def test_a_large_picture_is_cut_for_the_workers_that_there_are(path: Path):
    one, two = Model(path, threads=1), Model(path, threads=2)
    assert len(list(one._tiles(1, 600, 800))) == 1
    assert len(list(two._tiles(1, 600, 800))) > 1
    assert len(list(one._tiles(1, 2160, 3840))) > 5


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_neither_batch_nor_threads_change_a_byte(path: Path, runtime: Any):
    if runtime == "openvino":
        pytest.importorskip("openvino")
    frames = noise(7, 45, 61)
    together = Model(path, threads=1, runtime=runtime).apply(frames)
    for threads in (1, 2, 3):
        model = Model(path, threads=threads, runtime=runtime)
        assert np.array_equal(model.apply(frames), together)
        alone = np.concatenate([model.apply(frames[i : i + 1]) for i in range(7)])
        assert np.array_equal(alone, together)


def test_it_is_an_anonymizer_that_is_loaded_by_its_path(path: Path):
    anonymizer = Anonymizer.load(path, device="cpu", threads=1)
    frames = noise(3, 48, 66)  # shown at 24 x 33, and enlarged again
    assert anonymizer.work_size(48, 66) == (24, 33)
    assert anonymizer(frames).shape == frames.shape
    assert anonymizer.describe()["name"] == "by-hand"


def test_what_the_file_says_of_itself(path: Path):
    model = Model(path)
    content = path.read_bytes()
    assert model.about[:4] == ("by-hand", STRIDE, 24, MARGIN)
    assert (model.card, model.about.rest["seed"]) == ({"U": 0.5}, "7")
    assert model.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert Model(path, scale=24).digest == model.digest
    assert Model(path, scale=40).digest == f"{model.digest}:40"  # other pictures
    assert Model(path, scale=40).work_size(80, 107) == (40, 54)
    assert Model(path, scale=0).work_size(80, 107) == (80, 107)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_no_number_is_no_picture(tmp_path: Path, poison: float, runtime: Any):
    if runtime == "openvino":
        pytest.importorskip("openvino")
    model = Model(written(tmp_path, made(poison)), runtime=runtime)
    with pytest.raises(Failure, match="by-hand gave a value that is not a number"):
        model.apply(noise(1, 24, 24))


def test_a_library_that_breaks_is_one_sentence(path: Path, monkeypatch: pytest.MonkeyPatch):
    model = Model(path)

    def breaks(frames: np.ndarray) -> Any:
        raise RuntimeError("Non-zero status code.\nmore")

    monkeypatch.setattr(model, "_network", breaks)
    with pytest.raises(Failure, match=r"by-hand broke in onnxruntime: Non-zero status code\.$"):
        model.apply(noise(3, 8, 8))
    monkeypatch.setattr(model, "_network", lambda frames: (frames[:, :4], np.zeros(1)))
    with pytest.raises(Failure, match="turned uint8"):
        model.apply(noise(1, 8, 8))


# ------------------------------------------------------------------------------- what it refuses


def external(found: onnx.ModelProto) -> None:
    tensor = found.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    tensor.ClearField("raw_data")


def external_deep_inside(found: onnx.ModelProto) -> None:
    tensor = TensorProto()
    tensor.external_data.add(key="location", value="/etc/passwd")
    inner = helper.make_graph([], "inner", [], [], [tensor])
    found.graph.node[0].attribute.append(helper.make_attribute("body", inner))


def foreign(found: onnx.ModelProto) -> None:
    found.graph.node[3].domain = "my.library"


def one_input_more(found: onnx.ModelProto) -> None:
    found.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def unknown_operator(found: onnx.ModelProto) -> None:
    found.graph.node[3].op_type = "Convolve"


REFUSED: list[tuple[Callable[[onnx.ModelProto], None], str]] = [
    (external, "it refers to another file"),
    (external_deep_inside, "it refers to another file"),
    (foreign, "it wants operators of 'my.library'"),
    (one_input_more, "cannot be run|other inputs and outputs"),
    (unknown_operator, "cannot be run by onnxruntime"),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSED, ids=[c.__name__ for c, _ in REFUSED])
def test_a_file_that_reaches_out_is_refused(tmp_path: Path, change: Any, sentence: str):
    found = made()
    change(found)
    with pytest.raises(BadInput, match=sentence):
        Model(written(tmp_path, found))


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"schema": None}, "it has none of our metadata"),
        ({"schema": "velatura-model/9"}, "says 'velatura-model/9'; this version reads"),
        ({"stride": None}, "its stride is ''"),
        ({"stride": "0"}, "its stride is '0'"),
        ({"stride": "-4"}, "its stride is '-4'"),
        ({"stride": "४"}, "its stride is"),
        ({"short_side": "1e3"}, "its short_side is '1e3'"),
        ({"margin": "99999999"}, "its margin is '99999999'"),
        ({"name": ""}, "its name is unusable"),
        ({"name": "a\nb"}, "its name is unusable"),
        ({"card": "[1]"}, "its card is not a JSON object"),
        ({"card": "__import__('os')"}, "its card is not a JSON object"),
        ({"card": "[" * 200_000}, "its card is not a JSON object"),
        ({"card": json.dumps({"x": "y" * 300_000})}, "it is not ONNX, or damaged"),
    ],
)
def test_what_a_file_says_of_itself_is_checked(tmp_path: Path, entries: Any, sentence: str):
    assert sentence in refused(written(tmp_path, made(**entries)))


@pytest.mark.parametrize("content", [b"", b"PK\3\4 not a model", b"\x80\x02pickle", b"\xff" * 99])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes):
    assert "no anonymizer that `velatura export` wrote" in refused(written(tmp_path, content))


def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path):
    whole = made().SerializeToString()
    for length in range(1, len(whole), 97):
        assert refused(written(tmp_path, whole[:length]))


def test_a_model_of_another_program_is_refused(tmp_path: Path):
    found = made()
    del found.metadata_props[:]
    assert "it has none of our metadata" in refused(written(tmp_path, found))


def test_a_file_nested_without_end_is_refused(tmp_path: Path):
    inner = b""
    for _ in range(300):  # graph in attribute in node in graph ...
        for field in (6, 5, 1):
            size = len(inner)
            length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
            inner = bytes([field << 3 | 2]) + length + inner
        if len(inner) > 16_000:
            break
    size = len(inner)
    content = bytes([7 << 3 | 2, size & 127 | 128, size >> 7]) + inner
    assert "it is not ONNX, or damaged" in refused(written(tmp_path, content))


def test_what_is_not_there_is_said(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "No model at" in refused(tmp_path / "nothing.onnx")
    assert "is no file" in refused(tmp_path)
    assert "device is auto, cpu, cuda, openvino or openvino-bf16, not 'tpu'" in refused(
        path, device="tpu"
    )
    assert "scale must be 0 or more, not -1" in refused(path, scale=-1)
    assert "runtime is onnxruntime or openvino" in refused(path, runtime="tensorrt")
    assert "device cuda: openvino has no CUDA" in refused(path, device="cuda", runtime="openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "pip install openvino" in refused(path, runtime="openvino")
    assert "pip install openvino" in refused(path, device="openvino")


def test_a_gpu_that_is_asked_for_is_obtained_or_it_is_an_error(path: Path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    assert "device cuda: this onnxruntime has no CUDA" in refused(path, device="cuda")
    assert Model(path).device == "cpu (onnxruntime)"


# ------------------------------------------------------------------------------- the package


def test_a_packaged_model_has_its_card_beside_it(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "light.onnx").write_bytes(path.read_bytes())
    monkeypatch.setattr(module, "PACKAGED", {"light": tmp_path / "light.onnx"})
    assert module.packaged("light").card == {"U": 0.5}
    (tmp_path / "light.json").write_text('{"U": 0.9}')
    found = module.packaged("light", scale=10, threads=1)
    assert (found.name, found.card, found.short) == ("light", {"U": 0.9}, 10)
    with pytest.raises(BadInput, match="Did you mean 'light'"):
        module.packaged("lihgt")


def test_every_model_in_the_package_opens():
    for name in module.PACKAGED:
        assert module.packaged(name).name == name


def test_the_libraries_are_loaded_with_the_first_model():
    code = (
        "import sys, velatura.deploy.model; "
        "print([l for l in ('onnxruntime', 'openvino', 'onnx', 'torch') if l in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
