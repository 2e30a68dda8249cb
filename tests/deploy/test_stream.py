"""A stream comes out anonymized or black, and goes on; real senders, receivers and processes."""

import functools
import http.server
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from fractions import Fraction

import av
import numpy as np
import pytest
from looking import written

from velatura.deploy import _sinks, _sources, stream
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.model import Model
from velatura.deploy.modes import Silhouette
from velatura.deploy.stream import anonymize_stream, is_stream
from velatura.errors import BadInput, Failure
from velatura.video.read import read_frames

WIDTH, HEIGHT = 160, 128
LONG = 60  # seconds; nothing here takes so long, on the slowest machine


def texture(height=HEIGHT, width=WIDTH):
    """The secret: what every picture of every sender shows, (height, width, 3) uint8."""
    blocks = np.random.default_rng(7).integers(30, 220, (height // 8, width // 8, 1))
    return np.repeat(np.kron(blocks, np.ones((8, 8, 1))), 3, -1).astype(np.uint8)


def squares(frames):
    """An anonymizer that shows nothing of what it is shown: stripes of 16 pixels."""
    out = np.zeros_like(frames)
    out[:, (np.arange(frames.shape[1]) // 16 % 2).astype(bool)] = 200
    return out


def likeness(image):
    """Correlation of a picture with the secret, in [-1, 1]; 0 for a picture of one colour."""
    secret = texture(*image.shape[:2]).mean(-1).ravel()
    seen = image.astype(float).mean(-1).ravel()
    return float(np.corrcoef(secret, seen)[0, 1]) if seen.std() > 1 else 0.0


def is_black(image):
    return image.mean() < 4


def assert_nothing_shows(images):
    """Every picture is black or the stripes."""
    assert images
    stripes = squares(np.zeros((1, *images[0].shape), np.uint8))[0].mean(-1).ravel()
    for number, image in enumerate(images):
        assert abs(likeness(image)) < 0.2, f"picture {number} shows the source"
        if not is_black(image):
            told = np.corrcoef(stripes, image.mean(-1).ravel())[0, 1]
            assert told > 0.9, f"picture {number} is neither black nor anonymized"


def test_the_measure_of_likeness():
    assert likeness(texture()) > 0.99
    assert likeness(255 - texture()) < -0.99
    assert_nothing_shows([squares(texture()[None])[0], np.zeros_like(texture())])
    with pytest.raises(AssertionError, match="shows the source"):
        assert_nothing_shows([texture()])


class Coder:
    """Pictures of the secret to MPEG-TS, the bytes of each by itself."""

    def __init__(self, width=WIDTH, height=HEIGHT, rate=20):
        self.file, self.at, self.count, self.rate = io.BytesIO(), 0, 0, rate
        self.file.seekable = lambda: False
        options = {"flush_packets": "1", "max_delay": "0"}
        self.container = av.open(self.file, "w", format="mpegts", options=options)
        settings = {"preset": "ultrafast", "tune": "zerolatency", "g": "10", "crf": "10"}
        self.stream = self.container.add_stream("libx264", rate, settings)
        self.stream.width, self.stream.height = width, height
        self.stream.pix_fmt = "yuv420p"
        self.picture = texture(height, width)

    def one(self):
        frame = av.VideoFrame.from_ndarray(self.picture + np.uint8(self.count % 4))
        frame.pts = self.count
        self.count += 1
        self.container.mux(self.stream.encode(frame))
        data = self.file.getvalue()[self.at :]
        self.at += len(data)
        return data


@pytest.fixture(scope="module")
def pictures():
    """The bytes of 45 pictures."""
    coder = Coder()
    made = [coder.one() for _ in range(45)]
    coder.container.close()
    return made


@contextmanager
def served(*turns, pace=0.0, then=None):
    """A TCP address that gives each caller the pictures of its turn, then hangs up.

    Args:
        pace: seconds between two pictures.
        then: keeps the last caller waiting for this event.
    """
    over = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)

    def serve():
        for turn in turns:
            while not over.is_set():
                with suppress(TimeoutError):
                    caller, _ = server.accept()
                    break
            else:
                return
            with caller, suppress(OSError):
                for data in turn:
                    caller.sendall(data)
                    if over.wait(pace):
                        return
                if then is not None and turn is turns[-1]:
                    while not then.wait(0.1) and not over.is_set():
                        pass
        server.close()  # the next caller is refused

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    finally:
        over.set()
        thread.join(LONG)
        server.close()


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Running:
    """A stream in a thread, and what it says."""

    def __init__(self, source, destination, anonymizer=squares, **options):
        self.lines, self.stop, self.report, self.error = [], threading.Event(), None, None

        def work():
            try:
                self.report = anonymize_stream(
                    source,
                    destination,
                    anonymizer,
                    log=self.lines.append,
                    stop=self.stop,
                    **options,
                )
            except Exception as error:
                self.error = error

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def until(self, pattern, after=0):
        """Wait for a line; its number."""
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            for number, line in enumerate(self.lines[after:], after):
                if re.search(pattern, line):
                    return number
            assert self.thread.is_alive(), (self.error, self.lines)
            time.sleep(0.02)
        raise AssertionError(f"no line with {pattern!r}: {self.lines}")

    def finish(self):
        self.stop.set()
        self.thread.join(LONG)
        if self.error is not None:
            raise self.error
        return self.report


@pytest.fixture(autouse=True)
def _no_thread_stays():
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + LONG
    while time.monotonic() < end and (left := set(threading.enumerate()) - before):
        time.sleep(0.05)
    assert not left


def decoded(path):
    frames = list(read_frames(path))
    return [f.image for f in frames], [float(f.pts * f.time_base) for f in frames]


def every_picture(source, destination, anonymizer=squares, **options):
    """All that a source has, nothing dropped, until it hangs up."""
    lines = []
    settings = {"live": False, "reconnect": 0, "log": lines.append} | options
    return anonymize_stream(source, str(destination), anonymizer, **settings), lines


# -- fail closed


class Sometimes(Anonymizer):
    """Does as it should, but for every third picture."""

    name = digest = "sometimes"

    def __init__(self, otherwise):
        self.otherwise, self.count = otherwise, 0

    def apply(self, frames):
        self.count += 1
        return self.otherwise(frames) if self.count % 3 == 0 else squares(frames)


def fails(frames):
    raise RuntimeError("inside")


def runs_out(frames):
    raise MemoryError


def spoils(frames):
    """Gives the original back, and makes what it was shown look different from it."""
    original = frames.copy()
    frames[:] = 0
    return original


@pytest.mark.parametrize(
    "otherwise",
    [
        spoils,
        fails,
        runs_out,
        lambda x: x,
        np.copy,
        lambda x: x / 255,
        lambda x: np.full(x.shape, np.nan, np.float32),
        lambda x: x[:, :-2],
        lambda x: np.concatenate([x, x]),
        lambda x: None,
        lambda x: [x],
    ],
    ids=[
        "spoils its input",
        "raises",
        "out of memory",
        "same object",
        "equal copy",
        "floats",
        "not a number",
        "smaller",
        "two for one",
        "nothing",
        "a list",
    ],
)
def test_what_fails_is_black(pictures, tmp_path, otherwise):
    with served(pictures) as source:
        report, lines = every_picture(source, tmp_path / "a.mp4", Sometimes(otherwise))
    images, times = decoded(tmp_path / "a.mp4")
    assert (report.frames, report.black, report.status) == (45, 15, "done")
    assert_nothing_shows(images)
    assert [n for n, image in enumerate(images) if is_black(image)] == list(range(2, 45, 3))
    np.testing.assert_allclose(times, np.arange(45) / 20, atol=1e-4)
    assert any("15 frames are black" in warning for warning in report.warnings)
    assert sum("Black is sent" in line for line in lines) == 1  # and not fifteen times


def test_an_anonymizer_that_ends_or_swallows(pictures, tmp_path):
    class Ends(Anonymizer):
        def process(self, batches):
            return iter(())

    class Swallows(Anonymizer):
        def process(self, batches):
            for _ in batches:
                yield from ()

    for number, bad in enumerate((Ends(), Swallows())):
        with served(pictures) as source:
            report, _ = every_picture(source, tmp_path / f"{number}.mp4", bad)
        assert (report.frames, report.black) == (45, 45)
        assert all(map(is_black, decoded(tmp_path / f"{number}.mp4")[0]))


def test_memory_that_is_used_again_shows_nothing(pictures, tmp_path):
    """What it answers with is a buffer, into which it copies what comes next."""

    class Reuses(Anonymizer):
        def __init__(self):
            self.memory = None

        def apply(self, frames):
            if self.memory is None:
                self.memory = np.empty_like(frames)
            self.memory[:] = frames
            time.sleep(0.03)
            self.memory[:] = squares(frames)
            return self.memory

    with served(pictures[:20]) as source:
        every_picture(
            source, tmp_path / "a.mp4", Reuses(), progress=lambda done, total: time.sleep(0.045)
        )
    assert_nothing_shows(decoded(tmp_path / "a.mp4")[0])


def test_stop_on_error_ends_it_and_keeps_the_recording(pictures, tmp_path):
    path = tmp_path / "a.mp4"
    with served(pictures) as source, pytest.raises(Failure, match="inside"):
        every_picture(source, path, Sometimes(fails), on_error="stop")
    images, _ = decoded(path)
    assert len(images) == 2
    assert_nothing_shows(images)
    assert list(tmp_path.iterdir()) == [path]


def test_a_mode_that_looks_back(pictures, tmp_path):
    """Its first answer comes with the second picture."""
    with served(pictures) as source:
        report, _ = every_picture(source, tmp_path / "a.mp4", Silhouette())
    assert (report.frames, report.black) == (45, 0)
    assert max(abs(likeness(image)) for image in decoded(tmp_path / "a.mp4")[0]) < 0.2


class Scenes(Anonymizer):
    """How many pictures it is shown in one piece."""

    name = digest = "scenes"

    def __init__(self, moves):
        self.moves, self.seen = moves, []

    def process(self, batches):
        self.seen.append(0)
        for frames in batches:
            self.seen[-1] += len(frames)
            yield squares(frames)


@pytest.mark.parametrize("moves", [False, True])
def test_behind_a_gap_motion_begins_anew(pictures, tmp_path, moves):
    """A lost source that is back, another size, a silence: what changed meanwhile is no motion."""
    watch, more = Scenes(moves), Coder(320, 256)
    more.count = 200  # eight seconds later
    with served(pictures[:20], pictures[:20] + [more.one() for _ in range(10)]) as source:
        report, _ = every_picture(source, tmp_path / "a.mp4", watch, reconnect=1, stall=30)
    assert (report.frames, report.black) == (sum(watch.seen), 0)
    assert report.frames >= 45
    assert len(watch.seen) == (3 if moves else 1)
    assert watch.seen[0] == (20 if moves else report.frames)
    silent, coder = Scenes(moves), Coder()
    sent = [coder.one() for _ in range(10)]
    coder.count += 60  # three seconds
    sent += [coder.one() for _ in range(10)]
    with served(sent) as source:
        every_picture(source, tmp_path / "b.mp4", silent, stall=2)
    assert silent.seen == ([10, 10] if moves else [20])


def test_a_file_that_looks_back(pictures, tmp_path):
    """The first picture of each connection shows nothing, and none shows the source."""
    model = Model(written(tmp_path / "x.onnx"))
    with served(pictures[:20], pictures[:20]) as source:
        report, _ = every_picture(source, tmp_path / "a.mp4", model, reconnect=1, stall=30)
    images, _ = decoded(tmp_path / "a.mp4")
    assert (report.frames, report.black, len(images)) == (40, 0, 40)
    for at in (0, 20):
        assert np.abs(images[at].astype(int) - 128).max() <= 2
    assert max(abs(likeness(image)) for image in images) < 0.2


def test_one_that_ends_behind_a_gap_is_no_endless_loop(pictures, tmp_path):
    class Once(Scenes):
        def process(self, batches):
            return super().process(batches) if not self.seen else iter(())

    with served(pictures[:20], pictures[:20]) as source:
        report, _ = every_picture(source, tmp_path / "a.mp4", Once(True), reconnect=1, stall=30)
    assert (report.frames, report.black) == (40, 20)


@pytest.mark.slow
def test_an_anonymizer_that_hangs(tmp_path):
    coder, path, hang = Coder(), tmp_path / "a.mp4", threading.Event()

    class Hangs(Anonymizer):
        count = 0

        def apply(self, frames):
            self.count += 1
            if self.count == 5:
                hang.wait(LONG)
            return squares(frames)

    with served((coder.one() for _ in range(10_000)), pace=0.05) as source:
        running = Running(source, str(path), Hangs(), stall=0.5, latency=0.5)
        running.until("No picture for 0.5 s; black is sent")
        time.sleep(0.5)
        hang.set()
        running.until("Pictures again")
        time.sleep(0.5)
        report = running.finish()
    counts = report.settings["counts"]
    assert counts["stalls"] >= 1
    assert counts["black_while_away"] >= 2
    assert counts["dropped"] >= 5
    images, times = decoded(path)
    assert_nothing_shows(images)
    assert any(map(is_black, images))
    # Nothing stood longer than the stall allows, but for the slowness of the machine.
    assert max(np.diff(times)) < 2.0


# -- time


@pytest.mark.slow
def test_the_oldest_are_dropped_and_counted(tmp_path):
    coder = Coder()
    with served([coder.one() for _ in range(80)], pace=0.05) as source:

        def slow(frames):
            time.sleep(0.3)
            return squares(frames)

        report = anonymize_stream(
            source,
            str(tmp_path / "a.mp4"),
            slow,
            latency=0.7,
            reconnect=0,
            log=lambda line: None,
        )
    counts = report.settings["counts"]
    images, times = decoded(tmp_path / "a.mp4")
    assert counts["received"] == 80 == report.frames + counts["dropped"]
    assert counts["dropped"] >= 40
    assert report.settings["latency_ms"]["95%"] < 3000  # all of them waiting: 20 seconds
    # Dropping makes gaps, and does not move what is left.
    assert len(images) == report.frames
    assert 2.5 < times[-1] < 8.0


def test_a_queue_forgets_the_oldest_and_says_so():
    queue = stream._Queue(3, waits=False, stop=threading.Event())
    for item in range(10):
        queue.put(item)
    assert list(queue.items) == [7, 8, 9]
    assert queue.dropped == 7
    assert queue.take(0, old=lambda item: item < 9) == 9
    assert queue.dropped == 9
    assert queue.take(0) is None
    queue.put(10)
    queue.end()
    assert queue.take(0, old=lambda item: True) == 10  # old as it is, there is no newer one
    with pytest.raises(stream._Ended):
        queue.take(LONG)


def test_a_queue_that_waits_drops_nothing():
    stop = threading.Event()
    queue = stream._Queue(2, waits=True, stop=stop)

    def give():
        for item in range(20):
            queue.put(item)
        queue.end()

    thread = threading.Thread(target=give, daemon=True)
    thread.start()
    seen = []
    for _ in range(20):
        assert len(queue.items) <= 2
        seen.append(queue.take(LONG))
    thread.join()
    assert seen == list(range(20))
    with pytest.raises(stream._Ended):
        queue.take(LONG)
    assert queue.dropped == 0


def test_clock_of_a_live_source():
    clock = _sources.Clock()
    # Late by up to 50 ms each, it is shown by its own even times; never before it comes.
    rng = np.random.default_rng(0)
    shown = []
    for number in range(200):
        came = 1000 + number / 25 + rng.uniform(0, 0.05)
        when, behind = clock.when(7 + number / 25, came)
        assert when <= came
        assert not behind
        shown.append(when)
    assert np.abs(np.diff(shown[20:]) - 0.04).max() < 0.01
    # Its clock runs 1 % slow: what is shown does not fall behind.
    for number in range(200, 5000):
        came = 1000 + number / 25
        when, _ = clock.when(7 + number / 25 * 0.99, came)
    assert came - when < 0.3
    # It begins again.
    when, _ = clock.when(0.0, 2000.0)
    assert when == 2000.0
    # What had waited in the network comes at once: the last is the newest.
    clock = _sources.Clock()
    behind = [clock.when(number / 25, 50.0)[1] for number in range(20)]
    assert not behind[0]
    assert _sources.Clock().when(None, 3.0) == (3.0, False)
    clock = _sources.Clock()
    assert [clock.when(pts, 50.0) for pts in (0.0, 1.0)] == [(50.0, False), (50.0, True)]


def test_clock_of_a_source_that_waits():
    even = _sources.Even()
    given = [5.0, 5.04, 5.1, 5.1, 0.0, 0.04, 900.0, 900.04, None]
    shown = [even.when(pts, 0.0, 0.04) for pts in given]
    steps = [0.04, 0.06, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04]
    np.testing.assert_allclose(np.diff(shown), steps, atol=1e-9)


def test_y4m_has_a_picture_for_each_tick():
    shape = _sinks.Shape(16, 16, 10.0, Fraction(1), "bilinear")
    coder = _sinks._Y4m(shape)
    counts = []
    for at in (0.0, 0.1, 0.11, 0.4, 0.5):
        counts.append(coder.encode(np.zeros((16, 16, 3), np.uint8), at).count(b"FRAME\n"))
    assert counts == [1, 1, 0, 3, 1]


def test_waits_between_attempts():
    backoff = _sinks.Backoff(None)
    assert [backoff.wait() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    backoff.reset()
    assert backoff.wait() == 0.5
    backoff = _sinks.Backoff(2)
    assert [backoff.wait() for _ in range(3)] == [0.5, 1, None]


# -- what may be named


@pytest.mark.parametrize(
    "text",
    ["-", "camera:0", "/dev/video1", "rtsp://a/b", "RTSP://a", "udp://@:9", "concat://a", "a+b://"],
)
def test_streams(text):
    assert is_stream(text)


@pytest.mark.parametrize(
    "text",
    ["rtsp:/a/b", "rtsp:a", "rtsp//a", " rtsp://a", "\tRTSPS:a", "udp:/h:1", "http:a", "rtmp:/a"],
)
def test_mistyped_streams(text):
    assert is_stream(text)
    with pytest.raises(BadInput, match="is no address; one looks like"):
        anonymize_stream(text, "-", squares)
    with pytest.raises(BadInput, match="is no address; one looks like"):
        anonymize_stream("udp://127.0.0.1:9", text + "/x.mp4", squares)


@pytest.mark.parametrize(
    "text", ["clip.mp4", "/dev/null", "concat:a|b", "C:\\a.mp4", "", "--", "tcp/a", "udp.mp4"]
)
def test_no_streams(text):
    assert not is_stream(text)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("file:///etc/passwd", "file:// is not taken"),
        ("concat://a", "concat:// is not taken"),
        ("subfile://,,start,0,end,0,,:/etc/passwd", "subfile:// is not taken"),
        ("data://text", "data:// is not taken"),
        ("crypto://a", "crypto:// is not taken"),
        ("crypto+file://a", "is not taken"),
        ("async://http://a", "async:// is not taken"),
        ("concat:/etc/passwd|b", "no address"),
        ("cache:http://a", "no address"),
        ("rtsp://a b", "no address"),
        ("http://a\r\nX: y", "no address"),
        ("udp://a:b:c", "not of the form"),
        ("http://127.0.0.1:1/?listen", "cannot wait for a sender"),
        ("camera:back", "write camera:0"),
        ("srt://127.0.0.1:9", "built without srt"),
    ],
)
def test_sources_that_are_refused(source, says, tmp_path):
    if source.startswith("srt") and _sources.has_protocol("srt"):
        pytest.skip("this FFmpeg has it")
    with pytest.raises(BadInput, match=says):
        anonymize_stream(source, str(tmp_path / "a.mp4"), squares, log=lambda line: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["camera:77", "/dev/video77"])
def test_a_camera_that_is_not_there(source, tmp_path):
    with pytest.raises(BadInput, match=r"There is no camera at /dev/video77; .*\.$"):
        anonymize_stream(source, str(tmp_path / "a.mp4"), squares)


def test_destinations_that_are_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"precious")
    for destination, says in [
        (str(tmp_path / "a.mp4"), "exists"),
        (str(tmp_path / "a.avi"), "A stream goes to"),
        (str(tmp_path / "none" / "a.mp4"), "There is no folder"),
        ("http://0.0.0.0:8080", "write http://0.0.0.0:8080/\\?public"),
        ("http://[::]:8080", "shows the stream to everyone"),
        ("http://[::0]:8080", "shows the stream to everyone"),
        ("http://[0:0:0:0:0:0:0:0]:8080", "shows the stream to everyone"),
        ("http://0x0:8080", "shows the stream to everyone"),
        ("http://00.0.0.0:8080", "shows the stream to everyone"),
        ("http://0:8080", "shows the stream to everyone"),
        ("http://203.0.113.7:8080", "write http://203.0.113.7:8080/\\?public"),
        ("http://nowhere.invalid:8080", "Port 8080 of nowhere.invalid cannot be used"),
        ("http://127.0.0.1:8080/put", "not of the form"),
        ("https://127.0.0.1:8080", "no destination"),
        ("udp://127.0.0.1", "not of the form udp://host:port"),
        ("udp://127.0.0.1:99999", "not of the form udp://host:port"),
        ("file:///tmp/a.mp4", "file:// is not taken"),
        ("tcp://203.0.113.7:80?listen", "cannot be used"),
        ("udp://127.0.0.1:9", "both source and destination"),
    ]:
        with pytest.raises(BadInput, match=says):
            anonymize_stream("udp://127.0.0.1:9", destination, squares, log=lambda line: None)
    assert (tmp_path / "a.mp4").read_bytes() == b"precious"
    with pytest.raises(BadInput, match="y4m goes to stdout only"):
        anonymize_stream("udp://127.0.0.1:9", "udp://127.0.0.1:8", squares, container="y4m")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"latency": 0}, "latency must be more than 0"),
        ({"stall": float("nan")}, "stall must be more than 0"),
        ({"duration": -1}, "duration must be"),
        ({"reconnect": -1}, "reconnect must be"),
    ],
)
def test_options_that_are_refused(options, says):
    with pytest.raises(BadInput, match=says):
        anonymize_stream("udp://127.0.0.1:9", "udp://127.0.0.1:8", squares, **options)


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(BadInput, match=f"Port {port} of 127.0.0.1 cannot be used"):
            anonymize_stream("udp://127.0.0.1:9", f"http://127.0.0.1:{port}", squares)


# -- passwords


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:geheim@cam:554/s", "rtsp://***@cam:554/s"),
        ("rtsp://me:ge@he/im?@cam/s", "rtsp://***@cam/s"),
        ("http://cam/v?user=me&pwd=geheim", "http://cam/v?***"),
        ("srt://cam:9?passphrase=geheim&mode=caller", "srt://cam:9?***"),
        ("tcp://127.0.0.1:9?listen", "tcp://127.0.0.1:9?listen"),
        ("udp://@239.0.0.1:1234", "udp://@239.0.0.1:1234"),
        ("clip.mp4", "clip.mp4"),
        ("rtsp:/admin:S3CRET@cam/x", "rtsp:/***@cam/x"),
        ("rtsp:admin:S3CRET@cam", "rtsp:***@cam"),
        ("rtsp//admin:S3@c", "rtsp//***@c"),
        ("rtsp/admin:S3@c", "rtsp/***@c"),
        (" rtsp://admin:S3@c", " rtsp://***@c"),
        ("\u00a0\ufeffRTSP : // admin:S3@c", "\u00a0\ufeffRTSP :***@c"),
        ("'rtsp://admin:S3@c", "'rtsp://***@c"),
        ("rtsp:\\\\admin:S3@c", "rtsp:\\\\***@c"),
        ("rtps:/admin:S3@c", "rtps:/***@c"),
        ("rtsp;//admin:S3@c", "rtsp;//***@c"),
        ("udp:/u:p@h", "udp:/***@h"),
        ("http:/cam?pwd=S3", "http:/cam?***"),
        ("admin:S3@cam", "admin:***@cam"),
        ("C:\\me@home\\a.mp4", "C:\\me@home\\a.mp4"),
        ("videos/me@home.mp4", "videos/me@home.mp4"),
        ("/srv/tcp/me@home.mp4", "/srv/tcp/me@home.mp4"),
    ],
)
def test_redacted(address, shown):
    assert stream.redact(address) == shown
    assert stream.redact(shown) == shown


@pytest.mark.parametrize(
    "address",
    [
        "rtsp:/admin:S3CRET@cam/x",
        "rtsp:admin:S3CRET@cam",
        "rtsp//admin:S3CRET@c",
        " rtsp://admin:S3CRET@c",
        "udp:/u:S3CRET@h",
        "camera:u:S3CRET@h",
        "me:S3CRET@h",
        "rtsp:/u:S3CRET@h/a.mp4",
        "foo://u:S3CRET@h",
    ],
)
def test_no_mistyped_address_shows_its_password(address):
    said = []
    with pytest.raises(BadInput) as source:
        anonymize_stream(address, "-", squares, log=said.append)
    with pytest.raises(BadInput) as destination:
        anonymize_stream("udp://127.0.0.1:9", address, squares, log=said.append)
    with pytest.raises(BadInput) as both:
        anonymize_stream(address, address, squares, log=said.append)
    said += [repr(failure.value) for failure in (source, destination, both)]
    assert not [text for text in said if "S3CRET" in text]


@pytest.mark.parametrize(
    ("address", "others"),
    [
        ("127.0.0.1:0", False),
        ("localhost:0", False),
        ("0x7f000001:0", False),
        ("0.0.0.0:0/?public", True),
        ("0:0?public", True),
    ],
)
def test_who_may_watch(address, others):
    browser = _sinks.Browser(address, lambda line: None)
    assert browser.open_to_others is others
    browser.start()
    bound = browser.server.socket.getsockname()[0]
    browser.close()
    assert (bound == "0.0.0.0") is others


def test_no_password_is_said_or_kept(pictures, tmp_path, capfd):
    port = free_port()
    secret = f"127.0.0.1:{port}/live?token=geheim3"
    lines = []
    with pytest.raises(Failure, match="gave no picture: connection refused") as failure:
        anonymize_stream(
            f"http://wer:geheim1@{secret}",
            f"rtsp://wer:geheim2@{secret}",
            squares,
            reconnect=1,
            log=lines.append,
        )
    assert len(lines) == 1
    with served(pictures) as source:  # the source works, the receiver does not
        address = source.replace("tcp://", "tcp://wer:geheim1@")
        report, more = every_picture(address, f"rtsp://wer:geheim2@{secret}")
    assert report.status == "partial"
    assert any("does not take the stream" in line for line in more)

    class Quotes(Anonymizer):
        def apply(self, frames):
            raise RuntimeError(address)

    with served(pictures) as source:
        address = source.replace("tcp://", "tcp://wer:geheim1@")
        with pytest.raises(Failure) as quoted:
            every_picture(address, tmp_path / "a.mp4", Quotes(), on_error="stop")
    assert quoted.value.__cause__ is quoted.value.__context__ is None
    everything = [*lines, *more, json.dumps(report.values()), *capfd.readouterr()]
    everything += [str(failure.value), repr(failure.value.__context__), str(quoted.value)]
    assert not [text for text in everything if "geheim" in text]


# -- what may happen to a source


def sender(url, form):
    """A process that sends the secret until it is killed."""
    code = f"""
import sys, time
import av
import numpy as np
blocks = np.random.default_rng(7).integers(30, 220, ({HEIGHT} // 8, {WIDTH} // 8, 1))
picture = np.repeat(np.kron(blocks, np.ones((8, 8, 1))), 3, -1).astype(np.uint8)
while True:
    try:
        options = {{"rtsp_transport": "tcp"}} if sys.argv[2] == "rtsp" else {{}}
        container = av.open(sys.argv[1], "w", format=sys.argv[2], options=options)
        settings = {{"preset": "ultrafast", "tune": "zerolatency", "g": "10", "crf": "10"}}
        stream = container.add_stream("libx264", 20, settings)
        stream.width, stream.height, stream.pix_fmt = {WIDTH}, {HEIGHT}, "yuv420p"
        container.start_encoding()
        break
    except OSError:
        time.sleep(0.2)
number, begin = 0, time.monotonic()
while True:
    frame = av.VideoFrame.from_ndarray(picture + np.uint8(number % 4))
    frame.pts = number
    container.mux(stream.encode(frame))
    number += 1
    time.sleep(max(0, begin + number / 20 - time.monotonic()))
"""
    return subprocess.Popen([sys.executable, "-c", code, url, form], stderr=subprocess.DEVNULL)


def killed(process):
    process.kill()
    process.wait(LONG)


def killed_and_back(running, url, form):
    """A sender, killed, and another one in its place."""
    first = sender(url, form)
    try:
        running.until("160x128")
        time.sleep(1.0)
    finally:
        killed(first)
    gone = running.until("black is sent")
    time.sleep(0.5)
    second = sender(url, form)
    try:
        running.until("is back", after=gone)
        running.until("Pictures again", after=gone)
        time.sleep(1.0)
        return running.finish()
    finally:
        killed(second)


def assert_black_between(images):
    dark = [is_black(image) for image in images]
    first, last = dark.index(True), len(dark) - 1 - dark[::-1].index(True)
    assert not all(dark[:first])
    assert not all(dark[last + 1 :])
    assert_nothing_shows(images)


@pytest.mark.slow
def test_udp_sender_killed_and_started_again(tmp_path):
    url, path = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}", tmp_path / "a.mp4"
    began = time.monotonic()
    report = killed_and_back(Running(url, str(path), stall=1.0), url + "?pkt_size=1316", "mpegts")
    took = time.monotonic() - began
    counts = report.settings["counts"]
    assert report.status == "done"
    assert report.settings["ended"] == "stopped"
    assert counts["reconnects"] >= 1
    assert counts["stalls"] >= 1
    assert counts["black_while_away"] >= 2
    images, times = decoded(path)
    assert len(images) == report.frames + counts["black_while_away"]
    assert_black_between(images)
    # By the clock on the wall: neither faster, nor with pictures piled up behind each other.
    assert 3.0 < times[-1] < took
    assert report.settings["latency_ms"]["median"] < 1000
    assert list(tmp_path.iterdir()) == [path]


RECEIVER = """
import sys, time
import av
import numpy as np
pictures = []
options = {"rtsp_flags": "listen", "listen_timeout": "60"}
with av.open(sys.argv[1], format="rtsp", options=options, timeout=(60, 20)) as container:
    try:
        for frame in container.decode(video=0):
            pictures.append(frame.to_ndarray(format="rgb24"))
            if len(pictures) > 400:
                break
    except av.FFmpegError:
        pass
np.save(sys.argv[2], np.array(pictures))
"""


@pytest.mark.slow
def test_rtsp_in_and_out_over_real_connections(tmp_path):
    into = f"rtsp://127.0.0.1:{free_port()}/in"
    out = f"rtsp://127.0.0.1:{free_port()}/out"
    command = [sys.executable, "-c", RECEIVER, out, str(tmp_path / "got.npy")]
    receiver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        running = Running(into + "?listen", out, stall=1.0)
        report = killed_and_back(running, into, "rtsp")
        receiver.wait(LONG)
    finally:
        killed(receiver)
    assert report.settings["counts"]["reconnects"] >= 1
    assert_black_between(list(np.load(tmp_path / "got.npy")))


@pytest.mark.slow
def test_http_for_a_browser_and_http_as_a_source(tmp_path):
    """The one shows what the other reads: Motion JPEG."""
    coder, path = Coder(), tmp_path / "a.mp4"
    with served((coder.one() for _ in range(10_000)), pace=0.05) as source:
        shows = Running(source, "http://127.0.0.1:0")
        line = shows.lines[shows.until("Shown at")]
        address = re.search(r"http://127\.0\.0\.1:\d+/", line)[0]
        with urllib.request.urlopen(address, timeout=LONG) as page:
            assert b"<img src=/video" in page.read()
        with pytest.raises(urllib.error.HTTPError, match="404") as missing:
            urllib.request.urlopen(address + "etc/passwd", timeout=LONG)
        missing.value.close()
        foreign = urllib.request.Request(address + "video", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(foreign, timeout=LONG)
        refused.value.close()
        reads = Running(address + "video", str(path), lambda x: 255 - x, stall=1.0)
        reads.until("160x128")
        time.sleep(1.0)
        shows.finish()
        reads.until("next attempt")
        report = reads.finish()
    images, _ = decoded(path)
    assert report.frames >= 5
    assert all(abs(likeness(image)) < 0.2 for image in images)


def test_a_file_on_a_web_server_is_played_once_and_in_its_time(pictures, tmp_path):
    (tmp_path / "a.ts").write_bytes(b"".join(pictures))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/a.ts"
        try:
            wrong = url[:-1].replace("http://", "http://wer:geheim@")
            with pytest.raises(BadInput, match="404 Not Found") as failure:
                anonymize_stream(wrong, str(tmp_path / "a.mp4"), squares, log=lambda line: None)
            assert "geheim" not in "".join(traceback.format_exception(failure.value, chain=True))
            assert failure.value.__context__ is None  # FFmpeg's error, which quotes the address
            report = anonymize_stream(url, str(tmp_path / "a.mp4"), squares, log=lambda line: None)
        finally:
            server.shutdown()
            thread.join()
    assert report.settings["ended"] == "source"
    assert report.wall > 2.0  # 45 pictures, 20 a second
    assert report.frames + report.settings["counts"]["dropped"] == 45
    assert_nothing_shows(decoded(tmp_path / "a.mp4")[0])


def test_size_changes_midway(pictures, tmp_path):
    large = Coder(320, 256)
    more = [large.one() for _ in range(15)]
    with served(pictures + more) as source:
        report, lines = every_picture(source, tmp_path / "a.mp4")
    images, _ = decoded(tmp_path / "a.mp4")
    assert (report.width, report.height) == (WIDTH, HEIGHT)
    assert {image.shape for image in images} == {(HEIGHT, WIDTH, 3)}
    assert report.frames >= 55
    assert any("from 160x128 to 320x256" in line for line in lines)
    assert_nothing_shows(images)


def test_damage_is_skipped_and_counted(pictures, tmp_path):
    data = bytearray(b"".join(pictures))
    rng = np.random.default_rng(1)
    for packet in range(60, len(data) // 188 - 40, 25):
        data[packet * 188 : packet * 188 + 188] = rng.bytes(188)
    with served([bytes(data)]) as source:
        report, _ = every_picture(source, tmp_path / "a.mp4")
    counts = report.settings["counts"]
    assert counts["damaged"] >= 1
    assert 10 <= report.frames < 45
    assert_nothing_shows(decoded(tmp_path / "a.mp4")[0])


def test_another_connection_goes_on_where_the_first_ended(pictures, tmp_path):
    with served(pictures, pictures) as source:
        report, lines = every_picture(source, tmp_path / "a.mp4", reconnect=1, stall=30)
    _, times = decoded(tmp_path / "a.mp4")
    assert report.frames == 90
    assert report.settings["counts"]["reconnects"] == 1
    np.testing.assert_allclose(np.diff(times), 0.05, atol=1e-3)
    assert report.status == "partial"  # the third attempt met nobody
    assert any("was lost: connection refused" in w or "was lost" in w for w in report.warnings)


def test_sound_is_not_carried_and_that_is_said(tmp_path):
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        picture = container.add_stream("libx264", 20, {"tune": "zerolatency"})
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", 48000)
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(texture())
            frame.pts = number
            container.mux(picture.encode(frame))
        for number in range(40):
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
            silence.sample_rate, silence.pts = 48000, 1024 * number
            container.mux(sound.encode(silence))
        container.mux([*picture.encode(), *sound.encode()])
    with served([file.getvalue()]) as source:
        report, lines = every_picture(source, tmp_path / "a.mp4")
    assert report.sound == "dropped"
    assert any("its sound is not carried" in line for line in lines)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert not container.streams.audio


def test_what_is_no_video(tmp_path):
    with served([b"hello, " * 1000]) as source, pytest.raises(BadInput, match="cannot be read"):
        every_picture(source, tmp_path / "a.mp4")
    playlist = b"ffconcat version 1.0\nfile /etc/passwd\n"
    with served([playlist]) as source, pytest.raises(BadInput, match="cannot be read"):
        every_picture(source, tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


# -- what may happen to a receiver


@pytest.mark.slow
def test_a_tcp_receiver_goes_and_comes_back(tmp_path):
    coder = Coder()
    with served((coder.one() for _ in range(10_000)), pace=0.05) as source:
        port = free_port()
        running = Running(source, f"tcp://127.0.0.1:{port}")
        running.until("does not take the stream")
        got = []
        for _ in range(2):
            with socket.create_server(("127.0.0.1", port)) as server:
                server.settimeout(LONG)
                receiver, _ = server.accept()
            with receiver:
                data = b""
                while data.count(b"\x00\x00\x01\xe0") < 10:  # that many pictures have begun
                    data += receiver.recv(65536)
            got.append(data)
        report = running.finish()
    assert report.settings["counts"]["unsent"] > 0
    for data in got:
        with av.open(io.BytesIO(data), format="mpegts") as container:
            images = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert len(images) > 3
        assert_nothing_shows(images)


def test_a_receiver_may_call(pictures):
    then = threading.Event()
    with served(pictures, then=then, pace=0.05) as source:
        port = free_port()
        running = Running(source, f"tcp://127.0.0.1:{port}?listen")
        running.until("waiting for a receiver")
        data = b""
        with socket.create_connection(("127.0.0.1", port), LONG) as receiver:
            while data.count(b"\x00\x00\x01\xe0") < 10:
                data += receiver.recv(65536)
        then.set()
        running.finish()
    with av.open(io.BytesIO(data), format="mpegts") as container:
        assert_nothing_shows([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def test_udp_is_received(pictures):
    then = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(LONG)
        with served(pictures, then=then) as source:
            running = Running(source, f"udp://127.0.0.1:{receiver.getsockname()[1]}", live=False)
            data = b""
            while data.count(b"\x00\x00\x01\xe0") < 40:
                data += receiver.recv(65536)
            then.set()
            running.finish()
    with av.open(io.BytesIO(data), format="mpegts") as container:
        images = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(images) >= 38
    assert_nothing_shows(images)


# -- pipes and signals, with real processes

DRIVER = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
import numpy as np
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.stream import anonymize_stream
class Squares(Anonymizer):
    name = "squares"
    def apply(self, frames):
        print("this is no picture")
        out = np.zeros_like(frames)
        out[:, (np.arange(frames.shape[1]) // 16 % 2).astype(bool)] = 200
        return out
try:
    report = anonymize_stream(sys.argv[1], sys.argv[2], Squares(), **json.loads(sys.argv[3]))
except Exception as error:
    sys.exit(str(error))
print(json.dumps(report.values()), file=sys.stderr)
"""


def driver(source, destination, **options):
    return [sys.executable, "-c", DRIVER, source, destination, json.dumps(options)]


def result(stderr):
    lines = stderr.decode().splitlines()
    return json.loads(next(line for line in lines if line.startswith("{")))


def test_y4m_through_a_pipe():
    head = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 Ip A1:1 C420mpeg2\n".encode()
    frame = av.VideoFrame.from_ndarray(texture()).reformat(format="yuv420p").to_ndarray()
    given = head + 30 * (b"FRAME\n" + frame.tobytes())
    run = subprocess.run(
        driver("-", "-", container="y4m"), input=given, capture_output=True, timeout=LONG
    )
    assert run.returncode == 0, run.stderr.decode()
    line, rest = run.stdout.split(b"\n", 1)
    assert line.split()[:4] == [b"YUV4MPEG2", b"W160", b"H128", b"F25:1"]
    assert len(rest) == 30 * (6 + frame.size)  # pictures and nothing else
    with av.open(io.BytesIO(run.stdout), format="yuv4mpegpipe") as container:
        images = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(images) == 30
    assert_nothing_shows(images)
    assert not any(map(is_black, images))
    assert b"this is no picture" in run.stderr
    assert result(run.stderr)["settings"]["ended"] == "source"


def test_transport_stream_through_a_pipe(pictures):
    run = subprocess.run(
        driver("-", "-"), input=b"".join(pictures), capture_output=True, timeout=LONG
    )
    assert run.returncode == 0, run.stderr.decode()
    assert len(run.stdout) % 188 == 0
    assert set(run.stdout[::188]) == {0x47}
    with av.open(io.BytesIO(run.stdout), format="mpegts") as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 45
    np.testing.assert_allclose(np.diff([f.time for f in frames]), 0.05, atol=1e-3)
    assert_nothing_shows([f.to_ndarray(format="rgb24") for f in frames])


@pytest.mark.parametrize(
    ("given", "says"),
    [(b"", b"ended before its first byte"), (b"RIFF" * 500, b"neither YUV4MPEG2 nor MPEG-TS")],
)
def test_stdin_that_is_no_stream(given, says):
    run = subprocess.run(driver("-", "-"), input=given, capture_output=True, timeout=LONG)
    assert run.returncode == 1
    assert run.stdout == b""
    assert says in run.stderr


def test_nothing_comes_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(_sources, "OPEN", 1.0)  # the reader is left to FFmpeg for so long
    source = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    with pytest.raises(Failure, match="No picture came from udp://.* within 0.3 s"):
        anonymize_stream(source, str(tmp_path / "a.mp4"), squares, duration=0.3)
    assert list(tmp_path.iterdir()) == []


def test_the_reader_of_stdout_leaves(pictures):
    then = threading.Event()
    coder = Coder()
    with served((coder.one() for _ in range(10_000)), pace=0.01, then=then) as source:
        with subprocess.Popen(
            driver(source, "-"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert len(process.stdout.read(1000)) == 1000
            process.stdout.close()
            said = process.stderr.read()
            assert process.wait(LONG) == 0
    assert b"The reader of stdout has gone" in said
    assert result(said)["settings"]["ended"] == "receiver"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_recording_is_finished_when_it_is_stopped(tmp_path, number):
    coder, path = Coder(), tmp_path / "a.mp4"
    with served((coder.one() for _ in range(10_000)), pace=0.05) as source:
        with subprocess.Popen(driver(source, str(path)), stderr=subprocess.PIPE) as process:
            assert b"160x128" in process.stderr.readline()
            while process.poll() is None:  # until it has begun
                if list(tmp_path.iterdir()):
                    break
                time.sleep(0.05)
            time.sleep(1.0)
            process.send_signal(number)
            said = process.stderr.read()
            assert process.wait(LONG) == 0, said.decode()
    report = result(said)
    assert report["settings"]["ended"] == (
        "interrupted" if number == signal.SIGINT else "terminated"
    )
    images, _ = decoded(path)
    assert len(images) == report["frames"] > 0
    assert_nothing_shows(images)
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_while_the_source_says_nothing(tmp_path):
    """It has answered the call, and is silent: FFmpeg waits inside its own code."""
    with served([], then=threading.Event()) as source:
        process = subprocess.Popen(
            driver(source, str(tmp_path / "a.mp4"), stall=60.0), stderr=subprocess.PIPE
        )
        with process:
            time.sleep(2.0)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
            assert process.wait(LONG) == 0, said.decode()
            assert time.monotonic() - began < 9  # FFmpeg's own wait would be 10
    assert result(said)["settings"]["ended"] == "interrupted"


SECOND = """
import signal
from velatura.deploy import stream
ends = []
with stream._signals(ends.append):
    signal.raise_signal(signal.SIGTERM)
    print(ends, flush=True)
    try:
        signal.raise_signal(signal.SIGTERM)
    except SystemExit as end:
        print(end.code)
print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""


def test_a_second_signal_breaks_off():
    """In a process of its own: libraries that others have loaded here set handlers too."""
    done = subprocess.run(
        [sys.executable, "-c", SECOND], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["['terminated']", "143", "True"], done.stderr


HANGUPS = """
import signal
from velatura.deploy import stream
ends = []
signal.signal(signal.SIGHUP, signal.SIG_DFL)
with stream._signals(ends.append):
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)
print(ends, signal.getsignal(signal.SIGHUP) == signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
with stream._signals(ends.append):
    signal.raise_signal(signal.SIGHUP)
print(ends)
"""


def test_a_second_hangup_breaks_nothing_off_and_nohup_is_left_alone():
    """A closed terminal sends several while the recording is being finished."""
    done = subprocess.run(
        [sys.executable, "-c", HANGUPS], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["['terminated'] True", "['terminated']"], done.stderr
