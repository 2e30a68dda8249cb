"""``velatura impact train``: a detector, from nothing, on one arm of a comparison.

    RUN/train.toml               every setting; the same command goes on where it was stopped
    RUN/checkpoint.safetensors   weights, optimiser and step, and what they were trained on
    RUN/log.jsonl                terms of the loss
    RUN/summary.json             what was learnt from, how much of it was hidden, what was missing

Arms differ in their pictures alone: first weights are a function of the seed, the order of the
pictures and how they are varied of seed and step, the rate of the step. An interrupted run ends at
the same bits as one that was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors
import torch
from pydantic import Field
from torch import Tensor, nn

from velatura import detectors, plugins
from velatura.config import build, config, plain, read_toml, to_toml
from velatura.errors import BadInput
from velatura.experiment import locked
from velatura.impact._coco import Dataset
from velatura.impact._pictures import Augment, Lesson, Pictures, arm, lesson, survey
from velatura.impact._versions import installed
from velatura.training import checkpoint
from velatura.training import loop as services
from velatura.training.players import prepare
from velatura.training.seed import reseed

__all__ = ["Config", "Setup", "network", "setup", "train"]

SCHEMA = "velatura-impact-train/1"
SETTINGS, CHECKPOINT, SUMMARY = "train.toml", "checkpoint.safetensors", "summary.json"
LIBRARIES = ("velatura", "torch", "torchvision", "numpy", "opencv-python-headless", "pycocotools")
WARM_UP = 0.05  # of the steps: the rate rises, then falls to nothing along a line
MISSING = 0.05  # of the pictures may lack unless the caller says otherwise
PROMISE = (
    "The first weights come from a file: the comparison holds only if they never saw a picture of "
    "this data set."
)

Progress = Callable[[int, int, dict[str, float]], None]


@config
class Config:
    """Everything but the network."""

    task: Literal["detection", "segmentation", "keypoints", "all"] = "all"
    """Boxes are always learnt."""
    steps: Annotated[int, Field(ge=0)] = 800
    batch: Annotated[int, Field(ge=2)] = 16
    """Pictures in a step."""
    size: Annotated[int, Field(ge=16, le=4096)] = 128
    """Pixels; pictures are fitted into such a square."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    categories: tuple[str, ...] = ()
    """Names; () is all of the file."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """The rate's peak."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    augment: Augment = Augment()
    loop: services.Config = services.Config()


@dataclass(frozen=True)
class Setup:
    """A network with its configuration, and everything else that changes the weights."""

    name: str
    model: Any
    cfg: Config

    @property
    def tasks(self) -> tuple[str, ...]:
        """Of ``velatura.detectors.TASKS``."""
        if self.cfg.task == "all":
            return detectors.TASKS
        return tuple(dict.fromkeys(("detection", self.cfg.task)))

    def values(self) -> dict[str, Any]:
        """As ``setup`` takes them."""
        return {**plain(self.cfg), "model": {"name": self.name, **plain(self.model)}}


def setup(values: Mapping[str, Any]) -> Setup:
    """Check settings: ``{"model": {"name": "tiny"}, "task": "all", "steps": 800, "seed": 0}``.

    Raises:
        BadInput: an unknown name, key or value, in one sentence.
    """
    rest = dict(values)
    model = dict(rest.pop("model", {}))
    name = str(model.pop("name", "tiny"))
    kind = plugins.config_class("detectors", name)
    return Setup(name, build(kind, model, "model"), build(Config, rest))


def network(how: Setup, what: Lesson) -> detectors.Detector:
    """The detector with its first weights, which depend on the seed alone.

    Raises:
        BadInput: it cannot do a task, or needs what is not there.
    """
    reseed(how.cfg.seed, "first weights")
    return detectors.build(
        how.name, what.categories, len(what.points), what.tasks, **plain(how.model)
    )


def train(
    how: Setup,
    data: Dataset,
    out: Path,
    *,
    init: Path | None = None,
    missing: float = MISSING,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train, or go on with it.

    Args:
        data: what ``_formats.read`` found, of ``how.cfg.categories`` or all.
        out: a new folder, or one that the same settings have begun.
        init: first weights, a safetensors file; see ``PROMISE``. What it does not hold starts as
            the seed says.
        missing: share of the pictures that may have no file: those that could not be anonymized.
        progress: called with steps done and in all, and the latest terms.

    Returns:
        What ``summary.json`` holds.

    Raises:
        BadInput: data that cannot teach the task, told before anything is written; a folder of
            other settings.
        Failure: the loss is not finite, or the disk is full.
        KeyboardInterrupt: after the state was saved.
    """
    said, what = arm(data), lesson(data, how.tasks)
    found = survey(data, what)
    images = found.counts["images"]
    if images["missing_share"] > missing:
        raise BadInput(
            f"{images['missing']} of {images['total']} pictures have no file in "
            f"{data.root / data.images}, which is more than {missing:.0%}; make them, or allow "
            "more with --missing."
        )
    detector = network(how, what)
    first = _begin_with(detector, init)
    about = {
        "schema": SCHEMA,
        **how.values(),
        "data": found.fingerprint,
        "annotations": found.annotations,
        "first_weights": first,
        "learnt": what._asdict(),
        "arm": said,
        **found.counts,
    }
    with locked(out):
        _claim(out, {**how.values(), "data": found.fingerprint, "first_weights": first})
        about["versions"] = installed(LIBRARIES)
        _descend(how, data, what, found.missing, detector, out, about, progress)
        parameters = sum(parameter.numel() for parameter in detector.parameters())
        summary = plain({**about, "parameters": parameters})
        checkpoint.write_atomically(out / SUMMARY, json.dumps(summary, indent=2).encode() + b"\n")
    found_summary: dict[str, Any] = summary
    return found_summary


def _descend(
    how: Setup,
    data: Dataset,
    what: Lesson,
    missing: frozenset[int],
    detector: detectors.Detector,
    out: Path,
    about: dict[str, Any],
    progress: Progress | None,
) -> None:
    """Step by step; the detector ends with the trained weights."""
    cfg = how.cfg
    fabric = services.fabric(cfg.loop)
    run = services.Loop(
        out, fabric, None, cfg.loop, cfg.seed, plain(about), resume=True, progress=progress
    )
    prepare(detector, run.device)
    optimizer = torch.optim.AdamW(
        detector.parameters(), cfg.lr, weight_decay=cfg.weight_decay, fused=True
    )
    run.keep(network=detector, optimizer=optimizer)
    pictures = Pictures(data, what, missing, cfg.size, cfg.batch, cfg.augment, cfg.seed)
    detector.train()
    for step in run.steps(cfg.steps):
        images, targets = pictures.at(step)
        told = [target.to(run.device) for target in targets]
        with run.precision():
            terms = detector.loss(images.to(run.device), told)
        run.rate(optimizer, cfg.lr, cfg.steps, warm_up=WARM_UP, anneal=1 - WARM_UP)
        run.update(optimizer, terms, "detector")
    if not run.file.exists():  # no step at all: the first weights are the result
        run.save()


def _claim(out: Path, values: dict[str, Any]) -> None:
    """A folder that is new, or that the same settings have begun.

    Raises:
        BadInput: it holds something else.
    """
    settings = out / SETTINGS
    if settings.exists():
        there, own = read_toml(settings), plain(values)
        other = sorted(key for key in {*own, *there} if there.get(key) != own.get(key))
        if other:
            raise BadInput(
                f"{out} is a run of other settings ({', '.join(other)} differ); name another --out."
            )
    elif any(path.name != ".lock" for path in out.iterdir()):
        raise BadInput(f"{out} holds something else; name another --out.")
    checkpoint.write_atomically(settings, to_toml(values).encode())


# ------------------------------------------------------------------------------- first weights


def _begin_with(network: nn.Module, path: Path | None) -> dict[str, Any]:
    """Put what a file holds into a network.

    Returns:
        What a record says of it.

    Raises:
        BadInput: no such file, or not of this network.
    """
    own = network.state_dict()
    if path is None:
        return {"from": "seed"}
    given = _tensors(path)
    wrong = [key for key, value in given.items() if key not in own or own[key].shape != value.shape]
    if wrong or not given:
        raise BadInput(
            f"{path} holds weights of another network: {len(wrong)} of its {len(given)} tensors "
            f"have no place in {type(network).__name__}, such as {sorted(wrong)[:1]}."
        )
    network.load_state_dict({**own, **given})
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"from": path.name, "sha256": digest, "tensors": f"{len(given)} of {len(own)}",
            "promise": PROMISE}  # fmt: skip


def _tensors(path: Path) -> dict[str, Tensor]:
    """Of a plain safetensors file, or the network of a run's checkpoint."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            ours = (file.metadata() or {}).get("format") == checkpoint.FORMAT
            found = {} if ours else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise BadInput(f"There is no file {path} of weights.") from None
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"{path} is no safetensors file: {error}.") from None
    if ours:
        state = checkpoint.load(path)[0]
        if "network" not in state:
            raise BadInput(f"{path} is the checkpoint of something else than `impact train`.")
        found = state["network"]
    return found
