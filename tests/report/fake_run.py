"""A run folder as the demo leaves it, simulated: scores from which metrics.py makes the rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from velatura import metrics
from velatura.layout import Measurement

ATTRIBUTES = [
    "skin_tone", "gender_presentation", "face_complete", "face_partial", "bare_skin",
    "close_person", "distant_person", "hair", "shirt",
]  # fmt: skip
ACTIONS = 10
PEOPLE, CLIPS = 100, 4

# row: method, how far action and attribute scores stand apart, RMS, bound
ROWS: dict[str, tuple[str, float, float, float | None, float | None]] = {
    "raw": ("identity", 4.2, 4.0, 0.0, None),
    "constant": ("constant", 0.0, 0.0, 0.28, None),
    "blur": ("blur", 2.6, 1.6, 0.085, None),
    "downsample": ("downsample", 3.0, 1.9, 0.074, None),
    "frame_difference": ("frame_difference", 3.4, 1.3, 0.53, None),
    "spact": ("spact", 2.8, 2.6, 0.34, None),
    "penalty_0.1": ("penalty", 4.15, 3.9, 0.07, 0.1),
    "penalty_0.2": ("penalty", 3.9, 3.4, 0.16, 0.2),
    "constrained": ("constrained", 3.5, 0.9, 0.21, None),
}
FITS = [(probe, seed) for probe in ("clip_cnn", "frame_cnn", "held_out") for seed in (0, 1)]


def write(run: Path, rows: list[str] | None = None, replicates: int = 100, schema: int = 1) -> Path:
    """Write a whole run folder; ``rows`` keeps only some of the demo's, schema 2 has the ladder."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(PEOPLE), CLIPS)
    n = len(groups)
    attributes = (rng.random((PEOPLE, len(ATTRIBUTES))) < 0.48).astype(np.uint8)[groups]
    actions = rng.integers(0, ACTIONS, n)
    clear = np.linspace(0.5, 1.6, len(ATTRIBUTES))  # some attributes are hidden better

    def target(apart: float, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(size=(n, ACTIONS))
        return apart * np.eye(ACTIONS)[actions] + noise

    def attacker(apart: float, fit: tuple[str, int]) -> np.ndarray:
        own = np.random.default_rng([FITS.index(fit), 5])
        skill = {"clip_cnn": 1.0, "frame_cnn": 0.9, "held_out": 0.94}[fit[0]]
        person = own.normal(size=(PEOPLE, len(ATTRIBUTES)))[groups]
        spread = clear if apart < 3 else np.ones_like(clear)
        noise = 0.7 * person + 0.7 * own.normal(size=attributes.shape)
        return skill * apart * spread * attributes + noise

    def fits(apart_target: float, apart_attacker: float) -> tuple[dict, dict]:
        targets = {("r3d", seed): target(apart_target, seed) for seed in (0, 1)}
        return targets, {fit: attacker(apart_attacker, fit) for fit in FITS}

    weights = metrics.bootstrap_weights(groups, replicates, 0)
    raw_targets, raw_attackers = fits(*ROWS["raw"][1:3])
    table = []
    for name in rows if rows is not None else ROWS:
        method, act, read, rms, bound = ROWS[name]
        targets, attackers = fits(act, read)
        table.append(
            metrics.summarize_row(
                name,
                method,
                target_scores=targets,
                attacker_scores=attackers,
                raw_target_scores=raw_targets,
                raw_attacker_scores=raw_attackers,
                actions=actions,
                attributes=attributes,
                groups=groups,
                attribute_names=ATTRIBUTES,
                used_in_training={"clip_cnn", "frame_cnn"} if method == "constrained" else (),
                weights=weights,
                plugin_top1=None if method == "constant" else 60 + 5 * act,
                rms=rms,
                bound=bound,
                beyond_bound=None if bound is None else 0.04,
                static_cmap=55 + 6 * read,
            )
        )

    seconds = {"render": 21.4, "raw networks": 88.2, "train spact": 31.0, "train penalty_0.1": 33.5,
               "train penalty_0.2": 33.1, "train constrained": 71.9, "evaluate": 120.3}  # fmt: skip
    train_actions = rng.integers(0, ACTIONS, 800)
    train_attributes = rng.integers(0, 2, (800, len(ATTRIBUTES)))
    summary = {
        "title": "Generated people: hide who, keep what they do",
        "command": "velatura demo",
        "seed": 0,
        "dataset": "people",
        "created": "2025-03-01T12:00:00+00:00",
        "seconds": seconds | {"total": sum(seconds.values())},
        "peak_rss_mb": 3120,
        "versions": {"velatura": "0.1.0", "torch": "2.13.0", "python": "3.11.2", "numpy": "2.4.6"},
        "config": {
            "seed": 0,
            "data": {"name": "people", "size": 48, "frames": 8, "correlation": 0.0},
            "method": {"name": "constrained", "utility_slack": 0.5, "steps": 280},
        },
        "data": {"fingerprint": "9f2c41d07ab3", "train": 2400, "val": 300, "test": n,
                 "train_people": 300, "test_people": PEOPLE},
        "chance": metrics.chance_levels(attributes, ACTIONS),
        "floor": metrics.summarize_floor(
            train_actions, train_attributes, actions, attributes, raw_attackers, ATTRIBUTES
        ),
        "rows": table,
        "sentences": [
            "The penalty at B = 0.1 keeps the picture within its bound, and the action with it; "
            "it hides next to nothing from fresh attackers.",
        ],
    }  # fmt: skip
    if schema == 2:
        add_ladder(summary)
    else:
        take_ladder(summary)
    run.mkdir(parents=True, exist_ok=True)
    (run / "summary.json").write_text(json.dumps(summary, allow_nan=False))
    _write_records(run, summary)
    names = [row["name"] for row in table]
    _write_sheet(run, names)
    for name in names:
        if ROWS[name][0] in ("spact", "penalty", "constrained"):
            _write_log(run / "methods" / name / "log.jsonl", ROWS[name])
    return run


def take_ladder(summary: dict) -> None:
    """As summaries were before schema 2."""
    summary["floor"].pop("attributes")
    for row in summary["rows"]:
        for key in ("headline", "rungs", "f1", "f1_printed", "targets", "groups"):
            row.pop(key, None)
        for entry in row["attributes"].values():
            kept = ("ap", "ap_interval", "auroc", "prevalence", "attacker")
            for key in set(entry) - set(kept):
                del entry[key]
        for entry in row["attackers"].values():
            for key in ("seeds", "f1", "f1_printed"):
                del entry[key]


def add_ladder(summary: dict) -> None:
    """The keys of schema 2, invented so that every figure can be told from every other."""
    chance, raw = summary["chance"]["cmap"], summary["rows"][0]["cmap"]
    names = list(summary["rows"][0]["attributes"])
    summary["schema"] = 2
    floor = {"cmap": chance + 6.0, "L": 6.0 / (raw - chance)}
    floor["attributes"] = {
        a: {"ap": chance + 2.0 + k, "auroc": 52.0 + k} for k, a in enumerate(names)
    }
    summary["floor"] = floor
    for row in summary["rows"]:
        top = row["cmap"]
        reads = [("A1p", chance + 4), ("A2", chance + 0.3 * (top - chance)),
                 ("A3", chance + 0.85 * (top - chance)), ("A4", top),
                 ("A5", chance + 0.6 * (top - chance))]  # fmt: skip
        row["rungs"] = [
            {
                "rung": rung,
                "cmap": value,
                "cmap_interval": [value - 1.5, value + 1.5],
                "L": (value - chance) / (raw - chance),
                "L_interval": [(value - chance - 1.5) / (raw - chance),
                               (value - chance + 1.5) / (raw - chance)],
                "by": "table/0" if rung == "A1p" else row["strongest"],
                "attributes": {a: {"ap": max(value - 4 + k, 1.0), "auroc": value} for k, a
                               in enumerate(names)},
            }
            for rung, value in reads
        ]  # fmt: skip
        above = top - floor["cmap"]
        row["headline"] = {"rung": "A4", "by": row["strongest"], "excess": above,
                           "excess_interval": [above - 2, above + 2]}  # fmt: skip
        for k, entry in enumerate(row["attributes"].values()):
            prevalence = entry["prevalence"]
            entry |= {
                "ap_gain": (entry["ap"] - prevalence) / (100 - prevalence),
                "balanced_accuracy": (50 + entry["auroc"]) / 2,
                "information": 0.011 * k,
                "within_action_auroc": entry["auroc"] - 1,
                "f1": 0.501,
                "f1_printed": 0.402,
                "p": 0.004,
                "p_holm": 0.036,
            }
        row["f1"], row["f1_printed"] = 0.612, 0.487
        found = 1 + 0.5 * (top - chance)
        row["identity"] = {
            gallery: {"rank1": factor * found, "rank1_interval": [factor * found - 0.4,
                      factor * found + 0.4], "chance": 1.0, "tar": {"0.01": 7.5, "0.001": 2.5}}
            for gallery, factor in [("raw_to_anon", 1.0), ("anon_to_anon", 1.4),
                                    ("recovered_to_raw", 0.6)]
        }  # fmt: skip
        row["inversion"] = {"psnr": 14 + 0.2 * (top - chance), "ssim": 0.31 + 0.01 * (top - chance)}
        l_end = row["L"]
        rising = 0.12 if row["name"] == "constrained" else 0.004
        row["budget"] = [
            {"data": data, "epochs": epochs, "by": "frame_cnn/0", "cmap": 50.0,
             "L": l_end * share - (0.015 if epochs == 1 else 0) + (rising if data == 4 else 0)}
            for data, share in [(0.25, 0.6), (1, 1.0), (4, 1.0)] for epochs in (1, 4)
        ]  # fmt: skip
        row["targets"] = {
            "r3d": {"top1": row["top1_seeds"], "U": [row["U"], row["U"]]},
            "mvit": {"top1": [row["top1"] - 3.0], "U": [row["U"] - 0.04]},
        }
        row["plugin"] = {"r3d": 0.7 * row["top1"], "mvit": 0.6 * row["top1"]}
        row["groups"] = {a: {"present": row["top1"] - k, "absent": row["top1"] + k / 2}
                         for k, a in enumerate(names)}  # fmt: skip


def _write_records(run: Path, summary: dict) -> None:
    with (run / "records.jsonl").open("w") as file:
        for row in summary["rows"]:
            record = Measurement(
                metric="cmap", value=row["cmap"], low=row["cmap_interval"][0],
                high=row["cmap_interval"][1], unit="%", better="lower", row=row["name"],
                probe=row["strongest"], dataset="people", split="test", n=PEOPLE * CLIPS,
                groups=PEOPLE, seed=0, chance=summary["chance"]["cmap"],
            )  # fmt: skip
            file.write(json.dumps(asdict(record)) + "\n")


def _write_sheet(run: Path, names: list[str], size: int = 48, frames: int = 8) -> None:
    """A walking figure before a moving ground, and what each row might make of it."""
    y, x = np.mgrid[0:size, 0:size] / size
    clips = []
    for example, (skin, shirt) in enumerate(
        [((0.93, 0.76, 0.62), (0.75, 0.2, 0.2)), ((0.45, 0.3, 0.22), (0.2, 0.4, 0.75)),
         ((0.8, 0.6, 0.45), (0.25, 0.6, 0.35))]
    ):  # fmt: skip
        clip = np.zeros((frames, size, size, 3))
        for t in range(frames):
            phase = 2 * np.pi * t / frames
            ground = 0.55 + 0.12 * np.sin(12 * x + 7 * y + phase + example)
            frame = np.stack([ground, ground * 0.97, ground * 0.9], -1)

            def draw(cx, cy, rx, ry, colour, frame=frame):
                frame[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = colour

            for side in (-1, 1):
                draw(0.5 + side * 0.07 * np.cos(phase), 0.8, 0.05, 0.17, (0.2, 0.2, 0.3))
                lift = 0.16 * np.sin(phase + side)
                draw(0.5 + side * 0.17, 0.48 - lift, 0.05, 0.12, skin)
            draw(0.5, 0.52, 0.13, 0.2, shirt)
            draw(0.5, 0.25, 0.09, 0.11, skin)
            draw(0.5, 0.18, 0.1, 0.06, (0.2, 0.13, 0.1))
            clip[t] = frame
        clips.append(clip)
    raw = np.stack(clips)
    rng = np.random.default_rng(1)

    def coarse(step: int) -> np.ndarray:
        small = raw[:, :, step // 2 :: step, step // 2 :: step]
        return small.repeat(step, 2).repeat(step, 3)

    stripes = (np.indices((size, size)).sum(0) % 4 < 2)[..., None]
    torso = (np.abs(x - 0.5) < 0.2)[..., None] & (np.abs(y - 0.42) < 0.3)[..., None]
    dithered = np.where(torso, rng.random(raw.shape[:4] + (1,)) * 0.5 + 0.25, coarse(4))
    made = {
        "raw": raw,
        "constant": np.full_like(raw, 0.5),
        "blur": sum(np.roll(raw, (a, b), (2, 3)) for a in range(-3, 4) for b in range(-3, 4)) / 49,
        "downsample": coarse(6),
        "frame_difference": (np.abs(raw - np.roll(raw, 1, 1)).max(-1, keepdims=True) > 0.1)
        * np.ones(3),
        "spact": np.where(stripes, raw * 0.35, raw * 0.6 + 0.4),
        "penalty_0.1": raw + rng.normal(0, 0.05, raw.shape),
        "penalty_0.2": raw + rng.normal(0, 0.12, raw.shape),
        "constrained": dithered,
    }
    arrays = {k: (made[k].clip(0, 1) * 255).astype(np.uint8) for k in names}
    np.savez_compressed(run / "sheet.npz", labels=np.array(["wave", "jack", "sit down"]), **arrays)


def _write_log(
    file: Path, row: tuple[str, float, float, float | None, float | None], steps: int = 120
) -> None:
    method, _, _, rms, bound = row
    rng = np.random.default_rng(len(file.parent.name))
    file.parent.mkdir(parents=True)
    with file.open("w") as out:
        for step in range(steps):
            done = 1 - np.exp(-4 * step / steps)
            drift = (rms or 0) * done + abs(rng.normal(0, 0.01))
            line = {"step": step, "player": "anonymizer", "target": 0.4 + 0.5 * (1 - done),
                    "budget": 3.85 * done + rng.normal(0, 0.1), "rms": drift}  # fmt: skip
            if bound is not None:
                line["penalty"] = max(0.0, drift - bound)
                line["active"] = float(drift > bound)
            if method == "constrained":
                line["multiplier"] = 2 * done
            line["loss"] = line["target"] - line["budget"] + 40 * line.get("penalty", 0)
            out.write(json.dumps({k: float(v) if k != "player" and k != "step" else v
                                  for k, v in line.items()}) + "\n")  # fmt: skip
            adversaries = {"step": step, "player": "adversaries",
                           "loss": float(2 * (1 - done) + rng.normal(0, 0.1) + 3),
                           "target": 0.5, "budget": float(3.85 * done)}  # fmt: skip
            out.write(json.dumps(adversaries) + "\n")


if __name__ == "__main__":
    import sys

    print(write(Path(sys.argv[1]), replicates=1000, schema=2))
