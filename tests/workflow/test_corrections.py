"""Labels that a person corrected: exported, edited, imported, trained on, and paid for."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from study import CONFIG, EXPERIMENTS, environment

pytestmark = pytest.mark.slow


def fewframes(study, *arguments):
    command = [sys.executable, "-m", "fewframes", *map(str, arguments)]
    result = subprocess.run(command, cwd=study.folder, env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stderr


def hours(study, experiment):
    with (study.results / "tables/table1.csv").open(newline="") as file:
        return next(float(row["annotation_hours"]) for row in csv.DictReader(file) if row["id"] == experiment)


def test_a_corrected_label_is_trained_on_and_costs_its_minutes(study):
    sample = next(line.split(",") for line in study.manifest("b3").splitlines()[1:] if "pseudo:" in line)
    clip, offset = sample[0], int(sample[1])
    fewframes(
        study, "export", "cityscapes", "--labels", "results/toy/pseudo/flow/labels.csv", "--results", "results/toy",
        "--root", "city", "--classes", "cityscapes", "--out", "review", "--clip", clip, f"--offset={offset}",
    )  # fmt: skip
    (path,) = (study.folder / "review").glob("gtFine/*/*/*_labelIds.png")
    label = np.array(Image.open(path))
    label[:10] = 23
    Image.fromarray(label).save(path)
    fewframes(
        study, "import", "review", "--exported", "review", "--out", "corrections", "--classes", "cityscapes",
        "--minutes", 6, "--by", "Ada",
    )  # fmt: skip
    before, paid = study.models(), hours(study, "B3")
    study.configure(dataset={**CONFIG["dataset"], "corrections": "corrections"})
    run = study.run()
    assert run.code == 0, run.output
    after = study.models()
    assert {e for e in EXPERIMENTS if before[e] != after[e]} == {"b3"}
    row = next(line for line in study.manifest("b3").splitlines() if line.startswith(f"{clip},{offset},"))
    assert ",corrected-pseudo," in row and ",prepared:corrected/" in row
    assert hours(study, "B3") == pytest.approx(paid + 0.1, abs=0.006)
    assert study.run().jobs == []

    # The same review, at another price: nothing is trained, and the table has the new hours.
    fewframes(
        study, "import", "review", "--exported", "review", "--out", "corrections", "--classes", "cityscapes",
        "--minutes", 66, "--by", "Ada",
    )  # fmt: skip
    models = study.models()
    assert study.run().code == 0
    assert study.models() == models and hours(study, "B3") == pytest.approx(paid + 1.1, abs=0.006)

    # The frame changes: the corrected label is of another picture, and must not be used.
    (frame,) = study.folder.glob(f"city/{row.split(',')[3]}")
    Image.fromarray(255 - np.array(Image.open(frame))).save(frame)
    assert study.run().code == 0
    assert "corrected-pseudo" not in study.manifest("b3")
    assert "its image has changed since" in (study.results / "logs/plan.log").read_text()
