"""``limits.md``: what the figures of a card do not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from velatura.report.evaluation import cautions, statement
from velatura.report.markdown import code

__all__ = ["limits", "untested"]

GENERAL = """\
**It is a lower bound.** An attacker who finds 70 % proves that 70 % can be found. One who finds
nothing proves nothing: a larger network, more data or another idea may find it next year.

**It is of this data.** Another camera, another crowd, another resolution is another question.
Measure again on yours.

**It is of these attributes.** Low leakage of what was labelled is not low leakage of identity.
Somebody who knows a gait, a room or a dog may recognise a person from what is left.

**The intervals are over people or films of the test split.** They say how the figure would move
with other test people; not with another training, another attacker or another world.

**L compares rows of one table.** It is a share of what the same attackers read from raw video. L of
two studies, or against two sets of attackers, do not compare.

**The network is one part of a system.** Who sees the original, how long it is kept, what else is
stored beside the release: no figure here knows.
"""

WORDS = """\
Write: "in this test, no attacker exceeded L = x", with the attackers, the number of people and the
interval. Do not call the output *anonymous*: European law keeps the word for data from which nobody
can be identified by any means reasonably likely to be used (GDPR, recital 26), and no table of
attackers shows that. Nor does any figure here say that a law is kept.
"""


def limits(found: Mapping[str, Any]) -> str:
    """The page.

    Args:
        found: an evaluation, as ``eval.json`` holds it.
    """
    speaks = "\n".join(f"- {sentence}" for sentence in cautions(found, code)) or "- Nothing more."
    return (
        f"# Limits: what the figures of {code(found['row'])} do not say\n\n"
        f"{statement(found, code)} That is all that is claimed.\n\n"
        f"## Of any such figure\n\n{GENERAL}\n"
        f"## Not tested here\n\n{untested(found)}\n\n"
        f"## What speaks against relying on these figures\n\n{speaks}\n\n"
        f"## Words\n\n{WORDS}"
    )


def untested(found: Mapping[str, Any]) -> str:
    """What no figure is about, as a list."""
    return "\n".join(
        f"- **{entry['subject'].capitalize()}.** {entry['note']}" for entry in found["not_tested"]
    )
