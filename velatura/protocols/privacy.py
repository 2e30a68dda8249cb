"""Leakage: what can a network that starts fresh learn about the people from what is released?

Attackers are named by file in ``attackers``; the strongest one counts. A low figure is a
statement about these attackers, never a proof of privacy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from velatura import plugins
from velatura.config import build
from velatura.layout import ClipSet, Labels, Measurement
from velatura.protocols._fresh import groups_of

LABELS: Labels = "attributes"


def network(name: str, outputs: int, settings: Mapping[str, Any] | None = None) -> nn.Module:
    """A fresh attacker by its name; ``settings`` are keys of its ``Config``."""
    module = plugins.load("attackers", name)
    cfg = build(module.Config, settings or {}, f"evaluation.networks.{name}")
    built: nn.Module = module.network(cfg, outputs)
    return built


def measurements(
    row: dict[str, Any], test: ClipSet, provenance: dict[str, Any]
) -> list[Measurement]:
    """cMAP and L of a table row, each attacker's cMAP, and AP and AUROC per attribute."""
    common = {
        "better": "lower",
        "row": row["name"],
        "dataset": test.name.split("/")[0],
        "split": "test",
        "n": len(test),
        "groups": groups_of(test),
        "provenance": provenance,
    }
    chance = float(100 * test.attributes.mean())
    strongest, seed = row["strongest"].rsplit("/", 1)
    low, high = row["cmap_interval"]
    l_low, l_high = row["L_interval"]
    top: dict[str, Any] = {"probe": strongest, "seed": int(seed), **common}
    found = [
        Measurement(
            metric="cmap", value=row["cmap"], low=low, high=high, unit="%",
                    chance=chance, **top
        ),
        Measurement(
            metric="L",
            value=row["L"],
            low=l_low,
            high=l_high,
            unit="share of raw",
            chance=0.0,
            **top,
        ),
    ]  # fmt: skip
    for probe, entry in row["attackers"].items():
        for s, value in zip(entry["seeds"], entry["cmap"], strict=True):
            found.append(
                Measurement(metric="attacker cmap", value=value, low=value, high=value, unit="%",
                            chance=chance, probe=probe, seed=s, **common)
            )  # fmt: skip
    for name, entry in row["attributes"].items():
        probe, s = entry["attacker"].rsplit("/", 1)
        low, high = entry["ap_interval"]
        one: dict[str, Any] = {"probe": probe, "seed": int(s), "attribute": name, **common}
        found.append(
            Measurement(metric="ap", value=entry["ap"], low=low, high=high, unit="%",
                        chance=entry["prevalence"], **one)
        )  # fmt: skip
        found.append(
            Measurement(metric="auroc", value=entry["auroc"], low=entry["auroc"],
                        high=entry["auroc"], unit="%", chance=50.0, **one)
        )  # fmt: skip
    return found
