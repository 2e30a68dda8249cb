"""How data sets lie on disk, and how each becomes one in COCO's form.

coco        annotations/NAME_SPLIT.json, and images below SPLIT, images/SPLIT, images, or the root
crowdpose   the same; annotations lack an area, which is added as its evaluation computes it
widerface   wider_face_split/wider_face_SPLIT_bbx_gt.txt, and images below WIDER_SPLIT/images
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from velatura.errors import BadInput, unknown
from velatura.impact._coco import Dataset, checked, dataset, parsed

__all__ = ["FORMATS", "read"]

AREA = 0.53  # of a box that a person covers: crowdposetools, cocoeval.py
# https://shuoyang1213.me/WIDERFACE: what stands behind a box.
WIDER = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")


def read(
    form: str,
    root: Path,
    annotations: Sequence[Path] = (),
    images: Path | None = None,
    categories: Sequence[str] | None = (),
) -> Dataset:
    """A data set of one of ``FORMATS``.

    Args:
        root: its folder.
        annotations: files; by default the only one where they usually lie.
        images: the folder of images, where it is none of the usual.
        categories: names; () is person, or face; None is all.

    Raises:
        BadInput: nothing there, or what is there cannot be used.
    """
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if not root.is_dir():
        raise BadInput(f"There is no folder {root}; --data names the folder of a data set.")
    folder, pattern, reader = FORMATS[form]
    files = [path if path.exists() else root / path for path in annotations]
    if not files:
        files = sorted((root / folder).glob(pattern))
        if not files:
            raise BadInput(f"There is no {folder}/{pattern} in {root}; name a file with --ann.")
        if len(files) > 1:
            there = ", ".join(str(path.relative_to(root)) for path in files)
            raise BadInput(
                f"{root} has {len(files)} files of annotations; choose by --ann: {there}."
            )
    return reader(root, files, images, categories)


def _coco(
    root: Path, files: Sequence[Path], images: Path | None, categories: Sequence[str] | None
) -> Dataset:
    contents = {path: parsed(path) for path in files}
    documents: dict[Path, Path | bytes] = {_below(root, path): path for path in files}
    folder = images or _images(root, files[0], next(iter(contents.values())))
    named = {str(path): content for path, content in contents.items()}
    return dataset(root, _below(root, folder), named, documents, categories)


def _crowdpose(
    root: Path, files: Sequence[Path], images: Path | None, categories: Sequence[str] | None
) -> Dataset:
    contents = {str(path): parsed(path) for path in files}
    folder = images or _images(root, files[0], next(iter(contents.values())))
    found = dataset(root, _below(root, folder), contents, {}, categories)
    # It is in COCO's form, or would not have been read.
    for path, content in zip(files, contents.values(), strict=True):
        for annotation in content["annotations"]:
            annotation.setdefault("iscrowd", 0)
            if "area" not in annotation and annotation.get("bbox"):
                annotation["area"] = AREA * annotation["bbox"][2] * annotation["bbox"][3]
        found.documents[_below(root, path)] = json.dumps(content).encode()
    return found


def _widerface(
    root: Path, files: Sequence[Path], images: Path | None, categories: Sequence[str] | None
) -> Dataset:
    if len(files) > 1:
        raise BadInput("Splits of WIDER FACE have folders of their own: one --ann at a time.")
    (path,) = files
    part = path.stem.removeprefix("wider_face_").removesuffix("_bbx_gt")
    folder = images or root / f"WIDER_{part}" / "images"
    if not folder.is_dir():
        raise BadInput(
            f"There is no folder {folder} for the images of {path}; name it by --images."
        )
    content = _wider(path, folder)
    documents: dict[Path, Path | bytes] = {
        Path("annotations") / f"{path.stem}.json": json.dumps(content).encode()
    }
    return dataset(root, _below(root, folder), {str(path): content}, documents, categories)


Reader = Callable[[Path, Sequence[Path], Path | None, Sequence[str] | None], Dataset]
FORMATS: dict[str, tuple[str, str, Reader]] = {
    "coco": ("annotations", "*.json", _coco),
    "crowdpose": ("annotations", "*.json", _crowdpose),
    "widerface": ("wider_face_split", "*_bbx_gt.txt", _widerface),
}


def _below(root: Path, path: Path) -> Path:
    """A path relative to the data set's folder.

    Raises:
        BadInput: it lies elsewhere, so that a copy would have no place for it.
    """
    try:
        return path.resolve().relative_to(root.resolve())
    except ValueError:
        raise BadInput(
            f"{path} must lie in {root}, so that the copy has it at its place."
        ) from None


def _images(root: Path, path: Path, content: Any) -> Path:
    """The first usual folder that has the first image; or some other one of the first hundred."""
    split = path.stem.rsplit("_", 1)[-1]
    usual = [root / split, root / "images" / split, root / "images", root]
    listed = checked(str(path), content).get("images")
    for image in listed[:100] if isinstance(listed, list) else ():
        name = image.get("file_name") if isinstance(image, dict) else None
        for folder in usual:
            if isinstance(name, str) and (folder / name).is_file():
                return folder
    looked = ", ".join(str(folder) for folder in usual)
    raise BadInput(f"No image of {path} is in any of {looked}; name their folder by --images.")


def _wider(path: Path, folder: Path) -> dict[str, Any]:
    """WIDER FACE's text as COCO's form: a name, a count, and a line for each face."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}.") from error
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        try:
            name, count = lines[at].strip(), int(lines[at + 1])
            # Where there is no face, a line of zeros stands for it.
            rows = [
                [int(x) for x in line.split()] for line in lines[at + 2 : at + 2 + (count or 1)]
            ]
            if count < 0 or len(rows) != (count or 1) or any(len(row) < 4 for row in rows):
                raise ValueError
        except (ValueError, IndexError):
            raise BadInput(
                f"{path}, line {at + 1}: expected a name, a count and a line of x, y, width and "
                "height for each face."
            ) from None
        at += 2 + (count or 1)
        images.append({"id": len(images) + 1, "file_name": name, **_size(folder / name)})
        for x, y, width, height, *rest in rows[:count]:
            said = dict(zip(WIDER, rest, strict=False))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": 1,
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    # What nobody is asked to find; it is hidden all the same.
                    "ignore": int(bool(said.get("invalid")) or width <= 0 or height <= 0),
                    "attributes": said,
                }
            )
    categories = [{"id": 1, "name": "face", "supercategory": "person"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def _size(path: Path) -> dict[str, int]:
    """Width and height from an image's header; nothing where it cannot be read: that is told when
    its turn comes."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return {"width": image.width, "height": image.height}
    except Exception:  # a hostile file makes Pillow raise nearly anything
        return {}
