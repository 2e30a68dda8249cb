"""What a user gets wrong, through the command line: one sentence, the right code, nothing lost.

The table is the list of what may be wrong: keys, types, ranges, names, folders, checkpoints,
data, devices. Every line is run as a user would type it, and afterwards every file that was
there before is there as it was.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from training import tiny

from velatura import experiment
from velatura.config import to_toml
from velatura.training import checkpoint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run file and the finished run that was made from it."""
    root = tmp_path_factory.mktemp("made")
    (root / "run.toml").write_text(to_toml(tiny.values(method={"steps": 2})))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VELATURA_CACHE", str(root / "cache"))
        run = experiment.resolve(experiment.read_toml(root / "run.toml"))
        experiment.train(run, root / "runs" / "done")
    return root


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of one's own: run.toml, and runs/done, finished."""
    (tmp_path / "runs" / "done").mkdir(parents=True)
    (tmp_path / "run.toml").write_bytes((made / "run.toml").read_bytes())
    for name in ("config.toml", "log.jsonl", "checkpoint.safetensors", "anonymizer.safetensors"):
        source = made / "runs" / "done" / name
        (tmp_path / "runs" / "done" / name).write_bytes(source.read_bytes())
    (tmp_path / "runs" / "done" / "raw").symlink_to(made / "runs" / "done" / "raw")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VELATURA_CACHE", str(made / "cache"))
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def nothing(here: Path) -> None:
    """The folder as it is."""


@dataclass(frozen=True)
class Case:
    """What is prepared, what is typed, and what comes back."""

    words: str
    sentence: str
    prepare: Callable[[Path], None] = nothing
    code: int = 2
    makes: bool = False  # whether the run may already have made files of its own


DONE = "runs/done"
TRAIN = "train run.toml --out new"


def unfinished(here: Path) -> None:
    (here / DONE / "anonymizer.safetensors").unlink()


def cut_checkpoint(here: Path) -> None:
    unfinished(here)
    path = here / DONE / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:3000])


def flip_checkpoint(here: Path) -> None:
    unfinished(here)
    path = here / DONE / "checkpoint.safetensors"
    data = bytearray(path.read_bytes())
    data[-2000] ^= 4
    path.write_bytes(data)


def other_checkpoint(here: Path) -> None:
    """Of the same method with a wider network."""
    unfinished(here)
    path = here / DONE / "checkpoint.safetensors"
    state, about = checkpoint.load(path)
    first = next(name for name, w in state["f_A"].items() if w.ndim == 4)
    state["f_A"][first] = torch.zeros(8, 12, 3, 3)
    checkpoint.save(path, state, about)


def other_method(here: Path) -> None:
    unfinished(here)
    path = here / DONE / "checkpoint.safetensors"
    state, about = checkpoint.load(path)
    del state["optimizer_TB"]
    checkpoint.save(path, state, about)


def no_checkpoint(here: Path) -> None:
    unfinished(here)
    (here / DONE / "checkpoint.safetensors").write_bytes(b"")


def widen(here: Path) -> None:
    path = here / DONE / "config.toml"
    path.write_text(path.read_text().replace("width = 4", "width = 8"))


def cut_product(here: Path) -> None:
    path = here / DONE / "anonymizer.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def no_toml(here: Path) -> None:
    (here / "run.toml").write_text("seed = = 3\n")


def no_text(here: Path) -> None:
    (here / "run.toml").write_bytes(b"\xff\xfe\x00")


def videos(**label: Any) -> Callable[[Path], None]:
    """A folder of videos for which the annotations already say that nothing can be learnt."""

    def prepared(here: Path) -> None:
        lines = []
        for number in range(6):
            action = label.get("action", ("golf", "pour")[number % 2])
            name = f"{action}/{number}.avi"
            (here / "videos" / action).mkdir(parents=True, exist_ok=True)
            (here / "videos" / name).write_bytes(b"")
            split = ("train", "train", "val", "val", "test", "test")[number]
            face = label.get("face", number % 2)
            lines.append({"video": name, "split": split, "attributes": {"face": face}})
        text = "\n".join(map(json.dumps, lines))
        (here / "videos" / "annotations.jsonl").write_text(text)
        values = tiny.values()
        place = {
            "root": str(here / "videos"),
            "annotations": str(here / "videos/annotations.jsonl"),
        }
        values["data"] = {"name": "folder", **place}
        (here / "run.toml").write_text(to_toml(values))

    return prepared


def study(here: Path) -> None:
    """A study's folder, with its configuration."""
    (here / "study.toml").write_text((here / "run.toml").read_text())
    (here / "runs" / "study").mkdir()
    (here / "runs" / "study" / "config.toml").write_text("title = 'mine'")


CASES = {
    # What stands in the run file, or after --set.
    "unknown key": Case(
        f"{TRAIN} --set method.bond=0.3",
        r"Unknown key method\.bond\. Did you mean method\.bound\? Known keys: bound, .*\.",
    ),
    "unknown section": Case(
        f"{TRAIN} --set metod.bound=0.3",
        r"No section named 'metod'\. Did you mean 'method'\? Available: .*\.",
    ),
    "unknown name": Case(
        f"{TRAIN} --set method.name=penalti",
        r"No method plug-in named 'penalti'\. Did you mean 'penalty'\? Available: .*\.",
    ),
    "a name that is a number": Case(
        f"{TRAIN} --set method.name=3", r"method\.name: expected a text, got 3\."
    ),
    "a name that leads out": Case(
        f"{TRAIN} --set method.name=os.path",
        r"No method plug-in named 'os\.path'\. .*Available: .*\.",
    ),
    "wrong type": Case(f"{TRAIN} --set method.steps=many", r"method\.steps: .*, got 'many'\."),
    "a date": Case(f"{TRAIN} --set method.steps=2020-01-01", r"method\.steps: .*, got .*\."),
    "an unknown benchmark": Case("bench tran", r"No benchmark named 'tran'\. Did you mean .*"),
    "out of range": Case(f"{TRAIN} --set method.bound=-1", r"method\.bound: .*, got -1\."),
    "not a number": Case(f"{TRAIN} --set method.bound=nan", r"method\.bound: .*, got nan\."),
    "negative seed": Case(f"{TRAIN} --set seed=-1", r"seed: expected a whole number of at .* -1\."),
    "a section that is a value": Case(
        f"{TRAIN} --set method=penalty", r"method: expected a section \[method\], got 'penalty'\."
    ),
    "no key in --set": Case(f"{TRAIN} --set method.bound", r"--set '.*': expected key=value, .*\."),
    "a value used as a section": Case(
        f"{TRAIN} --set seed.x=3", r"--set 'seed\.x=3': seed is a value, not a section\."
    ),
    "a network in another role": Case(
        f"{TRAIN} --set anonymizer.name=clip_cnn --set anonymizer.width=8",
        r"clip_cnn cannot be used as anonymizer; these can: .*gated_unet.*\.",
    ),
    "a fixed filter": Case(
        "train new.toml --out new", r"blur is a fixed filter with nothing to learn; .*\.",
        lambda here: void((here / "new.toml").write_text(to_toml(tiny.values("blur")))),
    ),
    # The run file itself.
    "no run file": Case("train none.toml", r"No run file at none\.toml; .*\."),
    "no name": Case("train", r"Name a run file; .*\."),
    "a folder for a file": Case("train runs", r"runs is a folder; name the TOML file inside it\."),
    "not TOML": Case(TRAIN, r"run\.toml is not TOML: .*line 1.*\.", no_toml),
    "not text": Case(TRAIN, r"run\.toml is not TOML: .*\.", no_text),
    # Folders.
    "a folder that holds a run": Case(
        f"train run.toml --out {DONE}",
        rf"{DONE} holds a run already; continue it with --resume, or name another folder .*\.",
    ),
    "a run of another configuration": Case(
        f"train run.toml --out {DONE} --resume --set method.steps=3",
        rf"{DONE} holds a run of another configuration \(see .*config\.toml\); .* with --out\.",
    ),
    "a folder that holds a study": Case(
        "evaluate study.toml", r"runs/study holds a study already; continue it with --resume, .*\.",
        study,
    ),
    # Checkpoints.
    "a truncated checkpoint": Case(
        f"train run.toml --out {DONE} --resume",
        r".*checkpoint\.safetensors is damaged or truncated \(.*\); restore it from a copy or .*\.",
        cut_checkpoint,
    ),
    "a damaged checkpoint": Case(
        f"train run.toml --out {DONE} --resume",
        r".*checkpoint\.safetensors is damaged or truncated \(its checksum differs\); restore .*\.",
        flip_checkpoint,
    ),
    "an empty checkpoint": Case(
        f"train run.toml --out {DONE} --resume",
        r".*checkpoint\.safetensors is damaged or truncated \(.*\); .*\.", no_checkpoint,
    ),
    "a checkpoint of another architecture": Case(
        f"train run.toml --out {DONE} --resume",
        r".*checkpoint\.safetensors \(f_A\) holds another architecture than FrameAnonymizer: 0 "
        r"tensors missing, 0 unexpected, 1 of another shape .*\.", other_checkpoint, makes=True,
    ),
    "a checkpoint of another method": Case(
        f"train run.toml --out {DONE} --resume",
        r".*checkpoint\.safetensors holds no 'optimizer_TB': it is of another method; .*\.",
        other_method, makes=True,
    ),
    "weights of another architecture": Case(
        f"evaluate {DONE}", r".*anonymizer\.safetensors holds another architecture .*\.", widen
    ),
    "damaged weights": Case(
        f"evaluate {DONE}", r".*anonymizer\.safetensors is damaged or truncated .*\.", cut_product
    ),
    "a run that has not finished": Case(
        f"evaluate {DONE}", rf"The run in {DONE} has not finished; continue .*\.", unfinished
    ),
    "a folder without a run": Case("evaluate runs", r"runs is not a run folder: .*\."),
    "no folder": Case("evaluate none", r"No run file at none; .*\."),
    "no study": Case("report runs", r"runs holds no summary\.json; .*\."),
    # Data.
    "a batch larger than the data": Case(
        f"{TRAIN} --set batches.batch=500",
        r"batches\.batch is 500 but people/train has 16 clips; set it to at most 16\.", makes=True,
    ),
    "a batch of one": Case(
        f"{TRAIN} --set batches.batch=1", r"batches\.batch is 1, .*at least 2.*\.", makes=True
    ),
    "a window larger than the picture": Case(
        f"{TRAIN} --set batches.size=48",
        r"A window of 48 px does not fit the pictures of people/train, 24 x 24 px; lower .*\.",
        makes=True,
    ),
    "data of one class": Case(
        TRAIN, r"At least two classes are needed; there is only 'golf'\.", videos(action="golf"),
        makes=True,
    ),
    "an attribute without positives": Case(
        TRAIN, r"Attribute 'face' has no positive train clip, .*\.", videos(face=0), makes=True
    ),
    "an attribute without negatives": Case(
        TRAIN, r"Attribute 'face' has no negative train clip, .*\.", videos(face=1), makes=True
    ),
    # Studies.
    "an examiner's seed that is taken": Case(
        "evaluate run.toml --set evaluation.seeds=[0,99]",
        r"evaluation\.seeds\.1: Input should be less than 99, got 99\.",
    ),
    "an unknown attacker": Case(
        'evaluate run.toml --set evaluation.attackers=["frame_cn"]',
        r"No attacker plug-in named 'frame_cn'\. Did you mean 'frame_cnn'\? Available: .*\.",
    ),
    "an unknown section of a study": Case(
        "evaluate run.toml --set evalution.epochs=3",
        r"No section named 'evalution'\. Did you mean 'evaluation'\? Available: .*rows.*\.",
    ),
    "an unknown target": Case(
        'evaluate run.toml --set evaluation.targets=["r3d"]', r"No model plug-in named 'r3d'\..*\."
    ),
    "an unknown key of the demo": Case(
        "demo --quick --out new --set evaluation.epoch=3",
        r"Unknown key evaluation\.epoch\. Did you mean evaluation\.epochs\? Known keys: .*\.",
    ),
    "a row without a method": Case(
        "evaluate run.toml --set rows=[{name='x'}]", r"rows\[0\]: expected the keys name, .*\."
    ),
    "a row with a path for a name": Case(
        "evaluate run.toml --set rows=[{name='../x',method={name='blur'}}]",
        r"rows\[0\]: the name '\.\./x' becomes a folder; use letters, digits, \. _ -",
    ),
    "two rows of one name": Case(
        "evaluate run.toml --set rows=[{method={name='blur'}},{method={name='blur'}}]",
        r"Two rows are named 'blur'; give each a name of its own\.",
    ),
}  # fmt: skip
if not torch.cuda.is_available():
    CASES["a GPU that is not there"] = Case(
        f"{TRAIN} --set loop.device=cuda",
        r"device is 'cuda' but PyTorch sees no GPU; set loop\.device to 'cpu' or 'auto', .*\.",
    )


def void(value: object) -> None:
    """For a lambda that is called for its effect."""


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_one_sentence_and_nothing_is_lost(name: str, here: Path):
    case = CASES[name]
    case.prepare(here)
    before = files(here)
    code, _, err = tiny.main(*case.words.split())
    assert err.startswith("Error: "), err
    assert err.count("\n") == 1, err
    sentence = err.removeprefix("Error: ").removesuffix("\n")
    assert re.fullmatch(case.sentence, sentence), sentence
    assert "Traceback" not in err
    assert code == case.code
    after = files(here)
    assert {k: after.get(k) for k in before} == before
    if not case.makes:
        assert after.keys() == before.keys()


def test_after_what_was_wrong_the_right_command_works(here: Path):
    """A refused run has not spoilt its folder: the same command, mended, goes through."""
    assert tiny.main(*f"{TRAIN} --set batches.batch=500".split())[0] == 2
    code, _, err = tiny.main(*f"{TRAIN} --resume".split())
    if code == 2:  # it may ask for another folder or --resume, but it must say so
        assert re.search(r"holds a run .*name another folder with --out", err)
        code, _, err = tiny.main(*"train run.toml --out newer".split())
    assert (code, err) == (0, "")


def test_a_full_disk_while_saving(here: Path):
    words = ["train", "run.toml", "--out"]
    with tiny.small_disk(here / "disk") as disk:
        code, _, err = tiny.main(*words, str(disk / "run"))
        assert code == 1
        assert re.fullmatch(
            r"Error: Could not save .*: the disk is full; nothing was saved\. Free some space and "
            r"resume the run\.\n", err,
        ), err  # fmt: skip
        kept = disk / "run" / "config.toml"
        assert kept.read_text() == (here / DONE / "config.toml").read_text()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        code, _, err = tiny.main(*words, str(disk / "run"), "--resume")
        assert (code, err) == (0, "")
        one, other = (
            checkpoint.load(f / "anonymizer.safetensors")[0] for f in (disk / "run", here / DONE)
        )
        assert tiny.equal(one, other)


def test_two_runs_into_one_folder(here: Path):
    holder = (
        "import sys; from pathlib import Path; from velatura.experiment import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    unfinished(here)
    before = files(here)
    with subprocess.Popen(
        [sys.executable, "-c", holder, DONE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        code, _, err = tiny.main(*f"train run.toml --out {DONE} --resume".split())
        other.kill()
    assert (code, err) == (
        2, f"Error: Another run is writing to {DONE}; wait for it, or name another with --out.\n",
    )  # fmt: skip
    assert files(here) == before


@pytest.mark.parametrize("out", ["run.toml", "run.toml/below"])
@pytest.mark.parametrize(
    "words",
    [
        "train run.toml",
        "evaluate study.toml",
        "evaluate --controls --size small",
        "sweep grid.toml",
    ],
)
def test_a_file_where_a_folder_is_to_be(words: str, out: str, here: Path):
    rows = '\n[[rows]]\nmethod = { name = "blur" }\n'
    values = tiny.values()
    del values["method"], values["seed"]
    (here / "study.toml").write_text(to_toml(values) + rows)
    (here / "grid.toml").write_text("seeds = [0, 1]\n" + to_toml(values) + rows)
    before = files(here)
    code, _, err = tiny.main(*words.split(), "--out", out)
    assert (code, err) == (
        2, f"Error: {out} is a file, or in one; expected a folder to write to: name another "
        "with --out.\n",
    )  # fmt: skip
    assert files(here) == before


def test_a_run_that_blows_up_keeps_its_checkpoint(here: Path):
    wild = "--set method.lr_anonymizer=1e30 --set method.steps=9 --set loop.save_every=1"
    code, _, err = tiny.main(*f"{TRAIN} {wild}".split())
    assert code == 1
    assert re.fullmatch(
        r"Error: Step \d: the (term '\w+'|gradient) of the \w+ (is|has norm) (nan|-?inf); the run "
        r"stops before it spreads\. Lower the learning rates .*earlier step is in new\.\n", err,
    ), err  # fmt: skip
    assert checkpoint.load(here / "new" / "checkpoint.safetensors")[0]["step"] >= 1
    assert not (here / "new" / "anonymizer.safetensors").exists()


def test_debug_shows_where(here: Path):
    code, _, err = tiny.main("--debug", *f"{TRAIN} --set seed=-1".split())
    assert code == 2
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("\nError: seed: expected a whole number of at least 0, got -1.\n")
