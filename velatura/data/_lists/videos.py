"""Your own videos, as :mod:`velatura.data.folder` trains on them, listed without decoding."""

from __future__ import annotations

from velatura.data._lists.listing import Listing, Video
from velatura.data._lists.source import Ask, Source
from velatura.errors import BadInput

__all__ = ["SOURCES"]


def _ask(ask: Ask) -> Listing:
    """The annotations of a folder of class-named folders."""
    from velatura.data import folder  # which itself takes its val split from this room

    SOURCES[0].split_of(ask)
    if ask.annotations is None:
        raise BadInput("`folder` needs --annotations FILE, with one line of JSON per video.")
    rows = folder._read_rows(ask.annotations, ask.root)
    return Listing(
        name="folder",
        action_names=tuple(sorted({row.action for row in rows})),
        attribute_names=tuple(sorted(rows[0].attributes)),
        videos=tuple(
            Video(
                path=row.video,
                action=row.action,
                split=row.split,
                group=row.group,
                attributes=row.attributes,
            )
            for row in rows
        ),
    )


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
