"""IDD's layout through the whole workflow: polygons are drawn first, and only what changed is drawn again."""

import json
import os
import shutil

import pytest
from study import Study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("idd")]

IDD = {
    "dataset": {"name": "toy", "reader": "idd", "root": "city", "classes": "idd", "truth": "city-truth"},
    "toycity": {"layout": "idd", "train": 4, "val": 2, "train_extra": 0, "height": 64, "width": 128},
    "experiments": ["n1", "b3"],
    "evaluation": {"mode": "whole", "size": [48, 96]},
}
LOOKING = {"prepare", "plan", "propagate", "refine", "collect_pseudo", "manifests_annotated", "manifests_propagated"}


@pytest.fixture(scope="module")
def finished_idd(tmp_path_factory, warm):
    study = Study(tmp_path_factory.mktemp("idd"), warm)
    study.configure(**IDD)
    run = study.run()
    assert run.code == 0, run.output
    assert len(run.of("prepare")) == 1
    return study


@pytest.fixture
def idd(finished_idd, warm, tmp_path):
    shutil.copytree(finished_idd.folder, tmp_path / "study", copy_function=shutil.copy2)
    return Study(tmp_path / "study", warm)


def test_it_runs_from_polygons_to_the_table(finished_idd):
    finished_idd.assert_true_inputs()
    assert "N1" in (finished_idd.results / "tables/table1.md").read_text()
    metrics = (finished_idd.results / "runs/tmanet/n1/draw0-seed0/metrics.csv").read_text().splitlines()
    assert len(metrics) == 1 + 26 + 1
    # Counted at the size of the evaluation, not at the images'.
    assert 0 < int(metrics[-1].split(",")[3]) <= 2 * 48 * 96
    groups = (finished_idd.results / "runs/tmanet/n1/draw0-seed0/groups.csv").read_text().splitlines()
    assert sum(line.startswith("level2,") for line in groups) == 17


def test_an_edited_polygon_redraws_one_label_and_propagates_one_clip(idd):
    before, models = idd.label_files(), idd.models()
    annotation = sorted((idd.folder / "city/gtFine/train").glob("*/*.json"))[0]
    content = json.loads(annotation.read_text())
    content["objects"].append({"label": "car", "polygon": [[0, 0], [20, 0], [20, 20], [0, 20]], "deleted": 0})
    annotation.write_text(json.dumps(content))
    run = idd.run()
    assert run.code == 0, run.output
    assert "prepared 1, found 11 as they were" in (idd.results / "logs/prepare.log").read_text()
    after = idd.label_files()
    assert len(after.keys() - before.keys()) == 1 and before.items() <= after.items()
    assert idd.models()["n1"] != models["n1"]
    assert idd.run().jobs == []


def test_a_dataset_copied_without_timestamps_redoes_nothing(idd):
    def drawn():
        return {p.name: p.stat().st_mtime_ns for p in (idd.results / "prepared/labels").rglob("*.png")}

    before, models, labels = idd.label_files(), idd.models(), drawn()
    shutil.copytree(idd.folder / "city", idd.folder / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(idd.folder / "city")
    (idd.folder / "copy").rename(idd.folder / "city")
    for path in (idd.folder / "city").rglob("*.jpeg"):
        os.utime(path, (1, 1))
    run = idd.run()
    assert run.code == 0, run.output
    assert {rule for rule, _ in run.jobs} <= LOOKING | {
        "label_quality",
        "quality_figure",
        "sheet",
        "site",
        "all",
        "toycity",
    }
    assert (idd.label_files(), idd.models(), drawn()) == (before, models, labels)
    # Six sequences are looked through once more for their key frame, six labels are known by content.
    assert "prepared 6, found 6 as they were" in (idd.results / "logs/prepare.log").read_text()


def test_a_measurement_set_is_never_trained_on(warm, tmp_path):
    study = Study(tmp_path, warm)
    (tmp_path / "vps").mkdir()
    study.configure(dataset={"name": "toy", "reader": "vps", "root": "vps"}, experiments=["n1"])
    run = study.run()
    assert run.code == 2 and "measurement set" in run.output and "Traceback" not in run.output
