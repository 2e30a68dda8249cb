"""Every learned method with the networks of the demo: all that should learn is reached."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from velatura import plugins
from velatura.layout import ClipSet
from velatura.models import bdq, clip_cnn, frame_cnn, gated_unet, tubelet_vit
from velatura.models._parts import Budget
from velatura.training import batches, loop
from velatura.training.players import Players

LEARNED = [n for n in plugins.names("methods") if hasattr(plugins.load("methods", n), "train")]


class Watched(loop.Loop):
    """The real loop, which also notes the slopes of each player's last step."""

    slopes: dict[str, dict[str, Tensor | None]]

    def rate(self, optimizer: torch.optim.Optimizer, *rate: float, **shares: float) -> None:
        """The rate of a toy does not change."""

    def update(self, optimizer: torch.optim.Optimizer, terms: Any, player: str) -> None:
        super().update(optimizer, terms, player)
        owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, module in self._kept.items():
            if isinstance(module, nn.Module):
                for key, weight in module.named_parameters():
                    if id(weight) in owned:
                        self.slopes.setdefault(name, {})[key] = weight.grad


def players_for(budget: str) -> Players:
    torch.manual_seed(0)
    f_A = gated_unet.anonymizer(gated_unet.Config(width=4))
    f_T = clip_cnn.classifier(clip_cnn.Config(width=8), 2)
    f_B: nn.Module = Budget(frame_cnn.encoder(frame_cnn.Config(width=8)), 8)
    teacher = None
    if budget == "adversaries":
        f_B = nn.ModuleList(
            [
                frame_cnn.classifier(frame_cnn.Config(width=8), 1),
                clip_cnn.classifier(clip_cnn.Config(width=8), 1),
            ]
        )
        teacher = copy.deepcopy(f_T)
    return Players(f_A, f_T, f_B, teacher, torch.tensor([0.5]))


def looped(folder: Path, kind: type[Any]) -> Any:
    """A loop over eight clips of noise, four at a time."""
    rng = np.random.default_rng(0)
    data = ClipSet.of_clips(
        rng.integers(0, 256, (8, 4, 3, 16, 16), np.uint8),
        actions=np.arange(8) % 2,
        attributes=(np.arange(8, dtype=np.uint8)[:, None] // 2) % 2,
        groups=np.arange(8),
        action_names=("a", "b"),
        attribute_names=("x",),
        name="noise/train",
        fingerprint="noise",
    )
    window = batches.Config(batch=4, size=16, frames=4, shift=1)
    services = loop.Config(device="cpu", precision="32", log_every=1)
    fabric = loop.fabric(services)
    stream = batches.Batches(data, window, 0, fabric.device)
    folder.mkdir(exist_ok=True)
    return kind(folder, fabric, stream, services, 0, {})


@pytest.mark.parametrize("name", LEARNED)
def test_every_weight_that_should_learn_gets_a_slope(name: str, tmp_path: Path):
    """Finite, and not zero; through 8-bit rounding, both steps, in the real loop."""
    method = plugins.load("methods", name)
    players = players_for(method.BUDGET)
    if name == "bdq":
        players.f_A = bdq.anonymizer(bdq.Config())
    if name == "stprivacy":
        tiny = {"frames": 4, "size": 16, "width": 12, "depth": 4, "heads": 2}
        players.f_A = tubelet_vit.anonymizer(tubelet_vit.Config(**tiny, pruning=(1, 2, 3)))
    if hasattr(method, "around"):
        players.f_A = method.around(players.f_A, method.Config())
    if not getattr(method, "TEACHER", False):
        players.teacher = None
    watched = looped(tmp_path, Watched)
    watched.slopes = {}
    before = {n: copy.deepcopy(m.state_dict()) for n, m in players.modules().items()}
    # A bound and a hinge that are active from the first step on.
    tight = {
        "penalty": {"bound": 0.001},
        "constrained": {"feature_bound": 0.001},
        "stprivacy": {"sparsify_steps": 2},
    }.get(name, {})
    method.train(players, method.Config(steps=2, **tight), watched)
    watched._log.board.close()
    assert set(watched.slopes) == {"f_A", "f_T", "f_B", *(["head"] if name == "ted_spad" else [])}
    for player, found in watched.slopes.items():
        assert set(found) == {key for key, _ in watched._kept[player].named_parameters()}
        for key, slope in found.items():
            assert slope is not None, f"{player}.{key}"
            assert torch.isfinite(slope).all(), f"{player}.{key}"
            assert slope.any(), f"{player}.{key}"
    for player, module in players.modules().items():
        same = [torch.equal(before[player][k], v) for k, v in module.state_dict().items()]
        assert all(same) if player == "teacher" else not all(same), player


# Methods that are one another where they do not differ: what is switched off, and what is left.
TWINS: dict[str, tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]] = {
    "penalty at lambda = 0 is spact": (
        ("penalty", {"penalty_weight": 0.0}), ("spact", {})
    ),
    "penalty at lambda = 0 is spact, both steps on each batch": (
        ("penalty", {"penalty_weight": 0.0, "alternate": "both"}), ("spact", {"alternate": "both"})
    ),
    "penalty_released without defects is penalty": (
        (
            "penalty_released",
            {"penalty_gradient": True, "scrambled": False, "bgr": False, "bound": 0.01},
        ),
        ("penalty", {"per": "batch", "bound": 0.01}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("pair", TWINS.values(), ids=TWINS)
def test_twins_end_at_the_same_bits(pair: Any, tmp_path: Path):
    """From one seed, through the real loop: the same batches, turns and rates, step for step."""
    options = {
        "identity_steps": 2, "steps": 5, "anneal": 0.5, "lr_identity": 4e-3, "lr_anonymizer": 1e-3,
        "lr_target": 2e-3, "lr_budget": 3e-3, "budget_weight": 0.6, "temperature": 0.3,
    }  # fmt: skip
    ends, logs = [], []
    for name, own in pair:
        method = plugins.load("methods", name)
        players = players_for("contrastive")
        run = looped(tmp_path / name, loop.Loop)
        method.train(players, method.Config(**options, **own), run)
        run._log.board.close()
        ends.append({n: m.state_dict() for n, m in players.modules().items()})
        lines = map(json.loads, (tmp_path / name / "log.jsonl").read_text().splitlines())
        logs.append([{k: v for k, v in x.items() if k not in ("penalty", "active")} for x in lines])
    assert len(logs[0]) >= 7
    assert logs[0] == logs[1]
    for name, state in ends[0].items():
        for key, value in state.items():
            assert torch.equal(value, ends[1][name][key]), f"{name}.{key}"


def test_no_method_knows_the_examiners():
    """An anonymizer that trained against its examiner has seen the questions."""
    for name in plugins.names("methods"):
        method = plugins.load("methods", name)
        for value in vars(method).values():
            home = getattr(value, "__module__", None) or getattr(value, "__name__", "")
            assert not str(home).startswith("velatura.attackers"), name
    assert "velatura.methods" in sys.modules
