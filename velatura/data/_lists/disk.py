"""What is on disk: which files are there, and which of them can be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from velatura.data._lists.listing import Listing
from velatura.errors import BadInput
from velatura.video.probe import probe

__all__ = ["fault", "files", "nested", "respelled"]


def files(root: Path, suffixes: Sequence[str]) -> list[str]:
    """Paths below the root with forward slashes, sorted; links are followed, hidden files not.

    Raises:
        BadInput: no such folder.
    """
    if not root.is_dir():
        raise BadInput(f"There is no folder {root}; name the one with the files, with --root.")
    found, seen = [], set()
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        # A link may lead back up: every folder once.
        below[:] = [] if real in seen else [name for name in below if not name.startswith(".")]
        names = [] if real in seen else names
        seen.add(real)
        found += [
            (Path(folder) / name).relative_to(root).as_posix()
            for name in names
            if name.lower().endswith(tuple(suffixes)) and not name.startswith(".")
        ]
    return sorted(found)


def respelled(
    listing: Listing, there: Iterable[str], spelling: Callable[[str], str] | None
) -> tuple[Listing, int]:
    """The listing with paths as the disk has them, where a copy renames files.

    Args:
        listing: official paths.
        there: the paths on disk.
        spelling: official path to the copy's; None changes nothing.

    Returns:
        The listing, and how many of its videos have another name on disk.
    """
    here = set(there)
    if spelling is None:
        return listing, 0
    renamed = {
        video.path: other
        for video in listing.videos
        if video.path not in here and (other := spelling(video.path)) in here
    }
    videos = tuple(replace(v, path=renamed.get(v.path, v.path)) for v in listing.videos)
    return listing.with_videos(videos), len(renamed)


def nested(paths: Iterable[str], there: Iterable[str]) -> str | None:
    """The folder below the root where the listed files really begin, if one file tells."""
    here = list(there)
    for path in list(paths)[:100]:
        for candidate in here:
            if candidate.endswith(f"/{path}"):
                return candidate.removesuffix(f"/{path}")
    return None


def fault(path: Path) -> str | None:
    """Why a video or image cannot be used, or None.

    Its first frame is decoded, and its frames are counted against what its header promises:
    a download that broke off has a good beginning.
    """
    try:
        if path.stat().st_size == 0:
            return "empty file"
        promised = probe(path).frames
        there = probe(path, count=True).frames
    except (BadInput, OSError) as error:
        reason = str(error).replace(f"{path} ", "")
        return reason.removesuffix(".")
    if there < promised:
        return f"ends after {there} of {promised} frames"
    return None
