"""Copies drawn by a pipeline of diffusers: with the library where it is there, and by lots."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import test_impact_bench_gan as benches
import tiny_coco as tiny
import typer
from regions.tiny_diffusion import Lots

from velatura import cli
from velatura.errors import BadInput
from velatura.impact import _formats, anonymize, bench
from velatura.regions import diffusion

FOLDER = "stable-diffusion-inpainting"  # as the page calls it


@pytest.fixture(params=["by lots", "by diffusers"])
def folder(request, tmp_path, monkeypatch) -> Path:
    """A pipeline, where the page has it."""
    monkeypatch.chdir(tmp_path)
    if request.param == "by diffusers":
        Path(FOLDER).symlink_to(request.getfixturevalue("diffusion_folder"))
    else:
        monkeypatch.setattr(diffusion, "build", lambda cfg: diffusion.Diffusion(Lots(), cfg))
    return Path(FOLDER)


def test_the_copies_that_it_makes(folder, monkeypatch):
    """By one process unless somebody asks for more; a stop changes nothing; the record is whole."""
    data = _formats.read("coco", tiny.make(Path("coco"), 9))
    method = {"name": "diffusion", "model": str(folder), "size": 32, "steps": 1, "device": "cpu"}
    how = anonymize.setup({"method": method, "seed": 3})
    asked, spread = [], anonymize._spread
    monkeypatch.setattr(
        anonymize, "_spread", lambda jobs, workers: asked.append(workers) or spread(jobs, 1)
    )
    told = anonymize.anonymize(how, data, Path("out"))
    assert asked == [1]
    assert told["images"]["anonymized"] == 6
    assert told["instances"]["share"] == 1
    network = told["anonymizer"]["network"]
    assert told["made_of"][-2:] == [f"network: {network['digest']}", "drawn on: cpu in float32"]
    assert "torch" in told["versions"]
    anonymize.anonymize(how, data, Path("two"), limit=2)
    anonymize.anonymize(how, data, Path("two"), workers=3)
    assert asked[1:] == [1, 3]
    assert tiny.tree(Path("two")) == tiny.tree(Path("out"))
    whole = anonymize.setup({"method": method, "regions": {"kind": "frame"}})
    with pytest.raises(BadInput, match="draws faces or bodies, and no whole pictures"):
        anonymize.anonymize(whole, data, Path("whole"))
    assert not Path("whole").exists()


def test_two_workers_draw_what_one_draws(diffusion_folder, tmp_path):
    """Each loads the pipeline for itself."""
    data = _formats.read("coco", tiny.make(tmp_path / "coco", 9))
    method = {"name": "diffusion", "model": str(diffusion_folder), "size": 32, "steps": 1}
    how = anonymize.setup({"method": {**method, "device": "cpu"}})
    for workers in (1, 2):
        anonymize.anonymize(how, data, tmp_path / str(workers), workers=workers)
    assert tiny.tree(tmp_path / "2") == tiny.tree(tmp_path / "1")


def test_the_commands_of_the_page_run(folder, capsys, root):
    tiny.make(Path("coco"))
    page = (root / "docs/impact.md").read_text(encoding="utf-8")
    lines = re.findall(r"^velatura impact anonymize (.*--method diffusion .*)$", page, re.M)
    assert len(lines) == 2
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("anonymize")(cli._guarded(cli.load("impact anonymize"), False))
    small = ["--set", "method.size=32", "--set", "method.steps=1"]
    for line in lines:
        assert f"--model {FOLDER} " in line
        with pytest.raises(SystemExit) as ended:
            app(args=[*shlex.split(line), *small])
        assert not ended.value.code, f"{line}\n{capsys.readouterr()}"
    assert {path.name for path in Path().iterdir()} - {FOLDER} == {
        "coco", "coco-diffusion", "coco-diffusion-faces",
    }  # fmt: skip


def test_an_arm_of_a_bench_needs_no_network_of_its_own():
    arm = {"name": "drawn", "method": {"name": "diffusion", "model": FOLDER, "steps": 20}}
    grid = bench.resolve(benches.grid(arm, gan=None))
    assert grid.gan is None
    how = grid.arm("drawn").setup(Path())
    assert (how.name, how.method.model, how.method.steps) == ("diffusion", FOLDER, 20)
