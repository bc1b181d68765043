"""Finished results; every test gets a copy to disturb."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

import pytest
from kept import CONFIG, Kept, make

from fewframes.datasets.toycity import ToyCitySettings, write_toycity

OLD = 1_600_000_000


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_toycity(Path("city"), ToyCitySettings(train=4, val=1, train_extra=1, height=48, width=96))
        for file in Path("city").rglob("*.*"):
            os.utime(file, (OLD, OLD))  # hashes of files that may still change are not kept
        Kept(folder).configure()
        make(copy.deepcopy(CONFIG))
    return folder


@pytest.fixture
def kept(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """A copy of the finished study, times and all; hashes are kept by absolute path, and so know the copy's too."""
    folder = tmp_path / "kept"
    shutil.copytree(finished, folder, copy_function=shutil.copy2)
    for file in (folder / "results/toy/hashes").glob("*.csv"):
        file.write_text(file.read_text().replace(str(finished), str(folder)))
    monkeypatch.chdir(folder)
    return Kept(folder)
