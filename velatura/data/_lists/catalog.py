"""Every data set of this folder: a file with ``SOURCES`` is found; nothing is registered."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from velatura.data import _lists
from velatura.data._lists.source import Source
from velatura.errors import unknown

__all__ = ["source", "sources"]


def sources() -> list[Source]:
    """All data sets, by name."""
    modules = (import_module(f"{_lists.__name__}.{m.name}") for m in iter_modules(_lists.__path__))
    found = (source for module in modules for source in getattr(module, "SOURCES", ()))
    return sorted(found, key=lambda source: source.name)


def source(name: str) -> Source:
    """One data set by its name.

    Raises:
        BadInput: no such data set; the message names the nearest one and lists all.
    """
    known = {source.name: source for source in sources()}
    if name not in known:
        raise unknown("data set", name, known)
    return known[name]
