"""Where an anonymized stream goes: stdout, the network, a browser, a recording.

A sink is shown anonymized or black pictures and nothing else; no code here has ever held another.
FFmpeg's own output to the network cannot be interrupted, so what can be is sent from here: it
makes bytes, and a socket with a time limit carries them.
"""

from __future__ import annotations

import http.server
import ipaddress
import os
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace

from velatura.deploy._sources import MISTYPED, address, redact
from velatura.errors import BadInput
from velatura.video.resize import HOW
from velatura.video.write import SUFFIXES, VideoWriter

__all__ = ["Backoff", "Gone", "Shape", "Sink", "sink_of"]

TICKS = 90000  # per second; the clock of MPEG-TS and RTP
KEY = 1.0  # seconds between pictures that a viewer can begin with
DATAGRAM = 7 * 188  # bytes of MPEG-TS that fit into one Ethernet frame
SLOW = 10.0  # seconds without progress after which a receiver counts as gone
VIEWERS = 8  # browsers at once

Container = Literal["mpegts", "y4m"]


class Gone(Exception):
    """The receiver has left, and will not come back; the message is a sentence."""


@dataclass(frozen=True)
class Shape:
    """What a sink is to send.

    Attributes:
        width, height: pixels.
        rate: pictures per second, about.
        aspect: width over height of one pixel as shown.
        enlarge: how pictures of another size are brought to this one.
    """

    width: int
    height: int
    rate: float
    aspect: Fraction
    enlarge: Literal["nearest", "bilinear"]

    def frame(self, picture: np.ndarray, form: str, full: bool = False) -> av.VideoFrame:
        """(h, w, 3) uint8 RGB of any size as a frame of this size, BT.709."""
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture)).reformat(
            width=self.width,
            height=self.height,
            format=form,
            interpolation=HOW[self.enlarge],
            dst_colorspace=Colorspace.ITU601 if full else Colorspace.ITU709,
            dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        )

    @property
    def even(self) -> bool:
        """Whether colours may have half the size."""
        return self.width % 2 == self.height % 2 == 0


@runtime_checkable
class Sink(Protocol):
    """Used from one thread, after ``start``.

    Attributes:
        lasting: True where closing takes its time and must be waited for.
        lost: True where the last pictures reached nobody.
    """

    lasting: bool
    lost: bool

    def start(self) -> None:
        """Find out at once what can be: whether the destination can be used at all."""

    def write(self, picture: np.ndarray, at: float, shape: Shape) -> bool:
        """One picture, (h, w, 3) uint8 RGB, shown ``at`` seconds after the first.

        Returns:
            False where there is nobody to send it to.

        Raises:
            Gone: and nobody will be.
        """

    def close(self, error: BaseException | None = None) -> None:
        """End it; ``error`` is what a write raised."""


class Backoff:
    """How long to wait between attempts: 0.5 s, then twice as long each time, up to 30 s.

    Args:
        attempts: how many in a row may fail; None is any number.
        most: seconds; the longest wait.
    """

    def __init__(self, attempts: int | None, most: float = 30.0):
        self.attempts, self.most = attempts, most
        self.reset()

    def reset(self) -> None:
        """An attempt succeeded."""
        self.failed, self._wait = 0, min(0.5, self.most)

    def wait(self) -> float | None:
        """Seconds until the next attempt; None where no more may be made."""
        self.failed += 1
        if self.attempts is not None and self.failed > self.attempts:
            return None
        wait, self._wait = self._wait, min(2 * self._wait, self.most)
        return wait


class _Bytes:
    """What FFmpeg writes, until it is taken."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)

    def take(self) -> bytes:
        out = bytes(self.data)
        self.data.clear()
        return out


class _H264:
    """Pictures into a container at once: no picture waits for the next one."""

    def __init__(self, container: OutputContainer, shape: Shape):
        self.container, self.shape = container, shape
        options = {
            "preset": "veryfast",
            "tune": "zerolatency",
            "crf": "23",
            "forced-idr": "1",
            "g": "600",  # key pictures are asked for by the clock, since rates vary
        }
        rate = Fraction(shape.rate).limit_denominator(1001)
        stream = container.add_stream("libx264", rate, options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = shape.width, shape.height
        stream.pix_fmt = self.form = "yuv420p" if shape.even else "yuv444p"
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.sample_aspect_ratio = shape.aspect
        context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
        self.stream = stream
        self.key = float("-inf")

    def write(self, picture: np.ndarray, at: float) -> None:
        frame = self.shape.frame(picture, self.form)
        frame.pts, frame.time_base = round(at * TICKS), Fraction(1, TICKS)
        if at - self.key >= KEY:
            frame.pict_type, self.key = PictureType.I, at
        self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        with suppress(OSError, ValueError):  # av.FFmpegError is one or the other, or below
            self.container.mux(self.stream.encode())
        with suppress(OSError, ValueError):
            self.container.close()


class _TransportStream:
    """Pictures to bytes of MPEG-TS; a receiver may begin anywhere."""

    def __init__(self, shape: Shape):
        self.bytes = _Bytes()
        options = {
            "flush_packets": "1",
            "max_delay": "0",
            "pat_period": "0.5",
            "omit_video_pes_length": "0",
        }
        container = av.open(self.bytes, "w", format="mpegts", options=options)
        self.coder = _H264(container, shape)

    def encode(self, picture: np.ndarray, at: float) -> bytes:
        self.coder.write(picture, at)
        return self.bytes.take()

    def close(self) -> bytes:
        self.coder.close()
        return self.bytes.take()


class _Y4m:
    """Pictures to bytes of YUV4MPEG2, which has no times: a picture for each tick of its rate."""

    def __init__(self, shape: Shape):
        self.shape = shape
        self.rate = Fraction(shape.rate).limit_denominator(1001)
        self.shown = 0
        self.last = b""
        self.form = "yuv420p" if shape.even else "yuv444p"
        self.head = (
            f"YUV4MPEG2 W{shape.width} H{shape.height} F{self.rate.numerator}:"
            f"{self.rate.denominator} Ip A{shape.aspect.numerator}:{shape.aspect.denominator} "
            f"C{'420mpeg2' if shape.even else '444'} XCOLORRANGE=LIMITED\n"
        ).encode()

    def encode(self, picture: np.ndarray, at: float) -> bytes:
        tick = round(at * self.rate)
        if self.shown and tick < self.shown:  # this tick has its picture
            return b""
        # Where none came, the one before is shown on; it was anonymized or black as well.
        out = self.head + self.last * (tick - self.shown)
        self.last = b"FRAME\n" + self.shape.frame(picture, self.form).to_ndarray().tobytes()
        self.head, self.shown = b"", tick + 1
        return out + self.last

    def close(self) -> bytes:
        return b""


def _coder(container: Container, shape: Shape) -> _TransportStream | _Y4m:
    return _Y4m(shape) if container == "y4m" else _TransportStream(shape)


class Stdout:
    """Bytes on stdout, and nothing else: what the process prints meanwhile goes to stderr."""

    lasting = lost = False

    def __init__(self, container: Container, stop: threading.Event):
        self.container, self.stop = container, stop
        self.coder: _TransportStream | _Y4m | None = None
        self.out = -1

    def start(self) -> None:
        if os.isatty(1):
            raise BadInput("stdout is a terminal; pipe it into a player or a file.")
        with suppress(AttributeError, ValueError):
            sys.stdout.flush()
        self.out = os.dup(1)
        os.dup2(2, 1)

    def write(self, picture: np.ndarray, at: float, shape: Shape) -> bool:
        self.coder = self.coder or _coder(self.container, shape)
        self._send(self.coder.encode(picture, at))
        return True

    def _send(self, data: bytes) -> None:
        # As many bytes as a pipe that has room takes without waiting, so that an end is seen.
        view, at = memoryview(data), 0
        poll = select.poll()
        poll.register(self.out, select.POLLOUT)
        while at < len(view):
            if self.stop.is_set() and not poll.poll(500):
                return
            if poll.poll(100):
                try:
                    at += os.write(self.out, view[at : at + select.PIPE_BUF])
                except OSError as error:
                    raise Gone(f"The reader of stdout has gone ({error.strerror}).") from None

    def close(self, error: BaseException | None = None) -> None:
        if self.coder is not None and error is None:
            with suppress(Gone):
                self._send(self.coder.close())
        if self.out >= 0:
            with suppress(AttributeError, ValueError):
                sys.stdout.flush()
            os.dup2(self.out, 1)
            os.close(self.out)
            self.out = -1


@runtime_checkable
class _Line(Protocol):
    """A connection that is there."""

    def write(self, picture: np.ndarray, at: float) -> None: ...

    def close(self) -> None: ...


class _Udp:
    def __init__(self, rest: str, shape: Shape):
        host, port = _host_port(rest, "udp")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self.socket, self.to = socket.socket(found[0], socket.SOCK_DGRAM), found[4]
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        self.coder = _TransportStream(shape)

    def write(self, picture: np.ndarray, at: float) -> None:
        self._send(self.coder.encode(picture, at))

    def _send(self, data: bytes) -> None:
        for number, begin in enumerate(range(0, len(data), DATAGRAM)):
            if number % 32 == 31:
                time.sleep(0.001)  # a large picture at once would overrun the receiver's buffer
            with suppress(ConnectionError):  # nobody listens there at the moment
                self.socket.sendto(data[begin : begin + DATAGRAM], self.to)

    def close(self) -> None:
        with suppress(OSError):
            self._send(self.coder.close())
        self.socket.close()


class _Tcp:
    def __init__(self, connection: socket.socket, shape: Shape):
        self.socket = connection
        self.socket.settimeout(SLOW)
        with suppress(OSError):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.coder = _TransportStream(shape)

    def write(self, picture: np.ndarray, at: float) -> None:
        self.socket.sendall(self.coder.encode(picture, at))

    def close(self) -> None:
        with suppress(OSError):
            self.socket.settimeout(0.5)
            self.socket.sendall(self.coder.close())
        self.socket.close()


class _Pushed:
    """By a muxer of FFmpeg's that speaks to the network itself."""

    def __init__(self, url: str, form: str, options: dict[str, str], shape: Shape):
        self.coder = _H264(av.open(url, "w", format=form, options=options), shape)

    def write(self, picture: np.ndarray, at: float) -> None:
        self.coder.write(picture, at)

    def close(self) -> None:
        self.coder.close()


class Network:
    """A receiver that may go and come back: it is asked again, and gets what is new by then.

    Args:
        name: as it may be shown.
        connect: makes the connection; raises OSError or av.FFmpegError.
        attempts: how many in a row may fail; None is any number.
    """

    lasting = False

    def __init__(
        self,
        name: str,
        connect: Callable[[Shape], _Line | None],
        attempts: int | None,
        log: Callable[[str], None],
    ):
        self.name, self.connect, self.log = name, connect, log
        self.backoff = Backoff(attempts)
        self.line: _Line | None = None
        self.again = 0.0
        self.lost = False

    def start(self) -> None:
        pass

    def write(self, picture: np.ndarray, at: float, shape: Shape) -> bool:
        try:
            if self.line is None:
                if time.monotonic() < self.again:
                    return False
                self.line = self.connect(shape)
                if self.line is None:  # it waits for somebody to call
                    return False
                if self.lost:
                    self.log(f"{self.name} takes pictures again.")
                self.lost = False
            self.line.write(picture, at)
        except (OSError, ValueError, av.FFmpegError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
        else:
            self.backoff.reset()
            return True
        self.lost = True
        line, self.line = self.line, None
        if line is not None:
            with suppress(OSError, ValueError, av.FFmpegError):
                line.close()
        wait = self.backoff.wait()
        if wait is None:
            raise Gone(f"{self.name} does not take the stream ({reason}).")
        self.log(f"{self.name} does not take the stream ({reason}); next attempt in {wait:g} s.")
        self.again = time.monotonic() + wait
        return False

    def close(self, error: BaseException | None = None) -> None:
        if self.line is not None:
            self.line.close()


class Listening(Network):
    """A TCP address where one receiver at a time may call."""

    def __init__(self, rest: str, log: Callable[[str], None]):
        self.host, self.port = _host_port(rest, "tcp")
        super().__init__(redact(f"tcp://{rest}"), self._accept, None, log)

    def start(self) -> None:
        self.server = _bound(self.host, self.port)
        self.server.setblocking(False)
        self.log(f"{self.name}: waiting for a receiver.")

    def _accept(self, shape: Shape) -> _Line | None:
        try:
            return _Tcp(self.server.accept()[0], shape)
        except BlockingIOError:
            return None

    def close(self, error: BaseException | None = None) -> None:
        super().close(error)
        self.server.close()


class Recording:
    """A video file that appears when it is complete; whatever ended the stream, it is kept."""

    lasting, lost = True, False

    def __init__(self, path: Path, overwrite: bool, log: Callable[[str], None]):
        self.path, self.overwrite, self.log = path, overwrite, log
        self.writer: VideoWriter | None = None

    def start(self) -> None:
        # Checks the destination; there is no size yet to open it with.
        VideoWriter(self.path, 2, 2, time_base=Fraction(1, TICKS), overwrite=self.overwrite)

    def write(self, picture: np.ndarray, at: float, shape: Shape) -> bool:
        if self.writer is None:
            self.writer = VideoWriter(
                self.path,
                shape.width,
                shape.height,
                time_base=Fraction(1, TICKS),
                rate=Fraction(shape.rate).limit_denominator(1001),
                sample_aspect=shape.aspect,
                overwrite=self.overwrite,
                enlarge=shape.enlarge,
            ).__enter__()
        self.writer.write(picture, round(at * TICKS))
        return True

    def close(self, error: BaseException | None = None) -> None:
        if self.writer is None:
            self.log(f"No picture came; {self.path} was not written.")
            return
        if error is None:
            self.log(f"Finishing {self.path}: {self.writer.frames} pictures are read back.")
        self.writer.__exit__(type(error) if error else None, error, None)


class Browser:
    """A small web server that shows the stream, at ``/``, and as Motion JPEG at ``/video``."""

    lasting = lost = False

    def __init__(self, rest: str, log: Callable[[str], None]):
        self.log = log
        match = re.fullmatch(r"(\[[0-9A-Fa-f:]+\]|[^:/?@]*)(?::(\d+))?/?(\?public)?", rest)
        if match is None:
            raise BadInput(
                f"{redact(f'http://{rest}')} is not of the form http://127.0.0.1:8080; "
                "this is where the stream is shown, not where it is sent."
            )
        self.host = match[1].strip("[]") or "127.0.0.1"
        self.port = int(match[2] or 80)
        # By the address that it stands for: 0, 0x0 and [0:0::] are 0.0.0.0 and [::] as well. It is
        # looked up once, so that nothing else is bound than what was judged.
        self.bound_to = _resolved(self.host, self.port)
        self.open_to_others = not ipaddress.ip_address(self.bound_to[1]).is_loopback
        if self.open_to_others and not match[3]:
            raise BadInput(
                f"{self.host} shows the stream to everyone who reaches this machine; if that is "
                f"meant, write http://{match[1]}:{self.port}/?public."
            )
        self.lock = threading.Condition()
        self.picture, self.number, self.viewers, self.ended = b"", 0, 0, False
        self.coder: av.VideoCodecContext | None = None

    def start(self) -> None:
        server = _bound(self.host, self.port, self.bound_to)
        self.port = server.getsockname()[1]
        self.server = _Server(server, self)
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self.thread.start()
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.log(f"Shown at http://{host}:{self.port}/ and as Motion JPEG at /video.")
        if self.open_to_others:
            self.log("Everyone who reaches that address can watch; there is no password.")

    def write(self, picture: np.ndarray, at: float, shape: Shape) -> bool:
        if not self.viewers:
            self.picture = b""  # what was shown last is nothing to begin with
            return False
        if self.coder is None:
            coder = av.CodecContext.create("mjpeg", "w")
            assert isinstance(coder, av.VideoCodecContext)
            coder.width, coder.height = shape.width, shape.height
            coder.pix_fmt = "yuvj420p" if shape.even else "yuvj444p"
            coder.time_base, coder.options = Fraction(1, TICKS), {"qmin": "3", "qmax": "5"}
            self.coder = coder
        frame = shape.frame(picture, self.coder.pix_fmt or "", full=True)
        frame.pts, frame.time_base = round(at * TICKS), Fraction(1, TICKS)
        data = b"".join(bytes(packet) for packet in self.coder.encode(frame))
        with self.lock:
            self.picture, self.number = data, self.number + 1
            self.lock.notify_all()
        return True

    def close(self, error: BaseException | None = None) -> None:
        with self.lock:
            self.ended = True
            self.lock.notify_all()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False

    def __init__(self, bound: socket.socket, browser: Browser):
        super().__init__(bound.getsockname()[:2], _Viewer, bind_and_activate=False)
        self.socket.close()
        self.socket, self.browser = bound, browser

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer that has gone is nobody's trouble."""


class _Viewer(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = SLOW

    def log_message(self, format: str, *args: Any) -> None:
        """Who watches is not written down."""

    def do_GET(self) -> None:
        browser = self.server.browser
        # A page of somebody else's, whose name was made to point here, must not look in.
        asked = (self.headers.get("Host") or "").rsplit(":", 1)[0].strip("[]").lower()
        own = re.fullmatch(r"localhost|127\.[\d.]+|::1", asked) or asked == browser.host.lower()
        if not browser.open_to_others and not own:
            self.send_error(403)
        elif self.path == "/":
            page = (
                b"<!doctype html><title>Velatura</title><style>body{margin:0;background:#000}"
                b"img{width:100vw;height:100vh;object-fit:contain}</style>"
                b"<img src=/video alt='anonymized stream'>"
            )
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
        elif self.path != "/video":
            self.send_error(404)
        else:
            with browser.lock:
                full = browser.viewers >= VIEWERS
                browser.viewers += not full
            if full:
                self.send_error(503, "Too many viewers")
                return
            try:
                self._pictures(browser)
            except OSError:
                pass  # it has gone, or is too slow
            finally:
                with browser.lock:
                    browser.viewers -= 1

    def _pictures(self, browser: Browser) -> None:
        """Each time the newest picture; a slow viewer misses those between."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        # The boundary behind a picture is what makes a browser show it.
        self.wfile.write(b"--picture\r\n")
        seen = browser.number
        while True:
            with browser.lock:
                while browser.number == seen and not browser.ended:
                    browser.lock.wait(1.0)
                if browser.ended:
                    return
                data, seen = browser.picture, browser.number
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            self.wfile.write(head.encode() + data + b"\r\n--picture\r\n")


def sink_of(
    text: str,
    *,
    container: Container,
    overwrite: bool,
    attempts: int | None,
    stop: threading.Event,
    log: Callable[[str], None],
) -> Sink:
    """The sink that a user names.

    Raises:
        BadInput: of no kind that there is.
    """
    if container not in ("mpegts", "y4m"):
        raise BadInput(f"The container of a stream is mpegts or y4m, not {container!r}.")
    if text == "-":
        return Stdout(container, stop)
    if container == "y4m":
        raise BadInput("y4m goes to stdout only: --out -.")
    if "://" not in text and not MISTYPED.match(text):
        if Path(text).suffix.lower() in SUFFIXES:
            return Recording(Path(text), overwrite, log)
        raise BadInput(
            f"A stream goes to -, udp://, tcp://, rtsp://, http://127.0.0.1:PORT (for a browser) "
            f"or into a file named {', '.join(f'*{s}' for s in SUFFIXES)}; got {redact(text)}."
        )
    scheme, rest = address(text)
    name = redact(text)
    if scheme == "http":
        return Browser(rest, log)
    if scheme == "https":
        raise BadInput("https:// is no destination; put a web server before http://127.0.0.1.")
    connect: Callable[[Shape], _Line | None]
    if scheme == "udp":
        _host_port(rest, scheme)
        connect = lambda shape: _Udp(rest, shape)  # noqa: E731
    elif scheme == "tcp":
        host, port = _host_port(rest, scheme)
        if rest.endswith("?listen"):
            return Listening(rest, log)
        connect = lambda shape: _Tcp(socket.create_connection((host, port), 3.0), shape)  # noqa: E731
    else:
        form = {"rtp": "rtp_mpegts", "srt": "mpegts"}.get(scheme, "rtsp")
        options = {"rtsp_transport": "tcp"} if form == "rtsp" else {}
        url = f"{scheme}://{rest}"
        connect = lambda shape: _Pushed(url, form, options, shape)  # noqa: E731
    return Network(name, connect, attempts, log)


def _host_port(rest: str, scheme: str) -> tuple[str, int]:
    match = re.match(r"(?:@|[^@/]*@)?(\[[0-9A-Fa-f:.%]+\]|[^:/?\[\]]+):(\d{1,5})(?=$|[/?])", rest)
    if match is None or int(match[2]) > 65535:
        raise BadInput(f"{redact(f'{scheme}://{rest}')} is not of the form {scheme}://host:port.")
    return match[1].strip("[]"), int(match[2])


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    """The address that a host to listen on stands for.

    Raises:
        BadInput: it stands for none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError, UnicodeError) as error:
        raise _unusable(host, port, error) from None
    return found[0], str(found[4][0])


def _bound(
    host: str, port: int, at: tuple[socket.AddressFamily, str] | None = None
) -> socket.socket:
    """A socket that listens on one address.

    Args:
        at: what the host stands for, where that was looked up before.

    Raises:
        BadInput: it is taken, or is not this machine's.
    """
    family, literal = at or _resolved(host, port)
    try:
        return socket.create_server((literal, port), family=family, backlog=16)
    except (OSError, OverflowError) as error:
        raise _unusable(host, port, error) from None


def _unusable(host: str, port: int, error: Exception) -> BadInput:
    reason = getattr(error, "strerror", None) or str(error)
    return BadInput(f"Port {port} of {host} cannot be used: {reason}; name another.")
