"""Utility: can a network that starts fresh learn the action from what is released?

Source: SPAct and the paper call it f_T', trained on f_A(train), tested on f_A(test).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from velatura import plugins
from velatura.config import build
from velatura.layout import ClipSet, Labels, Measurement
from velatura.protocols._fresh import groups_of

LABELS: Labels = "actions"


def network(name: str, outputs: int, settings: Mapping[str, Any] | None = None) -> nn.Module:
    """A fresh target by its name in ``models``; ``settings`` are keys of its ``Config``."""
    module = plugins.load("models", name)
    cfg = build(module.Config, settings or {}, f"evaluation.networks.{name}")
    built: nn.Module = module.classifier(cfg, outputs)
    return built


def measurements(
    row: dict[str, Any], test: ClipSet, provenance: dict[str, Any]
) -> list[Measurement]:
    """Top-1 of a table row, and its utility U, as records."""
    common = {
        "better": "higher",
        "row": row["name"],
        "dataset": test.name.split("/")[0],
        "split": "test",
        "n": len(test),
        "groups": groups_of(test),
        "provenance": provenance,
    }
    chance = 100 / len(test.action_names)
    low, high = row["top1_interval"]
    u_low, u_high = row["U_interval"]
    return [
        Measurement(metric="top1", value=row["top1"], low=low, high=high, unit="%", chance=chance,
                    probe=f"mean of fresh {row['target']}", seed=-1, **common),
        Measurement(metric="U", value=row["U"], low=u_low, high=u_high, unit="share of raw",
                    chance=0.0, probe=f"mean of fresh {row['target']}", seed=-1, **common),
        *(
            Measurement(metric="top1", value=value, low=value, high=value, unit="%", chance=chance,
                        probe=probe, seed=seed, **common)
            for value, (probe, seed) in zip(row["top1_seeds"], row["target_fits"], strict=True)
        ),
    ]  # fmt: skip
