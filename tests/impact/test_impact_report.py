"""`velatura impact report`: its numbers are those of the bench, and nothing leaves the page."""

from __future__ import annotations

import base64
import csv
import json
import re
import tomllib
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import benches
import pytest
import typer
from PIL import Image

from velatura import cli
from velatura.cli.impact import bench as bench_command
from velatura.cli.impact.report import report as command
from velatura.errors import BadInput
from velatura.impact import _compare, report
from velatura.impact._score import FIGURES

ARMS = {
    "original": [(40.0, 20.0), (44.0, 22.0), (42.0, 21.0)],
    "blur": [(10.0, 1.0), (16.0, 3.0), (12.0, 2.5)],
    "same": [(40.5, 20.5), (43.0, 21.0), (42.5, 21.6)],
}
READ = {
    "cmap": 60.0, "cmap_interval": [55.0, 65.0], "raw_cmap": 90.0, "chance": 50.0, "auroc": 61.5,
    "L": 0.25, "L_interval": [0.125, 0.375], "attributes": {"hair": 61.5}, "people": 90,
    "by": "frame_cnn/0",
}  # fmt: skip


def result() -> dict[str, Any]:
    """What a bench would have written: three arms at three seeds, and one that broke."""
    runs = {
        arm: {
            seed: {
                "detection": benches.evaluated(box, 50.0 + seed, AP_large=None, AP50=2 * box),
                "keypoints": benches.evaluated(points, None),
            }
            for seed, (box, points) in enumerate(values)
        }
        for arm, values in ARMS.items()
    }
    groups = {"hidden": ["person"], "control": ["crate"], "person": ["person"], "crate": ["crate"]}
    figures = _compare.table({**runs, "broken": {}}, "original", groups)
    lines = [_compare.Line(arm="blur", of="original", at_most=0.5),
             _compare.Line(arm="broken", at_least=1.0)]  # fmt: skip
    arms = []
    for name in (*ARMS, "broken"):
        share = {"original": 0.0, "broken": None}.get(name, 0.987)
        arms.append(
            {"name": name, "oracle": "", "method": {"name": "none"}, "regions": {}, "share": share,
             "images": None, "instances": None, "privacy": READ if name == "blur" else None,
             "runs": [], "failed": {}}
        )  # fmt: skip
    cell = {"seeds": [[0, 12.34]], "mean": 12.34}
    crossed = dict.fromkeys(
        ("original_on_original", "original_on_copy", "copy_on_original", "copy_on_copy"), cell
    )
    return {
        "schema": "velatura-impact-bench/1", "title": "<b>Three</b> arms", "command": "velatura x",
        "grid": {"train": {"steps": 3}}, "seeds": [0, 1, 2], "tasks": ["detection", "keypoints"],
        "reference": "original", "categories": {"hidden": ["person"], "control": ["crate"]},
        "data": {"generated": True}, "arms": arms, "figures": figures,
        "crossed": [{"arm": "blur", "task": "detection", **crossed}],
        "order": [_compare.held(line, figures) for line in lines],
        "failed": {"copy broken": "It <i>broke</i>."}, "seconds": {"train": 12.0},
        "versions": {"torch": "2"},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "bench"
    for arm in ARMS:
        (out / "copies" / arm / "train").mkdir(parents=True)
        Image.new("RGB", (8, 8), (9, 9, 9)).save(out / "copies" / arm / "train/000000.png")
    (out / "bench.json").write_text(json.dumps(result()))
    return out


FACES = {
    "people": 90, "gallery": 92, "images": 60, "found": 81.25, "found_interval": [75.0, 87.5],
    "rank1": 12.34, "rank1_interval": [6.0, 19.0], "chance": 100 / 92, "by": "dlib, alike hidden",
    "originals": {"rank1": 1.5, "rank1_interval": [0.0, 3.0]},
    "alike": {"rank1": 12.34, "rank1_interval": [6.0, 19.0]},
}  # fmt: skip


def with_faces(earlier: bool = False) -> dict[str, Any]:
    """Of the original all are known, of one arm some, and of the others nothing was measured.

    Args:
        earlier: as a bench of an earlier version said it, which hid nothing alike.
    """
    said = result()
    said["faces_missing"] = None
    every = {"found": 100.0, "found_interval": [100.0, 100.0], "rank1": 100.0,
             "rank1_interval": [100.0, 100.0], "by": "dlib", "alike": None}  # fmt: skip
    for arm in said["arms"]:
        arm["faces"] = {"original": FACES | every, "blur": FACES}.get(arm["name"])
        if earlier and arm["faces"]:
            arm["faces"] = {**arm["faces"], "by": "centerface, dlib"}
            del arm["faces"]["originals"], arm["faces"]["alike"]
    return said


class Cells(HTMLParser):
    """The tables of a page as rows of text."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open = False
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.open = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.open = False

    def handle_data(self, data: str) -> None:
        if self.open:
            self.rows[-1][-1] += data


def test_the_numbers_are_those_of_the_bench(folder):
    report.write_report(folder)
    said = result()
    listed = json.loads((folder / "table.json").read_text())
    assert len(listed) == 3 * 2 * 4 * len(FIGURES)
    for line in listed:
        of = said["figures"][line["arm"]][line["task"]][line["categories"]][line["figure"]]
        for key in ("mean", "sd", "n", "difference", "within_noise"):
            assert line[key] == of[key]
        assert [line["difference_low"], line["difference_high"]] == (
            of["difference_interval"] or [None, None]
        )
        assert line["L"] == (0.25 if line["arm"] == "blur" else None)
    with open(folder / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mean"] for row in rows] == ["" if line["mean"] is None else str(line["mean"])
                                             for line in listed]  # fmt: skip


BLUR = [
    "blur", "98.7 %",
    "12.7 ± 3.1",  # 10, 16, 12
    "25.3 ± 6.1", "12.7 ± 3.1", "12.7 ± 3.1", "\u2014",
    # -30, -28, -30: mean -29.3, deviation 1.155, t 4.303
    "\u221229.3 (\u221232.2 to \u221226.5)", "beyond noise",
    "51.0 ± 1.0", "0.0", "0.25",
]  # fmt: skip


def test_the_tables_by_hand(folder):
    report.write_report(folder)
    page = Cells()
    page.feed((folder / "report.html").read_text())
    assert BLUR in page.rows
    same = next(row for row in page.rows if row[:2] == ["same", "98.7 %"])
    # .5, -1 and .5: deviation .866
    assert same[7:9] == ["0.0 (\u22122.2 to 2.2)", "within noise"]
    assert ["blur", "98.7 %", "0.25 (0.12\u20130.38)", "61.5"] in page.rows
    assert ["same", "98.7 %", "not measured", "not measured"] in page.rows
    assert ["blur", "box", "12.3", "12.3", "12.3", "12.3"] in page.rows
    assert ["blur keeps at most 0.5 of original's detection", "0.30", "yes"] in page.rows
    assert ["broken has at least 1 AP of detection", "\u2014", "NO"] in page.rows
    text = (folder / "table.md").read_text()
    assert f"| {' | '.join(BLUR)} |" in text


def test_what_was_published_stands_apart_and_says_where_from(folder, root):
    said = tomllib.loads((root / "experiments/paper_impact.toml").read_text())
    report.write_report(folder)
    page = Cells()
    page.feed((folder / "report.html").read_text())
    start = next(at for at, cells in enumerate(page.rows) if cells[1:2] == ["Pedestrian AP"])
    for row, found in zip(said["rows"], page.rows[start + 1 :], strict=True):
        assert found[0].startswith(row["name"])
        assert [float(cell.split(" ")[0]) for cell in found[1:]] == [
            row[key] for key in ("pedestrian", "pedestrian_50", "rider", "car", "all")
        ]
    for text in (folder / "report.html", folder / "table.md"):
        written = " ".join(text.read_text().split())
        assert "Other data and other networks than above: BDD100K" in written
        assert f"Source: {said['source']}" in written


def test_the_page_loads_nothing_and_believes_no_text(folder):
    report.write_report(folder)
    text = (folder / "report.html").read_text()
    assert "<b>Three</b>" not in text
    assert "<i>broke</i>" not in text
    assert "Failed:<ul><li>copy broken: It &lt;i&gt;broke&lt;/i&gt;.</li></ul>" in text
    page = Cells()
    page.feed(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "form")]
    for tag, attributes in page.tags:
        for key, value in attributes.items():
            if key in ("src", "href") or key.endswith(":href"):
                assert re.match(r"data:|#", str(value)), (tag, key, value)
            assert not key.startswith("on")
    assert sum(tag == "img" for tag, _ in page.tags) == 3
    assert "default-src 'none'" in text
    again = (folder / "report.html").read_bytes()
    report.write_report(folder)
    assert (folder / "report.html").read_bytes() == again


def test_pictures_of_real_people_are_not_shown(folder):
    said = result()
    said["data"] = {"generated": False}
    (folder / "bench.json").write_text(json.dumps(said))
    report.write_report(folder)
    page = (folder / "report.html").read_text()
    assert "<img" not in page
    assert "Generated people" not in page


NETWORK = {
    "arms": ["blur", "same"], "learnt_from": {"split": "train", "pictures": 600, "of_val": 0},
    "crops": {"total": 1200, "images": 590, "held_out": 240, "skipped": {}, "failed": 0},
    "steps": 2500, "seconds": 387.4,
    "distance": {
        "features": "random <i>convolutions</i>", "known": 960, "others": 240, "dimensions": 96,
        "distance": {
            "generated": {"frechet": 3.0, "kernel": 0.314}, "other real crops":
            {"frechet": 0.1, "kernel": -0.002}, "grey": {"frechet": 4.0, "kernel": 0.5},
            "filled from around": {"frechet": 2.0, "kernel": 0.25},
        },
    },
}  # fmt: skip
SAID = (
    "blur and same: drawn by a network that learnt from 960 crops of the 600 training pictures and "
    "none of val, in 2500 steps, 387 s. Distance to real crops 0.31 (other real crops 0.00, "
    "grey 0.50, filled from around 0.25; random <i>convolutions</i>): nearer than grey holes. It "
    "is one network for all seeds: what another would have cost, \u00b1 does not say."
)


def test_the_line_about_a_network():
    said = result() | {"gan": NETWORK}
    assert report.networks(said) == [SAID]
    far = NETWORK["distance"]["distance"] | {"generated": {"frechet": 9.0, "kernel": 0.5}}
    said["gan"] = NETWORK | {"distance": NETWORK["distance"] | {"distance": far}}
    assert ": NO nearer than grey holes. It is" in report.networks(said)[0]
    said["gan"] = NETWORK | {"distance": NETWORK["distance"] | {"distance": {}}}
    assert "in 2500 steps, 387 s. It is one network" in report.networks(said)[0]
    said["gan"] = NETWORK | {"seconds": None}
    assert "in 2500 steps. Distance to real crops 0.31" in report.networks(said)[0]
    assert report.networks(result()) == report.networks(result() | {"gan": None}) == []
    methods = {"blur": {"name": "gan"}, "same": {"name": "gan", "model": "mine.onnx"}}
    arms = [{"name": name, "method": method} for name, method in methods.items()]
    assert report.networks(result() | {"grid": {"arms": arms}}) == [
        "same: drawn by a network that was trained elsewhere; whether it saw pictures of val, "
        "nobody here knows."
    ]


@pytest.mark.parametrize("generated", [True, False])
def test_what_a_network_draws_is_shown_of_nobody_alone(folder, capsys, generated):
    """Of one's own data the page and the tables have the line, and no picture."""
    said = result() | {"gan": NETWORK, "data": {"generated": generated}}
    said["grid"]["gan"] = {"steps": 2500}
    (folder / "bench.json").write_text(json.dumps(said))
    (folder / "gan").mkdir()
    Image.new("RGB", (9, 7), (1, 2, 3)).save(folder / "gan/samples.png")
    report.write_report(folder)
    text = (folder / "report.html").read_text()
    shown = base64.b64encode((folder / "gan/samples.png").read_bytes()).decode()
    assert (shown in text) is ("What the network draws" in text) is generated
    assert escape(SAID, quote=True) in text
    assert text.index("blur and same: drawn by") > text.index("<h3>Keypoint AP")
    assert "<dt>network</dt><dd>{&quot;steps&quot;: 2500}</dd>" in text
    lines = (folder / "table.md").read_text().splitlines()
    (at,) = (at for at, line in enumerate(lines) if line.startswith("blur and same: drawn by"))
    before = [line for line in lines[:at] if line.startswith("## ")]
    assert before[-1].startswith("## Keypoint AP")
    assert len(before) == 2
    command(folder)
    bench_command._print(said, folder)
    assert capsys.readouterr().out.count(f"\n{SAID}\nThe known order did NOT come out") == 2


ALIKE = (
    "Where a method reads what it hides (blur), slightly other pictures of the same scenes were "
    "also hidden alike and compared, and the larger figure counts."
)
NOT_ALIKE = (
    "The originals were compared as they are: whoever hides them alike first may recognise far "
    "more after blur and pixelate."
)


@pytest.mark.parametrize("earlier", [True, False])
def test_who_is_recognised_by_hand(folder, earlier):
    said = with_faces(earlier)
    (folder / "bench.json").write_text(json.dumps(said))
    report.write_report(folder)
    page = Cells()
    page.feed((folder / "report.html").read_text())
    assert [*BLUR, "12.3 %"] in page.rows
    read = ["blur", "98.7 %", "0.25 (0.12\u20130.38)", "61.5"]
    by = ["centerface, dlib"] * 2 if earlier else ["dlib", "dlib, alike hidden"]
    assert [*read, "81.2 (75.0\u201387.5)", "12.3 (6.0\u201319.0)", by[1]] in page.rows
    unknown = ["not measured"] * 2
    assert ["original", "0.0 %", *unknown, "100.0", "100.0", by[0]] in page.rows
    assert ["same", "98.7 %", *unknown, *unknown, "\u2014"] in page.rows
    says = (
        "Recognised: public networks (centerface, dlib) know where 90 faces were, and hold the "
        "original photographs of 92: how often the most similar is the person's own, 1.1 % by "
        f"chance. {NOT_ALIKE if earlier else ALIKE} Others may recognise more, and of generated "
        "people they say little."
    )
    for text in (folder / "report.html", folder / "table.md"):
        written = text.read_text().replace("&#x27;", "'")
        assert says in written
        assert report.OF_FACES.strip() in written
        assert (report.OF_ALIKE.strip() in written) is not earlier
    listed = json.loads((folder / "table.json").read_text())
    found = {line["arm"]: (line["faces_found"], line["recognised"]) for line in listed}
    assert found == {"original": (100, 100), "blur": (81.25, 12.34), "same": (None, None)}
    assert {line["recognised_by"] for line in listed} == {*by, None}
    assert report.plain_table(said).splitlines()[:4] == [
        "arm       hidden      box AP  keypoint AP  control box AP     L  recognised",
        "original   0.0 %  42.0 ± 2.0   21.0 ± 1.0      51.0 ± 1.0     \u2014     100.0 %",
        "blur      98.7 %  12.7 ± 3.1    2.2 ± 1.0      51.0 ± 1.0  0.25      12.3 %",
        "same      98.7 %  42.0 ± 1.3   21.0 ± 0.6      51.0 ± 1.0     \u2014           \u2014",
    ]


@pytest.mark.parametrize(
    ("elapsed", "workers", "says"),
    [(3725.0, 2, "62 minutes on 2 workers"), (59.0, 1, "1 minutes on 1 worker"), (None, None, "")],
)
def test_how_long_it_took(folder, elapsed, workers, says):
    assert report.by_the_clock(result()) == ""  # of an earlier version
    said = result() | {"elapsed": elapsed, "workers": workers}
    assert report.by_the_clock(said) == says
    (folder / "bench.json").write_text(json.dumps(said))
    report.write_report(folder)
    shown = f"<dt>by the clock</dt><dd>{says}</dd>"
    assert (shown in (folder / "report.html").read_text()) is bool(says)


def test_a_terminal_of_a_hundred_columns_is_enough():
    """Of the packaged grid's names and three tasks, with L below zero."""
    said = with_faces()
    said["tasks"] = ["detection", "segmentation", "keypoints"]
    said["arms"][1] |= {"name": "face-maskout", "privacy": {**READ, "L": -0.25}}
    said["figures"]["face-maskout"] = said["figures"]["blur"]
    said["figures"]["face-maskout"]["segmentation"] = said["figures"]["blur"]["detection"]
    assert max(map(len, report.plain_table(said).splitlines())) <= 100


@pytest.mark.parametrize("earlier", [True, False])
def test_a_bench_that_says_nothing_of_faces_shows_none(folder, earlier):
    """One of an earlier version; or one that says why."""
    said = result()
    why = "Faces: not measured, since <dlib> is not installed."
    if not earlier:
        said["faces_missing"] = why
        for arm in said["arms"]:
            arm["faces"] = None
    (folder / "bench.json").write_text(json.dumps(said))
    report.write_report(folder)
    page = Cells()
    page.feed((folder / "report.html").read_text())
    assert BLUR in page.rows
    text = (folder / "table.md").read_text()
    assert "ecognised" not in text
    assert report.OF_FACES not in text
    assert (why in report.in_words(said)) is (escape(why) in (folder / "report.html").read_text())
    assert (why in report.in_words(said)) is not earlier


def test_few_seeds_are_said_to_be_few():
    said = result()
    assert not any("seed" in sentence for sentence in report.in_words(said))
    said["seeds"] = [0]
    assert ("1 seed: an order, and no measure of noise; take 3 or more for figures."
            in report.in_words(said))  # fmt: skip


def test_the_command(folder, tmp_path, capsys):
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("report")(cli._guarded(cli.load("impact report"), False))

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(args=[str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    code, out, err = run(folder, "--out", tmp_path / "there")
    assert (code, err) == (0, "")
    assert out.splitlines()[:5] == [
        "arm       hidden      box AP  keypoint AP  control box AP     L",
        "original   0.0 %  42.0 ± 2.0   21.0 ± 1.0      51.0 ± 1.0     \u2014",
        "blur      98.7 %  12.7 ± 3.1    2.2 ± 1.0      51.0 ± 1.0  0.25",
        "same      98.7 %  42.0 ± 1.3   21.0 ± 0.6      51.0 ± 1.0     \u2014",
        "broken         \u2014           \u2014            \u2014               \u2014     \u2014",
    ]
    assert "The known order did NOT come out: 1 of 2 lines." in out
    assert "NOT HELD: broken has at least 1 AP of detection: it was not measured." in out
    names = {path.name for path in (tmp_path / "there").iterdir()}
    assert names == {"report.html", "table.md", "table.csv", "table.json"}
    code, out, err = run(folder, "--json")
    assert (code, json.loads(out)) == (0, json.loads((folder / "table.json").read_text()))
    code, _, err = run(tmp_path / "nothing")
    assert (code, err) == (
        2, f"Error: There is no {tmp_path}/nothing/bench.json; name the folder of a `velatura "
        "impact bench` that has ended.\n",
    )  # fmt: skip


def test_what_is_no_bench_is_refused(folder):
    (folder / "bench.json").write_text('{"schema": "velatura-eval/1"}')
    with pytest.raises(BadInput, match="is not of `velatura impact bench`"):
        report.read(folder)
