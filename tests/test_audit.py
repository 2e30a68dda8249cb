"""``velatura audit`` from outside: what is printed, and the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from velatura.deploy.record import Report, append, sha256, verify


def run(*words: object) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "velatura", "audit", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def log(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        path = tmp_path / f"{name}.anon.mp4"
        path.write_bytes(name.encode())
        report = Report(
            source=f"{name}.mp4", destination=str(path), destination_sha256=sha256(path)
        )
        append(tmp_path / "log.jsonl", report)
    return tmp_path / "log.jsonl"


def test_intact(log: Path):
    head = verify(log).head
    assert run("verify", log) == (0, f"{log}: intact: 3 entries.\nhead  {head}\n", "")
    code, out, err = run("verify", log, "--files", "--expect", head)
    assert (code, err) == (0, "")
    assert out == f"{log}: intact: 3 entries, 3 outputs compared.\nhead  {head}\n"
    sums = f"tail -n 1 '{log}' | tr -d '\\n' | sha256sum"
    assert subprocess.check_output(sums, shell=True, text=True).split()[0] == head


def test_json(log: Path):
    code, out, err = run("verify", log, "--json", "--files")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "log": str(log),
        "intact": True,
        "entries": 3,
        "head": verify(log).head,
        "faults": [],
        "notes": [],
        "files": 3,
    }


def test_broken(log: Path):
    data = log.read_bytes()
    log.write_bytes(data.replace(b'"sound":"none"', b'"sound":"kept"', 1))
    code, out, err = run("verify", log)
    assert (code, err) == (1, "")
    assert out.startswith("fail  Line 1 was changed: it does not fit its own hash.\n")
    assert f"\n{log}: NOT INTACT: 3 entries.\n" in out
    code, out, _ = run("verify", log, "--json")
    assert (code, json.loads(out)["intact"]) == (1, False)


def test_an_output_that_was_changed(log: Path):
    (log.parent / "b.anon.mp4").write_bytes(b"other")
    assert run("verify", log)[0] == 0
    code, out, _ = run("verify", log, "--files")
    assert code == 1
    assert "b.anon.mp4, of line 2, is not as it was recorded: its bytes differ." in out


def test_a_cut_tail(log: Path):
    head = verify(log).head
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    assert run("verify", log)[0] == 0
    code, out, _ = run("verify", log, "--expect", head)
    assert code == 1
    assert out.startswith("fail  The expected line is not there: entries were cut off the end")


def test_a_log_that_grew(log: Path):
    head = verify(log).head
    append(log, Report(source="d.mp4", destination="d.anon.mp4"))
    code, out, _ = run("verify", log, "--expect", head)
    assert code == 0
    assert out.startswith("note  The expected line is line 3; what follows was added since.\n")


def test_names_that_steer_a_terminal(log: Path):
    append(log, Report(source="x", destination="\x1b[2Jgone.mp4", destination_sha256="0" * 64))
    code, out, _ = run("verify", log, "--files")
    assert code == 1
    assert "\x1b" not in out
    assert "\\x1b[2Jgone.mp4, of line 4, is missing." in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Missing argument 'verify'"),
        (["verify"], "Error: Name the log: velatura audit verify LOG."),
        (["verfy", "log"], "Did you mean 'verify'?"),
        (["verify", "none.jsonl"], "Error: There is no log none.jsonl."),
        (["verify", "{log}", "--expect", "abc"], "Error: A SHA-256 has 64 hexadecimal digits"),
        (["verify", "{log}", "--file"], "No such option: --file"),
    ],
)
def test_what_a_user_gets_wrong(log: Path, words: list[str], says: str):
    code, out, err = run(*(word.format(log=log) for word in words))
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


# ------------------------------------------------- the doctor's look at what an audit presumes


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of a doctor who finds the machine unusable."""
    from velatura.cli import doctor as module

    monkeypatch.setattr(module, "_torch", lambda: iter(()))
    with pytest.raises(typer.Exit) as caught:
        module.doctor()
    assert caught.value.exit_code == 1
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("fail")]


def test_the_doctor_tries_every_anonymizer(monkeypatch, capsys):
    from velatura.deploy import modes

    class Same(modes.Blur):
        def apply(self, frames):
            return frames

    class Breaks(modes.Blur):
        def apply(self, frames):
            raise RuntimeError("inside")

    monkeypatch.setitem(modes.MODES, "blur", Same)
    monkeypatch.setitem(modes.MODES, "pixelate", Breaks)
    one, two = fails(monkeypatch, capsys)
    assert one.startswith("fail anonymizer       blur: The anonymizer returned frame 0 unchanged")
    assert "pixelate: The anonymizer failed: RuntimeError: inside" in two
    assert two.endswith("pip install --force-reinstall velatura")


def test_the_doctor_reads_the_copy_back(monkeypatch, capsys):
    """A writer that loses frames and is content."""
    from velatura.deploy import file

    real = file.anonymize_video

    def short(source, copy, anonymizer, **how):
        return real(source, copy, anonymizer, end=0.1, **how)

    monkeypatch.setattr(file, "anonymize_video", short)
    lines = fails(monkeypatch, capsys)
    assert lines
    assert all("the copy is (48, 64, 3), not (48, 64, 6)" in line for line in lines)


def test_the_doctor_without_a_runtime(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    lines = fails(monkeypatch, capsys)
    assert lines[0].startswith("fail onnxruntime      does not load: ")
    assert lines[0].endswith("-> pip install onnxruntime")


def test_the_doctor_on_a_full_disk(monkeypatch, capsys):
    import shutil

    real = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real._replace(free=10**6))
    (line,) = fails(monkeypatch, capsys)
    assert line.endswith("free some space: there is none for an output")


def test_the_doctor_without_a_folder_for_temporary_files(monkeypatch, capsys, tmp_path):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    (line,) = fails(monkeypatch, capsys)
    assert "no tiny video can be written" in line
    assert line.endswith("name another in TMPDIR")
