"""Negative controls: they hold on this examination, and each fails when what it controls is broken.

The small size in one process: attackers are fitted, some hundred steps each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import tiny

from velatura import controls, metrics
from velatura.cli import _live
from velatura.errors import BadInput, Failure
from velatura.experiment import load_data
from velatura.jobs import Event, Job
from velatura.layout import ClipSet
from velatura.training import fit, loop

NAMES = [
    "identity", "constant", "shuffled labels", "mark in the last bit", "all beside the mark",
    "mark in floats", "the same, rounded", "attributes painted",
]  # fmt: skip


def in_this_process(jobs: list[Job], *_: Any) -> Iterator[Event]:
    """What :func:`velatura.jobs.run` does, without workers."""
    for job in jobs:
        if not job.done():
            job.call(job=job.name, **job.arguments)
        yield Event("end", job)


@pytest.fixture(scope="module", autouse=True)
def _here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VELATURA_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(controls, "run_jobs", in_this_process)
        yield
    torch.set_num_threads(threads)


class Place:
    """A run of the small size, and what it left."""

    def __init__(self, folder: Path):
        self.folder, self.study = folder, controls.controls_study("small", ["loop.device=cpu"])
        *_, last = controls.carry_out(self.study, folder, workers=1, command="velatura x")
        self.summary: dict[str, Any] = last["summary"]
        self.data = load_data(self.study.base)
        self.make()  # they were removed
        self.shown = {
            name: controls.open_release(folder, name, self.data, prepare=False)
            for name in controls.SHOWN
        }

    def make(self) -> None:
        """All releases as they were."""
        services = loop.fabric(self.study.base.loop)
        controls.make_releases(self.study, self.data, self.folder, services)

    def judged(self, *again: str) -> dict[str, controls.Control]:
        """The controls of rung A3, after some releases were attacked anew."""
        found = {n: controls._scores(self.study, self.folder, n, "A3") for n in controls.SHOWN}
        for name in again:
            for network, seed in list(found[name]):
                path = controls.score_path(self.folder, name, "A3", network, seed)
                before = path.read_bytes()
                controls.work_attack("x", str(self.folder), name, "A3", network, seed)
                found[name] = controls._scores(self.study, self.folder, name, "A3")
                path.write_bytes(before)
        return {c.name: c for c in controls.judge(self.study, found, self.shown, "A3")}

    def show(self, name: str, other: str) -> None:
        """Another release's pixels in place of one's own, with the labels that it had."""
        for split in ("train", "val", "test"):
            place = self.folder / "releases"
            content = (place / other / f"{split}.npy").read_bytes()
            (place / name / f"{split}.npy").unlink()  # whoever has it open keeps what was there
            (place / name / f"{split}.npy").write_bytes(content)


@pytest.fixture(scope="module")
def place(_here: None, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("controls") / "run")


# ----------------------------------------------------------------------------------- they hold


def test_every_control_holds(place: Place):
    found = place.summary["controls"]
    assert [(c["name"], c["rung"]) for c in found] == [(n, r) for r in ("A3", "A4") for n in NAMES]
    assert [c for c in found if not c["held"]] == []
    assert place.summary["held"] is True
    assert json.loads((place.folder / "controls.json").read_text()) == place.summary
    for control in found:
        assert control["low"] <= control["high"]
        assert control["by"].startswith("pixel_mlp/")


def test_an_attacker_is_asked_where_all_see_the_same(place: Place, monkeypatch: pytest.MonkeyPatch):
    """Nobody decides for it that nothing can be read; it learns, and scores everyone alike."""
    place.make()
    asked: list[str] = []
    learn = fit.fit

    def watched(network: Any, train: ClipSet, *rest: Any) -> Any:
        asked.append(train.name)
        return learn(network, train, *rest)

    monkeypatch.setattr(fit, "fit", watched)
    found = place.judged("constant", "rounded")
    assert len(asked) == 2
    for name, chance in (("constant", 0.0), ("the same, rounded", 50.0)):
        control = found[name]
        assert control.held
        assert control.value == pytest.approx(chance, abs=1e-6)
        assert control.low == pytest.approx(control.high, abs=1e-6)


def test_all_intervals_together_are_of_99_per_cent(place: Place):
    """As many as there are: Bonferroni's share of one per cent for each."""
    spans = [c for c in place.summary["controls"] if "must be read" not in c["why"]]
    assert {c["name"] for c in spans} == {*controls.INTERVALS}
    assert len(spans) * (1 - controls.EACH) == pytest.approx(0.01)
    assert all(c["why"].startswith("99.9% of") for c in spans)


def test_many_labels_at_once_are_one_after_the_other():
    """Scores with ties, whole and none."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, (20, 3, 30)).astype(np.uint8)
    scores = rng.integers(0, 6, (30, 3)).astype(float)
    scores[:, 2] = 1.0
    one_by_one = [metrics.cmap(scores, one.T) for one in labels]
    assert controls.cmaps(scores, labels) == pytest.approx(one_by_one)


def test_raw_and_identity_are_met_by_other_seeds(place: Place):
    """Else the identity would be compared with itself."""
    seeds = [set(controls.seeds_of(place.study, name)) for name in ("raw", "identity")]
    assert seeds == [{0, 1, 2}, {3, 4, 5}]
    found = controls._scores(place.study, place.folder, "identity", "A3")
    raw = controls._scores(place.study, place.folder, "raw", "A3")
    assert not any(np.array_equal(a, b) for a in found.values() for b in raw.values())
    for mine, theirs in zip(place.shown["raw"], place.shown["identity"], strict=True):
        assert np.array_equal(mine.frames[:], theirs.frames[:])


# --------------------------------------------------------------------- and fail where they must


def test_a_mark_that_is_not_there_is_not_read(place: Place):
    place.make()
    place.show("mark", "constant")
    place.show("faint", "rounded")  # as if the examiner were handed bytes
    found = place.judged("mark", "faint")
    broken = {"mark in the last bit", "mark in floats"}
    assert {name for name, control in found.items() if not control.held} == broken


def test_floats_that_are_not_rounded_are_found(place: Place):
    place.make()
    place.show("rounded", "faint")
    found = place.judged("rounded")
    assert {name for name, control in found.items() if not control.held} == {"the same, rounded"}


def test_an_examination_that_saw_the_answers_is_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    """The test labels leak into the scores; a little is enough."""
    place.make()
    predict = fit.predict

    def peeks(network: Any, data: ClipSet, *rest: Any, **more: Any) -> Any:
        found = predict(network, data, *rest, **more)
        return found + found.std() * data.attributes if "quick" not in more else found

    monkeypatch.setattr(fit, "predict", peeks)
    found = place.judged("shuffled", "mark")
    broken = {"shuffled labels", "all beside the mark"}
    assert {name for name, control in found.items() if not control.held} == broken


def test_labels_that_are_not_shuffled_are_found(place: Place):
    place.shown["shuffled"], before = place.shown["raw"], place.shown["shuffled"]
    raw = controls._scores(place.study, place.folder, "raw", "A3")
    found = {n: controls._scores(place.study, place.folder, n, "A3") for n in controls.SHOWN}
    judged = controls.judge(place.study, {**found, "shuffled": raw}, place.shown, "A3")
    assert [c.name for c in judged if not c.held] == ["shuffled labels"]
    place.shown["shuffled"] = before


def test_an_identity_that_is_none_is_found(place: Place):
    """Attackers of a picture with nobody in it, against those of raw clips."""
    found = {n: controls._scores(place.study, place.folder, n, "A3") for n in controls.SHOWN}
    nobody = {fit: np.zeros_like(scores) for fit, scores in found["identity"].items()}
    judged = list(controls.judge(place.study, {**found, "identity": nobody}, place.shown, "A3"))
    assert [(c.name, c.value) for c in judged if not c.held] == [("identity", 0.0)]
    assert judged[0].low >= 0.75  # however far seeds lie apart


def test_one_that_reads_a_constant_or_not_what_is_told_is_found(place: Place):
    found = {n: controls._scores(place.study, place.folder, n, "A3") for n in controls.SHOWN}
    swapped = {**found, "constant": found["told"], "told": found["shuffled"]}
    judged = controls.judge(place.study, swapped, place.shown, "A3")
    assert [c.name for c in judged if not c.held] == ["constant", "attributes painted"]


def test_attackers_that_read_nothing_from_raw_clips_are_no_ruler(place: Place):
    found = {n: controls._scores(place.study, place.folder, n, "A3") for n in controls.SHOWN}
    blind = {fit: np.zeros_like(scores) for fit, scores in found["raw"].items()}
    with pytest.raises(Failure, match="read nothing from raw clips .* chance 50"):
        list(controls.judge(place.study, {**found, "raw": blind}, place.shown, "A3"))


# ------------------------------------------------------------------------- what they are shown


def test_shuffled_labels_are_those_of_others():
    """Columns of a person go with whole people, those of a clip by themselves; pairs stay pairs."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 3)
    person = rng.integers(0, 2, (40, 2)).astype(np.uint8)[groups]
    clip = np.repeat([[1, 0], [0, 1], [0, 0]], 40, 0).astype(np.uint8)[rng.permutation(120)]
    labels = np.concatenate([person, clip], 1)
    dealt = controls.shuffled(labels, groups, rng)
    for columns in (slice(0, 2), slice(2, 4)):
        before, after = (sorted(map(tuple, x[:, columns])) for x in (labels, dealt))
        assert before == after
    assert (dealt[:, :2].reshape(40, 3, 2) == dealt[::3, None, :2]).all()  # one person, one label
    assert not (dealt[:, 2:].reshape(40, 3, 2) == dealt[::3, None, 2:]).all()
    for k in range(4):
        assert abs(np.corrcoef(labels[:, k], dealt[:, k])[0, 1]) < 0.4
    # Two people, dealt often: each label is as often one's own as the other's.
    two = np.array([[1], [1], [0], [0]], np.uint8)
    own = [controls.shuffled(two, np.array([5, 5, 9, 9]), rng)[0, 0] for _ in range(400)]
    assert np.mean(own) == pytest.approx(0.5, abs=0.08)


def test_a_mark_is_in_the_last_bit_and_nowhere_else():
    rng = np.random.default_rng(1)
    places = controls.pattern((3, 8, 8), 0)
    assert places.sum() == 96  # half of them
    frames = controls.noise((4, 3, 8, 8), rng)
    bits = np.array([1, 0, 1, 0], np.uint8)
    marked = controls.mark(frames, bits, places)
    assert np.array_equal(marked >> 1, frames >> 1)
    for frame, bit in zip(marked, bits, strict=True):
        assert (frame[places == 1] % 2 == bit).all()
        assert (frame[places == 0] % 2 == 1 - bit).all()
    assert (marked & 1).reshape(4, -1).mean(1).tolist() == [0.5] * 4  # the mean tells nothing
    assert np.abs(frames.astype(int) - 128).mean() == pytest.approx(1.6, abs=0.15)  # sd of 2


def test_a_faint_mark_is_in_the_floats_and_gone_in_bytes():
    places = controls.pattern((3, 4, 4), 0)
    white = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1).expand(1, 2, 3, 4, 4)
    out = controls.Faint(places)(white)[0] * 255
    on = torch.from_numpy(places == 1)
    torch.testing.assert_close(out[0], 128 + 0.25 * on, atol=1e-4, rtol=0)
    torch.testing.assert_close(out[1], 128 + 0.25 * ~on, atol=1e-4, rtol=0)
    assert (out.round() == 128).all()
    frames = np.broadcast_to(np.array([255, 0], np.uint8)[:, None, None, None], (2, 3, 4, 4))
    levels = controls.in_levels(controls.Faint(places), frames)
    assert np.array_equal(levels, out.numpy())
    assert levels.dtype == np.float32


def test_painted_attributes_by_hand():
    """Nine attributes on nine rows: three bands of three rows, in red, green and blue."""
    frames = np.full((2, 3, 9, 2), 100, np.uint8)
    labels = np.zeros((2, 9), np.uint8)
    labels[0, 0] = labels[0, 5] = 1  # red of the first band, blue of the second
    shown = controls.painted(frames, labels)
    expected = np.full((2, 3, 9, 2), 60)
    expected[0, 0, 0:3] = expected[0, 2, 3:6] = 140
    assert np.array_equal(shown, expected)


def test_chance_knows_how_many_people_there_are():
    """Scores that are alike within a person: the interval is that of so many people, not clips."""
    rng = np.random.default_rng(2)

    def width(people: int, clips: int) -> tuple[float, float]:
        data = tiny.noise(n=people * clips, t=1, side=8, attributes=1)
        groups = np.repeat(np.arange(people), clips)
        labels = (np.arange(people) % 2).astype(np.uint8)[groups][:, None]
        scores = rng.standard_normal((people, 1))[groups]
        test = controls.replace(data, groups=groups, attributes=labels)
        return controls.null({("x", 0): scores}, test, slice(None), 400, 0, level=0.99)

    low, high = width(40, 6)
    assert low < 50 < high
    alone = width(40, 1)
    assert high - low == pytest.approx(alone[1] - alone[0], rel=0.25)
    many = width(240, 1)
    assert many[1] - many[0] < 0.6 * (high - low)


def test_the_scatter_of_seeds_by_hand():
    """Two seeds of one network on one side: cMAP 100 and 75 lie 25 apart, one degree of freedom."""
    labels = np.array([[1], [0], [1], [0]])
    best, worse = np.array([[4.0], [2], [3], [1]]), np.array([[4.0], [3], [1], [2]])
    aps = [metrics.cmap(s, labels) for s in (best, worse)]
    assert aps == [100, 75]
    found = controls.scatter({("x", 0): best, ("x", 1): worse}, labels=labels, level=0.99)
    # 99 % of |t| with one degree of freedom, Cauchy's: tan(.495 pi); times the root of 2 variances.
    cauchy = np.tan(np.pi * 0.495)
    assert found == pytest.approx((2 * 25**2 / 2) ** 0.5 * cauchy, rel=0.05)
    both = controls.scatter(
        {("x", 0): best, ("x", 1): worse}, {("x", 2): best, ("x", 3): worse}, labels=labels,
        level=0.99,
    )  # fmt: skip
    assert both == pytest.approx((2 * 25**2 / 2) ** 0.5 * 9.925, rel=0.03)  # two degrees


# ---------------------------------------------------------------------------------- the command


def test_a_folder_is_not_written_over(place: Place):
    with pytest.raises(BadInput, match="holds a study already; continue it with --resume"):
        list(controls.carry_out(place.study, place.folder))
    other = controls.controls_study("small", ["seed=1"])
    with pytest.raises(BadInput, match="holds a study of another configuration"):
        list(controls.carry_out(other, place.folder, resume=True))
    with pytest.raises(BadInput, match=r"evaluation\.seeds: two at least"):
        controls.controls_study("small", ["evaluation.seeds=[0]"])


def test_the_command_prints_a_table_and_ends_in_an_error(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Any] = []
    lines = [dict(line) for line in place.summary["controls"]]

    def told(study: Any, folder: Path, **more: Any) -> Iterator[Any]:
        asked.append((study, folder, more))
        yield {"jobs": []}
        yield {"summary": {**place.summary, "controls": lines}}

    monkeypatch.setattr(_live, "controls_out", told)
    words = ["evaluate", "--controls", "--size", "small", "--out", str(tmp_path), "--workers", "2"]
    code, out, err = tiny.main(*words, "--set", "seed=4")
    assert (code, err) == (0, "")
    ((study, folder, more),) = asked
    assert (study.base.seed, study.base.data.config.size, folder) == (4, 24, tmp_path)
    assert (more["workers"], more["resume"]) == (2, False)
    for name in NAMES:
        assert out.count(name) == 2
    lines[3] |= {"held": False, "value": 60.0}
    code, out, err = tiny.main(*words, "--json")
    assert json.loads(out)["controls"] == lines
    assert code == 1
    assert "Error: 1 of 16 controls do not hold: mark in the last bit (A3). Trust no" in err
    for wrong, said in (("big", "No size named 'big'"), ("small", "leave x.toml out")):
        more_words = ["x.toml"] if wrong == "small" else []
        code, out, err = tiny.main("evaluate", *more_words, "--controls", "--size", wrong)
        assert code == 2
        assert said in err
