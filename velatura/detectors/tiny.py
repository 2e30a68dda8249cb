"""Small enough for two cores: boxes, masks and keypoints at once, from one look and no anchors.

Somebody is a peak of their category's map. At the peak stand the box, the keypoints as shares of
it, and weights for a few pictures of half the size (prototypes) whose weighted sum is the mask.
Peaks are picked by comparing each cell with its neighbours, in place of non-maximum suppression,
so that no compiled operator is needed.

    boxes      Zhou et al., 2019, CenterNet, https://arxiv.org/abs/1904.07850; peaks as wide as the
               box is: Liu et al., 2019, TTFNet, https://arxiv.org/abs/1909.00700;
               loss: Rezatofighi et al., 2019, GIoU, https://arxiv.org/abs/1902.09630
    masks      Bolya et al., 2019, YOLACT, https://arxiv.org/abs/1904.02689; places within the box
               beside the prototypes: Tian et al., 2020, CondInst, https://arxiv.org/abs/2003.05664
    keypoints  CenterNet's: from the middle of the box, then to the near peak of a joint's own map
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from pydantic import Field
from torch import Tensor, nn

from velatura.config import config
from velatura.detectors._detector import TASKS, Detector, Found, Target, refuse

CELL = 4  # pixels of a cell of the maps
FINE = 2  # of the prototypes
DEEPEST = 32  # of the coarsest features: sides must be multiples
ALPHA = 0.54  # TTFNet's: a peak's deviation is this sixth of the box
JOINT = 1.0  # deviation of a joint's peak, cells
REACH = 3  # cells around where the box says that a joint is, in which its own map may say better
NEAR = 0.2  # of the root of the box's area: deviation of the true place from where the box says
SURE = 0.1  # of a joint's map, to be believed
PLACES = 6  # 1, u, v, u u, v v, u v: of the place within the box
GREY = 0.5
WEIGHT = {"heat": 1.0, "box": 5.0, "mask": 2.0, "joints": 8.0, "joint heat": 0.25}


@config
class Config:
    width: Annotated[int, Field(ge=8, le=256, multiple_of=8)] = 24
    """Channels of the maps."""
    prototypes: Annotated[int, Field(ge=1, le=64)] = 12
    keep: Annotated[int, Field(ge=1, le=1000)] = 60
    """Finds of a picture at most."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Of a find's score."""


def build(
    cfg: Config, categories: Sequence[str], keypoints: int, tasks: Sequence[str] = TASKS
) -> Tiny:
    """All tasks, pictures of any size; 0.36 M parameters."""
    refuse("tiny", tasks, TASKS)
    return Tiny(cfg, len(categories), keypoints, tasks)


class Maps(NamedTuple):
    """What the network says of pictures, before anything is picked; (h, w) are cells.

    Attributes:
        heat: logits, one map for each category.
        box: the middle's distance from the cell's in cells, x and y, and the logarithms of width
            and height in cells.
        weights: of the prototypes and of ``PLACES``.
        prototypes: twice as fine as the cells.
        joints: x and y in turn, as shares of the box, from its middle.
        joint_heat: logits, one map for each keypoint.
    """

    heat: Float[Tensor, "b c h w"]
    box: Float[Tensor, "b 4 h w"]
    weights: Float[Tensor, "b q h w"] | None
    prototypes: Float[Tensor, "b p y x"] | None
    joints: Float[Tensor, "b j h w"] | None
    joint_heat: Float[Tensor, "b k h w"] | None


class Encoded(NamedTuple):
    """What the maps should say.

    Attributes:
        heat: 1 at each middle, falling off as a Gaussian.
        counts: whether a cell counts where its heat is not 1: not in ``ignore``.
        cells: (P, 3) picture, row and column of the cells that stand for somebody: the one with
            the middle of the box, and its neighbours within the box; if two want it, the one whose
            middle it is, else the smaller.
        owners: who that is, counted through all pictures.
        middles: whether the cell has the middle.
    """

    heat: Float[Tensor, "b c h w"]
    counts: Bool[Tensor, "b 1 h w"]
    cells: Int64[Tensor, "p 3"]
    owners: Int64[Tensor, " p"]
    middles: Bool[Tensor, " p"]


def _layer(inputs: int, outputs: int, stride: int = 1, side: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Stage(nn.Module):
    """Half the resolution, then two layers with a way around them."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.down = _layer(inputs, outputs, stride=2)
        self.first = _layer(outputs, outputs)
        self.second = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        x = self.down(x)
        return F.relu(x + self.second(self.first(x)))


class Tiny(Detector):
    """See the file's head."""

    stride = DEEPEST

    def __init__(self, cfg: Config, categories: int, keypoints: int, tasks: Sequence[str]):
        super().__init__()
        self.cfg, self.tasks = cfg, tuple(tasks)
        self.keypoints = keypoints if "keypoints" in tasks else 0
        width = cfg.width
        self.stem = _layer(3, width // 2, stride=2)
        deep = [width // 2, width, 2 * width, 3 * width, 3 * width]
        self.stages = nn.ModuleList(_Stage(*pair) for pair in zip(deep, deep[1:], strict=False))
        self.across = nn.ModuleList(nn.Conv2d(c, width, 1) for c in deep[1:])
        self.smooth = nn.ModuleList(_layer(width, width) for _ in deep[1:-1])
        wide = width + width // 2
        self.look = _layer(width, wide)
        self.heat, self.box = nn.Conv2d(wide, categories, 1), nn.Conv2d(wide, 4, 1)
        nn.init.constant_(self.heat.bias, -2.2)  # type: ignore[arg-type]  # one in ten
        nn.init.constant_(self.box.bias[2:], 1.5)  # type: ignore[index]  # 18 pixels
        if "segmentation" in tasks:
            self.weights = nn.Conv2d(wide, cfg.prototypes + PLACES, 1)
            self.rise = nn.Conv2d(width, width // 2, 1)
            self.fine = _layer(width // 2, width // 2)
            self.prototypes = nn.Conv2d(width // 2, cfg.prototypes, 1)
        if self.keypoints:
            self.joints = nn.Conv2d(wide, 2 * self.keypoints, 1)
            self.joint_heat = nn.Conv2d(wide, self.keypoints, 1)
            nn.init.constant_(self.joint_heat.bias, -5.0)  # type: ignore[arg-type]

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Maps:
        """Maps of pictures whose sides are multiples of ``stride``."""
        x = images.contiguous(memory_format=torch.channels_last) - GREY
        stem = self.stem(x)
        levels, x = [], stem
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        x = self.across[-1](levels[-1])
        for at in reversed(range(len(levels) - 1)):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest") + self.across[at](levels[at])
            x = self.smooth[at](x)
        seen = self.look(x)
        weights = prototypes = joints = joint_heat = None
        if "segmentation" in self.tasks:
            weights = self.weights(seen).float()
            fine = F.interpolate(self.rise(x), scale_factor=2.0, mode="nearest") + stem
            prototypes = self.prototypes(self.fine(fine)).float()
        if self.keypoints:
            joints, joint_heat = self.joints(seen).float(), self.joint_heat(seen).float()
        heat, box = self.heat(seen).float(), self.box(seen).float()
        return Maps(heat, box, weights, prototypes, joints, joint_heat)

    def loss(
        self, images: Float[Tensor, "b 3 h w"], targets: Sequence[Target]
    ) -> dict[str, Float[Tensor, ""]]:
        maps = self(_padded(images))
        with torch.autocast(images.device.type, enabled=False):
            told = encode(targets, maps.heat.shape)
            terms = _terms(maps, told, targets)
            terms["loss"] = torch.stack([WEIGHT[n] * value for n, value in terms.items()]).sum()
        return terms

    @torch.no_grad()
    def detect(self, images: Float[Tensor, "b 3 h w"]) -> list[Found]:
        height, width = images.shape[-2:]
        return decode(self(_padded(images)), self.cfg.keep, self.cfg.threshold, height, width)


def _padded(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 i j"]:
    """Grey on the right and below."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % DEEPEST, 0, -height % DEEPEST), value=GREY)


# ------------------------------------------------------------------------------ what to learn


def encode(targets: Sequence[Target], shape: Sequence[int]) -> Encoded:
    """What the maps of some pictures should say.

    Args:
        shape: of the heat: pictures, categories, rows and columns.
    """
    count, categories, rows, columns = shape
    device = targets[0].boxes.device
    heat = torch.zeros(count, categories, rows, columns, device=device)
    counts = torch.ones(count, 1, rows, columns, dtype=torch.bool, device=device)
    y, x = (torch.arange(n, device=device) + 0.5 for n in (rows, columns))  # of cells, in cells
    for at, target in enumerate(targets):
        for x0, y0, x1, y1 in (target.ignore / CELL).tolist():
            inside = ((y >= y0) & (y <= y1))[:, None] & ((x >= x0) & (x <= x1))
            counts[at, 0] &= ~inside
        if not len(target.boxes):
            continue
        middle, size = _middle_and_size(target.boxes)
        middle = _cell_of(middle, rows, columns) + 0.5
        # A peak is never narrower than that of a box of four cells.
        spread = 2 * (ALPHA * size.clamp_min(4) / 6).square()
        peak = torch.exp(
            -((y - middle[:, 1:]).square() / spread[:, 1:])[:, :, None]
            - ((x - middle[:, :1]).square() / spread[:, :1])[:, None]
        )
        for label in target.labels.unique().tolist():
            heat[at, label] = peak[target.labels == label].amax(0)
    return Encoded(heat, counts, *_cells(targets, count, rows, columns))


def _cells(
    targets: Sequence[Target], count: int, rows: int, columns: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Cells, owners and middles, as ``Encoded`` has them."""
    boxes = torch.cat([target.boxes for target in targets])
    picture = torch.repeat_interleave(
        torch.arange(count, device=boxes.device),
        torch.tensor([len(target.boxes) for target in targets], device=boxes.device),
    )
    middle, size = _middle_and_size(boxes)
    rank = torch.argsort(torch.argsort(size.prod(1), stable=True), stable=True)  # smaller first
    steps = torch.tensor([-1, 0, 1], device=boxes.device)
    around = torch.cartesian_prod(steps, steps)  # (9, 2) x and y; the middle is the fifth
    cell = _cell_of(middle, rows, columns)[:, None] + around
    reach = (cell + 0.5 - middle[:, None]).abs() <= size[:, None] / 2
    within = (cell >= 0) & (cell < torch.tensor([columns, rows], device=boxes.device))
    is_middle = (around == 0).all(1).expand(len(boxes), -1)
    wanted = within.all(2) & (reach.all(2) | is_middle)
    place = (picture[:, None] * rows + cell[..., 1]) * columns + cell[..., 0]
    # The lowest bid has the cell; those whose middle it is bid below all others.
    bid = rank[:, None] + len(boxes) * (~is_middle).long()
    flat = torch.full((count * rows * columns,), 2 * len(boxes), device=boxes.device)
    flat = flat.scatter_reduce(0, place[wanted], bid[wanted], "amin")
    wanted &= flat[place.clamp(0, len(flat) - 1)] == bid
    owner, which = wanted.nonzero(as_tuple=True)
    cells = torch.stack([picture[owner], cell[owner, which, 1], cell[owner, which, 0]], 1)
    return cells, owner, is_middle[owner, which]


def _middle_and_size(boxes: Float[Tensor, "n 4"]) -> tuple[Tensor, Tensor]:
    """In cells, x and y."""
    return (boxes[:, :2] + boxes[:, 2:]) / (2 * CELL), (boxes[:, 2:] - boxes[:, :2]) / CELL


def _cell_of(middle: Float[Tensor, "n 2"], rows: int, columns: int) -> Int64[Tensor, "n 2"]:
    """Column and row of the cell with the middle."""
    last = torch.tensor([columns - 1, rows - 1], device=middle.device)
    return middle.long().clamp(min=torch.zeros_like(last), max=last)


def _terms(maps: Maps, told: Encoded, targets: Sequence[Target]) -> dict[str, Tensor]:
    """The terms of the loss; those of nobody are 0."""
    terms = {"heat": _focal(maps.heat, told)}
    picture, row, column = told.cells.T
    boxes = torch.cat([target.boxes for target in targets])[told.owners] / CELL
    found = _boxes(maps.box[picture, :, row, column], row, column)
    terms["box"] = _mean(1 - giou(found, boxes))
    if maps.weights is not None and maps.prototypes is not None:
        terms["mask"] = _mask_term(maps.weights, maps.prototypes, told, targets)
    if maps.joints is not None and maps.joint_heat is not None:
        joints = torch.cat([t.keypoints for t in targets if t.keypoints is not None])[told.owners]
        share = (joints[..., :2] / CELL - (boxes[:, :2] + boxes[:, 2:])[:, None] / 2) / (
            boxes[:, 2:] - boxes[:, :2]
        ).clamp_min(1)[:, None]
        guess = maps.joints[picture, :, row, column].unflatten(1, (-1, 2))
        terms["joints"] = _mean((guess - share).abs()[joints[..., 2] > 0])
        terms["joint heat"] = _joint_heat_term(maps.joint_heat, told, targets)
    return terms


def _mean(values: Tensor) -> Tensor:
    """0 of nothing, with a gradient all the same."""
    return values.sum() / max(values.numel(), 1)


def _focal(logits: Float[Tensor, "b c h w"], told: Encoded) -> Float[Tensor, ""]:
    """CenterNet's: cells near a middle count less the nearer they are; for each middle."""
    likely, peak = logits.sigmoid(), told.heat == 1
    hit = F.logsigmoid(logits) * (1 - likely).square()
    miss = F.logsigmoid(-logits) * likely.square() * (1 - told.heat) ** 4
    total = torch.where(peak, hit, miss * told.counts).sum()
    return -total / max(int(peak.sum()), 1)


def _boxes(box: Float[Tensor, "n 4"], row: Tensor, column: Tensor) -> Float[Tensor, "n 4"]:
    """x0, y0, x1, y1 in cells, of what the map says at some cells."""
    middle = box[:, :2] + torch.stack([column, row], 1) + 0.5
    half = box[:, 2:].clamp(-4, 8).exp() / 2
    return torch.cat([middle - half, middle + half], 1)


def giou(one: Float[Tensor, "n 4"], other: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """Generalised intersection over union of pairs of boxes, in (-1, 1]."""

    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp_min(0).prod(1)

    both = area(one[:, :2].maximum(other[:, :2]), one[:, 2:].minimum(other[:, 2:]))
    either = area(one[:, :2], one[:, 2:]) + area(other[:, :2], other[:, 2:]) - both
    around = area(one[:, :2].minimum(other[:, :2]), one[:, 2:].maximum(other[:, 2:]))
    return both / either - (around - either) / around


def _mask_term(
    weights: Float[Tensor, "b q h w"],
    prototypes: Float[Tensor, "b p y x"],
    told: Encoded,
    targets: Sequence[Target],
) -> Float[Tensor, ""]:
    """Cross-entropy within the box, for its area, and one minus Dice's coefficient; of those cells
    that have a middle."""
    terms = []
    first = 0
    picture, row, column = told.cells[told.middles].T
    said, owners = weights[picture, :, row, column], told.owners[told.middles]
    for at, (target, mine) in enumerate(zip(targets, prototypes.unbind(0), strict=True)):
        here = picture == at
        owner, weight = owners[here] - first, said[here]
        first += len(target.boxes)
        if target.masks is None:
            continue
        drawn = target.masks[owner].flatten(1).any(1)
        masks, boxes = target.masks[owner][drawn].float(), target.boxes[owner][drawn]
        if not len(boxes):
            continue
        logits = masks_of(weight[drawn], mine, boxes)
        rows, columns = logits.shape[1:]
        fine = F.avg_pool2d(masks, FINE, ceil_mode=True)
        wanted = F.pad(fine, (0, columns - fine.shape[2], 0, rows - fine.shape[1]))
        inside = _inside(boxes, rows, columns, FINE).float()
        cross = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * inside
        likely = logits.sigmoid() * inside
        both = 2 * (likely * wanted).sum((1, 2)) + 1
        dice = both / (likely.square().sum((1, 2)) + wanted.square().sum((1, 2)) + 1)
        terms.append(cross.sum((1, 2)) / inside.sum((1, 2)).clamp_min(1) + 1 - dice)
    return _mean(torch.cat(terms)) if terms else 0.0 * (weights.sum() + prototypes.sum())


def masks_of(
    weights: Float[Tensor, "n q"], prototypes: Float[Tensor, "p y x"], boxes: Float[Tensor, "n 4"]
) -> Float[Tensor, "n y x"]:
    """Logits of masks: prototypes and places within the box, weighted and summed.

    Args:
        boxes: in pixels of the picture, ``FINE`` of which are one of a prototype.
    """
    count, rows, columns = prototypes.shape
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    size = (boxes[:, 2:] - boxes[:, :2]).clamp_min(1)
    x = (torch.arange(columns, device=boxes.device) + 0.5) * FINE
    y = (torch.arange(rows, device=boxes.device) + 0.5) * FINE
    u = ((x - middle[:, :1]) / size[:, :1])[:, None]
    v = ((y - middle[:, 1:]) / size[:, 1:])[:, :, None]
    one, by_u, by_v, by_uu, by_vv, by_uv = weights[:, count:, None, None].unbind(1)
    place = one + u * (by_u + by_uu * u) + v * (by_v + by_vv * v) + by_uv * (u * v)
    return torch.einsum("np,pyx->nyx", weights[:, :count], prototypes) + place


def _inside(boxes: Float[Tensor, "n 4"], rows: int, columns: int, pixels: int) -> Tensor:
    """(n, rows, columns) whether a cell of so many pixels touches a box."""
    x = torch.arange(columns, device=boxes.device) * pixels
    y = torch.arange(rows, device=boxes.device) * pixels
    across = (x + pixels > boxes[:, :1]) & (x < boxes[:, 2:3])
    down = (y + pixels > boxes[:, 1:2]) & (y < boxes[:, 3:])
    return down[:, :, None] & across[:, None]


def _joint_heat_term(
    logits: Float[Tensor, "b k h w"], told: Encoded, targets: Sequence[Target]
) -> Float[Tensor, ""]:
    """Cross-entropy with Gaussians around the joints, for each joint; crowds do not count."""
    wanted = torch.zeros_like(logits)
    y, x = (torch.arange(n, device=logits.device) + 0.5 for n in logits.shape[2:])
    joints = 0
    for at, target in enumerate(targets):
        if target.keypoints is None or not len(target.keypoints):
            continue
        place, known = target.keypoints[..., :2] / CELL, target.keypoints[..., 2] > 0
        down = torch.exp(-(y - place[..., 1:]).square() / (2 * JOINT**2)) * known[..., None]
        across = torch.exp(-(x - place[..., :1]).square() / (2 * JOINT**2))
        wanted[at] = (down[..., :, None] * across[..., None, :]).amax(0)
        joints += int(known.sum())
    cross = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (cross * told.counts).sum() / max(joints, 1)


# -------------------------------------------------------------------------------- what is found


def decode(maps: Maps, keep: int, threshold: float, height: int, width: int) -> list[Found]:
    """What is found in pictures.

    Args:
        keep: finds of a picture at most.
        threshold: finds with a lower score are left out.
        height, width: of the pictures, which may be smaller than the maps.
    """
    heat = maps.heat.sigmoid()
    peaks = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
    rows, columns = heat.shape[2:]
    edges = torch.tensor([width, height, width, height], device=heat.device)
    found = []
    for at, peak in enumerate(peaks.flatten(1)):
        scores, place = peak.topk(min(keep, len(peak)))
        place = place[scores > threshold]
        label, cell = place // (rows * columns), place % (rows * columns)
        row, column = cell // columns, cell % columns
        whole = _boxes(maps.box[at, :, row, column].T, row, column) * CELL
        boxes = whole.clamp_min(0).minimum(edges)
        there = (boxes[:, 2:] > boxes[:, :2]).all(1)
        boxes, whole, label, row, column = (t[there] for t in (boxes, whole, label, row, column))
        masks = joints = None
        if maps.weights is not None and maps.prototypes is not None:
            logits = masks_of(maps.weights[at, :, row, column].T, maps.prototypes[at], whole)
            masks = _drawn(logits, boxes)[:, :height, :width]
        if maps.joints is not None and maps.joint_heat is not None:
            share = maps.joints[at, :, row, column].T.unflatten(1, (-1, 2))
            size = (whole[:, 2:] - whole[:, :2]).clamp_min(CELL)
            place = (whole[:, :2] + whole[:, 2:])[:, None] / 2 + share * size[:, None]
            joints = _to_peaks(place, maps.joint_heat[at], NEAR * size.prod(1).sqrt())
        scores = scores[scores > threshold][there]
        found.append(Found(boxes, scores, label, masks, joints))
    return found


def _drawn(logits: Float[Tensor, "n y x"], boxes: Float[Tensor, "n 4"]) -> Bool[Tensor, "n h w"]:
    """Masks in pixels: what is above zero, within the box."""
    if not len(boxes):
        return logits.new_zeros(0, *(FINE * side for side in logits.shape[1:])).bool()
    large = F.interpolate(logits[None], scale_factor=float(FINE), mode="bilinear")[0]
    rows, columns = large.shape[1:]
    return (large > 0) & _inside(boxes, rows, columns, 1)


def _to_peaks(
    place: Float[Tensor, "n k 2"], heat: Float[Tensor, "k h w"], spread: Float[Tensor, " n"]
) -> Float[Tensor, "n k 3"]:
    """Joints moved to the likeliest cell near them, and within it to the top of the parabola
    through the logarithms of its neighbours, which for a Gaussian is its middle.

    Args:
        place: in pixels.
        spread: pixels, how far off a place usually is: cells count less the farther they are.

    Returns:
        In pixels, with the height of the peak as the score. Where that is below ``SURE``, joints
        stay where they are.
    """
    rows, columns = heat.shape[1:]
    level = F.logsigmoid(heat)
    steps = torch.arange(-REACH, REACH + 1, device=heat.device)
    cell = (place / CELL).floor().long()
    column = (cell[..., 0, None] + steps).clamp(0, columns - 1)
    row = (cell[..., 1, None] + steps).clamp(0, rows - 1)
    joint = torch.arange(len(heat), device=heat.device)
    near = level[joint[:, None, None], row[..., :, None], column[..., None, :]]
    across = ((column + 0.5) * CELL - place[..., :1]).square()
    down = ((row + 0.5) * CELL - place[..., 1:]).square()
    far = (down[..., :, None] + across[..., None, :]) / (2 * spread.square())[:, None, None, None]
    which = (near - far).flatten(2).argmax(2, keepdim=True)
    row = row.gather(2, which // len(steps))[..., 0]
    column = column.gather(2, which % len(steps))[..., 0]
    best = level[joint, row, column]

    def top(at: Tensor, last: int, before: Tensor, after: Tensor) -> Tensor:
        bend = 2 * best - before - after
        fits = (bend > 1e-6) & (at > 0) & (at < last)  # at the edge there is no parabola
        return torch.where(fits, (after - before) / (2 * bend.clamp_min(1e-6)), 0.0)

    x = top(column, columns - 1, level[joint, row, (column - 1).clamp_min(0)],
            level[joint, row, (column + 1).clamp_max(columns - 1)])  # fmt: skip
    y = top(row, rows - 1, level[joint, (row - 1).clamp_min(0), column],
            level[joint, (row + 1).clamp_max(rows - 1), column])  # fmt: skip
    moved = torch.stack([column + 0.5 + x.clamp(-0.5, 0.5), row + 0.5 + y.clamp(-0.5, 0.5)], 2)
    score = best.exp()[..., None]
    return torch.cat([torch.where(score < SURE, place, moved * CELL), score], 2)
