"""A disk to fill, for each test."""

import pytest
from disks import LimitedFiles, SmallDisk


@pytest.fixture(params=[SmallDisk, LimitedFiles])
def full_disk(request, tmp_path):
    """One of either kind."""
    disk = request.param(tmp_path / "disk")
    yield disk
    disk.close()


@pytest.fixture
def small_disk(tmp_path):
    """One that can be forbidden to write on."""
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.close()
