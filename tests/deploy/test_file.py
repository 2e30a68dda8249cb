"""All of a file is anonymized, or there is no file."""

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from velatura.deploy.file import anonymize_video
from velatura.errors import BadInput, Failure
from velatura.video.probe import probe
from velatura.video.read import read_frames
from velatura.video.write import VideoWriter

PTS = [0, 33, 67, 100, 180, 300, 333, 1000, 1001, 1700, 1733, 1766, 1800]


def negative(images):
    return 255 - images


def gradient(i, height=48, width=64):
    """A picture with something in it, lighter with ``i``."""
    return np.broadcast_to(
        np.linspace(0, 120, width)[None, :, None] + 10 * i, (height, width, 3)
    ).astype(np.uint8)


@pytest.fixture
def source(tmp_path):
    """Thirteen frames at uneven times, the last for 0.7 s; odd sides, oblong pixels."""
    path, tick = tmp_path / "source.mp4", Fraction(1, 1000)
    with VideoWriter(path, 65, 49, time_base=tick, sample_aspect=Fraction(4, 3)) as writer:
        for i, pts in enumerate(PTS):
            writer.write(gradient(i, 49, 65), pts, 700)
    return path


@pytest.fixture
def output(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "a.mp4"


def left_beside(output):
    return sorted(p.name for p in output.parent.iterdir())


def test_every_frame_at_its_time_and_size(source, output):
    outcome = anonymize_video(source, output, negative, batch=4)
    before, after = list(read_frames(source)), list(read_frames(output))
    assert [f.pts * f.time_base for f in after] == [Fraction(t, 1000) for t in PTS]
    for old, new in zip(before, after, strict=True):
        assert np.abs(new.image.astype(int) - (255 - old.image)).mean() < 3
    assert probe(output).duration == Fraction(2500, 1000)
    assert probe(output).sample_aspect == Fraction(4, 3)
    assert (outcome.frames, outcome.width, outcome.height) == (13, 65, 49)
    assert (outcome.source, outcome.destination) == (str(source), str(output))
    assert outcome.anonymizer == {"name": "negative", "digest": "negative", "device": "cpu"}
    assert outcome.seconds == 2.5
    assert outcome.fps == pytest.approx(13 / outcome.wall)
    assert left_beside(output) == ["a.mp4"]


def test_batches_and_progress(source, output):
    shapes, calls = [], []

    def anonymize(images):
        shapes.append((images.shape, images.dtype))
        return 255 - images

    anonymize_video(
        source, output, anonymize, batch=5, progress=lambda done, total: calls.append((done, total))
    )
    assert shapes == [((n, 49, 65, 3), np.uint8) for n in (5, 5, 3)]
    assert calls == [(n, 13) for n in range(1, 14)]


def test_work_in_place_is_fine(source, output):
    def anonymize(images):
        np.subtract(255, images, out=images)
        return images

    assert anonymize_video(source, output, anonymize).frames == 13


def only_first(images):
    return np.concatenate([255 - images[:1], images[1:]])


@pytest.mark.parametrize(
    ("anonymize", "frame"),
    [(lambda images: images, 0), (np.copy, 0), (only_first, 1)],
    ids=["same object", "equal copy", "all but one"],
)
def test_unchanged_frames_are_refused(source, output, anonymize, frame):
    with pytest.raises(Failure, match=f"frame {frame} unchanged"):
        anonymize_video(source, output, anonymize)
    assert left_beside(output) == []


def test_identity_of_a_late_batch_is_refused(source, output):
    seen = []

    def anonymize(images):
        seen.append(len(images))
        return images if len(seen) == 3 else 255 - images

    with pytest.raises(Failure, match="frame 8 unchanged"):
        anonymize_video(source, output, anonymize, batch=4)
    assert left_beside(output) == []


def test_picture_of_one_colour_may_stay(tmp_path, output):
    """A film that opens in black: a blur of black is black."""
    with VideoWriter(tmp_path / "black.mp4", 64, 48, time_base=Fraction(1, 30)) as writer:
        for i in range(3):
            writer.write(np.full((48, 64, 3), i, np.uint8), i)
    assert anonymize_video(tmp_path / "black.mp4", output, np.copy).frames == 3


@pytest.mark.parametrize(
    ("anonymize", "says"),
    [
        (lambda x: (255 - x)[:-1], "answered 12 of 13 frames"),
        (lambda x: (255 - x)[:, :48], r"\(13, 48, 65, 3\)"),
        (lambda x: (255 - x).transpose(0, 3, 1, 2), r"\(13, 3, 49, 65\)"),
        (lambda x: (255 - x) / 255, "float64"),
        (lambda x: None, "NoneType"),
    ],
    ids=["a frame less", "smaller", "channels first", "floats", "nothing"],
)
def test_another_shape_or_type_is_refused(source, output, anonymize, says):
    with pytest.raises(Failure, match=says):
        anonymize_video(source, output, anonymize)
    assert left_beside(output) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError, ValueError])
@pytest.mark.parametrize("batch_number", [0, 2])
def test_error_in_the_anonymizer_propagates_and_leaves_nothing(source, output, error, batch_number):
    calls = []

    def anonymize(images):
        calls.append(0)
        if len(calls) > batch_number:
            raise error("inside")
        return 255 - images

    told = {KeyboardInterrupt: KeyboardInterrupt}.get(error, Failure)
    says = "out of memory" if error is MemoryError else "inside"
    with pytest.raises(told, match=says):
        anonymize_video(source, output, anonymize, batch=4)
    assert left_beside(output) == []


def test_failure_keeps_the_file_to_be_replaced(source, output):
    output.write_bytes(b"precious")
    with pytest.raises(BadInput, match="exists"):
        anonymize_video(source, output, negative)
    with pytest.raises(Failure):
        anonymize_video(source, output, np.copy, overwrite=True)
    assert output.read_bytes() == b"precious"
    anonymize_video(source, output, negative, overwrite=True)
    assert probe(output).frames == 13


def test_truncated_source_leaves_nothing(tmp_path, output):
    """The index stands first here, so that the file opens and plays up to the cut."""
    rng = np.random.default_rng(0)
    path = tmp_path / "cut.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", 30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(40):
            picture = rng.integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput, match=r"cut\.mp4 is damaged: \d+ of 40 frames decode"):
        anonymize_video(path, output, negative)
    assert left_beside(output) == []


def test_source_stays(source):
    before = source.read_bytes()
    with pytest.raises(BadInput, match="is the source itself"):
        anonymize_video(source, source, negative, overwrite=True)
    assert source.read_bytes() == before
    with pytest.raises(BadInput, match="is not there"):
        anonymize_video(source.with_name("none.mp4"), source, negative, overwrite=True)
    assert source.read_bytes() == before


def test_batch_of_none(source, output):
    with pytest.raises(ValueError, match="batch must be at least 1"):
        anonymize_video(source, output, negative, batch=-1)


def test_sigterm_handler_is_put_back(source, output):
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    anonymize_video(source, output, negative)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


# A shell that starts the tests in the background has them ignore interrupts: undo that.
SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from velatura.deploy.file import anonymize_video
def anonymize(images):
    print("batch", flush=True)
    time.sleep(0.3)
    return 255 - images
anonymize_video(sys.argv[1], sys.argv[2], anonymize, batch=1)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_killed(source, output, number):
    """A real process, killed in the middle of its work."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, str(source), str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == "batch\n"
        assert [name.endswith(".partial") for name in left_beside(output)] == [True]
        process.send_signal(number)
        code = process.wait(timeout=20)
    expected = {signal.SIGTERM: 143, signal.SIGINT: -signal.SIGINT, signal.SIGKILL: -9}
    assert code == expected[number]
    assert not output.exists()
    left = left_beside(output)
    if number != signal.SIGKILL:
        assert left == []
    else:
        assert [name.endswith(".partial") for name in left] == [True]
    # The next run is not hindered, and adds nothing but its result.
    assert anonymize_video(source, output, negative).frames == 13
    assert left_beside(output) == sorted([*left, "a.mp4"])


FULL_DISK = """
import resource, sys
from velatura.deploy.file import anonymize_video
from velatura.errors import Failure
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    anonymize_video(sys.argv[1], sys.argv[2], lambda images: 255 - images)
except Failure as error:
    print(error)
"""


def test_full_disk(source, output):
    command = [sys.executable, "-c", FULL_DISK, str(source), str(output)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.startswith(f"Writing {output} failed: File too large.")
    assert left_beside(output) == []


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="mounting needs root")
def test_really_full_disk(tmp_path):
    source, disk = tmp_path / "source.mp4", tmp_path / "disk"
    rng = np.random.default_rng(0)
    with VideoWriter(source, 64, 64, time_base=Fraction(1, 30)) as writer:
        for i in range(20):
            writer.write(rng.integers(0, 255, (64, 64, 3), np.uint8), i)
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        with pytest.raises(Failure, match="No space left on device"):
            anonymize_video(source, disk / "a.mp4", negative)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_imports_neither_torch_nor_training():
    code = (
        "import sys, velatura.deploy.file\n"
        "rooms = {'velatura.' + r for r in ('data', 'training', 'methods', 'models')}\n"
        "print(sorted(({'torch', 'cv2'} | rooms) & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_sound_metadata_and_rotation(tmp_path, output):
    """Voices and places stay behind; the picture comes out upright, not flagged."""
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "at home"
        container.metadata["location"] = "+57.0488+009.9217/"
        stream = container.add_stream("libx264", 30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(90)
        sound = container.add_stream("aac", 48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        silence.sample_rate, silence.pts = 48000, 0
        container.mux([*sound.encode(silence), *sound.encode()])
        for i in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gradient(i))))
        container.mux(stream.encode())
    assert probe(path).has_audio
    anonymize_video(path, output, negative)
    info = probe(output)
    assert not info.has_audio
    assert (info.width, info.height, info.rotation) == (48, 64, 0)
    with av.open(str(output)) as container:
        assert not {"title", "location", "location-eng"} & set(container.metadata)
    # Stored from dark (left) to light; a quarter turn counterclockwise puts left at the
    # bottom; negated, the bottom is light.
    picture = next(read_frames(output)).image
    assert picture[-1].mean() > picture[0].mean() + 80


@pytest.fixture(scope="module")
def clips():
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("VELATURA_DATA", beside)) / "clips"
    if not folder.is_dir():
        pytest.skip(f"no real videos at {folder}; set VELATURA_DATA to a folder with clips/")
    return folder


@pytest.mark.parametrize(("name", "frames"), [("sign_walk.mkv", 89), ("arm_wrestling.mp4", 280)])
def test_real_file(clips, output, name, frames):
    began = time.perf_counter()
    outcome = anonymize_video(clips / name, output, negative)
    assert outcome.frames == frames
    assert outcome.wall <= time.perf_counter() - began
    before, after = probe(clips / name), probe(output)
    assert (after.width, after.height, after.duration, after.sample_aspect) == (
        *(before.width, before.height, before.duration, before.sample_aspect),
    )
    old = [f.pts * f.time_base for f in read_frames(clips / name)]
    assert [f.pts * f.time_base for f in read_frames(output)] == old
