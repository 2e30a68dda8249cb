"""What a file says about itself, on files whose truth is known."""

from fractions import Fraction

import av
import numpy as np
import pytest

from velatura.errors import BadInput
from velatura.video.probe import probe
from velatura.video.read import read_clip, read_frames


def test_plain_file(make):
    info = probe(make("a.mp4", frames=30, time_base=Fraction(1001, 30000), audio=True))
    assert (info.width, info.height, info.rotation) == (64, 48, 0)
    assert info.frames == 30
    assert info.rate == Fraction(30000, 1001)
    assert info.duration == 30 * Fraction(1001, 30000)
    assert info.sample_aspect == 1
    assert info.codec == "h264"
    assert info.has_audio


def test_no_audio(make):
    assert not probe(make("a.mp4", frames=2)).has_audio


@pytest.mark.parametrize(("degrees", "says"), [(90, 90), (180, 180), (-90, 270), (0, 0)])
def test_rotation_swaps_the_sides_of_a_quarter_turn(make, degrees, says):
    path = make("a.mp4", frames=2, rotation={"degrees": degrees}, aspect=Fraction(4, 3))
    info = probe(path)
    turned = degrees in (90, -90)
    assert info.rotation == says
    assert (info.width, info.height) == ((48, 64) if turned else (64, 48))
    assert info.sample_aspect == (Fraction(3, 4) if turned else Fraction(4, 3))


def test_odd_angle_is_refused(make):
    with pytest.raises(BadInput, match="(29|30) degrees; only quarter turns"):
        probe(make("a.mp4", frames=2, rotation={"degrees": 30}))


def test_frames_are_counted_where_the_container_does_not_say(make):
    path = make("a.mkv", frames=33)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 0
    assert probe(path).frames == 33


def test_count_leaves_out_what_an_edit_list_cuts(make):
    """Two pictures before time zero: the container counts them, no player shows them."""
    how = {"pts": [-70, -33, 0, 33, 67], "time_base": Fraction(1, 1000), "options": {"bf": "0"}}
    path = make("a.mp4", frames=5, **how)
    assert probe(path).frames == 5
    assert probe(path, count=True).frames == 3


def test_one_frame(make):
    assert probe(make("a.mp4", frames=1)).frames == 1


def test_missing_and_folder(tmp_path):
    with pytest.raises(BadInput, match=r"nothing\.mp4 is not there"):
        probe(tmp_path / "nothing.mp4")
    with pytest.raises(BadInput, match="is a folder"):
        probe(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(5000), b"#EXTM3U\n"])
def test_not_a_video(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    said = "is a list of other files" if content[:1] == b"#" else "cannot be read as a video"
    with pytest.raises(BadInput, match=rf"a\.mp4 {said}"):
        probe(path)


def test_sound_only(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", 8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), "s16", "stereo")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(BadInput, match="holds no video stream"):
        probe(tmp_path / "a.wav")


def test_a_colon_in_the_name_is_no_address(make, monkeypatch):
    path = make("a.mp4", frames=2)
    monkeypatch.chdir(path.parent)
    path.rename("http:a.mp4")
    assert probe("http:a.mp4").frames == 2


def test_real_files(real_data):
    """The numbers of the data's own README."""
    pedestrians = probe(real_data / "clips" / "pedestrians.avi")
    assert (pedestrians.frames, pedestrians.width, pedestrians.height) == (795, 768, 576)
    assert pedestrians.codec == "msmpeg4"
    assert probe(real_data / "clips" / "speaker_with_audio.mp4").has_audio
    assert probe(real_data / "clips" / "sign_walk.mkv").frames == 89


@pytest.mark.parametrize("start", ["ffconcat version 1.0\n", "#EXTM3U\n"])
def test_a_list_of_other_files_is_not_followed(make, start: str):
    """FFmpeg would open the files that it names, whatever its own name is."""
    make("a.mp4", frames=3)
    listing = make("b.mp4", frames=3)
    listing.write_text(f"{start}file a.mp4\na.mp4\n")
    for read in (probe, lambda path: list(read_frames(path))):
        with pytest.raises(BadInput, match="a list of other files"):
            read(listing)


def test_letters_are_no_pictures(tmp_path):
    (tmp_path / "words.txt").write_text("words\n" * 50)
    with pytest.raises(BadInput, match=r"words\.txt (holds no|cannot be read as a) video"):
        probe(tmp_path / "words.txt")


# ------------------------------------------------------------------- photographs and their EXIF


ORIENTATION = 0x112
FORMATS = {"jpg": {"quality": 98, "subsampling": 0}, "png": {}, "webp": {"lossless": True}}


@pytest.mark.parametrize("orientation", [None, *range(1, 9), 9])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_photograph_is_turned_as_its_exif_says(tmp_path, suffix, orientation):
    """Against Pillow; PyAV 18 has no name for EXIF, and then names nothing else either."""
    image = pytest.importorskip("PIL.Image")
    from PIL import ImageOps

    pixels = np.full((24, 40, 3), 30, np.uint8)
    pixels[:12, :20], pixels[:12, 20:], pixels[12:, :20] = (220, 30, 30), (30, 220, 30), 220
    made, path = image.fromarray(pixels), tmp_path / f"a.{suffix}"
    exif = made.getexif()
    exif[0x010F] = "a maker"
    if orientation is not None:
        exif[ORIENTATION] = orientation
    made.save(path, exif=exif, **FORMATS[suffix])
    with image.open(path) as saved:
        expected = np.asarray(ImageOps.exif_transpose(saved).convert("RGB")).astype(int)
    (frame,) = read_frames(path)
    info = probe(path)
    assert (info.height, info.width) == frame.image.shape[:2] == expected.shape[:2]
    assert np.abs(frame.image - expected).mean() < 4
    assert read_clip(path, [0], (10, 14)).shape == (1, 3, 10, 14)


def test_a_title_in_another_encoding_is_no_reason(tmp_path):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w", metadata_encoding="latin-1") as container:
        container.metadata["title"] = "Gr\u00fc\u00dfe"
        stream = container.add_stream("mjpeg", 30)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuvj420p")))
        container.mux(stream.encode())
    assert probe(path).frames == 1
