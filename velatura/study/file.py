"""A study file: its rows, checked, and every default filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from velatura import plugins
from velatura.config import build, config, plain, read_toml, to_toml
from velatura.errors import BadInput, unknown
from velatura.experiment import SECTIONS as RUN_SECTIONS
from velatura.experiment import Run, check_role, load_anonymizer, resolve
from velatura.protocols import action, identity, inversion, privacy
from velatura.protocols._fresh import Config as Evaluation

RAW = "raw"  # the row that every other one is measured against
# All that a study file may hold.
SECTIONS = (*RUN_SECTIONS, "title", "rows", "evaluation")


@config
class Coded:
    """A row that is what another row of the study releases, after a codec."""

    name: str
    of: str
    """The row whose anonymizer it is: nothing is trained for this one."""
    codec: Literal["h264"]
    crf: Annotated[int, Field(ge=0, le=51)] = 23
    """How coarsely the codec writes; that of ``[evaluation]`` where the row does not say."""


@dataclass(frozen=True)
class Row:
    """One line of the table: its label and the run that makes its anonymizer.

    Attributes:
        source: the folder of a run that is measured as it is; None where the study trains.
        coded: what it is of, where it is another row's release after a codec; ``run`` is that
            row's then.
    """

    name: str
    run: Run
    source: Path | None = None
    coded: Coded | None = None

    @property
    def maker(self) -> str:
        """The row whose anonymizer releases it: itself, or the one that it is of."""
        return self.coded.of if self.coded else self.name


@dataclass(frozen=True)
class Study:
    """A resolved study file."""

    title: str
    base: Run
    evaluation: Evaluation
    rows: tuple[Row, ...]

    def values(self) -> dict[str, Any]:
        """As it stands in a study file."""
        rows = [
            plain(r.coded)
            if r.coded
            else {
                "name": r.name,
                "method": r.run.method.values(),
                "anonymizer": r.run.anonymizer.values(),
                **({"from": str(r.source)} if r.source else {}),
            }
            for r in self.rows
        ]
        base = {k: v for k, v in self.base.values().items() if k not in ("method", "anonymizer")}
        return {"title": self.title, **base, "evaluation": plain(self.evaluation), "rows": rows}

    def toml(self) -> str:
        """The study file that repeats this study."""
        values = self.values()
        rows = values.pop("rows")
        return to_toml(values) + "".join(
            "\n[[rows]]\n" + "".join(f"{key} = {_inline(value)}\n" for key, value in row.items())
            for row in rows
        )

    def row(self, name: str) -> Row:
        """The row of this name."""
        return next(row for row in self.rows if row.name == name)

    def science(self) -> dict[str, Any]:
        """The values without the services; where a row was trained is told by its weights."""
        values = {k: v for k, v in self.values().items() if k not in ("loop", "title")}
        values["rows"] = [{k: v for k, v in r.items() if k != "from"} for r in values["rows"]]
        return {**values, "clip_gradient": self.base.loop.clip_gradient}


def _inline(values: Any) -> str:
    if not isinstance(values, Mapping):
        return json.dumps(values)
    lines = to_toml(values).strip().splitlines()
    return "{ " + ", ".join(lines) + " }"


def resolve_study(values: Mapping[str, Any]) -> Study:
    """Check a study file's plain values; the raw row is added where it is missing.

    Raises:
        BadInput: what a run file's check raises, a row without a name, two of one name, or one
            after a codec that is of no row that can be.
    """
    values = dict(values)
    for key in values:
        if key not in SECTIONS:
            raise unknown("section", key, SECTIONS)
    title = str(values.pop("title", "A study"))
    given = values.pop("rows", [])
    if not isinstance(given, list) or not all(isinstance(r, Mapping) for r in given):
        raise BadInput("rows: expected a list of tables, each [[rows]] with a name and a method.")
    examined = values.pop("evaluation", {})
    if not isinstance(examined, Mapping):
        raise BadInput(f"evaluation: expected a section [evaluation], got {examined!r}.")
    evaluation = build(Evaluation, examined, "evaluation")
    base = resolve({**values, "method": {"name": "identity"}})
    rows: list[Row | Coded] = []
    for index, row in enumerate(given):
        if "of" in row:
            rows.append(build(Coded, {"crf": evaluation.crf, **row}, f"rows[{index}]"))
            _check_name(rows[-1].name, index)
            continue
        extra = set(row) - {"name", "method", "anonymizer", "from"}
        if extra or not {"method", "from"} & set(row):
            raise BadInput(
                f"rows[{index}]: expected the keys name, method and optionally anonymizer; or name "
                f"and from; or name, of, codec and optionally crf; got {sorted(row)}."
            )
        source = Path(str(row["from"])) if "from" in row else None
        if source and ("method" not in row or source.exists()):
            row = _as_made(row, source, index, base.held_out)
        changed = {**values, "method": row["method"]}
        if "anonymizer" in row:
            changed["anonymizer"] = row["anonymizer"]
        try:
            run = resolve(changed)
        except BadInput as error:
            called = f" ({row['name']})" if "name" in row else ""
            raise BadInput(f"rows[{index}]{called}: {error}") from None
        name = str(row.get("name", run.method.name))
        _check_name(name, index)
        if name == RAW and run.method.name != "identity":
            raise BadInput(
                f"rows[{index}]: the row 'raw' is what others are measured against; its method is "
                f"identity, not {run.method.name}. Name this one otherwise."
            )
        rows.append(Row(name, run, source))
    if RAW not in [r.name for r in rows]:
        rows.insert(0, Row(RAW, base))
    whole = _after_codecs(rows, evaluation)
    names = [r.name for r in whole]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"Two rows are named {name!r}; give each a name of its own.")
    examiners = [*evaluation.targets, *evaluation.attackers, *evaluation.scratch]
    for name in evaluation.networks:
        if name not in examiners:
            raise unknown("examiner of this study", name, examiners)
    for name in evaluation.targets:
        check_role(name, "classifier")
        action.network(name, 2, evaluation.networks.get(name))
    for name in (*evaluation.attackers, *evaluation.scratch):
        privacy.network(name, 2, evaluation.networks.get(name))
    if max(evaluation.curve, default=0) > 1 and not hasattr(
        plugins.load("data", base.data.name), "more"
    ):
        raise BadInput(
            f"evaluation.curve asks for more clips than {base.data.name} has; only the generated "
            "people can be made more of. Leave out what is above 1."
        )
    build(inversion.Config, evaluation.inversion or {}, "evaluation.inversion")
    build(identity.Config, evaluation.identity or {}, "evaluation.identity")
    return Study(title, base, replace(evaluation, also=()), tuple(whole))


def _check_name(name: str, index: int) -> None:
    if not names_a_folder(name):
        raise BadInput(
            f"rows[{index}]: the name {name!r} becomes a folder; use letters, digits, . _ -"
        )


def _after_codecs(rows: Sequence[Row | Coded], evaluation: Evaluation) -> list[Row]:
    """All rows, each that is after a codec with the run of the row that it is of.

    Raises:
        BadInput: it is of no row, of itself, or of one that went through a codec already.
    """
    before = {row.name: row for row in rows if isinstance(row, Row)}
    coded = {row.name: row for row in rows if isinstance(row, Coded)}
    whole: list[Row] = []
    for row in rows:
        if isinstance(row, Row):
            whole.append(row)
            for codec in evaluation.also:
                name = f"{row.name}_{codec}"
                one = Coded(name=name, of=row.name, codec=codec, crf=evaluation.crf)
                whole.append(Row(name, row.run, coded=one))
            continue
        if row.name == RAW:
            raise BadInput(
                "The row 'raw' is what others are measured against, and goes through no codec of "
                "its own; name the one that does otherwise, such as raw_h264."
            )
        if evaluation.codec:
            raise BadInput(
                f"Row {row.name} would go through two codecs, its own and evaluation.codec; leave "
                "one of the two out."
            )
        if row.of == row.name:
            raise BadInput(
                f"Row {row.name} is of itself; `of` names the row whose release goes through the "
                "codec."
            )
        if row.of in coded:
            raise BadInput(
                f"Row {row.name} is of {row.of}, which went through a codec already; name a row "
                f"that did not, such as {coded[row.of].of}."
            )
        if row.of not in before:
            raise unknown(f"row that {row.name} could be of", row.of, before)
        whole.append(Row(row.name, before[row.of].run, coded=row))
    return whole


def _as_made(
    row: Mapping[str, Any], source: Path, index: int, held_out: tuple[str, ...]
) -> dict[str, Any]:
    """A row with the method and the anonymizer of the run that it is from.

    Raises:
        BadInput: no finished run, one of another method than the row says, or one that was told
            what this study holds out.
    """
    made = _made_by(source)
    if told := sorted({*held_out} - {*read_toml(source / "config.toml").get("held_out", ())}):
        raise BadInput(
            f"rows[{index}]: the run in {source} was told {', '.join(told)}, which this study "
            "holds out; take a run that was not, or hold out what it did."
        )
    said, is_of = (
        str(of["method"].get("name")) for of in ({"method": made["method"], **row}, made)
    )
    if said != is_of:
        raise BadInput(
            f"rows[{index}]: the run in {source} is of {is_of}, and the row says {said}; leave "
            "method out where from stands."
        )
    return {**row, **made}


def _made_by(source: Path) -> dict[str, Any]:
    """The method and the anonymizer of a finished run, as a row says them.

    Raises:
        BadInput: the folder holds no finished run.
    """
    load_anonymizer(source, "cpu")  # says what is wrong with it
    values = read_toml(source / "config.toml")
    return {key: values[key] for key in ("method", "anonymizer") if key in values}


def adopt(run_folder: Path) -> dict[str, Any]:
    """A study file's plain values for one trained run beside the raw video.

    Raises:
        BadInput: the folder holds no finished run.
    """
    made = _made_by(run_folder)
    values = read_toml(run_folder / "config.toml")
    del values["method"]
    name = run_folder.resolve().name
    if name == RAW or not names_a_folder(name):
        name = str(made["method"]["name"])
    row = {"name": name, "from": str(run_folder), **made}
    return {"title": f"{name} beside raw video", **values, "rows": [row]}


def names_a_folder(name: str) -> bool:
    return name.replace("_", "").replace("-", "").replace(".", "").isalnum()
