"""Read the folder of a run: the one place that knows how it lies on disk.

    RUN/summary.json               the table and how it was made; the only file that must exist
    RUN/records.jsonl              one measurement per line (``layout.Measurement``)
    RUN/sheet.npz                  pictures: one array per row, and "labels"
    RUN/methods/<row>/log.jsonl    one object per logged training step

A run may come from a stranger, so everything is read as inert data, and a file that lacks or
is damaged is named in ``missing`` instead of ending the report.
"""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from velatura.errors import BadInput

__all__ = ["Run", "entries", "mapping", "number", "read_run", "read_summary", "span"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the folder held.

    Attributes:
        path: the folder.
        summary: ``summary.json``; ``rows`` is a list of dictionaries with a ``name``.
        sheet: row name to (examples, T, H, W, 3) uint8; empty without pictures.
        labels: what each example of the sheet shows.
        logs: row name to its logged steps.
        records: number of lines in ``records.jsonl``.
        missing: one sentence for each thing that the page has to do without.
    """

    path: Path
    summary: dict[str, Any]
    sheet: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    records: int = 0
    missing: list[str] = field(default_factory=list)


def read_summary(path: Path) -> dict[str, Any]:
    """Read ``RUN/summary.json``.

    Raises:
        BadInput: no run folder, no summary in it, or a damaged one.
    """
    file = path / "summary.json"
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except NotADirectoryError:
        raise BadInput(f"{path} is a file; name the folder of the run that holds it.") from None
    except FileNotFoundError:
        what = f"{path} holds no summary.json" if path.is_dir() else f"There is no folder {path}"
        raise BadInput(
            f"{what}; `velatura demo` or `velatura evaluate` writes one, runs/demo for instance."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{file} is damaged ({error}); run the command that wrote it once more."
        ) from None
    rows = summary.get("rows") if isinstance(summary, dict) else None
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows
    ):
        raise BadInput(
            f"{file} is not the summary of a run: it needs a list `rows`, each with a `name`."
        )
    result: dict[str, Any] = summary
    return result


def read_run(path: Path) -> Run:
    """Read everything that a report shows.

    Raises:
        BadInput: as :func:`read_summary`; all else may lack, and is then in ``missing``.
    """
    path = Path(path)
    summary = read_summary(path)
    missing: list[str] = []
    if not summary["rows"]:
        missing.append("No row has been measured yet.")
    sheet, labels = _read_sheet(path / "sheet.npz", missing)
    logs = {
        file.parent.name: _read_lines(file, missing)
        for file in sorted(path.glob("methods/*/log.jsonl"))
    }
    logs = {name: log for name, log in logs.items() if log}
    if not logs:
        missing.append("No training logs (methods/*/log.jsonl): loss curves are left out.")
    records = path / "records.jsonl"
    if records.is_file():
        count = len(_read_lines(records, missing))
    else:
        count = 0
        missing.append("No records.jsonl: the single measurements behind the table are not kept.")
    return Run(
        path=path,
        summary=summary,
        sheet=sheet,
        labels=labels,
        logs=logs,
        records=count,
        missing=missing,
    )


def number(value: Any) -> float | None:
    """A finite float, or None for anything else: nan, null, a text, an absent field."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # JSON holds whole numbers of any length
        return None
    return found if math.isfinite(found) else None


def span(value: Any) -> tuple[float, float] | None:
    """An interval (low, high), or None if either end is no number."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = number(value[0]), number(value[1])
    return None if low is None or high is None else (low, high)


def mapping(value: Any) -> dict[str, Any]:
    """A dictionary, or an empty one for anything else."""
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}


def entries(value: Any) -> dict[str, dict[str, Any]]:
    """A dictionary of dictionaries; whatever else it holds is left out."""
    return {k: v for k, v in mapping(value).items() if isinstance(v, dict)}


def _read_sheet(
    file: Path, missing: list[str]
) -> tuple[dict[str, npt.NDArray[np.uint8]], list[str]]:
    if not file.is_file():
        missing.append("No sheet.npz: pictures are left out.")
        return {}, []
    sheet: dict[str, npt.NDArray[np.uint8]] = {}
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            labels = [str(x) for x in arrays["labels"]] if "labels" in arrays.files else []
            for name in arrays.files:
                array = arrays[name] if name != "labels" else None
                if array is None:
                    continue
                if array.dtype == np.uint8 and array.ndim == 5 and array.shape[4] == 3:
                    sheet[name] = array
                else:
                    missing.append(
                        f"sheet.npz, {name}: expected (examples, T, H, W, 3) bytes, got "
                        f"{array.shape} {array.dtype}."
                    )
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        missing.append(f"sheet.npz cannot be read ({error}): pictures are left out.")
        return {}, []
    return {name: array for name, array in sheet.items() if array.size}, labels


def _read_lines(file: Path, missing: list[str]) -> list[dict[str, Any]]:
    """JSON lines; a line that is cut off, as a killed process leaves it, is counted."""
    lines, damaged = [], 0
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            line = None
        if isinstance(line, dict):
            lines.append(line)
        elif text.strip():
            damaged += 1
    if damaged:
        where = "/".join(file.parts[-3:]) if file.name == "log.jsonl" else file.name
        missing.append(f"{where}: {damaged} unreadable line{'s' * (damaged > 1)} left out.")
    return lines
