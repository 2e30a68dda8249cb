"""An interrupted run, continued, is the run that was never interrupted: bit for bit."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from training import tiny

from velatura import experiment
from velatura.config import to_toml
from velatura.training import checkpoint

pytestmark = pytest.mark.slow

CASES = [
    pytest.param(method, precision, id=f"{method}-{precision}")
    for method in ("penalty", "constrained")
    for precision in ("32", "bf16")  # "auto" is one of the two
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _use(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VELATURA_CACHE", str(cache))


def file_of(folder: Path, method: str, precision: str = "32", **loop: Any) -> Path:
    path = folder / f"{method}.toml"
    changed = tiny.values(method, loop={"precision": precision, **loop})
    path.write_text(to_toml(changed))
    return path


def train(path: Path, out: Path, resume: bool = False) -> Path:
    """In this process."""
    run = experiment.resolve(experiment.read_toml(path))
    return experiment.train(run, out, resume=resume)


def same(one: Path, other: Path) -> bool:
    """Files with the same weights and the same provenance. (Their headers may be in another
    order: that much safetensors does not promise.)"""
    return tiny.equal(list(checkpoint.load(one)), list(checkpoint.load(other)))


def logged(folder: Path) -> list[tuple[int, str]]:
    lines = [json.loads(text) for text in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["player"]) for line in lines]


def every(steps: int) -> list[tuple[int, str]]:
    return [(step, player) for step in range(steps) for player in ("anonymizer", "adversaries")]


@pytest.mark.parametrize(("method", "precision"), CASES)
def test_killed_and_resumed_it_ends_at_the_same_bits(
    method: str, precision: str, cache: Path, tmp_path: Path
):
    """kill -9 in the middle of step 3, one step past the checkpoint. Every network, optimiser
    moment and multiplier is compared, and the weights that leave the run."""
    path = file_of(tmp_path, method, precision)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    product = train(path, whole)
    code, _, err = tiny.command(
        ["train", str(path), "--out", str(broken)], cache, tiny.strike(3, "SIGKILL")
    )
    assert (code, err) == (-signal.SIGKILL, "")
    assert not (broken / product.name).exists()
    assert checkpoint.load(broken / "checkpoint.safetensors")[0]["step"] == 2
    assert logged(broken) == every(3) + [(3, "anonymizer")]

    code, _, err = tiny.command(["train", str(path), "--out", str(broken), "--resume"], cache)
    assert (code, err) == (0, "")
    assert same(broken / product.name, product)
    ends = [checkpoint.load(f / "checkpoint.safetensors")[0] for f in (whole, broken)]
    networks = {"f_A", "f_T", "f_B"} | ({"teacher"} if method == "constrained" else set())
    assert networks <= ends[0].keys()
    for name in ends[0]:
        assert tiny.equal(ends[0][name], ends[1][name]), f"{name} differs"
    assert logged(broken) == logged(whole) == every(6)
    assert (broken / "log.jsonl").read_text() == (whole / "log.jsonl").read_text()


def test_the_run_moved_everyone(cache: Path, tmp_path: Path):
    """Otherwise the equalities above would say nothing."""
    path = file_of(tmp_path, "constrained", save_every=1)
    run = experiment.resolve(experiment.read_toml(path))
    seen: dict[int, Any] = {}

    def look(done: int, total: int, terms: dict[str, float]) -> None:
        saved = tmp_path / "x" / "checkpoint.safetensors"
        if saved.exists():
            state = checkpoint.load(saved)[0]
            seen[state["step"]] = state

    experiment.train(run, tmp_path / "x", progress=look)
    end = checkpoint.load(tmp_path / "x" / "checkpoint.safetensors")[0]
    first = seen[min(seen)]
    for name in ("f_A", "f_T", "f_B", "optimizer_A", "optimizer_TB", "multiplier"):
        assert not tiny.equal(first[name], end[name]), f"{name} stood still"
    assert tiny.equal(first["teacher"], end["teacher"])


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_saves_and_says_so(name: str, cache: Path, tmp_path: Path):
    """The step under way is finished first; nothing of it is done twice."""
    path, out = file_of(tmp_path, "penalty", save_every=100), tmp_path / "run"
    words = ["train", str(path), "--out", str(out)]
    code, _, err = tiny.command(words, cache, tiny.strike(3, name))
    assert code == 130
    assert err == (
        f"Interrupted; the run is saved in {out}. Run the same command with "
        f"--resume --out {out} to continue.\n"
    )
    assert checkpoint.load(out / "checkpoint.safetensors")[0]["step"] == 4
    product = train(path, out, resume=True)
    assert logged(out) == every(6)
    assert same(product, train(path, tmp_path / "whole"))


def test_killed_before_the_first_checkpoint_it_starts_anew(cache: Path, tmp_path: Path):
    path, out = file_of(tmp_path, "penalty", save_every=100), tmp_path / "run"
    words = ["train", str(path), "--out", str(out)]
    code, _, _ = tiny.command(words, cache, tiny.strike(2, "SIGKILL"))
    assert code == -signal.SIGKILL
    product = train(path, out, resume=True)
    assert logged(out) == every(6)
    assert same(product, train(path, tmp_path / "whole"))


def test_killed_after_the_last_checkpoint_it_only_delivers(cache: Path, tmp_path: Path):
    path, out = file_of(tmp_path, "penalty"), tmp_path / "run"
    product = train(path, out)
    kept = product.rename(tmp_path / "kept")
    assert same(train(path, out, resume=True), kept)
    assert logged(out) == every(6)


def test_a_finished_run_stays_as_it_is(cache: Path, tmp_path: Path):
    path, out = file_of(tmp_path, "penalty"), tmp_path / "run"
    stamp = train(path, out).stat().st_mtime_ns
    assert train(path, out, resume=True).stat().st_mtime_ns == stamp
