"""The paper's tables, computed from whatever runs are finished, as CSV, Markdown and LaTeX.

A table's definition is YAML: a title, its kind (`mixtures` for table 1, `coarse` for table 3) and its rows by
experiment id. What was not run prints as a gap, so a half-finished grid prints too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from fewframes.core.errors import UserError
from fewframes.core.files import write_csv, write_text
from fewframes.core.labels import ClassTable
from fewframes.experiments.corrected import read_corrected
from fewframes.experiments.schemes import Experiment
from fewframes.reporting.costs import read_cost
from fewframes.reporting.statistics import Grid, Scores, Spread, read_scores

_ROW_KEYS = {
    "mixtures": {"network", "experiment"},
    "coarse": {"network", "unrefined", "refined"},
}
_GAP = "—"
_PAGE = """<!doctype html><meta charset="utf-8"><style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 1em 2em; max-width: 75em }
h1 { font-size: 1.2em } p { color: #555 }
table { border-collapse: collapse; border-block: 2px solid } th { border-bottom: 1px solid }
th, td { padding: .2em .7em; white-space: nowrap }
</style>
"""
_PREAMBLE = r"""% Needs \usepackage{amssymb,booktabs,xcolor}; the three marks may be redefined before.
\providecommand{\unusedframe}{$\square$}
\providecommand{\pseudoframe}{$\blacksquare$}
\providecommand{\manualframe}{\textcolor[HTML]{009E73}{$\blacksquare$}}
"""


@dataclass(frozen=True)
class Definition:
    """A table's definition; `rows` hold the keys of its kind, and `network` in each."""

    title: str
    kind: str
    networks: Mapping[str, str]
    frames: tuple[int, int]
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Frames:
    """Which offsets of a clip are trained on, shown over the offsets `first` … `last`."""

    offsets: tuple[int, ...]
    first: int
    last: int

    def marks(self, unused: str, pseudo: str, manual: str) -> str:
        """One mark an offset; the annotated frame is the one at offset 0."""
        used = {offset: pseudo if offset else manual for offset in self.offsets}
        return "".join(used.get(offset, unused) for offset in range(self.first, self.last + 1))


Cell = str | Frames
"""What a printed cell holds: plain text, not yet escaped, or the boxes of the frames used."""


@dataclass(frozen=True)
class Table:
    """A table with its numbers (`csv`: header and rows) and as it is printed (`columns`: group and title)."""

    title: str
    legend: str
    csv: tuple[Sequence[str], Sequence[Sequence[object]]]
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Cell]]


def read_definition(path: Path) -> Definition:
    """Read a table's definition; raises `UserError` naming the file and what is wrong in it."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        kind = str(data["kind"])
        first, last = data.get("frames", (-10, 10))
        definition = Definition(
            str(data["title"]), kind, dict(data.get("networks", {})), (int(first), int(last)), tuple(data["rows"])
        )
        keys = _ROW_KEYS[kind]
        wrong = [row for row in definition.rows if set(row) != keys]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is not a table definition ({error!r}): it needs title, kind ({' or '.join(_ROW_KEYS)}) and rows."
        ) from error
    if wrong:
        raise UserError(f"{path}: the row {wrong[0]} must have the keys {', '.join(sorted(keys))}.")
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
    table = build[read.kind](read, catalogue, grid, classes, f"{read.title} ({dataset})")
    write_csv(f"{out}.csv", *table.csv)
    write_text(f"{out}.md", markdown(table, note))
    write_text(f"{out}.tex", latex(table, note))
    write_text(f"{out}.html", html(table, note))


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


def _mixtures(
    definition: Definition, catalogue: Mapping[str, Experiment], grid: Grid, classes: ClassTable, title: str
) -> Table:
    """Table 1: a row a network and experiment, with the frames used and what they cost.

    Mixtures of the grid that the definition does not name stand below the paper's.
    """
    planned = [*definition.rows, *_unnamed(definition, catalogue, grid)]
    experiments = [experiment_of(catalogue, row["experiment"]) for row in planned]
    reach = [offset for experiment in experiments for offset in experiment.offsets]
    first, last = min(definition.frames[0], *reach), max(definition.frames[1], *reach)
    numbers: list[Sequence[object]] = []
    rows: list[Sequence[Cell]] = []
    for row, experiment in zip(planned, experiments, strict=True):
        network = definition.networks.get(row["network"], row["network"])
        frames = Frames(experiment.offsets, first, last)
        scores = read_scores(grid, row["network"], experiment.id)
        # A manifest serves every network; a network that is not trained is a gap all the same.
        cost = read_cost(grid, experiment.id) if row["network"] in grid.networks else None
        counts: tuple[float | None, ...] = (None,) * 4
        if cost:
            counts = (cost.key_frames, cost.hours(classes.minutes), cost.manual_percent, cost.samples)
        named = [network, experiment.name]
        boxes, offsets = frames.marks("□", "■", "◆"), " ".join(map(str, experiment.offsets))
        numbers.append([*named, boxes, offsets, *_score_numbers(scores), *map(_number, counts, (0, 2, 2, 0))])
        rows.append([*named, frames, *_score_texts(scores), *map(_text, counts, (0, 2, 2, 0))])
    header = ["network", "id", "frames", "offsets", *_score_header("")]
    header += ["key_frames", "annotation_hours", "manual_percent", "total_samples"]
    columns = ["Network", "ID", f"Frames used ({first} … {last})", "mIoU", "mAcc"]
    columns += ["Key frames", "Hours", "Manual %", "Samples"]
    legend = "◆ annotated frame, ■ frame with a pseudo-label, □ unused frame. " + _legend(grid, classes)
    legend += " Manual % is the share of samples with a manual label, not of the work."
    return Table(title, legend, (header, numbers), [("", c) for c in columns], rows)


def _unnamed(definition: Definition, catalogue: Mapping[str, Experiment], grid: Grid) -> list[Mapping[str, Any]]:
    """Rows for the grid's mixtures of manual and propagated labels that no row of the definition names."""
    named = {row["experiment"] for row in definition.rows}
    mixtures = [
        id_ for id_ in grid.experiments if id_ not in named and not experiment_of(catalogue, id_).coarse_percent
    ]
    return [{"network": network, "experiment": id_} for network in grid.networks for id_ in mixtures]


def _coarse(
    definition: Definition, catalogue: Mapping[str, Experiment], grid: Grid, classes: ClassTable, title: str
) -> Table:
    """Table 3: a row a share of coarse labels, with the scores of both arms; their samples cost the same."""
    numbers: list[Sequence[object]] = []
    rows: list[Sequence[Cell]] = []
    for row in definition.rows:
        network = definition.networks.get(row["network"], row["network"])
        arms = coarse_arms(row, catalogue)
        scores = [read_scores(grid, row["network"], arm.id) for arm in arms]
        # The arms rest on the same annotation; corrections of refined labels come on top.
        costs = [cost for arm in arms if (cost := read_cost(grid, arm.id))]
        cost = max(costs, key=lambda c: c.review_minutes, default=None)
        counts = (cost.fine, cost.coarse, cost.hours(classes.minutes)) if cost else (None,) * 3
        named = [network, str(arms[0].coarse_percent)]
        both = [*_score_numbers(scores[0]), *_score_numbers(scores[1])]
        numbers.append([*named, *both, *map(_number, counts, (0, 0, 2))])
        printed = [*_score_texts(scores[0]), *_score_texts(scores[1])]
        rows.append([*named, *printed, *map(_text, counts, (0, 0, 2))])
    header = ["network", "coarse_percent", *_score_header("unrefined_"), *_score_header("refined_")]
    header += ["fine_frames", "coarse_frames", "annotation_hours"]
    columns = [("", "Network"), ("", "Coarse %"), ("Non-refined", "mIoU"), ("Non-refined", "mAcc")]
    columns += [("Refined", "mIoU"), ("Refined", "mAcc"), ("Key frames", "fine"), ("Key frames", "coarse")]
    return Table(title, _legend(grid, classes), (header, numbers), [*columns, ("", "Hours")], rows)


def _legend(grid: Grid, classes: ClassTable) -> str:
    minutes = ", ".join(f"{value:g} minutes ({kind})" for kind, value in classes.minutes.items())
    draws, seeds = max(map(len, grid.experiments.values()), default=0), len(grid.seeds)
    corrected = len(read_corrected(grid.results))
    reviews = f", and what reviewing the {corrected} corrected labels took where a row uses them" if corrected else ""
    return (
        "mIoU and mAcc in percent: mean ± sample standard deviation (number of runs). "
        f"Planned: draws {draws}, seeds {seeds}; an experiment that takes every clip alike has one draw. "
        "Key frames are the distinct annotated frames that the samples rest on: a pseudo-label needs its clip's. "
        f"Hours of annotation at {minutes} a key frame{reviews}. {_GAP} is what was not run."
    )


def _score_header(prefix: str) -> list[str]:
    measures = ("mean", "sd", "sd_draws", "sd_seeds")
    columns = [f"{score}_{measure}" for score in ("mIoU", "mAcc") for measure in measures]
    return [prefix + column for column in (*columns, "n", "draws", "seeds")]


def _score_numbers(scores: Scores) -> list[object]:
    spreads = (scores.miou, scores.macc)
    values = [_number(v) for s in spreads for v in (s.mean, s.sd, s.sd_draws, s.sd_seeds)]
    return [*values, scores.miou.n, scores.miou.draws, scores.miou.seeds]


def _score_texts(scores: Scores) -> tuple[str, str]:
    # The number of runs is the same for both: it is printed once.
    n = f" ({scores.miou.n})" if scores.miou.n else ""
    return _pm(scores.miou) + n, _pm(scores.macc)


def _pm(spread: Spread) -> str:
    return _text(spread.mean, 2) + (f" ± {spread.sd:.2f}" if spread.sd is not None else "")


def _number(value: float | None, decimals: int = 2) -> str:
    """A number of the CSV: `decimals` 0 is a count, two decimals where it is fractional; empty where none."""
    if value is None:
        return ""
    return f"{value:.0f}" if decimals == 0 and float(value).is_integer() else f"{value:.2f}"


def _text(value: float | None, decimals: int) -> str:
    """A number as it is printed; a count that is fractional (a mean over draws) shows one decimal."""
    if value is None:
        return _GAP
    return f"{value:.{decimals or int(not float(value).is_integer())}f}"


def markdown(table: Table, note: str = "") -> str:
    """The table in Markdown, with its legend and the note below."""
    header = [_markdown(f"{group} {title}".strip()) for group, title in table.columns]
    cells = [[_cell(c, _markdown, ("□", "■", "◆")) for c in row] for row in table.rows]
    body = tabulate(cells, header, tablefmt="pipe", disable_numparse=True, colalign=_alignment(table))
    parts = [f"**{_markdown(table.title)}**", body, _markdown(table.legend), _markdown(note)]
    return "\n\n".join(filter(None, parts)) + "\n"


def html(table: Table, note: str = "") -> str:
    """The table as a small page of its own, for the report."""
    header = [f"{group} {title}".strip() for group, title in table.columns]
    cells = [[_cell(c, str, ("□", "■", "◆")) for c in row] for row in table.rows]
    body = tabulate(cells, header, tablefmt="html", disable_numparse=True, colalign=_alignment(table))
    below = "".join(f"<p>{escape(text)}</p>" for text in (table.legend, note) if text)
    return f"{_PAGE}<h1>{escape(table.title)}</h1>{body}{below}\n"


def latex(table: Table, note: str = "") -> str:
    """The table as a LaTeX float in booktabs' manner, with its legend and the note below."""
    marks = (r"\unusedframe", r"\pseudoframe", r"\manualframe")
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(table.title)}}}"]
    lines += [rf"\begin{{tabular}}{{{''.join(side[0] for side in _alignment(table))}}}", r"\toprule"]
    lines += _latex_groups(table.columns)
    lines += [_latex_row([_latex(title) for _, title in table.columns]), r"\midrule"]
    for i, row in enumerate(table.rows):
        if i and row[0] != table.rows[i - 1][0]:
            lines.append(r"\midrule")
        lines.append(_latex_row([_cell(c, _latex, marks) for c in row]))
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    lines += [rf"{{\footnotesize {_latex(text)}\par}}" for text in (table.legend, note) if text]
    return _PREAMBLE + "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_groups(columns: Sequence[tuple[str, str]]) -> list[str]:
    """The row of headings over several columns, and the rules below them; nothing where there is none."""
    spans: list[tuple[str, int, int]] = []
    for i, (group, _) in enumerate(columns, start=1):
        if spans and group == spans[-1][0]:
            spans[-1] = (group, spans[-1][1], i)
        else:
            spans.append((group, i, i))
    if not any(group for group, _, _ in spans):
        return []
    heads = [rf"\multicolumn{{{last - first + 1}}}{{c}}{{{_latex(group)}}}" for group, first, last in spans]
    rules = " ".join(rf"\cmidrule(lr){{{first}-{last}}}" for group, first, last in spans if group)
    return [_latex_row(heads), rules]


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(cell: Cell, escaped: Callable[[str], str], marks: tuple[str, str, str]) -> str:
    return cell.marks(*marks) if isinstance(cell, Frames) else escaped(cell)


def _alignment(table: Table) -> list[str]:
    """Text to the left, numbers to the right: numbers follow the last column that names the row."""
    named = next(i for i, (_, title) in enumerate(table.columns) if title in ("mIoU", "Coarse %"))
    return ["left"] * named + ["right"] * (len(table.columns) - named)


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "—": "---",
    "…": r"\ldots{}",
    "□": r"\unusedframe{}",
    "■": r"\pseudoframe{}",
    "◆": r"\manualframe{}",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in " ".join(text.split()))
