"""One row of a study as ``eval.json``: all that was measured of it, and what was not.

``eval.schema.json`` beside this file says what every field is. The three texts of the bundle are
written from this alone, so no figure of theirs can differ from it.

A summary may be older than a field, unfinished, or from a stranger: what lacks, or is of another
kind, is null or empty here, and nothing is made up for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from velatura import __version__, metrics
from velatura.errors import BadInput, unknown
from velatura.layout import LEAKY
from velatura.report.findings import ENOUGH, START, family, percent, reach, through, unseeded
from velatura.report.markdown import one_line
from velatura.report.run import number, span
from velatura.report.tables import figure

__all__ = ["GALLERIES", "RUNGS", "SCHEMA", "cautions", "choose", "evaluation", "statement"]

SCHEMA = "velatura-eval/1"

Show = Callable[[Any], str]  # how a foreign text is shown: as it is, or as Markdown's code

RUNGS = {
    "A0": "no information: how often each attribute is present",
    "A1": "the true action alone, in a table of attribute given action",
    "A1p": "the action as a fresh target reads it from the release, in the same table",
    "A2": "trained on raw video, not adapted to the release",
    "A3": "fresh, from random weights, trained on the release",
    "A4": "fresh ones that know raw video or other pictures, trained on the release",
    "A5": "undoes the anonymizer first, then reads with what was trained on raw video",
}
GALLERIES = {
    "raw_to_anon": "who is this, asked of somebody who has footage of the people",
    "anon_to_anon": "is it the same person twice, whoever it is",
    "recovered_to_raw": "who is this, after an attempt to undo the anonymizer",
}
IDENTIFYING = "biometric data that identify"
# The categories of GDPR Art. 9(1), and words in the names of attributes that point at one.
CATEGORIES = {
    "racial or ethnic origin": {"race", "ethnic", "ethnicity", "complexion"},
    "political opinions": {"political", "politics"},
    "religious or philosophical beliefs": {"religion", "religious"},
    "trade union membership": {"union"},
    "genetic data": {"genetic"},
    IDENTIFYING: set(),
    "health": {"health", "medical", "disability"},
    "sex life or sexual orientation": {"orientation", "sexual", "relationship", "rel"},
}
ORIGIN = {  # attributes of known data sets whose single words do not tell
    "skin_tone", "skin_color", "skin_colour", "a17_color", "white", "black", "asian", "indian",
}  # fmt: skip
FEW_PEOPLE = 100  # in a test split: below, intervals are wide
APART = 5.0  # per cent of top-1 between two groups that are worth a sentence


def choose(summary: Mapping[str, Any], wanted: str = "") -> dict[str, Any]:
    """The row that is meant: the one named, or the only learned one, without a codec.

    Raises:
        BadInput: no such row; or none is named, and there is not exactly one learned row.
    """
    rows: list[dict[str, Any]] = summary["rows"]
    names = [row["name"] for row in rows]
    if wanted:
        if wanted not in names:
            raise unknown("row", wanted, map(one_line, names))
        return rows[names.index(wanted)]
    learned = [
        row for row in rows if family(row) not in ("reference", "fixed") and not row.get("of")
    ]
    if len(learned) == 1:
        return learned[0]
    if not rows:
        raise BadInput("No row has been measured yet; finish the study, then write its card.")
    many = f"holds {len(learned)} learned rows" if learned else "holds no learned row"
    listed = ", ".join(one_line(row["name"]) for row in learned or rows)
    raise BadInput(f"The study {many}; name the one that the card is of with --row: {listed}.")


PLACES = ("cache", "workers", "root", "annotations")  # of [data]
TRAINED_BY = ("batches", "target", "budget", "start")  # sections


def evaluation(
    summary: Mapping[str, Any],
    row: Mapping[str, Any],
    config: str | None = None,
    run: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that ``eval.json`` holds.

    Args:
        summary: of a study, of any schema.
        row: one of its rows.
        config: digest of the study's configuration, where it is known.
        run: the values of the run that trained the row, where the study's folder has them.

    Returns:
        Plain values that JSON can hold; fields and units as in ``eval.schema.json``.
    """
    given = _mapping(summary.get("config"))
    examined = {**_mapping(given.get("evaluation")), **_coded(row)}
    made = _made(given, row)
    raw: dict[str, Any] = next((r for r in summary["rows"] if r["name"] == "raw"), {})
    chance, floor = _mapping(summary.get("chance")), _mapping(summary.get("floor"))
    schema = _count(summary.get("schema")) or 1
    method = _mapping(made.get("method"))
    attributes, identity = _attributes(row, raw, floor), _identity(row.get("identity"))
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "statement": "",
        "title": _text(summary.get("title")),
        "row": row["name"],
        "method": {
            "name": _text(row.get("method")) or _text(method.get("name")),
            "family": family(dict(row)),
            "settings": _plain({k: v for k, v in method.items() if k != "name"}),
            "anonymizer": _plain(_mapping(made.get("anonymizer"))),
        },
        "provenance": {
            "command": _text(summary.get("command")),
            "created": _text(summary.get("created")),
            "config": config,
            "data": _text(_mapping(summary.get("data")).get("fingerprint")),
            "versions": {str(k): str(v) for k, v in _mapping(summary.get("versions")).items()},
            "summary_schema": schema,
            "written_by": f"velatura {__version__}",
        },
        "seeds": {
            "study": _count(summary.get("seed")),
            "attackers": _counts(examined.get("seeds")),
            "targets": _counts(examined.get("target_seeds")),
        },
        "data": _data(summary, given),
        "training": _training(given, made, run),
        "trained_elsewhere": _elsewhere(given, made, run),
        "examination": _plain(examined),
        "references": {
            "chance": {"top1": number(chance.get("top1")), "cmap": number(chance.get("cmap"))},
            "floor": {"cmap": number(floor.get("cmap")), "L": number(floor.get("L"))},
            "raw": _standing(raw) if raw else None,
        },
        "utility": _utility(row, examined),
        "leakage": _leakage(row, raw, chance, floor, examined, schema),
        "attributes": attributes,
        "identity": identity,
        "inversion": _inversion(row.get("inversion")),
        "picture": {key: number(row.get(key)) for key in ("rms", "bound", "beyond_bound")},
        "table": [
            {"row": r["name"], "method": _text(r.get("method")), "family": family(r),
             **_standing(r),
             **({"of": _text(r.get("of")), **_coded(r)} if r.get("codec") else {})}
            for r in summary["rows"]
        ],
        "failed": [
            text for r in _rows(summary.get("failed")) if (text := _text(r.get("row")))
        ],
        "tested": list(attributes),
        "special_categories": _categories(attributes, identity),
        "not_tested": [],
        "cautions": [],
    }  # fmt: skip
    found["statement"] = statement(found)
    found["not_tested"] = _not_tested(found)
    found["cautions"] = cautions(found)
    return found


# What it says in words ---------------------------------------------------------------------------


def statement(found: Mapping[str, Any], show: Show = one_line) -> str:
    """The one claim that is made, with its attackers, split, number and interval."""
    leakage, test = found["leakage"], found["data"]["test"]
    name = found["data"]["name"]
    where = f"On the test split of {show(name) if name else 'this study'}"
    if test["clips"] is not None:
        people = "" if test["people"] is None else f" of {test['people']:,} people or films"
        where += f" ({test['clips']:,} clips{people})"
    if how := through(found["examination"]):
        where += f", after {show(how)}"
    by = leakage["strongest"]
    if leakage["L"] is not None:
        # An attacker who was given more counts as any other.
        most = reach(leakage)
        more = most.point if most else None
        if more is not None and more["L"] > leakage["L"]:
            leakage = {"L": more["L"], "cmap": None}
            by = more["by"]
            if None not in (by, more["data"], more["epochs"]):
                by += f", with {more['data']:g} times the data and {more['epochs']:g} epochs"
        # As far as it is rounded up, nobody was above it.
        above = _up(leakage["L"], 2)
        inside = figure(leakage, "L", 2).partition(" ")[2].strip("()")
        said = f"no attacker in this suite exceeded L = {above}"
        said += f" (95 % interval of the strongest: {inside})" if inside else ""
    elif leakage["cmap"] is not None:
        said = f"no attacker in this suite exceeded a cMAP of {_up(leakage['cmap'], 1)} %"
    else:
        return f"{where}, no attacker's figure is recorded, so nothing is said of leakage."
    return f"{where}, {said}" + (f"; the strongest was {show(by)}." if by else ".")


def cautions(found: Mapping[str, Any], show: Show = one_line) -> list[str]:
    """What in these figures speaks against relying on them, a sentence each; computed."""
    utility, leakage, data = found["utility"], found["leakage"], found["data"]
    said = []
    for name in data["leaky"]:
        said.append(f"{show(name)}: test videos were trained on, so these figures say too much.")
    if data["kind"] == "people":
        said.append("These are generated people: of real ones the figures say nothing.")
    if utility["U"] is None or leakage["L"] is None:
        said.append(
            "U or L has no scale: the networks on raw video are not a point above chance, or were "
            "not measured."
        )
    elif utility["U"] < ENOUGH:
        said.append(f"It keeps {percent(utility['U'])} of the action, less than the "
                    f"{percent(ENOUGH)} from which we say that it is kept.")  # fmt: skip
    inside = span(leakage["L_interval"])
    if inside and inside[1] >= 1:
        said.append("The interval of L reaches 1: this study cannot tell the release from raw "
                    "video.")  # fmt: skip
    if (excess := leakage["excess"]) is not None and excess < 0 and (utility["U"] or 0) > 0.5:
        said.append(
            f"The strongest attacker reads {-excess:.1f} points of cMAP less than the action alone "
            "tells, and the action can still be read: the attackers were too weak."
        )
    own = _coded(next((r for r in found["table"] if r["row"] == found["row"]), {}))
    for other in found["table"]:
        if other["row"] == found["row"] or _coded(other) != own:  # like is compared with like
            continue
        if _dominates(other, utility, leakage):
            said.append(
                f"{show(other['row'])} did no worse on both in the same study: U "
                f"{figure(other, 'U', 2)}, L {figure(other, 'L', 2)}."
            )
    for network, value in utility["plugin"].items():
        fresh = _retrained(utility, network)
        if value is not None and fresh is not None and value < fresh - 10:
            said.append(
                f"A target that knows raw video only ({show(network)}) reads {value:.1f} % of the "
                f"actions, where the same network retrained reads {fresh:.1f} %: what stands "
                "behind the camera has to be retrained."
            )
    if (beyond := found["picture"]["beyond_bound"]) is not None and beyond > 0:
        said.append(f"{100 * beyond:.1f} % of the test clips were changed by more than the bound.")
    known = dict.fromkeys(a["network"] for a in leakage["attackers"] if a["used_in_training"])
    if known:
        said.append(
            f"Training played against networks of the kind {', '.join(map(show, known))}; the "
            "attackers of that kind are fresh all the same."
        )
    said += _read_best(found, show)
    apart = {
        name: abs(group["present"] - group["absent"])
        for name, group in utility["groups"].items()
        if None not in group.values()
    }
    if apart and max(apart.values()) >= APART:
        name = max(apart, key=lambda key: apart[key])
        group = utility["groups"][name]
        said.append(
            f"The action is not read equally well of everybody: with {show(name)} "
            f"{group['present']:.1f} %, without {group['absent']:.1f} %."
        )
    for gallery, entry in found["identity"].items():
        if entry and entry["chance"] and entry["rank1"] > 2 * entry["chance"] > 0:
            said.append(
                f"People are found again {entry['rank1'] / entry['chance']:.1f} times as often as "
                f"by guessing ({gallery.replace('_', ' ')})."
            )
    more = [entry["cmap"] for entry in leakage["budget"] if entry["cmap"] is not None]
    if more and leakage["cmap"] is not None and max(more) > leakage["cmap"] + 1:
        said.append(
            f"An attacker with another budget reached a cMAP of {max(more):.1f} %, above the "
            f"{leakage['cmap']:.1f} % of the headline: the headline is too low."
        )
    people = data["test"]["people"]
    if people is not None and people < FEW_PEOPLE:
        said.append(f"Only {people} people or films to test on: the intervals are wide.")
    if found["failed"]:
        said.append(f"Rows that broke and are not in the table: "
                    f"{', '.join(map(show, found['failed']))}.")  # fmt: skip
    return said


def _retrained(utility: Mapping[str, Any], network: str) -> float | None:
    """Mean top-1 of the fresh targets of a network; None where there were none."""
    values = _mapping(utility["targets"].get(network)).get("top1", [])
    values = values or [fit["top1"] for fit in utility["fits"] if fit["network"] == network]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _read_best(found: Mapping[str, Any], show: Show) -> list[str]:
    gains = {
        name: entry["ap_gain"]
        for name, entry in found["attributes"].items()
        if entry["ap_gain"] is not None
    }
    best = sorted(gains, key=lambda name: -gains[name])[:3]
    said = []
    if best:
        listed = ", ".join(
            f"{show(n)} (AP {figure(found['attributes'][n], 'ap', 1)})" for n in best
        )
        said.append(f"What is read best: {listed}.")
    tested = {n: e["p_holm"] for n, e in found["attributes"].items() if e["p_holm"] is not None}
    sure = [name for name, p in tested.items() if p <= 0.05]
    if tested:
        listed = ", ".join(map(show, sure)) or "none"
        said.append(f"Read better than the action alone tells it, at 5 % after Holm: {listed}.")
    return said


def _dominates(other: Mapping[str, Any], utility: Any, leakage: Any) -> bool:
    """Whether a filter or a method, no reference, keeps as much and leaks no more."""
    pairs = (other["U"], utility["U"], other["L"], leakage["L"])
    if other["family"] == "reference" or None in pairs:
        return False
    return bool(other["U"] >= utility["U"] and other["L"] <= leakage["L"])


def _not_tested(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """The fixed list of what no figure here is about, less what this study did measure."""
    identity, rungs = found["identity"], {r["rung"]: r["cmap"] for r in found["leakage"]["rungs"]}
    lacking = [name for name, value in rungs.items() if value is None]
    coded = found["examination"].get("codec") or any(
        r.get("of") == found["row"] for r in found["table"]
    )
    hidden = [c["category"] for c in found["special_categories"] if not c["by"]]
    always = True
    listed = [
        (always, "attributes without labels",
         "Only the attributes in the table were looked for. Whatever else a picture tells of a "
         "person was not."),
        (bool(hidden), "special categories", f"No attribute points at: {', '.join(hidden)}."),
        (always, "attributes together",
         "Each attribute was read by itself. Several together can single out one person."),
        (identity["raw_to_anon"] is None, "singling out",
         "Nobody tried to find a known person again in the release."),
        (identity["anon_to_anon"] is None, "linkability",
         "Nobody tried to tell whether two releases show the same person."),
        (identity["recovered_to_raw"] is None, "identity after an undoing",
         "Nobody tried to find a known person again after undoing the anonymizer."),
        (found["inversion"] is None and rungs.get("A5") is None, "inversion",
         "Nobody tried to compute the original picture from the release."),
        (bool(lacking), "rungs of the ladder", f"Not measured: {', '.join(lacking)}."),
        (not found["leakage"]["budget"], "attackers with more means",
         "No attacker was given more data or more time to see whether the figures rise."),
        (always, "stronger attackers",
         "A larger network, other weights to start from or another idea may read more."),
        (always, "humans", "No person looked at the release to recognise anybody."),
        (always, "side knowledge",
         "An attacker who knows where, when and with whom it was filmed, or who knows the people, "
         "was not tried."),
        (always, "long observation",
         "Clips were read one by one. Many of one person, put together, tell more: gait, habits, "
         "hours, places."),
        (always, "other data",
         "The figures are of this data at this size. They say nothing of another crowd or camera."),
        (not coded, "codecs and networks",
         "The release was examined as 8 bits; what compression and transport do to it was not."),
        (always, "leakage by group",
         "Whether attackers read some groups of people better than others."),
        (not found["utility"]["groups"], "the action by group",
         "Whether the action is read equally well of all groups of people."),
        (always, "other trainings",
         "One training of the anonymizer is one draw. Another seed may hide less."),
        (always, "the weights",
         "What the anonymizer's own weights tell of the people that it was trained on."),
        (always, "sound and metadata",
         "Voices, file names, times, positions and other tags."),
        (always, "operation",
         "Errors of cameras, decoders, storage, and people who may see the original."),
    ]  # fmt: skip
    return [{"subject": subject, "note": note} for holds, subject, note in listed if holds]


# Its parts ---------------------------------------------------------------------------------------


def _made(given: Mapping[str, Any], row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings that made a row: its own in a study's file, or those of a run's file."""
    for entry in _rows(given.get("rows")):
        if entry.get("name") == (row.get("of") or row["name"]):
            return entry
    return given if _mapping(given.get("method")).get("name") == row.get("method") else {}


def _coded(row: Mapping[str, Any]) -> dict[str, Any]:
    """The codec that a row's release went through, where the row names one."""
    if (codec := _text(row.get("codec"))) is None:
        return {}
    return {"codec": codec, "crf": _count(row.get("crf"))}


def _elsewhere(
    given: Mapping[str, Any], made: Mapping[str, Any], run: Mapping[str, Any] | None
) -> bool:
    """Whether a row was trained otherwise than its study trains, or elsewhere, nobody says how."""
    if run is None:
        return "from" in made

    def what(values: Mapping[str, Any], key: str) -> Any:
        """A section, without where its files lie and how many processes read them."""
        section = values.get(key)
        if not isinstance(section, Mapping):
            return section
        return {k: v for k, v in section.items() if k not in PLACES}

    return any(what(run, k) != what(given, k) for k in ("seed", "data", "private", *TRAINED_BY))


def _training(
    given: Mapping[str, Any], made: Mapping[str, Any], run: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The settings of the training by section: of the row's own run, where it is another."""
    if not _elsewhere(given, made, run):
        return _plain({key: _mapping(given.get(key)) for key in TRAINED_BY})
    if run is None:
        return {}
    about: dict[str, Any] = {"seed": _count(run.get("seed"))}
    for key in ("data", "private"):  # names alone: the rest says where it lies
        about[key] = _text(_mapping(run.get(key)).get("name"))
    return _plain({"run": about, **{key: _mapping(run.get(key)) for key in TRAINED_BY}})


def _data(summary: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was looked at: names and counts, no paths."""
    data = _mapping(summary.get("data"))
    private = _mapping(data.get("private"))
    name = _text(summary.get("dataset"))
    parts = {
        part: {"clips": _count(data.get(part)), "people": _count(data.get(f"{part}_people"))}
        for part in ("train", "val", "test")
    }
    named = [text for text in (name, _text(private.get("name"))) if text]
    images = {part: _count(private.get(part)) for part in ("train", "val", "test")}
    return {
        "name": name,
        "kind": _text(_mapping(given.get("data")).get("name")),
        **parts,
        "private": {"name": _text(private.get("name")), **images} if private else None,
        "leaky": [text for text in named if text.startswith(LEAKY)],
    }


def _standing(row: Mapping[str, Any]) -> dict[str, Any]:
    """Where a row stands: four numbers and their intervals."""
    found: dict[str, Any] = {}
    for key in ("top1", "U", "cmap", "L"):
        found[key] = number(row.get(key))
        found[f"{key}_interval"] = _interval(row.get(f"{key}_interval"))
    return found


def _utility(row: Mapping[str, Any], examined: Mapping[str, Any]) -> dict[str, Any]:
    fits = _list(row.get("target_fits"))
    values = _list(row.get("top1_seeds"))
    if len(fits) != len(values):
        fits = [None] * len(values)
    plugin = {str(k): number(v) for k, v in _mapping(row.get("plugin")).items()}
    targets = _list(examined.get("targets"))
    if not plugin and targets and (alone := number(row.get("plugin_top1"))) is not None:
        plugin = {str(targets[0]): alone}  # before there were several, it was the first one's
    return {
        **{k: v for k, v in _standing(row).items() if k.partition("_")[0] in ("top1", "U")},
        "fits": [
            {"network": _text(_at(fit, 0)), "seed": _count(_at(fit, 1)), "top1": number(value)}
            for fit, value in zip(fits, values, strict=True)
        ],
        "targets": {
            str(name): {key: [number(v) for v in _list(entry.get(key))] for key in ("top1", "U")}
            for name, entry in _mapping(row.get("targets")).items()
            if isinstance(entry, dict)
        },
        "plugin": plugin,
        "groups": {
            str(name): {key: number(entry.get(key)) for key in ("present", "absent")}
            for name, entry in _mapping(row.get("groups")).items()
            if isinstance(entry, dict)
        },
    }


def _leakage(
    row: Mapping[str, Any],
    raw: Mapping[str, Any],
    chance: Mapping[str, Any],
    floor: Mapping[str, Any],
    examined: Mapping[str, Any],
    schema: int,
) -> dict[str, Any]:
    headline = _mapping(row.get("headline"))
    usual = "A3" if schema == 1 and examined.get("start") == "scratch" else "A4"
    strongest = _by(row.get("strongest")) or _by(headline.get("by"))
    own = _placed(strongest, usual)[0] if strongest else None
    standing = {k: v for k, v in _standing(row).items() if k.partition("_")[0] in ("cmap", "L")}
    excess, above = number(headline.get("excess")), number(floor.get("cmap"))
    if excess is None and None not in (above, standing["cmap"]):
        excess = standing["cmap"] - above
    return {
        **standing,
        "strongest": strongest,
        "rung": _rung(headline.get("rung")) or own,
        "excess": excess,
        "excess_interval": _interval(headline.get("excess_interval")),
        "attackers": _attackers(row, examined, usual),
        "rungs": _rungs(row, raw, chance, floor, standing, strongest, own, schema),
        "budget": [
            {
                "data": number(entry.get("data")),
                "epochs": number(entry.get("epochs")),
                "by": _by(entry.get("by")),
                "cmap": number(entry.get("cmap")),
                "L": number(entry.get("L")),
            }
            for entry in _rows(row.get("budget"))
        ],
        "f1": number(row.get("f1")),
        "f1_printed": number(row.get("f1_printed")),
    }


def _attackers(
    row: Mapping[str, Any], examined: Mapping[str, Any], usual: str
) -> list[dict[str, Any]]:
    """Every attacker and seed."""
    found = []
    for name, entry in _mapping(row.get("attackers")).items():
        if not isinstance(entry, dict):
            continue
        values, levels = _list(entry.get("cmap")), _list(entry.get("L"))
        levels += [None] * (len(values) - len(levels))
        seeds = _list(entry.get("seeds")) or sorted(_counts(examined.get("seeds")))
        if len(seeds) != len(values):
            seeds = [None] * len(values)
        rung, network = _placed(str(name), usual)
        for seed, value, level in zip(seeds, values, levels, strict=False):
            found.append(
                {
                    "network": network,
                    "rung": rung,
                    "seed": None if str(seed) == START else _count(seed),
                    "cmap": number(value),
                    "L": number(level),
                    "used_in_training": entry.get("used_in_training") is True,
                }
            )
    return found


def _placed(label: str, usual: str) -> tuple[str, str]:
    """Rung and network of an attacker. A label such as "A5 frame_cnn" says its rung; without, it is
    A4, the diverse set, or A3 in an old study whose attackers began with random weights."""
    head, _, rest = label.partition(" ")
    return (head, rest) if head in RUNGS else (usual, label)


def _rungs(
    row: Mapping[str, Any],
    raw: Mapping[str, Any],
    chance: Mapping[str, Any],
    floor: Mapping[str, Any],
    standing: Mapping[str, Any],
    strongest: str | None,
    own: str | None,
    schema: int,
) -> list[dict[str, Any]]:
    """The whole ladder; what was not measured has no cmap. An old summary has the attacker that
    does not adapt (``static_cmap``) and the strongest that does."""
    measured: dict[str, Mapping[str, Any]] = {
        rung: entry for entry in _rows(row.get("rungs")) if (rung := _rung(entry.get("rung")))
    }
    zero = number(chance.get("cmap"))
    measured["A0"] = {"cmap": zero, "L": None if zero is None else 0.0}
    measured["A1"] = floor
    if schema == 1:
        static, top = number(row.get("static_cmap")), number(raw.get("cmap"))
        level = None
        if static is not None and top is not None and zero is not None:
            level = metrics.leakage(static, top, zero)
        measured["A2"] = {"cmap": static, "L": level}
        measured[own or "A4"] = {**standing, "by": strongest}
    found = []
    for rung, what in RUNGS.items():
        entry = measured.get(rung, {})
        found.append(
            {
                "rung": rung,
                "what": what,
                **{k: v for k, v in _standing(entry).items() if k.startswith(("cmap", "L"))},
                "by": _by(entry.get("by")),
                "attributes": {
                    str(name): {key: number(value.get(key)) for key in ("ap", "auroc")}
                    for name, value in _mapping(entry.get("attributes")).items()
                    if isinstance(value, dict)
                },
            }
        )
    return found


def _attributes(
    row: Mapping[str, Any], raw: Mapping[str, Any], floor: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Each attribute, read by the attacker that reads it best, beside raw video and the floor."""
    numbers = ("ap", "auroc", "prevalence", "ap_gain", "balanced_accuracy", "information",
               "within_action_auroc", "f1", "f1_printed", "p", "p_holm")  # fmt: skip
    found = {}
    for name, entry in _mapping(row.get("attributes")).items():
        if not isinstance(entry, dict):
            continue
        values: dict[str, Any] = {key: number(entry.get(key)) for key in numbers}
        ap, share = values["ap"], values["prevalence"]
        if values["ap_gain"] is None and ap is not None and share is not None and share < 100:
            values["ap_gain"] = metrics.ap_gain(ap, share)
        before = _mapping(_mapping(raw.get("attributes")).get(name))
        alone = _mapping(_mapping(floor.get("attributes")).get(name))
        found[str(name)] = {
            **values,
            "ap_interval": _interval(entry.get("ap_interval")),
            **({"held_out": True} if entry.get("held_out") is True else {}),
            "attacker": _by(entry.get("attacker")),
            "raw_ap": number(before.get("ap")),
            "raw_ap_interval": _interval(before.get("ap_interval")),
            "floor_ap": number(alone.get("ap")),
        }
    return found


def _identity(given: Any) -> dict[str, Any]:
    """The three galleries; None where one was not measured."""
    found: dict[str, Any] = {}
    for gallery in GALLERIES:
        entry = _mapping(given).get(gallery)
        found[gallery] = None
        if isinstance(entry, dict) and number(entry.get("rank1")) is not None:
            found[gallery] = {
                "rank1": number(entry.get("rank1")),
                "rank1_interval": _interval(entry.get("rank1_interval")),
                "chance": number(entry.get("chance")),
                "tar": {str(k): number(v) for k, v in _mapping(entry.get("tar")).items()},
            }
    return found


def _inversion(given: Any) -> dict[str, Any] | None:
    values = {key: number(_mapping(given).get(key)) for key in ("psnr", "ssim")}
    return None if set(values.values()) == {None} else values


def _categories(attributes: Mapping[str, Any], identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Which tested attributes point at a category of GDPR Art. 9(1), by their names: proxies. At
    biometric data that identify point the galleries in which people were looked for."""
    found = []
    for category, words in CATEGORIES.items():
        by = [
            name
            for name in attributes
            if words & set(name.lower().split("_"))
            or (name in ORIGIN and category == "racial or ethnic origin")
        ]
        if category == IDENTIFYING:
            by = [gallery for gallery, entry in identity.items() if entry]
        found.append({"category": category, "by": by})
    return found


# Small things ------------------------------------------------------------------------------------


def _up(value: float, decimals: int) -> str:
    """A number that is not below the value, as close as its digits allow."""
    scale = 10**decimals
    if abs(value) > 1e9:  # no figure of ours, and too large to scale
        return f"{value:g}"
    return f"{math.ceil(round(value * scale, 6)) / scale:.{decimals}f}".replace("-", "\u2212")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _rows(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in _list(value) if isinstance(entry, dict)]


def _at(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, list | tuple) and len(value) > index else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _by(value: Any) -> str | None:
    """Who read a figure: "frame_cnn/0", or "A5 frame_cnn" where there is no seed."""
    return None if (fit := _text(value)) is None else unseeded(fit)


def _rung(value: Any) -> str | None:
    return value if isinstance(value, str) and value in RUNGS else None


def _count(value: Any) -> int | None:
    """A whole number of at least 0, or None."""
    found = number(value)
    return None if found is None or found < 0 or found != int(found) else int(found)


def _counts(value: Any) -> list[int]:
    return [count for entry in _list(value) if (count := _count(entry)) is not None]


def _interval(value: Any) -> list[float] | None:
    found = span(value)
    return None if found is None else list(found)


def _plain(value: Any) -> Any:
    """Settings without what JSON cannot hold, and without numbers that are none."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if v is not None and v != {}}
    if isinstance(value, str) or isinstance(value, bool):
        return value
    if isinstance(value, Sequence):
        return [_plain(v) for v in value]
    return number(value) if not isinstance(value, int) else value
