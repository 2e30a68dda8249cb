"""Many files on many machines: each one a Ray task, a very long one cut into segments.

    for report in run(jobs, settings, address="auto"):
        ...

What a task makes is written, verified and renamed by the same code as on one machine; Ray only
decides where. A task whose process or node dies is tried again, and finds what its forerunner had
finished. It is core tasks and not Ray Data: that is for rows that flow through operators, where
here the unit is a file that must be made once, counted once, and be named when it failed.

Nothing is sent over the network but names and reports. Sources and destinations lie on a file
system that every node sees under the same path; this is checked before any work.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from velatura import __version__
from velatura.deploy import batch
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.batch import Job, Settings, is_done, run_job
from velatura.deploy.file import sigterm_unwinds
from velatura.deploy.record import Report, read_report, report_path, sha256, versions
from velatura.deploy.segments import (
    InOnePiece,
    Joined,
    Part,
    Span,
    cut,
    join,
    make_segment,
    needs,
    parts_folder,
    remove_parts,
)
from velatura.errors import BadInput, Failure, VelaturaError
from velatura.video import contents, destination
from velatura.video.probe import open_video, stamp
from velatura.video.read import Damaged
from velatura.video.write import SUFFIXES

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["run", "scaling"]

RETRIES = 3  # of a task whose process or node died
TELL = 0.5  # seconds between two messages of a task, and two looks at them
POLITE = 10.0  # seconds in which tasks that are told to stop may clean up
PATIENCE = 60.0  # seconds for a node to answer, and for one to come back where none is left
STORE = 100 * 2**20  # bytes of Ray's shared memory; reports are small
# As run_job: what becomes one file's report and not everybody's end.
EXPECTED = (VelaturaError, OSError, ValueError, RuntimeError, MemoryError)

Progress = Callable[[Job, int, int], None]


def run(
    jobs: Iterable[Job],
    settings: Settings,
    *,
    address: str | None = None,
    segment_seconds: float = 120.0,
    workers: int | None = None,
    progress: Progress | None = None,
    retries: int = RETRIES,
) -> Iterator[Report]:
    """Make every job, and yield its report when it is done, in the order in which they end.

    Whatever a task dies of, each output appears under its name once, whole and verified, or its
    report says in one sentence why not. Ctrl-C stops all tasks and leaves no half-written output;
    parts of long videos that are done stay, and the message says where.

    Args:
        jobs: as ``plan`` made them.
        settings: for all of them. ``threads`` are the CPUs of a task; 0 is 1.
        address: None starts Ray on this machine, reachable from this machine only, and ends it;
            ``"auto"`` or ``host:port`` joins a cluster. Where the caller has called ``ray.init``
            already, that session is used and left as it is.
        segment_seconds: of a part of a long video; 0 cuts none. A video is long from half as much
            again on.
        workers: tasks at once; None is as many as there are CPUs.
        progress: called with (job, frames done, frames expected) now and then.
        retries: of a task whose process or node died.

    Raises:
        BadInput: Ray is not installed or not there; a node has another version or does not see
            the files.
        KeyboardInterrupt: with a message that says what is done.
    """
    jobs = list(jobs)
    if segment_seconds < 0:
        raise BadInput(f"A segment must be longer than 0 seconds, got {segment_seconds:g}.")
    if workers is not None and workers < 1:
        raise BadInput(f"There must be one worker at least, got {workers}.")
    if not jobs:
        return
    settings = replace(
        settings,
        threads=settings.threads or 1,
        anonymizer=_absolute(settings.anonymizer),
        regions=_absolute(settings.regions),
    )
    folders = {job.destination.absolute().parent for job in jobs}
    _sweep(folders)
    driver: _Driver | None = None
    try:
        with (
            sigterm_unwinds(always=True),
            _session(address, workers, settings.threads) as (ray, ours),
        ):
            with _shared(jobs[0]) as (folder, token):
                common = _Common(settings, folder, token, _versions(), segment_seconds)
                _agree(ray, common, jobs)
                driver = _Driver(ray, jobs, common, workers, progress, retries)
                try:
                    yield from driver.work()
                finally:
                    driver.stop(ours)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            driver.told() if driver else "Interrupted; nothing was begun."
        ) from None
    finally:
        if driver is not None:  # parts of what did not get to its end
            folders |= {parts_folder(jobs[index].destination) for index in driver.states}
        _sweep(folders, POLITE if driver is not None and driver.running else 0.0)


def _absolute(name: str) -> str:
    """A file's path as it is seen from another folder; a name of no file as it is."""
    return os.path.abspath(name) if name and Path(name).is_file() else name


def _sweep(folders: Iterable[Path], patience: float = 0.0) -> None:
    """Remove what was left half-written; with patience, by processes that are ending just now."""
    until = time.monotonic() + patience
    while True:
        for folder in folders:
            destination.sweep(folder)
        if time.monotonic() >= until:
            return
        if not any(next(folder.glob("*.partial"), None) for folder in folders):
            return
        time.sleep(0.2)


def _versions() -> dict[str, str]:
    """What must be the same everywhere, lest outputs depend on where they were made."""
    return {"velatura": __version__, "av": versions().get("av", "")}


# Ray itself.


def _ray() -> Any:
    """Ray, quiet and without a call home.

    Raises:
        BadInput: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Else it warns of how a later version will hide GPUs from tasks that asked for none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise BadInput("A cluster needs Ray: pip install 'velatura[ray]'.") from None
    return ray


@contextmanager
def _session(address: str | None, workers: int | None, threads: int) -> Iterator[tuple[Any, bool]]:
    """Ray, connected; and whether that was done here: then it is disconnected again, or ended."""
    if address is None and "ray" not in sys.modules:
        with _loopback():
            ray = _ray()
    else:
        ray = _ray()
    if ray.is_initialized():
        yield ray, False
        return
    quiet = {"logging_level": "CRITICAL", "log_to_driver": False}
    home = None
    said = _silence()
    try:
        try:
            if address is None:
                home = _home()
                cpus = max(workers or len(os.sched_getaffinity(0)), threads)
                with _loopback():
                    ray.init(
                        "local",
                        num_cpus=cpus,
                        include_dashboard=False,
                        object_store_memory=STORE,
                        _temp_dir=home,
                        **quiet,
                    )
                if any(n["NodeManagerAddress"] != "127.0.0.1" for n in ray.nodes()):
                    raise Failure("Ray would not start on this machine's loopback alone.")
            elif address.startswith("ray://"):
                raise BadInput(
                    f"{address} is a Ray client's address; run this on a node of the cluster, "
                    "with --address auto."
                )
            else:
                ray.init(address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            where = "on this machine" if address is None else f"at {address}"
            raise BadInput(f"There is no Ray to work with {where}: {_line(error)}.") from None
        yield ray, True
    finally:
        ray.shutdown()
        said()
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)  # its logs name files


def _silence() -> Callable[[], None]:
    """Keep Ray from printing on stdout which processes and nodes it lost; returns the undoing.

    There is no option for it, and what a program reads from stdout would be broken by it. Where
    a later version of Ray has another inside, it stays as it is.
    """
    inside = sys.modules.get("ray._private.worker")
    before = getattr(inside, "print_to_stdstream", None)
    if before is None:
        return lambda: None
    inside.print_to_stdstream = lambda *args, **kwargs: None  # type: ignore[union-attr]

    def undo() -> None:
        inside.print_to_stdstream = before  # type: ignore[union-attr]

    return undo


@contextmanager
def _loopback() -> Iterator[None]:
    """Have Ray that is started meanwhile listen to this machine alone.

    It does so by itself on macOS and Windows; this is the switch, and it is read at import.
    """
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    before = os.environ.get(name)
    os.environ[name] = "0"
    constants = sys.modules.get("ray._private.ray_constants")
    clusters = getattr(constants, "ENABLE_RAY_CLUSTER", None)
    if clusters is not None:
        constants.ENABLE_RAY_CLUSTER = False  # type: ignore[union-attr]
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
        if clusters is not None:
            constants.ENABLE_RAY_CLUSTER = clusters  # type: ignore[union-attr]


def _home() -> str | None:
    """A folder for Ray's logs and sockets; None is its own choice."""
    made = tempfile.mkdtemp(prefix="velatura-")
    if len(made) > 30:  # the path of a socket may have 107 bytes
        os.rmdir(made)
        return None
    return made


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:200].rstrip(".")


# What all nodes must agree on.


@dataclass(frozen=True)
class _Common:
    """What every task is told.

    Attributes:
        settings: of all jobs.
        folder: of this run, beside the outputs; it holds the token and the claims.
        token: what its file holds.
        versions: that every node must have.
        seconds: of a segment.
        board: where progress is told; None where nobody looks.
    """

    settings: Settings
    folder: Path
    token: str
    versions: dict[str, str]
    seconds: float
    board: Any = None


RUN = ".velatura-run-"


@contextmanager
def _shared(first: Job) -> Iterator[tuple[Path, str]]:
    """A folder of this run where the outputs go, with a token in it; removed at the end."""
    parent = first.destination.absolute().parent
    batch._make_folder(parent)
    for left in parent.glob(f"{RUN}*"):  # of runs that were killed
        with suppress(OSError), open(left / TOKEN, "r+b") as file:
            if destination.locked(file.fileno()):
                shutil.rmtree(left, ignore_errors=True)
    token = secrets.token_hex(16)
    folder = parent / f"{RUN}{token[:8]}"
    try:
        folder.mkdir()
        held = open(folder / TOKEN, "x")
    except OSError as error:
        raise BadInput(f"Cannot write into {parent}: {error.strerror}.") from error
    try:
        with held:
            destination.locked(held.fileno())
            held.write(token)
            held.flush()
            os.fsync(held.fileno())
            yield folder, token
    finally:
        shutil.rmtree(folder, ignore_errors=True)


TOKEN = "token.partial"  # a name that no folder's walk takes for a source


def _unfit(common: _Common, paths: Sequence[Path] = ()) -> str:
    """Why this process cannot work for a run, in a clause; empty where it can."""
    try:
        seen = (common.folder / TOKEN).read_text() == common.token
    except OSError:
        seen = False
    if not seen:
        return (
            f"does not see {common.folder.parent}; the files must lie on a file system that "
            "every node sees under the same path"
        )
    mine = _versions()
    for name, version in common.versions.items():
        if mine[name] != version:
            return (
                f"has {name} {mine[name] or 'not at all'} where this machine has {version}; "
                "install the same everywhere"
            )
    for path in paths:
        if not path.exists():
            return f"does not see {path}; it must lie where every node sees it"
    return ""


def _agree(ray: Any, common: _Common, jobs: Sequence[Job]) -> None:
    """Ask every node that has CPUs whether it can do the work.

    Raises:
        BadInput: one cannot, or does not answer, or none has enough CPUs.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    threads = common.settings.threads
    nodes = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= threads]
    if not nodes:
        raise BadInput(
            f"No node of the cluster has {threads} CPU{'s' * (threads > 1)} to work with."
        )
    sources = [job.source.absolute() for job in jobs]
    paths = [min(sources), *map(Path, (common.settings.anonymizer, common.settings.regions))]
    paths = [path for path in paths if path.is_absolute() and path.exists()]
    asked = {}
    here = ray.get_runtime_context().get_node_id()
    for node in nodes:
        if node["NodeID"] == here:
            continue  # this very machine
        where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=where)(_unfit)
        asked[task.remote(common, paths)] = node["NodeManagerHostname"]
    if not asked:
        return
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE)
    for ref in answered:
        try:
            reason = ray.get(ref)
        except Exception as error:  # velatura cannot be imported there, or it has just died
            reason = f"cannot run velatura {__version__} ({_line(_cause(error))})"
        if reason:
            raise BadInput(f"The node {asked[ref]} {reason}.")
    for ref in silent:
        ray.cancel(ref, force=True)
        raise BadInput(f"The node {asked[ref]} did not answer within {PATIENCE:.0f} seconds.")


def _cause(error: Exception) -> BaseException:
    """What was raised in a task, or what Ray says became of it."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


# What runs on a node.


@dataclass(frozen=True)
class _Long:
    """A video that is cut.

    Attributes:
        spans: of it.
        identity: of the source, the settings and the versions; parts depend on it.
        sha256, stamp: of the source.
        doubt: why decoding must start at its beginning; empty where it need not.
        began: time of day, UTC.
        wall: seconds that looking at it took.
    """

    spans: list[Span]
    identity: str
    sha256: str
    stamp: tuple[int, int]
    began: str
    wall: float


@dataclass(frozen=True)
class _Failed:
    """What became of a task.

    Attributes:
        error: one sentence.
        whole: True where the video may be made in one piece instead.
    """

    error: str
    whole: bool = False


@lru_cache(maxsize=1)
def _loaded(settings: Settings) -> Anonymizer:
    """The anonymizer, once in each process."""
    return settings.load()


def _ready(common: _Common, index: int) -> Anonymizer:
    """The anonymizer, in a process that can work for this run."""
    _obey(common, index)
    if reason := _unfit(common):  # a node that came later than the others
        raise BadInput(f"The node {os.uname().nodename} {reason}.")
    return _loaded(common.settings)


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Hold a job alone. True where another attempt has held it: that one died, or is given up.

    One that was given up may still run, on a node that Ray lost sight of: it holds the lock, and
    is waited for.
    """
    try:
        claim = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        again = False
    except FileExistsError:
        claim = os.open(path, os.O_RDWR)
        again = True
    try:
        while not destination.locked(claim):
            time.sleep(0.2)
        yield again
    finally:
        os.close(claim)


class _Stop(BaseException):
    """A task was told to stop; like an interrupt, it gets through everything that cleans up."""


def _stop_file(folder: Path, index: int | None) -> Path:
    """Tells all tasks of a run, or those of one job, to stop.

    Not ``ray.cancel``: that takes the whole driver down where it meets the end of a task
    (github.com/ray-project/ray/pull/54785; seen with 2.60 in one of forty interrupts).
    """
    return folder / f"stop-{'all' if index is None else index}.partial"


def _obey(common: _Common, index: int) -> None:
    if any(_stop_file(common.folder, which).exists() for which in (None, index)):
        raise _Stop


def _teller(common: _Common, index: int, part: int) -> Callable[[int, int], None]:
    """Called for every frame: seldom tells the board, without waiting, and looks for a stop."""
    last = 0.0

    def tell(done: int, expected: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < TELL:
            return
        last = now
        _obey(common, index)
        if common.board is not None:
            with suppress(Exception):  # a board that is gone is no reason to stop
                common.board.note.remote(index, part, done, expected)

    return tell


STOPPED = _Failed("It was stopped.")


def _file(common: _Common, index: int, job: Job) -> Report | _Long | _Failed:
    """Make one file; or, where it is long, only look at it."""
    try:
        anonymizer = _ready(common, index)
        with _claimed(common.folder / f"file-{index}.partial") as again:
            # What an attempt before this one has finished is known by its report.
            settings = replace(common.settings, resume=common.settings.resume or again)
            if not (settings.resume and is_done(job, settings, anonymizer)):
                if (long := _look(common, job, settings, anonymizer)) is not None:
                    return long
            report = run_job(job, settings, anonymizer, _teller(common, index, 0))
            if again and report.status == "skipped":
                report.status = read_report(report_path(job.destination)).status
    except _Stop:
        _loaded.cache_clear()
        return STOPPED
    except EXPECTED as error:
        report = _failed(job, batch._sentence(error))
    if report.status == "failed":
        _loaded.cache_clear()  # it may be broken in the middle of a video
    if report.status != "skipped":
        remove_parts(job.destination)  # of an earlier run that cut it
    return report


def _failed(job: Job, error: str) -> Report:
    return Report(
        status="failed",
        source=str(job.source),
        destination=str(job.destination),
        kind=job.kind,
        error=error,
        began=_now(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _look(common: _Common, job: Job, settings: Settings, anonymizer: Anonymizer) -> _Long | None:
    """How a long video is cut; None where it is none, or cannot be: then ``run_job`` says why."""
    if job.kind != "video" or not common.seconds:
        return None
    clock = time.perf_counter()
    try:
        length = _length(job.source, settings)
        if length < 1.5 * common.seconds:
            return None
        past, ahead = needs(anonymizer)
        batch._make_folder(job.destination.parent)
        replaces = settings.overwrite or settings.resume
        destination.check(job.destination, job.source, replaces, SUFFIXES)
        mark = stamp(job.source)
        spans = cut(
            job.source,
            common.seconds,
            start=settings.start,
            end=settings.end,
            past=past,
            ahead=ahead,
        )
        if len(spans) < 2:
            return None
        digest = sha256(job.source)
    except VelaturaError:
        return None
    known = [digest, settings.science(), anonymizer.digest, common.versions]
    return _Long(
        spans=spans,
        identity=hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest(),
        sha256=digest,
        stamp=mark,
        began=_now(),
        wall=time.perf_counter() - clock,
    )


def _length(source: Path, settings: Settings) -> float:
    """Seconds of a video that are to be made; 0 where it does not say."""
    with open_video(source) as (container, stream):
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (container.duration or 0) / 1e6
    return min(seconds, settings.end or seconds) - settings.start


def _segment(common: _Common, index: int, job: Job, long: _Long, number: int) -> Part | _Failed:
    """Make one part of a long video."""
    try:
        anonymizer = _ready(common, index)
        if stamp(job.source) != long.stamp:
            raise BadInput(f"{job.source} changed while it was read; run this again.")
        return make_segment(
            job.source,
            long.spans[number],
            parts_folder(job.destination),
            anonymizer,
            identity=long.identity,
            on_error=common.settings.on_error,
            batch=common.settings.batch,
            progress=_teller(common, index, number),
        )
    except _Stop:
        _loaded.cache_clear()
        return STOPPED
    except EXPECTED as error:
        _loaded.cache_clear()
        partly = isinstance(error, Damaged) and common.settings.allow_partial
        return _Failed(batch._sentence(error), whole=partly or isinstance(error, InOnePiece))


def _join(
    common: _Common, index: int, job: Job, long: _Long, parts: list[Part]
) -> Report | _Failed:
    """Put the parts of a long video together, and write its report."""
    try:
        anonymizer = _ready(common, index)
        with _claimed(common.folder / f"join-{index}.partial") as again:
            settings = replace(common.settings, resume=common.settings.resume or again)
            if again and is_done(job, settings, anonymizer):
                report = read_report(report_path(job.destination))
            else:
                tell = _teller(replace(common, board=None), index, 0)
                report = _joined(job, long, parts, settings, anonymizer, tell)
        remove_parts(job.destination)
    except _Stop:
        return STOPPED
    except EXPECTED as error:
        report = _failed(job, batch._sentence(error))
    return report


def _joined(
    job: Job,
    long: _Long,
    parts: list[Part],
    settings: Settings,
    anonymizer: Anonymizer,
    progress: Callable[[int, int], None],
) -> Report:
    """As ``run_job``, from parts."""
    clock = time.perf_counter()
    info = long.spans[0].info
    what = contents.contents(job.source)
    sound: Literal["none", "dropped", "kept"] = "none"
    if info.has_audio:
        sound = "kept" if settings.sound == "keep" else "dropped"
    black = sum(part.black for part in parts)
    described = {**anonymizer.describe(), "segments": len(parts)}
    described.pop("counts", None)
    if all(part.counts for part in parts if part.times):
        counted = [part.counts for part in parts if part.times]
        described["counts"] = {name: sum(c[name] for c in counted) for name in counted[0]}
    report = Report(
        source=str(job.source),
        destination=str(job.destination),
        anonymizer=described,
        black=black,
        declared=info.declared,
        width=info.width,
        height=info.height,
        sound=sound,
        began=long.began,
    )
    if black:
        reason = next(part.reason for part in parts if part.reason)
        report.warnings.append(f"{black} frames are black: {reason}")

    def confirm(path: Path, made: Joined) -> None:
        report.frames, report.seconds = made.frames, round(float(made.seconds), 6)
        # Work, wherever it was done; side by side it took less.
        spent = long.wall + sum(part.wall for part in parts) + time.perf_counter() - clock
        report.wall = round(spent, 3)
        batch.finish(report, job, settings, what, path, long.sha256)

    with batch.report_with_copy(job.destination):
        join(
            parts,
            job.source,
            job.destination,
            sound=settings.sound,
            start=settings.start,
            end=settings.end,
            keep=settings.keep,
            overwrite=settings.overwrite or settings.resume,
            confirm=confirm,
            progress=progress,
        )
    return report


class _Board:
    """The last word of every task that runs; a Ray actor beside the one who looks at it."""

    def __init__(self) -> None:
        self.news: dict[tuple[int, int], tuple[int, int]] = {}

    def note(self, index: int, part: int, done: int, expected: int) -> None:
        self.news[index, part] = (done, expected)

    def take(self) -> dict[tuple[int, int], tuple[int, int]]:
        """What has changed since the last call."""
        news, self.news = self.news, {}
        return news


# Who hands the work out.

FILE, SEGMENT, JOIN = "file", "segment", "join"
FIRST = {JOIN: 0, SEGMENT: 1, FILE: 2}  # what has begun is ended before more begins


@dataclass
class _State:
    """What is known of a job.

    Attributes:
        long: how it is cut; None for one piece.
        parts: that are made.
        failed: the first of its tasks that failed.
        running: how many of its tasks were handed out and have not ended.
        frames: (done, expected) of each part.
        told: the last progress that was told.
    """

    long: _Long | None = None
    parts: dict[int, Part] = field(default_factory=dict)
    failed: _Failed | None = None
    running: int = 0
    frames: dict[int, tuple[int, int]] = field(default_factory=dict)
    told: tuple[int, int] = (0, 0)


class _Driver:
    """Hands tasks out, a few more than can run, and takes what they answer."""

    def __init__(
        self,
        ray: Any,
        jobs: Sequence[Job],
        common: _Common,
        workers: int | None,
        progress: Progress | None,
        retries: int,
    ):
        self.ray, self.jobs, self.workers, self.progress = ray, jobs, workers, progress
        self.retries = retries
        self.board: Any = None
        if progress is not None:
            self.board = self._near(_Board)
            common = replace(common, board=self.board)
        # By reference, so that hundreds of tasks do not each carry it.
        self.common = common
        how: dict[str, Any] = {"num_cpus": common.settings.threads, "max_retries": retries}
        how["num_gpus"] = 1 if common.settings.device == "cuda" else 0
        how["scheduling_strategy"] = "SPREAD"  # every machine its share, also of the reading
        self.tasks = {
            FILE: ray.remote(**how)(_file),
            SEGMENT: ray.remote(**how)(_segment),
            JOIN: ray.remote(**how)(_join),
        }
        self.states = {i: _State() for i in range(len(jobs))}
        self.pieces: set[int] = set()  # jobs that are not to be cut
        self.done = 0
        self.running: dict[Any, tuple[str, int, int]] = {}
        self.longs: dict[int, Any] = {}
        self.looking: Any = None
        self.looked = 0.0
        self.starved = 0.0
        # The largest first, so that none of them is left over at the end.
        sizes = [-_size(job.source) for job in jobs]
        self.waiting = [(FIRST[FILE], sizes[i], i, 0, FILE) for i in range(len(jobs))]
        heapq.heapify(self.waiting)

    def _near(self, kind: type) -> Any:
        """An actor in this machine, which lives as long as this run."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = self.ray.get_runtime_context().get_node_id()
        where = NodeAffinitySchedulingStrategy(here, soft=False)
        return self.ray.remote(num_cpus=0, scheduling_strategy=where)(kind).remote()

    def work(self) -> Iterator[Report]:
        """Until every job has its report."""
        while self.waiting or self.running:
            self._hand_out()
            for ref in self._ended():
                kind, index, number = self.running.pop(ref)
                self.states[index].running -= 1
                yield from self._take(kind, index, number, self._answer(ref))

    def _capacity(self) -> int:
        """How many tasks may be handed out: all that can run, and some that can follow at once."""
        if self.workers is not None:
            return self.workers
        cpus = int(self.ray.cluster_resources().get("CPU", 0)) // self.common.settings.threads
        return cpus + max(2, cpus // 4)

    def _hand_out(self) -> None:
        capacity = self._capacity() if self.waiting else 0
        while self.waiting and len(self.running) < capacity:
            _, _, index, number, kind = heapq.heappop(self.waiting)
            job = self.jobs[index]
            job = Job(job.source.absolute(), job.destination.absolute(), job.kind)
            common = self.common
            if index in self.pieces:
                common = replace(common, seconds=0.0)
            given: list[Any] = [common, index, job]
            if kind != FILE:
                given.append(self.longs[index])
            if kind == SEGMENT:
                given.append(number)
            if kind == JOIN:
                parts = self.states[index].parts
                given.append([parts[n] for n in sorted(parts)])
            self.running[self.tasks[kind].remote(*given)] = (kind, index, number)
            self.states[index].running += 1

    def _ended(self) -> list[Any]:
        """Tasks that have ended; none where nothing happened for a while."""
        ended, _ = self.ray.wait(list(self.running), num_returns=1, timeout=TELL)
        if not ended:
            self._starve()
        self._look()
        return list(ended)

    def _starve(self) -> None:
        """Give everything up where no node has had a CPU for a while."""
        if self._capacity() > 2 or self.workers is not None:
            self.starved = 0.0
        elif not self.starved:
            self.starved = time.monotonic()
        elif time.monotonic() - self.starved > PATIENCE:
            raise Failure("No node of the cluster is left to work on; what is done is done.")

    def _answer(self, ref: Any) -> Any:
        try:
            return self.ray.get(ref)
        except Exception as error:  # Ray's, or one that a task should not have raised
            return _Failed(_told(error, self.retries))

    def _take(self, kind: str, index: int, number: int, answer: Any) -> Iterator[Report]:
        state, job = self.states[index], self.jobs[index]
        if isinstance(answer, _Long):
            state.long = answer
            self.longs[index] = self.ray.put(answer)
            for span in answer.spans:
                state.frames[span.number] = (0, max(0, span.frames))
                heapq.heappush(self.waiting, (FIRST[SEGMENT], 0, index, span.number, SEGMENT))
            return
        if isinstance(answer, Part):
            self._hear(index, number, (len(answer.times), len(answer.times)))
            state.parts[number] = answer
            if state.long is not None and len(state.parts) == len(state.long.spans):
                heapq.heappush(self.waiting, (FIRST[JOIN], 0, index, 0, JOIN))
            if state.failed is None:
                return
        elif isinstance(answer, _Failed):
            if state.failed is None:
                state.failed = answer
                self._give_up(index)
        if state.failed is not None:
            if state.running:
                return
            if state.long is not None:
                remove_parts(job.destination)
            _stop_file(self.common.folder, index).unlink(missing_ok=True)
            if state.failed.whole and index not in self.pieces:
                self.pieces.add(index)
                self.states[index] = _State()
                heapq.heappush(self.waiting, (FIRST[SEGMENT], 0, index, 0, FILE))
                return
            answer = _failed(job, state.failed.error)
        elif answer.status == "failed" and state.long is not None:
            remove_parts(job.destination)
        # As the user named them; a task knows them by their full paths.
        report = replace(answer, source=str(job.source), destination=str(job.destination))
        self.done += report.status in ("done", "partial")
        self._tell(index, report.frames, report.frames)
        del self.states[index]
        self.longs.pop(index, None)
        yield report

    def _give_up(self, index: int) -> None:
        """Stop the other tasks of a job."""
        self.waiting = [entry for entry in self.waiting if entry[2] != index]
        heapq.heapify(self.waiting)
        _stop_file(self.common.folder, index).touch()

    def _look(self) -> None:
        """Hear how far the tasks are."""
        if self.board is None or time.monotonic() - self.looked < TELL:
            return
        self.looked = time.monotonic()
        if self.looking is not None:
            there, _ = self.ray.wait([self.looking], timeout=0)
            if not there:
                return
            with suppress(Exception):  # the board is gone; the work goes on
                for (index, part), news in self.ray.get(self.looking).items():
                    self._hear(index, part, news)
        self.looking = self.board.take.remote()

    def _hear(self, index: int, part: int, news: tuple[int, int]) -> None:
        state = self.states.get(index)
        if state is None or part in state.parts:
            return
        state.frames[part] = news
        done, expected = (sum(pair) for pair in zip(*state.frames.values(), strict=True))
        self._tell(index, done, expected)

    def _tell(self, index: int, done: int, expected: int) -> None:
        """Never less than before: a task that is done again begins anew."""
        state = self.states[index]
        done = max(done, state.told[0])
        if self.progress is not None and done and (done, expected) != state.told:
            state.told = (done, expected)
            self.progress(self.jobs[index], done, max(done, expected))

    def stop(self, ours: bool) -> None:
        """End all tasks: politely, so that they remove what they have half written; or not.

        Args:
            ours: whether this Ray is disconnected next, which ends what is left.
        """
        running = list(self.running)
        if running:
            with suppress(OSError):
                _stop_file(self.common.folder, None).touch()
            with suppress(Exception):
                ended, left = self.ray.wait(running, num_returns=len(running), timeout=POLITE)
                for ref in ended:
                    del self.running[ref]
                for ref in left if not ours else ():
                    self.ray.cancel(ref, force=True)
        if self.board is not None:
            with suppress(Exception):
                self.ray.kill(self.board)
        for index in self.states:  # what is whole and recorded is kept
            folder = parts_folder(self.jobs[index].destination)
            if not any(folder.glob("*.json")):
                remove_parts(self.jobs[index].destination)

    def told(self) -> str:
        """What an interrupt has to say."""
        text = f"Interrupted; {self.done} of {len(self.jobs)} are done"
        folders = [parts_folder(self.jobs[index].destination) for index in self.states]
        if kept := [str(folder) for folder in folders if folder.is_dir()]:
            text += f", and parts of others are in {', '.join(kept)}"
        return f"{text}; the same command with --resume goes on."


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _told(error: Exception, retries: int) -> str:
    """What became of a task, in one sentence."""
    from ray import exceptions

    cause = _cause(error)
    if isinstance(error, exceptions.RayTaskError):
        known = isinstance(cause, VelaturaError)
        return str(cause) if known else f"Unexpected {type(cause).__name__}: {_line(cause)}."
    times = f"{retries + 1} time{'s' * (retries > 0)}"
    if isinstance(error, exceptions.OutOfMemoryError):
        return "Ray stopped its process because the memory of the node was full; use fewer at once."
    if isinstance(error, exceptions.WorkerCrashedError):
        return f"Its process died {times}, killed or out of memory; nothing was written."
    if isinstance(error, exceptions.NodeDiedError | exceptions.ObjectLostError):
        return f"Its node was lost {times}; nothing was written."
    if isinstance(error, exceptions.TaskCancelledError):
        return "It was cancelled from outside; nothing was written."
    return f"Ray gave it up: {type(error).__name__}: {_line(error)}."


def scaling(
    sources: Sequence[str | Path],
    settings: Settings | None = None,
    *,
    workers: tuple[int, int] = (1, 2),
    rounds: int = 3,
    segment_seconds: float = 0.0,
) -> dict[str, Any]:
    """How much faster the same files are done by more workers, on this machine.

    Both numbers of workers in one Ray session, in alternating order, after one round that is not
    counted: so neither starting processes nor reading from a cold disk is measured.

    Args:
        sources: video files.
        workers: the two numbers to compare.
        rounds: how often both are measured.
        segment_seconds: as ``run``; 0 cuts none.

    Returns:
        ``files``, ``cpus``, ``seconds`` (all of each), ``medians`` and ``ratio``, the first
        median over the second: 2 would be perfect for twice as many workers.

    Raises:
        Failure: a file could not be made.
    """
    settings = settings or Settings()
    seconds: dict[int, list[float]] = {count: [] for count in workers}
    with sigterm_unwinds(always=True), _session(None, max(workers), settings.threads or 1):
        for turn in range(rounds + 1):
            order = (max(workers),) if not turn else workers if turn % 2 else workers[::-1]
            for count in order:
                with tempfile.TemporaryDirectory() as folder:
                    jobs = [
                        Job(Path(source), Path(folder) / f"{i}.mp4", "video")
                        for i, source in enumerate(sources)
                    ]
                    begin = time.perf_counter()
                    made = run(jobs, settings, workers=count, segment_seconds=segment_seconds)
                    for report in made:
                        if report.status == "failed":
                            raise Failure(report.error)
                    if turn:
                        seconds[count].append(time.perf_counter() - begin)
    medians = {count: statistics.median(values) for count, values in seconds.items()}
    return {
        "files": len(sources),
        "cpus": len(os.sched_getaffinity(0)),
        "seconds": {n: [round(s, 3) for s in values] for n, values in seconds.items()},
        "medians": {n: round(s, 3) for n, s in medians.items()},
        "ratio": round(medians[workers[0]] / medians[workers[1]], 3),
    }
