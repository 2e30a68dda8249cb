"""A network that looks back, deployed: each frame by its own past, whatever way it comes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from films import film, pictures
from looking import PAST, REST, plainly, written

from velatura.deploy import file as whole_file
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.batch import Job, Settings, run_job
from velatura.deploy.file import anonymize_video
from velatura.deploy.image import anonymize_image
from velatura.deploy.model import Model
from velatura.errors import BadInput, Failure
from velatura.video.read import Damaged, read_frames
from velatura.video.write import VideoWriter

FIRST = ["rest", "next"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The network, by what it gives the first frame of a clip."""
    folder = tmp_path_factory.mktemp("looking")
    return {first: written(folder / f"{first}.onnx", first=first) for first in FIRST}


def noise(count: int, height: int, width: int) -> np.ndarray:
    draw = np.random.default_rng(height * width + count)
    return draw.integers(0, 256, (count, height, width, 3), np.uint8)


def cut(clip: np.ndarray, sizes: tuple[int, ...]) -> list[np.ndarray]:
    ends = itertools.accumulate(sizes)
    return [clip[end - size : end] for size, end in zip(sizes, ends, strict=True)]


# ------------------------------------------------------------------------------- the answer


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("first", FIRST)
def test_the_answer_is_that_of_the_formula(files: Any, first: str, runtime: str):
    if runtime == "openvino":
        pytest.importorskip("openvino")
    model = Model(files[first], scale=0, runtime=runtime)
    assert (model.past, model.about.past, model.about.first) == (PAST, PAST, first)
    for count, height, width in [(1, 8, 8), (2, 24, 32), (6, 31, 17), (4, 80, 107)]:
        clip = noise(count, height, width)
        found = model.apply(clip)
        assert found.dtype == np.uint8
        assert np.array_equal(found, plainly(clip, first))


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("sizes", [(1,) * 9, (4, 5), (1, 8), (8, 1), (2, 3, 4), (9,)])
def test_batches_and_threads_do_not_show(files: Any, first: str, sizes: tuple[int, ...]):
    clip = noise(9, 30, 40)
    for threads in (1, 3):
        model = Model(files[first], scale=0, threads=threads)
        answers = list(model.process(iter(cut(clip, sizes))))
        assert np.array_equal(np.concatenate(answers), plainly(clip, first))
        # At once, but for a first frame that waits for the one after it.
        assert len(answers) == len(sizes) - (first == "next" and sizes[0] == 1)


def test_a_picture_in_tiles_is_the_picture_in_one(files: Any):
    clip = noise(4, 61, 90)
    model = Model(files["rest"], scale=0, pixels=300)
    assert len(list(model._tiles(4, 64, 92))) > 1
    assert np.array_equal(model.apply(clip), plainly(clip))


@pytest.mark.parametrize("first", FIRST)
def test_a_frame_is_answered_by_its_past_alone(files: Any, first: str):
    """Neither what was before that nor what comes after it; the first of a clip may wait."""
    model, clip = Model(files[first], scale=0), noise(7, 16, 24)
    answers = model.apply(clip)
    for at in range(7):
        other = clip.copy()
        other[at] = 255 - other[at]
        changed = {t for t in range(7) if not np.array_equal(model.apply(other)[t], answers[t])}
        assert changed <= {*range(at, at + PAST + 1)} | ({0} if first == "next" else set())
        assert at in changed or at == 0


def test_nothing_of_one_clip_is_seen_in_another(files: Any):
    """Two at a time, and one after the other, by the same object."""
    model = Model(files["rest"], scale=0, threads=1)
    one, other = noise(6, 16, 16), noise(6, 16, 16)[::-1]
    runs = [model.process(iter(cut(clip, (2, 2, 2)))) for clip in (one, other)]
    found = [np.concatenate(parts) for parts in zip(*zip(*runs, strict=True), strict=True)]
    assert np.array_equal(found[0], plainly(one))
    assert np.array_equal(found[1], plainly(other))
    assert np.array_equal(model.apply(one), plainly(one))


@pytest.mark.parametrize("first", FIRST)
def test_frames_of_another_size_begin_anew(files: Any, first: str):
    clips = [noise(1, 16, 16), noise(3, 24, 16), noise(2, 16, 16)]
    parts = [part for clip in clips for part in cut(clip, (1,) * len(clip))]
    found = list(Model(files[first], scale=0).process(iter(parts)))
    pictures = iter([picture for answers in found for picture in answers])
    for clip in clips:
        for expected in plainly(clip, first):
            assert np.array_equal(next(pictures), expected)
    assert next(pictures, None) is None


def test_what_is_kept_is_its_own(files: Any):
    """Memory that the caller uses again for the next frames changes nothing."""
    clip, memory = noise(6, 16, 16), np.empty((1, 16, 16, 3), np.uint8)

    def frames() -> Any:
        for frame in clip:
            memory[0] = frame
            yield memory
            memory[0] = 0

    for first in FIRST:
        found = np.concatenate(list(Model(files[first], scale=0).process(frames())))
        assert np.array_equal(found, plainly(clip, first))


def test_a_still_picture_is_at_rest_whatever_it_shows(files: Any):
    for first in FIRST:
        assert (Model(files[first], scale=0).apply(noise(1, 16, 16)) == REST).all()


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_is_no_number_is_no_picture(tmp_path: Path, poison: float):
    model = Model(written(tmp_path / "x.onnx", poison))
    with pytest.raises(Failure, match="looking gave a value that is not a number"):
        model.apply(noise(3, 24, 24))


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"past": None}, "its past is ''"),
        ({"past": "0"}, "its past is '0'"),
        ({"past": "65"}, "its past is '65'"),
        ({"first": None}, "its first is ''"),
        ({"first": "raw"}, "its first is 'raw'"),
        ({"past": "3"}, "looks 3 frames back, it says, and takes 3 at a time"),
    ],
)
def test_what_a_file_says_of_its_past_is_checked(tmp_path: Path, entries: Any, sentence: str):
    with pytest.raises(BadInput) as caught:
        Model(written(tmp_path / "x.onnx", **entries))
    assert sentence in str(caught.value)


def test_a_file_that_hides_its_past_makes_no_picture(tmp_path: Path):
    """As one of single frames it is not run with fewer frames than it takes."""
    model = Model(written(tmp_path / "x.onnx", schema="velatura-model/1"))
    with pytest.raises(Failure, match="looking broke in onnxruntime"):
        model.apply(noise(3, 24, 24))


# ------------------------------------------------------------------------------- videos


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Every picture that a writer is given, before it is encoded."""
    seen: list[np.ndarray] = []

    class Seen(VideoWriter):
        def write(self, image: np.ndarray, pts: int, duration: int = 0) -> None:
            seen.append(image.copy())
            super().write(image, pts, duration)

    monkeypatch.setattr(whole_file, "VideoWriter", Seen)
    return seen


def shown(path: Path) -> np.ndarray:
    return np.stack([frame.image for frame in read_frames(path, (24, 32))])


@pytest.mark.parametrize("first", FIRST)
def test_every_frame_of_a_video(files: Any, tmp_path: Path, drawn: list[np.ndarray], first: str):
    """Of what the decoder gives, and so none as it was; the same file whatever the batch."""
    source = film(tmp_path / "a.mp4", 20)
    frames = shown(source)
    expected = plainly(frames, first)
    copies = []
    for number, (batch, threads) in enumerate([(0, 0), (1, 1), (7, 2)]):
        copy = tmp_path / f"{number}.mp4"
        model = Anonymizer.load(files[first], threads=threads)
        report = anonymize_video(source, copy, model, batch=batch)
        assert (report.frames, report.black) == (20, 0)
        assert np.array_equal(np.stack(drawn), expected)
        drawn.clear()
        copies.append(copy.read_bytes())
    assert copies[0] == copies[1] == copies[2]
    for picture, frame in zip(expected, frames, strict=True):
        assert not np.array_equal(picture, frame)
    away = [np.abs(np.subtract(p, q, dtype=int)).mean() for p, q in zip(
        pictures(source), pictures(tmp_path / "0.mp4"), strict=True)]  # fmt: skip
    assert min(away) > 20


def test_a_span_begins_at_rest(files: Any, tmp_path: Path, drawn: list[np.ndarray]):
    """What is cut off is not looked at."""
    source = film(tmp_path / "a.mp4", 20)
    anonymize_video(source, tmp_path / "b.mp4", Model(files["rest"]), start=0.4)
    assert np.array_equal(np.stack(drawn), plainly(shown(source)[10:]))


def test_behind_a_failure_it_begins_anew(files: Any, tmp_path: Path, drawn: list[np.ndarray]):
    """Black, then rest: what was to be black is not looked back at."""
    source = film(tmp_path / "a.mp4", 12)
    model, calls = Model(files["rest"], threads=1), itertools.count()
    network = model._network

    def breaks(frames: np.ndarray) -> Any:
        if next(calls) == 5:
            raise RuntimeError("inside")
        return network(frames)

    model._network = breaks
    report = anonymize_video(source, tmp_path / "b.mp4", model, batch=2, on_error="black")
    assert report.black == 2
    frames = shown(source)
    black = np.zeros((2, *frames.shape[1:]), np.uint8)
    expected = [plainly(frames[:4]), black, plainly(frames[6:])]
    assert np.array_equal(np.stack(drawn), np.concatenate(expected))


def test_a_damaged_video_is_told_and_leaves_nothing(files: Any, tmp_path: Path):
    source = film(tmp_path / "a.ts", 40, form="mpegts", options={"g": "8"})
    data = bytearray(source.read_bytes())
    middle = len(data) // 2 // 188 * 188
    data[middle : middle + 20 * 188] = np.random.default_rng(0).bytes(20 * 188)
    source.write_bytes(data)
    with pytest.raises((Damaged, BadInput, Failure)):
        anonymize_video(source, tmp_path / "b.mp4", Model(files["rest"]))
    assert [path.name for path in tmp_path.iterdir()] == ["a.ts"]


def test_a_still_picture_is_refused_and_an_archive_goes_on(files: Any, tmp_path: Path):
    from PIL import Image

    Image.fromarray(noise(1, 24, 24)[0]).save(tmp_path / "a.png")
    with pytest.raises(BadInput, match="looking shows motion; a still picture has none: choose"):
        anonymize_image(tmp_path / "a.png", tmp_path / "b.png", Model(files["rest"]))
    settings = Settings(anonymizer=str(files["rest"]), resume=True)
    jobs = [
        Job(tmp_path / "a.png", tmp_path / "b.png", "image"),
        Job(film(tmp_path / "a.mp4", 6), tmp_path / "b.mp4", "video"),
    ]
    model = settings.load()
    assert [run_job(job, settings, model).status for job in jobs] == ["failed", "done"]
    # Made once, it is known again by the file's digest; another file makes another.
    assert run_job(jobs[1], settings, model).status == "skipped"
    assert run_job(jobs[1], settings, Model(files["next"])).status == "done"
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
