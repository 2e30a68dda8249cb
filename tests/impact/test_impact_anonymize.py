"""A folder in, a folder out: the same, whatever the order, the workers and the interruptions."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_coco as tiny
from PIL import Image

from velatura import regions
from velatura.errors import BadInput, Failure
from velatura.impact import _formats
from velatura.impact import anonymize as room
from velatura.impact._manifest import lines
from velatura.impact._sheet import contact_sheet
from velatura.impact.anonymize import anonymize, look, setup
from velatura.regions import Region

DATA = Path(os.environ.get("VELATURA_DATA", Path(__file__).parents[3] / "shared/data"))
FACES = {"method": {"name": "pixelate"}, "regions": {"kind": "face"}}


def run(root: Path, out: Path, values: dict[str, Any] | None = None, **options: Any) -> dict:
    values = {"method": {"name": "maskout", "level": "low"}} if values is None else values
    form = options.pop("form", "coco")
    how = setup(values)
    data = _formats.read(form, root, categories=how.cfg.regions.categories)
    return anonymize(how, data, out, **options)


def manifest(out: Path) -> dict[str, dict[str, Any]]:
    return {line["image"]: line for line in lines(out / "manifest.jsonl")}


@pytest.fixture
def data(tmp_path) -> Path:
    return tiny.make(tmp_path / "data")


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


# ------------------------------------------------------------------------------- what is made


def test_a_folder_becomes_the_same_folder(data, out):
    before = tiny.tree(data)
    summary = run(data, out)
    assert tiny.tree(data) == before
    made = tiny.tree(out)
    assert set(made) == {*before, "manifest.jsonl", "summary.json", "anonymize.toml"}
    name = "annotations/tiny_train.json"
    assert made[name] == before[name]
    assert summary == json.loads((out / "summary.json").read_text())
    assert summary["images"] == {
        "total": 4, "anonymized": 3, "untouched": 1, "failed": 0, "left": 0, "not_annotated": 0,
    }  # fmt: skip
    assert summary["instances"] == {"total": 6, "anonymized": 6, "share": 1.0, "skipped": {}}
    told = manifest(out)
    assert list(told) == ["0.png", "deep/1.png", "2.png", "3.png"]
    for name, line in told.items():
        assert line["sha256_in"] == before[f"train/{name}"]
        assert line["sha256_out"] == made[f"train/{name}"]
        source, copy = tiny.pixels(data / "train" / name), tiny.pixels(out / "train" / name)
        hidden = np.zeros(source.shape[:2], bool)
        for region in line["regions"]:
            x0, y0, x1, y1 = region["box"]
            hidden[y0:y1, x0:x1] = True
        np.testing.assert_array_equal(copy[~hidden], source[~hidden])
        if line["status"] == "untouched":
            np.testing.assert_array_equal(copy, source)
        else:
            assert (copy == 127).all(-1)[hidden].mean() > 0.4  # diamonds
    assert told["0.png"]["hidden"] == [1, 2]
    assert [r["id"] for r in told["deep/1.png"]["regions"]] == [11, 12]


def test_every_jpeg_is_encoded_alike(tmp_path, out):
    """Those without anybody, too: full quality, no subsampling, nothing beside the pixels."""
    data = tiny.make(tmp_path / "data", 4, ".jpg")
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe"
    for number in (0, 2):
        path = data / "train" / f"{number}.jpg"
        Image.fromarray(tiny.noise(number)).save(path, quality=60, exif=exif)
    run(data, out)
    tables = []
    for path in sorted((out / "train").rglob("*.jpg")):
        with Image.open(path) as image:
            assert image.layer == [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)]
            assert not image.getexif()
            tables.append(image.quantization)
        assert b"Jane" not in path.read_bytes()
    assert tables == 4 * [{0: [1] * 64, 1: [1] * 64}]
    apart = tiny.pixels(out / "train/2.jpg").astype(int) - tiny.pixels(data / "train/2.jpg")
    assert np.abs(apart).max() <= 4


def test_the_control_hides_nobody(data, out):
    summary = run(data, out, {"method": {"name": "none"}})
    assert summary["instances"] == {
        "total": 6, "anonymized": 0, "share": 0.0, "skipped": {"method none": 6},
    }  # fmt: skip
    for name in manifest(out):
        np.testing.assert_array_equal(
            tiny.pixels(out / "train" / name), tiny.pixels(data / "train" / name)
        )


def test_settings_reach_the_pixels(data, out):
    """The image that is written is what the anonymizer makes of the regions in the manifest."""
    values = {
        "method": {"name": "maskout", "fill": "noise", "level": "high"},
        "regions": {"shape": "box", "dilate": 0.1},
        "seed": 4,
    }
    run(data, out, values)
    for name, line in manifest(out).items():
        found = [Region(tuple(r["box"]), r["kind"], id=r["id"]) for r in line["regions"]]
        expected = regions.load("maskout", fill="noise")(
            tiny.pixels(data / "train" / name), found, seed=4, picture=name
        )
        np.testing.assert_array_equal(tiny.pixels(out / "train" / name), expected)
    # A box of 20 x 40, dilated by .1 and, for the level, by .15 of the root of its area: 7.
    assert manifest(out)["0.png"]["regions"][0]["box"] == [3, 0, 37, 48]


def test_faces_by_keypoints_and_whole_persons_without(data, out):
    summary = run(data, out, FACES)
    assert summary["regions"] == {"total": 6, "whole_person_for_face": 1, "of_nobody": 0}
    line = manifest(out)["deep/1.png"]
    assert (line["whole"], [r["kind"] for r in line["regions"]]) == ([11], ["body", "face"])


def test_another_tools_images_are_shown_in_the_regions(data, out, tmp_path):
    theirs = tmp_path / "theirs"
    for path in (data / "train").rglob("*.png"):
        copy = theirs / path.relative_to(data / "train").with_suffix(".bmp")
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - tiny.pixels(path)).save(copy)
    (theirs / "2.bmp").unlink()  # nobody is in it, so nobody asks for it
    values = {"method": {"name": "external", "folder": str(theirs)}}
    assert run(data, out, values)["images"]["failed"] == 0
    source, copy = tiny.pixels(data / "train/0.png"), tiny.pixels(out / "train/0.png")
    changed = (source != copy).any(-1)
    np.testing.assert_array_equal(copy[changed], 255 - source[changed])
    assert 0.1 < changed.mean() < 0.6
    Image.new("RGB", (9, 9)).save(theirs / "0.bmp")
    (theirs / "3.bmp").unlink()
    summary = run(data, tmp_path / "again", values)
    assert [failed["error"].replace(str(theirs), "T") for failed in summary["failed"]] == [
        "T/0.bmp has 9 x 9 pixels, and the picture it stands for 64 x 48.",
        "T has no picture for 3.png.",
    ]


def test_whom_another_tool_left_as_they_were_is_not_hidden(data, out, tmp_path):
    """Its folder may hold originals, of a picture, or of one person in it."""
    theirs = shutil.copytree(data / "train", tmp_path / "theirs")
    half = tiny.pixels(data / "train/0.png").copy()
    half[:, 32:] ^= 255  # the second person
    Image.fromarray(half).save(theirs / "0.png")
    values = {"method": {"name": "external", "folder": str(theirs)}, "regions": {"dilate": 0.0}}
    summary, reason = run(data, out, values), "left as they were by the other tool"
    assert summary["instances"] == {
        "total": 6, "anonymized": 1, "share": 0.166667, "skipped": {reason: 5},
    }  # fmt: skip
    assert (summary["images"]["anonymized"], summary["images"]["untouched"]) == (1, 3)
    line = manifest(out)["0.png"]
    assert (line["hidden"], line["skipped"]) == ([2], [[1, reason]])
    frame = {**values, "regions": {"kind": "frame"}}
    summary = run(data, tmp_path / "frame", frame)
    assert summary["instances"]["skipped"] == {reason: 4}


def test_the_whole_frame_through_a_network(data, out):
    values = {"method": {"name": "frame", "model": "light"}, "regions": {"kind": "frame"}}
    summary = run(data, out, values)
    assert summary["instances"]["share"] == 1.0
    assert summary["anonymizer"]["network"]["name"] == "light"
    for name in manifest(out):
        source, copy = (tiny.pixels(f / "train" / name) for f in (data, out))
        assert (source != copy).any(-1).mean() > 0.95


def test_a_detector_finds_faces(data, out, monkeypatch):
    """One in the first person of the first image; and one in an image where nobody is annotated."""

    class Known:
        digest = "known"

        def detect(self, frames, threshold):
            assert threshold == 0.3
            first, third = tiny.noise(0), tiny.noise(2)
            boxes = {first.tobytes(): [14, 8, 24, 20, 0.9], third.tobytes(): [5, 5, 9, 9, 0.4]}
            return [np.array(boxes.get(f.tobytes(), [])).reshape(-1, 5) for f in frames]

    monkeypatch.setattr("velatura.impact._where.detector", lambda cfg: Known())
    room._tools.cache_clear()
    values = {
        "method": {"name": "maskout", "level": "low"},
        "regions": {"kind": "face", "source": "detector", "threshold": 0.3, "dilate": 0.0},
    }
    summary = run(data, out, values, workers=1)
    room._tools.cache_clear()
    assert summary["instances"]["skipped"] == {"no face found": 5}
    assert summary["regions"] == {"total": 2, "whole_person_for_face": 0, "of_nobody": 1}
    assert (tiny.pixels(out / "train/2.png")[5:9, 5:9] == 127).all()
    assert (tiny.pixels(out / "train/0.png")[8:20, 14:24] == 127).all()


# ------------------------------------------------------------- order, workers, interruptions


def test_workers_do_not_matter(tmp_path):
    data = tiny.make(tmp_path / "data", 8)
    run(data, tmp_path / "one", FACES, workers=1)
    run(data, tmp_path / "two", FACES, workers=2)
    assert tiny.tree(tmp_path / "one") == tiny.tree(tmp_path / "two")


class Stop(Exception):
    pass


def after(count: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == count:
            raise Stop

    return progress


def test_killed_and_gone_on_with_is_the_same_to_the_last_bit(data, tmp_path, out):
    run(data, tmp_path / "whole", FACES)
    with pytest.raises(Stop):
        run(data, out, FACES, progress=after(2))
    assert not (out / "summary.json").exists()
    # As a kill in the middle of a line, and of a file, would leave it.
    with open(out / "manifest.jsonl.partial", "a") as journal:
        journal.write('{"image": "2.p')
    (out / "train/2.png.partial").write_bytes(b"half")
    (out / "train/0.png").write_bytes(b"spoilt by somebody")
    stamp = (out / "train/deep/1.png").stat().st_mtime_ns
    with pytest.raises(Stop):
        run(data, out, FACES, progress=after(3))
    run(data, out, FACES)
    assert tiny.tree(out) == tiny.tree(tmp_path / "whole")
    assert (out / "train/deep/1.png").stat().st_mtime_ns == stamp, "done, and done again"


def test_a_source_that_changed_is_done_again(data, out):
    run(data, out)
    Image.fromarray(tiny.noise(77)).save(data / "train/2.png")
    (data / "train/3.png").write_bytes(b"no picture")
    summary = run(data, out)
    np.testing.assert_array_equal(tiny.pixels(out / "train/2.png"), tiny.noise(77))
    assert not (out / "train/3.png").exists(), "the copy of an earlier source"
    assert (summary["images"]["failed"], summary["instances"]["skipped"]) == (
        1, {"image failed": 2},
    )  # fmt: skip


def test_a_copy_that_is_being_done_again_is_not_finished(data, out):
    run(data, out)
    Image.fromarray(tiny.noise(77)).save(data / "train/2.png")
    with pytest.raises(Stop):
        run(data, out, progress=after(1))
    assert not (out / "summary.json").exists()


def test_some_first_then_all(data, tmp_path, out):
    run(data, tmp_path / "whole")
    assert run(data, out, limit=2)["images"]["left"] == 2
    assert sorted(p.name for p in (out / "train").rglob("*.png")) == ["0.png", "1.png"]
    run(data, out)
    assert tiny.tree(out) == tiny.tree(tmp_path / "whole")


def test_one_folder_is_of_one_setting(data, out, tmp_path):
    run(data, out)
    with pytest.raises(BadInput, match=r"made with other settings \(method differ\)"):
        run(data, out, {"method": {"name": "maskout", "level": "high"}})
    with pytest.raises(BadInput, match=r"made with other settings \(seed, regions differ\)"):
        run(data, out, {"method": {"name": "maskout", "level": "low"}, "seed": 1,
                        "regions": {"dilate": 0.2}})  # fmt: skip
    path = data / "annotations/tiny_train.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(BadInput, match=r"made with other settings \(made_of differ\)"):
        run(data, out)


@pytest.mark.parametrize("place", ["", "train", "annotations/.."])
def test_originals_are_never_written_over(data, place):
    before = tiny.tree(data)
    target = data / place
    with pytest.raises(BadInput, match="is the data set itself|holds something else"):
        run(data, target)
    assert tiny.tree(data) == before


def test_originals_are_never_written_over_through_a_link(data, out):
    before = tiny.tree(data)
    run(data, out, limit=1)
    shutil.rmtree(out / "train")
    (out / "train").symlink_to(data / "train")
    with pytest.raises(BadInput, match="is the data set itself"):
        run(data, out)
    assert tiny.tree(data) == before


@pytest.mark.parametrize("place", ["train/out", "train/deep/out", "train/none/../out"])
def test_a_copy_among_the_images_would_be_counted(data, place):
    before = tiny.tree(data)
    with pytest.raises(BadInput, match=r"lies in .*train, where copies would count as images"):
        run(data, data / place)
    assert tiny.tree(data) == before
    assert run(data, data / "out")["images"]["not_annotated"] == 0


def test_two_at_once_are_refused(data, out):
    def second(done: int, total: int) -> None:
        if done == 1:
            with pytest.raises(BadInput, match="Another process is writing into"):
                run(data, out)

    assert run(data, out, progress=second)["images"]["failed"] == 0


def test_a_full_disk_ends_the_work_and_not_an_image(data, out, monkeypatch):
    write = Path.write_bytes

    def full(path, content):
        if path.name == "1.png.partial":
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Failure, match=r"1\.png failed: No space left on device\. What is done is"):
        run(data, out)
    monkeypatch.undo()
    assert run(data, out)["images"]["anonymized"] == 3


@pytest.mark.parametrize("name", ["gan", "maskout"])
def test_a_method_that_breaks_ends_the_work_and_is_not_the_images_fault(
    data, out, tmp_path, monkeypatch, gan_file, name
):
    """In one sentence, with nothing half-written; once it is mended, the same command goes on."""
    method = {"name": name, **({"model": str(gan_file)} if name == "gan" else {})}
    whole = run(data, tmp_path / "whole", {"method": method})
    kind = type(setup({"method": method}).anonymizer())
    apply, asked = kind.apply, []

    def breaks(self, image, found, seed, picture):
        asked.append(picture)
        if picture == "deep/1.png":
            raise Failure("The network broke: some words.")
        apply(self, image, found, seed, picture)

    monkeypatch.setattr(kind, "apply", breaks)
    with pytest.raises(Failure) as error:
        run(data, out, {"method": method})
    assert str(error.value) == (
        "The network broke: some words (at deep/1.png); what is done is kept, and the same command "
        "goes on."
    )
    assert asked == ["0.png", "deep/1.png"]
    settings = ["anonymize.toml", "manifest.jsonl.partial", "train/0.png"]
    assert sorted(tiny.tree(out)) == settings
    monkeypatch.undo()
    assert run(data, out, {"method": method}) == whole
    assert tiny.tree(out) == tiny.tree(tmp_path / "whole")


# ------------------------------------------------------------------------------ a look before


def test_a_look_counts_and_writes_nothing(data, out):
    before = tiny.tree(data)
    how = setup(FACES)
    counts, boxes = look(how, _formats.read("coco", data))
    assert tiny.tree(data) == before
    assert not out.exists()
    summary = run(data, out, FACES)
    assert all(counts[key] == summary[key] for key in counts)
    assert list(boxes) == list(manifest(out))
    # Eyes 4 pixels apart: a head of 15, before it grows.
    assert boxes["0.png"] == [[12, 4, 28, 20], [40, 6, 56, 22]]
    assert boxes["2.png"] == []


def test_boxes_of_a_look_can_be_edited_and_used(data, out, tmp_path):
    _, boxes = look(setup(FACES), _formats.read("coco", data))
    boxes["0.png"] = [[1, 1, 5, 5]]
    del boxes["deep/1.png"]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"schema": "velatura-picture-boxes/1", "pictures": boxes}))
    values = {
        "method": {"name": "maskout", "level": "low"},
        "regions": {"kind": "face", "source": "boxes", "boxes": str(path), "dilate": 0.0},
    }
    summary = run(data, out, values)
    assert summary["instances"]["skipped"] == {"no box in the file": 4}
    assert summary["regions"]["of_nobody"] == 1
    changed = (tiny.pixels(out / "train/0.png") != tiny.pixels(data / "train/0.png")).any(-1)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 4, 1, 4)
    beyond = {"0.png": [[1, 1, 99, 5]]}
    path.write_text(json.dumps({"schema": "velatura-picture-boxes/1", "pictures": beyond}))
    summary = run(data, tmp_path / "again", values)
    assert [f["error"] for f in summary["failed"]] == [
        f"A box of {path} reaches beyond the 64 x 48 pixels."
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not a file of boxes"),
        ('{"schema": "velatura-boxes/1"}', 'must be one object with "schema": "velatura-pict'),
        ('{"schema": "velatura-picture-boxes/1"}', "must have an object 'pictures'"),
        (
            '{"schema": "velatura-picture-boxes/1", "pictures": {"a": [[1, 2, 1, 4]]}}',
            "a: the box .1, 2, 1, 4. must have x0 < x1",
        ),
    ],
)
def test_a_file_of_boxes_that_is_none(data, out, tmp_path, text, says):
    path = tmp_path / "mine.json"
    path.write_text(text)
    values = {"method": {"name": "blur"}, "regions": {"source": "boxes", "boxes": str(path)}}
    with pytest.raises(BadInput, match=says):
        run(data, out, values)


def test_the_sheet_shows_before_and_after(data, out, tmp_path):
    run(data, out)
    path = tmp_path / "sheet.png"
    contact_sheet(_formats.read("coco", data), out, path)
    sheet = tiny.pixels(path).astype(int)
    assert sheet.shape == (3 * 164 - 4, 2 * 213 + 4, 3)
    assert path.stat().st_mode & 0o777 == 0o600
    left, right = sheet[:160, :213], sheet[:160, 217:]
    grey = np.abs(right - 127).max(-1) < 2
    assert 0.1 < grey.mean() < 0.6
    assert np.abs(left - right)[~grey].mean() < 6
    run(data, tmp_path / "none", {"method": {"name": "none"}})
    with pytest.raises(BadInput, match="Nobody is hidden"):
        contact_sheet(_formats.read("coco", data), tmp_path / "none", tmp_path / "other.png")


# ------------------------------------------------------------------------------- real people


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_a_part_of_coco(tmp_path, out, split):
    """Counts alone; nothing of it is kept."""
    root = DATA / "coco_mini"
    if not root.is_dir():
        pytest.skip(f"no copy of some COCO images at {root}")
    files = [Path(f"annotations/{kind}_{split}.json") for kind in ("instances", "person_keypoints")]
    data = _formats.read("coco", root, files)
    persons = [i for entry in data.entries for i in entry.instances]
    assert len({i.id for i in persons}) == len(persons), "the same persons from two files"
    summary = anonymize(setup({"method": {"name": "blur"}}), data, out, limit=24, workers=1)
    assert (summary["images"]["failed"], summary["images"]["left"]) == (0, len(data.entries) - 24)
    assert summary["instances"]["share"] == 1.0
    for file in files:
        assert (out / file).read_bytes() == (root / file).read_bytes()
