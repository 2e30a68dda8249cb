"""`velatura data`, as a user types it: what is printed, the exit code, a sentence if wrong."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiny_lists as tiny
import typer

from velatura import cli
from velatura.data._lists import catalog, download, hmdb51, pa_hmdb51, ucf101, vispr, vp
from velatura.data._lists.source import Remote
from velatura.data._store.store import Store


@pytest.fixture
def run(capsys):
    """run("check", ...) gives the exit code, stdout and stderr."""

    # Not cli.main: its callback is annotated with a type that typer does not hold to at run
    # time, and under test every annotation is checked.
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("data")(cli._guarded(cli.load("data"), False))

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(args=[str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every data set, tiny, as docs/data.md lays them out."""
    home = tmp_path_factory.mktemp("made") / "data"
    tiny.ucf101(home / "ucf101")
    tiny.pa_hmdb51(home / "hmdb51")
    tiny.vp_hmdb51(home / "hmdb51")
    tiny.vispr(home / "vispr")
    tiny.utkface(home / "utkface")
    tiny.own_images(home / "mine")
    tiny.own_videos(home / "mine")
    return home


@pytest.fixture
def data(made, tmp_path, monkeypatch):
    """A copy to harm; the working folder is its parent."""
    shutil.copytree(made, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def tiny_counts(monkeypatch):
    """The tiny copies' counts as the official ones."""
    monkeypatch.setitem(ucf101.COUNTS, 1, {"train": 6, "test": 3})
    monkeypatch.setitem(hmdb51.COUNTS, 1, {"train": 4, "test": 2})
    monkeypatch.setitem(pa_hmdb51.COUNTS, 0, {"train": 3, "test": 3})
    monkeypatch.setitem(vispr.COUNTS, 0, {"train": 2, "val": 2, "test": 2})
    two = {"a4_gender": 1, "a9_face_complete": 1}
    for part in ("train", "test"):
        monkeypatch.setitem(vispr.POSITIVES, part, two)
    monkeypatch.setitem(vp.POSITIVES["hmdb51"], "skin_color", 6)
    for name, count in (("face", 2), ("gender", 2), ("nudity", 2), ("relationship", 0)):
        monkeypatch.setitem(vp.POSITIVES["hmdb51"], name, count)


# ------------------------------------------------------------------------------- list and get


def test_list(run):
    code, out, err = run("list")
    assert (code, err) == (0, "")
    names = [line.split()[0] for line in out.splitlines() if re.match("[a-z]", line)]
    assert names == [source.name for source in catalog.sources()]
    assert out.count("licence: ") == len(names)
    code, out, err = run("list", "--json")
    assert [row["name"] for row in json.loads(out)] == names


def test_get_by_hand(run):
    code, out, err = run("get", "hmdb51")
    assert (code, err) == (0, "")
    assert "licence: CC BY 4.0" in out
    assert "page:    https://serre-lab.clps.brown.edu/" in out
    assert "testTrainMulti_7030_splits" in out
    assert out.splitlines()[-1] == (
        "Nothing was fetched: no file of it has a known address and checksum."
    )


@pytest.fixture
def served(tmp_path, monkeypatch):
    """VP-HMDB51's label file on a server of this machine; gives its bytes."""
    body = b"labels" * 1000
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "labels.pickle").write_bytes(body)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        remote = Remote(
            name="labels.pickle",
            url=f"http://127.0.0.1:{server.server_port}/labels.pickle",
            sha256=hashlib.sha256(body).hexdigest(),
        )
        source = replace(catalog.source("vp_hmdb51"), files=(remote,))
        monkeypatch.setattr(catalog, "source", lambda name: source)
        yield body
        server.shutdown()
        thread.join()


def test_get_downloads_what_can_be_checked(run, tmp_path, served):
    code, out, err = run("get", "vp_hmdb51", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert (tmp_path / "out" / "labels.pickle").read_bytes() == served
    assert "licence: no licence stated" in out
    assert out.endswith("labels.pickle: there, checksum right.\n")
    code, out, err = run("get", "vp_hmdb51", "--out", tmp_path / "out", "--json")
    assert json.loads(out)["files"] == [str(tmp_path / "out" / "labels.pickle")]


def test_get_refuses_another_file(run, tmp_path, served):
    (tmp_path / "served" / "labels.pickle").write_bytes(b"changed")
    code, out, err = run("get", "vp_hmdb51", "--out", tmp_path / "out")
    assert code == 1
    assert re.fullmatch(r"Error: http\S+ gave a file with sha256 .*; it was removed.*\n", err)
    assert list((tmp_path / "out").iterdir()) == []


def test_get_asks_where_to(run):
    assert run("get", "vp_hmdb51") == (2, "", "Error: Say where vp_hmdb51 goes: --out DIR.\n")


# --------------------------------------------------------------------------------------- check


COMPLETE = {
    "ucf101": "ucf101/UCF-101",
    "hmdb51": "hmdb51/hmdb51_org",
    "vp_hmdb51": "hmdb51/hmdb51_org",
    "pa_hmdb51": "hmdb51/hmdb51_org",
    "vispr1": "vispr",
    "utkface": "utkface",
}


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_copy_has_nothing_wrong(run, data, tiny_counts, name):
    code, out, err = run("check", name, "--root", data / COMPLETE[name])
    assert (code, err) == (0, ""), out
    assert "wrong" not in out.replace("Nothing is wrong.", "")
    assert "Nothing is wrong." in out
    assert "A SUBSET" not in out
    assert re.search(r"ok    All \d+ files of the lists are there\.\n", out)
    assert re.search(r"ok    Whole and readable: \d+ files\.\n", out)


@pytest.mark.parametrize("name", COMPLETE)
def test_official_counts_are_expected(run, data, name):
    """Tiny copies are not the data sets; UTKFace alone has no official count."""
    code, out, err = run("check", name, "--root", data / COMPLETE[name], "--names-only")
    assert (code, err) == (0 if name == "utkface" else 1, "")
    assert ("wrong The lists differ from the official ones: " in out) is (name != "utkface")
    assert "Whole and readable" not in out


def test_the_page(run, data, tiny_counts):
    (data / "hmdb51/hmdb51_org/pour" / tiny.POUR[1]).unlink()
    code, out, err = run("check", "vp_hmdb51", "--root", data / "hmdb51/hmdb51_org")
    assert (code, err) == (1, "")
    lines = [line.rstrip() for line in out.splitlines()]
    lines[1] = re.sub("root: .*data/", "root: ", lines[1])
    assert lines == [
        "VP-HMDB51: five private attributes of HMDB51's 6766 clips",
        "root: hmdb51/hmdb51_org",
        "A SUBSET: 5 files there; 5 of the 6 listed are among them.",
        "split  official  listed  here  films or subjects",
        "train         4       4     3                  2",
        "test          2       2     2                  2",
        "attribute, % of files here  train   test",
        "skin_color                  100.0  100.0",
        "face                         33.3    0.0",
        "gender                        0.0  100.0",
        "nudity                       66.7    0.0",
        "relationship                  0.0    0.0",
        "chance cMAP                  40.0   40.0",
        "ok    The lists have the official counts: 4 train, 2 test.",
        "ok    Every attribute is as frequent as in the published labels.",
        "wrong A subset: 5 files are there, 5 of them among the 6 listed; missing: 1. "
        "-> unpack the rest, or use it as a subset and say so",
        f"      pour/{tiny.POUR[1]}",
        "ok    Whole and readable: 5 files.",
        "note  Had by no file of train or test, or by all: 5 of 5 attributes; no attacker can be "
        "trained or measured on these. -> train with attributes = [...] without them",
        "      skin_color",
        "      face",
        "      gender",
        "      ... and 2 more",
        "Something is wrong: see above. --json has every name.",
    ]


def test_json_has_every_name(run, data, tiny_counts):
    root = data / "ucf101/UCF-101"
    for path in root.glob("Archery/*"):
        path.unlink()
    code, out, err = run("check", "ucf101", "--root", root, "--json")
    answer = json.loads(out)
    assert (code, err, answer["ok"], answer["subset"]) == (1, "", False, True)
    assert (answer["files"], answer["listed"], answer["here"]) == (3, 9, 3)
    assert [p["split"] for p in answer["parts"]] == ["train", "test"]
    assert [p["here"] for p in answer["parts"]] == [2, 1]
    (wrong,) = (f for f in answer["findings"] if f["status"] == "wrong")
    assert len(wrong["names"]) == 6


def test_unreadable_missing_and_extra_files_are_named(run, data, tiny_counts):
    root = data / "hmdb51/hmdb51_org"
    (root / "pour/holiday.avi").write_bytes(b"")
    whole = tiny.video(root / "golf" / tiny.ODD, 20)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (root / "golf" / tiny.GOLF[0]).rename(root / "golf/renamed.avi")
    code, out, err = run("check", "hmdb51", "--root", root)
    assert (code, err) == (1, "")
    assert "Not readable to the end: 2 of 5 files. -> unpack these again" in out
    said = rf"      golf/{re.escape(tiny.ODD)}: damaged: \d+ of 20 frames decode, then .*\n"
    assert re.search(said, out)
    assert "      pour/holiday.avi: empty file\n" in out
    assert "missing: 1. -> unpack the rest, or use it as a subset and say so\n" in out
    assert f"subset and say so\n      golf/{tiny.GOLF[0]}\n" in out
    assert "note  In no list, and not used: 1 file.\n      golf/renamed.avi\n" in out


def test_the_root_one_folder_too_high(run, data, tiny_counts):
    code, out, err = run("check", "hmdb51", "--root", data / "hmdb51", "--annotations",
                         data / "hmdb51")  # fmt: skip
    assert (code, err) == (1, "")
    assert "None of the 6 listed files is there; expected" in out
    assert f"-> use --root {data / 'hmdb51/hmdb51_org'}\n" in out


def test_files_without_labels(run, data, tiny_counts):
    labels = {f"golf/{name[:-4]}.mp4": (1, 0, 0, 0, 0) for name in tiny.GOLF[:2]}
    tiny.vp(data / "hmdb51", "hmdb51", labels)
    root = data / "hmdb51/hmdb51_org"
    code, out, err = run("check", "vp_hmdb51", "--root", root, "--names-only")
    assert code == 1
    assert "wrong Without labels: 2 of 4 files in train. -> add their labels" in out
    assert "note  No test file has labels." in out
    assert "wrong The labels differ from the published ones: 2 of skin_color in all instead of" in (
        out
    )


def test_labels_of_your_own(run, data, tiny_counts):
    rows = [
        {"video": f"{action}/{name}", "attributes": {"hat": int(i < 1)}}
        for action, names in (("golf", tiny.GOLF), ("pour", tiny.POUR))
        for i, name in enumerate(names)
    ]
    path = tiny.write(data / "hats.jsonl", "\n".join(map(json.dumps, rows)))
    root = data / "hmdb51/hmdb51_org"
    code, out, err = run("check", "hmdb51", "--root", root, "--names-only", "--labels", path)
    assert (code, err) == (0, "")
    assert re.search(r"hat +50\.0 +0\.0\n", out)


def test_a_film_on_both_sides(run, data, tiny_counts):
    """In an official list it is to be known; in one's own it is to be mended."""
    lists = data / "hmdb51/testTrainMulti_7030_splits/golf_test_split1.txt"
    lists.write_bytes(lists.read_bytes().replace(b"goo_1.avi 1", b"goo_1.avi 2"))
    root = data / "hmdb51/hmdb51_org"
    code, out, err = run("check", "hmdb51", "--root", root, "--names-only")
    assert "note  In train and in test: 1 of 4 films or subjects, in the official lists." in out
    assert "      My_golf_swing\n" in out

    photos = data / "mine/photos.csv"
    photos.write_text(photos.read_text().replace("a/2.jpg,test", "a/2.jpg,train"))
    code, out, err = run("check", "images", "--root", data / "mine/photos", "--annotations", photos)
    assert (code, err) == (1, "")
    assert "wrong In train and in test: 1 of 2 films or subjects. -> give all files" in out


def test_val_is_carved_by_group(run, data, tiny_counts):
    root = data / "ucf101/UCF-101"
    code, out, err = run("check", "ucf101", "--root", root, "--names-only", "--val", "0.4")
    assert (code, err) == (0, "")
    # Of each class's two groups in train, one goes to val.
    assert re.search(r"train +- +3 +3 +2\nval +- +3 +3 +2\ntest +- +3 +3 +2\n", out)
    assert "In train and in val" not in out


def test_the_leaky_list_is_marked(run, data):
    root = data / "hmdb51/hmdb51_org"
    clean = run("check", "pa_hmdb51", "--root", root, "--names-only")[1]
    code, out, err = run("check", "pa_hmdb51", "--root", root, "--names-only", "--leaky")
    assert "LEAKY" not in clean
    assert "LEAKY: test videos stand in the training list.\n" in out
    assert "note  LEAKY: 3 of the 3 test videos are in the training list too.\n" in out


def test_own_videos(run, data):
    words = ["--root", data / "mine/videos", "--annotations", data / "mine/videos.jsonl"]
    code, out, err = run("check", "folder", *words)
    assert (code, err) == (0, "")
    (data / "mine/videos/golf/1.mp4").unlink()
    (data / "mine/videos/pour/2.mp4").write_bytes(b"no video")
    code, out, err = run("check", "folder", *words)
    assert (code, err) == (1, "")
    assert "as a subset and say so\n      golf/1.mp4\n" in out
    assert "      pour/2.mp4: cannot be read as a video" in out


def test_names_that_cannot_be_printed(run, data, tiny_counts):
    """A name in another encoding, and one that would steer the terminal."""
    folder = data / "ucf101/UCF-101/Archery"
    (folder / "\x1b[31m\n.avi").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xe9.avi")).write_bytes(b"")
    root = data / "ucf101/UCF-101"
    code, out, err = run("check", "ucf101", "--root", root, "--names-only")
    assert (code, err) == (0, "")
    assert "      Archery/\\x1b[31m\\n.avi\n      Archery/\\udce9.avi\n" in out
    assert run("check", "ucf101", "--root", root, "--names-only", "--json")[0] == 0


def test_quick_says_what_it_did_not_do(run, data, tiny_counts):
    root = data / "hmdb51/hmdb51_org"
    whole = tiny.video(root / "golf" / tiny.ODD, 20)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    code, out, err = run("check", "hmdb51", "--root", root, "--quick")
    assert (code, err) == (0, "")
    assert "note  Opened, not read to the end: 6 files.\n" in out
    assert "Whole and readable" not in out
    (root / "pour/holiday.avi").write_bytes(b"")
    code, out, err = run("check", "hmdb51", "--root", root, "--quick", "--workers", "2")
    assert (code, err) == (1, "")
    assert "wrong Cannot be opened: 1 of 6 files. -> unpack these again\n" in out
    assert (
        "wrong Not readable to the end: 2 of 6 files." in run("check", "hmdb51", "--root", root)[1]
    )


def test_lists_that_training_could_not_use(run, data):
    """One side alone, one class, a class that is only asked for, an attribute that says nothing."""
    path, root = data / "mine/videos.jsonl", data / "mine/videos"
    rows = [json.loads(line) for line in path.read_text().splitlines()]

    def check(rows):
        path.write_text("\n".join(map(json.dumps, rows)))
        words = ["--root", root, "--annotations", path, "--names-only"]
        return run("check", "folder", *words)

    code, out, _ = check(rows)
    assert (code, "wrong No file" in out) == (0, False)
    code, out, _ = check([{**row, "split": "train"} for row in rows])
    assert code == 1
    assert (
        "wrong No file is in test, so nothing can be measured on. -> give whole groups the" in out
    )
    assert "Nothing is wrong" not in out
    code, out, _ = check([{**row, "split": "test"} for row in rows])
    assert code == 1
    assert "wrong No file is in train, so nothing can be learnt from." in out
    code, out, _ = check([row for row in rows if row["video"].startswith("golf")])
    assert code == 1
    assert "wrong There is one class only, golf; actions need two." in out
    moved = [{**r, "split": "test"} if r["video"].startswith("pour") else r for r in rows]
    code, out, _ = check(moved)
    assert code == 1
    assert "wrong Without training videos: 1 of 2 classes. -> add some, or leave" in out
    code, out, _ = check([{**row, "attributes": {"face": 1}} for row in rows])
    assert code == 0
    assert "note  Had by no file of train or test, or by all: 1 of 1 attributes;" in out


def test_one_file_is_not_called_files(run, data):
    folder = data / "one"
    shutil.copytree(data / "mine/videos/golf", folder / "golf")
    line = json.dumps({"video": "golf/0.mp4", "split": "train", "attributes": {"face": 1}})
    path = tiny.write(data / "one.jsonl", line)
    out = run("check", "folder", "--root", folder, "--annotations", path, "--names-only")[1]
    assert "ok    The one file of the lists is there.\n" in out


def test_attributes_that_steer_the_terminal(run, data):
    path = data / "mine/videos.jsonl"
    path.write_text(path.read_text().replace('"face"', '"\\u001b[31m[bold]face"'))
    words = ["--root", data / "mine/videos", "--annotations", path, "--names-only"]
    code, out, _ = run("check", "folder", *words)
    assert code == 0
    assert "\x1b" not in out
    assert "\\x1b[31m[bold]face" in out


@pytest.mark.parametrize("spelling", ["official", "of the copy"])
def test_labels_by_either_name(run, data, tiny_counts, spelling):
    """A copy that writes @ for # and &, as JHMDB's; labels with its names, or with the lists'."""
    root = data / "hmdb51/hmdb51_org"
    copied = tiny.ODD.translate({ord("#"): "@", ord("&"): "@"})
    (root / "golf" / tiny.ODD).rename(root / "golf" / copied)
    names = [tiny.ODD if spelling == "official" else copied, *tiny.GOLF[:2]]
    rows = [{"video": f"golf/{name}", "attributes": {"hat": 1}} for name in names]
    rows += [{"video": f"pour/{name}", "attributes": {"hat": 0}} for name in tiny.POUR]
    path = tiny.write(data / "hats.jsonl", "\n".join(map(json.dumps, rows)))
    words = ["check", "hmdb51", "--root", root, "--names-only", "--labels", path]
    code, out, err = run(*words)
    assert (code, err) == (0, ""), out
    assert "There under the names of a known copy: 1 file." in out
    assert re.search(r"hat +50\.0 +50\.0\n", out)


def test_an_interrupted_download_says_how_to_go_on(run, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "download", stop)
    code, out, err = run("get", "vp_ucf101", "--out", tmp_path)
    assert code == 130
    assert err == "Interrupted; what came is kept, run the same command to go on.\n"


WRONG = {
    "lst": "No `velatura data` action named 'lst'. Did you mean 'list'? Available: check, get, "
    "list, prepare.",
    "check": "`velatura data check` needs a name; `velatura data list` has them.",
    "check ucf10": "No data set named 'ucf10'. Did you mean 'ucf101'? Available: folder, hmdb51, "
    "images, pa_hmdb51, ucf101, utkface, vispr1, vispr2, vp_hmdb51, vp_ucf101.",
    "check ucf101": "Say where ucf101 is: --root DIR, the folder with its files.",
    "check ucf101 --root no": "There is no folder no; name the one with the files, with --root.",
    "check ucf101 --root data/ucf101/UCF-101 --split 4": "ucf101 has splits 1, 2, 3, so there is "
    "no split 4.",
    "check utkface --root data/utkface --split 1": "utkface has one list only, so there is no "
    "split 1.",
    "check ucf101 --root data/ucf101/UCF-101 --val 0.5": "--val is a share of train below 0.5, "
    "not 0.5.",
    "check ucf101 --root data/ucf101/UCF-101 --leaky": "--leaky is for pa_hmdb51; ucf101 has one "
    "training list only.",
    "check images --root data/mine/photos": "`images` needs --annotations FILE, the CSV or JSONL "
    "file of attributes.",
    "check folder --root data/mine/videos": "`folder` needs --annotations FILE, with one line of "
    "JSON per video.",
    "check ucf101 --root data/utkface --annotations data/utkface": "No classInd.txt in "
    "data/utkface; unpack UCF101TrainTestSplits-RecognitionTask.zip from the UCF101 page beside "
    "the videos, and name its folder with --annotations (`velatura floors` takes it with --root).",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_a_user_gets_wrong_is_one_sentence(run, data, line):
    assert run(*line.split()) == (2, "", f"Error: {WRONG[line]}\n")


def test_through_the_command_line_itself(data):
    """The exit codes and streams of a real process; utkface is complete, and one is cut."""
    command = [sys.executable, "-W", "error", "-m", "velatura", "data", "check", "utkface"]
    done = subprocess.run([*command, "--root", "data/utkface"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Nothing is wrong. --json has every name.\n")
    next((data / "utkface").iterdir()).write_bytes(b"")
    done = subprocess.run([*command, "--root", "data/utkface"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "Not readable to the end: 1 of 40 files." in done.stdout
    done = subprocess.run([*command, "--root", "nowhere"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


# ---------------------------------------------------------------------------- docs, real data


def test_prepare_decodes_what_is_there_and_goes_on(run, data):
    words = ("prepare", "vp_hmdb51", "--root", "data/hmdb51/hmdb51_org", "--out", "out")
    code, out, err = run(*words, "--short-side", "16", "--json")
    answer = json.loads(out)
    assert (code, answer["reused"], answer["skipped"]) == (0, 0, {})
    assert answer["decoded"] > 0
    assert err.startswith(f"{answer['decoded']} videos to decode, 0 there already. 0.00 GB to ")
    code, out, _ = run(*words, "--short-side", "16")
    assert (code, out.split(",")[0]) == (0, "out: 0 videos decoded")
    assert f" {answer['decoded']} kept, " in out
    stored = Store.open("out")
    assert stored.window(next(iter(stored.videos)), [0, 1]).shape == (2, 3, 16, 21)


def test_images_are_prepared_too(run, data):
    code, out, _ = run("prepare", "utkface", "--root", "data/utkface", "--out", "out")
    assert code == 0
    stored = Store.open("out")
    assert out.startswith(f"out: {len(stored)} images decoded, 0 kept, ")
    assert {video.frames for video in stored.videos.values()} == {1}


def test_the_hint_of_prepare_is_the_command_that_finds_out(run, data):
    words = ["--root", "data/utkface", "--annotations", "data/hmdb51", "--out", "out"]
    code, _, err = run("prepare", "hmdb51", *words)
    hint = "`velatura data check hmdb51 --root data/utkface --annotations data/hmdb51`"
    assert (code, hint in err) == (2, True), err


def test_preparing_a_leaky_list_counts_a_video_once(run, data):
    words = ["--root", "data/hmdb51/hmdb51_org", "--out", "out", "--leaky"]
    code, _, err = run("prepare", "pa_hmdb51", *words)
    assert code == 0
    assert err.startswith("6 videos to decode, 0 there already. ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("hmdb51 --root data/hmdb51/hmdb51_org", "Say where the prepared videos go: --out DIR."),
        ("hmdb51 --out out", "Say where hmdb51 is: --root DIR, the folder with its files."),
        (
            "hmdb51 --root data/hmdb51/hmdb51_org --out out --form png",
            "No form named 'png'. Available: jpeg, raw.",
        ),
    ],
)
def test_what_cannot_be_prepared(run, data, words, says):
    code, _, err = run("prepare", *words.split())
    assert (code, err) == (2, f"Error: {says}\n")


def test_the_commands_of_the_page_run(run, data, tiny_counts, monkeypatch):
    """Every line of docs/data.md, on tiny copies that lie as the page says."""
    fetched = []
    monkeypatch.setattr(
        download, "download", lambda remote, folder, **_: fetched.append(remote) or folder
    )
    page = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    lines = re.findall(r"^velatura data (.*)$", page, re.M)
    assert len(lines) == 12
    for line in lines:
        code, out, err = run(*shlex.split(line))
        assert code == 0, f"{line}\n{out}{err}"
        assert not err or line.startswith("prepare"), err
    assert [remote.name for remote in fetched] == ["hmdb51_privacy_attribute_label.pickle"]


def test_the_shared_subset_is_said_to_be_one(run):
    shared = tiny.real("hmdb51_jhmdb", "annotations")
    code, out, err = run(
        *("check", "hmdb51", "--root", shared / "hmdb51_jhmdb/videos"),
        *("--annotations", shared / "annotations/hmdb51_splits", "--names-only"),
    )
    assert (code, err) == (1, "")
    assert len(out.splitlines()) < 40
    assert "A SUBSET: 928 files there; 922 of the 6766 listed are among them.\n" in out
    assert "listed; missing: 5844. -> " in out
    assert "ok    The lists have the official counts: 3570 train, 1530 test, 1666 unused.\n" in out
    assert re.search(r"train +3570 +3570 +665 ", out)
    assert re.search(r"test +1530 +1530 +257 ", out)
    assert "note  In no list, and not used: 6 files.\n" in out
