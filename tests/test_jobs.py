"""Jobs: order, dependencies, reuse, and what is left behind when something ends early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from velatura.errors import BadInput, Failure
from velatura.jobs import Event, Job, run, tell

pytestmark = pytest.mark.slow  # every test starts worker processes, each of which loads torch

# ------------------------------------------------------------------------- what workers do


def note(job: str, folder: str, wait: float = 0.0) -> str:
    """Write when the job began and ended, and by whom."""
    begin = time.time()
    for step in range(3):
        tell(job, step + 1, 3, {"step": float(step)})
        time.sleep(wait / 3)
    Path(folder, job).write_text(f"{begin} {time.time()} {os.getpid()}")
    return job.upper()


def threads(job: str, folder: str) -> int:
    import torch

    return torch.get_num_threads()


def wrong(job: str, folder: str) -> None:
    raise BadInput(f"{job} cannot be done; try another.")


def odd(job: str, folder: str) -> None:
    raise ZeroDivisionError(f"of {job}\nin two lines")


class Peculiar(Exception):
    """It is made of two things and hands on one, which is not enough to make it again."""

    def __init__(self, one: str, two: Any):
        super().__init__(one)
        self.two = two


def peculiar(job: str, folder: str, sent: bool) -> None:
    raise Peculiar(job, None if sent else (lambda: None))


def killed(job: str, folder: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def long(job: str, folder: str) -> None:
    Path(folder, job).write_text(str(os.getpid()))
    time.sleep(600)


def deaf(job: str, folder: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    long(job, folder)


def span(folder: Path, job: str) -> tuple[float, float, int]:
    begin, end, who = (folder / job).read_text().split()
    return float(begin), float(end), int(who)


def children() -> list[psutil.Process]:
    """Processes of ours that still run jobs."""
    found = psutil.Process().children(recursive=True)
    return [p for p in found if "spawn_main" in " ".join(p.cmdline())]


# ------------------------------------------------------------------------------- all is well


def test_order_dependencies_and_reuse(tmp_path: Path):
    at = {"folder": str(tmp_path)}
    (tmp_path / "old").write_text("kept")
    jobs = [
        Job("late", "b", note, at, ("first", "second")),
        Job("first", "a", note, {**at, "wait": 0.3}),
        Job("second", "a", note, {**at, "wait": 0.3}),
        Job("old", "a", wrong, at, (), (tmp_path / "old").exists),
        Job("after old", "b", note, at, ("old",)),
        Job("threads", "b", threads, at, ("late",)),
    ]
    events = list(run(jobs, 2, 1))
    assert children() == []

    of: dict[str, list[Event]] = {job.name: [] for job in jobs}
    for event in events:
        of[event.job.name].append(event)
    assert [e.kind for e in of.pop("old")] == ["reused"]
    for name, told in of.items():
        kinds = [e.kind for e in told]
        assert kinds[0] == "start"
        assert kinds.count("start") == kinds.count("end") == 1
        end = told[kinds.index("end")]
        assert end.result == (1 if name == "threads" else name.upper())
        assert end.seconds >= 0
    spans = {name: span(tmp_path, name) for name in of if name != "threads"}
    assert spans["late"][0] >= max(spans["first"][1], spans["second"][1])
    assert {who for *_, who in spans.values()}.isdisjoint({os.getpid()})
    # What is ready is begun in the order listed, and two at a time.
    starts = [e.job.name for e in events if e.kind == "start"]
    assert starts[:2] == ["first", "second"]
    running = 0
    for event in events:
        running += {"start": 1, "end": -1}.get(event.kind, 0)
        assert 0 <= running <= 2
    told = [(e.done, e.total, e.terms) for e in of["first"] if e.kind == "progress"]
    assert told == [(1, 3, {"step": 0.0}), (2, 3, {"step": 1.0}), (3, 3, {"step": 2.0})]


def test_where_all_is_done_nothing_is_started(tmp_path: Path):
    jobs = [
        Job(name, "a", wrong, {}, needs, lambda: True) for name, needs in (("b", ("a",)), ("a", ()))
    ]
    assert [(e.kind, e.job.name) for e in run(jobs, 2, 1)] == [("reused", "b"), ("reused", "a")]


# --------------------------------------------------------------------------- something is not


def test_an_error_of_a_worker_is_the_error_of_the_run(tmp_path: Path):
    """Others are stopped at once, and what depends on it never begins."""
    at = {"folder": str(tmp_path)}
    jobs = [Job("long", "a", long, at), Job("x", "a", wrong, at), Job("y", "a", note, at, ("x",))]
    seen = []
    begin = time.monotonic()
    with pytest.raises(BadInput) as caught:
        seen += [e.kind for e in run(jobs, 2, 1)]
    assert str(caught.value) == "x cannot be done; try another."
    assert time.monotonic() - begin < 300
    assert children() == []
    assert not (tmp_path / "y").exists()


def test_a_killed_worker_is_a_sentence(tmp_path: Path):
    at = {"folder": str(tmp_path)}
    with pytest.raises(Failure) as caught:
        list(run([Job("x", "a", killed, at), Job("y", "a", note, at, ("x",))], 1, 1))
    assert str(caught.value) == (
        "A worker process was killed, perhaps for want of memory; run the same command to "
        "resume, with fewer workers if it happens again."
    )
    assert children() == []
    assert not (tmp_path / "y").exists()


def kinds_of(events: list[Event]) -> dict[str, list[str]]:
    """What was told of each job, without its progress."""
    told: dict[str, list[str]] = {}
    for event in events:
        if event.kind != "progress":
            told.setdefault(event.job.name, []).append(event.kind)
    return told


def test_what_breaks_takes_along_what_needs_it_and_no_more(tmp_path: Path):
    at = {"folder": str(tmp_path)}
    (tmp_path / "there").touch()
    jobs = [
        Job("far", "a", note, at, ("near",)),
        Job("near", "a", note, at, ("x", "fine")),
        Job("x", "a", wrong, at),
        Job("y", "a", odd, at),
        Job("fine", "a", note, at),
        Job("later", "a", note, at, ("fine",)),
        Job("there", "a", wrong, at, ("x",), (tmp_path / "there").exists),
    ]
    events = list(run(jobs, 2, 1, keep_going=True))
    assert children() == []
    assert kinds_of(events) == {
        "x": ["start", "failed"],
        "y": ["start", "failed"],
        "near": ["skipped"],
        "far": ["skipped"],
        "fine": ["start", "end"],
        "later": ["start", "end"],
        "there": ["reused"],
    }
    lost = {e.job.name: (e.because, e.error) for e in events if e.error}
    why = ("x", "x cannot be done; try another.")
    assert lost == {"x": why, "near": why, "far": why, "y": ("y", "ZeroDivisionError: of y")}


def test_a_killed_worker_loses_its_own_job_alone(tmp_path: Path):
    """The one beside it ends, another takes its place, and what was killed is not tried again."""
    at = {"folder": str(tmp_path)}
    jobs = [
        Job("beside", "a", note, {**at, "wait": 3.0}),
        Job("x", "a", killed, at),
        Job("after x", "a", note, at, ("x",)),
        Job("x2", "a", killed, at),
        Job("later", "a", note, at),
    ]
    events = list(run(jobs, 2, 1, keep_going=True))
    assert children() == []
    assert kinds_of(events) == {
        "beside": ["start", "end"],
        "x": ["start", "failed"],
        "after x": ["skipped"],
        "x2": ["start", "failed"],
        "later": ["start", "end"],
    }
    assert {e.error for e in events if e.error} == {
        "Its worker process was killed, perhaps for want of memory."
    }


def test_an_error_that_does_not_travel_is_one_of_its_job(tmp_path: Path):
    """Neither what cannot be sent nor what cannot be made again takes the next job along."""
    at = {"folder": str(tmp_path)}
    jobs = [
        Job("x", "a", peculiar, {**at, "sent": False}),
        Job("y", "a", peculiar, {**at, "sent": True}),
        Job("z", "a", note, at),
    ]
    events = list(run(jobs, 1, 1, keep_going=True))
    told = kinds_of(events)
    assert told == {"x": ["start", "failed"], "y": ["start", "failed"], "z": ["start", "end"]}
    said = {e.job.name: e.error for e in events if e.error}
    assert said["x"].startswith("What it returned or raised is lost: ")
    assert said["y"].startswith("What it raised is lost: TypeError: ")


def test_what_is_known_to_fail_is_not_tried():
    jobs = [Job("x", "a", wrong), Job("y", "a", note, {}, ("x",))]
    events = list(run(jobs, 1, 1, keep_going=True, failed={"x": "It did before."}))
    assert kinds_of(events) == {"x": ["failed"], "y": ["skipped"]}
    assert [(e.because, e.error) for e in events] == [("x", "It did before.")] * 2


def test_whoever_stops_listening_stops_the_work(tmp_path: Path):
    events = run([Job("x", "a", long, {"folder": str(tmp_path)})], 1, 1)
    for event in events:
        if event.kind == "start":
            break
    events.close()
    assert children() == []


def test_an_interrupt_while_all_is_ended_already_is_not_said_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Raised in a generator that is closed by itself, it would be shown and lost."""
    monkeypatch.setattr("velatura.jobs.PATIENCE", 1.0)
    events = run([Job("x", "a", deaf, {"folder": str(tmp_path)})], 1, 1)
    next(events)
    assert wait_for((tmp_path / "x").exists)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    events.close()
    timer.join()
    assert children() == []


# A parent that runs two endless jobs, and says so when interrupted.
PARENT = """
import signal, sys, time
if __name__ == "__mp_main__" and {slow}:  # what a worker runs before it knows its work
    import os
    open(sys.argv[1] + "/starting" + str(os.getpid()), "w").close()
    time.sleep(3)
sys.path.insert(0, {tests!r})
from velatura.jobs import Job, run
import test_jobs
if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    {plant}
    jobs = [Job(name, "a", test_jobs.long, {{"folder": sys.argv[1]}}) for name in ("a", "b")]
    try:
        for event in run(jobs, 2, 1):
            print(event.kind, event.job.name, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        import threading
        print(*(t.name for t in threading.enumerate() if not t.daemon), flush=True)
"""


# A signal comes as a worker is there and does not yet know what for; another thread may take it.
STRIKE = """
    import os, threading
    from multiprocessing import util
    begin = util.spawnv_passfds
    def struck(*args):
        number = begin(*args)
        if "spawn_main" in str(args):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.3)
        return number
    util.spawnv_passfds = struck
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
"""


def parent(tmp_path: Path, slow: bool = False, plant: str = "") -> subprocess.Popen[str]:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(tests=str(Path(__file__).parent), slow=slow, plant=plant))
    return subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(condition: Any, seconds: float = 300) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("whom", ["parent", "group"])
def test_ctrl_c_ends_everyone(whom: str, tmp_path: Path):
    """A terminal interrupts the whole group, ``kill -INT`` only the parent. No orphans."""
    process = parent(tmp_path)
    try:
        assert wait_for(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2
        if whom == "group":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    # Python waits at its exit for every other thread, however long.
    assert (process.returncode, out.splitlines()[-1], err) == (130, "MainThread", "")
    assert psutil.wait_procs(family, timeout=30)[1] == []


def test_a_second_sigterm_leaves_nobody_who_does_not_listen(tmp_path: Path):
    """Whoever does not end when told to is killed after a while, whatever comes meanwhile."""
    plant = "import velatura.jobs as jobs; jobs.PATIENCE = 1.0; test_jobs.long = test_jobs.deaf"
    process = parent(tmp_path, plant=plant)
    try:
        assert wait_for(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
        family = psutil.Process(process.pid).children(recursive=True)
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        _, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, err) == (130, "")
    assert psutil.wait_procs(family, timeout=30)[1] == []


def test_an_error_of_a_worker_says_where(tmp_path: Path):
    """What the command line shows with ``--debug``."""
    with pytest.raises(ZeroDivisionError) as caught:
        list(run([Job("x", "a", odd, {"folder": str(tmp_path)})], 1, 1))
    assert str(caught.value) == "of x\nin two lines"
    assert "in odd\n    raise ZeroDivisionError" in caught.value.__notes__[0]


def test_ctrl_c_while_workers_start_is_quiet(tmp_path: Path):
    """They are Python processes that are just importing: an interrupt there shows a traceback."""
    process = parent(tmp_path, slow=True)
    try:
        assert wait_for(lambda: len(list(tmp_path.glob("starting*"))) == 2)
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, err) == (130, "")
    assert psutil.wait_procs(family, timeout=30)[1] == []


def test_a_signal_while_a_worker_is_begun_is_quiet(tmp_path: Path):
    process = parent(tmp_path, plant=STRIKE)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, out, err) == (130, "MainThread\n", "")


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path):
    process = parent(tmp_path)
    try:
        assert wait_for(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
        family = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(family, timeout=60)[1] == []
