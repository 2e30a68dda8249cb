"""Many files: which are to be made, one after the other, and what became of each.

A job is one source and one destination. It never stops the next one: whatever goes wrong with it
stands in its report. What cannot be right for any reason of the command (two sources for one
destination, a destination that exists, a source that is its own destination) is refused before
the first frame is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.file import anonymize_video
from velatura.deploy.image import SUFFIXES as PICTURES
from velatura.deploy.image import anonymize_image
from velatura.deploy.record import (
    Report,
    check_report,
    is_report,
    read_report,
    report_path,
    sha256,
    versions,
    write_report,
)
from velatura.errors import BadInput, VelaturaError
from velatura.video import contents, destination
from velatura.video.probe import probe
from velatura.video.write import SUFFIXES as VIDEOS

__all__ = ["Job", "Settings", "is_done", "plan", "run_job", "sniff"]

# Files with these endings are meant to be media: one that cannot be read has failed, not been
# passed over.
MEDIA = {
    *(".mp4 .m4v .mov .mkv .webm .avi .ts .mts .m2ts .mpg .mpeg .wmv .flv .3gp .ogv .gif".split()),
    *(".jpg .jpeg .png .webp .bmp .tif .tiff".split()),
}
REPORT = ".report.json"
MARK = ".anon"
PICTURE = "light"  # the default for pictures, of which a mode that shows motion shows nothing


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every option of a job that is not its files.

    Attributes:
        anonymizer, scale, device, threads: for ``Anonymizer.load``.
        regions: empty for whole frames; ``"faces"``, or a file of boxes.
        fill, missing: what is done to regions, and to frames without any; deploy/regions.py.
        sound, start, end, on_error, allow_partial, batch: for ``anonymize_video``.
        keep: names of metadata tags to copy.
        overwrite: replace destinations that exist.
        resume: pass over destinations whose report says that this very command made them.
        check: measure the output against the source.
    """

    anonymizer: str = "default"
    scale: int | None = None
    device: str = "auto"
    threads: int = 0
    regions: str = ""
    fill: str = "pixelate"
    missing: Literal["whole", "black", "keep"] = "whole"
    sound: Literal["drop", "keep"] = "drop"
    start: float = 0.0
    end: float | None = None
    on_error: Literal["stop", "black"] = "stop"
    allow_partial: bool = False
    batch: int = 0
    keep: tuple[str, ...] = ()
    overwrite: bool = False
    resume: bool = False
    check: bool = False

    def load(self) -> Anonymizer:
        """The anonymizer that these settings name; BadInput where there is none such."""
        if self.regions:
            from velatura.deploy.regions import Regions

            if self.start and self.regions != "faces":
                raise BadInput("A file of boxes counts from the first frame: leave --start out.")
            return Regions(self.regions, fill=self.fill, missing=self.missing, threads=self.threads)
        return Anonymizer.load(
            self.anonymizer, scale=self.scale, device=self.device, threads=self.threads
        )

    def science(self) -> dict[str, Any]:
        """The options that change an output, and none that do not."""
        services = {"anonymizer", "device", "threads", "batch", "overwrite", "resume", "check"}
        if not self.regions:
            services |= {"fill", "missing", "regions"}
        values = {k: v for k, v in asdict(self).items() if k not in services}
        return {**values, "keep": list(self.keep)}


@dataclass(frozen=True)
class Job:
    """One file to make."""

    source: Path
    destination: Path
    kind: Literal["video", "image"]
    refusal: str = ""  # why it cannot be made, though others can


def sniff(path: Path) -> Literal["video", "image", ""]:
    """What a file holds by its content, whatever its name; "" for neither."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    still = head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*"))
    moves = _moving_webp(head) or b"acTL" in head[33:]  # an animated PNG
    if (still or _webp(head)) and not moves:
        return "image"
    try:
        probe(path)
    except Exception:  # a broken file breaks libraries in many ways; the job will say how
        return ""
    return "video"


def _webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _moving_webp(head: bytes) -> bool:
    return _webp(head) and head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)


def _cannot_be_opened(path: Path) -> str:
    """Why nothing here reads such a file, with what to do; "" where something may."""
    try:
        with open(path, "rb") as file:
            moving = _moving_webp(file.read(64))
    except OSError:
        return ""  # the job will say
    if not moving:
        return ""
    return (
        f"{path} is an animated WebP, which the decoder here cannot read; make a GIF or a video of "
        "it first."
    )


def plan(
    sources: Sequence[Path],
    out: Path | None = None,
    *,
    mark: str = MARK,
    overwrite: bool = False,
    resume: bool = False,
) -> tuple[list[Job], list[Path]]:
    """What is to be made of files and folders.

    A file's copy stands beside it as ``NAME.anon.mp4`` (a picture keeps its ending where it can),
    or in ``out`` under that name, or is ``out`` where that names a file. A folder is walked to
    its bottom and its tree mirrored into ``out``, or into ``FOLDER.anon`` beside it; copies that
    were made before are not sources.

    Args:
        sources: files and folders.
        out: a folder; or, for a single file, the file to write.
        mark: what stands between a name and its ending.

    Returns:
        The jobs in a fixed order, and the files that are neither video nor picture.

    Raises:
        BadInput: before any work: a source that is not there; two for one destination; one that
            exists, without ``overwrite`` or ``resume``; nothing to do.
    """
    jobs: list[Job] = []
    others: list[Path] = []
    for source in sources:
        if source.is_dir():
            target = out or source.with_name(f"{source.resolve().name}{mark}")
            if target.exists() and not target.is_dir():
                raise BadInput(f"{target} is a file; for a folder of sources name a folder.")
            taken: dict[str, Path] = {}
            for path in _walk(source, target, others):
                kind = sniff(path) if _readable(path) else ""
                if not kind and path.suffix.lower() not in MEDIA:
                    others.append(path)
                    continue
                folder = target / path.parent.relative_to(source)
                job = _job(path, folder, kind or "video", mark)
                # In a folder a clash of names is the second file's trouble, and not everybody's.
                first = taken.setdefault(_key(job.destination), path)
                if first != path:
                    clash = f"{path} would become {job.destination}, as {first}; rename one."
                    job = replace(job, refusal=clash)
                jobs.append(job)
        elif source.is_file():
            as_file = out is not None and len(sources) == 1 and not out.is_dir()
            if is_report(report_path(source)):
                others.append(source)
                continue
            kind = sniff(source)
            if as_file and out is not None and out.suffix:
                jobs.append(Job(source, out, kind or "video"))
            else:
                jobs.append(_job(source, out or source.parent, kind or "video", mark))
        else:
            raise BadInput(f"{source} is not there; name a video, a picture or a folder of them.")
    # A folder that is emptied from time to time is no mistake of a job that runs by the clock.
    if not jobs and not resume:
        named = ", ".join(map(str, sources))
        if others and all(is_report(report_path(path)) for path in others):
            raise BadInput(f"{named}: a copy that was made here; its report stands beside it.")
        raise BadInput(f"There is no video and no picture in {named}.")
    jobs = [replace(j, refusal=j.refusal or _cannot_be_opened(j.source)) for j in jobs]
    _refuse(jobs, overwrite, resume)
    return jobs, others


def _job(source: Path, folder: Path, kind: str, mark: str) -> Job:
    if kind == "image":
        suffix = source.suffix.lower()
        suffix = suffix if suffix in PICTURES else ".png"
        return Job(source, folder / f"{source.stem}{mark}{suffix}", "image")
    return Job(source, folder / f"{source.stem}{mark}.mp4", "video")


def _walk(folder: Path, target: Path, others: list[Path]) -> Iterable[Path]:
    """Files below a folder, in a fixed order; what is no source of its own goes to ``others``."""
    own = target.resolve()

    def stop(error: OSError) -> None:
        raise BadInput(f"{error.filename} cannot be read: {error.strerror}.") from error

    for root, folders, files in os.walk(folder, onerror=stop):
        here = Path(root)
        others.extend(here / name for name in sorted(folders) if (here / name).is_symlink())
        folders[:] = sorted(f for f in folders if (here / f).resolve() != own)
        for name in sorted(files):
            path = here / name
            if name.endswith(REPORT) and is_report(path):
                continue
            if path.is_file() and not is_report(report_path(path)):
                yield path
            else:
                others.append(path)


def _key(path: Path) -> str:
    """Two destinations of one key are one file, somewhere."""
    return os.path.normcase(os.path.abspath(path)).casefold()


def _readable(path: Path) -> bool:
    return os.access(path, os.R_OK)


def _refuse(jobs: list[Job], overwrite: bool, resume: bool) -> None:
    """BadInput for what no order of work could make right."""
    taken: dict[str, Path] = {}
    sources = {job.source.resolve(): job.source for job in jobs}
    for job in jobs:
        if job.refusal:
            continue
        key = _key(job.destination)
        if key in taken:
            raise BadInput(
                f"{taken[key]} and {job.source} would both become {job.destination}; "
                "rename one, or do them apart."
            )
        taken[key] = job.source
        other = sources.get(job.destination.resolve())
        if other is not None and other != job.source:
            raise BadInput(f"{job.destination} is a source itself; name another output.")
        # What resume may replace is what was made here: a report of ours stands beside it.
        ours = resume and is_report(report_path(job.destination))
        suffixes = PICTURES if job.kind == "image" else VIDEOS
        if job.destination.parent.is_dir():
            destination.check(job.destination, job.source, overwrite or ours, suffixes)
            check_report(report_path(job.destination))
        elif job.destination.suffix.lower() not in suffixes:
            raise BadInput(f"{job.destination} must end in {', '.join(suffixes)}.")


def run_job(
    job: Job,
    settings: Settings,
    anonymizer: Anonymizer,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Make one file and its report. An error is a report too; only an interrupt gets through.

    The report gets its name just before the copy does, so a copy without one is never ours, and a
    report that its copy does not match is made again by ``resume``.
    """
    report = Report(source=str(job.source), destination=str(job.destination), kind=job.kind)
    try:
        if job.refusal:
            raise BadInput(job.refusal)
        if settings.resume and is_done(job, settings, anonymizer):
            report = read_report(report_path(job.destination))
            report.status = "skipped"
            return report
        if settings.regions:
            anonymizer = settings.load()  # it counts, and follows boxes, within one video
        elif job.kind == "image" and settings.anonymizer == "default" and anonymizer.moves:
            anonymizer = Anonymizer.load(PICTURE, threads=settings.threads)
        _make_folder(job.destination.parent)
        destination.sweep(job.destination.parent)
        check_report(report_path(job.destination))
        report = _make(job, settings, anonymizer, sha256(job.source), progress)
    except Exception as error:
        report.status, report.error = "failed", _sentence(error)
        report.began = report.began or datetime.now(UTC).isoformat(timespec="seconds")
    return report


def _make(
    job: Job,
    settings: Settings,
    anonymizer: Anonymizer,
    before: str,
    progress: Callable[[int, int], None] | None,
) -> Report:
    """One copy, its report beside it; ``before`` is the source's SHA-256."""
    may_replace = settings.overwrite or settings.resume
    what = contents.contents(job.source) if job.kind == "video" else None

    def confirm(report: Report, made: Path) -> None:
        report.anonymizer = anonymizer.describe()  # counts of regions are complete by now
        finish(report, job, settings, what, made, before)

    with report_with_copy(job.destination):
        if job.kind == "image":
            return anonymize_image(
                job.source, job.destination, anonymizer, overwrite=may_replace, confirm=confirm
            )
        return anonymize_video(
            job.source,
            job.destination,
            anonymizer,
            overwrite=may_replace,
            sound=settings.sound,
            start=settings.start,
            end=settings.end,
            on_error=settings.on_error,
            allow_partial=settings.allow_partial,
            batch=settings.batch,
            keep=settings.keep,
            confirm=confirm,
            progress=progress,
        )


def finish(
    report: Report,
    job: Job,
    settings: Settings,
    what: contents.Contents | None,
    made: Path,
    before: str,
) -> None:
    """Everything that may still go wrong, while what stood at the copy's name still stands.

    Completes the report and writes it; the copy gets its name next.

    Args:
        what: the source holds; None for a picture.
        made: the copy, whole and verified, under the name it has while it is made.
        before: the source's SHA-256 when the work began.

    Raises:
        BadInput: the source changed meanwhile.
    """
    if sha256(job.source) != before:
        raise BadInput(f"{job.source} changed while it was read; run this again.")
    report.source_sha256, report.destination_sha256 = before, sha256(made)
    report.settings, report.versions = settings.science(), versions()
    kept = report.anonymizer.get("counts", {}).get("kept", 0)
    if kept:
        report.warnings.append(
            f"{kept} of {report.frames} frames had no region and were left as they are."
        )
    if what is not None:
        report.removed = [
            name
            for name in contents.removed(what)
            if name not in {f"tag {key}" for key in settings.keep}
            and not (report.sound == "kept" and "sound" in name)
        ]
        report.warnings = [*contents.warnings(what), *report.warnings]
    if settings.check and job.kind == "video":
        from velatura.deploy.check import check

        report.check = check(job.source, made, start=settings.start, end=settings.end)
    elif settings.check:
        report.warnings.append("--check compares videos; a picture was not checked.")
    write_report(report)


@contextmanager
def report_with_copy(copy: Path) -> Iterator[None]:
    """Take a new report away again where its copy did not get its name."""
    there = report_path(copy).exists()
    try:
        yield
    except BaseException:
        if not there:
            report_path(copy).unlink(missing_ok=True)
        raise


def is_done(job: Job, settings: Settings, anonymizer: Anonymizer) -> bool:
    """Whether a destination is there, whole, and made from this source with these settings."""
    path = report_path(job.destination)
    if not path.is_file() or not job.destination.is_file():
        return False
    try:
        report = read_report(path)
    except VelaturaError:
        return False
    return (
        report.status in ("done", "partial")
        and report.settings == settings.science()
        and report.anonymizer.get("digest") == anonymizer.digest
        and report.source_sha256 == sha256(job.source)
        and report.destination_sha256 == sha256(job.destination)
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"Cannot make the folder {folder}: {error.strerror}.") from error


def _sentence(error: Exception) -> str:
    if isinstance(error, VelaturaError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'The system'}: {error.strerror}."
    return f"Unexpected {type(error).__name__}: {str(error)[:200]}."
