"""Downloading, against a server on this machine that breaks, lies or knows no ranges."""

from __future__ import annotations

import fcntl
import hashlib
import os
import resource
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from velatura.data._lists import download as module
from velatura.data._lists.download import download
from velatura.data._lists.source import Remote
from velatura.errors import BadInput, Failure

DATA = bytes(range(256)) * 1200  # several blocks
HALF = len(DATA) // 2


class Server(ThreadingHTTPServer):
    """Serves DATA; what it does wrong is set by a test.

    breaks: how many answers end half-way through what they promised.
    """

    data = DATA
    breaks = 0
    ranges = True
    status = 200
    length: str | None = None  # what Content-Length says, where it is no number

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []  # the Range of every request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/labels.pickle"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked[6:-1]) if asked and self.server.ranges else 0
        if self.server.status != 200 or (asked and start >= len(self.server.data)):
            self.send_error(self.server.status if self.server.status != 200 else 416)
            return
        body = self.server.data[start:]
        self.send_response(206 if asked and self.server.ranges else 200)
        self.send_header("Content-Length", self.server.length or str(len(body)))
        if asked and self.server.ranges:
            whole = len(self.server.data)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def remote(server: Server, data: bytes = DATA) -> Remote:
    sha256 = hashlib.sha256(data).hexdigest()
    return Remote(name="labels.pickle", url=server.url, sha256=sha256)


def test_a_whole_file(server, tmp_path):
    seen = []
    path = download(remote(server), tmp_path / "new", progress=lambda *at: seen.append(at))
    assert path == tmp_path / "new" / "labels.pickle"
    assert path.read_bytes() == DATA
    assert [p.name for p in path.parent.iterdir()] == ["labels.pickle"]
    assert seen[-1] == (len(DATA), len(DATA))
    assert server.asked == [None]


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "labels.pickle").write_bytes(DATA)
    assert download(remote(server), tmp_path).read_bytes() == DATA
    assert server.asked == []


def test_another_file_of_that_name_is_left_alone(server, tmp_path):
    (tmp_path / "labels.pickle").write_bytes(b"mine")
    with pytest.raises(BadInput, match=r"labels\.pickle is there and is another file.*move it"):
        download(remote(server), tmp_path)
    assert (tmp_path / "labels.pickle").read_bytes() == b"mine"
    assert server.asked == []


def test_a_broken_connection_is_resumed_where_it_broke(server, tmp_path):
    server.breaks = 1
    assert download(remote(server), tmp_path).read_bytes() == DATA
    assert server.asked == [None, f"bytes={HALF}-"]


def test_what_came_stays_for_the_next_call(server, tmp_path):
    server.breaks = 1
    with pytest.raises(Failure, match=rf"broke off 1 times.*{HALF} bytes are kept in .*\.part"):
        download(remote(server), tmp_path, attempts=1)
    assert not (tmp_path / "labels.pickle").exists()
    assert (tmp_path / "labels.pickle.part").read_bytes() == DATA[:HALF]
    assert download(remote(server), tmp_path).read_bytes() == DATA
    assert server.asked == [None, f"bytes={HALF}-"]
    assert not (tmp_path / "labels.pickle.part").exists()


def test_a_server_without_ranges_sends_it_all_again(server, tmp_path):
    server.breaks, server.ranges = 1, False
    assert download(remote(server), tmp_path).read_bytes() == DATA


def test_a_wrong_checksum_is_refused_and_nothing_kept(server, tmp_path):
    with pytest.raises(Failure, match=r"gave a file with sha256 \w{64}, expected .*removed"):
        download(remote(server, b"other"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_partial_file_of_an_older_version_does_not_stay_in_the_way(server, tmp_path):
    """Its beginning is wrong, so the whole is refused and removed; the next call is clean."""
    (tmp_path / "labels.pickle.part").write_bytes(b"x" * 100)
    with pytest.raises(Failure, match="sha256"):
        download(remote(server), tmp_path)
    assert download(remote(server), tmp_path).read_bytes() == DATA


def test_a_partial_file_that_is_whole_needs_only_its_name(server, tmp_path):
    (tmp_path / "labels.pickle.part").write_bytes(DATA)
    assert download(remote(server), tmp_path).read_bytes() == DATA
    assert server.asked == [f"bytes={len(DATA)}-"]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_answer_that_is_no_file_is_said(server, tmp_path, status):
    server.status = status
    with pytest.raises(Failure, match=rf"answers {status} .*; get labels\.pickle by hand"):
        download(remote(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nobody_answers(server, tmp_path):
    gone = remote(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(Failure, match="broke off 2 times .*refused.*; try later"):
        download(gone, tmp_path, attempts=2)


def test_only_http(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    with pytest.raises(BadInput, match="no http or https address"):
        download(Remote(name="a", url=f"file://{secret}", sha256=""), tmp_path)


def test_what_stands_in_the_way_is_said(server, tmp_path):
    """A file where the folder should be, a folder where the file should be."""
    (tmp_path / "file").write_bytes(b"x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadInput, match=r"file.* cannot be used \(.*\); name another folder"):
            download(remote(server), folder)
    for name in ("labels.pickle", "labels.pickle.part"):
        (tmp_path / name / name).mkdir(parents=True)
        (tmp_path / name / name / name).mkdir()
        with pytest.raises(BadInput, match=rf"{name} is a folder; move it away, or name another"):
            download(remote(server), tmp_path / name)
    assert server.asked == []


@pytest.mark.parametrize("length", ["many", "-1", "1e9", "\u0663".encode().decode("latin-1")])
def test_a_length_that_is_no_number_promises_nothing(server, tmp_path, length):
    server.length = length
    assert download(remote(server), tmp_path).read_bytes() == DATA


def test_a_full_disk_is_said_and_what_came_is_kept(server, tmp_path):
    """The system lets no file grow beyond 100 kB; then it does, and the download goes on."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(Failure, match=r"Writing .*\.part failed: .*; make room, and run this"):
            download(remote(server), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    there = (tmp_path / "labels.pickle.part").stat().st_size
    assert 0 < there <= 100_000
    assert download(remote(server), tmp_path).read_bytes() == DATA
    assert server.asked == [None, f"bytes={there}-"]


def test_two_at_once_do_not_share_the_partial_file(server, tmp_path):
    part = tmp_path / "labels.pickle.part"
    with open(part, "ab") as other:
        other.write(DATA[:HALF])
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BadInput, match=r"Another run is getting .*\.part; wait for it"):
            download(remote(server), tmp_path)
        assert server.asked == []
    assert part.read_bytes() == DATA[:HALF]
    assert download(remote(server), tmp_path).read_bytes() == DATA


def test_the_other_one_is_done_between_opening_and_holding(server, tmp_path, monkeypatch):
    """What we hold then is the finished file under its own name, and nothing is written into it."""
    target, part = tmp_path / "labels.pickle", tmp_path / "labels.pickle.part"
    part.write_bytes(DATA)
    real = fcntl.flock

    def late(file, how):
        os.replace(part, target)
        real(file, how)

    monkeypatch.setattr(module.fcntl, "flock", late)
    with pytest.raises(BadInput, match="Another run has just got"):
        download(remote(server), tmp_path)
    monkeypatch.undo()
    assert target.read_bytes() == DATA
    assert download(remote(server), tmp_path) == target


def test_the_network_may_fail_in_any_way(server, tmp_path, monkeypatch):
    for error in (OSError(101, "unreachable"), ValueError("a port of letters")):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(module, "urlopen", fail)
        with pytest.raises(Failure, match="broke off 3 times .*; try later"):
            download(remote(server), tmp_path)
    assert list(tmp_path.iterdir()) == []
