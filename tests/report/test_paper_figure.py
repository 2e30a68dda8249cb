"""Figures from made-up records: real pictures, and the right numbers in them."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import paper_records
import pytest
from PIL import Image
from training import tiny

from velatura.config import read_toml
from velatura.errors import BadInput
from velatura.report import paper_figure
from velatura.report.paper import paper
from velatura.report.paper_figure import draw, known

FIGURES = ("2", "3", "5", "6", "7", "8")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paper_records.write(tmp_path_factory.mktemp("records"))


def panels(root: Path, number: str, records: Path, lacks: list[str]) -> list[Any]:
    """The axes of a figure."""
    given = read_toml(root / "experiments/figures" / f"figure{number}.toml")
    where = given["people"]
    source = records / where["grid"]
    where = {**where, "cells": sorted(source.glob(f"{where['world']}-*"))}
    kind = paper_figure.KINDS[given["kind"]]
    return kind(given, where, source, "COMMAND", lacks).axes


@pytest.mark.parametrize("number", FIGURES)
def test_it_is_a_png_and_an_svg(number: str, root: Path, records: Path, tmp_path: Path):
    paths, lacks = draw(number, tmp_path / "new", root / "experiments/figures", records)
    assert lacks == []
    assert [p.name for p in paths] == [f"figure{number}.png", f"figure{number}.svg"]
    with Image.open(paths[0]) as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("L").getcolors(100_000)) > 2
    tree = ET.parse(paths[1]).getroot()
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    again = draw(number, tmp_path / "again", root / "experiments/figures", records)[0]
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in paths]


def test_drops_are_ours_and_the_paper_s(root: Path, records: Path):
    """Raw less the row, of each seed: 15, 20, 25, 30 points for top-1, without spread."""
    top1, cmap = panels(root, "3", records, [])
    ours, theirs = top1.lines[0], next(ln for ln in top1.lines if ln.get_label() == "paper")
    assert list(ours.get_xdata()) == [0.05, 0.1, 0.2, 0.3]
    assert list(ours.get_ydata()) == pytest.approx([15, 20, 25, 30])
    assert list(theirs.get_xdata()) == [0.3, 0.5, 0.7, 0.9]
    assert list(theirs.get_ydata()) == [0.62, 3.31, 5.89, 6.99]  # 0.26 is a misprint
    printed = next(ln for ln in cmap.lines if ln.get_label() == "paper")
    assert list(printed.get_ydata()) == [6.85, 6.37, 7.31, 7.24]
    # Told apart by more than colour.
    for trait in ("get_marker", "get_linestyle", "get_markerfacecolor"):
        assert getattr(ours, trait)() != getattr(theirs, trait)()


def test_without_records_the_paper_s_points_stand_alone(root: Path, tmp_path: Path):
    lacks: list[str] = []
    (top1, _) = panels(root, "3", tmp_path, lacks)
    assert {ln.get_label() for ln in top1.lines if not ln.get_label().startswith("_")} == {"paper"}
    assert lacks == [f"Ours lack: no records of w0 in {tmp_path / 'comparison'}. Run COMMAND"]


def test_curves_are_means_in_their_interval(root: Path, records: Path):
    """Seeds 0, 1, 2 shift the loss by as much: the mean is seed 1's, ± 4.303 / sqrt 3."""
    (f_A, f_B, f_T) = panels(root, "5", records, [])
    assert [ln.get_label() for ln in f_A.lines] == ["B = 0.1", "B = 0.2", "B = 0.3"]
    assert len({ln.get_linestyle() for ln in f_A.lines}) == 3
    assert list(f_A.lines[0].get_xdata()) == [1, 2, 3]
    assert list(f_A.lines[0].get_ydata()) == pytest.approx([3.9, 3.8, 3.7])
    around = f_A.collections[0].get_paths()[0].vertices[:, 1]
    assert around.max() == pytest.approx(3.9 + 4.3027 / 3**0.5, abs=1e-3)
    assert list(f_B.lines[0].get_ydata()) == pytest.approx([0.1] * 3)
    assert list(f_T.lines[0].get_ydata()) == pytest.approx([2.0] * 3)


def test_frames_stand_in_the_paper_s_order(root: Path, records: Path):
    axes = panels(root, "2", records, [])
    assert [a.get_ylabel() for a in axes[::2]] == [
        "raw",
        "B = 0.05",
        "B = 0.1",
        "B = 0.2",
        "B = 0.3",
    ]
    assert [a.get_title() for a in axes[:2]] == ["(a) wave", "(b) sit down"]
    shades = [int(a.images[0].get_array().max()) for a in axes[::2]]
    assert shades == [0, 60, 80, 100, 120]
    assert axes[0].images[0].get_array().shape == (8, 4 * 8, 3)  # four frames are all there are


@pytest.mark.parametrize(("number", "what"), [("2", "pictures"), ("5", "training logs")])
def test_what_records_do_not_keep_is_asked_for(number: str, what: str, root: Path, tmp_path: Path):
    with pytest.raises(BadInput, match=f"No {what} of w0 .* Run velatura sweep .* --only w0, and"):
        draw(number, tmp_path, root / "experiments/figures", tmp_path)


GRID = Path("experiments", "grids", "comparison.toml")


def test_a_record_of_another_configuration_is_not_drawn(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As in tables: the figure is that of the other seeds, and which is left out is said."""
    monkeypatch.chdir(root)
    records = paper_records.write(tmp_path / "mine", grid=GRID)
    words = ["figure", "5", "--records", str(records), "--out"]
    assert tiny.main(*words, str(tmp_path / "all"))[2] == ""

    def change(seed: int) -> None:
        path = records / "comparison" / f"w0-{seed}" / "summary.json"
        made = json.loads(path.read_text())
        made["config"]["evaluation"]["epochs"] = 77
        path.write_text(json.dumps(made))

    change(0)
    code, out, err = tiny.main(*words, str(tmp_path / "two"))
    assert (code, len(out.splitlines())) == (0, 2)
    assert re.match(
        r"Not shown, as the grid says otherwise now: w0-0 \(evaluation\.epochs is 77, the grid "
        r"says \d+\)\. Run velatura sweep experiments/grids/comparison\.toml --only w0 --out "
        r"runs/again/comparison, and then name it with --records runs/again\.\n$",
        err,
    )
    alone = paper_records.write(tmp_path / "alone", seeds=(1, 2))
    draw("5", tmp_path / "want", root / "experiments/figures", alone)
    all_, two, want = (tmp_path / name / "figure5.svg" for name in ("all", "two", "want"))
    assert two.read_bytes() == want.read_bytes() != all_.read_bytes()
    change(1), change(2)
    code, out, err = tiny.main(*words, str(tmp_path / "none"))
    assert (code, out) == (2, "")
    assert err.startswith("Error: Not shown, as the grid says otherwise now: w0-0 (")
    assert not (tmp_path / "none").exists()
    # Of drops, the paper's own points are left, and one sentence says why ours lack.
    code, out, err = tiny.main("figure", "3", *words[2:], str(tmp_path / "drops"))
    assert (code, len(out.splitlines()), len(err.splitlines())) == (0, 2, 1)
    draw("3", tmp_path / "empty", root / "experiments/figures", tmp_path)
    drops, empty = (tmp_path / name / "figure3.svg" for name in ("drops", "empty"))
    assert drops.read_bytes() == empty.read_bytes()


def test_every_figure_that_is_no_drawing_has_a_file(root: Path):
    folder = root / "experiments/figures"
    assert known(folder) == list(FIGURES)
    assert {f"figure{n}" for n in FIGURES} == {n for n in paper() if n.startswith("figure")} - {
        "figure1", "figure4",
    }  # fmt: skip
    for number in FIGURES:
        given = read_toml(folder / f"figure{number}.toml")
        for instance in ("people", "paper"):
            where = given[instance]
            grid = read_toml(root / "experiments/grids" / f"{where['grid']}.toml")
            assert where["world"] in {world["name"] for world in grid["worlds"]}
            sweep = next(r for r in grid["rows"] if r.get("name") == "penalty")["sweep"]["bound"]
            assert {*where["rows"]} <= {"raw", *(f"penalty_{bound}" for bound in sweep)}


def test_the_command(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root)
    records = paper_records.write(tmp_path / "records", grid=GRID)
    words = ["figure", "3", "--records", str(records), "--out", str(tmp_path)]
    assert tiny.main(*words) == (0, f"{tmp_path}/figure3.png\n{tmp_path}/figure3.svg\n", "")
    assert len(tiny.main("figure", "--list")[1].splitlines()) == 6
    assert tiny.main("figure", "4") == (
        2, "", "Error: No figure named '4'. Available: 2, 3, 5, 6, 7, 8.\n",
    )  # fmt: skip
    (tmp_path / "file").touch()
    code, out, err = tiny.main(*words[:-1], str(tmp_path / "file"))
    assert (code, out) == (2, "")
    assert "is a file; name a folder for the pictures" in err
    assert not list(tmp_path.rglob("*.part"))
    assert tiny.main("figure")[2].startswith("Error: Say which figure: 2, 3")
