"""``velatura impact train-gan``: a COCO folder in, a network that draws people anew out.

    OUT/config.toml              every setting; --resume goes on with it
    OUT/checkpoint.safetensors   both players, the mean generator, their optimisers
    OUT/log.jsonl                losses
    OUT/samples.png              real crops beside what is drawn; it shows the people
    OUT/gan.onnx                 for ``velatura impact anonymize --method gan``
    OUT/summary.json             counts, parameters, distances

The network is made of the people it was trained on, and may draw some of them again: keep it as you
keep them.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from velatura.config import build, config, plain, read_toml, to_toml
from velatura.errors import BadInput, Failure
from velatura.experiment import locked, versions
from velatura.export import inpainter
from velatura.impact import _where
from velatura.impact._coco import Dataset
from velatura.impact._crops import Gathered, gather
from velatura.inpainting import distance
from velatura.inpainting.augment import Way
from velatura.inpainting.average import decay, follow
from velatura.inpainting.crops import Batches, Crops
from velatura.inpainting.discriminator import Discriminator
from velatura.inpainting.generator import Config as Network
from velatura.inpainting.generator import Generator
from velatura.inpainting.steps import step_discriminator, step_generator
from velatura.regions._opencv import opencv
from velatura.training import checkpoint, loop
from velatura.training.players import prepare
from velatura.training.seed import generator as lots
from velatura.training.seed import reseed
from velatura.video import destination

__all__ = ["MODEL", "SAMPLES", "SETTINGS", "SUMMARY", "Config", "game", "train"]

SCHEMA = "velatura-impact-train-gan/1"
SETTINGS, SUMMARY, MODEL, SAMPLES = "config.toml", "summary.json", "gan.onnx", "samples.png"
FEWEST = 8  # crops to train on
ROWS, TRIES, GAP = 8, 3, 2  # of samples.png: crops, lots, pixels

Progress = Callable[[str, int, int, dict[str, float]], None]


@config
class Config:
    """A run. The weights of published runs are for a thousand times the crops and the time."""

    regions: _where.Config = _where.Config()
    network: Network = Network()
    steps: Annotated[int, Field(ge=1)] = 10_000
    batch: Annotated[int, Field(ge=2)] = 16
    lr: Annotated[float, Field(gt=0, le=0.1)] = 0.002
    slope: Annotated[float, Field(ge=0)] = 0.02
    """Weight of the discriminator's slope at real crops, of intensities in [0, 1]; gamma of R1. In
    [-1, 1] it would be four times as much: about what StyleGAN2-ADA takes for so few pixels,
    .0002 times their number in a crop over the crops of a batch."""
    slope_every: Annotated[int, Field(ge=1, le=1000)] = 16
    """Steps from one such penalty to the next, which is as many times as heavy."""
    average: Annotated[int, Field(ge=1)] = 10_000
    """Crops after which half of the mean generator is gone."""
    vary: tuple[Way, ...] = ("colour", "translation", "cutout")
    """How both players' crops are varied."""
    mirror: bool = True
    least: Annotated[int, Field(ge=1, le=4096)] = 16
    """Pixels of a region's shorter side, to be trained on."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the crops, in images of their own, that are kept for the distance."""
    features: Literal["auto", "efficientnet_lite0", "random"] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    save_every: Annotated[int, Field(ge=1)] = 500
    log_every: Annotated[int, Field(ge=1)] = 10

    SERVICES: ClassVar[tuple[str, ...]] = ("device", "save_every", "log_every")

    def science(self) -> dict[str, Any]:
        """All that changes what is learnt."""
        return {key: value for key, value in plain(self).items() if key not in self.SERVICES}


def train(
    cfg: Config,
    data: Dataset,
    folder: Path,
    *,
    resume: bool = False,
    workers: int = 0,
    limit: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a network in a folder.

    Args:
        data: what ``_formats.read`` found.
        folder: new, or one that the same settings have begun.
        resume: go on with it; a finished run is left as it is.
        workers: processes that cut out crops; 0 is one per core.
        limit: only so many images, the first; 0 is all.
        progress: called with what is done, how much of it, of how much, and the last losses.

    Returns:
        What ``summary.json`` holds.

    Raises:
        BadInput: settings that do not fit the data set, or too few crops; the folder holds a run
            and ``resume`` is off, or one of other settings; something is not installed.
        Failure: a loss is no number; the disk is full.
    """
    if cfg.regions.kind == "frame":
        raise BadInput("A network draws faces or bodies; --region is face or body.")
    where = _where.resolved(cfg.regions, data)
    cfg = build(Config, {**plain(cfg), "regions": plain(where)})
    # What the end wants is told before the beginning.
    inpainter.needed()
    opencv("train-gan")
    if cfg.features == "efficientnet_lite0":
        distance.network(cfg.features)
    services = loop.fabric(loop.Config(device=cfg.device, precision="32"))
    settings, product = folder / SETTINGS, folder / SUMMARY
    if settings.exists() and not resume:
        raise BadInput(
            f"{folder} holds a run already; continue it with --resume, or name another folder "
            "with --out."
        )
    with locked(folder):
        if settings.exists():
            if build(Config, read_toml(settings)).science() != cfg.science():
                raise BadInput(
                    f"{folder} holds a run of other settings (see {settings}); repeat that one, or "
                    "name another folder with --out."
                )
            if product.exists():
                found: dict[str, Any] = json.loads(product.read_text())
                return found
        gathered = gather(
            data, where, cfg.network.size, cfg.least, workers=workers, limit=limit,
            progress=progress and (lambda done, total: progress("crops", done, total, {})),
        )  # fmt: skip
        known, others = _parted(gathered, cfg)
        stream = Batches(known, cfg.batch, cfg.seed, cfg.mirror, services.device)
        about = {
            "run": cfg.science(),
            "data": gathered.crops.digest(),
            "versions": versions(),
        }
        checkpoint.write_atomically(settings, to_toml(plain(cfg)).encode())
        running = loop.Loop(
            folder, services, stream,
            loop.Config(
                device=cfg.device, precision="32", clip_gradient=0.0,
                save_every=cfg.save_every, log_every=cfg.log_every,
            ),
            cfg.seed, about, resume=resume,
            progress=progress and (lambda *told: progress("steps", *told)),
        )  # fmt: skip
        begin, clock = running.step, time.perf_counter()
        mean, parameters = game(cfg, running, others)
        spent = (time.perf_counter() - clock) / max(1, running.step - begin)
        mean = mean.cpu()
        mean.settle()
        written = inpainter.write(
            mean,
            folder / MODEL,
            kind=cfg.regions.kind,  # type: ignore[arg-type]
            names=known.names,
            about={"config": cfg.science(), "data": about["data"]},
            overwrite=True,
        )
        summary = {
            "schema": SCHEMA,
            **plain(cfg),
            "crops": {
                "total": len(gathered.crops),
                "images": len(set(gathered.crops.images)),
                "held_out": len(others),
                "skipped": gathered.skipped,
                "failed": gathered.failed,
            },
            "parameters": parameters,
            "seconds_per_step": round(spent, 4),
            "distance": distance.compared(mean, known, others, cfg.features, cfg.seed),
            "model": {"file": written.path.name, "digest": written.digest, "bytes": written.size},
            "data": about["data"],
            "versions": about["versions"],
        }
        checkpoint.write_atomically(product, json.dumps(summary, indent=2).encode() + b"\n")
    return summary


def _parted(gathered: Gathered, cfg: Config) -> tuple[Crops, Crops]:
    """Crops to train on, and those to measure with.

    Raises:
        BadInput: too few.
    """
    crops = gathered.crops
    left = ", ".join(f"{count} {reason}" for reason, count in gathered.skipped.items())
    also = f" (left out: {left})" if left else ""
    what = {"face": "faces", "body": "bodies"}[cfg.regions.kind]
    if not len(crops):
        raise BadInput(
            f"There are no {what} to train on{also}; `velatura impact anonymize --dry-run` "
            "counts who is where."
        )
    known, others = crops.apart(cfg.held_out, cfg.seed)
    if len(known) < FEWEST:
        raise BadInput(
            f"There are {len(known)} {what} to train on, and {len(others)} held out{also}; at "
            f"least {FEWEST} are needed, and some thousands for anything to be seen."
        )
    return known, others


def game(cfg: Config, running: loop.Loop, others: Crops) -> tuple[Generator, dict[str, int]]:
    """All steps of a run.

    Args:
        running: its ``batches`` give crops.
        others: that ``samples.png`` shows.

    Returns:
        The mean generator; and how many parameters each player has.
    """
    stream = running.batches
    assert isinstance(stream, Batches)
    points = len(stream.crops.names)
    reseed(cfg.seed, "players")
    players = [Generator(cfg.network, points), Discriminator(cfg.network, points)]
    generator, discriminator = (prepare(player, running.device) for player in players)
    assert isinstance(generator, Generator)
    assert isinstance(discriminator, Discriminator)
    mean = copy.deepcopy(generator).requires_grad_(False)
    # The penalty comes in every so many steps only, and Adam is to feel it as in each: StyleGAN2,
    # appendix B.
    rest = cfg.slope_every / (cfg.slope_every + 1) if cfg.slope else 1.0
    generates = torch.optim.Adam(generator.parameters(), cfg.lr, (0.0, 0.99))
    discriminates = torch.optim.Adam(discriminator.parameters(), cfg.lr * rest, (0.0, 0.99**rest))
    running.keep(
        generator=generator, discriminator=discriminator, mean=mean, generates=generates,
        discriminates=discriminates,
    )  # fmt: skip
    for step in running.steps(cfg.steps):
        batch = stream.at(step)
        due = cfg.slope * cfg.slope_every if step % cfg.slope_every == 0 else 0.0
        terms = step_discriminator(
            generator, discriminator, batch, _lot(cfg, "discriminator", step, running.device),
            cfg.vary, lots(cfg.seed, "vary", "discriminator", step), due,
        )  # fmt: skip
        running.update(discriminates, terms, "discriminator")
        terms = step_generator(
            generator, discriminator, batch, _lot(cfg, "generator", step, running.device),
            cfg.vary, lots(cfg.seed, "vary", "generator", step),
        )  # fmt: skip
        running.update(generates, terms, "generator")
        follow(mean, generator, decay(step, cfg.batch, cfg.average))
        if (step + 1) % cfg.save_every == 0 or step + 1 == cfg.steps:
            _show(running.folder / SAMPLES, others, generator, mean)
    counts = {"generator": generator, "discriminator": discriminator}
    return mean, {
        name: sum(p.numel() for p in player.parameters()) for name, player in counts.items()
    }


def _lot(cfg: Config, player: str, step: int, device: torch.device) -> torch.Tensor:
    """What is drawn by lot for the crops of a step."""
    draw = lots(cfg.seed, "style", player, step)
    return torch.randn(cfg.batch, cfg.network.latent, generator=draw).to(device)


def _show(path: Path, crops: Crops, generator: Generator, mean: Generator) -> None:
    """A row for each of some crops: as it is, with its hole, as the generator draws it by three
    lots, and as the mean generator does. Readable by its owner alone."""
    from PIL import Image

    few = crops.some(np.arange(min(ROWS, len(crops))))
    if not len(few):
        return
    columns = [few.pictures, distance.blank(few)]
    columns += [distance.drawn(generator, few, seed) for seed in range(TRIES)]
    columns.append(distance.drawn(mean, few, 0))
    side = few.pictures.shape[1]
    sheet = np.full(
        ((side + GAP) * len(few) - GAP, (side + GAP) * len(columns) - GAP, 3), 255, np.uint8
    )
    for column, pictures in enumerate(columns):
        for row, picture in enumerate(pictures):
            top, left = row * (side + GAP), column * (side + GAP)
            sheet[top : top + side, left : left + side] = picture
    partial = destination.Partial(path)
    try:
        os.fchmod(partial.file.fileno(), 0o600)
        Image.fromarray(sheet).save(partial.file, "PNG")
        partial.file.flush()
        partial.keep(overwrite=True)
    except OSError as error:
        raise Failure(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        partial.discard()
