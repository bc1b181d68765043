"""What a table of the paper is made of: its definition in YAML, and the runs that there are of it.

A definition has a title, its kind (`mixtures` for tables 1 and 2, `coarse` for 3, 4 and 7, `classes` for 5 and 6), its
rows by experiment id, the experiment that all are compared with, and the paper's values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fewframes.core.errors import UserError
from fewframes.core.files import read_yaml
from fewframes.core.labels import ClassTable
from fewframes.experiments.schemes import Experiment
from fewframes.reporting.paper import PAPER_KEYS, Paper
from fewframes.reporting.printing import Column, Part, verdict_part
from fewframes.reporting.statistics import Grid
from fewframes.reporting.verdicts import Arms, Comparison

_ROW_KEYS = {
    "mixtures": {"network", "experiment"},
    "coarse": {"network", "unrefined", "refined"},
    "classes": {"network", "unrefined", "refined"},
}
_MAY = {"mixtures": {"control"}, "coarse": {"control", "hours"}, "classes": set()}
"""Keys of a row that it may lack: experiments to compare with too, `control` on the same fine labels alone, `hours` on
as many fine labels as the row's annotation costs."""


@dataclass(frozen=True)
class Definition:
    """A table's definition; `rows` hold the keys of its kind, and `network` in each.

    `baseline` is the experiment that all others are compared with, where there is one. `paper` is what
    `paper.Paper` takes. `others`: whether the grid's mixtures of this kind that no row names stand below. `classes` of
    a table of that kind: `all`, or those that are `refined`.
    """

    title: str
    kind: str
    networks: Mapping[str, str]
    frames: tuple[int, int]
    rows: tuple[Mapping[str, Any], ...]
    baseline: str
    paper: Mapping[str, Any]
    others: bool = False
    classes: str = "all"


@dataclass(frozen=True)
class Sheet:
    """What a table is made of: its definition, and the runs of a grid."""

    definition: Definition
    catalogue: Mapping[str, Experiment]
    grid: Grid
    classes: ClassTable

    @cached_property
    def arms(self) -> Arms:
        """The runs to compare."""
        return Arms(self.grid, self.classes.names)

    def compare(self, network: str, arm: str, other: str) -> Comparison | None:
        """Compare two experiments; None where one is not named or not run, and for an experiment with itself."""
        return self.arms.compare(network, arm, other) if other and arm != other else None

    def network(self, id_: str) -> str:
        """A network's name in print."""
        return self.definition.networks.get(id_, id_)

    def against_baseline(self, network: str, arm: Experiment, name: str, column: Column) -> list[Part]:
        """The comparison with the definition's baseline, whose name goes into the column's title, where it has one."""
        baseline = self.definition.baseline
        if not baseline:
            return []
        named = replace(column, title=column.title.format(self.catalogue[baseline].name))
        return [verdict_part(self.compare(network, arm.id, baseline), name, named)]

    @cached_property
    def paper(self) -> Paper:
        """The paper's values, where these runs may stand beside them."""
        return Paper(self.definition.paper, self.grid, self.classes, self.definition.baseline)


def read_definition(path: Path) -> Definition:
    """Read a table's definition; raises `UserError` naming the file and what is wrong in it."""
    data = read_yaml(path)
    try:
        kind = str(data["kind"])
        first, last = data.get("frames", (-10, 10))
        paper = dict(data.get("paper", {}))
        if paper:
            paper["values"] = path.parent / paper["values"]
        definition = Definition(
            str(data["title"]),
            kind,
            dict(data.get("networks", {})),
            (int(first), int(last)),
            tuple(data["rows"]),
            str(data.get("baseline", "")),
            paper,
            bool(data.get("others", kind == "mixtures")),
            str(data.get("classes", "all")),
        )
        keys = _ROW_KEYS[kind]
        if definition.classes not in ("all", "refined"):
            raise ValueError("classes must be all or refined")
        if not definition.rows:
            raise ValueError("no rows")
        wrong = [row for row in definition.rows if not keys <= set(row) <= keys | _MAY[kind]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is not a table definition ({error!r}): it needs title, kind ({' or '.join(_ROW_KEYS)}) and rows."
        ) from error
    if wrong:
        raise UserError(f"{path}: the row {wrong[0]} must have the keys {', '.join(sorted(keys))}.")
    if paper and set(paper) != PAPER_KEYS:
        raise UserError(f"{path}: 'paper' must have the keys {', '.join(sorted(PAPER_KEYS))}.")
    return definition


def experiment_of(catalogue: Mapping[str, Experiment], id_: str) -> Experiment:
    """The experiment a table names; raises `UserError` where the catalogue lacks it."""
    if id_ not in catalogue:
        raise UserError(f"A table names the experiment '{id_}', which the catalogue lacks: add it or drop the row.")
    return catalogue[id_]


def coarse_arms(row: Mapping[str, Any], catalogue: Mapping[str, Experiment]) -> tuple[Experiment, Experiment]:
    """The unrefined and the refined experiment of a row of a `coarse` table, at one share of coarse labels."""
    unrefined, refined = (experiment_of(catalogue, row[arm]) for arm in ("unrefined", "refined"))
    if unrefined.coarse_percent != refined.coarse_percent:
        raise UserError(
            f"A table sets '{unrefined.id}' beside '{refined.id}', whose coarse share differs: correct the row."
        )
    return unrefined, refined
