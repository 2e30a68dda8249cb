"""Files on a real Ray cluster of two nodes, whose processes and nodes are killed midway."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from looking import written

from velatura.deploy import cluster
from velatura.deploy.batch import Job, Settings, plan, run_job
from velatura.deploy.file import anonymize_video
from velatura.deploy.record import Report, read_report, report_path, sha256
from velatura.deploy.segments import parts_folder
from velatura.errors import BadInput
from velatura.video.read import read_frames

# A blur at full size takes long enough to be killed in the middle of it.
SETTINGS = Settings(anonymizer="blur", scale=0)
SEGMENT = 2.0
LONG = 300

needs_ray = pytest.mark.skipif(
    not (Path("/proc").is_dir() and importlib.util.find_spec("ray")),
    reason="needs Ray (pip install 'velatura[ray]') and Linux",
)


def encode(path: Path, frames: int, seed: int = 0, height: int = 120, width: int = 160) -> Path:
    """Noise that a bright block wanders over, 30 frames a second."""
    still = np.random.default_rng(seed).integers(40, 120, (height, width, 3), np.uint8)
    with av.open(str(path), "w") as container:
        options = {"g": "30", "bf": "2", "preset": "ultrafast"}
        stream = container.add_stream("libx264", 30, options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for i in range(frames):
            image = still.copy()
            x, y = 7 * i % (width - 30), 3 * i % (height - 30)
            image[y : y + 30, x : x + 30] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """Four short videos and a long one."""
    folder = tmp_path_factory.mktemp("sources")
    for i in range(4):
        encode(folder / f"short{i}.mp4", 40, seed=i)
    encode(folder / "long.mp4", LONG, seed=9)
    return folder


@pytest.fixture
def jobs(sources, tmp_path) -> list[Job]:
    return plan([sources], tmp_path / "out")[0]


# Without Ray: what a task does.


def common_of(folder: Path, **changes) -> cluster._Common:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / cluster.TOKEN).write_text("token")
    settings = replace(SETTINGS, scale=None, threads=1)
    values = {"settings": settings, "folder": folder, "token": "token", "seconds": 0.0}
    return cluster._Common(**{**values, "versions": cluster._versions(), **changes})


@pytest.fixture
def short(tmp_path) -> Job:
    (tmp_path / "out").mkdir()
    return Job(encode(tmp_path / "a.mp4", 12, 0, 48, 64), tmp_path / "out" / "a.mp4", "video")


@pytest.fixture(autouse=True)
def _fresh():
    cluster._loaded.cache_clear()


def in_process(common: cluster._Common, job: Job):
    """A file as the tasks do it, without Ray."""
    answer = cluster._file(common, 0, job)
    if not isinstance(answer, cluster._Long):
        return answer
    numbers = [span.number for span in answer.spans]
    parts = [cluster._segment(common, 0, job, answer, n) for n in numbers]
    failed = [part for part in parts if isinstance(part, cluster._Failed)]
    return failed[0] if failed else cluster._join(common, 0, job, answer, parts)


@pytest.mark.parametrize("seconds", [0.0, 0.1], ids=["whole", "cut"])
@pytest.mark.parametrize("past", [False, True], ids=["mode", "file that looks back"])
def test_attempt_after_the_rename_makes_nothing_again(tmp_path, short, seconds, past):
    """Its forerunner died between giving the file its name and telling so."""
    common = common_of(tmp_path / "run", seconds=seconds)
    if past:
        file = written(tmp_path / "x.onnx")
        common = replace(common, settings=replace(common.settings, anonymizer=str(file)))
    first = in_process(common, short)
    assert first.status == "done", first.error
    assert ("segments" in first.anonymizer) == (seconds > 0)
    before = short.destination.stat()
    second = in_process(common, short)
    assert (second.status, second.destination_sha256) == ("done", first.destination_sha256)
    after = short.destination.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    # Before its report was written: made again, in its place.
    report_path(short.destination).unlink()
    assert in_process(common, short).status == "done"
    assert sorted(p.name for p in short.destination.parent.iterdir()) == [
        "a.mp4",
        "a.mp4.report.json",
    ]


@pytest.mark.parametrize("seconds", [0.0, 0.1], ids=["whole", "cut"])
def test_first_attempt_replaces_nothing(tmp_path, short, seconds):
    """A file that appeared since the command was checked is somebody else's."""
    short.destination.write_bytes(b"precious")
    report = in_process(common_of(tmp_path / "run", seconds=seconds), short)
    assert report.status == "failed"
    assert "exists" in report.error
    assert short.destination.read_bytes() == b"precious"
    assert list(short.destination.parent.iterdir()) == [short.destination]


def test_report_is_the_same_as_locally(tmp_path, short):
    local = Job(short.source, tmp_path / "out" / "b.mp4", "video")
    settings = replace(SETTINGS, scale=None)
    one = run_job(local, settings, settings.load())
    report = in_process(common_of(tmp_path / "run", seconds=0.1), short)
    for name in ("status", "source_sha256", "settings", "frames", "seconds", "width", "removed",
                 "sound", "declared", "versions", "warnings", "black", "kind"):  # fmt: skip
        assert getattr(report, name) == getattr(one, name), name
    assert read_report(report_path(short.destination)) == report
    assert report.destination_sha256 == sha256(short.destination)
    resumed = common_of(tmp_path / "again", settings=replace(settings, resume=True, threads=1))
    assert in_process(resumed, short).status == "skipped"


def test_resumed_whole_after_cut_removes_old_parts(tmp_path, short):
    parts_folder(short.destination).mkdir()
    assert in_process(common_of(tmp_path / "run"), short).status == "done"
    assert not parts_folder(short.destination).exists()


def test_source_that_changes_midway(tmp_path, short):
    common = common_of(tmp_path / "run", seconds=0.1)
    long = cluster._file(common, 0, short)
    parts = [cluster._segment(common, 0, short, long, n) for n in range(len(long.spans))]
    os.utime(short.source, ns=(1, 1))
    failed = cluster._segment(common, 0, short, long, 0)
    assert "changed while it was read" in failed.error
    with open(short.source, "ab") as file:
        file.write(b"more")
    assert "changed while" in cluster._join(common, 0, short, long, parts).error
    assert not short.destination.exists()


@pytest.mark.parametrize("which", [None, 0, 1])
def test_tasks_stop_when_they_are_told(tmp_path, short, monkeypatch, which):
    """At once, in the middle of a file, of a part and of joining; or not, where it is another."""
    monkeypatch.setattr(cluster, "TELL", 0.0)
    common = common_of(tmp_path / "run", seconds=0.1)
    long = cluster._file(common, 0, short)
    parts = [cluster._segment(common, 0, short, long, n) for n in range(len(long.spans))]
    stop = cluster._stop_file(common.folder, which)
    ready = cluster._ready

    def then_stop(*args):
        answer = ready(*args)
        stop.touch()
        return answer

    monkeypatch.setattr(cluster, "_ready", then_stop)
    whole = replace(common, seconds=0.0)
    for task in (
        lambda: cluster._segment(replace(common), 0, short, replace(long, identity="x"), 0),
        lambda: cluster._join(common, 0, short, long, parts),
        lambda: cluster._file(whole, 0, short),
    ):
        stop.unlink(missing_ok=True)
        assert (task() == cluster.STOPPED) == (which != 1)
        assert not list(short.destination.parent.rglob("*.partial"))
    if which != 1:  # or before it begins
        assert cluster._file(whole, 0, short) == cluster.STOPPED
        assert not short.destination.exists()


def test_a_claim_is_held_by_one(tmp_path):
    """One that was given up, and still runs, is waited for."""
    order = []
    held, go = threading.Event(), threading.Event()

    def first():
        with cluster._claimed(tmp_path / "claim") as again:
            order.append(("first", again))
            held.set()
            go.wait(20)
            order.append(("end", False))

    thread = threading.Thread(target=first)
    thread.start()
    assert held.wait(20)
    threading.Timer(0.3, go.set).start()
    with cluster._claimed(tmp_path / "claim") as again:
        order.append(("second", again))
    thread.join()
    assert order == [("first", False), ("end", False), ("second", True)]


def test_node_that_is_not_fit(tmp_path):
    common = common_of(tmp_path / "run")
    assert cluster._unfit(common) == ""
    assert "does not see" in cluster._unfit(replace(common, token="another"))
    assert "does not see" in cluster._unfit(replace(common, folder=tmp_path / "nowhere"))
    assert "nothing.onnx" in cluster._unfit(common, [tmp_path / "nothing.onnx"])
    other = {**common.versions, "velatura": "0.0.1"}
    assert "where this machine has 0.0.1" in cluster._unfit(replace(common, versions=other))
    job = Job(tmp_path / "a.mp4", tmp_path / "b.mp4", "video")
    assert "install the same everywhere" in in_process(replace(common, versions=other), job).error


def test_folder_of_a_run_that_was_killed_is_removed(tmp_path):
    job = Job(tmp_path / "a.mp4", tmp_path / "out" / "a.mp4", "video")
    with cluster._shared(job) as (alive, _):
        dead = alive.with_name(f"{cluster.RUN}dead")
        dead.mkdir()
        (dead / cluster.TOKEN).write_text("x")
        with cluster._shared(job) as (folder, token):
            assert (folder / cluster.TOKEN).read_text() == token
            assert alive.exists()
            assert not dead.exists()
    assert list((tmp_path / "out").iterdir()) == []


def test_without_ray(tmp_path, short, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r"pip install 'velatura\[ray\]'"):
        list(cluster.run([short], SETTINGS))
    assert list(cluster.run([], SETTINGS)) == []
    for wrong in ({"workers": 0}, {"segment_seconds": -1.0}):
        with pytest.raises(BadInput, match="must be"):
            list(cluster.run([short], SETTINGS, **wrong))


# With Ray: two nodes on this machine.


def processes(text: str) -> list[int]:
    """Every process whose command line or environment holds a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                known = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rpartition(") ")[2][0]
                if text.encode() in known and state != "Z":
                    found.append(int(entry.name))
    return found


def holder(path: Path) -> int | None:
    """The process that has a file open."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if any(os.readlink(link) == str(path) for link in (entry / "fd").iterdir()):
                    return int(entry.name)
    return None


MARK = "VELATURA_TEST_MARK"


@contextmanager
def no_leaks(mark: str) -> Iterator[None]:
    """Every process that bears a mark in its environment ends, whatever fails in between."""
    before = os.environ.get(MARK, "")
    os.environ[MARK] = mark
    try:
        yield
    finally:
        os.environ[MARK] = before
        until = time.monotonic() + 15
        while (left := processes(mark)) and time.monotonic() < until:
            time.sleep(0.1)
        for process in left:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
    assert left == [], "processes were left"


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory):
    """One CPU each; all their processes are gone afterwards."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = cluster._ray()
    from ray.cluster_utils import Cluster

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    resource_tracker.ensure_running()  # outlives the tests, and so must bear no mark
    # Sockets lie in it, whose paths must be short.
    with (
        tempfile.TemporaryDirectory(prefix="vt-", ignore_cleanup_errors=True) as home,
        no_leaks(f"velatura-test-{os.getpid()}"),
    ):
        made = Cluster()
        # Ray notes the address in its own folder, which it makes only if nodes lie there, too.
        Path(ray._private.utils.get_ray_address_file(None)).parent.mkdir(exist_ok=True)
        try:
            made.add_node(num_cpus=1, include_dashboard=False, temp_dir=home)
            made.add_node(num_cpus=1)
            yield made
        finally:
            ray.shutdown()
            made.shutdown()
            for number, handler in handlers.items():  # Ray's own would outlive it
                signal.signal(number, handler)


def found_in(folder: Path, *patterns: str) -> list[Path]:
    """What is there, in a folder from which others remove."""
    with suppress(OSError):
        return [path for pattern in patterns for path in folder.glob(pattern)]
    return []


class Watch(threading.Thread):
    """Sees every file that an output's or a part's name ever meant; acts on a half-written one.

    Attributes:
        seen: inodes and times by name.
        acted: whether that was done.
    """

    def __init__(self, jobs: list[Job], act: Callable[[Path], bool] = lambda partial: True):
        super().__init__(daemon=True)
        self.jobs, self.act = jobs, act
        self.seen: dict[str, set[tuple[int, int]]] = defaultdict(set)
        self.acted = False
        self.end = threading.Event()

    def run(self) -> None:
        while not self.end.wait(0.005):
            out = self.jobs[0].destination.parent
            outputs = [job.destination for job in self.jobs]
            for path in [*outputs, *found_in(out, ".*.parts/*.json")]:
                with suppress(OSError):
                    found = path.stat()
                    self.seen[path.name].add((found.st_ino, found.st_mtime_ns))
            if not self.acted:
                for partial in found_in(out, "*.partial", ".*.parts/*.partial"):
                    if not self.acted and ".report.json" not in partial.name:
                        self.acted = self.act(partial)

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end.set()
        self.join()


class Run:
    """A run under a watch.

    Attributes:
        reports: of the jobs, as they came.
        calls: of ``progress``.
        watch: what was seen.
    """

    def __init__(self, watch: Watch):
        self.reports: list[Report] = []
        self.calls: list[tuple[Job, int, int]] = []
        self.watch = watch


def apart(jobs: list[Job], act: Callable[[Path], bool], **options: Any) -> Run:
    """``cluster.run`` in a process of its own, while others are killed.

    Ray's native code has been seen to end the process that drives it as one of its workers died (a
    general protection fault in its ``worker.io`` thread, once in seventeen runs of the suite). That
    is no verdict on ours: from an empty folder it is tried anew, twice. Any other end is one.
    """
    for _ in range(3):
        shutil.rmtree(jobs[0].destination.parent, ignore_errors=True)
        ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
        driver = multiprocessing.get_context("spawn").Process(
            target=_drive, args=(jobs, options, theirs)
        )
        with Watch(jobs, act) as watch:
            run = Run(watch)
            driver.start()
            theirs.close()
            with suppress(EOFError, ConnectionResetError):  # it has ended, somehow
                while True:
                    what, told = ours.recv()
                    (run.reports if what == "report" else run.calls).append(told)
            driver.join()
        if driver.exitcode is not None and driver.exitcode >= 0:
            assert driver.exitcode == 0, "its error is above"
            return run
    raise AssertionError(f"the driver died of signal {-(driver.exitcode or 0)} three times")


def _drive(jobs: list[Job], options: dict[str, Any], told: Any) -> None:
    reports = cluster.run(
        jobs, SETTINGS, segment_seconds=SEGMENT,
        progress=lambda *call: told.send(("call", call)), **options,
    )  # fmt: skip
    for report in reports:
        told.send(("report", report))
    import ray

    assert not ray.is_initialized()


def check_all(jobs, reports, watch, sources) -> None:
    """Nothing lost, nothing twice, nothing raw, nothing left."""
    assert sorted(r.destination for r in reports) == sorted(str(j.destination) for j in jobs)
    assert {r.status for r in reports} == {"done"}, [r.error for r in reports]
    expected = {name for j in jobs for name in (j.destination, report_path(j.destination))}
    assert set(jobs[0].destination.parent.iterdir()) == expected
    # Of everything that had a name, parts included, there was one file ever.
    assert {name: len(files) for name, files in watch.seen.items() if len(files) != 1} == {}
    assert {job.destination.name for job in jobs} <= set(watch.seen)
    for job in jobs:
        report = read_report(report_path(job.destination))
        assert report.destination_sha256 == sha256(job.destination)
        assert report.source_sha256 == sha256(job.source)
        local = local_copy(job.source)
        if job.source.name != "long.mp4":  # the very bytes that one machine makes
            assert sha256(local) == report.destination_sha256
            continue
        assert report.anonymizer["segments"] == 5
        count = 0
        triples = zip(*map(read_frames, (job.destination, local, job.source)), strict=True)
        for ours, theirs, raw in triples:
            count += 1
            assert ours.pts * ours.time_base == raw.pts * raw.time_base
            assert np.abs(ours.image.astype(int) - theirs.image).mean() < 2
            assert detail(ours.image) < 3 < 15 < detail(raw.image)
        assert count == report.frames == LONG


def detail(image: np.ndarray) -> float:
    """How much neighbouring pixels differ: a blur leaves hardly anything of it."""
    return float(np.abs(np.diff(image.astype(int), axis=1)).mean())


COPIES: dict[Path, Path] = {}


def local_copy(source: Path) -> Path:
    """What one machine makes of it."""
    if source not in COPIES:
        copy = source.parent.with_name("local") / source.name
        copy.parent.mkdir(exist_ok=True)
        anonymize_video(source, copy, SETTINGS.load())
        COPIES[source] = copy
    return COPIES[source]


@needs_ray
@pytest.mark.slow
def test_a_process_is_killed(two_nodes, jobs, sources, capfd):
    """In the middle of a part of the long video; on the way, progress is told."""
    killed = []

    def kill(partial: Path) -> bool:
        if ".parts" not in str(partial) or (process := holder(partial)) is None:
            return False
        os.kill(process, signal.SIGKILL)
        killed.append(process)
        # What it wrote is still half: it had not got to the end.
        return partial.exists()

    run = apart(jobs, kill, address=two_nodes.address)
    assert run.watch.acted
    assert killed
    check_all(jobs, run.reports, run.watch, sources)
    for job in jobs:
        told = [(done, expected) for j, done, expected in run.calls if j == job]
        frames = LONG if job.source.name == "long.mp4" else 40
        assert told == sorted(told)
        assert told[-1] == (frames, frames)
        assert len(told) >= frames / 60
    assert capfd.readouterr().out == ""  # reports may stand there


@needs_ray
@pytest.mark.slow
def test_some_that_always_die_and_one_that_is_no_video(two_nodes, sources, tmp_path):
    """Each is one report; the others are made."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "none.mp4").write_text("no video")
    for name in ("short0.mp4", "short1.mp4"):
        (folder / name).write_bytes((sources / name).read_bytes())
    (folder / "long.mp4").write_bytes((sources / "long.mp4").read_bytes())
    jobs, _ = plan([folder], tmp_path / "out")
    kills = []

    def kill(partial: Path) -> bool:
        doomed = ".long" in str(partial) or "short1" in partial.name
        if doomed and (process := holder(partial)) is not None:
            os.kill(process, signal.SIGKILL)
            kills.append(process)
        return False

    reports = apart(jobs, kill, address=two_nodes.address, retries=1).reports
    by_name = {Path(r.source).name: r for r in reports}
    assert len(reports) == len(by_name) == 4
    assert {n: r.status for n, r in by_name.items()} == {
        "long.mp4": "failed",
        "none.mp4": "failed",
        "short0.mp4": "done",
        "short1.mp4": "failed",
    }
    assert len(set(kills)) >= 4
    assert "process died 2 times" in by_name["long.mp4"].error
    assert "process died 2 times" in by_name["short1.mp4"].error
    assert "none.mp4" in by_name["none.mp4"].error
    left = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert left == ["short0.anon.mp4", "short0.anon.mp4.report.json"]


def hears_of_progress(ray, jobs, folder) -> None:
    """From another process, the last of many words."""
    heard = []
    common = common_of(folder / "run")
    driver = cluster._Driver(ray, jobs, common, None, lambda *told: heard.append(told), 0)
    tell = cluster._teller(driver.common, 1, 0)
    for done in range(5, 40):
        tell(done, 40)  # all but the first come too soon after it
    until = time.monotonic() + 30
    while not heard:
        assert time.monotonic() < until
        driver.looked = 0.0
        driver._look()
        time.sleep(0.02)
    assert heard == [(jobs[1], 5, 40)]
    driver.stop(ours=True)


UNSEEN = "mount -t tmpfs none {folder} && exec {python} -m ray.scripts.scripts {start}"


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_a_node_that_does_not_see_the_files(two_nodes, jobs, tmp_path):
    """A third one, whose file system is another where the outputs go."""
    (tmp_path / "out").mkdir()
    start = f"start --address={two_nodes.address} --num-cpus=1 --block --disable-usage-stats"
    script = UNSEEN.format(folder=tmp_path / "out", python=sys.executable, start=start)
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as node:
        try:
            import ray

            ray.init(two_nodes.address, logging_level="CRITICAL", log_to_driver=False)
            until = time.monotonic() + 30
            while len([n for n in ray.nodes() if n["Alive"]]) < 3:
                if node.poll() is not None:
                    assert node.stdout is not None
                    pytest.skip(f"no third node: {node.stdout.read()[-200:]!r}")
                assert time.monotonic() < until
                time.sleep(0.1)
            with pytest.raises(BadInput, match=r"The node \S+ does not see .*out"):
                list(cluster.run(jobs, SETTINGS))
            assert ray.is_initialized()  # the caller's own is left alone
            assert list((tmp_path / "out").iterdir()) == []
            hears_of_progress(ray, jobs, tmp_path)
        finally:
            ray.shutdown()
            node.terminate()
            node.communicate(timeout=20)


ALONE = """
import os, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from velatura.deploy import cluster
from velatura.deploy.batch import Settings, plan
jobs, _ = plan([Path(sys.argv[1])], Path(sys.argv[2]), resume=True)
settings = Settings(anonymizer="blur", scale=0, resume=True)
def tell(job, done, expected):
    print("progress", flush=True)
try:
    for report in cluster.run(jobs, settings, segment_seconds=2.0, workers=2, progress=tell):
        print("report", report.status, report.error, flush=True)
except KeyboardInterrupt as stop:
    print("stopped", stop, flush=True)
    sys.exit(130)
"""


def listening(mark: str) -> set[str]:
    """Addresses, in hexadecimal, on which processes that bear a mark wait for connections."""
    sockets = {
        os.readlink(link)
        for process in processes(mark)
        for link in list_of(Path(f"/proc/{process}/fd"))
    }
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1].split(":")[0])
    return found


def list_of(folder: Path) -> list[Path]:
    try:
        return [link for link in folder.iterdir() if link.is_symlink()]
    except OSError:
        return []


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@needs_ray
@pytest.mark.slow
def test_interrupt_and_go_on(two_nodes, sources, tmp_path):
    """Nothing half-written, no process of our own Ray; on a cluster, done parts are used again."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "long.mp4").write_bytes((sources / "long.mp4").read_bytes())
    out = tmp_path / "out"
    mark = f"velatura-alone-{os.getpid()}"
    command = [sys.executable, "-c", ALONE, str(folder), str(out)]
    with no_leaks(mark), subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as first:  # fmt: skip
        try:
            until = time.monotonic() + 60
            while not found_in(out, ".*.parts/*.json"):
                assert first.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
            assert LOOPBACK >= listening(mark) != set()
            os.killpg(first.pid, signal.SIGINT)  # as a terminal does
            told, errors = first.communicate(timeout=40)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(first.pid, signal.SIGKILL)
    assert first.returncode == 130, errors
    assert "Traceback" not in errors
    stopped = next(line for line in told.splitlines() if line.startswith("stopped"))
    assert "0 of 1 are done, and parts of others are in" in stopped
    (parts,) = out.iterdir()
    assert parts == parts_folder(out / "long.anon.mp4")
    assert not [p for p in parts.iterdir() if ".partial" in p.name]
    kept = {p.name: p.stat().st_ino for p in parts.glob("*.json")}
    assert 1 <= len(kept) < 5

    (job,), _ = plan([folder], out, resume=True)
    settings = replace(SETTINGS, resume=True)
    with Watch([job], lambda partial: False) as watch:
        (report,) = cluster.run([job], settings, address=two_nodes.address, segment_seconds=SEGMENT)
    assert (report.status, report.anonymizer["segments"]) == ("done", 5)
    seen = {name: len(files) for name, files in watch.seen.items() if name in kept}
    assert seen == dict.fromkeys(kept, 1)
    assert all(next(iter(watch.seen[name]))[0] == inode for name, inode in kept.items())
    assert sorted(p.name for p in out.iterdir()) == [
        "long.anon.mp4",
        "long.anon.mp4.report.json",
    ]


@needs_ray
@pytest.mark.slow
def test_a_node_is_lost(two_nodes, jobs, sources):
    """With all of its processes, while one of them writes."""
    second = next(iter(two_nodes.worker_nodes))
    raylet = second.all_processes["raylet"][0].process.pid

    def lose(partial: Path) -> bool:
        process = holder(partial)
        if process is None or parent(process) != raylet:
            return False
        second.kill_raylet()
        return True

    run = apart(jobs, lose, address=two_nodes.address)
    assert run.watch.acted
    check_all(jobs, run.reports, run.watch, sources)


def parent(process: int) -> int:
    stat = Path(f"/proc/{process}/stat").read_text()
    return int(stat.rpartition(") ")[2].split()[1])
