"""Two processes under torchrun, gloo on the CPU, are one training.

What holds: whatever a network keeps, weights or BatchNorm's memory, is equal on both ranks,
and one step's gradients are those of one process with the joint batch, NT-Xent and its
negatives included, as long as no network normalises over its batch.

What does not: BatchNorm in training mode sees a rank's own share of the batch, so f_T and f_B
with it learn from slightly other statistics than one process would. Dropout likewise draws
the same mask for each rank's share. The equality is therefore measured on networks whose
BatchNorms are taken out, with a target that has no dropout.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from training import tiny

from velatura.config import to_toml
from velatura.training import checkpoint

pytestmark = pytest.mark.slow

# The command line, and afterwards what each rank holds.
RANK = """
import os, sys
from pathlib import Path
from torch import nn
from velatura import cli, experiment
from velatura.training import checkpoint

make, held = experiment.make_players, []

def kept(*args):
    players = make(*args)
    for top in players.modules().values() if "bare" in sys.argv else ():
        for module in list(top.modules()):
            for name, part in list(module.named_children()):
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    setattr(module, name, nn.Identity())
    held.append(players)
    return players

experiment.make_players = kept
try:
    cli.main(["train", sys.argv[1], "--out", sys.argv[2]])
except SystemExit as error:
    if error.code:
        raise
rank = os.environ.get("RANK", "alone")
state = {name: module.state_dict() for name, module in held[0].modules().items()}
checkpoint.save(Path(sys.argv[2] + "-" + rank), state, {})
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def run(processes: int, words: list[str], cache: Path, **more: Any) -> subprocess.Popen[str]:
    """Start a script by itself or under torchrun, in a session of its own."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen(
        [sys.executable, *(launcher if processes > 1 else []), *words],
        env={**os.environ, "VELATURA_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **more,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and stderr; nobody is left behind."""
    try:
        _, err = process.communicate(timeout=600)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, err


def files_of(folder: Path, **changes: Any) -> tuple[Path, Path]:
    script, path = folder / "rank.py", folder / "run.toml"
    script.write_text(RANK)
    path.write_text(to_toml(tiny.values(**changes)))
    return script, path


def test_two_ranks_train_one_run_and_agree(cache: Path, tmp_path: Path):
    """The networks as they are, BatchNorm included, over a few steps."""
    script, path = files_of(tmp_path, method={"steps": 3})
    code, err = ended(run(2, [str(script), str(path), str(tmp_path / "out")], cache))
    assert code == 0, err
    assert "Traceback" not in err
    one, other = (checkpoint.load(tmp_path / f"out-{rank}")[0] for rank in (0, 1))
    for name in one:
        assert tiny.equal(one[name], other[name]), f"the ranks hold different {name}"
    product, _ = checkpoint.load(tmp_path / "out" / "anonymizer.safetensors")
    assert tiny.equal(product["f_A"], one["f_A"])
    log = [json.loads(text) for text in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [0, 0, 1, 1, 2, 2]


def test_one_step_of_two_ranks_is_one_step_of_the_joint_batch(cache: Path, tmp_path: Path):
    """Adam's first moment after one step is a tenth of the gradient: compare that, since the
    step itself has the same length whatever the gradient's."""
    script, path = files_of(
        tmp_path,
        method={"steps": 1, "penalty_weight": 40.0, "bound": 0.01},
        target={"name": "patch_mlp", "width": 16, "depth": 1},
        loop={"clip_gradient": 0.0},
    )
    for processes, out in ((1, "one"), (2, "two")):
        code, err = ended(
            run(processes, [str(script), str(path), str(tmp_path / out), "bare"], cache)
        )
        assert code == 0, err
    one, two = (
        checkpoint.load(tmp_path / out / "checkpoint.safetensors")[0] for out in ("one", "two")
    )
    for optimizer in ("optimizer_A", "optimizer_TB"):
        moments = [[m["exp_avg"] for m in s[optimizer]["state"].values()] for s in (one, two)]
        assert len(moments[0]) == len(moments[1]) > 5
        largest = max(float(m.abs().max()) for m in moments[0])
        assert largest > 1e-4
        for a, b in zip(*moments, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * largest)
    log = [(tmp_path / out / "log.jsonl").read_text().splitlines() for out in ("one", "two")]
    budgets = [json.loads(lines[0])["budget"] for lines in log]
    assert budgets[0] == pytest.approx(budgets[1], rel=1e-5)  # NT-Xent knows all negatives


def test_a_signal_stops_both_ranks_after_the_same_step(cache: Path, tmp_path: Path):
    script, path = files_of(tmp_path, method={"steps": 100_000}, loop={"save_every": 100_000})
    out = tmp_path / "out"
    process = run(2, [str(script), str(path), str(out)], cache)
    deadline = time.monotonic() + 500
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "log.jsonl").exists() and (out / "log.jsonl").read_text().count("\n") > 4:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    code, err = ended(process)
    assert code != 0
    assert err.count("Interrupted; the run is saved in") == 2, err
    # torchrun may print a traceback of its own; none of ours is in it.
    assert not re.search(r'File ".*/velatura/', err), err
    assert checkpoint.load(out / "checkpoint.safetensors")[0]["step"] >= 2


def test_a_batch_that_cannot_be_shared_is_a_sentence(cache: Path, tmp_path: Path):
    script, path = files_of(tmp_path, batches={"batch": 7})
    code, err = ended(run(2, [str(script), str(path), str(tmp_path / "out")], cache))
    assert code != 0
    assert "Error: batches.batch is 7, which 2 processes cannot share evenly." in err
