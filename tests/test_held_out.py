"""World W4: attributes that no training is told, while examination reads all of them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import tiny

from velatura import experiment, plugins, study
from velatura.config import read_toml, to_toml
from velatura.errors import BadInput
from velatura.experiment import resolve
from velatura.methods import constrained
from velatura.training import checkpoint, fit

HELD = ["shirt", "gender"]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VELATURA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def values(kind: str = "constrained", held_out: list[str] = HELD) -> dict[str, Any]:
    return {**tiny.values(kind), "held_out": held_out}


# ------------------------------------------------------------------------------- the run file


def test_without_the_key_nothing_is_another_run():
    run = resolve(tiny.values())
    assert run.held_out == ()
    assert "held_out" not in run.values()
    assert resolve(values("penalty", [])).science() == run.science()
    assert resolve(values("penalty")).science() != run.science()


def test_it_is_written_and_read_again():
    run = resolve(values())
    again = resolve(tomllib.loads(run.toml()))
    assert again == run
    assert 'held_out = ["shirt", "gender"]' in run.toml()


@pytest.mark.parametrize(
    ("held_out", "said"),
    [
        ("shirt", "held_out: expected a list of attribute names, got 'shirt'"),
        ([3], r"held_out: expected a list of attribute names, got \[3\]"),
        (["hair", "hair"], "held_out names one twice"),
    ],
)
def test_what_is_no_list_of_names_is_refused(held_out: Any, said: str):
    with pytest.raises(BadInput, match=said):
        resolve({**tiny.values(), "held_out": held_out})


def test_what_is_not_there_is_refused_before_anything_is_trained():
    """Of a fixed row too: its study would say that something was held out."""
    for kind in ("constrained", "blur"):
        run = resolve(values(kind, ["shirts"]))
        said = "No private attribute to hold out named 'shirts'. Did you mean 'shirt'"
        with pytest.raises(BadInput, match=said):
            experiment.check_players(run, experiment.load_data(run))
    names = list(experiment.load_data(run).train.attribute_names)
    with pytest.raises(BadInput, match="held_out names all 9 private attributes"):
        experiment.check_players(resolve(values("constrained", names)), experiment.load_data(run))


# ---------------------------------------------------------------------------------- training


def test_a_split_without_an_attribute():
    data = tiny.noise(attributes=3)
    less = data.without(["attribute 1"])
    assert less.attribute_names == ("attribute 0", "attribute 2")
    assert np.array_equal(less.attributes, data.attributes[:, [0, 2]])
    assert less.fingerprint != data.fingerprint
    assert less.frames is data.frames
    assert data.without(["hair"]) is data
    assert less.without(["attribute 1"]) is less  # whoever asks twice


def test_no_part_of_training_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What networks start from, the adversaries, the prevalence, and every batch."""
    learnt: list[tuple[str, tuple[str, ...]]] = []
    seen: dict[str, Any] = {}
    fitted = fit.fit

    def spy(network: Any, train: Any, val: Any, labels: Any, *rest: Any) -> Any:
        learnt.extend((labels, part.label_names(labels)) for part in (train, val))
        return fitted(network, train, val, labels, *rest)

    def look(players: Any, cfg: Any, loop: Any) -> None:
        seen.update(players=players, stream=loop.batches)

    monkeypatch.setattr(fit, "fit", spy)
    monkeypatch.setattr(constrained, "train", look)
    run = resolve(values())
    experiment.train(run, tmp_path / "run")
    data = experiment.load_data(run).train
    kept = [name for name in data.attribute_names if name not in HELD]
    assert len(kept) == 7
    told = {names for labels, names in learnt if labels == "attributes"}
    assert told == {tuple(kept)}
    assert {names for labels, names in learnt if labels == "actions"} == {data.action_names}
    columns = [data.attribute_names.index(name) for name in kept]
    players, stream = seen["players"], seen["stream"]
    shares = torch.from_numpy(data.attributes[:, columns].mean(0)).float()
    torch.testing.assert_close(players.prevalence, shares)
    for step in range(3):
        batch = stream.at(step)
        items = stream._items(step, "clips").numpy()
        assert np.array_equal(batch.attributes.numpy(), data.attributes[items][:, columns])
    for adversary in players.adversaries:
        assert adversary(batch.clips).shape == (len(batch.clips), 7)


# ------------------------------------------------------------------------------- examination


def test_a_study_tells_its_adversaries_less_and_reads_all(tmp_path: Path):
    """By what its workers do: the adversary's start has 7 outputs, the attacker 9."""
    made = values()
    method = made.pop("method")
    made["evaluation"] = {
        "attackers": ["pixel_mlp"], "seeds": [0], "target_seeds": [0], "start": "scratch",
        "epochs": 1,
    }  # fmt: skip
    resolved = study.resolve_study({**made, "rows": [{"name": "ours", "method": method}]})
    assert resolved.values()["held_out"] == HELD  # as a summary's config has it
    folder = str(tmp_path)
    (tmp_path / "config.toml").write_text(resolved.toml())
    study.work_raw("raw", folder, "adversary0", {"name": "frame_cnn"}, "attributes")
    (path,) = (tmp_path / "raw").glob("*.safetensors")
    weights = [w for name, w in checkpoint.load(path)[0]["network"].items() if "head" in name]
    assert {len(w) for w in weights} == {7}
    study.work_release("release", folder, "raw")
    study.work_examine("examine", folder, "raw", "attributes", "pixel_mlp", 0)
    scores = checkpoint.load(study.score_path(tmp_path, "raw", "attributes", "pixel_mlp", 0))[0]
    test = study.load_all(resolved).bearers.test
    assert scores["scores"].shape == (len(test), 9)
    assert set(HELD) < set(test.attribute_names)


def test_the_run_file_of_w4_holds_out_attackers_too():
    """Architectures that no network of any row is of."""
    made = study.resolve_study(read_toml(ROOT / "experiments/runs/world-held-out.toml"))
    assert made.base.held_out == ("shirt", "gender")
    assert len(made.rows) == 5
    used = {made.base.target.name, made.base.budget.name}
    for row in made.rows:
        used |= set(getattr(row.run.method.config, "adversaries", ()))
    assert set(made.evaluation.attackers) - used == {"patch_mlp", "pixel_mlp"}
    for name in used | set(made.evaluation.attackers):
        assert name in plugins.names("models")
    assert json.dumps(made.values())
    assert to_toml({"held_out": HELD}) in made.toml()
