"""A data set before anything is decoded: its files, their labels and splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from velatura.errors import BadInput
from velatura.metrics import prevalence

__all__ = ["SPLITS", "Image", "Listing", "Video"]

SPLITS = ("train", "val", "test", "unused")


@dataclass(frozen=True, kw_only=True)
class Video:
    """One video file.

    Attributes:
        path: below the root, with forward slashes: ``"golf/a.avi"``.
        action: the class, one of the listing's ``action_names``.
        split: train, val, test or unused.
        group: the source film or the subject; what must not stand on two sides of a split.
        attributes: private ones, 0 or 1; None where nobody labelled this video.
        official: the path as the official lists spell it, where this copy spells it otherwise.
    """

    path: str
    action: str
    split: str
    group: str
    attributes: dict[str, int] | None = None
    official: str = ""

    @property
    def name(self) -> str:
        """What the file is called in every copy of its data set."""
        return self.official or self.path


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image file; fields as of :class:`Video`, without an action."""

    path: str
    split: str
    group: str
    attributes: dict[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A data set's files and labels; either videos or images are empty.

    Attributes:
        name: such as ``"hmdb51"``.
        action_names: a class's label is its index here, from 0.
        attribute_names: the columns of :meth:`labels`, in order.
        videos, images: the files, in the order of the official lists.
        notes: sentences to print beside every result.
        leaky: True where test videos stand in the training list as well.
    """

    name: str
    action_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()
    videos: tuple[Video, ...] = ()
    images: tuple[Image, ...] = ()
    notes: tuple[str, ...] = ()
    leaky: bool = False

    @property
    def items(self) -> tuple[Video | Image, ...]:
        """The files, whichever kind they are."""
        return self.videos or self.images

    def of(self, split: str) -> tuple[Video | Image, ...]:
        """The files of one split."""
        return tuple(item for item in self.items if item.split == split)

    def counts(self) -> dict[str, int]:
        """How many files each split has, in the order of ``SPLITS``; splits without any left out.

        A file that a leaky list has on two sides counts on both.
        """
        found = Counter(item.split for item in self.items)
        return {split: found[split] for split in SPLITS if found[split]}

    def actions(self, split: str) -> np.ndarray:
        """(N,) int64 labels of one split's videos, 0 ... len(action_names) - 1."""
        index = {name: i for i, name in enumerate(self.action_names)}
        return np.array([index[v.action] for v in self.videos if v.split == split], np.int64)

    def labels(self, split: str | None = None) -> np.ndarray:
        """(N, K) uint8: the attributes of the labelled files, of one split or of all."""
        rows = [
            [item.attributes[name] for name in self.attribute_names]
            for item in self.items
            if item.attributes is not None and split in (None, item.split)
        ]
        return np.array(rows, np.uint8).reshape(len(rows), len(self.attribute_names))

    def prevalence(self, split: str | None = None) -> dict[str, float]:
        """How often each attribute is present among the labelled files, in per cent."""
        labels = self.labels(split)
        if not labels.size:
            return {}
        return dict(zip(self.attribute_names, prevalence(labels).tolist(), strict=True))

    def chance_cmap(self, split: str | None = None) -> float | None:
        """The cMAP of a predictor without information: the mean prevalence, in per cent."""
        shares = self.prevalence(split)
        return sum(shares.values()) / len(shares) if shares else None

    def shared_groups(self, one: str, other: str) -> list[str]:
        """The films or subjects that stand in both splits, sorted."""
        return sorted({i.group for i in self.of(one)} & {i.group for i in self.of(other)})

    def with_videos(self, videos: tuple[Video, ...]) -> Listing:
        """The same data set with other videos."""
        return replace(self, videos=videos)

    def with_labels(self, labels: Mapping[str, Mapping[str, int]], source: str) -> Listing:
        """The same files with private attributes; a file without labels gets None.

        Args:
            labels: path to attributes, every one with the same names.
            source: where they came from, for the message.

        Raises:
            BadInput: a label for a file that is not in the lists.
        """
        known = {item.path for item in self.items}
        if strange := sorted(labels.keys() - known):
            raise BadInput(
                f"{source} labels {strange[0]}, which is not in the lists of {self.name}"
                f"{f' (and {len(strange) - 1} more)' if len(strange) > 1 else ''}; "
                "give the lists that belong to these labels, or remove the line."
            )
        names = tuple(next(iter(labels.values()), {}))

        def mine(path: str) -> dict[str, int] | None:
            return dict(labels[path]) if path in labels else None

        return replace(
            self,
            attribute_names=names,
            videos=tuple(replace(v, attributes=mine(v.path)) for v in self.videos),
            images=tuple(replace(i, attributes=mine(i.path)) for i in self.images),
        )
