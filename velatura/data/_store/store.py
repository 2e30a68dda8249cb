"""A folder of prepared videos, read by name and frame number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from velatura.config import digest
from velatura.data._store.form import FORMS
from velatura.errors import BadInput, unknown
from velatura.video.probe import stamp

__all__ = ["FORMAT", "Store", "Video", "checked_name", "file_of", "read_head"]

# Raise it when the same video would be stored otherwise.
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Video:
    """What is known of one prepared video.

    Attributes:
        frames, height, width: of what is stored.
        bytes: of the file that holds it.
        digest: SHA-256 over the stored frames.
        source_size, source_modified: bytes and time (ns) of the original.
    """

    frames: int
    height: int
    width: int
    bytes: int
    digest: str
    source_size: int
    source_modified: int


class Store:
    """Prepared videos: ``Store.open("prepared").window("golf/a.avi", [0, 2, 4])``.

    Holds no file open and no pixel in memory between calls, so it can be shared by workers.

    Attributes:
        folder: where it lies.
        form: ``"raw"`` or ``"jpeg"``.
        short_side: pixels; a smaller original keeps its size.
        videos: name to :class:`Video`.
        skipped: name to the reason why a video could not be read.
        stamps: bytes and time (ns) of those, when they were tried.
    """

    def __init__(
        self,
        folder: Path,
        form: str,
        short_side: int,
        videos: Mapping[str, Video],
        skipped: Mapping[str, str],
        stamps: Mapping[str, Sequence[int]],
    ) -> None:
        self.folder, self.form, self.short_side = folder, form, short_side
        self.videos, self.skipped = dict(videos), dict(skipped)
        self.stamps = {name: tuple(stamp) for name, stamp in stamps.items()}

    @classmethod
    def open(cls, folder: str | Path) -> Store:
        """Read a folder's index.

        Raises:
            BadInput: nothing was prepared there, not to the end, or by another version.
        """
        folder = Path(folder)
        path = folder / "index.json"
        if not path.is_file():
            what = "was not prepared to the end" if (folder / "head.json").is_file() else "is none"
            raise BadInput(f"{folder} {what}: run `velatura data prepare` with --out {folder}.")
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            videos = {name: video_of(value) for name, value in index["videos"].items()}
            head, skipped = index["head"], dict(index["skipped"])
            stamps = {name: (size, at) for name, (size, at) in index.get("stamps", {}).items()}
            check_head(head, folder)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadInput(f"{path} is damaged; prepare again to write it anew.") from None
        return cls(folder, head["form"], head["short_side"], videos, skipped, stamps)

    def __len__(self) -> int:
        return len(self.videos)

    def __contains__(self, name: object) -> bool:
        return name in self.videos

    def is_of(self, name: str, path: Path) -> bool:
        """Whether this is what was made, or tried, of a file as it is now."""
        now = stamp(path)
        if name in self.skipped:
            return self.stamps.get(name) == now
        video = self.videos.get(name)
        return video is not None and (video.source_size, video.source_modified) == now

    @property
    def fingerprint(self) -> str:
        """Changes when a name or a pixel does."""
        return digest([(name, video.digest) for name, video in sorted(self.videos.items())])

    def window(
        self, name: str, indices: Sequence[int], size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Chosen frames by number, in the order asked for, repeats included.

        In raw form and without ``size`` this is, bit for bit, what ``read_clip`` gives of the
        original at the stored height and width.

        Args:
            name: as it was prepared.
            indices: frame numbers from 0.
            size: (height, width) to scale to, by area; None keeps the stored size.

        Returns:
            (T, 3, H, W) uint8, RGB.

        Raises:
            BadInput: no such video or frame, or its file is damaged.
        """
        video = self._video(name)
        if not len(indices) or min(indices) < 0:
            raise BadInput(f"Frame numbers start at 0, got {list(indices)}.")
        if max(indices) >= video.frames:
            raise BadInput(f"{name} has {video.frames} frames; there is no frame {max(indices)}.")
        form = FORMS[self.form]()
        path = file_of(self.folder, name, form.suffix)
        try:
            if (stored := path.stat().st_size) != video.bytes:
                raise BadInput(
                    f"{path} of {name} holds {stored} bytes, not {video.bytes}; prepare again."
                )
            clip = form.read(path, (video.frames, video.height, video.width), indices)
        except OSError as error:
            reason = error.strerror or "it cannot be read"
            raise BadInput(f"{path} of {name}: {reason}; prepare again.") from error
        if size is not None and size != (video.height, video.width):
            clip = _scaled(clip, size)
        return clip.transpose(0, 3, 1, 2)

    def _video(self, name: str) -> Video:
        if name in self.videos:
            return self.videos[name]
        if name in self.skipped:
            raise BadInput(f"{name} could not be prepared: {self.skipped[name]}")
        if not self.videos:
            raise BadInput(f"{self.folder} holds no video.")
        error = unknown("prepared video", name, self.videos)
        # Thousands of names do not make a sentence.
        raise BadInput(f"{str(error).partition(' Available')[0]} It is not in {self.folder}.")


def _scaled(clip: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    height, width = size
    smaller = height <= clip.shape[1] and width <= clip.shape[2]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image, (width, height), interpolation=how) for image in clip])


def checked_name(name: str) -> str:
    """A name that stays below a folder.

    Raises:
        BadInput: an empty or absolute one, or one with "..".
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise BadInput(f"{name!r} is no name below a folder, such as golf/a.avi.")
    return name


def file_of(folder: Path, name: str, suffix: str) -> Path:
    """Where a video lies: named by its name's hash, so that any name is a file name."""
    key = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return folder / "videos" / key[:2] / f"{key[2:]}{suffix}"


def video_of(value: Any) -> Video:
    """From JSON; KeyError or TypeError where something is missing or of another type."""
    kinds = {field.name: str if field.name == "digest" else int for field in fields(Video)}
    if not all(type(value[name]) is kind for name, kind in kinds.items()):
        raise TypeError
    return Video(**{name: value[name] for name in kinds})


def read_head(folder: Path) -> dict[str, Any] | None:
    """What a folder is prepared as, or None where nothing was begun."""
    try:
        head = json.loads((folder / "head.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise BadInput(f"{folder / 'head.json'} is damaged; delete {folder}.") from None
    check_head(head, folder)
    return dict(head)


def check_head(head: Any, folder: Path) -> None:
    """Made by this version of the format, or BadInput."""
    if not isinstance(head, dict) or head.get("format") != FORMAT or head.get("form") not in FORMS:
        raise BadInput(f"{folder} was prepared by another version; prepare into a new folder.")


def as_json(videos: Mapping[str, Video]) -> dict[str, dict[str, Any]]:
    """For the index."""
    return {name: asdict(video) for name, video in sorted(videos.items())}
