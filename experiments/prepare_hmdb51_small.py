"""Write the annotations of a small real data set: six actions of HMDB51, split 1.

The videos are the JHMDB part of HMDB51 in the official layout, with a manifest that names
each one's action, source film, official split and VP-HMDB51 private attributes. The JSONL
goes to ``velatura.data.folder``; the videos stay where they are.

    python experiments/prepare_hmdb51_small.py ../shared/data
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections import Counter
from pathlib import Path

ACTIONS = ("brush_hair", "golf", "pour", "pullup", "shoot_bow", "swing_baseball")
ATTRIBUTES = ("face", "nudity")
SPLITS = {"1": "train", "2": "test"}  # of split 1; 0 is unused


def rows(manifest: Path) -> list[dict]:
    """One annotation per video of the six actions that stands in split 1."""
    with open(manifest, encoding="utf-8", newline="") as file:
        return [
            {
                "video": str(Path(row["video"]).relative_to("videos").as_posix()),
                "split": SPLITS[row["split1"]],
                "group": row["source"],
                "attributes": {name: int(row[name]) for name in ATTRIBUTES},
            }
            for row in csv.DictReader(file)
            if row["action"] in ACTIONS and row["split1"] in SPLITS
        ]


def summary(found: list[dict]) -> str:
    """Counts and prevalence, as a table in text."""
    lines = [f"{'':16}{'clips':>7}{'films':>7}" + "".join(f"{name:>8}" for name in ATTRIBUTES)]
    for split in (*SPLITS.values(), "all"):
        mine = [row for row in found if split in (row["split"], "all")]
        rates = [sum(row["attributes"][n] for row in mine) / len(mine) for n in ATTRIBUTES]
        films = len({row["group"] for row in mine})
        lines.append(f"{split:16}{len(mine):7}{films:7}" + "".join(f"{r:8.2f}" for r in rates))
    films_of = {s: {row["group"] for row in found if row["split"] == s} for s in SPLITS.values()}
    shared = films_of["train"] & films_of["test"]
    clips = sum(row["group"] in shared and row["split"] == "train" for row in found)
    lines.append(f"films in both splits: {len(shared)}, with {clips} train clips")
    actions = Counter((row["video"].split("/")[0], row["split"]) for row in found)
    lines += [
        f"  {action:14}{actions[action, 'train']:7}{actions[action, 'test']:7}  train, test"
        for action in ACTIONS
    ]
    return "\n".join(lines)


def main() -> int:
    """Write the JSONL and print what is in it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        default=Path(os.environ.get("VELATURA_DATA", "../shared/data")),
        help="folder that holds hmdb51_jhmdb/manifest.csv and hmdb51_jhmdb/videos "
        "(default: $VELATURA_DATA, or ../shared/data)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/hmdb51-small/annotations.jsonl"),
        help="where to write the annotations (default: %(default)s)",
    )
    args = parser.parse_args()
    home = args.data / "hmdb51_jhmdb"
    if not (home / "manifest.csv").is_file():
        parser.error(f"no manifest at {home / 'manifest.csv'}; give the data folder")
    found = rows(home / "manifest.csv")
    if not found:
        parser.error(f"{home / 'manifest.csv'} names no clip of {', '.join(ACTIONS)}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    print(summary(found))
    print(f"\nwrote {len(found)} lines to {args.out}; in a run file:\n")
    print(f'[data]\nname = "folder"\nroot = "{home / "videos"}"\nannotations = "{args.out}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
