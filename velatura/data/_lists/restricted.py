"""Label pickles, read so that a pickle from a stranger can run nothing.

A pickle is a program: loading one calls whatever it names. The distributed label files
need a few names of numpy's, and no other is answered.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from velatura.errors import BadInput

__all__ = ["read_arrays"]


def _encode(text: str, encoding: str) -> bytes:
    """``_codecs.encode`` for the one use that pickles of protocol 2 have: bytes as Latin-1."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in {encoding}")
    return text.encode("latin-1")


# What numpy itself names when it pickles an array: the same function in numpy 1 and 2,
# which call its module numpy.core and numpy._core.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
_FROM_BUFFER = np.empty(1).__reduce_ex__(5)[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): _SCALAR,
    ("numpy._core.multiarray", "scalar"): _SCALAR,
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}


class _Refused(Exception):
    """The pickle asked for something that is not an array."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """A pickled dictionary from text to numeric arrays.

    Raises:
        BadInput: no such file; not such a dictionary; or it names anything but numpy's
            arrays, which is then not called.
    """
    try:
        value = _Unpickler(io.BytesIO(Path(path).read_bytes())).load()
    except FileNotFoundError:
        raise BadInput(f"{path} is missing; get it from where the labels are published.") from None
    except _Refused as error:
        raise BadInput(
            f"{path} asks to run {error}, which labels never need; nothing was run. "
            "Do not use this file: get it again from where the labels are published."
        ) from None
    except Exception as error:  # a broken pickle raises whatever its bytes happen to mean
        raise BadInput(
            f"{path} is not a whole pickle of labels ({type(error).__name__}); get it again."
        ) from None
    if not isinstance(value, dict) or not all(
        isinstance(k, str) and isinstance(v, np.ndarray) and v.dtype.kind in "biuf"
        for k, v in value.items()
    ):
        raise BadInput(
            f"{path} holds no dictionary from file names to arrays of numbers; "
            "it is not one of the published label files."
        )
    return value
