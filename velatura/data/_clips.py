"""A listing of videos or images made into splits: which of them, decoded once, and dealt out.

An image is a video of one frame, of no action. Files are decoded once into a store, here in the
cache or before by ``velatura data prepare``; pictures are scaled to cover ``height`` x ``width``
and their middle is kept. Which frames make a clip, and what is done to it, is said in
``[batches]``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from velatura.config import cache_folder, config, digest
from velatura.data import _regions as regions
from velatura.data._lists import attributes, catalog
from velatura.data._lists.disk import files, respelled
from velatura.data._lists.listing import Listing, Video
from velatura.data._lists.source import Ask
from velatura.data._lists.splits import val_groups
from velatura.data._regions import Regions
from velatura.data._store import prepare as preparing
from velatura.data._store.frames import StoredFrames
from velatura.data._store.prepare import prepare
from velatura.data._store.store import Store
from velatura.errors import BadInput, unknown
from velatura.layout import ClipSet, Splits, marked_leaky

__all__ = [
    "ClipConfig",
    "ImageConfig",
    "ListConfig",
    "folder_of",
    "load",
    "load_official",
    "prepared",
]

SPLITS = ("train", "val", "test")
note = logging.getLogger(__name__).warning

Progress = Callable[[str, int, int], None]  # what is done, how many of it, of how many


@config
class ItemConfig:
    """Which files to use, and what is kept of each.

    Attributes:
        attributes: the private attributes to use, in this order; all when empty.
        height, width: pixels of the pictures that crops are taken from.
        prepared: a folder made by ``velatura data prepare``; the cache when empty.
        val_fraction: of train, taken as val where the lists have none: whole groups.
        drop_shared_groups: leave out train and val items whose group is also in test, and
            train items whose group is also in val.
        seed: of the choice of val groups.
        cache: folder for decoded files; $VELATURA_CACHE, or ~/.cache/velatura, when empty.
        workers: processes that decode; one per core when 0.
    """

    attributes: tuple[str, ...] = ()
    height: Annotated[int, Field(ge=8, le=4096)] = 72
    width: Annotated[int, Field(ge=8, le=4096)] = 96
    prepared: str = ""
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    drop_shared_groups: bool = True
    seed: Annotated[int, Field(ge=0)] = 0
    cache: str = ""
    workers: Annotated[int, Field(ge=0, le=256)] = 0


@config
class ClipConfig(ItemConfig):
    """Which videos to use.

    Attributes:
        classes: the classes to use; all when empty.
        labels: a JSONL file of private attributes of your own, a line per video, in the place of
            the data set's; see :mod:`velatura.data._lists.attributes`.
        people: where people are, for methods that hide them: a folder of masks or boxes, or
            ``"detector"``; see :mod:`velatura.data._regions`.
    """

    classes: tuple[str, ...] = ()
    labels: str = ""
    people: str = ""

    LATER: ClassVar[Mapping[str, Any]] = {"labels": "", "people": ""}


@config
class ImageConfig(ItemConfig):
    """Images with private attributes, for ``[private]``.

    Attributes:
        root: the folder of the images.
        annotations: the folder (or file) of the lists and labels; beside the root when empty.
        missing: what to do about listed images that are not there: ``"refuse"``, or
            ``"leave out"`` for a copy of a part.
    """

    root: str
    annotations: str = ""
    missing: Literal["refuse", "leave out"] = "refuse"


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


def load_official(
    name: str,
    cfg: ListConfig | ImageConfig,
    progress: Progress | None = None,
    change: Callable[[Listing], Listing] = lambda listing: listing,
) -> Splits:
    """One of the catalogue's data sets; lists are read as ``velatura data check`` does.

    Args:
        change: what the caller makes of the lists.

    Raises:
        BadInput: as of the lists; listed files that are not there; and as of :func:`load`.
    """
    root = folder_of(cfg.root)
    source = catalog.source(name)
    listing = source.read(
        Ask(
            root=root,
            annotations=Path(cfg.annotations) if cfg.annotations else None,
            split=getattr(cfg, "split", 0) or None,
            leaky=getattr(cfg, "leaky", False),
        )
    )
    listing = labelled(change(listing), cfg, source.spelling)
    there = files(root, source.suffixes)
    listing, _ = respelled(listing, there, source.spelling)
    rows = _wanted(listing, cfg)
    absent = {row.path for row in rows} - set(there)
    if absent:
        more = f" --annotations {cfg.annotations}" if cfg.annotations else ""
        labels = getattr(cfg, "labels", "")
        more += f" --labels {labels}" if labels else ""
        how = f"`velatura data check {name} --root {root}{more}` names them all"
        if cfg.missing == "refuse" or len(absent) == len(rows):
            raise BadInput(
                f"{len(absent)} of {len(rows)} listed files are not in {root}, first "
                f"{min(absent)}; {how}, and missing = 'leave out' does without."
            )
        note("%d of %d listed files are not there; %s.", len(absent), len(rows), how)
        listing = replace(
            listing,
            videos=tuple(v for v in listing.videos if v.path not in absent),
            images=tuple(i for i in listing.images if i.path not in absent),
        )
    return load(listing, root, cfg, progress)


def labelled(
    listing: Listing, cfg: ItemConfig, spelling: Callable[[str], str] | None = None
) -> Listing:
    """The listing with the private attributes of ``labels``, where that names a file."""
    given = getattr(cfg, "labels", "")
    return attributes.given(listing, Path(given), spelling) if given else listing


def load(listing: Listing, root: Path, cfg: ItemConfig, progress: Progress | None = None) -> Splits:
    """Decode every listed file once, and give the three splits.

    Args:
        listing: files below ``root``.
        progress: called with ("decoding videos", files done, files in all).

    Returns:
        Train, val and test; frames are (F, 3, height, width), read from disk when asked for.

    Raises:
        BadInput: one sentence that names the folder, file, class or attribute.
    """
    rows = _chosen(listing, cfg)
    names = cfg.attributes or listing.attribute_names
    rows = _split(rows, cfg, listing.leaky)
    _check(rows, names, bool(listing.videos))
    store = prepared(root, rows, cfg, progress)
    rows = readable(rows, store)
    _check(rows, names, bool(listing.videos))

    people = _people(root, rows, cfg, progress)
    actions = sorted({row.action for row in rows})
    groups = {group: i for i, group in enumerate(sorted({row.group for row in rows}))}
    parts = []
    for split in SPLITS:
        mine = [row for row in rows if row.split == split]
        marks = [[_marks(row)[name] for name in names] for row in mine]
        labels = [
            [row.path, row.action, row.split, row.group, mark, store.videos[row.path].digest]
            for row, mark in zip(mine, marks, strict=True)
        ]
        paths = [row.path for row in mine]
        frames = StoredFrames(store, paths, cfg.height, cfg.width)
        parts.append(
            ClipSet(
                frames=frames,
                lengths=frames.lengths,
                actions=np.array([actions.index(row.action) for row in mine], np.int64),
                attributes=np.array(marks, np.uint8).reshape(len(mine), len(names)),
                groups=np.array([groups[row.group] for row in mine], np.int64),
                action_names=tuple(actions),
                attribute_names=tuple(names),
                name=f"{listing.name}/{split}",
                fingerprint=digest([actions, list(names), labels, [cfg.height, cfg.width]]),
                files=frozenset(row.name for row in mine),
                paths={row.name: root / row.path for row in mine},
                films={row.name: row.group for row in mine},
                people=Regions(store, root, people, paths, cfg.height, cfg.width)
                if people
                else None,
            )
        )
    if listing.leaky:
        for said in listing.notes:
            note("%s", said)
        parts = [marked_leaky(part) for part in parts]
    return Splits(*parts)


def _people(
    root: Path, rows: list[Video], cfg: ItemConfig, progress: Progress | None
) -> dict[str, Path]:
    """The file that says where people are in each video; none where nobody asked."""
    where = getattr(cfg, "people", "")
    paths = [row.path for row in rows]
    if not where:
        return {}
    if where == regions.DETECTOR:
        return regions.detect(root, paths, cfg.cache, cfg.workers, progress)
    return regions.files_of(Path(where), paths)


def readable(rows: list[Video], store: Store) -> list[Video]:
    """The rows that could be decoded; the others are told.

    Raises:
        BadInput: more of them could not than is tolerated.
    """
    paths = sorted({row.path for row in rows})
    skipped = [path for path in paths if path not in store]
    if not skipped:
        return rows
    few = "; ".join(f"{path}: {store.skipped[path]}" for path in skipped[: preparing.FEW])
    more = f" And {len(skipped) - preparing.FEW} more." if len(skipped) > preparing.FEW else ""
    told = f"{len(skipped)} of {len(paths)} files cannot be read"
    if len(skipped) > preparing.TOLERATED * len(paths):
        raise BadInput(
            f"{told}, more than {preparing.TOLERATED:.0%}: {few}{more} Get intact copies, or take "
            "them out of the lists."
        )
    note("%s and are left out: %s%s", told, few, more)
    return [row for row in rows if row.path in store]


def folder_of(root: str) -> Path:
    """The folder of the files, or BadInput."""
    path = Path(root)
    if not path.is_dir():
        raise BadInput(
            f"No folder {path}; expected one folder per class with its videos, "
            f"such as {path / 'golf' / 'a.avi'}, or the images."
        )
    return path


def _marks(video: Video) -> dict[str, int]:
    return video.attributes or {}


def _wanted(listing: Listing, cfg: ItemConfig) -> list[Video]:
    """The files of the splits that are used and of the classes asked for."""
    images = (
        Video(path=i.path, action="", split=i.split, group=i.group, attributes=i.attributes)
        for i in listing.images
    )
    rows = [row for row in (*listing.videos, *images) if row.split in SPLITS]
    known = {row.action for row in rows}
    classes = getattr(cfg, "classes", ())
    for name in classes:
        if name not in known:
            raise unknown("class", name, known)
    return [row for row in rows if not classes or row.action in classes]


def _chosen(listing: Listing, cfg: ItemConfig) -> list[Video]:
    """The files of the classes asked for that have the attributes asked for.

    A data set that has no attributes at all keeps all of its files.
    """
    rows = _wanted(listing, cfg)
    for name in cfg.attributes:
        if name not in listing.attribute_names:
            raise unknown("attribute", name, listing.attribute_names)
    if not listing.attribute_names:
        return rows
    labelled = [row for row in rows if row.attributes]
    if len(labelled) < len(rows):
        note(
            "%d of %d files have no labels and are left out.", len(rows) - len(labelled), len(rows)
        )
    return labelled


def _split(rows: list[Video], cfg: ItemConfig, leaky: bool = False) -> list[Video]:
    """The rows in the order train, val, test, with groups kept apart and val filled.

    Args:
        leaky: test videos stand in train because they were asked for, and so they stay.
    """
    by_split = {s: [row for row in rows if row.split == s] for s in SPLITS}
    if cfg.drop_shared_groups:
        for mine, apart in (("val", ("test",)), ("train", ("val", "test"))):
            others = [other for other in apart if not (leaky and other == "test")]
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


def _check(rows: list[Video], attributes: Sequence[str], classes: bool) -> None:
    """What training and evaluation need of every split."""
    actions = sorted({row.action for row in rows})
    if classes and len(actions) < 2:
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


def prepared(root: Path, rows: list[Video], cfg: ItemConfig, progress: Progress | None) -> Store:
    """All readable videos of the rows, decoded now or before.

    Raises:
        BadInput: as :func:`velatura.data._store.prepare.prepare`; or a folder that was named
            lacks videos.
    """
    videos = {row.path: root / row.path for row in rows}
    if cfg.prepared:
        store = Store.open(cfg.prepared)
        absent = [name for name in videos if name not in store and name not in store.skipped]
        if absent:
            raise BadInput(
                f"{cfg.prepared} lacks {len(absent)} of {len(videos)} files, first {absent[0]}; "
                "prepare them with `velatura data prepare`, or leave data.prepared empty."
            )
        if stale := [name for name, path in videos.items() if not store.is_of(name, path)]:
            raise BadInput(
                f"{cfg.prepared} holds {stale[0]} as it was before its file changed; run "
                "`velatura data prepare` again."
            )
        wanted = min(cfg.height, cfg.width)
        if any(min(store.videos[n].height, store.videos[n].width) == store.short_side < wanted
               for n in videos if n in store):  # fmt: skip
            raise BadInput(
                f"{cfg.prepared} holds pictures of a short side of {store.short_side} pixels, and "
                f"{cfg.height} x {cfg.width} are asked for; prepare larger ones, or lower height "
                "and width."
            )
        return store
    # One folder for each copy of a data set: another choice of classes adds to it.
    short = min(cfg.height, cfg.width)
    folder = cache_folder(cfg.cache) / "videos" / digest([str(root.resolve()), short])
    if whole := _whole(folder, videos):
        return whole  # without the lock that preparing takes: workers come together
    made = prepare(
        videos, folder, short_side=short, workers=cfg.workers, progress=progress, wait=True
    )
    return made.store


def _whole(folder: Path, videos: Mapping[str, Path]) -> Store | None:
    """The store in a folder, if it holds all of these files as they are now."""
    try:
        store = Store.open(folder)
    except BadInput:
        return None
    return store if all(store.is_of(name, path) for name, path in videos.items()) else None
