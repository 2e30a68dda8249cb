"""The paper's f_T against hand-derived sizes and a second computation, and its two checkpoints."""

from __future__ import annotations

import os
import pickle
import re
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from data.tiny_lists import LyingNumber
from torch import Tensor, nn

from velatura import restricted
from velatura.errors import BadInput
from velatura.models import i3d_r50 as i3d

# Frames that the first convolution of each block looks at: table 1 of Wang et al., I3D 3 x 1 x 1.
LOOKS = {1: [3, 3, 3], 2: [3, 1, 3, 1], 3: [3, 1, 3, 1, 3, 1], 4: [1, 3, 1]}


@pytest.fixture(scope="module")
def full() -> nn.Module:
    """As published. Made once: no test may change it."""
    torch.manual_seed(0)
    return i3d.classifier(i3d.Config(), 400).eval()


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sixteenth of the channels: the same plan, and files of 0.5 MB."""
    monkeypatch.setattr(i3d, "WIDTH", 4)


def lively(outputs: int = 3, seed: int = 1) -> nn.Module:
    """Every tensor drawn at random, so that no two can be taken for each other."""
    torch.manual_seed(seed)
    network = i3d.classifier(i3d.Config(), outputs)
    for key, value in network.state_dict().items():
        if "running_var" in key:
            value.uniform_(0.5, 2)
        elif "bn" in key or "downsample.1" in key:
            value.copy_(torch.randn(value.shape) * 0.3 + ("weight" in key))
    return network.eval()


def video(b: int = 2, t: int = 8, h: int = 20, w: int = 24) -> Tensor:
    return torch.rand(b, t, 3, h, w, generator=torch.Generator().manual_seed(2))


# The network


def test_size_is_the_published_one(full: nn.Module):
    """28.04 M: PySlowFast's table says 28.0 M of I3D-R50.

    Stem 3 * 64 * 5 * 49 + 2 * 64 = 47,168. A block of width p on n channels that looks at k
    frames has k n p + 9 p^2 + 4 p^2 weights and 2 (p + p + 4 p) of BatchNorm; a shortcut 4 n p
    + 8 p. So with 13 p^2 + 12 p as "p":
    layer1  12,288 + 2 * 49,152                        + 3 * 54,016    + 16,896     =    289,536
    layer2  98,304 + 65,536 + 196,608 + 65,536         + 4 * 214,528   + 132,096    =  1,416,192
    layer3  393,216 + 3 * 262,144 + 2 * 786,432        + 6 * 855,040   + 526,336    =  8,409,088
    layer4  524,288 + 3,145,728 + 1,048,576            + 3 * 3,414,016 + 2,101,248  = 17,061,888
    head    2048 * 400 + 400                                                        =    819,600
    """

    def count(part: nn.Module) -> int:
        return sum(p.numel() for p in part.parameters())

    assert count(full.layer1) == 289_536
    assert count(full.layer2) == 1_416_192
    assert count(full.layer3) == 8_409_088
    assert count(full.layer4) == 17_061_888
    assert count(full) == 47_168 + 289_536 + 1_416_192 + 8_409_088 + 17_061_888 + 819_600
    assert count(full) == 28_043_472


def test_names_are_those_of_the_known_port(full: nn.Module):
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    names = ["conv1.weight", *(f"bn1.{n}" for n in norm), "fc.weight", "fc.bias"]
    for stage, blocks in LOOKS.items():
        for block in range(len(blocks)):
            at = f"layer{stage}.{block}"
            for k in (1, 2, 3):
                names += [f"{at}.conv{k}.weight", *(f"{at}.bn{k}.{n}" for n in norm)]
        names.append(f"layer{stage}.0.downsample.0.weight")
        names += [f"layer{stage}.0.downsample.1.{n}" for n in norm]
    assert sorted(full.state_dict()) == sorted(names)


def test_fresh_weights_are_drawn_as_he_et_al_say(full: nn.Module):
    for name, module in full.named_modules():
        if isinstance(module, nn.Conv3d):
            fan_out = module.out_channels * int(np.prod(module.kernel_size))
            expected = (2 / fan_out) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.03), name
        elif isinstance(module, nn.BatchNorm3d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
    assert float(full.fc.weight.detach().std()) == pytest.approx(0.01, rel=0.01)
    assert (full.fc.bias == 0).all()


# By hand. A convolution of stride 2 with "same" padding halves, rounded up; a pooling of 3, stride
# 2 and no padding takes n to (n - 3) // 2 + 1; a pooling of 2 halves, rounded down.
SIZES = {
    (16, 112): {
        "conv1": (64, 8, 56),
        "maxpool1": (64, 4, 27),
        "layer1": (256, 4, 27),
        "maxpool2": (256, 2, 27),
        "layer2": (512, 2, 14),
        "layer3": (1024, 2, 7),
        "layer4": (2048, 2, 4),
    },
    (8, 48): {
        "conv1": (64, 4, 24),
        "maxpool1": (64, 2, 11),
        "layer1": (256, 2, 11),
        "maxpool2": (256, 1, 11),
        "layer2": (512, 1, 6),
        "layer3": (1024, 1, 3),
        "layer4": (2048, 1, 2),
    },
}


@pytest.mark.parametrize(("frames", "side"), SIZES)
def test_every_stage_has_the_size_by_hand(full: nn.Module, frames: int, side: int):
    seen: dict[str, tuple[int, ...]] = {}
    hooks = [
        part.register_forward_hook(lambda m, i, out, name=name: seen.update({name: out.shape}))
        for name, part in full.named_children()
    ]
    with torch.no_grad():
        logits = full(video(1, frames, side, side))
    for hook in hooks:
        hook.remove()
    expected = {name: (1, c, t, n, n) for name, (c, t, n) in SIZES[frames, side].items()}
    assert {name: tuple(seen[name]) for name in expected} == expected
    assert logits.shape == (1, 400)


def naive(state: dict[str, Tensor], clips: Tensor) -> Tensor:
    """The same network written down a second time, from its weights by their names."""

    def unit(x: Tensor, conv: str, bn: str, stride=(1, 1, 1), padding=(0, 0, 0)) -> Tensor:
        x = F.conv3d(x, state[f"{conv}.weight"], None, stride, padding)
        mean, var, scale, bias = (
            state[f"{bn}.{n}"].view(-1, 1, 1, 1)
            for n in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + bias

    x = torch.stack([(clips[:, :, colour] - 0.45) / 0.225 for colour in range(3)], 1)
    x = unit(x, "conv1", "bn1", (2, 2, 2), (2, 3, 3)).clamp(min=0)
    x = x.unfold(2, 2, 2).unfold(3, 3, 2).unfold(4, 3, 2).amax((-3, -2, -1))
    for stage, looks in LOOKS.items():
        if stage == 2:
            x = x.unfold(2, 2, 2).amax(-1)
        for block, k in enumerate(looks):
            at = f"layer{stage}.{block}"
            stride = (1, 2, 2) if stage > 1 and block == 0 else (1, 1, 1)
            y = unit(x, f"{at}.conv1", f"{at}.bn1", padding=(k // 2, 0, 0)).clamp(min=0)
            y = unit(y, f"{at}.conv2", f"{at}.bn2", stride, (0, 1, 1)).clamp(min=0)
            y = unit(y, f"{at}.conv3", f"{at}.bn3")
            if block == 0:
                x = unit(x, f"{at}.downsample.0", f"{at}.downsample.1", stride)
            x = (x + y).clamp(min=0)
    return x.mean((2, 3, 4)) @ state["fc.weight"].T + state["fc.bias"]


@torch.no_grad()
def test_it_is_the_network_of_the_table(narrow: None):
    network = lively()
    for shape in ((2, 8, 20, 24), (1, 13, 33, 17)):
        clips = video(*shape)
        expected = naive(network.state_dict(), clips)
        scale = float(expected.abs().max())
        torch.testing.assert_close(network(clips), expected, atol=1e-5 * scale, rtol=1e-4)


@torch.no_grad()
def test_one_bright_colour_and_one_bright_frame_arrive_where_they_should(narrow: None):
    """(B, T, C, H, W) in [0, 1] becomes (B, C, T, H, W) around zero, not a mere reshape."""
    network, given = lively(), []
    network.conv1.register_forward_pre_hook(lambda m, inputs: given.append(inputs[0]))
    clips = torch.zeros(2, 8, 3, 16, 16)
    clips[0, :, 0] = 1  # the first clip is red
    clips[1, 5] = 1  # the second flashes white
    network(clips)
    dark, bright = -2.0, 0.55 / 0.225
    expected = torch.full((2, 3, 8, 16, 16), dark)
    expected[0, 0] = bright
    expected[1, :, 5] = bright
    torch.testing.assert_close(given[0], expected)


@torch.no_grad()
def test_the_order_of_frames_and_colours_matters(narrow: None):
    """A turned clip answers as the network does when its input is turned by hand."""
    network = lively()
    clips = video(1)
    swap = [3, 1, 0, 7, 2, 6, 4, 5]
    straight, turned, mirrored = network(clips), network(clips[:, swap]), network(clips.flip(2))
    scale = float(straight.abs().max())
    assert float((turned - straight).abs().max()) > 1e-3 * scale
    assert float((mirrored - straight).abs().max()) > 1e-3 * scale
    hook = network.conv1.register_forward_pre_hook(lambda m, inputs: (inputs[0][:, :, swap],))
    assert torch.equal(network(clips), turned)
    hook.remove()


@torch.no_grad()
def test_only_every_other_block_looks_at_neighbouring_frames(narrow: None):
    """Changing the middle one of 5 frames changes that one, or its two neighbours as well."""
    network = lively()
    for stage, looks in LOOKS.items():
        for block, k in enumerate(looks):
            part = network.get_submodule(f"layer{stage}.{block}")
            torch.manual_seed(3)
            x = torch.rand(1, part.conv1.in_channels, 5, 4, 4)
            other = x.clone()
            other[:, :, 2] += 1
            changed = (part(x) != part(other)).any(-1).any(-1).any(1)[0].tolist()
            assert changed == [abs(t - 2) <= k // 2 for t in range(5)], (stage, block)


@torch.no_grad()
def test_features_are_the_last_two_stages(narrow: None):
    network, seen = lively(), []
    for stage in (network.layer3, network.layer4):
        stage.register_forward_hook(lambda m, i, out: seen.append(out))
    third, last = network.features(video())
    assert torch.equal(third, seen[0])
    assert torch.equal(last, seen[1])
    torch.testing.assert_close(network.fc(last.mean((2, 3, 4))), network(video()))


@pytest.mark.parametrize(("t", "h", "w"), [(6, 16, 16), (8, 4, 16), (8, 16, 4)])
def test_less_than_it_can_pool_is_said_in_a_sentence(narrow: None, t: int, h: int, w: int):
    network = lively()
    said = f"i3d_r50 needs clips of at least 7 frames of 5 x 5 px; these have {t} of {h} x {w}."
    with pytest.raises(BadInput, match=f"^{re.escape(said)}$"):
        network(video(1, t, h, w))
    with torch.no_grad():
        assert torch.isfinite(network(video(1, 7, 5, 5))).all()  # the least it can


def test_the_gradient_reaches_every_frame_and_the_first_convolution(narrow: None):
    network = lively()
    clips = video(1, 8, 32, 32).requires_grad_()
    network(clips).square().sum().backward()
    assert (clips.grad.abs().sum((0, 3, 4)) > 0).all()  # each colour of each frame
    assert network.conv1.weight.grad.abs().sum((1, 3, 4)).min() > 0  # each channel and frame


def test_dropout_is_of_the_share_asked_for_and_only_in_training(narrow: None):
    clips = video()
    for share in (0.0, 0.25, 0.5):
        network, given = i3d.classifier(i3d.Config(dropout=share), 3), []
        network.fc.register_forward_pre_hook(lambda m, inputs, given=given: given.append(inputs[0]))
        network.eval()
        assert torch.equal(network(clips), network(clips))
        network.drop.train()  # and nothing else, so that BatchNorm does not move
        for _ in range(20):
            network(clips)
        kept, *drawn = given[1:]
        there = kept != 0
        left_out = torch.stack([(x == 0)[there] for x in drawn]).float().mean()
        assert float(left_out) == pytest.approx(share, abs=0.04)
        for x in drawn:
            assert torch.allclose(x[x != 0], kept[x != 0] / (1 - share))


# Weights from a file

NORM = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}


def fair(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The blobs of FAIR's file, written from its naming scheme; no axis changes place."""
    blobs = {"conv1_w": state["conv1.weight"]}
    blobs |= {f"res_conv1_bn_{b}": state[f"bn1.{n}"] for n, b in NORM.items()}
    for stage, looks in LOOKS.items():
        for block in range(len(looks)):
            ours, theirs = f"layer{stage}.{block}", f"res{stage + 1}_{block}"
            parts = [(f"conv{k}", f"bn{k}", f"branch2{'abc'[k - 1]}") for k in (1, 2, 3)]
            if block == 0:
                parts.append(("downsample.0", "downsample.1", "branch1"))
            for conv, bn, branch in parts:
                blobs[f"{theirs}_{branch}_w"] = state[f"{ours}.{conv}.weight"]
                for n, b in NORM.items():
                    blobs[f"{theirs}_{branch}_bn_{b}"] = state[f"{ours}.{bn}.{n}"]
    blobs |= {"pred_w": state["fc.weight"], "pred_b": state["fc.bias"]}
    assert len(blobs) == sum("num_batches" not in key for key in state)
    return {name: value.numpy() for name, value in blobs.items()}


class Python2(pickle._Pickler):
    """Writes as Python 2 did, where text and bytes were one: so is FAIR's file written."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_text(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_text


def python2(value: object) -> bytes:
    Python2(file := BytesIO(), 2).dump(value)
    return file.getvalue().replace(b"numpy._core.", b"numpy.core.")


def loaded(path: Path, outputs: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(99)
    return i3d.classifier(i3d.Config(weights=str(path)), outputs).state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor], but: str = "num_batches") -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[key], other[key]) for key in one if but not in key
    )


def save(path: Path, blobs: object) -> Path:
    path.write_bytes(python2({"blobs": blobs}))
    return path


@torch.no_grad()
def test_both_files_give_the_network_that_was_saved(narrow: None, tmp_path: Path):
    network = lively(400)
    state = network.state_dict()
    torch.save(state, tmp_path / "whole.pth")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "wrapped.pth")
    older = {k: v for k, v in state.items() if "num_batches" not in k}
    torch.save(older, tmp_path / "older.pt", _use_new_zipfile_serialization=False)
    blobs = fair(state)
    rest = {name + "_momentum": np.full_like(value, 7) for name, value in blobs.items()}
    rest |= {"lr": np.ones(1, np.float32), "model_iter": 400_001}
    save(tmp_path / "fair.pkl", blobs | rest)

    clips = video(1)
    for name in ("whole.pth", "wrapped.pth", "older.pt", "fair.pkl"):
        assert same(loaded(tmp_path / name, 400), state), name
        again = i3d.classifier(i3d.Config(weights=str(tmp_path / name)), 400).eval()
        assert torch.equal(again(clips), network(clips)), name


def test_a_head_of_other_classes_is_left_out(narrow: None, tmp_path: Path):
    state = lively(400).state_dict()
    torch.save(state, tmp_path / "x.pth")
    save(tmp_path / "x.pkl", fair(state))
    torch.manual_seed(99)
    fresh = i3d.classifier(i3d.Config(), 3).state_dict()
    body = {key: value for key, value in state.items() if "fc." not in key}
    for name in ("x.pth", "x.pkl"):
        found = loaded(tmp_path / name)
        assert torch.equal(found["fc.weight"], fresh["fc.weight"])
        assert torch.equal(found["fc.bias"], fresh["fc.bias"])
        assert same({key: found[key] for key in body}, body)


def test_the_published_form_loads_at_full_size(full: nn.Module, tmp_path: Path):
    """i3d_r50_kinetics.pth holds these names and shapes; here each tensor is one number wide."""
    state = {
        key: torch.full((), 0.5 + 0.001 * k).expand(value.shape)
        for k, (key, value) in enumerate(full.state_dict().items())
        if "num_batches" not in key
    }
    torch.save(state, tmp_path / "i3d_r50_kinetics.pth")
    found = loaded(tmp_path / "i3d_r50_kinetics.pth", 101)
    assert found["fc.weight"].shape == (101, 2048)
    assert all(torch.equal(found[key], state[key]) for key in state if "fc." not in key)


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [(2, "<f4"), (3, "<f8"), (4, "<f4"), (4, ">f4"), (5, "<f4"), (5, ">f8")],
)
def test_every_form_of_pickled_array_is_read(
    narrow: None, tmp_path: Path, protocol: int, kind: str
):
    """Of any Python, any numpy, either byte order, in rows or in columns."""
    state = lively().state_dict()
    blobs = {name: np.asfortranarray(value.astype(kind)) for name, value in fair(state).items()}
    data = pickle.dumps({"blobs": blobs}, protocol)
    (tmp_path / "x.pkl").write_bytes(data)
    assert same(loaded(tmp_path / "x.pkl"), state)


class Runs:
    """Unpickled plainly, it makes a folder."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_file_that_runs_code_is_refused_and_runs_nothing(narrow: None, tmp_path: Path):
    trap = tmp_path / "made by the file"
    state = lively().state_dict()
    data = pickle.dumps({"blobs": fair(state) | {"lr": Runs(trap)}})
    pickle.loads(data)  # the trap works
    trap.rmdir()
    (tmp_path / "x.pkl").write_bytes(data)
    with pytest.raises(BadInput, match=r"x\.pkl asks to run posix\.mkdir, .*; nothing was run\."):
        loaded(tmp_path / "x.pkl")
    torch.save({**state, "more": Runs(trap)}, tmp_path / "x.pth")
    with pytest.raises(BadInput, match=r"x\.pth .*: it is damaged, or holds more than numbers; n"):
        loaded(tmp_path / "x.pth")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"c__builtin__\neval\n(S'1'\ntR.", "__builtin__.eval"),  # Python 2's name for it
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.", "numpy.ndarray.__class__"),
    ],
)
def test_every_other_name_is_refused(tmp_path: Path, narrow: None, data: bytes, named: str):
    (tmp_path / "x.pkl").write_bytes(data)
    with pytest.raises(BadInput, match=f"asks to run {re.escape(named)}, which weights never need"):
        loaded(tmp_path / "x.pkl")


def test_a_type_that_lies_is_never_shown_to_numpy(narrow: None, tmp_path: Path):
    for answer in restricted._ALLOWED.values():  # before reading: the fault would end the run
        assert answer.__module__ == restricted.__name__
    blobs = fair(lively().state_dict()) | {"conv1_w": LyingNumber()}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"blobs": blobs}))
    with pytest.raises(BadInput, match=r"conv1_w is not an array of floating-point numbers\.$"):
        loaded(tmp_path / "x.pkl")


def without(values: dict, *names: str) -> dict:
    return {name: value for name, value in values.items() if name not in names}


WRONG = {
    "missing": (lambda s: without(s, "layer2.1.bn2.running_var"), "it has no layer2.1.bn2.runn"),
    "two missing": (lambda s: without(s, "fc.bias", "layer1.0.conv1.weight"), "no layer1.0.conv1"),
    "strange": (lambda s: {**s, "layer2.1.nl.g.weight": s["fc.bias"]}, "has layer2.1.nl.g.weight"),
    "shape": (
        lambda s: {**s, "conv1.weight": s["conv1.weight"][:, :, :1]},
        r"conv1.weight has the shape (4, 3, 1, 7, 7), not (4, 3, 5, 7, 7)",
    ),
    "head": (
        lambda s: {**s, "fc.weight": torch.zeros(400, 64)},
        "fc.weight has the shape (400, 64), not (400, 128)",
    ),
    "half a head": (
        lambda s: {**s, "fc.bias": torch.zeros(399)},
        "fc.weight has the shape (400, 128), not (399, 128)",
    ),
    "integers": (
        lambda s: {**s, "bn1.bias": torch.zeros(4, dtype=torch.int64)},
        "bn1.bias is not an array of floating-point numbers",
    ),
    "list": (lambda s: list(s.values()), "it is not a dictionary of tensors"),
}


def refused(path: Path, said: str) -> None:
    whole = f"{path} is not a checkpoint of i3d_r50: "
    with pytest.raises(BadInput, match=rf"^{re.escape(whole)}.*{re.escape(said)}.*\.$"):
        loaded(path)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_state_dict_is_one_sentence(narrow: None, tmp_path: Path, name: str):
    spoil, said = WRONG[name]
    torch.save(spoil(dict(lively(400).state_dict())), tmp_path / "x.pth")
    refused(tmp_path / "x.pth", said)


WRONG_BLOBS = {
    "missing": (lambda b: without(b, "res3_1_branch2b_bn_riv"), "it has no res3_1_branch2b_bn_riv"),
    "shortcut": (lambda b: without(b, "res5_0_branch1_w"), "it has no res5_0_branch1_w"),
    "strange": (lambda b: {**b, "nonlocal_conv3_1_g_w": b["pred_b"]}, "has nonlocal_conv3_1_g_w"),
    "shape": (
        lambda b: {**b, "pred_w": b["pred_w"].T},
        "pred_w has the shape (128, 400), not (400, 128)",
    ),
    "integers": (lambda b: {**b, "pred_b": np.arange(400)}, "pred_b is not an array of floating"),
    "no array": (lambda b: {**b, "pred_b": [0.0] * 400}, "pred_b is not an array of floating"),
    "objects": (lambda b: {**b, "pred_b": np.array([None])}, "pred_b is not an array of floating"),
    "no blobs": (lambda b: [b], "it holds no dictionary of blobs"),
}


@pytest.mark.parametrize("name", WRONG_BLOBS)
def test_what_is_wrong_with_blobs_is_one_sentence(narrow: None, tmp_path: Path, name: str):
    spoil, said = WRONG_BLOBS[name]
    refused(save(tmp_path / "x.pkl", spoil(fair(lively(400).state_dict()))), said)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_said_to_be_damaged(narrow: None, tmp_path: Path, kept: float):
    state = lively().state_dict()
    torch.save(state, tmp_path / "zip.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save(tmp_path / "fair.pkl", fair(state))
    for name, said in (
        ("zip.pth", "it is damaged, or holds more than numbers"),
        ("old.pth", "it is damaged, or holds more than numbers"),
        ("fair.pkl", "it is not a whole pickle"),
    ):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: int(kept * len(data))])
        refused(tmp_path / name, said)


def test_a_file_that_is_not_there_is_named(narrow: None, tmp_path: Path):
    for path in (tmp_path / "none.pth", tmp_path / "none.pkl", tmp_path):
        said = f"No weights of i3d_r50 at {path}; name a file, or leave it empty."
        with pytest.raises(BadInput, match=f"^{re.escape(said)}$"):
            loaded(path)
