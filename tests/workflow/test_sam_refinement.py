"""SAM's refinements through the whole workflow, in a small configuration with random weights."""

import csv

import pytest
from study import Study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sam-refinement")]

SMALL = {"weights": "random", "config": "small", "seed": 1, "precision": "float32"}
LOOSE = {"min_area_ratio": 0.0, "max_area_ratio": 9999.0, "min_overlap": 0.0, "min_predicted_iou": 0.0}
SAM2 = {"image_size": 64, "points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "purity": 0.1}
SETTINGS = {"sam_points": {}, "sam_points_guarded": {**LOOSE, "min_overlap": 0.3}, "sam_box": LOOSE, "automask": SAM2}
ARMS = ["coarse-50-refined", "coarse-50-refined-all", "coarse-50-automask"]
METHODS = ["sam_points", "sam_points_guarded", "sam_box", "automask", "grabcut", "none"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, warm):
    study = Study(tmp_path_factory.mktemp("sam"), warm)
    refinement = {"method": "sam_points", **{method: SMALL | own for method, own in SETTINGS.items()}}
    study.configure(
        refinement=refinement,
        quality={"refinements": METHODS, "signals": 0},
        experiments=ARMS,
        tables=["table3", "table7"],
        allow_random_weights=True,
    )
    run = study.run()
    assert run.code == 0, run.output
    return study


def test_every_method_refines_and_is_measured(finished):
    tables = {}
    for method in METHODS:
        with (finished.results / f"quality/refinement/{method}.csv").open(newline="") as file:
            tables[method] = {row["class"]: row for row in csv.DictReader(file)}
        made = list(finished.results.glob(f"refined/{method}/labels/**/*.h5"))
        assert len(made) == 3 and all(("random-weights" in p.parts) == (method in METHODS[:4]) for p in made)
    assert float(tables["grabcut"]["mean of refined"]["iou_all_gain"]) > 5
    assert {row["iou_all_gain"] for row in tables["none"].values()} <= {"0.00", ""}
    # Each does something of its own; what a guard makes of random masks may be all or nothing.
    scores = {method: tables[method]["mean"]["iou_all_refined"] for method in METHODS if method != "sam_points_guarded"}
    assert len(set(scores.values())) == len(scores)
    logs = "".join(p.read_text() for p in finished.results.glob("logs/refine/sam_points_guarded/*.log"))
    assert " kept" in logs and " refined" in logs


def test_each_arm_is_trained_on_its_own_way_of_refining(finished):
    manifests = [finished.manifest(arm) for arm in ARMS]
    for manifest, method in zip(manifests, ("sam_points", "sam_points_all", "automask"), strict=True):
        refined = [line.split(",") for line in manifest.splitlines() if "refined:" in line]
        assert refined and all(row[2] == f"refined:{method}" for row in refined)
        assert all(row[-2].startswith(f"refined/{method}/labels/random-weights/") for row in refined)
    # The same samples, and other labels of them.
    assert len({tuple(line.split(",")[0] for line in m.splitlines()) for m in manifests}) == 1
    assert finished.models().keys() == set(ARMS)
    finished.assert_true_inputs()
    assert "50" in (finished.results / "tables/table7.md").read_text()


def test_what_was_trained_on_it_is_marked_and_nothing_is_due_again(finished):
    assert "refined/sam_points/labels/random-weights/" in finished.manifest("coarse-50-refined")
    assert "Random weights" in (finished.results / "tables/table3.md").read_text()
    assert (finished.results / "figures/figure3.png").stat().st_size > 0
    assert finished.run().jobs == []
