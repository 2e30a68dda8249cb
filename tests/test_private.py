"""[private]: actions are of videos, private attributes are of images. Files made here."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from data import tiny_lists
from rich.console import Console
from training import tiny

from velatura import experiment, study
from velatura.errors import BadInput
from velatura.layout import Measurement
from velatura.report.page import write_report
from velatura.report.tables import terminal_table, to_csv, to_markdown
from velatura.training.batches import Batches

ACTIONS = ("golf", "pour")
FILMS = ("one", "two", "three", "four", "five", "six")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HMDB51's lists for two actions of six films (two in test), and 36 images in grey: the
    bright ones have the attribute."""
    home = tmp_path_factory.mktemp("home")
    for action in ACTIONS:
        names = [f"{action} {film}_{action}_f_cm_np1_ri_med_0.avi" for film in FILMS]
        for name in names:
            tiny_lists.video(home / "hmdb51_org" / action / name, frames=9)
        lines = [f"{name} {1 + (i > 3)} " for i, name in enumerate(names)]
        path = home / f"testTrainMulti_7030_splits/{action}_test_split1.txt"
        tiny_lists.write(path, "\n".join(lines) + "\n")
    rows = ["image,split,group,bright"]
    (home / "images").mkdir()
    for i in range(36):
        level = 30 + 3 * i if i % 2 else 150 + 2 * i
        cv2.imwrite(str(home / f"images/{i}.png"), np.full((20, 30 + i, 3), level, np.uint8))
        split = ("train", "train", "val", "test")[i // 9]
        rows.append(f"{i}.png,{split},who {i},{1 - i % 2}")
    tiny_lists.write(home / "images.csv", "\n".join(rows) + "\n")
    return home


def values(home: Path, cache: Path, **more: Any) -> dict[str, Any]:
    where = {"height": 16, "width": 20, "workers": 1, "cache": str(cache)}
    found = tiny.values(
        data={
            "name": "hmdb51", "root": str(home / "hmdb51_org"), "val_fraction": 0.3,
            "classes": list(ACTIONS), **where,
        },
        batches={"batch": 4, "size": 16, "stride": 2, "augment": {}},
    )  # fmt: skip
    images = {"root": str(home / "images"), "annotations": str(home / "images.csv")}
    return {**found, "private": {"name": "images", **images, **where}, **more}


def test_views_are_of_images_and_clips_of_videos(home: Path, tmp_path: Path):
    run = experiment.resolve(values(home, tmp_path))
    clips, images = experiment.load_data(run), experiment.load_private(run)
    assert images is not None
    assert clips.train.attribute_names == ()
    assert clips.train.attributes.shape == (len(clips.train), 0)
    assert images.train.attribute_names == ("bright",)
    assert images.train.frames.shape == (18, 3, 16, 20)
    assert images.train.lengths.tolist() == [1] * 18
    assert experiment.bearers(clips, images) is images
    stream = Batches(clips.train, run.batches, 0, images=images.train)
    assert Batches(clips.train, run.batches, 0).at(0).told is None
    seen: set[int] = set()
    for step in range(9):  # two epochs of 18 images in fours
        batch = stream.at(step)
        items = stream._items(step, "views")
        assert batch.clips.shape == (4, 4, 3, 16, 16)
        assert batch.first.shape == batch.second.shape == (4, 3, 16, 16)
        seen |= set(items.tolist())
        assert batch.told is not None
        assert torch.equal(batch.told, torch.from_numpy(images.train.attributes[items]).float())
        bright = torch.from_numpy(images.train.attributes[items.numpy(), 0] > 0)
        for view in (batch.first, batch.second):  # a black box may hide a part, not the most
            level = view.flatten(1).median(1).values
            assert torch.equal(level > 0.5, bright)
    assert len(seen) == 18


def test_the_file_repeats_itself_and_says_what_is_wrong(home: Path, tmp_path: Path):
    run = experiment.resolve(values(home, tmp_path))
    assert experiment.resolve(run.values()) == run
    assert "cache" not in run.science()["private"]
    assert "private" not in experiment.resolve(tiny.values()).values()
    alone = values(home, tmp_path)
    del alone["private"]
    with pytest.raises(BadInput, match="hmdb51 has no private attributes.* in .private."):
        experiment.load_data(experiment.resolve(alone))
    with pytest.raises(BadInput, match=r"private: name a data set, such as utkface"):
        experiment.resolve({**alone, "private": {"root": "x"}})
    with pytest.raises(BadInput, match="Did you mean 'utkface'"):
        experiment.resolve({**alone, "private": {"name": "utkfase"}})
    images = values(home, tmp_path)
    with pytest.raises(BadInput, match="one action only"):
        experiment.load_data(experiment.resolve({**images, "data": images["private"]}))
    bare = values(home, tmp_path)
    bare["private"] = {**bare["data"], "name": "hmdb51"}
    with pytest.raises(BadInput, match="private: hmdb51 has no private attributes"):
        experiment.load_private(experiment.resolve(bare))
    learnt = values(home, tmp_path, method={"name": "constrained", "steps": 2})
    with pytest.raises(BadInput, match="constrained learns from the private attributes of the vid"):
        experiment.train(experiment.resolve(learnt), tmp_path / "run")


@pytest.mark.slow
def test_a_study_reads_actions_off_videos_and_attributes_off_images(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    given = values(home, tmp_path)
    del given["method"]
    given["evaluation"] = {
        "attackers": ["frame_cnn"], "seeds": [0], "target_seeds": [0], "start_epochs": 1,
        "epochs": 1, "replicates": 100,
    }  # fmt: skip
    given["rows"] = [
        {"name": "soft", "method": {"name": "blur"}},
        {"name": "bound", "method": {"name": "penalty", "steps": 2, "alternate": "both"}},
    ]
    folder = tmp_path / "study"
    made = study.resolve_study(given)
    events = list(study.carry_out(made, folder, workers=1))
    summary = events[-1]["summary"]
    assert [row["name"] for row in summary["rows"]] == ["raw", "soft", "bound"]
    assert all(list(row["attributes"]) == ["bright"] for row in summary["rows"])
    assert summary["floor"] == {"cmap": None, "L": None}
    assert summary["chance"]["top1"] == 50
    assert summary["data"]["private"] == {"name": "images", "train": 18, "val": 9, "test": 9}
    lines = (folder / "records.jsonl").read_text().splitlines()
    found = [Measurement(**json.loads(line)) for line in lines]
    assert {m.dataset for m in found if m.metric in ("top1", "U")} == {"hmdb51"}
    assert {(m.dataset, m.n) for m in found if m.metric in ("cmap", "ap", "L")} == {("images", 9)}
    assert {len(m.provenance["data"].split("+")) for m in found} == {6}  # all splits of both
    # On pictures that stand still a filter of motion would look private: it is not measured.
    given["rows"] = [{"name": "motion", "method": {"name": "frame_difference"}}]
    with pytest.raises(BadInput, match="Row motion: frame_difference looks from frame to frame"):
        list(study.carry_out(study.resolve_study(given), tmp_path / "still", workers=1))


# -------------------------------------------------------------------- protocol K2: PA-HMDB51

SIX = ("a17_color", "a4_gender", "a9_face_complete", "a10_face_partial", "a12_semi_nudity")
SIX = (*SIX, "a64_rel_personal")


@pytest.fixture
def two_sets(tmp_path: Path) -> Path:
    """HMDB51 of two actions, four films each of ten numbered frames, the last annotated; and
    VISPR with six photographs a split, each attribute in half of them."""
    home = tmp_path / "two"
    for action in ACTIONS:
        names = [f"{action} {film}_{action}_f_cm_np1_ri_med_0.avi" for film in FILMS[:4]]
        for name in names:
            tiny_lists.video(home / "hmdb51_org" / action / name, frames=10)
        lines = "\n".join(f"{name} 1 " for name in names) + "\n"
        tiny_lists.write(home / f"testTrainMulti_7030_splits/{action}_test_split1.txt", lines)
        shown = tiny_lists.tracks(
            skin_color=[[0, 3, 1], [4, 9, 0]], gender=[[0, 3, 2], [4, 9, 0]],
            face=[[0, 2, 2], [3, 5, 1]], nudity=[[0, 3, 1], [4, 9, 0]],
            relationship=[[0, 1, 1], [2, 9, 0]],
        )  # fmt: skip
        text = json.dumps({names[-1]: shown})
        tiny_lists.write(home / f"PrivacyAttributes/{action}.json", text)
    for part in ("train", "val", "test"):
        ids = [f"2017_{part}{i}" for i in range(6)]
        lines = "".join(f"annotations/{part}2017/{id}.json\n" for id in ids)
        tiny_lists.write(home / f"vispr/{part}2017.txt", lines)
        for i, id in enumerate(ids):
            tiny_lists.image(home / f"vispr/images/{part}2017/{id}.jpg")
            labels = {"id": id, "labels": list(SIX) if i % 2 else ["a0_safe"]}
            text = json.dumps(labels)
            tiny_lists.write(home / f"vispr/annotations/{part}2017/{id}.json", text)
    return home


def test_attackers_learn_photographs_and_are_tested_on_frames(two_sets: Path, tmp_path: Path):
    where = {"height": 16, "width": 20, "workers": 1, "cache": str(tmp_path / "cache")}
    videos = str(two_sets / "hmdb51_org")
    found = tiny.values(data={"name": "pa_hmdb51", "root": videos, "val_fraction": 0.3, **where})
    images = {"root": str(two_sets / "vispr"), "videos": videos, **where}
    run = experiment.resolve({**found, "private": {"name": "vispr1_to_pa_hmdb51", **images}})
    clips, private = experiment.load_data(run), experiment.load_private(run)
    assert private is not None
    # The annotated videos are the test, and are not trained on.
    assert [len(part) for part in clips] == [4, 2, 2]
    assert clips.train.attribute_names == ()
    assert experiment.bearers(clips, private) is private
    assert [len(part) for part in private[:2]] == [6, 6]
    assert private.train.attribute_names == SIX
    # Face is known of the first six frames only: six items of each of the two videos.
    test = private.test
    assert len(test) == 12
    frame = np.arange(6)
    expected = np.stack(
        [frame < 4, frame < 4, frame < 3, frame > 2, frame < 4, frame < 2], 1
    ).astype(np.uint8)
    assert np.array_equal(test.attributes, np.concatenate([expected] * 2))
    for film in range(2):
        for i in range(6):
            item = 6 * film + i
            assert np.array_equal(test.video(item)[0], clips.test.video(film)[i])
    assert test.lengths.tolist() == [1] * 12
    assert len(set(test.groups.tolist())) == 2
    assert not set(test.groups.tolist()) & set(private.train.groups.tolist())
    every = {**images, "every": 4}
    few = experiment.resolve({**found, "private": {"name": "vispr1_to_pa_hmdb51", **every}})
    thin = experiment.load_private(few)
    assert thin is not None
    assert np.array_equal(thin.test.attributes, test.attributes[[0, 4, 6, 10]])
    assert thin.test.fingerprint != test.fingerprint
    some = {**images, "attributes": ["a64_rel_personal", "a4_gender"]}
    part = experiment.resolve({**found, "private": {"name": "vispr1_to_pa_hmdb51", **some}})
    chosen = experiment.load_private(part)
    assert chosen is not None
    assert np.array_equal(chosen.test.attributes, test.attributes[:, [5, 1]])
    assert {p.name for p in chosen} == {
        f"vispr1_to_pa_hmdb51/{split}" for split in ("train", "val", "test")
    }
    (two_sets / "hmdb51_org/golf/golf four_golf_f_cm_np1_ri_med_0.avi").unlink()
    with pytest.raises(BadInput, match="1 of 2 annotated videos are not in .* 'leave out'"):
        experiment.load_private(run)


# --------------------------------------------------------------- the list that science leaks with


def test_the_leaky_list_is_asked_for_and_marked(
    two_sets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    where = {"height": 16, "width": 20, "workers": 1, "cache": str(tmp_path / "cache")}
    videos = str(two_sets / "hmdb51_org")
    data = {"name": "pa_hmdb51", "root": videos, "val_fraction": 0.3, **where}
    images = {"name": "vispr1_to_pa_hmdb51", "root": str(two_sets / "vispr"), "videos": videos}
    base = {**tiny.values(data=data), "private": {**images, **where}}

    def loaded(**changes):
        values = {**base, **{k: {**base[k], **v} for k, v in changes.items()}}
        run = experiment.resolve(values)
        clips = experiment.load_data(run)
        return run, clips, experiment.kept_apart(clips, experiment.load_private(run))

    run, clean, private = loaded()
    assert "leaky" not in run.values()["data"]
    assert not clean.train.files & clean.test.files
    assert not any("LEAKY" in part.name for part in (*clean, *private))
    run, leaky, private = loaded(data={"leaky": True})
    assert run.values()["data"]["leaky"] is True
    assert leaky.test.files <= leaky.train.files | leaky.val.files
    assert [len(part) for part in leaky] == [6, 2, 2]
    for part, before in zip(leaky, clean, strict=True):
        split = before.name.partition("/")[2]
        assert part.name == f"LEAKY: pa_hmdb51/{split}"
        assert part.fingerprint.startswith("leaky-")
    assert leaky.test.fingerprint == f"leaky-{clean.test.fingerprint}"
    assert {part.name.partition("/")[0] for part in private} == {"LEAKY: vispr1_to_pa_hmdb51"}
    assert "LEAKY: 2 of the 2 test videos are in the training list too." in caplog.text

    # HMDB51's own list trains on the videos whose frames are examined.
    other = {"name": "hmdb51", "drop_shared_groups": False}
    lists = two_sets / "testTrainMulti_7030_splits"
    for action in ACTIONS:
        path = lists / f"{action}_test_split1.txt"
        names = [line.rsplit(" ", 2)[0] for line in path.read_text().splitlines()]
        tiny_lists.write(path, "".join(f"{n} {2 if 'one' in n else 1} \n" for n in names))
    with pytest.raises(BadInput) as caught:
        loaded(data=other)
    assert re.fullmatch(
        r"2 videos that hmdb51 trains on are in the test of vispr1_to_pa_hmdb51, first golf/.*; "
        r"take .data. name = 'pa_hmdb51', which leaves them out, or set private.leaky = true, "
        r"which marks every result\.",
        str(caught.value),
    )
    _, clips, private = loaded(data=other, private={"leaky": True})
    assert clips.test.name == "hmdb51/test"
    assert private.test.name == "LEAKY: vispr1_to_pa_hmdb51/test"


@pytest.mark.slow
def test_every_result_of_a_leaky_study_says_so(
    two_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Records, summary, table, Markdown, CSV and page."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    where = {"height": 16, "width": 20, "workers": 1, "cache": str(tmp_path / "cache")}
    videos = str(two_sets / "hmdb51_org")
    images = {"name": "vispr1_to_pa_hmdb51", "root": str(two_sets / "vispr"), "videos": videos}
    data = {"name": "pa_hmdb51", "root": videos, "val_fraction": 0.3, "leaky": True, **where}
    given = tiny.values(data=data, batches={"batch": 2, "size": 16})
    given["private"] = {**images, **where}
    given["evaluation"] = {
        "attackers": ["frame_cnn"], "seeds": [0], "target_seeds": [0], "start_epochs": 1,
        "epochs": 1, "replicates": 100,
    }  # fmt: skip
    given["rows"] = [{"name": "soft", "method": {"name": "blur"}}]
    del given["method"]
    folder = tmp_path / "study"
    summary = list(study.carry_out(study.resolve_study(given), folder, workers=1))[-1]["summary"]
    names = {"LEAKY: pa_hmdb51", "LEAKY: vispr1_to_pa_hmdb51"}
    assert {summary["dataset"], summary["data"]["private"]["name"]} == names
    assert summary["data"]["fingerprint"].count("leaky-") == 6
    lines = (folder / "records.jsonl").read_text().splitlines()
    found = [Measurement(**json.loads(line)) for line in lines]
    assert {m.dataset for m in found} == names
    assert all("leaky-" in m.provenance["data"] for m in found)
    write_report(folder)
    page = (folder / "report.html").read_text()
    console = Console(width=200, file=io.StringIO())
    console.print(terminal_table(summary))
    for text in (page, console.file.getvalue(), to_markdown(summary), to_csv(summary)):
        assert all(name in text for name in names)
    assert "Test videos were trained on, so these figures say too much." in summary["sentences"][0]
    assert summary["sentences"][0] in page
