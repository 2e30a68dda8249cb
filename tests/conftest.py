"""Under test, and only there, every annotated shape and type in velatura is checked."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from jaxtyping import install_import_hook

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread to each worker: two workers of two threads each run slower on two cores.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

# The hook sees only what is imported after it. An int may stand where a float is asked
# for, as for any type checker.
assert not any(name.split(".")[0] == "velatura" for name in sys.modules)
install_import_hook(
    "velatura", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def experiment() -> Iterator[Callable[[str], ModuleType]]:
    """A script of ``experiments`` as a module, by its name; they import one another."""
    folder = str(ROOT / "experiments")
    sys.path.insert(0, folder)
    yield importlib.import_module
    sys.path.remove(folder)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; the test is skipped where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium on this machine: apt-get install chromium")


@pytest.fixture(scope="session")
def gan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inpainting network of bodies that nobody trained, as a file; tests leave it as it is."""
    from inpainting import tiny_gan

    return tiny_gan.write(tmp_path_factory.mktemp("inpainter") / "gan.onnx")


@pytest.fixture(scope="session")
def diffusion_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inpainting pipeline of diffusers that nobody trained; tests leave it as it is."""
    for library in ("transformers", "diffusers"):
        pytest.importorskip(library, reason="the extra diffusion is not installed")
    from regions import tiny_diffusion

    return tiny_diffusion.write(tmp_path_factory.mktemp("pipeline") / "tiny")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Drawn people of a test module, in a folder of its own; one thread, in workers too."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VELATURA_CACHE", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield folder


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no NVIDIA GPU on this machine")
