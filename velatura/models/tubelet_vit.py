"""A transformer over tubelets that drops some of them and paints the others: STPrivacy's f_A.

Li et al., 2023, https://arxiv.org/abs/2301.03046. A clip is cut into tubelets, each a square of
a few frames; a tubelet is a token. Before some of the blocks a predictor decides which tokens go
on; what it drops is black in the output. Of those that are left, a linear layer paints the
pixels. 16 frames, tubelets of 2, squares of 16 px, width 768, 12 blocks of 12 heads and
predictors before blocks 3, 6 and 9 are the paper's; the defaults here are for two CPU cores.

To learn, a predictor tosses for each token (Gumbel, hard, straight through), and a dropped token
is seen by none but itself. For good it keeps the best of each moment, a share that the stages
multiply: 0.7, 0.49, 0.34 of all. Ours: positions of other picture sizes are interpolated,
pictures padded, the output a sigmoid; a longer video goes through in clips of ``frames``.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.errors import BadInput
from velatura.models._parts import Native, eight_bits

NATIVE = Native(side=48, frames=8)


@config
class Config:
    frames: Annotated[int, Field(ge=1)] = 8
    """Of a clip: how far one moment can look."""
    size: Annotated[int, Field(ge=1)] = 48
    """Side of the picture that positions are learnt for, pixels."""
    tubelet: Annotated[int, Field(ge=1)] = 2
    """Frames of a tubelet."""
    patch: Annotated[int, Field(ge=1)] = 8
    """Side of a tubelet, pixels."""
    width: Annotated[int, Field(ge=6)] = 96
    """Numbers of a token; a multiple of 3 and of ``heads``."""
    depth: Annotated[int, Field(ge=1)] = 6
    """Blocks."""
    heads: Annotated[int, Field(ge=1)] = 3
    pruning: tuple[int, ...] = (1, 3, 4)
    """Blocks, from 0, before which tokens are dropped."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of what it is given that each of these keeps."""
    quantize: bool = True
    """Round the output to 8 bits, with a straight-through gradient."""

    def __post_init__(self) -> None:
        for name, of in (("frames", "tubelet"), ("size", "patch"), ("width", "heads")):
            if getattr(self, name) % getattr(self, of):
                raise BadInput(
                    f"{name} is {getattr(self, name)}, which is no multiple of {of}, "
                    f"{getattr(self, of)}."
                )
        if self.width % 3:
            raise BadInput(f"width is {self.width}; predictors split it into three.")
        last = self.depth - late(self.depth)  # a later decision would move with what repaints
        if list(self.pruning) != sorted({i for i in self.pruning if 0 <= i <= last}):
            raise BadInput(f"pruning is {list(self.pruning)}; name blocks of 0 to {last}, rising.")


def late(depth: int) -> int:
    """How many of the blocks are the last quarter: of 12, 3."""
    return math.ceil(depth / 4)


def anonymizer(cfg: Config) -> nn.Module:
    """(B, T, 3, H, W) or (N, 3, H, W) in [0, 1] to the same; a frame is a tubelet of itself."""
    return TubeletViT(cfg)


class Look(NamedTuple):
    """What f_A released, and what it decided on the way.

    Attributes:
        released: (B, T, 3, H, W) in [0, 1].
        shown: (B, T, 1, H, W), 1 where a tubelet was kept, 0 where it was dropped.
        kept: for each predictor (B, N), 1 for each token that is left after it.
    """

    released: Tensor
    shown: Tensor
    kept: list[Tensor]


class TubeletViT(nn.Module):
    """``window``: where a video may be cut without a difference."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg, self.window = cfg, cfg.frames
        self.embed = Embedding(cfg)
        self.blocks = nn.ModuleList(Block(cfg.width, cfg.heads) for _ in range(cfg.depth))
        self.predictors = nn.ModuleList(Predictor(cfg.width, cfg.ratio) for _ in cfg.pruning)
        self.norm = nn.LayerNorm(cfg.width)
        self.head = nn.Linear(cfg.width, cfg.tubelet * cfg.patch**2 * 3)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def sparsifier(self) -> list[nn.Module]:
        """What decides, and what it stands on: all but the last quarter of the blocks and head."""
        return [self.embed, self.predictors, *list(self.blocks)[: -late(self.cfg.depth)]]

    def painter(self) -> list[nn.Module]:
        """The rest."""
        return [*list(self.blocks)[-late(self.cfg.depth) :], self.norm, self.head]

    def forward(
        self, clips: Float[Tensor, "*n c h w"], decisions: bool = False
    ) -> Float[Tensor, "*n c h w"] | Look:
        """What is released; with ``decisions``, of clips, a :class:`Look`."""
        if clips.ndim == 4:
            return self._look(clips.unsqueeze(1)).released.squeeze(1)
        look = self._look(clips)
        return look if decisions else look.released

    def _look(self, clips: Tensor) -> Look:
        whole = clips.shape[1] // self.window * self.window
        parts = []
        if whole:
            folded = clips[:, :whole].reshape(-1, self.window, *clips.shape[2:])
            parts.append(self._window(folded))
        if whole < clips.shape[1]:
            parts.append(self._window(clips[:, whole:]))

        def joined(*pieces: Tensor) -> Tensor:
            return torch.cat([p.reshape(len(clips), -1, *p.shape[2:]) for p in pieces], 1)

        kept = [joined(*stage) for stage in zip(*(part.kept for part in parts), strict=True)]
        released = joined(*(part.released for part in parts))
        return Look(released, joined(*(part.shown for part in parts)), kept)

    def _window(self, clips: Tensor) -> Look:
        """At most ``window`` frames."""
        cfg, (_, t, _, h, w) = self.cfg, clips.shape
        after, below, right = -t % cfg.tubelet, -h % cfg.patch, -w % cfg.patch
        padded = F.pad(clips.transpose(1, 2), (0, right, 0, below, 0, after), mode="replicate")
        tokens = self.embed(padded)  # (B, T', h', w', D)
        b, times, rows, columns, _ = tokens.shape
        tokens = tokens.flatten(2, 3)
        policy = torch.ones(b, times, rows * columns, device=clips.device)
        kept: list[Tensor] = []
        predictors = iter(self.predictors)
        for number, block in enumerate(self.blocks):
            if number in cfg.pruning:
                keep = max(1, int(rows * columns * cfg.ratio ** (len(kept) + 1) + 1e-6))
                policy = next(predictors)(tokens, policy, keep)
                kept.append(policy.flatten(1))
            tokens = block(tokens.flatten(1, 2), policy.flatten(1)).view(tokens.shape)
        painted = torch.sigmoid(self.head(self.norm(tokens)).float()) * policy.unsqueeze(-1)
        out = _lay(painted, (rows, columns), cfg.tubelet, cfg.patch)[:, :t, :, :h, :w]
        squares = policy.unsqueeze(-1).expand(-1, -1, -1, cfg.tubelet * cfg.patch**2)
        shown = _lay(squares, (rows, columns), cfg.tubelet, cfg.patch)[:, :t, :, :h, :w]
        return Look(eight_bits(out) if cfg.quantize else out.clamp(0, 1), shown.detach(), kept)


def _lay(tokens: Tensor, grid: tuple[int, int], tubelet: int, patch: int) -> Tensor:
    """(B, T', h' w', tubelet patch patch C) to pixels, (B, T, C, H, W)."""
    b, times, (rows, columns) = *tokens.shape[:2], grid
    x = tokens.reshape(b, times, rows, columns, tubelet, patch, patch, -1)
    x = x.permute(0, 1, 4, 7, 2, 5, 3, 6)  # b, t', p0, c, h', p1, w', p2
    return x.reshape(b, times * tubelet, x.shape[3], rows * patch, columns * patch)


class Embedding(nn.Module):
    """(B, 3, T, H, W) to tokens with their positions, (B, T', H', W', D)."""

    def __init__(self, cfg: Config):
        super().__init__()
        step = (cfg.tubelet, cfg.patch, cfg.patch)
        self.project = nn.Conv3d(3, cfg.width, step, step)
        side = cfg.size // cfg.patch
        self.positions = nn.Parameter(
            torch.empty(1, cfg.width, cfg.frames // cfg.tubelet, side, side)
        )
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, clips: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b i j k d"]:
        tokens = self.project(clips - 0.5)
        times, rows, columns = tokens.shape[2:]
        positions: Tensor = self.positions
        if (rows, columns) != tuple(positions.shape[3:]):
            size = (positions.shape[2], rows, columns)
            positions = F.interpolate(positions, size, mode="trilinear", align_corners=False)
        out: Tensor = (tokens + positions[:, :, :times]).permute(0, 2, 3, 4, 1)
        return out


class Block(nn.Module):
    """Attention among what is kept, and a layer of four times the width; each adds to its input."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.ask = nn.Linear(width, 3 * width)  # queries, keys, values
        self.answer = nn.Linear(width, width)
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(
        self, tokens: Float[Tensor, "b n d"], policy: Float[Tensor, "b n"]
    ) -> Float[Tensor, "b n d"]:
        b, n, d = tokens.shape
        asked = self.ask(self.before(tokens)).view(b, n, 3, self.heads, d // self.heads)
        queries, keys, values = asked.permute(2, 0, 3, 1, 4)
        weights = attention(queries @ keys.transpose(-1, -2) / (d / self.heads) ** 0.5, policy)
        seen = (weights.to(values.dtype) @ values).transpose(1, 2).reshape(b, n, d)
        tokens = tokens + self.answer(seen)
        return tokens + self.think(tokens)


def attention(
    scores: Float[Tensor, "b heads n n"], policy: Float[Tensor, "b n"]
) -> Float[Tensor, "b heads n n"]:
    """Softmax over the tokens that are kept, and oneself; its slope reaches the decisions.

    To a token that is kept a dropped one is not there: its weight is exactly 0.
    """
    scores = scores.float()
    oneself = torch.eye(scores.shape[-1], device=scores.device)
    seen = policy.float()[:, None, None, :]
    seen = seen + (1 - seen) * oneself
    largest = scores.detach().masked_fill(seen == 0, -torch.inf).amax(-1, keepdim=True)
    # A dropped token's score may be the largest by far: it must not overflow before it is masked.
    weights = (scores - largest).clamp_max(0).exp() * seen
    return weights / weights.sum(-1, keepdim=True)


class Predictor(nn.Module):
    """Which of the tokens go on; a third of its features is each token's own, a third the mean of
    its moment and a third the mean of the clip, both of what is left."""

    def __init__(self, width: int, ratio: float):
        super().__init__()
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.judge = nn.Sequential(
            nn.Linear(width, width // 2),
            nn.GELU(),
            nn.Linear(width // 2, width // 4),
            nn.GELU(),
            nn.Linear(width // 4, 2),  # keep, drop
        )
        last = self.judge[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():  # it begins with about the share that is wanted
            last.bias.copy_(torch.tensor([math.log(ratio / max(1 - ratio, 1e-3)), 0.0]))

    def forward(
        self, tokens: Float[Tensor, "b t n d"], policy: Float[Tensor, "b t n"], keep: int
    ) -> Float[Tensor, "b t n"]:
        """The policy after this stage: 1 or 0 for each token, 0 where it was before.

        Args:
            keep: tokens of each moment, where it does not toss.
        """
        own, moment, clip = self.read(tokens).float().chunk(3, -1)
        left = policy.unsqueeze(-1)
        moment = (moment * left).sum(2, keepdim=True) / left.sum(2, keepdim=True).clamp_min(1)
        clip = (clip * left).sum((1, 2), keepdim=True) / left.sum((1, 2), keepdim=True).clamp_min(1)
        features = torch.cat([own, moment.expand_as(own), clip.expand_as(own)], -1)
        answers = F.log_softmax(self.judge(features).float(), -1)
        if self.training:
            return F.gumbel_softmax(answers, hard=True)[..., 0] * policy
        score = answers[..., 0].masked_fill(policy == 0, -torch.inf)
        return torch.zeros_like(policy).scatter(2, score.topk(keep, 2).indices, 1.0)
