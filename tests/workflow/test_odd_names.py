"""Names that shells, CSVs and patterns trip over, through the whole workflow."""

import csv

import cv2
import numpy as np
import pytest
from study import Study

pytestmark = pytest.mark.slow

ROOT = 'my "own" città; $HOME'
FRAMES = "it's a walk\nthrough {Köln} & back"
LABEL = "étiquette no. 1 'fine'.png"
TABLE = """
minutes: {fine: 10}
offsets: [-3, 2]
classes:
  - {name: floor, id: 0, train_id: 0, rgb: [0, 0, 0]}
  - {name: box, id: 1, train_id: 1, rgb: [255, 0, 0]}
"""


def test_odd_names_reach_the_labels(tmp_path):
    root = tmp_path / ROOT
    (root / FRAMES).mkdir(parents=True)
    texture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for n in range(6):
        frame = np.roll(cv2.GaussianBlur(texture, (9, 9), 0), n, axis=1)
        cv2.imwrite(str(root / FRAMES / f"frame \"{n}\"'{n + 8}'.png"), frame)
    label = np.zeros((48, 64), np.uint8)
    label[10:30, 20:40] = 1
    cv2.imwrite(str(root / LABEL), label)
    (root / "classes of mine.yaml").write_text(TABLE)
    with (root / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "split", "frames", "key", "fine"])
        writer.writerow(["walk", "train", FRAMES, "frame \"3\"'11'.png", LABEL])

    study = Study(tmp_path)
    dataset = {"name": "toy", "reader": "video", "root": ROOT, "classes": f"{ROOT}/classes of mine.yaml"}
    study.configure(dataset=dataset, experiments=["b5s"], toycity=None, quality=None, tables=[], shards=1)
    run = study.run("labels", "results/toy/figures/propagation.png")
    assert run.code == 0, run.output
    rows = (study.results / "pseudo/flow/labels.csv").read_text().splitlines()
    assert len(rows) == 1 + 5
    assert study.run("labels").jobs == []
