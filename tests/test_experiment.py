"""From a run file to an anonymizer: checked, repeated, refused, loaded."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import tiny

from velatura import experiment
from velatura.config import read_toml, to_toml
from velatura.errors import BadInput
from velatura.experiment import load_anonymizer, locked, raw_network, resolve
from velatura.layout import Splits
from velatura.training import checkpoint, fit, loop


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VELATURA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    experiment.train(resolve(tiny.values(method={"steps": 2})), folder)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("config.toml", "anonymizer.safetensors", "checkpoint.safetensors", "log.jsonl"):
        (folder / name).write_bytes((finished / name).read_bytes())
    return folder


def said(values: dict[str, Any]) -> str:
    with pytest.raises(BadInput) as caught:
        resolve(values)
    text = str(caught.value)
    assert "\n" not in text
    return text


# ------------------------------------------------------------------------------- the run file


def test_nothing_is_a_run():
    run = resolve({})
    assert (run.seed, run.method.name, run.anonymizer.name) == (0, "penalty", "gated_unet")
    assert list(run.values()) == [
        "seed", "data", "batches", "anonymizer", "target", "budget", "start", "method", "loop",
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["penalty", "constrained", "spact", "blur"])
def test_what_is_written_into_a_run_repeats_it(method: str):
    run = resolve(tiny.values(method))
    again = resolve(tomllib.loads(run.toml()))
    assert again == run
    assert again.toml() == run.toml()
    for section in ("data", "batches", "method"):  # and the file says what was asked for
        for key, value in tiny.values(method)[section].items():
            assert tomllib.loads(run.toml())[section][key] == value


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"metod": {}}, r"No section named 'metod'\. Did you mean 'method'\? Available: "
                        r"anonymizer, batches, budget, data, held_out, loop, method, "
                        r"private, seed, start, target\."),
        ({"method": {"name": "penalti"}}, r"No method plug-in named 'penalti'\. Did you mean "
                                          r"'penalty'\? Available: .*constrained, .*spact, .*\."),
        ({"anonymizer": {"name": "wnet"}}, r"No model plug-in named 'wnet'\..* "
                                           r"Available: bdq, .*gated_unet, .*\."),
        ({"data": {"name": "peple"}}, r"No data plug-in named 'peple'\. Did you mean 'people'\?.*"),
        ({"method": {"bond": 1}}, r"Unknown key method\.bond\. Did you mean method\.bound\? Known "
                                  r"keys: bound, penalty_weight, .*"),
        ({"loop": {"decive": "cpu"}}, r"Unknown key loop\.decive\. Did you mean loop\.device\?.*"),
        ({"method": {"bound": "wide"}}, r"method\.bound: .*valid number.*, got 'wide'\."),
        ({"method": {"bound": -0.1}}, r"method\.bound: .*greater than or equal to 0, got -0\.1\."),
        ({"method": {"steps": 1.5}}, r"method\.steps: .*valid integer.*, got 1\.5\."),
        ({"batches": {"batch": 0}}, r"batches\.batch: .*greater than or equal to 1, got 0\."),
        ({"start": {"epochs": -1}}, r"start\.epochs: .*, got -1\."),
        ({"loop": {"device": "tpu"}}, r"loop\.device: .*'auto', 'cpu' or 'cuda', got 'tpu'\."),
        ({"seed": -1}, r"seed: expected a whole number of at least 0, got -1\."),
        ({"seed": 1.0}, r"seed: expected a whole number of at least 0, got 1\.0\."),
        ({"seed": True}, r"seed: expected a whole number of at least 0, got True\."),
        ({"data": 3}, r"data: expected a section \[data\], got 3\."),
        ({"loop": "cpu"}, r"loop: expected a section \[loop\], got 'cpu'\."),
        ({"method": {"name": 3}}, r"method\.name: expected a text, got 3\."),
        ({"anonymizer": {"name": "clip_cnn"}}, r"clip_cnn cannot be used as anonymizer; these can: "
                                               r".*gated_unet.*\."),
        ({"budget": {"name": "patch_mlp"}}, r"patch_mlp cannot be used as encoder; these can: .*"),
        ({"target": {"name": "gated_unet"}}, r"gated_unet cannot be used as classifier; these .*"),
        ({"method": {"name": "constrained", "adversaries": ["clip_cnn", "frame_cn"]}},
         r"No model plug-in named 'frame_cn'\. Did you mean 'frame_cnn'\?.*"),
        ({"method": {"name": "constrained", "adversaries": ["gated_unet"]}},
         r"gated_unet cannot be used as classifier; these can: .*"),
        ({"method": {"name": "constrained", "adversaries": []}},
         r"method\.adversaries: .*at least 1 item.*"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_done(values: dict[str, Any], sentence: str):
    text = said(values)
    assert re.fullmatch(sentence, text), text


def test_services_are_not_science():
    """The same experiment on another device, from another cache, is the same experiment."""
    run, other = (
        resolve(tiny.values(loop=keys, data={"cache": cache}))
        for keys, cache in (({"save_every": 7}, "x"), ({"precision": "bf16"}, "y"))
    )
    assert run.science() == other.science()
    for change in ({"method": {"bound": 0.4}}, {"batches": {"batch": 4}}, {"seed": 4},
                   {"start": {"epochs": 2}}, {"data": {"seed": 9}}, {"target": {"width": 16}},
                   {"anonymizer": {"width": 8}}, {"budget": {"width": 16}}):  # fmt: skip
        assert resolve(tiny.values(**change)).science() != resolve(tiny.values()).science(), change


# ----------------------------------------------------------------------------- run and run again


def test_a_run_repeats_itself_from_its_own_file(finished: Path, tmp_path: Path):
    """`velatura train RUN/config.toml --out other`, through the command line."""
    code, out, err = tiny.main(
        "train", str(finished / "config.toml"), "--out", str(tmp_path / "again")
    )
    assert (code, err) == (0, ""), out
    one, other = (
        checkpoint.load(f / "anonymizer.safetensors") for f in (finished, tmp_path / "again")
    )
    assert tiny.equal(list(one), list(other))
    assert (finished / "config.toml").read_text() == (
        tmp_path / "again" / "config.toml"
    ).read_text()
    assert one[1]["run"] == resolve(read_toml(finished / "config.toml")).values()


def test_another_seed_is_another_network(finished: Path, tmp_path: Path):
    product = experiment.train(resolve(tiny.values(seed=4, method={"steps": 2})), tmp_path / "x")
    one, other = (checkpoint.load(p)[0] for p in (product, finished / product.name))
    assert not tiny.equal(one, other)


def test_a_folder_that_holds_a_run_is_refused(copy: Path):
    run = resolve(read_toml(copy / "config.toml"))
    before = {p.name: p.read_bytes() for p in copy.iterdir()}
    with pytest.raises(BadInput) as caught:
        experiment.train(run, copy)
    assert str(caught.value) == (
        f"{copy} holds a run already; continue it with --resume, or name another folder with --out."
    )
    assert {p.name: p.read_bytes() for p in copy.iterdir()} == before


def test_a_run_of_another_configuration_is_refused(copy: Path):
    before = {p.name: p.read_bytes() for p in copy.iterdir()}
    with pytest.raises(BadInput, match=r"holds a run of another configuration \(see .*config.toml"):
        experiment.train(resolve(tiny.values(method={"steps": 3})), copy, resume=True)
    after = {p.name: p.read_bytes() for p in copy.iterdir() if p.name != ".lock"}
    assert after == before


def test_a_fixed_filter_does_not_train(tmp_path: Path):
    with pytest.raises(BadInput, match="blur is a fixed filter with nothing to learn"):
        experiment.train(resolve(tiny.values("blur")), tmp_path / "x")
    assert not (tmp_path / "x").exists()


# A process that holds a folder until its input is closed.
HOLDER = """
import sys
from pathlib import Path
from velatura.experiment import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_write_to_one_folder(copy: Path):
    """Whichever way the other one ends, even killed, the folder is free again at once."""
    run = resolve(read_toml(copy / "config.toml"))
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(copy)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BadInput) as caught:
            experiment.train(run, copy, resume=True)
        assert str(caught.value) == (
            f"Another run is writing to {copy}; wait for it, or name another with --out."
        )
        other.kill()
    assert experiment.train(run, copy, resume=True).exists()


def test_the_lock_is_let_go_after_an_error(tmp_path: Path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass


# ------------------------------------------------------------------------------ the finished run


def test_the_loaded_anonymizer_is_the_trained_one(finished: Path):
    network = load_anonymizer(finished, "cpu")
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    weights = checkpoint.load(finished / "anonymizer.safetensors")[0]["f_A"]
    assert tiny.equal(dict(network.state_dict()), weights)


def test_a_fixed_filter_is_loaded_from_its_configuration(tmp_path: Path):
    (tmp_path / "config.toml").write_text(resolve(tiny.values("identity")).toml())
    clips = torch.rand(1, 2, 3, 8, 8)
    assert torch.equal(load_anonymizer(tmp_path, "cpu")(clips), clips)


def damage(name: str, text: bytes | None = None, half: bool = False) -> Any:
    def done(folder: Path) -> None:
        path = folder / name
        if text is not None:
            path.write_bytes(text)
        elif half:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        else:
            path.unlink()

    return done


def widen(folder: Path) -> None:
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("width = 4", "width = 8"))


def exchange(folder: Path) -> None:
    checkpoint.save(folder / "anonymizer.safetensors", {"network": {}}, {})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (damage("config.toml"), r"is not a run folder: it has no config\.toml; name one made by"),
        (damage("config.toml", b"seed = "), r"config\.toml is not TOML: "),
        (damage("config.toml", b"\xff\xfe"), r"config\.toml is not TOML: "),
        (damage("config.toml", b"sed = 3"), r"No section named 'sed'\. Did you mean 'seed'\?"),
        (damage("anonymizer.safetensors"), r"has not finished; continue it with `velatura train "),
        (
            damage("anonymizer.safetensors", half=True),
            r"anonymizer\.safetensors is damaged or trun",
        ),
        (damage("anonymizer.safetensors", b""), r"anonymizer\.safetensors is damaged or truncated"),
        (widen, r"anonymizer\.safetensors holds another architecture than FrameAnonymizer: 0 tens"),
        (
            exchange,
            r"anonymizer\.safetensors holds another architecture than FrameAnonymizer: \d+ ",
        ),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(change: Any, sentence: str, copy: Path):
    change(copy)
    with pytest.raises(BadInput) as caught:
        load_anonymizer(copy, "cpu")
    assert re.search(sentence, str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path):
    with pytest.raises(BadInput, match="none is not a run folder"):
        load_anonymizer(tmp_path / "none", "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_before_a_folder_is_made(tmp_path: Path):
    with pytest.raises(BadInput, match="device is 'cuda' but PyTorch sees no GPU"):
        experiment.train(resolve(tiny.values(loop={"device": "cuda"})), tmp_path / "x")
    assert not (tmp_path / "x").exists()


# -------------------------------------------------------------------------------------- the data


def with_labels(part: str, **labels: Any) -> Splits:
    splits = tiny.noise_splits()
    return splits._replace(**{part: replace(getattr(splits, part), **labels)})


@pytest.mark.parametrize(
    ("splits", "sentence"),
    [
        (
            with_labels("train", actions=np.zeros(12, np.int64)),
            "noise/train has one action only; utility needs at least two.",
        ),
        *(
            (
                with_labels(part, attributes=np.full((12, 2), value, np.uint8)),
                f"The attribute 'attribute 0' has no {missing} in noise/{part}: no attacker can be "
                "measured on it; leave it out or add clips.",
            )
            for part in Splits._fields
            for value, missing in ((0, "positives"), (1, "negatives"))
        ),
    ],
)
def test_data_from_which_nothing_can_be_learnt(
    splits: Splits, sentence: str, monkeypatch: pytest.MonkeyPatch
):
    from velatura.data import people

    monkeypatch.setattr(people, "load", lambda cfg, progress=None: splits)
    with pytest.raises(BadInput) as caught:
        experiment.load_data(resolve({}))
    assert str(caught.value) == sentence


@pytest.mark.parametrize("method", ["penalty", "spact", "penalty_released", "ted_spad"])
def test_a_game_on_frames_refuses_what_only_sees_motion(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It would train in silence: of single frames such an anonymizer makes a constant."""
    monkeypatch.setattr(fit, "fit", lambda *args: pytest.fail("trained first"))
    values = tiny.values(method)
    values["anonymizer"] = {"name": "coarse_flow"}
    with pytest.raises(BadInput, match=rf"{method} shows .* coarse_flow makes nothing"):
        experiment.train(resolve(values), tmp_path / "x")


@pytest.mark.parametrize("method", ["constrained", "mass", "ted_spad"])
def test_a_target_without_features_is_said_before_it_is_trained(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fit, "fit", lambda *args: pytest.fail("trained first"))
    values = tiny.values(method)
    values["target"] = {"name": "patch_mlp"}
    with pytest.raises(BadInput, match=rf"{method} needs a target with features\(\); patch_mlp"):
        experiment.train(resolve(values), tmp_path / "x")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"target": {"name": "i3d_r50"}}, r"i3d_r50 needs clips of at least 7 frames .* have 4 "),
        ({"budget": {"name": "vit"}, "batches": {"size": 20}}, r"vit.* multiples of 16"),
    ],
)
def test_a_network_that_cannot_take_the_window_is_said_before_training(
    changes: dict[str, Any], sentence: str, tmp_path: Path
):
    with pytest.raises(BadInput, match=sentence):
        experiment.train(resolve(tiny.values(**changes)), tmp_path / "run")
    assert not (tmp_path / "run" / "raw").exists()


def test_one_clip_has_nothing_to_be_told_from(tmp_path: Path):
    with pytest.raises(BadInput, match=r"batches\.batch is 1, .* needs at least 2"):
        experiment.train(resolve(tiny.values(batches={"batch": 1})), tmp_path / "x")


# --------------------------------------------------------------- networks trained on raw clips


def trained(folder: Path, run: experiment.Run, splits: Splits, **more: Any) -> set[str]:
    """The names in the folder after asking for a network."""
    given = {"labels": "actions", "role": "target", **more}
    raw_network(
        given.pop("section", run.target), given["labels"], run, splits, loop.fabric(run.loop),
        folder, given["role"],
    )  # fmt: skip
    return {p.name for p in folder.iterdir()}


def test_a_raw_network_is_kept_under_what_it_depends_on(tmp_path: Path, monkeypatch: Any):
    fits: list[int] = []
    real = fit.fit

    def counted(network: Any, *args: Any) -> Any:
        fits.append(args[5])
        return network.eval()

    splits, run = tiny.noise_splits(side=24), resolve(tiny.values())
    first = trained(tmp_path, run, splits)
    monkeypatch.setattr(fit, "fit", counted)
    assert trained(tmp_path, run, splits) == first
    assert fits == []  # read, not trained
    # What it does not depend on: the method, the anonymizer, the budget, services.
    same = resolve(tiny.values("constrained", anonymizer={"width": 8}, loop={"save_every": 9}))
    assert trained(tmp_path, same, splits) == first

    others = tiny.noise_splits(n=16, side=24)
    for change, more in (
        ({"seed": 4}, {}), ({"start": {"epochs": 2}}, {}), ({"batches": {"shift": 1}}, {}),
        ({"target": {"width": 16}}, {}), ({}, {"labels": "attributes"}),
        ({}, {"role": "adversary0"}), ({}, {"splits": others}),
        ({}, {"section": resolve({"target": {"name": "patch_mlp"}}).target}),
    ):  # fmt: skip
        known = {p.name for p in tmp_path.iterdir()}
        new = trained(tmp_path, resolve(tiny.values(**change)), more.pop("splits", splits), **more)
        assert len(new - known) == 1, (change, more)
    assert len(set(fits)) == len(fits) == 8  # and each with a seed of its own
    assert fit.fit is not real


@pytest.mark.parametrize("method", ["constrained", "mass"])
def test_the_teacher_is_the_target_as_it_left_raw_clips(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Weights and buffers of its own, so that it stays when f_T moves."""

    def learn(network: Any, *args: Any) -> Any:
        for value in network.state_dict().values():
            value.add_(1)
        return network

    monkeypatch.setattr(fit, "fit", learn)
    splits, run = tiny.noise_splits(side=24), resolve(tiny.values(method))
    players = experiment.make_players(run, splits, loop.fabric(run.loop), tmp_path)
    assert players.teacher is not None
    assert not any(module.training for module in players.teacher.modules())
    theirs = players.f_T.state_dict()
    for key, value in players.teacher.state_dict().items():
        assert torch.equal(value, theirs[key]), key
        assert value.data_ptr() != theirs[key].data_ptr(), key


def test_a_damaged_raw_network_is_said(tmp_path: Path):
    run, splits = resolve(tiny.values()), tiny.noise_splits(side=24)
    (name,) = trained(tmp_path, run, splits)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:500])
    with pytest.raises(BadInput, match="is damaged or truncated"):
        trained(tmp_path, run, splits)
    checkpoint.save(tmp_path / name, {"f_A": {}}, {})
    with pytest.raises(BadInput, match="holds another architecture than ClipCNN"):
        trained(tmp_path, run, splits)


# -------------------------------------------------------------------------------------- releases


class Brighten(torch.nn.Module):
    """Not a whole number of bytes, and beyond both ends."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return clips * 1.3 - 0.1


def test_a_release_is_the_output_rounded_to_bytes(tmp_path: Path):
    data = tiny.noise()
    fabric = loop.fabric(loop.Config(device="cpu", precision="32"))
    out = experiment.release(Brighten(), data, tmp_path / "release.npy", fabric, batch=5)
    exact = np.clip(np.rint(255 * (data.frames.astype(np.float32) / 255 * 1.3 - 0.1)), 0, 255)
    assert out.frames.dtype == np.uint8
    assert np.abs(out.frames.astype(int) - exact).max() <= 1  # 0.5 may fall to either side
    assert (out.frames != exact).mean() < 0.001
    assert out.actions is data.actions
    assert out.attributes is data.attributes
    assert [p.name for p in tmp_path.iterdir()] == ["release.npy"]


class Mean(torch.nn.Module):
    """Every frame becomes the mean of the ``window`` that it is in."""

    window = 4

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        parts = clips.split(self.window, 1)
        return torch.cat([p.mean(1, keepdim=True).expand_as(p) for p in parts], 1)


def test_a_long_video_is_cut_where_the_anonymizer_s_windows_end(tmp_path: Path):
    data = tiny.noise(n=2, t=15)
    fabric = loop.fabric(loop.Config(device="cpu", precision="32"))
    whole = experiment.release(Mean(), data, tmp_path / "whole.npy", fabric)
    for batch in (4, 6, 11):
        cut = experiment.release(Mean(), data, tmp_path / f"{batch}.npy", fabric, batch=batch)
        assert np.abs(cut.frames.astype(int) - whole.frames).max() <= 1


def test_a_release_of_the_identity_is_the_clips(tmp_path: Path):
    data = tiny.noise()
    fabric = loop.fabric(loop.Config(device="cpu", precision="32"))
    out = experiment.release(torch.nn.Identity(), data, tmp_path / "release.npy", fabric)
    assert np.array_equal(out.frames, data.frames)


def test_a_release_that_breaks_leaves_no_release(tmp_path: Path):
    class Breaks(torch.nn.Module):
        count = 0

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            Breaks.count += 1
            if Breaks.count == 2:
                raise RuntimeError("third batch")
            return clips

    fabric = loop.fabric(loop.Config(device="cpu", precision="32"))
    with pytest.raises(RuntimeError, match="third batch"):
        experiment.release(Breaks(), tiny.noise(), tmp_path / "release.npy", fabric, batch=5)
    assert not (tmp_path / "release.npy").exists()


def test_a_release_on_a_full_disk_is_an_error_and_not_the_end(tmp_path: Path):
    """A mapped file would end the process with SIGBUS, and be taken for a lack of memory."""
    fabric = loop.fabric(loop.Config(device="cpu", precision="32"))
    data = tiny.noise(n=60, side=32)  # 737 kB
    with tiny.small_disk(tmp_path / "disk") as disk:
        with pytest.raises(OSError, match="No space left on device"):
            experiment.release(torch.nn.Identity(), data, disk / "release.npy", fabric)
        assert list(disk.iterdir()) == []


def test_the_config_that_is_written_is_complete(finished: Path):
    """Every value, also the defaults: a later version with others repeats the same run."""
    written = read_toml(finished / "config.toml")
    assert written["method"]["temperature"] == 0.1
    assert written == tomllib.loads(to_toml(resolve(written).values()))
