"""One function over many files, on all cores; and why one file cannot be used."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

from velatura.errors import Failure, VelaturaError

__all__ = ["reason_of", "spread"]

AHEAD = 4  # jobs for each worker that are handed out


def spread(
    call: Callable[[Any], Any], jobs: list[Any], workers: int = 0, each: int = 8
) -> Iterator[Any]:
    """``call`` of every job, in the order in which they are done.

    In this process where starting others costs more than they save. The caller's script needs no
    ``if __name__ == "__main__"``: workers never see it.

    Args:
        call: a function of a module of ours, which workers import by its name.
        jobs: what can be pickled.
        workers: processes; one per core when 0.
        each: jobs that are worth starting a process.

    Raises:
        Failure: a worker was killed.
    """
    workers = min(workers or os.cpu_count() or 1, len(jobs) // each)
    if workers < 2:
        yield from map(call, jobs)
        return
    # Spawned, not forked: the caller may hold threads and a GPU.
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (os.getpid(),)) as pool:
        try:
            yield from _results(call, jobs, pool, AHEAD * workers)
        except BrokenProcessPool:
            raise Failure(
                "A worker process was killed, perhaps for want of memory; the same command "
                "goes on, with fewer workers if it happens again."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def reason_of(error: Exception, path: str | Path) -> str:
    """Why one file cannot be used: our own sentence, or whatever a library said of it."""
    if isinstance(error, VelaturaError):
        return str(error)
    said = " ".join(str(error).split()).rstrip(" .") or "it says no more"
    return f"{path} cannot be read: {type(error).__name__}: {said}."


def _results(
    call: Callable[[Any], Any], jobs: Iterable[Any], pool: ProcessPoolExecutor, ahead: int
) -> Iterator[Any]:
    coming = iter(jobs)
    running: set[Future[Any]] = set()
    while True:
        # A few ahead of the workers: neither jobs nor answers pile up, however many there are.
        for job in islice(coming, ahead - len(running)):
            with _no_script():  # a worker may start with any of them
                running.add(pool.submit(call, job))
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


@contextmanager
def _no_script() -> Iterator[None]:
    """Workers that start now do not run the caller's script again.

    To unpickle what may be defined in it, ``spawn`` imports the script in every worker, and one
    that calls us without a guard would call us in each of them. Nothing of ours is defined there.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _begin(parent: int) -> None:
    """A worker: Ctrl-C is the parent's to handle, and without a parent there is no work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
