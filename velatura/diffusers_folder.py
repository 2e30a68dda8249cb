"""A folder of an inpainting pipeline, as ``save_pretrained`` of the library diffusers writes it.

    model_index.json     which pipeline it is, and which class each part has
    unet, vae, ...       a folder for each part: settings as JSON, weights as safetensors

It is looked through before the library sees it: such a folder can name classes of any installed
module, weights that end in .bin are pickles, which can run code, and settings can name code that is
fetched from the net. Here only the parts of Stable Diffusion are let through, with weights as
safetensors. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from velatura.errors import BadInput, Failure

__all__ = ["PIPELINES", "InpaintingPipeline"]

PIPELINES = ("StableDiffusionInpaintPipeline", "StableDiffusionXLInpaintPipeline")
NEEDS = ("torch", "torchvision", "transformers", "diffusers")
# Those of Stable Diffusion that draw by the generator that they are given, and by no other lot.
SCHEDULERS = (
    "DDIM", "DDPM", "DEISMultistep", "DPMSolverMultistep", "DPMSolverSinglestep",
    "EulerAncestralDiscrete", "EulerDiscrete", "HeunDiscrete", "KDPM2AncestralDiscrete",
    "KDPM2Discrete", "LCM", "LMSDiscrete", "PNDM", "TCD", "UniPCMultistep",
)  # fmt: skip
# A part as model_index.json names it, and the stem of its weights; none where it has no weights.
PARTS = {
    r"diffusers (AutoencoderKL|UNet2DConditionModel)": "diffusion_pytorch_model",
    r"transformers CLIPTextModel(WithProjection)?": "model",
    r"stable_diffusion StableDiffusionSafetyChecker": "model",
    rf"diffusers ({'|'.join(SCHEDULERS)})Scheduler": "",
    r"transformers (CLIPTokenizer(Fast)?|CLIPImageProcessor\w*)": "",
}
VARIANTS = ("", "fp16")  # of weights, in the order in which they are looked for
CODE = re.compile("_implementation|kernel")  # in the names of settings that choose it
OURS = ("eager", "sdpa")  # attention of torch alone; other names ask for a package that fetches it
READ = (".json", ".txt", ".safetensors")  # endings of what the library may read of a part


class InpaintingPipeline:
    """A folder, looked through; its weights are loaded when the first picture is drawn.

    Attributes:
        name: of the pipeline's class.
    """

    def __init__(self, folder: str | Path, device: str = "auto", dtype: str = "auto"):
        """Look a folder through.

        Args:
            device: cpu, cuda, or auto: a GPU where torch finds one.
            dtype: float16, bfloat16, float32, or auto: float16 on a GPU, float32 elsewhere.

        Raises:
            BadInput: no such folder, or another pipeline, or weights or settings that may bring
                code; the library is not installed.
        """
        self.folder = Path(folder)
        self._asked = device, dtype
        self.name, self._parts = _index(self.folder)
        for part in self._parts:
            _look_through(self.folder, part)
        self._variant = _variant(self.folder, self._parts)
        self._pipeline: Any = None
        self._broken = ""
        if any(find_spec(library) is None for library in NEEDS):
            raise _missing()

    @property
    def digest(self) -> str:
        """Of every file that the library may read: of their names and SHA-256, sorted by name."""
        files = [self.folder / "model_index.json"]
        for part in self._parts:
            files += (p for p in (self.folder / part).rglob("*") if p.suffix in READ)
        whole = hashlib.sha256()
        for path in sorted(path for path in files if path.is_file()):
            about = path.stat()
            of_it = _digest(path, about.st_size, about.st_mtime_ns)
            whole.update(f"{of_it}  {path.relative_to(self.folder).as_posix()}\n".encode())
        return f"sha256:{whole.hexdigest()}"

    @property
    def device(self) -> tuple[str, str]:
        """Where it draws and in which numbers, such as cuda and float16.

        Raises:
            BadInput: cuda was asked for, and torch finds none.
        """
        torch, _ = _libraries()
        device, dtype = self._asked
        there = torch.cuda.is_available()
        if device == "cuda" and not there:
            raise BadInput(
                "method.device is cuda, and torch finds no NVIDIA GPU; leave it out, or say cpu."
            )
        if device == "auto":
            device = "cuda" if there else "cpu"
        if dtype == "auto":
            dtype = "float16" if device == "cuda" else "float32"
        return device, dtype

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
        """One picture with its hidden pixels drawn anew, from nothing but noise.

        Args:
            picture: (S, S, 3) uint8, RGB, S a multiple of 8; its hidden pixels are seen by the
                autoencoder of some pipelines, so whoever calls has painted them over.
            hidden: (S, S) bool.
            seed: of the noise, which is drawn on the CPU whatever the device: in [0, 2**64).

        Returns:
            (S, S, 3) uint8; None where the folder's own safety checker refused what was drawn.

        Raises:
            Failure: the folder cannot be loaded; the pipeline broke, or gave values that are no
                numbers.
        """
        pipeline = self._loaded()
        torch, _ = _libraries()
        try:
            found = pipeline(
                prompt=prompt,
                negative_prompt=negative or None,
                image=Image.fromarray(picture),
                mask_image=Image.fromarray(hidden.astype(np.uint8) * 255),
                height=len(picture),
                width=len(picture),
                num_inference_steps=steps,
                guidance_scale=guidance,
                strength=1.0,  # begins with noise; below, with the picture under it
                generator=torch.Generator("cpu").manual_seed(seed),
                output_type="np",
            )
        except MemoryError:
            raise
        except Exception as error:
            raise Failure(f"The inpainting pipeline broke: {_line(error)}.") from None
        if any(getattr(found, "nsfw_content_detected", None) or ()):
            return None
        (drawn,) = found.images
        if not np.isfinite(drawn).all():
            raise Failure(
                "The inpainting pipeline gave a value that is not a number; try "
                "method.dtype=float32."
            )
        levels: np.ndarray = (drawn * 255).round().astype(np.uint8)
        return levels

    def _loaded(self) -> Any:
        if self._broken:
            raise Failure(self._broken)  # there are many pictures, and loading takes long
        if self._pipeline is None:
            torch, diffusers = _libraries()
            device, dtype = self.device
            _quiet(diffusers)
            try:
                made = getattr(diffusers, self.name).from_pretrained(
                    str(self.folder),
                    local_files_only=True,
                    use_safetensors=True,
                    dtype=getattr(torch, dtype),
                    variant=self._variant or None,
                )
                self._pipeline = made.to(device)
            except MemoryError:
                raise
            except Exception as error:  # what libraries make of files that are none
                self._broken = f"{self.folder} cannot be loaded by diffusers: {_line(error)}."
                raise Failure(self._broken) from None
            self._pipeline.set_progress_bar_config(disable=True)
        return self._pipeline


def _index(folder: Path) -> tuple[str, dict[str, str]]:
    """The pipeline's class; and for each part the stem of its weights, "" where it has none.

    Raises:
        BadInput: as the class says.
    """
    path = folder / "model_index.json"
    try:
        said = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(
            f"{folder} is no folder of an inpainting pipeline: {path.name} cannot be read "
            f"({error.strerror}); `save_pretrained` of diffusers writes such a folder."
        ) from None
    except (ValueError, RecursionError):
        said = None
    name = said.get("_class_name") if isinstance(said, dict) else None
    if name not in PIPELINES:
        raise BadInput(
            f"{folder} holds {str(name)[:60]!r}, which is no inpainting pipeline that is known "
            f"here: expected {' or '.join(PIPELINES)}."
        )
    parts = {}
    for part, value in said.items():
        if part.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue  # a setting, or a part that it does without
        what = " ".join(map(str, value))
        if re.fullmatch(r"diffusers \w+Scheduler", what) and what[10:-9] not in SCHEDULERS:
            raise BadInput(
                f"{path} wants the scheduler {what[10:][:60]}, with which the seed would not say "
                f"what is drawn, or nothing can be; expected one of {', '.join(SCHEDULERS)}."
            )
        stems = [stem for pattern, stem in PARTS.items() if re.fullmatch(pattern, what)]
        if not stems or not re.fullmatch(r"\w+", part):
            raise BadInput(
                f"{path} wants {what[:80]!r} as {part[:40]!r}, which is no part of Stable "
                "Diffusion that is known here; nothing of it was loaded."
            )
        if not (folder / part).is_dir():
            raise BadInput(f"{folder} lacks the folder {part}, which {path.name} names.")
        parts[part] = stems[0]
    return name, parts


def _look_through(folder: Path, part: str) -> None:
    """Nothing in a part, or beside the parts, brings code along.

    Raises:
        BadInput: something does.
    """
    for code in sorted([*folder.glob("*.py"), *(folder / part).rglob("*.py")]):
        raise BadInput(
            f"{code} is code beside weights; nothing of {folder} was loaded: take it out, if you "
            "trust the rest."
        )
    for path in sorted((folder / part).glob("*.json")):
        if "safetensors" in path.name:
            _check_shards(path)
        elif path.name == "adapter_config.json":
            raise BadInput(
                f"{path} is of an adapter, whose network lies elsewhere; merge it first."
            )
        elif path.name.endswith("config.json"):
            for key, value in _settings(_json(path)):
                if key == "quantization_config" and value is not None:
                    raise BadInput(
                        f"{path} has a quantization_config, which needs packages that can fetch "
                        "code; save the pipeline without."
                    )
                if CODE.search(key) and isinstance(value, str) and value not in OURS:
                    raise BadInput(
                        f"{path} has {key} = {value[:60]!r}, which can make transformers fetch "
                        "code; take it out, or say sdpa or eager."
                    )


def _check_shards(path: Path) -> None:
    """An index of weights names files beside it that are safetensors, and no others.

    Raises:
        BadInput: it names others.
    """
    said = _json(path)
    shards = said.get("weight_map") if isinstance(said, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise BadInput(f"{path} has no weight_map, which names the files of weights.")
    for shard in dict.fromkeys(map(str, shards.values())):
        plain = re.fullmatch(r"[\w.-]+\.safetensors", shard)
        if not plain or not (path.parent / shard).is_file():
            raise BadInput(
                f"{path} names {shard[:80]!r} as weights; expected a file beside it that ends in "
                ".safetensors, since others can hold code."
            )


def _settings(said: Any) -> Iterator[tuple[str, Any]]:
    """Every value, however deep, by the nearest name above it; below a choice of code by that."""
    todo = [("", said)]
    while todo:
        key, value = todo.pop()
        yield key, value
        if isinstance(value, dict):
            todo += [(key if CODE.search(key) else name, below) for name, below in value.items()]
        elif isinstance(value, list):
            todo += [(key, below) for below in value]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise BadInput(f"{path} cannot be read, or is no JSON.") from None


def _variant(folder: Path, parts: dict[str, str]) -> str:
    """In which variant all weights are there as safetensors: whole, or in shards with an index.

    Raises:
        BadInput: in none.
    """

    def there(part: str, stem: str, variant: str) -> bool:
        dot = f".{variant}" if variant else ""
        names = f"{stem}{dot}.safetensors", f"{stem}.safetensors.index{dot}.json"
        return any((folder / part / name).is_file() for name in names)

    lacks = {}
    for variant in VARIANTS:
        missing = [part for part, stem in parts.items() if stem and not there(part, stem, variant)]
        if not missing:
            return variant
        lacks[variant] = missing[0]
    part = lacks[""]
    raise BadInput(
        f"{folder / part} has no weights as {parts[part]}.safetensors, and other files, such as "
        ".bin, can hold code and are not read; save the pipeline anew by "
        "`save_pretrained(FOLDER, safe_serialization=True)`."
    )


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed: int) -> str:
    """SHA-256 of a file; weights take seconds, and are asked for more than once."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _libraries() -> tuple[Any, Any]:
    """torch and diffusers, loaded at first use."""
    try:
        from velatura.torchvision_guard import ensure

        ensure()  # transformers imports torchvision
        import diffusers
        import torch
        import transformers  # noqa: F401  # without it diffusers has stand-ins that break later
    except ImportError:
        raise _missing() from None
    return torch, diffusers


def _missing() -> BadInput:
    return BadInput(
        'diffusion needs diffusers: pip install "velatura[diffusion]", or choose another --method.'
    )


def _quiet(diffusers: Any) -> None:
    """No bars and remarks of the libraries for every person that is drawn."""
    from transformers.utils import logging

    for log in (logging, diffusers.utils.logging):
        log.set_verbosity_error()
        log.disable_progress_bar()


def _line(error: BaseException) -> str:
    """The first line of a message that says anything, without its full stop."""
    told = (line[:200].strip(" .") for line in str(error).splitlines())
    return next(filter(None, told), type(error).__name__)
