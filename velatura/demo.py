"""The demo: a study of generated people that runs in minutes on two cores.

It is ``demo.toml`` beside this file, and nothing that it prints was computed elsewhere.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from velatura.config import apply_sets
from velatura.study import Study, resolve_study

__all__ = ["demo_study", "plain_sentences"]

# What --quick changes: the whole chain on a tenth of everything. Its figures mean nothing.
QUICK = [
    "data.train_people=24",
    "data.train_clips=4",
    "data.val_people=6",
    "data.test_people=12",
    "data.test_clips=4",
    "data.frames=4",
    "data.size=24",
    "batches.frames=4",
    "batches.size=24",
    "batches.batch=8",
    "start.epochs=1",
    "evaluation.start_epochs=1",
    "evaluation.epochs=1",
    "evaluation.seeds=[0]",
    "evaluation.target_seeds=[0]",
    "evaluation.replicates=100",
]


def demo_study(seed: int = 0, quick: bool = False, sets: list[str] | None = None) -> Study:
    """The demo as a study.

    Args:
        seed: of the world, the networks and the order of clips.
        quick: a smoke of the whole chain in under a minute.
        sets: further ``section.key=value`` changes.
    """
    values = tomllib.loads(files("velatura").joinpath("demo.toml").read_text())
    changes = [f"seed={seed}", f"data.seed={seed}"]
    if quick:
        changes += QUICK
        values["title"] = "A smoke of the whole chain: these figures mean nothing"
        for row in values["rows"]:
            if "steps" in row["method"]:
                row["method"]["steps"] = 3
    return resolve_study(apply_sets(values, changes + (sets or [])))


def plain_sentences(rows: list[dict[str, Any]]) -> list[str]:
    """What came out, said plainly; computed from the rows.

    Args:
        rows: as in ``summary.json``.
    """
    by_name = {row["name"]: row for row in rows}
    said = []
    ssl = [by_name[n] for n in ("spact", "penalty_0.1", "penalty_0.2") if n in by_name]
    if ssl and all(row["L"] is not None for row in ssl):
        low, high = min(row["L"] for row in ssl), max(row["L"] for row in ssl)
        said.append(
            "The self-supervised budget loss of SPAct and of the penalty method leaves fresh "
            f"attackers {low:.0%} to {high:.0%} of what they read from raw video."
        )
    bounded = [row for row in rows if row.get("beyond_bound") is not None]
    if bounded:
        shares = ", ".join(f"{row['beyond_bound']:.1%} at B = {row['bound']:g}" for row in bounded)
        said.append(f"Test clips changed by more than the bound: {shares}.")
    ours = by_name.get("constrained")
    if ours and ours["L"] is not None and ours["U"] is not None:
        rivals = [r for r in rows if r is not ours and None not in (r["U"], r["L"])]
        better = [r["name"] for r in rivals if r["U"] >= ours["U"] and r["L"] <= ours["L"]]
        said.append(
            f"The constrained method keeps {ours['U']:.0%} of the utility and leaks {ours['L']:.0%}"
            + (f"; {', '.join(better)} did no worse on both." if better else
               "; no other row is at least as good on both.")
        )  # fmt: skip
    said.append("Leakage is what these attackers found. A stronger one may find more.")
    return said
