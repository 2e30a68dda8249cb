"""What a training saw: its files, known by their names, by their contents, and by their films."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from velatura.layout import ClipSet

__all__ = ["SEEN", "Seen", "contents", "lines_of", "read_seen"]

SEEN = "seen.txt"
"""In a run folder: the files that training or its selection saw, a line for each: as its data set
names it and, after a tab each, a digest of its contents and its film. Older ones have but names."""

MIB = 2**20


def contents(path: Path) -> str:
    """A digest of a file's size, its first and its last MiB; "" where there is no such file.

    Cheap: two videos that agree in all of these and differ between are taken for one.
    """
    if not path.is_file():
        return ""
    size = path.stat().st_size
    found = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        found.update(file.read(MIB))
        if size > MIB:
            file.seek(max(size - MIB, MIB))
            found.update(file.read(MIB))
    return found.hexdigest()


def lines_of(parts: Iterable[ClipSet]) -> set[str]:
    """The lines of ``seen.txt`` for the files of some splits."""
    found = set()
    for part in parts:
        for name in part.files:
            known = contents(part.paths[name]) if name in part.paths else ""
            found.add("\t".join((name, known, part.films.get(name, ""))).rstrip("\t"))
    return found


@dataclass(frozen=True)
class Seen:
    """What a run's ``seen.txt`` says that it was trained on, or chose its epoch by.

    Attributes:
        names, contents, films: of files; the last two are empty in an older one.
    """

    names: frozenset[str]
    contents: frozenset[str]
    films: frozenset[str]


def read_seen(path: Path) -> Seen:
    """Read a ``seen.txt``."""
    columns: tuple[set[str], set[str], set[str]] = (set(), set(), set())
    for line in path.read_text().splitlines():
        for column, word in zip(columns, line.split("\t"), strict=False):
            column.add(word)
    return Seen(*(frozenset(column - {""}) for column in columns))
