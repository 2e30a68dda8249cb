"""Networks of timm over frames; which variant is for the run file to say."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from velatura.errors import BadInput
from velatura.models._parts import FrameClassifier, normalise
from velatura.models._weights import Given, fill, from_hub, given, keep_head

__all__ = ["Kind", "TimmEncoder", "frame_classifier", "frame_encoder", "refuse"]


class Kind(NamedTuple):
    """What the variants of one file have in common.

    Attributes:
        name: as a run file and a sentence call it.
        pattern: of timm's names of them.
        head: where the last layer is in a checkpoint.
        stride: what H and W have to be multiples of, pixels; 1: anything.
        least: the smallest side that it can take, pixels.
        options: for timm.
    """

    name: str
    pattern: str
    head: str
    stride: int
    least: int
    options: Mapping[str, Any]


class TimmEncoder(nn.Module):
    """A network of timm without its head; normalises as its published weights expect.

    Args:
        net: (N, 3, H, W) around zero to (N, D), with ``num_features`` and ``pretrained_cfg``.
        kind: what it can take.
        size: shorter side to which smaller frames are enlarged, pixels; 0: as they come.
    """

    def __init__(self, net: nn.Module, kind: Kind, size: int):
        super().__init__()
        self.net, self.kind, self.size = net, kind, size
        self.width = int(net.num_features)  # type: ignore[arg-type]
        expected: Any = net.pretrained_cfg
        self.mean, self.std = tuple(expected["mean"]), tuple(expected["std"])

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        h, w = frames.shape[-2:]
        refuse(self.kind, self.size, h, w)
        if (side := _enlarged(self.kind, self.size, h, w)) != (h, w):
            frames = F.interpolate(frames, side, mode="bilinear", align_corners=False)
        features: Tensor = self.net(normalise(frames, self.mean, self.std))
        return features


def refuse(kind: Kind, size: int, height: int, width: int) -> None:
    """Refuse frames that a network cannot take; see :class:`TimmEncoder`.

    Raises:
        BadInput: too small, or not a multiple of a patch's side.
    """
    h, w = _enlarged(kind, size, height, width)
    if min(h, w) >= kind.least and not (h % kind.stride or w % kind.stride):
        return
    if min(h, w) < kind.least:
        what, enough = f"of at least {kind.least} x {kind.least} px", kind.least
    else:
        what = f"whose sides are multiples of {kind.stride} px"
        enough = (min(h, w) // kind.stride + 1) * kind.stride
    raise BadInput(
        f"{kind.name} needs frames {what}; these are {height} x {width}. Change batches.size, or "
        f"set size = {enough} of this network, and it enlarges them."
    )


def _enlarged(kind: Kind, size: int, height: int, width: int) -> tuple[int, int]:
    """Frames enlarged to the shorter side ``size``, in proportion up to a patch; others stay."""
    if min(height, width) >= size:
        return height, width
    scale = size / min(height, width)

    def side(n: int) -> int:
        return max(round(scale * n / kind.stride), -(-size // kind.stride)) * kind.stride

    return side(height), side(width)


def frame_encoder(kind: Kind, variant: str, weights: str, size: int) -> TimmEncoder:
    """One of timm's networks without its head: frames (N, 3, H, W) in [0, 1] to features (N, D).

    Args:
        variant: timm's name of it. With a tag, as in ``vit_small_patch16_224.dino``, the input is
            normalised as those weights expect.
        weights: see ``_weights``; the library's names are ``"DEFAULT"`` and timm's tags.
        size: see :class:`TimmEncoder`.
    """
    return _frames(kind, variant, weights, size)[0]


def frame_classifier(
    kind: Kind, variant: str, weights: str, size: int, outputs: int, frames: int
) -> FrameClassifier:
    """The same over a clip's frames, with a head of ``outputs``: a checkpoint's, if it fits."""
    encoder, loaded, head = _frames(kind, variant, weights, size)
    network = FrameClassifier(encoder, outputs, frames)
    if loaded is not None:
        keep_head(network.head, head, loaded, kind.name)
    return network


def _frames(
    kind: Kind, variant: str, weights: str, size: int
) -> tuple[TimmEncoder, Given | None, dict[str, Tensor]]:
    from velatura.torchvision_guard import ensure

    ensure()
    import timm

    known = timm.list_models(kind.pattern)
    plain, _, tag = variant.partition(".")
    if plain not in known:
        near = get_close_matches(plain, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"one is {known[0]}."
        raise BadInput(f"timm has no {kind.name} named {variant!r}; {hint}")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{plain}.*")]
    if tag and tag not in tags:
        raise BadInput(f"timm has {', '.join(tags)} of {plain}; not {tag}.")
    if weights in tags:
        tag = weights
    try:
        full = f"{plain}.{tag}" if tag else plain
        net = timm.create_model(full, pretrained=False, num_classes=0, **kind.options)
    except TypeError:
        raise BadInput(f"{plain} is built otherwise than a {kind.name}; take another.") from None
    loaded, head = None, {}
    if weights:
        loaded = given(weights, kind.name, lambda word: _library(net, word, tags))
        head = fill(net, _renamed(loaded, net), kind.name, kind.head)
    return TimmEncoder(net, kind, size), loaded, head


def _library(net: Any, weights: str, tags: list[str]) -> Given:
    """Weights that timm has for a network: ``"DEFAULT"``, or the tag of others.

    Raises:
        BadInput: it has none of that name, or they could not be had.
    """
    cfg, name = net.pretrained_cfg, net.pretrained_cfg["architecture"]
    if weights not in ("DEFAULT", *tags) or not cfg.get("hf_hub_id"):
        names = ", ".join(["DEFAULT", *tags]) if tags else "none"
        raise BadInput(
            f"Could not get the weights {weights!r} of {name}: timm has {names}. Take one it has, "
            "name a file, or leave it empty."
        )
    return from_hub(f"hub:{cfg['hf_hub_id']}", name, called=weights)


def _renamed(loaded: Given, net: nn.Module) -> Given:
    """FAIR's own ConvNeXt files name what timm names otherwise; timm knows how."""
    if "downsample_layers.0.0.weight" not in loaded.tensors:
        return loaded
    from timm.models.convnext import checkpoint_filter_fn

    try:
        return Given(loaded.source, checkpoint_filter_fn(dict(loaded.tensors), net))
    except (KeyError, RuntimeError):  # of another size: `fill` says how
        return loaded
