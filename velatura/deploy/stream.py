"""A stream is anonymized while it comes: cameras, RTSP, HTTP, UDP, TCP and pipes.

    reader -> newest pictures -> anonymizer -> newest answers -> writer -> sink

Three threads and two short queues, from which the oldest picture is dropped where something
behind them is too slow. The writer alone speaks to the sink. It has the anonymizer's answers,
and black: where the anonymizer failed, and where no picture came for a while, whatever the
reason. It never sees what came in, so that no error of anybody's can let that through.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from fractions import Fraction
from types import FrameType
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from velatura.deploy import pipeline
from velatura.deploy._sinks import Backoff, Gone, Recording, Shape, Sink, sink_of
from velatura.deploy._sources import (
    OPEN,
    TIMELESS,
    Clock,
    Even,
    Source,
    hide,
    is_stream,
    redact,
    source_of,
)
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.file import as_anonymizer
from velatura.deploy.record import Report
from velatura.errors import BadInput, Failure, VelaturaError
from velatura.video.probe import display_matrix
from velatura.video.read import Frame, upright

__all__ = ["anonymize_stream", "is_stream", "redact"]

WAITING = 48 * 2**20  # bytes of pictures that may wait for the anonymizer
LATE = 64  # pictures that an anonymizer may take in before it answers the first
GRACE = 1.5  # seconds that the threads get to end in; behind that they are left behind
QUIET = 10.0  # seconds between two lines that say the same


def _to_stderr(line: str) -> None:
    with suppress(OSError, ValueError):  # a stream does not end because nobody reads its log
        print(line, file=sys.stderr, flush=True)


def anonymize_stream(
    source: str,
    destination: str,
    anonymizer: Anonymizer | Callable[[np.ndarray], np.ndarray] | str = "default",
    *,
    on_error: Literal["black", "stop"] = "black",
    latency: float = 1.0,
    reconnect: int | None = None,
    stall: float = 5.0,
    duration: float | None = None,
    live: bool | None = None,
    container: Literal["mpegts", "y4m"] = "mpegts",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    log: Callable[[str], None] = _to_stderr,
    stop: threading.Event | None = None,
) -> Report:
    """Anonymize a stream until it ends, its receiver leaves, or somebody stops it.

    Ctrl-C, SIGTERM and SIGHUP stop it in good order, where this is the main thread and the caller
    has no handlers of his own. Sound is not carried.

    Args:
        source: ``camera:0``, ``/dev/video0``, ``rtsp://``, ``http(s)://``, ``udp://``, ``rtp://``,
            ``tcp://``, or ``-``: stdin, as YUV4MPEG2 or MPEG-TS.
        destination: ``-`` (stdout), ``udp://``, ``tcp://``, ``rtsp://``, ``rtp://``, a recording
            named ``*.mp4``, or ``http://127.0.0.1:PORT`` to show it to a browser.
        anonymizer: as for ``anonymize_video``.
        on_error: ``"black"`` shows black where the anonymizer fails; ``"stop"`` ends.
        latency: seconds that a picture may take from its arrival until it is sent. Older ones
            are dropped for newer ones.
        reconnect: attempts in a row before a lost source (or receiver) is given up; None is any
            number. The wait between two is 0.5 s, and doubles up to 30 s.
        stall: seconds without a new picture after which black is sent.
        duration: seconds from this call after which it ends.
        live: False processes every picture and lets the source wait, instead of dropping; None
            is False for stdin and True for all others.
        container: of what is written to stdout.
        overwrite: replace an existing recording, when done.
        progress: called with (pictures sent, 0) after each.
        log: called with one line on each thing that happens; no line holds a password.
        stop: set it from another thread to end the stream.

    Returns:
        A report. ``settings["ended"]`` says why it ended: ``"source"``, ``"receiver"``,
        ``"duration"``, ``"interrupted"``, ``"terminated"`` or ``"stopped"``; ``"counts"`` and
        ``"latency_ms"`` beside it are what was measured. Its status is ``"partial"`` where the
        source or the receiver was lost, or nothing was sent.

    Raises:
        BadInput: a source or destination that cannot be used.
        Failure: the source was given up, or ``duration`` was over, before its first picture; the
            anonymizer failed and ``on_error`` is ``"stop"``; the disk is full.
    """
    for name, value in (("latency", latency), ("stall", stall), ("duration", duration)):
        if value is not None and not 0 < value:
            raise BadInput(f"{name} must be more than 0 seconds, got {value}.")
    if reconnect is not None and reconnect < 0:
        raise BadInput(f"reconnect must be 0 or more attempts, got {reconnect}.")
    if on_error not in ("black", "stop"):
        raise BadInput(f"on_error must be 'black' or 'stop', got {on_error!r}.")
    if source == destination and source != "-":
        raise BadInput(f"{redact(source)} cannot be both source and destination.")
    secrets = (source, destination)
    stopping = stop or threading.Event()
    quiet = _without(log, secrets)
    try:
        come_from = source_of(source)
        sink = sink_of(
            destination,
            container=container,
            overwrite=overwrite,
            attempts=reconnect,
            stop=stopping,
            log=quiet,
        )
        run = _Run(
            come_from,
            sink,
            as_anonymizer(anonymizer),
            on_error=on_error,
            latency=latency,
            reconnect=reconnect,
            stall=stall,
            live=(come_from.kind != "stdin") if live is None else live,
            progress=progress,
            log=quiet,
            stop=stopping,
        )
        began, clock = datetime.now(UTC), time.monotonic()
        with _signals(run.end):
            run.go(duration)
    except VelaturaError as error:
        text = hide(str(error), secrets)
        said: VelaturaError = error if text == str(error) else type(error)(text)
        behind: BaseException | None = said
        while behind is not None:
            if hide(str(behind), secrets) != str(behind):  # FFmpeg's errors quote the address
                said.__cause__ = said.__context__ = None
                break
            behind = behind.__cause__ or behind.__context__
    else:
        report = run.report()
        report.source, report.destination = redact(source), redact(destination)
        if isinstance(sink, Recording):
            report.destination = destination  # the name of a file, which holds no password
        report.began = began.isoformat(timespec="seconds")
        report.wall = round(time.monotonic() - clock, 3)
        report.settings = {
            "on_error": on_error,
            "latency": latency,
            "reconnect": reconnect,
            "stall": stall,
            "duration": duration,
            "live": run.live,
            "container": container if destination == "-" else "",
            **report.settings,
        }
        return report
    raise said


def _without(log: Callable[[str], None], secrets: tuple[str, ...]) -> Callable[[str], None]:
    def say(line: str) -> None:
        log(hide(line, secrets))

    return say


class _Picture(NamedTuple):
    """A picture on its way.

    Attributes:
        image: (h, w, 3) uint8 RGB at the anonymizer's work size.
        when: seconds on the clock of the stream.
        came: seconds of the monotonic clock, when it was decoded.
        index: number of the picture.
        scene: number of the connection, or of the size within it.
        taken: when the anonymizer got it, by the monotonic clock.
        failed: True where it is black because the anonymizer failed.
    """

    image: np.ndarray
    when: float
    came: float
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    scene: int = 0
    taken: float = 0.0
    failed: bool = False


NOTHING = np.zeros((0, 0, 3), np.uint8)
MICROSECOND = Fraction(1, 10**6)

T = TypeVar("T")


class _Queue(Generic[T]):
    """A short queue between two threads, which forgets what is oldest, or lets the giver wait.

    Args:
        most: how many wait in it.
        waits: whether the giver waits instead.
        stop: ends all waiting.
    """

    def __init__(self, most: int, waits: bool, stop: threading.Event):
        self.most, self.waits, self.stop = most, waits, stop
        self.items: deque[T] = deque()
        self.change = threading.Condition()
        self.dropped = 0
        self.ended = False

    def put(self, item: T) -> None:
        with self.change:
            while self.waits and len(self.items) >= self.most and not self.stop.is_set():
                self.change.wait(0.1)
            while len(self.items) >= self.most:
                self.items.popleft()
                self.dropped += 1
            self.items.append(item)
            self.change.notify_all()

    def take(self, timeout: float, old: Callable[[T], bool] | None = None) -> T | None:
        """The oldest that is not too old, though always the last one; None where none comes.

        Raises:
            _Ended: and none will.
        """
        until = time.monotonic() + timeout
        with self.change:
            while not self.items:
                rest = until - time.monotonic()
                if self.ended or self.stop.is_set():
                    raise _Ended
                if rest <= 0:
                    return None
                self.change.wait(min(rest, 0.1))
            if self.stop.is_set():
                raise _Ended
            while old is not None and len(self.items) > 1 and old(self.items[0]):
                self.items.popleft()
                self.dropped += 1
            item = self.items.popleft()
            self.change.notify_all()
            return item

    def forget(self) -> None:
        """Drop all that waits."""
        with self.change:
            self.dropped += len(self.items)
            self.items.clear()

    def end(self) -> None:
        with self.change:
            self.ended = True
            self.change.notify_all()


class _Ended(Exception):
    """There will be no more pictures."""


class _Lost(Exception):
    """The source has gone, for now; the message says how it shows."""


class _Run:
    """One stream from its beginning to its end."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        anonymizer: Anonymizer,
        *,
        on_error: Literal["black", "stop"],
        latency: float,
        reconnect: int | None,
        stall: float,
        live: bool,
        progress: Callable[[int, int], None] | None,
        log: Callable[[str], None],
        stop: threading.Event,
    ):
        self.source, self.sink, self.anonymizer = source, sink, anonymizer
        self.on_error, self.latency, self.stall, self.live = on_error, latency, stall, live
        self.progress, self.log, self.stop = progress, log, stop
        self.backoff = Backoff(reconnect, 0.5 if source.passive else 30.0)
        self.raw: _Queue[_Picture] = _Queue(2, not live, stop)
        self.ready: _Queue[_Picture] = _Queue(2 if live else 8, not live, stop)
        self.silence = max(stall, 0.5)  # seconds after which the source is asked again
        self.shape: Shape | None = None
        self.small = (0, 0)
        self.size: tuple[int, ...] = ()
        self.period = 1 / 25  # seconds from picture to picture, about
        self.work = 0.0  # seconds from the anonymizer's taking of a picture to its sending
        self.has_sound = False
        self.faults: list[BaseException] = []
        self.done = threading.Event()
        self.why = ""
        self.warnings: list[str] = []
        self.read = self.frames = self.black = self.away = self.scene = 0
        self.damaged = self.reconnects = self.stalls = self.expired = self.stale = self.unsent = 0
        self.delays = np.zeros(60_001, np.int64)  # how many pictures took so many milliseconds
        self.seconds = 0.0
        self.lost_for_good = self.finite = self.opened = self.sink_broke = False
        self.reason = ""
        self.since = self.previous = self.next_black = 0.0
        self.said: dict[str, float] = {}

    # -- the caller's thread

    def end(self, why: str) -> None:
        self.why = self.why or why
        self.stop.set()

    def go(self, duration: float | None) -> None:
        """Run to the end.

        Raises:
            BadInput, Failure: as ``anonymize_stream``.
        """
        until = None if duration is None else time.monotonic() + duration
        self.sink.start()
        jobs = (self._read, self._anonymize, self._write)
        threads = [threading.Thread(target=self._guarded, args=(j,), daemon=True) for j in jobs]
        for thread in threads:
            thread.start()
        try:
            while not self.done.wait(0.05) and not self.stop.is_set():
                if until is not None and time.monotonic() >= until:
                    self.end("duration")
        finally:
            self.end("stopped")
            # A thread may hang in a driver or in the network. Being daemons, they are left; the
            # reader soon, since nothing that it still does matters.
            grace = time.monotonic() + GRACE
            for thread in reversed(threads[1:]):
                thread.join(max(0.0, grace - time.monotonic()))
            threads[0].join(0.2)
            while self.sink.lasting and threads[-1].is_alive():
                threads[-1].join(0.1)
        if self.faults:
            raise self.faults[0]
        if not self.read and self.why == "duration":
            raise Failure(f"No picture came from {self.source.name} within {duration:g} s.")

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except _Ended:
            pass
        except BaseException as error:
            self._fault(error)

    def _fault(self, error: BaseException) -> None:
        if not isinstance(error, VelaturaError):
            error = Failure(f"The stream broke: {type(error).__name__}: {str(error)[:200]}.")
        self.faults.append(error)
        self.end("error")
        self.done.set()

    def _say_seldom(self, kind: str, line: str) -> None:
        now = time.monotonic()
        if now - self.said.get(kind, -QUIET) >= QUIET:
            self.said[kind] = now
            self.log(line)

    # -- the reader's thread

    def _read(self) -> None:
        """Open the source, again and again where it is lost, and put its pictures in."""
        try:
            while not self.stop.is_set():
                clean = self.opened = False
                try:
                    with self.source.open(self.silence, self.stop) as container:
                        self._pump(container)
                    reason = "it ended"
                    clean = True
                except _Lost as lost:
                    reason = str(lost)
                except BadInput as error:  # a camera that was unplugged comes back
                    if not self.read:
                        raise
                    reason = str(error)
                except (av.FFmpegError, OSError, ValueError) as error:
                    reason = _reason(error, self.silence if self.opened else OPEN)
                    fatal = isinstance(error, FATAL) and not self.source.passive
                    if not self.read and fatal:
                        raise BadInput(f"{self.source.name} cannot be read: {reason}.") from None
                if self.stop.is_set():
                    return
                # A file, or stdin, would begin again, or not at all.
                over = self.source.once or (self.finite and self.read > 0)
                wait = None if over else self.backoff.wait()
                if wait is None:
                    if not self.read:
                        raise Failure(f"{self.source.name} gave no picture: {reason}.")
                    self.log(f"{self.source.name}: {reason}.")
                    if not clean or (self.backoff.attempts and not over):
                        self.lost_for_good = True
                        self.warnings.append(f"{self.source.name} was lost: {reason}.")
                    self.why = self.why or "source"
                    return
                self.log(f"{self.source.name}: {reason}; next attempt in {wait:g} s.")
                self.stop.wait(wait)
        finally:
            self.raw.end()

    def _pump(self, container: InputContainer) -> None:
        """Pictures of one connection, until it ends."""
        self.opened = True
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise _Lost("there is no video in it")
        if stream.codec_context is None:
            raise _Lost("its video is of a kind that FFmpeg cannot decode")
        # Threads that each decode a picture would hold as many pictures back.
        stream.thread_type = "SLICE"  # type: ignore[assignment]  # PyAV's annotation
        guess = stream.average_rate or stream.guessed_rate
        timeless = container.format.name in TIMELESS
        if guess and 1 <= guess <= 240 and not timeless:
            self.period = 1 / float(guess)
        # The length of what a web server gives is known where it is a file.
        self.finite = self.source.kind in ("http", "https") and container.size > 0
        clock, even = Clock(), Even()
        scaler = VideoReformatter()
        first, last = True, time.monotonic()
        asked, stale = last, 0.0  # when it was asked for more; until when what comes is old
        for packet in container.demux():
            if self.stop.is_set():
                return
            if time.monotonic() - last > max(2 * self.stall, 1.0):
                raise _Lost(f"nothing in it could be shown for {2 * self.stall:g} s")
            # When FFmpeg gives up waiting, it first hands over what it held back: the last pictures
            # from before the silence. They are decoded, and not shown.
            now = time.monotonic()
            if self.live and not first and now - asked > 0.9 * self.silence:
                stale = now + 0.2
            asked = now
            if packet.stream is not stream:
                continue
            if packet.is_corrupt:
                self.damaged += 1
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                assert isinstance(frame, av.VideoFrame)
                if frame.is_corrupt:
                    self.damaged += 1
                    continue
                if time.monotonic() < stale:
                    self.read, self.stale = self.read + 1, self.stale + 1
                    continue
                last = came = time.monotonic()
                if first:
                    self._connected(container, stream, frame)
                    self.scene += 1
                    first = False
                size = frame.width, frame.height
                if size != self.size:
                    self.scene += 1
                    if self.size:
                        self.log(
                            f"{self.source.name} changed its size from {_by(self.size)} to "
                            f"{_by(size)}; it is scaled to the first one."
                        )
                    self.size = size
                pts = None if frame.pts is None or timeless else float(frame.time or 0)
                if not self.live:
                    when = even.when(pts, 0.0, self.period)
                elif self.finite:
                    when, came = self._in_time(even, pts, came)
                else:
                    when, behind = clock.when(pts, came)
                    if behind:
                        self.raw.forget()
                    self._measure(when)
                image = upright(frame, self.small, scaler)
                self.raw.put(_Picture(image, when, came, self.read, self.scene))
                self.read += 1
                last = time.monotonic()
            asked = time.monotonic()

    def _connected(
        self, container: InputContainer, stream: VideoStream, frame: av.VideoFrame
    ) -> None:
        """The first picture of a connection has come."""
        self.backoff.reset()
        if self.shape is not None:
            self.reconnects += 1
            self.log(f"{self.source.name} is back.")
            return
        turned = display_matrix(frame)[0] == 0
        height, width = frame.height, frame.width
        aspect = stream.sample_aspect_ratio or Fraction(1)
        if turned:
            height, width, aspect = width, height, 1 / aspect
        self.small = self.anonymizer.work_size(height, width)
        most = WAITING // (3 * self.small[0] * self.small[1])
        self.raw.most = max(2, min(128, most)) if self.live else 8
        self.has_sound = bool(container.streams.audio)
        self.log(
            f"{self.source.name}: {width}x{height}, about {1 / self.period:.3g} pictures/s"
            + ("; its sound is not carried." if self.has_sound else ".")
        )
        self.since = time.monotonic()
        rate = 1 / self.period
        # Last, since the writer begins when it is there.
        self.shape = Shape(width, height, rate, aspect, self.anonymizer.enlarge)

    def _in_time(self, even: Even, pts: float | None, came: float) -> tuple[float, float]:
        """Wait until a picture of a file on a web server would come, were it a camera."""
        when = even.when(pts, came, self.period)
        if came - when > 1:  # the network was slower than that
            even.catch_up(came - when)
            return came, came
        self.stop.wait(max(0.0, when - came))
        return when, time.monotonic()

    def _measure(self, when: float) -> None:
        gap = when - self.previous
        self.previous = when
        if 0 < gap < 2:
            # One long gap says little about the others.
            self.period += 0.05 * (min(gap, 4 * self.period) - self.period)

    # -- the anonymizer's thread

    def _anonymize(self) -> None:
        """Answer every picture that is taken, in order: the anonymizer's answer, or black."""
        pending: deque[Frame] = deque()  # what it was shown and has not answered
        facts: deque[_Picture] = deque()  # as many, without their images
        held: _Picture | None = None  # the first behind a gap

        def old(picture: _Picture) -> bool:
            return time.monotonic() - picture.came + self.work > self.latency

        def next_one() -> _Picture:
            nonlocal held
            picture, held = held, None
            while picture is None:
                picture = self.raw.take(1.0, old if self.live else None)
            return picture

        def shown(picture: _Picture) -> None:
            pending.append(Frame(picture.image, 0, MICROSECOND, picture.index))
            facts.append(picture._replace(image=NOTHING, taken=time.monotonic()))

        def apart(one: _Picture, other: _Picture) -> bool:
            """Whether what changed from one picture to the other is no motion."""
            return one.scene != other.scene or other.when - one.when > self.stall

        ended = begins = False

        def batches() -> Iterator[np.ndarray]:
            nonlocal ended, begins, held
            before: _Picture | None = None
            while True:
                try:
                    picture = next_one()
                except _Ended:
                    ended = True
                    return
                if self.anonymizer.moves and before is not None and apart(before, picture):
                    held, begins = picture, True
                    return
                before = picture._replace(image=NOTHING)
                shown(picture)
                if len(pending) > LATE:
                    raise Failure(f"The anonymizer answers more than {LATE} pictures late.")
                # A copy, so that work done in place cannot pass for the original.
                yield picture.image[None].copy()

        try:
            while not ended:
                begins = False  # behind a gap
                try:
                    for given in self.anonymizer.process(batches()):
                        # A copy before it is looked at: an anonymizer may use its memory again,
                        # for the next picture that comes in.
                        answer = given.copy() if isinstance(given, np.ndarray) else given
                        for image in pipeline.checked(self.anonymizer, answer, pending):
                            pending.popleft()
                            self.ready.put(facts.popleft()._replace(image=image))
                    if self.stop.is_set():
                        return
                    if pending:
                        raise Failure(f"The anonymizer answered {len(pending)} frames too few.")
                    if not (ended or begins):
                        raise Failure("The anonymizer stopped before the end of the stream.")
                except _Ended:
                    return
                except Exception as error:
                    failure = pipeline.failure_of(error)
                    if self.on_error == "stop":
                        # What was answered before is still sent; then the writer ends it all.
                        failure.__cause__ = None if failure is error else error
                        self.faults.append(failure)
                        self.why = self.why or "error"
                        return
                    self.reason = self.reason or str(failure)
                    self._say_seldom("failed", f"{failure} Black is sent for it.")
                    if not pending and not ended:
                        shown(next_one())  # so that failing on nothing is no endless loop
                    while pending:
                        black = np.zeros_like(pending.popleft().image)
                        self.ready.put(facts.popleft()._replace(image=black, failed=True))
        finally:
            self.ready.end()

    # -- the writer's thread

    def _write(self) -> None:
        """Send what the anonymizer answered, and black where that stays away."""
        broke: BaseException | None = None
        try:
            self._send_all()
        except _Ended:
            pass
        except Gone as gone:
            self.why = self.why or "receiver"
            self.warnings.append(str(gone))
            self.log(str(gone))
        except BaseException as error:
            broke = error if self.sink_broke else None
            raise
        finally:
            self.stop.set()
            try:
                self.sink.close(broke)
            finally:
                self.done.set()

    def _send(self, picture: np.ndarray, at: float, shape: Shape) -> bool:
        try:
            return self.sink.write(picture, at, shape)
        except BaseException:
            self.sink_broke = True
            raise

    def _send_all(self) -> None:
        while (shape := self.shape) is None:
            over = self.ready.ended  # looked at first: a shape that is not there then never comes
            if self.stop.wait(0.02) or (over and self.shape is None):
                raise _Ended
        black = np.zeros((*self.small, 3), np.uint8)
        start: float | None = None
        at, shift = 0.0, 0.0
        shown, dark = self.since, 0.0  # when the last picture was sent; since when it is black
        oldest = max(self.latency, self.stall)
        while True:
            now = time.monotonic()
            due = (self.next_black if dark else shown + self.stall) - now
            picture = self.ready.take(max(0.0, min(due, 0.2)))
            now = time.monotonic()
            if picture is None:
                if due > 0.2:
                    continue
                if not dark:
                    dark = shown
                    self.stalls += 1
                    self.next_black = now
                    self.log(f"No picture for {self.stall:g} s; black is sent.")
                start = now if start is None else start
                at = max(now - start, at + 0.001) if self.live else at + self.period
                self.away += self._send(black, at, shape)
                self.next_black = max(self.next_black + self.period, now)
                continue
            if self.live and now - picture.came > oldest:
                self.expired += 1
                continue
            if start is None:
                start, at = picture.when, -1.0
            time_of_it = picture.when - start + shift
            if time_of_it <= at:
                if not self.live:
                    shift += at + self.period - time_of_it
                time_of_it = at + (0.001 if self.live else self.period)
            at = time_of_it
            if dark:
                self.log(f"Pictures again, after {now - dark:.1f} s.")
                dark = 0.0
            if self._send(picture.image, at, shape):
                self.frames += 1
                self.black += picture.failed
                sent = time.monotonic()
                self.delays[min(60_000, round(1000 * (sent - picture.came)))] += 1
                took = sent - picture.taken
                self.work = max(took, self.work + 0.1 * (took - self.work))
                if self.progress is not None:
                    self.progress(self.frames, 0)
            else:
                self.unsent += 1
            self.seconds = at
            shown = time.monotonic()

    # -- afterwards

    def report(self) -> Report:
        """What was done; without what only the caller knows."""
        report = Report(source="", destination="", kind="stream")
        report.anonymizer = self.anonymizer.describe()
        report.frames, report.black = self.frames, self.black
        if self.shape is not None:
            report.width, report.height = self.shape.width, self.shape.height
        report.seconds = round(self.seconds, 3)
        report.sound = "dropped" if self.has_sound else "none"
        counts = {
            "received": self.read,
            "dropped": self.raw.dropped + self.ready.dropped + self.expired + self.stale,
            "damaged": self.damaged,
            "reconnects": self.reconnects,
            "stalls": self.stalls,
            "black_while_away": self.away,
            "unsent": self.unsent,
        }
        latency = {"median": self._delay(0.5), "95%": self._delay(0.95)}
        report.settings = {"ended": self.why, "counts": counts, "latency_ms": latency}
        report.warnings = list(self.warnings)
        if self.black:
            report.warnings.append(f"{self.black} frames are black: {self.reason}")
        if counts["dropped"]:
            report.warnings.append(f"{counts['dropped']} pictures were dropped to keep up.")
        if self.sink.lost:
            report.warnings.append("The receiver was away when it ended.")
        if not self.frames:
            report.warnings.append("No picture was sent.")
        if self.lost_for_good or self.sink.lost or not self.frames:
            report.status = "partial"
        return report

    def _delay(self, share: float) -> int | None:
        """Milliseconds within which a share of the pictures was sent; None where none was."""
        total = np.cumsum(self.delays)
        return int(np.searchsorted(total, share * total[-1])) if total[-1] else None


# What will not be better the next time; on the first attempt it ends the matter.
FATAL = (
    av.error.HTTPClientError,
    av.error.ProtocolNotFoundError,
    av.error.DemuxerNotFoundError,
    av.error.InvalidDataError,
    av.error.ArgumentError,
    PermissionError,
)


def _reason(error: Exception, silence: float) -> str:
    """Why a source could not be read; never the library's own words, which name the address."""
    if isinstance(error, av.error.ExitError):
        return f"nothing came for {silence:g} s"
    if isinstance(error, av.error.HTTPUnauthorizedError):
        return "it wants another user or password"
    if isinstance(error, av.error.InvalidDataError | av.error.ArgumentError):
        return "what comes is no video of a kind that is taken, such as MPEG-TS or Motion JPEG"
    text = getattr(error, "strerror", None) or type(error).__name__
    return text[:1].lower() + text[1:]


def _by(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


@contextmanager
def _signals(end: Callable[[str], None]) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end a stream in good order; a second one breaks off.

    A second SIGHUP does not: a terminal that is closed sends several, and nobody is there to have
    meant it. Handlers of the caller's are left alone, ``nohup`` among them, and so are threads,
    which cannot set one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    words = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
    usual: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is not None:
        words[hangup], usual[hangup] = "terminated", signal.SIG_DFL
    seen = False

    def stop(number: int, where: FrameType | None) -> None:
        nonlocal seen
        if seen and number == hangup:
            return
        if seen:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        seen = True
        end(words[signal.Signals(number)])

    ours = [number for number in words if signal.getsignal(number) == usual[number]]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, usual[number])
