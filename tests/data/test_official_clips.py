"""Official lists made into clips: VP-HMDB51 as it is distributed, with videos made here."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import tiny_lists as tiny

from velatura.config import build
from velatura.data import hmdb51, vp_hmdb51, vp_ucf101
from velatura.errors import BadInput
from velatura.video.read import read_frames

FILMS = ("one", "two", "three", "four", "five", "six")


def clip(action: str, film: str, number: int) -> str:
    return f"{film} #_{action}_f_cm_np1_ri_med_{number}.avi"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two actions, six films of two clips each; the last two films are the test's."""
    home, labels = tmp_path_factory.mktemp("hmdb"), {}
    for a, action in enumerate(("golf", "pour")):
        lines = []
        for f, film in enumerate(FILMS):
            for number in (0, 1):
                name = clip(action, f"{action} {film}", number)
                lines.append(f"{name} {1 + (f > 3)} ")
                labels[f"{action}/{name.removesuffix('.avi')}.mp4"] = [f % 2, number, a, number, 0]
                tiny.video(home / "hmdb51_org" / action / name.replace("#", "@"))
        lines.append(f"{clip(action, 'left aside', 0)} 0 ")
        path = home / f"testTrainMulti_7030_splits/{action}_test_split1.txt"
        tiny.write(path, "\n".join(lines) + "\n")
    tiny.vp(home, "hmdb51", labels)
    return home


def config(home: Path, cache: Path, **more: object) -> vp_hmdb51.Config:
    values = {
        "root": str(home / "hmdb51_org"), "cache": str(cache), "workers": 1, "height": 24,
        "width": 24, "attributes": ["face", "nudity"], "val_fraction": 0.3, **more,
    }  # fmt: skip
    return build(vp_hmdb51.Config, values, "data")


def test_official_lists_become_three_splits(home: Path, tmp_path: Path):
    train, val, test = vp_hmdb51.load(config(home, tmp_path))
    assert [len(part) for part in (train, val, test)] == [12, 4, 8]
    assert test.action_names == ("golf", "pour")
    assert test.attribute_names == ("face", "nudity")
    assert test.name == "vp_hmdb51/test"
    assert test.actions.tolist() == [0] * 4 + [1] * 4
    assert test.attributes.tolist() == [[0, 0], [1, 1]] * 4
    assert test.frames.shape == (int(test.lengths.sum()), 3, 24, 24)
    assert len(test.lengths) == 8
    for one, other in ((train, val), (train, test), (val, test)):
        assert not set(one.groups) & set(other.groups)  # whole films only
    assert len(set(train.groups)) == 6


def test_videos_that_are_not_there(home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    part = tmp_path / "part"
    for path in (home / "hmdb51_org").glob("*/*"):
        if not path.name.startswith("golf one"):
            (part / path.parent.name).mkdir(parents=True, exist_ok=True)
            (part / path.parent.name / path.name).symlink_to(path)
    lists = {"root": str(part), "annotations": str(home)}
    with pytest.raises(BadInput) as caught:
        vp_hmdb51.load(config(home, tmp_path, **lists))
    assert str(caught.value) == (
        f"2 of 24 listed files are not in {part}, first golf/{clip('golf', 'golf one', 0)}; "
        f"`velatura data check vp_hmdb51 --root {part} --annotations {home}` names them all, and "
        "missing = 'leave out' does without."
    )
    with caplog.at_level(logging.WARNING):
        train, val, _ = vp_hmdb51.load(config(home, tmp_path, **lists, missing="leave out"))
    assert len(train) + len(val) == 14
    assert "2 of 24 listed files are not there" in caplog.text
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="24 of 24 listed files are not in"):
        vp_hmdb51.load(config(home, tmp_path, **{**lists, "root": str(tmp_path / "empty")},
                              missing="leave out"))  # fmt: skip


def test_what_is_asked_for_must_exist(home: Path, tmp_path: Path):
    for more, says in (
        ({"classes": ["gold"]}, "No class named 'gold'. Did you mean 'golf'"),
        ({"attributes": ["faces"]}, "No attribute named 'faces'. Did you mean 'face'"),
        ({"split": 4}, r"data\.split"),
        ({"split": 2}, "split2"),
        ({"root": "gone"}, "No folder gone"),
        ({"missing": "ignore"}, r"data\.missing"),
    ):
        with pytest.raises(BadInput, match=says):
            vp_hmdb51.load(config(home, tmp_path, **more))


def test_ucf101_has_its_own_file(tmp_path: Path):
    home = tiny.ucf101(tmp_path)
    clips = sorted(p.relative_to(home / "UCF-101").as_posix() for p in home.rglob("*.avi"))
    labels = {c.replace(".avi", ".mp4"): [1, i % 2, 0, 1, 0] for i, c in enumerate(clips)}
    tiny.vp(home, "ucf101", labels)
    values = {"root": str(home / "UCF-101"), "height": 24, "width": 24, "workers": 1,
              "attributes": ["face"], "val_fraction": 0.4, "cache": str(tmp_path)}  # fmt: skip
    train, val, test = vp_ucf101.load(build(vp_ucf101.Config, values, "data"))
    assert test.action_names == ("Archery", "HandstandPushups")
    assert (len(train) + len(val), len(test)) == (6, 3)


def test_the_shared_subset(tmp_path: Path):
    """Real video, against a plain reading of one file."""
    data = tiny.real("hmdb51_jhmdb", "annotations")
    videos = data / "hmdb51_jhmdb/videos"
    cfg = vp_hmdb51.Config(
        root=str(videos), annotations=str(data / "annotations"), classes=("golf", "pour"),
        attributes=("face",), missing="leave out", workers=1, cache=str(tmp_path),
    )  # fmt: skip
    train, val, test = vp_hmdb51.load(cfg)
    assert (len(train) + len(val), len(test)) == (73, 24)
    assert not set(train.groups) & set(test.groups)
    first = min(
        line.rsplit(" ", 2)[0]
        for line in (data / "annotations/hmdb51_splits/golf_test_split1.txt")
        .read_text()
        .split("\n")
        if line.endswith(" 2 ") and (videos / "golf" / line.rsplit(" ", 2)[0]).exists()
    )
    frames = [f.image for f in read_frames(videos / "golf" / first, (72, 96))]
    assert np.array_equal(test.video(0), np.stack(frames).transpose(0, 3, 1, 2))


def test_files_without_labels_are_left_out_and_counted(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Their attributes are unknown, not 0."""
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "testTrainMulti_7030_splits").symlink_to(home / "testTrainMulti_7030_splits")
    labels = {
        f"{action}/{clip(action, f'{action} {film}', number).removesuffix('.avi')}.mp4": [
            f % 2, number, a, number, 0,
        ]
        for a, action in enumerate(("golf", "pour"))
        for f, film in enumerate(FILMS)
        for number in (0, 1)
        if (action, film) != ("pour", "five")
    }  # fmt: skip
    tiny.vp(lists, "hmdb51", labels)
    with caplog.at_level(logging.WARNING):
        parts = vp_hmdb51.load(config(home, tmp_path, annotations=str(lists)))
    assert len(parts.test) == 6
    assert "2 of 24 files have no labels and are left out." in caplog.text


@pytest.mark.parametrize("spelling", ["official", "of the copy"])
def test_labels_of_ones_own_for_official_lists(home: Path, tmp_path: Path, spelling: str):
    """HMDB51 has no attributes; the copy on disk writes @ for #, and either name will do."""
    path, lines = tmp_path / "hats.jsonl", []
    for action in ("golf", "pour"):
        for f, film in enumerate(FILMS):
            for number in (0, 1):
                name = f"{action}/{clip(action, f'{action} {film}', number)}"
                name = name if spelling == "official" else name.replace("#", "@")
                lines.append(json.dumps({"video": name, "attributes": {"hat": (f + number) % 2}}))
    path.write_text("\n".join(lines))
    values = {"root": str(home / "hmdb51_org"), "cache": str(tmp_path), "workers": 1, "height": 24,
              "width": 24, "val_fraction": 0.3, "labels": str(path)}  # fmt: skip
    parts = hmdb51.load(build(hmdb51.Config, values, "data"))
    assert [len(part) for part in parts] == [12, 4, 8]
    assert parts.test.attribute_names == ("hat",)
    assert parts.test.attributes[:, 0].tolist() == [0, 1, 1, 0] * 2
    both = clip("golf", "golf one", 0)
    for odd in (both, both.replace("#", "@")):
        again = json.dumps({"video": f"golf/{odd}", "attributes": {"hat": 1}})
        path.write_text("\n".join([*lines, again]))
        with pytest.raises(BadInput, match=r"hats\.jsonl.*(under two names|stands there twice)"):
            hmdb51.load(build(hmdb51.Config, values, "data"))
