"""One file over HTTP: resumed where it broke off, and under its name only when it is right."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from velatura.data._lists.source import Remote
from velatura.errors import BadInput, Failure

__all__ = ["download", "sha256"]

BLOCK = 1 << 16
Progress = Callable[[int, int | None], None]  # bytes there, of how many if the server says


def download(
    remote: Remote,
    folder: Path,
    *,
    progress: Progress | None = None,
    attempts: int = 3,
    timeout: float = 30,
) -> Path:
    """Fetch a file, unless it is there already.

    While it comes, it is ``<name>.part``. A broken connection is tried again from where it
    broke, and what came stays for the next call; a file that is whole and wrong is removed,
    since nothing could be added to mend it.

    Args:
        remote: what, from where, and what it must be.
        folder: is made when it is not there.
        progress: called after every block.
        attempts: how often the connection may break.
        timeout: seconds without an answer that count as broken.

    Returns:
        The file.

    Raises:
        BadInput: an address that is not http; another file, or a folder, of that name; a folder
            that cannot be written into; or another run that gets the same file.
        Failure: the server does not have it or cannot be reached, the disk is full, or what came
            is not the file.
    """
    if urlsplit(remote.url).scheme not in ("http", "https"):
        raise BadInput(f"{remote.url} is no http or https address; get {remote.name} by hand.")
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (target, part):
            if path.is_dir():
                raise BadInput(f"{path} is a folder; move it away, or name another with --out.")
        if target.exists():
            if sha256(target) == remote.sha256:
                return target
            raise BadInput(
                f"{target} is there and is another file than the published one (by its sha256); "
                "move it away and run this again."
            )
        with _held(part) as file:
            _fetch(remote, file, part, progress, attempts, timeout)
            if (found := sha256(part)) != remote.sha256:
                file.truncate(0)
                raise Failure(
                    f"{remote.url} gave a file with sha256 {found}, expected {remote.sha256}; it "
                    "was removed. Run this again; if it stays so, the source has changed: get it "
                    "by hand."
                )
            os.replace(part, target)
    except OSError as error:
        place = error.filename or folder
        raise BadInput(
            f"{place} cannot be used ({error.strerror}); name another folder with --out."
        ) from error
    return target


@contextmanager
def _held(part: Path) -> Iterator[BinaryIO]:
    """The partial file, open for writing behind its end, and nobody else's meanwhile.

    Without a byte in it, it does not stay.

    Raises:
        BadInput: another run is getting it.
    """
    file = open(part, "ab")
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput(f"Another run is getting {part}; wait for it.") from None
        if not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
            # The other one was done between our opening and our holding it.
            raise BadInput(f"Another run has just got {part}; run this again.")
        try:
            yield file
        finally:
            with suppress(OSError):
                if part.stat().st_size == 0:
                    part.unlink()
    finally:
        with suppress(OSError):  # what a full disk did not take
            file.close()


def sha256(path: Path) -> str:
    """The checksum of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(
    remote: Remote,
    file: BinaryIO,
    part: Path,
    progress: Progress | None,
    attempts: int,
    timeout: float,
) -> None:
    """Bring the partial file to the server's length."""
    reason = ""
    for _ in range(attempts):
        try:
            if _append(remote.url, file, part, progress, timeout):
                return
            reason = "the connection broke"
        except HTTPError as error:
            error.close()
            if error.code == 416 and _length(file):
                return  # nothing is left to send; the checksum says whether that is the file
            raise Failure(
                f"{remote.url} answers {error.code} {error.reason}; get {remote.name} by hand."
            ) from None
        # What writing raises is a Failure, so an OSError is the network's.
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    there = _length(file)
    kept = f"{there} bytes are kept in {part}; run this again to go on" if there else "try later"
    raise Failure(f"{remote.url} broke off {attempts} times ({reason}); {kept}.")


def _append(
    url: str, file: BinaryIO, part: Path, progress: Progress | None, timeout: float
) -> bool:
    """Ask for what is missing and write it; True when all came that the server promised."""
    there = _length(file)
    headers = {"User-Agent": "velatura", "Accept-Encoding": "identity"}
    if there:
        headers["Range"] = f"bytes={there}-"
    with urlopen(Request(url, headers=headers), timeout=timeout) as answer:
        # A server that knows no ranges sends the whole file, with 200: begin again.
        resumes = answer.status == 206 and _begins(answer.headers) == there
        if not resumes:
            _write(file, part, None)
            there = 0
        if answer.status == 206 and not resumes:
            return False
        # A length that is no number promises nothing; the checksum judges what comes.
        length = answer.headers.get("Content-Length", "").strip()
        total = there + int(length) if length.isascii() and length.isdecimal() else None
        while block := answer.read(BLOCK):
            _write(file, part, block)
            there += len(block)
            if progress is not None:
                progress(there, total)
    _write(file, part, b"")
    return total is None or there == total


def _write(file: BinaryIO, part: Path, block: bytes | None) -> None:
    """Put a block behind what is there; an empty one brings all to the disk, and None begins anew.

    Raises:
        Failure: the disk is full, or gone.
    """
    try:
        if block is None:
            file.truncate(0)
            return
        file.write(block)
        file.flush()
        if not block:
            os.fsync(file.fileno())
    except OSError as error:
        raise Failure(
            f"Writing {part} failed: {error.strerror}. What came is kept; make room, and run this "
            "again to go on."
        ) from error


def _length(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _begins(headers: http.client.HTTPMessage) -> int | None:
    """Where a part of a file begins, as its server says."""
    found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(found[1]) if found else None
