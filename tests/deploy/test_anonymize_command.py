"""``velatura anonymize``, the real command on real files: one test for each promised behaviour.

The numbers are those of the list in docs/anonymize.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import unicodedata
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from films import film, pictures, scene, times
from looking import written

from velatura.video.probe import probe


def velatura(*words: object, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run the command; its exit code must be ``code``."""
    done = subprocess.run(
        [sys.executable, "-m", "velatura", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            ),
        },
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def anonymize(*words: object, code: int = 0, **how) -> subprocess.CompletedProcess:
    return velatura("anonymize", *words, code=code, **how)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def is_silhouette(path: Path) -> bool:
    """Whether every picture is grey throughout: none of the room, none of its colours."""
    return all(np.ptp(p.astype(int), axis=-1).max() < 12 for p in pictures(path))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return film(tmp_path / "clip.mp4")


# 9, 4: one line, and an exit code that tells the truth


def test_one_line_does_it_and_says_what_and_where(clip: Path):
    done = anonymize(clip)
    copy = clip.with_name("clip.anon.mp4")
    assert is_silhouette(copy)
    assert len(pictures(copy)) == 30
    first, second = done.stdout.splitlines()[:2]
    assert first == "silhouette, the default: the model card says why; on cpu"
    assert re.match(rf"{copy}: 30 frames, 64x48, [\d.]+ s, \d+ frames/s", second)
    assert names(clip.parent) == ["clip.anon.mp4", "clip.anon.mp4.report.json", "clip.mp4"]


@pytest.mark.parametrize("mode", ["black", "blur", "downsample", "pixelate", "silhouette"])
def test_every_mode(clip: Path, mode: str):
    anonymize(clip, "--mode", mode)
    copies = pictures(clip.with_name("clip.anon.mp4"))
    assert [c.shape for c in copies] == [(48, 64, 3)] * 30
    for i, copy in enumerate(copies):
        assert np.abs(copy.astype(int) - scene(i)).mean() > 4


def test_a_name_of_the_package_wins_over_a_folder_of_that_name(clip: Path):
    (clip.parent / "light").mkdir()
    done = anonymize("clip.mp4", "--model", "light", cwd=clip.parent)
    assert done.stdout.startswith("light; on cpu (onnxruntime)")
    copies = pictures(clip.with_name("clip.anon.mp4"))
    assert len(copies) == 30
    assert all(np.abs(c.astype(int) - scene(i)).mean() > 10 for i, c in enumerate(copies))


def test_another_runtime_on_the_same_cpu(clip: Path):
    pytest.importorskip("openvino")
    from PIL import Image

    copies, stills = {}, {}
    picture = clip.with_name("picture.png")
    Image.fromarray(scene(0)).save(picture)
    devices = {
        "cpu": "cpu (onnxruntime)",
        "openvino": "cpu (openvino)",
        "openvino-bf16": "cpu (openvino, bf16)",
    }
    for device, said in devices.items():
        done = anonymize(clip, "--model", "light", "--device", device, "--overwrite")
        assert done.stdout.startswith(f"light; on {said}")
        copies[device] = np.stack(pictures(clip.with_name("clip.anon.mp4"))).astype(int)
        anonymize(picture, "--model", "light", "--device", device, "--overwrite")
        stills[device] = np.array(Image.open(clip.with_name("picture.anon.png"))).astype(int)
    assert np.abs(stills["cpu"] - stills["openvino"]).mean() < 0.5  # without loss
    # A level here and there, which may depend on how busy the cores are, makes a video's encoder
    # choose otherwise: a copy as good, not the same.
    originals = np.stack([scene(i) for i in range(30)]).astype(int)
    away = {name: np.abs(copy - originals).mean() for name, copy in copies.items()}
    for name in ("openvino", "openvino-bf16"):
        assert away[name] == pytest.approx(away["cpu"], rel=0.05)
        assert np.abs(copies[name] - copies["cpu"]).mean() < away["cpu"] / 4


def test_the_list_of_modes():
    lines = velatura("anonymize", "--list").stdout.splitlines()
    assert [line for line in lines if "(default)" in line][0].startswith("silhouette")
    assert {line.split()[0] for line in lines} >= {"black", "blur", "pixelate"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing.mp4"], "nothing.mp4 is not there"),
        (["clip.mp4", "--mode", "pixelat"], "Did you mean 'pixelate'"),
        (["clip.mp4", "--model", "lihgt"], "No anonymizer named"),
        (["clip.mp4", "--model", "none.onnx"], "none.onnx"),
        (["clip.mp4", "--mode", "blur", "--model", "light"], "give one of them"),
        (["clip.mp4", "--audio", "kep"], "Did you mean 'keep'"),
        (["clip.mp4", "--on-error", "ignore"], "Available: black, stop"),
        (["clip.mp4", "--preview", "soon"], "such as 3s"),
        (["clip.mp4", "--preview", "3s", "--end", "2"], "give one of them"),
        (["clip.mp4", "--start", "2", "--end", "1"], "nothing from second 2"),
        (["clip.mp4", "--out", "clip.webm"], "must end in .mp4"),
        (["clip.mp4", "--device", "gpu"], "No value of --device"),
        (["clip.mp4", "--device", "cuda"], "no network to run by cuda"),
        (["clip.mp4", "--device", "openvino"], "no network to run by openvino"),
        (["clip.mp4", "--scale", "-1"], "--scale"),
        (["clip.mp4", "--owerwrite"], "--overwrite"),
        ([], "Name a video"),
    ],
)
def test_what_is_wrong_with_the_command_is_one_sentence_and_2(clip: Path, words, says):
    done = anonymize(*words, code=2, cwd=clip.parent)
    assert says in done.stderr
    assert names(clip.parent) == ["clip.mp4"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 5000, b"words, not pictures", os.urandom(5000)],
    ids=["empty", "zeros", "text", "noise"],
)
def test_a_file_that_is_no_video_fails_and_leaves_nothing(tmp_path: Path, content: bytes):
    (tmp_path / "x.mp4").write_bytes(content)
    done = anonymize(tmp_path / "x.mp4", code=1)
    assert "x.mp4" in done.stderr
    assert "0 done, 1 failed, 0 skipped" in done.stdout
    assert names(tmp_path) == ["x.mp4"]


# 1: never a wrong file at the destination


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_killed_midway_there_is_no_copy(tmp_path: Path, how: signal.Signals):
    source = film(tmp_path / "long.mp4", frames=3000, height=240, width=320)
    process = subprocess.Popen(
        # A shell that starts tests in the background has them ignore interrupts: undo that.
        [
            sys.executable,
            "-c",
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from velatura.cli import main; main()",
            "anonymize",
            str(source),
            "--json",
            "--mode",
            "blur",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            ),
        },
    )
    assert process.stderr is not None
    for line in process.stderr:
        if '"progress"' in line:
            break
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    left = names(tmp_path)
    if how == signal.SIGKILL:
        assert process.returncode == -9
        assert [name for name in left if not name.endswith(".partial")] == ["long.mp4"]
        # The next run into the folder clears what the dead one left.
        film(tmp_path / "short.mp4")
        anonymize(tmp_path / "short.mp4")
        assert not [name for name in names(tmp_path) if name.endswith(".partial")]
    else:
        assert process.returncode == 130
        assert "Interrupted" in said
        assert "Traceback" not in said
        assert left == ["long.mp4"]


# 3, 15: the source is untouchable, and nothing is replaced unasked


def links(clip: Path) -> dict[str, Path]:
    soft, hard = clip.with_name("soft.mp4"), clip.with_name("hard.mp4")
    soft.symlink_to(clip)
    hard.hardlink_to(clip)
    return {"itself": clip, "dots": clip.parent / "." / "clip.mp4", "soft": soft, "hard": hard}


@pytest.mark.parametrize("which", ["itself", "dots", "soft", "hard"])
def test_the_source_is_never_the_destination(clip: Path, which: str):
    before = sha(clip)
    done = anonymize(clip, "--out", links(clip)[which], "--overwrite", code=2)
    assert "is the source itself" in done.stderr
    assert sha(clip) == before


def test_a_name_in_another_unicode_form_is_another_file_or_the_same(tmp_path: Path):
    name = "caf\u00e9.mp4"
    source = film(tmp_path / unicodedata.normalize("NFC", name))
    before = sha(source)
    other = tmp_path / unicodedata.normalize("NFD", name)
    done = subprocess.run(
        [sys.executable, "-m", "velatura", "anonymize", source, "--out", other, "--overwrite"],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            ),
        },
    )
    assert done.returncode in (0, 2)
    assert sha(source) == before


def test_what_exists_is_refused_before_any_work(clip: Path):
    copy = clip.with_name("clip.anon.mp4")
    copy.write_bytes(b"precious")
    done = anonymize(clip, code=2)
    assert "exists" in done.stderr
    assert copy.read_bytes() == b"precious"
    anonymize(clip, "--overwrite")
    assert is_silhouette(copy)


# 2: fail closed


def test_a_network_that_fails_leaves_nothing_or_black(tmp_path: Path, clip: Path):
    """A driver in place of a network: it answers, then raises, then answers with the originals."""
    driver = tmp_path / "driver.py"
    driver.write_text(
        "import sys\n"
        "from velatura.deploy import modes\n"
        "from velatura.cli import main\n"
        "class Broken(modes.Black):\n"
        "    keeps, short = False, 0\n"
        "    calls = 0\n"
        "    def apply(self, frames):\n"
        "        self.calls += 1\n"
        "        if self.calls == 2: raise RuntimeError('the network broke')\n"
        "        if self.calls == 3: return frames\n"
        "        return 255 - frames\n"
        "modes.MODES['broken'] = Broken\n"
        "main(['anonymize', *sys.argv[1:], '--mode', 'broken', '--batch', '5'])\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        ),
    }

    def drive(*words):
        command = [sys.executable, driver, clip, *words]
        return subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, env=environment
        )

    done = drive()
    assert done.returncode == 1
    assert "the network broke" in done.stderr
    assert names(tmp_path) == ["clip.mp4", "driver.py"]
    done = drive("--on-error", "black")
    assert done.returncode == 0, done.stderr
    assert "10 frames are black" in done.stdout
    copies = pictures(tmp_path / "clip.anon.mp4")
    for i, copy in enumerate(copies):
        expected = np.zeros_like(copy) if 5 <= i < 15 else 255 - scene(i)
        assert np.abs(copy.astype(int) - expected).mean() < 6, i
    report = json.loads((tmp_path / "clip.anon.mp4.report.json").read_text())
    assert report["black"] == 10


# 5: truncated sources


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """120 frames by the header, which stands first; the file ends before the last of them."""
    path = film(
        tmp_path / "cut.mp4", frames=120, container={"movflags": "faststart"},
        options={"g": "10", "crf": "5"},
    )  # fmt: skip
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    return path


def test_a_truncated_source_is_told_and_no_copy_written(cut: Path):
    done = anonymize(cut, code=1)
    assert re.search(r"\d+ of 120 frames decode", done.stderr)
    assert names(cut.parent) == ["cut.mp4"]


def test_what_decodes_of_it_is_kept_on_request_and_marked(cut: Path):
    done = anonymize(cut, "--allow-partial")
    assert re.search(r"warning: .*\d+ of 120 frames decode", done.stdout)
    report = json.loads(cut.with_name("cut.anon.mp4.report.json").read_text())
    assert report["status"] == "partial"
    assert (report["declared"], report["frames"]) == (
        120,
        len(pictures(Path(report["destination"]))),
    )
    assert 20 < report["frames"] < 120


# 6: time


@pytest.mark.parametrize(
    ("base", "when"),
    [
        (Fraction(1001, 30000), None),
        (Fraction(1, 1000), [0, 33, 67, 100, 180, 300, 333, 1000, 1001, 1700]),
        (Fraction(1, 90000), [3000 * i + 7 * (i % 3) for i in range(10)]),
        (Fraction(1, 25), [5, 6, 7, 8, 9, 10, 11, 12, 13, 40]),
    ],
    ids=["30000/1001", "variable", "jittered", "late start"],
)
def test_every_frame_is_shown_when_it_was(tmp_path: Path, base, when):
    source = film(tmp_path / "clip.mp4", frames=10, base=base, times=when)
    anonymize(source)
    assert times(tmp_path / "clip.anon.mp4") == times(source)


# 7: sound


def test_sound_is_dropped_and_said_or_kept_bit_for_bit(tmp_path: Path):
    def packets(path):
        with av.open(str(path)) as container:
            track = container.streams.audio[0]
            return [(p.pts * p.time_base, bytes(p)) for p in container.demux(track) if p.size]

    source = film(tmp_path / "clip.mp4", sound=True)
    assert "sound dropped" in anonymize(source).stdout
    assert not probe(tmp_path / "clip.anon.mp4").has_audio
    assert "sound kept" in anonymize(source, "--audio", "keep", "--overwrite").stdout
    assert packets(tmp_path / "clip.anon.mp4") == packets(source)


# 11: memory is tests/deploy/test_pipeline.py and `velatura bench anonymize`
# 13: orientation and odd sizes


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_it_is_upright(tmp_path: Path, turn: int):
    source = film(tmp_path / "clip.mp4", rotation=turn)
    anonymize(source, "--mode", "downsample")
    before, after = probe(source), probe(tmp_path / "clip.anon.mp4")
    assert (after.width, after.height, after.rotation) == (before.width, before.height, 0)
    assert (before.width, before.height) == ((48, 64) if turn % 180 else (64, 48))
    raw, copy = np.rot90(scene(5), turn // 90), pictures(tmp_path / "clip.anon.mp4")[5]
    # The bright square is where it is in the turned picture.
    weight = raw.mean(-1) > 180
    assert copy[weight].mean() > copy[~weight].mean() + 40


@pytest.mark.parametrize(("height", "width"), [(241, 321), (47, 64), (2, 2), (16, 400)])
def test_odd_sizes_stay_as_they_are(tmp_path: Path, height: int, width: int):
    source = film(
        tmp_path / "clip.mkv", 4, height=height, width=width, codec="ffv1", pix_fmt="bgr0"
    )
    anonymize(source, "--mode", "pixelate")
    assert pictures(tmp_path / "clip.anon.mp4")[0].shape == (height, width, 3)


# 14: folders


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    film(folder / "a.mp4", 8)
    film(folder / "deep" / "er" / "b c;#&é[1].mp4", 8)
    (folder / "bad.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("words")
    return folder


def test_a_folder_is_mirrored_and_a_bad_file_stops_nothing(tree: Path):
    out = tree.parent / "out"
    done = anonymize(tree, "--out", out, code=1)
    assert names(out) == [
        "a.anon.mp4",
        "a.anon.mp4.report.json",
        "deep/er/b c;#&é[1].anon.mp4",
        "deep/er/b c;#&é[1].anon.mp4.report.json",
    ]
    assert "2 done, 1 failed, 0 skipped" in done.stdout
    assert "notes.txt" in done.stdout
    assert "bad.mp4" in done.stderr


def test_resume_passes_over_what_is_verified_and_makes_the_rest(tree: Path):
    out = tree.parent / "out"
    anonymize(tree, "--out", out, code=1)
    (tree / "bad.mp4").unlink()
    film(tree / "new.mp4", 8)
    spoilt = out / "deep/er/b c;#&é[1].anon.mp4"
    spoilt.write_bytes(spoilt.read_bytes()[:-10] + b"0123456789")
    kept = (out / "a.anon.mp4").stat().st_mtime_ns
    assert "exists" in anonymize(tree, "--out", out, code=2).stderr
    done = anonymize(tree, "--out", out, "--resume")
    assert "2 done, 0 failed, 1 skipped" in done.stdout
    assert (out / "a.anon.mp4").stat().st_mtime_ns == kept
    assert is_silhouette(spoilt)
    # Another mode is another output: nothing of the old one counts.
    done = anonymize(tree, "--out", out, "--resume", "--mode", "blur")
    assert "3 done, 0 failed, 0 skipped" in done.stdout


def test_its_own_copies_are_no_sources(clip: Path):
    anonymize(clip.parent, "--out", clip.parent / "sub")
    anonymize(clip)
    done = anonymize(clip.parent, "--out", clip.parent / "sub", "--resume", "--json")
    assert [r["source"] for r in json.loads(done.stdout)["reports"]] == [str(clip)]


def test_two_sources_for_one_copy_are_refused_before_any_work(tmp_path: Path):
    film(tmp_path / "a.mp4", 4)
    film(tmp_path / "a.mkv", 4)
    named = tmp_path / "a.mp4", tmp_path / "a.mkv"
    done = anonymize(*named, "--out", tmp_path / "out", code=2)
    assert "would both become" in done.stderr
    assert names(tmp_path) == ["a.mkv", "a.mp4"]


# 16: metadata


def test_metadata_goes_and_is_listed_by_name_alone(tmp_path: Path):
    tags = {"title": "Mrs Jensen at home", "location": "+57.0488+009.9217/", "comment": "private"}
    source = film(tmp_path / "clip.mp4", tags=tags)
    done = anonymize(source, "--json")
    said = done.stdout + done.stderr + (tmp_path / "clip.anon.mp4.report.json").read_text()
    for value in tags.values():
        assert value not in said
        assert value.encode() not in (tmp_path / "clip.anon.mp4").read_bytes()
    removed = json.loads(done.stdout)["reports"][0]["removed"]
    assert any("title" in r for r in removed)
    assert any("location" in r for r in removed)
    anonymize(source, "--keep-metadata", "title", "--overwrite")
    with av.open(str(tmp_path / "clip.anon.mp4")) as container:
        assert container.metadata["title"] == tags["title"]
        assert "comment" not in container.metadata
    done = anonymize(source, "--keep-metadata", "titel", "--overwrite", code=1)
    assert "no metadata tag 'titel'" in done.stderr


# 17: for programs


def test_json_is_one_object_on_stdout_and_lines_on_stderr(clip: Path):
    done = anonymize(clip, "--json")
    answer = json.loads(done.stdout)
    assert (answer["schema"], answer["done"], answer["failed"]) == ("velatura-anonymize/1", 1, 0)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert {e["event"] for e in events} >= {"anonymizer", "progress", "file"}
    report = json.loads(clip.with_name("clip.anon.mp4.report.json").read_text())
    assert report == answer["reports"][0]
    assert report["source_sha256"] == sha(clip)
    assert report["destination_sha256"] == sha(clip.with_name("clip.anon.mp4"))
    assert report["anonymizer"]["name"] == "silhouette"
    assert report["frames"] == 30
    assert set(report["versions"]) >= {"velatura", "av", "numpy"}


def test_json_is_one_object_also_when_nothing_can_be_done(clip: Path):
    answer = json.loads(anonymize("nothing.mp4", "--json", code=2, cwd=clip.parent).stdout)
    assert answer["exit_code"] == 2
    assert "is not there" in answer["error"]


def test_the_log_is_chained_and_verified(clip: Path):
    log = clip.with_name("log.jsonl")
    anonymize(clip, "--log", log)
    anonymize(clip, "--log", log, "--overwrite", "--mode", "blur")
    velatura("audit", "verify", log, "--files")
    clip.with_name("clip.anon.mp4").write_bytes(b"another")
    velatura("audit", "verify", log, "--files", code=1)
    velatura("audit", "verify", log)
    log.write_text(log.read_text().replace('"silhouette"', '"pixelate"', 1))
    velatura("audit", "verify", log, code=1)


# 18, 19: before it is done


def test_dry_run_writes_nothing_and_says_what_cannot_be(tree: Path):
    before = names(tree.parent)
    done = anonymize(tree / "a.mp4", "--dry-run")
    assert re.search(r"would write .*a\.anon\.mp4: 64x48, 8 frames, h264 -> h264", done.stdout)
    assert names(tree.parent) == before
    done = anonymize(tree, "--dry-run", "--json", code=1)
    jobs = json.loads(done.stdout)["jobs"]
    assert [job["runnable"] for job in jobs] == [True, False, True]
    assert names(tree.parent) == before


def test_preview_and_spans(clip: Path):
    anonymize(clip, "--preview", "0.4s")
    assert times(clip.with_name("clip.preview.mp4")) == [Fraction(i, 25) for i in range(10)]
    anonymize(clip, "--start", "0.5", "--end", "0.8", "--mode", "downsample")
    copy = clip.with_name("clip.anon.mp4")
    assert times(copy) == [Fraction(i, 25) for i in range(7)]
    # It begins with frame 13, the first at or after .5 s.
    shown = pictures(copy)[0].astype(int)
    distance = [np.abs(shown - scene(i)).mean() for i in range(30)]
    assert int(np.argmin(distance)) == 13
    assert "ends before second 9" in anonymize(clip, "--start", "9", "--overwrite", code=1).stderr


def test_contact_sheet_says_what_it_shows(clip: Path):
    from PIL import Image

    sheet = clip.with_name("sheet.png")
    done = anonymize(clip, "--sheet", sheet)
    assert "shows the people" in done.stdout
    picture = np.asarray(Image.open(sheet))
    assert picture.shape == (120 * 2 + 4, 160 * 6 + 4 * 5, 3)
    colour = np.ptp(picture.astype(int), axis=-1)
    assert colour[:120, :160].mean() > 15
    assert colour[124:, :160].mean() < 6


# 8, 10: the copy against its source


def test_check_measures_the_copy(clip: Path):
    done = anonymize(clip, "--check")
    assert "0 frames nearly identical" in done.stdout
    assert re.search(r"flicker against the source's own: \d+\.\d\d", done.stdout)
    report = json.loads(clip.with_name("clip.anon.mp4.report.json").read_text())
    assert report["check"]["likeness"]["limits"]
    assert report["check"]["frames"]["compared"] == 30


def test_only_the_boxes_change(tmp_path: Path, clip: Path):
    boxes = tmp_path / "boxes.json"
    everywhere = {str(i): [[0, 0, 20, 20]] for i in range(30)}
    boxes.write_text(json.dumps({"schema": "velatura-boxes/1", "frames": everywhere}))
    anonymize(clip, "--regions", boxes, "--fill", "black")
    for i, copy in enumerate(pictures(tmp_path / "clip.anon.mp4")):
        assert copy[2:16, 2:16].max() < 40
        assert np.abs(copy[30:, 40:].astype(int) - scene(i)[30:, 40:]).mean() < 12
    boxes.write_text(json.dumps({"schema": "velatura-boxes/1", "frames": {"0": [[1, 2, 3]]}}))
    assert "boxes.json" in anonymize(clip, "--regions", boxes, "--overwrite", code=2).stderr


# 21: the same bytes


@pytest.mark.parametrize("past", [False, True], ids=["default", "file that looks back"])
def test_the_same_bytes_whatever_the_batch_and_the_threads(tmp_path: Path, past: bool):
    source = film(tmp_path / "clip.mp4", 40)
    which = ("--model", written(tmp_path / "x.onnx")) if past else ()
    digests = set()
    for number, words in enumerate(
        [(), ("--batch", 1), ("--batch", 7), ("--threads", 1), ("--threads", 2)]
    ):
        out = tmp_path / f"{number}.mp4"
        anonymize(source, "--out", out, *which, *words)
        digests.add(sha(out))
    assert len(digests) == 1


# 22: what 8 bits cannot hold


def test_ten_bits_and_alpha_are_not_lost_in_silence(tmp_path: Path):
    deep = film(tmp_path / "deep.mkv", 4, codec="ffv1", pix_fmt="yuv420p10le")
    assert re.search("warning: .*10", anonymize(deep).stdout)
    clear = film(tmp_path / "clear.mov", 4, codec="png", pix_fmt="rgba")
    assert re.search("warning: .*[Aa]lpha", anonymize(clear).stdout)


# 23: containers


@pytest.mark.parametrize(
    ("name", "form", "codec"),
    [
        ("clip.ts", None, "libx264"),
        ("clip.mkv", None, "libx264"),
        ("clip.avi", None, "mpeg4"),
        ("clip.mov", None, "mpeg4"),
        ("clip.webm", None, "libvpx-vp9"),
        ("clip", "mp4", "libx264"),
        ("clip.txt", "matroska", "libx264"),
        ("clip.gif", None, "gif"),
        ("clip.png", "apng", "apng"),
    ],
)
def test_every_container_by_what_is_in_it(tmp_path: Path, name: str, form, codec: str):
    pix_fmt = {"gif": "rgb8", "apng": "rgb24"}.get(codec, "yuv420p")
    source = film(tmp_path / name, 10, codec=codec, form=form, pix_fmt=pix_fmt)
    anonymize(source)
    assert len(pictures(tmp_path / "clip.anon.mp4")) == 10


def test_an_animated_webp_is_refused_with_what_to_do_and_stops_nobody(tmp_path: Path):
    from PIL import Image

    stills = [Image.fromarray(scene(i)) for i in range(3)]
    stills[0].save(tmp_path / "a.webp", save_all=True, append_images=stills[1:], duration=40)
    stills[0].save(tmp_path / "b.webp")
    done = anonymize(tmp_path, code=1)
    assert "1 done, 1 failed" in done.stdout
    assert "a.webp is an animated WebP" in done.stderr
    assert "make a GIF or a video of it first" in done.stderr
    assert [path.name for path in tmp_path.parent.glob(f"{tmp_path.name}.anon/*.webp")] == [
        "b.anon.webp"
    ]


def test_a_name_that_begins_with_a_dash(tmp_path: Path):
    film(tmp_path / "-dash.mp4", 4)
    anonymize("--", "-dash.mp4", cwd=tmp_path)
    assert "-dash.anon.mp4" in names(tmp_path)


# 24, 9: errors are a sentence, and the first line comes at once


def test_no_torch_is_loaded(clip: Path):
    code = (
        "import sys\nfrom velatura.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'cv2', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "anonymize", str(clip)],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            ),
        },
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_closed_disk(clip: Path):
    """No space, as the system says it: one sentence, exit 1, nothing left."""
    code = (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))\n"
        "from velatura.cli import main\nmain()"
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, "anonymize", str(clip)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            ),
        },
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "failed" in done.stdout
    assert names(clip.parent) == ["clip.mp4"]
    assert time.perf_counter() - began < 120


# What a reviewer broke


def test_a_sheet_replaces_nothing(clip: Path):
    source = clip.with_name("s.png")
    anonymize(clip, "--sheet", source)
    shown = sha(source)
    assert source.stat().st_mode & 0o777 == 0o600
    for words in (
        (clip, "--overwrite", "--sheet", source),
        (clip, "--overwrite", "--sheet", clip.with_name("s.jpg")),
        (clip, "--overwrite", "--sheet", clip.parent / "none" / "s.png"),
        (source, "--mode", "pixelate", "--sheet", clip.with_name("t.png")),
    ):
        before = sha(clip.with_name("clip.anon.mp4"))
        anonymize(*words, code=2)
        assert sha(source) == shown
        assert sha(clip.with_name("clip.anon.mp4")) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--regions", "faces", "--mode", "black"], "--mode treats whole frames"),
        (["--regions", "faces", "--model", "x.onnx"], "--model treats whole frames"),
        (["--regions", "faces", "--scale", "10"], "--scale treats whole frames"),
        (["--fill", "black"], "--fill goes with --regions"),
        (["--stall", "3"], "--stall is for streams"),
        (["--segment", "3"], "--segment goes with --engine ray"),
        (["--start", "inf"], "numbers of seconds"),
        (["--scale", "999999"], "at most 8192"),
    ],
)
def test_no_option_is_passed_over_in_silence(clip: Path, words, says):
    assert says in anonymize(clip, *words, code=2).stderr
    assert names(clip.parent) == ["clip.mp4"]


@pytest.mark.parametrize("words", [["--dry-run"], ["--preview", "1s"], ["--check"], ["--resume"]])
def test_a_stream_takes_no_options_of_files(tmp_path: Path, words):
    out = tmp_path / "out.mp4"
    assert "this is a stream" in anonymize("udp://127.0.0.1:9", "--out", out, *words, code=2).stderr
    assert names(tmp_path) == []


def test_a_codec_that_nobody_knows_stops_nobody_else(tree: Path):
    odd = tree / "odd.mp4"
    data = film(tree / "plain.mp4", 4).read_bytes()
    odd.write_bytes(data.replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))
    done = anonymize(tree, "--out", tree.parent / "out", code=1)
    assert "3 done, 2 failed, 0 skipped" in done.stdout
    assert "odd.mp4" in done.stderr


def test_resume_replaces_nothing_that_it_did_not_make(clip: Path):
    other = clip.with_name("other.mp4")
    other.write_bytes(b"precious")
    assert "exists" in anonymize(clip, "--out", other, "--resume", code=2).stderr
    assert other.read_bytes() == b"precious"


def test_resume_sees_another_source_and_other_options(clip: Path):
    anonymize(clip)
    copy = clip.with_name("clip.anon.mp4")
    first = sha(copy)
    assert "verified" in anonymize(clip, "--resume").stdout
    anonymize(clip, "--resume", "--end", "0.5")
    assert len(pictures(copy)) == 13
    film(clip, 20)
    anonymize(clip, "--resume")
    assert len(pictures(copy)) == 20
    assert sha(copy) != first


def test_copies_are_no_sources_even_when_named(clip: Path):
    anonymize(clip)
    copy = clip.with_name("clip.anon.mp4")
    done = anonymize(clip, copy, "--resume")
    assert "passed over" in done.stdout
    assert names(clip.parent) == ["clip.anon.mp4", "clip.anon.mp4.report.json", "clip.mp4"]
    assert "a copy that was made here" in anonymize(copy, code=2).stderr


def test_no_copy_replaces_another_source(tmp_path: Path):
    film(tmp_path / "a.mp4", 4)
    other = film(tmp_path / "a.anon.mp4", 8)
    before = sha(other)
    done = anonymize(tmp_path / "a.mp4", other, "--overwrite", code=2)
    assert "is a source itself" in done.stderr
    assert sha(other) == before


def test_what_is_left_out_of_a_folder_is_named(tree: Path):
    (tree / "link").symlink_to(tree / "deep")
    (tree / "broken.mp4").symlink_to(tree / "nothing")
    os.mkfifo(tree / "pipe.mp4")
    film(tree / "holiday.anon.mp4", 4)  # an original, whatever its name
    done = anonymize(tree, "--out", tree.parent / "out", "--json", code=1)
    answer = json.loads(done.stdout)
    assert {Path(p).name for p in answer["passed_over"]} == {
        "link", "broken.mp4", "pipe.mp4", "notes.txt",
    }  # fmt: skip
    assert answer["done"] == 3


@pytest.mark.parametrize("what", ["a folder", "somebody else's"])
def test_a_report_that_cannot_be_written_is_told_before_any_work(clip: Path, what: str):
    report = clip.with_name("clip.anon.mp4.report.json")
    if what == "a folder":
        report.mkdir()
    else:
        report.write_text("{}")
    assert "move it away" in anonymize(clip, code=2).stderr
    assert not clip.with_name("clip.anon.mp4").exists()


def test_a_report_of_another_version_is_replaced(clip: Path):
    anonymize(clip)
    report = clip.with_name("clip.anon.mp4.report.json")
    report.write_text(report.read_text().replace("velatura-report/1", "velatura-report/9"))
    anonymize(clip, "--resume", "--mode", "blur")
    assert json.loads(report.read_text())["anonymizer"]["name"] == "blur"


def test_a_source_that_changes_costs_nothing_that_was_there(tmp_path: Path, clip: Path):
    """The anonymizer itself writes to the source: nothing is sooner."""
    driver = tmp_path / "driver.py"
    driver.write_text(
        "import sys\n"
        "from velatura.deploy import modes\n"
        "from velatura.cli import main\n"
        "class Meddler(modes.Black):\n"
        "    def apply(self, frames):\n"
        "        open(sys.argv[1], 'ab').write(b'more')\n"
        "        return frames * 0\n"
        "modes.MODES['meddler'] = Meddler\n"
        "main(['anonymize', *sys.argv[1:], '--mode', 'meddler', '--overwrite'])\n"
    )
    anonymize(clip)
    copy = clip.with_name("clip.anon.mp4")
    before = sha(copy), copy.with_name("clip.anon.mp4.report.json").read_bytes()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, driver, clip], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 1
    assert "changed while it was read" in done.stderr
    assert (sha(copy), copy.with_name("clip.anon.mp4.report.json").read_bytes()) == before


def test_a_clash_in_a_folder_is_the_second_files_trouble(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.mkv", "a.mp4", "b.mp4"):
        film(folder / name, 4)
    done = anonymize(folder, "--out", tmp_path / "out", code=1)
    assert "2 done, 1 failed, 0 skipped" in done.stdout
    assert "rename one" in done.stderr


def test_pictures_have_a_default_of_their_own(tmp_path: Path):
    from PIL import Image

    folder = tmp_path / "in"
    folder.mkdir()
    film(folder / "a.mp4", 4)
    Image.fromarray(scene(3, 96, 128)).save(folder / "b.png")
    anonymize(folder, "--out", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "b.anon.png.report.json").read_text())
    assert report["anonymizer"]["name"] == "light"
    assert "shows motion" in anonymize(folder / "b.png", "--mode", "silhouette", code=1).stderr


def test_dry_run_sees_a_folder_that_takes_nothing(tmp_path: Path, clip: Path):
    if os.getuid() == 0:  # to whom every folder is open; /proc takes nothing from anybody
        done = anonymize(clip, "--out", "/proc/x.mp4", "--dry-run", code=1)
    else:
        tmp_path.chmod(0o500)
        done = anonymize(clip, "--dry-run", code=1)
    assert "Cannot write into" in done.stdout


def test_frames_left_as_they_are_are_told(tmp_path: Path, clip: Path):
    boxes = tmp_path / "boxes.json"
    frames = {"schema": "velatura-boxes/1", "frames": {"29": [[0, 0, 9, 9]]}}
    boxes.write_text(json.dumps(frames))
    done = anonymize(clip, "--regions", boxes, "--missing", "keep")
    assert re.search(r"warning: \d+ of 30 frames had no region and were left as", done.stdout)


def test_names_do_not_steer_the_terminal(tmp_path: Path):
    film(tmp_path / "a\x1b]0;pwn\x07\nb.mp4", 4)
    done = anonymize(tmp_path, "--out", tmp_path / "out")
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout


@pytest.mark.parametrize("log", ["none/log.jsonl", ".", "words.txt"])
def test_a_log_that_cannot_be_kept_is_told_before_any_work(clip: Path, log: str):
    words = clip.with_name("words.txt")
    words.write_text("one line, and no end")
    anonymize(clip, "--log", clip.parent / log, code=2)
    assert names(clip.parent) == ["clip.mp4", "words.txt"]
    assert words.read_text() == "one line, and no end"
