"""What was done to one file, so that it can be checked later; no picture and no name of a person.

A report is one JSON object beside the output, ``clip.anon.mp4`` -> ``clip.anon.mp4.report.json``.
(The whole name: a phone leaves ``IMG_1.MOV`` and ``IMG_1.JPG``, which become two outputs with two
reports.)

A log holds the reports of many runs, a line of JSON each. Every line bears the SHA-256 of the
line before it, so that none can be changed, taken out, put in or moved without breaking the
chain; docs/audit.md says what that shows and what it cannot show.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, Literal, get_args, get_origin, get_type_hints

from velatura import __version__
from velatura.errors import BadInput, Failure
from velatura.video.destination import Partial, sync_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "SCHEMA",
    "Report",
    "Verdict",
    "append",
    "check_log",
    "read_report",
    "report_path",
    "sha256",
    "verify",
    "versions",
    "write_report",
]

FAMILY = "velatura-report/"
SCHEMA = f"{FAMILY}1"
LONGEST = 255  # bytes of a file's name, on the usual systems
LARGEST = 4 * 2**20  # bytes of a report, or of a line of a log


@dataclass(kw_only=True)
class Report:
    """One file, or one stream.

    Attributes:
        status: ``"done"``, ``"partial"`` (a damaged source, what decodes of it), ``"failed"`` or
            ``"skipped"``.
        source, destination: as the user named them.
        source_sha256, destination_sha256: of the files' bytes.
        kind: ``"video"``, ``"image"`` or ``"stream"``.
        anonymizer: name, digest and device.
        settings: every option that changes the output.
        frames: pictures read, anonymized and written: one number for all three.
        black: how many of them are black because the anonymizer failed.
        declared: pictures that the source's header counts; 0 where it does not.
        width, height: pixels, the same in both files.
        seconds: of the video, from its first picture to the end of its last.
        sound: ``"none"``, ``"dropped"`` or ``"kept"``.
        removed: what of the source is not in the output: kinds and names, never values.
        warnings: one sentence each.
        check: figures of ``--check``.
        wall: seconds of work.
        began: time of day, UTC, ISO 8601.
        versions: of velatura and of the libraries that made the output.
        error: one sentence, where it failed.
    """

    status: Literal["done", "partial", "failed", "skipped"] = "done"
    source: str
    destination: str
    source_sha256: str = ""
    destination_sha256: str = ""
    kind: Literal["video", "image", "stream"] = "video"
    anonymizer: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    frames: int = 0
    black: int = 0
    declared: int = 0
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    sound: Literal["none", "dropped", "kept"] = "none"
    removed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    check: dict[str, Any] = field(default_factory=dict)
    wall: float = 0.0
    began: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def fps(self) -> float:
        """Frames per second of work."""
        return self.frames / self.wall if self.wall else 0.0

    def values(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {"schema": SCHEMA, **asdict(self), "fps": round(self.fps, 2)}


def report_path(destination: str | Path) -> Path:
    """Where the report of an output stands."""
    path = Path(destination)
    return path.with_name(f"{path.name}.report.json")


def write_report(report: Report, path: str | Path | None = None) -> Path:
    """Write a report, whole or not at all, in the place of an earlier one.

    Args:
        path: by default beside the report's destination.

    Returns:
        Where it stands.

    Raises:
        BadInput: no folder; a file of that name that is no report.
        Failure: the disk is full.
    """
    path = report_path(report.destination) if path is None else Path(path)
    check_report(path)
    text = json.dumps(_plain(report.values()), indent=2, sort_keys=True) + "\n"
    partial = Partial(path)
    try:
        partial.file.write(text.encode("ascii"))
        partial.file.flush()
        os.fsync(partial.file.fileno())
        partial.keep(overwrite=True)
    except OSError as error:
        raise Failure(f"Writing {path} failed: {error.strerror}.") from error
    finally:
        partial.discard()
    return path


def check_report(path: str | Path) -> None:
    """Refuse a name at which no report can be written: what others wrote is not ours to replace.

    Raises:
        BadInput: too long a name; a folder; a file that is no report of this or another version.
    """
    path = Path(path)
    if len(os.fsencode(path.name)) > LONGEST:
        raise BadInput(f"{path.name} is too long a name for the report; give --out a shorter one.")
    if os.path.lexists(path) and not is_report(path):
        raise BadInput(f"{path} stands where the report goes and is none; move it away.")


def is_report(path: str | Path) -> bool:
    """Whether a file is a report of ours, of whatever version."""
    try:
        if not Path(path).is_file() or Path(path).stat().st_size > LARGEST:
            return False
        values = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and str(values.get("schema", "")).startswith(FAMILY)


def read_report(path: str | Path) -> Report:
    """A report as ``write_report`` wrote it, checked.

    Raises:
        BadInput: not there, too large, not JSON, of another version, or with a key or a value
            that no report has.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"There is no report {path}.")
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > LARGEST:
        raise BadInput(f"{path} is no report: it has more than {LARGEST} bytes.")
    try:
        return _report(_parsed(data))
    except ValueError as error:
        raise BadInput(f"{path} is no report: {error}.") from error


def sha256(path: str | Path) -> str:
    """Of a file's bytes, in hexadecimal.

    Raises:
        BadInput: no such file, or it cannot be read.
    """
    if not Path(path).is_file():
        raise BadInput(f"{path} is not a file; its SHA-256 cannot be taken.")
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error


def versions() -> dict[str, str]:
    """Of all that has a hand in an output. Nothing is imported for it."""
    found = {"velatura": __version__, "python": platform.python_version()}
    for name in ("av", "numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "openvino"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if "av" in sys.modules:
        for library, numbers in sys.modules["av"].library_versions.items():
            found[library] = ".".join(map(str, numbers))
    return found


def _plain(value: Any) -> Any:
    """A value as JSON holds it: what is no number becomes null, what is unknown its text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set) else value)]
    if hasattr(value, "tolist"):  # of numpy
        return _plain(value.tolist())
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float | Fraction):
        number = float(value)
        return number if math.isfinite(number) else None
    return str(value)


def _parsed(data: bytes) -> dict[str, Any]:
    """One JSON object; ValueError with half a sentence where it is anything else."""

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found):
            raise ValueError("a key stands in it twice")
        return made

    try:
        value = json.loads(data.decode("utf-8"), parse_constant=constant, object_pairs_hook=pairs)
    except UnicodeDecodeError:
        raise ValueError("it is not text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error.msg} at line {error.lineno})") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value


def _report(values: dict[str, Any]) -> Report:
    """A report from its values; ValueError with half a sentence where they are none of one."""
    schema = values.get("schema")
    if schema != SCHEMA:
        told = repr(schema)[:60] if schema is not None else "none"
        raise ValueError(f"its schema is {told}, not {SCHEMA!r}")
    kinds = get_type_hints(Report)
    given = {key: value for key, value in values.items() if key not in ("schema", "fps")}
    for key, value in given.items():
        if key not in kinds:
            raise ValueError(f"{key[:60]!r} is no key of one")
        if not _fits(value, kinds[key]):
            raise ValueError(f"{key} cannot be {repr(value)[:60]}")
    for key in ("source", "destination"):
        if key not in given:
            raise ValueError(f"{key} is not in it")
    return Report(**given)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is of the kind that a field is annotated with."""
    if kind is Any:
        return True
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        return isinstance(value, dict) and all(_fits(item, inner) for item in value.values())
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


@dataclass(kw_only=True)
class Verdict:
    """What was found in a log.

    Attributes:
        entries: lines that were read.
        head: SHA-256 of the last line: what the next one will bear. Kept elsewhere, it shows later
            that nothing was cut off.
        faults: a sentence each; empty where the chain is whole, and the files are, where asked.
        notes: what is worth knowing and no fault.
        files: outputs whose bytes were compared.
    """

    entries: int = 0
    head: str = ""
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0

    @property
    def intact(self) -> bool:
        return not self.faults


FIRST = "0" * 64  # what the first line bears, having none before it
KEYS = {"n", "time", "previous", "entry", "hash"}
MANY = 100  # faults that are told
BEGINNING = b'{"entry":{"anonymizer":{'  # of every line, since its keys are sorted


def append(log_path: str | Path, report: Report) -> str:
    """Add a report to a log as its next line, on the disk when this returns.

    Any number of processes may do so at once. Where one that was killed left a line without its
    end, that is cut off, and the new line says so under ``repaired``.

    Returns:
        The log's new head.

    Raises:
        BadInput: the log cannot be written, is none of ours, or its last line is not as it was
            written. It is as it was.
        Failure: the disk is full; the log is as it was.
    """
    path = Path(log_path)
    try:
        with _held(path) as descriptor:
            return _append(path, descriptor, report)
    except OSError as error:
        said = f"Writing {path} failed: {error.strerror}. Nothing was added."
        mend = isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
        raise (BadInput if mend else Failure)(said) from error


def check_log(log_path: str | Path) -> None:
    """Find out whether ``append`` could add to a log later; nothing is created or changed.

    Raises:
        BadInput: no folder to create it in; a folder, pipe or device; it may not be written; it
            is no log, or its last line is not as it was written.
    """
    path = Path(log_path)
    if fcntl is None:
        raise BadInput("A log needs file locks, which this system does not have.")
    try:
        _refuse_other_kinds(path)
        if not path.exists():
            folder = Path(os.path.realpath(path)).parent
            if not folder.is_dir():
                raise BadInput(f"There is no folder {folder} for the log {path.name}.")
            if not os.access(folder, os.W_OK | os.X_OK):
                raise BadInput(f"The log {path} cannot be created; {folder} is not yours to write.")
            return
        log = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.flock(log, fcntl.LOCK_SH)  # nobody is in the middle of a line
            _end_of(path, log, os.fstat(log).st_size)
        finally:
            os.close(log)
    except (OSError, ValueError) as error:  # ValueError: a name that holds a zero byte
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"The log {path} cannot be written: {reason}.") from error


def _refuse_other_kinds(path: Path) -> None:
    """No log is kept in a pipe or a device, where nothing stays."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        what = "a folder (Is a directory)" if stat.S_ISDIR(mode) else "no regular file"
        raise BadInput(f"The log {path} cannot be written: it is {what}.")


@contextmanager
def _held(path: Path) -> Iterator[int]:
    """The log open for writing, and by nobody else."""
    if fcntl is None:
        raise Failure("A log needs file locks, which this system does not have.")
    _refuse_other_kinds(path)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Unless it was moved away, for a new one, while we waited.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _append(path: Path, log: int, report: Report) -> str:
    size = os.fstat(log).st_size
    last, end, torn = _end_of(path, log, size)
    begin = b"\n" if end == size and last and os.pread(log, 1, size - 1) != b"\n" else b""
    line: dict[str, Any] = {"n": 1, "previous": FIRST}
    if last:
        line = {"n": json.loads(last)["n"] + 1, "previous": _digest(last)}
    line["time"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    line["entry"] = _plain(report.values())
    if torn:
        line["repaired"] = {"bytes": len(torn), "sha256": _digest(torn)}
    text = _compact({**line, "hash": _digest(_compact(line))})
    if len(text) > LARGEST:
        raise BadInput(f"The report of {report.source} is too long for a line of {path}.")
    try:
        # Over what was torn, and cut behind: at no time is there a log that hides the tear.
        _write(log, begin + text + b"\n", end)
        os.ftruncate(log, end + len(begin + text) + 1)
        os.fsync(log)
    except BaseException:
        os.pwrite(log, torn, end)
        os.ftruncate(log, size)
        raise
    if not size:
        sync_folder(path.parent)
    return _digest(text)


def _end_of(path: Path, log: int, size: int) -> tuple[bytes, int, bytes]:
    """(last whole line, where the next one goes, what a killed writer left there) of a log.

    Raises:
        BadInput: it is no log of ours, or its last line is not as it was written. What somebody
            else wrote is not cut off: a line counts as torn where it begins as ours do, and
            nothing but whole lines of ours stands before it.
    """
    end = _after_newline(log, size)
    torn = os.pread(log, min(size - end, LARGEST + 1), end)
    if torn and not _fault_within(torn):  # whole but for its end
        return torn, size, b""
    if torn and not _begun(torn):
        raise BadInput(f"{path} does not end with a line of a log; name another file as the log.")
    start = _after_newline(log, max(0, end - 1))
    last = os.pread(log, min(max(0, end - 1 - start), LARGEST + 1), start)
    if end and (fault := _fault_within(last)):
        raise BadInput(
            f"The last line of {path} {fault}; keep this log and begin another. "
            f"`velatura audit verify` says more."
        )
    if torn and not _all_ours(log, end):
        raise BadInput(
            f"{path} ends with a torn line and holds others that are no lines of a log; keep it "
            "and begin another."
        )
    return last, end, torn


def _begun(torn: bytes) -> bool:
    """Whether this may be the first part of a line that ``append`` was writing."""
    same = min(len(torn), len(BEGINNING))
    return torn[:same] == BEGINNING[:same] and len(torn) <= LARGEST


def _all_ours(log: int, end: int) -> bool:
    """Whether nothing but whole lines of ours stands before a position."""
    with open(os.dup(log), "rb") as file:
        file.seek(0)
        while file.tell() < end:
            if _fault_within(file.readline(LARGEST + 2).removesuffix(b"\n")):
                return False
    return True


def _write(log: int, data: bytes, at: int) -> None:
    while data:
        done = os.pwrite(log, data, at)
        data, at = data[done:], at + done


def _after_newline(log: int, end: int) -> int:
    """Where the line begins that a position stands in, or behind."""
    block = 65536
    while end > 0:
        start = max(0, end - block)
        found = os.pread(log, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def verify(log_path: str | Path, *, files: bool = False, expect: str = "") -> Verdict:
    """Look through a log for lines that were changed, taken out, put in, moved or torn.

    Args:
        files: also compare every output with the SHA-256 that was recorded when it was last
            made. A relative name is looked for from the current folder, then beside the log.
        expect: a head that was noted earlier: its line must still be there.

    Raises:
        BadInput: no such log; ``expect`` is no SHA-256.
    """
    path, expect = Path(log_path), expect.strip().lower()
    if expect and not re.fullmatch(r"[0-9a-f]{64}", expect):
        raise BadInput(f"A SHA-256 has 64 hexadecimal digits; {expect[:80]!r} is none.")
    if not path.is_file():
        raise BadInput(f"There is no log {path}.")
    verdict = Verdict(head=FIRST)
    outputs: dict[str, tuple[int, str]] = {}
    try:
        with open(path, "rb") as file:
            if fcntl is not None:
                # Nobody is in the middle of a line.
                with suppress(OSError):
                    fcntl.flock(file.fileno(), fcntl.LOCK_SH)
            found = _read_chain(file, verdict, outputs, expect)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    if expect and found is None:
        verdict.faults.append(
            "The expected line is not there: entries were cut off the end, or the log was "
            "written anew."
        )
    elif expect and found != verdict.entries:
        verdict.notes.append(f"The expected line is line {found}; what follows was added since.")
    if files:
        if unknown := sum(not digest for _, digest in outputs.values()):
            verdict.notes.append(f"Of {unknown} outputs no SHA-256 was recorded.")
        for name, (number, digest) in outputs.items():
            verdict.files += bool(digest)
            if fault := _fault_of_file(path, name, digest):
                verdict.faults.append(f"{name}, of line {number}, {fault}.")
    return verdict


def _read_chain(
    file: IO[bytes], verdict: Verdict, outputs: dict[str, tuple[int, str]], expect: str
) -> int | None:
    """Every line against the one before it; returns the line that was expected."""
    chained = last = (0, FIRST)  # number and SHA-256: of the last line that fitted, of the last
    certain = True  # whether ``last`` can be relied on
    expected = 0 if expect == FIRST else None
    breaks: list[tuple[int, int, int]] = []
    numbers: list[int] = []
    while raw := file.readline(LARGEST + 2):
        where = verdict.entries + 1
        text = raw.removesuffix(b"\n")
        fault = _fault_within(text)
        if text == raw:
            if fault and _begun(raw):
                will = "the next entry will cut them off and record it"
                verdict.faults.append(
                    f"The end is torn: the last {len(raw)} bytes are no whole line. A writer was "
                    f"killed; {'no entry can be added' if verdict.faults else will}."
                )
                break
            if not fault:
                verdict.notes.append("The last line lacks its end; the next entry will add it.")
        verdict.entries, verdict.head = where, _digest(text)
        if verdict.head == expect:
            expected = where
        values = json.loads(text) if not fault else {}
        if fault:
            verdict.faults.append(f"Line {where} {fault}.")
            number = last[0] + 1
            certain = False
        else:
            number, before = values["n"], values["previous"]
            numbers.append(number)
            if (before == last[1] or not certain) and number == last[0] + 1:
                chained = number, verdict.head
            elif before == chained[1] and number == chained[0] + 1:
                chained = number, verdict.head  # what stands between was put in, and is told
            else:
                breaks.append((where, number, last[0] + 1))
            certain = True
            _note(values, where, verdict, outputs)
        last = number, verdict.head
        if len(verdict.faults) + len(breaks) >= MANY:
            verdict.notes.append(f"More may be wrong behind line {where}; this is enough.")
            break
    for where, number, due in breaks:
        verdict.faults.append(_break(where, number, due, numbers))
    return expected


def _break(where: int, number: int, due: int, numbers: list[int]) -> str:
    """Why a line does not follow from the one before it, as far as the numbers tell."""
    if number == due:
        before = f"line {where - 1} was changed or replaced" if where > 1 else "another came first"
        return f"Line {where} does not follow from what stands before it: {before}."
    said = f"Line {where} is entry {number} where entry {due} is due: "
    missing = set(range(due, min(number, due + MANY))) - set(numbers)
    if number > due and missing:
        many = number - due > 1
        return said + (f"{number - due} entries were" if many else "one was") + " taken out."
    if numbers.count(number) > 1:
        return said + "it was put in a second time."
    return said + "lines were moved or put in."


def _note(
    values: dict[str, Any], where: int, verdict: Verdict, outputs: dict[str, tuple[int, str]]
) -> None:
    """What of a line is looked at later."""
    if "repaired" in values:
        verdict.notes.append(
            f"Before line {where} a line that a killed writer had torn was cut off; what it would "
            "have recorded is not known."
        )
    entry = values["entry"]
    name, digest = entry.get("destination"), entry.get("destination_sha256")
    if entry.get("status") in ("done", "partial") and isinstance(name, str):
        # One that was made again counts as it is now.
        outputs[name] = where, digest if isinstance(digest, str) else ""


def _fault_of_file(log: Path, name: str, digest: str) -> str:
    if not digest:
        return ""
    path = Path(name)
    if not path.exists() and not path.is_absolute():
        path = log.parent / name
    try:
        return "" if sha256(path) == digest else "is not as it was recorded: its bytes differ"
    except BadInput:
        return "cannot be read" if path.exists() else "is missing"


def _fault_within(text: bytes) -> str:
    """What is wrong with a line by itself; empty where it is as ``append`` wrote it."""
    try:
        if len(text) > LARGEST:
            raise ValueError("too long")
        values = _parsed(text)
        good = (
            values.keys() - {"repaired"} == KEYS
            and type(values["n"]) is int
            and all(type(values[key]) is str for key in ("time", "previous", "hash"))
            and type(values["entry"]) is dict
            and type(values.get("repaired", {})) is dict
        )
        whole = good and _compact(values) == text
        given = values.pop("hash", "")
        if whole and _digest(_compact(values)) == given:
            return ""
    except (ValueError, RecursionError):
        good = False
    if not good:
        return "is no line of a log: it was changed or put in"
    return "was changed: it does not fit its own hash"


def _compact(values: dict[str, Any]) -> bytes:
    """The one way in which a line is written."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
