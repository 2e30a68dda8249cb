"""``velatura anonymize``: files, folders, cameras and streams through an anonymizer."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from velatura.errors import BadInput, VelaturaError

if TYPE_CHECKING:
    from velatura.deploy.anonymizer import Anonymizer
    from velatura.deploy.batch import Job, Settings
    from velatura.deploy.record import Report


def _told_as_json(function: Callable[..., None]) -> Callable[..., None]:
    """With ``--json``, an error too is an object on stdout; the sentence goes to stderr as ever."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except VelaturaError as error:
            if kwargs.get("as_json"):
                answer = {"schema": SCHEMA, "error": str(error), "exit_code": error.exit_code}
                typer.echo(json.dumps(answer, indent=2))
            raise

    return run


SCHEMA = "velatura-anonymize/1"


@_told_as_json
def anonymize(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Videos, pictures, folders of them; or one camera:0, rtsp://..., udp://..., -.",
        ),
    ] = None,
    out: Annotated[
        str,
        typer.Option("--out", "-o", help="A file, a folder or a stream. Default: NAME.anon.mp4."),
    ] = "",
    mode: Annotated[str, typer.Option(help="A fixed filter: see --list.")] = "",
    model: Annotated[
        str, typer.Option(help="A packaged model, an .onnx file, or the folder of a run.")
    ] = "",
    scale: Annotated[
        int | None,
        typer.Option(min=0, help="Shorter side it is shown, pixels; 0 is the video's own."),
    ] = None,
    regions: Annotated[str, typer.Option(help="faces, or a file of boxes: only there.")] = "",
    fill: Annotated[
        str,
        typer.Option(
            help="Of regions: pixelate (unless you say so), black, noise, blur, maskout or removal."
        ),
    ] = "",
    missing: Annotated[
        str,
        typer.Option(help="Frames without a region: whole (unless you say so), black or keep."),
    ] = "",
    sound: Annotated[
        str, typer.Option("--audio", help="drop, or keep: voices identify people.")
    ] = "drop",
    start: Annotated[float, typer.Option(min=0, help="Begin at this second.")] = 0.0,
    end: Annotated[float | None, typer.Option(min=0, help="End before this second.")] = None,
    preview: Annotated[
        str, typer.Option(help="Only so much, such as 3s, into NAME.preview.mp4.")
    ] = "",
    sheet: Annotated[
        Path | None, typer.Option(help="A PNG of before and after. It shows the people.")
    ] = None,
    on_error: Annotated[
        str,
        typer.Option(help="stop, or black pictures where the anonymizer fails, as streams do."),
    ] = "",
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Of a damaged video, keep what decodes.")
    ] = False,
    keep: Annotated[
        str, typer.Option("--keep-metadata", help="Tags to copy, with commas between.")
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace copies that exist, when done.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Pass over copies that this command made already.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Measure the copy against the source.")
    ] = False,
    log: Annotated[
        Path | None, typer.Option(help="Append each report to this hash-chained file.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, openvino or openvino-bf16.")
    ] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="Of the CPU; 0 is all.")] = 0,
    batch: Annotated[int, typer.Option(min=0, help="Frames at once; 0 chooses.")] = 0,
    engine: Annotated[str, typer.Option(help="local, or ray: files over a cluster.")] = "local",
    address: Annotated[
        str, typer.Option(help="ray: auto or host:port of a cluster; else one is started here.")
    ] = "",
    segment: Annotated[
        float | None,
        typer.Option(min=0, help="ray: seconds of a part of a long video [120]; 0 cuts none."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="ray: tasks at once; 0 chooses.")] = 0,
    latency: Annotated[
        float | None,
        typer.Option(min=0.05, help="Streams: seconds after which a picture is dropped [1]."),
    ] = None,
    stall: Annotated[
        float | None,
        typer.Option(min=0.1, help="Streams: seconds without a picture until black [5]."),
    ] = None,
    reconnect: Annotated[
        int | None, typer.Option(min=0, help="Streams: attempts in a row [for ever].")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0, help="Streams: end after this many seconds.")
    ] = None,
    live: Annotated[
        bool | None,
        typer.Option(help="Streams: drop what is late; stdin waits unless you say so."),
    ] = None,
    pipe: Annotated[
        str, typer.Option("--format", help="Of a stream to stdout: mpegts [if not said] or y4m.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and try the first frames.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, progress on stderr.")
    ] = False,
    listing: Annotated[
        bool, typer.Option("--list", help="Print the modes and packaged models.")
    ] = False,
) -> None:
    """Write anonymized copies: same frames, size and timing; no sound, no metadata.

    A copy is written whole and verified, or not at all, and never over its source. How much it
    hides is what the model card measured, and no more: people who know a person may still
    recognise them.

    Exit codes: 0 every copy was made; 1 one or more were not; 2 something to mend in the command;
    130 interrupted.

    Examples:

        velatura anonymize clip.mp4
        velatura anonymize videos/ --out anonymized/ --resume
        velatura anonymize clip.mp4 --mode pixelate --preview 3s --sheet sheet.png
        velatura anonymize rtsp://camera/1 --out udp://127.0.0.1:5000
    """
    if listing:
        _list()
        return
    if not sources:
        raise BadInput("Name a video, a picture, a folder of them, or a stream.")
    from velatura.deploy._sources import is_stream
    from velatura.deploy.batch import MARK, PICTURE, Settings, plan
    from velatura.deploy.record import check_log, report_path
    from velatura.deploy.regions import fills
    from velatura.video import destination

    streams = any(is_stream(source) for source in sources)
    for_files = {
        "--preview": preview,
        "--start": start,
        "--end": end is not None,
        "--audio": sound == "keep",
        "--sheet": sheet,
        "--allow-partial": allow_partial,
        "--keep-metadata": keep,
        "--resume": resume,
        "--check": check,
        "--batch": batch,
        "--dry-run": dry_run,
        "--engine": engine != "local",
    }
    for_streams = {
        "--latency": latency is not None,
        "--stall": stall is not None,
        "--reconnect": reconnect is not None,
        "--duration": duration is not None,
        "--live": live is not None,
        "--format": pipe,
    }
    if streams:
        _refuse(for_files, "is for files, and this is a stream")
    else:
        _refuse(for_streams, "is for streams, and these are files")
    if engine != "ray":
        with_ray = {"--address": address, "--segment": segment is not None, "--workers": workers}
        _refuse(with_ray, "goes with --engine ray")
    if regions:
        whole = {"--mode": mode, "--model": model, "--scale": scale is not None}
        _refuse(whole, "treats whole frames; leave it out, or leave --regions out")
        elsewhere = device not in ("auto", "cpu")
        _refuse({"--device": elsewhere}, f"{device} is not for --regions, which run on the CPU")
    else:
        _refuse({"--fill": fill, "--missing": missing}, "goes with --regions")
    if not all(math.isfinite(t) for t in (start, end or 0.0)):
        raise BadInput("--start and --end are numbers of seconds.")
    if scale is not None and scale > LARGEST_SCALE:
        raise BadInput(f"--scale is at most {LARGEST_SCALE} pixels, got {scale}.")
    if mode and model:
        raise BadInput("--mode and --model both name an anonymizer; give one of them.")
    if preview:
        if end is not None:
            raise BadInput("--preview and --end both say where to end; give one of them.")
        end = start + _seconds(preview)
    settings = Settings(
        anonymizer=_named(mode, model),
        scale=scale,
        device=_one_of("--device", device, "auto", "cpu", "cuda", "openvino", "openvino-bf16"),
        threads=threads,
        regions=regions,
        fill=_one_of("--fill", fill or "pixelate", *fills()),
        missing=_one_of("--missing", missing or "whole", "whole", "black", "keep"),
        sound=_one_of("--audio", sound, "drop", "keep"),
        start=start,
        end=end,
        on_error=_one_of(
            "--on-error", on_error or ("black" if streams else "stop"), "stop", "black"
        ),
        allow_partial=allow_partial,
        batch=batch,
        keep=tuple(name for name in keep.split(",") if name),
        overwrite=overwrite,
        resume=resume,
        check=check,
    )
    if end is not None and end <= start:
        raise BadInput(f"There is nothing from second {start:g} to before second {end:g}.")
    tell = _Teller(as_json)
    if streams:
        if log is not None:
            check_log(log)
        report = _stream(
            sources,
            out,
            settings,
            tell,
            log,
            latency=1.0 if latency is None else latency,
            stall=5.0 if stall is None else stall,
            reconnect=reconnect,
            duration=duration,
            live=live,
            container=_one_of("--format", pipe or "mpegts", "mpegts", "y4m"),
        )
        tell.summary([report], [])
        if report.settings.get("ended") in ("interrupted", "terminated"):
            raise typer.Exit(130)
        if report.status != "done":
            raise typer.Exit(1)
        return
    engine = _one_of("--engine", engine, "local", "ray")
    jobs, others = plan(
        [Path(source) for source in sources],
        Path(out) if out else None,
        mark=".preview" if preview else MARK,
        overwrite=overwrite,
        resume=resume,
    )
    if sheet is not None:
        if len(jobs) != 1 or jobs[0].kind != "video":
            raise BadInput(f"--sheet is for one video; these are {len(jobs)} files.")
        for path in (jobs[0].source, jobs[0].destination, report_path(jobs[0].destination)):
            destination.check(sheet, path, False, [".png"])
    if log is not None:
        check_log(log)
    if regions not in ("", "faces") and len(jobs) != 1:
        raise BadInput(f"A file of boxes is of one video; these are {len(jobs)} files.")
    default = not (mode or model or regions)
    if default and jobs and all(job.kind == "image" for job in jobs):
        settings = dataclasses.replace(settings, anonymizer=PICTURE)
    anonymizer = settings.load()
    tell.anonymizer(anonymizer, default=default)
    if dry_run and jobs:
        _rehearse(jobs, others, settings, anonymizer, tell)
        return
    if engine == "ray":
        reports = _cluster(
            jobs,
            settings,
            tell,
            log,
            address=address or None,
            segment_seconds=120.0 if segment is None else segment,
            workers=workers or None,
        )
    else:
        reports = _work(jobs, settings, anonymizer, tell, log)
    if sheet is not None and reports[0].status in ("done", "partial"):
        from velatura.deploy.sheet import contact_sheet

        contact_sheet(jobs[0].source, jobs[0].destination, sheet, start=start)
        tell.line(f"{sheet}: shows the people beside their copies; keep it as you keep the source.")
    tell.summary(reports, others)
    if any(report.status == "failed" for report in reports):
        raise typer.Exit(1)


LARGEST_SCALE = 8192  # pixels of a shorter side


def _refuse(options: dict[str, Any], why: str) -> None:
    """An option that would be passed over in silence is an error."""
    for name, given in options.items():
        if given:
            raise BadInput(f"{name} {why}.")


def _list() -> None:
    """Every anonymizer by name, with the first sentence of what it does."""
    from velatura.deploy import model, modes
    from velatura.deploy.anonymizer import DEFAULT

    for name in sorted({*modes.MODES, *model.PACKAGED}):
        if name in modes.MODES:
            kind, what = "mode", (modes.MODES[name].__doc__ or "").split("\n")[0]
        else:
            kind, what = "model", "a trained network; its card is in docs/model-card.md"
        default = " (default)" if name == DEFAULT else ""
        typer.echo(f"{name:<12}{kind:<7}{what}{default}")


def _named(mode: str, model: str) -> str:
    """What ``Anonymizer.load`` is to load; a run is exported first."""
    if mode:
        from velatura.deploy.modes import MODES
        from velatura.errors import unknown

        if mode not in MODES:
            raise unknown("mode", mode, MODES)
        return mode
    from velatura.deploy.anonymizer import names

    # A name of the package is that, also where a folder of the same name lies about.
    if model and model not in names() and Path(model).is_dir():
        return str(_exported(Path(model)))
    return model or "default"


def _exported(run: Path) -> Path:
    """The run's ONNX file; made and checked at first use, again when the run is newer."""
    from velatura.export.onnx import export

    path = run / "anonymizer.onnx"
    newest = max((f.stat().st_mtime for f in run.glob("*.safetensors")), default=0.0)
    if not path.exists() or path.stat().st_mtime < newest:
        export(run, path, overwrite=True)
    return path


def _work(
    jobs: list[Job], settings: Settings, anonymizer: Anonymizer, tell: _Teller, log: Path | None
) -> list[Report]:
    from velatura.deploy.batch import run_job
    from velatura.deploy.record import append

    reports: list[Report] = []
    for number, job in enumerate(jobs, 1):
        try:
            with tell.progress(job, number, len(jobs)) as progress:
                report = run_job(job, settings, anonymizer, progress)
        except (KeyboardInterrupt, SystemExit):
            done = sum(r.status in ("done", "partial") for r in reports)
            raise KeyboardInterrupt(
                f"Interrupted at {job.source}; of it no copy was written. {done} of {len(jobs)} "
                "are done; the same command with --resume goes on."
            ) from None
        reports.append(report)
        if log is not None and report.status != "skipped":
            append(log, report)
        tell.report(report)
    return reports


def _cluster(
    jobs: list[Job], settings: Settings, tell: _Teller, log: Path | None, **how: Any
) -> list[Report]:
    """Every job by Ray; reports in the order in which they end."""
    from velatura.deploy.cluster import run
    from velatura.deploy.record import append

    reports = []
    with tell.all(len(jobs)) as progress:
        for report in run(jobs, settings, progress=progress, **how):
            reports.append(report)
            if log is not None and report.status != "skipped":
                append(log, report)
            tell.report(report)
    return reports


def _stream(
    sources: list[str], out: str, settings: Settings, tell: _Teller, log: Path | None, **how: Any
) -> Report:
    """One camera or stream, until it ends or somebody stops it."""
    from velatura.deploy.record import append
    from velatura.deploy.stream import anonymize_stream

    if len(sources) != 1:
        raise BadInput("A stream goes alone; run the command once for each.")
    if not out:
        raise BadInput(
            "Say where the stream goes: --out - (stdout), udp://HOST:PORT, rtsp://..., "
            "http://127.0.0.1:PORT for a browser, or a recording such as out.mp4."
        )
    anonymizer = settings.load()
    # stdout may be the stream itself: everything that is said goes to stderr.
    tell.quiet = out == "-"
    tell.anonymizer(anonymizer, default=settings.anonymizer == "default" and not settings.regions)
    report = anonymize_stream(
        sources[0],
        out,
        anonymizer,
        on_error=settings.on_error,
        overwrite=settings.overwrite,
        log=lambda line: tell.event(event="stream", line=line) if tell.as_json
        else typer.echo(line, err=True),
        **how,
    )  # fmt: skip
    if log is not None:
        append(log, report)
    return report


def _rehearse(
    jobs: list[Job],
    others: list[Path],
    settings: Settings,
    anonymizer: Anonymizer,
    tell: _Teller,
) -> None:
    """Say what would be done, and do the first second of each into a folder that is thrown away."""
    import shutil
    import tempfile

    from velatura.deploy.batch import Job, run_job
    from velatura.video.probe import probe

    plans, unable = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for job in jobs:
            trial = Job(job.source, Path(folder) / f"trial{job.destination.suffix}", job.kind)
            short = dataclasses.replace(
                settings, end=settings.end or settings.start + 1, overwrite=True, resume=False,
                check=False, allow_partial=True,
            )  # fmt: skip
            report = run_job(trial, short, anonymizer)
            if report.status != "failed":
                report.error = _unwritable(job.destination.parent)
                report.status = "failed" if report.error else report.status
            entry: dict[str, Any] = {
                "source": str(job.source),
                "destination": str(job.destination),
                "runnable": report.status != "failed",
                "error": report.error,
                "width": report.width,
                "height": report.height,
                "device": anonymizer.device,
            }
            if report.status != "failed" and job.kind == "video":
                frames = probe(job.source).frames
                entry["frames"] = frames
                entry["codec"] = f"{probe(job.source).codec} -> h264"
                entry["estimated_seconds"] = round(frames * report.wall / report.frames, 1)
                size = trial.destination.stat().st_size * frames / report.frames
                entry["estimated_bytes"] = round(size)
            unable += report.status == "failed"
            plans.append(entry)
    need = sum(entry.get("estimated_bytes", 0) for entry in plans)
    there = next(p for p in jobs[0].destination.absolute().parents if p.exists())
    free = shutil.disk_usage(there).free
    fits = free > need
    tell.rehearsal(plans, others, need, free)
    if unable or not fits:
        raise typer.Exit(1)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _unwritable(folder: Path) -> str:
    """Why nothing can be written into a folder that may not be there yet; "" where it can."""
    from velatura.video.destination import Partial

    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        Partial(there / "trial").discard()
    except BadInput as error:
        return str(error)
    return ""


class _Teller:
    """What is said, where: to people, lines on stdout; to programs, JSON."""

    def __init__(self, as_json: bool):
        self.as_json = as_json
        self.used: dict[str, Any] = {}
        self.quiet = False  # stdout carries a stream

    def line(self, text: str) -> None:
        if not self.as_json:
            # Names of files may hold what steers a terminal.
            typer.echo(_printable(text), err=self.quiet)

    def event(self, **values: Any) -> None:
        if self.as_json:
            typer.echo(json.dumps(values), err=True)

    def anonymizer(self, anonymizer: Anonymizer, default: bool) -> None:
        self.used = anonymizer.describe()
        why = ", the default: the model card says why" if default else ""
        self.line(f"{anonymizer.name}{why}; on {anonymizer.device}")
        self.event(event="anonymizer", **self.used)

    @contextmanager
    def progress(self, job: Job, number: int, total: int) -> Iterator[Callable[[int, int], None]]:
        began = time.perf_counter()
        name = job.source.name if total == 1 else f"[{number}/{total}] {job.source.name}"
        if self.as_json:
            last = began

            def tell(done: int, expected: int) -> None:
                nonlocal last
                now = time.perf_counter()
                if now - last >= 0.5 or done == expected:
                    last = now
                    self.event(
                        event="progress",
                        source=str(job.source),
                        done=done,
                        total=expected,
                        fps=round(done / (now - began), 2),
                    )

            yield tell
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[fps]} frames/s"),
            Remaining(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(name, total=None, fps="")

            def show(done: int, expected: int) -> None:
                fps = f"{done / (time.perf_counter() - began):.0f}"
                bar.update(task, completed=done, total=expected, fps=fps)

            yield show

    @contextmanager
    def all(self, files: int) -> Iterator[Callable[[Job, int, int], None]]:
        """Frames of all files together, as they come from many workers."""
        counts: dict[str, tuple[int, int]] = {}
        began = time.perf_counter()

        def sums(job: Job, done: int, expected: int) -> tuple[int, int, float]:
            counts[str(job.source)] = done, expected
            frames = sum(done for done, _ in counts.values())
            total = sum(expected for _, expected in counts.values())
            return frames, total, frames / (time.perf_counter() - began)

        if self.as_json:

            def tell(job: Job, done: int, expected: int) -> None:
                frames, total, fps = sums(job, done, expected)
                self.event(
                    event="progress",
                    source=str(job.source),
                    done=done,
                    total=expected,
                    fps=round(fps, 2),
                )

            yield tell
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"{files} files", total=None)

            def show(job: Job, done: int, expected: int) -> None:
                frames, total, fps = sums(job, done, expected)
                text = f"{files} files, {fps:.0f} frames/s"
                bar.update(task, description=text, completed=frames, total=total)

            yield show

    def report(self, report: Report) -> None:
        self.event(event="file", source=report.source, status=report.status, error=report.error)
        if report.status == "failed":
            if not self.as_json:
                typer.echo(f"FAILED: {_printable(report.error)}", err=True)
            return
        if report.status == "skipped":
            self.line(f"{report.destination}: there already, verified")
            return
        pieces = [f"{report.width}x{report.height}", f"{report.wall:.1f} s"]
        if report.kind != "image":
            pieces = [f"{report.frames} frames", *pieces, f"{report.fps:.0f} frames/s"]
        if report.sound != "none":
            pieces.append(f"sound {report.sound}")
        self.line(f"{report.destination}: {', '.join(pieces)}")
        if report.removed:
            self.line(f"  removed: {', '.join(report.removed)}")
        for warning in report.warnings:
            self.line(f"  warning: {warning}")
        for line in _figures(report.check):
            self.line(f"  check: {line}")

    def summary(self, reports: list[Report], others: list[Path]) -> None:
        counts = {"done": 0, "failed": 0, "skipped": 0}
        for report in reports:
            counts["done" if report.status == "partial" else report.status] += 1
        if self.as_json:
            answer = {
                "schema": SCHEMA,
                **counts,
                "passed_over": [str(path) for path in others],
                "anonymizer": self.used,
                "reports": [report.values() for report in reports],
            }
            typer.echo(json.dumps(answer, indent=2), err=self.quiet)
            return
        if others:
            self.line(f"passed over, neither video nor picture: {', '.join(map(str, others))}")
        if len(reports) != 1 or counts["failed"]:
            self.line("{done} done, {failed} failed, {skipped} skipped".format(**counts))

    def rehearsal(
        self, plans: list[dict[str, Any]], others: list[Path], need: int, free: int
    ) -> None:
        if self.as_json:
            runnable = all(plan["runnable"] for plan in plans) and free > need
            answer = {
                "schema": "velatura-dry-run/1",
                "runnable": runnable,
                "estimated_bytes": need,
                "free_bytes": free,
                "passed_over": [str(path) for path in others],
                "jobs": plans,
            }
            typer.echo(json.dumps(answer, indent=2))
            return
        for plan in plans:
            if not plan["runnable"]:
                self.line(f"cannot: {plan['error']}")
                continue
            size = f"{plan['width']}x{plan['height']}"
            more = ""
            if "frames" in plan:
                more = (
                    f", {plan['frames']} frames, {plan['codec']}, "
                    f"about {plan['estimated_seconds']:.0f} s"
                )
            self.line(f"would write {plan['destination']}: {size}{more}")
        enough = "" if free > need else ": not enough"
        self.line(f"about {need / 2**20:.1f} MiB of {free / 2**20:.0f} MiB free{enough}")


def _figures(check: dict[str, Any]) -> Iterator[str]:
    """The figures of ``--check`` for people; what each cannot say stands in the report."""
    if not check:
        return
    faces, likeness, flicker = check["faces"], check["likeness"], check["flicker"]
    if faces.get("available"):
        yield (
            f"faces found in {faces['frames']} frames: {faces['source']['faces']} before, "
            f"{faces['output']['faces']} after, {faces['same_place']['faces']} at the same place"
        )
    else:
        yield f"faces not looked for: {faces.get('reason', 'no detector')}"

    def known(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.2f}"

    yield (
        f"likeness to the source, median: picture {known(likeness['picture']['median'])}, "
        f"fine detail {known(likeness['detail']['median'])}, "
        f"changes {known(check['motion']['changes']['median'])}; "
        f"{likeness['nearly_identical']['frames']} frames nearly identical"
    )
    yield f"flicker against the source's own: {known(flicker['ratio'])}"
    yield "what these figures cannot say stands in the report and in docs/check.md"


def _seconds(text: str) -> float:
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise BadInput(f"--preview is a number of seconds such as 3s, not {text!r}.")
    return value


def _one_of(option: str, value: str, *right: str) -> Any:
    from velatura.errors import unknown

    if value not in right:
        raise unknown(f"value of {option}", value, right)
    return value
