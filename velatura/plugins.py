"""A plug-in is one file in its room, found by its file name: this is the whole mechanism."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from velatura.errors import BadInput, unknown

__all__ = ["config_class", "load", "names"]


def names(kind: str) -> list[str]:
    """The plug-ins of one room: ``names("methods")`` lists the files of ``velatura/methods``."""
    package = import_module(f"velatura.{kind}")
    return sorted(m.name for m in iter_modules(package.__path__) if not m.name.startswith("_"))


def load(kind: str, name: str) -> ModuleType:
    """Import a plug-in by its file name.

    Only files of the package are found: a run file or a checkpoint from a stranger
    cannot name code of its own.

    Raises:
        BadInput: no such file; the message names the nearest one and lists all.
    """
    if name not in names(kind):
        raise unknown(f"{kind.rstrip('s')} plug-in", name, names(kind))
    return import_module(f"velatura.{kind}.{name}")


def config_class(kind: str, name: str) -> type:
    """The ``Config`` of a plug-in; every plug-in that can stand in a run file has one."""
    module = load(kind, name)
    if not hasattr(module, "Config"):
        raise BadInput(f"The {kind} plug-in {name!r} has no Config and cannot stand in a run file.")
    found: type = module.Config
    return found
