"""Values in TOML, schemas in classes: what is wrong says how to mend it."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import pytest
from pydantic import Field

from velatura import config, plugins
from velatura.config import apply_sets, build, digest, fields, plain, read_toml, to_toml
from velatura.errors import BadInput


@config.config
class Example:
    """Every type that a run file can hold."""

    bound: Annotated[float, Field(ge=0, le=1)] = 0.3
    steps: Annotated[int, Field(gt=0)] = 200
    name: str = "penalty"
    alternate: Literal["batch", "both"] = "batch"
    widths: tuple[int, ...] = (8, 16)
    flip: bool = True


def said(values: dict[str, object]) -> str:
    with pytest.raises(BadInput) as caught:
        build(Example, values, "method")
    return str(caught.value)


def test_defaults_and_values():
    assert build(Example, {}) == Example()
    made = build(Example, {"bound": 1, "widths": [4], "flip": False})
    assert made == Example(bound=1.0, widths=(4,), flip=False)
    assert fields(Example) == ["bound", "steps", "name", "alternate", "widths", "flip"]


def test_a_made_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Example().bound = 0.5  # type: ignore[misc]
    assert dataclasses.replace(Example(), bound=0.5).bound == 0.5


def test_python_callers_get_the_same_checks():
    with pytest.raises(pydantic.ValidationError, match="less than or equal to 1"):
        Example(bound=2.0)
    with pytest.raises(pydantic.ValidationError, match="Unexpected positional argument"):
        Example(0.5)  # type: ignore[misc]


def test_a_default_out_of_range_is_found():
    @config.config
    class Wrong:
        bound: Annotated[float, Field(le=1)] = 3.0

    with pytest.raises(pydantic.ValidationError, match="less than or equal to 1"):
        Wrong()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"bond": 0.3},
            "Unknown key method.bond. Did you mean method.bound? "
            "Known keys: bound, steps, name, alternate, widths, flip.",
        ),
        (
            {"zzz": 1},
            "Unknown key method.zzz. Known keys: bound, steps, name, alternate, widths, flip.",
        ),
        ({"bound": 2.0}, "method.bound: Input should be less than or equal to 1, got 2.0."),
        ({"bound": -0.1}, "method.bound: Input should be greater than or equal to 0, got -0.1."),
        ({"bound": math.nan}, "method.bound: Input should be a finite number, got nan."),
        ({"steps": 0}, "method.steps: Input should be greater than 0, got 0."),
        ({"steps": "many"}, "method.steps: Input should be a valid integer, got 'many'."),
        ({"steps": "3"}, "method.steps: Input should be a valid integer, got '3'."),
        ({"steps": True}, "method.steps: Input should be a valid integer, got True."),
        ({"steps": 2.5}, "method.steps: Input should be a valid integer, got 2.5."),
        ({"flip": "yes"}, "method.flip: Input should be a valid boolean, got 'yes'."),
        ({"bound": math.inf}, "method.bound: Input should be a finite number, got inf."),
        (
            {"alternate": "boths"},
            "method.alternate: Input should be 'batch' or 'both', got 'boths'.",
        ),
        ({"name": 3}, "method.name: Input should be a valid string, got 3."),
        ({"widths": 3}, "method.widths: Input should be a valid tuple, got 3."),
    ],
)
def test_what_is_wrong_is_one_sentence_with_the_remedy(values: dict[str, object], sentence: str):
    assert said(values) == sentence


def test_a_section_without_keys_says_none():
    @config.config
    class Empty:
        """Nothing to set."""

    with pytest.raises(BadInput, match=re.escape("Unknown key bound. Known keys: none.")):
        build(Empty, {"bound": 1})


def test_toml_there_and_back(tmp_path: Path):
    values = {
        "seed": 3,
        "method": plain(Example(bound=1e-05, widths=(1,), name='a "quote", a \\ and é')),
        "data": {"name": "people", "size": {"train": 1.0, "empty": []}, "none": {}},
        "big": 1e20,
        "no": False,
        "far": math.inf,
    }
    path = tmp_path / "run.toml"
    path.write_text(to_toml(values), encoding="utf-8")
    assert read_toml(path) == values
    assert build(Example, read_toml(path)["method"]).widths == (1,)
    assert isinstance(read_toml(path)["data"]["size"]["train"], float)


@pytest.mark.parametrize("kind", ["methods", "models", "attackers", "data"])
def test_every_plug_in_config_survives_toml(kind: str):
    for name in plugins.names(kind):
        found = getattr(plugins.load(kind, name), "Config", None)
        if found is None or any(
            f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
            for f in dataclasses.fields(found)
        ):
            continue
        assert build(found, tomllib.loads(to_toml({"s": plain(found())})).get("s", {})) == found()


def test_reading_what_is_not_a_run_file(tmp_path: Path):
    with pytest.raises(BadInput, match="No run file at .*missing.toml"):
        read_toml(tmp_path / "missing.toml")
    with pytest.raises(BadInput, match="is a folder; name the TOML file inside it"):
        read_toml(tmp_path)
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = 1\nname = \n")
    with pytest.raises(BadInput, match=r"broken.toml is not TOML: .*line 2"):
        read_toml(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="is not TOML"):
        read_toml(broken)


def test_sets():
    values = {"method": {"name": "penalty", "bound": 0.5}, "seed": 0}
    changed = apply_sets(
        values,
        ["method.bound=0.3", "method.name=spact", "seed = 7", "data.size=[1, 2]", "a.b.c=true"],
    )
    assert changed == {
        "method": {"name": "spact", "bound": 0.3},
        "seed": 7,
        "data": {"size": [1, 2]},
        "a": {"b": {"c": True}},
    }
    assert values == {"method": {"name": "penalty", "bound": 0.5}, "seed": 0}  # untouched
    assert apply_sets(values, ["seed=1", "seed=2"])["seed"] == 2
    assert apply_sets(values, ["seed=a=b"])["seed"] == "a=b"


@pytest.mark.parametrize("text", ["method.bound", "=3", "method..bound=3", ""])
def test_a_set_that_is_none(text: str):
    with pytest.raises(BadInput, match=re.escape(f"--set {text!r}: expected key=value")):
        apply_sets({}, [text])


def test_a_set_through_a_value():
    with pytest.raises(BadInput, match="seed is a value, not a section"):
        apply_sets({"seed": 1}, ["seed.deeper=2"])


def test_the_digest_names_the_values():
    assert digest(Example()) == digest(plain(Example())) == digest(Example(bound=0.3))
    assert digest(Example(bound=0.30001)) != digest(Example())
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert re.fullmatch("[0-9a-f]{12}", digest(Example()))
    assert digest({"a": 1}) == "f9d86028c6e0"  # stays the same from one version to the next
