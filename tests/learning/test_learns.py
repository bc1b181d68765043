"""A short training must beat the majority class by far: what the demo rests on."""

import csv

import numpy as np
import pytest

from fewframes.core.files import ContentHashes
from fewframes.core.labels import load_class_table
from fewframes.core.metrics import iou_per_class, mean
from fewframes.datasets import index
from fewframes.datasets.source import Source
from fewframes.datasets.toycity import ToyCitySettings, write_toycity
from fewframes.experiments.manifests import evaluation_picks, picks, write_manifest
from fewframes.experiments.schemes import Experiment
from fewframes.learning.evaluation import evaluate
from fewframes.learning.training import train

CLASSES = load_class_table("cityscapes")
COMMON = {
    "iterations": 120,
    "batch_size": 4,
    "crop": [64, 128],
    "scale": [1, 1],
    "photometric": False,
    "optimiser": "adamw",
    "lr": 0.01,
}
TMANET = {
    "name": "tmanet",
    "backbone": "mobilenetv3_small_100",
    "output_stride": 16,
    "head_channels": 64,
    "key_channels": 16,
    "value_channels": 32,
}
TDNET = {"name": "tdnet", "width": 16, "size": [64, 128]}
SETTINGS = {
    "TMANet": {**COMMON, "network": TMANET},
    "TMANet without a past": {**COMMON, "network": TMANET | {"memory_frame": "self"}},
    "TDNet": {**COMMON, "network": TDNET, "loss": "ohem", "aux_weight": 0.5, "iterations": 200, "lr": 0.004},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_short_training_on_toy_city_learns(kind, tmp_path):
    city = tmp_path / "city"
    write_toycity(city, ToyCitySettings(train=12, val=6, train_extra=0, height=64, width=128))
    clips = index("cityscapes", Source(city, city, CLASSES))
    hashes = ContentHashes(tmp_path / "hashes", "test")
    samples = picks(Experiment("n1", "N1"), [c for c in clips if c.split == "train"], 0)
    write_manifest(tmp_path / "train.csv", samples, city, hashes, 1, {})
    write_manifest(tmp_path / "val.csv", evaluation_picks(clips, "val"), city, hashes, 1, {})

    train(tmp_path / "train.csv", city, tmp_path, CLASSES, SETTINGS[kind], 0, tmp_path, tmp_path / "c", threads=1)
    model = tmp_path / "model.safetensors"
    evaluate(model, tmp_path / "val.csv", city, tmp_path, CLASSES, tmp_path, {"mode": "whole"}, threads=1)

    truth = np.load(tmp_path / "confusion.npz")["confusion"].sum(axis=0).sum(axis=1)
    majority = np.zeros((19, 19), np.int64)
    majority[:, truth.argmax()] = truth
    with (tmp_path / "metrics.csv").open(newline="") as file:
        learned = {row["class"]: row["iou"] for row in csv.DictReader(file)}
    assert float(learned["mean"]) > 8 * 100 * mean(iou_per_class(majority))
    assert float(learned["road"]) > 60
