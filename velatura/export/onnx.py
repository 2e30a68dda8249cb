"""A run's anonymizer as one ONNX file, for deploy/model.py, which says what the graph promises.

The file is written beside its destination, compared there with the network that it was made
from, by the code that will run it, and only then gets its name.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib.metadata import version
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from velatura.config import digest, plain, read_toml
from velatura.deploy.anonymizer import scaled
from velatura.deploy.model import FIRST, PREFIX, SCHEMA, SCHEMA_PAST, Model
from velatura.errors import BadInput, Failure, unknown
from velatura.experiment import (
    Run,
    build_anonymizer,
    learns,
    load_anonymizer,
    looks_back,
    resolve,
    versions,
)
from velatura.methods.blur import Blur
from velatura.models._parts import FrameAnonymizer
from velatura.study import resolve_study
from velatura.training import checkpoint

__all__ = ["Exported", "Source", "card_of", "clean", "export", "find", "margin_of"]

OPSET = 18
DIFFER = 0.001  # share of bytes that may differ from eager, by one level that it lets out
WIDEST = 1024  # pixels of the picture on which a margin is measured, at most
CLIP = 16  # frames of a clip that are compared


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        name: of the row, or of the run's folder.
        run: its resolved run file.
        weights: the run folder that holds them; None for a fixed filter.
        study: the folder of the study that measured it, where there is one.
    """

    name: str
    run: Run
    weights: Path | None
    study: Path | None


class Difference(NamedTuple):
    """The file against the network, in bytes.

    Attributes:
        pictures: that were compared.
        share: of their bytes that differ, 0 to 1.
        largest: difference, of 255 levels.
    """

    pictures: int
    share: float
    largest: int


class Exported(NamedTuple):
    """A file that was written and what is known of it."""

    path: Path
    name: str
    size: int
    digest: str
    stride: int
    short_side: int
    margin: int | None
    past: int
    random: Difference
    clip: Difference
    measured: bool


def find(folder: Path, row: str = "") -> Source:
    """The run folder, or the row of a study, that is meant.

    Args:
        folder: a run folder, or that of a study, or that of one of its rows.
        row: of a study.

    Raises:
        BadInput: neither; or a study, and no row is named.
    """
    folder = Path(folder)
    parent = folder.parent.parent
    if not (folder / "config.toml").exists() and folder.parent.name in ("rows", "methods"):
        row, folder = row or folder.name, parent  # a row's folder inside a study
    file = folder / "config.toml"
    if not file.exists():
        raise BadInput(
            f"{folder} is neither a run folder nor a study's: it has no config.toml; name one "
            "made by `velatura train` or `velatura evaluate`."
        )
    values = read_toml(file)
    if "rows" in values:
        study = resolve_study(values)
        names = [r.name for r in study.rows]
        if not row:
            raise BadInput(f"{folder} is a study; name a row with --row: {', '.join(names)}.")
        if row not in names:
            raise unknown("row", row, names)
        run = next(r.run for r in study.rows if r.name == row)
        weights = folder / "methods" / row if learns(run) else None
        return Source(row, run, weights, folder)
    if row:
        raise BadInput(f"{folder} is a run folder and has no rows; leave --row out.")
    run, name = resolve(values), folder.resolve().name
    around = parent if folder.parent.name == "methods" and _is_study(parent) else None
    own = folder / "evaluation"  # where `velatura evaluate RUN` measures a run
    if around is None and _is_study(own) and _same(folder, own / "methods" / name):
        around = own
    return Source(name, run, folder if learns(run) else None, around)


def _is_study(folder: Path) -> bool:
    file = folder / "config.toml"
    return file.exists() and "rows" in read_toml(file)


def _same(folder: Path, other: Path) -> bool:
    """Whether two run folders hold the same weights."""
    files = [f / "anonymizer.safetensors" for f in (folder, other)]
    return all(f.exists() for f in files) and files[0].read_bytes() == files[1].read_bytes()


def card_of(source: Source) -> dict[str, Any]:
    """What the study measured of this row, from its ``summary.json``; empty where there is none.

    Raises:
        BadInput: the summary is unreadable, or of a row of another configuration.
    """
    path = source.study / "summary.json" if source.study else None
    if path is None or not path.exists():
        return {}
    try:
        summary = json.loads(path.read_text())
        row = next((r for r in summary["rows"] if r["name"] == source.name), None)
        made = next((r for r in summary["config"]["rows"] if r["name"] == source.name), None)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is not a study's summary: {error!r}.") from None
    if row is None or made is None:
        return {}
    if made["method"] != source.run.method.values():
        raise BadInput(f"{path} measured another {source.name}; run the study again.")
    kept = (
        "top1", "top1_interval", "cmap", "cmap_interval", "U", "U_interval", "L", "L_interval",
        "strongest", "rms",
    )  # fmt: skip
    return {
        "title": summary.get("title"),
        "dataset": summary.get("dataset"),
        "row": source.name,
        "method": source.run.method.name,
        "seed": summary.get("seed"),
        "created": summary.get("created"),
        "test": {k: v for k, v in summary.get("data", {}).items() if k.startswith("test")},
        "chance": summary.get("chance"),
        "attackers": sorted(row.get("attackers", {})),
        "evaluation": summary["config"].get("evaluation"),
        **{key: row[key] for key in kept if key in row},
    }


def export(
    source: Source | Path,
    destination: Path,
    *,
    name: str = "",
    clip: Path | None = None,
    overwrite: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Exported:
    """Write a source's anonymizer as an ONNX file, once it gives what the network gives.

    Args:
        source: what :func:`find` gave, or what it is to find.
        destination: ends in ``.onnx``.
        name: in the file; default the source's.
        clip: a video to compare on; default a clip of generated people.
        overwrite: replace the destination, when all is checked.
        tell: told what is being done.

    Raises:
        BadInput: an anonymizer that is none of a frame, or of it and some before it; a
            destination that exists.
        Failure: the file differs from the network; nothing was written.
    """
    source = source if isinstance(source, Source) else find(source)
    destination, tell = Path(destination), tell or (lambda what: None)
    if destination.suffix != ".onnx":
        raise BadInput(f"{destination}: a model's name ends in .onnx.")
    if not destination.parent.is_dir():
        raise BadInput(f"{destination.parent} is no folder; make it first.")
    if destination.exists() and not overwrite:
        raise BadInput(f"{destination} exists; replace it with --overwrite.")
    _needed()
    run = source.run
    network, about = _network(source)
    past = looks_back(network)
    _able(network, run.method.name)
    if past:
        first = _first(network, past, run.method.name)
    else:
        _frame_by_frame(network, run.method.name)
    stride = _stride(network)
    short = _short_side(run)
    card = card_of(source)
    shown = _clip(clip, short)
    tell("measuring how far a pixel's answer looks")
    margin = margin_of(network, stride)
    tell("translating to ONNX")
    model = _translate(network, stride, run.method.name)
    entries = {
        "schema": SCHEMA_PAST if past else SCHEMA,
        "name": name or source.name,
        "stride": str(stride),
        "short_side": str(short),
        "margin": "" if margin is None else str(margin),
        "seed": str(run.seed),
        "config": digest(run.science()),
        "data": about.get("data", ""),
        "run": run.toml(),
        "card": json.dumps(card),
        "versions": json.dumps({**versions(), **_tools()}),
        "trained_with": json.dumps(about.get("versions", {})),
    }
    if past:
        entries |= {"past": str(past), "first": first}
    with _beside(destination) as partial:

        def write() -> Model:
            _annotate(model, entries)
            partial.write_bytes(model.SerializeToString(deterministic=True))
            return Model(partial, device="cpu")

        deployed = write()
        tell("comparing with the network")
        random, seen = _compare(deployed, network, short, stride, shown)
        if margin is not None and not _seamless(partial, margin, short, past):
            entries["margin"] = ""  # it is not known after all: run whole
            margin = None
            deployed = write()
        _publish(partial, destination, overwrite)
    return Exported(
        destination, deployed.about.name, destination.stat().st_size, deployed.digest, stride,
        short, margin, past, random, seen, bool(card),
    )  # fmt: skip


def _needed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"Exporting needs {error.name}, which is not installed: pip install 'velatura[train]'."
        ) from None


def _tools() -> dict[str, str]:
    return {name: version(name) for name in ("onnx", "onnxscript", "onnxruntime")}


def _network(source: Source) -> tuple[nn.Module, dict[str, Any]]:
    """The frozen anonymizer on the CPU, and what its checkpoint says of it."""
    run = source.run
    if run.method.name == "identity":
        raise BadInput("identity changes nothing: it is the raw video, and no anonymizer.")
    if source.weights is None:
        return build_anonymizer(run).eval().requires_grad_(False), {}
    network = load_anonymizer(source.weights, "cpu")
    about = checkpoint.load(source.weights / "anonymizer.safetensors")[1]
    if about.get("digest", digest(run.science())) != digest(run.science()):
        raise BadInput(f"{source.weights} holds weights of another configuration than its file's.")
    return network, about


def _short_side(run: Run) -> int:
    """Pixels of the shorter side of the pictures that the anonymizer was measured on."""
    data = plain(run.data.config)
    if "height" in data and "width" in data:
        return int(min(data["height"], data["width"]))
    return int(data.get("size", run.batches.size))


def _stride(network: nn.Module) -> int:
    """What height and width must be multiples of."""
    return int(getattr(network, "stride", getattr(network, "factor", 1)))


@torch.no_grad()
def eager(network: nn.Module, frames: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 to the same: what ``experiment.release`` keeps, in fp32. One by one; as
    one clip where the network looks back."""

    def through(clip: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(clip).permute(0, 3, 1, 2).float().div(255)
        found = network(given[None])[0] if looks_back(network) else network(given)
        levels = found.float().mul(255).round().clamp(0, 255).byte()
        pictures: np.ndarray = levels.permute(0, 2, 3, 1).numpy()
        return pictures

    if looks_back(network):
        return through(frames)
    return np.concatenate([through(frame[None]) for frame in frames])


def _able(network: nn.Module, name: str) -> None:
    """Refuse what needs more than a frame and those before it.

    Raises:
        BadInput: one sentence.
    """
    if getattr(network, "wants_people", False):
        raise BadInput(
            f"{name} needs to be told where people are, and a file is shown the picture alone; "
            "`velatura anonymize --regions` treats regions."
        )
    if getattr(network, "whole", False):
        raise BadInput(f"{name} sees a video in one piece, and a file a frame at a time.")
    window = int(getattr(network, "window", 1))
    if window > 1:
        raise BadInput(
            f"{name} sees {window} frames together, and a file holds a function of one frame, or "
            "of it and those before it; its releases are made by `velatura evaluate`."
        )


@torch.no_grad()
def _first(network: nn.Module, past: int, name: str) -> str:
    """What the first frame of a clip is given, as ``deploy.model.FIRST``.

    Raises:
        BadInput: a frame of a clip is given something else than with its past alone.
        Failure: its answers are no numbers.
    """
    side = 4 * _stride(network) * math.ceil(16 / _stride(network))
    clip = torch.rand(past + 4, 3, side, side, generator=torch.Generator().manual_seed(0))
    long = torch.cat([clip[:1].expand(past, -1, -1, -1), clip])
    whole = network(clip[None])[0]
    if whole.shape != clip.shape:
        raise BadInput(f"{name} turns {tuple(clip.shape)} into {tuple(whole.shape)}.")
    if not torch.isfinite(whole).all():
        raise Failure(f"{name} gives values that are no numbers; nothing was written.")
    alone = torch.cat([network(long[None, at : at + past + 1])[0, -1:] for at in range(len(clip))])

    def alike(one: Tensor, other: Tensor) -> bool:
        return float(((one - other).abs() > 1 / 255).float().mean()) < DIFFER

    if alike(whole[1:], alone[1:]):
        for found, answer in zip(FIRST, alone[:2], strict=True):
            if alike(whole[0], answer):
                return found
    raise BadInput(
        f"{name} answers a frame otherwise in a clip than beside the {past} before it, or "
        "otherwise each time; a file holds a function of those."
    )


@torch.no_grad()
def _frame_by_frame(network: nn.Module, name: str) -> None:
    """Refuse what is no function of single frames.

    Raises:
        BadInput: one sentence.
        Failure: its answers are no numbers.
    """
    side = 4 * _stride(network) * math.ceil(16 / _stride(network))
    frames = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        together = network(frames)
        alone = torch.cat([network(frame[None]) for frame in frames])
    except Exception as error:  # whatever a network says of a shape that it does not take
        raise BadInput(
            f"{name} does not take single frames, (N, 3, H, W): {str(error).splitlines()[0]}."
        ) from None
    if together.shape != frames.shape:
        raise BadInput(f"{name} turns {tuple(frames.shape)} into {tuple(together.shape)}.")
    if not torch.isfinite(together).all():
        raise Failure(f"{name} gives values that are no numbers; nothing was written.")
    if not torch.allclose(together, alone, atol=1 / 255):
        raise BadInput(
            f"{name} answers a frame otherwise alone than beside others, or otherwise each time; "
            "a file holds a function of one frame."
        )


# What a pixel's answer looks at.


@torch.no_grad()
def margin_of(network: nn.Module, stride: int) -> int | None:
    """How far beyond its own place, in pixels, a part of the answer looks; multiples of stride.

    A block of pixels becomes NaN, which passes through every sum, product and maximum, weights
    of 0 included: where the answer is NaN, the block is looked at. Measured on two sizes, since
    a filter may grow with the picture.

    Returns:
        None if it may look everywhere, or farther with the picture's size.
    """
    side = stride * math.ceil(64 / stride)
    before: int | None = None
    while side <= WIDEST:
        found = _reach(network, side, stride)
        if before is not None:
            return found if found == before else None
        before, side = found, 2 * side
    return None


def _reach(network: nn.Module, side: int, stride: int) -> int | None:
    """Of the middle block, in a square picture; None if it comes to the edges."""
    at = side // 2 // stride * stride
    picture = torch.full((1 + looks_back(network), 3, side, side), 0.5)
    picture[..., at : at + stride, at : at + stride] = math.nan
    hit = _last(network, picture).isnan()[0].any(0)
    rows, columns = (torch.nonzero(hit.any(axis)).flatten().tolist() for axis in (1, 0))
    if not rows:
        return 0
    if min(rows[0], columns[0]) == 0 or max(rows[-1], columns[-1]) == side - 1:
        return None
    far = max(at - rows[0], at - columns[0], rows[-1] + 1 - at - stride,
              columns[-1] + 1 - at - stride)  # fmt: skip
    return math.ceil(far / stride) * stride


# The graph.


def _last(network: nn.Module, frames: Tensor) -> Tensor:
    """The answers to (past + N, 3, H, W), but for the first ``past``, in steps that ONNX has."""
    past, plainly = looks_back(network), getattr(network, "plainly", None)
    if not past:
        answer: Tensor = network(frames)
    elif plainly is not None:
        answer = plainly(frames[None])[0]
    else:
        answer = network(frames[None])[0, past:]
    return answer


class _Bytes(nn.Module):
    """The graph's contract around a function of (N, 3, H, W) in [0, 1]."""

    def __init__(self, network: nn.Module):
        super().__init__()
        # H and W are multiples of the stride here: what pads and rounds is left outside.
        self.network = network.net if isinstance(network, FrameAnonymizer) else network

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        pictures = frames.permute(0, 3, 1, 2).float() / 255
        if isinstance(self.network, Blur):
            found = _blurred(pictures, self.network.sigma)
        elif looks_back(self.network):
            found = _last(self.network, pictures)
        else:
            found = getattr(self.network, "plainly", self.network)(pictures)
        # Before what may take a NaN for a number.
        sums = found.sum((1, 2, 3))
        levels = (found * 255).round().clamp(0, 255).to(torch.uint8)
        return levels.permute(0, 2, 3, 1), sums


def _blurred(frames: Tensor, share: float) -> Tensor:
    """methods/blur as products with matrices: a convolution's kernel cannot grow in a file.

    Args:
        frames: (N, 3, H, W).
        share: standard deviation, of the shorter side.
    """
    height, width = frames.shape[-2:]
    shorter = torch.minimum(torch.full((), height), torch.full((), width)).float()
    half = torch.minimum(torch.round(3 * share * shorter), shorter - 1)

    def matrix(length: Any) -> Tensor:  # a number, while exporting a symbol
        at = torch.arange(length).float()
        last = torch.full((), length).float() - 1
        to, by = at[:, None], at[None]

        def weight(away: Tensor) -> Tensor:
            gauss = torch.exp(-0.5 * (away / (share * shorter)) ** 2)
            return gauss * (away.abs() <= half)

        # Each pixel, and its mirror images beyond either edge.
        mirrored = weight(by + to) * (by > 0) + weight(2 * last - by - to) * (by < last)
        weights = weight(by - to) + mirrored
        return weights / weights.sum(1, keepdim=True)

    return matrix(height) @ frames @ matrix(width).mT


def _translate(network: nn.Module, stride: int, name: str) -> Any:
    """The network as an ``onnx.ModelProto`` without a trace of this machine.

    Raises:
        BadInput: it has operations that ONNX has not.
    """
    from torch.export import Dim

    high, wide = Dim("high", min=1, max=4096), Dim("wide", min=1, max=4096)
    if stride > 1:
        high, wide = stride * high, stride * wide
    past = looks_back(network)
    batch = None if past else Dim("batch", min=1, max=4096)
    sizes = {"frames": {0: batch, 1: high, 2: wide}}
    # Neither 1 nor two of a kind: what is alike in the example may become alike for ever.
    example = torch.zeros(
        past + 1 if past else 2, *(stride * math.ceil(n / stride) for n in (32, 48)), 3
    ).byte()
    with _quiet():
        try:
            program = torch.onnx.export(
                _Bytes(network).eval(),
                (example,),
                dynamo=True,
                dynamic_shapes=sizes,
                input_names=["frames"],
                output_names=["anonymized", "sums"],
                opset_version=OPSET,
                verbose=False,
            )
        except Exception as error:
            root: BaseException = error
            while root.__cause__ is not None:
                root = root.__cause__
            reason = (str(root).strip().splitlines() or [""])[0].rstrip(".")
            raise BadInput(
                f"{name} cannot be translated to ONNX: {type(root).__name__}: {reason[:200]}."
            ) from error
    return clean(program)


def clean(program: Any) -> Any:
    """What was exported as an ``onnx.ModelProto`` without a trace of this machine."""
    assert program is not None
    model = program.model_proto
    model.producer_name, model.producer_version = "velatura", version("velatura")
    model.doc_string = ""
    for thing in (model.graph, *model.graph.node, *model.graph.initializer, *model.functions):
        thing.doc_string = ""
        del thing.metadata_props[:]  # torch notes file names and lines there
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    del model.graph.value_info[:]
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks: to stdout, to loggers, and of the future."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _annotate(model: Any, entries: dict[str, str]) -> None:
    del model.metadata_props[:]
    for key, value in sorted(entries.items()):
        model.metadata_props.add(key=PREFIX + key, value=value)


# The check.


def _clip(path: Path | None, short: int) -> np.ndarray:
    """(T, H, W, 3) uint8: the beginning of a video, or a clip of generated people.

    Raises:
        BadInput: an unreadable video; no OpenCV to draw people with.
    """
    if path is None:
        from velatura.data import people

        return people.figure(people.Config(), "test", 0, size=short).clip
    from velatura.video.probe import probe
    from velatura.video.read import read_frames

    info = probe(path)
    size = scaled(info.height, info.width, short)
    return np.stack([frame.image for frame in islice(read_frames(path, size), CLIP)])


def _compare(
    model: Model, network: nn.Module, short: int, stride: int, clip: np.ndarray
) -> tuple[Difference, Difference]:
    """The file against the network, on random frames and on a clip.

    Raises:
        Failure: they differ.
    """
    draw = np.random.default_rng(0)

    def noise(count: int, height: int, width: int) -> np.ndarray:
        return draw.integers(0, 256, (count, height, width, 3), np.uint8)

    past, step = model.past, int(getattr(network, "step", 1))
    pairs = []
    for count, height, width in (
        (1, short, short), (past + 3, short, round(short * 4 / 3) + 1),
        (2, 2 * short + 3, short + 5),
    ):  # fmt: skip
        frames = noise(count, height, width)
        pairs.append((model.apply(frames), eager(network, frames)))
    for count, height, width in ((1, 5, 7), (2, 6, 4), (5, 8, 8)):  # the graph itself, in batches
        frames = noise(past + 1 if past else count, height * stride, width * stride)
        pairs.append((model.infer(frames), eager(network, frames)[past:]))
    random = _difference(pairs)
    released = eager(network, clip)
    seen = _difference([(model.apply(clip), released)])
    if past:  # what a frame looks back at is handed on from batch to batch
        for batch in (1, 2):
            parts = [clip[at : at + batch] for at in range(0, len(clip), batch)]
            cut = np.concatenate(list(model.process(parts)))
            seen = max(seen, _difference([(cut, released)]))
    for found, what in ((random, "random frames"), (seen, "the clip")):
        if found.largest > step or found.share >= DIFFER:
            raise Failure(
                f"The exported network differs from the trained one on {what}: {found.share:.3%} "
                f"of the bytes, by up to {found.largest} of 255 levels; nothing was written."
            )
    return random, seen


def _difference(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Difference:
    apart = [np.abs(a.astype(np.int16) - b).ravel() for a, b in pairs]
    together = np.concatenate(apart)
    share = float((together > 0).mean())
    return Difference(sum(len(a) for a, _ in pairs), share, int(together.max(initial=0)))


def _seamless(path: Path, margin: int, short: int, past: int) -> bool:
    """Whether a picture in tiles is, to the byte, the picture in one."""
    draw = np.random.default_rng(1)
    side = max(4 * margin, short)
    frames = draw.integers(0, 256, (1 + past, side, side + side // 3 + 1, 3), np.uint8)
    whole = Model(path, device="cpu", pixels=2**31).apply(frames)
    tiled = Model(path, device="cpu", pixels=1).apply(frames)
    return np.array_equal(whole, tiled)


# The file.


@contextmanager
def _beside(destination: Path) -> Iterator[Path]:
    """An empty file in the destination's folder, that is gone afterwards."""
    try:
        handle, text = tempfile.mkstemp(
            dir=destination.parent, prefix=f".{destination.name}.", suffix=".part"
        )
        os.close(handle)
    except OSError as error:
        raise BadInput(f"{destination.parent} cannot be written: {error.strerror}.") from None
    try:
        yield Path(text)
    except OSError as error:
        raise Failure(
            f"Writing {destination} failed: {error.strerror or error}; nothing was written."
        ) from None
    finally:
        Path(text).unlink(missing_ok=True)


def _publish(partial: Path, destination: Path, overwrite: bool) -> None:
    """Flush to the disk and give the file its name, over nothing unless asked to."""
    os.chmod(partial, 0o644)  # mkstemp makes private files
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    if overwrite:
        os.replace(partial, destination)
    else:
        try:
            os.link(partial, destination)  # fails where something appeared meanwhile
        except FileExistsError:
            raise BadInput(f"{destination} appeared meanwhile; it was left as it is.") from None
        except OSError:  # a file system without links
            os.replace(partial, destination)
    with suppress(OSError):
        descriptor = os.open(destination.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
