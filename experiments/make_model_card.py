"""Write the tables of docs/model-card.md from the measurement records.

python experiments/make_model_card.py

"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

from velatura.report.tables import figure

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "experiments" / "records"
CARD = ROOT / "docs" / "model-card.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

# The name to `velatura anonymize` -> the row that measured it.
ROWS = {
    "silhouette": "frame_difference",
    "light": "constrained",
    "blur": "blur",
    "pixelate": "downsample",
    "black": "constant",
}


def rows(record: str) -> dict[str, dict[str, Any]]:
    """The rows of one record by name."""
    summary = json.loads((RECORDS / record / "summary.json").read_text())
    return {row["name"]: row for row in summary["rows"]}


def spread(values: list[float]) -> str:
    """Mean, and from the smallest to the largest."""
    return f"{mean(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def tables() -> str:
    """The measured part of the card, Markdown."""
    seeds = [rows(f"demo-seed-{seed}") for seed in range(5)]
    large, real = rows("light"), rows("hmdb51-small")
    lines = [
        "| name | row of the studies | U | L | U at 80 px | L at 80 px |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in ROWS.items():
        lines.append(
            f"| `{name}` | {row} | {spread([s[row]['U'] for s in seeds])} "
            f"| {spread([s[row]['L'] for s in seeds])} "
            f"| {figure(large[row], 'U', 2)} | {figure(large[row], 'L', 2)} |"
        )
    difference = real["frame_difference"]
    return "\n".join(
        [
            *lines,
            "",
            "Real video, `hmdb51-small`: frame_difference at 80 px U "
            f"{figure(difference, 'U', 2)}, L {figure(difference, 'L', 2)}; "
            "constrained, trained on those films, "
            f"U {figure(real['constrained'], 'U', 2)}, L {figure(real['constrained'], 'L', 2)}.",
        ]
    )


def card() -> str:
    """The whole page with today's tables."""
    before, rest = CARD.read_text().split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    CARD.write_text(card())
