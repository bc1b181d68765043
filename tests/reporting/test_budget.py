import csv
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scored import write_confusion

from fewframes.cli import reports
from fewframes.core import metrics
from fewframes.core.clips import Clip, write_clips
from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.experiments.schemes import Experiment
from fewframes.reporting.budget import Measured, Plan, advice, found_grid, measured, plans
from fewframes.reporting.costs import Cost

CITYSCAPES = load_class_table("cityscapes")
CATALOGUE = {
    "n1": Experiment("n1", "N1"),
    "p2": Experiment("p2", "P2", offsets=(-10, 0)),
    "b3": Experiment("b3", "B3", offsets=(-10, 0, 10)),
    "b3s": Experiment("b3s", "B3s", offsets=(-1, 0, 1)),
    "c": Experiment("c", "50 % coarse", coarse_percent=50),
    "cr": Experiment("cr", "50 % refined", coarse_percent=50, labels="refined"),
}
IMAGES = [f"{city}_{i:06d}_000019" for city in "pqr" for i in range(9)]


def write_arm(results: Path, experiment: str, samples: list[tuple[str, int, str]], hits: list[int]) -> None:
    path = results / "manifests" / experiment / "draw0.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("clip", "offset", "source"), *samples])
    for seed, hit in enumerate(hits):
        each = np.array([[hit + i % 3, 100 - hit - i % 3] for i in range(len(IMAGES))])
        confusion = np.stack([each, each[:, ::-1]], axis=1)
        miou = 100 * metrics.mean(metrics.iou_per_class(confusion.sum(axis=0)))
        folder = results / "runs" / "tmanet" / experiment / f"draw0-seed{seed}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(f"class,iou,accuracy\nmean,{miou},{miou}\n")
        write_confusion(folder, IMAGES, confusion)


def mixture(experiment: str, clips: int) -> list[tuple[str, int, str]]:
    return [(f"k{i}", o, "pseudo:flow" if o else "fine") for i in range(clips) for o in CATALOGUE[experiment].offsets]


@pytest.fixture
def results(tmp_path):
    """Twelve clips: N1 18 hours, P2 9 hours, B3 and B3s 6 hours, half coarse ones 9.7 hours; P2 has two runs only."""
    trained = [
        Clip(f"k{i}", "train", f"k{i}", "i.png", "s/{frame}.png", 19, 1, -19, 10, fine="f.png") for i in range(12)
    ]
    scored = [Clip(image, "val", image[:8], "i.png", fine="f.png") for image in IMAGES]
    write_clips(tmp_path / "index.csv", [*trained, *scored])
    write_arm(tmp_path, "n1", mixture("n1", 12), [90, 91, 92])
    write_arm(tmp_path, "p2", mixture("p2", 6), [88, 89])
    write_arm(tmp_path, "b3", mixture("b3", 4), [84, 85, 86])
    write_arm(tmp_path, "b3s", mixture("b3s", 4), [70, 71, 72])
    half = [(f"k{i}", 0, "fine" if i < 6 else "coarse") for i in range(12)]
    write_arm(tmp_path, "c", half, [60, 61, 62])
    return tmp_path


def means(results: Path) -> dict[str, float]:
    curves = measured(found_grid(results), "tmanet", CATALOGUE, CITYSCAPES)
    return {point.experiment.id: point.mean for curve in curves.values() for point in curve}


def test_curves_have_what_has_enough_runs_and_the_best_of_equal_cost(results):
    curves = measured(found_grid(results), "tmanet", CATALOGUE, CITYSCAPES)
    ids = {name: [(p.experiment.id, p.hours, p.runs) for p in curve] for name, curve in curves.items()}
    assert ids == {
        "fine, propagated": [("b3", 6, 3), ("n1", 18, 3)],
        "fine and coarse": [("c", 9.7, 3), ("n1", 18, 3)],
        "fine and refined coarse": [("n1", 18, 3)],
    }
    for point in (p for curve in curves.values() for p in curve):
        assert point.low < point.mean < point.high


def test_between_two_mixtures_lies_a_straight_line(results):
    of = means(results)
    curves = measured(found_grid(results), "tmanet", CATALOGUE, CITYSCAPES)
    best, *others = plans(12, curves)
    assert (best.curve, best.less.experiment.id, best.more.experiment.id) == ("fine, propagated", "b3", "n1")
    assert (best.share, best.hours, best.frames) == (pytest.approx(0.5), pytest.approx(12), (8, 0))
    assert best.mean == pytest.approx((of["b3"] + of["n1"]) / 2)
    # Half coarse labels are bad here: on their curve a mixture near N1 is the best for 12 hours.
    (coarse,) = others
    assert coarse.frames == pytest.approx((6 + 6 * 2.3 / 8.3, 6 - 6 * 2.3 / 8.3))


def point(name: str, hours: float, mean: float) -> Measured:
    return Measured(Experiment(name, name), Cost(hours / 1.5, 0, 9, 9), hours, mean, mean - 1, mean + 1, 3)


def test_a_cheaper_mixture_that_is_better_is_taken():
    low, high = point("low", 6, 70), point("high", 18, 60)
    assert plans(12, {"curve": [low, high]}) == [Plan("curve", low, low, 0)]
    assert plans(20, {"curve": [low, high]}) == [Plan("curve", low, low, 0)]
    assert plans(5, {"curve": [low, high]}) == []


def test_the_best_curve_comes_first():
    found = plans(10, {"a": [point("a", 6, 50)], "b": [point("b", 8, 60)], "c": [point("c", 11, 90)]})
    assert [plan.curve for plan in found] == ["b", "a"]


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [re.split(r"\s*\|\s*", line)[1:-1] for line in lines]


def test_advice_by_hand(results):
    of, text = means(results), advice(12, results, "tmanet", CATALOGUE, CITYSCAPES)
    labels, fine, coarse, names, apart, hours, miou, runs = rows_of(text)[0]
    assert (labels, fine, coarse, names) == ("fine, propagated", "8", "0", "B3 (2) + N1 (6)")
    assert (apart, hours, runs) == ("30", "12.0", "3/3")
    mean, low, high = map(float, re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", miou).groups())
    assert mean == pytest.approx((of["b3"] + of["n1"]) / 2, abs=0.051) and low < mean < high
    assert "90 minutes (fine)" in text and "straight line" in text and "a clip has 30 frames" in text
    assert "what more would bring" not in text


def test_more_hours_than_measured_are_not_guessed_at(results):
    text = advice(100, results, "tmanet", CATALOGUE, CITYSCAPES)
    assert rows_of(text)[0][1:4] == ["12", "0", "N1"] and rows_of(text)[0][5] == "18.0"
    # N1 is the end of every curve, and one plan.
    assert len(rows_of(text)) == 1
    assert "No mixture of more than 18 hours was measured" in text


def test_key_frames_stand_far_enough_apart_for_their_frames(results):
    clips = [Clip(f"k{i}", "train", f"k{i}", "i.png", "s/{frame}.png", 5, 1, -5, 5, fine="f.png") for i in range(12)]
    write_clips(results / "index.csv", [*clips, *(Clip(i, "val", i[:8], "i.png", fine="f.png") for i in IMAGES)])
    # Frames -10, 0 and 10 of key frames 30 apart are 10 apart from each other.
    assert rows_of(advice(6, results, "tmanet", CATALOGUE, CITYSCAPES))[0][3:5] == ["B3", "30"]
    assert rows_of(advice(18, results, "tmanet", CATALOGUE, CITYSCAPES))[0][3:5] == ["N1", "11"]


def test_what_is_not_measured_is_said(results, tmp_path):
    with pytest.raises(UserError, match=r"Not enough measured: .* B3, takes 6 hours and not 5"):
        advice(5, results, "tmanet", CATALOGUE, CITYSCAPES)
    with pytest.raises(UserError, match=r"Not enough measured: .* no run of tdnet"):
        advice(5, results, "tdnet", CATALOGUE, CITYSCAPES)
    for run in results.glob("runs/tmanet/*/draw0-seed2/metrics.csv"):
        run.unlink()
    with pytest.raises(UserError, match=r"Not enough measured: no mixture .* has 3 runs"):
        advice(12, results, "tmanet", CATALOGUE, CITYSCAPES)


def test_the_grid_of_a_folder_is_what_lies_there(results):
    write_arm(results, "cr", [("k0", 0, "fine")], [50])
    (results / "runs" / "tmanet" / "cr" / "draw0-seed0").rename(results / "runs" / "tmanet" / "cr" / "draw2-seed7")
    (results / "runs" / "tmanet" / "cr" / "draw0-seedling").mkdir()
    grid = found_grid(results)
    assert (grid.networks, grid.seeds) == (("tmanet",), (0, 1, 2, 7))
    assert (grid.draws_of("cr"), grid.draws_of("n1")) == ((2,), (0,))


def test_the_command_prints_the_advice(results):
    run = CliRunner().invoke(
        reports.budget, ["--hours", "12", "--results", str(results), "--classes", "cityscapes"], catch_exceptions=False
    )
    assert run.exit_code == 0 and rows_of(run.output)[0][1] == "8"
    assert CliRunner().invoke(reports.budget, ["--hours", "0", "--results", "r", "--classes", "c"]).exit_code == 2
