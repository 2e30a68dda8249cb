"""The pictures of a run: a PNG strip per row and example, each stored once, in the style sheet."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from velatura.report.findings import label
from velatura.report.markup import Section, truth
from velatura.report.run import Run
from velatura.report.tables import value_text

__all__ = ["ROOM", "Pictures", "png", "wall"]

MAX_EXAMPLES = 6
MAX_FRAMES = 24
ROOM = 3_500_000
"""Bytes that the pictures take at most."""
SMALLER = [(1, 6, 24), (1, 4, 16), (1, 3, 12), (2, 3, 12), (2, 2, 8), (3, 2, 8), (4, 1, 8)]
"""Every n-th pixel, most examples, most frames; the first that fits is taken."""


_ORDINAL = {2: "second", 3: "third", 4: "fourth"}


class Pictures:
    """The sheet of a run as PNG strips.

    Attributes:
        names: the rows that have pictures, in the order of the table.
        labels: what each example shows.
        note: one sentence where pictures had to be made smaller, else "".
    """

    def __init__(self, run: Run, room: int = ROOM) -> None:
        order = [r["name"] for r in run.summary["rows"] if r["name"] in run.sheet]
        self.names = order + [name for name in run.sheet if name not in order]
        for step, examples, frames in SMALLER:
            self.sheet = {n: run.sheet[n][:examples, :frames, ::step, ::step] for n in self.names}
            self._uris = self._encoded(room)
            if self._uris is not None:
                break
        self.note = ""
        if self._uris is None:
            self.note = "The pictures would take more room than this page has: they are left out."
            self.names, self.sheet, self._uris = [], {}, {}
        elif step > 1:
            self.note = (
                f"To keep this page small its pictures hold every {_ORDINAL[step]} pixel only: "
                "they look coarser than what the networks saw."
            )
        most = max((len(a) for a in self.sheet.values()), default=0)
        self.labels = [
            label(run.labels[i]) if i < len(run.labels) else f"example {i + 1}" for i in range(most)
        ]

    def has(self, name: str) -> bool:
        return name in self.sheet

    def clip(self, name: str) -> str:
        """A moving picture of the chosen example."""
        return self._element(name, "clip", "moving picture")

    def strip(self, name: str) -> str:
        """All frames of the chosen example beside each other."""
        return self._element(name, "strip", "frames in a row")

    def styles(self) -> str:
        """The rules that hold the pictures."""
        assert self._uris is not None
        return "".join(
            f".s{i}-{e}{{--strip:url(data:image/png;base64,{uri})}}\n"
            for (i, e), uri in self._uris.items()
        )

    def _element(self, name: str, kind: str, what: str) -> str:
        i = self.names.index(name)
        _, t, h, w, _ = self.sheet[name].shape
        return (
            f'<span class="{kind} s{i}-0" data-row="{i}" role="img" '
            f'aria-label="{escape(label(name))}, {what}" style="--t:{t};--w:{w};--h:{h}"></span>'
        )

    def _encoded(self, room: int) -> dict[tuple[int, int], str] | None:
        """Each strip as base64, or None as soon as they take more than ``room``."""
        uris, taken = {}, 0
        for i, name in enumerate(self.names):
            for e, clip in enumerate(self.sheet[name]):
                strip = np.concatenate(list(clip), axis=1)
                uris[i, e] = base64.b64encode(png(strip)).decode()
                taken += len(uris[i, e])
                if taken > room:
                    return None
        return uris


def wall(rows: Sequence[dict[str, Any]], pictures: Pictures) -> Section | str:
    """The section: every row moving side by side, and frame by frame."""
    if not pictures.names:
        return pictures.note
    by_name = {r["name"]: r for r in rows}
    cards, strips = [], []
    for name in pictures.names:
        row = by_name.get(name, {"name": name})
        u, l = (value_text(row, key, 2)[0] for key in ("U", "L"))  # noqa: E741
        numbers = f'<span class="num">U {u}</span> &nbsp;<span class="num">L {l}</span>'
        cards.append(
            f"<figure>{pictures.clip(name)}<figcaption><b>{escape(label(name))}</b>{numbers}"
            "</figcaption></figure>"
        )
        strips.append(f'<span class="small">{escape(label(name))}</span>{pictures.strip(name)}')
    buttons = "".join(
        f'<button type="button" aria-pressed="{truth(i == 0)}" data-index="{i}">'
        f"{escape(text)}</button>"
        for i, text in enumerate(pictures.labels)
    )
    choice = f'<div class="bar" id="examples" role="group" aria-label="Example">{buttons}'
    note = f'<p class="small soft">{pictures.note}</p>' if pictures.note else ""
    body = (
        "<p>The same test clip as each method releases it. A face that looks hidden to you may "
        "still be read by a network, and the other way round: believe the numbers.</p>"
        f'{choice}<button type="button" id="play">Pause</button></div>{note}'
        f'<div class="wall">{"".join(cards)}</div>'
        '<details><summary>Frame by frame</summary><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Frame by frame"><div class="frames">{"".join(strips)}</div></div></details>'
    )
    return Section("seen", "What is left to see", body)


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """(H, W, 3) bytes as a PNG file: each row predicted from the one above it, then deflated."""
    height, width, _ = image.shape
    rows = image.reshape(height, -1)
    above = np.concatenate([np.zeros((1, rows.shape[1]), np.uint8), rows[:-1]])
    lines = np.concatenate([np.full((height, 1), 2, np.uint8), rows - above], axis=1)

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
