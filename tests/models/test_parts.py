"""Inside the networks: rounding, padding, normalisation, which frames are looked at."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from velatura.models import clip_cnn, frame_cnn, gated_unet, patch_mlp, r3d_18
from velatura.models._parts import (
    Budget,
    FrameAnonymizer,
    FrameClassifier,
    ImageNetEncoder,
    eight_bits,
    normalise,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class Spy(nn.Module):
    """Returns what it was given, and remembers it."""

    width = 3

    def __init__(self):
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return x


def input_of(network: nn.Module, layer: nn.Module, *given: Tensor) -> Tensor:
    """What one layer is handed when the network is called."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0].detach()))
    network(*given)
    handle.remove()
    return seen[0]


# Eight bits


def test_eight_bits_are_levels_of_a_byte():
    levels = torch.arange(256) / 255
    assert torch.equal(eight_bits(levels), levels)
    assert torch.equal(eight_bits(levels.clamp(0.01, 0.99) + 0.4 / 255).mul(255).round() / 255,
                       eight_bits(levels.clamp(0.01, 0.99) + 0.4 / 255))  # fmt: skip
    given = torch.tensor([0.4, 0.6, 101.49, 101.51, 254.6]) / 255
    assert eight_bits(given).mul(255).tolist() == pytest.approx([0, 1, 101, 102, 255], abs=1e-4)
    assert torch.equal(given, torch.tensor([0.4, 0.6, 101.49, 101.51, 254.6]) / 255)


def test_eight_bits_survive_a_file():
    """What training sees is what bytes hold, to the bit."""
    seen = eight_bits(torch.rand(1000))
    assert torch.equal(seen.mul(255).round().byte().float().div(255), seen)


def test_the_slope_passes_eight_bits_straight():
    x = torch.rand(50, requires_grad=True)
    weights = torch.randn(50)
    (eight_bits(x) * weights).sum().backward()
    assert torch.equal(x.grad, weights)


def test_quantising_an_anonymizer_changes_its_output_not_its_slope():
    clips, weights = torch.rand(2, 2, 3, 8, 8), torch.randn(2, 2, 3, 8, 8)
    found = []
    for quantize in (False, True):
        torch.manual_seed(0)
        network = gated_unet.anonymizer(gated_unet.Config(width=4, quantize=quantize))
        out = network(clips)
        (out * weights).sum().backward()
        found.append((out.detach(), [p.grad for p in network.parameters()]))
    (plain, slopes), (rounded, rounded_slopes) = found
    assert torch.equal(rounded, plain.mul(255).round().div(255))
    assert not torch.equal(rounded, plain)
    for one, other in zip(slopes, rounded_slopes, strict=True):
        assert torch.equal(one, other)


# The anonymizer's frame


def test_an_anonymizer_pads_below_and_right_with_the_edge_and_cuts_it_off():
    spy = Spy()
    clips = torch.rand(2, 3, 3, 5, 9)
    out = FrameAnonymizer(spy, stride=4, quantize=False)(clips)
    assert torch.equal(out, clips)
    padded = spy.seen[0]
    assert padded.shape == (6, 3, 8, 12)
    rows = torch.arange(8).clamp(max=4)
    columns = torch.arange(12).clamp(max=8)
    assert torch.equal(padded, clips.flatten(0, 1)[:, :, rows][..., columns])


def test_an_anonymizer_needs_no_padding_where_the_stride_fits():
    spy = Spy()
    FrameAnonymizer(spy, stride=4, quantize=False)(torch.rand(2, 3, 8, 12))
    assert spy.seen[0].shape == (2, 3, 8, 12)


def test_an_anonymizer_ends_in_range_whatever_its_network_says():
    class Beyond(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 3 * x - 1

    clips = torch.rand(1, 2, 3, 8, 8)
    out = FrameAnonymizer(Beyond(), stride=8, quantize=False)(clips)
    torch.testing.assert_close(out, (3 * clips - 1).clamp(0, 1))


def soft(x: float) -> float:
    """How the light anonymizer bends a logit: to within 6, by hand."""
    return 6 * x / (6 + abs(x))


def test_the_light_anonymizer_starts_near_the_identity():
    """A gate that keeps 92 %; the rest is a grey. Before rounding and after."""
    clips = torch.rand(2, 3, 3, 24, 24)
    for quantize in (False, True):
        network = gated_unet.anonymizer(gated_unet.Config(quantize=quantize))
        with torch.no_grad():
            change = (network(clips) - clips).abs()
        assert float(change.mean()) < 0.05
        assert float(change.max()) < 0.25
    shut = gated_unet.anonymizer(gated_unet.Config(gate_bias=-3.0))
    with torch.no_grad():
        assert float((shut(clips) - clips).abs().mean()) > 0.15


def test_the_light_anonymizer_mixes_picture_and_paint():
    """With a head of zeros the paint is grey .5 and the gate that of its bias, everywhere."""
    network = gated_unet.anonymizer(gated_unet.Config(width=4, quantize=False, gate_bias=1.0))
    nn.init.zeros_(network.net.head.weight)
    clips = torch.rand(1, 2, 3, 8, 8)
    gate = torch.sigmoid(torch.tensor(soft(1.0)))
    with torch.no_grad():
        torch.testing.assert_close(network(clips), gate * clips + (1 - gate) * 0.5)


def test_the_light_anonymizer_paints_each_pixel_in_its_place():
    """Channels of the head are 2 x 2 blocks of a pixel's paint, then of its gate."""
    network = gated_unet.anonymizer(gated_unet.Config(width=4, quantize=False, gate_bias=0.0))
    nn.init.zeros_(network.net.head.weight)
    frames = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        network.net.head.bias.copy_(torch.cat([torch.full((12,), 2.0), torch.full((12,), -9.0)]))
        network.net.head.bias[1 * 4 + 2] = -2.0  # green, lower left of each block
        out = network(frames)
    paint = torch.sigmoid(torch.full((1, 3, 8, 8), soft(2.0)))
    paint[:, 1, 1::2, ::2] = torch.sigmoid(torch.tensor(soft(-2.0)))
    gate = torch.sigmoid(torch.tensor(soft(-9.0)))
    torch.testing.assert_close(out, gate * frames + (1 - gate) * paint)


@pytest.mark.parametrize("bias", [-80.0, 80.0])
def test_the_light_anonymizer_learns_however_far_it_was_driven(bias: float):
    """A bare sigmoid has no slope left there, and f_A would stay as it is for good."""
    network = gated_unet.anonymizer(gated_unet.Config(width=4, gate_bias=bias))
    network(torch.rand(1, 3, 8, 8)).sum().backward()
    slope = network.net.head.bias.grad[12:]  # of the gate
    assert float(slope.abs().min()) > 1e-8
    assert float(slope.abs().max()) > 1e-6


def test_the_light_anonymizer_is_one_function_in_both_modes():
    network = gated_unet.anonymizer(gated_unet.Config(width=4))
    clips = torch.rand(2, 2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(network.train()(clips), network.eval()(clips))


# Which frames a classifier looks at


class Mean(Spy):
    """Frames to the mean of each colour."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mean((2, 3))


@pytest.mark.parametrize(
    ("t", "frames", "expected"),
    [
        (9, 2, [0, 3, 5, 8]),
        (9, 1, [0, 8]),
        (2, 4, [0, 1]),
        (4, 3, [0, 1, 2, 3]),
    ],
)
def test_a_frame_classifier_spreads_its_looks_and_averages(t: int, frames: int, expected: list):
    """In evaluation: twice as many as in training, from the first frame to the last."""
    spy = Mean()
    network = FrameClassifier(spy, 2, frames).eval()
    clips = torch.rand(3, t, 3, 4, 4)
    logits = network(clips)
    looked = spy.seen[0].view(3, len(expected), 3, 4, 4)
    assert torch.equal(looked, clips[:, expected])
    each = torch.stack([network.head(clips[:, k].mean((2, 3))) for k in expected])
    torch.testing.assert_close(logits, each.mean(0))


@pytest.mark.parametrize(("t", "frames"), [(6, 2), (6, 1), (2, 4)])
def test_a_frame_classifier_in_training_draws_frames_and_in_time_sees_all(t: int, frames: int):
    """None twice at once; the same ones of every clip; the answer is their mean."""
    spy = Mean()
    network = FrameClassifier(spy, 2, frames).train()
    clips = torch.rand(3, t, 3, 4, 4)
    found = set()
    for _ in range(60):
        spy.seen.clear()
        logits = network(clips)
        looked = spy.seen[0].view(3, -1, 3, 4, 4)
        which = [[k for k in range(t) if torch.equal(clips[0, k], one)][0] for one in looked[0]]
        assert len(which) == len(set(which)) == min(frames, t)
        assert torch.equal(looked, clips[:, which])
        each = torch.stack([network.head(clips[:, k].mean((2, 3))) for k in which])
        torch.testing.assert_close(logits, each.mean(0))
        found.update(which)
    assert found == set(range(t))


def test_a_budget_is_a_head_of_two_layers_on_its_encoder():
    network = Budget(Mean(), 7)
    frames = torch.rand(4, 3, 8, 8)
    first, second = network.head[0], network.head[2]
    hidden = torch.relu(frames.mean((2, 3)) @ first.weight.T + first.bias)
    torch.testing.assert_close(network(frames), hidden @ second.weight.T + second.bias)


# Normalisation happens inside


def test_normalise_by_hand():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)
    for shape in ((2, 3, 4, 5), (2, 3, 2, 4, 5)):
        out = normalise(torch.full(shape, 0.6), mean, std)
        for colour, value in enumerate((1.0, 1.6, 1.5)):
            torch.testing.assert_close(out[:, colour], torch.full_like(out[:, colour], value))


def test_an_imagenet_encoder_hands_on_imagenet_s_normalisation():
    spy = Spy()
    frames = torch.rand(2, 3, 8, 8)
    ImageNetEncoder(nn.Sequential(spy, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 3)(frames)
    for colour, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        torch.testing.assert_close(spy.seen[0][:, colour], (frames[:, colour] - mean) / std)


def test_r3d_is_torchvision_s_network_on_kinetics_normalisation():
    """(B, T, C, H, W) in [0, 1] turns to (B, C, T, H, W) around zero, and the rest is theirs."""
    network = r3d_18.classifier(r3d_18.Config(), 3).eval()
    clips = torch.rand(2, 4, 3, 16, 16)
    mean, std = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    colours = [(clips[:, :, i] - mean[i]) / std[i] for i in range(3)]
    with torch.no_grad():
        torch.testing.assert_close(
            network(clips), network.net(torch.stack(colours, 1)), atol=1e-4, rtol=1e-4
        )


def test_the_unetpp_is_handed_imagenet_s_normalisation():
    from velatura.models import unetpp_resnet18

    network = unetpp_resnet18.anonymizer(unetpp_resnet18.Config(quantize=False)).eval()
    frames = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        seen = input_of(network, network.net.net, frames)
        expected = torch.sigmoid(network.net.net(seen))
        torch.testing.assert_close(network(frames), expected)
    for colour, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        torch.testing.assert_close(seen[:, colour], (frames[:, colour] - mean) / std)


def test_the_clip_network_is_given_colours_and_the_change_of_brightness():
    """Channels: red, green, blue, change from the frame before, its size; none before the first."""
    network = clip_cnn.classifier(clip_cnn.Config(width=8), 2)
    clips = torch.rand(2, 3, 3, 8, 8)
    given = input_of(network, network.stem, clips)
    assert given.shape == (2, 5, 3, 8, 8)
    unit = (clips - 0.45) / 0.25
    for t in range(3):
        torch.testing.assert_close(given[:, :3, t], unit[:, t])
        change = 2 * (unit[:, t].mean(1) - unit[:, t - 1].mean(1)) if t else torch.zeros(2, 8, 8)
        torch.testing.assert_close(given[:, 3, t], change, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(given[:, 4, t], change.abs(), atol=1e-5, rtol=1e-5)


def test_the_clip_network_tells_a_clip_from_its_reverse():
    network = clip_cnn.classifier(clip_cnn.Config(width=8), 2).eval()
    clips = torch.rand(1, 8, 3, 16, 16)
    with torch.no_grad():
        assert float((network(clips) - network(clips.flip(1))).abs().max()) > 1e-4


def test_the_frame_network_is_given_its_own_normalisation_and_pools_two_ways():
    encoder = frame_cnn.encoder(frame_cnn.Config(width=8)).eval()
    frames = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(input_of(encoder, encoder.net, frames), (frames - 0.45) / 0.25)
    with torch.no_grad():
        x = encoder.net((frames - 0.45) / 0.25)
        features = encoder(frames)
    torch.testing.assert_close(features[:, :24], x.mean((2, 3)))
    torch.testing.assert_close(features[:, 24:], x.flatten(2).max(2).values)


@pytest.mark.parametrize("side", [8, 16])
def test_the_mixer_reads_patches_of_frames_in_reading_order(side: int):
    """Frame by frame, row by row; a patch is its colours, each row by row."""
    cfg = patch_mlp.Config(width=16, depth=1, frames=2, patch=4, size=8)
    network = patch_mlp.classifier(cfg, 2)
    clips = torch.rand(2, 5, 3, side, side)
    given = input_of(network, network.embed, clips)
    assert given.shape == (2, 8, 48)
    scale = side // 8
    for i in range(2):
        for k, frame in enumerate((0, 4)):
            small = clips[i, frame].view(3, 8, scale, 8, scale).mean((2, 4))
            for y in range(2):
                for x in range(2):
                    patch = small[:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
                    expected = ((patch - 0.45) / 0.25).flatten()
                    torch.testing.assert_close(
                        given[i, 4 * k + 2 * y + x], expected, atol=1e-5, rtol=1e-5
                    )
