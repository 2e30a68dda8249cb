"""Where an output goes: what is refused before any work, and the file beside it meanwhile.

An output is written to ``NAME.PID-XXXXXXXX.partial`` in its own folder and renamed when it is
whole. As long as its writer lives it holds a lock on that file; the lock ends with the process,
however that ends. So ``sweep`` can tell what a killed process left behind from what another one is
still writing. (The number is for people who look into the folder: a process of another container
may bear the same one, and only the lock counts.)
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from velatura.errors import BadInput

try:
    import fcntl
except ImportError:  # Windows, which keeps open files from being removed by itself
    fcntl = None  # type: ignore[assignment]

__all__ = ["Partial", "check", "sweep", "sync_folder"]

PARTIAL = re.compile(r".\.\d+-[0-9a-f]{8}\.partial\Z")
LONGEST = 255  # bytes of a file's name, on the usual systems


def check(
    path: str | Path,
    source: str | Path | None,
    overwrite: bool,
    suffixes: Iterable[str],
    why: str = "",
) -> None:
    """Refuse a destination that cannot be, or must not be, written.

    Args:
        path: the destination.
        source: a file that it must not be, whatever ``overwrite`` says: not by a link, and not
            by another spelling of its name.
        overwrite: whether it may be there already.
        suffixes: the ways in which its name may end, in small letters.
        why: said after them.

    Raises:
        BadInput: another suffix; no folder; a folder; the source itself; it exists.
    """
    path = Path(path)
    suffixes = list(suffixes)
    if path.suffix.lower() not in suffixes:
        raise BadInput(f"{path} must end in {', '.join(suffixes)}{why and f': {why}'}.")
    try:
        if not path.parent.is_dir():
            raise BadInput(f"There is no folder {path.parent} to write {path.name} into.")
        if path.is_dir():
            raise BadInput(f"{path} is a folder; name a file.")
        if source is not None and _same(path, Path(source)):
            raise BadInput(f"{path} is the source itself; name another output.")
        # A link that leads nowhere is there too: a rename would put the output in its place.
        if os.path.lexists(path) and not overwrite:
            raise BadInput(f"{path} exists; name another output, or ask to overwrite it.")
        if path.exists() and not path.is_file():
            raise BadInput(f"{path} is a device, not a file; name another output.")
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.") from error


def _same(path: Path, source: Path) -> bool:
    """Whether a destination is a source, whatever it is called."""
    if path.exists() and source.exists() and path.samefile(source):
        return True
    # Where the destination is not there yet, or is another file, the names decide. Two that
    # differ in their Unicode form alone look the same, and are the same elsewhere.
    if not source.parent.exists() or not path.parent.samefile(source.parent):
        return False
    ours, theirs = (unicodedata.normalize("NFC", name) for name in (path.name, source.name))
    if ours == theirs:
        return True
    folded = (unicodedata.normalize("NFC", name.casefold()) for name in (ours, theirs))
    return len(set(folded)) == 1 and _ignores_case(source)


def _ignores_case(file: Path) -> bool:
    """Whether a file's folder takes large and small letters for the same."""
    other = file.with_name(file.name.swapcase())
    return other.name != file.name and other.exists() and other.samefile(file)


class Partial:
    """A new file beside a destination, locked until it is kept or thrown away.

    Attributes:
        path: where it is.
        file: open for writing; whoever writes may close it before ``keep``.

    Raises:
        BadInput: no file can be made in that folder.
    """

    path: Path
    file: IO[bytes]

    def __init__(self, destination: str | Path) -> None:
        self.destination = Path(destination)
        self._lock = -1
        try:
            while not self._made():  # unless a sweep came between making it and locking it
                pass
        except OSError as error:
            folder = self.destination.parent
            raise BadInput(f"Cannot write into {folder}: {error.strerror}.") from error

    def _made(self) -> bool:
        end = f".{os.getpid()}-{secrets.token_hex(4)}.partial"
        name = os.fsencode(self.destination.name)[: LONGEST - len(end)]
        # A name cut in the middle of a letter is no name on some systems.
        name = name.decode("utf-8", "ignore").encode() or b"out"
        self.path = self.destination.with_name(os.fsdecode(name) + end)
        self.file = open(self.path, "xb")
        if not locked(self.file.fileno()):
            self.file.close()
            return False
        # The same lock, so that it stays when the file is closed.
        self._lock = os.dup(self.file.fileno())
        if _is(self._lock, self.path):
            return True
        self.close()
        return False

    def keep(self, overwrite: bool) -> None:
        """Give the file, written and synced, its name, so that a power cut cannot undo it.

        Raises:
            BadInput: somebody else's file has appeared there meanwhile; it stays.
        """
        if os.path.lexists(self.destination) and not overwrite:
            raise BadInput(f"{self.destination} appeared meanwhile; it was left as it is.")
        if fcntl is None:
            self.close()  # Windows renames no open file
        os.replace(self.path, self.destination)
        sync_folder(self.destination.parent)
        self.close()

    def discard(self) -> None:
        """Remove the file; fine to call twice, and after ``keep``."""
        try:
            self.path.unlink(missing_ok=True)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file and of its lock."""
        with suppress(OSError):  # what could not be flushed is lost, and is not wanted
            self.file.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def sweep(folder: str | Path) -> list[Path]:
    """Remove what writers that were killed left in a folder, and nothing that one still writes.

    Returns:
        What was removed. Where a folder cannot be read or a file cannot be removed or locked,
        it stays.
    """
    removed: list[Path] = []
    if fcntl is None:
        return removed  # without locks nobody knows who still writes
    try:
        names = [entry.name for entry in os.scandir(folder) if PARTIAL.search(entry.name)]
    except OSError:
        return removed
    for name in sorted(names):
        path = Path(folder) / name
        with suppress(OSError):
            # Not through a link, and without waiting, should it be a pipe.
            found = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                ours = stat.S_ISREG(os.fstat(found).st_mode) and locked(found, sweeping=True)
                if ours and _is(found, path):
                    path.unlink()
                    removed.append(path)
            finally:
                os.close(found)
    return removed


def locked(descriptor: int, sweeping: bool = False) -> bool:
    """Take the lock of an open file, if nobody has it.

    A file system without locks gives none to a sweeper, and lets a writer go without: what a
    killed process leaves there stays.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return not sweeping
    return True


def _is(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one under a name."""
    if fcntl is None:
        return True
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets a folder be synced."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
