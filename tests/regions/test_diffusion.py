"""Drawing with a pipeline of diffusers: who is drawn, from what, and what is refused.

The contract of all that hides regions is in tests/contracts/test_region_anonymizers.py. What needs
the library is skipped where it is not installed; it draws with random weights.
"""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from regions import tiny_diffusion
from regions.tiny_diffusion import Lots, shell

from velatura import regions
from velatura.diffusers_folder import InpaintingPipeline
from velatura.errors import BadInput, Failure
from velatura.regions import Region, region_seed
from velatura.regions._crop import enlarged, shrunk, window
from velatura.regions.diffusion import Config, Diffusion

HEIGHT, WIDTH = 60, 80
ONE = Region((20, 10, 44, 50), "body", id=3)
FACE = Region((50, 5, 60, 15), "face", id=1)


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def by_lots(refuses: str | None = None, **values: Any) -> Diffusion:
    return Diffusion(Lots(refuses), Config(**{"size": 32, **values}))


# ------------------------------------------------------------------------- without the library


def test_regions_step_by_step():
    """All blank; each cut out, drawn by the lot of its seed, enlarged, and put where it was."""
    image, mask = picture(), np.zeros((40, 24), bool)
    mask[4:, 2:20] = True
    one, other = replace(ONE, mask=mask), Region((42, 20, 52, 44), "body", id=9)
    made = by_lots(context=0.2, prompt="a tall man", negative_prompt="a hat", steps=5, guidance=2.0)
    out = made(image, [other, one], seed=4, picture="a.jpg")
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    hidden[10:50, 20:44] = mask
    hidden[other.place] = True
    blank, expected = image.copy(), image.copy()
    blank[hidden] = 127
    for region, inside in ((one, mask), (other, np.ones((24, 10), bool))):
        there = window(region.box, HEIGHT, WIDTH, 0.2)
        lot = region_seed(4, "a.jpg", region)
        drawn = Lots().draw(shrunk(blank, there, 32), shrunk(hidden, there, 32), lot, "")
        expected[region.place][inside] = enlarged(drawn, there, region.box)[inside]
    np.testing.assert_array_equal(out, expected)
    for asked in made.painter.asked:
        said = asked["prompt"], asked["negative"], asked["steps"], asked["guidance"]
        assert said == ("a tall man", "a hat", 5, 2.0)


@pytest.mark.parametrize(("context", "side"), [(0.0, 22), (0.5, 30), (1.5, 50), (4.0, 60)])
def test_how_much_is_shown_beside_a_region(context, side):
    """Of a box of 10 x 20: at least a pixel on each side, at most the height of the picture."""
    assert window((30, 20, 40, 40), HEIGHT, WIDTH, context).side == side


def test_faces_and_bodies_are_asked_for_by_their_name():
    made = by_lots()
    made(picture(), [ONE, FACE], seed=1, picture="a")
    asked = {a["prompt"]: a["seed"] for a in made.painter.asked}
    assert asked == {
        "a photo of a person": region_seed(1, "a", ONE),
        "a photo of a face": region_seed(1, "a", FACE),
    }  # fmt: skip


def test_who_is_drawn_depends_on_seed_picture_and_id():
    image, made = picture(), by_lots()
    drawn = [
        made(image, [one], seed=seed, picture=name)[ONE.place]
        for one, seed, name in (
            (ONE, 0, "a.jpg"),
            (ONE, 1, "a.jpg"),
            (ONE, 0, "b.jpg"),
            (replace(ONE, id=4), 0, "a.jpg"),
        )
    ]
    for at, one in enumerate(drawn):
        for other in drawn[at + 1 :]:
            assert (one != other).any()


def test_one_region_is_drawn_without_a_look_at_another():
    """Neither at who is there, nor at what is drawn there; only where it is."""
    image, made = picture(), by_lots()
    other = Region((40, 20, 60, 55), "body", id=9)
    both = made(image, [ONE, other])
    for one, two, rows, columns in (
        (ONE, replace(other, id=1), slice(10, 50), slice(20, 40)),
        (replace(ONE, id=1), other, slice(20, 55), slice(44, 60)),  # drawn after the first
    ):
        changed = made(image, [one, two])
        np.testing.assert_array_equal(changed[rows, columns], both[rows, columns])
        assert (changed != both).any()
    assert (made(image, [ONE])[10:50, 20:40] != both[10:50, 20:40]).any()


def test_what_is_refused_and_whole_pictures_stay_grey():
    out = by_lots(refuses="a photo of a face")(picture(), [ONE, FACE])
    assert (out[FACE.place] == 127).all()
    assert (out[ONE.place] != 127).mean() > 0.9
    made = by_lots()
    assert (made(picture(), [Region((0, 0, WIDTH, HEIGHT), "frame")]) == 127).all()
    made.check("face", {})
    made.check("body", {"person": ("nose",)})
    with pytest.raises(BadInput, match="draws faces or bodies, and no whole pictures"):
        made.check("frame", {})


def test_settings_that_cannot_be():
    for wrong in ({"size": 33}, {"size": 24}, {"steps": 0}, {"dtype": "int8"}, {"device": "moon"}):
        (key,) = wrong
        with pytest.raises(BadInput, match=rf"diffusion\.{key}: "):
            regions.load("diffusion", **wrong)


# ------------------------------------------------------------------- folders that are refused


def refused(folder: Path) -> str:
    with pytest.raises(BadInput) as error:
        regions.load("diffusion", model=str(folder))
    return str(error.value)


def test_a_folder_is_asked_for(tmp_path):
    with pytest.raises(BadInput, match="name its folder, as method.model or by --model"):
        regions.load("diffusion")
    for folder in (tmp_path / "none", tmp_path):
        assert refused(folder) == (
            f"{folder} is no folder of an inpainting pipeline: model_index.json cannot be read (No "
            "such file or directory); `save_pretrained` of diffusers writes such a folder."
        )
    (tmp_path / "one.safetensors").touch()
    assert "model_index.json cannot be read (Not a dir" in refused(tmp_path / "one.safetensors")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "[" * 100_000, '{"_class_name": ["my", "Pipeline"]}', "{}"]
)
def test_an_index_that_is_none(tmp_path, text):
    (tmp_path / "model_index.json").write_text(text)
    assert "which is no inpainting pipeline that is known here: expected StableDiff" in refused(
        tmp_path
    )


def test_another_pipeline(tmp_path):
    folder = shell(tmp_path / "p", _class_name="StableDiffusionPipeline")
    assert refused(folder) == (
        f"{folder} holds 'StableDiffusionPipeline', which is no inpainting pipeline that is known "
        "here: expected StableDiffusionInpaintPipeline or StableDiffusionXLInpaintPipeline."
    )


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("unet", ["subprocess", "Popen"]),
        ("unet", ["my_unet", "UNet2DConditionModel"]),
        ("unet", ["diffusers", "UNet2DConditionModel", "more"]),
        ("scheduler", ["os", "DDIMScheduler"]),
        ("tokenizer", ["transformers", "pipeline"]),
        ("image_encoder", ["transformers", "CLIPVisionModelWithProjection"]),
        ("../vae", ["diffusers", "AutoencoderKL"]),
    ],
)
def test_an_index_that_names_other_classes(tmp_path, part, value):
    """Nothing that a folder names is imported but the parts of Stable Diffusion."""
    folder = shell(tmp_path / "p", **{part: value})
    assert refused(folder) == (
        f"{folder}/model_index.json wants {' '.join(value)!r} as {part!r}, which is no part of "
        "Stable Diffusion that is known here; nothing of it was loaded."
    )


def test_a_part_without_a_folder(tmp_path):
    folder = shell(tmp_path / "p")
    (folder / "scheduler").rmdir()
    assert refused(folder) == f"{folder} lacks the folder scheduler, which model_index.json names."


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_weights_that_may_hold_code(tmp_path, part):
    folder = shell(tmp_path / "p")
    (weights,) = (folder / part).iterdir()
    weights.rename(weights.with_suffix(".bin"))
    assert refused(folder) == (
        f"{folder}/{part} has no weights as {weights.name}, and other files, such as .bin, can "
        "hold code and are not read; save the pipeline anew by `save_pretrained(FOLDER, "
        "safe_serialization=True)`."
    )


def shards(folder: Path, part: str, said: Any) -> Path:
    """An index of shards in place of weights."""
    (weights,) = (folder / part).iterdir()
    weights.unlink()
    index = weights.with_name(f"{weights.name}.index.json")
    index.write_text(json.dumps(said))
    return index


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize(
    "name", ["m-00001-of-00001.bin", "../one.safetensors", "lost.safetensors", "a/b.safetensors", 3]
)
def test_an_index_of_shards_that_may_hold_code(tmp_path, part, name):
    """A pickle by another name: the libraries take whatever file the index names."""
    folder = shell(tmp_path / "p")
    index = shards(folder, part, {"weight_map": {"a": name}})
    (folder / "one.safetensors").touch()
    (folder / part / "m-00001-of-00001.bin").touch()
    (folder / part / "a").mkdir()
    (folder / part / "a/b.safetensors").touch()
    assert refused(folder) == (
        f"{index} names {str(name)!r} as weights; expected a file beside it that ends in "
        ".safetensors, since others can hold code."
    )


def test_an_index_of_shards(tmp_path, monkeypatch):
    """Beside whole weights, too, since diffusers prefers it; the digest is of the shards."""
    folder = shell(tmp_path / "p")
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text("[]")
    assert refused(folder).endswith("has no weight_map, which names the files of weights.")
    folder = shell(tmp_path / "q")
    index = shards(folder, "unet", {"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}})
    assert "names 'm-1.safetensors' as weights" in refused(folder)
    for number in (1, 2):
        (index.parent / f"m-{number}.safetensors").write_bytes(b"one")
    monkeypatch.setattr("velatura.diffusers_folder.NEEDS", ())
    made = InpaintingPipeline(folder)
    before = made.digest
    (index.parent / "m-2.safetensors").write_bytes(b"more")
    assert made.digest != before


@pytest.mark.parametrize("name", ["unet/diffusers.py", "scheduler/deep/a.py", "pipeline.py"])
def test_code_beside_weights(tmp_path, name):
    folder = shell(tmp_path / "p")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("raise SystemExit")
    assert refused(folder) == (
        f"{folder / name} is code beside weights; nothing of {folder} was loaded: take it out, if "
        "you trust the rest."
    )


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"attn_implementation": "a/b"}, "has attn_implementation = 'a/b', which can make transf"),
        ({"_attn_implementation": "flash_attention_2"}, "= 'flash_attention_2', which can make"),
        ({"x": [{"attn_implementation": {"": {"y": "a/b"}}}]}, "has attn_implementation = 'a/b'"),
        ({"experts_implementation": "a/b@v1:c"}, "take it out, or say sdpa or eager."),
        ({"quantization_config": {"quant_method": "a"}}, "has a quantization_config, which needs"),
    ],
)
def test_settings_that_fetch_code(tmp_path, said, says):
    """The libraries ask the package `kernels`, which fetches what is named from the net."""
    folder = shell(tmp_path / "p")
    (folder / "text_encoder/config.json").write_text(json.dumps(said))
    assert says in refused(folder)
    assert refused(folder).startswith(f"{folder}/text_encoder/config.json has ")


def test_settings_that_fetch_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("velatura.diffusers_folder.NEEDS", ())
    folder = shell(tmp_path / "p")
    said = {"attn_implementation": "sdpa", "_attn_implementation": None, "conv_in_kernel": 3}
    (folder / "unet/config.json").write_text(json.dumps(said))
    assert InpaintingPipeline(folder).name == "StableDiffusionInpaintPipeline"
    (folder / "unet/config.json").write_text("{")
    assert refused(folder) == f"{folder}/unet/config.json cannot be read, or is no JSON."
    (folder / "unet/config.json").unlink()
    (folder / "unet/adapter_config.json").write_text("{}")
    assert "is of an adapter, whose network lies elsewhere" in refused(folder)


@pytest.mark.parametrize("name", ["DPMSolverSDE", "CosineDPMSolverMultistep", "FlowMatchEuler"])
def test_schedulers_that_draw_by_other_lots(tmp_path, name):
    """The noise of torchsde is of the process, and not of the generator that the picture has."""
    folder = shell(tmp_path / "p", scheduler=["diffusers", f"{name}Scheduler"])
    said = refused(folder)
    assert f"wants the scheduler {name}Scheduler, with which the seed" in said
    assert "expected one of DDIM, DDPM, DEISMultistep, " in said


def test_without_the_library_it_says_so(tmp_path, monkeypatch):
    folder = shell(tmp_path / "p")
    said = (
        'diffusion needs diffusers: pip install "velatura[diffusion]", or choose another --method.'
    )
    for library in ("diffusers", "transformers"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, library, None)
            assert refused(folder) == said


# --------------------------------------------------------------------------- with the library


@pytest.fixture
def diffusers() -> Any:
    pytest.importorskip("transformers", reason="the extra diffusion is not installed")
    return pytest.importorskip("diffusers", reason="the extra diffusion is not installed")


def blank(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(32, 32, 3) noise, and a hole in it."""
    hidden = np.zeros((32, 32), bool)
    hidden[6:26, 10:22] = True
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8), hidden


def test_it_begins_with_noise_whatever_is_hidden(diffusion_folder):
    """Even what is not painted over first does not show: strength 1, and a mask the right way."""
    painter = InpaintingPipeline(diffusion_folder, "cpu")
    shown, hidden = blank()
    other = np.where(hidden[..., None], 255 - shown, shown)
    around = np.where(hidden[..., None], shown, 255 - shown)
    first, *rest = (painter.draw(p, hidden, 5, "ab", steps=2) for p in (shown, other, around))
    assert (first.shape, first.dtype) == (shown.shape, np.uint8)
    np.testing.assert_array_equal(rest[0], first)
    assert (rest[1] != first).any()


def test_each_seed_draws_somebody_else_and_the_same_again(diffusion_folder):
    """Of one process, and of another that drew others before."""
    painter, later = (InpaintingPipeline(diffusion_folder, "cpu") for _ in range(2))
    shown, hidden = blank()
    drawn = [painter.draw(shown, hidden, seed, "ab", steps=2) for seed in (0, 2**64 - 1)]
    assert (drawn[0] != drawn[1]).any()
    later.draw(*blank(1), 7, "xyz", steps=3)
    for seed, known in zip((2**64 - 1, 0), drawn[::-1], strict=True):
        np.testing.assert_array_equal(later.draw(shown, hidden, seed, "ab", steps=2), known)


def test_settings_reach_the_pipeline(diffusion_folder):
    painter = InpaintingPipeline(diffusion_folder, "cpu")
    plain = {"seed": 1, "prompt": "ab", "negative": "", "steps": 2, "guidance": 4.0}
    changed = [{"prompt": "cd"}, {"negative": "cd"}, {"steps": 3}, {"guidance": 1.0}]
    drawn = [painter.draw(*blank(), **(plain | change)) for change in [{}, *changed]]
    for at, one in enumerate(drawn):
        for other in drawn[at + 1 :]:
            assert (one != other).any()


def test_it_is_loaded_once_and_without_the_net(diffusion_folder, monkeypatch):
    import diffusers

    def no(*_: Any, **__: Any) -> None:
        raise AssertionError("something asks the net")

    loads = []
    pipeline = diffusers.StableDiffusionInpaintPipeline
    whole = pipeline.from_pretrained
    monkeypatch.setattr(
        pipeline, "from_pretrained", lambda *a, **b: loads.append(b) or whole(*a, **b)
    )
    monkeypatch.setattr(socket.socket, "connect", no)
    monkeypatch.setattr(socket, "getaddrinfo", no)
    made = regions.load("diffusion", model=str(diffusion_folder), size=32, steps=1)
    assert loads == []
    for seed in range(2):
        made(picture(), [ONE, FACE], seed=seed)
    assert [(b["local_files_only"], b["use_safetensors"]) for b in loads] == [(True, True)]


def test_the_folders_own_safety_checker_is_asked(diffusers, tmp_path):
    folder = tiny_diffusion.write(tmp_path / "p", refuses=True)
    made = regions.load("diffusion", model=str(folder), size=32, steps=1)
    assert (made(picture(), [ONE])[ONE.place] == 127).all()


def test_stable_diffusion_xl_draws_too(diffusers, tmp_path):
    painter = InpaintingPipeline(tiny_diffusion.write(tmp_path / "p", xl=True), "cpu")
    one, other = (painter.draw(*blank(), seed, "ab", "cd", steps=2) for seed in (0, 1))
    assert one.shape == (32, 32, 3)
    assert (one != other).any()


def test_weights_in_half_precision_only(diffusers, tmp_path):
    painter = InpaintingPipeline(tiny_diffusion.write(tmp_path / "p", variant="fp16"), "cpu")
    assert painter.draw(*blank(), 0, "ab", steps=1) is not None
    assert painter.device == ("cpu", "float32")


def test_damaged_weights_are_one_sentence_and_tried_once(diffusers, tmp_path, monkeypatch):
    painter = InpaintingPipeline(shell(tmp_path / "p"), "cpu")
    for _ in range(2):
        with pytest.raises(Failure, match=r"p cannot be loaded by diffusers: [^\n]+[^ .]\.$"):
            painter.draw(*blank(), 0, "ab")
        monkeypatch.setattr("velatura.diffusers_folder._quiet", None)  # would break a second try


def test_values_that_are_no_numbers_are_not_drawn(diffusion_folder):
    painter = InpaintingPipeline(diffusion_folder, "cpu")
    painter.draw(*blank(), 0, "ab", steps=1)
    painter._pipeline.vae.decoder.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(Failure, match=r"not a number; try method\.dtype=float32"):
        painter.draw(*blank(), 0, "ab", steps=1)
    with pytest.raises(Failure, match="The inpainting pipeline broke: .*divisible by"):
        painter.draw(np.zeros((33, 33, 3), np.uint8), np.ones((33, 33), bool), 0, "ab")


def test_a_gpu_that_is_not_there(diffusion_folder, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    painter = InpaintingPipeline(diffusion_folder, "cuda")
    with pytest.raises(BadInput, match="method.device is cuda, and torch finds no NVIDIA GPU"):
        _ = painter.device
    assert InpaintingPipeline(diffusion_folder).device == ("cpu", "float32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert InpaintingPipeline(diffusion_folder).device == ("cuda", "float16")
    assert InpaintingPipeline(diffusion_folder, "cpu", "bfloat16").device == ("cpu", "bfloat16")


def test_the_record_names_the_pipeline(diffusers, tmp_path):
    """The digest is of what is read: other files do not change it, and one setting does."""
    folder = shell(tmp_path / "p")
    made = regions.load("diffusion", model=str(folder), device="cpu")
    about = made.describe()
    assert about["reads_region"] is False
    digest = about["network"].pop("digest")
    assert about["network"] == {
        "pipeline": "StableDiffusionInpaintPipeline", "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    (folder / "unet/old.bin").write_bytes(b"a pickle")
    (folder / "README.md").write_text("more")
    assert made.painter.digest == digest
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"steps_offset": 1}))
    assert made.painter.digest != digest
