"""A run file made into networks, trained, and loaded again: where names become objects.

    seed = 0
    held_out = []                           private attributes that training is not told
    [data]        name = "people"           what to look at
    [private]     name = "utkface"          images for the budget branch, where wanted
    [batches]     batch = 24                how much of it at a time
    [anonymizer]  name = "gated_unet"       f_A
    [target]      name = "clip_cnn"         f_T
    [budget]      name = "frame_cnn"        f_B, where the method's is self-supervised
    [start]       epochs = 12               supervised start of f_T and adversaries on raw clips
    [method]      name = "penalty"          how f_A is obtained
    [loop]        device = "auto"           services

A section that names a plug-in holds the plug-in's own fields beside ``name``.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from velatura import plugins
from velatura.config import build, digest, plain, read_toml, to_toml
from velatura.data._release import open_release, write_frames
from velatura.data._seen import SEEN, lines_of
from velatura.errors import BadInput, unknown
from velatura.layout import LEAKY, ClipSet, Frames, Labels, Splits, marked_leaky
from velatura.models._parts import Budget
from velatura.training import batches as window
from velatura.training import checkpoint, fit, loop, windows
from velatura.training.players import Players, prepare
from velatura.training.seed import reseed

__all__ = ["Run", "Section", "load_anonymizer", "load_data", "resolve", "train"]

Progress = Callable[[int, int, dict[str, float]], None]

# Section of the run file -> room of the plug-in it names.
ROOMS = {
    "data": "data",
    "anonymizer": "models",
    "target": "models",
    "budget": "models",
    "method": "methods",
}
# Section -> what its network must be able to be.
ROLES = {"anonymizer": "anonymizer", "target": "classifier", "budget": "encoder"}
DEFAULTS = {
    "data": "people",
    "anonymizer": "gated_unet",
    "target": "clip_cnn",
    "budget": "frame_cnn",
    "method": "penalty",
}
PLAIN = {"batches": window.Config, "start": fit.Config, "loop": loop.Config}
# All that a run file may hold.
SECTIONS = ("seed", "held_out", "private", *ROOMS, *PLAIN)


@dataclass(frozen=True)
class Section:
    """A named plug-in and its checked configuration."""

    name: str
    config: Any

    def values(self) -> dict[str, Any]:
        """As it stands in a run file."""
        return {"name": self.name, **plain(self.config)}


@dataclass(frozen=True)
class Run:
    """A resolved run file: every value checked, every default filled in.

    Attributes:
        private: images whose frames the budget branch sees; None where it sees the clips'. Where
            the data has no private attributes, attackers are measured on these.
        held_out: private attributes that no training is told: no batch, no adversary and no
            prevalence has them. Attackers are measured on all.
    """

    seed: int
    data: Section
    private: Section | None
    batches: window.Config
    anonymizer: Section
    target: Section
    budget: Section
    start: fit.Config
    method: Section
    loop: loop.Config
    held_out: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """As it stands in a run file."""
        out: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if value is None or value == ():
                continue
            out[f.name] = value.values() if isinstance(value, Section) else plain(value)
        return out

    def toml(self) -> str:
        """The run file that repeats this run."""
        return to_toml(self.values())

    def science(self) -> dict[str, Any]:
        """The values without the services: runs that agree on these are the same experiment."""
        values = {key: value for key, value in self.values().items() if key != "loop"}
        values["clip_gradient"] = self.loop.clip_gradient
        for key in {"data", "private"} & set(values):
            kept = {k: v for k, v in values[key].items() if k not in ("cache", "workers")}
            values[key] = kept
        return values


def resolve(values: Mapping[str, Any]) -> Run:
    """Check the plain values of a run file and fill in the defaults.

    Raises:
        BadInput: an unknown section, name or key, or a value out of range.
    """
    for key in values:
        if key not in SECTIONS:
            raise unknown("section", key, SECTIONS)
    seed = values.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise BadInput(f"seed: expected a whole number of at least 0, got {seed!r}.")
    held_out = values.get("held_out", [])
    if not isinstance(held_out, list) or not all(isinstance(name, str) for name in held_out):
        raise BadInput(f"held_out: expected a list of attribute names, got {held_out!r}.")
    if len({*held_out}) < len(held_out):
        raise BadInput(f"held_out names one twice: {held_out}.")
    sections: dict[str, Any] = {"private": None}
    wanted = {**ROOMS, "private": "data"} if "private" in values else ROOMS
    for key, room in wanted.items():
        given = _table(values, key)
        if key == "private" and "name" not in given:
            raise BadInput("private: name a data set, such as utkface; or leave [private] out.")
        name = given.pop("name", DEFAULTS.get(key))
        if not isinstance(name, str):
            raise BadInput(f"{key}.name: expected a text, got {name!r}.")
        cls = plugins.config_class(room, name)
        if key in ROLES:
            check_role(name, ROLES[key])
        sections[key] = Section(name, build(cls, given, key))
    for key, cls in PLAIN.items():
        sections[key] = build(cls, _table(values, key), key)
    for name in getattr(sections["method"].config, "adversaries", ()):
        check_role(name, "classifier")
    return Run(seed=seed, held_out=tuple(held_out), **sections)


def _table(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    given = values.get(key, {})
    if not isinstance(given, Mapping):
        raise BadInput(f"{key}: expected a section [{key}], got {given!r}.")
    return dict(given)


def load_data(run: Run, progress: Callable[[str, int, int], None] | None = None) -> Splits:
    """The splits that a run trains on; generated or decoded once, then read from the cache."""
    splits: Splits = plugins.load("data", run.data.name).load(run.data.config, progress)
    if not splits.train.attribute_names and run.private is None:
        raise BadInput(
            f"{run.data.name} has no private attributes, so no attacker can be measured on it; "
            "name images that have some in [private], or a JSONL file of your own in data.labels."
        )
    for part in splits:
        fit.check_labels(part, "attributes")
    fit.check_labels(splits.train, "actions")
    check_apart(splits)
    return splits


def load_private(
    run: Run, progress: Callable[[str, int, int], None] | None = None
) -> Splits | None:
    """The images of ``[private]``, or None; read as :func:`load_data` reads."""
    if run.private is None:
        return None
    splits: Splits = plugins.load("data", run.private.name).load(run.private.config, progress)
    if not splits.train.attribute_names:
        raise BadInput(
            f"private: {run.private.name} has no private attributes; name images that have some."
        )
    if run.private.name == run.data.name:
        raise BadInput(
            f"[data] and [private] both name {run.data.name}; leave [private] out, and attackers "
            "learn the attributes of the videos."
        )
    for part in splits:
        fit.check_labels(part, "attributes")
    check_apart(splits)
    return splits


def check_apart(splits: Splits) -> None:
    """Refuse a data set that trains, or chooses, on files of its own test, unless it says so.

    Raises:
        BadInput: a file stands in two splits.
    """
    tested = splits.test.files
    for part in splits[:2]:
        if (both := part.files & tested) and not part.name.startswith(LEAKY):
            raise BadInput(
                f"{len(both)} of the {len(tested)} files of {splits.test.name} are in {part.name} "
                f"too, first {min(both)}; give every file one split."
            )


def fingerprint(*several: Splits | None) -> str:
    """Of everything that is looked at: changes when any pixel or label does."""
    return "+".join(part.fingerprint for splits in several if splits for part in splits)


def bearers(splits: Splits, private: Splits | None) -> Splits:
    """Whose attributes attackers learn: the data's own, or the images' where it has none."""
    return splits if private is None or splits.train.attribute_names else private


def told(run: Run, splits: Splits) -> Splits:
    """The splits as training sees them: without the labels of what the run holds out."""
    return Splits(*(part.without(run.held_out) for part in splits))


def check_held_out(run: Run, splits: Splits, private: Splits | None) -> None:
    """Refuse to hold out what is not there, or all that there is.

    Raises:
        BadInput: an unknown attribute; or none is left for training.
    """
    names = bearers(splits, private).train.attribute_names
    for name in run.held_out:
        if name not in names:
            raise unknown("private attribute to hold out", name, names)
    if run.held_out and not set(names) - set(run.held_out):
        raise BadInput(
            f"held_out names all {len(names)} private attributes; leave training at least one."
        )


def kept_apart(splits: Splits, private: Splits | None) -> Splits | None:
    """The images of ``[private]``, marked where the training that they examine saw their test.

    Raises:
        BadInput: it would see videos that they test on, and nobody asked for that.
    """
    if private is None or bearers(splits, private) is splits:
        return private
    seen = (splits.train.files | splits.val.files) & private.test.files
    asked = any(part.name.startswith(LEAKY) for part in (splits.test, private.test))
    if seen and not asked:
        data, images = (part.name.partition("/")[0] for part in (splits.test, private.test))
        raise BadInput(
            f"{len(seen)} videos that {data} trains on are in the test of {images}, first "
            f"{min(seen)}; take [data] name = 'pa_hmdb51', which leaves them out, or set "
            "private.leaky = true, which marks every result."
        )
    return Splits(*map(marked_leaky, private)) if seen else private


def check_role(name: str, role: str) -> None:
    """Refuse a network in a role that it has not; says which have it."""
    if not hasattr(plugins.load("models", name), role):
        able = [n for n in plugins.names("models") if hasattr(plugins.load("models", n), role)]
        raise BadInput(f"{name} cannot be used as {role}; these can: {', '.join(able)}.")


def check_sizes(
    run: Run,
    clips: Splits,
    private: Splits | None = None,
    others: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Refuse windows that a network of the run cannot take, before anything is trained.

    Args:
        private: the images of ``[private]``; adversaries may learn from those.
        others: networks by name with what their ``Config`` is given, in the place of the run's own:
            who examines images has no need of a target that fits them.

    Raises:
        BadInput: the window is too short, or too small or odd in its sides.
    """
    window = windows.of(clips.train, run.batches)
    side, frames = window.size, window.frames
    asked: list[tuple[Section, int]] = []
    if others is None:
        asked.append((run.target, frames))
        # What sees frames by themselves takes them in any number.
        asked += [(section, 2) for section in (run.anonymizer, run.budget) if learns(run)]
        seen = windows.of(bearers(clips, private).train, run.batches).frames
        asked += [(section, seen) for section in adversaries(run)]
    for name, given in (others or {}).items():
        if name not in plugins.names("models"):
            continue  # an examiner with a network of its own
        cls = plugins.config_class("models", name)
        asked.append((Section(name, build(cls, given, f"evaluation.networks.{name}")), frames))
    for section, count in asked:
        module = plugins.load("models", section.name)
        if hasattr(module, "check"):
            module.check(section.config, count, side, side)


def role_network(section: Section, role: str, *args: Any) -> nn.Module:
    """Build a network in a role."""
    check_role(section.name, role)
    network: nn.Module = getattr(plugins.load("models", section.name), role)(section.config, *args)
    return network


def build_budget(section: Section) -> nn.Module:
    """The self-supervised privacy branch: an encoder and its projection head."""
    return Budget(role_network(section, "encoder"))


def build_anonymizer(run: Run) -> nn.Module:
    """The anonymizer of a run: a fixed filter, or an untrained f_A."""
    method = plugins.load("methods", run.method.name)
    if hasattr(method, "build"):
        fixed: nn.Module = method.build(run.method.config)
        return fixed
    network = role_network(run.anonymizer, "anonymizer")
    return method.around(network, run.method.config) if hasattr(method, "around") else network


def learns(run: Run) -> bool:
    """True if the run's method trains; a fixed one is only built."""
    return hasattr(plugins.load("methods", run.method.name), "train")


def raw_network(
    section: Section,
    labels: Labels,
    run: Run,
    splits: Splits,
    fabric: loop.Fabric,
    folder: Path,
    role: str,
    progress: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """A classifier trained on raw clips: where f_T, its teacher and the adversaries start.

    Kept in ``folder`` under a name that holds everything that it depends on. Of attributes it
    learns those that training is :func:`told`.
    """
    splits = told(run, splits) if labels == "attributes" else splits
    outputs = len(splits.train.label_names(labels))
    reseed(run.seed, role, "weights")
    network = role_network(section, "classifier", outputs)
    science = [
        section.values(), labels, plain(run.start), run.batches.science(), run.seed, role,
        splits.train.fingerprint,
    ]  # fmt: skip
    # The seed below is of the science alone; the validation split chooses the epoch.
    numerics = [splits.val.fingerprint, fabric.device.type, fabric._precision.precision]
    key = digest([science, *numerics])
    path = folder / f"{role}-{section.name}-{key}.safetensors"
    if path.exists():
        state, _ = checkpoint.load(path)
        checkpoint.load_into(network, state.get("network", {}), str(path))
        return prepare(network, fabric.device)
    folder.mkdir(parents=True, exist_ok=True)
    seed = int(digest(science)[:8], 16)
    network = fit.fit(
        network, splits.train, splits.val, labels, run.start, run.batches, seed, fabric, progress
    )
    checkpoint.save(path, {"network": network.state_dict()}, {"role": role, "run": run.values()})
    return network


def adversaries(run: Run) -> list[Section]:
    """The networks that a supervised method plays against, as they come; none of any other."""
    names = getattr(run.method.config, "adversaries", ())
    return [Section(name, plugins.config_class("models", name)()) for name in names]


def make_players(
    run: Run,
    splits: Splits,
    fabric: loop.Fabric,
    raw: Path,
    progress: Progress | None = None,
    private: Splits | None = None,
) -> Players:
    """The networks of the game at its start: f_T from raw clips, f_B as the method wants it.

    Args:
        private: the images of ``[private]``; where the data has no attributes, adversaries learn
            theirs.
    """

    def tell(what: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(done, total, {}) if progress else None

    method = plugins.load("methods", run.method.name)
    labelled = bearers(splits, private)
    teacher = None
    if getattr(method, "TEACHER", False):
        teacher = role_network(run.target, "classifier", len(splits.train.action_names))
    f_T = raw_network(run.target, "actions", run, splits, fabric, raw, "target", tell("target"))
    if teacher is not None:
        teacher.load_state_dict(f_T.state_dict())
        teacher = prepare(teacher.eval(), fabric.device)
    if method.BUDGET == "adversaries":
        members = [
            raw_network(
                section, "attributes", run, labelled, fabric, raw, f"adversary{i}",
                tell(section.name),
            )
            for i, section in enumerate(adversaries(run))
        ]  # fmt: skip
        f_B: nn.Module = nn.ModuleList(members)
    else:
        reseed(run.seed, "budget", "weights")
        f_B = prepare(build_budget(run.budget), fabric.device)
    reseed(run.seed, "anonymizer", "weights")
    f_A = prepare(build_anonymizer(run), fabric.device)
    shares = told(run, labelled).train.attributes.mean(0)
    prevalence = torch.from_numpy(shares).float().to(fabric.device)
    return Players(f_A, f_T, f_B, teacher, prevalence, "clips" if labelled is splits else "images")


def check_players(run: Run, splits: Splits, private: Splits | None = None) -> None:
    """Refuse a game that cannot begin, before anything is trained: every network is made once, with
    its weights, and the method looks them over.

    A method may have ``check(cfg, players, actions, batch)``, which raises BadInput.

    Raises:
        BadInput: labels that are not there, or are to be held out and are not; windows that a
            network cannot take; weights that do not fit; a target without features; a batch that is
            too small; an anonymizer of clips in a game on frames; what the method's own check says.
    """
    check_held_out(run, splits, private)
    if not learns(run):
        return
    method = plugins.load("methods", run.method.name)
    check_labelled(run, splits, private)
    check_sizes(run, splits, private)
    if method.BUDGET == "contrastive" and run.batches.batch < 2:
        raise BadInput(
            f"batches.batch is {run.batches.batch}, but a self-supervised budget network needs at "
            "least 2 clips to tell apart."
        )
    actions, labelled = len(splits.train.action_names), told(run, bearers(splits, private))
    f_T = role_network(run.target, "classifier", actions)
    wants = getattr(method, "TEACHER", False) or getattr(method, "FEATURES", False)
    if wants and not hasattr(f_T, "features"):
        raise BadInput(
            f"{run.method.name} needs a target with features(); {run.target.name} has none."
        )
    if method.BUDGET == "adversaries":
        outputs = len(labelled.train.attribute_names)
        f_B: nn.Module = nn.ModuleList(
            role_network(section, "classifier", outputs) for section in adversaries(run)
        )
    else:
        f_B = build_budget(run.budget)
    f_A = build_anonymizer(run)
    if method.BUDGET == "contrastive" and any(map(looks_back, f_A.modules())):
        raise BadInput(
            f"{run.method.name} shows its budget network single frames, of which "
            f"{run.anonymizer.name} makes nothing: it tells how a frame differs from those before "
            "it. Take an anonymizer of single frames, such as gated_unet."
        )
    if hasattr(method, "check"):
        method.check(run.method.config, Players(f_A, f_T, f_B), actions, run.batches.batch)


def check_labelled(run: Run, splits: Splits, private: Splits | None) -> None:
    """Refuse a method that is told attributes where nothing tells them.

    Raises:
        BadInput: neither the videos nor the images have any, or only the images, and the method
            cannot learn from those.
    """
    method = plugins.load("methods", run.method.name)
    if not learns(run) or method.BUDGET != "adversaries" or splits.train.attribute_names:
        return
    if private is None or not getattr(method, "IMAGES", False):
        raise BadInput(
            f"{run.method.name} learns from the private attributes of the videos themselves, "
            f"and {run.data.name} has none; take a self-supervised method, such as penalty"
            + (", or vita or mass, which learn from images." if private else ".")
        )


def provenance(
    run: Run, splits: Splits | None = None, images: Splits | None = None
) -> dict[str, Any]:
    """What travels with every checkpoint and result."""
    return {
        "run": run.values(),
        "digest": digest(run.science()),
        "data": fingerprint(splits, images),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of what computes."""
    found = {"python": platform.python_version()}
    for name in ("velatura", "torch", "numpy", "av", "opencv-python-headless"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    found["commit"] = commit()
    return found


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit that this package stands at, with ``+`` where files differ; "" outside git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        about = subprocess.run(
            [*git, "describe", "--always", "--dirty=+", "--abbrev=10"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        ours = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    # A virtual environment inside somebody else's repository is not of that commit.
    return about.stdout.strip() if ours.returncode == 0 else ""


def make_folder(folder: Path) -> None:
    """See to it that a folder for what is written is there.

    Raises:
        BadInput: it, or one that it is to be in, is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise BadInput(
            f"{folder} is a file, or in one; expected a folder to write to: name another with "
            "--out."
        ) from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder; the lock goes with the process, however it ends.

    Raises:
        BadInput: another process is writing to it, or it is a file.
    """
    make_folder(folder)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput(
                f"Another run is writing to {folder}; wait for it, or name another with --out."
            ) from None
        yield
    finally:
        os.close(handle)


def train(
    run: Run,
    folder: Path,
    *,
    resume: bool = False,
    raw: Path | None = None,
    splits: Splits | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train a run in a folder; returns the path of the anonymizer's weights.

    Args:
        folder: receives ``config.toml``, ``seen.txt`` (:data:`SEEN`), ``log.jsonl``,
            ``checkpoint.safetensors`` and, at the end, ``anonymizer.safetensors``.
        resume: continue an interrupted run; a finished one is left as it is.
        raw: where networks trained on raw clips are kept; default ``folder/raw``.

    Raises:
        BadInput: the folder holds a run and ``resume`` is off, or one of another configuration.
    """
    folder = Path(folder)
    product, config_file = folder / "anonymizer.safetensors", folder / "config.toml"
    if config_file.exists() and not resume:
        raise BadInput(
            f"{folder} holds a run already; continue it with --resume, or name another "
            "folder with --out."
        )
    if not learns(run):
        raise BadInput(
            f"{run.method.name} is a fixed filter with nothing to learn; use it in a study's rows, "
            "or choose another of `velatura train --list`."
        )
    services = loop.fabric(run.loop)
    if services.world_size > 1:
        services.launch()
    rank, world = services.global_rank, services.world_size
    with locked(folder if rank == 0 else folder / f".rank{rank}"):
        if config_file.exists():
            before = resolve(read_toml(config_file))
            if before.science() != run.science():
                raise BadInput(
                    f"{folder} holds a run of another configuration (see {config_file}); "
                    "repeat that one, or name another folder with --out."
                )
            if product.exists():
                return product
        splits = splits or load_data(run)
        images = kept_apart(splits, load_private(run))
        for part in splits:
            windows.check(part, run.batches)
        check_players(run, splits, images)
        stream = window.Batches(
            told(run, splits).train, run.batches, run.seed, services.device, rank, world,
            told(run, images).train if images else None,
        )  # fmt: skip
        about = provenance(run, splits, images)
        if rank == 0 and not config_file.exists():
            checkpoint.write_atomically(config_file, run.toml().encode())
            looked_at = [*splits[:2], *(images or ())[:2]]
            lines = "".join(f"{line}\n" for line in sorted(lines_of(looked_at)))
            checkpoint.write_atomically(folder / SEEN, lines.encode())
        players = make_players(run, splits, services, raw or folder / "raw", progress, images)
        services_loop = loop.Loop(
            folder, services, stream, run.loop, run.seed, about, resume=resume, progress=progress
        )
        plugins.load("methods", run.method.name).train(players, run.method.config, services_loop)
        if rank == 0:
            checkpoint.save(product, {"f_A": players.f_A.state_dict()}, about)
    return product


def load_anonymizer(folder: Path, device: str = "auto") -> nn.Module:
    """The trained anonymizer of a run folder, frozen, in evaluation mode.

    Raises:
        BadInput: no finished run there, or its weights do not fit its configuration.
    """
    folder = Path(folder)
    if not (folder / "config.toml").exists():
        raise BadInput(
            f"{folder} is not a run folder: it has no config.toml; name one made by "
            "`velatura train`."
        )
    run = resolve(read_toml(folder / "config.toml"))
    network = build_anonymizer(run)
    if learns(run):
        path = folder / "anonymizer.safetensors"
        if not path.exists():
            raise BadInput(
                f"The run in {folder} has not finished; continue it with `velatura train "
                f"{folder}/config.toml --out {folder} --resume`."
            )
        state, _ = checkpoint.load(path)
        checkpoint.load_into(network, state.get("f_A", {}), str(path))
    services = loop.fabric(loop.Config(device=device))  # type: ignore[arg-type]
    network = prepare(network.eval(), services.device)
    return network.requires_grad_(False)


def looks_back(anonymizer: nn.Module) -> int:
    """How many frames before a frame the anonymizer needs for it."""
    return int(getattr(anonymizer, "past", 0))


def check_people(runs: Iterable[Run], parts: Iterable[ClipSet]) -> None:
    """Refuse methods that hide persons where nobody says where they are.

    Raises:
        BadInput: the data has no masks or boxes, or some that do not fit their videos.
    """
    hiding = [build_anonymizer(run) for run in runs if not learns(run)]
    for part in parts:
        there = [people_for(anonymizer, part) for anonymizer in hiding]
        if any(people is not None for people in there):  # the same for all: looked through once
            getattr(part.people, "check", lambda: None)()


def people_for(anonymizer: nn.Module, part: ClipSet) -> Frames | None:
    """Where persons are, for an anonymizer that wants to know; None for any other."""
    if not getattr(anonymizer, "wants_people", False):
        return None
    if part.people is None:
        raise BadInput(
            f"{type(anonymizer).__module__.rpartition('.')[2]} hides persons where masks or boxes "
            f"say they are, and {part.name.partition('/')[0]} has none; set data.people to a "
            "folder of them or to 'detector', or use another row."
        )
    return part.people


@torch.no_grad()
def release(
    anonymizer: nn.Module, data: ClipSet, path: Path, fabric: loop.Fabric, batch: int = 256
) -> ClipSet:
    """What leaves the camera: the anonymizer's output for whole videos in 8 bits, on disk.

    Args:
        anonymizer: (B, T, C, H, W) in [0, 1] to the same; frozen. One that looks back says how
            many frames in ``past``; one that sees several together how many in ``window``; one
            that must see a video in one piece says ``whole``. One with ``wants_people`` is also
            given ``data.people``, (B, T, H, W) in {0, 1}; see :func:`check_people`.
        path: a ``.npy`` file to write, whole or not at all.
        batch: frames at a time, at most.

    Returns:
        The same items and labels with other pixels, a memory map of ``path``.
    """
    anonymizer.eval()
    past = looks_back(anonymizer)
    whole = getattr(anonymizer, "whole", False)
    people = people_for(anonymizer, data)
    # Large pictures a few at a time: 4 million pixels are some gigabytes inside a U-Net.
    height, width = data.frames.shape[-2:]
    batch = max(min(batch, 4_000_000 // (height * width)), past + 1, 2)
    window = int(getattr(anonymizer, "window", 1))  # frames that it sees together
    batch = max(batch // window, 1) * window

    def through(items: list[int], start: int, stop: int) -> np.ndarray:
        clips = np.stack([data.video(item, start, stop) for item in items])
        given = [torch.from_numpy(clips).to(fabric.device).float().div(255)]
        if people is not None:
            spans = [slice(first + start, first + stop) for first in data.first[items].tolist()]
            there = np.stack([people[span] for span in spans])
            given.append(torch.from_numpy(there).to(fabric.device).float())
        with fabric.autocast():
            seen = anonymizer(*given)
        found: np.ndarray = seen.float().mul(255).round().clamp(0, 255).byte().cpu().numpy()
        return found

    def parts() -> Iterator[np.ndarray]:
        for items in runs(data.lengths, batch):
            length = int(data.lengths[items[0]])
            if length <= batch or whole:
                yield through(items, 0, length).reshape(-1, *data.frames.shape[1:])
                continue
            for start in range(0, length, batch):
                before = min(past, start)
                yield through(items, start - before, min(start + batch, length))[0, before:]

    write_frames(path, data.frames.shape, parts())
    return open_release(path, data)


def runs(lengths: np.ndarray, batch: int) -> Iterator[list[int]]:
    """Neighbours of one length that together have at most ``batch`` frames; or one item."""
    items: list[int] = []
    for item, length in enumerate(lengths.tolist()):
        if items and (length != lengths[items[0]] or (len(items) + 1) * length > batch):
            yield items
            items = []
        items.append(item)
    if items:
        yield items
