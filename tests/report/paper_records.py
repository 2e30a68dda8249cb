"""Records of a sweep of the tables, made up; every number can be followed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from velatura import sweep
from velatura.config import read_toml

ROWS = ("raw", "vita", "spact", "penalty_0.05", "penalty_0.1", "penalty_0.2", "penalty_0.3")


def summary(seed: int) -> dict[str, Any]:
    """Three seeds, 0 to 2: the first row's numbers move by 1, most others by .1."""
    rows = []
    for k, name in enumerate(ROWS):
        shift = (seed - 1) * (1.0 if name == "vita" else 0.1)
        top1, cmap = 90.0 - 5 * k + shift, 95.0 - 5 * k + shift
        rows.append(
            {
                "name": name, "method": name.partition("_")[0], "top1": top1, "cmap": cmap,
                "static_cmap": cmap - 20, "U": 1.0 - 0.05 * k, "L": 1.0 - 0.1 * k,
                "attackers": {"frame_cnn": {"cmap": [cmap - 1, cmap]}, "patch_mlp": {"cmap": [60]}},
                "attributes": {"hat": {"prevalence": 50.0}, "hair": {"prevalence": 25.0}},
                "top1_seeds": [top1 + 1, top1 - 1, 40.0],
                "target_fits": [["clip_cnn", 0], ["clip_cnn", 1], ["frame_cnn", 0]],
            }
        )  # fmt: skip
        if seed:  # the first was measured before F1 came
            rows[-1]["f1_printed"] = 0.9 - 0.1 * k
            rows[-1]["rungs"] = [{"rung": "A2", "cmap": cmap - 20, "f1_printed": 0.3}]
    return {
        "seed": seed, "rows": rows, "chance": {"top1": 10.0, "cmap": 37.5}, "seconds": {},
        "floor": {"cmap": 41.0, "L": 0.1}, "config": {"evaluation": {"networks": {}}},
    }  # fmt: skip


def write(
    records: Path,
    world: str = "w0",
    seeds: tuple[int, ...] = (0, 1, 2),
    grid: Path | None = None,
) -> Path:
    """``records/comparison/WORLD-SEED``, with curves and pictures, as a sweep leaves them.

    Args:
        grid: the file whose cells they are said to be of.
    """
    configs = {}
    if grid:
        said = sweep.resolve_grid(read_toml(grid))
        (of,) = [one for one in said.worlds if one.name == world]
        configs = {seed: said.study(of, seed, {}).values() for seed in seeds}
    for seed in seeds:
        folder = records / "comparison" / f"{world}-{seed}"
        folder.mkdir(parents=True)
        made = summary(seed)
        made["config"] = configs.get(seed, made["config"])
        (folder / "summary.json").write_text(json.dumps(made))
        pictures = {name: np.full((6, 4, 8, 8, 3), 20 * k, np.uint8) for k, name in enumerate(ROWS)}
        labels = np.array(["wave", "sit_down", "kick", "punch", "walk", "clap"])
        np.savez(folder / "sheet.npz", labels=labels, **pictures)
        for name in ROWS[2:]:
            log = folder / "methods" / name / "log.jsonl"
            log.parent.mkdir(parents=True)
            lines = [
                {"step": step, "player": player, "loss": 3.0 - step / 10 + seed, "budget": 0.1,
                 "target": 2.0}
                for step in (1, 2, 3)
                for player in ("anonymizer", "adversaries")
            ]  # fmt: skip
            log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return records
