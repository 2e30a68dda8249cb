"""A generator as a file: the same pictures, what the file says, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from inpainting import tiny_gan

from velatura.errors import BadInput, Failure
from velatura.export import inpainter
from velatura.regions._inpainter import PREFIX, Inpainter


def given(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, np.ndarray]:
    lot = np.random.default_rng(seed)
    hidden = np.zeros((16, 16), bool)
    hidden[3:14, 5:12] = True
    points = np.array([[4, 5, 1], [9, 9, 1], [0, 0, 0]], np.float32)
    picture = lot.integers(0, 256, (16, 16, 3), np.uint8)
    return picture, hidden, lot.standard_normal(8, np.float32), 0.7, points


def annotated(path: Path, out: Path, **entries: str | None) -> Path:
    """The file with other metadata."""
    model = onnx.load(path)
    about = {p.key.removeprefix(PREFIX): p.value for p in model.metadata_props} | entries
    inpainter._annotate(model, {k: v for k, v in about.items() if v is not None})
    out.write_bytes(model.SerializeToString())
    return out


@torch.no_grad()
def test_the_file_draws_what_the_network_draws(gan_file):
    made, network = Inpainter(gan_file), tiny_gan.generator()
    assert (made.kind, made.size, made.latent, made.points) == ("body", 16, 8, tiny_gan.NAMES)
    for seed in range(4):
        picture, hidden, style, truncation, points = given(seed)
        drawn = made.draw(picture, hidden, style, truncation, points)
        wanted = network(
            torch.from_numpy(picture).permute(2, 0, 1)[None] / 255,
            torch.from_numpy(hidden)[None, None].float(),
            torch.from_numpy(points)[None],
            torch.from_numpy(style)[None],
            truncation,
        )[0].permute(1, 2, 0)
        wanted = (255 * wanted).round().clamp(0, 255).byte().numpy()
        assert np.abs(drawn.astype(int) - wanted).max() <= 1
        np.testing.assert_array_equal(drawn[~hidden], picture[~hidden])


def test_what_is_hidden_is_never_seen_by_the_file(gan_file):
    """Privacy by construction, in the graph itself."""
    made, (picture, *rest) = Inpainter(gan_file), given()
    drawn = made.draw(picture, *rest)
    for seed in range(3):
        other = picture.copy()
        other[rest[0]] = given(10 + seed)[0][rest[0]]
        np.testing.assert_array_equal(made.draw(other, *rest), drawn)


def test_truncation_and_keypoints_reach_the_file(gan_file):
    made, (picture, hidden, style, _, points) = Inpainter(gan_file), given()
    other = given(1)[2]
    none = [made.draw(picture, hidden, z, 0.0, points) for z in (style, other)]
    np.testing.assert_array_equal(*none)
    whole = [made.draw(picture, hidden, z, 1.0, points) for z in (style, other)]
    assert (whole[0] != whole[1]).any()
    assert (made.draw(picture, hidden, style, 1.0) != whole[0]).any()


def test_a_network_without_keypoints(tmp_path):
    made = Inpainter(tiny_gan.write(tmp_path / "face.onnx", "face", ()))
    picture, hidden, style, truncation, _ = given()
    assert (made.kind, made.points) == ("face", ())
    assert made.draw(picture, hidden, style, truncation).shape == (16, 16, 3)


def test_what_the_file_says(gan_file):
    about = Inpainter(gan_file).about
    assert json.loads(about["network"]) == {"size": 16, "width": 4, "latent": 8, "style": 8}
    assert json.loads(about["settings"]) == {"steps": 1}
    assert about["data"] == "none"
    text = gan_file.read_bytes()
    assert str(Path.home()).encode() not in text
    assert str(Path(__file__).parents[2]).encode() not in text


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"schema": None}, "it says '', and this version reads 'velatura-inpainter/1'"),
        ({"schema": "velatura-model/1"}, "it says 'velatura-model/1'"),
        ({"kind": "dog"}, "its kind is 'dog'"),
        ({"size": "48"}, "its size is '48'"),
        ({"size": "32"}, "it has other inputs or outputs than it says"),
        ({"latent": "x"}, "its latent is 'x'"),
        ({"points": "[1]"}, "its points are no list of names"),
        ({"points": "{"}, "its points are no list of names"),
        ({"points": '["a"]'}, "it has other inputs or outputs than it says"),
    ],
)
def test_a_file_that_says_something_else_is_refused(gan_file, tmp_path, entries, why):
    path = annotated(gan_file, tmp_path / "x.onnx", **entries)
    with pytest.raises(BadInput) as error:
        Inpainter(path)
    assert str(error.value).startswith(f"{path} is no inpainting network that ")
    assert why in str(error.value)


def test_a_file_that_is_none_is_refused(gan_file, tmp_path):
    with pytest.raises(BadInput, match="No model at .*; `velatura impact train-gan` writes one"):
        Inpainter(tmp_path / "none.onnx")
    with pytest.raises(BadInput, match="is no file"):
        Inpainter(tmp_path)
    (tmp_path / "text.onnx").write_text("a text")
    with pytest.raises(BadInput, match="it is not ONNX, or damaged"):
        Inpainter(tmp_path / "text.onnx")
    model = onnx.load(gan_file)
    model.graph.node[0].domain = "evil"
    (tmp_path / "evil.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match="it wants operators of 'evil'"):
        Inpainter(tmp_path / "evil.onnx")
    model = onnx.load(gan_file)
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    (tmp_path / "out.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match="it refers to another file"):
        Inpainter(tmp_path / "out.onnx")
    model = onnx.load(gan_file)
    model.graph.node[0].op_type = "NoSuchThing"
    (tmp_path / "odd.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match="cannot be run by onnxruntime"):
        Inpainter(tmp_path / "odd.onnx")


def test_a_value_that_is_no_number_ends_it(gan_file, tmp_path):
    model = onnx.load(gan_file)
    weight = next(w for w in model.graph.initializer if w.name == "generator.bottom.scale.bias")
    values = np.full(16, np.nan, np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    (tmp_path / "nan.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Failure, match="gave a value that is not a number"):
        Inpainter(tmp_path / "nan.onnx").draw(*given())


def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    """A graph of another network."""
    other = tiny_gan.generator(seed=9)
    translated = inpainter._translated
    monkeypatch.setattr(inpainter, "_translated", lambda network: translated(other))
    with pytest.raises(Failure, match="differs from the trained one"):
        tiny_gan.write(tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_destination_is_not_overwritten(gan_file, tmp_path):
    with pytest.raises(BadInput, match="exists; name another"):
        tiny_gan.write(gan_file)
    with pytest.raises(BadInput, match=r"a model's name ends in \.onnx"):
        tiny_gan.write(tmp_path / "x.txt")
