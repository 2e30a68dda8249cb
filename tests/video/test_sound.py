"""Sound tracks, copied: every packet as it was, at its time beside the pictures."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from velatura.deploy.file import anonymize_video
from velatura.errors import BadInput
from velatura.video.probe import probe
from velatura.video.sound import Sound
from velatura.video.write import VideoWriter

RATE = 48000


def tone(hertz: float, first: int, samples: int) -> np.ndarray:
    """A rising tone, so that no two packets are alike."""
    seconds = np.arange(first, first + samples) / RATE
    return (0.2 * np.sin(2 * np.pi * (hertz + 200 * seconds) * seconds)).astype(np.float32)


def film(path, codecs=("aac", "aac"), offsets=(0, 0.25), seconds=1.0):
    """A moving picture with sound tracks that begin at given seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25, {"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        tracks = [container.add_stream(codec, RATE) for codec in codecs]
        for number, track in enumerate(tracks):
            track.layout = "mono"
            track.metadata["language"] = ("dan", "ita")[number]
        for i in range(round(25 * seconds)):
            picture = np.roll(np.eye(48, 64, dtype=np.uint8)[..., None] * 200, i, 1)
            frame = av.VideoFrame.from_ndarray(np.repeat(picture, 3, -1))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for number, (track, offset) in enumerate(zip(tracks, offsets, strict=True)):
            size = track.codec_context.frame_size or 1024
            for i in range(round(seconds * RATE) // size):
                form = track.codec_context.format.name
                data = tone(300 * (number + 1), i * size, size)[None]
                if form[0] == "s":
                    bits = int(form[1:].rstrip("p"))
                    data = (data * (2 ** (bits - 1) - 1)).astype(f"int{bits}")
                sound = av.AudioFrame.from_ndarray(data, form, "mono")
                sound.sample_rate, sound.pts = RATE, round(offset * RATE) + i * size
                sound.time_base = Fraction(1, RATE)
                container.mux(track.encode(sound))
            container.mux(track.encode())
    return path


def packets(path) -> list[list[tuple[float, bytes]]]:
    """Of each sound track: when each packet is heard, in seconds, and its bytes."""
    with av.open(str(path)) as container:
        found: dict[int, list[tuple[float, bytes]]] = {s.index: [] for s in container.streams.audio}
        for packet in container.demux(*container.streams.audio):
            if packet.size:
                time = float(packet.pts * packet.time_base)
                found[packet.stream.index].append((time, bytes(packet)))
    return list(found.values())


def languages(path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.metadata.get("language", "") for stream in container.streams.audio]


def negative(frames):
    return 255 - frames


@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "libopus", "flac", "ac3"])
def test_every_track_bit_for_bit_and_on_time(tmp_path, codec):
    source = film(tmp_path / "film.mkv", codecs=(codec, codec))
    report = anonymize_video(source, tmp_path / "out.mp4", negative, sound="keep")
    assert report.sound == "kept"
    before, after = packets(source), packets(tmp_path / "out.mp4")
    assert len(before) == len(after) == 2
    for old, new in zip(before, after, strict=True):
        assert [data for _, data in new] == [data for _, data in old]
        assert max(abs(a - b) for (a, _), (b, _) in zip(new, old, strict=True)) < 0.002
    assert languages(tmp_path / "out.mp4") == languages(source) == ["dan", "ita"]


def test_from_mp4_the_times_are_exact(tmp_path):
    source = film(tmp_path / "film.mp4")
    anonymize_video(source, tmp_path / "out.mp4", negative, sound="keep")
    assert packets(tmp_path / "out.mp4") == packets(source)


def test_it_is_dropped_unless_it_is_asked_for(tmp_path):
    source = film(tmp_path / "film.mp4")
    report = anonymize_video(source, tmp_path / "out.mp4", negative)
    assert report.sound == "dropped"
    assert not probe(tmp_path / "out.mp4").has_audio


def test_a_silent_film_has_none_to_drop(tmp_path):
    source = film(tmp_path / "film.mp4", codecs=(), offsets=())
    assert anonymize_video(source, tmp_path / "out.mp4", negative, sound="keep").sound == "none"


def test_a_span_takes_its_sound_along(tmp_path):
    source = film(tmp_path / "film.mp4", seconds=2.0)
    anonymize_video(source, tmp_path / "out.mp4", negative, sound="keep", start=0.5, end=1.0)
    whole = {data: time for time, data in packets(source)[0]}
    cut = packets(tmp_path / "out.mp4")[0]
    assert 20 <= len(cut) <= 26  # half a second in packets of 1024 samples
    origin = 0.52  # the first picture at or after .5 s, of 25 a second
    for time, data in cut:
        assert abs(time - (whole[data] - origin)) < 0.002
        assert origin <= whole[data] <= 1.0 - 1024 / RATE
    assert probe(tmp_path / "out.mp4").duration < Fraction(6, 10)


@pytest.mark.parametrize("name", ["film.mkv", "film.mp4"])
def test_nothing_outside_a_span_is_heard(tmp_path, name):
    """FLAC in packets of a third of a second, each of its own loudness, decoded again."""
    size, long = 16000, tmp_path / name
    with av.open(str(long), "w") as new:
        video = new.add_stream("libx264", 25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = new.add_stream("flac", RATE, {"frame_size": str(size)})
        sound.layout, sound.format = "mono", "s16"
        for i in range(4 * RATE // size):
            data = np.full((1, size), 1000 * (i + 1), np.int16)
            frame = av.AudioFrame.from_ndarray(data, "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, i * size, Fraction(1, RATE)
            new.mux(sound.encode(frame))
        new.mux(sound.encode())
        for _ in range(100):
            grey = np.full((48, 64, 3), 99, np.uint8)
            new.mux(video.encode(av.VideoFrame.from_ndarray(grey)))
        new.mux(video.encode())
    with av.open(str(long)) as container:
        assert {f.samples for f in container.decode(audio=0)} == {size}
    anonymize_video(long, tmp_path / "out.mp4", negative, sound="keep", start=0.5, end=2.1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        heard = [(f.time, f.to_ndarray()[0]) for f in container.decode(audio=0)]
    # Packets begin at thirds of a second: those of 2/3 to 2 s lie within .52 to 2.1 s.
    loudness = [int(np.unique(samples).item()) for _, samples in heard]
    assert loudness == [3000, 4000, 5000, 6000]
    for time, level in zip((t for t, _ in heard), loudness, strict=True):
        assert abs(time - ((level / 1000 - 1) / 3 - 0.52)) < 0.002


def test_a_span_between_two_packets_has_no_sound(tmp_path):
    source = film(tmp_path / "film.mp4", codecs=("flac",), offsets=(0,), seconds=2.0)
    anonymize_video(source, tmp_path / "out.mp4", negative, sound="keep", start=0.5, end=0.53)
    assert not probe(tmp_path / "out.mp4").has_audio


def test_sound_that_the_container_cannot_hold_is_refused_before_any_work(tmp_path):
    source = film(tmp_path / "film.avi", codecs=("adpcm_ms",), offsets=(0,))
    calls = []

    def count(frames):
        calls.append(len(frames))
        return 255 - frames

    with pytest.raises(BadInput, match=r"cannot hold the sound .*adpcm_ms.* --audio drop"):
        anonymize_video(source, tmp_path / "out.mp4", count, sound="keep")
    assert calls == []
    assert [p.name for p in tmp_path.iterdir()] == ["film.avi"]


def test_sound_of_a_transport_stream(tmp_path):
    """There every packet has a header of its own, which MP4 keeps once; the sound is the same."""
    source = film(tmp_path / "film.ts", codecs=("aac",), offsets=(0,))
    anonymize_video(source, tmp_path / "out.mp4", negative, sound="keep")

    def samples(path):
        with av.open(str(path)) as container:
            return np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])

    a, b = samples(source), samples(tmp_path / "out.mp4")
    length = min(len(a), len(b))
    assert length > 40000
    assert np.array_equal(a[:length], b[:length])


def test_an_error_midway_closes_the_source(tmp_path):
    source = film(tmp_path / "film.mp4")

    def break_off():
        with VideoWriter(
            tmp_path / "out.mp4", 64, 48, time_base=Fraction(1, 25), sound=Sound(source)
        ) as writer:
            writer.write(np.zeros((48, 64, 3), np.uint8), 0)
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        break_off()
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_a_span_shorter_than_a_packet_says_that_it_has_no_sound(tmp_path):
    source = film(tmp_path / "film.mp4", seconds=1.0)
    report = anonymize_video(
        source, tmp_path / "out.mp4", negative, sound="keep", start=0.51, end=0.53
    )
    assert report.sound == "dropped"
    assert any("none was kept" in warning for warning in report.warnings)
