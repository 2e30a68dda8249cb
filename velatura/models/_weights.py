"""Where a network's weights come from: one way for every network.

    ""                     fresh
    "PATH"                 a state dict of yours: .safetensors; or .pth, .pt, .bin, .pkl of PyTorch,
                           of which numbers are read and nothing is run
    "DEFAULT", ...         a name of the library that the network is from: downloads once
    "hub:OWNER/NAME"       a repository of the Hugging Face hub: downloads once. A file of it may
                           follow after another slash, a revision after an @

A checkpoint has to fit: every tensor that the network has, in its shape, and no other. Only a
head of another number of classes is left aside, and said. A checkpoint that does not fit is one
sentence that names what is missing, and the network that it looks like.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from velatura.errors import BadInput

__all__ = [
    "Given",
    "fill",
    "from_hub",
    "given",
    "keep_head",
    "looks_like",
    "offline_hint",
    "other",
    "read",
]

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".pkl", ".pickle", ".tar", ".ckpt")
HUB = ("hub:", "hf_hub:", "hf-hub:")
# Under which trainers put the network beside their optimiser and their epoch.
WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model")
FEW = 3  # names in a sentence


class Given(NamedTuple):
    """Weights before they are in a network.

    Attributes:
        source: what to call them in a sentence: the path, the library's name.
        tensors: by their key names.
    """

    source: str
    tensors: dict[str, Tensor]


def given(weights: str, of: str, library: Callable[[str], Given] | None = None) -> Given:
    """The weights that a Config names.

    Args:
        weights: as above; not empty.
        of: the network, as a sentence calls it.
        library: answers the names of the network's library; without it, every word is a path.

    Raises:
        BadInput: no such file or name, no connection, or not a dictionary of tensors.
    """
    if weights.startswith(HUB):
        return from_hub(weights, of)
    path = Path(weights)
    a_path = path.suffix.lower() in SUFFIXES or "/" in weights or "\\" in weights
    if path.is_file() or a_path or library is None:
        return Given(weights, read(path, of))
    return library(weights)


# From a file


def read(path: Path, of: str) -> dict[str, Tensor]:
    """A state dict by its key names, out of whatever its trainer wrapped it in.

    Raises:
        BadInput: no such file, or no dictionary of tensors; nothing in it was run.
    """
    if not path.is_file():
        raise BadInput(f"No weights of {of} at {path}; name a file, or leave it empty.")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            value: Any = load_file(path)
        else:
            with warnings.catch_warnings():  # of a pickle's age; what came of it is said below
                warnings.simplefilter("ignore")
                value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a broken file raises whatever its bytes happen to mean
        raise other(
            str(path), of, "it is damaged, or holds more than numbers; nothing of it was run"
        ) from None
    for name in WRAPPERS:
        if isinstance(value, Mapping) and isinstance(value.get(name), Mapping):
            value = value[name]
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items()
    ):
        raise other(str(path), of, "it is not a dictionary of tensors")
    return {_plain(key): tensor for key, tensor in value.items()}


def _plain(key: str) -> str:
    """A key without what DataParallel and torch.compile put before it."""
    return re.sub(r"^(module\.|_orig_mod\.)+", "", key)


# From far away


def from_hub(weights: str, of: str, called: str = "") -> Given:
    """Weights of a repository of the Hugging Face hub: ``hub:owner/name[/file][@revision]``.

    Args:
        called: what the user wrote, where that is a library's name for this place.
    """
    place, _, revision = weights.partition(":")[2].partition("@")
    owner, _, rest = place.partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise BadInput(f"weights = {weights!r} names no repository: write hub:OWNER/NAME.")
    try:
        from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
        from huggingface_hub.utils import get_session
    except ImportError:
        raise BadInput(
            f"weights = {weights!r} needs the package huggingface_hub: pip install "
            "huggingface_hub, or get the file by yourself and name its path."
        ) from None
    repo, at = f"{owner}/{name}", revision or None
    files = (file,) if file else ("model.safetensors", "pytorch_model.bin")
    for wanted in files:
        if isinstance(path := try_to_load_from_cache(repo, wanted, revision=at), str):
            return Given(repo, read(Path(path), of))
    with offline_hint(f"the weights {called or weights!r} of {of}", "huggingface.co"):
        # Asked once: the library itself asks for half a minute, and prints each time.
        get_session().head(constants.ENDPOINT, timeout=10)
        for wanted in files:
            try:
                path = hf_hub_download(repo, wanted, revision=at)
            except LocalEntryNotFoundError:
                raise ConnectionError("it does not answer, and no copy is here") from None
            except EntryNotFoundError:
                continue
            return Given(repo, read(Path(path), of))
        raise BadInput(
            f"The hub's {repo} holds no {' or '.join(files)}; name the file: hub:OWNER/NAME/FILE."
        )


@contextmanager
def offline_hint(what: str, where: str = "") -> Iterator[None]:
    """Turn a library's failed download, or unknown name, into one clear sentence.

    What a library prints while it downloads goes to stderr: stdout may be somebody's JSON.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except BadInput:
        raise
    except Exception as error:  # each library has its own, and passes on those of others
        reason = next(iter(str(error).splitlines()), "").strip().rstrip(".")
        if _no_connection(error):
            raise BadInput(
                f"Could not get {what}: no connection{f' to {where}' if where else ''} "
                f"({reason or type(error).__name__}). Connect once, name a file that is here, or "
                "leave it empty."
            ) from None
        if not isinstance(error, OSError | ValueError | KeyError | RuntimeError):
            raise
        raise BadInput(
            f"Could not get {what}: {reason}. Check the name and the network, or leave it empty."
        ) from None


def _no_connection(error: BaseException | None) -> bool:
    """Whether this, or what it came from, is a connection that was not to be had."""
    while error is not None:
        name = type(error).__name__
        if isinstance(error, ConnectionError | TimeoutError):
            return True
        if name in ("URLError", "ConnectError", "ConnectTimeout", "ReadTimeout", "ProxyError",
                    "OfflineModeIsEnabled", "LocalEntryNotFoundError", "gaierror"):  # fmt: skip
            return True
        error = error.__cause__ or error.__context__
    return False


# Into a network


def fill(
    net: nn.Module, given: Given, of: str, head: str = "", called: Callable[[str], str] = str
) -> dict[str, Tensor]:
    """Put weights into a network, all of them.

    Args:
        net: changed in place; with or without a head.
        given: under the network's own key names.
        of: the network, as a sentence calls it.
        head: where its last layer is, such as ``"fc"``. The head of a checkpoint may have another
            number of classes, or be absent: then the network's own stays as it is. Of a network
            without a head, that of a checkpoint is left aside.
        called: the file's name of a key of the network, for a sentence.

    Returns:
        The checkpoint's head, by ``"weight"`` and ``"bias"``, whatever became of it.

    Raises:
        BadInput: it does not fit; the network is as it was.
    """
    # Without the counters of BatchNorms: nothing here reads them, and older files lack them.
    own = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    found = {k: v for k, v in given.tensors.items() if not k.endswith("num_batches_tracked")}
    last = {key: value for key, value in found.items() if head and key.startswith(f"{head}.")}
    ours = [key for key in own if head and key.startswith(f"{head}.")]
    shapes = {key: tuple(value.shape) for key, value in own.items()}
    if not (ours and last):
        for key in last:
            del found[key]
        for key in ours:
            del shapes[key]
    classes = _classes(last, head)
    for key in ours:
        if last:
            shapes[key] = (classes, *shapes[key][1:])

    whys = []
    if missing := [called(key) for key in shapes if key not in found]:
        many = f" ({len(missing)} of {len(shapes)} tensors)" if len(missing) > 1 else ""
        whys.append(f"it has no {_few(missing)}{many}")
    if besides := [key for key in found if key not in shapes]:
        whys.append(f"it has {_few(besides)} besides")
    for key, shape in shapes.items() if not whys else ():
        if (got := tuple(found[key].shape)) != shape:
            whys.append(f"{called(key)} has the shape {got}, not {shape}")
            break
        if own[key].is_floating_point() and not found[key].is_floating_point():
            whys.append(f"{called(key)} is not an array of floating-point numbers")
            break
        if not torch.isfinite(found[key].float()).all():
            whys.append(f"{called(key)} holds values that are no numbers")
            break
    if whys:
        looks = looks_like(given.tensors)
        hint = f"; it looks like one of {looks}" if looks and looks != of else ""
        raise other(given.source, of, " and ".join(whys) + hint)

    if ours and last and classes == _classes({key: own[key] for key in ours}, head):
        ours = []  # it is as good as any other layer
    net.load_state_dict({k: v for k, v in found.items() if k not in ours}, strict=False)
    if ours:
        _note(_aside(given, of, classes, _classes({key: own[key] for key in ours}, head)))
    return {key.removeprefix(f"{head}."): value for key, value in last.items()}


def keep_head(layer: nn.Linear, head: Mapping[str, Tensor], given: Given, of: str) -> None:
    """Give a new last layer the head of a checkpoint, where both have as many classes."""
    own = layer.state_dict()
    if {k: v.shape for k, v in head.items()} == {k: v.shape for k, v in own.items()}:
        layer.load_state_dict(dict(head))
    else:
        _note(_aside(given, of, _classes(head), layer.out_features))


def _classes(head: Mapping[str, Tensor], at: str = "") -> int:
    """How many classes a last layer has; its bias says it even where the weight is turned."""
    for name in ("bias", "weight"):
        if (value := head.get(f"{at}.{name}" if at else name)) is not None and value.ndim:
            return value.shape[0]
    return 0


def _aside(given: Given, of: str, classes: int, own: int) -> str:
    what = f"its head of {classes} classes is left aside" if classes else "it has no head"
    return f"{given.source}: {what}; {of} starts with a fresh one of {own}."


@cache
def _note(sentence: str) -> None:
    """Said once: a study builds the same network many times."""
    logging.getLogger("velatura").warning(sentence)


def _few(names: list[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def other(source: str, of: str, why: str) -> BadInput:
    """What is said of a checkpoint that is not one of this network."""
    return BadInput(f"{source} is not a checkpoint of {of}: {why}.")


# What it looks like

# Keys that a checkpoint of this network has and no other below it: (key, number of axes).
SIGNS: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = (
    ("mvit_v2_s", (("blocks.0.attn.rel_pos_h", 2),)),
    ("vit", (("blocks.0.attn.qkv.weight", 2), ("patch_embed.proj.weight", 4))),
    ("convnext", (("stages.0.blocks.0.conv_dw.weight", 4),)),
    ("convnext", (("stages.0.0.dwconv.weight", 4),)),
    ("c3d", (("conv3a.weight", 5),)),
    ("r2plus1d_18", (("stem.3.weight", 5),)),
    ("r3d_18", (("stem.0.weight", 5), ("layer4.1.conv2.0.weight", 5))),
    ("i3d_r50", (("conv1.weight", 5), ("layer3.5.conv3.weight", 5))),
    ("unetpp_resnet18", (("decoder.blocks.x_0_0.conv1.0.weight", 4),)),
    ("unet", (("inc.double_conv.0.weight", 4),)),
    ("efficientnet_lite0", (("conv_stem.weight", 4),)),
    ("efficientnet_lite0", (("_conv_stem.weight", 4),)),
    ("resnet152", (("layer3.35.conv3.weight", 4),)),
    ("resnet101", (("layer3.22.conv3.weight", 4),)),
    ("resnet50", (("layer3.5.conv3.weight", 4),)),
    ("resnet34", (("layer3.5.conv2.weight", 4),)),
    ("resnet18", (("layer3.1.conv2.weight", 4),)),
)


def looks_like(tensors: Mapping[str, Tensor]) -> str:
    """The network of this package that a checkpoint is of; empty where none is recognised."""
    for name, signs in SIGNS:
        if all(key in tensors and tensors[key].ndim == axes for key, axes in signs):
            return name
    return ""
