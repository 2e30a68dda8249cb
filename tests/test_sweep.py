"""A sweep: what a grid means, what is missing, what survives a kill, and what a crash costs."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import time
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import psutil
import pytest
from training import tiny

from velatura import experiment, metrics, study, sweep
from velatura.config import read_toml, to_toml
from velatura.errors import BadInput, Failure
from velatura.frontier import ideal_distance
from velatura.jobs import Event, Job
from velatura.training import checkpoint

ROOT = Path(__file__).parents[1]
GRIDS = sorted((ROOT / "experiments" / "grids").glob("*.toml"))

ROWS = """
[[rows]]
method = { name = "blur" }

[[rows]]
method = { name = "penalty", alternate = "both" }
sweep = { bound = [0.1] }

[[rows]]
name = "crash"
method = { name = "penalty", alternate = "both", lr_anonymizer = 1e30 }
"""


def grid_text(rows: str = ROWS, seeds: str = "[0, 1]", equal: str = "{ steps = 4 }") -> str:
    """A grid of one world: a fixed row, two learned ones, and one whose loss becomes infinite."""
    values = tiny.values()
    del values["method"], values["seed"]
    values["evaluation"] = {
        "attackers": ["frame_cnn"], "seeds": [0], "target_seeds": [0], "start": "scratch",
        "epochs": 1, "replicates": 100,
    }  # fmt: skip
    head = f'title = "Small"\nseeds = {seeds}\nequal = {equal}\n'
    return head + to_toml(values) + '\n[[worlds]]\nname = "w"\n' + rows


def grid_of(text: str) -> sweep.Grid:
    return sweep.resolve_grid(tomllib.loads(text))


# ------------------------------------------------------------------------------------ the grid


def test_a_row_is_written_out_for_each_value(tmp_path: Path):
    rows = """
[[rows]]
name = "p"
method = { name = "penalty" }
sweep = { bound = [0.1, 0.3], per = ["clip", "frame"] }
"""
    (cell,) = sweep.cells_of(grid_of(grid_text(rows, seeds="[5]")), tmp_path)
    assert cell.folder == tmp_path / "w-5"
    assert [row.name for row in cell.study.rows] == [
        "raw", "p_0.1_clip", "p_0.1_frame", "p_0.3_clip", "p_0.3_frame",
    ]  # fmt: skip
    configs = [row.run.method.config for row in cell.study.rows[1:]]
    assert [(c.bound, c.per, c.steps) for c in configs] == [
        (0.1, "clip", 4), (0.1, "frame", 4), (0.3, "clip", 4), (0.3, "frame", 4),
    ]  # fmt: skip


def test_a_cell_is_a_world_and_a_seed(tmp_path: Path):
    values = tomllib.loads(grid_text())
    values["worlds"].append({"name": "v", "set": ["data.correlation=0.5", "batches.batch=4"]})
    cells = sweep.cells_of(sweep.resolve_grid(values), tmp_path)
    assert [cell.name for cell in cells] == ["w-0", "v-0", "w-1", "v-1"]
    for cell in cells:
        base = cell.study.base
        assert (base.seed, base.data.config.seed) == (cell.seed, cell.seed)
        coupled = (0.5, 4) if cell.world == "v" else (0.0, 8)
        assert (base.data.config.correlation, base.batches.batch) == coupled
        assert cell.study.values() != cells[cells.index(cell) - 1].study.values()


def test_a_seed_that_the_data_says_stays(tmp_path: Path):
    values = tomllib.loads(grid_text())
    values["data"]["seed"] = 7
    cells = sweep.cells_of(sweep.resolve_grid(values), tmp_path)
    assert [(c.study.base.seed, c.study.base.data.config.seed) for c in cells] == [(0, 7), (1, 7)]


def test_cells_can_be_chosen(tmp_path: Path):
    grid = grid_of(grid_text())
    assert [c.name for c in sweep.cells_of(grid, tmp_path, ["w/1"])] == ["w-1"]
    assert [c.name for c in sweep.cells_of(grid, tmp_path, ["w"])] == ["w-0", "w-1"]
    with pytest.raises(BadInput, match=r"No cell named 'w/2'\. Did you mean 'w/1'"):
        sweep.cells_of(grid, tmp_path, ["w/2"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": []}, r"seeds: expected a list of different whole numbers, got \[\]"),
        ({"seeds": [0, 0]}, "seeds: expected a list of different whole numbers"),
        ({"seeds": [True]}, "seeds: expected a list of different whole numbers"),
        ({"seed": 3}, "seed: a grid has a list"),
        ({"sedes": [1]}, "No section named 'sedes'. Did you mean 'seeds'.*, equal, .*, worlds\\."),
        ({"equal": {"steps": 4, "seconds": 3}}, "steps and seconds cannot both be equal"),
        ({"equal": {"step": 4}}, r"Unknown key equal\.step\. Did you mean equal\.'?steps"),
        ({"equal": 4}, "equal: expected a table, got 4"),
        ({"worlds": []}, "worlds: expected a list of tables"),
        ({"worlds": [{"name": "a/b"}]}, "worlds: 'a/b' becomes a folder"),
        ({"worlds": [{"name": "a"}] * 2}, "worlds: 'a' becomes a folder; give each a?"),
        ({"worlds": [{"name": "a", "sets": []}]}, r"Unknown key worlds\.sets"),
        ({"rows": 3}, "rows: expected a list of tables"),
        ({"rows": [{"method": {"name": "penalty", "steps": 3}}]}, "Row penalty says its steps"),
        (
            {"rows": [{"method": {"name": "blur"}, "sweep": {"sigma": 0.1}}]},
            r"rows\[0\]\.sweep: expected lists of values",
        ),
        (
            {"rows": [{"method": {"name": "blur", "sigma": 0.2}, "sweep": {"sigma": [0.1]}}]},
            r"rows\[0\]\.sweep: its keys are of the row's method",
        ),
        ({"rows": [{"method": {"name": "blr"}}]}, "No method plug-in named 'blr'"),
        (
            {"rows": [{"name": "b", "method": {"name": "blur"}, "sweep": {"sigm": [0.1, 0.2]}}]},
            r"^rows\[0\] \(b_0\.1\): Unknown key method\.sigm\. Did you mean method\.sigma\?",
        ),
        ({"rows": [{"method": {"name": "blur"}, "nane": "x"}]}, r"rows\[0\]: expected the keys"),
        ({"evaluation": {"seeds": [0, 0]}}, r"evaluation\.seeds names one twice"),
    ],
)
def test_grids_that_are_not_right(changes: dict[str, Any], sentence: str, tmp_path: Path):
    with pytest.raises(BadInput, match=sentence):
        sweep.cells_of(sweep.resolve_grid({**tomllib.loads(grid_text()), **changes}), tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        # The paper's networks are large, and each cell builds its own.
        pytest.param(p, id=p.stem, marks=pytest.mark.slow if p.stem == "tables-paper" else ())
        for p in GRIDS
    ],
)
def test_the_grids_of_the_repository_resolve(path: Path, tmp_path: Path):
    text = path.read_text()
    assert f"velatura sweep experiments/grids/{path.name}" in text
    compares = path.stem.startswith("comparison")  # the other one looks for settings
    assert (f"python experiments/make_comparison.py runs/{path.stem}" in text) == compares
    grid = sweep.resolve_grid(read_toml(path))
    assert len(grid.seeds) * len(grid.worlds) >= (3 if compares else 1)
    first = replace(grid, seeds=grid.seeds[:1])
    if others := re.findall(r'^from = "(runs/(.+?)/.*)"$', text, re.M):
        # Examines what another grid trained; before, it says what lacks, and so does its head.
        for _, name in others:
            assert f"velatura sweep experiments/grids/{name}.toml" in text
            assert name in {path.stem for path in GRIDS}
        lacks = others[0][0].format(world=grid.worlds[0].name, seed=grid.seeds[0])
        with pytest.raises(BadInput, match=f"{lacks} is not a run folder"):
            sweep.cells_of(first, tmp_path)
        return
    cells = sweep.cells_of(first, tmp_path)  # networks are built
    assert len(cells) == len(grid.worlds)
    for cell, world in zip(cells, grid.worlds, strict=True):
        learned = [r.run for r in cell.study.rows if sweep.learns(r.run)]
        assert len(learned) >= (3 if world is grid.worlds[0] else 1)
        if not grid.equal.seconds:  # of which steps are timed first
            steps = grid.equal.steps or grid.home(world).method["steps"]
            assert {run.method.config.steps for run in learned} == {steps}
        if compares and (not world.rows or "constant" in world.rows):
            assert {"raw", "constant"} <= {row.name for row in cell.study.rows}


# ---------------------------------------------------------------------------- figures over seeds


def test_the_interval_over_seeds_is_student_s():
    """Points of the printed tables, and one interval by hand: 2 ± 4.303 / sqrt 3."""
    printed = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 10: 2.228, 30: 2.042}
    assert {n: round(metrics.student(n), 3) for n in printed} == printed
    middle, inside = metrics.mean_interval([1.0, 2.0, 3.0])
    assert (middle, inside) == (2.0, pytest.approx((-0.484, 4.484), abs=1e-3))
    assert metrics.mean_interval([4.0]) == (4.0, None)


def made_up(seed: int, **rows: tuple[float | None, float]) -> dict[str, Any]:
    """A summary: row to (U, L)."""
    listed = [
        {"name": n, "method": "blur", "U": u, "L": at, "cmap": 50 + 40 * at, "static_cmap": 60.0}
        for n, (u, at) in rows.items()
    ]
    seconds = {"train b": 10.0 * (seed + 1)}
    return {"seed": seed, "chance": {"cmap": 50.0}, "rows": listed, "seconds": seconds}


def test_rows_over_seeds():
    one = made_up(0, raw=(1.0, 1.0), b=(0.5, 0.2), c=(None, 0.3))
    two = made_up(1, raw=(1.0, 1.0), b=(0.7, 0.4))
    rows = {row["name"]: row for row in sweep.over_seeds([one, two])}
    assert [(r["n"], r["U"], r["L"]) for r in rows.values()] == [
        (2, 1.0, 1.0), (2, pytest.approx(0.6), pytest.approx(0.3)), (1, None, 0.3),
    ]  # fmt: skip
    half = 12.706 * 0.1  # the standard error of two values is half their distance
    assert rows["b"]["U_interval"] == pytest.approx((0.6 - half, 0.6 + half), abs=1e-3)
    assert (rows["c"]["U_interval"], rows["c"]["L_interval"]) == (None, None)
    assert rows["b"]["train_seconds"] == 15.0
    assert rows["c"]["train_seconds"] is None
    assert rows["b"]["static_L"] == pytest.approx(0.25)  # 60 between 50 and raw's 90


def test_one_anonymizer_at_several_seeds_is_one():
    """Its examinations count by their mean, and tell nothing of another training."""
    three = [made_up(seed, raw=(1.0, 1.0), b=(0.1 * seed, 0.2)) for seed in range(3)]
    for summary in three:
        summary["rows"][1]["anonymizer"] = "0123" if summary["seed"] < 2 else "4567"
    rows = {row["name"]: row for row in sweep.over_seeds(three)}
    assert [(row["n"], row["examinations"]) for row in rows.values()] == [(3, 3), (2, 3)]
    half = 12.706 * 0.075  # of 0.05, the mean of the first two, and 0.2
    assert rows["b"]["U"] == pytest.approx(0.125)
    assert rows["b"]["U_interval"] == pytest.approx((0.125 - half, 0.125 + half), abs=1e-3)
    rows = {row["name"]: row for row in sweep.over_seeds(three[:2])}
    assert (rows["b"]["n"], rows["b"]["anonymizers"], rows["b"]["U"]) == (1, 1, 0.05)
    assert rows["b"]["U_interval"] is None


def a_run(folder: Path) -> None:
    """A run folder as training leaves it."""
    folder.mkdir(parents=True)
    values = tiny.values()
    (folder / "config.toml").write_text(to_toml(values))
    network = experiment.build_anonymizer(experiment.resolve(values))
    checkpoint.save(folder / "anonymizer.safetensors", {"f_A": network.state_dict()}, {})


FROM = """
[[rows]]
name = "novel"
from = "PLACE/{world}-{seed}"
"""


def test_a_row_from_elsewhere_is_the_run_of_its_cell(tmp_path: Path):
    """Of a world that trains nothing, the one of the world that trains its rows."""
    for name in ("w-0", "w-1"):
        a_run(tmp_path / name)
    values = tomllib.loads(grid_text(FROM.replace("PLACE", str(tmp_path))))
    values["worlds"].append({"name": "there", "trained": "w", "set": ["data.world=W2"]})
    cells = sweep.cells_of(sweep.resolve_grid(values), tmp_path / "out")
    assert {cell.name: cell.study.rows[1].source for cell in cells} == {
        "w-0": tmp_path / "w-0", "there-0": tmp_path / "w-0",
        "w-1": tmp_path / "w-1", "there-1": tmp_path / "w-1",
    }  # fmt: skip
    sweep._take_trained(cells[1])  # it is not that world's: nothing has to be there
    values["rows"][0]["from"] = "runs/{sede}"
    with pytest.raises(BadInput, match=r"rows\[0\]\.from: expected the placeholders .*{sede}"):
        sweep.resolve_grid(values)


@pytest.mark.slow
def test_one_run_for_all_seeds_is_said_to_be_one(cache: Path, tmp_path: Path):
    a_run(tmp_path / "w")
    text = grid_text(FROM.replace("PLACE", str(tmp_path)).replace("-{seed}", ""), equal="{}")
    *_, last = sweep.carry_out(grid_of(text), tmp_path / "out", workers=1)
    assert isinstance(last, dict)
    found = last["sweep"]
    raw, novel = found["worlds"]["w"]
    assert (raw["n"], raw["examinations"]) == (2, 2)
    assert (novel["n"], novel["anonymizers"], novel["examinations"]) == (1, 1, 2)
    assert novel["L_interval"] is None
    assert [cell["one_anonymizer"] for cell in found["cells"]] == [["novel"], ["novel"]]
    for seed in (0, 1):
        cell = json.loads((tmp_path / "out" / f"w-{seed}" / "summary.json").read_text())
        assert re.fullmatch("[0-9a-f]{12}", cell["rows"][1]["anonymizer"])


def test_what_is_left_is_what_jobs_took():
    jobs = [Job(n, n.split(":")[0], print) for n in ("train a:1", "train b:1", "look:1", "look:2")]
    pace = sweep.Pace(workers=2)
    pace.expect("one", jobs)
    pace.expect("two", jobs)
    assert pace.left() is None
    pace.note("one", Event("end", jobs[2], seconds=4.0))
    pace.note("one", Event("end", jobs[0], seconds=100.0))
    # Three looks of 4 s, a training of 100 s, and two that are taken for one like it.
    assert pace.left() == pytest.approx((3 * 4 + 100 + 2 * 100) / 2)
    pace.note("one", Event("progress", jobs[1], done=3, total=4))
    assert pace.left() == pytest.approx((3 * 4 + 100 + 100 + 25) / 2)
    pace.forget("one")
    assert pace.left() == pytest.approx((2 * 4 + 100 + 100) / 2)
    pace.learn(jobs, {"look": 40.0, "total": 1e9})  # twice 20 s in a cell of before
    assert pace.left() == pytest.approx((2 * (4 + 20) / 2 + 100 + 100) / 2)


# -------------------------------------------------------------------------------- a real sweep


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "grid.toml").write_text(grid_text())
    return folder


def words(place: Path, *more: str) -> list[str]:
    at = ["--out", str(place / "out"), "--workers", "1"]
    return ["sweep", str(place / "grid.toml"), *at, *more]


def strike(words: list[str], cache: Path, when: Callable[[], bool], number: int) -> tuple[int, str]:
    """Run a command, and send it, not its workers, a signal in the middle of its work."""
    process = tiny.start(words, cache)
    deadline = time.monotonic() + 500
    while time.monotonic() < deadline and process.poll() is None and not when():
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    try:
        _, err = process.communicate(timeout=120)
        assert psutil.wait_procs(family, timeout=60)[1] == []
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, err


def kept(out: Path) -> dict[Path, int]:
    """What work left that must not be done again."""
    found = [*out.glob("*/rows/*/*.safetensors"), *out.glob("*/methods/*/anonymizer.safetensors")]
    return {path: path.stat().st_mtime_ns for path in found}


@pytest.fixture(scope="module")
def swept(place: Path, cache: Path) -> tuple[Path, str]:
    """A sweep that was killed, interrupted and run again to its end; and what it printed then."""
    out = place / "out"
    code, _ = strike(words(place), cache, lambda: bool(kept(out)), signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (out / "w-0" / "summary.json").exists()
    before = kept(out)
    assert before
    code, err = strike(
        words(place), cache, lambda: (out / "w-1" / "config.toml").exists(), signal.SIGTERM
    )
    assert (code, err) == (
        130,
        f"Interrupted; what was finished is in {out}. Run the same command to go on.\n",
    )
    between = kept(out)
    assert between.items() >= before.items()
    assert len(between) > len(before)
    code, printed, err = tiny.command(words(place), cache)
    assert (code, err) == (1, "")
    assert kept(out).items() >= between.items()
    return out, printed


@pytest.mark.slow
def test_what_broke_is_named_and_the_rest_is_there(swept: tuple[Path, str]):
    out, printed = swept
    assert "2 cells, 1 finished before." in printed
    summary = json.loads((out / "sweep.json").read_text())
    assert [(c["world"], c["seed"], c["state"]) for c in summary["cells"]] == [
        ("w", 0, "failed"), ("w", 1, "failed"),
    ]  # fmt: skip
    for cell in summary["cells"]:
        assert cell["measured"] == ["raw", "blur", "penalty_0.1"]
        assert cell["left"] == []
        assert list(cell["failed"]) == ["crash"]
        assert re.match(r"train crash: Step \d: the (term|gradient)", cell["failed"]["crash"])
    rows = {row["name"]: row for row in summary["worlds"]["w"]}
    assert {name: (row["n"], row["failed"]) for name, row in rows.items()} == {
        **dict.fromkeys(("raw", "blur", "penalty_0.1"), (2, [])),
        "crash": (0, [0, 1]),
    }
    line = next(line for line in printed.splitlines() if line.startswith("w-1  crash failed"))
    assert "train crash: Step" in line
    assert "w-1  train crash failed: Step" in printed
    assert re.search(r"w-1: failed; rows: 3 measured, 1 failed\. 2 of 2 cells\.", printed)
    assert re.search(r"^crash +0 +— +— +seed 0, 1", printed, re.M)
    study_summary = json.loads((out / "w-0" / "summary.json").read_text())
    (failed,) = study_summary["failed"]
    assert (failed["row"], failed["job"]) == ("crash", "train crash")
    assert not list(out.rglob("*.npy"))
    assert (out / "w-0" / "report.html").exists()


@pytest.mark.slow
def test_killed_and_resumed_it_ends_the_same(swept: tuple[Path, str], cache: Path, tmp_path: Path):
    """The same figures as of a study that nothing happened to, and without the row that breaks."""
    text = grid_text(ROWS.partition('[[rows]]\nname = "crash"')[0], seeds="[0]")
    (cell,) = sweep.cells_of(grid_of(text), tmp_path)
    *_, last = study.carry_out(cell.study, cell.folder, workers=1)
    assert isinstance(last, dict)
    found = json.loads((swept[0] / "w-0" / "summary.json").read_text())
    assert found["rows"] == json.loads(json.dumps(last["summary"]["rows"]))


@pytest.mark.slow
def test_a_finished_sweep_does_nothing_again_unless_it_shall(
    swept: tuple[Path, str], place: Path, cache: Path
):
    out, _ = swept
    before = kept(out)
    log = out / "w-0" / "methods" / "crash" / "log.jsonl"
    tried = log.stat().st_mtime_ns
    code, printed, _ = tiny.command(words(place, "--json"), cache)
    assert code == 1
    assert json.loads(printed)["worlds"]["w"][0]["n"] == 2
    assert (kept(out), log.stat().st_mtime_ns) == (before, tried)
    code, printed, _ = tiny.command(words(place, "--retry", "--only", "w/0"), cache)
    assert code == 1
    assert "w-0  train crash failed" in printed
    assert "w-1" not in printed
    assert kept(out) == before
    assert log.stat().st_mtime_ns > tried


@pytest.mark.slow
def test_the_list_says_how_far_each_cell_is(swept: tuple[Path, str], place: Path):
    text = grid_text(seeds="[0, 1, 2]") + '\n[[rows]]\nmethod = { name = "grey" }\n'
    file = place / "more.toml"
    file.write_text(text)
    given = ["sweep", str(file), "--out", str(place / "out"), "--list"]
    code, printed, err = tiny.main(*given)
    assert (code, err) == (0, "")
    assert [line for line in printed.splitlines() if not line.startswith("  crash failed: ")] == [
        "w-0: begun; rows: 3 measured, 1 failed, 1 left.",
        "  left: grey",
        "w-1: begun; rows: 3 measured, 1 failed, 1 left.",
        "  left: grey",
        "w-2: missing; rows: 5 left.",
    ]
    code, printed, _ = tiny.main(*given, "--json", "--only", "w/2")
    assert json.loads(printed) == {
        "w-2": {
            "state": "missing", "measured": [], "failed": {},
            "left": ["raw", "blur", "penalty_0.1", "crash", "grey"],
        }
    }  # fmt: skip


@pytest.mark.slow
def test_a_grid_may_gain_rows_and_no_more(swept: tuple[Path, str], place: Path, tmp_path: Path):
    """Only the new row is done. One that changes is refused, before anything is done."""
    out = tmp_path / "out"
    copytree(swept[0], out)
    before = {path.relative_to(out) for path in kept(out)}
    stamps = kept(out)
    new = '\n[[rows]]\nmethod = { name = "grey" }\n'
    events = list(sweep.carry_out(grid_of(grid_text(ROWS + new)), out, workers=1, only=["w/0"]))
    assert kept(out).items() >= stamps.items()
    added = {path.relative_to(out) for path in kept(out)} - before
    assert {path.parts[2] for path in added} == {"grey"}
    started = {e.job.name for e in events if isinstance(e, Event) and e.kind == "start"}
    assert not any("crash" in name or "blur" in name for name in started)
    found = json.loads((out / "w-0" / "summary.json").read_text())
    assert {row["name"] for row in found["rows"]} == {
        "raw", "blur", "penalty_0.1", "grey",
    }  # fmt: skip
    for other in (grid_text(), grid_text(ROWS + new).replace("1e30", "1e29")):
        with pytest.raises(BadInput, match="w-0 holds a study of another configuration"):
            list(sweep.carry_out(grid_of(other), out, workers=1))


@pytest.mark.slow
def test_a_cell_without_raw_is_lost_and_the_next_goes_on(cache: Path, tmp_path: Path):
    """The folder of one cell cannot be written: a file is in the way."""
    grid = grid_of(grid_text("", equal="{}"))
    (tmp_path / "w-0" / "rows").mkdir(parents=True)
    (tmp_path / "w-0" / "rows" / "raw").write_text("in the way")
    events = list(sweep.carry_out(grid, tmp_path, workers=1))
    ends = [e for e in events if isinstance(e, dict) and "end" in e]
    assert [(e["end"].name, e["state"].kind) for e in ends] == [("w-0", "failed"), ("w-1", "done")]
    assert ends[0]["error"].startswith(
        "The raw row, which all others are measured against, cannot be measured: release raw: "
        "FileExistsError"
    )
    assert list(ends[0]["state"].failed) == ["raw"]


# -------------------------------------------------------------------------------- equal seconds


@pytest.mark.slow
def test_equal_seconds_become_steps_once(cache: Path, tmp_path: Path):
    grid = grid_of(grid_text(equal="{ seconds = 5 }", seeds="[0]"))
    (cell,) = sweep.cells_of(grid, tmp_path)
    assert [row.name for row in cell.study.rows][-1] == "crash"
    list(sweep.calibrate(grid, tmp_path, 1, span=0.3))
    noted = json.loads((tmp_path / "equal.json").read_text())
    assert noted["seconds"] == 5
    assert sorted(noted["rows"]) == ["crash", "penalty_0.1"]
    assert noted["rows"]["crash"]["error"].startswith("time crash: Step")
    (cell,) = sweep.cells_of(grid, tmp_path)
    assert list(cell.lacks) == ["crash"]
    assert [row.name for row in cell.study.rows] == ["raw", "blur", "penalty_0.1"]
    for row in cell.study.rows[2:]:
        about = noted["rows"][row.name]
        assert 1e-4 < about["seconds_per_step"] < 100
        assert row.run.method.config.steps == max(1, round(5 / about["seconds_per_step"]))
    assert sweep.state(cell).failed == cell.lacks
    # From then on the steps count, not the clock; other seconds or rows are something else.
    before = (tmp_path / "equal.json").read_bytes()
    assert list(sweep.calibrate(grid, tmp_path, 1, span=0.3)) == []
    retried = list(sweep.calibrate(grid, tmp_path, 1, retry=True, span=0.3))
    assert {event.job.name for event in retried} == {"time crash"}
    assert (tmp_path / "equal.json").read_bytes() == before
    with pytest.raises(BadInput, match=r"counts steps for 5\.?0? seconds, and the grid has 6"):
        sweep.cells_of(grid_of(grid_text(equal="{ seconds = 6 }")), tmp_path)
    changed = grid_text(ROWS.replace("[0.1] }", "[0.1] }\nanonymizer = { width = 8 }"),
                        equal="{ seconds = 5 }", seeds="[0]")  # fmt: skip
    with pytest.raises(BadInput, match="was timed of something else: penalty_0.1"):
        list(sweep.calibrate(grid_of(changed), tmp_path, 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "equal.json"]


# ---------------------------------------------------------- worlds that have less, or train nothing

TWO = """
[[worlds]]
name = "there"
set = ["data.world=W2"]
trained = "w"
rows = ["penalty_0.1"]
"""


def test_a_world_has_the_rows_that_it_lists(tmp_path: Path):
    values = tomllib.loads(grid_text())
    values["worlds"].append({"name": "few", "rows": ["crash"]})
    del values["equal"]
    values["worlds"].append({"name": "short", "rows": ["blur", "crash"], "method": {"steps": 2}})
    cells = sweep.cells_of(sweep.resolve_grid(values), tmp_path, ["w/0", "few/0", "short/0"])
    assert [[row.name for row in cell.study.rows] for cell in cells] == [
        ["raw", "blur", "penalty_0.1", "crash"], ["raw", "crash"], ["raw", "blur", "crash"],
    ]  # fmt: skip
    steps = [cell.study.rows[-1].run.method.config.steps for cell in cells]
    assert steps == [1000, 1000, 2]


def test_trained_rows_are_those_of_another_world(tmp_path: Path):
    values = tomllib.loads(grid_text())
    del values["equal"]
    values["worlds"] = [
        {"name": "w", "method": {"steps": 2}},
        {"name": "there", "trained": "w", "set": ["data.world=W2"], "rows": ["penalty_0.1"]},
    ]
    one, other = sweep.cells_of(sweep.resolve_grid(values), tmp_path, ["w/0", "there/0"])
    assert (one.source, other.source) == (None, one.folder)
    assert other.study.title == "Small: there, seed 0, trained in w"
    assert other.study.base.data.config.world == "W2"
    assert other.study.rows[1].run.method == one.study.rows[2].run.method  # what it was trained by


def test_a_world_that_trains_its_rows_after_all_is_another(tmp_path: Path):
    """What another world trained is not taken for what this one would have."""
    values = tomllib.loads(grid_text(seeds="[0]"))
    there = {"name": "there", "trained": "w", "set": ["data.world=W2"], "rows": ["penalty_0.1"]}
    values["worlds"].append(there)
    one, other = sweep.cells_of(sweep.resolve_grid(values), tmp_path)
    row = other.folder / "methods" / "penalty_0.1"
    row.mkdir(parents=True)
    (other.folder / "config.toml").write_text(other.study.toml())
    (row / "config.toml").write_text(one.study.rows[2].run.toml())  # as it is taken from there
    assert sweep.state(other).kind == "begun"
    del there["trained"]
    grid = sweep.resolve_grid(values)
    (alone,) = sweep.cells_of(grid, tmp_path, ["there"])
    assert (sweep.state(alone).kind, sweep.state(alone).other) == ("other", ("penalty_0.1",))
    with pytest.raises(BadInput, match="there-0 holds penalty_0.1, trained otherwise or elsewhere"):
        list(sweep.carry_out(grid, tmp_path, only=["there"]))
    (row / "config.toml").write_text(alone.study.rows[1].run.toml())  # trained by this world
    assert sweep.state(alone).kind == "begun"
    assert sweep.state(other).kind == "other"


def test_a_copy_that_was_killed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Half of a file would be taken for another row, for good."""
    values = tomllib.loads(grid_text(seeds="[0]"))
    values["worlds"].append({"name": "there", "trained": "w", "rows": ["penalty_0.1"]})
    one, other = sweep.cells_of(sweep.resolve_grid(values), tmp_path)
    source, to = (cell.folder / "methods" / "penalty_0.1" for cell in (one, other))
    source.mkdir(parents=True)
    (source / "config.toml").write_text(one.study.rows[2].run.toml())
    product = "anonymizer.safetensors"
    (source / product).write_bytes(b"weights")

    def killed(*_: Any) -> None:
        if (to / "config.toml").exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep._take_trained(other)
    assert [path.name for path in to.iterdir()] == ["config.toml"]
    sweep._take_trained(other)
    assert (to / product).read_bytes() == b"weights"


def test_what_another_sweep_did_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two in one folder share the cells; the one that waited for nothing still tells of all."""
    grid = grid_of(grid_text())
    cells = sweep.cells_of(grid, tmp_path)
    busy = {cell.name: "Another run is writing to it." for cell in cells}
    for found, said in (
        (sweep.State("done", ("raw", "blur")), False),
        (sweep.State("failed", ("raw", "blur"), {"crash": "no"}), False),
        (sweep.State("failed", (), {"raw": "no"}), True),
        (sweep.State("begun", ("raw",), {}, ("blur",)), True),
        (sweep.State("missing", (), {}, ("raw", "blur")), True),
    ):
        monkeypatch.setattr(sweep, "state", lambda cell, found=found: found)
        listed = sweep.summarize(grid, cells, busy, "")["cells"]
        assert ["error" in about for about in listed] == [said] * 2


def test_another_run_from_elsewhere_is_another_row(tmp_path: Path):
    a_run(tmp_path / "w-0")
    text = grid_text(FROM.replace("PLACE", str(tmp_path)), seeds="[0]", equal="{}")
    (cell,) = sweep.cells_of(grid_of(text), tmp_path / "out")
    copy = cell.folder / "methods" / "novel"
    copytree(tmp_path / "w-0", copy)
    (cell.folder / "config.toml").write_text(cell.study.toml())
    assert sweep.state(cell).kind == "begun"
    (copy / "anonymizer.safetensors").write_bytes(b"another")
    assert (sweep.state(cell).kind, sweep.state(cell).other) == ("other", ("novel",))


@pytest.mark.parametrize(
    ("worlds", "sentence"),
    [
        (
            [{"name": "a", "rows": ["blurr"]}],
            "No row of world a named 'blurr'. Did you mean 'blur'",
        ),
        ([{"name": "a", "trained": "b"}, {"name": "b"}], "No world above a that trains named 'b'"),
        ([{"name": "a", "set": ["seed=5"]}], "a cannot set seed: that is decided above all worlds"),
        ([{"name": "a", "method": {"name": "spact"}}], "a cannot make another method of its rows"),
        (
            [{"name": "a"}, {"name": "b", "trained": "a", "set": ["anonymizer.width=8"]}],
            "b cannot set anonymizer: .* where its rows are trained",
        ),
        (
            [{"name": "a"}, {"name": "b", "trained": "a"}, {"name": "c", "trained": "b"}],
            "No world above c that trains named 'b'. .*Available: a",
        ),
        (
            [{"name": "a", "rows": ["blur"]}, {"name": "b", "trained": "a"}],
            "b takes crash, penalty_0.1 as a trained it, which has no such row",
        ),
        (
            [{"name": "a"}, {"name": "b", "trained": "a", "method": {"steps": 2}}],
            "b trains nothing, so it has no method to change",
        ),
    ],
)
def test_worlds_that_are_not_right(worlds: list[dict[str, Any]], sentence: str):
    with pytest.raises(BadInput, match=sentence):
        sweep.resolve_grid({**tomllib.loads(grid_text()), "worlds": worlds})


@pytest.mark.slow
def test_what_is_trained_elsewhere_is_not_trained(cache: Path, tmp_path: Path):
    """Taken as it is, examined on another world; refused where it is not there, or has changed."""
    rows = ROWS.partition('[[rows]]\nname = "crash"')[0]
    grid = grid_of(grid_text(rows, seeds="[0]") + TWO)
    *_, last = sweep.carry_out(grid, tmp_path, workers=1, only=["there"])
    assert isinstance(last, dict)
    (told,) = [cell for cell in last["sweep"]["cells"] if cell["world"] == "there"]
    assert told["error"] == (
        "there-0 examines penalty_0.1 as w-0 trains it, and it is not there; `velatura sweep` that "
        "cell first, or see why it failed."
    )
    begun = [
        event.job.name
        for event in sweep.carry_out(grid, tmp_path, workers=1)
        if isinstance(event, Event)
        and event.kind == "start"
        and "there-0" in event.job.arguments["folder"]
    ]
    assert begun
    assert not [name for name in begun if name.startswith(("train", "raw"))]
    product = Path("methods", "penalty_0.1", "anonymizer.safetensors")
    assert (tmp_path / "there-0" / product).read_bytes() == (
        tmp_path / "w-0" / product
    ).read_bytes()
    summary = json.loads((tmp_path / "there-0" / "summary.json").read_text())
    assert [row["name"] for row in summary["rows"]] == ["raw", "penalty_0.1"]
    assert summary["rows"][1]["rms"] > 0
    assert set(summary["rows"][1]["attributes"]) >= {"gait", "skirt"}
    (tmp_path / "w-0" / product).write_bytes(b"another")
    (cell,) = sweep.cells_of(grid, tmp_path, ["there"])
    with pytest.raises(Failure, match="is another penalty_0.1 than w-0 has now; remove"):
        sweep._take_trained(cell)


# ------------------------------------------------------------------------------ the page on sweeps


@pytest.mark.slow
def test_the_commands_of_the_page_do_what_it_says(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its grid and its commands, in order, on less of everything."""
    text = (ROOT / "docs" / "sweep.md").read_text()
    (grid,) = re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "grid.toml").write_text(grid)
    (block,) = re.findall(r"^```\n(velatura sweep.*?)^```", text, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    whole = sweep.cells_of(sweep.resolve_grid(tomllib.loads(grid)), tmp_path)
    assert [len(cell.study.rows) for cell in whole] == [4] * 6
    assert {r.run.method.config.steps for c in whole for r in c.study.rows[2:]} == {200}
    values = tomllib.loads(grid_text(""))
    less = [
        f"--set={section}.{key}={json.dumps(value)}"
        for section in ("data", "batches", "anonymizer", "target", "budget", "start", "evaluation")
        for key, value in values[section].items()
    ] + ["--set=equal.steps=3", "--set=seeds=[1]"]
    answers = []
    for line in block.splitlines():
        _, *given = shlex.split(line, comments=True)
        more = [*less, "--workers", "2"] if given[0] == "sweep" else []
        code, out, err = tiny.main(*given, *more)
        assert code == 0, (line, out, err)
        assert not err or "--json" in given  # then the progress is there
        answers.append(out)
    assert answers[0].count("missing") == 2
    assert "2 cells, 0 finished before." in answers[1]
    assert "1 cell, 1 finished before." in answers[2]
    summary = json.loads(answers[4])
    assert list(summary["worlds"]) == ["free", "coupled"]
    assert [row["n"] for row in summary["worlds"]["free"]] == [1] * 4
    assert (tmp_path / "runs" / "grid" / "free-1" / "report.html").exists()


def test_settings_are_looked_for_where_nothing_is_reported_and_alike_for_all():
    """As many settings of each learned method, at a seed that no comparison has."""
    grids = {path.stem: sweep.resolve_grid(read_toml(path)) for path in GRIDS}
    tuning = grids["tuning"]
    looked_at = {seed for name, grid in grids.items() if "tuning" in name for seed in grid.seeds}
    for name, grid in grids.items():
        assert "tuning" in name or not {*grid.seeds} & looked_at
    study = sweep.cells_of(tuning, Path("nowhere"))[0].study
    settings = Counter(row.run.method.name for row in study.rows if sweep.learns(row.run))
    assert set(settings.values()) == {4}


def test_settings_are_those_that_tuning_found():
    """Of each method's the one nearest to U = 1, L = 0, in the record; the penalty has SPAct's."""
    record = ROOT / "experiments" / "records" / "tuning" / "world-100" / "summary.json"
    summary = json.loads(record.read_text())
    settings = {row["name"]: row["method"] for row in summary["config"]["rows"]}
    best: dict[str, tuple[float, str]] = {}
    for row in summary["rows"]:
        if row["method"] != "identity":
            found = (ideal_distance(row["U"], row["L"]), row["name"])
            best[row["method"]] = min(found, best.get(row["method"], found))
    rows = read_toml(ROOT / "experiments" / "grids" / "tuning.toml")["rows"]
    keys = {row["name"]: list(row["sweep"]) for row in rows}
    assert set(keys) == set(best)
    for name in ("penalty", "penalty_released"):
        best[name], keys[name] = best["spact"], keys["spact"]
    for grid in ("comparison", "comparison-real", "ladder"):
        for row in read_toml(ROOT / "experiments" / "grids" / f"{grid}.toml")["rows"]:
            method = row.get("method", {})  # a row once more, after a codec, has none
            for key in keys.get(method.get("name", ""), ()):
                assert method[key] == settings[best[method["name"]][1]][key], (grid, row["name"])
