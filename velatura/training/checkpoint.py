"""State on disk: safetensors and a JSON header, written beside and renamed. Never pickle.

A checkpoint is a nest of dictionaries, lists, numbers and tensors. Tensors go into the
safetensors body under their path; the rest goes into the header, with the resolved
configuration, versions and data fingerprint. Reading a stranger's file runs no code.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from velatura.errors import BadInput, Failure

__all__ = ["load", "load_into", "save"]

FORMAT = "velatura checkpoint 1"


def save(path: Path, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write a nest of state atomically: a reader sees the old file or the new, never half.

    Args:
        path: where; its folder exists.
        state: dictionaries and lists of tensors and plain values.
        about: configuration, versions, fingerprint; plain values.

    Raises:
        Failure: the disk is full or not writable; the older file is still whole.
    """
    tensors: dict[str, Tensor] = {}
    shape = _take_tensors(state, "", tensors)
    header = {"format": FORMAT, "state": json.dumps(shape), "about": json.dumps(about)}
    header["crc32"] = _checksum(tensors)
    write_atomically(path, safetensors.torch.save(tensors, header))


def write_atomically(path: Path, content: bytes) -> None:
    """Write bytes beside ``path``, flush them to the disk, and rename."""
    partial = ""
    try:
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)  # mkstemp makes private files
        os.replace(partial, path)
    except OSError as error:
        why = (
            "the disk is full"
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            else error
        )
        kept = "the last one saved there is whole" if path.exists() else "nothing was saved"
        raise Failure(
            f"Could not save {path}: {why}; {kept}. Free some space and resume the run."
        ) from None
    finally:
        if partial and os.path.exists(partial):
            os.unlink(partial)


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what :func:`save` wrote: (state, about), tensors on the CPU.

    Raises:
        BadInput: missing, damaged, truncated, or not ours; one sentence.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            # Cloned: the file's own memory would change, or vanish, with the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise BadInput(f"No checkpoint at {path}; train first, or name another run.") from None
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from None
    if header.get("format") != FORMAT:
        raise BadInput(f"{path} is not a {FORMAT!r} file; it says {header.get('format')!r}.")
    if header.get("crc32", found := _checksum(tensors)) != found:
        raise _damaged(path, "its checksum differs")
    try:
        state: dict[str, Any] = _put_tensors(json.loads(header["state"]), "", tensors)
        return state, json.loads(header["about"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"its header does not fit: {error}") from None


def _damaged(path: Path, why: object) -> BadInput:
    return BadInput(
        f"{path} is damaged or truncated ({why}); restore it from a copy or train again."
    )


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """Of all bytes in order of name: safetensors itself keeps none."""
    value = 0
    for _, tensor in sorted(tensors.items()):
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return str(value)


def load_into(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load weights into a network, or say in one sentence why they do not fit.

    Args:
        module: receives the weights.
        state: its ``state_dict``.
        what: for the message, such as ``"runs/x/anonymizer.safetensors"``.
    """
    own = module.state_dict()
    missing, extra = own.keys() - state.keys(), state.keys() - own.keys()
    changed = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if missing or extra or changed:
        example = sorted(missing | extra | set(changed))[0]
        shapes = [tuple(s[example].shape) if example in s else "absent" for s in (own, state)]
        raise BadInput(
            f"{what} holds another architecture than {type(module).__name__}: {len(missing)} "
            f"tensors missing, {len(extra)} unexpected, {len(changed)} of another shape (first: "
            f"{example}, expected {shapes[0]}, got {shapes[1]}); use the "
            "configuration it was trained with."
        )
    module.load_state_dict(dict(state))


def _take_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The nest with each tensor replaced by a marker; the tensors go into ``tensors``."""
    if isinstance(value, Tensor):
        # A copy of its own memory: safetensors refuses tensors that share storage.
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"$tensor": path}
    if isinstance(value, Mapping):
        # Pairs, since optimisers count parameters with integer keys.
        return {"$map": [[k, _take_tensors(v, f"{path}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_take_tensors(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _put_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict) and "$tensor" in value:
        return tensors[value["$tensor"]]
    if isinstance(value, dict):
        return {k: _put_tensors(v, path, tensors) for k, v in value["$map"]}
    if isinstance(value, list):
        return [_put_tensors(v, path, tensors) for v in value]
    return value
