"""Checkpoints: what goes in comes out, whatever happens on the way, and nothing runs on reading."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from training import tiny

import velatura
from velatura.errors import BadInput, Failure
from velatura.training import checkpoint

ABOUT = {"run": {"seed": 3, "method": {"name": "penalty"}}, "versions": {"torch": "x"}}


def a_state() -> dict[str, Any]:
    """A network with every kind of buffer, its optimiser after a step, and odd values."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    network[0].weight.data = network[0].weight.data.contiguous(memory_format=torch.channels_last)
    groups = [{"params": list(network[:2].parameters())}, {"params": network[3].weight, "lr": 0.5}]
    optimizer = torch.optim.Adam(groups, 1e-3)
    network(torch.rand(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    shared = torch.arange(6.0)
    return {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "multiplier": {"value": 0.1 + 0.2, "mean": -1e-300},
        "step": 7,
        "odd": {
            "none": None, "yes": True, "text": "é/ü", "list": [1, [2.5, {"deep": torch.ones(2)}]],
            "empty": {}, "nothing": [], "scalar": torch.tensor(3), "zero": torch.zeros(0, 3),
            "half": torch.tensor([1.1], dtype=torch.bfloat16), "view": shared[2:4], "whole": shared,
            "nan": torch.tensor([float("nan"), float("-inf"), -0.0]), "inf": float("inf"),
        },
    }  # fmt: skip


def plain(value: Any) -> Any:
    """Dictionaries are dictionaries and sequences lists: what a checkpoint promises to keep."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, a_state(), ABOUT)
    return path


# ------------------------------------------------------------------------------- round trip


def test_a_nest_comes_back_as_it_went_in(file: Path):
    state, about = checkpoint.load(file)
    assert about == ABOUT
    assert tiny.equal(state, plain(a_state()))
    assert set(state["optimizer"]["state"]) == {0, 1, 2, 3, 4}  # integers, not their names


def test_an_optimiser_goes_on_where_it_was(file: Path):
    """The third step after saving and loading is the third step without."""

    def steps(state: dict[str, Any], count: int) -> dict[str, Any]:
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)
        )
        groups = [{"params": list(network[:2].parameters())}, {"params": network[3].weight}]
        optimizer = torch.optim.Adam(groups, 1e-3)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        for _ in range(count):
            optimizer.zero_grad()
            network(torch.full((2, 3, 4, 4), 0.3)).square().sum().backward()
            optimizer.step()
        return {"network": network.state_dict(), "optimizer": optimizer.state_dict()}

    middle = steps(a_state(), 1)
    checkpoint.save(file, middle, ABOUT)
    there = steps(checkpoint.load(file)[0], 2)
    assert tiny.equal(plain(there), plain(steps(a_state(), 3)))
    assert there["optimizer"]["param_groups"][1]["lr"] == 0.5


def test_what_is_loaded_does_not_hold_the_file(file: Path):
    """A run saves over the checkpoint that it was resumed from."""
    state, _ = checkpoint.load(file)
    before = plain(a_state())
    file.write_bytes(b"\0" * file.stat().st_size)
    assert tiny.equal(state, before)


def test_others_may_read_it(file: Path):
    assert file.stat().st_mode & 0o777 == 0o644


def test_pickle_is_nowhere():
    """Reading a checkpoint, a cache or a release of a stranger must not run code."""
    wrong = []
    for path in sorted(Path(velatura.__file__).parent.rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
                for n in names:
                    if n.split(".")[0] in {"pickle", "cPickle", "dill", "joblib", "shelve"}:
                        wrong.append(f"{path.name}:{node.lineno} imports {n}")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                if called in {"torch.load", "torch.save", "torch.jit.load", "fabric.load"}:
                    wrong.append(f"{path.name}:{node.lineno} calls {called}")
                for keyword in node.keywords:
                    if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                        wrong.append(f"{path.name}:{node.lineno} allows pickle")
                    if keyword.arg == "weights_only" and ast.unparse(keyword.value) != "True":
                        wrong.append(f"{path.name}:{node.lineno} loads more than weights")
    # The reader of distributed label files, which knows arrays and refuses all else; and a file
    # that the user names or installed, read as weights only.
    assert sorted(re.sub(r":\d+ ", " ", text) for text in wrong) == EXCEPTIONS


EXCEPTIONS = ["_weights.py calls torch.load", "restricted.py imports pickle"]


# ------------------------------------------------------------------------ killed while saving

# Saves a second state over the first and dies at a chosen system call of the save.
DYING = """
import os, signal, sys, torch
from pathlib import Path
from velatura.training import checkpoint
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, {call!r}, die)
checkpoint.save(Path({path!r}), {{"w": torch.ones(400_000), "step": 8}}, {{}})
"""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_killed_while_saving_the_old_file_is_whole(file: Path, call: str):
    code = DYING.format(call=call, path=str(file))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    beside = [p for p in file.parent.iterdir() if p != file]
    assert [p.suffix for p in beside] == [".part"]  # it was well under way
    assert beside[0].stat().st_size > 1_600_000
    assert tiny.equal(checkpoint.load(file)[0], plain(a_state()))
    checkpoint.save(file, {"step": 9}, ABOUT)  # and the next save does not mind the debris
    assert checkpoint.load(file)[0] == {"step": 9}


# ------------------------------------------------------------------------------- a full disk

# Files may grow to 100 kB; for the file system's own answer see the mounted one below.
LIMITED = """
import resource, sys, torch
from pathlib import Path
from velatura.errors import Failure
from velatura.training import checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoint.save(Path({path!r}), {{"w": torch.ones(400_000)}}, {{}})
except Failure as error:
    sys.exit(str(error))
"""


def test_no_room_is_a_sentence_and_the_old_file_stays(file: Path):
    code = LIMITED.format(path=str(file))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (
        1,
        f"Could not save {file}: the disk is full; the last one saved there is whole. "
        "Free some space and resume the run.\n",
    )
    assert os.listdir(file.parent) == [file.name]
    assert tiny.equal(checkpoint.load(file)[0], plain(a_state()))


def test_a_full_file_system_is_a_sentence_and_the_old_file_stays(tmp_path: Path):
    with tiny.small_disk(tmp_path / "disk") as disk:
        path = disk / "checkpoint.safetensors"
        with pytest.raises(Failure, match="the disk is full; nothing was saved"):
            checkpoint.save(path, {"w": torch.ones(400_000)}, {})
        assert os.listdir(disk) == []
        checkpoint.save(path, {"step": 1}, {})
        with pytest.raises(Failure) as caught:
            checkpoint.save(path, {"w": torch.ones(400_000)}, {})
        assert "the disk is full; the last one saved there is whole" in str(caught.value)
        assert checkpoint.load(path)[0] == {"step": 1}
        assert os.listdir(disk) == [path.name]


def test_no_folder_is_a_failure_too(tmp_path: Path):
    with pytest.raises(Failure, match=r"Could not save .*No such file.*; nothing was saved"):
        checkpoint.save(tmp_path / "no" / "x.safetensors", {"step": 1}, {})


# --------------------------------------------------------------------- files that are not right


def cut(share: float) -> Any:
    return lambda data: data[: int(len(data) * share)]


def swap(old: bytes, new: bytes) -> Any:
    def swapped(data: bytes) -> bytes:
        assert data.count(old) >= 1
        return data.replace(old, new, 1)

    return swapped


class Bomb:
    def __reduce__(self) -> Any:
        return os._exit, (3,)


DAMAGE = {
    "empty": (cut(0), "is damaged or truncated"),
    "a few bytes": (lambda data: data[:5], "is damaged or truncated"),
    "half the header": (lambda data: data[:200], "is damaged or truncated"),
    "half the body": (cut(0.5), "is damaged or truncated"),
    "one byte less": (lambda data: data[:-1], "is damaged or truncated"),
    "one byte more": (lambda data: data + b"\0", "is damaged or truncated"),
    "a damaged length": (lambda data: b"\xff" * 8 + data[8:], "is damaged or truncated"),
    "zeros": (lambda data: b"\0" * len(data), "is damaged or truncated"),
    "text": (lambda data: b"velatura " * 99, "is damaged or truncated"),
    "a pickle": (lambda data: pickle.dumps(Bomb()), "is damaged or truncated"),
    "a damaged tree": (swap(b'\\"$map\\"', b'\\"$mop\\"'), "is damaged or truncated"),
    "a tree that does not end": (swap(b'\\"$map\\":', b'\\"$map\\"}'), "is damaged or truncated"),
    "one bit of a weight": (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "is dam"),
    "a lost tensor": (swap(b"/network/0.weight\\", b"/network/9.weight\\"), "is damaged or tr"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_file_is_one_sentence(what: str, file: Path):
    change, said = DAMAGE[what]
    file.write_bytes(change(file.read_bytes()))
    before = file.read_bytes()
    with pytest.raises(BadInput) as caught:
        checkpoint.load(file)
    text = str(caught.value)
    assert text.startswith(f"{file} {said}")
    assert text.endswith("; restore it from a copy or train again.")
    assert "\n" not in text
    assert file.read_bytes() == before


@pytest.mark.parametrize("header", [None, {"format": "pt"}, {"format": "velatura checkpoint 2"}])
def test_the_file_of_another_program_is_told_as_such(header: Any, tmp_path: Path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"weight": torch.ones(3)}, path, header)
    said = (header or {}).get("format")
    with pytest.raises(BadInput) as caught:
        checkpoint.load(path)
    assert str(caught.value) == f"{path} is not a 'velatura checkpoint 1' file; it says {said!r}."


def test_no_file(tmp_path: Path):
    with pytest.raises(BadInput, match="No checkpoint at .*; train first, or name another run"):
        checkpoint.load(tmp_path / "none.safetensors")


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(BadInput, match="is damaged or truncated"):
        checkpoint.load(tmp_path)


def test_another_architecture_is_counted_and_shown():
    small, large = nn.Linear(2, 3), nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(BadInput) as caught:
        checkpoint.load_into(small, large.state_dict(), "runs/x")
    assert str(caught.value) == (
        "runs/x holds another architecture than Linear: 2 tensors missing, 2 unexpected, 0 of "
        "another shape (first: 0.bias, expected absent, got (3,)); use the configuration it was "
        "trained with."
    )
    with pytest.raises(BadInput, match=r"0 tensors missing, 0 unexpected, 2 of another shape"):
        checkpoint.load_into(small, nn.Linear(2, 5).state_dict(), "runs/x")


def test_weights_that_do_not_fit_change_nothing():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    wrong = {**network.state_dict(), "0.weight": torch.zeros(3, 2), "1.weight": torch.zeros(9)}
    with pytest.raises(BadInput):
        checkpoint.load_into(network, wrong, "x")
    assert tiny.equal(dict(network.state_dict()), before)


def test_the_header_is_text_that_anyone_can_read(file: Path):
    """Provenance needs no code of ours: the safetensors header holds it as JSON."""
    with safetensors.safe_open(file, "pt") as opened:
        assert json.loads(opened.metadata()["about"]) == ABOUT
