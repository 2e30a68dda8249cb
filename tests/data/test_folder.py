"""A folder of videos as a data set: which clips, which labels, and what is said when wrong."""

import json
import logging
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from velatura.config import build
from velatura.data import _clips, folder
from velatura.data.folder import Config, load
from velatura.errors import BadInput
from velatura.video.write import VideoWriter

GOLF, POUR = 40, 200  # how light the videos of a class are


def video(path, level, frames=20, height=24, width=32):
    """Grey frames: ``level`` plus the frame's number, so that a clip tells its frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, width, height, time_base=Fraction(1, 30), crf=1) as writer:
        for i in range(frames):
            writer.write(np.full((height, width, 3), level + i, np.uint8), i)


def line(name, split, group=None, face=0, nudity=0):
    row = {"video": name, "split": split, "attributes": {"face": face, "nudity": nudity}}
    return row if group is None else {**row, "group": group}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """root/golf/0.mp4 ... 9.mp4 and root/pour/0.mp4 ... 9.mp4; every video is made once."""
    root = tmp_path_factory.mktemp("videos")
    for i in range(10):
        video(root / "golf" / f"{i}.mp4", GOLF + i)
        video(root / "pour" / f"{i}.mp4", POUR + i, frames=5)
    return root


def standard():
    """Two films of three train clips and one film of four test clips in each class."""
    rows = []
    for action in ("golf", "pour"):
        for i in range(10):
            split = "train" if i < 6 else "test"
            film = f"{action} film {i // 3 if i < 6 else 2}"
            rows.append(line(f"{action}/{i}.mp4", split, film, face=i % 2, nudity=int(i % 3 == 0)))
    return rows


@pytest.fixture
def config(videos, tmp_path):
    """config(rows, **fields): a Config over the given rows, or their raw text."""

    def config(rows, **fields):
        text = rows if isinstance(rows, str) else "".join(json.dumps(r) + "\n" for r in rows)
        (tmp_path / "annotations.jsonl").write_text(text, encoding="utf-8")
        fixed = {"size": 16, "stored": 16, "frames": 4, "workers": 1, "val_fraction": 0.45}
        paths = {"root": videos, "annotations": tmp_path / "annotations.jsonl"}
        return Config(
            **{k: str(v) for k, v in paths.items()},
            **{"cache": str(tmp_path / "cache"), **fixed, **fields},
        )

    return config


def levels(clips):
    """The grey level of every frame: (N, T)."""
    return clips.astype(float).mean((2, 3, 4)).round().astype(int)


def test_clips_and_labels(config):
    rows = standard()
    rows[2]["split"] = rows[12]["split"] = "val"
    rows[2]["group"] = rows[12]["group"] = "val film"
    train, val, test = load(config(rows))
    assert train.clips.shape == (10, 4, 3, 16, 16)
    assert train.clips.dtype == np.uint8
    assert train.action_names == ("golf", "pour")
    assert train.attribute_names == ("face", "nudity")
    assert [part.name for part in (train, val, test)] == [f"folder/{s}" for s in _clips.SPLITS]
    assert train.actions.tolist() == [0] * 5 + [1] * 5
    assert val.actions.tolist() == [0, 1]
    assert test.actions.tolist() == [0] * 4 + [1] * 4
    assert train.attributes[:5].tolist() == [[0, 1], [1, 0], [1, 1], [0, 0], [1, 0]]
    assert test.attributes[:4].tolist() == [[0, 1], [1, 0], [0, 0], [1, 1]]
    # golf/0: 20 frames, 4 at stride 2 span 7, so the middle clip starts at (20 - 7) // 2 = 6.
    middle = np.array([6, 8, 10, 12])
    # pour: 5 frames are too short, so from the start, back and forth: 0 2 4 2.
    short = np.array([0, 2, 4, 2])
    which = [0, 1, 3, 4, 5]
    expected = [GOLF + i + middle for i in which] + [POUR + i + short for i in which]
    assert np.abs(levels(train.clips) - np.array(expected)).max() <= 1
    assert np.abs(levels(val.clips) - [GOLF + 2 + middle, POUR + 2 + short]).max() <= 1
    assert np.abs(levels(test.clips)[:4] - [GOLF + i + middle for i in (6, 7, 8, 9)]).max() <= 1


def test_groups_are_films_across_splits(config):
    train, val, test = load(config(standard()))
    assert len(set(train.groups) | set(val.groups) | set(test.groups)) == 6
    assert not set(train.groups) & set(test.groups)
    assert not set(train.groups) & set(val.groups)
    rows = [{k: v for k, v in row.items() if k != "group"} for row in standard()]
    parts = load(config(rows))
    assert len({g for part in parts for g in part.groups.tolist()}) == 20


def test_square_from_the_middle(config, videos, tmp_path):
    """A wide video, white in its middle third: the square keeps the middle."""
    image = np.zeros((24, 72, 3), np.uint8)
    image[:, 24:48] = 255
    name = "golf/wide.mp4"
    with VideoWriter(videos / name, 72, 24, time_base=Fraction(1, 30)) as writer:
        for i in range(3):
            writer.write(image, i)
    try:
        rows = [*standard(), line(name, "test", "wide")]
        clips = load(config(rows)).test.clips
    finally:
        (videos / name).unlink()
    assert clips[-1].shape == (4, 3, 16, 16)
    assert clips[-1, ..., 2:-2].mean() > 245


def test_val_is_whole_groups_of_every_class_by_seed(config):
    """0.45 of 6 is 2.7: one film of 3 is closer to it than none or two."""
    seen = set()
    for seed in range(6):
        train, val, _ = load(config(standard(), seed=seed))
        again = load(config(standard(), seed=seed)).val
        assert val.actions.tolist() == [0] * 3 + [1] * 3
        assert train.actions.tolist() == [0] * 3 + [1] * 3
        assert val.fingerprint == again.fingerprint
        seen.add(val.fingerprint)
    assert len(seen) > 1


def test_explicit_val_is_kept_as_it_is(config):
    rows = standard()
    rows[0].update(split="val", group="mine")
    train, val, _ = load(config(rows, val_fraction=0.4))
    assert (len(train), len(val)) == (11, 1)


def test_films_in_train_and_test(config, caplog):
    rows = standard()
    rows[0]["group"] = "golf film 2"  # a test film
    with caplog.at_level(logging.WARNING):
        dropped = load(config(rows))
    assert "1 of 12 train clips left out: their group is also in test." in caplog.text
    assert len(dropped.train) + len(dropped.val) == 11
    assert not set(dropped.train.groups.tolist()) & set(dropped.test.groups.tolist())
    caplog.clear()
    kept = load(config(rows, drop_shared_groups=False))
    assert len(kept.train) + len(kept.val) == 12
    assert caplog.text == ""


def test_subset_of_classes_and_attributes(config, videos):
    video(videos / "wave" / "0.mp4", 100)
    rows = [*standard(), line("wave/0.mp4", "train", "w")]
    assert load(config(rows)).train.action_names == ("golf", "pour", "wave")
    part = load(
        config(
            rows,
            classes=(
                "pour",
                "golf",
            ),
            attributes=("nudity",),
        )
    )
    assert part.train.action_names == ("golf", "pour")
    assert part.test.attribute_names == ("nudity",)
    assert part.test.attributes.tolist() == [[1], [0], [0], [1]] * 2
    swapped = load(
        config(
            standard(),
            attributes=(
                "nudity",
                "face",
            ),
        )
    ).test
    assert swapped.attributes[:4].tolist() == [[1, 0], [0, 1], [0, 0], [1, 1]]


def test_cache_is_used_and_noticed_when_stale(config, videos, monkeypatch):
    calls = []
    cfg = config(standard())
    first = load(cfg, progress=lambda *call: calls.append(call))
    assert calls == [("decoding videos", i, 20) for i in range(1, 21)]
    assert isinstance(first.train.clips, np.memmap)
    monkeypatch.setattr(_clips, "_decode", None)  # any decoding now fails
    again = load(cfg, progress=lambda *_: pytest.fail("decoded again"))
    assert [p.fingerprint for p in again] == [p.fingerprint for p in first]
    assert np.array_equal(again.test.clips, first.test.clips)
    assert load(config(standard(), attributes=("face",))).train.attribute_names == ("face",)
    monkeypatch.undo()
    path = videos / "golf" / "0.mp4"
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    load(cfg, progress=lambda *call: calls.append(call))
    assert len(calls) == 40


def test_fingerprint_tells_pixels_and_labels(config):
    rows = standard()
    base = load(config(rows)).test.fingerprint
    assert load(config(rows, frames=5)).test.fingerprint != base
    assert load(config(rows, stride=1)).test.fingerprint != base
    rows[-1]["attributes"]["face"] ^= 1
    assert load(config(rows)).test.fingerprint != base


def test_interrupted_decoding_leaves_no_cache(config, tmp_path):
    def progress(stage, done, total):
        if done == 7:
            raise KeyboardInterrupt

    cfg = config(standard())
    with pytest.raises(KeyboardInterrupt):
        load(cfg, progress)
    assert list((tmp_path / "cache" / "folder").iterdir()) == []
    assert len(load(cfg).test) == 8


def test_damaged_cache_is_made_again(config, tmp_path):
    cfg = config(standard())
    whole = np.array(load(cfg).test.clips)
    (clips,) = (tmp_path / "cache" / "folder").glob("*/clips.bin")
    clips.write_bytes(clips.read_bytes()[:-1])
    assert np.array_equal(load(cfg).test.clips, whole)
    clips.with_name("index.json").write_text("{")
    assert np.array_equal(load(cfg).test.clips, whole)


def test_cache_place(config, tmp_path, monkeypatch):
    monkeypatch.setenv("VELATURA_CACHE", str(tmp_path / "elsewhere"))
    load(config(standard(), cache=""))
    assert len(list((tmp_path / "elsewhere" / "folder").iterdir())) == 1


PARALLEL = """
import hashlib, sys
from velatura.data.folder import Config, load
if __name__ == "__main__":
    fixed = dict(size=16, stored=16, frames=4, val_fraction=0.45, workers=int(sys.argv[4]))
    s = load(Config(root=sys.argv[1], annotations=sys.argv[2], cache=sys.argv[3], **fixed))
    print(hashlib.sha256(s.train.clips.tobytes() + s.test.clips.tobytes()).hexdigest())
"""


def test_processes_give_the_same_clips_in_the_same_order(config, videos, tmp_path):
    """Forty-odd videos and two processes, from a script of its own: spawn imports it again."""
    rows = standard()
    for action in ("golf", "pour"):
        for i in range(10):
            name = f"{action}/copy{i}.mp4"
            if not (videos / name).exists():
                os.link(videos / action / f"{i}.mp4", videos / name)
            rows.append(line(name, "test", "copies", face=i % 2, nudity=i % 2))
    cfg = config(rows)
    (tmp_path / "script.py").write_text(PARALLEL)
    said = []
    for workers in ("1", "2"):
        paths = (videos, cfg.annotations, tmp_path / f"cache{workers}", workers)
        command = [sys.executable, str(tmp_path / "script.py"), *map(str, paths)]
        env = {**os.environ, "PYTHONPATH": str(Path(folder.__file__).parents[2])}
        run = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        said.append(run.stdout)
    assert said[0] == said[1]
    assert len(said[0]) == 65


def wrong_lines():
    good = json.dumps(standard()[0])
    one = standard()[1]
    yield "not JSON", good + "\n{video: golf", r"line 2: not a JSON object; expected \{\"video\""
    yield "a list", good + "\n\n[1]", "line 3: not a JSON object"
    yield "unknown video", {**one, "video": "golf/99.mp4"}, "names golf/99.mp4, which is not in"
    yield "no class", {**one, "video": "99.mp4"}, "video is class/name, .*: '99.mp4'"
    yield "out of root", {**one, "video": "golf/../../x.mp4"}, "leads out of the root"
    yield "absolute", {**one, "video": "/golf/1.mp4"}, "leads out of the root"
    yield "split", {**one, "split": "training"}, "not 'training'"
    yield "value", {**one, "attributes": {"face": 2, "nudity": 0}}, "'face' is 0 or 1, not 2"
    yield "boolean", {**one, "attributes": {"face": True, "nudity": 0}}, "not True"
    yield "missing", {**one, "attributes": {"face": 1}}, "'nudity' is not on all"
    yield "none", {**one, "attributes": {}}, "at least one name"
    yield "key", {**one, "grup": "x"}, "unknown key 'grup'"
    yield "twice", standard()[0], "golf/0.mp4 stands there twice"


@pytest.mark.parametrize(
    ("rows", "says"), [w[1:] for w in wrong_lines()], ids=[w[0] for w in wrong_lines()]
)
def test_wrong_line(config, rows, says):
    if isinstance(rows, dict):
        rows = json.dumps(standard()[0]) + "\n" + json.dumps(rows)
        # What the whole file shows is said of the file; what one line shows, of the line.
        says = says if says.startswith(("names", "video is")) else "line 2: .*" + says
    with pytest.raises(BadInput, match=says) as caught:
        load(config(rows))
    assert str(caught.value).startswith(str(Path(config(rows).annotations)))


def test_missing_places(config):
    cfg = config("")
    with pytest.raises(BadInput, match=r"No folder gone; expected one folder per class"):
        load(Config(root="gone", annotations=cfg.annotations))
    with pytest.raises(BadInput, match="annotations.jsonl is empty; expected one line of JSON"):
        load(cfg)
    Path(cfg.annotations).unlink()
    with pytest.raises(BadInput, match="annotations.jsonl is missing; expected one line"):
        load(cfg)


def test_unknown_names(config):
    with pytest.raises(BadInput, match="No attribute named 'nuditi'. Did you mean 'nudity'"):
        load(config(standard(), attributes=("nuditi",)))
    with pytest.raises(BadInput, match="No class named 'gold'. Did you mean 'golf'"):
        load(
            config(
                standard(),
                classes=(
                    "gold",
                    "pour",
                ),
            )
        )


def test_what_cannot_be_learnt(config):
    rows = standard()
    with pytest.raises(BadInput, match="only 'golf'"):
        load(config(rows, classes=("golf",)))
    only_test = [r for r in rows if r["split"] == "test" or r["video"].startswith("golf")]
    with pytest.raises(BadInput, match="Class 'pour' has no training clips"):
        load(config(only_test))
    with pytest.raises(BadInput, match="no test clips"):
        load(config([r for r in rows if r["split"] == "train"]))
    with pytest.raises(BadInput, match="no val clips: every group is too large"):
        load(config(rows, val_fraction=0.1))
    for value, missing in ((0, "positive"), (1, "negative")):
        rows = standard()
        for row in rows:
            row["attributes"]["face"] = value
        with pytest.raises(BadInput, match=f"'face' has no {missing} train clip"):
            load(config(rows))
    assert load(config(rows, attributes=("nudity",))).test.attribute_names == ("nudity",)


def test_size_within_stored(config):
    with pytest.raises(BadInput, match="size 20 cannot be cropped from stored 16"):
        load(config(standard(), size=20))


def test_field_ranges():
    with pytest.raises(BadInput, match=r"data\.val_fraction"):
        build(Config, {"root": "r", "annotations": "a", "val_fraction": 0.5}, "data")
    with pytest.raises(BadInput, match="Did you mean data.stride"):
        build(Config, {"root": "r", "annotations": "a", "strid": 2}, "data")


def test_unreadable_videos(config, videos, caplog, monkeypatch):
    (videos / "golf" / "broken.mp4").write_bytes(b"hello")
    rows = [*standard(), line("golf/broken.mp4", "test", "b")]
    with pytest.raises(BadInput, match=r"1 of .* more than 1% of all 21; first: .*broken\.mp4"):
        load(config(rows))
    # One of twenty-one is too many at one per cent; at five it is told, and left out.
    monkeypatch.setattr(_clips, "TOLERATED", 0.05)
    for _ in range(2):  # decoding, and from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            parts = load(config(rows))
        assert "1 of 21 videos left out, golf/broken.mp4 first" in caplog.text
        assert len(parts.test) == 8
        assert np.abs(levels(parts.test.clips)[-1] - (POUR + 9 + np.array([0, 2, 4, 2]))).max() <= 1
