"""Velatura hides who is in a video and keeps what they do, and measures what still leaks.

These are the public names; whatever is not listed here may change tomorrow. They load on
first use, so that ``import velatura`` is quick and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from velatura.deploy.anonymizer import Anonymizer as Anonymizer
    from velatura.deploy.file import anonymize_video as anonymize_video
    from velatura.errors import BadInput as BadInput
    from velatura.errors import Failure as Failure
    from velatura.experiment import load_anonymizer as load_anonymizer
    from velatura.layout import ClipSet as ClipSet
    from velatura.layout import Measurement as Measurement

__version__ = "0.1.0"

_HOME = {
    "Anonymizer": "velatura.deploy.anonymizer",
    "BadInput": "velatura.errors",
    "ClipSet": "velatura.layout",
    "Failure": "velatura.errors",
    "Measurement": "velatura.layout",
    "anonymize_video": "velatura.deploy.file",
    "load_anonymizer": "velatura.experiment",
}

__all__ = [
    "Anonymizer",
    "BadInput",
    "ClipSet",
    "Failure",
    "Measurement",
    "anonymize_video",
    "load_anonymizer",
]


def __getattr__(name: str) -> object:
    """Import a public name where it lives, the first time that someone asks for it."""
    if name not in _HOME:
        raise AttributeError(f"module 'velatura' has no attribute {name!r}")
    value: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
