"""A trained anonymizer as one ONNX file: what `velatura export` writes, run without torch.

The graph takes and gives bytes:

    frames      (N, H, W, 3) uint8, RGB; H and W multiples of the network's stride
    anonymized  (N, H, W, 3) uint8
    sums        (N,) float32 of each answer before it became bytes, which cannot hold a NaN

One that looks back at ``past`` frames takes exactly those and the frame that is asked for,
(past + 1, H, W, 3), the oldest first, and answers the last, (1, H, W, 3). Who calls it keeps the
frames; before the first of a clip there stand copies of that first one, as if it had stood there
for ever. Readers of files that look at single frames only know such a file for another kind.

What is known of the network stands in the file's own metadata, under ``velatura.``. A stranger's
file may be opened: it is looked through before a library sees it, and holds graph and numbers,
never code; one that refers to other files, or to operators that ONNX does not define, is refused.

Every frame goes through the network alone, or with its past, and on one core, several side by
side. So a picture depends neither on the batch nor on the number of threads, no core waits spinning
for another while a video is encoded, and a batch that leaves the cache is not slower than a frame.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from velatura.deploy.anonymizer import Anonymizer, scaled
from velatura.errors import BadInput, Failure, unknown
from velatura.onnx_file import LONGEST, metadata, read

__all__ = [
    "FIRST", "PACKAGED", "PREFIX", "SCHEMA", "SCHEMA_PAST", "About", "Model", "packaged",
    "read_about",
]  # fmt: skip

SCHEMA = "velatura-model/1"
SCHEMA_PAST = "velatura-model/2"  # of a file that looks back
FIRST = ("rest", "next")  # what the first frame of a clip is given
MOST = 64  # frames that a file may look back
PREFIX = "velatura."  # of the metadata's keys

PIXELS = 1_500_000  # at once, in all frames or tiles side by side
LEAST = 250_000  # of a tile: smaller ones are mostly margin

FOLDER = Path(__file__).parent / "models"
PACKAGED: dict[str, Path] = {path.stem: path for path in sorted(FOLDER.glob("*.onnx"))}


class About(NamedTuple):
    """What a file says of itself.

    Attributes:
        name: of the anonymizer.
        stride: what height and width must be multiples of, pixels.
        short_side: of the pictures that it was measured on, pixels.
        margin: how far a pixel's answer looks, pixels, in multiples of the stride; None where
            it may look everywhere.
        past: how many frames it looks back.
        first: what the first frame of a clip is given: ``"rest"``, the answer to a picture that
            has not moved; ``"next"``, the answer that the frame after it is given.
        card: what was measured of it; empty where nothing was.
        rest: every other entry, such as the run file that repeats its training.
    """

    name: str
    stride: int
    short_side: int
    margin: int | None
    past: int
    first: str
    card: dict[str, Any]
    rest: dict[str, str]


class Model(Anonymizer):
    """An exported anonymizer.

    Attributes:
        about: what the file says of itself.
        runtime: ``"onnxruntime"`` or ``"openvino"``.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        scale: int | None = None,
        device: str = "auto",
        threads: int = 0,
        runtime: str = "onnxruntime",
        pixels: int = 0,
    ):
        """Open a file.

        Args:
            path: what ``velatura export`` wrote.
            scale: pixels of the shorter side that it is shown; None is the size at which it was
                measured, 0 the video's own.
            device: ``"auto"``, ``"cpu"``, ``"cuda"``, or ``"openvino"``: the CPU, by that runtime;
                ``"openvino-bf16"``: in 16 bits, which is fast where the CPU multiplies those.
            threads: frames or tiles side by side; 0 is one on each core.
            runtime: ``"onnxruntime"`` or ``"openvino"``; their answers may differ by a level.
            pixels: of a tile, at most; 0 chooses. The answer does not depend on it.

        Raises:
            BadInput: no such file, or none that ``velatura export`` wrote; a device or library
                that is asked for and not there.
        """
        path = Path(path)
        for value, what in ((scale or 0, "scale"), (threads, "threads"), (pixels, "pixels")):
            if value < 0:
                raise BadInput(f"{what} must be 0 or more, not {value}.")
        if device not in ("auto", "cpu", "cuda", "openvino", "openvino-bf16"):
            raise BadInput(f"device is auto, cpu, cuda, openvino or openvino-bf16, not {device!r}.")
        precision = "bf16" if device == "openvino-bf16" else "f32"
        if device.startswith("openvino"):
            device, runtime = "cpu", "openvino"
        content = read(path, "velatura export")
        self.about = read_about(content, str(path))
        self.name, self.card = self.about.name, self.about.card
        self.past = self.about.past
        self.moves = self.past > 0
        self.short = self.about.short_side if scale is None else scale
        self.digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if self.short != self.about.short_side:
            self.digest += f":{self.short}"  # the same network shows other pictures
        if precision != "f32":
            self.digest += f":{precision}"  # its answers differ by some levels
        self.workers = threads or _cores()
        self.pixels = pixels
        self.runtime = runtime
        try:
            if runtime == "openvino":
                small = (self.past + 1, self.about.stride, self.about.stride, 3)
                self._network, obtained = _openvino(content, device, self.workers, small, precision)
            elif runtime == "onnxruntime":
                self._network, obtained = _onnxruntime(content, device, self.past)
            else:
                raise BadInput(f"runtime is onnxruntime or openvino, not {runtime!r}.")
        except BadInput:
            raise
        except ImportError as error:
            raise BadInput(
                f"{runtime} cannot be loaded ({_line(error)}): pip install {runtime}."
            ) from None
        except Exception as error:  # what a library makes of a file that is none
            raise BadInput(f"{path} cannot be run by {runtime}: {_line(error)}.") from None
        self.device = f"{obtained} ({runtime}{', bf16' if precision == 'bf16' else ''})"
        if obtained == "cuda":
            self.workers = 1
        self._pool: ThreadPoolExecutor | None = None
        self._one = threading.Lock()

    def work_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the picture that it is shown of a frame of this size."""
        return scaled(height, width, self.short)

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """(T, h, w, 3) uint8 RGB of any size to the same, each frame by itself; where it looks
        back, a clip that stands alone.

        Raises:
            Failure: the network broke, or gave values that are no numbers.
        """
        if self.past:
            return np.concatenate(list(self.process([frames])))
        return self._answers(frames)

    def process(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """As ``Anonymizer.process``; frames of another size begin anew."""
        if not self.past:
            yield from super().process(batches)
            return
        for _, scene in groupby(batches, lambda frames: frames.shape[1:]):
            yield from self._scene(scene)

    def _scene(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Consecutive batches of one size, by a network that looks back."""
        before: np.ndarray | None = None  # what the next frame looks back at
        waiting: np.ndarray | None = None  # the first frame, for the one after it
        for frames in batches:
            if not len(frames):
                continue
            if waiting is not None:
                frames, waiting = np.concatenate([waiting, frames]), None
            alike = before is None and self.about.first == "next"
            if alike and len(frames) == 1:
                waiting = frames.copy()
                continue
            if before is None:
                before = np.repeat(frames[:1], self.past, 0)
            seen = np.concatenate([before, frames])
            before = seen[-self.past :]
            answers = self._answers(seen)
            if alike:
                answers[0] = answers[1]
            yield answers
        if waiting is not None:  # it stands alone
            yield self._answers(np.repeat(waiting, self.past + 1, 0))

    def _answers(self, frames: np.ndarray) -> np.ndarray:
        """(past + T, h, w, 3) uint8 to the answers to the last T."""
        count, (height, width) = len(frames) - self.past, frames.shape[1:3]
        stride = self.about.stride
        below, right = -height % stride, -width % stride
        # Bottom and right only, repeating the edge: cropping gives every pixel its place.
        edges = (0, 0), (0, below), (0, right), (0, 0)
        padded = np.pad(frames, edges, "edge") if below or right else frames
        answer = np.empty_like(frames[self.past :])
        tiles = list(self._tiles(count, height + below, width + right))

        def work(job: tuple[int, _Tile]) -> None:
            at, tile = job
            found = self.infer(padded[at : at + self.past + 1, *tile.seen])[0, *tile.kept]
            rows, columns = tile.place
            place = answer[at, rows, columns]
            place[:] = found[: place.shape[0], : place.shape[1]]

        jobs = [(at, tile) for at in range(count) for tile in tiles]
        if self.workers == 1 or len(jobs) == 1:
            for job in jobs:
                work(job)
        else:
            for _ in self._threads().map(work, jobs):
                pass
        return answer

    def infer(self, frames: np.ndarray) -> np.ndarray:
        """One call of the network, (N, H, W, 3) uint8 to the same, multiples of the stride; where
        it looks back, (past + 1, H, W, 3) to (1, H, W, 3).

        Raises:
            Failure: the network broke, or gave values that are no numbers.
        """
        try:
            pictures, sums = self._network(np.ascontiguousarray(frames))
        except MemoryError:
            raise
        except Exception as error:
            if "alloc" in str(error).lower():
                raise MemoryError(_line(error)) from None
            raise Failure(f"{self.name} broke in {self.runtime}: {_line(error)}.") from None
        if not np.isfinite(sums).all():
            raise Failure(f"{self.name} gave a value that is not a number.")
        expected = (len(frames) - self.past, *frames.shape[1:])
        if pictures.shape != expected or pictures.dtype != np.uint8:
            raise Failure(
                f"{self.name} turned uint8 {frames.shape} into {pictures.dtype} {pictures.shape}."
            )
        return pictures

    def _threads(self) -> ThreadPoolExecutor:
        with self._one:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.workers, "velatura-model")
            return self._pool

    def _tiles(self, count: int, height: int, width: int) -> Iterator[_Tile]:
        """How a padded picture is cut; whole if it is small, or if the network looks everywhere."""
        margin, stride = self.about.margin, self.about.stride
        # As many tiles as there are workers, where there are fewer frames than that.
        share = min(PIXELS, count * height * width) // self.workers
        most = self.pixels or max(LEAST, share)
        if margin is None or height * width <= most:
            yield _Tile.of(0, height, 0, width, 0, height, width)
            return
        side = max(math.isqrt(most) - 2 * margin, 2 * margin, stride)
        tall, wide = (_even(length, side, stride) for length in (height, width))
        for top in range(0, height, tall):
            for left in range(0, width, wide):
                bottom, right = min(top + tall, height), min(left + wide, width)
                yield _Tile.of(top, bottom, left, right, margin, height, width)


class _Tile(NamedTuple):
    """Rows and columns: of the picture that the network sees, of its answer that is kept, and
    of the picture that this is the answer for."""

    seen: tuple[slice, slice]
    kept: tuple[slice, slice]
    place: tuple[slice, slice]

    @classmethod
    def of(
        cls, top: int, bottom: int, left: int, right: int, margin: int, height: int, width: int
    ) -> _Tile:
        above, before = max(0, top - margin), max(0, left - margin)
        rows, columns = slice(top, bottom), slice(left, right)
        seen = slice(above, min(height, bottom + margin)), slice(before, min(width, right + margin))
        kept = slice(top - above, bottom - above), slice(left - before, right - before)
        return cls(seen, kept, (rows, columns))


def _even(length: int, most: int, stride: int) -> int:
    """The side of equal parts of a length, multiples of the stride, of about ``most`` at most."""
    parts = math.ceil(length / most)
    return math.ceil(length / parts / stride) * stride


def packaged(
    name: str, *, scale: int | None = None, device: str = "auto", threads: int = 0
) -> Model:
    """A model inside the package; NAME.json beside it, where it is there, is its card.

    Raises:
        BadInput: no such model; a device that is not there.
    """
    if name not in PACKAGED:
        raise unknown("model in the package", name, PACKAGED)
    path = PACKAGED[name]
    model = Model(path, scale=scale, device=device, threads=threads)
    model.name = name
    if (card := path.with_suffix(".json")).exists():
        model.card = _object(card.read_bytes()[: LONGEST + 1], str(card))
    return model


def _cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# What computes: bytes in, (bytes, sums) out; called from several threads.

Network = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _onnxruntime(content: bytes, device: str, past: int) -> tuple[Network, str]:
    import onnxruntime as ort

    there = ort.get_available_providers()
    if device == "cuda" and "CUDAExecutionProvider" not in there:
        raise BadInput(
            "device cuda: this onnxruntime has no CUDA; pip install onnxruntime-gpu, or use cpu."
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 4
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu" and "CUDAExecutionProvider" in there:
        exact = {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}
        providers.insert(0, ("CUDAExecutionProvider", exact))
    session = ort.InferenceSession(content, options, providers=providers)
    given = [(i.name, i.type, len(i.shape)) for i in session.get_inputs()]
    gives = [(o.name, o.type) for o in session.get_outputs()]
    if given != [("frames", "tensor(uint8)", 4)] or gives != [
        ("anonymized", "tensor(uint8)"),
        ("sums", "tensor(float)"),
    ]:
        raise BadInput(f"It has other inputs and outputs than an anonymizer: {given}, {gives}.")
    frames = session.get_inputs()[0].shape[0]
    if past and frames != past + 1:
        raise BadInput(f"It looks {past} frames back, it says, and takes {frames!r} at a time.")
    cuda = session.get_providers()[0] == "CUDAExecutionProvider"  # what was obtained
    if device == "cuda" and not cuda:
        raise BadInput("device cuda: onnxruntime could not start CUDA; see `velatura doctor`.")

    def network(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pictures, sums = session.run(["anonymized", "sums"], {"frames": frames})
        return pictures, sums

    return network, "cuda" if cuda else "cpu"


def _openvino(
    content: bytes, device: str, workers: int, small: tuple[int, ...], precision: str
) -> tuple[Network, str]:
    if device == "cuda":
        raise BadInput("device cuda: openvino has no CUDA here; use runtime onnxruntime, or cpu.")
    import openvino

    core = openvino.Core()
    settings = {
        # As many requests side by side, each on one core; and 32 bits unless asked, where openvino
        # would take bf16 on a CPU that has it.
        "NUM_STREAMS": str(workers),
        "INFERENCE_NUM_THREADS": str(workers),
        "INFERENCE_PRECISION_HINT": precision,
    }
    compiled: dict[tuple[int, ...], Any] = {}
    one, mine = threading.Lock(), threading.local()

    def network(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        requests = mine.__dict__.setdefault("requests", {})
        if frames.shape not in requests:
            with one:  # for each size by itself: a model of any size takes twice as long
                if frames.shape not in compiled:
                    model = core.read_model(content)
                    model.reshape({"frames": list(frames.shape)})
                    compiled[frames.shape] = core.compile_model(model, "CPU", settings)
            requests[frames.shape] = compiled[frames.shape].create_infer_request()
        found = requests[frames.shape].infer({"frames": frames})
        return np.array(found["anonymized"]), np.array(found["sums"])

    # What is wrong with the file is said now. And the first call of all must not be two: inside
    # openvino one would wait for the other, which waits for Python's lock, for ever.
    with _FIRST:
        network(np.zeros(small, np.uint8))
    return network, "cpu"


_FIRST = threading.Lock()


# The file, before a library sees it.


def read_about(content: bytes, what: str = "The file") -> About:
    """What an exported anonymizer says of itself.

    Args:
        content: of the file.
        what: for the message.

    Raises:
        BadInput: not ONNX; refers to other files, or to operators that ONNX does not define;
            not written by ``velatura export``, or by another version of it.
    """
    try:
        found = metadata(content)
    except ValueError as error:
        raise _not_ours(what, str(error)) from None
    entries = {k.removeprefix(PREFIX): v for k, v in found.items() if k.startswith(PREFIX)}
    if not entries or "schema" not in entries:
        raise _not_ours(what, "it has none of our metadata")
    if entries["schema"] not in (SCHEMA, SCHEMA_PAST):
        raise BadInput(
            f"{what} says {entries['schema'][:40]!r}; this version reads {SCHEMA!r} and "
            f"{SCHEMA_PAST!r}: export it again."
        )
    past, first = 0, FIRST[0]
    if entries["schema"] == SCHEMA_PAST:
        past, first = _number(entries, "past", 1, MOST, what), entries.get("first", "")
        if first not in FIRST:
            raise _not_ours(what, f"its first is {first[:20]!r}")
    name = entries.get("name", "")
    if not name or len(name) > 64 or not name.isprintable():
        raise _not_ours(what, "its name is unusable")
    margin = entries.get("margin", "")
    return About(
        name=name,
        stride=_number(entries, "stride", 1, 1024, what),
        short_side=_number(entries, "short_side", 1, 2**14, what),
        margin=_number(entries, "margin", 0, 2**14, what) if margin else None,
        past=past,
        first=first,
        card=_object(entries.get("card", "{}").encode(), what),
        rest=entries,
    )


def _number(entries: dict[str, str], key: str, least: int, most: int, what: str) -> int:
    text = entries.get(key, "")
    if not (text.isascii() and text.isdigit() and len(text) < 9 and least <= int(text) <= most):
        raise _not_ours(what, f"its {key} is {text[:20]!r}")
    return int(text)


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if len(text) <= LONGEST else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _not_ours(what, "its card is not a JSON object")
    return found


def _not_ours(what: str, why: str) -> BadInput:
    return BadInput(f"{what} is no anonymizer that `velatura export` wrote: {why}.")


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
