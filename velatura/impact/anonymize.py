"""``velatura impact anonymize``: a COCO folder in, the same with its people hidden out.

    OUT/annotations/*.json   byte for byte what they were (of other formats: converted)
    OUT/IMAGES/...           every image under its name, all encoded alike, none with metadata
    OUT/manifest.jsonl       what was done to each: hashes, regions, who was left out and why
    OUT/summary.json         counts
    OUT/anonymize.toml       every setting; the same command goes on where it was stopped

Images in which nobody is hidden are decoded and encoded as the others are, so that a network that
is trained on the copy sees no difference but the one that is asked about. An image that cannot be
anonymized is not there, and the manifest says why. What is written depends on the settings alone,
not on the number of workers, or how often the work was stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from velatura import plugins
from velatura import regions as room
from velatura.config import build, config, plain, read_toml, to_toml
from velatura.errors import BadInput, Failure, unknown
from velatura.impact import _where
from velatura.impact._coco import Dataset, Entry
from velatura.impact._manifest import Journal, lines
from velatura.impact._versions import installed
from velatura.impact._whole import WAYS
from velatura.regions import Region, RegionAnonymizer

__all__ = ["Config", "Setup", "anonymize", "as_annotated", "hider", "look", "methods", "setup"]

SCHEMA = "velatura-impact-anonymize/1"
SETTINGS, SUMMARY = "anonymize.toml", "summary.json"
FORMS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF",
    ".tiff": "TIFF",
}  # fmt: skip
LIBRARIES = ("velatura", "numpy", "pillow", "opencv-python-headless", "pycocotools", "onnxruntime")
DRAWING = ("diffusers", "torch", "transformers")  # of the method diffusion alone
NONE = "method none"
UNCHANGED = "left as they were by the other tool"
TOLD = 20  # images that failed, in the summary

Progress = Callable[[int, int], None]


@config
class Config:
    """Everything but the method."""

    regions: _where.Config = _where.Config()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    quality: Annotated[int, Field(ge=1, le=100)] = 100  # of JPEG, without subsampling


@dataclass(frozen=True)
class Setup:
    """A method with its configuration, and everything else that changes what is written."""

    name: str
    method: Any
    cfg: Config

    def values(self) -> dict[str, Any]:
        """As ``setup`` takes them."""
        rest = plain(self.cfg)
        method = {"name": self.name, **plain(self.method)}
        return {"seed": rest["seed"], "quality": rest["quality"], "method": method,
                "regions": rest["regions"]}  # fmt: skip

    def anonymizer(self) -> RegionAnonymizer:
        """What hides regions; BadInput where something that it needs is not there."""
        if self.name in WAYS:
            made: RegionAnonymizer = WAYS[self.name][0](self.method)
            return made
        return room.load(self.name, **plain(self.method))


def methods() -> list[str]:
    """Every method by name: the files of velatura/regions, and those of ``_whole``."""
    return sorted({*room.names(), *WAYS})


def setup(values: Mapping[str, Any]) -> Setup:
    """Check settings: ``{"method": {"name": "blur"}, "regions": {"kind": "face"}, "seed": 0}``.

    Raises:
        BadInput: an unknown name, key or value, in one sentence.
    """
    rest = dict(values)
    method = dict(rest.pop("method", {}))
    name = method.pop("name", "")
    if name not in methods():
        raise unknown("method", str(name), methods())
    kind = WAYS[name][1] if name in WAYS else plugins.config_class("regions", name)
    return Setup(name, build(kind, method, "method"), build(Config, rest))


def anonymize(
    how: Setup,
    data: Dataset,
    out: Path,
    *,
    workers: int = 0,
    limit: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the copy, or go on with it.

    Args:
        data: what ``_formats.read`` found.
        out: a new folder, or one that the same settings have begun.
        workers: processes; 0 is one per core, or as many as the method likes.
        limit: only so many images, the first; 0 is all.
        progress: called with images done and in all.

    Returns:
        What ``summary.json`` holds.

    Raises:
        BadInput: settings that do not fit the data set; a folder that holds something else.
        Failure: the disk is full, or the method itself broke. What is done is kept.
    """
    how = _fitted(how, data)
    boxes = _boxes(how.cfg.regions)
    made_of = _made_of(how, data)
    workers = workers or how.anonymizer().workers
    with _claimed(out, data, {**how.values(), "made_of": made_of}) as journal:
        with suppress(FileNotFoundError):
            (out / SUMMARY).unlink()  # until it is true again, the copy is not finished
        jobs = [
            _job(how, data, entry, boxes, out / data.images / entry.name, journal)
            for entry in data.entries[: limit or None]
        ]
        for done, answer in enumerate(_spread(jobs, workers), 1):
            if answer.line is not None:
                journal.add(answer.line)
            if progress is not None:
                progress(done, len(jobs))
        for place, document in data.documents.items():
            _copy(document, out / place)
        manifest = journal.finish([entry.name for entry in data.entries])
    summary = {
        "schema": SCHEMA,
        **how.values(),
        "made_of": made_of,
        "anonymizer": how.anonymizer().describe(),
        "versions": installed((*LIBRARIES, *(DRAWING if how.name == "diffusion" else ()))),
        **_counts(lines(manifest), data, _unlisted(data)),
    }
    _write(out / SUMMARY, json.dumps(summary, indent=2).encode() + b"\n")
    return summary


def look(
    how: Setup, data: Dataset, *, workers: int = 0, limit: int = 0, progress: Progress | None = None
) -> tuple[dict[str, Any], dict[str, list[list[int]]]]:
    """What ``anonymize`` would do: every image is read, and nothing is written.

    Returns:
        The counts of the summary; and by image the boxes of regions before they grow, as a file of
        boxes has them.
    """
    how = _fitted(how, data)
    boxes = _boxes(how.cfg.regions)
    jobs = [_job(how, data, entry, boxes, None, None) for entry in data.entries[: limit or None]]
    found, regions = {}, {}
    for done, answer in enumerate(_spread(jobs, workers), 1):
        assert answer.line is not None
        found[answer.name] = answer.line
        regions[answer.name] = [list(box) for box in answer.boxes]
        if progress is not None:
            progress(done, len(jobs))
    names = [job.entry.name for job in jobs]
    ordered = (found[name] for name in names)
    return _counts(ordered, data, _unlisted(data)), {name: regions[name] for name in names}


def hider(how: Setup, data: Dataset) -> Callable[[str, np.ndarray, np.ndarray], np.ndarray]:
    """What hides other pictures of the same scenes as ``anonymize`` hides those of a data set.

    Returns:
        Called with an image's name, its pixels as annotated, and the other picture, both
        (H, W, 3) uint8: the other one, in which the regions of the image are hidden. Nothing is
        written.

    Raises:
        BadInput: settings that do not fit the data set.
    """
    how = _fitted(how, data)
    boxes = _boxes(how.cfg.regions)
    entries = {entry.name: entry for entry in data.entries}

    def hide(name: str, image: np.ndarray, other: np.ndarray) -> np.ndarray:
        found = _where_in(image, _job(how, data, entries[name], boxes, None, None))
        return _tools(how)[0](other, found.regions, seed=how.cfg.seed, picture=name)

    return hide


def _fitted(how: Setup, data: Dataset) -> Setup:
    """The setup with what it left open; whatever it needs was loaded once."""
    where = _where.resolved(how.cfg.regions, data)
    how.anonymizer().check(where.kind, data.points)
    if how.name != "none":
        _where.check(where, data)
    cfg = Config(regions=where, seed=how.cfg.seed, quality=how.cfg.quality)
    return Setup(how.name, how.method, cfg)


def _boxes(where: _where.Config) -> dict[str, np.ndarray] | None:
    from velatura.deploy.regions import read_picture_boxes

    return read_picture_boxes(where.boxes)[0] if where.boxes else None


def _made_of(how: Setup, data: Dataset) -> list[str]:
    """What the settings name but do not hold: files by their SHA-256, networks by their digest."""
    found = [f"{place}: {_digest(document)}" for place, document in data.documents.items()]
    where = how.cfg.regions
    if where.boxes:
        found.append(f"boxes: {_digest(Path(where.boxes))}")
    if where.source == "detector" and how.name != "none":
        found.append(f"detector: {_where.detector(where).digest}")
    if how.name in ("frame", "gan", "diffusion"):
        network = how.anonymizer().describe()["network"]
        found.append(f"network: {network['digest']}")
        if how.name == "diffusion":  # other devices draw other bits
            found.append(f"drawn on: {network['device']} in {network['dtype']}")
    return found


def _digest(document: Path | bytes) -> str:
    if isinstance(document, bytes):
        return hashlib.sha256(document).hexdigest()
    with open(document, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _claimed(out: Path, data: Dataset, values: dict[str, Any]) -> Journal:
    """The journal of a folder that is new, or that the same settings have begun.

    Raises:
        BadInput: it holds something else, is the data set itself, or lies among its images.
    """
    place, source = out / data.images, data.root / data.images
    for ours, theirs in ((out, data.root), (place, source)):
        if ours.resolve() == theirs.resolve():
            raise BadInput(f"{ours} is the data set itself; name another --out.")
    if source.resolve() in out.resolve().parents:
        raise BadInput(
            f"{out} lies in {source}, where copies would count as images; name another --out."
        )
    settings = out / SETTINGS
    if settings.exists():
        there = read_toml(settings)
        other = [key for key in values if there.get(key) != plain(values[key])]
        if other:
            raise BadInput(
                f"{out} was made with other settings ({', '.join(other)} differ); name another "
                "--out."
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} holds something else; name another --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write(settings, to_toml(values).encode())
        return Journal(out)
    except OSError as error:
        raise BadInput(f"Cannot write into {out}: {error.strerror}.") from error


# -------------------------------------------------------------------------------- one image


class Job(NamedTuple):
    """One image.

    Attributes:
        source, target: files; without a target nothing is written.
        boxes: that a file has for it.
        known: SHA-256 of source and copy, where a line says that it is done.
    """

    how: Setup
    entry: Entry
    points: dict[str, tuple[str, ...]]
    source: Path
    target: Path | None
    boxes: np.ndarray | None
    known: tuple[str, str] | None


class _Broken(Failure):
    """The method broke, and not the image: others would fare no better."""


class Answer(NamedTuple):
    """What became of it; no line where it was done before."""

    name: str
    line: dict[str, Any] | None
    boxes: list[tuple[int, int, int, int]]


def _job(
    how: Setup,
    data: Dataset,
    entry: Entry,
    boxes: dict[str, np.ndarray] | None,
    target: Path | None,
    journal: Journal | None,
) -> Job:
    mine = None if boxes is None else boxes.get(entry.name, np.zeros((0, 4)))
    line = journal.known.get(entry.name) if journal is not None else None
    known = (line.before, line.after) if line is not None and line.status != "failed" else None
    source = data.root / data.images / entry.name
    return Job(how, entry, data.points, source, target, mine, known)


def _spread(jobs: list[Job], workers: int) -> Iterator[Answer]:
    from velatura.data._parallel import spread

    return spread(_work, jobs, workers, each=4)


def _work(job: Job) -> Answer:
    """One image from its file to its copy; whatever is wrong with it is told in its line.

    Raises:
        Failure: something is wrong with the method, or the disk.
    """
    from velatura.data._parallel import reason_of

    entry, target = job.entry, job.target
    if job.known is not None and target is not None and _is_done(job.source, target, job.known):
        return Answer(entry.name, None, [])
    line: dict[str, Any] = {"image": entry.name, "id": entry.id}
    try:
        encoded, found = _made(job, line)
    except _Broken:
        raise
    except Exception as error:  # a hostile file or annotation breaks libraries in many ways
        if target is not None:
            with suppress(FileNotFoundError):
                target.unlink()  # of an earlier source
        line |= {"status": "failed", "error": reason_of(error, job.source)}
        line["instances"] = len(entry.instances)
        return Answer(entry.name, line, [])
    if target is not None:
        assert encoded is not None
        _write(target, encoded)
        line["sha256_out"] = hashlib.sha256(encoded).hexdigest()
    return Answer(entry.name, line, found.boxes)


def _made(job: Job, line: dict[str, Any]) -> tuple[memoryview | None, _where.Found]:
    """The bytes of the copy, where one is wanted, and what was found; completes the line."""
    from velatura.deploy.image import encoded, read_image

    how, entry = job.how, job.entry
    form = FORMS.get(job.source.suffix.lower())
    if form is None:
        raise BadInput(
            f"{entry.name} must end in {', '.join(FORMS)}, to be written under its name."
        )
    if not job.source.is_file():
        raise BadInput(f"The annotations name {entry.name}, and there is no file {job.source}.")
    still = read_image(job.source, by_profile=False)
    image, turned = as_annotated(still.pixels, still.turned, entry)
    found = _where_in(image, job)
    line |= {
        "status": "anonymized" if found.regions else "untouched",
        "sha256_in": still.sha256,
        "height": image.shape[0],
        "width": image.shape[1],
        "warnings": [*still.warnings, *turned],
        "regions": [
            {"id": r.id, "kind": r.kind, "box": list(r.box), "mask": r.mask is not None}
            for r in found.regions
        ],
        "hidden": found.hidden,
        "skipped": [list(pair) for pair in found.skipped],
        "whole": found.whole,
        "extra": found.extra,
        "instances": len(entry.instances),
    }
    if job.target is None:
        return None, found
    try:
        hidden = _tools(how)[0](image, found.regions, seed=how.cfg.seed, picture=entry.name)
    except Failure as error:
        raise _Broken(
            f"{str(error).rstrip(' .')} (at {entry.name}); what is done is kept, and the same "
            "command goes on."
        ) from error
    if how.name == "external":
        _take_back(line, found.regions, image, hidden)
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": how.cfg.quality, "subsampling": "4:4:4"},
        "WEBP": {"lossless": True},
    }
    return encoded(hidden, form, **options.get(form, {})), found


def _where_in(image: np.ndarray, job: Job) -> _where.Found:
    """What is to be hidden in an image, as annotated."""
    how, entry = job.how, job.entry
    anonymizer, detector = _tools(how)
    if how.name == "none":
        left = [(instance.id, NONE) for instance in entry.instances]
        return _where.Found([], [], [], left, [], 0)
    boxes = job.boxes
    if detector is not None:
        (faces,) = detector.detect(image[None], how.cfg.regions.threshold)
        boxes = faces[:, :4]
    if job.boxes is not None:
        _check_boxes(job.boxes, image, how.cfg.regions.boxes)
    return _where.find(image, entry, how.cfg.regions, job.points, anonymizer.reach, boxes)


def _take_back(
    line: dict[str, Any], regions: list[Region], before: np.ndarray, after: np.ndarray
) -> None:
    """Whom another tool left as they were is not hidden: the line says so."""
    changed: set[int | str] = set()
    for region in regions:
        other = (before[region.place] != after[region.place]).any(-1)
        if (other if region.mask is None else other & region.mask).any():
            changed |= {*line["hidden"]} if region.kind == "frame" else {region.id}
    left = [number for number in line["hidden"] if number not in changed]
    line["hidden"] = [number for number in line["hidden"] if number in changed]
    line["whole"] = [number for number in line["whole"] if number in changed]
    line["skipped"] += [[number, UNCHANGED] for number in left]
    if not changed:
        line["status"] = "untouched"


@lru_cache(maxsize=1)
def _tools(how: Setup) -> tuple[RegionAnonymizer, Any]:
    """What a process needs for every image: made once."""
    with suppress(ImportError):
        import cv2

        if parent_process() is not None:
            cv2.setNumThreads(1)  # the other workers have the other cores
    uses = how.cfg.regions.source == "detector" and how.name != "none"
    return how.anonymizer(), _where.detector(how.cfg.regions) if uses else None


def as_annotated(image: np.ndarray, turned: int, entry: Entry) -> tuple[np.ndarray, list[str]]:
    """The picture as its annotations see it, and what is to be said of that.

    Upright, as EXIF says, if the size fits; some data sets were annotated without a look at EXIF.
    """
    if entry.size is None or image.shape[:2] == entry.size:
        return image, ["The picture is turned as its EXIF says."] if turned != 1 else []
    back = {
        5: lambda: image.swapaxes(0, 1),
        6: lambda: np.rot90(image),
        7: lambda: image[::-1, ::-1].swapaxes(0, 1),
        8: lambda: np.rot90(image, -1),
    }
    if turned in back and image.shape[:2] == entry.size[::-1]:
        said = "Its annotations are of the picture as it is stored: it is not turned as EXIF says."
        return np.ascontiguousarray(back[turned]()), [said]
    height, width = entry.size
    raise BadInput(
        f"The annotations are of {width} x {height} pixels, and {entry.name} has "
        f"{image.shape[1]} x {image.shape[0]}."
    )


def _check_boxes(boxes: np.ndarray, image: np.ndarray, path: str) -> None:
    height, width = image.shape[:2]
    # Half a pixel: whoever rounds a box to the picture's edge is right.
    if len(boxes) and (boxes[:, 2:] > np.array([width, height]) + 0.5).any():
        raise BadInput(f"A box of {path} reaches beyond the {width} x {height} pixels.")


def _is_done(source: Path, target: Path, known: tuple[str, str]) -> bool:
    """Whether a copy is whole, and of the source as it is now."""
    try:
        return (_digest(source), _digest(target)) == known
    except OSError:
        return False


def _write(path: Path, content: bytes | memoryview) -> None:
    """Write beside, and rename."""
    beside = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise Failure(
            f"Writing {path} failed: {error.strerror}. What is done is kept; the same command goes "
            "on."
        ) from error


def _copy(document: Path | bytes, path: Path) -> None:
    if isinstance(document, bytes):
        _write(path, document)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.partial")
    shutil.copyfile(document, beside)
    os.replace(beside, path)


# ---------------------------------------------------------------------------------- counts


def _counts(found: Iterator[dict[str, Any]], data: Dataset, unlisted: int) -> dict[str, Any]:
    """Images and instances, and what became of them."""
    images = {"total": len(data.entries), "anonymized": 0, "untouched": 0, "failed": 0}
    instances = {"total": 0, "anonymized": 0}
    skipped: dict[str, int] = {}
    regions = whole = extra = 0
    failed: list[dict[str, str]] = []
    for line in found:
        images[line["status"]] += 1
        instances["total"] += line["instances"]
        if line["status"] == "failed":
            skipped["image failed"] = skipped.get("image failed", 0) + line["instances"]
            failed.append({"image": line["image"], "error": line["error"]})
            continue
        instances["anonymized"] += len(line["hidden"])
        for _, reason in line["skipped"]:
            skipped[reason] = skipped.get(reason, 0) + 1
        regions += len(line["regions"])
        whole += len(line["whole"])
        extra += line["extra"]
    images["left"] = images["total"] - sum(
        images[status] for status in ("anonymized", "untouched", "failed")
    )
    shown = instances["total"] - skipped.get("image failed", 0)
    return {
        "images": {**images, "not_annotated": unlisted},
        "instances": {
            **instances,
            "share": round(instances["anonymized"] / shown, 6) if shown else None,
            "skipped": dict(sorted(skipped.items())),
        },
        "regions": {"total": regions, "whole_person_for_face": whole, "of_nobody": extra},
        "failed": failed[:TOLD],
    }


def _unlisted(data: Dataset) -> int:
    """Images in the folder that no annotation file names: they are not copied."""
    folder, named = data.root / data.images, {entry.name for entry in data.entries}
    return sum(
        1
        for path in folder.rglob("*")
        if path.suffix.lower() in FORMS and path.relative_to(folder).as_posix() not in named
    )
