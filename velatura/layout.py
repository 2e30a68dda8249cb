"""The shapes that every room agrees on.

Clips are (B, T, C, H, W) and frames (N, C, H, W): RGB, float in [0, 1], everywhere. A
network that wants (B, C, T, H, W) or a mean and standard deviation does that inside its
own ``forward``. On disk and in a release, intensities are bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8

__all__ = [
    "LEAKY",
    "ClipSet",
    "Frames",
    "Labels",
    "Measurement",
    "Picked",
    "Splits",
    "marked_leaky",
]

# Before the name of a data set whose test videos were trained on. Tables, records and reports all
# show the name.
LEAKY = "LEAKY: "

Labels = Literal["actions", "attributes"]  # what a network learns: utility, or leakage


@runtime_checkable
class Frames(Protocol):
    """Pixels that are read by frame number; a NumPy array or memory map is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(F, C, H, W)"""
        ...

    def __getitem__(self, numbers: Any) -> Any:
        """A slice of frames, or the frames of an array of numbers: (f, C, H, W) uint8."""
        ...


class Picked:
    """Some frames of others, by number."""

    def __init__(self, frames: Frames, numbers: Int64[np.ndarray, " f"]) -> None:
        self.frames, self.numbers = frames, numbers
        self.shape = (len(numbers), *frames.shape[1:])

    def __getitem__(self, numbers: Any) -> Any:
        return self.frames[self.numbers[numbers]]


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """One split of a data set: the frames of its videos, one video behind the other, and labels.

    Attributes:
        frames: (F, C, H, W) uint8, RGB.
        lengths: (N,) int64, frames of each video; together F.
        actions: (N,) int64, 0 ... len(action_names) - 1.
        attributes: (N, K) uint8, 1 where the private attribute is present.
        groups: (N,) int64, the unit of the bootstrap: a person, or a source film.
        action_names, attribute_names: what the labels stand for.
        name: such as ``"people/test"``.
        fingerprint: changes when the pixels or labels do.
        files: the video or image files that it is of, as the lists of their data set spell them,
            so that data sets of the same files agree; empty where there are none.
        paths: where these files lie, by that name; a file that is not said has no known contents.
        films: the source film or subject of these files, by that name, as the lists name it.
        people: (F, H, W) uint8, 1 where any person is, read as ``frames`` are; None where nobody
            says. It is of the raw pixels, and stays with the items whatever shows them.
    """

    frames: Frames
    lengths: Int64[np.ndarray, " n"]
    actions: Int64[np.ndarray, " n"]
    attributes: UInt8[np.ndarray, "n k"]
    groups: Int64[np.ndarray, " n"]
    action_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    name: str
    fingerprint: str
    files: frozenset[str] = frozenset()
    paths: Mapping[str, Path] = field(default_factory=dict)
    films: Mapping[str, str] = field(default_factory=dict)
    people: Frames | None = None

    @classmethod
    def of_clips(cls, clips: UInt8[np.ndarray, "n t c h w"], **labels: Any) -> ClipSet:
        """A set whose videos are all equally long."""
        n, t = clips.shape[:2]
        frames = clips.reshape(n * t, *clips.shape[2:])
        return cls(frames=frames, lengths=np.full(n, t, np.int64), **labels)

    def __len__(self) -> int:
        return len(self.actions)

    @cached_property
    def first(self) -> Int64[np.ndarray, " n"]:
        """The number of each video's first frame."""
        return np.cumsum(self.lengths) - self.lengths

    def video(self, item: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Frames of one video, (T, C, H, W) uint8: all, or from ``start`` to before ``stop``."""
        end = int(self.lengths[item]) if stop is None else stop
        first = int(self.first[item])
        found: np.ndarray = self.frames[first + start : first + end]
        return found

    def label_names(self, labels: Labels) -> tuple[str, ...]:
        """What the outputs of a network that learns these labels stand for."""
        return self.action_names if labels == "actions" else self.attribute_names

    def part(self, items: Int64[np.ndarray, " m"]) -> ClipSet:
        """Some of the items, with their frames; in the order given."""
        spans = [np.arange(self.first[i], self.first[i] + self.lengths[i]) for i in items]
        numbers = np.concatenate(spans)
        people = None if self.people is None else Picked(self.people, numbers)
        labels = {
            key: getattr(self, key)[items] for key in ("lengths", "actions", "attributes", "groups")
        }
        return replace(self, frames=Picked(self.frames, numbers), people=people, **labels)

    def without(self, names: Collection[str]) -> ClipSet:
        """The same items without the labels of some attributes, where it has any of them."""
        kept = [k for k, name in enumerate(self.attribute_names) if name not in names]
        if len(kept) == len(self.attribute_names):
            return self
        gone = "-".join(name for name in self.attribute_names if name in names)
        return replace(
            self,
            attributes=self.attributes[:, kept],
            attribute_names=tuple(self.attribute_names[k] for k in kept),
            fingerprint=f"{self.fingerprint}-without-{gone}",
        )

    def with_frames(self, frames: Frames, name: str, fingerprint: str) -> ClipSet:
        """The same items and labels with other pixels: what an anonymizer releases."""
        return replace(self, frames=frames, name=name, fingerprint=fingerprint)


class Splits(NamedTuple):
    """Three disjoint parts: no group (person, source film) stands in two of them."""

    train: ClipSet
    val: ClipSet
    test: ClipSet


def marked_leaky(part: ClipSet) -> ClipSet:
    """The same split, named as one whose test videos were trained on, in its fingerprint too."""
    if part.name.startswith(LEAKY):
        return part
    return replace(part, name=LEAKY + part.name, fingerprint=f"leaky-{part.fingerprint}")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number and everything needed to read it and to repeat it; a line of JSON.

    Attributes:
        metric: ``"top1"``, ``"cmap"``, ``"ap"``, ``"auroc"`` ...
        value, low, high: the number and its 95 % bootstrap interval, in ``unit``; None where it has
            no meaning, such as U when raw video itself is not above chance.
        better: ``"higher"`` or ``"lower"``, for whoever wants privacy and utility.
        row: the method's label in the table.
        probe: the fresh network that measured it, such as ``"frame_cnn"``.
        dataset, split, n, groups: what it was measured on.
        seed: of the probe.
        chance: the same metric with no information (prevalence, 1 / n_actions).
        attribute: for per-attribute metrics.
        provenance: config digest, data fingerprint, versions, run, command.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    better: str
    row: str
    probe: str
    dataset: str
    split: str
    n: int
    groups: int
    seed: int
    chance: float
    attribute: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
