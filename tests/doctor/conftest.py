"""A clean toy city, and ways to spoil a copy of it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from fewframes.datasets.toycity import ToyCitySettings, write_toycity
from fewframes.doctor import Report, examine

REPOSITORY = Path(__file__).parents[2]
TRAINING = {
    "tmanet": {
        "network": {
            "backbone": "mobilenetv3_small_050",
            "output_stride": 16,
            "key_channels": 8,
            "value_channels": 8,
            "head_channels": 16,
        }
    }
}
CONFIG = {
    "dataset": {"name": "toy", "root": "city", "truth": "city-truth"},
    "quality": {"methods": ["flow"], "reach": 2},
    "experiments": ["n1", "b3", "coarse-50", "coarse-50-refined"],
    "training": TRAINING,
}


@dataclass
class Patient:
    """A folder with a config and a dataset of its own, whose files may be replaced but not written into."""

    folder: Path
    config: dict[str, Any]

    @property
    def city(self) -> Path:
        return self.folder / "city"

    def files(self, pattern: str) -> list[Path]:
        found = sorted(self.city.glob(pattern))
        assert found, pattern
        return found

    def file(self, pattern: str) -> Path:
        return self.files(pattern)[0]

    def put(self, path: Path, content: bytes) -> str:
        """Replace a file; returns its name."""
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path.name

    def draw(self, path: Path, picture: np.ndarray) -> str:
        """Replace a file by a picture; returns its name."""
        return self.put(path, cv2.imencode(".png", picture)[1].tobytes())

    def examine(self, workers: int = 1, deep: bool = False) -> Report:
        path = Path("config.yaml")  # the test is in the folder
        path.write_text(yaml.safe_dump(self.config))
        return examine(path, REPOSITORY, workers, deep)


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor")
    write_toycity(folder / "city", ToyCitySettings(train=6, val=3, train_extra=1, height=48, width=96))
    return folder


@pytest.fixture
def patient(clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Patient:
    shutil.copytree(clean / "city", tmp_path / "city", copy_function=os.link)
    (tmp_path / "city-truth").symlink_to(clean / "city-truth")
    monkeypatch.chdir(tmp_path)
    return Patient(tmp_path, yaml.safe_load(yaml.safe_dump(CONFIG)))
