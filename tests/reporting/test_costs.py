import csv
from pathlib import Path

import pytest

from fewframes.core.errors import UserError
from fewframes.experiments.corrected import Corrected
from fewframes.reporting.costs import Cost, manifest_cost, read_cost
from fewframes.reporting.statistics import Grid

MINUTES = {"fine": 90.0, "coarse": 7.0}


def grid_of(results, draws, seeds):
    experiments = ["b3"]
    return Grid(results, ("tmanet", "tdnet"), dict.fromkeys(experiments, draws), seeds)


def write_manifest(path: Path, samples: list[tuple[str, int, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "offset", "source", "image", "memory_1", "label", "fingerprint"])
        writer.writerows([clip, offset, source, "i.png", "m.png", "l.png", "0"] for clip, offset, source in samples)
    return path


def test_a_pseudo_label_costs_its_clips_annotated_frame_once(tmp_path):
    samples = [("a", 0, "fine"), ("a", -10, "pseudo:flow"), ("b", 10, "pseudo:flow"), ("b", -10, "pseudo:flow")]
    cost = manifest_cost(write_manifest(tmp_path / "m.csv", samples))
    assert cost == Cost(fine=2, coarse=0, samples=4, manual=1)
    assert cost.manual_percent == 25.0
    assert cost.hours(MINUTES) == 3.0


def test_a_refined_label_costs_the_coarse_one(tmp_path):
    samples = [("a", 0, "fine"), ("b", 0, "refined:grabcut"), ("c", 0, "coarse")]
    cost = manifest_cost(write_manifest(tmp_path / "m.csv", samples))
    assert cost == Cost(fine=1, coarse=2, samples=3, manual=2)
    assert cost.key_frames == 3
    assert cost.hours(MINUTES) == pytest.approx((90 + 14) / 60)


def test_a_corrected_label_costs_its_review_and_what_it_was_made_from(tmp_path):
    samples = [("a", 10, "corrected-pseudo"), ("a", -10, "pseudo:flow"), ("c", 0, "corrected-refined")]
    path = write_manifest(tmp_path / "m.csv", samples)
    corrected = {("a", 10, "pseudo"): Corrected("x", "h", 6.0), ("c", 0, "refined"): Corrected("y", "h", 3.0)}
    cost = manifest_cost(path, corrected)
    assert cost == Cost(fine=1, coarse=1, samples=3, manual=2, review_minutes=9)
    assert cost.hours(MINUTES) == pytest.approx((90 + 7 + 9) / 60)
    with pytest.raises(UserError, match="a corrected label of a that is gone"):
        manifest_cost(path)


def test_a_frame_annotated_both_ways_costs_both(tmp_path):
    cost = manifest_cost(write_manifest(tmp_path / "m.csv", [("a", 0, "fine"), ("a", 0, "coarse")]))
    assert (cost.fine, cost.coarse) == (1, 1)


def test_an_unknown_source_is_named(tmp_path):
    with pytest.raises(UserError, match=r"m\.csv names the label source 'dream:x'"):
        manifest_cost(write_manifest(tmp_path / "m.csv", [("a", 0, "dream:x")]))


def test_minutes_that_are_missing_matter_only_where_they_count():
    assert Cost(fine=2, coarse=0, samples=2, manual=2).hours({"fine": 60}) == 2.0
    with pytest.raises(UserError, match="minutes' for coarse"):
        Cost(fine=2, coarse=1, samples=3, manual=3).hours({"fine": 60})


def test_the_mean_over_the_draws_that_are_there(tmp_path):
    write_manifest(tmp_path / "manifests/b3/draw0.csv", [("a", 0, "fine")])
    write_manifest(tmp_path / "manifests/b3/draw2.csv", [("a", 0, "fine"), ("b", 0, "fine")])
    assert read_cost(grid_of(tmp_path, (0, 1, 2), (0,)), "b3") == Cost(fine=1.5, coarse=0, samples=1.5, manual=1.5)
    assert read_cost(grid_of(tmp_path, (1,), (0,)), "b3") is None
