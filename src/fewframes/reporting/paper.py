"""The paper's values, to stand beside ours where dataset, network and schedule are the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from fewframes.core.files import read_csv
from fewframes.core.labels import ClassTable
from fewframes.reporting.costs import read_cost
from fewframes.reporting.statistics import Grid, read_runs, read_training

PAPER_KEYS = {"values", "classes", "samples", "scored", "trained"}
"""Keys of a definition's `paper`: where the paper's values lie and what they are of, namely the class table, how many
training samples and frames scored on, and by network the settings that it was trained with."""


class Paper:
    """A table of the paper, for the runs of a grid; `given` has `PAPER_KEYS`, or nothing where there is no table."""

    def __init__(self, given: Mapping[str, Any], grid: Grid, classes: ClassTable, baseline: str) -> None:
        self._given = given
        self._grid = grid
        self._classes = classes
        self._baseline = baseline

    def value(self, network: str, experiment: str, column: str, **place: str) -> float | None:
        """The paper's value at a `place` (cells by column) of its table.

        None where the paper has none, where nothing was run, and where what was run is not what the paper ran.
        """
        if not self._rows or not self._trained_alike(network, experiment):
            return None
        values = (float(row[column]) for row in self._rows if all(row[key] == cell for key, cell in place.items()))
        return next(values, None)

    @cached_property
    def _rows(self) -> list[dict[str, str]]:
        """The paper's table; empty where the dataset is not the paper's: other classes, or not as many frames."""
        evaluation = self._grid.results / "manifests" / "evaluation.csv"
        if not self._given or self._classes.name != self._given["classes"] or not evaluation.is_file():
            return []
        cost = read_cost(self._grid, self._baseline)
        ours = (cost.samples if cost else 0, len(read_csv(evaluation, ("clip",))))
        return read_csv(self._given["values"], ()) if ours == (self._given["samples"], self._given["scored"]) else []

    def _trained_alike(self, network: str, experiment: str) -> bool:
        asked = self._given["trained"].get(network)
        runs = read_runs(self._grid, network, experiment) if asked else {}
        told = (read_training(self._grid.run(network, experiment, *run)) for run in runs)
        return bool(runs) and all(_follows(asked, each.get("settings")) for each in told)


def _follows(asked: Any, given: Any) -> bool:
    """Whether settings are as asked: a mapping asks for its keys alone, `true` for anything that is not empty."""
    if isinstance(asked, Mapping):
        return isinstance(given, Mapping) and all(_follows(value, given.get(key)) for key, value in asked.items())
    return bool(given) if asked is True else bool(asked == given)
