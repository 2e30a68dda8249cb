"""A plug-in is a file: it is found by its name, and nothing else is."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import velatura
from velatura import plugins
from velatura.errors import BadInput, unknown

PACKAGE = Path(velatura.__file__).parent
ROOMS = ["methods", "models", "detectors", "attackers", "data", "protocols"]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that stands beside the files of velatura/methods for one test."""
    import velatura.methods

    monkeypatch.setattr(velatura.methods, "__path__", [*velatura.methods.__path__, str(tmp_path)])
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(f"velatura.methods.{path.stem}", None)


@pytest.mark.parametrize("kind", ROOMS)
def test_the_names_are_the_files(kind: str):
    folder = PACKAGE / kind
    expected = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    expected |= {p.parent.name for p in folder.glob("[!_]*/__init__.py")}
    assert plugins.names(kind) == sorted(expected)


@pytest.mark.parametrize("kind", ROOMS)
def test_every_plug_in_loads_and_says_what_it_is(kind: str):
    for name in plugins.names(kind):
        module = plugins.load(kind, name)
        assert module.__name__ == f"velatura.{kind}.{name}"
        assert (module.__doc__ or "").strip(), f"{kind}/{name}.py has no docstring"


def test_one_file_is_a_method(room: Path):
    (room / "mine.py").write_text(
        "from velatura.config import config\n@config\nclass Config: ...\n"
    )
    (room / "_helper.py").write_text("")
    assert "mine" in plugins.names("methods")
    assert "_helper" not in plugins.names("methods")
    assert plugins.config_class("methods", "mine").__name__ == "Config"


def documented(root: Path) -> list[str]:
    """The two methods of docs/adding-a-method.md: a fixed one and a learned one."""
    page = (root / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)


def test_the_documented_fixed_method_works(room: Path, root: Path):
    (room / "posterize.py").write_text(documented(root)[0])
    method = plugins.load("methods", "posterize")
    filtered = method.build(method.Config(levels=3))(torch.tensor([0.0, 0.2, 0.3, 0.8, 1.0]))
    assert filtered.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_the_documented_learned_method_works(room: Path, root: Path, tmp_path: Path):
    """On clips that carry no action there is nothing to keep, and it turns the light down."""
    from velatura.layout import ClipSet
    from velatura.models import clip_cnn, gated_unet
    from velatura.training import batches, loop
    from velatura.training.players import Players

    (room / "dim.py").write_text(documented(root)[1])
    method = plugins.load("methods", "dim")
    rng = np.random.default_rng(0)
    clips = ClipSet.of_clips(
        rng.integers(0, 256, (8, 2, 3, 16, 16), np.uint8),
        actions=np.arange(8) % 2,
        attributes=np.arange(8, dtype=np.uint8)[:, None] % 2,
        groups=np.arange(8),
        action_names=("a", "b"),
        attribute_names=("x",),
        name="noise/train",
        fingerprint="noise",
    )
    window = batches.Config(batch=4, size=16, frames=2, shift=0)
    services = loop.Config(device="cpu", precision="32")
    fabric = loop.fabric(services)
    stream = batches.Batches(clips, window, 0, fabric.device)
    torch.manual_seed(0)
    players = Players(
        gated_unet.anonymizer(gated_unet.Config(width=4)),
        clip_cnn.classifier(clip_cnn.Config(), 2),
        torch.nn.Identity(),
    )
    with torch.no_grad():
        before = players.f_A(stream.at(0).clips).mean()
    (tmp_path / "run").mkdir()
    steps = loop.Loop(tmp_path / "run", fabric, stream, services, 0, {})
    method.train(players, method.Config(steps=15, light_weight=20.0, lr=0.01), steps)
    with torch.no_grad():
        after = players.f_A(stream.at(0).clips).mean()
    assert after < before - 0.02
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_plug_in_without_config_cannot_stand_in_a_run_file(room: Path):
    (room / "bare.py").write_text("")
    with pytest.raises(BadInput, match="methods plug-in 'bare' has no Config"):
        plugins.config_class("methods", "bare")


def test_a_wrong_name_gets_the_nearest_right_one_and_the_list():
    with pytest.raises(BadInput) as caught:
        plugins.load("methods", "penalti")
    available = ", ".join(plugins.names("methods"))
    assert str(caught.value) == (
        f"No method plug-in named 'penalti'. Did you mean 'penalty'? Available: {available}."
    )


@pytest.mark.parametrize("name", ["os", "os.path", "velatura.errors", "../errors", "_x", "", "."])
def test_a_run_file_cannot_name_code_of_its_own(name: str):
    with pytest.raises(BadInput, match="No method plug-in named"):
        plugins.load("methods", name)


def test_a_name_like_no_other_gets_the_list_alone():
    assert str(unknown("verb", "qqq", ["b", "a"])) == "No verb named 'qqq'. Available: a, b."
