"""OpenCV, which deployment does without, for those who ask for what needs it."""

from __future__ import annotations

from types import ModuleType

from velatura.errors import BadInput

__all__ = ["opencv"]


def opencv(what: str) -> ModuleType:
    """The library, loaded at first use.

    Raises:
        BadInput: it is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise BadInput(
            f'{what} needs OpenCV, which is not installed: pip install "velatura[impact]".'
        ) from None
    return cv2
