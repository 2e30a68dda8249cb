"""The services around a loop: descent with checks, the log, and what a checkpoint restores."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from training import tiny

from velatura import experiment
from velatura.errors import BadInput, Failure
from velatura.methods import penalty
from velatura.training import checkpoint, loop
from velatura.training.batches import Batches
from velatura.training.batches import Config as Window


def a_loop(folder: Path, **more: Any) -> loop.Loop:
    folder.mkdir(exist_ok=True)
    keys = {k: more.pop(k) for k in list(more) if k in {"save_every", "log_every", "clip_gradient"}}
    cfg = loop.Config(**{"device": "cpu", "precision": "32", "log_every": 1, **keys})
    stream = Batches(tiny.noise(), Window(batch=4, size=16, frames=4), 0)
    about = {"about": 1, **({"data": more.pop("data")} if "data" in more else {})}
    return loop.Loop(folder, loop.fabric(cfg), stream, cfg, 0, about, **more)


def a_game() -> tuple[nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Linear(3, 1, bias=False)
    nn.init.constant_(network.weight, 1.0)
    return network, torch.optim.SGD(network.parameters(), 0.1)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / "log.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------------------- what is not finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("where", ["loss", "budget"])
def test_a_term_that_is_not_finite_stops_the_run(value: float, where: str, tmp_path: Path):
    network, optimizer = a_game()
    steps = a_loop(tmp_path, save_every=2)
    steps.keep(network=network, optimizer=optimizer)
    with pytest.raises(Failure) as caught:  # noqa: PT012
        for step in steps.steps(9):
            loss = network(torch.ones(1, 3)).square().sum()
            before = network.weight.detach().clone()
            poison = torch.tensor(value if step == 5 else 0.0)
            # Whatever makes a term infinite makes the loss so too: the term is the better name.
            terms = {"loss": loss + poison, "target": loss.detach()}
            if where != "loss":
                terms[where] = poison
            steps.update(optimizer, terms, "anonymizer")
    assert str(caught.value) == (
        f"Step 5: the term {where!r} of the anonymizer is {value}; the run stops before it "
        "spreads. Lower the learning rates or set loop.precision = '32'; the checkpoint of an "
        f"earlier step is in {tmp_path}."
    )
    assert torch.equal(network.weight, before)
    state, about = checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert (state["step"], about) == (4, {"about": 1})
    assert all(bool(torch.isfinite(w).all()) for w in state["network"].values())
    assert [line["step"] for line in lines(tmp_path)] == [0, 1, 2, 3, 4]


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path):
    """The root's slope at zero: every term is finite and the gradient is not."""
    network, optimizer = a_game()
    steps = a_loop(tmp_path)
    with pytest.raises(Failure) as caught:  # noqa: PT012
        for _ in steps.steps(3):
            loss = (network(torch.ones(1, 3)) * 0).sqrt().sum()
            steps.update(optimizer, {"loss": loss}, "adversaries")
    assert str(caught.value).startswith(
        "Step 0: the gradient of the adversaries has norm nan; the run stops before it spreads."
    )
    assert str(caught.value).endswith("; nothing was saved yet.")
    assert torch.equal(network.weight, torch.ones(1, 3))


def test_a_run_that_blows_up_ends_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A real run whose learning rate is absurd; its last checkpoint is whole and finite."""
    monkeypatch.setenv("VELATURA_CACHE", str(tmp_path / "cache"))
    wild = {"lr_anonymizer": 1e30, "steps": 9}
    run = experiment.resolve(tiny.values(method=wild, loop={"save_every": 1}))
    with pytest.raises(Failure, match=r"^Step [1-3]: the (term '\w+'|gradient) of the \w+ "):
        experiment.train(run, tmp_path / "run")
    assert not (tmp_path / "run" / "anonymizer.safetensors").exists()
    state, _ = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    assert state["step"] >= 1


# ------------------------------------------------------------------------------------- descent


@pytest.mark.parametrize(
    ("limit", "expected"), [(1.0, 1.0), (0.0, 12 * 3**0.5), (99.0, 12 * 3**0.5)]
)
def test_gradients_are_clipped_to_their_norm(limit: float, expected: float, tmp_path: Path):
    """d/dw of 2 (w . 1)^2 at w = 1 is 12 in each of three directions."""
    network, optimizer = a_game()
    steps = a_loop(tmp_path, clip_gradient=limit)
    for _ in steps.steps(1):
        loss = 2 * network(torch.ones(1, 3)).square().sum()
        steps.update(optimizer, {"loss": loss}, "anonymizer")
    moved = float((torch.ones(1, 3) - network.weight.detach()).norm()) / 0.1
    assert moved == pytest.approx(expected, rel=1e-5)
    assert lines(tmp_path)[0]["gradient"] == pytest.approx(12 * 3**0.5, rel=1e-5)


def test_old_gradients_do_not_add_up(tmp_path: Path):
    network, optimizer = a_game()
    network.weight.grad = torch.full((1, 3), 1e6)
    steps = a_loop(tmp_path, clip_gradient=0)
    for _ in steps.steps(1):
        steps.update(optimizer, {"loss": network.weight.sum()}, "anonymizer")
    assert torch.allclose(network.weight, torch.full((1, 3), 0.9))


def test_a_signal_while_ranks_agree_counts_in_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Who asked too late for this step's vote must not leave before the others."""
    steps = a_loop(tmp_path)
    steps.fabric = SimpleNamespace(world_size=2, is_global_zero=False, device=torch.device("cpu"))
    votes = []

    def average(tensors: list[torch.Tensor]) -> None:
        votes.append(float(tensors[0]))
        steps._note_signal(15)

    monkeypatch.setattr(loop, "_average", average)
    taken = []
    with pytest.raises(KeyboardInterrupt):
        taken.extend(steps.steps(9))
    assert (taken, votes) == ([0, 1], [0.0, 1.0])


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({}, [1.0] * 10),
        ({"warm_up": 0.4}, [0.25, 0.5, 0.75, *[1.0] * 7]),
        ({"anneal": 0.5}, [1.0] * 6 + [0.8, 0.6, 0.4, 0.2]),
        ({"warm_up": 0.2, "anneal": 0.2}, [0.5, *[1.0] * 8, 0.5]),
        ({"warm_up": 1.0, "anneal": 1.0}, [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1]),
    ],
)
def test_the_rate_rises_and_falls(shares: dict[str, float], expected: list[float], tmp_path: Path):
    _, optimizer = a_game()
    steps = a_loop(tmp_path)
    found = []
    for _ in steps.steps(10):
        steps.rate(optimizer, 2.0, 10, **shares)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([2 * share for share in expected])


def test_each_step_has_randomness_of_its_own(tmp_path: Path):
    def draws(folder: str) -> list[float]:
        return [float(torch.rand(1)) for _ in a_loop(tmp_path / folder).steps(4)]

    assert draws("a") == draws("b")
    assert len(set(draws("c"))) == 4


# ----------------------------------------------------------------------- checkpoints and the log


def play(folder: Path, total: int, stop: int | None = None, **more: Any) -> torch.Tensor:
    network, optimizer = a_game()
    steps = a_loop(folder, save_every=3, **more)
    steps.keep(network=network, optimizer=optimizer)
    for step in steps.steps(total):
        noise = torch.rand(1, 3)
        steps.update(optimizer, {"loss": network(noise).square().sum()}, "anonymizer")
        if step == stop:
            break  # as a crash would: nothing is saved
    return network.weight.detach()


def test_it_saves_on_the_period_and_at_the_end(tmp_path: Path):
    play(tmp_path, 8, stop=4)
    assert checkpoint.load(tmp_path / "checkpoint.safetensors")[0]["step"] == 3
    play(tmp_path, 8, resume=True)
    assert checkpoint.load(tmp_path / "checkpoint.safetensors")[0]["step"] == 8


def test_a_run_is_not_continued_on_other_data(tmp_path: Path):
    play(tmp_path, 8, stop=4)
    with pytest.raises(BadInput, match="was trained on other data of the same name"):
        a_loop(tmp_path, resume=True, data="with a label mended")
    play(tmp_path, 8, resume=True)


def test_without_resume_it_starts_anew(tmp_path: Path):
    whole = play(tmp_path, 8)
    assert torch.equal(play(tmp_path, 8), whole)
    assert [line["step"] for line in lines(tmp_path)] == list(range(8))


@pytest.mark.parametrize("debris", ["", '{"step": 5, "play', '{"step": 3, "player": "x"}\n{"step"'])
def test_the_log_has_each_step_once(debris: str, tmp_path: Path):
    """Steps 3 and 4 are past the checkpoint and taken again; a line that was cut short goes."""
    play(tmp_path / "whole", 8)
    play(tmp_path / "x", 8, stop=4)
    with (tmp_path / "x" / "log.jsonl").open("a") as file:
        file.write(debris)
    play(tmp_path / "x", 8, resume=True)
    assert lines(tmp_path / "x") == lines(tmp_path / "whole")


@pytest.mark.parametrize(("every", "steps"), [(1, [0, 1, 2, 3]), (3, [0, 1, 3]), (100, [0, 1])])
def test_the_log_keeps_its_period(every: int, steps: list[int], tmp_path: Path):
    """Two steps of each period: the players of an alternation both show."""
    play(tmp_path, 4, log_every=every)
    assert [line["step"] for line in lines(tmp_path)] == steps


def test_progress_is_told_and_ends_at_the_total(tmp_path: Path):
    told: list[tuple[int, int]] = []
    play(tmp_path, 4, progress=lambda done, total, terms: told.append((done, total)))
    assert told[-1] == (4, 4)


def test_a_checkpoint_of_another_method_is_refused(tmp_path: Path):
    play(tmp_path, 3)
    steps = a_loop(tmp_path, resume=True)
    with pytest.raises(BadInput, match=r"holds no 'multiplier': it is of another method"):
        steps.keep(multiplier=nn.Linear(1, 1))
    with pytest.raises(BadInput, match=r"checkpoint.safetensors \(network\) holds another archi"):
        steps.keep(network=nn.Linear(4, 1))


def test_a_file_that_is_no_checkpoint_of_a_run_is_refused(tmp_path: Path):
    checkpoint.save(tmp_path / "checkpoint.safetensors", {"f_A": {}}, {})
    with pytest.raises(BadInput, match="is not the checkpoint of a run; start anew"):
        a_loop(tmp_path, resume=True)


def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = checkpoint.safetensors.torch.save
    play(tmp_path, 8, stop=4)

    def fails(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", fails)
    with pytest.raises(Failure, match="Could not save .*the disk is full; the last one saved"):
        a_loop(tmp_path).save()
    monkeypatch.undo()
    assert checkpoint.load(tmp_path / "checkpoint.safetensors")[0]["step"] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint.safetensors", "log.jsonl", "tensorboard",
    ]  # fmt: skip
    assert real is checkpoint.safetensors.torch.save


def test_bf16_is_used_where_it_is_asked_for(tmp_path: Path):
    seen = []
    for precision in ("32", "bf16"):
        cfg = loop.Config(device="cpu", precision=precision)
        stream = Batches(tiny.noise(), Window(batch=4, size=16, frames=4), 0)
        steps = loop.Loop(tmp_path, loop.fabric(cfg), stream, cfg, 0, {})
        with steps.precision():
            seen.append(nn.Linear(2, 2)(torch.ones(1, 2)).dtype)
    assert seen == [torch.float32, torch.bfloat16]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(BadInput, match="device is 'cuda' but PyTorch sees no GPU; set loop.device"):
        loop.fabric(loop.Config(device="cuda"))


def test_the_example_of_the_module_is_how_methods_use_it():
    assert "loop.keep(" in (loop.__doc__ or "")
    assert {"keep", "steps", "update", "precision"} <= set(vars(loop.Loop))
    assert penalty.Loop is loop.Loop
