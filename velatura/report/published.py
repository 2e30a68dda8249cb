"""What the literature printed, on our two axes: to be shown beside a run, never among its rows.

The numbers are those of ``paper.toml``. They are of other videos, other labels and other attackers.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from velatura import metrics
from velatura.report import paper

__all__ = ["points", "published"]


def points() -> list[dict[str, Any]]:
    """The rows of table 1, UCF101 and VISPR1, each normalised by its own raw video and chance.

    Table 1 prints one raw top-1, of an I3D that was pretrained on Kinetics. Its baselines are those
    of an R3D-18 from scratch (SPAct's is that cell of table 5), so table 5's raw is theirs.

    Returns:
        For each row ``label``, ``U``, ``L`` (fractions), ``top1``, ``cmap`` (per cent, as printed),
        ``network`` and ``source`` (texts).
    """
    chance = paper.paper()["chance"]["ucf101_top1"]
    theirs = paper.published(5, "raw", "r3d_18_top1")
    assert theirs is not None  # a test reads the file
    rows = []
    for point in paper.paper_points():
        if point.row == "raw":
            continue
        ours = point.bound is not None
        rows.append(
            {
                "label": point.label.replace("Ours", "Penalty"),  # theirs, here
                "U": point.U if ours else metrics.utility(point.top1, theirs.value, chance),
                "L": point.L,
                "top1": point.top1,
                "cmap": point.cmap,
                "network": "I3D, pretrained on Kinetics" if ours else "R3D-18 from scratch",
                "source": "Table 1" if ours else "Table 1; raw from Table 5",
            }
        )
    return rows


def published(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The points as one Plotly trace and the names beside them.

    Args:
        points: each with ``label``, ``U``, ``L`` and ``source``.

    Returns:
        ``trace`` and ``labels``, which the page adds to the trade-off when asked.
    """
    hover = [
        f"<b>{escape(p['label'])}</b>, published<br>U {p['U']:.2f}<br>L {p['L']:.2f}<br>"
        f"{escape(p['source'])}"
        for p in points
    ]
    return {
        "trace": {
            "type": "scatter",
            "mode": "markers",
            "name": "published",
            "x": [p["L"] for p in points],
            "y": [p["U"] for p in points],
            "marker": {
                "color": "@soft", "size": 9, "symbol": "x-thin-open", "line": {"width": 1.6},
            },
            "hovertext": hover,
            "hovertemplate": "%{hovertext}<extra></extra>",
        },
        "labels": [
            {"text": escape(p["label"]), "x": p["L"], "y": p["U"], "colour": "@soft"}
            for p in points
        ],
    }  # fmt: skip
