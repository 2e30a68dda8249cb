"""The services around a method's loop: device, precision, steps, logs, checkpoints, resume.

A method's page stays in charge; it calls this, never the other way round:

    loop.keep(players=..., optimizer=...)          # what must survive a crash
    for step in loop.steps(cfg.steps):             # seeds, saves, resumes, shows progress
        terms = step_anonymizer(players, loop.batches.at(step), cfg)
        loop.update(optimizer, terms, "anonymizer")

Distributed runs are started by ``torchrun``; gradients are averaged over ranks here, after
``backward``, so that the page needs no wrapper and freezing stays a plain flag.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.errors import BadInput, Failure
from velatura.training import checkpoint, narrow
from velatura.training.batches import Batches
from velatura.training.seed import reseed

__all__ = ["Config", "Loop", "fabric"]


@config
class Config:
    """Services, not science: none of these changes what a method is."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "32", "bf16"] = "auto"
    """``auto``: bf16 on a GPU, and on a CPU with matrix units for it; else 32."""
    save_every: Annotated[int, Field(ge=1)] = 100
    """Steps between checkpoints."""
    log_every: Annotated[int, Field(ge=1)] = 10
    """Steps between lines of the log."""
    clip_gradient: Annotated[float, Field(ge=0)] = 1.0
    """Largest norm of an optimiser's gradient, of all the players that it moves; 0 never clips.
    Not a service: runs that differ in it are different experiments."""


@runtime_checkable
class Stateful(Protocol):
    """What :meth:`Loop.keep` can keep: networks, optimisers, and anything alike."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any) -> Any: ...


def fabric(cfg: Config) -> Fabric:
    """A Lightning Fabric for this configuration; under ``torchrun`` it joins the other ranks.

    Raises:
        BadInput: a GPU is asked for and there is none.
    """
    cuda = torch.cuda.is_available()
    if cfg.device == "cuda" and not cuda:
        raise BadInput(
            "device is 'cuda' but PyTorch sees no GPU; set loop.device to 'cpu' or 'auto', "
            "or check `velatura doctor`."
        )
    device = "cuda" if cuda and cfg.device != "cpu" else "cpu"
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets on each start
    precision = cfg.precision
    if precision == "auto":
        precision = "bf16" if device == "cuda" or _cpu_gains_from_bf16() else "32"
    if device == "cpu" and precision == "bf16":
        narrow.ensure()
    return Fabric(
        accelerator=device,
        devices="auto" if device == "cuda" and _torchrun() else _processes(),
        strategy="ddp" if _torchrun() else "auto",
        precision="bf16-mixed" if precision == "bf16" else "32-true",
    )


def _torchrun() -> bool:
    return dist.is_torchelastic_launched()


def _processes() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if _torchrun() else 1


def _cpu_gains_from_bf16() -> bool:
    """True where the CPU multiplies bf16 in hardware; elsewhere it emulates, slower than fp32."""
    known = torch.backends.cpu.get_cpu_capability() in ("AVX512", "AMX")
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return known and ("avx512_bf16" in flags or "amx_bf16" in flags)


class Loop:
    """One training run in one folder.

    Args:
        folder: run folder; receives ``checkpoint.safetensors`` and ``log.jsonl``.
        fabric: device and precision.
        batches: step number to batch; a page that is no method's may bring others, or none.
        cfg: services.
        seed: of the run.
        about: provenance that travels with each checkpoint.
        resume: continue from the folder's checkpoint if there is one.
        progress: called with (steps done, steps in all, latest terms).
    """

    def __init__(
        self,
        folder: Path,
        fabric: Fabric,
        batches: Any,
        cfg: Config,
        seed: int,
        about: Mapping[str, Any],
        resume: bool = False,
        progress: Callable[[int, int, dict[str, float]], None] | None = None,
    ):
        self.batches: Batches = batches
        self.folder, self.fabric, self.cfg = folder, fabric, cfg
        self.seed, self.about, self.progress = seed, dict(about), progress
        self.file = folder / "checkpoint.safetensors"
        self.step = 0
        self._saved: dict[str, Any] | None = None
        if resume and self.file.exists():
            self._saved, before = checkpoint.load(self.file)
            if "step" not in self._saved:
                raise BadInput(f"{self.file} is not the checkpoint of a run; start anew.")
            if before.get("data") != self.about.get("data"):
                raise BadInput(
                    f"{self.file} was trained on other data of the same name: files or labels have "
                    "changed since. Start anew in another folder, with --out."
                )
            self.step = int(self._saved["step"])
        self._kept: dict[str, Stateful] = {}
        self._stop: int | None = None
        self._latest: dict[str, float] = {}
        self._log = Log(folder, self.step) if fabric.is_global_zero else None

    @property
    def device(self) -> torch.device:
        """Where the run computes."""
        device: torch.device = self.fabric.device
        return device

    def precision(self) -> AbstractContextManager[Any]:
        """The context to compute a step in: bf16 where chosen."""
        context: AbstractContextManager[Any] = self.fabric.autocast()
        return context

    def keep(self, **things: Stateful) -> None:
        """Name everything that the run's future depends on; on resume, it is restored here."""
        self._kept.update(things)
        for name, thing in things.items():
            if self._saved is None:
                continue
            if name not in self._saved:
                raise BadInput(
                    f"{self.file} holds no {name!r}: it is of another method; start anew."
                )
            if isinstance(thing, nn.Module):
                checkpoint.load_into(thing, self._saved[name], f"{self.file} ({name})")
            else:
                thing.load_state_dict(self._saved[name])
            if isinstance(thing, torch.optim.Optimizer):
                _lay_out_like_parameters(thing)
        if self._saved is None and self.fabric.world_size > 1:
            for thing in things.values():
                if isinstance(thing, nn.Module):
                    for value in thing.state_dict().values():
                        dist.broadcast(value, 0)

    def steps(self, total: int) -> Iterator[int]:
        """Step numbers from where the run stands to ``total``; saves at the end and on a period.

        SIGINT and SIGTERM save after the current step and raise ``KeyboardInterrupt``.
        """
        with _Signals(self._note_signal):
            last = time.monotonic()
            while self.step < total:
                reseed(self.seed, "step", self.step)
                yield self.step
                self.step += 1
                if self.progress and (time.monotonic() - last > 0.2 or self.step == total):
                    last = time.monotonic()
                    self.progress(self.step, total, self._latest)
                if self._agree():
                    self.save()
                    raise KeyboardInterrupt
                if self.step % self.cfg.save_every == 0 or self.step == total:
                    self.save()

    def rate(
        self,
        optimizer: torch.optim.Optimizer,
        lr: float,
        total: int,
        *,
        warm_up: float = 0.0,
        anneal: float = 0.0,
    ) -> None:
        """Set this step's rate: linear up to ``lr``, constant, and linear down to zero.

        Adam's first steps have full length however small the gradient, and a player that begins
        so overshoots. A game that is stopped at full speed ends wherever its last swing took it.

        Args:
            total: steps of the run.
            warm_up, anneal: shares of them that rise and fall; 0 and 0 is constant.
        """
        rising = (self.step + 1) / max(warm_up * total, 1)
        falling = (total - self.step) / max(anneal * total, 1)
        for group in optimizer.param_groups:
            group["lr"] = lr * min(rising, falling, 1.0)

    def update(
        self, optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor], player: str
    ) -> None:
        """Descend ``terms["loss"]`` with one optimiser, after checks; log the terms.

        Raises:
            Failure: a term or a gradient is not finite; names the step and the term. The
                weights are those before the step, and the last checkpoint stays.
        """
        # The loss last: what made it so is the better name.
        for name, value in sorted(terms.items(), key=lambda term: term[0] == "loss"):
            if not torch.isfinite(value).all():
                raise self._not_finite(f"the term {name!r} of the {player} is {value.item()}")
        optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        parameters = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        if self.fabric.world_size > 1:
            _average([p.grad for p in parameters if p.grad is not None])
        norm = nn.utils.clip_grad_norm_(parameters, self.cfg.clip_gradient or float("inf"))
        if not torch.isfinite(norm):
            raise self._not_finite(f"the gradient of the {player} has norm {norm.item()}")
        optimizer.step()
        self._note({**terms, "gradient": norm}, player)

    def save(self) -> None:
        """Write the checkpoint now, atomically; rank 0 writes."""
        if self.fabric.is_global_zero:
            state = {name: thing.state_dict() for name, thing in self._kept.items()}
            checkpoint.save(self.file, {**state, "step": self.step}, self.about)
            assert self._log
            self._log.flush()

    def _agree(self) -> bool:
        """Over ranks: what BatchNorm remembers, and whether to stop.

        A rank that stopped alone would leave the others waiting for its gradients. So a signal
        that comes while they agree counts in the next step.
        """
        if self.fabric.world_size == 1:
            return self._stop is not None
        networks = [thing for thing in self._kept.values() if isinstance(thing, nn.Module)]
        buffers = [b for n in networks for b in n.buffers() if b.is_floating_point()]
        asked = torch.tensor([float(self._stop is not None)], device=self.device)
        _average([asked, *buffers])
        return bool(asked.item())

    def _note(self, terms: Mapping[str, Tensor], player: str) -> None:
        due = self.step % self.cfg.log_every < 2  # two, so that both players of an alternation show
        if not (due or self.progress):
            return
        values = {name: float(value.detach()) for name, value in terms.items()}
        self._latest = values
        if due and self._log:
            self._log.write(self.step, player, values)

    def _not_finite(self, what: str) -> Failure:
        kept = (
            f"the checkpoint of an earlier step is in {self.folder}" if self.file.exists() else ""
        )
        return Failure(
            f"Step {self.step}: {what}; the run stops before it spreads. "
            f"Lower the learning rates or set loop.precision = '32'; "
            f"{kept or 'nothing was saved yet'}."
        )

    def _note_signal(self, number: int) -> None:
        self._stop = number


class Log:
    """``log.jsonl``, one object per logged step, and TensorBoard events beside it."""

    def __init__(self, folder: Path, step: int):
        self.path = folder / "log.jsonl"
        old = self.path.read_text().splitlines() if self.path.exists() and step else []
        # Lines past the checkpoint belong to steps that will be taken again; a last line
        # that a kill cut short is one of those.
        kept = [line for line in old if line.endswith("}") and json.loads(line)["step"] < step]
        checkpoint.write_atomically(self.path, "".join(line + "\n" for line in kept).encode())
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)  # type: ignore[no-untyped-call]

    def write(self, step: int, player: str, values: Mapping[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, "player": player, **values}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(f"{player}/{name}", value, step)  # type: ignore[no-untyped-call]

    def flush(self) -> None:
        self.board.flush()  # type: ignore[no-untyped-call]


def _average(tensors: list[Tensor]) -> None:
    """Mean over ranks in place, in one message. Every rank has the same tensors."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view(tensor.shape))


def _lay_out_like_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give restored moments the memory layout of their weights: fused kernels assume it."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                state[name] = torch.empty_like(parameter).copy_(value).detach()


class _Signals(AbstractContextManager["_Signals"]):
    """Turn SIGINT and SIGTERM into a note, only where signals may be handled: the main thread."""

    def __init__(self, note: Callable[[int], None]):
        self.note = note
        self.before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self.before[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread
                break
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.note(number)

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
