"""The paper's figures on a page: only where there is data, complete in themselves, and in words."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import paper_records
import pytest
from test_report_structure import Document

from velatura.report import page, paper_section
from velatura.report.page import write_report
from velatura.report.paper_section import paper_figures
from velatura.report.run import read_run


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paper_records.write(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def html(records: Path) -> str:
    written = write_report(records / "comparison" / "w0-1", records / "report.html").read_text()
    assert len(written.encode()) < 10_000_000
    return written.replace(page._plotly(), "")


def shown(html: str) -> list[str]:
    return re.findall(r'<figure class="card printed" id="paper-figure-(\d+)"', html)


def test_a_cell_has_all_figures_of_its_sweep(html: str):
    assert shown(html) == ["2", "3", "5", "6", "7", "8"]
    assert '<a href="#paper">The paper\'s figures</a>' in html
    assert "<b>Figure 3.</b> What each bound costs the action, and takes from attackers, o" in html
    assert "<b>Figure 2.</b> Frames of two actions, raw and at each bound." in html


def test_they_load_nothing_and_share_no_name(html: str):
    assert not re.findall(r"https?://|@import|<img|<!DOCTYPE svg|<metadata", html)
    assert html.count("<style") == 1  # the page's own
    document = Document(html)
    ids = [e["id"] for e in document.elements if "id" in e]
    assert len(ids) == len({*ids})
    used = [e["href"][1:] for e in document.all("use")]
    for target in [*re.findall(r"url\(#([^)]+)\)", html), *used]:
        assert target in ids
    assert document.all("image")
    for image in document.all("image"):
        assert image["href"].startswith("data:image/png;base64,")


def test_they_are_in_words_too(html: str):
    """For who does not see them: on the picture, and below it; all is reached by keys."""
    document = Document(html)
    pictures = [e for e in document.all("svg") if e.get("role") == "img"]
    assert [re.match(r"Figure (\d)\. ", e["aria-label"])[1] for e in pictures] == shown(html)
    said = pictures[1]["aria-label"]
    assert "Action: top-1; points below raw against bound B." in said
    assert "ours: 15 at 0.05, 20 at 0.1, 25 at 0.2, 30 at 0.3" in said
    assert "paper: 0.62 at 0.3, 3.31 at 0.5" in said
    assert "B = 0.1: 3.9 at 1, 3.8 at 2, 3.7 at 3" in pictures[2]["aria-label"]
    assert pictures[0]["aria-label"].endswith(
        "Frames of (a) wave, (b) sit down; from top to bottom: raw, B = 0.05, B = 0.1, B = 0.2, "
        "B = 0.3."
    )
    for number in shown(html):
        assert f"<summary>Figure {number} in words</summary>" in html
    scrolled = [e for e in document.all("div") if e.get("aria-label", "").startswith("Figure ")]
    assert [(e["tabindex"], e["role"]) for e in scrolled] == [("0", "region")] * 6


def test_only_what_there_is_data_for_is_drawn(records: Path, tmp_path: Path):
    """No curves without logs, no frames without pictures, nothing of another world."""
    cell = tmp_path / "comparison" / "w0-0"
    cell.mkdir(parents=True)
    shutil.copyfile(records / "comparison" / "w0-0" / "summary.json", cell / "summary.json")
    assert shown(str(paper_figures(read_run(cell)))) == ["3"]
    other = cell.rename(cell.with_name("w1-0"))
    assert paper_figures(read_run(other)) == ""
    assert paper_figures(read_run(records / "comparison" / "w0-0"), tmp_path / "none") == ""


def test_cells_of_another_configuration_are_another_study(tmp_path: Path):
    """Beside a cell, only those that the grid says as well; one that it does not say is alone."""
    folder = paper_records.write(tmp_path) / "comparison"

    def check(grid: Path, sweep: Path) -> Any:
        assert (grid.name, sweep) == ("comparison.toml", folder)
        return lambda world, seed, summary: "other" * (seed == 0)

    def bodies(seed: int, check: Any) -> str:
        return str(paper_figures(read_run(folder / f"w0-{seed}"), check=check))

    assert "Figure 3.</b> What each bound costs the action, and takes from attackers, over 3" in (
        bodies(1, None)
    )
    body = bodies(1, check)
    assert shown(body) == ["2", "3", "5", "6", "7", "8"]
    assert body.count(", over 2 seeds.") == 2  # the others are frames
    assert "B = 0.1: 4.4 at 1" in body  # seeds 1 and 2: 3 - .1 + 1.5
    body = bodies(0, check)
    assert shown(body) == ["2", "3", "5", "6", "7", "8"]
    assert "seeds." not in body
    assert "B = 0.1: 2.9 at 1" in body


def test_another_study_has_those_of_its_own_rows(records: Path, tmp_path: Path):
    run = tmp_path / "mine"
    shutil.copytree(records / "comparison" / "w0-2", run)
    body = str(paper_figures(read_run(run)))
    assert shown(body) == ["2", "3", "5", "6", "7", "8"]
    assert "seeds" not in body
    summary = json.loads((run / "summary.json").read_text())
    gone = ("penalty_0.2", "penalty_0.3")
    summary["rows"] = [row for row in summary["rows"] if row["name"] not in gone]
    (run / "summary.json").write_text(json.dumps(summary))
    assert paper_figures(read_run(run)) == ""  # two bounds are no figure


def test_what_is_too_large_is_named(records: Path, monkeypatch: pytest.MonkeyPatch):
    run = read_run(records / "comparison" / "w0-0")
    sizes = {one.number: len(one.svg) for one in paper_section._drawn(run, paper_section.FILES)}
    monkeypatch.setattr(paper_section, "ROOM", sizes["2"] + sizes["3"])
    body = str(paper_figures(run))
    assert shown(body) == ["2", "3"]
    assert "Too large for this page: figures 5, 6, 7, 8; `velatura figure` draws them." in body
