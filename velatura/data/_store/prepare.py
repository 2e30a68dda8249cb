"""Decode every video once into a :class:`velatura.data._store.store.Store`.

A video's frames are written beside their place, flushed to the disk and renamed, and only then
noted in ``journal.jsonl``. Whatever happens, also a power cut, leaves whole files, and the same
call again does only what is missing. When all are there, ``index.json`` is written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from velatura.data._parallel import reason_of, spread
from velatura.data._store.form import FORMS
from velatura.data._store.store import (
    FORMAT,
    Store,
    Video,
    as_json,
    checked_name,
    file_of,
    read_head,
    video_of,
)
from velatura.errors import BadInput, Failure, unknown
from velatura.video.probe import probe, stamp
from velatura.video.read import Frame, read_frames

__all__ = ["Plan", "Prepared", "prepare"]

note = logging.getLogger(__name__).warning

# More unreadable videos than this is an error, not a note.
TOLERATED = 0.01
FEW = 5  # names in a sentence

Progress = Callable[[str, int, int], None]  # what is done, how many of it, of how many


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is about to be done.

    Attributes:
        todo: videos to decode.
        reused: videos that are there already.
        bytes: that will be written; about, for JPEGs.
        free: bytes that the disk has.
    """

    todo: int
    reused: int
    bytes: int
    free: int


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What was done.

    Attributes:
        store: the result, open.
        done, reused: videos decoded now, and before.
        skipped: name to reason of those that cannot be read.
        bytes: of all prepared videos.
        seconds: that it took.
    """

    store: Store
    done: int
    reused: int
    skipped: dict[str, str]
    bytes: int
    seconds: float


def prepare(
    videos: Mapping[str, str | Path],
    out: str | Path,
    *,
    short_side: int = 256,
    form: str = "raw",
    workers: int = 0,
    progress: Progress | None = None,
    announce: Callable[[Plan], None] | None = None,
    wait: bool = False,
) -> Prepared:
    """Decode videos into a folder; call it again to go on after an interruption.

    What the folder holds of other videos stays in it.

    Args:
        videos: name, such as ``"golf/a.avi"``, to the original file, which is only read.
        out: the folder; created.
        short_side: pixels of the stored frames' shorter side; a smaller original keeps its size.
        form: ``"raw"``, or ``"jpeg"`` for data sets too large for that.
        workers: processes; one per core when 0.
        progress: called with what is done, how many of it, of how many.
        wait: for another run that prepares this folder, instead of refusing.
        announce: called once, with what will be done and the bytes it needs, before it begins.

    Raises:
        BadInput: an unusable name or folder, too little space, or more than 1 % of the videos
            unreadable; all the others are prepared nevertheless, and ``unreadable.txt`` has
            every name and reason.
        Failure: the disk is full, or a worker process was killed.
    """
    begin, out = time.monotonic(), Path(out)
    _check(videos, out, short_side, form)
    with _locked(out, wait):
        _claim(out, short_side, form)
        _sweep(out)
        there, others = _there(out, videos, form)
        todo = {name: Path(path) for name, path in videos.items() if name not in there}
        tell = progress or (lambda what, done, total: None)
        sizes, skipped = _sizes(todo, short_side, workers, tell)
        plan = _plan(sizes, there, len(todo), out, form)
        if announce is not None:
            announce(plan)
        _check_space(plan, out)
        jobs = [(name, str(todo[name]), sizes[name][:2], str(out), form) for name in sizes]
        done = _decode_all(jobs, out, workers, tell, skipped)
        made = {**there, **done}
        stamps = {}
        for name in skipped:
            with suppress(OSError):
                stamps[name] = stamp(videos[name])
        _finish(out, {**others, **made}, skipped, stamps, len(videos))
    return Prepared(
        store=Store.open(out),
        done=len(done),
        reused=len(there),
        skipped=skipped,
        bytes=sum(video.bytes for video in made.values()),
        seconds=time.monotonic() - begin,
    )


def _check(videos: Mapping[str, str | Path], out: Path, short_side: int, form: str) -> None:
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    if not 8 <= short_side <= 4096:
        raise BadInput(f"short_side is 8 to 4096 pixels, not {short_side}.")
    if not videos:
        raise BadInput("There are no videos to prepare.")
    for name in videos:
        checked_name(name)
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file; name a folder to prepare into.")


@contextmanager
def _locked(out: Path, wait: bool = False) -> Iterator[None]:
    """One at a time; the system lets go of the lock with the process, however it ends."""
    try:
        (out / "videos").mkdir(parents=True, exist_ok=True)
        lock = open(out / "lock", "a")
    except OSError as error:
        raise BadInput(f"Cannot write into {out}: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not wait:
                raise BadInput(f"Another run is preparing {out}; wait for it.") from None
            note("Waiting for another run that prepares %s.", out)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _claim(out: Path, short_side: int, form: str) -> None:
    """What the folder is prepared as: said once, and kept."""
    head = {"format": FORMAT, "form": form, "short_side": short_side}
    before = read_head(out)
    if before is None:
        _write(out / "head.json", json.dumps(head))
    elif before != head:
        raise BadInput(
            f"{out} holds {before['form']} at {before['short_side']} pixels, not {form} at "
            f"{short_side}; prepare into another folder."
        )


def _sweep(out: Path) -> None:
    """What a killed run left half done."""
    for path in out.rglob("*.partial"):
        path.unlink(missing_ok=True)


def _there(
    out: Path, videos: Mapping[str, str | Path], form: str
) -> tuple[dict[str, Video], dict[str, Video]]:
    """Of what was prepared here and is whole: wanted, with its original unchanged; and others."""
    noted: dict[str, Video] = {}
    with suppress(BadInput):
        noted = dict(Store.open(out).videos)
    with suppress(FileNotFoundError):
        for line in (out / "journal.jsonl").read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError, TypeError):  # the last line may be torn
                entry = json.loads(line)
                noted[entry["name"]] = video_of(entry["video"])
    there, others = {}, {}
    for name, video in noted.items():
        with suppress(OSError):
            if file_of(out, name, FORMS[form].suffix).stat().st_size != video.bytes:
                continue
            if name not in videos:
                others[name] = video
            elif stamp(Path(videos[name])) == (video.source_size, video.source_modified):
                there[name] = video
    return there, others


Size = tuple[int, int, int]  # height, width, frames


def _sizes(
    todo: Mapping[str, Path], short_side: int, workers: int, tell: Progress
) -> tuple[dict[str, Size], dict[str, str]]:
    """What each video will take, and the reasons of those that cannot be read."""
    sizes: dict[str, Size] = {}
    skipped: dict[str, str] = {}
    jobs = [(name, str(path), short_side) for name, path in todo.items()]
    for done, (name, found) in enumerate(spread(_size, jobs, workers), 1):
        if isinstance(found, str):
            skipped[name] = found
        else:
            sizes[name] = found
        tell("looking at videos", done, len(jobs))
    return {name: sizes[name] for name in todo if name in sizes}, skipped


def _size(job: tuple[str, str, int]) -> tuple[str, Size | str]:
    """Height and width to store one video at, and how many frames it says it has."""
    name, path, short_side = job
    try:
        info = probe(path)
    except Exception as error:  # whatever one file does, the others go on
        return name, reason_of(error, path)
    short = min(info.height, info.width)
    scale = min(1.0, short_side / short)
    height, width = (max(1, round(side * scale)) for side in (info.height, info.width))
    return name, (height, width, info.frames)


def _plan(
    sizes: Mapping[str, Size], there: Mapping[str, Video], todo: int, out: Path, form: str
) -> Plan:
    pixels = sum(height * width * 3 * frames for height, width, frames in sizes.values())
    need = round(FORMS[form].share * pixels) + 4096 * len(sizes)
    free = shutil.disk_usage(out).free
    return Plan(todo=todo, reused=len(there), bytes=need, free=free)


def _check_space(plan: Plan, out: Path) -> None:
    if plan.bytes > plan.free:
        raise BadInput(
            f"Preparing needs {plan.bytes / 1e9:.1f} GB and {out} has {plan.free / 1e9:.1f} GB "
            'free; name another disk, a smaller short side, or form "jpeg".'
        )


Job = tuple[str, str, tuple[int, int], str, str]  # name, original, height and width, out, form


def _decode_all(
    jobs: list[Job], out: Path, workers: int, tell: Progress, skipped: dict[str, str]
) -> dict[str, Video]:
    """Do the jobs, noting each in the journal; fills ``skipped``."""
    done: dict[str, Video] = {}
    with open(out / "journal.jsonl", "a", encoding="utf-8") as journal:
        journal.write("\n")  # ends a line that a killed run tore
        for count, (name, made) in enumerate(spread(_decode, jobs, workers), 1):
            if isinstance(made, str):
                skipped[name] = made
            else:
                done[name] = made
                journal.write(json.dumps({"name": name, "video": asdict(made)}) + "\n")
                journal.flush()
            tell("decoding videos", count, len(jobs))
    return done


def _decode(job: Job) -> tuple[str, Video | str]:
    """One video into its file; or why it cannot be read."""
    name, original, (height, width), out, form_name = job
    form = FORMS[form_name]()
    path = file_of(Path(out), name, form.suffix)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    sha, frames = hashlib.sha256(), 0
    try:
        source_size, source_modified = _stamp(original)
        path.parent.mkdir(exist_ok=True)
        with open(partial, "xb") as file:
            form.begin(file, height, width)
            for frame in _frames(original, (height, width)):
                sha.update(form.add(file, frame.image))
                frames += 1
            form.end(file)
            file.flush()
            os.fsync(file.fileno())
            stored = file.seek(0, os.SEEK_END)
        os.replace(partial, path)
        _sync(path.parent)
    except BadInput as error:
        return name, str(error)
    except OSError as error:
        raise Failure(f"Preparing {name} into {out} failed: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
    video = Video(
        frames=frames,
        height=height,
        width=width,
        bytes=stored,
        digest=sha.hexdigest(),
        source_size=source_size,
        source_modified=source_modified,
    )
    return name, video


def _stamp(original: str) -> tuple[int, int]:
    """As :func:`stamp`; that it cannot be had is the file's own fault, not the disk's."""
    try:
        return stamp(original)
    except OSError as error:
        raise BadInput(reason_of(error, original)) from error


def _frames(original: str, size: tuple[int, int]) -> Iterator[Frame]:
    """As :func:`read_frames`; whatever goes wrong in reading is the file's own fault."""
    try:
        yield from read_frames(original, size)
    except Exception as error:
        raise BadInput(reason_of(error, original)) from error


def _finish(
    out: Path,
    made: Mapping[str, Video],
    skipped: dict[str, str],
    stamps: dict[str, tuple[int, int]],
    total: int,
) -> None:
    """Write the index; or, with too many unreadable videos, say which."""
    lines = [f"{name}: {reason}\n" for name, reason in sorted(skipped.items())]
    if lines:
        _write(out / "unreadable.txt", "".join(lines))
    else:
        (out / "unreadable.txt").unlink(missing_ok=True)
    if len(skipped) > TOLERATED * total:
        few = "; ".join(line.strip() for line in lines[:FEW])
        raise BadInput(
            f"{len(skipped)} of {total} videos cannot be read, more than {TOLERATED:.0%}: {few}"
            f"{'; ...' if len(lines) > FEW else ''} {out / 'unreadable.txt'} has all; mend or "
            "leave them out, and prepare again."
        )
    head = read_head(out)
    index = {"head": head, "videos": as_json(made), "skipped": skipped, "stamps": stamps}
    _write(out / "index.json", json.dumps(index))
    (out / "journal.jsonl").unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    """The whole file under its name, or nothing."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with open(partial, "x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync(path.parent)
    except OSError as error:
        raise Failure(f"Writing {path} failed: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
