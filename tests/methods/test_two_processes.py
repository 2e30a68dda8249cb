"""Two real processes that share a batch do what one does with the whole of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from toys import FakeLoop, part, toy_batch, toy_players

from velatura import losses
from velatura.methods import constrained, penalty, spact
from velatura.training.batches import Batch
from velatura.training.loop import _average

WORLD, ITEMS = 2, 6
Result = dict[str, Any]


def mine(batch: Batch) -> Batch:
    """This process's share of a joint batch; all of it where there is one process."""
    if not dist.is_initialized():
        return batch
    share = ITEMS // WORLD
    return part(batch, slice(dist.get_rank() * share, (dist.get_rank() + 1) * share))


def slopes(loss: Tensor, *modules: nn.Module) -> list[Tensor]:
    """Gradients after the average over processes, as the loop takes it."""
    weights = [p for m in modules for p in m.parameters()]
    for weight in weights:
        weight.grad = None
    loss.backward()
    if dist.is_initialized():
        _average([w.grad for w in weights])
    return [w.grad.clone() for w in weights]


def compute() -> Result:
    """Everything that is compared; the same code on one process and on two."""
    batch = mine(toy_batch(n=ITEMS))
    result: Result = {}

    torch.manual_seed(0)
    head = nn.Linear(3 * 64, 5)
    loss = losses.nt_xent(head(batch.first.flatten(1)), head(batch.second.flatten(1)), 0.2)
    result["nt_xent"] = (float(loss.detach()), slopes(loss, head))

    for page, cfg in (
        (penalty, penalty.Config(bound=0.289, penalty_weight=5.0)),
        (penalty, penalty.Config(bound=1.28, penalty_weight=5.0, per="frame", space="imagenet")),
        (penalty, penalty.Config(bound=0.28, penalty_weight=5.0, per="batch")),
        (spact, spact.Config()),
    ):
        name = f"{page.__name__} {getattr(cfg, 'per', '')}"
        players = toy_players("contrastive", norm=False)
        terms, released = page.step_anonymizer(players, batch, cfg)
        result[f"{name} 1"] = (float(terms["loss"].detach()), slopes(terms["loss"], players.f_A))
        for reused in (None, released):
            terms = page.step_adversaries(players, batch, cfg, reused)
            found = slopes(terms["loss"], players.f_T, players.f_B)
            result[f"{name} 2 {reused is None}"] = (float(terms["loss"].detach()), found)

    players = toy_players("adversaries", norm=False)
    cfg = constrained.Config(feature_bound=0.1, change_bound=0.289)
    terms, out = constrained.step_anonymizer(players, batch, cfg, 1.5)
    result["constrained 1"] = (float(terms["loss"].detach()), slopes(terms["loss"], players.f_A))
    terms = constrained.step_adversaries(players, batch, cfg, out)
    found = slopes(terms["loss"], players.f_T, players.f_B)
    result["constrained 2"] = (float(terms["loss"].detach()), found)

    players = toy_players("adversaries", norm=False)
    loop = FakeLoop(players, batch=lambda step: mine(toy_batch(step, ITEMS)))
    # Without the privacy term f_A follows the multiplier alone; far from both of its limits.
    cfg = constrained.Config(
        steps=4, dual_rate=5.0, dual_limit=100.0, utility_bound=0.9, privacy_weight=0.0
    )
    constrained.train(players, cfg, loop)
    result["multiplier"] = loop.kept["multiplier"].value
    return result


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=120),
    )
    torch.save(compute(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def one() -> Result:
    return compute()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    folder: Path = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(worker, (str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


STEPS = [
    "nt_xent",
    *(
        f"velatura.methods.{name} {step}"
        for name in ("penalty clip", "penalty frame", "penalty batch", "spact ")
        for step in ("1", "2 True", "2 False")
    ),
    "constrained 1",
    "constrained 2",
]


@pytest.mark.parametrize("name", STEPS)
def test_loss_and_averaged_gradient_are_those_of_the_joint_batch(
    name: str, one: Result, two: list[Result]
):
    value, gradient = one[name]
    assert sum(found[name][0] for found in two) / WORLD == pytest.approx(value, rel=1e-5)
    for found in two:
        for ours, joint in zip(found[name][1], gradient, strict=True):
            assert joint.any()
            torch.testing.assert_close(ours, joint, atol=2e-6, rtol=1e-3)


def test_nt_xent_is_one_number_on_all_processes(one: Result, two: list[Result]):
    assert two[0]["nt_xent"][0] == two[1]["nt_xent"][0]
    assert two[0]["nt_xent"][0] == pytest.approx(one["nt_xent"][0], rel=1e-6)


def test_the_multiplier_is_one_number_on_all_processes(one: Result, two: list[Result]):
    """Each process sees another violation; the constraint is on the joint batch."""
    assert two[0]["multiplier"] == two[1]["multiplier"]
    assert two[0]["multiplier"] == pytest.approx(one["multiplier"], rel=1e-3)


def test_every_process_is_named(one: Result, two: list[Result]):
    assert set(one) == set(two[0]) == set(two[1]) == {*STEPS, "multiplier"}
