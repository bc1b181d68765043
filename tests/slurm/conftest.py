"""A Slurm cluster, and on it a tiny study, finished undisturbed; every test gets a copy of the study to disturb."""

import shutil

import pytest
from cluster import Cluster, missing
from slurmstudy import DISTURBED, SlurmStudy


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A cluster of this process's own."""
    if missing():
        pytest.skip(f"no Slurm here: {', '.join(missing())} are missing (Debian's packages slurm-wlm and munge)")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def finished(cluster, tmp_path_factory):
    """The study after an undisturbed run."""
    study = SlurmStudy(tmp_path_factory.mktemp("study"), cluster)
    study.configure()
    study.write_profile()
    try:
        study.finish(study.start("tables"))
    finally:
        study.close()
    return study


@pytest.fixture
def study(finished, cluster, tmp_path):
    """A copy of the finished study, one of whose trainings is to do again."""
    shutil.copytree(finished.folder, tmp_path / "study", copy_function=shutil.copy2)
    (tmp_path / "study/head.log").unlink()
    (tmp_path / "study" / DISTURBED / "model.safetensors").unlink()
    study = SlurmStudy(tmp_path / "study", cluster)
    yield study
    study.close()
