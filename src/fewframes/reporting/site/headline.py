"""What a study came to in a few rows: all fine labels, the controls, and the best that so many hours bought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fewframes.core.labels import ClassTable
from fewframes.experiments.schemes import Experiment
from fewframes.reporting.costs import Cost, read_cost
from fewframes.reporting.definitions import experiment_of
from fewframes.reporting.printing import Column, Part, figure, scores_part, table_of, verdict_part, words
from fewframes.reporting.site.tabular import Shown, from_printed
from fewframes.reporting.statistics import Grid, Scores, pareto, read_scores
from fewframes.reporting.verdicts import LEVEL, Arms

BASELINE = "n1"
"""The experiment that all are compared with: every clip's fine label, and nothing else."""


@dataclass(frozen=True)
class Point:
    """A finished experiment: its scores, and what its annotation costs."""

    experiment: Experiment
    scores: Scores
    cost: Cost
    hours: float

    @property
    def miou(self) -> float:
        """Mean mIoU in percent."""
        return self.scores.miou.mean or 0.0


def finished(grid: Grid, network: str, catalogue: Mapping[str, Experiment], classes: ClassTable) -> list[Point]:
    """The experiments of which a run is finished and the cost is known, in the grid's order."""
    points = []
    for id_ in grid.experiments:
        scores, cost = read_scores(grid, network, id_), read_cost(grid, id_)
        if scores.miou.mean is not None and cost is not None:
            points.append(Point(experiment_of(catalogue, id_), scores, cost, cost.hours(classes.minutes)))
    return points


def headline(grid: Grid, catalogue: Mapping[str, Experiment], classes: ClassTable) -> Shown | None:
    """A row for N1, each control and each best of its hours, network by network; None where nothing is finished."""
    arms = Arms(grid, classes.names)
    rows: list[list[Part]] = []
    for network in grid.networks:
        points = finished(grid, network, catalogue, classes)
        best = pareto(points, lambda p: p.hours, lambda p: p.miou)
        for point in sorted(points, key=lambda p: (p.hours, p.miou)):
            roles = _roles(point.experiment, point in best)
            if not roles:
                continue
            id_, cost, scores = point.experiment.id, point.cost, scores_part(point.scores)
            against = arms.compare(network, id_, BASELINE) if id_ != BASELINE else None
            rows.append(
                [
                    words("network", "Network", network),
                    words("id", "ID", point.experiment.name),
                    words("role", "What it is", ", ".join(roles)),
                    figure("hours", Column("Hours"), point.hours, 2),
                    figure("key_frames", Column("Key frames"), cost.key_frames, 0),
                    replace(scores, columns=scores.columns[:1], cells=scores.cells[:1]),
                    verdict_part(against, "baseline", Column("Against N1", words=True)),
                ]
            )
    if not rows:
        return None
    legend = (
        "Best for its hours: no experiment here with as many hours or fewer has a higher mean mIoU; with few runs that "
        "may be chance. A control is what a mixture is compared with: its key frames, or its hours, without made "
        "labels. mIoU in percent: mean ± standard deviation (number of runs). The difference from N1 stands with its "
        f"{100 * LEVEL:.0f} % interval and what it establishes."
    )
    return from_printed(table_of("All fine labels, controls, and the best for its hours", legend, rows))


def _roles(experiment: Experiment, best: bool) -> list[str]:
    roles = ["all fine labels"] if experiment.id == BASELINE else []
    roles += ["control"] if experiment.control else []
    return [*roles, *(["best for its hours"] if best else [])]


def runs_finished(grid: Grid) -> tuple[int, int]:
    """How many runs are scored, and how many were asked for."""
    runs = [
        grid.run(network, experiment, *run)
        for network in grid.networks
        for experiment in grid.experiments
        for run in grid.runs_of(network, experiment)
    ]
    return sum((run / "metrics.csv").is_file() for run in runs), len(runs)
