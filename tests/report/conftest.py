"""One simulated run for all tests of the report; those that change it copy it first."""

import shutil

import fake_run
import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run folder with everything in it; not to be changed."""
    return fake_run.write(tmp_path_factory.mktemp("run") / "demo")


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(finished, tmp_path / "demo")


@pytest.fixture(scope="session")
def full(tmp_path_factory):
    """The same run with the ladder and all that came with schema 2; not to be changed."""
    return fake_run.write(tmp_path_factory.mktemp("full") / "demo", schema=2)
