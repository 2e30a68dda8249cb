"""Identity: can a person be found again? Attributes may be hidden and the person still be known.

A network learns from the training people what tells people apart; what it has learnt to look at is
then used on people whom it never met. The first clip of each test person is enrolled, the others
are asked: who is this? A person with one clip is left out. Three galleries:

    raw_to_anon         who is it, asked by somebody who has raw footage of everybody
    anon_to_anon        linkability: is this the same person again, whoever it is
    recovered_to_raw    the first, after an attempt to undo (:mod:`velatura.protocols.inversion`)

Three networks: ``raw`` knows raw clips only; ``adapted`` went on to learn raw and released clips of
the training people under one name, which brings both to one place; ``released`` went on with
released ones alone. Of those that can be asked of a gallery the one that finds more counts, as the
strongest attacker does, and is named.

A person is whatever the data set's groups are. Where those are source films, what is found again
is the film: its scenery as well as those in it. Such a figure says that clips can be linked, and
nothing of faces. The row of the raw video says how much there is to find.

Sources: ISO/IEC 19795-1 for the protocol; Prince and Elder, 2007,
https://doi.org/10.1109/ICCV.2007.4409052, and Ioffe, 2006, https://doi.org/10.1007/11744085_41,
for :meth:`Embedder.separate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from velatura import metrics, plugins, reidentify
from velatura.config import config
from velatura.errors import BadInput
from velatura.layout import ClipSet, Frames, Labels, Measurement, Splits
from velatura.protocols._fresh import all_alike, groups_of
from velatura.training import fit, windows
from velatura.training.batches import Config as Window
from velatura.training.seed import reseed

__all__ = [
    "Config", "Roles", "embed", "enrol", "figures", "fit_embedder", "identify", "measurements",
    "network", "outputs",
]  # fmt: skip

LABELS: Labels = "actions"  # measured on the clips
FARS = (0.01, 0.001)


@config
class Config:
    """How the networks that tell people apart learn."""

    network: str = "frame_cnn"
    """A classifier of ``models``; its outputs are the embedding."""
    dimensions: Annotated[int, Field(ge=2)] = 128
    """Of the embedding."""
    epochs: Annotated[int, Field(ge=1)] = 7
    """On raw clips, from random weights."""
    adapt_epochs: Annotated[int, Field(ge=1)] = 2
    """On raw and released clips, and on released clips, from there."""
    lr: Annotated[float, Field(gt=0)] = 3e-3
    batch: Annotated[int, Field(ge=2)] = 32
    replicates: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap replicates of the intervals."""


def outputs(train: ClipSet) -> int:
    """How many attributes are learnt of these clips: theirs, or, without any, being each person."""
    return len(train.attribute_names) or groups_of(train)


def network(cfg: Config, outputs: int) -> nn.Module:
    """A fresh network: clips (B, T, C, H, W) in [0, 1] to logits (B, outputs).

    Args:
        outputs: how many answers it learns; see :func:`fit_embedder`.

    Raises:
        BadInput: the network of the configuration is no classifier.
    """
    module = plugins.load("models", cfg.network)
    if not hasattr(module, "classifier"):
        raise BadInput(f"identity.network: {cfg.network} is no classifier; frame_cnn is one.")
    return Embedder(module.classifier(module.Config(), cfg.dimensions), cfg.dimensions, outputs)


class Embedder(nn.Module):
    """What people look like, as directions; :meth:`embed` needs nobody's name.

    Args:
        body: clips (B, T, C, H, W) to (B, D).
    """

    def __init__(self, body: nn.Module, dimensions: int, outputs: int):
        super().__init__()
        self.body, self.head = body, nn.Linear(dimensions, outputs)
        self.mean: Tensor
        self.projection: Tensor
        self.register_buffer("mean", torch.zeros(dimensions))
        self.register_buffer("projection", torch.eye(dimensions))

    def forward(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b k"]:
        logits: Tensor = self.head(self.body(clips))
        return logits

    def embed(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """What the body says of clips, so that an angle tells people apart."""
        return (features - self.mean) @ self.projection

    def separate(self, features: Float[Tensor, "n d"], people: Int64[np.ndarray, " n"]) -> None:
        """Find the directions in which people differ more than the clips of one do.

            within W, the covariance of clips around their person's mean
            between B, that of the means, less what W leaves in them
            B v = b W' v,  each direction v weighted by  sqrt(b / (b + 1))

        This is the two-covariance model of PLDA, which a cosine then scores. W' is W drawn half-way
        to a multiple of the identity, since people are few. Where none is shown twice, nothing is
        known of W, and directions stay as they are.
        """
        x = features.double()
        _, index, counts = np.unique(people, return_inverse=True, return_counts=True)
        who, each = torch.from_numpy(index).to(x.device), torch.from_numpy(counts).to(x.device)
        means = x.new_zeros(len(counts), x.shape[1]).index_add_(0, who, x) / each[:, None]
        apart = x - means[who]
        within = apart.T @ apart / max(len(x) - len(counts), 1)
        level = within.trace() / len(within)
        if level <= 0 or len(counts) < 2:
            return
        between = means.T.cov() - within * (1 / each).mean()
        # W' = R R^T: in R's coordinates it is the identity.
        root = torch.linalg.cholesky((within + level * torch.eye(len(within)).to(within)) / 2)
        inner = torch.linalg.solve_triangular(root, between, upper=False)
        inner = torch.linalg.solve_triangular(root, inner.T, upper=False)
        values, vectors = torch.linalg.eigh((inner + inner.T) / 2)
        values = values.clamp_min(0)
        vectors = torch.linalg.solve_triangular(root.T, vectors, upper=True)
        self.mean.copy_(x.mean(0))
        self.projection.copy_(vectors * (values / (values + 1)).sqrt())


def fit_embedder(
    train: Sequence[ClipSet],
    val: Sequence[ClipSet],
    window: Window,
    seed: int,
    fabric: Fabric,
    cfg: Config,
    start: Mapping[str, Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """Train a network to tell apart the people of some clips.

    First it learns the private attributes, which are a part of what people look like and stand in
    thousands of clips; names teach far less where each is in a few, and are learnt only where the
    data has no attributes. Then it finds the directions that separate people
    (:meth:`Embedder.separate`), for which names are what counts.

    Args:
        train: training splits of the same people, such as the raw and the released one; together
            they are learnt from, with one name for a person in all of them.
        val: the validation splits that go with them; they choose the epoch. Names can only be told
            of people who were learnt, so where those are learnt, ``train`` does.
        start: the state of a network of the same people to go on from, for
            ``cfg.adapt_epochs``; None starts fresh, for ``cfg.epochs``.
        progress: called with (steps done, steps in all).

    Returns:
        The :class:`Embedder`.
    """
    data = _joined(train)
    chooses = _joined(val) if train[0].attribute_names else data
    reseed(seed, "embedder")
    net = network(cfg, data.attributes.shape[1])
    assert isinstance(net, Embedder)
    if start is not None:
        net.load_state_dict(dict(start))
    epochs = cfg.epochs if start is None else cfg.adapt_epochs
    learning = fit.Config(epochs=epochs, lr=cfg.lr, batch=cfg.batch)
    fit.fit(net, data, chooses, "attributes", learning, window, seed, fabric, progress)
    net.separate(_features(net, data, window, fabric), data.groups)
    return net


def _joined(parts: Sequence[ClipSet]) -> ClipSet:
    """Several splits as one; where they have no attributes, being each person is one."""
    groups = np.concatenate([part.groups for part in parts])
    attributes = np.concatenate([part.attributes for part in parts])
    names = parts[0].attribute_names
    if not names:
        people = np.unique(groups)
        attributes = (groups[:, None] == people[None]).astype(np.uint8)
        names = tuple(map(str, people))
    return ClipSet(
        frames=Joined([part.frames for part in parts]),
        lengths=np.concatenate([part.lengths for part in parts]),
        actions=np.concatenate([part.actions for part in parts]),
        attributes=attributes,
        groups=groups,
        action_names=parts[0].action_names,
        attribute_names=names,
        name=parts[0].name,
        fingerprint="+".join(part.fingerprint for part in parts),
    )


class Joined:
    """Frames of several splits, one split behind the other, read by number."""

    def __init__(self, parts: Sequence[Frames]):
        self.parts = parts
        self.ends = np.cumsum([part.shape[0] for part in parts])
        self.shape = (int(self.ends[-1]), *parts[0].shape[1:])

    def __getitem__(self, numbers: Any) -> np.ndarray:
        if isinstance(numbers, slice):
            numbers = range(*numbers.indices(self.shape[0]))
        wanted = np.asarray(numbers, np.int64)
        which = np.searchsorted(self.ends, wanted, side="right")
        out = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        for index, part in enumerate(self.parts):
            mine = which == index
            if mine.any():
                out[mine] = part[wanted[mine] - (self.ends[index] - part.shape[0])]
        return out


def embed(
    embedder: nn.Module, data: ClipSet, window: Window, fabric: Fabric
) -> Float[np.ndarray, "n d"]:
    """Embeddings of videos; the cosine of two says how alike their people look.

    Where all videos show the same bytes nothing tells them apart: then all are 0, which is like
    nothing, and rounding decides nothing.
    """
    assert isinstance(embedder, Embedder)
    if all_alike(data):
        return np.zeros((len(data), len(embedder.mean)), np.float32)
    found: np.ndarray = embedder.embed(_features(embedder, data, window, fabric)).cpu().numpy()
    return found


@torch.no_grad()
def _features(
    embedder: Embedder, data: ClipSet, window: Window, fabric: Fabric, batch: int = 64
) -> Float[Tensor, "n d"]:
    """What the body says of each video: the mean over its windows and their mirror images."""
    embedder.eval()
    window, out = windows.of(data, window), []
    windows.check(data, window)
    for start in range(0, len(data), batch):
        items = np.arange(start, min(start + batch, len(data)))
        seen = []
        for stored in windows.even(data, items, window, window.starts):
            clips = windows.central(stored, window).to(fabric.device)
            with fabric.autocast():
                seen += [embedder.body(clips).float(), embedder.body(clips.flip(-1)).float()]
        out.append(torch.stack(seen).mean(0))
    return torch.cat(out)


class Roles(NamedTuple):
    """Which clips are enrolled, and which ask.

    Attributes:
        enrolled: (P,) the first clip of each person who has more.
        queries: (Q,) their other clips.
        left_out: how many people have one clip only.
    """

    enrolled: Int64[np.ndarray, " p"]
    queries: Int64[np.ndarray, " q"]
    left_out: int


def enrol(groups: Int64[np.ndarray, " n"]) -> Roles:
    """Give each clip its role, by who is in it."""
    _, first, who, count = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    several = count > 1
    asks = several[who]
    asks[first] = False
    return Roles(np.sort(first[several]), np.flatnonzero(asks), int((~several).sum()))


def figures(
    similarity: Float[np.ndarray, "q p"],
    asked: Int64[np.ndarray, " q"],
    known: Int64[np.ndarray, " p"],
    replicates: int,
) -> dict[str, Any]:
    """Rank-1 with its interval over people, its chance, and TAR at each FAR, in per cent.

    TAR is None where there are too few pairs of different people for such a FAR.
    """
    value = reidentify.rank1(similarity, asked, known)
    weights = metrics.bootstrap_weights(asked, replicates, 0)
    drawn = reidentify.rank1(similarity, asked, known, weights)
    low, high = metrics.interval(drawn, point=value)
    impostors = int((asked[:, None] != known[None]).sum())
    return {
        "rank1": value,
        "rank1_interval": [max(low, 0.0), min(high, 100.0)],
        "chance": reidentify.chance_rank1(asked, known),
        "tar": {
            f"{far:g}": reidentify.tar_at_far(similarity, asked, known, far)
            if far * impostors >= 1
            else None
            for far in FARS
        },
    }


def identify(
    raw: Splits,
    released: Splits,
    knows: nn.Module,
    window: Window,
    seed: int,
    fabric: Fabric,
    cfg: Config,
    recovered: ClipSet | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Look for the test people in each gallery.

    Args:
        raw, released: the same items; both as their examiners see them.
        knows: :func:`fit_embedder` of the raw splits alone, the same for every release.
        recovered: the recovered test split, where there is one, prepared as ``raw`` is.
        progress: called with (steps done, steps in all).

    Returns:
        Gallery to its :func:`figures`, with ``by``, the network that counts; ``people`` enrolled,
        ``queries`` asked and people ``left_out``. Empty where fewer than two people have two clips.
    """
    groups = raw.test.groups
    roles = enrol(groups)
    if len(roles.enrolled) < 2:
        return {}
    start, networks = knows.state_dict(), {"raw": knows}
    clips = {"adapted": [raw, released], "released": [released]}
    lengths = [sum(len(splits.train) for splits in several) for several in clips.values()]
    steps = [cfg.adapt_epochs * (length // min(cfg.batch, length)) for length in lengths]
    for index, (name, several) in enumerate(clips.items()):
        tell = None if progress is None else _after(progress, sum(steps[:index]), sum(steps))
        networks[name] = fit_embedder(
            [splits.train for splits in several], [splits.val for splits in several],
            window, seed, fabric, cfg, start, tell,
        )  # fmt: skip

    def seen(name: str, data: ClipSet) -> np.ndarray:
        return embed(networks[name], data, window, fabric)

    known = {name: seen(name, raw.test) for name in ("raw", "adapted")}
    shown = {name: seen(name, released.test) for name in networks}
    # Of each network: what is enrolled, and what asks.
    galleries = {
        "raw_to_anon": {name: (known[name], shown[name]) for name in ("raw", "adapted")},
        "anon_to_anon": {name: (shown[name], shown[name]) for name in ("released", "adapted")},
    }
    if recovered is not None:
        galleries["recovered_to_raw"] = {"raw": (known["raw"], seen("raw", recovered))}
    found: dict[str, dict[str, Any]] = {}
    for gallery, pairs in galleries.items():
        tried = {
            name: figures(
                reidentify.cosine(asking[roles.queries], held[roles.enrolled]),
                groups[roles.queries], groups[roles.enrolled], cfg.replicates,
            )
            for name, (held, asking) in pairs.items()
        }  # fmt: skip
        by = max(tried, key=lambda name: tried[name]["rank1"])
        found[gallery] = {
            **tried[by],
            "by": by,
            "people": len(roles.enrolled),
            "queries": len(roles.queries),
            "left_out": roles.left_out,
        }
    return found


def _after(
    progress: Callable[[int, int], None], before: int, total: int
) -> Callable[[int, int], None]:
    return lambda done, of: progress(before + done, total)


def measurements(
    row: dict[str, Any], test: ClipSet, provenance: dict[str, Any]
) -> list[Measurement]:
    """Rank-1 and TAR of a table row's ``identity``, as records; none where it has no such."""
    common = {
        "unit": "%", "better": "lower", "row": row["name"], "dataset": test.name.split("/")[0],
        "split": "test", "groups": groups_of(test), "seed": -1, "provenance": provenance,
    }  # fmt: skip
    records = []
    for gallery, found in row.get("identity", {}).items():
        one: dict[str, Any] = {**common, "n": found["queries"], "probe": found["by"]}
        low, high = found["rank1_interval"]
        records.append(
            Measurement(metric=f"rank1 {gallery}", value=found["rank1"], low=low, high=high,
                        chance=found["chance"], **one)
        )  # fmt: skip
        for far, value in found["tar"].items():
            records.append(
                Measurement(metric=f"tar@far={far} {gallery}", value=value, low=value, high=value,
                            chance=100 * float(far), **one)
            )  # fmt: skip
    return records
