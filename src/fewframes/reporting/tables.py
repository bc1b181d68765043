"""The paper's tables, computed from whatever runs are finished.

A table's definition is YAML: a title, its kind (`mixtures` for table 1, `coarse` for table 3), its rows by experiment
id, the experiment that all are compared with, and the paper's values. What was not run prints as a gap, so a
half-finished grid prints too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from fewframes.core.errors import UserError
from fewframes.core.labels import ClassTable
from fewframes.experiments.corrected import read_corrected
from fewframes.experiments.schemes import Experiment
from fewframes.reporting.costs import read_cost
from fewframes.reporting.paper import PAPER_KEYS, Paper
from fewframes.reporting.printing import (
    GAP,
    Column,
    Frames,
    Part,
    Table,
    figure,
    paper_part,
    scores_part,
    table_of,
    verdict_part,
    words,
    write_printed,
)
from fewframes.reporting.statistics import Grid, read_scores
from fewframes.reporting.verdicts import LEAST_RUNS, LEVEL, Arms, Comparison

_ROW_KEYS = {
    "mixtures": {"network", "experiment"},
    "coarse": {"network", "unrefined", "refined"},
}
_MAY = {"mixtures": {"control"}, "coarse": set()}
"""Keys of a row that it may lack. `control` is an experiment on the same annotated frames without pseudo-labels."""


@dataclass(frozen=True)
class Definition:
    """A table's definition; `rows` hold the keys of its kind, and `network` in each.

    `baseline` is the experiment that all others are compared with, where there is one. `paper` is what
    `paper.Paper` takes.
    """

    title: str
    kind: str
    networks: Mapping[str, str]
    frames: tuple[int, int]
    rows: tuple[Mapping[str, Any], ...]
    baseline: str
    paper: Mapping[str, Any]


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
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
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
        )
        keys = _ROW_KEYS[kind]
        if not definition.rows:
            raise ValueError("no rows")
        wrong = [row for row in definition.rows if not keys <= set(row) <= keys | _MAY[kind]]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is not a table definition ({error!r}): it needs title, kind ({' or '.join(_ROW_KEYS)}) and rows."
        ) from error
    if wrong:
        raise UserError(f"{path}: the row {wrong[0]} must have the keys {', '.join(sorted(keys))}.")
    if paper and set(paper) != PAPER_KEYS:
        raise UserError(f"{path}: 'paper' must have the keys {', '.join(sorted(PAPER_KEYS))}.")
    return definition


def write_table(
    definition: Path,
    catalogue: Mapping[str, Experiment],
    grid: Grid,
    classes: ClassTable,
    out: Path,
    *,
    dataset: str,
    note: str = "",
) -> None:
    """Write `<out>.csv`, `.md`, `.tex` and `.html` from the runs of the grid that are finished.

    `note` is printed below the table, for instance that its numbers come from toy data.
    """
    build = {"mixtures": _mixtures, "coarse": _coarse}
    read = read_definition(definition)
    if read.baseline:
        experiment_of(catalogue, read.baseline)
    table = build[read.kind](Sheet(read, catalogue, grid, classes), f"{read.title} ({dataset})")
    write_printed(table, out, note)


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


def _mixtures(sheet: Sheet, title: str) -> Table:
    """Table 1: a row a network and experiment, with the frames used and what they cost.

    Mixtures of the grid that the definition does not name stand below the paper's.
    """
    planned = [*sheet.definition.rows, *_unnamed(sheet)]
    experiments = [experiment_of(sheet.catalogue, row["experiment"]) for row in planned]
    reach = [offset for experiment in experiments for offset in experiment.offsets]
    first, last = min(sheet.definition.frames[0], *reach), max(sheet.definition.frames[1], *reach)
    papers = [_paper_mixture(sheet, row["network"], e) for row, e in zip(planned, experiments, strict=True)]
    controlled = any("control" in row for row in planned)
    rows: list[list[Part]] = []
    for row, experiment, paper in zip(planned, experiments, papers, strict=True):
        network, frames = row["network"], Frames(experiment.offsets, first, last)
        scores = read_scores(sheet.grid, network, experiment.id)
        # A manifest serves every network; a network that is not trained is a gap all the same.
        cost = read_cost(sheet.grid, experiment.id) if network in sheet.grid.networks else None
        boxes = [frames.marks("□", "■", "◆"), " ".join(map(str, experiment.offsets))]
        shown = Column(f"Frames used ({first} … {last})", words=True)
        parts = [words("network", "Network", sheet.network(network)), words("id", "ID", experiment.name)]
        parts += [Part(["frames", "offsets"], boxes, [shown], [frames]), scores_part(scores)]
        parts += sheet.against_baseline(network, experiment, "baseline", Column("Against {}", words=True))
        if controlled:
            compared = sheet.compare(network, experiment.id, row.get("control", ""))
            parts.append(verdict_part(compared, "control", Column("Against its control", words=True)))
        if any(papers):
            parts.append(paper_part(scores, paper, "", Column("Paper (difference)")))
        parts += [
            figure("key_frames", Column("Key frames"), cost.key_frames if cost else None, 0),
            figure("annotation_hours", Column("Hours"), cost.hours(sheet.classes.minutes) if cost else None, 2),
            figure("manual_percent", Column("Manual %"), cost.manual_percent if cost else None, 2),
            figure("total_samples", Column("Samples"), cost.samples if cost else None, 0),
        ]
        rows.append(parts)
    legend = "◆ annotated frame, ■ frame with a pseudo-label, □ unused frame. " + _legend(sheet, any(papers))
    legend += " Manual % is the share of samples with a manual label, not of the work."
    return table_of(title, legend, rows)


def _unnamed(sheet: Sheet) -> list[Mapping[str, Any]]:
    """Rows for the grid's mixtures of manual and propagated labels that no row of the definition names."""
    named = {row["experiment"] for row in sheet.definition.rows}
    mixtures = [
        id_
        for id_ in sheet.grid.experiments
        if id_ not in named and not experiment_of(sheet.catalogue, id_).coarse_percent
    ]
    return [{"network": network, "experiment": id_} for network in sheet.grid.networks for id_ in mixtures]


def _coarse(sheet: Sheet, title: str) -> Table:
    """Table 3: a row a share of coarse labels, with the scores of both arms; their samples cost the same."""
    pairs = [(row["network"], coarse_arms(row, sheet.catalogue)) for row in sheet.definition.rows]
    papers = [_paper_coarse(sheet, network, arms) for network, arms in pairs]
    with_paper = any(value is not None for pair in papers for value in pair)
    rows: list[list[Part]] = []
    for (network, arms), values in zip(pairs, papers, strict=True):
        share = float(arms[0].coarse_percent)
        parts = [words("network", "Network", sheet.network(network))]
        parts.append(figure("coarse_percent", Column("Coarse %"), share, 0))
        for arm, value, prefix, group in zip(
            arms, values, ("unrefined_", "refined_"), ("Non-refined", "Refined"), strict=True
        ):
            scores = read_scores(sheet.grid, network, arm.id)
            parts.append(scores_part(scores, prefix, group))
            parts += sheet.against_baseline(network, arm, f"{prefix}baseline", Column("against {}", group, words=True))
            if with_paper:
                parts.append(paper_part(scores, value, prefix, Column("paper (difference)", group)))
        gain = sheet.compare(network, arms[1].id, arms[0].id)
        parts.append(verdict_part(gain, "refinement", Column("Refined against non-refined", words=True)))
        # The arms rest on the same annotation; corrections of refined labels come on top.
        costs = [cost for arm in arms if (cost := read_cost(sheet.grid, arm.id))]
        cost = max(costs, key=lambda c: c.review_minutes, default=None)
        parts += [
            figure("fine_frames", Column("fine", "Key frames"), cost.fine if cost else None, 0),
            figure("coarse_frames", Column("coarse", "Key frames"), cost.coarse if cost else None, 0),
            figure("annotation_hours", Column("Hours"), cost.hours(sheet.classes.minutes) if cost else None, 2),
        ]
        rows.append(parts)
    return table_of(title, _legend(sheet, with_paper), rows)


def _legend(sheet: Sheet, with_paper: bool) -> str:
    grid, minutes = sheet.grid, ", ".join(f"{v:g} minutes ({kind})" for kind, v in sheet.classes.minutes.items())
    draws, seeds = max(map(len, grid.experiments.values()), default=0), len(grid.seeds)
    corrected = len(read_corrected(grid.results))
    reviews = f", and what reviewing the {corrected} corrected labels took where a row uses them" if corrected else ""
    one = " With one draw they say nothing of other choices of clips." if draws == 1 else ""
    paper = " Paper: the value of its one run, in brackets ours minus it." if with_paper else ""
    return (
        "mIoU and mAcc in percent: mean ± sample standard deviation (number of runs). "
        f"Planned: draws {draws}, seeds {seeds}; an experiment that takes every clip alike has one draw. "
        f"Differences are of mIoU, in percentage points, with their {100 * LEVEL:.0f} % interval over runs and images; "
        f"below {LEAST_RUNS} runs on either side nothing is established.{one}{paper} "
        "Key frames are the distinct annotated frames that the samples rest on: a pseudo-label needs its clip's. "
        f"Hours of annotation at {minutes} a key frame{reviews}. {GAP} is what was not run."
    )


def _paper_mixture(sheet: Sheet, network: str, experiment: Experiment) -> float | None:
    return sheet.paper.value(network, experiment.id, "miou", model=network, scheme=experiment.name)


def _paper_coarse(sheet: Sheet, network: str, arms: Sequence[Experiment]) -> list[float | None]:
    place, columns = {"coarse_percent": str(arms[0].coarse_percent)}, ("unrefined_miou", "refined_miou")
    return [sheet.paper.value(network, a.id, column, **place) for a, column in zip(arms, columns, strict=True)]
