"""Write docs/impact-people.md from the record of the bench on generated people.

python experiments/make_impact.py               # the page, from experiments/records/impact
python experiments/make_impact.py runs/impact   # first take a bench's record from there

The record is the bench's ``bench.json``. Every number and every sentence about one is computed.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from velatura.impact import bench
from velatura.impact._compare import compared
from velatura.impact.report import SHORT, by_the_clock, to_markdown
from velatura.report import markdown
from velatura.report.tables import value_text

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "experiments" / "records" / "impact" / bench.RESULT
PAGE = ROOT / "docs" / "impact-people.md"

HEAD = """# What hiding people cost, where it is known beforehand

Written by `python experiments/make_impact.py` from `experiments/records/impact`; no number is typed
by hand. To measure again:

```
velatura impact bench
```

A detector is trained on pictures of
[generated people](impact.md#people-for-whom-the-cost-is-known) in which everybody is hidden, one
way an arm, and tested on originals. `aligned` and `misaligned` are what an anonymizer that draws
people would make if it were perfect, and if it missed their poses; `gan` is the network that
[the bench trains](impact.md#bench). What stands here checks a mechanism. It says nothing of
photographs.
"""


def seconds(result: dict[str, Any]) -> str:
    """How long it took, in words."""
    spent = sum(result["seconds"].values())
    clock = by_the_clock(result).replace(" on ", " by the clock on ")
    return (
        f"{spent / 3600:.1f} hours of work by its processes: "
        + ", ".join(f"{name} {value / 60:.0f} min" for name, value in result["seconds"].items())
        + (f"; {clock}." if clock else ".")
    )


def beside(result: dict[str, Any], arm: str, other: str) -> str:
    """One arm's AP beside another's, seed by seed: a table, a line a task; empty without both."""
    figures = result["figures"]
    if arm not in figures or other not in figures:
        return ""
    rows = []
    for task in result["tasks"]:
        mine, yours = (
            {int(seed): value for seed, value in figures[name][task]["hidden"]["AP"]["seeds"]}
            for name in (arm, other)
        )
        found = compared(mine, yours)
        value, inside = value_text(
            {"x": found["difference"], "x_interval": found["difference_interval"]}, "x", 1
        )
        means = [f"{sum(of.values()) / len(of):.1f}" for of in (mine, yours)]
        rows.append([SHORT[task], *means, f"{value} ({inside})" if inside else value])
    return markdown.table(["AP", arm, other, "Difference, seed by seed"], rows)


def page(record: Path = RECORD) -> str:
    """The whole page."""
    if not record.is_file():
        return f"{HEAD}\nNot measured yet.\n"
    result = json.loads(record.read_text())
    parts = [HEAD.rstrip(), seconds(result)]
    said = to_markdown(result).partition("\n\n")[2].rstrip()  # without its title
    words, heading, tables = said.partition("## ")
    cost = beside(result, "gan", "aligned")
    if cost:
        parts += [words.rstrip(), "## What the network costs against the perfect one", cost]
    else:
        parts.append(words.rstrip())
    return "\n\n".join([*parts, heading + tables]) + "\n"


def main(arguments: list[str]) -> int:
    if arguments:
        found = Path(arguments[0]) / bench.RESULT
        if not found.is_file():
            print(f"There is no {found}; `velatura impact bench` writes it.", file=sys.stderr)
            return 2
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, RECORD)
    PAGE.write_text(page())
    print(f"Wrote {PAGE.relative_to(ROOT)}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
