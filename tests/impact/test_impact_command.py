"""`velatura impact anonymize`, as a user types it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import test_impact_formats as formats
import tiny_coco as tiny
import typer
from PIL import Image

from velatura import cli
from velatura.cli.impact import _progress
from velatura.impact import people as room


@pytest.fixture
def run(capsys):
    """run("--data", ...) gives the exit code, stdout and stderr."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("anonymize")(cli._guarded(cli.load("impact anonymize"), False))

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(args=[str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def coco(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tiny.make(Path("coco"))


def test_counts_for_people(run, coco):
    code, out, err = run("--data", "coco", "--region", "face", "--out", "out")
    assert (code, err) == (0, "")
    assert out == (
        "images: 4; with somebody hidden 3, untouched 1, failed 0\n"
        "instances: 6; hidden 6, 100.0 %\n"
        "  hidden whole, since nobody labelled their keypoints: 1\n"
    )


def test_counts_for_programs(run, coco):
    code, out, err = run("--data", "coco", "--out", "out", "--json", "--seed", 3)
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(Path("out/summary.json").read_text())
    assert json.loads(out)["seed"] == 3


def test_what_failed_is_named(run, coco):
    (coco / "train/3.png").unlink()
    Image.fromarray(tiny.noise(3)).save(coco / "train/extra.png")
    code, out, err = run("--data", "coco", "--out", "out", "--limit", 0)
    assert code == 1
    assert err == (
        "FAILED: 3.png: The annotations name 3.png, and there is no file coco/train/3.png.\n"
    )
    assert "instances: 6; hidden 4, 100.0 % of those in the copy\n" in out
    assert "  not hidden: 2: image failed\n" in out
    assert "  in the folder, but in no file of annotations: 1; not copied\n" in out


def test_only_some(run, coco):
    code, out, _ = run("--data", "coco", "--out", "out", "--limit", 1)
    assert code == 0
    assert "  not done yet: 3; the same command without --limit goes on\n" in out


def test_the_sheet_and_the_boxes(run, coco):
    code, out, err = run("--data", "coco", "--out", "out", "--sheet", "s.png")
    assert (code, err) == (0, "")
    assert out.endswith("s.png: shows the people beside their copies; keep it as the originals.\n")
    code, out, err = run("--data", "coco", "--dry-run", "--write-boxes", "b.json")
    assert (code, err) == (0, "b.json: edit it, and hide what it says with --boxes b.json.\n")
    boxes = json.loads(Path("b.json").read_text())
    # A diamond's tips have less than half a pixel.
    assert boxes["pictures"]["0.png"] == [[10, 5, 30, 43], [36, 7, 60, 41]]
    assert run("--data", "coco", "--boxes", "b.json", "--out", "mine")[0] == 0
    code, _, err = run("--data", "coco", "--out", "again", "--sheet", "s.png")
    assert (code, err) == (
        2, "Error: s.png exists; name another output, or ask to overwrite it.\n",
    )  # fmt: skip


def test_progress_where_nobody_watches_a_bar(run, coco, monkeypatch):
    monkeypatch.setattr(_progress, "EVERY", 0)
    _, _, err = run("--data", "coco", "--out", "out", "--workers", 1)
    assert re.fullmatch(r"(\d of 4 images, about 0 min left\n){4}", err)


def test_the_list_of_methods(run):
    code, out, _ = run("--list")
    names = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert (code, names) == (
        0,
        ["blur", "diffusion", "external", "frame", "gan", "maskout", "none", "pixelate", "removal"],
    )  # fmt: skip
    assert "pixelate  Each cell of a region in its mean colour.\n" in out
    assert "          settings: method.level, method.cells\n" in out
    assert "diffusion Somebody else is drawn, by an inpainting pipeline of diffusers" in out
    assert "gan       Somebody else is drawn, by a network that you trained on crops" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--out out", "Say which data set: --data DIR."),
        ("--data coco", "Say where the copy goes: --out DIR; or count only: --dry-run."),
        ("--data coco --out out --write-boxes b.json", "--write-boxes goes with --dry-run."),
        (
            "--data coco --dry-run --sheet s.png",
            "--sheet shows copies, and --dry-run makes none; leave one out.",
        ),
        (
            "--data coco --out out --method blurr",
            "No method named 'blurr'. Did you mean 'blur'? Available: blur, diffusion, "
            "external, frame, gan, maskout, none, pixelate, removal.",
        ),
        (
            "--data coco --out out --region hand",
            "regions.kind: Input should be 'face', 'body' or 'frame', got 'hand'.",
        ),
        (
            "--data coco --out out --method removal --level high",
            "Unknown key method.level. Known keys: radius.",
        ),
        (
            "--data coco --out out --model light",
            "--model goes with --method frame, gan or diffusion.",
        ),
        (
            "--data coco --out out --method gan",
            "gan draws with a network of yours: name the file that `velatura impact train-gan` "
            "wrote, as method.model or by --model.",
        ),
        (
            "--data coco --out out --method diffusion",
            "diffusion draws with an inpainting pipeline of yours: name its folder, as "
            "method.model or by --model.",
        ),
        ("--data coco --out out --external x", "--external goes with --method external."),
        (
            "--data coco --out out --set regions.dilat=1",
            "Unknown key regions.dilat. Did you mean regions.dilate? Known keys: kind, source, "
            "boxes, shape, categories, dilate, min_size, crowds, unlabelled, threshold, side.",
        ),
        ("--data coco --out coco", "coco is the data set itself; name another --out."),
    ],
)
def test_one_sentence_for_what_cannot_be(run, coco, words, says):
    code, out, err = run(*words.split())
    assert (code, out, err) == (2, "", f"Error: {says}\n")
    assert not Path("out").exists()


def test_an_interrupt_says_how_to_go_on(run, coco, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("velatura.impact.anonymize.anonymize", stop)
    code, _, err = run("--data", "coco", "--out", "out")
    assert (code, err) == (
        130, "Interrupted; what was done is kept, run the same command to go on.\n",
    )  # fmt: skip


def test_the_commands_of_the_page_run(run, tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    page = (root / "docs/impact.md").read_text(encoding="utf-8")
    tiny.make(Path("coco"))
    formats.wider(Path("wider"))
    people = tiny.make(Path("crowdpose"))
    (people / "annotations/tiny_train.json").rename(people / "annotations/crowdpose_train.json")
    room.make(room.Config(train=2, val=1, size=48), Path("people"))
    lines = re.findall(r"^velatura impact anonymize (.*)$", page, re.M)
    # Those that want a network are in test_train_gan.py and test_impact_diffusion.py.
    lines = [line for line in lines if not re.search("--method (gan|diffusion)", line)]
    assert len(lines) == 15
    for line in lines:
        # Where a set has two files, both are there; else one, so that none need be named.
        both = Path("coco/annotations/instances_train.json")
        keypoints = both.with_name("person_keypoints_train.json")
        if "--ann" in line:
            for path in (both, keypoints):
                path.write_bytes(Path("coco/annotations/tiny_train.json").read_bytes())
        code, out, err = run(*shlex.split(line))
        assert code == 0, f"{line}\n{out}{err}"
        both.unlink(missing_ok=True)
        keypoints.unlink(missing_ok=True)
    made = {"coco-blur", "coco-faces", "coco-masked", "faces.json", "coco-mine", "trial.png"}
    arms = {"original", "aligned", "misaligned", "blur", "maskout"}
    assert {path.name for path in Path("arms").iterdir()} == arms
    assert {path.name for path in Path().iterdir()} >= made
