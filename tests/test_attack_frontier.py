"""Attacks on a finished cell, at the smallest: each is carried out, kept, and counted rightly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from training import tiny

from velatura import study
from velatura.errors import Failure
from velatura.layout import Splits
from velatura.models import coarse_flow
from velatura.protocols._fresh import Examination
from velatura.study.summary import _floor, read_scores
from velatura.training import checkpoint

FLOW = {"cells": 8, "levels": 15, "noise": 0.03, "reach": 1.0}
GAME = {"name": "constrained", "steps": 2, "adversaries": ["clip_cnn"], "restart_every": 0}


@pytest.fixture(scope="module")
def script(experiment: Callable[[str], ModuleType]) -> ModuleType:
    return experiment("attack_frontier")


@pytest.fixture(scope="module")
def cell(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of the flow without and with a network on top, done in this process."""
    values = tiny.values()
    del values["method"]
    values["data"] |= {"size": 20, "world": "W2"}
    values["batches"] |= {"size": 20}
    values["anonymizer"] = {"name": "coarse_flow", "width": 4, **FLOW}
    values["evaluation"] = {
        "attackers": ["clip_cnn"], "networks": {"clip_cnn": {"width": 8}}, "seeds": [0],
        "target_seeds": [0], "start_epochs": 1, "epochs": 1, "replicates": 100,
    }  # fmt: skip
    values["rows"] = [
        {"name": "flow", "method": {"name": "flow", **FLOW}},
        {"name": "game", "method": GAME},
        {"name": "grey", "method": {"name": "grey"}},
    ]
    made, folder = study.resolve_study(values), tmp_path_factory.mktemp("sweep") / "w2-3"
    folder.mkdir()
    (folder / "config.toml").write_text(made.toml())
    data = study.load_all(made)
    for job in study.plan(made, folder, [part.name for part in data.parts]):
        job.call(job=job.name, **job.arguments)
    for big in folder.glob("rows/*/*.npy"):
        big.unlink()
    summary = {
        "title": "Tiny: w2", "dataset": "people", "seed": 3, "chance": {"cmap": 50.0},
        "floor": _floor(data, read_scores(made, folder, "raw")[1]),
        "rows": [study.summarize(made, folder, row, data) for row in made.rows],
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def record(cell: Path, row: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cell / "rows" / row / "attacks.json").read_text())
    return found


def attack(script: ModuleType, cell: Path, row: str, *names: str, factor: str = "2") -> int:
    only = [word for name in names for word in ("--only", name)]
    code: int = script.main([str(cell), "--row", row, "--factor", factor, *only])
    return code


def test_attacks_are_done_once_and_counted_as_a_row_is(
    script: ModuleType, cell: Path, monkeypatch: pytest.MonkeyPatch
):
    assert attack(script, cell, "flow", "spectrum", "cells") == 0
    found = record(cell, "flow")
    assert {*found["attacks"]} == {"spectrum", "cells"}
    assert (found["cell"], found["row"], found["method"]) == ("w2-3", "flow", "flow")
    summary = json.loads((cell / "summary.json").read_text())
    assert found["headline"]["L"] == summary["rows"][1]["L"]

    # L by hand, from what is kept: against the strongest of all raw attackers.
    made = script.open_site(cell, "flow", 2.0)
    labels = made.data.test.attributes

    def read(scores: np.ndarray) -> float:
        columns = zip(labels.T, scores.T, strict=True)
        return 100 * float(np.mean([average_precision_score(*both) for both in columns]))

    raw, _ = checkpoint.load(cell / "rows" / "raw" / "attributes-clip_cnn-0.safetensors")
    best = max(read(raw["scores"].numpy()), read(raw["static"].numpy()))
    for name, entry in found["attacks"].items():
        state, _ = checkpoint.load(cell / "rows" / "flow" / "attacks" / f"{name}.safetensors")
        value = read(state["test"].numpy())
        chance = 100 * float(labels.mean())
        assert entry["cmap"] == pytest.approx(value)
        assert entry["L"] == pytest.approx((value - chance) / (best - chance))
        assert entry["L_interval"][0] <= entry["L"] <= entry["L_interval"][1]
        assert len(entry["attributes"]) == 6
        assert entry["knows"].startswith("Knows ")

    # Again: nothing is fitted; with another factor, all is.
    def again(site: Any) -> Any:
        raise AssertionError("done already")

    for name in ("spectrum", "cells"):
        monkeypatch.setitem(script.ATTACKS, name, again)
    again.__doc__ = "Knows nothing."
    assert attack(script, cell, "flow", "spectrum", "cells") == 0
    figures = [
        {key: value for key, value in entry.items() if key != "knows"}
        for entry in record(cell, "flow")["attacks"].values()
    ]
    assert figures == [
        {key: value for key, value in entry.items() if key != "knows"}
        for entry in found["attacks"].values()
    ]
    assert attack(script, cell, "flow", "spectrum", factor="3") == 1


def test_what_breaks_is_named_and_the_others_go_on(
    script: ModuleType,
    cell: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def broken(site: Any) -> Any:
        raise Failure("the tree fell")

    with monkeypatch.context() as patch:
        patch.setitem(script.ATTACKS, "trees", broken)
        assert attack(script, cell, "grey", "trees", "spectrum", "cells") == 1
    found = record(cell, "grey")
    assert found["failed"] == {"trees": "the tree fell"}
    assert found["not_here"] == {"cells": "the release is not a coarse flow"}
    assert [*found["attacks"]] == ["spectrum"]
    assert "grey: trees failed: the tree fell" in capsys.readouterr().err
    assert attack(script, cell, "grey", "trees") == 0
    found = record(cell, "grey")
    assert found["failed"] == {}
    assert [*found["attacks"]] == ["spectrum", "trees"]


def test_nobody_learns_from_a_test_person(
    script: ModuleType, cell: Path, monkeypatch: pytest.MonkeyPatch
):
    """All attacks, on the learned row; what fits are given is looked through."""
    import attack_site

    fits: list[Splits] = []

    def noted(released: Splits, labels: Any, build: Callable[[int], Any], *rest: Any) -> Any:
        fits.append(released)
        scores = np.random.default_rng(len(fits)).normal(size=released.test.attributes.shape)
        return Examination(build(scores.shape[1]).state_dict(), scores)

    monkeypatch.setattr(attack_site, "examine", noted)
    assert attack(script, cell, "game") == 0
    found = record(cell, "game")
    assert {*found["attacks"]} == {*script.ATTACKS}
    data = script.open_site(cell, "game", 2.0).data
    tested = {*data.test.groups.tolist()}
    for splits in fits:
        assert tested.isdisjoint(splits.train.groups.tolist())
        assert tested.isdisjoint(splits.val.groups.tolist())
        assert splits.test.groups.tolist() == data.test.groups.tolist()
    # Twice the people, and all of them others: no clip of theirs was filmed for the study.
    sizes = [len(splits.train) for splits in fits]
    assert sizes.count(2 * len(data.train)) == 2  # more_data, cells_more
    site = script.open_site(cell, "game", 1.0)  # as many, so that the same seed would show
    known = {part.video(item).tobytes() for part in data for item in range(len(part))}
    strangers = {site.strangers.video(item).tobytes() for item in range(len(site.strangers))}
    assert known.isdisjoint(strangers)
    # What is large goes when all is done.
    assert not list((cell / "rows" / "game" / "attacks").glob("cache-*"))


def test_a_fit_on_test_people_is_refused(script: ModuleType, cell: Path):
    site = script.open_site(cell, "flow", 2.0)
    mixed = site.data._replace(val=site.data.test)
    with pytest.raises(Failure, match="people that it is tested on"):
        site.learn(mixed, *site.usual)


def test_the_mean_over_a_person_is_that_by_hand(script: ModuleType):
    scores = np.array([[1.0, 5.0], [3.0, 6.0], [4.0, 7.0]])
    groups, stays = np.array([8, 8, 9]), np.array([True, False])
    found = script.over_person(scores, groups, stays, scores, groups)
    np.testing.assert_array_equal(found, [[2, 5], [2, 6], [4, 7]])
    more = np.array([[10.0, 0.0], [20.0, 0.0], [60.0, 0.0], [7.0, 0.0]])
    found = script.over_person(scores, groups, stays, more, np.array([9, 8, 8, 5]))
    np.testing.assert_array_equal(found, [[40, 5], [40, 6], [10, 7]])


def test_what_stays_with_a_person_is_told_by_the_labels(script: ModuleType):
    data = tiny.noise(n=8, attributes=3)  # groups of two
    told = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1]] * 2, np.uint8)
    assert script.staying(replace(data, attributes=told)).tolist() == [True, True, False]
    with pytest.raises(script.NotHere):
        script.staying(replace(data, attributes=told[[0, 3, 1, 2, 4, 7, 5, 6]][:, [0, 2, 2]]))


def test_an_ensemble_takes_who_helps(script: ModuleType):
    """One knows the first attribute, one the second, at scales that a sum would not stand."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (60, 2))
    noise = rng.normal(size=(3, 60, 2))
    said = [
        script.Told(noise[0] + [[9, 0]] * labels, noise[0] + [[9, 0]] * labels),
        script.Told(1e-3 * (noise[1] + [[0, 9]] * labels), 1e-3 * (noise[1] + [[0, 9]] * labels)),
        script.Told(1e6 * noise[2], 1e6 * noise[2]),
    ]

    class Place:
        data = Splits(*[replace(tiny.noise(n=60), attributes=labels.astype(np.uint8))] * 3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "members", lambda site: [0, 1, 2])
        patch.setattr(script, "site_told", lambda site, name: said[name])
        found = script.ensemble(Place())
    for k in range(2):
        present, absent = (found.test[labels[:, k] == one, k] for one in (1, 0))
        assert present.min() > absent.max()


def test_ranks_are_normal_quantiles(script: ModuleType):
    found = script.ranks(np.array([[5.0], [-1e9], [6.0]]))
    np.testing.assert_allclose(found[:, 0], [0, -0.967421566, 0.967421566], atol=1e-6)


def test_the_grid_is_what_the_anonymizer_said(script: ModuleType, cell: Path):
    """Each cell once, read from pixels of bytes; its column beside it."""
    site = script.open_site(cell, "flow", 2.0)
    seen = script.on_grid(site, site.released.test, "told")
    assert seen.frames.shape == (16 * 4, 4, 8, 8)
    clip = torch.from_numpy(site.data.test.video(3).copy())[None].float() / 255
    told = site.anonymizer.told(site.anonymizer.flow(clip))[0]
    expected = coarse_flow.eight_bits(told).mul(255).round().numpy()
    np.testing.assert_array_equal(seen.video(3)[:, :3], expected)
    assert seen.video(3)[0, 3, 5].tolist() == [0, 36, 73, 109, 146, 182, 219, 255]


def test_undoing_finds_a_flow_nearer_to_the_truth(script: ModuleType):
    torch.manual_seed(0)
    cfg = coarse_flow.Config(**FLOW, width=4)
    network = coarse_flow.anonymizer(cfg)
    torch.nn.init.normal_(network.repaint[-1].weight, std=1.0)
    flow = 0.5 * torch.randn(2, 4, 2, 8, 8)
    flow[:, 0] = 0
    pad = torch.nn.functional.pad
    with torch.no_grad():
        told = network.told(pad(flow, (0, 0, 0, 0, 0, 0, cfg.depth, 0)))
    truth = flow.tanh() / 2 + 0.5
    found = script.undone(network, told)
    before, after = ((one[:, :, :2] - truth).abs().mean() for one in (told, found))
    assert after < 0.6 * before
    assert (found[:, 0] == 0.5).all()
    assert (found[:, :, 2] == 0.5).all()


def test_a_mirror_turns_the_flow_round(script: ModuleType):
    """What the library's mirror makes of a clip is read as the flow of the mirrored scene."""
    torch.manual_seed(0)
    network = script.Cells(4, 2, edge=0.03).eval()
    cells = torch.rand(3, 4, 4, 8, 8)
    cells[:, :, 3] = torch.linspace(0, 1, 8)
    scene = torch.cat([1 - cells[:, :, :1], cells[:, :, 1:]], 2).flip(-1)
    scene[:, :, 3] = torch.linspace(0, 1, 8)
    with torch.no_grad():
        mirrored, wanted, plain = map(network, (cells.flip(-1), scene, cells))
    torch.testing.assert_close(mirrored, wanted)
    assert not torch.allclose(mirrored, plain, atol=1e-3)


def test_the_action_is_painted_and_nothing_else_changes(script: ModuleType):
    data = tiny.noise(n=6, t=2, side=16)  # three actions
    seen = script.Barred(data, shift=3)
    numbers = np.array([0, 5, 8])  # of items 0, 2, 4: actions 0, 2, 1
    frames = seen[numbers]
    np.testing.assert_array_equal(frames[..., :10, :], data.frames[numbers][..., :10, :])
    bars = [frame[:, 10:, :].reshape(3, -1) for frame in frames]
    assert all((bar == bar[:, :1]).all() for bar in bars)
    assert len({tuple(bar[:, 0].tolist()) for bar in bars}) == 3
    np.testing.assert_array_equal(seen[4:6][0, :, 15, 0], seen[np.array([5])][0, :, 15, 0])


def test_what_is_wrong_is_one_sentence(
    script: ModuleType, cell: Path, capsys: pytest.CaptureFixture[str]
):
    assert script.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in script.ATTACKS)
    for words, sentence in (
        ([str(cell), "--row", "gane"], "No row named 'gane'. Did you mean 'game'?"),
        ([str(cell), "--row", "game", "--only", "tree"], "No attack named 'tree'."),
        ([str(cell.parent), "--row", "game"], "is no finished study"),
        ([str(cell)], "Name a finished cell and a row"),
    ):
        assert script.main(words) == 2
        assert sentence in capsys.readouterr().err
