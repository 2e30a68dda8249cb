"""What the numbers show, in plain words, and no more than they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from velatura.report.run import number, span

__all__ = [
    "ENOUGH",
    "Reach",
    "after_codecs",
    "attribute",
    "best",
    "beyond",
    "compete",
    "family",
    "headline",
    "label",
    "leaders",
    "listed",
    "percent",
    "reach",
    "too_low",
    "unseeded",
]

ENOUGH = 0.8
"""U from which a method is said to keep the action; the demo asks the same."""

ROUNDING = 0.005
"""L by which a point of a row's attack-budget curve has to lie above its headline to be told."""

FAMILIES = {
    "identity": "reference",
    "raw": "reference",
    "constant": "reference",
    **dict.fromkeys(
        ("blacken", "blur", "blur_people", "downsample", "flow", "frame_difference", "freeze",
         "grey", "noise", "pixelate"), "fixed",
    ),
    **dict.fromkeys(("penalty", "penalty_released", "spact", "ted_spad"), "self-supervised"),
    **dict.fromkeys(("bdq", "constrained", "mass", "stprivacy", "vita"), "supervised"),
}  # fmt: skip
CODECS = {"h264": "H.264"}
START = "99"
"""What stands in place of a seed where an attacker learned raw clips alone."""
Show = Callable[[str], str]


def label(name: str) -> str:
    """A row's name for people: ``frame_difference`` as "frame difference"."""
    return name.replace("_", " ")


def unseeded(fit: str) -> str:
    """ "A5 frame_cnn/99" as "A5 frame_cnn": what learned raw clips alone has no seed of its own."""
    return fit.removesuffix(f"/{START}")


def attribute(name: str, entries: Mapping[str, Mapping[str, Any]]) -> str:
    """An attribute's name for people, marked where no training of the study was told it.

    Args:
        entries: ``attributes`` of a row.
    """
    held = entries.get(name, {}).get("held_out") is True
    return f"{label(name)} (held out)" if held else label(name)


def after_codecs(rows: Sequence[Mapping[str, Any]], show: Show = label) -> list[str]:
    """A sentence for each codec and rate after which rows were examined once more.

    Args:
        show: how a row's name is written.
    """
    told: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if (how := through(row)) and isinstance(row.get("of"), str):
            told.setdefault(how, []).append(row)
    return [
        f"{listed([show(row['name']) for row in found])}: what "
        f"{listed([show(row['of']) for row in found])} "
        f"release{'s' * (len(found) == 1)}, after {how}; examined alike, against raw video "
        "without a codec."
        for how, found in told.items()
    ]


def through(row: Mapping[str, Any]) -> str:
    """The codec that a row's release went through, as "H.264 (crf 23)"; "" where the row names
    none of its own."""
    codec, rate = row.get("codec"), number(row.get("crf"))
    if not isinstance(codec, str) or not codec:
        return ""
    return CODECS.get(codec, codec) + (f" (crf {rate:g})" if rate is not None else "")


@dataclass(frozen=True)
class Reach:
    """The most that any attacker of the suite read of a row, as L.

    Attributes:
        ladder: the headline, the strongest of the ladder.
        alike: the most with at most as many clips as the ladder has, of however many epochs.
        most: the most of all, with more clips too.
        point: the point of the attack-budget curve that read most; None without a curve.
    """

    ladder: float
    alike: float
    most: float
    point: Mapping[str, Any] | None = None

    @property
    def exceeded(self) -> bool:
        """Whether more effort read more than the headline says, by more than a rounding."""
        return self.most > self.ladder + ROUNDING

    @property
    def L(self) -> float:
        """What a sentence has to name: the headline, or what exceeded it."""
        return self.most if self.exceeded else self.ladder

    def told(self) -> str:
        """L in whole per cent, where the ladder's attackers were too weak as "at least 91 %"."""
        return f"{'at least ' * self.exceeded}{percent(self.L)}"


def reach(row: Mapping[str, Any]) -> Reach | None:
    """The most that was read of a row, by its ladder and its attack-budget curve.

    Args:
        row: of a summary; anything with ``L`` and, where there is a curve, ``budget``.

    Returns:
        None where the row has no L.
    """
    ladder = number(row.get("L"))
    if ladder is None:
        return None
    given = row.get("budget")
    found = [
        (L, number(point.get("data")), point)
        for point in (given if isinstance(given, list) else [])
        if isinstance(point, dict) and (L := number(point.get("L"))) is not None
    ]
    alike = [L for L, data, _ in found if data is not None and data <= 1]
    top = max(found, key=lambda entry: entry[0], default=None)
    return Reach(
        ladder,
        max([ladder, *alike]),
        max([ladder, *(L for L, _, _ in found)]),
        top[2] if top else None,
    )


def beyond(row: Mapping[str, Any]) -> str:
    """That no attacker exceeded the headline of a row, or by how much one did; "" without an L."""
    found = reach(row)
    if found is None:
        return ""
    if not found.exceeded:
        return "No attacker of this suite exceeded it."
    if found.alike > found.ladder + ROUNDING:
        clips = f"; with no more clips, {_two(found.alike)}" * (found.alike < found.most)
    else:
        clips = ", with more clips"
    return (
        f"An attacker with more effort read L = {_two(found.most)}{clips}: see the attack-budget "
        "curves."
    )


def too_low(rows: Sequence[Mapping[str, Any]], show: Show = label) -> str:
    """Of which rows the L that stands in a table or a plot is too low; "" of none."""
    low = [(show(str(r["name"])), f) for r in rows if (f := reach(r)) is not None and f.exceeded]
    if not low:
        return ""
    return (
        f"L of {listed([name for name, _ in low])} is too low: more effort reads more "
        f"({listed([_two(found.most) for _, found in low])})."
    )


def _two(L: float) -> str:
    return f"{L:.2f}".replace("-", "\u2212")


def family(row: dict[str, Any]) -> str:
    """reference, fixed, self-supervised, supervised, or learned for a method not known here."""
    return FAMILIES.get(str(row.get("method")), FAMILIES.get(row["name"], "learned"))


def percent(value: float) -> str:
    """A fraction in whole per cent: .483 as "48 %"."""
    return f"{100 * value:.0f}\u202f%".replace("-", "\u2212")


def leaders(rows: Sequence[dict[str, Any]], key: str, highest: bool) -> set[str]:
    """The rows with the best ``key``, together with all that overlap it.

    References (raw, constant) do not compete, nor do rows after a codec. Two rows are told apart
    only when their 95 % intervals are disjoint, which is stricter than it need be: better to praise
    too little.
    """
    sign = 1 if highest else -1
    values = {
        r["name"]: (v, span(r.get(f"{key}_interval")) or (v, v))
        for r in rows
        if _competes(r) and (v := number(r.get(key))) is not None
    }
    if not values:
        return set()
    top = max(values.values(), key=lambda entry: sign * entry[0])
    return {
        name for name, (_, (low, high)) in values.items() if low <= top[1][1] and high >= top[1][0]
    }


def best(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The row that leaks least among those that keep the action (U of at least ENOUGH): to the
    most effort where all of them were attacked with more, else to the ladder that all have."""
    able = [r for r in compete(rows) if r["U"] >= ENOUGH]
    return min(able, key=_ranked(able), default=None)


def _ranked(rows: Sequence[dict[str, Any]]) -> Callable[[dict[str, Any]], float]:
    """What rows are ranked by: an L to which all of them were attacked with the same effort."""
    if _all_curved(rows):
        return lambda row: _reach(row).most
    return lambda row: _reach(row).ladder


def _all_curved(rows: Sequence[dict[str, Any]]) -> bool:
    return all(_reach(row).point is not None for row in rows)


def _reach(row: dict[str, Any]) -> Reach:
    """Of a row that competes, which has an L."""
    found = reach(row)
    assert found is not None
    return found


def headline(summary: dict[str, Any]) -> tuple[str, list[str]]:
    """One sentence for the top of the page, and the sentences that qualify it."""
    rows = summary["rows"]
    measured = compete(rows)
    if not rows:
        return "Nothing has been measured yet.", []
    if not measured:
        named = [r for r in rows if _competes(r)]
        if named:
            return "Utility and leakage could not be normalised.", [
                "The networks on raw video are not above chance, so there is no scale to put the "
                "other rows on: train them longer, or on more clips."
            ]
        return "Only reference rows so far; no anonymizer has been measured yet.", []

    winner = best(rows)
    notes: list[str] = []
    if winner is None:
        closest = max(measured, key=lambda r: float(r["U"]))
        title = f"No method keeps {percent(ENOUGH)} of the action."
        notes.append(
            f"{_name(closest)} comes closest with {percent(closest['U'])}; its strongest attacker "
            f"still reads {_reach(closest).told()} of what raw video gives away."
        )
    elif _reach(winner).L > 0.9:
        title = "No method that keeps the action hides who is in the video."
        notes.append(
            f"The least leaky of them, {_name(winner, False)}, still gives away "
            f"{_reach(winner).told()} of what raw video does."
        )
    else:
        title = (
            f"{_name(winner)} keeps {percent(winner['U'])} of the action and still leaks "
            f"{_reach(winner).told()} of what raw video gives away."
        )
        notes.append(_against_the_rest(winner, measured))
    floor = summary.get("floor")
    bottom = number(floor.get("L")) if isinstance(floor, dict) else None
    if bottom is not None:
        below = [_name(r, False) for r in measured if _reach(r).L < bottom - 0.02 and r["U"] > 0.5]
        if below:
            notes.append(
                f"{listed(below).capitalize()}: leakage lies below what the action alone reveals "
                f"({percent(bottom)}), so the attackers of this run were too weak there."
            )
    return title, notes


def _against_the_rest(winner: dict[str, Any], measured: Sequence[dict[str, Any]]) -> str:
    """How the row that leads compares with the others that keep the action."""
    rivals = [r for r in measured if r["U"] >= ENOUGH and r is not winner]
    if not rivals:
        return f"It is the only method here that keeps at least {percent(ENOUGH)} of the action."
    able = [winner, *rivals]
    among = f"Among the methods that keep at least {percent(ENOUGH)} of the action"
    end = ""
    tied = leaders(able, "L", highest=False) - {winner["name"]}
    if any(_reach(row).exceeded for row in able):
        if _all_curved(able):  # whose points have no interval
            among, tied = f"{among}, with more effort too", set()
            end = " Whether other people would rank them so is not known."
        else:
            among += ", with the effort that attackers had on all of them"
            end = " With more effort, attackers read more."
    if tied:
        names = listed([label(n) for n in sorted(tied)])
        return f"{among}, this run does not tell it apart from {names}: the intervals overlap.{end}"
    second = min(rivals, key=_ranked(able))
    return (
        f"{among}, it leaks least; next is {_name(second, False)}, which keeps "
        f"{percent(second['U'])} and leaks {_reach(second).told()}.{end}"
    )


def compete(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that compete: no references, none after a codec, and both U and L known."""
    return [
        r
        for r in rows
        if _competes(r) and number(r.get("U")) is not None and number(r.get("L")) is not None
    ]


def _competes(row: dict[str, Any]) -> bool:
    """A row after a codec is another row once more, and competes by that one."""
    return family(row) != "reference" and not row.get("of")


def _name(row: dict[str, Any], capital: bool = True) -> str:
    text = label(row["name"])
    return text[:1].upper() + text[1:] if capital else text


def listed(names: Sequence[str]) -> str:
    """Several names as one phrase: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
