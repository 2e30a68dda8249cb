"""The demo's committed records: of today's demo, in today's world, and what they must show.

Measuring takes minutes a seed, so this reads what ``velatura demo --seeds 5`` wrote, and first
makes sure that it is of the demo and the world as they are now. Where it is not: run that
command, and copy each seed's ``summary.json`` and ``records.jsonl``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from velatura.config import read_toml
from velatura.data import people
from velatura.demo import demo_study
from velatura.layout import Measurement
from velatura.report.tables import to_markdown
from velatura.study import resolve_study

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "experiments" / "records"
SEEDS = range(5)
FILTERS = ["blur", "downsample", "frame_difference"]
SERVICES = ("title", "loop")

each_seed = pytest.mark.parametrize("seed", SEEDS)


def summary(seed: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDS / f"demo-seed-{seed}/summary.json").read_text())
    return found


def rows(seed: int) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in summary(seed)["rows"]}


@each_seed
def test_they_are_of_this_demo_and_this_world(seed: int):
    study, measured = demo_study(seed), summary(seed)["config"]
    now = json.loads(json.dumps(study.values()))
    for values in (now, measured):
        for key in SERVICES:
            values.pop(key, None)
        # Keys that came after the measurement, at the values that change nothing.
        values["batches"] = {"stride": 1, "starts": 1, "augment": None, **values["batches"]}
        values["evaluation"] = {"networks": {}, **values["evaluation"]}
        for key in ("cache", "workers"):  # where clips are kept says nothing of what they are
            values["data"].pop(key, None)
    assert now == measured
    # The fingerprint holds the renderer's version and everything that pixels depend on.
    config = study.base.data.config
    assert isinstance(config, people.Config)
    assert summary(seed)["data"]["fingerprint"] == f"train-{people._digest(config, 'train')}"


@each_seed
def test_the_lines_repeat_the_table(seed: int):
    text = (RECORDS / f"demo-seed-{seed}/records.jsonl").read_text()
    lines = [Measurement(**json.loads(line)) for line in text.splitlines()]
    for name, row in rows(seed).items():
        found = {m.metric: m.value for m in lines if m.row == name and m.metric in ("U", "L")}
        assert found == {"U": row["U"], "L": row["L"]}
    assert {line.provenance["data"] for line in lines} == {summary(seed)["data"]["fingerprint"]}


@each_seed
def test_raw_can_be_learnt_and_a_constant_cannot(seed: int):
    found = rows(seed)
    assert found["raw"]["top1"] >= 85
    assert found["raw"]["cmap"] >= 93
    assert found["raw"]["L"] >= 0.95
    assert found["constant"]["L"] <= 0.12
    assert abs(found["constant"]["U"]) <= 0.05
    assert summary(seed)["data"]["test_people"] >= 250


@each_seed
@pytest.mark.parametrize("name", FILTERS)
def test_no_fixed_filter_solves_the_world(seed: int, name: str):
    row = rows(seed)[name]
    assert row["L"] > 0.3 or row["U"] < 0.8


def bounded(seed: int) -> bool:
    """The penalty at B = .1 does what its equation says, also on clips it did not train on."""
    row = rows(seed)["penalty_0.1"]
    return bool(row["U"] >= 0.95 and row["beyond_bound"] <= 0.1)


def hides(seed: int) -> bool:
    """The constrained method keeps the action and hides more than the self-supervised ones."""
    found = rows(seed)
    ours = found["constrained"]
    others = min(found[name]["L"] for name in ("spact", "penalty_0.1", "penalty_0.2"))
    return bool(ours["U"] >= 0.8 and ours["L"] <= 0.6 and ours["L"] <= others - 0.25)


@pytest.mark.parametrize("holds", [bounded, hides])
def test_what_training_reaches_in_four_of_five_seeds(holds: Callable[[int], bool]):
    assert sum(map(holds, SEEDS)) >= 4


def test_the_readme_says_which_seeds_fail():
    """Its sentence is checked against the records, so that neither changes alone."""
    text = " ".join((ROOT / "README.md").read_text().split())
    row = rows(3)["constrained"]
    assert not hides(3)
    assert f"in seed 3 it keeps more and leaks more (U {row['U']:.2f}, L {row['L']:.2f})" in text
    share = rows(4)["penalty_0.1"]["beyond_bound"]
    assert not bounded(4)
    assert f"In seed 4 the penalty at B = 0.1 lets {share:.0%} of the test clips beyond" in text


def test_the_readme_prints_the_records_of_seed_0():
    """To the digits that the table shows."""
    printed = (ROOT / "README.md").read_text()
    for name, row in rows(0).items():
        line = next(x for x in printed.splitlines() if x.startswith(name.replace("_", " ") + "  "))
        assert f" {row['top1']:.1f} " in line
        assert f" {row['cmap']:.1f} " in line
        if name not in ("raw", "constant"):
            assert f" {row['U']:.2f} " in line
            assert f" {row['L']:.2f} " in line


# ------------------------------------------------------------------------------- real video


def real_video() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDS / "hmdb51-small/summary.json").read_text())
    return found


def test_the_real_record_is_of_todays_run_file():
    study = resolve_study(read_toml(ROOT / "experiments/runs/hmdb51-small.toml"))
    now, measured = json.loads(json.dumps(study.values())), real_video()["config"]
    for key in SERVICES:
        now.pop(key), measured.pop(key)
    assert now == measured
    text = (RECORDS / "hmdb51-small/records.jsonl").read_text()
    lines = [Measurement(**json.loads(line)) for line in text.splitlines()]
    for row in real_video()["rows"]:
        found = {
            m.metric: m.value for m in lines if m.row == row["name"] and m.metric in ("U", "L")
        }
        assert found == {"U": row["U"], "L": row["L"]}
    assert {(line.dataset, line.n, line.groups) for line in lines} == {("vp_hmdb51", 92, 34)}


def test_the_page_on_real_video_prints_its_record():
    page = (ROOT / "docs/real-video.md").read_text()
    assert to_markdown(real_video()).split("\n\n")[0] in page
    named = {row["name"]: row for row in real_video()["rows"]}
    # What it says of the rows.
    assert real_video()["floor"]["L"] == pytest.approx(0.86, abs=0.005)
    free, bounded = named["penalty_free"], named["penalty_0.1"]
    assert free["rms"] == bounded["rms"] == pytest.approx(0.034, abs=0.0005)
    assert free["attackers"] == bounded["attackers"]
    assert named["constrained"]["plugin_top1"] == pytest.approx(38, abs=0.5)
    for row in named.values():
        low, high = row["L_interval"]
        assert row["name"] in ("raw", "frame_difference") or low <= 1 <= high


# ------------------------------------------------------------------- what filters leave, at length

GROUPS = {
    "colours": ("skin_tone", "hair", "shirt"),
    "shape and clothes": ("gender", "bare_skin"),
    "face": ("face_complete", "face_partial"),
    "company": ("person_close", "person_distant"),
}


def guards() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDS / "world-guards/summary.json").read_text())
    return found


def left(row: dict[str, Any], raw: dict[str, Any], names: tuple[str, ...]) -> float:
    """L of a group of attributes: what its best readers know beyond the prevalence."""
    above = [
        sum(r["attributes"][n]["ap"] - r["attributes"][n]["prevalence"] for n in names)
        for r in (row, raw)
    ]
    return float(above[0] / above[1])


def guarded(row: dict[str, Any], raw: dict[str, Any]) -> bool:
    """A filter costs a fifth of the action, or leaves a group of attributes to be read."""
    return row["U"] < 0.8 or max(left(row, raw, names) for names in GROUPS.values()) > 0.3


def test_a_filter_that_hides_everything_and_costs_nothing_would_be_seen():
    rows = {row["name"]: row for row in guards()["rows"]}
    assert {n for names in GROUPS.values() for n in names} == set(rows["raw"]["attributes"])
    assert left(rows["raw"], rows["raw"], GROUPS["face"]) == 1
    assert not guarded({**rows["constant"], "U": 0.95}, rows["raw"])
    assert guarded({**rows["grey"], "U": 0.95}, rows["raw"])


def test_the_action_is_a_motion_and_not_a_pose():
    """One frame shown throughout; chance is 10."""
    named = {row["name"]: row for row in guards()["rows"]}
    assert named["single_frame"]["top1"] <= named["raw"]["top1"] - 25
    assert named["single_frame"]["U"] <= 0.7


def test_no_fixed_filter_solves_the_world_and_grey_is_one():
    """The demo's data and examination; grey, which the demo leaves out, stands here."""
    found = guards()
    study = resolve_study(read_toml(ROOT / "experiments/runs/world-guards.toml"))
    now = json.loads(json.dumps(study.values()))
    named = {row["name"]: row for row in found["rows"]}
    assert {k: v for k, v in now.items() if k not in SERVICES} == {
        k: v for k, v in found["config"].items() if k not in SERVICES
    }
    for name in {"grey", "pixelate", *FILTERS}:
        assert guarded(named[name], named["raw"])
    said = (ROOT / "docs/people.md").read_text()
    assert f"grey (U {named['grey']['U']:.2f}, L {named['grey']['L']:.2f})" in said
    # The demo's records are of earlier code with other draws: intervals meet, digits do not.
    for name in FILTERS:
        for key in ("U_interval", "L_interval"):
            (low, high), (least, most) = named[name][key], rows(0)[name][key]
            assert low <= most, (name, key)
            assert least <= high, (name, key)


def test_no_record_names_a_folder_of_the_machine_that_made_it():
    """A command is to be run again elsewhere; what it wrote lies where each chooses."""
    texts = {
        str(path.relative_to(ROOT)): path.read_text()
        for path in sorted((ROOT / "experiments" / "records").rglob("*"))
        if path.suffix in {".json", ".jsonl", ".md", ".csv", ".toml"}
    }
    assert len(texts) > 50
    absolute = re.compile(r"""["'\s=](?:/(?:home|mnt|root|srv|tmp|Users|work)|[A-Z]:\\\\)[/\\]""")
    assert absolute.search('"--out /home/')
    assert [name for name, text in texts.items() if absolute.search(text)] == []
