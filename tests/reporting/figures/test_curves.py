import subprocess
import sys
from pathlib import Path

import pytest

from fewframes.core.labels import load_class_table
from fewframes.experiments.schemes import load_catalogue
from fewframes.reporting.figures.curves import (
    _series,
    _short_name,
    write_clips_figure,
    write_coarse_figure,
    write_cost_curve,
    write_quality_figure,
)
from fewframes.reporting.statistics import Grid

EXPERIMENTS = Path(__file__).parents[3] / "workflow" / "experiments"
CATALOGUE = load_catalogue(EXPERIMENTS / "catalogue.yaml")
CITYSCAPES = load_class_table("cityscapes")


def grid_of(results, draws=(0,), seeds=(0, 1), networks=("tmanet",)):
    experiments = [id_ for id_ in CATALOGUE if id_ != "all-b11"]
    return Grid(results, networks, dict.fromkeys(experiments, draws), seeds)


def run(results, experiment, *mious, network="tmanet"):
    """Runs of seeds 0, 1, … with these mIoU."""
    for seed, miou in enumerate(mious):
        path = results / "runs" / network / experiment / f"draw0-seed{seed}" / "metrics.csv"
        path.parent.mkdir(parents=True)
        path.write_text(f"class,iou,accuracy,pixels\nmean,{miou},70,10\n")


def manifest(results, experiment, *samples):
    """The manifest of draw 0: clip, offset and source of each sample."""
    path = results / "manifests" / experiment / "draw0.csv"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{','.join(map(str, row))}\n" for row in (("clip", "offset", "source"), *samples)))


@pytest.fixture
def results(tmp_path):
    """N1 and half coarse with both seeds, all coarse refined with one; P2 has a manifest and no run."""
    runs = {"n1": (60, 62), "coarse-50": (50, 52), "coarse-50-refined": (54, 58), "coarse-100-refined": (40,)}
    for experiment, mious in runs.items():
        run(tmp_path, experiment, *mious)
    for experiment in (*runs, "p2"):
        first, second = "coarse" if "100" in experiment else "fine", "fine" if experiment == "n1" else "coarse"
        manifest(tmp_path, experiment, ("a", 0, first), ("b", 0, second))
    return tmp_path


def lines(axes):
    """The points of each named series; bars and caps carry no name."""
    named = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    return {name: points for name, points in named.items() if not name.startswith("_")}


def names(axes):
    return sorted(text.get_text() for text in axes.texts)


def test_figure_4_shows_the_shares_that_were_run(results, drawn):
    write_coarse_figure(EXPERIMENTS / "table3.yaml", CATALOGUE, grid_of(results), results / "figure4")
    (axes,) = drawn[0].axes
    assert lines(axes) == {
        "coarse, non-refined": [[0, 61], [50, 51]],
        "coarse, refined": [[0, 61], [50, 56], [100, 40]],
    }
    bars = [bar.get_segments() for bar in axes.collections]
    # One bar a point with two runs, one standard deviation each way; the single run has none.
    assert [len(segments) for segments in bars] == [2, 2]
    assert bars[1][1][:, 1] == pytest.approx([56 - 8**0.5, 56 + 8**0.5])
    assert axes.get_ylabel() == "mIoU of TMANet (%)"


def test_figure_5_is_of_the_other_network(results, drawn):
    run(results, "coarse-50", 33, network="tdnet")
    grid = grid_of(results, networks=("tmanet", "tdnet"))
    write_coarse_figure(EXPERIMENTS / "table4.yaml", CATALOGUE, grid, results / "figure5")
    (axes,) = drawn[0].axes
    assert lines(axes) == {"coarse, non-refined": [[50, 33]]}
    assert axes.get_ylabel() == "mIoU of TDNet (%)"


def test_the_cost_curve_has_a_point_an_experiment_and_the_front(results, drawn):
    manifest(results, "p2-fine", ("a", 0, "fine"))
    run(results, "p2-fine", 50.5, 50.5)
    write_cost_curve(CATALOGUE, grid_of(results), CITYSCAPES, results / "cost", "Toy numbers.")
    (axes,) = drawn[0].axes
    half = pytest.approx(97 / 60)
    assert lines(axes) == {
        "fine alone": [[1.5, 50.5], [3.0, 61.0]],
        "coarse, non-refined": [[half, 51.0]],
        "coarse, refined": [[14 / 60, 40.0], [half, 56.0]],
        # Flat from what is best so far to where something is better; of two at the same hours the better one is on it.
        "Pareto front": [[14 / 60, 40], [1.5, 40], [1.5, 50.5], [half, 50.5], [half, 56], [3, 56], [3, 61], [3, 61]],
    }
    assert names(axes) == ["100 %", "50 %", "50 %", "N1", "P2"]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    # A mixture with a manifest alone is no point.
    assert "fine, propagated" not in lines(axes)


def test_every_network_has_a_cost_curve_of_its_own(results, drawn):
    run(results, "n1", 70, network="tdnet")
    grid = grid_of(results, networks=("tmanet", "tdnet", "other"))
    write_cost_curve(CATALOGUE, grid, CITYSCAPES, results / "cost")
    tmanet, tdnet, other = drawn[0].axes
    assert [axes.get_ylabel() for axes in (tmanet, tdnet, other)] == [
        f"mIoU of {name} (%)" for name in ("TMANet", "TDNet", "other")
    ]
    assert lines(tdnet) == {"fine alone": [[3, 70]], "Pareto front": [[3, 70], [3, 70]]}
    assert names(other) == ["no run is finished yet"]
    (legend,) = drawn[0].legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert sorted(labels) == sorted({*lines(tmanet), *lines(tdnet)})
    extent = legend.get_window_extent()
    assert extent.x1 <= drawn[0].bbox.x1 and extent.y0 > tmanet.get_window_extent().y1


def test_every_mixture_has_a_name_of_its_own_among_the_points_of_its_series():
    named = [(_series(experiment), _short_name(experiment)) for experiment in CATALOGUE.values()]
    assert sorted(named) == sorted(set(named))
    assert _short_name(CATALOGUE["coarse-50-refined"]) == "50 %"


def test_mixtures_stand_by_their_distinct_clips(tmp_path, drawn):
    """Four samples each: of four clips (N1), of two (P2), one frame each of four (V3); P2's key frames are two."""
    clips = "abcd"
    manifest(tmp_path, "n1", *((c, 0, "fine") for c in clips))
    manifest(tmp_path, "p2", *((c, o, "pseudo:m" if o else "fine") for c in "ab" for o in (-10, 0)))
    manifest(
        tmp_path, "v3", *((c, o, "pseudo:m" if o else "fine") for c, o in zip(clips, (-10, 0, 10, 0), strict=True))
    )
    manifest(tmp_path, "p2-fine", ("a", 0, "fine"), ("b", 0, "fine"))
    for other in ("n1-plus", "p2-flow", "n1-still", "coarse-50", "coarse-50-fine", "b3-filled-1"):
        manifest(tmp_path, other, ("a", 0, "fine"))
        run(tmp_path, other, 99)
    for experiment, mious in {"n1": (60, 62), "p2": (55,), "v3": (58,), "p2-fine": (50,)}.items():
        run(tmp_path, experiment, *mious)
    write_clips_figure(CATALOGUE, grid_of(tmp_path), tmp_path / "clips", "Toy.")
    (axes,) = drawn[0].axes
    assert lines(axes) == {
        "N1, mixtures of several frames a clip": [[2, 55], [4, 61]],
        "mixtures of one frame a clip": [[4, 58]],
        "key frames alone (fewer samples)": [[2, 50]],
    }
    assert names(axes) == ["N1", "P2", "P2", "V3"]
    assert drawn[0].get_supxlabel() == "Samples of every mixture: 4. Toy."
    assert axes.get_xticks().tolist() == [2, 4]


def test_ticks_that_would_run_together_are_left_out(tmp_path, drawn):
    for experiment, count in {"b5": 20, "b3": 95, "p2": 98, "n1": 100}.items():
        manifest(tmp_path, experiment, *((f"c{i}", 0, "fine") for i in range(count)))
        run(tmp_path, experiment, 50 + count)
    write_clips_figure(CATALOGUE, grid_of(tmp_path), tmp_path / "clips")
    assert drawn[0].axes[0].get_xticks().tolist() == [20, 100]
    assert "20 to 100, since clips are taken whole" in drawn[0].get_supxlabel()


def test_an_empty_figure_says_so(tmp_path, drawn):
    grid = grid_of(tmp_path)
    write_coarse_figure(EXPERIMENTS / "table3.yaml", CATALOGUE, grid, tmp_path / "figure4")
    write_cost_curve(CATALOGUE, grid, CITYSCAPES, tmp_path / "cost")
    write_clips_figure(CATALOGUE, grid, tmp_path / "clips")
    assert [names(figure.axes[0]) for figure in drawn] == [["no run is finished yet"]] * 3
    assert not any(figure.legends for figure in drawn)


def test_quality_is_drawn_by_offset_with_and_without_what_is_unclaimed(tmp_path, drawn):
    table = tmp_path / "flow.csv"
    columns = "method,offset,class,coverage,iou_claimed,iou_all\n"
    rows = ("2,mean,70,80,60", "-1,mean,90,95,85", "±1,mean,1,1,1", "-1,road,2,2,2", "1,mean,91,,86")
    table.write_text(columns + "".join(f"flow,{row}\n" for row in rows))
    write_quality_figure([table], tmp_path / "quality", "Toy.")
    left, right = drawn[0].axes
    claimed, all_ = (line.get_xydata().tolist() for line in left.lines)
    assert [claimed[0], claimed[2]] == [[-1, 95], [2, 80]] and claimed[1][0] == 1  # there it is not known
    assert all_ == [[-1, 85], [1, 86], [2, 60]]
    assert right.lines[0].get_xydata().tolist() == [[-1, 90], [1, 91], [2, 70]]
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert labels == ["flow", "unclaimed pixels counted wrong"]


def test_equal_figures_are_equal_files(results):
    for name in ("one", "two"):
        write_cost_curve(CATALOGUE, grid_of(results), CITYSCAPES, results / name, "Toy: $5, not $6.")
    for suffix in (".png", ".pdf"):
        one, two = ((results / f"{name}{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two
        assert b"Date" not in one and b"Matplotlib" not in one


def test_the_wing_does_without_torch():
    rooms = "fewframes.reporting.figures.curves, fewframes.reporting.figures.sheets"
    code = f"import sys, {rooms}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
