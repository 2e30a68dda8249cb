"""What the tests of the video room share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_videos import encode, stamp


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """make("a.mp4", frames=40, **how) writes a stamped 64 x 48 video under tmp_path."""

    def make(name: str, frames: int = 40, height: int = 48, width: int = 64, **how) -> Path:
        images = how.pop("images", None) or [stamp(i, height, width) for i in range(frames)]
        return encode(tmp_path / name, images, **how)

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real videos, which the repository does not hold."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("VELATURA_DATA", beside))
    if not (folder / "clips").is_dir():
        pytest.skip(f"no real videos at {folder}; set VELATURA_DATA to a folder with clips/")
    return folder
