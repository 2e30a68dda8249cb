"""What is known of a data set before any of it is on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from velatura.data._lists.listing import Listing
from velatura.errors import BadInput

__all__ = ["IMAGES", "VIDEOS", "Ask", "Counts", "Positives", "Remote", "Source"]

VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")

Counts = Mapping[int, Mapping[str, int]]
Positives = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Where the user's copy is, and which list of it is wanted.

    Attributes:
        root: the folder of the videos or images.
        annotations: the folder (or file) of the lists and labels; None is beside the root.
        split: the official split; None is the data set's own default.
        leaky: keep test videos in the training list where the literature does.
    """

    root: Path
    annotations: Path | None = None
    split: int | None = None
    leaky: bool = False

    @property
    def beside(self) -> Path:
        """The folder of the lists."""
        return self.annotations or self.root.absolute().parent


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file that may be downloaded, and can be checked.

    Attributes:
        name: the file's name on disk.
        url: http or https.
        sha256: of the whole file, in hex.
    """

    name: str
    url: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set as ``velatura data`` knows it.

    Attributes:
        name: what the command line calls it.
        title: one line: what it is.
        licence: in a few words, as its page or licence file says.
        page: the address of its page.
        layout: how it lies on disk, one line per folder.
        by_hand: what to do to get it, one step a line.
        read: its lists.
        suffixes: of the files that count.
        splits: the official ones; empty where there is one list.
        counts: files of each part, by official split (0 where there is one list).
        positives: files with each attribute, by split name ("all" for the whole data set).
        files: what can be downloaded and checked.
        official: False for the user's own data, whose lists he can mend.
        spelling: how a distributed copy renames files; None where none does.
    """

    name: str
    title: str
    licence: str
    page: str
    layout: str
    by_hand: tuple[str, ...]
    read: Callable[[Ask], Listing]
    suffixes: tuple[str, ...] = VIDEOS
    splits: tuple[int, ...] = ()
    counts: Counts = field(default_factory=dict)
    positives: Positives = field(default_factory=dict)
    files: tuple[Remote, ...] = ()
    official: bool = True
    spelling: Callable[[str], str] | None = None

    def split_of(self, ask: Ask) -> int:
        """The official split asked for; 0 where no split was named and all of it is meant.

        Raises:
            BadInput: a split that the data set does not have.
        """
        if ask.split is None:
            return next(iter(self.counts), 0)
        if ask.split not in self.splits:
            have = f"splits {', '.join(map(str, self.splits))}" if self.splits else "one list only"
            raise BadInput(f"{self.name} has {have}, so there is no split {ask.split}.")
        return ask.split
