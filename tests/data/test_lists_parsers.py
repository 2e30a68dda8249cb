"""Every parser on files that are written here in the distributed format, right ones and wrong."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_lists as tiny

from velatura.data._lists import (
    attributes,
    catalog,
    disk,
    hmdb51,
    images,
    pa_hmdb51,
    splits,
    ucf101,
    utkface,
    videos,
    vispr,
    vp,
)
from velatura.data._lists.listing import Image, Listing, Video
from velatura.data._lists.source import Ask
from velatura.errors import BadInput


def labels_of(listing: Listing) -> dict[str, list[int] | None]:
    return {
        item.path: None if item.attributes is None else list(item.attributes.values())
        for item in listing.items
    }


# ------------------------------------------------------------------------------- what is read


def test_ucf101(tmp_path):
    listing = ucf101.read(tiny.ucf101(tmp_path, videos=False), 1)
    assert listing.action_names == ("Archery", "HandstandPushups")
    assert listing.counts() == {"train": 6, "test": 3}
    assert listing.actions("test").tolist() == [0, 0, 1]
    last = listing.videos[-1]
    assert last.path == "HandstandPushups/v_HandStandPushups_g01_c01.avi"
    assert (last.action, last.split, last.group) == (
        "HandstandPushups",
        "test",
        "HandstandPushups/g01",
    )
    # g01 of the other class is somebody else.
    assert listing.videos[-2].group == "Archery/g01"


def test_ucf101_without_a_group_in_the_name():
    assert ucf101.group("Archery/mine.avi") == "Archery/mine.avi"


def test_hmdb51(tmp_path):
    listing = hmdb51.read(tiny.hmdb51(tmp_path, videos=False), 1)
    assert listing.action_names == ("golf", "pour")
    assert listing.counts() == {"train": 4, "test": 2}
    assert listing.actions("train").tolist() == [0, 0, 1, 1]
    assert [v.path for v in listing.videos[:3]] == [f"golf/{name}" for name in tiny.GOLF]
    assert [v.group for v in listing.videos] == [
        "My_golf_swing",
        "My_golf_swing",
        "a (1)[x]!;&#+ é",
        "Tea",
        "Tea",
        "holiday",
    ]
    third = hmdb51.read(tmp_path / "testTrainMulti_7030_splits", 3)
    assert third.counts() == {"train": 4, "unused": 2}


def test_a_film_is_all_before_the_official_form():
    form = "f_cm_np1_ri_goo_0.avi"
    assert hmdb51.film(f"golf/My_golf_swing_golf_{form}") == "My_golf_swing"
    assert hmdb51.film(f"golf/a_golf_{form[:-4]}_golf_{form}") == f"a_golf_{form[:-4]}"
    assert hmdb51.film("golf/my_golf_trip.avi") == "my_golf_trip"  # not of the form
    assert hmdb51.film(f"pour/My_golf_swing_golf_{form}") == f"My_golf_swing_golf_{form[:-4]}"


def test_hmdb51_as_another_copy_spells_it(tmp_path):
    listing = hmdb51.read(tiny.hmdb51(tmp_path, videos=False))
    there = [v.path.replace("#", "@").replace("&", "@") for v in listing.videos]
    found, renamed = disk.respelled(listing, there, hmdb51.jhmdb_spelling)
    assert renamed == 1
    assert [v.path for v in found.videos] == there
    assert [v.group for v in found.videos] == [v.group for v in listing.videos]
    assert disk.respelled(listing, there, None) == (listing, 0)


def test_pa_hmdb51_frames(tmp_path):
    found = pa_hmdb51.annotated(tiny.pa_hmdb51(tmp_path))
    first, second, third = found
    assert [a.path for a in found] == [
        f"golf/{tiny.GOLF[0]}",
        f"golf/{tiny.GOLF[2]}",
        f"pour/{tiny.POUR[2]}",
    ]
    labels, known = pa_hmdb51.frame_labels(first, pa_hmdb51.VISPR1)
    by_name = dict(zip(pa_hmdb51.VISPR1, labels.T.tolist(), strict=True))
    assert known.all()
    assert by_name["a4_gender"] == [1] * 10  # [0, 1]: one of the two can be told
    assert by_name["a9_face_complete"] == [1] * 5 + [0] * 5
    assert by_name["a10_face_partial"] == [0] * 5 + [1] * 5
    assert by_name["a65_rel_social"] == [0] * 10

    labels, known = pa_hmdb51.frame_labels(second, pa_hmdb51.VITA)
    skin, nudity = list(pa_hmdb51.VITA).index("skin_color"), list(pa_hmdb51.VITA).index("nudity")
    assert labels[:, skin].tolist() == [1, 1, 1, 1, 0, 0, 1, 1, 1, 1]
    assert known[:, skin].tolist() == [True] * 4 + [False] * 2 + [True] * 4
    assert labels[:, nudity].tolist() == [1] * 4 + [0] * 6  # in the overlap the later range holds
    assert known[:, nudity].all()

    labels, known = pa_hmdb51.frame_labels(third, pa_hmdb51.VITA, frames=12)
    assert labels.shape == known.shape == (12, 5)
    assert not known[10:].any()
    assert pa_hmdb51.clip_labels(third, pa_hmdb51.VITA) == {
        "gender": 0,
        "face": 0,
        "nudity": 0,
        "skin_color": 0,
        "relationship": 1,
    }
    labels, known = pa_hmdb51.pooled(found, pa_hmdb51.VITA)
    assert labels.shape == (30, 5)
    assert known.sum() == 30 * 5 - 2


def test_pa_hmdb51_test_videos(tmp_path):
    home = tiny.pa_hmdb51(tmp_path)
    six = pa_hmdb51.read_test(home)
    assert six.attribute_names == pa_hmdb51.SCORED
    assert "a65_rel_social" not in six.attribute_names
    assert six.labels().tolist() == [[0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]]
    assert six.counts() == {"test": 3}
    five = pa_hmdb51.read_test(home, pa_hmdb51.VITA)
    assert five.attribute_names == tuple(pa_hmdb51.VITA)
    assert five.labels().sum(0).tolist() == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("split", [None, 1])
def test_pa_hmdb51_trains_without_its_test_videos(tmp_path, split):
    home = tiny.pa_hmdb51(tmp_path)
    clean = pa_hmdb51.read(home, split)
    tested = {v.path for v in clean.of("test")}
    assert clean.counts() == {"train": 3, "test": 3}
    assert not tested & {v.path for v in clean.of("train")}
    assert not clean.leaky
    leaky = pa_hmdb51.read(home, split, leaky=True)
    assert leaky.leaky
    both = {None: 3, 1: 1}[split]
    assert leaky.counts() == {"train": 3 + both, "test": 3}
    assert leaky.notes[0].startswith(f"LEAKY: {both} of the 3 test videos")


@pytest.mark.parametrize("with_jsons", [True, False])
def test_vispr1_from_jsons_or_pickles(tmp_path, with_jsons):
    home = tiny.vispr(tmp_path, jsons=with_jsons, pickles=not with_jsons)
    listing = vispr.read(home)
    assert listing.counts() == {"train": 2, "val": 2, "test": 2}
    assert listing.images[0].path == "images/train2017/2017_10000001.jpg"
    assert listing.labels("train").tolist() == [[0, 1, 1, 0, 0, 0, 0], [0] * 7]
    assert (listing.of("val")[0].attributes is None) is not with_jsons
    assert bool(listing.notes) is not with_jsons


def test_vispr2(tmp_path):
    listing = vispr.read(tiny.vispr(tmp_path), "vispr2")
    assert listing.attribute_names[1] == "a16_race"
    assert listing.labels("test").tolist() == [[0, 1, 0, 0, 0, 0, 0], [0] * 7]


def test_vp(tmp_path):
    listing = vp.read(tiny.vp_hmdb51(tmp_path), "hmdb51")
    assert listing.name == "vp_hmdb51"
    assert listing.attribute_names == ("skin_color", "face", "gender", "nudity", "relationship")
    assert labels_of(listing)[f"golf/{tiny.ODD}"] == [1, 0, 1, 0, 0]
    assert listing.prevalence("train") == {
        "skin_color": 100,
        "face": 50,
        "gender": 0,
        "nudity": 50,
        "relationship": 0,
    }
    assert listing.chance_cmap("train") == 40


def test_vp_leaves_a_video_without_a_label_bare(tmp_path):
    home = tiny.ucf101(tmp_path, videos=False)
    tiny.vp(home, "ucf101", {"Archery/v_Archery_g01_c01.mp4": (0, 1, 0, 1, 0)})
    listing = vp.read(home, "ucf101", 2)
    bare = [path for path, labels in labels_of(listing).items() if labels is None]
    assert len(bare) == len(listing.videos) - 1
    assert listing.labels().tolist() == [[0, 1, 0, 1, 0]]


def test_utkface(tmp_path):
    listing = utkface.read(tiny.utkface(tmp_path / "faces"))
    assert len(listing.images) == 40
    assert listing.labels().sum(0).tolist() == [20, 8, 8, 8, 8, 8]
    first = next(i for i in listing.images if i.path.startswith("21_1_1_"))
    assert first.attributes == {
        **dict.fromkeys(utkface.ATTRIBUTES, 0),
        "female": 1,
        "black": 1,
    }
    assert utkface.face("26_1_2_20170116174525125.jpg.chip.jpg") == (26, 1, 2)
    assert set(listing.counts()) == {"train", "val", "test"}
    # A file's split does not depend on which others are there.
    few = utkface.read(tiny.utkface(tmp_path / "few", 7))
    assert {i.path: i.split for i in few.images}.items() <= {
        i.path: i.split for i in listing.images
    }.items()


def test_utkface_names_files_without_a_tag(tmp_path):
    tiny.utkface(tmp_path, 99)
    tiny.image(tmp_path / "61_1_20170109142408075.jpg.chip.jpg")
    listing = utkface.read(tmp_path)
    assert len(listing.images) == 99
    assert listing.notes[1].startswith("1 files without all tags are left out: 61_1_2017010914")


def test_own_images_from_csv_and_jsonl_are_the_same(tmp_path):
    tiny.own_images(tmp_path)
    from_csv = images.read(tmp_path / "photos.csv")
    rows = [
        {"image": i.path, "split": i.split, "group": i.group, "attributes": i.attributes}
        for i in from_csv.images
    ]
    tiny.write(tmp_path / "photos.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    assert images.read(tmp_path / "photos.jsonl") == from_csv
    assert from_csv.counts() == {"train": 2, "test": 2}
    assert from_csv.labels("test").tolist() == [[0, 0], [1, 0]]


def test_a_csv_with_odd_names_and_without_splits(tmp_path):
    odd = 'a (1)[x]!;&#+ é, "b".jpg'
    text = '\ufeffimage,group,face\r\n"a (1)[x]!;&#+ é, ""b"".jpg",A,1\r\nc.jpg,A,0\r\n'
    listing = images.read(tiny.write(tmp_path / "x.csv", text))
    assert [i.path for i in listing.images] == [odd, "c.jpg"]
    assert len({i.split for i in listing.images}) == 1  # one group, one side


def test_attributes_of_your_own(tmp_path):
    listing = ucf101.read(tiny.ucf101(tmp_path, videos=False))
    rows = [
        {"video": v.path, "attributes": {"a": i % 2, "b": 1}} for i, v in enumerate(listing.videos)
    ]
    path = tiny.write(tmp_path / "mine.jsonl", "\n".join(map(json.dumps, rows)))
    labelled = listing.with_labels(attributes.read(path), str(path))
    assert labelled.attribute_names == ("a", "b")
    assert labelled.labels().sum(0).tolist() == [4, 9]


# ------------------------------------------------------------------------------------- splits


def test_val_takes_whole_groups_and_near_the_fraction():
    clips = [("golf", f"film{i}") for i in range(10) for _ in range(3)] + [("pour", "one")] * 5
    taken = splits.val_groups(clips, 0.2, seed=3)
    assert len(taken) == 2
    assert "one" not in taken  # a class's last group stays in train
    assert taken == splits.val_groups(clips, 0.2, seed=3)
    assert taken != splits.val_groups(clips, 0.2, seed=4)


def test_with_val_moves_groups_and_leaves_test_alone():
    clips = tuple(
        Video(path=f"a/{i}", action="a", split="test" if i > 19 else "train", group=f"g{i // 4}")
        for i in range(24)
    )
    listing = Listing(name="x", action_names=("a",), videos=clips)
    carved = splits.with_val(listing, 0.2)
    assert carved.counts() == {"train": 16, "val": 4, "test": 4}
    assert len({v.group for v in carved.of("val")}) == 1
    assert [v.path for v in carved.videos] == [v.path for v in clips]
    assert splits.with_val(carved, 0.4) == carved  # it has one already


def test_with_val_of_images():
    photos = tuple(Image(path=f"{i}", split="train", group=f"g{i // 2}") for i in range(20))
    carved = splits.with_val(Listing(name="x", images=photos), 0.2)
    assert carved.counts() == {"train": 16, "val": 4}
    assert carved.shared_groups("train", "val") == []


def test_hashed_splits_have_their_shares():
    drawn = [splits.hashed_split(f"{i}") for i in range(4000)]
    assert drawn.count("test") / 4000 == pytest.approx(0.15, abs=0.02)
    assert drawn.count("val") / 4000 == pytest.approx(0.15, abs=0.02)


# ------------------------------------------------------------------------- what is wrong in them


def edit(path, old, new):
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())


UCF, HMDB = "ucfTrainTestlist", "testTrainMulti_7030_splits"
UCF_WRONG = {
    "no lists": (lambda h: shutil.rmtree(h / UCF), r"No classInd\.txt in .*unpack UCF101TrainTest"),
    "no trainlist": (
        lambda h: (h / UCF / "trainlist01.txt").unlink(),
        r"trainlist01\.txt is missing; unpack",
    ),
    "empty testlist": (
        lambda h: tiny.write(h / UCF / "testlist01.txt", "\r\n"),
        r"testlist01\.txt is empty; unpack",
    ),
    "not text": (
        lambda h: (h / UCF / "testlist01.txt").write_bytes(b"\xff\xfe\x00"),
        r"testlist01\.txt is not UTF-8 text; unpack",
    ),
    "unknown class": (
        lambda h: edit(h / UCF / "testlist01.txt", "HandstandPushups/", "HandStandPushups/"),
        r"testlist01\.txt, line 3: .*'HandStandPushups'.*Did you mean 'HandstandPushups'",
    ),
    "number of another class": (
        lambda h: edit(h / UCF / "trainlist01.txt", "c01.avi 1", "c01.avi 2"),
        r"trainlist01\.txt, line 1: Archery is class 1 in classInd\.txt, not 2; ",
    ),
    "no number": (
        lambda h: edit(h / UCF / "trainlist01.txt", "c01.avi 1", "c01.avi"),
        r"trainlist01\.txt, line 1: expected '<Class>/<file>\.avi <id>', got 'Archery/",
    ),
    "twice": (
        lambda h: edit(h / UCF / "testlist01.txt", "g01_c02", "g01_c01"),
        r"testlist01\.txt, line 2: Archery/v_Archery_g01_c01\.avi stands in the lists twice",
    ),
    "in train and test": (
        lambda h: edit(h / UCF / "testlist01.txt", "g01_c02", "g08_c02"),
        r"testlist01\.txt, line 2: .* stands in the lists twice; remove one line",
    ),
    "class numbers from 0": (
        lambda h: edit(h / UCF / "classInd.txt", "1 Archery", "0 Archery"),
        r"classInd\.txt, line 1: expected '1 <Class>', got '0 Archery'",
    ),
}


@pytest.mark.parametrize("case", UCF_WRONG)
def test_wrong_ucf101_lists(tmp_path, case):
    harm, said = UCF_WRONG[case]
    harm(tiny.ucf101(tmp_path, videos=False))
    with pytest.raises(BadInput, match=said):
        ucf101.read(tmp_path)


HMDB_WRONG = {
    "no lists": (lambda h: shutil.rmtree(h / HMDB), r"No \*_test_split\*\.txt in .*--annotations"),
    "one class lacks its list": (
        lambda h: (h / HMDB / "pour_test_split1.txt").unlink(),
        r"pour_test_split1\.txt is missing; unpack test_train_splits\.rar",
    ),
    "empty": (
        lambda h: tiny.write(h / HMDB / "golf_test_split1.txt", ""),
        r"golf_test_split1\.txt is empty",
    ),
    "no number": (
        lambda h: edit(h / HMDB / "pour_test_split1.txt", "holiday.avi 2 ", "holiday.avi"),
        r"pour_test_split1\.txt, line 3: expected '<name>\.avi <k>' .* got 'holiday\.avi'",
    ),
    "another number": (
        lambda h: edit(h / HMDB / "pour_test_split1.txt", "holiday.avi 2 ", "holiday.avi 3 "),
        r"line 3: .*with k 0, 1 or 2, got 'holiday\.avi 3'",
    ),
    "twice": (
        lambda h: edit(h / HMDB / "pour_test_split1.txt", "med_1", "med_0"),
        r"line 2: Tea_pour_u_nm_np1_fr_med_0\.avi stands there twice; remove one line",
    ),
}


@pytest.mark.parametrize("case", HMDB_WRONG)
def test_wrong_hmdb51_lists(tmp_path, case):
    harm, said = HMDB_WRONG[case]
    harm(tiny.hmdb51(tmp_path, videos=False))
    with pytest.raises(BadInput, match=said):
        hmdb51.read(tmp_path)


def annotate(home, **ranges):
    video = {"Tea_pour_u_nm_np1_fr_med_0.avi": tiny.tracks(**ranges)}
    tiny.write(home / "PrivacyAttributes/pour.json", json.dumps(video))


PA_WRONG = {
    "no folder": (lambda h: shutil.rmtree(h / "PrivacyAttributes"), r"No \*\.json in .*get the"),
    "not JSON": (
        lambda h: tiny.write(h / "PrivacyAttributes/pour.json", "{"),
        r"pour\.json, line 1: this is not JSON; get the folder",
    ),
    "a list": (lambda h: tiny.write(h / "PrivacyAttributes/pour.json", "[1]"), r"not an object"),
    "backwards": (
        lambda h: annotate(h, face=[[5, 4, 1]]),
        r"pour\.json, Tea_.*med_0\.avi: face has \[5, 4, 1\], expected \[first, last, 0 \.\.\. 2\]",
    ),
    "before 0": (lambda h: annotate(h, face=[[-1, 4, 1]]), r"face has \[-1, 4, 1\]"),
    "unknown value": (lambda h: annotate(h, nudity=[[0, 4, 3]]), r"nudity has \[0, 4, 3\]"),
    "no value": (lambda h: annotate(h, nudity=[[0, 4, []]]), r"nudity has \[0, 4, \[\]\]"),
    "two numbers": (lambda h: annotate(h, gender=[[0, 4]]), r"gender has \[0, 4\]"),
    "no ranges": (lambda h: annotate(h, gender=[]), r"gender is no list of \[first, last, value\]"),
    "a video twice": (
        lambda h: tiny.write(h / "PrivacyAttributes/pour.json", '{"a.avi": 1, "a.avi": 2}'),
        r"pour\.json: 'a\.avi' stands twice in one object",
    ),
    "a folder": (
        lambda h: tiny.write(h / "PrivacyAttributes/pour.json", json.dumps({"./a.avi": 1})),
        r"pour\.json, \./a\.avi: the name of a file was expected, without a folder",
    ),
    "deep": (
        lambda h: tiny.write(h / "PrivacyAttributes/pour.json", '{"a.avi":\n' + "[" * 100000),
        r"pour\.json, line 2: lists in lists in lists without end; get the folder",
    ),
    "half a pair": (
        lambda h: tiny.write(h / "PrivacyAttributes/pour.json", '{\n\n"a\\uDFFF.avi": 1}'),
        r"pour\.json, line 3: .udfff in 'a.udfff\.avi' is no character of a name",
    ),
    "NUL": (
        lambda h: tiny.write(h / "PrivacyAttributes/pour.json", '{"a.avi": {"note": "\\u0000"}}'),
        r"pour\.json, line 1: .u0000 in '.x00' is no character of a name",
    ),
    "a number without end": (
        lambda h: tiny.write(h / "PrivacyAttributes/pour.json", "1" * 10000),
        r"pour\.json: this is not JSON: .*digits",
    ),
    "unknown video": (
        lambda h: tiny.write(
            h / "PrivacyAttributes/pour.json", json.dumps({"who.avi": tiny.tracks()})
        ),
        r"annotates pour/who\.avi, which is not in HMDB51's lists",
    ),
}


@pytest.mark.parametrize("case", PA_WRONG)
def test_wrong_pa_hmdb51_annotations(tmp_path, case):
    harm, said = PA_WRONG[case]
    tiny.hmdb51(tmp_path, videos=False)
    annotate(tmp_path)
    harm(tmp_path)
    with pytest.raises(BadInput, match=said):
        pa_hmdb51.read(tmp_path)


def unlabel(home):
    shutil.rmtree(home / "annotations/test2017")


def dump(home, name, labels):
    (home / name).write_bytes(pickle.dumps(labels))


VISPR_WRONG = {
    "no lists": (lambda h: (h / "train2017.txt").unlink(), r"No train2017\.txt in "),
    "no val list": (lambda h: (h / "val2017.txt").unlink(), r"val2017\.txt is missing; get VISPR"),
    "another line": (
        lambda h: edit(h / "test2017.txt", "annotations/test2017/", ""),
        r"test2017\.txt, line 1: expected 'annotations/test2017/<id>\.json', got '2017_",
    ),
    "twice": (
        lambda h: edit(h / "test2017.txt", "10000006", "10000005"),
        r"test2017\.txt lists 2017_10000005 twice",
    ),
    "no labels": (unlabel, r"No vispr1 labels for test2017: neither .* nor .*test_VISPR1_labels"),
    "one JSON missing": (
        lambda h: (h / "annotations/test2017/2017_10000005.json").unlink(),
        r"2017_10000005\.json is missing",
    ),
    "no list of labels": (
        lambda h: tiny.write(h / "annotations/test2017/2017_10000005.json", "{}"),
        r"2017_10000005\.json has no list under 'labels'",
    ),
    "six numbers": (
        lambda h: (unlabel(h), dump(h, "test_VISPR1_labels.pkl", {"2017_10000005": np.zeros(6)})),
        r"test_VISPR1_labels\.pkl: 2017_10000005 has \[0\.0, .*\], expected 7 of 0 or 1",
    ),
    "halves": (
        lambda h: (unlabel(h), dump(h, "test_VISPR1_labels.pkl", {"x": np.full(7, 0.5)})),
        r"x has \[0\.5, .*expected 7 of 0 or 1",
    ),
    "unknown image": (
        lambda h: (unlabel(h), dump(h, "test_VISPR1_labels.pkl", {"2017_9": np.zeros(7)})),
        r"test_VISPR1_labels\.pkl labels 2017_9, which is not in test2017\.txt",
    ),
}


@pytest.mark.parametrize("case", VISPR_WRONG)
def test_wrong_vispr(tmp_path, case):
    harm, said = VISPR_WRONG[case]
    harm(tiny.vispr(tmp_path))
    with pytest.raises(BadInput, match=said):
        vispr.read(tmp_path)


VP_WRONG = {
    "no pickle": (None, r"No ucf101_privacy_attribute_label\.pickle in .*`velatura data get`"),
    "four columns": ({"Archery/v_Archery_g01_c01.mp4": (1, 0, 1, 0)}, r"expected \[\[0 or 1, five"),
    "twos": ({"Archery/v_Archery_g01_c01.mp4": (1, 0, 2, 0, 0)}, r"has \[\[1, 0, 2, 0, 0\]\]"),
    "unknown video": (
        {"Archery/v_Archery_g77_c01.mp4": (1, 0, 0, 0, 0)},
        r"pickle labels Archery/v_Archery_g77_c01\.avi, which is not in the lists of ucf101",
    ),
}


@pytest.mark.parametrize("case", VP_WRONG)
def test_wrong_vp_labels(tmp_path, case):
    labels, said = VP_WRONG[case]
    tiny.ucf101(tmp_path, videos=False)
    if labels:
        tiny.vp(tmp_path, "ucf101", labels)
    with pytest.raises(BadInput, match=said):
        vp.read(tmp_path, "ucf101")


def test_wrong_utkface_folders(tmp_path):
    with pytest.raises(BadInput, match=r"There is no folder .*nowhere; .*--root"):
        utkface.read(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"holds 0 images named <age>.* and 0 others; give the"):
        utkface.read(tmp_path)
    tiny.utkface(tmp_path, 9)
    tiny.image(tmp_path / "26_3_2_20170116174525125.jpg.chip.jpg")
    with pytest.raises(BadInput, match=r"9 images .* and 1 others, such as 26_3_2_2017"):
        utkface.read(tmp_path)


def test_a_face_that_is_there_twice(tmp_path):
    tiny.utkface(tmp_path / "a", 1)
    tiny.utkface(tmp_path / "b", 1)
    with pytest.raises(BadInput, match=r"holds a/20_0_0_.* and b/20_0_0_.*, the same file"):
        utkface.read(tmp_path)


CSV_WRONG = {
    "": r"x\.csv is empty; expected a line of names",
    "photo,face\na.jpg,1\n": r"x\.csv, line 1: 'photo,face'; expected a line of names",
    "image,split\na.jpg,train\n": r"line 1: 'image,split'; expected",
    "image,face,face\na.jpg,1,1\n": r"line 1: ",
    "image,face\n": r"x\.csv names no image; add one line per image",
    "image,face\na.jpg\n": r"line 2: 1 values, but the first line names 2",
    "image,face\na.jpg,yes\n": r"line 2: attribute 'face' is 0 or 1, not 'yes'",
    "image,face\na.jpg,\n": r"line 2: attribute 'face' is 0 or 1, not ''",
    "image,face\n,1\n": r"line 2: no image named",
    "image,face\na.jpg,1\na.jpg,0\n": r"line 3: a\.jpg stands there twice; remove one line",
    "image,face\n../a.jpg,1\n": r"line 2: image '\.\./a\.jpg' leads out of the root",
    "image,split,face\na.jpg,dev,1\n": r"line 2: split is train, val or test, not 'dev'",
    "image,split,face\na.jpg,test,1\nb.jpg,,0\n": r"line 3: give every image a split, or none",
    'image,face\n"a.jpg,1\n': r"not CSV \(unexpected end of data\)",
}


@pytest.mark.parametrize("text", CSV_WRONG)
def test_wrong_csv(tmp_path, text):
    with pytest.raises(BadInput, match=CSV_WRONG[text]):
        images.read(tiny.write(tmp_path / "x.csv", text))


JSONL_WRONG = {
    "a.jpg 1": r"line 1: not a JSON object; expected \{",
    "[1]": r"line 1: not a JSON object",
    '{"image": "a", "atributes": {}}': r"line 1: unknown key 'atributes'",
    '{"image": "a"}': r"line 1: attributes are at least one name with 0 or 1",
    '{"image": "a", "attributes": {"face": true}}': r"'face' is 0 or 1, not True",
    '{"image": "a", "attributes": {"f": 1}}\n{"image": "b", "attributes": {"g": 1}}': (
        r"line 2: every line names the same attributes, and 'f' is not on all"
    ),
}


@pytest.mark.parametrize("text", JSONL_WRONG)
def test_wrong_jsonl(tmp_path, text):
    with pytest.raises(BadInput, match=JSONL_WRONG[text]):
        images.read(tiny.write(tmp_path / "x.jsonl", text))


VIDEOS_WRONG = {
    "": r"x\.jsonl is empty; expected one line of JSON per file",
    '{"video": "a.avi", "split": "train", "attributes": {"f": 1}}': r"video is class/name.*'a.avi'",
    '{"video": "g/a.avi", "attributes": {"f": 1}}': r"g/a\.avi has no split; give train, val or",
    '{"image": "g/a.avi"}': r"line 1: unknown key 'image'; expected \{\"video\"",
    '{"video": "/g/a.avi", "split": "train"}': r"line 1: video '/g/a\.avi' leads out of the root",
}


@pytest.mark.parametrize("text", VIDEOS_WRONG)
def test_wrong_jsonl_of_videos(tmp_path, text):
    with pytest.raises(BadInput, match=VIDEOS_WRONG[text]):
        videos.read(tiny.write(tmp_path / "x.jsonl", text))


def test_wrong_attributes_of_your_own(tmp_path):
    listing = ucf101.read(tiny.ucf101(tmp_path, videos=False))
    line = '{"video": "Archery/no.avi", "attributes": {"a": 1}}\n'
    path = tiny.write(tmp_path / "mine.jsonl", line)
    with pytest.raises(BadInput, match=r"mine\.jsonl labels Archery/no\.avi, which is not in"):
        listing.with_labels(attributes.read(path), str(path))
    with pytest.raises(BadInput, match=r"line 2: Archery/no\.avi stands there twice"):
        attributes.read(tiny.write(path, line * 2))
    with pytest.raises(BadInput, match=r"line 1: no video or image named"):
        attributes.read(tiny.write(path, '{"attributes": {"a": 1}}'))


# ---------------------------------------------------------------------------------- the catalog


def test_every_data_set_says_what_it_is():
    sources = catalog.sources()
    assert [source.name for source in sources] == [
        *("folder", "hmdb51", "images", "pa_hmdb51", "ucf101", "utkface"),
        *("vispr1", "vispr2", "vp_hmdb51", "vp_ucf101"),
    ]
    for source in sources:
        assert source.title
        assert source.licence
        assert source.by_hand
        assert "ROOT" in source.layout
        assert set(source.counts) <= {0, *source.splits}


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(BadInput, match=r"No data set named 'hmdb15'. Did you mean 'hmdb51'\?"):
        catalog.source("hmdb15")


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "pa_hmdb51", "vp_ucf101"])
def test_a_split_that_there_is_not(tmp_path, name):
    ask = Ask(root=tmp_path, split=4)
    with pytest.raises(BadInput, match=rf"{name} has splits 1, 2, 3, so there is no split 4"):
        catalog.source(name).split_of(ask)


@pytest.mark.parametrize("name", ["utkface", "vispr1", "images", "folder"])
def test_a_data_set_without_official_splits(tmp_path, name):
    with pytest.raises(BadInput, match=rf"{name} has one list only, so there is no split 1"):
        catalog.source(name).read(Ask(root=tmp_path, split=1))


# ------------------------------------------------------------------------------------- the disk


def test_files_are_found_through_links_and_loops(tmp_path):
    home = tmp_path / "root"
    tiny.video(tmp_path / "elsewhere/b (1)[x].avi")
    tiny.write(home / "a/readme.txt", "x")
    tiny.write(home / ".hidden/c.avi", "x")
    tiny.write(home / "a/D.AVI", "x")
    (home / "link").symlink_to(tmp_path / "elsewhere")
    (home / "a/up").symlink_to(home)
    assert disk.files(home, (".avi",)) == ["a/D.AVI", "link/b (1)[x].avi"]


def test_a_link_to_a_folder_beside_it(tmp_path):
    """Its files have two names; lists may use either."""
    home = tmp_path / "root"
    tiny.write(home / "a/1.avi", "x")
    tiny.write(home / "c/below/2.avi", "x")
    (home / "b").symlink_to(home / "a")
    (home / "a/again").symlink_to(home / "c")
    (home / "c/below/up").symlink_to(home / "c")
    assert disk.files(home, (".avi",)) == [
        "a/1.avi", "a/again/below/2.avi", "b/1.avi", "b/again/below/2.avi", "c/below/2.avi",
    ]  # fmt: skip


def test_a_folder_that_cannot_be_looked_into(tmp_path, monkeypatch):
    """What is in it would be called missing; root may look into any, so the system is asked to
    refuse."""
    tiny.write(tmp_path / "a/1.avi", "x")
    tiny.write(tmp_path / "b/2.avi", "x")
    real = os.scandir

    def refusing(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(BadInput) as caught:
        disk.files(tmp_path, (".avi",))
    assert str(caught.value) == (
        f"The folder {tmp_path / 'b'} cannot be looked into (Permission denied); allow reading it, "
        "or take it away."
    )


def test_a_hole_in_the_middle_is_found_by_reading_alone(tmp_path):
    path = tiny.video(tmp_path / "a.mp4", 40)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + len(data) // 3
    data[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(data)
    assert disk.fault(path, quick=True) is None
    assert re.match(r"damaged: \d+ of 40 frames decode, then ", disk.fault(path))


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_a_cut_matroska_file(tmp_path, name):
    import av

    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9" if name == "a.webm" else "libx264", 30)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        noise = np.random.default_rng(0)
        for _ in range(40):
            image = noise.integers(0, 255, (24, 32, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    assert disk.fault(path) is None
    whole = path.read_bytes()
    for part in (0.4, 0.7, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * part)])
        assert disk.fault(path).startswith("damaged: ")
        assert disk.fault(path, quick=True) is None


def test_whatever_goes_wrong_in_one_file_is_its_fault(tmp_path, monkeypatch):
    for name in ("a.avi", "b.avi", "c.avi"):
        tiny.video(tmp_path / name)
    real = disk.probe

    def odd(path):
        if path.name == "b.avi":
            raise RuntimeError("not foreseen")
        return real(path)

    monkeypatch.setattr(disk, "probe", odd)
    found = dict(disk.faults(tmp_path, ["a.avi", "b.avi", "c.avi"]))
    assert found.pop("b.avi") == "cannot be read: RuntimeError: not foreseen"
    assert found == {"a.avi": None, "c.avi": None}


def test_files_are_read_on_all_cores(tmp_path):
    names = [f"{i}.avi" for i in range(16)]
    for name in names:
        tiny.video(tmp_path / name)
    (tmp_path / "7.avi").write_bytes(b"")
    found = dict(disk.faults(tmp_path, names, workers=2))
    assert sorted(found) == sorted(names)
    assert {name for name, reason in found.items() if reason} == {"7.avi"}


def test_faults_of_videos(tmp_path):
    good = tiny.video(tmp_path / tiny.ODD, 20)
    assert disk.fault(good) is None
    cut = tmp_path / "cut.avi"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    assert re.fullmatch(r"damaged: [1-9]\d? of 20 frames decode, then .*", disk.fault(cut))
    whole = tiny.video(tmp_path / "whole.mp4")
    mp4 = tmp_path / "cut.mp4"
    mp4.write_bytes(whole.read_bytes()[:200])
    assert "cannot be read as a video" in disk.fault(mp4)
    assert disk.fault(tiny.write(tmp_path / "empty.avi", "")) == "empty file"
    assert "cannot be read as a video" in disk.fault(tiny.write(tmp_path / "text.avi", "hello"))
    assert disk.fault(tmp_path / "gone.avi")


def test_a_file_with_sound_only_holds_no_video(tmp_path):
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", 48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux([*stream.encode(frame), *stream.encode()])
    assert disk.fault(path) == "holds no video stream"


def test_images_of_every_mode_open(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for mode, suffix in (("L", "jpg"), ("CMYK", "jpg"), ("RGBA", "png"), ("P", "png")):
        path = tmp_path / f"a (1)[x]!;&#+ é {mode}.{suffix}"
        image.new(mode, (33, 21)).save(path)
        assert disk.fault(path) is None


@pytest.mark.parametrize("name", ["./golf/a.avi", "golf//a.avi", "golf/./a.avi", "golf/a.avi/"])
def test_one_file_has_one_name_in_labels_too(tmp_path, name):
    lines = [{"video": one, "attributes": {"hat": 1}} for one in ("golf/a.avi", name)]
    path = tiny.write(tmp_path / "hats.jsonl", "\n".join(map(json.dumps, lines)))
    with pytest.raises(BadInput, match=r"hats\.jsonl, line 2: write golf/a\.avi for "):
        attributes.read(path)


def test_a_line_of_labels_names_one_file(tmp_path):
    line = {"video": "a.avi", "image": "b.jpg", "attributes": {"hat": 1}}
    path = tiny.write(tmp_path / "hats.jsonl", json.dumps(line))
    with pytest.raises(BadInput, match="line 1: one file a line, a video or an image"):
        attributes.read(path)


@pytest.mark.parametrize("line", ["./Tea.avi 1", "a/Tea.avi 2", "Te\0a.avi 1"])
def test_hmdb51_names_are_file_names(tmp_path, line):
    tiny.hmdb51(tmp_path, videos=False)
    path = tmp_path / "testTrainMulti_7030_splits/pour_test_split1.txt"
    path.write_text(f"Tea.avi 1\n{line} \n")
    with pytest.raises(BadInput, match=r"pour_test_split1\.txt, line 2: (expected|a NUL)"):
        hmdb51.read(tmp_path)
