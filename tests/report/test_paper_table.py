"""Tables from made-up records: means and intervals by hand, marks, gaps, and every form."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import paper_records
import pytest
from training import tiny

from velatura import sweep
from velatura.config import read_toml
from velatura.data._lists import vispr
from velatura.data._people import census
from velatura.errors import BadInput
from velatura.report.paper import paper, published
from velatura.report.paper_table import Cell, Column, Line, Table, _marked, fill, render
from velatura.report.records import MEASURES, figure

TABLES = ["1", "2", "3", "5", "6", "7", "8"]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paper_records.write(tmp_path_factory.mktemp("records"))


def table(root: Path, records: Path, name: str, instance: Any = "people") -> Table:
    return fill(name, root / "experiments" / "tables", records, instance)


def cells(found: Table, row: str) -> dict[str, Cell]:
    """The cells of a row, by the name of their column in the paper."""
    (line,) = [line for line in found.lines if line.row == row]
    return {c.published: cell for c, cell in zip(found.columns, line.cells, strict=True)}


# ---------------------------------------------------------------------------- what a cell holds


def test_the_mean_and_its_interval_over_seeds(root: Path, records: Path):
    """84, 85, 86: 85 ± 4.303 / sqrt 3. Two seeds of F1: as a point, since they agree."""
    found = table(root, records, "1")
    vita = cells(found, "vita")
    half = 4.3027 / 3**0.5
    assert vita["ucf101_top1"].value == pytest.approx(85.0)
    assert vita["ucf101_top1"].low == pytest.approx(85 - half, abs=1e-3)
    assert vita["ucf101_top1"].high == pytest.approx(85 + half, abs=1e-3)
    assert vita["ucf101_top1"].seeds == (0, 1, 2)
    assert vita["ucf101_top1"].published == published(1, "vita", "ucf101_top1")
    assert (vita["vispr1_f1"].value, vita["vispr1_f1"].seeds) == (pytest.approx(0.8), (1, 2))
    assert vita["pa_hmdb51_top1"] == Cell(published=published(1, "vita", "pa_hmdb51_top1"))


def test_one_anonymizer_at_all_seeds_counts_once(root: Path, tmp_path: Path):
    paper_records.write(tmp_path)
    for path in tmp_path.rglob("summary.json"):
        one = json.loads(path.read_text())
        one["rows"][1]["anonymizer"] = "0123456789ab"
        path.write_text(json.dumps(one))
    found = table(root, tmp_path, "1")
    cell = cells(found, "vita")["ucf101_top1"]
    assert (cell.value, cell.low, cell.seeds, cell.anonymizers) == (85.0, None, (0, 1, 2), 1)
    assert cells(found, "spact")["ucf101_top1"].anonymizers == 3
    text = render(found, "text")
    assert re.search(r"^VITA +1 +85\.0 ", text, re.M)
    assert re.search(r"^SPACT +2–3 ", text, re.M) or re.search(r"^SPACT +3 ", text, re.M)


def test_what_stands_above_the_rows(root: Path, records: Path):
    """Chance; F1 of a constant yes is the mean of 2p/(1+p): of 2/3 and 0.4; the action's table."""
    found = table(root, records, "1")
    chance, floor = cells(found, "chance"), cells(found, "floor")
    assert (chance["ucf101_top1"].value, chance["vispr1_cmap"].value) == (10.0, 37.5)
    assert chance["vispr1_f1"].value == pytest.approx((2 / 3 + 0.4) / 2)
    assert chance["vispr1_cmap"].published.value == 24.78
    assert (floor["vispr1_cmap"].value, floor["vispr1_f1"].value) == (41.0, None)


def test_examiners_by_themselves():
    """Of targets the mean, of attackers the strongest, of static ones the rung or the old key."""
    one = paper_records.summary(0)
    assert figure(one, "raw", "top1", "clip_cnn") == pytest.approx(89.9)
    assert figure(one, "raw", "top1", "frame_cnn") == 40.0
    assert figure(one, "raw", "cmap", "frame_cnn") == pytest.approx(94.9)
    assert figure(one, "raw", "cmap", "resnet18") is None
    assert figure(one, "raw", "static_cmap") == pytest.approx(74.9)
    assert figure(one, "raw", "static_f1_printed") is None
    assert figure(one, "absent", "top1") is None
    two = paper_records.summary(1)
    assert figure(two, "raw", "static_f1_printed") == 0.3
    two["rows"][0]["targets"] = {"clip_cnn": {"top1": [70.0, 72.0]}}
    assert figure(two, "raw", "top1", "clip_cnn") == 71.0
    two["rows"][0]["attackers"]["frame_cnn"]["f1_printed"] = [0.2, 0.4]
    assert figure(two, "raw", "f1_printed", "frame_cnn") == 0.4


def test_weights_that_were_not_named_are_no_weights():
    one = paper_records.summary(0)
    assert figure(one, "raw", "cmap", "frame_cnn", weights=True) is None
    one["config"]["evaluation"]["networks"]["frame_cnn"] = {"weights": "x.safetensors"}
    assert figure(one, "raw", "cmap", "frame_cnn", weights=True) == pytest.approx(94.9)


# ------------------------------------------------------------------------------------- the best


def made(
    *rows: tuple[str, float | None, float | None], measure: str = "top1", useless: str = ""
) -> list[str]:
    """Names of the rows that are marked: each has a value and half an interval.

    Args:
        useless: the row that does not keep the action.
    """
    column = Column(group="g", measure=measure, published="p", world="w")
    lines = [
        Line(
            label=name, row=name, published="", cells=(
                Cell(value=v, low=None if h is None else v - h, high=None if h is None else v + h),
            ),
        )
        for name, v, h in rows
    ]  # fmt: skip
    marked = _marked(lines, [column], lambda row, world: world == "w" and row != useless)
    return [line.row for line in marked if line.cells[0].best]


def test_the_best_is_marked_in_the_measure_s_own_direction():
    rows = ("a", 80.0, 1.0), ("b", 70.0, 1.0), ("c", 60.0, 1.0)
    assert made(*rows) == ["a"]
    for measure in MEASURES:
        assert made(*rows, measure=measure) == (["a"] if measure == "top1" else ["c"])


def test_nothing_is_marked_that_is_not_told_apart():
    assert made(("a", 80.0, 6.0), ("b", 70.0, 6.0)) == []  # 74 to 86 and 64 to 76
    assert made(("a", 80.0, 4.0), ("b", 70.0, 4.0)) == ["a"]
    assert made(("a", 80.0, None), ("b", 70.0, 4.0)) == []  # one seed
    assert made(("a", 80.0, 1.0)) == []
    assert made(("raw", 99.0, 0.1), ("a", 80.0, 1.0), ("b", 70.0, 1.0)) == ["a"]
    assert made(("chance", 1.0, 0.1), ("a", 80.0, 1.0), ("b", 70.0, 1.0), measure="f1") == ["b"]


def test_who_does_not_keep_the_action_is_not_the_best_at_hiding():
    rows = ("a", 80.0, 1.0), ("b", 70.0, 1.0), ("c", 60.0, 1.0)
    assert made(*rows, measure="cmap", useless="c") == ["b"]
    assert made(*rows, measure="cmap", useless="a") == ["c"]
    assert made(*rows, useless="a") == ["a"]  # top-1 speaks for itself
    touching = ("a", 80.0, 1.0), ("b", 70.0, 1.0), ("c", 70.5, None)
    assert made(*touching, measure="f1", useless="c") == ["b"]  # nor does it stand in the way


def test_a_row_keeps_the_action_by_its_mean_u(root: Path, tmp_path: Path):
    """The penalties' F1 falls with their bound, and U from .85 to .7; .8 is enough."""
    paper_records.write(tmp_path)

    def dotted() -> list[str]:
        found = table(root, tmp_path, "1")
        (place,) = [i for i, c in enumerate(found.columns) if c.published == "vispr1_f1"]
        return [line.row for line in found.lines if line.cells[place].best]

    assert dotted() == ["penalty_0.1"]
    for path in tmp_path.rglob("summary.json"):
        one = json.loads(path.read_text())
        del one["rows"][4]["U"]  # who does not say it, is not taken to keep it
        path.write_text(json.dumps(one))
    assert dotted() == ["penalty_0.05"]


# ------------------------------------------------------------------------------------- the gaps


def command_lines(found: Table) -> list[list[str]]:
    return [shlex.split(command)[1:] for command in found.missing]


def test_what_is_empty_says_what_fills_it(root: Path, records: Path):
    found = table(root, records, "1")
    lines = {line.split("--only ", 1)[1]: what for line, what in found.missing.items()}
    assert lines["w1"] == "39 cells of w1"
    assert lines["w2"] == "39 cells of w2"
    # Of w0, six rows lack; F1 lacks in seed 0 of those that are there.
    assert lines["w0"] == "18 cells of w0"
    assert lines["w0/0 --out runs/again/comparison"] == (
        "7 cells of w0, whose record does not say; then --records runs/again"
    )


def test_one_seed_that_lacks_is_asked_for_alone(root: Path, tmp_path: Path):
    paper_records.write(tmp_path, "scratch", (1, 2))
    paper_records.write(tmp_path, "pretrained")
    (command, *_) = table(root, tmp_path, "5").missing
    assert command.endswith("comparison.toml --only w0/0 --only scratch/0")


@pytest.mark.parametrize("name", TABLES)
def test_the_commands_are_commands_that_sweep_takes(
    name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whole, with --list behind; of the other instance, that the cells are there."""
    monkeypatch.chdir(tmp_path)
    found = table(root, tmp_path, name)
    assert found.missing
    for words in command_lines(found):
        code, out, err = tiny.main(*words, "--list", "--set", "seeds=[0]")
        assert (code, err) == (0, "")
        assert "missing" in out
    worlds = {w["name"] for w in read_toml(root / "experiments/grids/tables-paper.toml")["worlds"]}
    for words in command_lines(table(root, tmp_path, name, "paper")):
        assert words[:2] == ["sweep", str(root / "experiments/grids/tables-paper.toml")]
        assert {*words[3::2]} <= worlds


# ------------------------------------------------------------------------------- the table files


@pytest.mark.parametrize("name", TABLES)
def test_a_table_names_only_what_there_is(name: str, root: Path):
    """Rows and worlds of its grids, examiners of those worlds, rows and columns of the paper."""
    given = read_toml(root / "experiments" / "tables" / f"table{name}.toml")
    printed = paper()[f"table{name}"]
    assert [c["published"] for c in given["columns"]] == list(printed["columns"])
    assert {c["measure"] for c in given["columns"]} <= {*MEASURES}
    assert {r["published"] for r in given["rows"] if "published" in r} == {
        row["name"] for row in printed["rows"]
    }
    for instance in ("people", "paper"):
        grid = read_toml(root / "experiments/grids" / f"{given[instance]['grid']}.toml")
        rows = {name for row in grid["rows"] for name in written_out(row)}
        worlds = {world["name"]: world for world in grid["worlds"]}
        named = {row[instance] for row in given["rows"] if instance in row}
        assert named <= rows
        for column in given["columns"]:
            place = column[instance]
            world = worlds[place["world"]]
            assert {*world.get("rows", rows), "raw"} >= named
            if "network" in place:
                who = "targets" if column["measure"] == "top1" else "attackers"
                (said,) = [s for s in world["set"] if s.startswith(f"evaluation.{who}=")]
                assert place["network"] in json.loads(said.partition("=")[2])


def written_out(row: dict[str, Any]) -> list[str]:
    return [one.get("name", one["method"]["name"]) for one in sweep._written_out(row, "row")]


def test_table_4_lists_the_attributes_that_there_are(root: Path):
    columns = read_toml(root / "experiments/tables/table4.toml")["columns"]
    for column in columns:
        assert tuple(column["people"]) == census.WORLDS[column["world"]].names
        assert tuple(column["paper"]) == vispr.ATTRIBUTES[column["published"]]
    found = fill("4", root / "experiments/tables")
    assert found.lists["VISPR1"] == (*columns[0]["paper"][:-1], "a65_rel_social*")
    assert found.lists["VISPR2"] == tuple(columns[1]["paper"])


# ------------------------------------------------------------------------------------ the forms


@pytest.mark.parametrize("name", [*TABLES, "4"])
@pytest.mark.parametrize("instance", ["people", "paper"])
def test_text_fits_80_columns(name: str, instance: Any, root: Path, records: Path):
    """But for commands, which must be whole."""
    lines = render(table(root, records, name, instance), "text").splitlines()
    assert lines[0].startswith(f"Table {name} ({instance}). ")
    assert not [ln for ln in lines if len(ln) > 80 and not ln.startswith("  velatura sweep ")]
    assert not [ln for ln in lines if "…" in ln]  # as rich cuts what does not fit


def test_the_text_by_hand(root: Path, records: Path):
    text = render(table(root, records, "1"), "text")
    (line,) = [ln for ln in text.splitlines() if ln.startswith("VITA ") and "85.0" in ln]
    assert line.split() == [
        "VITA", "2–3", "85.0±2.5•", "62.10", "90.0±2.5", "55.32", "0.800±0.000", "0.461",
    ]  # fmt: skip
    wanted = {"0.1": "0.500±0.000•", "0.3": "0.300±0.000"}  # lowest, with U of .7; the other has .8
    for bound, f1 in wanted.items():
        (line,) = [
            ln for ln in text.splitlines()
            if ln.startswith(f"Penalty {bound} (") and "0.000" in ln
        ]  # fmt: skip
        assert line.split()[-2] == f1
    legend = " ".join(text.split())
    assert "± half of Student's 95 % interval for it, which may reach beyond" in legend
    assert "of cMAP and F1 only among rows that keep at least 80 % of the action (U)." in legend
    assert "† computed; the paper does not print it." in legend
    assert re.search(r"^No information .* 24\.78†( |$)", text, re.M)
    assert not re.search(r"^(?!No information).*\d†", text, re.M)
    assert "  downsample_2, vp_hmdb51_cmap: printed 0.601, should be 71.35" in text
    assert re.search(r"^Downsample-2x .* 71\.35\* .* 0\.601\*$", text, re.M)
    assert "  velatura sweep " in text


def test_markdown_has_as_many_cells_in_every_line(root: Path, records: Path):
    for name in ("1", "4"):
        text = render(table(root, records, name), "markdown")
        lines = [line for line in text.splitlines() if line.startswith("|")]
        (count,) = {line.count("|") for line in lines}
        assert count == (21 if name == "1" else 5)
        assert re.fullmatch(r"\| --- \|( -+:? \|)+", lines[1])
    assert "**0.500±0.000**" in render(table(root, records, "1"), "markdown")


def test_latex_is_balanced_and_escaped(root: Path, records: Path):
    for name in ("1", "4"):
        text = render(table(root, records, name), "latex")
        code = [line for line in text.splitlines() if not line.startswith("%")]
        begun = re.findall(r"\\begin\{(\w+)\}", "\n".join(code))
        assert begun == re.findall(r"\\end\{(\w+)\}", "\n".join(code))[::-1] == ["table", "tabular"]
        (aligned,) = re.findall(r"\\begin\{tabular\}\{(\w+)\}", text)
        rows = [line for line in code if line.endswith(r"\\")]
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(aligned)}
        assert not [row for row in rows if re.search(r"(?<!\\)[_%#±—†]", row)]
    assert r"\textbf{0.500$\pm$0.000}" in render(table(root, records, "1"), "latex")


def test_csv_and_json_hold_every_number(root: Path, records: Path):
    found = table(root, records, "1")
    lines = list(csv.DictReader(io.StringIO(render(found, "csv"))))
    assert len(lines) == 9 * (13 + 2)
    wanted = "penalty_0.05", "top1", "w0"
    (line,) = [ln for ln in lines if (ln["row"], ln["measure"], ln["world"]) == wanted]
    assert float(line["value"]) == pytest.approx(75.0)
    assert (line["paper"], line["paper_printed"], line["paper_drop"]) == ("78.26", "78.26", "0.62")
    (line,) = [ln for ln in lines if ln["row"] == "chance" and ln["paper"] == "24.78"][:1]
    assert line["paper_printed"] == ""  # it is computed
    values = json.loads(render(found, "json"))
    assert values["lines"][2]["label"] == "Raw"
    assert values["lines"][2]["cells"][0]["value"] == pytest.approx(90.0)
    assert len(values["misprints"]) == 13
    listed = list(csv.DictReader(io.StringIO(render(table(root, records, "4"), "csv"))))
    assert listed[6] == {"table": "4", "list": "VISPR1", "word": "a65_rel_social"}


# ---------------------------------------------------------------------------------- the command


GRID = Path("experiments", "grids", "comparison.toml")


def test_a_record_of_another_configuration_is_not_shown(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its cells are as if it were not there; what is aside, such as a title, is aside."""
    monkeypatch.chdir(root)
    paper_records.write(tmp_path, seeds=(0, 1), grid=GRID)

    def change(seed: int, section: str, **values: Any) -> None:
        path = tmp_path / "comparison" / f"w0-{seed}" / "summary.json"
        made = json.loads(path.read_text())
        made["config"][section] |= values
        made["config"]["title"] = "Another title"
        made["config"]["rows"] = made["config"]["rows"][:5]  # the grid has gained some since
        path.write_text(json.dumps(made))

    change(0, "loop", device="cuda", save_every=7)
    change(1, "data", cache="elsewhere")
    words = ["table", "1", "--records", str(tmp_path), "--format", "json"]
    found = json.loads(tiny.main(*words)[1])
    assert found["others"] == {}
    vita = next(line for line in found["lines"] if line["row"] == "vita")
    assert vita["cells"][0]["seeds"] == [0, 1]
    change(1, "evaluation", epochs=77)
    code, out, err = tiny.main(*words)
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert list(found["others"]) == ["w0-1"]
    assert re.match(r"evaluation\.epochs is 77, the grid says \d+$", found["others"]["w0-1"])
    vita = next(line for line in found["lines"] if line["row"] == "vita")
    assert (vita["cells"][0]["value"], vita["cells"][0]["seeds"]) == (84.0, [0])
    fills = (
        "velatura sweep experiments/grids/comparison.toml --only w0/1 --out runs/again/comparison"
    )
    assert "whose record is of something else" in found["missing"][fills]
    change(0, "data", train_people=3)
    code, out, _ = tiny.main(*words[:-2])
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("Not shown")]
    assert re.match(
        r"Not shown, as the grid says otherwise now: w0-0 \(data\.train_people is 3, the grid says "
        r"\d+\); w0-1 \(evaluation\.epochs is 77, .*\)\.$",
        line,
    )
    assert re.search(r"^VITA +— ", out, re.M)


def test_the_command(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root)
    records = paper_records.write(tmp_path, grid=GRID)
    words = ["table", "1", "--records", str(records)]
    assert tiny.main(*words) == (0, render(fill("1", records=records), "text"), "")
    code, out, _ = tiny.main("table", "--list")
    assert (code, len(out.splitlines())) == (0, 8)
    assert tiny.main("table", "9") == (
        2, "", "Error: No table named '9'. Available: 1, 2, 3, 4, 5, 6, 7, 8.\n",
    )  # fmt: skip
    assert tiny.main("table")[2].startswith("Error: Say which table: 1, 2, 3")
    assert "No format named 'html'" in tiny.main(*words, "--format", "html")[2]
    assert "No instance named 'real'" in tiny.main(*words, "--instance", "real")[2]


def test_the_commands_of_the_page(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In order, away from the repository but with its files; a sweep says what it would do."""
    (tmp_path / "experiments").symlink_to(root / "experiments")
    paper_records.write(tmp_path / "runs", grid=root / GRID)
    monkeypatch.chdir(tmp_path)
    page = (root / "docs" / "tables.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```", page, re.M | re.S)
    lines = [
        line for block in blocks for line in block.splitlines() if line.startswith("velatura ")
    ]
    assert {line.split()[1] for line in lines} == {"sweep", "table", "figure"}
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "sweep":
            words += ["--list", "--set", "seeds=[0]"]
        code, out, err = tiny.main(*words)
        assert (code, err) == (0, ""), line
        assert out


def test_the_page_says_what_it_costs(root: Path):
    """The page and the grid say the same, and it adds up."""
    grid = (root / "experiments" / "grids" / "comparison.toml").read_text()
    page = (root / "docs" / "tables.md").read_text()
    costs = (
        r"w0 (\d+) min, w2 (\d+), w1 (\d+), the three novel worlds (\d+) together, "
        r"scratch (\d+), pretrained (\d+)"
    )
    worlds = re.search(costs, grid.replace("\n# ", " "))
    whole = sum(map(int, worlds.groups()))
    assert f"{whole} core-minutes" in grid.replace("\n# ", " ")
    assert f"{3 * whole / 60:.1f} core-hours" in page


def test_away_from_the_repository_it_says_so(tmp_path: Path):
    with pytest.raises(BadInput, match="No table files in .*; run from the root of the repository"):
        fill("1", tmp_path)
