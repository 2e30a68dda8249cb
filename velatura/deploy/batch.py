"""Many files: which are to be made, one after the other, and what became of each.

A job is one source and one destination. It never stops the next one: whatever goes wrong with it
stands in its report. What cannot be right for any reason of the command (two sources for one
destination, a destination that exists, a source that is its own destination) is refused before
the first frame is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.file import anonymize_video
from velatura.deploy.image import SUFFIXES as PICTURES
from velatura.deploy.image import anonymize_image
from velatura.deploy.record import Report, read_report, report_path, sha256, versions, write_report
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
OURS = (".report.json", ".partial")
MARK = ".anon"


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
    fill: Literal["pixelate", "black", "noise", "blur"] = "pixelate"
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


def sniff(path: Path) -> Literal["video", "image", ""]:
    """What a file holds by its content, whatever its name; "" for neither."""
    try:
        with open(path, "rb") as file:
            head = file.read(32)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    still = head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*"))
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    moves = webp and head[12:16] == b"VP8X" and len(head) > 20 and head[20] & 2
    if still or (webp and not moves):
        return "image"
    try:
        probe(path)
    except VelaturaError:
        return ""
    return "video"


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
    jobs, others = [], []
    for source in sources:
        if source.is_dir():
            target = out or source.with_name(f"{source.resolve().name}{mark}")
            if target.exists() and not target.is_dir():
                raise BadInput(f"{target} is a file; for a folder of sources name a folder.")
            for path in _walk(source, target):
                kind = sniff(path) if _readable(path) else ""
                if not kind and path.suffix.lower() not in MEDIA:
                    others.append(path)
                    continue
                folder = target / path.parent.relative_to(source)
                jobs.append(_job(path, folder, kind or "video", mark))
        elif source.is_file():
            kind = sniff(source)
            as_file = out is not None and len(sources) == 1 and not out.is_dir()
            if as_file and out is not None and out.suffix:
                jobs.append(Job(source, out, kind or "video"))
            else:
                jobs.append(_job(source, out or source.parent, kind or "video", mark))
        else:
            raise BadInput(f"{source} is not there; name a video, a picture or a folder of them.")
    # A folder that is emptied from time to time is no mistake of a job that runs by the clock.
    if not jobs and not resume:
        raise BadInput(f"There is no video and no picture in {', '.join(map(str, sources))}.")
    _refuse(jobs, overwrite or resume)
    return jobs, others


def _job(source: Path, folder: Path, kind: str, mark: str) -> Job:
    if kind == "image":
        suffix = source.suffix.lower()
        suffix = suffix if suffix in PICTURES else ".png"
        return Job(source, folder / f"{source.stem}{mark}{suffix}", "image")
    return Job(source, folder / f"{source.stem}{mark}.mp4", "video")


def _walk(folder: Path, target: Path) -> Iterable[Path]:
    """Regular files below a folder, in a fixed order; none of the target's, none of our making."""
    own = target.resolve()

    def stop(error: OSError) -> None:
        raise BadInput(f"{error.filename} cannot be read: {error.strerror}.") from error

    for root, folders, files in os.walk(folder, onerror=stop):
        here = Path(root)
        folders[:] = sorted(f for f in folders if (here / f).resolve() != own)
        for name in sorted(files):
            if name.endswith(OURS) or Path(name).stem.endswith(MARK):
                continue
            if (here / name).is_file():
                yield here / name


def _readable(path: Path) -> bool:
    return os.access(path, os.R_OK)


def _refuse(jobs: list[Job], may_exist: bool) -> None:
    """BadInput for what no order of work could make right."""
    taken: dict[str, Path] = {}
    for job in jobs:
        key = os.path.normcase(os.path.abspath(job.destination)).casefold()
        if key in taken:
            raise BadInput(
                f"{taken[key]} and {job.source} would both become {job.destination}; "
                "rename one, or do them apart."
            )
        taken[key] = job.source
        suffixes = PICTURES if job.kind == "image" else VIDEOS
        parent = job.destination.parent
        if parent.is_dir():
            destination.check(job.destination, job.source, may_exist, suffixes)
        elif job.destination.suffix.lower() not in suffixes:
            raise BadInput(f"{job.destination} must end in {', '.join(suffixes)}.")


def run_job(
    job: Job,
    settings: Settings,
    anonymizer: Anonymizer,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Make one file and its report. An error is a report too; only an interrupt gets through."""
    report = Report(source=str(job.source), destination=str(job.destination), kind=job.kind)
    try:
        if settings.resume and is_done(job, settings, anonymizer):
            report = read_report(report_path(job.destination))
            report.status = "skipped"
            return report
        if settings.regions:
            anonymizer = settings.load()  # it counts, and follows boxes, within one video
        _make_folder(job.destination.parent)
        destination.sweep(job.destination.parent)
        before = sha256(job.source)
        report = _make(job, settings, anonymizer, progress)
        if sha256(job.source) != before:
            job.destination.unlink(missing_ok=True)
            raise BadInput(f"{job.source} changed while it was read; run this again.")
        report.source_sha256, report.destination_sha256 = before, sha256(job.destination)
        report.settings, report.versions = settings.science(), versions()
        report.anonymizer = anonymizer.describe()  # counts of regions are complete by now
        if settings.check and job.kind == "video":
            from velatura.deploy.check import check

            report.check = check(
                job.source, job.destination, start=settings.start, end=settings.end
            )
        write_report(report)
    except (VelaturaError, OSError, ValueError, RuntimeError, MemoryError) as error:
        report.status, report.error = "failed", _sentence(error)
        report.began = report.began or datetime.now(UTC).isoformat(timespec="seconds")
    return report


def _make(
    job: Job,
    settings: Settings,
    anonymizer: Anonymizer,
    progress: Callable[[int, int], None] | None,
) -> Report:
    replace = settings.overwrite or settings.resume
    if job.kind == "image":
        return anonymize_image(job.source, job.destination, anonymizer, overwrite=replace)
    what = contents.contents(job.source)
    report = anonymize_video(
        job.source,
        job.destination,
        anonymizer,
        overwrite=replace,
        sound=settings.sound,
        start=settings.start,
        end=settings.end,
        on_error=settings.on_error,
        allow_partial=settings.allow_partial,
        batch=settings.batch,
        keep=settings.keep,
        progress=progress,
    )
    kept = {f"tag {key}" for key in settings.keep}
    removed = [r for r in contents.removed(what) if r not in kept]
    if report.sound == "kept":
        removed = [r for r in removed if "sound" not in r]
    report.removed = removed
    report.warnings = [*contents.warnings(what), *report.warnings]
    return report


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
