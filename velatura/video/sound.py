"""Sound tracks copied from one file into another: every packet as it is, at its time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from velatura.errors import BadInput

__all__ = ["Sound"]


class Sound:
    """All sound tracks of a file, handed to a container as its pictures progress.

    Packets are copied whole or not at all. One that reaches over either end of a span would tell
    what was said outside it (a second and more, in FLAC), so it is left out.

    Args:
        path: the source.
        origin: seconds of the source that are second 0 of the destination. Nothing that begins
            before is copied, unless it is 0.
        end: seconds of the source after which nothing is heard; None is its end.
    """

    def __init__(
        self, path: str | Path, origin: Fraction = Fraction(0), end: Fraction | None = None
    ):
        self.path, self.origin, self.end = Path(path), origin, end
        self.tracks = self.copied = 0  # packets copied, of all tracks

    def open(self, output: OutputContainer) -> None:
        """Add the tracks to a container whose header is not written yet.

        Raises:
            BadInput: the container cannot hold the codec of a track.
        """
        self._output = output
        self._source = av.open(f"file:{self.path}")
        self._to = {}
        for stream in self._source.streams.audio:
            try:
                track = output.add_stream_from_template(stream)
            except (ValueError, av.FFmpegError) as error:
                raise self.refusal(output) from error
            if language := stream.metadata.get("language"):
                track.metadata["language"] = language
            self._to[stream.index] = track
        self.tracks = len(self._to)
        self._packets = self._shifted()
        self._next = next(self._packets, None)

    def refusal(self, output: OutputContainer) -> BadInput:
        """What to say where a container cannot hold these tracks."""
        codecs = sorted({stream.codec_context.name for stream in self._source.streams.audio})
        return BadInput(
            f"{output.format.name.upper()} cannot hold the sound of {self.path} "
            f"({', '.join(codecs)}) as it is; drop it with --audio drop."
        )

    def _shifted(self) -> Iterator[Packet]:
        streams: list[AudioStream] = list(self._source.streams.audio)
        for packet in self._source.demux(streams) if streams else ():
            if packet.dts is None or packet.pts is None:
                continue
            unit = packet.time_base
            time = packet.pts * unit
            if self.end is not None and time + self._length(packet) > self.end:
                continue
            if self.origin:
                if time < self.origin:
                    continue
                shift = round(self.origin / unit)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = self._to[packet.stream.index]
            yield packet

    @staticmethod
    def _length(packet: Packet) -> Fraction | float:
        """Seconds of a packet; without end where nothing tells."""
        if packet.duration:
            return packet.duration * packet.time_base
        context = packet.stream.codec_context
        assert isinstance(context, AudioCodecContext)
        if context.frame_size and context.sample_rate:
            return Fraction(context.frame_size, context.sample_rate)
        return float("inf")

    def until(self, seconds: Fraction | None) -> None:
        """Copy what is heard before a time of the destination; None copies all that is left."""
        while self._next is not None:
            packet = self._next
            assert packet.dts is not None
            if seconds is not None and packet.dts * packet.time_base > seconds:
                return
            self._output.mux(packet)
            self.copied += 1
            self._next = next(self._packets, None)

    def close(self) -> None:
        if hasattr(self, "_source"):
            self._source.close()
