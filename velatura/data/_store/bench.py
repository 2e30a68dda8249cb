"""How fast clips are fed: the plain way, by seeking, and from a prepared store, side by side.

On two kinds of input: short clips (the JHMDB subset of HMDB51, where there is a copy) and one
long file, 30 s of 1280 x 720 made here. Every side gives the same 16 frames at the same size.
"""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from velatura.data._parallel import spread
from velatura.data._store.prepare import prepare
from velatura.data._store.store import Store
from velatura.video.clips import clip_indices, random_start
from velatura.video.seek import FrameIndex, index_frames, read_window

__all__ = ["feeding", "long_video"]

BARS = {"seek": 3.0, "store": 10.0}  # times the plain way
FRAMES, STRIDE, SHORT_SIDE = 16, 2, 256
WORKERS = 2
SECONDS, RATE, HEIGHT, WIDTH = 30, 30, 720, 1280


class Task(NamedTuple):
    """One clip to feed."""

    name: str
    path: Path
    indices: list[int]
    size: tuple[int, int]
    table: FrameIndex


def feeding(rounds: int = 5, videos: int = 24) -> dict[str, Any]:
    """Clips per second of each side, one process, and memory over 1000 clips: of this process, and
    of each of two workers that feed 1000 clips side by side.

    ``plain`` turns every frame of the video into an RGB array and then picks; ``picky`` decodes
    every frame too but turns only the 16 into arrays; ``seek`` is ``read_window`` with an index
    that was made before; ``store`` reads raw frames; ``floor`` decodes every frame and makes
    nothing of it, so nothing that decodes whole videos is faster. Ratios are to ``plain``, of
    medians over rounds that alternate between the sides.

    Args:
        rounds: timed rounds of each side.
        videos: of the JHMDB subset, spread over it.
    """
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        found: dict[str, Any] = {}
        root = Path(os.environ.get("VELATURA_DATA", "../shared/data")) / "hmdb51_jhmdb" / "videos"
        short = sorted(root.glob("*/*.avi"))
        memory: dict[str, float] = {}
        if short:
            chosen = short[:: max(1, len(short) // videos)]
            figures, memory = _measure(chosen, Path(folder) / "short", rounds, 1, 1000)
            found |= {f"jhmdb_{key}": value for key, value in figures.items()}
        else:
            found["jhmdb"] = f"skipped: no videos in {root}; set VELATURA_DATA"
        long = long_video(Path(folder) / "long.mp4")
        # A round of it takes as long as thousands of clips: fewer do.
        figures, long_memory = _measure(
            [long], Path(folder) / "long", (rounds + 1) // 2, 8, 0 if memory else 100
        )
        found |= {f"720p_{key}": value for key, value in figures.items()}
        return found | (memory or long_memory)


def long_video(path: Path, seconds: int = SECONDS) -> Path:
    """Write 720p H.264 as x264 makes it by default: a scene that pans, with some noise."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 255, (HEIGHT // 40, WIDTH // 40, 3), np.uint8)
    scene = np.kron(scene, np.ones((40, 40, 1), np.uint8))
    noise = rng.integers(0, 18, (HEIGHT, WIDTH, 1), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", RATE, {"preset": "veryfast", "crf": "23"})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for i in range(seconds * RATE):
            image = np.roll(scene, 2 * i, 1) // 2 + np.roll(noise, 37 * i, 0)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _measure(
    paths: list[Path], out: Path, rounds: int, each: int, many: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """The figures of one kind of input, with ``each`` clips of a video; and memory over many."""
    begin = time.perf_counter()
    indexes = [index_frames(path) for path in paths]
    index_ms = (time.perf_counter() - begin) / len(paths) * 1000
    begin = time.perf_counter()
    prepared = prepare({path.name: path for path in paths}, out, short_side=SHORT_SIDE, workers=1)
    prepare_s = time.perf_counter() - begin
    store = prepared.store
    tasks = []
    rng = np.random.default_rng(0)
    for path, index in zip(paths, indexes, strict=True):
        video = store.videos[path.name]
        for _ in range(each):
            start = random_start(video.frames, FRAMES, STRIDE, float(rng.random()))
            indices = clip_indices(video.frames, FRAMES, STRIDE, start)
            tasks.append(Task(path.name, path, indices, (video.height, video.width), index))
    # One clip of each video is enough of what decodes the whole of it.
    whole = tasks[::each]
    sides: dict[str, tuple[Callable[[Task], Any], list[Task]]] = {
        "plain": (_plain, whole),
        "picky": (_picky, whole),
        "seek": (_seek, tasks),
        "store": (partial(_stored, store), tasks),
        "floor": (_floor, whole),
    }
    rates = _rates(sides, rounds)
    figures: dict[str, Any] = {f"{side}_clips_per_s": rate for side, rate in rates.items()}
    figures |= {f"{side}_ratio": rates[side] / rates["plain"] for side in sides if side != "plain"}
    figures |= {"index_ms": index_ms, "prepare_s": prepare_s, "prepared_mb": prepared.bytes / 1e6}
    figures["bars"] = _bars(figures)
    memory: dict[str, float] = {"memory_clips": many} if many else {}
    for side in ("seek", "store") if many else ():
        jobs = [(side, str(out), tasks, many)] * WORKERS
        found = [_memory(sides[side][0], tasks, many), *spread(_worker, jobs, WORKERS, each=1)]
        for number, levels in enumerate(found):
            name = f"memory_{side}_worker{number}" if number else f"memory_{side}"
            memory |= {f"{name}_{when}_mb": mb for when, mb in levels.items()}
    return figures, memory


def _worker(job: tuple[str, str, list[Task], int]) -> dict[str, float]:
    """As :func:`_memory`, in a process of its own that opens what it needs by itself."""
    side, out, tasks, many = job
    store = Store.open(out)
    with _one_thread():
        return _memory(_seek if side == "seek" else partial(_stored, store), tasks, many)


def _bars(figures: dict[str, Any]) -> str:
    """Which ratio reaches what is asked of it."""
    found = []
    for side, bar in BARS.items():
        ratio = figures[f"{side}_ratio"]
        verdict = "met" if ratio >= bar else "missed"
        if verdict == "missed" and figures["floor_ratio"] < bar:
            verdict += f", as decoding alone reaches {figures['floor_ratio']:.1f}"
        found.append(f"{side} {ratio:.1f} of {bar:.0f} {verdict}")
    return "; ".join(found)


def _plain(task: Task) -> np.ndarray:
    """Every frame as an array, then pick."""
    wanted = set(task.indices)
    with av.open(str(task.path)) as container:
        # Only those wanted are kept: 30 s of 720p as arrays are 2.5 GB.
        found = {}
        for i, frame in enumerate(container.decode(video=0)):
            image = frame.to_ndarray(format="rgb24")
            if i in wanted:
                found[i] = image
    return _resized([found[i] for i in task.indices], task.size)


def _picky(task: Task) -> np.ndarray:
    """Every frame decoded, only the wanted ones as arrays."""
    wanted = set(task.indices)
    with av.open(str(task.path)) as container:
        frames = enumerate(container.decode(video=0))
        found = {i: frame.to_ndarray(format="rgb24") for i, frame in frames if i in wanted}
    return _resized([found[i] for i in task.indices], task.size)


def _resized(images: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    import cv2

    height, width = size
    scaled = [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in images]
    return np.ascontiguousarray(np.stack(scaled).transpose(0, 3, 1, 2))


def _seek(task: Task) -> np.ndarray:
    return np.ascontiguousarray(read_window(task.path, task.indices, task.size, task.table))


def _stored(store: Store, task: Task) -> np.ndarray:
    return np.ascontiguousarray(store.window(task.name, task.indices))


def _floor(task: Task) -> None:
    with av.open(str(task.path)) as container:
        for _ in container.decode(video=0):
            pass


def _rates(
    sides: dict[str, tuple[Callable[[Task], Any], list[Task]]], rounds: int
) -> dict[str, float]:
    """Clips per second of each side: the median over rounds."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for call, tasks in sides.values():  # warm up: files into memory, code into caches
        call(tasks[0])
    for _ in range(rounds):
        for side, (call, tasks) in sides.items():
            begin = time.perf_counter()
            for task in tasks:
                call(task)
            times[side].append((time.perf_counter() - begin) / len(tasks))
    return {side: 1 / statistics.median(values) for side, values in times.items()}


def _memory(call: Callable[[Task], Any], tasks: list[Task], many: int) -> dict[str, float]:
    """Megabytes of this process before and after many clips; and what of it is held then.

    What a decoder frees in small pieces the C library may keep for its next ones: ``held`` is
    after it was asked to hand such memory back. A leak would be in that too.
    """
    import psutil

    process = psutil.Process()
    for i in range(50):
        call(tasks[i % len(tasks)])
    _hand_back()
    before = process.memory_info().rss
    for i in range(many):
        call(tasks[i % len(tasks)])
    after = process.memory_info().rss
    _hand_back()
    levels = {"start": before, "end": after, "held": process.memory_info().rss}
    return {name: level / 1e6 for name, level in levels.items()}


def _hand_back() -> None:
    """Memory that the C library keeps free, to the system; nothing where it cannot."""
    gc.collect()
    with suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV on one core, as in a worker that feeds beside others."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
