"""Whether two experiments differ in mIoU: an interval over runs and over images.

A mean mIoU varies by chance twice: by the runs that were made (draws of clips, seeds of training), and by the images
that they were scored on. The two are crossed, every run is scored on every image, as in a study in which each of
several readers judges the same cases, and they are weighed as there (Obuchowski and Rockette, "Hypothesis testing of
diagnostic accuracy for multiple readers and multiple tests", Communications in Statistics 24, 1995): the variance of
each is estimated, and their sum gives an interval by Student's t, whose quantile is the mean of those of runs and of
images, weighted by their variances (Cochran, "Approximate significance levels of the Behrens-Fisher test", Biometrics
20, 1964). Satterthwaite's degrees of freedom ("An approximate distribution of estimates of variance components",
Biometrics Bulletin 2, 1946) would be less cautious: with three draws their intervals hold the truth as rarely as in
92 to 93 of 100 cases, these in 95 to 97 (simulated).

A bootstrap of both levels was the alternative. No resampling of crossed levels is exact (McCullagh, "Resampling and
exchangeable arrays", Bernoulli 6, 2000), and from three runs its intervals are far too narrow: their variance comes
out a third too small, with no allowance for having estimated it. What runs and images do together is counted in both
variances, which errs on the side of caution (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewframes.core.clips import natural
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv
from fewframes.learning.counted import read_counted
from fewframes.reporting.statistics import Grid, read_runs

LEVEL = 0.95
"""How often an interval holds the true difference."""

LEAST_RUNS = 3
"""Runs that an arm needs: below, its spread is hardly known, and nothing is called established."""


@dataclass(frozen=True)
class Arm:
    """The runs of one experiment with one network, and what each block of images is worth to their mean.

    `runs` are (draw, seed) and `scores` their mIoU in percent, `[R]`; `without` is the mean of the runs' mIoU with one
    block of images left out, `[B]`; `images` are the images scored on.
    """

    runs: tuple[tuple[int, int], ...]
    scores: NDArray[np.float64]
    without: NDArray[np.float64]
    images: tuple[str, ...]

    @property
    def mean(self) -> float:
        """The mean mIoU over the runs."""
        return float(self.scores.mean())

    @property
    def enough(self) -> bool:
        """Whether there are runs and blocks enough to say anything of chance."""
        return len(self.runs) >= LEAST_RUNS and len(self.without) > 1

    @cached_property
    def units(self) -> dict[tuple[int, ...], float]:
        """By how much each independent unit moved the mean, scaled so that the squares' sum is the mean's variance.

        Runs of one draw share their clips: a unit is a draw, and a run only where there is but one draw.
        """
        drawn = len({draw for draw, _ in self.runs}) > 1
        units: dict[tuple[int, ...], float] = {}
        for run, score in zip(self.runs, self.scores, strict=True):
            unit = run[:1] if drawn else run
            units[unit] = units.get(unit, 0.0) + (float(score) - self.mean) / len(self.runs)
        scale = (len(units) / (len(units) - 1)) ** 0.5
        return {unit: scale * moved for unit, moved in units.items()}


@dataclass(frozen=True)
class Comparison:
    """An arm's mIoU minus another's, in percentage points, and the interval that holds the truth (`LEVEL`).

    `runs` are the arms' numbers of runs; the interval is None where they do not establish one. `variances` are those of
    the difference by runs and by images, that the interval rests on.
    """

    difference: float
    low: float | None
    high: float | None
    runs: tuple[int, int]
    variances: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `no difference shown`, or `not established`."""
        if self.low is None or self.high is None:
            return "not established"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference shown"


def compare(arm: Arm, other: Arm) -> Comparison:
    """Compare two arms that were scored on the same images, paired by image, and by draw or run where both have it."""
    difference, counts = arm.mean - other.mean, (len(arm.runs), len(other.runs))
    if not (arm.enough and other.enough):
        return Comparison(difference, None, None, counts)
    by_runs, by_images = _run_variance(arm, other), _image_variance(arm.without - other.without)
    return Comparison(difference, *_around(difference, by_runs, by_images), counts, (by_runs[0], by_images[0]))


def expected(arm: Arm) -> tuple[float, float]:
    """Between which mIoU one more run of the arm falls, on other images of the kind; ask `arm.enough` first."""
    mean, one_more = sum(moved**2 for moved in arm.units.values()), float(arm.scores.var(ddof=1))
    return _around(arm.mean, (mean + one_more, len(arm.units) - 1.0), _image_variance(arm.without))


class Arms:
    """The arms of a grid, whose classes are `names` in the order of train ids; each run's file is read once."""

    def __init__(self, grid: Grid, names: Sequence[str]) -> None:
        self.grid = grid
        self.names = tuple(names)
        self._arms: dict[tuple[str, str, tuple[str, ...]], Arm | None] = {}
        self._counts: dict[Path, tuple[tuple[str, ...], NDArray[np.int64]]] = {}
        self._blocks: dict[tuple[str, ...], NDArray[np.int64]] = {}

    def arm(self, network: str, experiment: str, classes: tuple[str, ...] = ()) -> Arm | None:
        """The finished runs of an experiment, their mIoU over all classes or these alone; None where there is none."""
        key = (network, experiment, classes)
        if key not in self._arms:
            self._arms[key] = self._read(*key)
        return self._arms[key]

    def compare(self, network: str, arm: str, other: str, classes: tuple[str, ...] = ()) -> Comparison | None:
        """Compare two experiments; None where one of them was not run.

        Raises `UserError` where their runs were scored on different images.
        """
        pair = self.arm(network, arm, classes), self.arm(network, other, classes)
        if pair[0] is None or pair[1] is None:
            return None
        if pair[0].images != pair[1].images:
            raise self._different(network, arm, other)
        return compare(pair[0], pair[1])

    def _read(self, network: str, experiment: str, classes: tuple[str, ...]) -> Arm | None:
        runs = {run: iou for run, (iou, _) in read_runs(self.grid, network, experiment, classes).items()}
        if not runs:
            return None
        chosen = [self.names.index(name) for name in classes] if classes else slice(None)
        counted = [self._counted(self.grid.run(network, experiment, *run)) for run in runs]
        images = {seen for seen, _ in counted}
        if len(images) > 1:
            raise self._different(network, experiment)
        without = np.mean([leave_one_out(counts, chosen) for _, counts in counted], axis=0)
        return Arm(tuple(runs), np.array(list(runs.values())), without, images.pop())

    def _different(self, network: str, *experiments: str) -> UserError:
        return UserError(
            f"Runs of {' and '.join(experiments)} below {self.grid.results / 'runs' / network} were scored on "
            "different images: run `snakemake` to evaluate the older ones again."
        )

    def _counted(self, folder: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """The images that a run was scored on, and what was counted by block."""
        path = folder / "confusion.npz"
        if path not in self._counts:
            try:
                counted = read_counted(path)
            except OSError as error:
                raise UserError(f"{path} cannot be read ({error}): delete it and run `snakemake` again.") from error
            images = tuple(counted.clips)
            if images not in self._blocks:
                self._blocks[images] = image_blocks(images, self._groups)
            self._counts[path] = images, block_counts(counted.confusion, self._blocks[images])
        return self._counts[path]

    @cached_property
    def _groups(self) -> dict[str, str]:
        return {row["clip"]: row["group"] for row in read_csv(self.grid.results / "index.csv", ("clip", "group"))}


def image_blocks(images: Sequence[str], groups: Mapping[str, str]) -> NDArray[np.int64]:
    """The block of each image by number, `[N]`: images that follow each other in one place lie in one block.

    `groups` has the sequence of each image by its clip's id, where it is known. Sequences whose names differ in their
    last number alone (a city's, in Cityscapes) are one place, in that order. A block has about the cube root of N
    images, the rate at which blocks of dependent observations must grow (Künsch, "The jackknife and the bootstrap for
    general stationary observations", Annals of Statistics 17, 1989).
    """
    places: dict[str, list[int]] = {}
    sequences = [groups.get(image, image) for image in images]
    for i in sorted(range(len(images)), key=lambda i: (natural(sequences[i]), natural(images[i]))):
        places.setdefault(re.sub(r"(_\d+)+$", "", sequences[i]), []).append(i)
    length = round(len(images) ** (1 / 3))
    blocks, number = np.empty(len(images), np.int64), 0
    for place in places.values():
        for block in np.array_split(place, max(1, round(len(place) / length))):
            blocks[block] = number
            number += 1
    return blocks


def block_counts(confusion: NDArray[np.int64], blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hits, true and predicted pixels by block and class, `[B, 3, C]`, from matrices `[N, C, C]` and their blocks."""
    counted = [np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2), confusion.sum(axis=1)]
    sums = np.zeros((int(blocks.max()) + 1, 3, confusion.shape[1]), np.int64)
    np.add.at(sums, blocks, np.stack(counted, axis=1))
    return sums


def leave_one_out(counts: NDArray[np.int64], chosen: Sequence[int] | slice = slice(None)) -> NDArray[np.float64]:
    """mIoU in percent over the `chosen` classes with each block left out, `[B]`, from counts `[B, 3, C]`.

    A class that is in one block alone keeps its IoU where that is left out: nothing tells how it varies.
    """
    total = counts.sum(axis=0)
    whole, left = _iou(total), _iou(total - counts)
    left = np.where(np.isnan(left), whole, left)[:, chosen]
    return np.asarray(100 * left[:, ~np.isnan(whole[chosen])].mean(axis=1))


@lru_cache(maxsize=256)
def student(freedom: float) -> float:
    """The quantile of Student's t by which an interval of `LEVEL` reaches to either side; `freedom` is at least 1.

    With t = sqrt(freedom) tan(a), the density of a is proportional to cos(a) to the power freedom - 1.
    """
    angle = np.linspace(0, np.pi / 2, 20_001)
    density = np.cos(angle) ** (freedom - 1)
    mass = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return float(np.sqrt(freedom) * np.tan(np.interp(LEVEL, mass / mass[-1], angle)))


def _iou(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU from counts `[..., 3, C]`; not a number where a class is in neither truth nor prediction."""
    hits, true, predicted = np.moveaxis(counts, -2, 0)
    union = true + predicted - hits
    return np.divide(hits, union, out=np.full(union.shape, np.nan), where=union > 0)


def _run_variance(arm: Arm, other: Arm) -> tuple[float, float]:
    """Variance of the difference by runs, and its degrees of freedom; what shares a draw or a run is paired."""
    sides = arm.units, other.units
    if sides[0].keys() & sides[1].keys():
        every = sides[0].keys() | sides[1].keys()
        moved = [sides[0].get(unit, 0.0) - sides[1].get(unit, 0.0) for unit in every]
        return sum(m**2 for m in moved), min(map(len, sides)) - 1.0
    parts = [(sum(moved**2 for moved in side.values()), len(side) - 1.0) for side in sides]
    total = sum(variance for variance, _ in parts)
    # Welch's test: two samples of variances of their own, with Satterthwaite's degrees of freedom.
    free = total**2 / sum(variance**2 / free for variance, free in parts) if total else 1.0
    # Rounded, so that a quantile is worked out once.
    return total, round(free, 1)


def _image_variance(without: NDArray[np.float64]) -> tuple[float, float]:
    """Variance of a value by images, and its degrees of freedom, from the value with each block left out, `[B]`.

    The jackknife's, which is on average rather too large than too small (Efron and Stein, "The jackknife estimate of
    variance", Annals of Statistics 9, 1981).
    """
    blocks = len(without)
    return float((blocks - 1) * without.var()), blocks - 1.0


def _around(value: float, runs: tuple[float, float], images: tuple[float, float]) -> tuple[float, float]:
    """The interval around a value, of whose two sources of chance the variance and degrees of freedom are given."""
    variance = runs[0] + images[0]
    if not variance:
        return value, value
    reach = sum(part * student(free) for part, free in (runs, images)) / variance * variance**0.5
    return value - reach, value + reach
