"""Summaries made by hand, to write cards from: of both schemas, unfinished, and hostile."""

from __future__ import annotations

import copy
from typing import Any

EVIL = (
    "a|b\n\n# c `d` ``e`` <script>alert(1)</script> [x](https://evil.example) "
    "![y](z) **w** https://evil.example \u202eturned\x1b[31m \ud800"
)


def old() -> dict[str, Any]:
    """A study as it was before there were rungs: three rows, two attackers of two seeds.

    Chance is 40, raw reads 90, so L of a cMAP is (cMAP - 40) / 50.
    """
    return {
        "title": "By hand",
        "command": "velatura evaluate study.toml",
        "seed": 3,
        "dataset": "vp_hmdb51",
        "created": "2026-01-02T03:04:05+00:00",
        "versions": {"velatura": "0.1.0", "python": "3.11.7"},
        "config": {
            "data": {"name": "vp_hmdb51", "root": "videos"},
            "batches": {"batch": 8},
            "target": {"name": "clip_cnn", "width": 4},
            "evaluation": {
                "targets": ["clip_cnn"],
                "attackers": ["frame_cnn", "clip_cnn"],
                "seeds": [1, 0],
                "target_seeds": [5],
                "start": "raw",
                "epochs": 2,
            },
            "rows": [
                {
                    "name": "mine",
                    "method": {"name": "constrained", "steps": 7},
                    "anonymizer": {"name": "gated_unet", "width": 2},
                }
            ],
        },
        "data": {
            "fingerprint": "abc", "train": 60, "val": 20, "test": 1200,
            "train_people": 30, "val_people": 10, "test_people": 150,
        },
        "chance": {"top1": 10.0, "cmap": 40.0},
        "floor": {"cmap": 45.0, "L": 0.1},
        "rows": [
            _row("raw", "identity", 90.0, 90.0, 1.0, 1.0, 0.0),
            _row("outline", "frame_difference", 82.0, 70.0, 0.9, 0.6, 0.02),
            _row("mine", "constrained", 74.0, 62.5, 0.8, 0.45, 0.03, static_cmap=53.0,
                 plugin_top1=70.0, rms=0.25, bound=0.3, beyond_bound=0.0),
        ],
    }  # fmt: skip


def coded() -> dict[str, Any]:
    """The old study with its learned row, and the filter, once more after a codec; there the
    learned row does better in both."""
    found = old()
    found["config"]["rows"] += [
        {"name": "late", "of": "mine", "codec": "h264", "crf": 30},
        {"name": "outline_h264", "of": "outline", "codec": "h264", "crf": 23},
    ]
    found["rows"] += [
        _row("late", "constrained", 78.5, 60.0, 0.85, 0.4, 0.03, of="mine", codec="h264", crf=30),
        _row("outline_h264", "frame_difference", 86.5, 55.0, 0.95, 0.3, 0.02, of="outline",
             codec="h264", crf=23),
    ]  # fmt: skip
    return found


def new() -> dict[str, Any]:
    """The same study with all that schema 2 has."""
    found = old()
    found["schema"] = 2
    found["config"]["evaluation"]["codec"] = "h264"
    found["floor"]["attributes"] = {
        "skin_color": {"ap": 44.0, "auroc": 55.0}, "face": {"ap": 46.0, "auroc": 56.0},
    }  # fmt: skip
    row = found["rows"][2]
    rungs = [("A1p", 43.0), ("A2", 53.0), ("A3", 55.0), ("A4", 62.5), ("A5", 58.0)]
    row |= {
        "headline": {"rung": "A4", "by": "frame_cnn/1", "excess": 17.5,
                     "excess_interval": [15.0, 20.0]},
        "rungs": [
            {"rung": rung, "cmap": cmap, "cmap_interval": [cmap - 1, cmap + 1],
             "L": (cmap - 40) / 50, "L_interval": [(cmap - 41) / 50, (cmap - 39) / 50],
             "by": "frame_cnn/1", "attributes": {"face": {"ap": cmap, "auroc": 50.0}}}
            for rung, cmap in rungs
        ],
        "f1": 0.4,
        "f1_printed": 0.3,
        "identity": {
            "raw_to_anon": {"rank1": 12.0, "rank1_interval": [9.0, 15.0], "chance": 2.0,
                            "tar": {"0.01": 8.0, "0.001": 1.5}},
            "anon_to_anon": {"rank1": 3.0, "rank1_interval": [1.0, 5.0], "chance": 2.0, "tar": {}},
            "recovered_to_raw": {"rank1": 2.0, "rank1_interval": [1.0, 3.0], "chance": 2.0,
                                 "tar": {}},
        },
        "inversion": {"psnr": 14.2, "ssim": 0.31},
        "budget": [
            {"data": 0.25, "epochs": 2, "by": "frame_cnn", "cmap": 51.0, "L": 0.22},
            {"data": 4, "epochs": 8, "by": "frame_cnn", "cmap": 66.0, "L": 0.52},
        ],
        "targets": {"clip_cnn": {"top1": [74.0], "U": [0.8]}, "r3d_18": {"top1": [70.0],
                                                                      "U": [None]}},
        "plugin": {"clip_cnn": 70.0, "r3d_18": 41.0},
        "groups": {"skin_color": {"present": 77.0, "absent": 70.5},
                   "face": {"present": 74.0, "absent": 74.0}},
    }  # fmt: skip
    row["attackers"]["A5 frame_cnn"] = {
        "cmap": [58.0], "L": [0.36], "seeds": [0], "used_in_training": True,
    }  # fmt: skip
    row["attributes"]["skin_color"] |= {
        "ap_gain": 0.5, "balanced_accuracy": 66.0, "information": 0.12,
        "within_action_auroc": 61.0, "f1": 0.5, "f1_printed": 0.4, "p": 0.001, "p_holm": 0.002,
    }  # fmt: skip
    row["attributes"]["face"] |= {"p": 0.2, "p_holm": 0.2}
    return found


def _row(
    name: str, method: str, top1: float, cmap: float, U: float, L: float, half: float, **more: Any
) -> dict[str, Any]:
    """A row whose second attacker is the strongest at its second seed."""
    reads = {"clip_cnn": [cmap - 8, cmap - 7], "frame_cnn": [cmap - 2, cmap]}
    return {
        "name": name,
        "method": method,
        "top1": top1,
        "top1_interval": [top1 - 3, top1 + 3],
        "top1_seeds": [top1],
        "target_fits": [["clip_cnn", 5]],
        "cmap": cmap,
        "cmap_interval": [cmap - 2, cmap + 2],
        "U": U,
        "U_interval": [U - half, U + half],
        "L": L,
        "L_interval": [L - half, L + half],
        "strongest": "frame_cnn/1",
        "attackers": {
            network: {
                "cmap": values,
                "L": [(value - 40) / 50 for value in values],
                "used_in_training": network == "frame_cnn" and name == "mine",
            }
            for network, values in reads.items()
        },
        "attributes": {
            "skin_color": {"ap": cmap + 10, "ap_interval": [cmap + 8, cmap + 12], "auroc": 70.0,
                           "prevalence": 45.0, "attacker": "frame_cnn/1"},
            "face": {"ap": cmap - 10, "ap_interval": [cmap - 12, cmap - 8], "auroc": 60.0,
                     "prevalence": 35.0, "attacker": "clip_cnn/0"},
        },
        **more,
    }  # fmt: skip


def unfinished() -> dict[str, dict[str, Any]]:
    """Summaries that lack what a card would say; each has a row named "mine"."""
    mine = {"name": "mine", "method": "constrained"}
    no_scale = old()
    for row in no_scale["rows"]:
        row |= {"U": None, "U_interval": [None, None], "L": None, "L_interval": [None, None]}
        for entry in row["attackers"].values():
            entry["L"] = [None, None]
    no_raw = old()
    del no_raw["rows"][0]
    images = old()
    images["floor"] = {"cmap": None, "L": None}
    images["data"]["private"] = {"name": "LEAKY: vispr1", "train": 9, "val": 8, "test": 7}
    junk: dict[str, Any] = {
        key: 5 for key in ("config", "data", "chance", "floor", "versions", "seed", "failed")
    }
    inner = {
        key: ["x"] for key in ("attackers", "attributes", "rungs", "identity", "inversion",
                               "budget", "targets", "plugin", "groups", "headline", "U", "L",
                               "cmap_interval", "strongest", "target_fits", "top1_seeds")
    }  # fmt: skip
    huge = old()
    huge["rows"][2] |= {"L": 1e308, "cmap": 10**400, "L_interval": [float("nan"), 1]}
    return {
        "nothing but a name": {"rows": [mine]},
        "no scale": no_scale,
        "no raw row": no_raw,
        "images": images,
        "junk": {**junk, "rows": [{**mine, **inner}]},
        "huge": huge,
    }


def hostile() -> dict[str, Any]:
    """The new study with a stranger's words wherever a word can stand; its row is ``EVIL``."""
    found = new()
    for key in ("title", "command", "dataset", "created"):
        found[key] = EVIL
    found["versions"] = {EVIL: EVIL}
    found["data"]["fingerprint"] = EVIL
    found["failed"] = [{"row": EVIL, "job": EVIL, "error": EVIL}]
    made = found["config"]["rows"][0]
    made["name"] = EVIL
    made["method"][EVIL] = EVIL
    found["config"]["data"]["name"] = "../../secrets"
    found["config"]["evaluation"][EVIL] = EVIL
    row = found["rows"][2]
    row |= {"name": EVIL, "strongest": EVIL, "method": "../penalty"}
    for key in ("attackers", "attributes", "plugin", "groups", "targets"):
        row[key] = {**row[key], EVIL: copy.deepcopy(next(iter(row[key].values())))}
    row["attributes"][EVIL]["attacker"] = EVIL
    row["identity"]["raw_to_anon"]["tar"][EVIL] = 1.0
    for entry in (*row["rungs"], *row["budget"]):
        entry["by"] = EVIL
    other = copy.deepcopy(found["rows"][1])
    found["rows"].append({**other, "name": EVIL + "2", "U": 1.0, "L": 0.1})
    return found


def all_of_them() -> dict[str, tuple[dict[str, Any], str]]:
    """Every summary here and the row to ask for."""
    return {
        "old": (old(), "mine"),
        "new": (new(), "mine"),
        "after a codec": (coded(), "late"),
        "hostile": (hostile(), EVIL),
        **{name: (found, "mine") for name, found in unfinished().items()},
    }
