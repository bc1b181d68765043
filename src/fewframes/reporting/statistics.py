"""Scores of an experiment over its grid of draws and seeds: mean, spread, and how many runs they rest on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fewframes.core.errors import UserError
from fewframes.core.files import read_csv

Item = TypeVar("Item")


@dataclass(frozen=True)
class Grid:
    """A dataset's folder of results, and the runs in it that count.

    `experiments` has the draws of each experiment by its id, in the config's order, `own_seeds` the seeds of those
    that have others than `seeds`, `own_experiments` the experiments of those networks that are not trained on all; runs
    that lie there from another config are not looked at.
    """

    results: Path
    networks: tuple[str, ...]
    experiments: Mapping[str, tuple[int, ...]]
    seeds: tuple[int, ...]
    own_seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    own_experiments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Path, settings: Mapping[str, Any]) -> Grid:
        """The grid of a config: its `networks`, `experiments` (draws by id) and `seeds`.

        It may have `own_seeds` (seeds by id) and `own_experiments` (ids by network).
        """
        own_experiments = {network: tuple(ids) for network, ids in settings.get("own_experiments", {}).items()}
        by_id = settings["experiments"], settings.get("own_seeds", {})
        draws, own = ({id_: tuple(numbers) for id_, numbers in each.items()} for each in by_id)
        return cls(results, tuple(settings["networks"]), draws, tuple(settings["seeds"]), own, own_experiments)

    def takes(self, network: str, experiment: str) -> bool:
        """Whether the network is to be trained on the experiment."""
        asked = network in self.networks and experiment in self.experiments
        return asked and experiment in self.own_experiments.get(network, (experiment,))

    def draws_of(self, experiment: str) -> tuple[int, ...]:
        """The draws of an experiment that count: none where it is not one of the grid's."""
        return self.experiments.get(experiment, ())

    def runs_of(self, network: str, experiment: str) -> list[tuple[int, int]]:
        """The runs of an experiment with a network that count, as (draw, seed)."""
        seeds = self.own_seeds.get(experiment, self.seeds)
        draws = self.draws_of(experiment) if self.takes(network, experiment) else ()
        return [(draw, seed) for draw in draws for seed in seeds]

    def run(self, network: str, experiment: str, draw: int, seed: int) -> Path:
        """The folder of a run."""
        return self.results / "runs" / network / experiment / f"draw{draw}-seed{seed}"


@dataclass(frozen=True)
class Spread:
    """What a set of runs says about one score, in the score's own unit; `None` where it cannot be said.

    `sd` is the sample standard deviation over all `n` runs. `sd_draws` is that of the draws' means (so it
    still holds the seeds' noise, divided by their number); `sd_seeds` is pooled within the draws.
    """

    n: int = 0
    draws: int = 0
    seeds: int = 0
    mean: float | None = None
    sd: float | None = None
    sd_draws: float | None = None
    sd_seeds: float | None = None


@dataclass(frozen=True)
class Scores:
    """mIoU and mAcc of one experiment, in percent, over the same runs."""

    miou: Spread
    macc: Spread


def spread(values: Mapping[tuple[int, int], float]) -> Spread:
    """Mean and spread of the values, one by (draw, seed); a grid with holes is taken as it is."""
    if not values:
        return Spread()
    by_draw: dict[int, list[float]] = {}
    for (draw, _), value in sorted(values.items()):
        by_draw.setdefault(draw, []).append(value)
    everything = [value for group in by_draw.values() for value in group]
    within = [value - np.mean(group) for group in by_draw.values() for value in group]
    free = len(everything) - len(by_draw)
    return Spread(
        n=len(everything),
        draws=len(by_draw),
        seeds=len({seed for _, seed in values}),
        mean=float(np.mean(everything)),
        sd=_sd(everything),
        sd_draws=_sd([float(np.mean(group)) for group in by_draw.values()]),
        sd_seeds=math.sqrt(float(np.sum(np.square(within))) / free) if free else None,
    )


def read_scores(grid: Grid, network: str, experiment: str) -> Scores:
    """Scores of the runs that are finished; a run without its `metrics.csv`, or without a mean, is left out."""
    runs = read_runs(grid, network, experiment)
    return Scores(*(spread({run: scores[i] for run, scores in runs.items()}) for i in range(2)))


def read_runs(
    grid: Grid, network: str, experiment: str, classes: Collection[str] = ()
) -> dict[tuple[int, int], tuple[float, float]]:
    """IoU and accuracy in percent of the finished runs, by (draw, seed): the means over all classes or these alone."""
    runs: dict[tuple[int, int], tuple[float, float]] = {}
    for run in grid.runs_of(network, experiment):
        path = grid.run(network, experiment, *run) / "metrics.csv"
        if path.is_file() and (scores := _mean_scores(path, classes)) is not None:
            runs[run] = scores
    return runs


def read_training(run: Path) -> Mapping[str, Any]:
    """What a training wrote down of itself in the run's folder; raises `UserError` where that cannot be read."""
    file = run / "training.json"
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}): delete it and run `snakemake` to train again.") from error


def pareto(items: Iterable[Item], cost: Callable[[Item], float], value: Callable[[Item], float]) -> list[Item]:
    """The items that no other matches in value at as small a cost or smaller, by cost; of equal ones the first."""
    front: list[Item] = []
    for item in sorted(items, key=lambda item: (cost(item), -value(item))):
        if not front or value(item) > value(front[-1]):
            front.append(item)
    return front


def _sd(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _mean_scores(path: Path, classes: Collection[str]) -> tuple[float, float] | None:
    """The row `mean`, or the mean of the rows of `classes` that are numbers; None where either is undefined."""
    wanted = classes or ("mean",)
    try:
        rows = [row for row in read_csv(path, ("class", "iou", "accuracy")) if row["class"] in wanted]
        scores = [[float(row[score] or "nan") for row in rows] for score in ("iou", "accuracy")]
    except ValueError:
        rows = []
    if not rows:
        named = "row of these classes" if classes else "row 'mean'"
        raise UserError(f"{path} has no legible {named}: delete it and run `snakemake` to evaluate again.")
    numbers = [[value for value in values if math.isfinite(value)] for values in scores]
    iou, accuracy = (float(np.mean(values)) if values else None for values in numbers)
    return None if iou is None or accuracy is None else (iou, accuracy)
