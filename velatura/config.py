"""Values in TOML, schemas in frozen dataclasses beside the code that uses them.

    @config
    class Config:
        bound: Annotated[float, Field(ge=0, le=1)] = 0.3

``build(Config, {"bond": 0.3})`` answers that ``bond`` is unknown, that ``bound`` is
probably meant, and lists the keys. Ranges are pydantic ``Field``s, so Python callers
get the same checks as files. A run file is inert: numbers, names and lists, never code.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform, get_args

import pydantic
from pydantic import ConfigDict

from velatura.errors import BadInput

__all__ = [
    "apply_sets", "build", "cache_folder", "config", "digest", "fields", "plain", "read_toml",
    "to_toml",
]  # fmt: skip

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def config(cls: type[T]) -> type[T]:
    """Make a class a frozen, keyword-only dataclass that checks types and ranges."""
    strict = ConfigDict(extra="forbid", validate_default=True, strict=True, allow_inf_nan=False)
    made = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=strict)(cls)
    return cast("type[T]", made)


def fields(cls: type) -> list[str]:
    """The keys that a config class knows, in order of definition."""
    return [f.name for f in dataclasses.fields(cls)]


def build(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Make a config object from plain values.

    Args:
        cls: a class made by :func:`config`.
        values: key to value, as TOML gives them.
        where: the section, for the message: ``"method"`` makes ``method.bound``.

    Raises:
        BadInput: an unknown key, a wrong type or a value out of range; one sentence.
    """
    known = fields(cls)
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in known:
            guess = get_close_matches(key, known, n=1)
            hint = f" Did you mean {prefix}{guess[0]!s}?" if guess else ""
            listing = ", ".join(known) or "none"
            raise BadInput(f"Unknown key {prefix}{key}.{hint} Known keys: {listing}.")
    given = {
        # TOML has lists where a frozen dataclass has tuples.
        key: tuple(value) if isinstance(value, list) else _inner(cls, key, value, f"{prefix}{key}")
        for key, value in values.items()
    }
    try:
        return cls(**given)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = ".".join(str(part) for part in first["loc"]) or where
        absent = first["type"] == "missing"
        got = "" if absent or isinstance(first["input"], dict) else f", got {first['input']!r}"
        raise BadInput(f"{prefix}{at}: {first['msg']}{got}.") from None


def _inner(cls: type, key: str, value: Any, where: str) -> Any:
    """A table inside a section, where the section's class has a config class for it."""
    if not isinstance(value, Mapping):
        return value
    annotation = cls.__pydantic_fields__[key].annotation  # type: ignore[attr-defined]
    for kind in get_args(annotation) or (annotation,):
        if dataclasses.is_dataclass(kind):
            return build(cast("type", kind), value, where)
    return value


def cache_folder(chosen: str = "") -> Path:
    """Where rendered and decoded data is kept: as chosen, else $VELATURA_CACHE, else
    ~/.cache/velatura."""
    return Path(chosen or os.environ.get("VELATURA_CACHE") or "~/.cache/velatura").expanduser()


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into plain values.

    Raises:
        BadInput: no such file, or not TOML; the message names the line.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"No run file at {path}; those of the repository are in experiments/."
        ) from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a folder; name the TOML file inside it.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not TOML: {error}.") from None


def apply_sets(values: Mapping[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    """Apply ``--set section.key=value`` texts; the value is read as TOML, or as a bare word.

    Returns a new dictionary; ``values`` stays as it is.
    """
    result: dict[str, Any] = copy.deepcopy(dict(values))
    for text in sets:
        key, equals, raw = text.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not equals or not all(path):
            raise BadInput(f"--set {text!r}: expected key=value, such as method.bound=0.3.")
        try:
            value = tomllib.loads(f"value = {raw}")["value"]
        except tomllib.TOMLDecodeError:
            value = raw.strip()  # a bare word: --set method.name=spact
        inner = result
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise BadInput(f"--set {text!r}: {part} is a value, not a section.")
        inner[path[-1]] = value
    return result


def plain(value: Any) -> Any:
    """A config object as plain values: numbers, texts, lists and dictionaries.

    A class may name keys that came when results were there already, with the value that changes
    nothing, in ``LATER``; at that value they are left out, so that what was recorded, and every
    seed that is drawn from it, stays as it is.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        later = getattr(value, "LATER", {})
        return {k: plain(v) for k, v in given.items() if k not in later or v != later[k]}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def to_toml(values: Mapping[str, Any]) -> str:
    """Write plain values, one level of sections deep per dictionary, as TOML."""
    lines: list[str] = []

    def table(section: Mapping[str, Any], path: tuple[str, ...]) -> None:
        # TOML has no None: what is not there is not written.
        scalars = {k: v for k, v in section.items() if not isinstance(v, Mapping) and v is not None}
        if path and (scalars or not section):
            lines.append(f"\n[{'.'.join(path)}]")
        lines.extend(f"{key} = {_literal(value)}" for key, value in scalars.items())
        for key, value in section.items():
            if isinstance(value, Mapping):
                table(value, (*path, key))

    table(plain(values), ())
    return "\n".join(lines).lstrip("\n") + "\n"


def _literal(value: Any) -> str:
    """One TOML value. JSON's text and list forms are TOML's; floats keep a point."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = repr(value)
        return text if any(c in text for c in ".einf") else f"{text}.0"
    if isinstance(value, list):
        return f"[{', '.join(_literal(v) for v in value)}]"
    return json.dumps(value)


def digest(values: Any) -> str:
    """Twelve hex digits that name a configuration: equal values, equal digest."""
    text = json.dumps(plain(values), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
