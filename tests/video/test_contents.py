"""What a file holds beside its pictures, told by name and never by value."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from velatura.errors import BadInput
from velatura.video import contents as room
from velatura.video import probe as probing
from velatura.video.contents import SoundTrack, contents, removed, warnings
from velatura.video.write import VideoWriter

TICK = Fraction(1, 30)
SECRETS = {
    "title": "Jane at home",
    "location": "+57.0488+009.9217/",
    "artist": "Jane Doe",
    "comment": "only for Joe",
}
ASS = b"""[Script Info]
ScriptType: v4.00+
[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, \
Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, \
Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0
[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def picture(number: int, channels: int = 3) -> av.VideoFrame:
    image = np.full((48, 64, channels), 20 * number, np.uint8)
    image[10:20, 10 : 20 + number] = 200
    return av.VideoFrame.from_ndarray(image, format="rgb24" if channels == 3 else "rgba")


def film(
    path: Path,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    *,
    tags: dict[str, str] | None = None,
    stream_tags: dict[str, str] | None = None,
    format: str | None = None,
    options: dict[str, str] | None = None,
    channels: int = 3,
    frames: int = 5,
    times: list[int] | None = None,
    more: Callable | None = None,
) -> Path:
    """A small film, with whatever ``more(container)`` adds; it returns what to do at the end."""
    with av.open(str(path), "w", format=format) as container:
        container.metadata.update(tags or {})
        stream = container.add_stream(codec, 30, options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        stream.metadata.update(stream_tags or {})
        finish = more(container, stream) if more else None
        for i in range(frames):
            frame = picture(i, channels)
            frame.pts, frame.time_base = times[i] if times else i, TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if finish:
            finish()
    return path


def sound(container, codec="aac", language=None, start=0, layout="stereo"):
    stream = container.add_stream(codec, 48000, layout=layout)
    if language:
        stream.metadata["language"] = language
    channels = {"stereo": 2, "mono": 1}[layout]

    def finish():
        form = stream.codec_context.format.name
        planar = form.endswith("p")
        shape = (channels, 1024) if planar else (1, 1024 * channels)
        kind = np.float32 if form.startswith("flt") else np.int16
        frame = av.AudioFrame.from_ndarray(np.zeros(shape, kind), form, layout)
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        container.mux([*stream.encode(frame), *stream.encode()])

    return finish


def told(path: Path) -> str:
    """All that is said of a file, as one text."""
    found = contents(path)
    return repr((found, removed(found), warnings(found)))


def test_all_that_an_mp4_may_hold(tmp_path):
    def more(container, stream):
        text = container.add_stream("mov_text")
        text.codec_context.subtitle_header = ASS
        cover = container.add_stream("mjpeg", 1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        container.set_chapters(
            [
                {"id": i, "start": i, "end": i + 1, "time_base": TICK, "metadata": {"title": name}}
                for i, name in enumerate(["Jane", "Joe", "home"])
            ]
        )

        def finish():
            packet = av.Packet(b"\x00\x05Jane!")
            packet.stream, packet.time_base = text, TICK
            packet.pts = packet.dts = 0
            packet.duration = 1
            container.mux([packet, *cover.encode(picture(3))])

        return finish

    path = film(tmp_path / "a.mp4", tags=SECRETS, more=more)
    found = contents(path)
    assert found.container == "mp4"
    assert {"title", "location", "artist", "comment"} <= set(found.tags)
    assert "location-eng" not in found.tags
    assert (found.subtitles, found.covers, found.chapters, found.videos) == (1, 1, 3, 0)
    assert (found.data, found.attachments, found.sound) == (0, 0, ())
    said = removed(found)
    assert {"tag location", "1 subtitle stream", "cover picture", "3 chapters"} <= set(said)
    assert warnings(found) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi", "a.webm"])
def test_no_value_is_told(tmp_path, name):
    codec = {"a.avi": "mpeg4", "a.webm": "libvpx"}.get(name, "libx264")
    path = film(
        tmp_path / name,
        codec,
        tags=SECRETS,
        stream_tags={"title": "Joe's camera", "language": "fra", "handler_name": "Joe's phone"},
    )
    assert b"Jane at home" in path.read_bytes()
    said = told(path)
    assert "title" in said
    for word in ("Jane", "Joe", "57.04", "9.92", "fra", "phone"):
        assert word not in said


def test_tags_of_the_pictures_stream(tmp_path):
    path = film(tmp_path / "a.mp4", stream_tags={"handler_name": "Joe's phone", "language": "fra"})
    assert {"handler_name", "language"} <= set(contents(path).tags)
    path = film(tmp_path / "b.mp4", stream_tags={"handler_name": "VideoHandler"})
    assert not {"handler_name", "language"} & set(contents(path).tags)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.m4v"])
def test_nothing_is_left_to_remove_from_an_output(tmp_path, name):
    with VideoWriter(tmp_path / name, 64, 48, time_base=TICK) as writer:
        for i in range(4):
            writer.write(np.full((48, 64, 3), 40 * i, np.uint8), i)
    found = contents(tmp_path / name)
    assert removed(found) == []
    assert warnings(found) == []
    assert found.container == ("mov" if name == "a.mov" else "mp4")


def test_xmp_of_an_mp4(tmp_path):
    """A box that FFmpeg passes over unless it is asked to look."""
    path = film(tmp_path / "a.mp4")
    body = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<x:xmpmeta>Jane</x:xmpmeta>"
    box = (len(body) + 8).to_bytes(4, "big") + b"uuid" + body
    data = path.read_bytes()
    size = int.from_bytes(data[:4], "big")
    # Behind the first box; sizes of what stands before the pictures change, and that is no matter.
    path.write_bytes(data[:size] + data[size:] + box)
    assert "xmp" in contents(path).tags
    assert "Jane" not in told(path)


def test_matroska_with_attachment_and_ten_bits_of_hdr(tmp_path):
    def more(container, stream):
        container.add_attachment("Jane.txt", "text/plain", b"hello")

    path = film(
        tmp_path / "a.mkv",
        "libx265",
        "yuv420p10le",
        options={
            "x265-params": "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
        },
        more=more,
    )
    found = contents(path)
    assert (found.container, found.attachments, found.bits) == ("matroska", 1, 10)
    assert (found.transfer, found.primaries) == ("PQ", "BT.2020")
    assert "1 attachment" in removed(found)
    assert warnings(found)[:2] == [
        "10 bits per colour become 8.",
        "HDR (PQ) is not tone-mapped: the copy will look flat.",
    ]
    assert "Jane" not in told(path)


@pytest.mark.parametrize(("transfer", "name"), [("arib-std-b67", "HLG"), ("bt709", "")])
def test_transfer(tmp_path, transfer, name):
    path = film(tmp_path / "a.mp4", options={"x264-params": f"transfer={transfer}"})
    assert contents(path).transfer == name


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mov", "qtrle", "argb"),
        ("a.mov", "png", "rgba"),
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.mkv", "ffv1", "yuva420p"),
    ],
)
def test_alpha(tmp_path, name, codec, pix_fmt):
    """The transparency of VP9 stands beside the pictures, where FFmpeg does not decode it."""
    image = np.zeros((48, 64, 4), np.uint8)
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, 30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        if name == "a.webm":
            stream.metadata["alpha_mode"] = "1"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgba")))
        container.mux(stream.encode())
    found = contents(tmp_path / name)
    assert found.alpha
    assert any(line.startswith("The alpha channel is dropped; ") for line in warnings(found))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "name"), [("qtrle", "rgb24", "a.mov"), ("png", "rgb24", "a.mov")]
)
def test_no_alpha(tmp_path, codec, pix_fmt, name):
    assert not contents(film(tmp_path / name, codec, pix_fmt)).alpha


def test_animated_gif(tmp_path):
    from PIL import Image

    images = [Image.fromarray(picture(i).to_ndarray()) for i in range(3)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    found = contents(tmp_path / "a.gif")
    assert (found.container, found.alpha) == ("gif", False)
    holes = [Image.new("RGBA", (64, 48), (i, 0, 0, 0)) for i in range(3)]
    holes[1].putpixel((5, 5), (9, 200, 9, 255))
    holes[0].save(tmp_path / "b.gif", save_all=True, append_images=holes[1:])
    assert contents(tmp_path / "b.gif").alpha


def test_interlaced(tmp_path):
    path = film(tmp_path / "a.mkv", "ffv1", "yuv420p")
    assert not contents(path).interlaced

    def more(container, stream):
        stream.codec_context.flags |= 0x20040000  # ildct, ilme

    path = film(tmp_path / "a.ts", "mpeg2video", "yuv420p", more=more)
    found = contents(path)
    assert found.interlaced
    assert any("interlaced" in line for line in warnings(found))


def test_rotation(tmp_path):
    path = film(tmp_path / "a.mp4", more=lambda _, stream: stream.set_display_rotation(90))
    found = contents(path)
    assert found.rotation == 90
    assert not any("rot" in line for line in removed(found))


def test_frame_rate(tmp_path):
    assert contents(film(tmp_path / "a.mp4")).variable is False
    path = film(tmp_path / "b.mp4", times=[0, 1, 2, 9, 10], options={"bf": "0"})
    assert contents(path).variable is True
    assert contents(film(tmp_path / "c.ts")).variable is None
    # 30000/1001 in thousandths: 33 and 34 by turns.
    with VideoWriter(tmp_path / "d.mp4", 64, 48, time_base=Fraction(1, 1000)) as writer:
        for i in range(20):
            writer.write(np.zeros((48, 64, 3), np.uint8), round(i * 1001 / 30))
    assert contents(tmp_path / "d.mp4").variable is False


def test_sound(tmp_path):
    def more(container, stream):
        first = sound(container, language="eng")
        second = sound(container, "libopus", language="Joe!", layout="mono", start=24000)
        return lambda: (first(), second())

    found = contents(film(tmp_path / "a.mkv", more=more))
    assert found.sound[0] == SoundTrack("aac", "eng", 2, Fraction(0))
    one = found.sound[1]
    assert (one.codec, one.language, one.channels) == ("opus", "", 1)
    assert float(one.start) == pytest.approx(0.5, abs=0.03)
    assert "2 sound tracks" in removed(found)


def test_a_further_video(tmp_path):
    def more(container, stream):
        other = container.add_stream("libx264", 30)
        other.width, other.height, other.pix_fmt = 32, 32, "yuv420p"

        def finish():
            container.mux(other.encode(picture(1).reformat(32, 32)))
            container.mux(other.encode())

        return finish

    found = contents(film(tmp_path / "a.mkv", more=more))
    assert found.videos == 1
    assert "1 further video stream" in removed(found)
    assert any("2 video streams" in line for line in warnings(found))


@pytest.mark.parametrize(
    ("format", "codec", "container"),
    [
        ("mp4", "libx264", "mp4"),
        ("mov", "libx264", "mov"),
        ("matroska", "libx264", "matroska"),
        ("webm", "libvpx", "webm"),
        ("mpegts", "libx264", "mpegts"),
        ("avi", "mpeg4", "avi"),
        ("flv", "libx264", "flv"),
        ("ogg", "libvpx", "ogg"),
        ("gif", "gif", "gif"),
    ],
)
@pytest.mark.parametrize("name", ["film", "film.jpg", "film.mkv"])
def test_the_content_counts_and_not_the_name(tmp_path, format, codec, container, name):
    pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
    path = film(tmp_path / name, codec, pix_fmt, format=format)
    assert contents(path).container == container


def test_tags_that_are_not_utf8_or_not_printable(tmp_path):
    path = film(tmp_path / "a.avi", "mpeg4", tags={"title": "xy"})
    data = path.read_bytes()
    assert data.count(b"xy\x00") == 1
    path.write_bytes(data.replace(b"xy\x00", b"\xfc\xff\x00"))
    assert "title" in contents(path).tags
    path = film(tmp_path / "a.mkv", tags={"\x1b[31mEVIL" + "x" * 500: "v"})
    (name,) = [name for name in contents(path).tags if "EVIL" in name]
    assert name.isprintable()
    assert len(name) == room.LONGEST


def test_a_thousand_tags(tmp_path):
    path = film(tmp_path / "a.mkv", tags={f"T{i}": "v" for i in range(1000)})
    said = removed(contents(path))
    assert len(said) == room.MOST + 1
    assert said[-1] == f"{1001 - room.MOST} further tags"  # and the name of the encoder


HOSTILE = {
    "empty": b"",
    "noise": np.random.default_rng(0).bytes(5000),
    "text": b"hello world\n" * 200,
    "zeros": bytes(4096),
    "half a box": b"\xff\xff\xff\xffftypisom",
    "only ftyp": b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00isom",
}


@pytest.mark.parametrize("name", ["a.mp4", "a.txt", "a"])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_video_is_told_in_a_sentence(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput) as caught:
        contents(tmp_path / name)
    said = str(caught.value)
    assert said.startswith(str(tmp_path / name))
    assert said.endswith(".")
    assert "\n" not in said


def read_or_told(path):
    """The sentence of a BadInput; anything else that is raised is a fault."""
    try:
        contents(path)
    except BadInput as error:
        return str(error)
    return "Read."


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_cut_file_is_told_or_read(tmp_path, name, share):
    path = film(tmp_path / name, "mpeg4")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert read_or_told(path).endswith(".")


def test_damaged_bytes_never_end_in_another_error(tmp_path):
    rng = np.random.default_rng(1)
    for name in ("a.mp4", "a.mkv", "a.ts"):
        whole = np.frombuffer(film(tmp_path / name, tags=SECRETS).read_bytes(), np.uint8)
        for _ in range(20):
            data = whole.copy()
            data[rng.integers(0, len(data), 40)] = rng.integers(0, 256, 40)
            (tmp_path / name).write_bytes(data.tobytes())
            assert read_or_told(tmp_path / name).endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile inner.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\ninner.mp4\n#EXT-X-ENDLIST\n",
    ],
    ids=["concat", "hls"],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8", "a"])
def test_a_list_of_files_is_not_followed(tmp_path, text, name):
    film(tmp_path / "inner.mp4")
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match="is a list of other files"):
        contents(tmp_path / name)


def test_a_list_is_not_followed_either_where_its_start_is_unknown(tmp_path, monkeypatch):
    film(tmp_path / "inner.mp4")
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile inner.mp4\n")
    monkeypatch.setattr(probing, "STARTS", (b"nothing starts so",))
    with pytest.raises(BadInput, match="is a list of other files"):
        contents(tmp_path / "a.mp4")


def test_not_there_or_no_file(tmp_path):
    with pytest.raises(BadInput, match="is not there"):
        contents(tmp_path / "none.mp4")
    with pytest.raises(BadInput, match="is a folder"):
        contents(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(BadInput, match="is not there"):
        contents(tmp_path / "pipe.mp4")


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        sound(container)()
    with pytest.raises(BadInput, match="holds no video stream"):
        contents(tmp_path / "a.m4a")


def test_real_files(real_data):
    for path in sorted((real_data / "clips").iterdir()):
        found = contents(path)
        assert found.bits == 8
        assert bool(found.sound) == ("audio" in path.name)
