"""What every network promises in every role that it offers, whichever they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from velatura import plugins
from velatura.errors import BadInput
from velatura.models._parts import Budget, pooled

# As small as its Config allows; a network that is not named here comes as it is.
SMALL: dict[str, dict[str, Any]] = {
    "c3d": {"adapt": True},
    "clip_cnn": {"width": 8},
    "convnext": {"variant": "convnext_atto", "frames": 1},
    "efficientnet_lite0": {"weights": "", "frames": 2, "size": 32},
    "frame_cnn": {"width": 8, "frames": 2},
    "gated_unet": {"width": 4},
    "patch_mlp": {"width": 16, "depth": 1, "frames": 2, "size": 16},
    "pixel_mlp": {"width": 16, "side": 4, "frames": 2},
    "resnet101": {"frames": 1},
    "resnet152": {"frames": 1},
    "resnet18": {"frames": 2},
    "resnet34": {"frames": 1},
    "resnet50": {"frames": 1},
    "tubelet_vit": {
        "frames": 4, "size": 16, "width": 12, "depth": 4, "heads": 2, "pruning": (1, 2, 3),
    },
    "unet": {"width": 4},
    "vit": {"variant": "vit_tiny_patch16_224", "frames": 1},
}  # fmt: skip
FRAMES = {"i3d_r50": 8, "c3d": 8}  # their poolings need 7 and 8
SIDE = {"convnext": 32}
UNUSED = {"unetpp_resnet18": "encoder.layer4."}  # depth 4 leaves the last stage aside
CLIPWISE = ("bdq", "coarse_flow", "tubelet_vit")  # anonymizers that look at more than a frame
# Of its last block only the class token is read, and these say where the others are.
SILENT = {"mvit_v2_s": ("blocks.15.attn.rel_pos_", "blocks.15.attn.pool_q.pool.")}


def offering(role: str) -> list[str]:
    return [n for n in plugins.names("models") if hasattr(plugins.load("models", n), role)]


def built(name: str, role: str, *args: int, **options: Any) -> nn.Module:
    module = plugins.load("models", name)
    torch.manual_seed(0)
    known = module.Config(**{**SMALL.get(name, {}), **options})
    network: nn.Module = getattr(module, role)(known, *args)
    return network


def lively(network: nn.Module) -> nn.Module:
    """Running statistics as after some training, so that evaluation mode differs from the start."""
    draw = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean += 0.1 * torch.randn(module.running_mean.shape, generator=draw)
            module.running_var *= 1 + 0.2 * torch.rand(module.running_var.shape, generator=draw)
    return network


def clips(b: int = 3, t: int = 4, h: int = 16, w: int = 16) -> Tensor:
    return torch.rand(b, t, 3, h, w, generator=torch.Generator().manual_seed(2))


def reached(network: nn.Module, but: str = "", silent: tuple[str, ...] = ()) -> None:
    """Every weight has a finite slope that is not all zero."""
    for key, weight in network.named_parameters():
        if but and but in key:
            assert weight.grad is None, key
            continue
        assert weight.grad is not None, key
        assert torch.isfinite(weight.grad).all(), key
        assert weight.grad.any() != any(part in key for part in silent), key


def test_every_network_offers_a_role():
    for name in plugins.names("models"):
        module = plugins.load("models", name)
        assert any(hasattr(module, role) for role in ("anonymizer", "classifier", "encoder")), name


# Anonymizers


@pytest.mark.parametrize("name", offering("anonymizer"))
@pytest.mark.parametrize("quantize", [False, True])
def test_an_anonymizer_takes_clips_frames_and_any_size(name: str, quantize: bool):
    """A frame's result is its own: not its clip's, not its batch's, not its mode of delivery. A
    clip's, where the network looks at clips."""
    network = lively(built(name, "anonymizer", quantize=quantize)).eval()
    tolerance = 1e-5 + quantize / 255
    for h, w in ((16, 16), (17, 30), (5, 23)):
        video = clips(2, 2, h, w)
        with torch.no_grad():
            out = network(video)
            again = network(video)
            frames = network(video.flatten(0, 1))
            several = video if name in CLIPWISE else video.flatten(0, 1)
            alone = torch.stack([network(one[None])[0] for one in several])
        assert out.shape == video.shape
        assert out.dtype == torch.float32
        assert float(out.min()) >= 0
        assert float(out.max()) <= 1
        assert torch.equal(out, again)
        assert frames.shape == video.flatten(0, 1).shape
        assert name in CLIPWISE or torch.equal(frames.view(video.shape), out)
        torch.testing.assert_close(alone.view(video.shape), out, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", offering("anonymizer"))
def test_an_anonymizer_reads_its_picture(name: str):
    """Another picture, another result: a network that ignores its input hides everybody."""
    network = built(name, "anonymizer", quantize=False).eval()
    with torch.no_grad():
        one, other = network(clips(1, 2)), network(clips(1, 2).flip(-1))
    assert float((one - other).abs().max()) > 1e-3


@pytest.mark.parametrize("name", offering("anonymizer"))
def test_every_weight_of_an_anonymizer_learns(name: str):
    network = built(name, "anonymizer").train()
    out = network(clips(2, 2, 32, 32))
    (out * torch.rand(out.shape)).sum().backward()
    reached(network, UNUSED.get(name, ""))


@pytest.mark.parametrize("name", offering("anonymizer"))
def test_an_anonymizer_returns_float32_bytes_under_mixed_precision(name: str):
    network = built(name, "anonymizer").eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = network(clips(1, 2))
    assert out.dtype == torch.float32
    assert torch.equal(out, (out * 255).round() / 255)


# Classifiers


@pytest.mark.parametrize("name", offering("classifier"))
def test_a_classifier_gives_logits_that_do_not_depend_on_the_batch(name: str):
    network = lively(built(name, "classifier", 5)).eval()
    side = SIDE.get(name, 16)
    video = clips(3, FRAMES.get(name, 4), side, side)
    with torch.no_grad():
        logits = network(video)
        again = network(video)
        alone = torch.cat([network(clip[None]) for clip in video])
    assert logits.shape == (3, 5)
    assert torch.isfinite(logits).all()
    assert torch.equal(logits, again)
    torch.testing.assert_close(alone, logits, atol=1e-4, rtol=1e-4)
    assert float((logits[0] - logits[1]).abs().max()) > 1e-5


@pytest.mark.parametrize("name", offering("classifier"))
def test_a_classifier_learns_with_every_weight_and_reads_every_colour(name: str):
    network = built(name, "classifier", 3).train()
    video = clips(4, FRAMES.get(name, 4), 32, 32).requires_grad_()
    nn.functional.cross_entropy(network(video), torch.tensor([0, 1, 2, 0])).backward()
    reached(network, silent=SILENT.get(name, ()))
    per_colour = video.grad.abs().sum((0, 1, 3, 4))
    assert (per_colour > 0).all()


# What a pooled feature of a clip is: the channels of the last stage.
POOLED = {
    "c3d": 512, "clip_cnn": 32, "efficientnet_lite0": 1280, "i3d_r50": 2048, "mvit_v2_s": 768,
    "r2plus1d_18": 512, "r3d_18": 512,
}  # fmt: skip


@pytest.mark.parametrize("name", offering("classifier"))
def test_features_are_pooled_over_time_and_space_and_not_over_themselves(name: str):
    network = built(name, "classifier", 3).eval()
    assert hasattr(network, "features") == (name in POOLED)
    if name in POOLED:
        with torch.no_grad():
            found = pooled(network.features(clips(2, FRAMES.get(name, 4)))[-1])
        assert found.shape == (2, POOLED[name])


@pytest.mark.parametrize(
    "name", ["c3d", "clip_cnn", "i3d_r50", "mvit_v2_s", "r2plus1d_18", "r3d_18"]
)
def test_features_of_a_classifier_end_where_its_logits_begin(name: str):
    """What the hinge of a frozen teacher reads is on the way to the answer."""
    network = built(name, "classifier", 3).eval()
    video = clips(2, FRAMES.get(name, 4), SIDE.get(name, 16), SIDE.get(name, 16))
    with torch.no_grad():
        features = network.features(video)
        changed = network.features(1 - video)
    assert len(features) >= 1
    for one, other in zip(features, changed, strict=True):
        assert one.shape[0] == 2
        assert not torch.allclose(one, other)
    seen = video.clone().requires_grad_()
    last = network.features(seen)[-1]
    (slope,) = torch.autograd.grad(last.square().mean(), seen)
    assert slope.any()


# Encoders


@pytest.mark.parametrize("name", offering("encoder"))
def test_an_encoder_says_its_width_and_carries_a_budget(name: str):
    encoder = lively(built(name, "encoder")).eval()
    frames = clips(1, 4, SIDE.get(name, 16), SIDE.get(name, 16))[0]
    with torch.no_grad():
        features = encoder(frames)
        alone = torch.cat([encoder(frame[None]) for frame in frames])
        embeddings = Budget(encoder, 16).eval()(frames)
    assert features.shape == (4, encoder.width)
    assert embeddings.shape == (4, 16)
    torch.testing.assert_close(alone, features, atol=1e-4, rtol=1e-4)


# Names and numbers


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_sizes_are_the_published_ones():
    """torchvision's own tables; for UNet++ the decoder, head and used encoder of the release."""
    heads = {"resnet18": 512 + 1, "resnet50": 2048 + 1}  # one output
    assert count(built("resnet18", "encoder")) == 11_689_512 - 513_000
    assert count(built("resnet50", "encoder")) == 25_557_032 - 2_049_000
    for name, head in heads.items():
        assert count(built(name, "classifier", 1)) == count(built(name, "encoder")) + head
    assert count(built("r3d_18", "classifier", 400)) == 33_371_472


def test_size_of_the_paper_s_anonymizer():
    """5.51 M in use, of them 2.721 M decoder and 867 head; 13.90 M with the stage it never asks."""
    network = built("unetpp_resnet18", "anonymizer")
    unused = sum(p.numel() for k, p in network.named_parameters() if "encoder.layer4." in k)
    inner = network.net.net
    assert count(network) == 13_898_787
    assert count(network) - unused == 5_505_059
    assert count(inner.decoder) == 2_721_408
    assert count(inner.segmentation_head) == 867


@pytest.mark.parametrize("depth", [3, 5])
def test_the_paper_s_anonymizer_at_other_depths(depth: int):
    network = built("unetpp_resnet18", "anonymizer", depth=depth).eval()
    with torch.no_grad():
        assert network(clips(1, 1, 17, 40)).shape == (1, 1, 3, 17, 40)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("resnet18", "encoder"),
        ("resnet50", "encoder"),
        ("r3d_18", "classifier"),
        ("unetpp_resnet18", "anonymizer"),
    ],
)
def test_weights_of_a_wrong_name_are_one_sentence(name: str, role: str):
    args = (3,) if role == "classifier" else ()
    with pytest.raises(BadInput, match=r"Could not get .*weights 'NO_SUCH'.*empty"):
        built(name, role, *args, weights="NO_SUCH")
