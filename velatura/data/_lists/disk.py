"""What is on disk: which files are there, and which of them can be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from velatura.data._lists.listing import Listing
from velatura.data._parallel import reason_of, spread
from velatura.errors import BadInput
from velatura.video.probe import probe
from velatura.video.read import read_frames

__all__ = ["fault", "faults", "files", "nested", "respelled"]


def files(root: Path, suffixes: Sequence[str]) -> list[str]:
    """Paths below the root with forward slashes, sorted; links are followed, hidden files not.

    A folder with two names, its own and a link's, is looked into under both.

    Raises:
        BadInput: no such folder; or one in it that cannot be looked into: what it holds would be
            called missing.
    """
    if not root.is_dir():
        raise BadInput(f"There is no folder {root}; name the one with the files, with --root.")

    def stop(error: OSError) -> None:
        raise BadInput(
            f"The folder {error.filename} cannot be looked into ({error.strerror}); allow reading "
            "it, or take it away."
        ) from error

    found = []
    above: dict[str, frozenset[str]] = {}  # a folder to what it really is, and all above it
    for folder, below, names in os.walk(root, onerror=stop, followlinks=True):
        mine = above.pop(folder, frozenset((os.path.realpath(folder),)))
        below[:] = [name for name in below if not name.startswith(".")]
        for name in list(below):
            inner = os.path.join(folder, name)
            if (real := os.path.realpath(inner)) in mine:
                below.remove(name)  # a link that leads back up
            else:
                above[inner] = mine | {real}
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
    videos = tuple(
        replace(v, path=renamed[v.path], official=v.path) if v.path in renamed else v
        for v in listing.videos
    )
    return listing.with_videos(videos), len(renamed)


def nested(paths: Iterable[str], there: Iterable[str]) -> str | None:
    """The folder below the root where the listed files really begin, if one file tells."""
    here = list(there)
    for path in list(paths)[:100]:
        for candidate in here:
            if candidate.endswith(f"/{path}"):
                return candidate.removesuffix(f"/{path}")
    return None


def fault(path: Path, quick: bool = False) -> str | None:
    """Why a video or image cannot be used, or None.

    Every frame of it is decoded, as training will: a download that broke off has a good beginning,
    and so has a file with a hole in its middle.

    Args:
        quick: decode the first frame alone, and believe the header for the rest.
    """
    try:
        if path.stat().st_size == 0:
            return "empty file"
        probe(path)
        if not quick:
            for _ in read_frames(path):
                pass
    except Exception as error:  # whatever one file does, the others are looked at
        reason = reason_of(error, path).replace(f"{path} ", "").removeprefix("is ")
        return reason.partition(". ")[0].removesuffix(".")  # the remedy is the same for all
    return None


def faults(
    root: Path, paths: Sequence[str], quick: bool = False, workers: int = 0
) -> Iterator[tuple[str, str | None]]:
    """Every file with its :func:`fault`, as they come from all cores."""
    yield from spread(_fault, [(str(root), path, quick) for path in paths], workers)


def _fault(job: tuple[str, str, bool]) -> tuple[str, str | None]:
    root, path, quick = job
    return path, fault(Path(root) / path, quick)
