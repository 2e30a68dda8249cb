"""The bundle: a model card, all figures as data, a helper for an impact assessment, and limits.

    model_card.md   what it is, for what, how it was attacked, what came out
    eval.json       every figure, attacker and seed (``evaluation.py``, ``eval.schema.json``)
    dpia.md         a helper for the controller's assessment
    limits.md       what the figures do not say

They are written from a study's ``summary.json``; nothing is trained or measured here.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from velatura import plugins
from velatura.config import read_toml
from velatura.errors import BadInput
from velatura.report.dpia import dpia
from velatura.report.evaluation import GALLERIES, cautions, choose, evaluation, statement
from velatura.report.findings import through
from velatura.report.limits import limits
from velatura.report.markdown import code, table
from velatura.report.run import read_summary
from velatura.report.tables import NONE, figure

__all__ = ["FILES", "Card", "model_card", "write_card"]

# In the order in which they get their names: where eval.json is, the other three are.
FILES = ("model_card.md", "dpia.md", "limits.md", "eval.json")

KINDS = {
    "reference": "a reference, not an anonymizer",
    "fixed": "a fixed filter: nothing was learnt",
    "self-supervised": "learned, without being told the private attributes",
    "supervised": "learned, and told the private attributes of the training clips",
    "learned": "learned",
}


class Card(NamedTuple):
    """A bundle that was written.

    Attributes:
        folder: that holds the four files.
        row: that it is of.
        statement: the one claim that it makes.
    """

    folder: Path
    row: str
    statement: str


def write_card(
    run: Path, row: str = "", out: Path | None = None, *, overwrite: bool = False
) -> Card:
    """Write the four files, all or none.

    Args:
        run: the folder of a study, or of a run that was evaluated.
        row: which one; by default the only learned one.
        out: the folder for the files; by default ``run/card``.
        overwrite: replace an older bundle.

    Raises:
        BadInput: no summary there, or a damaged one; no such row; a bundle is there already; or
            ``out`` cannot be written.
    """
    folder = _study(Path(run))
    summary = read_summary(folder)
    chosen = choose(summary, row)
    found = evaluation(summary, chosen, _config(folder), _run(folder, chosen))
    target = Path(run) / "card" if out is None else Path(out)
    texts = {
        "model_card.md": model_card(found),
        "dpia.md": dpia(found),
        "limits.md": limits(found),
        "eval.json": json.dumps(found, indent=1, allow_nan=False) + "\n",
    }
    there = [name for name in FILES if os.path.lexists(target / name)]
    if there and not overwrite:
        raise BadInput(
            f"{target} holds a card already ({', '.join(there)}); replace it with --overwrite, or "
            "name another folder with --out."
        )
    try:
        target.mkdir(parents=True, exist_ok=True)
        _write_all({target / name: texts[name] for name in FILES})
    except OSError as error:
        raise BadInput(
            f"Cannot write the card to {target} ({error.strerror or error}); nothing was written. "
            "Name another folder with --out."
        ) from None
    return Card(target, found["row"], found["statement"])


def _study(run: Path) -> Path:
    """The folder that holds the summary: this one, or where `velatura evaluate RUN` measures."""
    own = run / "evaluation"
    return own if not (run / "summary.json").exists() and (own / "summary.json").exists() else run


def _config(folder: Path) -> str | None:
    """The digest of the study's configuration, as every one of its records bears it."""
    try:
        with (folder / "records.jsonl").open(encoding="utf-8") as lines:
            found = json.loads(lines.readline())["provenance"]["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _run(folder: Path, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values of the run that trained a row, which a study keeps beside its weights."""
    name = str(row.get("of") or row["name"])
    path = folder / "methods" / name / "config.toml"
    return read_toml(path) if Path(name).name == name and path.is_file() else None


def _write_all(texts: Mapping[Path, str]) -> None:
    """Write all beside, then rename all; whatever goes wrong, the folder is as it was before."""
    parts = {path: path.with_name(f".{path.name}.part") for path in texts}
    kept: dict[Path, Path] = {}
    done: list[Path] = []
    try:
        for path, text in texts.items():
            with parts[path].open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for path in texts:
            if os.path.lexists(path):
                before = path.with_name(f".{path.name}.before.part")
                os.replace(path, before)
                kept[path] = before
            os.replace(parts[path], path)
            done.append(path)
    except BaseException:
        for path in done:
            path.unlink()
        for path, before in kept.items():
            os.replace(before, path)
        kept = {}
        raise
    finally:
        for left in (*parts.values(), *kept.values()):
            left.unlink(missing_ok=True)


# The model card ----------------------------------------------------------------------------------

USE = """\
- Comparing anonymizers, and deciding which is worth a test on your own video.
- Reducing what a camera gives away, as one measure among others, where the purpose is the action
  alone and after measuring again on video of the kind that it will see.
"""

OUT_OF_SCOPE = """\
- Publishing or handing on video of people on the strength of these figures.
- Video that is not of the kind, size and people that it was measured on.
- Deciding about people, recognising them, or sorting them by what they look like.
- Standing in for a lawful basis, for access control, or for the deletion of the original.
"""


def model_card(found: Mapping[str, Any]) -> str:
    """``model_card.md``.

    Args:
        found: an evaluation, as ``eval.json`` holds it.
    """
    speaks = "\n".join(f"- {sentence}" for sentence in cautions(found, code)) or "- None known."
    untested = "; ".join(entry["subject"] for entry in found["not_tested"])
    parts = [
        f"# Model card: {code(found['row'])}",
        statement(found, code),
        "Figures as data: `eval.json`. What they do not say: `limits.md`. For an impact "
        "assessment: `dpia.md`.",
        "## What it is",
        _what(found),
        "## Intended use",
        USE,
        "## Out of scope",
        OUT_OF_SCOPE,
        "## Data",
        _data(found),
        "## Training",
        _training(found),
        "## How it was attacked",
        _attacked(found),
        "## Figures",
        _figures(found),
        "### Attribute by attribute",
        _attributes(found),
        "### Identity and inversion",
        _identity(found),
        "## Trade-offs",
        _trade_offs(found),
        "## Known failures",
        speaks,
        "## Not tested",
        f"{untested[:1].upper()}{untested[1:]}. `limits.md` says more of each.",
        "## Provenance",
        _provenance(found),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _what(found: Mapping[str, Any]) -> str:
    method = found["method"]
    said = _described("methods", method["name"])
    return (
        f"Method {code(method['name'])}, {KINDS[method['family']]}."
        + (f" {said}" if said else "")
        + " It turns video into video of the same size and length. "
        + "Private attributes that it was examined for: "
        f"{', '.join(map(code, found['tested'])) or NONE}."
    )


def _described(room: str, name: str | None) -> str:
    """The first paragraph of a plug-in's page, read without running it; "" for a foreign name."""
    if name is None or name not in plugins.names(room):
        return ""
    source = files(f"velatura.{room}").joinpath(f"{name}.py").read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(source)) or ""
    return " ".join(said.split("\n\n")[0].replace("``", "`").split())


def _data(found: Mapping[str, Any]) -> str:
    data = found["data"]
    said = _described("data", data["kind"])
    rows = [
        (part, _count(data[part]["clips"]), _count(data[part]["people"]))
        for part in ("train", "val", "test")
    ]
    text = f"Data set {code(data['name'])}." + (f" {said}" if said else "") + "\n\n"
    text += table(["split", "clips", "people or films"], rows)
    if data["test"]["clips"] is not None and not data["leaky"]:
        text += "\n\nNo person or film stands in two splits."
    if private := data["private"]:
        counts = ", ".join(f"{part} {_count(private[part])}" for part in ("train", "val", "test"))
        text += f"\n\nPrivate attributes are of images: {code(private['name'])} ({counts})."
    for name in data["leaky"]:
        text += f"\n\n**{code(name)}: test videos were trained on.**"
    return text


def _training(found: Mapping[str, Any]) -> str:
    method = found["method"]
    if method["family"] in ("reference", "fixed"):
        first = "Nothing was trained."
    else:
        first = "One training, on the training split alone; adversaries of training attack nothing "
        first += "afterwards."
        if found["trained_elsewhere"]:
            first = "It was trained elsewhere, and is measured on this study's data as it is."
    rows = [("method", _settings(method["settings"])), ("f_A", _settings(method["anonymizer"]))]
    rows += [(name, _settings(values)) for name, values in found["training"].items()]
    seed = found["seeds"]["study"]
    if not found["trained_elsewhere"]:  # else it stands with its run
        rows.append(("seed", NONE if seed is None else str(seed)))
    rows = [row for row in rows if row[1] != NONE]
    if not rows:
        return f"{first} Its settings are not recorded."
    return f"{first}\n\n" + table(["part", "settings"], rows)


def _settings(values: Mapping[str, Any]) -> str:
    """Settings on one line."""
    return code(", ".join(f"{k} = {json.dumps(v)}" for k, v in values.items()), 2000)


def _attacked(found: Mapping[str, Any]) -> str:
    leakage, setup = found["leakage"], found["examination"]
    if not leakage["attackers"]:
        return "No attacker is recorded."
    ladder = [
        (r["rung"], r["what"], figure(r, "cmap", 1), figure(r, "L", 2), code(r["by"]))
        if r["cmap"] is not None
        else (r["rung"], r["what"], "not measured", NONE, NONE)
        for r in leakage["rungs"]
    ]
    each = [
        (code(a["network"]), a["rung"], NONE if a["seed"] is None else str(a["seed"]),
         figure(a, "cmap", 1), figure(a, "L", 2), "yes" if a["used_in_training"] else "no")
        for a in leakage["attackers"]
    ]  # fmt: skip
    kinds = dict.fromkeys(a["network"] for a in leakage["attackers"])
    described = [
        f"- {code(name)}: {said}" for name in kinds if (said := _described("attackers", name))
    ]
    budget = [
        (figure(e, "data", 2), figure(e, "epochs", 0), code(e["by"]), figure(e, "cmap", 1),
         figure(e, "L", 2))
        for e in leakage["budget"]
    ]  # fmt: skip
    coded = f", and put through {code(how)}" if (how := through(setup)) else ""
    parts = [
        f"The anonymizer was frozen and its output rounded to 8 bits{coded}. "
        "Networks that took no part in "
        "training were fitted on the released training clips with the true labels, their epoch "
        "chosen on validation clips, and scored once on test clips of other people; those of A2 "
        "and A5 know raw video only. The strongest counts; it is chosen on the test split, against "
        "the method.",
        table(["rung", "attacker", "cMAP, %", "L", "strongest"], ladder),
        "Every attacker and seed (the last column: whether training played against networks of "
        "this kind):",
        table(["network", "rung", "seed", "cMAP, %", "L", "known to training"], each),
        "\n".join(described),
        f"Means of the attackers: {_settings(setup)}." if setup else "",
    ]
    if budget:
        parts += [
            "With other means (share of the training clips, epochs):",
            table(["data", "epochs", "attacker", "cMAP, %", "L"], budget),
        ]
    return "\n\n".join(part for part in parts if part)


def _figures(found: Mapping[str, Any]) -> str:
    chance, floor, raw = (found["references"][key] for key in ("chance", "floor", "raw"))
    here = {**found["utility"], **found["leakage"]}
    rows = [("no information", {**chance, "U": 0.0, "L": 0.0}), ("action alone", floor)]
    rows += [("raw video", raw)] if raw else []
    rows.append((f"**{code(found['row'])}**", here))
    after = [r for r in found["table"] if r.get("of") == found["row"]]
    rows += [(f"the same after {code(through(r))}", r) for r in after]
    text = table(
        ["", "top-1, %", "U", "cMAP, %", "L"],
        [
            (name, figure(r, "top1", 1), figure(r, "U", 2), figure(r, "cmap", 1),
             figure(r, "L", 2))
            for name, r in rows
        ],
    )  # fmt: skip
    text += (
        "\n\nIn brackets: 95 % intervals over test people or films. U is the action accuracy that "
        "is left and L what the strongest attacker still reads, as shares of raw video; chance "
        "is 0, raw is 1. L is a lower bound on what can be read."
    )
    if here["excess"] is not None:
        points = figure(here, "excess", 1)
        text += f" Beyond the action alone the strongest attacker reads {points} points of cMAP."
    fits = [
        (code(f["network"]), NONE if f["seed"] is None else str(f["seed"]), figure(f, "top1", 1))
        for f in here["fits"]
    ]
    fits += [
        (f"{code(name)}, knows raw video only", NONE, figure({"x": value}, "x", 1))
        for name, value in here["plugin"].items()
    ]
    if fits:
        text += "\n\nTop-1 by target:\n\n" + table(["network", "seed", "top-1, %"], fits)
    picture = found["picture"]
    if picture["rms"] is not None:
        text += f"\n\nMean change of a clip: RMS {picture['rms']:.3f}, intensities from 0 to 1"
        if picture["bound"] is not None and picture["beyond_bound"] is not None:
            text += f"; bound {picture['bound']:g}, beyond it {100 * picture['beyond_bound']:.1f} %"
        text += "."
    return text


def _attributes(found: Mapping[str, Any]) -> str:
    if not found["attributes"]:
        return "No attribute was measured."
    columns = [  # key, heading, decimals
        ("prevalence", "guessing", 1), ("floor_ap", "action alone", 1), ("raw_ap", "raw video", 1),
        ("ap", "AP", 1), ("auroc", "AUROC", 1), ("balanced_accuracy", "balanced accuracy", 1),
        ("within_action_auroc", "AUROC within actions", 1), ("ap_gain", "AP gain (0 to 1)", 2),
        ("information", "bits", 3), ("p_holm", "p (Holm)", 3),
    ]  # fmt: skip
    entries = found["attributes"]
    shown = [c for c in columns if any(e[c[0]] is not None for e in entries.values())]
    rows = [
        (
            code(name) + " (held out)" * ("held_out" in e),
            *(figure(e, key, decimals) for key, _, decimals in shown),
            code(e["attacker"]),
        )
        for name, e in entries.items()
    ]
    held = any("held_out" in e for e in entries.values())
    return (
        table(["attribute", *(heading for _, heading, _ in shown), "read by"], rows)
        + "\n\nAverage precision (AP) and AUROC in per cent, by the attacker that reads the "
        "attribute best; guessing is the prevalence."
        + " Held out: no training of this study was told it; attackers were."
        * held
    )


def _identity(found: Mapping[str, Any]) -> str:
    lines = []
    for gallery, asked in GALLERIES.items():
        entry = found["identity"][gallery]
        if entry is None:
            lines.append(f"- {asked}: **not measured**.")
            continue
        chance = figure(entry, "chance", 1)
        said = f"Rank-1 {figure(entry, 'rank1', 1)} %, by guessing {chance} %"
        for far, value in entry["tar"].items():
            said += f"; TAR at FAR {code(far)}: {figure({'x': value}, 'x', 1)} %"
        lines.append(f"- {asked}: {said}.")
    inversion = found["inversion"]
    if inversion is None:
        lines.append("- what of the original can be computed from the release: **not measured**.")
    else:
        lines.append(
            f"- what of the original can be computed from the release: PSNR "
            f"{figure(inversion, 'psnr', 1)} dB, SSIM {figure(inversion, 'ssim', 2)}."
        )
    return "\n".join(lines)


def _trade_offs(found: Mapping[str, Any]) -> str:
    rows = [
        (code(r["row"]), r["family"], figure(r, "U", 2), figure(r, "L", 2)) for r in found["table"]
    ]
    return (
        "Hiding more costs action accuracy. All rows of the same study, the same attackers:\n\n"
        + table(["row", "kind", "U", "L"], rows)
    )


def _provenance(found: Mapping[str, Any]) -> str:
    about = found["provenance"]
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    rows = [
        ("study", code(found["title"])),
        ("command", code(about["command"])),
        ("finished", code(about["created"])),
        ("configuration", code(about["config"])),
        ("data fingerprint", code(about["data"])),
        ("versions", code(versions)),
        ("written by", about["written_by"]),
    ]
    again = f"velatura card RUN --row {found['row']}"
    return (
        table(["", ""], rows)
        + f"\n\nTo reproduce: the command above, then {code(again)} on the folder that it wrote."
    )


def _count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"
