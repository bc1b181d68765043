"""What to annotate for a number of hours, and which mIoU to expect, from the mixtures that were measured.

Measured mixtures lie on curves of mIoU against hours, one a kind of label; between two neighbours on a curve a straight
line is assumed, and beyond its ends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from tabulate import tabulate

from fewframes.core.clips import Clip, read_clips
from fewframes.core.errors import UserError
from fewframes.core.labels import ClassTable
from fewframes.experiments.schemes import Experiment
from fewframes.reporting.costs import Cost, read_cost
from fewframes.reporting.statistics import Grid
from fewframes.reporting.verdicts import LEAST_RUNS, LEVEL, Arms, expected

_CURVES = ("fine, propagated", "fine and coarse", "fine and refined coarse")
_RUN = re.compile(r"draw(\d+)-seed(\d+)")


@dataclass(frozen=True)
class Measured:
    """A mixture with enough runs: its cost, its mean mIoU in percent, and where one more training would fall."""

    experiment: Experiment
    cost: Cost
    hours: float
    mean: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class Plan:
    """What to annotate, as `share` of the mixture `more` and the rest of `less`, which may be the same."""

    curve: str
    less: Measured
    more: Measured
    share: float

    def between(self, less: float, more: float) -> float:
        """The value at the plan's place between those of its two mixtures."""
        return less + self.share * (more - less)

    @property
    def hours(self) -> float:
        """Hours of annotation."""
        return self.between(self.less.hours, self.more.hours)

    @property
    def mean(self) -> float:
        """The mIoU to expect, in percent."""
        return self.between(self.less.mean, self.more.mean)

    @property
    def frames(self) -> tuple[float, float]:
        """Fine and coarse key frames."""
        less, more = self.less.cost, self.more.cost
        return self.between(less.fine, more.fine), self.between(less.coarse, more.coarse)


def found_grid(results: Path) -> Grid:
    """The grid of all runs that lie in a folder of results."""
    draws: dict[str, set[int]] = {}
    seeds: set[int] = set()
    networks: set[str] = set()
    for folder in sorted((results / "runs").glob("*/*/draw*-seed*")):
        if match := _RUN.fullmatch(folder.name):
            networks.add(folder.parts[-3])
            draws.setdefault(folder.parts[-2], set()).add(int(match[1]))
            seeds.add(int(match[2]))
    return Grid(results, tuple(sorted(networks)), {e: tuple(sorted(d)) for e, d in draws.items()}, tuple(sorted(seeds)))


def measured(
    grid: Grid, network: str, catalogue: Mapping[str, Experiment], classes: ClassTable
) -> dict[str, list[Measured]]:
    """By curve, the mixtures with enough runs, the cheapest first; of those that cost the same the best."""
    curves: dict[str, dict[float, Measured]] = {curve: {} for curve in _CURVES}
    arms = Arms(grid, classes.names)
    for id_ in grid.experiments:
        arm, cost = arms.arm(network, id_), read_cost(grid, id_)
        if id_ not in catalogue or arm is None or cost is None or not arm.enough:
            continue
        hours = round(cost.hours(classes.minutes), 2)
        point = Measured(catalogue[id_], cost, hours, arm.mean, *expected(arm), len(arm.runs))
        for curve in _curves_of(catalogue[id_]):
            best = curves[curve].get(hours)
            curves[curve][hours] = point if best is None or point.mean > best.mean else best
    return {curve: [points[hours] for hours in sorted(points)] for curve, points in curves.items()}


def _curves_of(experiment: Experiment) -> Sequence[str]:
    """A mixture without coarse labels and without propagated ones is an end of every curve."""
    if experiment.coarse_percent:
        return [_CURVES[2 if experiment.labels == "refined" else 1]]
    return _CURVES[:1] if experiment.pseudo_offsets else _CURVES


def plans(hours: float, curves: Mapping[str, Sequence[Measured]]) -> list[Plan]:
    """The best plan of each curve that costs at most so many hours, the best of all first; none where none is known."""
    best = []
    for curve, points in curves.items():
        options = [Plan(curve, point, point, 0) for point in points if point.hours <= hours]
        for less, more in pairwise(points):
            if less.hours <= hours < more.hours:
                options.append(Plan(curve, less, more, (hours - less.hours) / (more.hours - less.hours)))
        best += [max(options, key=lambda plan: plan.mean)] if options else []
    # Fine labels alone end every curve: the best of two may be one and the same.
    alike = {(plan.less.experiment.id, plan.more.experiment.id): plan for plan in reversed(best)}
    return sorted(alike.values(), key=lambda plan: -plan.mean)


def advice(hours: float, results: Path, network: str, catalogue: Mapping[str, Experiment], classes: ClassTable) -> str:
    """What to annotate for so many hours, as text in Markdown, with the assumptions that it rests on.

    Raises `UserError` where the runs do not say, and names what is missing.
    """
    grid = found_grid(results)
    if network not in grid.networks:
        raise UserError(
            f"Not enough measured: {results} holds no run of {network}: train it, or name another by `--network`."
        )
    curves = measured(grid, network, catalogue, classes)
    points = [point for curve in curves.values() for point in curve]
    if not points:
        raise UserError(
            f"Not enough measured: no mixture below {results / 'runs' / network} has {LEAST_RUNS} runs on at least two "
            "blocks of images; add draws or seeds to the config."
        )
    chosen = plans(hours, curves)
    if not chosen:
        least = min(points, key=lambda point: point.hours)
        raise UserError(
            f"Not enough measured: the cheapest mixture with {LEAST_RUNS} runs, {least.experiment.name}, takes "
            f"{least.hours:g} hours and not {hours:g}; add cheaper experiments to the config."
        )
    reach = _clip_length(read_clips(results / "index.csv"))
    header = ["Labels", "Fine key frames", "Coarse key frames", "Trained on as", "Frames apart", "Hours"]
    header += ["mIoU to expect", "Runs"]
    table = tabulate([_row(plan, reach) for plan in chosen], header, tablefmt="pipe", disable_numparse=True)
    minutes = ", ".join(f"{value:g} minutes ({kind})" for kind, value in classes.minutes.items())
    assumed = [
        f"A key frame takes {minutes}, as the class table '{classes.name}' says.",
        "mIoU: the mean of the runs, and in brackets where one more training falls in "
        f"{100 * LEVEL:.0f} of 100 cases, scored on other images of the kind. The best of several mixtures is chosen "
        "by its mean, which flatters it a little.",
        "Between two measured mixtures a straight line is assumed; the two names say how many key frames go to each.",
        f"The data are like {results.name}, the network is {network} and its training as long as it was here.",
        f"One key frame a clip was annotated here, and a clip has {reach} frames: key frames closer together are more "
        "alike than those that were measured, and frames with propagated labels of two of them would meet.",
    ]
    if hours > (most := max(point.hours for point in points)):
        assumed.append(f"No mixture of more than {most:g} hours was measured: what more would bring is not known.")
    lines = [f"- {line}" for line in assumed]
    return "\n".join([f"For {hours:g} hours of annotation, the best first:", "", table, "", "Assumed:", "", *lines])


def _row(plan: Plan, reach: int) -> list[str]:
    fine, coarse = plan.frames
    low, high = plan.between(plan.less.low, plan.more.low), plan.between(plan.less.high, plan.more.high)
    parts = [(1 - plan.share, plan.less), (plan.share, plan.more)]
    used = [(share * part.cost.key_frames, part) for share, part in parts if share]
    names = [part.experiment.name if len(used) == 1 else f"{part.experiment.name} ({n:.0f})" for n, part in used]
    runs = "/".join(str(part.runs) for _, part in used)
    apart = max(reach, *(_apart(part.experiment) for _, part in used))
    counts = [f"{fine:.0f}", f"{coarse:.0f}"]
    interval = f"{plan.mean:.1f} ({max(low, 0):.1f} to {min(high, 100):.1f})"
    return [plan.curve, *counts, " + ".join(names), str(apart), f"{plan.hours:.1f}", interval, runs]


def _apart(experiment: Experiment) -> int:
    """Frames from one key frame to the next at which training frames lie evenly, in one long video."""
    span = experiment.offsets[-1] - experiment.offsets[0]
    return span + span // (len(experiment.offsets) - 1) if span else 1


def _clip_length(clips: Sequence[Clip]) -> int:
    """The usual number of frames of a training clip."""
    return int(np.median([clip.last - clip.first + 1 for clip in clips if clip.split == "train"] or [1]))
