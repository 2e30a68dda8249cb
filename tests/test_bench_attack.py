"""The bench of attacks at its smallest: both sides are done, and no time is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training import tiny

from velatura import bench
from velatura.models import frame_cnn
from velatura.protocols import _fresh
from velatura.training import fit, loop

TINY = [
    "data.train_people=4", "data.train_clips=3", "data.val_people=4", "data.val_clips=2",
    "data.test_people=4", "data.test_clips=3", "data.size=16", "data.frames=3",
    "batches.size=16", "batches.frames=3", "batches.batch=4", "evaluation.batch=4",
    "evaluation.start_epochs=2", "evaluation.epochs=1", 'evaluation.attackers=["frame_cnn"]',
    "evaluation.seeds=[0]", "loop.device=cpu",
]  # fmt: skip


def test_both_sides_fit_the_same_and_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ours in this process: examinations of a release. Plainly: fits with f_A in their loop."""
    ours: list[Any] = []
    plain: list[Any] = []
    fitted, examined = fit.fit, _fresh.examine

    def noted(network: Any, train: Any, val: Any, labels: Any, cfg: Any, *rest: Any) -> Any:
        if isinstance(network, bench._Before):
            plain.append((labels, cfg.epochs, train.frames.shape))
        return fitted(network, train, val, labels, cfg, *rest)

    def watched(released: Any, labels: Any, build: Any, start: Any, *rest: Any) -> Any:
        ours.append((labels, rest[0].epochs, released.train.frames.shape))
        assert isinstance(released.train.frames, _fresh.Standardised)
        return examined(released, labels, build, start, *rest)

    def here(todo: Any, *team: int) -> Any:
        assert team == (1, 2)
        for job in todo:
            job.call(job=job.name, **job.arguments)
            yield job

    monkeypatch.setenv("VELATURA_CACHE", str(tmp_path))
    monkeypatch.setattr(fit, "fit", noted)
    monkeypatch.setattr(_fresh, "examine", watched)
    monkeypatch.setattr(bench.jobs, "run", here)
    monkeypatch.setattr(bench, "processes", lambda study, workers: (1, 2))
    attack = bench.attack
    monkeypatch.setattr(bench, "attack", lambda full: attack(full, 1, TINY))
    code, out, err = tiny.main("bench", "attack", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert ours == plain == [("attributes", e, (36, 3, 16, 16)) for e in (2, 1)]
    assert found["attackers"] == 2
    assert (found["clips"], found["epochs"]) == ("12 + 8 + 12", "2 + 1")
    assert found["ratio"] == found["plain_seconds"] / found["ours_seconds"]
    assert 0 < found["ours_release_seconds"] < found["ours_seconds"]


def test_in_the_plain_loop_f_A_runs_and_does_not_learn():
    f_A = torch.nn.Conv3d(3, 3, 1)
    calls: list[torch.Size] = []
    f_A.register_forward_hook(lambda module, args, out: calls.append(args[0].shape))
    attacker = frame_cnn.classifier(frame_cnn.Config(width=8), 2)
    network = bench._Before(torch.nn.Sequential(_Swap(), f_A, _Swap()), attacker)
    data = tiny.noise()
    before = f_A.weight.clone()
    window = fit.Window(size=16, frames=4, shift=0)
    services = loop.fabric(loop.Config(device="cpu", precision="32"))
    fit.fit(network, data, data, "attributes", fit.Config(epochs=2, batch=6), window, 0, services)
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"attacker"}
    assert torch.equal(f_A.weight, before)
    # Two epochs of two batches, and one look at the validation split after the second half's.
    assert calls == [(6, 3, 4, 16, 16)] * 2 + [(12, 3, 4, 16, 16)] + [(6, 3, 4, 16, 16)] * 2 + [
        (12, 3, 4, 16, 16)
    ]


class _Swap(torch.nn.Module):
    """Time and colours change places."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return clips.transpose(1, 2)
