"""Ways of hiding that are no files of velatura/regions: another picture is shown in the regions.

none        nothing is hidden, and all is written alike: the control, for whom compression would
            be a difference otherwise
frame       what a network of ours makes of the whole frame, as ``velatura anonymize`` runs it
external    a folder of images that any other tool made
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from velatura.config import config
from velatura.errors import BadInput
from velatura.regions import Region, RegionAnonymizer

__all__ = ["WAYS", "External", "Frame", "Nothing"]

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@config
class NothingConfig:
    """No fields."""


class Nothing(RegionAnonymizer):
    """Leaves every picture as it is."""

    name = "none"

    def __init__(self, cfg: NothingConfig):
        pass

    def apply(self, image: np.ndarray, regions: list[Region], seed: int, picture: str) -> None:
        pass


@config
class FrameConfig:
    model: str = "light"
    """A packaged model, a mode or an .onnx file, as ``velatura anonymize --model`` takes them."""


class Frame(RegionAnonymizer):
    """Shows, within the regions, what a network makes of the whole picture.

    Raises:
        BadInput: no such model; one that shows motion only.
    """

    name = "frame"

    def __init__(self, cfg: FrameConfig):
        from velatura.deploy.anonymizer import Anonymizer

        self.network = Anonymizer.load(cfg.model, device="cpu", threads=1)
        if self.network.moves:
            raise BadInput(f"{cfg.model} shows motion, and images have none; take another model.")

    def apply(self, image: np.ndarray, regions: list[Region], seed: int, picture: str) -> None:
        if not regions:
            return
        (made,) = self.network(image[None])
        for region in regions:
            region.put(image, made[region.place])

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "network": self.network.describe()}


@config
class ExternalConfig:
    folder: str = ""
    """Holds a picture for each that has regions, at the same path and size; endings may differ."""


class External(RegionAnonymizer):
    """Shows, within the regions, what stands in a folder that another tool filled.

    ``picture`` says which file. What the other tool looked at is not known, so ``reads_region``
    stays True.

    Raises:
        BadInput: no such folder; later, no picture of that name, or one of another size.
    """

    name = "external"

    def __init__(self, cfg: ExternalConfig):
        self.folder = Path(cfg.folder)
        if not cfg.folder or not self.folder.is_dir():
            raise BadInput(
                f"There is no folder {cfg.folder!r} of images that another tool made; --external "
                "names one."
            )

    def apply(self, image: np.ndarray, regions: list[Region], seed: int, picture: str) -> None:
        from velatura.deploy.image import read_image

        if not regions:
            return
        path = self._file(PurePosixPath(picture))
        made = read_image(path, by_profile=False).pixels
        if made.shape != image.shape:
            raise BadInput(
                f"{path} has {made.shape[1]} x {made.shape[0]} pixels, and the picture it stands "
                f"for {image.shape[1]} x {image.shape[0]}."
            )
        for region in regions:
            region.put(image, made[region.place])

    def _file(self, picture: PurePosixPath) -> Path:
        exact = self.folder / picture
        near = [exact, *(exact.with_suffix(ending) for ending in ENDINGS)]
        for path in near:
            if path.is_file():
                return path
        raise BadInput(f"{self.folder} has no picture for {picture}.")


# Name to its class, and to the class of its configuration.
WAYS: dict[str, tuple[type[Any], type[Any]]] = {
    "none": (Nothing, NothingConfig),
    "frame": (Frame, FrameConfig),
    "external": (External, ExternalConfig),
}
