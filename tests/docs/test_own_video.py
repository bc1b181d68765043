"""The how-to on a video of one's own, followed to the letter in an empty folder."""

import csv
import re
import subprocess

import numpy as np
import pytest
from study import REPOSITORY, environment

from fewframes.core.images import read_image, read_label
from fewframes.core.labels import load_class_table
from fewframes.datasets.video import COLUMNS

pytestmark = pytest.mark.xdist_group("own-video")

TEXT = (REPOSITORY / "docs/how-to/own-video.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^(?:`(?P<file>[^`\n]+)`:\n\n)?```(?P<kind>bash|python|csv|yaml)\n(?P<body>.*?)^```$", re.M | re.S)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The folder after every block: files written, commands run; and what the commands said."""
    folder = tmp_path_factory.mktemp("how to")
    said = []
    for block in BLOCK.finditer(TEXT):
        if block["kind"] == "bash":
            run = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block["body"]],
                cwd=folder,
                env={**environment(), "FEWFRAMES": str(REPOSITORY)},
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert run.returncode == 0, f"{block['body']}\n{run.stdout}\n{run.stderr}"
            assert "<TBD>" not in run.stderr
            said.append(run.stdout)
        else:
            path = folder / block["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["body"], encoding="utf-8")
    return folder, said


def test_every_block_is_followed_and_every_column_told():
    fences = re.findall(r"^```(\w+)$", TEXT, re.M)
    blocks = [block["kind"] for block in BLOCK.finditer(TEXT)]
    assert blocks == fences and {"bash", "python", "csv", "yaml"} <= set(fences)
    told = re.findall(r"^\| (`.*?) \|", TEXT, re.M)
    assert {name for cell in told for name in re.findall(r"`(\w+)`", cell)} == set(COLUMNS)


@pytest.mark.slow
def test_both_clips_are_labelled_and_measured(followed):
    folder, said = followed
    with (folder / "results/own/quality/flow.csv").open(encoding="utf-8") as file:
        rows = {(row["offset"], row["class"]): row for row in csv.DictReader(file)}
    assert rows["±8", "mean"]["frames"] == "4"  # two clips, both directions
    for distance, least in {"±1": 90, "±8": 70}.items():
        box = {key: float(rows[distance, "box"][key]) for key in ("coverage", "iou_claimed", "iou_copy")}
        assert box["iou_claimed"] > least and box["coverage"] > 80 and box["iou_claimed"] > box["iou_copy"] + 5
    assert any("±8,mean" in text and "iou_copy" in text for text in said)


@pytest.mark.slow
def test_the_frames_and_labels_read_are_those_that_were_drawn(followed):
    folder, _ = followed
    classes = load_class_table(folder / "own/classes.yaml")
    prepared = folder / "results/own/prepared"
    for clip, truth in (("walk", "walk/walk12.png"), ("ride", "ride/000010.png")):
        label = read_label(prepared / f"labels/{clip}_fine.png")
        np.testing.assert_array_equal(label, read_label(folder / "own-truth" / truth))
        assert set(np.unique(classes.to_train_ids(label, clip))) == {0, 1}
    assert sorted(int(p.stem) for p in (prepared / "frames/ride").iterdir()) == list(range(2, 19))
    for number in (2, 10, 18):
        red, green, _ = np.moveaxis(read_image(prepared / f"frames/ride/{number:06d}.png").astype(int), -1, 0)
        box = read_label(folder / f"own-truth/ride/{number:06d}.png") == 1
        assert ((red - green > 50) == box).mean() > 0.98


@pytest.mark.slow
def test_there_is_something_to_look_at_and_to_take_away(followed):
    folder, _ = followed
    for name in ("own/figures/figure2.png", "own/figures/quality.png", "unmeasured/figures/figure2.png"):
        assert read_image(folder / "results" / name).std() > 5
    # Without experiments and without truth, every annotated clip is labelled as far as it was asked.
    labels = (folder / "results/unmeasured/pseudo/flow/labels.csv").read_text().splitlines()[1:]
    assert sorted({line.split(",")[0] for line in labels}) == ["ride", "walk"] and len(labels) == 2 * 11
    assert len(list((folder / "own-labels").rglob("*_labelIds.png"))) == 34
