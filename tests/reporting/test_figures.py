import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewframes.core.labels import IGNORE, load_class_table
from fewframes.experiments.schemes import load_catalogue
from fewframes.reporting import figures
from fewframes.reporting.figures import Picture, overlay, write_coarse_figure, write_contact_sheet, write_cost_curve
from fewframes.reporting.statistics import Grid

EXPERIMENTS = Path(__file__).parents[2] / "workflow" / "experiments"
CATALOGUE = load_catalogue(EXPERIMENTS / "catalogue.yaml")
CITYSCAPES = load_class_table("cityscapes")


def grid_of(results, draws, seeds):
    experiments = [id_ for id_ in CATALOGUE if id_ != "all-b11"]
    return Grid(results, ("tmanet", "tdnet"), dict.fromkeys(experiments, draws), seeds)


@pytest.fixture
def results(tmp_path):
    """N1 and half coarse with both seeds, all coarse refined with one; P2 has a manifest and no run."""
    runs = {"n1": (60, 62), "coarse-50": (50, 52), "coarse-50-refined": (54, 58), "coarse-100-refined": (40,)}
    for experiment, mious in runs.items():
        for seed, miou in enumerate(mious):
            path = tmp_path / "runs" / "tmanet" / experiment / f"draw0-seed{seed}" / "metrics.csv"
            path.parent.mkdir(parents=True)
            path.write_text(f"class,iou,accuracy,pixels\nmean,{miou},70,10\n")
    for experiment in (*runs, "p2"):
        path = tmp_path / "manifests" / experiment / "draw0.csv"
        path.parent.mkdir(parents=True)
        source = "coarse" if "100" in experiment else "fine"
        path.write_text(f"clip,offset,source\na,0,{source}\nb,0,{'fine' if experiment == 'n1' else 'coarse'}\n")
    return tmp_path


@pytest.fixture
def drawn(monkeypatch):
    """The axes that were drawn, kept as they are saved."""
    kept = []
    save = figures._save
    monkeypatch.setattr(figures, "_save", lambda figure, out: (kept.append(figure.axes), save(figure, out)))
    return kept


def lines(axes):
    """The points of each named series; bars and caps carry no name."""
    named = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    return {name: points for name, points in named.items() if not name.startswith("_")}


def test_figure_4_shows_the_shares_that_were_run(results, drawn):
    write_coarse_figure(EXPERIMENTS / "table3.yaml", CATALOGUE, grid_of(results, (0,), (0, 1)), results / "figure4")
    (axes,) = drawn[0]
    assert lines(axes) == {
        "coarse, non-refined": [[0, 61], [50, 51]],
        "coarse, refined": [[0, 61], [50, 56], [100, 40]],
    }
    bars = [bar.get_segments() for bar in axes.collections]
    # One bar a point with two runs, one standard deviation each way; the single run has none.
    assert [len(segments) for segments in bars] == [2, 2]
    assert bars[1][1][:, 1] == pytest.approx([56 - 8**0.5, 56 + 8**0.5])


def test_the_cost_curve_names_every_experiment_that_was_run(results, drawn):
    grid = grid_of(results, (0,), (0, 1))
    write_cost_curve(CATALOGUE, grid, CITYSCAPES, "tmanet", results / "cost", "Toy numbers.")
    (axes,) = drawn[0]
    assert lines(axes)["fine, propagated"] == [[3.0, 61.0]]
    assert lines(axes)["coarse, non-refined"] == [[97 / 60, 51.0]]
    assert lines(axes)["coarse, refined"] == [[14 / 60, 40.0], [97 / 60, 56.0]]
    assert sorted(text.get_text() for text in axes.texts) == ["100 %", "50 %", "50 %", "N1"]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_an_empty_figure_says_so(tmp_path, drawn):
    write_coarse_figure(EXPERIMENTS / "table3.yaml", CATALOGUE, grid_of(tmp_path, (0,), (0,)), tmp_path / "figure4")
    assert [text.get_text() for text in drawn[0][0].texts] == ["no run is finished yet"]


def test_equal_figures_are_equal_files(results):
    for name in ("one", "two"):
        grid = grid_of(results, (0,), (0, 1))
        write_coarse_figure(EXPERIMENTS / "table3.yaml", CATALOGUE, grid, results / name, "Toy: $5, not $6.")
    for suffix in (".png", ".pdf"):
        one, two = ((results / f"{name}{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two
        assert b"Date" not in one and b"Matplotlib" not in one


def test_an_overlay_tints_classes_and_stripes_what_is_ignored():
    image = np.full((8, 30, 3), 100, np.uint8)
    label = np.zeros((8, 30), np.uint8)
    label[:, 10:20] = 13
    label[:, 20:] = IGNORE
    shown = overlay(image, label, CITYSCAPES, strength=0.5)
    road, car = CITYSCAPES.palette[[0, 13]].astype(float)
    assert shown[4, 5] == pytest.approx((100 + road) / 2, abs=1)
    assert shown[4, 15] == pytest.approx((100 + car) / 2, abs=1)
    ignored = shown[:, 22:]
    assert set(ignored.ravel()) == {(100 + 20) // 2, (100 + 190) // 2}  # dark, with stripes
    assert (ignored == ignored[..., :1]).all()
    assert (shown[:, [10, 20]] == 255).all()


def test_an_overlay_of_two_sizes_is_refused():
    with pytest.raises(ValueError, match="of one size"):
        overlay(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 5), np.uint8), CITYSCAPES)


def test_a_contact_sheet_holds_its_pictures_captions_and_classes(tmp_path, drawn):
    image = np.zeros((20, 40, 3), np.uint8)
    label = np.full((20, 40), 13, np.uint8)
    label[:5] = IGNORE
    rows = [
        ("Propagation", [Picture("image", image), Picture("key frame", image, label)]),
        ("Network", [Picture("P2_$x$", image, np.full_like(label, 10))]),
    ]
    write_contact_sheet(rows, CITYSCAPES, tmp_path / "sheet", note="Toy pictures.")
    assert len(drawn[0]) == 3
    figure = drawn[0][0].figure
    texts = [text.get_text() for text in figure.texts]
    assert texts == ["Propagation", "image", "key frame", "Network", "P2_$x$", "Toy pictures."]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sky", "car", "unlabelled"]
    edges = [text.get_window_extent().y0 for text in figure.legends[0].get_texts()]
    assert min(edges) > figure.texts[-1].get_window_extent().y1  # the note stands clear below the legend
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width == pytest.approx((2 * 2.4 + 3 * 0.06) * 200, abs=2)
    assert (tmp_path / "sheet.pdf").read_bytes().startswith(b"%PDF")


def test_the_wing_does_without_torch():
    code = "import sys, fewframes.reporting.figures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
