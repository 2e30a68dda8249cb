"""The recipes in packaging/ name what there is: files, options, the same constraints."""

from __future__ import annotations

import configparser
import shlex
import tomllib
from pathlib import Path

import pytest

from velatura.cli import _app, verbs

ROOT = Path(__file__).parents[1]
PACKAGING = ROOT / "packaging"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's steps: (instruction, rest), continuation lines joined."""
    text = (PACKAGING / "Dockerfile").read_text().replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [(word.upper(), rest) for word, rest in steps]


def test_the_image_is_built_from_files_that_exist_and_the_same_constraints():
    steps = instructions()
    assert steps[0][0] == "FROM"
    base = steps[0][1].rpartition(":")[2].removesuffix("-slim")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = project["requires-python"].removeprefix(">=")
    assert tuple(map(int, base.split("."))) >= tuple(map(int, least.split(".")))
    copied = [name for word, rest in steps if word == "COPY" for name in rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied), copied
    installs = [rest for word, rest in steps if word == "RUN" and "pip install" in rest]
    assert len(installs) == 1
    assert "-c constraints-cpu.txt" in installs[0]
    assert "constraints-cpu.txt" in copied
    assert "[train]" not in installs[0]


def test_the_image_runs_as_nobody_in_particular_and_fetches_nothing():
    steps = instructions()
    words = [word for word, _ in steps]
    assert "ADD" not in words
    assert "EXPOSE" not in words
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    assert dict(steps)["USER"] != "root"
    assert dict(steps)["ENTRYPOINT"] == '["velatura"]'


@pytest.mark.parametrize("name", ["velatura-anonymize.service", "velatura-anonymize.timer"])
def test_the_units_parse(name: str):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(PACKAGING / name)
    assert "Unit" in unit
    if name.endswith(".service"):
        program, verb, *words = shlex.split(unit["Service"]["ExecStart"])
        assert program.endswith("/velatura")
        assert verb in verbs()
        import typer

        command = typer.main.get_command(_app([verb], debug=False)).commands[verb]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known
        assert unit["Service"]["PrivateNetwork"] == "yes"
