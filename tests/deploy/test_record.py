"""Reports that say what is so, and a log in which nothing can be changed unseen."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest

import velatura
from velatura.deploy import record
from velatura.deploy.record import (
    FIRST,
    SCHEMA,
    Report,
    append,
    check_log,
    read_report,
    report_path,
    sha256,
    verify,
    versions,
    write_report,
)
from velatura.errors import BadInput, Failure


def report(number: int = 1, **values) -> Report:
    given = {
        "source": f"clip{number}.mp4",
        "destination": f"clip{number}.anon.mp4",
        "anonymizer": {"name": "pixelate", "digest": "mode:pixelate:20", "device": "cpu"},
        "settings": {"sound": "drop", "start": 0.0, "end": None},
        "frames": 10 * number,
        "wall": 0.5,
        "removed": ["tag location"],
    }
    return Report(**{**given, **values})


# ------------------------------------------------------------------------------ one report


def test_a_report_comes_back_as_it_was(tmp_path):
    made = report(destination=str(tmp_path / "a.anon.mp4"), warnings=["Grüße; 日本"], black=3)
    path = write_report(made)
    assert path == tmp_path / "a.anon.mp4.report.json"
    assert read_report(path) == made
    values = json.loads(path.read_text())
    assert list(values) == sorted(values)
    assert values["schema"] == SCHEMA
    assert values["fps"] == 20.0
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_two_outputs_of_one_stem_have_two_reports():
    """A phone leaves a film and a picture of one name."""
    assert report_path("IMG_1.anon.mp4") != report_path("IMG_1.anon.jpg")


def test_a_report_replaces_a_report_and_nothing_else(tmp_path):
    path = tmp_path / "r.json"
    write_report(report(1), path)
    write_report(report(2), path)
    assert read_report(path).source == "clip2.mp4"
    path.write_text("my own notes")
    with pytest.raises(BadInput, match="stands where the report goes and is none"):
        write_report(report(3), path)
    assert path.read_text() == "my own notes"


def test_values_that_json_lacks(tmp_path):
    made = report(
        check={"a": float("nan"), "b": np.float32(0.5), "c": np.arange(3), "d": Path("x")}
    )
    values = json.loads(write_report(made, tmp_path / "r.json").read_text())
    assert values["check"] == {"a": None, "b": 0.5, "c": [0, 1, 2], "d": "x"}


def test_a_name_that_is_no_text(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    path = write_report(report(source=name), tmp_path / "r.json")
    assert read_report(path).source == name
    append(tmp_path / "log.jsonl", report(source=name))
    assert verify(tmp_path / "log.jsonl").intact


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = write_report(report(1), tmp_path / "r.json")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record.os, "fsync", full)
    with pytest.raises(Failure, match="No space left on device"):
        write_report(report(2), path)
    monkeypatch.undo()
    assert read_report(path).source == "clip1.mp4"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    with pytest.raises(BadInput, match="Cannot write into"):
        write_report(report(1), tmp_path / "none" / "r.json")


def changed(values):
    return json.dumps({**report().values(), **values}).encode()


WRONG = {
    "empty": (b"", "it is not JSON"),
    "noise": (b"\xff\xfe\x00", "it is not text"),
    "a list": (b"[]", "it is not a JSON object"),
    "deep": (b"[" * 100_000, "it is nested too deeply"),
    "NaN": (changed({}).replace(b"0.5", b"NaN"), "NaN is no number of JSON"),
    "twice": (b'{"schema": 1, "schema": 2}', "a key stands in it twice"),
    "no schema": (b"{}", "its schema is none"),
    "later": (changed({"schema": "velatura-report/2"}), "its schema is 'velatura-report/2', not"),
    "unknown key": (changed({"extra": 1}), "'extra' is no key of one"),
    "no source": (
        json.dumps({"schema": SCHEMA, "destination": "b"}).encode(),
        "source is not in it",
    ),
    "text for a number": (changed({"frames": "10"}), "frames cannot be '10'"),
    "a truth for a number": (changed({"frames": True}), "frames cannot be True"),
    "unknown status": (changed({"status": "fine"}), "status cannot be 'fine'"),
    "numbers for texts": (changed({"removed": [1]}), r"removed cannot be \[1\]"),
    "too large": (b" " * (record.LARGEST + 1), "it has more than"),
}


@pytest.mark.parametrize(("data", "says"), WRONG.values(), ids=WRONG)
def test_what_is_no_report(tmp_path, data, says):
    path = tmp_path / "r.json"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=rf"r\.json is no report: {says}") as caught:
        read_report(path)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_no_report(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(BadInput, match="There is no report"):
            read_report(path)


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert sha256(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    with pytest.raises(BadInput, match="is not a file"):
        sha256(tmp_path)


def test_versions():
    import av

    found = versions()
    assert found["velatura"] == velatura.__version__
    assert found["av"] == av.__version__
    assert found["libavcodec"] == ".".join(map(str, av.library_versions["libavcodec"]))
    assert {"python", "numpy", "pillow"} <= found.keys()
    code = (
        "import sys; from velatura.deploy.record import versions; versions(); "
        "print(sorted({'av', 'onnxruntime', 'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -------------------------------------------------------------------- the page that tells of it

KINDS = {
    "text": str,
    "whole number": int,
    "number": (int, float),
    "object": dict,
    "texts": list,
}


def documented(root):
    """Rows of the table of fields: name to (kind, meaning)."""
    page = (root / "docs" / "audit.md").read_text()
    table = page.split("## A report")[1].split("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| `")]
    return {name.strip(" `"): (kind.strip(), meaning.strip()) for name, kind, meaning in rows}


def faults_of(values, table):
    """What of a report does not fit the page."""
    wrong = [f"{name} is not told" for name in values.keys() - table.keys()]
    wrong += [f"{name} is not there" for name in table.keys() - values.keys()]
    for name in values.keys() & table.keys():
        kind, meaning = table[name]
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, KINDS[kind]):
            wrong.append(f"{name} is {value!r}, not a {kind}")
        if kind == "texts" and not all(isinstance(item, str) for item in value):
            wrong.append(f"{name} holds something else than texts")
        if name in ("status", "kind", "sound") and f"`{value}`" not in meaning:
            wrong.append(f"{name} may not be {value!r}")
    return wrong


def test_a_real_report_is_as_the_page_says(root, tmp_path):
    from fractions import Fraction

    from velatura.deploy.file import anonymize_video
    from velatura.video.write import VideoWriter

    with VideoWriter(tmp_path / "a.mp4", 64, 48, time_base=Fraction(1, 30)) as writer:
        for i in range(3):
            ramp = np.linspace(0, 100, 64)[None, :, None] + 10 * i
            writer.write(np.broadcast_to(ramp, (48, 64, 3)).astype(np.uint8), i)
    made = anonymize_video(tmp_path / "a.mp4", tmp_path / "b.mp4", lambda images: 255 - images)
    made.source_sha256, made.versions = sha256(tmp_path / "a.mp4"), versions()
    values = json.loads(write_report(made).read_text())
    table = documented(root)
    assert faults_of(values, table) == []
    # And the page can be wrong.
    assert faults_of({**values, "more": 1}, table) == ["more is not told"]
    assert faults_of({**values, "frames": "3"}, table) == ["frames is '3', not a whole number"]
    assert faults_of({**values, "status": "fine"}, table) == ["status may not be 'fine'"]


def test_the_page_names_every_field(root):
    assert set(documented(root)) == {f.name for f in fields(Report)} | {"schema", "fps"}


# ------------------------------------------------------------------------------------ the log


@pytest.fixture
def log(tmp_path):
    """A log of five entries."""
    path = tmp_path / "log.jsonl"
    for i in range(1, 6):
        append(path, report(i))
    return path


def lines(log):
    return log.read_bytes().splitlines(keepends=True)


def recomputed(line, **changes):
    """A line as a careful forger changes it: it fits its own hash."""
    values = {**json.loads(line), **changes}
    values.pop("hash")
    own = hashlib.sha256(record._compact(values)).hexdigest()
    return record._compact({**values, "hash": own}) + b"\n"


def test_the_chain_by_hand(log):
    """Each line bears the SHA-256 of the bytes before it, as `sha256sum` would tell it."""
    before = FIRST
    for number, line in enumerate(lines(log), 1):
        values = json.loads(line)
        assert values["n"] == number
        assert values["previous"] == before
        assert values["entry"] == json.loads(json.dumps(report(number).values()))
        assert values["time"].endswith("+00:00")
        before = hashlib.sha256(line.removesuffix(b"\n")).hexdigest()
    verdict = verify(log)
    assert (verdict.intact, verdict.entries, verdict.head) == (True, 5, before)
    assert verdict.notes == []


def test_append_returns_the_head(tmp_path):
    assert verify_empty(tmp_path) == FIRST
    for i in (1, 2):
        head = append(tmp_path / "log.jsonl", report(i))
        assert verify(tmp_path / "log.jsonl").head == head


def verify_empty(folder):
    (folder / "empty.jsonl").touch()
    verdict = verify(folder / "empty.jsonl")
    assert (verdict.intact, verdict.entries) == (True, 0)
    return verdict.head


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"frames":', b'"frames": '),
        (b'"sound":"none"', b'"sound":"kept"'),
        (b'"status":"done"', b'"status":"skipped"'),
        (b'"time":"2', b'"time":"3'),
        (b"{", b"["),
        (b'"previous":"', b'"previous":"0'),
    ],
)
def test_an_edited_line(log, index, old, new):
    found = lines(log)
    assert old in found[index]
    found[index] = found[index].replace(old, new, 1)
    log.write_bytes(b"".join(found))
    verdict = verify(log)
    assert not verdict.intact
    assert verdict.faults[0].startswith(f"Line {index + 1} ")
    assert len(verdict.faults) == 1


def test_every_single_bit_counts(log):
    data = log.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 60):
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(0, 8))
        log.write_bytes(changed)
        assert not verify(log).intact or at == len(data) - 1, (at, changed[at])


@pytest.mark.parametrize("index", range(4))
def test_an_edited_line_with_its_hash_made_anew(log, index):
    """The line after it tells."""
    found = lines(log)
    entry = {**json.loads(found[index])["entry"], "frames": 999}
    found[index] = recomputed(found[index], entry=entry)
    log.write_bytes(b"".join(found))
    verdict = verify(log)
    assert verdict.faults == [
        f"Line {index + 2} does not follow from what stands before it: line {index + 1} was "
        "changed or replaced."
    ]


def test_an_edited_last_line_needs_the_head_that_was_noted(log):
    """What a chain cannot show by itself."""
    head = verify(log).head
    found = lines(log)
    found[-1] = recomputed(found[-1], entry={})
    log.write_bytes(b"".join(found))
    assert verify(log).intact
    assert "was written anew" in verify(log, expect=head).faults[0]


@pytest.mark.parametrize("index", range(4))
def test_a_deleted_line(log, index):
    found = lines(log)
    del found[index]
    log.write_bytes(b"".join(found))
    (fault,) = verify(log).faults
    assert fault == (
        f"Line {index + 1} is entry {index + 2} where entry {index + 1} is due: one was taken out."
    )


def test_several_deleted_lines(log):
    found = lines(log)
    log.write_bytes(b"".join([found[0], *found[3:]]))
    (fault,) = verify(log).faults
    assert fault == "Line 2 is entry 4 where entry 2 is due: 2 entries were taken out."


def test_a_cut_tail_needs_the_head_that_was_noted(log):
    head = verify(log).head
    log.write_bytes(b"".join(lines(log)[:3]))
    assert verify(log).intact
    verdict = verify(log, expect=head)
    assert verdict.faults == [
        "The expected line is not there: entries were cut off the end, or the log was written anew."
    ]


def test_a_log_written_anew_needs_the_head_that_was_noted(log):
    head = verify(log).head
    log.unlink()
    for i in range(1, 6):
        append(log, report(i, frames=1))
    assert verify(log).intact
    assert not verify(log, expect=head).intact


def test_the_expected_head(log):
    head = verify(log).head
    assert verify(log, expect=head).notes == []
    assert verify(log, expect=f" {head.upper()}\n").intact
    append(log, report(6))
    verdict = verify(log, expect=head)
    assert verdict.intact
    assert verdict.notes == ["The expected line is line 5; what follows was added since."]
    assert not verify(log, expect="0" * 63 + "1").intact
    with pytest.raises(BadInput, match="64 hexadecimal digits"):
        verify(log, expect="abc")


def test_an_inserted_line(log):
    found = lines(log)
    log.write_bytes(b"".join([*found[:3], found[1], *found[3:]]))
    (fault,) = verify(log).faults
    assert fault == "Line 4 is entry 2 where entry 4 is due: it was put in a second time."
    before = hashlib.sha256(found[1].removesuffix(b"\n")).hexdigest()
    forged = recomputed(found[2], entry={"status": "done"}, previous=before)
    log.write_bytes(b"".join([*found[:2], forged, *found[2:]]))
    assert not verify(log).intact
    log.write_bytes(b"".join([*found[:2], b"hello\n", *found[2:]]))
    assert verify(log).faults[0] == "Line 3 is no line of a log: it was changed or put in."
    log.write_bytes(b"".join([*found[:2], b"\n", *found[2:]]))
    assert not verify(log).intact


@pytest.mark.parametrize("order", [(0, 2, 1, 3, 4), (4, 0, 1, 2, 3), (1, 0, 2, 3, 4)])
def test_reordered_lines(log, order):
    found = lines(log)
    log.write_bytes(b"".join(found[i] for i in order))
    verdict = verify(log)
    assert any("lines were moved or put in" in fault for fault in verdict.faults)
    assert not any("taken out" in fault for fault in verdict.faults)


def test_a_renumbered_log(log):
    """Numbers in order are not enough."""
    found = lines(log)
    del found[2]
    found[2:] = [recomputed(line, n=n) for n, line in enumerate(found[2:], 3)]
    log.write_bytes(b"".join(found))
    assert verify(log).faults[0].startswith("Line 3 does not follow")


@pytest.mark.parametrize("number", [0, 4, 6, 99])
def test_a_wrong_number_in_a_whole_chain(log, number):
    found = lines(log)
    log.write_bytes(b"".join([*found[:-1], recomputed(found[-1], n=number)]))
    (fault,) = verify(log).faults
    assert fault.startswith(f"Line 5 is entry {number} where entry 5 is due: ")


def test_a_log_that_begins_later(log):
    log.write_bytes(b"".join(lines(log)[1:]))
    assert verify(log).faults == ["Line 1 is entry 2 where entry 1 is due: one was taken out."]


HOSTILE = {
    "deep": b"[" * 100_000 + b"\n",
    "infinite": b'{"entry":{},"hash":"","n":1,"previous":"","time":"","x":1e999}\n',
    "infinite entry": b'{"entry":{"a":1e999},"hash":"","n":1,"previous":"","time":""}\n',
    "long number": b'{"n":' + b"9" * 9000 + b"}\n",
    "other kinds": b'{"entry":[],"hash":1,"n":"1","previous":2,"time":null}\n',
    "a truth": b'{"entry":{},"hash":"","n":true,"previous":"","time":""}\n',
    "no text": b"\xff\xfe\n",
    "no end": b"x" * 1000,
    "zeros": bytes(1000),
    "too long": b'"' + b"x" * (record.LARGEST + 10) + b'"\n',
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_log(log, data):
    log.write_bytes(log.read_bytes() + data)
    verdict = verify(log)
    assert verdict.faults
    assert all(fault.endswith(".") and "\n" not in fault for fault in verdict.faults)


def test_a_thousand_faults_are_not_told(log):
    log.write_bytes(b"x\n" * 1000)
    verdict = verify(log)
    assert len(verdict.faults) == record.MANY
    assert verdict.notes == ["More may be wrong behind line 100; this is enough."]


def test_a_damaged_end_takes_no_entry(log):
    found = lines(log)
    log.write_bytes(b"".join([*found[:-1], found[-1].replace(b'"frames":50', b'"frames":51')]))
    before = log.read_bytes()
    with pytest.raises(BadInput, match="The last line of .* was changed: .* begin another"):
        append(log, report(6))
    assert log.read_bytes() == before


@pytest.mark.parametrize("cut", [1, 2, 100, 10**6])
def test_a_torn_end(log, cut):
    """A writer that was killed in the middle of a line: told, then cut off and recorded."""
    whole = log.read_bytes()
    append(log, report(6))
    line = log.read_bytes()[len(whole) :]
    torn = line[: max(1, len(line) - 1 - cut)]
    log.write_bytes(whole + torn)
    verdict = verify(log)
    assert verdict.faults == [
        f"The end is torn: the last {len(torn)} bytes are no whole line. A writer was killed; the "
        "next entry will cut them off and record it."
    ]
    assert verdict.entries == 5
    head = append(log, report(7))
    verdict = verify(log)
    assert (verdict.intact, verdict.entries, verdict.head) == (True, 6, head)
    assert "Before line 6 a line that a killed writer had torn was cut off" in verdict.notes[0]
    assert json.loads(lines(log)[-1])["repaired"] == {
        "bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()
    }  # fmt: skip
    assert log.read_bytes().startswith(whole)


def test_a_torn_end_that_is_longer_than_the_next_line(log):
    whole = log.read_bytes()
    log.write_bytes(whole + record.BEGINNING + b"x" * 100_000)
    append(log, report(6))
    assert verify(log).intact
    assert len(log.read_bytes()) < len(whole) + 3000


def test_a_line_without_its_end_is_whole(log):
    log.write_bytes(log.read_bytes().removesuffix(b"\n"))
    verdict = verify(log)
    assert (verdict.intact, verdict.entries) == (True, 5)
    assert verdict.notes == ["The last line lacks its end; the next entry will add it."]
    append(log, report(6))
    assert (verify(log).intact, verify(log).entries, verify(log).notes) == (True, 6, [])


def test_a_log_of_a_torn_line_alone(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(b'{"entry"')
    append(tmp_path / "log.jsonl", report())
    verdict = verify(tmp_path / "log.jsonl")
    assert (verdict.intact, verdict.entries) == (True, 1)


@pytest.mark.parametrize("torn", [b"", b'{"entry":{"anon'])
def test_a_full_disk_leaves_the_log_as_it_was(log, monkeypatch, torn):
    log.write_bytes(log.read_bytes() + torn)
    before = log.read_bytes()
    real = os.pwrite

    def full(descriptor, data, at):
        if len(data) > 100:
            real(descriptor, data[:100], at)
            raise OSError(28, "No space left on device")
        return real(descriptor, data, at)

    monkeypatch.setattr(record.os, "pwrite", full)
    with pytest.raises(Failure, match="No space left on device. Nothing was added"):
        append(log, report(6))
    assert log.read_bytes() == before


STRANGE = {
    "text": b"one line, no newline",
    "lines": b"one\ntwo\nthree",
    "JSON": b'{"entry": 1}',
    "a report": b'{"entry":{"other":1},"x":2}',
    "almost": b'{"entry":{"anonymizes',
    "lines before a torn one": b"precious\n" + record.BEGINNING,
    "binary": b"\x00\xff" * 50,
    "too long": record.BEGINNING + b"x" * record.LARGEST,
}


@pytest.mark.parametrize("data", STRANGE.values(), ids=STRANGE)
def test_what_is_no_log_is_left_alone(tmp_path, data):
    path = tmp_path / "imp.txt"
    path.write_bytes(data)
    for attempt in (lambda: append(path, report()), lambda: check_log(path)):
        with pytest.raises(BadInput) as refused:
            attempt()
        assert "\n" not in str(refused.value)
    assert path.read_bytes() == data


@pytest.mark.parametrize("end", [b"no newline", record.BEGINNING[:-4] + b"X", b"\x00" * 30])
def test_a_strange_end_of_a_log_is_left_alone(log, end):
    log.write_bytes(log.read_bytes() + end)
    before = log.read_bytes()
    with pytest.raises(BadInput, match="does not end with a line of a log"):
        append(log, report(6))
    assert log.read_bytes() == before
    assert verify(log).faults == ["Line 6 is no line of a log: it was changed or put in."]


def test_a_torn_end_behind_a_damaged_line_is_left_alone(log):
    found = lines(log)
    found[1] = found[1].replace(b'"frames":20', b'"frames":21')
    log.write_bytes(b"".join(found) + record.BEGINNING)
    before = log.read_bytes()
    with pytest.raises(BadInput, match="holds others that are no lines of a log"):
        append(log, report(6))
    assert log.read_bytes() == before
    assert verify(log).faults[1].endswith("A writer was killed; no entry can be added.")


def test_every_line_begins_as_a_torn_one_must(log):
    assert all(line.startswith(record.BEGINNING) for line in lines(log))


def test_an_entry_is_on_the_disk_before_append_returns(log, monkeypatch):
    real, synced = os.fsync, []

    def fsync(descriptor):
        synced.append((os.fstat(descriptor).st_ino, log.read_bytes()))
        real(descriptor)

    monkeypatch.setattr(record.os, "fsync", fsync)
    append(log, report(6))
    assert (log.stat().st_ino, log.read_bytes()) in synced


def test_a_log_that_can_be(log, tmp_path):
    before = log.read_bytes()
    check_log(log)
    check_log(tmp_path / "new.jsonl")
    (tmp_path / "link.jsonl").symlink_to("later.jsonl")
    check_log(tmp_path / "link.jsonl")
    log.write_bytes(before[:-1])
    check_log(log)
    log.write_bytes(before + record.BEGINNING)
    check_log(log)
    assert log.read_bytes() == before + record.BEGINNING
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.jsonl", log.name]


def test_a_log_that_could_not_be_written_later(log, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loose").symlink_to(tmp_path / "none" / "log.jsonl")
    (tmp_path / "round").symlink_to("round")
    before = sorted(tmp_path.iterdir())
    for path, says in [
        (tmp_path / "none" / "log.jsonl", "There is no folder .*none"),
        (tmp_path / "loose", "There is no folder .*none"),
        (tmp_path / "round", "cannot be written"),
        (log / "log.jsonl", "cannot be written"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "no regular file"),
        ("/dev/null", "no regular file"),
        ("a\0b", "cannot be written"),
    ]:
        with pytest.raises(BadInput, match=says):
            check_log(path)
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(BadInput, match="no regular file"):
            append(path, report())
    with monkeypatch.context() as patch:  # root may write anywhere
        patch.setattr(record.os, "access", lambda path, mode: False)
        with pytest.raises(BadInput, match="is not yours to write"):
            check_log(tmp_path / "new.jsonl")
    log.chmod(0o400)
    if os.geteuid():
        with pytest.raises(BadInput, match="Permission denied"):
            check_log(log)
    assert sorted(tmp_path.iterdir()) == before


def test_a_log_that_cannot_be(tmp_path):
    with pytest.raises(BadInput, match="No such file"):
        append(tmp_path / "none" / "log.jsonl", report())
    with pytest.raises(BadInput, match="Is a directory"):
        append(tmp_path, report())
    with pytest.raises(BadInput, match="There is no log"):
        verify(tmp_path / "log.jsonl")
    with pytest.raises(BadInput, match="There is no log"):
        verify(tmp_path)


WRITER = """
import sys
from velatura.deploy.record import Report, append
for i in range(int(sys.argv[3])):
    append(sys.argv[1], Report(source=f"{sys.argv[2]}-{i}", destination="x" * 5000))
    print(i, flush=True)
"""


def test_many_processes_at_once(tmp_path):
    log, many, each = tmp_path / "log.jsonl", 5, 12
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, log, str(i), str(each)], stdout=-3)
        for i in range(many)
    ]
    # To read meanwhile is fine too.
    while not log.exists():
        assert any(w.poll() is None for w in writers)
    assert verify(log).intact
    assert [w.wait(timeout=120) for w in writers] == [0] * many
    verdict = verify(log)
    assert (verdict.faults, verdict.entries) == ([], many * each)
    sources = [json.loads(line)["entry"]["source"] for line in lines(log)]
    assert sorted(sources) == sorted(f"{i}-{k}" for i in range(many) for k in range(each))
    for i in range(many):  # each writer's own entries stand in its order
        own = [s for s in sources if s.startswith(f"{i}-")]
        assert own == [f"{i}-{k}" for k in range(each)]


SLOW = """
import os, sys, time
from velatura.deploy import record
real = os.pwrite
def half(descriptor, data, at):
    done = real(descriptor, data[: len(data) // 2], at)
    print("half", flush=True)
    time.sleep(60)
    return done
record.os.pwrite = half
record.append(sys.argv[1], record.Report(source="torn", destination="x"))
"""


def test_a_writer_that_is_killed_in_the_middle_of_a_line(log):
    whole = log.read_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, log], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
    assert len(log.read_bytes()) > len(whole)
    assert verify(log).faults[0].startswith("The end is torn")
    append(log, report(6))  # and the lock of the dead is free
    verdict = verify(log)
    assert (verdict.intact, verdict.entries) == (True, 6)
    assert verdict.notes


# -------------------------------------------------------------------------- outputs on the disk


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """A log of three outputs, one named from the folder of the log."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").mkdir()
    log = tmp_path / "kept" / "log.jsonl"
    for name in ("kept/a.mp4", "kept/b.mp4", str(tmp_path / "c.mp4")):
        Path(name).write_bytes(name.encode())
        append(log, report(destination=name, destination_sha256=sha256(name)))
    append(log, report(destination="none.mp4", status="failed", error="It broke."))
    return log


def test_outputs_as_they_were_recorded(outputs):
    verdict = verify(outputs, files=True)
    assert (verdict.faults, verdict.files) == ([], 3)


def test_an_output_that_was_changed_or_is_gone(outputs, tmp_path):
    (tmp_path / "kept" / "b.mp4").write_bytes(b"other")
    (tmp_path / "c.mp4").unlink()
    assert verify(outputs).intact
    assert verify(outputs, files=True).faults == [
        "kept/b.mp4, of line 2, is not as it was recorded: its bytes differ.",
        f"{tmp_path}/c.mp4, of line 3, is missing.",
    ]


def test_an_output_that_was_made_again_counts_as_it_is_now(outputs, tmp_path):
    path = tmp_path / "kept" / "a.mp4"
    path.write_bytes(b"newer")
    assert not verify(outputs, files=True).intact
    append(outputs, report(destination="kept/a.mp4", destination_sha256=sha256(path)))
    assert verify(outputs, files=True).intact


def test_outputs_beside_the_log(outputs, tmp_path, monkeypatch):
    """The whole folder was moved; names are looked for beside the log."""
    log = tmp_path / "log.jsonl"
    outputs.rename(log)
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert verify(log, files=True).intact
    (tmp_path / "kept" / "a.mp4").unlink()
    assert not verify(log, files=True).intact


def test_an_output_without_a_hash_is_said(tmp_path):
    append(tmp_path / "log.jsonl", report())
    verdict = verify(tmp_path / "log.jsonl", files=True)
    assert (verdict.intact, verdict.files) == (True, 0)
    assert verdict.notes == ["Of 1 outputs no SHA-256 was recorded."]


def test_the_verdict_is_plain():
    assert json.dumps(asdict(record.Verdict())) == (
        '{"entries": 0, "head": "", "faults": [], "notes": [], "files": 0}'
    )
