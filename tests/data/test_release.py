"""A split's pixels in a file: whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training import tiny

from velatura import experiment
from velatura.data import _release
from velatura.data._release import coded, open_release, write_frames
from velatura.video.codec import through_codec


def test_parts_make_a_file_that_numpy_reads(tmp_path: Path):
    frames = np.arange(5 * 3 * 4 * 2, dtype=np.uint8).reshape(5, 3, 4, 2)
    write_frames(tmp_path / "a.npy", frames.shape, [frames[:2], frames[2:3], frames[3:]])
    assert np.array_equal(np.load(tmp_path / "a.npy"), frames)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_nothing_is_left_of_half_a_file(tmp_path: Path):
    def parts() -> Iterator[np.ndarray]:
        yield np.zeros((2, 3, 4, 2), np.uint8)
        raise RuntimeError("the second part")

    with pytest.raises(RuntimeError, match="the second part"):
        write_frames(tmp_path / "a.npy", (4, 3, 4, 2), parts())
    assert not list(tmp_path.iterdir())


def test_a_release_keeps_the_labels_and_says_what_it_is(tmp_path: Path):
    data = tiny.noise()
    (tmp_path / "row").mkdir()
    path = tmp_path / "row" / "a.npy"
    write_frames(path, data.frames.shape, [255 - data.frames[:]])
    for how, expected in (("", "row"), ("upside down", "upside down")):
        found = open_release(path, data, how)
        assert np.array_equal(found.frames, 255 - data.frames[:])
        assert found.fingerprint == f"{data.fingerprint}/{expected}"
        assert (found.name, found.groups is data.groups) == (data.name, True)
    assert experiment.open_release is open_release
    assert experiment.write_frames is write_frames


def test_each_video_goes_through_the_codec_by_itself(tmp_path: Path):
    """Of unequal lengths, so that a frame of one in another would be seen."""
    data = tiny.noise(n=4, t=4)
    lengths = np.array([1, 7, 5, 3])
    data = replace(data, lengths=lengths)
    found = coded(data, tmp_path / "a.npy", crf=30, fps=12.5)
    for item in range(4):
        assert np.array_equal(found.video(item), through_codec(data.video(item), "h264", 30, 12.5))
    assert found.fingerprint == f"{data.fingerprint}/h264-30-12.5"
    assert np.array_equal(found.lengths, lengths)
    assert found.attributes is data.attributes


def test_a_video_that_cannot_be_coded_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = iter([lambda frames: frames])
    monkeypatch.setattr(_release, "through_codec", lambda frames, *_: next(calls)(frames))
    with pytest.raises(RuntimeError):  # the second video finds no codec
        coded(tiny.noise(), tmp_path / "a.npy")
    assert not list(tmp_path.iterdir())
