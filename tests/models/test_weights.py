"""Weights of a user: they arrive under the public key names, or one sentence says why not."""

from __future__ import annotations

import builtins
import logging
import math
import os
import pickle
import re
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from velatura import plugins
from velatura.errors import BadInput
from velatura.models import _weights

# A frame network keeps its encoder apart from its head; both are one file in public.
TIMM = {"vit": ("vit_tiny_patch16_224", "head"), "convnext": ("convnext_atto", "head.fc")}
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
HEADS = {name: "fc" for name in RESNETS} | {name: head for name, (_, head) in TIMM.items()}

# Names that the public files of each network are known to have.
PUBLIC = {
    "resnet34": "conv1.weight bn1.running_mean layer3.5.conv2.weight layer4.0.downsample.1.bias "
    "fc.weight",
    "resnet152": "layer3.35.bn3.weight layer1.0.downsample.0.weight fc.bias",
    "r3d_18": "stem.0.weight stem.1.bias layer1.0.conv1.0.weight layer2.0.downsample.0.weight "
    "layer4.1.conv2.1.running_var fc.weight",
    "r2plus1d_18": "stem.0.weight stem.3.weight layer1.0.conv1.0.0.weight "
    "layer1.0.conv1.0.3.weight layer4.1.conv2.1.weight fc.bias",
    "mvit_v2_s": "conv_proj.weight pos_encoding.class_token blocks.0.attn.rel_pos_h "
    "blocks.15.attn.pool_q.pool.weight blocks.3.attn.qkv.bias blocks.14.mlp.3.weight norm.weight "
    "head.1.weight",
    "c3d": "conv1.weight conv2.bias conv3a.weight conv3b.weight conv4a.weight conv4b.weight "
    "conv5a.weight conv5b.bias fc6.weight fc7.bias fc8.weight",
    "i3d_r50": "conv1.weight layer3.5.conv3.weight layer4.0.downsample.0.weight fc.weight",
    "unet": "inc.double_conv.0.weight inc.double_conv.1.running_var "
    "down4.maxpool_conv.1.double_conv.4.weight up1.conv.double_conv.3.weight outc.conv.weight",
    "unetpp_resnet18": "encoder.conv1.weight encoder.layer3.1.bn2.weight "
    "decoder.blocks.x_0_0.conv1.0.weight decoder.blocks.x_0_3.conv2.1.running_mean "
    "segmentation_head.0.weight",
    "vit": "cls_token pos_embed patch_embed.proj.weight blocks.11.attn.qkv.weight "
    "blocks.0.mlp.fc2.bias norm.weight head.weight",
    "convnext": "stem.0.weight stages.0.blocks.0.conv_dw.weight stages.1.downsample.1.weight "
    "stages.3.blocks.0.gamma stages.0.blocks.0.mlp.fc1.weight head.norm.weight head.fc.bias",
}
# Of another size than the public one, where that changes no name: files of a few MB.
SMALL: dict[str, dict[str, Any]] = {
    "c3d": {"adapt": True},
    "unet": {"width": 4},
    "vit": {"variant": "vit_tiny_patch16_224"},
    "convnext": {"variant": "convnext_atto"},
}


def built(name: str, outputs: int = 5, seed: int = 0, **options: Any) -> nn.Module:
    """A network in the role in which it has most of its weights."""
    module = plugins.load("models", name)
    torch.manual_seed(seed)
    config = module.Config(**{**SMALL.get(name, {}), **options})
    if hasattr(module, "classifier"):
        network: nn.Module = module.classifier(config, outputs)
    else:
        network = module.anonymizer(config)
    return network.eval()


def public(name: str, network: nn.Module) -> dict[str, Tensor]:
    """Its weights as published: under the names of the authors or of the library."""
    if name in HEADS:
        state = dict(network.encoder.net.state_dict())
        return state | {f"{HEADS[name]}.{k}": v for k, v in network.head.state_dict().items()}
    if name in ("r3d_18", "r2plus1d_18", "mvit_v2_s", "unet"):
        return dict(network.net.state_dict())
    if name == "unetpp_resnet18":
        return dict(network.net.net.state_dict())
    return dict(network.state_dict())


def marked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor one number wide, and no two alike: the file stays small."""
    return {
        key: torch.full((), 0.5 + 0.001 * k).expand(value.shape)
        if value.is_floating_point()
        else value
        for k, (key, value) in enumerate(state.items())
    }


def given(name: str, t: int = 4, side: int = 32) -> Tensor:
    draw = torch.Generator().manual_seed(2)
    return torch.rand(2, {"c3d": 8, "i3d_r50": 8}.get(name, t), 3, side, side, generator=draw)


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said before; and how fresh weights are drawn, which takes seconds."""
    _weights._note.cache_clear()

    def quick(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *_: Any, **__: Any) -> Tensor:
        return nn.init.normal_(tensor, mean, std)

    monkeypatch.setattr(nn.init, "trunc_normal_", quick)


# They arrive


@pytest.mark.parametrize("name", PUBLIC)
def test_key_names_are_the_public_ones(name: str):
    with torch.device("meta"):
        assert set(PUBLIC[name].split()) <= set(public(name, built(name)))


@pytest.mark.parametrize("name", [n for n in PUBLIC if n not in ("resnet152", "c3d", "i3d_r50")])
@torch.no_grad()
def test_what_was_saved_is_what_is_loaded(name: str, tmp_path: Path):
    """Equal outputs, through each kind of file."""
    network = built(name, seed=1)
    state = public(name, network)
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "x.safetensors")
    wrapped = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(wrapped, tmp_path / "wrapped.pth")
    expected = network(given(name))
    for file in ("x.safetensors", "wrapped.pth"):
        again = built(name, weights=str(tmp_path / file))
        assert torch.equal(again(given(name)), expected), file


def test_a_file_of_c3d_in_either_form(tmp_path: Path):
    """The second numbers its layers, and has no head."""
    names = ["conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b"]
    numbers = [f"features.{n}" for n in (0, 3, 6, 8, 11, 13, 16, 18)]
    with torch.device("meta"):
        shapes = built("c3d", 487).state_dict()
    state = marked({k: torch.empty(v.shape) for k, v in shapes.items()})
    torch.save(state, tmp_path / "c3d.pickle")
    called = dict(zip(names, numbers, strict=True)) | {"fc6": "classifier.0", "fc7": "classifier.3"}
    other = {}
    for key, value in state.items():
        module, kind = key.split(".")
        if module in called:
            other[f"{called[module]}.{kind}"] = value
    torch.save(other, tmp_path / "numbered.pth")
    for file in ("c3d.pickle", "numbered.pth"):
        found = built("c3d", 3, weights=str(tmp_path / file)).state_dict()
        assert all(torch.equal(found[k], state[k]) for k in state if "fc8" not in k), file
        assert found["fc8.weight"].shape == (3, 4096)
    kept = built("c3d", 487, weights=str(tmp_path / "c3d.pickle")).state_dict()
    assert torch.equal(kept["fc8.weight"], state["fc8.weight"])


def test_fair_s_names_of_a_convnext(tmp_path: Path):
    network = built("convnext", seed=1)
    theirs = {}
    for key, value in public("convnext", network).items():
        name = re.sub(r"^stem\.", "downsample_layers.0.", key)
        name = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
        name = re.sub(r"^stages\.(\d)\.blocks\.", r"stages.\1.", name)
        name = name.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        name = name.replace("head.norm", "norm").replace("head.fc", "head")
        # The library's smaller variants convolve with 1 x 1 where FAIR multiplies.
        theirs[name] = value[:, :, 0, 0] if "pwconv" in name and value.ndim == 4 else value
    assert "stages.0.0.pwconv1.weight" in theirs
    torch.save({"model": theirs}, tmp_path / "convnext.pth")
    again = built("convnext", weights=str(tmp_path / "convnext.pth"))
    with torch.no_grad():
        assert torch.equal(again(given("convnext")), network(given("convnext")))


@torch.no_grad()
def test_an_older_u_net_has_biases_that_its_batchnorm_takes_away(tmp_path: Path):
    network = built("unet", seed=1, quantize=False)
    state = public("unet", network)
    for key in list(state):
        if key.endswith(("double_conv.0.weight", "double_conv.3.weight")):
            bias = torch.randn(len(state[key]))
            at = key.removesuffix("weight")
            mean = f"{at[:-2]}{int(at[-2]) + 1}.running_mean"
            state |= {f"{at}bias": bias, mean: state[mean] + bias}
    torch.save(state, tmp_path / "old.pth")
    again = built("unet", weights=str(tmp_path / "old.pth"), quantize=False)
    torch.testing.assert_close(again(given("unet")), network(given("unet")), atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_encoder_alone_of_the_paper_s_anonymizer(tmp_path: Path):
    resnet = built("resnet18", 1000, seed=1)
    torch.save(public("resnet18", resnet), tmp_path / "resnet18.pth")
    found = built("unetpp_resnet18", weights=str(tmp_path / "resnet18.pth")).net.net
    theirs = resnet.encoder.net.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in found.encoder.state_dict().items())


# The head


@pytest.mark.parametrize("name", ["resnet18", "r3d_18", "vit", "convnext"])
def test_a_head_of_as_many_classes_stays_and_another_is_left_aside_and_said(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    state = public(name, built(name, seed=1))
    path = str(tmp_path / "x.pth")
    torch.save(state, path)
    at = {"r3d_18": "fc"}.get(name) or HEADS[name]
    head = public(name, built(name, weights=path))[f"{at}.weight"]
    assert torch.equal(head, state[f"{at}.weight"])
    assert not caplog.records
    for _ in range(2):
        other = built(name, 3, weights=path)
    assert public(name, other)[f"{at}.weight"].shape == (3, head.shape[1])
    assert [record.message for record in caplog.records] == [
        f"{path}: its head of 5 classes is left aside; {name} starts with a fresh one of 3."
    ]
    assert caplog.records[0].name == "velatura"
    bare = {key: value for key, value in state.items() if not key.startswith(at)}
    torch.save(bare, tmp_path / "bare.pth")
    built(name, 3, weights=str(tmp_path / "bare.pth"))
    assert "bare.pth: it has no head; " in caplog.records[-1].message


def test_an_encoder_has_no_head_to_speak_of(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    torch.save(public("resnet18", built("resnet18", seed=1)), tmp_path / "x.pth")
    module = plugins.load("models", "resnet18")
    encoder = module.encoder(module.Config(weights=str(tmp_path / "x.pth")))
    assert not any("fc" in key for key in encoder.state_dict())
    with caplog.at_level(logging.DEBUG):
        assert not caplog.records


# What is wrong is one sentence


def refused(name: str, path: Path | str, said: str, outputs: int = 5, **options: Any) -> None:
    with torch.device("meta"), pytest.raises(BadInput, match=rf"^{said}$"):
        built(name, outputs, weights=str(path), **options)


@pytest.mark.parametrize("name", ["resnet18", "r3d_18", "mvit_v2_s", "c3d", "unet", "vit"])
def test_what_is_missing_and_what_is_there_besides_is_counted_and_named(name: str, tmp_path: Path):
    with torch.device("meta"):
        shapes = public(name, built(name))
    state = marked({k: torch.empty(v.shape, dtype=v.dtype) for k, v in shapes.items()})
    mine = [key for key in state if "num_batches" not in key]
    wanted = len(mine) - 2 * (name in HEADS)  # frame networks get their head afterwards
    path, is_not = tmp_path / "x.pth", rf"{re.escape(str(tmp_path / 'x.pth'))} is not a checkpoint"
    less = {key: value for key, value in state.items() if key not in mine[:5]}
    torch.save(less, path)
    first = re.escape(", ".join(mine[:3]))
    refused(
        name, path, rf"{is_not} of {name}: it has no {first} and 2 more "
        rf"\(5 of {wanted} tensors\)\.",
    )  # fmt: skip
    torch.save({**state, "more.weight": torch.zeros(2)}, path)
    refused(name, path, rf"{is_not} of {name}: it has more\.weight besides\.")
    torch.save({**state, mine[0]: torch.zeros(1, 2, 3)}, path)
    shape = re.escape(str(tuple(state[mine[0]].shape)))
    key = re.escape(mine[0])
    refused(name, path, rf"{is_not} of {name}: {key} has the shape \(1, 2, 3\), not {shape}\.")
    torch.save({**state, mine[0]: torch.zeros(state[mine[0]].shape, dtype=torch.int64)}, path)
    said = rf"{is_not} of {name}: {key} is not an array of floating-point numbers\."
    refused(name, path, said)


@pytest.mark.parametrize("strange", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_named(strange: float, tmp_path: Path):
    state = public("resnet18", built("resnet18"))
    state["bn1.weight"][3] = strange
    save_file(state, tmp_path / "x.safetensors")
    said = r".* of resnet18: bn1\.weight holds values that are no numbers\."
    refused("resnet18", tmp_path / "x.safetensors", said)


def test_a_checkpoint_of_another_network_is_called_by_its_name(tmp_path: Path):
    """Of every network, read by one that it is not of."""
    for name in PUBLIC:
        with torch.device("meta"):
            shapes = public(name, built(name))
        state = marked({k: torch.empty(v.shape, dtype=v.dtype) for k, v in shapes.items()})
        assert _weights.looks_like(state) == name
        torch.save(state, tmp_path / f"{name}.pth")
    for reader in ("resnet50", "c3d", "unet", "vit", "convnext", "r2plus1d_18"):
        for name in PUBLIC:
            if name != reader:
                said = rf".*{name}\.pth is not a checkpoint of {reader}: .*; it looks like one of "
                refused(reader, tmp_path / f"{name}.pth", rf"{said}{name}\.")
    strange = {"weight": torch.zeros(2)}
    torch.save(strange, tmp_path / "strange.pth")
    refused("resnet18", tmp_path / "strange.pth", r".*it has no conv1\.weight, .* besides\.")


class Runs:
    """Unpickled plainly, it makes a folder."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["resnet18", "r3d_18", "mvit_v2_s", "c3d", "unet", "vit"])
def test_a_file_that_would_run_code_runs_nothing(name: str, tmp_path: Path):
    trap, path = tmp_path / "made by the file", tmp_path / "x.pth"
    torch.save({"conv1.weight": torch.zeros(2), "more": Runs(trap)}, path)
    torch.load(path, weights_only=False)  # the trap works
    trap.rmdir()
    said = rf".*x\.pth is not a checkpoint of {name}: it is damaged, or holds more than numbers; "
    refused(name, path, said + r"nothing of it was run\.")
    assert not trap.exists()


def test_files_that_are_no_state_dicts(tmp_path: Path):
    damaged = r".*it is damaged, or holds more than numbers; nothing of it was run\."
    for file in ("x.pth", "x.safetensors", "x.pkl"):
        (tmp_path / file).write_bytes(b"no weights")
        refused("resnet18", tmp_path / file, damaged)
    with (tmp_path / "new.pkl").open("wb") as file:
        pickle.dump(Runs(tmp_path / "trap"), file, protocol=4)
    with warnings.catch_warnings(record=True) as more:  # one sentence is all
        warnings.simplefilter("always")
        refused("resnet18", tmp_path / "new.pkl", damaged)
    assert not more
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    refused("resnet18", tmp_path / "list.pth", r".*it is not a dictionary of tensors\.")


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_path_that_is_not_there_is_named(name: str, tmp_path: Path):
    for path in (tmp_path / "none.pth", tmp_path / "none.safetensors", tmp_path, "none.pt"):
        said = f"No weights of {name} at {path}; name a file, or leave it empty."
        refused(name, path, re.escape(said))


# Without a connection


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No name is resolved, and nothing is here from before; the names that were asked for."""
    from huggingface_hub import constants

    asked: list[str] = []

    def nowhere(host: Any, *rest: Any, **more: Any) -> Any:
        asked.append(host.decode() if isinstance(host, bytes) else str(host))
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return asked


OFFLINE = {
    "resnet34": ("DEFAULT", "download.pytorch.org"),
    "resnet152": ("IMAGENET1K_V2", "download.pytorch.org"),
    "r2plus1d_18": ("KINETICS400_V1", "download.pytorch.org"),
    "mvit_v2_s": ("DEFAULT", "download.pytorch.org"),
    "vit": ("DEFAULT", "huggingface.co"),
    "convnext": ("fb_in1k", "huggingface.co"),
    "unetpp_resnet18": ("imagenet", "huggingface.co"),
    "c3d": ("hub:somebody/c3d", "huggingface.co"),
    "i3d_r50": ("hub:somebody/i3d/weights.pth@v1", "huggingface.co"),
    "unet": ("hf_hub:somebody/unet", "huggingface.co"),
}


@pytest.mark.parametrize("name", OFFLINE)
def test_without_a_connection_one_sentence_says_so(
    name: str, offline: list[str], capsys: pytest.CaptureFixture[str]
):
    weights, host = OFFLINE[name]
    small = {"vit": {}, "convnext": {"variant": "convnext_tiny"}}.get(name, {})
    with torch.device("meta"), pytest.raises(BadInput) as caught:
        built(name, 5, weights=weights, **small)
    said = str(caught.value)
    assert re.fullmatch(
        rf"Could not get the weights '[\w:/.@]+' of [\w' ]+: no connection to {re.escape(host)} "
        r"\([^\n]+\)\. Connect once, name a file that is here, or leave it empty\.",
        said,
    ), said
    assert host in offline
    assert caught.value.__cause__ is None  # no traceback of a library behind it
    assert capsys.readouterr().out == ""  # stdout may be somebody's JSON


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet34", "torchvision has IMAGENET1K_V1, DEFAULT"),
        ("r2plus1d_18", "torchvision has KINETICS400_V1, DEFAULT"),
        ("vit", r"timm has DEFAULT, augreg_in21k, augreg_in21k_ft_in1k"),
        ("unetpp_resnet18", "the library has imagenet, ssl, swsl"),
    ],
)
def test_a_name_that_the_library_has_not_is_answered_with_those_it_has(
    name: str, said: str, offline: list[str]
):
    with torch.device("meta"), pytest.raises(BadInput) as caught:
        built(name, 5, weights="IMAGENET2K")
    found = str(caught.value)
    assert re.fullmatch(
        rf"Could not get .*'IMAGENET2K'.*: {said}\. Take .* leave it empty\.", found
    )
    assert not offline  # a wrong name asks nobody


def test_a_hub_id_that_is_none(offline: list[str], monkeypatch: pytest.MonkeyPatch):
    said = r"weights = 'hub:alone' names no repository: write hub:OWNER/NAME\."
    refused("c3d", "hub:alone", said, adapt=True)
    plain = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    refused("unet", "hub:a/b", r"weights = 'hub:a/b' needs the package huggingface_hub: .*")
    assert not offline


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str | None]]:
    """The connection alone is replaced: what was asked for, and the files of a folder."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    asked: list[tuple[str, str, str | None]] = []

    def download(repo: str, file: str, revision: str | None = None) -> str:
        asked.append((repo, file, revision))
        if not (tmp_path / file).exists():
            raise errors.EntryNotFoundError("no such file")
        return str(tmp_path / file)

    class Session:
        def head(self, url: str, timeout: float) -> None:
            assert url == constants.ENDPOINT

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", Session)
    return asked


def test_a_repository_of_the_hub_is_read_like_a_file(
    hub: list[tuple[str, str, str | None]], tmp_path: Path
):
    network = built("unet", seed=1)
    (tmp_path / "some").mkdir()
    save_file(public("unet", network), tmp_path / "some" / "file.safetensors")
    torch.save(public("unet", network), tmp_path / "pytorch_model.bin")
    for weights in ("hub:somebody/unet", "hf_hub:somebody/unet/some/file.safetensors@v2"):
        again = built("unet", weights=weights)
        assert all(torch.equal(v, network.state_dict()[k]) for k, v in again.state_dict().items())
    assert hub == [
        ("somebody/unet", "model.safetensors", None),
        ("somebody/unet", "pytorch_model.bin", None),
        ("somebody/unet", "some/file.safetensors", "v2"),
    ]
    said = "The hub's somebody/unet holds no other.pth; name the file: hub:OWNER/NAME/FILE."
    refused("unet", "hub:somebody/unet/other.pth", re.escape(said))


def test_the_library_s_names_lead_to_its_repositories(
    hub: list[tuple[str, str, str | None]], tmp_path: Path
):
    """Of the variant's own tag, under the names that the file has there."""
    network = built("vit", 1000, seed=1)
    save_file(public("vit", network), tmp_path / "model.safetensors")
    for weights in ("DEFAULT", "augreg_in21k_ft_in1k", "augreg_in21k"):
        again = built("vit", 1000, weights=weights)
        assert all(torch.equal(v, network.state_dict()[k]) for k, v in again.state_dict().items())
    repo = "timm/vit_tiny_patch16_224.augreg_in21k"
    assert [asked[0] for asked in hub] == [f"{repo}_ft_in1k", f"{repo}_ft_in1k", repo]
    encoder = built("resnet18", 1000, seed=1).encoder.net.state_dict()
    save_file(encoder, tmp_path / "model.safetensors")
    found = built("unetpp_resnet18", weights="imagenet").net.net.encoder.state_dict()
    assert all(torch.equal(v, encoder[k]) for k, v in found.items())
    assert hub[-1][0] == "smp-hub/resnet18.imagenet"


def test_torchvision_s_names_lead_to_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file in its cache is taken as it is, and nothing of it is run."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    path = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    network = built("resnet18", 1000, seed=1)
    torch.save(public("resnet18", network), path)
    for weights in ("DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"):
        again = built("resnet18", 1000, weights=weights)
        assert all(torch.equal(v, network.state_dict()[k]) for k, v in again.state_dict().items())
    torch.save({"more": Runs(tmp_path / "trap")}, path)
    refused("resnet18", "DEFAULT", r".*f37072fd\.pth is not .*: it is damaged, or .* run\.")
    assert not (tmp_path / "trap").exists()
