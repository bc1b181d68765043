"""How far signals that need no truth can be trusted: against true IoU, and accuracy by confidence and coverage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from fewframes.core.files import read_csv
from fewframes.labelling.policycurve import CURVE_COLUMNS
from fewframes.labelling.signals import COLUMNS, SIGNALS
from fewframes.reporting.figures.style import FAINT, METHODS, saved_figure

_DISTANCE = "distance (frames)"
"""Drawn as a signal too: labels get worse on their way, so that one which tells no more than this tells little."""

_LINES: dict[str, Any] = {"cycle": "--", "truth": "-"}

_ACROSS = 4
"""Panels of signals in a row, at most."""

_PANEL, _NUMBER, _CURVES = 1.6, 0.12, 2.8
"""Height in inches of a row of panels, of a method's number above it, and of the curves below."""

Points = dict[str, NDArray[np.float64]]
"""By method, its labels' signal, true mIoU (%) and distance from the key frame, `[3, N]`."""


def write_calibration_figure(tables: Sequence[Path], curves: Sequence[Path], out: Path, note: str = "") -> None:
    """Signals against true mIoU, and what confidence is worth, as `<out>.png` and `<out>.pdf`; a colour a method.

    `tables` and `curves` are those of `labelling.signals`, one a method. Above, a panel a signal, a point a label,
    with Spearman's rank correlation: over all labels, and in brackets what is left of it among labels equally far
    from the key frame. That row is left out without dense truth. Below, accuracy by confidence and by coverage.
    """
    rows = [row for path in tables for row in read_csv(path, COLUMNS)]
    limits = [row for path in curves for row in read_csv(path, CURVE_COLUMNS)]
    styles = _styles([row["method"] for row in (*rows, *limits)])
    panels = {name: points for name in (_DISTANCE, *SIGNALS) if (points := _points(rows, name))}
    height = -(-len(panels) // _ACROSS) * (_PANEL + _NUMBER * len(styles))
    said = (
        "Above, each point is a label; numbers are Spearman's rank correlation with the true mIoU, in brackets that "
        "of the deviations from the mean of labels as far from the key frame."
        if panels
        else "No dense truth: how well the signals predict the true IoU is not known."
    )
    with saved_figure(out, f"{said} {note}".strip(), size=(6.8, height + _CURVES)) as (blank,):
        figure = blank.figure
        assert isinstance(figure, Figure)
        blank.remove()
        # A row without panels keeps a hair of height: matplotlib allows no zero.
        grid = figure.add_gridspec(2, 1, height_ratios=(max(height, 1e-3), _CURVES))
        if panels:
            _draw_panels(figure, grid[0], panels, styles)
        _draw_curves(figure, grid[1], limits, styles)
        handles = [
            Line2D([], [], color=c, marker=m, markersize=4, linestyle="none", label=name)
            for name, (c, m) in styles.items()
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=6)


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Spearman's rank correlation of `x` and `y`, both `[N]`, ties by their mean rank.

    Not a number where either does not vary.
    """
    a, b = _ranks(x), _ranks(y)
    if not a.size or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def _deviation(values: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far values are from the mean of those at the same distance."""
    _, group = np.unique(distance, return_inverse=True)
    means = np.bincount(group, values) / np.bincount(group)
    # Rounded, so that values which do not vary do not vary by floating-point noise.
    return np.round(values - means[group], 9)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _styles(methods: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker by method, in the order in which they come, as in the figure of quality."""
    looks = METHODS
    return {method: looks[i % len(looks)][:2] for i, method in enumerate(dict.fromkeys(methods))}


def _points(rows: Sequence[dict[str, str]], signal: str) -> Points:
    """The labels that have both the signal and a true mIoU."""
    points: dict[str, list[tuple[float, float, int]]] = {}
    for row in rows:
        distance = abs(int(row["offset"]))
        value = distance if signal == _DISTANCE else row[signal]
        if value and row["iou"]:
            points.setdefault(row["method"], []).append((float(value), 100 * float(row["iou"]), distance))
    return {method: np.array(labels).T for method, labels in points.items()}


def _draw_panels(
    figure: Figure, place: SubplotSpec, panels: dict[str, Points], styles: dict[str, tuple[str, str]]
) -> None:
    lines = -(-len(panels) // _ACROSS)
    across = -(-len(panels) // lines)
    grid = place.subgridspec(lines, across)
    first: Axes | None = None
    for i, (name, points) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[i // across, i % across], sharey=first)
        first = first or axes
        for method, (signal, miou, distance) in points.items():
            colour, marker = styles[method]
            label = _number(spearman(signal, miou))
            if name != _DISTANCE:
                alike = spearman(_deviation(signal, distance), _deviation(miou, distance))
                label += f" ({_number(alike)})"
            look: Any = {"markersize": 3, "markeredgewidth": 0, "alpha": 0.6}
            axes.plot(signal, miou, color=colour, marker=marker, linestyle="none", label=label, **look)
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderaxespad=0,
            fontsize=6.5,
            handletextpad=0,
            labelspacing=0.15,
        )
        axes.set_xlabel(name)
        axes.locator_params(axis="x", nbins=3, integer=name == _DISTANCE)
        axes.margins(x=0.08)
        if i % across:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("True mIoU (%)")


def _draw_curves(
    figure: Figure, place: SubplotSpec, rows: Sequence[dict[str, str]], styles: dict[str, tuple[str, str]]
) -> None:
    """Accuracy within each bin of confidence, and accuracy against coverage as the limit rises."""
    grid = place.subgridspec(1, 2)
    by_bin, by_coverage = (figure.add_subplot(grid[0, i]) for i in range(2))
    width = 1 / max(1, len({row["min_confidence"] for row in rows}))
    for method, (colour, marker) in styles.items():
        for source, line in _LINES.items():
            mine = [row for row in rows if (row["method"], row["source"]) == (method, source)]
            look: Any = {"color": colour, "marker": marker, "markersize": 3, "linestyle": line, "linewidth": 1}
            bins = [
                (float(r["min_confidence"]) + width / 2, 100 * float(r["right_here"])) for r in mine if r["right_here"]
            ]
            steps = [(100 * float(r["coverage"]), 100 * float(r["accuracy"])) for r in mine if r["accuracy"]]
            for axes, pairs in ((by_bin, bins), (by_coverage, steps)):
                if pairs:
                    axes.plot(*zip(*pairs, strict=True), **look)
    by_bin.set(xlabel="Confidence", ylabel="Right within the bin (%)", xlim=(0, 1), ylim=(0, 102))
    by_coverage.set(xlabel="Claimed (%)", ylabel="Right of the claimed (%)")
    if not by_bin.lines:
        for axes in (by_bin, by_coverage):
            axes.set(xticks=[], yticks=[])
            axes.text(0.5, 0.5, "no method here has a confidence", transform=axes.transAxes, ha="center", color=FAINT)
        return
    # Below it a pixel is better left unclaimed.
    by_bin.axhline(50, color="0.6", linewidth=0.8, zorder=0)
    present = {row["source"] for row in rows}
    names = {"cycle": "by cycle", "truth": "by dense truth"}
    handles = [
        Line2D([], [], color=FAINT, linestyle=_LINES[s], linewidth=1, label=names[s]) for s in names if s in present
    ]
    by_bin.legend(handles=handles, loc="lower right")
