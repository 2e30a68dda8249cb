"""``velatura bench anonymize``: whole processes, from the command typed to the file on the disk.

Each side runs as its own process and is charged for itself and its children: the CPU seconds that
the system counts, and the largest resident size that is seen in looks 10 ms apart. Sides
alternate, so that whatever else the machine does hits both; figures are medians over rounds,
ratios are of medians.

    ours    velatura anonymize CLIP --out OUT                     for each mode or model named
    peer    deface CLIP -o OUT, its defaults, x264 veryfast       where --peer names its command
    floor   decode and x264 veryfast with our settings, in one process, of the same clip at its size

The floor makes no picture of it: it is what any tool that writes such a file pays.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from velatura.errors import BadInput, Failure
from velatura.video.probe import probe
from velatura.video.read import read_frames
from velatura.video.write import VideoWriter

__all__ = ["anonymizing", "moving_video"]

MIB = 2**20
MOST = 240  # frames of a clip
ENCODER = {"crf": "18", "preset": "veryfast", "bf": "0", "threads": "4"}  # as video/write.py


class Cost(NamedTuple):
    """One process: CPU and wall seconds, and the largest resident size of it, bytes."""

    cpu: float
    wall: float
    memory: float


def anonymizing(
    clips: Sequence[Path],
    *,
    peer: str = "",
    modes: Sequence[str] = ("default", "light"),
    rounds: int = 5,
    large: bool = True,
) -> dict[str, Any]:
    """CPU-ms and wall frames a second of each side on each clip; start-up; memory.

    Args:
        clips: video files; their first 240 frames are used.
        peer: the peer's command; "" leaves it out.
        modes: names or .onnx files for ``--model`` and ``--mode``.
        rounds: of each side.
        large: measure 4K too, and ten minutes beside ten seconds.

    Returns:
        Figures by name.

    Raises:
        BadInput: no clips.
        Failure: a side failed; its last line.
    """
    if not clips:
        raise BadInput("Name clips to measure with, or set VELATURA_DATA to a folder with clips/.")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"
        ours = {mode: _ours(mode) for mode in modes}
        found["startup_ours_s"] = _median([_run([*_velatura(), "--help"]).wall for _ in range(5)])
        if peer:
            found["startup_peer_s"] = _median([_run([peer, "--help"]).wall for _ in range(5)])
        begins = [_beginning(clip, Path(folder) / clip.name) for clip in clips]
        for clip in [_small(begins[0], Path(folder) / "small.mp4"), *begins]:
            sides = {
                name: [*command, str(clip), "--out", str(out)] for name, command in ours.items()
            }
            sides["floor"] = [sys.executable, "-m", "velatura.deploy.bench", str(clip), str(out)]
            if peer:
                sides["peer"] = _peer(peer, clip, out)
            found |= _compare(_label(clip), sides, probe(clip).frames, rounds)
        if large:
            big = moving_video(Path(folder) / "4k.mp4", 3840, 2160, 10)
            sides = {
                name: [*command, str(big), "--out", str(out)] for name, command in ours.items()
            }
            if peer:
                sides["peer"] = _peer(peer, big, out)
            found |= _compare("3840x2160", sides, 10, 1)
            found |= _lengths(Path(folder), ours[modes[0]], out)
    return found


def _compare(label: str, sides: dict[str, list[str]], frames: int, rounds: int) -> dict[str, Any]:
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, command in sides.items():
            costs[name].append(_run(command))
    found: dict[str, Any] = {}
    for name, runs in costs.items():
        found[f"{label}_{name}_cpu_ms"] = 1000 * _median([c.cpu for c in runs]) / frames
        found[f"{label}_{name}_fps"] = frames / _median([c.wall for c in runs])
        found[f"{label}_{name}_mib"] = _median([c.memory for c in runs]) / MIB
    for name in sides:
        if name not in ("floor", "peer"):
            mine = found[f"{label}_{name}_cpu_ms"]
            for other in {"floor", "peer"} & set(sides):
                key = f"{label}_{name}_" + ("times_floor" if other == "floor" else "peer_over_ours")
                theirs = found[f"{label}_{other}_cpu_ms"]
                found[key] = mine / theirs if other == "floor" else theirs / mine
    return found


def _lengths(folder: Path, command: list[str], out: Path) -> dict[str, Any]:
    """The largest resident size for ten seconds and for ten minutes of the same picture."""
    sizes = {}
    for seconds in (10, 600):
        clip = moving_video(folder / f"{seconds}.mp4", 320, 240, 25 * seconds)
        sizes[seconds] = _run([*command, str(clip), "--out", str(out)]).memory
    return {
        "10s_mib": sizes[10] / MIB,
        "600s_mib": sizes[600] / MIB,
        "600s_over_10s_memory": sizes[600] / sizes[10],
    }


def _velatura() -> list[str]:
    return [sys.executable, "-m", "velatura"]


def _ours(mode: str) -> list[str]:
    choice = [] if mode == "default" else ["--model", mode]
    return [*_velatura(), "anonymize", *choice, "--overwrite"]


def _peer(peer: str, clip: Path, out: Path) -> list[str]:
    encoder = {"codec": "libx264", "output_params": ["-preset", "veryfast", "-crf", "18"]}
    return [peer, str(clip), "-o", str(out), "--ffmpeg-config", json.dumps(encoder)]


def _beginning(clip: Path, path: Path) -> Path:
    """The first frames of a clip as they are coded, without sound; a short clip itself."""
    if probe(clip).frames <= MOST:
        return clip
    with av.open(str(clip)) as source, av.open(str(path), "w") as copy:
        there = source.streams.video[0]
        stream = copy.add_stream_from_template(there)
        for number, packet in enumerate(source.demux(there)):
            if packet.dts is None or number == MOST:
                break
            packet.stream = stream
            copy.mux(packet)
    return path


def _small(clip: Path, path: Path) -> Path:
    """A copy at 320 x 240, the size that the peers were measured at."""
    info = probe(clip)
    with VideoWriter(path, 320, 240, time_base=info.time_base, rate=info.rate, threads=2) as writer:
        for frame in read_frames(clip, (240, 320)):
            writer.write(frame.image, frame.pts, frame.duration)
    return path


def _label(clip: Path) -> str:
    info = probe(clip)
    return f"{clip.stem}_{info.width}x{info.height}"


def _run(command: list[str]) -> Cost:
    """Run one process to its end and say what it cost, its children included."""
    begin = time.perf_counter()
    memory = 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        # The system's own figure (ru_maxrss) begins with what this process had when it forked.
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            memory = max(memory, _resident(process.pid))
            time.sleep(0.01)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:]
            raise Failure(f"{' '.join(command[:6])} ended with {process.returncode}: {last}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, memory)


def _resident(process: int) -> int:
    """Bytes that a process and its children hold now; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_resident(int(child)) for child in children)


def _median(values: list[float]) -> float:
    return statistics.median(values)


def moving_video(path: Path, width: int, height: int, frames: int) -> Path:
    """Write H.264: coloured blocks that pan, with some noise."""
    rng = np.random.default_rng(0)
    side = max(8, height // 18)
    scene = rng.integers(0, 255, (-(-height // side), -(-width // side), 3), np.uint8)
    scene = np.kron(scene, np.ones((side, side, 1), np.uint8))[:height, :width]
    noise = rng.integers(0, 12, (height, width, 1), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25, {"preset": "ultrafast", "crf": "23"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        pictures = [np.roll(scene, 3 * i, 1) // 2 + np.roll(noise, 37 * i, 0) for i in range(10)]
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(pictures[i % 10], format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def floor(source: str, destination: str) -> None:
    """Decode and encode, and nothing between."""
    with av.open(source) as read, av.open(destination, "w", format="mp4") as write:
        there = read.streams.video[0]
        there.thread_type = "NONE"  # type: ignore[assignment]  # PyAV's annotation
        stream = write.add_stream("libx264", there.average_rate, ENCODER)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = there.width, there.height, "yuv420p"
        stream.codec_context.time_base = there.time_base or Fraction(1, 25)
        for frame in read.decode(there):
            picture = frame if frame.format.name == "yuv420p" else frame.reformat(format="yuv420p")
            picture.pict_type = 0  # type: ignore[assignment]  # let the encoder choose
            write.mux(stream.encode(picture))
        write.mux(stream.encode())


if __name__ == "__main__":
    floor(sys.argv[1], sys.argv[2])
