"""Lists and disk held against each other, and both against the official counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from velatura.data._lists import attributes, disk, splits
from velatura.data._lists.listing import SPLITS, Image, Listing, Video
from velatura.data._lists.source import Ask, Source

__all__ = ["Finding", "Part", "Report", "check"]

Progress = Callable[[int, int], None]  # files read, of how many


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the answer.

    Attributes:
        status: "ok", "note" for what is to be known, "wrong" for what is to be mended.
        found: a sentence.
        remedy: what to do; empty where nothing is wrong.
        names: the files or groups it is about, all of them.
    """

    status: str
    found: str
    remedy: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """One split.

    Attributes:
        split: train, val, test or unused.
        official: files it should have; None where no count is official.
        listed, here: files in the lists, and those of them that are on disk.
        groups: films or subjects, of those listed.
        prevalence: attribute to per cent, of the labelled files that are on disk.
        chance_cmap: their mean, in per cent; None without labels.
    """

    split: str
    official: int | None
    listed: int
    here: int
    groups: int
    prevalence: dict[str, float]
    chance_cmap: float | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The whole answer; ``ok`` is False where a finding is "wrong"."""

    name: str
    title: str
    root: str
    subset: bool
    leaky: bool
    actions: int
    files: int
    listed: int
    here: int
    parts: tuple[Part, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.status != "wrong" for finding in self.findings)


def check(
    source: Source,
    ask: Ask,
    *,
    labels: Path | None = None,
    val_fraction: float = 0,
    read: bool = True,
    quick: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Say what is right and wrong with a copy of a data set.

    Args:
        source: the data set.
        ask: where the copy is, and which list is meant.
        labels: a JSONL file of private attributes to put in the place of the set's own.
        val_fraction: carve this share of train as val, by group; 0 for none.
        read: read every file to its end; else only names are looked at.
        quick: decode the first frame of every file alone.
        workers: processes that read; one per core when 0.
        progress: called after every file that was read.

    Raises:
        BadInput: the lists themselves cannot be used, or there is no such root.
    """
    there = disk.files(ask.root, source.suffixes)
    listing = source.read(ask)
    findings = [*_counts(source, ask, listing), *_positives(source, listing)]
    if val_fraction:
        listing = splits.with_val(listing, val_fraction)
    if labels is not None:
        listing = attributes.given(listing, labels, source.spelling)
    listing, renamed = disk.respelled(listing, there, source.spelling)
    findings += _presence(source, ask, listing, there, renamed)
    mine = sorted({item.path for item in listing.items} & set(there))
    if read and mine:
        findings.append(_readable(ask.root, mine, quick, workers, progress))
    findings += _coverage(listing)
    findings += _trainable(listing)
    findings += _overlaps(source, listing)
    findings += [Finding(status="note", found=note) for note in listing.notes]
    listed = {item.path for item in listing.items}
    return Report(
        name=source.name,
        title=source.title,
        root=str(ask.root),
        subset=0 < len(mine) < len(listed),
        leaky=listing.leaky,
        actions=len(listing.action_names),
        files=len(there),
        listed=len(listed),
        here=len(mine),
        parts=_parts(source, ask, listing, set(there), bool(val_fraction)),
        findings=tuple(findings),
    )


def _counts(source: Source, ask: Ask, listing: Listing) -> Iterable[Finding]:
    """The lists against the official counts."""
    official = source.counts.get(source.split_of(ask), {})
    listed = listing.counts()
    if not official or listing.leaky:
        return
    if wrong := [part for part in official if listed.get(part, 0) != official[part]]:
        said = ", ".join(f"{listed.get(p, 0)} {p} instead of {official[p]}" for p in wrong)
        yield Finding(
            status="wrong",
            found=f"The lists differ from the official ones: {said}.",
            remedy="get the lists again from the source's page",
        )
    else:
        said = ", ".join(f"{count} {part}" for part, count in official.items())
        yield Finding(status="ok", found=f"The lists have the official counts: {said}.")


def _positives(source: Source, listing: Listing) -> Iterable[Finding]:
    """The labels against the counts of the published ones."""
    wrong = []
    for part, official in source.positives.items():
        labels = listing.labels(None if part == "all" else part)
        found = dict(zip(listing.attribute_names, labels.sum(axis=0).tolist(), strict=True))
        wrong += [
            f"{found.get(name, 0)} of {name} in {part} instead of {count}"
            for name, count in official.items()
            if found.get(name, 0) != count
        ]
    if wrong:
        yield Finding(
            status="wrong",
            found=f"The labels differ from the published ones: {wrong[0]}.",
            remedy="get the labels again from the source's page",
            names=tuple(wrong),
        )
    elif source.positives:
        yield Finding(
            status="ok", found="Every attribute is as frequent as in the published labels."
        )


def _presence(
    source: Source, ask: Ask, listing: Listing, there: list[str], renamed: int
) -> Iterable[Finding]:
    """Lists against disk: what is missing, and what is there beside."""
    listed = sorted({item.path for item in listing.items})
    here = set(there)
    missing = [path for path in listed if path not in here]
    extra = sorted(here - set(listed))
    if not missing:
        one, all_ = "The one file of the lists is", f"All {len(listed)} files of the lists are"
        said = one if len(listed) == 1 else all_
        yield Finding(status="ok", found=f"{said} there.")
    elif len(missing) == len(listed):
        inner = disk.nested(listed, there)
        expected = source.layout.splitlines()[0].replace("ROOT", str(ask.root))
        yield Finding(
            status="wrong",
            found=f"None of the {len(listed)} listed files is there; expected {expected}.",
            remedy=f"use --root {ask.root / inner}"
            if inner
            else "name the right folder with --root",
            names=tuple(missing),
        )
    else:
        yield Finding(
            status="wrong",
            found=f"A subset: {len(there)} files are there, {len(listed) - len(missing)} of them "
            f"among the {len(listed)} listed; missing: {len(missing)}.",
            remedy="unpack the rest, or use it as a subset and say so",
            names=tuple(missing),
        )
    if extra and len(missing) < len(listed):
        yield Finding(
            status="note",
            found=f"In no list, and not used: {_files(len(extra))}.",
            names=tuple(extra),
        )
    if renamed:
        yield Finding(
            status="note",
            found=f"There under the names of a known copy: {_files(renamed)}.",
        )


def _readable(
    root: Path, paths: list[str], quick: bool, workers: int, progress: Progress | None
) -> Finding:
    """Every file read to its end, or opened."""
    wrong = []
    for done, (path, reason) in enumerate(disk.faults(root, paths, quick, workers), 1):
        if reason:
            wrong.append(f"{path}: {reason}")
        if progress is not None:
            progress(done, len(paths))
    if wrong:
        said = "Cannot be opened" if quick else "Not readable to the end"
        return Finding(
            status="wrong",
            found=f"{said}: {len(wrong)} of {_files(len(paths))}.",
            remedy="unpack these again",
            names=tuple(sorted(wrong)),
        )
    said = "Opened, not read to the end" if quick else "Whole and readable"
    return Finding(status="note" if quick else "ok", found=f"{said}: {_files(len(paths))}.")


def _trainable(listing: Listing) -> Iterable[Finding]:
    """What a training and its examination will ask for and the lists do not have."""
    for split, why in (("train", "learnt from"), ("test", "measured on")):
        if not listing.of(split):
            yield Finding(
                status="wrong",
                found=f"No file is in {split}, so nothing can be {why}.",
                remedy=f"give whole groups the split {split}",
            )
    learnt = {video.action for video in listing.videos if video.split == "train"}
    asked = {video.action for video in listing.videos if video.split in ("val", "test")}
    if learnt and len(learnt | asked) < 2:
        yield Finding(
            status="wrong",
            found=f"There is one class only, {min(learnt)}; actions need two.",
            remedy="add videos of another class",
        )
    if learnt and (bare := sorted(asked - learnt)):
        yield Finding(
            status="wrong",
            found=f"Without training videos: {len(bare)} of {len(learnt | asked)} classes.",
            remedy="add some, or leave these classes out",
            names=tuple(bare),
        )
    shares = [found for split in ("train", "test") if (found := listing.prevalence(split))]
    if same := [
        name for name in listing.attribute_names if any(s[name] in (0, 100) for s in shares)
    ]:
        yield Finding(
            status="note",
            found=f"Had by no file of train or test, or by all: {len(same)} of "
            f"{len(listing.attribute_names)} attributes; no attacker can be trained or measured "
            "on these.",
            remedy="train with attributes = [...] without them",
            names=tuple(same),
        )


def _coverage(listing: Listing) -> Iterable[Finding]:
    """Which files have no labels."""
    if not listing.attribute_names:
        return
    for split in SPLITS:
        items = listing.of(split)
        bare = tuple(item.path for item in items if item.attributes is None)
        # Nobody may have labelled a whole split: of PA-HMDB51 only test has labels.
        if bare and len(bare) < len(items):
            yield Finding(
                status="wrong",
                found=f"Without labels: {len(bare)} of {_files(len(items))} in {split}.",
                remedy="add their labels, or leave them out of the lists",
                names=bare,
            )
        elif bare and split != "unused":
            yield Finding(status="note", found=f"No {split} file has labels.")


def _overlaps(source: Source, listing: Listing) -> Iterable[Finding]:
    """Films or subjects on two sides of a split."""
    parts = [split for split in ("train", "val", "test") if listing.of(split)]
    for one, other in combinations(parts, 2):
        shared = listing.shared_groups(one, other)
        if not shared:
            continue
        groups = {item.group for item in (*listing.of(one), *listing.of(other))}
        found = f"In {one} and in {other}: {len(shared)} of {len(groups)} films or subjects"
        if source.official and other == "test":
            # A list that science compares on is not the user's to mend.
            yield Finding(
                status="note", found=f"{found}, in the official lists.", names=tuple(shared)
            )
        else:
            yield Finding(
                status="wrong",
                found=f"{found}.",
                remedy="give all files of a group one split",
                names=tuple(shared),
            )


def _parts(
    source: Source, ask: Ask, listing: Listing, there: set[str], carved: bool
) -> tuple[Part, ...]:
    """Every split, with what of it is on disk."""
    official = {} if listing.leaky or carved else source.counts.get(source.split_of(ask), {})

    def keep(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(item for item in items if item.path in there)

    videos: tuple[Video, ...] = keep(listing.videos)
    images: tuple[Image, ...] = keep(listing.images)
    here = replace(listing, videos=videos, images=images)
    return tuple(
        Part(
            split=split,
            official=official.get(split),
            listed=len(listing.of(split)),
            here=len(here.of(split)),
            groups=len({item.group for item in listing.of(split)}),
            prevalence=here.prevalence(split),
            chance_cmap=here.chance_cmap(split),
        )
        for split in SPLITS
        if listing.of(split) or split in official
    )


def _files(count: int) -> str:
    """A number of files, in words that agree with it."""
    return f"{count} file{'' if count == 1 else 's'}"
