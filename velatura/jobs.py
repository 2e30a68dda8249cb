"""Work on all cores: jobs with dependencies, done in worker processes, each job resumable.

A small network on one thread uses a core better than on two, so independent fits run side by
side. A job that has its output already is not run again.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

from velatura.errors import Failure

__all__ = ["Event", "Job", "run"]


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: unique.
        stage: what its time is booked under.
        call: a function that can be imported by a worker; returns something small.
        arguments: for the call.
        needs: names of the jobs that come before.
        done: says that its output is there already.
    """

    name: str
    stage: str
    call: Callable[..., Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    done: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Event:
    """What happened: a job started, moved on, finished, or was found done.

    Attributes:
        kind: ``"start"``, ``"progress"``, ``"end"`` or ``"reused"``.
        done, total: of the job's own steps.
        seconds: of the job, at its end.
        result: what the call returned.
    """

    kind: str
    job: Job
    done: int = 0
    total: int = 0
    terms: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    result: Any = None


_messages: Any = None  # a worker's way to its parent


def tell(job: str, done: int, total: int, terms: dict[str, float] | None = None) -> None:
    """Called in a worker: how far the job is."""
    if _messages is not None:
        _messages.put((job, done, total, terms or {}))


def _begin(messages: Any, threads: int) -> None:
    global _messages
    _messages = messages
    # The parent decides what Ctrl-C means; it sends SIGTERM, which a training loop turns into
    # a checkpoint, and which ends anything else.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    keep_freed_memory()
    # What is to be noted of the data, the parent has noted when it read it.
    logging.getLogger("velatura").setLevel(logging.ERROR)
    import torch

    torch.set_num_threads(threads)


def keep_freed_memory() -> None:
    """Let this process reuse its large blocks of memory instead of returning them at once.

    A training step asks for the same blocks as the one before; glibc gives each back and asks
    for it anew, and the kernel fills it with zeros every time. Where there is no glibc, nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        mallopt(-3, 2**30) or mallopt(-3, 2**25)  # M_MMAP_THRESHOLD; older ones take half a heap


def _end_with(parent: int) -> None:
    """A worker whose parent is gone (killed, not ended) has nobody to report to."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _call(call: Callable[..., Any], name: str, arguments: dict[str, Any]) -> tuple[float, Any]:
    begin = time.monotonic()
    result = call(job=name, **arguments)
    return time.monotonic() - begin, result


def run(jobs: list[Job], workers: int, threads: int) -> Iterator[Event]:
    """Do the jobs, in the order listed as far as dependencies allow; yields events.

    Raises:
        KeyboardInterrupt: Ctrl-C; workers were told to save and stop.
        Exception: the first error of a job, after the others were stopped.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    by_name = {job.name: job for job in jobs}
    waiting, finished = list(jobs), set[str]()
    running: dict[Future[Any], Job] = {}
    pool: ProcessPoolExecutor | None = None
    try:
        while waiting or running:
            for job in list(waiting):
                if job.done():
                    waiting.remove(job)
                    finished.add(job.name)
                    yield Event("reused", job)
                elif len(running) < workers and finished.issuperset(job.needs):
                    pool = pool or ProcessPoolExecutor(
                        workers, context, _begin, (messages, threads)
                    )
                    waiting.remove(job)
                    # The first submit starts the workers. They inherit the blocked interrupt,
                    # so that one that arrives while they import does not end in a traceback.
                    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                    try:
                        running[pool.submit(_call, job.call, job.name, job.arguments)] = job
                    finally:
                        signal.pthread_sigmask(signal.SIG_SETMASK, before)
                    yield Event("start", job)
            over, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            for message in _drain(messages):
                yield Event("progress", by_name[message[0]], *message[1:])
            for future in over:
                job = running.pop(future)
                seconds, result = future.result()
                finished.add(job.name)
                yield Event("end", job, seconds=seconds, result=result)
    except BrokenProcessPool:
        raise Failure(
            "A worker process was killed, perhaps for want of memory; run the same command to "
            "resume, with fewer workers if it happens again."
        ) from None
    finally:
        if pool is not None:
            _stop(pool, bool(waiting or running))
        messages.close()
        messages.cancel_join_thread()


def _drain(messages: Any) -> Iterator[Any]:
    while True:
        try:
            yield messages.get_nowait()
        except queue.Empty:
            return


def _stop(pool: ProcessPoolExecutor, early: bool) -> None:
    """Let the workers go; early, ask them to save first and do not wait for ever."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    if early:
        for process in processes:
            process.terminate()
    deadline = time.monotonic() + 20
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0.1))
        if process.is_alive():
            process.kill()
