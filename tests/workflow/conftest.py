"""A tiny study on toy city, run once; every test gets a copy of it to disturb."""

import shutil

import pytest
from study import Study, environment
from warm import Warm


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """Where commands are that start at once."""
    warm = Warm(tmp_path_factory.mktemp("warm"), environment())
    yield warm.folder
    warm.close()


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory, warm):
    """The tiny study after its first run."""
    folder = tmp_path_factory.mktemp("study")
    study = Study(folder, warm)
    study.configure()
    run = study.run()
    assert run.code == 0, run.output
    return study


@pytest.fixture
def study(finished_study, warm, tmp_path):
    """A copy of the finished study, times and all."""
    shutil.copytree(finished_study.folder, tmp_path / "study", copy_function=shutil.copy2)
    return Study(tmp_path / "study", warm)
