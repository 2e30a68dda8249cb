"""Write docs/frontier.md: what was promised in experiments/frontier.toml, and what came out.

python experiments/make_frontier.py                 # the page, from experiments/records
python experiments/make_frontier.py runs/frontier   # first take a sweep's records from there

``frontier.toml`` was committed before its seeds were run. Each of its lines is judged by a rule of
this file and stands on the page with its verdict, whatever that is. No number is typed by hand.
"""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from attack_frontier import ATTACKS, knows
from make_comparison import (
    RECORDS,
    ROOT,
    World,
    number,
    section,
    take,
    with_interval,
    worlds,
)
from make_ladder import attributes, rungs

from velatura.frontier import hypervolume
from velatura.metrics import mean_interval

TUNING = "frontier-tuning"
ATTACKED = "frontier-attacks"  # records of attack_frontier.py, CELL-ROW.json
PROMISED = ROOT / "experiments" / "frontier.toml"
PAGE = ROOT / "docs" / "frontier.md"

HEAD = """# The frontier: a game on coarse flow

Written by `python experiments/make_frontier.py` from `experiments/frontier.toml` and
`experiments/records`; no number is typed by hand. To measure again:

```
velatura sweep experiments/grids/frontier-tuning.toml
velatura sweep experiments/grids/frontier.toml
python experiments/attack_frontier.py runs/frontier/w2-10 --row game --row flow
python experiments/make_frontier.py runs/frontier-tuning runs/frontier
```

Published methods repaint a picture until an opponent no longer knows it, and a new opponent does.
Here almost nothing of the picture is let out in the first place: `coarse_flow` tells how each cell
of it moves, in a few levels, and has no other way through. What a motion still gives away, such as
who sways how, a small network on top takes away in a game against attackers of several kinds, which
is the `constrained` method as it stands. Neither is more than a page:
[`models/coarse_flow.py`](../velatura/models/coarse_flow.py) and
[`methods/constrained.py`](../velatura/methods/constrained.py). `flow` is the first part alone, a
fixed filter without labels and without training.

U and L are shares of raw video, L by the strongest attacker of the [ladder](ladder.md); a mean
over seeds with Student's 95 % interval."""

TAIL = """## Threats to validity

- Generated people move before a room that slides; real cameras shake, and real actions are told
  apart by things and places, of which a flow says nothing. What holds here may not there.
- An attacker who has more clips, more time or another idea may read more. No attacker in this suite
  exceeded what stands above; that is no bound.
- L is of single clips. What is faint in each adds up over many clips of one person, as a camera has
  them that stands for days: the attacks `person` and `watched` say how fast.
- Two numbers a cell and frame, of a few levels, are still many bits: the game hides what its
  adversaries were told to look for, and a way of moving is a person's own.
- The adversaries of the game and some attackers are of the same kinds. The ladder has three that no
  training used.
- The target learns for eight epochs on every row. Two, as in the [comparison](comparison.md), do
  not teach it to read pictures as strange as these.
"""


class Verdict(NamedTuple):
    """What became of one line.

    Attributes:
        held: None where a figure that it needs was not measured.
        found: the figures that decide, in words.
    """

    held: bool | None
    found: str


class Missing(Exception):
    """A figure that a line needs is not recorded."""


Line = Mapping[str, Any]


def of_row(world: World, name: str) -> dict[str, Any]:
    """A row over seeds."""
    found = next((row for row in world.rows if row["name"] == name), None)
    if found is None or None in (found["U"], found["L"]):
        raise Missing(f"{name} in {world.name}")
    return found


def per_seed(world: World, name: str) -> dict[int, dict[str, Any]]:
    """A row's figures at each seed that has them."""
    return {
        int(summary["seed"]): row
        for summary in world.summaries
        for row in summary["rows"]
        if row["name"] == name
    }


def floor_of(summary: Mapping[str, Any]) -> float:
    """What the action alone tells, on the scale of L."""
    value = (summary.get("floor") or {}).get("L")
    if value is None:
        raise Missing("the action floor")
    return float(value)


def told(row: dict[str, Any], world: World) -> str:
    return f"{world.name}: U {with_interval(row, 'U')}, L {with_interval(row, 'L')}"


# The rules. Each takes a line and its worlds, and gives a verdict -------------------------------


def point(line: Line, found: Sequence[World]) -> Verdict:
    """One setting keeps so much and leaks no more than so much, in the means, in every world."""
    rows = [of_row(world, line["row"]) for world in found]
    held = all(row["U"] >= line["least_u"] and row["L"] <= line["most_l"] for row in rows)
    return Verdict(held, "; ".join(map(told, rows, found)))


def above(line: Line, found: Sequence[World]) -> Verdict:
    """One setting keeps more and leaks less than another row, in the means, in every world."""
    held, texts = True, []
    for world in found:
        row, other = of_row(world, line["row"]), of_row(world, line["other"])
        held &= row["U"] > other["U"] and row["L"] < other["L"]
        texts.append(f"{told(row, world)}, against U {number(other['U'])}, L {number(other['L'])}")
    return Verdict(held, "; ".join(texts))


def volumes(world: World, rows: Sequence[str]) -> list[float]:
    """The hypervolume of some rows' points at each seed that has them all."""
    seeds = [per_seed(world, name) for name in rows]
    shared = sorted(set.intersection(*({*one} for one in seeds)))
    if not shared:
        raise Missing(f"{', '.join(rows)} in {world.name}")
    return [
        hypervolume([one[seed]["U"] for one in seeds], [one[seed]["L"] for one in seeds])
        for seed in shared
    ]


def volume(line: Line, found: Sequence[World]) -> Verdict:
    """The hypervolume of a curve is so many times that of the best other method's, and the 95 %
    intervals over seeds do not touch."""
    held, texts = True, []
    for world in found:
        ours, inside = mean_interval(volumes(world, line["rows"]))
        others = {
            name: mean_interval(volumes(world, rows)) for name, rows in line["others"].items()
        }
        best = max(others, key=lambda name: others[name][0])
        theirs, around = others[best]
        apart = inside is not None and around is not None and inside[0] > around[1]
        held &= ours >= line["factor"] * theirs and apart
        texts.append(
            f"{world.name}: {spread(ours, inside)} against {spread(theirs, around)} of {best}, "
            f"{ours / theirs:.2f} times"
        )
    return Verdict(held, "; ".join(texts))


def spread(value: float, inside: tuple[float, float] | None) -> str:
    return with_interval({"value": value, "value_interval": inside}, "value")


def excess(line: Line, found: Sequence[World]) -> Verdict:
    """What leaks beyond the action's own word is no more than so much, and so much is kept."""
    held, texts = True, []
    for world in found:
        row = of_row(world, line["row"])
        beyond = mean(
            one["L"] - floor_of(summary)
            for summary in world.summaries
            for one in summary["rows"]
            if one["name"] == line["row"]
        )
        held &= row["U"] >= line["least_u"] and beyond <= line["most"]
        texts.append(f"{told(row, world)}, {number(beyond)} above the action floor")
    return Verdict(held, "; ".join(texts))


def gain(summary: Mapping[str, Any], row: str, attribute: str) -> float:
    """An attribute's AP above what the action alone gives, in points."""
    rows = {one["name"]: one for one in summary["rows"]}
    floors = (summary.get("floor") or {}).get("attributes", {})
    low = floors.get(attribute, {}).get("ap", rows[row]["attributes"][attribute]["prevalence"])
    return float(rows[row]["attributes"][attribute]["ap"] - low)


def held_out(line: Line, found: Sequence[World]) -> Verdict:
    """Attributes that no training was told lose at least so large a part of what the named ones
    lose; of what raw video gives above the floor."""
    held, texts = True, []
    for world in found:
        of_row(world, line["row"])
        lost: dict[bool, list[float]] = {True: [], False: []}
        for summary in world.summaries:
            rows = {one["name"]: one for one in summary["rows"]}
            for name, one in rows[line["row"]]["attributes"].items():
                left = gain(summary, line["row"], name) / gain(summary, "raw", name)
                lost[bool(one.get("held_out"))].append(1 - left)
        if not lost[True]:
            raise Missing(f"an attribute held out in {world.name}")
        secret, named = mean(lost[True]), mean(lost[False])
        held &= secret >= line["share"] * named
        texts.append(f"{world.name}: {secret:.0%} of it lost held out, {named:.0%} named")
    return Verdict(held, "; ".join(texts))


def share_of(line: Line, found: Sequence[World]) -> Verdict:
    """What leaks beyond the floor is at most so large a part of another row's."""
    held, texts = True, []
    for world in found:
        floors = mean(floor_of(summary) for summary in world.summaries)
        row, other = of_row(world, line["row"]), of_row(world, line["other"])
        mine, theirs = row["L"] - floors, other["L"] - floors
        held &= mine <= line["share"] * theirs
        texts.append(f"{told(row, world)}; {number(mine)} above the floor, {line['other']} "
                     f"{number(theirs)}")  # fmt: skip
    return Verdict(held, "; ".join(texts))


def below(line: Line, found: Sequence[World]) -> Verdict:
    """A row leaks less than another by so much, and is not told to keep less: the 95 % interval
    of the difference in U over seeds reaches 0."""
    held, texts = True, []
    for world in found:
        row, other = of_row(world, line["row"]), of_row(world, line["other"])
        ours, theirs = (per_seed(world, line[key]) for key in ("row", "other"))
        differences = [ours[seed]["U"] - theirs[seed]["U"] for seed in sorted({*ours} & {*theirs})]
        value, inside = mean_interval(differences)
        equal = (inside or (value, value))[1] >= 0
        held &= equal and row["L"] <= other["L"] - line["by"]
        texts.append(
            f"{told(row, world)}, against U {number(other['U'])}, L {number(other['L'])}; "
            f"U differs by {spread(value, inside)}"
        )
    return Verdict(held, "; ".join(texts))


def nobody(line: Line, found: Sequence[World]) -> Verdict:
    """Who was undone is found again, first of all people, at most so many times as by chance."""
    held, texts = True, []
    for world in found:
        of_row(world, line["row"])
        ranks = []
        for row in per_seed(world, line["row"]).values():
            gallery = row.get("identity", {}).get(line["gallery"])
            if gallery is None:
                raise Missing(f"identity of {line['row']} in {world.name}")
            ranks.append((gallery["rank1"], gallery["chance"]))
        rank, chance = (mean(values) for values in zip(*ranks, strict=True))
        held &= rank <= line["times"] * chance
        raw = [row.get("identity", {}) for row in per_seed(world, "raw").values()]
        known = mean(one[line["raw_gallery"]]["rank1"] for one in raw)
        texts.append(
            f"{world.name}: Rank-1 {rank:.1f} %, chance {chance:.1f} %, on raw video {known:.1f} %"
        )
    return Verdict(held, "; ".join(texts))


RULES: dict[str, Callable[[Line, Sequence[World]], Verdict]] = {
    "point": point, "above": above, "volume": volume, "excess": excess, "held_out": held_out,
    "share_of": share_of, "below": below, "nobody": nobody,
}  # fmt: skip


def judge(line: Line, records: Path) -> Verdict:
    """Judge a line by its rule, at the seeds that were promised and no others; not measured where
    one of them is not recorded."""
    found = {
        world.name: world._replace(
            summaries=[s for s in world.summaries if int(s["seed"]) in line["seeds"]]
        )
        for world in worlds(records, line["sweep"])
    }
    try:
        for name in line["worlds"]:
            there = {int(s["seed"]) for s in found[name].summaries} if name in found else set()
            if lacks := sorted({*line["seeds"]} - there):
                raise Missing(f"{name} at seed {', '.join(map(str, lacks))}")
        return RULES[line["rule"]](line, [found[name] for name in line["worlds"]])
    except Missing as missing:
        return Verdict(None, f"lacks {missing}")


# The page ---------------------------------------------------------------------------------------


def promised() -> dict[str, Any]:
    """The file of what was promised."""
    return tomllib.loads(PROMISED.read_text())


def verdicts(values: Mapping[str, Any], records: Path) -> list[str]:
    """The table of all lines, Markdown."""
    words = {True: "**pass**", False: "**fail**", None: "not measured"}
    lines = ["| | promised | | found |", "|---|---|---|---|"]
    for line in values["lines"]:
        verdict = judge({**values["all"], **line}, records)
        lines.append(
            f"| {line['aim']} | {line['text']} | {words[verdict.held]} | {verdict.found} |"
        )
    return lines


def costs(found: Sequence[World]) -> list[str]:
    """Seconds a step of learned rows, Markdown."""
    lines = ["| row | world | steps | seconds a step |", "|---|---|---:|---:|"]
    for world in found:
        made = {
            row["name"]: row["method"].get("steps")
            for summary in world.summaries
            for row in summary["config"]["rows"]
        }
        for row in world.rows:
            steps, took = made.get(row["name"]), row["train_seconds"]
            if row["learned"] and steps and took:
                lines.append(f"| {row['name']} | {world.name} | {steps} | {took / steps:.2f} |")
    return lines if len(lines) > 2 else []


# Attacks ----------------------------------------------------------------------------------------

ATTACKS_HEAD = """## Attacks by somebody who did not build it

`experiments/attack_frontier.py` tries what no study of this page has, on rows as they were trained.
L is against the same raw row as the ladder's, its interval over test people; the attribute is the
one that the attacker knows best. An attacker with many clips of one person is scored as the others
are, clip by clip."""


def take_attacks(folder: Path, records: Path = RECORDS) -> list[str]:
    """Copy what was attacked in a sweep's cells; returns the names."""
    taken = []
    for path in sorted(folder.glob("*/rows/*/attacks.json")):
        to = records / f"{folder.resolve().name}-attacks"
        to.mkdir(parents=True, exist_ok=True)
        taken.append(f"{path.parents[2].name}-{path.parent.name}")
        shutil.copyfile(path, to / f"{taken[-1]}.json")
    return taken


def attacked(records: Path) -> list[dict[str, Any]]:
    """All records of attacks, by cell and row."""
    return [json.loads(path.read_text()) for path in sorted((records / ATTACKED).glob("*.json"))]


def attacks(records: Path) -> list[str]:
    """A table for each cell and row that was attacked, every attack in it, Markdown."""
    parts = []
    for record in attacked(records) or [{"attacks": {}}]:
        lines = ["| attack | knows | L | strongest on |", "|---|---|---:|---|"]
        for name in dict.fromkeys([*ATTACKS, *record["attacks"]]):
            entry, what = record["attacks"].get(name), ""
            said = "not measured"
            if entry is not None:
                said, what = with_interval(entry, "L"), entry["strongest"]
                what += f", {entry['attributes'][what]['auroc']:.0f} % AUROC"
            for key, word in (("failed", "failed"), ("not_here", "does not apply")):
                if why := record.get(key, {}).get(name):
                    said, what = word, why
            text = entry["knows"] if entry else knows(name)
            lines.append(f"| {name} | {text} | {said} | {what} |")
        if "headline" in record:
            floor = record["floor"]
            alone = "" if floor is None else f", the action alone {number(floor)}"
            parts.append(
                f"{record['cell']}, row `{record['row']}`: the ladder's strongest, "
                f"{record['headline']['strongest']}, reads L "
                f"{with_interval(record['headline'], 'L')}{alone}."
            )
        parts.append("\n".join(lines))
    return parts


def broken(records: Path) -> str:
    """One sentence that names the attacks which read more than the whole ladder, their intervals
    apart; nothing where none does."""
    found = []
    for record in attacked(records):
        ladder_ = record["headline"]
        if None in (ladder_["L"], *ladder_["L_interval"]):
            continue
        over = {
            name: one
            for name, one in record["attacks"].items()
            if one["L_interval"][0] is not None and one["L_interval"][0] > ladder_["L_interval"][1]
        }
        if over:
            told = ", ".join(
                f"{name} with L {with_interval(over[name], 'L')}"
                for name in sorted(over, key=lambda name: -float(over[name]["L"]))
            )
            found.append(
                f"`{record['row']}` in {record['cell']} by {told}, against "
                f"{with_interval(ladder_, 'L')} of the ladder"
            )
    return f"**Broken: {'; '.join(found)}.** See the attacks below." if found else ""


def page(records: Path = RECORDS) -> str:
    """The whole page, Markdown."""
    values = promised()
    sweeps = dict.fromkeys({**values["all"], **line}["sweep"] for line in values["lines"])
    found = [world for sweep in (*sweeps, TUNING) for world in worlds(records, sweep)]
    title, text = HEAD.split("\n\n", 1)
    parts = [title, *filter(None, [broken(records)]), text]
    parts += ["## What was promised", "\n".join(verdicts(values, records))]
    for world in found:
        parts += ["\n".join(section(world)).strip()]
        parts += ["\n".join(table(world)) for table in (rungs, attributes)]
    if rows := costs(found):
        parts += ["## Cost", "\n".join(rows)]
    return "\n\n".join([*parts, ATTACKS_HEAD, *attacks(records), TAIL])


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        taken = [*take(Path(folder)), *take_attacks(Path(folder))]
        print(f"{folder}: took {', '.join(taken) or 'nothing'}")
    PAGE.write_text(page())
