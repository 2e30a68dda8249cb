"""Generated people: articulated figures drawn by our own code, with exact labels.

A clip shows one acting person, 65 to 80 % of the frame high, in front of a moving room. The
world needs no download, and knows everything about itself: action, private attributes, masks,
boxes and the 17 COCO keypoints.

**Actions** (`ACTIONS`, 10). They share poses, so that mostly motion tells them apart: a raised
arm may wave, rise, fall or be half a jumping jack. `lower_arms` and `stand_up` are the exact
time reversals of `raise_arms` and `sit_down`.

**Private attributes** (`ATTRIBUTES`, 9, each 0 or 1):

    skin_tone       1 light, 0 dark                                             person
    gender          1 feminine, 0 masculine presentation: build, skirt, hair    person
    face_complete   1 the whole face shows (.4 of clips)                        clip
    face_partial    1 in profile, or behind a mask or scarf (.4 of clips)       clip
    bare_skin       1 short sleeves and bare legs, 0 covered                    clip
    person_close    1 a second person beside or behind, as large                clip
    person_distant  1 a small second person further away                        clip
    hair            1 light, 0 dark hair                                        person
    shirt           1 cool, 0 warm hue                                          clip

Both face attributes are 0 when the person looks away. All others have prevalence 1/2 and are
independent of each other and of the action, dealt as evenly as whole numbers allow.
`correlation` couples one of them to the action; `action_floor` gives the resulting
P(attribute | action) in closed form.

**Worlds** (`world`) differ in what is private:

    W0  the nine above
    W1  the same, with a `correlation`
    W2  shape and gait: broad, long_legs, long_hair and gait (a quick or a slow sway, in every
        action) of a person; skirt and hat of a clip. Nobody else is there, and people and
        clothes are of one plaster colour, so that removing colour removes nothing.
    W3  the room: warm_wall of a person, who lives there; upright_stripes and dark_floor of a
        clip. The person tells nothing.

In W2 and W3 every attribute has prevalence 1/2 and is independent of all else. Which attributes
are held out (W4) is a run file's to say: `held_out`.

**Nuisances**: view, scale, position, tempo, phase, style, build, clothes, stripes, a room that
slides behind, camera shake and pan, light, flicker, sensor noise, up to two occluders, a stool.

**Determinism**: a clip depends on the seed, its split and its index, never on workers, order
or size: geometry is in units of the frame, so 48 and 192 pixels show the same scene.

No person stands in two splits. Nothing here is, or is modelled on, a real person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from velatura.config import cache_folder, config, digest
from velatura.data._people import cache as files
from velatura.data._people import census
from velatura.data._people.body import KEYPOINTS
from velatura.data._people.census import ATTRIBUTES
from velatura.data._people.motion import ACTIONS
from velatura.errors import BadInput, unknown
from velatura.layout import ClipSet, Splits

if TYPE_CHECKING:
    from velatura.data._people.draw import Picture

__all__ = [
    "ACTIONS",
    "ATTRIBUTES",
    "KEYPOINTS",
    "Config",
    "Figure",
    "action_floor",
    "figure",
    "load",
    "more",
]

RENDERER_VERSION = 6

Split = Literal["train", "val", "test"]
World = Literal["W0", "W1", "W2", "W3"]
Free = Literal[
    "skin_tone", "gender", "bare_skin", "person_close", "person_distant", "hair", "shirt",
    "broad", "long_legs", "long_hair", "gait", "skirt", "hat",
    "warm_wall", "upright_stripes", "dark_floor",
]  # fmt: skip
Progress = Callable[[str, int, int], None]


@config
class Config:
    """The world and how much of it to render."""

    size: Annotated[int, Field(ge=8, le=1024)] = 48  # pixels, height and width
    frames: Annotated[int, Field(ge=2, le=256)] = 8
    train_people: Annotated[int, Field(ge=1, le=100_000)] = 300
    train_clips: Annotated[int, Field(ge=1, le=1000)] = 8  # of each person
    val_people: Annotated[int, Field(ge=1, le=100_000)] = 75
    val_clips: Annotated[int, Field(ge=1, le=1000)] = 4
    test_people: Annotated[int, Field(ge=1, le=100_000)] = 250
    test_clips: Annotated[int, Field(ge=1, le=1000)] = 4
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0  # of the world
    correlation: Annotated[float, Field(ge=0, le=1)] = 0.0  # with a bit of the action
    correlated: Free = "skin_tone"  # the attribute that follows it
    cache: str = ""  # folder; "" is $VELATURA_CACHE, else ~/.cache/velatura
    world: World = "W0"

    LATER: ClassVar[Mapping[str, Any]] = {"world": "W0"}


@dataclass(frozen=True)
class Masks:
    """Where people are in a split's frames, drawn when first asked for and then kept.

    ``shape`` is (F, H, W); ``masks[numbers]`` is uint8, 1 where the acting person or anybody else
    is, body and clothes.
    """

    cfg: Config
    split: Split

    @property
    def shape(self) -> tuple[int, ...]:
        people, clips = _counts(self.cfg, self.split)
        return (people * clips * self.cfg.frames, self.cfg.size, self.cfg.size)

    def __getitem__(self, numbers: Any) -> Any:
        return _masks(self.cfg, self.split)[numbers]

    def check(self) -> None:
        """Draw them now, and not in the middle of something else."""
        _masks(self.cfg, self.split)


@lru_cache(maxsize=3)  # opening checks the whole file
def _masks(cfg: Config, split: Split) -> np.ndarray:
    """(F, H, W) uint8, read only."""
    count = len(_labels(cfg, split).actions)
    clips = files.fetch(
        cache_folder(cfg.cache),
        f"masks-{split}-{_digest(cfg, split)}",
        (count, cfg.frames, cfg.size, cfg.size),
        partial(_render_masks, cfg, split),
        lambda done, total: None,
        None,
    )
    return clips.reshape(-1, cfg.size, cfg.size)


class Figure(NamedTuple):
    """One clip with everything known about it."""

    clip: np.ndarray  # (T, H, W, 3) uint8 RGB
    mask: np.ndarray  # (T, H, W) bool, the visible body and clothes of the acting person
    boxes: np.ndarray  # (T, 4) float, x0 y0 x1 y1 of the mask in pixels; zeros if out of sight
    keypoints: np.ndarray  # (T, 17, 3) x y in pixels, and 0 outside, 1 hidden, 2 visible
    others_mask: np.ndarray  # (T, H, W) bool, second persons
    action: int
    attributes: np.ndarray  # (K,) uint8
    person: int  # unique over splits


def figure(cfg: Config, split: Split, index: int, size: int | None = None) -> Figure:
    """Draw one clip of a split at `size` pixels, or at the configured size, with its labels."""
    labels = _labels(cfg, split)
    if not 0 <= index < len(labels.actions):
        raise BadInput(f"{split} has clips 0 to {len(labels.actions) - 1}; got index {index}.")
    picture = _draw(cfg, split, index, size or cfg.size, labels, details=True)
    return Figure(
        clip=picture.clip,
        mask=picture.mask,
        boxes=_boxes(picture.mask),
        keypoints=picture.keypoints,
        others_mask=picture.others,
        action=int(labels.actions[index]),
        attributes=labels.attributes[index].copy(),
        person=int(labels.people[index]),
    )


def load(cfg: Config, progress: Progress | None = None, workers: int | None = None) -> Splits:
    """All three splits, from the cache or rendered now by `workers` processes (default: cores).

    `progress(stage, done, total)` hears of clips as they are finished.
    """
    tell = progress or (lambda stage, done, total: None)
    return Splits(
        train=_split(cfg, "train", tell, workers),
        val=_split(cfg, "val", tell, workers),
        test=_split(cfg, "test", tell, workers),
    )


def more(cfg: Config, factor: float) -> Config:
    """The same world with that many times the people to train on; nobody new is tested."""
    return replace(cfg, train_people=round(factor * cfg.train_people))


def action_floor(cfg: Config) -> np.ndarray:
    """(10, K): P(attribute = 1 | action), all that the action alone says of the attributes."""
    return census.floor(*_coupling(cfg), cfg.world)


def _coupling(cfg: Config) -> tuple[float, str]:
    """How strongly which attribute follows the action, or BadInput."""
    names = [name for name in census.WORLDS[cfg.world].names if not name.startswith("face_")]
    if cfg.correlation and cfg.correlated not in names:
        raise unknown(f"attribute of {cfg.world} to correlate", cfg.correlated, names)
    if cfg.world == "W1" and not cfg.correlation:
        raise BadInput("W1 couples an attribute to the action: set correlation, such as 0.3.")
    return cfg.correlation, cfg.correlated


def _split(cfg: Config, split: Split, progress: Progress, workers: int | None) -> ClipSet:
    labels = _labels(cfg, split)
    key = f"{split}-{_digest(cfg, split)}"
    clips = files.fetch(
        cache_folder(cfg.cache),
        key,
        (len(labels.actions), cfg.frames, 3, cfg.size, cfg.size),
        partial(_render, cfg, split),
        partial(progress, f"drawing people/{split}"),
        workers,
    )
    return ClipSet.of_clips(
        clips,
        actions=labels.actions,
        attributes=labels.attributes,
        groups=labels.people,
        action_names=ACTIONS,
        attribute_names=census.WORLDS[cfg.world].names,
        name=f"people/{split}",
        fingerprint=key,
        people=Masks(cfg, split),
    )


def _counts(cfg: Config, split: Split) -> tuple[int, int]:
    """People, and clips of each."""
    return getattr(cfg, f"{split}_people"), getattr(cfg, f"{split}_clips")


def _digest(cfg: Config, split: Split) -> str:
    """Names everything that the pixels and labels of a split depend on, and nothing else."""
    shape = [cfg.size, cfg.frames, *_counts(cfg, split)]
    coupling = [cfg.correlation, cfg.correlated if cfg.correlation else ""]
    # W1 is W0, correlated.
    world = [cfg.world] if cfg.world in ("W2", "W3") else []
    return digest([RENDERER_VERSION, split, cfg.seed, shape, coupling, *world])


def _labels(cfg: Config, split: Split) -> census.Labels:
    if split not in census.SPLITS:
        raise BadInput(f"Split {split!r} is none of {', '.join(census.SPLITS)}.")
    return _deal(cfg.seed, split, *_counts(cfg, split), *_coupling(cfg), cfg.world)


_deal = lru_cache(maxsize=8)(census.deal)


def _render(cfg: Config, split: Split, indices: list[int]) -> np.ndarray:
    """(n, T, 3, H, W) uint8: what a worker process does."""
    labels = _labels(cfg, split)
    clips = [_draw(cfg, split, i, cfg.size, labels, details=False).clip for i in indices]
    return np.stack(clips).transpose(0, 1, 4, 2, 3)


def _render_masks(cfg: Config, split: Split, indices: list[int]) -> np.ndarray:
    """(n, T, H, W) uint8, 1 where anybody is: what a worker process does."""
    labels = _labels(cfg, split)
    drawn = (_draw(cfg, split, i, cfg.size, labels, details=True) for i in indices)
    return np.stack([picture.mask | picture.others for picture in drawn]).astype(np.uint8)


def _draw(
    cfg: Config, split: Split, index: int, size: int, labels: census.Labels, details: bool
) -> Picture:
    try:
        import cv2  # noqa: F401
    except ImportError:
        raise BadInput(
            'Drawing people needs OpenCV, which is not installed: pip install "velatura[train]".'
        ) from None
    from velatura.data._people.draw import draw
    from velatura.data._people.worlds import draw_scene

    number = int(labels.people[index]) % census.SPLIT_STRIDE
    scene = draw_scene(
        cfg.world, cfg.seed, split, index, cfg.frames, ACTIONS[labels.actions[index]],
        labels.attributes[index], number,
    )  # fmt: skip
    return draw(scene, size, details)


def _boxes(mask: np.ndarray) -> np.ndarray:
    """(T, H, W) to (T, 4): the tightest box of pixel edges around each frame's mask."""
    boxes = np.zeros((len(mask), 4))
    for box, frame in zip(boxes, mask, strict=True):
        rows, columns = np.flatnonzero(frame.any(1)), np.flatnonzero(frame.any(0))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes
