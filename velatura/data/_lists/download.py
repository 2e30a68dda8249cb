"""One file over HTTP: resumed where it broke off, and under its name only when it is right."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
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
        BadInput: an address that is not http, or another file of that name.
        Failure: the server does not have it or cannot be reached, or what came is not the file.
    """
    if urlsplit(remote.url).scheme not in ("http", "https"):
        raise BadInput(f"{remote.url} is no http or https address; get {remote.name} by hand.")
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    folder.mkdir(parents=True, exist_ok=True)
    if target.exists():
        if sha256(target) == remote.sha256:
            return target
        raise BadInput(
            f"{target} is there and is another file than the published one (by its sha256); "
            "move it away and run this again."
        )
    _fetch(remote, part, progress, attempts, timeout)
    if (found := sha256(part)) != remote.sha256:
        part.unlink()
        raise Failure(
            f"{remote.url} gave a file with sha256 {found}, expected {remote.sha256}; it was "
            "removed. Run this again; if it stays so, the source has changed: get it by hand."
        )
    os.replace(part, target)
    return target


def sha256(path: Path) -> str:
    """The checksum of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(
    remote: Remote, part: Path, progress: Progress | None, attempts: int, timeout: float
) -> None:
    """Bring the partial file to the server's length."""
    reason = ""
    for _ in range(attempts):
        try:
            if _append(remote.url, part, progress, timeout):
                return
            reason = "the connection broke"
        except HTTPError as error:
            if error.code == 416 and part.exists():
                return  # nothing is left to send; the checksum says whether that is the file
            error.close()
            raise Failure(
                f"{remote.url} answers {error.code} {error.reason}; get {remote.name} by hand."
            ) from None
        except (URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    there = part.stat().st_size if part.exists() else 0
    kept = f"{there} bytes are kept in {part}; run this again to go on" if there else "try later"
    raise Failure(f"{remote.url} broke off {attempts} times ({reason}); {kept}.")


def _append(url: str, part: Path, progress: Progress | None, timeout: float) -> bool:
    """Ask for what is missing and write it; True when all came that the server promised."""
    there = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "velatura", "Accept-Encoding": "identity"}
    if there:
        headers["Range"] = f"bytes={there}-"
    with urlopen(Request(url, headers=headers), timeout=timeout) as answer:
        # A server that knows no ranges sends the whole file, with 200: begin again.
        resumes = answer.status == 206 and _begins(answer.headers) == there
        if answer.status == 206 and not resumes:
            part.unlink(missing_ok=True)
            return False
        there = there if resumes else 0
        length = answer.headers.get("Content-Length")
        total = there + int(length) if length is not None else None
        with part.open("ab" if resumes else "wb") as file:
            while block := answer.read(BLOCK):
                file.write(block)
                there += len(block)
                if progress is not None:
                    progress(there, total)
            file.flush()
            os.fsync(file.fileno())
    return total is None or there == total


def _begins(headers: http.client.HTTPMessage) -> int | None:
    """Where a part of a file begins, as its server says."""
    found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(found[1]) if found else None
