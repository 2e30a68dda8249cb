"""A still picture: all of it anonymized, nothing else kept, or no file."""

import io
import os
import signal
import struct
import subprocess
import sys
import unicodedata
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from velatura.deploy import image as room
from velatura.deploy.anonymizer import Anonymizer
from velatura.deploy.image import SUFFIXES, anonymize_image
from velatura.deploy.modes import MODES
from velatura.deploy.record import read_report, sha256, write_report
from velatura.errors import BadInput, Failure
from velatura.video.destination import PARTIAL

SECRET = "Jane Doe 57.0488"


class Negative(Anonymizer):
    """255 minus each value; remembers what it was shown."""

    name = digest = "negative"

    def __init__(self):
        self.seen = []

    def apply(self, frames):
        self.seen.append(frames.copy())
        return 255 - frames


class Same(Anonymizer):
    name = digest = "same"

    def apply(self, frames):
        return frames


def ramp(height=48, width=64):
    """Darker to the left and below; blue tells top from bottom, red left from right."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 3 + 20, np.full_like(x, 80), y * 4 + 20], -1).clip(0, 255).astype(np.uint8)


def save(path, array=None, **how):
    Image.fromarray(ramp() if array is None else array).save(path, **how)
    return path


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "a.png"


def result(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def left_beside(out):
    return sorted(p.name for p in out.parent.iterdir())


# --------------------------------------------------------------------------------- the pixels


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".webp", ".PNG"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_every_format_to_every_format(tmp_path, out, form, suffix):
    source = save(tmp_path / "source", format=form)
    out = out.with_name(f"b{suffix}")
    report = anonymize_image(source, out, Negative())
    with Image.open(out) as image:
        assert image.format == SUFFIXES[suffix.lower()]
        assert (image.size, image.mode) == ((64, 48), "RGB")
    # A GIF has 256 colours; JPEG and WebP blur.
    assert np.abs(result(out) - (255 - ramp().astype(int))).mean() < 8
    assert (report.kind, report.status, report.frames) == ("image", "done", 1)
    assert (report.width, report.height) == (64, 48)
    assert report.source_sha256 == sha256(source)
    assert report.destination_sha256 == sha256(out)
    assert report.anonymizer["name"] == "negative"
    assert (report.removed, report.warnings) == ([], [])
    assert left_beside(out) == [out.name]


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (33, 1), (31, 45), (300, 200)])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_size_is_kept(tmp_path, out, size, suffix):
    source = save(tmp_path / "a.png", ramp(*size))
    out = out.with_suffix(suffix)
    anonymize_image(source, out, Negative())
    assert result(out).shape == (*size, 3)


def test_lossless_is_exact(tmp_path, out):
    anonymize_image(save(tmp_path / "a.png"), out, Negative())
    assert np.array_equal(result(out), 255 - ramp().astype(int))


@pytest.mark.parametrize("name", sorted(set(MODES) - {"silhouette"}))
def test_the_modes(tmp_path, out, name):
    source = save(tmp_path / "a.png", ramp(60, 76))
    report = anonymize_image(source, out, MODES[name](scale=12))
    assert result(out).shape == (60, 76, 3)
    assert not np.array_equal(result(out), ramp(60, 76))
    assert report.warnings == []
    if name == "pixelate":  # so many blocks along the shorter side
        assert len(np.unique(result(out)[:, 0, 2])) == 12


def stored(array, orientation):
    """A picture as a camera stores it that asks to be shown like ``array``; by the standard.

    Exif 2.32, tag 0x0112: where row 0 and column 0 of what is stored are to be seen.
    """
    return {
        1: lambda a: a,  # top, left
        2: lambda a: a[:, ::-1],  # top, right
        3: lambda a: a[::-1, ::-1],  # bottom, right
        4: lambda a: a[::-1],  # bottom, left
        5: lambda a: a.transpose(1, 0, 2),  # left, top
        6: lambda a: a.transpose(1, 0, 2)[::-1],  # right, top
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: lambda a: a.transpose(1, 0, 2)[:, ::-1],  # left, bottom
    }[orientation](array)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation(tmp_path, out, orientation, form):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    shape = stored(ramp(), orientation)
    source = tmp_path / "a"
    Image.fromarray(np.ascontiguousarray(shape)).save(source, format=form, exif=exif)
    black = Negative()
    report = anonymize_image(source, out, black)
    assert (report.width, report.height) == (64, 48)
    assert np.abs(result(out) - (255 - ramp().astype(int))).mean() < 8
    assert np.abs(black.seen[0][0].astype(int) - ramp()).mean() < 8
    with Image.open(out) as image:
        assert dict(image.getexif()) == {}


def test_stored_is_what_pillow_makes_of_it():
    """The standard as read here, against a second reading of it."""
    from PIL import ImageOps

    for orientation in range(1, 9):
        image = Image.fromarray(np.ascontiguousarray(stored(ramp(), orientation)))
        image.getexif()[ExifTags.Base.Orientation] = orientation
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), ramp()), orientation


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none(tmp_path, out, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    anonymize_image(save(tmp_path / "a.png", exif=exif), out, Negative())
    assert np.array_equal(result(out), 255 - ramp().astype(int))


# ------------------------------------------------------------------------- kinds of colours


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_modes_of_colour(tmp_path, out, mode):
    image = Image.fromarray(ramp()).convert(mode)
    form = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    image.save(tmp_path / "a", format=form)
    report = anonymize_image(tmp_path / "a", out, Negative())
    assert np.abs(result(out) - (255 - np.asarray(image.convert("RGB")).astype(int))).mean() < 3
    said = ["CMYK without an ICC profile: the colours are approximate."] if mode == "CMYK" else []
    assert report.warnings == said


def test_cmyk_jpeg(tmp_path, out):
    Image.fromarray(ramp()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    report = anonymize_image(tmp_path / "a.jpg", out, Negative())
    assert np.abs(result(out) - (255 - ramp().astype(int))).mean() < 8
    assert len(report.warnings) == 1


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey(tmp_path, out, form):
    values = (np.arange(48 * 64).reshape(48, 64) * 21).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a", format=form)
    negative = Negative()
    report = anonymize_image(tmp_path / "a", out, negative)
    assert np.array_equal(negative.seen[0][0][..., 0], (values >> 8).astype(np.uint8))
    assert report.warnings == ["16 bits per colour become 8."]


def test_sixteen_bit_colour(tmp_path, out):
    """Made with FFmpeg: Pillow writes none, and reads it as eight bits without a word."""
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "rgb48be"
    encoder.time_base = 1
    frame = av.VideoFrame.from_ndarray(ramp().astype(np.uint16) * 257, format="rgb48be")
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    (tmp_path / "a.png").write_bytes(bytes(packets[0]))
    report = anonymize_image(tmp_path / "a.png", out, Negative())
    assert np.abs(result(out) - (255 - ramp().astype(int))).max() <= 1
    assert "16 bits per colour become 8." in report.warnings


def test_floats_are_refused(tmp_path, out):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(BadInput, match=r"colours of a kind \(F\) that does not become RGB"):
        anonymize_image(tmp_path / "a.tif", out, Negative())


HIDDEN = (211, 7, 133)


def with_hidden(kind):
    """A green picture whose right half is transparent, and another colour beneath."""
    rgba = np.zeros((48, 64, 4), np.uint8)
    rgba[:, :32] = (0, 120, 0, 255)
    rgba[:, 32:] = (*HIDDEN, 0)
    if kind == "palette":
        image = Image.new("P", (64, 48))
        image.putpalette([0, 120, 0, *HIDDEN])
        image.putdata([int(x >= 32) for _ in range(48) for x in range(64)])
        return image, {"transparency": 1}
    if kind == "palette, by parts":
        image, _ = with_hidden("palette")
        return image, {"transparency": bytes([255, 0])}
    if kind == "colour key":
        return Image.fromarray(rgba).convert("RGB"), {"transparency": HIDDEN}
    if kind == "grey":
        return Image.fromarray(rgba).convert("LA"), {}
    return Image.fromarray(rgba), {"exact": True} if kind == "webp" else {}


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("rgba", "PNG"),
        ("rgba", "TIFF"),
        ("webp", "WEBP"),
        ("grey", "PNG"),
        ("palette", "PNG"),
        ("palette", "GIF"),
        ("palette, by parts", "PNG"),
        ("colour key", "PNG"),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_what_hides_under_transparent_pixels_is_never_seen(tmp_path, out, kind, form, suffix):
    image, how = with_hidden(kind)
    lossless = {"lossless": True} if form == "WEBP" else {}
    image.save(tmp_path / "a", format=form, **how, **lossless)
    negative, out = Negative(), out.with_suffix(suffix)
    report = anonymize_image(tmp_path / "a", out, negative)
    assert (negative.seen[0][0][:, 32:] == 255).all(), "the anonymizer saw what hides"
    assert np.abs(negative.seen[0][0][:, :32, 0].astype(int)).max() < 100
    assert np.abs(result(out)[:, 40:]).max() < 12  # white, negated
    assert report.warnings == ["The alpha channel is dropped; transparent parts are white."]
    with Image.open(out) as image:
        assert image.mode == "RGB"
        assert "transparency" not in image.info


def test_sixteen_bit_grey_with_a_colour_key(tmp_path, out):
    header = struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" + struct.pack(">HH", 0x1234, 0x8000))
    parts = [
        (b"IHDR", header),
        (b"tRNS", struct.pack(">H", 0x1234)),
        (b"IDAT", rows),
        (b"IEND", b""),
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*p) for p in parts))
    negative = Negative()
    anonymize_image(tmp_path / "a.png", out, negative)
    assert negative.seen[0][0][0].tolist() == [[255] * 3, [0x80] * 3]


def test_an_opaque_alpha_channel_is_no_loss(tmp_path, out):
    Image.fromarray(ramp()).convert("RGBA").save(tmp_path / "a.png")
    assert anonymize_image(tmp_path / "a.png", out, Negative()).warnings == []


def swapped_profile():
    """sRGB with red and blue exchanged: a picture tagged with it is shown the other way round."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for a, b in ((b"rXYZ", b"bXYZ"), (b"rTRC", b"bTRC")):
        profile = profile.replace(a, b"????", 1).replace(b, a, 1).replace(b"????", b, 1)
    return profile


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_colour_profile_is_applied_and_dropped(tmp_path, out, form):
    array = np.zeros((48, 64, 3), np.uint8)
    array[..., 0] = 200
    how = {"lossless": True} if form == "WEBP" else {}
    Image.fromarray(array).save(tmp_path / "a", format=form, icc_profile=swapped_profile(), **how)
    negative = Negative()
    report = anonymize_image(tmp_path / "a", out, negative)
    red, green, blue = negative.seen[0][0].reshape(-1, 3).mean(0)
    assert red < 30 < 150 < blue
    assert "ICC profile" in report.removed
    assert report.warnings == []
    with Image.open(out) as image:
        assert "icc_profile" not in image.info


def test_a_colour_profile_that_does_not_fit(tmp_path, out):
    for profile in (b"no profile at all", swapped_profile()[:300]):
        source = save(tmp_path / "a.png", icc_profile=profile)
        report = anonymize_image(source, out, Negative(), overwrite=True)
        assert np.array_equal(result(out), 255 - ramp().astype(int))
        assert report.warnings == [
            "The ICC profile cannot be used; the colours are taken for sRGB."
        ]
    Image.fromarray(ramp()).convert("CMYK").save(tmp_path / "c.jpg", icc_profile=swapped_profile())
    report = anonymize_image(tmp_path / "c.jpg", out, Negative(), overwrite=True)
    assert "cannot be used" in report.warnings[0]


# ------------------------------------------------------------------------------------ metadata


def exif_of_a_phone():
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = SECRET
    exif[ExifTags.Base.Artist] = SECRET
    exif[ExifTags.Base.Orientation] = 1
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = SECRET
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = SECRET.encode()
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (57.0, 2.0, 55.0)
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = SECRET.encode()
    return exif


XMP = f"<x:xmpmeta>{SECRET}</x:xmpmeta>".encode()
FROM_EXIF = {
    "EXIF Make",
    "EXIF Artist",
    "EXIF DateTimeOriginal",
    "EXIF MakerNote",
    "EXIF GPSLatitude",
    "EXIF GPSAreaInformation",
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_metadata_is_dropped_and_told_by_name(tmp_path, out, form, suffix):
    source = tmp_path / "a"
    how = {"xmp": XMP, "exif": exif_of_a_phone()}
    if form == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Author", SECRET)
        texts.add_text("Comment", SECRET, zip=True)
        texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
        texts.add(b"tIME", bytes(7))
        how = {"pnginfo": texts, "exif": exif_of_a_phone(), "dpi": (300, 300)}
    if form == "JPEG":
        how |= {"comment": SECRET}
    if form == "TIFF":
        exif = exif_of_a_phone()
        exif[700], exif[33723] = XMP, SECRET.encode()
        how = {"exif": exif.tobytes()}  # as an object it would lose its groups
    save(source, format=form, **how)
    assert SECRET.encode() in source.read_bytes()
    out = out.with_suffix(suffix)
    report = anonymize_image(source, out, Negative())
    assert set(report.removed) >= FROM_EXIF
    assert "XMP" in report.removed
    more = {
        "PNG": {"text Author", "text Comment", "chunk tIME", "resolution"},
        "JPEG": {"comment"},
        "TIFF": {"IPTC"},
    }
    assert set(report.removed) >= more.get(form, set())
    assert not any("Image" in name or "Strip" in name for name in report.removed)
    # Names, no values; and nothing of it in the file.
    assert "Jane" not in repr(report)
    data = out.read_bytes()
    assert b"Jane" not in data
    with Image.open(out) as image:
        assert dict(image.getexif()) == {}
        assert not {"xmp", "exif", "comment", "icc_profile", "photoshop"} & set(image.info)
    again = anonymize_image(out, out.with_name("again.png"), Negative())
    assert again.removed == []


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_segments_of_a_jpeg(tmp_path, out):
    data = save(tmp_path / "a.jpg", quality=95).read_bytes()
    resource = b"8BIM" + struct.pack(">HH", 0x0404, 0) + struct.pack(">I", 4) + b"Jane"
    thumbnail = b"8BIM" + struct.pack(">HH", 0x040C, 0) + struct.pack(">I", 4) + b"Jane"
    more = (
        segment(0xED, b"Photoshop 3.0\0" + resource + thumbnail)
        + segment(0xEB, b"JP\0\0" + b"Jane" * 10)
        + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
        + segment(0xE0, b"JFXX\0\x10Jane")
        + segment(0xFE, b"Jane")
    )
    (tmp_path / "a.jpg").write_bytes(data[:2] + more + data[2:] + b"\0\0\0 ftypmp42 Jane's film")
    report = anonymize_image(tmp_path / "a.jpg", out, Negative())
    assert set(report.removed) == {
        *("IPTC", "Photoshop thumbnail", "segment APP11", "XMP", "JFIF thumbnail", "comment"),
        "data behind the picture",
    }


def test_chunks_of_png_and_webp(tmp_path, out):
    data = save(tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(
        data[:33] + chunk(b"caBX", b"Jane") + data[33:] + b"Jane's own data"
    )
    report = anonymize_image(tmp_path / "a.png", out, Negative())
    assert report.removed == ["chunk caBX", "data behind the picture"]
    data = save(tmp_path / "b.webp").read_bytes()
    (tmp_path / "b.webp").write_bytes(data + b"Jane")
    report = anonymize_image(tmp_path / "b.webp", out, Negative(), overwrite=True)
    assert report.removed == ["data behind the picture"]


def test_a_thumbnail_in_exif(tmp_path, out):
    """The face that was blurred in the picture, sharp in its thumbnail."""
    small = io.BytesIO()
    Image.fromarray(ramp(16, 16)).save(small, "JPEG")
    body = small.getvalue()
    head = b"II*\0" + struct.pack("<I", 8)
    first = struct.pack("<H", 0) + struct.pack("<I", 14)
    second = struct.pack("<H", 2)
    second += struct.pack("<HHII", 0x0201, 4, 1, 44) + struct.pack("<HHII", 0x0202, 4, 1, len(body))
    exif = head + first + second + struct.pack("<I", 0)
    assert len(exif) == 44
    source = save(tmp_path / "a.jpg", exif=b"Exif\0\0" + exif + body)
    assert body in source.read_bytes()
    report = anonymize_image(source, out.with_suffix(".jpg"), Negative())
    assert "EXIF thumbnail" in report.removed
    assert body not in out.with_suffix(".jpg").read_bytes()


def test_damaged_exif(tmp_path, out):
    rng = np.random.default_rng(0)
    for i in range(30):
        exif = bytearray(exif_of_a_phone().tobytes())
        exif[8 + i % 20 :: 7] = rng.bytes(len(exif[8 + i % 20 :: 7]))
        source = save(tmp_path / "a.jpg", exif=bytes(exif), quality=95)
        report = anonymize_image(source, out, Negative(), overwrite=True)
        assert "Jane" not in repr(report)
        assert all(name.isprintable() and len(name) <= 80 for name in report.removed)


def test_hostile_names(tmp_path, out):
    texts = PngImagePlugin.PngInfo()
    for i in range(300):
        texts.add_text(f"\x1b[31m{i}" + "x" * 60, "v")
    report = anonymize_image(save(tmp_path / "a.png", pnginfo=texts), out, Negative())
    assert len(report.removed) == room.MOST + 1
    assert report.removed[-1] == "200 further tags"
    assert all(name.isprintable() for name in report.removed)


# ------------------------------------------------------------------------ what cannot be read


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_a_truncated_picture(tmp_path, out, form, share):
    rng = np.random.default_rng(0)
    source = save(tmp_path / "a", rng.integers(0, 255, (96, 128, 3)).astype(np.uint8), format=form)
    source.write_bytes(source.read_bytes()[: int(source.stat().st_size * share)])
    with pytest.raises(BadInput) as caught:
        anonymize_image(source, out, Negative())
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert left_beside(out) == []


def test_damaged_bytes_never_end_in_another_error(tmp_path, out):
    rng = np.random.default_rng(1)
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        whole = save(tmp_path / "a", format=form).read_bytes()
        for _ in range(25):
            data = np.frombuffer(whole, np.uint8).copy()
            data[rng.integers(0, len(data), 10)] = rng.integers(0, 256, 10)
            (tmp_path / "a").write_bytes(data.tobytes())
            try:
                anonymize_image(tmp_path / "a", out, Negative(), overwrite=True)
            except BadInput as error:
                said = str(error)
            else:
                said = "Done."
            assert said.endswith(".")
            assert "\n" not in said


def test_a_png_whose_checksum_is_wrong(tmp_path, out):
    source = save(tmp_path / "a.png")
    data = bytearray(source.read_bytes())
    at = data.rindex(b"IEND") - 5  # the last byte of the pixels' checksum
    data[at] ^= 1
    source.write_bytes(data)
    with pytest.raises(BadInput, match="is damaged or truncated"):
        anonymize_image(source, out, Negative())


@pytest.mark.parametrize("data", [b"", b"hello", bytes(100), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a"])
def test_what_is_no_picture(tmp_path, out, data, name):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=r"^\S+ (is no picture|cannot be read|is damaged).*\.$"):
        anonymize_image(tmp_path / name, out, Negative())


def test_not_there_or_a_folder(tmp_path, out):
    with pytest.raises(BadInput, match="is not there; name one picture"):
        anonymize_image(tmp_path / "none.png", out, Negative())
    with pytest.raises(BadInput, match="is a folder, not a picture"):
        anonymize_image(tmp_path, out, Negative())


@pytest.mark.parametrize("size", [(60000, 60000), (13400, 13400)])
@pytest.mark.parametrize("pillows", [Image.MAX_IMAGE_PIXELS, None])
def test_a_decompression_bomb(tmp_path, out, size, pillows, monkeypatch):
    """Also where a program has told Pillow not to care."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows)
    header = struct.pack(">IIBBBBB", *size, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    parts = b"".join(chunk(*c) for c in [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")])
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    with pytest.raises(BadInput, match="would unpack to more than 178 million pixels"):
        anonymize_image(tmp_path / "a.png", out, Negative())


def test_a_bomb_in_a_text(tmp_path, out):
    body = b"Comment\0\0" + zlib.compress(b"x" * 200_000_000)
    data = save(tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:33] + chunk(b"zTXt", body) + data[33:])
    with pytest.raises(BadInput, match=r"a\.png .*\.$"):
        anonymize_image(tmp_path / "a.png", out, Negative())


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animated_picture(tmp_path, out, form):
    images = [Image.fromarray(np.roll(ramp(), i, 1)) for i in range(3)]
    images[0].save(tmp_path / "a", format=form, save_all=True, append_images=images[1:])
    with pytest.raises(BadInput, match=r"is animated, 3 pictures: anonymize it as a video"):
        anonymize_image(tmp_path / "a", out, Negative())


def test_many_pages(tmp_path, out):
    images = [Image.fromarray(ramp()) for i in range(3)]
    images[0].save(tmp_path / "a.tif", save_all=True, append_images=images[1:])
    with pytest.raises(BadInput, match="has 3 pages"):
        anonymize_image(tmp_path / "a.tif", out, Negative())


def test_a_phones_second_view_is_left_out(tmp_path, out):
    images = [Image.fromarray(ramp()), Image.fromarray(255 - ramp())]
    images[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=images[1:])
    report = anonymize_image(tmp_path / "a.jpg", out, Negative())
    assert np.abs(result(out) - (255 - ramp().astype(int))).mean() < 8
    assert "further pictures" in report.removed


# -------------------------------------------------------------------------- what is not written


def test_motion_alone_has_no_still(tmp_path, out):
    with pytest.raises(BadInput) as caught:
        anonymize_image(save(tmp_path / "a.png"), out, MODES["silhouette"]())
    assert str(caught.value) == (
        "silhouette shows motion; a still picture has none: choose --mode pixelate."
    )


def test_an_unchanged_picture_is_refused(tmp_path, out):
    with pytest.raises(Failure, match="unchanged"):
        anonymize_image(save(tmp_path / "a.png"), out, Same())
    assert left_beside(out) == []
    source = save(tmp_path / "b.png", np.full((8, 8, 3), 7, np.uint8))
    anonymize_image(source, out, Same())  # one colour has nothing to hide


def test_an_anonymizer_that_may_keep_a_picture(tmp_path, out):
    """As one does that looks for faces and finds none: it is said."""
    keeps = Same()
    keeps.keeps = True
    report = anonymize_image(save(tmp_path / "a.png"), out, keeps)
    assert np.array_equal(result(out), ramp())
    assert report.warnings == ["Nothing of the picture was changed: same gave it back as it was."]


class Broken(Anonymizer):
    name = digest = "broken"

    def __init__(self, answer):
        self.answer = answer

    def apply(self, frames):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("inside"),
        MemoryError(),
        None,
        np.zeros((1, 48, 64, 3), np.float32),
        np.zeros((1, 48, 64, 4), np.uint8),
        np.zeros((0, 48, 64, 3), np.uint8),
        np.zeros((2, 48, 64, 3), np.uint8),
    ],
    ids=["error", "memory", "none", "float", "four", "fewer", "more"],
)
def test_an_anonymizer_that_fails(tmp_path, out, answer):
    with pytest.raises(Failure):
        anonymize_image(save(tmp_path / "a.png"), out, Broken(answer))
    assert left_beside(out) == []


def test_an_interrupt_leaves_nothing(tmp_path, out):
    with pytest.raises(KeyboardInterrupt):
        anonymize_image(save(tmp_path / "a.png"), out, Broken(KeyboardInterrupt()))
    assert left_beside(out) == []


@pytest.mark.parametrize("link", [os.symlink, os.link, None])
def test_the_source_is_never_the_destination(tmp_path, link):
    source = save(tmp_path / "a.png")
    before, other = source.read_bytes(), source
    if link:
        other = tmp_path / "b.png"
        link(source, other)
    with pytest.raises(BadInput, match="is the source itself"):
        anonymize_image(source, other, Negative(), overwrite=True)
    assert source.read_bytes() == before


def test_the_source_by_another_unicode_form(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    with pytest.raises(BadInput, match="is the source itself"):
        anonymize_image(save(tmp_path / nfc), tmp_path / nfd, Negative(), overwrite=True)


def test_destinations(tmp_path, out):
    source = save(tmp_path / "a.png")
    with pytest.raises(BadInput, match=r"must end in \.jpg, \.jpeg, \.png, \.webp"):
        anonymize_image(source, out.with_suffix(".gif"), Negative())
    out.write_bytes(b"precious")
    with pytest.raises(BadInput, match="exists"):
        anonymize_image(source, out, Negative())
    with pytest.raises(Failure):
        anonymize_image(source, out, Same(), overwrite=True)
    assert out.read_bytes() == b"precious"
    anonymize_image(source, out, Negative(), overwrite=True)
    assert result(out).shape == (48, 64, 3)
    assert left_beside(out) == ["a.png"]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path, out):
    class Slow(Negative):
        def apply(self, frames):
            out.write_bytes(b"another run's")
            return super().apply(frames)

    with pytest.raises(BadInput, match="appeared meanwhile"):
        anonymize_image(save(tmp_path / "a.png"), out, Slow())
    assert out.read_bytes() == b"another run's"
    assert left_beside(out) == ["a.png"]


def test_a_side_that_webp_cannot_hold(tmp_path, out):
    source = save(tmp_path / "a.png", np.tile(np.arange(16384, dtype=np.uint8)[None, :, None], 3))
    with pytest.raises(BadInput, match="WEBP holds 16383 a side"):
        anonymize_image(source, out.with_suffix(".webp"), Negative())
    anonymize_image(source, out.with_suffix(".jpg"), Negative())


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("fault", ["another", "half", "empty", "metadata", "smaller"])
def test_what_was_written_is_read_back(tmp_path, out, monkeypatch, form, fault):
    real = Image.Image.save
    suffix = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}[form]

    def save_wrong(image, file, format=None, **how):
        made = io.BytesIO()
        if fault == "another":
            image = Image.fromarray(255 - np.asarray(image))
        if fault == "smaller":
            image = image.resize((63, 48))
        if fault == "metadata":
            how["exif"] = exif_of_a_phone()
        real(image, made, format=format, **how)
        data = made.getvalue()
        if fault in ("half", "empty"):
            data = data[: len(data) // 2 if fault == "half" else 0]
        file.write(data)

    source = save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "save", save_wrong)
    with pytest.raises(Failure, match=r"was not written: "):
        anonymize_image(source, out.with_suffix(suffix), Negative())
    assert left_beside(out) == []


LIMITED = """
import resource, sys
from velatura.deploy.image import anonymize_image
from velatura.deploy.modes import Black, Pixelate
from velatura.errors import Failure
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    anonymize_image(sys.argv[1], sys.argv[2], Pixelate())
except Failure as error:
    print(error)
"""


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_full_disk(tmp_path, out, suffix):
    out = out.with_suffix(suffix)
    rng = np.random.default_rng(0)
    source = save(tmp_path / "a.png", rng.integers(0, 255, (240, 320, 3)).astype(np.uint8))
    command = [sys.executable, "-c", LIMITED, str(source), str(out)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == f"Writing {out} failed: File too large. Nothing was left behind.\n"
    assert run.stderr == ""
    assert left_beside(out) == []


SLOW = """
import signal, sys, time
from velatura.deploy import image
from velatura.deploy.modes import Pixelate
def slow(*given):
    print("written", flush=True)
    time.sleep(60)
image._read_back = slow
image.anonymize_image(sys.argv[1], sys.argv[2], Pixelate())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed(tmp_path, out, number):
    """A real process, killed between writing and renaming; the next run cleans up."""
    source = save(tmp_path / "a.png", ramp(100, 100))
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, str(source), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        # Another run into the folder leaves what is being written alone.
        anonymize_image(source, out.with_name("b.png"), Negative())
        assert len(left_beside(out)) == 2
        process.send_signal(number)
        code = process.wait(timeout=20)
    assert code == {signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    left = [name for name in left_beside(out) if name != "b.png"]
    assert [bool(PARTIAL.search(name)) for name in left] == [True] * (number == signal.SIGKILL)
    anonymize_image(source, out, Negative())
    assert left_beside(out) == ["a.png", "b.png"]


def test_the_same_picture_makes_the_same_bytes(tmp_path, out):
    source = save(tmp_path / "a.png")
    for suffix in (".png", ".jpg", ".webp"):
        one, two = out.with_suffix(suffix), out.with_name(f"b{suffix}")
        anonymize_image(source, one, Negative())
        anonymize_image(source, two, Negative())
        assert one.read_bytes() == two.read_bytes()


def test_the_report_is_one(tmp_path, out):
    report = anonymize_image(save(tmp_path / "a.jpg", exif=exif_of_a_phone()), out, Negative())
    assert read_report(write_report(report)) == report
    assert {"pillow", "velatura"} <= report.versions.keys()
    assert report.settings == {"format": "PNG"}


def test_needs_no_torch():
    code = (
        "import sys, velatura.deploy.image; "
        "print(sorted({'torch', 'cv2', 'velatura.training'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_real_pictures(tmp_path, root):
    """Generated people: the only pictures that the repository holds."""
    source = root / "docs" / "picture.png"
    report = anonymize_image(source, tmp_path / "a.jpg", MODES["pixelate"]())
    with Image.open(source) as before:
        assert (report.width, report.height) == before.size
    assert Path(report.destination).stat().st_size > 0
