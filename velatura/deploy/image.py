"""Anonymize one still picture: all of it, verified, or no file at all.

The output is made of the anonymizer's pixels and of nothing else. What the source held beside its
pixels is told by name and never by value: a place, a date or a person may stand there.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms

from velatura.deploy import pipeline
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.file import sigterm_unwinds
from velatura.deploy.record import Report, versions
from velatura.errors import BadInput, Failure
from velatura.video import destination as place
from velatura.video.contents import shown
from velatura.video.read import Frame
from velatura.video.resize import resize

__all__ = ["SUFFIXES", "Still", "anonymize_image", "encoded", "read_image"]

# Importing them is what makes Pillow know these two; the others it always knows.
import_module("PIL.TiffImagePlugin")
import_module("PIL.WebPImagePlugin")

SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
READS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # of fifty others none is tried
OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 92, "subsampling": "4:2:0"},
    "PNG": {},
    "WEBP": {"quality": 92, "lossless": False},
}
LONGEST = {"JPEG": 65500, "PNG": 2**31 - 1, "WEBP": 16383}  # pixels of a side
PIXELS = 178_956_970  # more is refused, as Pillow does: half a gigabyte in RGB
BYTES = 2**31  # of a file
MOST = 100  # tags that are named
APART = 24  # levels by which a lossy picture may differ over a sixteenth of its sides


def anonymize_image(
    source: str | Path,
    destination: str | Path,
    anonymizer: Anonymizer,
    *,
    overwrite: bool = False,
    confirm: Callable[[Report, Path], None] | None = None,
) -> Report:
    """Write an anonymized copy of a still picture.

    The copy has the size of the source as it is shown, eight bits of sRGB, no transparency and no
    metadata. It fails closed, as ``anonymize_video`` does: it is written beside its name, synced,
    read back and renamed, or not there at all.

    Args:
        source: JPEG, PNG, WebP, GIF, BMP or TIFF, whatever its name.
        destination: .jpg, .jpeg, .png or .webp; never the source.
        anonymizer: one that does not need motion.
        overwrite: replace an existing destination, when done.
        confirm: called with (report, file) before the whole and verified file gets its name; an
            exception of it leaves no copy.

    Raises:
        BadInput: an unreadable, damaged, animated or huge source; an unusable destination; an
            anonymizer that shows motion only.
        Failure: the anonymizer failed, or gave the picture back unchanged; the disk is full.
    """
    source, destination = Path(source), Path(destination)
    began, clock = datetime.now(UTC), time.perf_counter()
    if anonymizer.moves:
        raise BadInput(
            f"{anonymizer.name} shows motion; a still picture has none: choose --mode pixelate."
        )
    place.check(destination, source, overwrite, SUFFIXES)
    form = SUFFIXES[destination.suffix.lower()]
    data = _bytes(source)
    report = Report(
        source=str(source),
        destination=str(destination),
        source_sha256=hashlib.sha256(data).hexdigest(),
        kind="image",
        anonymizer=anonymizer.describe(),
        settings={"format": form, **OPTIONS[form]},
        frames=1,
        declared=1,
        began=began.isoformat(timespec="seconds"),
        versions=versions(),
    )
    image, _ = _read(source, data, report, by_profile=True)
    report.height, report.width = height, width = image.shape[:2]
    if max(width, height) > LONGEST[form]:
        raise BadInput(
            f"{source} is {width} x {height} pixels; {form} holds {LONGEST[form]} a side. Name "
            "another output, such as a .png."
        )
    picture = _anonymized(image, anonymizer, report)
    with sigterm_unwinds():
        place.sweep(destination.parent)
        report.wall = round(time.perf_counter() - clock, 3)
        _write(picture, destination, form, overwrite, report, confirm)
    return report


def _anonymized(image: np.ndarray, anonymizer: Anonymizer, report: Report) -> np.ndarray:
    """The picture that is written, (H, W, 3); checked as a frame of a video is."""
    size = image.shape[:2]
    seen = resize(image, anonymizer.work_size(*size), "area")
    answers: list[np.ndarray] = []
    pipeline.run(
        [Frame(seen, 0, Fraction(1), 0)],
        anonymizer,
        lambda picture, frame: answers.append(picture),
        batch=1,
    )
    (answer,) = answers
    if anonymizer.keeps and np.array_equal(answer, image):
        report.warnings.append(
            f"Nothing of the picture was changed: {anonymizer.name} gave it back as it was."
        )
    return resize(np.ascontiguousarray(answer), size, anonymizer.enlarge)


# ------------------------------------------------------------------------------------ reading


class Still(NamedTuple):
    """A picture that was read.

    Attributes:
        pixels: (H, W, 3) uint8, RGB, upright and opaque.
        turned: the EXIF orientation that was undone, 2 to 8; 1 where it was upright.
        sha256: of the file.
        removed: what it held beside its pixels, by name.
        warnings: what was lost, a sentence each.
    """

    pixels: np.ndarray
    turned: int
    sha256: str
    removed: list[str]
    warnings: list[str]


def read_image(source: str | Path, *, by_profile: bool = True) -> Still:
    """Read one picture as ``anonymize_image`` does.

    Args:
        by_profile: convert RGB and grey by the file's ICC profile; else the values are as they
            stand in the file, as programs see them that know nothing of profiles.

    Raises:
        BadInput: an unreadable, damaged, animated or huge file.
    """
    source = Path(source)
    data = _bytes(source)
    report = Report(source=str(source), destination="")
    pixels, turned = _read(source, data, report, by_profile)
    return Still(pixels, turned, hashlib.sha256(data).hexdigest(), report.removed, report.warnings)


def _bytes(source: Path) -> bytes:
    if not source.is_file():
        what = "a folder, not a picture" if source.is_dir() else "not there"
        raise BadInput(f"{source} is {what}; name one picture.")
    try:
        with open(source, "rb") as file:
            data = file.read(BYTES + 1)
    except OSError as error:
        raise BadInput(f"{source} cannot be read: {error.strerror}.") from error
    if len(data) > BYTES:
        raise BadInput(f"{source} has more than {BYTES >> 30} GiB; make it smaller first.")
    return data


def _read(source: Path, data: bytes, report: Report, by_profile: bool) -> tuple[np.ndarray, int]:
    """(H, W, 3) uint8, RGB, upright and opaque, and the orientation that was undone; what is lost
    is noted in the report."""
    with _quiet(), _opened(source, data) as image:
        _refuse(source, image)
        found = _Metadata(image, data)
        if (bits := _bits(image, data)) > 8:
            report.warnings.append(f"{bits} bits per colour become 8.")
        try:
            if image.format == "PNG":
                # Loading does not look at every checksum.
                with Image.open(io.BytesIO(data), formats=["PNG"]) as other:
                    other.verify()
            image.load()
        except Exception as error:  # a hostile file makes Pillow raise nearly anything
            raise BadInput(f"{source} is damaged or truncated: {_reason(error)}.") from error
        # Of some formats Pillow has turned the picture by itself, and says so here.
        turned = _orientation(image, report)
        turn = TURNS.get(turned)
        if not by_profile and image.mode != "CMYK":
            found.profile = None
        colour, alpha = _colour(source, image, found, report)
        if alpha is not None:
            # What hides under a transparent pixel is neither shown to the anonymizer nor written.
            white = Image.new("RGB", colour.size, (255, 255, 255))
            colour = Image.composite(colour, white, alpha)
            report.warnings.append("The alpha channel is dropped; transparent parts are white.")
        report.removed = found.removed()
        if turn is None:
            return np.asarray(colour), 1
        return np.asarray(colour.transpose(turn)), turned


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns about damaged metadata, which is dropped, and about sizes, which are checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _opened(source: Path, data: bytes) -> Iterator[Image.Image]:
    try:
        image = Image.open(io.BytesIO(data), formats=READS)
    except Image.DecompressionBombError as error:
        raise BadInput(f"{source} {TOO_MANY}.") from error
    except Image.UnidentifiedImageError as error:
        raise BadInput(
            f"{source} is no picture that can be read: JPEG, PNG, WebP, GIF, BMP and TIFF can."
        ) from error
    except Exception as error:  # as above
        raise BadInput(f"{source} cannot be read as a picture: {_reason(error)}.") from error
    with image:
        yield image


TOO_MANY = (
    f"would unpack to more than {PIXELS // 10**6} million pixels; cut it up or make it smaller "
    "first"
)


def _refuse(source: Path, image: Image.Image) -> None:
    width, height = image.size
    if width * height > PIXELS:
        raise BadInput(f"{source} {TOO_MANY}.")
    try:
        pictures = getattr(image, "n_frames", 1)
    except Exception as error:  # as above
        raise BadInput(f"{source} is damaged or truncated: {_reason(error)}.") from error
    if pictures > 1 and image.format == "TIFF":
        raise BadInput(f"{source} has {pictures} pages; save each as a picture of its own.")
    # MPO is a JPEG with a further view behind it; the first is the picture.
    if pictures > 1 and image.format != "MPO":
        raise BadInput(
            f"{source} is animated, {pictures} pictures: anonymize it as a video, into an .mp4."
        )


def _reason(error: Exception) -> str:
    """What Pillow says, in one line and no more."""
    text = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return shown(text)


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image, report: Report) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as above
        report.warnings.append("The EXIF data is damaged; the picture is taken to be upright.")
        return 1
    return value if isinstance(value, int) else 1


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits per colour; Pillow brings most pictures to eight without a word."""
    if image.format == "PNG":
        return data[24]  # in the header, whose place is fixed
    if image.format == "TIFF":
        given = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, 8)
        return int(max(given)) if isinstance(given, tuple) else int(given)
    return 8


def _colour(
    source: Path, image: Image.Image, found: _Metadata, report: Report
) -> tuple[Image.Image, Image.Image | None]:
    """RGB of eight bits, and how opaque each pixel is; None where all are."""
    try:
        image, alpha = _without_alpha(image)
        if found.profile:
            converted = _by_profile(image, found.profile)
            if converted is not None:
                return converted, alpha
            report.warnings.append(
                "The ICC profile cannot be used; the colours are taken for sRGB."
            )
        elif image.mode == "CMYK":
            report.warnings.append("CMYK without an ICC profile: the colours are approximate.")
        if image.mode == "LAB":
            converted = _by_profile(image, None)
            if converted is None:
                raise ValueError("LAB")
            return converted, alpha
        return image if image.mode == "RGB" else image.convert("RGB"), alpha
    except (ValueError, OSError, KeyError) as error:
        raise BadInput(
            f"{source} has colours of a kind ({image.mode}) that does not become RGB; save it as "
            "PNG or JPEG first."
        ) from error


def _without_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A picture of eight bits, and its alpha channel where that says anything."""
    clear = image.info.get("transparency")
    if image.mode == "F":
        raise ValueError("floats have no range")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.size and not 0 <= values.min() <= values.max() <= 65535:
            raise ValueError("more than 16 bits")
        alpha = None
        if isinstance(clear, int) and (values == clear).any():
            alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
        return Image.fromarray((values >> 8).astype(np.uint8)), alpha
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or clear is not None:
        whole = image.convert("LA" if image.mode == "La" else image.mode).convert("RGBA")
        alpha = whole.getchannel("A")
        return whole.convert("RGB"), alpha if alpha.getextrema() != (255, 255) else None
    if image.mode in ("1", "L"):
        return image.convert("L"), None
    if image.mode in ("CMYK", "LAB", "RGB"):
        return image, None
    return image.convert("RGB"), None


def _by_profile(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """Converted to sRGB; None where the profile does not fit. Without one: of LAB."""
    try:
        origin = (
            ImageCms.createProfile("LAB")
            if profile is None
            else ImageCms.ImageCmsProfile(io.BytesIO(profile))
        )
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, origin, target, outputMode="RGB")
    except Exception:  # as above; and ImageCms raises no one kind
        return None


# ----------------------------------------------------------------------------------- metadata

POINTERS = {0x8769, 0x8825, 0xA005, 0x014A}  # tags that lead to groups of tags
# What makes a TIFF a picture: sizes, strips, tiles, coding, colours.
STRUCTURE = {
    *range(254, 260), 262, 263, 266, 273, *range(277, 285), 290, 291, 292, 293, 296, 301, 317, 320,
    *range(322, 326), *range(330, 348), *range(512, 522), *range(529, 533),
}  # fmt: skip
NAMED = {700: "XMP", 33723: "IPTC", 34377: "Photoshop resources", 34675: "ICC profile"}
CODING = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"sRGB", b"gAMA", b"cHRM", b"bKGD", b"sBIT"}
ELSEWHERE = {b"eXIf", b"iCCP", b"EXIF", b"XMP ", b"ICCP"}  # told by what Pillow makes of them
WEBP = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"}


class _Metadata:
    """What a file holds beside its pixels: names, and the ICC profile to convert by."""

    def __init__(self, image: Image.Image, data: bytes) -> None:
        profile = image.info.get("icc_profile")
        self.profile = profile if isinstance(profile, bytes) and profile else None
        self.names: list[str] = []
        for look in (self._exif, self._fields, self._segments, self._chunks):
            try:
                look(image, data)
            except Exception:  # a hostile file; it is dropped like any other
                self._add("metadata that is damaged")

    def removed(self) -> list[str]:
        names = list(dict.fromkeys(self.names))
        more = [f"{len(names) - MOST} further tags"] if len(names) > MOST else []
        return names[:MOST] + more

    def _add(self, name: str) -> None:
        self.names.append(shown(name))

    def _exif(self, image: Image.Image, data: bytes) -> None:
        exif = image.getexif()
        groups = [dict(exif)]
        for group in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop):
            groups.append(exif.get_ifd(group))
        tables = (ExifTags.TAGS, ExifTags.TAGS, ExifTags.GPSTAGS, {1: "InteropIndex"})
        for tags, table in zip(groups, tables, strict=True):
            for tag in tags:
                if tag in NAMED and tags is groups[0]:
                    self._add(NAMED[tag])
                elif tag not in POINTERS and not (image.format == "TIFF" and tag in STRUCTURE):
                    self._add(f"EXIF {table.get(tag, hex(tag))}")
        if exif.get_ifd(ExifTags.IFD.IFD1):
            self._add("EXIF thumbnail")

    def _fields(self, image: Image.Image, data: bytes) -> None:
        """What Pillow found in any format."""
        info = image.info
        if info.get("xmp"):
            self._add("XMP")
        if info.get("comment"):
            self._add("comment")
        if info.get("dpi") and image.format == "JPEG":
            self._add("resolution")
        if self.profile:
            self._add("ICC profile")
        resources = info.get("photoshop")
        if isinstance(resources, dict):
            known = {0x0404: "IPTC", 0x0409: "Photoshop thumbnail", 0x040C: "Photoshop thumbnail"}
            for number in resources:
                self._add(known.get(number, "Photoshop resources"))

    def _segments(self, image: Image.Image, data: bytes) -> None:
        """Of a JPEG."""
        if image.format not in ("JPEG", "MPO"):
            return
        for segment, content in getattr(image, "applist", ()):
            if segment == "APP0" and content.startswith(b"JFXX"):
                self._add("JFIF thumbnail")
            elif segment == "APP1" and content.startswith(b"http://ns.adobe.com/x"):
                self._add("XMP")
            elif segment == "APP2" and content.startswith(b"MPF\0"):
                self._add("further pictures")
            elif segment == "COM":
                self._add("comment")
            elif (segment, content[:4]) not in OWN_SEGMENTS:
                self._add(f"segment {segment}")
        if not data.rstrip(b"\0").endswith(b"\xff\xd9"):
            self._add("data behind the picture")

    def _chunks(self, image: Image.Image, data: bytes) -> None:
        """Of a PNG or WebP."""
        if image.format == "PNG":
            at = 8
            while at + 8 <= len(data):
                size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
                if kind in (b"tEXt", b"zTXt", b"iTXt"):
                    key = data[at + 8 : at + 8 + min(size, 80)].split(b"\0")[0].decode("latin-1")
                    self._add("XMP" if key == "XML:com.adobe.xmp" else f"text {key}")
                elif kind == b"pHYs":
                    self._add("resolution")
                elif kind not in CODING | ELSEWHERE:
                    self._add(f"chunk {kind.decode('latin-1')}")
                at += size + 12
                if kind == b"IEND":
                    break
        elif image.format == "WEBP":
            end, at = min(len(data), int.from_bytes(data[4:8], "little") + 8), 12
            while at + 8 <= end:
                size, kind = int.from_bytes(data[at + 4 : at + 8], "little"), data[at : at + 4]
                if kind not in WEBP | ELSEWHERE:
                    self._add(f"chunk {kind.decode('latin-1')}")
                at += 8 + size + size % 2
            at = end
        else:
            return
        if at < len(data):
            self._add("data behind the picture")


OWN_SEGMENTS = {
    *(
        ("APP0", b"JFIF"),
        ("APP1", b"Exif"),
        ("APP2", b"ICC_"),
        ("APP13", b"Phot"),
        ("APP14", b"Adob"),
    ),
}


# ------------------------------------------------------------------------------------ writing


def encoded(picture: np.ndarray, form: str, **options: Any) -> memoryview:
    """The bytes of a file that holds (H, W, 3) uint8 RGB pixels, and nothing else."""
    coded = io.BytesIO()
    Image.fromarray(picture).save(coded, format=form, **options)
    return coded.getbuffer()


def _write(
    picture: np.ndarray,
    destination: Path,
    form: str,
    overwrite: bool,
    report: Report,
    confirm: Callable[[Report, Path], None] | None,
) -> None:
    """Write, sync, read back, rename; the report gets the SHA-256 of the file."""
    partial = place.Partial(destination)
    try:
        # From an array: it carries pixels and nothing else. By way of memory: on a full disk
        # Pillow's JPEG encoder ends a file early and says nothing.
        partial.file.write(encoded(picture, form, **OPTIONS[form]))
        partial.file.flush()
        os.fsync(partial.file.fileno())
        partial.file.close()
        data = partial.path.read_bytes()
        _read_back(destination, data, picture, form)
        report.destination_sha256 = hashlib.sha256(data).hexdigest()
        if confirm is not None:
            confirm(report, partial.path)
        partial.keep(overwrite)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Failure(
            f"Writing {destination} failed: {reason}. Nothing was left behind."
        ) from error
    finally:
        partial.discard()


def _read_back(destination: Path, data: bytes, picture: np.ndarray, form: str) -> None:
    """Decode what was written, and hold it against what was meant."""
    try:
        with _quiet(), Image.open(io.BytesIO(data), formats=[form]) as image:
            image.load()
            names = _Metadata(image, data).removed()
            got = np.asarray(image)
    except Exception as error:  # as above
        raise Failure(f"{destination} was not written: it does not decode.") from error
    if names:
        raise Failure(f"{destination} was not written: it would hold {', '.join(names)}.")
    same = got.shape == picture.shape and got.dtype == picture.dtype
    if same and form == "PNG":
        same = np.array_equal(got, picture)
    elif same:
        size = min(16, got.shape[0]), min(16, got.shape[1])
        small = [resize(image, size, "area").astype(int) for image in (got, picture)]
        same = np.abs(small[0] - small[1]).mean() < APART
    if not same:
        raise Failure(f"{destination} was not written: it reads back as another picture.")
