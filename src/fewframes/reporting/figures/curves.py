"""Plots of scores: against the share of coarse labels, hours of annotation, distinct clips, and distance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from fewframes.core.files import read_csv
from fewframes.core.labels import ClassTable
from fewframes.experiments.parts import among_clips
from fewframes.experiments.schemes import Experiment
from fewframes.reporting.costs import read_cost
from fewframes.reporting.definitions import coarse_arms, experiment_of, read_definition
from fewframes.reporting.figures.names import Point, name_points
from fewframes.reporting.figures.style import (
    BLACK,
    BLUE,
    FAINT,
    GREEN,
    METHODS,
    VERMILION,
    Look,
    legend_above,
    saved_figure,
)
from fewframes.reporting.statistics import Grid, Spread, pareto, read_scores

_ARMS = {"coarse, non-refined": GREEN, "coarse, refined": VERMILION}
_BY_HOURS = {"fine alone": BLACK, "fine, propagated": BLUE, **_ARMS}
_KEY_FRAMES = "key frames alone (fewer samples)"
_BY_CLIPS = {
    "N1, mixtures of several frames a clip": BLUE,
    "mixtures of one frame a clip": VERMILION,
    _KEY_FRAMES: GREEN,
}
_NETWORKS = {"tmanet": "TMANet", "tdnet": "TDNet"}
"""How networks are called in print."""

_WIDTH, _HEIGHT = 6.4, 3.9
"""Inches of a plot with names: the width of a page's text."""

_TICKS_APART = 0.06
"""Least distance of two ticks, as a share of an axis: nearer ones would run together."""


@dataclass(frozen=True)
class _Arm:
    """An experiment that was run, in a plot: the series it belongs to, its name there and its place."""

    series: str
    name: str
    x: float
    miou: Spread

    @property
    def mean(self) -> float:
        """The mean mIoU in percent; there are runs."""
        return self.miou.mean or 0.0


def write_coarse_figure(
    definition: Path, catalogue: Mapping[str, Experiment], grid: Grid, out: Path, note: str = ""
) -> None:
    """Figures 4 and 5: mIoU against the share of coarse labels, refined and not, as `<out>.png` and `<out>.pdf`.

    `definition` is that of table 3 or 4. Bars are the standard deviation over runs; shares not run are absent.
    """
    read = read_definition(definition)
    arms = []
    for row in read.rows:
        for series, experiment in zip(_ARMS, coarse_arms(row, catalogue), strict=True):
            miou = read_scores(grid, row["network"], experiment.id).miou
            arms.append(_Arm(series, experiment.name, experiment.coarse_percent, miou))
    with saved_figure(out, note) as (axes,):
        _plot(axes, _ARMS, arms, joined=True)
        axes.set_xlabel("Coarse labels among the training samples (%)")
        _name_networks(axes, dict.fromkeys(row["network"] for row in read.rows))
        axes.set_xlim(-4, 104)
        axes.set_xticks(range(0, 101, 10))
        _finish([axes])


def write_cost_curve(
    catalogue: Mapping[str, Experiment], grid: Grid, classes: ClassTable, out: Path, note: str = ""
) -> None:
    """mIoU against hours of annotation: a plot a network, a point an experiment of the grid, and the Pareto front.

    The front joins the experiments that none of the others matches in mean mIoU at as few hours or fewer. Those are
    named; of the others those that there is room for.
    """
    hours = {id_: cost.hours(classes.minutes) for id_ in grid.experiments if (cost := read_cost(grid, id_))}
    series = {id_: _series(experiment_of(catalogue, id_)) for id_ in hours}
    names = {id_: _short_name(catalogue[id_]) for id_ in hours}
    with _plots(grid.networks, out, note) as plots:
        named = []
        for axes, network in zip(plots, grid.networks, strict=True):
            scores = {id_: read_scores(grid, network, id_).miou for id_ in hours}
            arms = [_Arm(series[id_], names[id_], hours[id_], miou) for id_, miou in scores.items() if miou.n]
            front = pareto(arms, lambda arm: arm.x, lambda arm: arm.mean)
            steps = _steps(front, max((arm.x for arm in arms), default=0.0))
            if front:
                axes.plot(*steps.T, color="0.6", linewidth=1, zorder=0.5, label="Pareto front")
            _plot(axes, _BY_HOURS, arms)
            axes.set_xlabel("Annotation (hours)")
            axes.set_xlim(left=0)
            named.append((axes, _points(_BY_HOURS, arms, front), steps))
        _finish(plots)
        for one in named:
            name_points(*one)


def _steps(front: Sequence[_Arm], end: float) -> NDArray[np.float64]:
    """The corners of the line of steps through a front, drawn on to `end`, `[N, 2]`."""
    ends = [*(arm.x for arm in front[1:]), end]
    return np.array([(x, arm.mean) for i, arm in enumerate(front) for x in (arm.x, ends[i])]).reshape(-1, 2)


def write_clips_figure(catalogue: Mapping[str, Experiment], grid: Grid, out: Path, note: str = "") -> None:
    """mIoU against the number of distinct clips, of mixtures with equally many samples: a plot a network.

    They are N1 and the grid's mixtures of manual and propagated labels of clips drawn at random, beside those that take
    one frame of every clip (`among_clips`). The key frames alone, of the same clips, stand with them: fewer samples,
    for as long.
    """
    shown = {id_: _by_clips(e) for id_ in grid.experiments if among_clips(e := experiment_of(catalogue, id_))}
    costs = {id_: cost for id_ in shown if (cost := read_cost(grid, id_))}
    equal = [cost.samples for id_, cost in costs.items() if not catalogue[id_].control]
    if equal:
        least, most = f"{min(equal):g}", f"{max(equal):g}"
        samples = least if least == most else f"{least} to {most}, since clips are taken whole"
        note = f"Samples of every mixture: {samples}. {note}".rstrip()
    with _plots(grid.networks, out, note) as plots:
        named = []
        for axes, network in zip(plots, grid.networks, strict=True):
            # A clip has one annotated frame: as many of these are as many clips.
            scores = {id_: (read_scores(grid, network, id_).miou, cost.fine) for id_, cost in costs.items()}
            arms = [_Arm(shown[i], _short_name(catalogue[i]), x, miou) for i, (miou, x) in scores.items() if miou.n]
            _plot(axes, _BY_CLIPS, arms)
            axes.set_xlabel("Distinct clips among the training samples")
            if arms:
                axes.set_xscale("log")
                axes.set_xticks(_apart(sorted({arm.x for arm in arms})))
                axes.xaxis.set_major_formatter("{x:g}")
                axes.xaxis.set_minor_locator(NullLocator())
            mixtures = [arm for arm in arms if arm.series != _KEY_FRAMES]
            named.append((axes, _points(_BY_CLIPS, arms, mixtures)))
        _finish(plots)
        for one in named:
            name_points(*one)


def _by_clips(experiment: Experiment) -> str:
    """The series of an experiment among clips."""
    several, spread, _ = _BY_CLIPS
    if experiment.control:
        return _KEY_FRAMES
    return spread if experiment.clips == "spread" else several


def _apart(values: Sequence[float]) -> list[float]:
    """Those of ascending values that are far enough apart to be read as ticks of a logarithmic axis."""
    span = np.log(values[-1] / values[0]) or 1.0
    kept = [values[-1]]
    for value in reversed(values[:-1]):
        if np.log(kept[-1] / value) / span > _TICKS_APART:
            kept.append(value)
    return kept[::-1]


def write_quality_figure(tables: Sequence[Path], out: Path, note: str = "") -> None:
    """Quality of pseudo-labels by offset, a colour a method, from quality tables.

    On the left mIoU, on the claimed pixels (solid) and with the unclaimed counted wrong (dotted); on the
    right coverage.
    """
    rows = [
        row
        for path in tables
        for row in read_csv(path, ("method", "offset", "class", "coverage", "iou_claimed", "iou_all"))
        if row["class"] == "mean" and not row["offset"].startswith("±")
    ]
    with saved_figure(out, note, size=(6.4, 2.8), columns=2) as (left, right):
        for i, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
            colour, marker, _ = METHODS[i % len(METHODS)]
            mine = sorted((row for row in rows if row["method"] == method), key=lambda row: int(row["offset"]))
            offsets = [int(row["offset"]) for row in mine]
            for axes, column, line in ((left, "iou_claimed", "-"), (left, "iou_all", ":"), (right, "coverage", "-")):
                values = [float(row[column] or "nan") for row in mine]
                name = method if column == "iou_claimed" else None
                axes.plot(offsets, values, color=colour, marker=marker, markersize=3, linestyle=line, label=name)
        left.set_ylabel("mIoU (%)")
        right.set_ylabel("Coverage (%)")
        for axes in (left, right):
            axes.set_xlabel("Offset from the key frame (frames)")
        dotted = Line2D([], [], color=FAINT, linestyle=":", label="unclaimed pixels counted wrong")
        legend_above(left, [*left.get_legend_handles_labels()[0], dotted])


def _series(experiment: Experiment) -> str:
    alone, propagated, raw, refined = _BY_HOURS
    if experiment.coarse_percent:
        return refined if experiment.labels == "refined" else raw
    return propagated if experiment.pseudo_offsets else alone


def _short_name(experiment: Experiment) -> str:
    """What a point is labelled: what its series says already is left out."""
    if experiment.mixture:
        mixture = _short_name(experiment.mixture)
        return mixture.partition(",")[0] if experiment.control == "fine" else f"hours of {mixture.partition(',')[0]}"
    usual = not experiment.refinement and experiment.refined_classes == "usual"
    plain = experiment.coarse_percent and not experiment.still and experiment.fine == "rest" and usual
    return f"{experiment.coarse_percent} %" if plain else experiment.name


def _plot(axes: Axes, looks: Mapping[str, Look], arms: Sequence[_Arm], joined: bool = False) -> None:
    """The arms that were run, in the looks of their series; a bar where there is a spread to show."""
    for name, (colour, marker, line) in looks.items():
        mine = sorted((arm for arm in arms if arm.series == name and arm.miou.n), key=lambda arm: arm.x)
        if not mine:
            continue
        style: Any = {"marker": marker, "color": colour, "linestyle": line if joined else "none", "linewidth": 1}
        axes.plot([arm.x for arm in mine], [arm.mean for arm in mine], label=name, **style)
        spread = [(arm.x, arm.mean, arm.miou.sd) for arm in mine if arm.miou.sd is not None]
        if spread:
            bars: Any = {"fmt": "none", "ecolor": colour, "elinewidth": 0.8, "capsize": 2, "capthick": 0.8}
            x, mean, sd = zip(*spread, strict=True)
            axes.errorbar(x, mean, sd, **bars)


@contextmanager
def _plots(networks: Sequence[str], out: Path, note: str) -> Iterator[list[Axes]]:
    """A figure of a plot a network, of its mIoU, below each other."""
    with saved_figure(out, note, (_WIDTH, _HEIGHT * len(networks)), len(networks)) as plots:
        for axes, network in zip(plots, networks, strict=True):
            axes.margins(x=0.08, y=0.1)
            _name_networks(axes, [network])
        yield plots


def _name_networks(axes: Axes, networks: Iterable[str]) -> None:
    axes.set_ylabel(f"mIoU of {', '.join(_NETWORKS.get(network, network) for network in networks)} (%)")


def _points(looks: Mapping[str, Look], arms: Sequence[_Arm], needed: Sequence[_Arm]) -> list[Point]:
    return [Point(a.name, looks[a.series][0], a.x, a.mean, a.miou.sd or 0.0, needed=a in needed) for a in arms]


def _finish(plots: Sequence[Axes]) -> None:
    """One legend above the plots; an empty plot says that it is."""
    for axes in plots:
        if not axes.lines:
            axes.set(xticks=[], yticks=[])
            axes.text(0.5, 0.5, "no run is finished yet", transform=axes.transAxes, ha="center", color=FAINT)
    named = {label: handle for axes in plots for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if named:
        legend_above(plots[0], list(named.values()))
