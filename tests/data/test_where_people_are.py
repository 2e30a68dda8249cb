"""Where people are in videos: each format, scaled as the frames are, and everything wrong."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tiny_lists as tiny

from velatura.config import build, digest, plain
from velatura.data import _regions, vp_hmdb51
from velatura.data._store.frames import Crop
from velatura.errors import BadInput
from velatura.layout import Splits
from velatura.video.read import read_clip

FILMS = ("one", "two", "three", "four")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two actions of four films, 32 x 24 pixels, three frames each; the last film is the test's."""
    home, labels = tmp_path_factory.mktemp("hmdb"), {}
    for action in ("golf", "pour"):
        lines = []
        for f, film in enumerate(FILMS):
            for number in (0, 1):
                name = f"{action} {film}_{action}_f_cm_np1_ri_med_{number}.avi"
                lines.append(f"{name} {1 + (f > 2)} ")
                labels[f"{action}/{name[:-4]}.mp4"] = [1, number, 0, number, 0]
                tiny.video(home / "hmdb51_org" / action / name)
        tiny.write(home / f"testTrainMulti_7030_splits/{action}_test_split1.txt", "\n".join(lines))
    tiny.vp(home, "hmdb51", labels)
    return home


def videos(home: Path) -> list[str]:
    root = home / "hmdb51_org"
    return sorted(p.relative_to(root).as_posix() for p in root.glob("*/*.avi"))


def loaded(home: Path, cache: Path, **more: object) -> Splits:
    values = {
        "root": str(home / "hmdb51_org"), "cache": str(cache), "workers": 1, "height": 24,
        "width": 24, "attributes": ["face"], "val_fraction": 0.3, **more,
    }  # fmt: skip
    return vp_hmdb51.load(build(vp_hmdb51.Config, values, "data"))


def save_mask(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, packed=np.packbits(mask, axis=-1), shape=mask.shape)


def masks(home: Path, folder: Path, height: int = 24, width: int = 32) -> dict[str, np.ndarray]:
    """A mask for each video, every one another."""
    made = {}
    for i, name in enumerate(videos(home)):
        mask = np.zeros((3, height, width), np.uint8)
        for t in range(3):
            mask[t, i % height : i % height + 5, 4 + t : 12 + 2 * t] = 1
        made[name] = mask
        save_mask((folder / name).with_suffix(".npz"), mask)
    return made


def test_a_config_without_people_is_the_same_as_ever():
    cfg = build(vp_hmdb51.Config, {"root": "x"}, "data")
    assert "people" not in plain(cfg)
    other = build(vp_hmdb51.Config, {"root": "x", "people": "masks"}, "data")
    assert digest(plain(cfg)) != digest(plain(other))


def test_without_the_key_nobody_says(home: Path, tmp_path: Path):
    assert {part.people for part in loaded(home, tmp_path)} == {None}


def test_masks_are_cropped_as_the_frames_are(home: Path, tmp_path: Path):
    """32 x 24 shown at 24 x 24: the middle, columns 4 to 28."""
    made = masks(home, tmp_path / "masks")
    bare = loaded(home, tmp_path)
    for part, without in zip(
        loaded(home, tmp_path, people=str(tmp_path / "masks")), bare, strict=True
    ):
        expected = np.concatenate([made[name][:, :, 4:28] for name in part.people.names])
        assert part.people.shape == (len(part) * 3, 24, 24) == expected.shape
        np.testing.assert_array_equal(part.people[:], expected)
        np.testing.assert_array_equal(part.people[2:7], expected[2:7])
        np.testing.assert_array_equal(part.people[[5, 0, 4]], expected[[5, 0, 4]])
        assert part.people[:].dtype == np.uint8
        part.people.check()
        # Who hides what does not change what is looked at.
        assert part.fingerprint == without.fingerprint
        released = part.with_frames(np.zeros(part.frames.shape, np.uint8), "x", "y")
        assert released.people is part.people


def test_a_mask_of_another_size_is_scaled_to_the_frames(home: Path, tmp_path: Path):
    """Twice the size; and frames that are half of the video's."""
    made = masks(home, tmp_path / "masks", 48, 64)
    train = loaded(home, tmp_path, people=str(tmp_path / "masks")).train
    halves = [made[n].reshape(3, 24, 2, 32, 2).mean((2, 4))[:, :, 4:28] for n in train.people.names]
    np.testing.assert_array_equal(train.people[:], np.concatenate(halves) >= 0.5)
    small = loaded(home, tmp_path, people=str(tmp_path / "masks"), height=12, width=12).train
    quarters = [
        made[n].reshape(3, 12, 4, 16, 4).mean((2, 4))[:, :, 2:14] for n in small.people.names
    ]
    np.testing.assert_array_equal(small.people[:], np.concatenate(quarters) >= 0.5)


@pytest.mark.parametrize("picture", [(240, 320), (320, 240), (24, 33), (7, 50)])
def test_a_crop_covers_and_is_the_middle(picture: tuple[int, int]):
    crop = Crop.of(picture, 24, 32)
    assert crop.size[0] >= 24
    assert crop.size[1] >= 32
    assert crop.size[0] == 24 or crop.size[1] == 32
    assert crop.size[0] / crop.size[1] == pytest.approx(picture[0] / picture[1], rel=0.05)
    assert 0 <= crop.size[0] - 24 - 2 * crop.top <= 1
    assert 0 <= crop.size[1] - 32 - 2 * crop.left <= 1


def test_boxes_are_those_of_deployment(home: Path, tmp_path: Path):
    from velatura.deploy.regions import read_boxes

    folder = tmp_path / "boxes"
    for name in videos(home):
        frames = {"0": [[6, 2, 10.5, 7]], "2": [[0, 0, 5, 24], [20, 20, 32, 24]]}
        text = json.dumps({"schema": "velatura-boxes/1", "frames": frames})
        path = tiny.write((folder / name).with_suffix(".json"), text)
    read_boxes(path)  # deployment takes the same file
    test = loaded(home, tmp_path, people=str(folder)).test
    test.people.check()
    expected = np.zeros((3, 24, 32), np.uint8)
    expected[0, 2:7, 6:11] = 1
    expected[2, :, :5] = 1
    expected[2, 20:, 20:] = 1
    np.testing.assert_array_equal(test.people[3:6], expected[:, :, 4:28])


def test_what_is_missing_or_of_another_video_is_told(home: Path, tmp_path: Path):
    folder = tmp_path / "masks"
    with pytest.raises(BadInput, match=r"data\.people: there is no folder"):
        loaded(home, tmp_path, people=str(folder))
    made = masks(home, folder)
    first = min(made)
    path = (folder / first).with_suffix(".npz")
    path.unlink()
    with pytest.raises(BadInput) as caught:
        loaded(home, tmp_path, people=str(folder))
    assert str(caught.value) == (
        f"{folder} has nothing for 1 of 16 videos, first {first}; expected {first[:-4]}.npz or "
        f"{first[:-4]}.json."
    )
    for mask, says in (
        (np.zeros((4, 24, 32)), "is of 4 frames, and .* has 3"),
        (np.zeros((3, 32, 24)), "24 x 32 pixels, and .* is 32 x 24; they must have one shape"),
    ):
        save_mask(path, mask.astype(np.uint8))
        with pytest.raises(BadInput, match=says):
            check_all(loaded(home, tmp_path, people=str(folder)))
    whole = (folder / videos(home)[1]).with_suffix(".npz").read_bytes()
    np.save(tmp_path / "bare.npy", np.zeros((3, 24, 4), np.uint8))
    bare = (tmp_path / "bare.npy").read_bytes()
    for content in (b"", b"not a mask", b"PK\3\4 cut", whole[: len(whole) // 2], bare):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="is no mask: expected 'packed'"):
            check_all(loaded(home, tmp_path, people=str(folder)))
    np.savez(path, packed=np.zeros((3, 24, 2), np.uint8), shape=(3, 24, 32))
    with pytest.raises(BadInput, match="is no mask"):
        check_all(loaded(home, tmp_path, people=str(folder)))


def check_all(splits: Splits) -> None:
    for part in splits:
        part.people.check()


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ({"3": [[0, 0, 1, 1]]}, "names frame 3, and .* has 3 from 0"),
        ({"0": [[0, 0, 33, 1]]}, "reach beyond the 32 x 24 pixels"),
        ({"0": [[5, 0, 4, 1]]}, "is no file of boxes"),
        ({"0": [[0, 0, 1]]}, "is no file of boxes"),
        ({"x": [[0, 0, 1, 1]]}, "is no file of boxes"),
        ([], "is no file of boxes"),
    ],
)
def test_wrong_boxes(home: Path, tmp_path: Path, frames: object, says: str):
    folder = tmp_path / "boxes"
    for name in videos(home):
        text = json.dumps({"schema": "velatura-boxes/1", "frames": frames})
        tiny.write((folder / name).with_suffix(".json"), text)
    with pytest.raises(BadInput, match=says):
        check_all(loaded(home, tmp_path, people=str(folder)))


class Finder:
    """In the place of OpenCV's: one box, and a count of the pictures that it saw."""

    seen = 0

    def setSVMDetector(self, _: object) -> None:  # noqa: N802
        pass

    def detectMultiScale(self, image: np.ndarray, **_: object):  # noqa: N802
        Finder.seen += 1
        assert min(image.shape[:2]) == 240  # enlarged tenfold
        return np.array([[60, 20, 45, 100]]), np.ones(1)


def test_the_detector_is_asked_once_for_each_frame(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fake = type("Fake", (Finder,), {"getDefaultPeopleDetector": staticmethod(lambda: None)})
    monkeypatch.setattr(cv2, "HOGDescriptor", fake, raising=False)
    Finder.seen = 0
    heard = []
    cfg = build(vp_hmdb51.Config, {
        "root": str(home / "hmdb51_org"), "cache": str(tmp_path), "workers": 1, "height": 24,
        "width": 24, "attributes": ["face"], "val_fraction": 0.3, "people": "detector",
    }, "data")  # fmt: skip
    test = vp_hmdb51.load(cfg, lambda *news: heard.append(news)).test
    assert Finder.seen == 16 * 3
    assert ("finding people", 16, 16) in heard
    expected = np.zeros((24, 32), np.uint8)
    expected[2:12, 6:11] = 1  # a tenth of the box, outwards
    np.testing.assert_array_equal(test.people[[4]][0], expected[:, 4:28])
    vp_hmdb51.load(cfg)
    assert Finder.seen == 16 * 3  # kept
    files = sorted((tmp_path / "people-found").rglob("*.npz"))
    assert len(files) == 16
    files[0].write_bytes(b"half")  # as if killed
    files[1].unlink()
    vp_hmdb51.load(cfg)
    assert Finder.seen == 18 * 3


def test_opencv_5_has_no_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tiny.video(tmp_path / "golf/a.avi")
    monkeypatch.delattr(cv2, "HOGDescriptor", raising=False)
    with pytest.raises(BadInput, match=r"needs OpenCV 4, .* name a folder of masks or boxes"):
        _regions.detect(tmp_path, ["golf/a.avi"], str(tmp_path), 1, None)


def test_the_real_detector_finds_a_walker(tmp_path: Path):
    """Of 795 frames of a street; where OpenCV has it."""
    if not hasattr(cv2, "HOGDescriptor"):
        pytest.skip("this OpenCV has no people detector: opencv-python-headless<5 has")
    name = "clips/pedestrians.avi"
    data = tiny.real(name)
    hog, image = _regions._finder(), read_clip(data / name, [100])[0].transpose(1, 2, 0)
    boxes, _ = hog.detectMultiScale(image[..., ::-1].copy(), winStride=(8, 8), scale=1.05)
    assert len(boxes) >= 1


def test_a_video_that_changed_is_looked_through_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    blind = SimpleNamespace(detectMultiScale=lambda image, **_: ([], []))
    monkeypatch.setattr(_regions, "_finder", lambda: blind)
    video = tiny.video(tmp_path / "root/golf/a.avi")
    found = _regions.detect(tmp_path / "root", ["golf/a.avi"], str(tmp_path), 1, None)
    assert _regions._is_of(found["golf/a.avi"], video)
    tiny.video(video, frames=5)
    assert not _regions._is_of(found["golf/a.avi"], video)
    again = _regions.detect(tmp_path / "root", ["golf/a.avi"], str(tmp_path), 1, None)
    assert again == found
    assert len(_regions._unpacked(again["golf/a.avi"])) == 5


def test_the_shared_masks_fit_their_videos(tmp_path: Path):
    data = tiny.real("hmdb51_jhmdb", "annotations")
    cfg = vp_hmdb51.Config(
        root=str(data / "hmdb51_jhmdb/videos"), annotations=str(data / "annotations"),
        classes=("golf", "pour"), attributes=("face",), missing="leave out", workers=1,
        cache=str(tmp_path), people=str(data / "hmdb51_jhmdb/person_masks"),
    )  # fmt: skip
    test = vp_hmdb51.load(cfg).test
    test.people.check()
    first = test.people[: int(test.lengths[0])]
    name = test.people.names[0]
    with np.load((data / "hmdb51_jhmdb/person_masks" / name).with_suffix(".npz")) as file:
        mask = np.unpackbits(file["packed"], axis=-1)[..., : file["shape"][2]]
    plain_way = [cv2.resize(255 * m, (96, 72), interpolation=cv2.INTER_AREA) >= 128 for m in mask]
    np.testing.assert_array_equal(first, np.stack(plain_way))
    assert 0.01 < test.people[:].mean() < 0.6
