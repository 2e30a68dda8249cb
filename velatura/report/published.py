"""What the literature printed, on our two axes: to be shown beside a run, never among its rows.

The numbers stand in ``published.toml``. They are of other videos, other labels and other attackers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

__all__ = ["points", "published"]


def points() -> list[dict[str, Any]]:
    """The printed rows, each normalised by its own raw video and chance.

        U = (top-1 - chance) / (raw top-1 - chance)      L = (cMAP - chance) / (raw cMAP - chance)

    Returns:
        For each row ``label``, ``U``, ``L`` (fractions), ``top1``, ``cmap`` (per cent, as printed),
        ``network`` and ``source`` (texts).
    """
    text = files("velatura.report").joinpath("published.toml").read_text(encoding="utf-8")
    given = tomllib.loads(text)
    rows = []
    for row in given["row"]:
        network = given["network"][row["network"]]
        room = network["raw_top1"] - given["chance_top1"]
        read = given["raw_cmap"] - given["chance_cmap"]
        rows.append(
            {
                "label": row["label"],
                "U": (row["top1"] - given["chance_top1"]) / room,
                "L": (row["cmap"] - given["chance_cmap"]) / read,
                "top1": row["top1"],
                "cmap": row["cmap"],
                "network": network["text"],
                "source": network["source"],
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
