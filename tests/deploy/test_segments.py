"""A long video in parts: the same pictures at the same times as in one run, and nothing else."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from looking import written as written_file

from velatura.deploy import file as whole_file
from velatura.deploy import segments
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.file import anonymize_video
from velatura.deploy.model import Model
from velatura.deploy.modes import Blur, Pixelate, Silhouette
from velatura.deploy.regions import Regions
from velatura.deploy.segments import cut, join, make_segment, parts_folder, remove_parts
from velatura.errors import BadInput, Failure
from velatura.video.probe import probe
from velatura.video.read import Damaged, read_frames
from velatura.video.write import VideoWriter

FRAMES = 90
TICKS = Fraction(1, 600)


def pictures(count: int = FRAMES, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """A bright block that wanders over noise, another place in every frame."""
    still = np.random.default_rng(0).integers(40, 120, (height, width, 3), np.uint8)
    made = []
    for i in range(count):
        image = still.copy()
        x, y = 5 * i % (width - 12), 3 * i % (height - 12)
        image[y : y + 12, x : x + 12] = 180 + 20 * (i % 4)
        made.append(image)
    return made


def encode(
    path: Path,
    images: list[np.ndarray],
    times: list[int] | None = None,
    codec: str = "libx264",
    sound: bool = False,
    **container_options: str,
) -> Path:
    """With PyAV alone: B-frames, key frames every 12, uneven times."""
    options = {"g": "12", "bf": "0", "sc_threshold": "0"}
    if codec == "libx264":
        options |= {"bf": "2", "crf": "10"}
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, 30, options)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = TICKS if times else Fraction(1, 30)
        if sound:
            track = container.add_stream("aac", 48000)
            rng = np.random.default_rng(1)
            tone = []
            for i in range(60):
                part = (rng.normal(size=(2, 1024)) * 0.1).astype(np.float32)
                piece = av.AudioFrame.from_ndarray(part, "fltp", "stereo")
                piece.sample_rate, piece.pts = 48000, 1024 * i
                tone += track.encode(piece)
            tone += track.encode()
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts = times[i] if times else i
            frame.time_base = TICKS if times else Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            container.mux(tone)
    return path


UNEVEN = [20 * i + (i % 3) * 4 + 40 * (i // 30) for i in range(FRAMES)]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Three seconds of H.264 with B-frames and uneven times."""
    return encode(tmp_path_factory.mktemp("source") / "long.mp4", pictures(), UNEVEN)


@pytest.fixture
def output(tmp_path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "a.mp4"


@pytest.fixture
def written(monkeypatch) -> list[np.ndarray]:
    """Every picture that a writer is given, before it is encoded."""
    seen: list[np.ndarray] = []

    class Seen(VideoWriter):
        def write(self, image, pts, duration=0):
            seen.append(image.copy())
            super().write(image, pts, duration)

    for module in (whole_file, segments):
        monkeypatch.setattr(module, "VideoWriter", Seen)
    return seen


def in_parts(source, output, make, seconds=0.7, **options):
    """The whole way, each span by an anonymizer of its own."""
    past, ahead = segments.needs(make())
    spans = cut(source, seconds, past=past, ahead=ahead)
    parts = [make_segment(source, span, parts_folder(output), make()) for span in spans]
    return spans, parts, join(parts, source, output, **options)


def times_of(path) -> list[Fraction]:
    return [frame.pts * frame.time_base for frame in read_frames(path)]


class Trail(Anonymizer):
    """The mean of a frame and the five before it."""

    name = digest = "trail"
    past = 5

    def process(self, batches):
        before: list[np.ndarray] = []
        for frames in batches:
            answers = []
            for frame in frames:
                before = [*before, frame][-6:]
                answers.append(np.mean(before, 0).astype(np.uint8) // 2)
            yield np.stack(answers)


class Late(Anonymizer):
    """The negative of a frame and of the two after it; says so, or not."""

    name = digest = "late"

    def __init__(self, ahead: int | None):
        if ahead is not None:
            self.ahead = ahead

    def process(self, batches):
        waiting: list[np.ndarray] = []

        def answer():
            return (255 - np.mean(waiting[:3], 0).astype(np.uint8))[None]

        for frames in batches:
            for frame in frames:
                waiting.append(frame)
                if len(waiting) == 3:
                    yield answer()
                    waiting.pop(0)
        while waiting:
            yield answer()
            waiting.pop(0)


def boxes(folder: Path) -> Path:
    """In some frames only, so that boxes are carried; another one in each."""
    path = folder / "boxes.json"
    frames = {str(i): [[i % 40, i % 30, i % 40 + 15, i % 30 + 15]] for i in range(3, FRAMES, 7)}
    path.write_text(json.dumps({"schema": "velatura-boxes/1", "frames": frames}))
    return path


def test_every_frame_is_in_one_span(source):
    spans = cut(source, 0.7, past=4, ahead=2)
    assert len(spans) == 4
    assert [s.number for s in spans] == [0, 1, 2, 3]
    assert spans[0].first == 0
    assert all(b.first == a.first + a.frames for a, b in pairwise(spans))
    assert spans[-1].first + spans[-1].frames == FRAMES
    ticks = [round(t / spans[0].info.time_base) for t in times_of(source)]
    for span in spans:
        assert span.begin == ticks[span.first]
        last = span.first + span.frames
        assert span.end == (ticks[last] if last < FRAMES else None)
        # Decoding starts at the last restart that leaves room for the frames before.
        assert span.restart % 12 == 0
        assert 0 <= max(0, span.first - 4) - span.restart < 12
        assert list(span.times) == ticks[span.restart : min(last + 2, FRAMES)]
        assert span.doubt == ""


@pytest.mark.parametrize("seconds", [0.03, 0.1, 0.5, 1.6, 100])
def test_any_length(source, seconds):
    spans = cut(source, seconds, past=4)
    assert all(s.restart <= s.shown == max(0, s.first - 4) for s in spans)
    assert sum(s.frames for s in spans) == FRAMES
    assert all(s.frames > 0 for s in spans)
    if seconds == 100:
        assert len(spans) == 1


def test_a_still_stretch_makes_no_empty_span(tmp_path):
    """A slide show: nothing new for longer than a span."""
    path = encode(tmp_path / "slow.mp4", pictures(6), [0, 600, 1200, 60000, 60600, 61200])
    spans = cut(path, 5)
    assert [(s.first, s.frames) for s in spans] == [(0, 3), (3, 3)]


def test_start_and_end(source):
    spans = cut(source, 0.4, start=0.5, end=2.0)
    inside = [i for i, t in enumerate(times_of(source)) if 0.5 <= t < 2]
    assert [i for s in spans for i in range(s.first, s.first + s.frames)] == inside
    assert cut(source, 1, start=50.0) == []
    with pytest.raises(BadInput, match="longer than 0 seconds"):
        cut(source, 0)


MAKERS = {
    "pixelate": lambda tmp: Pixelate(),
    "silhouette": lambda tmp: Silhouette(),
    "trail": lambda tmp: Trail(),
    "late": lambda tmp: Late(2),
    "boxes": lambda tmp: Regions(boxes(tmp), carry=3),
    "file": lambda tmp: Model(written_file(tmp / "x.onnx")),
    "file, first as next": lambda tmp: Model(written_file(tmp / "y.onnx", first="next")),
}


@pytest.mark.parametrize("name", MAKERS)
def test_same_pictures_as_in_one_run(source, output, written, tmp_path, name):
    """Exactly, before encoding; within the codec's noise, after it; at the same times."""
    once = output.with_name("once.mp4")
    anonymizer = MAKERS[name](tmp_path)
    outcome = anonymize_video(source, once, anonymizer)
    apart = written.copy()
    written.clear()
    spans, parts, joined = in_parts(source, output, lambda: MAKERS[name](tmp_path))
    assert len(spans) == 4
    assert len(written) == len(apart) == FRAMES
    for number, (one, other) in enumerate(zip(apart, written, strict=True)):
        assert np.array_equal(one, other), f"frame {number}"
    assert times_of(output) == times_of(once) == times_of(source)
    images, others = ([f.image.astype(int) for f in read_frames(p)] for p in (once, output))
    for i in range(1, FRAMES - 1):
        before, own, after = (np.abs(images[k] - others[i]).mean() for k in (i - 1, i, i + 1))
        assert own < 6
        assert own <= min(before, after) + 1
    assert (joined.frames, float(joined.seconds)) == (FRAMES, pytest.approx(outcome.seconds))
    assert probe(output) == probe(once)
    summed = {k: sum(p.counts[k] for p in parts) for k in parts[0].counts}
    assert summed == anonymizer.describe().get("counts", {})


def test_spans_of_one_frame(source, output, written):
    """The silhouette of the first frame needs the second."""
    anonymize_video(source, output.with_name("once.mp4"), Silhouette(), end=0.2)
    apart = written.copy()
    written.clear()
    spans = cut(source, 0.01, past=1, end=0.2)
    assert {s.frames for s in spans} == {1}
    parts = [make_segment(source, s, parts_folder(output), Silhouette()) for s in spans]
    join(parts, source, output)
    assert np.array_equal(np.stack(apart), np.stack(written))


def test_decoding_starts_nearby(source, output, monkeypatch):
    """And not at the beginning: of a file that is sought in, read_frames is never asked."""

    def never(*args):
        raise AssertionError("decoded from the start")

    monkeypatch.setattr(segments, "read_frames", never)
    spans, _, joined = in_parts(source, output, Trail)
    assert joined.frames == FRAMES
    assert [s.restart for s in spans] == [0, 12, 36, 60]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.ts", "libx264"), ("a.mkv", "mpeg2video"), ("a.avi", "libx264")]
)
def test_where_nothing_can_be_sought(tmp_path, output, written, name, codec):
    """Decoded from the start, few times, and said; the same pictures."""
    path = encode(tmp_path / name, pictures(), codec=codec)
    apart = list(Trail().stream(frame.image for frame in read_frames(path)))
    spans, _, _ = in_parts(path, output, Trail, seconds=0.1)
    assert len(spans) == segments.FEW
    assert all(s.doubt and s.first == -1 for s in spans)
    assert np.array_equal(np.stack(apart), np.stack(written))
    assert times_of(output) == times_of(path)


def test_avi_that_is_sought_in(tmp_path, output):
    path = encode(tmp_path / "a.avi", pictures(), codec="mpeg4")
    spans, _, _ = in_parts(path, output, Trail)
    assert spans[1].doubt == ""
    assert spans[1].restart > 0
    assert times_of(output) == times_of(path)


def test_falls_back_where_the_file_is_not_as_indexed(source, output, written):
    """Midway too: no frame is given twice, none is left out."""
    spans = cut(source, 0.7, past=5)
    right = [make_segment(source, s, parts_folder(output), Trail()) for s in spans]
    apart = written.copy()
    written.clear()
    remove_parts(output)
    for span in spans[1:]:
        span.times[len(span.times) // 2] += 1
    wrong = [make_segment(source, s, parts_folder(output), Trail()) for s in spans]
    assert np.array_equal(np.stack(apart), np.stack(written))
    assert [p.times for p in wrong] == [p.times for p in right]


@pytest.mark.parametrize("ahead", [None, 1])
def test_later_than_it_says(source, tmp_path, ahead):
    span = cut(source, 0.7, ahead=ahead or 0)[1]
    for on_error in ("stop", "black"):
        with pytest.raises(BadInput, match="late answers later than it says"):
            make_segment(source, span, tmp_path / "p", Late(ahead), batch=1, on_error=on_error)
    assert not list((tmp_path / "p").iterdir())
    sparse = Regions(boxes(tmp_path), carry=3, every=2)
    with pytest.raises(BadInput, match="every 2th frame"):
        make_segment(source, span, tmp_path / "p", sparse)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_beyond_start_and_end_nothing_is_looked_at(output, written, tmp_path, name, container):
    """The same pictures as in one run over so much of it."""
    path = encode(tmp_path / f"a.{container}", pictures())
    opens = float(times_of(path)[0])
    asked = {"start": opens + 0.71, "end": opens + 2.0}
    anonymize_video(path, output.with_name("once.mp4"), MAKERS[name](tmp_path), **asked)
    apart = written.copy()
    written.clear()
    past, ahead = segments.needs(MAKERS[name](tmp_path))
    spans = cut(path, 0.3, past=past, ahead=ahead, **asked)
    assert len(spans) == 4
    made = MAKERS[name](tmp_path)
    if (name, container) == ("boxes", "ts"):
        with pytest.raises(segments.InOnePiece, match="counts frames"):
            make_segment(path, spans[1], parts_folder(output), made)
        return
    parts = [make_segment(path, span, parts_folder(output), made) for span in spans]
    join(parts, path, output, **asked)
    assert np.array_equal(np.stack(apart), np.stack(written))
    assert times_of(output) == times_of(output.with_name("once.mp4"))


def test_span_of_another_cut(source, tmp_path):
    """Without the frames before it that this one needs."""
    span = cut(source, 0.7, past=1)[1]
    with pytest.raises(ValueError, match="not cut for trail"):
        make_segment(source, span, tmp_path / "p", Trail())


class Breaks(Anonymizer):
    """The negative; breaks at bright frames, or gives them back."""

    name = digest = "breaks"
    past = 2

    def __init__(self, raw: bool = False):
        self.raw = raw
        self.calls = 0

    def process(self, batches):
        for frames in batches:
            self.calls += 1
            if self.calls == 3:
                if not self.raw:
                    raise RuntimeError("inside")
                yield frames.copy()
            yield 255 - frames


def test_black_is_counted_inside_the_span_only(source, output):
    span = cut(source, 0.7, past=2)[1]
    folder = parts_folder(output)
    for raw in (False, True):
        remove_parts(output)
        part = make_segment(source, span, folder, Breaks(raw), batch=2, on_error="black")
        assert (part.black, len(part.times)) == (2, span.frames)
        assert "inside" in part.reason or "unchanged" in part.reason
    # The first two frames that it is shown lie before the span.
    remove_parts(output)
    early = Breaks()
    early.calls = 2
    assert make_segment(source, span, folder, early, batch=2, on_error="black").black == 0
    remove_parts(output)
    with pytest.raises(Failure, match="inside"):
        make_segment(source, span, folder, Breaks(), batch=2)
    assert not list(folder.iterdir())


def test_parts_are_used_again(source, output, written):
    """Whole ones, of the same making; anything else is made again."""
    folder = parts_folder(output)
    spans = cut(source, 0.7)
    first = make_segment(source, spans[0], folder, Blur(), identity="x")
    assert len(written) == spans[0].frames
    calls = []
    again = make_segment(
        source, spans[0], folder, Blur(), identity="x", progress=lambda *c: calls.append(c)
    )
    assert again == first
    assert calls == [(spans[0].frames, spans[0].frames)]
    assert len(written) == spans[0].frames
    for spoil in ("identity", "anonymizer", "bytes", "record"):
        written.clear()
        if spoil == "bytes":
            path = Path(first.path)
            path.write_bytes(path.read_bytes()[:-1] + b"x")
        if spoil == "record":
            Path(first.path).with_suffix(".json").write_text("{")
        other = "y" if spoil == "identity" else "x"
        made = Pixelate() if spoil == "anonymizer" else Blur()
        make_segment(source, spans[0], folder, made, identity=other)
        assert len(written) == spans[0].frames, spoil
        make_segment(source, spans[0], folder, Blur(), identity="x")


def test_damage_is_told(tmp_path, output):
    """Its index stands first, so that the file opens and plays up to the cut."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(60)]
    path = encode(tmp_path / "cut.mp4", noise, movflags="faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    spans = cut(path, 0.5)
    assert all(s.doubt for s in spans)
    for span in spans[:-1]:  # those before the cut are as they were
        with suppress(Damaged):
            make_segment(path, span, parts_folder(output), Blur())
    with pytest.raises(Damaged, match=r"\d+ of 60 frames decode"):
        make_segment(path, spans[-1], parts_folder(output), Blur())


def test_matroska_without_its_end_is_told(tmp_path, output):
    whole = encode(tmp_path / "whole.mkv", pictures())
    assert cut(whole, 0.7)[0].doubt == ""
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with pytest.raises(Damaged):
        in_parts(path, output, Blur)
    assert not output.exists()


def test_sound_and_span_of_time(tmp_path, output):
    path = encode(tmp_path / "a.mp4", pictures(40), sound=True)

    def packets(file, origin):
        with av.open(str(file)) as container:
            return [
                (round(float(p.pts * p.time_base - origin), 4), bytes(p))
                for p in container.demux(audio=0)
                if p.size
            ]

    once = output.with_name("once.mp4")
    anonymize_video(path, once, Blur(), sound="keep")
    in_parts(path, output, Blur, seconds=0.4, sound="keep")
    assert len(packets(path, 0)) > 50
    assert packets(output, 0) == packets(once, 0) == packets(path, 0)
    output.unlink()
    once.unlink()
    span = {"start": 0.4, "end": 1.1}
    anonymize_video(path, once, Blur(), sound="keep", **span)
    spans = cut(path, 0.25, **span)
    folder = parts_folder(output)
    parts = [make_segment(path, s, folder, Blur(), identity="span") for s in spans]
    join(parts, path, output, sound="keep", **span)
    assert packets(output, 0) == packets(once, 0)
    assert times_of(output) == times_of(once)
    in_parts(path, output.with_name("b.mp4"), Blur)
    assert not probe(output.with_name("b.mp4")).has_audio


def test_late_start_and_other_containers(tmp_path, output):
    """A file whose first frame is shown late, and not at a full millisecond; into .mov."""
    path = encode(tmp_path / "late.ts", pictures(40))
    in_parts(path, output.with_suffix(".mov"), Blur, seconds=0.4)
    assert times_of(output.with_suffix(".mov")) == times_of(path)
    assert (times_of(path)[0] * 1000).denominator > 1


def test_parts_that_do_not_belong_together(source, output, tmp_path):
    spans, parts, _ = in_parts(source, output, Blur)
    output.unlink()
    with pytest.raises(Failure, match="missing, or is there twice"):
        join([*parts[:1], *parts[2:]], source, output)
    with pytest.raises(Failure, match="missing, or is there twice"):
        join([*parts, parts[1]], source, output)
    short = replace(parts[1], times=parts[1].times[:-1])
    with pytest.raises(Failure, match="do not follow each other"):
        join([parts[0], short, *parts[2:]], source, output)
    # The last one cannot be told by its neighbour, but by what it holds.
    short = replace(parts[3], times=parts[3].times[:-1])
    with pytest.raises(Failure, match="holds more frames"):
        join([*parts[:3], short], source, output)

    path = Path(parts[2].path)
    shutil.copy(path, tmp_path / "kept.mp4")
    info = spans[2].info
    with VideoWriter(
        path, info.width, info.height, time_base=info.time_base, rate=info.rate, crf=18,
        preset="ultrafast", overwrite=True, enlarge="bilinear",
    ) as writer:  # fmt: skip
        for i in range(spans[2].frames):
            writer.write(np.full((8, 8, 3), i, np.uint8), 20 * i)
    other = replace(parts[2], headers=segments._headers(path))
    with pytest.raises(Failure, match="encoded in different ways"):
        join([*parts[:2], other, parts[3]], source, output)
    assert [p.name for p in output.parent.iterdir()] == [parts_folder(output).name]


def test_nothing_is_left_and_nothing_is_replaced(source, output, monkeypatch):
    spans, parts, _ = in_parts(source, output, Blur)
    remove_parts(output)
    remove_parts(output)
    assert [p.name for p in output.parent.iterdir()] == ["a.mp4"]
    before = output.read_bytes()
    with pytest.raises(BadInput, match="exists"):
        join(parts, source, output)
    parts = [make_segment(source, s, parts_folder(output), Pixelate()) for s in spans]

    def broken(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(segments, "_verify", broken)
        with pytest.raises(Failure, match="No space left"):
            join(parts, source, output, overwrite=True)
    assert output.read_bytes() == before
    with pytest.raises(BadInput, match="is the source itself"):
        join(parts, source, source, overwrite=True)
    join(parts, source, output, overwrite=True)
    assert output.read_bytes() != before
    remove_parts(output)
    assert [p.name for p in output.parent.iterdir()] == ["a.mp4"]


def test_a_long_name_has_a_folder_too(tmp_path):
    name = "ä" * 124 + ".mp4"
    folder = parts_folder(tmp_path / name)
    folder.mkdir()
    assert folder != parts_folder(tmp_path / ("ä" * 123 + "b.mp4"))
    assert folder.name.startswith(".")
