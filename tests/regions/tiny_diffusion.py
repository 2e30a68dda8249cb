"""The smallest inpainting pipelines, untrained, as folders; and what draws without any library."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np

from velatura.diffusers_folder import InpaintingPipeline

PLACES = 24  # tokens of a prompt


class Lots(InpaintingPipeline):
    """Draws the lot of its seed, brighter by what it is shown; remembers what it is asked.

    Any bit of a picture is in any pixel that is drawn of it.

    Args:
        refuses: a prompt that it does not draw.
    """

    digest, device = "sha256:0", ("cpu", "float32")  # type: ignore[assignment]

    def __init__(self, refuses: str | None = None):
        self.name, self.refuses, self.asked = "Lots", refuses, list[dict[str, Any]]()

    def draw(
        self,
        picture: np.ndarray,
        hidden: np.ndarray,
        seed: int,
        prompt: str,
        negative: str = "",
        steps: int = 30,
        guidance: float = 7.5,
    ) -> np.ndarray | None:
        self.asked.append({key: value for key, value in locals().items() if key != "self"})
        if prompt == self.refuses:
            return None
        noise = np.random.default_rng(seed).integers(0, 128, picture.shape, np.uint8)
        return noise + np.uint8(int(picture.sum()) % 97)


def shell(folder: Path, **changes: Any) -> Path:
    """A folder with all that is looked at, and no library will load.

    Args:
        changes: of model_index.json; None takes a key out.
    """
    parts = {
        "vae": ["diffusers", "AutoencoderKL"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
        "requires_safety_checker": False,
        "_ignore_files": ["a", "b"],
    }
    said = {"_class_name": "StableDiffusionInpaintPipeline", **parts, **changes}
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        (folder / part).mkdir(parents=True)
        stem = {"vae": "diffusion_pytorch_model", "unet": "diffusion_pytorch_model"}.get(part)
        stem = "model" if part == "text_encoder" else stem
        if stem:
            (folder / part / f"{stem}.safetensors").write_bytes(b"\x02" + 7 * b"\x00" + b"{}")
    said = {key: value for key, value in said.items() if value is not None}
    (folder / "model_index.json").write_text(json.dumps(said))
    return folder


def write(folder: Path, *, xl: bool = False, refuses: bool = False, variant: str = "") -> Path:
    """A pipeline of random weights, of pictures of 32 pixels; it needs diffusers.

    Args:
        xl: of Stable Diffusion XL.
        refuses: with a safety checker to which nothing is safe.
    """
    from velatura.torchvision_guard import ensure

    ensure()
    import diffusers
    import torch
    import transformers

    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    words = folder.with_name(f"{folder.name}.words")
    words.mkdir(parents=True)
    letters = string.ascii_lowercase
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    (words / "vocab.json").write_text(json.dumps({token: at for at, token in enumerate(tokens)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    files = str(words / "vocab.json"), str(words / "merges.txt")
    tokenizer = transformers.CLIPTokenizer(*files, model_max_length=PLACES)
    text = transformers.CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=PLACES, projection_dim=16,
        bos_token_id=len(tokens) - 2, eos_token_id=len(tokens) - 1, pad_token_id=len(tokens) - 1,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, sample_size=32,
    )  # fmt: skip
    # Of XL: text of both encoders, and the vector of the second with six numbers of 8 each.
    more: dict[str, Any] = {
        "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 16 + 6 * 8,
    } if xl else {}  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=16, in_channels=9, out_channels=4, block_out_channels=(8, 16),
        layers_per_block=1, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=4,
        cross_attention_dim=32 if xl else 16, attention_head_dim=4, **more,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
    parts = {"vae": vae, "unet": unet, "scheduler": scheduler, "tokenizer": tokenizer}
    if xl:
        made = diffusers.StableDiffusionXLInpaintPipeline(
            **parts, text_encoder=transformers.CLIPTextModel(text), tokenizer_2=tokenizer,
            text_encoder_2=transformers.CLIPTextModelWithProjection(text),
        )  # fmt: skip
    else:
        made = diffusers.StableDiffusionInpaintPipeline(
            **parts, text_encoder=transformers.CLIPTextModel(text),
            **(_checker() if refuses else {"safety_checker": None, "feature_extractor": None}),
            requires_safety_checker=refuses,
        )  # fmt: skip
    made.save_pretrained(folder, safe_serialization=True, variant=variant or None)
    return folder


def _checker() -> dict[str, Any]:
    """A safety checker with thresholds below any likeness."""
    import transformers
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    small = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "projection_dim": 16,
    }  # fmt: skip
    config = transformers.CLIPConfig(
        text_config=small, vision_config=small | {"image_size": 32, "patch_size": 8},
        projection_dim=16,
    )  # fmt: skip
    checker = StableDiffusionSafetyChecker(config)
    checker.concept_embeds_weights.data.fill_(-2)
    side = {"height": 32, "width": 32}
    look = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side)
    return {"safety_checker": checker, "feature_extractor": look}
