"""A listing of videos made into clips: which of them, decoded once, kept, and split.

A clip is ``frames`` frames, every ``stride``-th, around the middle of its video; a shorter
video runs back and forth. Its short side is scaled to ``stored`` pixels and the middle
``stored`` x ``stored`` square is kept, from which training crops ``size`` x ``size``. The
decoded clips are kept in a cache, so that the videos are decoded once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from velatura.config import config, digest
from velatura.data._lists import catalog
from velatura.data._lists.disk import files, respelled
from velatura.data._lists.listing import Listing, Video
from velatura.data._lists.source import Ask
from velatura.data._lists.splits import val_groups
from velatura.errors import BadInput, unknown
from velatura.layout import ClipSet, Splits
from velatura.video.clips import clip_indices, starts
from velatura.video.probe import probe
from velatura.video.read import read_clip

__all__ = ["ClipConfig", "ListConfig", "folder_of", "load", "load_official"]

SPLITS = ("train", "val", "test")
# More unreadable videos than this is an error, not a note.
TOLERATED = 0.01
# Raise it when the same video would decode to other pixels.
FORMAT = 1

note = logging.getLogger(__name__).warning

Progress = Callable[[str, int, int], None]  # what is done, how many of it, of how many


@config
class ClipConfig:
    """What one clip is, and which videos to use.

    Attributes:
        classes: the classes to use; all when empty.
        attributes: the private attributes to use, in this order; all when empty.
        size: pixels, the side of what training crops; at most ``stored``.
        stored: pixels, the side of the stored square.
        frames, stride: frames of a clip, and video frames from one to the next.
        val_fraction: of train, taken as val where the lists have none: whole groups.
        drop_shared_groups: leave out train and val clips whose group is also in test, and
            train clips whose group is also in val.
        seed: of the choice of val groups.
        cache: folder for decoded clips; $VELATURA_CACHE, or ~/.cache/velatura, when empty.
        workers: processes that decode; one per core when 0.
    """

    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    size: Annotated[int, Field(ge=8, le=1024)] = 64
    stored: Annotated[int, Field(ge=8, le=1024)] = 72
    frames: Annotated[int, Field(ge=1, le=256)] = 16
    stride: Annotated[int, Field(ge=1, le=64)] = 2
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    drop_shared_groups: bool = True
    seed: Annotated[int, Field(ge=0)] = 0
    cache: str = ""
    workers: Annotated[int, Field(ge=0, le=256)] = 0


@config
class ListConfig(ClipConfig):
    """A data set that comes with official lists.

    Attributes:
        root: the folder of class folders.
        annotations: the folder of the lists and labels; beside the root when empty.
        split: the official split.
        missing: what to do about listed videos that are not there: ``"refuse"``, or
            ``"leave out"`` for a copy of a part.
    """

    root: str
    annotations: str = ""
    split: Annotated[int, Field(ge=1, le=3)] = 1
    missing: Literal["refuse", "leave out"] = "refuse"


def load_official(name: str, cfg: ListConfig, progress: Progress | None = None) -> Splits:
    """One of the catalogue's data sets as clips; lists are read as ``velatura data check`` does.

    Raises:
        BadInput: as of the lists; listed videos that are not there; and as of :func:`load`.
    """
    root = folder_of(cfg.root)
    source = catalog.source(name)
    listing = source.read(
        Ask(
            root=root,
            annotations=Path(cfg.annotations) if cfg.annotations else None,
            split=cfg.split,
        )
    )
    listing = listing.with_videos(tuple(_of_classes(listing, cfg)))
    there = files(root, source.suffixes)
    listing, _ = respelled(listing, there, source.spelling)
    absent = {v.path for v in listing.videos} - set(there)
    if absent:
        how = f"`velatura data check {name} --root {root}` names them all"
        if cfg.missing == "refuse" or len(absent) == len(listing.videos):
            raise BadInput(
                f"{len(absent)} of {len(listing.videos)} listed videos are not in {root}, first "
                f"{min(absent)}; {how}, and data.missing = 'leave out' does without."
            )
        note("%d of %d listed videos are not there; %s.", len(absent), len(listing.videos), how)
        listing = listing.with_videos(tuple(v for v in listing.videos if v.path not in absent))
    return load(listing, root, cfg, progress)


def load(listing: Listing, root: Path, cfg: ClipConfig, progress: Progress | None = None) -> Splits:
    """Decode every listed video once, and give the three splits.

    Args:
        listing: videos below ``root``, with attributes.
        progress: called with ("decoding videos", videos done, videos in all).

    Returns:
        Train, val and test; clips are (N, T, 3, stored, stored) uint8 memory maps.

    Raises:
        BadInput: one sentence that names the folder, video, class or attribute.
    """
    if cfg.size > cfg.stored:
        raise BadInput(f"size {cfg.size} cannot be cropped from stored {cfg.stored}; raise stored.")
    rows = _chosen(listing, cfg)
    names = cfg.attributes or listing.attribute_names
    rows = _split(rows, cfg)
    _check(rows, names)
    clips, digests = _decoded(root, rows, cfg, progress)
    if len(digests) < len(rows):
        rows = [row for row in rows if row.path in digests]
        _check(rows, names)

    actions = sorted({row.action for row in rows})
    groups = {group: i for i, group in enumerate(sorted({row.group for row in rows}))}
    parts = []
    for split in SPLITS:
        # Rows are in split order, so that each split is one slice of the memory map.
        at = [i for i, row in enumerate(rows) if row.split == split]
        mine = [rows[i] for i in at]
        marks = [[_marks(row)[name] for name in names] for row in mine]
        labels = [
            [row.path, row.action, row.split, row.group, mark, digests[row.path]]
            for row, mark in zip(mine, marks, strict=True)
        ]
        parts.append(
            ClipSet(
                clips=clips[at[0] : at[-1] + 1],
                actions=np.array([actions.index(row.action) for row in mine], np.int64),
                attributes=np.array(marks, np.uint8),
                groups=np.array([groups[row.group] for row in mine], np.int64),
                action_names=tuple(actions),
                attribute_names=tuple(names),
                name=f"{listing.name}/{split}",
                fingerprint=digest([actions, list(names), labels]),
            )
        )
    return Splits(*parts)


def folder_of(root: str) -> Path:
    """The folder of class folders, or BadInput."""
    path = Path(root)
    if not path.is_dir():
        raise BadInput(
            f"No folder {path}; expected one folder per class with its videos, "
            f"such as {path / 'golf' / 'a.avi'}."
        )
    return path


def _marks(video: Video) -> dict[str, int]:
    assert video.attributes is not None  # _chosen left the others out
    return video.attributes


def _of_classes(listing: Listing, cfg: ClipConfig) -> list[Video]:
    """The videos of the splits that are used and of the classes asked for."""
    rows = [video for video in listing.videos if video.split in SPLITS]
    known = {row.action for row in rows}
    for name in cfg.classes:
        if name not in known:
            raise unknown("class", name, known)
    return [row for row in rows if not cfg.classes or row.action in cfg.classes]


def _chosen(listing: Listing, cfg: ClipConfig) -> list[Video]:
    """The videos of the classes asked for that have the attributes asked for."""
    rows = _of_classes(listing, cfg)
    for name in cfg.attributes:
        if name not in listing.attribute_names:
            raise unknown("attribute", name, listing.attribute_names)
    labelled = [row for row in rows if row.attributes]
    if not labelled:
        raise BadInput(
            f"{listing.name} has no private attributes, so no attacker can be measured on it; "
            "use a set that has them, or give a JSONL of your own to the data set 'folder'."
        )
    if len(labelled) < len(rows):
        note(
            "%d of %d videos have no labels and are left out.", len(rows) - len(labelled), len(rows)
        )
    return labelled


def _split(rows: list[Video], cfg: ClipConfig) -> list[Video]:
    """The rows in the order train, val, test, with groups kept apart and val filled."""
    by_split = {s: [row for row in rows if row.split == s] for s in SPLITS}
    if cfg.drop_shared_groups:
        for mine, others in (("val", ("test",)), ("train", ("val", "test"))):
            taken = {row.group for other in others for row in by_split[other]}
            kept = [row for row in by_split[mine] if row.group not in taken]
            if dropped := len(by_split[mine]) - len(kept):
                note(
                    "%d of %d %s clips left out: their group is also in %s.",
                    *(dropped, len(by_split[mine]), mine),
                    " or ".join(other for other in others if by_split[other]),
                )
            by_split[mine] = kept
    if not by_split["val"]:
        clips = ((row.action, row.group) for row in by_split["train"])
        groups = val_groups(clips, cfg.val_fraction, cfg.seed)
        by_split["val"] = [row for row in by_split["train"] if row.group in groups]
        by_split["train"] = [row for row in by_split["train"] if row.group not in groups]
    return [replace(row, split=split) for split in SPLITS for row in by_split[split]]


def _check(rows: list[Video], attributes: Sequence[str]) -> None:
    """What training and evaluation need of every split."""
    actions = sorted({row.action for row in rows})
    if len(actions) < 2:
        raise BadInput(f"At least two classes are needed; there is only {actions[0]!r}.")
    for split in SPLITS:
        mine = [row for row in rows if row.split == split]
        if not mine:
            remedy = {
                "train": "give some lines split train, with groups of their own",
                "val": "every group is too large to move; mark val lines by hand",
                "test": "give some lines split test",
            }[split]
            raise BadInput(f"There are no {split} clips: {remedy}.")
        if split == "train" and (bare := sorted(set(actions) - {row.action for row in mine})):
            raise BadInput(
                f"Class {bare[0]!r} has no training clips; add some, or leave the class out."
            )
        for name in attributes:
            values = {_marks(row)[name] for row in mine}
            if split != "val" and len(values) < 2:
                missing = "positive" if values == {0} else "negative"
                raise BadInput(
                    f"Attribute {name!r} has no {missing} {split} clip, so nothing can be "
                    "learnt or measured about it; leave it out with attributes = [...]."
                )


def _decoded(
    root: Path, rows: list[Video], cfg: ClipConfig, progress: Progress | None
) -> tuple[np.ndarray, dict[str, str]]:
    """The clips of all readable rows, in order, from the cache or decoded into it.

    Returns:
        (N, T, 3, stored, stored) uint8 memory map, and the N videos' pixel digests.
    """
    stats = [(row.path, (root / row.path).stat()) for row in rows]
    key = digest(
        [FORMAT, cfg.stored, cfg.frames, cfg.stride]
        + [[video, stat.st_size, stat.st_mtime_ns] for video, stat in stats]
    )
    home = cfg.cache or os.environ.get("VELATURA_CACHE") or Path.home() / ".cache" / "velatura"
    folder = Path(home).expanduser() / "folder" / key
    index = _index(folder, cfg)
    if index is None:
        shutil.rmtree(folder, ignore_errors=True)  # what is there is not whole
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{key}.partial.", dir=folder.parent))
        try:
            index = _decode_into(partial, root, rows, cfg, progress)
            if not folder.is_dir():  # another run may have been faster
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    if skipped := index["skipped"]:
        video, reason = next(iter(skipped.items()))
        note("%d of %d videos left out, %s first: %s", len(skipped), len(rows), video, reason)
    shape = (len(index["digests"]), cfg.frames, 3, cfg.stored, cfg.stored)
    return np.memmap(folder / "clips.bin", np.uint8, "r", shape=shape), index["digests"]


def _index(folder: Path, cfg: ClipConfig) -> dict[str, Any] | None:
    """What a cache folder says it holds, or None where it does not hold that."""
    try:
        index: dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        size = (folder / "clips.bin").stat().st_size
    except (OSError, ValueError):
        return None
    clip = cfg.frames * 3 * cfg.stored**2
    return index if size == len(index["digests"]) * clip else None


def _decode_into(
    partial: Path,
    root: Path,
    rows: list[Video],
    cfg: ClipConfig,
    progress: Progress | None,
) -> dict[str, Any]:
    """Write ``clips.bin`` and ``index.json`` of all readable videos; the latter's content."""
    jobs = [(str(root / row.path), cfg.frames, cfg.stride, cfg.stored) for row in rows]
    digests: dict[str, str] = {}
    skipped: dict[str, str] = {}
    with open(partial / "clips.bin", "wb") as out:
        for done, (row, clip) in enumerate(zip(rows, _map(jobs, cfg.workers), strict=True), 1):
            if isinstance(clip, str):
                skipped[row.path] = clip
                if len(skipped) > TOLERATED * len(rows):
                    raise BadInput(
                        f"{len(skipped)} of the first {done} videos cannot be decoded, more "
                        f"than {TOLERATED:.0%} of all {len(rows)}; first: "
                        f"{next(iter(skipped.values()))}"
                    )
            else:
                out.write(clip.tobytes())
                digests[row.path] = hashlib.sha256(clip.tobytes()).hexdigest()[:16]
            if progress is not None:
                progress("decoding videos", done, len(rows))
    index = {"digests": digests, "skipped": skipped}
    (partial / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return index


Job = tuple[str, int, int, int]


def _map(jobs: list[Job], workers: int) -> Iterator[np.ndarray | str]:
    """Decode every job, in order; in this process where starting others costs more."""
    workers = min(workers or os.cpu_count() or 1, len(jobs) // 16)
    if workers < 2:
        yield from map(_decode, jobs)
        return
    # Spawned, not forked: the caller may hold threads and a GPU.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(_decode, jobs, chunksize=4)
        finally:
            pool.shutdown(cancel_futures=True)


def _decode(job: Job) -> np.ndarray | str:
    """One video's clip, (T, 3, stored, stored) uint8; or why there is none."""
    path, frames, stride, side = job
    try:
        info = probe(path, count=True)
        start = starts(info.frames, frames, stride, 1)[0]
        scale = side / min(info.height, info.width)
        height, width = (max(side, round(n * scale)) for n in (info.height, info.width))
        indices = clip_indices(info.frames, frames, stride, start)
        clip = read_clip(path, indices, (height, width))
    except BadInput as error:
        return str(error)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(clip[:, :, top : top + side, left : left + side])
