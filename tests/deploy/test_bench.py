"""The benchmark's measuring: what it charges is what was used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from films import film, pictures, times

from velatura.deploy import bench
from velatura.errors import BadInput, Failure

# A child of a child that works for half a second of CPU and holds 200 MB.
WORK = """
import subprocess, sys
subprocess.run([sys.executable, "-c", '''
import time
held = bytearray(b"x") * (200 << 20)
while time.process_time() < 0.5: pass
'''], check=True)
"""


def test_children_are_charged_too():
    cost = bench._run([sys.executable, "-c", WORK])
    assert 0.5 <= cost.cpu < 5
    assert cost.wall > 0
    assert 200 * bench.MIB < cost.memory < 500 * bench.MIB
    idle = bench._run([sys.executable, "-c", "pass"])
    assert idle.memory < 100 * bench.MIB


def test_a_side_that_fails_is_told():
    with pytest.raises(Failure, match="ended with 3"):
        bench._run([sys.executable, "-c", "import sys; print('no luck'); sys.exit(3)"])


def test_ratios_are_of_medians(monkeypatch):
    cpu = {"ours": iter([1.0, 9.0, 2.0]), "floor": iter([1.0, 1.0, 1.0]), "peer": iter([8, 6, 99])}
    monkeypatch.setattr(bench, "_run", lambda words: bench.Cost(next(cpu[words[0]]), 0.5, 1))
    found = bench._compare("x", {name: [name] for name in cpu}, frames=100, rounds=3)
    assert found["x_ours_cpu_ms"] == 20
    assert found["x_ours_times_floor"] == 2
    assert found["x_ours_peer_over_ours"] == 4
    assert found["x_ours_fps"] == 200


def test_the_beginning_of_a_clip(tmp_path: Path):
    long = film(tmp_path / "long.mp4", bench.MOST + 30)
    short = bench._beginning(long, tmp_path / "short.mp4")
    assert bench.MOST - 4 <= len(pictures(short)) <= bench.MOST
    assert bench._beginning(short, tmp_path / "other.mp4") == short


def test_the_floor_keeps_every_frame(tmp_path: Path):
    clip = film(tmp_path / "clip.mp4", 20)
    bench.floor(str(clip), str(tmp_path / "out.mp4"))
    assert times(tmp_path / "out.mp4") == times(clip)


def test_no_clips_is_said():
    with pytest.raises(BadInput, match="VELATURA_DATA"):
        bench.anonymizing([])
