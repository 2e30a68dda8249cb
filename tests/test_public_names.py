"""The public names, pinned: adding or dropping one is a decision, written here too."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

import velatura

PUBLIC = {
    "Anonymizer",
    "BadInput",
    "ClipSet",
    "Failure",
    "Measurement",
    "anonymize_video",
    "load_anonymizer",
}


def test_the_public_names():
    assert set(velatura.__all__) == PUBLIC
    assert set(velatura.__dir__()) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_is_the_thing_where_it_lives(name: str):
    home = importlib.import_module(velatura._HOME[name])
    assert getattr(velatura, name) is getattr(home, name)
    assert getattr(home, name).__doc__, f"{name} is public and has no docstring"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'velatura' has no attribute 'Anonymiser'"):
        velatura.Anonymiser  # noqa: B018


def test_the_version_is_said_in_one_voice(root: Path):
    assert importlib.metadata.version("velatura") == velatura.__version__
    assert f"## {velatura.__version__}" in (root / "CHANGELOG.md").read_text()
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["version"] == velatura.__version__
    assert citation["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_deployment_installs_without_torch(root: Path):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    core = " ".join(project["dependencies"])
    assert not any(heavy in core for heavy in ("torch", "lightning", "opencv", "plotly"))


def test_the_types_are_shipped():
    assert (Path(velatura.__file__).parent / "py.typed").exists()
