"""The threat ladder of a study: every rung is fitted on what it says and counted there."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from training import tiny

from velatura import experiment, metrics, study
from velatura.config import build, to_toml
from velatura.data import _seen
from velatura.errors import BadInput
from velatura.layout import ClipSet, Splits
from velatura.protocols import privacy
from velatura.protocols._fresh import Config, Examination, asked, examine
from velatura.study import work
from velatura.study.inputs import check_seen
from velatura.study.summary import _floor, _met, read_scores
from velatura.training import batches, checkpoint, fit, loop

EVERYTHING = {
    "attackers": ["frame_cnn", "knn"], "networks": {"knn": {"features": "pixels"}},
    "seeds": [0, 1], "target_seeds": [0], "start": "raw",
    "start_epochs": 1, "epochs": 1, "replicates": 100, "scratch": ["patch_mlp"],
    "rates": [0.5, 1.0], "curve": [0.5, 2.0], "codec": "h264",
    "inversion": {"steps": 2, "width": 4}, "identity": {"epochs": 1, "adapt_epochs": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Any]]]:
    """A study that asks for every rung, and what it told on the way."""
    values = tiny.values()
    del values["method"]
    values["evaluation"] = EVERYTHING
    values["rows"] = [{"name": "soft", "method": {"name": "blur"}}]
    folder = tmp_path_factory.mktemp("ladder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VELATURA_CACHE", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        made = study.resolve_study(values)
        yield folder / "study", list(study.carry_out(made, folder / "study", workers=1))


def row_of(folder: Path, name: str = "soft") -> dict[str, Any]:
    rows = json.loads((folder / "summary.json").read_text())["rows"]
    found: dict[str, Any] = next(row for row in rows if row["name"] == name)
    return found


def scores(folder: Path, name: str, key: str = "scores", row: str = "soft") -> np.ndarray:
    found: np.ndarray = checkpoint.load(folder / "rows" / row / name)[0][key].numpy()
    return found


@pytest.mark.slow
def test_every_rung_is_told_by_its_scores(done: tuple[Path, list[Any]]):
    folder, events = done
    row, test = row_of(folder), events[0]["splits"].test
    rungs = {rung["rung"]: rung for rung in row["rungs"]}
    assert list(rungs) == ["A1p", "A2", "A3", "A4", "A5"]
    files = {
        "A2": [(f"attributes-{name}-0.safetensors", "static") for name in ("frame_cnn", "knn")],
        "A3": [(f"scratch-patch_mlp-{seed}.safetensors", "scores") for seed in (0, 1)],
        "A4": [
            (f"attributes-{name}-{seed}.safetensors", "scores")
            for name in ("frame_cnn", "knn")
            for seed in (0, 1)
        ],
        "A5": [("inverted.safetensors", name) for name in ("frame_cnn", "knn")],
    }
    for name, found in files.items():
        expected = max(metrics.cmap(scores(folder, *one), test.attributes) for one in found)
        assert rungs[name]["cmap"] == expected, name
    assert row["cmap"] == max(rungs[name]["cmap"] for name in files)
    assert row["headline"]["by"] == row["strongest"]
    assert row["static_cmap"] == rungs["A2"]["cmap"]
    assert set(row["inversion"]) == {"psnr", "ssim"}
    assert set(row["identity"]) == {"raw_to_anon", "anon_to_anon", "recovered_to_raw"}
    assert row["identity"]["raw_to_anon"]["chance"] == 25  # one of four test people


@pytest.mark.slow
def test_the_predicted_action_is_the_fresh_targets(done: tuple[Path, list[Any]]):
    folder, events = done
    train, _, test = events[0]["splits"]
    said = scores(folder, "actions-clip_cnn-0.safetensors").argmax(1)
    table = metrics.action_floor(train.actions, train.attributes, said)
    (rung,) = [r for r in row_of(folder)["rungs"] if r["rung"] == "A1p"]
    assert rung["cmap"] == metrics.cmap(table, test.attributes)


@pytest.mark.slow
def test_the_curve_has_less_and_more(done: tuple[Path, list[Any]]):
    folder, _ = done
    points = row_of(folder)["budget"]
    assert [(p["data"], p["epochs"], p["by"]) for p in points] == [
        (0.5, 1, "frame_cnn/0"), (2.0, 1, "frame_cnn/0"), (1.0, 2, "frame_cnn/0"),
    ]  # fmt: skip
    assert all(0 < p["cmap"] <= 100 for p in points)


@pytest.mark.slow
def test_what_is_examined_went_through_the_codec(done: tuple[Path, list[Any]]):
    """Raw video too: its examples are not its pixels any more, and near them."""
    folder, events = done
    splits: Splits = events[0]["splits"]
    clips = tiny.clips_of(splits.test)[study.examples(splits)].transpose(0, 1, 3, 4, 2)
    with np.load(folder / "rows" / "raw" / "examples.npz", allow_pickle=False) as file:
        shown = file["frames"]
    difference = np.abs(shown.astype(int) - clips)
    assert 0 < difference.mean() < 12


@pytest.mark.slow
def test_nothing_heavy_is_left_and_all_is_there(done: tuple[Path, list[Any]]):
    folder, _ = done
    assert not list((folder / "rows").rglob("*.npy"))
    cfg = study.resolve_study(tomllib.loads((folder / "config.toml").read_text())).evaluation
    assert all(path.exists() for path in study.outputs_of(cfg, folder, "soft"))
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["schema"] == 2
    assert set(summary["floor"]["attributes"]) == set(row_of(folder)["attributes"])


# ------------------------------------------------------------------------------- what is examined


def fabric() -> loop.Fabric:
    return loop.fabric(loop.Config(device="cpu", precision="32"))


@pytest.mark.parametrize("rates", [(0.1, 1.0), (1.0, 0.1)])
def test_the_rate_is_chosen_on_validation(rates: Any, monkeypatch: pytest.MonkeyPatch):
    """Of two rates the one with the lower loss on the validation split is kept, wherever it
    stands; the test split is scored once."""
    tried: list[float] = []

    def learn(network: Any, train: Any, val: Any, labels: Any, cfg: Any, *rest: Any) -> Any:
        tried.append(cfg.lr)
        with torch.no_grad():
            for weight in network.parameters():
                weight.fill_(cfg.lr)
        return network

    def cost(network: Any, data: ClipSet, *rest: Any) -> float:
        assert data.name == "noise/val"
        return abs(next(network.parameters()).flatten()[0].item() - 0.02)

    monkeypatch.setattr(fit, "fit", learn)
    monkeypatch.setattr(fit, "cost", cost)
    splits = Splits(*(tiny.noise(name=f"noise/{part}") for part in Splits._fields))
    found = examine(
        splits, "attributes", lambda outputs: privacy.network("frame_cnn", outputs), None,
        fit.Config(lr=0.2), Config(rates=rates), batches.Config(size=16, frames=2, shift=0), 0,
        fabric(),
    )  # fmt: skip
    assert tried == pytest.approx([0.2 * rate for rate in rates])
    kept = float(next(iter(found.weights.values())).flatten()[0])
    assert kept == pytest.approx(0.02)


def test_an_attacker_may_learn_without_a_gradient():
    seen: list[Any] = []

    def remember(network: Any, train: ClipSet, *rest: Any) -> Any:
        seen.append(train.name)
        return network

    splits = Splits(*(tiny.noise(name=f"noise/{part}") for part in Splits._fields))
    examine(
        splits, "attributes", lambda outputs: privacy.network("frame_cnn", outputs), None,
        fit.Config(), Config(rates=(0.1, 1.0)), batches.Config(size=16, frames=2, shift=0), 0,
        fabric(), learn=remember,
    )  # fmt: skip
    assert seen == ["noise/train"]  # once: it has no rate


def test_a_part_of_a_split_has_its_items_and_their_frames():
    whole = replace(tiny.noise(n=5, t=3), lengths=np.array([3, 1, 5, 2, 4], np.int64), people=None)
    people = np.arange(15, dtype=np.uint8)[:, None, None]
    whole = replace(whole, people=people)
    part = whole.part(np.array([4, 1]))
    assert len(part) == 2
    assert part.frames.shape == (5, *whole.frames.shape[1:])
    assert np.array_equal(part.video(0), whole.video(4))
    assert np.array_equal(part.video(1), whole.video(1))
    assert part.people is not None
    assert part.people[np.arange(5)].ravel().tolist() == [11, 12, 13, 14, 3]
    assert np.array_equal(part.attributes, whole.attributes[[4, 1]])


def test_less_data_is_fewer_people():
    train = replace(tiny.noise(n=8), groups=np.array([0, 0, 1, 1, 2, 2, 3, 3]))
    some = work._some(train, 0.5)
    assert len(np.unique(some.groups)) == 2
    assert len(some) == 4


# ---------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("evaluation", "sentence"),
    [
        ({"scratch": ["nobody"]}, "No attacker plug-in named 'nobody'"),
        ({"rates": []}, r"evaluation\.rates"),
        ({"rates": [1.0, 1.0]}, "evaluation.rates names one twice"),
        ({"inversion": {}, "start": "scratch"}, "set evaluation.start to 'raw'"),
        ({"inversion": {"stepz": 2}}, r"Did you mean evaluation\.inversion\.steps"),
        ({"codec": "av2"}, r"evaluation\.codec"),
        ({"crf": 99}, r"evaluation\.crf"),
    ],
)
def test_a_ladder_that_cannot_be(evaluation: Any, sentence: str):
    with pytest.raises(BadInput, match=sentence):
        study.resolve_study({"evaluation": evaluation})


def test_more_clips_than_there_are_is_refused(tmp_path: Path):
    data = {"name": "ucf101", "root": str(tmp_path)}
    with pytest.raises(BadInput, match="more clips than ucf101 has"):
        study.resolve_study({"data": data, "evaluation": {"curve": [4]}})
    study.resolve_study({"data": data, "evaluation": {"curve": [0.25, 1]}})


# --------------------------------------------------------------- anonymizers from elsewhere


def a_run(folder: Path, seen: list[str] | None) -> Path:
    """A run folder as training leaves it."""
    folder.mkdir()
    values = tiny.values()
    (folder / "config.toml").write_text(to_toml(values))
    network = experiment.build_anonymizer(experiment.resolve(values))
    checkpoint.save(folder / "anonymizer.safetensors", {"f_A": network.state_dict()}, {})
    if seen is not None:
        (folder / experiment.SEEN).write_text("".join(f"{name}\n" for name in seen))
    return folder


def data_of(files: set[str]) -> study.Data:
    parts = (tiny.noise(name=f"films/{part}") for part in Splits._fields)
    splits = Splits(*(replace(part, files=frozenset(files)) for part in parts))
    return study.Data(splits, splits, None)


def test_a_row_from_elsewhere_is_that_run(tmp_path: Path):
    folder = a_run(tmp_path / "novel", ["a.avi"])
    made = study.resolve_study({"rows": [{"from": str(folder)}]})
    row = made.rows[1]
    assert (row.name, row.source) == ("penalty", folder)
    assert row.run.anonymizer.config.width == 4
    again = study.resolve_study(tomllib.loads(made.toml()))
    assert again.science() == made.science()
    assert again.rows[1].source == folder
    # What it is is told by its weights, not by where it lies.
    assert "from" not in made.science()["rows"][1]
    names = [job.name for job in study.plan(made, tmp_path / "study", [])]
    assert "train penalty" in names


def test_a_row_from_elsewhere_that_saw_the_test_is_refused(tmp_path: Path):
    folder = a_run(tmp_path / "novel", ["a.avi", "b.avi"])
    (_, row) = study.resolve_study({"rows": [{"from": str(folder)}]}).rows
    check_seen(row, data_of({"c.avi"}), tmp_path)
    check_seen(row, data_of(set()), tmp_path)  # generated people are of no file
    with pytest.raises(BadInput, match="trained on 1 of the 2 files .* first b.avi"):
        check_seen(row, data_of({"b.avi", "c.avi"}), tmp_path)


def a_film(path: Path, seed: int, size: int = 3 * 2**20) -> Path:
    """Bytes that no other has."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(np.random.default_rng(seed).bytes(size))
    return path


def data_on(paths: dict[str, Path], **films: str) -> study.Data:
    """What a study looks at that tests on some files, or on clips of films."""
    part = tiny.noise(name="films/test")
    test = replace(part, files=frozenset({**paths, **films}), paths=paths, films=films)
    splits = Splits(part, part, test)
    return study.Data(splits, splits, None)


def test_a_copy_under_another_name_is_seen(tmp_path: Path):
    """By its size, its first and its last MiB; what lies between is not looked at, as is said."""
    one = a_film(tmp_path / "films" / "one.avi", 1)
    part = replace(
        tiny.noise(name="films/train"), files=frozenset({"one.avi"}), paths={"one.avi": one},
        films={"one.avi": "A film"},
    )  # fmt: skip
    (line,) = _seen.lines_of([part])
    assert re.fullmatch("one.avi\t[0-9a-f]{32}\tA film", line)
    folder = a_run(tmp_path / "novel", [line])
    (_, row) = study.resolve_study({"rows": [{"from": str(folder)}]}).rows
    copy = tmp_path / "films" / "copy.avi"
    copyfile(one, copy)
    with pytest.raises(BadInput, match="on 1 of the 1 files .*, under other names, first copy.avi"):
        check_seen(row, data_on({"copy.avi": copy}), tmp_path)
    for at, told in ((0, False), (3 * 2**20 - 1, False), (2**20 + 9, True)):
        changed = bytearray(one.read_bytes())
        changed[at] ^= 1
        copy.write_bytes(changed)
        assert (_seen.contents(copy) == _seen.contents(one)) is told
    copy.write_bytes(one.read_bytes()[:-1])
    check_seen(row, data_on({"copy.avi": copy}), tmp_path)
    # What an older run left has no digests: it is by name, as it was.
    (folder / experiment.SEEN).write_text("one.avi\n")
    check_seen(row, data_on({"copy.avi": one}), tmp_path)
    with pytest.raises(BadInput, match="on 1 of the 1 files that this study tests on, first one"):
        check_seen(row, data_on({"one.avi": one}), tmp_path)


def test_another_clip_of_a_film_is_seen_where_films_are_kept_apart(tmp_path: Path):
    folder = a_run(tmp_path / "novel", ["a_1.avi\t\tA"])
    for drop in (True, False):
        given = {"name": "hmdb51", "root": str(tmp_path), "drop_shared_groups": drop}
        values = {"data": given, "rows": [{"from": str(folder)}]}
        row = study.resolve_study(values).rows[1]
        check_seen(row, data_on({}, b_1="B"), tmp_path)
        if drop:
            with pytest.raises(BadInput, match="other clips of 1 of the films .*, first A; take"):
                check_seen(row, data_on({}, a_2="A"), tmp_path)
        else:  # as the official lists have them on both sides
            check_seen(row, data_on({}, a_2="A"), tmp_path)


def test_a_run_that_does_not_say_what_it_saw_is_refused(tmp_path: Path):
    folder = a_run(tmp_path / "old", None)
    (_, row) = study.resolve_study({"rows": [{"from": str(folder)}]}).rows
    with pytest.raises(BadInput, match=r"does not say which files .* train it again"):
        check_seen(row, data_of({"c.avi"}), tmp_path)


def test_what_a_sweep_put_into_the_folder_is_looked_at_too(tmp_path: Path):
    """As rows of a world that another one trained are."""
    folder = tmp_path / "study"
    (folder / "methods").mkdir(parents=True)
    a_run(folder / "methods" / "penalty", ["c.avi"])
    values = tiny.values()
    row = study.resolve_study({**values, "rows": [{"method": values.pop("method")}]}).rows[1]
    with pytest.raises(BadInput, match="trained on 1 of the 1 files"):
        check_seen(row, data_of({"c.avi"}), folder)
    check_seen(row, data_of({"c.avi"}), tmp_path)  # nothing there: it will be trained


def test_a_row_from_elsewhere_is_of_that_method(tmp_path: Path):
    folder = a_run(tmp_path / "novel", ["a.avi"])
    with pytest.raises(BadInput, match="is of penalty, and the row says vita; leave method out"):
        study.resolve_study({"rows": [{"from": str(folder), "method": {"name": "vita"}}]})


def test_a_row_that_was_told_is_no_row_of_a_study_that_holds_out(tmp_path: Path):
    folder = a_run(tmp_path / "novel", ["a.avi"])
    values = {"held_out": ["hair"], "rows": [{"from": str(folder)}]}
    with pytest.raises(BadInput, match="was told hair, which this study holds out"):
        study.resolve_study(values)
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text('held_out = ["hair", "shirt"]\n' + text)
    assert study.resolve_study(values).rows[1].source == folder


def test_training_s_own_architectures_are_marked():
    made = study.resolve_study(
        {"rows": [{"method": {"name": "spact"}}, {"method": {"name": "blur"}},
                  {"method": {"name": "vita", "adversaries": ["patch_mlp"]}}]}
    )  # fmt: skip
    assert [_met(row.run) for row in made.rows] == [
        set(), {"clip_cnn", "frame_cnn"}, set(), {"clip_cnn", "patch_mlp"},
    ]  # fmt: skip


def test_who_brings_weights_starts_from_no_random_ones(tmp_path: Path):
    """Pretrained by name, by nature, or by default: A4, though the examination starts anew."""
    evaluation: dict[str, Any] = {
        "start": "scratch", "seeds": [0], "target_seeds": [0],
        "attackers": ["frame_cnn", "resnet18", "resnet34", "knn"],
        "scratch": ["efficientnet_lite0", "patch_mlp"],
        "networks": {"resnet34": {"weights": "r34.safetensors"}, "knn": {"features": "imagenet"}},
    }  # fmt: skip
    made = study.resolve_study({"evaluation": {**evaluation, "attackers": ["frame_cnn"],
                                               "networks": {}}})  # fmt: skip
    cfg = build(Config, evaluation, "evaluation")
    made = replace(made, evaluation=cfg)  # building resnet34 would look for its weights
    out = tmp_path / "rows" / "raw"
    out.mkdir(parents=True)
    for path in study.outputs_of(cfg, tmp_path, "raw"):
        checkpoint.save(path, {"scores": torch.zeros(2, 2)}, {})
    _, attackers = read_scores(made, tmp_path, "raw")
    assert {name: metrics.rung_of(name) for name, _ in attackers} == {
        "A3 frame_cnn": "A3", "A3 resnet18": "A3", "resnet34": "A4", "knn": "A4",
        "A4 efficientnet_lite0": "A4", "A3 patch_mlp": "A3",
    }  # fmt: skip


def test_a_row_from_nowhere(tmp_path: Path):
    with pytest.raises(BadInput, match="is not a run folder"):
        study.resolve_study({"rows": [{"from": str(tmp_path)}]})


@pytest.mark.slow
def test_training_notes_what_it_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VELATURA_CACHE", str(tmp_path))
    run = experiment.resolve(tiny.values(method={"name": "penalty", "steps": 1}))
    splits = experiment.load_data(run)
    named = Splits(*(
        replace(part, files=frozenset({f"{where}.avi"}))
        for where, part in zip(Splits._fields, splits, strict=True)
    ))  # fmt: skip
    experiment.train(run, tmp_path / "run", splits=named)
    assert (tmp_path / "run" / experiment.SEEN).read_text() == "train.avi\nval.avi\n"


class ByPlace(torch.nn.Module):
    """Says something else of each place in a batch, as rounding does."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return clips.flatten(1).mean(1, keepdim=True) + torch.arange(len(clips))[:, None]


def test_who_does_not_adapt_tells_nothing_of_what_is_all_alike():
    services = loop.fabric(loop.Config(device="cpu", precision="32"))
    window, clips = batches.Config(size=16, frames=4, shift=0), tiny.noise()
    given = ("attributes", window, services, False)
    told = asked(ByPlace(), clips, *given)
    assert len(np.unique(told)) == len(clips)
    flat = np.full((*clips.frames.shape,), 7, np.uint8)
    alike = clips.with_frames(flat, "flat", "flat")
    assert (asked(ByPlace(), alike, *given) == told.dtype.type(7 / 255)).all()
    flat[5, 0, 0, 0] = 8
    assert len(np.unique(asked(ByPlace(), alike, *given))) == len(clips)


# ------------------------------------------------- the figures of a study, once more and naively


def labelled(part: str, clips: int = 36) -> ClipSet:
    """Noise whose actions tell of the attributes, but in training the reverse of what in testing;
    one person has three clips."""
    rng, items = np.random.default_rng(len(part)), np.arange(clips)
    shares = np.array([0.15, 0.5, 0.85]) if part == "test" else np.array([0.9, 0.4, 0.2])
    base = tiny.noise(n=clips, t=2, name=f"noise/{part}")
    told = rng.random((clips, 2)) < shares[base.actions][:, None]
    return replace(base, attributes=told.astype(np.uint8), groups=items // 3)


@pytest.fixture
def planted(tmp_path: Path) -> tuple[study.Study, study.Data]:
    """Two rows whose examiners left scores that nobody trained, in ``tmp_path``."""
    values = tiny.values()
    del values["method"]
    values["evaluation"] = {
        "attackers": ["frame_cnn"], "seeds": [0], "target_seeds": [0, 1], "replicates": 100,
        "curve": [0.5, 2.0], "start": "raw", "inversion": {"steps": 2, "width": 4},
    }  # fmt: skip
    values["batches"] = {"batch": 8, "size": 16, "frames": 2}
    values["rows"] = [{"name": "soft", "method": {"name": "blur"}}]
    made = study.resolve_study(values)
    splits = Splits(*(labelled(part) for part in Splits._fields))
    rng, test = np.random.default_rng(0), splits.test
    right = {"actions": np.eye(3)[test.actions], "attributes": test.attributes * 2.0 - 1}
    for row, noise in (("raw", 1.0), ("soft", 1.4)):
        out = tmp_path / "rows" / row
        out.mkdir(parents=True)
        (out / "release.json").write_text(json.dumps({"rms": [0.1] * len(test)}))
        (out / "inversion.json").write_text("{}")
        for path in study.outputs_of(made.evaluation, tmp_path, row):
            known = right["actions" if path.name.startswith("actions") else "attributes"]
            keys = ["frame_cnn"] if path.name == "inverted.safetensors" else ["scores", "static"]
            state = {key: torch.from_numpy(known + rng.normal(0, noise, known.shape))
                     for key in keys}  # fmt: skip
            checkpoint.save(path, state, {})
    return made, study.Data(splits, splits, None)


def naive_cmap(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean average precision of scikit-learn, in per cent."""
    given = {"average": "macro", "sample_weight": weights}
    return 100 * float(average_precision_score(labels, scores, **given))


def naive_table(data: study.Data, actions: np.ndarray) -> np.ndarray:
    """How often the training clips of each action have each attribute, one added to either side."""
    rows = []
    for action in actions:
        seen = data.clips.train.attributes[data.clips.train.actions == action].astype(float)
        rows.append((seen.sum(0) + 1) / (len(seen) + 2))
    return np.array(rows)


def test_what_the_action_tells_is_counted_on_training_clips(
    planted: tuple[study.Study, study.Data], tmp_path: Path
):
    """A1 and A1p: a table of the test clips would read more, and here something else."""
    (made, data), test = planted, planted[1].clips.test
    row = study.summarize(made, tmp_path, made.rows[1], data)
    logits = [scores(tmp_path, f"actions-clip_cnn-{seed}.safetensors") for seed in (0, 1)]
    chances = [np.exp(s) / np.exp(s).sum(1, keepdims=True) for s in logits]
    said = np.log(chances).mean(0).argmax(1)
    (rung,) = [r for r in row["rungs"] if r["rung"] == "A1p"]
    assert rung["cmap"] == pytest.approx(naive_cmap(naive_table(data, said), test.attributes))
    floor = naive_cmap(naive_table(data, test.actions), test.attributes)
    assert row["headline"]["excess"] == pytest.approx(row["cmap"] - floor)
    raw = {
        "adapted": scores(tmp_path, "attributes-frame_cnn-0.safetensors", row="raw"),
        "static": scores(tmp_path, "attributes-frame_cnn-0.safetensors", "static", row="raw"),
        "inverted": scores(tmp_path, "inverted.safetensors", "frame_cnn", row="raw"),
    }
    found = _floor(data, {(name, 0): table for name, table in raw.items()})
    assert found["cmap"] == pytest.approx(floor)
    best = max(naive_cmap(s, test.attributes) for s in raw.values())
    chance = 100 * test.attributes.mean()
    assert found["L"] == pytest.approx((floor - chance) / (best - chance))


def test_the_curve_is_between_chance_and_raw(
    planted: tuple[study.Study, study.Data], tmp_path: Path
):
    """Every point's L, by the strongest attacker of raw video and the prevalence."""
    (made, data), labels = planted, planted[1].clips.test.attributes
    points = study.summarize(made, tmp_path, made.rows[1], data)["budget"]
    names = ["curve-0.5-1", "curve-2-1", "curve-1-2"]
    read = [naive_cmap(scores(tmp_path, f"{name}.safetensors"), labels) for name in names]
    fits = [("attributes-frame_cnn-0", "scores"), ("attributes-frame_cnn-0", "static"),
            ("inverted", "frame_cnn")]  # fmt: skip
    raw = [naive_cmap(scores(tmp_path, f"{n}.safetensors", key, "raw"), labels) for n, key in fits]
    chance = 100 * labels.mean()
    assert max(raw) < 97  # per cent, which is what counts, and not 100
    assert [point["cmap"] for point in points] == pytest.approx(read)
    assert [point["L"] for point in points] == pytest.approx(
        [(value - chance) / (max(raw) - chance) for value in read]
    )


def test_the_plug_in_target_never_saw_the_release(
    planted: tuple[study.Study, study.Data], tmp_path: Path
):
    """Its top-1 is of the scores it gave before it was fitted, which the first seed has."""
    (made, data), actions = planted, planted[1].clips.test.actions
    row = study.summarize(made, tmp_path, made.rows[1], data)
    before, after = (
        100 * np.mean(scores(tmp_path, "actions-clip_cnn-0.safetensors", key).argmax(1) == actions)
        for key in ("static", "scores")
    )
    assert before != after
    assert row["plugin"] == {"clip_cnn": pytest.approx(before)}
    assert row["plugin_top1"] == pytest.approx(before)
    assert row["targets"]["clip_cnn"]["top1"][0] == pytest.approx(after)


def test_the_kind_of_target_that_counts_is_not_the_first_in_the_file(
    planted: tuple[study.Study, study.Data], tmp_path: Path
):
    """It is the one that reads most of raw video: of it are the plug-in's top-1 and A1p."""
    made, data = planted
    alone = study.summarize(made, tmp_path, made.rows[1], data)
    wrong = torch.from_numpy(np.roll(np.eye(3), 1, 1)[data.clips.test.actions])
    for row in ("raw", "soft"):
        for seed in (0, 1):
            path = tmp_path / "rows" / row / f"actions-frame_cnn-{seed}.safetensors"
            checkpoint.save(path, {"scores": 9 * wrong, "static": 9 * wrong}, {})
    both = replace(made.evaluation, targets=("frame_cnn", "clip_cnn"))
    beside = study.summarize(replace(made, evaluation=both), tmp_path, made.rows[1], data)
    assert beside["target"] == "clip_cnn"
    assert beside["plugin"] == {"frame_cnn": 0, **alone["plugin"]}
    for key in ("plugin_top1", "top1", "U", "rungs"):
        assert beside[key] == alone[key], key


def test_a_row_s_intervals_are_over_people(planted: tuple[study.Study, study.Data], tmp_path: Path):
    """Whole people are drawn again, with all their clips, and the same ones for every row."""
    (made, data), test = planted, planted[1].clips.test
    row = study.summarize(made, tmp_path, made.rows[1], data)
    counts = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=100)
    weights = counts[:, test.groups]
    (fit,) = [r for r in row["rungs"] if r["rung"] == "A4"]
    found = scores(tmp_path, "attributes-frame_cnn-0.safetensors")
    cmaps = np.array([naive_cmap(found, test.attributes, w) for w in weights])
    span = np.quantile(cmaps, [0.025, 0.975]) - cmaps.mean() + fit["cmap"]
    assert fit["cmap_interval"] == pytest.approx([span[0], min(span[1], 100)])
    right = [scores(tmp_path, f"actions-clip_cnn-{seed}.safetensors").argmax(1) == test.actions
             for seed in (0, 1)]  # fmt: skip
    tops = 100 * (weights @ np.mean(right, 0)) / weights.sum(1)
    span = np.quantile(tops, [0.025, 0.975]) - tops.mean() + row["top1"]
    assert row["top1_interval"] == pytest.approx([span[0], min(span[1], 100)])


# --------------------------------------------------------------- what each of the ladder is given


@pytest.fixture
def released(
    planted: tuple[study.Study, study.Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> study.Data:
    """Those two rows let out, in ``tmp_path``, for workers of this process."""
    made, data = planted
    monkeypatch.setattr(work, "_open", lambda folder: (made, data, fabric()))
    for row in ("raw", "soft"):
        work.work_release("release", str(tmp_path), row)
    return data


def let_out(folder: Path, row: str, part: str) -> np.ndarray:
    """(F, C, H, W) bytes of a row's release."""
    found: np.ndarray = np.load(folder / "rows" / row / f"release-noise-{part}.npy")
    return found


def prepared(frames: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Each pixel less its mean over other frames, 3 deviations to either side over the range."""
    spread = np.sqrt(like.var(0, dtype=np.float64) + 0.25)
    return np.clip((frames - like.mean(0)) * 42.5 / spread + 127.5, 0, 255)


def pixels(data: ClipSet) -> np.ndarray:
    found: np.ndarray = data.frames[np.arange(data.frames.shape[0])]
    return found.astype(float)


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """The same bytes but for rounding."""
    return one.shape == other.shape and np.abs(one - other).max() <= 1


def test_who_undoes_a_release_learnt_on_the_validation_people(
    released: study.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """And what was trained on raw video is asked about what comes of the test clips."""
    given: list[ClipSet] = []
    clips, negative = released.clips, 255 - pixels(released.clips.test).astype(np.uint8)

    def learn(seen: ClipSet, raw: ClipSet, *rest: Any) -> torch.nn.Module:
        given.extend((seen, raw))
        return torch.nn.Identity()

    def undo(inverter: Any, seen: ClipSet, *rest: Any) -> ClipSet:
        given.append(seen)
        return clips.test.with_frames(negative, "undone", "undone")

    def ask(made: Any, folder: Path, labels: str, network: str, seen: ClipSet, *rest: Any) -> Any:
        given.append(seen)
        return torch.zeros(1)

    monkeypatch.setattr(work.inversion, "fit_inverter", learn)
    monkeypatch.setattr(work.inversion, "recover", undo)
    monkeypatch.setattr(work, "_raw_trained", ask)
    work.work_invert("invert", str(tmp_path), "soft")
    learnt, truth, seen, asked_of = map(pixels, given)
    soft = {part: let_out(tmp_path, "soft", part) for part in Splits._fields}
    assert [given[0].name, given[1].name] == ["noise/val", "noise/val"]
    assert close(learnt, prepared(soft["val"], soft["train"]))
    assert np.array_equal(truth, pixels(clips.val))
    assert close(seen, prepared(soft["test"], soft["train"]))
    assert close(asked_of, prepared(negative, let_out(tmp_path, "raw", "train")))


def test_who_does_not_adapt_prepares_a_release_as_raw_video(
    released: study.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A2 has never seen a release, so it knows nothing of its pixels; a fresh attacker does."""
    static: list[ClipSet] = []
    fresh: list[Splits] = []
    started: list[int] = []

    def ask(made: Any, folder: Path, labels: str, network: str, seen: ClipSet, *rest: Any) -> Any:
        static.append(seen)
        return torch.zeros(1)

    def learn(seen: Splits, *rest: Any) -> Examination:
        fresh.append(seen)
        started.append(rest[6])
        return Examination({}, np.zeros((1, 1)))

    monkeypatch.setattr(work, "_raw_trained", ask)
    monkeypatch.setattr(work, "examine", learn)
    path = tmp_path / "raw" / "examiners" / "attributes-frame_cnn.safetensors"
    path.parent.mkdir(parents=True)
    checkpoint.save(path, {"network": {"weight": torch.zeros(1)}}, {})
    for seed in (0, 1):
        work.work_examine("examine", str(tmp_path), "soft", "attributes", "frame_cnn", seed)
    assert len(set(started)) == 2  # fresh attackers of different seeds are different ones
    (alone,) = static  # asked once, whatever the number of seeds
    soft = {part: let_out(tmp_path, "soft", part) for part in Splits._fields}
    assert close(pixels(alone), prepared(soft["test"], let_out(tmp_path, "raw", "train")))
    for part in Splits._fields:
        mine = prepared(soft[part], soft["train"])
        assert close(pixels(getattr(fresh[0], part)), mine), part
