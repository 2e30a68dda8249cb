"""What a study is of: what it is given, and whether it may be examined."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np

from velatura.data._seen import SEEN, contents, read_seen
from velatura.errors import BadInput
from velatura.experiment import learns
from velatura.layout import LEAKY, Splits
from velatura.study.data import Data
from velatura.study.file import Row
from velatura.training import checkpoint


def check_space(folder: Path, data: Data) -> None:
    """A row's release is as large as the data in bytes; it goes when the row is examined."""
    need = sum(int(np.prod(part.frames.shape)) for part in data.parts)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise BadInput(
            f"A row's release takes {need / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB "
            "free; name another disk with --out, or lower data.height and data.width."
        )


def check_seen(row: Row, data: Data, folder: Path) -> None:
    """Refuse an anonymizer that was trained on what it would be tested on.

    One that the study trains itself has nothing to say before; one that was put into the folder, as
    a sweep does with what another world trained, is looked at like one from elsewhere.

    Raises:
        BadInput: it was; or its folder does not say what it was trained on, and the test is of
            files that it may have seen.
    """
    tests = {id(part): part for part in (data.clips.test, data.bearers.test)}.values()
    tested = frozenset[str]().union(*(part.files for part in tests))
    leaky = any(part.name.startswith(LEAKY) for part in data.parts)
    where = row.source or folder / "methods" / row.name
    there = row.source or (where / "anonymizer.safetensors").exists()
    if not there or not learns(row.run) or not tested or leaky:
        return
    path = where / SEEN
    if not path.exists():
        raise BadInput(
            f"Row {row.name}: {where} does not say which files it was trained on (it has no "
            f"{SEEN}), and this study tests on files; train it again."
        )
    seen = read_seen(path)
    both, how = tested & seen.names, ""
    if not both and seen.contents:
        copies = {contents(path): name for part in tests for name, path in part.paths.items()}
        both = frozenset(copies[known] for known in seen.contents & {*copies})
        how = ", under other names"
    if both:
        raise BadInput(
            f"Row {row.name}: the run in {where} was trained on {len(both)} of the "
            f"{len(tested)} files that this study tests on{how}, first {min(both)}; take a run "
            "that was not, or another test."
        )
    if films := seen.films & _films_apart(row, data):
        raise BadInput(
            f"Row {row.name}: the run in {where} was trained on other clips of {len(films)} of the "
            f"films that this study tests on, first {min(films)}; take a run that was not, or set "
            "drop_shared_groups = false, as the official lists share films."
        )


def _films_apart(row: Row, data: Data) -> set[str]:
    """The films of the tests whose training may see nothing else of them either."""
    tests = [(row.run.data, data.clips.test)]
    if row.run.private is not None and data.bearers is not data.clips:
        tests.append((row.run.private, data.bearers.test))
    return {
        film
        for section, part in tests
        if getattr(section.config, "drop_shared_groups", False)
        for film in part.films.values()
    }


def same_inputs(folder: Path, data: Data, taken: list[Row]) -> None:
    """Note what a study is of, or refuse to continue it on something else."""
    path = folder / "data.json"
    several = {"data": data.clips, "private": data.private}
    now = {
        f"{role}/{split}": part.fingerprint
        for role, splits in several.items()
        if splits is not None
        for split, part in zip(Splits._fields, splits, strict=True)
    }
    for row in taken:
        made = product(row, folder)
        if made.exists():  # a fixed filter has none
            now[f"anonymizer/{row.name}"] = file_digest(made)
    if not path.exists():
        checkpoint.write_atomically(path, json.dumps(now, indent=1).encode())
        return
    before = json.loads(path.read_text())
    # A study may gain rows, and with them anonymizers from elsewhere; nothing else.
    gained = {key for key in now if key.startswith("anonymizer/") and key not in before}
    changed = sorted(k for k in {*before, *now} - gained if before.get(k) != now.get(k))
    if changed:
        raise BadInput(
            f"{folder} holds a study of something else: {', '.join(changed)} changed since. "
            "Name another folder with --out."
        )
    if gained:
        checkpoint.write_atomically(path, json.dumps(now, indent=1).encode())


def file_digest(path: Path) -> str:
    """What tells the bytes of a file, such as an anonymizer's weights."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def product(row: Row, folder: Path) -> Path:
    """The weights of a row that is measured as it is: where it was trained, or our copy."""
    name = "anonymizer.safetensors"
    there = row.source / name if row.source else Path()
    return there if there.exists() else folder / "methods" / row.name / name


def copy_run(row: Row, destination: Path) -> None:
    """A finished run's configuration and product, into a study."""
    destination.mkdir(parents=True, exist_ok=True)
    for name in ("config.toml", "anonymizer.safetensors", "log.jsonl", SEEN):
        if row.source and (row.source / name).exists():
            shutil.copyfile(row.source / name, destination / name)
