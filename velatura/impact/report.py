"""``velatura impact report``: what a bench measured, as a page and as tables.

    OUT/report.html    one page that works offline
    OUT/table.md       the tables
    OUT/table.csv      every figure of every arm, task and category, one a line
    OUT/table.json     the same lines

All numbers are those of ``bench.json``. The category that is hidden and those that are not stand
apart; beside them stand the share of instances that were hidden, what a network still reads of the
people, and how many are recognised by their faces. What the literature measured on other data has a
table of its own.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from velatura.errors import BadInput
from velatura.impact._coco import parsed
from velatura.impact._grid import FEW, GAN
from velatura.impact._score import FIGURES
from velatura.impact.bench import RESULT, copy_folder
from velatura.impact.train_gan import SAMPLES
from velatura.report import markdown
from velatura.report.tables import NONE, value_text

__all__ = [
    "by_the_clock", "in_words", "lines", "networks", "plain_table", "published", "read",
    "write_report",
]  # fmt: skip

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
PICTURES = 4  # generated ones that the page shows of every arm
SHORT = {"detection": "box", "segmentation": "mask", "keypoints": "keypoint"}
DRAWN = "generated"  # of the ways of filling holes that distances are of
SHOWN = ("AP", "AP50", "AP_small", "AP_medium", "AP_large")


def read(folder: Path) -> dict[str, Any]:
    """The result of a bench.

    Raises:
        BadInput: none there, or something else.
    """
    path = folder / RESULT
    if not path.is_file():
        raise BadInput(
            f"There is no {path}; name the folder of a `velatura impact bench` that has ended."
        )
    found = parsed(path)
    if not isinstance(found, dict) or not str(found.get("schema", "")).startswith(
        "velatura-impact-bench/"
    ):
        raise BadInput(f"{path} is not of `velatura impact bench`.")
    return dict(found)


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write page and tables of a bench.

    Args:
        folder: of the bench.
        out: a folder; by default that of the bench.

    Returns:
        The page.

    Raises:
        BadInput: no bench there, or ``out`` cannot be written.
    """
    result, target = read(folder), out or folder
    listed = lines(result)
    texts = {
        "report.html": page(result, folder),
        "table.md": to_markdown(result),
        "table.csv": to_csv(listed),
        "table.json": json.dumps(listed, indent=1) + "\n",
    }
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            beside = target / f".{name}.part"
            beside.write_text(text, encoding="utf-8")
            os.replace(beside, target / name)
    except OSError as error:
        raise BadInput(
            f"Cannot write the report into {target} ({error.strerror}); name another --out."
        ) from None
    return target / "report.html"


# For programs ----------------------------------------------------------------------------------


def lines(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every figure of every arm, flat."""
    found = []
    for arm in result["arms"]:
        privacy, faces = arm["privacy"] or {}, arm.get("faces") or {}
        for task, groups in result["figures"].get(arm["name"], {}).items():
            for group, figures in groups.items():
                for name in FIGURES:
                    value = figures[name]
                    low, high = value["difference_interval"] or (None, None)
                    found.append(
                        {
                            "arm": arm["name"],
                            "share_hidden": arm["share"],
                            "task": task,
                            "categories": group,
                            "figure": name,
                            "mean": value["mean"],
                            "sd": value["sd"],
                            "n": value["n"],
                            "difference": value["difference"],
                            "difference_low": low,
                            "difference_high": high,
                            "within_noise": value["within_noise"],
                            "L": privacy.get("L"),
                            "auroc": privacy.get("auroc"),
                            "faces_found": faces.get("found"),
                            "recognised": faces.get("rank1"),
                            "recognised_by": faces.get("by"),
                        }
                    )
    return found


def to_csv(listed: Sequence[Mapping[str, Any]]) -> str:
    """``lines`` as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(listed[0]) if listed else ["arm"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return text.getvalue()


# In words --------------------------------------------------------------------------------------


def in_words(result: Mapping[str, Any]) -> list[str]:
    """What came out of the known order, and what the figures are not."""
    said = []
    lost = [line for line in result["order"] if not line["held"]]
    if result["order"]:
        count = len(result["order"])
        said.append(
            f"The known order came out: all {count} lines held."
            if not lost
            else f"The known order did NOT come out: {len(lost)} of {count} lines."
        )
    for line in lost:
        value = "it was not measured" if line["value"] is None else f"it is {line['value']:.3f}"
        said.append(f"NOT HELD: {line['says']}: {value}.")
    if len(result["seeds"]) < FEW:
        count = len(result["seeds"])
        said.append(
            f"{count} seed{'s' if count > 1 else ''}: an order, and no measure of noise; take "
            f"{FEW} or more for figures."
        )
    if result["data"]["generated"]:
        said.append("Generated people: a check of the mechanism, and no evidence on photographs.")
    if any(arm["privacy"] for arm in result["arms"]):
        said.append(
            "L is what one small network reads of the people in the copies, as a share of what it "
            "reads in the original: others may read more."
        )
    if _has_faces(result):
        said.append(_about_faces(result))
    if why := result.get("faces_missing"):  # a bench of an earlier version asked nobody
        said.append(why)
    return said


def _has_faces(result: Mapping[str, Any]) -> bool:
    """Whether any arm says what became of faces; those of earlier versions do not."""
    return any(arm.get("faces") for arm in result["arms"])


def _hides_alike(result: Mapping[str, Any]) -> bool:
    """Whether faces were also compared with others that were hidden alike, where that helps; an
    earlier version did not."""
    return any("alike" in (arm.get("faces") or {}) for arm in result["arms"])


def _about_faces(result: Mapping[str, Any]) -> str:
    """Who is recognised, by whom, and what that is not."""
    most = max(
        (arm["faces"] for arm in result["arms"] if arm.get("faces")), key=lambda one: one["people"]
    )
    nobody = ", and of generated people they say little" if result["data"]["generated"] else ""
    alike = (
        "The originals were compared as they are: whoever hides them alike first may recognise far "
        "more after blur and pixelate."
    )
    if _hides_alike(result):
        both = [arm["name"] for arm in result["arms"] if (arm.get("faces") or {}).get("alike")]
        alike = (
            f"Where a method reads what it hides ({', '.join(both) or 'here none'}), slightly "
            "other pictures of the same scenes were also hidden alike and compared, and the larger "
            "figure counts."
        )
    return (
        f"Recognised: public networks (centerface, dlib) know where {most['people']} faces were, "
        f"and hold the original photographs of {most['gallery']}: how often the most similar is "
        f"the person's own, {most['chance']:.1f} % by chance. {alike} Others may recognise "
        f"more{nobody}."
    )


def networks(result: Mapping[str, Any]) -> list[str]:
    """What drew the people of arms: what it learnt from, and how far that went.

    Distances are those of ``velatura/inpainting/distance.py``, by the kernel, which many crops and
    few alike do not make larger.
    """
    said = []
    found = result.get(GAN)  # a bench of an earlier version has none
    if found:
        crops, known = found["crops"], found["learnt_from"]
        names = " and ".join(found["arms"])
        text = (
            f"{names}: drawn by a network that learnt from "
            f"{crops['total'] - crops['held_out']} crops of the {known['pictures']} training "
            f"pictures and {known['of_val'] or 'none'} of val, in {found['steps']} steps"
            + (f", {found['seconds']:.0f} s" if found["seconds"] else "")
        )
        ways = found["distance"]["distance"]
        far = {way: value_text(value, "kernel", 2)[0] for way, value in ways.items()}
        if far:
            others = ", ".join(f"{way} {value}" for way, value in far.items() if way != DRAWN)
            closer = ways[DRAWN]["kernel"] < ways["grey"]["kernel"]
            text += (
                f". Distance to real crops {far[DRAWN]} ({others}; "
                f"{found['distance']['features']}): {'nearer' if closer else 'NO nearer'} than "
                "grey holes"
            )
        said.append(
            f"{text}. It is one network for all seeds: what another would have cost, ± does not "
            "say."
        )
    methods = {arm["name"]: arm.get("method", {}) for arm in result["grid"].get("arms", ())}
    given = [name for name, how in methods.items() if how.get("name") == GAN and how.get("model")]
    if given:
        said.append(
            f"{', '.join(given)}: drawn by a network that was trained elsewhere; whether it saw "
            "pictures of val, nobody here knows."
        )
    return said


def _spread(value: Mapping[str, Any], decimals: int = 1) -> str:
    """Mean and standard deviation."""
    if value["mean"] is None:
        return NONE
    text = value_text({"x": value["mean"]}, "x", decimals)[0]
    return text if value["sd"] is None else f"{text} ± {value['sd']:.{decimals}f}"


def _difference(value: Mapping[str, Any]) -> str:
    """To the original, with its interval."""
    if value["difference"] is None:
        return NONE
    text, inside = value_text(
        {"x": value["difference"], "x_interval": value["difference_interval"]}, "x", 1
    )
    return f"{text} ({inside})" if inside else text


def _noise(value: Mapping[str, Any]) -> str:
    known = value["within_noise"]
    return "not known" if known is None else "within noise" if known else "beyond noise"


def _share(arm: Mapping[str, Any]) -> str:
    return NONE if arm["share"] is None else f"{100 * arm['share']:.1f} %"


def _read_of(arm: Mapping[str, Any]) -> tuple[str, str]:
    """L with its interval, and AUROC."""
    found = arm["privacy"]
    if not found:
        return "not measured", "not measured"
    text, inside = value_text({"x": found["L"], "x_interval": found["L_interval"]}, "x", 2)
    return f"{text} ({inside})" if inside else text, f"{found['auroc']:.1f}"


def _leak(arm: Mapping[str, Any]) -> str:
    """L alone."""
    found = arm["privacy"] or {"L": None}
    return NONE if found["L"] is None else value_text({"x": found["L"]}, "x", 2)[0]


def _recognised(arm: Mapping[str, Any]) -> str:
    """Rank-1 alone."""
    found = arm.get("faces")
    return f"{found['rank1']:.1f} %" if found else NONE


def _faces(arm: Mapping[str, Any]) -> tuple[str, str, str]:
    """Faces that are found, and recognised, with their intervals; and by what."""
    found = arm.get("faces")
    if not found:
        return "not measured", "not measured", NONE
    each = (value_text(found, key, 1) for key in ("found", "rank1"))
    shown = [f"{text} ({inside})" if inside else text for text, inside in each]
    return shown[0], shown[1], found["by"]


def _of(result: Mapping[str, Any], arm: str, task: str, group: str, figure: str = "AP") -> Any:
    """One figure; one without values where the arm has none."""
    none = {"mean": None, "sd": None, "n": 0, "difference": None, "difference_interval": None,
            "within_noise": None}  # fmt: skip
    return result["figures"].get(arm, {}).get(task, {}).get(group, {}).get(figure, none)


def plain_table(result: Mapping[str, Any]) -> str:
    """One line an arm: what a terminal of a hundred columns shows."""
    tasks, faces = result["tasks"], _has_faces(result)
    head = ["arm", "hidden", *(f"{SHORT[task]} AP" for task in tasks), "control box AP", "L"]
    rows = [head + ["recognised"] * faces]
    for arm in result["arms"]:
        name = arm["name"]
        cells = [_spread(_of(result, name, task, "hidden")) for task in tasks]
        control = _spread(_of(result, name, "detection", "control"))
        rows.append([name, _share(arm), *cells, control, _leak(arm), *[_recognised(arm)] * faces])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


# Tables ----------------------------------------------------------------------------------------

Table = tuple[str, list[str], list[list[str]]]
"""A title, headings, and cells as text."""


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Of each task; of what is read of the people; of the order; of train x test."""
    found, faces = [], _has_faces(result)
    hidden, control = (", ".join(result["categories"][key]) for key in ("hidden", "control"))
    for task in result["tasks"]:
        head = ["Arm", "Hidden", *(name.replace("AP_", "AP ") for name in SHOWN), "To original",
                "Mark", "Control AP", "Control, to original", "L",
                *["Recognised"] * faces]  # fmt: skip
        rows = []
        for arm in result["arms"]:
            own, other = (_of(result, arm["name"], task, key) for key in ("hidden", "control"))
            shown = [_spread(_of(result, arm["name"], task, "hidden", name)) for name in SHOWN]
            same = arm["name"] == result["reference"]
            rows.append(
                [arm["name"], _share(arm), *shown, NONE if same else _difference(own),
                 NONE if same else _noise(own), _spread(other),
                 NONE if same else _difference(other), _leak(arm),
                 *[_recognised(arm)] * faces]
            )  # fmt: skip
        about = f"of {hidden or 'nobody'}, the hidden; control: {control or 'none'}"
        found.append((f"{SHORT[task].capitalize()} AP {about}", head, rows))
    read_ = [
        [arm["name"], _share(arm), *_read_of(arm), *(_faces(arm) if faces else ())]
        for arm in result["arms"]
    ]
    head = ["Arm", "Hidden", "L", "AUROC", *["Faces found, %", "Recognised, %", "By"] * faces]
    found.append(("What a network reads of the people", head, read_))
    if result["order"]:
        order = [
            [line["says"], NONE if line["value"] is None else f"{line['value']:.2f}",
             "yes" if line["held"] else "NO"]
            for line in result["order"]
        ]  # fmt: skip
        found.append(("The known order", ["What must be", "Measured", "Held"], order))
    if result["crossed"]:
        keys = ("original_on_original", "original_on_copy", "copy_on_original", "copy_on_copy")
        crossed = [
            [row["arm"], SHORT[row["task"]], *(_mean(row[key]["mean"]) for key in keys)]
            for row in result["crossed"]
        ]
        head = ["Arm", "AP of", "original, original", "original, copy", "copy, original",
                "copy, copy"]  # fmt: skip
        found.append(("Trained on, tested on: AP of the hidden", head, crossed))
    return found


def _mean(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"


def published() -> tuple[dict[str, Any], Table]:
    """The figures of the literature, plain, and their table."""
    import tomllib

    text = files("velatura.impact").joinpath("paper_impact.toml").read_text(encoding="utf-8")
    said = tomllib.loads(text)

    def cell(row: Mapping[str, Any], key: str) -> str:
        value = f"{row[key]:.1f}"
        return f"{value} ± {row[f'{key}_sd']:g}" if f"{key}_sd" in row else value

    keys = ("pedestrian", "pedestrian_50", "rider", "car", "all")
    rows = [
        [row["name"] + (f" ({row['seeds']} seeds)" if "seeds" in row else ""),
         *(cell(row, key) for key in keys)]
        for row in said["rows"]
    ]  # fmt: skip
    head = ["Trained on", "Pedestrian AP", "AP50", "Rider AP", "Car AP", "All eight"]
    return said, ("Published: mask AP on BDD100K", head, rows)


def not_the_same(said: Mapping[str, Any]) -> str:
    """What must be read before the published table."""
    return (
        f"Other data and other networks than above: {said['data']}; {said['network']}. Compare the "
        f"order of the rows, never their heights. {said['caveat']} Source: {said['source']}."
    )


LEGEND = (
    "AP in per cent, mean ± standard deviation over seeds, tested on original pictures that nobody "
    "trained on. To original: mean of the differences between runs of one seed, with Student's 95 "
    "% interval over seeds; within noise where that holds 0. Hidden: share of the instances that "
    "were anonymized; whoever leaves people out gains AP. L: what a fresh network reads of the "
    "people in the copies, 1 as much as in the original, 0 no more than chance, with a 95 % "
    "interval over people; AUROC of the same, 50 at chance. It is one attacker, and others may "
    "read more."
)
OF_FACES = (
    " Faces found: of the people whose face is found in the original, for how many one is found at "
    "that place; whoever draws somebody else keeps it high, and means to. Recognised: for how many "
    "what the copy has there is more like their own original than like anybody else's, whether or "
    "not a face is found; with 95 % intervals over pictures. The attacker has the very photographs "
    "that were copied."
)
OF_ALIKE = (
    " Where a method reads what it hides, the attacker also hides slightly other pictures of the "
    "same scenes by the same settings, and compares alike with alike: the larger figure counts, "
    "and By names it. What stands around a face helps it, too."
)


def _legend(result: Mapping[str, Any]) -> str:
    return LEGEND + OF_FACES * _has_faces(result) + OF_ALIKE * _hides_alike(result)


def to_markdown(result: Mapping[str, Any]) -> str:
    """All tables."""
    parts = [f"# {markdown.one_line(result['title'])}", *map(markdown.one_line, in_words(result))]
    for at, (title, head, rows) in enumerate(tables(result), 1):
        parts += [f"## {markdown.one_line(title)}", markdown.table(head, rows)]
        if at == len(result["tasks"]):
            parts += map(markdown.one_line, networks(result))
    parts.append(_legend(result))
    said, (title, head, rows) = published()
    parts += [f"## {title}", not_the_same(said), markdown.table(head, rows)]
    return "\n\n".join(parts) + "\n"


# The page --------------------------------------------------------------------------------------


def page(result: Mapping[str, Any], folder: Path) -> str:
    """The whole page as text."""
    shown = tables(result)
    count = len(result["tasks"])
    said, other = published()
    drawn = "".join(f"<p>{escape(sentence)}</p>" for sentence in networks(result))
    sections = [
        _section("What it costs", _figure(result) + "".join(map(_titled, shown[:count])) + drawn
                 + f'<p class="small soft under">{escape(_legend(result))}</p>'),
        *(_section(title, _html((title, head, rows))) for title, head, rows in shown[count:]),
        _pictures(result, folder),
        _samples(result, folder),
        _section(other[0], f"<p>{escape(not_the_same(said))}</p>{_html(other)}"),
        _section("How it was made", _made(result)),
    ]  # fmt: skip
    words = "".join(f"<p>{escape(sentence)}</p>" for sentence in in_words(result))
    failed = "".join(
        f"<li>{escape(name)}: {escape(str(why))}</li>" for name, why in result["failed"].items()
    )
    missing = f'<div class="missing">Failed:<ul>{failed}</ul></div>' if failed else ""
    style = files("velatura.report").joinpath("page.css").read_text(encoding="utf-8")
    title = escape(str(result["title"]))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{title}</title>\n<style>\n{style}'
        ".drawn { background: #fff; padding: 10px; margin-bottom: 16px; }\n"
        ".drawn svg { display: block; width: 100%; height: auto; }\n"
        ".sheet img { width: 128px; height: 128px; object-fit: contain; "
        "image-rendering: pixelated; }\n"
        ".samples { display: block; width: 100%; max-width: 600px; image-rendering: pixelated; }\n"
        ".card { margin-bottom: 16px; }\n</style>\n</head>\n<body>\n"
        f"<header><h1>{title}</h1>{words}{missing}</header>\n<main>{''.join(sections)}</main>\n"
        "<footer>Written by velatura. This page is complete in itself: it loads nothing and sends "
        "nothing.</footer>\n</body>\n</html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _titled(table: Table) -> str:
    return f"<h3>{escape(table[0])}</h3>{_html(table)}"


def _html(table: Table) -> str:
    title, head, rows = table

    def line(cells: Iterable[str]) -> str:
        first, *rest = map(escape, cells)
        inner = "".join(f'<td class="num">{cell}</td>' for cell in rest)
        return f'<tr><th scope="row">{first}</th>{inner}</tr>'

    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    return (
        f'<div class="card scroll" tabindex="0" role="region" aria-label="{escape(title)}"><table>'
        f'<caption class="unseen">{escape(title)}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(map(line, rows))}</tbody></table></div>"
    )


def _figure(result: Mapping[str, Any]) -> str:
    """A panel for each task: of each arm the seeds, their mean, and the control's."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from velatura.metrics import mean_interval
    from velatura.report.paper_figure import COLOURS, STYLE

    arms, tasks = [arm["name"] for arm in result["arms"]], result["tasks"]
    with rc_context({**STYLE, "svg.fonttype": "none"}):
        drawn = Figure(figsize=(3.2 * len(tasks) + 1, 0.34 * len(arms) + 1.1), layout="constrained")
        panels = drawn.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for axes, task in zip(panels, tasks, strict=True):
            for place, arm in enumerate(arms):
                for group, colour, lift in (
                    ("hidden", COLOURS[0], 0),
                    ("control", COLOURS[1], 0.22),
                ):
                    values = [value for _, value in _of(result, arm, task, group).get("seeds", ())]
                    if not values:
                        continue
                    middle, inside = mean_interval(values)
                    y = place + lift
                    axes.plot(values, [y] * len(values), "|", color=colour, markersize=7)
                    axes.plot(middle, y, "os"[group == "control"], color=colour, markersize=4)
                    if inside is not None:
                        axes.plot([max(inside[0], 0), inside[1]], [y, y], "-", color=colour, lw=1)
            axes.set(xlabel=f"{SHORT[task]} AP", xlim=(-1, None))
            axes.set_yticks(range(len(arms)), arms)
        if len(panels):
            panels[0].invert_yaxis()
        text = io.StringIO()
        drawn.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    names = (", ".join(result["categories"][key]) for key in ("hidden", "control"))
    hidden, control = map(escape, names)
    return (
        f'<div class="card drawn">{svg[svg.index("<svg") :]}</div><p class="small soft">Dots: '
        f"{hidden}, which are hidden. Squares: {control or 'none'}, the control. Strokes are "
        "seeds, lines Student's 95 % intervals of the mean. The tables have all numbers.</p>"
    )


def _pictures(result: Mapping[str, Any], folder: Path) -> str:
    """The same pictures in every arm; only of people who are nobody."""
    if not result["data"]["generated"]:
        return ""
    arms = [arm["name"] for arm in result["arms"]]
    places = [copy_folder(folder, arm) / "train" for arm in arms]
    names = sorted(path.name for path in places[0].glob("*.png"))[:PICTURES]
    if not names:
        return ""
    heads = "".join(f'<th scope="col">{escape(arm)}</th>' for arm in arms)
    rows = ""
    for name in names:
        cells = ""
        for arm, place in zip(arms, places, strict=True):
            path = place / name
            if path.is_file():
                data = base64.b64encode(path.read_bytes()).decode()
                alt = escape(f"{arm}, {name}")
                cells += f'<td><img alt="{alt}" src="data:image/png;base64,{data}"></td>'
            else:
                cells += "<td></td>"
        rows += f"<tr>{cells}</tr>"
    body = (
        "<p>Generated people, who are nobody: the first pictures of the training set as each arm "
        f'has them.</p><div class="card scroll sheet" tabindex="0" role="region" aria-label='
        f'"Pictures"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
    return _section("What was trained on", body)


def _samples(result: Mapping[str, Any], folder: Path) -> str:
    """What the network draws, beside real crops; only of people who are nobody."""
    path = folder / GAN / SAMPLES
    if not (result["data"]["generated"] and result.get(GAN) and path.is_file()):
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return _section(
        "What the network draws",
        "<p>Generated people of training pictures that it did not learn from: as they are, with "
        "their hole, as the network of the last step draws them by three lots, and as the mean of "
        "its last steps does, which made the copies.</p>"
        '<img class="samples" alt="Crops beside what is drawn" '
        f'src="data:image/png;base64,{data}">',
    )


def by_the_clock(result: Mapping[str, Any]) -> str:
    """How long all of it took, on how many workers; empty of a bench of an earlier version."""
    elapsed, workers = result.get("elapsed"), result.get("workers")
    if elapsed is None:
        return ""
    return f"{elapsed / 60:.0f} minutes on {workers} worker{'s' if workers != 1 else ''}"


def _made(result: Mapping[str, Any]) -> str:
    """Settings, versions and times."""
    data = result["data"]
    about = {
        "command": result["command"],
        "seeds": ", ".join(map(str, result["seeds"])),
        "training": json.dumps(result["grid"].get("train", {})),
        **({"network": json.dumps(result["grid"][GAN])} if GAN in result["grid"] else {}),
        "tested on": f"{data['val']['images']['total']} original pictures, fingerprint "
        f"{data['val']['fingerprint']}" if "val" in data else NONE,
        "seconds of all jobs": ", ".join(f"{k} {v:.0f}" for k, v in result["seconds"].items()),
        **({"by the clock": clock} if (clock := by_the_clock(result)) else {}),
        "versions": ", ".join(f"{k} {v}" for k, v in result["versions"].items()),
    }  # fmt: skip
    listed = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in about.items())
    arms = "".join(
        f"<dt>{escape(arm['name'])}</dt><dd>{escape(json.dumps(arm['method']))}, "
        f"{escape(json.dumps(arm['regions']))}</dd>"
        for arm in result["arms"]
    )
    return f"<dl>{listed}</dl><h3>Arms</h3><dl>{arms}</dl>"
