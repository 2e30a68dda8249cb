"""Regions are hidden, the rest stays, and where nothing is found nothing is shown."""

import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from velatura import regions as shared
from velatura.deploy import regions
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.faces import weights
from velatura.deploy.file import anonymize_video
from velatura.deploy.regions import Regions, read_boxes
from velatura.errors import BadInput, Failure
from velatura.regions._cells import BLOCK
from velatura.video.read import read_frames
from velatura.video.write import VideoWriter

CLIPS = Path(os.environ.get("VELATURA_DATA", Path(__file__).parents[3] / "shared/data")) / "clips"
HEIGHT, WIDTH = 96, 128
BOX = [40, 30, 60, 50]  # 20 x 20 pixels; dilated by 30 %: 34, 24 to 66, 56


class Known:
    """A detector that finds what it was told, by the number in a frame's first pixel."""

    name, digest, device = "known", "known", "cpu"

    def __init__(self, boxes):
        self.boxes = boxes
        self.asked = []

    def detect(self, frames, threshold):
        numbers = [int(frame[0, 0, 0]) for frame in frames]
        self.asked += numbers
        found = [self.boxes.get(number, []) for number in numbers]
        return [np.array([[*box, 0.9] for box in boxes]).reshape(-1, 5) for boxes in found]


def video(length, height=HEIGHT, width=WIDTH):
    """Frames of noise, all alike but for their number in the first pixel."""
    frame = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    frames = np.repeat(frame[None], length, 0)
    frames[:, 0, 0] = np.arange(length)[:, None]
    return frames


def split(frames, *sizes):
    at = 0
    for size in sizes:
        yield frames[at : at + size]
        at += size
    if at < len(frames):
        yield frames[at:]


def run(anonymizer, frames, *sizes):
    return np.concatenate(list(anonymizer.process(split(frames, *sizes))))


def known(boxes, **options):
    return Regions(detector=Known(boxes), **options)


def changed(before, after):
    """The rectangle that holds every changed pixel of a frame: x0, y0, x1, y1; None if none."""
    rows, columns = np.nonzero((before != after).any(-1))
    if not len(rows):
        return None
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def hidden(before, after):
    """Which frames are hidden: "." nothing, "r" a part, "W" more than half."""
    share = (before != after).any(-1).mean((1, 2))
    return "".join("." if s == 0 else "W" if s > 0.5 else "r" for s in share)


# What is hidden, and what is not.


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("fill", ["pixelate", "black", "noise", "blur"])
def test_outside_the_region_every_pixel_is_what_it_was(fill, soft):
    frames = video(3)
    untouched = frames.copy()
    out = run(known({0: [BOX], 1: [BOX], 2: [BOX]}, fill=fill, soft=soft), frames)
    assert out.dtype == np.uint8
    assert out.shape == frames.shape
    np.testing.assert_array_equal(frames, untouched)
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[24:56, 34:66] = False
    np.testing.assert_array_equal(out[:, outside], frames[:, outside])
    # The box itself, and half of what it was dilated by, hold hardly a pixel of the source.
    inside = (out == frames).all(-1)[:, 27:53, 37:63]
    assert inside.mean() < 0.02


def test_what_is_drawn_depends_on_the_means_of_six_by_six_cells_alone():
    frames = video(1)
    scrambled = frames.copy()
    edges = np.linspace(0, 32, 7).round().astype(int)
    rng = np.random.default_rng(2)
    for top, bottom in zip(edges, edges[1:], strict=False):
        for left, right in zip(edges, edges[1:], strict=False):
            part = scrambled[0, 24 + top : 24 + bottom, 34 + left : 34 + right]
            part[:] = rng.permutation(part.reshape(-1, 3)).reshape(part.shape)
    assert (scrambled != frames).any(-1)[0, 24:56, 34:66].mean() > 0.9
    for fill in ("pixelate", "blur", "noise", "black"):
        anonymizer = known({0: [BOX]}, fill=fill)
        np.testing.assert_array_equal(run(anonymizer, frames), run(anonymizer, scrambled))
    cells = run(known({0: [BOX]}), frames)[0, 24:56, 34:66]
    assert len(np.unique(cells.reshape(-1, 3), axis=0)) == 36
    np.testing.assert_array_equal(cells[0, 0], np.floor(frames[0, 24:29, 34:39].mean((0, 1)) + 0.5))


def test_noise_and_black_hold_nothing_of_the_picture():
    frames, other = video(1), 255 - video(1)
    other[0, 0, 0] = 0
    for fill in ("noise", "black"):
        anonymizer = known({0: [BOX]}, fill=fill)
        a, b = run(anonymizer, frames), run(anonymizer, other)
        np.testing.assert_array_equal(a[0, 24:56, 34:66], b[0, 24:56, 34:66])


@pytest.mark.parametrize(
    ("box", "side"),
    [([40, 30, 44, 34], 8), ([40, 30, 41, 31], 3), ([0, 0, 10, 10], 13), ([120, 90, 128, 96], 11)],
)
def test_a_small_region_gets_fewer_cells_rather_than_fine_ones(box, side):
    frames = video(1)
    out = run(known({0: [box]}), frames)
    x0, y0, x1, y1 = changed(frames[0], out[0])
    assert max(x1 - x0, y1 - y0) <= side
    colours = len(np.unique(out[0, y0:y1, x0:x1].reshape(-1, 3), axis=0))
    assert colours == 1 or (y1 - y0) * (x1 - x0) / colours > 0.8 * BLOCK**2


def test_the_whole_frame_is_as_coarse_as_a_region():
    frames = video(1)
    anonymizer = known({})
    out = run(anonymizer, frames)
    assert len(np.unique(out.reshape(-1, 3), axis=0)) == 6 * 8
    assert anonymizer.counts.whole == 1


def test_a_region_of_one_colour_is_hidden_all_the_same():
    for shade, painted in ((90, 0), (0, 128)):
        frames = video(1)
        frames[0, 20:70, 30:80] = shade
        out = run(known({0: [BOX]}), frames)
        assert (out[0, 24:56, 34:66] == painted).all()
        assert changed(frames[0], out[0]) == [34, 24, 66, 56]


def test_a_soft_edge_fades():
    frames = np.full((1, HEIGHT, WIDTH, 3), 200, np.uint8)
    frames[0, 0, 0] = 0
    row = run(known({0: [BOX]}, fill="black", soft=True), frames)[0, 40, 30:70, 0]
    assert (row[7:33] == 0).all()  # the box from 40 to 60, and 3 pixels beside it
    assert (np.diff(row[:8].astype(int)) <= 0).all()
    assert ((0 < row[4:7]) & (row[4:7] < 200)).all()
    np.testing.assert_array_equal(row, row[::-1])


# Time.


def test_a_box_holds_before_and_after():
    frames = video(40)
    anonymizer = known({20: [BOX]}, carry=5, missing="keep")
    out = run(anonymizer, frames, 7, 7)
    assert hidden(frames, out) == "." * 15 + "r" * 11 + "." * 14
    assert changed(frames[20], out[20]) == [34, 24, 66, 56]
    # It grows by a twentieth of its 20 pixels for each frame away.
    assert changed(frames[17], out[17]) == [31, 21, 69, 59] == changed(frames[23], out[23])
    counts = anonymizer.counts
    assert (counts.frames, counts.regions, counts.carried, counts.kept) == (40, 11, 10, 29)


def test_between_two_detections_of_a_face_its_box_moves():
    frames = video(9)
    moved = [44, 34, 64, 54]
    out = run(known({0: [BOX], 8: [moved]}, dilate=0, fill="black"), frames)
    # Halfway, four frames from either: 42, 32 to 62, 52, and four twentieths of 20 around it.
    assert changed(frames[4], out[4]) == [38, 28, 66, 56]
    # After a quarter, two frames from the first: 41, 31 to 61, 51, and two twentieths.
    assert changed(frames[2], out[2]) == [39, 29, 63, 53]
    assert changed(frames[6], out[6]) == [41, 31, 65, 55]


def test_two_faces_are_not_taken_for_one():
    frames = video(9)
    far = [90, 60, 110, 80]
    out = run(known({0: [BOX], 8: [far]}, dilate=0, fill="black"), frames)
    for x0, y0, x1, y1 in (BOX, far):
        assert (out[:, y0:y1, x0:x1] == 0).all()  # both, in every frame
    assert (out[4, 56:58, 68:82] == frames[4, 56:58, 68:82]).all()


@pytest.mark.parametrize("backwards", [False, True])
def test_a_face_that_another_takes_over_from_holds_all_the_same(backwards):
    # The first overlaps the third and not the second; the third's nearest is the second.
    first, second, third = [20, 30, 40, 50], [35, 30, 55, 50], [25, 30, 45, 50]
    boxes = {0: [first], 4: [second], 6: [third]}
    if backwards:
        boxes = {8 - number: found for number, found in boxes.items()}
    frames = video(9)
    out = run(known(boxes, dilate=0, fill="black"), frames)
    assert (out[:, 30:50, 20:40] == 0).all()


def test_backwards_in_time_it_is_the_same():
    rng = np.random.default_rng(3)
    boxes = {
        int(number): [
            [x, y, x + 14, y + 14] for x, y in rng.uniform(0, 60, (int(rng.integers(1, 4)), 2))
        ]
        for number in rng.choice(40, 16, replace=False)
    }
    frames = video(40)
    out = run(known(boxes, carry=4), frames)
    assert set(hidden(frames, out)) == {"r", "W"}
    # Numbered anew, the detector finds in a frame what it found there before.
    np.testing.assert_array_equal(run(known(boxes, carry=4), frames[::-1])[::-1], out)


def test_a_cut_ends_what_is_carried():
    a = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    a[:, : WIDTH // 2] = 220
    frames = np.stack([a] * 10 + [220 - a] * 10)
    frames += np.random.default_rng(0).integers(0, 20, frames.shape, np.uint8)
    frames[:, 0, 0] = np.arange(20)[:, None]
    anonymizer = known({8: [BOX], 14: [BOX]}, missing="keep", carry=8)
    out = run(anonymizer, frames)
    assert hidden(frames, out) == "rrrrrrrrrrrrrrrrrrrr"  # 8 reaches to 9, 14 back to 10
    assert anonymizer.counts.cuts == 1
    out = run(known({8: [BOX]}, missing="keep", carry=8), frames)
    assert hidden(frames, out) == "rrrrrrrrrr.........."


def test_a_flash_or_a_fade_is_no_cut():
    ramp = np.linspace(0, 100, WIDTH)[None, None, :, None].astype(np.uint8)
    frames = np.repeat(np.broadcast_to(ramp, (1, HEIGHT, WIDTH, 3)), 20, 0).copy()
    frames[10:] += 120
    frames[:, 0, 0] = np.arange(20)[:, None]
    anonymizer = known({8: [BOX]}, missing="keep", carry=8, fill="black")
    out = run(anonymizer, frames)
    assert hidden(frames, out) == "r" * 17 + "..."
    assert anonymizer.counts.cuts == 0


@pytest.mark.parametrize("every", [1, 3])
def test_the_output_does_not_depend_on_the_batches(every):
    rng = np.random.default_rng(4)
    boxes = {n: [[n, 20, n + 20, 44]] for n in range(60) if rng.random() < 0.25}
    frames = video(60)
    outs = [
        run(known(boxes, every=every, carry=3), frames, *sizes)
        for sizes in ([60], [1] * 60, [7, 1, 20, 3], [16, 16, 16])
    ]
    assert set(hidden(frames, outs[0])) == {"r", "W"}
    for out in outs[1:]:
        np.testing.assert_array_equal(out, outs[0])


def test_every_third_frame_is_looked_at_and_all_are_hidden():
    frames = video(20)
    anonymizer = known({n: [BOX] for n in range(20)}, every=3, missing="keep")
    out = run(anonymizer, frames, 8, 8)
    assert anonymizer._detector.asked == [0, 3, 6, 9, 12, 15, 18]
    assert hidden(frames, out) == "r" * 20


def test_no_more_frames_are_held_than_are_looked_ahead():
    taken = 0

    def frames():
        nonlocal taken
        for batch in split(video(200), *[1] * 200):
            taken += 1
            yield batch

    anonymizer = known({n: [BOX] for n in range(200)}, carry=8)
    for answered, _ in enumerate(anonymizer.process(frames()), 1):
        assert taken - answered <= anonymizer.ahead


# Failing closed.


@pytest.mark.parametrize(
    ("missing", "seen", "count"),
    [("whole", "W", "whole"), ("black", "W", "black"), ("keep", ".", "kept")],
)
def test_frames_without_regions(missing, seen, count):
    frames = video(30)
    anonymizer = known({4: [BOX]}, carry=2, missing=missing)
    assert anonymizer.keeps == (missing == "keep")
    out = run(anonymizer, frames, 11)
    assert hidden(frames, out) == seen * 2 + "r" * 5 + seen * 23
    assert getattr(anonymizer.counts, count) == 25
    assert anonymizer.describe()["counts"]["regions"] == 5
    if missing == "black":
        assert not out[10].any()
    assert sum(anonymizer.describe()["counts"][k] for k in ("whole", "black", "kept")) == 25


def test_the_default_keeps_no_frame():
    frames = video(12)
    out = run(known({}), frames)
    assert hidden(frames, out) == "W" * 12


def test_counts_are_of_one_video():
    anonymizer = known({0: [BOX]})
    run(anonymizer, video(5))
    run(anonymizer, video(3))
    assert anonymizer.counts.frames == 3


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_box_that_is_no_number_stops_it(odd):
    with pytest.raises(Failure, match="not a number"):
        run(known({2: [[odd, 1, 5, 5]]}), video(4))


def test_a_box_beside_the_picture_hides_nothing_so_all_is_hidden():
    frames = video(1)
    assert hidden(frames, run(known({0: [[500, 10, 520, 30]]}), frames)) == "W"


def boxes_file(folder, frames, **more):
    path = folder / "boxes.json"
    path.write_text(json.dumps({"schema": "velatura-boxes/1", "frames": frames} | more))
    return path


def test_after_a_failure_numbered_boxes_are_not_given_to_other_frames(tmp_path):
    anonymizer = Regions(boxes_file(tmp_path, {"0": [BOX]}), missing="keep")
    running = anonymizer.process(split(video(20), 10, 10))
    next(running)
    running.close()  # as the pipeline does after a failure, before it goes on with the rest
    with pytest.raises(Failure, match="begin anew"):
        list(anonymizer.process([video(10)]))


# Boxes from a file.


def test_boxes_of_a_file(tmp_path):
    path = boxes_file(tmp_path, {"2": [BOX, [90.5, 10, 100, 20]], "3": []})
    frames = video(5)
    out = run(Regions(path, dilate=0, carry=0, missing="keep", fill="black"), frames)
    assert hidden(frames, out) == "..r.."
    assert (out[2, 30:50, 40:60] == 0).all()
    assert (out[2, 10:20, 90:100] == 0).all()
    assert (out[2] != frames[2]).any(-1).sum() == 20 * 20 + 10 * 10
    out = run(Regions(path, carry=0, missing="keep", first=2), frames)
    assert hidden(frames, out) == "r...."


WRONG = [
    ("not json", "is not a file of boxes"),
    ('{"schema": "velatura-boxes/1", "frames": {"0": [[NaN, 0, 1, 1]]}}', "NaN is not a number"),
    ('{"schema": "velatura-boxes/1", "frames": {"0": [[0, 0, 1e999, 1]]}}', "x0, y0, x1, y1"),
    ('{"schema": "velatura-boxes/1", "frames": {"0": [], "0": [[0, 0, 1, 1]]}}', "twice"),
    ("[" * 100_000, "is not a file of boxes"),
    ("[]", '"schema": "velatura-boxes/1"'),
    ('{"frames": {}}', '"schema": "velatura-boxes/1"'),
    ('{"schema": "velatura-boxes/2", "frames": {}}', '"schema": "velatura-boxes/1"'),
    ('{"schema": "velatura-boxes/1", "frames": {}, "fps": 3}', "unknown key 'fps'"),
    ('{"schema": "velatura-boxes/1", "frames": [[1, 2, 3, 4]]}', "object 'frames'"),
    ('{"schema": "velatura-boxes/1", "frames": {"one": []}}', "frame 'one'"),
    ('{"schema": "velatura-boxes/1", "frames": {"01": []}}', "frame '01'"),
    ('{"schema": "velatura-boxes/1", "frames": {"-1": []}}', "frame '-1'"),
    ('{"schema": "velatura-boxes/1", "frames": {"\u0663": []}}', "frame"),
    ('{"schema": "velatura-boxes/1", "frames": {"7": [[0, 0, 1]]}}', "frame 7"),
    ('{"schema": "velatura-boxes/1", "frames": {"7": [[0, 0, 1, true]]}}', "got .0, 0, 1, true"),
    ('{"schema": "velatura-boxes/1", "frames": {"7": [[0, 0, 1, "2"]]}}', "frame 7"),
    ('{"schema": "velatura-boxes/1", "frames": {"7": {"x0": 1}}}', "list of at most"),
    ('{"schema": "velatura-boxes/1", "frames": {"7": [[-1, 0, 5, 5]]}}', "begins outside"),
    ('{"schema": "velatura-boxes/1", "frames": {"7": [[5, 0, 5, 5]]}}', "x0 < x1"),
    ('{"schema": "velatura-boxes/1", "frames": {"7": [[0, 6, 5, 5]]}}', "y0 < y1"),
    ('{"schema": "velatura-boxes/1", "frames": {"7": %s}}' % ([[0, 0, 1, 1]] * 1001), "1000 boxes"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_file_of_boxes_is_refused_in_one_sentence(tmp_path, text, said):
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(BadInput, match=said) as refused:
        Regions(tmp_path / "boxes.json")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300 + len(str(tmp_path))


def test_a_file_that_is_not_there_or_not_a_file_or_huge(tmp_path, monkeypatch):
    for path in (tmp_path / "absent.json", tmp_path, "/dev/zero", "face"):
        with pytest.raises(BadInput, match="There is no file"):
            Regions(path)
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not a file of boxes"):
        Regions(tmp_path / "x.json")
    monkeypatch.setattr(regions, "MEGABYTES", 0)
    with pytest.raises(BadInput, match="larger than"):
        Regions(tmp_path / "x.json")


def test_boxes_beyond_the_picture_are_refused_before_any_frame(tmp_path):
    anonymizer = Regions(boxes_file(tmp_path, {"0": [BOX], "900": [[0, 0, 129, 10]]}))
    assert anonymizer.work_size(130, 130) == (130, 130)
    with pytest.raises(BadInput, match="frame 900 reach beyond the picture of 128x96"):
        anonymizer.work_size(HEIGHT, WIDTH)
    with pytest.raises(BadInput, match="beyond"):
        run(anonymizer, video(2))


def test_read_boxes_gives_what_is_written(tmp_path):
    boxes, digest = read_boxes(boxes_file(tmp_path, {"12": [[0, 1, 2.5, 3]], "3": []}))
    assert boxes.keys() == {12, 3}
    np.testing.assert_array_equal(boxes[12], [[0, 1, 2.5, 3]])
    assert boxes[3].shape == (0, 4)
    assert len(digest) == 64


@pytest.mark.parametrize(
    "options",
    [
        {"fill": "pixellate"},
        {"missing": "pass"},
        {"cells": 0},
        {"cells": 17},
        {"dilate": -0.1},
        {"dilate": float("nan")},
        {"carry": -1},
        {"carry": 2, "every": 4},
        {"every": 0},
        {"threshold": 7.0},
        {"first": -1},
    ],
    ids=str,
)
def test_unusable_options(options):
    with pytest.raises(BadInput):
        known({}, **options)


def test_a_near_miss_is_answered_with_the_right_name():
    with pytest.raises(BadInput, match="Did you mean 'pixelate'"):
        known({}, fill="pixellate")


def test_every_setting_is_in_the_digest(tmp_path):
    path = boxes_file(tmp_path, {"0": [BOX]})
    made = [known({})] + [
        known({}, **o)
        for o in (
            {"fill": "black"},
            {"missing": "keep"},
            {"cells": 5},
            {"dilate": 0.4},
            {"soft": True},
            {"carry": 7},
            {"every": 2},
            {"threshold": 0.3},
        )
    ]
    made += [Regions(path), Regions(path, first=1)]
    digests = {a.digest for a in made}
    path = boxes_file(tmp_path, {"0": [BOX], "1": []})
    digests.add(Regions(path).digest)
    assert len(digests) == len(made) + 1


# As a part of the whole.


def test_it_is_an_anonymizer_of_clips():
    anonymizer = known({n: [BOX] for n in range(12)})
    assert isinstance(anonymizer, Anonymizer)
    frames = video(12)
    np.testing.assert_array_equal(anonymizer(frames), run(anonymizer, frames))


def test_a_file_from_end_to_end(tmp_path):
    frames = video(30)
    with VideoWriter(tmp_path / "in.mp4", WIDTH, HEIGHT, time_base=Fraction(1, 25)) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, i)
    path = boxes_file(tmp_path, {str(n): [BOX] for n in range(10, 13)})
    anonymizer = Regions(path, fill="black", carry=2)
    anonymize_video(tmp_path / "in.mp4", tmp_path / "out.mp4", anonymizer, batch=4)
    out = np.stack([f.image for f in read_frames(tmp_path / "out.mp4")]).astype(int)
    assert len(out) == 30
    assert out[10:13, 27:53, 37:63].max() < 40
    assert anonymizer.describe()["counts"] | {"cuts": 0} == {
        "frames": 30,
        "regions": 7,
        "carried": 4,
        "whole": 23,
        "black": 0,
        "kept": 0,
        "cuts": 0,
    }


def test_faces_of_a_real_clip_are_no_longer_found():
    try:
        weights()
    except BadInput as missing:
        pytest.skip(str(missing))
    pytest.importorskip("onnxruntime")
    if not (CLIPS / "sign_walk.mkv").exists():
        pytest.skip(f"no {CLIPS}: the clips are not part of the repository")
    frames = np.stack([f.image for f in read_frames(CLIPS / "sign_walk.mkv") if f.index < 24])
    anonymizer = Regions(threads=1, every=4)
    out = anonymizer(frames)
    assert anonymizer.counts.regions == 24
    assert 0 < (out != frames).any(-1).mean() < 0.3
    detector = anonymizer._detector
    assert [len(found) for found in detector.detect(frames[::8])] == [1, 1, 1]
    assert [len(found) for found in detector.detect(out[::8], 0.5)] == [0, 0, 0]


# The room that images share: velatura/regions.


def test_a_region_of_a_video_is_drawn_as_one_of_an_image():
    """Two faces at once, so that neither is filled from what the other hides."""
    frames = video(2)
    other = [90, 60, 110, 80]
    for fill in ("maskout", "removal"):
        painter = shared.load(fill)
        found = [(34, 24, 66, 56), (84, 54, 116, 86)]
        if painter.reach:  # grows the box on each of its sides, as dilation does
            found = [(33, 23, 67, 57), (83, 53, 117, 87)]
        expected = painter(frames[1], [shared.Region(box, "face") for box in found])
        out = run(known({0: [BOX, other], 1: [BOX, other]}, fill=fill), frames)
        np.testing.assert_array_equal(out[1], expected)
        soft = run(known({0: [BOX, other], 1: [BOX, other]}, fill=fill, soft=True), frames)
        np.testing.assert_array_equal(soft[1, 30:50, 40:60], expected[30:50, 40:60])
        assert (soft[1] != expected).any()


def test_a_frame_without_faces_is_hidden_by_those_too():
    for fill in ("maskout", "removal"):
        out = run(known({}, fill=fill), video(1))
        assert (out == 127).all()


def test_every_fill_has_a_name():
    assert regions.fills() == ["pixelate", "blur", "noise", "black", "maskout", "removal"]
    with pytest.raises(BadInput, match="No fill named 'maskot'. Did you mean 'maskout'"):
        Regions(detector=Known({}), fill="maskot")
