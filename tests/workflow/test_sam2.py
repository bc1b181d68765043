"""SAM 2 through the whole workflow, in a small configuration with random weights."""

import csv
import json

import pytest
from study import Study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sam2")]

SAM2 = {"weights": "random", "config": "small", "image_size": 64, "seed": 1}
QUALITY = {"methods": ["sam2", "flow", "copy"], "reach": 2, "signals": 2}


def configure(study, sam2=SAM2, **changes):
    settings = {"propagation": {"method": "sam2", "sam2": sam2}, "quality": QUALITY, "experiments": ["n1", "b3"]}
    study.configure(**settings | {"allow_random_weights": True, "tables": ["table1"]} | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, warm):
    study = Study(tmp_path_factory.mktemp("sam2"), warm)
    configure(study)
    run = study.run()
    assert run.code == 0, run.output
    return study


def labels(study):
    return {p.name: p.stat().st_mtime_ns for p in study.results.glob("pseudo/sam2/labels/random-weights/*.h5")}


def test_the_chain_runs_and_says_what_its_labels_are(finished):
    assert len(labels(finished)) == 6
    assert "labels/random-weights/" in finished.manifest("b3")
    assert "Random weights" in (finished.results / "tables/table1.md").read_text()
    for name in ("quality/sam2.csv", "quality/signals/sam2.csv", "quality/policy/sam2.csv", "figures/signals.pdf"):
        assert (finished.results / name).stat().st_size > 0
    assert "Random weights" in (finished.results / "figures/labels-sam2.html").read_text()
    assert "Random weights" not in (finished.results / "figures/labels-flow.html").read_text()
    with (finished.results / "quality/sam2.csv").open(newline="") as file:
        assert any(float(row["coverage"]) > 10 for row in csv.DictReader(file))
    assert finished.run().jobs == []


def test_how_it_runs_makes_nothing_due_but_the_report_of_it(finished):
    configure(finished, SAM2 | {"max_batch": 3, "device": "cpu"})
    assert {rule for rule, _ in finished.run().jobs} == {"site", "all"}


def test_another_policy_tracks_nothing_and_trains_what_it_changes(finished):
    configure(finished, SAM2 | {"min_confidence": 0.02})
    names = labels(finished).keys()
    run = finished.run()
    assert run.code == 0, run.output
    assert labels(finished).keys() == names
    log = "".join(path.read_text() for path in finished.results.glob("logs/propagate/sam2/*.log"))
    assert "0 clips labelled" in log and "claimed anew" in log and "tracks a batch" not in log
    assert "0 clips carried back, 2 found" in (finished.results / "logs/signals/sam2.log").read_text()
    assert run.experiments("train") == {"b3"}
    assert finished.run().jobs == []


def test_tables_refuse_runs_on_random_labels(finished, tmp_path):
    configure(finished, allow_random_weights=False)
    run = finished.run()
    assert run.code == 2 and "propagation.sam2.weights is random" in run.output
    # Through the back door: the runs are there, the config no longer says how they came to be.
    settings = {"networks": ["tmanet"], "experiments": {"b3": [0]}, "seeds": [0], "note": ""}
    table = finished.fewframes(
        "table",
        *("--definition", "workflow/experiments/table1.yaml", "--catalogue", "workflow/experiments/catalogue.yaml"),
        *("--settings", json.dumps(settings | {"allow_random_weights": False}), "--classes", "cityscapes"),
        *("--results", finished.results, "--out", tmp_path / "table1"),
    )
    assert table.returncode == 2 and "'b3' is trained on labels made with random weights" in table.stderr
    assert not list(tmp_path.iterdir())


def test_published_weights_are_fetched_before_anything_is_tracked(finished):
    configure(finished, {"weights": "sam2.1_hiera_tiny"}, allow_random_weights=False)
    run = finished.run(options=["--dry-run"])
    assert run.code == 0, run.output
    assert run.of("weights") == ["name=sam2.1_hiera_tiny"]
    assert "weights/sam2.1_hiera_tiny.fetched" in run.output and len(run.of("propagate")) == 2
