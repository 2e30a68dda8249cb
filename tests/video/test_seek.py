"""Seeking gives what decoding from the start gives, bit for bit; and where it might not, it is
not done. Every kind of file is made here with PyAV alone."""

from __future__ import annotations

import os
import pickle
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from sample_videos import encode, number, stamp

from velatura.errors import BadInput
from velatura.video import seek
from velatura.video._restart import H264, Doubt, Mpeg4, _Bits, _sequence_header
from velatura.video.read import read_clip, read_frames
from velatura.video.seek import index_frames, read_window

FRAMES = 90
MOVING = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)


def moving(i: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A stamp with a moving texture, so that a picture predicted from a wrong one is wrong."""
    image = stamp(i, height, width)
    texture = np.roll(np.resize(MOVING, (height, width, 3)), 3 * i, 1)
    image[: height // 3] = texture[: height // 3]
    return image


IMAGES = [moving(i) for i in range(FRAMES)]
LONG = {"g": "25", "keyint_min": "25", "sc_threshold": "0", "crf": "23"}
UNEVEN = [40 * i + (i * 7919 % 31) for i in range(FRAMES)]

# Files in which seeking is exact, and how they are made.
SOUGHT = {
    "b-frames.mp4": {"options": {**LONG, "bf": "3", "b_strategy": "0"}},
    "pyramid.mp4": {"options": {**LONG, "x264-params": "bframes=7:b-adapt=0:b-pyramid=normal"}},
    "no-b.mp4": {"options": {**LONG, "bf": "0"}},
    "baseline.mp4": {"options": {**LONG, "profile": "baseline"}},
    "all-intra.mp4": {"options": {"g": "1"}},
    "high444.mp4": {"options": LONG, "pix_fmt": "yuv444p"},
    "a.mov": {"options": LONG},
    "a.mkv": {"options": LONG},
    "fragments.mp4": {
        "options": LONG,
        "container_options": {"movflags": "frag_keyframe+empty_moov"},
    },
    "uneven.mp4": {"options": LONG, "pts": UNEVEN, "time_base": Fraction(1, 1000)},
    "uneven.mkv": {"options": LONG, "pts": UNEVEN, "time_base": Fraction(1, 1000)},
    "late.mp4": {"options": LONG, "pts": [i + 500 for i in range(FRAMES)]},
    "turned.mp4": {"options": LONG, "rotation": {"degrees": 90}},
    "mirrored.mp4": {"options": LONG, "rotation": {"degrees": 180, "hflip": True}},
    "sound.mp4": {"options": LONG, "audio": True},
    "scaling-lists.mp4": {"options": {**LONG, "x264-params": "cqm=jvt"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "20"}},
    "msmpeg4.avi": {"codec": "msmpeg4", "options": {"g": "20"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "20"}},
    "msmpeg4.mkv": {"codec": "msmpeg4", "options": {"g": "20"}},
}
# Files in which it might not be, and why.
DOUBTED = {
    "open.mp4": ({"options": {**LONG, "x264-params": "open-gop=1:bframes=3:b-adapt=0"}}, ""),
    "refresh.mp4": (
        {"options": {"g": "25", "x264-params": "intra-refresh=1:bframes=0:scenecut=0"}},
        "",
    ),
    "interlaced.mp4": ({"options": {**LONG, "x264-params": "interlaced=1"}}, "interlaced"),
    "cut.mp4": (
        {"options": {**LONG, "bf": "0"}, "pts": [40 * i - 400 for i in range(FRAMES)]}
        | {"time_base": Fraction(1, 1000)},
        "edit list",
    ),
    "a.avi": ({"options": LONG}, "not sought"),
    "b.avi": ({"codec": "mpeg4", "options": {"g": "20", "bf": "2"}}, "times do not increase"),
    "motion.avi": ({"codec": "mjpeg", "pix_fmt": "yuvj420p"}, "not sought"),
    "a.ts": ({"options": LONG}, "mpegts"),
    "a.webm": ({"codec": "libvpx-vp9", "options": {"g": "20"}}, "vp9"),
    "vp8.webm": ({"codec": "libvpx", "options": {"g": "20", "auto-alt-ref": "1"}}, "vp8"),
    "a.mpg": ({"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}}, "mpeg"),
}


def build(folder: Path, name: str, how: dict) -> Path:
    return encode(folder / name, IMAGES, **how)


def windows() -> list[list[int]]:
    """From every part of a file, forwards, backwards, with gaps and repeats."""
    rng = np.random.default_rng(1)
    some = [rng.integers(0, FRAMES, 4).tolist() for _ in range(2)]
    return [[k, k + 1, k + 4] for k in (1, 24, 25, 47, 76)] + [[89], [60, 40, 60, 41], *some]


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list to which the time of every picture that seeking decodes is added."""
    times: list[int] = []
    frames = seek._frames

    def spy(*arguments):
        for frame in frames(*arguments):
            if frame is not None:
                times.append(frame.pts)
            yield frame

    monkeypatch.setattr(seek, "_frames", spy)
    return times


@pytest.mark.parametrize("name", SOUGHT)
def test_seeking_equals_decoding_from_the_start(tmp_path, monkeypatch, name):
    path = build(tmp_path, name, SOUGHT[name])
    index = index_frames(path)
    assert index.doubt == ""
    assert index.frames == FRAMES
    assert len(index.restarts) >= 4
    whole = read_clip(path, range(FRAMES))
    monkeypatch.setattr(seek, "frames_from_start", None)  # seeking alone must do it
    times = decoded(monkeypatch)
    for window in windows():
        del times[:]
        got = read_window(path, window, None, index)
        assert np.array_equal(got, whole[window]), window
        begin = max(restart for restart in index.restarts if restart <= min(window))
        # With uneven times MP4's reader may go one keyframe further back than it must.
        assert index.times[begin] == times[0] or name == "uneven.mp4"


@pytest.mark.parametrize("name", DOUBTED)
def test_where_seeking_might_not_be_exact_it_is_not_done(tmp_path, name):
    how, why = DOUBTED[name]
    path = build(tmp_path, name, how)
    index = index_frames(path)
    assert why in index.doubt
    # Either the whole file is in doubt or it has no place but its start to begin from.
    assert index.doubt or index.restarts == (0,)
    images = [frame.image for frame in read_frames(path)]
    if name == "cut.mp4":
        assert number(images[0]) == 10  # ten frames lie before the file's first moment
    assert index.frames == len(images)
    images += images[-1:] * (FRAMES - len(images))
    everything = np.stack(images).transpose(0, 3, 1, 2)
    for window in windows():
        if max(window) < index.frames:
            assert np.array_equal(read_window(path, window, None, index), everything[window])


@pytest.mark.parametrize("name", ["open.mp4", "refresh.mp4"])
def test_what_the_container_calls_a_keyframe_is_not_believed(tmp_path, name):
    path = build(tmp_path, name, DOUBTED[name][0])
    with av.open(str(path)) as container:
        called = sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    assert called > 2
    assert index_frames(path).restarts == (0,)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("kind", ["open.mp4", "refresh.mp4"])
def test_a_piece_copied_out_of_a_longer_file(tmp_path, kind, name):
    """Its first packets give no picture of their own, so counting packets would be off."""
    source, path = build(tmp_path, kind, DOUBTED[kind][0]), tmp_path / name
    with av.open(str(source)) as whole, av.open(str(path), "w") as piece:
        stream = piece.add_stream_from_template(whole.streams.video[0])
        keys = 0
        for packet in whole.demux(video=0):
            keys += packet.is_keyframe
            if packet.size and keys > 1:
                packet.stream = stream
                piece.mux(packet)
    index = index_frames(path)
    assert index.doubt
    assert index.restarts == ()
    for window in ([1], [13], [39]):
        got, expected = (outcome(read, path, window) for read in (read_window, read_clip))
        assert np.array_equal(got, expected)
    assert isinstance(expected, str) == (kind == "open.mp4")  # that one cannot be decoded at all


X264 = {
    "keyint": (5, 13, 30),
    "bframes": (0, 1, 3, 8),
    "b-pyramid": ("none", "strict", "normal"),
    "b-adapt": (0, 2),
    "ref": (1, 3, 6),
    "open-gop": (0, 0, 1),
    "scenecut": (0, 40),
    "weightp": (0, 2),
    "slices": (1, 3),
    "repeat-headers": (0, 1),
    "aud": (0, 1),
    "direct": ("temporal", "spatial"),
    "intra-refresh": (0, 0, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_encoders_of_every_temper(tmp_path, seed):
    """Chosen at random: however a file was coded, no frame is another one."""
    rng = np.random.default_rng(seed)
    how = ":".join(f"{key}={rng.choice(values)}" for key, values in X264.items())
    name = ("a.mp4", "a.mkv", "a.mov")[seed % 3]
    path = build(tmp_path, name, {"options": {"x264-params": how, "crf": "25"}})
    index = index_frames(path)
    everything = read_clip(path, range(FRAMES))
    for i in [*rng.integers(1, FRAMES, 8).tolist(), *index.restarts[1:]]:
        assert np.array_equal(read_window(path, [i], None, index)[0], everything[i]), (how, i)


def test_only_what_is_needed_is_decoded(tmp_path, monkeypatch):
    """From the restart at 50, up to 61, without those that neither we nor others need."""
    path = build(tmp_path, "a.mp4", SOUGHT["b-frames.mp4"])
    index = index_frames(path)
    assert index.restarts == (0, 25, 50, 75)
    times = decoded(monkeypatch)
    read_window(path, [60, 61], None, index)
    numbers = np.searchsorted(index.times, times).tolist()
    assert numbers[0] == 50
    assert numbers[-1] == 61
    spare = {int(n) for n in index.numbers[index.spare]}
    assert numbers == [n for n in range(50, 62) if n not in spare or n in (60, 61)]
    assert len(numbers) < 10


@pytest.mark.parametrize("name", ["b-frames.mp4", "a.mkv", "mpeg4.avi", "turned.mp4", "a.ts"])
def test_scaled_while_decoding_as_read_clip_does(tmp_path, name):
    how = (SOUGHT | {"a.ts": DOUBTED["a.ts"][0]})[name]
    path = build(tmp_path, name, how)
    for size in [(24, 32), (31, 17), (96, 64)]:
        got = read_window(path, [55, 57, 59], size)
        assert got.shape == (3, 3, *size)
        assert np.array_equal(got, read_clip(path, [55, 57, 59], size))


def test_the_colours_of_high_definition(tmp_path):
    """Files that do not say are BT.709 from 577 lines on, as for ``read_clip``."""
    images = [moving(i, 720, 64) for i in range(12)]
    path = encode(tmp_path / "a.mp4", images, options={"g": "4", "bf": "0"})
    assert index_frames(path).restarts == (0, 4, 8)
    assert np.array_equal(read_window(path, [9, 11]), read_clip(path, [9, 11]))


def test_an_index_can_be_kept_and_a_changed_file_is_noticed(tmp_path):
    path = build(tmp_path, "a.mp4", SOUGHT["no-b.mp4"])
    index = pickle.loads(pickle.dumps(index_frames(path)))
    assert index.fits(path)
    assert number(read_window(path, [77], None, index)[0].transpose(1, 2, 0)) == 77
    encode(path, IMAGES[::-1], options={"bf": "0", "g": "7"})
    assert not index.fits(path)
    assert number(read_window(path, [77], None, index)[0].transpose(1, 2, 0)) == FRAMES - 1 - 77


def test_an_index_of_another_file_gives_no_wrong_frame(tmp_path):
    """Even with a forged stamp: places and times are compared with what is met."""
    one = build(tmp_path, "a.mp4", SOUGHT["b-frames.mp4"])
    two = build(tmp_path, "b.mp4", SOUGHT["no-b.mp4"])
    wrong, right = index_frames(one), index_frames(two)
    object.__setattr__(wrong, "size", right.size)
    object.__setattr__(wrong, "modified", right.modified)
    assert wrong.fits(two)
    for window in windows():
        assert np.array_equal(read_window(two, window, None, wrong), read_clip(two, window))


@pytest.mark.parametrize("field", ["numbers", "times", "places"])
def test_a_wrong_index_falls_back(tmp_path, field):
    path = build(tmp_path, "a.mp4", SOUGHT["b-frames.mp4"])
    index = index_frames(path)
    moved = np.roll(getattr(index, field), 1)
    object.__setattr__(index, field, moved)
    assert np.array_equal(read_window(path, [60, 62], None, index), read_clip(path, [60, 62]))


@pytest.mark.parametrize("window", [[], [-1, 2], [3, 90], [200]])
@pytest.mark.parametrize("name", ["no-b.mp4", "mpeg4.avi"])
def test_the_same_refusal_as_read_clip(tmp_path, name, window):
    path = build(tmp_path, name, SOUGHT[name])
    with pytest.raises(BadInput) as expected:
        read_clip(path, window)
    with pytest.raises(BadInput) as got:
        read_window(path, window, None, index_frames(path))
    assert str(got.value) == str(expected.value)


def outcome(read, path: Path, window: list[int]) -> np.ndarray | str:
    """The frames, or the sentence that refuses them."""
    try:
        return read(path, window)
    except BadInput as error:
        return str(error)


def agree(path: Path, intact: np.ndarray, windows: list[list[int]]) -> int:
    """Both ways say the same, or seeking gives what an intact file gives; counts refusals."""
    refused = 0
    for window in windows:
        got, expected = (outcome(read, path, window) for read in (read_window, read_clip))
        if isinstance(got, str):
            refused += 1
            assert got == expected
        elif isinstance(expected, str):
            assert np.array_equal(got, intact[window])
        else:
            assert np.array_equal(got, expected)
    return refused


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "mpeg4.avi", "msmpeg4.avi"])
@pytest.mark.parametrize("part", [0.5, 0.8])
def test_damage_on_the_way_is_never_returned(tmp_path, name, part):
    path = build(tmp_path, name, SOUGHT.get(name, SOUGHT["no-b.mp4"]))
    intact = read_clip(path, range(FRAMES))
    data = bytearray(path.read_bytes())
    middle = int(len(data) * part)
    for at in range(middle, middle + 1000):
        data[at] ^= 255
    path.write_bytes(data)
    refused = agree(path, intact, [[k, k + 3] for k in range(1, FRAMES - 4, 10)])
    assert refused or name == "a.mkv"  # its demuxer skips what it cannot parse


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "mpeg4.avi", "msmpeg4.avi"])
@pytest.mark.parametrize("part", [0.5, 0.7])
def test_a_truncated_file(tmp_path, name, part):
    how = dict(SOUGHT.get(name, SOUGHT["no-b.mp4"]))
    if name.endswith("mp4"):
        how["container_options"] = {"movflags": "faststart"}
    path = build(tmp_path, name, how)
    intact = read_clip(path, range(FRAMES))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    assert agree(path, intact, [[1, 3], [30, 33], [30, 89], [85, 89]]) >= 2


def test_what_is_no_video(tmp_path):
    empty = tmp_path / "empty.mp4"
    empty.touch()
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", 8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode()])
    cases = {
        empty: "empty.mp4 cannot be read as a video",
        sound: "sound.wav holds no video stream",
        tmp_path: "is a folder, not a video file",
        tmp_path / "none.mp4": "none.mp4 is not there",
    }
    for path, message in cases.items():
        with pytest.raises(BadInput, match=message):
            read_window(path, [3])
        with pytest.raises(BadInput, match=message):
            index_frames(path)


@pytest.mark.parametrize(
    "name", ["a b;#&[1]{x}.mp4", "Grün 走る 🏃.mp4", "concat:x|y.mp4", "%d.mp4"]
)
def test_odd_names(tmp_path, name):
    path = build(tmp_path, "a.mp4", SOUGHT["no-b.mp4"])
    odd = shutil.move(path, tmp_path / name)
    assert number(read_window(odd, [42])[0].transpose(1, 2, 0)) == 42


def packed(unit: bytes, width: int = 4) -> bytes:
    return len(unit).to_bytes(width, "big") + unit


# A Baseline sequence header of 64 x 48, written bit by bit, and a picture header.
# Baseline, level 1; identity 0, 4 bits of number, order 2, 1 reference, no gaps, 4 x 3
# macroblocks, frames only, direct 8x8, no cropping, no usability information, the end.
SEQUENCE = bytes([0x67, 66, 0, 10, 0b1_1_011_010, 0b0_00100_01, 0b1_1_1_0_0_1_00])
AVCC = bytes([1, 66, 0, 10, 255, 225]) + packed(SEQUENCE, 2) + b"\1" + packed(b"\x68\xce", 2)
IDR, P, B = b"\x65\x88aa", b"\x41\x9aaa", b"\x01\x9aaa"


def test_h264_by_hand():
    judge = H264(AVCC)
    assert judge.look(packed(b"\x06\5\1a") + packed(IDR), True) == (True, False)
    assert judge.look(packed(P), False) == (False, False)
    assert judge.look(packed(B), False) == (False, True)
    assert judge.look(packed(P), True) == (False, False)  # no refresh, whatever is said
    assert judge.look(packed(IDR), False) == (False, False)
    later = b"\x41\x1aaa"  # a second slice of the same picture
    assert judge.look(packed(P) + packed(later), False) == (False, False)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (packed(P) + packed(P), "holds 2 pictures"),
        (packed(b"\x09\xf0"), "holds 0 pictures"),
        (packed(SEQUENCE[:-1] + b"x") + packed(IDR), "headers change"),
        (packed(b"\x42aaa"), "type 2"),
        (packed(b"\x06\x2f\1a\x80") + packed(P), "turn its picture"),
        (packed(b"\x06\5\1a\x2f\1a\x80") + packed(P), "turn its picture"),
        (packed(P)[:-1], "whole units"),
        (packed(b"\x06\x05\x10x264 - core 66 ") + packed(IDR), "x264 66"),
    ],
)
def test_h264_in_doubt(data, why):
    with pytest.raises(Doubt, match=why):
        H264(AVCC).look(data, True)


@pytest.mark.parametrize(
    ("extradata", "why"),
    [
        (b"", "incomplete"),
        (b"\0\0\0\1" + SEQUENCE, "form of MP4"),
        (AVCC[:9], "incomplete"),
        (AVCC[:5] + b"\xe2" + packed(SEQUENCE, 2) * 2 + b"\0", "several"),
    ],
)
def test_h264_headers_in_doubt(extradata, why):
    with pytest.raises(Doubt, match=why):
        H264(extradata)


def test_exp_golomb():
    """Table 9-2: 1, 010, 011, 00100 are 0, 1, 2, 3; signed 0, 1, -1, 2."""
    bits = _Bits(bytes([0b1_010_011_0, 0b0100_0000]))
    assert [bits.ue() for _ in range(4)] == [0, 1, 2, 3]
    bits = _Bits(bytes([0b1_010_011_0, 0b0100_0000]))
    assert [bits.se() for _ in range(4)] == [0, 1, -1, 2]


def test_sequence_header_by_hand():
    assert _sequence_header(SEQUENCE) == (1, True)
    assert _sequence_header(SEQUENCE[:-1] + bytes([SEQUENCE[-1] ^ 64])) == (1, False)


def vop(kind: int, length: int = 20) -> bytes:
    return b"\0\0\1\xb6" + bytes([kind << 6]) + b"a" * length


HEADER = b"\0\0\1\x20volume\0\0\1\xb2XviD0063"


def test_mpeg4_by_hand():
    judge = Mpeg4(b"")
    assert judge.look(HEADER + vop(0), True) == (True, False)
    assert judge.look(vop(1), False) == (False, False)
    assert judge.look(vop(0), True) == (False, False)  # without the header that says Xvid
    clock = b"\0\0\1\xb3abc"
    assert judge.look(HEADER + clock + vop(0), True) == (True, False)
    assert judge.look(HEADER + vop(0), False) == (False, False)
    assert judge.look(HEADER + vop(1), True) == (False, False)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (vop(2), "both sides"),
        (vop(3), "warped"),
        (vop(1) + vop(2), "not hold one"),
        (HEADER, "not hold one"),
        (vop(1, 3), "may hold no picture"),
        (HEADER.replace(b"63", b"01") + vop(0), "headers change"),
    ],
)
def test_mpeg4_in_doubt(data, why):
    judge = Mpeg4(b"")
    judge.look(HEADER + vop(0), True)
    with pytest.raises(Doubt, match=why):
        judge.look(data, True)


@pytest.mark.parametrize(
    ("numbers", "depth"),
    [([0, 1, 2, 3], 0), ([0, 3, 1, 2], 1), ([0, 4, 2, 1, 3], 2), ([3, 2, 1, 0], 3)],
)
def test_depth(numbers, depth):
    assert seek._depth(numbers) == depth


def test_a_restart_has_all_earlier_frames_before_it_and_all_later_ones_behind():
    pictures = [seek.Picture(True, False)] * 6
    assert seek._closed(np.array([0, 2, 1, 3, 5, 4]), pictures) == [0, 1, 3, 4]
    pictures[3] = seek.Picture(False, False)
    assert seek._closed(np.array([0, 2, 1, 3, 5, 4]), pictures) == [0, 1, 4]


# Real files of real encoders


@pytest.mark.parametrize(
    ("name", "sought"),
    [
        ("arm_wrestling.mp4", True),
        ("speaker_with_audio.mp4", True),
        ("sign_walk.mkv", True),
        ("pedestrians.avi", True),
    ],
)
def test_real_files(real_data, monkeypatch, name, sought):
    path = real_data / "clips" / name
    index = index_frames(path)
    assert (index.doubt == "") == sought
    size = (64, 80)
    n = index.frames
    wanted = sorted({*range(1, n, 23), *index.restarts[1:], *(r - 1 for r in index.restarts[1:])})
    expected = dict(zip(wanted, read_clip(path, wanted, size), strict=True))
    monkeypatch.setattr(seek, "frames_from_start", None)
    for i in wanted[:: max(1, len(wanted) // 8)] + list(index.restarts[1:]):
        got = read_window(path, [i], size, index)
        assert np.array_equal(got[0], expected[i]), i


def test_real_short_clips(real_data):
    """Every fortieth of the JHMDB subset, first to last frame."""
    paths = sorted((real_data / "hmdb51_jhmdb" / "videos").glob("*/*.avi"))[::40]
    if not paths:
        pytest.skip("no hmdb51_jhmdb beside the clips")
    for path in paths:
        n = index_frames(path).frames
        window = [n - 1, n // 2, 1]
        assert np.array_equal(read_window(path, window), read_clip(path, window)), path.name


# ------------------------------------------------- guards that stand behind those of the packets


def test_a_stale_index_of_the_same_places_and_times(tmp_path):
    """Two files that differ in three bytes: the older one says that three pictures are spare. To
    leave them out in the newer one gives other pictures, and the decoder says nothing."""
    path = build(tmp_path, "a.mp4", {"options": {**LONG, "x264-params": "bframes=0:ref=1"}})
    newer, right = path.read_bytes(), index_frames(path)
    older = bytearray(newer)
    for number_of_packet in (55, 56, 57):
        at = int(right.places[number_of_packet])
        while older[at + 4] & 31 != 1:  # a slice, behind its length
            at += 4 + int.from_bytes(older[at : at + 4], "big")
        older[at + 4] &= 0b1001_1111  # nal_ref_idc: nobody needs it
    path.write_bytes(older)
    stale = index_frames(path)
    assert np.flatnonzero(stale.spare).tolist() == [55, 56, 57]
    for field in ("places", "times", "numbers", "restarts"):
        assert np.array_equal(getattr(stale, field), getattr(right, field))
    path.write_bytes(newer)
    os.utime(path, ns=(0, stale.modified + 1))
    expected = read_clip(path, [58, 60])
    assert np.array_equal(read_window(path, [58, 60], None, stale), expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seek.FrameIndex, "fits", lambda self, path: True)
        assert not np.array_equal(read_window(path, [58, 60], None, stale), expected)


def test_an_order_wilder_than_the_header_says(tmp_path):
    """Pictures out of order only behind frame 50, and a header that promises one where it is two:
    decoding from the start loses pictures that seeking would find."""
    path = tmp_path / "a.mkv"
    how = {**LONG, "x264-params": "bframes=7:b-adapt=0:b-pyramid=normal"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 30, how)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i, image in enumerate(IMAGES):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 30)
            if i < 50:  # as far as FFmpeg looks to find the order out by itself
                frame.pict_type = av.video.frame.PictureType.P
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert index_frames(path).doubt == ""
    with av.open(str(path)) as container:
        extradata = bytes(container.streams.video[0].codec_context.extradata)
    header = extradata[8 : 8 + int.from_bytes(extradata[6:8], "big")]
    # It ends in max_num_reorder_frames 011 (two), max_dec_frame_buffering 00101 and a stop bit.
    bits = "".join(f"{byte:08b}" for byte in header).rstrip("0")
    assert bits.endswith("011001011")
    at = len(bits) - 7  # 011 becomes 010: one
    data = bytearray(path.read_bytes())
    data[data.index(header) + at // 8] ^= 128 >> at % 8
    path.write_bytes(data)
    index = index_frames(path)
    assert index.doubt == "its pictures are stored in a wilder order than its header says"
    assert len(list(read_frames(path))) < FRAMES
    for window in ([50, 52], [55, 58], [60, 61]):
        assert np.array_equal(read_window(path, window, None, index), read_clip(path, window))


TABLES = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def inside(data: bytes, *path: bytes) -> tuple[int, int]:
    """Where the contents of an MP4's box begin and end."""
    begin, end = 0, len(data)
    for kind in path:
        at = begin
        while data[at + 4 : at + 8] != kind:
            at += int.from_bytes(data[at : at + 4], "big")
        begin, end = at + 8, at + int.from_bytes(data[at : at + 4], "big")
    return begin, end


def replaced(data: bytes, path: tuple[bytes, ...], contents: bytes) -> bytes:
    """The file with a box filled anew; what lies before it stays in its place."""
    begin, end = inside(data, *path)
    made = bytearray(data[:begin] + contents + data[end:])
    for depth in range(1, len(path) + 1):
        at = inside(data, *path[:depth])[0] - 8
        size = int.from_bytes(data[at : at + 4], "big") + len(contents) - (end - begin)
        made[at : at + 4] = size.to_bytes(4, "big")
    return bytes(made)


def test_headers_that_the_container_changes_on_the_way(tmp_path):
    """An MP4 that describes its video twice: its later chunks follow the second description. FFmpeg
    writes none, so its tables are written anew here; sound between the pictures makes chunks."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", 30, {"g": "15", "bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", 8000)
        for i, image in enumerate(IMAGES):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 30)
            container.mux(video.encode(frame))
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 266), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 8000, 266 * i
            container.mux(sound.encode(silence))
        container.mux([*video.encode(), *sound.encode()])
    assert index_frames(path).doubt == ""
    data = path.read_bytes()
    begin, end = inside(data, *TABLES, b"stsd")
    entries = data[begin + 8 : end]
    two = bytes(4) + (2).to_bytes(4, "big") + 2 * entries
    # Runs of chunks that hold equally many pictures by one description: first, pictures, which.
    begin, end = inside(data, *TABLES, b"stsc")
    runs = np.frombuffer(data[begin + 8 : end], ">u4").reshape(-1, 3)
    assert len(runs) > 3
    runs = np.where((np.arange(len(runs)) > len(runs) // 2)[:, None], runs + [0, 0, 1], runs)
    table = bytes(4) + len(runs).to_bytes(4, "big") + runs.astype(">u4").tobytes()
    data = replaced(replaced(data, (*TABLES, b"stsd"), two), (*TABLES, b"stsc"), table)
    path.write_bytes(data)
    index = index_frames(path)
    assert (index.frames, index.doubt) == (FRAMES, "its headers change on the way")
    assert np.array_equal(read_window(path, [60, 80], None, index), read_clip(path, [60, 80]))


def test_a_picture_of_another_size(tmp_path, monkeypatch):
    """The judges let no file through whose size may change; if one slips by, it is decoded from
    its start."""
    path = build(tmp_path, "a.mp4", SOUGHT["no-b.mp4"])
    index, frames = index_frames(path), seek._frames

    def smaller(*arguments):
        for frame in frames(*arguments):
            made = frame.reformat(width=32, height=24)
            made.pts, made.time_base = frame.pts, frame.time_base
            yield made

    monkeypatch.setattr(seek, "_frames", smaller)
    assert np.array_equal(read_window(path, [60, 62], None, index), read_clip(path, [60, 62]))
    assert read_window(path, [60], (12, 16), index).shape == (1, 3, 12, 16)
