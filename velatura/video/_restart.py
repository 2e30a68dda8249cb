"""Where decoding can begin in the middle of a file and give exactly what it gives from the start.

A container's "keyframe" is a promise that is not always kept: pictures shown before it may need
pictures before it (an open group of pictures), a header may stand in the first packet alone, one
packet may hold two pictures or none. So every packet's own bytes are looked at, and what is not
understood is a ``Doubt``: such a file is decoded from its start.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

__all__ = ["JUDGES", "Doubt", "Judge", "Picture"]

START = b"\0\0\1"  # before every unit of MPEG video


class Doubt(Exception):
    """Why a file is decoded from its start; one clause."""


class Picture(NamedTuple):
    """What one packet holds: always one whole picture.

    Attributes:
        restart: no picture from here on needs anything that came before.
        spare: no other picture needs this one.
    """

    restart: bool
    spare: bool


class Judge(Protocol):
    """Looks at the packets of one stream, in their order."""

    def __init__(self, extradata: bytes) -> None: ...

    def look(self, data: bytes, keyframe: bool) -> Picture:
        """One packet and what its container says of it.

        Raises:
            Doubt: seeking in this file might not be exact.
        """
        ...


class H264:
    """H.264 as MP4 and Matroska hold it: units behind their length, headers apart.

    Source: ITU-T H.264 (08/2021), sections 7.3 and 7.4; ISO/IEC 14496-15, section 5.3.3.
    """

    # Slices, an instantaneous refresh, and units that change no pixel.
    KNOWN = frozenset((1, 5, 6, 7, 8, 9, 10, 11, 12))

    def __init__(self, extradata: bytes) -> None:
        self.width, self.headers = _avcc(extradata)
        sets = [unit for unit in self.headers if unit[0] & 31 == 7]
        if len(sets) != 1:
            raise Doubt("it has not one sequence header but several")
        self.chroma, frames_only = _sequence_header(sets[0])
        if not frames_only:
            raise Doubt("it may be interlaced")
        self.first = True

    def look(self, data: bytes, keyframe: bool) -> Picture:
        if self.first:
            self.first = False
            self._check_encoder(data)
        slices = pictures = refresh = needed = 0
        for unit in _units(data, self.width):
            kind = unit[0] & 31
            if kind not in self.KNOWN:
                raise Doubt(f"it has units of type {kind}")
            if kind in (7, 8) and unit not in self.headers:
                raise Doubt("its headers change on the way")
            if kind == 6 and 47 in _messages(unit):
                raise Doubt("it may turn its picture on the way")
            if kind in (1, 5):
                slices += 1
                pictures += unit[1] >> 7  # first_mb_in_slice is 0
                refresh += kind == 5
                needed += unit[0] >> 5 & 3 > 0  # nal_ref_idc
        if pictures != 1:
            raise Doubt(f"a packet of it holds {pictures} pictures")
        return Picture(keyframe and refresh == slices, not needed)

    def _check_encoder(self, data: bytes) -> None:
        """Old versions of x264 broke the standard; the decoder asks the first packet which."""
        if found := re.search(rb"x264 - core (\d+)", data):
            version = int(found[1])
            if version < 67 or (version < 152 and self.chroma == 3):
                raise Doubt(f"x264 {version} wrote it, whose faults the decoder must know of")


def _avcc(extradata: bytes) -> tuple[int, list[bytes]]:
    """Bytes of a length, and the headers, from an AVCDecoderConfigurationRecord."""
    try:
        if extradata[0] != 1:
            raise Doubt("its H.264 is not in the form of MP4")
        width, headers, at = (extradata[4] & 3) + 1, [], 5
        for mask in (31, 255):  # sequence headers, then picture headers
            count, at = extradata[at] & mask, at + 1
            for _ in range(count):
                end = at + 2 + int.from_bytes(extradata[at : at + 2], "big")
                headers.append(extradata[at + 2 : end])
                at = end
    except IndexError:
        raise Doubt("its headers are incomplete") from None
    if not all(headers):
        raise Doubt("its headers are incomplete")
    return width, headers


def _units(data: bytes, width: int) -> list[bytes]:
    """The units of a packet, each behind its length; only their first 64 bytes."""
    units, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + width], "big")
        at += width
        if size < 2 or at + size > len(data):
            raise Doubt("a packet of it is not made of whole units")
        kind = data[at] & 31
        units.append(data[at : at + (64 if kind in (1, 5) else size)])
        at += size
    return units


def _messages(unit: bytes) -> set[int]:
    """The types of the messages in a supplemental unit (section 7.3.2.3.1)."""
    data, at = _plain(unit[1:]), 0
    kinds: set[int] = set()
    while at + 2 < len(data):
        values = []
        for _ in range(2):  # the type, then the size
            value = 0
            while at < len(data) and data[at] == 255:
                value, at = value + 255, at + 1
            if at >= len(data):
                return kinds
            values.append(value + data[at])
            at += 1
        kinds.add(values[0])
        at += values[1]
    return kinds


def _plain(data: bytes) -> bytes:
    """Without the bytes that keep start codes out."""
    return data.replace(b"\0\0\3", b"\0\0")


class _Bits:
    """Reads numbers out of bits."""

    def __init__(self, data: bytes) -> None:
        self.bits, self.at = "".join(f"{byte:08b}" for byte in data), 0

    def u(self, n: int) -> int:
        """Unsigned, of n bits."""
        self.at += n
        if self.at > len(self.bits):
            raise Doubt("its headers are incomplete")
        return int(self.bits[self.at - n : self.at] or "0", 2)

    def ue(self) -> int:
        """Unsigned, Exp-Golomb (section 9.1)."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """Signed, Exp-Golomb."""
        k = self.ue()
        return (k + 1) // 2 if k % 2 else -(k // 2)


# Profiles whose header says more (section 7.3.2.1.1).
HIGH = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)


def _sequence_header(unit: bytes) -> tuple[int, bool]:
    """chroma_format_idc and frame_mbs_only_flag of a sequence parameter set."""
    bits = _Bits(_plain(unit[1:]))
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    chroma = 1
    if profile in HIGH:
        chroma = bits.ue()
        if chroma == 3:
            bits.u(1)
        bits.ue(), bits.ue(), bits.u(1)
        if bits.u(1):
            for i in range(12 if chroma == 3 else 8):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if i < 6 else 64)
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1), bits.se(), bits.se()
        for _ in range(bits.ue()):
            bits.se()
    bits.ue(), bits.u(1), bits.ue(), bits.ue()
    return chroma, bool(bits.u(1))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


class Mpeg4:
    """MPEG-4 part 2 (DivX, Xvid) of whole pictures that are shown in the order they are stored.

    Source: ISO/IEC 14496-2, section 6.2.
    """

    def __init__(self, extradata: bytes) -> None:
        self.header: bytes | None = None

    def look(self, data: bytes, keyframe: bool) -> Picture:
        at = data.find(START + b"\xb6")
        if at < 0 or data.find(START, at + 4) >= 0:
            raise Doubt("a packet of it does not hold one picture")
        # A picture of so few bytes may say "none here"; then the decoder gives none.
        if len(data) - at <= 8:
            raise Doubt("a packet of it may hold no picture")
        kind = data[at + 4] >> 6
        if kind > 1:
            raise Doubt("it has pictures that are predicted from both sides or warped")
        header = _without_time(data[:at])
        if self.header is None:
            self.header = header
        # Who encoded it stands in the header, and the decoder rounds and mends accordingly.
        if header not in (b"", self.header):
            raise Doubt("its headers change on the way")
        return Picture(keyframe and kind == 0 and header == self.header, False)


def _without_time(header: bytes) -> bytes:
    """A header without its group-of-pictures unit, which holds a time of day."""
    at = header.find(START + b"\xb3")
    if at < 0:
        return header
    end = header.find(START, at + 4)
    return header[:at] + (header[end:] if end >= 0 else b"")


class MsMpeg4:
    """Microsoft's MPEG-4 version 3 (DivX 3): no header, no picture out of order."""

    def __init__(self, extradata: bytes) -> None:
        pass

    def look(self, data: bytes, keyframe: bool) -> Picture:
        kind = data[0] >> 6
        if kind > 1:
            raise Doubt("a packet of it holds no picture")
        return Picture(keyframe and kind == 0, False)


# By the decoder's name. Others are decoded from their start.
JUDGES: dict[str, type[Judge]] = {"h264": H264, "mpeg4": Mpeg4, "msmpeg4": MsMpeg4}
