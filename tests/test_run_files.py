"""Every file of experiments/runs is checked in full; most are too long to run in a test.

So are the numbers of K1 to K3, of experiments/protocols; the rest of that folder is in
test_protocol_files.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

from velatura import plugins
from velatura.config import read_toml
from velatura.data import _clips
from velatura.data._lists import catalog
from velatura.data._lists.source import Ask
from velatura.experiment import learns, resolve
from velatura.study import Study, resolve_study

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "experiments" / "runs"
SHARED = Path(os.environ.get("VELATURA_DATA", ROOT.parent / "shared" / "data"))
PROTOCOLS = ROOT / "experiments" / "protocols"
PAPER = ("k1", "k2", "k3")
COUNTED = (*PAPER, "jhmdb-gpu", "hmdb51-jhmdb")


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.toml")), ids=lambda path: path.stem)
def test_it_resolves_and_says_how_it_is_run(path: Path):
    values = read_toml(path)
    verb = "evaluate" if "rows" in values else "train"
    again = (
        resolve_study(values).values()["rows"] if verb == "evaluate" else resolve(values).values()
    )
    assert json.dumps(again)
    assert f"velatura {verb} experiments/runs/{path.name}" in path.read_text()


# ------------------------------------------------------------- what the headers say, from the lists


class Counts(NamedTuple):
    """Clips of a run file: of its training list, and of what becomes of it."""

    listed: int
    left_out: int
    learnt: int
    held_out: int
    tested: int
    shared_films: int


class Dealt(Exception):
    """Raised in place of decoding."""


def path_of(name: str) -> Path:
    return (PROTOCOLS if name in PAPER else RUNS) / f"{name}.toml"


def study_of(name: str) -> Study:
    return resolve_study(read_toml(path_of(name)))


@pytest.fixture(params=COUNTED)
def counted(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Counts]:
    """What a run file's data set deals out, up to the point where videos would be decoded.

    The full sets are not there. Files that hold nothing stand for theirs, one for each name in
    the official lists.
    """
    name: str = request.param
    data = study_of(name).base.data
    lists = SHARED / "annotations"
    if not lists.is_dir():
        pytest.skip(f"no annotations at {SHARED}; set VELATURA_DATA to a folder that has them")
    root = tmp_path
    if name in PAPER:
        split = getattr(data.config, "split", 0) or None
        listing = catalog.source(data.name).read(Ask(root=root, annotations=lists, split=split))
        for video in listing.videos:
            (root / video.path).parent.mkdir(exist_ok=True)
            (root / video.path).touch()
    elif not (root := SHARED / "hmdb51_jhmdb" / "videos").is_dir():
        pytest.skip(f"no videos at {root}; set VELATURA_DATA to a folder that has them")

    listed: list[Any] = []
    dealt: list[Any] = []
    deal = _clips._split

    def watched(rows: list[Any], *rest: Any) -> list[Any]:
        listed.extend(rows)
        return deal(rows, *rest)

    def stop(root: Path, rows: list[Any], *rest: Any) -> NoReturn:
        dealt.extend(rows)
        raise Dealt

    monkeypatch.setattr(_clips, "_split", watched)
    monkeypatch.setattr(_clips, "prepared", stop)
    config = replace(data.config, root=str(root), annotations=str(lists))
    with pytest.raises(Dealt):
        plugins.load("data", data.name).load(config)
    size = Counter(row.split for row in dealt)
    films = {part: {row.group for row in dealt if row.split == part} for part in size}
    assert not films["train"] & films["val"]
    train = sum(row.split == "train" for row in listed)
    left = train - size["train"] - size["val"]
    shared = len(films["train"] & films["test"])
    return name, Counts(train, left, size["train"], size["val"], size["test"], shared)


def test_the_header_counts_what_the_code_counts(counted: tuple[str, Counts]):
    name, n = counted
    study = study_of(name)
    learnt = [row.run for row in study.rows if learns(row.run)]
    left = f" {n.left_out} left out," if n.left_out else ""
    clips = (
        f"#   clips: {n.listed} in the list,{left} {n.learnt} learnt, {n.held_out} held "
        f"out, {n.tested} tested, {n.shared_films} shared films"
    )
    batch = study.base.batches.batch
    epochs = [
        f"#   epochs: {steps} steps x {batch} / {n.learnt} clips = {steps * batch / n.learnt:.1f}"
        for steps in sorted({run.method.config.steps for run in learnt})
    ]
    lines = path_of(name).read_text().splitlines()
    said = [line.split(", of")[0] for line in lines if line.startswith("#   epochs: ")]
    assert [line for line in lines if line.startswith("#   clips: ")] == [clips]
    assert said == epochs
    if name in PAPER:  # 100 epochs, of reconstruction and of the game alike
        assert len(learnt) == 6
        for run in learnt:
            for steps in (run.method.config.identity_steps, run.method.config.steps):
                assert steps * batch / n.learnt == pytest.approx(100, rel=0.01)
        assert not n.left_out
        for labels in ("actions", "attributes"):
            assert study.evaluation.learning(labels).epochs == 100


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_values_are_the_paper_s(name: str):
    """Section 4.2 and, where it is silent, the released code."""
    study = study_of(name)
    base, cfg = study.base, study.evaluation
    window = base.batches
    assert (window.batch, window.size, window.frames, window.stride, window.starts) == (
        8, 224, 16, 4, 5,
    )  # fmt: skip
    assert (base.anonymizer.name, base.target.name, base.budget.name) == (
        "unetpp_resnet18", "i3d_r50", "resnet50",
    )  # fmt: skip
    assert (cfg.targets, cfg.attackers, cfg.start) == (("i3d_r50",), ("resnet50",), "scratch")
    assert not cfg.standardise
    assert not cfg.mirror
    images = window.images
    assert window.augment
    assert images
    assert [round(224 * side) for side in (images.erase_min, images.erase_max)] == [9, 18]
    assert (images.boxes, images.p_erase, images.erase_of) == (1, 0.25, "result")
    target, attacker = cfg.learning("actions"), cfg.learning("attributes")
    assert (target.batch, target.lr, target.schedule) == (16, 1e-4, "cosine")
    assert (attacker.batch, attacker.lr, attacker.schedule) == (32, 1e-3, "plateau")
    assert target.weight_decay == attacker.weight_decay == target.smoothing == 0
    assert base.loop.clip_gradient == base.start.epochs == 0
    assert {r.run.method.config.bound for r in study.rows if r.name.startswith("penalty")} == {
        0.3, 0.5, 0.7, 0.9,
    }  # fmt: skip
    for run in (row.run for row in study.rows if learns(row.run)):
        method = run.method.config
        assert (method.lr_anonymizer, method.lr_identity) == (4e-5, 1e-3)
        assert (method.lr_target, method.lr_budget, method.alternate) == (1e-4, 1e-4, "batch")
        assert getattr(method, "per", "batch") == "batch"


def test_the_paper_s_files_differ_in_data_alone():
    one, *others = (study_of(name).values() for name in PAPER)
    for other in others:
        assert {key for key in one if one[key] != other[key]} <= {
            "title", "data", "private", "rows",
        }  # fmt: skip
