"""Where a stream comes from: cameras, addresses and stdin, opened so that opening always ends.

FFmpeg opens whatever looks like an address to it: files, pieces of files, playlists that name
files. Here a source is one of a few kinds, each with the protocols and formats that it may use;
everything else is refused before FFmpeg sees it. Addresses hold passwords: ``redact`` is applied
to whatever is shown or kept of one.
"""

from __future__ import annotations

import os
import re
import select
import stat
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import av
from av.container import InputContainer

from velatura.errors import BadInput

__all__ = [
    "Clock",
    "Even",
    "Source",
    "address",
    "has_protocol",
    "hide",
    "is_stream",
    "redact",
    "source_of",
]

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
DEVICE = re.compile(r"/dev/video(\d+)")

# What an address begins with, and what it begins with where it is mistyped: a blank before it, a
# slash too few, no colon. It holds the same password then. One letter is a drive of Windows'.
WORDS = (
    "(?:rtsps?|rtspu|rtmps?|https?|udp|s?rtp|tcp|tls|srt|rist|mms|s?ftp|ftps|ssh|wss?|onvif|smb)"
)
MISTYPED = re.compile(rf"\s*{WORDS}\s*(?::|//)", re.IGNORECASE)
ADDRESS = re.compile(
    rf"(\W*(?:{WORDS}\s*(?:[:;]|//|/(?=.*:.*@))|[a-z][a-z0-9+.-]*\s*:\s*//)[/\\]*)(.*)",
    re.DOTALL | re.IGNORECASE,
)
UNKNOWN = re.compile(r"(\s*[a-z][\w+.-]+:[/\\]*)(.*@.*)", re.DOTALL | re.IGNORECASE)

# Protocols that an address may use: its own, and those beneath it. Without this an answer from
# the network could name a file of this machine.
WEB = "http,https,httpproxy,tcp,tls"
PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtsps,rtp,srtp,udp,tcp,tls",
    "http": WEB,
    "https": WEB,
    "udp": "udp",
    "rtp": "rtp,udp",
    "tcp": "tcp",
    "srt": "srt",
}
# Formats that are pictures and nothing else: no playlists, no lists of files.
FORMATS = "mpegts,mpjpeg,mjpeg,matroska,webm,mov,mp4,flv,ogg,yuv4mpegpipe,h264,hevc"
SESSIONS = f"rtsp,rtp,sdp,{FORMATS}"
# Formats that carry no times. A picture of theirs is shown when it comes.
TIMELESS = {"mpjpeg", "mjpeg", "h264", "hevc"}

# A live source is shown at once: a rate from its first pictures will do, and what it has is known.
QUICK = {"fpsprobesize": "5", "analyzeduration": "2000000"}

OPEN = 10.0  # seconds that one attempt may take
JUMP = 10.0  # seconds; a larger step of a source's clock is no step of time


def is_stream(text: str) -> bool:
    """Whether a SOURCE on the command line is a stream, and not the name of a file.

    True as well for addresses that ``anonymize_stream`` refuses, mistyped ones among them
    (``rtsp:/cam``): it has the sentence for them.
    """
    return (
        text == "-"
        or text.lower().startswith("camera:")
        or bool(DEVICE.fullmatch(text) or SCHEME.match(text) or MISTYPED.match(text))
    )


def redact(text: str) -> str:
    """An address without user, password, and query: some cameras take the password there.

    Mistyped ones as well (``rtsp:/me:secret@cam``). What is no address is as it was.
    """
    if (parts := _parts(text)) is None:
        return text
    head, user, at, rest = parts
    return f"{head}{'***' if user else ''}{at}{rest}"


def _parts(text: str) -> tuple[str, str, str, str] | None:
    """(scheme, user and password, @, what may be shown) of what is an address, or may be one."""
    known = ADDRESS.match(text)
    if not (match := known or UNKNOWN.match(text)):
        return None
    # To the last @, wherever it stands: a password may hold any sign, and showing less of an
    # address than one might does no harm.
    user, at, rest = match[2].rpartition("@")
    if known:
        rest = re.sub(r"\?(?!(listen|public)$).*", "?***", rest, flags=re.DOTALL)
    return match[1], user, at, rest


def hide(text: str, addresses: tuple[str, ...]) -> str:
    """A message without what is secret in the addresses, should a library have quoted them."""
    for whole in addresses:
        if parts := _parts(whole):
            text = text.replace(whole, redact(whole))
            for secret in (parts[1], parts[1].partition(":")[2]):
                for form in (secret, unquote(secret)):
                    if len(form) > 2:
                        text = text.replace(form, "***")
    return text


def address(text: str) -> tuple[str, str]:
    """(scheme in small letters, what follows) of an address.

    Raises:
        BadInput: one that holds what no address holds, or of a protocol that is not taken.
    """
    match = SCHEME.match(text)
    if match is None or re.search(r"[\x00-\x20\x7f]", text):
        raise BadInput(
            f"{redact(text)!r} is no address; one looks like rtsp://host:port/path, without blanks."
        )
    scheme, rest = match[1].lower(), match[2]
    if scheme not in PROTOCOLS:
        raise BadInput(f"{scheme}:// is not taken; {', '.join(f'{s}://' for s in PROTOCOLS)} are.")
    host = rest.rpartition("@")[2]
    if not re.match(r"(\[[0-9A-Fa-f:.%]+\]|[^\s/:?#\[\]]*)(:\d{1,5})?([/?#]|$)", host):
        raise BadInput(f"{redact(text)} is not of the form {scheme}://host:port/path.")
    if not has_protocol(scheme):
        raise BadInput(
            f"The FFmpeg inside this PyAV was built without {scheme}://; carry it through a pipe: "
            f"ffmpeg -i {scheme}://... -c copy -f mpegts - | velatura anonymize - ..."
        )
    return scheme, rest


def has_protocol(scheme: str) -> bool:
    """Whether this build of FFmpeg knows a protocol that not every build knows."""
    if scheme != "srt":
        return True
    try:
        av.open(f"{scheme}://127.0.0.1:9", timeout=0.01).close()
    except av.error.ProtocolNotFoundError:
        return False
    except (av.FFmpegError, OSError):
        pass
    return True


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source that can be opened again and again.

    Attributes:
        name: as it may be shown: no user, no password.
        kind: its scheme, ``"camera"`` or ``"stdin"``.
        url: what FFmpeg opens.
        format: of the data, where it is known beforehand.
        options: for FFmpeg.
        passive: True where it waits for a sender; asking again costs nobody anything.
        once: True where it cannot be opened a second time.
    """

    name: str
    kind: str
    url: str
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    passive: bool = False
    once: bool = False

    def open(self, silence: float, stop: threading.Event) -> InputContainer:
        """Open it; reading from it raises ``av.error.ExitError`` after so many silent seconds.

        Raises:
            BadInput: a camera that is not there; stdin that is no video.
            av.FFmpegError, OSError: it cannot be reached now.
        """
        if self.kind == "stdin":
            return _open_stdin(stop)
        if self.kind == "camera":
            _check_camera(self.url)
        return av.open(
            self.url, format=self.format, options=dict(self.options), timeout=(OPEN, silence)
        )


def source_of(text: str) -> Source:
    """The source that a user names.

    Raises:
        BadInput: of no kind that is taken; a camera that is not there; stdin is a terminal.
    """
    if text == "-":
        if sys.stdin is not None and os.isatty(0):
            raise BadInput("stdin is a terminal; pipe a stream into it, or name another source.")
        return Source(name="stdin", kind="stdin", url="-", once=True)
    camera = re.fullmatch(r"(?:camera:|/dev/video)(\d+)", text, re.IGNORECASE)
    if camera:
        path = f"/dev/video{camera[1]}"
        _check_camera(path)
        return Source(
            name=text,
            kind="camera",
            url=path,
            format="video4linux2",
            options={"protocol_whitelist": "file"},
        )
    if text.lower().startswith("camera:"):
        raise BadInput(f"{redact(text)} names no camera; write camera:0 for the first one.")
    scheme, rest = address(text)
    url = f"{scheme}://{rest}"
    options = {"protocol_whitelist": PROTOCOLS[scheme], "format_whitelist": FORMATS, **QUICK}
    form, passive = None, scheme in ("udp", "rtp")
    listen = rest.endswith("?listen")
    if listen and scheme not in ("tcp", "rtsp"):
        raise BadInput(f"{scheme}:// cannot wait for a sender; tcp:// and rtsp:// can.")
    if scheme in ("rtsp", "rtsps"):
        form = "rtsp"
        options |= {"format_whitelist": SESSIONS, "rtsp_flags": "prefer_tcp"}
        if listen:
            url = url.removesuffix("?listen")
            options |= {"rtsp_flags": "listen", "listen_timeout": str(round(OPEN))}
    elif scheme == "udp":
        options["overrun_nonfatal"] = "1"
        if re.match(r"(127\.[\d.]+|localhost)(:|/|$)", rest):
            # FFmpeg listens on every network otherwise.
            options["localaddr"] = "127.0.0.1"
    elif scheme == "rtp":
        options["format_whitelist"] = SESSIONS
    elif scheme in ("http", "https"):
        options["user_agent"] = "velatura"
    return Source(
        name=redact(text),
        kind=scheme,
        url=url,
        format=form,
        options=options,
        passive=passive or listen,
    )


def _check_camera(path: str) -> None:
    if not sys.platform.startswith("linux"):
        raise BadInput(
            "Cameras are read on Linux only; elsewhere let ffmpeg read the camera and pipe it: "
            "ffmpeg ... -f mpegts - | velatura anonymize - ..."
        )
    try:
        there = stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        there = False
    if there:
        return
    found = sorted(str(p) for p in Path("/dev").glob("video*"))
    raise BadInput(
        f"There is no camera at {path}; "
        + (f"there is {', '.join(found)}." if found else "this machine shows none.")
    )


class _Stdin:
    """Bytes of stdin for FFmpeg, which can be told to stop waiting for them."""

    def __init__(self, stop: threading.Event):
        self._stop = stop
        self._head = b""

    def read(self, size: int) -> bytes:
        if self._head:
            out, self._head = self._head[:size], self._head[size:]
            return out
        return self._more(size)

    def peek(self, size: int) -> bytes:
        """The first bytes, fewer where it ends before."""
        while len(self._head) < size and (more := self._more(size)):
            self._head += more
        return self._head

    def _more(self, size: int) -> bytes:
        while not self._stop.is_set():
            if select.select([0], [], [], 0.1)[0]:
                return os.read(0, size)
        return b""


def _open_stdin(stop: threading.Event) -> InputContainer:
    data: Any = _Stdin(stop)
    head = data.peek(3 * 188)
    form: Literal["yuv4mpegpipe", "mpegts"]
    if head.startswith(b"YUV4MPEG2 "):
        form = "yuv4mpegpipe"
    elif any(head[at::188][:3] == b"GGG" for at in range(188)):  # its packets begin so
        form = "mpegts"
    elif not head:
        raise BadInput("stdin ended before its first byte; what feeds it has failed.")
    else:
        raise BadInput(
            "stdin is neither YUV4MPEG2 nor MPEG-TS; pipe ffmpeg ... -f mpegts - into it."
        )
    return av.open(data, format=form, options={"format_whitelist": form, "protocol_whitelist": ""})


class Clock:
    """When a picture of a live source is shown, by its own clock laid against ours.

    A source's times are evener than those of arrival, and its clock is not ours: it begins
    anywhere, jumps, and runs a little fast or slow.
    """

    def __init__(self) -> None:
        self.offset: float | None = None

    def when(self, pts: float | None, came: float) -> tuple[float, bool]:
        """(seconds of the monotonic clock, whether what came before was late)."""
        if pts is None:
            return came, False
        if self.offset is None or abs(came - pts - self.offset) > JUMP:
            self.offset = came - pts
        late = came - pts - self.offset
        if late < 0:  # nothing is seen before it comes: those before it took longer to come
            self.offset += late
            return came, late < -0.2
        self.offset += 0.002 * late
        return pts + self.offset, False


class Even:
    """When a picture is shown whose source waits for us: its own times, without their jumps."""

    def __init__(self) -> None:
        self.offset: float | None = None
        self.last: float | None = None

    def when(self, pts: float | None, start: float, period: float) -> float:
        """Seconds; the first picture is at ``start``, and each later than the one before."""
        after = start if self.last is None else self.last + period
        if self.offset is None and pts is not None:
            self.offset = after - pts
        when = after if pts is None or self.offset is None else pts + self.offset
        if self.last is not None and not 0 < when - self.last < JUMP:
            self.offset, when = None if pts is None else after - pts, after
        self.last = when
        return when

    def catch_up(self, seconds: float) -> None:
        """Show what comes from now on so much later."""
        if self.offset is not None and self.last is not None:
            self.offset, self.last = self.offset + seconds, self.last + seconds
