"""The bench of copies at its smallest: both sides make them, and no time is asked for."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_coco as tiny
from training.tiny import main

from velatura.errors import BadInput
from velatura.impact import _speed


def test_both_sides_hide_the_same_and_are_printed(tmp_path, monkeypatch):
    copies: list[dict[str, np.ndarray]] = []
    commands: list[list[str]] = []
    alone = _speed._run

    def watched(command: list[str]):
        cost = alone(command)
        found = sorted(Path(command[-1]).rglob("*.jpg"))
        copies.append({path.name: tiny.pixels(path).astype(int) for path in found})
        commands.append(command)
        return cost

    monkeypatch.setattr(_speed, "_run", watched)
    few = functools.partial(_speed.anonymizing, images=3)
    monkeypatch.setattr(_speed, "anonymizing", few)
    monkeypatch.setenv("VELATURA_DATA", str(tmp_path / "nowhere"))
    code, out, err = main("bench", "impact", "--rounds", "1", "--json")
    assert code == 0, err
    found = json.loads(out)
    ours, plain, more = copies
    assert sorted(ours) == sorted(plain) == ["0.jpg", "1.jpg", "2.jpg"]
    assert len(more) == 4 * 3
    _speed.crowded(tmp_path, 3)
    for name, copy in ours.items():
        apart = np.abs(copy - plain[name]).max(-1)
        hidden = np.abs(copy - tiny.pixels(tmp_path / "images" / name)).max(-1)
        assert (apart > 8).mean() < 0.02 < (hidden > 8).mean(), name
    assert found["images"] == 3
    assert found["ratio"] == found["ours_images_per_s"] / found["plain_images_per_s"]
    assert found["memory_ratio"] == found["ours_mib_4_times_the_images"] / found["ours_mib"]
    assert min(value for value in found.values()) > 0


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"no annotations/person_keypoints_train\*\.json in "):
        _speed.anonymizing(data=tmp_path)
