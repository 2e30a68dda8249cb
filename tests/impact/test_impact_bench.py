"""`velatura impact bench`: what a grid means, what is compared, what survives a kill or a crash."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import benches
import figures
import numpy as np
import pytest
import safetensors
import tiny_coco
import typer
from PIL import Image
from training import tiny

from velatura import cli
from velatura.config import read_toml, to_toml
from velatura.errors import BadInput
from velatura.impact import _compare, _formats, _grid, _privacy, _recognition, bench, people
from velatura.impact import train as training
from velatura.impact._pictures import Pictures
from velatura.jobs import Event, Job, Pace

SHARED = Path(os.environ.get("VELATURA_DATA", Path(__file__).parents[3] / "shared/data"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a data set; jobs are done in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "run_jobs", benches.inline)
    benches.data()
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """run("bench", ...) gives the exit code, stdout and stderr of ``velatura impact bench ...``."""

    def run(verb: str, *words: object) -> tuple[int, str, str]:
        app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
        app.command(verb)(cli._guarded(cli.load(f"impact {verb}"), False))
        with pytest.raises(SystemExit) as ended:
            app(args=[str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def write(values: dict[str, Any], path: Path = Path("mine.toml")) -> Path:
    """A grid file."""
    rest = {key: value for key, value in values.items() if key not in ("arms", "order")}
    text = to_toml(rest)
    for kind in ("arms", "order"):
        for one in values.get(kind, []):
            text += f"\n[[{kind}]]\n"
            for key, value in one.items():
                if isinstance(value, dict):
                    inner = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items())
                    value = f"{{ {inner} }}"
                else:
                    value = json.dumps(value)
                text += f"{key} = {value}\n"
    path.write_text(text)
    return path


# ----------------------------------------------------------------------------------- the comparison


def test_paired_differences_by_hand():
    """Differences 1, -1 and 2: mean 2/3, deviation sqrt(7/3); t of two degrees is 4.3027."""
    found = _compare.compared({0: 10.0, 1: 12.0, 2: 17.0}, {2: 15.0, 0: 9.0, 1: 13.0})
    assert found["mean"] == 13
    assert found["sd"] == pytest.approx(math.sqrt(13))
    assert found["difference"] == pytest.approx(2 / 3)
    half = 4.30265 * math.sqrt(7 / 3) / math.sqrt(3)
    assert found["difference_interval"] == pytest.approx([2 / 3 - half, 2 / 3 + half], abs=1e-3)
    assert found["within_noise"] is True
    assert found["seeds"] == [[0, 10.0], [1, 12.0], [2, 17.0]]


def test_what_the_seed_does_to_both_is_no_noise():
    """The seeds are eight points apart, and the arms five, give or take a half."""
    found = _compare.compared({0: 10.0, 1: 12.0, 2: 18.0}, {0: 5.0, 1: 7.5, 2: 12.5})
    assert found["difference"] == pytest.approx(5)
    half = 4.30265 * 0.5 / math.sqrt(3)
    assert found["difference_interval"] == pytest.approx([5 - half, 5 + half], abs=1e-3)
    assert found["within_noise"] is False
    back = _compare.compared({0: 5.0, 1: 7.5, 2: 12.5}, {0: 10.0, 1: 12.0, 2: 18.0})
    assert back["difference"] == pytest.approx(-5)
    assert back["within_noise"] is False


@pytest.mark.parametrize(
    ("mine", "reference", "difference", "noise"),
    [
        ({0: 3.0}, {0: 5.0}, -2, None),  # one seed says nothing of noise
        ({0: 3.0, 1: 4.0}, {0: 5.0, 2: 9.0}, -2, None),  # only one seed is of both
        ({0: 0.0, 1: 0.0}, {0: 0.0, 1: 0.0}, 0, True),
        ({0: 3.0}, {}, None, None),
    ],
)
def test_differences_of_few_seeds(mine, reference, difference, noise):
    found = _compare.compared(mine, reference)
    assert (found["difference"], found["within_noise"]) == (difference, noise)


def test_a_category_without_a_figure_does_not_count():
    tasks = {"detection": benches.evaluated(30.0, None)}
    assert _compare.score(tasks, "detection", ["person", "crate"], "AP") == 30
    assert _compare.score(tasks, "detection", ["crate", "dog"], "AP") is None


RUNS = {
    "original": {0: (40.0, 20.0), 1: (44.0, 22.0)},
    "missed": {0: (30.0, 4.0), 1: (33.0, 6.3)},
    "none": {},
}


def found_figures() -> dict[str, Any]:
    runs = {
        arm: {
            seed: {"detection": benches.evaluated(box), "keypoints": benches.evaluated(points)}
            for seed, (box, points) in by_seed.items()
        }
        for arm, by_seed in RUNS.items()
    }
    return _compare.table(runs, "original", {"hidden": ["person"], "control": ["crate"]})


@pytest.mark.parametrize(
    ("line", "value", "held", "says"),
    [
        ({"arm": "original", "at_least": 42}, 42, True, "original has at least 42 AP of detection"),
        ({"arm": "original", "at_least": 42.5}, 42, False,
         "original has at least 42.5 AP of detection"),
        ({"arm": "missed", "of": "original", "at_least": 0.7, "at_most": 0.8}, 31.5 / 42, True,
         "missed keeps at least 0.7 and at most 0.8 of original's detection"),
        ({"arm": "missed", "of": "original", "task": "keypoints", "at_most": 0.2},
         5.15 / 21, False, "missed keeps at most 0.2 of original's keypoints"),
        ({"arm": "missed", "of": "original", "task": "keypoints", "than": "detection",
          "at_least": 0.5}, 31.5 / 42 - 5.15 / 21, True,
         "missed keeps a share of original's detection that is larger than its share of keypoints "
         "by at least 0.5"),
        ({"arm": "none", "of": "original", "at_most": 0.1}, None, False,
         "none keeps at most 0.1 of original's detection"),
        ({"arm": "original", "of": "none", "at_least": 0.1}, None, False,
         "original keeps at least 0.1 of none's detection"),
    ],
)  # fmt: skip
def test_the_order_by_hand(line, value, held, says):
    found = _compare.held(_compare.Line(**line), found_figures())
    assert found["says"] == says
    assert found["held"] is held
    assert found["value"] == (None if value is None else pytest.approx(value))


# ----------------------------------------------------------------------------------------- the grid


def arms(*more: dict[str, Any]) -> list[dict[str, Any]]:
    return [*benches.GRID["arms"], *more]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seeds": []}, "seeds: expected different whole numbers, got []."),
        ({"seeds": [1, 1]}, "seeds: expected different whole numbers, got [1, 1]."),
        ({"seed": 3}, "Unknown key seed. Did you mean seeds? Known keys: title, seeds, "
         "anonymized_val, missing, data, privacy, faces."),
        ({"train": {"seed": 3}}, "train.seed: a grid has a list, such as seeds = [0, 1, 2]."),
        ({"train": {"step": 3}}, "Unknown key step. Did you mean steps? Known keys: task, steps, "
         "batch, size, seed, categories, lr, weight_decay, augment, loop."),
        ({"train": 3}, "train: expected a table, got 3."),
        ({"data": {}}, "data: expected either people, or train and val."),
        ({"data": {"people": {}, "train": {"root": "coco"}}},
         "data: expected either people, or train and val."),
        ({"data": {"people": {}, "private": "p.json"}},
         "data.private: generated people have such a file; leave it out."),
        ({"arms": 1}, "arms: expected a list of tables, each [[arms]]."),
        ({"arms": arms()[1:]},
         'arms: expected exactly one with method = { name = "none" }, to compare with.'),
        ({"arms": arms({"name": "again", "method": {"name": "none"}})},
         'arms: expected exactly one with method = { name = "none" }, to compare with.'),
        ({"arms": arms({"name": "a/b"})},
         "arms: 'a/b' becomes a folder; give each arm a name of its own, of letters, digits, "
         ". _ -"),
        ({"arms": arms({"name": "maskout", "method": {"name": "blur"}})},
         "arms: 'maskout' becomes a folder; give each arm a name of its own, of letters, digits, "
         ". _ -"),
        ({"arms": arms({"name": "b", "method": {"name": "blurr"}})},
         "No method named 'blurr'. Did you mean 'blur'? Available: blur, diffusion, external, "
         "frame, gan, maskout, none, pixelate, removal."),
        ({"arms": arms({"name": "b", "oracle": "aligned"})},
         "arms: b has an oracle, and only data.people have one."),
        ({"arms": arms({"name": "b", "oracle": "aligned", "method": {"name": "blur"}})},
         "arms: b has an oracle; leave out its method and regions."),
        ({"order": [{"arm": "blur", "at_least": 1}]},
         "No arm of the order named 'blur'. Available: maskout, original."),
        ({"order": [{"arm": "maskout"}]},
         "order: the line about maskout needs at_least or at_most."),
        ({"order": [{"arm": "maskout", "than": "keypoints", "at_least": 1}]},
         "order: than compares shares of another arm; name that arm as of."),
        ({"train": {"task": "detection"}, "order": [
            {"arm": "maskout", "task": "keypoints", "at_least": 1}]},
         "order: a line is about keypoints, and train.task teaches detection."),
    ],
)  # fmt: skip
def test_one_sentence_for_a_grid_that_means_nothing(changes, says):
    with pytest.raises(BadInput) as refused:
        bench.resolve(benches.grid(**changes))
    assert str(refused.value) == says


@pytest.mark.parametrize("size", _grid.SIZES)
def test_the_packaged_grids(size, root):
    """They are those of experiments/, and have the arms whose order is known."""
    values = bench.packaged(size)
    grid = bench.resolve(values)
    name = "people.toml" if size == "default" else f"people-{size}.toml"
    assert read_toml(root / "experiments" / "impact" / name) == values
    assert grid.reference == "original"
    assert {arm.name for arm in grid.arms} >= {"aligned", "misaligned", "blur", "maskout"}
    assert len(grid.cfg.seeds) >= _grid.FEW or size == "small"
    said = {(line.arm, line.task, line.than) for line in grid.order}
    assert ("misaligned", "keypoints", "detection") in said


def test_every_arm_begins_alike_and_jobs_wait_for_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(_recognition, "find_spec", lambda name: object())
    grid = bench.resolve(bench.packaged("small"))
    jobs = {job.name: job for job in bench.plan(grid, tmp_path, 2)}
    assert jobs["copy blur"].needs == ("people",)
    assert jobs["train blur-0"].needs == ("copy blur",)
    assert jobs["evaluate blur-0"].needs == ("train blur-0",)
    assert jobs["attack blur"].needs == ("copy blur",)
    assert jobs["faces blur"].needs == ("copy original", "copy blur")
    assert jobs["faces original"].needs == ("copy original",)
    assert len(jobs) == 1 + 5 * 5
    assert grid.setup(3).values() == {**grid.setup(0).values(), "seed": 3}


# --------------------------------------------------------------------------------- what is measured


def test_a_bench_of_folders(here):
    """The same as by hand, arm by arm; the hidden category and the control apart."""
    result = benches.carried_out(
        benches.grid(anonymized_val=True), Path("out"), command="velatura x"
    )
    assert json.loads(Path("out/bench.json").read_text()) == json.loads(json.dumps(result))
    assert result["schema"] == "velatura-impact-bench/1"
    assert result["categories"] == {"hidden": ["person"], "control": ["crate"]}
    assert result["failed"] == {}
    original, maskout = result["arms"]
    assert (original["share"], maskout["share"]) == (0.0, 1.0)
    assert {run["first_weights"]["from"] for arm in result["arms"] for run in arm["runs"]} == {
        "seed"
    }
    assert len({run["annotations"] for arm in result["arms"] for run in arm["runs"]}) == 1
    assert len({run["data"] for run in original["runs"] + maskout["runs"]}) == 2  # pictures differ
    data = _formats.read("coco", Path("out/copies/maskout"), categories=None)
    how = training.setup({**benches.GRID["train"], "seed": 1})
    training.train(
        how, data._replace(documents=dict(list(data.documents.items())[:1])), Path("by-hand")
    )
    one, other = (safetensors.safe_open(f"{run}/checkpoint.safetensors", framework="np")
                  for run in ("by-hand", "out/runs/maskout-1"))  # fmt: skip
    assert all(np.array_equal(one.get_tensor(k), other.get_tensor(k)) for k in one.keys())  # noqa: SIM118
    for task in ("detection", "segmentation", "keypoints"):
        for seed, value in result["figures"]["maskout"][task]["hidden"]["AP"]["seeds"]:
            said = json.loads(Path(f"out/runs/maskout-{seed}/evaluation.json").read_text())
            assert value == said["tasks"][task]["categories"]["person"]["AP"]
            assert said["anonymized"] is False
    crossed = result["crossed"]
    assert [row["task"] for row in crossed] == ["detection", "segmentation", "keypoints"]
    for seed, value in crossed[0]["original_on_copy"]["seeds"]:
        path = Path(f"out/runs/original-{seed}/evaluation-on-maskout.json")
        said = json.loads(path.read_text())
        assert (value, said["anonymized"]) == (
            said["tasks"]["detection"]["categories"]["person"]["AP"], True,
        )  # fmt: skip


def test_what_was_stopped_goes_on_to_the_same_result(here, monkeypatch):
    whole = benches.carried_out(benches.grid(), Path("whole"))
    at, steps = Pictures.at, []

    def stopped(self, step):
        steps.append(step)
        if len(steps) == 6:  # the second step of the third run
            raise KeyboardInterrupt
        return at(self, step)

    monkeypatch.setattr(Pictures, "at", stopped)
    with pytest.raises(KeyboardInterrupt):
        benches.carried_out(benches.grid(), Path("out"))
    assert not Path("out/bench.json").exists()
    kinds = [e.kind for e in bench.carry_out(bench.resolve(benches.grid()), Path("out"))
             if isinstance(e, Event)]  # fmt: skip
    assert kinds.count("reused") == 2 + 2 * 2  # copies, and two runs
    assert steps[5:7] == [1, 1]  # and of the third run, a step
    result = json.loads(Path("out/bench.json").read_text())
    assert result["figures"] == json.loads(json.dumps(whole["figures"]))
    assert result["arms"] == json.loads(json.dumps(whole["arms"]))


def test_the_clock_counts_all_parts_of_a_run(here, monkeypatch):
    """Jobs that are made up: 60 s and 30 s of one that is stopped on two workers, 12 s on one."""
    clock = [1000.0]
    monkeypatch.setattr(bench, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def part(workers: int, *steps: tuple[str, float], stopped: bool = False) -> dict[str, Any]:
        def run_jobs(jobs: list[Job], *_: Any, **__: Any) -> Iterator[Event]:
            for kind, seconds in steps:
                clock[0] += seconds
                yield Event(kind, jobs[0], seconds=7.0)
            if stopped:
                raise KeyboardInterrupt

        monkeypatch.setattr(bench, "run_jobs", run_jobs)
        said = {}
        if stopped:
            with pytest.raises(KeyboardInterrupt):
                benches.carried_out(benches.grid(), Path("out"), workers=workers)
        else:
            said = benches.carried_out(benches.grid(), Path("out"), workers=workers)
            assert json.loads(Path("out/bench.json").read_text())["elapsed"] == said["elapsed"]
        noted = json.loads(Path("out/jobs.json").read_text())
        assert not said or all(noted[key] == said[key] for key in ("elapsed", "workers"))
        return {key: noted.get(key) for key in ("elapsed", "workers", "seconds")}

    seconds = {"copy original": 7.0}
    first = part(2, ("start", 0), ("end", 60), ("start", 0), ("progress", 30), stopped=True)
    assert first == {"elapsed": 90.0, "workers": 2, "seconds": seconds}
    clock[0] += 5000  # nobody works
    second = part(1, ("reused", 1), ("start", 1), ("end", 10))
    assert second == {"elapsed": 102.0, "workers": 2, "seconds": seconds}
    assert part(8, ("reused", 5), ("reused", 5)) == second  # and nobody worked
    path = Path("out/jobs.json")  # as an earlier version wrote it: of its part nobody knows
    path.write_text(json.dumps({"seconds": seconds, "failed": {}}))
    unknown = {"elapsed": None, "workers": None, "seconds": seconds}
    assert part(2, ("start", 0), ("end", 60)) == unknown
    assert part(2, ("start", 0), ("end", 60)) == unknown


def test_an_arm_that_breaks_does_not_stop_the_others(here, run, monkeypatch):
    """Its folder of another tool's images is not there; once it is, --retry goes on."""
    extern = {"name": "theirs", "method": {"name": "external", "folder": "theirs"},
              "regions": {"kind": "frame"}}  # fmt: skip
    grid = write(benches.grid(seeds=[0], arms=arms(extern)))
    code, out, err = run("bench", grid, "--out", "out", "--workers", 1)
    assert code == 1
    says = "There is no folder 'theirs' of images that another tool made; --external names one."
    assert f"copy theirs failed: {says}\n" in err
    assert f"FAILED: train theirs-0: {says}\n" in err
    result = json.loads(Path("out/bench.json").read_text())
    assert list(result["failed"]) == ["copy theirs", "train theirs-0", "evaluate theirs-0"]
    theirs = result["arms"][2]
    assert (theirs["runs"], theirs["failed"]) == ([], result["failed"])
    assert [len(arm["runs"]) for arm in result["arms"]] == [1, 1, 0]
    assert re.search(r"^theirs +— +— +— +— +— +—$", out, re.M)
    Path("theirs").symlink_to("coco/train")
    code, out, err = run("bench", grid, "--out", "out", "--list")
    assert (code, out.splitlines()[2]) == (
        0, "theirs          1 failed, 2 left; failed: copy theirs",
    )  # fmt: skip
    assert run("bench", grid, "--out", "out", "--workers", 1)[0] == 1  # not tried again
    assert run("bench", grid, "--out", "out", "--workers", 1, "--retry")[0] == 0
    assert not json.loads(Path("out/bench.json").read_text())["failed"]


def test_an_order_that_does_not_come_out_is_exit_1(here, run):
    """An arm against itself is 1, or 0 by 0 where nothing is found: then it was not measured."""
    lines = [{"arm": "original", "at_least": 0}, {"arm": "maskout", "at_least": 99}]
    grid = write(benches.grid(seeds=[0], order=lines))
    code, out, err = run("bench", grid, "--out", "out", "--workers", 1)
    value = json.loads(Path("out/bench.json").read_text())["order"][1]["value"]
    assert code == 1
    assert "The known order did NOT come out: 1 of 2 lines.\n" in out
    assert f"NOT HELD: maskout has at least 99 AP of detection: it is {value:.3f}.\n" in out
    held = write(benches.grid(seeds=[0], order=lines[:1]))
    code, out, err = run("bench", held, "--out", "out", "--workers", 1, "--json")
    assert (code, err) == (0, "")
    (line,) = json.loads(out)["order"]
    assert (line["says"], line["held"]) == ("original has at least 0 AP of detection", True)


def test_a_grid_may_gain_and_not_change(here):
    benches.carried_out(benches.grid(seeds=[0]), Path("out"))
    blur = {"name": "blur", "method": {"name": "blur"}}
    grid = bench.resolve(benches.grid(seeds=[0, 1], arms=[benches.GRID["arms"][0], blur]))
    kinds = [e.kind for e in bench.carry_out(grid, Path("out")) if isinstance(e, Event)]
    assert kinds.count("reused") == 3  # the original's copy and run
    other = {"name": "maskout", "method": {"name": "maskout", "fill": "black"}}
    for changes, what in (
        ({"arms": [benches.GRID["arms"][0], other]}, "arm maskout"),  # gone, and its name is taken
        ({"missing": 0.5}, "missing"),
        ({"train": {**benches.GRID["train"], "steps": 3}}, "train"),
    ):
        with pytest.raises(BadInput) as refused:
            benches.carried_out(benches.grid(**changes), Path("out"))
        assert str(refused.value) == (
            f"out holds a bench of another grid ({what} differ); name another --out. A grid may "
            "gain arms and seeds; it may not change what it has."
        )
    Path("full").mkdir()
    Path("full/file").write_text("")
    with pytest.raises(BadInput, match="full holds something else; name another --out"):
        benches.carried_out(benches.grid(), Path("full"))


def test_data_that_is_not_there_is_told_before_anything_is_made(here, run):
    grid = write(benches.grid(data={"train": {"root": "coco"}, "val": {"root": "nowhere"}}))
    code, out, err = run(
        "bench", grid, "--set", 'data.train.annotations=["annotations/tiny_train.json"]'
    )
    assert (code, out) == (2, "")
    assert err == ("Error: There is no folder nowhere; --data names the folder of a data set.\n")
    assert not Path("runs").exists()
    code, _, err = run("bench", grid, "--size", "small")
    assert (code, err) == (2, "Error: --size is of generated people; a grid file says its own.\n")
    code, _, err = run("bench", "--size", "tiny")
    assert (code, err) == (2, "Error: No size named 'tiny'. Available: default, small.\n")


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_bench_of_copies_is_refused(here, split):
    """Its original arm would be one in which people are hidden."""
    shutil.copytree("coco", "copy")
    figures.hidden(Path("copy"))
    grid = benches.grid()
    grid["data"][split]["root"] = "copy"
    with pytest.raises(BadInput, match="People are hidden in copy: a bench makes its copies of"):
        benches.carried_out(grid, Path("out"))
    assert not Path("out").exists()


def test_a_picture_in_both_splits_is_refused(here):
    grid = benches.grid()
    grid["data"]["val"] = grid["data"]["train"]
    with pytest.raises(BadInput, match=r"4 pictures are in data\.train and in data\.val"):
        benches.carried_out(grid, Path("out"))
    assert not Path("out").exists()


def test_an_interrupt_says_how_to_go_on(here, run, monkeypatch):
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stop)
    code, _, err = run("bench", write(benches.grid()), "--json")
    assert (code, err) == (
        130, "Interrupted; what was done is in runs/mine, run the same command to go on.\n",
    )  # fmt: skip


def test_the_time_that_is_left_is_known_while_the_first_job_runs(monkeypatch):
    """Ten jobs of which one is at a half after 10 s, having begun at a quarter: 40 s each."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    jobs = [Job(f"train {k}", "train", print) for k in range(10)]
    pace = Pace(workers=2)
    pace.expect("", jobs)
    pace.note("", Event("progress", jobs[0], done=25, total=100))
    assert pace.left() is None
    now[0] = 10.0
    pace.note("", Event("progress", jobs[0], done=50, total=100))
    assert pace.left() == pytest.approx((9 + 0.5) * 40 / 2)
    pace.note("", Event("end", jobs[0], seconds=30.0))
    assert pace.left() == pytest.approx(9 * 30 / 2)


# ------------------------------------------------------------------------------------- the attacker


def portraits(root: Path, count: int = 60) -> dict[str, Any]:
    """One person a picture: red or blue, and something that nobody can see."""
    (root / "train").mkdir(parents=True)
    draw = np.random.default_rng(5)
    labels = {}
    images, annotations = [], []
    for number in range(count):
        red, unseen = int(draw.integers(2)), int(draw.integers(2))
        image = draw.integers(0, 60, (32, 32, 3), np.uint8)
        image[8:28, 10:24, 0 if red else 2] += 150
        Image.fromarray(image).save(root / "train" / f"{number}.png")
        images.append(tiny_coco.listed(number, f"{number}.png", 32, 32))
        annotations.append(tiny_coco.person(number, number, (10, 8, 14, 20)))
        labels[str(number)] = [red, unseen]
    tiny_coco.write(root, tiny_coco.document(images, annotations))
    return {"attributes": ["red", "unseen"], "labels": labels}


def test_what_shows_is_read_and_what_does_not_is_not(tmp_path):
    said = portraits(tmp_path / "coco")
    (tmp_path / "private.json").write_text(json.dumps(said))
    private = _privacy.read_labels(tmp_path / "private.json")
    data = _formats.read("coco", tmp_path / "coco")
    cfg = _privacy.Config(epochs=6, size=24, width=8)
    raw = _privacy.attack(data, private, cfg)
    assert raw["labels"] == [said["labels"][number] for number in raw["people"]]
    assert len(raw["people"]) == 30  # the other half was learnt from
    for path in (tmp_path / "coco/train").iterdir():
        Image.new("RGB", (32, 32), (127, 127, 127)).save(path)
    grey = _privacy.attack(data, private, cfg)
    assert grey["people"] == raw["people"]
    found = _privacy.compared(raw, raw)
    assert found["L"] == pytest.approx(1)
    assert found["attributes"]["red"] > 95
    assert found["attributes"]["unseen"] < 80
    hidden = _privacy.compared(grey, raw)
    assert hidden["auroc"] == pytest.approx(50)  # all look alike
    assert hidden["L"] == pytest.approx(0, abs=1e-6)
    assert hidden["raw_cmap"] == found["cmap"]


def test_nobody_is_learnt_from_and_asked_about(tmp_path):
    """Two of a picture stay together; and so do all pictures of one person, where that is known."""
    root = tiny_coco.make(tmp_path / "coco", 30)
    data = _formats.read("coco", root)
    labels = {str(i.id): [int(i.id) % 2] for e in data.entries for i in e.instances}
    dealt = _privacy._dealt(data, _privacy.Labels(("odd",), labels, {}), _privacy.Config())
    pictures = [{one.entry.name for one in part} for part in dealt.values()]
    assert sum(map(len, dealt.values())) == len(labels) == 40
    assert not pictures[0] & pictures[1] | pictures[0] & pictures[2] | pictures[1] & pictures[2]
    assert [len(part) for part in pictures] == [8, 2, 10]
    who = {number: str(int(number) % 7) for number in labels}
    dealt = _privacy._dealt(data, _privacy.Labels(("odd",), labels, who), _privacy.Config())
    people = [{who[str(one.instance.id)] for one in part} for part in dealt.values()]
    assert not people[0] & people[1] | people[0] & people[2] | people[1] & people[2]
    some = _privacy._dealt(data, _privacy.Labels(("odd",), labels, {}), _privacy.Config(most=20))
    assert sum(map(len, some.values())) == 20


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ([], "expected attributes, a list of names, and labels"),
        ({"attributes": ["a"], "labels": {"1": [2]}}, "of 1 it has [2]."),
        ({"attributes": ["a"], "labels": {"1": [0, 1]}}, "of 1 it has [0, 1]."),
    ],
)
def test_a_file_of_labels_that_is_none(tmp_path, said, says):
    (tmp_path / "private.json").write_text(json.dumps(said))
    with pytest.raises(BadInput) as refused:
        _privacy.read_labels(tmp_path / "private.json")
    assert says in str(refused.value)


def test_too_few_people_is_one_sentence(tmp_path):
    data = _formats.read("coco", tiny_coco.make(tmp_path / "coco", 3))
    labels = {str(i.id): [0] for e in data.entries for i in e.instances}
    with pytest.raises(BadInput, match=r"Too few people have a picture and labels"):
        _privacy.attack(data, _privacy.Labels(("a",), labels, {}), _privacy.Config())
    data = _formats.read("coco", tiny_coco.make(tmp_path / "more", 30))
    labels = {str(i.id): [0] for e in data.entries for i in e.instances}
    with pytest.raises(BadInput, match=r"^a: nobody differs in any of them"):
        _privacy.attack(data, _privacy.Labels(("a",), labels, {}), _privacy.Config())


def test_generated_people_say_what_is_private(tmp_path):
    """The labels are those of who is drawn, also where somebody else stands in."""
    people.make(people.Config(train=3, val=1, size=48), tmp_path / "people", workers=1)
    private = _privacy.read_labels(tmp_path / "people/private.json")
    assert private.attributes == ("skin_tone", "gender", "bare_skin", "hair", "shirt")
    said = json.loads((tmp_path / "people/annotations/people_train.json").read_text())
    persons = [a["id"] for a in said["annotations"] if a["category_id"] == people.PERSON]
    assert [int(number) for number in private.labels] == persons
    from velatura.data._people import crowd

    drawn = [crowd.draw_crowd(0, "train", index) for index in range(3)]
    actors = [actor for one in drawn for actor in one.actors]
    assert len(actors) == len(persons)  # all of them show
    for actor, has in zip(actors, private.labels.values(), strict=True):
        assert has[1:3] == [actor.person.feminine, actor.outfit.bare]
    by_tone: dict[int, list[float]] = {0: [], 1: []}
    for actor, has in zip(actors, private.labels.values(), strict=True):
        by_tone[has[0]].append(float(np.mean(actor.person.skin)))
    assert min(by_tone[1]) > max(by_tone[0])
    other = crowd.replaced(drawn[0], 0, "train", 0)
    assert not all(map(np.array_equal, other.traits, drawn[0].traits))


# -------------------------------------------------------------------------------- as a user runs it

PEOPLE = {
    "title": "Few", "seeds": [0], "privacy": {"epochs": 1, "size": 16, "width": 8},
    "data": {"people": {"train": 24, "val": 4, "size": 48}},
    "train": {**benches.GRID["train"], "size": 48, "steps": 6},
    "arms": [benches.GRID["arms"][0], {"name": "aligned", "oracle": "aligned"}],
}  # fmt: skip


@pytest.mark.slow
def test_a_bench_that_is_killed_goes_on(tmp_path, monkeypatch):
    """In worker processes, and killed with no warning; the same bits as one that was not."""
    monkeypatch.chdir(tmp_path)
    grid = write(PEOPLE)
    words = ["impact", "bench", str(grid), "--workers", "1", "--out", "out"]
    process = tiny.start(words, tmp_path / "cache")
    try:
        deadline = time.monotonic() + 300
        while not Path("out/runs/original-0/checkpoint.safetensors").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert not Path("out/bench.json").exists()
    code, out, err = tiny.command(words, tmp_path / "cache")
    assert code == 0, err
    assert "Generated people: a check of the mechanism, and no evidence on photographs.\n" in out
    monkeypatch.setattr(bench, "run_jobs", benches.inline)
    whole = benches.carried_out(PEOPLE, Path("whole"))
    result = json.loads(Path("out/bench.json").read_text())
    assert result["figures"] == json.loads(json.dumps(whole["figures"]))
    aligned = result["arms"][1]
    assert aligned["share"] == 1.0
    assert aligned["privacy"] == json.loads(json.dumps(whole["arms"][1]["privacy"]))
    assert result["categories"] == {"hidden": ["person"], "control": ["parcel"]}


@pytest.mark.slow
def test_a_smoke_run_on_photographs(tmp_path, monkeypatch):
    """COCO's own files are read, hidden and learnt from. Eighty are too few for numbers."""
    folder = SHARED / "coco_mini"
    if not folder.is_dir():
        pytest.skip(f"no photographs at {folder}; set VELATURA_DATA to a folder with coco_mini/")
    monkeypatch.setattr(bench, "run_jobs", benches.inline)
    name = "annotations/person_keypoints_{}2017.json"
    data = {split: {"root": str(folder), "annotations": [name.format(split)]}
            for split in ("train", "val")}  # fmt: skip
    values = benches.grid(seeds=[0], data=data)
    result = benches.carried_out(values, tmp_path / "out")
    assert result["failed"] == {}
    assert result["categories"] == {"hidden": ["person"], "control": []}
    assert [arm["share"] for arm in result["arms"]] == [0.0, 1.0]
    assert result["arms"][0]["images"]["total"] == 80
    assert result["figures"]["maskout"]["keypoints"]["hidden"]["AP"]["n"] == 1


def test_the_commands_of_the_page_run(here, run, root, monkeypatch):
    """As they stand, with a small grid in the place of the packaged ones."""
    page = (root / "docs/impact.md").read_text(encoding="utf-8")
    lines = re.findall(r"^velatura impact ((?:bench|report)\b.*)$", page, re.M)
    assert len(lines) == 7
    monkeypatch.setattr(bench, "packaged", lambda size: benches.grid(seeds=[0]))
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    Path("mine.toml").write_text(
        example.replace("steps = 20000", "steps = 1").replace("size = 512", "size = 64")
    )
    for line in lines:
        verb, *words = shlex.split(line)
        code, out, err = run(verb, *words)
        assert code == 0, f"{line}\n{out}{err}"
    assert Path("runs/impact/report.html").is_file()
