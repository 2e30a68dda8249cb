"""Where things lie in a study's folder, and which examiners leave them."""

from __future__ import annotations

from pathlib import Path

from velatura.layout import Labels
from velatura.protocols._fresh import Config as Evaluation

SCRATCH = "scratch"  # in place of labels: an attacker from random weights, whatever start says
INVERTED, INVERSION, IDENTITY = "inverted.safetensors", "inversion.json", "identity.json"
RECOVERED, KNOWS = "recovered.npy", "identity.safetensors"


def kinds_of(cfg: Evaluation) -> list[tuple[Labels, str]]:
    """Every kind of examiner: what it learns, and its network."""
    targets: list[tuple[Labels, str]] = [("actions", name) for name in cfg.targets]
    return [*targets, *(("attributes", name) for name in cfg.attackers)]


def seeds_of(cfg: Evaluation, labels: Labels) -> tuple[int, ...]:
    """The seeds of targets, or of attackers; the first one's job also scores the examiner as it
    was before it saw the release."""
    return cfg.target_seeds if labels == "actions" else cfg.seeds


def fits_of(cfg: Evaluation) -> list[tuple[Labels, str, int]]:
    """Every examiner of one row: what it learns, its network, its seed."""
    return [
        (labels, name, seed) for labels, name in kinds_of(cfg) for seed in seeds_of(cfg, labels)
    ]


def points_of(cfg: Evaluation) -> list[tuple[float, float]]:
    """Of the attack-budget curve: (share of the training clips, times the epochs)."""
    return [*((share, 1.0) for share in cfg.curve), *((1.0, s) for s in cfg.curve if s > 1)]


def outputs_of(cfg: Evaluation, folder: Path, row: str) -> list[Path]:
    """The files that a row's examination leaves; once all are there, it is measured."""
    found = [score_path(folder, row, *which) for which in fits_of(cfg)]
    found += [score_path(folder, row, SCRATCH, n, s) for n in cfg.scratch for s in cfg.seeds]
    found += [curve_path(folder, row, *point) for point in points_of(cfg)]
    out = folder / "rows" / row
    found += [out / INVERTED] if cfg.inversion is not None else []
    return found + ([out / IDENTITY] if cfg.identity is not None else [])


def release_name(part: str) -> str:
    """``release-people-test.npy`` of ``people/test``."""
    return f"release-{part.replace(': ', '-').replace('/', '-')}.npy"


def statistics_name(part: str) -> str:
    """``statistics-people.npz`` of any split of people."""
    return f"statistics-{part.rpartition('/')[0].replace(': ', '-')}.npz"


def start_path(folder: Path, labels: str, network: str) -> Path:
    """Where an examiner trained on raw clips is kept."""
    return folder / "raw" / "examiners" / f"{labels}-{network}.safetensors"


def score_path(folder: Path, row: str, labels: str, network: str, seed: int) -> Path:
    """Where an examiner's test scores are kept."""
    return folder / "rows" / row / f"{labels}-{network}-{seed}.safetensors"


def curve_path(folder: Path, row: str, share: float, stretch: float) -> Path:
    """Where the scores of one point of the attack-budget curve are kept."""
    return folder / "rows" / row / f"curve-{share:g}-{stretch:g}.safetensors"
