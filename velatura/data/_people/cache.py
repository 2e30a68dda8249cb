"""Rendered clips on disk: a file is whole and checked, or it does not exist.

Each split is `people-<key>.npy`, (N, T, 3, H, W) uint8, and `people-<key>.json`, which says
how many bytes the array file has and their CRC-32. Both are written under another name and
renamed when complete, array first, so that the JSON vouches for what is already there.
Rendering is deterministic: two processes that race write equal bytes, and either may win.
"""

from __future__ import annotations

import json
import os
import time
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from velatura.data._people.motion import Array

CHUNK = 20  # clips that a worker renders at a time
FEW = 64  # below this many clips, starting workers costs more than it saves
STALE = 6 * 3600  # seconds after which an unfinished file of a killed render is swept

Renderer = Callable[[list[int]], Array]  # indices to clips (n, T, 3, H, W)


def fetch(
    root: Path,
    key: str,
    shape: tuple[int, ...],
    renderer: Renderer,
    progress: Callable[[int, int], None],
    workers: int | None,
) -> Array:
    """The clips of `key` as a read-only memory map; rendered now unless an intact file is there."""
    array, meta = root / f"people-{key}.npy", root / f"people-{key}.json"
    if not _intact(array, meta, shape):
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        _write(array, meta, shape, renderer, progress, workers)
    return np.load(array, mmap_mode="r")


def _intact(array: Path, meta: Path, shape: tuple[int, ...]) -> bool:
    """Whether the file is the one that its JSON describes, byte for byte."""
    try:
        said = json.loads(meta.read_text(encoding="utf-8"))
        if said["shape"] != list(shape) or said["bytes"] != array.stat().st_size:
            return False
        return bool(said["crc32"] == _checksum(array))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def _write(
    array: Path,
    meta: Path,
    shape: tuple[int, ...],
    renderer: Renderer,
    progress: Callable[[int, int], None],
    workers: int | None,
) -> None:
    """Render beside, then rename; whatever interrupts it, no unfinished file stays behind."""
    unique = f".{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"
    beside = [array.with_name(array.name + unique), meta.with_name(meta.name + unique)]
    try:
        _render(beside[0], shape, renderer, progress, workers)
        said = {
            "shape": list(shape),
            "bytes": beside[0].stat().st_size,
            "crc32": _checksum(beside[0]),
        }
        beside[1].write_text(json.dumps(said), encoding="utf-8")
        os.replace(beside[0], array)
        os.replace(beside[1], meta)
    finally:
        for path in beside:
            path.unlink(missing_ok=True)


def _render(
    path: Path,
    shape: tuple[int, ...],
    renderer: Renderer,
    progress: Callable[[int, int], None],
    workers: int | None,
) -> None:
    pixels = open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with path.open("r+b") as file:  # through a map a full disk is a signal; here, an error
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    done = 0
    progress(done, shape[0])
    for indices, clips in _chunks(renderer, shape[0], workers):
        pixels[indices] = clips
        done += len(indices)
        progress(done, shape[0])
    pixels.flush()


def _chunks(
    renderer: Renderer, count: int, workers: int | None
) -> Iterator[tuple[list[int], Array]]:
    """Rendered chunks in whatever order they finish; each knows its indices."""
    todo = [list(range(i, min(i + CHUNK, count))) for i in range(0, count, CHUNK)]
    cores = workers or len(os.sched_getaffinity(0))
    finished: set[int] = set()
    if cores > 1 and count > FEW:
        try:
            for indices, clips in _in_parallel(renderer, todo, min(cores, len(todo))):
                finished.add(indices[0])
                yield indices, clips
        except BrokenProcessPool:
            warnings.warn(
                "Worker processes could not start or were killed; rendering goes on in this one. "
                "In a script, call load() under `if __name__ == '__main__':`.",
                stacklevel=2,
            )
    for indices in todo:
        if indices[0] not in finished:
            yield indices, renderer(indices)


def _in_parallel(
    renderer: Renderer, todo: list[list[int]], workers: int
) -> Iterator[tuple[list[int], Array]]:
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread)
    try:
        jobs: dict[Future[Array], list[int]] = {pool.submit(renderer, c): c for c in todo}
        waiting = set(jobs)
        while waiting:
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for job in ready:
                yield jobs.pop(job), job.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    """Workers already fill the cores; a thread pool in each would only get in the way."""
    import cv2

    cv2.setNumThreads(1)


def _sweep(root: Path) -> None:
    """Remove what killed renders left behind, long ago."""
    for path in root.glob("people-*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()
        except OSError:
            continue  # another process was quicker
