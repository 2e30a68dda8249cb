"""Work on all cores: jobs with dependencies, done in worker processes, each job resumable.

A small network on one thread uses a core better than on two, so independent fits run side by
side. A job that has its output already is not run again. A job that breaks ends the rest, or, where
they are to keep going, only what needs it.
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
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from statistics import mean
from typing import Any

from velatura.errors import Failure, VelaturaError

__all__ = ["Event", "Job", "Pace", "run"]


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
    """What happened: a job started, moved on, finished, was found done, or came to nothing.

    Attributes:
        kind: ``"start"``, ``"progress"``, ``"end"``, ``"reused"``, ``"failed"``, or ``"skipped"``
            where a job that it needs failed.
        done, total: of the job's own steps.
        seconds: of the job, at its end.
        result: what the call returned.
        error: of a job that failed or was skipped, one sentence.
        because: name of the job that failed.
    """

    kind: str
    job: Job
    done: int = 0
    total: int = 0
    terms: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    result: Any = None
    error: str = ""
    because: str = ""


_messages: Any = None  # a worker's way to its parent


def tell(job: str, done: int, total: int, terms: dict[str, float] | None = None) -> None:
    """Called in a worker: how far the job is."""
    if _messages is not None:
        _messages.put((job, done, total, terms or {}))


def _begin(messages: Any, threads: int) -> None:
    global _messages
    _messages = messages
    messages.cancel_join_thread()  # what nobody reads any more does not hold up the end
    # The parent decides what Ctrl-C means; it sends SIGTERM, which a training loop turns into
    # a checkpoint, and which ends anything else.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
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


Answer = tuple[float, Any, BaseException | None]  # seconds, what the call returned, or raised


def _serve(way: Connection, messages: Any, threads: int) -> None:
    """What a worker does: one call after the other, until its parent closes the way."""
    _begin(messages, threads)
    while True:
        try:
            call, name, arguments = way.recv()
        except (EOFError, OSError):
            return
        answer = _answer(call, name, arguments)
        try:
            way.send(answer)
        except OSError:  # the parent did not wait
            return
        except Exception as error:  # what cannot be sent
            way.send((0.0, None, Failure(f"What it returned or raised is lost: {sentence(error)}")))


def _answer(call: Callable[..., Any], name: str, arguments: dict[str, Any]) -> Answer:
    begin = time.monotonic()
    try:
        result = call(job=name, **arguments)
        return time.monotonic() - begin, result, None
    except BaseException as error:
        error.add_note(f"In a worker:\n{traceback.format_exc()}")  # which does not travel itself
        return 0.0, None, error


ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@contextmanager
def _later(again: bool = True) -> Iterator[None]:
    """What would end us waits until a process has begun, or all have ended.

    The process inherits the blocked signals, so that one which arrives while it imports does not
    end in a traceback. We must not be interrupted either before it has been told what it is for;
    blocking does not help there, as another thread of ours may take the signal.

    Args:
        again: what came meanwhile is raised afterwards.
    """
    came: list[int] = []
    handlers: dict[signal.Signals, Any] = {}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if callable(signal.getsignal(number)):
                    handlers[number] = signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for late in came if again else ():
            signal.raise_signal(late)


class _Worker:
    """One process that does one job at a time, and its ways to answer and to tell how far it is.

    The parent has no thread for it, as an executor's pool would: an interrupt can leave a lock
    that such a thread waits for, and at its exit Python waits for the thread, without end.
    """

    def __init__(self, context: SpawnContext, threads: int):
        self.messages = context.Queue()
        self.way, self._theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(self._theirs, self.messages, threads))

    def start(self) -> None:
        """Begin the process."""
        self.process.start()
        self._theirs.close()  # so that the end of the process is the end of the way

    def submit(self, job: Job) -> bool:
        """Whether it is there to take the job."""
        try:
            self.way.send((job.call, job.name, job.arguments))
        except OSError:
            return False
        return True

    def over(self) -> bool:
        """Whether it has answered, or is dead."""
        return self.way.poll() or not self.process.is_alive()

    def answer(self) -> Answer:
        """Of its job.

        Raises:
            EOFError: dead, without an answer.
            OSError: likewise.
        """
        if not self.way.poll():  # a process of its own may still hold the other end
            raise EOFError
        try:
            answer: Answer = self.way.recv()
        except (EOFError, OSError):
            raise
        except Exception as error:  # of a class that cannot be made again from its arguments
            return 0.0, None, Failure(f"What it raised is lost: {sentence(error)}")
        return answer


def run(
    jobs: list[Job],
    workers: int,
    threads: int,
    keep_going: bool = False,
    failed: Mapping[str, str] | None = None,
) -> Iterator[Event]:
    """Do the jobs, in the order listed as far as dependencies allow; yields events.

    Args:
        workers: processes side by side.
        threads: of each.
        keep_going: a job that raises, or whose process is killed, fails; what needs it, directly
            or not, is skipped; the rest is done.
        failed: jobs that are known to fail, and why: they are not tried.

    Raises:
        KeyboardInterrupt: Ctrl-C; workers were told to save and stop.
        Exception: the first error of a job, after the others were stopped.
    """
    context = multiprocessing.get_context("spawn")
    by_name = {job.name: job for job in jobs}
    waiting, finished = list(jobs), set[str]()
    lost: dict[str, Event] = {}
    team: list[_Worker] = []
    running: dict[_Worker, Job] = {}
    again = True
    try:
        while waiting or running:
            for job in list(waiting):
                event = None
                if job.done():
                    finished.add(job.name)
                    event = Event("reused", job)
                elif cause := next((lost[name] for name in job.needs if name in lost), None):
                    event = Event("skipped", job, error=cause.error, because=cause.because)
                elif failed and job.name in failed:
                    event = Event("failed", job, error=failed[job.name], because=job.name)
                elif len(running) < workers and finished.issuperset(job.needs):
                    worker = next((w for w in team if w not in running), None)
                    if worker is None:
                        worker = _Worker(context, threads)
                        with _later():  # no process may be there that nobody would stop
                            worker.start()
                            team.append(worker)
                    if not worker.submit(job):  # killed while it had nothing to do
                        _dismiss(team, worker)
                        break
                    running[worker] = job
                    event = Event("start", job)
                if event:
                    waiting.remove(job)
                    if event.error:
                        lost[job.name] = event
                    yield event
            wait([end for w in running for end in (w.way, w.process.sentinel)], 0.2)
            over = [worker for worker in running if worker.over()]
            for worker in team:
                for message in _drain(worker.messages):
                    yield Event("progress", by_name[message[0]], *message[1:])
            for worker in over:
                job = running.pop(worker)
                try:
                    seconds, result, raised = worker.answer()
                except (EOFError, OSError):
                    if not keep_going:
                        raise Failure(
                            "A worker process was killed, perhaps for want of memory; run the "
                            "same command to resume, with fewer workers if it happens again."
                        ) from None
                    _dismiss(team, worker)
                    error = "Its worker process was killed, perhaps for want of memory."
                else:
                    if raised is None:
                        finished.add(job.name)
                        yield Event("end", job, seconds=seconds, result=result)
                        continue
                    if not keep_going or not isinstance(raised, Exception):
                        raise raised
                    error = sentence(raised)
                lost[job.name] = Event("failed", job, error=error, because=job.name)
                yield lost[job.name]
    except (KeyboardInterrupt, GeneratorExit):
        again = False  # we are ending already, perhaps where an exception would be lost in print
        raise
    finally:
        _stop(team, bool(waiting or running), again)


def sentence(error: BaseException) -> str:
    """What an error says, in one line."""
    if isinstance(error, VelaturaError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")


def _dismiss(team: list[_Worker], worker: _Worker) -> None:
    """A worker whose process is dead: another one takes its place when there is work."""
    team.remove(worker)
    _stop([worker], False)


def _drain(messages: Any) -> Iterator[Any]:
    while True:
        try:
            yield messages.get_nowait()
        except queue.Empty:
            return


PATIENCE = 20.0  # seconds that a worker has to save


def _stop(team: list[_Worker], early: bool, again: bool = True) -> None:
    """Let the workers go; early, ask them to save first and do not wait for ever."""
    with _later(again):  # a second interrupt does not leave processes
        for worker in team:
            if early:
                worker.process.terminate()
            worker.way.close()
        deadline = time.monotonic() + PATIENCE
        for worker in team:
            worker.process.join(max(deadline - time.monotonic(), 0.1))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join(5)
            worker.messages.close()


ENOUGH = 0.1  # of a job, to say how long it takes


class Pace:
    """How long all that is left will take, from what finished jobs of each stage took.

    Args:
        workers: processes side by side.
    """

    def __init__(self, workers: int):
        self.workers = workers
        self._seconds: dict[str, list[float]] = {}
        self._left: dict[tuple[str, str], tuple[str, float]] = {}  # to its stage, and share
        self._begun: dict[tuple[str, str], tuple[float, float]] = {}  # to a time, and share then
        self._guess: dict[str, float] = {}  # of stages of which a job is under way

    def expect(self, cell: str, jobs: Iterable[Job]) -> None:
        """These will be done, unless they are already."""
        self._left |= {(cell, job.name): (job.stage, 1.0) for job in jobs if not job.done()}

    def learn(self, jobs: Iterable[Job], seconds: Mapping[str, float]) -> None:
        """What the jobs of a finished cell took, in all of each stage."""
        stages = [job.stage for job in jobs]
        for stage in {*stages} & {*seconds}:
            self._seconds.setdefault(stage, []).append(seconds[stage] / stages.count(stage))

    def note(self, cell: str, event: Event) -> None:
        """A job moved on, or is over."""
        key = cell, event.job.name
        if event.kind == "progress" and event.total and key in self._left:
            share, now = event.done / event.total, time.monotonic()
            self._left[key] = event.job.stage, max(1 - share, 0.0)
            begun, before = self._begun.setdefault(key, (now, share))
            if share - before >= ENOUGH:
                self._guess[event.job.stage] = (now - begun) / (share - before)
        elif event.kind not in ("start", "progress"):
            self._left.pop(key, None)
            if event.kind == "end":
                self._seconds.setdefault(event.job.stage, []).append(event.seconds)

    def forget(self, cell: str) -> None:
        """A cell is over, however it ended."""
        self._left = {key: value for key, value in self._left.items() if key[0] != cell}

    def left(self) -> float | None:
        """Seconds; None while no job has finished or come some way.

        A stage of which none has is taken for the mean of its like: of other trainings, or else of
        all.
        """
        means = {**self._guess, **{stage: mean(took) for stage, took in self._seconds.items()}}
        if not means:
            return None
        alike: dict[str, list[float]] = {}
        for stage, value in means.items():
            alike.setdefault(stage.partition(" ")[0], []).append(value)

        def expected(stage: str) -> float:
            return means.get(stage, mean(alike.get(stage.partition(" ")[0], means.values())))

        return sum(expected(stage) * share for stage, share in self._left.values()) / self.workers
