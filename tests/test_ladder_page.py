"""The page of the ladder says what the records say, and nothing that they do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def script(experiment: Callable[[str], ModuleType]) -> ModuleType:
    return experiment("make_ladder")


def test_the_page_is_the_records(script: ModuleType):
    """Byte for byte; mend with the command that the page names."""
    assert script.PAGE.read_text() == script.page()


def row(name: str, seed: int, rungs: dict[str, float], **more: Any) -> dict[str, Any]:
    """The strongest of A2 to A5 is the headline."""
    best = max((rung for rung in rungs if rung != "A1p"), key=lambda rung: rungs[rung])
    L = rungs[best]
    return {
        "name": name, "method": "identity", "U": 0.9, "U_interval": [0.8, 1.0], "L": L,
        "L_interval": [L - 0.1, L + 0.1], "cmap": 50 + 40 * L, "strongest": "A5 knn/0",
        "headline": {"rung": best, "excess": 40 * L - 2, "excess_interval": [40 * L - 3, 40 * L]},
        "rungs": [{"rung": rung, "L": value} for rung, value in rungs.items()],
        "attributes": {
            "hat": {"auroc": 80.0 + seed, "held_out": False},
            "coat": {"auroc": 60.0, "held_out": True},
        },
        "targets": {"clip_cnn": {"top1": [70.0, 80.0]}}, "plugin": {"clip_cnn": 20.0}, **more,
    }  # fmt: skip


def gallery(rank1: float) -> dict[str, Any]:
    return {
        "rank1": rank1, "rank1_interval": [rank1 - 1, rank1 + 1], "chance": 0.4,
        "tar": {"0.01": 5.0, "0.001": None},
    }  # fmt: skip


def summary(seed: int) -> dict[str, Any]:
    shift = 0.1 * seed
    rows = [
        row("raw", seed, {"A1p": 0.0, "A2": 1.0, "A3": 0.9, "A4": 1.0},
            identity={"anon_to_anon": gallery(10.0 + 4 * seed)}),
        row("constant", seed, {"A2": 0.0, "A4": 0.0}, strongest="A2 clip_cnn/99"),
        row("blur", seed, {"A1p": 0.1, "A2": 0.2 + shift, "A3": 0.7, "A4": 0.75, "A5": 0.8},
            inversion={"psnr": 20.0 + seed, "ssim": 0.5}),
    ]  # fmt: skip
    return {
        "title": "Made up: w", "seed": seed, "dataset": "people", "rows": rows, "seconds": {},
        "config": {
            "rows": [],
            "evaluation": {
                "targets": ["clip_cnn"], "attackers": ["knn"], "seeds": [0], "epochs": 2,
            },
        },
        "data": {"train": 90, "val": 20, "test": 40, "test_people": 13},
        "chance": {"top1": 10.0, "cmap": 50.0},
        "floor": {
            "cmap": 52.0, "L": 0.05,
            "attributes": {"hat": {"auroc": 55.0}, "coat": {"auroc": 50.0}},
        },
        "versions": {"commit": "abc", "torch": "2.0"},
    }  # fmt: skip


def put(cell: Path, told: dict[str, Any]) -> None:
    """A record where a sweep's cell has it."""
    cell.mkdir(parents=True)
    (cell / "summary.json").write_text(json.dumps(told))


def page(script: ModuleType, folder: Path, seeds: int) -> list[str]:
    for seed in range(seeds):
        put(folder / script.LADDER / f"w-{seed}", summary(seed))
    found: list[str] = script.page(folder).splitlines()
    return found


def cells(lines: list[str], heading: str, row: str) -> dict[str, str]:
    """A row of the table that begins with a heading, by its columns."""
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    line = next(line for line in lines[start:] if line.startswith(f"| {row} |"))
    split = [[cell.strip() for cell in text.strip("|").split("|")] for text in (lines[start], line)]
    return dict(zip(*split, strict=True))


def test_rungs_are_means_over_seeds(script: ModuleType, tmp_path: Path):
    lines = page(script, tmp_path, 2)
    blur = cells(lines, "Method", "blur")
    assert [blur[name] for name in script.RUNGS] == ["0.10", "0.25", "0.70", "0.75", "0.80"]
    # .8 at both seeds: the interval has no width, and is not shown. Above A1: 40 * .8 - 2.
    assert (blur["Headline L"], blur["by"], blur["n"]) == ("0.80", "A5 knn", "2")
    assert blur["cMAP above A1"] == "30.0 (30.0 to 30.0)"
    assert cells(lines, "Method", "raw")["A5"] == "—"
    assert cells(lines, "Method", "A1, the action alone")["Headline L"] == "0.05"


def test_one_seed_has_the_interval_over_people(script: ModuleType, tmp_path: Path):
    blur = cells(page(script, tmp_path, 1), "Method", "blur")
    assert blur["Headline L"] == "0.80 (0.70–0.90)"
    assert blur["cMAP above A1"] == "30.0 (29.0 to 32.0)"
    assert blur["Utility U"] == "0.90 (0.80–1.00)"


def test_what_no_training_was_told_is_marked(script: ModuleType, tmp_path: Path):
    blur = cells(page(script, tmp_path, 2), "AUROC, %", "blur")
    assert blur == {"AUROC, %": "blur", "hat": "80", "coat (held out)": "60"}  # 80.5, to even


def test_people_found_again_stand_beside_chance(script: ModuleType, tmp_path: Path):
    lines = page(script, tmp_path, 2)
    raw, blur, chance = (cells(lines, "Rank-1, %", name) for name in ("raw", "blur", "chance"))
    # 10 and 14: Student's t of one degree is 12.706, times the deviation of the mean, 2.
    assert raw["anon to anon"] == "12.0 (−13.4 to 37.4)"
    assert (raw["anon to anon, TAR at FAR 1 %"], raw["raw to anon"]) == ("5.0", "—")
    assert (blur["decoder PSNR, dB"], blur["SSIM"], blur["anon to anon"]) == ("20.5", "0.50", "—")
    assert chance["anon to anon"] == "0.4"
    assert any("12.0 % are found again first, by chance 0.4 %" in line for line in lines)


def test_targets_are_means_over_their_seeds(script: ModuleType, tmp_path: Path):
    blur = cells(page(script, tmp_path, 1), "Top-1, %", "blur")
    assert blur == {"Top-1, %": "blur", "fresh clip_cnn": "75.0", "raw-trained clip_cnn": "20.0"}


def test_sentences_name_who_misses_what(script: ModuleType, tmp_path: Path):
    text = "\n".join(page(script, tmp_path, 2))
    assert "(A2) misses 0.1 of L or more on blur (0.25 of 0.80)." in text
    assert "(A3) misses 0.1 of L or more on blur (0.70 of 0.80)." in text
    assert "(A5) reads more than all that adapt (A4) on blur (0.80 against 0.75)." in text
    assert "The strongest stands on: A5 2 (rows and seeds that leak, but raw)." in text
    assert "Kinds that were the strongest: knn 2." in text


def test_what_was_not_asked_has_no_table(script: ModuleType, tmp_path: Path):
    plain = summary(0)
    for one in plain["rows"]:
        one.pop("identity", None), one.pop("inversion", None)
    put(tmp_path / script.LADDER / "w-0", plain)
    assert "Rank-1" not in script.page(tmp_path)
    assert "Nothing has been measured yet." in script.page(tmp_path / "nowhere")


def test_more_effort_that_reads_more_is_told(script: ModuleType, tmp_path: Path):
    """A step counts from .02 on: blur's of clips does; its epochs' and constant's do not."""

    def curve(quarter: float, usual: float, clips: float, epochs: float) -> list[dict[str, Any]]:
        return [
            {"data": 0.25, "epochs": 2, "L": quarter}, {"data": 1.0, "epochs": 2, "L": usual},
            {"data": 4.0, "epochs": 2, "L": clips}, {"data": 1.0, "epochs": 8, "L": epochs},
        ]  # fmt: skip

    for seed, more in enumerate((0.06, 0.04)):
        told = summary(seed)
        told["rows"][1]["budget"] = curve(0.0, 0.0, 0.01, 0.02)
        told["rows"][2]["budget"] = curve(0.5, 0.7 + 0.1 * seed, 0.7 + 0.1 * seed + more, 0.71)
        put(tmp_path / script.EFFORT / f"w-{seed}", told)
    lines = script.page(tmp_path).splitlines()
    assert "## w: effort" in lines
    blur = cells(lines, "L", "blur")
    assert list(blur)[1:] == [
        "0.25 x the clips, 2 epochs", "1 x the clips, 2 epochs", "1 x the clips, 8 epochs",
        "4 x the clips, 2 epochs",
    ]  # fmt: skip
    assert blur["0.25 x the clips, 2 epochs"] == "0.50"
    assert blur["1 x the clips, 2 epochs"].startswith("0.75 (")
    assert not any(line.startswith("| raw |") for line in lines)  # has no curve
    assert (
        "- More effort than the usual 2 epochs still reads more of blur (clips +0.05): there, the "
        "figures above are too low."
    ) in lines


def test_a_choice_of_rates_stands_beside_the_one(script: ModuleType, tmp_path: Path):
    """Of the same clips and as many epochs only; who has no curve there is not compared."""
    usual, several, elsewhere = summary(0), summary(0), summary(0)
    for one, clips in ((usual, "a"), (several, "a"), (elsewhere, "b")):
        one["data"] |= {"fingerprint": clips}
    epochs = usual["config"]["evaluation"]["epochs"]
    usual["rows"][1]["budget"] = [
        {"data": 1.0, "epochs": epochs, "L": 0.0}, {"data": 1.0, "epochs": 4 * epochs, "L": 0.9}
    ]  # fmt: skip
    usual["rows"][2]["budget"] = [{"data": 1.0, "epochs": epochs, "L": 0.77}]
    elsewhere["rows"][2]["budget"] = [{"data": 1.0, "epochs": epochs, "L": 0.1}]
    several["config"]["evaluation"]["rates"] = [0.3, 1.0]
    for name, one in (("w", usual), ("x", elsewhere), ("w_rates", several)):
        put(tmp_path / script.EFFORT / f"{name}-0", one)
    lines = script.page(tmp_path).splitlines()
    start = lines.index("## w_rates: a choice of learning rates")
    table = [line for line in lines[start:] if line.startswith("|")][:4]
    assert table == [
        "| L | the usual rate | the best of 0.3 x, 1 x of it, by validation |",
        "| --- | ---: | ---: |",
        "| constant | 0.00 | 0.00 |",
        "| blur | 0.77 | 0.80 |",
    ]
    assert "- A choice reads more of blur (+0.03)." in lines


def test_curves_of_shorter_examinations_do_not_judge_a_longer_one(
    script: ModuleType, tmp_path: Path
):
    for sweep, epochs in ((script.LADDER, 8), (script.EFFORT, 2)):
        one = summary(0)
        one["config"]["evaluation"]["epochs"] = epochs
        if sweep == script.EFFORT:
            one["rows"][2]["budget"] = [
                {"data": 1.0, "epochs": 2, "L": 0.2}, {"data": 1.0, "epochs": 8, "L": 0.8}
            ]  # fmt: skip
        put(tmp_path / sweep / "w-0", one)
    text = script.page(tmp_path)
    assert "- These curves begin at 2 epochs. The ladder above is of 8, where" in text
    assert "too low" not in text


def test_a_target_that_reads_little_of_raw_video_is_named(script: ModuleType, tmp_path: Path):
    """Less than half of what another reads."""
    for seed in range(2):
        one = summary(seed)
        for row in one["rows"]:
            row["targets"]["frame_cnn"] = {"top1": [30.0 + 10 * seed], "U": [1.0]}
            row["targets"]["vit"] = {"top1": [40.0], "U": [1.0]}
        put(tmp_path / script.LADDER / f"w-{seed}", one)
    text = script.page(tmp_path)
    assert "- frame_cnn reads 35.0 % of raw video's actions, clip_cnn 75.0 %: what" in text
    assert "- vit reads" not in text


def test_seeds_that_were_examined_differently_have_no_mean(script: ModuleType, tmp_path: Path):
    for seed, epochs in ((0, 2), (1, 8)):
        one = summary(seed)
        one["config"]["evaluation"]["epochs"] = epochs
        put(tmp_path / script.LADDER / f"w-{seed}", one)
    with pytest.raises(SystemExit, match="cells of w were not examined alike"):
        script.page(tmp_path)
