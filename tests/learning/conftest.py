"""A tiny dataset in CamVid's classes, and settings that train on it in a second."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fewframes.core.files import ContentHashes
from fewframes.core.labelfile import Layer, write_label_file
from fewframes.core.labels import ClassTable, load_class_table
from fewframes.experiments.manifests import sample_fingerprint

HEIGHT, WIDTH = 48, 64
COLOURS = {0: (90, 140, 230), 3: (80, 80, 90), 8: (200, 30, 40)}  # sky, road and car by CamVid's train ids


@dataclass(frozen=True)
class TinyDataset:
    root: Path
    labels_root: Path
    manifest: Path
    classes: ClassTable

    def arguments(self) -> dict[str, Any]:
        return {
            "manifest": self.manifest,
            "dataset_root": self.root,
            "labels_root": self.labels_root,
            "classes": self.classes,
        }

    def sign(self) -> None:
        """Have the manifest tell of the files as they are now."""
        hashes = ContentHashes(self.root.parent / "hashes", "test")
        rows = list(csv.DictReader(self.manifest.open()))
        for row in rows:
            known_by = "f" if ":" in row["source"] else hashes.of(self.root / row["label"])
            images = [self.root / row[column] for column in ("image", "memory_1")]
            row["fingerprint"] = sample_fingerprint(images, known_by, hashes)
        with self.manifest.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def draw_frame(rng: np.random.Generator, car_at: int) -> tuple[np.ndarray, np.ndarray]:
    label = np.full((HEIGHT, WIDTH), 3, np.uint8)
    label[: HEIGHT // 2] = 0
    label[20:36, car_at : car_at + 20] = 8
    image = np.zeros((HEIGHT, WIDTH, 3), np.float64)
    for train_id, rgb in COLOURS.items():
        image[label == train_id] = rgb
    return np.clip(image + rng.normal(0, 10, image.shape), 0, 255).astype(np.uint8), label


def write_tiny_dataset(folder: Path, clips: int = 5) -> TinyDataset:
    """Clips of two frames; the labels of the even ones are manual PNGs, of the odd ones a label file's layers."""
    rng = np.random.default_rng(0)
    data = TinyDataset(folder / "data", folder / "labels", folder / "manifest.csv", load_class_table("camvid"))
    data.root.mkdir(parents=True)
    rows = []
    for i in range(clips):
        car_at = int(rng.integers(0, WIDTH - 22))
        past, _ = draw_frame(rng, car_at)
        image, label = draw_frame(rng, car_at + 2)
        Image.fromarray(past).save(data.root / f"{i}_past.png")
        Image.fromarray(image).save(data.root / f"{i}.png")
        if i % 2:
            source, file, offset = "pseudo:flow", f"flow/{i}.h5", 10
            write_label_file(data.labels_root / file, {10: Layer(label, "f")}, {})
        else:
            source, file, offset = "fine", f"{i}_label.png", 0
            Image.fromarray(label).save(data.root / file)
        rows.append([f"clip{i}", offset, source, f"{i}.png", f"{i}_past.png", file, ""])
    with data.manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "offset", "source", "image", "memory_1", "label", "fingerprint"])
        writer.writerows(rows)
    data.sign()
    return data


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyDataset:
    return write_tiny_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def own_tiny(tmp_path: Path) -> TinyDataset:
    """One to damage."""
    return write_tiny_dataset(tmp_path / "tiny")


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    return {
        "network": {
            "name": "tmanet",
            "backbone": "mobilenetv3_small_050",
            "output_stride": 16,
            "key_channels": 8,
            "value_channels": 16,
            "head_channels": 32,
        },
        "iterations": 8,
        "batch_size": 2,
        "crop": [32, 48],
        "optimiser": "adamw",
        "lr": 0.01,
        "checkpoint_every": 3,
    }


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
