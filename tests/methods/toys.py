"""Small players, a batch of 8-pixel clips, and a loop that writes down who moved when."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from velatura.training.batches import Batch
from velatura.training.loop import Loop, _average
from velatura.training.players import Players

ACTIONS, ATTRIBUTES = 3, 2


class ToyAnonymizer(nn.Module):
    """A convolution and a BatchNorm over frames; takes frames or clips, ends in (0, 1)."""

    def __init__(self, norm: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3) if norm else nn.Identity()

    def forward(self, clips: Tensor) -> Tensor:
        frames = clips.reshape(-1, *clips.shape[-3:])
        return torch.sigmoid(self.norm(self.conv(frames))).reshape(clips.shape)


class ToyClassifier(nn.Module):
    """Clips to logits, with a BatchNorm and a Dropout, and features as a teacher offers them."""

    def __init__(self, outputs: int, norm: bool = True):
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3, stride=(1, 2, 2), padding=1)
        self.norm = nn.BatchNorm3d(4) if norm else nn.Identity()
        self.drop = nn.Dropout(0.5 if norm else 0.0)
        self.head = nn.Linear(4 * 16, outputs)

    def features(self, clips: Tensor) -> list[Tensor]:
        return [torch.tanh(self.norm(self.conv(clips.transpose(1, 2))))]

    def forward(self, clips: Tensor) -> Tensor:
        return self.head(self.drop(self.features(clips)[-1].mean(2).flatten(1)))


class ToyBudget(nn.Module):
    """Frames to embeddings, with a BatchNorm and a Dropout."""

    def __init__(self, norm: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.drop = nn.Dropout(0.5 if norm else 0.0)
        self.head = nn.Linear(4 * 16, 6)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.drop(torch.tanh(self.norm(self.conv(frames))).flatten(1)))


def toy_players(budget: str, seed: int = 0, norm: bool = True) -> Players:
    """All players of a method whose ``BUDGET`` this is.

    Args:
        norm: with BatchNorm and Dropout; without, an item does not depend on its batch.
    """
    torch.manual_seed(seed)
    f_T, f_B = ToyClassifier(ACTIONS, norm), ToyBudget(norm)
    teacher = None
    if budget == "adversaries":
        f_B = nn.ModuleList(ToyClassifier(ATTRIBUTES, norm) for _ in range(2))
        teacher = copy.deepcopy(f_T)
    return Players(ToyAnonymizer(norm), f_T, f_B, teacher, torch.tensor([0.3, 0.6]))


def toy_batch(seed: int = 0, n: int = 4) -> Batch:
    """(n, 3, 3, 8, 8) clips, labels, and two views that resemble each other."""
    draw = torch.Generator().manual_seed(seed)
    first = torch.rand(n, 3, 8, 8, generator=draw)
    second = 0.5 * first + 0.5 * torch.rand(n, 3, 8, 8, generator=draw)
    return Batch(
        torch.rand(n, 3, 3, 8, 8, generator=draw),
        torch.randint(ACTIONS, (n,), generator=draw),
        torch.randint(2, (n, ATTRIBUTES), generator=draw).float(),
        first,
        second,
    )


def part(batch: Batch, rows: slice) -> Batch:
    """The rows of a batch that one process of several sees."""
    return Batch(*(None if v is None else v[rows] for v in vars(batch).values()))


State = dict[str, dict[str, Tensor]]


def state(players: Players) -> State:
    """Weights and buffers of every player, copied."""
    return {name: copy.deepcopy(m.state_dict()) for name, m in players.modules().items()}


def moved(before: State, after: State) -> set[str]:
    """Players of which a weight or a buffer (BatchNorm's) differs."""
    return {
        name
        for name in after
        if any(not torch.equal(before[name][key], after[name][key]) for key in after[name])
    }


def watch(module: nn.Module, seen: list[Any], note: Callable[[nn.Module, Tensor], Any]) -> None:
    """Note something at each call of a network, from it and its input."""
    module.register_forward_pre_hook(lambda m, inputs: seen.append(note(m, inputs[0])))


class FakeLoop(Loop):
    """The services of a loop, in memory: plain descent, and a diary.

    Attributes:
        diary: (step, player) of each update.
        states: all players at the start of each step.
        kept: what the method asked to keep.
        on_keep: called when it asked; what a resumed run restores, it changes here.
    """

    def __init__(
        self,
        players: Players,
        on_keep: Callable[[], None] = lambda: None,
        batch: Callable[[int], Batch] = toy_batch,
    ):
        self.players, self.on_keep = players, on_keep
        self.diary: list[tuple[int, str]] = []
        self.terms: list[dict[str, Tensor]] = []
        self.states: list[State] = []
        self.kept: dict[str, Any] = {}
        self.batches = SimpleNamespace(at=self._at)
        self.fabric = SimpleNamespace(all_reduce=_mean_over_ranks)
        self._batch = batch

    def _at(self, step: int) -> Batch:
        assert step == self.step
        self.states.append(state(self.players))
        return self._batch(step)

    def precision(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def keep(self, **things: Any) -> None:
        self.kept.update(things)
        self.on_keep()

    def steps(self, total: int) -> Iterator[int]:
        for self.step in range(total):
            yield self.step
        self.states.append(state(self.players))

    def rate(self, optimizer: torch.optim.Optimizer, *rate: float, **shares: float) -> None:
        """The rate of a toy does not change."""

    def update(self, optimizer: torch.optim.Optimizer, terms: Any, player: str) -> None:
        optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        if dist.is_initialized():
            _average([p.grad for g in optimizer.param_groups for p in g["params"]])
        optimizer.step()
        self.diary.append((self.step, player))
        self.terms.append({name: value.detach().clone() for name, value in terms.items()})

    def movers(self) -> list[set[str]]:
        """Who moved in each step."""
        return [moved(a, b) for a, b in zip(self.states, self.states[1:], strict=False)]


def _mean_over_ranks(data: Tensor, reduce_op: str = "mean") -> Tensor:
    assert reduce_op == "mean"
    if dist.is_initialized():
        data = data.clone()
        dist.all_reduce(data)
        data /= dist.get_world_size()
    return data
