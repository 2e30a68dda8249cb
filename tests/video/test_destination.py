"""What may be written where, and what a killed writer leaves behind."""

import os
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from velatura.errors import BadInput
from velatura.video import destination
from velatura.video.destination import Partial, check, sweep

SUFFIXES = [".mp4", ".mov"]
NFC, NFD = (unicodedata.normalize(form, "Séance.mp4") for form in ("NFC", "NFD"))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"precious")
    return path


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("link", [os.symlink, os.link, None], ids=["symlink", "hard link", "path"])
def test_the_source_by_any_link(tmp_path, source, link, overwrite):
    path = tmp_path / "other" / ".." / "clip.mp4"
    (tmp_path / "other").mkdir()
    if link:
        path = tmp_path / "other" / "b.mp4"
        link(source, path)
    with pytest.raises(BadInput, match="is the source itself"):
        check(path, source, overwrite, SUFFIXES)


def test_the_source_through_a_linked_folder_or_as_a_link(tmp_path, source):
    (tmp_path / "door").symlink_to(tmp_path)
    with pytest.raises(BadInput, match="is the source itself"):
        check(tmp_path / "door" / "clip.mp4", source, True, SUFFIXES)
    (tmp_path / "link.mp4").symlink_to(source)
    with pytest.raises(BadInput, match="is the source itself"):
        check(source, tmp_path / "link.mp4", True, SUFFIXES)


@pytest.mark.parametrize(("one", "other"), [(NFC, NFD), (NFD, NFC)])
@pytest.mark.parametrize("there", [False, True])
def test_the_source_in_another_unicode_form(tmp_path, one, other, there):
    """Two names that nobody can tell apart, also where the system takes them for two files."""
    assert one != other
    (tmp_path / one).write_bytes(b"precious")
    if there:
        (tmp_path / other).write_bytes(b"another")
    with pytest.raises(BadInput, match="is the source itself"):
        check(tmp_path / other, tmp_path / one, True, SUFFIXES)
    (tmp_path / "b").mkdir()
    check(tmp_path / "b" / other, tmp_path / one, False, SUFFIXES)


@pytest.mark.parametrize("name", ["CLIP.MP4", "Clip.mp4"])
def test_the_source_in_other_letters(tmp_path, source, monkeypatch, name):
    if not destination._ignores_case(source):
        check(tmp_path / name, source, False, SUFFIXES)
    monkeypatch.setattr(destination, "_ignores_case", lambda file: True)
    with pytest.raises(BadInput, match="is the source itself"):
        check(tmp_path / name, source, False, SUFFIXES)
    check(tmp_path / "clips.mp4", source, False, SUFFIXES)


def test_whether_letters_count_is_asked_of_the_folder(tmp_path, source):
    """A hard link stands in for what a case-insensitive system would answer."""
    expected = (tmp_path / "CLIP.MP4").exists()
    assert destination._ignores_case(source) == expected
    if not expected:
        (tmp_path / "CLIP.MP4").write_bytes(b"another")
        assert not destination._ignores_case(source)
        (tmp_path / "CLIP.MP4").unlink()
        os.link(source, tmp_path / "CLIP.MP4")
        assert destination._ignores_case(source)


def test_what_else_is_refused(tmp_path, source):
    def refused(path, overwrite=True):
        with pytest.raises(BadInput) as caught:
            check(path, source, overwrite, SUFFIXES, "they keep timing exactly")
        return str(caught.value)

    said = refused(tmp_path / "a.mkv")
    assert said == f"{tmp_path}/a.mkv must end in .mp4, .mov: they keep timing exactly."
    assert refused(tmp_path / "none" / "a.mp4").startswith("There is no folder")
    assert refused(source / "a.mp4").startswith("There is no folder")
    (tmp_path / "d.mp4").mkdir()
    assert refused(tmp_path / "d.mp4").endswith("is a folder; name a file.")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "is a device" in refused(tmp_path / "pipe.mp4")
    assert refused(tmp_path / ("x" * 300 + ".mp4")).endswith("File name too long.")
    (tmp_path / "there.mp4").write_bytes(b"precious")
    assert "exists" in refused(tmp_path / "there.mp4", overwrite=False)
    check(tmp_path / "there.mp4", source, True, SUFFIXES)
    check(tmp_path / "new.MP4", source, False, SUFFIXES)
    check(tmp_path / "new.mp4", None, False, SUFFIXES)
    (tmp_path / "nowhere.mp4").symlink_to(tmp_path / "not there")
    assert "exists" in refused(tmp_path / "nowhere.mp4", overwrite=False)


def test_a_partial_is_kept_or_gone(tmp_path):
    path = tmp_path / "a.mp4"
    partial = Partial(path)
    assert destination.PARTIAL.search(partial.path.name)
    assert partial.path.name.startswith(f"a.mp4.{os.getpid()}-")
    partial.file.write(b"new")
    partial.file.close()
    assert not path.exists()
    partial.keep(overwrite=False)
    assert path.read_bytes() == b"new"
    partial.discard()
    other = Partial(path)
    with pytest.raises(BadInput, match="appeared meanwhile"):
        other.keep(overwrite=False)
    other.discard()
    other.discard()
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("name", ["é" * 127, "é" * 126 + "x.", "x" * 255, "日" * 85])
def test_a_partial_of_the_longest_name(tmp_path, name):
    partial = Partial(tmp_path / name)
    assert len(os.fsencode(partial.path.name)) <= 255
    partial.file.close()
    partial.keep(overwrite=False)
    assert names(tmp_path) == [name]


def test_a_name_that_is_no_text(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    partial = Partial(path)
    partial.keep(overwrite=False)
    assert path.exists()


def test_a_folder_that_takes_no_file(tmp_path):
    with pytest.raises(BadInput, match="Cannot write into .*: No such file"):
        Partial(tmp_path / "none" / "a.mp4")
    with pytest.raises(BadInput, match="Cannot write into"):
        Partial(Path("/proc/a.mp4"))


WRITER = """
import sys, time
from velatura.video.destination import Partial
partial = Partial(sys.argv[1])
partial.file.write(b"half")
partial.file.flush()
if sys.argv[2] == "closed":
    partial.file.close()
print(partial.path, flush=True)
time.sleep(60)
"""


def writer(path, state):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), state], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("state", ["open", "closed"])
def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path, state):
    """Also what is written and closed belongs to its writer: he may be reading it back."""
    living, kept = writer(tmp_path / "a.mp4", state)
    killed, left = writer(tmp_path / "b.mp4", state)
    with living, killed:
        try:
            killed.send_signal(signal.SIGKILL)
            killed.wait(timeout=20)
            others = ["c.mp4", "c.mp4.partial", "c.mp4.0a1b2c3d.partial", "1-0a1b2c3d.partial"]
            for name in others:
                (tmp_path / name).write_bytes(b"mine")
            os.mkfifo(tmp_path / "p.mp4.1-0a1b2c3d.partial")
            (tmp_path / "l.mp4.1-0a1b2c3d.partial").symlink_to(tmp_path / "c.mp4")
            (tmp_path / "d.mp4.1-0a1b2c3d.partial").mkdir()
            before = names(tmp_path)
            assert left.exists()
            assert sweep(tmp_path) == [left]
            assert names(tmp_path) == [name for name in before if name != left.name]
            assert kept.read_bytes() == b"half"
        finally:
            living.kill()
            living.wait(timeout=20)
    assert sweep(tmp_path) == [kept]


def test_a_writer_in_this_process_is_left_alone(tmp_path):
    partial = Partial(tmp_path / "a.mp4")
    assert sweep(tmp_path) == []
    partial.file.close()
    assert sweep(tmp_path) == []
    partial.keep(overwrite=False)
    assert names(tmp_path) == ["a.mp4"]


def test_a_sweep_between_making_and_locking(tmp_path, monkeypatch):
    """The file is gone before its writer could lock it: he makes another."""
    swept = []
    locked = destination.locked

    def late(descriptor, sweeping=False):
        if not sweeping and not swept:
            swept.append(None)
            swept[:] = sweep(tmp_path)
        return locked(descriptor, sweeping)

    monkeypatch.setattr(destination, "locked", late)
    partial = Partial(tmp_path / "a.mp4")
    assert len(swept) == 1
    assert partial.path.exists()
    assert partial.path not in swept
    partial.discard()
    assert names(tmp_path) == []


def test_a_sweep_where_there_is_nothing(tmp_path):
    assert sweep(tmp_path) == []
    assert sweep(tmp_path / "none") == []


def test_without_locks_nothing_is_swept(tmp_path, monkeypatch):
    def unsupported(descriptor, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(destination.fcntl, "flock", unsupported)
    partial = Partial(tmp_path / "a.mp4")
    partial.file.close()
    assert sweep(tmp_path) == []
    partial.keep(overwrite=False)
    assert names(tmp_path) == ["a.mp4"]
