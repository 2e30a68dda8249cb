"""Every file of experiments/protocols, on miniatures of its data that lie as the official sets do.

Nobody is in these videos and photographs. Sizes are lowered; all else is as in the file.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data import tiny_lists
from training import tiny

from velatura import experiment, plugins
from velatura.config import apply_sets, read_toml, to_toml
from velatura.data._lists import catalog
from velatura.data._lists.source import Ask
from velatura.data._lists.vispr import ATTRIBUTES
from velatura.errors import BadInput
from velatura.layout import ClipSet, Splits
from velatura.study import Data, Study, carry_out, load_all, resolve_study
from velatura.training import checkpoint

ROOT = Path(__file__).parents[1]
FILES = {path.stem: path for path in sorted((ROOT / "experiments" / "protocols").glob("*.toml"))}
K = ("k1", "k2", "k3")
FROM = {name: "k1" for name in ("n1", "n2", "n3", "r-vispr1", "r-vispr2")}
FROM |= {"n4": "k3", "r-pa-hmdb51": "k2"}
LEARNED = ("spact", "vita", "penalty_0.3", "penalty_0.5", "penalty_0.7", "penalty_0.9")
PA = ("k2", "n2", "r-pa-hmdb51")  # tested on PA-HMDB51

HMDB, UCF = "data/hmdb51/hmdb51_org", "data/ucf101/UCF-101"
SIZES = ("height=24", "width=32", "workers=1")


def film(action: str, name: str, number: int = 0) -> str:
    return f"{action} {name} #_{action}_f_cm_np1_ri_med_{number}.avi"


def group(action: str, number: int) -> str:
    stem = action.replace("stand", "Stand")
    return f"{action}/v_{stem}_g{number:02}_c01.avi"


def make_hmdb51(home: Path) -> None:
    """Two actions of six films; one of them has a clip on either side of split 1. Of each action,
    PA-HMDB51 has a video of split 1's training list and one of its test."""
    labels = {}
    for bit, action in enumerate(("golf", "pour")):
        known = [film(action, name) for name in ("one", "two", "three", "four", "five", "six")]
        both = [film(action, "both", number) for number in (0, 1)]
        ks = {1: (1, 1, 1, 1, 2, 0, 1, 2), 2: (1, 1, 1, 2, 1, 1, 1, 1)}
        for split, sides in ks.items():
            lines = [f"{name} {k} \n" for name, k in zip([*known, *both], sides, strict=True)]
            path = home / f"testTrainMulti_7030_splits/{action}_test_split{split}.txt"
            tiny_lists.write(path, "".join(lines))
        for name in (*known, *both):
            tiny_lists.video(home / "hmdb51_org" / action / name, frames=10)
            labels[f"{action}/{name[:-4]}.mp4"] = [bit] * 5
        shown = tiny_lists.tracks(
            skin_color=[[0, 3, 1], [4, 9, 0]], gender=[[0, 3, 2], [4, 9, 0]],
            face=[[0, 2, 2], [3, 5, 1]], nudity=[[0, 3, 1], [4, 9, 0]],
            relationship=[[0, 1, 1], [2, 9, 0]],
        )  # fmt: skip
        text = json.dumps(dict.fromkeys([film(action, "four"), film(action, "five")], shown))
        tiny_lists.write(home / f"PrivacyAttributes/{action}.json", text)
    tiny_lists.vp(home, "hmdb51", labels)


def make_ucf101(home: Path) -> None:
    """Two classes of five groups; of split 1, the first is the test's."""
    lists, labels = home / "ucfTrainTestlist", {}
    tiny_lists.write(lists / "classInd.txt", "1 Archery\n2 HandstandPushups\n")
    for split in (1, 2):
        parts: dict[str, list[str]] = {"train": [], "test": []}
        for index, action in enumerate(("Archery", "HandstandPushups")):
            for number in range(1, 6):
                clip = group(action, number)
                part = "test" if number == split else "train"
                parts[part].append(f"{clip} {index + 1}" if part == "train" else clip)
                labels[clip.replace(".avi", ".mp4")] = [index] * 5
        for part, lines in parts.items():
            tiny_lists.write(lists / f"{part}list0{split}.txt", "\n".join(lines) + "\n")
    for clip in labels:
        tiny_lists.video(home / "UCF-101" / clip.replace(".mp4", ".avi"), frames=10)
    tiny_lists.vp(home, "ucf101", labels)


def make_vispr(home: Path) -> None:
    """Four photographs a split: two with all of the fourteen attributes, two with none."""
    every = [*ATTRIBUTES["vispr1"], *ATTRIBUTES["vispr2"]]
    for first, part in ((10, "train"), (20, "val"), (30, "test")):
        ids = [f"2017_100000{first + i}" for i in range(4)]
        lines = "".join(f"annotations/{part}2017/{id}.json\n" for id in ids)
        tiny_lists.write(home / f"{part}2017.txt", lines)
        for i, id in enumerate(ids):
            tiny_lists.image(home / f"images/{part}2017/{id}.jpg")
            text = json.dumps({"labels": every if i % 2 else ["a0_safe"]})
            tiny_lists.write(home / f"annotations/{part}2017/{id}.json", text)


def a_run(folder: Path, seen: set[str]) -> None:
    """A run folder as training leaves it, of a small network."""
    folder.mkdir(parents=True)
    values = tiny.values()
    (folder / "config.toml").write_text(to_toml(values))
    network = experiment.build_anonymizer(experiment.resolve(values))
    checkpoint.save(folder / "anonymizer.safetensors", {"f_A": network.state_dict()}, {})
    (folder / experiment.SEEN).write_text("".join(f"{name}\n" for name in sorted(seen)))


def values_of(name: str, cache: Path) -> dict[str, Any]:
    """A protocol file with its sizes lowered, and without rows: what is refused here is refused
    whatever they are."""
    values = {**read_toml(FILES[name]), "rows": []}
    sets = [f"data.{size}" for size in (*SIZES, f'cache="{cache}"', "val_fraction=0.3")]
    if "private" in values:
        sets += [f"private.{size}" for size in (*SIZES, f'cache="{cache}"')]
    return apply_sets(values, sets)


def study_of(name: str, cache: Path, *sets: str) -> Study:
    return resolve_study(apply_sets(values_of(name, cache), list(sets)))


def seen_by(data: Data) -> set[str]:
    """What a run on this data notes in seen.txt."""
    sets = (*data.clips[:2], *(data.private or ())[:2])
    return set().union(*(part.files for part in sets))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, and what the K files would have trained."""
    home = tmp_path_factory.mktemp("protocols")
    make_hmdb51(home / "data/hmdb51")
    make_ucf101(home / "data/ucf101")
    make_vispr(home / "data/vispr")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for name in K:
            seen = seen_by(load_all(study_of(name, home / "cache")))
            for row in LEARNED:
                a_run(home / "runs" / name / "methods" / row, seen)
    return home


@pytest.fixture
def home(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, and we are in it."""
    monkeypatch.chdir(made)
    return made


def copy_of(home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to break, and we are in it."""
    shutil.copytree(home, folder, ignore=shutil.ignore_patterns("cache", "runs"))
    monkeypatch.chdir(folder)
    return folder


def refused(study: Study, folder: Path) -> str:
    """The sentence, and that nothing was trained before it."""
    with pytest.raises(BadInput) as caught:
        list(carry_out(study, folder, workers=1))
    assert {path.name for path in folder.iterdir()} <= {".lock"}
    assert str(caught.value).count(". ") == 0
    return str(caught.value)


# ------------------------------------------------------------------------------- what they are


def test_these_are_the_protocols():
    assert set(FILES) == {*K, *FROM}


@pytest.mark.parametrize("name", FILES)
def test_it_resolves_and_says_how_it_is_run(name: str, home: Path):
    study = resolve_study(read_toml(FILES[name]))
    again = resolve_study(study.values())
    assert again.science() == study.science()
    head = FILES[name].read_text().partition("\ntitle")[0]
    assert f"\n#   velatura evaluate experiments/protocols/{name}.toml\n" in head
    assert "Not run by us yet" in head
    for section in (study.base.data, study.base.private):
        if section and section.name != "vispr1_to_pa_hmdb51":  # checked as vispr1
            root = f"#   velatura data check {section.name} --root {section.config.root}\n"
            assert root in head
    if name in FROM:
        k = FROM[name]
        assert f"\n#   velatura evaluate experiments/protocols/{k}.toml  " in head
        rows = {row.name: row.source for row in study.rows if row.source}
        assert rows == {row: Path(f"runs/{k}/methods/{row}") for row in LEARNED}
        assert set(rows) <= {row["name"] for row in read_toml(FILES[k])["rows"]}
        assert [row.name for row in study.rows if not row.source] == ["raw"]


@pytest.mark.parametrize("name", FROM)
def test_its_examiners_are_those_of_k(name: str):
    """But for how many there are, and, in R, where they start."""
    one, other = (read_toml(FILES[n]) for n in ("k1", name))
    asked = {"seeds", "target_seeds"}
    if name.startswith("r-"):
        asked |= {"start", "start_epochs", "epochs"}
        assert other["evaluation"]["start"] == "raw"  # rung A2
        assert other["evaluation"]["start_epochs"] == one["evaluation"]["epochs"] == 100
    ours, theirs = one.pop("evaluation"), other.pop("evaluation")
    assert {key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key)} <= asked
    kept = {"seed", "batches", "loop"}
    assert set(other) <= {*kept, "title", "data", "private", "rows"}  # nothing is trained
    assert all(one[key] == other[key] for key in kept)


# A file to one whose header counts the same videos, from the same lists.
SAME = {"n1": "k3", "n2": "k2", "n3": "k1", "n4": "k1"}
SAME |= {"r-vispr1": "k1", "r-vispr2": "k1", "r-pa-hmdb51": "k2"}


@pytest.mark.parametrize(("name", "k"), SAME.items())
def test_the_header_counts_what_another_counts(name: str, k: str, home: Path):
    """And test_run_files counts those of K on the official lists."""
    one, other = (read_toml(FILES[n])["data"] for n in (k, name))
    assert {key for key in one if one[key] != other[key]} <= {"name"}
    listings = [
        catalog.source(data["name"]).read(Ask(root=Path(data["root"]), split=data.get("split")))
        for data in (one, other)
    ]
    (mine, theirs) = ([(v.path, v.split, v.group) for v in found.videos] for found in listings)
    assert mine == theirs
    lines = [FILES[n].read_text().splitlines() for n in (k, name)]
    (said, again) = ([line for line in found if line.startswith("#   clips: ")] for found in lines)
    assert len(said) == 1
    assert said == again


# ------------------------------------------------------------------------- no test item is learnt

COUNTS = {
    # clips: train, val, test; then images: train, val, test
    "k1": [6, 2, 2, 4, 4, 4],
    "k2": [8, 4, 4, 4, 4, 24],  # six labelled frames of each of the four videos
    "k3": [8, 2, 4, 4, 4, 4],
    "n1": [8, 2, 4, 4, 4, 4],
    "n2": [8, 4, 4, 4, 4, 24],
    "n3": [6, 2, 2, 4, 4, 4],
    "n4": [6, 2, 2],
    "r-vispr1": [6, 2, 2, 4, 4, 4],
    "r-vispr2": [6, 2, 2, 4, 4, 4],
    "r-pa-hmdb51": [8, 4, 4, 4, 4, 24],
}


@pytest.mark.parametrize("name", FILES)
def test_no_test_item_is_learnt_or_chosen_on(name: str, home: Path):
    data = load_all(study_of(name, home / "cache"))
    parts = [*data.clips, *(data.private or ())]
    assert [len(part) for part in parts] == COUNTS[name]
    for splits in (data.clips, data.bearers):
        seen = splits.train.files | splits.val.files
        assert len(seen) == len(splits.train) + len(splits.val)  # every item has a name
        assert not seen & splits.test.files
        for part in splits:  # what tells a copy, or another clip of the film
            assert {*part.paths} == {*part.films} == part.files
            assert all(path.is_file() for path in part.paths.values())
    assert not seen_by(data) & (data.clips.test.files | data.bearers.test.files)
    assert data.clips.test.files == its_test(name)
    if name in PA:  # frames of four videos
        assert data.bearers.test.files == its_test(name)
    elif data.bearers is not data.clips:
        images = {f"images/test2017/2017_100000{30 + i}.jpg" for i in range(4)}
        assert data.bearers.test.files == images


def its_test(name: str) -> set[str]:
    """The test videos, as the official lists spell them."""
    if name in ("k1", "n3", "n4", "r-vispr1", "r-vispr2"):
        return {group(action, 1) for action in ("Archery", "HandstandPushups")}
    which = [("four", 0), ("five", 0)] if name in PA else [("five", 0), ("both", 1)]
    return {f"{a}/{film(a, *film_)}" for a in ("golf", "pour") for film_ in which}


@pytest.mark.parametrize("name", ["k2", "k3", "n1", "n2", "r-pa-hmdb51"])
def test_films_on_both_sides_stay_unless_asked(
    name: str, home: Path, caplog: pytest.LogCaptureFixture
):
    """As in the official lists; HMDB51's share films, UCF101's do not."""
    study = study_of(name, home / "cache")
    assert study.base.data.config.drop_shared_groups is False
    both = {f"{a}/{film(a, 'both')}" for a in ("golf", "pour")}
    stays, goes = (
        load_all(study_of(name, home / "cache", f"data.drop_shared_groups={drop}")).clips
        for drop in ("false", "true")
    )
    assert both <= stays.train.files | stays.val.files
    if name in PA:  # neither clip of that film is annotated
        assert goes.train.files == stays.train.files
    else:
        assert not both & (goes.train.files | goes.val.files)
        assert "2 of 10 train clips left out: their group is also in test." in caplog.text


# ----------------------------------------------------- a leak is refused before anything is trained


def with_row(name: str, cache: Path, source: Path) -> Study:
    """The protocol with a row from a run somewhere."""
    rows = [{"name": "planted", "from": str(source)}]
    return resolve_study({**values_of(name, cache), "rows": rows})


@pytest.mark.parametrize("name", FILES)
def test_a_row_that_saw_one_test_file_is_refused(name: str, home: Path, tmp_path: Path):
    data = load_all(study_of(name, home / "cache"))
    known = seen_by(data)
    for kind, test in (("clip", data.clips.test), ("image", data.bearers.test)):
        total = len(data.clips.test.files | data.bearers.test.files)
        planted = max(test.files)
        a_run(tmp_path / kind, {*known, planted})
        sentence = refused(with_row(name, home / "cache", tmp_path / kind), tmp_path / f"{kind}s")
        assert sentence == (
            f"Row planted: the run in {tmp_path / kind} was trained on 1 of the {total} files that "
            f"this study tests on, first {planted}; take a run that was not, or another test."
        )


# A protocol to a data set of which some split's training list holds its test, and how many of all
# the files that it tests on are in there.
TRAINED_ON = {
    "n1": ("hmdb51", 2, "4 of the 8"),
    "n2": ("vp_hmdb51", 1, "2 of the 4"),  # K3's, in our miniature as in the official lists
    "n3": ("ucf101", 2, "2 of the 6"),
    "n4": ("ucf101", 2, "2 of the 2"),
    "r-vispr1": ("vp_ucf101", 2, "2 of the 6"),
    "r-vispr2": ("vp_ucf101", 2, "2 of the 6"),
    "r-pa-hmdb51": ("hmdb51", 2, "2 of the 4"),
}


@pytest.mark.parametrize(("name", "trained"), TRAINED_ON.items())
def test_a_row_that_was_trained_on_the_test_split_is_refused(
    name: str, trained: tuple[str, int, str], home: Path, tmp_path: Path
):
    """The same videos under the name of another data set, or of another split."""
    data, split, says = trained
    other = study_of("n1", home / "cache", f"data.name={data}", f"data.split={split}",
                     f"data.root={UCF if 'ucf' in data else HMDB}")  # fmt: skip
    clips = experiment.load_data(other.base)
    a_run(tmp_path / "run", set(clips.train.files | clips.val.files))
    sentence = refused(with_row(name, home / "cache", tmp_path / "run"), tmp_path / "study")
    assert f"{tmp_path / 'run'} was trained on {says} files that this study tests on" in sentence


def test_a_row_that_does_not_say_what_it_saw_is_refused(home: Path, tmp_path: Path):
    a_run(tmp_path / "old", set())
    (tmp_path / "old" / experiment.SEEN).unlink()
    sentence = refused(with_row("n3", home / "cache", tmp_path / "old"), tmp_path / "study")
    assert "old does not say which files it was trained on (it has no seen.txt)" in sentence


def test_rows_that_were_not_trained_yet_are_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name, k in FROM.items():
        with pytest.raises(BadInput, match=rf"runs/{k}/methods/spact is not a run folder"):
            resolve_study(read_toml(FILES[name]))


@pytest.mark.parametrize("name", PA)
def test_a_training_list_with_pa_hmdb51_s_videos_is_refused(name: str, home: Path, tmp_path: Path):
    study = study_of(name, home / "cache", "data.name=hmdb51")
    assert refused(study, tmp_path / "study") == (
        "2 videos that hmdb51 trains on are in the test of vispr1_to_pa_hmdb51, first "
        f"golf/{film('golf', 'four')}; take [data] name = 'pa_hmdb51', which leaves them out, or "
        "set private.leaky = true, which marks every result."
    )
    # Asked for, it is done, and every figure bears the mark.
    data = load_all(study_of(name, home / "cache", "data.leaky=true"))
    assert {part.name.partition("/")[0] for part in data.parts} == {
        "LEAKY: pa_hmdb51", "LEAKY: vispr1_to_pa_hmdb51",
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in FILES if name != "n4"])
def test_photographs_in_val_and_test_are_refused(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = copy_of(home, tmp_path / "copy", monkeypatch) / "data/vispr"
    lines = (copy / "test2017.txt").read_text().replace("/test2017/", "/val2017/")
    tiny_lists.write(copy / "val2017.txt", lines)
    for folder in ("images", "annotations"):
        shutil.rmtree(copy / folder / "val2017")
        shutil.copytree(copy / folder / "test2017", copy / folder / "val2017")
    assert refused(study_of(name, tmp_path / "cache"), tmp_path / "study") == (
        "data/vispr/test2017.txt lists 2017_10000030, which is in val2017.txt too; an image is in "
        "one split: get VISPR's lists and annotations from its page."
    )


@pytest.mark.parametrize("name", FILES)
def test_a_test_video_in_the_training_list_is_refused(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = copy_of(home, tmp_path / "copy", monkeypatch) / "data"
    planted = min(its_test(name))
    if name in ("k3", "n1", *PA):
        path = copy / "hmdb51/testTrainMulti_7030_splits/golf_test_split1.txt"
        line = f"{planted.partition('/')[2]} 1 \n"
    else:
        path, line = copy / "ucf101/ucfTrainTestlist/trainlist01.txt", f"{planted} 1\n"
    tiny_lists.write(path, path.read_text() + line)
    sentence = refused(study_of(name, tmp_path / "cache"), tmp_path / "study")
    video = re.escape(planted.partition("/")[2])
    assert re.search(rf"{video} stands (there|in the lists) twice; remove one line", sentence)


def test_any_data_set_that_chooses_on_its_test_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also one that somebody adds: val is test."""
    monkeypatch.setenv("VELATURA_CACHE", str(tmp_path))

    def named(part: ClipSet, names: set[str]) -> ClipSet:
        return replace(part, files=frozenset(names))

    run = experiment.resolve(tiny.values())
    splits = tiny.noise_splits()
    for files in (({"a"}, {"c"}, {"c", "d"}), ({"d"}, {"b"}, {"c", "d"})):
        planted = Splits(*map(named, splits, files))
        module = plugins.load("data", "people")
        monkeypatch.setattr(module, "load", lambda *_, planted=planted: planted)
        with pytest.raises(BadInput) as caught:
            experiment.load_data(run)
        where, first = ("val", "c") if "c" in files[1] else ("train", "d")
        assert str(caught.value) == (
            f"1 of the 2 files of noise/test are in noise/{where} too, first {first}; give every "
            "file one split."
        )


# ------------------------------------------------------------- the same files under several names


def files_of(name: str, home: Path, root: str, **more: Any) -> set[str]:
    """Every file of a data set's splits."""
    values = {"name": name, "root": root, "height": 24, "width": 32, "workers": 1,
              "cache": str(home / "cache"), **more}  # fmt: skip
    if not name.startswith("vispr"):
        values |= {"val_fraction": 0.3, "drop_shared_groups": False}
    data = experiment.resolve({"data": values}).data
    splits: Splits = plugins.load("data", name).load(data.config)
    return set().union(*(part.files for part in splits))


def test_data_sets_of_the_same_files_name_them_alike(home: Path):
    hmdb = files_of("hmdb51", home, HMDB)
    assert len(hmdb) == 14
    assert files_of("vp_hmdb51", home, HMDB) == hmdb
    unused = {f"{a}/{film(a, 'six')}" for a in ("golf", "pour")}  # in split 1
    assert files_of("pa_hmdb51", home, HMDB) == hmdb | unused
    ucf = files_of("ucf101", home, UCF)
    assert len(ucf) == 10
    assert files_of("vp_ucf101", home, UCF) == ucf
    photographs = files_of("vispr1", home, "data/vispr")
    assert len(photographs) == 12
    assert files_of("vispr2", home, "data/vispr") == photographs


def test_a_copy_that_renames_files_names_them_alike(home: Path, tmp_path: Path):
    """JHMDB's copies write @ for #."""
    for path in (home / HMDB).glob("*/*.avi"):
        there = tmp_path / "hmdb51_org" / path.parent.name / path.name.replace("#", "@")
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, there)
    lists = {"annotations": str(home / "data/hmdb51")}
    for name in ("hmdb51", "vp_hmdb51", "pa_hmdb51"):
        found = files_of(name, home, str(tmp_path / "hmdb51_org"), **lists)
        assert found == files_of(name, home, HMDB)
    values = values_of("n2", home / "cache")
    values["data"] |= {"root": str(tmp_path / "hmdb51_org"), **lists}
    values["private"] |= {"videos": str(tmp_path / "hmdb51_org"), "lists": lists["annotations"]}
    data = load_all(resolve_study(values))
    assert data.clips.test.files == data.bearers.test.files == its_test("n2")


def test_training_notes_the_photographs_that_it_saw(home: Path, tmp_path: Path):
    """And on the way the real thing: a run trained on another split of N1's videos is refused."""
    n1 = values_of("n1", home / "cache")
    run = tiny.values(
        data={**n1["data"], "split": 2}, batches={"batch": 4, "size": 16},
        method={"name": "penalty", "steps": 1},
    )  # fmt: skip
    experiment.train(experiment.resolve({**run, "private": n1["private"]}), tmp_path / "run")
    lines = (tmp_path / "run" / experiment.SEEN).read_text().splitlines()
    assert all(re.fullmatch("[^\t]+\t[0-9a-f]{32}\t[^\t]+", line) for line in lines)
    seen = {line.partition("\t")[0] for line in lines}
    images = {name for name in seen if name.startswith("images/")}
    learnt = {f"images/train2017/2017_100000{10 + i}.jpg" for i in range(4)}
    chosen_on = {f"images/val2017/2017_100000{20 + i}.jpg" for i in range(4)}
    assert images == learnt | chosen_on
    assert its_test("n1") <= seen
    sentence = refused(with_row("n1", home / "cache", tmp_path / "run"), tmp_path / "study")
    assert "was trained on 4 of the 8 files that this study tests on" in sentence
    # What K1 trained passes: the study begins.
    rows = [read_toml(FILES["n1"])["rows"][0]]
    passes = resolve_study({**values_of("n1", home / "cache"), "rows": rows})
    events = carry_out(passes, tmp_path / "passes", workers=1)
    assert list(next(events)) == ["splits"]
    events.close()


# ------------------------------------------------------------------------------------- the page


def test_the_commands_of_the_page_resolve(home: Path):
    """Every line of docs/protocols.md."""
    page = (ROOT / "docs/protocols.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*\| `(experiments/protocols/[\w-]+\.toml)` \|$", page, re.M)
    assert sorted(rows) == sorted(f"experiments/protocols/{name}.toml" for name in FILES)
    lines = re.findall(r"^velatura evaluate (.*)$", page, re.M)
    assert len(lines) == 2
    assert set(lines) <= set(rows)
    for path in lines:  # the others: above
        resolve_study(read_toml(ROOT / path))
