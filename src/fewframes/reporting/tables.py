"""The paper's tables, computed from whatever runs are finished.

What was not run prints as a gap, so a half-finished grid prints too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewframes.core.labels import ClassTable
from fewframes.experiments.corrected import read_corrected
from fewframes.experiments.schemes import Experiment
from fewframes.reporting.costs import Cost, read_cost
from fewframes.reporting.definitions import Sheet, coarse_arms, experiment_of, read_definition
from fewframes.reporting.perclass import MARKS, Pair, class_table
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
from fewframes.reporting.verdicts import LEAST_RUNS, LEVEL

_CONTROLS = {"control": "its fine labels alone", "hours": "fine labels of its hours"}


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
    build = {"mixtures": _mixtures, "coarse": _coarse, "classes": _classes}
    read = read_definition(definition)
    if read.baseline:
        experiment_of(catalogue, read.baseline)
    table = build[read.kind](Sheet(read, catalogue, grid, classes), f"{read.title} ({dataset})")
    write_printed(table, out, note)


def _mixtures(sheet: Sheet, title: str) -> Table:
    """Table 1: a row a network and experiment, with the frames used and what they cost.

    Mixtures of the grid that the definition does not name stand below the paper's.
    """
    planned = [*sheet.definition.rows, *(_unnamed(sheet) if sheet.definition.others else ())]
    experiments = [experiment_of(sheet.catalogue, row["experiment"]) for row in planned]
    reach = [offset for experiment in experiments for offset in experiment.offsets]
    first, last = min(sheet.definition.frames[0], *reach), max(sheet.definition.frames[1], *reach)
    papers = [_paper_mixture(sheet, row["network"], e) for row, e in zip(planned, experiments, strict=True)]
    controlled = any(row.get("control") in sheet.grid.experiments for row in planned)
    rows: list[list[Part]] = []
    for row, experiment, paper in zip(planned, experiments, papers, strict=True):
        network, frames = row["network"], Frames(experiment.offsets, first, last)
        scores = read_scores(sheet.grid, network, experiment.id)
        # A manifest serves every network; a network that is not trained on it is a gap all the same.
        cost = read_cost(sheet.grid, experiment.id) if sheet.grid.takes(network, experiment.id) else None
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
    return [
        {"network": network, "experiment": id_}
        for network in sheet.grid.networks
        for id_ in mixtures
        if sheet.grid.takes(network, id_)
    ]


@dataclass(frozen=True)
class _Shares:
    """A row of a `coarse` table: its keys, its name, and the two arms."""

    row: Mapping[str, Any]
    name: str
    unrefined: Experiment
    refined: Experiment

    @property
    def arms(self) -> tuple[Experiment, Experiment]:
        return self.unrefined, self.refined


def _coarse(sheet: Sheet, title: str) -> Table:
    """Table 3: a row a share of coarse labels, with the scores of both arms; their samples cost the same."""
    pairs = [(row, *coarse_arms(row, sheet.catalogue)) for row in sheet.definition.rows]
    planned = [_Shares(row, unrefined.name, unrefined, refined) for row, unrefined, refined in pairs]
    planned += _other_mixtures(sheet) if sheet.definition.others else []
    papers = [_paper_coarse(sheet, shares) for shares in planned]
    with_paper = any(value is not None for pair in papers for value in pair)
    run = sheet.grid.experiments
    controls = {key: name for key, name in _CONTROLS.items() if any(s.row.get(key) in run for s in planned)}
    rows: list[list[Part]] = []
    for shares, values in zip(planned, papers, strict=True):
        row, arms, network = shares.row, shares.arms, shares.row["network"]
        # The arms rest on the same annotation; corrections of refined labels come on top.
        costs = [cost for arm in arms if (cost := read_cost(sheet.grid, arm.id))]
        cost = max(costs, key=lambda c: c.review_minutes, default=None)
        parts = [words("network", "Network", sheet.network(network)), words("id", "ID", shares.name)]
        parts.append(figure("coarse_percent", Column("Coarse %"), _coarse_share(arms[0], cost), 0))
        for arm, value, prefix, group in zip(
            arms, values, ("unrefined_", "refined_"), ("Non-refined", "Refined"), strict=True
        ):
            scores = read_scores(sheet.grid, network, arm.id)
            parts.append(scores_part(scores, prefix, group))
            parts += sheet.against_baseline(network, arm, f"{prefix}baseline", Column("against {}", group, words=True))
            for key, name in controls.items():
                compared = sheet.compare(network, arm.id, row.get(key, ""))
                parts.append(verdict_part(compared, f"{prefix}{key}", Column(f"against {name}", group, words=True)))
            if with_paper:
                parts.append(paper_part(scores, value, prefix, Column("paper (difference)", group)))
        gain = sheet.compare(network, arms[1].id, arms[0].id)
        parts.append(verdict_part(gain, "refinement", Column("Refined against non-refined", words=True)))
        parts += [
            figure("fine_frames", Column("fine", "Key frames"), cost.fine if cost else None, 0),
            figure("coarse_frames", Column("coarse", "Key frames"), cost.coarse if cost else None, 0),
            figure("annotation_hours", Column("Hours"), cost.hours(sheet.classes.minutes) if cost else None, 2),
        ]
        rows.append(parts)
    return table_of(title, _legend(sheet, with_paper), rows)


def _coarse_share(experiment: Experiment, cost: Cost | None) -> float | None:
    """The share of samples with coarse labels, in percent: counted where the recipe's is of something else."""
    if experiment.fine == "rest" and experiment.clips == "matched":
        return float(experiment.coarse_percent)
    return 100 * cost.coarse / cost.key_frames if cost else None


def _other_mixtures(sheet: Sheet) -> list[_Shares]:
    """The grid's mixtures of coarse labels that no row of the definition names, refined beside non-refined.

    An arm that the catalogue lacks is a gap.
    """
    named = {row[arm] for row in sheet.definition.rows for arm in ("unrefined", "refined")}
    others = [experiment_of(sheet.catalogue, id_) for id_ in sheet.grid.experiments if id_ not in named]
    pairs: list[tuple[str, Experiment, Experiment]] = []
    for experiment in filter(lambda e: e.coarse_percent, others):
        if experiment.labels == "refined":
            alike = (
                e for e in sheet.catalogue.values() if e.labels == "raw" and _unlabelled(e) == _unlabelled(experiment)
            )
            raw = next(alike, replace(experiment, id="", labels="raw"))
            pairs.append((experiment.name if raw.id in (*named, "") else raw.name, raw, experiment))
        elif not any(e.labels == "refined" and _unlabelled(e) == _unlabelled(experiment) for e in others):
            pairs.append((experiment.name, experiment, replace(experiment, id="", labels="refined")))
    return [
        _Shares({"network": network}, name, raw, refined)
        for network in sheet.grid.networks
        for name, raw, refined in pairs
        if any(sheet.grid.takes(network, arm.id) for arm in (raw, refined))
    ]


def _unlabelled(experiment: Experiment) -> Mapping[str, Any]:
    return {k: v for k, v in experiment.recipe.items() if k not in ("labels", "refinement")}


def _classes(sheet: Sheet, title: str) -> Table:
    """Table 5: a row a class, with the IoU of both arms at several shares of coarse labels."""
    pairs = [Pair(row["network"], *coarse_arms(row, sheet.catalogue)) for row in sheet.definition.rows]
    names = sheet.classes.refined if sheet.definition.classes == "refined" else sheet.classes.names
    legend = (
        "IoU in percent: mean ± sample standard deviation (number of runs). NR: coarse labels as they are, R: refined. "
        f"{MARKS['better']}, {MARKS['worse']}: the {100 * LEVEL:.0f} % interval over runs and images of the difference "
        f"between R and NR lies above, below zero; it takes {LEAST_RUNS} runs on either side. Refined classes: "
        f"{', '.join(sheet.classes.refined)}. {GAP} is what was not run, or no such class was seen."
    )
    return class_table(title, legend, pairs, names, sheet.grid, sheet.arms, sheet.paper)


def _legend(sheet: Sheet, with_paper: bool) -> str:
    grid, minutes = sheet.grid, ", ".join(f"{v:g} minutes ({kind})" for kind, v in sheet.classes.minutes.items())
    draws, seeds = max(map(len, grid.experiments.values()), default=0), len(grid.seeds)
    own = max(map(len, grid.own_seeds.values()), default=0)
    several = f", and seeds {own}" if own else ""
    corrected = len(read_corrected(grid.results))
    reviews = f", and what reviewing the {corrected} corrected labels took where a row uses them" if corrected else ""
    one = " With one draw they say nothing of other choices of clips." if draws == 1 else ""
    paper = " Paper: the value of its one run, in brackets ours minus it." if with_paper else ""
    return (
        "mIoU and mAcc in percent: mean ± sample standard deviation (number of runs). "
        f"Planned: draws {draws}, seeds {seeds}; an experiment that takes every clip alike has one draw{several}. "
        f"Differences are of mIoU, in percentage points, with their {100 * LEVEL:.0f} % interval over runs and images; "
        f"below {LEAST_RUNS} runs on either side nothing is established.{one}{paper} "
        "Key frames are the distinct annotated frames that the samples rest on: a pseudo-label needs its clip's. "
        f"Hours of annotation at {minutes} a key frame{reviews}. {GAP} is what was not run."
    )


def _paper_mixture(sheet: Sheet, network: str, experiment: Experiment) -> float | None:
    return sheet.paper.value(network, experiment.id, "miou", model=network, scheme=experiment.name)


def _paper_coarse(sheet: Sheet, shares: _Shares) -> list[float | None]:
    if shares.row not in sheet.definition.rows:
        return [None, None]
    place, columns = {"coarse_percent": str(shares.unrefined.coarse_percent)}, ("unrefined_miou", "refined_miou")
    paired = zip(shares.arms, columns, strict=True)
    return [sheet.paper.value(shares.row["network"], arm.id, column, **place) for arm, column in paired]
