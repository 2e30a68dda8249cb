"""Every frame, in order, upright, at its time; and no silence about a missing one."""

import re
from fractions import Fraction

import av
import numpy as np
import pytest
from sample_videos import encode, number, stamp

from velatura.errors import BadInput
from velatura.video._whole import cut_short
from velatura.video.read import read_clip, read_frames
from velatura.video.seek import index_frames

CONTAINERS = {
    "a.mp4": {},
    "a.mov": {},
    "a.mkv": {},
    "a.avi": {},
    "a.ts": {"time_base": Fraction(1, 30)},
    "a.webm": {"codec": "libvpx-vp9"},
    "mpeg4.avi": {"codec": "mpeg4"},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_all_frames_in_the_order_shown(make, name):
    frames = list(read_frames(make(name, **CONTAINERS[name])))
    assert [number(frame.image) for frame in frames] == list(range(40))
    assert [frame.index for frame in frames] == list(range(40))
    first = frames[0]
    assert first.image.shape == (48, 64, 3)
    assert first.image.dtype == np.uint8
    times = [(f.pts - first.pts) * f.time_base for f in frames]
    grain = Fraction(1, 1000) if name.endswith(("mkv", "webm")) else Fraction(1, 90000)
    assert all(abs(t - Fraction(i, 30)) <= grain for i, t in enumerate(times))


def test_uneven_times_are_exact(make):
    pts = [0, 33, 67, 100, 180, 300, 333, 1000, 1001, 1700]
    path = make("a.mp4", frames=10, pts=pts, time_base=Fraction(1, 1000))
    frames = list(read_frames(path))
    assert [f.pts * f.time_base for f in frames] == [Fraction(t, 1000) for t in pts]
    assert [number(f.image) for f in frames] == list(range(10))


def test_avi_starts_at_zero_whatever_the_decoder_delays(make):
    assert [f.pts for f in read_frames(make("a.avi", frames=5))] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_orientation(make, degrees, mirror, vertical):
    """Against the definition: turn counterclockwise, then mirror."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32], image[:24, 32:], image[24:, :32] = 255, (255, 0, 0), (0, 0, 255)
    rotation = {"degrees": degrees, "hflip": mirror, "vflip": vertical}
    path = make("a.mp4", images=[image] * 2, rotation=rotation)
    expected = np.rot90(image, degrees // 90)
    expected = expected[:, ::-1] if mirror else expected
    expected = expected[::-1] if vertical else expected
    got = next(read_frames(path)).image
    assert got.shape == expected.shape
    # Away from the borders, where chroma is shared between pixels.
    for y, x in np.argwhere(np.ones((2, 2))) * np.array(expected.shape[:2]) // 2 + 8:
        assert np.abs(got[y, x].astype(int) - expected[y, x]).max() < 12


def test_scaled_size_is_after_rotation(make):
    path = make("a.mp4", frames=2, rotation={"degrees": 90})
    assert next(read_frames(path, (20, 10))).image.shape == (20, 10, 3)


def test_scaling_averages_areas(make):
    """Stripes of one pixel become grey; picking every fourth pixel would keep one of them."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, ::2] = 255
    path = make("a.mp4", images=[image] * 2, options={"crf": "1"})
    small = next(read_frames(path, (12, 16))).image[2:-2, 2:-2]
    assert np.abs(small.astype(int) - 127).max() < 12


@pytest.mark.parametrize(
    ("height", "width", "matrix"), [(48, 64, 5), (720, 64, 1)], ids=["SD 601", "HD 709"]
)
def test_untagged_colours_follow_the_custom(make, height, width, matrix):
    """Strong green differs by tens of levels between BT.601 and BT.709."""
    colour = np.array([30, 200, 60], np.uint8)
    image = np.broadcast_to(colour, (height, width, 3))
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    coded = frame.reformat(format="yuv420p", dst_colorspace=matrix)
    path = make("a.mp4").with_name("b.mp4")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        coded.colorspace, coded.pts = 2, 0
        container.mux([*stream.encode(coded), *stream.encode()])
    got = next(read_frames(path)).image[height // 2, width // 2]
    assert np.abs(got.astype(int) - colour).max() <= 4


def test_odd_size(make):
    path = make("a.mp4", frames=3, height=49, width=65, pix_fmt="yuv444p")
    assert [f.image.shape for f in read_frames(path)] == [(49, 65, 3)] * 3


def test_one_frame(make):
    assert [number(f.image) for f in read_frames(make("a.mp4", frames=1))] == [0]


def test_an_edit_list_is_no_damage(make):
    how = {"pts": [-70, -33, 0, 33, 67], "time_base": Fraction(1, 1000), "options": {"bf": "0"}}
    assert [number(f.image) for f in read_frames(make("a.mp4", frames=5, **how))] == [2, 3, 4]


def noise(n: int) -> list[np.ndarray]:
    """Pictures that take many bytes, so that damage hits them and not a header."""
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 255, (n, 6, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2))


FASTSTART = {"container_options": {"movflags": "faststart"}}


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", FASTSTART),
        ("a.mkv", {}),
        ("a.avi", {}),
        ("mpeg4.avi", {"codec": "mpeg4", "options": {"b": "9M"}}),
        ("a.webm", {"codec": "libvpx-vp9"}),
    ],
)
@pytest.mark.parametrize("part", [0.4, 0.7, 0.96])
def test_truncated_file_is_named_with_what_it_gave(make, name, how, part):
    path = make(name, images=noise(40), **how)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    decoded = 0
    with pytest.raises(BadInput) as caught:  # noqa: PT012
        for _ in read_frames(path):
            decoded += 1
    assert 0 < decoded < 40
    assert re.search(rf"{name} is damaged: {decoded}( of 40)? frames decode", str(caught.value))


@pytest.mark.parametrize("drop", [1, 2])
def test_matroska_cut_between_frames(make, drop):
    """Nothing is broken but the end: only the header's duration tells."""
    path = make("a.mkv", images=noise(40), options={"bf": "0"})
    with av.open(str(path)) as container:
        cut = [p.pos for p in container.demux(video=0) if p.size][-drop]
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BadInput, match=rf"{40 - drop} frames decode, then it ends"):
        list(read_frames(path))


def test_frames_lost_in_the_middle_of_a_counted_matroska_file(make, tmp_path):
    """The demuxer skips what it cannot parse, and the rest plays on."""
    path = make("a.mkv", images=noise(40), options={"bf": "0", "g": "1"})
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.metadata["NUMBER_OF_FRAMES"] = "40"
        packets = [p for p in source.demux(video=0) if p.size]
        for packet in packets[:20] + packets[23:]:
            packet.stream = stream
            target.mux(packet)
    with pytest.raises(BadInput, match="37 frames decode, then it ends, .* declares 40"):
        list(read_frames(tmp_path / "b.mkv"))


def test_container_without_its_index_is_refused(make):
    path = make("a.mp4")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadInput, match="cannot be read as a video"):
        list(read_frames(path))


@pytest.mark.parametrize("part", [0.36, 0.52, 0.76])
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", {}),
        ("a.mkv", {}),
        ("a.avi", {}),
        ("a.ts", {}),
        ("mpeg4.avi", {"codec": "mpeg4", "options": {"b": "3M"}}),
        ("motion.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    ],
)
def test_damage_inside_is_not_concealed(make, name, how, part):
    """Decoders repair such frames with a guess, and say so only when asked rightly."""
    still = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    still = still.repeat(4, 0).repeat(4, 1)
    path = make(name, images=[np.roll(still, 3 * i, 1) for i in range(30)], **how)
    data = bytearray(path.read_bytes())
    middle = int(len(data) * part)
    for at in range(middle, middle + 2000):
        data[at] ^= 255
    path.write_bytes(data)
    with pytest.raises(BadInput, match="is damaged"):
        list(read_frames(path))


def test_change_of_size_is_refused(make, tmp_path):
    small = encode(tmp_path / "s.ts", [stamp(i, 48, 64) for i in range(12)])
    pts = range(100, 112)
    large = encode(tmp_path / "l.ts", [stamp(i, 96, 128) for i in range(12)], pts=pts)
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(BadInput, match="changes its size at frame 12"):
        list(read_frames(path))


def test_times_that_go_back_are_refused(tmp_path):
    part = encode(tmp_path / "s.ts", [stamp(i, 48, 64) for i in range(12)])
    path = tmp_path / "both.ts"
    path.write_bytes(part.read_bytes() * 2)
    with pytest.raises(BadInput, match="no increasing timestamp at frame 12"):
        list(read_frames(path))


def test_raw_stream_without_times_is_refused(make):
    with pytest.raises(BadInput, match="no increasing timestamp at frame 0"):
        list(read_frames(make("a.h264")))


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_clip_equals_full_decode(make, name):
    path = make(name)
    everything = [frame.image for frame in read_frames(path)]
    indices = [7, 0, 39, 7, 20]
    clip = read_clip(path, indices)
    assert clip.shape == (5, 3, 48, 64)
    assert clip.dtype == np.uint8
    for picture, i in zip(clip, indices, strict=True):
        assert np.array_equal(picture.transpose(1, 2, 0), everything[i])


def test_clip_beyond_the_end(make):
    with pytest.raises(BadInput, match="has 40 frames; there is no frame 40"):
        read_clip(make("a.mp4"), [3, 40])


@pytest.mark.parametrize("wrong", [[], [-1, 2]])
def test_clip_numbers(make, wrong):
    with pytest.raises(BadInput, match="start at 0"):
        read_clip(make("a.mp4"), wrong)


@pytest.mark.parametrize(("name", "count"), [("sign_walk.mkv", 89), ("arm_wrestling.mp4", 280)])
def test_real_files_read_whole(real_data, name, count):
    """Real encoders' files, against FFmpeg's own plain decoding."""
    path = real_data / "clips" / name
    with av.open(str(path)) as container:
        plain = [(f.pts, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    frames = list(read_frames(path))
    assert len(frames) == len(plain) == count
    for frame, (pts, image) in zip(frames, plain, strict=True):
        assert frame.pts == pts
        assert np.array_equal(frame.image, image)


LIVE = {
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "live.mkv": {"container_options": {"live": "1"}},
    "live.webm": {"codec": "libvpx-vp9", "container_options": {"live": "1"}},
    "sound.mkv": {"audio": True},
}


@pytest.mark.parametrize("name", LIVE)
def test_a_recording_that_was_cut_says_so_though_it_counts_nothing(make, name):
    """At every hundredth of the file, also where all pictures but the last few are there."""
    path = make(name, frames=60, **LIVE[name])
    whole = path.read_bytes()
    assert len(list(read_frames(path))) == 60
    for part in range(30, 100, 3):
        path.write_bytes(whole[: len(whole) * part // 100])
        with pytest.raises(BadInput):
            list(read_frames(path))


@pytest.mark.parametrize("tag", ["NUMBER_OF_FRAMES", "DURATION"])
@pytest.mark.parametrize("value", ["many", "-1", "1:2", "\u0663", "9" * 5000])
def test_a_tag_that_is_no_number_says_nothing(tmp_path, tag, value):
    path = encode(tmp_path / "a.mkv", [stamp(i, 48, 64) for i in range(9)])
    tagged = tmp_path / "b.mkv"
    with av.open(str(path)) as source, av.open(str(tagged), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        stream.metadata[tag] = value
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    assert len(list(read_frames(tagged))) == 9
    assert index_frames(tagged).frames == 9


def test_parts_of_a_file_by_hand(tmp_path):
    """Lengths as the two standards write them."""
    path = tmp_path / "a"
    box = b"\0\0\0\x0cftyp" + bytes(4)
    large = b"\0\0\0\1mdat" + (20).to_bytes(8, "big") + bytes(4)
    head = b"\x1a\x45\xdf\xa3\x82ab"
    segment, cluster = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
    block = b"\xa3\x84abcd"
    for data, cut in (
        (box + large, False),
        (box + large[:-1], True),
        (box + large[:5], True),
        (box + b"\0\0\0\0mdat" + bytes(9), False),  # to the end, wherever that is
        (box + b"what comes behind", False),
        (head + segment + b"\x86" + block, False),
        (head + segment + b"\x86" + block[:-1], True),
        (head + segment + b"\xff" + cluster + b"\xff" + block * 2, False),
        (head + segment + b"\xff" + cluster + b"\xff" + block + block[:3], True),
        (head + segment + b"\xff" + cluster + b"\x40\x06" + block + cluster[:2], True),
        (head + segment + b"\xff" + cluster + b"\x40\x06" + block, False),
        (b"RIFF....AVI ", False),
    ):
        path.write_bytes(data)
        assert cut_short(path) is cut, data
