"""Parameters and cost against published figures, and what clips each network refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from velatura import plugins
from velatura.errors import BadInput
from velatura.models._size import native, size

# Parameters with the published head, and 10^9 operations of one forward (a multiplication and its
# addition are one), each from its authors or its library:
#   torchvision's tables of weights: the ResNets of one frame of 224 px, the video networks of 16
#   frames, 112 px (r3d, r2plus1d) and 224 px (mvit);
#   C3D on UCF101: 78.41 M and 38.5 G in mmaction2's table, from 16 frames of 112 px;
#   ViT-S/16: 22.05 M and 4.6 G (Touvron et al., 2021, table 5: DeiT-S); ConvNeXt-T: 28.6 M and
#   4.5 G (Liu et al., 2022, table 1), to the unit in torchvision's table;
#   I3D-R50: 28.0 M (see test_i3d_r50); the U-Net: counted by hand below.
PUBLISHED: dict[str, tuple[int, float | None]] = {
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
    "r3d_18": (33_371_472, 40.697),
    "r2plus1d_18": (31_505_325, 40.519),
    "mvit_v2_s": (34_537_744, 64.224),
    "c3d": (78_409_573, 38.5),
    "vit": (22_050_664, 4.6),
    "convnext": (28_589_128, 4.456),
    "i3d_r50": (28_043_472, None),
    "unetpp_resnet18": (5_505_059, 12.3),
    "unet": (17_263_107, None),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_operations_are_the_published_ones(name: str):
    parameters, giga = PUBLISHED[name]
    counted = size(plugins.load("models", name))
    assert counted.parameters == parameters
    if giga is not None:
        digits = len(str(giga).partition(".")[2])
        assert round(counted.operations / 1e9, digits) == giga


@pytest.mark.parametrize("name", plugins.names("models"))
def test_every_network_is_counted(name: str):
    counted = size(plugins.load("models", name))
    assert counted.parameters > 0
    if name in PUBLISHED:
        assert counted.unused == {"unetpp_resnet18": 8_393_728}.get(name, 0)


def test_the_u_net_by_hand():
    """A double convolution of a to b to c channels: 9 (a b + b c) weights, 2 (b + c) of BatchNorm.

    inc 3-64-64; down 64-128-128, 128-256-256, 256-512-512, 512-512-512; up 1024-512-256,
    512-256-128, 256-128-64, 128-64-64; outc 64 * 3 + 3. Each at its resolution, of 224 px.
    """
    doubles = [
        (3, 64, 64, 224),
        (64, 128, 128, 112),
        (128, 256, 256, 56),
        (256, 512, 512, 28),
        (512, 512, 512, 14),
        (1024, 512, 256, 28),
        (512, 256, 128, 56),
        (256, 128, 64, 112),
        (128, 64, 64, 224),
    ]
    products = [9 * (a * b + b * c) for a, b, c, _ in doubles]
    norms = [2 * (b + c) for _, b, c, _ in doubles]
    counted = size(plugins.load("models", "unet"))
    assert counted.parameters == sum(products) + sum(norms) + 64 * 3 + 3
    at = [n * side**2 for n, (*_, side) in zip(products, doubles, strict=True)]
    assert counted.operations == sum(at) + 64 * 3 * 224**2


def test_operations_by_hand(monkeypatch: pytest.MonkeyPatch):
    """One convolution of 3 to 4 channels, 5 x 5, on 8 x 8 px, and a weight that is not asked."""
    from velatura.models import frame_cnn
    from velatura.models._parts import Native

    class Plain(nn.Module):
        width = 4

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.spare = nn.Conv2d(3, 4, 5, padding=2), nn.Linear(7, 1)

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return self.conv(frames).mean((2, 3))

    monkeypatch.setattr(frame_cnn, "encoder", lambda cfg: Plain())
    monkeypatch.setattr(frame_cnn, "NATIVE", Native(side=8))
    assert size(frame_cnn) == (3 * 4 * 25 + 4, 8, 64 * 3 * 4 * 25)


def test_what_a_network_was_made_for_is_what_it_takes():
    for name in plugins.names("models"):
        module = plugins.load("models", name)
        at = native(module)
        if hasattr(module, "check"):
            # What is made for frames takes them as clips of two or more.
            module.check(module.Config(), max(at.frames, 2), at.side, at.side)


def test_names_of_weights_are_the_library_s():
    from velatura.torchvision_guard import ensure

    ensure()
    from segmentation_models_pytorch.encoders import encoders
    from torchvision.models import get_model_weights, list_models

    for name in plugins.names("models"):
        library = native(plugins.load("models", name)).library
        if name in list_models():
            assert {*library, "DEFAULT"} == set(get_model_weights(name).__members__), name
    known = encoders["resnet18"]["pretrained_settings"]
    assert native(plugins.load("models", "unetpp_resnet18")).library == tuple(known)


# What they refuse: options, (frames, height, width), the whole sentence.
REFUSED: list[tuple[str, dict[str, Any], tuple[int, int, int], str]] = [
    (
        "i3d_r50", {}, (6, 112, 112),
        "i3d_r50 needs clips of at least 7 frames of 5 x 5 px; these have 6 of 112 x 112.",
    ),
    (
        "c3d", {}, (8, 48, 48),
        "c3d needs clips of 16 frames of 112 x 112 px; these have 8 of 48 x 48. Change "
        "batches.frames and batches.size, or set adapt = true of this network.",
    ),
    (
        "c3d", {"adapt": True}, (7, 48, 48),
        "c3d with adapt needs clips of at least 8 frames of 16 x 16 px; these have 7 of 48 x 48.",
    ),
    (
        "vit", {}, (8, 50, 48),
        "vit needs frames whose sides are multiples of 16 px; these are 50 x 48. Change "
        "batches.size, or set size = 64 of this network, and it enlarges them.",
    ),
    (
        "vit", {"variant": "vit_base_patch32_224"}, (8, 24, 24),
        "vit needs frames of at least 32 x 32 px; these are 24 x 24. Change batches.size, or set "
        "size = 32 of this network, and it enlarges them.",
    ),
    (
        "convnext", {}, (8, 24, 40),
        "convnext needs frames of at least 32 x 32 px; these are 24 x 40. Change batches.size, or "
        "set size = 32 of this network, and it enlarges them.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "clip", "said"), REFUSED)
def test_a_clip_that_it_cannot_take_is_one_sentence(
    name: str, options: dict[str, Any], clip: tuple[int, int, int], said: str
):
    """Before any training, and the same from the network itself."""
    module = plugins.load("models", name)
    cfg = module.Config(**options)
    with pytest.raises(BadInput, match=f"^{re.escape(said)}$"):
        module.check(cfg, *clip)
    t, h, w = clip
    with torch.device("meta"):
        network = module.classifier(cfg, 3).eval()
        with pytest.raises(BadInput, match=f"^{re.escape(said)}$"):
            network(torch.zeros(1, t, 3, h, w))


TAKEN: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("i3d_r50", {}, (7, 5, 5)),
    ("c3d", {"adapt": True}, (8, 16, 16)),
    ("c3d", {"adapt": True}, (9, 48, 64)),
    ("vit", {}, (8, 48, 80)),
    ("vit", {"size": 64}, (8, 50, 61)),
    ("vit", {"size": 56, "variant": "vit_small_patch14_dinov2"}, (8, 48, 48)),
    ("convnext", {}, (8, 33, 47)),
    ("convnext", {"size": 32}, (8, 16, 20)),
]


@pytest.mark.parametrize(("name", "options", "clip"), TAKEN)
def test_a_clip_that_passes_the_check_passes_the_network(
    name: str, options: dict[str, Any], clip: tuple[int, int, int]
):
    module = plugins.load("models", name)
    cfg = module.Config(**options)
    module.check(cfg, *clip)
    t, h, w = clip
    with torch.device("meta"):
        assert module.classifier(cfg, 3).eval()(torch.zeros(1, t, 3, h, w)).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "vit",
            {"variant": "vit_smal_patch16_224"},
            r"timm has no vit named 'vit_smal_patch16_224'; did you mean vit_small_patch16_224, .*",
        ),
        ("vit", {"variant": "resnet18"}, r"timm has no vit named 'resnet18'; .*"),
        ("convnext", {"variant": "hf_hub:a/b"}, r"timm has no convnext named 'hf_hub:a/b'; .*"),
        (
            "vit",
            {"variant": "vit_small_patch16_224.dyno"},
            r"timm has .*dino.* of vit_small_patch16_224; not dyno\.",
        ),
    ],
)
def test_a_variant_that_timm_has_not(name: str, options: dict[str, Any], said: str):
    module = plugins.load("models", name)
    with pytest.raises(BadInput, match=f"^{said}$"):
        module.encoder(module.Config(**options))


# What is inside


def handed(network: nn.Module, layer: nn.Module, *given: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        network(*given)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("variant", "mean", "std"),
    [
        ("vit_tiny_patch16_224", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("vit_small_patch16_224.dino", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_a_vit_is_handed_what_its_weights_expect(variant: str, mean: Any, std: Any):
    from velatura.models import vit

    encoder = vit.encoder(vit.Config(variant=variant)).eval()
    frames = torch.rand(2, 3, 32, 32)
    seen = handed(encoder, encoder.net, frames)
    for colour in range(3):
        expected = (frames[:, colour] - mean[colour]) / std[colour]
        torch.testing.assert_close(seen[:, colour], expected)


def test_small_frames_are_enlarged_to_whole_patches():
    from velatura.models import vit

    encoder = vit.encoder(vit.Config(variant="vit_tiny_patch16_224", size=60)).eval()
    for (h, w), expected in {
        (30, 30): (64, 64),
        (30, 45): (64, 96),
        (64, 80): (64, 80),
    }.items():
        seen = handed(encoder, encoder.net, torch.ones(1, 3, h, w))
        assert tuple(seen.shape[-2:]) == expected
        torch.testing.assert_close(seen, torch.ones_like(seen))  # white stays white


@pytest.mark.parametrize(("frames", "h", "w"), [(4, 32, 32), (5, 48, 40)])
@torch.no_grad()
def test_mvit_is_torchvision_s_network_told_the_size_of_the_clip(frames: int, h: int, w: int):
    from velatura.models import mvit_v2_s

    network = mvit_v2_s.classifier(mvit_v2_s.Config(), 3).eval()
    clips = torch.rand(2, frames, 3, h, w)
    theirs = network.net
    theirs.pos_encoding.temporal_size = (frames + 1) // 2
    theirs.pos_encoding.spatial_size = (h // 4, w // 4)
    expected = theirs((clips.transpose(1, 2) - 0.45) / 0.225)
    torch.testing.assert_close(network(clips), expected)


def test_r2plus1d_is_torchvision_s_network_on_kinetics_normalisation():
    from velatura.models import r2plus1d_18

    network = r2plus1d_18.classifier(r2plus1d_18.Config(), 3).eval()
    clips = torch.rand(2, 4, 3, 16, 16)
    mean, std = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    colours = [(clips[:, :, i] - mean[i]) / std[i] for i in range(3)]
    with torch.no_grad():
        torch.testing.assert_close(
            network(clips), network.net(torch.stack(colours, 1)), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("colours", ["bgr", "rgb"])
def test_c3d_is_handed_bytes_less_their_mean_where_its_weights_are_the_authors(
    colours: str, monkeypatch: pytest.MonkeyPatch
):
    """0.25 of full red is 63.75 of a byte: 38.25 below the mean of red; fresh, in units."""
    from velatura.models import c3d

    monkeypatch.setattr(c3d, "given", lambda *_: c3d.Given("", {}))
    monkeypatch.setattr(c3d, "fill", lambda *_, **__: {})
    clips = torch.tensor([0.25, 0.5, 1.0]).view(1, 1, 3, 1, 1).expand(1, 8, 3, 16, 16)
    for weights, unit in (("x.pth", 1.0), ("", 4 / 255)):
        cfg = c3d.Config(weights=weights, adapt=True, colours=colours)  # type: ignore[arg-type]
        network = c3d.classifier(cfg, 3).eval()
        seen = handed(network, network.conv1, clips)
        expected = [(63.75 - 102) * unit, (127.5 - 98) * unit, (255 - 90) * unit]
        if colours == "bgr":
            expected = expected[::-1]
        assert seen[0, :, 0, 0, 0].tolist() == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_c3d_adapted_is_the_plain_one_at_its_own_size():
    from velatura.models import c3d

    clips = torch.rand(1, 16, 3, 112, 112)
    found = []
    for adapt in (False, True):
        torch.manual_seed(0)
        found.append(c3d.classifier(c3d.Config(adapt=adapt), 3).eval()(clips))
    assert torch.equal(*found)


@torch.no_grad()
def test_the_u_net_is_handed_the_frame_and_ends_in_a_sigmoid():
    from velatura.models import unet

    network = unet.anonymizer(unet.Config(width=4, quantize=False)).eval()
    nn.init.zeros_(network.net.outc.conv.weight)
    network.net.outc.conv.bias.copy_(torch.tensor([-1.0, 0.0, 2.0]))
    frames = torch.rand(1, 3, 16, 16)
    assert torch.equal(handed(network, network.net.inc, frames), frames)
    out = network(frames)
    for colour, value in enumerate((0.26894142, 0.5, 0.88079708)):
        torch.testing.assert_close(out[:, colour], torch.full((1, 16, 16), value))
