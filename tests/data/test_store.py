"""What is prepared is what reading the original gives, and nothing is ever half there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from velatura.data._store import bench
from velatura.data._store import prepare as module
from velatura.data._store.prepare import prepare
from velatura.data._store.store import Store, checked_name, file_of
from velatura.errors import BadInput
from velatura.video.read import read_clip, read_frames

ODD = [
    "a b.mp4",
    "class/x[1]{2}(3).mp4",
    "class/Grün 走る 🏃.mp4",
    "c;#&/$(ls) 'q' \"r\".mp4",
    "%d.mp4",
]


def video(path: Path, frames: int = 12, height: int = 48, width: int = 64, seed: int = 0) -> Path:
    """A small moving picture, its first frames unlike its last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    with av.open(f"file:{path}", "w", format="mp4") as container:
        stream = container.add_stream("libx264", 30, {"crf": "12", "preset": "ultrafast"})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 4 * i, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def originals(tmp_path: Path) -> dict[str, Path]:
    """Five videos with odd names, of 3 to 12 frames."""
    names = dict(zip(ODD, (12, 3, 7, 5, 9), strict=True))
    root = tmp_path / "originals"
    return {name: video(root / name, n, seed=i) for i, (name, n) in enumerate(names.items())}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "prepared"


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and bytes of every file."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def test_raw_is_what_reading_the_original_gives(originals, out):
    before = everything(next(iter(originals.values())).parent)
    done = prepare(originals, out, short_side=24)
    assert (done.done, done.reused, done.skipped) == (5, 0, {})
    store = Store.open(out)
    assert [store.videos[name].frames for name in ODD] == [12, 3, 7, 5, 9]
    for name, path in originals.items():
        n = store.videos[name].frames
        for indices in (list(range(n)), [n - 1, 0, 1, 1]):
            got = store.window(name, indices)
            assert got.dtype == np.uint8
            assert got.shape == (len(indices), 3, 24, 32)
            assert np.array_equal(got, read_clip(path, indices, (24, 32)))
    assert everything(next(iter(originals.values())).parent) == before


def test_raw_files_are_ordinary_arrays(originals, out):
    store = prepare(originals, out, short_side=24).store
    array = np.load(file_of(out, ODD[0], ".npy"))
    assert array.shape == (12, 24, 32, 3)
    assert np.array_equal(array.transpose(0, 3, 1, 2), store.window(ODD[0], range(12)))


def test_jpeg_is_close_and_smaller(originals, out):
    raw = prepare(originals, out / "raw", short_side=48)
    jpeg = prepare(originals, out / "jpeg", short_side=48, form="jpeg")
    assert jpeg.bytes < raw.bytes / 2
    for name in ODD:
        n = raw.store.videos[name].frames
        indices = [n - 1, 0, 1, 1]
        a, b = (done.store.window(name, indices).astype(int) for done in (raw, jpeg))
        assert a.shape == b.shape
        # Brightness nearly as it was, colour coarser; and red stays red.
        assert np.abs(a.mean(1) - b.mean(1)).mean() < 4
        assert np.abs(a - b).mean() < 8
        assert np.abs(a - b[:, ::-1]).mean() > 20


@pytest.mark.parametrize(
    ("height", "width", "short_side", "stored"),
    [
        (48, 64, 24, (24, 32)),
        (64, 48, 24, (32, 24)),
        (48, 64, 256, (48, 64)),  # never made larger
        (48, 80, 32, (32, 53)),
        (48, 64, 47, (47, 63)),
    ],
)
def test_stored_size(tmp_path, out, height, width, short_side, stored):
    path = video(tmp_path / "a.mp4", 2, height, width)
    store = prepare({"a": path}, out, short_side=short_side).store
    assert store.window("a", [0]).shape == (1, 3, *stored)


def test_a_window_is_scaled_on_request(tmp_path, out):
    """Halves both ways: each pixel is the mean of four."""
    store = prepare({"a": video(tmp_path / "a.mp4")}, out, short_side=48).store
    full = store.window("a", [5, 2]).astype(float)
    half = store.window("a", [5, 2], (24, 32))
    mean = full.reshape(2, 3, 24, 2, 32, 2).mean((3, 5))
    assert half.shape == mean.shape
    assert np.abs(half - mean).max() <= 0.5
    assert store.window("a", [5], (96, 100)).shape == (1, 3, 96, 100)


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_a_second_run_does_nothing(originals, out, form):
    first = prepare(originals, out, short_side=24, form=form)
    before = everything(out / "videos")
    second = prepare(originals, out, short_side=24, form=form)
    assert (second.done, second.reused) == (0, 5)
    assert everything(out / "videos") == before
    assert second.store.fingerprint == first.store.fingerprint


def test_only_what_is_missing_or_changed_is_done(originals, out):
    first = prepare(originals, out, short_side=24)
    file_of(out, ODD[1], ".npy").unlink()
    video(originals[ODD[2]], 8, seed=99)
    cut = file_of(out, ODD[3], ".npy")
    cut.write_bytes(cut.read_bytes()[:-1])
    plans = []
    second = prepare(originals, out, short_side=24, announce=plans.append)
    assert (second.done, second.reused) == (3, 2)
    assert (plans[0].todo, plans[0].reused) == (3, 2)
    assert second.store.videos[ODD[2]].frames == 8
    assert second.store.fingerprint != first.store.fingerprint
    for name in ODD:
        assert np.array_equal(
            second.store.window(name, [0, 1]), read_clip(originals[name], [0, 1], (24, 32))
        )


def test_other_videos_of_the_folder_stay(originals, out):
    some, rest = dict(list(originals.items())[:2]), dict(list(originals.items())[2:])
    prepare(some, out, short_side=24)
    store = prepare(rest, out, short_side=24).store
    assert sorted(store.videos) == sorted(ODD)
    assert len(store) == 5
    assert ODD[0] in store


def test_many_workers_give_the_same(tmp_path, out):
    root = tmp_path / "originals"
    videos = {f"{i}.mp4": video(root / f"{i}.mp4", 2 + i % 3, seed=i) for i in range(16)}
    seen = []
    many = prepare(videos, out / "2", workers=2, progress=lambda *what: seen.append(what))
    one = prepare(videos, out / "1", workers=1)
    assert many.store.fingerprint == one.store.fingerprint
    for what in ("looking at videos", "decoding videos"):
        assert [entry for entry in seen if entry[0] == what] == [
            (what, i, 16) for i in range(1, 17)
        ]


SCRIPT = """
import sys
from pathlib import Path
from velatura.data._store.prepare import prepare

root, out, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
prepare({p.name: p for p in sorted(root.iterdir())}, out, short_side=96, workers=workers)
"""


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_at_any_moment_leaves_whole_files_only(tmp_path, out, workers):
    root = tmp_path / "originals"
    for i in range(20):
        video(root / f"{i}.mp4", 40, 192, 256, seed=i)
    kills = partials = 0
    for attempt in range(6):
        command = [sys.executable, "-c", SCRIPT, str(root), str(out), str(workers)]
        run = subprocess.Popen(command, start_new_session=True)
        noted = counted(out)
        while run.poll() is None and counted(out) <= noted:
            time.sleep(0.002)
        time.sleep(0.004 * attempt)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
        run.wait()
        partials += len(list(out.rglob("*.partial")))
        for path in out.rglob("*.npy"):
            assert np.load(path).shape == (40, 96, 128, 3)  # raises where it is cut short
        if (out / "index.json").is_file():
            break
        with pytest.raises(BadInput, match="not prepared to the end"):
            Store.open(out)
    assert kills >= 2
    videos = {path.name: path for path in root.iterdir()}
    last = prepare(videos, out, short_side=96, workers=1)
    assert last.reused >= kills  # what was noted before each kill is not done again
    assert not list(out.rglob("*.partial"))
    fresh = prepare(videos, tmp_path / "fresh", short_side=96, workers=1)
    assert last.store.fingerprint == fresh.store.fingerprint


def counted(out: Path) -> int:
    """Videos noted as done."""
    try:
        return (out / "journal.jsonl").read_text().count('"name"')
    except FileNotFoundError:
        return 0


def test_a_torn_journal_line_costs_one_video(originals, out, monkeypatch):
    finish = module._finish
    monkeypatch.setattr(module, "_finish", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(originals, out, short_side=24)
    journal = out / "journal.jsonl"
    journal.write_text(journal.read_text()[:-30])
    monkeypatch.setattr(module, "_finish", finish)
    done = prepare(originals, out, short_side=24)
    assert (done.done, done.reused) == (1, 4)


def test_an_interrupt_leaves_no_partial_file(originals, out, monkeypatch):
    def stop(*what):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "read_frames", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(originals, out)
    assert not list(out.rglob("*.partial"))


def test_two_runs_at_once_are_refused(originals, out):
    with module._locked(out), pytest.raises(BadInput, match="Another run is preparing"):
        prepare(originals, out)
    assert prepare(originals, out).done == 5


# Bad input


def bad(root: Path) -> dict[str, Path]:
    """A file of each unreadable kind."""
    empty, text, short = root / "empty.mp4", root / "text.mp4", root / "short.mp4"
    empty.touch()
    text.write_text("no video")
    whole = video(short, 30).read_bytes()
    short.write_bytes(whole[: len(whole) // 2])
    sound = root / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", 8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode()])
    return {p.name: p for p in (empty, text, short, sound)} | {"none.mp4": root / "none.mp4"}


def test_more_than_one_per_cent_unreadable_is_an_error_that_names_them(originals, out, tmp_path):
    wrong = bad(tmp_path)
    with pytest.raises(BadInput) as caught:
        prepare({**originals, **wrong}, out, short_side=24)
    message = str(caught.value)
    assert message.startswith("5 of 10 videos cannot be read, more than 1%: ")
    listed = (out / "unreadable.txt").read_text()
    for name in wrong:
        assert name in message
        assert name in listed
    assert "sound.wav holds no video stream" in listed
    assert "none.mp4 is not there" in listed
    # The others are there: leaving the bad ones out decodes nothing again.
    done = prepare(originals, out, short_side=24)
    assert (done.done, done.reused) == (0, 5)
    assert not (out / "unreadable.txt").exists()


def test_one_in_a_hundred_is_skipped_and_named(tmp_path, out):
    small = video(tmp_path / "a.mp4", 1)
    truncated = video(tmp_path / "t.mp4", 30)
    data = bytearray(truncated.read_bytes())
    middle = data.index(b"mdat") + 4
    data[middle + 300 : middle + 700] = b"\xff" * 400
    truncated.write_bytes(data)
    videos = {f"{i}": small for i in range(99)} | {"broken": truncated}
    done = prepare(videos, out, workers=1)
    assert list(done.skipped) == ["broken"]
    assert "damaged" in done.skipped["broken"]
    assert len(done.store) == 99
    with pytest.raises(BadInput, match="broken could not be prepared: .*damaged"):
        Store.open(out).window("broken", [0])
    assert "broken" in (out / "unreadable.txt").read_text()
    del videos["98"]
    with pytest.raises(BadInput, match="1 of 99 videos cannot be read"):
        prepare(videos, out, workers=1)


def test_the_space_it_needs_is_said_first_and_asked_for(originals, out, monkeypatch):
    plans = []
    usage = namedtuple("usage", "total used free")
    need = 36 * 24 * 32 * 3 + 5 * 4096  # frames of all five, and a block for each header
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(0, 0, need - 1))
    with pytest.raises(BadInput, match="needs .* GB free; name another disk"):
        prepare(originals, out, short_side=24, announce=plans.append)
    assert plans == [module.Plan(todo=5, reused=0, bytes=need, free=need - 1)]
    assert not list(out.rglob("*.npy"))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(0, 0, need))
    assert prepare(originals, out, short_side=24).done == 5


@pytest.mark.parametrize("name", ["", "/a.mp4", "../a.mp4", "a/../../b.mp4", "a\0b", "."])
def test_names_that_lead_out(name, tmp_path, out):
    with pytest.raises(BadInput, match="no name below a folder"):
        prepare({name: tmp_path / "a.mp4"}, out)
    assert not out.exists()


def test_a_file_lies_below_the_folder_whatever_its_name(tmp_path):
    for name in [*ODD, "../../etc/passwd", "a" * 5000, "\udcff"]:
        path = file_of(tmp_path, name, ".npy").resolve()
        assert path.is_relative_to(tmp_path / "videos")
        assert len(path.name) < 40
    assert checked_name("a/b..c/d.mp4") == "a/b..c/d.mp4"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"form": "rew"}, "No form named 'rew'. Did you mean 'raw'"),
        ({"short_side": 4}, "short_side is 8 to 4096"),
    ],
)
def test_wrong_options(originals, out, how, message):
    with pytest.raises(BadInput, match=message):
        prepare(originals, out, **how)


def test_no_videos_and_no_folder(tmp_path, originals):
    with pytest.raises(BadInput, match="no videos"):
        prepare({}, tmp_path / "x")
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="is a file"):
        prepare(originals, tmp_path / "file")
    with pytest.raises(BadInput, match="Cannot write into"):
        prepare(originals, tmp_path / "file" / "below")


@pytest.mark.parametrize("other", [{"short_side": 32}, {"form": "jpeg"}])
def test_one_folder_holds_one_form_and_size(originals, out, other):
    prepare(originals, out, short_side=24)
    with pytest.raises(BadInput, match="holds raw at 24 pixels, not"):
        prepare(originals, out, **{"short_side": 24, **other})


def test_a_folder_that_is_no_store(tmp_path):
    with pytest.raises(BadInput, match="is none: run `velatura data prepare`"):
        Store.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"videos": {"a": 1}}', "is damaged"),
        (
            '{"videos": {}, "skipped": {}, "head": {"format": 0, "form": "raw"}}',
            "another version",
        ),
    ],
)
def test_a_damaged_index(tmp_path, text, message):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(BadInput, match=message):
        Store.open(tmp_path)


def test_an_index_with_a_wrong_type(originals, out):
    prepare(originals, out, short_side=24)
    index = json.loads((out / "index.json").read_text())
    index["videos"][ODD[0]]["frames"] = "12"
    (out / "index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match="is damaged"):
        Store.open(out)


@pytest.mark.parametrize(
    ("name", "indices", "message"),
    [
        (ODD[0], [12], "has 12 frames; there is no frame 12"),
        (ODD[0], [], "start at 0"),
        (ODD[0], [-1], "start at 0"),
        ("a c.mp4", [0], "No prepared video named 'a c.mp4'. Did you mean 'a b.mp4'"),
    ],
)
def test_what_cannot_be_asked_for(originals, out, name, indices, message):
    store = prepare(originals, out, short_side=24).store
    with pytest.raises(BadInput, match=message):
        store.window(name, indices)


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_a_file_that_is_gone_cut_or_overwritten(originals, out, form):
    store = prepare(originals, out, short_side=24, form=form).store
    suffix = {"raw": ".npy", "jpeg": ".jpegs"}[form]
    cut, gone, spoilt = (file_of(out, name, suffix) for name in (ODD[0], ODD[1], ODD[2]))
    cut.write_bytes(cut.read_bytes()[:-1])
    gone.unlink()
    spoilt.write_bytes(b"\0" * spoilt.stat().st_size)
    with pytest.raises(BadInput, match=f"{suffix} of a b.mp4 holds .* bytes, not .*prepare again"):
        store.window(ODD[0], [0])
    with pytest.raises(BadInput, match="No such file.*prepare again"):
        store.window(ODD[1], [0])
    if form == "jpeg":
        with pytest.raises(BadInput, match="Frame 0 of .* is damaged"):
            store.window(ODD[2], [0])
    assert store.window(ODD[3], [0]).shape == (1, 3, 24, 32)


def test_nothing_stays_open(originals, out):
    store = prepare(originals, out, short_side=24).store
    descriptors = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(50):
        store.window(ODD[0], [0, 3])
    assert not descriptors or len(os.listdir("/proc/self/fd")) == descriptors


def test_the_sides_of_the_benchmark_give_the_same_frames(tmp_path, monkeypatch):
    """A ratio of speeds means something only where both sides do the same."""
    given = {}

    def rates(sides, rounds):
        for side, (call, tasks) in sides.items():
            given[side] = [call(task) for task in tasks]
        return {side: 1.0 for side in sides}

    monkeypatch.setattr(bench, "_rates", rates)
    paths = [video(tmp_path / f"{i}.mp4", 60, seed=i) for i in range(2)]
    figures, memory = bench._measure(paths, tmp_path / "out", 1, 2, 3)
    assert figures["seek_ratio"] == 1
    assert memory.pop("memory_clips") == 3
    where = ("", "_worker1", "_worker2")
    assert memory.keys() == {
        f"memory_{side}{who}_{when}_mb"
        for side in ("seek", "store")
        for who in where
        for when in ("start", "end", "held")
    }
    assert min(memory.values()) > 10
    assert np.array_equal(given["seek"], given["store"])
    for side in ("plain", "picky"):
        close = np.abs(np.array(given[side], int) - np.array(given["seek"], int)[::2])
        assert close.max() <= 3  # with and without the scaler's filter, at the same size
    assert given["floor"] == [None, None]


def test_the_benchmarks_long_video(tmp_path):
    path = bench.long_video(tmp_path / "a.mp4", seconds=1)
    assert len(list(read_frames(path, (36, 64)))) == 30


# Whatever one file does is its own reason


@pytest.mark.parametrize("step", ["probe", "read_frames", "stamp"])
def test_an_unexpected_error_of_one_file_is_its_reason(originals, out, monkeypatch, step):
    """And not the end of the others."""
    real, odd = getattr(module, step), originals[ODD[2]]

    def failing(path, *more):
        if Path(path) == odd:
            raise PermissionError(13, "not for you") if step == "stamp" else ValueError("31\n is")
        return real(path, *more)

    monkeypatch.setattr(module, step, failing)
    monkeypatch.setattr(module, "TOLERATED", 0.2)
    done = prepare(originals, out, short_side=24)
    assert (done.done, list(done.skipped)) == (4, [ODD[2]])
    kind = "PermissionError" if step == "stamp" else "ValueError: 31 is."
    assert f"{odd} cannot be read: {kind}" in done.skipped[ODD[2]]
    assert done.skipped[ODD[2]] in (out / "unreadable.txt").read_text()


def test_photographs_with_exif_are_prepared_upright(tmp_path, out):
    image = pytest.importorskip("PIL.Image")
    made = image.fromarray(np.zeros((24, 40, 3), np.uint8))
    exif = made.getexif()
    exif[0x112] = 6
    paths = {f"{suffix}": tmp_path / f"a.{suffix}" for suffix in ("jpg", "png", "webp")}
    for path in paths.values():
        made.save(path, exif=exif)
    done = prepare(paths, out)
    assert (done.done, done.skipped) == (3, {})
    assert {(v.height, v.width) for v in done.store.videos.values()} == {(40, 24)}


UNGUARDED = """
import sys
from pathlib import Path
from velatura.data._store.prepare import prepare

print("the script runs")
found = prepare({p.name: p for p in sorted(Path(sys.argv[1]).iterdir())}, sys.argv[2], workers=2)
print(len(found.store))
"""


def test_a_script_without_a_guard(tmp_path, out):
    """Workers do not run it again: each would prepare too, and wait for the lock for ever."""
    for i in range(16):
        video(tmp_path / "originals" / f"{i}.mp4", 2, seed=i)
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, tmp_path / "script.py", tmp_path / "originals", out]
    env = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[3])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert (done.returncode, done.stdout) == (0, "the script runs\n16\n"), done.stderr
