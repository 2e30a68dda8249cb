"""Write docs/ladder-people.md: who reads what of generated people, knowing what.

python experiments/make_ladder.py                # the page, from experiments/records
python experiments/make_ladder.py runs/ladder    # first take a sweep's records from there
python experiments/make_ladder.py runs/effort    # and those of the attack-budget curves

Every number and every sentence behind the head is computed.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from make_comparison import (
    CLEARLY,
    EFFORT,
    LADDER,
    RECORDS,
    ROOT,
    World,
    failures,
    measured_on,
    number,
    rung,
    strongest,
    take,
    with_interval,
    worlds,
)

from velatura.metrics import mean_interval
from velatura.report.effort import STEP, Verdict, points, verdict

PAGE = ROOT / "docs" / "ladder-people.md"
RUNGS = ("A1p", "A2", "A3", "A4", "A5")
GALLERIES = ("raw_to_anon", "anon_to_anon", "recovered_to_raw")
FAR = "0.01"

HEAD = """# The ladder, measured on generated people

Written by `python experiments/make_ladder.py` from `experiments/records`; no number is typed by
hand. To measure again:

```
velatura sweep experiments/grids/ladder.toml
python experiments/make_ladder.py runs/ladder
velatura sweep experiments/grids/effort.toml
python experiments/make_ladder.py runs/effort
```

[The ladder](ladder.md) says what each rung knows. Here a few rows stand on all of them: raw video,
fixed filters, two learned methods that are told no attribute (`spact`, `penalty_0.1`) and two that
are (`bdq`, `constrained`). Figures are means over seeds, which are of the world, the anonymizer
and the networks at once, with Student's 95 % interval; where there is one seed, the interval is the
one over people. The worlds: in **w0** nine attributes are tied to nothing; in **w1** one of them is
tied to the action, which alone tells a part of it; in **w2** all are shape and gait; **w4** is w0
with two attributes that no training was told. No attacker of the kinds `patch_mlp`, `pixel_mlp`,
`knn` and `motion_spectrum` took part in any training. Whether the attackers are spent, or would
read more with more effort, stands at the end, under **effort**."""

Row = Mapping[str, Any]


def over(values: Sequence[float], around: Sequence[float] | None, decimals: int = 2) -> str:
    """A mean with its interval: over seeds, or the one over people where there is one seed."""
    if not values:
        return "—"
    inside = mean_interval(values)[1] or around
    if decimals == 2:
        return with_interval({"x": mean(values), "x_interval": inside}, "x")
    text, *ends = (f"{x:.{decimals}f}".replace("-", "−") for x in (mean(values), *(inside or ())))
    return f"{text} ({' to '.join(ends)})" if ends else text


def gathered(
    row: Row, find: Callable[[Row], Mapping[str, Any] | None], key: str, *, decimals: int = 2
) -> str:
    """A figure of a row at each seed that has it."""
    found = [one for single in row["single"] if (one := find(single)) is not None]
    values = [one[key] for one in found if one.get(key) is not None]
    around = found[0].get(f"{key}_interval") if len(found) == 1 else None
    return over(values, around, decimals)


def markdown(
    head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)
) -> list[str]:
    """A table; columns are numbers but those named."""
    aligned = ["---" if i in left else "---:" for i in range(len(head))]
    return [f"| {' | '.join(line)} |" for line in (head, aligned, *rows)]


# Tables -----------------------------------------------------------------------------------------


def rungs(world: World) -> list[str]:
    """L at each rung, the headline, and what it exceeds the action's own word by."""
    head = ("Method", "n", *RUNGS, "Headline L", "by", "cMAP above A1", "Utility U")
    floors = [v for s in world.summaries if (v := (s.get("floor") or {}).get("L")) is not None]
    count = str(len(world.summaries))
    blank = [""] * len(RUNGS)
    lines = [["A0, prevalence", count, *blank, "0.00", "", "", "0.00"]]
    if floors:
        lines.append(["A1, the action alone", count, *blank, number(mean(floors)), "", "0.0", "—"])
    for row in world.rows:
        cells = [gathered(row, lambda one, name=name: rung(one, name), "L") for name in RUNGS]
        excess = gathered(row, lambda one: one.get("headline"), "excess", decimals=1)
        lines.append(
            [row["name"], str(row["n"]), *(cell.partition(" ")[0] for cell in cells),
             with_interval(row, "L"), strongest(row), excess, with_interval(row, "U")]
        )  # fmt: skip
    return markdown(head, lines, (0, len(RUNGS) + 3))


def attributes(world: World) -> list[str]:
    """AUROC of the strongest attacker of each attribute, the mean over seeds."""
    names = list(world.summaries[0]["rows"][0]["attributes"])
    secret = {
        name
        for summary in world.summaries
        for row in summary["rows"]
        for name, one in row["attributes"].items()
        if one.get("held_out")
    }
    floors = [s["floor"]["attributes"] for s in world.summaries if s.get("floor")]
    lines = []
    if floors:
        alone = [mean(one[name]["auroc"] for one in floors) for name in names]
        lines.append(["A1, the action alone", *(f"{value:.0f}" for value in alone)])
    for row in world.rows:
        values = [mean(one["attributes"][n]["auroc"] for one in row["single"]) for n in names]
        lines.append([row["name"], *(f"{value:.0f}" for value in values)])
    head = [f"{name} (held out)" if name in secret else name for name in names]
    return markdown(["AUROC, %", *head], lines)


def identity(world: World) -> list[str]:
    """Whether people are found again, and how near a decoder came; nothing where nobody asked."""
    lines = []
    for row in world.rows:
        cells = []
        for gallery in GALLERIES:
            found = [g for one in row["single"] if (g := one.get("identity", {}).get(gallery))]
            around = found[0]["rank1_interval"] if len(found) == 1 else None
            cells.append(over([one["rank1"] for one in found], around, 1))
        linked = [one.get("identity", {}).get("anon_to_anon", {}).get("tar", {}).get(FAR)
                  for one in row["single"]]  # fmt: skip
        known = [value for value in linked if value is not None]
        cells.append(f"{mean(known):.1f}" if known else "—")
        for key, decimals in (("psnr", 1), ("ssim", 2)):
            cells.append(
                gathered(row, lambda one: one.get("inversion"), key, decimals=decimals).partition(
                    " "
                )[0]
            )
        lines.append([row["name"], *cells])
    if all(cell == "—" for line in lines for cell in line[1:]):
        return []
    chances = [
        one["chance"]
        for summary in world.summaries
        for row in summary["rows"]
        for one in row.get("identity", {}).values()
    ]
    if chances:
        lines.insert(
            0, ["chance", *[f"{mean(chances):.1f}"] * 3, f"{100 * float(FAR):.1f}", "", ""]
        )
    head = ("Rank-1, %", *(name.replace("_", " ") for name in GALLERIES),
            "anon to anon, TAR at FAR 1 %", "decoder PSNR, dB", "SSIM")  # fmt: skip
    return markdown(head, lines)


def utility(world: World) -> list[str]:
    """Top-1 of fresh targets of each kind, and of those trained on raw video that do not adapt."""
    kinds = list(dict.fromkeys(k for s in world.summaries for r in s["rows"] for k in r["targets"]))
    lines = []
    for row in world.rows:
        cells = []
        for kind in kinds:
            tops = [
                mean(one["targets"][kind]["top1"])
                for one in row["single"]
                if kind in one["targets"]
            ]
            cells.append(over(tops, None, 1))
        for kind in kinds:
            tops = [
                v for one in row["single"] if (v := (one.get("plugin") or {}).get(kind)) is not None
            ]
            cells.append(over(tops, None, 1))
        lines.append([row["name"], *cells])
    chance = mean(summary["chance"]["top1"] for summary in world.summaries)
    lines.insert(0, ["chance", *[f"{chance:.1f}"] * (2 * len(kinds))])
    head = ("Top-1, %", *(f"fresh {k}" for k in kinds), *(f"raw-trained {k}" for k in kinds))
    return markdown(head, lines)


# What it says -----------------------------------------------------------------------------------


def at(row: Row, name: str) -> float | None:
    """L at a rung, the mean over seeds."""
    values = [one["L"] for single in row["single"] if (one := rung(single, name)) is not None]
    return mean(values) if values else None


def said(world: World) -> list[str]:
    """What the rungs say beside each other."""
    rows = [row for row in world.rows if row["name"] != "raw" and row["L"] is not None]
    lines = []
    # Of what tells nothing, no attacker is the strongest.
    telling = [one for row in rows for one in row["single"] if one["L_interval"][0] > 0]
    tops = Counter(one["headline"]["rung"] for one in telling if "headline" in one)
    if tops:
        text = ", ".join(f"{name} {count}" for name, count in sorted(tops.items()))
        lines.append(f"The strongest stands on: {text} (rows and seeds that leak, but raw).")
    for name, what in (
        ("A2", "An attacker that does not adapt (A2)"),
        ("A3", "One that starts from random weights (A3)"),
    ):
        found = [
            (row["L"] - low, row, low)
            for row in rows
            if (low := at(row, name)) is not None and row["L"] - low >= CLEARLY
        ]
        if found:
            listed = "; ".join(
                f"{row['name']} ({number(low)} of {number(row['L'])})"
                for _, row, low in sorted(found, key=lambda one: -one[0])
            )
            lines.append(f"{what} misses {CLEARLY} of L or more on {listed}.")
    undone = []
    for row in rows:
        five, four = at(row, "A5"), at(row, "A4")
        if five is not None and four is not None and five >= four + 0.01:
            undone.append(f"{row['name']} ({number(five)} against {number(four)})")
    if undone:
        lines.append(f"Undoing (A5) reads more than all that adapt (A4) on {'; '.join(undone)}.")
    kinds = Counter(str(one["strongest"]).partition("/")[0].split()[-1] for one in telling)
    if kinds:
        text = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        lines.append(f"Kinds that were the strongest: {text}.")
    raw = next((row for row in world.rows if row["name"] == "raw"), None)
    reads: dict[str, list[float]] = {}
    for one in (raw or {"single": ()})["single"]:
        for kind, target in one["targets"].items():
            reads.setdefault(kind, []).append(mean(target["top1"]))
    if reads:
        kind = max(reads, key=lambda kind: mean(reads[kind]))
        for other, tops in reads.items():
            if mean(tops) < mean(reads[kind]) / 2:
                lines.append(
                    f"{other} reads {mean(tops):.1f} % of raw video's actions, {kind} "
                    f"{mean(reads[kind]):.1f} %: what it reads of a release says little of utility."
                )
    linked = [
        g
        for one in (raw or {"single": ()})["single"]
        if (g := one.get("identity", {}).get("anon_to_anon"))
    ]
    if linked:
        first, chance = (mean(gallery[key] for gallery in linked) for key in ("rank1", "chance"))
        lines.append(
            f"In raw video {first:.1f} % are found again first, by chance {chance:.1f} %: figures "
            "of anonymizers are to be read beside that."
        )
    return [*lines, *failures(world)]


def section(world: World) -> list[str]:
    """One world."""
    tables = [rungs(world), attributes(world), utility(world), identity(world)]
    return [
        f"## {world.name}",
        measured_on(world),
        *("\n".join(lines) for lines in tables if lines),
        "\n".join(f"- {line}" for line in said(world)),
    ]


def effort(world: World, ladders: Sequence[World]) -> list[str]:
    """One world's attack-budget curves: L of an attacker with less effort, and with more.

    Args:
        ladders: worlds of the ladder, of which the same may have been examined for longer.
    """
    found = {row["name"]: [points(single) for single in row["single"]] for row in world.rows}
    efforts = sorted({point for each in found.values() for one in each for point in one})
    usual = world.summaries[0]["config"]["evaluation"]["epochs"]
    head = [
        f"{number(share) if share < 1 else f'{share:g}'} x the clips, {epochs} epochs"
        for share, epochs in efforts
    ]
    rows = [
        [name, *(over([one[at] for one in each if at in one], None) for at in efforts)]
        for name, each in found.items()
        if any(each)
    ]
    rising = [
        f"{row['name']} ({' and '.join(steps)})"
        for row in world.rows
        if (steps := _rises([v for one in row["single"] if (v := verdict(one)) is not None]))
    ]
    above = {
        one.summaries[0]["config"]["evaluation"]["epochs"]
        for one in ladders
        if one.name == world.name
    }
    said = [
        f"These curves begin at {usual} epochs. The ladder above is of {epochs}, where they do not "
        "say whether more would read more."
        for epochs in above - {usual}
    ] or [
        f"More effort than the usual {usual} epochs still reads more of {'; '.join(rising)}: "
        "there, the figures above are too low."
        if rising
        else "More effort read no more of any row: the curves are flat."
    ]
    return [
        f"## {world.name}: effort",
        measured_on(world),
        "\n".join(markdown(["L", *head], rows)),
        "\n".join(f"- {line}" for line in [*said, *failures(world)]),
    ]


def rates(world: World) -> list[float]:
    """Learning rates that its attackers chose among; a config says nothing of the usual one."""
    return world.summaries[0]["config"]["evaluation"].get("rates", [1.0])


def choice(world: World, others: Sequence[World]) -> list[str]:
    """What a choice among several learning rates reads, beside the one rate of the curves."""
    data = [summary["data"].get("fingerprint") for summary in world.summaries]
    epochs = world.summaries[0]["config"]["evaluation"]["epochs"]
    one_rate: dict[str, list[float]] = {}
    for summary in (s for other in others for s in other.summaries):
        if summary["data"].get("fingerprint") in data:
            for row in summary["rows"]:
                if (found := points(row).get((1.0, epochs))) is not None:
                    one_rate.setdefault(row["name"], []).append(found)
    pairs = {
        row["name"]: (mean(one_rate[row["name"]]), mean(one["L"] for one in row["single"]))
        for row in world.rows
        if row["name"] in one_rate
    }
    gained = [
        f"{name} (+{several - one:.2f})"
        for name, (one, several) in pairs.items()
        if several - one > STEP
    ]
    text = " x, ".join(f"{rate:g}" for rate in rates(world))
    return [
        f"## {world.name}: a choice of learning rates",
        measured_on(world),
        "\n".join(
            markdown(
                ("L", "the usual rate", f"the best of {text} x of it, by validation"),
                [[name, number(one), number(several)] for name, (one, several) in pairs.items()],
            )
        ),
        f"- A choice reads more of {'; '.join(gained)}."
        if gained
        else f"- A choice reads nowhere more than {STEP} more.",
    ]


def _rises(verdicts: Sequence[Verdict]) -> list[str]:
    """What raised L by more than noise, in the mean over seeds."""
    found = []
    for name, steps in (
        ("clips", [v.data for v in verdicts]),
        ("epochs", [v.epochs for v in verdicts]),
    ):
        known = [step for step in steps if step is not None]
        if known and mean(known) > verdicts[0].least:
            found.append(f"{name} +{mean(known):.2f}")
    return found


def page(records: Path = RECORDS) -> str:
    """The whole page, Markdown."""
    parts = [HEAD]
    ladders = worlds(records, LADDER)
    for world in ladders:
        parts += section(world)
    tried = worlds(records, EFFORT)
    for world in tried:
        parts += choice(world, tried) if len(rates(world)) > 1 else effort(world, ladders)
    if len(parts) == 1:
        parts.append("Nothing has been measured yet.")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(f"{folder}: took {', '.join(take(Path(folder))) or 'nothing'}")
    PAGE.write_text(page())
