"""Every data set in its distributed format, a few files of it: nobody is in these videos."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

ODD = "a (1)[x]!;&#+ é_golf_f_cm_np1_ri_med_0.avi"
GOLF = ("My_golf_swing_golf_f_cm_np1_ri_goo_0.avi", "My_golf_swing_golf_f_cm_np1_ri_goo_1.avi", ODD)
POUR = ("Tea_pour_u_nm_np1_fr_med_0.avi", "Tea_pour_u_nm_np1_fr_med_1.avi", "holiday.avi")
FIVE = ("skin_color", "face", "gender", "nudity", "relationship")


def real(*below: str) -> Path:
    """The shared data, which the repository does not hold; the test is skipped without it."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    data = Path(os.environ.get("VELATURA_DATA", beside))
    for name in below:
        if not (data / name).exists():
            pytest.skip(f"no {name} at {data}; set VELATURA_DATA to a folder that has it")
    return data


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())  # bytes: line ends stay as they are
    return path


def video(path: Path, frames: int = 3) -> Path:
    """A whole video of grey noise, 32 x 24; Motion JPEG in AVI, H.264 in MP4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        codec, pixels = ("mjpeg", "yuvj420p") if path.suffix == ".avi" else ("libx264", "yuv420p")
        stream = container.add_stream(codec, 30)
        stream.width, stream.height, stream.pix_fmt = 32, 24, pixels
        for _ in range(frames):
            image = noise.integers(0, 255, (24, 32, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def image(path: Path) -> Path:
    """A grey JPEG, 8 x 8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("mjpeg", 1)
        stream.width, stream.height, stream.pix_fmt = 8, 8, "yuvj420p"
        grey = av.VideoFrame.from_ndarray(np.full((8, 8, 3), 90, np.uint8), format="rgb24")
        container.mux([*stream.encode(grey), *stream.encode()])
    return path


def ucf101(home: Path, videos: bool = True) -> Path:
    """Two classes; the files of HandstandPushups spell it otherwise; CRLF ends every line."""
    write(home / "ucfTrainTestlist/classInd.txt", "1 Archery\r\n2 HandstandPushups\r\n")
    clips = [f"Archery/v_Archery_g{g:02}_c0{c}.avi" for g in (1, 8, 9) for c in (1, 2)]
    clips += [f"HandstandPushups/v_HandStandPushups_g{g:02}_c01.avi" for g in (1, 8, 9)]
    for split in (1, 2, 3):
        ids = {"Archery": 1, "HandstandPushups": 2}
        train = [c for c in clips if "_g01_" not in c]
        test = [c for c in clips if "_g01_" in c]
        lines = "".join(f"{c} {ids[c.split('/')[0]]}\r\n" for c in train)
        write(home / f"ucfTrainTestlist/trainlist0{split}.txt", lines)
        write(home / f"ucfTrainTestlist/testlist0{split}.txt", "".join(f"{c}\r\n" for c in test))
    for clip in clips if videos else ():
        video(home / "UCF-101" / clip)
    return home


def hmdb51(home: Path, videos: bool = True) -> Path:
    """Two actions of three videos, odd names; a space ends every line."""
    lists = home / "testTrainMulti_7030_splits"
    for action, names in (("golf", GOLF), ("pour", POUR)):
        for split in (1, 2, 3):
            # My_golf_swing and Tea are each in train; the last video is in test, or unused.
            ks = (1, 1, 2) if split < 3 else (1, 1, 0)
            lines = "".join(f"{name} {k} \n" for name, k in zip(names, ks, strict=True))
            write(lists / f"{action}_test_split{split}.txt", lines)
        for name in names if videos else ():
            video(home / "hmdb51_org" / action / name)
    return home


def vp(home: Path, videos: str, labels: Mapping[str, Sequence[int]]) -> Path:
    """The pickle of VP-HMDB51 or VP-UCF101."""
    path = home / f"{videos}_privacy_attribute_label.pickle"
    path.write_bytes(pickle.dumps({k: np.array([row]) for k, row in labels.items()}, protocol=4))
    return path


def vp_hmdb51(home: Path) -> Path:
    hmdb51(home)
    names = [*(f"golf/{n}" for n in GOLF), *(f"pour/{n}" for n in POUR)]
    rows = [(1, 0, 0, 1, 0), (1, 1, 0, 0, 0), (1, 0, 1, 0, 0)] * 2
    vp(home, "hmdb51", {n[:-4] + ".mp4": row for n, row in zip(names, rows, strict=True)})
    return home


def tracks(**ranges) -> dict:
    """One video of PA-HMDB51, ten frames that show nothing, except as given."""
    nothing = {name: [[0, 9, 0]] for name in FIVE}
    return {**nothing, **ranges, "review": True, "note": ""}


def pa_hmdb51(home: Path) -> Path:
    """HMDB51's two actions; one of golf's training videos and one test video are annotated."""
    hmdb51(home)
    golf = {
        GOLF[0]: tracks(face=[[0, 4, 2], [5, 9, 1]], gender=[[0, 9, [0, 1]]]),
        GOLF[2]: tracks(skin_color=[[0, 3, 1], [6, 9, 2]], nudity=[[0, 5, 2], [4, 9, 0]]),
    }
    write(home / "PrivacyAttributes/golf.json", json.dumps(golf))
    pour = {POUR[2]: tracks(relationship=[[0, 9, 1]])}
    write(home / "PrivacyAttributes/pour.json", json.dumps(pour))
    return home


def vispr(home: Path, jsons: bool = True, pickles: bool = False) -> Path:
    """Two photographs a split; the second shows none of the seven."""
    shown = [["a4_gender", "a16_race", "a9_face_complete"], ["a0_safe"]]
    for part, first in (("train", 1), ("val", 3), ("test", 5)):
        ids = [f"2017_1000000{first + i}" for i in range(2)]
        lines = "".join(f"annotations/{part}2017/{id}.json\n" for id in ids)
        write(home / f"{part}2017.txt", lines)
        for id, labels in zip(ids, shown, strict=True):
            image(home / f"images/{part}2017/{id}.jpg")
            if jsons:
                value = {"id": id, "image_path": f"images/{part}2017/{id}.jpg", "labels": labels}
                write(home / f"annotations/{part}2017/{id}.json", json.dumps(value))
        if pickles and part != "val":
            rows = np.array([[0, 1, 1, 0, 0, 0, 0], [0] * 7], float)
            path = home / f"{part}_VISPR1_labels.pkl"
            path.write_bytes(pickle.dumps(dict(zip(ids, rows, strict=True)), protocol=4))
    return home


def utkface(home: Path, count: int = 40) -> Path:
    for i in range(count):
        image(home / f"{20 + i}_{i % 2}_{i % 5}_201701161745251{i:02}.jpg.chip.jpg")
    return home


def own_images(home: Path) -> Path:
    for i in range(4):
        image(home / f"photos/a/{i}.jpg")
    lines = [f"a/{i}.jpg,{'test' if i > 1 else 'train'},p{i // 2},{i % 2},0\n" for i in range(4)]
    write(home / "photos.csv", "image,split,group,face,nudity\n" + "".join(lines))
    return home


def own_videos(home: Path) -> Path:
    lines = []
    for action in ("golf", "pour"):
        for i, split in enumerate(("train", "train", "test")):
            video(home / f"videos/{action}/{i}.mp4")
            row = {"video": f"{action}/{i}.mp4", "split": split, "group": f"{action}{i}"}
            lines.append(json.dumps({**row, "attributes": {"face": i % 2}}))
    write(home / "videos.jsonl", "\n".join(lines))
    return home


class LyingType:
    """numpy's type of objects that says it holds none: numpy takes its bytes for addresses."""

    def __reduce__(self):
        return np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0)


class LyingNumber:
    """With numpy's own functions behind the names, reading this is a segmentation fault."""

    def __reduce__(self):
        return np.float64(0).__reduce__()[0], (LyingType(), b"A" * 8)
