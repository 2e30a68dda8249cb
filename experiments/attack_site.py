"""What the attacks of attack_frontier.py share: one row of a finished study, and a fit on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from velatura import metrics, plugins
from velatura.config import digest, read_toml
from velatura.data._release import open_release, write_frames
from velatura.errors import BadInput, Failure, unknown
from velatura.experiment import learns, release
from velatura.layout import ClipSet, Splits
from velatura.models.coarse_flow import CoarseFlow
from velatura.protocols._fresh import examine, statistics
from velatura.study import RAW, Study, load_all, resolve_study, work
from velatura.study.inputs import file_digest
from velatura.study.places import release_name, start_path
from velatura.study.summary import read_scores
from velatura.training import checkpoint, fit, loop

SEED = 90  # in place of an examiner's seed; no study has it
STRANGERS = 7919  # from the seed of a world to that of the attacker's own people


class NotHere(Exception):
    """An attack that has nothing to attack here, and why."""


class Told(NamedTuple):
    """What an attack says: scores of the validation and the test clips, (N, K) each, more is more
    likely; and the weights of its network, where another attack begins with them."""

    val: np.ndarray
    test: np.ndarray
    weights: Mapping[str, Tensor] = {}


@dataclass
class Site:
    """One row of a finished study.

    Attributes:
        data: clips as they were filmed, with labels.
        factor: how many times the clips, or the epochs, those have who have more.
    """

    study: Study
    folder: Path
    row: str
    data: Splits
    fabric: loop.Fabric
    factor: float = 10.0

    @property
    def out(self) -> Path:
        """Receives ``NAME.safetensors``, what an attack said."""
        return self.folder / "rows" / self.row / "attacks"

    @property
    def cache(self) -> Path:
        """Receives large files, which go when all attacks are done."""
        return self.out / f"cache-{self.key}"

    @cached_property
    def key(self) -> str:
        """Of all that scores depend on: those of another anonymizer are not taken for ours."""
        made = self.study.row(self.study.row(self.row).maker)
        path = self.folder / "methods" / made.name / "anonymizer.safetensors"
        weights = file_digest(path) if learns(made.run) else ""
        return digest([self.study.science(), self.row, weights, self.factor])

    @property
    def seed(self) -> int:
        """Of all that an attack draws."""
        return 100 * self.study.base.seed + SEED

    @property
    def window(self) -> Any:
        """The study's windows of videos."""
        return self.study.base.batches

    # What is looked at

    @cached_property
    def anonymizer(self) -> nn.Module:
        """The row's, frozen."""
        found: nn.Module = work.anonymizer_of(self.study, self.folder, self.row)
        return found

    @property
    def flow(self) -> CoarseFlow:
        """The same, for attacks on what it is made of."""
        if not isinstance(self.anonymizer, CoarseFlow):
            raise NotHere("the release is not a coarse flow")
        return self.anonymizer

    @cached_property
    def released(self) -> Splits:
        """What left the camera."""
        return Splits(*(self.let_out(part) for part in self.data))

    @cached_property
    def seen(self) -> Splits:
        """The release as the study's own examiners see it."""
        return self.prepared(self.released)

    @cached_property
    def strangers(self) -> ClipSet:
        """The attacker's own clips, as filmed: of more people, none of whom is of this study."""
        section = self.study.base.data
        module = plugins.load("data", section.name)
        if not hasattr(module, "more") or not hasattr(section.config, "seed"):
            raise NotHere(f"{section.name} has no more people")
        few = {"val_people": 2, "test_people": 2}  # nobody looks at them
        seed = section.config.seed + STRANGERS
        own = replace(module.more(section.config, self.factor), seed=seed, **few)
        found: ClipSet = module.load(own).train
        # People are numbered in each world; the first of another seed is somebody else.
        numbers = found.groups + 10 * self.data.test.groups.max() + 1
        return replace(found, groups=numbers, name="strangers/train")

    def let_out(
        self, part: ClipSet, name: str = "", anonymizer: nn.Module | None = None
    ) -> ClipSet:
        """Clips as they leave the camera, in 8 bits, on disk; once."""
        self.cache.mkdir(parents=True, exist_ok=True)
        path = self.cache / f"{name}{release_name(part.name)}"
        if path.exists():
            return open_release(path, part)
        found = release(anonymizer or self.anonymizer, part, path, self.fabric)
        return work.as_coded(found, path, self.study, self.row)

    def derived(
        self, part: ClipSet, name: str, shape: tuple[int, ...], change: Callable[[], Any]
    ) -> ClipSet:
        """What an attacker makes of released clips before a network looks, on disk; once.

        Args:
            shape: of a frame.
            change: gives the frames, part after part.
        """
        path = self.cache / f"{name}-{release_name(part.name)}"
        if not path.exists():
            write_frames(path, (part.frames.shape[0], *shape), change())
        return open_release(path, part, name)

    def prepared(self, released: Splits) -> Splits:
        """As examiners prepare a release."""
        known, cfg = statistics(released.train), self.study.evaluation
        return Splits(*(work.as_seen(part, known, cfg) for part in released))

    # Who looks

    @property
    def usual(self) -> tuple[Callable[[int], nn.Module], Mapping[str, Tensor] | None]:
        """The study's own attacker of clips, or its first one, and where it starts."""
        cfg = self.study.evaluation
        name = "clip_cnn" if "clip_cnn" in cfg.attackers else cfg.attackers[0]
        start = None
        if cfg.start == "raw":
            start = checkpoint.load(start_path(self.folder, "attributes", name))[0]["network"]
        return work.builder("attributes", name, cfg), start

    def learn(
        self,
        splits: Splits,
        build: Callable[[int], nn.Module],
        start: Mapping[str, Tensor] | None = None,
        stretch: float = 1.0,
        learn: Callable[..., nn.Module] | None = None,
        window: Any = None,
        **given: Any,
    ) -> Told:
        """Fit one fresh network as a study's attackers are fitted, and let it look.

        Args:
            stretch: times the epochs.
            given: what else :class:`velatura.training.fit.Config` has.

        Raises:
            Failure: the training or validation clips show a test person.
        """
        met = {*splits.train.groups.tolist(), *splits.val.groups.tolist()}
        if met & {*self.data.test.groups.tolist()}:
            raise Failure("An attacker would learn from people that it is tested on.")
        cfg, window = self.study.evaluation, window or self.window
        settings = replace(cfg.learning("attributes"), **given)
        settings = replace(settings, epochs=max(round(stretch * settings.epochs), 1))
        found = examine(
            splits, "attributes", build, None if start is None else dict(start), settings, cfg,
            window, self.seed, self.fabric, progress, learn,
        )  # fmt: skip
        network = build(len(splits.train.attribute_names))
        network.load_state_dict(found.weights)
        return Told(self.look(network, splits.val, window), found.scores, found.weights)

    def look(self, network: nn.Module, part: ClipSet, window: Any) -> np.ndarray:
        """Logits (N, K) of a network that learns no more."""
        return fit.predict(
            network.to(self.fabric.device), part, "attributes", window, self.fabric,
            mirror=self.study.evaluation.mirror,
        )  # fmt: skip

    # What was said

    def save(self, name: str, of: str, said: Told, seconds: float) -> None:
        """Keep what an attack said."""
        state = {
            "val": torch.from_numpy(np.ascontiguousarray(said.val)),
            "test": torch.from_numpy(np.ascontiguousarray(said.test)),
            "weights": {key: value.contiguous() for key, value in said.weights.items()},
        }
        self.out.mkdir(parents=True, exist_ok=True)
        about = {"of": of, "seconds": round(seconds, 1)}
        checkpoint.save(self.out / f"{name}.safetensors", state, about)

    def saved(self, name: str, of: str) -> tuple[Told, float] | None:
        """What an attack said, and the seconds that it took; None where it did not, or of
        something else."""
        path = self.out / f"{name}.safetensors"
        if not path.exists():
            return None
        state, about = checkpoint.load(path)
        if about["of"] != of:
            return None
        said = Told(state["val"].numpy(), state["test"].numpy(), state.get("weights", {}))
        return said, float(about["seconds"])

    def figures(self, name: str, test: np.ndarray) -> dict[str, Any]:
        """What scores of the test clips read, by the rules of every row of a study: L against the
        same raw row, intervals over the same resampled people."""
        train, test_part = self.data.train, self.data.test
        targets, _ = read_scores(self.study, self.folder, self.row)
        raw_targets, raw_attackers = read_scores(self.study, self.folder, RAW)
        replicates = self.study.evaluation.replicates
        row = metrics.summarize_row(
            self.row,
            self.study.row(self.row).run.method.name,
            target_scores=targets,
            attacker_scores={(name, SEED): test},
            raw_target_scores=raw_targets,
            raw_attacker_scores=raw_attackers,
            actions=test_part.actions,
            attributes=test_part.attributes,
            groups=test_part.groups,
            attribute_names=test_part.attribute_names,
            weights=metrics.bootstrap_weights(test_part.groups, replicates, 0),
            floor_scores=metrics.action_floor(train.actions, train.attributes, test_part.actions),
        )
        kept = ("ap", "ap_interval", "auroc", "within_action_auroc", "prevalence")
        attributes = {
            attribute: {key: found[key] for key in kept}
            for attribute, found in row["attributes"].items()
        }
        return {
            **{key: row[key] for key in ("cmap", "cmap_interval", "L", "L_interval")},
            "excess": row["headline"]["excess"],
            "strongest": max(attributes, key=lambda one: float(attributes[one]["auroc"])),
            "attributes": attributes,
        }


def progress(done: int, total: int) -> None:
    """A dot at each tenth of what is under way."""
    if total and 10 * done // total > 10 * (done - 1) // total:
        print(".", end="", flush=True)


def open_site(folder: Path, row: str, factor: float) -> Site:
    """A row of a finished study.

    Raises:
        BadInput: no finished study, no such row, or attributes that are not of its clips.
    """
    if not (folder / "summary.json").exists():
        raise BadInput(f"{folder} is no finished study: it has no summary.json; name another one.")
    study = resolve_study(read_toml(folder / "config.toml"))
    if row not in (names := [one.name for one in study.rows]):
        raise unknown("row", row, names)
    data = load_all(study)
    if data.bearers is not data.clips:
        raise BadInput(f"In {folder} attributes are of images; these attacks are on clips.")
    return Site(study, folder, row, data.clips, loop.fabric(study.base.loop), factor)
