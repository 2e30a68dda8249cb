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
from velatura.config import plain as plain_values
from velatura.data import _clips, folder
from velatura.data._store import prepare as preparing
from velatura.data._store.prepare import prepare
from velatura.data.folder import Config, load
from velatura.errors import BadInput
from velatura.training import windows
from velatura.training.batches import Batches
from velatura.training.batches import Config as Window
from velatura.video.clips import clip_indices
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
        fixed = {"height": 16, "width": 16, "workers": 1, "val_fraction": 0.45}
        paths = {"root": videos, "annotations": tmp_path / "annotations.jsonl"}
        return Config(
            **{k: str(v) for k, v in paths.items()},
            **{"cache": str(tmp_path / "cache"), **fixed, **fields},
        )

    return config


def levels(data):
    """The grey level of every frame of every video."""
    return [
        data.video(i).astype(float).mean((1, 2, 3)).round().astype(int) for i in range(len(data))
    ]


def near(found, expected):
    """Levels that differ by one at most: a codec lies between."""
    return all(
        len(a) == len(b) and np.abs(a - b).max() <= 1 for a, b in zip(found, expected, strict=True)
    )


def test_clips_and_labels(config):
    rows = standard()
    rows[2]["split"] = rows[12]["split"] = "val"
    rows[2]["group"] = rows[12]["group"] = "val film"
    train, val, test = load(config(rows))
    assert train.frames.shape == (5 * 20 + 5 * 5, 3, 16, 16)
    assert train.lengths.tolist() == [20] * 5 + [5] * 5
    assert train.frames[:3].dtype == np.uint8
    assert train.action_names == ("golf", "pour")
    assert train.attribute_names == ("face", "nudity")
    assert [part.name for part in (train, val, test)] == [f"folder/{s}" for s in _clips.SPLITS]
    assert train.actions.tolist() == [0] * 5 + [1] * 5
    assert val.actions.tolist() == [0, 1]
    assert test.actions.tolist() == [0] * 4 + [1] * 4
    assert train.attributes[:5].tolist() == [[0, 1], [1, 0], [1, 1], [0, 0], [1, 0]]
    assert test.attributes[:4].tolist() == [[0, 1], [1, 0], [0, 0], [1, 1]]
    which = [0, 1, 3, 4, 5]
    golf, pour = np.arange(20), np.arange(5)
    assert near(levels(train), [GOLF + i + golf for i in which] + [POUR + i + pour for i in which])
    assert near(levels(val), [GOLF + 2 + golf, POUR + 2 + pour])
    assert near(levels(test)[:4], [GOLF + i + golf for i in (6, 7, 8, 9)])


def test_frames_are_read_by_number_from_several_videos(config):
    """As an array would give them: in any order, repeats and slices included."""
    frames = load(config(standard())).test.frames
    whole = frames[:]
    assert whole.shape == frames.shape
    rng = np.random.default_rng(0)
    wanted = rng.integers(0, frames.shape[0], 50)
    assert np.array_equal(frames[wanted], whole[wanted])
    assert np.array_equal(frames[17:45:3], whole[17:45:3])
    assert frames[[]].shape == (0, 3, 16, 16)


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
        test = load(config(rows)).test
        clip = test.video(len(test) - 1)
    finally:
        (videos / name).unlink()
    assert clip.shape == (3, 3, 16, 16)
    assert clip[..., 2:-2].mean() > 245


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
    decoded = [call for call in calls if call[0] == "decoding videos"]
    assert decoded == [("decoding videos", i, 20) for i in range(1, 21)]
    monkeypatch.setattr(_clips, "prepare", None)  # any decoding now fails
    again = load(cfg, progress=lambda *_: pytest.fail("decoded again"))
    assert [p.fingerprint for p in again] == [p.fingerprint for p in first]
    assert np.array_equal(again.test.frames[:], first.test.frames[:])
    assert load(config(standard(), attributes=("face",))).train.attribute_names == ("face",)
    monkeypatch.undo()
    path = videos / "golf" / "0.mp4"
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    calls.clear()
    load(cfg, progress=lambda *call: calls.append(call))
    assert ("decoding videos", 1, 1) in calls


def test_fingerprint_tells_pixels_and_labels(config):
    rows = standard()
    base = load(config(rows)).test.fingerprint
    assert load(config(rows, height=15)).test.fingerprint != base
    assert load(config(rows, width=20)).test.fingerprint != base
    rows[-1]["attributes"]["face"] ^= 1
    assert load(config(rows)).test.fingerprint != base


def test_interrupted_decoding_goes_on(config):
    def progress(stage, done, total):
        if (stage, done) == ("decoding videos", 7):
            raise KeyboardInterrupt

    cfg, calls = config(standard()), []
    with pytest.raises(KeyboardInterrupt):
        load(cfg, progress)
    assert len(load(cfg, progress=lambda *call: calls.append(call)).test) == 8
    assert ("decoding videos", 1, 13) in calls


def test_damaged_cache_is_made_again(config, tmp_path):
    cfg = config(standard())
    whole = load(cfg).test.frames[:]
    (index,) = (tmp_path / "cache" / "videos").glob("*/index.json")
    index.write_text("{")
    assert np.array_equal(load(cfg).test.frames[:], whole)


def test_a_mended_file_is_used_again(config, videos, monkeypatch):
    monkeypatch.setattr(preparing, "TOLERATED", 0.05)
    path = videos / "golf" / "mended.mp4"
    path.write_bytes(b"hello")
    rows = [*standard(), line("golf/mended.mp4", "test", "b")]
    assert len(load(config(rows)).test) == 8
    path.unlink()
    video(path, 90)
    assert len(load(config(rows)).test) == 9
    path.unlink()


def test_a_folder_prepared_before_must_fit(config, videos, tmp_path):
    names = {row["video"]: videos / row["video"] for row in standard()}
    prepare(names, tmp_path / "small", short_side=8)
    with pytest.raises(BadInput, match="short side of 8 pixels, and 16 x 16 are asked for"):
        load(config(standard(), prepared=str(tmp_path / "small")))
    prepare(names, tmp_path / "old", short_side=16)
    path = videos / "golf" / "0.mp4"
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(BadInput, match=r"holds golf/0\.mp4 as it was before its file changed"):
        load(config(standard(), prepared=str(tmp_path / "old")))


def test_cache_place(config, tmp_path, monkeypatch):
    monkeypatch.setenv("VELATURA_CACHE", str(tmp_path / "elsewhere"))
    load(config(standard(), cache=""))
    assert len(list((tmp_path / "elsewhere" / "videos").iterdir())) == 1


def test_a_folder_prepared_before(config, videos, tmp_path):
    """`velatura data prepare` decodes; nothing is decoded again, and no cache is made."""
    names = [row["video"] for row in standard()]
    prepare({name: videos / name for name in names}, tmp_path / "prepared", short_side=16)
    expected = load(config(standard())).test
    found = load(config(standard(), prepared=str(tmp_path / "prepared"), cache="gone")).test
    assert found.fingerprint == expected.fingerprint
    assert np.array_equal(found.frames[:], expected.frames[:])
    prepare({name: videos / name for name in names[:3]}, tmp_path / "part", short_side=16)
    with pytest.raises(BadInput) as caught:
        load(config(standard(), prepared=str(tmp_path / "part")))
    assert str(caught.value) == (
        f"{tmp_path / 'part'} lacks 17 of 20 files, first golf/3.mp4; prepare them with "
        "`velatura data prepare`, or leave data.prepared empty."
    )


PARALLEL = """
import hashlib, sys
from velatura.data.folder import Config, load
if __name__ == "__main__":
    fixed = dict(height=16, width=16, val_fraction=0.45, workers=int(sys.argv[4]))
    s = load(Config(root=sys.argv[1], annotations=sys.argv[2], cache=sys.argv[3], **fixed))
    print(hashlib.sha256(s.train.frames[:].tobytes() + s.test.frames[:].tobytes()).hexdigest())
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
    for name in ("./golf/1.mp4", "golf/./1.mp4", "golf//1.mp4", "golf/1.mp4/"):
        yield name, {**one, "video": name}, f"write golf/1.mp4 for '{name}', so that no file has"
    doubled = json.dumps(one)[:-1] + ', "group": "x", "group": "y"}'
    yield "key twice", good + "\n" + doubled, "line 2: 'group' stands twice in one object"
    inner = json.dumps(one).replace('"face":', '"face": 0, "face":')
    yield "attribute twice", good + "\n" + inner, "line 2: 'face' stands twice in one object"
    yield "deep", good + "\n" + "[" * 100000, "line 2: lists in lists in lists without end"
    half = json.dumps({**one, "group": "\ud83d"})
    yield "half", good + "\n" + half, r"line 2: .ud83d in '.ud83d' is no character of a name"
    nul = json.dumps({**one, "video": "golf/\0.mp4"})
    yield "NUL", good + "\n" + nul, r"line 2: .u0000 in 'golf/.x00.mp4' is no character"
    yield "bare NUL", good + "\n\0", "line 2: a NUL character, which no name holds"


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


def test_field_ranges():
    with pytest.raises(BadInput, match=r"data\.val_fraction"):
        build(Config, {"root": "r", "annotations": "a", "val_fraction": 0.5}, "data")
    with pytest.raises(BadInput, match="Did you mean data.height"):
        build(Config, {"root": "r", "annotations": "a", "heigth": 2}, "data")


def test_unreadable_videos(config, videos, caplog, monkeypatch):
    (videos / "golf" / "broken.mp4").write_bytes(b"hello")
    rows = [*standard(), line("golf/broken.mp4", "test", "b")]
    with pytest.raises(BadInput, match=r"1 of 21 videos .* more than 1%: golf/broken\.mp4"):
        load(config(rows))
    # One of twenty-one is too many at one per cent; at five it is told, and left out.
    monkeypatch.setattr(preparing, "TOLERATED", 0.05)
    for _ in range(2):  # decoding, and from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            parts = load(config(rows))
        assert "1 of 21 files cannot be read and are left out: golf/broken.mp4: " in caplog.text
        assert len(parts.test) == 8
        assert near(levels(parts.test)[-1:], [POUR + 9 + np.arange(5)])


def test_one_per_cent_holds_for_what_is_trained_on(config, videos, monkeypatch):
    """Of a hundred, one may fail when they are decoded; of the twenty that are trained on it is
    too much, from the cache and from a folder prepared before."""
    rows, names = standard(), {}
    for i in range(100):
        names[f"wave/{i}.mp4"] = videos / "golf" / f"{i % 10}.mp4"
    (videos / "wave").mkdir(exist_ok=True)
    for name, path in names.items():
        if not (videos / name).exists():
            os.link(path, videos / name)
    (videos / "golf" / "bad.mp4").write_bytes(b"hello")
    rows.append(line("golf/bad.mp4", "test", "b"))
    every = [*rows, *(line(name, "train", "waves") for name in names)]
    cfg = config(every)
    parts = load(cfg)  # 1 of 121
    assert sum(map(len, parts)) == 120
    monkeypatch.setattr(_clips, "prepare", None)  # from the cache alone
    for more in ({}, {"prepared": str(next(Path(cfg.cache).glob("videos/*")))}):
        with pytest.raises(BadInput) as caught:
            load(config(every, classes=("golf", "pour"), **more))
        said = "1 of 21 files cannot be read, more than 1%: golf/bad.mp4: "
        assert str(caught.value).startswith(said)
    monkeypatch.setattr(preparing, "TOLERATED", 0.05)
    assert len(load(config(every, classes=("golf", "pour"))).test) == 8
    (videos / "golf" / "bad.mp4").unlink()
    for name in names:
        (videos / name).unlink()


def test_train_may_not_share_films_with_a_listed_val(config, caplog):
    rows = standard()
    rows[0].update(split="val", group="golf film 1")  # a film of three train clips
    with caplog.at_level(logging.WARNING):
        train, val, _ = load(config(rows))
    assert (len(train), len(val)) == (8, 1)
    assert not set(train.groups.tolist()) & set(val.groups.tolist())
    assert "3 of 11 train clips left out: their group is also in val or test." in caplog.text


def test_labels_of_ones_own_take_the_place_of_the_files(config, tmp_path, caplog):
    rows, path = standard(), tmp_path / "mine.jsonl"
    lines = [{"video": r["video"], "attributes": {"hat": i % 2}} for i, r in enumerate(rows)]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    plain = load(config(rows))
    train, val, test = load(config(rows, labels=str(path)))
    assert test.attribute_names == ("hat",)
    assert test.attributes[:, 0].tolist() == [0, 1, 0, 1] * 2
    assert test.fingerprint != plain.test.fingerprint
    # One video without a line of its own is left out, and that is said.
    path.write_text("".join(json.dumps(one) + "\n" for one in lines[1:]))
    with caplog.at_level(logging.WARNING):
        parts = load(config(rows, labels=str(path)))
    assert sum(map(len, parts)) == sum(map(len, (train, val, test))) - 1
    assert "1 of 20 files have no labels and are left out." in caplog.text
    path.write_text(json.dumps({"video": "golf/77.mp4", "attributes": {"hat": 1}}))
    with pytest.raises(
        BadInput, match=r"mine\.jsonl labels golf/77\.mp4, which is not in the lists"
    ):
        load(config(rows, labels=str(path)))
    with pytest.raises(BadInput, match=r"gone\.jsonl is missing"):
        load(config(rows, labels="gone.jsonl"))


def test_keys_that_came_later_leave_older_records_as_they_were():
    values = plain_values(Config(root="r", annotations="a"))
    assert "labels" not in values
    assert plain_values(Config(root="r", annotations="a", labels="x"))["labels"] == "x"


def test_a_set_whose_videos_are_all_shorter_than_a_clip(config):
    """20 and 5 frames; 16 at every fourth reach over 61: they run back and forth."""
    splits = load(config(standard()))
    cfg = Window(batch=4, size=12, frames=16, stride=4, shift=0, starts=3)
    assert max(splits.train.lengths) < 61
    whole = Window(batch=4, size=12, frames=40, shift=0)
    for window in (cfg, whole):
        batch = Batches(splits.train, window, 0).at(0)
        assert batch.clips.shape == (4, window.frames, 3, 12, 12)
        windows.check(splits.test, window)
    (middle,) = windows.even(splits.test, [0], whole)
    first = int(middle[0, 0].float().mean().round())
    told = [int(frame.float().mean().round()) - first for frame in middle[0]]
    assert near([np.array(told)], [np.array(clip_indices(20, 40, 1, 0))])
