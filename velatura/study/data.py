"""What a study looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from velatura.errors import BadInput
from velatura.experiment import (
    bearers,
    build_anonymizer,
    check_sizes,
    fingerprint,
    kept_apart,
    learns,
    load_data,
    load_private,
    looks_back,
)
from velatura.layout import ClipSet, Labels, Splits
from velatura.study.file import Study
from velatura.training import windows


class Data(NamedTuple):
    """What a study looks at: clips with actions, and what bears the private attributes.

    Attributes:
        clips: the data set.
        bearers: the same one, or the images of ``[private]``.
        private: those images, where there are any, also where nothing is measured on them.
    """

    clips: Splits
    bearers: Splits
    private: Splits | None

    def of(self, labels: Labels) -> Splits:
        """Whose labels these are."""
        return self.clips if labels == "actions" else self.bearers

    @property
    def fingerprint(self) -> str:
        """Of all of it."""
        return fingerprint(self.clips, self.private)

    @property
    def parts(self) -> list[ClipSet]:
        """Every split that is released, once."""
        return [*self.clips, *(self.bearers if self.bearers is not self.clips else ())]


def load_all(study: Study, progress: Callable[[str, int, int], None] | None = None) -> Data:
    """Clips, and the bearers of private attributes.

    Raises:
        BadInput: as of both; windows that do not fit; or a row that looks from frame to frame,
            to be measured on images, which stand still: what it leaves of a person in motion
            cannot be seen on them, and it would look private.
    """
    clips = load_data(study.base, progress)
    private = kept_apart(clips, load_private(study.base, progress))
    data = Data(clips, bearers(clips, private), private)
    for part in data.parts:
        windows.check(part, windows.of(part, study.base.batches))
    cfg = study.evaluation
    attackers = (*cfg.attackers, *cfg.scratch)
    for names, splits in ((cfg.targets, clips), (attackers, data.bearers)):
        settings = {name: cfg.networks.get(name, {}) for name in names}
        check_sizes(study.base, splits, others=settings)
    if data.bearers is not clips:
        for row in study.rows:
            if not learns(row.run) and looks_back(build_anonymizer(row.run)):
                raise BadInput(
                    f"Row {row.name}: {row.run.method.name} looks from frame to frame, and private "
                    "attributes are measured on images here, which stand still. Leave the row "
                    "out, or use videos that have attributes of their own."
                )
    return data


def examples(splits: Splits, count: int = 6) -> list[int]:
    """Test items to show: of different actions and people, the same for every row."""
    chosen: list[int] = []
    for item, (what, who) in enumerate(zip(splits.test.actions, splits.test.groups, strict=True)):
        if what not in splits.test.actions[chosen] and who not in splits.test.groups[chosen]:
            chosen.append(item)
        if len(chosen) == count:
            break
    return chosen
