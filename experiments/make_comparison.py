"""Write docs/comparison.md from the records of the sweeps.

python experiments/make_comparison.py                   # the page, from experiments/records
python experiments/make_comparison.py runs/comparison   # first take a sweep's records from there

The records of a cell are its ``summary.json`` and ``records.jsonl``, in
``experiments/records/SWEEP/WORLD-SEED``; ``sweep.json`` beside them tells of cells that have none.
Every number and every sentence on the page is computed.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from velatura import plugins
from velatura.report.findings import ENOUGH
from velatura.sweep import over_seeds

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "experiments" / "records"
PAGE = ROOT / "docs" / "comparison.md"
SWEEPS = ("comparison", "comparison-real")
LADDER, EFFORT = "ladder", "effort"  # sweeps whose attackers know more, or work longer
CLEARLY = 0.1  # of L
COMPARED = ("w0", "w2", "hmdb51")  # the worlds that have every method; others are of the tables

HEAD = """# Comparison: the methods side by side

Written by `python experiments/make_comparison.py` from `experiments/records`; no number is typed by
hand. To measure again:

```
{commands}
```

U is the action accuracy that is left, L what the strongest fresh attacker still reads of the
private attributes, both as a share of raw video: [what they say](reading-the-report.md), and [what
they do not](privacy-limits.md). Each stands with its mean over seeds and, in brackets, Student's
95 % interval over seeds, which are of the world, the anonymizer and the networks at once; where
there is one seed alone, the interval is the one over people. n counts anonymizers: one for each
seed, or one where the same is examined at several seeds. An attacker that **does not adapt**
was trained on raw video and sees the release for the first time; an anonymizer that fools only that
one hides nothing. **Beaten by**: rows that keep more and leak less, in the means; where there is
none, the row is on the front.

A **step** is one batch, with both players' turns; `penalty_released` takes them by turns, as its
script does, and so each has half of them. Steps that come before the game stand before a plus.
Seconds are by the clock, on two cores that did other work besides; of a training that was stopped
and went on, they are those of its last part.
Settings of learned rows were looked for on generated people of a seed that is not reported, four
for each method and more for `constrained`, which was made here (`experiments/grids/tuning.toml`);
real video borrows them. The bounds of `penalty` were not looked for: all are shown.
"""


class World(NamedTuple):
    """The records of one world of a sweep.

    Attributes:
        summaries: one for each seed that was measured.
        cells: of all seeds, as ``sweep.json`` has them; none where it is not there.
    """

    name: str
    summaries: list[dict[str, Any]]
    cells: list[dict[str, Any]]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Over seeds, the intervals over people where there is one seed."""
        rows = over_seeds(self.summaries)
        for row in rows:
            row["learned"] = hasattr(plugins.load("methods", row["method"]), "train")
            row["single"] = [
                r for s in self.summaries for r in s["rows"] if r["name"] == row["name"]
            ]
            for key in ("U", "L"):
                if len(row["single"]) == 1 and row[key] is not None:
                    row[f"{key}_interval"] = row["single"][0][f"{key}_interval"]
        return rows


def worlds(records: Path, sweep: str) -> list[World]:
    """What is recorded of a sweep, world after world, seeds in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((records / sweep).glob("*/summary.json")):
        name = path.parent.name.rpartition("-")[0]
        found.setdefault(name, []).append(json.loads(path.read_text()))
    for name, summaries in found.items():  # a mean over seeds is of one examination
        ways = [s.get("config", {}).get("evaluation") for s in summaries]
        if any(way != ways[0] for way in ways):
            raise SystemExit(
                f"{sweep}: the cells of {name} were not examined alike; measure all with one grid."
            )
    file = records / sweep / "sweep.json"
    cells = json.loads(file.read_text())["cells"] if file.exists() else []
    return [
        World(
            name,
            sorted(summaries, key=lambda summary: int(summary["seed"])),
            [cell for cell in cells if cell["world"] == name],
        )
        for name, summaries in found.items()
    ]


def take(folder: Path, records: Path = RECORDS) -> list[str]:
    """Copy the records of a sweep's finished cells; returns their names."""
    taken = []
    for path in sorted(folder.glob("*/summary.json")):
        to = records / folder.resolve().name / path.parent.name
        to.mkdir(parents=True, exist_ok=True)
        for name in ("summary.json", "records.jsonl"):
            shutil.copyfile(path.parent / name, to / name)
        taken.append(path.parent.name)
    if taken and (folder / "sweep.json").exists():
        shutil.copyfile(folder / "sweep.json", records / folder.resolve().name / "sweep.json")
    return taken


# The table -----------------------------------------------------------------------------------


def number(value: float) -> str:
    """Two digits behind the point, a true minus, and no minus before a rounded zero."""
    text = f"{value:.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def with_interval(row: dict[str, Any], key: str) -> str:
    """A mean and its interval."""
    if row[key] is None:
        return "—"
    inside = row[f"{key}_interval"]
    if inside is None or (inside[0] == inside[1] == row[key]):
        return number(row[key])
    low, high = map(number, inside)
    return f"{number(row[key])} ({low}{' to ' if '−' in low + high else '–'}{high})"


def strongest(row: dict[str, Any]) -> str:
    """The kind of attacker that was the strongest most often."""
    kinds = Counter(str(one["strongest"]).partition("/")[0] for one in row["single"])
    kind, count = kinds.most_common(1)[0]
    return kind if count == len(row["single"]) else f"{kind}, {count} of {len(row['single'])}"


def beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether one keeps more and leaks less than another; never where a figure lacks."""
    if None in (one["U"], one["L"], other["U"], other["L"]):
        return False
    return bool(one["U"] > other["U"] and one["L"] < other["L"])


def beaten_by(row: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """Names of the rows that beat this one, the one that leaks least first."""
    found = [other for other in rows if beats(other, row)]
    return [other["name"] for other in sorted(found, key=lambda other: float(other["L"]))]


BEFORE = ("identity_steps", "sparsify_steps")  # of a method, before the steps that are equal


def steps_of(row: dict[str, Any], world: World) -> str:
    """Steps of a learned row, where all seeds took as many; "100 + 200" where some came before."""
    steps = {
        (sum(one["method"].get(key, 0) for key in BEFORE), one["method"].get("steps"))
        for summary in world.summaries
        for one in summary["config"]["rows"]
        if one["name"] == row["name"]
    }
    if not row["learned"] or len(steps) != 1:
        return ""
    before, game = steps.pop()
    return f"{before} + {game}" if before else str(game)


def table(world: World) -> list[str]:
    """Every row of a world, Markdown."""
    headings = (
        "Method", "n", "Utility U", "Leakage L", "Strongest attacker", "L, not adapting",
        "Steps", "Training, s", "Beaten by",
    )  # fmt: skip
    aligned = ("---", "---:", "---:", "---:", "---", "---:", "---:", "---:", "---")
    seeds = str(len(world.summaries))
    lines = [headings, aligned, ("chance", seeds, "0.00", "0.00", "", "", "", "", "")]
    if floors := [v for s in world.summaries if (v := (s.get("floor") or {}).get("L")) is not None]:
        floor = number(sum(floors) / len(floors))
        lines.append(("action alone", seeds, "—", floor, "", "", "", "", ""))
    rows = world.rows
    for row in rows:
        by = beaten_by(row, rows)
        more = f" and {len(by) - 2} more" if len(by) > 2 else ""
        front = None not in (row["U"], row["L"])
        lines.append(
            (
                row["name"],
                str(row["n"]),
                with_interval(row, "U"),
                with_interval(row, "L"),
                strongest(row),
                "—" if row["static_L"] is None else number(row["static_L"]),
                steps_of(row, world),
                "" if row["train_seconds"] is None else f"{row['train_seconds']:.0f}",
                ", ".join(by[:2]) + more if by else "**front**" if front else "",
            )
        )
    return [f"| {' | '.join(line)} |" for line in lines]


# What it says --------------------------------------------------------------------------------


def named(row: dict[str, Any]) -> str:
    """A row with its means: "blur (U 0.77, L 0.85)"."""
    return f"{row['name']} (U {number(row['U'])}, L {number(row['L'])})"


def best(world: World) -> list[str]:
    """Who leaks least among those that keep the action."""
    able = [row for row in world.rows if None not in (row["U"], row["L"]) and row["U"] >= ENOUGH]
    lines = []
    for kind, learned in (("learned", True), ("fixed", False)):
        mine = [row for row in able if row["learned"] is learned and row["name"] != "raw"]
        if mine:
            least = min(mine, key=lambda row: float(row["L"]))
            lines.append(
                f"Of the {kind} rows with U of {ENOUGH} or more, {named(least)} leaks least."
            )
        else:
            lines.append(f"No {kind} row but raw video keeps U of {ENOUGH} or more.")
    return lines


def beaten_by_filters(world: World) -> list[str]:
    """Learned rows that a fixed filter beats on both axes, in the means and in most seeds."""
    rows = world.rows
    lines = []
    for row in (row for row in rows if row["learned"]):
        found = []
        for other in rows:
            if other["learned"] or other["name"] == "raw" or not beats(other, row):
                continue
            pairs = [{r["name"]: r for r in summary["rows"]} for summary in world.summaries]
            both = [pair for pair in pairs if {row["name"], other["name"]} <= set(pair)]
            won = sum(beats(pair[other["name"]], pair[row["name"]]) for pair in both)
            if 2 * won > len(both):
                found.append((float(other["L"]), other, won, len(both)))
        if not found:
            continue
        _, rival, won, of = min(found, key=lambda one: one[0])
        lines.append(
            f"{named(row)} keeps less and leaks more than a fixed filter, {named(rival)}; "
            f"so it is in {won} of {of} seed{'s' * (of > 1)}."
        )
    return lines


def reaching(world: World, key: str, test: Callable[[float, float], bool], what: str) -> list[str]:
    """Rows whose interval reaches a value; one sentence for all of them."""
    found = [
        f"{row['name']} ({key} {with_interval(row, key)})"
        for row in world.rows
        if row["name"] != "raw" and (inside := row[f"{key}_interval"]) and test(*inside)
    ]
    return [f"{what}: {'; '.join(found)}."] if found else []


def not_adapting(world: World, gap: float = 0.25) -> list[str]:
    """Rows that look private to an attacker who does not adapt."""
    found = [
        f"{row['name']} ({number(row['static_L'])} against {number(row['L'])})"
        for row in world.rows
        if None not in (row["static_L"], row["L"]) and row["static_L"] <= row["L"] - gap
    ]
    if not found:
        return []
    return [
        f"Judged by an attacker that does not adapt, these would look safer by {gap} or more: "
        f"{'; '.join(found)}."
    ]


def beside(
    world: World, other: World | None, figure: Callable[[dict[str, Any]], float | None]
) -> list[str]:
    """Rows of which a sweep with more to it reads more, at the seeds of both and of the same clips.

    Args:
        other: the same world in that sweep; None where it is not there.
        figure: L of one of its rows at one seed; None where it was not measured.
    """
    if other is None:
        return []
    here, there = (
        {summary["data"].get("fingerprint"): summary["rows"] for summary in one.summaries}
        for one in (world, other)
    )
    read: dict[str, list[tuple[float, float]]] = {}
    for data in here.keys() & there.keys():
        ours = {row["name"]: row["L"] for row in here[data]}
        for row in there[data]:
            if (more := figure(row)) is not None and ours.get(row["name"]) is not None:
                read.setdefault(row["name"], []).append((more, ours[row["name"]]))
    means = {
        name: [mean(values) for values in zip(*pairs, strict=True)] for name, pairs in read.items()
    }
    return [
        f"{name} ({number(more)} against {number(ours)})"
        for name, (more, ours) in means.items()
        if more >= ours + CLEARLY and name != "raw"
    ]


def rung(row: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """A rung of a row at one seed; None where it was not measured."""
    return next((one for one in row.get("rungs", ()) if one["rung"] == name), None)


def undone(row: dict[str, Any]) -> float | None:
    """L of who undoes the picture before he looks."""
    found = rung(row, "A5")
    return found["L"] if found else None


def with_effort(row: dict[str, Any]) -> float | None:
    """The most that anybody on an attack-budget curve reads with as many clips as there are."""
    found = [p["L"] for p in row.get("budget", ()) if p["data"] <= 1 and p["L"] is not None]
    return max(found, default=None)


def too_low(world: World, records: Path) -> list[str]:
    """What sweeps with more to them read of the same rows."""
    ladder, effort = (
        next((one for one in worlds(records, sweep) if one.name == world.name), None)
        for sweep in (LADDER, EFFORT)
    )
    lines = []
    if found := beside(world, effort, with_effort):
        lines.append(
            "These figures of L are too low. Of the same clips, "
            "[an attacker with more epochs](ladder-people.md) reads more of "
            f"{'; '.join(found)}, at the seeds of both."
        )
    if found := beside(world, ladder, undone):
        lines.append(
            "No attacker here undoes the picture before it looks. Where one does, in "
            f"[the ladder](ladder-people.md), it reads more of {'; '.join(found)}, at the seeds "
            "of both."
        )
    return lines


def told_by_action(world: World) -> list[str]:
    """Where most of the leakage is what anybody knows who knows the action."""
    floors = [(summary.get("floor") or {}).get("L") for summary in world.summaries]
    known = [floor for floor in floors if floor is not None]
    if not known or mean(known) < 0.5:
        return []
    value = mean(known)
    return [
        f"Who knows the action alone has an L of {number(value)} here. All that attackers find "
        f"beyond it in raw video is {number(1 - value)}: L says little of what a row hides."
    ]


def beyond(world: World) -> list[str]:
    """Bounds on the change of a clip that were not kept."""
    lines = []
    for row in world.rows:
        shares = [one["beyond_bound"] for one in row["single"] if one.get("beyond_bound")]
        if shares:
            lines.append(
                f"{row['name']} changes test clips by more than its bound in {len(shares)} of "
                f"{len(row['single'])} seeds, at most {max(shares):.0%} of them."
            )
    return lines


def examined_again(world: World) -> list[str]:
    """Rows of fewer anonymizers than examinations."""
    return [
        f"{row['name']}: {row['n']} anonymizer{'s' * (row['n'] > 1)}, examined at "
        f"{row['examinations']} seeds."
        for row in world.rows
        if row["n"] < row["examinations"]
    ]


def failures(world: World) -> list[str]:
    """Rows that broke, and seeds that have no record."""
    why = {
        (int(summary["seed"]), lost["row"]): f"{lost['job']}: {lost['error']}"
        for summary in world.summaries
        for lost in summary.get("failed", [])
    }
    measured = {int(summary["seed"]) for summary in world.summaries}
    lines = []
    for cell in world.cells:
        if cell["seed"] in measured:
            for row, error in cell["failed"].items():
                why.setdefault((cell["seed"], row), error)
        else:
            reasons = [cell.get("error"), *cell["failed"].values(), "it was not finished."]
            lines.append(f"Seed {cell['seed']} has no record: {next(filter(None, reasons))}")
    broken = [f"{row} failed at seed {seed}: {error}" for (seed, row), error in why.items()]
    return broken + lines


def does_not_work(world: World, records: Path) -> list[str]:
    """Plain sentences on what does not work."""
    return [
        *too_low(world, records),
        *told_by_action(world),
        *beaten_by_filters(world),
        *reaching(
            world, "L", lambda low, high: high >= 1, "Not told apart from raw video by its leakage"
        ),
        *reaching(
            world, "U", lambda low, high: low <= 0, "Not told apart from chance by its utility"
        ),
        *not_adapting(world),
        *beyond(world),
        *examined_again(world),
        *failures(world),
    ]


def measured_on(world: World) -> str:
    """Data, seeds, networks, commits and hours of a world."""
    first = world.summaries[0]
    data, examined = first["data"], first["config"]["evaluation"]
    seeds = ", ".join(str(summary["seed"]) for summary in world.summaries)
    # By stages, which a run that was stopped adds up; its total is that of its last part.
    hours = sum(
        took / 3600
        for summary in world.summaries
        for stage, took in summary["seconds"].items()
        if stage != "total"
    )
    commits = dict.fromkeys(summary["versions"]["commit"] for summary in world.summaries)
    return (
        f"{first['dataset']}: {data['train']} clips to train on, {data['val']} to select, "
        f"{data['test']} to test, from {data['test_people']} people or films of their own. Seeds "
        f"{seeds}. Fresh targets: {', '.join(examined['targets'])}; fresh attackers: "
        f"{', '.join(examined['attackers'])}, {len(examined['seeds'])} "
        f"seed{'s' * (len(examined['seeds']) > 1)} of each, "
        f"{examined['epochs']} epochs on each release. Measured at "
        f"{', '.join(commits) or 'no commit'} with torch {first['versions']['torch']} in "
        f"{hours:.1f} hours of its processes, by the clock."
    )


def section(world: World, records: Path) -> list[str]:
    """One world: what was measured, the table, and what it says."""
    wrong = does_not_work(world, records)
    return [
        f"## {world.name}: {world.summaries[0]['title'].partition(':')[0]}",
        "",
        measured_on(world),
        "",
        *table(world),
        "",
        "What came out:",
        "",
        *(f"- {line}" for line in best(world)),
        "",
        "What does not work:",
        "",
        *(f"- {line}" for line in wrong or ["Nothing that these rules look for."]),
        "",
    ]


def page(records: Path = RECORDS) -> str:
    """The whole page, Markdown."""
    commands = [
        line
        for sweep in SWEEPS
        for line in (
            f"velatura sweep experiments/grids/{sweep}.toml",
            f"python experiments/make_comparison.py runs/{sweep}",
        )
    ]
    found = [
        world for sweep in SWEEPS for world in worlds(records, sweep) if world.name in COMPARED
    ]
    lines = [line for world in found for line in section(world, records)]
    return HEAD.format(commands="\n".join(commands)) + "\n" + (
        "\n".join(lines) if lines else "Nothing has been measured yet.\n"
    )  # fmt: skip


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(f"{folder}: took {', '.join(take(Path(folder))) or 'nothing'}")
    PAGE.write_text(page())
