"""A file that is complete or absent, and keeps the times it was given."""

import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from sample_videos import number, stamp

from velatura.errors import BadInput, Failure
from velatura.video.probe import probe
from velatura.video.read import read_frames
from velatura.video.write import VideoWriter

TICK = Fraction(1, 30)


def write(path, frames=5, height=48, width=64, pts=None, **how):
    how = {"time_base": TICK, **how}
    with VideoWriter(path, width, height, **how) as writer:
        for i in range(frames):
            writer.write(stamp(i, height, width), pts[i] if pts else i)
    return path


@pytest.mark.parametrize(
    ("time_base", "pts"),
    [
        (Fraction(1001, 30000), list(range(40))),
        (Fraction(1, 1000), [0, 33, 67, 100, 180, 300, 333, 1000, 1001, 1700]),
        (Fraction(1, 1000), [700, 733, 767, 800, 900]),
        (Fraction(1, 90000), [3003 * i for i in range(10)]),
        (Fraction(1, 10**9), [33333333 * i for i in range(10)]),
        (Fraction(1, 10), [0]),
    ],
    ids=["29.97", "uneven", "late start", "90 kHz", "nanoseconds", "one frame"],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_times_are_kept_exactly(tmp_path, name, time_base, pts):
    path = write(tmp_path / name, len(pts), pts=pts, time_base=time_base)
    frames = list(read_frames(path))
    assert [f.pts * f.time_base for f in frames] == [t * time_base for t in pts]
    assert [number(f.image) for f in frames] == list(range(len(pts)))


def test_rate_is_not_rounded(tmp_path):
    path = write(tmp_path / "a.mp4", 30, time_base=Fraction(1001, 30000))
    assert probe(path).rate == Fraction(30000, 1001)
    assert probe(path).duration == 30 * Fraction(1001, 30000)


def test_last_frame_lasts_as_told_or_as_the_one_before(tmp_path):
    """0, 100, 400 ms: by itself the last would be told 300 ms; here 50."""
    assert probe(
        write(tmp_path / "a.mp4", 3, pts=[0, 100, 400], time_base=Fraction(1, 1000))
    ).duration == Fraction(700, 1000)
    with VideoWriter(tmp_path / "b.mp4", 64, 48, time_base=Fraction(1, 1000)) as writer:
        for i, (pts, duration) in enumerate([(0, 100), (100, 300), (400, 50)]):
            writer.write(stamp(i, 48, 64), pts, duration)
    assert probe(tmp_path / "b.mp4").duration == Fraction(450, 1000)


@pytest.mark.parametrize(("height", "width"), [(49, 65), (48, 65), (49, 64), (48, 64), (2, 2)])
def test_size_is_kept(tmp_path, height, width):
    info = probe(write(tmp_path / "a.mp4", height=height, width=width))
    assert (info.height, info.width) == (height, width)


def test_pictures_and_colours_are_kept(tmp_path):
    """A smooth picture in saturated colours, within three levels on average."""
    y, x = np.mgrid[0:96, 0:128]
    image = np.stack([x * 2, y * 2, 255 - x], -1).clip(0, 255).astype(np.uint8)
    with VideoWriter(tmp_path / "a.mp4", 128, 96, time_base=TICK) as writer:
        writer.write(image, 0)
    got = next(read_frames(tmp_path / "a.mp4")).image
    assert np.abs(got.astype(int) - image).mean() < 3


def test_tags(tmp_path):
    """Colours as coded, pixel shape as given, and nothing that tells who, when or where."""
    path = write(tmp_path / "a.mp4", sample_aspect=Fraction(64, 51))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)
        assert frame.color_range == 1
        assert set(container.metadata) == {"major_brand", "minor_version", "compatible_brands"}
        assert len(container.streams) == 1
    assert probe(path).sample_aspect == Fraction(64, 51)


def test_same_frames_make_the_same_bytes(tmp_path):
    a, b = write(tmp_path / "a.mp4"), write(tmp_path / "b.mp4")
    assert a.read_bytes() == b.read_bytes()


def test_permissions_are_the_usual_ones(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    assert write(tmp_path / "a.mp4").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_nothing_under_the_name_until_done(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 64, 48, time_base=TICK) as writer:
        writer.write(stamp(0, 48, 64), 0)
        assert not path.exists()
        assert [p.name for p in tmp_path.iterdir()] == [writer._partial.path.name]
        assert writer._partial.path.name.startswith("a.mp4.")
        assert writer._partial.path.name.endswith(".partial")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("after", [0, 3])
def test_any_error_leaves_nothing(tmp_path, error, after):
    with pytest.raises(error):  # noqa: PT012
        with VideoWriter(tmp_path / "a.mp4", 64, 48, time_base=TICK) as writer:
            for i in range(after):
                writer.write(stamp(i, 48, 64), i)
            raise error
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"precious")
    with pytest.raises(BadInput, match="exists"):
        write(path)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_existing_file_is_replaced_only_when_done(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"precious")
    with pytest.raises(BadInput, match="not after"):
        write(path, pts=[0, 1, 2, 3, 3], overwrite=True)
    assert path.read_bytes() == b"precious"
    write(path, overwrite=True)
    assert probe(path).frames == 5


def test_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "a.mp4"
    with pytest.raises(BadInput, match="appeared meanwhile"):  # noqa: PT012
        with VideoWriter(path, 64, 48, time_base=TICK) as writer:
            writer.write(stamp(0, 48, 64), 0)
            path.write_bytes(b"another run's")
    assert path.read_bytes() == b"another run's"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("link", [os.symlink, os.link, None])
def test_source_is_never_the_destination(tmp_path, link):
    source = write(tmp_path / "a.mp4")
    before = source.read_bytes()
    other = source
    if link:
        other = tmp_path / "b.mp4"
        link(source, other)
    with pytest.raises(BadInput, match="is the source itself"):
        write(other, overwrite=True, source=source)
    assert source.read_bytes() == before


def test_destination_that_cannot_be(tmp_path):
    with pytest.raises(BadInput, match="must end in .mp4"):
        write(tmp_path / "a.mkv")
    with pytest.raises(BadInput, match="There is no folder"):
        write(tmp_path / "none" / "a.mp4")
    (tmp_path / "b.mp4").mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        write(tmp_path / "b.mp4", overwrite=True)


def test_unknown_encoder(tmp_path):
    with pytest.raises(Failure, match="encoder libx999 cannot be used"):
        write(tmp_path / "a.mp4", codec="libx999")
    assert list(tmp_path.iterdir()) == []


def test_no_frame_no_file(tmp_path):
    with pytest.raises(BadInput, match="No frame was written"):
        write(tmp_path / "a.mp4", frames=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((64, 48, 3), np.uint8),
        np.zeros((48, 64, 3), np.float32),
        np.zeros((48, 64), np.uint8),
    ],
)
def test_frame_of_another_kind(tmp_path, image):
    with pytest.raises(BadInput, match=r"expected uint8 \(48, 64, 3\)"):  # noqa: PT012
        with VideoWriter(tmp_path / "a.mp4", 64, 48, time_base=TICK) as writer:
            writer.write(image, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pts", [[-1, 0], [0, 0], [5, 4]])
def test_times_must_increase_from_zero(tmp_path, pts):
    with pytest.raises(BadInput, match="not after"):
        write(tmp_path / "a.mp4", 2, pts=pts)
    assert list(tmp_path.iterdir()) == []


def test_times_are_read_back(tmp_path):
    """If the container keeps another time than was asked for, there is no file."""
    with pytest.raises(Failure, match="could not keep the times of all 3 frames"):  # noqa: PT012
        with VideoWriter(tmp_path / "a.mp4", 64, 48, time_base=TICK) as writer:
            for i in range(3):
                writer.write(stamp(i, 48, 64), i)
            writer._times[1] += 1
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, sys
from fractions import Fraction
import numpy as np
from velatura.errors import Failure
from velatura.video.write import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
rng = np.random.default_rng(0)
try:
    with VideoWriter(sys.argv[1], 320, 240, time_base=Fraction(1, 30)) as writer:
        for i in range(20):
            writer.write(rng.integers(0, 255, (240, 320, 3), np.uint8), i)
except Failure as error:
    print(error)
"""


def fill(path, limit):
    command = [sys.executable, "-c", FULL_DISK, str(path), str(limit)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("part", [0.0001, 0.2, 0.7, 0.9995])
def test_full_disk(tmp_path, part):
    """The disk fills at the header, between frames, while flushing, or in the index."""
    fill(tmp_path / "whole.mp4", 10**9)
    size = (tmp_path / "whole.mp4").stat().st_size
    (tmp_path / "out").mkdir()
    run = fill(tmp_path / "out" / "a.mp4", int(size * part))
    assert run.stdout.startswith(f"Writing {tmp_path / 'out' / 'a.mp4'} failed: File too large.")
    assert run.stderr == ""
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("start", [126001, 1, 90007])
def test_a_start_between_two_milliseconds_is_kept(tmp_path, start):
    """MPEG-TS counts 90000 to a second, and begins anywhere."""
    tick = Fraction(1, 90000)
    with VideoWriter(tmp_path / "a.mp4", 16, 16, time_base=tick) as writer:
        for i in range(4):
            writer.write(np.full((16, 16, 3), 50 * i, np.uint8), start + 3600 * i)
    times = [f.pts * f.time_base for f in read_frames(tmp_path / "a.mp4")]
    assert times == [(start + 3600 * i) * tick for i in range(4)]
