"""A grid: arms, data, training and the known order, as a file says them.

seeds = [0, 1, 2]                  # of training: first weights, order, variation
anonymized_val = false             # besides, test on copies of val: train x test

[data]                             # people who are nobody ...
people = { train = 600, val = 200, size = 128, seed = 0 }
# ... or folders of one's own:
# train = { root = "coco", annotations = ["annotations/person_keypoints_train.json"] }
# val = { root = "coco", annotations = ["annotations/person_keypoints_val.json"] }
# private = "private.json"         # what is private of whom, for the privacy column

[train]                            # as `velatura impact train` takes it
task = "all"
steps = 800

[[arms]]                           # as `velatura impact anonymize` takes them
name = "original"
method = { name = "none" }         # exactly one: the others are compared with it

[[arms]]
name = "aligned"
oracle = "aligned"                 # of generated people: somebody else in everybody's place

[[arms]]
name = "gan"
method = { name = "gan" }          # without a model: drawn by a network that [gan] trains

[gan]                              # as `velatura impact train-gan` takes it; on train alone
steps = 2000
network = { size = 64, width = 16 }

[faces]                            # see ``_recognition``; 0 looks for nobody's
most = 1000

[[order]]                          # what must come out; see ``_compare.Line``
arm = "aligned"
of = "original"
at_least = 0.6
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from velatura.config import apply_sets, build, config, plain
from velatura.errors import BadInput, unknown
from velatura.impact import _compare, _privacy, _recognition, anonymize, train_gan
from velatura.impact import people as drawing
from velatura.impact import train as training

__all__ = ["FACES", "FEW", "GAN", "SIZES", "Arm", "Grid", "packaged", "resolve"]

SIZES = ("default", "small")
GAN = "gan"  # the section, and the folder of its network
FACES = "faces"  # the section, and the folder of what is found
FEW = 3  # seeds, fewer than which say little of noise


@config
class Source:
    """A folder, as ``velatura impact anonymize`` takes it."""

    root: str
    annotations: tuple[str, ...] = ()
    images: str = ""
    format: str = "coco"


@config
class Data:
    """Generated people; or a set to train on and one to test on."""

    people: drawing.Config | None = None
    train: Source | None = None
    val: Source | None = None
    private: str = ""
    """A file of what is private of whom, see ``_privacy.read_labels``; people have their own."""


@config
class Arm:
    """One way of anonymizing the training set."""

    name: str
    oracle: Literal["", "aligned", "misaligned"] = ""
    method: dict[str, Any] = Field(default_factory=dict)
    regions: dict[str, Any] = Field(default_factory=dict)

    @property
    def draws(self) -> bool:
        """With the network that the bench trains."""
        return self.method.get("name") == "gan" and not self.method.get("model")

    def setup(self, out: Path) -> anonymize.Setup:
        """As ``anonymize`` takes it.

        Args:
            out: the folder of the bench.
        """
        if self.oracle:
            folder = str(out / "people" / "oracle" / self.oracle)
            method: dict[str, Any] = {"name": "external", "folder": folder}
            return anonymize.setup({"method": method, "regions": {"kind": "frame"}})
        model = {"model": str(out / GAN / train_gan.MODEL)} if self.draws else {}
        return anonymize.setup({"method": {**self.method, **model}, "regions": self.regions})


@config
class Rest:
    """What a grid has beside its arms."""

    title: str = "What anonymized training images cost"
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2)
    anonymized_val: bool = False
    missing: Annotated[float, Field(ge=0, le=1)] = training.MISSING
    """Share of the pictures that an arm may lack, since they could not be anonymized."""
    data: Data = Data()
    privacy: _privacy.Config = _privacy.Config()
    faces: _recognition.Config = _recognition.Config()


@dataclass(frozen=True)
class Grid:
    """A resolved grid file.

    Attributes:
        train: settings of training but the seed.
        gan: how the network is trained that arms draw with; None where no arm does.
        values: the file, plain; ``faces`` and the network's regions are always there.
    """

    cfg: Rest
    train: dict[str, Any]
    arms: tuple[Arm, ...]
    order: tuple[_compare.Line, ...]
    gan: train_gan.Config | None
    values: dict[str, Any]

    @property
    def reference(self) -> str:
        """The arm that hides nobody."""
        return next(arm.name for arm in self.arms if arm.method.get("name") == "none")

    def arm(self, name: str) -> Arm:
        """By its name."""
        return next(arm for arm in self.arms if arm.name == name)

    def tested_on(self) -> list[Arm]:
        """Arms that val is copied by: an oracle is of train alone."""
        hiding = [a for a in self.arms if not a.oracle and a.name != self.reference]
        return hiding if self.cfg.anonymized_val else []

    def setup(self, seed: int) -> training.Setup:
        """As ``train`` takes it."""
        return training.setup({**self.train, "seed": seed})


def packaged(size: str = "default") -> dict[str, Any]:
    """The grid of generated people of a size, plain; they come with the package."""
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    name = "people.toml" if size == "default" else f"people-{size}.toml"
    return tomllib.loads(files("velatura.impact").joinpath(name).read_text(encoding="utf-8"))


def resolve(values: Mapping[str, Any], sets: Sequence[str] = ()) -> Grid:
    """Check a grid file; what it names of data is looked at when the work begins.

    Args:
        values: of the file, plain.
        sets: further ``section.key=value`` changes.

    Raises:
        BadInput: an unknown key, name or value; arms that cannot be compared; in one sentence.
    """
    values = apply_sets(values, sets)
    rest = dict(values)
    train = dict(_table(rest.pop("train", {}), "train"))
    network = rest.pop(GAN, None)
    given = rest.pop("arms", [])
    lines = rest.pop("order", [])
    cfg = build(Rest, rest)
    if not cfg.seeds or len({*cfg.seeds}) < len(cfg.seeds):
        raise BadInput(f"seeds: expected different whole numbers, got {list(cfg.seeds)}.")
    if "seed" in train:
        raise BadInput("train.seed: a grid has a list, such as seeds = [0, 1, 2].")
    tasks = training.setup(train).tasks
    _check_data(cfg.data)
    values[FACES] = plain(cfg.faces)  # written out: a folder without it is of an earlier version
    arms = tuple(build(Arm, one, "arms") for one in _tables(given, "arms"))
    names = [arm.name for arm in arms]
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) or names.count(name) > 1:
            raise BadInput(
                f"arms: {name!r} becomes a folder; give each arm a name of its own, of letters, "
                "digits, . _ -"
            )
    for arm in arms:
        if arm.oracle and (arm.method or arm.regions):
            raise BadInput(f"arms: {arm.name} has an oracle; leave out its method and regions.")
        if arm.oracle and cfg.data.people is None:
            raise BadInput(f"arms: {arm.name} has an oracle, and only data.people have one.")
        arm.setup(Path())
    if sum(arm.method.get("name") == "none" for arm in arms) != 1:
        raise BadInput(
            'arms: expected exactly one with method = { name = "none" }, to compare with.'
        )
    gan = _gan(network, arms)
    if gan is not None:
        values[GAN] = {**_table(network, GAN), "regions": gan.regions}
    order = tuple(build(_compare.Line, one, "order") for one in _tables(lines, "order"))
    _compare.check(order, names, tasks)
    return Grid(cfg, train, arms, order, gan, plain(values))


def _gan(given: Any, arms: Sequence[Arm]) -> train_gan.Config | None:
    """The network of all arms that draw with the bench's own, and whose regions it learns.

    Args:
        given: the section; None where there is none.

    Raises:
        BadInput: a section without such an arm, or the reverse; regions of several kinds.
    """
    mine = [arm for arm in arms if arm.draws]
    if not mine:
        if given is not None:
            raise BadInput(
                'gan: no arm draws with this network; give one method = { name = "gan" } without a '
                "model, or leave the section out."
            )
        return None
    if given is None:
        raise BadInput(
            f"arms: {mine[0].name} needs a network; give the grid a section [gan], which trains "
            "one, or name a file of yours as method.model."
        )
    first, *others = ((arm.name, arm.setup(Path()).cfg.regions) for arm in mine)
    name, regions = first
    if regions.kind == "frame":
        raise BadInput(f"arms: {name}: a network draws faces or bodies, and no whole pictures.")
    for other, theirs in others:
        if theirs != regions:
            raise BadInput(
                f"arms: {name} and {other} hide other regions, and a grid trains one network; "
                f"train that of {other} by `velatura impact train-gan`, and name its file as "
                "method.model."
            )
    cfg = build(train_gan.Config, {"regions": plain(regions), **_table(given, GAN)}, GAN)
    if cfg.regions != regions:
        raise BadInput(f"gan.regions: they are those of {name}; leave them out.")
    return cfg


def _check_data(data: Data) -> None:
    folders = data.train is not None and data.val is not None
    if (data.people is None) != folders or (data.people and (data.train or data.val)):
        raise BadInput("data: expected either people, or train and val.")
    if data.people and data.private:
        raise BadInput("data.private: generated people have such a file; leave it out.")


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadInput(f"{where}: expected a table, got {value!r:.60}.")
    return value


def _tables(value: Any, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list):
        raise BadInput(f"{where}: expected a list of tables, each [[{where}]].")
    return [_table(one, where) for one in value]
