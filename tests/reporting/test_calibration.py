import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.labelling.policycurve import CURVE_COLUMNS
from fewframes.labelling.signals import COLUMNS
from fewframes.reporting.calibration import spearman, write_calibration_figure
from fewframes.reporting.figures.style import BLUE


def table(path, columns, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def tables(tmp_path):
    """`sam2`, whose cycle ranks labels rightly among those equally far and wrongly by distance; `copy`, always 1."""
    cycles = {1: ((0.5, 0.9), (0.6, 0.95)), 2: ((0.7, 0.5), (0.8, 0.55))}
    sam2 = [
        {"method": "sam2", "clip": "c", "offset": side * distance, "cycle": cycle, "iou": iou}
        for distance, labels in cycles.items()
        for side, (cycle, iou) in zip((-1, 1), labels, strict=True)
    ]
    sam2.append({"method": "sam2", "clip": "c", "offset": 3, "cycle": 0.9, "coverage": 0.4})  # no truth there
    copy = [{"method": "copy", "clip": "c", "offset": o, "cycle": 1, "iou": 0.5 / abs(o)} for o in (-2, -1, 1, 2)]
    named = {"sam2": sam2, "copy": copy}
    return [table(tmp_path / f"{name}.csv", COLUMNS, rows) for name, rows in named.items()]


@pytest.fixture
def curves(tmp_path):
    rows = [
        {"method": "sam2", "source": source, "min_confidence": limit, "coverage": c, "accuracy": a, "right_here": r}
        for source, a in (("cycle", 0.8), ("truth", 0.7))
        for limit, c, r in (("0.00", 1, 0.6), ("0.50", 0.5, ""))
    ]
    return [table(tmp_path / "curve.csv", CURVE_COLUMNS, rows), table(tmp_path / "none.csv", CURVE_COLUMNS, [])]


def numbers(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def lines(axes):
    """The points of the curves, by colour and style; the line at half is none of them."""
    curves = [line for line in axes.lines if line.get_marker() != "None"]
    return {(line.get_color(), line.get_linestyle()): line.get_xydata().tolist() for line in curves}


def test_a_panel_a_signal_with_something_to_show(tables, curves, tmp_path, drawn):
    write_calibration_figure(tables, curves, tmp_path / "calibration", "Toy numbers.")
    (figure,) = drawn
    distance, cycle, by_bin, by_coverage = figure.axes
    # Coverage is known of one label, but not its true IoU.
    assert [axes.get_xlabel() for axes in (distance, cycle)] == ["distance (frames)", "cycle"]
    assert numbers(distance) == ["-0.89", "-1.00"]
    # In 4 labels ranks 1 2 3 4 against 3 4 1 2; beyond distance both go up by the same. Of copying, nothing.
    assert numbers(cycle) == ["-0.60 (1.00)", "- (-)"]
    sam2, copy = (line.get_xydata() for line in cycle.lines)
    assert sam2 == pytest.approx(np.array([[0.5, 90], [0.6, 95], [0.7, 50], [0.8, 55]]))
    assert len(copy) == 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sam2", "copy"]
    assert figure.get_supxlabel().endswith("Toy numbers.")

    blue = BLUE[0]
    assert lines(by_bin) == {(blue, "--"): [[0.25, 60]], (blue, "-"): [[0.25, 60]]}
    assert lines(by_coverage) == {(blue, "--"): [[100, 80], [50, 80]], (blue, "-"): [[100, 70], [50, 70]]}
    assert numbers(by_bin) == ["by cycle", "by dense truth"]


def test_without_truth_the_panels_are_left_out(tables, curves, tmp_path, drawn):
    rows = [row | {"iou": ""} for row in csv.DictReader(tables[0].open())]
    write_calibration_figure([table(tmp_path / "t.csv", COLUMNS, rows)], curves, tmp_path / "calibration")
    (figure,) = drawn
    assert [axes.get_xlabel() for axes in figure.axes] == ["Confidence", "Claimed (%)"]
    assert figure.get_supxlabel().startswith("No dense truth")


def test_without_confidence_it_says_so(tables, curves, tmp_path, drawn):
    write_calibration_figure(tables[1:], curves[1:], tmp_path / "calibration")
    texts = [text.get_text() for axes in drawn[0].axes for text in axes.texts]
    assert texts == ["no method here has a confidence"] * 2


def test_equal_tables_are_equal_files(tables, curves, tmp_path):
    for name in ("one", "two"):
        write_calibration_figure(tables, curves, tmp_path / name, "Toy: $5, not $6.")
    for suffix in (".png", ".pdf"):
        one, two = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two


def test_rank_correlation_with_ties_against_a_hand_computation():
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5.
    rho = spearman(np.array([1.0, 5.0, 5.0, 9.0]), np.array([0.1, 0.2, 0.3, 0.4]))
    assert rho == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert np.isnan(spearman(np.ones(3), np.arange(3.0)))


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=12))
def test_rank_correlation_depends_on_order_alone(pairs):
    x, y = np.array(pairs, float).T
    rho = spearman(x, y)
    if np.isnan(rho):
        assert np.ptp(x) == 0 or np.ptp(y) == 0
        return
    assert -1 - 1e-9 <= rho <= 1 + 1e-9
    assert spearman(np.exp(x), y**3) == pytest.approx(rho)
    assert spearman(y, -x) == pytest.approx(-rho)
