"""Networks of torchvision: ResNets over frames, and over clips."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from velatura.errors import BadInput
from velatura.models._parts import FrameClassifier, ImageNetEncoder, normalise
from velatura.models._weights import Given, fill, given, keep_head, offline_hint, read

__all__ = ["VideoResNet", "clip_classifier", "frame_classifier", "frame_encoder", "library"]

# Mean and deviation that torchvision's Kinetics weights were trained with: those of its ResNets.
MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


def library(name: str, weights: str) -> Given:
    """Weights that torchvision has for one of its networks, by their name there.

    Raises:
        BadInput: it has none of that name, or they could not be had.
    """
    from torchvision.models import get_model_weights

    known = get_model_weights(name).__members__
    member = known.get(weights.rpartition(".")[2])
    if member is None:
        raise BadInput(
            f"Could not get the weights {weights!r} of {name}: torchvision has {', '.join(known)}. "
            "Take one of these, name a file, or leave it empty."
        )
    # Where torchvision keeps them, too; but it would run what a file says.
    file = member.url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        with offline_hint(f"the weights {weights!r} of {name}", "download.pytorch.org"):
            path.parent.mkdir(parents=True, exist_ok=True)
            start_of_sum = file.rpartition("-")[2].partition(".")[0]
            torch.hub.download_url_to_file(member.url, str(path), start_of_sum)
    return Given(f"torchvision's {member.name}", read(path, name))


def frame_encoder(name: str, weights: str) -> ImageNetEncoder:
    """One of torchvision's ResNets without its head: frames (N, 3, H, W) in [0, 1] to features.

    Args:
        weights: see ``_weights``; the library's names are torchvision's.
    """
    return _frames(name, weights)[0]


def frame_classifier(name: str, weights: str, outputs: int, frames: int) -> FrameClassifier:
    """The same over a clip's frames, with a head of ``outputs``: a checkpoint's, if it fits."""
    encoder, loaded, head = _frames(name, weights)
    network = FrameClassifier(encoder, outputs, frames)
    if loaded is not None:
        keep_head(network.head, head, loaded, name)
    return network


def _frames(name: str, weights: str) -> tuple[ImageNetEncoder, Given | None, dict[str, Tensor]]:
    from velatura.torchvision_guard import ensure

    ensure()
    from torchvision.models import get_model

    net = get_model(name, weights=None)
    width = net.fc.in_features
    net.fc = nn.Identity()
    loaded, head = None, {}
    if weights:
        loaded = given(weights, name, lambda word: library(name, word))
        head = fill(net, loaded, name, head="fc")
    return ImageNetEncoder(net, width), loaded, head


def clip_classifier(name: str, weights: str, outputs: int) -> VideoResNet:
    """One of torchvision's video ResNets: clips (B, T, 3, H, W) in [0, 1] to logits (B, outputs).

    Args:
        weights: see ``_weights``; a head of as many classes as ``outputs`` stays.
    """
    from velatura.torchvision_guard import ensure

    ensure()
    from torchvision.models import get_model

    net = get_model(name, weights=None)
    net.fc = nn.Linear(net.fc.in_features, outputs)
    if weights:
        fill(net, given(weights, name, lambda word: library(name, word)), name, head="fc")
    return VideoResNet(net)


class VideoResNet(nn.Module):
    """Any number of frames and any size; normalises as the Kinetics weights expect."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def features(self, clips: Float[Tensor, "b t c h w"]) -> list[Tensor]:
        """The last two stages, for a feature-space hinge."""
        x = normalise(clips.transpose(1, 2), MEAN, STD)
        x = x.contiguous(memory_format=torch.channels_last_3d)
        for stage in ("stem", "layer1", "layer2", "layer3"):
            x = getattr(self.net, stage)(x)
        return [x, self.net.layer4(x)]  # type: ignore[operator]

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        pooled = self.features(clips)[-1].mean((2, 3, 4))
        logits: Tensor = self.net.fc(pooled)  # type: ignore[operator]
        return logits
