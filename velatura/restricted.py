"""Pickles of arrays, read so that a pickle from a stranger can run nothing.

A pickle is a program: loading one calls whatever it names. Files of arrays need a few names of
numpy's, and no other is answered. Not even those are numpy's own: numpy believes what a pickle
says of a type, and a type that lies about its contents makes it follow a pointer of the pickle's
choice. Stand-ins remember what they are told, and arrays are made of it afterwards.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

__all__ = ["Array", "Refused", "load"]


class Refused(Exception):
    """The pickle asked for something that no array needs; its name."""


class _Type:
    """Stands in for numpy's dtype."""

    order = "="

    def __init__(self, code: str, *_: object):
        self.code = code

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class Array:
    """Stands in for numpy's array."""

    def __init__(self, *told: Any):
        self.told = told

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        self.told = data, kind, shape, "F" if fortran else "C"

    def numbers(self) -> np.ndarray:
        """The array, of whole, floating-point or truth values; raises what it likes otherwise."""
        data, kind, shape, order = self.told
        # Text is how Python 3 sees the bytes of Python 2.
        raw = data.encode("latin-1") if isinstance(data, str) else data
        if kind.code[0] not in "biuf" or kind.code[1:] not in ("1", "2", "4", "8"):
            raise ValueError("not numbers")
        if kind.order not in ("<", ">", "=", "|"):
            raise ValueError("no order of bytes")
        numbers = np.frombuffer(raw, kind.order + kind.code).reshape(shape, order=order)
        return numbers.astype(kind.code, order="C")  # a copy, in this machine's order


def _encode(text: str, encoding: str) -> bytes:
    """``_codecs.encode`` for the one use that pickles of protocol 2 have: bytes as Latin-1."""
    if encoding != "latin1":
        raise ValueError(f"text in {encoding}")
    return text.encode("latin-1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
} | {
    # numpy 1 and 2 call the module numpy.core and numpy._core.
    (f"numpy.{core}.{name}", function): Array
    for core in ("core", "_core")
    for name, function in (
        ("multiarray", "_reconstruct"),
        ("multiarray", "scalar"),
        ("numeric", "_frombuffer"),
    )
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}") from None


def load(data: bytes, encoding: str = "ASCII") -> Any:
    """What a pickle holds, with :class:`Array` for each of its arrays.

    Args:
        encoding: of the bytes that Python 2 wrote; ``"latin1"`` for its arrays.

    Raises:
        Refused: it names something else, which was not called.
        Exception: a broken pickle raises whatever its bytes happen to mean.
    """
    return _Unpickler(io.BytesIO(data), encoding=encoding).load()
