"""``velatura anonymize`` from the words typed to the file; errors propagate to the app."""

import json
import sys
import types
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from velatura.cli.anonymize import _on_frames, anonymize
from velatura.errors import BadInput, Failure
from velatura.video.probe import probe
from velatura.video.read import read_frames
from velatura.video.write import VideoWriter


class Negative(torch.nn.Module):
    """A stand-in for a trained anonymizer; remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, clips):
        self.seen.append(clips)
        return 1 - clips


@pytest.fixture
def source(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", 50, 38, time_base=Fraction(1, 30)) as writer:
        for i in range(10):
            ramp = np.linspace(0, 100, 50)[None, :, None] + 10 * i
            writer.write(np.broadcast_to(ramp, (38, 50, 3)).astype(np.uint8), i)
    return tmp_path / "clip.mp4"


@pytest.fixture
def asked(monkeypatch):
    """Replaces the loading of a trained run; what was asked for."""
    calls = []
    module = types.ModuleType("velatura.experiment")

    def load_anonymizer(run, device):
        calls.append((str(run), device))
        return Negative()

    module.load_anonymizer = load_anonymizer
    monkeypatch.setitem(sys.modules, "velatura.experiment", module)
    return calls


def command(*words):
    app = typer.Typer()
    app.command()(anonymize)
    typer.main.get_command(app)([*map(str, words)], standalone_mode=False)


def test_writes_beside_the_source_by_default(source, asked, capsys):
    command(source, "--run", "runs/penalty", "--device", "cpu")
    output = source.with_name("clip.anon.mp4")
    old, new = list(read_frames(source)), list(read_frames(output))
    assert len(new) == 10
    assert np.abs(new[3].image.astype(int) - (255 - old[3].image)).mean() < 3
    assert asked == [("runs/penalty", "cpu")]
    said = capsys.readouterr().out
    assert said.startswith(f"{output}: 10 frames, 50x38, ")
    assert "frames/s on cpu, by runs/penalty" in said


def test_any_source_gives_mp4(source, asked):
    other = source.rename(source.with_name("clip.mov"))
    command(other, "--run", "r", "--device", "cpu")
    assert probe(source.with_name("clip.anon.mp4")).frames == 10


def test_json_is_the_only_output(source, asked, capsys):
    command(source, "--run", "r", "--device", "cpu", "--json")
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["frames"] == 10
    assert outcome["run"] == "r"
    assert outcome["device"] == "cpu"
    assert outcome["destination"] == str(source.with_name("clip.anon.mp4"))


def test_existing_output(source, asked):
    output = source.with_name("mine.mp4")
    output.write_bytes(b"precious")
    words = (source, "--run", "r", "--device", "cpu", "--output", output)
    with pytest.raises(BadInput, match=r"mine\.mp4 exists"):
        command(*words)
    assert output.read_bytes() == b"precious"
    command(*words, "--overwrite")
    assert probe(output).frames == 10


def test_wrong_source_is_told_before_a_network_is_loaded(tmp_path, asked):
    with pytest.raises(BadInput, match=r"none\.mp4 is not there"):
        command(tmp_path / "none.mp4", "--run", "r")
    assert asked == []


def test_wrong_device(source, asked, monkeypatch):
    with pytest.raises(BadInput, match="auto, cpu or cuda, not 'gpu'"):
        command(source, "--run", "r", "--device", "gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match="no CUDA device"):
        command(source, "--run", "r", "--device", "cuda")
    command(source, "--run", "r", "--device", "auto")
    assert asked == [("r", "cpu")]


@pytest.mark.parametrize(("height", "width"), [(38, 50), (32, 64), (1, 17), (47, 31)])
def test_frames_of_any_size(height, width):
    """Padded to sixteenths for the network, cropped back to the same pixels."""
    model = Negative()
    images = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), np.uint8)
    assert np.array_equal(_on_frames(model, "cpu")(images), 255 - images)
    (clip,) = model.seen
    assert clip.shape == (1, 3, 3, -(-height // 16) * 16, -(-width // 16) * 16)
    assert clip.dtype == torch.float32
    # Byte 255 is 1.0; RGB stays RGB; the padding repeats the last column and row.
    assert torch.equal(clip[0, 1, 2, 0, 0], torch.tensor(images[1, 0, 0, 2] / 255.0).float())
    last = torch.from_numpy(images[0, -1, -1] / 255.0).float()
    assert torch.equal(clip[0, 0, :, -1, -1], last)


def test_values_out_of_range_are_cut_and_rounded():
    images = np.zeros((1, 16, 16, 3), np.uint8)
    for value, byte in [(-0.5, 0), (1.5, 255), (0.6, 153), (100.6 / 255, 101)]:
        result = _on_frames(lambda clip, v=value: torch.full_like(clip, v), "cpu")(images)
        assert (result == byte).all()


def test_interrupt_says_what_is_left(source, asked, monkeypatch, capsys):
    def stop(self, clips):
        raise error

    monkeypatch.setattr(Negative, "forward", stop)
    error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt, match="no output was written"):
        anonymize(source, Path("r"), device="cpu")
    error = SystemExit(143)
    with pytest.raises(SystemExit, match="143"):
        anonymize(source, Path("r"), device="cpu")
    assert "Terminated; no output was written." in capsys.readouterr().err
    assert [p.name for p in source.parent.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_a_number_is_refused(value):
    """As bytes it would be some picture or other, and nobody would know."""

    def model(clip):
        result = 1 - clip
        result[0, 0, 0, 0, 0] = value
        return result

    with pytest.raises(Failure, match="not a number"):
        _on_frames(model, "cpu")(np.zeros((1, 16, 16, 3), np.uint8))


def test_another_shape_is_refused():
    with pytest.raises(Failure, match=r"\(1, 3, 16, 16\) into \(1, 3, 8, 8\)"):
        _on_frames(lambda c: c[..., ::2, ::2], "cpu")(np.zeros((1, 16, 16, 3), np.uint8))


@pytest.mark.gpu
def test_on_the_gpu(source, asked):
    images = np.random.default_rng(0).integers(0, 256, (3, 38, 50, 3), np.uint8)
    assert np.array_equal(_on_frames(Negative(), "cuda")(images), 255 - images)
    command(source, "--run", "r", "--device", "auto")
    assert asked == [("r", "cuda")]
