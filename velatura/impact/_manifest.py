"""What was done to every image, a line of JSON each, in the order of the data set.

While the work goes on, lines are appended to a journal as images are finished; who reads it after
a kill knows what is done. At the end it is put in order, and gets its name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from velatura.errors import BadInput

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["MANIFEST", "Journal", "Line", "lines"]

MANIFEST = "manifest.jsonl"
JOURNAL = "manifest.jsonl.partial"


class Line(NamedTuple):
    """Where in the journal an image's last line is, and what must hold for it to be still true."""

    start: int
    length: int
    status: str
    before: str  # SHA-256 of the source
    after: str  # and of the copy


class Journal:
    """The manifest as it is written: one process at a time.

    Attributes:
        known: by image, the last line of each.

    Raises:
        BadInput: another process writes into the folder; what is there is no manifest.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / JOURNAL
        finished = folder / MANIFEST
        if finished.exists() and not self.path.exists():
            os.replace(finished, self.path)
        self._file = open(self.path, "a+b")
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                raise BadInput(f"Another process is writing into {folder}; let it end.") from None
        self.known: dict[str, Line] = {}
        self._read()

    def _read(self) -> None:
        self._file.seek(0)
        at = 0
        for number, text in enumerate(self._file, 1):
            if not text.endswith(b"\n"):  # of a process that was killed
                break
            try:
                values = json.loads(text)
                self.known[values["image"]] = _line(at, text, values)
            except (ValueError, KeyError, TypeError):
                raise BadInput(
                    f"{self.path}, line {number}, is none of a manifest; name another --out."
                ) from None
            at += len(text)
        self._file.truncate(at)

    def add(self, values: dict[str, Any]) -> None:
        """What was done to one image."""
        text = json.dumps(values, sort_keys=True).encode() + b"\n"
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(text)
        self._file.flush()
        self.known[values["image"]] = _line(start, text, values)

    def finish(self, order: Sequence[str]) -> Path:
        """Put the lines in order, and give the file its name.

        Args:
            order: every image of the data set; those without a line are passed over.
        """
        beside = self.folder / f"{MANIFEST}.new"
        with open(beside, "wb") as file:
            for name in order:
                if line := self.known.get(name):
                    self._file.seek(line.start)
                    file.write(self._file.read(line.length))
        os.replace(beside, self.folder / MANIFEST)
        self.path.unlink()
        return self.folder / MANIFEST

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def _line(start: int, text: bytes, values: dict[str, Any]) -> Line:
    before, after = values.get("sha256_in", ""), values.get("sha256_out", "")
    return Line(start, len(text), str(values["status"]), str(before), str(after))


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """A manifest, image by image."""
    with open(path, "rb") as file:
        for text in file:
            yield json.loads(text)
