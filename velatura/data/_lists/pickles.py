"""Label pickles: dictionaries of arrays, read without running anything of theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from velatura import restricted
from velatura.errors import BadInput

__all__ = ["read_arrays"]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """A pickled dictionary from text to numeric arrays.

    Raises:
        BadInput: no such file; not such a dictionary; or it names anything but numpy's
            arrays, which is then not called.
    """
    try:
        value = restricted.load(Path(path).read_bytes())
    except FileNotFoundError:
        raise BadInput(f"{path} is missing; get it from where the labels are published.") from None
    except restricted.Refused as error:
        raise BadInput(
            f"{path} asks to run {error}, which labels never need; nothing was run. "
            "Do not use this file: get it again from where the labels are published."
        ) from None
    except Exception as error:  # a broken pickle raises whatever its bytes happen to mean
        raise BadInput(
            f"{path} is not a whole pickle of labels ({type(error).__name__}); get it again."
        ) from None
    try:
        found = {str.__str__(name): array.numbers() for name, array in value.items()}
    except Exception:  # what a pickle says of an array may be anything
        raise BadInput(
            f"{path} holds no dictionary from file names to arrays of numbers; "
            "it is not one of the published label files."
        ) from None
    return found
