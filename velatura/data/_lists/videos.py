"""Your own videos: a folder per class, and one line of JSON per video.

    {"video": "golf/a.avi", "split": "train", "group": "film 7", "attributes": {"face": 1}}

The same file that :mod:`velatura.data.folder` trains on, listed without decoding, so that all
that is missing is said at once.
"""

from __future__ import annotations

from pathlib import Path

from velatura.data._lists import own, text
from velatura.data._lists.listing import Listing, Video
from velatura.data._lists.source import Ask, Source
from velatura.errors import BadInput

__all__ = ["SOURCES", "read"]

EXPECTED = '{"video": "golf/a.avi", "split": "train", "group": "film", "attributes": {"face": 1}}'


def read(annotations: Path) -> Listing:
    """The videos, splits and attributes of a JSONL file; attributes in alphabetical order.

    Raises:
        BadInput: as of :func:`own.rows`; a video that is in no class folder; no splits.
    """
    rows = own.rows(text.json_lines(annotations, EXPECTED), annotations, "video", EXPECTED)
    for row in rows:
        if "/" not in row.path:
            raise BadInput(f"{annotations}: video is class/name, such as golf/a.avi: {row.path!r}.")
        if not row.split:
            raise BadInput(f"{annotations}: {row.path} has no split; give train, val or test.")
    names = tuple(sorted(rows[0].attributes))
    return Listing(
        name="folder",
        action_names=tuple(sorted({row.path.split("/")[0] for row in rows})),
        attribute_names=names,
        videos=tuple(
            Video(
                path=row.path,
                action=row.path.split("/")[0],
                split=row.split,
                group=row.group,
                attributes={name: row.attributes[name] for name in names},
            )
            for row in rows
        ),
    )


def _ask(ask: Ask) -> Listing:
    SOURCES[0].split_of(ask)
    if ask.annotations is None:
        raise BadInput("`folder` needs --annotations FILE, with one line of JSON per video.")
    return read(ask.annotations)


SOURCES = (
    Source(
        name="folder",
        title="your own videos, a folder per class, with a JSONL file",
        licence="yours to know",
        page="docs/data.md",
        layout="ROOT/<class>/<name>.mp4 (or avi, mkv, mov, webm)\n--annotations FILE.jsonl",
        by_hand=("Nothing to get: these are your own files.",),
        read=_ask,
        official=False,
    ),
)
