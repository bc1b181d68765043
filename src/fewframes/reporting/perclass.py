"""IoU class by class, of pairs of arms at several shares of coarse labels: the paper's tables 5 and 6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fewframes.experiments.schemes import Experiment
from fewframes.reporting.paper import Paper
from fewframes.reporting.printing import (
    Column,
    Part,
    Table,
    for_csv,
    for_print,
    spread_text,
    table_of,
    verdict_part,
    words,
)
from fewframes.reporting.statistics import Grid, read_runs, spread
from fewframes.reporting.verdicts import Arms

MARKS = {"better": "▲", "worse": "▼"}
"""What stands behind the refined arm's IoU where the interval of the difference between the arms says so."""


@dataclass(frozen=True)
class Pair:
    """An experiment with coarse labels as they are and the same with refined ones; one and the same without any."""

    network: str
    unrefined: Experiment
    refined: Experiment

    @property
    def share(self) -> int:
        """The percentage of coarse labels."""
        return self.unrefined.coarse_percent

    @property
    def arms(self) -> list[tuple[str, str, Experiment]]:
        """Each arm's name in the CSV, which is the paper's, its heading, and its experiment."""
        if self.unrefined == self.refined:
            return [(str(self.share), self.unrefined.name, self.unrefined)]
        named = (("unrefined", "NR", self.unrefined), ("refined", "R", self.refined))
        return [(f"{self.share}_{name}", heading, arm) for name, heading, arm in named]


def class_table(
    title: str, legend: str, pairs: Sequence[Pair], names: Sequence[str], grid: Grid, arms: Arms, paper: Paper
) -> Table:
    """A row for each class of `names`: for every pair its arms' IoU in percent, the paper's beside them if any."""
    cells = [(pair, column, arm) for pair in pairs for column, _, arm in pair.arms]
    papers = {
        (column, name): paper.value(pair.network, arm.id, column, **{"class": name})
        for pair, column, arm in cells
        for name in names
    }
    with_paper = any(value is not None for value in papers.values())
    rows = []
    for name in names:
        parts = [words("class", "Class", name)]
        for pair in pairs:
            gain = None
            if pair.unrefined != pair.refined:
                gain = arms.compare(pair.network, pair.refined.id, pair.unrefined.id, (name,))
            for column, heading, arm in pair.arms:
                mark = MARKS.get(gain.verdict, "") if gain and arm == pair.refined else ""
                parts.append(_iou(grid, pair, arm, name, column, Column(heading, f"{pair.share} % coarse"), mark))
                if with_paper:
                    value, shown = papers[column, name], Column(f"{heading} in the paper", f"{pair.share} % coarse")
                    parts.append(Part([f"{column}_paper"], [for_csv(value)], [shown], [for_print(value, 2)]))
            if pair.unrefined != pair.refined:
                told = verdict_part(gain, f"{pair.share}_refinement", Column(""))
                parts.append(replace(told, columns=[], cells=[]))
        rows.append(parts)
    return table_of(title, legend, rows)


def _iou(grid: Grid, pair: Pair, arm: Experiment, name: str, column: str, shown: Column, mark: str) -> Part:
    runs = read_runs(grid, pair.network, arm.id, (name,))
    iou = spread({run: scores[0] for run, scores in runs.items()})
    names = [f"{column}_{measure}" for measure in ("mean", "sd", "n")]
    n = f" ({iou.n})" if iou.n else ""
    return Part(names, [for_csv(iou.mean), for_csv(iou.sd), iou.n], [shown], [f"{spread_text(iou)}{n} {mark}".strip()])
