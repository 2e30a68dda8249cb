"""``velatura doctor``: what this machine has, what is missing, and how to mend it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

GIB = 2**30


class Check(NamedTuple):
    """One line of the answer.

    Attributes:
        status: "ok"; "warn" where something is slow, scarce or missing that `velatura anonymize`
            does without; "fail" where it cannot do without.
        name: what was looked at.
        found: what was found.
        remedy: what to do about it; empty where nothing is wrong.
    """

    status: str
    name: str
    found: str
    remedy: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """Check what this machine can run, and say how to mend what it cannot.

    A tiny video is anonymized in every way that the package brings, and read back. The exit code
    is 0 where all of that works and 1 where it does not: a missing extra is a warning, for
    training and reports.

    Example:

        velatura doctor --json
    """
    checks = []
    for check in _checks():
        checks.append(check)
        if not as_json:
            remedy = f" -> {check.remedy}" if check.remedy else ""
            typer.echo(f"{check.status:<5}{check.name:<17}{check.found}{remedy}")
    usable = all(check.status != "fail" for check in checks)
    if as_json:
        import json

        answer = {"usable": usable, "checks": [check._asdict() for check in checks]}
        typer.echo(json.dumps(answer, indent=2))
    if not usable:
        raise typer.Exit(1)


def _checks() -> Iterator[Check]:
    """Every check, as soon as it is done: torch takes seconds to import."""
    yield from _machine()
    yield from _packages()
    yield from _video()
    yield from _torch()
    yield _cache()


def _machine() -> Iterator[Check]:
    yield Check("ok", "velatura", version("velatura"))
    yield Check("ok", "python", f"{platform.python_version()} at {sys.executable}")
    yield Check("ok", "platform", platform.platform())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("ok", "cores", str(cores))
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
        few = memory < 7.5  # a machine sold as 8 GiB reports a little less
        remedy = "`velatura demo` may need up to 8 GiB; `velatura demo --quick` needs less"
        yield Check("warn" if few else "ok", "memory", f"{memory:.1f} GiB", remedy if few else "")
    runs = Path("runs").absolute()
    there = next(folder for folder in (runs, *runs.parents) if folder.exists())
    free = shutil.disk_usage(there).free / GIB
    remedy = "free some space: runs and the cache of generated people need a few GiB"
    status = "ok"
    if free < 3:
        status = "warn"
    if free < 0.05:
        status, remedy = "fail", "free some space: there is none for an output"
    found = f"{free:.1f} GiB free for {runs}"
    yield Check(status, "disk", found, remedy if status != "ok" else "")


def _packages() -> Iterator[Check]:
    """What the package says it needs, with and without its extras, against what is there."""
    wanted: dict[str, list[str]] = {"": [], "train": []}
    for line in requires("velatura") or []:
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        marker = re.search(r"extra\s*==\s*['\"](\w+)", line)
        wanted.setdefault(marker[1] if marker else "", []).append(name)
    for extra, severity, purpose in (("", "fail", "core"), ("train", "warn", "extra train")):
        missing = [name for name in wanted[extra] if not _installed(name)]
        target = f"velatura[{extra}]" if extra else "velatura"
        if missing:
            found = f"missing: {', '.join(missing)}"
            yield Check(severity, purpose, found, f"pip install '{target}'")
        else:
            yield Check("ok", purpose, f"all {len(wanted[extra])} packages installed")


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _video() -> Iterator[Check]:
    """What `velatura anonymize` needs: in one line where all is there, else a line for each fault.

    Importing the libraries and loading each model says less than anonymizing with it does.
    """
    encoder = _encoder()
    if encoder.status == "fail":
        yield encoder
        return
    checks = [encoder, _runtime(), *_anonymizers()]
    good = [check.found for check in checks if check.status == "ok"]
    yield Check("ok", "video", "; ".join(good))
    yield from (check for check in checks if check.status != "ok")


def _encoder() -> Check:
    try:
        import av
    except ImportError as error:
        return Check("fail", "video", f"PyAV does not load: {error}", "pip install av")
    try:
        av.codec.Codec("libx264", "w")
    except ValueError:  # av.error.UnknownCodecError is one
        found = f"PyAV {av.__version__} without libx264"
        return Check("fail", "video", found, "install PyAV's own wheel: pip install av")
    return Check("ok", "video", f"PyAV {av.__version__}, writes H.264")


def _runtime() -> Check:
    """What runs packaged and exported networks."""
    try:
        import onnxruntime
    except Exception as error:  # a wheel for another machine fails in many ways
        found = f"does not load: {error}"
        return Check("fail", "onnxruntime", found, "pip install onnxruntime")
    providers = ", ".join(
        name.removesuffix("ExecutionProvider")
        for name in onnxruntime.get_available_providers()
        if not name.startswith("Azure")  # which would send pictures away; never asked for
    )
    return Check("ok", "onnxruntime", f"onnxruntime {onnxruntime.__version__} ({providers})")


def _anonymizers() -> Iterator[Check]:
    """A tiny video through every mode and packaged model, from file to file."""
    import tempfile
    from fractions import Fraction

    import numpy as np

    from velatura.deploy.anonymizer import Anonymizer, names
    from velatura.deploy.file import anonymize_video
    from velatura.video.probe import probe
    from velatura.video.write import VideoWriter

    remedy = "install velatura again: pip install --force-reinstall velatura"
    height, width, frames = 48, 64, 6
    works = []
    try:
        with tempfile.TemporaryDirectory(prefix="velatura-doctor-") as folder:
            source, copy = Path(folder) / "source.mp4", Path(folder) / "copy.mp4"
            with VideoWriter(source, width, height, time_base=Fraction(1, 25)) as writer:
                for i in range(frames):
                    image = np.full((height, width, 3), 60, np.uint8)
                    image[12:36, 6 * i : 6 * i + 24] = (200, 120, 40)
                    writer.write(image, i)
            for name in names():
                try:
                    anonymizer = Anonymizer.load(name)
                    anonymize_video(source, copy, anonymizer, overwrite=True)
                    info = probe(copy, count=True)
                    got = (info.height, info.width, info.frames)
                    if got != (height, width, frames):
                        raise ValueError(f"the copy is {got}, not {(height, width, frames)}")
                    works.append(name)
                except Exception as error:  # whatever it is, the next one is tried
                    yield Check("fail", "anonymizer", f"{name}: {error}", remedy)
    except Exception as error:
        remedy = "mend the folder for temporary files, or name another in TMPDIR"
        yield Check("fail", "anonymizer", f"no tiny video can be written: {error}", remedy)
        return
    if works:
        yield Check("ok", "anonymizer", f"anonymizes with {', '.join(works)}")


def _torch() -> Iterator[Check]:
    try:
        import torch
    except ImportError:
        yield Check("warn", "torch", "not installed", "pip install 'velatura[train]' to train")
        return
    instructions = torch.backends.cpu.get_cpu_capability()
    yield Check(
        "ok", "torch", f"{torch.__version__}, {torch.get_num_threads()} threads, {instructions}"
    )
    gain = f"a convolution at {_bf16_gain():.1f}x the speed of fp32"
    yield Check("ok", "bf16 on the CPU", gain)
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Check("ok", "GPU", ", ".join(names))
    else:
        yield Check("ok", "GPU", "none that torch can use; training runs on the CPU")
    from velatura.torchvision_guard import ensure

    try:
        native = ensure()
    except ModuleNotFoundError:
        yield Check("warn", "torchvision", "not installed", "pip install 'velatura[train]'")
        return
    yield Check(
        "ok",
        "torchvision",
        f"{version('torchvision')}, "
        + ("native operators" if native else "its operators do not fit this torch; stand-in used"),
    )


def _bf16_gain() -> float:
    """How much faster a 3 x 3 convolution, channels last, runs in bf16 than in fp32.

    On one thread, and the best of several: other work on the machine would blur it.
    """
    from time import perf_counter

    import torch

    def seconds(dtype: torch.dtype) -> float:
        layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(dtype)
        images = torch.ones(4, 64, 28, 28, dtype=dtype).to(memory_format=torch.channels_last)
        times = []
        for _ in range(12):
            start = perf_counter()
            layer(images)
            times.append(perf_counter() - start)
        return min(times)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return seconds(torch.float32) / seconds(torch.bfloat16)
    finally:
        torch.set_num_threads(threads)


def _cache() -> Check:
    from velatura.config import cache_folder

    folder = cache_folder()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / GIB
    return Check("ok", "cache", f"{size:.2f} GiB in {folder}")
