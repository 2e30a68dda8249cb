"""What the training tests share: a run that takes a second, and the command line as a process.

The people are real ones of ``data.people``, 24 px high and 4 frames long; everything is as
small as it can be while every part of the chain still does its work.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from velatura.layout import ClipSet, Splits

DATA = {
    "name": "people",
    "size": 24,
    "frames": 4,
    **dict.fromkeys(("train_people", "val_people", "test_people"), 4),
    **dict.fromkeys(("train_clips", "val_clips", "test_clips"), 4),
}
WINDOW = {"batch": 8, "size": 24, "frames": 4}
METHODS: dict[str, dict[str, Any]] = {
    "penalty": {"name": "penalty", "alternate": "both"},
    # Two adversaries and a restart on each side of the interruptions below.
    "constrained": {"name": "constrained", "restart_every": 2},
}


def values(kind: str = "penalty", /, **changes: Any) -> dict[str, Any]:
    """The plain values of a tiny run file; ``loop={...}`` and alike are merged in."""
    found: dict[str, Any] = {
        "seed": 3,
        "data": dict(DATA),
        "batches": dict(WINDOW),
        "anonymizer": {"name": "gated_unet", "width": 4},
        "target": {"name": "clip_cnn", "width": 8},
        "budget": {"name": "frame_cnn", "width": 8},
        "start": {"epochs": 1},
        "method": {**METHODS[kind], "steps": 6} if kind in METHODS else {"name": kind},
        "loop": {"device": "cpu", "precision": "32", "save_every": 2, "log_every": 1},
    }
    for section, given in changes.items():
        kept = found[section]
        if isinstance(given, dict) and given.get("name", kept.get("name")) == kept.get("name"):
            given = {**kept, **given}
        found[section] = given
    return found


# Run the command line; before that, undo what a shell does to background processes, which is
# to ignore interrupts, and plant what the test wants.
MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
{plant}
from velatura.cli import main
main({words!r})
"""

# Strike in the middle of a step: the anonymizer has moved, its adversaries have not.
STRIKE = """
import os, velatura.training.loop as loop
update = loop.Loop.update
def updated(self, optimizer, terms, player):
    update(self, optimizer, terms, player)
    if self.step == {step} and player == "anonymizer":
        os.kill(os.getpid(), signal.{signal})
loop.Loop.update = updated
"""


def strike(step: int, name: str) -> str:
    """A plant that sends the process a signal in the middle of a step."""
    return STRIKE.format(step=step, signal=signal.Signals[name].name)


def start(words: list[str], cache: Path, plant: str = "", **more: Any) -> subprocess.Popen[str]:
    """Start ``velatura WORDS`` as a process of its own, in a session of its own."""
    environment = {**os.environ, "VELATURA_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", MAIN.format(plant=plant, words=words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        **more,
    )


def command(words: list[str], cache: Path, plant: str = "") -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``velatura WORDS``."""
    process = start(words, cache, plant)
    try:
        out, err = process.communicate(timeout=600)
    except BaseException:
        process.kill()
        raise
    return process.returncode, out, err


def main(*words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``velatura WORDS``, run in this process."""
    from velatura import cli

    out, err, code = io.StringIO(), io.StringIO(), 0
    # The checks of types that conftest.py adds do not know typer's own context class.
    cli._velatura = inspect.unwrap(cli._velatura)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(list(words))
        except SystemExit as error:
            code = int(error.code or 0)
    return code, out.getvalue(), err.getvalue()


@contextlib.contextmanager
def small_disk(place: Path, size: str = "256k") -> Iterator[Path]:
    """A file system with little room, where we may mount one; the test is skipped elsewhere."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def noise(
    n: int = 12, t: int = 4, side: int = 16, attributes: int = 2, name: str = "noise/train"
) -> ClipSet:
    """Clips of random bytes with balanced labels; two clips per person."""
    rng = np.random.default_rng(len(name))
    items = np.arange(n)
    bits = np.stack([(items >> k) & 1 for k in range(attributes)], 1).astype(np.uint8)
    return ClipSet.of_clips(
        rng.integers(0, 256, (n, t, 3, side, side), np.uint8),
        actions=items % 3,
        attributes=bits,
        groups=items // 2,
        action_names=("a", "b", "c"),
        attribute_names=tuple(f"attribute {k}" for k in range(attributes)),
        name=name,
        fingerprint=f"{name}-{n}-{t}-{side}",
    )


def clips_of(data: ClipSet) -> np.ndarray:
    """(N, T, C, H, W), of videos that are all equally long."""
    return np.stack([data.video(item) for item in range(len(data))])


def with_clips(data: ClipSet, clips: np.ndarray) -> ClipSet:
    """Other pixels for a set whose videos are all equally long."""
    frames = np.asarray(clips).reshape(-1, *clips.shape[2:])
    return data.with_frames(frames, data.name, data.fingerprint)


def noise_splits(**more: Any) -> Splits:
    """Three parts of noise."""
    parts = [noise(name=f"noise/{part}", **more) for part in Splits._fields]
    return Splits(*(replace(p, groups=p.groups + 100 * i) for i, p in enumerate(parts)))


def bits(tensor: torch.Tensor) -> bytes:
    """Its memory in logical order, of any type."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()


def equal(one: Any, other: Any) -> bool:
    """Nests of dictionaries, lists, tensors and values that agree to the last bit."""
    if isinstance(one, torch.Tensor):
        return (
            isinstance(other, torch.Tensor)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and bits(one) == bits(other)
        )
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and list(one) == list(other)
            and all(equal(v, other[k]) for k, v in one.items())
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return type(one) is type(other) and one == other
