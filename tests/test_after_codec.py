"""Rows after a codec: another row's release once more, beside it and against the same raw row."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import tiny

from velatura import experiment, metrics, study, sweep
from velatura.config import digest, plain, read_toml
from velatura.errors import BadInput
from velatura.jobs import Event
from velatura.layout import Splits
from velatura.protocols._fresh import Config as Evaluation
from velatura.report import tables
from velatura.study import work
from velatura.training import checkpoint, loop
from velatura.video.codec import through_codec

ROOT = Path(__file__).parents[1]
LEARNED = {"name": "penalty", "alternate": "both", "bound": 0.1, "steps": 2}
ROWS = [
    {"name": "soft", "method": {"name": "blur"}},
    {"name": "soft_h264", "of": "soft", "codec": "h264"},
    {"name": "coarse", "of": "learned", "codec": "h264", "crf": 40},
    {"name": "learned", "method": LEARNED},
]


def values(rows: Any = ROWS, /, **evaluation: Any) -> dict[str, Any]:
    """A study file of one attacker and one seed."""
    found = tiny.values()
    del found["method"]
    found["evaluation"] = {
        "attackers": ["frame_cnn"], "seeds": [0], "target_seeds": [0], "start": "scratch",
        "epochs": 1, "replicates": 100, **evaluation,
    }  # fmt: skip
    return {"title": "Small", **found, "rows": rows}


# ------------------------------------------------------------------------------- the study file


def test_a_row_after_a_codec_is_the_other_row_s_run():
    made = study.resolve_study(values())
    assert [row.name for row in made.rows] == ["raw", "soft", "soft_h264", "coarse", "learned"]
    soft, soft_h264, coarse, learned = made.rows[1:]
    assert (soft_h264.run, coarse.run) == (soft.run, learned.run)
    assert (soft.coded, learned.coded) == (None, None)
    assert (soft_h264.maker, coarse.maker, learned.maker) == ("soft", "learned", "learned")
    assert made.values()["rows"][2:4] == [
        {"name": "soft_h264", "of": "soft", "codec": "h264", "crf": 23},
        {"name": "coarse", "of": "learned", "codec": "h264", "crf": 40},
    ]
    again = study.resolve_study(tomllib.loads(made.toml()))
    assert (again.values(), again.rows) == (made.values(), made.rows)
    # At the rate of [evaluation], where the row has none.
    assert study.resolve_study(values(crf=31)).rows[2].coded.crf == 31


def test_also_writes_these_rows_out():
    plain_rows = [row for row in ROWS if "method" in row]
    short = study.resolve_study(values(plain_rows, also=["h264"], crf=30))
    long = [
        one
        for row in ({"name": "raw", "method": {"name": "identity"}}, *plain_rows)
        for one in (row, {"name": f"{row['name']}_h264", "of": row["name"], "codec": "h264"})
    ]
    assert short.values() == study.resolve_study(values(long, crf=30)).values()
    assert [row.name for row in short.rows] == [
        "raw", "raw_h264", "soft", "soft_h264", "learned", "learned_h264",
    ]  # fmt: skip
    assert "also" not in short.toml()


def test_the_page_s_ways_to_say_it_are_right():
    page = (ROOT / "docs" / "ladder.md").read_text()
    blocks = [tomllib.loads(text) for text in re.findall(r"^```toml\n(.*?)^```", page, re.M | re.S)]
    (examined,) = [b["evaluation"] for b in blocks if "also" in b.get("evaluation", {})]
    rows = [{"method": {"name": "spact"}}]
    short = study.resolve_study({"evaluation": examined, "rows": rows})
    (row,) = [row for b in blocks for row in b.get("rows", ()) if "of" in row]
    long = study.resolve_study({"rows": [*rows, row]})
    assert [row.name for row in short.rows] == ["raw", "raw_h264", "spact", "spact_h264"]
    assert short.rows[3].coded == long.rows[2].coded


def test_what_was_before_is_as_it_was():
    """No key more where nothing is asked for: an old folder has the same configuration, and the
    digest that stands in its records."""
    assert "also" not in plain(Evaluation())
    made = study.resolve_study(read_toml(ROOT / "experiments/runs/hmdb51-small.toml"))
    assert {key for row in made.values()["rows"] for key in row} == {"name", "method", "anonymizer"}
    records = ROOT / "experiments/records/hmdb51-small/records.jsonl"
    with records.open() as lines:
        assert digest(made.science()) == json.loads(lines.readline())["provenance"]["config"]


@pytest.mark.parametrize(
    ("row", "evaluation", "sentence"),
    [
        ({"of": "sofd"}, {}, "No row that x could be of named 'sofd'. Did you mean 'soft'?"),
        ({"of": "x"}, {}, "Row x is of itself; `of` names the row whose release goes through"),
        (
            {"of": "soft_h264"}, {},
            "Row x is of soft_h264, which went through a codec already; .* such as soft",
        ),
        ({"codec": "av2"}, {}, r"rows\[4\]\.codec: Input should be 'h264', got 'av2'"),
        ({"crf": 52}, {}, r"rows\[4\]\.crf: .* less than or equal to 51, got 52"),
        ({"method": {"name": "blur"}}, {}, r"Unknown key rows\[4\]\.method"),
        ({"name": "raw"}, {}, "The row 'raw' is what others are measured against, and goes thr"),
        ({"name": "a/b"}, {}, r"rows\[4\]: the name 'a/b' becomes a folder"),
        ({"name": "soft_h264"}, {}, "Two rows are named 'soft_h264'"),
        ({}, {"codec": "h264"}, r"Row \w+ would go through two codecs, its own and evaluation.co"),
        ({}, {"also": ["h264"]}, "Two rows are named 'soft_h264'"),
        ({}, {"also": ["av2"]}, r"evaluation\.also\.0: Input should be 'h264', got 'av2'"),
        ({}, {"also": ["h264", "h264"]}, "evaluation.also names one twice"),
        (
            {}, {"also": ["h264"], "codec": "h264"},
            "evaluation.also: every row goes through evaluation.codec already",
        ),
    ],
)  # fmt: skip
def test_rows_that_cannot_be(row: Any, evaluation: Any, sentence: str):
    bad = {"name": "x", "of": "soft", "codec": "h264", **row}
    with pytest.raises(BadInput, match=sentence):
        study.resolve_study(values([*ROWS, bad], **evaluation))


def test_the_codecs_are_listed():
    code, out, err = tiny.main("evaluate", "--list")
    assert (code, out.splitlines()[-1], err) == (0, "codecs: h264", "")


def test_a_row_of_nothing_is_no_row():
    with pytest.raises(BadInput, match=r"rows\[0\]: expected the keys .* or name, of, codec and"):
        study.resolve_study(values([{"name": "x", "codec": "h264"}]))
    with pytest.raises(BadInput, match=r"rows\[0\]\.codec: Field required"):
        study.resolve_study(values([{"name": "x", "of": "raw"}]))


def test_nothing_is_trained_for_it(tmp_path: Path):
    made = study.resolve_study(values(start="raw"))
    jobs = {job.name: job for job in study.plan(made, tmp_path, ["people/test"])}
    assert [name for name in jobs if name.startswith("train ")] == ["train learned"]
    assert jobs["release coarse"].needs == ("train learned",)
    assert jobs["release soft_h264"].needs == ()
    assert set(jobs["examine coarse attributes frame_cnn 0"].needs) == {
        "release coarse", "start attributes frame_cnn",
    }  # fmt: skip


# ------------------------------------------------------------------------------- what is released


def test_what_it_releases_is_the_other_s_release_out_of_the_codec(cache: Path, tmp_path: Path):
    """Of a filter, and of a network, whose weights lie in the other row's folder alone."""
    made = study.resolve_study(values())
    (tmp_path / "config.toml").write_text(made.toml())
    learned = tmp_path / "methods" / "learned"
    learned.mkdir(parents=True)
    run = made.row("learned").run
    (learned / "config.toml").write_text(run.toml())
    network = experiment.build_anonymizer(run)
    checkpoint.save(learned / "anonymizer.safetensors", {"f_A": network.state_dict()}, {})
    test = study.load_all(made).clips.test
    for name, of, crf in (("soft_h264", "soft", 23), ("coarse", "learned", 40)):
        found = {}
        for row in (name, of):
            work.work_release("job", str(tmp_path), row)
            frames = np.load(tmp_path / "rows" / row / "release-people-test.npy")
            found[row] = test.with_frames(frames, test.name, row)
        for k in range(len(test)):
            want = through_codec(found[of].video(k), "h264", crf)
            assert np.array_equal(found[name].video(k), want)
        change, other = (
            json.loads((tmp_path / "rows" / row / "release.json").read_text()) for row in found
        )
        assert change == other  # what the anonymizer changed, not what the codec does


class Marked(torch.nn.Module):
    """Mid-grey, lighter by a share of a level where the clip's first pixel is white."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = (x[:, :1, :1, :1, :1] > 0.5).to(x)
        return torch.full_like(x, 128 / 255) + self.share / 255 * bright


def test_a_mark_of_less_than_half_a_level_is_gone(tmp_path: Path):
    """A release is bytes: what is examined has been rounded, whatever floats held."""
    data = tiny.noise()
    data.frames[:, :, 0, 0] = 0
    data.frames[: data.lengths[0], :, 0, 0] = 255
    fabric = loop.fabric(loop.Config(device="cpu", precision="32"))
    for share, seen in ((0.4, 128), (0.6, 129)):
        found = experiment.release(Marked(share), data, tmp_path / f"{share}.npy", fabric)
        assert found.frames.dtype == np.uint8
        assert (found.video(0) == seen).all()
        assert all((found.video(k) == 128).all() for k in range(1, len(data)))


# ------------------------------------------------------------------------------- a finished study


@pytest.fixture(scope="module")
def done(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A study with and without a codec, of a filter and of a learned row."""
    folder = tmp_path_factory.mktemp("studies") / "both"
    made = study.resolve_study(values(crf=45))
    return folder, list(study.carry_out(made, folder, workers=1))


def scores(folder: Path, row: str, which: str) -> np.ndarray:
    found: np.ndarray = checkpoint.load(folder / "rows" / row / which)[0]["scores"].numpy()
    return found


@pytest.mark.slow
def test_both_stand_beside_each_other(done: tuple[Path, list[Any]]):
    folder, events = done
    summary = json.loads((folder / "summary.json").read_text())
    rows = {row["name"]: row for row in summary["rows"]}
    assert list(rows) == ["raw", "soft", "soft_h264", "coarse", "learned"]
    told = {name: [row.get(key) for key in ("of", "codec", "crf")] for name, row in rows.items()}
    assert told == {
        "raw": [None] * 3, "soft": [None] * 3, "soft_h264": ["soft", "h264", 45],
        "coarse": ["learned", "h264", 40], "learned": [None] * 3,
    }  # fmt: skip
    # Both are normalised by the one raw row, as it is without a codec.
    splits: Splits = events[0]["splits"]
    file = "attributes-frame_cnn-0.safetensors"
    raw = metrics.cmap(scores(folder, "raw", file), splits.test.attributes)
    chance = float(metrics.prevalence(splits.test.attributes).mean())
    for name in ("soft", "soft_h264", "coarse"):
        cmap = metrics.cmap(scores(folder, name, file), splits.test.attributes)
        assert rows[name]["cmap"] == pytest.approx(cmap)
        assert rows[name]["L"] == pytest.approx(float(metrics.leakage(cmap, raw, chance)))
    assert (rows["coarse"]["method"], rows["coarse"]["rms"]) == ("penalty", rows["learned"]["rms"])
    trained = [e.job.name for e in events if isinstance(e, Event) and e.job.name[:6] == "train "]
    assert {*trained} == {"train learned"}
    assert [path.name for path in (folder / "methods").iterdir()] == ["learned"]
    with np.load(folder / "sheet.npz") as sheet:
        assert not np.array_equal(sheet["soft"], sheet["soft_h264"])
    assert ",of,codec,crf" in tables.to_csv(summary).splitlines()[0]
    assert not list((folder / "rows").rglob("*.npy"))


@pytest.mark.slow
def test_resumed_it_does_nothing_again(done: tuple[Path, list[Any]]):
    folder, _ = done
    made = study.resolve_study(read_toml(folder / "config.toml"))
    events = list(study.carry_out(made, folder, resume=True, workers=1))
    assert {e.kind for e in events if isinstance(e, Event)} == {"reused"}


# ------------------------------------------------------------------------------------- a sweep


def grid(rows: Any = ROWS, /, **more: Any) -> sweep.Grid:
    given = values(rows)
    del given["seed"]
    return sweep.resolve_grid({**given, "seeds": [0], "worlds": [{"name": "w"}], **more})


def test_a_grid_carries_such_rows(tmp_path: Path):
    swept = [{"method": {k: v for k, v in LEARNED.items() if k != "bound"},
              "sweep": {"bound": [0.1, 0.2]}}]  # fmt: skip
    late = {"name": "late", "of": "penalty_0.2", "codec": "h264"}
    few = {"name": "few", "rows": ["penalty_0.1"], "set": ["evaluation.also=['h264']"]}
    whole = grid([*swept, late], worlds=[{"name": "w"}, few])
    one, other = sweep.cells_of(whole, tmp_path)
    assert [row.name for row in one.study.rows] == ["raw", "penalty_0.1", "penalty_0.2", "late"]
    assert one.study.row("late").run == one.study.row("penalty_0.2").run
    assert [row.name for row in other.study.rows] == [
        "raw", "raw_h264", "penalty_0.1", "penalty_0.1_h264",
    ]  # fmt: skip
    # A grid may gain one; and a record with it is what the grid says, with a source or without.
    fewer = sweep.cells_of(grid(swept), tmp_path)[0].study
    assert study.admits(fewer, one.study)
    assert not study.admits(one.study, fewer)
    assert sweep.difference(one.study, fewer) == ""
    changed = grid([*swept, {**late, "crf": 30}]).study(whole.worlds[0], 0, {})
    assert sweep.difference(changed, one.study) == "rows.late.crf is 23, the grid says 30"


def test_steps_are_timed_and_lost_with_the_row_that_it_is_of(tmp_path: Path):
    steps = {k: v for k, v in LEARNED.items() if k != "steps"}
    rows = [{**row, "method": steps} if row["name"] == "learned" else row for row in ROWS]
    timed = grid(rows, equal={"seconds": 5})
    of = digest(timed.study(timed.worlds[0], 0, {}).row("learned").run.science())
    known = {"learned": {"steps": 7, "of": of}}
    (tmp_path / "equal.json").write_text(json.dumps({"seconds": 5, "rows": known}))
    assert list(sweep.calibrate(timed, tmp_path)) == []  # nothing but "learned" has steps
    (cell,) = sweep.cells_of(timed, tmp_path)
    assert cell.study.row("coarse").run.method.config.steps == 7
    known["learned"] = {"error": "broke", "of": of}
    (tmp_path / "equal.json").write_text(json.dumps({"seconds": 5, "rows": known}))
    (cell,) = sweep.cells_of(timed, tmp_path)
    assert [row.name for row in cell.study.rows] == ["raw", "soft", "soft_h264"]
    assert cell.lacks == {"learned": "broke", "coarse": "broke"}


def test_what_another_world_trained_is_taken_once(tmp_path: Path):
    there = {"name": "there", "trained": "w", "set": ["data.world=W2"]}
    one, other = sweep.cells_of(grid(worlds=[{"name": "w"}, there]), tmp_path)
    source = one.folder / "methods" / "learned"
    source.mkdir(parents=True)
    for name, text in (("anonymizer.safetensors", "weights"), ("config.toml", "")):
        (source / name).write_text(text)
    sweep._take_trained(other)
    assert [path.name for path in (other.folder / "methods").iterdir()] == ["learned"]
