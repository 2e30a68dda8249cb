"""Where people are in videos: masks or boxes that somebody made, or what a detector finds.

    people/golf/a.npz      a mask: ``packed``, the bits of each row, and ``shape``, (T, H, W)
    people/golf/a.json     boxes, as ``velatura anonymize --regions`` reads them

One file per video, named as it is. A mask has every frame of its video and the video's shape, at
any size; boxes are in pixels of the upright video. Both are scaled and cropped as its frames are.

The detector is OpenCV's people detector on histograms of gradients (Dalal and Triggs 2005,
https://doi.org/10.1109/CVPR.2005.177), which needs no download; OpenCV 5 has it no more. It knows
standing people of some size, seen whole, and misses many. What it misses is not hidden, as in
SPAct's tables.
"""

from __future__ import annotations

import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing import parent_process
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile

import numpy as np

from velatura.config import cache_folder, digest
from velatura.data._parallel import spread
from velatura.data._store.frames import Crop, Stacked
from velatura.data._store.store import Store
from velatura.errors import BadInput
from velatura.video.probe import probe, stamp
from velatura.video.read import read_frames

__all__ = ["DETECTOR", "Regions", "detect", "files_of"]

DETECTOR = "detector"  # in the place of a folder
SCHEMA = "velatura-boxes/1"
SHAPE = 0.03  # by which a mask's shape may differ from its video's
# The detector's window is 64 x 128 pixels: smaller pictures are enlarged to this shorter side.
SHORT, VERSION = 240, 1
# What reading a file that is no archive of arrays, or half of one, may raise.
BROKEN = (
    OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, BadZipFile,
    zlib.error,
)  # fmt: skip

Progress = Callable[[str, int, int], None]


class Regions(Stacked):
    """``regions[numbers]``: (f, height, width) uint8, 1 where a person is.

    Attributes:
        shape: (F, height, width).
    """

    def __init__(
        self, store: Store, root: Path, files: Mapping[str, Path], names: Sequence[str],
        height: int, width: int,
    ) -> None:  # fmt: skip
        super().__init__(names, [store.videos[n].frames for n in names], (height, width))
        self.store, self.root, self.files = store, root, files

    def check(self) -> None:
        """Read every file, so that a wrong one is told before work begins."""
        for name in self.names:
            self._whole(name)

    def _read(self, name: str, indices: list[int]) -> np.ndarray:
        import cv2

        mask, (_, height, width) = self._whole(name)[indices], self.shape
        video = self.store.videos[name]
        crop = Crop.of((video.height, video.width), height, width)
        smaller = crop.size[0] <= mask.shape[1] and crop.size[1] <= mask.shape[2]
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        scaled = np.stack([cv2.resize(m, crop.size[::-1], interpolation=how) for m in 255 * mask])
        # Half a pixel of somebody is somebody.
        kept = scaled[:, crop.top : crop.top + height, crop.left : crop.left + width] >= 128
        return kept.astype(np.uint8)

    def _whole(self, name: str) -> np.ndarray:
        """(T, H, W) uint8, 0 or 1, at the size of the file.

        Raises:
            BadInput: it cannot be read, or is of another video.
        """
        path, video = self.files[name], self.store.videos[name]
        if path.suffix == ".json":
            return _drawn(path, self.root / name, video.frames)
        mask = _unpacked(path)
        if len(mask) != video.frames:
            raise BadInput(f"{path} is of {len(mask)} frames, and {name} has {video.frames}.")
        ratio = (mask.shape[1] * video.width) / (mask.shape[2] * video.height)
        if abs(ratio - 1) > SHAPE:
            raise BadInput(
                f"{path} is of pictures of {mask.shape[2]} x {mask.shape[1]} pixels, and {name} "
                f"is {video.width} x {video.height}; they must have one shape."
            )
        return mask


def files_of(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The mask or the boxes of each video.

    Raises:
        BadInput: no such folder, or nothing there for some video.
    """
    if not folder.is_dir():
        raise BadInput(
            f"data.people: there is no folder {folder}; name one that has a mask or a file of "
            f"boxes for each video, or write {DETECTOR!r}."
        )
    found, absent = {}, []
    for name in names:
        stem = folder / PurePosixPath(name)
        there = [p for p in (stem.with_suffix(s) for s in (".npz", ".json")) if p.is_file()]
        if there:
            found[name] = there[0]
        else:
            absent.append(name)
    if absent:
        first = PurePosixPath(min(absent)).with_suffix("")
        raise BadInput(
            f"{folder} has nothing for {len(absent)} of {len(absent) + len(found)} videos, first "
            f"{min(absent)}; expected {first}.npz or {first}.json."
        )
    return found


def detect(
    root: Path, names: Iterable[str], cache: str, workers: int, progress: Progress | None
) -> dict[str, Path]:
    """What the detector finds in each video, as masks: now, or when it was asked before.

    Killed midway, the same call goes on with what is missing.
    """
    name_of = digest([str(root.resolve()), "people", SHORT, VERSION])
    folder = cache_folder(cache) / "people-found" / name_of
    files = {name: folder / PurePosixPath(name).with_suffix(".npz") for name in names}
    todo = [(str(root / n), str(file)) for n, file in files.items() if not _is_of(file, root / n)]
    tell = progress or (lambda what, done, total: None)
    if todo:
        _finder()  # what is not there is told here, not by a worker
    for done, _ in enumerate(spread(_detect, todo, workers), 1):
        tell("finding people", done, len(todo))
    return files


def _detect(job: tuple[str, str]) -> None:
    """One video's people into one file."""
    import cv2

    if parent_process() is not None:
        cv2.setNumThreads(1)  # the other workers have the other cores
    source, target = job
    hog, masks = _finder(), []
    for frame in read_frames(source):
        height, width = frame.image.shape[:2]
        scale = max(1.0, SHORT / min(height, width))
        large = cv2.resize(frame.image, None, fx=scale, fy=scale)
        boxes, _ = hog.detectMultiScale(large[..., ::-1].copy(), winStride=(8, 8), scale=1.05)
        corners = [(x / scale, y / scale, (x + w) / scale, (y + h) / scale) for x, y, w, h in boxes]
        masks.append(_filled(corners, height, width))
    mask = np.stack(masks)
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            np.savez_compressed(
                file, packed=np.packbits(mask, axis=-1), shape=mask.shape, stamp=stamp(Path(source))
            )
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _finder() -> Any:
    """OpenCV's detector.

    Raises:
        BadInput: the OpenCV that is installed has none.
    """
    import cv2

    if not hasattr(cv2, "HOGDescriptor"):
        raise BadInput(
            f"data.people = {DETECTOR!r} needs OpenCV 4, and {cv2.__version__} is installed: pip "
            'install "opencv-python-headless<5"; or name a folder of masks or boxes.'
        )
    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())
    return hog


def _is_of(path: Path, video: Path) -> bool:
    """Whether a file is there that was made of the video as it is now."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return tuple(file["stamp"].tolist()) == stamp(video)
    except BROKEN:
        return False


def _unpacked(path: Path) -> np.ndarray:
    """(T, H, W) uint8, 0 or 1."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            packed, shape = file["packed"], tuple(int(side) for side in file["shape"])
            mask = np.unpackbits(packed, axis=-1)[..., : shape[-1]]
    except BROKEN:
        mask, shape = np.empty(0, np.uint8), ()
    if mask.ndim != 3 or mask.shape != shape or not mask.size:
        raise BadInput(
            f"{path} is no mask: expected 'packed', the bits of (T, H, W) packed along the last "
            "axis, and their 'shape'."
        )
    return mask


def _drawn(path: Path, video: Path, frames: int) -> np.ndarray:
    """The boxes of a file as a mask of its video's size."""
    try:
        content: Any = json.loads(path.read_bytes())
        if content["schema"] != SCHEMA:
            raise ValueError
        boxes = {
            int(number): [tuple(float(side) for side in box) for box in several]
            for number, several in content["frames"].items()
        }
        if not all(len(b) == 4 and 0 <= b[0] < b[2] and 0 <= b[1] < b[3]
                   for several in boxes.values() for b in several):  # fmt: skip
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(
            f'{path} is no file of boxes: expected {{"schema": "{SCHEMA}", "frames": {{"0": '
            "[[x0, y0, x1, y1]]}}, in pixels, x0 < x1 and y0 < y1."
        ) from None
    if boxes and not 0 <= min(boxes) <= max(boxes) < frames:
        raise BadInput(f"{path} names frame {max(boxes)}, and {video} has {frames} from 0.")
    info = probe(video)
    reach = np.array([b[2:] for several in boxes.values() for b in several]).reshape(-1, 2)
    if (reach > np.array([info.width, info.height]) + 0.5).any():
        raise BadInput(
            f"The boxes of {path} reach beyond the {info.width} x {info.height} pixels of {video}."
        )
    return np.stack([_filled(boxes.get(t, []), info.height, info.width) for t in range(frames)])


def _filled(boxes: Sequence[Sequence[float]], height: int, width: int) -> np.ndarray:
    """(H, W) uint8: 1 in every pixel that a box x0, y0, x1, y1 touches."""
    mask = np.zeros((height, width), np.uint8)
    for x0, y0, x1, y1 in boxes:
        top, left = max(0, int(np.floor(y0))), max(0, int(np.floor(x0)))
        mask[top : int(np.ceil(y1)), left : int(np.ceil(x1))] = 1
    return mask
